/* One small network for each operation and form, for writers and engines. Includes cmocka first. */
#ifndef OP_CASES_H
#define OP_CASES_H

#include <math.h>
#include "base/alloc.h"
#include "model/model.h"

/* What a format cannot hold. */
enum { NO_NCNN = 1 };

/* input (3) -> 1x1 into cin -> the node -> 1x1 into 3. Two sources: the second is another 1x1. */
typedef struct Case {
    const char *name;
    UpzOp op;
    UpzAct act;
    int cin, cout, kw, kh, px, py, stride, groups, factor, num, den;
    int first;
    UpzFilter filter;
    bool dcr, bias, tensors;
    float a, b, slope, lo, hi;
    int n_slopes, flags;
} Case;

static const Case cases[] = {
    {"conv3x3", UPZ_OP_CONV, .cin = 5, .cout = 7, .kw = 3, .kh = 3, .px = 1, .py = 1, .bias = true},
    {"conv_nobias", UPZ_OP_CONV, .cin = 4, .cout = 3, .kw = 3, .kh = 3, .px = 1, .py = 1},
    {"conv5x3", UPZ_OP_CONV, .cin = 2, .cout = 4, .kw = 5, .kh = 3, .px = 2, .py = 1, .bias = true},
    {"conv_even", UPZ_OP_CONV, .cin = 2, .cout = 4, .kw = 4, .kh = 2, .px = 1, .py = 1},
    {"conv_stride", UPZ_OP_CONV, .cin = 4, .cout = 6, .kw = 3, .kh = 3, .px = 1, .py = 1,
     .stride = 2, .bias = true},
    {"conv_patch", UPZ_OP_CONV, .cin = 3, .cout = 6, .kw = 2, .kh = 2, .stride = 2, .bias = true},
    {"conv_groups", UPZ_OP_CONV, .cin = 6, .cout = 9, .kw = 3, .kh = 3, .px = 1, .py = 1,
     .groups = 3, .bias = true},
    {"conv_depthwise", UPZ_OP_CONV, UPZ_ACT_RELU, .cin = 6, .cout = 6, .kw = 3, .kh = 3, .px = 1,
     .py = 1, .groups = 6, .bias = true},
    {"conv_relu", UPZ_OP_CONV, UPZ_ACT_RELU, .cin = 4, .cout = 4, .kw = 3, .kh = 3, .px = 1,
     .py = 1, .bias = true},
    {"conv_leaky", UPZ_OP_CONV, UPZ_ACT_LEAKY, .cin = 4, .cout = 4, .kw = 1, .kh = 1,
     .slope = 0.2f},
    {"conv_prelu", UPZ_OP_CONV, UPZ_ACT_PRELU, .cin = 4, .cout = 5, .kw = 3, .kh = 3, .px = 1,
     .py = 1, .bias = true, .n_slopes = 5},
    {"conv_clip", UPZ_OP_CONV, UPZ_ACT_CLIP, .cin = 4, .cout = 4, .kw = 1, .kh = 1, .lo = -0.1f,
     .hi = 0.3f, .bias = true},
    {"conv_sigmoid", UPZ_OP_CONV, UPZ_ACT_SIGMOID, .cin = 4, .cout = 4, .kw = 1, .kh = 1},
    {"conv_silu", UPZ_OP_CONV, UPZ_ACT_SILU, .cin = 4, .cout = 4, .kw = 1, .kh = 1},
    {"deconv", UPZ_OP_DECONV, .cin = 4, .cout = 3, .kw = 9, .kh = 9, .px = 4, .py = 4, .stride = 2,
     .bias = true},
    {"deconv_3", UPZ_OP_DECONV, UPZ_ACT_TANH, .cin = 3, .cout = 4, .kw = 4, .kh = 5, .px = 0,
     .py = 1, .stride = 3},
    {"deconv_grow", UPZ_OP_DECONV, .cin = 3, .cout = 4, .kw = 3, .kh = 3, .px = 2, .py = 2,
     .stride = 2, .flags = NO_NCNN},
    {"deconv_groups", UPZ_OP_DECONV, .cin = 4, .cout = 6, .kw = 4, .kh = 4, .px = 1, .py = 1,
     .stride = 2, .groups = 2, .bias = true, .flags = NO_NCNN},
    {"relu", UPZ_OP_ACT, UPZ_ACT_RELU, .cin = 4},
    {"leaky", UPZ_OP_ACT, UPZ_ACT_LEAKY, .cin = 4, .slope = 0.1f},
    {"prelu_one", UPZ_OP_ACT, UPZ_ACT_PRELU, .cin = 4, .n_slopes = 1},
    {"sigmoid", UPZ_OP_ACT, UPZ_ACT_SIGMOID, .cin = 4},
    {"tanh", UPZ_OP_ACT, UPZ_ACT_TANH, .cin = 4},
    {"silu", UPZ_OP_ACT, UPZ_ACT_SILU, .cin = 4},
    {"gelu", UPZ_OP_ACT, UPZ_ACT_GELU, .cin = 4},
    {"clip", UPZ_OP_ACT, UPZ_ACT_CLIP, .cin = 4, .lo = 0, .hi = 0.5f},
    {"clip_above", UPZ_OP_ACT, UPZ_ACT_CLIP, .cin = 4, .lo = -INFINITY, .hi = 0.5f},
    {"clip_below", UPZ_OP_ACT, UPZ_ACT_CLIP, .cin = 4, .lo = 0.1f, .hi = INFINITY},
    {"add", UPZ_OP_ADD, .cin = 4, .a = 1, .b = 1},
    {"sub", UPZ_OP_ADD, .cin = 4, .a = 1, .b = -1},
    {"add_scaled", UPZ_OP_ADD, UPZ_ACT_RELU, .cin = 4, .a = 0.2f, .b = 1},
    {"add_both", UPZ_OP_ADD, .cin = 4, .a = -0.3f, .b = 0.7f},
    {"mul", UPZ_OP_MUL, UPZ_ACT_LEAKY, .cin = 4, .slope = 0.3f},
    {"affine", UPZ_OP_AFFINE, UPZ_ACT_SIGMOID, .cin = 4, .a = 1, .b = -0.5f},
    {"affine_both", UPZ_OP_AFFINE, .cin = 4, .a = 1.7f, .b = 0.3f},
    {"affine_tensors", UPZ_OP_AFFINE, .cin = 4, .tensors = true},
    {"concat", UPZ_OP_CONCAT, .cin = 4},
    {"slice", UPZ_OP_SLICE, .cin = 7, .cout = 3, .first = 2},
    {"slice_first", UPZ_OP_SLICE, .cin = 7, .cout = 3, .first = 0},
    {"slice_last", UPZ_OP_SLICE, .cin = 7, .cout = 3, .first = 4},
    {"shuffle", UPZ_OP_SHUFFLE, .cin = 12, .factor = 2},
    {"shuffle_dcr", UPZ_OP_SHUFFLE, .cin = 18, .factor = 3, .dcr = true},
    {"unshuffle", UPZ_OP_UNSHUFFLE, .cin = 3, .factor = 2},
    {"unshuffle_dcr", UPZ_OP_UNSHUFFLE, .cin = 3, .factor = 2, .dcr = true},
    {"unshuffle_one", UPZ_OP_UNSHUFFLE, .cin = 1, .factor = 3},
    {"nearest2", UPZ_OP_NEAREST, .cin = 4, .factor = 2},
    {"nearest3", UPZ_OP_NEAREST, .cin = 4, .factor = 3},
    {"bilinear2", UPZ_OP_RESIZE, .cin = 4, .num = 2, .den = 1, .filter = UPZ_FILTER_BILINEAR},
    {"bilinear_half", UPZ_OP_RESIZE, .cin = 4, .num = 1, .den = 2, .filter = UPZ_FILTER_BILINEAR},
    {"bilinear_3_4", UPZ_OP_RESIZE, .cin = 4, .num = 3, .den = 4, .filter = UPZ_FILTER_BILINEAR},
    {"bilinear_5_3", UPZ_OP_RESIZE, .cin = 4, .num = 5, .den = 3, .filter = UPZ_FILTER_BILINEAR},
    {"bicubic2", UPZ_OP_RESIZE, .cin = 4, .num = 2, .den = 1, .filter = UPZ_FILTER_BICUBIC},
    {"bicubic_2_3", UPZ_OP_RESIZE, .cin = 4, .num = 2, .den = 3, .filter = UPZ_FILTER_BICUBIC},
    {"neighbour_3", UPZ_OP_RESIZE, .cin = 4, .num = 3, .den = 1, .filter = UPZ_FILTER_NEAREST},
    {"neighbour_5_4", UPZ_OP_RESIZE, .cin = 4, .num = 5, .den = 4, .filter = UPZ_FILTER_NEAREST,
     .flags = NO_NCNN},
};

