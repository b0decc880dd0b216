/* Convolutions by tiles of 8-bit integers with sums in 32 bits: see tiles_int8.h. Weights have a factor an output,
 * maps one a channel (quant.h); a map's factors are part of the weights that meet it, so sums want nothing but
 * a scale. Maps are int8 where all that reads them goes this way; other inputs, and enlarged ones, are brought to
 * int8 rows in scratch first. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "engine/cpu/conv.h"
#include "engine/cpu/epilogue.h"
#include "engine/cpu/pack.h"
#include "engine/cpu/tiles_int8.h"
#include "engine/quant.h"

#define PRODUCT (UPZ_INT8_LARGEST * 128) /* the largest of two numbers */

/* Many networks' layers are mostly identities: the weights of the kernel's centre are several times as large as
 * all others, and steps that fit them are too coarse for the others. The centre may be met again by up to SPARE
 * more weights, so that its weights are sums of several numbers. */
#define SPARE 2
#define SPARE_TAPS 9 /* of a kernel for which that is cheap */

static bool takes(const UpzConvShape *s)
{
    return s->groups == 1 && s->in >= 16 && (int64_t)s->in * (s->kernel_w * s->kernel_h + SPARE) <= INT_MAX / PRODUCT;
}

/* ---- where a view's values stand in a row of inputs ---- */

/* Values from pixel to pixel. A map's own pitch, or that of a prepared row, which is the same where it can be. */
static int pitch_of(const UpzProgram *p, const UpzMapView *v)
{
    const int pitch = p->stages[v->stage].pitch;
    return pitch % p->group ? UPZ_ROUND_UP(v->channels, p->group) : pitch;
}

/* Blocks of a stretch of values. */
static int blocks_for(int values) { return (values + UPZ_TILE8_DEPTH - 1) / UPZ_TILE8_DEPTH; }

/* How a kernel row meets a view: in one stretch over all columns, whatever lies between, or column after column. */
typedef struct Stretch {
    int n, blocks; /* stretches, and blocks of each */
} Stretch;

static Stretch stretch_of(const UpzProgram *p, const UpzStage *s, const UpzMapView *v)
{
    const int whole = blocks_for((s->kernel_w - 1) * pitch_of(p, v) + v->channels), each = blocks_for(v->channels);
    return whole <= s->kernel_w * each ? (Stretch){1, whole} : (Stretch){s->kernel_w, each};
}

static int all_blocks(const UpzProgram *p, const UpzStage *s, int spare)
{
    int n = 0;
    for (int k = 0; k < s->n_inputs; k++) {
        const Stretch t = stretch_of(p, s, &s->views[k]);
        n += t.n * t.blocks * s->kernel_h + spare * blocks_for(s->views[k].channels);
    }
    return n;
}

static int outputs(const UpzStage *s) { return UPZ_ROUND_UP(s->channels, UPZ_TILE_SIDE); }

/* ---- weights ---- */

/* What stands before the weights, all of it in one block of memory. */
typedef struct Packed {
    bool direct;   /* sums become int8 at once: they are scaled for that */
    int spare;     /* times that the kernel's centre is met once more, behind all else */
    int blocks;
    float *scale, *bias; /* by output */
    int8_t *weights;
} Packed;

#define HEAD_BYTES UPZ_ROUND_UP(sizeof(Packed), 64)

typedef struct Source {
    const UpzProgram *p;
    const UpzStage *s;
    const float *weights, *factors;
} Source;

static bool is_centre(const UpzStage *s, int ky, int kx) { return ky == s->kernel_h / 2 && kx == s->kernel_w / 2; }

/* The weight of input channel `c` and output o at kernel place (ky, kx), times the map's factor. */
static float weight_of(const Source *src, int o, int c, int ky, int kx)
{
    const UpzStage *s = src->s;
    const size_t taps = (size_t)s->kernel_h * (size_t)s->kernel_w, tap = (size_t)(ky * s->kernel_w + kx);
    return src->weights[((size_t)o * (size_t)s->in + (size_t)c) * taps + tap] * src->factors[c];
}

