/* Resampling of planes: against its definition in double, against zimg, level by level. */
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
#include "picture/format.h"
#include "picture/resize.h"
#include "zimg_reference.h"
#include "skip.h"

static uint32_t seed = 9;
static uint32_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static double sinc(double x) { return fabs(x) < 1e-12 ? 1 : sin(M_PI * x) / (M_PI * x); }

/* The kernels as their papers write them, in a form of their own. */
static double kernel(UpzResizeKernel k, double x)
{
    x = fabs(x);
    if (k == UPZ_RESIZE_BILINEAR) return x < 1 ? 1 - x : 0;
    if (k == UPZ_RESIZE_LANCZOS) return x < 3 ? sinc(x) * sinc(x / 3) : 0;
    if (k == UPZ_RESIZE_BICUBIC) {
        const double a = -0.5;
        if (x < 1) return (a + 2) * pow(x, 3) - (a + 3) * pow(x, 2) + 1;
        return x < 2 ? a * pow(x, 3) - 5 * a * pow(x, 2) + 8 * a * x - 4 * a : 0;
    }
    /* spline36: cubic pieces through 1 0 0 0 with equal first and second derivatives at the knots */
    if (x < 1) return 1 - 3.0 / 209 * x - 453.0 / 209 * x * x + 13.0 / 11 * x * x * x;
    if (x < 2) {
        double t = x - 1;
        return -156.0 / 209 * t + 270.0 / 209 * t * t - 6.0 / 11 * t * t * t;
    }
    if (x >= 3) return 0;
    double t = x - 2;
    return 26.0 / 209 * t - 45.0 / 209 * t * t + 1.0 / 11 * t * t * t;
}

static int mirror(int i, int n)
{
    if (i < 0) i = -1 - i;
    if (i >= n) i = 2 * n - 1 - i;
    return UPZ_CLAMP(i, 0, n - 1);
}

/* One direction in double: src (rows of n samples) to m samples. */
static void resample(const double *src, int n, int lines, double *dst, int m, UpzResizeKernel k,
                     double ratio, double shift)
{
    double widen = ratio > 1 ? ratio : 1;
    for (int i = 0; i < m; i++) {
        double center = (i + 0.5) * ratio + shift, sum = 0;
        int reach = (int)ceil(3 * widen) + 1, at = (int)floor(center);
        for (int j = at - reach; j <= at + reach; j++)
            sum += kernel(k, (j + 0.5 - center) / widen);
        for (int l = 0; l < lines; l++) {
            double v = 0;
            for (int j = at - reach; j <= at + reach; j++)
                v += src[(size_t)l * (size_t)n + (size_t)mirror(j, n)] *
                     kernel(k, (j + 0.5 - center) / widen);
            dst[(size_t)l * (size_t)m + (size_t)i] = v / sum;
        }
    }
}

static double *transpose(const double *s, int w, int h)
{
    double *d = upz_calloc((size_t)w * (size_t)h, sizeof(*d));
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) d[x * h + y] = s[y * w + x];
    return d;
}

typedef struct Plane {
    uint8_t *memory, *at;
    ptrdiff_t stride;
    size_t bytes;
} Plane;

static Plane plane_new(int w, int h, int step, int skew)
{
    Plane p;
    p.stride = (ptrdiff_t)UPZ_ROUND_UP((size_t)w * (size_t)step + 16, (size_t)8);
    p.bytes = (size_t)p.stride * (size_t)h + 128;
    p.memory = upz_calloc(1, p.bytes);
    p.at = p.memory + 32 + skew * step;
    return p;
}

static double get(const Plane *p, int x, int y, int depth, int step, int right)
{
    const uint8_t *s = p->at + p->stride * y + x * step;
    if (depth == 8) return *s;
    if (depth == 32) return *(const float *)(const void *)s;
    return *(const uint16_t *)(const void *)s >> right;
}

/* contrast: 1 = from black to white */
static void fill(Plane *p, int w, int h, int depth, int step, int left, double contrast)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            uint8_t *s = p->at + p->stride * y + x * step;
            /* hard edges, flat parts and noise */
            double v = draw() % 3 ? (double)(draw() % 1001) / 1000 : (double)(draw() & 1);
            if (y % 7 == 3) v = x / 5 & 1;
            v = 0.5 + (v - 0.5) * contrast;
            if (depth == 8)
                *s = (uint8_t)lrint(v * 255);
            else if (depth == 32)
                *(float *)(void *)s = (float)v;
            else
                *(uint16_t *)(void *)s = (uint16_t)(lrint(v * ((1 << depth) - 1)) << left);
        }
}

