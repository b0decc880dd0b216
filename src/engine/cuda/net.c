/* From graph to layers: who absorbs whom, and which map a value lies in. */
#include "engine/cuda/net.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

typedef enum Kind { LEAF, ENLARGED, JOINED } Kind;

/* A value of the graph. */
typedef struct Value {
    Kind kind;
    int layer;      /* LEAF: whose result it is */
    int of, factor; /* ENLARGED: nearest neighbour of that value */
    int readers; /* and the output's */
} Value;

/* Where a layer's result lies; map -1: nowhere yet. */
typedef struct Home {
    int map, first;
} Home;

typedef struct Build {
    UpzCudaNet *net;
    const UpzGraph *g;
    Value *values;
    Home *homes[2]; /* of layers: in halves, in 8 bits */
    UprezError *err;
} Build;

static int refuse(const Build *b, int node, const char *what)
{
    return upz_fail(b->err, UPREZ_ERR_MODEL, "engine cuda has no kernel for this network: operation "
                    "%d (%s) %s", node, upz_op_name(b->g->nodes[node].op), what);
}

static UpzCudaLayer *layer_of(const Build *b, int value)
{
    return &b->net->layers[b->values[value].layer];
}

static int new_layer(Build *b, int node)
{
    UpzCudaLayer *l = &b->net->layers[b->net->n_layers];
    const UpzCudaView none = {.map = -1};
    *l = (UpzCudaLayer){.node = node, .last = node, .src = none, .dst = none, .dst8 = none,
                        .add = {none, none}, .base = none, .alpha = 1, .up = 1, .factor = 1};
    b->values[node].kind = LEAF;
    b->values[node].layer = b->net->n_layers;
    return b->net->n_layers++;
}

/* A value that lies in a map, at its own size. */
static bool is_map(const Build *b, int value)
{
    return b->values[value].kind == LEAF && !layer_of(b, value)->shuffled;
}

static int add_part(const Build *b, UpzCudaLayer *l, int node, int value)
{
    const UpzNode *n = &b->g->nodes[value];
    if (b->values[value].kind == JOINED) {
        for (int i = 0; i < n->n_src; i++) {
            int r = add_part(b, l, node, n->src[i]);
            if (r < 0) return r;
        }
        return 0;
    }
    if (b->values[value].kind == ENLARGED)
        return refuse(b, node, "reads an enlargement together with other values");
    if (!is_map(b, value)) return refuse(b, node, "follows a pixel shuffle; one may only end a network");
    if (l->n_parts == UPZ_CUDA_PARTS) return refuse(b, node, "reads more than 32 values side by side");
    l->parts[l->n_parts] = value;
    l->part_channels[l->n_parts++] = n->channels;
    const UpzCudaLayer *from = layer_of(b, value);
    if (from->load && from->dcr) l->in_dcr = n->channels / (from->factor * from->factor);
    return 0;
}

static bool act_fits(const UpzNode *n)
{
    return n->act == UPZ_ACT_NONE || n->act == UPZ_ACT_RELU || n->act == UPZ_ACT_LEAKY ||
           n->act == UPZ_ACT_PRELU;
}

/* The picture is clipped when it is stored. */
static bool clips_result(const Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    return n->act == UPZ_ACT_CLIP && n->lo == 0 && n->hi == 1 && node == b->g->output;
}

static int add_conv(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    if (n->groups != 1) return refuse(b, node, "has groups");
    if (n->stride != 1) return refuse(b, node, "has a stride");
    if (n->kernel_w != n->kernel_h || (n->kernel_w != 1 && n->kernel_w != 3))
        return refuse(b, node, "is neither 3x3 nor 1x1");
    if (n->pad_x != n->kernel_w / 2 || n->pad_y != n->kernel_h / 2)
        return refuse(b, node, "is padded by more or less than its kernel takes");
    if (!act_fits(n) && !clips_result(b, node))
        return refuse(b, node, "has an activation other than ReLU, leaky ReLU and PReLU");
    int src = n->src[0];
    UpzCudaLayer *l = &b->net->layers[new_layer(b, node)];
    if (b->values[src].kind == ENLARGED) {
        if (b->values[src].factor != 2) return refuse(b, node, "reads an enlargement by other than 2");
        l->up = 2;
        src = b->values[src].of;
    }
    int r = add_part(b, l, node, src);
    if (r < 0) return r;
    if (l->in_dcr && l->n_parts > 1) return refuse(b, node, "reads the picture in two channel orders");
    return 0;
}

