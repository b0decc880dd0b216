/* The CPU engine's inner loops: one table, filled once per processor level.
 *
 * Feature maps lie pixel after pixel, the channels of a pixel together; `pitch` and every `step`
 * count floats. Each output value has one fixed chain of fused multiply-adds, so that all levels
 * give the same bits; the plain-C table is the definition.
 *
 * Kernels may read up to 64 bytes behind what they need and never write outside their outputs
 * (which are whole groups of 16 channels unless said otherwise).
 *
 * Winograd: F(4x4, 3x3) with the points 0, +-5/8, +-3/2 and infinity. The points were chosen by
 * measured error among dyadic values, whose powers are exact in fp32; the method is Lavin and Gray,
 * "Fast Algorithms for Convolutional Neural Networks" (2015). */
#ifndef UPZ_CPU_KERNELS_H
#define UPZ_CPU_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include "base/cpu.h"

#define UPZ_CPU_GROUP 16   /* channels are padded to this */
#define UPZ_WINO_TILE 4    /* output pixels of a tile, each way */
#define UPZ_WINO_IN 6      /* input pixels of a tile, each way */
#define UPZ_WINO_POINTS 36
#define UPZ_WINO_A 0.625
#define UPZ_WINO_B 1.5

/* A stretch of consecutive inputs that meet consecutive rows of weights. Output pixel m reads
 * a[m * step] … a[m * step + n - 1]. */
typedef struct UpzRun {
    const float *a;
    ptrdiff_t step;
    int n;
} UpzRun;

typedef enum UpzGemmStart {
    UPZ_GEMM_ZERO, /* chains start with 0 */
    UPZ_GEMM_BIAS, /* with bias[channel] */
    UPZ_GEMM_MORE  /* with what out holds */
} UpzGemmStart;

/* Memory that will be read soon. gemm() asks for some of it ahead, a few lines at a time, and moves
 * the cursor on: fetching from far away overlaps with arithmetic. */
typedef struct UpzAhead {
    const char *const *rows;
    int n_rows, row;      /* of rows; the current one */
    size_t bytes, at;     /* of a row; the current place */
} UpzAhead;

typedef struct UpzGemm {
    const UpzRun *runs;
    int n_runs;
    const float *weights;  /* [sum of run lengths][n_out], 64-byte aligned */
    int n_out;             /* a multiple of 16 */
    UpzGemmStart start;
    const float *bias;     /* n_out values */
    const float *slope;    /* n_out values for x < 0 ? slope * x : x at the end, or NULL */
    float *out;
    ptrdiff_t out_step;
    int count;             /* output pixels */
    UpzAhead *ahead;       /* or NULL */
} UpzGemm;

/* Tiles first … first + count - 1 of one row of tiles. */
typedef struct UpzWinoIn {
    const float *rows[UPZ_WINO_IN]; /* pixel x = 0 of each input row */
    ptrdiff_t pitch;
    int shift;        /* pixel x of the convolution's input is pixel x >> shift of rows */
    int x;            /* input column of the first tile's first point; may be < 0 */
    int channels;
    int count;
    float *v;         /* [point][tile][channel]; whole vectors of up to 16 are written */
    ptrdiff_t v_point, v_tile;
} UpzWinoIn;

typedef struct UpzWinoOut {
    const float *m;   /* [point][tile][channel] */
    ptrdiff_t m_point, m_tile;
    int channels;     /* a multiple of 16 */
    int count;
    const float *bias, *slope; /* as in UpzGemm; bias is never NULL */
    float *rows[UPZ_WINO_TILE]; /* pixel x = 0; NULL: not wanted */
    ptrdiff_t pitch;
    int x, x0, x1;    /* first tile's first column; only columns x0 <= x < x1 are written */
} UpzWinoOut;

/* Depthwise convolution: taps[t] + m * step is tap t's input of output pixel m. */
typedef struct UpzDepthwise {
    const float *const *taps;
    int n_taps;
    ptrdiff_t step;
    const float *weights; /* [tap][channels] */
    int channels;         /* a multiple of 16 */
    const float *bias, *slope;
    float *out;
    ptrdiff_t out_step;
    int count;
} UpzDepthwise;

/* dst[x * factor + dx] = alpha * src[x * pitch + dx * dx_step] + beta * base[...], x < count; the
 * base, if any, is read at pixel (x * factor + dx) / base_up. base_up divides factor or is 1. */
typedef struct UpzPlanar {
    float *dst;
    const float *src;
    ptrdiff_t pitch, dx_step;
    int factor, count;
    const float *base; /* or NULL: dst = src, alpha and beta unused */
    ptrdiff_t base_pitch;
    int base_up;
    float alpha, beta;
} UpzPlanar;

typedef enum UpzCurve { UPZ_CURVE_SIGMOID, UPZ_CURVE_TANH, UPZ_CURVE_SILU, UPZ_CURVE_GELU,
                        UPZ_CURVE_CLIP } UpzCurve;

typedef struct UpzCpuKernels {
    UpzCpuLevel level;
    void (*gemm)(const UpzGemm *g);
    void (*wino_in)(const UpzWinoIn *w);
    void (*wino_out)(const UpzWinoOut *w);
    void (*depthwise)(const UpzDepthwise *d);
    void (*planar)(const UpzPlanar *p);
    /* dst[x * pitch + c] = src[c][x]; channels beyond n_src are not written */
    void (*interleave)(float *dst, ptrdiff_t pitch, const float *const *src, int n_src, int count);
    /* n is a multiple of 16 in the following; dst may be a source */
    void (*add)(float *dst, const float *a, const float *b, float alpha, float beta, size_t n);
    void (*mul)(float *dst, const float *a, const float *b, size_t n);
    /* per channel: scale (NULL: 1), then shift (NULL: 0), for count pixels of `channels` */
    void (*affine)(float *dst, const float *src, const float *scale, const float *shift,
                   int channels, int count);
    void (*slope)(float *dst, const float *src, const float *slope, int channels, int count);
    void (*curve)(float *dst, const float *src, UpzCurve curve, float lo, float hi, size_t n);
    /* fp32 to bf16 and back. Rounds to the nearest, halves to even; what is denormal becomes a zero of
     * its sign, NaN a quiet NaN, as the instructions do. dst and src do not overlap. */
    void (*narrow)(uint16_t *dst, const float *src, size_t n);
    void (*widen)(float *dst, const uint16_t *src, size_t n);
    /* fp32 times inverse, per channel (a multiple of 16), to int8: to the nearest, halves to even; -128 where it
     * is less, 127 where it is more, or NaN. */
    void (*narrow8)(int8_t *dst, const float *src, const float *inverse, int channels, int count);
    /* n rounds of fused multiply-adds in registers alone. Returns how many floating-point operations that were. */
    double (*peak)(size_t n);
} UpzCpuKernels;

/* The best table not above `level`. Threads: safe. */
const UpzCpuKernels *upz_cpu_kernels(UpzCpuLevel level);

#endif
