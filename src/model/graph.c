/* Building a graph: each call checks shapes, channel counts and tensor sizes and appends one node.
 * What a finished graph is like is decided in graph_finish.c. */
#include "model/graph.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/integer.h"
#include "model/model.h"

#define MAX_KERNEL 63
#define MAX_FACTOR 16
#define MAX_RATIO 64 /* of a map's size to the input's, and back */

const char *upz_op_name(UpzOp op)
{
    static const char *const names[] = {
#define UPZ_OP(name, n_src, what) #name,
#include "model/ops.def"
#undef UPZ_OP
    };
    return (unsigned)op < UPZ_OP_COUNT ? names[op] : "?";
}

static int sources_of(UpzOp op)
{
    static const signed char n[] = {
#define UPZ_OP(name, n_src, what) n_src,
#include "model/ops.def"
#undef UPZ_OP
    };
    return n[op];
}

const char *upz_act_name(UpzAct act)
{
    static const char *const names[] = {"none", "relu", "leaky relu", "prelu", "sigmoid",
                                        "tanh", "silu", "gelu", "clip"};
    return (unsigned)act < (unsigned)UPZ_COUNT(names) ? names[act] : "?";
}

UpzNode upz_node(UpzOp op)
{
    return (UpzNode){.op = op, .n_src = sources_of(op) > 0 ? sources_of(op) : 0, .stride = 1,
                     .groups = 1, .weights = UPZ_NO_TENSOR, .bias = UPZ_NO_TENSOR,
                     .slopes = UPZ_NO_TENSOR, .factor = 1, .resize_num = 1, .resize_den = 1,
                     .alpha = {1, op == UPZ_OP_AFFINE ? 0 : 1}};
}

static void tensor_free(UpzTensor *t)
{
    upz_free(t->name);
    upz_free_aligned(t->data);
    *t = (UpzTensor){0};
}

void upz_graph_free(UpzGraph *g)
{
    for (size_t i = 0; i < g->n_tensors; i++) tensor_free(&g->tensors[i]);
    upz_free(g->tensors);
    upz_free(g->nodes);
    *g = (UpzGraph){0};
}

int upz_graph_tensor(UpzGraph *g, UpzTensor *t, UprezError *err)
{
    if (!t || !t->data)
        return upz_fail(err, UPREZ_ERR_MODEL, "tensor '%s' is used twice",
                        t && t->name ? t->name : "?");
    if (g->n_tensors >= UPZ_TENSORS_MAX)
        return upz_fail(err, UPREZ_ERR_MODEL, "the network has more than %d tensors",
                        UPZ_TENSORS_MAX);
    if (!upz_grow(&g->tensors, &g->cap_tensors, g->n_tensors + 1, sizeof(*g->tensors),
                  UPZ_TENSORS_MAX))
        return upz_fail_memory(err, (g->n_tensors + 1) * sizeof(*g->tensors), "the tensor list");
    UpzTensor copy = *t;
    copy.name = t->name ? upz_strdup(t->name) : NULL; /* the set still finds it by name */
    t->data = NULL;
    g->tensors[g->n_tensors] = copy;
    return (int)g->n_tensors++;
}

int upz_graph_tensor_new(UpzGraph *g, int n_dims, const int64_t *dims, UprezError *err)
{
    UpzTensor t = {.n_dims = n_dims, .count = 1};
    if (n_dims < 0 || n_dims > UPZ_MAX_DIMS)
        return upz_fail(err, UPREZ_ERR_BUG, "a tensor of %d dimensions", n_dims);
    for (int i = 0; i < n_dims; i++) {
        t.dims[i] = dims[i];
        if (dims[i] <= 0 || __builtin_mul_overflow(t.count, dims[i], &t.count) ||
            t.count > INT32_MAX)
            return upz_fail(err, UPREZ_ERR_MODEL, "a tensor of implausible size");
    }
    t.data = upz_alloc_aligned((size_t)t.count * sizeof(float));
    if (!t.data) return upz_fail_memory(err, (size_t)t.count * sizeof(float), "a tensor");
    int r = upz_graph_tensor(g, &t, err);
    if (r < 0) upz_free_aligned(t.data);
    return r;
}

static const UpzTensor *tensor_at(const UpzGraph *g, int i)
{
    return i >= 0 && (size_t)i < g->n_tensors ? &g->tensors[i] : NULL;
}

static const char *tensor_name(const UpzTensor *t) { return t->name ? t->name : "unnamed"; }

/* "64x3x3x3" */
static const char *shape_text(const UpzTensor *t, char *buf, size_t size)
{
    int at = 0;
    buf[0] = 0;
    for (int i = 0; i < t->n_dims && (size_t)at < size; i++) {
        int n = snprintf(buf + at, size - (size_t)at, i ? "x%lld" : "%lld", (long long)t->dims[i]);
        at += n > 0 ? n : 0;
    }
    return t->n_dims ? buf : "one number";
}