/* The largest weights of an output: of the kernel's centre and of all else. */
static void largest(const Source *src, int o, float *centre, float *other)
{
    *centre = *other = 0;
    for (int ky = 0; ky < src->s->kernel_h; ky++)
        for (int kx = 0; kx < src->s->kernel_w; kx++) {
            float *most = is_centre(src->s, ky, kx) ? centre : other;
            for (int c = 0; c < src->s->in; c++) *most = fmaxf(*most, fabsf(weight_of(src, o, c, ky, kx)));
        }
}

/* As often as makes the centre's weights of outputs no larger than the others, on average. */
static int choose_spare(const Source *src)
{
    const UpzStage *s = src->s;
    float sum = 0, centre, other;
    if (s->kernel_w * s->kernel_h < SPARE_TAPS) return 0;
    for (int o = 0; o < s->channels; o++) {
        largest(src, o, &centre, &other);
        sum += other > 0 ? fminf(centre / other, 2 * (SPARE + 1)) : 1;
    }
    return UPZ_CLAMP((int)ceilf(sum / (float)s->channels - 0.25f) - 1, 0, SPARE);
}

/* Kernel rows, then views, then stretches, then columns and channels; behind them the centre, view after view,
 * as often as it is met again. */
static void pack_output(const Source *src, int o, Packed *packed)
{
    const UpzStage *s = src->s;
    const float inverse = 1 / packed->scale[o];
    int block = 0;
    for (int ky = 0; ky < s->kernel_h; ky++) {
        int first = 0;
        for (int k = 0; k < s->n_inputs; first += s->views[k++].channels) {
            const UpzMapView *v = &s->views[k];
            const Stretch t = stretch_of(src->p, s, v);
            for (int kx = 0; kx < s->kernel_w; kx++)
                for (int c = 0; c < v->channels; c++) {
                    const int at = c + (t.n == 1 ? kx * pitch_of(src->p, v) : kx * t.blocks * UPZ_TILE8_DEPTH);
                    packed->weights[upz_tile8_weight(packed->blocks, block + at / UPZ_TILE8_DEPTH,
                                                     at % UPZ_TILE8_DEPTH, o)] =
                        upz_int8(weight_of(src, o, first + c, ky, kx) * inverse);
                }
            block += t.n * t.blocks;
        }
    }
    for (int n = 1; n <= packed->spare; n++)
        for (int k = 0, first = 0; k < s->n_inputs; first += s->views[k].channels,
                 block += blocks_for(s->views[k++].channels))
            for (int c = 0; c < s->views[k].channels; c++) {
                const float w = weight_of(src, o, first + c, s->kernel_h / 2, s->kernel_w / 2) * inverse;
                const float done = (float)(n * UPZ_INT8_LARGEST);
                packed->weights[upz_tile8_weight(packed->blocks, block + c / UPZ_TILE8_DEPTH, c % UPZ_TILE8_DEPTH,
                                                 o)] = upz_int8(copysignf(fmaxf(fabsf(w) - done, 0), w));
            }
}

static void *pack(const UpzProgram *p, const UpzStage *s, const float *weights, const float *factors,
                  size_t *bytes)
{
    const Source src = {p, s, weights, factors};
    const int out = outputs(s), spare = choose_spare(&src), blocks = all_blocks(p, s, spare);
    size_t count;
    if (!upz_mul_size((size_t)blocks * UPZ_TILE8_DEPTH, (size_t)out, &count)) return NULL;
    const size_t floats = UPZ_ROUND_UP((size_t)out * sizeof(float), 64);
    char *at = (char *)(void *)upz_pack_zeros((HEAD_BYTES + 2 * floats + count) / sizeof(float), bytes);
    Packed *packed = (Packed *)(void *)at;
    if (!packed) return NULL;
    *packed = (Packed){.spare = spare, .blocks = blocks, .scale = (float *)(void *)(at + HEAD_BYTES),
                       .bias = (float *)(void *)(at + HEAD_BYTES + floats),
                       .weights = (int8_t *)at + HEAD_BYTES + 2 * floats};
    for (int o = 0; o < s->channels; o++) {
        float centre, other;
        largest(&src, o, &centre, &other);
        const float most = fmaxf(other, centre / (float)(1 + spare));
        packed->scale[o] = most > 0 ? most / UPZ_INT8_LARGEST : 1;
        pack_output(&src, o, packed);
    }
    return packed;
}

