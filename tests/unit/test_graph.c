/* Building and finishing graphs: shapes, refusals, what is dropped and fused, facts, and the rows a
 * layer needs, found independently by changing one row and seeing what changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "references.h"
#include "base/alloc.h"
#include "base/compiler.h"
#include "model/graph.h"

static int tensor(UpzGraph *g, int a, int b, int c, int d)
{
    int64_t dims[] = {a, b, c, d};
    int t = upz_graph_tensor_new(g, 4, dims, NULL);
    ref_weights(g->tensors[t].data, (size_t)g->tensors[t].count, 5, 2);
    return t;
}

static int values(UpzGraph *g, int n)
{
    int t = upz_graph_tensor_new(g, 1, (int64_t[]){n}, NULL);
    ref_weights(g->tensors[t].data, (size_t)n, 6, 0);
    return t;
}

static int conv3(UpzGraph *g, int src, int in, int out, UprezError *err)
{
    return upz_graph_conv(g, src, tensor(g, out, in, 3, 3), values(g, out), UPZ_ACT_NONE, 0,
                          UPZ_NO_TENSOR, err);
}

static int act(UpzGraph *g, int src, UpzAct a, UprezError *err)
{
    UpzNode n = upz_node(UPZ_OP_ACT);
    n.src[0] = src, n.act = a;
    return upz_graph_add(g, &n, err);
}

static void compact_facts(void **state)
{
    (void)state;
    UpzGraph g = {0};
    UprezError err = {0};
    UprezModelFacts f = {0};
    int in = upz_graph_input(&g, 3, &err), v = in;
    for (int i = 0; i < 4; i++) {
        v = conv3(&g, v, i ? 8 : 3, 8, &err);
        UpzNode n = upz_node(UPZ_OP_ACT);
        n.src[0] = v, n.act = UPZ_ACT_PRELU, n.slopes = values(&g, 8);
        v = upz_graph_add(&g, &n, &err);
    }
    v = conv3(&g, v, 8, 48, &err);
    v = upz_graph_simple(&g, UPZ_OP_SHUFFLE, v, 4, &err);
    v = upz_graph_binary(&g, UPZ_OP_ADD, v, upz_graph_simple(&g, UPZ_OP_NEAREST, in, 4, &err), 1, 1,
                         &err);
    act(&g, v, UPZ_ACT_TANH, &err);                    /* read by nothing */
    conv3(&g, in, 3, 7, &err);                         /* so is this, with its tensors */
    assert_int_equal(upz_graph_finish(&g, v, &f, &err), 0);
    assert_int_equal(g.n_nodes, 1 + 5 + 3);
    assert_int_equal(g.n_tensors, 5 * 2 + 4);
    for (size_t i = 0; i < g.n_nodes; i++) {
        assert_int_not_equal(g.nodes[i].op, UPZ_OP_ACT);
        for (int k = 0; k < g.nodes[i].n_src; k++) assert_true(g.nodes[i].src[k] < (int)i);
    }
    assert_int_equal(g.nodes[1].act, UPZ_ACT_PRELU);
    assert_int_equal(f.scale_num, 4);
    assert_int_equal(f.scale_den, 1);
    assert_int_equal(f.reach, 5);
    assert_int_equal(f.align, 1);
    assert_int_equal(f.channels, 3);
    assert_int_equal(f.macs, 9 * (3 * 8 + 3 * 64 + 8 * 48));
    assert_int_equal(f.parameters, 9 * (3 * 8 + 3 * 64 + 8 * 48) + 4 * 8 + 48 + 4 * 8);
    upz_graph_free(&g);
}