static int per_channel(const UpzGraph *g, const UpzNode *n, int tensor, const char *what,
                       bool one_is_enough, UprezError *err)
{
    const UpzTensor *t = tensor_at(g, tensor);
    if (!t)
        return upz_fail(err, UPREZ_ERR_MODEL, "node %zu (%s) has no %s", g->n_nodes,
                        upz_op_name(n->op), what);
    if (t->count == n->channels || (one_is_enough && t->count == 1)) return 0;
    char shape[96];
    return upz_fail(err, UPREZ_ERR_MODEL, "%s '%s' is %s, %d values are needed", what,
                    tensor_name(t), shape_text(t, shape, sizeof(shape)), n->channels);
}

/* The node's size becomes its source's times num / den. */
static int set_size(UpzNode *n, const UpzNode *src, int num, int den, UprezError *err)
{
    int64_t a = (int64_t)src->num * num, b = (int64_t)src->den * den;
    int64_t x = a, y = b;
    while (y) {
        int64_t t = x % y;
        x = y;
        y = t;
    }
    a /= x, b /= x;
    if (a > MAX_RATIO || b > MAX_RATIO)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "a layer (%s) would be %lld/%lld times the input's size; at most %d is "
                        "supported",
                        upz_op_name(n->op), (long long)a, (long long)b, MAX_RATIO);
    n->num = (int)a, n->den = (int)b;
    return 0;
}

static int check_act(const UpzGraph *g, UpzNode *n, UprezError *err)
{
    if ((unsigned)n->act > UPZ_ACT_CLIP)
        return upz_fail(err, UPREZ_ERR_BUG, "unknown activation %d", n->act);
    switch (n->op) {
    case UPZ_OP_CONV: case UPZ_OP_DECONV: case UPZ_OP_ACT: case UPZ_OP_ADD: case UPZ_OP_MUL:
    case UPZ_OP_AFFINE: break;
    default:
        if (n->act != UPZ_ACT_NONE)
            return upz_fail(err, UPREZ_ERR_BUG, "%s takes no activation", upz_op_name(n->op));
    }
    if (n->act == UPZ_ACT_PRELU) return per_channel(g, n, n->slopes, "PReLU slopes", true, err);
    n->slopes = UPZ_NO_TENSOR;
    return 0;
}

static int check_conv(const UpzGraph *g, UpzNode *n, const UpzNode *src, UprezError *err)
{
    char shape[96];
    const UpzTensor *w = tensor_at(g, n->weights);
    bool deconv = n->op == UPZ_OP_DECONV;
    if (!w) return upz_fail(err, UPREZ_ERR_MODEL, "a %s has no weights", upz_op_name(n->op));
    shape_text(w, shape, sizeof(shape));
    if (w->n_dims != 4)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "weights '%s' are %s, a 2-D convolution needs four dimensions",
                        tensor_name(w), shape);
    if (w->dims[2] > MAX_KERNEL || w->dims[3] > MAX_KERNEL || w->dims[0] > UPZ_MAX_CHANNELS ||
        w->dims[1] > UPZ_MAX_CHANNELS)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "weights '%s' are %s; kernels up to %d and %d channels are supported",
                        tensor_name(w), shape, MAX_KERNEL, UPZ_MAX_CHANNELS);
    if (!n->kernel_w && !n->kernel_h)
        n->kernel_h = (int)w->dims[2], n->kernel_w = (int)w->dims[3];
    if (n->kernel_h != w->dims[2] || n->kernel_w != w->dims[3])
        return upz_fail(err, UPREZ_ERR_MODEL, "weights '%s' are %s, a %dx%d kernel is needed",
                        tensor_name(w), shape, n->kernel_h, n->kernel_w);
    int groups = n->groups;
    if (groups < 1 || src->channels % groups || w->dims[0] % groups)
        return upz_fail(err, UPREZ_ERR_MODEL, "weights '%s' (%s): %d groups do not divide",
                        tensor_name(w), shape, groups);
    if (n->stride < 1 || n->stride > MAX_FACTOR || n->pad_x < 0 || n->pad_y < 0 ||
        n->pad_x >= n->kernel_w || n->pad_y >= n->kernel_h)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "weights '%s' (%s): stride %d and padding %d,%d are not supported",
                        tensor_name(w), shape, n->stride, n->pad_x, n->pad_y);
    int64_t in = deconv ? w->dims[0] : w->dims[1] * groups;
    int64_t out = deconv ? w->dims[1] * groups : w->dims[0];
    if (in != src->channels || out > UPZ_MAX_CHANNELS)
        return upz_fail(err, UPREZ_ERR_MODEL, "weights '%s' are %s, but the layer gets %d channels",
                        tensor_name(w), shape, src->channels);
    n->channels = (int)out;
    if (n->bias != UPZ_NO_TENSOR) {
        int r = per_channel(g, n, n->bias, "bias", false, err);
        if (r < 0) return r;
    }
    return deconv ? set_size(n, src, n->stride, 1, err) : set_size(n, src, 1, n->stride, err);
}

