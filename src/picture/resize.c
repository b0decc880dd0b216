/* Planning and running the resampling of one plane.
 *
 * Rows are made in strips of columns: a strip's source rows are filtered across into a ring of
 * intermediate rows, which stays in the nearest caches, then down into output rows. */
#include "picture/resize.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/integer.h"
#include "picture/resize_dsp.h"

enum {
    MAX_TAPS = 4096,
    SLACK = 256,     /* bytes row kernels may read or write beyond a row */
    OVER_READ = 128, /* … and of a picture's row, where they read it in place */
    CHUNK = 16,      /* blocks between two calls for source rows to come */
    AHEAD = 2,       /* source rows */
    UNITS_MAX = 64   /* times pairs of taps: 16 KB of tables */
};

struct UpzResize {
    UpzResizeParams p;
    UpzResizeDSP dsp;
    UpzAxis x, y;
    UpzAcross across;
    bool fixed, in_place; /* in_place: the row kernels read the picture itself where they can */
    float lo, hi;
    int source_samples;                        /* under the widest strip */
    size_t source_bytes, row_bytes, out_bytes; /* of scratch: a source row, one intermediate row */
    size_t memory;
};

/* ---- kernels, as functions of the distance in source samples ---- */

static double sinc(double x) { return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x); }

static double radius(UpzResizeKernel k)
{
    return k == UPZ_RESIZE_BILINEAR ? 1 : k == UPZ_RESIZE_BICUBIC ? 2 : 3;
}

static double kernel(UpzResizeKernel k, double x)
{
    x = fabs(x);
    if (x >= radius(k)) return 0;
    switch (k) {
    case UPZ_RESIZE_BILINEAR: return 1 - x;
    case UPZ_RESIZE_BICUBIC: /* Keys 1981, a = -1/2 */
        return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
    case UPZ_RESIZE_LANCZOS: return sinc(x) * sinc(x / 3);
    case UPZ_RESIZE_SPLINE36: /* the natural cubic spline through a unit impulse, 6 points */
        if (x < 1) return ((13.0 / 11 * x - 453.0 / 209) * x - 3.0 / 209) * x + 1;
        if (x < 2) {
            x -= 1;
            return ((-6.0 / 11 * x + 270.0 / 209) * x - 156.0 / 209) * x;
        }
        x -= 2;
        return ((1.0 / 11 * x - 45.0 / 209) * x + 26.0 / 209) * x;
    }
    return 0;
}

/* ---- one direction ---- */

static void free_axis(UpzAxis *a)
{
    upz_free_aligned(a->pos);
    upz_free_aligned(a->weight);
    upz_free_aligned(a->fixed);
}

/* Rounds one output's weights to fixed point with their sum exact. */
static void to_fixed(int16_t *fixed, const double *w, int n, int one)
{
    int sum = 0, largest = 0;
    for (int k = 0; k < n; k++) {
        int v = (int)lrint(w[k] * one);
        sum += v;
        fixed[k] = (int16_t)UPZ_CLAMP(v, -32768, 32767);
        if (fabs(w[k]) > fabs(w[largest])) largest = k;
    }
    fixed[largest] = (int16_t)UPZ_CLAMP(fixed[largest] + one - sum, -32768, 32767);
}

