/* ONNX operators on feature maps, one function each, and the table of them. */
#include "model/onnx_state.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

#define MAX_PAD_ALIGN 64

typedef int (*LayerFn)(UpzOnnxState *s, const UpzOnnxNode *n);

UpzOnnxVal *upz_onnx_out(UpzOnnxState *s, const UpzOnnxNode *n, size_t k)
{
    UpzOnnxNode as_input = {.inputs = n->outputs, .n_inputs = n->n_outputs};
    return upz_onnx_in(s, &as_input, k);
}

int upz_onnx_set_map(UpzOnnxState *s, const UpzOnnxNode *n, size_t k, int node,
                     const UpzOnnxVal *like)
{
    if (node < 0) return upz_onnx_wrap(s, n, node);
    UpzOnnxVal *v = upz_onnx_out(s, n, k);
    if (!v) return 0;
    v->kind = UPZ_VAL_MAP;
    v->node = node;
    v->cropped = like->cropped;
    memcpy(v->h, like->h, sizeof(v->h));
    memcpy(v->w, like->w, sizeof(v->w));
    memset(v->pad, 0, sizeof(v->pad));
    return 0;
}

void upz_onnx_scale_size(UpzOnnxState *s, const UpzOnnxNode *n, double num, double den)
{
    UpzOnnxVal *v = upz_onnx_out(s, n, 0);
    for (int p = 0; v && p < UPZ_PROBES; p++) {
        v->h[p] = den == 1 ? v->h[p] * num : ceil(v->h[p] * num / den);
        v->w[p] = den == 1 ? v->w[p] * num : ceil(v->w[p] * num / den);
    }
}

/* They must see the same border everywhere: the padded picture's or the picture's. */
int upz_onnx_sees_borders(UpzOnnxState *s, const UpzOnnxNode *n, const UpzOnnxVal *v)
{
    if (v->cropped) return upz_onnx_refuse(s, n, "it follows the cropping of the padded picture");
    const UpzNode *node = &s->g->nodes[v->node];
    double w = s->in_w[1] * node->num / node->den, h = s->in_h[1] * node->num / node->den;
    s->edges_unpadded |= v->w[1] <= w && v->h[1] <= h; /* probe 1 needs padding if any does */
    return 0;
}

static int same_ints(const UpzOnnxNode *n, const char *name, int64_t otherwise, int64_t *out)
{
    int64_t v[2] = {otherwise, otherwise};
    const UpzOnnxAttr *a = upz_onnx_attr(n, name);
    if (a && upz_onnx_ints(a, v, 2) != 2) return -1;
    *out = v[0];
    return v[0] == v[1] ? 0 : -1;
}

/* pads[4] = top left bottom right, as ONNX stores them, with auto_pad worked out. */
static int pads_of(UpzOnnxState *s, const UpzOnnxNode *n, const UpzTensor *w, int64_t stride,
                   int64_t pads[4])
{
    const UpzOnnxAttr *a = upz_onnx_attr(n, "pads"), *mode = upz_onnx_attr(n, "auto_pad");
    memset(pads, 0, 4 * sizeof(*pads));
    if (!mode || upz_slice_is(mode->s, "NOTSET")) {
        if (a && upz_onnx_ints(a, pads, 4) != 4)
            return upz_onnx_refuse(s, n, "'pads' are not four numbers");
        for (int i = 0; i < 4; i++)
            if (pads[i] < 0 || pads[i] > 64)
                return upz_onnx_refuse(s, n, "a padding of %lld", (long long)pads[i]);
        return 0;
    }
    if (upz_slice_is(mode->s, "VALID")) return 0;
    bool upper = upz_slice_is(mode->s, "SAME_UPPER");
    if (!upper && !upz_slice_is(mode->s, "SAME_LOWER"))
        return upz_onnx_refuse(s, n, "auto_pad '%.*s' is not known", UPZ_SLICE(mode->s));
    for (int i = 0; i < 2; i++) {
        int64_t total = UPZ_MAX(w->dims[2 + i] - stride, 0), small = total / 2;
        pads[i] = upper ? small : total - small;
        pads[2 + i] = total - pads[i];
    }
    return 0;
}

static int layer_conv(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_in(s, n, 0);
    if (!v || v->kind != UPZ_VAL_MAP) return upz_onnx_map(s, n, 0) ? 0 : UPREZ_ERR_MODEL;
    bool deconv = upz_slice_is(n->op, "ConvTranspose");
    UpzNode c = upz_node(deconv ? UPZ_OP_DECONV : UPZ_OP_CONV);
    c.src[0] = v->node;
    c.weights = upz_onnx_weights(s, n, 1, false);
    if (c.weights < 0) return c.weights;
    c.bias = upz_onnx_weights(s, n, 2, true);
    if (c.bias < UPZ_NO_TENSOR) return c.bias;
    int r = upz_onnx_sees_borders(s, n, v);
    if (r < 0) return r;
    const UpzTensor *w = &s->g->tensors[c.weights];
    int64_t stride, dilation, pads[4], group = upz_onnx_int(n, "group", 1);
    if (w->n_dims != 4)
        return upz_onnx_refuse(s, n, "its weights have %d dimensions; 2-D layers are supported",
                               w->n_dims);
    if (same_ints(n, "strides", 1, &stride) < 0 || stride < 1 || stride > 16)
        return upz_onnx_refuse(s, n, "these strides are not supported");
    if (same_ints(n, "dilations", 1, &dilation) < 0 || dilation != 1)
        return upz_onnx_refuse(s, n, "dilated kernels are not supported");
    if (group < 1 || group > UPZ_MAX_CHANNELS)
        return upz_onnx_refuse(s, n, "%lld groups", (long long)group);
    r = pads_of(s, n, w, stride, pads);
    if (r < 0) return r;
    if (deconv && (v->pad[0] || v->pad[1] || v->pad[2] || v->pad[3]))
        return upz_onnx_refuse(s, n, "its source is padded");
    pads[0] += v->pad[1], pads[1] += v->pad[0], pads[2] += v->pad[3], pads[3] += v->pad[2];
    int64_t extra[2] = {0, 0};
    const UpzOnnxAttr *a = upz_onnx_attr(n, "output_padding");
    if (deconv && a && upz_onnx_ints(a, extra, 2) != 2)
        return upz_onnx_refuse(s, n, "'output_padding' is not two numbers");
    for (int i = 0; i < 2; i++) {
        int64_t k = w->dims[2 + i], total = pads[i] + pads[2 + i];
        bool fits = deconv ? k - stride - total + extra[i] == 0
                           : total >= k - stride && total < k;
        if (!fits || pads[i] >= k)
            return upz_onnx_refuse(s, n, "a %lldx%lld kernel with stride %lld and padding "
                                   "%lld+%lld changes the picture's size; only \"same\" padding "
                                   "is supported",
                                   (long long)w->dims[2], (long long)w->dims[3],
                                   (long long)stride, (long long)pads[i], (long long)pads[2 + i]);
    }
    c.stride = (int)stride, c.groups = (int)group;
    c.pad_y = (int)pads[0], c.pad_x = (int)pads[1];
    r = upz_onnx_set_map(s, n, 0, upz_graph_add(s->g, &c, s->err), v);
    if (!r && deconv) upz_onnx_scale_size(s, n, (double)stride, 1);
    else if (!r) upz_onnx_scale_size(s, n, 1, (double)stride);
    return r;
}

