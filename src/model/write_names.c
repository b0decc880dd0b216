/* A graph read from ONNX or ncnn has lost its checkpoint's names, but its layers say what it is: it
 * is walked from the output back, as SRVGGNetCompact, as RRDBNet and as SPAN, whose files people
 * exchange. Scalings may stand alone or within additions, as exporters leave them. */
#include "model/write_names.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#define NEAR 1e-4f /* a fifth in fp16 is 0.19995 */

enum { MOST_BLOCKS = 256, DENSE = 5, PER_BLOCK = 3 * DENSE, MOST_UPS = 4 };

typedef struct Walk {
    UpzNames *names;
    const UpzGraph *g;
    int r; /* the first error */
    UprezError *err;
} Walk;

static const UpzNode *at(const Walk *w, int value) { return &w->g->nodes[value]; }

/* ---- adding names ---- */

static UpzNamed *add(Walk *w, int n_dims, const int64_t *dims, const char *fmt, va_list ap)
{
    UpzNames *l = w->names;
    if (w->r < 0) return NULL;
    if (!upz_grow(&l->items, &l->cap, l->n + 1, sizeof(*l->items), UPZ_TENSORS_MAX)) {
        w->r = upz_fail_memory(w->err, sizeof(*l->items), "a list of names");
        return NULL;
    }
    UpzNamed *t = &l->items[l->n++];
    *t = (UpzNamed){.n_dims = n_dims, .count = 1};
    for (int i = 0; i < n_dims; i++) t->count *= t->dims[i] = dims[i];
    vsnprintf(t->name, sizeof(t->name), fmt, ap);
    return t;
}

static void add_tensor(Walk *w, int tensor, const char *fmt, ...) UPZ_PRINTF(3, 4);
static void add_tensor(Walk *w, int tensor, const char *fmt, ...)
{
    const UpzTensor *t = &w->g->tensors[tensor];
    va_list ap;
    va_start(ap, fmt);
    UpzNamed *n = add(w, t->n_dims, t->dims, fmt, ap);
    if (n) n->data = t->data;
    va_end(ap);
}

/* Numbers the graph does not have: all `value`, for the caller to fill. NULL when out of memory. */
static float *add_made(Walk *w, int n_dims, const int64_t *dims, float value, const char *fmt, ...)
    UPZ_PRINTF(5, 6);
static float *add_made(Walk *w, int n_dims, const int64_t *dims, float value, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    UpzNamed *n = add(w, n_dims, dims, fmt, ap);
    va_end(ap);
    if (!n) return NULL;
    n->made = upz_alloc_aligned((size_t)n->count * sizeof(float));
    n->data = n->made;
    if (!n->made) w->r = upz_fail_memory(w->err, (size_t)n->count * sizeof(float), "weights");
    for (int64_t i = 0; n->made && i < n->count; i++) n->made[i] = value;
    return n->made;
}

/* Weights and bias of a convolution; a bias that is not there is zero. */
static void add_conv(Walk *w, int value, const char *name)
{
    const UpzNode *n = at(w, value);
    add_tensor(w, n->weights, "%s.weight", name);
    if (n->bias != UPZ_NO_TENSOR) add_tensor(w, n->bias, "%s.bias", name);
    else add_made(w, 1, (int64_t[]){n->channels}, 0, "%s.bias", name);
}

/* ---- recognising layers ---- */

/* No activation; at the very end a cut-off at 0 and 1, which pictures get anyway, does not count. */
static bool is_linear(const Walk *w, int value)
{
    const UpzNode *n = at(w, value);
    bool cut = n->act == UPZ_ACT_CLIP && n->lo == 0 && n->hi == 1;
    return n->act == UPZ_ACT_NONE || (cut && value == w->g->output);
}

static bool is_conv3(const Walk *w, int value)
{
    const UpzNode *n = at(w, value);
    return n->op == UPZ_OP_CONV && n->kernel_w == 3 && n->kernel_h == 3 && n->pad_x == 1 &&
           n->pad_y == 1 && n->stride == 1 && n->groups == 1;
}

