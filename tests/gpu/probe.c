/* The first minute on a GPU: each thing the engine's kernels are built on (probe.cu) beside a plain
 * computation here, and what the card can do in the engine's layouts.
 *
 *   probe FATBIN              a line each: primitive NAME ok | wrong (index, got, wanted) | fault | hangs
 *   probe FATBIN rates        matrix products, copies between the memories: the floors of bench/gpu
 *   probe FATBIN rates quick  the same, small
 *
 * A process of its own goes through the probes; when one of them takes it down (a GPU's context is lost
 * with the first fault) another goes on behind. One JSON line each. Exit 1 when one is not ok. */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../bench/gpu_launch.h"
#include "probe.h"

enum { BYTES = 1 << 20, HANGS = 5 /* seconds */ };

typedef struct Host {
    GpuDriver cu;
    GpuLauncher go;
    void *context, *stream, *module, *done;
    int capability, multiprocessors;
    uint64_t a, b, out;      /* BYTES each */
    uint8_t *ha, *hb, *hout; /* what was put there, and what came back */
    const char *name;        /* of the probe */
    char why[200];           /* what is wrong */
} Host;

static void say(const char *name, const char *result, const char *why)
{
    printf("primitive %-24s %s%s%s\n", name, result, *why ? ": " : "", why);
    printf("{\"primitive\": \"%s\", \"result\": \"%s\", \"detail\": \"%s\"}\n", name, result, why);
    fflush(stdout);
}

/* The driver is asked for something; what fails ends the process, and the next one goes on. */
static void must(Host *h, int r, const char *what)
{
    const char *name = NULL;
    if (!r) return;
    if (h->go.error_name) h->go.error_name(r, &name);
    snprintf(h->why, sizeof(h->why), "%s: error %d, %s", what, r, name ? name : "without a name");
    say(h->name ? h->name : "driver", "fault", h->why);
    _exit(3);
}

static void finish(Host *h)
{
    must(h, h->go.record(h->done, h->stream), "record an event");
    time_t begin = time(NULL);
    for (;;) {
        int r = h->go.query(h->done);
        if (r != 600) {
            must(h, r, "the kernel");
            return;
        }
        if (time(NULL) - begin > HANGS) {
            say(h->name, "hangs", "");
            _exit(3);
        }
    }
}

static void launch(Host *h, const char *kernel, unsigned blocks, unsigned threads, unsigned shared,
                   int overlap, ProbeParams p)
{
    void *f, *args[] = {&p};
    GpuLaunchAttribute beside = {.id = 6, .value = {.number = 1}};
    GpuLaunch l = {.grid = {blocks, 1, 1}, .block = {threads, 1, 1}, .shared = shared,
                   .stream = h->stream, .attributes = &beside, .n_attributes = overlap ? 1 : 0};
    must(h, h->go.function(&f, h->module, kernel), kernel);
    if (shared > 48 * 1024) must(h, h->go.set(f, 8, (int)shared), "shared memory");
    must(h, h->go.launch_ex(&l, f, args, NULL), kernel);
}

static ProbeParams params(const Host *h, int n, int x, int y, int z)
{
    return (ProbeParams){h->a, h->b, h->out, n, x, y, z};
}

static void put(Host *h)
{
    must(h, h->cu.to_device(h->a, h->ha, BYTES), "copy to the device");
    must(h, h->cu.to_device(h->b, h->hb, BYTES), "copy to the device");
    must(h, h->go.fill(h->out, 0xcd, BYTES, h->stream), "fill memory");
    must(h, h->cu.wait(h->stream), "fill memory");
    must(h, h->cu.wait(NULL), "copy to the device"); /* pageable memory may still be on its way */
}

static void get(Host *h)
{
    finish(h);
    must(h, h->cu.to_host(h->hout, h->out, BYTES), "copy to the host");
}

static uint32_t word(const uint8_t *at, size_t i)
{
    uint32_t v;
    memcpy(&v, at + i * 4, 4);
    return v;
}