static int add_act(UpzOnnxState *s, const UpzOnnxNode *n, const UpzNode *act)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    UpzNode a = *act;
    a.src[0] = v->node;
    return upz_onnx_set_map(s, n, 0, upz_graph_add(s->g, &a, s->err), v);
}

static int activated(UpzOnnxState *s, int src, UpzAct act, float lo, float hi)
{
    UpzNode a = upz_node(UPZ_OP_ACT);
    a.src[0] = src, a.act = act, a.lo = lo, a.hi = hi;
    return src < 0 ? src : upz_graph_add(s->g, &a, s->err);
}

/* x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) */
static int gelu_by_tanh(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    int x = v->node, k = upz_graph_binary(s->g, UPZ_OP_MUL, x, x, 1, 1, s->err);
    k = k < 0 ? k : upz_graph_binary(s->g, UPZ_OP_MUL, k, x, 1, 1, s->err);
    k = k < 0 ? k : upz_graph_binary(s->g, UPZ_OP_ADD, x, k, 1, 0.044715f, s->err);
    k = activated(s, upz_onnx_affine(s, k, 0.7978845608028654, 0), UPZ_ACT_TANH, 0, 0);
    k = upz_onnx_affine(s, k, 0.5, 0.5);
    k = k < 0 ? k : upz_graph_binary(s->g, UPZ_OP_MUL, x, k, 1, 1, s->err);
    return upz_onnx_set_map(s, n, 0, k, v);
}

/* Also HardSwish, x times the one of slope 1/6. */
static int layer_hard_sigmoid(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    bool swish = upz_slice_is(n->op, "HardSwish");
    double slope = swish ? 1.0 / 6 : (double)upz_onnx_float(n, "alpha", 0.2f);
    double offset = swish ? 0.5 : (double)upz_onnx_float(n, "beta", 0.5f);
    if (!isfinite(slope) || !isfinite(offset))
        return upz_onnx_refuse(s, n, "its slope is not a number");
    int k = activated(s, upz_onnx_affine(s, v->node, slope, offset), UPZ_ACT_CLIP, 0, 1);
    if (swish && k >= 0) k = upz_graph_binary(s->g, UPZ_OP_MUL, v->node, k, 1, 1, s->err);
    return upz_onnx_set_map(s, n, 0, k, v);
}

static int layer_power(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    const UpzNum *num = upz_onnx_num(s, n, 1);
    double power = num && num->count == 1 && upz_num_fixed(num, 0) ? num->v[0][0] : 0;
    if (power != 2 && power != 3) return upz_onnx_refuse(s, n, "only squares and cubes are supported");
    int k = upz_graph_binary(s->g, UPZ_OP_MUL, v->node, v->node, 1, 1, s->err);
    if (power == 3 && k >= 0) k = upz_graph_binary(s->g, UPZ_OP_MUL, k, v->node, 1, 1, s->err);
    return upz_onnx_set_map(s, n, 0, k, v);
}

static bool plain_scale(const UpzNode *n)
{
    return n->op == UPZ_OP_AFFINE && n->act == UPZ_ACT_NONE && n->weights == UPZ_NO_TENSOR &&
           n->bias == UPZ_NO_TENSOR && n->alpha[1] == 0;
}

/* Of x / sqrt(2): the inner part of a GELU. */
static int layer_erf(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0), *out = upz_onnx_out(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    const UpzNode *scale = &s->g->nodes[v->node];
    if (!plain_scale(scale) || fabs((double)scale->alpha[0] * sqrt(2) - 1) > 1e-3)
        return upz_onnx_refuse(s, n, "it is supported as part of a GELU only");
    int r = upz_onnx_set_map(s, n, 0, scale->src[0], v);
    if (r < 0 || !out) return r;
    out->kind = UPZ_VAL_ERF, out->factor = 1, out->offset = 0;
    return 0;
}

/* What is to become a GELU, with a number. */
static int erf_with_number(UpzOnnxState *s, const UpzOnnxNode *n, size_t erf_at)
{
    const UpzOnnxVal *v = upz_onnx_in(s, n, erf_at);
    const UpzNum *num = upz_onnx_num(s, n, 1 - erf_at);
    bool mul = upz_slice_is(n->op, "Mul"), div = upz_slice_is(n->op, "Div");
    if (!num || num->count != 1 || !upz_num_fixed(num, 0) || num->n_dims > 4 ||
        (!mul && !upz_slice_is(n->op, "Add") && !(div && !erf_at && num->v[0][0] != 0)))
        return upz_onnx_refuse(s, n, "it reads an Erf in a way that is no GELU");
    double x = div ? 1 / num->v[0][0] : num->v[0][0];
    int r = upz_onnx_set_map(s, n, 0, v->node, v);
    UpzOnnxVal *out = upz_onnx_out(s, n, 0);
    if (r < 0 || !out) return r;
    out->kind = UPZ_VAL_ERF;
    out->factor = mul || div ? v->factor * x : v->factor;
    out->offset = mul || div ? v->offset * x : v->offset + x;
    return 0;
}

