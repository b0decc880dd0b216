/* 8-bit numbers: E4M3 and signed integers, and what of a network's values they stand for.
 *
 * Every channel of a map has a factor of its own, value = number * factor, from the largest magnitude that the
 * network in halves gave on the built-in picture (the one precisions are compared on). Factors of a
 * layer's inputs go into its weights, so they cost nothing; weights then have one factor an output. Zero is
 * zero in both, as the borders of maps want it.
 *
 * Threads: plain values. */
#ifndef UPZ_CUDA_EIGHT_H
#define UPZ_CUDA_EIGHT_H

#include <stddef.h>
#include <stdint.h>
#include "engine/cuda/net.h"

/* Largest magnitudes, by channel of each layer's result. */
typedef struct UpzCudaRanges {
    float *most;  /* upz_free */
    size_t *at;   /* by layer: where its channels begin; upz_free */
    size_t n;     /* of them all */
} UpzCudaRanges;

/* Zeros for every layer that writes a map; channels padded as in halves. */
int upz_cuda_ranges_make(UpzCudaRanges *out, const UpzCudaNet *net, UprezError *err);
void upz_cuda_ranges_free(UpzCudaRanges *ranges);

/* kind: UPZ_EIGHT_FP8 or UPZ_EIGHT_INT8 of kernels/params.h. */
const char *upz_eight_name(int kind); /* "fp8", "int8" */
float upz_eight_largest(int kind);
/* To nearest even; the largest where it is larger; NaN: 0 of integers, NaN of fp8. */
uint8_t upz_eight_pack(int kind, float v);
float upz_eight_unpack(int kind, uint8_t v);
/* The factor of a channel whose values reach `most`. */
float upz_eight_factor(int kind, float most);

#endif
