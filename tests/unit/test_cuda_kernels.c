/* The CUDA engine's kernels, run on the host (fake/simt.h), against plain loops in double and
 * against the picture room: every kernel, for capabilities 6.1, 7.5 and 9.0, with copies as late and
 * as early as may be and in random order. What lies outside a result must stay untouched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/compiler.h"
#include "engine/cuda/kernels/grid.h"
#include "fake/simt.h"
#include "picture/convert.h"
#include "picture/format.h"

static uint32_t state32 = 1;
static uint32_t draw(void)
{
    state32 ^= state32 << 13;
    state32 ^= state32 >> 17;
    state32 ^= state32 << 5;
    return state32;
}

/* Memory that kernels may touch, of exactly this size, full of NaN; released by drop_all. */
static void *held[64];
static int n_held;
static void *memory(size_t bytes)
{
    void *m = aligned_alloc(256, (bytes + 255) / 256 * 256);
    assert_non_null(m);
    memset(m, 0xff, bytes);
    simt_memory_add(m, bytes);
    held[n_held++] = m;
    assert_true(n_held < 64);
    return m;
}

static void drop_all(void)
{
    while (n_held) {
        simt_memory_remove(held[--n_held]);
        free(held[n_held]);
    }
}

static uint64_t at(const void *p) { return (uint64_t)(uintptr_t)p; }

static void run(const char *name, int capability, const void *params, UpzCudaGrid g, unsigned seed)
{
    const SimtKernel *k = simt_find(name, capability);
    if (!k) fail_msg("no kernel %s for %d", name, capability);
    SimtLaunch l = {.kernel = k, .params = params, .grid_x = g.x, .grid_y = g.y,
                    .threads = g.threads, .shared = g.shared, .seed = seed};
    if (simt_launch(&l)) fail_msg("seed %u: %s", seed, simt_error());
}

/* ---- maps ---- */

typedef struct Map {
    UpzCudaMap m;
    uint16_t *data;
    size_t halves;
} Map;

#define UNTOUCHED 0xfe11 /* a NaN */

/* The border as params.h promises it: zeros at -1, width and height, NaN further out, and not a
 * byte more than may be read. `more`: chunks before and after, of others. */
static Map map_new(int width, int height, int chunks, int more)
{
    Map map;
    uint32_t row = (uint32_t)(UPZ_MAP_LEFT + upz_grid_up(width, UPZ_TILE_W) * UPZ_TILE_W + 8) * 16;
    uint32_t rows = (uint32_t)(UPZ_MAP_TOP + upz_grid_up(height, UPZ_TILE_H) * UPZ_TILE_H + 1);
    map.m = (UpzCudaMap){0, row * rows, row, width, height, chunks, 0};
    map.halves = (size_t)map.m.chunk * (size_t)(chunks + 2 * more) / 2;
    map.data = memory(map.halves * 2);
    for (size_t i = 0; i < map.halves; i++) map.data[i] = UNTOUCHED;
    map.m.data =
        at(map.data) + (uint64_t)more * map.m.chunk + UPZ_MAP_TOP * row + UPZ_MAP_LEFT * 16;
    return map;
}

static uint16_t *map_at(const Map *map, int c, int y, int x)
{
    int64_t in_chunk = (int64_t)y * map->m.row + (int64_t)x * 16 + c % 8 * 2;
    return (uint16_t *)(uintptr_t)(map->m.data + (uint64_t)(c / 8) * map->m.chunk +
                                   (uint64_t)in_chunk);
}

static float map_get(const Map *map, int c, int y, int x)
{
    if (x < 0 || y < 0 || x >= map->m.width || y >= map->m.height) return 0;
    return simt_float(*map_at(map, c, y, x));
}

static void map_fill(Map *map, int channels)
{
    for (int c = 0; c < map->m.chunks * 8; c++)
        for (int y = -1; y <= map->m.height; y++)
            for (int x = -1; x <= map->m.width; x++) {
                bool in = x >= 0 && y >= 0 && x < map->m.width && y < map->m.height && c < channels;
                *map_at(map, c, y, x) = in ? simt_half((float)(draw() % 3072) / 1024 - 1) : 0;
            }
}

