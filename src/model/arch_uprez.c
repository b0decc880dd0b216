/* The program's own networks (tools/train): a chain of convolutions on luma. `head` makes features,
 * `trunk.N` work on them, the features of `head` are added behind the trunk, `tail` makes scale^2
 * channels, and the pixel shuffle of these is added to the input enlarged by nearest neighbour.
 * Every convolution but the tail ends in a PReLU. It is what SESR (Bhardwaj et al., 2022) becomes
 * once its wide convolutions are collapsed. */
#include <stdio.h>

#include "base/alloc.h"
#include "model/arch.h"

static int trunk_length(const UpzTensorSet *set)
{
    int n = 0;
    while (n < 4096 && upz_arch_has(set, "trunk.%d.weight", n)) n++;
    return n;
}

static int recognise(const UpzTensorSet *set)
{
    return upz_arch_has(set, "head.weight") && upz_arch_has(set, "head.slope") &&
           upz_arch_has(set, "tail.weight");
}

static int build(UpzTensorSet *set, UpzGraph *g, UprezModelFacts *facts, char **detail,
                 UprezError *err)
{
    int n = trunk_length(set);
    const UpzTensor *head = upz_arch_tensor(set, "head.weight");
    const UpzTensor *tail = upz_arch_tensor(set, "tail.weight");
    char shape[96];
    if (!head || head->n_dims != 4 || head->dims[1] != 1)
        return upz_fail(err, UPREZ_ERR_MODEL, "'head.weight' is %s; 1 input channel was expected",
                        head ? upz_arch_shape(head, shape) : "missing");
    int64_t width = head->dims[0];
    int scale = tail && tail->n_dims == 4 ? upz_arch_square(tail->dims[0], 1) : 0;
    if (!scale)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'tail.weight' is %s; its first number should be the square of the scale",
                        tail ? upz_arch_shape(tail, shape) : "missing");
    int in = upz_graph_input(g, 1, err);
    int features = upz_arch_conv_prelu(g, set, in, "head", "head.slope", err), v = features;
    for (int i = 0; i < n; i++) {
        char layer[32], slopes[32];
        snprintf(layer, sizeof(layer), "trunk.%d", i);
        snprintf(slopes, sizeof(slopes), "trunk.%d.slope", i);
        v = upz_arch_conv_prelu(g, set, v, layer, slopes, err);
    }
    if (n) v = upz_graph_binary(g, UPZ_OP_ADD, v, features, 1, 1, err);
    v = upz_arch_conv(g, set, v, "tail", UPZ_ACT_NONE, 0, err);
    int base = in;
    if (scale > 1) {
        v = upz_graph_simple(g, UPZ_OP_SHUFFLE, v, scale, err);
        base = upz_graph_simple(g, UPZ_OP_NEAREST, in, scale, err);
    }
    v = upz_graph_binary(g, UPZ_OP_ADD, v, base, 1, 1, err);
    facts->input = UPREZ_INPUT_Y_STUDIO;
    *detail = upz_asprintf("chain on luma, %lld features, %d convolutions in the trunk",
                           (long long)width, n);
    return upz_graph_finish(g, v, facts, err);
}

extern const UpzArch upz_arch_uprez;
const UpzArch upz_arch_uprez = {"uprez", recognise, build};