static bool is_plain_conv(const Walk *w, int value)
{
    return is_conv3(w, value) && is_linear(w, value);
}

static bool is_leaky_conv(const Walk *w, int value)
{
    const UpzNode *n = at(w, value);
    return is_conv3(w, value) && n->act == UPZ_ACT_LEAKY && fabsf(n->slope - 0.2f) <= NEAR;
}

/* The factor of a nearest-neighbour enlargement, or 0. */
static int enlarges(const Walk *w, int value)
{
    const UpzNode *n = at(w, value);
    if (n->op == UPZ_OP_NEAREST) return n->factor;
    bool near = n->op == UPZ_OP_RESIZE && n->filter == UPZ_FILTER_NEAREST;
    return near && n->resize_den == 1 ? n->resize_num : 0;
}

/* value = factor[0] * src[0] + factor[1] * src[1] */
typedef struct Sum {
    int src[2];
    float factor[2];
} Sum;

static bool sum_of(const Walk *w, int value, Sum *s)
{
    const UpzNode *n = at(w, value);
    if (n->op != UPZ_OP_ADD || !is_linear(w, value)) return false;
    for (int i = 0; i < 2; i++) {
        const UpzNode *p = at(w, n->src[i]);
        bool scales = p->op == UPZ_OP_AFFINE && p->act == UPZ_ACT_NONE && p->alpha[1] == 0 &&
                      p->weights == UPZ_NO_TENSOR && p->bias == UPZ_NO_TENSOR;
        s->src[i] = scales ? p->src[0] : n->src[i];
        s->factor[i] = n->alpha[i] * (scales ? p->alpha[0] : 1);
    }
    return true;
}

/* A residual: `inner` times `factor` on top of `outer`. A factor of 1 leaves open which is which;
 * pick 0 or 1 chooses. */
static bool residual(const Walk *w, int value, float factor, int pick, int *inner, int *outer)
{
    Sum s;
    if (!sum_of(w, value, &s)) return false;
    int i = factor != 1 ? fabsf(s.factor[0] - factor) > NEAR : pick;
    *inner = s.src[i], *outer = s.src[1 - i];
    return fabsf(s.factor[i] - factor) <= NEAR && s.factor[1 - i] == 1;
}

/* ---- SRVGGNetCompact ---- */

/* One slope a channel. Slopes of zero, and equal ones, are what the other activations are. */
static void add_activation(Walk *w, int value, int i)
{
    const UpzNode *n = at(w, value);
    const UpzTensor *t = n->act == UPZ_ACT_PRELU ? &w->g->tensors[n->slopes] : NULL;
    float *slopes = add_made(w, 1, (int64_t[]){n->channels},
                             n->act == UPZ_ACT_LEAKY ? n->slope : 0, "body.%d.weight", i);
    for (int c = 0; t && slopes && c < n->channels; c++) slopes[c] = t->data[t->count > 1 ? c : 0];
}

static bool find_srvgg(Walk *w)
{
    enum { MOST = 1024 };
    int chain[MOST], n = 0, scale = 1, v = -1;
    for (int pick = 0; pick < 2 && v < 0; pick++) {
        int body, base;
        if (!residual(w, w->g->output, 1, pick, &body, &base)) continue;
        scale = base == 0 ? 1 : enlarges(w, base);
        if (scale > 1 && at(w, base)->src[0] != 0) continue;
        const UpzNode *b = at(w, body);
        bool shuffles = b->op == UPZ_OP_SHUFFLE && b->factor == scale && !b->dcr;
        if (scale > 1 && shuffles) v = b->src[0];
        else if (scale == 1) v = body;
    }
    if (v < 0 || !is_plain_conv(w, v)) return false;
    int width = 0;
    for (; v != 0 && n < MOST; v = at(w, v)->src[0]) {
        UpzAct act = at(w, v)->act;
        bool fits = act == UPZ_ACT_PRELU || act == UPZ_ACT_LEAKY || act == UPZ_ACT_RELU;
        if (!is_conv3(w, v) || fits != (n > 0)) return false;
        if (n == 1) width = at(w, v)->channels;
        if (n > 0 && at(w, v)->channels != width) return false;
        chain[n++] = v;
    }
    if (v != 0 || n < 2) return false;
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "body.%d", 2 * i);
        add_conv(w, chain[n - 1 - i], name);
        if (i < n - 1) add_activation(w, chain[n - 1 - i], 2 * i + 1);
    }
    w->names->architecture = "srvgg";
    return true;
}

