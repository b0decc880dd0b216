/* Maps that are reshaped and transposed: followed part by part until they are a map again, by a pixel
 * shuffle or its inverse. */
#include "model/onnx_state.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

static bool is_one(const double size[UPZ_PROBES])
{
    for (int p = 0; p < UPZ_PROBES; p++)
        if (size[p] != 1) return false;
    return true;
}

static void view_of_map(const UpzOnnxState *s, const UpzOnnxVal *v, UpzView *view)
{
    *view = (UpzView){.n_dims = 4};
    for (int d = 0; d < 4; d++) {
        UpzViewPart *part = &view->part[view->n];
        *part = (UpzViewPart){.of = d};
        for (int p = 0; p < UPZ_PROBES; p++)
            part->size[p] = d == 0   ? s->batch
                            : d == 1 ? s->g->nodes[v->node].channels
                            : d == 2 ? v->h[p]
                                     : v->w[p];
        if (is_one(part->size)) continue;
        view->count[d] = 1;
        view->n++;
    }
}

double upz_onnx_view_dim(const UpzView *v, int dim, int probe)
{
    double size = 1;
    int at = 0;
    for (int d = 0; d < dim; d++) at += v->count[d];
    for (int i = 0; i < v->count[dim]; i++) size *= v->part[at + i].size[probe];
    return size;
}

/* Cuts part i into an outer one of this size and what is left. */
static bool cut(UpzView *v, int i, const double size[UPZ_PROBES])
{
    UpzViewPart *a = &v->part[i];
    if (v->n == UPZ_VIEW_PARTS) return false;
    for (int k = 0; k < v->n; k++)
        v->part[k].order += v->part[k].of == a->of && v->part[k].order > a->order;
    memmove(a + 1, a, (size_t)(v->n - i) * sizeof(*a));
    v->n++;
    a[1].order++;
    for (int p = 0; p < UPZ_PROBES; p++) {
        a[0].size[p] = size[p];
        a[1].size[p] /= size[p];
    }
    return true;
}

/* The same parts in order, cut where need be, as other dimensions. */
static bool regroup(UpzView *v, double want[UPZ_VIEW_DIMS][UPZ_PROBES], int n_dims)
{
    int at = 0;
    for (int d = 0; d < n_dims; d++) {
        double left[UPZ_PROBES];
        memcpy(left, want[d], sizeof(left));
        v->count[d] = 0;
        while (!is_one(left)) {
            bool whole = true, within = true;
            if (at == v->n) return false;
            for (int p = 0; p < UPZ_PROBES; p++) {
                double size = v->part[at].size[p];
                whole &= fmod(left[p], size) == 0;
                within &= fmod(size, left[p]) == 0;
            }
            if (!whole && (!within || !cut(v, at, left))) return false;
            for (int p = 0; p < UPZ_PROBES; p++) left[p] /= v->part[at].size[p];
            v->count[d]++;
            at++;
        }
    }
    v->n_dims = n_dims;
    return at == v->n;
}

/* Parts that belong together and stand together in one dimension become one. */
static void join_parts(UpzView *v)
{
    for (int d = 0, at = 0; d < v->n_dims; at += v->count[d++])
        for (int i = at; i + 1 < at + v->count[d];) {
            UpzViewPart *a = &v->part[i];
            if (a[0].of != a[1].of || a[0].order + 1 != a[1].order) {
                i++;
                continue;
            }
            int of = a->of, order = a->order;
            for (int p = 0; p < UPZ_PROBES; p++) a[0].size[p] *= a[1].size[p];
            memmove(a + 1, a + 2, (size_t)(v->n - i - 2) * sizeof(*a));
            v->n--;
            v->count[d]--;
            for (int k = 0; k < v->n; k++)
                v->part[k].order -= v->part[k].of == of && v->part[k].order > order;
        }
}

