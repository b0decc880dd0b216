/* 3x3 convolutions in fp32 by Winograd's F(4x4, 3x3), tile after tile: see kernels.h. */
#include "base/alloc.h"
#include "engine/cpu/conv_wino.h"
#include "engine/cpu/pack.h"

#define TILE_BYTES (700 << 10) /* of points at a time: they and the weights share L2 */

bool upz_wino_takes(const UpzConvShape *s)
{
    return !s->transposed && s->kernel_w == 3 && s->kernel_h == 3 && s->stride == 1 &&
           s->pad_x == 1 && s->pad_y == 1 && s->groups == 1 && s->in >= 16;
}

/* Tiles taken at a time, and the floats per tile and per point of their blocks. */
typedef struct Tiles {
    int block;
    ptrdiff_t v_tile, m_tile, v_point, m_point;
} Tiles;

static Tiles tiles_of(const UpzStage *s)
{
    Tiles t;
    /* views that are no whole groups spill over before the next one overwrites */
    t.v_tile = upz_pixel_pitch(s->in) + UPZ_CPU_GROUP * (s->n_inputs > 1 || s->in % UPZ_CPU_GROUP);
    t.m_tile = s->pitch;
    size_t bytes = UPZ_WINO_POINTS * sizeof(float) * (size_t)(t.v_tile + t.m_tile);
    t.block = UPZ_CLAMP((int)(TILE_BYTES / bytes) / 12 * 12, 12, 48);
    /* equal low address bits at all points would thrash the cache */
    t.v_point = t.block * t.v_tile + 48;
    t.m_point = t.block * t.m_tile + 48;
    return t;
}

void upz_wino_filter(double g[UPZ_WINO_IN][3])
{
    const double at[5] = {0, UPZ_WINO_A, -UPZ_WINO_A, UPZ_WINO_B, -UPZ_WINO_B};
    for (int i = 0; i < 5; i++) {
        double f = 1;
        for (int j = 0; j < 5; j++)
            if (j != i) f *= at[i] - at[j];
        for (int k = 0; k < 3; k++) g[i][k] = (k == 0 ? 1 : k == 1 ? at[i] : at[i] * at[i]) / f;
    }
    g[5][0] = g[5][1] = 0;
    g[5][2] = 1;
}

double upz_wino_weight(double g[UPZ_WINO_IN][3], const float *k, int a, int b)
{
    double half[3];
    for (int x = 0; x < 3; x++) half[x] = g[a][0] * k[x] + g[a][1] * k[3 + x] + g[a][2] * k[6 + x];
    return half[0] * g[b][0] + half[1] * g[b][1] + half[2] * g[b][2];
}

static void *pack(const UpzProgram *p, const UpzStage *s, const float *weights, const float *factors,
                  size_t *bytes)
{
    const int out = s->pitch;
    const size_t plane = (size_t)s->in * (size_t)out;
    float *packed = upz_pack_zeros(UPZ_WINO_POINTS * plane, bytes);
    if (!packed) return NULL;
    double g[UPZ_WINO_IN][3];
    upz_wino_filter(g);
    for (int o = 0; o < s->channels; o++)
        for (int i = 0; i < s->in; i++)
            for (int at = 0; at < UPZ_WINO_POINTS; at++)
                packed[(size_t)at * plane + (size_t)i * (size_t)out + o] =
                    (float)upz_wino_weight(g, weights + ((size_t)o * (size_t)s->in + (size_t)i) * 9,
                                           at / UPZ_WINO_IN, at % UPZ_WINO_IN);
    return packed;
}

static size_t v_bytes(const Tiles *t)
{
    return UPZ_ROUND_UP(UPZ_WINO_POINTS * (size_t)t->v_point * sizeof(float) + UPZ_PAD, 64);
}

size_t upz_wino_scratch(const UpzStage *s)
{
    const Tiles t = tiles_of(s);
    return v_bytes(&t) + UPZ_WINO_POINTS * (size_t)t.m_point * sizeof(float);
}

size_t upz_wino_point_values(const UpzStage *s) { return (size_t)tiles_of(s).v_point; }

static size_t scratch(const UpzProgram *p, const UpzStage *s, int width) { return upz_wino_scratch(s); }

/* All channels of all inputs at the points of a row of `count` tiles. */
static void tiles_in(const UpzPiece *p, int ty, int x, int count, float *v, ptrdiff_t v_point,
                     ptrdiff_t v_tile)
{
    for (int k = 0; k < p->s->n_inputs; k++) {
        const UpzMapView *view = &p->s->views[k];
        UpzWinoIn in = {.pitch = upz_view_pitch(p, k), .shift = view->up == 2 ? 1 : view->up == 4 ? 2
                        : view->up == 8 ? 3 : 0, .x = x - 1, .channels = view->channels,
                        .count = count, .v = v, .v_point = v_point, .v_tile = v_tile};
        for (int i = 0; i < UPZ_WINO_IN; i++) in.rows[i] = upz_view_row(p, k, ty - 1 + i);
        p->f->kernels->wino_in(&in);
        v += view->channels;
    }
}