/* x * (1 + erf(x / sqrt(2))) / 2; the half may stand at any of the three, or come later. */
static int erf_with_map(UpzOnnxState *s, const UpzOnnxNode *n, size_t erf_at)
{
    const UpzOnnxVal *e = upz_onnx_in(s, n, erf_at), *v = upz_onnx_map(s, n, 1 - erf_at);
    if (!v) return UPREZ_ERR_MODEL;
    const UpzNode *other = &s->g->nodes[v->node];
    double scale = 2 * e->factor;
    int x = v->node;
    if (x != e->node && plain_scale(other)) {
        scale *= (double)other->alpha[0];
        x = other->src[0];
    }
    if (!upz_slice_is(n->op, "Mul") || x != e->node || !isfinite(scale) ||
        fabs(e->factor - e->offset) > 1e-6 * fabs(e->factor))
        return upz_onnx_refuse(s, n, "it reads an Erf in a way that is no GELU");
    x = activated(s, x, UPZ_ACT_GELU, 0, 0);
    return upz_onnx_set_map(s, n, 0, fabs(scale - 1) < 1e-6 ? x : upz_onnx_affine(s, x, scale, 0), v);
}

/* The half of a GELU that comes last. Returns 1 when this is not that. */
static int last_half(UpzOnnxState *s, const UpzOnnxNode *n, const UpzOnnxVal *v, double scale)
{
    const UpzNode *twice = &s->g->nodes[v->node];
    if (!plain_scale(twice)) return 1;
    const UpzNode *gelu = &s->g->nodes[twice->src[0]];
    if (gelu->op != UPZ_OP_ACT || gelu->act != UPZ_ACT_GELU ||
        fabs((double)twice->alpha[0] * scale - 1) > 1e-6)
        return 1;
    return upz_onnx_set_map(s, n, 0, twice->src[0], v);
}

static int layer_act(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzNode a = upz_node(UPZ_OP_ACT);
    if (upz_slice_is(n->op, "Relu")) a.act = UPZ_ACT_RELU;
    else if (upz_slice_is(n->op, "Sigmoid")) a.act = UPZ_ACT_SIGMOID;
    else if (upz_slice_is(n->op, "Tanh")) a.act = UPZ_ACT_TANH;
    else if (upz_slice_is(n->op, "Swish") && upz_onnx_float(n, "alpha", 1) == 1)
        a.act = UPZ_ACT_SILU;
    else if (upz_slice_is(n->op, "LeakyRelu")) {
        a.act = UPZ_ACT_LEAKY;
        a.slope = upz_onnx_float(n, "alpha", 0.01f);
    } else if (upz_slice_is(n->op, "Gelu")) {
        const UpzOnnxAttr *how = upz_onnx_attr(n, "approximate");
        if (how && upz_slice_is(how->s, "tanh")) return gelu_by_tanh(s, n);
        if (how && !upz_slice_is(how->s, "none"))
            return upz_onnx_refuse(s, n, "this approximation is not supported");
        a.act = UPZ_ACT_GELU;
    } else {
        return upz_onnx_refuse(s, n, "this form is not supported");
    }
    if (!isfinite(a.slope)) return upz_onnx_refuse(s, n, "its slope is not a number");
    return add_act(s, n, &a);
}

static int layer_prelu(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzNode a = upz_node(UPZ_OP_ACT);
    a.act = UPZ_ACT_PRELU;
    a.slopes = upz_onnx_weights(s, n, 1, false);
    return a.slopes < 0 ? a.slopes : add_act(s, n, &a);
}

static int layer_clip(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzNode a = upz_node(UPZ_OP_ACT);
    a.act = UPZ_ACT_CLIP;
    a.lo = upz_onnx_float(n, "min", -INFINITY), a.hi = upz_onnx_float(n, "max", INFINITY);
    for (size_t i = 1; i <= 2; i++) {
        const UpzNum *v = upz_onnx_num(s, n, i);
        if (!v && i < n->n_inputs && n->inputs[i].n)
            return upz_onnx_refuse(s, n, "its limits are not constants");
        if (!v) continue;
        if (v->count != 1 || !upz_num_fixed(v, 0))
            return upz_onnx_refuse(s, n, "its limits are not single constants");
        *(i == 1 ? &a.lo : &a.hi) = (float)v->v[0][0];
    }
    if (!(a.lo <= a.hi)) return upz_onnx_refuse(s, n, "its limits are the wrong way round");
    return add_act(s, n, &a);
}

static int layer_pass(UpzOnnxState *s, const UpzOnnxNode *n)
{
    if (upz_slice_is(n->op, "Cast")) {
        int64_t to = upz_onnx_int(n, "to", 0);
        if (upz_onnx_type_range((int)to) > 0) return upz_onnx_cast_whole(s, n);
        if (to != UPZ_ONNX_FLOAT && to != UPZ_ONNX_HALF && to != UPZ_ONNX_DOUBLE &&
            to != UPZ_ONNX_BFLOAT)
            return upz_onnx_refuse(s, n, "the picture is cast to something not floating point");
    }
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    return v ? upz_onnx_set_map(s, n, 0, v->node, v) : UPREZ_ERR_MODEL;
}