static int check_factor(const UpzNode *n, UprezError *err)
{
    if (n->factor >= 1 && n->factor <= MAX_FACTOR) return 0;
    return upz_fail(err, UPREZ_ERR_MODEL, "%s by %d: 1 to %d are supported", upz_op_name(n->op),
                    n->factor, MAX_FACTOR);
}

static int check_same(const UpzGraph *g, const UpzNode *n, bool channels_too, UprezError *err)
{
    const UpzNode *a = &g->nodes[n->src[0]];
    for (int i = 1; i < n->n_src; i++) {
        const UpzNode *b = &g->nodes[n->src[i]];
        if (a->num == b->num && a->den == b->den &&
            (!channels_too || a->channels == b->channels))
            continue;
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s of unlike maps: %d channels at %d/%d and %d channels at %d/%d of the "
                        "input's size",
                        upz_op_name(n->op), a->channels, a->num, a->den, b->channels, b->num,
                        b->den);
    }
    return 0;
}

static int check_affine(const UpzGraph *g, const UpzNode *n, UprezError *err)
{
    int r = 0;
    if (n->weights != UPZ_NO_TENSOR)
        r = per_channel(g, n, n->weights, "scale", true, err);
    if (!r && n->bias != UPZ_NO_TENSOR) r = per_channel(g, n, n->bias, "offset", true, err);
    return r;
}

/* Fills channels, num, den. */
static int infer(const UpzGraph *g, UpzNode *n, UprezError *err)
{
    const UpzNode *src = n->n_src ? &g->nodes[n->src[0]] : NULL;
    int r = 0, ff = n->factor * n->factor;
    if (n->op != UPZ_OP_CONV && n->op != UPZ_OP_DECONV && n->op != UPZ_OP_AFFINE)
        n->weights = n->bias = UPZ_NO_TENSOR;
    int first = n->channels;
    if (src) n->channels = src->channels, n->num = src->num, n->den = src->den;
    switch (n->op) {
    case UPZ_OP_CONV: case UPZ_OP_DECONV: return check_conv(g, n, src, err);
    case UPZ_OP_ADD: case UPZ_OP_MUL: return check_same(g, n, true, err);
    case UPZ_OP_AFFINE: return check_affine(g, n, err);
    case UPZ_OP_CONCAT:
        n->channels = 0;
        for (int i = 0; i < n->n_src; i++) n->channels += g->nodes[n->src[i]].channels;
        return check_same(g, n, false, err);
    case UPZ_OP_SLICE:
        n->channels = first;
        if (n->first < 0 || first < 1 || n->first > src->channels - first)
            return upz_fail(err, UPREZ_ERR_MODEL, "channels %d … %d of a map that has %d",
                            n->first, n->first + first - 1, src->channels);
        return 0;
    case UPZ_OP_SHUFFLE:
        r = check_factor(n, err);
        if (!r && src->channels % ff)
            r = upz_fail(err, UPREZ_ERR_MODEL, "pixel shuffle by %d of %d channels", n->factor,
                         src->channels);
        n->channels = src->channels / ff;
        return r < 0 ? r : set_size(n, src, n->factor, 1, err);
    case UPZ_OP_UNSHUFFLE:
        r = check_factor(n, err);
        if (r < 0) return r;
        n->channels = src->channels * ff;
        return set_size(n, src, 1, n->factor, err);
    case UPZ_OP_NEAREST:
        r = check_factor(n, err);
        return r < 0 ? r : set_size(n, src, n->factor, 1, err);
    case UPZ_OP_RESIZE: {
        int a = n->resize_num, b = n->resize_den;
        if (a < 1 || b < 1 || a > MAX_RATIO || b > MAX_RATIO ||
            (unsigned)n->filter > UPZ_FILTER_NEAREST)
            return upz_fail(err, UPREZ_ERR_MODEL, "a resize by %d/%d is not supported", a, b);
        int c = (int)upz_gcd(a, b);
        n->resize_num = a / c, n->resize_den = b / c;
        return set_size(n, src, a / c, b / c, err);
    }
    default: return 0;
    }
}

