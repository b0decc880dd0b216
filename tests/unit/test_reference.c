/* Every operation of the plain-C reference against what PyTorch computed in double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "references.h"
#include "base/alloc.h"
#include "model/graph.h"

#define TOLERANCE 3e-6 /* of the largest value: fp32 sums of a few hundred products */

static int add_tensor(UpzGraph *g, int n_dims, const int64_t *dims, uint32_t seed, int shift)
{
    UprezError err;
    int t = upz_graph_tensor_new(g, n_dims, dims, &err);
    if (t < 0) fail_msg("%s", err.text);
    ref_weights(g->tensors[t].data, (size_t)g->tensors[t].count, seed, shift);
    return t;
}

static int named(const char *text, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(text, names[i])) return i;
    fail_msg("'%s' is not known", text);
    return -1;
}

static void set_activation(UpzGraph *g, UpzNode *n, const cJSON *c, uint32_t seed)
{
    static const char *const acts[] = {"", "RELU", "LEAKY", "PRELU", "SIGMOID", "TANH",
                                       "SILU", "GELU", "CLIP"};
    n->act = (UpzAct)named(ref_text(c, "act"), acts, 9);
    n->slope = (float)ref_number(c, "slope", 0);
    n->lo = (float)ref_number(c, "lo", 0), n->hi = (float)ref_number(c, "hi", 0);
    if (n->act == UPZ_ACT_PRELU)
        n->slopes = add_tensor(g, 1, (int64_t[]){ref_int(c, "slopes", 0)}, seed + 3, 0);
}

/* Input of one or two times cin channels, the node, the node's value as the output. */
static int build(UpzGraph *g, const cJSON *c, UprezError *err)
{
    UpzOp op = UPZ_OP_COUNT;
    for (int i = 0; i < UPZ_OP_COUNT; i++)
        if (!strcmp(ref_text(c, "op"), upz_op_name((UpzOp)i))) op = (UpzOp)i;
    assert_int_not_equal(op, UPZ_OP_COUNT);
    int cin = ref_int(c, "cin", 0), cout = ref_int(c, "cout", 0), groups = ref_int(c, "groups", 1);
    uint32_t seed = (uint32_t)ref_int(c, "seed", 0);
    bool two = op == UPZ_OP_ADD || op == UPZ_OP_MUL || op == UPZ_OP_CONCAT;
    int in = upz_graph_input(g, two ? 2 * cin : cin, err);
    UpzNode n = upz_node(op), part = upz_node(UPZ_OP_SLICE);
    n.n_src = two ? 2 : 1;
    n.src[0] = in;
    if (two) {
        part.src[0] = in, part.channels = cin;
        n.src[0] = upz_graph_add(g, &part, err);
        part.first = cin;
        n.src[1] = upz_graph_add(g, &part, err);
    }
    if (op == UPZ_OP_CONV || op == UPZ_OP_DECONV) {
        n.kernel_w = ref_int(c, "kernel_w", 0), n.kernel_h = ref_int(c, "kernel_h", 0);
        n.pad_x = ref_int(c, "pad_x", 0), n.pad_y = ref_int(c, "pad_y", 0);
        n.stride = ref_int(c, "stride", 1), n.groups = groups;
        int64_t conv[] = {cout, cin / groups, n.kernel_h, n.kernel_w};
        int64_t deconv[] = {cin, cout / groups, n.kernel_h, n.kernel_w};
        n.weights = add_tensor(g, 4, op == UPZ_OP_CONV ? conv : deconv, seed + 1,
                               ref_int(c, "shift", 0));
        if (ref_int(c, "bias", 0)) n.bias = add_tensor(g, 1, (int64_t[]){cout}, seed + 2, 0);
    }
    if (ref_int(c, "per_channel", 0)) {
        n.weights = add_tensor(g, 1, (int64_t[]){cin}, seed + 1, 0);
        n.bias = add_tensor(g, 1, (int64_t[]){cin}, seed + 2, 0);
    }
    static const char *const filters[] = {"BILINEAR", "BICUBIC", "NEAREST"};
    n.alpha[0] = (float)ref_number(c, "alpha0", n.alpha[0]);
    n.alpha[1] = (float)ref_number(c, "alpha1", n.alpha[1]);
    n.first = ref_int(c, "first", 0), n.channels = cout;
    n.factor = ref_int(c, "factor", 1), n.dcr = ref_int(c, "dcr", 0);
    n.resize_num = ref_int(c, "num", 1), n.resize_den = ref_int(c, "den", 1);
    if (op == UPZ_OP_RESIZE) n.filter = (UpzFilter)named(ref_text(c, "filter"), filters, 3);
    set_activation(g, &n, c, seed);
    return upz_graph_add(g, &n, err);
}