/* x * scale + offset with constants, per channel or one for all. */
static int with_constant(UpzOnnxState *s, const UpzOnnxNode *n, size_t map_at)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, map_at);
    if (!v) return UPREZ_ERR_MODEL;
    size_t at = 1 - map_at;
    const UpzOnnxVal *c = upz_onnx_in(s, n, at);
    int channels = s->g->nodes[v->node].channels;
    float *values = NULL, one;
    double number = 0;
    const UpzNum *num = upz_onnx_num(s, n, at);
    int count, r = 0;
    if (num && num->count == 1 && upz_num_fixed(num, 0)) {
        number = num->v[0][0], count = 1;
    } else if (c->kind == UPZ_VAL_TENSOR) {
        const UpzOnnxTensor *t = &s->tensors[c->tensor].t;
        int d = t->n_dims - 3;
        if (s->view) { /* channels last: the last dimension */
            const int at_end = s->view->n - 1;
            d = s->view->count[s->view->n_dims - 1] == 1 && s->view->part[at_end].of == 1 ? t->n_dims - 1 : -1;
        }
        bool shaped = (c->reshaped && !s->view) || (d >= 0 && t->dims[d] == t->count);
        if (t->count != channels || !shaped || t->external)
            return upz_onnx_refuse(s, n, "the constant '%.*s' has %lld values; one, or one for "
                                   "each of %d channels, is supported", UPZ_SLICE(c->name),
                                   (long long)t->count, channels);
        count = channels;
        values = upz_calloc((size_t)count, sizeof(*values));
        if (!values) return upz_fail_memory(s->err, (size_t)count * 4, "a constant");
        if (!upz_onnx_numbers(t, NULL, values, NULL))
            r = upz_onnx_damaged(s, n, "the constant '%.*s' is cut short", UPZ_SLICE(c->name));
    } else {
        return upz_onnx_refuse(s, n, "it mixes the picture with a value that is not a constant");
    }
    one = (float)number;
    if (!values) values = &one;
    bool mul = upz_slice_is(n->op, "Mul"), div = upz_slice_is(n->op, "Div");
    bool sub = upz_slice_is(n->op, "Sub");
    if (mul && count == 1) {
        int done = last_half(s, n, v, number);
        if (done <= 0) return done;
    }
    if (div && map_at == 1 && !r) r = upz_onnx_refuse(s, n, "a division by the picture");
    UpzNode a = upz_node(UPZ_OP_AFFINE);
    a.src[0] = v->node;
    if (!r && count > 1) {
        a.weights = upz_onnx_make(s, n, count);
        a.bias = a.weights < 0 ? a.weights : upz_onnx_make(s, n, count);
        r = a.bias < 0 ? a.bias : 0;
    }
    for (int i = 0; i < count && !r; i++) {
        float scale = mul ? values[i] : div ? 1 / values[i] : sub && map_at == 1 ? -1 : 1;
        float offset = mul || div ? 0 : sub && map_at == 0 ? -values[i] : values[i];
        if (count > 1) {
            s->g->tensors[a.weights].data[i] = scale;
            s->g->tensors[a.bias].data[i] = offset;
        } else {
            a.alpha[0] = scale, a.alpha[1] = offset;
        }
        if (!isfinite(scale) || !isfinite(offset))
            r = upz_onnx_damaged(s, n, "the constant '%.*s' is not finite", UPZ_SLICE(c->name));
    }
    if (values != &one) upz_free(values);
    return r < 0 ? r : upz_onnx_set_map(s, n, 0, upz_graph_add(s->g, &a, s->err), v);
}

static bool same_sizes(UpzOnnxState *s, const UpzOnnxVal *a, const UpzOnnxVal *b)
{
    for (int p = 0; p < UPZ_PROBES; p++)
        if (a->h[p] != b->h[p] || a->w[p] != b->w[p]) s->only_multiples = true;
    return !s->only_multiples;
}

static bool is_sigmoid_of(const UpzGraph *g, int a, int b)
{
    const UpzNode *n = &g->nodes[a];
    return n->op == UPZ_OP_ACT && n->act == UPZ_ACT_SIGMOID && n->src[0] == b;
}

static int layer_pair(UpzOnnxState *s, const UpzOnnxNode *n)
{
    if (n->n_inputs != 2) return upz_onnx_refuse(s, n, "it has %zu sources", n->n_inputs);
    UpzOnnxVal *a = upz_onnx_in(s, n, 0), *b = upz_onnx_in(s, n, 1);
    if (!a || !b) return upz_onnx_damaged(s, n, "a source is missing");
    if (a->kind == UPZ_VAL_ERF || b->kind == UPZ_VAL_ERF) {
        size_t at = a->kind == UPZ_VAL_ERF ? 0 : 1;
        bool map = (at ? a : b)->kind == UPZ_VAL_MAP;
        return map ? erf_with_map(s, n, at) : erf_with_number(s, n, at);
    }
    if (a->kind != UPZ_VAL_MAP || b->kind != UPZ_VAL_MAP)
        return with_constant(s, n, a->kind == UPZ_VAL_MAP ? 0 : 1);
    if (!upz_onnx_map(s, n, 0) || !upz_onnx_map(s, n, 1)) return UPREZ_ERR_MODEL;
    if (!same_sizes(s, a, b)) return upz_onnx_refuse(s, n, "it joins maps of unlike sizes");
    int r;
    if (upz_slice_is(n->op, "Mul")) {
        int x = is_sigmoid_of(s->g, b->node, a->node)   ? a->node
                : is_sigmoid_of(s->g, a->node, b->node) ? b->node
                                                        : -1;
        UpzNode silu = upz_node(UPZ_OP_ACT);
        silu.act = UPZ_ACT_SILU, silu.src[0] = x;
        r = x >= 0 ? upz_graph_add(s->g, &silu, s->err)
                   : upz_graph_binary(s->g, UPZ_OP_MUL, a->node, b->node, 1, 1, s->err);
    } else if (upz_slice_is(n->op, "Div")) {
        return upz_onnx_refuse(s, n, "a division by the picture");
    } else {
        float sign = upz_slice_is(n->op, "Sub") ? -1 : 1;
        r = upz_graph_binary(s->g, UPZ_OP_ADD, a->node, b->node, 1, sign, s->err);
    }
    return upz_onnx_set_map(s, n, 0, r, a);
}

static int layer_neg(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzNode a = upz_node(UPZ_OP_AFFINE);
    a.alpha[0] = -1;
    return add_act(s, n, &a);
}