/* ---- the program's own networks ---- */

/* A convolution with slopes, in a chain that keeps its width. */
static bool is_link(const Walk *w, int value)
{
    const UpzNode *n = at(w, value);
    return n->op == UPZ_OP_CONV && n->act == UPZ_ACT_PRELU && n->stride == 1 && n->groups == 1 &&
           2 * n->pad_x + 1 == n->kernel_w && 2 * n->pad_y + 1 == n->kernel_h;
}

static void add_link(Walk *w, int value, const char *name)
{
    add_conv(w, value, name);
    add_tensor(w, at(w, value)->slopes, "%s.slope", name);
}

static bool find_uprez(Walk *w)
{
    enum { MOST = 1024 };
    int chain[MOST], n = 0, tail = -1, head = -1;
    for (int pick = 0; pick < 2 && tail < 0; pick++) {
        int body, base;
        if (!residual(w, w->g->output, 1, pick, &body, &base)) continue;
        const UpzNode *b = at(w, body);
        const bool same = base == 0 && b->op == UPZ_OP_CONV;
        const bool shuffled = enlarges(w, base) > 1 && at(w, base)->src[0] == 0 && b->op == UPZ_OP_SHUFFLE &&
                              b->factor == enlarges(w, base) && !b->dcr;
        if (same || shuffled) tail = same ? body : b->src[0];
    }
    if (tail < 0 || at(w, tail)->op != UPZ_OP_CONV || !is_linear(w, tail)) return false;
    for (int pick = 0, v = at(w, tail)->src[0]; pick < 2 && head < 0; pick++) {
        int end = v, features = v;
        if (at(w, v)->op == UPZ_OP_ADD && !residual(w, v, 1, pick, &end, &features)) return false;
        for (n = 0; n < MOST && end != features && is_link(w, end); end = at(w, end)->src[0]) chain[n++] = end;
        if (end == features && is_link(w, end) && at(w, end)->src[0] == 0) head = end;
    }
    if (head < 0) return false;
    add_link(w, head, "head");
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "trunk.%d", i);
        add_link(w, chain[n - 1 - i], name);
    }
    add_conv(w, tail, "tail");
    w->names->architecture = "uprez";
    return true;
}

/* ---- RRDBNet ---- */

typedef struct Dense {
    int conv[MOST_BLOCKS][PER_BLOCK]; /* the last block first */
} Dense;

/* The maps a concatenation (of concatenations) joins, at most DENSE; one map is itself. */
static int maps_of(const Walk *w, int value, int *maps)
{
    const UpzNode *n = at(w, value);
    if (n->op != UPZ_OP_CONCAT) {
        maps[0] = value;
        return 1;
    }
    int count = 0;
    for (int i = 0; i < n->n_src; i++) {
        int part[DENSE], k = maps_of(w, n->src[i], part);
        if (!k || count + k > DENSE) return 0;
        memcpy(maps + count, part, (size_t)k * sizeof(*maps));
        count += k;
    }
    return count;
}

/* Five convolutions, each of all maps before it; returns the block's source, or -1. */
static int dense_block(const Walk *w, int value, int conv[DENSE])
{
    int x, last, maps[DENSE], before[DENSE];
    if (!residual(w, value, 0.2f, 0, &last, &x) || !is_plain_conv(w, last)) return -1;
    if (maps_of(w, at(w, last)->src[0], maps) != DENSE || maps[0] != x) return -1;
    conv[DENSE - 1] = last;
    for (int c = 1; c < DENSE; c++) {
        if (!is_leaky_conv(w, maps[c]) || maps_of(w, at(w, maps[c])->src[0], before) != c ||
            memcmp(before, maps, (size_t)c * sizeof(*maps)) != 0)
            return -1;
        conv[c - 1] = maps[c];
    }
    return x;
}

