/* Collectives on matrices. Products of halves are exact in float; one instruction's sums are made
 * in double and rounded to float once: the order inside is the hardware's own. */
#include "simt_state.h"
#include <math.h>
#include <stdlib.h>

int simt_fp8_bits = 13;

float simt_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13, bits;
    float f;
    memcpy(&f, &rest, 4);
    f *= 0x1p112f; /* exact, also for subnormal halves */
    memcpy(&bits, &f, 4);
    bits |= sign | ((h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0);
    memcpy(&f, &bits, 4);
    return f;
}

uint16_t simt_half(float v)
{
    uint32_t bits, sign, a;
    memcpy(&bits, &v, 4);
    sign = bits >> 16 & 0x8000;
    a = bits & 0x7fffffff;
    if (a > 0x7f800000) return 0x7fff; /* what the instruction gives for NaN */
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) { /* subnormal: in units of 2^-24, the rounding of the addition's own */
        float f;
        memcpy(&f, &a, 4);
        f += 0.5f; /* unit in the last place 2^-24 */
        memcpy(&a, &f, 4);
        return (uint16_t)(sign | (a - 0x3f000000));
    }
    a += 0xfff + (a >> 13 & 1);
    return (uint16_t)(sign | ((a - 0x38000000) >> 13));
}

uint8_t simt_int8(float v)
{
    if (v != v) return 0;
    if (v > 127) return 127;
    if (v < -127) return (uint8_t)-127;
    float whole = (v + 0x1.8p23f) - 0x1.8p23f; /* nearest even */
    return (uint8_t)(int8_t)whole;
}

/* Sign, 4 bits of exponent (bias 7), 3 of fraction; exponent and fraction all ones is NaN. */
float simt_from_fp8(uint8_t v)
{
    int e = v >> 3 & 15, m = v & 7;
    float f = e == 15 && m == 7 ? __builtin_nanf("") : e ? (float)(8 + m) * 0x1p-3f : (float)m * 0x1p-3f;
    for (int i = e ? e : 1; i < 7; i++) f *= 0.5f;
    for (int i = 7; i < e; i++) f *= 2;
    return v & 128 ? -f : f;
}

uint8_t simt_fp8(float v)
{
    uint8_t sign = __builtin_signbit(v) ? 128 : 0, best = 0;
    float a = v < 0 ? -v : v;
    if (v != v) return 127;
    if (a >= 448) return sign | 126;
    while (best < 126 && simt_from_fp8((uint8_t)(best + 1)) <= a) best++;
    float low = a - simt_from_fp8(best), high = best < 126 ? simt_from_fp8((uint8_t)(best + 1)) - a : 1e9f;
    if (high < low || (!(low < high) && best & 1)) best++; /* codes are in order; even at a tie */
    return sign | best;
}

/* ---- of a warp ---- */

static bool meet(SimtOp op, const char *name, void *out, const void *a, const void *b, uint64_t x)
{
    simt_now->args = (SimtArgs){out, a, b, x, 0};
    return simt_meet(&simt_now->warp->meeting, op, name);
}

static void load_matrices(SimtWarp *w, bool trans)
{
    uint16_t m[4][8][8];
    for (int l = 0; l < 32; l++)
        memcpy(m[l / 8][l % 8], simt_read(&w->threads[l], (uint32_t)w->threads[l].args.x, 16, true),
               16);
    for (int l = 0; l < 32; l++) {
        uint32_t *r = w->threads[l].args.out;
        int i = l / 4, j = l % 4 * 2;
        for (int k = 0; k < 4; k++)
            r[k] = trans ? m[k][j][i] | (uint32_t)m[k][j + 1][i] << 16
                         : m[k][i][j] | (uint32_t)m[k][i][j + 1] << 16;
    }
}

void dev_ldmatrix4(uint32_t r[4], uint32_t shared)
{
    if (!meet(SIMT_LDMATRIX, "ldmatrix", r, NULL, NULL, shared)) return;
    load_matrices(simt_now->warp, false);
    simt_part(&simt_now->warp->meeting);
}

