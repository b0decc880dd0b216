/* int8 on the CPU: narrowing at every level, tiles against plain loops, and which layers stay wider. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/context.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/tiles_int8.h"
#include "engine/engine.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "test_graphs.h"

extern const UpzEngineOps upz_engine_cpu;

/* ---- numbers ---- */

static int nearest(float v)
{
    return v <= -128 ? -128 : v < 127 ? (int)nearbyint((double)v) : 127; /* NaN: 127 */
}

static void narrowing(void **state)
{
    (void)state;
    static const float odd[] = {0, -0.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f, 126.49f, 127.5f, 1e9f, 1e30f,
                                INFINITY, -127.5f, -128.5f, -1e9f, -1e30f, -INFINITY, NAN, 1e-40f};
    enum { CHANNELS = 48, COUNT = 7 };
    float src[COUNT * CHANNELS], inverse[CHANNELS];
    int8_t got[COUNT * CHANNELS + 16];
    graph_seed = 3;
    for (int i = 0; i < COUNT * CHANNELS; i++)
        src[i] = i % 3 ? (graph_noise() - 0.5f) * 300 : odd[i / 3 % UPZ_COUNT(odd)];
    for (int c = 0; c < CHANNELS; c++) inverse[c] = c % 4 ? 1 : 0.25f;
    for (int l = 0; l <= (int)upz_cpu_detect(); l++) {
        memset(got, 0x5a, sizeof(got));
        upz_cpu_kernels((UpzCpuLevel)l)->narrow8(got, src, inverse, CHANNELS, COUNT);
        for (int i = 0; i < COUNT * CHANNELS; i++)
            if (got[i] != nearest(src[i] * inverse[i % CHANNELS]))
                fail_msg("%s: %g is %d", upz_cpu_name((UpzCpuLevel)l), (double)src[i], got[i]);
        for (int i = 0; i < 16; i++) assert_int_equal(got[COUNT * CHANNELS + i], 0x5a);
    }
}

/* ---- tiles ---- */

enum { MOST = 280, BLOCKS = 5, OUT = 80, STEP = 150 };

static uint32_t draw(void) { return (uint32_t)(graph_noise() * 16777215.0f); }

typedef struct Case {
    int8_t *in, *weights;
    float scale[OUT], bias[OUT], slope[OUT];
    UpzTile8Run runs[2];
    UpzTile8Conv conv;
    int pitch; /* of the output */
    size_t row, size;
} Case;

static Case make(int number)
{
    Case c = {.in = malloc(STEP * (MOST + 40) + 8 * 64), .weights = aligned_alloc(64, BLOCKS * OUT * 64)};
    assert_true(c.in && c.weights);
    graph_seed = (uint32_t)number;
    for (int i = 0; i < STEP * (MOST + 40) + 8 * 64; i++) c.in[i] = (int8_t)draw();
    for (int i = 0; i < BLOCKS * OUT * 64; i++) c.weights[i] = (int8_t)draw();
    for (int o = 0; o < OUT; o++) {
        c.scale[o] = 1e-4f + graph_noise() * 1e-3f;
        c.bias[o] = (graph_noise() - 0.5f) * 100;
        c.slope[o] = graph_noise() * 2 - 0.5f;
    }
    c.conv = (UpzTile8Conv){.runs = c.runs, .n_runs = 2, .rows = 1 + number % 4, .weights = c.weights,
                            .n_out = 16 * (1 + number / 4 % 5), .narrow = number / 2 % 2,
                            .count = number % 9 ? 1 + number * 7 % 60 : MOST - number % 30};
    for (int r = 0; r < 2; r++) {
        c.runs[r] = (UpzTile8Run){.step = 1 + draw() % STEP, .blocks = r ? BLOCKS - 2 : 2};
        for (int i = 0; i < c.conv.rows; i++) c.runs[r].a[i] = c.in + draw() % 130;
    }
    c.pitch = c.conv.n_out + number % 7;
    c.row = (size_t)(c.conv.count * c.pitch) * (c.conv.narrow ? 1 : sizeof(float));
    c.size = 128 + (size_t)c.conv.rows * c.row;
    return c;
}