/* All that is not in the picture is as map_new left it. */
static void map_untouched(const Map *map)
{
    size_t inside = 0, others = 0;
    for (int c = 0; c < map->m.chunks * 8; c++)
        for (int y = 0; y < map->m.height; y++)
            for (int x = 0; x < map->m.width; x++) inside += *map_at(map, c, y, x) != UNTOUCHED;
    for (size_t i = 0; i < map->halves; i++) others += map->data[i] != UNTOUCHED;
    assert_int_equal(inside, others);
    assert_int_equal(inside,
                     (size_t)map->m.chunks * 8 * (size_t)map->m.width * (size_t)map->m.height);
}

/* ---- images ---- */

typedef struct Image {
    UpzCudaImage m;
    uint16_t *data;
    size_t halves;
} Image;

static Image image_new(int width, int height, int planes)
{
    Image image;
    uint32_t row = (uint32_t)upz_grid_up(width * 2, 128) * 128;
    image.m = (UpzCudaImage){0, (uint64_t)row * (uint64_t)height, row, width, height, planes};
    image.halves = (size_t)image.m.plane * (size_t)planes / 2;
    image.data = memory(image.halves * 2);
    image.m.data = at(image.data);
    for (size_t i = 0; i < image.halves; i++) image.data[i] = UNTOUCHED;
    return image;
}

static uint16_t *image_at(const Image *image, int p, int y, int x)
{
    return image->data + ((size_t)p * image->m.plane + (size_t)y * image->m.row) / 2 + x;
}

static void image_untouched(const Image *image)
{
    size_t others = 0;
    for (size_t i = 0; i < image->halves; i++) others += image->data[i] != UNTOUCHED;
    assert_int_equal(others,
                     (size_t)image->m.planes * (size_t)image->m.width * (size_t)image->m.height);
}

static void close_to(double want, uint16_t got, const char *what, int c, int y, int x)
{
    double v = (double)simt_float(got), room = fabs(want) * 0x1.02p-11 + 3e-5;
    if (!(fabs(v - want) <= room))
        fail_msg("%s: channel %d, (%d, %d): %.9g for %.9g", what, c, x, y, v, want);
}

/* ---- convolutions ---- */

typedef struct Case {
    int in, out, width, height, kernel, up;
    int act, adds;    /* adds: maps added */
    float alpha, beta[2];
    int factor, base; /* factor 0: to a map */
} Case;

static float *weights; /* [out][in][kernel][kernel], multiples of 2^-7: sums of four are halves */

static float weight(const Case *c, int o, int i, int ky, int kx)
{
    return weights[((o * c->in + i) * c->kernel + ky) * c->kernel + kx];
}

/* The weight of tap (ty, tx) of four for parity (dy, dx): the 3x3's taps that fall there. */
static float parity_weight(const Case *c, int o, int i, int dy, int dx, int ty, int tx)
{
    float sum = 0;
    for (int ky = 0; ky < 3; ky++)
        for (int kx = 0; kx < 3; kx++) {
            int y = (dy + ky - 1 + 2) / 2 - 1, x = (dx + kx - 1 + 2) / 2 - 1; /* of the source */
            if (y == dy - 1 + ty && x == dx - 1 + tx) sum += weight(c, o, i, ky, kx);
        }
    return sum;
}

static uint16_t *pack(const Case *c, bool pair)
{
    int blocks = (c->out + 63) / 64, depth = (c->in + 15) / 16, parities = c->up == 2 ? 4 : 1;
    int across = c->up == 2 ? 2 : c->kernel, taps = across * across;
    size_t tiles = pair ? (size_t)depth * 12 : (size_t)(parities * blocks * taps * depth), tile = 0;
    uint16_t *w = memory(tiles * 2048);
    memset(w, 0, tiles * 2048);
    for (int k16 = 0; pair && k16 < depth; k16++)
        for (int r = 0; r < 4; r++)
            for (int dx = 0; dx < 3; dx++, tile++)
                for (int m = 0; m < 64; m++)
                    for (int k = 0; k < 16; k++) {
                        int o = m % 32, i = k16 * 16 + k, dy = r - m / 32;
                        if (o < c->out && i < c->in && dy >= 0 && dy < 3)
                            w[tile * 1024 + (size_t)(k / 8 * 512 + m * 8 + k % 8)] =
                                simt_half(weight(c, o, i, dy, dx));
                    }
    for (int p = 0; !pair && p < parities; p++)
        for (int b = 0; b < blocks; b++)
            for (int tap = 0; tap < taps; tap++)
                for (int k16 = 0; k16 < depth; k16++, tile++)
                    for (int m = 0; m < 64; m++)
                        for (int k = 0; k < 16; k++) {
                            int o = b * 64 + m, i = k16 * 16 + k, ty = tap / across,
                                tx = tap % across;
                            if (o >= c->out || i >= c->in) continue;
                            w[tile * 1024 + (size_t)(k / 8 * 512 + m * 8 + k % 8)] = simt_half(
                                c->up == 2 ? parity_weight(c, o, i, p / 2, p % 2, ty, tx)
                                           : weight(c, o, i, ty, tx));
                        }
    return w;
}

