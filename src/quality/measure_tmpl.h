/* Body of the measures' kernels, compiled once per processor level with UPZ_SUFFIX set: loops that the
 * compiler turns into vectors. */
#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "quality/measure_dsp.h"

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)

enum {
    CHUNK = 256, /* samples: a chunk's column sums stay in L1 */
    GROUP = 64   /* windows of MS-SSIM with one shift */
};

static uint64_t error8(const uint8_t *a, const uint8_t *b, int n)
{
    uint32_t sum = 0; /* 65536 times 255² is below 2³² */
    for (int i = 0; i < n; i++) {
        const int d = a[i] - b[i];
        sum += (uint32_t)(d * d);
    }
    return sum;
}

static uint64_t error16(const uint16_t *a, const uint16_t *b, int n)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) {
        const uint32_t d = (uint32_t)(a[i] > b[i] ? a[i] - b[i] : b[i] - a[i]);
        sum += d * d;
    }
    return sum;
}

/* Column sums of four rows first, then of four columns: both loops become vectors. */
static void blocks8(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride, int n,
                    const UpzSums8 *to)
{
    int32_t ca[CHUNK], cb[CHUNK], cs[CHUNK], cp[CHUNK];
    for (int done = 0; done < n; done += CHUNK / UPZ_BLOCK_SIDE) {
        const int blocks = UPZ_MIN(n - done, CHUNK / UPZ_BLOCK_SIDE), w = blocks * UPZ_BLOCK_SIDE;
        const uint8_t *p = a + done * UPZ_BLOCK_SIDE, *q = b + done * UPZ_BLOCK_SIDE;
        for (int i = 0; i < w; i++) {
            const int a0 = p[i], a1 = p[i + a_stride], a2 = p[i + 2 * a_stride], a3 = p[i + 3 * a_stride];
            const int b0 = q[i], b1 = q[i + b_stride], b2 = q[i + 2 * b_stride], b3 = q[i + 3 * b_stride];
            ca[i] = a0 + a1 + a2 + a3;
            cb[i] = b0 + b1 + b2 + b3;
            cs[i] = a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3 + b0 * b0 + b1 * b1 + b2 * b2 + b3 * b3;
            cp[i] = a0 * b0 + a1 * b1 + a2 * b2 + a3 * b3;
        }
        for (int i = 0; i < blocks; i++) {
            to->a[done + i] = ca[4 * i] + ca[4 * i + 1] + ca[4 * i + 2] + ca[4 * i + 3];
            to->b[done + i] = cb[4 * i] + cb[4 * i + 1] + cb[4 * i + 2] + cb[4 * i + 3];
            to->squares[done + i] = cs[4 * i] + cs[4 * i + 1] + cs[4 * i + 2] + cs[4 * i + 3];
            to->product[done + i] = cp[4 * i] + cp[4 * i + 1] + cp[4 * i + 2] + cp[4 * i + 3];
        }
    }
}

static void blocks16(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride, int n,
                     const UpzSums16 *to)
{
    double ca[CHUNK], cb[CHUNK], cs[CHUNK], cp[CHUNK];
    for (int done = 0; done < n; done += CHUNK / UPZ_BLOCK_SIDE) {
        const int blocks = UPZ_MIN(n - done, CHUNK / UPZ_BLOCK_SIDE), w = blocks * UPZ_BLOCK_SIDE;
        for (int i = 0; i < w; i++) ca[i] = cb[i] = cs[i] = cp[i] = 0;
        for (int r = 0; r < UPZ_BLOCK_SIDE; r++) {
            const uint16_t *p = (const uint16_t *)(const void *)(a + r * a_stride) + done * UPZ_BLOCK_SIDE;
            const uint16_t *q = (const uint16_t *)(const void *)(b + r * b_stride) + done * UPZ_BLOCK_SIDE;
            for (int i = 0; i < w; i++) {
                const double x = p[i], y = q[i];
                ca[i] += x;
                cb[i] += y;
                cs[i] += x * x + y * y;
                cp[i] += x * y;
            }
        }
        for (int i = 0; i < blocks; i++) {
            to->a[done + i] = ca[4 * i] + ca[4 * i + 1] + ca[4 * i + 2] + ca[4 * i + 3];
            to->b[done + i] = cb[4 * i] + cb[4 * i + 1] + cb[4 * i + 2] + cb[4 * i + 3];
            to->squares[done + i] = cs[4 * i] + cs[4 * i + 1] + cs[4 * i + 2] + cs[4 * i + 3];
            to->product[done + i] = cp[4 * i] + cp[4 * i + 1] + cp[4 * i + 2] + cp[4 * i + 3];
        }
    }
}

