/* The plain-C reference of every operation: what each engine is compared with. Written to be read,
 * not to be fast; feature maps are (channel, y, x). Sums run over input channels, then kernel rows,
 * then kernel columns, starting from the bias, in single precision without fused multiply-add.
 *
 * Formulas as PyTorch documents them: Conv2d, ConvTranspose2d, PixelShuffle, and Upsample with
 * align_corners=False (bicubic: Keys' kernel, a = -0.75; nearest: half-pixel centres). */
#include "model/graph.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "uprez/picture.h"

typedef struct Map {
    float *data;
    int channels, w, h;
    int readers; /* nodes still to come that read it */
} Map;

static float *plane_of(const Map *m, int c)
{
    return m->data + (size_t)c * (size_t)m->w * (size_t)m->h;
}

/* dst[x] += weight * src[x * stride + shift] wherever that lies inside the row. */
static void add_row(float *dst, int dst_w, const float *src, int src_w, int stride, int shift,
                    float weight)
{
    int x = 0, end = dst_w;
    while (x < end && x * stride + shift < 0) x++;
    while (end > x && (end - 1) * stride + shift >= src_w) end--;
    for (; x < end; x++) dst[x] += weight * src[x * stride + shift];
}

static void conv(const UpzGraph *g, const UpzNode *n, const Map *src, Map *dst)
{
    const float *weights = g->tensors[n->weights].data;
    int in = src->channels / n->groups, out = dst->channels / n->groups;
    for (int o = 0; o < dst->channels; o++) {
        int group = o / out;
        for (int y = 0; y < dst->h; y++) {
            float *row = plane_of(dst, o) + (size_t)y * (size_t)dst->w;
            float bias = n->bias == UPZ_NO_TENSOR ? 0 : g->tensors[n->bias].data[o];
            for (int x = 0; x < dst->w; x++) row[x] = bias;
            for (int i = 0; i < in; i++) {
                const float *plane = plane_of(src, group * in + i);
                const float *w = weights + ((size_t)o * in + i) * n->kernel_h * n->kernel_w;
                for (int ky = 0; ky < n->kernel_h; ky++) {
                    int sy = y * n->stride - n->pad_y + ky;
                    if (sy < 0 || sy >= src->h) continue;
                    for (int kx = 0; kx < n->kernel_w; kx++)
                        add_row(row, dst->w, plane + (size_t)sy * (size_t)src->w, src->w,
                                n->stride, kx - n->pad_x, w[ky * n->kernel_w + kx]);
                }
            }
        }
    }
}

static void deconv(const UpzGraph *g, const UpzNode *n, const Map *src, Map *dst)
{
    const float *weights = g->tensors[n->weights].data;
    int in = src->channels / n->groups, out = dst->channels / n->groups;
    for (int o = 0; o < dst->channels; o++) {
        float *plane = plane_of(dst, o);
        float bias = n->bias == UPZ_NO_TENSOR ? 0 : g->tensors[n->bias].data[o];
        for (size_t k = 0; k < (size_t)dst->w * (size_t)dst->h; k++) plane[k] = bias;
        for (int i = 0; i < in; i++) {
            int c = o / out * in + i;
            const float *w = weights + ((size_t)c * out + o % out) * n->kernel_h * n->kernel_w;
            for (int sy = 0; sy < src->h; sy++)
                for (int ky = 0; ky < n->kernel_h; ky++) {
                    int y = sy * n->stride + ky - n->pad_y;
                    if (y < 0 || y >= dst->h) continue;
                    for (int sx = 0; sx < src->w; sx++)
                        for (int kx = 0; kx < n->kernel_w; kx++) {
                            int x = sx * n->stride + kx - n->pad_x;
                            if (x < 0 || x >= dst->w) continue;
                            plane[(size_t)y * (size_t)dst->w + x] +=
                                w[ky * n->kernel_w + kx] *
                                plane_of(src, c)[(size_t)sy * (size_t)src->w + sx];
                        }
                }
        }
    }
}

static void shuffle(const UpzNode *n, const Map *src, Map *dst, bool inverse)
{
    const Map *small = inverse ? dst : src, *big = inverse ? src : dst;
    int f = n->factor;
    for (int c = 0; c < big->channels; c++)
        for (int y = 0; y < big->h; y++)
            for (int x = 0; x < big->w; x++) {
                int phase = y % f * f + x % f;
                int from = n->dcr ? phase * big->channels + c : c * f * f + phase;
                float *s = plane_of(small, from) + (size_t)(y / f) * (size_t)small->w + x / f;
                float *b = plane_of(big, c) + (size_t)y * (size_t)big->w + x;
                if (inverse) *s = *b;
                else *b = *s;
            }
}

