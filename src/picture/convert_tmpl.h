/* Body of the row conversion, compiled once per processor level with UPZ_SUFFIX set: loops the
 * compiler turns into vectors. Every value has one order of operations and no contraction, so all
 * levels give the same bits. Work goes in chunks that stay in L1. */
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "picture/convert_dsp.h"
#include "picture/format.h"

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)

enum { CHUNK = 512, MARGIN = 4 }; /* luma px; MARGIN covers the widest chroma kernel's reach */

UPZ_INLINE float clip01(float x)
{
    x = x > 0 ? x : 0; /* NaN too */
    return x < 1 ? x : 1;
}

/* ---- loading ---- */

#define UNPACK(name, T, STEP) \
    UPZ_INLINE void name(float *restrict d, const T *restrict s, int n) \
    { \
        for (int i = 0; i < n; i++) d[i] = (float)s[i * (STEP)]; \
    }
UNPACK(unpack_u8_1, uint8_t, 1)
UNPACK(unpack_u8_2, uint8_t, 2)
UNPACK(unpack_u8_3, uint8_t, 3)
UNPACK(unpack_u8_4, uint8_t, 4)
UNPACK(unpack_f32_1, float, 1)

#define UNPACK16(name, STEP) \
    UPZ_INLINE void name(float *restrict d, const uint16_t *restrict s, int shift, int n) \
    { \
        for (int i = 0; i < n; i++) d[i] = (float)(s[i * (STEP)] >> shift); \
    }
UNPACK16(unpack_u16_1, 1)
UNPACK16(unpack_u16_2, 2)
UNPACK16(unpack_u16_3, 3)
UNPACK16(unpack_u16_4, 4)

static void unpack(float *d, const uint8_t *s, const UprezFormat *f, int comp, int n)
{
    int step = f->comp[comp].step;
    if (f->depth == 8) {
        switch (step) {
        case 1: unpack_u8_1(d, s, n); return;
        case 2: unpack_u8_2(d, s, n); return;
        case 3: unpack_u8_3(d, s, n); return;
        case 4: unpack_u8_4(d, s, n); return;
        }
        for (int i = 0; i < n; i++) d[i] = (float)s[(size_t)i * (size_t)step];
    } else if (f->depth <= 16) {
        const uint16_t *s16 = (const uint16_t *)(const void *)s;
        switch (step) {
        case 2: unpack_u16_1(d, s16, f->shift, n); return;
        case 4: unpack_u16_2(d, s16, f->shift, n); return;
        case 6: unpack_u16_3(d, s16, f->shift, n); return;
        case 8: unpack_u16_4(d, s16, f->shift, n); return;
        }
        for (int i = 0; i < n; i++) d[i] = (float)(s16[i * (step / 2)] >> f->shift);
    } else {
        const float *sf = (const float *)(const void *)s;
        if (step == 4) {
            unpack_f32_1(d, sf, n);
            return;
        }
        for (int i = 0; i < n; i++) d[i] = sf[i * (step / 4)];
    }
}

static const uint8_t *row_of(const UpzLoad *l, const UprezPicture *p, int comp, int y)
{
    const UprezComponent *c = &l->format.comp[comp];
    return (const uint8_t *)p->plane[c->plane] + p->stride[c->plane] * y + c->offset;
}

UPZ_INLINE void blend(float *restrict a, const float *restrict b, float wb, int n)
{
    float wa = 1 - wb;
    for (int i = 0; i < n; i++) a[i] = a[i] * wa + b[i] * wb;
}

/* unpack of two rows and blend in one pass. */
#define UNPACK_BLEND(name, T) \
    UPZ_INLINE void name(float *restrict d, const T *restrict a, const T *restrict b, int shift, \
                         float wb, int n) \
    { \
        float wa = 1 - wb; \
        for (int i = 0; i < n; i++) \
            d[i] = (float)(a[i] >> shift) * wa + (float)(b[i] >> shift) * wb; \
    }
UNPACK_BLEND(unpack_blend_u8, uint8_t)
UNPACK_BLEND(unpack_blend_u16, uint16_t)

