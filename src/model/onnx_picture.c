/* Pictures as ONNX files take and give them: in which order their dimensions lie, and what their numbers
 * mean. Ours are channels, rows, columns and 0..1; bytes, channels last and 0..255 are translated at
 * both ends, once. */
#include "model/onnx_state.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

#define MANY 100.0 /* factors and limits from here on belong to numbers up to 255 */
#define FEW 20.0   /* numbers that reach no farther are no codes */
/* A cast cuts the fraction off; what follows here rounds. Less than a half, so that white stays white. */
#define CUT 0.498

/* Axes of a picture: 0 batch, 1 channels, 2 rows, 3 columns. */
static const struct {
    int n_dims, axes[4], channels; /* channels: the dimension */
    const char *name;
} layouts[] = {
    {4, {0, 1, 2, 3}, 1, ""},
    {4, {0, 2, 3, 1}, 3, ", channels last"},
    {3, {1, 2, 3}, 0, ", no batch"},
    {3, {2, 3, 1}, 2, ", no batch, channels last"},
};

static bool plain(int64_t channels) { return channels == 1 || channels == 3; }

/* The first operator that reads a value, or what a cast makes of it. */
static const UpzOnnxNode *reader_of(const UpzOnnx *m, UpzSlice name)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        const UpzOnnxNode *n = &m->nodes[i];
        if (!n->n_inputs || n->inputs[0].n != name.n || memcmp(n->inputs[0].p, name.p, name.n)) continue;
        if (!upz_slice_is(n->op, "Cast") || !n->n_outputs) return n;
        name = n->outputs[0];
    }
    return NULL;
}

static bool turns_channels_first(const UpzOnnxNode *n)
{
    int64_t perm[4];
    const UpzOnnxAttr *a = n && upz_slice_is(n->op, "Transpose") ? upz_onnx_attr(n, "perm") : NULL;
    return a && upz_onnx_ints(a, perm, 4) == 4 && perm[1] == 3 && perm[2] == 1 && perm[3] == 2;
}

int upz_onnx_layout(const UpzOnnxState *s, const UpzOnnxValue *info)
{
    const int64_t *d = info->dims;
    if (info->n_dims == 3) return plain(d[2]) && !plain(d[0]) ? 3 : 2;
    if (info->n_dims != 4) return turns_channels_first(reader_of(&s->model, info->name)) ? 1 : 0;
    if (plain(d[1])) return plain(d[3]) && turns_channels_first(reader_of(&s->model, info->name)) ? 1 : 0;
    if (d[1] > UPZ_MAX_CHANNELS || d[1] < 1) /* rows, or not told */
        return plain(d[3]) || (d[3] < 1 && turns_channels_first(reader_of(&s->model, info->name))) ? 1 : 0;
    return plain(d[3]) ? 1 : 0;
}

int64_t upz_onnx_dim(const UpzOnnxValue *info, int layout, int axis)
{
    for (int i = 0; i < layouts[layout].n_dims; i++)
        if (layouts[layout].axes[i] == axis) return info->n_dims == layouts[layout].n_dims ? info->dims[i] : 0;
    return axis ? 0 : 1;
}

const char *upz_onnx_layout_name(int layout) { return layouts[layout].name; }

double upz_onnx_type_range(int type)
{
    return type == UPZ_ONNX_UINT8 || type == UPZ_ONNX_INT32 || type == UPZ_ONNX_INT64 ? 255
           : type == UPZ_ONNX_UINT16                                                  ? 65535
                                                                                      : 0;
}

int upz_onnx_affine(UpzOnnxState *s, int src, double scale, double offset)
{
    UpzNode a = upz_node(UPZ_OP_AFFINE);
    if (src < 0) return src;
    a.src[0] = src;
    a.alpha[0] = (float)scale, a.alpha[1] = (float)offset;
    return upz_graph_add(s->g, &a, s->err);
}

int upz_onnx_as_layout(UpzOnnxState *s, UpzOnnxVal *v, int layout)
{
    return layout ? upz_onnx_view_axes(s, v, layouts[layout].axes, layouts[layout].n_dims) : 0;
}

