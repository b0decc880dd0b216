/* Weights in the order the kernels read them. */
#include "engine/cpu/pack.h"

#include <string.h>

#include "base/alloc.h"

static float *zeros(size_t count, size_t *bytes)
{
    size_t size;
    if (!upz_mul_size(count, sizeof(float), &size)) return NULL;
    float *p = upz_alloc_aligned(size);
    if (!p) return NULL;
    memset(p, 0, size);
    if (bytes) *bytes += size;
    return p;
}

/* Order of the chain: kernel rows, then views, then kernel columns, then channels. */
float *upz_pack_direct(const UpzStage *s, const float *weights, size_t *bytes)
{
    const int out = upz_pixel_pitch(s->channels);
    const size_t taps = (size_t)s->kernel_h * (size_t)s->kernel_w;
    size_t count;
    if (!upz_mul_size(taps * (size_t)s->in, (size_t)out, &count)) return NULL;
    float *packed = zeros(count, bytes), *to = packed;
    if (!packed) return NULL;
    for (int ky = 0; ky < s->kernel_h; ky++) {
        int first = 0;
        for (int v = 0; v < s->n_inputs; first += s->views[v++].channels)
            for (int kx = 0; kx < s->kernel_w; kx++)
                for (int i = 0; i < s->views[v].channels; i++, to += out) {
                    const float *from = weights + (size_t)(first + i) * taps +
                                        (size_t)ky * (size_t)s->kernel_w + (size_t)kx;
                    for (int o = 0; o < s->channels; o++)
                        to[o] = from[(size_t)o * (size_t)s->in * taps];
                }
    }
    return packed;
}

/* G of the transform, one row a point, in double; see kernels.h for the points. */
static void wino_filter(double g[UPZ_WINO_IN][3])
{
    const double at[5] = {0, UPZ_WINO_A, -UPZ_WINO_A, UPZ_WINO_B, -UPZ_WINO_B};
    for (int i = 0; i < 5; i++) {
        double f = 1;
        for (int j = 0; j < 5; j++)
            if (j != i) f *= at[i] - at[j];
        for (int k = 0; k < 3; k++) g[i][k] = (k == 0 ? 1 : k == 1 ? at[i] : at[i] * at[i]) / f;
    }
    g[5][0] = g[5][1] = 0;
    g[5][2] = 1;
}

float *upz_pack_wino(const UpzStage *s, const float *weights, size_t *bytes)
{
    const int out = upz_pixel_pitch(s->channels);
    const size_t plane = (size_t)s->in * (size_t)out;
    float *packed = zeros(UPZ_WINO_POINTS * plane, bytes);
    if (!packed) return NULL;
    double g[UPZ_WINO_IN][3];
    wino_filter(g);
    for (int o = 0; o < s->channels; o++)
        for (int i = 0; i < s->in; i++) {
            const float *k = weights + ((size_t)o * (size_t)s->in + (size_t)i) * 9;
            double half[UPZ_WINO_IN][3];
            for (int a = 0; a < UPZ_WINO_IN; a++)
                for (int x = 0; x < 3; x++)
                    half[a][x] = g[a][0] * k[x] + g[a][1] * k[3 + x] + g[a][2] * k[6 + x];
            for (int a = 0; a < UPZ_WINO_IN; a++)
                for (int b = 0; b < UPZ_WINO_IN; b++)
                    packed[(size_t)(a * UPZ_WINO_IN + b) * plane + (size_t)i * (size_t)out + o] =
                        (float)(half[a][0] * g[b][0] + half[a][1] * g[b][1] + half[a][2] * g[b][2]);
        }
    return packed;
}

float *upz_pack_depthwise(const UpzStage *s, const float *weights, size_t *bytes)
{
    const size_t taps = (size_t)s->kernel_h * (size_t)s->kernel_w;
    float *packed = zeros(taps * (size_t)s->pitch, bytes);
    if (!packed) return NULL;
    for (size_t t = 0; t < taps; t++)
        for (int c = 0; c < s->channels; c++)
            packed[t * (size_t)s->pitch + c] = weights[(size_t)c * taps + t];
    return packed;
}

float *upz_pack_channels(const float *values, int64_t have, int n, float otherwise, size_t *bytes)
{
    float *packed = zeros((size_t)upz_pixel_pitch(n), bytes);
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
    float *dense = zeros(count, NULL), *to = dense;
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
    float *dense = zeros(count, NULL);
    if (!dense) return NULL;
    for (int o = 0; o < n->channels; o++)
        memcpy(dense + ((size_t)o * (size_t)s->in + (size_t)(o / out * in)) * taps,
               weights + (size_t)o * (size_t)in * taps, (size_t)in * taps * sizeof(float));
    return dense;
}
