/* Products of matrices in fp16: sums of up to 64 products are chains of fp16 multiply-adds, longer ones are sums of
 * such chains in fp32. All implementations give the same bytes but for what NaN they give.
 *
 * Threads: plain values. */
#ifndef UPZ_CPU_HALF_GEMM_H
#define UPZ_CPU_HALF_GEMM_H

#include <stddef.h>
#include <stdint.h>

#define UPZ_HALF_CHAIN 64
/* Inputs are made smaller by this before they become halves, which end at 65504; sums get it back. */
#define UPZ_HALF_SCALE 0.0625f

typedef struct UpzHalfGemm {
    const float *a;          /* inputs of output row m: a[m * step] … a[m * step + n - 1] */
    ptrdiff_t step;
    int n;
    uint16_t *halves;        /* scratch: count * step + 32 */
    const uint16_t *weights; /* [n][n_out], halves */
    int n_out;               /* a multiple of 16 */
    float scale;             /* of sums, UPZ_HALF_SCALE included */
    float *out;
    ptrdiff_t out_step;
    int count;
} UpzHalfGemm;

typedef void UpzHalfMultiply(const UpzHalfGemm *g);
/* For a processor with these features; plain C where there are none. NULL: it has no such instructions. */
UpzHalfMultiply *upz_half_multiply(uint32_t features);

/* The nearest half, halves to even; larger ones are infinite. */
uint16_t upz_half(double x);
double upz_half_value(uint16_t half);

#endif
