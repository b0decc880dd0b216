/* 8-bit numbers in engine cuda: the kernels against plain loops over the same numbers, conversions against
 * the emulation's, and whole networks beside the same ones in halves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda_fake.h"
#include "cuda_maps.h"
#include "engine/cuda/eight.h"
#include "engine/cuda/pack.h"

/* ---- numbers ---- */

/* All codes there and back; everything between two codes to the nearer, even ones at a tie. */
static void conversions(void **state)
{
    (void)state;
    for (int kind = UPZ_EIGHT_FP8; kind <= UPZ_EIGHT_INT8; kind++)
        for (int v = 0; v < 256; v++) {
            const float x = upz_eight_unpack(kind, (uint8_t)v);
            if (kind == UPZ_EIGHT_FP8) {
                const float want = simt_from_fp8((uint8_t)v);
                assert_true(x == want || (isnan(x) && isnan(want)));
                if (isnan(x)) continue;
            } else if (v == 128) {
                continue; /* -128 is not made */
            }
            assert_int_equal(upz_eight_pack(kind, x), v);
        }
    for (int i = 0; i < 200000; i++) {
        const float range = i % 3 == 0 ? 600 : i % 3 == 1 ? 0.05f : 20;
        const float v = ((float)(draw() % 200001) / 100000 - 1) * range;
        assert_int_equal(upz_eight_pack(UPZ_EIGHT_FP8, v), simt_fp8(v));
        assert_int_equal(upz_eight_pack(UPZ_EIGHT_INT8, v), simt_int8(v));
    }
    const float odd[] = {448, 464, 465, 1e30f, INFINITY, 0.5f, 1.5f, 2.5f, 126.5f, 127.4f, 1000, 0x1p-9f,
                         0x1p-10f, 0x1.8p-10f, 0x1.1p-6f, 17, 19, 21};
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++)
        for (int sign = -1; sign < 2; sign += 2) {
            assert_int_equal(upz_eight_pack(UPZ_EIGHT_FP8, (float)sign * odd[i]), simt_fp8((float)sign * odd[i]));
            assert_int_equal(upz_eight_pack(UPZ_EIGHT_INT8, (float)sign * odd[i]),
                             simt_int8((float)sign * odd[i]));
        }
    assert_int_equal(upz_eight_pack(UPZ_EIGHT_FP8, 17), upz_eight_pack(UPZ_EIGHT_FP8, 16)); /* tie: even */
    assert_int_equal(upz_eight_pack(UPZ_EIGHT_FP8, 19), upz_eight_pack(UPZ_EIGHT_FP8, 20));
    assert_int_equal(upz_eight_pack(UPZ_EIGHT_INT8, NAN), 0);
    assert_true(isnan(upz_eight_unpack(UPZ_EIGHT_FP8, upz_eight_pack(UPZ_EIGHT_FP8, NAN))));
}

/* ---- kernels ---- */

static uint8_t *eight_at(const Map *map, int c, int y, int x)
{
    return (uint8_t *)(uintptr_t)(map->m.data + (uint64_t)(c / 16) * map->m.chunk) +
           (int64_t)y * map->m.row + (int64_t)x * 16 + c % 16;
}

static float eight_get(int kind, const Map *map, int c, int y, int x)
{
    if (x < 0 || y < 0 || x >= map->m.width || y >= map->m.height) return 0;
    return upz_eight_unpack(kind, *eight_at(map, c, y, x));
}

static uint8_t any_number(int kind)
{
    return upz_eight_pack(kind, kind == UPZ_EIGHT_FP8 ? (float)(draw() % 4001) / 100 - 20
                                                      : (float)(draw() % 255) - 127);
}

static void eight_fill(int kind, Map *map, int channels)
{
    for (int c = 0; c < map->m.chunks * 16; c++)
        for (int y = -1; y <= map->m.height; y++)
            for (int x = -1; x <= map->m.width; x++) {
                const bool in = x >= 0 && y >= 0 && x < map->m.width && y < map->m.height && c < channels;
                *eight_at(map, c, y, x) = in ? any_number(kind) : 0;
            }
}

