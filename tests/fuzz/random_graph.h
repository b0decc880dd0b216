/* Small random networks of every operation. Sizes of maps stay between 1/6 and 6 times the input's. */
#ifndef RANDOM_GRAPH_H
#define RANDOM_GRAPH_H

#include "chance.h"
#include "unit/test_graphs.h"

static inline void random_act(UpzGraph *g, UpzNode *n, int channels)
{
    n->act = once_in(2) ? UPZ_ACT_LEAKY : (UpzAct)draw(UPZ_ACT_CLIP + 1);
    n->slope = 0.2f;
    n->lo = -0.4f;
    n->hi = 0.8f;
    if (n->act == UPZ_ACT_PRELU) n->slopes = graph_tensor(g, 1, (int64_t[]){channels}, 0.3f, 0.1f);
    if (n->act) say(" %s", upz_act_name(n->act));
}

static inline UpzNode conv(UpzGraph *g, int src, int out, int kw, int kh, int stride, int groups)
{
    const int in = g->nodes[src].channels / groups;
    UpzNode n = upz_node(UPZ_OP_CONV);
    n.src[0] = src;
    n.stride = stride;
    n.groups = groups;
    n.pad_x = kw / 2;
    n.pad_y = kh / 2;
    n.weights = graph_tensor(g, 4, (int64_t[]){out, in, kh, kw}, 1.7f / sqrtf((float)(in * kw * kh)), 0);
    n.bias = graph_tensor(g, 1, (int64_t[]){out}, 0.1f, 0);
    say(" conv %dx%d %d", kw, kh, out);
    if (stride > 1) say(" /%d", stride);
    if (groups > 1) say(" in %d groups", groups);
    return n;
}

static inline UpzNode deconv(UpzGraph *g, int src)
{
    const int in = g->nodes[src].channels, out = 1 + draw(8), k = 3 + draw(4);
    UpzNode n = upz_node(UPZ_OP_DECONV);
    n.src[0] = src;
    n.stride = 2 + draw(2);
    n.pad_x = n.pad_y = k / 2;
    n.weights = graph_tensor(g, 4, (int64_t[]){in, out, k, k}, 3.4f / sqrtf((float)(in * k * k)), 0);
    n.bias = graph_tensor(g, 1, (int64_t[]){out}, 0.1f, 0);
    say(" deconv %d %d *%d", k, out, n.stride);
    random_act(g, &n, out);
    return n;
}

static inline UpzNode resize(int src, bool bigger)
{
    UpzNode n = upz_node(UPZ_OP_RESIZE);
    n.src[0] = src;
    n.resize_num = 2 + draw(2);
    n.resize_den = 1 + draw(n.resize_num - 1);
    if (!bigger) {
        n.resize_den = n.resize_num;
        n.resize_num = 1 + draw(n.resize_den - 1);
    }
    n.filter = (UpzFilter)draw(3);
    say(" resize %d/%d by filter %d", n.resize_num, n.resize_den, (int)n.filter);
    return n;
}

static inline int factor_node(UpzGraph *g, UpzOp op, int src, int factor)
{
    UpzNode n = upz_node(op);
    n.src[0] = src;
    n.factor = factor;
    n.dcr = once_in(4);
    say(" %s %d%s", upz_op_name(op), factor, n.dcr ? " dcr" : "");
    return upz_graph_add(g, &n, NULL);
}

