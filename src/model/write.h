/* A model's graph written out, for other runtimes and programs.
 *
 * Whoever writes gets bytes (upz_free) and puts them into files itself. Every writer refuses, in
 * one sentence and with UPREZ_ERR_MODEL, what its format has no form for: a resampling kernel, a
 * model without a graph of ours, a layer the format lacks, a weight no half can hold, more than
 * 2 GB.
 *
 * Threads: safe; the model is only read. */
#ifndef UPZ_WRITE_H
#define UPZ_WRITE_H

#include "model.h"

typedef struct UpzOnnxParams {
    int opset;    /* 16 … 23; 0: 16, or 20 for a network with GELU (which 16 has to spell out) */
    bool half;    /* weights and arithmetic in fp16 */
    bool half_io; /* with half: the input and output are fp16 too, else they are cast inside */
    /* Sizes that are no multiple of facts.align are padded inside (as facts and pad mode say) and
     * the result is cropped. false: the caller gives multiples only. */
    bool pad;
    int fixed_batch, fixed_height, fixed_width; /* 0: any, the axis is named */
} UpzOnnxParams;

/* ONNX, one input "input" and one output "output", N x C x H x W; unnamed axes are "batch",
 * "height" and "width". params NULL: all zero. A fixed size that is no multiple of facts.align
 * without `pad`, or an opset not written, is UPREZ_ERR_USAGE. */
int upz_write_onnx_memory(const UprezModel *model, const UpzOnnxParams *params, uint8_t **data,
                          size_t *size, UprezError *err);

/* ncnn's two files. The input blob is "data", the output blob "output"; sizes must be multiples of
 * facts.align. A network that takes luma in studio range is written with the change of range in it: it takes
 * full range, as everybody gives it. half: kernels in fp16 (biases, slopes and per-channel factors stay fp32). */
int upz_write_ncnn_memory(const UprezModel *model, bool half, uint8_t **param, size_t *param_size,
                          uint8_t **bin, size_t *bin_size, UprezError *err);

/* A state dict as safetensors, all fp32 or all fp16, under the names that PyTorch's own definition
 * of the network gives them. A graph from ONNX or ncnn has such names only when it is recognised
 * as SRVGGNetCompact, RRDBNet, SPAN or (ours on luma) what tools/train makes; a cut-off at 0 and 1 as its last step is left out then. */
int upz_write_safetensors_memory(const UprezModel *model, bool half, uint8_t **data, size_t *size,
                                 UprezError *err);

typedef struct UpzWriteParams {
    UpzOnnxParams onnx; /* its `half` counts for every format */
} UpzWriteParams;

/* Writes path by its extension: .onnx, .safetensors, or .param (or .bin) for ncnn's pair beside each
 * other. What was there is replaced in one step; on failure it is untouched (OUTPUT, or as above).
 * Fixed axes, opset or half_io for another format than ONNX, or an unknown extension: USAGE. */
int upz_write_file(const UprezModel *model, const char *path, const UpzWriteParams *params,
                   UprezError *err);
/* Only the part that needs no model: USAGE or 0. */
int upz_write_check_params(const char *path, const UpzWriteParams *params, UprezError *err);

#endif