bool upz_onnx_is_picture(UpzOnnxState *s, UpzOnnxVal *v)
{
    for (int i = 1; i < UPZ_COUNT(layouts) && v->kind == UPZ_VAL_VIEW; i++)
        if (upz_onnx_view_is(s, v, layouts[i].axes, layouts[i].n_dims)) v->kind = UPZ_VAL_MAP;
    return v->kind == UPZ_VAL_MAP;
}

/* ---- operators that see each number alone, in any order ---- */

static const char *const elementwise[] = {"Cast", "Identity", "Dropout", "Add", "Sub", "Mul", "Div", "Neg",
                                          "Clip", "Round", "Floor", "Relu", "Sigmoid", "Tanh", "LeakyRelu",
                                          "Max", "Min"};

bool upz_onnx_sees_one(const UpzOnnxNode *n)
{
    for (int i = 0; i < UPZ_COUNT(elementwise); i++)
        if (upz_slice_is(n->op, elementwise[i])) return true;
    return false;
}

int upz_onnx_on_views(UpzOnnxState *s, const UpzOnnxNode *n, int (*layer)(UpzOnnxState *, const UpzOnnxNode *))
{
    UpzOnnxVal *views[4];
    int n_views = 0;
    for (size_t i = 0; i < n->n_inputs && i < 4; i++) {
        UpzOnnxVal *v = upz_onnx_in(s, n, i);
        if (!v || v->kind != UPZ_VAL_VIEW) continue;
        if (n_views && memcmp(views[0]->view, v->view, sizeof(*v->view)) != 0) continue; /* the layer refuses it */
        v->kind = UPZ_VAL_MAP;
        views[n_views++] = v;
    }
    if (!n_views) return layer(s, n);
    s->view = views[0]->view;
    int r = layer(s, n);
    s->view = NULL;
    for (int i = 0; i < n_views; i++) views[i]->kind = UPZ_VAL_VIEW;
    UpzOnnxVal *out = upz_onnx_out(s, n, 0);
    if (r < 0 || !out || out->kind != UPZ_VAL_MAP) return r;
    UpzView *copy = upz_calloc(1, sizeof(*copy));
    if (!copy) return upz_fail_memory(s->err, sizeof(*copy), "a view");
    *copy = *views[0]->view;
    upz_free(out->view);
    out->view = copy;
    out->kind = UPZ_VAL_VIEW;
    return r;
}

/* ---- whole numbers: only what the network gives may be rounded, not what it works with ---- */

static int remember_whole(UpzOnnxState *s, const UpzOnnxNode *n, int node)
{
    if (s->n_whole == UPZ_COUNT(s->whole)) return upz_onnx_refuse(s, n, "it rounds once too often");
    s->whole[s->n_whole++] = node;
    return 0;
}

/* The first node under limits. */
static int under_limits(const UpzGraph *g, int node)
{
    while (g->nodes[node].op == UPZ_OP_ACT && g->nodes[node].act == UPZ_ACT_CLIP) node = g->nodes[node].src[0];
    return node;
}

static bool is_whole(const UpzOnnxState *s, int node)
{
    if (s->bytes_in && (node == s->range_node || s->g->nodes[node].op == UPZ_OP_INPUT)) return true;
    for (int i = 0; i < s->n_whole; i++)
        if (s->whole[i] == node || s->whole[i] == under_limits(s->g, node)) return true;
    return false;
}

static int rounded(UpzOnnxState *s, const UpzOnnxNode *n, bool cut)
{
    UpzOnnxVal *v = upz_onnx_map(s, n, 0);
    if (!v) return UPREZ_ERR_MODEL;
    int node = v->node, r = 0;
    if (!is_whole(s, node)) {
        if (cut) node = upz_onnx_affine(s, node, 1, -CUT);
        if (node < 0) return upz_onnx_wrap(s, n, node);
        r = remember_whole(s, n, node);
    }
    return r < 0 ? r : upz_onnx_set_map(s, n, 0, node, v);
}