/* One more layer on value v, or v where none of that kind fits; below 0: refused. kept: an earlier value. */
static inline int layer(UpzGraph *g, int v, int kept)
{
    const UpzNode at = g->nodes[v], other = g->nodes[kept];
    const bool alike = kept != v && other.num == at.num && other.den == at.den;
    const bool grows = at.num <= 2, shrinks = at.den <= 2;
    const int kw = 1 + 2 * draw(3);
    const int kh = 1 + 2 * draw(4);
    int stride;
    UpzNode n = upz_node(UPZ_OP_ACT);
    n.src[0] = v;
    switch (draw(14)) {
    case 0:
        if (!shrinks) return v;
        stride = 2 + draw(2);
        n = conv(g, v, 1 + draw(12), kw, kh, stride, 1);
        break;
    case 1: return shrinks && at.channels <= 16 ? factor_node(g, UPZ_OP_UNSHUFFLE, v, 2) : v;
    case 2: return grows ? factor_node(g, UPZ_OP_NEAREST, v, 2 + draw(2)) : v;
    case 3:
        if (!grows) return v;
        n = conv(g, v, 4 * (1 + draw(4)), 3, 3, 1, 1);
        return factor_node(g, UPZ_OP_SHUFFLE, upz_graph_add(g, &n, NULL), 2);
    case 4:
        if (!grows && !shrinks) return v;
        n = resize(v, !shrinks || (grows && !once_in(3)));
        return upz_graph_add(g, &n, NULL);
    case 5:
        if (!grows) return v;
        n = deconv(g, v);
        return upz_graph_add(g, &n, NULL);
    case 6: n = conv(g, v, at.channels, kw, kh, 1, at.channels); break;
    case 7:
        if (!alike) return v;
        say(" concat");
        return upz_graph_concat(g, (int[]){kept, v}, 2, NULL);
    case 8:
        if (!alike) return v;
        n = conv(g, kept, at.channels, 1, 1, 1, 1);
        kept = upz_graph_add(g, &n, NULL);
        say(" combine");
        return upz_graph_binary(g, once_in(2) ? UPZ_OP_ADD : UPZ_OP_MUL, v, kept, 0.8f, 0.5f, NULL);
    case 9:
        n.op = once_in(2) ? UPZ_OP_ACT : UPZ_OP_AFFINE;
        n.alpha[0] = 1.3f;
        n.alpha[1] = -0.2f;
        if (n.op == UPZ_OP_AFFINE && once_in(2)) {
            n.weights = graph_tensor(g, 1, (int64_t[]){at.channels}, 0.5f, 1);
            n.bias = graph_tensor(g, 1, (int64_t[]){at.channels}, 0.5f, 0);
        }
        say(" %s", upz_op_name(n.op));
        break;
    case 10:
        n.op = UPZ_OP_SLICE;
        n.first = draw(at.channels);
        n.channels = 1 + draw(at.channels - n.first);
        say(" slice %d %d", n.first, n.channels);
        return upz_graph_add(g, &n, NULL);
    case 11: n = conv(g, v, 1 + draw(12), kw, kh, 1, 1); break;
    default: n = conv(g, v, 1 + draw(18), 3, 3, 1, 1);
    }
    random_act(g, &n, n.op == UPZ_OP_CONV ? (int)g->tensors[n.weights].dims[0] : at.channels);
    return upz_graph_add(g, &n, NULL);
}

/* Not a number where v is 1, else v. */
static inline int fail_at_one(UpzGraph *g, int v)
{
    int high = v;
    for (int i = 0; i < 3; i++) { /* above 0.95, much more, infinite */
        UpzNode n = upz_node(UPZ_OP_AFFINE);
        n.src[0] = high;
        n.alpha[0] = i ? 3e38f : 1;
        n.alpha[1] = i ? 0 : -0.95f;
        if (!i) n.act = UPZ_ACT_RELU;
        high = upz_graph_add(g, &n, NULL);
    }
    say(" fails at 1");
    return upz_graph_binary(g, UPZ_OP_ADD, v, high, 1, 0, NULL);
}

/* NULL: the graph refuses it. Results lie around 0.5: stored pictures are clipped. fragile: it may fail where
 * a value is 1. */
static inline UprezModel *random_network(bool fragile)
{
    UprezModel *m = upz_calloc(1, sizeof(*m));
    assert_non_null(m);
    atomic_store(&m->refs, 1000); /* freed by graph_model_free alone */
    graph_seed = (uint32_t)draw(1 << 20);
    m->facts.input = once_in(4) ? UPREZ_INPUT_Y_FULL + draw(2) : UPREZ_INPUT_RGB;
    m->graph.pad_mode = (UpzPadMode)draw(3);
    UpzGraph *g = &m->graph;
    say(" [input %d pad %d", m->facts.input, (int)g->pad_mode);
    int v = upz_graph_input(g, m->facts.input == UPREZ_INPUT_RGB ? 3 : 1, NULL);
    if (fragile) v = fail_at_one(g, v);
    int kept = v;
    for (int more = 1 + draw(7); more > 0 && v >= 0; more--) {
        const int before = v;
        v = layer(g, v, kept);
        if (once_in(3)) kept = before;
    }
    if (v >= 0) {
        UpzNode n = conv(g, v, g->nodes[0].channels, 3, 3, 1, 1);
        UpzTensor *w = &g->tensors[n.weights], *b = &g->tensors[n.bias];
        for (int64_t i = 0; i < w->count; i++) w->data[i] *= 0.3f;
        for (int64_t i = 0; i < b->count; i++) b->data[i] += 0.5f;
        v = upz_graph_add(g, &n, NULL);
    }
    say("]");
    if (upz_graph_finish(g, v, &m->facts, NULL) >= 0) return m;
    graph_model_free(m);
    return NULL;
}

/* Multiply-adds for a source pixel, and something for each of the result's. */
static inline double work_of(const UprezModelFacts *f)
{
    const double scale = (double)f->scale_num / f->scale_den;
    return (double)f->macs + 100 * scale * scale;
}

#endif
