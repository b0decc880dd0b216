/* The measures against their definitions, written plainly in double: every level, odd sizes, depths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "picture/format.h"
#include "quality/measure.h"

static unsigned seed;
static unsigned next(void) { return seed = seed * 1664525u + 1013904223u; }

static unsigned sample(const UprezPicture *p, int c, int x, int y)
{
    const uint8_t *row = (const uint8_t *)p->plane[c] + y * p->stride[c];
    return p->format.depth == 8 ? row[x] : ((const uint16_t *)(const void *)row)[x];
}

/* Waves, flat parts and noise; `by`: how much noise. */
static UprezPicture *paint(const char *format, int w, int h, unsigned by)
{
    UprezFormat f;
    UprezPicture *p;
    assert_int_equal(uprez_format_from_name(&f, format), 0);
    assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
    const double peak = (1 << f.depth) - 1;
    for (int c = 0; c < f.n_comp; c++) {
        for (int y = 0; y < upz_component_height(&f, c, h); y++) {
            uint8_t *row = (uint8_t *)p->plane[c] + y * p->stride[c];
            for (int x = 0; x < upz_component_width(&f, c, w); x++) {
                double v = x < w / 4 ? 1 : 0.5 + 0.4 * sin(x * 0.21 + c) * cos(y * 0.13);
                if (x >= w / 8 && by) v += ((double)(next() >> 8) / (1 << 24) - 0.5) * by / 255;
                const unsigned n = (unsigned)lrint(fmin(fmax(v, 0), 1) * peak);
                if (f.depth == 8) row[x] = (uint8_t)n;
                else ((uint16_t *)(void *)row)[x] = (uint16_t)n;
            }
        }
    }
    return p;
}

static double plain_error(const UprezPicture *a, const UprezPicture *b, int c, int w, int h)
{
    double sum = 0;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const double d = (double)sample(a, c, x, y) - (double)sample(b, c, x, y);
            sum += d * d;
        }
    return sum / ((double)w * h);
}