static float *per_channel(int out, float scale)
{
    size_t n = (size_t)(out + 63) / 64 * 64;
    float *v = memory(n * 4);
    for (size_t i = 0; i < n; i++)
        v[i] = (int)i < out ? ((float)(draw() % 512) / 256 - 1) * scale : 0;
    return v;
}

/* One sum of the reference, in double. */
static double convolved(const Case *c, const Map *src, int o, int y, int x)
{
    double sum = 0;
    int half = c->kernel / 2;
    for (int i = 0; i < c->in; i++)
        for (int ky = 0; ky < c->kernel; ky++)
            for (int kx = 0; kx < c->kernel; kx++) {
                int yy = y + ky - half, xx = x + kx - half;
                if (yy < 0 || xx < 0) continue;
                sum += (double)weight(c, o, i, ky, kx) *
                       (double)map_get(src, i, c->up == 2 ? yy / 2 : yy, c->up == 2 ? xx / 2 : xx);
            }
    return sum;
}

static void conv(const Case *c, bool hopper, int capability, int multiprocessors, unsigned seed)
{
    int chunks_in = (c->in + 15) / 16 * 2, chunks_out = (c->out + 15) / 16 * 2;
    int w = c->width * c->up, h = c->height * c->up;
    Map src = map_new(c->width, c->height, chunks_in, 0), dst, add[2], base;
    Image image;
    UpzCudaConv p = {.alpha = c->alpha, .beta = {c->beta[0], c->beta[1]}, .out = c->out,
                     .kernel = c->kernel, .up = c->up, .factor = c->factor ? c->factor : 1};
    char what[160];
    map_fill(&src, c->in);
    p.src = src.m;
    size_t n = (size_t)(c->out * c->in * c->kernel * c->kernel);
    weights = malloc(n * sizeof *weights);
    for (size_t i = 0; i < n; i++) weights[i] = (float)(int)(draw() % 65) / 128 - 0.25f;
    float *bias = per_channel(c->out, 1), *slope = c->act ? per_channel(c->out, 0.5f) : NULL;
    p.bias = at(bias);
    p.slope = at(slope);
    for (int i = 0; i < c->adds; i++) {
        add[i] = map_new(w, h, chunks_out, 0);
        map_fill(&add[i], c->out);
        p.add[i] = add[i].m;
    }
    if (c->base) {
        base = map_new(c->width, c->height, 2, 0);
        map_fill(&base, 3);
        p.base = base.m;
    }
    if (c->factor) {
        image = image_new(w * c->factor, h * c->factor, c->out / (c->factor * c->factor));
        p.image = image.m;
    } else {
        dst = map_new(w, h, chunks_out, 1);
        p.dst = dst.m;
    }
    const char *name;
    UpzCudaGrid g;
    if (hopper) {
        assert_true(upz_conv_hopper_can(&p));
        p.pair = upz_conv_stream_pairs(&p);
        p.weights = at(pack(c, p.pair));
        g = upz_conv_hopper_grid(&p, multiprocessors);
        name = upz_conv_hopper_name(&p);
    } else {
        p.weights = at(pack(c, false));
        g = upz_conv_mma_grid(&p, multiprocessors, capability);
        name = c->out <= 16 ? "conv_mma_m16" : c->out <= 32 ? "conv_mma_m32" : "conv_mma_m64";
    }
    snprintf(what, sizeof what, "%s sm_%d seed %u, %d -> %d, %dx%d, kernel %d, up %d, factor %d",
             name, capability, seed, c->in, c->out, c->width, c->height, c->kernel, c->up,
             c->factor);
    run(name, capability, &p, g, seed);
    for (int o = 0; o < c->out; o++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double v = convolved(c, &src, o, y, x) + (double)bias[o];
                if (slope && v < 0) v *= (double)slope[o];
                v *= (double)c->alpha;
                for (int i = 0; i < c->adds; i++)
                    v += (double)c->beta[i] * (double)map_get(&add[i], o, y, x);
                if (c->factor) {
                    int f = c->factor, plane = o / (f * f);
                    if (c->base) v += (double)map_get(&base, plane, y, x);
                    close_to(v, *image_at(&image, plane, y * f + o % (f * f) / f, x * f + o % f),
                             what, o, y, x);
                } else {
                    close_to(v, *map_at(&dst, o, y, x), what, o, y, x);
                }
            }
    if (c->factor) {
        image_untouched(&image);
    } else {
        for (int o = c->out; o < chunks_out * 8; o++)
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++)
                    assert_int_equal(*map_at(&dst, o, y, x) & 0x7fff, 0);
        map_untouched(&dst);
    }
    free(weights);
    drop_all();
}

