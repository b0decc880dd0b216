/* From graph to stages: what is computed where, what is fused into what, and where strips lie. */
#include "engine/cpu/program.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/cpu/conv.h"
#include "engine/cpu/half_gemm.h"
#include "engine/cpu/pack.h"
#include "engine/cpu/tiles.h"
#include "engine/cpu/tiles_int8.h"

/* A graph value while building: the views that hold it. n = 0: not there (absorbed). */
typedef struct Value {
    UpzMapView views[UPZ_MAX_SRC];
    int n;
    int readers; /* nodes that read it, and the output */
    bool for_several; /* only read by convolutions that take several maps side by side */
    bool for_enlarged; /* and enlarged ones */
    bool absorbed;
} Value;

typedef struct Build {
    UpzProgram *p;
    const UpzGraph *g;
    Value *values;
    const UpzProgramParams *params;
    UprezError *err;
} Build;

/* ---- facts about nodes ---- */

static const float *data(const Build *b, int tensor)
{
    return tensor == UPZ_NO_TENSOR ? NULL : b->g->tensors[tensor].data;
}

static int64_t count(const Build *b, int tensor)
{
    return tensor == UPZ_NO_TENSOR ? 0 : b->g->tensors[tensor].count;
}

static const UpzConvOps *conv_of(const Build *b, const UpzNode *n)
{
    const UpzConvShape shape = upz_conv_shape(b->g, n);
    UpzType narrowest = b->params->narrowest;
    if (narrowest == UPZ_TYPE_S8 && b->params->wide[n - b->g->nodes]) narrowest = UPZ_TYPE_BF16;
    return upz_conv_choose(&shape, b->params->features, narrowest, b->params->halves);
}

static bool is_slope(UpzAct act)
{
    return act == UPZ_ACT_RELU || act == UPZ_ACT_LEAKY || act == UPZ_ACT_PRELU;
}

static int shift_of(int factor)
{
    for (int s = 0; s < 4; s++)
        if (factor == 1 << s) return s;
    return -1;
}

static bool is_virtual(const Build *b, int value)
{
    const UpzNode *n = &b->g->nodes[value];
    const Value *v = &b->values[value];
    if (n->op == UPZ_OP_NEAREST) return v->for_enlarged && shift_of(n->factor) >= 0;
    return (n->op == UPZ_OP_CONCAT || n->op == UPZ_OP_SLICE) && v->for_several;
}

static void note_readers(Build *b)
{
    for (size_t i = 0; i < b->g->n_nodes; i++)
        b->values[i].for_several = b->values[i].for_enlarged = (int)i != b->g->output;
    b->values[b->g->output].readers = 1;
    for (size_t i = 0; i < b->g->n_nodes; i++) {
        const UpzNode *n = &b->g->nodes[i];
        const bool conv = n->op == UPZ_OP_CONV || n->op == UPZ_OP_DECONV;
        const UpzConvOps *way = conv ? conv_of(b, n) : NULL;
        for (int k = 0; k < n->n_src; k++) {
            Value *v = &b->values[n->src[k]];
            v->readers++;
            v->for_several &= way && way->several;
            v->for_enlarged &= way && way->enlarged;
        }
    }
}

/* ---- stages ---- */

static UpzStage *new_stage(Build *b, UpzStageKind kind, int node)
{
    UpzProgram *p = b->p;
    size_t cap = (size_t)p->cap_stages;
    if (!upz_grow(&p->stages, &cap, (size_t)p->n_stages + 1, sizeof(*p->stages),
                  2 * UPZ_MAX_NODES)) {
        upz_fail_memory(b->err, cap * sizeof(*p->stages), "the network's stages");
        return NULL;
    }
    p->cap_stages = (int)cap;
    UpzStage *s = &p->stages[p->n_stages++];
    *s = (UpzStage){.kind = kind, .node = node, .factor = 1, .stride = 1, .alpha = 1, .beta = 1,
                    .tile = 1, .value = -1};
    const UpzNode *n = &b->g->nodes[node];
    s->channels = n->channels;
    s->pitch = UPZ_ROUND_UP(n->channels, p->group);
    s->num = n->num, s->den = n->den;
    return s;
}

static void add_views(UpzStage *s, const Value *v)
{
    memcpy(s->views + s->n_views, v->views, (size_t)v->n * sizeof(*v->views));
    s->n_views += v->n;
}

