/* Small seeded networks built in place, with results around 0.5: stored pictures are clipped. */
#ifndef TEST_GRAPHS_H
#define TEST_GRAPHS_H

#include <math.h>
#include "base/alloc.h"
#include "model/model.h"

typedef int (*GraphBuild)(UpzGraph *g, int in);

static uint32_t graph_seed;
static inline float graph_noise(void)
{
    graph_seed = graph_seed * 1664525u + 1013904223u;
    return (float)(graph_seed >> 8) / 16777216.0f;
}

static inline int graph_tensor(UpzGraph *g, int n, const int64_t *dims, float scale, float offset)
{
    int t = upz_graph_tensor_new(g, n, dims, NULL);
    assert_true(t >= 0);
    for (int64_t i = 0; i < g->tensors[t].count; i++)
        g->tensors[t].data[i] = (graph_noise() - 0.5f) * 2 * scale + offset;
    return t;
}

static inline int graph_conv(UpzGraph *g, int src, int out, UpzAct act, float gain, float bias)
{
    const int in = g->nodes[src].channels;
    int w = graph_tensor(g, 4, (int64_t[]){out, in, 3, 3}, gain / sqrtf((float)in * 9), 0);
    int b = graph_tensor(g, 1, (int64_t[]){out}, 0.1f, bias);
    int v = upz_graph_conv(g, src, w, b, act, 0.2f, UPZ_NO_TENSOR, NULL);
    assert_true(v >= 0);
    return v;
}

/* 2x, reach 5 */
static inline int graph_srvgg(UpzGraph *g, int in)
{
    int v = in;
    for (int i = 0; i < 4; i++) v = graph_conv(g, v, 8, UPZ_ACT_LEAKY, 1.7f, 0);
    v = graph_conv(g, v, 4 * g->nodes[in].channels, UPZ_ACT_NONE, 0.4f, 0.5f);
    return upz_graph_simple(g, UPZ_OP_SHUFFLE, v, 2, NULL);
}

/* 2x, sides a multiple of 2 */
static inline int graph_unshuffled(UpzGraph *g, int in)
{
    int v = upz_graph_simple(g, UPZ_OP_UNSHUFFLE, in, 2, NULL);
    v = graph_conv(g, v, 12, UPZ_ACT_LEAKY, 1.7f, 0);
    v = upz_graph_simple(g, UPZ_OP_NEAREST, v, 4, NULL);
    v = graph_conv(g, v, 8, UPZ_ACT_LEAKY, 1.7f, 0);
    g->pad_mode = UPZ_PAD_REFLECT;
    return graph_conv(g, v, g->nodes[in].channels, UPZ_ACT_NONE, 0.4f, 0.5f);
}

/* half the size */
static inline int graph_shrinking(UpzGraph *g, int in)
{
    int v = upz_graph_simple(g, UPZ_OP_UNSHUFFLE, in, 2, NULL);
    v = graph_conv(g, v, 8, UPZ_ACT_LEAKY, 1.7f, 0);
    return graph_conv(g, v, g->nodes[in].channels, UPZ_ACT_NONE, 0.4f, 0.5f);
}

/* same size, reach 26 */
static inline int graph_deep(UpzGraph *g, int in)
{
    int v = in;
    for (int i = 0; i < 25; i++) v = graph_conv(g, v, 6, UPZ_ACT_LEAKY, 2.3f, 0);
    return graph_conv(g, v, g->nodes[in].channels, UPZ_ACT_NONE, 0.8f, 0.5f);
}

static inline UprezModel *graph_model(GraphBuild build, int channels)
{
    UprezModel *m = upz_calloc(1, sizeof(*m));
    UprezError err = {0};
    assert_non_null(m);
    atomic_store(&m->refs, 1000); /* freed by graph_model_free alone */
    m->facts.input = channels == 1 ? UPREZ_INPUT_Y_FULL : UPREZ_INPUT_RGB;
    graph_seed = 7;
    int out = build(&m->graph, upz_graph_input(&m->graph, channels, &err));
    if (out < 0 || upz_graph_finish(&m->graph, out, &m->facts, &err)) fail_msg("%s", err.text);
    return m;
}

static inline void graph_model_free(UprezModel *m)
{
    upz_graph_free(&m->graph);
    upz_free(m);
}

#endif