static const Case cases[] = {
    /* in, out, w, h, kernel, up, act, adds, alpha, beta, factor, base */
    {3, 64, 131, 9, 3, 1, 1, 0, 1, {0, 0}, 0, 0},
    {64, 64, 130, 10, 3, 1, 1, 0, 1, {0, 0}, 0, 0},
    {64, 64, 259, 3, 3, 1, 0, 2, 0.2f, {1, 0.2f}, 0, 0},
    {64, 48, 40, 7, 3, 1, 0, 0, 1, {0, 0}, 4, 1},
    {64, 48, 129, 2, 3, 1, 1, 0, 1, {0, 0}, 4, 0},
    {32, 12, 33, 5, 3, 1, 0, 0, 1, {0, 0}, 2, 1},
    {64, 12, 131, 3, 3, 1, 0, 0, 1, {0, 0}, 2, 1},
    {64, 27, 30, 5, 3, 1, 0, 0, 1, {0, 0}, 3, 1},
    {64, 3, 70, 6, 3, 1, 0, 0, 1, {0, 0}, 1, 0},
    {64, 32, 140, 11, 3, 1, 1, 0, 1, {0, 0}, 0, 0},
    {96, 32, 20, 17, 3, 1, 1, 1, 0.5f, {1, 0}, 0, 0},
    {192, 64, 18, 5, 3, 1, 0, 1, 0.2f, {1, 0}, 0, 0},
    {48, 24, 129, 5, 3, 1, 1, 0, 1, {0, 0}, 0, 0},
    {16, 16, 21, 9, 3, 1, 1, 0, 1, {0, 0}, 0, 0},
    {64, 64, 67, 6, 3, 2, 1, 0, 1, {0, 0}, 0, 0},
    {32, 24, 131, 3, 3, 2, 1, 0, 1, {0, 0}, 0, 0},
    {128, 40, 37, 9, 1, 1, 1, 0, 1, {0, 0}, 0, 0},
    {32, 128, 9, 3, 3, 1, 1, 0, 1, {0, 0}, 0, 0},
    {64, 192, 12, 5, 3, 1, 0, 0, 1, {0, 0}, 8, 1},
    {16, 80, 1, 1, 3, 1, 1, 0, 1, {0, 0}, 0, 0},
    {64, 64, 1, 25, 3, 1, 1, 0, 1, {0, 0}, 0, 0},
    {64, 64, 520, 1, 3, 1, 1, 0, 1, {0, 0}, 0, 0}, /* runs of one row */
    {64, 64, 256, 2, 3, 1, 1, 1, 1, {0.5f, 0}, 0, 0},
    {64, 1, 127, 2, 3, 1, 0, 0, 1, {0, 0}, 1, 1},
    {32, 32, 129, 7, 3, 1, 1, 2, 0.2f, {1, 0.5f}, 0, 0},
    {80, 48, 130, 6, 3, 1, 0, 0, 1, {0, 0}, 4, 1},
    {48, 64, 255, 5, 3, 1, 1, 2, 0.2f, {1, 0.5f}, 0, 0},
};
#define N_CASES (sizeof cases / sizeof *cases)

static void conv_mma(void **state)
{
    static const unsigned seeds[] = {SIMT_LATE, SIMT_AT_ONCE, 5, 77};
    for (size_t i = 0; i < N_CASES; i++) {
        conv(&cases[i], false, 90, i % 2 ? 2 : 132, seeds[i % 4]);
        conv(&cases[i], false, 75, i % 2 ? 40 : 1, seeds[(i + 1) % 4]);
        if (i % 3 == 0) conv(&cases[i], false, 61, 3, seeds[(i + 1) % 4]);
    }
}

