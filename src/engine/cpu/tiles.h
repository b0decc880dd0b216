/* Convolutions on a matrix unit: products of tiles of 16 pixels by 32 channels of bf16 with tiles of 32
 * channels by 16 outputs, summed in fp32.
 *
 * The code is written once, tiles_tmpl.h, over a thin layer (load, multiply, store of a tile) that has two
 * implementations: tile_amx.h is the instructions, tile_c.h is plain C that gives the instructions' own
 * bytes. One product adds to each of 16 x 16 sums: the chain of the 16 even channels, the chain of the 16 odd
 * ones, each by fused multiply-adds from 0, both added, then added to the sum; denormals count and become
 * zeros everywhere.
 *
 * Threads: any; what a call is given is its own. Workers need no preparation: shapes of tiles are set
 * between begin and end. */
#ifndef UPZ_CPU_TILES_H
#define UPZ_CPU_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UPZ_TILE_SIDE 16  /* pixels, and outputs, of a tile */
#define UPZ_TILE_DEPTH 32 /* channels of a tile */
#define UPZ_TILE_ROWS 4   /* of output pixels that are computed together, a tile of each */

/* Consecutive inputs: `blocks` times 32 values that meet as many blocks of weights. */
typedef struct UpzTileRun {
    const uint16_t *a[UPZ_TILE_ROWS]; /* of output pixel 0 of each row */
    ptrdiff_t step;                   /* bytes from one output pixel's to the next one's */
    int blocks;
} UpzTileRun;

#define UPZ_TILE_GROUPS 16 /* of four pixels: all of a block */

/* Sums that are complete and wait for what is done to them while the next ones are computed. */
typedef struct UpzTileRest {
    float *sums;        /* UPZ_TILE_SUMS, 64-byte aligned: the caller's, for all calls */
    const float *slope; /* of its outputs */
    char *const *out;   /* of each group of pixels, without */
    ptrdiff_t shift, step; /* bytes: to the first output, and from pixel to pixel */
    char *places[2][UPZ_TILE_GROUPS];
    int at, end;        /* of groups: the next one, and behind the last one */
    int count;          /* pixels of a row */
    bool narrow;        /* to bf16 */
} UpzTileRest;

#define UPZ_TILE_SUMS (UPZ_TILE_ROWS * UPZ_TILE_SIDE * UPZ_TILE_SIDE) /* floats: rows, pixels, outputs */

typedef struct UpzTileConv {
    const UpzTileRun *runs;
    int n_runs, rows;        /* rows: 1 … UPZ_TILE_ROWS */
    const uint16_t *weights; /* see upz_tile_weight; 64-byte aligned */
    int n_out;               /* a multiple of 16 */
    const float *bias;       /* n_out values: sums begin with them */
    const float *slope;      /* n_out values for x < 0 ? slope * x : x at the end, or NULL */
    void *out[UPZ_TILE_ROWS];
    ptrdiff_t out_step;      /* values */
    bool narrow;             /* out is bf16, else float */
    int count;               /* output pixels of a row */
} UpzTileConv;

typedef struct UpzTileKernels {
    void (*begin)(void);
    /* May leave the last block of sums in *rest, whose other fields are 0 at first. Up to 15 output pixels'
     * inputs behind the last one may be read; what stands there does not matter. */
    void (*conv)(const UpzTileConv *c, UpzTileRest *rest);
    void (*finish)(UpzTileRest *rest); /* then all is written */
    void (*end)(void);
    /* n rounds of products of tiles in registers alone; between begin and end. Returns how many floating-point
     * operations that were. */
    double (*peak)(size_t n);
} UpzTileKernels;

/* For a processor with these features; plain C where there are none. NULL: it has no such unit. */
const UpzTileKernels *upz_tile_kernels(uint32_t features);

/* Weights: for 16 outputs after 16, block after block in the order of runs, a tile; in it two channels of all
 * outputs after two. This is where the weight of channel c of block b for output o stands. */
static inline size_t upz_tile_weight(int blocks, int b, int c, int o)
{
    const size_t tile = (size_t)(o / UPZ_TILE_SIDE) * (size_t)blocks + (size_t)b;
    return (tile * UPZ_TILE_SIDE + (size_t)(c / 2)) * UPZ_TILE_DEPTH + (size_t)(o % UPZ_TILE_SIDE * 2 + c % 2);
}

#endif