typedef struct Eight {
    Case c;
    bool from, half, to; /* src in 8 bits; results in halves, in 8 bits */
} Eight;

static void conv_eight(const Eight *e, int kind, int capability, unsigned seed)
{
    const Case *c = &e->c;
    const int per = e->from ? 32 : 16, w = c->width * c->up, h = c->height * c->up;
    const int depth = (c->in + per - 1) / per, blocks = (c->out + 63) / 64;
    const int across = c->up == 2 ? 2 : c->kernel, taps = across * across, parities = c->up == 2 ? 4 : 1;
    Map src = map_new(c->width, c->height, 2 * depth, 0), dst = {0}, dst8 = {0}, add[2];
    UpzCudaConv p = {.alpha = c->alpha, .beta = {c->beta[0], c->beta[1]}, .out = c->out, .kernel = c->kernel,
                     .up = c->up, .factor = 1, .src = src.m, .eight = kind};
    char what[160];
    if (e->from) eight_fill(kind, &src, c->in);
    else map_fill(&src, c->in);
    /* weights by output, input and tap of the kernel that runs: 2x has four of 2x2 */
    if (e->half) p.dst = (dst = map_new(w, h, (c->out + 15) / 16 * 2, 1)).m;
    if (e->to) p.dst8 = (dst8 = map_new(w, h, (c->out + 31) / 32 * 2, 1)).m;
    for (int i = 0; i < c->adds; i++) {
        add[i] = map_new(w, h, (c->out + 15) / 16 * 2, 0);
        map_fill(&add[i], c->out);
        p.add[i] = add[i].m;
    }
    const bool hopper = capability == 90 && upz_conv_hopper_can(&p, e->from);
    assert_true(hopper || capability != 90 || !e->from);
    const bool pair = hopper && upz_conv_stream_pairs(&p);
    p.pair = pair;
    const size_t tiles = pair ? (size_t)depth * 12 : (size_t)(parities * blocks * taps * depth);
    uint8_t *packed = memory(tiles * 2048);
    memset(packed, 0, tiles * 2048);
    float *dense = calloc((size_t)(parities * c->out * c->in * taps), sizeof(float));
    for (int i = 0; i < parities * c->out * c->in * taps; i++)
        dense[i] = e->from ? upz_eight_unpack(kind, any_number(kind)) : (float)(int)(draw() % 65) / 128 - 0.25f;
    for (int t = 0; t < (int)tiles; t++)
        for (int m = 0; m < 64; m++)
            for (int k = 0; k < per; k++) {
                const int i = (pair ? t / 12 : t % depth) * per + k;
                const int tap = pair ? 3 * (t / 3 % 4 - m / 32) + t % 3 : t / depth % taps;
                const int o = pair ? m % 32 : t / depth / taps % blocks * 64 + m;
                const int parity = pair ? 0 : t / depth / taps / blocks;
                if (o >= c->out || i >= c->in || tap < 0 || tap >= taps) continue;
                const float v = dense[((parity * c->out + o) * c->in + i) * taps + tap];
                uint8_t *tile = packed + (size_t)t * 2048;
                if (e->from) tile[k / 16 * 1024 + m * 16 + k % 16] = upz_eight_pack(kind, v);
                else ((uint16_t *)(void *)tile)[k / 8 * 512 + m * 8 + k % 8] = simt_half(v);
            }
    p.weights = at(packed);
    float *bias = per_channel(c->out, 1), *slope = c->act ? per_channel(c->out, 0.5f) : NULL;
    float *scale = per_channel(c->out, 1), *inverse = per_channel(c->out, 1);
    for (int o = 0; o < c->out; o++) {
        scale[o] = (float)(1 + draw() % 100) / (kind == UPZ_EIGHT_FP8 ? 40000 : 400000);
        inverse[o] = (float)(1 + draw() % 100) / (e->from ? 1 : 3);
    }
    p.bias = at(bias);
    p.slope = slope ? at(slope) : 0;
    p.scale = at(scale);
    p.inverse = at(inverse);
    const int some = 1 + (int)(draw() % 4);
    const UpzCudaGrid g = hopper ? upz_conv_hopper_grid(&p, some) : upz_conv_mma_grid(&p, some, capability);
    const char *name = hopper ? upz_conv_hopper_name(&p) : upz_conv_mma_name(&p, e->from);
    snprintf(what, sizeof what, "%s sm_%d seed %u, %d -> %d, %dx%d, kernel %d, up %d", name, capability, seed,
             c->in, c->out, c->width, c->height, c->kernel, c->up);
    run(name, capability, &p, g, seed);
    for (int o = 0; o < (c->out + 31) / 32 * 32; o++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double v = 0;
                const int parity = c->up == 2 ? y % 2 * 2 + x % 2 : 0;
                for (int i = 0; i < c->in && o < c->out; i++)
                    for (int tap = 0; tap < taps; tap++) {
                        const int ty = tap / across, tx = tap % across;
                        const int sy = c->up == 2 ? y / 2 - 1 + y % 2 + ty : y - c->kernel / 2 + ty;
                        const int sx = c->up == 2 ? x / 2 - 1 + x % 2 + tx : x - c->kernel / 2 + tx;
                        const float s = e->from ? eight_get(kind, &src, i, sy, sx) : map_get(&src, i, sy, sx);
                        v += (double)dense[((parity * c->out + o) * c->in + i) * taps + tap] * (double)s;
                    }
                if (o < c->out) {
                    if (e->from) v *= (double)scale[o];
                    v += (double)bias[o];
                    if (slope && v < 0) v *= (double)slope[o];
                    v *= (double)c->alpha;
                    for (int i = 0; i < c->adds; i++)
                        v += (double)c->beta[i] * (double)map_get(&add[i], o, y, x);
                }
                if (e->half && o < (c->out + 15) / 16 * 16) close_to(v, *map_at(&dst, o, y, x), what, o, y, x);
                if (!e->to) continue;
                /* the number that is nearest, or its neighbour where the sum lies between two */
                const double scaled = o < c->out ? v * (double)inverse[o] : 0;
                const double got = (double)upz_eight_unpack(kind, *eight_at(&dst8, o, y, x));
                const double near = (double)upz_eight_unpack(kind, upz_eight_pack(kind, (float)scaled));
                const double room = fabs(scaled) * 2e-6 + 1e-4;
                if (got < near ? (double)upz_eight_unpack(kind, upz_eight_pack(kind, (float)(scaled - room))) > got
                               : (double)upz_eight_unpack(kind, upz_eight_pack(kind, (float)(scaled + room))) < got)
                    fail_msg("%s: channel %d, (%d, %d): %g for %g", what, o, x, y, got, scaled);
                if (!(got == got)) fail_msg("%s: channel %d, (%d, %d) is no number", what, o, x, y);
            }
    if (e->half) map_untouched(&dst);
    for (size_t i = 0; e->to && i < dst8.halves; i++) { /* what lies around is as it was */
        const uint64_t byte = at(dst8.data + i) - dst8.m.data, in_chunk = byte % dst8.m.chunk;
        const bool in = at(dst8.data + i) >= dst8.m.data && byte / dst8.m.chunk < (uint64_t)dst8.m.chunks &&
                        in_chunk / dst8.m.row < (uint64_t)h && in_chunk % dst8.m.row < (uint64_t)w * 16;
        if (!in) assert_int_equal(dst8.data[i], UNTOUCHED);
    }
    free(dense);
    drop_all();
}

