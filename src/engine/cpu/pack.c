/* Weights in the order the kernels read them. */
#include "engine/cpu/pack.h"

#include <string.h>

#include "base/alloc.h"

float *upz_pack_zeros(size_t count, size_t *bytes)
{
    size_t size;
    if (!upz_mul_size(count, sizeof(float), &size)) return NULL;
    float *p = upz_alloc_aligned(size);
    if (!p) return NULL;
    memset(p, 0, size);
    if (bytes) *bytes += size;
    return p;
}

float *upz_pack_channels(const float *values, int64_t have, int n, int pitch, float otherwise, size_t *bytes)
{
    float *packed = upz_pack_zeros((size_t)pitch, bytes);
    if (!packed) return NULL;
    for (int c = 0; c < n; c++)
        packed[c] = !values ? otherwise : have == 1 ? values[0] : values[c];
    return packed;
}

/* Source offsets t that meet output phase r: r + pad - t * stride lies in 0 … kernel - 1. */
static void phase_range(int kernel, int pad, int stride, int *min, int *max)
{
    *min = -upz_floor_div(-(pad - kernel + 1), stride);
    *max = upz_floor_div(stride - 1 + pad, stride);
}

void upz_deconv_taps(int kernel, int stride, int pad, int *taps, int *before)
{
    int first, last;
    phase_range(kernel, pad, stride, &first, &last);
    *taps = last - first + 1;
    *before = -first;
}

float *upz_dense_deconv(UpzStage *s, const UpzNode *n, const float *weights)
{
    int x0, x1, y0, y1;
    phase_range(n->kernel_w, n->pad_x, n->stride, &x0, &x1);
    phase_range(n->kernel_h, n->pad_y, n->stride, &y0, &y1);
    s->kernel_w = x1 - x0 + 1, s->kernel_h = y1 - y0 + 1;
    s->pad_x = -x0, s->pad_y = -y0;
    s->stride = 1;
    const int f = n->stride, out = n->channels / n->groups, in = s->in / n->groups;
    size_t count, taps = (size_t)s->kernel_w * (size_t)s->kernel_h;
    if (!upz_mul_size((size_t)n->channels * (size_t)(f * f), (size_t)s->in * taps, &count))
        return NULL;
    float *dense = upz_pack_zeros(count, NULL), *to = dense;
    if (!dense) return NULL;
    for (int o = 0; o < n->channels; o++)
        for (int r = 0; r < f * f; r++)
            for (int i = 0; i < s->in; i++) {
                const float *from = weights + ((size_t)i * (size_t)out + (size_t)(o % out)) *
                                                  (size_t)(n->kernel_w * n->kernel_h);
                for (int ty = y0; ty <= y1; ty++)
                    for (int tx = x0; tx <= x1; tx++, to++) {
                        int ky = r / f + n->pad_y - ty * f, kx = r % f + n->pad_x - tx * f;
                        if (ky >= 0 && ky < n->kernel_h && kx >= 0 && kx < n->kernel_w &&
                            i / in == o / out)
                            *to = from[ky * n->kernel_w + kx];
                    }
            }
    return dense;
}

float *upz_dense_groups(const UpzStage *s, const UpzNode *n, const float *weights)
{
    const int out = n->channels / n->groups, in = s->in / n->groups;
    const size_t taps = (size_t)n->kernel_w * (size_t)n->kernel_h;
    size_t count;
    if (!upz_mul_size((size_t)n->channels, (size_t)s->in * taps, &count)) return NULL;
    float *dense = upz_pack_zeros(count, NULL);
    if (!dense) return NULL;
    for (int o = 0; o < n->channels; o++)
        memcpy(dense + ((size_t)o * (size_t)s->in + (size_t)(o / out * in)) * taps,
               weights + (size_t)o * (size_t)in * taps, (size_t)in * taps * sizeof(float));
    return dense;
}
