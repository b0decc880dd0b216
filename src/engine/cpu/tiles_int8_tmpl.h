/* Convolutions by tiles of 8-bit integers, written once over a vector V (simd_LEVEL.h) and a layer of tiles
 * (tile_NAME.h). Two rows of pixels meet two tiles of outputs: four multiplications want four loads. As in
 * tiles_tmpl.h, what is done to sums is done in small groups beside the multiplications of the next block. */
#include "base/compiler.h"

#define STRETCH 256 /* pixels of a row for which all outputs are computed in turn */
#define TILE_BYTES (UPZ_TILE_SIDE * UPZ_TILE8_DEPTH)
#define GROUP 4 /* pixels that are finished together */
#define GROUPS (UPZ_TILE8_ROWS * UPZ_TILE_SIDE / GROUP)
#define SUMS (UPZ_TILE_SIDE * UPZ_TILE_SIDE)

UPZ_INLINE V finished(const UpzTile8Rest *r, const int32_t *sum, int c, bool slope)
{
    const V v = vfma(vload_int32(sum), vload(r->scale + c), vload(r->bias + c));
    return slope ? vleaky(v, vload(r->slope + c)) : v;
}

/* Up to four pixels of 16 or 32 outputs. */
UPZ_INLINE void finish_group(const UpzTile8Rest *r, int count, bool both, bool slope, bool narrow)
{
    const int x = r->at % (UPZ_TILE_SIDE / GROUP) * GROUP;
    const int32_t *sums = r->sums + r->at / (UPZ_TILE_SIDE / GROUP) * (2 * SUMS) + x * UPZ_TILE_SIDE;
    char *out = r->out[r->at / (UPZ_TILE_SIDE / GROUP)] + x * r->step;
    for (int c = 0; c < UPZ_TILE_SIDE; c += W)
        for (int i = 0; i < count; i += 2) {
            const int32_t *at = sums + i * UPZ_TILE_SIDE + c;
            char *to = out + i * r->step;
            const bool two = i + 1 < count;
            if (narrow && both && two) {
                vstore_int8_twice((int8_t *)to + c, (int8_t *)to + r->step + c, finished(r, at, c, slope),
                                  finished(r, at + SUMS, c + UPZ_TILE_SIDE, slope),
                                  finished(r, at + UPZ_TILE_SIDE, c, slope),
                                  finished(r, at + SUMS + UPZ_TILE_SIDE, c + UPZ_TILE_SIDE, slope));
                continue;
            }
            for (int k = 0; k < (both ? 2 : 1); k++)
                for (int j = 0; j < (two ? 2 : 1); j++) {
                    const V v = finished(r, at + k * SUMS + j * UPZ_TILE_SIDE, c + k * UPZ_TILE_SIDE, slope);
                    const ptrdiff_t channel = c + k * UPZ_TILE_SIDE;
                    if (narrow) vstore_int8((int8_t *)to + j * r->step + channel, v);
                    else vstore((float *)(void *)(to + j * r->step) + channel, v);
                }
        }
}

/* What is done to up to `most` groups of pixels with complete sums; what is most frequent is spelled out. */
UPZ_INLINE void finish_groups(UpzTile8Rest *r, int most)
{
    const int end = UPZ_MIN(r->at + most, r->end);
    for (; r->at < end; r->at++) {
        const int left = r->count - r->at % (UPZ_TILE_SIDE / GROUP) * GROUP;
        if (left >= GROUP && r->both && r->slope && r->narrow) finish_group(r, GROUP, true, true, true);
        else finish_group(r, UPZ_MIN(left, GROUP), r->both, r->slope != NULL, r->narrow);
    }
}

/* 16 pixels from m on of rows y … of outputs o … . rows and tiles (of outputs) are constants where this is
 * inlined: 1 or 2. */
