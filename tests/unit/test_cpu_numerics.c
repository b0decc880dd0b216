/* Numerics ids of the CPU engine: each id has the checksum of one small result pinned to it. Arithmetic that
 * changes any byte must get another id, or a job that goes on would join two arithmetics unseen. A result is
 * the same on every processor, at every level, with every compiler and number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/context.h"
#include "engine/engine.h"
#include "engine/cpu/peak.h"
#include "engine/trial.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "test_graphs.h"

extern const UpzEngineOps upz_engine_cpu;

enum { WIDTH = 37, HEIGHT = 21 };

static int add(UpzGraph *g, const UpzNode *n)
{
    UprezError err = {0};
    const int v = upz_graph_add(g, n, &err);
    if (v < 0) fail_msg("%s", err.text);
    return v;
}

static int conv(UpzGraph *g, int src, int out, int kernel, int groups, UpzAct act)
{
    const int in = g->nodes[src].channels / groups;
    UpzNode n = upz_node(UPZ_OP_CONV);
    n.n_src = 1, n.src[0] = src;
    n.kernel_w = n.kernel_h = kernel, n.pad_x = n.pad_y = kernel / 2;
    n.stride = 1, n.groups = groups, n.act = act, n.slope = 0.2f, n.lo = -0.3f, n.hi = 0.4f;
    n.weights = graph_tensor(g, 4, (int64_t[]){out, in, kernel, kernel}, 1.6f / (float)(kernel * 4), 0);
    n.bias = graph_tensor(g, 1, (int64_t[]){out}, 0.1f, 0);
    if (act == UPZ_ACT_PRELU) n.slopes = graph_tensor(g, 1, (int64_t[]){out}, 0.3f, 0.2f);
    return add(g, &n);
}

static int last(UpzGraph *g, int src, int out, int kernel)
{
    const int v = conv(g, src, out, kernel, 1, UPZ_ACT_NONE);
    UpzTensor *w = &g->tensors[g->nodes[v].weights], *b = &g->tensors[g->nodes[v].bias];
    for (int64_t i = 0; i < w->count; i++) w->data[i] *= 0.25f;
    for (int64_t i = 0; i < b->count; i++) b->data[i] += 0.5f;
    return v;
}

/* 64 channels deep, as most networks: wide sums, a residual, an enlarged base. */
static int compact(UpzGraph *g, int in)
{
    int v = conv(g, in, 40, 3, 1, UPZ_ACT_PRELU), skip = v;
    v = conv(g, v, 64, 3, 1, UPZ_ACT_PRELU);
    v = conv(g, v, 40, 3, 1, UPZ_ACT_LEAKY);
    v = upz_graph_binary(g, UPZ_OP_ADD, v, skip, 0.2f, 1, NULL);
    v = upz_graph_simple(g, UPZ_OP_SHUFFLE, last(g, v, 12, 3), 2, NULL);
    const int base = upz_graph_simple(g, UPZ_OP_NEAREST, in, 2, NULL);
    return upz_graph_binary(g, UPZ_OP_ADD, v, base, 1, 0.5f, NULL);
}

/* Convolutions of no special shape, and all the curves. */
static int direct(UpzGraph *g, int in)
{
    static const UpzAct acts[] = {UPZ_ACT_SIGMOID, UPZ_ACT_TANH, UPZ_ACT_SILU, UPZ_ACT_GELU, UPZ_ACT_CLIP};
    int v = in;
    for (int i = 0; i < UPZ_COUNT(acts); i++) v = conv(g, v, 9 + i, i % 2 ? 3 : 5, 1, acts[i]);
    UpzNode n = upz_node(UPZ_OP_RESIZE);
    n.n_src = 1, n.src[0] = v, n.resize_num = 3, n.resize_den = 2, n.filter = UPZ_FILTER_BICUBIC;
    return last(g, add(g, &n), 3, 1);
}

static int depthwise(UpzGraph *g, int in)
{
    const int v = conv(g, in, 20, 1, 1, UPZ_ACT_RELU);
    return last(g, conv(g, v, 20, 3, 20, UPZ_ACT_LEAKY), 3, 1);
}

typedef struct Pin {
    GraphBuild build;
    const char *precision, *id;
    uint64_t sum;
} Pin;

/* A result that differs from its pin has changed arithmetic: give the way another name, or raise the number
 * of all other arithmetic, and pin what that gives. */