static float number(const uint8_t *at, size_t i)
{
    float v;
    memcpy(&v, at + i * 4, 4);
    return v;
}

static int same_words(Host *h, const char *what, const uint8_t *got, const uint8_t *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (word(got, i) != word(want, i)) {
            snprintf(h->why, sizeof(h->why), "%s, word %zu of %zu: got 0x%08x, wanted 0x%08x", what, i,
                     n, word(got, i), word(want, i));
            return 0;
        }
    return 1;
}

static int same_floats(Host *h, const char *what, const uint8_t *got, const float *want, size_t n)
{
    size_t wrong = 0, first = 0;
    for (size_t i = n; i-- > 0;)
        if (!(number(got, i) == want[i])) {
            wrong++;
            first = i;
        }
    if (wrong)
        snprintf(h->why, sizeof(h->why), "%s, %zu of %zu, first %zu (row %zu column %zu): got %g, wanted %g",
                 what, wrong, n, first, first / 128, first % 128, (double)number(got, first),
                 (double)want[first]);
    return !wrong;
}

static uint32_t next(uint32_t *seed) { return *seed = *seed * 1664525u + 1013904223u; }

static void random_words(uint8_t *at, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes / 4; i++) {
        uint32_t v = next(&seed);
        v ^= v >> 15;
        memcpy(at + i * 4, &v, 4);
    }
}

/* Halves of -3 … 3: their products' sums are exact. */
static void small_halves(uint8_t *at, size_t n, uint32_t seed)
{
    static const uint16_t code[] = {0xc200, 0xc000, 0xbc00, 0, 0x3c00, 0x4000, 0x4200};
    for (size_t i = 0; i < n; i++) memcpy(at + i * 2, &code[(next(&seed) >> 16) % 7], 2);
}

static float half_at(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, 2);
    uint32_t bits = (uint32_t)(v & 0x8000) << 16 | ((uint32_t)(v & 0x7fff) << 13);
    float f;
    memcpy(&f, &bits, 4);
    return f * 0x1p112f;
}

/* ---- all cards ---- */

static int probe_half(Host *h)
{
    static const float v[] = {0, -0.0f, 1, -2.5f, 65504, 65519, 65520, -1e9f, 0x1p-24f, 0x1p-25f,
                              0x1.8p-25f, 1.0009765625f, 1.00048828125f, 1.00146484375f, 0.1f, 3.14159f};
    static const uint16_t code[] = {0, 0x8000, 0x3c00, 0xc100, 0x7bff, 0x7bff, 0x7c00, 0xfc00, 1, 0, 1,
                                    0x3c01, 0x3c00, 0x3c02, 0x2e66, 0x4248};
    memcpy(h->ha, v, sizeof(v));
    put(h);
    launch(h, "probe_half", 1, 128, 0, 0, params(h, 8, 0, 0, 0));
    get(h);
    uint32_t want[24];
    for (int i = 0; i < 8; i++) {
        want[i * 3] = code[2 * i] | (uint32_t)code[2 * i + 1] << 16;
        for (int k = 0; k < 2; k++) {
            float f = code[2 * i + k] == 0x7c00   ? INFINITY
                      : code[2 * i + k] == 0xfc00 ? -INFINITY : half_at((const uint8_t *)&code[2 * i + k]);
            memcpy(&want[i * 3 + 1 + k], &f, 4);
        }
    }
    return same_words(h, "halves", h->hout, (const uint8_t *)want, 24);
}

static int probe_copy(Host *h)
{
    random_words(h->ha, 8192, 1);
    put(h);
    launch(h, "probe_copy", 1, 128, 8192, 0, params(h, 0, 0, 0, 0));
    get(h);
    return same_words(h, "copies of 16 bytes", h->hout, h->ha, 2048);
}