static int plan_axis(UpzAxis *a, UpzResizeKernel k, int src, int dst, const int ratio[2],
                     double shift, int one, size_t *memory, UprezError *err)
{
    int num = ratio[0] ? ratio[0] : src, den = ratio[0] ? ratio[1] : dst, g = (int)upz_gcd(num, den);
    num /= g;
    den /= g;
    a->period = UPZ_MIN(den, dst + 2 * UPZ_BLOCK); /* the last blocks end beyond the row */
    a->advance = num;
    double step = (double)num / den, widen = UPZ_MAX(step, 1), reach = radius(k) * widen;
    if (reach > MAX_TAPS / 2 - 2)
        return upz_fail(err, UPREZ_ERR_USAGE,
                        "shrinking %d px to %d px is beyond the resampler; shrink in two steps",
                        src, dst);
    int room = (int)ceil(2 * reach) + 1, least = room, most = -1;
    size_t cells;
    if (!upz_mul_size((size_t)a->period, (size_t)room, &cells) || cells > SIZE_MAX / 8)
        return upz_fail_memory(err, SIZE_MAX, "the resampler's weights");
    double *all = upz_alloc_aligned(cells * sizeof(double));
    a->pos = upz_alloc_aligned((size_t)a->period * sizeof(*a->pos));
    if (!all || !a->pos) {
        upz_free_aligned(all);
        return upz_fail_memory(err, cells * sizeof(double), "the resampler's weights");
    }
    for (int i = 0; i < a->period; i++) {
        double center = (i + 0.5) * step + shift, sum = 0, *w = all + (size_t)i * (size_t)room;
        int first = (int)ceil(center - reach - 0.5);
        a->pos[i] = first;
        for (int t = 0; t < room; t++) {
            w[t] = kernel(k, (first + t + 0.5 - center) / widen);
            if (fabs(w[t]) < 1e-9) w[t] = 0; /* zeros of the kernel */
            sum += w[t];
        }
        for (int t = 0; t < room; t++) {
            w[t] /= sum;
            if (w[t] != 0) least = UPZ_MIN(least, t), most = UPZ_MAX(most, t);
        }
    }
    a->n = most - least + 1; /* taps that are zero everywhere are no work */
    cells = (size_t)a->period * (size_t)a->n;
    a->weight = upz_alloc_aligned(cells * sizeof(*a->weight));
    a->fixed = upz_alloc_aligned(cells * sizeof(*a->fixed));
    if (!a->weight || !a->fixed) {
        upz_free_aligned(all);
        return upz_fail_memory(err, cells * sizeof(*a->weight), "the resampler's weights");
    }
    for (int i = 0; i < a->period; i++) {
        const double *w = all + (size_t)i * (size_t)room + least;
        size_t at = (size_t)i * (size_t)a->n;
        a->pos[i] += least;
        for (int t = 0; t < a->n; t++) a->weight[at + (size_t)t] = (float)w[t];
        to_fixed(a->fixed + at, w, a->n, one);
    }
    upz_free_aligned(all);
    *memory += cells * (sizeof(*a->weight) + sizeof(*a->fixed)) +
               (size_t)a->period * sizeof(*a->pos);
    return 0;
}

static int position(const UpzAxis *a, int i)
{
    return a->pos[i % a->period] + i / a->period * a->advance;
}

/* ---- the tables of the row kernels ---- */

static void free_across(UpzAcross *t)
{
    upz_free_aligned(t->first);
    upz_free_aligned(t->shuffle);
    upz_free_aligned(t->fixed);
    upz_free_aligned(t->index);
    upz_free_aligned(t->weight);
    upz_free_aligned(t->unit_first);
    upz_free_aligned(t->unit_bytes);
    upz_free_aligned(t->unit_fixed);
}

static int plan_units(UpzAcross *t, const UpzAxis *a, int dst_w, int sample_bytes, size_t *memory,
                      UprezError *err)
{
    const int outputs = 2 * UPZ_BLOCK;
    int repeat = outputs / (int)upz_gcd(a->period, outputs);
    int units = (int)UPZ_MIN((int64_t)a->period * repeat / outputs, (dst_w + outputs - 1) / outputs);
    units = UPZ_MAX(units, 1);
    if (units > UNITS_MAX / t->pairs) return 0;
    for (int u = 0; u < units; u++)
        if (position(a, (u + 1) * outputs - 1) + a->n - position(a, u * outputs) > 64 / sample_bytes)
            return 0;
    size_t cells = (size_t)units * 2 * (size_t)t->pairs;
    t->unit_first = upz_alloc_aligned((size_t)units * sizeof(*t->unit_first));
    t->unit_bytes = upz_alloc_aligned(cells * 64);
    t->unit_fixed = upz_alloc_aligned(cells * 64);
    if (!t->unit_first || !t->unit_bytes || !t->unit_fixed)
        return upz_fail_memory(err, cells * 128, "the resampler's tables");
    *memory += cells * 128 + (size_t)units * sizeof(*t->unit_first);
    t->units = units;
    t->unit_advance = a->advance * repeat;
    for (int i = 0; i < units * outputs; i++) {
        int u = i / outputs, o = i % outputs, v = o / 4 % 2, lane = o / 8 * 4 + o % 4;
        t->unit_first[u] = position(a, u * outputs);
        for (int k = 0; k < 2 * t->pairs; k++) {
            bool used = k < t->n;
            int at = ((u * 2 + v) * t->pairs + k / 2) * UPZ_BLOCK + lane;
            int byte = used ? (position(a, i) - t->unit_first[u] + k) * sample_bytes : 0;
            uint8_t *b = t->unit_bytes + at * 4 + k % 2 * 2;
            b[0] = (uint8_t)byte;
            b[1] = (uint8_t)(byte + 1); /* of bytes the kernel makes zero */
            t->unit_fixed[at * 2 + k % 2] = used ? a->fixed[i % a->period * a->n + k] : 0;
        }
    }
    return 0;
}