/* A window's sum of one kind: four blocks. */
#define WINDOW(kind) (u->kind[i] + u->kind[i + 1] + l->kind[i] + l->kind[i + 1])

/* The stabilising constants are rounded to whole numbers, as the filter does. */
static double windows8(const UpzSums8 *u, const UpzSums8 *l, int n)
{
    const int c1 = (int)(.01 * .01 * 255 * 255 * 64 + .5), c2 = (int)(.03 * .03 * 255 * 255 * 64 * 63 + .5);
    float lane[16] = {0};
    double sum = 0;
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int k = 0; k < 16; k++, i++) {
            const int a = WINDOW(a), b = WINDOW(b), both = a * a + b * b;
            const int vars = WINDOW(squares) * 64 - both, covar = WINDOW(product) * 64 - a * b;
            lane[k] += (float)(2 * a * b + c1) * (float)(2 * covar + c2) /
                       ((float)(both + c1) * (float)(vars + c2));
        }
        i -= 16;
    }
    for (; i < n; i++) {
        const int a = WINDOW(a), b = WINDOW(b), both = a * a + b * b;
        const int vars = WINDOW(squares) * 64 - both, covar = WINDOW(product) * 64 - a * b;
        sum += (float)(2 * a * b + c1) * (float)(2 * covar + c2) / ((float)(both + c1) * (float)(vars + c2));
    }
    for (int k = 0; k < 16; k++) sum += lane[k];
    return sum;
}

static double windows16(const UpzSums16 *u, const UpzSums16 *l, int n, double peak)
{
    const double c1 = floor(.01 * .01 * peak * peak * 64 + .5);
    const double c2 = floor(.03 * .03 * peak * peak * 64 * 63 + .5);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        const double a = WINDOW(a), b = WINDOW(b), both = a * a + b * b;
        const double vars = WINDOW(squares) * 64 - both, covar = WINDOW(product) * 64 - a * b;
        sum += (2 * a * b + c1) * (2 * covar + c2) / ((both + c1) * (vars + c2));
    }
    return sum;
}

static void load8(float *d, const uint8_t *s, int n)
{
    for (int i = 0; i < n; i++) d[i] = s[i];
}

static void load16(float *d, const uint16_t *s, float scale, int n)
{
    for (int i = 0; i < n; i++) d[i] = (float)s[i] * scale;
}

/* The 9/7 wavelet's low pass (Cohen, Daubechies, Feauveau 1992), symmetric: outermost tap first. */
static const float low_pass[] = {0.026727f, -0.016828f, -0.078201f, 0.266846f, 0.602914f};
/* A Gaussian with sigma 1.5, symmetric. The weights of a window do not add up to 1 quite, which counts in
 * flat parts: by so much less. */
static const float gaussian[] = {0.001028f, 0.007599f, 0.036001f, 0.109361f, 0.213006f, 0.266012f};
#define WINDOW_SUM (1.000002f * 1.000002f)
#define WINDOW_LACK (-4.000004e-6f)

static void halve(float *d, const float *const *rows, int n, int out, float *scratch)
{
    float *v = scratch + 4; /* mirrored samples on both sides */
    for (int i = 0; i < n; i++)
        v[i] = low_pass[0] * (rows[0][i] + rows[8][i]) + low_pass[1] * (rows[1][i] + rows[7][i]) +
               low_pass[2] * (rows[2][i] + rows[6][i]) + low_pass[3] * (rows[3][i] + rows[5][i]) +
               low_pass[4] * rows[4][i];
    for (int i = 0; i < 4; i++) {
        v[-1 - i] = v[i];
        v[n + i] = v[n - 1 - i];
    }
    for (int i = 0; i < out; i++) {
        const float *p = v + 2 * i - 4;
        d[i] = low_pass[0] * (p[0] + p[8]) + low_pass[1] * (p[1] + p[7]) + low_pass[2] * (p[2] + p[6]) +
               low_pass[3] * (p[3] + p[5]) + low_pass[4] * p[4];
    }
}