/* Guards and what lies between pixels included. */
static uint8_t *run(const UpzTile8Kernels *k, Case *c, int number)
{
    UPZ_ALIGNED(64) int32_t sums[UPZ_TILE_SUMS];
    UpzTile8Rest rest = {.sums = sums};
    uint8_t *out = malloc(c->size);
    assert_non_null(out);
    memset(out, 0x5a, c->size);
    c->conv.runs = c->runs, c->conv.scale = c->scale, c->conv.bias = c->bias, c->conv.out_step = c->pitch;
    c->conv.slope = number % 3 ? c->slope : NULL;
    for (int i = 0; i < c->conv.rows; i++) c->conv.out[i] = out + 64 + (size_t)i * c->row;
    k->begin();
    k->conv(&c->conv, &rest);
    k->finish(&rest);
    k->end();
    return out;
}

static int32_t plain_sum(const Case *c, int y, int m, int o)
{
    int32_t sum = 0;
    for (int r = 0, b = 0; r < c->conv.n_runs; r++)
        for (int i = 0; i < c->runs[r].blocks; i++, b++)
            for (int k = 0; k < UPZ_TILE8_DEPTH; k++)
                sum += c->runs[r].a[y][m * c->runs[r].step + i * UPZ_TILE8_DEPTH + k] *
                       c->weights[upz_tile8_weight(BLOCKS, b, k, o)];
    return sum;
}

static void compare(Case *c, const uint8_t *out, int number)
{
    for (int y = 0; y < c->conv.rows; y++)
        for (int m = 0; m < c->conv.count; m++)
            for (int o = 0; o < c->pitch; o++) {
                const uint8_t *at = out + 64 + (size_t)y * c->row;
                const int i = m * c->pitch + o;
                float v = 0, got;
                if (o < c->conv.n_out) {
                    v = fmaf((float)plain_sum(c, y, m, o), c->scale[o], c->bias[o]);
                    if (c->conv.slope && v < 0) v *= c->slope[o];
                }
                if (o >= c->conv.n_out) {
                    assert_int_equal(at[c->conv.narrow ? i : 4 * i], 0x5a);
                } else if (c->conv.narrow) {
                    if ((int8_t)at[i] != nearest(v))
                        fail_msg("case %d: row %d pixel %d output %d is %d, not %g", number, y, m, o,
                                 (int8_t)at[i], (double)v);
                } else {
                    memcpy(&got, at + 4 * i, 4);
                    if (got != v)
                        fail_msg("case %d: row %d pixel %d output %d is %g, not %g", number, y, m, o, (double)got,
                                 (double)v);
                }
            }
    for (int i = 0; i < 64; i++) assert_true(out[i] == 0x5a && out[c->size - 1 - (size_t)i] == 0x5a);
}

/* Odd numbers of everything, strides and places without alignment. */
static void tiles_are_plain_loops(void **state)
{
    (void)state;
    const uint32_t sets[] = {0, upz_cpu_features()};
    int kinds = 0;
    for (int s = 0; s < 2; s++) {
        const UpzTile8Kernels *k = upz_tile8_kernels(sets[s]);
        if (!k || (s && (!sets[s] || !upz_cpu_allow_tiles()))) continue;
        kinds++;
        for (int number = 0; number < 60; number++) {
            if (!s && number % 9 == 0 && number) continue; /* plain C is slow */
            Case c = make(number);
            uint8_t *out = run(k, &c, number);
            compare(&c, out, number);
            free(out);
            free(c.in);
            free(c.weights);
        }
    }
    print_message("%d kinds of tiles\n", kinds);
    assert_true(kinds > 0);
}

/* ---- which layers stay wider ---- */

static char said[4096];

static void listen(void *arg, int level, const char *text)
{
    (void)arg;
    if (level == UPREZ_LOG_WARNING) strncat(said, text, sizeof(said) - strlen(said) - 1);
}