static int plan_across(UpzAcross *t, const UpzAxis *a, int dst_w, int sample_bytes, size_t *memory,
                       UprezError *err)
{
    int total = (dst_w + UPZ_BLOCK - 1) / UPZ_BLOCK;
    int repeat = UPZ_BLOCK / (int)upz_gcd(a->period, UPZ_BLOCK); /* periods until blocks line up */
    t->n = a->n;
    t->pairs = (a->n + 1) / 2;
    t->blocks = (int)UPZ_MIN((int64_t)a->period * repeat / UPZ_BLOCK, total);
    if (t->blocks < 1) t->blocks = 1;
    t->advance = a->advance * repeat;
    size_t blocks = (size_t)t->blocks, pairs = (size_t)t->pairs, n = (size_t)t->n;
    t->first = upz_alloc_aligned(blocks * 4 * sizeof(*t->first));
    t->shuffle = upz_alloc_aligned(blocks * pairs * 64);
    t->fixed = upz_alloc_aligned(blocks * pairs * 32 * sizeof(*t->fixed));
    t->index = upz_alloc_aligned(blocks * UPZ_BLOCK * sizeof(*t->index));
    t->weight = upz_alloc_aligned(blocks * n * UPZ_BLOCK * sizeof(*t->weight));
    if (!t->first || !t->shuffle || !t->fixed || !t->index || !t->weight)
        return upz_fail_memory(err, blocks * n * UPZ_BLOCK * 8, "the resampler's tables");
    *memory += blocks * (4 * 4 + pairs * 128 + UPZ_BLOCK * 4 + n * UPZ_BLOCK * 4);

    int window = 16 / sample_bytes, widest = 0;
    t->span = 0;
    t->halving = t->blocks == 1; /* or each block has weights of its own */
    for (int i = 0; i < t->blocks * UPZ_BLOCK; i++) {
        int m = i / UPZ_BLOCK, lane = i % UPZ_BLOCK, pos = position(a, i);
        if (lane % UPZ_GROUP == 0) t->first[i / UPZ_GROUP] = pos;
        t->index[i] = pos - t->first[m * 4];
        t->span = UPZ_MAX(t->span, t->index[i] + 1);
        if (t->index[i] != 2 * lane) t->halving = false;
        widest = UPZ_MAX(widest, pos - t->first[i / UPZ_GROUP]);
        for (int k = 0; k < t->n; k++)
            t->weight[(m * t->n + k) * UPZ_BLOCK + lane] = a->weight[i % a->period * a->n + k];
    }
    t->one_block = t->span - 1 + t->n <= window;
    t->per_window = t->one_block ? t->pairs : UPZ_CLAMP((window - widest) / 2, 1, t->pairs);
    for (int i = 0; i < t->blocks * UPZ_BLOCK; i++) {
        int m = i / UPZ_BLOCK, lane = i % UPZ_BLOCK;
        int base = t->first[t->one_block ? m * 4 : i / UPZ_GROUP];
        for (int k = 0; k < 2 * t->pairs; k++) {
            int at = (m * t->pairs + k / 2) * UPZ_BLOCK + lane;
            int sample = position(a, i) - base + k % (2 * t->per_window);
            bool used = k < t->n && sample < window;
            uint8_t *s = t->shuffle + at * 4 + k % 2 * 2;
            s[0] = (uint8_t)(used ? sample * sample_bytes : 0x80);
            s[1] = (uint8_t)(used && sample_bytes == 2 ? sample * 2 + 1 : 0x80);
            t->fixed[at * 2 + k % 2] = k < t->n ? a->fixed[i % a->period * a->n + k] : 0;
        }
    }
    return plan_units(t, a, dst_w, sample_bytes, memory, err);
}

