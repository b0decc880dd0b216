/* Row conversion: every level gives the same bits and writes only what it should; against the
 * definition in double; against zimg; round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "zimg_reference.h"
#include "skip.h"

static uint32_t seed = 1;
static uint32_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static const char *const all_formats[] = {
    "gray", "gray10le", "gray16le", "grayf32le", "ya8", "ya16le", "yuv420p", "yuv422p", "yuv444p",
    "yuv440p", "yuv411p", "yuv410p", "yuv420p10le", "yuv422p12le", "yuv444p14le", "yuv420p16le",
    "yuva420p", "yuva444p10le", "nv12", "nv21", "nv16", "nv24", "p010le", "p012le", "p016le",
    "p210le", "p410le", "yuyv422", "uyvy422", "y210le", "vuya", "vuyx", "ayuv64le", "xv36le",
    "gbrp", "gbrp10le", "gbrap", "gbrap16le", "gbrpf32le", "rgb24", "bgr24", "rgb0", "bgr0", "0rgb",
    "0bgr", "rgba", "bgra", "argb", "abgr", "rgb48le", "bgr48le", "rgba64le", "bgra64le",
    "rgbf32le", "rgbaf32le"};

/* A picture whose planes start `skew` samples off alignment, everything random but legal. */
static UprezPicture *random_picture(const UprezFormat *f, int w, int h, int skew)
{
    UprezPicture *p;
    assert_int_equal(uprez_picture_alloc(&p, f, w + 8, h + 2, NULL), 0);
    for (int i = 0; i < f->n_plane; i++) {
        size_t bytes = (size_t)p->stride[i] * (size_t)upz_plane_height(f, i, h + 2);
        uint8_t *b = p->plane[i];
        if (f->depth == 32) {
            for (size_t k = 0; k < bytes / 4; k++) {
                float v = (float)(draw() % 4096) / 3000 - 0.2f;
                memcpy(b + 4 * k, &v, 4);
            }
        } else {
            for (size_t k = 0; k < bytes; k++) b[k] = (uint8_t)(draw() >> 13);
            if (f->depth > 8)
                for (size_t k = 0; k < bytes / 2; k++) {
                    uint16_t v = (uint16_t)((draw() >> 9 & ((1u << f->depth) - 1)) << f->shift);
                    memcpy(b + 2 * k, &v, 2);
                }
        }
        int step = f->comp[0].step;
        for (int c = 0; c < f->n_comp; c++)
            if (f->comp[c].plane == i) step = UPZ_MAX(step, f->comp[c].step);
        p->plane[i] = b + skew * step;
    }
    p->width = w;
    p->height = h;
    return p;
}

static void *first_byte(const UprezPicture *p, int plane, int skew)
{
    const UprezFormat *f = &p->format;
    int step = f->comp[0].step;
    for (int c = 0; c < f->n_comp; c++)
        if (f->comp[c].plane == plane) step = UPZ_MAX(step, f->comp[c].step);
    return (uint8_t *)p->plane[plane] - skew * step;
}

static const int widths[] = {1, 2, 3, 5, 8, 15, 17, 33, 64, 127, 511, 512, 513, 515, 1030};