static int probe_mma(Host *h)
{
    float want[256];
    small_halves(h->ha, 256, 2);
    small_halves(h->hb, 256, 3);
    put(h);
    launch(h, "probe_mma", 1, 32, 1024, 0, params(h, 0, 0, 0, 0));
    get(h);
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            want[m * 16 + n] = 1;
            for (int k = 0; k < 16; k++)
                want[m * 16 + n] += half_at(h->ha + k / 8 * 256 + m * 16 + k % 8 * 2) *
                                    half_at(h->hb + k / 8 * 256 + n * 16 + k % 8 * 2);
        }
    return same_floats(h, "m16n8k16", h->hout, want, 256);
}

/* 8-bit numbers of -3 … 3. */
static const uint8_t eights[2][7] = {{0xfd, 0xfe, 0xff, 0, 1, 2, 3}, {0xc4, 0xc0, 0xb8, 0, 0x38, 0x40, 0x44}};

static void small_eights(uint8_t *at, size_t n, int fp8, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) at[i] = eights[fp8][(next(&seed) >> 16) % 7];
}

static float eight_at(const uint8_t *at, int fp8)
{
    for (int i = 0; i < 7; i++)
        if (*at == eights[fp8][i]) return (float)(i - 3);
    return NAN;
}

static int eight_numbers(Host *h, int fp8)
{
    static const float v[] = {0, 1, -2.5f, 2.5f, 127.4f, 128, -1e9f, -127.5f, 0.5f, 1.5f, 17, 19, 448, 500, 0.0625f, 3};
    static const uint8_t code[2][16] = {
        {0, 1, 0xfe, 2, 127, 127, 0x81, 0x81, 0, 2, 17, 19, 127, 127, 0, 3},
        {0, 0x38, 0xc2, 0x42, 0x70, 0x70, 0xfe, 0xf0, 0x30, 0x3c, 0x58, 0x5a, 0x7e, 0x7e, 0x18, 0x44}};
    uint32_t want[8];
    memcpy(h->ha, v, sizeof(v));
    put(h);
    launch(h, "probe_eight", 1, 32, 1024, 0, params(h, 8, 0, 0, fp8));
    get(h);
    for (int i = 0; i < 8; i++) want[i] = code[fp8][2 * i] | (uint32_t)code[fp8][2 * i + 1] << 8;
    return same_words(h, "rounded to 8 bits", h->hout, (const uint8_t *)want, 8);
}

static int eight_products(Host *h, int fp8)
{
    float want[256];
    small_eights(h->ha, 512, fp8, 12);
    small_eights(h->hb, 512, fp8, 13);
    put(h);
    launch(h, "probe_eight", 1, 32, 1024, 0, params(h, 0, 0, 0, fp8));
    get(h);
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            want[m * 16 + n] = 1;
            for (int k = 0; k < 32; k++)
                want[m * 16 + n] += eight_at(h->ha + k / 16 * 256 + m * 16 + k % 16, fp8) *
                                    eight_at(h->hb + k / 16 * 256 + n * 16 + k % 16, fp8);
        }
    return same_floats(h, "m16n8k32", h->hout, want, 256);
}

static int probe_int8(Host *h) { return eight_numbers(h, 0) && eight_products(h, 0); }
static int probe_fp8(Host *h) { return eight_numbers(h, 1) && eight_products(h, 1); }
static int probe_fp8_numbers(Host *h) { return eight_numbers(h, 1); }

static int probe_threads(Host *h)
{
    uint32_t v[256], want[256 + 1 + 8], most = 0;
    random_words(h->ha, 1024, 4);
    put(h);
    must(h, h->go.fill(h->out + 1024, 0, 4, h->stream), "fill memory");
    launch(h, "probe_threads", 1, 256, 1024, 0, params(h, 0, 0, 0, 0));
    get(h);
    for (int t = 0; t < 256; t++) {
        int g = t / 128;
        v[t] = word(h->ha, (size_t)(g * 128 + (t % 128 + 4 + 3 * g) % 128));
    }
    for (int t = 0; t < 256; t++) {
        want[t] = v[t ^ 5] + v[t / 32 * 32 + 3];
        if (want[t] > most) most = want[t];
    }
    want[256] = most;
    for (uint32_t w = 0; w < 8; w++) want[257 + w] = w;
    return same_words(h, "barriers, shuffles, maximum, elect", h->hout, (const uint8_t *)want, 265);
}

