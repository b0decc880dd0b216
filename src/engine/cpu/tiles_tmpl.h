/* Convolutions by tiles, written once over a vector V (simd_LEVEL.h) and a layer of tiles (tile_NAME.h). */
#include "base/compiler.h"

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

/* One block: 16 pixels of each row, of 16 outputs. */
typedef struct TileBlock {
    const uint16_t *weights;
    int o, m;      /* its first output and first pixel */
    bool waiting;  /* the last two rows' sums of the block before are still in registers */
} TileBlock;

/* What is done to the sums of a block of outputs, from now on. */
UPZ_INLINE void begin_rest(const UpzTileConv *c, int o, int m, UpzTileRest *rest)
{
    const ptrdiff_t value = c->narrow ? sizeof(uint16_t) : sizeof(float);
    *rest = (UpzTileRest){.sums = rest->sums, .slope = c->slope ? c->slope + o : NULL,
                          .count = UPZ_MIN(UPZ_TILE_SIDE, c->count - m),
                          .end = c->rows * (UPZ_TILE_SIDE / GROUP), .step = c->out_step * value,
                          .narrow = c->narrow};
    for (int i = 0; i < c->rows; i++) rest->out[i] = (char *)c->out[i] + (m * c->out_step + o) * value;
}

#define LINE (UPZ_TILE_SIDE * (ptrdiff_t)sizeof(float))
#define TILE (UPZ_TILE_SIDE * UPZ_TILE_SIDE)

/* Sums of the rows go to registers c0 … c3; those of the block before, `last`, are in p2 and p3 as far as they
 * are not stored yet. Six registers take turns, so that storing sums never holds up a multiplication: the last
 * two rows' are stored behind the next block's first products. Four rows share a tile of weights. rows is a
 * constant where this is inlined for all four. */