/* A map whose channels are in the graph's order. */
static bool is_plain(const Build *b, int value)
{
    return is_map(b, value) && !(layer_of(b, value)->load && layer_of(b, value)->dcr);
}

/* A convolution whose result only `node` reads. */
static bool can_absorb(const Build *b, int value)
{
    const Value *v = &b->values[value];
    return v->kind == LEAF && v->readers == 1 && !layer_of(b, value)->load;
}

static int add_sum(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    int into = -1; /* which source; the later one when both can */
    for (int k = 0; k < 2; k++)
        if (can_absorb(b, n->src[k]) && n->src[0] != n->src[1] &&
            (into < 0 || layer_of(b, n->src[k])->last > layer_of(b, n->src[into])->last))
            into = k;
    if (into < 0) return refuse(b, node, "is no sum of a convolution's result and another value");
    if (n->act != UPZ_ACT_NONE && !clips_result(b, node)) return refuse(b, node, "has an activation");
    UpzCudaLayer *l = layer_of(b, n->src[into]);
    const int other = n->src[!into];
    const Value *o = &b->values[other];
    const float factor = n->alpha[!into];
    if (b->g->nodes[l->last].act != UPZ_ACT_NONE && l->last != l->node)
        return refuse(b, node, "follows a clipped value");
    l->alpha *= n->alpha[into];
    for (int k = 0; k < l->n_add; k++) l->beta[k] *= n->alpha[into];
    /* the last layer adds from the picture's map, before and without a shuffle too */
    const bool last = node == b->g->output;
    int base = -1;
    if (l->shuffled && o->kind == ENLARGED && o->factor == l->factor) base = o->of;
    if (!l->shuffled && last) base = other;
    if (base >= 0) {
        if (!is_plain(b, base) || !last || factor != 1)
            return refuse(b, node, "adds an enlarged value in a form there is no kernel for");
        l->base.map = base; /* a value, until places are known */
    } else if (l->shuffled || !is_plain(b, other)) {
        return refuse(b, node, "adds an enlarged value in a form there is no kernel for");
    } else {
        if (l->n_add == 2) return refuse(b, node, "is a third sum behind one convolution");
        l->beta[l->n_add] = factor;
        l->add[l->n_add++].map = other;
    }
    l->last = node;
    b->values[node].kind = LEAF;
    b->values[node].layer = b->values[n->src[into]].layer;
    return 0;
}

static int add_shuffle(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    const int src = n->src[0];
    if (!can_absorb(b, src) || layer_of(b, src)->shuffled)
        return refuse(b, node, "does not follow a convolution that only it reads");
    UpzCudaLayer *l = layer_of(b, src);
    l->shuffled = true;
    l->factor = n->factor;
    l->dcr = n->dcr;
    l->last = node;
    b->values[node].kind = LEAF;
    b->values[node].layer = b->values[src].layer;
    return 0;
}

static int add_node(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    Value *v = &b->values[node];
    const int src = n->n_src ? n->src[0] : -1;
    switch (n->op) {
    case UPZ_OP_INPUT: b->net->layers[new_layer(b, node)].load = true; return 0;
    case UPZ_OP_UNSHUFFLE: {
        if (b->g->nodes[src].op != UPZ_OP_INPUT) return refuse(b, node, "is not the first operation");
        UpzCudaLayer *l = &b->net->layers[new_layer(b, node)];
        l->load = true;
        l->factor = n->factor;
        l->dcr = n->dcr;
        b->values[src].readers--; /* from the picture itself */
        return 0;
    }
    case UPZ_OP_CONV: return add_conv(b, node);
    case UPZ_OP_ADD: return add_sum(b, node);
    case UPZ_OP_SHUFFLE: return add_shuffle(b, node);
    case UPZ_OP_NEAREST:
        if (b->values[src].kind == ENLARGED) return refuse(b, node, "enlarges an enlargement");
        *v = (Value){.kind = ENLARGED, .of = src, .factor = n->factor, .readers = v->readers};
        return 0;
    case UPZ_OP_CONCAT: v->kind = JOINED; return 0;
    default: return refuse(b, node, "is not among convolutions, sums, concatenations, nearest-neighbour "
                           "enlarging and pixel shuffle");
    }
}