int upz_onnx_round(UpzOnnxState *s, const UpzOnnxNode *n)
{
    return rounded(s, n, upz_slice_is(n->op, "Floor"));
}

int upz_onnx_cast_whole(UpzOnnxState *s, const UpzOnnxNode *n) { return rounded(s, n, true); }

int upz_onnx_limit(UpzOnnxState *s, const UpzOnnxNode *n)
{
    const UpzOnnxVal *first = upz_onnx_in(s, n, 0);
    const size_t at = first && first->kind == UPZ_VAL_MAP ? 0 : 1;
    UpzOnnxVal *v = upz_onnx_map(s, n, at);
    if (!v) return UPREZ_ERR_MODEL;
    const UpzNum *num = upz_onnx_num(s, n, 1 - at);
    if (n->n_inputs != 2 || !num || num->count != 1 || !upz_num_fixed(num, 0) || !isfinite(num->v[0][0]))
        return upz_onnx_refuse(s, n, "only one number as its limit is supported");
    UpzNode a = upz_node(UPZ_OP_ACT);
    const bool max = upz_slice_is(n->op, "Max");
    a.act = UPZ_ACT_CLIP, a.src[0] = v->node;
    a.lo = max ? (float)num->v[0][0] : -INFINITY, a.hi = max ? INFINITY : (float)num->v[0][0];
    return upz_onnx_set_map(s, n, 0, upz_graph_add(s->g, &a, s->err), v);
}

/* ---- ranges ---- */

/* Scale and offset, of the channel with the largest, of a node that does nothing else: AFFINE, or a
 * convolution of one pixel that keeps three channels apart, as means are often taken off. */
static bool affine_of(const UpzGraph *g, const UpzNode *n, double *scale, double *offset)
{
    const bool conv = n->op == UPZ_OP_CONV && n->channels == 3 && n->kernel_w == 1 && n->kernel_h == 1 &&
                      n->groups == 1 && n->stride == 1 && g->tensors[n->weights].count == 9;
    if ((n->op != UPZ_OP_AFFINE && !conv) || n->act != UPZ_ACT_NONE) return false;
    *scale = (double)n->alpha[0], *offset = (double)n->alpha[1];
    if (n->weights == UPZ_NO_TENSOR) return true;
    *scale = *offset = 0;
    const UpzTensor *w = &g->tensors[n->weights], *b = n->bias != UPZ_NO_TENSOR ? &g->tensors[n->bias] : NULL;
    for (int64_t i = 0; i < w->count; i++) {
        if (conv && i % 4 && w->data[i] != 0) return false;
        if (!conv || i % 4 == 0) *scale = fmax(*scale, fabs((double)w->data[i]));
    }
    for (int64_t i = 0; b && i < b->count; i++)
        if (fabs((double)b->data[i]) > fabs(*offset)) *offset = (double)b->data[i];
    return true;
}

/* The one node that reads a node, or -1. */
static int only_reader(const UpzGraph *g, int node)
{
    int found = -1;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_src; k++) {
            if (g->nodes[i].src[k] != node) continue;
            if (found >= 0 && found != (int)i) return -1;
            found = (int)i;
        }
    return found;
}

/* What arithmetic makes of the picture before the first layer: scale, and which of its numbers becomes 0. */
static void beginning(const UpzGraph *g, int input, double *scale, double *zero)
{
    double a, b, offset = 0;
    *scale = 1, *zero = 0;
    for (int node = only_reader(g, input); node >= 0 && affine_of(g, &g->nodes[node], &a, &b);
         node = only_reader(g, node)) {
        *scale *= a;
        offset = offset * a + b;
        if (*scale != 0) *zero = fmax(*zero, fabs(offset / *scale));
    }
}

