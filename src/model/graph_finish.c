/* Finishing a graph: what nothing reads goes, lone activations join the layer before them, and the
 * facts (scale, reach, alignment, costs) are worked out from the nodes alone. */
#include "model/graph.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/integer.h"

#define MAX_ALIGN 256
#define PHASE_BUDGET 4000000 /* node visits spent on an exact reach */

static void node_range(const UpzNode *n, int kernel, int pad, int at, int *first, int *last)
{
    int f = n->factor;
    switch (n->op) {
    case UPZ_OP_CONV:
        *first = at * n->stride - pad;
        *last = *first + kernel - 1;
        break;
    case UPZ_OP_DECONV: /* source i writes i * stride - pad … + kernel - 1 */
        *first = -upz_floor_div(-((int64_t)at + pad - kernel + 1), n->stride);
        *last = upz_floor_div((int64_t)at + pad, n->stride);
        break;
    case UPZ_OP_SHUFFLE: case UPZ_OP_NEAREST: *first = *last = upz_floor_div(at, f); break;
    case UPZ_OP_UNSHUFFLE:
        *first = at * f;
        *last = *first + f - 1;
        break;
    case UPZ_OP_RESIZE: {
        int64_t den = 2 * (int64_t)n->resize_num;
        int64_t centre = (2 * (int64_t)at + 1) * n->resize_den; /* of the pixel, over den */
        if (n->filter == UPZ_FILTER_NEAREST) {
            *first = *last = upz_floor_div(centre, den);
            break;
        }
        int64_t pos = centre - n->resize_num;
        *first = *last = upz_floor_div(pos, den);
        bool cubic = n->filter == UPZ_FILTER_BICUBIC;
        if (pos % den == 0) { /* on a source pixel, the other taps are zero; of more pixels than sources … */
            bool between = cubic && n->resize_num > n->resize_den; /* … the neighbours reach beyond it */
            *first -= between;
            *last += between;
            break;
        }
        *first -= cubic;
        *last += cubic ? 2 : 1;
        break;
    }
    default: *first = *last = at;
    }
}

void upz_node_rows(const UpzGraph *g, int node, int y, int *first, int *last)
{
    const UpzNode *n = &g->nodes[node];
    node_range(n, n->kernel_h, n->pad_y, y, first, last);
}

void upz_node_cols(const UpzGraph *g, int node, int x, int *first, int *last)
{
    const UpzNode *n = &g->nodes[node];
    node_range(n, n->kernel_w, n->pad_x, x, first, last);
}

static bool takes_act(UpzOp op)
{
    return op == UPZ_OP_CONV || op == UPZ_OP_DECONV || op == UPZ_OP_ADD || op == UPZ_OP_MUL ||
           op == UPZ_OP_AFFINE;
}

static bool does_nothing(const UpzGraph *g, const UpzNode *n)
{
    switch (n->op) {
    case UPZ_OP_ACT: return n->act == UPZ_ACT_NONE;
    case UPZ_OP_AFFINE:
        return n->act == UPZ_ACT_NONE && n->weights == UPZ_NO_TENSOR && n->bias == UPZ_NO_TENSOR &&
               n->alpha[0] == 1 && n->alpha[1] == 0;
    case UPZ_OP_CONCAT: return n->n_src == 1;
    case UPZ_OP_SLICE: return n->channels == g->nodes[n->src[0]].channels;
    case UPZ_OP_SHUFFLE: case UPZ_OP_UNSHUFFLE: case UPZ_OP_NEAREST: return n->factor == 1;
    case UPZ_OP_RESIZE: return n->resize_num == n->resize_den;
    default: return false;
    }
}

/* readers[i]: how many live nodes (and the output) read value i; 0 = dead. */
static void count_readers(const UpzGraph *g, int *readers)
{
    memset(readers, 0, g->n_nodes * sizeof(*readers));
    readers[g->output] = 1;
    for (size_t i = g->n_nodes; i-- > 0;) {
        if (!readers[i]) continue;
        const UpzNode *n = &g->nodes[i];
        for (int k = 0; k < n->n_src; k++) readers[n->src[k]]++;
    }
}