/* ---- order and places ---- */

static int by_last(const void *a, const void *b)
{
    return ((const UpzCudaLayer *)a)->last - ((const UpzCudaLayer *)b)->last;
}

static int new_map(Build *b, int node, int chunks)
{
    const UpzNode *n = &b->g->nodes[node];
    b->net->maps[b->net->n_maps] = (UpzCudaMapUse){.chunks = chunks, .num = n->num, .den = n->den,
                                                   .first = -1};
    return b->net->n_maps++;
}

/* The values a layer reads side by side get runs of one map. */
static int place_parts(Build *b, const UpzCudaLayer *l)
{
    Home *homes = b->homes[l->eight], *first = &homes[b->values[l->parts[0]].layer];
    int map = first->map, at = first->first;
    if (map < 0) {
        int chunks = 0;
        for (int i = 0; i < l->n_parts; i++) chunks += upz_cuda_chunks(l->part_channels[i], l->eight);
        map = new_map(b, l->parts[0], chunks);
    }
    const bool fresh = first->map < 0;
    for (int i = 0; i < l->n_parts; i++) {
        Home *h = &homes[b->values[l->parts[i]].layer];
        if (fresh && h->map < 0) *h = (Home){map, at};
        if (h->map != map || h->first != at)
            return refuse(b, l->node, "reads values side by side that also stand in another order");
        at += upz_cuda_chunks(l->part_channels[i], l->eight);
    }
    return 0;
}

/* Where a value lies; it gets a map of its own if it has no place yet. */
static UpzCudaView view_of(Build *b, int value, bool eight)
{
    Home *h = &b->homes[eight][b->values[value].layer];
    const int chunks = upz_cuda_chunks(b->g->nodes[value].channels, eight);
    if (h->map < 0) *h = (Home){new_map(b, value, chunks), 0};
    return (UpzCudaView){h->map, h->first, chunks};
}

static void read_map(Build *b, const UpzCudaView *v, int layer)
{
    if (v->map >= 0) b->net->maps[v->map].last = UPZ_MAX(b->net->maps[v->map].last, layer);
}

static void write_map(Build *b, const UpzCudaView *v, int layer)
{
    if (v->map < 0) return;
    UpzCudaMapUse *m = &b->net->maps[v->map];
    if (m->first < 0) m->first = layer;
    m->last = UPZ_MAX(m->last, layer);
}

/* Convolutions of 8 bits: not the picture's own, which has few channels, nor the one that makes the result. */
static void choose_eight(Build *b)
{
    for (int i = 0; i < b->net->n_layers; i++) {
        UpzCudaLayer *l = &b->net->layers[i];
        bool load = l->load;
        for (int k = 0; k < l->n_parts; k++) load |= layer_of(b, l->parts[k])->load;
        l->eight = !load && i != b->values[b->g->output].layer;
    }
}