void dev_ldmatrix4_trans(uint32_t r[4], uint32_t shared)
{
    if (!meet(SIMT_LDMATRIX_TRANS, "ldmatrix.trans", r, NULL, NULL, shared)) return;
    load_matrices(simt_now->warp, true);
    simt_part(&simt_now->warp->meeting);
}

void dev_stmatrix4_trans(uint32_t shared, const uint32_t r[4])
{
    SimtWarp *w = simt_now->warp;
    uint16_t m[4][8][8];
    if (!meet(SIMT_STMATRIX, "stmatrix", NULL, r, NULL, shared)) return;
    for (int l = 0; l < 32; l++) {
        const uint32_t *v = w->threads[l].args.a;
        for (int k = 0; k < 4; k++)
            for (int half = 0; half < 2; half++)
                m[k][l % 4 * 2 + half][l / 4] = (uint16_t)(v[k] >> 16 * half);
    }
    for (int l = 0; l < 32; l++)
        memcpy(simt_write(&w->threads[l], (uint32_t)w->threads[l].args.x, 16, true),
               m[l / 8][l % 8], 16);
    simt_part(&w->meeting);
}

/* d[n] += sum over k of a[k] * b[k][n]; halves' products */
static void row_times(float *d, const float *a, const double *b, int k, int n)
{
    for (int n0 = 0; n0 < n; n0 += 8) {
        double s[8];
        for (int i = 0; i < 8; i++) s[i] = (double)d[n0 + i];
        for (int j = 0; j < k; j++) {
            double v = (double)a[j];
            const double *row = b + j * n + n0;
            for (int i = 0; i < 8; i++) s[i] += v * row[i];
        }
        for (int i = 0; i < 8; i++) d[n0 + i] = (float)s[i];
    }
}

/* The largest not above v, and so many times 2; 1 for nothing that has one. */
static double power_of_two(double v, int more)
{
    uint64_t bits;
    if (!(v > 0x1p-900 && v < 0x1p900)) return 1;
    memcpy(&bits, &v, 8);
    bits = ((bits >> 52) + (uint64_t)more) << 52;
    memcpy(&v, &bits, 8);
    return v;
}

/* The same for fp8. Reported of sm_89 and sm_90: all terms of an instruction are cut to a multiple of 2^-13 of the
 * largest one's power of two. */
static void fp8_row_times(float *d, const float *a, const double *b, int k, int n)
{
    if (!simt_fp8_bits) {
        row_times(d, a, b, k, n);
        return;
    }
    for (int n0 = 0; n0 < n; n0 += 8) {
        double term[33][8], most[8] = {0}, plain[8] = {0}, cut[8] = {0}, over[8], unit[8];
        for (int i = 0; i < 8; i++) term[k][i] = (double)d[n0 + i];
        for (int j = 0; j < k; j++)
            for (int i = 0; i < 8; i++) term[j][i] = (double)a[j] * b[j * n + n0 + i];
        for (int j = 0; j <= k; j++)
            for (int i = 0; i < 8; i++) {
                const double v = fabs(term[j][i]);
                most[i] = v > most[i] ? v : most[i];
                plain[i] += term[j][i];
            }
        for (int i = 0; i < 8; i++) unit[i] = power_of_two(most[i], -simt_fp8_bits), over[i] = 1 / unit[i];
        for (int j = 0; j <= k; j++)
            for (int i = 0; i < 8; i++) cut[i] += (double)(int)(term[j][i] * over[i]);
        for (int i = 0; i < 8; i++) {
            const bool number = most[i] > 0 && plain[i] - plain[i] == 0;
            d[n0 + i] = (float)(number ? cut[i] * unit[i] : plain[i]);
        }
    }
}