static const Eight eights[] = {
    /* in, out, w, h, kernel, up, act, adds, alpha, beta, factor, base; from, half, to */
    {{3, 64, 131, 6, 3, 1, 1, 0, 1, {0, 0}, 0, 0}, false, false, true},
    {{12, 24, 40, 5, 3, 1, 1, 0, 1, {0, 0}, 0, 0}, false, true, true},
    {{64, 64, 130, 7, 3, 1, 1, 0, 1, {0, 0}, 0, 0}, true, false, true},
    {{64, 64, 37, 9, 3, 1, 1, 0, 1, {0, 0}, 0, 0}, true, true, false},
    {{24, 24, 61, 5, 3, 1, 1, 0, 1, {0, 0}, 0, 0}, true, false, true},
    {{192, 64, 18, 5, 3, 1, 0, 2, 0.2f, {1, 0.2f}, 0, 0}, true, true, true},
    {{96, 32, 129, 5, 3, 1, 1, 0, 1, {0, 0}, 0, 0}, true, false, true},
    {{64, 64, 35, 6, 3, 2, 1, 0, 1, {0, 0}, 0, 0}, true, false, true},
    {{40, 80, 23, 5, 1, 1, 1, 0, 1, {0, 0}, 0, 0}, true, true, true},
    {{64, 16, 20, 4, 3, 1, 1, 1, 0.5f, {1, 0}, 0, 0}, true, false, true},
};