/* d[f * i + k] from s[i + up_at + 1 …]: s[0] is the sample before the chunk's first. */
UPZ_INLINE void enlarge2(float *restrict d, const float *restrict s, const UpzChromaAxis *a, int n)
{
    const float *s0 = s + 1 + a->up_at[0], *s1 = s + 1 + a->up_at[1];
    float w0 = a->up_weight[0], w1 = a->up_weight[1], v0 = 1 - w0, v1 = 1 - w1;
    for (int i = 0; i < n; i++) {
        d[2 * i] = s0[i] * v0 + s0[i + 1] * w0;
        d[2 * i + 1] = s1[i] * v1 + s1[i + 1] * w1;
    }
}

UPZ_INLINE void enlarge4(float *restrict d, const float *restrict s, const UpzChromaAxis *a, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 4; k++) {
            const float *at = s + 1 + i + a->up_at[k];
            d[4 * i + k] = at[0] * (1 - a->up_weight[k]) + at[1] * a->up_weight[k];
        }
}

/* Component `comp` of n luma px from x0 on, at full resolution. x0 is a multiple of CHUNK. */
static void load_chroma(const UpzLoad *l, const UprezPicture *src, int comp, int x0, int y, int n,
                        float *d)
{
    int sx = l->x.sub, sy = l->y.sub;
    int width = upz_component_width(&l->format, comp, l->width);
    int height = upz_component_height(&l->format, comp, l->height);
    int c0 = x0 >> sx, count = (n + (1 << sx) - 1) >> sx;
    int from = sx ? UPZ_MAX(c0 - 1, 0) : c0, to = sx ? UPZ_MIN(c0 + count + 1, width) : c0 + count;
    int k = y & ((1 << sy) - 1), row = (y >> sy) + l->y.up_at[k];
    float weight = l->y.up_weight[k];
    int top = UPZ_CLAMP(row, 0, height - 1), bottom = UPZ_CLAMP(row + 1, 0, height - 1);
    if (weight == 0) bottom = top;

    float first[CHUNK + 2 * MARGIN] UPZ_ALIGNED(64), second[CHUNK + 2 * MARGIN] UPZ_ALIGNED(64);
    float *at = sx ? first + (from - (c0 - 1)) : d;
    size_t skip = (size_t)from * l->format.comp[comp].step;
    const uint8_t *a = row_of(l, src, comp, top) + skip, *b = row_of(l, src, comp, bottom) + skip;
    int depth = l->format.depth, step = l->format.comp[comp].step;
    if (bottom != top && depth == 8 && step == 1) {
        unpack_blend_u8(at, a, b, 0, weight, to - from);
    } else if (bottom != top && depth > 8 && depth <= 16 && step == 2) {
        unpack_blend_u16(at, (const uint16_t *)(const void *)a, (const uint16_t *)(const void *)b,
                         l->format.shift, weight, to - from);
    } else {
        unpack(at, a, &l->format, comp, to - from);
        if (bottom != top) {
            unpack(second, b, &l->format, comp, to - from);
            blend(at, second, weight, to - from);
        }
    }
    if (!sx) return;
    if (from == c0) first[0] = first[1];
    for (int i = to - (c0 - 1); i < count + 2; i++) first[i] = first[i - 1];
    if (sx == 1)
        enlarge2(d, first, &l->x, count);
    else
        enlarge4(d, first, &l->x, count);
}

UPZ_INLINE void scale_row(float *restrict d, const float *restrict s, float m, float offset,
                          float bias, bool clip, int n)
{
    if (clip)
        for (int i = 0; i < n; i++) d[i] = clip01((s[i] - offset) * m + bias);
    else
        for (int i = 0; i < n; i++) d[i] = (s[i] - offset) * m + bias;
}