/* ---- Hopper ---- */

static int probe_matrices(Host *h)
{
    uint16_t m[4][8][8], want[32 * 4 * 2 + 256];
    random_words(h->ha, 512, 5);
    memcpy(m, h->ha, 512);
    put(h);
    launch(h, "probe_matrices", 1, 32, 1024, 0, params(h, 0, 0, 0, 0));
    get(h);
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 2; k++) want[(l * 4 + i) * 2 + k] = m[i][l % 4 * 2 + k][l / 4];
    memcpy(want + 256, m, 512); /* there and back */
    return same_words(h, "ldmatrix.trans, then stmatrix.trans from word 128 on", h->hout,
                      (const uint8_t *)want, 256);
}

static int probe_bulk_load(Host *h)
{
    static const int shape[][3] = {{16, 0, 0}, {2304, 128, 0}, {2304, 16, 48}, {48, 7 * 16, 16},
                                   {8192, 2304, 2304}, {73728, 0, 0}};
    random_words(h->ha, BYTES, 6);
    for (size_t i = 0; i < sizeof(shape) / sizeof(*shape); i++) {
        char what[64];
        put(h);
        launch(h, "probe_bulk_load", 1, 128, 128 + 80000, 0, params(h, shape[i][0], shape[i][1], shape[i][2], 0));
        get(h);
        snprintf(what, sizeof(what), "%d bytes from +%d to +%d", shape[i][0], shape[i][1], shape[i][2]);
        if (!same_words(h, what, h->hout, h->ha + shape[i][1], (size_t)shape[i][0] / 4)) return 0;
    }
    return 1;
}

static int probe_bulk_store(Host *h)
{
    random_words(h->ha, 65536, 7);
    put(h);
    launch(h, "probe_bulk_store", 1, 128, 32768, 0, params(h, 32768, 48, 0, 0));
    get(h);
    uint32_t poison = 0xcdcdcdcd;
    return same_words(h, "before the copy", h->hout + 44, (const uint8_t *)&poison, 1) &&
           same_words(h, "bulk store", h->hout + 48, h->ha, 32768 / 4) &&
           same_words(h, "behind the copy", h->hout + 48 + 32768, (const uint8_t *)&poison, 1);
}

/* d += tile (64 x 16) times the pixels at `b`, whose second chunk is `step` bytes on. */
static void product(float *d, const uint8_t *tile, const uint8_t *b, int step)
{
    static float v[16][128];
    for (int k = 0; k < 16; k++)
        for (int n = 0; n < 128; n++) v[k][n] = half_at(b + k / 8 * step + n * 16 + k % 8 * 2);
    for (int m = 0; m < 64; m++)
        for (int k = 0; k < 16; k++) {
            float w = half_at(tile + k / 8 * 1024 + m * 16 + k % 8 * 2);
            for (int n = 0; n < 128; n++) d[m * 128 + n] += w * v[k][n];
        }
}

static void begin(float *d)
{
    for (int m = 0; m < 64; m++)
        for (int n = 0; n < 128; n++)
            d[m * 128 + n] = (float)((n / 8 * 4 + m / 8 % 2 * 2 + n % 2) % 3);
}

static float sums[2][64 * 128];

static int wgmma(Host *h, int n, int x, int step, int exchanged)
{
    char what[64];
    put(h);
    launch(h, "probe_wgmma", 1, 128, PROBE_SHARED, 0, params(h, n, x, step, exchanged));
    get(h);
    begin(sums[0]);
    for (int i = 0; i < n; i++)
        product(sums[0], h->ha + i * PROBE_TILE, h->hb + i % 12 * 2 * PROBE_ROW + (x + i % 3) * 16, step);
    snprintf(what, sizeof(what), "%d products from pixel %d, chunks %d bytes apart", n, x, step);
    return same_floats(h, what, h->hout, sums[0], 64 * 128);
}

static void matrices(Host *h)
{
    small_halves(h->ha, BYTES / 2, 8);
    small_halves(h->hb, BYTES / 2, 9);
}

