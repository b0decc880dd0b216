/* Convolutions by tiles of bf16 with sums in fp32: see tiles.h. Maps are bf16 where all that reads them goes
 * this way; other inputs, and enlarged ones, are brought to bf16 rows in scratch first. */
#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "engine/cpu/bf16.h"
#include "engine/cpu/conv.h"
#include "engine/cpu/epilogue.h"
#include "engine/cpu/pack.h"
#include "engine/cpu/tiles.h"

/* The network's first layer stays fp32: pictures need more than bf16's 8 bits. */
static bool takes(const UpzConvShape *s) { return s->groups == 1 && s->in >= 16; }

/* Blocks of channels of a view's pixel. */
static int blocks_of(const UpzMapView *v) { return (v->channels + UPZ_TILE_DEPTH - 1) / UPZ_TILE_DEPTH; }

static int all_blocks(const UpzStage *s)
{
    int n = 0;
    for (int k = 0; k < s->n_inputs; k++) n += blocks_of(&s->views[k]);
    return n * s->kernel_w * s->kernel_h;
}

static int outputs(const UpzStage *s) { return UPZ_ROUND_UP(s->channels, UPZ_TILE_SIDE); }

/* In the order of make_runs: kernel rows, then views, then kernel columns, then channels. */
static void *pack(const UpzProgram *p, const UpzStage *s, const float *weights, const float *factors,
                  size_t *bytes)
{
    const int taps = s->kernel_h * s->kernel_w, blocks = all_blocks(s);
    size_t count;
    if (!upz_mul_size((size_t)blocks * UPZ_TILE_DEPTH, (size_t)s->pitch, &count)) return NULL;
    uint16_t *packed = (uint16_t *)(void *)upz_pack_zeros((count + 1) / 2, bytes);
    if (!packed) return NULL;
    int block = 0;
    for (int ky = 0; ky < s->kernel_h; ky++) {
        int first = 0;
        for (int k = 0; k < s->n_inputs; first += s->views[k++].channels)
            for (int kx = 0; kx < s->kernel_w; kx++, block += blocks_of(&s->views[k]))
                for (int c = 0; c < s->views[k].channels; c++)
                    for (int o = 0; o < s->channels; o++)
                        packed[upz_tile_weight(blocks, block + c / UPZ_TILE_DEPTH, c % UPZ_TILE_DEPTH, o)] =
                            upz_bf16(weights[((size_t)o * (size_t)s->in + (size_t)(first + c)) * (size_t)taps +
                                             (size_t)(ky * s->kernel_w + kx)]);
    }
    return packed;
}

/* ---- scratch: runs, sums, and rows of inputs that are no bf16 maps ---- */

typedef struct Scratch {
    float *sums;
    UpzTileRun *runs;
    uint16_t *rows;
    size_t row; /* values of one prepared row */
    int ready;  /* the input row from which on none is prepared */
} Scratch;

static bool is_prepared(const UpzProgram *p, const UpzMapView *v)
{
    return p->stages[v->stage].type != UPZ_TYPE_BF16 || v->up > 1;
}

static int prepared_pitch(const UpzMapView *v) { return blocks_of(v) * UPZ_TILE_DEPTH; }

/* Pixels of a prepared row: what `width` outputs read, and what tiles read behind them. */
static size_t prepared_pixels(const UpzStage *s, int width)
{
    return (size_t)((width - 1 + UPZ_TILE_SIDE) * s->stride + s->kernel_w);
}

static size_t prepared_values(const UpzProgram *p, const UpzStage *s, int width)
{
    size_t n = 0;
    for (int k = 0; k < s->n_inputs; k++)
        if (is_prepared(p, &s->views[k])) n += prepared_pixels(s, width) * (size_t)prepared_pitch(&s->views[k]);
    return n;
}