/* code[0..2] to the rows r, g, b; of luma networks only r. */
UPZ_INLINE void matrix_rows(const UpzLoad *l, const float code[3][CHUNK], int n_rows, bool clip,
                            float *restrict r, float *restrict g, float *restrict b, int n)
{
    const float *restrict c0 = code[0], *restrict c1 = code[1], *restrict c2 = code[2];
    float o[3], bias[3], m[3][3];
    memcpy(o, l->offset, sizeof(o));
    memcpy(bias, l->bias, sizeof(bias));
    memcpy(m, l->matrix, sizeof(m));
    for (int i = 0; i < n; i++) {
        float x = c0[i] - o[0], y = c1[i] - o[1], z = c2[i] - o[2];
        float v = x * m[0][0] + y * m[0][1] + z * m[0][2] + bias[0];
        r[i] = clip ? clip01(v) : v;
        if (n_rows == 1) continue;
        v = x * m[1][0] + y * m[1][1] + z * m[1][2] + bias[1];
        g[i] = clip ? clip01(v) : v;
        v = x * m[2][0] + y * m[2][1] + z * m[2][2] + bias[2];
        b[i] = clip ? clip01(v) : v;
    }
}

/* Calls n px from x0 on of the row after next into the cache: processors see a pattern within a
 * row, but not from row to row. */
static void call_ahead(const UpzLoad *l, const UprezPicture *src, int comp, int x0, int y, int n)
{
    int sx = comp && l->n_comp == 3 ? l->x.sub : 0, sy = comp && l->n_comp == 3 ? l->y.sub : 0;
    int row = UPZ_MIN((y + 2) >> sy, upz_component_height(&l->format, comp, l->height) - 1);
    size_t step = l->format.comp[comp].step, bytes = (size_t)(n >> sx) * step;
    const uint8_t *at = row_of(l, src, comp, row) + (size_t)(x0 >> sx) * step;
    for (size_t i = 0; i < bytes; i += 64) UPZ_PREFETCH(at + i);
}

static void load_row(const UpzLoad *l, const UprezPicture *src, int y, float *const dst[3])
{
    float code[3][CHUNK] UPZ_ALIGNED(64);
    bool subsampled = l->x.sub || l->y.sub;
    for (int x = 0; x < l->width; x += CHUNK) {
        int n = UPZ_MIN(CHUNK, l->width - x);
        for (int c = 0; c < l->n_comp; c++) {
            call_ahead(l, src, c, x, y, n);
            if (c && subsampled)
                load_chroma(l, src, c, x, y, n, code[c]);
            else
                unpack(code[c], row_of(l, src, c, y) + (size_t)x * l->format.comp[c].step,
                       &l->format, c, n);
        }
        if (l->n_comp == 1) {
            scale_row(dst[0] + x, code[0], l->matrix[0][0], l->offset[0], l->bias[0], l->clip, n);
            for (int c = 1; c < l->n_rows; c++) {
                if (l->rows == UPZ_ROWS_RGB)
                    memcpy(dst[c] + x, dst[0] + x, (size_t)n * sizeof(float));
                else
                    memset(dst[c] + x, 0, (size_t)n * sizeof(float));
            }
        } else if (l->diagonal) {
            for (int c = 0; c < l->n_rows; c++)
                scale_row(dst[c] + x, code[c], l->matrix[c][c], l->offset[c], l->bias[c], l->clip,
                          n);
        } else if (l->n_rows == 1) {
            matrix_rows(l, (const float(*)[CHUNK])code, 1, l->clip, dst[0] + x, NULL, NULL, n);
        } else if (l->clip) {
            matrix_rows(l, (const float(*)[CHUNK])code, 3, true, dst[0] + x, dst[1] + x,
                        dst[2] + x, n);
        } else {
            matrix_rows(l, (const float(*)[CHUNK])code, 3, false, dst[0] + x, dst[1] + x,
                        dst[2] + x, n);
        }
    }
}

/* ---- storing ---- */

/* NaN becomes 0, and R G B and luma are clipped; the number of NaN. */
UPZ_INLINE int clean_row(float *restrict d, const float *restrict s, bool clip, int n)
{
    int bad = 0;
    for (int i = 0; i < n; i++) bad += s[i] != s[i];
    if (clip)
        for (int i = 0; i < n; i++) d[i] = clip01(s[i]);
    else
        for (int i = 0; i < n; i++) d[i] = s[i] == s[i] ? s[i] : 0;
    return bad;
}

