/* ESPCN on luma: 5x5, 3x3, 3x3, pixel shuffle, tanh between. Two generations of the widespread
 * PyTorch version share names and shapes: the older ends in a sigmoid and was trained on full-range
 * luma, the newer is cut off at 0 and 1 and was trained on studio-range luma. A flat picture tells
 * them apart: only one of the two endings gives it back. */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "model/arch.h"

static const char *const layers[3] = {"feature_maps.0", "feature_maps.2", "sub_pixel.0"};

static int recognise(const UpzTensorSet *set)
{
    for (int i = 0; i < 3; i++)
        if (!upz_arch_has(set, "%s.weight", layers[i])) return 0;
    return 1;
}

/* Mean output before the ending for a flat picture of the given value. */
static double flat_output(UpzTensor *w[3], UpzTensor *b[3], double value, double *scratch)
{
    double *in = scratch, *out = scratch + UPZ_MAX_CHANNELS, mean = 0;
    in[0] = value;
    for (int i = 0; i < 3; i++) {
        upz_arch_flat(w[i], b[i], in, out);
        for (int64_t c = 0; i < 2 && c < w[i]->dims[0]; c++) out[c] = tanh(out[c]);
        double *t = in;
        in = out, out = t;
    }
    for (int64_t c = 0; c < w[2]->dims[0]; c++) mean += in[c];
    return mean / (double)w[2]->dims[0];
}

static int ends_in_sigmoid(UpzTensor *w[3], UpzTensor *b[3], bool *sigmoid, UprezError *err)
{
    double *scratch = upz_calloc((size_t)2 * UPZ_MAX_CHANNELS, sizeof(*scratch));
    if (!scratch) return upz_fail_memory(err, 2 * UPZ_MAX_CHANNELS * sizeof(*scratch), "a probe");
    double with = 0, without = 0;
    for (int i = 1; i <= 7; i++) {
        double value = i / 8.0, z = flat_output(w, b, value, scratch);
        with += fabs(1 / (1 + exp(-z)) - value);
        without += fabs(UPZ_CLAMP(z, 0, 1) - value);
    }
    upz_free(scratch);
    *sigmoid = with < without;
    return 0;
}

static int build(UpzTensorSet *set, UpzGraph *g, UprezModelFacts *facts, char **detail,
                 UprezError *err)
{
    UpzTensor *w[3], *b[3];
    int64_t channels = 1;
    char shape[96];
    for (int i = 0; i < 3; i++) {
        w[i] = upz_arch_tensor(set, "%s.weight", layers[i]);
        b[i] = upz_arch_tensor(set, "%s.bias", layers[i]);
        if (w[i]->n_dims != 4 || w[i]->dims[1] != channels || w[i]->dims[0] < 1 ||
            w[i]->dims[0] > UPZ_MAX_CHANNELS || w[i]->dims[2] > 63 || w[i]->dims[3] > 63)
            return upz_fail(err, UPREZ_ERR_MODEL,
                            "'%s' is %s; an ESPCN on luma needs %lld input channels there",
                            w[i]->name, upz_arch_shape(w[i], shape), (long long)channels);
        channels = w[i]->dims[0];
        if (b[i] && b[i]->count != channels)
            return upz_fail(err, UPREZ_ERR_MODEL, "'%s' is %s; %lld values were expected",
                            b[i]->name, upz_arch_shape(b[i], shape), (long long)channels);
    }
    int scale = upz_arch_square(channels, 1);
    if (!scale)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'%s' is %s; its first number should be the square of the scale",
                        w[2]->name, upz_arch_shape(w[2], shape));
    bool sigmoid = false;
    int r = ends_in_sigmoid(w, b, &sigmoid, err);
    if (r < 0) return r;
    int64_t first = w[0]->dims[0], second = w[1]->dims[0];
    int v = upz_graph_input(g, 1, err);
    v = upz_arch_conv(g, set, v, layers[0], UPZ_ACT_TANH, 0, err);
    v = upz_arch_conv(g, set, v, layers[1], UPZ_ACT_TANH, 0, err);
    v = upz_arch_conv(g, set, v, layers[2], UPZ_ACT_NONE, 0, err);
    /* the ending works on each value alone: before the shuffle it fuses with the convolution */
    UpzNode end = upz_node(UPZ_OP_ACT);
    end.src[0] = v;
    end.act = sigmoid ? UPZ_ACT_SIGMOID : UPZ_ACT_CLIP;
    end.lo = 0, end.hi = 1;
    v = upz_graph_add(g, &end, err);
    v = upz_graph_simple(g, UPZ_OP_SHUFFLE, v, scale, err);
    facts->input = sigmoid ? UPREZ_INPUT_Y_FULL : UPREZ_INPUT_Y_STUDIO;
    *detail =
        upz_asprintf("ESPCN on luma, %lld and %lld features, tanh, %s", (long long)first,
                     (long long)second, sigmoid ? "sigmoid at the end" : "cut off at 0 and 1");
    return upz_graph_finish(g, v, facts, err);
}

extern const UpzArch upz_arch_espcn;
const UpzArch upz_arch_espcn = {"espcn", recognise, build};