static void activations_move_only_when_alone(void **state)
{
    (void)state;
    UpzGraph g = {0};
    UprezError err = {0};
    UprezModelFacts f = {0};
    int in = upz_graph_input(&g, 3, &err);
    int a = conv3(&g, in, 3, 3, &err);
    int same = upz_graph_simple(&g, UPZ_OP_NEAREST, a, 1, &err); /* does nothing */
    int b = act(&g, same, UPZ_ACT_RELU, &err);                   /* but a is read again */
    int c = upz_graph_binary(&g, UPZ_OP_ADD, a, b, 1, 1, &err);
    int d = act(&g, c, UPZ_ACT_SIGMOID, &err), e = act(&g, d, UPZ_ACT_TANH, &err);
    assert_int_equal(upz_graph_finish(&g, e, &f, &err), 0);
    assert_int_equal(g.n_nodes, 5); /* input, conv, relu, add + sigmoid, tanh */
    assert_int_equal(g.nodes[1].act, UPZ_ACT_NONE);
    assert_int_equal(g.nodes[2].op, UPZ_OP_ACT);
    assert_int_equal(g.nodes[3].act, UPZ_ACT_SIGMOID);
    assert_int_equal(g.nodes[4].act, UPZ_ACT_TANH);
    assert_int_equal(g.output, 4);
    upz_graph_free(&g);
}

static void unshuffle_needs_alignment(void **state)
{
    (void)state;
    UpzGraph g = {0};
    UprezError err = {0};
    UprezModelFacts f = {0};
    int in = upz_graph_input(&g, 3, &err);
    int v = upz_graph_simple(&g, UPZ_OP_UNSHUFFLE, in, 2, &err);
    v = conv3(&g, v, 12, 48, &err);
    v = upz_graph_simple(&g, UPZ_OP_SHUFFLE, v, 4, &err);
    assert_int_equal(upz_graph_finish(&g, v, &f, &err), 0);
    assert_int_equal(f.scale_num, 2);
    assert_int_equal(f.align, 2);
    assert_int_equal(f.reach, 3); /* one step of 2 px, and the far side of a pair */
    assert_int_equal(f.macs, 9 * 12 * 48 / 4);
    upz_graph_free(&g);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    UprezError err = {0};
    UprezModelFacts f = {0};
    UpzGraph g = {0};
    assert_int_equal(upz_graph_simple(&g, UPZ_OP_SHUFFLE, 0, 2, &err), UPREZ_ERR_BUG);
    int in = upz_graph_input(&g, 3, &err);
    assert_int_equal(in, 0);
    assert_int_equal(upz_graph_input(&g, 3, &err), UPREZ_ERR_MODEL);
    assert_int_equal(conv3(&g, in, 4, 8, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "8x4x3x3"));
    assert_int_equal(conv3(&g, UPREZ_ERR_MODEL, 3, 8, &err), UPREZ_ERR_MODEL);
    int wrong_bias = values(&g, 7), w = tensor(&g, 8, 3, 3, 3), even = tensor(&g, 8, 3, 2, 2);
    assert_int_equal(upz_graph_conv(&g, in, w, wrong_bias, UPZ_ACT_NONE, 0, UPZ_NO_TENSOR, &err),
                     UPREZ_ERR_MODEL);
    assert_int_equal(upz_graph_conv(&g, in, even, UPZ_NO_TENSOR, UPZ_ACT_NONE, 0, UPZ_NO_TENSOR,
                                    &err), UPREZ_ERR_MODEL);
    assert_int_equal(upz_graph_conv(&g, in, w, UPZ_NO_TENSOR, UPZ_ACT_PRELU, 0, wrong_bias, &err),
                     UPREZ_ERR_MODEL);
    assert_int_equal(upz_graph_simple(&g, UPZ_OP_SHUFFLE, in, 2, &err), UPREZ_ERR_MODEL);
    assert_int_equal(upz_graph_simple(&g, UPZ_OP_NEAREST, in, 0, &err), UPREZ_ERR_MODEL);
    int big = upz_graph_simple(&g, UPZ_OP_NEAREST, in, 2, &err);
    assert_int_equal(upz_graph_binary(&g, UPZ_OP_ADD, in, big, 1, 1, &err), UPREZ_ERR_MODEL);
    int deep = upz_graph_simple(&g, UPZ_OP_NEAREST, in, 16, &err);
    assert_int_equal(upz_graph_simple(&g, UPZ_OP_NEAREST, deep, 16, &err), UPREZ_ERR_MODEL);
    int ok = upz_graph_conv(&g, in, w, UPZ_NO_TENSOR, UPZ_ACT_NONE, 0, UPZ_NO_TENSOR, &err);
    assert_true(ok > 0);
    assert_int_equal(upz_graph_finish(&g, ok, &f, &err), UPREZ_ERR_MODEL); /* 3 into 8 channels */
    upz_graph_free(&g);

    in = upz_graph_input(&g, 3, &err);
    assert_int_equal(upz_graph_finish(&g, in, &f, &err), UPREZ_ERR_MODEL);
    upz_graph_free(&g);

    in = upz_graph_input(&g, 3, &err);
    ok = conv3(&g, in, 3, 3, &err);
    g.tensors[g.nodes[ok].weights].data[4] = NAN;
    assert_int_equal(upz_graph_finish(&g, ok, &f, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "finite"));
    upz_graph_free(&g);
}