#define AHEAD_VIEWS 2 /* whose rows are fetched ahead */

/* The input rows of a block of tiles, to be fetched while the block before is multiplied. */
static void note_ahead(const UpzPiece *p, int ty, int x, int count, UpzAhead *a, const char **rows)
{
    *a = (UpzAhead){.rows = rows};
    for (int k = 0; k < p->s->n_inputs && k < AHEAD_VIEWS; k++) {
        const UpzMapView *v = &p->s->views[k];
        const int pitch = upz_view_pitch(p, k);
        for (int i = 0; i < UPZ_WINO_IN; i++)
            rows[a->n_rows++] = (const char *)upz_view_row(p, k, ty - 1 + i) +
                                (ptrdiff_t)(x / v->up) * pitch * (ptrdiff_t)sizeof(float);
        a->bytes = UPZ_MAX(a->bytes, (size_t)(count * UPZ_WINO_TILE / v->up + 2) *
                                         (size_t)pitch * sizeof(float));
    }
}

/* Sums longer than this go through in several turns, so that a turn's weights stay in L1. */
#define SUM_BLOCK 128

static void multiply(const UpzPiece *p, const UpzWinoPoint *at)
{
    const UpzStage *s = p->s;
    for (int c = 0; c < s->in; c += SUM_BLOCK) {
        UpzRun run = {at->v + c, at->v_tile, UPZ_MIN(SUM_BLOCK, s->in - c)};
        p->f->kernels->gemm(&(UpzGemm){.runs = &run, .n_runs = 1,
            .weights = (const float *)s->weights + ((ptrdiff_t)at->point * s->in + c) * s->pitch,
            .n_out = s->pitch, .start = c ? UPZ_GEMM_MORE : UPZ_GEMM_ZERO, .out = at->m,
            .out_step = at->m_tile, .count = at->count, .ahead = at->ahead});
    }
}

void upz_wino_run(const UpzPiece *p, void *own, void (*products)(const UpzPiece *p, const UpzWinoPoint *at))
{
    const UpzCpuKernels *k = p->f->kernels;
    const UpzStage *s = p->s;
    const Tiles b = tiles_of(s);
    const int out = s->pitch, block = b.block;
    const int first = upz_stage_tile(s, 0, p->x0);
    const int n_tiles = (p->x1 - first + UPZ_WINO_TILE - 1) / UPZ_WINO_TILE;
    float *v = p->scratch->conv, *m = v + v_bytes(&b) / sizeof(float);
    const char *rows[AHEAD_VIEWS * UPZ_WINO_IN];
    for (int ty = upz_stage_tile(s, 1, p->y0); ty < p->y1; ty += UPZ_WINO_TILE)
        for (int t = 0; t < n_tiles; t += block) {
            const int count = UPZ_MIN(block, n_tiles - t), x = first + t * UPZ_WINO_TILE;
            tiles_in(p, ty, x, count, v, b.v_point, b.v_tile);
            UpzAhead ahead;
            const bool more = t + block < n_tiles;
            note_ahead(p, more ? ty : ty + UPZ_WINO_TILE, more ? x + count * UPZ_WINO_TILE : first,
                       UPZ_MIN(block, more ? n_tiles - t - block : n_tiles), &ahead, rows);
            if (!more && ty + UPZ_WINO_TILE >= p->y1) ahead.n_rows = 0;
            for (int point = 0; point < UPZ_WINO_POINTS; point++)
                products(p, &(UpzWinoPoint){.point = point, .count = count, .v = v + point * b.v_point,
                                            .v_tile = b.v_tile, .m = m + point * b.m_point, .m_tile = b.m_tile,
                                            .ahead = &ahead, .scratch = own});
            UpzWinoOut o = {.m = m, .m_point = b.m_point, .m_tile = b.m_tile, .channels = out,
                            .count = count, .bias = s->bias, .slope = s->slope, .pitch = out,
                            .x = x - p->x0, .x0 = 0, .x1 = p->x1 - p->x0};
            for (int i = 0; i < UPZ_WINO_TILE; i++)
                if (ty + i >= p->y0 && ty + i < p->y1) o.rows[i] = upz_out_floats(p, ty + i);
            k->wino_out(&o);
            for (int i = 0; i < UPZ_WINO_TILE; i++)
                if (o.rows[i])
                    upz_finish_row(p, ty + i, UPZ_MAX(x, p->x0),
                                UPZ_MIN(x + count * UPZ_WINO_TILE, p->x1));
        }
}

static void run(const UpzPiece *p) { upz_wino_run(p, NULL, multiply); }

const UpzConvOps upz_conv_wino = {
    .name = "fp32-wino-f4",
    .in = UPZ_TYPE_F32,
    .group = UPZ_CPU_GROUP,
    .tile = UPZ_WINO_TILE,
    .strips = UPZ_WINO_TILE,
    .several = true,
    .enlarged = true,
    .takes = upz_wino_takes,
    .pack = pack,
    .scratch = scratch,
    .run = run,
};