static void levels_give_the_same_bits(void **state)
{
    (void)state;
    UpzCpuLevel best = upz_cpu_detect();
    print_message("levels: c to %s\n", upz_cpu_name(best));
    for (int fi = 0; fi < UPZ_COUNT(all_formats); fi++) {
        UprezFormat f;
        assert_int_equal(uprez_format_from_name(&f, all_formats[fi]), 0);
        for (int wi = 0; wi < UPZ_COUNT(widths); wi++) {
            int w = widths[wi], h = 5, skew = wi % 3;
            UpzRows rows = (UpzRows)((wi + fi) % 4);
            UprezColor color = {.matrix = wi & 1 ? 1 : 9, .range = (uint8_t)(1 + (wi >> 1) % 2),
                                .siting = (uint8_t)(1 + (fi + wi) % 6)};
            UprezPicture *p = random_picture(&f, w, h, skew);
            /* load: rows with guards */
            size_t n = (size_t)w + UPZ_LOAD_SLACK + 16;
            float *out = upz_alloc_aligned(2 * 3 * n * sizeof(float));
            UpzLoad ref, l;
            UpzStore sref, s;
            assert_int_equal(upz_load_init(&ref, &f, &color, w, h, rows, UPZ_CPU_C, NULL), 0);
            assert_int_equal(upz_store_init(&sref, &f, &color, w, h, rows, UPZ_CPU_C, NULL), 0);
            for (int level = 1; level <= (int)best; level++) {
                assert_int_equal(
                    upz_load_init(&l, &f, &color, w, h, rows, (UpzCpuLevel)level, NULL), 0);
                for (int y = 0; y < h; y++) {
                    memset(out, 0xa5, 6 * n * sizeof(float));
                    float *a[3], *b[3];
                    for (int c = 0; c < 3; c++) {
                        a[c] = out + (size_t)c * n + skew;
                        b[c] = out + (size_t)(3 + c) * n + skew;
                    }
                    upz_load_row(&ref, p, y, a);
                    upz_load_row(&l, p, y, b);
                    for (int c = 0; c < ref.n_rows; c++) {
                        assert_memory_equal(a[c], b[c], (size_t)w * sizeof(float));
                        const uint8_t *guard = (const uint8_t *)(b[c] + w + UPZ_LOAD_SLACK);
                        for (int i = 0; i < 4; i++) assert_int_equal(guard[i], 0xa5);
                    }
                }
                /* store: from rows with values out of range and NaN, over random memory */
                assert_int_equal(
                    upz_store_init(&s, &f, &color, w, h, rows, (UpzCpuLevel)level, NULL), 0);
                int group = upz_store_group(&s), reach = upz_store_reach(&s);
                float *in = upz_alloc_aligned(3 * (size_t)(h + 16) * n * sizeof(float));
                for (size_t i = 0; i < 3 * (size_t)(h + 16) * n; i++)
                    in[i] = draw() % 97 == 0 ? NAN : (float)(draw() % 5000) / 4000 - 0.125f;
                seed = 77;
                UprezPicture *pa = random_picture(&f, w, h, skew);
                seed = 77;
                UprezPicture *pb = random_picture(&f, w, h, skew);
                for (int y = 0; y < h; y += group) {
                    const float *at[3][16];
                    const float *const *r[3];
                    for (int c = 0; c < 3; c++) {
                        for (int i = 0; i < group + 2 * reach; i++) {
                            int row = UPZ_CLAMP(y - reach + i, 0, h - 1);
                            at[c][i] = in + ((size_t)c * (size_t)(h + 16) + (size_t)row) * n + skew;
                        }
                        r[c] = at[c];
                    }
                    uint8_t scratch[256] UPZ_ALIGNED(64);
                    assert_true(upz_store_scratch(&s) <= sizeof(scratch));
                    int bad_a = upz_store_rows(&sref, (const float *const *const *)r, y, pa,
                                               scratch);
                    int bad_b = upz_store_rows(&s, (const float *const *const *)r, y, pb, scratch);
                    assert_int_equal(bad_a, bad_b);
                }
                for (int i = 0; i < f.n_plane; i++) {
                    size_t bytes = (size_t)pa->stride[i] * (size_t)upz_plane_height(&f, i, h + 2);
                    if (memcmp(first_byte(pa, i, skew), first_byte(pb, i, skew), bytes) != 0)
                        fail_msg("store %s %dx%d plane %d level %s", all_formats[fi], w, h, i,
                                 upz_cpu_name((UpzCpuLevel)level));
                }
                uprez_picture_unref(&pa);
                uprez_picture_unref(&pb);
                upz_free_aligned(in);
            }
            upz_free_aligned(out);
            uprez_picture_unref(&p);
        }
    }
}

/* ---- whole pictures through rows ---- */

typedef struct Planes {
    int w, h;
    float *p[3];
} Planes;

static Planes planes_new(int w, int h)
{
    Planes r = {w, h, {0}};
    for (int i = 0; i < 3; i++)
        r.p[i] = upz_alloc_aligned(((size_t)w + UPZ_LOAD_SLACK) * (size_t)h * sizeof(float));
    return r;
}

static float *planes_at(const Planes *r, int c, int y)
{
    return r->p[c] + (size_t)y * ((size_t)r->w + UPZ_LOAD_SLACK);
}