/* Output rows and columns that change when one of the source's does, against upz_node_rows/cols: rows a..b
 * need what a to b depend on, no more. */
static void check_ranges(const UpzGraph *g, int size, const char *what)
{
    enum { MOST = 64 };
    const UpzNode *n = &g->nodes[g->output];
    int in = g->nodes[0].channels, out = size * n->num / n->den;
    size_t count = (size_t)n->channels * (size_t)out * (size_t)out;
    float *src = ref_picture(in, size, size, 3), *base = calloc(count, 4), *dst = calloc(count, 4);
    assert_true(out <= MOST);
    assert_int_equal(upz_reference_run(g, src, size, size, base, NULL), 0);
    for (int rows = 0; rows < 2; rows++) {
        int low[MOST], high[MOST];
        for (int y = 0; y < out; y++) low[y] = size, high[y] = -1;
        for (int at = 0; at < size; at++) {
            float *changed = ref_picture(in, size, size, 3);
            for (int c = 0; c < in; c++)
                for (int i = 0; i < size; i++)
                    changed[(c * size + (rows ? at : i)) * size + (rows ? i : at)] += 1000;
            assert_int_equal(upz_reference_run(g, changed, size, size, dst, NULL), 0);
            for (int y = 0; y < out; y++) {
                bool differs = false;
                for (int c = 0; c < n->channels; c++)
                    for (int i = 0; i < out; i++) {
                        size_t k = (size_t)((c * out + (rows ? y : i)) * out + (rows ? i : y));
                        differs |= base[k] != dst[k];
                    }
                if (differs) low[y] = UPZ_MIN(low[y], at), high[y] = UPZ_MAX(high[y], at);
            }
            free(changed);
        }
        for (int y = 1; y < out; y++) high[y] = UPZ_MAX(high[y], high[y - 1]);
        for (int y = out - 2; y >= 0; y--) low[y] = UPZ_MIN(low[y], low[y + 1]);
        for (int y = 0; y < out; y++) {
            int first, last;
            if (rows) upz_node_rows(g, g->output, y, &first, &last);
            else upz_node_cols(g, g->output, y, &first, &last);
            /* beyond the edge there are zeros or, where resizing, the edge again */
            if (UPZ_CLAMP(first, 0, size - 1) != low[y] || UPZ_CLAMP(last, 0, size - 1) != high[y])
                fail_msg("%s: %s %d of the output needs %d … %d of the source; said %d … %d", what,
                         rows ? "row" : "column", y, low[y], high[y], first, last);
        }
    }
    free(src);
    free(base);
    free(dst);
}

