/* A model: a network read from a file, or a classical resampling kernel.
 *
 * Threads: immutable, reference counted; safe everywhere. */
#ifndef UPREZ_MODEL_H
#define UPREZ_MODEL_H

#include <stdint.h>
#include "context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct UprezModel UprezModel; /* opaque; see the top of this file */

/* What the network computes on; the library converts pictures to it and back. */
enum UprezModelInput {
    UPREZ_INPUT_RGB,      /* R G B, 0..1 */
    UPREZ_INPUT_Y_FULL,   /* luma, 0..1 over the full range */
    UPREZ_INPUT_Y_STUDIO  /* luma code value / 255: 16/255 is black, 235/255 white */
};

/* What is known about a model. Strings live as long as the model. */
typedef struct UprezModelFacts {
    const char *architecture; /* "srvgg", "rrdbnet", "span", "espcn", "fsrcnn", "uprez", "onnx",
                                 "ncnn", "kernel" */
    const char *container;    /* "torch zip", "torch legacy", "safetensors", "ncnn", "onnx", "" */
    const char *detail;       /* one line for people: widths, blocks, key style, how it was found */
    const char *path;         /* file it came from, or the kernel's name */
    char sha256[65];          /* of the file (ncnn: param and bin in turn); "" for a kernel */
    int scale_num, scale_den; /* output size / input size, from the weights */
    int reach;                /* receptive radius: input px an output pixel depends on, each way */
    int align;                /* the engine pads the input to multiples of this (1: any size) */
    int input;                /* UprezModelInput */
    int channels;             /* of input and output: 3 or 1 */
    int64_t parameters;       /* numbers in the weights */
    int64_t macs;             /* multiply-adds per input pixel */
    int half;                 /* weights are stored in 16 bits */
} UprezModelFacts;

/* For uprez_model_load. Zero it, set size and what is wanted. */
typedef struct UprezModelParams {
    size_t size;    /* sizeof(UprezModelParams) */
    double denoise; /* with mix, 0..1: 1 = all of the model, 0 = all of the twin */
    const char *twin; /* with mix: the twin's file or name; NULL = the registry's twin */
    const char *engine, *device, *runtime_path; /* for files that only a runtime understands
                                                  (TorchScript, TensorRT): as in UprezParams */
    int mix;        /* nonzero: deep network interpolation of the model and its twin */
} UprezModelParams;

/* Loads a file, or an embedded network by its name ("uprez-video-2x"), or a model of the registry by
 * its name when its file is in the search path and has the published SHA-256, or makes a kernel when `name` is "bicubic",
 * "lanczos" or "spline36". params may be NULL. Fails with MODEL (the sentence names the file, what
 * was found and what was expected), USAGE or MEMORY. */
UPREZ_API int uprez_model_load(UprezModel **out, UprezContext *ctx, const char *name,
                               const UprezModelParams *params, UprezError *err);
/* The models to use where nobody asked for one: names for uprez_model_load, to be run one after
 * another; the number of them, at least 1. video: nonzero for frames of a film, which have suffered
 * more than pictures. scale: wanted size / source size, 0 for 2. The strings are static. */
#define UPREZ_DEFAULT_MODELS 2
UPREZ_API int uprez_default_models(int video, double scale,
                                   const char *names[UPREZ_DEFAULT_MODELS]);
/* Another reference to the same model; returns its argument. */
UPREZ_API UprezModel *uprez_model_ref(UprezModel *model);
/* Releases a reference; accepts a pointer to NULL and leaves NULL. */
UPREZ_API void uprez_model_unref(UprezModel **model);
/* Lives as long as the model. */
UPREZ_API const UprezModelFacts *uprez_model_facts(const UprezModel *model);

#ifdef __cplusplus
}
#endif
#endif