UPZ_INLINE float clean(float x, bool clip) { return clip ? clip01(x) : x == x ? x : 0; }

/* The vertical chroma kernel: 1, 3, 4 or more taps. */
UPZ_INLINE void weigh_n(float *restrict d, const float *const *rows, const float *w, int n,
                        bool clip, int from, int count)
{
    const float *restrict r0 = rows[0] + from, *restrict r1 = rows[n > 1 ? 1 : 0] + from,
                *restrict r2 = rows[n > 2 ? 2 : 0] + from, *restrict r3 = rows[n > 3 ? 3 : 0] + from;
    float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    for (int i = 0; i < count; i++) {
        float v = clean(r0[i], clip) * w0;
        if (n > 1) v = v + clean(r1[i], clip) * w1;
        if (n > 2) v = v + clean(r2[i], clip) * w2;
        if (n > 3) v = v + clean(r3[i], clip) * w3;
        d[i] = v;
    }
}

UPZ_INLINE void weigh_clip(float *d, const float *const *rows, const float *w, int n, bool clip,
                           int from, int count)
{
    if (n == 1)
        weigh_n(d, rows, w, 1, clip, from, count);
    else if (n == 3)
        weigh_n(d, rows, w, 3, clip, from, count);
    else
        weigh_n(d, rows, w, 4, clip, from, count);
    for (int k = 4; k < n; k++) {
        const float *r = rows[k] + from;
        for (int i = 0; i < count; i++) d[i] = d[i] + clean(r[i], clip) * w[k];
    }
}

static void weigh(float *d, const float *const *rows, const float *w, int n, bool clip, int from,
                  int count)
{
    if (clip)
        weigh_clip(d, rows, w, n, true, from, count);
    else
        weigh_clip(d, rows, w, n, false, from, count);
}

UPZ_INLINE void code_row(float *restrict d, const float *restrict a, const float *restrict b,
                         const float *restrict c, const float m[3], float bias, int n)
{
    float m0 = m[0], m1 = m[1], m2 = m[2];
    for (int i = 0; i < n; i++) d[i] = a[i] * m0 + b[i] * m1 + c[i] * m2 + bias;
}

UPZ_INLINE void code_row1(float *restrict d, const float *restrict a, float m, float bias, int n)
{
    for (int i = 0; i < n; i++) d[i] = a[i] * m + bias;
}

#define ROUND(name, T) \
    UPZ_INLINE void name(T *restrict d, const float *restrict s, float hi, int shift, int n) \
    { \
        for (int i = 0; i < n; i++) { \
            float x = s[i] > 0 ? s[i] : 0; \
            x = x < hi ? x : hi; \
            d[i] = (T)((int)(x + 0.5f) << shift); \
        } \
    }
ROUND(round_u8, uint8_t)
ROUND(round_u16, uint16_t)

/* R G B to one component in one pass: what clean_row, code_row and round do in turn. */
#define FROM_RGB(name, T) \
    UPZ_INLINE int name(T *restrict d, const float *restrict r, const float *restrict g, \
                        const float *restrict b, const float m[3], float bias, float hi, \
                        int shift, int n) \
    { \
        float m0 = m[0], m1 = m[1], m2 = m[2]; \
        int bad = 0; \
        for (int i = 0; i < n; i++) { \
            bad += (r[i] != r[i]) + (g[i] != g[i]) + (b[i] != b[i]); \
            float x = clip01(r[i]) * m0 + clip01(g[i]) * m1 + clip01(b[i]) * m2 + bias; \
            x = x > 0 ? x : 0; \
            x = x < hi ? x : hi; \
            d[i] = (T)((int)(x + 0.5f) << shift); \
        } \
        return bad; \
    }
FROM_RGB(from_rgb_u8, uint8_t)
FROM_RGB(from_rgb_u16, uint16_t)