/* The largest that a result can be in size. */
static float bound(const UpzStage *s, int o, float inverse)
{
    const Packed *packed = s->weights;
    int sum = 0;
    for (int b = 0; b < packed->blocks; b++)
        for (int c = 0; c < UPZ_TILE8_DEPTH; c++)
            sum += 128 * abs(packed->weights[upz_tile8_weight(packed->blocks, b, c, o)]);
    const float most = (float)sum * packed->scale[o] * inverse + fabsf(s->bias[o] * inverse);
    return s->slope ? most * fmaxf(1, fabsf(s->slope[o])) : most;
}

/* Sums of an int8 map without posts are scaled to its numbers at once. */
static void settle(const UpzProgram *p, UpzStage *s)
{
    Packed *packed = s->weights;
    packed->direct = s->type == UPZ_TYPE_S8 && !s->n_posts;
    for (int o = 0; o < s->channels && packed->direct; o++)
        packed->direct = bound(s, o, s->inverse[o]) < 2147483000.0f; /* false for what is no number */
    for (int o = 0; o < s->channels; o++) {
        const float inverse = packed->direct ? s->inverse[o] : 1;
        packed->scale[o] *= inverse;
        packed->bias[o] = s->bias[o] * inverse;
    }
}

/* ---- scratch: runs, sums, and rows of inputs that are no int8 maps ---- */

typedef struct Scratch {
    int32_t *sums;
    UpzTile8Run *runs;
    float *floats; /* of one pixel */
    int8_t *rows;
    size_t row; /* values of one prepared row */
    int ready;  /* the input row from which on none is prepared */
} Scratch;

static bool is_prepared(const UpzProgram *p, const UpzMapView *v)
{
    return p->stages[v->stage].type != UPZ_TYPE_S8 || v->up > 1;
}

/* Pixels of a prepared row: what `width` outputs read, what tiles read behind them, and the rest of a block. */
static size_t prepared_pixels(const UpzStage *s, int width)
{
    return (size_t)((width - 1 + UPZ_TILE_SIDE) * s->stride + s->kernel_w + UPZ_TILE8_DEPTH / 16);
}

static size_t prepared_values(const UpzProgram *p, const UpzStage *s, int width)
{
    size_t n = 0;
    for (int k = 0; k < s->n_inputs; k++)
        if (is_prepared(p, &s->views[k])) n += prepared_pixels(s, width) * (size_t)pitch_of(p, &s->views[k]);
    return n;
}

static size_t runs_bytes(const UpzStage *s)
{
    return UPZ_ROUND_UP((size_t)((s->kernel_h * s->kernel_w + SPARE) * s->n_inputs) * sizeof(UpzTile8Run), 64);
}

static size_t floats_bytes(const UpzProgram *p, const UpzStage *s)
{
    int most = 0;
    for (int k = 0; k < s->n_inputs; k++) most = UPZ_MAX(most, pitch_of(p, &s->views[k]));
    return UPZ_ROUND_UP((size_t)most * sizeof(float), 64);
}

#define SUMS_BYTES (UPZ_TILE_SUMS * sizeof(int32_t))

/* Input rows that are read for as many rows of outputs as are computed together. */
static int rows_at_once(const UpzStage *s) { return (UPZ_TILE_ROWS - 1) * s->stride + s->kernel_h; }