/* Rewrites sources past nodes that do nothing, or past activations moved into their producer. */
static void simplify(UpzGraph *g, bool fuse, int *readers, int *alias)
{
    count_readers(g, readers);
    for (size_t i = 0; i < g->n_nodes; i++) {
        UpzNode *n = &g->nodes[i];
        alias[i] = (int)i;
        for (int k = 0; k < n->n_src; k++) n->src[k] = alias[n->src[k]];
        if (!readers[i] || !n->n_src) continue;
        int s = n->src[0];
        UpzNode *p = &g->nodes[s];
        if (!fuse) {
            if (does_nothing(g, n)) alias[i] = s;
        } else if (n->op == UPZ_OP_ACT && takes_act(p->op) && p->act == UPZ_ACT_NONE &&
                   readers[s] == 1) {
            p->act = n->act, p->slope = n->slope, p->slopes = n->slopes;
            p->lo = n->lo, p->hi = n->hi;
            alias[i] = s;
        }
    }
    g->output = alias[g->output];
}

static void compact_nodes(UpzGraph *g, const int *readers, int *index)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (!readers[i] && i > 0) continue;
        UpzNode n = g->nodes[i];
        for (int k = 0; k < n.n_src; k++) n.src[k] = index[n.src[k]];
        index[i] = (int)kept;
        g->nodes[kept++] = n;
    }
    g->output = index[g->output];
    g->n_nodes = kept;
}

static void use(int *index, int tensor)
{
    if (tensor != UPZ_NO_TENSOR) index[tensor] = 1;
}

static void compact_tensors(UpzGraph *g, int *index)
{
    memset(index, 0, g->n_tensors * sizeof(*index));
    for (size_t i = 0; i < g->n_nodes; i++) {
        use(index, g->nodes[i].weights);
        use(index, g->nodes[i].bias);
        use(index, g->nodes[i].slopes);
    }
    size_t kept = 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        if (index[i]) {
            g->tensors[kept] = g->tensors[i];
            index[i] = (int)kept++;
        } else {
            upz_free(g->tensors[i].name);
            upz_free_aligned(g->tensors[i].data);
        }
    }
    g->n_tensors = kept;
    for (size_t i = 0; i < g->n_nodes; i++) {
        UpzNode *n = &g->nodes[i];
        if (n->weights != UPZ_NO_TENSOR) n->weights = index[n->weights];
        if (n->bias != UPZ_NO_TENSOR) n->bias = index[n->bias];
        if (n->slopes != UPZ_NO_TENSOR) n->slopes = index[n->slopes];
    }
}

static int check_finite(const UpzGraph *g, UprezError *err)
{
    for (size_t i = 0; i < g->n_tensors; i++) {
        const UpzTensor *t = &g->tensors[i];
        float sum = 0; /* 0 * x is NaN for infinities and NaN */
        for (int64_t k = 0; k < t->count; k++) sum += 0 * t->data[k];
        if (sum == 0) continue;
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "the weights '%s' hold values that are not finite: the file is damaged",
                        t->name ? t->name : "unnamed");
    }
    return 0;
}

/* Rows (or columns) of the input that rows a … b of the output need. lo, hi: one int a node. */
static void input_range(const UpzGraph *g, bool rows, int a, int b, int *lo, int *hi, int *first,
                        int *last)
{
    for (size_t i = 0; i < g->n_nodes; i++) lo[i] = INT32_MAX, hi[i] = INT32_MIN;
    lo[g->output] = a, hi[g->output] = b;
    for (size_t i = g->n_nodes; i-- > 1;) {
        if (lo[i] > hi[i]) continue;
        const UpzNode *n = &g->nodes[i];
        int f, l, unused;
        int kernel = rows ? n->kernel_h : n->kernel_w, pad = rows ? n->pad_y : n->pad_x;
        node_range(n, kernel, pad, lo[i], &f, &unused);
        node_range(n, kernel, pad, hi[i], &unused, &l);
        for (int k = 0; k < n->n_src; k++) {
            int s = n->src[k];
            if (f < lo[s]) lo[s] = f;
            if (l > hi[s]) hi[s] = l;
        }
    }
    *first = lo[0], *last = hi[0];
}

