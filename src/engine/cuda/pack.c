/* Weights to tiles of 64 outputs by 16 inputs. */
#include "engine/cuda/pack.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/tensor/half.h"

enum { TILE = 1024, BLOCK = 64, STEP = 16 }; /* halves of a tile; its outputs and inputs */

/* One layer's dense weights as they are asked for while packing. */
typedef struct Source {
    const UpzCudaLayer *layer;
    const UpzNode *node;
    const float *weights; /* [out][in][k][k] */
    int in, kernel;
    int *channel;         /* the graph's input channel of each padded one, -1: none */
    int padded;
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
    const int blocks = (s->node->channels + BLOCK - 1) / BLOCK, steps = s->padded / STEP;
    if (pair) return steps * 12;
    if (s->layer->up == 2) return 4 * blocks * 4 * steps;
    return blocks * s->kernel * s->kernel * steps;
}

/* The weight of the tile's (m, k), t-th tile in the kernel's order. */
static float at(const Source *s, int planes, bool pair, int t, int m, int k)
{
    const int steps = s->padded / STEP;
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
    const int in = s->channel[step * STEP + k];
    if (out >= s->node->channels || in < 0) return 0;
    out = output_of(s->layer, planes, out);
    if (s->layer->up == 2)
        return weight_up(s, out, in, parity / 2, parity % 2, tap / 2, tap % 2);
    if (s->kernel == 1) return weight(s, out, in, 1, 1);
    return weight(s, out, in, tap / 3, tap % 3);
}

static int pack_weights(const Source *s, int planes, bool pair, uint16_t *dst, UpzCpuLevel cpu,
                        UprezError *err)
{
    const int n = tiles_of(s, pair);
    float tile[TILE];
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
        upz_half_pack(dst, tile, TILE, cpu);
    }
    return 0;
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

static int source_init(Source *s, const UpzCudaNet *net, const UpzCudaLayer *l, UprezError *err)
{
    const UpzNode *n = &net->graph->nodes[l->node];
    *s = (Source){.layer = l, .node = n, .weights = net->graph->tensors[n->weights].data,
                  .kernel = n->kernel_w, .padded = l->src.chunks * 8};
    s->channel = upz_calloc((size_t)s->padded, sizeof(*s->channel));
    if (!s->channel)
        return upz_fail_memory(err, (size_t)s->padded * sizeof(*s->channel), "a layer's channels");
    int at_padded = 0, first = 0;
    for (int p = 0; p < l->n_parts; p++) {
        const int c = l->part_channels[p], wide = upz_cuda_chunks(c) * 8;
        for (int i = 0; i < wide; i++) {
            int from = i;
            if (l->in_dcr) from = i % (c / l->in_dcr) * l->in_dcr + i / (c / l->in_dcr);
            s->channel[at_padded++] = i < c ? first + from : -1;
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

/* Offsets (data NULL), or contents. */
static int walk(UpzCudaPacked *p, const UpzCudaNet *net, const bool *pair, UpzCpuLevel cpu,
                UprezError *err)
{
    size_t bytes = 0;
    for (int i = 0; i < net->n_layers; i++) {
        const UpzCudaLayer *l = &net->layers[i];
        UpzCudaConstants *c = &p->layers[i];
        *c = (UpzCudaConstants){SIZE_MAX, SIZE_MAX, SIZE_MAX};
        if (l->load) continue;
        Source s;
        int r = source_init(&s, net, l, err);
        if (r < 0) return r;
        const size_t floats = UPZ_ROUND_UP((size_t)s.node->channels, (size_t)64) * sizeof(float);
        c->weights = take(&bytes, (size_t)tiles_of(&s, pair[i]) * TILE * 2);
        c->bias = take(&bytes, floats);
        if (has_slopes(s.node)) c->slope = take(&bytes, floats);
        if (p->data) {
            float *slope = c->slope == SIZE_MAX ? NULL : (float *)(void *)(p->data + c->slope);
            pack_floats(&s, net->graph, net->planes, (float *)(void *)(p->data + c->bias), slope);
            r = pack_weights(&s, net->planes, pair[i], (uint16_t *)(void *)(p->data + c->weights), cpu,
                             err);
        }
        upz_free(s.channel);
        if (r < 0) return r;
    }
    p->bytes = bytes;
    return 0;
}

int upz_cuda_pack(UpzCudaPacked *out, const UpzCudaNet *net, const bool *pair, UpzCpuLevel cpu,
                  UprezError *err)
{
    *out = (UpzCudaPacked){.layers = upz_calloc((size_t)net->n_layers, sizeof(*out->layers))};
    if (!out->layers)
        return upz_fail_memory(err, (size_t)net->n_layers * sizeof(*out->layers), "the weights");
    int r = walk(out, net, pair, cpu, err);
    if (r >= 0 && !(out->data = upz_alloc_aligned(out->bytes)))
        r = upz_fail_memory(err, out->bytes, "the weights");
    if (r >= 0) {
        memset(out->data, 0, out->bytes);
        r = walk(out, net, pair, cpu, err);
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
