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
#include "cuda_maps.h"
#include "engine/cuda/kernels/grid.h"
#include "fake/simt.h"
#include "picture/convert.h"
#include "picture/format.h"

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
        assert_true(upz_conv_hopper_can(&p, 0));
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
            /* NaN or infinity */
            static const uint16_t lost[] = {0x7e00, 0x7c00, 0xfc00};
            const bool number = n / 5 % 3 == 0;
            if (nan) *image_at(&src, l.n_rows - 1, h / 2, w / 2) = lost[n / 5 % 3];
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
            assert_int_equal(bad != 0, nan && number); /* the CPU computes in floats: nothing is infinite there */
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
            /* NaN and infinity are not clipped away: what they reach is no number */
            static const uint16_t lost[] = {0x7e00, 0x7c00, 0xfc00};
            for (int k = 0; k < 3; k++) {
                const int at_y = vertical ? UPZ_MAX(0, first[oh / 2]) : h / 2;
                const int at_x = vertical ? w / 2 : UPZ_MAX(0, first[ow / 2]);
                *image_at(&src, 1, at_y, at_x) = lost[k];
                run("resize_image", capability, &q, upz_resize_grid(&q), SIMT_LATE);
                const float v = simt_float(*image_at(&dst, 1, vertical ? oh / 2 : h / 2, vertical ? w / 2 : ow / 2));
                if (isfinite(v)) fail_msg("resize %d: %04x becomes %g", s, lost[k], (double)v);
            }
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
