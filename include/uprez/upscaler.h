/* An upscaler: pictures in, bigger pictures out, in order.
 *
 * Loop:  send until AGAIN, receive until AGAIN, …; send NULL once to drain; receive until EOF.
 * Threads: uprez_send, uprez_receive and uprez_destroy from one thread at a time. References are
 * released only inside these calls. */
#ifndef UPREZ_UPSCALER_H
#define UPREZ_UPSCALER_H

#include "context.h"
#include "model.h"
#include "picture.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Uprez Uprez; /* opaque; see the top of this file */

/* For uprez_create. Zero it, set size and models; a field that is 0 has its default. */
typedef struct UprezParams {
    size_t size;               /* sizeof(UprezParams): what the caller's version of it has */
    UprezModel *const *models; /* a chain, first to last; referenced, not taken */
    int n_models;              /* 1..8 */
    double scale;              /* output / input size; 0 = the models' own */
    int width, height;         /* px; 0 = from scale; one of them alone keeps the aspect ratio */
    UprezFormat format;        /* of the output; n_comp 0 = the source's */
    UprezColor color;          /* of the output; a 0 field = the source's */
    const char *engine;        /* NULL = auto */
    const char *device;        /* "auto", "cpu", "cuda:0"; NULL = auto */
    const char *precision;     /* "fp32", "bf16" and others; NULL or "auto": the fastest type of the processor
                                  or GPU whose result on a built-in picture is within 50 dB of fp32's */
    const char *filter;        /* for the final resize: "lanczos" (NULL), "bicubic", "spline36",
                                  "bilinear" */
    double blend;              /* 0..1: share of the plain resized source in the result */
    int tta;                   /* average over the 8 flips and turns */
    int depth;                 /* pictures inside at once, sent and not received; 0 = one more than
                                  the engine can have in work */
    int tile;                  /* side of a tile in source px, for tensor runtimes; 0 = auto */
    int batch;                 /* tiles or pictures a run, for tensor runtimes; 0 = auto */
    const char *runtime_path;  /* folder to look in for runtimes' libraries first; NULL = none */
    void *cuda_context;        /* CUcontext of the pictures' memory, the caller's, kept alive beyond
                                  uprez_destroy; NULL = the device's primary context */
    int no_reuse;              /* 1: every picture is computed as a whole, also what it has in common
                                  with the one before; the bytes are the same */
} UprezParams;

/* What an upscaler turned out to be, from uprez_plan. */
typedef struct UprezInfo {
    size_t size;           /* sizeof(UprezInfo), set by the caller */
    int width, height;     /* of the output for the last planned input size */
    const char *engine;    /* this and the strings below live as long as the upscaler */
    const char *device, *precision; /* as chosen: never "auto" */
    const char *numerics;  /* same id + model + source = same bytes */
    size_t memory;         /* bytes the engines need beside the pictures */
    int depth;             /* pictures in work at once */
} UprezInfo;

/* What an upscaler has done, from uprez_counts. */
typedef struct UprezCounts {
    size_t size;      /* sizeof(UprezCounts), set by the caller */
    int64_t pictures; /* made, received or not */
    int64_t repeated; /* of them: equal to the one before, not computed again */
    double reused;    /* pictures' worth of result that was taken from the one before: 2.5 of 10 */
} UprezCounts;

/* *out is NULL on failure. Models and context are referenced, params copied. Fails with USAGE (what
 * does not fit together), DEVICE (no such engine or device, or it cannot compute this model) or
 * MEMORY. */
UPREZ_API int uprez_create(Uprez **out, UprezContext *ctx, const UprezParams *params,
                           UprezError *err);
/* Prepares for a source size and format: allocates, packs weights, fails early. Optional; send
 * does it when needed. USAGE while pictures are in flight. info may be NULL. */
UPREZ_API int uprez_plan(Uprez *u, const UprezPicture *like, UprezInfo *info, UprezError *err);
/* Takes a reference of its own; NULL drains. AGAIN: receive first. A change of size or format
 * midstream is allowed: later pictures are fitted to the first output size. A picture that equals the one
 * before it, or mostly does, is not computed as a whole; for that the last source and result stay
 * referenced until the next one is received, the end, or uprez_destroy. Compared are only pictures whose
 * memory nobody can have changed since: wrapped ones with `free`, and those of uprez_picture_alloc that
 * the caller has let go of. */
UPREZ_API int uprez_send(Uprez *u, const UprezPicture *picture, UprezError *err);
/* The same with memory of the caller's for the result, in a picture of the planned size and format
 * (uprez_plan tells them; another is the USAGE of that picture). A reference of its own is taken;
 * receive's *out is a reference to this memory, described anew. Of an uprez_picture_wrap()ed one,
 * `free` runs inside send, receive or destroy, or where the caller drops the last reference. result
 * NULL: as uprez_send. */
UPREZ_API int uprez_send_to(Uprez *u, const UprezPicture *picture, const UprezPicture *result,
                            UprezError *err);
/* *out is a new reference with the source's pts, duration and opaque. Its memory is read only
 * unless no_reuse is set: what a later picture has in common is taken from it.
 * timeout_ns < 0 waits. AGAIN, EOF, or the error of that very picture (the next call goes on with the
 * next picture). */
UPREZ_API int uprez_receive(Uprez *u, UprezPicture **out, int64_t timeout_ns, UprezError *err);
/* One picture, blocking; *dst is a new picture, NULL on failure. USAGE while pictures sent before
 * have not been received. */
UPREZ_API int uprez_run(Uprez *u, const UprezPicture *src, UprezPicture **dst, UprezError *err);
/* Fills counts; from any thread while u lives. USAGE: counts->size. */
UPREZ_API int uprez_counts(Uprez *u, UprezCounts *counts, UprezError *err);
/* Waits for what is in work, then releases everything; accepts a pointer to NULL and leaves NULL. */
UPREZ_API void uprez_destroy(Uprez **u);

#ifdef __cplusplus
}
#endif
#endif
