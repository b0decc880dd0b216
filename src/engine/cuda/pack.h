/* Weights in the order kernels read them (kernels/params.h, UpzCudaConv), and biases and slopes beside
 * them, in one block for the GPU. */
#ifndef UPZ_CUDA_PACK_H
#define UPZ_CUDA_PACK_H

#include "base/cpu.h"
#include "engine/cuda/eight.h"
#include "engine/cuda/net.h"

/* Byte offsets of one layer's constants in the block; multiples of 256. */
typedef struct UpzCudaConstants {
    size_t weights, bias, slope, scale, inverse; /* SIZE_MAX: none */
} UpzCudaConstants;

typedef struct UpzCudaPacked {
    uint8_t *data; /* upz_free_aligned */
    size_t bytes;
    UpzCudaConstants *layers; /* one a layer; upz_free */
} UpzCudaPacked;

/* pair[i]: layer i's kernel wants its weights in the order of pairs. kind: of 8-bit numbers, by `ranges` (NULL
 * where there are none). MODEL when a weight is beyond what half precision holds; nothing is kept then. */
int upz_cuda_pack(UpzCudaPacked *out, const UpzCudaNet *net, const bool *pair, int kind,
                  const UpzRanges *ranges, UpzCpuLevel cpu, UprezError *err);
void upz_cuda_packed_free(UpzCudaPacked *packed);

#endif
