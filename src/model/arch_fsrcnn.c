/* FSRCNN on luma, in the layout of the widespread PyTorch version: 5x5 feature layer, 1x1 shrink,
 * 3x3 mapping layers, 1x1 expand, and a 9x9 transposed convolution that does the scaling. It was
 * trained on studio-range luma. The scale is not stored: it is the stride that fits the kernel. */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "model/arch.h"

static int recognise(const UpzTensorSet *set)
{
    return upz_arch_has(set, "first_part.0.weight") && upz_arch_has(set, "first_part.1.weight") &&
           upz_arch_has(set, "mid_part.0.weight") && upz_arch_has(set, "last_part.weight");
}

/* The stride of the transposed convolution, from its weights: phase sums. A flat picture must come
 * out flat, so at the right stride all stride x stride phases of the kernel add up alike: among 2, 3
 * and 4 take the one where, weighted by the features of a flat picture, they differ least. */
static int stride_of(const UpzTensor *w, const double *features)
{
    int best = 0;
    double best_spread = 0;
    int64_t k = w->dims[2];
    for (int s = 2; s <= 4; s++) {
        double sum = 0, squares = 0;
        for (int py = 0; py < s; py++)
            for (int px = 0; px < s; px++) {
                double phase = 0;
                for (int64_t c = 0; c < w->dims[0]; c++)
                    for (int64_t y = py; y < k; y += s)
                        for (int64_t x = px; x < k; x += s)
                            phase += features[c] * (double)w->data[(c * k + y) * k + x];
                sum += phase;
                squares += phase * phase;
            }
        double n = s * s, mean = sum / n;
        double spread = sqrt(fabs(squares / n - mean * mean)) / (fabs(mean) + 1e-9);
        if (!best || spread < best_spread) best = s, best_spread = spread;
    }
    return best;
}

typedef struct Layer {
    char name[32], slopes[32];
} Layer;

/* 0 if the chain does not fit together, which the graph's builder then tells. */
static int find_scale(UpzTensorSet *set, const Layer *layers, int n)
{
    enum { MOST = 1024 };
    double *flat = upz_calloc(2 * MOST, sizeof(*flat)), *in = flat, *out = flat + MOST;
    int scale = 0;
    if (!flat) return 0;
    in[0] = 0.5;
    int64_t channels = 1;
    for (int i = 0; i < n; i++) {
        const UpzTensor *w = upz_arch_tensor(set, "%s.weight", layers[i].name);
        const UpzTensor *b = upz_arch_tensor(set, "%s.bias", layers[i].name);
        const UpzTensor *s = upz_arch_tensor(set, "%s", layers[i].slopes);
        if (!w || !s || w->n_dims != 4 || w->dims[1] != channels || w->dims[0] > MOST ||
            w->dims[2] > 63 || w->dims[3] > 63 || (b && b->count != w->dims[0]) ||
            (s->count != 1 && s->count != w->dims[0]))
            goto end;
        upz_arch_flat(w, b, in, out);
        for (int64_t o = 0; o < w->dims[0]; o++)
            if (out[o] < 0) out[o] *= (double)s->data[s->count > 1 ? o : 0];
        double *t = in;
        in = out, out = t;
        channels = w->dims[0];
    }
    const UpzTensor *last = upz_arch_tensor(set, "last_part.weight");
    if (last->n_dims == 4 && last->dims[0] == channels && last->dims[1] == 1 &&
        last->dims[2] == last->dims[3] && last->dims[2] <= 63)
        scale = stride_of(last, in);
end:
    upz_free(flat);
    return scale;
}

static int build(UpzTensorSet *set, UpzGraph *g, UprezModelFacts *facts, char **detail,
                 UprezError *err)
{
    enum { MOST = 64 };
    Layer layers[MOST] = {{"first_part.0", "first_part.1.weight"}};
    int n = 1;
    while (n < MOST && upz_arch_has(set, "mid_part.%d.weight", 2 * (n - 1))) {
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
    *detail = upz_asprintf("FSRCNN on luma, d %lld, s %lld, m %d, scale from the phases of the last "
                           "layer's kernel",
                           (long long)features, (long long)shrunk, n - 3);
    return upz_graph_finish(g, v, facts, err);
}

extern const UpzArch upz_arch_fsrcnn;
const UpzArch upz_arch_fsrcnn = {"fsrcnn", recognise, build};