#define WEAVE2(name, T) \
    UPZ_INLINE void name(T *restrict d, const T *restrict a, const T *restrict b, int n) \
    { \
        for (int i = 0; i < n; i++) { \
            d[2 * i] = a[i]; \
            d[2 * i + 1] = b[i]; \
        } \
    }
WEAVE2(weave2_u8, uint8_t)
WEAVE2(weave2_u16, uint16_t)

#define WEAVE3(name, T) \
    UPZ_INLINE void name(T *restrict d, const T *restrict a, const T *restrict b, \
                         const T *restrict c, int n) \
    { \
        for (int i = 0; i < n; i++) { \
            d[3 * i] = a[i]; \
            d[3 * i + 1] = b[i]; \
            d[3 * i + 2] = c[i]; \
        } \
    }
WEAVE3(weave3_u8, uint8_t)
WEAVE3(weave3_u16, uint16_t)

/* packed pixels start anywhere */
typedef uint32_t Quad8 UPZ_ALIGNED(1);
typedef uint64_t Quad16 UPZ_ALIGNED(1);

/* Three of four samples; what lies in the fourth stays. at: sample offsets. */
#define WEAVE4(name, T, WIDE, QUAD, BITS) \
    UPZ_INLINE void name(QUAD *restrict d, const T *restrict a, const T *restrict b, \
                         const T *restrict c, const int at[3], int n) \
    { \
        int s0 = at[0] * (BITS), s1 = at[1] * (BITS), s2 = at[2] * (BITS); \
        const WIDE one = (WIDE)(((WIDE)1 << (BITS)) - 1); \
        WIDE keep = (WIDE) ~(one << s0 | one << s1 | one << s2); \
        for (int i = 0; i < n; i++) \
            d[i] = (d[i] & keep) | (WIDE)a[i] << s0 | (WIDE)b[i] << s1 | (WIDE)c[i] << s2; \
    }
WEAVE4(weave4_u8, uint8_t, uint32_t, Quad8, 8)
WEAVE4(weave4_u16, uint16_t, uint64_t, Quad16, 16)

typedef union Samples {
    uint8_t u8[3][CHUNK];
    uint16_t u16[3][CHUNK];
} Samples;

static uint8_t *store_at(const UpzStore *s, const UprezPicture *p, int comp, int x, int y)
{
    const UprezComponent *c = &s->format.comp[comp];
    return (uint8_t *)p->plane[c->plane] + p->stride[c->plane] * y + c->offset +
           (size_t)x * c->step;
}