static Value whole(const UpzProgram *p, int stage)
{
    Value v = {.n = 1, .views = {{stage, 0, p->stages[stage].channels, 1}}};
    return v;
}

static void set_value(Build *b, int node, int stage)
{
    Value v = whole(b->p, stage);
    b->values[node].n = v.n;
    b->values[node].views[0] = v.views[0];
    /* a transposed convolution's map is not the node's before its channels are shuffled */
    if (b->p->stages[stage].channels == b->g->nodes[node].channels) b->p->stages[stage].value = node;
}

static bool is_whole(const UpzProgram *p, const Value *v)
{
    return v->n == 1 && v->views[0].first == 0 && v->views[0].up == 1 &&
           v->views[0].channels == p->stages[v->views[0].stage].channels;
}

/* Where a stage's map ends when the input ends at row and column -1. */
static int end_of(const UpzProgram *p, const UpzStage *s, int axis)
{
    int end = 0;
    for (int k = 0; k < s->n_views; k++) {
        const UpzStage *src = &p->stages[s->views[k].stage];
        const int limit = axis ? src->end_y : src->end_x;
        const int64_t num = (int64_t)s->num * src->den, den = (int64_t)s->den * src->num;
        int at = (int)(limit * num / den) + 8 + (int)(num / den) + s->kernel_w + s->kernel_h;
        for (;; at--) {
            int first, last;
            upz_stage_need(p, s, k, axis, at, &first, &last);
            if (last <= limit) break;
        }
        if (!k || at < end) end = at;
    }
    return end;
}

static void place(const UpzProgram *p, UpzStage *s)
{
    s->end_x = s->end_y = -1;
    if (s->kind == UPZ_STAGE_LOAD) return;
    s->tile = 1; /* tiles are placed by this */
    s->end_x = end_of(p, s, 0);
    s->end_y = end_of(p, s, 1);
    if (s->conv) s->tile = s->conv->tile;
}

static int no_memory(Build *b, const UpzStage *s)
{
    return upz_fail(b->err, UPREZ_ERR_MEMORY, "out of memory for the weights of layer %d (%d "
                    "channels to %d)", s->node, s->in, s->channels);
}

static int add_act(Build *b, UpzStage *s, const UpzNode *n)
{
    if (n->act == UPZ_ACT_NONE) return 0;
    UpzPost post = {.lo = n->lo, .hi = n->hi};
    switch (n->act) {
    case UPZ_ACT_SIGMOID: post.curve = UPZ_CURVE_SIGMOID; break;
    case UPZ_ACT_TANH: post.curve = UPZ_CURVE_TANH; break;
    case UPZ_ACT_SILU: post.curve = UPZ_CURVE_SILU; break;
    case UPZ_ACT_GELU: post.curve = UPZ_CURVE_GELU; break;
    case UPZ_ACT_CLIP: post.curve = UPZ_CURVE_CLIP; break;
    default: break;
    }
    post.kind = is_slope(n->act) ? UPZ_POST_SLOPE : UPZ_POST_CURVE;
    if (post.kind == UPZ_POST_SLOPE) {
        post.scale = upz_pack_channels(data(b, n->slopes), count(b, n->slopes), s->channels, s->pitch,
                                       n->act == UPZ_ACT_LEAKY ? n->slope : 0, &b->p->bytes);
        if (!post.scale) return no_memory(b, s);
    }
    s->posts[s->n_posts++] = post;
    return 0;
}

/* values expanded to `times` copies of each, for the channels of a transposed convolution. */
static float *pack_repeated(Build *b, const float *values, int64_t have, int n, int times,
                            float otherwise)
{
    const int pitch = UPZ_ROUND_UP(n * times, b->p->group);
    float *packed = upz_pack_channels(NULL, 0, n * times, pitch, otherwise, &b->p->bytes);
    if (packed && values)
        for (int c = 0; c < n * times; c++) packed[c] = values[have == 1 ? 0 : c / times];
    return packed;
}

#define ROOM 1.0f /* for values beyond those of the pictures of contrasts: none, which costs less than it spares */

/* What 1 of an int8 map stands for, by channel of all the stage's inputs; the maps get the inverse. NULL: memory
 * is short. */