static int probe_wgmma(Host *h)
{
    matrices(h);
    if (wgmma(h, 1, 0, PROBE_ROW, 0) && wgmma(h, 1, 0, 2048, 0)) return 1;
    if (wgmma(h, 1, 0, PROBE_ROW, 1)) snprintf(h->why, sizeof(h->why), "right with a descriptor's distances exchanged");
    return 0;
}

/* A start that is no multiple of 128 bytes: all of the engine's taps are such. */
static int probe_wgmma_shifted(Host *h)
{
    matrices(h);
    for (int x = 1; x <= 9; x++)
        if (!wgmma(h, 1, x, PROBE_ROW, 0)) return 0;
    return 1;
}

static int probe_wgmma_many(Host *h)
{
    matrices(h);
    return wgmma(h, 36, 7, PROBE_ROW, 0);
}

static int wgmma_eight(Host *h, int fp8)
{
    static const int shape[][2] = {{1, 0}, {1, 5}, {4, 7}};
    small_eights(h->ha, BYTES, fp8, 14);
    small_eights(h->hb, BYTES, fp8, 15);
    for (int s = 0; s < 3; s++) {
        put(h);
        launch(h, "probe_wgmma_eight", 1, 128, PROBE_SHARED, 0, params(h, shape[s][0], shape[s][1], 0, fp8));
        get(h);
        begin(sums[0]);
        for (int i = 0; i < shape[s][0]; i++) {
            const uint8_t *tile = h->ha + i * PROBE_TILE;
            const uint8_t *b = h->hb + i % 12 * 2 * PROBE_ROW + (shape[s][1] + i % 3) * 16;
            for (int m = 0; m < 64; m++)
                for (int k = 0; k < 32; k++)
                    for (int n = 0; n < 128; n++)
                        sums[0][m * 128 + n] += eight_at(tile + k / 16 * 1024 + m * 16 + k % 16, fp8) *
                                                eight_at(b + k / 16 * PROBE_ROW + n * 16 + k % 16, fp8);
        }
        if (!same_floats(h, s ? s == 1 ? "one product, shifted" : "four products" : "one product", h->hout,
                         sums[0], 64 * 128))
            return 0;
    }
    return 1;
}

static int probe_wgmma_int8(Host *h) { return wgmma_eight(h, 0); }
static int probe_wgmma_fp8(Host *h) { return wgmma_eight(h, 1); }

static int probe_wgmma_regs(Host *h)
{
    static const int shape[][2] = {{0, 0}, {5, 7}};
    matrices(h);
    for (int i = 0; i < 2; i++) {
        put(h);
        launch(h, "probe_wgmma_regs", 1, 128, PROBE_SHARED, 0, params(h, shape[i][0], shape[i][1], 0, 0));
        get(h);
        begin(sums[0]);
        product(sums[0], h->ha + shape[i][0] * PROBE_TILE, h->hb + shape[i][1] * 16, PROBE_ROW);
        if (!same_floats(h, i ? "weights from registers, shifted" : "weights from registers", h->hout,
                         sums[0], 64 * 128))
            return 0;
    }
    return 1;
}

static int probe_regs(Host *h)
{
    matrices(h);
    put(h);
    launch(h, "probe_regs", 1, 384, PROBE_SHARED, 0, params(h, 3, 7, 0, 0));
    get(h);
    for (int g = 0; g < 2; g++) {
        begin(sums[g]);
        for (int i = 0; i < 3 * PROBE_TILES; i++) {
            int k = i % PROBE_TILES;
            product(sums[g], h->ha + k * PROBE_TILE,
                    h->hb + (k / 12 * 8 + k % 4 * 2) * PROBE_ROW + (7 + g + k / 4 % 3) * 16, PROBE_ROW);
        }
    }
    return same_floats(h, "first group", h->hout, sums[0], 64 * 128) &&
           same_floats(h, "second group", h->hout + sizeof(sums[0]), sums[1], 64 * 128);
}

