/* SPAN (swift parameter-free attention network). Each 3x3 layer is stored as it was trained: 1x1,
 * 3x3, 1x1 in a row plus a 1x1 beside them, which collapse into one 3x3 here, in double precision.
 * The collapsed copy that files also hold (eval_conv) may be stale and is not used. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/arch.h"

/* Not stored in files: the training's means and range. */
static const float rgb_mean[3] = {0.4488f, 0.4371f, 0.4040f};
#define RGB_RANGE 255.0f
#define MAX_WIDTH 512

static int recognise(const UpzTensorSet *set)
{
    return upz_arch_has(set, "conv_cat.weight") && upz_arch_has(set, "upsampler.0.weight") &&
           (upz_arch_has(set, "block_1.c1_r.sk.weight") ||
            upz_arch_has(set, "block_1.c1_r.eval_conv.weight"));
}

/* The tensors of one layer; w [4][…]: the three in a row and the one beside. */
typedef struct Parts {
    UpzTensor *w[4], *b[4];
    int64_t in, mid, wide, out; /* channels: in -> mid -> wide -> out */
} Parts;

static int find_parts(Parts *p, UpzTensorSet *set, const char *layer, UprezError *err)
{
    static const char *const names[4] = {"conv.0", "conv.1", "conv.2", "sk"};
    static const int kernel[4] = {1, 3, 1, 1};
    char shape[96];
    for (int i = 0; i < 4; i++) {
        p->w[i] = upz_arch_tensor(set, "%s.%s.weight", layer, names[i]);
        p->b[i] = upz_arch_tensor(set, "%s.%s.bias", layer, names[i]);
        if (!p->w[i] || !p->b[i]) {
            UpzTensor none = {0};
            const UpzTensor *eval = upz_arch_tensor(set, "%s.eval_conv.weight", layer);
            if (!eval) eval = &none;
            return upz_fail(err, UPREZ_ERR_MODEL,
                            "it is a SPAN whose layer '%s' (%s) has no '%s': a collapsed variant, "
                            "which does not say how its input is normalised; the form it was "
                            "trained in is supported",
                            layer, upz_arch_shape(eval, shape), names[i]);
        }
        const UpzTensor *w = p->w[i];
        if (w->n_dims != 4 || w->dims[2] != kernel[i] || w->dims[3] != kernel[i] ||
            w->dims[0] < 1 || w->dims[0] > UPZ_MAX_CHANNELS || w->dims[1] < 1 ||
            w->dims[1] > UPZ_MAX_CHANNELS || p->b[i]->count != w->dims[0])
            return upz_fail(err, UPREZ_ERR_MODEL,
                            "'%s' is %s; a %dx%d kernel with a bias a channel was expected",
                            w->name, upz_arch_shape(w, shape), kernel[i], kernel[i]);
    }
    p->in = p->w[0]->dims[1], p->mid = p->w[0]->dims[0];
    p->wide = p->w[1]->dims[0], p->out = p->w[2]->dims[0];
    /* both widenings are by two: it also keeps the work below in proportion to the file */
    if (p->mid != 2 * p->in || p->wide != 2 * p->out || p->out > MAX_WIDTH)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'%s' is %s; a SPAN layer has twice as many channels inside as outside",
                        p->w[1]->name, upz_arch_shape(p->w[1], shape));
    for (int i = 1; i < 4; i++) {
        int64_t in = i == 1 ? p->mid : i == 2 ? p->wide : p->in;
        if (p->w[i]->dims[1] != in || (i == 3 && p->w[3]->dims[0] != p->out))
            return upz_fail(err, UPREZ_ERR_MODEL, "'%s' is %s; %lld input channels were expected",
                            p->w[i]->name, upz_arch_shape(p->w[i], shape), (long long)in);
    }
    return 0;
}

/* weights [out][in][9], bias [out]; scratch: wide * in * 9 + wide. */
static void collapse(const Parts *p, float *weights, float *bias, double *scratch)
{
    double *row = scratch, *offset = scratch + p->wide * p->in * 9;
    for (int64_t o = 0; o < p->wide; o++) {
        double b = p->b[1]->data[o];
        memset(row + o * p->in * 9, 0, (size_t)p->in * 9 * sizeof(*row));
        for (int64_t m = 0; m < p->mid; m++)
            for (int k = 0; k < 9; k++) {
                double w = p->w[1]->data[(o * p->mid + m) * 9 + k];
                b += w * (double)p->b[0]->data[m];
                for (int64_t i = 0; i < p->in; i++)
                    row[(o * p->in + i) * 9 + k] += w * (double)p->w[0]->data[m * p->in + i];
            }
        offset[o] = b;
    }
    for (int64_t o = 0; o < p->out; o++) {
        double b = (double)p->b[2]->data[o] + (double)p->b[3]->data[o];
        for (int64_t m = 0; m < p->wide; m++)
            b += (double)p->w[2]->data[o * p->wide + m] * offset[m];
        bias[o] = (float)b;
        for (int64_t i = 0; i < p->in; i++)
            for (int k = 0; k < 9; k++) {
                double sum = k == 4 ? (double)p->w[3]->data[o * p->in + i] : 0;
                for (int64_t m = 0; m < p->wide; m++)
                    sum += (double)p->w[2]->data[o * p->wide + m] * row[(m * p->in + i) * 9 + k];
                weights[(o * p->in + i) * 9 + k] = (float)sum;
            }
    }
}

