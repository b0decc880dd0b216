/* Convolutions by tiles, written once over a vector V (simd_LEVEL.h) and a layer of tiles (tile_NAME.h). */
#include "base/compiler.h"

#define STRETCH 256 /* pixels of a row for which all outputs are computed in turn: their inputs stay in the
                       second cache */
#define TILE_VALUES (UPZ_TILE_SIDE * UPZ_TILE_DEPTH)

#define GROUP 4 /* pixels that are finished together */
#define GROUPS (UPZ_TILE_ROWS * UPZ_TILE_SIDE / GROUP)

UPZ_INLINE void finish_pixel(const UpzTileRest *r, const float *sums, char *out, bool slope, bool narrow)
{
    for (int c = 0; c < UPZ_TILE_SIDE; c += W) {
        V v = vload(sums + c);
        if (slope) v = vleaky(v, vload(r->slope + c));
        if (narrow) vstore_bf16((uint16_t *)(void *)out + c, v);
        else vstore((float *)(void *)out + c, v);
    }
}

UPZ_INLINE void finish_group(const UpzTileRest *r, int count, bool slope, bool narrow)
{
    const int x = r->at % (UPZ_TILE_SIDE / GROUP) * GROUP;
    const float *sums = r->sums + r->at * (GROUP * UPZ_TILE_SIDE);
    char *out = r->out[r->at / (UPZ_TILE_SIDE / GROUP)] + x * r->step;
    for (int i = 0; i < count; i++) finish_pixel(r, sums + i * UPZ_TILE_SIDE, out + i * r->step, slope, narrow);
}

/* What is done to up to `most` groups of pixels with complete sums. The multiplications beside it leave few
 * instructions to spare: what is most frequent is spelled out. */
UPZ_INLINE void finish_groups(UpzTileRest *r, int most)
{
    const int end = UPZ_MIN(r->at + most, r->end);
    for (; r->at < end; r->at++) {
        const int left = r->count - r->at % (UPZ_TILE_SIDE / GROUP) * GROUP;
        if (left >= GROUP && r->slope && r->narrow) finish_group(r, GROUP, true, true);
        else finish_group(r, UPZ_MIN(left, GROUP), r->slope != NULL, r->narrow);
    }
}

/* 16 pixels from m on of each row, of outputs o … o + 15. Four rows share a tile of weights, and their inputs
 * are mostly the same: weights and inputs of a block stay in the first cache. rows is a constant where this is
 * inlined. */
UPZ_INLINE void sum_block(TileBank *bank, const UpzTileConv *c, const uint16_t *w, int o, int m, int rows,
                          int share, UpzTileRest *rest)
{
    const int count = UPZ_MIN(UPZ_TILE_SIDE, c->count - m);
    TILE_LOAD(bank, 0, c->bias + o, 0);
    if (rows > 1) TILE_LOAD(bank, 1, c->bias + o, 0);
    if (rows > 2) TILE_LOAD(bank, 2, c->bias + o, 0);
    if (rows > 3) TILE_LOAD(bank, 3, c->bias + o, 0);
    for (int r = 0; r < c->n_runs; r++) {
        const UpzTileRun *run = &c->runs[r];
        const ptrdiff_t step = run->step;
        const char *a[UPZ_TILE_ROWS];
        for (int i = 0; i < rows; i++) a[i] = (const char *)run->a[i] + m * step;
        for (ptrdiff_t at = 0; at < run->blocks * UPZ_TILE_DEPTH * (ptrdiff_t)sizeof(*w);
             at += UPZ_TILE_DEPTH * (ptrdiff_t)sizeof(*w), w += TILE_VALUES) {
            TILE_LOAD(bank, 4, w, UPZ_TILE_DEPTH * sizeof(*w));
            TILE_LOAD_ROWS(bank, 5, a[0] + at, step, count);
            TILE_MULTIPLY(bank, 0, 5, 4);
            if (rows > 1) TILE_LOAD_ROWS(bank, 6, a[1] + at, step, count);
            if (rows > 1) TILE_MULTIPLY(bank, 1, 6, 4);
            if (rows > 2) TILE_LOAD_ROWS(bank, 7, a[2] + at, step, count);
            if (rows > 2) TILE_MULTIPLY(bank, 2, 7, 4);
            if (rows > 3) TILE_LOAD_ROWS(bank, 5, a[3] + at, step, count);
            if (rows > 3) TILE_MULTIPLY(bank, 3, 5, 4);
            finish_groups(rest, share);
        }
    }
    finish_groups(rest, GROUPS);
    float *sums = rest->sums;
    const ptrdiff_t line = UPZ_TILE_SIDE * sizeof(*sums), tile = UPZ_TILE_SIDE * UPZ_TILE_SIDE;
    TILE_STORE(bank, 0, sums, line);
    if (rows > 1) TILE_STORE(bank, 1, sums + tile, line);
    if (rows > 2) TILE_STORE(bank, 2, sums + 2 * tile, line);
    if (rows > 3) TILE_STORE(bank, 3, sums + 3 * tile, line);
    const ptrdiff_t value = c->narrow ? sizeof(uint16_t) : sizeof(float);
    *rest = (UpzTileRest){.sums = sums, .slope = c->slope ? c->slope + o : NULL, .count = count,
                          .end = rows * (UPZ_TILE_SIDE / GROUP), .step = c->out_step * value, .narrow = c->narrow};
    for (int i = 0; i < rows; i++) rest->out[i] = (char *)c->out[i] + (m * c->out_step + o) * value;
}

static void TILES(tile_conv)(const UpzTileConv *c, UpzTileRest *rest)
{
    UpzTileRest left = *rest;
    TileBank bank;
    int blocks = 0;
    for (int r = 0; r < c->n_runs; r++) blocks += c->runs[r].blocks;
    const int share = (GROUPS + blocks - 1) / blocks; /* of the groups, a step */
    for (int first = 0; first < c->count; first += STRETCH) {
        const int end = UPZ_MIN(first + STRETCH, c->count);
        const uint16_t *w = c->weights;
        for (int o = 0; o < c->n_out; o += UPZ_TILE_SIDE, w += (ptrdiff_t)blocks * TILE_VALUES)
            for (int m = first; m < end; m += UPZ_TILE_SIDE)
                switch (c->rows) {
                case 1: sum_block(&bank, c, w, o, m, 1, share, &left); break;
                case 2: sum_block(&bank, c, w, o, m, 2, share, &left); break;
                case 3: sum_block(&bank, c, w, o, m, 3, share, &left); break;
                default: sum_block(&bank, c, w, o, m, 4, share, &left); break;
                }
    }
    *rest = left;
}

static void TILES(tile_finish)(UpzTileRest *rest) { finish_groups(rest, GROUPS); }

const UpzTileKernels TILES(upz_tile_kernels) = {
    .begin = tiles_begin,
    .conv = TILES(tile_conv),
    .finish = TILES(tile_finish),
    .end = tiles_end,
};