static int deep(UpzGraph *g, int in, float worst)
{
    UprezError err = {0};
    int v = in;
    for (int i = 0; i < 6; i++) {
        const int from = g->nodes[v].channels, out = i < 5 ? 32 : 3;
        const int w = graph_tensor(g, 4, (int64_t[]){out, from, 3, 3}, (i < 5 ? 1.7f : 3) / sqrtf((float)from * 9), 0);
        const int b = graph_tensor(g, 1, (int64_t[]){out}, 0.05f, i < 5 ? 0 : 0.5f);
        /* Two large weights off the kernel's centre whose inputs are the same, but for their sign: steps that fit
         * them are too coarse for all else. */
        for (int o = 0; o < out && i == 1; o++)
            memcpy(g->tensors[w].data + (o | 1) * from * 9, g->tensors[w].data + (o & ~1) * from * 9,
                   (size_t)from * 9 * sizeof(float)), g->tensors[b].data[o] = 0.1f;
        for (int o = 0; o < out && i == 2; o++) {
            g->tensors[w].data[(o * from + (o & ~1)) * 9] += worst;
            g->tensors[w].data[(o * from + (o | 1)) * 9] -= worst;
        }
        v = upz_graph_conv(g, v, w, b, i < 5 ? UPZ_ACT_LEAKY : UPZ_ACT_NONE, 0.2f, UPZ_NO_TENSOR, &err);
        if (v < 0) fail_msg("%s", err.text);
    }
    return v;
}

static int good(UpzGraph *g, int in) { return deep(g, in, 0); }
static int bad(UpzGraph *g, int in) { return deep(g, in, 50); }
static int overflowing(UpzGraph *g, int in) { return deep(g, in, 1e38f); }

/* A network in int8, what was said, and the plan where it can be opened. */
static int open_in_int8(GraphBuild build, UpzPlan *plan)
{
    const UprezContextParams cp = {.size = sizeof(cp), .threads = 2, .log = listen,
                                   .cpu = upz_tile8_kernels(upz_cpu_features()) ? NULL : "c"};
    const UpzEngineParams params = {.precision = "int8"};
    UprezFormat rgb;
    UprezContext *ctx;
    UpzEngine *e;
    UprezError err = {0};
    UprezModel *m = graph_model(build, 3);
    said[0] = 0;
    upz_format_float_rgb(&rgb);
    assert_int_equal(uprez_context_create(&ctx, &cp, &err), 0);
    const int r = upz_engine_cpu.open(&e, ctx, m, NULL, &params, &err);
    const UprezColor color = {.matrix = 0, .range = UPREZ_RANGE_FULL};
    const UpzShape shape = {.width = 20, .height = 10, .src = rgb, .dst = rgb, .src_color = color,
                            .dst_color = color};
    if (!r && upz_engine_cpu.plan(e, &shape, 0, plan, &err)) fail_msg("%s", err.text);
    upz_engine_cpu.close(&e);
    uprez_context_destroy(&ctx);
    graph_model_free(m);
    return r;
}

static void wider_layers_are_named(void **state)
{
    (void)state;
    UpzPlan plan;
    assert_int_equal(open_in_int8(good, &plan), 0);
    assert_string_equal(plan.precision, "int8");
    assert_string_equal(said, "");
    assert_int_equal(open_in_int8(bad, &plan), 0);
    print_message("%s\n%s\n", plan.numerics, said);
    assert_non_null(strstr(said, "layers "));
    assert_non_null(strstr(said, " of 6 are kept"));
    assert_non_null(strstr(plan.numerics, "bf16-tiles"));
}

/* int8 has no infinity and no NaN: it must not hide them. */
static void no_number_is_an_error(void **state)
{
    (void)state;
    UpzPlan plan;
    assert_int_equal(open_in_int8(overflowing, &plan), UPREZ_ERR_VERIFY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(narrowing),
        cmocka_unit_test(tiles_are_plain_loops),
        cmocka_unit_test(wider_layers_are_named),
        cmocka_unit_test(no_number_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
