/* Networks that the CPU engine is tested with: every operation, odd numbers of channels. */
#ifndef CPU_NETS_H
#define CPU_NETS_H

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "model/model.h"

static uint32_t seed;
static float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 16777216.0f;
}

/* ---- building blocks ---- */

static int tensor(UpzGraph *g, int n, const int64_t *dims, float scale, float offset)
{
    int t = upz_graph_tensor_new(g, n, dims, NULL);
    assert_true(t >= 0);
    for (int64_t i = 0; i < g->tensors[t].count; i++)
        g->tensors[t].data[i] = (noise() - 0.5f) * 2 * scale + offset;
    return t;
}

static int channel_values(UpzGraph *g, int n, float scale, float offset)
{
    return tensor(g, 1, (int64_t[]){n}, scale, offset);
}

static int conv(UpzGraph *g, int src, int out, int k, UpzAct act)
{
    int in = g->nodes[src].channels;
    int w = tensor(g, 4, (int64_t[]){out, in, k, k}, 1.2f / sqrtf((float)(in * k * k)), 0);
    int b = channel_values(g, out, 0.1f, 0);
    int s = act == UPZ_ACT_PRELU ? channel_values(g, out, 0.3f, 0.2f) : UPZ_NO_TENSOR;
    UprezError err = {0};
    int v = upz_graph_conv(g, src, w, b, act, 0.2f, s, &err);
    if (v < 0) fail_msg("%s", err.text);
    return v;
}

/* A last layer: results lie around 0.5, since stored pictures are clipped to 0..1. */
static int calm(UpzGraph *g, int v)
{
    UpzTensor *w = &g->tensors[g->nodes[v].weights], *b = &g->tensors[g->nodes[v].bias];
    for (int64_t i = 0; i < w->count; i++) w->data[i] *= 0.3f;
    for (int64_t i = 0; i < b->count; i++) b->data[i] += 0.5f;
    return v;
}

static int last(UpzGraph *g, int src, int out, int k)
{
    return calm(g, conv(g, src, out, k, UPZ_ACT_NONE));
}

static int add_node(UpzGraph *g, UpzNode n)
{
    UprezError err = {0};
    int v = upz_graph_add(g, &n, &err);
    if (v < 0) fail_msg("%s", err.text);
    return v;
}

static int conv_full(UpzGraph *g, int src, int out, int kw, int kh, int stride, int groups,
                     UpzAct act)
{
    UpzNode n = upz_node(UPZ_OP_CONV);
    int in = g->nodes[src].channels / groups;
    n.n_src = 1, n.src[0] = src;
    n.kernel_w = kw, n.kernel_h = kh, n.stride = stride, n.groups = groups, n.act = act;
    n.pad_x = (kw - 1) / 2, n.pad_y = (kh - 1) / 2;
    n.slope = 0.1f, n.lo = -0.3f, n.hi = 0.4f;
    n.weights = tensor(g, 4, (int64_t[]){out, in, kh, kw}, 1.2f / sqrtf((float)(in * kh * kw)), 0);
    n.bias = channel_values(g, out, 0.1f, 0);
    return add_node(g, n);
}

static int deconv(UpzGraph *g, int src, int out, int k, int stride, int pad, int groups, UpzAct act)
{
    UpzNode n = upz_node(UPZ_OP_DECONV);
    int in = g->nodes[src].channels;
    n.n_src = 1, n.src[0] = src;
    n.kernel_w = n.kernel_h = k, n.stride = stride, n.pad_x = n.pad_y = pad, n.groups = groups;
    n.act = act, n.slope = 0.25f;
    n.weights = tensor(g, 4, (int64_t[]){in, out / groups, k, k}, 1.0f / sqrtf((float)in * k), 0);
    n.bias = channel_values(g, out, 0.1f, 0);
    return add_node(g, n);
}

static int simple(UpzGraph *g, UpzOp op, int src, int factor)
{
    return upz_graph_simple(g, op, src, factor, NULL);
}

static int dcr(UpzGraph *g, UpzOp op, int src, int factor)
{
    UpzNode n = upz_node(op);
    n.n_src = 1, n.src[0] = src, n.factor = factor, n.dcr = true;
    return add_node(g, n);
}

static int activation(UpzGraph *g, int src, UpzAct act)
{
    UpzNode n = upz_node(UPZ_OP_ACT);
    n.n_src = 1, n.src[0] = src, n.act = act, n.slope = 0.3f, n.lo = 0.1f, n.hi = 0.7f;
    if (act == UPZ_ACT_PRELU) n.slopes = channel_values(g, g->nodes[src].channels, 0.3f, 0);
    return add_node(g, n);
}