static float *take_factors(Build *b, UpzStage *s)
{
    const UpzRanges *r = b->params->ranges;
    float *factors = upz_pack_zeros((size_t)s->in, NULL), *to = factors;
    for (int k = 0; factors && k < s->n_inputs; k++) {
        const UpzMapView *v = &s->views[k];
        UpzStage *from = &b->p->stages[v->stage];
        const float *most = r->most + r->at[from->value];
        if (!from->inverse)
            from->inverse = upz_pack_zeros((size_t)UPZ_ROUND_UP(from->pitch, b->p->group), &b->p->bytes);
        for (int c = 0; from->inverse && c < from->channels; c++)
            from->inverse[c] = 1 / upz_quant_factor(most[c], ROOM, UPZ_INT8_LARGEST);
        for (int c = 0; c < v->channels; c++)
            *to++ = upz_quant_factor(most[v->first + c], ROOM, UPZ_INT8_LARGEST);
        if (from->inverse) continue;
        upz_free_aligned(factors);
        factors = NULL;
    }
    return factors;
}

static int build_conv(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    const bool deconv = n->op == UPZ_OP_DECONV;
    UpzStage *s = new_stage(b, UPZ_STAGE_CONV, node);
    if (!s) return UPREZ_ERR_MEMORY;
    s->conv = conv_of(b, n);
    add_views(s, &b->values[n->src[0]]);
    s->n_inputs = s->n_views;
    s->in = b->g->nodes[n->src[0]].channels;
    s->kernel_w = n->kernel_w, s->kernel_h = n->kernel_h;
    s->stride = n->stride, s->pad_x = n->pad_x, s->pad_y = n->pad_y;
    const float *weights = data(b, n->weights);
    float *dense = NULL;
    const int times = deconv ? n->stride * n->stride : 1;
    if (deconv) {
        const UpzNode *src = &b->g->nodes[n->src[0]];
        s->num = src->num, s->den = src->den;
        s->channels = n->channels * times;
        s->pitch = UPZ_ROUND_UP(s->channels, b->p->group);
        dense = upz_dense_deconv(s, n, weights);
    } else if (n->groups > 1 && !s->conv->grouped) {
        dense = upz_dense_groups(s, n, weights);
    }
    if (dense) weights = dense;
    else if (deconv || (n->groups > 1 && !s->conv->grouped)) return no_memory(b, s);
    float *factors = s->conv->in == UPZ_TYPE_S8 ? take_factors(b, s) : NULL;
    if (factors || s->conv->in != UPZ_TYPE_S8)
        s->weights = s->conv->pack(b->p, s, weights, factors, &b->p->bytes);
    upz_free_aligned(factors);
    upz_free_aligned(dense);
    s->bias = pack_repeated(b, data(b, n->bias), count(b, n->bias), n->channels, times, 0);
    if (!s->weights || !s->bias) return no_memory(b, s);
    if (is_slope(n->act)) {
        s->slope = pack_repeated(b, data(b, n->slopes), count(b, n->slopes), n->channels, times,
                                 n->act == UPZ_ACT_LEAKY ? n->slope : 0);
        if (!s->slope) return no_memory(b, s);
    } else if (add_act(b, s, n)) {
        return UPREZ_ERR_MEMORY;
    }
    place(b->p, s);
    const int conv = b->p->n_stages - 1;
    if (!deconv || n->stride == 1 ||
        (node == b->g->output && b->values[node].readers == 1)) {
        set_value(b, node, conv); /* the last stage shuffles by itself */
        return 0;
    }
    UpzStage *t = new_stage(b, UPZ_STAGE_SHUFFLE, node);
    if (!t) return UPREZ_ERR_MEMORY;
    Value v = whole(b->p, conv);
    add_views(t, &v);
    t->n_inputs = 1;
    t->factor = n->stride;
    place(b->p, t);
    set_value(b, node, b->p->n_stages - 1);
    return 0;
}

/* ADD, MUL, AFFINE and ACT: as posts of the stage that makes an operand when nothing else reads it
 * and the other operand is there by then; else a stage of their own. */