static const Pin pins[] = {
    {compact, "fp32", "cpu/fp32-wino-f4+fp32-direct/1", 0x16a71b5b6b89465cu},
    {direct, "fp32", "cpu/fp32-direct/1", 0xc0ba37fe7b1d6296u},
    {depthwise, "fp32", "cpu/fp32-depthwise+fp32-direct/1", 0x5bcf268a0f97351cu},
    {compact, "bf16", "cpu/bf16-tiles+fp32-direct/1", 0x128d66b1fae44171u},
    {direct, "bf16", "cpu/fp32-direct/1", 0xc0ba37fe7b1d6296u},
    {compact, "fp16", "cpu/fp16-wino-f4+fp32-direct/1", 0x8bc2c4a761793e9au},
    {compact, "int8", "cpu/int8-tiles+bf16-tiles+fp32-direct/1", 0x2191985fc9a301bdu},
    {direct, "int8", "cpu/fp32-direct/1", 0xc0ba37fe7b1d6296u},
};

/* FNV-1a of all values. */
static uint64_t checksum(const UprezPicture *p)
{
    uint64_t sum = 14695981039346656037u;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < p->height; y++) {
            const UprezComponent *at = &p->format.comp[c];
            const uint8_t *row = (const uint8_t *)p->plane[at->plane] + y * p->stride[at->plane] + at->offset;
            for (size_t i = 0; i < (size_t)p->width * sizeof(float); i++) sum = (sum ^ row[i]) * 1099511628211u;
        }
    return sum;
}

static UprezPicture *source(void)
{
    UprezFormat rgb;
    UprezPicture *p;
    upz_format_float_rgb(&rgb);
    assert_int_equal(uprez_picture_alloc(&p, &rgb, WIDTH, HEIGHT, NULL), 0);
    graph_seed = 5;
    for (int i = 0; i < 3; i++)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
                ((float *)(void *)((char *)p->plane[i] + y * p->stride[i]))[x] = graph_noise();
    return p;
}

/* False: this level does not offer the precision. Plain C offers all. */
static bool run(const Pin *pin, UpzCpuLevel level, int threads)
{
    const UprezContextParams cp = {.size = sizeof(cp), .threads = threads, .cpu = upz_cpu_name(level)};
    const UpzEngineParams params = {.precision = pin->precision};
    UprezModel *m = graph_model(pin->build, 3);
    UprezPicture *src = source(), *dst = NULL;
    UprezContext *ctx;
    UprezError err = {0};
    UpzEngine *e;
    UpzPlan plan;
    assert_int_equal(uprez_context_create(&ctx, &cp, &err), 0);
    const int r = upz_engine_cpu.open(&e, ctx, m, NULL, &params, &err);
    if (!r) {
        const UprezColor color = {.matrix = 0, .range = UPREZ_RANGE_FULL};
        const UpzShape shape = {.width = WIDTH, .height = HEIGHT, .src = src->format, .dst = src->format,
                                .src_color = color, .dst_color = color};
        assert_int_equal(upz_engine_cpu.plan(e, &shape, 0, &plan, &err), 0);
        assert_string_equal(plan.numerics, pin->id);
        assert_int_equal(uprez_picture_alloc(&dst, &src->format, plan.width, plan.height, &err), 0);
        UpzTask task = {.src = src, .dst = dst};
        assert_int_equal(upz_engine_cpu.submit(e, &task), 0);
        assert_int_equal(upz_engine_cpu.wait(e, &task, -1), 0);
        assert_int_equal(task.result, 0);
        const uint64_t sum = checksum(dst);
        if (sum != pin->sum)
            fail_msg("%s at %s, %d threads: the result's checksum is %#llx, not %#llx: other arithmetic needs "
                     "another id", pin->id, cp.cpu, threads, (unsigned long long)sum,
                     (unsigned long long)pin->sum);
    }
    if (r && r != UPREZ_ERR_DEVICE) fail_msg("%s", err.text);
    upz_engine_cpu.close(&e);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    uprez_context_destroy(&ctx);
    graph_model_free(m);
    return !r;
}

static void bytes_belong_to_ids(void **state)
{
    (void)state;
    for (int i = 0; i < UPZ_COUNT(pins); i++) {
        int levels = 0;
        for (int level = 0; level <= (int)upz_cpu_detect(); level++)
            levels += run(&pins[i], (UpzCpuLevel)level, 1 + level % 3);
        print_message("%s: %d levels\n", pins[i].id, levels);
        assert_true(levels > 0);
    }
}

/* Values around 200 whose differences matter: more than bf16 holds. */
static int far(UpzGraph *g, int in)
{
    const int many = conv(g, in, 32, 3, 1, UPZ_ACT_NONE), v = last(g, many, 3, 3);
    UpzTensor *bias = &g->tensors[g->nodes[many].bias], *w = &g->tensors[g->nodes[v].weights];
    for (int64_t i = 0; i < bias->count; i++) bias->data[i] += 200;
    for (int64_t i = 0; i < w->count; i++) w->data[i] = (i / 9 % 2 ? -1.0f : 1.0f) / 64;
    return v;
}