static int layer_norm(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    int in[4], channels = s->g->nodes[v->node].channels;
    for (size_t i = 0; i < 4; i++) {
        in[i] = upz_onnx_weights(s, n, i + 1, false);
        if (in[i] < 0) return in[i];
        if (s->g->tensors[in[i]].count != channels)
            return upz_onnx_refuse(s, n, "its constants do not have one value a channel");
    }
    double eps = upz_onnx_float(n, "epsilon", 1e-5f);
    UpzNode a = upz_node(UPZ_OP_AFFINE);
    a.src[0] = v->node;
    a.weights = upz_onnx_make(s, n, channels);
    a.bias = a.weights < 0 ? a.weights : upz_onnx_make(s, n, channels);
    if (a.bias < 0) return a.bias;
    for (int c = 0; c < channels; c++) {
        double scale = s->g->tensors[in[0]].data[c], offset = s->g->tensors[in[1]].data[c];
        double mean = s->g->tensors[in[2]].data[c], var = s->g->tensors[in[3]].data[c];
        if (!(var + eps > 0)) return upz_onnx_refuse(s, n, "a variance is not positive");
        s->g->tensors[a.weights].data[c] = (float)(scale / sqrt(var + eps));
        s->g->tensors[a.bias].data[c] = (float)(offset - mean * scale / sqrt(var + eps));
    }
    return upz_onnx_set_map(s, n, 0, upz_graph_add(s->g, &a, s->err), v);
}

static int layer_concat(UpzOnnxState *s, const UpzOnnxNode *n)
{
    int64_t axis = upz_onnx_int(n, "axis", 1);
    if (axis != 1 && axis != -3)
        return upz_onnx_refuse(s, n, "maps can be joined along the channels only");
    int src[UPZ_MAX_SRC];
    if (n->n_inputs < 1 || n->n_inputs > UPZ_MAX_SRC)
        return upz_onnx_refuse(s, n, "%zu sources; up to %d are supported", n->n_inputs,
                               UPZ_MAX_SRC);
    UpzOnnxVal *first = upz_onnx_map(s, n, 0);
    for (size_t i = 0; i < n->n_inputs; i++) {
        UpzOnnxVal *v = upz_onnx_map(s, n, i);
        if (!v || !first) return UPREZ_ERR_MODEL;
        if (!same_sizes(s, v, first))
            return upz_onnx_refuse(s, n, "it joins maps of unlike sizes");
        src[i] = v->node;
    }
    return upz_onnx_set_map(s, n, 0, upz_graph_concat(s->g, src, (int)n->n_inputs, s->err), first);
}

static int slice_channels(UpzOnnxState *s, const UpzOnnxNode *n, size_t out, UpzOnnxVal *v,
                          int first, int count)
{
    UpzNode c = upz_node(UPZ_OP_SLICE);
    c.src[0] = v->node, c.first = first, c.channels = count;
    return upz_onnx_set_map(s, n, out, upz_graph_add(s->g, &c, s->err), v);
}

static int layer_split(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    int64_t axis = upz_onnx_int(n, "axis", 0), sizes[UPZ_NUM_MAX];
    if (axis != 1 && axis != -3)
        return upz_onnx_refuse(s, n, "maps can be split along the channels only");
    int channels = s->g->nodes[v->node].channels, parts = (int)n->n_outputs;
    const UpzNum *num = upz_onnx_num(s, n, 1);
    const UpzOnnxAttr *a = upz_onnx_attr(n, "split");
    if (parts < 1 || parts > UPZ_NUM_MAX) return upz_onnx_refuse(s, n, "it has %d outputs", parts);
    if (a && upz_onnx_ints(a, sizes, UPZ_NUM_MAX) != parts)
        return upz_onnx_refuse(s, n, "the sizes do not match its %d outputs", parts);
    if (!a && n->n_inputs > 1 && n->inputs[1].n && (!num || num->count != parts))
        return upz_onnx_refuse(s, n, "the sizes do not match its %d outputs", parts);
    int first = 0, r = 0, share = (channels + parts - 1) / parts;
    for (int i = 0; i < parts && !r; i++) {
        double size = a ? (double)sizes[i] : num ? num->v[i][0] : UPZ_MIN(share, channels - first);
        if (!(size >= 1 && size <= channels - first) || (num && !upz_num_fixed(num, i)))
            return upz_onnx_refuse(s, n, "parts that are not within %d channels", channels);
        r = slice_channels(s, n, (size_t)i, v, first, (int)size);
        first += (int)size;
    }
    return r;
}

/* A cut in height or width: nothing at all, or the padding added before. */
static int crop(UpzOnnxState *s, const UpzOnnxNode *n, UpzOnnxVal *v, bool rows,
                const double start[UPZ_PROBES], const double end[UPZ_PROBES])
{
    const UpzNode *node = &s->g->nodes[v->node];
    double size[UPZ_PROBES];
    bool same = true, picture = true;
    for (int p = 0; p < UPZ_PROBES; p++) {
        double full = rows ? v->h[p] : v->w[p];
        double in = (rows ? s->in_h[p] : s->in_w[p]) * node->num / node->den;
        double from = start[p] < 0 ? fmax(start[p] + full, 0) : start[p];
        size[p] = end[p] < 0 ? end[p] + full : fmin(end[p], full);
        same &= from == 0 && size[p] == full;
        picture &= from == 0 && size[p] == in && full >= in;
    }
    if (same) return 0;
    if (!picture || s->pad_align == 1)
        return upz_onnx_refuse(s, n, "it cuts out a part of the picture");
    memcpy(rows ? v->h : v->w, size, sizeof(size));
    v->cropped = true;
    return 0;
}

/* One of Slice's arguments for axis i; false when it is not there or not usable. */
static bool slice_value(UpzOnnxState *s, const UpzOnnxNode *n, size_t input, const char *name,
                        int i, double out[UPZ_PROBES])
{
    const UpzNum *num = upz_onnx_num(s, n, input);
    const UpzOnnxAttr *a = upz_onnx_attr(n, name);
    int64_t v[4];
    if (num && i < num->count) {
        memcpy(out, num->v[i], sizeof(num->v[i]));
        return true;
    }
    if (num || !a || upz_onnx_ints(a, v, 4) <= i || i > 3) return false;
    for (int p = 0; p < UPZ_PROBES; p++) out[p] = (double)v[i];
    return true;
}