/* The widest distance within a group of 4 of n outputs, in samples. */
static int group_span(const UpzAxis *a, int n)
{
    int span = 0;
    for (int i = 0; i < UPZ_MIN(a->period, n); i++)
        span = UPZ_MAX(span, position(a, i + UPZ_GROUP - 1) - position(a, i));
    return span;
}

/* Sums of the positive and negative weights, at most over all phases. */
static void gains(const UpzAxis *a, int one, double *up, double *down)
{
    *up = *down = 0;
    for (int i = 0; i < a->period; i++) {
        double p = 0, m = 0;
        for (int k = 0; k < a->n; k++) {
            double w = (double)a->fixed[i * a->n + k] / one;
            if (w > 0)
                p += w;
            else
                m -= w;
        }
        *up = UPZ_MAX(*up, p);
        *down = UPZ_MAX(*down, m);
    }
}

/* Fixed point: when 16 bits hold every intermediate sum and rounding stays below a third of a
 * code. */
static bool can_be_fixed(const UpzResize *r)
{
    const UpzResizeParams *p = &r->p;
    if (p->depth_src > 10 || p->depth_dst != p->depth_src) return false;
    if ((p->gain != 0 && p->gain != 1) || p->bias != 0) return false;
    int bytes = p->depth_src > 8 ? 2 : 1;
    if (r->y.n > (bytes == 1 ? 24 : 12)) return false;
    if (group_span(&r->x, p->dst_w) + 2 > 16 / bytes) return false;
    double xp, xm, yp, ym, one = 1 << 14;
    gains(&r->x, 1 << 14, &xp, &xm);
    gains(&r->y, 1 << 15, &yp, &ym);
    double high = one * xp, low = one * xm, rounding = r->y.n + 64; /* with the last half */
    return yp * high + ym * low + rounding < 32767 && yp * low + ym * high + rounding < 32767;
}

static UpzResizeDSP choose(UpzCpuLevel cpu, const UpzAcross *a)
{
    UpzResizeDSP dsp = upz_resize_c;
#if defined(__x86_64__)
    if (cpu >= UPZ_CPU_AVX2) dsp = upz_resize_avx2;
    if (cpu >= UPZ_CPU_AVX512) dsp = upz_resize_avx512;
    if (cpu >= UPZ_CPU_AVX512VNNI && a->units && !a->halving)
        dsp.across_fixed = upz_resize_across_units;
#else
    (void)cpu, (void)a;
#endif
    return dsp;
}

/* Source samples b0 … b1-1 blocks need: from *origin on. */
static int under(const UpzResize *r, int b0, int b1, int *origin)
{
    *origin = position(&r->x, b0 * UPZ_BLOCK);
    return position(&r->x, b1 * UPZ_BLOCK - 1) + r->x.n - *origin;
}

static int row_blocks(const UpzResizeParams *p)
{
    return (p->dst_w + 2 * UPZ_BLOCK - 1) / (2 * UPZ_BLOCK) * 2;
}

static bool plausible(const UpzResizeParams *p)
{
    const int depths[2] = {p->depth_src, p->depth_dst}, steps[2] = {p->step_src, p->step_dst};
    for (int i = 0; i < 2; i++) {
        int bytes = depths[i] == 32 ? 4 : depths[i] > 8 ? 2 : 1;
        if (depths[i] != 32 && (depths[i] < 8 || depths[i] > 16)) return false;
        if (steps[i] && (steps[i] < bytes || steps[i] % bytes)) return false;
    }
    const int sides[4] = {p->src_w, p->src_h, p->dst_w, p->dst_h};
    for (int i = 0; i < 4; i++)
        if (sides[i] < 1 || sides[i] > UPREZ_SIDE_MAX) return false;
    return true;
}

