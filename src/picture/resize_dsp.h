/* Tables and kernels of the resampler; one set of kernels per processor level. */
#ifndef UPZ_RESIZE_DSP_H
#define UPZ_RESIZE_DSP_H

#include <stdbool.h>
#include <stdint.h>
#include "picture/resize.h"

/* Outputs made together across a row, in groups of 4 that fill a 128-bit lane. */
enum {
    UPZ_BLOCK = 16, /* rows are made in even numbers of these */
    UPZ_GROUP = 4,
    UPZ_STRIP = 128, /* blocks: a strip's rows stay near */
    UPZ_DOWN = 64   /* outputs down makes together */
};

/* One direction. Output i reads the samples pos[i % period] + i / period * advance, and n - 1
 * more. Positions may lie outside the picture. */
typedef struct UpzAxis {
    int n, period, advance;
    int32_t *pos;
    float *weight;  /* [period][n] */
    int16_t *fixed; /* [period][n]; across: 1 = 1 << 14; down: 1 = 1 << 15 */
} UpzAxis;

/* The same for the row kernels: `blocks` of outputs, after which positions repeat, `advance` samples
 * further on. */
typedef struct UpzAcross {
    int n, pairs, blocks, advance;
    int span;        /* samples under one tap of a block, at most */
    int32_t *first;  /* [blocks][4]: first sample of a group's window */
    /* Fixed point, per block and pair of taps: shuffles of a 16-byte window into 16-bit pairs for
     * the 16 outputs, and their weights. A window serves per_window pairs of taps; the next begins
     * 2 * per_window samples on. With one_block a single window serves the whole block. */
    int per_window;
    bool one_block;
    bool halving;     /* outputs lie two samples apart: pairs need no shuffle */
    uint8_t *shuffle; /* [blocks][pairs][64] */
    int16_t *fixed;   /* [blocks][pairs][32] */
    /* float */
    int32_t *index;   /* [blocks][16]: of the first tap, from first[block][0] */
    float *weight;    /* [blocks][n][16] */
    /* Fixed point where 64 bytes hold all samples under 32 outputs and the tables stay near; else
     * units is 0. A unit is two vectors: outputs 0-3, 8-11, 16-19, 24-27 and 4-7, 12-15, 20-23,
     * 28-31, so that packing both puts them in order. After `units` positions repeat,
     * unit_advance samples further on. */
    int units, unit_advance;
    int32_t *unit_first;  /* [units]: sample under byte 0 */
    uint8_t *unit_bytes;  /* [units][2][pairs][64]: which bytes make 16-bit pairs */
    int16_t *unit_fixed;  /* [units][2][pairs][32] */
} UpzAcross;

typedef struct UpzResizeDSP {
    /* Blocks b0 … b1-1 of a row. src[0] is sample `origin`; windows may be over-read by 128
     * bytes. shift: right shift of the sums to the intermediate's scale. */
    void (*across_fixed)(const UpzAcross *a, const void *src, int sample_bytes, int origin, int b0,
                         int b1, int shift, int16_t *dst);
    void (*across_float)(const UpzAcross *a, const float *src, int origin, int b0, int b1,
                         float *dst);
    /* Down: count is rounded up to UPZ_DOWN: rows and dst have room. Fixed point: products are
     * rounded to the intermediate's scale one by one, summed in 16 bits, then shifted. */
    void (*down_u8)(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo, int hi,
                    uint8_t *dst, int count);
    void (*down_u16)(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo, int hi,
                     int left, uint16_t *dst, int count);
    void (*down_float)(const float *const *rows, const float *w, int n, float *dst, int count);
    void (*load_float)(float *dst, const void *src, int depth, int step, int right, int count);
    void (*finish)(const float *src, void *dst, int depth, int left, float gain, float bias,
                   float lo, float hi, int count);
} UpzResizeDSP;

extern const UpzResizeDSP upz_resize_c, upz_resize_avx2, upz_resize_avx512;

/* across_fixed for tables with units, level avx512vnni. b0 is even, b1 is taken as even. */
void upz_resize_across_units(const UpzAcross *a, const void *src, int sample_bytes, int origin,
                             int b0, int b1, int shift, int16_t *dst);

#endif