static int probe_ring(Host *h)
{
    enum { N = 400 };
    uint32_t want[256];
    random_words(h->ha, BYTES, 10);
    put(h);
    launch(h, "probe_ring", 1, 384, PROBE_SLOTS * PROBE_ROW + 128, 0, params(h, N, 0, 0, 0));
    get(h);
    for (size_t t = 0; t < 256; t++) {
        want[t] = 0;
        for (size_t q = 0; q < N; q++) {
            const uint8_t *at = h->ha + q * PROBE_ROW + (t % 128 + 16 * (t / 128)) * 16;
            want[t] = (want[t] << 1 | want[t] >> 31) ^ word(at, 0) ^ word(at, 1) ^ word(at, 2) ^ word(at, 3);
        }
    }
    return same_words(h, "sums of 400 rows", h->hout, (const uint8_t *)want, 256);
}

/* bulk: how the launches copy, by turns where 2. */
static int chain(Host *h, int bulk)
{
    enum { LAUNCHES = 60 };
    size_t blocks = h->multiprocessors * 2 < 700 ? (size_t)h->multiprocessors * 2 : 700;
    while (blocks % 7 == 0) blocks++;
    uint8_t *now = h->hb, *then = malloc(BYTES);
    if (!then) exit(6);
    random_words(h->ha, BYTES, 11);
    memcpy(now, h->ha, BYTES);
    put(h);
    for (int i = 0; i < LAUNCHES; i++) {
        ProbeParams p = params(h, 0, bulk == 2 ? i % 2 : bulk, 0, 40 * (i % 3));
        p.a = i % 2 ? h->b : h->a;
        p.out = i == LAUNCHES - 1 ? h->out : i % 2 ? h->a : h->b;
        launch(h, "probe_grid", (unsigned)blocks, PROBE_GRID, PROBE_GRID * 4 + 8, 1, p);
    }
    get(h);
    for (int i = 0; i < LAUNCHES; i++) {
        for (size_t b = 0; b < blocks; b++)
            for (size_t t = 0; t < PROBE_GRID; t++) {
                uint32_t v = word(now, (b * 7 + 3) % blocks * PROBE_GRID + t) + 1;
                memcpy(then + (b * PROBE_GRID + t) * 4, &v, 4);
            }
        memcpy(now, then, blocks * PROBE_GRID * 4);
    }
    int ok = same_words(h, bulk == 2 ? "60 launches, plain and bulk by turns" : bulk ? "60 launches, bulk"
                                                                             : "60 launches, plain",
                        h->hout, now, blocks * PROBE_GRID);
    free(then);
    return ok;
}

static int probe_grid(Host *h) { return chain(h, 0); }
static int probe_grid_bulk(Host *h) { return chain(h, 1) && chain(h, 2); }

typedef struct Probe {
    const char *name;
    int (*run)(Host *h);
    int only; /* 90: compute capability 9.0; 89: where a warp multiplies fp8; 0: all */
} Probe;

static const Probe probes[] = {
    {"half", probe_half, 0},
    {"cp.async", probe_copy, 0},
    {"ldmatrix+mma", probe_mma, 0},
    {"threads", probe_threads, 0},
    {"int8", probe_int8, 0},
    {"fp8", probe_fp8, 89},
    {"matrices.trans", probe_matrices, 90},
    {"bulk-load", probe_bulk_load, 90},
    {"bulk-store", probe_bulk_store, 90},
    {"mbarrier-ring", probe_ring, 90},
    {"wgmma", probe_wgmma, 90},
    {"wgmma-shifted", probe_wgmma_shifted, 90},
    {"wgmma-many", probe_wgmma_many, 90},
    {"wgmma-registers", probe_wgmma_regs, 90},
    {"wgmma-int8", probe_wgmma_int8, 90},
    {"fp8-numbers", probe_fp8_numbers, 90},
    {"wgmma-fp8", probe_wgmma_fp8, 90},
    {"setmaxnreg", probe_regs, 90},
    {"griddepcontrol", probe_grid, 90},
    {"griddepcontrol-bulk", probe_grid_bulk, 90},
};
enum { N_PROBES = sizeof(probes) / sizeof(*probes) };