int upz_resize_create(UpzResize **out, const UpzResizeParams *params, UpzCpuLevel cpu,
                      UprezError *err)
{
    *out = NULL;
    if (!plausible(params))
        return upz_fail(err, UPREZ_ERR_USAGE,
                        "resampling %dx%d to %dx%d at depths %d and %d is not possible: sides must "
                        "be 1 to %d px, depths 8 to 16 or 32",
                        params->src_w, params->src_h, params->dst_w, params->dst_h,
                        params->depth_src, params->depth_dst, UPREZ_SIDE_MAX);
    UpzResize *r = upz_calloc(1, sizeof(*r));
    if (!r) return upz_fail_memory(err, sizeof(*r), "a resampler");
    r->p = *params;
    r->memory = sizeof(*r);
    int bytes_src = params->depth_src == 32 ? 4 : params->depth_src > 8 ? 2 : 1;
    int bytes_dst = params->depth_dst == 32 ? 4 : params->depth_dst > 8 ? 2 : 1;
    if (!r->p.step_src) r->p.step_src = bytes_src;
    if (!r->p.step_dst) r->p.step_dst = bytes_dst;
    if (r->p.gain == 0) r->p.gain = 1;
    r->lo = (float)params->lo;
    r->hi = params->hi ? (float)params->hi : (float)((1 << UPZ_MIN(params->depth_dst, 16)) - 1);
    int e = plan_axis(&r->x, params->kernel, params->src_w, params->dst_w, params->ratio_x,
                      params->shift_x, 1 << 14, &r->memory, err);
    if (e >= 0)
        e = plan_axis(&r->y, params->kernel, params->src_h, params->dst_h, params->ratio_y,
                      params->shift_y, 1 << 15, &r->memory, err);
    if (e >= 0) {
        r->fixed = can_be_fixed(r);
        r->in_place = r->p.step_src == bytes_src &&
                      (r->fixed ? !params->shift_bits_src : params->depth_src == 32);
        e = plan_across(&r->across, &r->x, params->dst_w, bytes_src == 4 ? 2 : bytes_src,
                        &r->memory, err);
    }
    if (e < 0) {
        upz_resize_destroy(&r);
        return e;
    }
    r->dsp = choose(cpu, &r->across);
    int blocks = row_blocks(params), origin;
    for (int b = 0; b < blocks; b += UPZ_STRIP) {
        int samples = under(r, b, UPZ_MIN(b + UPZ_STRIP, blocks), &origin);
        r->source_samples = UPZ_MAX(r->source_samples, samples);
    }
    size_t columns = UPZ_STRIP * UPZ_BLOCK;
    r->source_bytes = UPZ_ROUND_UP((size_t)r->source_samples * 4 + SLACK, (size_t)64);
    r->row_bytes = columns * (r->fixed ? 2 : 4) + 64;
    r->out_bytes = columns * 4 + SLACK;
    *out = r;
    return 0;
}

void upz_resize_destroy(UpzResize **resize)
{
    UpzResize *r = *resize;
    if (!r) return;
    *resize = NULL;
    free_axis(&r->x);
    free_axis(&r->y);
    free_across(&r->across);
    upz_free(r);
}

size_t upz_resize_scratch(const UpzResize *r)
{
    return r->source_bytes + 2 * r->out_bytes + (size_t)r->y.n * r->row_bytes;
}

size_t upz_resize_memory(const UpzResize *r) { return r->memory; }

static int mirror(int i, int n)
{
    if (i < 0) i = -1 - i;
    if (i >= n) i = 2 * n - 1 - i;
    return UPZ_CLAMP(i, 0, n - 1);
}