static int blocks_of(const Walk *w, int v, int features, Dense *dense)
{
    int n = 0;
    for (; v != features; n++) {
        int inner, outer;
        if (n == MOST_BLOCKS || !residual(w, v, 0.2f, 0, &inner, &outer)) return 0;
        for (int rdb = 2; rdb >= 0 && inner >= 0; rdb--)
            inner = dense_block(w, inner, dense->conv[n] + rdb * DENSE);
        if (inner != outer) return 0;
        v = outer;
    }
    return n;
}

static bool find_rrdbnet(Walk *w, Dense *dense)
{
    int last = w->g->output, hr = at(w, last)->n_src ? at(w, last)->src[0] : 0;
    int up[MOST_UPS], ups = 0, v;
    if (!is_plain_conv(w, last) || !is_leaky_conv(w, hr)) return false;
    for (v = at(w, hr)->src[0]; is_leaky_conv(w, v) && ups < MOST_UPS; ups++) {
        up[ups] = v;
        int near = at(w, v)->src[0];
        if (enlarges(w, near) != 2) return false;
        v = at(w, near)->src[0];
    }
    int body = -1, features = -1, blocks = 0;
    for (int pick = 0; pick < 2 && !blocks; pick++) {
        if (!residual(w, v, 1, pick, &body, &features)) return false;
        if (is_plain_conv(w, body) && is_plain_conv(w, features))
            blocks = blocks_of(w, at(w, body)->src[0], features, dense);
    }
    if (!blocks) return false;
    const UpzNode *front = at(w, at(w, features)->src[0]);
    bool unshuffles = front->op == UPZ_OP_UNSHUFFLE && !front->dcr && front->src[0] == 0 &&
                      (front->factor == 2 || front->factor == 4);
    if (front->op != UPZ_OP_INPUT && !unshuffles) return false;
    add_conv(w, features, "conv_first");
    for (int b = 0; b < blocks; b++)
        for (int c = 0; c < PER_BLOCK; c++) {
            char name[48];
            snprintf(name, sizeof(name), "body.%d.rdb%d.conv%d", b, c / DENSE + 1, c % DENSE + 1);
            add_conv(w, dense->conv[blocks - 1 - b][c], name);
        }
    add_conv(w, body, "conv_body");
    for (int i = 0; i < ups; i++) {
        char name[16];
        snprintf(name, sizeof(name), "conv_up%d", i + 1);
        add_conv(w, up[ups - 1 - i], name);
    }
    add_conv(w, hr, "conv_hr");
    add_conv(w, last, "conv_last");
    w->names->architecture = "rrdbnet";
    return true;
}

/* ---- SPAN ---- */

enum { SPAN_BLOCKS = 6 };

/* value = sigmoid(of) - 0.5 */
static bool is_attention(const Walk *w, int value, int of)
{
    const UpzNode *n = at(w, value);
    if (n->op != UPZ_OP_AFFINE || n->act != UPZ_ACT_NONE || n->weights != UPZ_NO_TENSOR ||
        n->bias != UPZ_NO_TENSOR || n->alpha[0] != 1 || n->alpha[1] != -0.5f)
        return false;
    const UpzNode *s = at(w, n->src[0]);
    return s->op == UPZ_OP_ACT && s->act == UPZ_ACT_SIGMOID && s->src[0] == of;
}

static bool is_silu_conv(const Walk *w, int value)
{
    return is_conv3(w, value) && at(w, value)->act == UPZ_ACT_SILU;
}

/* (c3 + x) * (sigmoid(c3) - 0.5), c3 = conv(silu(conv(silu(conv(x))))); returns x, or -1. */
static int span_block(const Walk *w, int value, int conv[3])
{
    const UpzNode *n = at(w, value);
    if (n->op != UPZ_OP_MUL || n->act != UPZ_ACT_NONE) return -1;
    for (int order = 0; order < 2; order++)
        for (int pick = 0; pick < 2; pick++) {
            int c3, x;
            if (!residual(w, n->src[order], 1, pick, &c3, &x) || !is_plain_conv(w, c3) ||
                !is_attention(w, n->src[1 - order], c3))
                continue;
            conv[2] = c3, conv[1] = at(w, c3)->src[0];
            if (!is_silu_conv(w, conv[1])) continue;
            conv[0] = at(w, conv[1])->src[0];
            if (is_silu_conv(w, conv[0]) && at(w, conv[0])->src[0] == x) return x;
        }
    return -1;
}