/* Source position and weights of the 4 taps around it for one output row or column. */
static void taps(const UpzNode *n, int at, int size, int index[4], float weight[4])
{
    double centre = (at + 0.5) * n->resize_den / n->resize_num;
    memset(weight, 0, 4 * sizeof(*weight));
    if (n->filter == UPZ_FILTER_NEAREST) {
        index[0] = index[1] = index[2] = index[3] = UPZ_MIN((int)floor(centre), size - 1);
        weight[1] = 1;
        return;
    }
    double pos = centre - 0.5, base = floor(pos), t = pos - base;
    if (n->filter == UPZ_FILTER_BILINEAR) {
        weight[1] = (float)(1 - t);
        weight[2] = (float)t;
    } else {
        const double a = -0.75;
        double d[4] = {t + 1, t, 1 - t, 2 - t};
        for (int k = 0; k < 4; k++)
            weight[k] = (float)(d[k] <= 1 ? ((a + 2) * d[k] - (a + 3)) * d[k] * d[k] + 1
                                          : ((a * d[k] - 5 * a) * d[k] + 8 * a) * d[k] - 4 * a);
    }
    for (int k = 0; k < 4; k++) index[k] = UPZ_CLAMP((int)base - 1 + k, 0, size - 1);
}

static void resize(const UpzNode *n, const Map *src, Map *dst)
{
    for (int y = 0; y < dst->h; y++) {
        int iy[4], ix[4];
        float wy[4], wx[4];
        taps(n, y, src->h, iy, wy);
        for (int x = 0; x < dst->w; x++) {
            taps(n, x, src->w, ix, wx);
            for (int c = 0; c < dst->channels; c++) {
                float sum = 0;
                for (int j = 0; j < 4; j++) {
                    const float *row = plane_of(src, c) + (size_t)iy[j] * (size_t)src->w;
                    float line = 0;
                    for (int i = 0; i < 4; i++) line += wx[i] * row[ix[i]];
                    sum += wy[j] * line;
                }
                plane_of(dst, c)[(size_t)y * (size_t)dst->w + x] = sum;
            }
        }
    }
}

static void nearest(const UpzNode *n, const Map *src, Map *dst)
{
    for (int c = 0; c < dst->channels; c++)
        for (int y = 0; y < dst->h; y++)
            for (int x = 0; x < dst->w; x++)
                plane_of(dst, c)[(size_t)y * (size_t)dst->w + x] =
                    plane_of(src, c)[(size_t)(y / n->factor) * (size_t)src->w + x / n->factor];
}

static float activate(const UpzGraph *g, const UpzNode *n, int channel, float x)
{
    switch (n->act) {
    case UPZ_ACT_RELU: return x > 0 ? x : 0;
    case UPZ_ACT_LEAKY: return x < 0 ? n->slope * x : x;
    case UPZ_ACT_PRELU: {
        const UpzTensor *t = &g->tensors[n->slopes];
        return x < 0 ? t->data[t->count == 1 ? 0 : channel] * x : x;
    }
    case UPZ_ACT_SIGMOID: return 1 / (1 + expf(-x));
    case UPZ_ACT_TANH: return tanhf(x);
    case UPZ_ACT_SILU: return x / (1 + expf(-x));
    case UPZ_ACT_GELU: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case UPZ_ACT_CLIP: return x < n->lo ? n->lo : x > n->hi ? n->hi : x;
    default: return x;
    }
}

static float channel_value(const UpzGraph *g, int tensor, int c, float otherwise)
{
    if (tensor == UPZ_NO_TENSOR) return otherwise;
    const UpzTensor *t = &g->tensors[tensor];
    return t->data[t->count == 1 ? 0 : c];
}