static void conv_hopper(void **state)
{
    static const unsigned seeds[] = {SIMT_LATE, SIMT_AT_ONCE, 5, 77};
    for (size_t i = 0; i < N_CASES; i++) {
        const Case *c = &cases[i];
        if (c->up == 2 && c->factor) continue;
        conv(c, true, 90, i % 2 ? 2 : 132, seeds[i % 4]);
        conv(c, true, 90, 1, seeds[(i + 2) % 4]);
    }
}

/* Random shapes and orders. */
static void conv_any(void **state)
{
    for (int i = 0; i < 40; i++) {
        Case c = {.alpha = 1, .beta = {0.5f, 1}, .up = 1};
        c.in = 16 * (int)(1 + draw() % 5);
        c.out = (int)(1 + draw() % 70);
        c.width = (int)(1 + draw() % (draw() % 4 ? 30 : 270));
        c.height = (int)(1 + draw() % 13);
        c.kernel = draw() % 4 ? 3 : 1;
        c.act = (int)(draw() % 2);
        c.adds = (int)(draw() % 3);
        if (c.kernel == 3 && draw() % 4 == 0) {
            c.up = 2;
            c.adds = 0;
        }
        conv(&c, i % 2, 90, (int)(1 + draw() % 5), draw());
    }
}

/* ---- pictures ---- */

static UpzCudaAxis axis_of(const UpzChromaAxis *a)
{
    UpzCudaAxis out = {.sub = a->sub, .down_at = a->down_at, .down_n = a->down_n};
    for (int i = 0; i < 4; i++) {
        out.up_at[i] = a->up_at[i];
        out.up_weight[i] = a->up_weight[i];
    }
    memcpy(out.down_weight, a->down_weight, sizeof out.down_weight);
    return out;
}

static UpzCudaConvert convert_of(const UpzLoad *l)
{
    UpzCudaConvert c = {.n_rows = l->n_rows, .n_comp = l->n_comp, .clip = l->clip,
                        .diagonal = l->diagonal, .x = axis_of(&l->x), .y = axis_of(&l->y)};
    memcpy(c.matrix, l->matrix, sizeof c.matrix);
    memcpy(c.offset, l->offset, sizeof c.offset);
    memcpy(c.bias, l->bias, sizeof c.bias);
    memcpy(c.lo, l->lo, sizeof c.lo);
    memcpy(c.hi, l->hi, sizeof c.hi);
    return c;
}

/* A picture whose planes are pieces of memory of exactly their size. */
static UprezPicture picture_new(const UprezFormat *f, int w, int h, int align)
{
    UprezPicture p = {.format = *f, .color = {1, 1, 1, UPREZ_RANGE_LIMITED, UPREZ_SITING_LEFT},
                      .width = w, .height = h};
    for (int i = 0; i < f->n_plane; i++) {
        int pw = w, step = 1;
        for (int c = 0; c < f->n_comp; c++)
            if (f->comp[c].plane == i) {
                step = f->comp[c].step > step ? f->comp[c].step : step;
                if (f->model == UPREZ_YUV && (c == 1 || c == 2) && f->comp[c].plane)
                    pw = (w + (1 << f->sub_x) - 1) >> f->sub_x;
            }
        if (f->model == UPREZ_YUV && f->n_plane == 1 && f->sub_x) /* packed 4:2:2 */
            pw = (w + 1) / 2 * 2;
        int ph = upz_plane_height(f, i, h);
        p.stride[i] = (pw * step + align - 1) / align * align;
        p.plane[i] = memory((size_t)p.stride[i] * (size_t)ph);
        for (size_t k = 0; k < (size_t)p.stride[i] * (size_t)ph; k++)
            ((uint8_t *)p.plane[i])[k] = (uint8_t)(draw() >> 11);
        for (size_t k = 0;
             f->depth > 8 && f->depth <= 16 && k < (size_t)p.stride[i] * (size_t)ph / 2; k++)
            ((uint16_t *)p.plane[i])[k] =
                (uint16_t)((draw() >> 9 & ((1u << f->depth) - 1)) << f->shift);
        for (size_t k = 0; f->depth == 32 && k < (size_t)p.stride[i] * (size_t)ph / 4; k++)
            ((float *)p.plane[i])[k] = (float)(draw() % 4096) / 3000 - 0.2f;
    }
    return p;
}