/* The pattern of what depends on what repeats every `align` input pixels: look at one period. */
static int reach_of(const UpzGraph *g, bool rows, int align, int *lo, int *hi)
{
    const UpzNode *out = &g->nodes[g->output];
    int period = align * out->num / out->den, reach = 0, first, last;
    if ((int64_t)period * (int64_t)g->n_nodes > PHASE_BUDGET) {
        input_range(g, rows, 0, period - 1, lo, hi, &first, &last);
        return UPZ_MAX(align - 1 - first, last);
    }
    for (int y = 0; y < period; y++) {
        int at = (int)((int64_t)y * out->den / out->num);
        input_range(g, rows, y, y, lo, hi, &first, &last);
        if (first > last) continue; /* a transposed convolution may leave pixels untouched */
        reach = UPZ_MAX(reach, UPZ_MAX(at - first, last - at));
    }
    return reach;
}

static int fill_facts(const UpzGraph *g, UprezModelFacts *facts, int *scratch, UprezError *err)
{
    const UpzNode *in = &g->nodes[0], *out = &g->nodes[g->output];
    if ((in->channels != 3 && in->channels != 1) || out->channels != in->channels)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "the network turns %d channels into %d; 3 into 3 (RGB) or 1 into 1 (luma) "
                        "are supported",
                        in->channels, out->channels);
    if (out->num > 16 * out->den || out->den > 16 * out->num)
        return upz_fail(err, UPREZ_ERR_MODEL, "a scale of %d/%d is not supported", out->num,
                        out->den);
    int align = 1;
    double macs = 0;
    int64_t parameters = 0;
    bool half = false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const UpzNode *n = &g->nodes[i];
        align = upz_lcm(align, n->den);
        if (align > MAX_ALIGN)
            return upz_fail(err, UPREZ_ERR_MODEL,
                            "the network needs sizes that are multiples of more than %d",
                            MAX_ALIGN);
        if (n->op != UPZ_OP_CONV && n->op != UPZ_OP_DECONV) continue;
        const UpzNode *at = n->op == UPZ_OP_CONV ? n : &g->nodes[n->src[0]];
        double px = (double)at->num / at->den;
        macs += (double)g->tensors[n->weights].count * px * px;
    }
    for (size_t i = 0; i < g->n_tensors; i++) {
        parameters += g->tensors[i].count;
        half |= g->tensors[i].half;
    }
    facts->scale_num = out->num, facts->scale_den = out->den;
    facts->align = align;
    facts->channels = in->channels;
    facts->parameters = parameters;
    facts->macs = (int64_t)llround(macs);
    facts->half = half;
    int rows = reach_of(g, true, align, scratch, scratch + g->n_nodes);
    int cols = reach_of(g, false, align, scratch, scratch + g->n_nodes);
    facts->reach = UPZ_MAX(rows, cols);
    return 0;
}

int upz_graph_finish(UpzGraph *g, int output, UprezModelFacts *facts, UprezError *err)
{
    if (output < 0) return output;
    if ((size_t)output >= g->n_nodes)
        return upz_fail(err, UPREZ_ERR_BUG, "output %d of %zu values", output, g->n_nodes);
    g->output = output;
    size_t n = UPZ_MAX(g->n_nodes, g->n_tensors);
    int *readers = upz_calloc(3 * n, sizeof(*readers));
    if (!readers) return upz_fail_memory(err, 3 * n * sizeof(*readers), "the network's layer list");
    int *index = readers + n, r = 0;
    simplify(g, false, readers, index);
    simplify(g, true, readers, index);
    count_readers(g, readers);
    bool reads_input = readers[0] > 0;
    compact_nodes(g, readers, index);
    compact_tensors(g, readers);
    if (!reads_input || g->output == 0)
        r = upz_fail(err, UPREZ_ERR_MODEL, "the network's output does not depend on its input");
    if (!r) r = check_finite(g, err);
    if (!r) r = fill_facts(g, facts, readers, err);
    upz_free(readers);
    return r;
}
