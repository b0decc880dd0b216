/* Depthwise convolutions in fp32: each channel by itself. */
#include "engine/cpu/conv.h"
#include "engine/cpu/epilogue.h"
#include "engine/cpu/pack.h"

static bool takes(const UpzConvShape *s)
{
    return !s->transposed && s->groups > 1 && s->groups == s->out && s->groups == s->in;
}

static void *pack(const UpzProgram *p, const UpzStage *s, const float *weights, const float *factors,
                  size_t *bytes)
{
    const size_t taps = (size_t)s->kernel_h * (size_t)s->kernel_w;
    float *packed = upz_pack_zeros(taps * (size_t)s->pitch, bytes);
    if (!packed) return NULL;
    for (size_t t = 0; t < taps; t++)
        for (int c = 0; c < s->channels; c++)
            packed[t * (size_t)s->pitch + c] = weights[(size_t)c * taps + t];
    return packed;
}

static size_t scratch(const UpzProgram *p, const UpzStage *s, int width)
{
    return (size_t)(s->kernel_w * s->kernel_h) * sizeof(float *);
}

static void run(const UpzPiece *p)
{
    const UpzStage *s = p->s;
    const ptrdiff_t pitch = upz_view_pitch(p, 0);
    const float **taps = p->scratch->conv;
    for (int y = p->y0; y < p->y1; y++) {
        int n = 0;
        for (int ky = 0; ky < s->kernel_h; ky++)
            for (int kx = 0; kx < s->kernel_w; kx++)
                taps[n++] = (const float *)upz_view_row(p, 0, y * s->stride - s->pad_y + ky) +
                            ((ptrdiff_t)p->x0 * s->stride - s->pad_x + kx) * pitch;
        p->f->kernels->depthwise(&(UpzDepthwise){.taps = taps, .n_taps = n,
            .step = s->stride * pitch, .weights = s->weights, .channels = s->pitch,
            .bias = s->bias, .slope = s->slope,
            .out = upz_out_floats(p, y), .out_step = s->pitch,
            .count = p->x1 - p->x0});
        upz_finish_row(p, y, p->x0, p->x1);
    }
}

const UpzConvOps upz_conv_depthwise = {
    .name = "fp32-depthwise",
    .in = UPZ_TYPE_F32,
    .group = UPZ_CPU_GROUP,
    .tile = 1,
    .strips = 1,
    .grouped = true,
    .takes = takes,
    .pack = pack,
    .scratch = scratch,
    .run = run,
};
