/* The parts of the resampler that compilers turn into vectors; compiled once per level. Levels that
 * define V16, a vector of 16-bit integers, and its v16_ functions get the column pass too. */
#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "picture/resize_dsp.h"

UPZ_INLINE void down_float_n(const float *const *rows, const float *w, int n, float *restrict dst,
                             int count)
{
    const float *restrict r0 = rows[0], *restrict r1 = rows[n > 1 ? 1 : 0],
                *restrict r2 = rows[n > 2 ? 2 : 0], *restrict r3 = rows[n > 3 ? 3 : 0],
                *restrict r4 = rows[n > 4 ? 4 : 0], *restrict r5 = rows[n > 5 ? 5 : 0];
    float w0 = w[0], w1 = w[n > 1 ? 1 : 0], w2 = w[n > 2 ? 2 : 0], w3 = w[n > 3 ? 3 : 0],
          w4 = w[n > 4 ? 4 : 0], w5 = w[n > 5 ? 5 : 0];
    for (int x = 0; x < count; x++) {
        float v = r0[x] * w0;
        if (n > 1) v = v + r1[x] * w1;
        if (n > 2) v = v + r2[x] * w2;
        if (n > 3) v = v + r3[x] * w3;
        if (n > 4) v = v + r4[x] * w4;
        if (n > 5) v = v + r5[x] * w5;
        dst[x] = v;
    }
}

UPZ_INLINE void add_float(float *restrict dst, const float *restrict row, float w, int count)
{
    for (int x = 0; x < count; x++) dst[x] = dst[x] + row[x] * w;
}

static void down_float(const float *const *rows, const float *w, int n, float *dst, int count)
{
    count = UPZ_ROUND_UP(count, UPZ_DOWN);
    switch (n) {
    case 1: down_float_n(rows, w, 1, dst, count); return;
    case 2: down_float_n(rows, w, 2, dst, count); return;
    case 3: down_float_n(rows, w, 3, dst, count); return;
    case 4: down_float_n(rows, w, 4, dst, count); return;
    case 5: down_float_n(rows, w, 5, dst, count); return;
    }
    down_float_n(rows, w, 6, dst, count);
    for (int k = 6; k < n; k++) add_float(dst, rows[k], w[k], count);
}

#define LOAD(name, T, STEP) \
    UPZ_INLINE void name(float *restrict d, const T *restrict s, int right, int n) \
    { \
        for (int i = 0; i < n; i++) d[i] = (float)(s[i * (STEP)] >> right); \
    }
LOAD(load_u8_1, uint8_t, 1)
LOAD(load_u8_2, uint8_t, 2)
LOAD(load_u8_3, uint8_t, 3)
LOAD(load_u8_4, uint8_t, 4)
LOAD(load_u16_1, uint16_t, 1)
LOAD(load_u16_2, uint16_t, 2)
LOAD(load_u16_3, uint16_t, 3)
LOAD(load_u16_4, uint16_t, 4)

static void load_float(float *dst, const void *src, int depth, int step, int right, int count)
{
    if (depth == 32) {
        const float *s = src;
        int wide = step / 4;
        for (int i = 0; i < count; i++) dst[i] = s[i * wide];
    } else if (depth > 8) {
        const uint16_t *s = src;
        switch (step) {
        case 2: load_u16_1(dst, s, right, count); return;
        case 4: load_u16_2(dst, s, right, count); return;
        case 6: load_u16_3(dst, s, right, count); return;
        case 8: load_u16_4(dst, s, right, count); return;
        }
        for (int i = 0; i < count; i++) dst[i] = (float)(s[i * (step / 2)] >> right);
    } else {
        const uint8_t *s = src;
        switch (step) {
        case 1: load_u8_1(dst, s, 0, count); return;
        case 2: load_u8_2(dst, s, 0, count); return;
        case 3: load_u8_3(dst, s, 0, count); return;
        case 4: load_u8_4(dst, s, 0, count); return;
        }
        for (int i = 0; i < count; i++) dst[i] = (float)s[i * step];
    }
}