int upz_resize_taps(UpzResizeTaps *out, UpzResizeKernel k, int src, int dst, UprezError *err)
{
    UpzAxis a = {0};
    size_t cells, memory = 0;
    *out = (UpzResizeTaps){.n = dst};
    if (src < 1 || dst < 1 || src > UPREZ_SIDE_MAX || dst > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "resampling %d px to %d px is not possible: sides must be "
                        "1 to %d px", src, dst, UPREZ_SIDE_MAX);
    int r = plan_axis(&a, k, src, dst, (int[2]){0, 0}, 0, 1 << 14, &memory, err);
    cells = (size_t)dst * (size_t)a.n;
    if (r >= 0) {
        out->taps = a.n;
        out->first = upz_calloc((size_t)dst, sizeof(*out->first));
        out->weight = upz_calloc(cells, sizeof(*out->weight));
        if (!out->first || !out->weight)
            r = upz_fail_memory(err, cells * sizeof(*out->weight), "the resampler's weights");
    }
    for (int i = 0; i < dst && r >= 0; i++) {
        const int at = position(&a, i), first = UPZ_CLAMP(at, 0, UPZ_MAX(src - a.n, 0));
        float *w = out->weight + (size_t)i * (size_t)a.n;
        out->first[i] = first;
        for (int t = 0; t < a.n; t++)
            w[mirror(at + t, src) - first] += a.weight[i % a.period * a.n + t];
    }
    free_axis(&a);
    if (r < 0) upz_resize_taps_free(out);
    return r;
}

int upz_resize_reach(UpzResizeKernel k, int src, int dst, int sub)
{
    const double scale = (double)dst / src;
    const double reach = (radius(k) * UPZ_MAX(1 / scale, 1) + 1) * scale;
    return (int)ceil(reach * (1 << sub)) + (1 << sub);
}

void upz_resize_taps_free(UpzResizeTaps *t)
{
    upz_free(t->first);
    upz_free(t->weight);
    *t = (UpzResizeTaps){0};
}

/* Samples origin … origin + count - 1 of a row, those outside mirrored, as uint8_t, uint16_t or
 * float. */
static void fetch(const UpzResize *r, const uint8_t *row, int origin, int count, void *dst)
{
    const UpzResizeParams *p = &r->p;
    int from = UPZ_CLAMP(origin, 0, p->src_w), to = UPZ_CLAMP(origin + count, from, p->src_w);
    int bytes = p->depth_src > 8 ? 2 : 1, at = from - origin, n = to - from;
    const uint8_t *s = row + (size_t)from * (size_t)p->step_src;
    const uint16_t *s16 = (const uint16_t *)(const void *)s;
    if (!r->fixed) {
        float *d = dst;
        r->dsp.load_float(d + at, s, p->depth_src, p->step_src, p->shift_bits_src, n);
        for (int i = 0; i < count; i++) {
            if (i == at) i += n;
            if (i >= count) break;
            r->dsp.load_float(d + i, row + (size_t)mirror(origin + i, p->src_w) *
                               (size_t)p->step_src, p->depth_src, p->step_src, p->shift_bits_src,
                               1);
        }
    } else if (bytes == 1) {
        uint8_t *d = dst;
        if (p->step_src == 1)
            memcpy(d + at, s, (size_t)n);
        else
            for (int i = 0; i < n; i++) d[at + i] = s[i * p->step_src];
        for (int i = 0; i < count; i++) {
            if (i == at) i += n;
            if (i >= count) break;
            d[i] = row[(size_t)mirror(origin + i, p->src_w) * (size_t)p->step_src];
        }
    } else {
        uint16_t *d = dst;
        int wide = p->step_src / 2, right = p->shift_bits_src;
        if (wide == 1 && !right)
            memcpy(d + at, s, (size_t)n * 2);
        else
            for (int i = 0; i < n; i++) d[at + i] = (uint16_t)(s16[i * wide] >> right);
        for (int i = 0; i < count; i++) {
            if (i == at) i += n;
            if (i >= count) break;
            d[i] = (uint16_t)(((const uint16_t *)(const void *)row)[mirror(origin + i, p->src_w) *
                                                                    wide] >> right);
        }
    }
}

