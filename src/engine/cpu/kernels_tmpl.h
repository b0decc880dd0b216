/* The kernels, written once over V (a vector of W floats) and included by each level's unit after
 * its simd_LEVEL.h. */
#include "base/compiler.h"
#include "engine/cpu/kernels.h"

/* ---- gemm ----
 * A block of MR pixels by NR vectors of channels stays in registers; per step NR vectors of weights
 * are loaded and MR inputs broadcast. */

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

#define AHEAD_LINES 18 /* a block of MR pixels: as many as the core can have under way */

UPZ_INLINE void look_ahead(UpzAhead *a)
{
    for (int i = 0; i < AHEAD_LINES && a->row < a->n_rows; i++) {
        __builtin_prefetch(a->rows[a->row] + a->at, 0, 2);
        a->at += 64;
        if (a->at >= a->bytes) a->at = 0, a->row++;
    }
}

/* r, j and m are compile-time constants after unrolling: acc must not live in memory. */
UPZ_INLINE void block(const UpzGemm *g, int m0, int c0, int mr, int nr)
{
    V acc[GEMM_ACC];
    float *out = g->out + m0 * g->out_step + c0;
    const float *w = g->weights + c0;
    const ptrdiff_t w_step = g->n_out;
    UNROLL
    for (int m = 0; m < mr; m++)
        UNROLL
        for (int j = 0; j < nr; j++)
            acc[m * nr + j] = g->start == UPZ_GEMM_ZERO   ? vset1(0)
                              : g->start == UPZ_GEMM_BIAS ? vload(g->bias + c0 + j * W)
                                                          : vload(out + m * g->out_step + j * W);
    if (g->ahead) look_ahead(g->ahead);
    for (int r = 0; r < g->n_runs; r++) {
        const ptrdiff_t step = g->runs[r].step;
        const float *a = g->runs[r].a + m0 * step;
        const float *end = w + g->runs[r].n * w_step;
        for (; w != end; w += w_step, a++) {
            V b[GEMM_NR];
            UNROLL
            for (int j = 0; j < nr; j++) b[j] = vload(w + j * W);
            UNROLL
            for (int m = 0; m < mr; m++) {
                V x = vset1(a[m * step]);
                UNROLL
                for (int j = 0; j < nr; j++) acc[m * nr + j] = vfma(x, b[j], acc[m * nr + j]);
            }
        }
    }
    if (g->slope) {
        UNROLL
        for (int j = 0; j < nr; j++) {
            V s = vload(g->slope + c0 + j * W);
            UNROLL
            for (int m = 0; m < mr; m++) acc[m * nr + j] = vleaky(acc[m * nr + j], s);
        }
    }
    UNROLL
    for (int m = 0; m < mr; m++)
        UNROLL
        for (int j = 0; j < nr; j++) vstore(out + m * g->out_step + j * W, acc[m * nr + j]);
}

UPZ_INLINE void panel(const UpzGemm *g, int c0, int mr, int nr)
{
    int m = 0;
    for (; m + mr <= g->count; m += mr) block(g, m, c0, mr, nr);
    if (mr > 8 && m + 8 <= g->count) {
        block(g, m, c0, 8, nr);
        m += 8;
    }
    if (mr > 4 && m + 4 <= g->count) {
        block(g, m, c0, 4, nr);
        m += 4;
    }
    if (mr > 2 && m + 2 <= g->count) {
        block(g, m, c0, 2, nr);
        m += 2;
    }
    if (m < g->count) block(g, m, c0, 1, nr);
}

static void SUF(gemm)(const UpzGemm *g)
{
    int c = 0;
#if W == 16
    while (c < g->n_out) {
        int left = (g->n_out - c) / W;
        if (left >= 6 || left == 4) {
            panel(g, c, 6, 4);
            c += 4 * W;
        } else if (left == 5 || left == 3) {
            panel(g, c, 8, 3);
            c += 3 * W;
        } else if (left == 2) {
            panel(g, c, 12, 2);
            c += 2 * W;
        } else {
            panel(g, c, 14, 1);
            c += W;
        }
    }
#else
    for (; c < g->n_out; c += UPZ_CPU_GROUP) panel(g, c, GEMM_MR, UPZ_CPU_GROUP / W);
#endif
}

/* ---- Winograd ---- */

#define WINO_A2 ((float)(UPZ_WINO_A * UPZ_WINO_A))
#define WINO_B2 ((float)(UPZ_WINO_B * UPZ_WINO_B))
#define WINO_A3 ((float)(UPZ_WINO_A * UPZ_WINO_A * UPZ_WINO_A))
#define WINO_B3 ((float)(UPZ_WINO_B * UPZ_WINO_B * UPZ_WINO_B))