static size_t runs_bytes(const UpzStage *s)
{
    return UPZ_ROUND_UP((size_t)(s->kernel_h * s->kernel_w * s->n_inputs) * sizeof(UpzTileRun), 64);
}

#define SUMS_BYTES (UPZ_TILE_SUMS * sizeof(float))

/* Input rows that are read for as many rows of outputs as are computed together. */
static int rows_at_once(const UpzStage *s) { return (UPZ_TILE_ROWS - 1) * s->stride + s->kernel_h; }

static size_t scratch(const UpzProgram *p, const UpzStage *s, int width)
{
    return SUMS_BYTES + runs_bytes(s) + (size_t)rows_at_once(s) * prepared_values(p, s, width) * sizeof(uint16_t);
}

/* Columns x … x + count - 1 of row y of view k as bf16, whole blocks a pixel. */
static void prepare_row(const UpzPiece *p, int k, int y, int x, size_t count, uint16_t *dst)
{
    const UpzMapView *v = &p->s->views[k];
    const UpzStage *from = &p->f->program->stages[v->stage];
    const int pitch = prepared_pitch(v), w = p->f->rings[v->stage].w * v->up;
    const void *row = upz_view_row(p, k, y);
    UPZ_ALIGNED(64) float pixel[UPZ_CPU_GROUP] = {0};
    for (size_t i = 0; i < count; i++, dst += pitch) {
        const int at = x + (int)i;
        if (at < 0 || at >= w) {
            memset(dst, 0, (size_t)pitch * sizeof(*dst));
            continue;
        }
        const ptrdiff_t first = (ptrdiff_t)(at / v->up) * from->pitch;
        if (from->type == UPZ_TYPE_BF16) {
            memcpy(dst, (const uint16_t *)row + first, (size_t)pitch * sizeof(*dst));
            continue;
        }
        const float *src = (const float *)row + first;
        const int whole = v->channels / UPZ_CPU_GROUP * UPZ_CPU_GROUP, rest = v->channels - whole;
        memset(dst + whole, 0, (size_t)(pitch - whole) * sizeof(*dst));
        if (whole) p->f->kernels->narrow(dst, src, (size_t)whole);
        if (!rest) continue;
        memcpy(pixel, src + whole, (size_t)rest * sizeof(*pixel));
        p->f->kernels->narrow(dst + whole, pixel, UPZ_CPU_GROUP);
    }
}

/* The place of input row y. */
static uint16_t *place_of(const Scratch *s, const UpzStage *stage, int y)
{
    const int n = rows_at_once(stage);
    return s->rows + (size_t)(y - upz_floor_div(y, n) * n) * s->row;
}

/* Prepares input rows first … last but for those that are. */
static void prepare(const UpzPiece *p, int first, int last, Scratch *s)
{
    const UpzStage *stage = p->s;
    const size_t pixels = prepared_pixels(stage, p->x1 - p->x0);
    for (int y = UPZ_MAX(first, s->ready); y <= last; y++) {
        uint16_t *dst = place_of(s, stage, y);
        for (int k = 0; k < stage->n_inputs; k++) {
            const UpzMapView *v = &stage->views[k];
            if (!is_prepared(p->f->program, v)) continue;
            prepare_row(p, k, y, p->x0 * stage->stride - stage->pad_x, pixels, dst);
            dst += pixels * (size_t)prepared_pitch(v);
        }
    }
    s->ready = last + 1;
}

/* What view k's input row y holds for the piece's first column; `before` values of a prepared row are other
 * views'. */
static const uint16_t *input(const UpzPiece *p, int k, int y, size_t before, const Scratch *s)
{
    const UpzStage *stage = p->s;
    if (is_prepared(p->f->program, &stage->views[k])) return place_of(s, stage, y) + before;
    return (const uint16_t *)upz_view_row(p, k, y) +
           ((ptrdiff_t)p->x0 * stage->stride - stage->pad_x) * upz_view_pitch(p, k);
}