void dev_mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    SimtWarp *w = simt_now->warp;
    uint16_t ha[16][16], hb[16][8];
    float fa[16][16], fd[16][8];
    double fb[16][8];
    if (!meet(SIMT_MMA, "mma", d, a, b, 0)) return;
    for (int l = 0; l < 32; l++) {
        const SimtArgs *x = &w->threads[l].args;
        const uint32_t *ra = x->a, *rb = x->b;
        const float *rd = x->out;
        int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++) memcpy(&ha[g + i % 2 * 8][t + i / 2 * 8], &ra[i], 4);
        for (int i = 0; i < 2; i++) {
            hb[t + 8 * i][g] = (uint16_t)rb[i];
            hb[t + 8 * i + 1][g] = (uint16_t)(rb[i] >> 16);
        }
        for (int i = 0; i < 4; i++) fd[g + i / 2 * 8][t + i % 2] = rd[i];
    }
    for (int i = 0; i < 256; i++) fa[i / 16][i % 16] = simt_float(ha[i / 16][i % 16]);
    for (int i = 0; i < 128; i++) fb[i / 8][i % 8] = (double)simt_float(hb[i / 8][i % 8]);
    for (int m = 0; m < 16; m++) row_times(fd[m], fa[m], fb[0], 16, 8);
    for (int l = 0; l < 32; l++) {
        float *rd = w->threads[l].args.out;
        int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++) rd[i] = fd[g + i / 2 * 8][t + i % 2];
    }
    simt_part(&w->meeting);
}

/* m16n8k32 of 8-bit numbers: register i of a is rows g and g + 8 (i % 2), k 4 t … of the half i / 2. */
static void fill_eight(const SimtWarp *w, uint8_t a[16][32], uint8_t b[32][8])
{
    for (int l = 0; l < 32; l++) {
        const SimtArgs *x = &w->threads[l].args;
        const uint32_t *ra = x->a, *rb = x->b;
        const int g = l / 4, t = l % 4 * 4;
        for (int k = 0; k < 4; k++) {
            for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + k + i / 2 * 16] = (uint8_t)(ra[i] >> 8 * k);
            for (int i = 0; i < 2; i++) b[t + k + 16 * i][g] = (uint8_t)(rb[i] >> 8 * k);
        }
    }
}

void dev_mma_int8(int32_t d[4], const uint32_t a[4], const uint32_t b[2])
{
    SimtWarp *w = simt_now->warp;
    uint8_t ea[16][32], eb[32][8];
    if (!meet(SIMT_MMA_INT8, "mma of int8", d, a, b, 0)) return;
    fill_eight(w, ea, eb);
    for (int l = 0; l < 32; l++) {
        int32_t *rd = w->threads[l].args.out;
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 32; k++)
                rd[i] += (int8_t)ea[l / 4 + i / 2 * 8][k] * (int8_t)eb[k][l % 4 * 2 + i % 2];
    }
    simt_part(&w->meeting);
}

static float *fp8_sum(const SimtWarp *w, int m, int n)
{
    return (float *)w->threads[m % 8 * 4 + n / 2].args.out + m / 8 * 2 + n % 2;
}

void dev_mma_fp8(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    SimtWarp *w = simt_now->warp;
    uint8_t ea[16][32], eb[32][8];
    float fa[16][32];
    double fb[32][8];
    if (!meet(SIMT_MMA_FP8, "mma of fp8", d, a, b, 0)) return;
    fill_eight(w, ea, eb);
    for (int i = 0; i < 512; i++) fa[i / 32][i % 32] = simt_from_fp8(ea[i / 32][i % 32]);
    for (int i = 0; i < 256; i++) fb[i / 8][i % 8] = (double)simt_from_fp8(eb[i / 8][i % 8]);
    for (int m = 0; m < 16; m++) {
        float row[8];
        for (int n = 0; n < 8; n++) row[n] = *fp8_sum(w, m, n);
        fp8_row_times(row, fa[m], fb[0], 32, 8);
        for (int n = 0; n < 8; n++) *fp8_sum(w, m, n) = row[n];
    }
    simt_part(&w->meeting);
}