/* What engine cpu takes for a precision at a level. */
static void taken(UprezModel *m, const char *level, const char *precision, UpzPlan *plan)
{
    const UprezContextParams cp = {.size = sizeof(cp), .threads = 2, .cpu = level};
    const UpzEngineParams params = {.precision = precision};
    UprezPicture *src = source();
    UprezContext *ctx;
    UprezError err = {0};
    UpzEngine *e;
    assert_int_equal(uprez_context_create(&ctx, &cp, &err), 0);
    const UprezColor color = {.matrix = 0, .range = UPREZ_RANGE_FULL};
    const UpzShape shape = {.width = WIDTH, .height = HEIGHT, .src = src->format, .dst = src->format,
                            .src_color = color, .dst_color = color};
    if (upz_engine_cpu.open(&e, ctx, m, NULL, &params, &err)) fail_msg("%s", err.text);
    assert_int_equal(upz_engine_cpu.plan(e, &shape, 0, plan, &err), 0);
    upz_engine_cpu.close(&e);
    uprez_picture_unref(&src);
    uprez_context_destroy(&ctx);
}

/* auto: bf16 where the processor has tiles and the result stays close to fp32's, else fp32; the same at every
 * call, and what a level leaves out is not taken. */
static void automatic(void **state)
{
    (void)state;
    static const struct {
        GraphBuild build;
        bool close;
    } nets[] = {{compact, true}, {far, false}, {direct, false}};
    const bool tiles = upz_cpu_features() & UPZ_HAS_AMX_BF16 && upz_cpu_allow_tiles();
    for (int i = 0; i < UPZ_COUNT(nets); i++) {
        UprezModel *m = graph_model(nets[i].build, 3);
        UpzPlan plan, same;
        const char *want = tiles && nets[i].close ? "bf16" : "fp32";
        for (int turn = 0; turn < 2; turn++) {
            taken(m, NULL, turn ? NULL : "auto", &plan);
            assert_string_equal(plan.precision, want);
            taken(m, NULL, want, &same);
            assert_string_equal(plan.numerics, same.numerics);
            taken(m, upz_cpu_detect() > UPZ_CPU_AVX2 ? "avx2" : "c", "auto", &plan);
            assert_string_equal(plan.precision, "fp32");
        }
        graph_model_free(m);
    }
}

/* The table that all engines read: what a processor does not have is not tried. */
static void table(void **state)
{
    (void)state;
    assert_string_equal(upz_auto_precision(0, 0), "fp32");
    assert_null(upz_auto_precision(0, 1));
    assert_string_equal(upz_auto_precision(UPZ_HAS_AVX512 | UPZ_HAS_AVX512_BF16 | UPZ_HAS_AVX512_FP16, 0), "fp32");
    assert_string_equal(upz_auto_precision(UPZ_HAS_AMX_BF16, 0), "bf16");
    assert_string_equal(upz_auto_precision(UPZ_HAS_AMX_BF16, 1), "fp32");
    assert_string_equal(upz_auto_precision(UPZ_HAS_AMX_BF16 | UPZ_HAS_AMX_FP16, 1), "fp16");
}

/* What the multipliers give at most: there where the level has them, and more on more of them at a time. */
static void peak(void **state)
{
    (void)state;
    const bool tiles = upz_cpu_features() & UPZ_HAS_AMX_BF16 && upz_cpu_allow_tiles();
    for (int level = 0; level <= (int)upz_cpu_detect(); level++) {
        const UprezContextParams cp = {.size = sizeof(cp), .threads = 1, .cpu = upz_cpu_name((UpzCpuLevel)level)};
        UprezContext *ctx;
        assert_int_equal(uprez_context_create(&ctx, &cp, NULL), 0);
        const double fp32 = upz_cpu_peak(ctx, "fp32"), bf16 = upz_cpu_peak(ctx, "bf16");
        print_message("%s: fp32 %.4f, bf16 %.3f TFLOP/s\n", cp.cpu, fp32, bf16);
        assert_true(fp32 > 0 && upz_cpu_peak(ctx, "fp8") == 0);
        assert_int_equal(bf16 > 0, tiles && ctx->features & UPZ_HAS_AMX_BF16);
        uprez_context_destroy(&ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_belong_to_ids), cmocka_unit_test(automatic),
                                       cmocka_unit_test(table), cmocka_unit_test(peak)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