static int layer_slice(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    UpzOnnxVal work = *v; /* sizes change axis by axis */
    int i = 0, r = 0;
    for (; i < 4 && !r; i++) {
        double start[UPZ_PROBES], end[UPZ_PROBES], axis[UPZ_PROBES], step[UPZ_PROBES];
        if (!slice_value(s, n, 1, "starts", i, start)) break;
        if (!slice_value(s, n, 2, "ends", i, end))
            return upz_onnx_refuse(s, n, "its ends are not constants or sizes");
        if (!slice_value(s, n, 3, "axes", i, axis)) axis[0] = i;
        if (slice_value(s, n, 4, "steps", i, step) && step[0] != 1)
            return upz_onnx_refuse(s, n, "a step other than 1");
        if (axis[0] < 0) axis[0] += 4;
        if (axis[0] == 2 || axis[0] == 3) {
            r = crop(s, n, &work, axis[0] == 2, start, end);
        } else if (axis[0] == 1) {
            int channels = s->g->nodes[work.node].channels;
            double from = start[0] < 0 ? start[0] + channels : start[0];
            double to = end[0] < 0 ? end[0] + channels : fmin(end[0], channels);
            if (!(from >= 0 && from < to && to <= channels))
                return upz_onnx_refuse(s, n, "channels %g … %g of %d", from, to - 1, channels);
            UpzNode c = upz_node(UPZ_OP_SLICE);
            c.src[0] = work.node, c.first = (int)from, c.channels = (int)(to - from);
            work.node = upz_graph_add(s->g, &c, s->err);
            if (work.node < 0) return upz_onnx_wrap(s, n, work.node);
        } else if (start[0] != 0 || !(end[0] >= s->batch)) {
            return upz_onnx_refuse(s, n, "it cuts the batch");
        }
    }
    if (i == 0) return upz_onnx_refuse(s, n, "its starts are not constants or sizes");
    return r < 0 ? r : upz_onnx_set_map(s, n, 0, work.node, &work);
}

static int layer_shuffle(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    bool to_depth = upz_slice_is(n->op, "SpaceToDepth");
    const UpzOnnxAttr *mode = upz_onnx_attr(n, "mode");
    int64_t f = upz_onnx_int(n, "blocksize", 0);
    if (f < 1 || f > 16) return upz_onnx_refuse(s, n, "a block size of %lld", (long long)f);
    if (to_depth && v->cropped) return upz_onnx_sees_borders(s, n, v);
    UpzNode c = upz_node(to_depth ? UPZ_OP_UNSHUFFLE : UPZ_OP_SHUFFLE);
    c.src[0] = v->node, c.factor = (int)f;
    c.dcr = !mode || !upz_slice_is(mode->s, "CRD"); /* SpaceToDepth knows the first form only */
    int r = upz_onnx_set_map(s, n, 0, upz_graph_add(s->g, &c, s->err), v);
    if (!r) upz_onnx_scale_size(s, n, to_depth ? 1 : (double)f, to_depth ? (double)f : 1);
    return r;
}

/* The smallest fraction that is (nearly) x; false if there is none. */
static bool fraction(double x, int *num, int *den)
{
    for (int d = 1; d <= 16; d++) {
        double n = nearbyint(x * d);
        if (n >= 1 && n <= 64 && fabs(x * d - n) < 1e-5 * n) {
            *num = (int)n, *den = d;
            return true;
        }
    }
    return false;
}

/* Enlargement in height and width: from scales or from sizes, four numbers or (axes) two. */
static int resize_ratio(UpzOnnxState *s, const UpzOnnxNode *n, const UpzOnnxVal *v, int *num,
                        int *den)
{
    bool upsample = upz_slice_is(n->op, "Upsample"), old = s->model.opset < 11;
    double attr[4], ratio[2];
    const UpzOnnxAttr *a = upz_onnx_attr(n, "scales");
    const UpzNum *scales = upz_onnx_num(s, n, upsample || old ? 1 : 2);
    const UpzNum *sizes = old ? NULL : upz_onnx_num(s, n, 3);
    if (upsample && a && upz_onnx_floats(a, attr, 4) == 4) {
        if (attr[0] != 1 || attr[1] != 1) return upz_onnx_refuse(s, n, "it enlarges channels");
        ratio[0] = attr[2], ratio[1] = attr[3];
    } else if (scales && (scales->count == 4 || scales->count == 2)) {
        int skip = scales->count - 2;
        for (int i = 0; i < scales->count; i++)
            if (!upz_num_fixed(scales, i) || (i < skip && scales->v[i][0] != 1))
                return upz_onnx_refuse(s, n, "its scales depend on the picture's size");
        ratio[0] = scales->v[skip][0], ratio[1] = scales->v[skip + 1][0];
    } else if (sizes && (sizes->count == 4 || sizes->count == 2)) {
        int skip = sizes->count - 2;
        ratio[0] = sizes->v[skip][0] / v->h[0], ratio[1] = sizes->v[skip + 1][0] / v->w[0];
        for (int p = 1; p < UPZ_PROBES; p++)
            if (floor(ratio[0] * v->h[p] + 1e-6) != sizes->v[skip][p] ||
                floor(ratio[1] * v->w[p] + 1e-6) != sizes->v[skip + 1][p])
                return upz_onnx_refuse(s, n, "its sizes are not a fixed multiple of its source's");
    } else {
        return upz_onnx_refuse(s, n, "its scales or sizes are not constants or sizes");
    }
    if (fabs(ratio[0] - ratio[1]) > 1e-6 || !fraction(ratio[0], num, den))
        return upz_onnx_refuse(s, n, "a resize by %g x %g is not supported", ratio[1], ratio[0]);
    return 0;
}