static void pointwise(const UpzGraph *g, const UpzNode *n, const Map *a, const Map *b, Map *dst)
{
    size_t plane = (size_t)dst->w * (size_t)dst->h;
    for (int c = 0; c < dst->channels; c++) {
        const float *pa = plane_of(a, n->op == UPZ_OP_SLICE ? c + n->first : c);
        const float *pb = b ? plane_of(b, c) : NULL;
        float *d = plane_of(dst, c);
        bool tensors = n->weights != UPZ_NO_TENSOR || n->bias != UPZ_NO_TENSOR;
        float scale = tensors ? channel_value(g, n->weights, c, 1) : n->alpha[0];
        float offset = tensors ? channel_value(g, n->bias, c, 0) : n->alpha[1];
        for (size_t k = 0; k < plane; k++) {
            switch (n->op) {
            case UPZ_OP_ADD: d[k] = n->alpha[0] * pa[k] + n->alpha[1] * pb[k]; break;
            case UPZ_OP_MUL: d[k] = pa[k] * pb[k]; break;
            case UPZ_OP_AFFINE: d[k] = pa[k] * scale + offset; break;
            default: d[k] = pa[k];
            }
        }
    }
}

static void concat(const UpzNode *n, const Map *maps, Map *dst)
{
    int c = 0;
    for (int i = 0; i < n->n_src; i++) {
        const Map *s = &maps[n->src[i]];
        memcpy(plane_of(dst, c), s->data,
               (size_t)s->channels * (size_t)s->w * (size_t)s->h * sizeof(float));
        c += s->channels;
    }
}

static void run_node(const UpzGraph *g, const UpzNode *n, const Map *maps, Map *dst)
{
    const Map *a = n->n_src > 0 ? &maps[n->src[0]] : NULL;
    const Map *b = n->n_src > 1 ? &maps[n->src[1]] : NULL;
    switch (n->op) {
    case UPZ_OP_CONV: conv(g, n, a, dst); break;
    case UPZ_OP_DECONV: deconv(g, n, a, dst); break;
    case UPZ_OP_CONCAT: concat(n, maps, dst); break;
    case UPZ_OP_SHUFFLE: shuffle(n, a, dst, false); break;
    case UPZ_OP_UNSHUFFLE: shuffle(n, a, dst, true); break;
    case UPZ_OP_NEAREST: nearest(n, a, dst); break;
    case UPZ_OP_RESIZE: resize(n, a, dst); break;
    default: pointwise(g, n, a, b, dst);
    }
    if (n->act == UPZ_ACT_NONE) return;
    for (int c = 0; c < dst->channels; c++) {
        float *p = plane_of(dst, c);
        for (size_t k = 0; k < (size_t)dst->w * (size_t)dst->h; k++)
            p[k] = activate(g, n, c, p[k]);
    }
}

static void release(Map *m)
{
    upz_free_aligned(m->data);
    m->data = NULL;
}

int upz_reference_run(const UpzGraph *g, const float *src, int width, int height, float *dst,
                      UprezError *err)
{
    if (width < 1 || height < 1 || width > UPREZ_SIDE_MAX || height > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a picture of %dx%d", width, height);
    Map *maps = upz_calloc(g->n_nodes, sizeof(*maps));
    if (!maps) return upz_fail_memory(err, g->n_nodes * sizeof(*maps), "the map list");
    int r = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_src; k++) maps[g->nodes[i].src[k]].readers++;
    maps[g->output].readers++;
    for (size_t i = 0; i < g->n_nodes && !r; i++) {
        const UpzNode *n = &g->nodes[i];
        Map *m = &maps[i];
        int64_t w = (int64_t)width * n->num, h = (int64_t)height * n->num;
        if (w % n->den || h % n->den) {
            r = upz_fail(err, UPREZ_ERR_USAGE, "%dx%d is not a size this network can take", width,
                         height);
            break;
        }
        m->w = (int)(w / n->den), m->h = (int)(h / n->den), m->channels = n->channels;
        size_t bytes = (size_t)m->w * (size_t)m->h * (size_t)m->channels * sizeof(float);
        m->data = upz_alloc_aligned(bytes);
        if (!m->data) {
            r = upz_fail_memory(err, bytes, "a feature map");
            break;
        }
        if (n->op == UPZ_OP_INPUT) memcpy(m->data, src, bytes);
        else run_node(g, n, maps, m);
        if ((int)i == g->output) memcpy(dst, m->data, bytes);
        for (int k = 0; k < n->n_src; k++)
            if (--maps[n->src[k]].readers == 0) release(&maps[n->src[k]]);
    }
    for (size_t i = 0; i < g->n_nodes; i++) release(&maps[i]);
    upz_free(maps);
    return r;
}