/* For `rows` rows of outputs from y on. */
static int make_runs(const UpzPiece *p, int y, int rows, const Scratch *s)
{
    const UpzStage *stage = p->s;
    const size_t pixels = prepared_pixels(stage, p->x1 - p->x0);
    int n = 0;
    for (int ky = 0; ky < stage->kernel_h; ky++) {
        size_t before = 0;
        for (int k = 0; k < stage->n_inputs; k++) {
            const UpzMapView *v = &stage->views[k];
            const bool prepared = is_prepared(p->f->program, v);
            const int blocks = blocks_of(v), pitch = prepared ? prepared_pitch(v) : upz_view_pitch(p, k);
            /* no channels between pixels: one run */
            const int runs = blocks * UPZ_TILE_DEPTH == pitch ? 1 : stage->kernel_w;
            UpzTileRun run = {.step = (ptrdiff_t)stage->stride * pitch * (ptrdiff_t)sizeof(uint16_t),
                              .blocks = blocks * (runs == 1 ? stage->kernel_w : 1)};
            for (int i = 0; i < rows; i++)
                run.a[i] = input(p, k, (y + i) * stage->stride - stage->pad_y + ky, before, s);
            for (int kx = 0; kx < runs; kx++) {
                s->runs[n++] = run;
                for (int i = 0; i < rows; i++) run.a[i] += pitch;
            }
            if (prepared) before += pixels * (size_t)pitch;
        }
    }
    return n;
}

static void run(const UpzPiece *p)
{
    const UpzTileKernels *k = p->f->program->tiles;
    const UpzStage *s = p->s;
    char *at = p->scratch->conv;
    Scratch own = {.sums = (float *)(void *)at, .runs = (UpzTileRun *)(void *)(at + SUMS_BYTES),
                   .rows = (uint16_t *)(void *)(at + SUMS_BYTES + runs_bytes(s)),
                   .row = prepared_values(p->f->program, s, p->x1 - p->x0), .ready = INT_MIN};
    const bool narrow = s->type == UPZ_TYPE_BF16, posts = s->n_posts > 0;
    UpzTileRest rest = {.sums = own.sums};
    k->begin();
    for (int y = p->y0; y < p->y1; y += UPZ_TILE_ROWS) {
        const int rows = UPZ_MIN(UPZ_TILE_ROWS, p->y1 - y), top = y * s->stride - s->pad_y;
        if (own.row) prepare(p, top, top + (rows - 1) * s->stride + s->kernel_h - 1, &own);
        /* a narrow map's padding is read: it is written as well */
        UpzTileConv c = {.runs = own.runs, .n_runs = make_runs(p, y, rows, &own), .rows = rows,
                         .weights = s->weights, .n_out = narrow ? s->pitch : outputs(s), .bias = s->bias,
                         .slope = s->slope, .out_step = s->pitch, .narrow = narrow && !posts,
                         .count = p->x1 - p->x0};
        for (int i = 0; i < rows; i++)
            c.out[i] = c.narrow ? (void *)((uint16_t *)upz_out_row(p, y + i) + (ptrdiff_t)p->x0 * s->pitch)
                                : (void *)upz_out_floats(p, y + i);
        k->conv(&c, &rest);
        if (!posts) continue;
        k->finish(&rest);
        for (int i = 0; i < rows; i++) upz_finish_row(p, y + i, p->x0, p->x1);
    }
    k->finish(&rest);
    k->end();
}

const UpzConvOps upz_conv_amx_bf16 = {
    .name = "bf16-tiles",
    .cpu = UPZ_HAS_AMX_BF16,
    .in = UPZ_TYPE_BF16,
    .group = UPZ_TILE_DEPTH,
    .tile = 1,
    .strips = UPZ_TILE_ROWS,
    .several = true,
    .enlarged = true,
    .takes = takes,
    .pack = pack,
    .scratch = scratch,
    .run = run,
};