static uint32_t seed;

static inline float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)seed * 0x1p-31f;
}

static inline int tensor(UpzGraph *g, const char *name, int n_dims, const int64_t *dims)
{
    UprezError err;
    int t = upz_graph_tensor_new(g, n_dims, dims, &err);
    if (t < 0) fail_msg("%s", err.text);
    for (int64_t i = 0; i < g->tensors[t].count; i++) g->tensors[t].data[i] = 0.5f * noise();
    g->tensors[t].name = name ? upz_strdup(name) : NULL;
    return t;
}

static inline int pointwise(UpzGraph *g, int src, int cin, int cout, const char *name)
{
    UprezError err;
    int w = tensor(g, name, 4, (int64_t[]){cout, cin, 1, 1});
    int b = tensor(g, NULL, 1, (int64_t[]){cout});
    int v = upz_graph_conv(g, src, w, b, UPZ_ACT_NONE, 0, UPZ_NO_TENSOR, &err);
    if (v < 0) fail_msg("%s", err.text);
    return v;
}

static inline void build(UprezModel *m, const Case *c)
{
    UprezError err = {0};
    UpzGraph *g = &m->graph;
    *m = (UprezModel){0};
    seed = 12345;
    int in = upz_graph_input(g, 3, &err);
    int a = pointwise(g, in, 3, c->cin, "front.weight");
    UpzNode n = upz_node(c->op);
    n.act = c->act, n.slope = c->slope, n.lo = c->lo, n.hi = c->hi;
    n.src[0] = a;
    if (c->op == UPZ_OP_ADD || c->op == UPZ_OP_MUL || c->op == UPZ_OP_CONCAT) {
        n.n_src = 2;
        n.src[1] = pointwise(g, in, 3, c->cin, "front.weight"); /* a name used twice */
    }
    n.n_src = n.n_src ? n.n_src : 1;
    n.groups = c->groups ? c->groups : 1, n.stride = c->stride ? c->stride : 1;
    n.factor = c->factor ? c->factor : 1;
    n.pad_x = c->px, n.pad_y = c->py, n.dcr = c->dcr, n.filter = c->filter;
    n.first = c->first, n.channels = c->op == UPZ_OP_SLICE ? c->cout : 0;
    n.resize_num = c->num ? c->num : 1, n.resize_den = c->den ? c->den : 1;
    if (c->op == UPZ_OP_ADD || c->op == UPZ_OP_AFFINE) n.alpha[0] = c->a, n.alpha[1] = c->b;
    if (c->op == UPZ_OP_CONV)
        n.weights = tensor(g, "body.0.weight", 4,
                           (int64_t[]){c->cout, c->cin / n.groups, c->kh, c->kw});
    if (c->op == UPZ_OP_DECONV)
        n.weights = tensor(g, "body.0.weight", 4,
                           (int64_t[]){c->cin, c->cout / n.groups, c->kh, c->kw});
    if (c->bias) n.bias = tensor(g, "output", 1, (int64_t[]){c->cout});
    if (c->tensors) {
        n.weights = tensor(g, "scale.x", 1, (int64_t[]){c->cin});
        n.bias = tensor(g, "v1", 1, (int64_t[]){c->cin});
    }
    if (c->n_slopes) n.slopes = tensor(g, "body.1.weight", 1, (int64_t[]){c->n_slopes});
    int v = upz_graph_add(g, &n, &err);
    if (v < 0) fail_msg("%s: %s", c->name, err.text);
    if (c->op == UPZ_OP_UNSHUFFLE) v = upz_graph_simple(g, UPZ_OP_NEAREST, v, c->factor, &err);
    v = pointwise(g, v, g->nodes[v].channels, 3, "back.weight");
    if (upz_graph_finish(g, v, &m->facts, &err) < 0) fail_msg("%s: %s", c->name, err.text);
    m->facts.path = c->name;
}

#endif