/* ---- of a warpgroup ---- */

#define POISON 0x7fbadbadu /* a NaN that no arithmetic makes */
#define TILE_M 64
#define TILE_N 128
#define TILE_K 16

typedef enum Numbers { HALF, FP8, INT8 } Numbers;

typedef struct Product {
    Numbers numbers;
    uint64_t a, b;
    const uint32_t *regs[128]; /* of the lanes, read when the product is done; NULL: a */
    uint32_t group;
    bool done;
} Product;

/* 128 lanes' registers that products in flight add to. */
typedef struct Sum {
    bool live;
    unsigned group;           /* warpgroup */
    float *d[128];
    bool back[128];           /* written back into the lane's registers */
    float value[TILE_M][TILE_N]; /* of integers: their bits */
    Product *products;
    size_t n, cap;
} Sum;

static Sum sums[16];

/* bits of a descriptor: address / 16 in 0-13, bytes / 16 between core matrices along K ("leading")
 * in 16-29, along M or N ("stride") in 32-45, no swizzle: 0 in 62-63 */
uint64_t dev_desc(uint32_t shared, uint32_t k_bytes, uint32_t mn_bytes)
{
    if (shared % 16 || k_bytes % 16 || mn_bytes % 16 || shared >= 1 << 18 || k_bytes >= 1 << 18 ||
        mn_bytes >= 1 << 18)
        simt_fail("a descriptor of address %u, strides %u and %u", shared, k_bytes, mn_bytes);
    return (uint64_t)(shared >> 4) | (uint64_t)(k_bytes >> 4) << 16 |
           (uint64_t)(mn_bytes >> 4) << 32;
}

/* Address of row i of core matrix (m, k). */
static uint32_t core_row(uint64_t desc, uint32_t m, uint32_t k)
{
    uint32_t at = (uint32_t)(desc & 0x3fff) << 4, along_k = (uint32_t)(desc >> 16 & 0x3fff) << 4;
    uint32_t along_m = (uint32_t)(desc >> 32 & 0x3fff) << 4;
    return at + k * along_k + m / 8 * along_m + m % 8 * 16;
}

static void hold(SimtThread *t, uint64_t desc, uint32_t rows, const char *what)
{
    if (desc & ~0x00003fff3fff3fffull)
        simt_fail("wgmma with descriptor 0x%llx", (unsigned long long)desc);
    for (uint32_t m = 0; m < rows; m++)
        for (uint32_t k = 0; k < TILE_K / 8; k++) {
            uint32_t a = core_row(desc, m, k);
            simt_range(a, 16, what);
            simt_async_read(t, a, what);
        }
}

static void let_go(uint64_t desc, uint32_t rows)
{
    for (uint32_t m = 0; m < rows; m++)
        for (uint32_t k = 0; k < TILE_K / 8; k++) simt_granule(core_row(desc, m, k))->leaving--;
}

/* Fragment of a lane: register i is row (4 * warp + … ) as PTX has it for m64nNk16. */
static float *element(Sum *s, unsigned lane, int i)
{
    unsigned l = lane % 32;
    return &s->value[lane / 32 * 16 + l / 4 + (unsigned)(i / 2 % 2) * 8]
                    [(unsigned)(i / 4) * 8 + l % 4 * 2 + (unsigned)(i % 2)];
}

static bool poisoned(const float *d)
{
    uint32_t bits;
    memcpy(&bits, d, 4);
    return bits == POISON;
}