/* Layer as one 3x3 convolution of src. */
static int conv3(UpzGraph *g, UpzTensorSet *set, int src, const char *layer, UpzAct act,
                 UprezError *err)
{
    if (src < 0) return src;
    Parts p;
    int r = find_parts(&p, set, layer, err);
    if (r < 0) return r;
    int64_t dims[4] = {p.out, p.in, 3, 3};
    int weights = upz_graph_tensor_new(g, 4, dims, err);
    int bias = weights < 0 ? weights : upz_graph_tensor_new(g, 1, dims, err);
    if (bias < 0) return bias;
    size_t need = (size_t)(p.wide * p.in * 9 + p.wide);
    double *scratch = upz_calloc(need, sizeof(*scratch));
    if (!scratch) return upz_fail_memory(err, need * sizeof(*scratch), "collapsing a layer");
    collapse(&p, g->tensors[weights].data, g->tensors[bias].data, scratch);
    g->tensors[weights].half = p.w[0]->half;
    upz_free(scratch);
    for (int i = 0; i < 4; i++) {
        upz_arch_drop(p.w[i]);
        upz_arch_drop(p.b[i]);
    }
    upz_arch_drop(upz_arch_tensor(set, "%s.eval_conv.weight", layer));
    upz_arch_drop(upz_arch_tensor(set, "%s.eval_conv.bias", layer));
    return upz_graph_conv(g, src, weights, bias, act, 0, UPZ_NO_TENSOR, err);
}

/* (c3 + x) * (sigmoid(c3) - 0.5), c3 = conv(silu(conv(silu(conv(x))))); *inner: the first silu. */
static int block(UpzGraph *g, UpzTensorSet *set, int x, int index, int *inner, UprezError *err)
{
    char name[3][32];
    for (int i = 0; i < 3; i++) snprintf(name[i], sizeof(name[i]), "block_%d.c%d_r", index, i + 1);
    int v = *inner = conv3(g, set, x, name[0], UPZ_ACT_SILU, err);
    v = conv3(g, set, v, name[1], UPZ_ACT_SILU, err);
    int out = conv3(g, set, v, name[2], UPZ_ACT_NONE, err);
    UpzNode sigmoid = upz_node(UPZ_OP_ACT), shift = upz_node(UPZ_OP_AFFINE);
    sigmoid.src[0] = out;
    sigmoid.act = UPZ_ACT_SIGMOID;
    shift.src[0] = upz_graph_add(g, &sigmoid, err);
    shift.alpha[0] = 1, shift.alpha[1] = -0.5f;
    int attention = upz_graph_add(g, &shift, err);
    v = upz_graph_binary(g, UPZ_OP_ADD, out, x, 1, 1, err);
    return upz_graph_binary(g, UPZ_OP_MUL, v, attention, 1, 1, err);
}

/* (x - mean) * range */
static int normalise(UpzGraph *g, int x, UprezError *err)
{
    int64_t dims[1] = {3};
    UpzNode n = upz_node(UPZ_OP_AFFINE);
    n.src[0] = x;
    n.weights = upz_graph_tensor_new(g, 1, dims, err);
    if (n.weights < 0) return n.weights;
    n.bias = upz_graph_tensor_new(g, 1, dims, err);
    if (n.bias < 0) return n.bias;
    for (int c = 0; c < 3; c++) {
        g->tensors[n.weights].data[c] = RGB_RANGE;
        g->tensors[n.bias].data[c] = -rgb_mean[c] * RGB_RANGE;
    }
    return upz_graph_add(g, &n, err);
}

static int build(UpzTensorSet *set, UpzGraph *g, UprezModelFacts *facts, char **detail,
                 UprezError *err)
{
    enum { BLOCKS = 6 };
    char shape[96];
    const UpzTensor *first = upz_arch_tensor(set, "conv_1.sk.weight");
    const UpzTensor *up = upz_arch_tensor(set, "upsampler.0.weight");
    Parts p;
    int r = find_parts(&p, set, "conv_1", err);
    if (r >= 0) r = find_parts(&p, set, "block_1.c1_r", err);
    if (r < 0) return r;
    int64_t width = first->dims[0];
    if (first->dims[1] != 3)
        return upz_fail(err, UPREZ_ERR_MODEL, "'conv_1.sk.weight' is %s; a SPAN takes 3 channels",
                        upz_arch_shape(first, shape));
    int scale = up->n_dims == 4 ? upz_arch_square(up->dims[0], 3) : 0;
    if (!scale)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'upsampler.0.weight' is %s; its first number should be 3 times the square "
                        "of the scale",
                        upz_arch_shape(up, shape));
    UpzTensor *plain = upz_arch_tensor(set, "no_norm");
    bool norm = !plain;
    upz_arch_drop(plain);
    int v = upz_graph_input(g, 3, err);
    if (norm) v = normalise(g, v, err);
    int features = v = conv3(g, set, v, "conv_1", UPZ_ACT_NONE, err), one = v, inner = v;
    for (int i = 1; i <= BLOCKS; i++) {
        v = block(g, set, v, i, &inner, err);
        if (v < 0) return v;
        if (i == 1) one = v;
    }
    v = conv3(g, set, v, "conv_2", UPZ_ACT_NONE, err);
    int maps[4] = {features, v, one, inner};
    v = upz_graph_concat(g, maps, 4, err);
    v = upz_arch_conv(g, set, v, "conv_cat", UPZ_ACT_NONE, 0, err);
    v = upz_arch_conv(g, set, v, "upsampler.0", UPZ_ACT_NONE, 0, err);
    v = upz_graph_simple(g, UPZ_OP_SHUFFLE, v, scale, err);
    facts->input = UPREZ_INPUT_RGB;
    *detail =
        upz_asprintf("SPAN, %lld features, %d blocks, %s, trained layers collapsed",
                     (long long)width, BLOCKS, norm ? "input normalised" : "input not normalised");
    return upz_graph_finish(g, v, facts, err);
}

extern const UpzArch upz_arch_span;
const UpzArch upz_arch_span = {"span", recognise, build};
