/* Small networks of the families that engine cuda is for, and one that it is not. */
#ifndef CUDA_NETS_H
#define CUDA_NETS_H

#include "test_graphs.h"

static inline int srvgg(UpzGraph *g, int in, int features, int convs, int scale)
{
    int v = in, c = g->nodes[in].channels;
    for (int i = 0; i < convs; i++) {
        const int w = graph_tensor(g, 4, (int64_t[]){features, g->nodes[v].channels, 3, 3},
                                   1.5f / sqrtf((float)g->nodes[v].channels * 9), 0);
        const int b = graph_tensor(g, 1, (int64_t[]){features}, 0.1f, 0);
        const int s = graph_tensor(g, 1, (int64_t[]){features}, 0.3f, 0.2f);
        v = upz_graph_conv(g, v, w, b, UPZ_ACT_PRELU, 0, s, NULL);
    }
    v = graph_conv(g, v, c * scale * scale, UPZ_ACT_NONE, 0.4f, 0);
    if (scale > 1) v = upz_graph_simple(g, UPZ_OP_SHUFFLE, v, scale, NULL);
    const int base = scale > 1 ? upz_graph_simple(g, UPZ_OP_NEAREST, in, scale, NULL) : in;
    return upz_graph_binary(g, UPZ_OP_ADD, v, base, 1, 1, NULL);
}

static inline int srvgg64(UpzGraph *g, int in) { return srvgg(g, in, 64, 2, 4); }
static inline int srvgg20(UpzGraph *g, int in) { return srvgg(g, in, 20, 2, 2); }
static inline int srvgg_clean(UpzGraph *g, int in) { return srvgg(g, in, 16, 2, 1); }

static inline int dense(UpzGraph *g, int x, int growth)
{
    int maps[5] = {x}, v = x;
    for (int c = 1; c <= 5; c++) {
        const int from = c > 1 ? upz_graph_concat(g, maps, c, NULL) : x;
        v = graph_conv(g, from, c < 5 ? growth : g->nodes[x].channels,
                       c < 5 ? UPZ_ACT_LEAKY : UPZ_ACT_NONE, 1.2f, 0);
        if (c < 5) maps[c] = v;
    }
    return upz_graph_binary(g, UPZ_OP_ADD, v, x, 0.2f, 1, NULL);
}

static inline int rrdb(UpzGraph *g, int in, int front, int features, int growth, int blocks, int ups)
{
    int c = g->nodes[in].channels;
    int v = front > 1 ? upz_graph_simple(g, UPZ_OP_UNSHUFFLE, in, front, NULL) : in;
    const int first = v = graph_conv(g, v, features, UPZ_ACT_NONE, 1.5f, 0);
    for (int b = 0; b < blocks; b++) {
        const int x = v;
        for (int i = 0; i < 3; i++) v = dense(g, v, growth);
        v = upz_graph_binary(g, UPZ_OP_ADD, v, x, 0.2f, 1, NULL);
    }
    v = graph_conv(g, v, features, UPZ_ACT_NONE, 1, 0);
    v = upz_graph_binary(g, UPZ_OP_ADD, v, first, 1, 1, NULL);
    for (int i = 0; i < ups; i++)
        v = graph_conv(g, upz_graph_simple(g, UPZ_OP_NEAREST, v, 2, NULL), features, UPZ_ACT_LEAKY,
                       1.5f, 0);
    v = graph_conv(g, v, features, UPZ_ACT_LEAKY, 1.5f, 0);
    g->pad_mode = UPZ_PAD_REFLECT;
    return graph_conv(g, v, c, UPZ_ACT_NONE, 0.5f, 0.5f);
}

/* pixels in groups, maps of three sizes, and a short reach */
static inline int grouped(UpzGraph *g, int in)
{
    int v = upz_graph_simple(g, UPZ_OP_UNSHUFFLE, in, 2, NULL);
    v = graph_conv(g, v, 24, UPZ_ACT_LEAKY, 1.7f, 0);
    for (int i = 0; i < 2; i++)
        v = graph_conv(g, upz_graph_simple(g, UPZ_OP_NEAREST, v, 2, NULL), 16, UPZ_ACT_LEAKY, 1.7f, 0);
    g->pad_mode = UPZ_PAD_REFLECT;
    return graph_conv(g, v, g->nodes[in].channels, UPZ_ACT_NONE, 0.4f, 0.5f);
}

static inline int rrdb4(UpzGraph *g, int in) { return rrdb(g, in, 1, 32, 16, 1, 2); }
static inline int rrdb2(UpzGraph *g, int in) { return rrdb(g, in, 2, 24, 12, 1, 2); }
static inline int rrdb1(UpzGraph *g, int in) { return rrdb(g, in, 4, 16, 16, 1, 2); }

static inline int with_op(UpzGraph *g, int in, UpzOp op)
{
    UpzNode n = upz_node(op);
    n.n_src = op == UPZ_OP_MUL ? 2 : 1;
    n.src[0] = n.src[1] = graph_conv(g, in, 3, UPZ_ACT_NONE, 1, 0);
    n.factor = 2;
    n.act = op == UPZ_OP_ACT ? UPZ_ACT_TANH : UPZ_ACT_NONE;
    n.resize_num = 2, n.resize_den = 1;
    if (op == UPZ_OP_AFFINE) n.alpha[0] = 2, n.alpha[1] = 0.1f;
    return graph_conv(g, upz_graph_add(g, &n, NULL), 3, UPZ_ACT_NONE, 1, 0);
}
static inline int with_mul(UpzGraph *g, int in) { return with_op(g, in, UPZ_OP_MUL); }
#endif