/* Is a view of four dimensions a map again? Fills the node: INPUT for the source unchanged. */
static bool recognise(const UpzOnnxState *s, const UpzOnnxVal *from, UpzView view, UpzNode *node)
{
    join_parts(&view);
    const int *count = view.count, c = count[1];
    const UpzViewPart *ch = view.part + count[0], *y = ch + c, *x = y + count[2];
    int channels = s->g->nodes[from->node].channels, f;
    bool ok = count[0] == (s->batch > 1) && (!count[0] || view.part[0].of == 0);
    *node = upz_node(UPZ_OP_INPUT);
    node->n_src = 1, node->src[0] = from->node;
    if (!ok) return false;
    if (count[2] <= 1 && count[3] <= 1 && c <= 1) /* back where it was */
        return (!count[2] || y->of == 2) && (!count[3] || x->of == 3) && (!c || ch->of == 1);
    if (c <= 1 && count[2] == 2 && count[3] == 2) {
        /* C = (c, f, f) or (f, f, c), H f, W f */
        node->op = UPZ_OP_SHUFFLE;
        f = (int)y[1].size[0];
        ok = y[0].of == 2 && x[0].of == 3 && y[1].of == 1 && x[1].of == 1 && x[1].size[0] == f &&
             y[1].order + 1 == x[1].order && (!c || ch[0].of == 1);
        node->dcr = c && ch[0].order > x[1].order;
    } else if ((c == 2 || c == 3) && count[2] == 1 && count[3] == 1) {
        node->op = UPZ_OP_UNSHUFFLE;
        node->dcr = c == 3 && ch[2].of == 1;
        int i = c == 3 && !node->dcr;
        f = (int)ch[i].size[0];
        ok = y->of == 2 && x->of == 3 && y->order == 0 && x->order == 0 && ch[i].of == 2 &&
             ch[i + 1].of == 3 && ch[i].order == 1 && ch[i + 1].order == 1 &&
             ch[i + 1].size[0] == f && (c == 2 || ch[node->dcr ? 2 : 0].of == 1) &&
             (c == 3 || channels == 1);
    } else {
        return false;
    }
    node->factor = f;
    return ok && f >= 2 && f <= 16;
}

/* A map's view with its axes in another order; a batch may be left out. */
static void turned(const UpzOnnxState *s, const UpzOnnxVal *v, const int *axes, int n, UpzView *view)
{
    UpzView whole;
    view_of_map(s, v, &whole);
    *view = (UpzView){.n_dims = n};
    for (int d = 0; d < n; d++) {
        int at = 0;
        for (int k = 0; k < axes[d]; k++) at += whole.count[k];
        view->count[d] = whole.count[axes[d]];
        if (view->count[d]) view->part[view->n++] = whole.part[at];
    }
}

int upz_onnx_view_axes(UpzOnnxState *s, UpzOnnxVal *v, const int *axes, int n)
{
    UpzView *view = upz_calloc(1, sizeof(*view));
    if (!view) return upz_fail_memory(s->err, sizeof(*view), "a view");
    turned(s, v, axes, n, view);
    v->view = view;
    v->kind = UPZ_VAL_VIEW;
    return 0;
}

bool upz_onnx_view_is(const UpzOnnxState *s, const UpzOnnxVal *v, const int *axes, int n)
{
    UpzView want, is = *v->view;
    join_parts(&is);
    turned(s, v, axes, n, &want);
    bool same = is.n == want.n && is.n_dims == want.n_dims;
    for (int d = 0; d < n && same; d++) same = is.count[d] == want.count[d];
    for (int i = 0; i < want.n && same; i++) same = is.part[i].of == want.part[i].of;
    return same;
}

/* Output 0 is this view of `from`, or the map it amounts to. */
static int settle(UpzOnnxState *s, const UpzOnnxNode *n, const UpzOnnxVal *from,
                  const UpzView *view)
{
    UpzNode node;
    if (view->n_dims == 4 && recognise(s, from, *view, &node)) {
        bool shuffle = node.op == UPZ_OP_SHUFFLE;
        if (node.op == UPZ_OP_INPUT) return upz_onnx_set_map(s, n, 0, from->node, from);
        if (!shuffle && from->cropped) return upz_onnx_sees_borders(s, n, from);
        int r = upz_onnx_set_map(s, n, 0, upz_graph_add(s->g, &node, s->err), from);
        if (!r) upz_onnx_scale_size(s, n, shuffle ? node.factor : 1, shuffle ? 1 : node.factor);
        return r;
    }
    UpzOnnxVal *out = upz_onnx_out(s, n, 0);
    if (!out) return 0;
    UpzView *copy = upz_calloc(1, sizeof(*copy));
    if (!copy) return upz_fail_memory(s->err, sizeof(*copy), "a view");
    *copy = *view;
    upz_free(out->view);
    out->view = copy;
    out->kind = UPZ_VAL_VIEW;
    out->node = from->node;
    memcpy(out->h, from->h, sizeof(out->h));
    memcpy(out->w, from->w, sizeof(out->w));
    out->cropped = from->cropped;
    memcpy(out->pad, from->pad, sizeof(out->pad));
    return 0;
}

/* Input 0, a map or already a view of one; NULL with the error set. */
static UpzOnnxVal *source(UpzOnnxState *s, const UpzOnnxNode *n, UpzView *view)
{
    UpzOnnxVal *v = upz_onnx_in(s, n, 0);
    if (!v || v->kind != UPZ_VAL_VIEW) v = upz_onnx_map(s, n, 0);
    if (v && v->kind == UPZ_VAL_VIEW) *view = *v->view;
    else if (v) view_of_map(s, v, view);
    return v;
}

