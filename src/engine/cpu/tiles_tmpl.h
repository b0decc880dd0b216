/* Convolutions by tiles, written once over a vector V (simd_LEVEL.h) and a layer of tiles (tile_NAME.h). */
#include "base/compiler.h"

/* What is done to up to `most` pixels of complete sums. */
UPZ_INLINE void finish_pixels(UpzTileRest *r, int most)
{
    const int end = UPZ_MIN(r->at + most, r->count);
    for (; r->at < end; r->at++) {
        const float *sums = r->sums + r->at * UPZ_TILE_BLOCK;
        char *out = r->out + r->at * r->step;
        for (int c = 0; c < r->channels; c += W) {
            V x = vload(sums + c);
            if (r->slope) x = vleaky(x, vload(r->slope + c));
            if (r->narrow) vstore_bf16((uint16_t *)(void *)out + c, x);
            else vstore((float *)(void *)out + c, x);
        }
    }
}

/* Pixels m … m + count - 1 of outputs o …: down and across are the tiles of sums (1 or 2 each way), constants
 * where this is inlined. */
UPZ_INLINE void sum_block(TileBank *bank, const UpzTileConv *c, const uint16_t *w, int o, int m, int count,
                          int down, int across, int share, UpzTileRest *rest)
{
    TILE_LOAD(bank, 0, c->bias + o, 0);
    if (across == 2) TILE_LOAD(bank, 1, c->bias + o + UPZ_TILE_SIDE, 0);
    if (down == 2) TILE_LOAD(bank, 2, c->bias + o, 0);
    if (down == 2 && across == 2) TILE_LOAD(bank, 3, c->bias + o + UPZ_TILE_SIDE, 0);
    for (int r = 0; r < c->n_runs; r++) {
        const ptrdiff_t step = c->runs[r].step;
        const char *a = (const char *)c->runs[r].a + m * step;
        for (int b = 0; b < c->runs[r].blocks; b++, a += UPZ_TILE_DEPTH * sizeof(*w)) {
            TILE_LOAD_ROWS(bank, 4, a, step, UPZ_MIN(count, UPZ_TILE_SIDE));
            TILE_LOAD(bank, 6, w, UPZ_TILE_DEPTH * sizeof(*w));
            TILE_MULTIPLY(bank, 0, 4, 6);
            if (across == 2) {
                TILE_LOAD(bank, 7, w + UPZ_TILE_SIDE * UPZ_TILE_DEPTH, UPZ_TILE_DEPTH * sizeof(*w));
                TILE_MULTIPLY(bank, 1, 4, 7);
            }
            if (down == 2) {
                TILE_LOAD_ROWS(bank, 5, a + UPZ_TILE_SIDE * step, step, count - UPZ_TILE_SIDE);
                TILE_MULTIPLY(bank, 2, 5, 6);
                if (across == 2) TILE_MULTIPLY(bank, 3, 5, 7);
            }
            w += 2 * UPZ_TILE_SIDE * UPZ_TILE_DEPTH;
            finish_pixels(rest, share);
        }
    }
    finish_pixels(rest, UPZ_TILE_BLOCK);
    float *sums = rest->sums;
    const ptrdiff_t row = UPZ_TILE_BLOCK * sizeof(*sums);
    TILE_STORE(bank, 0, sums, row);
    if (across == 2) TILE_STORE(bank, 1, sums + UPZ_TILE_SIDE, row);
    if (down == 2) TILE_STORE(bank, 2, sums + UPZ_TILE_SIDE * UPZ_TILE_BLOCK, row);
    if (down == 2 && across == 2) TILE_STORE(bank, 3, sums + UPZ_TILE_SIDE * UPZ_TILE_BLOCK + UPZ_TILE_SIDE, row);
    const ptrdiff_t value = c->narrow ? sizeof(uint16_t) : sizeof(float);
    *rest = (UpzTileRest){.sums = sums, .slope = c->slope ? c->slope + o : NULL, .count = count,
                          .out = (char *)c->out + (m * c->out_step + o) * value, .step = c->out_step * value,
                          .channels = across * UPZ_TILE_SIDE, .narrow = c->narrow};
}

static void TILES(tile_conv)(const UpzTileConv *c, UpzTileRest *rest)
{
    UpzTileRest left = *rest;
    TileBank bank;
    int blocks = 0;
    for (int r = 0; r < c->n_runs; r++) blocks += c->runs[r].blocks;
    const int share = (UPZ_TILE_BLOCK + blocks - 1) / blocks; /* of a block's pixels, a step */
    const uint16_t *w = c->weights;
    for (int o = 0; o < c->n_out; o += UPZ_TILE_BLOCK) {
        const int across = c->n_out - o > UPZ_TILE_SIDE ? 2 : 1;
        for (int m = 0; m < c->count; m += UPZ_TILE_BLOCK) {
            const int count = UPZ_MIN(UPZ_TILE_BLOCK, c->count - m);
            if (across == 2 && count > UPZ_TILE_SIDE) sum_block(&bank, c, w, o, m, count, 2, 2, share, &left);
            else if (across == 2) sum_block(&bank, c, w, o, m, count, 1, 2, share, &left);
            else if (count > UPZ_TILE_SIDE) sum_block(&bank, c, w, o, m, count, 2, 1, share, &left);
            else sum_block(&bank, c, w, o, m, count, 1, 1, share, &left);
        }
        w += (ptrdiff_t)blocks * 2 * UPZ_TILE_SIDE * UPZ_TILE_DEPTH;
    }
    *rest = left;
}

static void TILES(tile_finish)(UpzTileRest *rest) { finish_pixels(rest, UPZ_TILE_BLOCK); }

const UpzTileKernels TILES(upz_tile_kernels) = {
    .begin = tiles_begin,
    .conv = TILES(tile_conv),
    .finish = TILES(tile_finish),
    .end = tiles_end,
};