static bool attr_is(const UpzOnnxNode *n, const char *name, const char *value, bool otherwise)
{
    const UpzOnnxAttr *a = upz_onnx_attr(n, name);
    return a ? upz_slice_is(a->s, value) : otherwise;
}

/* Does this nearest-neighbour rule take source i / factor for an integer factor? */
static bool nearest_is_plain(const UpzOnnxNode *n, bool old, int factor)
{
    const char *mode = "coordinate_transformation_mode";
    if (old) return true;
    if (attr_is(n, mode, "half_pixel", true) || attr_is(n, mode, "pytorch_half_pixel", false))
        return attr_is(n, "nearest_mode", "round_prefer_floor", true) ||
               attr_is(n, "nearest_mode", "round_prefer_ceil", false);
    if (attr_is(n, mode, "asymmetric", false))
        return attr_is(n, "nearest_mode", "floor", false) ||
               (factor == 2 && attr_is(n, "nearest_mode", "round_prefer_floor", true));
    return false;
}

static int layer_resize(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    int num = 1, den = 1, r = resize_ratio(s, n, v, &num, &den);
    if (r < 0) return r;
    const char *mode = "coordinate_transformation_mode";
    bool old = upz_slice_is(n->op, "Upsample") || s->model.opset < 11;
    UpzNode c = upz_node(UPZ_OP_RESIZE);
    c.src[0] = v->node, c.resize_num = num, c.resize_den = den;
    bool centres = !old && attr_is(n, mode, "half_pixel", true) &&
                   attr_is(n, "nearest_mode", "round_prefer_ceil", false);
    if (attr_is(n, "mode", "nearest", true) && den != 1 && centres) {
        c.filter = UPZ_FILTER_NEAREST;
        r = upz_onnx_sees_borders(s, n, v);
        if (r < 0) return r;
    } else if (attr_is(n, "mode", "nearest", true)) {
        if (den != 1 || num > 16 || !nearest_is_plain(n, old, num))
            return upz_onnx_refuse(s, n, "this rule for the nearest neighbour is not supported");
        c.op = UPZ_OP_NEAREST, c.factor = num;
    } else {
        if (attr_is(n, "mode", "cubic", false)) c.filter = UPZ_FILTER_BICUBIC;
        else if (!attr_is(n, "mode", "linear", false))
            return upz_onnx_refuse(s, n, "this filter is not supported");
        bool same = num == den;
        if (!same && (old || (!attr_is(n, mode, "half_pixel", true) &&
                              !attr_is(n, mode, "pytorch_half_pixel", false))))
            return upz_onnx_refuse(s, n, "only half-pixel centres are supported");
        if (upz_onnx_int(n, "antialias", 0) || upz_onnx_int(n, "exclude_outside", 0) ||
            (c.filter == UPZ_FILTER_BICUBIC &&
             fabsf(upz_onnx_float(n, "cubic_coeff_a", -0.75f) + 0.75f) > 1e-6f))
            return upz_onnx_refuse(s, n, "antialias, exclude_outside and other cubic kernels are "
                                   "not supported");
        r = same ? 0 : upz_onnx_sees_borders(s, n, v);
        if (r < 0) return r;
    }
    r = upz_onnx_set_map(s, n, 0, upz_graph_add(s->g, &c, s->err), v);
    UpzOnnxVal *out = upz_onnx_out(s, n, 0);
    for (int p = 0; out && !r && p < UPZ_PROBES; p++) {
        out->h[p] = floor(v->h[p] * num / den);
        out->w[p] = floor(v->w[p] * num / den);
    }
    return r;
}

static bool reads_input_only(const UpzGraph *g, int node)
{
    while (g->nodes[node].op == UPZ_OP_AFFINE) node = g->nodes[node].src[0];
    return g->nodes[node].op == UPZ_OP_INPUT;
}

static bool is_padding_to(const UpzOnnxVal *v, const double *right, const double *bottom, int k)
{
    for (int p = 0; p < UPZ_PROBES; p++)
        if (v->w[p] + right[p] != ceil(v->w[p] / k) * k ||
            v->h[p] + bottom[p] != ceil(v->h[p] / k) * k)
            return false;
    return true;
}

/* Right and bottom padding to a multiple: the engine's facts.align, not a node of the graph. */
static int pad_to_multiple(UpzOnnxState *s, const UpzOnnxNode *n, UpzOnnxVal *v,
                           const double *right, const double *bottom, bool fixed)
{
    if (!reads_input_only(s->g, v->node))
        return upz_onnx_refuse(s, n, "it pads a map that is not the picture");
    int k = fixed ? 2 : (int)(1 + right[1]);
    while (fixed && k <= MAX_PAD_ALIGN && !is_padding_to(v, right, bottom, k)) k++;
    if (k < 2 || k > MAX_PAD_ALIGN || !is_padding_to(v, right, bottom, k))
        return upz_onnx_refuse(s, n, "a padding that depends on the picture's size in a way that "
                               "is not known");
    UpzPadMode mode = attr_is(n, "mode", "reflect", false) ? UPZ_PAD_REFLECT
                      : attr_is(n, "mode", "edge", false)  ? UPZ_PAD_REPLICATE
                                                           : UPZ_PAD_ZERO;
    if (s->pad_align != 1 && (s->pad_align != k || s->pad_mode != mode))
        return upz_onnx_refuse(s, n, "a second padding unlike the first");
    if (mode == UPZ_PAD_ZERO && s->g->nodes[v->node].op != UPZ_OP_INPUT && v->node != s->range_node)
        return upz_onnx_refuse(s, n, "it pads a map that is not the picture");
    s->pad_align = k, s->pad_mode = mode;
    if (fixed) s->pad_right = (int)right[0], s->pad_bottom = (int)bottom[0];
    int r = upz_onnx_set_map(s, n, 0, v->node, v);
    UpzOnnxVal *out = upz_onnx_out(s, n, 0);
    for (int p = 0; out && p < UPZ_PROBES; p++) out->h[p] += bottom[p], out->w[p] += right[p];
    return r;
}

