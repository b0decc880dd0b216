/* Weights to tiles of 64 outputs by 16 inputs, in 8 bits by 32. */
#include "engine/cuda/pack.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/tensor/half.h"

enum { TILE = 2048, BLOCK = 64, STEP = 16 }; /* bytes of a tile; its outputs and inputs in halves */

/* One layer's dense weights as they are asked for while packing. */
typedef struct Source {
    const UpzCudaLayer *layer;
    const UpzNode *node;
    const float *weights; /* [out][in][k][k] */
    int in, kernel;
    int *channel;         /* the graph's input channel of each padded one, -1: none */
    float *factor;        /* of each padded channel, in 8 bits */
    int padded, step;     /* step: inputs of a tile */
} Source;

/* Output channel o as the kernel counts -> the graph's. */
static int output_of(const UpzCudaLayer *l, int planes, int o)
{
    if (!l->dcr || !l->shuffled) return o;
    const int ff = l->factor * l->factor;
    return o % ff * planes + o / ff;
}

/* Tap (ky, kx) of a 3x3; a 1x1 has the middle one. */
static float weight(const Source *s, int out, int in, int ky, int kx)
{
    if (s->kernel == 1) {
        if (ky != 1 || kx != 1) return 0;
        ky = kx = 0;
    }
    return s->weights[(((size_t)out * (size_t)s->in + (size_t)in) * (size_t)s->kernel + (size_t)ky) *
                          (size_t)s->kernel + (size_t)kx];
}

/* Weight of tap (ty, tx) of the 2x2 that makes outputs of one parity: sum of the taps of the 3x3 that
 * fall on that source pixel. */
static float weight_up(const Source *s, int out, int in, int dy, int dx, int ty, int tx)
{
    float sum = 0;
    for (int ky = 0; ky < 3; ky++)
        for (int kx = 0; kx < 3; kx++)
            if ((dy + ky + 1) / 2 - dy == ty && (dx + kx + 1) / 2 - dx == tx)
                sum += weight(s, out, in, ky, kx);
    return sum;
}

static int tiles_of(const Source *s, bool pair)
{
    const int blocks = (s->node->channels + BLOCK - 1) / BLOCK, steps = s->padded / s->step;
    if (pair) return steps * 12;
    if (s->layer->up == 2) return 4 * blocks * 4 * steps;
    return blocks * s->kernel * s->kernel * steps;
}

/* The weight of the tile's (m, k), t-th tile in the kernel's order. */
static float at(const Source *s, int planes, bool pair, int t, int m, int k)
{
    const int steps = s->padded / s->step;
    int out, step, tap = 0, parity = 0;
    if (pair) {
        const int dx = t % 3, r = t / 3 % 4;
        step = t / 12;
        out = m % 32;
        tap = r - m / 32;
        if (tap < 0 || tap > 2) return 0;
        tap = 3 * tap + dx;
    } else {
        const int taps = s->layer->up == 2 ? 4 : s->kernel * s->kernel;
        const int blocks = (s->node->channels + BLOCK - 1) / BLOCK;
        step = t % steps;
        tap = t / steps % taps;
        out = t / steps / taps % blocks * BLOCK + m;
        parity = t / steps / taps / blocks;
    }
    const int in = s->channel[step * s->step + k];
    if (out >= s->node->channels || in < 0) return 0;
    out = output_of(s->layer, planes, out);
    if (s->layer->up == 2)
        return weight_up(s, out, in, parity / 2, parity % 2, tap / 2, tap % 2);
    if (s->kernel == 1) return weight(s, out, in, 1, 1);
    return weight(s, out, in, tap / 3, tap % 3);
}

static int pack_weights(const Source *s, int planes, bool pair, uint8_t *dst, UpzCpuLevel cpu,
                        UprezError *err)
{
    const int n = tiles_of(s, pair);
    float tile[TILE / 2];
    for (int t = 0; t < n; t++, dst += TILE) {
        for (int m = 0; m < BLOCK; m++)
            for (int k = 0; k < STEP; k++) {
                const float w = at(s, planes, pair, t, m, k);
                if (!(fabsf(w) < 65520.0f))
                    return upz_fail(err, UPREZ_ERR_MODEL, "layer %d of the network has the weight %g, "
                                    "which half precision cannot hold; use --engine cpu",
                                    s->layer->node, (double)w);
                tile[k / 8 * 512 + m * 8 + k % 8] = w;
            }
        upz_half_pack((uint16_t *)(void *)dst, tile, TILE / 2, cpu);
    }
    return 0;
}