static const struct { int sw, sh, dw, dh; } sizes[] = {
    {1, 1, 1, 1},     {1, 1, 7, 5},     {5, 3, 2, 9},      {8, 8, 16, 16},   {33, 17, 66, 34},
    {40, 30, 160, 120}, {31, 29, 93, 87}, {64, 36, 96, 54}, {70, 50, 37, 23}, {100, 60, 50, 30},
    {90, 60, 30, 20}, {67, 41, 131, 83}, {300, 20, 11, 6}, {45, 23, 45, 46}, {52, 31, 104, 31},
    {530, 9, 1060, 18}, {520, 6, 2080, 12}, {2100, 6, 1050, 5}, {64, 64, 63, 65},
    {346, 6, 519, 9}, {700, 4, 1050, 6}};
static const struct { int src, dst, left_src, left_dst, step_src, step_dst; } kinds[] = {
    {8, 8, 0, 0, 1, 1},    {10, 10, 0, 0, 2, 2},  {9, 9, 0, 0, 2, 2},   {12, 12, 0, 0, 2, 2},
    {16, 16, 0, 0, 2, 2},  {32, 32, 0, 0, 4, 4},  {8, 10, 0, 0, 1, 2},  {10, 8, 6, 0, 4, 2},
    {8, 8, 0, 0, 3, 3},    {8, 8, 0, 0, 2, 4},    {10, 10, 6, 6, 4, 4}, {16, 16, 0, 0, 6, 8},
    {32, 8, 0, 0, 4, 1},   {8, 32, 0, 0, 1, 4},   {10, 10, 6, 0, 2, 2}};

static void follows_the_definition(void **state)
{
    (void)state;
    UpzCpuLevel best = upz_cpu_detect();
    double worst[33] = {0};
    for (int si = 0; si < UPZ_COUNT(sizes); si++)
    for (int ki = 0; ki < UPZ_COUNT(kinds); ki++) {
        UpzResizeKernel k = (UpzResizeKernel)((si + ki) % 4);
        int sw = sizes[si].sw, sh = sizes[si].sh, dw = sizes[si].dw, dh = sizes[si].dh;
        UpzResizeParams p = {.kernel = k, .src_w = sw, .src_h = sh, .dst_w = dw, .dst_h = dh,
                             .depth_src = kinds[ki].src, .depth_dst = kinds[ki].dst,
                             .shift_bits_src = kinds[ki].left_src,
                             .shift_bits_dst = kinds[ki].left_dst,
                             .step_src = kinds[ki].step_src, .step_dst = kinds[ki].step_dst};
        if (si % 3 == 1) p.shift_x = 0.25, p.shift_y = -0.375;
        double top_src = p.depth_src == 32 ? 1 : (1 << p.depth_src) - 1;
        double top_dst = p.depth_dst == 32 ? 1 : (1 << p.depth_dst) - 1;
        p.gain = top_dst / top_src;
        Plane s = plane_new(sw, sh, p.step_src, si % 3), d[UPZ_CPU_COUNT];
        fill(&s, sw, sh, p.depth_src, p.step_src, p.shift_bits_src, 1);
        double *exact = upz_calloc((size_t)sw * (size_t)sh, sizeof(*exact));
        for (int y = 0; y < sh; y++)
            for (int x = 0; x < sw; x++)
                exact[y * sw + x] = get(&s, x, y, p.depth_src, p.step_src, p.shift_bits_src);
        double *wide = upz_calloc((size_t)dw * (size_t)sh, sizeof(*wide));
        resample(exact, sw, sh, wide, dw, k, (double)sw / dw, p.shift_x);
        double *turned = transpose(wide, dw, sh);
        double *tall = upz_calloc((size_t)dw * (size_t)dh, sizeof(*tall));
        resample(turned, sh, dw, tall, dh, k, (double)sh / dh, p.shift_y);

        for (int level = 0; level <= (int)best; level++) {
            d[level] = plane_new(dw, dh, p.step_dst, (si + 1) % 3);
            memset(d[level].memory, 0x5a, d[level].bytes);
            UpzResize *r;
            assert_int_equal(upz_resize_create(&r, &p, (UpzCpuLevel)level, NULL), 0);
            void *scratch = upz_alloc_aligned(upz_resize_scratch(r));
            /* bands in any order */
            int cut = dh / 3;
            upz_resize_rows(r, s.at, s.stride, d[level].at, d[level].stride, cut, dh, scratch);
            upz_resize_rows(r, s.at, s.stride, d[level].at, d[level].stride, 0, cut, scratch);
            upz_free_aligned(scratch);
            upz_resize_destroy(&r);
            assert_null(r);
            if (level && memcmp(d[0].memory, d[level].memory, d[0].bytes) != 0)
                fail_msg("size %d kind %d kernel %d: level %s differs", si, ki, k,
                         upz_cpu_name((UpzCpuLevel)level));
        }
        double max = 0;
        for (int y = 0; y < dh; y++)
            for (int x = 0; x < dw; x++) {
                double e = tall[x * dh + y] * p.gain;
                double v = get(&d[0], x, y, p.depth_dst, p.step_dst, p.shift_bits_dst);
                if (p.depth_dst != 32) e = UPZ_CLAMP(e, 0, top_dst);
                max = fmax(max, fabs(v - e));
            }
        /* half a code is rounding; the rest is ours */
        double allowed = p.depth_dst == 32 ? 3e-6 : p.depth_dst == 16 ? 0.54 : 0.8;
        if (p.depth_src != p.depth_dst && p.depth_dst != 32) allowed = 0.51;
        worst[p.depth_dst] = fmax(worst[p.depth_dst], max);
        if (!(max <= allowed))
            fail_msg("size %dx%d to %dx%d kind %d kernel %d: off by %g", sw, sh, dw, dh, ki, k,
                     max);
        /* nothing between the samples or around the plane was touched */
        int bytes = p.depth_dst == 32 ? 4 : p.depth_dst > 8 ? 2 : 1;
        for (size_t i = 0; i < d[0].bytes; i++) {
            ptrdiff_t off = (ptrdiff_t)i - (d[0].at - d[0].memory);
            ptrdiff_t y = off >= 0 ? off / d[0].stride : -1, x = off >= 0 ? off % d[0].stride : 0;
            bool ours = y >= 0 && y < dh && x < (ptrdiff_t)dw * p.step_dst &&
                        x % p.step_dst < bytes;
            if (!ours) assert_int_equal(d[0].memory[i], 0x5a);
        }
        for (int level = 0; level <= (int)best; level++) upz_free(d[level].memory);
        upz_free(s.memory);
        upz_free(exact);
        upz_free(wide);
        upz_free(turned);
        upz_free(tall);
    }
    print_message("worst distance from the exact result, in codes: 8 bit %.3f, 9 %.3f, 10 %.3f, "
                  "12 %.3f, 16 %.3f, float %.2g\n",
                  worst[8], worst[9], worst[10], worst[12], worst[16], worst[32]);
}