/* Blocks b0 … b1-1 of a strip's row and the source samples under them. inside: their windows lie
 * inside the picture, and what is read beyond them too when the row is the last in memory. */
typedef struct Piece {
    int b0, b1, origin, count;
    bool inside;
    size_t ahead, ahead_end; /* bytes of a row: to be called for the row to come */
} Piece;

typedef struct Strip {
    int b0, n;
    Piece pieces[UPZ_STRIP / CHUNK + 3];
} Strip;

static void add_piece(const UpzResize *r, Strip *s, int b0, int b1, bool inside)
{
    if (b0 >= b1) return;
    Piece *p = &s->pieces[s->n++];
    *p = (Piece){.b0 = b0, .b1 = b1, .inside = inside};
    p->count = under(r, b0, b1, &p->origin);
    size_t step = (size_t)r->p.step_src;
    p->ahead = (size_t)UPZ_CLAMP(p->origin, 0, r->p.src_w) * step;
    p->ahead_end = (size_t)UPZ_CLAMP(p->origin + p->count, 0, r->p.src_w) * step;
}

static void divide(const UpzResize *r, Strip *s, int b0, int b1, bool last_row)
{
    s->b0 = b0;
    s->n = 0;
    int left = b1, right = b1;
    if (r->in_place) {
        int last = r->p.src_w - r->x.n - (last_row ? OVER_READ / r->p.step_src : 0);
        left = b0;
        while (left < b1 && position(&r->x, left * UPZ_BLOCK) < 0) left += 2;
        while (right > left && position(&r->x, right * UPZ_BLOCK - 1) > last) right -= 2;
    }
    add_piece(r, s, b0, left, false);
    for (int b = left; b < right; b += CHUNK)
        add_piece(r, s, b, UPZ_MIN(b + CHUNK, right), true);
    add_piece(r, s, right, b1, false);
}

static void across(const UpzResize *r, const void *src, int origin, int b0, int b1, void *dst)
{
    if (r->fixed)
        r->dsp.across_fixed(&r->across, src, r->p.depth_src > 8 ? 2 : 1, origin, b0, b1,
                             r->p.depth_src, dst);
    else
        r->dsp.across_float(&r->across, src, origin, b0, b1, dst);
}

/* One intermediate row of a strip. Meanwhile the same part of row `ahead` is called into the cache:
 * processors see a pattern within a row, but not from row to row. */
static void across_strip(const UpzResize *r, const Strip *strip, const uint8_t *row,
                         const uint8_t *ahead, void *source, uint8_t *dst)
{
    size_t block_bytes = (size_t)UPZ_BLOCK * (r->fixed ? 2 : 4), step = (size_t)r->p.step_src;
    for (const Piece *p = strip->pieces; p < strip->pieces + strip->n; p++) {
        for (size_t i = p->ahead; i < p->ahead_end; i += 64) UPZ_PREFETCH(ahead + i);
        void *d = dst + (size_t)(p->b0 - strip->b0) * block_bytes;
        const void *from = row + (p->inside ? step * (size_t)p->origin : 0);
        if (!p->inside) {
            fetch(r, row, p->origin, p->count, source);
            from = source;
        }
        across(r, from, p->origin, p->b0, p->b1, d);
    }
}

/* A finished strip of one row from `tmp` to its place, when samples have gaps between. */
static void spread(const UpzResizeParams *p, const void *tmp, uint8_t *dst, int n)
{
    int step = p->step_dst;
    if (p->depth_dst == 8) {
        const uint8_t *s = tmp;
        for (int i = 0; i < n; i++) dst[i * step] = s[i];
    } else if (p->depth_dst <= 16) {
        const uint16_t *s = tmp;
        uint16_t *d = (uint16_t *)(void *)dst;
        for (int i = 0; i < n; i++) d[i * (step / 2)] = s[i];
    } else {
        const float *s = tmp;
        float *d = (float *)(void *)dst;
        for (int i = 0; i < n; i++) d[i * (step / 4)] = s[i];
    }
}