/* Output (as the kernel counts) and first padded input of a tile's m and k. */
static int tile_out(const Source *s, bool pair, int t, int m)
{
    const int steps = s->padded / s->step, taps = s->layer->up == 2 ? 4 : s->kernel * s->kernel;
    const int blocks = (s->node->channels + BLOCK - 1) / BLOCK;
    return pair ? m % 32 : t / steps / taps % blocks * BLOCK + m;
}

static int tile_in(const Source *s, bool pair, int t)
{
    return (pair ? t / 12 : t % (s->padded / s->step)) * s->step;
}

/* Factor of each output's weights, and the weights. */
static void pack_eight(const Source *s, int planes, bool pair, int kind, uint8_t *dst, float *scale)
{
    const int n = tiles_of(s, pair), outputs = UPZ_ROUND_UP(s->node->channels, BLOCK);
    for (int t = 0; t < n; t++)
        for (int m = 0; m < BLOCK; m++)
            for (int k = 0; k < s->step; k++) {
                float *most = &scale[tile_out(s, pair, t, m)];
                const float w = at(s, planes, pair, t, m, k) * s->factor[tile_in(s, pair, t) + k];
                *most = UPZ_MAX(*most, fabsf(w));
            }
    for (int o = 0; o < outputs; o++)
        scale[o] = scale[o] > 0 ? scale[o] / upz_eight_largest(kind) : 1;
    for (int t = 0; t < n; t++, dst += TILE)
        for (int m = 0; m < BLOCK; m++)
            for (int k = 0; k < s->step; k++) {
                const float w = at(s, planes, pair, t, m, k) * s->factor[tile_in(s, pair, t) + k];
                dst[k / 16 * 1024 + m * 16 + k % 16] =
                    upz_eight_pack(kind, w / scale[tile_out(s, pair, t, m)]);
            }
}

static bool has_slopes(const UpzNode *n)
{
    return n->act == UPZ_ACT_RELU || n->act == UPZ_ACT_LEAKY || n->act == UPZ_ACT_PRELU;
}

static void pack_floats(const Source *s, const UpzGraph *g, int planes, float *bias, float *slope)
{
    const UpzNode *n = s->node;
    for (int o = 0; o < n->channels; o++) {
        const int from = output_of(s->layer, planes, o);
        bias[o] = n->bias == UPZ_NO_TENSOR ? 0 : g->tensors[n->bias].data[from];
        if (!slope) continue;
        slope[o] = n->act == UPZ_ACT_LEAKY ? n->slope : 0;
        if (n->act == UPZ_ACT_PRELU) {
            const UpzTensor *t = &g->tensors[n->slopes];
            slope[o] = t->data[t->count == 1 ? 0 : from];
        }
    }
}

static void source_free(Source *s)
{
    upz_free(s->channel);
    upz_free(s->factor);
}

static int source_init(Source *s, const UpzCudaNet *net, const UpzCudaLayer *l, int kind,
                       const UpzRanges *ranges, UprezError *err)
{
    const UpzNode *n = &net->graph->nodes[l->node];
    *s = (Source){.layer = l, .node = n, .weights = net->graph->tensors[n->weights].data,
                  .kernel = n->kernel_w, .padded = l->src.chunks * (l->eight ? 16 : 8),
                  .step = l->eight ? 2 * STEP : STEP};
    s->channel = upz_calloc((size_t)s->padded, sizeof(*s->channel));
    s->factor = upz_calloc((size_t)s->padded, sizeof(*s->factor));
    if (!s->channel || !s->factor) {
        source_free(s);
        return upz_fail_memory(err, (size_t)s->padded * sizeof(*s->channel), "a layer's channels");
    }
    int at_padded = 0, first = 0;
    for (int p = 0; p < l->n_parts; p++) {
        const int c = l->part_channels[p];
        const int wide = upz_cuda_chunks(c, l->eight) * (l->eight ? 16 : 8);
        for (int i = 0; i < wide; i++, at_padded++) {
            int from = i;
            if (l->in_dcr) from = i % (c / l->in_dcr) * l->in_dcr + i / (c / l->in_dcr);
            s->channel[at_padded] = i < c ? first + from : -1;
            if (l->eight && i < c)
                s->factor[at_padded] =
                    upz_eight_factor(kind, ranges->most[ranges->at[l->part_layer[p]] + (size_t)i]);
        }
        first += c;
    }
    s->in = first;
    return 0;
}

