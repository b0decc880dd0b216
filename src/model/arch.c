#include "model/arch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static UpzTensor *find(const UpzTensorSet *set, const char *fmt, va_list ap)
{
    char name[256];
    int n = vsnprintf(name, sizeof(name), fmt, ap);
    if (n < 0 || (size_t)n >= sizeof(name)) return NULL;
    for (size_t i = 0; i < set->n; i++)
        if (set->items[i].data && !strcmp(set->items[i].name, name)) return &set->items[i];
    return NULL;
}

UpzTensor *upz_arch_tensor(UpzTensorSet *set, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    UpzTensor *t = find(set, fmt, ap);
    va_end(ap);
    return t;
}

bool upz_arch_has(const UpzTensorSet *set, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool found = find(set, fmt, ap) != NULL;
    va_end(ap);
    return found;
}

void upz_arch_drop(UpzTensor *t)
{
    if (!t) return;
    upz_free_aligned(t->data);
    t->data = NULL;
}

static int conv(UpzGraph *g, UpzTensorSet *set, int src, const char *layer, UpzAct act, float slope,
                int slopes, UprezError *err)
{
    UpzTensor *w = upz_arch_tensor(set, "%s.weight", layer);
    if (!w) return upz_fail(err, UPREZ_ERR_MODEL, "tensor '%s.weight' is missing", layer);
    int weights = upz_graph_tensor(g, w, err), bias = UPZ_NO_TENSOR;
    if (weights < 0) return weights;
    UpzTensor *b = upz_arch_tensor(set, "%s.bias", layer);
    if (b && (bias = upz_graph_tensor(g, b, err)) < 0) return bias;
    return upz_graph_conv(g, src, weights, bias, act, slope, slopes, err);
}

int upz_arch_conv(UpzGraph *g, UpzTensorSet *set, int src, const char *layer, UpzAct act,
                  float slope, UprezError *err)
{
    return src < 0 ? src : conv(g, set, src, layer, act, slope, UPZ_NO_TENSOR, err);
}

int upz_arch_conv_prelu(UpzGraph *g, UpzTensorSet *set, int src, const char *layer,
                        const char *slopes, UprezError *err)
{
    if (src < 0) return src;
    UpzTensor *t = upz_arch_tensor(set, "%s", slopes);
    if (!t) return upz_fail(err, UPREZ_ERR_MODEL, "tensor '%s' (PReLU slopes) is missing", slopes);
    int s = upz_graph_tensor(g, t, err);
    return s < 0 ? s : conv(g, set, src, layer, UPZ_ACT_PRELU, 0, s, err);
}

void upz_arch_flat(const UpzTensor *w, const UpzTensor *b, const double *in, double *out)
{
    int64_t area = w->dims[2] * w->dims[3];
    for (int64_t o = 0; o < w->dims[0]; o++) {
        double v = b ? (double)b->data[o] : 0;
        for (int64_t i = 0; i < w->dims[1]; i++)
            for (int64_t k = 0; k < area; k++)
                v += in[i] * (double)w->data[(o * w->dims[1] + i) * area + k];
        out[o] = v;
    }
}

const char *upz_arch_shape(const UpzTensor *t, char *buf)
{
    int at = 0;
    snprintf(buf, 96, "one number");
    for (int i = 0; i < t->n_dims && at < 80; i++)
        at += snprintf(buf + at, 96 - (size_t)at, "%s%lld", i ? "x" : "", (long long)t->dims[i]);
    return buf;
}

int upz_arch_square(int64_t n, int64_t channels)
{
    for (int s = 1; s <= 16; s++)
        if (channels * s * s == n) return s;
    return 0;
}