/* pads: begins of N C H W, then ends. false: they are no constants or sizes. */
static bool pads_for_axes(UpzOnnxState *s, const UpzOnnxNode *n, double pads[8][UPZ_PROBES])
{
    const UpzNum *num = upz_onnx_num(s, n, 1), *axes = upz_onnx_num(s, n, 3);
    const UpzOnnxAttr *a = upz_onnx_attr(n, "pads");
    bool named = n->n_inputs > 3 && n->inputs[3].n;
    int64_t ints[8];
    memset(pads, 0, 8 * sizeof(*pads));
    if (!num && !named && a && upz_onnx_ints(a, ints, 8) == 8) {
        for (int i = 0; i < 8; i++)
            for (int p = 0; p < UPZ_PROBES; p++) pads[i][p] = (double)ints[i];
        return true;
    }
    int count = axes ? axes->count : 4;
    if (!num || (named && !axes) || count > 4 || num->count != 2 * count) return false;
    for (int i = 0; i < count; i++) {
        double axis = axes ? axes->v[i][0] : i;
        if (axis < 0) axis += 4;
        if (!(axis >= 0 && axis < 4) || (axes && !upz_num_fixed(axes, i))) return false;
        memcpy(pads[(int)axis], num->v[i], sizeof(*pads));
        memcpy(pads[(int)axis + 4], num->v[count + i], sizeof(*pads));
    }
    return true;
}

/* Does a convolution read the node's output? */
static bool feeds_conv(const UpzOnnxState *s, const UpzOnnxNode *n)
{
    for (size_t i = 0; i < s->model.n_nodes; i++) {
        const UpzOnnxNode *k = &s->model.nodes[i];
        if (upz_slice_is(k->op, "Conv") && k->n_inputs && k->inputs[0].n == n->outputs[0].n &&
            !memcmp(k->inputs[0].p, n->outputs[0].p, n->outputs[0].n))
            return true;
    }
    return false;
}

static int layer_pad(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    double pads[8][UPZ_PROBES];
    if (!pads_for_axes(s, n, pads))
        return upz_onnx_refuse(s, n, "its amounts are not constants or sizes");
    bool zero = attr_is(n, "mode", "constant", true), any = false, same = true, begins = false;
    const UpzNum *value = upz_onnx_num(s, n, 2);
    bool other = upz_onnx_float(n, "value", 0) != 0;
    if (value)
        other |= value->count != 1 || value->v[0][0] != 0 || !upz_num_fixed(value, 0);
    if (zero && other)
        return upz_onnx_refuse(s, n, "padding with another constant than zero");
    for (int i = 0; i < 8; i++)
        for (int p = 0; p < UPZ_PROBES; p++) {
            if (!(pads[i][p] >= 0 && pads[i][p] <= 64) || (i % 4 < 2 && pads[i][p] != 0))
                return upz_onnx_refuse(s, n, "a padding of %g", pads[i][p]);
            any |= pads[i][p] != 0;
            same &= pads[i][p] == pads[i][0];
            begins |= i < 4 && pads[i][p] != 0;
        }
    if (!any) return upz_onnx_set_map(s, n, 0, v->node, v);
    /* of a fixed size, what is added is known, not why */
    bool fixed = s->in_h[0] == s->in_h[1] && s->in_w[0] == s->in_w[1];
    if (!begins && (!same || (fixed && reads_input_only(s->g, v->node) &&
                              !(zero && feeds_conv(s, n)))))
        return pad_to_multiple(s, n, v, pads[7], pads[6], fixed);
    if (!same || !zero)
        return upz_onnx_refuse(s, n, "only zeros before a convolution, or a padding to a multiple, "
                               "are supported");
    int r = upz_onnx_set_map(s, n, 0, v->node, v);
    UpzOnnxVal *out = upz_onnx_out(s, n, 0);
    if (!r && out)
        for (int i = 0; i < 4; i++) out->pad[i] = (int)pads[(int[]){3, 2, 7, 6}[i]][0];
    return r;
}

static const struct {
    const char *op;
    LayerFn fn;
} layers[] = {
    {"Conv", layer_conv}, {"ConvTranspose", layer_conv}, {"Relu", layer_act},
    {"LeakyRelu", layer_act}, {"Sigmoid", layer_act}, {"Tanh", layer_act}, {"Gelu", layer_act},
    {"Swish", layer_act}, {"Erf", layer_erf}, {"HardSigmoid", layer_hard_sigmoid},
    {"HardSwish", layer_hard_sigmoid}, {"Pow", layer_power}, {"PRelu", layer_prelu}, {"Clip", layer_clip}, {"Identity", layer_pass},
    {"Cast", layer_pass}, {"Dropout", layer_pass}, {"Add", layer_pair}, {"Sub", layer_pair},
    {"Mul", layer_pair}, {"Div", layer_pair}, {"Neg", layer_neg},
    {"BatchNormalization", layer_norm}, {"Concat", layer_concat}, {"Split", layer_split},
    {"Slice", layer_slice}, {"DepthToSpace", layer_shuffle}, {"SpaceToDepth", layer_shuffle},
    {"Resize", layer_resize}, {"Upsample", layer_resize}, {"Pad", layer_pad},
    {"Round", upz_onnx_round}, {"Floor", upz_onnx_round},
    {"Max", upz_onnx_limit}, {"Min", upz_onnx_limit},
    {"Reshape", upz_onnx_reshape}, {"Transpose", upz_onnx_transpose},
    {"Unsqueeze", upz_onnx_squeeze}, {"Squeeze", upz_onnx_squeeze},
};

int upz_onnx_layer(UpzOnnxState *s, const UpzOnnxNode *n)
{
    for (int i = 0; i < UPZ_COUNT(layers); i++)
        if (upz_slice_is(n->op, layers[i].op))
            return upz_onnx_sees_one(n) ? upz_onnx_on_views(s, n, layers[i].fn) : layers[i].fn(s, n);
    return upz_onnx_refuse(s, n, "the operator is not supported; try another engine or export the "
                           "network without it");
}
