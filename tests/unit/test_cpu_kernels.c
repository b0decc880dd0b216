/* Every kernel of every level against the plain-C table, bit for bit, with guards around outputs;
 * and the plain-C table against definitions in double. */
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
#include "engine/cpu/conv.h"

#define GUARD 64 /* floats before and behind an output */

static uint32_t seed;
static uint32_t bits(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* Mostly -1..1; some zeros, denormals and large values. */
static float value(void)
{
    switch (bits() % 40) {
    case 0: return 0;
    case 1: return -0.0f;
    case 2: return 1e-41f;
    case 3: return (float)(bits() % 1000) * 100;
    default: return (float)bits() / 8388608.0f - 1;
    }
}

typedef struct Buffer {
    float *all, *data;
    size_t n;
} Buffer;

static Buffer filled(size_t n)
{
    Buffer b = {.n = n};
    b.all = upz_alloc_aligned((n + 2 * GUARD) * sizeof(float));
    assert_non_null(b.all);
    b.data = b.all + GUARD;
    for (size_t i = 0; i < n + 2 * GUARD; i++) b.all[i] = value();
    return b;
}

static Buffer copy(const Buffer *from)
{
    Buffer b = filled(from->n);
    memcpy(b.all, from->all, (from->n + 2 * GUARD) * sizeof(float));
    return b;
}

static void drop(Buffer *b) { upz_free_aligned(b->all); }

/* Both outputs started equal: anything written outside shows as a difference too. */
static void expect_same(const Buffer *a, const Buffer *b, const char *what, UpzCpuLevel level)
{
    if (memcmp(a->all, b->all, (a->n + 2 * GUARD) * sizeof(float))) {
        size_t i = 0;
        while (!memcmp(&a->all[i], &b->all[i], sizeof(float))) i++;
        fail_msg("%s at %s: value %ld is %.9g, not %.9g", what, upz_cpu_name(level),
                 (long)i - GUARD, (double)b->all[i], (double)a->all[i]);
    }
}

static const UpzCpuKernels *c_table(void) { return upz_cpu_kernels(UPZ_CPU_C); }

typedef void (*Try)(const UpzCpuKernels *k, UpzCpuLevel level);

static void at_each_level(Try run)
{
    for (int level = 0; level <= (int)upz_cpu_detect(); level++) {
        const UpzCpuKernels *k = upz_cpu_kernels((UpzCpuLevel)level);
        if (level > UPZ_CPU_AVX512) { /* no kernels of their own: those of AVX-512 */
            assert_int_equal(k->level, UPZ_CPU_AVX512);
            continue;
        }
        assert_int_equal(k->level, level);
        seed = 99;
        run(k, (UpzCpuLevel)level);
    }
}

static void try_gemm(const UpzCpuKernels *k, UpzCpuLevel level)
{
    for (int n_out = 16; n_out <= 176; n_out += 16)
        for (int count = 1; count <= 31; count += count < 16 ? 1 : 5) {
            const int len[3] = {(int)(bits() % 9) + 1, (int)(bits() % 40), (int)(bits() % 5)};
            Buffer in = filled(31 * 50 + 200), w = filled((size_t)(60 * n_out));
            Buffer bias = filled((size_t)n_out), slope = filled((size_t)n_out);
            UpzRun runs[3] = {{in.data, 3, len[0]}, {in.data + 7, 50, len[1]},
                              {in.data + 100, 0, len[2]}};
            UpzGemm g = {.runs = runs, .n_runs = 3, .weights = w.data, .n_out = n_out,
                         .start = (UpzGemmStart)(bits() % 3), .bias = bias.data,
                         .slope = bits() % 2 ? slope.data : NULL, .out_step = n_out + 3,
                         .count = count};
            Buffer a = filled((size_t)(count * (n_out + 3))), b = copy(&a);
            Buffer start = copy(&a);
            g.out = a.data;
            c_table()->gemm(&g);
            g.out = b.data;
            k->gemm(&g);
            expect_same(&a, &b, "gemm", level);
            const int m = count - 1, o = n_out - 1; /* the definition, at one place */
            double sum = g.start == UPZ_GEMM_ZERO   ? 0
                         : g.start == UPZ_GEMM_BIAS ? bias.data[o]
                                                    : start.data[m * (n_out + 3) + o];
            double size = fabs(sum);
            const float *wp = w.data + o;
            for (int r = 0; r < 3; r++)
                for (int i = 0; i < len[r]; i++, wp += n_out) {
                    double x = (double)runs[r].a[m * runs[r].step + i] * (double)*wp;
                    sum += x;
                    size += fabs(x);
                }
            if (g.slope && sum < 0) sum *= slope.data[o], size *= fmax(1, fabs(slope.data[o]));
            assert_true(fabs(sum - a.data[m * (n_out + 3) + o]) <= 1e-5 * size + 1e-30);
            drop(&in), drop(&w), drop(&bias), drop(&slope), drop(&a), drop(&b), drop(&start);
        }
}

/* A whole Winograd convolution of one row of tiles, and the direct one in double. */
static void try_wino(const UpzCpuKernels *k, UpzCpuLevel level)
{
    static const int shapes[][3] = {{16, 16, 1}, {24, 48, 5}, {64, 64, 7}, {70, 32, 12}};
    for (int s = 0; s < 4; s++)
        for (int shift = 0; shift < 2; shift++) {
            const int in = shapes[s][0], out = shapes[s][1], tiles = shapes[s][2];
            const int w = 4 * tiles - 1, pitch = upz_pixel_pitch(in), v_tile = pitch + 16;
            const int line = (w + 16) * pitch;
            Buffer rows = filled((size_t)(6 * line)), weights = filled((size_t)(9 * in * out));
            for (size_t i = 0; i < rows.n; i++) rows.data[i] = fmodf(rows.data[i], 2);
            for (size_t i = 0; i < weights.n; i++) weights.data[i] = fmodf(weights.data[i], 0.2f);
            Buffer bias = filled((size_t)out), slope = filled((size_t)out);
            const UpzConvShape shape = {in, out, 1, 3, 3, 1, 1, 1, false};
            const UpzConvOps *way = upz_conv_choose(&shape, 0, UPZ_TYPE_F32, false);
            assert_string_equal(way->name, "fp32-wino-f4");
            UpzStage stage = {.in = in, .channels = out, .pitch = out};
            size_t bytes = 0;
            float *packed = way->pack(NULL, &stage, weights.data, NULL, &bytes);
            assert_non_null(packed);
            assert_int_equal(bytes, 36 * in * out * 4);

            Buffer va = filled((size_t)(36 * tiles * v_tile)), vb = copy(&va);
            UpzWinoIn wi = {.pitch = pitch, .shift = shift, .x = -1, .channels = in,
                            .count = tiles, .v_point = tiles * v_tile, .v_tile = v_tile};
            for (int i = 0; i < 6; i++) wi.rows[i] = rows.data + i * line + 2 * pitch;
            wi.v = va.data;
            c_table()->wino_in(&wi);
            wi.v = vb.data;
            k->wino_in(&wi);
            /* whole vectors may be written: compare the channels, and the guards */
            for (int p = 0; p < 36 * tiles; p++)
                assert_memory_equal(va.data + p * v_tile, vb.data + p * v_tile,
                                    (size_t)in * sizeof(float));
            assert_memory_equal(va.all, vb.all, GUARD * sizeof(float));
            assert_memory_equal(va.data + va.n, vb.data + vb.n, GUARD * sizeof(float));

            Buffer m = filled((size_t)(36 * tiles * out));
            for (int p = 0; p < 36; p++) {
                UpzRun run = {va.data + p * tiles * v_tile, v_tile, in};
                c_table()->gemm(&(UpzGemm){.runs = &run, .n_runs = 1, .n_out = out,
                    .weights = packed + (size_t)(p * in) * (size_t)out, .out_step = out,
                    .out = m.data + p * tiles * out, .count = tiles});
            }
            for (int cut = 0; cut < 2; cut++) {
                Buffer a = filled((size_t)(4 * (w + 8) * out)), b = copy(&a);
                UpzWinoOut wo = {.m = m.data, .m_point = tiles * out, .m_tile = out,
                                 .channels = out, .count = tiles, .bias = bias.data,
                                 .slope = cut ? slope.data : NULL, .pitch = out, .x = 0,
                                 .x0 = 2 * cut, .x1 = w};
                for (int i = 0; i < 4; i++)
                    wo.rows[i] = cut && i == 2 ? NULL : a.data + i * (w + 8) * out;
                c_table()->wino_out(&wo);
                for (int i = 0; i < 4; i++)
                    if (wo.rows[i]) wo.rows[i] = b.data + i * (w + 8) * out;
                k->wino_out(&wo);
                expect_same(&a, &b, "wino_out", level);
                for (int y = 0; !cut && y < 4; y++)
                    for (int x = 0; x < w; x++) {
                        const int o = (x * 7 + y) % out;
                        double sum = bias.data[o], size = fabs(sum);
                        for (int i = 0; i < in; i++)
                            for (int t = 0; t < 9; t++) {
                                double q = (double)wi.rows[y + t / 3]
                                               [(ptrdiff_t)((x - 1 + t % 3) >> shift) * pitch + i] *
                                           (double)weights.data[(o * in + i) * 9 + t];
                                sum += q;
                                size += fabs(q);
                            }
                        assert_true(fabs(sum - a.data[(y * (w + 8) + x) * out + o]) <
                                    2e-6 * size + 1e-6);
                    }
                drop(&a), drop(&b);
            }
            upz_free_aligned(packed);
            drop(&rows), drop(&weights), drop(&bias), drop(&slope), drop(&va), drop(&vb), drop(&m);
        }
}

static void try_depthwise(const UpzCpuKernels *k, UpzCpuLevel level)
{
    for (int channels = 16; channels <= 64; channels += 16)
        for (int count = 1; count < 6; count++) {
            Buffer in = filled(4000), w = filled((size_t)(5 * channels));
            Buffer bias = filled((size_t)channels), slope = filled((size_t)channels);
            const float *taps[5];
            for (int i = 0; i < 5; i++) taps[i] = in.data + bits() % 3000;
            Buffer a = filled((size_t)(count * channels)), b = copy(&a);
            UpzDepthwise d = {.taps = taps, .n_taps = 5, .step = 2 * channels, .weights = w.data,
                              .channels = channels, .bias = bias.data,
                              .slope = count % 2 ? slope.data : NULL, .out_step = channels,
                              .count = count};
            d.out = a.data;
            c_table()->depthwise(&d);
            d.out = b.data;
            k->depthwise(&d);
            expect_same(&a, &b, "depthwise", level);
            float acc = bias.data[3];
            for (int t = 0; t < 5; t++) acc = fmaf(taps[t][3], w.data[t * channels + 3], acc);
            if (d.slope && acc < 0) acc *= slope.data[3];
            assert_true(a.data[3] == acc);
            drop(&in), drop(&w), drop(&bias), drop(&slope), drop(&a), drop(&b);
        }
}

static void try_planar(const UpzCpuKernels *k, UpzCpuLevel level)
{
    for (int factor = 1; factor <= 5; factor++)
        for (int with = 0; with < 3; with++)
            for (int count = 1; count < 40; count += 3) {
                Buffer in = filled(40 * 80 + 40), base = filled(40 * 5 * 3);
                Buffer a = filled((size_t)(count * factor)), b = copy(&a);
                UpzPlanar p = {.src = in.data + 3, .pitch = 80, .dx_step = count % 2 ? 1 : 3,
                               .factor = factor, .count = count, .base = with ? base.data : NULL,
                               .base_pitch = 3, .base_up = with == 1 ? factor : 1, .alpha = 0.75f,
                               .beta = 1.5f};
                p.dst = a.data;
                c_table()->planar(&p);
                p.dst = b.data;
                k->planar(&p);
                expect_same(&a, &b, "planar", level);
                for (int i = 0; i < count * factor; i++) {
                    float want = in.data[3 + i / factor * 80 + i % factor * p.dx_step];
                    if (with) want = 0.75f * want + 1.5f * base.data[i / p.base_up * 3];
                    assert_true(a.data[i] == want);
                }
                drop(&in), drop(&base), drop(&a), drop(&b);
            }
}

static void try_interleave(const UpzCpuKernels *k, UpzCpuLevel level)
{
    for (int channels = 1; channels <= 4; channels++)
        for (int pitch = channels; pitch <= 16; pitch += 13)
            for (int count = 1; count < 70; count += 7) {
                Buffer in = filled(400), a = filled((size_t)(count * pitch)), b = copy(&a);
                const float *src[4] = {in.data, in.data + 101, in.data + 202, in.data + 303};
                c_table()->interleave(a.data, pitch, src, channels, count);
                k->interleave(b.data, pitch, src, channels, count);
                expect_same(&a, &b, "interleave", level);
                for (int i = 0; i < count * channels; i++)
                    assert_true(a.data[i / channels * pitch + i % channels] ==
                                src[i % channels][i / channels]);
                drop(&in), drop(&a), drop(&b);
            }
}

static double curve_at(double x, UpzCurve curve)
{
    switch (curve) {
    case UPZ_CURVE_SIGMOID: return 1 / (1 + exp(-x));
    case UPZ_CURVE_TANH: return tanh(x);
    case UPZ_CURVE_SILU: return x / (1 + exp(-x));
    case UPZ_CURVE_GELU: return 0.5 * x * (1 + erf(x * sqrt(0.5)));
    case UPZ_CURVE_CLIP: return x < -0.25f ? -0.25f : x > 0.5f ? 0.5f : x;
    }
    return 0;
}

static void try_pointwise(const UpzCpuKernels *k, UpzCpuLevel level)
{
    for (int channels = 16; channels <= 48; channels += 16)
        for (int count = 1; count < 5; count++) {
            const size_t n = (size_t)(channels * count);
            Buffer x = filled(n), y = filled(n), s = filled((size_t)channels);
            Buffer t = filled((size_t)channels), a = filled(n), b = copy(&a);
            c_table()->add(a.data, x.data, y.data, 0.2f, -1.5f, n);
            k->add(b.data, x.data, y.data, 0.2f, -1.5f, n);
            expect_same(&a, &b, "add", level);
            assert_true(a.data[5] == fmaf(0.2f, x.data[5], -1.5f * y.data[5]));
            c_table()->mul(a.data, x.data, y.data, n);
            k->mul(b.data, x.data, y.data, n);
            expect_same(&a, &b, "mul", level);
            assert_true(a.data[5] == x.data[5] * y.data[5]);
            for (int with = 0; with < 4; with++) {
                const float *scale = with & 1 ? s.data : NULL, *shift = with & 2 ? t.data : NULL;
                c_table()->affine(a.data, x.data, scale, shift, channels, count);
                k->affine(b.data, x.data, scale, shift, channels, count);
                expect_same(&a, &b, "affine", level);
            }
            assert_true(a.data[n - 1] ==
                        fmaf(x.data[n - 1], s.data[channels - 1], t.data[channels - 1]));
            c_table()->slope(a.data, x.data, s.data, channels, count);
            k->slope(b.data, x.data, s.data, channels, count);
            expect_same(&a, &b, "slope", level);
            assert_true(a.data[n - 2] == (x.data[n - 2] < 0 ? x.data[n - 2] * s.data[channels - 2]
                                                            : x.data[n - 2]));
            for (int curve = 0; curve <= UPZ_CURVE_CLIP; curve++) {
                for (size_t i = 0; i < n; i++) x.data[i] = ((float)bits() / 8388608.0f - 1) * 12;
                x.data[7] = 200, x.data[8] = -200;
                c_table()->curve(a.data, x.data, (UpzCurve)curve, -0.25f, 0.5f, n);
                k->curve(b.data, x.data, (UpzCurve)curve, -0.25f, 0.5f, n);
                expect_same(&a, &b, "curve", level);
                for (size_t i = 0; i < n; i++) {
                    double want = curve_at(x.data[i], (UpzCurve)curve);
                    assert_true(fabs(a.data[i] - want) < 1e-6 * fmax(1, fabs(want)));
                }
                x.data[9] = NAN;
                k->curve(b.data, x.data, (UpzCurve)curve, -0.25f, 0.5f, n);
                assert_true(isnan(b.data[9]));
                k->curve(a.data, x.data, (UpzCurve)curve, -0.25f, 0.5f, n);
            }
            drop(&x), drop(&y), drop(&s), drop(&t), drop(&a), drop(&b);
        }
}

/* bf16 as the instructions make it: the nearest, halves to even, denormals flushed, NaN quiet. */
static uint16_t narrowed(float x)
{
    uint32_t i;
    memcpy(&i, &x, 4);
    if (isnan(x)) return (uint16_t)(i >> 16 | 0x40);
    if (fpclassify(x) == FP_SUBNORMAL || x == 0) return signbit(x) ? 0x8000 : 0;
    const uint32_t below = i & 0xffff0000, above = below + 0x10000; /* neighbours, away from zero */
    const uint32_t rest = i & 0xffff;
    return (uint16_t)((rest < 0x8000 || (rest == 0x8000 && !(below >> 16 & 1)) ? below : above) >> 16);
}

static void try_narrow(const UpzCpuKernels *k, UpzCpuLevel level)
{
    for (size_t n = 16; n <= 4096; n += n < 64 ? 16 : 1008) {
        Buffer in = filled(n), out = filled(n), back = filled(n), start = copy(&back);
        uint16_t *half = (uint16_t *)(void *)out.data;
        for (size_t i = 0; i < n; i += 2) { /* every second one any bits at all */
            const uint32_t any = bits() << 16 ^ bits();
            memcpy(&in.data[i], &any, 4);
        }
        Buffer untouched = copy(&out);
        k->narrow(half, in.data, n);
        k->widen(back.data, half, n);
        for (size_t i = 0; i < n; i++) {
            const uint16_t want = narrowed(in.data[i]);
            const uint32_t wide = (uint32_t)want << 16;
            if (half[i] != want || memcmp(&back.data[i], &wide, 4))
                fail_msg("narrow at %s: %a is %x, not %x", upz_cpu_name(level), (double)in.data[i], half[i],
                         want);
        }
        assert_memory_equal(half + n, (uint16_t *)(void *)untouched.data + n, n * 2 + GUARD * 4);
        assert_memory_equal(back.data + n, start.data + n, GUARD * 4);
        drop(&in), drop(&out), drop(&back), drop(&start), drop(&untouched);
    }
}

static void gemm(void **state) { (void)state, at_each_level(try_gemm); }
static void winograd(void **state) { (void)state, at_each_level(try_wino); }
static void depthwise(void **state) { (void)state, at_each_level(try_depthwise); }
static void planar(void **state) { (void)state, at_each_level(try_planar); }
static void interleave(void **state) { (void)state, at_each_level(try_interleave); }
static void pointwise(void **state) { (void)state, at_each_level(try_pointwise); }
static void narrow(void **state) { (void)state, at_each_level(try_narrow); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm),      cmocka_unit_test(winograd),   cmocka_unit_test(depthwise),
        cmocka_unit_test(planar),    cmocka_unit_test(interleave), cmocka_unit_test(pointwise),
        cmocka_unit_test(narrow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
