/* Convolutions on a matrix unit in 8-bit integers: products of tiles of 16 pixels by 64 values with tiles of 64
 * values by 16 outputs, both signed, summed in 32 bits. As in tiles.h the code is written once, tiles_int8_tmpl.h,
 * over a thin layer of tiles whose other implementation is plain C; integers leave no room for order.
 *
 * Threads: as in tiles.h. */
#ifndef UPZ_CPU_TILES_INT8_H
#define UPZ_CPU_TILES_INT8_H

#include "engine/cpu/tiles.h"

#define UPZ_TILE8_DEPTH 64 /* values of a tile */
#define UPZ_TILE8_ROWS 2   /* of output pixels that are summed together, with two tiles of outputs */

/* Consecutive inputs: `blocks` times 64 values that meet as many blocks of weights. */
typedef struct UpzTile8Run {
    const int8_t *a[UPZ_TILE_ROWS]; /* of output pixel 0 of each row */
    ptrdiff_t step;                 /* bytes from one output pixel's to the next one's */
    int blocks;
} UpzTile8Run;

/* Sums that are complete and wait for what is done to them while the next ones are computed. */
typedef struct UpzTile8Rest {
    int32_t *sums;      /* UPZ_TILE_SUMS, 64-byte aligned: the caller's, for all calls */
    const float *scale, *bias, *slope; /* of its outputs; slope may be NULL */
    char *out[UPZ_TILE8_ROWS];
    ptrdiff_t step;     /* bytes */
    int at, end;        /* of groups of pixels: the next one, and behind the last one */
    int count;          /* pixels of a row */
    bool both;          /* tiles of outputs are there, else one */
    bool narrow;        /* to int8 */
} UpzTile8Rest;

typedef struct UpzTile8Conv {
    const UpzTile8Run *runs;
    int n_runs, rows;      /* rows: 1 … UPZ_TILE_ROWS */
    const int8_t *weights; /* see upz_tile8_weight; 64-byte aligned */
    int n_out;             /* a multiple of 16 */
    /* n_out values each: fma(sum, scale, bias), then x < 0 ? slope * x : x unless slope is NULL. */
    const float *scale, *bias, *slope;
    bool narrow;           /* out is int8, to the nearest, halves to even, and no result of such a sum that can
                              be is 2^31 or more in size; else out is float */
    void *out[UPZ_TILE_ROWS];
    ptrdiff_t out_step;    /* values */
    int count;             /* output pixels of a row */
} UpzTile8Conv;

typedef struct UpzTile8Kernels {
    void (*begin)(void);
    /* May leave the last block of sums in *rest, whose other fields are 0 at first. Up to 15 output pixels'
     * inputs behind the last one may be read; what stands there does not matter. */
    void (*conv)(const UpzTile8Conv *c, UpzTile8Rest *rest);
    void (*finish)(UpzTile8Rest *rest); /* then all is written */
    void (*end)(void);
} UpzTile8Kernels;

/* For a processor with these features; plain C where there are none. NULL: it has no such unit. */
const UpzTile8Kernels *upz_tile8_kernels(uint32_t features);

/* Weights: for 16 outputs after 16, block after block in the order of runs, a tile; in it four values of all
 * outputs after four. This is where the weight of value c of block b for output o stands. */
static inline size_t upz_tile8_weight(int blocks, int b, int c, int o)
{
    const size_t tile = (size_t)(o / UPZ_TILE_SIDE) * (size_t)blocks + (size_t)b;
    return (tile * UPZ_TILE_SIDE + (size_t)(c / 4)) * UPZ_TILE8_DEPTH + (size_t)(o % UPZ_TILE_SIDE * 4 + c % 4);
}

#endif