static void issue(unsigned group, Numbers numbers)
{
    SimtThread *first = &simt_block.threads[group * 128];
    SimtArgs *x = &first->args;
    Sum *s = NULL, *spare = NULL;
    for (int l = 1; l < 128; l++) {
        if (first[l].args.x != x->x || first[l].args.y != x->y)
            simt_fail("wgmma's descriptors differ between threads %u and %u", first->index,
                      first[l].index);
        if (first[l].wgmma_group != first->wgmma_group)
            simt_fail("wgmma: threads %u and %u committed a different number of groups",
                      first->index, first[l].index);
    }
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        if (!sums[i].live) spare = &sums[i];
        else if (sums[i].group == group && sums[i].d[0] == x->out) s = &sums[i];
    if (s) {
        for (int l = 0; l < 128; l++)
            if (s->back[l] || s->d[l] != first[l].args.out)
                simt_fail("wgmma on sums that thread %u has waited for and others have not",
                          first[l].index);
    } else {
        if (!spare) simt_fail("wgmma: too many sums in flight");
        s = spare;
        s->live = true;
        s->group = group;
        s->n = 0;
        for (unsigned l = 0; l < 128; l++) {
            const uint32_t poison = POISON;
            float *d = s->d[l] = first[l].args.out;
            s->back[l] = false;
            if (!first[l].wgmma_fenced)
                simt_fail("wgmma on registers that were written without dev_wgmma_fence after it "
                          "(thread %u)", first[l].index);
            for (int i = 0; i < 64; i++) {
                *element(s, l, i) = d[i];
                memcpy(&d[i], &poison, 4);
            }
        }
    }
    if (!x->a) hold(simt_now, x->x, TILE_M, "wgmma reads");
    hold(simt_now, x->y, TILE_N, "wgmma reads");
    s->products = simt_more(s->products, &s->cap, s->n, sizeof *s->products);
    Product *product = &s->products[s->n++];
    *product = (Product){.numbers = numbers, .a = x->x, .b = x->y, .group = first->wgmma_group};
    for (int l = 0; l < 128; l++) product->regs[l] = first[l].args.a;
}

static void wgmma(void *d, Numbers numbers, const uint32_t *regs, uint64_t a, uint64_t b)
{
    unsigned group = simt_now->warp->index / 4;
    SimtMeeting *m = &simt_block.groups[group];
    if (simt_block.n_warps < group * 4 + 4) simt_fail("wgmma in a warpgroup that is not whole");
    simt_now->args = (SimtArgs){d, regs, NULL, a, b};
    SimtOp op = numbers == FP8    ? SIMT_WGMMA_FP8
                : numbers == INT8 ? SIMT_WGMMA_INT8
                : regs            ? SIMT_WGMMA_REGS : SIMT_WGMMA;
    if (!simt_meet(m, op, "wgmma")) return;
    issue(group, numbers);
    simt_part(m);
}

void dev_wgmma128(float d[64], uint64_t a, uint64_t b) { wgmma(d, HALF, NULL, a, b); }
void dev_wgmma128_regs(float d[64], const uint32_t a[4], uint64_t b) { wgmma(d, HALF, a, 0, b); }
void dev_wgmma128_fp8(float d[64], uint64_t a, uint64_t b) { wgmma(d, FP8, NULL, a, b); }
void dev_wgmma128_int8(int32_t d[64], uint64_t a, uint64_t b) { wgmma(d, INT8, NULL, a, b); }

/* Row m of A: from shared memory, or from the lanes' registers, laid out as dev_mma's. */
static void row_of_a(const Product *p, uint32_t m, uint16_t h[TILE_K])
{
    for (uint32_t k = 0; k < TILE_K; k += 8) {
        if (!p->regs[0])
            memcpy(h + k, simt_range(core_row(p->a, m, k / 8), 16, "wgmma reads"), 16);
        for (uint32_t i = 0; p->regs[0] && i < 4; i++)
            memcpy(h + k + i * 2, &p->regs[m / 16 * 32 + m % 8 * 4 + i][k / 8 * 2 + m / 8 % 2], 4);
    }
}

/* Row m of a matrix of 32 8-bit numbers, from two core matrices. */
static void eight_row(uint64_t desc, uint32_t m, uint8_t h[2 * TILE_K])
{
    for (uint32_t k = 0; k < 2; k++)
        memcpy(h + 16 * k, simt_range(core_row(desc, m, k), 16, "wgmma reads"), 16);
}