static int slice(UpzGraph *g, int src, int first, int channels)
{
    UpzNode n = upz_node(UPZ_OP_SLICE);
    n.n_src = 1, n.src[0] = src, n.first = first, n.channels = channels;
    return add_node(g, n);
}

static int resize(UpzGraph *g, int src, int num, int den, UpzFilter filter)
{
    UpzNode n = upz_node(UPZ_OP_RESIZE);
    n.n_src = 1, n.src[0] = src, n.resize_num = num, n.resize_den = den, n.filter = filter;
    return add_node(g, n);
}

static int affine(UpzGraph *g, int src, bool tensors)
{
    UpzNode n = upz_node(UPZ_OP_AFFINE);
    n.n_src = 1, n.src[0] = src, n.alpha[0] = 1.5f, n.alpha[1] = -0.25f;
    if (tensors) {
        n.weights = channel_values(g, g->nodes[src].channels, 0.5f, 1);
        n.bias = channel_values(g, g->nodes[src].channels, 0.5f, 0);
    }
    return add_node(g, n);
}

/* ---- networks ---- */

static int srvgg(UpzGraph *g, int in)
{
    int v = conv(g, in, 24, 3, UPZ_ACT_PRELU);
    for (int i = 0; i < 4; i++) v = conv(g, v, 24, 3, UPZ_ACT_PRELU);
    v = simple(g, UPZ_OP_SHUFFLE, last(g, v, 48, 3), 4);
    return upz_graph_binary(g, UPZ_OP_ADD, v, simple(g, UPZ_OP_NEAREST, in, 4), 0.9f, 0.2f, NULL);
}

static int rrdb(UpzGraph *g, int in)
{
    int first = conv(g, in, 32, 3, UPZ_ACT_NONE), x = first;
    for (int block = 0; block < 2; block++) {
        int s[5] = {x};
        for (int i = 1; i < 5; i++)
            s[i] = conv(g, i == 1 ? x : upz_graph_concat(g, s, i, NULL), 16, 3, UPZ_ACT_LEAKY);
        int y = conv(g, upz_graph_concat(g, s, 5, NULL), 32, 3, UPZ_ACT_NONE);
        y = upz_graph_binary(g, UPZ_OP_ADD, y, x, 0.2f, 1, NULL);
        x = upz_graph_binary(g, UPZ_OP_ADD, y, first, 0.2f, 1, NULL);
    }
    x = upz_graph_binary(g, UPZ_OP_ADD, first, conv(g, x, 32, 3, UPZ_ACT_NONE), 1, 1, NULL);
    for (int i = 0; i < 2; i++)
        x = conv(g, simple(g, UPZ_OP_NEAREST, x, 2), 32, 3, UPZ_ACT_LEAKY);
    return last(g, conv(g, x, 32, 3, UPZ_ACT_LEAKY), 3, 3);
}

static int unshuffled(UpzGraph *g, int in)
{
    int x = conv(g, simple(g, UPZ_OP_UNSHUFFLE, in, 2), 16, 3, UPZ_ACT_RELU);
    x = conv(g, simple(g, UPZ_OP_NEAREST, x, 4), 17, 3, UPZ_ACT_SILU);
    return last(g, x, 3, 3);
}

static int fsrcnn(UpzGraph *g, int in)
{
    int x = conv(g, in, 56, 5, UPZ_ACT_PRELU);
    x = conv(g, x, 12, 1, UPZ_ACT_PRELU);
    x = conv(g, x, 12, 3, UPZ_ACT_PRELU);
    x = conv(g, x, 56, 1, UPZ_ACT_PRELU);
    return calm(g, deconv(g, x, 3, 9, 2, 4, 1, UPZ_ACT_NONE));
}

static int deconvs(UpzGraph *g, int in)
{
    int x = deconv(g, conv(g, in, 8, 3, UPZ_ACT_NONE), 12, 4, 2, 1, 2, UPZ_ACT_LEAKY);
    x = deconv(g, x, 8, 3, 1, 1, 1, UPZ_ACT_TANH);
    x = conv_full(g, x, 20, 3, 3, 2, 1, UPZ_ACT_NONE);
    return calm(g, deconv(g, x, 3, 6, 3, 1, 1, UPZ_ACT_RELU));
}