/* Rounds component codes from `comp` on, n_comp of them, and puts them where they belong. */
static void put(const UpzStore *s, const UprezPicture *dst, int comp, int n_comp, int x, int y,
                float code[][CHUNK], int n)
{
    const UprezFormat *f = &s->format;
    const UprezComponent *c = f->comp + comp;
    int bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1, together = 0;
    if (f->depth == 32) {
        for (int k = 0; k < n_comp; k++) {
            float *d = (float *)(void *)store_at(s, dst, comp + k, x, y);
            int step = c[k].step / 4;
            for (int i = 0; i < n; i++) d[i * step] = code[k][i];
        }
        return;
    }
    Samples q UPZ_ALIGNED(64);
    int order[3] = {0, 1, 2}, offset[3] = {0};
    for (int k = 0; k < n_comp; k++) {
        offset[k] = c[k].offset / bytes;
        if (c[k].step == bytes) {
            uint8_t *d = store_at(s, dst, comp + k, x, y);
            if (bytes == 1)
                round_u8(d, code[k], s->hi[comp + k], 0, n);
            else
                round_u16((uint16_t *)(void *)d, code[k], s->hi[comp + k], f->shift, n);
            continue;
        }
        together++;
        if (bytes == 1)
            round_u8(q.u8[k], code[k], s->hi[comp + k], 0, n);
        else
            round_u16(q.u16[k], code[k], s->hi[comp + k], f->shift, n);
    }
    if (!together) return;
    bool one_plane = true;
    for (int k = 0; k < n_comp; k++) {
        if (c[k].plane != c[0].plane || c[k].step != c[0].step) one_plane = false;
        if (offset[k] < n_comp) order[offset[k]] = k;
    }
    int wide = c[0].step / bytes;
    uint8_t *base = store_at(s, dst, comp, x, y) - c[0].offset;
    uint16_t *base16 = (uint16_t *)(void *)base;
    int a = order[0], b = order[1], d = order[2];
    if (one_plane && n_comp == together && wide == n_comp && wide == 2) {
        if (bytes == 1)
            weave2_u8(base, q.u8[a], q.u8[b], n);
        else
            weave2_u16(base16, q.u16[a], q.u16[b], n);
    } else if (one_plane && n_comp == together && wide == n_comp && wide == 3) {
        if (bytes == 1)
            weave3_u8(base, q.u8[a], q.u8[b], q.u8[d], n);
        else
            weave3_u16(base16, q.u16[a], q.u16[b], q.u16[d], n);
    } else if (one_plane && n_comp == 3 && together == 3 && wide == 4 &&
               offset[0] < 4 && offset[1] < 4 && offset[2] < 4) {
        if (bytes == 1)
            weave4_u8((Quad8 *)(void *)base, q.u8[0], q.u8[1], q.u8[2], offset, n);
        else
            weave4_u16((Quad16 *)(void *)base, q.u16[0], q.u16[1], q.u16[2], offset, n);
    } else {
        for (int k = 0; k < n_comp; k++) {
            if (c[k].step == bytes) continue;
            uint8_t *p = store_at(s, dst, comp + k, x, y);
            int step = c[k].step / bytes;
            if (bytes == 1)
                for (int i = 0; i < n; i++) p[i * step] = q.u8[k][i];
            else
                for (int i = 0; i < n; i++)
                    ((uint16_t *)(void *)p)[i * step] = q.u16[k][i];
        }
    }
}

UPZ_INLINE void split(float *restrict even, float *restrict odd, const float *restrict s, int n)
{
    for (int i = 0; i < n; i++) {
        even[i] = s[2 * i];
        odd[i] = s[2 * i + 1];
    }
}

UPZ_INLINE void reduce3(float *restrict d, const float *restrict a, const float *restrict b,
                        const float *restrict c, const float *w, int n)
{
    float w0 = w[0], w1 = w[1], w2 = w[2];
    for (int i = 0; i < n; i++) d[i] = a[i] * w0 + b[i] * w1 + c[i] * w2;
}

UPZ_INLINE void reduce4(float *restrict d, const float *restrict a, const float *restrict b,
                        const float *restrict c, const float *restrict e, const float *w, int n)
{
    float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    for (int i = 0; i < n; i++) d[i] = a[i] * w0 + b[i] * w1 + c[i] * w2 + e[i] * w3;
}

/* d[i] from s, whose [MARGIN] is the luma sample at the chunk's start; n chroma samples. */
static void reduce(float *d, const float *s, const UpzChromaAxis *a, int n)
{
    if (a->sub == 0) {
        memcpy(d, s + MARGIN, (size_t)n * sizeof(float));
    } else if (a->sub == 1) {
        float half[2][CHUNK / 2 + MARGIN] UPZ_ALIGNED(64);
        split(half[0], half[1], s, n + MARGIN);
        const float *tap[4];
        for (int k = 0; k < a->down_n; k++) {
            int at = a->down_at + k + MARGIN;
            tap[k] = half[at & 1] + (at >> 1);
        }
        if (a->down_n == 3)
            reduce3(d, tap[0], tap[1], tap[2], a->down_weight, n);
        else
            reduce4(d, tap[0], tap[1], tap[2], tap[3], a->down_weight, n);
    } else {
        for (int i = 0; i < n; i++) {
            float sum = 0;
            for (int k = 0; k < a->down_n; k++)
                sum = sum + s[4 * i + MARGIN + a->down_at + k] * a->down_weight[k];
            d[i] = sum;
        }
    }
}

