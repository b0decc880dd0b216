/* Convolutions by tiles, written once over a vector V (simd_LEVEL.h) and a layer of tiles (tile_NAME.h). */
#include "base/compiler.h"

#define TILE_VALUES (UPZ_TILE_SIDE * UPZ_TILE_DEPTH)

#define BLOCK_BYTES (UPZ_TILE_DEPTH * (ptrdiff_t)sizeof(uint16_t)) /* of a pixel */
#define ROW_GROUPS (UPZ_TILE_SIDE / GROUP)
#define GROUP 4 /* pixels that are finished together */

UPZ_INLINE void finish_pixel(const float *slope, const float *sums, char *out, bool narrow)
{
    for (int c = 0; c < UPZ_TILE_SIDE; c += W) {
        const V v = vleaky(vload(sums + c), vload(slope + c));
        if (narrow) vstore_bf16((uint16_t *)(void *)out + c, v);
        else vstore((float *)(void *)out + c, v);
    }
}

/* What is done to all groups of pixels with complete sums that are left. */
static void TILES(tile_finish)(UpzTileRest *r)
{
    for (; r->at < r->end; r->at++) {
        const int count = UPZ_MIN(GROUP, r->count - r->at % ROW_GROUPS * GROUP);
        const float *sums = r->sums + r->at * (GROUP * UPZ_TILE_SIDE);
        char *out = r->out[r->at] + r->shift;
        for (int i = 0; i < count; i++) finish_pixel(r->slope, sums + i * UPZ_TILE_SIDE, out + i * r->step, r->narrow);
    }
}

static const UPZ_ALIGNED(64) float ones[UPZ_TILE_SIDE] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* One block: 16 pixels of each row, of 16 outputs. */
typedef struct TileBlock {
    const uint16_t *weights;
    int o, m; /* its first output and first pixel */
} TileBlock;

UPZ_INLINE ptrdiff_t value_bytes(const UpzTileConv *c) { return c->narrow ? sizeof(uint16_t) : sizeof(float); }

/* Where output 0 of each group of 16 pixels from m on lies. */
UPZ_INLINE void place_groups(const UpzTileConv *c, int m, char *out[UPZ_TILE_GROUPS])
{
    const ptrdiff_t step = c->out_step * value_bytes(c);
    for (int i = 0; i < c->rows; i++)
        for (int k = 0; k < ROW_GROUPS; k++)
            out[i * ROW_GROUPS + k] = (char *)c->out[i] + (m + k * GROUP) * step;
}

/* What is done to the sums of a block, from now on. */
UPZ_INLINE void begin_rest(const UpzTileConv *c, const TileBlock *b, char *const *out, UpzTileRest *r)
{
    r->slope = c->slope ? c->slope + b->o : ones;
    r->count = UPZ_MIN(UPZ_TILE_SIDE, c->count - b->m);
    r->at = 0, r->end = c->rows * ROW_GROUPS;
    r->step = c->out_step * value_bytes(c);
    r->shift = b->o * value_bytes(c);
    r->narrow = c->narrow;
    r->out = out;
}

#define LINE (UPZ_TILE_SIDE * (ptrdiff_t)sizeof(float))
#define TILE (UPZ_TILE_SIDE * UPZ_TILE_SIDE)

/* Sums of the rows go to registers c0 … c3; those of the block before are in p2 and p3 where they wait to be
 * stored. Six registers take turns, so that storing sums never holds up a multiplication: the last two rows' are
 * stored behind the next block's first products. Four rows share a tile of weights. `per` groups of the block
 * before are finished beside a step's products, a pixel of each behind each product: more at a time would keep the
 * next loads waiting. There are enough steps for all; the last groups are finished again and again, to the same
 * bytes, until the end. rows, per and narrow are constants where this is inlined for four rows. */
#define PRODUCT(c, p)                                                                                               \
    TILE_LOAD_ROWS(bank, 6, p, step, count);                                                                        \
    TILE_MULTIPLY(bank, c, 6, 7);                                                                                   \
    p += BLOCK_BYTES;                                                                                               \
    KEEP(p);                                                                                                        \
    for (int k = 0; k < per; k++, out += out_step, sums += UPZ_TILE_SIDE) finish_pixel(slope, sums, out, narrow)
