/* Small seeded networks as .safetensors in memory: tests need no file and no PyTorch. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct TinyFile {
    uint8_t *data;
    size_t size;
    char header[65536];
    size_t header_len, floats;
    float *weights;
    uint32_t seed;
} TinyFile;

static inline float tiny_random(TinyFile *t)
{
    t->seed = t->seed * 1664525u + 1013904223u;
    return ((float)(t->seed >> 8) / 8388608.0f - 1.0f);
}

/* Appends a tensor of n_dims dims filled with gain * uniform(-1, 1). */
static inline void tiny_tensor(TinyFile *t, const char *name, int n_dims, const int *dims, float gain)
{
    size_t count = 1;
    char shape[64] = "";
    for (int i = 0; i < n_dims; i++) {
        count *= (size_t)dims[i];
        size_t n = strlen(shape);
        snprintf(shape + n, sizeof(shape) - n, "%s%d", i ? "," : "", dims[i]);
    }
    t->header_len += (size_t)snprintf(
        t->header + t->header_len, sizeof(t->header) - t->header_len,
        "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
        t->floats ? "," : "{", name, shape, t->floats * 4, (t->floats + count) * 4);
    t->weights = realloc(t->weights, (t->floats + count) * sizeof(float));
    for (size_t i = 0; i < count; i++) t->weights[t->floats + i] = gain * tiny_random(t);
    t->floats += count;
}

static inline void tiny_finish(TinyFile *t)
{
    t->header[t->header_len++] = '}';
    uint64_t n = t->header_len;
    t->size = 8 + t->header_len + t->floats * 4;
    t->data = malloc(t->size);
    memcpy(t->data, &n, 8);
    memcpy(t->data + 8, t->header, t->header_len);
    memcpy(t->data + 8 + t->header_len, t->weights, t->floats * 4);
    free(t->weights);
    t->weights = NULL;
}

/* SRVGGNetCompact: features, convolutions, scale; gains keep the activations near 1. */
static inline void tiny_srvgg(TinyFile *t, int features, int convs, int scale, uint32_t seed)
{
    memset(t, 0, sizeof(*t));
    t->seed = seed;
    char name[64];
    for (int i = 0; i <= convs + 1; i++) {
        int in = i ? features : 3, out = i <= convs ? features : 3 * scale * scale;
        int w[4] = {out, in, 3, 3};
        snprintf(name, sizeof(name), "body.%d.weight", 2 * i);
        tiny_tensor(t, name, 4, w, 1.4f / (3.0f * (float)(in < 4 ? 2 : in / 4)));
        snprintf(name, sizeof(name), "body.%d.bias", 2 * i);
        tiny_tensor(t, name, 1, &out, 0.05f);
        if (i <= convs) {
            snprintf(name, sizeof(name), "body.%d.weight", 2 * i + 1);
            tiny_tensor(t, name, 1, &out, 0.25f);
        }
    }
    tiny_finish(t);
}

#endif
