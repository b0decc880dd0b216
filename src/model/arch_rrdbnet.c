/* RRDBNet (ESRGAN, Real-ESRGAN, BSRGAN): residual-in-residual dense blocks, then nearest-neighbour
 * doublings, each with a convolution. A pixel-unshuffle front makes 2x and 1x networks of it. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/arch.h"

/* The same tensors go by three sets of names. */
typedef enum Style { BASICSR, ESRGAN, OLD, STYLES } Style;

static const struct {
    const char *about, *first;
} styles[STYLES] = {
    [BASICSR] = {"BasicSR names (body.N.rdbM)", "conv_first"},
    [ESRGAN] = {"ESRGAN names (RRDB_trunk.N.RDBM)", "conv_first"},
    [OLD] = {"old ESRGAN names (model.1.sub.N.RDBM)", "model.0"},
};

enum { NAME = 64 };

static void dense_name(char *out, Style s, int block, int rdb, int conv)
{
    if (s == BASICSR)
        snprintf(out, NAME, "body.%d.rdb%d.conv%d", block, rdb, conv);
    else if (s == ESRGAN)
        snprintf(out, NAME, "RRDB_trunk.%d.RDB%d.conv%d", block, rdb, conv);
    else
        snprintf(out, NAME, "model.1.sub.%d.RDB%d.conv%d.0", block, rdb, conv);
}

static Style style_of(const UpzTensorSet *set)
{
    int s = BASICSR;
    for (; s < STYLES; s++) {
        char name[NAME];
        dense_name(name, (Style)s, 0, 1, 1);
        if (upz_arch_has(set, "%s.weight", styles[s].first) && upz_arch_has(set, "%s.weight", name))
            break;
    }
    return (Style)s;
}

static int recognise(const UpzTensorSet *set)
{
    return style_of(set) != STYLES;
}

/* The layers around the blocks. */
typedef struct Tail {
    char body[NAME], up[4][NAME], hr[NAME], last[NAME];
    int ups;
} Tail;

static void find_tail(Tail *t, const UpzTensorSet *set, Style s, int blocks)
{
    t->ups = 0;
    if (s == OLD) {
        /* a sequence in which upsampling and activations take numbers too: 0 first, 1 blocks, then
         * 3, 6, … the doublings, HR two behind them, last two behind that */
        while (t->ups < 4 && !(upz_arch_has(set, "model.%d.weight", 3 * t->ups + 2) &&
                               upz_arch_has(set, "model.%d.weight", 3 * t->ups + 4)))
            t->ups++;
        snprintf(t->body, NAME, "model.1.sub.%d", blocks);
        snprintf(t->hr, NAME, "model.%d", 3 * t->ups + 2);
        snprintf(t->last, NAME, "model.%d", 3 * t->ups + 4);
        for (int i = 0; i < t->ups; i++) snprintf(t->up[i], NAME, "model.%d", 3 * (i + 1));
        return;
    }
    for (; t->ups < 4; t->ups++) {
        snprintf(t->up[t->ups], NAME, s == BASICSR ? "conv_up%d" : "upconv%d", t->ups + 1);
        if (!upz_arch_has(set, "%s.weight", t->up[t->ups])) break;
    }
    snprintf(t->body, NAME, s == BASICSR ? "conv_body" : "trunk_conv");
    snprintf(t->hr, NAME, s == BASICSR ? "conv_hr" : "HRconv");
    snprintf(t->last, NAME, "conv_last");
}

/* Five convolutions, each of all maps before it; a fifth of the result is added to x. */
static int dense_block(UpzGraph *g, UpzTensorSet *set, Style s, int block, int rdb, int x,
                       UprezError *err)
{
    int maps[5] = {x}, v = x;
    for (int c = 1; c <= 5; c++) {
        char name[NAME];
        dense_name(name, s, block, rdb, c);
        v = c > 1 ? upz_graph_concat(g, maps, c, err) : x;
        v = upz_arch_conv(g, set, v, name, c < 5 ? UPZ_ACT_LEAKY : UPZ_ACT_NONE, 0.2f, err);
        if (v < 0) return v;
        if (c < 5) maps[c] = v;
    }
    return upz_graph_binary(g, UPZ_OP_ADD, v, x, 0.2f, 1, err);
}

