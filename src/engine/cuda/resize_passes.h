/* The network's result resampled to another size: one or two launches of resize_image over planar
 * halves, the axis first whose result is smaller, and their tables. Arithmetic and host memory only.
 *
 * As the CPU's path does it: values are clipped to 0..1 first, edges mirror, coded light. Between the
 * passes there are halves. */
#ifndef UPZ_CUDA_RESIZE_PASSES_H
#define UPZ_CUDA_RESIZE_PASSES_H

#include <stddef.h>
#include "engine/cuda/kernels/params.h"
#include "picture/resize.h"

typedef struct UpzCudaPasses {
    int n;                 /* 0: the sizes are equal */
    UpzCudaResize pass[2]; /* dst without its place; first and weight: offsets into the tables */
    size_t first_at[2];    /* bytes into tables */
    uint8_t *tables;
    size_t table_bytes;
} UpzCudaPasses;

/* From w x h to out_w x out_h px. MEMORY, or USAGE for what the resampler cannot do. */
int upz_cuda_passes_make(UpzCudaPasses *out, UpzResizeKernel kernel, int planes, int w, int h,
                         int out_w, int out_h, UprezError *err);
void upz_cuda_passes_free(UpzCudaPasses *passes);
size_t upz_cuda_pass_bytes(const UpzCudaPasses *passes, int pass); /* of its result */
/* Addresses: of the source, of the passes' results, of the tables on the GPU. */
void upz_cuda_passes_place(UpzCudaPasses *passes, const UpzCudaImage *src, const uint64_t dst[2],
                           uint64_t tables);

/* Windows of the passes that make this window of the last one's result; returns the window of the source
 * that they read. */
UpzCudaWindow upz_cuda_passes_window(const UpzCudaPasses *passes, UpzCudaWindow result,
                                     UpzCudaWindow windows[2]);

#endif
