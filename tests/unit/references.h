/* tests/data/references: index, numbers, and the formulas shared with tools/make_references.py. */
#ifndef REFERENCES_H
#define REFERENCES_H

#include <cjson/cJSON.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline uint32_t ref_mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

/* channels planes of w x h floats in 0..1; the caller frees. */
static inline float *ref_picture(int channels, int w, int h, uint32_t seed)
{
    float *p = malloc((size_t)channels * (size_t)w * (size_t)h * sizeof(*p));
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                int ramp = abs(((x * 9 + y * 5 + c * 40) & 511) - 256);
                uint32_t at = (uint32_t)((c * h + y) * w + x);
                int noise = (int)(ref_mix(at + seed * 1000003u) & 63);
                p[at] = (float)(ramp * 3 + noise * 4) / 1024;
            }
    return p;
}

static inline void ref_weights(float *out, size_t n, uint32_t seed, int shift)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(((double)(ref_mix((uint32_t)i + seed * 7368787u) >> 8) / 8388608 - 1) /
                         (1 << shift));
}

static inline char *ref_path(const char *name)
{
    const char *root = getenv("SOURCE_ROOT");
    static char path[4096];
    snprintf(path, sizeof(path), "%s/tests/data/references/%s", root ? root : ".", name);
    return path;
}

/* The whole file with a 0 behind it; NULL if it cannot be read. The caller frees. */
static inline char *ref_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *data = calloc(1, (size_t)n + 1);
    *size = fread(data, 1, (size_t)n, f);
    fclose(f);
    return data;
}

static inline cJSON *ref_index(void)
{
    size_t size;
    char *text = ref_file(ref_path("index.json"), &size);
    cJSON *j = text ? cJSON_Parse(text) : NULL;
    free(text);
    return j;
}

static inline double ref_number(const cJSON *j, const char *key, double otherwise)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(j, key);
    return cJSON_IsNumber(v) ? v->valuedouble : otherwise;
}

static inline int ref_int(const cJSON *j, const char *key, int otherwise)
{
    return (int)ref_number(j, key, otherwise);
}

static inline const char *ref_text(const cJSON *j, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(j, key));
    return s ? s : "";
}

static inline double ref_difference(const float *a, const float *b, size_t n)
{
    double max = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= max)) max = d; /* NaN counts */
    }
    return max;
}

#endif