static size_t scratch(const UpzProgram *p, const UpzStage *s, int width)
{
    return SUMS_BYTES + runs_bytes(s) + floats_bytes(p, s) +
           (size_t)rows_at_once(s) * prepared_values(p, s, width);
}

/* The view's channels of one pixel of its map, as floats up to whole groups. */
static void read_floats(const UpzPiece *p, const UpzMapView *v, const void *pixel, float *to)
{
    const UpzStage *from = &p->f->program->stages[v->stage];
    const int whole = v->channels / UPZ_CPU_GROUP * UPZ_CPU_GROUP;
    if (from->type == UPZ_TYPE_BF16) {
        p->f->kernels->widen(to, pixel, (size_t)UPZ_ROUND_UP(v->channels, UPZ_CPU_GROUP)); /* within its pitch */
        return;
    }
    memcpy(to, pixel, (size_t)v->channels * sizeof(*to));
    if (whole < v->channels) memset(to + v->channels, 0, (size_t)(UPZ_CPU_GROUP + whole - v->channels) * sizeof(*to));
}

/* Columns x … x + count - 1 of row y of view k as int8. What lies between the view's channels and the pitch meets
 * weights of zero: it may be anything. */
static void prepare_row(const UpzPiece *p, int k, int y, int x, size_t count, const Scratch *s, int8_t *dst)
{
    const UpzMapView *v = &p->s->views[k];
    const UpzStage *from = &p->f->program->stages[v->stage];
    const int pitch = pitch_of(p->f->program, v), w = p->f->rings[v->stage].w * v->up;
    const int groups = UPZ_ROUND_UP(v->channels, UPZ_CPU_GROUP);
    const char *row = upz_view_row(p, k, y);
    const ptrdiff_t pixel = (ptrdiff_t)from->pitch * (ptrdiff_t)upz_type_size(from->type);
    for (size_t i = 0; i < count; i++, dst += pitch) {
        const int at = x + (int)i;
        if (at < 0 || at >= w) {
            memset(dst, 0, (size_t)pitch);
            continue;
        }
        if (i && at % v->up && at > 0) { /* as the column before */
            memcpy(dst, dst - pitch, (size_t)pitch);
            continue;
        }
        const char *src = row + at / v->up * pixel;
        if (from->type == UPZ_TYPE_S8) {
            memcpy(dst, src, (size_t)v->channels);
            continue;
        }
        read_floats(p, v, src, s->floats);
        p->f->kernels->narrow8(dst, s->floats, from->inverse + v->first, groups, 1);
    }
}

/* The place of input row y. */
static int8_t *place_of(const Scratch *s, const UpzStage *stage, int y)
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
        int8_t *dst = place_of(s, stage, y);
        for (int k = 0; k < stage->n_inputs; k++) {
            const UpzMapView *v = &stage->views[k];
            if (!is_prepared(p->f->program, v)) continue;
            prepare_row(p, k, y, p->x0 * stage->stride - stage->pad_x, pixels, s, dst);
            dst += pixels * (size_t)pitch_of(p->f->program, v);
        }
    }
    s->ready = last + 1;
}

/* What view k's input row y holds for the piece's first column; `before` values of a prepared row are other
 * views'. */
static const int8_t *input(const UpzPiece *p, int k, int y, size_t before, const Scratch *s)
{
    const UpzStage *stage = p->s;
    if (is_prepared(p->f->program, &stage->views[k])) return place_of(s, stage, y) + before;
    return (const int8_t *)upz_view_row(p, k, y) +
           ((ptrdiff_t)p->x0 * stage->stride - stage->pad_x) * upz_view_pitch(p, k);
}