#define SUM_BLOCK(name, c0, c1, c2, c3, p2, p3)                                                              \
    UPZ_INLINE void name(TileBank *bank, const UpzTileConv *c, const TileBlock *b, const TileBlock *last,    \
                         int rows, int share, UpzTileRest *rest)                                             \
    {                                                                                                        \
        const uint16_t *w = b->weights;                                                                      \
        float *sums = rest->sums;                                                                            \
        bool waiting = last->waiting;                                                                        \
        TILE_LOAD(bank, c0, c->bias + b->o, 0);                                                              \
        if (rows > 1) TILE_LOAD(bank, c1, c->bias + b->o, 0);                                                \
        if (rows > 2) TILE_LOAD(bank, c2, c->bias + b->o, 0);                                                \
        if (rows > 3) TILE_LOAD(bank, c3, c->bias + b->o, 0);                                                \
        for (int r = 0; r < c->n_runs; r++) {                                                                \
            const UpzTileRun *run = &c->runs[r];                                                             \
            const ptrdiff_t step = run->step;                                                                \
            const char *a[UPZ_TILE_ROWS];                                                                    \
            for (int i = 0; i < rows; i++) a[i] = (const char *)run->a[i] + b->m * step;                     \
            for (ptrdiff_t at = 0; at < run->blocks * UPZ_TILE_DEPTH * (ptrdiff_t)sizeof(*w);                \
                 at += UPZ_TILE_DEPTH * (ptrdiff_t)sizeof(*w), w += TILE_VALUES) {                           \
                TILE_LOAD(bank, 7, w, UPZ_TILE_DEPTH * sizeof(*w));                                          \
                TILE_LOAD_ROWS(bank, 6, a[0] + at, step, c->count - b->m);                                   \
                TILE_MULTIPLY(bank, c0, 6, 7);                                                               \
                if (rows > 1) TILE_LOAD_ROWS(bank, 6, a[1] + at, step, c->count - b->m);                     \
                if (rows > 1) TILE_MULTIPLY(bank, c1, 6, 7);                                                 \
                if (rows > 2) TILE_LOAD_ROWS(bank, 6, a[2] + at, step, c->count - b->m);                     \
                if (rows > 2) TILE_MULTIPLY(bank, c2, 6, 7);                                                 \
                if (rows > 3) TILE_LOAD_ROWS(bank, 6, a[3] + at, step, c->count - b->m);                     \
                if (rows > 3) TILE_MULTIPLY(bank, c3, 6, 7);                                                 \
                if (waiting) {                                                                               \
                    if (rows > 2) TILE_STORE(bank, p2, sums + 2 * TILE, LINE);                               \
                    if (rows > 3) TILE_STORE(bank, p3, sums + 3 * TILE, LINE);                               \
                    begin_rest(c, last->o, last->m, rest);                                                   \
                    waiting = false;                                                                         \
                } else {                                                                                     \
                    finish_groups(rest, share);                                                              \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
        finish_groups(rest, GROUPS);                                                                         \
        TILE_STORE(bank, c0, sums, LINE);                                                                    \
        if (rows > 1) TILE_STORE(bank, c1, sums + TILE, LINE);                                               \
    }                                                                                                        \
    UPZ_INLINE void name##_end(TileBank *bank, const UpzTileConv *c, const TileBlock *b, UpzTileRest *rest)  \
    {                                                                                                        \
        if (c->rows > 2) TILE_STORE(bank, c2, rest->sums + 2 * TILE, LINE);                                  \
        if (c->rows > 3) TILE_STORE(bank, c3, rest->sums + 3 * TILE, LINE);                                  \
        begin_rest(c, b->o, b->m, rest);                                                                     \
    }

SUM_BLOCK(sum_first, 0, 1, 2, 3, 4, 5)
SUM_BLOCK(sum_second, 4, 5, 0, 1, 2, 3)
SUM_BLOCK(sum_third, 2, 3, 4, 5, 0, 1)

/* All outputs of 16 pixels in turn, then the next pixels: inputs stay in the first cache while weights come
 * from the second. */
UPZ_INLINE void sum_blocks(TileBank *bank, const UpzTileConv *c, int rows, int blocks, UpzTileRest *rest)
{
    const int share = blocks > 1 ? (GROUPS + blocks - 2) / (blocks - 1) : GROUPS; /* of the groups, a step */
    TileBlock last = {0};
    int turn = 2;
    for (int m = 0; m < c->count; m += UPZ_TILE_SIDE) {
        TileBlock b = {.weights = c->weights, .m = m, .waiting = true};
        for (; b.o < c->n_out; b.o += UPZ_TILE_SIDE, b.weights += (ptrdiff_t)blocks * TILE_VALUES) {
            turn = turn == 2 ? 0 : turn + 1;
            if (turn == 0) sum_first(bank, c, &b, &last, rows, share, rest);
            else if (turn == 1) sum_second(bank, c, &b, &last, rows, share, rest);
            else sum_third(bank, c, &b, &last, rows, share, rest);
            last = b;
        }
    }
    if (turn == 0) sum_first_end(bank, c, &last, rest);
    else if (turn == 1) sum_second_end(bank, c, &last, rest);
    else sum_third_end(bank, c, &last, rest);
}

static void TILES(tile_conv)(const UpzTileConv *c, UpzTileRest *rest)
{
    UpzTileRest left = *rest;
    TileBank bank;
    int blocks = 0;
    for (int r = 0; r < c->n_runs; r++) blocks += c->runs[r].blocks;
    if (c->rows == UPZ_TILE_ROWS) sum_blocks(&bank, c, UPZ_TILE_ROWS, blocks, &left);
    else sum_blocks(&bank, c, c->rows, blocks, &left);
    *rest = left;
}

static void TILES(tile_finish)(UpzTileRest *rest) { finish_groups(rest, GROUPS); }

const UpzTileKernels TILES(upz_tile_kernels) = {
    .begin = tiles_begin,
    .conv = TILES(tile_conv),
    .finish = TILES(tile_finish),
    .end = tiles_end,
};