static int build_point(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    const bool binary = n->op == UPZ_OP_ADD || n->op == UPZ_OP_MUL;
    UpzStage *s = NULL;
    int own = 0;
    for (int k = 0; k < n->n_src && !s; k++) {
        const Value *v = &b->values[n->src[k]];
        const Value *o = binary ? &b->values[n->src[1 - k]] : NULL;
        UpzStage *t = &b->p->stages[v->views[0].stage];
        const bool kind = t->kind == UPZ_STAGE_CONV || t->kind == UPZ_STAGE_POINT;
        if (v->readers != 1 || !kind || t->channels != n->channels || n->src[k] == b->g->output)
            continue;
        if (t->n_posts + 2 > UPZ_STAGE_POSTS || t->n_views == UPZ_STAGE_VIEWS) continue;
        if (o && o->views[0].stage >= v->views[0].stage) continue;
        s = t;
        own = k;
    }
    if (!s) {
        s = new_stage(b, UPZ_STAGE_POINT, node);
        if (!s) return UPREZ_ERR_MEMORY;
        add_views(s, &b->values[n->src[0]]);
        s->n_inputs = 1;
    }
    UpzPost post = {.alpha = n->alpha[own], .beta = n->alpha[1 - own]};
    if (binary) {
        post.kind = n->op == UPZ_OP_ADD ? UPZ_POST_ADD : UPZ_POST_MUL;
        post.view = s->n_views;
        add_views(s, &b->values[n->src[1 - own]]);
        s->posts[s->n_posts++] = post;
    } else if (n->op == UPZ_OP_AFFINE) {
        const bool tensors = n->weights != UPZ_NO_TENSOR || n->bias != UPZ_NO_TENSOR;
        post.kind = UPZ_POST_AFFINE;
        post.scale = upz_pack_channels(data(b, n->weights), count(b, n->weights), n->channels, s->pitch,
                                       tensors ? 1 : n->alpha[0], &b->p->bytes);
        post.shift = upz_pack_channels(data(b, n->bias), count(b, n->bias), n->channels, s->pitch,
                                       tensors ? 0 : n->alpha[1], &b->p->bytes);
        s->posts[s->n_posts++] = post;
        if (!post.scale || !post.shift) return no_memory(b, s);
    }
    if (add_act(b, s, n)) return UPREZ_ERR_MEMORY;
    place(b->p, s);
    set_value(b, node, (int)(s - b->p->stages));
    return 0;
}

static int build_rows(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    UpzStage *s = new_stage(b, n->op == UPZ_OP_SHUFFLE     ? UPZ_STAGE_SHUFFLE
                               : n->op == UPZ_OP_UNSHUFFLE ? UPZ_STAGE_UNSHUFFLE
                               : n->op == UPZ_OP_RESIZE    ? UPZ_STAGE_RESIZE
                                                           : UPZ_STAGE_GATHER, node);
    if (!s) return UPREZ_ERR_MEMORY;
    s->factor = n->factor;
    s->dcr = n->dcr;
    for (int k = 0; k < n->n_src; k++) add_views(s, &b->values[n->src[k]]);
    if (n->op == UPZ_OP_SLICE) s->views[0].first += n->first, s->views[0].channels = n->channels;
    if (n->op == UPZ_OP_NEAREST) s->views[0].up = n->factor;
    s->n_inputs = s->n_views;
    place(b->p, s);
    set_value(b, node, b->p->n_stages - 1);
    return 0;
}

static int build_virtual(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    Value *v = &b->values[node];
    v->n = 0;
    for (int k = 0; k < n->n_src; k++) {
        const Value *src = &b->values[n->src[k]];
        if (v->n + src->n > UPZ_MAX_SRC || !is_whole(b->p, src)) return build_rows(b, node);
        /* whole vectors are read: they must not reach into the next pixel */
        if (n->op == UPZ_OP_SLICE && n->first + UPZ_ROUND_UP(n->channels, b->p->group) >
                                         b->p->stages[src->views[0].stage].pitch)
            return build_rows(b, node);
        memcpy(v->views + v->n, src->views, (size_t)src->n * sizeof(*src->views));
        v->n += src->n;
    }
    if (n->op == UPZ_OP_SLICE) v->views[0].first = n->first, v->views[0].channels = n->channels;
    if (n->op == UPZ_OP_NEAREST) v->views[0].up = n->factor;
    return 0;
}

/* ---- the end: SHUFFLE, an enlarged base and their sum join the stage that makes planar rows ---- */

typedef struct Tail {
    int main, shuffle, base; /* values; shuffle -1: none; base -1: none */
    int factor, base_up;
    bool dcr;
    float alpha, beta;
} Tail;

static bool shuffled(const Build *b, int value, Tail *t)
{
    const UpzNode *n = &b->g->nodes[value];
    t->main = value, t->factor = 1, t->dcr = false;
    if (n->op == UPZ_OP_SHUFFLE && b->values[value].readers == 1) {
        t->main = n->src[0], t->factor = n->factor, t->dcr = n->dcr;
        t->shuffle = value;
        return true;
    }
    return false;
}