static void convolutions(void **state)
{
    (void)state;
    const int bits = simt_fp8_bits;
    simt_fp8_bits = 0; /* a product too few shows */
    static const unsigned seeds[] = {SIMT_LATE, SIMT_AT_ONCE, 5, 77};
    for (size_t i = 0; i < sizeof(eights) / sizeof(*eights); i++) {
        conv_eight(&eights[i], UPZ_EIGHT_INT8, 90, seeds[i % 4]);
        conv_eight(&eights[i], UPZ_EIGHT_FP8, 89, seeds[(i + 1) % 4]);
        conv_eight(&eights[i], UPZ_EIGHT_FP8, 90, seeds[(i + 3) % 4]);
        if (i % 2) conv_eight(&eights[i], UPZ_EIGHT_INT8, 86, seeds[(i + 2) % 4]);
        if (i % 2 == 0) conv_eight(&eights[i], UPZ_EIGHT_INT8, 75, seeds[(i + 2) % 4]);
    }
    for (int i = 0; i < 14; i++) {
        Eight e = {.c = {.alpha = 1, .beta = {0.5f, 1}, .up = 1}, .from = draw() % 4 != 0};
        e.half = draw() % 2;
        e.to = !e.half || draw() % 2 || !e.from;
        e.c.in = (int)(1 + draw() % 100);
        e.c.out = (int)(1 + draw() % 70);
        e.c.width = (int)(1 + draw() % (draw() % 4 ? 30 : 140));
        e.c.height = (int)(1 + draw() % 7);
        e.c.kernel = draw() % 4 ? 3 : 1;
        e.c.act = (int)(draw() % 2);
        e.c.adds = (int)(draw() % 3);
        if (e.c.kernel == 3 && draw() % 4 == 0) {
            e.c.up = 2;
            e.c.adds = 0;
        }
        conv_eight(&e, i % 2 ? UPZ_EIGHT_INT8 : UPZ_EIGHT_FP8, 90, draw());
    }
    simt_fp8_bits = bits;
}

static void ranges(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        Map map = map_new(1 + (int)(draw() % 300), 1 + (int)(draw() % 9), 2 + (int)(draw() % 2) * 4, 0);
        map_fill(&map, map.m.chunks * 8 - 3);
        float *got = memory((size_t)map.m.chunks * 32);
        memset(got, 0, (size_t)map.m.chunks * 32);
        const UpzCudaRange p = {.map = map.m, .range = at(got)};
        run("range_map", i % 3 ? 90 : 75, &p, upz_range_grid(&p), draw());
        for (int c = 0; c < map.m.chunks * 8; c++) {
            float want = 0;
            for (int y = 0; y < map.m.height; y++)
                for (int x = 0; x < map.m.width; x++) want = fmaxf(want, fabsf(map_get(&map, c, y, x)));
            assert_true(got[c] == want);
        }
        drop_all();
    }
}

/* ---- networks ---- */

static const struct {
    const char *name;
    GraphBuild build;
    int w, h;
    double fp8, int8; /* dB at least, beside the CPU in fp32 */
} nets[] = {
    {"srvgg20", srvgg20, 60, 18, 50, 48}, {"srvgg64", srvgg64, 40, 20, 50, 48},
    {"rrdb4", rrdb4, 26, 12, 48, 45},     {"rrdb2", rrdb2, 40, 16, 48, 47},
    {"grouped", grouped, 52, 20, 48, 46},
};