#define STEPS(name, c0, c1, c2, c3)                                                                                 \
    UPZ_INLINE const uint16_t *name(TileBank *bank, const uint16_t *w, const char *a[UPZ_TILE_ROWS], ptrdiff_t step, \
                                    int count, int rows, int n, int per, bool narrow, UpzTileRest *rest)            \
    {                                                                                                               \
        const float *slope = rest->slope, *done = rest->sums;                                                       \
        const ptrdiff_t out_step = rest->step;                                                                      \
        const char *a0 = a[0], *a1 = rows > 1 ? a[1] : a0, *a2 = rows > 2 ? a[2] : a0, *a3 = rows > 3 ? a[3] : a0;  \
        ptrdiff_t at = rest->at;                                                                                    \
        for (; n > 0; n--, w += TILE_VALUES) {                                                                      \
            char *out = per ? rest->out[at] + rest->shift : NULL;                                                   \
            const float *sums = done + at * (GROUP * UPZ_TILE_SIDE);                                                \
            if (per) at = at + per < UPZ_TILE_GROUPS ? at + per : UPZ_TILE_GROUPS - per;                            \
            TILE_LOAD(bank, 7, w, BLOCK_BYTES);                                                                     \
            PRODUCT(c0, a0);                                                                                        \
            if (rows > 1) { PRODUCT(c1, a1); }                                                                      \
            if (rows > 2) { PRODUCT(c2, a2); }                                                                      \
            if (rows > 3) { PRODUCT(c3, a3); }                                                                      \
        }                                                                                                           \
        a[0] = a0;                                                                                                  \
        if (rows > 1) a[1] = a1;                                                                                    \
        if (rows > 2) a[2] = a2;                                                                                    \
        if (rows > 3) a[3] = a3;                                                                                    \
        rest->at = (int)at;                                                                                         \
        return w;                                                                                                   \
    }
#define FIRST_PRODUCT(c, i)                                                                                         \
    if (rows > i) {                                                                                                 \
        TILE_LOAD(bank, c, bias, 0);                                                                                \
        TILE_LOAD_ROWS(bank, 6, a[i], step, count);                                                                 \
        TILE_MULTIPLY(bank, c, 6, 7);                                                                               \
        a[i] += BLOCK_BYTES;                                                                                        \
    }