/* Is value (input - mean) * 255, however many steps it takes, or (*norm = false) the input? */
static bool span_front(const Walk *w, int value, bool *norm)
{
    static const double mean[3] = {0.4488, 0.4371, 0.4040};
    double scale[3] = {1, 1, 1}, offset[3] = {0, 0, 0}; /* from `value`'s source on */
    *norm = value != 0;
    for (; value != 0; value = at(w, value)->src[0]) {
        const UpzNode *n = at(w, value);
        bool depthwise = n->op == UPZ_OP_CONV && n->groups == 3 && n->kernel_w == 1 &&
                         n->kernel_h == 1 && n->stride == 1; /* as ncnn files have it */
        if ((n->op != UPZ_OP_AFFINE && !depthwise) || n->act != UPZ_ACT_NONE || n->channels != 3)
            return false;
        const UpzTensor *a = n->weights != UPZ_NO_TENSOR ? &w->g->tensors[n->weights] : NULL;
        const UpzTensor *b = n->bias != UPZ_NO_TENSOR ? &w->g->tensors[n->bias] : NULL;
        for (int c = 0; c < 3; c++) {
            double s = a ? a->data[a->count > 1 ? c : 0] : b ? 1 : n->alpha[0];
            double o = b ? b->data[b->count > 1 ? c : 0] : a ? 0 : n->alpha[1];
            offset[c] += scale[c] * o;
            scale[c] *= s;
        }
    }
    for (int c = 0; *norm && c < 3; c++)
        if (fabs(scale[c] - 255) > 0.01 || fabs(offset[c] + 255 * mean[c]) > 0.06) return false;
    return true;
}

/* A collapsed 3x3 layer in the form SPAN is trained in: 1x1, 3x3, 1x1 in a row and a 1x1 beside,
 * with weights under which the row is the layer itself and the rest nothing. */
static void add_span_conv(Walk *w, int value, const char *name)
{
    const UpzNode *n = at(w, value);
    const UpzTensor *t = &w->g->tensors[n->weights];
    int64_t out = t->dims[0], in = t->dims[1];
    const float *bias = n->bias == UPZ_NO_TENSOR ? NULL : w->g->tensors[n->bias].data;
    float *first = add_made(w, 4, (int64_t[]){2 * in, in, 1, 1}, 0, "%s.conv.0.weight", name);
    add_made(w, 1, (int64_t[]){2 * in}, 0, "%s.conv.0.bias", name);
    float *mid = add_made(w, 4, (int64_t[]){2 * out, 2 * in, 3, 3}, 0, "%s.conv.1.weight", name);
    add_made(w, 1, (int64_t[]){2 * out}, 0, "%s.conv.1.bias", name);
    float *last = add_made(w, 4, (int64_t[]){out, 2 * out, 1, 1}, 0, "%s.conv.2.weight", name);
    float *offset = add_made(w, 1, (int64_t[]){out}, 0, "%s.conv.2.bias", name);
    add_made(w, 4, (int64_t[]){out, in, 1, 1}, 0, "%s.sk.weight", name);
    add_made(w, 1, (int64_t[]){out}, 0, "%s.sk.bias", name);
    add_tensor(w, n->weights, "%s.eval_conv.weight", name);
    float *eval = add_made(w, 1, (int64_t[]){out}, 0, "%s.eval_conv.bias", name);
    if (w->r < 0) return;
    for (int64_t i = 0; i < in; i++) first[i * in + i] = 1;
    for (int64_t o = 0; o < out; o++) {
        last[o * 2 * out + o] = 1;
        memcpy(mid + o * 2 * in * 9, t->data + o * in * 9, (size_t)in * 9 * sizeof(float));
        offset[o] = eval[o] = bias ? bias[o] : 0;
    }
}

