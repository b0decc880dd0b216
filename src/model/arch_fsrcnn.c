/* FSRCNN on luma, in the layout of the widespread PyTorch version: 5x5 feature layer, 1x1 shrink,
 * 3x3 mapping layers, 1x1 expand, and a 9x9 transposed convolution that does the scaling. It was
 * trained on studio-range luma. The scale is not stored (the kernel is 9x9 at each): it is the
 * stride at which a flat picture stays what it is. */
#include <stdio.h>

#include "base/alloc.h"
#include "model/arch.h"

static int recognise(const UpzTensorSet *set)
{
    return upz_arch_has(set, "first_part.0.weight") && upz_arch_has(set, "first_part.1.weight") &&
           upz_arch_has(set, "mid_part.0.weight") && upz_arch_has(set, "last_part.weight");
}

/* Squared distance of the output from a flat picture's value, summed over the phases of a
 * transposed convolution. features: what the layers before make of that picture. */
static double phase_error(const UpzTensor *w, const UpzTensor *b, int stride,
                          const double *features, double value)
{
    int64_t k = w->dims[2];
    double error = 0;
    for (int py = 0; py < stride; py++)
        for (int px = 0; px < stride; px++) {
            double phase = b ? (double)b->data[0] : 0;
            for (int64_t c = 0; c < w->dims[0]; c++)
                for (int64_t y = py; y < k; y += stride)
                    for (int64_t x = px; x < k; x += stride)
                        phase += features[c] * (double)w->data[(c * k + y) * k + x];
            error += (phase - value) * (phase - value);
        }
    return error / (stride * stride);
}

typedef struct Layer {
    char name[32], slopes[32];
} Layer;

enum { MOST = 1024 };

/* Runs a flat picture through all but the last layer: one value a channel into out (MOST of them).
 * False if the chain does not fit together, which the graph's builder then tells. */
static bool flat_features(UpzTensorSet *set, const Layer *layers, int n, double value, double *out,
                          double *scratch)
{
    int64_t channels = 1;
    out[0] = value;
    for (int i = 0; i < n; i++) {
        const UpzTensor *w = upz_arch_tensor(set, "%s.weight", layers[i].name);
        const UpzTensor *b = upz_arch_tensor(set, "%s.bias", layers[i].name);
        const UpzTensor *s = upz_arch_tensor(set, "%s", layers[i].slopes);
        if (!w || !s || w->n_dims != 4 || w->dims[1] != channels || w->dims[0] > MOST ||
            w->dims[2] > 63 || w->dims[3] > 63 || (b && b->count != w->dims[0]) ||
            (s->count != 1 && s->count != w->dims[0]))
            return false;
        channels = w->dims[0];
        upz_arch_flat(w, b, out, scratch);
        for (int64_t o = 0; o < channels; o++)
            out[o] =
                scratch[o] < 0 ? scratch[o] * (double)s->data[s->count > 1 ? o : 0] : scratch[o];
    }
    const UpzTensor *last = upz_arch_tensor(set, "last_part.weight");
    const UpzTensor *bias = upz_arch_tensor(set, "last_part.bias");
    return last->n_dims == 4 && last->dims[0] == channels && last->dims[1] == 1 &&
           last->dims[2] == last->dims[3] && last->dims[2] <= 63 && (!bias || bias->count == 1);
}

/* The stride at which flat pictures stay what they are. 0: the tensors do not fit together; -1: no
 * memory. */
static int find_scale(UpzTensorSet *set, const Layer *layers, int n)
{
    double *features = upz_calloc(2 * MOST, sizeof(*features)), error[5] = {0};
    if (!features) return -1;
    bool fits = true;
    for (int i = 1; i <= 3 && fits; i++) {
        double value = i / 4.0;
        fits = flat_features(set, layers, n, value, features, features + MOST);
        for (int s = 2; s <= 4 && fits; s++)
            error[s] += phase_error(upz_arch_tensor(set, "last_part.weight"),
                                    upz_arch_tensor(set, "last_part.bias"), s, features, value);
    }
    upz_free(features);
    int best = 2;
    for (int s = 3; s <= 4; s++)
        if (error[s] < error[best]) best = s;
    return fits ? best : 0;
}

static int build(UpzTensorSet *set, UpzGraph *g, UprezModelFacts *facts, char **detail,
                 UprezError *err)
{
    enum { LAYERS = 64 };
    Layer layers[LAYERS] = {{"first_part.0", "first_part.1.weight"}};
    int n = 1;
    while (n < LAYERS && upz_arch_has(set, "mid_part.%d.weight", 2 * (n - 1))) {
        snprintf(layers[n].name, sizeof(layers[n].name), "mid_part.%d", 2 * (n - 1));
        snprintf(layers[n].slopes, sizeof(layers[n].slopes), "mid_part.%d.weight", 2 * n - 1);
        n++;
    }
    UpzTensor *w = upz_arch_tensor(set, "last_part.weight");
    UpzTensor *b = upz_arch_tensor(set, "last_part.bias");
    const UpzTensor *first = upz_arch_tensor(set, "first_part.0.weight");
    char shape[96];
    if (w->n_dims != 4 || w->dims[2] % 2 == 0 || w->dims[1] != 1 || first->n_dims != 4)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'last_part.weight' is %s; FSRCNN needs features x 1 x 9 x 9",
                        upz_arch_shape(w, shape));
    int64_t features = first->dims[0], kernel = w->dims[2];
    int64_t shrunk = n > 1 ? upz_arch_tensor(set, "mid_part.0.weight")->dims[0] : 0;
    int scale = find_scale(set, layers, n);
    int v = upz_graph_input(g, 1, err);
    for (int i = 0; i < n; i++)
        v = upz_arch_conv_prelu(g, set, v, layers[i].name, layers[i].slopes, err);
    if (v < 0) return v;
    if (scale < 0) return upz_fail_memory(err, 2 * MOST * sizeof(double), "finding the scale");
    if (!scale)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'last_part.weight' is %s; FSRCNN needs features x 1 x 9 x 9",
                        upz_arch_shape(w, shape));
    UpzNode up = upz_node(UPZ_OP_DECONV);
    up.src[0] = v;
    up.stride = scale;
    up.pad_x = up.pad_y = (int)kernel / 2;
    up.weights = upz_graph_tensor(g, w, err);
    if (up.weights < 0) return up.weights;
    if (b && (up.bias = upz_graph_tensor(g, b, err)) < 0) return up.bias;
    v = upz_graph_add(g, &up, err);
    facts->input = UPREZ_INPUT_Y_STUDIO;
    *detail = upz_asprintf("FSRCNN on luma, d %lld, s %lld, m %d, scale found with flat pictures",
                           (long long)features, (long long)shrunk, n - 3);
    return upz_graph_finish(g, v, facts, err);
}

extern const UpzArch upz_arch_fsrcnn;
const UpzArch upz_arch_fsrcnn = {"fsrcnn", recognise, build};