static UpzCudaPicture cuda_picture(const UprezPicture *p)
{
    const UprezFormat *f = &p->format;
    UpzCudaPicture out = {.depth = f->depth, .shift = f->shift, .sub_x = f->sub_x,
                          .sub_y = f->sub_y, .width = p->width, .height = p->height,
                          .n_comp = f->n_comp};
    for (int c = 0; c < f->n_comp; c++)
        out.comp[c] = (UpzCudaComponent){at(p->plane[f->comp[c].plane]) + f->comp[c].offset,
                                         p->stride[f->comp[c].plane], f->comp[c].step, 0};
    return out;
}

/* every form of picture/format.c */
static const char *const formats[] = {
    "gray", "gray9le", "gray10le", "gray12le", "gray14le", "gray16le", "grayf32le", "ya8",
    "ya16le", "yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuv420p9le",
    "yuv422p9le", "yuv444p9le", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv440p10le",
    "yuv420p12le", "yuv422p12le", "yuv444p12le", "yuv440p12le", "yuv420p14le", "yuv422p14le",
    "yuv444p14le", "yuv420p16le", "yuv422p16le", "yuv444p16le", "yuva420p", "yuva422p",
    "yuva444p", "yuva420p9le", "yuva422p9le", "yuva444p9le", "yuva420p10le", "yuva422p10le",
    "yuva444p10le", "yuva422p12le", "yuva444p12le", "yuva420p16le", "yuva422p16le",
    "yuva444p16le", "nv12", "nv21", "nv16", "nv24", "nv42", "nv20le", "p010le", "p012le",
    "p016le", "p210le", "p212le", "p216le", "p410le", "p412le", "p416le", "yuyv422", "uyvy422",
    "yvyu422", "y210le", "y212le", "vuya", "vuyx", "ayuv64le", "xv36le", "gbrp", "gbrp9le",
    "gbrp10le", "gbrp12le", "gbrp14le", "gbrp16le", "gbrpf32le", "gbrap", "gbrap10le",
    "gbrap12le", "gbrap14le", "gbrap16le", "gbrapf32le", "rgb24", "bgr24", "rgb0", "bgr0", "0rgb",
    "0bgr", "rgba", "bgra", "argb", "abgr", "rgb48le", "bgr48le", "rgba64le", "bgra64le",
    "rgbf32le", "rgbaf32le"};