static void planes_free(Planes *r)
{
    for (int i = 0; i < 3; i++) upz_free_aligned(r->p[i]);
}

static void load_all(const UprezPicture *p, UpzRows rows, const Planes *out)
{
    UpzLoad l;
    assert_int_equal(upz_load_init(&l, &p->format, &p->color, p->width, p->height, rows,
                                   upz_cpu_detect(), NULL), 0);
    for (int y = 0; y < p->height; y++) {
        float *dst[3] = {planes_at(out, 0, y), planes_at(out, 1, y), planes_at(out, 2, y)};
        upz_load_row(&l, p, y, dst);
    }
}

static int store_all(const Planes *in, UpzRows rows, UprezPicture *p)
{
    UpzStore s;
    assert_int_equal(upz_store_init(&s, &p->format, &p->color, p->width, p->height, rows,
                                    upz_cpu_detect(), NULL), 0);
    int group = upz_store_group(&s), reach = upz_store_reach(&s), bad = 0;
    uint8_t scratch[256] UPZ_ALIGNED(64);
    for (int y = 0; y < p->height; y += group) {
        const float *at[3][16];
        const float *const *r[3];
        for (int c = 0; c < 3; c++) {
            for (int i = 0; i < group + 2 * reach; i++)
                at[c][i] = planes_at(in, c, UPZ_CLAMP(y - reach + i, 0, p->height - 1));
            r[c] = at[c];
        }
        bad += upz_store_rows(&s, (const float *const *const *)r, y, p, scratch);
    }
    return bad;
}

/* R G B 0..1: colour bars, or something like a photograph: soft light, edges, texture, grain. */
static void paint(const Planes *r, bool natural)
{
    seed = 12345;
    for (int y = 0; y < r->h; y++)
        for (int x = 0; x < r->w; x++) {
            for (int c = 0; c < 3; c++) {
                float v;
                if (natural) {
                    double u = (double)x / r->w, t = (double)y / r->h;
                    double disc = hypot(u - 0.4, t - 0.55) < 0.25 ? 0.35 * (c - 1) : 0;
                    v = (float)(0.45 + 0.25 * sin(5 * u + c) * cos(4 * t - c) + disc +
                                0.06 * sin(40 * u * (c + 2)) * sin(31 * t) +
                                ((double)(draw() % 1000) / 1000 - 0.5) * 0.04);
                } else {
                    int bar = 7 - x * 8 / r->w;
                    v = (float)(bar >> c & 1) * (y * 2 < r->h ? 1.0f : 0.75f);
                }
                planes_at(r, c, y)[x] = UPZ_CLAMP(v, 0, 1);
            }
        }
}

static void make_format(UprezFormat *f, int depth, int sx, int sy)
{
    uint8_t bytes = depth > 8 ? 2 : 1;
    *f = (UprezFormat){.model = UPREZ_YUV, .depth = (uint8_t)depth, .sub_x = (uint8_t)sx,
                       .sub_y = (uint8_t)sy, .n_comp = 3, .n_plane = 3,
                       .comp = {{0, 0, bytes}, {1, 0, bytes}, {2, 0, bytes}}};
}

static double sample(const UprezPicture *p, int comp, int x, int y)
{
    const UprezComponent *c = &p->format.comp[comp];
    const uint8_t *s = (const uint8_t *)p->plane[c->plane] + p->stride[c->plane] * y +
                       (size_t)x * c->step + c->offset;
    if (p->format.depth == 8) return *s;
    if (p->format.depth == 32) return *(const float *)(const void *)s;
    return *(const uint16_t *)(const void *)s >> p->format.shift;
}

typedef struct Error {
    double max, sum;
    int64_t n;
} Error;

static void add_error(Error *e, double d)
{
    d = fabs(d);
    if (!(d <= e->max)) e->max = d;
    e->sum += d;
    e->n++;
}

static const struct { int sx, sy; } subs[] = {{1, 1}, {1, 0}, {0, 0}, {0, 1}, {2, 0}, {2, 2}};