static void flat_stays_flat(void **state)
{
    (void)state;
    for (int si = 0; si < UPZ_COUNT(sizes); si++)
        for (int depth = 8; depth <= 12; depth += 2)
            for (int k = 0; k < 4; k++)
                for (int value = 0; value < 3; value++) {
                    UpzResizeParams p = {.kernel = (UpzResizeKernel)k, .src_w = sizes[si].sw,
                                         .src_h = sizes[si].sh, .dst_w = sizes[si].dw,
                                         .dst_h = sizes[si].dh, .depth_src = depth,
                                         .depth_dst = depth, .shift_x = 0.3};
                    int bytes = depth > 8 ? 2 : 1, top = (1 << depth) - 1;
                    int code = value == 0 ? 0 : value == 1 ? top : top * 5 / 9;
                    Plane s = plane_new(p.src_w, p.src_h, bytes, 0);
                    Plane d = plane_new(p.dst_w, p.dst_h, bytes, 0);
                    for (int y = 0; y < p.src_h; y++)
                        for (int x = 0; x < p.src_w; x++) {
                            uint8_t *at = s.at + s.stride * y + x * bytes;
                            if (bytes == 1)
                                *at = (uint8_t)code;
                            else
                                *(uint16_t *)(void *)at = (uint16_t)code;
                        }
                    UpzResize *r;
                    assert_int_equal(upz_resize_create(&r, &p, upz_cpu_detect(), NULL), 0);
                    void *scratch = upz_alloc_aligned(upz_resize_scratch(r));
                    upz_resize_rows(r, s.at, s.stride, d.at, d.stride, 0, p.dst_h, scratch);
                    for (int y = 0; y < p.dst_h; y++)
                        for (int x = 0; x < p.dst_w; x++)
                            assert_int_equal((int)get(&d, x, y, depth, bytes, 0), code);
                    upz_free_aligned(scratch);
                    upz_resize_destroy(&r);
                    upz_free(s.memory);
                    upz_free(d.memory);
                }
}