static int grouped(UpzGraph *g, int in)
{
    int x = affine(g, in, true);
    x = conv_full(g, x, 24, 5, 3, 1, 3, UPZ_ACT_RELU);
    x = conv_full(g, x, 24, 3, 3, 1, 24, UPZ_ACT_LEAKY);
    x = conv_full(g, x, 24, 3, 3, 1, 24, UPZ_ACT_CLIP);
    x = conv_full(g, x, 20, 7, 7, 1, 1, UPZ_ACT_SIGMOID);
    int y = activation(g, slice(g, x, 4, 9), UPZ_ACT_GELU);
    int z = activation(g, conv(g, slice(g, x, 3, 17), 9, 3, UPZ_ACT_NONE), UPZ_ACT_PRELU);
    y = upz_graph_binary(g, UPZ_OP_MUL, y, z, 1, 1, NULL);
    y = upz_graph_concat(g, (int[]){y, in, z}, 3, NULL);
    y = affine(g, y, false);
    y = dcr(g, UPZ_OP_SHUFFLE, conv(g, y, 20, 3, UPZ_ACT_NONE), 2);
    y = upz_graph_concat(g, (int[]){y, simple(g, UPZ_OP_NEAREST, in, 2)}, 2, NULL);
    return dcr(g, UPZ_OP_SHUFFLE, last(g, y, 12, 1), 2);
}

static int resized(UpzGraph *g, int in)
{
    int x = conv(g, in, 16, 3, UPZ_ACT_RELU);
    x = resize(g, x, 2, 1, UPZ_FILTER_BILINEAR);
    x = conv(g, x, 16, 3, UPZ_ACT_NONE);
    x = resize(g, x, 3, 2, UPZ_FILTER_BICUBIC);
    x = resize(g, x, 1, 3, UPZ_FILTER_NEAREST);
    x = upz_graph_binary(g, UPZ_OP_ADD, x, slice(g, conv(g, in, 20, 1, UPZ_ACT_NONE), 1, 16), 0.5f,
                         -1, NULL);
    x = dcr(g, UPZ_OP_UNSHUFFLE, simple(g, UPZ_OP_SHUFFLE, x, 2), 2);
    return last(g, activation(g, x, UPZ_ACT_CLIP), 3, 3);
}

/* Every third row falls on one of its source, and needs no other. */
static int tripled(UpzGraph *g, int in)
{
    return last(g, resize(g, in, 3, 1, UPZ_FILTER_BICUBIC), 3, 3);
}

static int skip_only(UpzGraph *g, int in)
{
    int x = conv(g, in, 16, 3, UPZ_ACT_NONE);
    for (int i = 0; i < 12; i++) x = conv(g, x, 16, 3, UPZ_ACT_RELU);
    return upz_graph_binary(g, UPZ_OP_ADD, in, last(g, x, 3, 3), 0.25f, 0.75f, NULL);
}

static int wide(UpzGraph *g, int in)
{
    int x = conv(g, in, 80, 3, UPZ_ACT_PRELU);
    x = conv(g, x, 144, 3, UPZ_ACT_RELU);
    x = conv(g, x, 96, 3, UPZ_ACT_NONE);
    x = conv(g, x, 112, 1, UPZ_ACT_LEAKY);
    return simple(g, UPZ_OP_SHUFFLE, last(g, x, 27, 3), 3);
}

typedef struct Net {
    const char *name;
    int (*build)(UpzGraph *, int);
} Net;
static int clipped(UpzGraph *g, int in)
{
    int v = conv(g, conv(g, in, 24, 3, UPZ_ACT_PRELU), 24, 3, UPZ_ACT_PRELU);
    v = simple(g, UPZ_OP_SHUFFLE, last(g, v, 12, 3), 2);
    v = upz_graph_binary(g, UPZ_OP_ADD, simple(g, UPZ_OP_NEAREST, in, 2), v, 1, 1, NULL);
    UpzNode n = upz_node(UPZ_OP_ACT);
    n.n_src = 1, n.src[0] = v, n.act = UPZ_ACT_CLIP, n.lo = 0, n.hi = 1;
    return add_node(g, n);
}

static const Net nets[] = {{"srvgg", srvgg}, {"rrdb", rrdb}, {"unshuffled", unshuffled},
                           {"fsrcnn", fsrcnn}, {"deconvs", deconvs}, {"grouped", grouped},
                           {"resized", resized}, {"tripled", tripled}, {"skip", skip_only}, {"wide", wide},
                           {"clipped", clipped}};

static UprezModel *make_model(const Net *net)
{
    UprezModel *m = upz_calloc(1, sizeof(*m));
    UprezError err = {0};
    assert_non_null(m);
    atomic_store(&m->refs, 1000); /* the test frees it itself */
    m->facts.input = UPREZ_INPUT_RGB;
    int in = upz_graph_input(&m->graph, 3, &err);
    int out = net->build(&m->graph, in);
    if (out < 0 || upz_graph_finish(&m->graph, out, &m->facts, &err)) fail_msg("%s", err.text);
    return m;
}

static void free_model(UprezModel *m)
{
    upz_graph_free(&m->graph);
    upz_free(m);
}

#endif