/* The whole conversion once more, pixel by pixel, from its definition. */
static void follows_the_definition(void **state)
{
    (void)state;
    static const struct { int code; double kr, kb; } matrices[] = {
        {1, 0.2126, 0.0722}, {4, 0.30, 0.11}, {5, 0.299, 0.114}, {6, 0.299, 0.114},
        {7, 0.212, 0.087}, {9, 0.2627, 0.0593}};
    static const double center[] = {0, 0, .5, 0, .5, 0, .5}, middle[] = {.5, .5, .5, 0, 0, 1, 1};
    int w = 45, h = 27;
    Planes rgb = planes_new(w, h), back = planes_new(w, h);
    for (int run = 0; run < 6 * 2 * 6 * 6; run++) {
        int mi = run % 6, range = 1 + run / 6 % 2, si = run / 12 % 6, siting = 1 + run / 72;
        int depth = 8 + (run * 7) % 9;
        paint(&rgb, run & 1);
        UprezFormat f;
        make_format(&f, depth, subs[si].sx, subs[si].sy);
        UprezPicture *p;
        assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
        p->color = (UprezColor){.matrix = (uint8_t)matrices[mi].code, .range = (uint8_t)range,
                                .siting = (uint8_t)siting};
        assert_int_equal(store_all(&rgb, UPZ_ROWS_RGB, p), 0);
        load_all(p, UPZ_ROWS_RGB, &back);
        double kr = matrices[mi].kr, kb = matrices[mi].kb, kg = 1 - kr - kb;
        double one = pow(2, depth - 8), max = pow(2, depth) - 1;
        double y0 = range == 1 ? 16 * one : 0, yg = range == 1 ? 219 * one : max;
        double c0 = 128 * one, cg = range == 1 ? 224 * one : max;
        int fx = 1 << f.sub_x, fy = 1 << f.sub_y;
        double ox = center[siting] * (fx - 1), oy = middle[siting] * (fy - 1);
        if (si == 2) ox = oy = 0;
        for (int y = 0; y < upz_component_height(&f, 1, h); y++)
            for (int x = 0; x < upz_component_width(&f, 1, w); x++) {
                double sum[3] = {0}, weight = 0;
                for (int j = -8; j <= 8; j++)
                    for (int i = -8; i <= 8; i++) {
                        double dx = fabs(i - ox) / fx, dy = fabs(j - oy) / fy;
                        if (dx >= 1 || dy >= 1) continue;
                        double wt = (1 - dx) * (1 - dy);
                        weight += wt;
                        int xx = UPZ_CLAMP(x * fx + i, 0, w - 1);
                        int yy = UPZ_CLAMP(y * fy + j, 0, h - 1);
                        for (int c = 0; c < 3; c++) sum[c] += wt * planes_at(&rgb, c, yy)[xx];
                    }
                double r = sum[0] / weight, g = sum[1] / weight, b = sum[2] / weight;
                double luma = kr * r + kg * g + kb * b;
                double u = UPZ_CLAMP((b - luma) / (2 - 2 * kb) * cg + c0, 0, max);
                double v = UPZ_CLAMP((r - luma) / (2 - 2 * kr) * cg + c0, 0, max);
                assert_true(fabs(sample(p, 1, x, y) - u) < 0.52);
                assert_true(fabs(sample(p, 2, x, y) - v) < 0.52);
            }
        Error e = {0};
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                const float *px[3];
                for (int c = 0; c < 3; c++) px[c] = planes_at(&rgb, c, y) + x;
                double luma = kr * *px[0] + kg * *px[1] + kb * *px[2];
                assert_true(fabs(sample(p, 0, x, y) - (luma * yg + y0)) < 0.52);
                double cx = (x - ox) / fx, cy = (y - oy) / fy, uv[2];
                int ix = (int)floor(cx), iy = (int)floor(cy);
                for (int c = 0; c < 2; c++) {
                    uv[c] = 0;
                    for (int k = 0; k < 4; k++) {
                        int xx = UPZ_CLAMP(ix + (k & 1), 0, upz_component_width(&f, 1, w) - 1);
                        int yy = UPZ_CLAMP(iy + (k >> 1), 0, upz_component_height(&f, 1, h) - 1);
                        uv[c] += sample(p, c + 1, xx, yy) * (k & 1 ? cx - ix : 1 - cx + ix) *
                                 (k >> 1 ? cy - iy : 1 - cy + iy);
                    }
                    uv[c] = (uv[c] - c0) / cg;
                }
                double yy = (sample(p, 0, x, y) - y0) / yg;
                double r = yy + uv[1] * (2 - 2 * kr), b = yy + uv[0] * (2 - 2 * kb);
                double g = (yy - kr * r - kb * b) / kg;
                add_error(&e, planes_at(&back, 0, y)[x] - UPZ_CLAMP(r, 0, 1));
                add_error(&e, planes_at(&back, 1, y)[x] - UPZ_CLAMP(g, 0, 1));
                add_error(&e, planes_at(&back, 2, y)[x] - UPZ_CLAMP(b, 0, 1));
            }
        if (!(e.max < 2e-6))
            fail_msg("matrix %d range %d sub %d%d siting %d depth %d: %g", matrices[mi].code, range,
                     f.sub_x, f.sub_y, siting, depth, e.max);
        uprez_picture_unref(&p);
    }
    planes_free(&rgb);
    planes_free(&back);
}