static void agrees_with_zimg(void **state)
{
    (void)state;
#ifndef HAVE_ZIMG
    SKIP_BECAUSE("built without libzimg");
#else
    static const zimg_resample_filter_e filters[] = {ZIMG_RESIZE_BILINEAR, ZIMG_RESIZE_BICUBIC,
                                                     ZIMG_RESIZE_LANCZOS, ZIMG_RESIZE_SPLINE36};
    double worst[17] = {0};
    for (int si = 3; si < UPZ_COUNT(sizes); si++)
    for (int depth = 8; depth <= 16; depth += depth == 8 || depth == 10 ? 2 : 4)
    for (int k = 0; k < 4; k++) {
        int sw = sizes[si].sw, sh = sizes[si].sh, dw = sizes[si].dw, dh = sizes[si].dh;
        UprezFormat f = {.model = UPREZ_GRAY, .depth = (uint8_t)depth, .n_comp = 1, .n_plane = 1,
                         .comp = {{0, 0, depth > 8 ? 2 : 1}}};
        UprezPicture *s, *a, *b;
        assert_int_equal(uprez_picture_alloc(&s, &f, sw, sh, NULL), 0);
        assert_int_equal(uprez_picture_alloc(&a, &f, dw, dh, NULL), 0);
        assert_int_equal(uprez_picture_alloc(&b, &f, dw, dh, NULL), 0);
        s->color.range = a->color.range = b->color.range = UPREZ_RANGE_FULL;
        Plane ps = {s->plane[0], s->plane[0], s->stride[0], 0};
        Plane pa = {a->plane[0], a->plane[0], a->stride[0], 0};
        Plane pb = {b->plane[0], b->plane[0], b->stride[0], 0};
        int bytes = f.comp[0].step;
        /* zimg clips between its two passes: no overshoot beyond black and white here */
        fill(&ps, sw, sh, depth, bytes, 0, 0.5);
        ZimgRun z;
        assert_int_equal(zimg_open(&z, s, a, filters[k]), 0);
        assert_int_equal(zimg_run(&z, s, a), 0);
        zimg_close(&z);
        UpzResizeParams p = {.kernel = (UpzResizeKernel)k, .src_w = sw, .src_h = sh, .dst_w = dw,
                             .dst_h = dh, .depth_src = depth, .depth_dst = depth};
        UpzResize *r;
        assert_int_equal(upz_resize_create(&r, &p, upz_cpu_detect(), NULL), 0);
        void *scratch = upz_alloc_aligned(upz_resize_scratch(r));
        upz_resize_rows(r, ps.at, ps.stride, pb.at, pb.stride, 0, dh, scratch);
        upz_free_aligned(scratch);
        upz_resize_destroy(&r);
        double max = 0;
        for (int y = 0; y < dh; y++)
            for (int x = 0; x < dw; x++)
                max = fmax(max, fabs(get(&pa, x, y, depth, bytes, 0) -
                                     get(&pb, x, y, depth, bytes, 0)));
        worst[depth] = fmax(worst[depth], max);
        /* zimg itself computes in 16 bits with weights of 14 */
        double allowed = depth == 8 ? 1 : depth == 10 ? 2 : depth == 12 ? 4 : 32;
        if (!(max <= allowed))
            fail_msg("%dx%d to %dx%d depth %d kernel %d: %g codes apart", sw, sh, dw, dh, depth, k,
                     max);
        uprez_picture_unref(&s);
        uprez_picture_unref(&a);
        uprez_picture_unref(&b);
    }
    print_message("zimg: worst distance in codes: 8 bit %g, 10 bit %g, 12 bit %g, 16 bit %g\n",
                  worst[8], worst[10], worst[12], worst[16]);
#endif
}

static void refuses_nonsense(void **state)
{
    (void)state;
    UprezError err;
    UpzResize *r;
    UpzResizeParams good = {.src_w = 8, .src_h = 8, .dst_w = 8, .dst_h = 8, .depth_src = 8,
                            .depth_dst = 8};
    for (int i = 0; i < 6; i++) {
        UpzResizeParams p = good;
        if (i == 0) p.src_w = 0;
        if (i == 1) p.dst_h = 1 << 20;
        if (i == 2) p.depth_src = 7;
        if (i == 3) p.depth_dst = 17;
        if (i == 4) p.step_dst = 3, p.depth_dst = 10;
        if (i == 5) p.src_w = 65536, p.dst_w = 1, p.kernel = UPZ_RESIZE_LANCZOS;
        assert_int_equal(upz_resize_create(&r, &p, UPZ_CPU_C, &err), UPREZ_ERR_USAGE);
        assert_null(r);
        assert_true(strlen(err.text) > 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_definition),
        cmocka_unit_test(flat_stays_flat),
        cmocka_unit_test(agrees_with_zimg),
        cmocka_unit_test(refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