static Tail find_tail(Build *b)
{
    const int out = b->g->output;
    const UpzNode *n = &b->g->nodes[out];
    Tail t = {.base = -1, .shuffle = -1, .base_up = 1, .alpha = 1, .beta = 1};
    /* stored rows are clipped to 0..1 anyway */
    const bool clipped = n->act == UPZ_ACT_CLIP && n->lo <= 0 && n->hi >= 1;
    if (n->op == UPZ_OP_ADD && (n->act == UPZ_ACT_NONE || clipped)) {
        for (int k = 0; k < 2; k++) {
            int base = n->src[1 - k];
            const UpzNode *e = &b->g->nodes[base];
            if (!shuffled(b, n->src[k], &t)) continue;
            t.base = base;
            t.alpha = n->alpha[k], t.beta = n->alpha[1 - k];
            if (e->op == UPZ_OP_NEAREST && e->factor == t.factor &&
                b->values[base].readers == 1) {
                t.base_up = e->factor;
                t.base = e->src[0];
                b->values[base].absorbed = true;
            }
            b->values[out].absorbed = b->values[t.shuffle].absorbed = true;
            b->values[t.main].for_several = b->values[t.main].for_enlarged = false;
            b->values[t.base].for_several = b->values[t.base].for_enlarged = false;
            return t;
        }
    }
    t.shuffle = -1;
    if (shuffled(b, out, &t)) {
        b->values[out].absorbed = true;
        b->values[t.main].for_several = b->values[t.main].for_enlarged = false;
    } else if (n->op == UPZ_OP_DECONV && n->stride > 1 && b->values[out].readers == 1) {
        t.factor = n->stride;
    }
    return t;
}

static int build_tail(Build *b, const Tail *t)
{
    const UpzNode *out = &b->g->nodes[b->g->output];
    UpzStage *s = new_stage(b, UPZ_STAGE_PLANAR, b->g->output);
    if (!s) return UPREZ_ERR_MEMORY;
    add_views(s, &b->values[t->main]);
    if (t->base >= 0) {
        add_views(s, &b->values[t->base]);
        s->views[1].up = t->base_up;
    }
    s->n_inputs = s->n_views;
    s->factor = t->factor;
    s->dcr = t->dcr;
    s->alpha = t->alpha, s->beta = t->beta;
    s->channels = out->channels;
    place(b->p, s);
    const int planar = b->p->n_stages - 1, end_x = s->end_x, end_y = s->end_y;
    UpzStage *e = new_stage(b, UPZ_STAGE_STORE, b->g->output);
    if (!e) return UPREZ_ERR_MEMORY;
    Value v = whole(b->p, planar);
    add_views(e, &v);
    e->n_inputs = 1;
    e->end_x = end_x, e->end_y = end_y;
    return 0;
}

static int build_node(Build *b, int node)
{
    const UpzNode *n = &b->g->nodes[node];
    if (b->values[node].absorbed) return 0;
    switch (n->op) {
    case UPZ_OP_INPUT: {
        UpzStage *s = new_stage(b, UPZ_STAGE_LOAD, node);
        if (!s) return UPREZ_ERR_MEMORY;
        s->pitch = s->channels;
        place(b->p, s);
        set_value(b, node, 0);
        return 0;
    }
    case UPZ_OP_CONV: case UPZ_OP_DECONV: return build_conv(b, node);
    case UPZ_OP_ADD: case UPZ_OP_MUL: case UPZ_OP_AFFINE: case UPZ_OP_ACT:
        return build_point(b, node);
    default: return is_virtual(b, node) ? build_virtual(b, node) : build_rows(b, node);
    }
}

/* Maps become narrow where whatever reads them as an input reads such maps; what reads them in its posts
 * widens them. */
static void choose_types(UpzProgram *p)
{
    for (int i = 1; i < p->n_stages; i++) {
        UpzStage *s = &p->stages[i];
        const UpzType in = s->conv ? s->conv->in : UPZ_TYPE_F32;
        for (int k = 0; k < s->n_inputs; k++) p->stages[s->views[k].stage].read_as |= 1u << in;
        for (int k = s->n_inputs; k < s->n_views; k++) p->stages[s->views[k].stage].added = true;
    }
    for (int i = 1; i < p->n_stages; i++) {
        UpzStage *s = &p->stages[i];
        if (s->read_as && !(s->read_as & 1u << UPZ_TYPE_F32)) s->type = UPZ_TYPE_BF16;
        /* sums of layers need more than 8 bits */
        if (s->read_as == 1u << UPZ_TYPE_S8 && !s->added) s->type = UPZ_TYPE_S8;
    }
    for (int i = 1; i < p->n_stages; i++)
        if (p->stages[i].conv && p->stages[i].conv->settle) p->stages[i].conv->settle(p, &p->stages[i]);
}

