/* Tiles in plain C: the definition of what the instructions do. */
#include <float.h>
#include <math.h>

#define TILES(name) name##_c
#define ROW_BYTES (UPZ_TILE_SIDE * sizeof(float))

typedef union Tile {
    float sum[UPZ_TILE_SIDE][UPZ_TILE_SIDE];
    uint16_t half[UPZ_TILE_SIDE][UPZ_TILE_DEPTH];
    int32_t whole[UPZ_TILE_SIDE][UPZ_TILE_SIDE];
    int8_t byte[UPZ_TILE_SIDE][2 * UPZ_TILE_DEPTH];
} Tile;

typedef struct TileBank {
    Tile tile[8];
    int rows[8]; /* what is there of it */
} TileBank;

static void tile_load(TileBank *bank, int t, const void *p, ptrdiff_t step, int rows)
{
    for (int i = 0; i < rows; i++) memcpy(bank->tile[t].sum[i], (const char *)p + i * step, ROW_BYTES);
    bank->rows[t] = rows;
}

static float flushed(float x) { return fabsf(x) < FLT_MIN ? copysignf(0, x) : x; }

static inline void tile_multiply(TileBank *bank, int to, int left, int right)
{
    Tile *c = &bank->tile[to];
    const Tile *a = &bank->tile[left], *b = &bank->tile[right];
    float x[UPZ_TILE_DEPTH], y[UPZ_TILE_DEPTH][UPZ_TILE_SIDE];
    for (int k = 0; k < UPZ_TILE_DEPTH; k++)
        for (int n = 0; n < UPZ_TILE_SIDE; n++) y[k][n] = flushed(vload_bf16(&b->half[k / 2][2 * n + k % 2]));
    for (int m = 0; m < bank->rows[left]; m++) {
        float chain[2][UPZ_TILE_SIDE] = {{0}};
        for (int k = 0; k < UPZ_TILE_DEPTH; k++) x[k] = flushed(vload_bf16(&a->half[m][k]));
        for (int k = 0; k < UPZ_TILE_DEPTH; k++)
            for (int n = 0; n < UPZ_TILE_SIDE; n++)
                chain[k % 2][n] = flushed(fmaf(x[k], y[k][n], chain[k % 2][n]));
        for (int n = 0; n < UPZ_TILE_SIDE; n++)
            c->sum[m][n] = flushed(flushed(c->sum[m][n]) + flushed(chain[0][n] + chain[1][n]));
    }
}

static inline void tile_multiply_int8(TileBank *bank, int to, int left, int right)
{
    Tile *c = &bank->tile[to];
    const Tile *a = &bank->tile[left], *b = &bank->tile[right];
    for (int m = 0; m < bank->rows[left]; m++)
        for (int k = 0; k < 2 * UPZ_TILE_DEPTH; k++)
            for (int n = 0; n < UPZ_TILE_SIDE; n++)
                c->whole[m][n] += a->byte[m][k] * b->byte[k / 4][4 * n + k % 4];
}

static void tile_store(const TileBank *bank, int t, void *p, ptrdiff_t step)
{
    for (int i = 0; i < UPZ_TILE_SIDE; i++) memcpy((char *)p + i * step, bank->tile[t].sum[i], ROW_BYTES);
}

#define TILE_LOAD(bank, t, p, step) tile_load(bank, t, p, step, UPZ_TILE_SIDE)
#define TILE_LOAD_ROWS(bank, t, p, step, rows) tile_load(bank, t, p, step, UPZ_MIN(UPZ_TILE_SIDE, rows))
#define TILE_ZERO(bank, t) memset(&(bank)->tile[t], 0, sizeof(Tile))
#define TILE_MULTIPLY(bank, c, a, b) tile_multiply(bank, c, a, b)
#define TILE_MULTIPLY_INT8(bank, c, a, b) tile_multiply_int8(bank, c, a, b)
#define TILE_STORE(bank, t, p, step) tile_store(bank, t, p, step)

#define KEEP(p) (void)0

static void tiles_begin(void) {}
static void tiles_end(void) {}