static void round_trips(void **state)
{
    (void)state;
    /* Y U V rows: every code of every depth comes back, in and out of the legal range */
    for (int depth = 8; depth <= 16; depth++)
        for (int range = 1; range <= 2; range++) {
            UprezFormat f;
            make_format(&f, depth, 0, 0);
            int w = 1024, h = UPZ_MAX(1, (1 << depth) / w);
            UprezPicture *p, *q;
            assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
            assert_int_equal(uprez_picture_alloc(&q, &f, w, h, NULL), 0);
            p->color = q->color = (UprezColor){.matrix = 1, .range = (uint8_t)range, .siting = 1};
            for (int c = 0; c < 3; c++)
                for (int i = 0; i < w * h; i++) {
                    int code = (i * (c ? 7 : 1)) & ((1 << depth) - 1);
                    uint8_t *row = (uint8_t *)p->plane[c] + p->stride[c] * (i / w);
                    if (depth == 8)
                        row[i % w] = (uint8_t)code;
                    else
                        ((uint16_t *)(void *)row)[i % w] = (uint16_t)code;
                }
            Planes yuv = planes_new(w, h);
            load_all(p, UPZ_ROWS_YUV, &yuv);
            assert_int_equal(store_all(&yuv, UPZ_ROWS_YUV, q), 0);
            for (int c = 0; c < 3; c++)
                for (int i = 0; i < w * h; i++)
                    assert_true(sample(p, c, i % w, i / w) == sample(q, c, i % w, i / w));
            planes_free(&yuv);
            uprez_picture_unref(&p);
            uprez_picture_unref(&q);
        }
    /* through R G B: every colour that is one */
    static const int matrices[] = {1, 6, 7, 9, 8, 4};
    for (int run = 0; run < 6 * 2 * 3; run++) {
        int depth = run / 12 == 0 ? 8 : run / 12 == 1 ? 10 : 12, range = 1 + run % 2;
        int w = 256, h = 128;
        UprezFormat f;
        make_format(&f, depth, 0, 0);
        UprezPicture *p, *q;
        assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
        assert_int_equal(uprez_picture_alloc(&q, &f, w, h, NULL), 0);
        p->color = q->color = (UprezColor){.matrix = (uint8_t)matrices[run / 2 % 6],
                                           .range = (uint8_t)range, .siting = 1};
        Planes rgb = planes_new(w, h);
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++)
                    planes_at(&rgb, c, y)[x] = 0.02f + 0.96f * (float)(draw() % 65536) / 65535;
        store_all(&rgb, UPZ_ROWS_RGB, p);
        load_all(p, UPZ_ROWS_RGB, &rgb);
        store_all(&rgb, UPZ_ROWS_RGB, q);
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < w * h; i++)
                if (sample(p, c, i % w, i / w) != sample(q, c, i % w, i / w))
                    fail_msg("matrix %d depth %d range %d component %d: %g came back as %g",
                             matrices[run / 2 % 6], depth, range, c, sample(p, c, i % w, i / w),
                             sample(q, c, i % w, i / w));
        planes_free(&rgb);
        uprez_picture_unref(&p);
        uprez_picture_unref(&q);
    }
    /* R G B codes */
    static const char *const names[] = {"rgb24", "bgra", "gbrp", "gbrp10le", "rgb48le", "gbrp16le"};
    for (int i = 0; i < UPZ_COUNT(names); i++) {
        UprezFormat f;
        assert_int_equal(uprez_format_from_name(&f, names[i]), 0);
        UprezPicture *p = random_picture(&f, 301, 40, 0), *q = random_picture(&f, 301, 40, 0);
        p->color = q->color = (UprezColor){.range = UPREZ_RANGE_FULL};
        Planes rgb = planes_new(301, 40);
        load_all(p, UPZ_ROWS_RGB, &rgb);
        store_all(&rgb, UPZ_ROWS_RGB, q);
        for (int c = 0; c < 3; c++)
            for (int k = 0; k < 301 * 40; k++)
                assert_true(sample(p, c, k % 301, k / 301) == sample(q, c, k % 301, k / 301));
        planes_free(&rgb);
        uprez_picture_unref(&p);
        uprez_picture_unref(&q);
    }
}