/* Windows of 8x8 at every fourth sample; means and variances of 64 samples (unbiased). */
static double plain_ssim(const UprezPicture *a, const UprezPicture *b, int c, int w, int h, double peak)
{
    const double c1 = .01 * peak * .01 * peak, c2 = .03 * peak * .03 * peak;
    double sum = 0;
    int n = 0;
    for (int y = 0; y + 8 <= h / 4 * 4; y += 4)
        for (int x = 0; x + 8 <= w / 4 * 4; x += 4, n++) {
            double ma = 0, mb = 0, va = 0, vb = 0, ab = 0;
            for (int i = 0; i < 64; i++) {
                ma += sample(a, c, x + i % 8, y + i / 8) / 64.0;
                mb += sample(b, c, x + i % 8, y + i / 8) / 64.0;
            }
            for (int i = 0; i < 64; i++) {
                const double p = sample(a, c, x + i % 8, y + i / 8) - ma;
                const double q = sample(b, c, x + i % 8, y + i / 8) - mb;
                va += p * p / 63;
                vb += q * q / 63;
                ab += p * q / 63;
            }
            sum += (2 * ma * mb + c1) * (2 * ab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
        }
    return sum / n;
}

typedef struct Map {
    int w, h;
    double *v;
} Map;

static Map map_of(int w, int h)
{
    Map m = {w, h, calloc((size_t)w * (size_t)h, sizeof(double))};
    assert_non_null(m.v);
    return m;
}

static int mirror(int i, int n) { return i < 0 ? -1 - i : i >= n ? 2 * n - 1 - i : i; }

static Map plain_half(const Map *m)
{
    static const double tap[9] = {0.026727, -0.016828, -0.078201, 0.266846, 0.602914, 0.266846, -0.078201,
                                  -0.016828, 0.026727};
    Map out = map_of((m->w + 1) / 2, (m->h + 1) / 2);
    for (int y = 0; y < out.h; y++)
        for (int x = 0; x < out.w; x++) {
            double sum = 0;
            for (int i = 0; i < 81; i++)
                sum += tap[i / 9] * tap[i % 9] *
                       m->v[mirror(2 * y + i / 9 - 4, m->h) * m->w + mirror(2 * x + i % 9 - 4, m->w)];
            out.v[y * out.w + x] = sum;
        }
    return out;
}

/* Means of luminance, contrast and structure over all windows of 11x11. */
static void plain_terms(const Map *a, const Map *b, double *term)
{
    static const double g[11] = {0.001028, 0.007599, 0.036001, 0.109361, 0.213006, 0.266012, 0.213006,
                                 0.109361, 0.036001, 0.007599, 0.001028};
    const double c1 = 2.55 * 2.55, c2 = 7.65 * 7.65;
    memset(term, 0, 3 * sizeof(*term));
    for (int y = 0; y + 11 <= a->h; y++)
        for (int x = 0; x + 11 <= a->w; x++) {
            double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
            for (int i = 0; i < 121; i++) {
                const double w = g[i / 11] * g[i % 11];
                const double p = a->v[(y + i / 11) * a->w + x + i % 11];
                const double q = b->v[(y + i / 11) * b->w + x + i % 11];
                ma += w * p;
                mb += w * q;
                aa += w * p * p;
                bb += w * q * q;
                ab += w * p * q;
            }
            aa = fmax(aa - ma * ma, 0);
            bb = fmax(bb - mb * mb, 0);
            ab -= ma * mb;
            const double both = sqrt(aa * bb);
            if (ab < 0 && both <= 0) ab = 0;
            term[0] += (2 * ma * mb + c1) / (ma * ma + mb * mb + c1);
            term[1] += (2 * both + c2) / (aa + bb + c2);
            term[2] += (ab + c2 / 2) / (both + c2 / 2);
        }
    for (int j = 0; j < 3; j++) term[j] /= (double)(a->w - 10) * (a->h - 10);
}

static double plain_ms_ssim(const UprezPicture *a, const UprezPicture *b, int c)
{
    static const double e[5] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
    const double unit = 1.0 / (1 << (a->format.depth - 8));
    Map m[2] = {map_of(a->width, a->height), map_of(a->width, a->height)};
    for (int i = 0; i < a->width * a->height; i++) {
        m[0].v[i] = sample(a, c, i % a->width, i / a->width) * unit;
        m[1].v[i] = sample(b, c, i % a->width, i / a->width) * unit;
    }
    double result = 1, term[3];
    for (int k = 0; k < 5; k++) {
        plain_terms(&m[0], &m[1], term);
        result *= pow(term[1], e[k]) * pow(fabs(term[2]), e[k]);
        if (k == 4) result *= pow(term[0], e[k]);
        for (int i = 0; i < 2; i++) {
            Map half = plain_half(&m[i]);
            free(m[i].v);
            m[i] = half;
        }
    }
    for (int i = 0; i < 2; i++) free(m[i].v);
    return result;
}

static void check(const char *format, int w, int h, bool ms)
{
    UprezPicture *a = paint(format, w, h, 0), *b = paint(format, w, h, 40);
    const UprezFormat *f = &a->format;
    const double want_ms = ms ? plain_ms_ssim(a, b, f->model == UPREZ_RGB ? f->comp[1].plane : 0) : -1;
    for (int level = 0; level <= (int)upz_cpu_detect(); level++)
        for (int threads = 1; threads <= 3; threads += 2) {
            UprezContextParams cp = {.size = sizeof(cp), .threads = threads,
                                     .cpu = upz_cpu_name((UpzCpuLevel)level)};
            UprezContext *ctx;
            UpzMeasure *m;
            UpzMeasured out;
            assert_int_equal(uprez_context_create(&ctx, &cp, NULL), 0);
            assert_int_equal(upz_measure_create(&m, ctx, a, ms, NULL), 0);
            upz_measure_run(m, a, b, &out);
            assert_int_equal(out.n, f->n_comp);
            for (int c = 0; c < out.n; c++) {
                const int cw = upz_component_width(f, c, w), ch = upz_component_height(f, c, h);
                const int plane = f->comp[c].plane;
                const double error = plain_error(a, b, plane, cw, ch);
                assert_true(fabs(out.error[c] - error) <= 1e-9 * error);
                assert_true(error > 0);
                if (cw < 8 || ch < 8) assert_true(out.ssim[c] < 0);
                else assert_true(fabs(out.ssim[c] - plain_ssim(a, b, plane, cw, ch, out.peak)) < 2e-6);
            }
            assert_true(fabs(out.ms_ssim - want_ms) < 2e-6);
            upz_measure_run(m, a, a, &out);
            assert_true(upz_measured_error(&out) == 0 && isinf(upz_psnr(0, out.peak)));
            if (ms) assert_true(fabs(out.ms_ssim - 1) < 1e-6);
            upz_measure_destroy(&m);
            uprez_context_destroy(&ctx);
        }
    uprez_picture_unref(&a);
    uprez_picture_unref(&b);
}

static void test_shapes(void **state)
{
    (void)state;
    static const char *const formats[] = {"yuv420p", "yuv444p10le", "gray", "gbrp", "yuv422p16le"};
    static const int sizes[][2] = {{64, 48}, {37, 29}, {8, 8}, {131, 70}, {9, 21}, {7, 3}, {533, 12}};
    for (int i = 0; i < UPZ_COUNT(formats); i++)
        for (int k = 0; k < UPZ_COUNT(sizes); k++) check(formats[i], sizes[k][0], sizes[k][1], false);
}

static void test_ms_ssim(void **state)
{
    (void)state;
    check("yuv420p", 177, 190, true);
    check("gbrp10le", 203, 176, true);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const formats[] = {"nv12", "p010le", "rgb24", "grayf32le"};
    for (int i = 0; i < UPZ_COUNT(formats); i++) {
        UprezFormat f;
        assert_int_equal(uprez_format_from_name(&f, formats[i]), 0);
        assert_false(upz_measure_takes(&f));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_ms_ssim),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