static void ranges_are_exact(void **state)
{
    (void)state;
    static const struct {
        UpzOp op;
        int k, stride, pad, factor, num, den;
        UpzFilter filter;
    } cases[] = {
        {UPZ_OP_CONV, 3, 1, 1, 1, 1, 1, 0}, {UPZ_OP_CONV, 5, 1, 2, 1, 1, 1, 0},
        {UPZ_OP_CONV, 2, 1, 0, 1, 1, 1, 0}, {UPZ_OP_CONV, 3, 2, 1, 1, 1, 1, 0},
        {UPZ_OP_DECONV, 4, 2, 1, 1, 1, 1, 0}, {UPZ_OP_DECONV, 9, 3, 4, 1, 1, 1, 0},
        {UPZ_OP_DECONV, 2, 2, 0, 1, 1, 1, 0}, {UPZ_OP_SHUFFLE, 0, 0, 0, 2, 1, 1, 0},
        {UPZ_OP_UNSHUFFLE, 0, 0, 0, 3, 1, 1, 0}, {UPZ_OP_NEAREST, 0, 0, 0, 3, 1, 1, 0},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 2, 1, UPZ_FILTER_BILINEAR},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 1, 4, UPZ_FILTER_BILINEAR},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 1, 3, UPZ_FILTER_BILINEAR},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 3, 4, UPZ_FILTER_BICUBIC},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 3, 1, UPZ_FILTER_BICUBIC},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 3, 1, UPZ_FILTER_BILINEAR},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 5, 3, UPZ_FILTER_BICUBIC},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 1, 3, UPZ_FILTER_BICUBIC},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 1, 2, UPZ_FILTER_BICUBIC},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 3, 2, UPZ_FILTER_NEAREST},
        {UPZ_OP_RESIZE, 0, 0, 0, 1, 1, 2, UPZ_FILTER_NEAREST},
    };
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UpzGraph g = {0};
        UprezError err = {0};
        char what[80];
        snprintf(what, sizeof(what), "case %d (%s)", i, upz_op_name(cases[i].op));
        UpzNode n = upz_node(cases[i].op);
        n.src[0] = upz_graph_input(&g, 4, &err);
        if (cases[i].k) n.weights = tensor(&g, 4, 4, cases[i].k, cases[i].k);
        n.stride = cases[i].stride ? cases[i].stride : 1;
        n.pad_x = n.pad_y = cases[i].pad;
        n.factor = cases[i].factor;
        n.resize_num = cases[i].num, n.resize_den = cases[i].den, n.filter = cases[i].filter;
        g.output = upz_graph_add(&g, &n, &err);
        if (g.output < 0) fail_msg("%s: %s", what, err.text);
        check_ranges(&g, 12, what);
        upz_graph_free(&g);
    }
}

/* facts.reach of a network with every kind of layer, by changing one pixel. */
static void reach_is_exact(void **state)
{
    (void)state;
    UpzGraph g = {0};
    UprezError err = {0};
    UprezModelFacts f = {0};
    int in = upz_graph_input(&g, 1, &err);
    int v = upz_graph_simple(&g, UPZ_OP_UNSHUFFLE, in, 2, &err);
    v = conv3(&g, v, 4, 4, &err);
    UpzNode n = upz_node(UPZ_OP_DECONV);
    n.src[0] = v, n.weights = tensor(&g, 4, 1, 9, 9), n.stride = 4, n.pad_x = n.pad_y = 3;
    v = upz_graph_add(&g, &n, &err);
    n = upz_node(UPZ_OP_RESIZE);
    n.src[0] = v, n.resize_num = 3, n.resize_den = 4, n.filter = UPZ_FILTER_BICUBIC;
    v = upz_graph_add(&g, &n, &err);
    assert_int_equal(upz_graph_finish(&g, v, &f, &err), 0);
    assert_int_equal(f.scale_num, 3);
    assert_int_equal(f.scale_den, 2);
    assert_int_equal(f.align, 2);
    enum { SIZE = 40, OUT = 60 };
    static float base[OUT * OUT], dst[OUT * OUT];
    float *src = ref_picture(1, SIZE, SIZE, 3);
    assert_int_equal(upz_reference_run(&g, src, SIZE, SIZE, base, &err), 0);
    int reach = 0;
    for (int at = 18; at < 22; at++) {
        float *changed = ref_picture(1, SIZE, SIZE, 3);
        changed[20 * SIZE + at] += 1000;
        assert_int_equal(upz_reference_run(&g, changed, SIZE, SIZE, dst, &err), 0);
        for (int i = 0; i < OUT * OUT; i++)
            if (base[i] != dst[i]) reach = UPZ_MAX(reach, abs(i % OUT * 2 / 3 - at));
        free(changed);
    }
    assert_int_equal(f.reach, reach);
    free(src);
    upz_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact_facts),
        cmocka_unit_test(activations_move_only_when_alone),
        cmocka_unit_test(unshuffle_needs_alignment),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(ranges_are_exact),
        cmocka_unit_test(reach_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
