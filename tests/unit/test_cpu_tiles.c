/* Convolutions by tiles: the plain-C layer against a definition in double and against its own instruction's
 * description, the processor's tiles against plain C bit for bit, with guards around outputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/cpu.h"
#include "engine/cpu/bf16.h"
#include "engine/cpu/tiles.h"
#include "skip.h"

enum { GUARD = 64, MOST = 290, STEP_MOST = 160, BLOCKS = 20, OUT = 64 };

static uint32_t seed;
static uint32_t bits(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static float wide(uint16_t half)
{
    const uint32_t i = (uint32_t)half << 16;
    float x;
    memcpy(&x, &i, sizeof(x));
    return x;
}

/* Any bits at all, or ordinary numbers. */
static uint16_t half(bool any)
{
    return any && bits() % 4 == 0 ? (uint16_t)bits() : upz_bf16((float)bits() / 8388608.0f - 1);
}

typedef struct Case {
    uint16_t *in, *weights;
    float *bias, *slope;
    UpzTileRun runs[3];
    UpzTileConv conv;
    int blocks; /* of all runs */
    size_t row, size; /* bytes of a row of the output, and of all of it, guards included */
} Case;

static void *block(size_t bytes)
{
    void *p = upz_alloc_aligned(bytes);
    assert_non_null(p);
    return p;
}

static Case make(bool any, int count, int n_out, bool narrow)
{
    const int rows = 1 + (int)(bits() % UPZ_TILE_ROWS);
    Case c = {.in = block((MOST + 32) * STEP_MOST * 4 * 2), .bias = block(OUT * 4), .slope = block(OUT * 4),
              .weights = block(BLOCKS * OUT * UPZ_TILE_DEPTH * 2)};
    const size_t inputs = (MOST + 32) * STEP_MOST * 4;
    /* sums are finished beside products in other ways where there are few of these */
    static const int many[] = {1, 7, 12, BLOCKS};
    c.blocks = many[bits() % 4];
    int left = c.blocks, n = 0;
    for (size_t i = 0; i < inputs; i++) c.in[i] = half(any);
    for (int i = 0; i < BLOCKS * OUT * UPZ_TILE_DEPTH; i++) c.weights[i] = half(any);
    for (int i = 0; i < OUT; i++) c.bias[i] = wide(half(any)), c.slope[i] = wide(half(false));
    while (left && n < 3) { /* odd strides and places: no alignment is asked for */
        const int blocks = n == 2 ? left : 1 + (int)(bits() % (uint32_t)left);
        c.runs[n] = (UpzTileRun){.step = (ptrdiff_t)(bits() % STEP_MOST) * 2, .blocks = blocks};
        for (int i = 0; i < rows; i++) c.runs[n].a[i] = c.in + bits() % 300;
        n++;
        left -= blocks;
    }
    c.conv = (UpzTileConv){.n_runs = n, .rows = rows, .weights = c.weights, .n_out = n_out, .bias = c.bias,
                           .slope = bits() % 2 ? c.slope : NULL, .out_step = n_out + (int)(bits() % 9),
                           .narrow = narrow, .count = count};
    c.row = (size_t)(count * c.conv.out_step) * (narrow ? 2 : 4);
    c.size = 2 * GUARD + (size_t)rows * c.row;
    return c;
}

static void drop(Case *c)
{
    upz_free_aligned(c->in);
    upz_free_aligned(c->weights);
    upz_free_aligned(c->bias);
    upz_free_aligned(c->slope);
}

/* The case's output, guards and what lies between pixels included. */
static uint8_t *run(const UpzTileKernels *k, Case *c)
{
    UPZ_ALIGNED(64) float sums[UPZ_TILE_SUMS];
    UpzTileRest rest = {.sums = sums};
    uint8_t *out = block(c->size);
    memset(out, 0x5a, c->size);
    c->conv.runs = c->runs;
    for (int i = 0; i < c->conv.rows; i++) c->conv.out[i] = out + GUARD + (size_t)i * c->row;
    k->begin();
    k->conv(&c->conv, &rest); /* thrice into the same place: with sums that wait, and without */
    k->conv(&c->conv, &rest);
    k->finish(&rest);
    k->conv(&c->conv, &rest);
    k->finish(&rest);
    k->end();
    return out;
}