/* And of the result behind the last; limit: the largest upper limit, 0 where there is none. */
static void ending(const UpzOnnxState *s, int output, double *scale, double *aside, double *limit, int *n_whole)
{
    const UpzGraph *g = s->g;
    *scale = 1, *aside = *limit = 0, *n_whole = 0;
    for (int node = output;; node = g->nodes[node].src[0]) {
        const UpzNode *n = &g->nodes[node];
        for (int i = 0; i < s->n_whole; i++) *n_whole += s->whole[i] == node;
        double a, b;
        if (affine_of(g, n, &a, &b)) {
            *aside = fmax(*aside, fabs(b * *scale));
            *scale *= a;
        } else if (n->op == UPZ_OP_ACT && n->act == UPZ_ACT_CLIP) {
            if (isfinite(n->hi)) *limit = fmax(*limit, (double)n->hi * *scale);
        } else {
            return;
        }
    }
}

/* A result in 0..range as one in 0..1; limits and factors at its end are taken together with that. */
static int bring_back(UpzOnnxState *s, int node, double factor)
{
    const UpzNode n = s->g->nodes[node];
    if (n.op == UPZ_OP_AFFINE && n.act == UPZ_ACT_NONE && n.weights == UPZ_NO_TENSOR)
        return upz_onnx_affine(s, n.src[0], (double)n.alpha[0] * factor, (double)n.alpha[1] * factor);
    if (n.op != UPZ_OP_ACT || n.act != UPZ_ACT_CLIP) return upz_onnx_affine(s, node, factor, 0);
    UpzNode clip = n;
    clip.src[0] = bring_back(s, n.src[0], factor);
    clip.lo = (float)((double)n.lo * factor), clip.hi = (float)((double)n.hi * factor);
    return clip.src[0] < 0 ? clip.src[0] : upz_graph_add(s->g, &clip, s->err);
}

/* Arithmetic that begins with the picture in 0..range begins with that in 0..1. */
static void fold_range(UpzOnnxState *s)
{
    UpzGraph *g = s->g;
    for (size_t i = 0; s->range_node >= 0 && i < g->n_nodes; i++) {
        UpzNode *n = &g->nodes[i];
        if (n->op != UPZ_OP_AFFINE || n->act != UPZ_ACT_NONE || n->src[0] != s->range_node) continue;
        n->src[0] = s->input_node;
        n->alpha[0] = (float)((double)n->alpha[0] * s->range);
        if (fabs((double)n->alpha[0] - 1) < 1e-6) n->alpha[0] = 1;
        for (int64_t k = 0; n->weights != UPZ_NO_TENSOR && k < g->tensors[n->weights].count; k++)
            g->tensors[n->weights].data[k] = (float)((double)g->tensors[n->weights].data[k] * s->range);
    }
}

int upz_onnx_output(UpzOnnxState *s, const UpzOnnxVal *v, const UpzOnnxValue *info, bool *again)
{
    double first, mean, last, back, limit;
    int whole;
    *again = false;
    beginning(s->g, s->range_node >= 0 ? s->range_node : s->input_node, &first, &mean);
    ending(s, v->node, &last, &back, &limit, &whole);
    if (whole != s->n_whole)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s rounds what its layers work with (quantised?); only its "
                        "result may be rounded", s->path);
    const double typed = upz_onnx_type_range(info->type);
    const bool divides = fabs(first) <= 1 / MANY || mean >= FEW; /* numbers up to 255 go in */
    const bool multiplies = fabs(last) >= MANY;
    const bool codes = typed > 0 || limit >= MANY || back >= FEW;
    if (s->model.input_kind.n && typed <= 0) return v->node; /* a file of ours says all */
    if (s->range == 1 && (divides || (codes && !multiplies && fabs(last) < FEW))) {
        *again = true; /* with what it takes */
        return v->node;
    }
    /* is what the layers work with codes, too? */
    const bool inside = s->range > 1 && s->range * fabs(first) >= FEW;
    double range = typed > 0 ? typed : 1;
    if (typed <= 0 && (codes || multiplies || (inside && fabs(last) > 1 / FEW)))
        range = s->range > 1 ? s->range : 255;
    fold_range(s);
    return range > 1 ? bring_back(s, v->node, 1 / range) : v->node;
}