/* ---- start ---- */

static void *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    long n = 0;
    void *image = NULL;
    if (f && !fseek(f, 0, SEEK_END) && (n = ftell(f)) > 0 && !fseek(f, 0, SEEK_SET)) image = malloc((size_t)n);
    if (!image || fread(image, 1, (size_t)n, f) != (size_t)n) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(2);
    }
    fclose(f);
    return image;
}

static void begin_host(Host *h, const char *fatbin)
{
    int device = 0, major = 0, minor = 0;
    *h = (Host){0};
    if (gpu_driver_open(&h->cu) < 0 || gpu_launcher_open(&h->go) < 0) _exit(5);
    must(h, h->cu.device(&device, 0), "device 0");
    h->go.attribute(&major, 75, device);
    h->go.attribute(&minor, 76, device);
    h->go.attribute(&h->multiprocessors, 16, device);
    h->capability = 10 * major + minor;
    must(h, h->cu.make(&h->context, 0, device), "make a context");
    must(h, h->cu.stream(&h->stream, 1), "make a stream");
    must(h, h->go.event(&h->done, 2), "make an event");
    must(h, h->go.load(&h->module, read_file(fatbin)), "load the kernels");
    must(h, h->cu.alloc(&h->a, BYTES), "get memory");
    must(h, h->cu.alloc(&h->b, BYTES), "get memory");
    must(h, h->cu.alloc(&h->out, BYTES), "get memory");
    h->ha = calloc(3, BYTES);
    if (!h->ha) _exit(6);
    h->hb = h->ha + BYTES;
    h->hout = h->hb + BYTES;
}

/* What the child has reached, seen by the parent. */
typedef struct Progress {
    int at, said, wrong;
} Progress;

static int child(const char *fatbin, Progress *progress)
{
    Host h;
    begin_host(&h, fatbin);
    for (; progress->at < N_PROBES; progress->at++) {
        const Probe *p = &probes[progress->at];
        progress->said = 0;
        h.name = p->name;
        h.why[0] = 0;
        if ((p->only == 90 && h.capability != 90) ||
            (p->only == 89 && h.capability != 89 && h.capability < 120)) {
            say(p->name, "skipped", "not of this card");
            continue;
        }
        int ok = p->run(&h);
        progress->said = 1;
        progress->wrong += !ok;
        say(p->name, ok ? "ok" : "wrong", h.why);
    }
    return 0;
}

/* ---- rates ---- */

static double seconds(Host *h, const char *kernel, unsigned blocks, unsigned threads, unsigned shared,
                      ProbeParams p)
{
    void *begin, *end;
    float ms = 0, best = 0;
    must(h, h->go.event(&begin, 0), "make an event");
    must(h, h->go.event(&end, 0), "make an event");
    for (int i = 0; i < 4; i++) {
        must(h, h->go.record(begin, h->stream), "record an event");
        if (kernel) launch(h, kernel, blocks, threads, shared, 0, p);
        else must(h, h->cu.copy(p.out, p.a, (size_t)p.n << 10, h->stream), "copy");
        must(h, h->go.record(end, h->stream), "record an event");
        finish(h);
        must(h, h->go.elapsed(&ms, begin, end), "take the time");
        if (i && (i == 1 || ms < best)) best = ms;
    }
    return best > 0 ? (double)best * 1e-3 : 1e-9;
}

static void tell(const char *name, double rate, const char *unit)
{
    printf("rate %-44s %8.2f %s\n", name, rate, unit);
    printf("{\"rate\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"}\n", name, rate, unit);
    fflush(stdout);
}