static void multiply_eight(Sum *s, const Product *p)
{
    static uint8_t b[TILE_N][2 * TILE_K];
    static double fb[2 * TILE_K][TILE_N];
    uint8_t a[2 * TILE_K];
    float fa[2 * TILE_K];
    for (uint32_t n = 0; n < TILE_N; n++) {
        eight_row(p->b, n, b[n]);
        for (int k = 0; k < 2 * TILE_K; k++) fb[k][n] = (double)simt_from_fp8(b[n][k]);
    }
    for (uint32_t m = 0; m < TILE_M; m++) {
        eight_row(p->a, m, a);
        for (int k = 0; k < 2 * TILE_K; k++) fa[k] = simt_from_fp8(a[k]);
        if (p->numbers == FP8) fp8_row_times(s->value[m], fa, fb[0], 2 * TILE_K, TILE_N);
        for (uint32_t n = 0; n < TILE_N && p->numbers == INT8; n++) {
            int32_t sum;
            memcpy(&sum, &s->value[m][n], 4);
            for (int k = 0; k < 2 * TILE_K; k++) sum += (int8_t)a[k] * (int8_t)b[n][k];
            memcpy(&s->value[m][n], &sum, 4);
        }
    }
    let_go(p->a, TILE_M);
    let_go(p->b, TILE_N);
}

static void multiply(Sum *s, const Product *p)
{
    if (p->numbers != HALF) {
        multiply_eight(s, p);
        return;
    }
    static double b[TILE_K][TILE_N];
    float a[TILE_K];
    uint16_t h[TILE_K];
    for (uint32_t n = 0; n < TILE_N; n++)
        for (uint32_t k = 0; k < TILE_K; k += 8) {
            memcpy(h, simt_range(core_row(p->b, n, k / 8), 16, "wgmma reads"), 16);
            for (uint32_t i = 0; i < 8; i++) b[k + i][n] = (double)simt_float(h[i]);
        }
    for (uint32_t m = 0; m < TILE_M; m++) {
        row_of_a(p, m, h);
        for (int i = 0; i < TILE_K; i++) a[i] = simt_float(h[i]);
        row_times(s->value[m], a, b[0], TILE_K, TILE_N);
    }
    if (!p->regs[0]) let_go(p->a, TILE_M);
    let_go(p->b, TILE_N);
}

void dev_wgmma_fence(void) { simt_now->wgmma_fenced = true; }
void dev_wgmma_commit(void) { simt_now->wgmma_group++; }

void dev_wgmma_wait(int n)
{
    SimtThread *t = simt_now;
    unsigned lane = t->index % 128;
    if (n < 0 || n > 7) simt_fail("dev_wgmma_wait(%d)", n);
    t->wgmma_fenced = false;
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        Sum *s = &sums[i];
        bool all = true;
        if (!s->live || s->group != t->index / 128 || s->back[lane]) continue;
        for (size_t p = 0; p < s->n; p++) {
            if (s->products[p].group + (uint32_t)n < t->wgmma_group) {
                if (!s->products[p].done) multiply(s, &s->products[p]);
                s->products[p].done = true;
            } else {
                all = false;
            }
        }
        if (!all) continue;
        for (int k = 0; k < 64; k++) {
            if (!poisoned(&s->d[lane][k]))
                simt_fail("register %d of a sum was written while wgmma was in flight", k);
            s->d[lane][k] = *element(s, lane, k);
        }
        s->back[lane] = true;
        s->live = false;
        for (int l = 0; l < 128; l++)
            if (!s->back[l]) s->live = true;
    }
}

void simt_matrix_end(void)
{
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        if (sums[i].live) simt_fail("ends with wgmma in flight (warpgroup %u)", sums[i].group);
}

void simt_matrix_reset(void)
{
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) sums[i].live = false;
}
