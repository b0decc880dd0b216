/* The ways to compute a convolution, best first. To add one: its conv_NAME.c, a line here and in
 * meson.build. */
#include "engine/cpu/conv.h"

#include "engine/cpu/pack.h"

extern const UpzConvOps upz_conv_amx_int8, upz_conv_amx_bf16, upz_conv_wino_fp16, upz_conv_wino, upz_conv_depthwise, upz_conv_direct;

const UpzConvOps *const upz_conv_ways[] = {
    &upz_conv_amx_int8,
    &upz_conv_amx_bf16,
    &upz_conv_wino_fp16,
    &upz_conv_wino,
    &upz_conv_depthwise,
    &upz_conv_direct, /* takes whatever is left */
    NULL,
};

UpzConvShape upz_conv_shape(const UpzGraph *g, const UpzNode *n)
{
    UpzConvShape s = {.in = g->nodes[n->src[0]].channels, .out = n->channels, .groups = n->groups,
                      .kernel_w = n->kernel_w, .kernel_h = n->kernel_h, .stride = n->stride,
                      .pad_x = n->pad_x, .pad_y = n->pad_y, .transposed = n->op == UPZ_OP_DECONV};
    if (!s.transposed) return s;
    upz_deconv_taps(n->kernel_w, n->stride, n->pad_x, &s.kernel_w, &s.pad_x);
    upz_deconv_taps(n->kernel_h, n->stride, n->pad_y, &s.kernel_h, &s.pad_y);
    s.out = n->channels * n->stride * n->stride;
    s.stride = 1;
    return s;
}

bool upz_conv_offered(const UpzConvOps *way, uint32_t features)
{
    return !features || (way->cpu & features) == way->cpu;
}

const UpzConvOps *upz_conv_choose(const UpzConvShape *shape, uint32_t features, UpzType narrowest, bool halves)
{
    const UpzConvOps *const *way = upz_conv_ways;
    while ((*way)->in > narrowest || ((*way)->halves && !halves) || !upz_conv_offered(*way, features) || !(*way)->takes(shape)) way++;
    return *way;
}
