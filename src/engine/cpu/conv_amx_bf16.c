/* Convolutions by tiles of bf16 with sums in fp32: see tiles.h. Maps are bf16 where all that reads them goes
 * this way; other inputs, and enlarged ones, are brought to bf16 rows in scratch first. */
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
static void *pack(const UpzStage *s, const float *weights, size_t *bytes)
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

#define SUMS_BYTES (UPZ_TILE_BLOCK * UPZ_TILE_BLOCK * sizeof(float))

static size_t scratch(const UpzProgram *p, const UpzStage *s, int width)
{
    return SUMS_BYTES + runs_bytes(s) + (size_t)s->kernel_h * prepared_values(p, s, width) * sizeof(uint16_t);
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

/* The place of input row y: each of kernel_h rows has one. */
static uint16_t *place_of(const Scratch *s, int kernel_h, int y)
{
    const int place = y - upz_floor_div(y, kernel_h) * kernel_h;
    return s->rows + (size_t)place * s->row;
}

/* The prepared rows that output row y needs and the one above it did not. */
static void prepare(const UpzPiece *p, int y, const Scratch *s)
{
    const UpzStage *stage = p->s;
    const size_t pixels = prepared_pixels(stage, p->x1 - p->x0);
    const int top = y * stage->stride - stage->pad_y;
    for (int ky = y > p->y0 ? UPZ_MAX(stage->kernel_h - stage->stride, 0) : 0; ky < stage->kernel_h; ky++) {
        uint16_t *dst = place_of(s, stage->kernel_h, top + ky);
        for (int k = 0; k < stage->n_inputs; k++) {
            const UpzMapView *v = &stage->views[k];
            if (!is_prepared(p->f->program, v)) continue;
            prepare_row(p, k, top + ky, p->x0 * stage->stride - stage->pad_x, pixels, dst);
            dst += pixels * (size_t)prepared_pitch(v);
        }
    }
}

static int make_runs(const UpzPiece *p, int y, const Scratch *s)
{
    const UpzStage *stage = p->s;
    const size_t pixels = prepared_pixels(stage, p->x1 - p->x0);
    const int top = y * stage->stride - stage->pad_y;
    int n = 0;
    for (int ky = 0; ky < stage->kernel_h; ky++) {
        const uint16_t *prepared = place_of(s, stage->kernel_h, top + ky);
        for (int k = 0; k < stage->n_inputs; k++) {
            const UpzMapView *v = &stage->views[k];
            const int blocks = blocks_of(v);
            const uint16_t *a = prepared;
            int pitch = prepared_pitch(v);
            if (is_prepared(p->f->program, v)) {
                prepared += pixels * (size_t)pitch;
            } else {
                pitch = upz_view_pitch(p, k);
                a = (const uint16_t *)upz_view_row(p, k, top + ky) +
                    ((ptrdiff_t)p->x0 * stage->stride - stage->pad_x) * pitch;
            }
            const ptrdiff_t step = (ptrdiff_t)stage->stride * pitch * (ptrdiff_t)sizeof(*a);
            if (blocks * UPZ_TILE_DEPTH == pitch) { /* no channels between: one run */
                s->runs[n++] = (UpzTileRun){a, step, blocks * stage->kernel_w};
                continue;
            }
            for (int kx = 0; kx < stage->kernel_w; kx++)
                s->runs[n++] = (UpzTileRun){a + kx * pitch, step, blocks};
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
                   .row = prepared_values(p->f->program, s, p->x1 - p->x0)};
    const bool narrow = s->type == UPZ_TYPE_BF16, posts = s->n_posts > 0;
    UpzTileRest rest = {.sums = own.sums};
    k->begin();
    for (int y = p->y0; y < p->y1; y++) {
        if (own.row) prepare(p, y, &own);
        const int n = make_runs(p, y, &own);
        void *out = posts || !narrow ? (void *)upz_out_floats(p, y)
                                     : (uint16_t *)upz_out_row(p, y) + (ptrdiff_t)p->x0 * s->pitch;
        /* a narrow map's padding is read: it is written as well */
        k->conv(&(UpzTileConv){.runs = own.runs, .n_runs = n, .weights = s->weights,
                               .n_out = narrow ? s->pitch : outputs(s), .bias = s->bias, .slope = s->slope,
                               .out = out, .out_step = s->pitch, .narrow = narrow && !posts,
                               .count = p->x1 - p->x0}, &rest);
        if (!posts) continue;
        k->finish(&rest);
        upz_finish_row(p, y, p->x0, p->x1);
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
    .several = true,
    .enlarged = true,
    .takes = takes,
    .pack = pack,
    .scratch = scratch,
    .run = run,
};