/* One dimension of the input transform: six inputs to six points. */
UPZ_INLINE void to_points(V o[6], V x0, V x1, V x2, V x3, V x4, V x5)
{
    const V a = vset1((float)UPZ_WINO_A), b = vset1((float)UPZ_WINO_B), a2 = vset1(WINO_A2),
            b2 = vset1(WINO_B2), p = vset1(WINO_A2 * WINO_B2), s = vset1(WINO_A2 + WINO_B2);
    V e = vfnma(b2, x2, x4), f = vfnma(b2, x1, x3);
    V g = vfnma(a2, x2, x4), h = vfnma(a2, x1, x3);
    o[0] = vfma(p, x0, vfnma(s, x2, x4));
    o[1] = vfma(a, f, e);
    o[2] = vfnma(a, f, e);
    o[3] = vfma(b, h, g);
    o[4] = vfnma(b, h, g);
    o[5] = vfma(p, x1, vfnma(s, x3, x5));
}

/* One dimension of the output transform: six points to four outputs. */
UPZ_INLINE void from_points(V o[4], V m0, V m1, V m2, V m3, V m4, V m5)
{
    const V a = vset1((float)UPZ_WINO_A), b = vset1((float)UPZ_WINO_B), a2 = vset1(WINO_A2),
            b2 = vset1(WINO_B2), a3 = vset1(WINO_A3), b3 = vset1(WINO_B3);
    V e = vadd(m1, m2), f = vsub(m1, m2), g = vadd(m3, m4), h = vsub(m3, m4);
    o[0] = vadd(m0, vadd(e, g));
    o[1] = vfma(a, f, vmul(b, h));
    o[2] = vfma(a2, e, vmul(b2, g));
    o[3] = vfma(a3, f, vfma(b3, h, m5));
}

#define WINO_CHUNK 2     /* tiles between the two dimensions; measured: more leave L1 */
#define WINO_CHANNELS 64

static void SUF(wino_in)(const UpzWinoIn *w)
{
    UPZ_ALIGNED(64) float z[(4 * WINO_CHUNK + 2) * 6 * WINO_CHANNELS];
    for (int c0 = 0; c0 < w->channels; c0 += WINO_CHANNELS) {
        const int nc = UPZ_MIN(WINO_CHANNELS, w->channels - c0);
        for (int t0 = 0; t0 < w->count; t0 += WINO_CHUNK) {
            const int nt = UPZ_MIN(WINO_CHUNK, w->count - t0);
            const int x0 = w->x + 4 * t0;
            for (int x = 0; x < 4 * nt + 2; x++) {
                const ptrdiff_t at = ((x0 + x) >> w->shift) * w->pitch + c0;
                float *to = z + (size_t)x * 6 * WINO_CHANNELS;
                for (int c = 0; c < nc; c += W) {
                    V o[6];
                    to_points(o, vload(w->rows[0] + at + c), vload(w->rows[1] + at + c),
                              vload(w->rows[2] + at + c), vload(w->rows[3] + at + c),
                              vload(w->rows[4] + at + c), vload(w->rows[5] + at + c));
                    UNROLL
                    for (int i = 0; i < 6; i++) vstore(to + i * WINO_CHANNELS + c, o[i]);
                }
            }
            /* point rows outermost: few pages are written at a time */
            for (int i = 0; i < 6; i++)
                for (int t = 0; t < nt; t++) {
                    const float *f = z + ((size_t)t * 4 * 6 + (size_t)i) * WINO_CHANNELS;
                    float *v = w->v + i * 6 * w->v_point + (t0 + t) * w->v_tile + c0;
                    for (int c = 0; c < nc; c += W, f += W, v += W) {
                        V o[6];
                        to_points(o, vload(f), vload(f + 6 * WINO_CHANNELS),
                                  vload(f + 12 * WINO_CHANNELS), vload(f + 18 * WINO_CHANNELS),
                                  vload(f + 24 * WINO_CHANNELS), vload(f + 30 * WINO_CHANNELS));
                        UNROLL
                        for (int j = 0; j < 6; j++) vstore(v + j * w->v_point, o[j]);
                    }
                }
        }
    }
}

static void SUF(wino_out)(const UpzWinoOut *w)
{
    for (int t = 0; t < w->count; t++) {
        const int x = w->x + 4 * t;
        const int j0 = UPZ_MAX(0, w->x0 - x), j1 = UPZ_MIN(4, w->x1 - x);
        for (int c = 0; c < w->channels; c += W) {
            const float *m = w->m + t * w->m_tile + c;
            V y[6][4];
            UNROLL
            for (int j = 0; j < 6; j++)
                from_points(y[j], vload(m + j * w->m_point), vload(m + (6 + j) * w->m_point),
                            vload(m + (12 + j) * w->m_point), vload(m + (18 + j) * w->m_point),
                            vload(m + (24 + j) * w->m_point), vload(m + (30 + j) * w->m_point));
            const V bias = vload(w->bias + c);
            const V slope = w->slope ? vload(w->slope + c) : vset1(1);
            UNROLL
            for (int i = 0; i < 4; i++) {
                float *row = w->rows[i];
                if (!row) continue;
                V o[4];
                from_points(o, y[0][i], y[1][i], y[2][i], y[3][i], y[4][i], y[5][i]);
                row += x * w->pitch + c;
                UNROLL
                for (int j = 0; j < 4; j++) {
                    o[j] = vadd(o[j], bias);
                    if (w->slope) o[j] = vleaky(o[j], slope);
                    if (j >= j0 && j < j1) vstore(row + j * w->pitch, o[j]);
                }
            }
        }
    }
}