#define FINISH(name, T) \
    UPZ_INLINE void name(const float *restrict s, T *restrict d, int left, float gain, float bias, \
                         float lo, float hi, int n) \
    { \
        for (int i = 0; i < n; i++) { \
            float x = s[i] * gain + bias; \
            x = x > lo ? x : lo; /* NaN too */ \
            x = x < hi ? x : hi; \
            d[i] = (T)((int)(x + 0.5f) << left); \
        } \
    }
FINISH(finish_u8, uint8_t)
FINISH(finish_u16, uint16_t)

static void finish(const float *src, void *dst, int depth, int left, float gain, float bias,
                   float lo, float hi, int count)
{
    if (depth == 8) {
        finish_u8(src, dst, 0, gain, bias, lo, hi, count);
    } else if (depth <= 16) {
        finish_u16(src, dst, left, gain, bias, lo, hi, count);
    } else {
        float *restrict d = dst;
        const float *restrict s = src;
        for (int i = 0; i < count; i++) d[i] = s[i] * gain + bias;
    }
}

#ifdef V16
/* Two vectors of outputs at a time. n is a constant where this is inlined, so the weights stay in
 * registers. */
UPZ_INLINE void down_n(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo,
                       int hi, int left, bool bytes, void *dst, int count)
{
    enum { LANES = (int)(sizeof(V16) / 2) };
    V16 weight[12], half = v16_set((int16_t)(1 << shift >> 1));
    V16 low = v16_set((int16_t)lo), high = v16_set((int16_t)hi);
    for (int k = 0; k < n && k < 12; k++) weight[k] = v16_set(w[k]);
    for (int x = 0; x < count; x += 2 * LANES) {
        V16 a = half, b = half;
        for (int k = 0; k < n; k++) {
            V16 c = k < 12 ? weight[k] : v16_set(w[k]);
            a = v16_add(a, v16_mulhrs(v16_load(rows[k] + x), c));
            b = v16_add(b, v16_mulhrs(v16_load(rows[k] + x + LANES), c));
        }
        a = v16_min(v16_max(v16_sra(a, shift), low), high);
        b = v16_min(v16_max(v16_sra(b, shift), low), high);
        if (bytes) {
            v16_store((uint8_t *)dst + x, v16_pack(a, b));
        } else {
            v16_store((uint16_t *)dst + x, left ? v16_sll(a, left) : a);
            v16_store((uint16_t *)dst + x + LANES, left ? v16_sll(b, left) : b);
        }
    }
}

UPZ_INLINE void down_any(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo,
                         int hi, int left, bool bytes, void *dst, int count)
{
    switch (n) {
    case 1: down_n(rows, w, 1, shift, lo, hi, left, bytes, dst, count); return;
    case 2: down_n(rows, w, 2, shift, lo, hi, left, bytes, dst, count); return;
    case 4: down_n(rows, w, 4, shift, lo, hi, left, bytes, dst, count); return;
    case 6: down_n(rows, w, 6, shift, lo, hi, left, bytes, dst, count); return;
    case 8: down_n(rows, w, 8, shift, lo, hi, left, bytes, dst, count); return;
    case 12: down_n(rows, w, 12, shift, lo, hi, left, bytes, dst, count); return;
    }
    down_n(rows, w, n, shift, lo, hi, left, bytes, dst, count);
}

static void down_u8(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo, int hi,
                    uint8_t *dst, int count)
{
    down_any(rows, w, n, shift, lo, hi, 0, true, dst, count);
}

static void down_u16(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo, int hi,
                     int left, uint16_t *dst, int count)
{
    if (left)
        down_any(rows, w, n, shift, lo, hi, left, false, dst, count);
    else
        down_any(rows, w, n, shift, lo, hi, 0, false, dst, count);
}
#endif