/* Chroma of the group at row y, for the luma columns x … x + n - 1. */
static void store_chroma(const UpzStore *s, const float *const *const rows[3], int reach, int x,
                         int y, int n, const UprezPicture *dst)
{
    enum { LONG = CHUNK + 2 * MARGIN + 4 }; /* the last chroma sample may lie half outside */
    float sum[3][LONG] UPZ_ALIGNED(64), full[LONG] UPZ_ALIGNED(64), code[2][CHUNK] UPZ_ALIGNED(64);
    int from = UPZ_MAX(x - MARGIN, 0), to = UPZ_MIN(x + n + MARGIN, s->width);
    int before = from - (x - MARGIN), count = (n + (1 << s->x.sub) - 1) >> s->x.sub;
    int used = to - (x - MARGIN);
    for (int p = 0; p < 3; p++) {
        if (s->diagonal && !p) continue;
        weigh(sum[p] + before, rows[p] + reach + s->y.down_at, s->y.down_weight, s->y.down_n,
              s->clip, from, to - from);
    }
    for (int c = 1; c < 3; c++) {
        if (s->diagonal)
            code_row1(full + before, sum[c] + before, s->matrix[c][c], s->bias[c], to - from);
        else
            code_row(full + before, sum[0] + before, sum[1] + before, sum[2] + before,
                     s->matrix[c], s->bias[c], to - from);
        for (int i = 0; i < before; i++) full[i] = full[before];
        for (int i = used; i < n + 2 * MARGIN + 3; i++) full[i] = full[used - 1];
        reduce(code[c - 1], full, &s->x, count);
    }
    put(s, dst, 1, 2, x >> s->x.sub, y >> s->y.sub, code, count);
}

static int store_rows(const UpzStore *s, const float *const *const rows[3], int y,
                      UprezPicture *dst)
{
    float clean[3][CHUNK] UPZ_ALIGNED(64), code[3][CHUNK] UPZ_ALIGNED(64);
    int group = 1 << s->y.sub, reach = UPZ_CHROMA_REACH(s->y.sub), bad = 0;
    bool subsampled = s->n_comp == 3 && (s->x.sub || s->y.sub);
    int direct = subsampled ? 1 : s->n_comp; /* components at full resolution */
    bool fused = direct == 1 && s->n_rows == 3 && s->clip && !s->diagonal &&
                 s->format.depth <= 16 && s->format.comp[0].step == (s->format.depth > 8 ? 2 : 1);
    for (int x = 0; x < s->width; x += CHUNK) {
        int n = UPZ_MIN(CHUNK, s->width - x);
        for (int r = 0; r < group && y + r < s->height; r++) {
            if (fused) {
                const float *a[3];
                for (int p = 0; p < 3; p++) a[p] = rows[p][reach + r] + x;
                uint8_t *d = store_at(s, dst, 0, x, y + r);
                if (s->format.depth == 8)
                    bad += from_rgb_u8(d, a[0], a[1], a[2], s->matrix[0], s->bias[0], s->hi[0], 0,
                                       n);
                else
                    bad += from_rgb_u16((uint16_t *)(void *)d, a[0], a[1], a[2], s->matrix[0],
                                        s->bias[0], s->hi[0], s->format.shift, n);
                continue;
            }
            for (int p = 0; p < s->n_rows; p++)
                bad += clean_row(clean[p], rows[p][reach + r] + x, s->clip, n);
            for (int c = 0; c < direct; c++) {
                if (s->n_rows == 1)
                    code_row1(code[c], clean[0], s->matrix[c][0], s->bias[c], n);
                else if (s->diagonal)
                    code_row1(code[c], clean[c], s->matrix[c][c], s->bias[c], n);
                else
                    code_row(code[c], clean[0], clean[1], clean[2], s->matrix[c], s->bias[c], n);
            }
            put(s, dst, 0, direct, x, y + r, code, n);
        }
        if (subsampled) store_chroma(s, rows, reach, x, y, n, dst);
    }
    return bad;
}

const UpzConvertDSP CAT(upz_convert_, UPZ_SUFFIX) = {load_row, store_rows};