UPZ_INLINE float across(const float *p)
{
    return gaussian[0] * (p[0] + p[10]) + gaussian[1] * (p[1] + p[9]) + gaussian[2] * (p[2] + p[8]) +
           gaussian[3] * (p[3] + p[7]) + gaussian[4] * (p[4] + p[6]) + gaussian[5] * p[5];
}

/* Vertical sums of GROUP windows and what they reach across: of both pictures, their squares and their
 * product, all less `shift`. */
typedef struct Means {
    float a[GROUP + 16], b[GROUP + 16], aa[GROUP + 16], bb[GROUP + 16], ab[GROUP + 16];
} Means;

UPZ_INLINE void means(Means *m, const float *a, const float *b, ptrdiff_t stride, int n, float shift)
{
    for (int i = 0; i < n; i++) {
        float sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
        for (int k = 0; k < UPZ_GAUSS; k++) {
            const float x = a[i + k * stride] - shift, y = b[i + k * stride] - shift;
            const float w = gaussian[k <= 5 ? k : 10 - k], wx = w * x, wy = w * y;
            sa += wx;
            sb += wy;
            saa += wx * x;
            sbb += wy * y;
            sab += wx * y;
        }
        m->a[i] = sa;
        m->b[i] = sb;
        m->aa[i] = saa;
        m->bb[i] = sbb;
        m->ab[i] = sab;
    }
}

/* Samples are shifted to near zero, by one of the group: in flat parts a float's rounding would not be
 * far below the constants otherwise. Weights that add up to 1 would leave variances as they are; these
 * need the term with WINDOW_LACK. */
static void gauss(const float *a, const float *b, ptrdiff_t stride, int n, double *sums)
{
    const float c1 = .01f * 255 * .01f * 255, c2 = .03f * 255 * .03f * 255;
    const int windows = n - UPZ_GAUSS + 1;
    float term[3][GROUP];
    Means m = {.a = {0}};
    for (int g = 0; g < windows; g += GROUP) {
        const int here = UPZ_MIN(GROUP, windows - g);
        const float shift = a[g + here / 2 + 5 * stride], level = WINDOW_SUM * shift;
        const float lack = WINDOW_LACK * shift;
        means(&m, a + g, b + g, stride, here + UPZ_GAUSS - 1, shift);
        for (int i = 0; i < GROUP; i++) {
            const float x = across(m.a + i), y = across(m.b + i), xy = across(m.ab + i) - x * y;
            const float va = across(m.aa + i) - x * x + lack * (level + 2 * x);
            const float vb = across(m.bb + i) - y * y + lack * (level + 2 * y);
            const float xx = va > 0 ? va : 0, yy = vb > 0 ? vb : 0, both = sqrtf(xx * yy);
            /* a negative covariance where one side does not vary is rounding */
            const float cov = xy + lack * (level + x + y), held = both > 0 ? cov : 0;
            const float ab = cov < 0 ? held : cov, mx = x + level, my = y + level;
            term[0][i] = (2 * mx * my + c1) / (mx * mx + my * my + c1);
            term[1][i] = (2 * both + c2) / (xx + yy + c2);
            term[2][i] = (ab + c2 / 2) / (both + c2 / 2);
        }
        for (int j = 0; j < 3; j++) {
            float sum = 0;
            for (int i = here; i < GROUP; i++) term[j][i] = 0;
            for (int i = 0; i < GROUP; i++) sum += term[j][i];
            sums[j] += sum;
        }
    }
}

const UpzMeasureDSP CAT(upz_measure_, UPZ_SUFFIX) = {error8, error16, blocks8, blocks16, windows8, windows16,
                                                     load8, load16, halve, gauss};