/* White, black and the numbers themselves. */
static void luma_rows(void **state)
{
    (void)state;
    UprezFormat f;
    make_format(&f, 10, 1, 1);
    UprezPicture *p = random_picture(&f, 64, 8, 0);
    p->color = (UprezColor){.matrix = 1, .range = UPREZ_RANGE_LIMITED, .siting = 1};
    uint16_t *y = p->plane[0];
    y[0] = 64, y[1] = 940, y[2] = 502, y[3] = 0, y[4] = 1023;
    Planes r = planes_new(64, 8);
    load_all(p, UPZ_ROWS_Y_STUDIO, &r);
    assert_true(fabsf(r.p[0][0] - 16 / 255.0f) < 1e-7f);
    assert_true(fabsf(r.p[0][1] - 235 / 255.0f) < 1e-7f);
    load_all(p, UPZ_ROWS_Y_FULL, &r);
    assert_true(r.p[0][0] == 0 && fabsf(r.p[0][1] - 1) < 1e-6f && fabsf(r.p[0][2] - 0.5f) < 1e-6f);
    assert_true(r.p[0][3] == 0 && r.p[0][4] == 1);
    uint8_t before = ((uint8_t *)p->plane[1])[3];
    uint16_t luma = y[2];
    y[2] = 0;
    store_all(&r, UPZ_ROWS_Y_FULL, p);
    assert_int_equal(y[2], luma);
    assert_int_equal(y[0], 64);
    assert_int_equal(y[1], 940);
    assert_int_equal(((uint8_t *)p->plane[1])[3], before);
    r.p[0][5] = NAN;
    assert_int_equal(store_all(&r, UPZ_ROWS_Y_FULL, p), 1);
    assert_int_equal(y[5], 64);
    planes_free(&r);
    uprez_picture_unref(&p);
}

static void refuses_with_a_sentence(void **state)
{
    (void)state;
    UprezFormat f;
    UprezError err;
    make_format(&f, 8, 1, 1);
    UpzLoad l;
    static const int refused[] = {10, 14, 2, 11, 12};
    for (int i = 0; i < UPZ_COUNT(refused); i++) {
        UprezColor c = {.matrix = (uint8_t)refused[i], .range = 1, .siting = 1};
        err.text[0] = 0;
        assert_int_equal(upz_load_init(&l, &f, &c, 16, 16, UPZ_ROWS_RGB, UPZ_CPU_C, &err),
                         UPREZ_ERR_USAGE);
        assert_true(strlen(err.text) > 20);
        assert_int_equal(upz_load_init(&l, &f, &c, 16, 16, UPZ_ROWS_Y_FULL, UPZ_CPU_C, &err), 0);
    }
    UprezColor c = {.matrix = 1};
    assert_int_equal(upz_load_init(&l, &f, &c, 16, 16, UPZ_ROWS_RGB, UPZ_CPU_C, &err),
                     UPREZ_ERR_USAGE);
}