static void as_the_definition(void **state)
{
    (void)state;
    const UpzTileKernels *k = upz_tile_kernels(0);
    assert_non_null(k);
    for (int count = 1; count <= MOST; count += count < 36 ? 1 : 50) {
        Case c = make(false, count, 16 * (1 + count % 4), false);
        uint8_t *out = run(k, &c);
        const int y = c.conv.rows - 1;
        for (int m = 0; m < count; m++)
            for (int o = m % 3; o < c.conv.n_out; o += 5) {
                double sum = c.bias[o], size = fabs(sum);
                for (int r = 0, b = 0; r < c.conv.n_runs; r++)
                    for (int i = 0; i < c.runs[r].blocks; i++, b++)
                        for (int ch = 0; ch < UPZ_TILE_DEPTH; ch++) {
                            const char *pixel = (const char *)c.runs[r].a[y] + m * c.runs[r].step;
                            uint16_t x;
                            memcpy(&x, pixel + (i * UPZ_TILE_DEPTH + ch) * 2, 2);
                            const double q = (double)wide(x) *
                                             (double)wide(c.weights[upz_tile_weight(c.blocks, b, ch, o)]);
                            sum += q, size += fabs(q);
                        }
                if (c.conv.slope && sum < 0) sum *= c.slope[o];
                float got;
                memcpy(&got, out + GUARD + (size_t)y * c.row + (m * c.conv.out_step + o) * 4, 4);
                if (!(fabs(got - sum) <= 1e-6 * size))
                    fail_msg("%d pixels, pixel %d output %d is %g, not %g", count, m, o, (double)got, sum);
            }
        upz_free_aligned(out);
        drop(&c);
    }
}

/* Denormals count as zeros and become zeros, whatever the thread's float mode. */
static void denormals_are_zeros(void **state)
{
    (void)state;
    const uint32_t sets[] = {0, upz_cpu_features()};
    for (int s = 0; s < 2; s++) {
        const UpzTileKernels *k = upz_tile_kernels(sets[s]);
        if (!k || (sets[s] && !upz_cpu_allow_tiles())) continue;
        Case c = make(false, 5, 16, false);
        c.conv.slope = NULL, c.conv.n_runs = 1, c.runs[0].blocks = 1;
        memset(c.bias, 0, OUT * 4);
        memset(c.weights, 0, UPZ_TILE_DEPTH * OUT * 2);
        const float cases[][3] = {{1e-39f, 1e30f, 0}, {1e-20f, 1e-20f, 0}, {1e-15f, 1e-15f, 1e-30f}};
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < (MOST + 32) * STEP_MOST * 4; j++) {
                const float x = cases[i][0];
                uint32_t u;
                memcpy(&u, &x, 4);
                c.in[j] = (uint16_t)(u >> 16); /* denormals stay what they are */
            }
            c.weights[upz_tile_weight(1, 0, 3, 7)] = upz_bf16(cases[i][1]);
            uint8_t *out = run(k, &c);
            float got;
            memcpy(&got, out + GUARD + 7 * 4, 4);
            assert_true(fabsf(got - cases[i][2]) <= 0.02f * cases[i][2]);
            upz_free_aligned(out);
        }
        drop(&c);
    }
}

/* Any NaN is as good as another. */
static bool same_values(const uint8_t *a, const uint8_t *b, size_t bytes, bool narrow)
{
    const size_t step = narrow ? 2 : 4;
    for (size_t i = 0; i + step <= bytes; i += step) {
        if (!memcmp(a + i, b + i, step)) continue;
        uint32_t x = 0, y = 0;
        memcpy((uint8_t *)&x + 4 - step, a + i, step);
        memcpy((uint8_t *)&y + 4 - step, b + i, step);
        if ((x & 0x7fffffff) <= 0x7f800000 || (y & 0x7fffffff) <= 0x7f800000) return false;
    }
    return true;
}

static void the_processors_are_plain_c(void **state)
{
    (void)state;
    const UpzTileKernels *own = upz_tile_kernels(upz_cpu_features()), *c_layer = upz_tile_kernels(0);
    if (!upz_cpu_features() || !own) {
        SKIP_BECAUSE("no tiles here");
    }
    assert_true(upz_cpu_allow_tiles());
    for (int i = 0; i < 160; i++) {
        const int count = i % 16 == 15 ? MOST - i % 40 : 1 + i % 70, n_out = 16 * (1 + i / 3 % 4);
        seed = (uint32_t)i;
        Case c = make(i % 2, count, n_out, i / 2 % 2);
        uint8_t *a = run(c_layer, &c), *b = run(own, &c);
        if (!same_values(a, b, c.size, c.conv.narrow))
            fail_msg("case %d: %d pixels, %d outputs, %s differ from plain C", i, count, n_out,
                     c.conv.narrow ? "bf16" : "floats");
        assert_memory_equal(a, b, GUARD);
        assert_memory_equal(a + c.size - GUARD, b + c.size - GUARD, GUARD);
        for (int g = 0; g < GUARD; g++) assert_true(a[g] == 0x5a && a[c.size - 1 - (size_t)g] == 0x5a);
        upz_free_aligned(a);
        upz_free_aligned(b);
        drop(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_definition),
        cmocka_unit_test(denormals_are_zeros),
        cmocka_unit_test(the_processors_are_plain_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
