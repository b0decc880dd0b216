/* SRVGGNetCompact (Real-ESRGAN's video and "compact" family): a chain of 3x3 convolutions, pixel
 * shuffle, plus the input enlarged by nearest neighbour. */
#include <stdio.h>

#include "base/alloc.h"
#include "model/arch.h"

/* The last layer: body.N with N even and no body.N+2. -1 if it is no such chain. */
static int last_layer(const UpzTensorSet *set)
{
    int n = -1;
    while (n + 2 < 4096 && upz_arch_has(set, "body.%d.weight", n < 0 ? 0 : n + 2))
        n = n < 0 ? 0 : n + 2;
    return n;
}

static int recognise(const UpzTensorSet *set)
{
    int last = last_layer(set);
    if (last < 2) return 0;
    for (int i = 0; i <= last; i += 2) {
        char name[32];
        snprintf(name, sizeof(name), "body.%d.weight", i);
        if (upz_tensors_find(set, name)->n_dims != 4) return 0;
    }
    return 1;
}

static int build(UpzTensorSet *set, UpzGraph *g, UprezModelFacts *facts, char **detail,
                 UprezError *err)
{
    int last = last_layer(set);
    const UpzTensor *first = upz_arch_tensor(set, "body.0.weight");
    const UpzTensor *end = upz_arch_tensor(set, "body.%d.weight", last);
    int64_t width = first->dims[0], channels = first->dims[1];
    char shape[96];
    if (channels != 3 && channels != 1)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'body.0.weight' is %s; a SRVGGNetCompact takes 3 channels, or 1",
                        upz_arch_shape(first, shape));
    int scale = upz_arch_square(end->dims[0], channels);
    if (!scale)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'body.%d.weight' is %s; its first number should be %lld times the square "
                        "of the scale",
                        last, upz_arch_shape(end, shape), (long long)channels);
    bool slopes = upz_arch_has(set, "body.1.weight");
    int in = upz_graph_input(g, (int)channels, err), v = in;
    for (int i = 0; i < last; i += 2) {
        char layer[32], act[32];
        snprintf(layer, sizeof(layer), "body.%d", i);
        snprintf(act, sizeof(act), "body.%d.weight", i + 1);
        v = slopes ? upz_arch_conv_prelu(g, set, v, layer, act, err)
                   : upz_arch_conv(g, set, v, layer, UPZ_ACT_RELU, 0, err);
    }
    char layer[32];
    snprintf(layer, sizeof(layer), "body.%d", last);
    v = upz_arch_conv(g, set, v, layer, UPZ_ACT_NONE, 0, err);
    if (scale > 1) v = upz_graph_simple(g, UPZ_OP_SHUFFLE, v, scale, err);
    int base = scale > 1 ? upz_graph_simple(g, UPZ_OP_NEAREST, in, scale, err) : in;
    v = upz_graph_binary(g, UPZ_OP_ADD, v, base, 1, 1, err);
    facts->input = channels == 3 ? UPREZ_INPUT_RGB : UPREZ_INPUT_Y_FULL;
    *detail = upz_asprintf("SRVGGNetCompact, %lld features, %d convolutions in the body, %s",
                           (long long)width, last / 2 - 1,
                           slopes ? "PReLU" : "no slopes stored: ReLU assumed");
    return upz_graph_finish(g, v, facts, err);
}

extern const UpzArch upz_arch_srvgg;
const UpzArch upz_arch_srvgg = {"srvgg", recognise, build};