/* ---- the rest ---- */

static void SUF(depthwise)(const UpzDepthwise *d)
{
    for (int m = 0; m < d->count; m++)
        for (int c = 0; c < d->channels; c += W) {
            V acc = vload(d->bias + c);
            for (int t = 0; t < d->n_taps; t++)
                acc = vfma(vload(d->taps[t] + m * d->step + c),
                           vload(d->weights + (ptrdiff_t)t * d->channels + c), acc);
            if (d->slope) acc = vleaky(acc, vload(d->slope + c));
            vstore(d->out + m * d->out_step + c, acc);
        }
}

UPZ_INLINE void planar_by(const UpzPlanar *p, int f, int per)
{
    float *dst = p->dst;
    const float *src = p->src;
    for (int x = 0; x < p->count; x++, dst += f, src += p->pitch) {
        if (!p->base) {
            for (int i = 0; i < f; i++) dst[i] = src[i * p->dx_step];
            continue;
        }
        for (int i = 0; i < f; i++) {
            /* per: base pixels that one source pixel covers */
            const float *b = p->base + (x * per + i * per / f) * p->base_pitch;
            dst[i] = p->alpha * src[i * p->dx_step] + p->beta * *b;
        }
    }
}

static void SUF(planar)(const UpzPlanar *p)
{
    const int per = p->base ? p->factor / p->base_up : 1;
    if (p->dx_step == 1 && per == 1 && p->factor == 4) {
        UpzPlanar q = *p;
        q.dx_step = 1;
        planar_by(&q, 4, 1);
    } else if (p->dx_step == 1 && per == 1 && p->factor == 2) {
        UpzPlanar q = *p;
        q.dx_step = 1;
        planar_by(&q, 2, 1);
    } else {
        planar_by(p, p->factor, per);
    }
}

static void SUF(interleave)(float *dst, ptrdiff_t pitch, const float *const *src, int n_src,
                            int count)
{
    if (n_src == 3) {
        const float *r = src[0], *g = src[1], *b = src[2];
        for (int x = 0; x < count; x++, dst += pitch) {
            dst[0] = r[x];
            dst[1] = g[x];
            dst[2] = b[x];
        }
        return;
    }
    for (int x = 0; x < count; x++, dst += pitch)
        for (int c = 0; c < n_src; c++) dst[c] = src[c][x];
}

static void SUF(add)(float *dst, const float *a, const float *b, float alpha, float beta, size_t n)
{
    const V va = vset1(alpha), vb = vset1(beta);
    for (size_t i = 0; i < n; i += W)
        vstore(dst + i, vfma(va, vload(a + i), vmul(vb, vload(b + i))));
}

static void SUF(mul)(float *dst, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i += W) vstore(dst + i, vmul(vload(a + i), vload(b + i)));
}

static void SUF(affine)(float *dst, const float *src, const float *scale, const float *shift,
                        int channels, int count)
{
    for (int m = 0; m < count; m++, dst += channels, src += channels)
        for (int c = 0; c < channels; c += W)
            vstore(dst + c, vfma(vload(src + c), scale ? vload(scale + c) : vset1(1),
                                 shift ? vload(shift + c) : vset1(0)));
}

static void SUF(slope)(float *dst, const float *src, const float *slope, int channels, int count)
{
    for (int m = 0; m < count; m++, dst += channels, src += channels)
        for (int c = 0; c < channels; c += W)
            vstore(dst + c, vleaky(vload(src + c), vload(slope + c)));
}

/* e^x, relative error about 2e-7: x = n ln 2 + r, Taylor polynomial in r of degree 7. */
UPZ_INLINE V vexp(V x)
{
    x = vmin(vset1(88.0f), vmax(vset1(-87.0f), x)); /* NaN stays NaN */
    const V magic = vset1(12582912.0f);
    V t = vfma(x, vset1(1.44269504f), magic);
    V n = vsub(t, magic);
    V r = vfnma(n, vset1(0.693359375f), x);
    r = vfnma(n, vset1(-2.12194440e-4f), r);
    V p = vset1(1.0f / 5040);
    p = vfma(p, r, vset1(1.0f / 720));
    p = vfma(p, r, vset1(1.0f / 120));
    p = vfma(p, r, vset1(1.0f / 24));
    p = vfma(p, r, vset1(1.0f / 6));
    p = vfma(p, r, vset1(0.5f));
    p = vfma(p, r, vset1(1));
    p = vfma(p, r, vset1(1));
    return vmul(p, vpow2(t));
}