static void agrees_with_zimg(void **state)
{
    (void)state;
#ifndef HAVE_ZIMG
    SKIP_BECAUSE("built without libzimg");
#else
    static const int matrices[] = {1, 6, 9, 7, 4, 8}, depths[] = {8, 10, 12, 16};
    int w = 64, h = 48, runs = 0;
    Planes rgb = planes_new(w, h), mine = planes_new(w, h);
    UprezFormat ff;
    upz_format_float_rgb(&ff);
    UprezPicture *fp;
    assert_int_equal(uprez_picture_alloc(&fp, &ff, w, h, NULL), 0);
    fp->color = (UprezColor){.range = UPREZ_RANGE_FULL};
    Error worst_in = {0}, worst_out = {0};
    for (int natural = 0; natural < 2; natural++)
    for (int mi = 0; mi < UPZ_COUNT(matrices); mi++)
    for (int range = 1; range <= 2; range++)
    for (int si = 0; si < UPZ_COUNT(subs); si++)
    for (int di = 0; di < UPZ_COUNT(depths); di++)
    for (int siting = 1; siting <= 6; siting++) {
        paint(&rgb, natural);
        UprezFormat f;
        make_format(&f, depths[di], subs[si].sx, subs[si].sy);
        UprezPicture *p, *q;
        assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
        assert_int_equal(uprez_picture_alloc(&q, &f, w, h, NULL), 0);
        p->color = q->color = (UprezColor){.matrix = (uint8_t)matrices[mi],
                                           .range = (uint8_t)range, .siting = (uint8_t)siting};
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < h; y++)
                memcpy((uint8_t *)fp->plane[c] + fp->stride[c] * y, planes_at(&rgb, c, y),
                       (size_t)w * sizeof(float));
        ZimgRun z;
        assert_int_equal(zimg_open(&z, fp, p, ZIMG_RESIZE_BILINEAR), 0);
        assert_int_equal(zimg_run(&z, fp, p), 0);
        zimg_close(&z);
        store_all(&rgb, UPZ_ROWS_RGB, q);
        Error out = {0}, in = {0};
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < upz_component_height(&f, c, h); y++)
                for (int x = 0; x < upz_component_width(&f, c, w); x++) {
                    /* at an edge zimg mirrors where uprez repeats: the same for one sample */
                    int cw = upz_component_width(&f, c, w), ch = upz_component_height(&f, c, h);
                    if (c && ((f.sub_x == 2 && (x < 1 || x >= cw - 1)) ||
                              (f.sub_y == 2 && (y < 1 || y >= ch - 1))))
                        continue;
                    double d = sample(p, c, x, y) - sample(q, c, x, y);
                    add_error(&out, d * 255 / ((1 << f.depth) - 1));
                }
        assert_int_equal(zimg_open(&z, p, fp, ZIMG_RESIZE_BILINEAR), 0);
        assert_int_equal(zimg_run(&z, p, fp), 0);
        zimg_close(&z);
        load_all(p, UPZ_ROWS_RGB, &mine);
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++) {
                    float a = ((float *)(void *)((uint8_t *)fp->plane[c] + fp->stride[c] * y))[x];
                    add_error(&in, (UPZ_CLAMP(a, 0, 1) - planes_at(&mine, c, y)[x]) * 255);
                }
        if (!(out.max <= 2 && in.max <= 2 && out.sum / (double)out.n < 0.5 &&
              in.sum / (double)in.n < 0.5))
            fail_msg("%s matrix %d range %d sub %d%d depth %d siting %d: in %.3f mean %.3f max, "
                     "out %.3f mean %.3f max (of 255)",
                     natural ? "natural" : "bars", matrices[mi], range, f.sub_x, f.sub_y, f.depth,
                     siting, in.sum / (double)in.n, in.max, out.sum / (double)out.n, out.max);
        worst_in.max = fmax(worst_in.max, in.max);
        worst_in.sum = fmax(worst_in.sum, in.sum / (double)in.n);
        worst_out.max = fmax(worst_out.max, out.max);
        worst_out.sum = fmax(worst_out.sum, out.sum / (double)out.n);
        uprez_picture_unref(&p);
        uprez_picture_unref(&q);
        runs++;
    }
    print_message("zimg: %d combinations; to RGB: worst mean %.4f, worst max %.4f; from RGB: "
                  "%.4f, %.4f (of 255)\n",
                  runs, worst_in.sum, worst_in.max, worst_out.sum, worst_out.max);
    uprez_picture_unref(&fp);
    planes_free(&rgb);
    planes_free(&mine);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_give_the_same_bits), cmocka_unit_test(follows_the_definition),
        cmocka_unit_test(round_trips),               cmocka_unit_test(luma_rows),
        cmocka_unit_test(refuses_with_a_sentence),   cmocka_unit_test(agrees_with_zimg),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