static bool find_span(Walk *w)
{
    int conv[SPAN_BLOCKS][3], maps[DENSE], block[SPAN_BLOCKS + 1];
    const UpzNode *out = at(w, w->g->output);
    bool norm;
    if (out->op != UPZ_OP_SHUFFLE || out->dcr || !is_plain_conv(w, out->src[0])) return false;
    int cat = at(w, out->src[0])->src[0];
    const UpzNode *c = at(w, cat);
    if (c->op != UPZ_OP_CONV || c->kernel_w != 1 || c->kernel_h != 1 || c->stride != 1 ||
        c->groups != 1 || c->act != UPZ_ACT_NONE || maps_of(w, c->src[0], maps) != 4)
        return false;
    int features = maps[0], last = maps[1];
    if (!is_plain_conv(w, features) || !is_plain_conv(w, last)) return false;
    block[SPAN_BLOCKS] = at(w, last)->src[0];
    for (int b = SPAN_BLOCKS - 1; b >= 0; b--) {
        block[b] = span_block(w, block[b + 1], conv[b]);
        if (block[b] < 0) return false;
    }
    if (block[0] != features || maps[2] != block[1] || maps[3] != conv[SPAN_BLOCKS - 1][0] ||
        !span_front(w, at(w, features)->src[0], &norm))
        return false;
    add_span_conv(w, features, "conv_1");
    for (int b = 0; b < SPAN_BLOCKS; b++)
        for (int k = 0; k < 3; k++) {
            char name[32];
            snprintf(name, sizeof(name), "block_%d.c%d_r", b + 1, k + 1);
            add_span_conv(w, conv[b][k], name);
        }
    add_span_conv(w, last, "conv_2");
    add_conv(w, cat, "conv_cat");
    add_conv(w, out->src[0], "upsampler.0");
    if (!norm) add_made(w, 1, (int64_t[]){1}, 0, "no_norm");
    w->names->architecture = "span";
    return true;
}

/* ---- the names a checkpoint had ---- */

static int by_name(const void *a, const void *b)
{
    const UpzNamed *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Weights made from others (a SPAN's collapsed layers) have no names. */
static bool keep_names(Walk *w, const UprezModel *m)
{
    static const char *const kept[] = {"srvgg", "rrdbnet", "espcn", "fsrcnn", "uprez"};
    bool known = false;
    for (int i = 0; i < UPZ_COUNT(kept); i++) known |= !strcmp(m->facts.architecture, kept[i]);
    for (size_t i = 0; known && i < w->g->n_tensors; i++) {
        const UpzTensor *t = &w->g->tensors[i];
        if (!t->name || strlen(t->name) >= sizeof(w->names->items->name) || t->n_dims > 4)
            return false;
        add_tensor(w, (int)i, "%s", t->name);
    }
    if (!known || w->r < 0) return false;
    UpzNames *l = w->names;
    qsort(l->items, l->n, sizeof(*l->items), by_name);
    for (size_t i = 1; i < l->n; i++)
        if (!strcmp(l->items[i].name, l->items[i - 1].name)) return false;
    l->architecture = m->facts.architecture;
    return true;
}

int upz_names_find(UpzNames *names, const UprezModel *model, UprezError *err)
{
    *names = (UpzNames){0};
    Walk w = {.names = names, .g = &model->graph, .err = err};
    if (keep_names(&w, model)) return 1;
    if (w.r < 0) return w.r;
    upz_names_free(names);
    Dense *dense = upz_calloc(1, sizeof(*dense));
    if (!dense) return upz_fail_memory(err, sizeof(*dense), "a list of layers");
    bool found = find_srvgg(&w) || find_rrdbnet(&w, dense) || find_span(&w) ||
                 (model->facts.input == UPREZ_INPUT_Y_STUDIO && find_uprez(&w));
    upz_free(dense);
    return w.r < 0 ? w.r : found;
}

void upz_names_free(UpzNames *names)
{
    for (size_t i = 0; i < names->n; i++) upz_free_aligned(names->items[i].made);
    upz_free(names->items);
    *names = (UpzNames){0};
}