static int check(UpzTensorSet *set, const UpzTensor *first, UprezError *err)
{
    char shape[96];
    for (size_t i = 0; i < set->n; i++)
        if (strstr(set->items[i].name, ".conv1x1."))
            return upz_fail(err, UPREZ_ERR_MODEL,
                            "'%.100s' makes it an ESRGAN+ network (noise and 1x1 shortcuts), which "
                            "is not supported; RRDBNet without them is",
                            set->items[i].name);
    if (first->n_dims != 4)
        return upz_fail(err, UPREZ_ERR_MODEL, "'%s' is %s; a 3x3 convolution was expected",
                        first->name, upz_arch_shape(first, shape));
    return 0;
}

static int build(UpzTensorSet *set, UpzGraph *g, UprezModelFacts *facts, char **detail,
                 UprezError *err)
{
    Style s = style_of(set);
    const UpzTensor *first = upz_arch_tensor(set, "%s.weight", styles[s].first);
    int r = check(set, first, err);
    if (r < 0) return r;
    char name[NAME];
    int blocks = 1;
    for (; blocks < 256; blocks++) {
        dense_name(name, s, blocks, 1, 1);
        if (!upz_arch_has(set, "%s.weight", name)) break;
    }
    dense_name(name, s, 0, 1, 1);
    const UpzTensor *grow = upz_arch_tensor(set, "%s.weight", name);
    int64_t width = first->dims[0], in = first->dims[1], growth = grow->dims[0];
    Tail tail;
    find_tail(&tail, set, s, blocks);
    const UpzTensor *last = upz_arch_tensor(set, "%s.weight", tail.last);
    int64_t out = last && last->n_dims == 4 ? last->dims[0] : 0;
    int front = out ? upz_arch_square(in, out) : 0;
    char shape[96];
    if (!front || (out != 3 && out != 1) || (front != 1 && front != 2 && front != 4))
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "'%s' is %s and the last layer '%s' makes %lld channels; an RRDBNet takes "
                        "3, 12 or 48 channels and makes 3",
                        first->name, upz_arch_shape(first, shape), tail.last, (long long)out);

    int v = upz_graph_input(g, (int)out, err);
    if (front > 1) v = upz_graph_simple(g, UPZ_OP_UNSHUFFLE, v, front, err);
    int features = v = upz_arch_conv(g, set, v, styles[s].first, UPZ_ACT_NONE, 0, err);
    for (int b = 0; b < blocks && v >= 0; b++) {
        int x = v;
        for (int rdb = 1; rdb <= 3; rdb++) v = v < 0 ? v : dense_block(g, set, s, b, rdb, v, err);
        v = upz_graph_binary(g, UPZ_OP_ADD, v, x, 0.2f, 1, err);
    }
    v = upz_arch_conv(g, set, v, tail.body, UPZ_ACT_NONE, 0, err);
    v = upz_graph_binary(g, UPZ_OP_ADD, v, features, 1, 1, err);
    for (int i = 0; i < tail.ups; i++) {
        v = upz_graph_simple(g, UPZ_OP_NEAREST, v, 2, err);
        v = upz_arch_conv(g, set, v, tail.up[i], UPZ_ACT_LEAKY, 0.2f, err);
    }
    v = upz_arch_conv(g, set, v, tail.hr, UPZ_ACT_LEAKY, 0.2f, err);
    v = upz_arch_conv(g, set, v, tail.last, UPZ_ACT_NONE, 0, err);
    facts->input = out == 3 ? UPREZ_INPUT_RGB : UPREZ_INPUT_Y_FULL;
    g->pad_mode = UPZ_PAD_REFLECT; /* as Real-ESRGAN's own inference pads */
    char unshuffle[48] = "";
    if (front > 1) snprintf(unshuffle, sizeof(unshuffle), ", pixel-unshuffle(%d) front", front);
    *detail = upz_asprintf("RRDBNet, %lld features, %d blocks, growth %lld, %d doublings%s, %s",
                           (long long)width, blocks, (long long)growth, tail.ups, unshuffle,
                           styles[s].about);
    return upz_graph_finish(g, v, facts, err);
}

extern const UpzArch upz_arch_rrdbnet;
const UpzArch upz_arch_rrdbnet = {"rrdbnet", recognise, build};