static int rates(const char *fatbin, int quick)
{
    Host h;
    begin_host(&h, fatbin);
    h.name = "rates";
    unsigned sms = (unsigned)h.multiprocessors;
    size_t big = quick ? 4 << 20 : (size_t)2 << 30;
    uint64_t from, to;
    must(&h, h.cu.alloc(&from, big), "get memory");
    must(&h, h.cu.alloc(&to, big), "get memory");
    must(&h, h.go.fill(from, 0x3a, big, h.stream), "fill memory");
    ProbeParams copy = {.a = from, .out = to, .n = (int)(big >> 10)};
    tell("copy on the device, read + written", 2.0 * (double)big / seconds(&h, NULL, 0, 0, 0, copy) * 1e-12, "TB/s");
    if (h.capability == 90) {
        /* values as a network has them: halves of about -2 … 2 */
        for (size_t i = 0; i < BYTES; i += 4) {
            uint32_t seed = (uint32_t)i * 2654435761u, v = next(&seed);
            v = (v & 0x83ff83ff) | 0x38003800 | (v >> 3 & 0x04000400);
            memcpy(h.ha + i, &v, 4);
            memcpy(h.hb + BYTES - 4 - i, &v, 4);
        }
        put(&h);
        const int rows = quick ? 1 : 2000;
        const double flop = 2.0 * 64 * 128 * 16 * PROBE_TILES * rows * 2 * sms * 1e-12;
        static const struct {
            const char *name, *kernel;
            int x, y, z;
        } forms[] = {
            {"wgmma m64n128k16, weights in shared, as the engine", "rate_shared", 7, PROBE_ROW, 0},
            {"wgmma, weights in shared, pixels at 128 bytes", "rate_shared", 8, PROBE_ROW, 1},
            {"wgmma, weights in shared, chunks 2048 apart", "rate_shared", 7, 2048, 0},
            {"wgmma, weights in registers, as the engine", "rate_regs", 7, PROBE_ROW, 0},
            {"wgmma, weights in registers, chunks 2048 apart", "rate_regs", 7, 2048, 0},
        };
        for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
            int regs = !strcmp(forms[i].kernel, "rate_regs");
            ProbeParams p = params(&h, rows, forms[i].x, forms[i].y, forms[i].z);
            tell(forms[i].name, flop / seconds(&h, forms[i].kernel, sms, regs ? 384 : 256, PROBE_SHARED, p), "TFLOP/s");
        }
        const int n = quick ? 8 : 2000;
        const double moved = (double)n * 8 * PROBE_ROW * sms * 1e-12;
        const unsigned shared = 6 * 8 * PROBE_ROW + 64;
        ProbeParams p = {.a = from, .out = to, .n = n, .z = quick ? 1024 : 24 << 10};
        tell("bulk loads, 2304 bytes each, 24 MB of L2", moved / seconds(&h, "rate_bulk", sms, 128, shared, p), "TB/s");
        p.z = (int)(big >> 10);
        tell("bulk loads, 2304 bytes each, memory", moved / seconds(&h, "rate_bulk", sms, 128, shared, p), "TB/s");
        p.y = 1;
        tell("bulk loads and stores, memory, both counted",
             moved * (1 + 2048.0 / PROBE_ROW) / seconds(&h, "rate_bulk", sms, 128, shared, p), "TB/s");
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2 || (argc > 2 && strcmp(argv[2], "rates"))) {
        fprintf(stderr, "usage: probe FATBIN [rates [quick]]\n");
        return 2;
    }
    if (argc > 2) return rates(argv[1], argc > 3);
    Progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) return 6;
    int faults = 0;
    while (progress->at < N_PROBES) {
        int status = 0, before = progress->at;
        fflush(stdout);
        pid_t pid = fork();
        if (pid < 0) return 6;
        if (!pid) _exit(child(argv[1], progress));
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && !WEXITSTATUS(status)) break;
        if (WIFEXITED(status) && WEXITSTATUS(status) != 3) return WEXITSTATUS(status);
        if (!WIFEXITED(status)) say(probes[progress->at].name, "fault", "the process was ended");
        faults++;
        if (progress->at == before && before == 0 && faults > 1) break; /* nothing works at all */
        progress->at++;
    }
    int wrong = progress->wrong + faults;
    printf("%d of %d primitives are not ok\n", wrong, N_PROBES);
    return wrong ? 1 : 0;
}
