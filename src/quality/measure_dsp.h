/* Kernels of the measures; one set per processor level. */
#ifndef UPZ_MEASURE_DSP_H
#define UPZ_MEASURE_DSP_H

#include <stddef.h>
#include <stdint.h>

enum {
    UPZ_GAUSS = 11,      /* taps of MS-SSIM's window */
    UPZ_HALF = 9,        /* taps of its low-pass filter */
    UPZ_MS_SCALES = 5,
    UPZ_BLOCK_SIDE = 4   /* samples: SSIM's sums are made for blocks, a window is 2x2 of them */
};

/* Sums over blocks of 4x4: of a, of b, of a² + b², of ab. Exact. */
typedef struct UpzSums8 { int32_t *a, *b, *squares, *product; } UpzSums8;
typedef struct UpzSums16 { double *a, *b, *squares, *product; } UpzSums16;

typedef struct UpzMeasureDSP {
    /* Sums of squared differences of n samples, n <= 65536. */
    uint64_t (*error8)(const uint8_t *a, const uint8_t *b, int n);
    uint64_t (*error16)(const uint16_t *a, const uint16_t *b, int n);
    /* n blocks of four rows; strides in bytes. */
    void (*blocks8)(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride, int n,
                    const UpzSums8 *to);
    void (*blocks16)(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride, int n,
                     const UpzSums16 *to);
    /* The sum of SSIM over the n windows that begin in the upper row of blocks. */
    double (*windows8)(const UpzSums8 *upper, const UpzSums8 *lower, int n);
    double (*windows16)(const UpzSums16 *upper, const UpzSums16 *lower, int n, double peak);
    void (*load8)(float *d, const uint8_t *s, int n);
    void (*load16)(float *d, const uint16_t *s, float scale, int n);
    /* One row of `out` px from the UPZ_HALF rows that are given; n px wide. scratch: n + 16 floats. */
    void (*halve)(float *d, const float *const *rows, int n, int out, float *scratch);
    /* Adds luminance, contrast and structure of a row of n - UPZ_GAUSS + 1 windows to sums[3]. The rows
     * of both pictures lie `stride` floats apart. */
    void (*gauss)(const float *a, const float *b, ptrdiff_t stride, int n, double *sums);
} UpzMeasureDSP;

extern const UpzMeasureDSP upz_measure_c, upz_measure_avx2, upz_measure_avx512;

#endif