static int place(Build *b, bool eight)
{
    UpzCudaNet *net = b->net;
    if (eight) choose_eight(b);
    for (int i = 0; i < net->n_layers; i++) b->homes[0][i].map = b->homes[1][i].map = -1;
    for (int n = UPZ_CUDA_PARTS; n > 1; n--)
        for (int i = 0; i < net->n_layers; i++)
            if (net->layers[i].n_parts == n) {
                int r = place_parts(b, &net->layers[i]);
                if (r < 0) return r;
            }
    for (int i = 0; i < net->n_layers; i++) {
        UpzCudaLayer *l = &net->layers[i];
        for (int k = 0; k < l->n_parts; k++) {
            const UpzCudaView v = view_of(b, l->parts[k], l->eight);
            if (!k) l->src = v;
            else l->src.chunks += v.chunks;
            l->part_layer[k] = b->values[l->parts[k]].layer;
        }
        for (int k = 0; k < l->n_add; k++) l->add[k] = view_of(b, l->add[k].map, false);
        if (l->base.map >= 0) l->base = view_of(b, l->base.map, false);
    }
    for (int i = 0; i < net->n_layers; i++) {
        UpzCudaLayer *l = &net->layers[i];
        const int last = l->last;
        if (i == b->values[b->g->output].layer) continue;
        if (b->homes[1][i].map >= 0) l->dst8 = view_of(b, last, true);
        if (b->homes[0][i].map >= 0 || l->dst8.map < 0) l->dst = view_of(b, last, false);
    }
    /* in the order they run; parts tell their layers by the new numbers */
    int *number = upz_calloc((size_t)net->n_layers, sizeof(*number));
    if (!number)
        return upz_fail_memory(b->err, (size_t)net->n_layers * sizeof(*number), "the list of layers");
    for (int i = 0; i < net->n_layers; i++)
        for (int k = 0; k < net->n_layers; k++) number[i] += net->layers[k].last < net->layers[i].last;
    for (int i = 0; i < net->n_layers; i++)
        for (int k = 0; k < net->layers[i].n_parts; k++)
            net->layers[i].part_layer[k] = number[net->layers[i].part_layer[k]];
    upz_free(number);
    qsort(net->layers, (size_t)net->n_layers, sizeof(*net->layers), by_last);
    for (int i = 0; i < net->n_layers; i++) {
        const UpzCudaLayer *l = &net->layers[i];
        read_map(b, &l->src, i);
        read_map(b, &l->base, i);
        for (int k = 0; k < l->n_add; k++) read_map(b, &l->add[k], i);
        write_map(b, &l->dst, i);
        write_map(b, &l->dst8, i);
    }
    return 0;
}

static int check_end(const Build *b)
{
    const int out = b->g->output;
    if (b->values[out].kind != LEAF || layer_of(b, out)->load)
        return refuse(b, out, "does not end in a convolution");
    if (b->values[out].readers != 1) return refuse(b, out, "is the result and read again");
    if (layer_of(b, out)->n_add) return refuse(b, out, "adds feature maps to the picture");
    return 0;
}

/* Loads of the picture that nothing reads. */
static void drop_unread(Build *b)
{
    UpzCudaNet *net = b->net;
    for (size_t i = 0; i < b->g->n_nodes; i++) {
        if (b->g->nodes[i].op != UPZ_OP_INPUT || b->values[i].readers) continue;
        const int gone = b->values[i].layer;
        memmove(&net->layers[gone], &net->layers[gone + 1],
                (size_t)(net->n_layers - gone - 1) * sizeof(*net->layers));
        net->n_layers--;
        for (size_t k = 0; k < b->g->n_nodes; k++)
            if (b->values[k].kind == LEAF && b->values[k].layer > gone) b->values[k].layer--;
    }
}

int upz_cuda_net_build(UpzCudaNet *net, const UpzGraph *g, bool eight, UprezError *err)
{
    *net = (UpzCudaNet){.graph = g};
    const size_t n = g->n_nodes;
    Build b = {.net = net, .g = g, .err = err, .values = upz_calloc(n, sizeof(Value)),
               .homes = {upz_calloc(n, sizeof(Home)), upz_calloc(n, sizeof(Home))}};
    net->layers = upz_calloc(n, sizeof(*net->layers));
    net->maps = upz_calloc(2 * n, sizeof(*net->maps));
    int r = 0;
    if (!b.values || !b.homes[0] || !b.homes[1] || !net->layers || !net->maps)
        r = upz_fail_memory(err, n * (sizeof(Value) + sizeof(*net->layers)), "the list of layers");
    if (!r) {
        for (size_t i = 0; i < n; i++)
            for (int k = 0; k < g->nodes[i].n_src; k++) b.values[g->nodes[i].src[k]].readers++;
        b.values[g->output].readers++;
        net->planes = g->nodes[g->output].channels;
    }
    for (size_t i = 0; i < n && r >= 0; i++) r = add_node(&b, (int)i);
    if (r >= 0) r = check_end(&b);
    if (r >= 0) {
        drop_unread(&b);
        r = place(&b, eight);
    }
    upz_free(b.values);
    upz_free(b.homes[0]);
    upz_free(b.homes[1]);
    if (r < 0) upz_cuda_net_free(net);
    return r;
}

void upz_cuda_net_free(UpzCudaNet *net)
{
    upz_free(net->layers);
    upz_free(net->maps);
    *net = (UpzCudaNet){0};
}