UPZ_INLINE void sum_block(TileBank *bank, const UpzTile8Conv *c, const int8_t *w, ptrdiff_t w_tile, int o, int m,
                          int y, int rows, int tiles, int share, UpzTile8Rest *rest)
{
    const int count = UPZ_MIN(UPZ_TILE_SIDE, c->count - m);
    TILE_ZERO(bank, 0);
    if (tiles > 1) TILE_ZERO(bank, 1);
    if (rows > 1) TILE_ZERO(bank, 2);
    if (rows > 1 && tiles > 1) TILE_ZERO(bank, 3);
    for (int r = 0; r < c->n_runs; r++) {
        const UpzTile8Run *run = &c->runs[r];
        const ptrdiff_t step = run->step;
        const int8_t *a = run->a[y] + m * step, *b = rows > 1 ? run->a[y + 1] + m * step : a;
        for (int i = 0; i < run->blocks; i++, a += UPZ_TILE8_DEPTH, b += UPZ_TILE8_DEPTH, w += TILE_BYTES) {
            TILE_LOAD(bank, 4, w, UPZ_TILE8_DEPTH);
            TILE_LOAD_ROWS(bank, 5, a, step, count);
            TILE_MULTIPLY_INT8(bank, 0, 5, 4);
            if (tiles > 1) TILE_LOAD(bank, 6, w + w_tile, UPZ_TILE8_DEPTH);
            if (tiles > 1) TILE_MULTIPLY_INT8(bank, 1, 5, 6);
            if (rows > 1) TILE_LOAD_ROWS(bank, 7, b, step, count);
            if (rows > 1) TILE_MULTIPLY_INT8(bank, 2, 7, 4);
            if (rows > 1 && tiles > 1) TILE_MULTIPLY_INT8(bank, 3, 7, 6);
            finish_groups(rest, share);
        }
    }
    finish_groups(rest, GROUPS);
    int32_t *sums = rest->sums;
    const ptrdiff_t line = UPZ_TILE_SIDE * sizeof(*sums);
    TILE_STORE(bank, 0, sums, line);
    if (tiles > 1) TILE_STORE(bank, 1, sums + SUMS, line);
    if (rows > 1) TILE_STORE(bank, 2, sums + 2 * SUMS, line);
    if (rows > 1 && tiles > 1) TILE_STORE(bank, 3, sums + 3 * SUMS, line);
    const ptrdiff_t value = c->narrow ? 1 : sizeof(float);
    *rest = (UpzTile8Rest){.sums = sums, .scale = c->scale + o, .bias = c->bias + o,
                           .slope = c->slope ? c->slope + o : NULL, .count = count, .both = tiles > 1,
                           .narrow = c->narrow, .end = rows * (UPZ_TILE_SIDE / GROUP), .step = c->out_step * value};
    for (int i = 0; i < rows; i++) rest->out[i] = (char *)c->out[y + i] + (m * c->out_step + o) * value;
}

UPZ_INLINE void sum_rows(TileBank *bank, const UpzTile8Conv *c, const int8_t *w, ptrdiff_t w_tile, int o, int m,
                         int tiles, int share, UpzTile8Rest *rest)
{
    for (int y = 0; y + 1 < c->rows; y += 2) sum_block(bank, c, w, w_tile, o, m, y, 2, tiles, share, rest);
    if (c->rows % 2) sum_block(bank, c, w, w_tile, o, m, c->rows - 1, 1, tiles, share, rest);
}

static void TILES(tile8_conv)(const UpzTile8Conv *c, UpzTile8Rest *rest)
{
    UpzTile8Rest left = *rest;
    TileBank bank;
    int blocks = 0;
    for (int r = 0; r < c->n_runs; r++) blocks += c->runs[r].blocks;
    const int share = (GROUPS + blocks - 1) / blocks; /* of the groups, a step */
    const ptrdiff_t w_tile = (ptrdiff_t)blocks * TILE_BYTES;
    for (int first = 0; first < c->count; first += STRETCH) {
        const int end = UPZ_MIN(first + STRETCH, c->count);
        const int8_t *w = c->weights;
        for (int o = 0; o < c->n_out; o += 2 * UPZ_TILE_SIDE, w += 2 * w_tile)
            for (int m = first; m < end; m += UPZ_TILE_SIDE)
                if (o + UPZ_TILE_SIDE < c->n_out) sum_rows(&bank, c, w, w_tile, o, m, 2, share, &left);
                else sum_rows(&bank, c, w, w_tile, o, m, 1, share, &left);
    }
    *rest = left;
}

static void TILES(tile8_finish)(UpzTile8Rest *rest) { finish_groups(rest, GROUPS); }

const UpzTile8Kernels TILES(upz_tile8_kernels) = {
    .begin = tiles_begin,
    .conv = TILES(tile8_conv),
    .finish = TILES(tile8_finish),
    .end = tiles_end,
};