static void loads(void **state)
{
    static const int sizes[][2] = {{1, 1}, {2, 2}, {37, 11}, {130, 6}, {259, 3}};
    int n = 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        for (int s = 0; s < 5; s++, n++) {
            UprezFormat f;
            UpzLoad l;
            int w = sizes[s][0], h = sizes[s][1],
                unshuffle = n % 4 == 3 ? 3 + n % 8 / 4 : 1 + n % 2;
            int mode = n % 3, rows_kind = n % 7 == 6 ? UPZ_ROWS_Y_FULL : UPZ_ROWS_RGB;
            assert_int_equal(uprez_format_from_name(&f, formats[i]), 0);
            UprezPicture p = picture_new(&f, w, h, n % 2 ? 64 : 4);
            if (f.model == UPREZ_RGB) p.color.matrix = 0;
            p.color.range = n % 3 ? UPREZ_RANGE_LIMITED : UPREZ_RANGE_FULL;
            if (f.model == UPREZ_RGB || f.depth == 32) p.color.range = UPREZ_RANGE_FULL;
            p.color.siting = (uint8_t)(1 + n % 6);
            if (upz_load_init(&l, &f, &p.color, w, h, (UpzRows)rows_kind, UPZ_CPU_C, NULL)) {
                drop_all();
                continue;
            }
            int x0 = n % 5 ? 0 : w / 3, y0 = n % 5 ? 0 : h / 2; /* a tile somewhere */
            int mw = upz_grid_up(w - x0, unshuffle), mh = upz_grid_up(h - y0, unshuffle);
            int channels = l.n_rows * unshuffle * unshuffle;
            Map dst = map_new(mw, mh, (channels + 15) / 16 * 2, 1);
            UpzCudaLoad q = {.src = cuda_picture(&p), .convert = convert_of(&l), .dst = dst.m,
                             .unshuffle = unshuffle, .pad_mode = mode, .x0 = x0, .y0 = y0};
            run("load_map", n % 2 ? 90 : 75, &q, upz_load_grid(&q), SIMT_LATE);
            float *rows[3], *row[3];
            for (int k = 0; k < 3; k++)
                rows[k] = malloc((size_t)(w + UPZ_LOAD_SLACK) * (size_t)h * 4);
            for (int y = 0; y < h; y++) {
                for (int k = 0; k < 3; k++) row[k] = rows[k] + (size_t)y * (size_t)w;
                upz_load_row(&l, &p, y, row);
            }
            for (int c = 0; c < dst.m.chunks * 8; c++)
                for (int y = 0; y < mh; y++)
                    for (int x = 0; x < mw; x++) {
                        int k = c % (unshuffle * unshuffle);
                        int yy = y0 + y * unshuffle + k / unshuffle;
                        int xx = x0 + x * unshuffle + k % unshuffle;
                        float v = 0;
                        bool out = mode == 2 && (xx >= w || yy >= h);
                        if (xx >= w) xx = mode == 1 ? UPZ_MAX(2 * w - 2 - xx, 0) : w - 1;
                        if (yy >= h) yy = mode == 1 ? UPZ_MAX(2 * h - 2 - yy, 0) : h - 1;
                        if (c < channels && !out)
                            v = rows[c / (unshuffle * unshuffle)]
                                    [(size_t)yy * (size_t)w + (size_t)xx];
                        if (*map_at(&dst, c, y, x) != simt_half(v))
                            fail_msg("%s %dx%d, unshuffle %d: channel %d (%d, %d): %g for %g",
                                     formats[i], w, h, unshuffle, c, x, y,
                                     (double)simt_float(*map_at(&dst, c, y, x)), (double)v);
                    }
            map_untouched(&dst);
            for (int k = 0; k < 3; k++) free(rows[k]);
            drop_all();
        }
}

static void stores(void **state)
{
    static const int sizes[][2] = {{1, 1}, {2, 3}, {37, 11}, {264, 6}, {517, 3}};
    int n = 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        for (int s = 0; s < 5; s++, n++) {
            UprezFormat f;
            UpzStore l;
            int w = sizes[s][0], h = sizes[s][1], nan = n % 5 == 4, bad = 0;
            int rows_kind = n % 7 == 6 ? UPZ_ROWS_Y_FULL : UPZ_ROWS_RGB;
            assert_int_equal(uprez_format_from_name(&f, formats[i]), 0);
            UprezPicture p = picture_new(&f, w, h, n % 3 ? 64 : 4), want = p;
            if (f.model == UPREZ_RGB) p.color.matrix = 0;
            p.color.range = n % 3 ? UPREZ_RANGE_LIMITED : UPREZ_RANGE_FULL;
            if (f.model == UPREZ_RGB || f.depth == 32) p.color.range = UPREZ_RANGE_FULL;
            p.color.siting = (uint8_t)(1 + n % 6);
            if (upz_store_init(&l, &f, &p.color, w, h, (UpzRows)rows_kind, UPZ_CPU_C, NULL)) {
                drop_all();
                continue;
            }
            Image src = image_new(w, h, l.n_rows);
            uint32_t *flag = memory(4);
            *flag = 0;
            for (int k = 0; k < l.n_rows; k++)
                for (int y = 0; y < h; y++)
                    for (int x = 0; x < w; x++)
                        *image_at(&src, k, y, x) = simt_half((float)(draw() % 1400) / 1000 - 0.2f);
            if (nan) *image_at(&src, l.n_rows - 1, h / 2, w / 2) = 0x7e00;
            size_t bytes[4];
            for (int k = 0; k < f.n_plane; k++) {
                bytes[k] = (size_t)p.stride[k] * (size_t)upz_plane_height(&f, k, h);
                want.plane[k] = malloc(bytes[k]);
                memcpy(want.plane[k], p.plane[k], bytes[k]);
            }
            UpzCudaStore q = {.src = src.m, .convert = convert_of(&l), .dst = cuda_picture(&p),
                              .nan = at(flag)};
            run("store_picture", n % 2 ? 90 : 75, &q, upz_store_grid(&q), SIMT_LATE);

            int reach = upz_store_reach(&l), group = upz_store_group(&l), ends = w + 64;
            float *line = calloc((size_t)(3 * (group + 2 * reach) * ends), 4);
            void *scratch = aligned_alloc(64, (upz_store_scratch(&l) + 127) / 64 * 64);
            const float *rows[3][16];
            for (int y = 0; y < h; y += group) {
                for (int k = 0; k < l.n_rows; k++)
                    for (int r = 0; r < group + 2 * reach; r++) {
                        float *to = line + (size_t)((k * (group + 2 * reach) + r) * ends);
                        int yy = y - reach + r;
                        yy = yy < 0 ? 0 : yy >= h ? h - 1 : yy;
                        for (int x = 0; x < w; x++) to[x] = simt_float(*image_at(&src, k, yy, x));
                        rows[k][r] = to;
                    }
                const float *const *const lines[3] = {rows[0], rows[1], rows[2]};
                bad += upz_store_rows(&l, lines, y, &want, scratch);
            }
            upz_picture_fill_pair(&want, 0, h);
            for (int k = 0; k < f.n_plane; k++)
                for (size_t b = 0; b < bytes[k]; b++)
                    if (((uint8_t *)p.plane[k])[b] != ((uint8_t *)want.plane[k])[b])
                        fail_msg("%s %dx%d, plane %d: byte %zu of row %zu: %d for %d", formats[i],
                                 w, h, k, b % (size_t)p.stride[k], b / (size_t)p.stride[k],
                                 ((uint8_t *)p.plane[k])[b], ((uint8_t *)want.plane[k])[b]);
            assert_int_equal(*flag != 0, nan);
            assert_int_equal(bad != 0, nan);
            for (int k = 0; k < f.n_plane; k++) free(want.plane[k]);
            free(line);
            free(scratch);
            drop_all();
        }
}