UPZ_INLINE V sigmoid(V x)
{
    const V one = vset1(1);
    return vdiv(one, vadd(one, vexp(vsub(vset1(0), x))));
}

/* Abramowitz and Stegun 7.1.26, absolute error 1.5e-7. */
UPZ_INLINE V verf(V x)
{
    V a = vmax(x, vsub(vset1(0), x));
    V t = vdiv(vset1(1), vfma(vset1(0.3275911f), a, vset1(1)));
    V p = vset1(1.061405429f);
    p = vfma(p, t, vset1(-1.453152027f));
    p = vfma(p, t, vset1(1.421413741f));
    p = vfma(p, t, vset1(-0.284496736f));
    p = vfma(p, t, vset1(0.254829592f));
    V e = vexp(vsub(vset1(0), vmul(a, a)));
    return vsign(vfnma(vmul(p, t), e, vset1(1)), x);
}

UPZ_INLINE V curve_at(V x, UpzCurve curve, V lo, V hi)
{
    switch (curve) {
    case UPZ_CURVE_SIGMOID: return sigmoid(x);
    case UPZ_CURVE_TANH: {
        V e = vexp(vadd(x, x));
        return vsub(vset1(1), vdiv(vset1(2), vadd(e, vset1(1))));
    }
    case UPZ_CURVE_SILU: return vmul(x, sigmoid(x));
    case UPZ_CURVE_GELU: {
        V h = vmul(x, vset1(0.5f));
        return vfma(h, verf(vmul(x, vset1(0.70710678f))), h);
    }
    case UPZ_CURVE_CLIP: return vmin(hi, vmax(lo, x));
    }
    return x;
}

#define CURVE(name)                                                                               \
    case name:                                                                                    \
        for (size_t i = 0; i < n; i += W) vstore(dst + i, curve_at(vload(src + i), name, l, h));  \
        break;

static void SUF(curve)(float *dst, const float *src, UpzCurve curve, float lo, float hi, size_t n)
{
    const V l = vset1(lo), h = vset1(hi);
    switch (curve) {
        CURVE(UPZ_CURVE_SIGMOID)
        CURVE(UPZ_CURVE_TANH)
        CURVE(UPZ_CURVE_SILU)
        CURVE(UPZ_CURVE_GELU)
        CURVE(UPZ_CURVE_CLIP)
    }
}

static void SUF(narrow8)(int8_t *dst, const float *src, const float *inverse, int channels, int count)
{
    for (int x = 0; x < count; x++, dst += channels, src += channels)
        for (int c = 0; c < channels; c += W) vstore_int8(dst + c, vmul(vload(src + c), vload(inverse + c)));
}

static void SUF(narrow)(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i += W) vstore_bf16(dst + i, vload(src + i));
}

static void SUF(widen)(float *dst, const uint16_t *src, size_t n)
{
    for (size_t i = 0; i < n; i += W) vstore(dst + i, vload_bf16(src + i));
}

#define PEAK_CHAINS 12 /* of sums side by side: as many as hide the latency */

static double SUF(peak)(size_t n)
{
    V sums[PEAK_CHAINS];
    volatile float seed = 0.5f; /* so that nothing is computed beforehand */
    float end[W];
    const V x = vset1(seed);
    UNROLL
    for (int i = 0; i < PEAK_CHAINS; i++) sums[i] = vset1(seed);
    for (size_t k = 0; k < n; k++)
        UNROLL
        for (int i = 0; i < PEAK_CHAINS; i++) sums[i] = vfma(x, sums[i], x);
    UNROLL
    for (int i = 1; i < PEAK_CHAINS; i++) sums[0] = vadd(sums[0], sums[i]);
    vstore(end, sums[0]);
    seed = end[0];
    return 2.0 * W * PEAK_CHAINS * (double)n;
}

const UpzCpuKernels SUF(upz_cpu_kernels) = {
    .level = LEVEL,
    .gemm = SUF(gemm),
    .wino_in = SUF(wino_in),
    .wino_out = SUF(wino_out),
    .depthwise = SUF(depthwise),
    .planar = SUF(planar),
    .interleave = SUF(interleave),
    .add = SUF(add),
    .mul = SUF(mul),
    .affine = SUF(affine),
    .slope = SUF(slope),
    .curve = SUF(curve),
    .narrow = SUF(narrow),
    .narrow8 = SUF(narrow8),
    .widen = SUF(widen),
    .peak = SUF(peak),
};