static void ops_match_pytorch(void **state)
{
    (void)state;
    cJSON *index = ref_index();
    assert_non_null(index);
    size_t size, seen[UPZ_OP_COUNT] = {0}, cases = 0;
    char *blob = ref_file(ref_path("ops.f32"), &size);
    assert_non_null(blob);
    const cJSON *c;
    double worst = 0;
    cJSON_ArrayForEach(c, cJSON_GetObjectItem(index, "ops")) {
        UpzGraph g = {0};
        UprezError err = {0};
        char *text = cJSON_PrintUnformatted(c);
        g.output = build(&g, c, &err);
        if (g.output < 0) fail_msg("%s: %s", text, err.text);
        const UpzNode *n = &g.nodes[g.output];
        int w = ref_int(c, "width", 0), h = ref_int(c, "height", 0);
        int ow = ref_int(c, "out_width", 0), oh = ref_int(c, "out_height", 0);
        size_t count = (size_t)n->channels * (size_t)ow * (size_t)oh;
        size_t at = (size_t)ref_number(c, "offset", 0);
        assert_int_equal(w * n->num, ow * n->den);
        assert_int_equal(n->channels, ref_int(c, "cout", 0));
        assert_true((at + count) * sizeof(float) <= size);
        float *src = ref_picture(g.nodes[0].channels, w, h, (uint32_t)ref_int(c, "seed", 0));
        float *dst = calloc(count, sizeof(*dst));
        if (upz_reference_run(&g, src, w, h, dst, &err) < 0) fail_msg("%s", err.text);
        const float *want = (const float *)blob + at;
        double most = 1, d = ref_difference(dst, want, count);
        for (size_t i = 0; i < count; i++) most = fmax(most, fabs((double)want[i]));
        if (!(d <= TOLERANCE * most)) fail_msg("%s: differs by %g of %g", text, d, most);
        worst = fmax(worst, d / most);
        seen[n->op]++, cases++;
        free(src);
        free(dst);
        cJSON_free(text);
        upz_graph_free(&g);
    }
    for (int i = UPZ_OP_INPUT + 1; i < UPZ_OP_COUNT; i++)
        if (!seen[i]) fail_msg("no reference for %s", upz_op_name((UpzOp)i));
    print_message("%zu cases, largest difference %.2g\n", cases, worst);
    free(blob);
    cJSON_Delete(index);
}

static void wrong_sizes_are_refused(void **state)
{
    (void)state;
    UpzGraph g = {0};
    UprezError err;
    float src[3 * 5 * 4] = {0}, dst[3 * 5 * 4];
    int v = upz_graph_input(&g, 3, &err);
    v = upz_graph_simple(&g, UPZ_OP_UNSHUFFLE, v, 2, &err);
    g.output = upz_graph_simple(&g, UPZ_OP_SHUFFLE, v, 2, &err);
    assert_int_equal(upz_reference_run(&g, src, 5, 4, dst, &err), UPREZ_ERR_USAGE);
    assert_int_equal(upz_reference_run(&g, src, 0, 4, dst, &err), UPREZ_ERR_USAGE);
    assert_int_equal(upz_reference_run(&g, src, 4, 4, dst, &err), 0);
    upz_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ops_match_pytorch),
        cmocka_unit_test(wrong_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