static void networks(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof(nets) / sizeof(*nets); k++) {
        UprezModel *m = graph_model(nets[k].build, 3);
        UprezPicture *src = picture("nv12", nets[k].w, nets[k].h, 1), *got, *whole;
        UprezPicture *want = result(m, (UprezParams){.engine = "cpu"}, src);
        for (int kind = UPZ_EIGHT_FP8; kind <= UPZ_EIGHT_INT8; kind++)
            for (int cc = k ? 90 : 75; cc <= 90; cc += cc == 75 ? 14 : 1) { /* the emulation is slow */
                UprezInfo info = {.size = sizeof(info)};
                double most;
                capability(cc);
                Uprez *u = upscaler(m, (UprezParams){.engine = "cuda", .precision = upz_eight_name(kind)});
                int r = uprez_plan(u, src, &info, &err);
                if (kind == UPZ_EIGHT_FP8 && cc < 89) {
                    assert_int_equal(r, UPREZ_ERR_DEVICE);
                    assert_non_null(strstr(err.text, "for 8.9, 9.0 and"));
                    uprez_destroy(&u);
                    continue;
                }
                OK(r);
                assert_string_equal(info.precision, upz_eight_name(kind));
                assert_non_null(strstr(info.numerics, kind == UPZ_EIGHT_FP8 ? "cuda/fp8-sm" : "cuda/int8-sm"));
                OK(uprez_run(u, src, &got, &err));
                const double db = psnr(got, want, &most);
                print_message("%-8s %s sm_%d: %.1f dB, %.1f codes\n", nets[k].name, upz_eight_name(kind), cc, db,
                              most);
                if (db < (kind == UPZ_EIGHT_FP8 ? nets[k].fp8 : nets[k].int8))
                    fail_msg("%s in %s: %.1f dB", nets[k].name, upz_eight_name(kind), db);
                /* the same bytes again, and made by other processors of the same kind */
                setenv("FAKE_CUDA_SMS", "7", 1);
                whole = k ? uprez_picture_ref(got) : result(m, (UprezParams){.engine = "cuda", .precision = upz_eight_name(kind)}, src);
                unsetenv("FAKE_CUDA_SMS");
                assert_true(psnr(got, whole, &most) > 900);
                uprez_picture_unref(&whole);
                uprez_picture_unref(&got);
                uprez_destroy(&u);
            }
        uprez_picture_unref(&src);
        uprez_picture_unref(&want);
        graph_model_free(m);
        assert_int_equal(count("mistakes"), 0);
        assert_int_equal(count("allocated"), 0);
    }
    capability(90);
}

/* Parts of pictures in 8 bits: as whole ones. */
static void parts(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src[2] = {picture("nv12", 150, 30, 1), picture("nv12", 150, 30, 1)}, *got, *want;
    *sample(src[1], 0, 70, 11) ^= 77;
    Uprez *u = upscaler(m, (UprezParams){.engine = "cuda", .precision = "int8"});
    for (int i = 0; i < 2; i++) {
        OK(uprez_run(u, src[i], &got, &err));
        if (!i) uprez_picture_unref(&got);
    }
    UprezCounts counts = {.size = sizeof(counts)};
    OK(uprez_counts(u, &counts, &err));
    assert_true(counts.reused > 0.3);
    uprez_destroy(&u);
    double most;
    want = result(m, (UprezParams){.engine = "cuda", .precision = "int8"}, src[1]);
    assert_true(psnr(got, want, &most) > 900);
    uprez_picture_unref(&got);
    uprez_picture_unref(&want);
    for (int i = 0; i < 2; i++) uprez_picture_unref(&src[i]);
    graph_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions), cmocka_unit_test(convolutions), cmocka_unit_test(ranges),
        cmocka_unit_test(networks),    cmocka_unit_test(parts),
    };
    return fake_driver() ? cmocka_run_group_tests(tests, fake_setup, fake_teardown) : 77;
}