/* The runs of a kernel's row or, `centre`, of its centre, for `rows` rows of outputs from y on; behind n others. */
static int row_runs(const UpzPiece *p, int y, int rows, int ky, bool centre, const Scratch *s, int n)
{
    const UpzProgram *program = p->f->program;
    const UpzStage *stage = p->s;
    const size_t pixels = prepared_pixels(stage, p->x1 - p->x0);
    size_t before = 0;
    for (int k = 0; k < stage->n_inputs; k++) {
        const UpzMapView *v = &stage->views[k];
        const int pitch = pitch_of(program, v);
        const Stretch t = centre ? (Stretch){1, blocks_for(v->channels)} : stretch_of(program, stage, v);
        UpzTile8Run run = {.step = (ptrdiff_t)stage->stride * pitch, .blocks = t.blocks};
        for (int i = 0; i < rows; i++)
            run.a[i] = input(p, k, (y + i) * stage->stride - stage->pad_y + ky, before, s) +
                       (centre ? stage->kernel_w / 2 * pitch : 0);
        for (int kx = 0; kx < t.n; kx++) {
            s->runs[n++] = run;
            for (int i = 0; i < rows; i++) run.a[i] += pitch;
        }
        if (is_prepared(program, v)) before += pixels * (size_t)pitch;
    }
    return n;
}

static int make_runs(const UpzPiece *p, int y, int rows, const Scratch *s)
{
    const Packed *packed = p->s->weights;
    int n = 0;
    for (int ky = 0; ky < p->s->kernel_h; ky++) n = row_runs(p, y, rows, ky, false, s, n);
    for (int i = 0; i < packed->spare; i++) n = row_runs(p, y, rows, p->s->kernel_h / 2, true, s, n);
    return n;
}

static void run(const UpzPiece *p)
{
    const UpzTile8Kernels *k = p->f->program->tiles8;
    const UpzStage *s = p->s;
    const Packed *packed = s->weights;
    char *at = p->scratch->conv;
    Scratch own = {.sums = (int32_t *)(void *)at, .runs = (UpzTile8Run *)(void *)(at + SUMS_BYTES),
                   .floats = (float *)(void *)(at + SUMS_BYTES + runs_bytes(s)),
                   .rows = (int8_t *)at + SUMS_BYTES + runs_bytes(s) + floats_bytes(p->f->program, s),
                   .row = prepared_values(p->f->program, s, p->x1 - p->x0), .ready = INT_MIN};
    UpzTile8Rest rest = {.sums = own.sums};
    k->begin();
    for (int y = p->y0; y < p->y1; y += UPZ_TILE_ROWS) {
        const int rows = UPZ_MIN(UPZ_TILE_ROWS, p->y1 - y), top = y * s->stride - s->pad_y;
        if (own.row) prepare(p, top, top + (rows - 1) * s->stride + s->kernel_h - 1, &own);
        UpzTile8Conv c = {.runs = own.runs, .n_runs = make_runs(p, y, rows, &own), .rows = rows,
                          .weights = packed->weights, .n_out = outputs(s), .scale = packed->scale,
                          .bias = packed->bias, .slope = s->slope, .out_step = s->pitch,
                          .narrow = packed->direct, .count = p->x1 - p->x0};
        for (int i = 0; i < rows; i++)
            c.out[i] = packed->direct ? (void *)((int8_t *)upz_out_row(p, y + i) + (ptrdiff_t)p->x0 * s->pitch)
                                      : (void *)upz_out_floats(p, y + i);
        k->conv(&c, &rest);
        if (packed->direct) continue;
        k->finish(&rest);
        for (int i = 0; i < rows; i++) upz_finish_row(p, y + i, p->x0, p->x1);
    }
    k->finish(&rest);
    k->end();
}

const UpzConvOps upz_conv_amx_int8 = {
    .name = "int8-tiles",
    .cpu = UPZ_HAS_AMX_INT8,
    .in = UPZ_TYPE_S8,
    .group = UPZ_TILE_DEPTH,
    .tile = 1,
    .strips = UPZ_TILE_ROWS,
    .several = true,
    .enlarged = true,
    .takes = takes,
    .pack = pack,
    .settle = settle,
    .scratch = scratch,
    .run = run,
};