int upz_graph_add(UpzGraph *g, const UpzNode *node, UprezError *err)
{
    UpzNode n = *node;
    if ((unsigned)n.op >= UPZ_OP_COUNT) return upz_fail(err, UPREZ_ERR_BUG, "unknown op %d", n.op);
    int want = sources_of(n.op);
    if (want >= 0 ? n.n_src != want : n.n_src < 1 || n.n_src > UPZ_MAX_SRC)
        return upz_fail(err, UPREZ_ERR_MODEL, "%s of %d maps: %d are supported", upz_op_name(n.op),
                        n.n_src, want >= 0 ? want : UPZ_MAX_SRC);
    for (int i = 0; i < n.n_src; i++) {
        if (n.src[i] < 0) return n.src[i]; /* an earlier error, already told */
        if ((size_t)n.src[i] >= g->n_nodes)
            return upz_fail(err, UPREZ_ERR_BUG, "%s reads value %d before it is written",
                            upz_op_name(n.op), n.src[i]);
    }
    if ((n.op == UPZ_OP_INPUT) != (g->n_nodes == 0))
        return upz_fail(err, UPREZ_ERR_MODEL, "a network needs exactly one input, written first");
    int r = infer(g, &n, err);
    if (!r && (n.channels < 1 || n.channels > UPZ_MAX_CHANNELS))
        r = upz_fail(err, UPREZ_ERR_MODEL, "a layer (%s) has %d channels; 1 to %d are supported",
                     upz_op_name(n.op), n.channels, UPZ_MAX_CHANNELS);
    if (!r) r = check_act(g, &n, err);
    if (r < 0) return r;
    if (g->n_nodes >= UPZ_MAX_NODES)
        return upz_fail(err, UPREZ_ERR_MODEL, "the network has more than %d layers",
                        UPZ_MAX_NODES);
    if (!upz_grow(&g->nodes, &g->cap_nodes, g->n_nodes + 1, sizeof(n), UPZ_MAX_NODES))
        return upz_fail_memory(err, (g->n_nodes + 1) * sizeof(n), "the layer list");
    g->nodes[g->n_nodes] = n;
    return (int)g->n_nodes++;
}

int upz_graph_input(UpzGraph *g, int channels, UprezError *err)
{
    UpzNode n = upz_node(UPZ_OP_INPUT);
    n.channels = channels, n.num = n.den = 1;
    return upz_graph_add(g, &n, err);
}

int upz_graph_conv(UpzGraph *g, int src, int weights, int bias, UpzAct act, float slope, int slopes,
                   UprezError *err)
{
    if (src < 0) return src;
    if (weights < 0 || (bias < 0 && bias != UPZ_NO_TENSOR)) return weights < 0 ? weights : bias;
    UpzNode n = upz_node(UPZ_OP_CONV);
    n.src[0] = src, n.weights = weights, n.bias = bias;
    n.act = act, n.slope = slope, n.slopes = slopes;
    const UpzTensor *w = tensor_at(g, weights);
    if (w && w->n_dims == 4 && w->dims[2] <= MAX_KERNEL && w->dims[3] <= MAX_KERNEL) {
        if (w->dims[2] % 2 == 0 || w->dims[3] % 2 == 0)
            return upz_fail(err, UPREZ_ERR_MODEL, "weights '%s': the kernel is %lldx%lld, an odd "
                            "size is needed", tensor_name(w), (long long)w->dims[2],
                            (long long)w->dims[3]);
        n.pad_y = (int)w->dims[2] / 2, n.pad_x = (int)w->dims[3] / 2;
    }
    return upz_graph_add(g, &n, err);
}

int upz_graph_simple(UpzGraph *g, UpzOp op, int src, int factor, UprezError *err)
{
    UpzNode n = upz_node(op);
    n.n_src = 1, n.src[0] = src, n.factor = factor;
    return upz_graph_add(g, &n, err);
}

int upz_graph_binary(UpzGraph *g, UpzOp op, int a, int b, float alpha_a, float alpha_b,
                     UprezError *err)
{
    UpzNode n = upz_node(op);
    n.n_src = 2, n.src[0] = a, n.src[1] = b;
    n.alpha[0] = alpha_a, n.alpha[1] = alpha_b;
    return upz_graph_add(g, &n, err);
}

int upz_graph_concat(UpzGraph *g, const int *src, int n_src, UprezError *err)
{
    UpzNode n = upz_node(UPZ_OP_CONCAT);
    if (n_src < 1 || n_src > UPZ_MAX_SRC)
        return upz_fail(err, UPREZ_ERR_MODEL, "a concatenation of %d maps; 1 to %d are supported",
                        n_src, UPZ_MAX_SRC);
    n.n_src = n_src;
    for (int i = 0; i < n_src; i++) n.src[i] = src[i];
    return upz_graph_add(g, &n, err);
}