/* Resolves 0 and -1 in a Reshape's shape. */
static bool resolve_shape(UpzOnnxState *s, const UpzView *view, const UpzNum *shape, bool zeros,
                          double out[UPZ_VIEW_DIMS][UPZ_PROBES])
{
    for (int p = 0; p < UPZ_PROBES; p++) {
        double total = 1, known = 1;
        int open = -1;
        for (int i = 0; i < view->n; i++) total *= view->part[i].size[p];
        for (int i = 0; i < shape->count; i++) {
            double d = shape->v[i][p];
            if (d == 0 && !zeros) d = i < view->n_dims ? upz_onnx_view_dim(view, i, p) : 1;
            if (d == -1 && open < 0) {
                open = i;
                continue;
            }
            if (!(d >= 1 && d <= 1e9)) return false;
            out[i][p] = d;
            known *= d;
        }
        /* products of many sizes are no longer exact */
        double rest = total / known, whole = open < 0 ? 1 : nearbyint(rest);
        s->only_multiples = !(fabs(rest - whole) <= fmin(1e-9 * whole, 0.01));
        if (s->only_multiples) return false;
        if (open >= 0) out[open][p] = whole;
    }
    return true;
}

int upz_onnx_reshape(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzView view;
    UpzOnnxVal *v = source(s, n, &view);
    if (!v) return UPREZ_ERR_MODEL;
    const UpzNum *shape = upz_onnx_num(s, n, 1);
    if (!shape || shape->count < 1 || shape->count > UPZ_VIEW_DIMS)
        return upz_onnx_refuse(s, n, "this shape is not supported");
    double want[UPZ_VIEW_DIMS][UPZ_PROBES];
    if (!resolve_shape(s, &view, shape, upz_onnx_int(n, "allowzero", 0) != 0, want))
        return upz_onnx_refuse(s, n, "the shape does not fit a map of any size");
    if (!regroup(&view, want, shape->count))
        return upz_onnx_refuse(s, n, "this reshaping is not a pixel shuffle");
    return settle(s, n, v, &view);
}

int upz_onnx_transpose(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzView view, out = {0};
    UpzOnnxVal *v = source(s, n, &view);
    if (!v) return UPREZ_ERR_MODEL;
    int64_t perm[UPZ_VIEW_DIMS];
    const UpzOnnxAttr *a = upz_onnx_attr(n, "perm");
    for (int i = 0; i < view.n_dims; i++) perm[i] = view.n_dims - 1 - i;
    if (a && upz_onnx_ints(a, perm, UPZ_VIEW_DIMS) != view.n_dims)
        return upz_onnx_refuse(s, n, "'perm' does not match its source");
    unsigned seen = 0;
    for (int i = 0; i < view.n_dims; i++) {
        if (perm[i] < 0 || perm[i] >= view.n_dims || seen >> perm[i] & 1)
            return upz_onnx_refuse(s, n, "'perm' is not a permutation");
        seen |= 1u << perm[i];
        int at = 0;
        for (int d = 0; d < perm[i]; d++) at += view.count[d];
        out.count[i] = view.count[perm[i]];
        memcpy(&out.part[out.n], &view.part[at], (size_t)out.count[i] * sizeof(*out.part));
        out.n += out.count[i];
    }
    out.n_dims = view.n_dims;
    return settle(s, n, v, &out);
}

/* Unsqueeze and Squeeze: dimensions of 1 come and go. */
int upz_onnx_squeeze(UpzOnnxState *s, const UpzOnnxNode *n)
{
    UpzView view, out;
    UpzOnnxVal *v = source(s, n, &view);
    if (!v) return UPREZ_ERR_MODEL;
    bool add = upz_slice_is(n->op, "Unsqueeze");
    const UpzNum *num = upz_onnx_num(s, n, 1);
    const UpzOnnxAttr *a = upz_onnx_attr(n, "axes");
    int64_t axes[UPZ_VIEW_DIMS];
    int count = num ? num->count : a ? upz_onnx_ints(a, axes, UPZ_VIEW_DIMS) : 0;
    int rank = view.n_dims + (add ? count : 0);
    unsigned chosen = 0;
    if (count < 1 || count > UPZ_VIEW_DIMS || rank > UPZ_VIEW_DIMS)
        return upz_onnx_refuse(s, n, "its axes are not supported");
    for (int i = 0; i < count; i++) {
        double axis = num ? num->v[i][0] : (double)axes[i];
        if (axis < 0) axis += rank;
        if (!(axis >= 0 && axis < rank) || (num && !upz_num_fixed(num, i)) ||
            chosen >> (int)axis & 1)
            return upz_onnx_refuse(s, n, "its axes are not supported");
        chosen |= 1u << (int)axis;
    }
    out = view;
    out.n_dims = 0;
    for (int i = 0, from = 0; i < rank; i++) {
        if (add && chosen >> i & 1) {
            out.count[out.n_dims++] = 0;
        } else if (!add && chosen >> i & 1) {
            if (view.count[from++])
                return upz_onnx_refuse(s, n, "it drops a dimension that is not 1");
        } else {
            out.count[out.n_dims++] = view.count[from++];
        }
    }
    return settle(s, n, v, &out);
}
