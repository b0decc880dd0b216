/* The 8-bit numbers of this engine: E4M3 beside the integers of quant.h, with ranges that the network in halves
 * gave. Factors of a layer's inputs go into its weights, so they cost nothing; weights then have one factor an
 * output.
 *
 * Threads: plain values. */
#ifndef UPZ_CUDA_EIGHT_H
#define UPZ_CUDA_EIGHT_H

#include <stddef.h>
#include <stdint.h>
#include "engine/cuda/net.h"
#include "engine/quant.h"

/* Zeros for every layer that writes a map; channels padded as in halves. */
int upz_cuda_ranges_make(UpzRanges *out, const UpzCudaNet *net, UprezError *err);

/* kind: UPZ_EIGHT_FP8 or UPZ_EIGHT_INT8 of kernels/params.h. */
const char *upz_eight_name(int kind); /* "fp8", "int8" */
float upz_eight_largest(int kind);
/* To nearest even; the largest where it is larger; NaN: 0 of integers, NaN of fp8. */
uint8_t upz_eight_pack(int kind, float v);
float upz_eight_unpack(int kind, uint8_t v);
/* The factor of a channel whose values reach `most`. */
float upz_eight_factor(int kind, float most);

#endif