int upz_program_build(UpzProgram *p, const UpzGraph *g, const UpzProgramParams *params, UprezError *err)
{
    *p = (UpzProgram){.graph = g, .group = UPZ_CPU_GROUP, .tiles = upz_tile_kernels(params->features),
                      .tiles8 = upz_tile8_kernels(params->features),
                      .multiply = upz_half_multiply(params->features)};
    for (const UpzConvOps *const *way = upz_conv_ways; *way; way++)
        if ((*way)->in <= params->narrowest && upz_conv_offered(*way, params->features))
            p->group = UPZ_MAX(p->group, (*way)->group);
    Build b = {p, g, upz_calloc(g->n_nodes, sizeof(Value)), params, err};
    if (!b.values) return upz_fail_memory(err, g->n_nodes * sizeof(Value), "the network's values");
    p->channels = g->nodes[g->output].channels;
    note_readers(&b);
    Tail tail = find_tail(&b);
    int r = 0;
    for (size_t i = 0; i < g->n_nodes && !r; i++) r = build_node(&b, (int)i);
    if (!r) r = build_tail(&b, &tail);
    if (!r) choose_types(p);
    upz_free(b.values);
    if (r) upz_program_free(p);
    return r;
}

void upz_program_free(UpzProgram *p)
{
    for (int i = 0; i < p->n_stages; i++) {
        UpzStage *s = &p->stages[i];
        upz_free_aligned(s->weights);
        upz_free_aligned(s->bias);
        upz_free_aligned(s->slope);
        upz_free_aligned(s->inverse);
        for (int k = 0; k < s->n_posts; k++) {
            upz_free_aligned(s->posts[k].scale);
            upz_free_aligned(s->posts[k].shift);
        }
    }
    upz_free(p->stages);
    *p = (UpzProgram){0};
}

/* The version of what is no convolution: conversion, sums, activations, resizing. It is raised whenever
 * that changes any byte; a convolution's way has a name of its own. */
#define ARITHMETIC "1"

static bool has_way(const UpzProgram *p, const UpzConvOps *way)
{
    for (int i = 0; i < p->n_stages; i++)
        if (p->stages[i].conv == way) return true;
    return false;
}

void upz_program_numerics(const UpzProgram *p, char *to, size_t size)
{
    size_t n = (size_t)snprintf(to, size, "cpu/");
    const char *between = "";
    for (const UpzConvOps *const *way = upz_conv_ways; *way && n < size; way++) {
        if (!has_way(p, *way)) continue;
        n += (size_t)snprintf(to + n, size - n, "%s%s", between, (*way)->name);
        between = "+";
    }
    if (n < size) snprintf(to + n, size - n, "%s/" ARITHMETIC, *between ? "" : "fp32");
}

void upz_stage_need(const UpzProgram *p, const UpzStage *s, int k, int axis, int at, int *first,
                    int *last)
{
    const UpzMapView *v = &s->views[k];
    const int kernel = axis ? s->kernel_h : s->kernel_w, pad = axis ? s->pad_y : s->pad_x;
    *first = *last = at;
    if (k < s->n_inputs) {
        switch (s->kind) {
        case UPZ_STAGE_CONV: {
            const int tile = upz_stage_tile(s, axis, at);
            *first = tile * s->stride - pad;
            *last = (tile + s->tile - 1) * s->stride - pad + kernel - 1;
            break;
        }
        case UPZ_STAGE_SHUFFLE: *first = *last = upz_floor_div(at, s->factor); break;
        case UPZ_STAGE_PLANAR:
            if (k == 0) *first = *last = upz_floor_div(at, s->factor);
            break;
        case UPZ_STAGE_UNSHUFFLE:
            *first = at * s->factor;
            *last = *first + s->factor - 1;
            break;
        case UPZ_STAGE_RESIZE:
            (axis ? upz_node_rows : upz_node_cols)(p->graph, s->node, at, first, last);
            return;
        default: break;
        }
    }
    *first = upz_floor_div(*first, v->up);
    *last = upz_floor_div(*last, v->up);
}