#define SUM_BLOCK(name, c0, c1, c2, c3, p2, p3)                                                                     \
    STEPS(name##_steps, c0, c1, c2, c3)                                                                             \
    UPZ_INLINE void name(TileBank *bank, const UpzTileConv *c, const TileBlock *b, bool waiting,                    \
                         int rows, int per, bool narrow, UpzTileRest *rest)                                         \
    {                                                                                                               \
        const uint16_t *w = b->weights;                                                                             \
        const float *bias = c->bias + b->o;                                                                         \
        for (int r = 0; r < c->n_runs; r++) {                                                                       \
            const ptrdiff_t step = c->runs[r].step;                                                                 \
            const int count = c->count - b->m;                                                                      \
            int left = c->runs[r].blocks;                                                                           \
            const char *a[UPZ_TILE_ROWS] = {NULL};                                                                  \
            for (int i = 0; i < rows; i++) a[i] = (const char *)c->runs[r].a[i] + b->m * step;                      \
            if (r == 0) {                                                                                           \
                TILE_LOAD(bank, 7, w, BLOCK_BYTES);                                                                 \
                FIRST_PRODUCT(c0, 0)                                                                                \
                FIRST_PRODUCT(c1, 1)                                                                                \
                FIRST_PRODUCT(c2, 2)                                                                                \
                FIRST_PRODUCT(c3, 3)                                                                                \
                if (waiting && rows > 2) TILE_STORE(bank, p2, rest->sums + 2 * TILE, LINE);                         \
                if (waiting && rows > 3) TILE_STORE(bank, p3, rest->sums + 3 * TILE, LINE);                         \
                w += TILE_VALUES;                                                                                   \
                left--;                                                                                             \
            }                                                                                                       \
            w = name##_steps(bank, w, a, step, count, rows, left, per, narrow, rest);                               \
        }                                                                                                           \
    }                                                                                                               \
    UPZ_INLINE void name##_end(TileBank *bank, int rows, UpzTileRest *rest)                                         \
    {                                                                                                               \
        TILE_STORE(bank, c0, rest->sums, LINE);                                                                     \
        if (rows > 1) TILE_STORE(bank, c1, rest->sums + TILE, LINE);                                                \
    }                                                                                                               \
    UPZ_INLINE void name##_last(TileBank *bank, int rows, UpzTileRest *rest)                                        \
    {                                                                                                               \
        if (rows > 2) TILE_STORE(bank, c2, rest->sums + 2 * TILE, LINE);                                            \
        if (rows > 3) TILE_STORE(bank, c3, rest->sums + 3 * TILE, LINE);                                            \
    }

SUM_BLOCK(sum_first, 0, 1, 2, 3, 4, 5)
SUM_BLOCK(sum_second, 4, 5, 0, 1, 2, 3)
SUM_BLOCK(sum_third, 2, 3, 4, 5, 0, 1)

#define BLOCK(name, per) name(bank, c, &b, started, rows, per, narrow, rest)
#define TURN(name)                                                                                                  \
    if (per == 0) BLOCK(name, 0);                                                                                   \
    else if (per == 1) BLOCK(name, 1);                                                                              \
    else BLOCK(name, 2);                                                                                            \
    if (per == 0) TILES(tile_finish)(rest);                                                                         \
    name##_end(bank, rows, rest)

/* All outputs of 16 pixels in turn, then the next pixels: inputs stay in the first cache while weights come
 * from the second. */
UPZ_INLINE void sum_blocks(TileBank *bank, const UpzTileConv *c, int rows, bool narrow, int blocks,
                           UpzTileRest *rest)
{
    /* groups that are finished beside a step, so that there are steps for all; 0: there are too few */
    const int steps = blocks - 1;
    const int share = rows < UPZ_TILE_ROWS         ? 0
                      : steps >= UPZ_TILE_GROUPS     ? 1
                      : steps >= UPZ_TILE_GROUPS / 2 ? 2
                                                     : 0;
    bool started = false;
    int turn = 2;
    for (int m = 0; m < c->count; m += UPZ_TILE_SIDE) {
        char **out = rest->places[rest->out == rest->places[0]]; /* the other ones are in use */
        place_groups(c, m, out);
        TileBlock b = {.weights = c->weights, .m = m};
        for (; b.o < c->n_out; b.o += UPZ_TILE_SIDE, b.weights += (ptrdiff_t)blocks * TILE_VALUES) {
            const bool whole = rest->end == UPZ_TILE_GROUPS && rest->count == UPZ_TILE_SIDE;
            const int per = whole && rest->at == 0 ? share : 0;
            turn = turn == 2 ? 0 : turn + 1;
            if (turn == 0) {
                TURN(sum_first);
            } else if (turn == 1) {
                TURN(sum_second);
            } else {
                TURN(sum_third);
            }
            begin_rest(c, &b, out, rest);
            started = true;
        }
    }
    if (turn == 0) sum_first_last(bank, rows, rest);
    else if (turn == 1) sum_second_last(bank, rows, rest);
    else sum_third_last(bank, rows, rest);
}

static void TILES(tile_conv)(const UpzTileConv *c, UpzTileRest *rest)
{
    TileBank bank;
    int blocks = 0;
    for (int r = 0; r < c->n_runs; r++) blocks += c->runs[r].blocks;
    if (c->rows == UPZ_TILE_ROWS && c->narrow) sum_blocks(&bank, c, UPZ_TILE_ROWS, true, blocks, rest);
    else sum_blocks(&bank, c, c->rows, c->narrow, blocks, rest);
}

static double TILES(tile_peak)(size_t n)
{
    static const UPZ_ALIGNED(64) uint16_t zeros[TILE_VALUES];
    TileBank bank;
    (void)&bank; /* the instructions have one of their own */
    TILE_LOAD(&bank, 0, zeros, BLOCK_BYTES);
    TILE_LOAD(&bank, 1, zeros, BLOCK_BYTES);
    TILE_LOAD(&bank, 2, zeros, BLOCK_BYTES);
    TILE_LOAD(&bank, 3, zeros, BLOCK_BYTES);
    TILE_LOAD(&bank, 6, zeros, BLOCK_BYTES);
    TILE_LOAD(&bank, 7, zeros, BLOCK_BYTES);
    for (size_t k = 0; k < n; k++) {
        TILE_MULTIPLY(&bank, 0, 6, 7);
        TILE_MULTIPLY(&bank, 1, 6, 7);
        TILE_MULTIPLY(&bank, 2, 6, 7);
        TILE_MULTIPLY(&bank, 3, 6, 7);
    }
    return 4.0 * 2 * UPZ_TILE_SIDE * UPZ_TILE_SIDE * UPZ_TILE_DEPTH * (double)n;
}

const UpzTileKernels TILES(upz_tile_kernels) = {
    .begin = tiles_begin,
    .conv = TILES(tile_conv),
    .finish = TILES(tile_finish),
    .end = tiles_end,
    .peak = TILES(tile_peak),
};