/* One output row of a strip from its intermediate rows; count is rounded up to UPZ_DOWN. */
static void finish_row(const UpzResize *r, const void *const *rows, int y, void *dst, void *sums,
                       int count)
{
    const UpzResizeParams *p = &r->p;
    int n = r->y.n, at = y % r->y.period * n;
    if (!r->fixed) {
        r->dsp.down_float((const float *const *)rows, r->y.weight + at, n, sums, count);
        r->dsp.finish(sums, dst, p->depth_dst, p->shift_bits_dst, (float)p->gain, (float)p->bias,
                       r->lo, r->hi, count);
    } else if (p->depth_dst == 8) {
        r->dsp.down_u8((const int16_t *const *)rows, r->y.fixed + at, n, 14 - p->depth_src,
                        (int)r->lo, (int)r->hi, dst, count);
    } else {
        r->dsp.down_u16((const int16_t *const *)rows, r->y.fixed + at, n, 14 - p->depth_src,
                         (int)r->lo, (int)r->hi, p->shift_bits_dst, dst, count);
    }
}

void upz_resize_rows(const UpzResize *r, const void *src, ptrdiff_t src_stride, void *dst,
                     ptrdiff_t dst_stride, int y0, int y1, void *scratch)
{
    const UpzResizeParams *p = &r->p;
    uint8_t *source = scratch, *sums = source + r->source_bytes, *packed = sums + r->out_bytes;
    uint8_t *ring = packed + r->out_bytes;
    int blocks = row_blocks(p), n = r->y.n;
    int bytes_dst = p->depth_dst == 32 ? 4 : p->depth_dst > 8 ? 2 : 1;
    int last_line = src_stride > 0 ? p->src_h - 1 : 0;
    bool narrow = src_stride < OVER_READ && src_stride > -OVER_READ;
    const void *rows[MAX_TAPS];

    for (int b0 = 0; b0 < blocks; b0 += UPZ_STRIP) {
        int b1 = UPZ_MIN(b0 + UPZ_STRIP, blocks), x = b0 * UPZ_BLOCK;
        int width = UPZ_MIN(b1 * UPZ_BLOCK, p->dst_w) - x;
        Strip strips[2];
        divide(r, &strips[0], b0, b1, false);
        divide(r, &strips[1], b0, b1, true);
        int next = position(&r->y, y0), slot = 0; /* first row not in the ring, its place there */
        for (int y = y0; y < y1; y++) {
            int top = position(&r->y, y);
            for (next = UPZ_MAX(next, top); next < top + n; next++) {
                int line = mirror(next, p->src_h);
                const uint8_t *from = (const uint8_t *)src + src_stride * line;
                const uint8_t *ahead =
                    (const uint8_t *)src + src_stride * mirror(next + AHEAD, p->src_h);
                across_strip(r, &strips[narrow || line == last_line], from, ahead, source,
                             ring + (size_t)slot * r->row_bytes);
                slot = slot + 1 == n ? 0 : slot + 1;
            }
            /* the ring is full: the slot to be written next holds the oldest row, which is `top` */
            for (int k = 0, at = slot; k < n; k++, at = at + 1 == n ? 0 : at + 1)
                rows[k] = ring + (size_t)at * r->row_bytes;
            uint8_t *to = (uint8_t *)dst + dst_stride * y + (size_t)x * (size_t)p->step_dst;
            /* whole steps of the kernels straight into the picture; then the last step again, ending
             * at the last sample. Less than a step, or samples with gaps, goes by way of `packed`. */
            int whole = p->step_dst == bytes_dst ? width / UPZ_DOWN * UPZ_DOWN : 0;
            if (whole) finish_row(r, rows, y, to, sums, whole);
            if (whole == width) continue;
            int skip = whole ? width - UPZ_DOWN : 0;
            for (int k = 0; k < n; k++)
                rows[k] = (const uint8_t *)rows[k] + (size_t)skip * (r->fixed ? 2 : 4);
            finish_row(r, rows, y, whole ? to + (size_t)skip * (size_t)bytes_dst : packed, sums,
                       width - skip);
            if (!whole) spread(p, packed, to, width);
        }
    }
}