static void resizes(void **state)
{
    static const int sizes[][4] = {{30, 5, 45, 5}, {300, 3, 1030, 3}, {33, 7, 20, 7}, {9, 5, 9, 12},
                                   {1030, 11, 1030, 4}, {1, 1, 3, 1}};
    for (int s = 0; s < 6; s++)
        for (int capability = 75; capability <= 90; capability += 15) {
            int w = sizes[s][0], h = sizes[s][1], ow = sizes[s][2], oh = sizes[s][3];
            int vertical = ow == w, n = vertical ? oh : ow, taps = 3 + s, size = vertical ? h : w;
            Image src = image_new(w, h, 3), dst = image_new(ow, oh, 3);
            int32_t *first = memory((size_t)n * 4);
            float *weight_of = memory((size_t)(n * taps) * 4);
            for (int p = 0; p < 3; p++)
                for (int y = 0; y < h; y++)
                    for (int x = 0; x < w; x++)
                        *image_at(&src, p, y, x) = simt_half((float)(draw() % 2048) / 1024 - 1);
            for (int i = 0; i < n; i++) first[i] = (int32_t)((int64_t)i * size / n) - taps / 2;
            for (int i = 0; i < n * taps; i++) weight_of[i] = (float)(draw() % 1024) / 2048 - 0.1f;
            UpzCudaResize q = {.src = src.m, .dst = dst.m, .first = at(first),
                               .weight = at(weight_of), .taps = taps, .vertical = vertical,
                               .clip = s % 2};
            run("resize_image", capability, &q, upz_resize_grid(&q), SIMT_LATE);
            for (int p = 0; p < 3; p++)
                for (int y = 0; y < oh; y++)
                    for (int x = 0; x < ow; x++) {
                        double v = 0;
                        for (int t = 0; t < taps; t++) {
                            int i = first[vertical ? y : x] + t;
                            i = i < 0 ? 0 : i >= size ? size - 1 : i;
                            double sample = (double)simt_float(
                                *image_at(&src, p, vertical ? i : y, vertical ? x : i));
                            if (q.clip) sample = fmin(fmax(sample, 0), 1);
                            v += (double)weight_of[(vertical ? y : x) * taps + t] * sample;
                        }
                        close_to(v, *image_at(&dst, p, y, x), "resize", p, y, x);
                    }
            image_untouched(&dst);
            drop_all();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads),    cmocka_unit_test(stores),      cmocka_unit_test(resizes),
        cmocka_unit_test(conv_mma), cmocka_unit_test(conv_hopper), cmocka_unit_test(conv_any),
    };
    return cmocka_run_group_tests_name("cuda kernels", tests, NULL, NULL);
}