static size_t take(size_t *bytes, size_t n)
{
    const size_t at_byte = *bytes;
    *bytes += UPZ_ROUND_UP(n, (size_t)256);
    return at_byte;
}

static float *floats_at(const UpzCudaPacked *p, size_t at_byte)
{
    return at_byte == SIZE_MAX ? NULL : (float *)(void *)(p->data + at_byte);
}

/* Offsets (data NULL), or contents. */
static int walk(UpzCudaPacked *p, const UpzCudaNet *net, const bool *pair, int kind,
                const UpzRanges *ranges, UpzCpuLevel cpu, UprezError *err)
{
    size_t bytes = 0;
    for (int i = 0; i < net->n_layers; i++) {
        const UpzCudaLayer *l = &net->layers[i];
        UpzCudaConstants *c = &p->layers[i];
        *c = (UpzCudaConstants){SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
        if (l->load) continue;
        Source s;
        int r = source_init(&s, net, l, kind, ranges, err);
        if (r < 0) return r;
        const size_t floats = UPZ_ROUND_UP((size_t)s.node->channels, (size_t)64) * sizeof(float);
        c->weights = take(&bytes, (size_t)tiles_of(&s, pair[i]) * TILE);
        c->bias = take(&bytes, floats);
        if (has_slopes(s.node)) c->slope = take(&bytes, floats);
        if (l->eight) c->scale = take(&bytes, floats);
        if (l->dst8.map >= 0) c->inverse = take(&bytes, floats);
        if (p->data) {
            pack_floats(&s, net->graph, net->planes, floats_at(p, c->bias), floats_at(p, c->slope));
            if (l->eight)
                pack_eight(&s, net->planes, pair[i], kind, p->data + c->weights, floats_at(p, c->scale));
            else
                r = pack_weights(&s, net->planes, pair[i], p->data + c->weights, cpu, err);
            for (int o = 0; o < s.node->channels && l->dst8.map >= 0; o++)
                floats_at(p, c->inverse)[o] =
                    1 / upz_eight_factor(kind, ranges->most[ranges->at[i] + (size_t)o]);
        }
        source_free(&s);
        if (r < 0) return r;
    }
    p->bytes = bytes;
    return 0;
}

int upz_cuda_pack(UpzCudaPacked *out, const UpzCudaNet *net, const bool *pair, int kind,
                  const UpzRanges *ranges, UpzCpuLevel cpu, UprezError *err)
{
    *out = (UpzCudaPacked){.layers = upz_calloc((size_t)net->n_layers, sizeof(*out->layers))};
    if (!out->layers)
        return upz_fail_memory(err, (size_t)net->n_layers * sizeof(*out->layers), "the weights");
    int r = walk(out, net, pair, kind, ranges, cpu, err);
    if (r >= 0 && !(out->data = upz_alloc_aligned(out->bytes)))
        r = upz_fail_memory(err, out->bytes, "the weights");
    if (r >= 0) {
        memset(out->data, 0, out->bytes);
        r = walk(out, net, pair, kind, ranges, cpu, err);
    }
    if (r < 0) upz_cuda_packed_free(out);
    return r;
}

void upz_cuda_packed_free(UpzCudaPacked *p)
{
    upz_free_aligned(p->data);
    upz_free(p->layers);
    *p = (UpzCudaPacked){0};
}
