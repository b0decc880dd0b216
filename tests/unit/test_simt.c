/* The host emulation of CUDA kernels: right ones run, each kind of mistake is found and named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "fake/dev_host.h"

typedef struct Params {
    uint64_t a, b, out;
    int32_t n, mistake;
} Params;

static int launch(const SimtKernel *k, const Params *p, unsigned blocks, unsigned threads,
                  size_t shared, unsigned seed)
{
    SimtLaunch l = {.kernel = k, .params = p, .grid_x = blocks, .grid_y = 1, .threads = threads,
                    .shared = shared, .seed = seed};
    return simt_launch(&l);
}

static const unsigned seeds[] = {SIMT_LATE, SIMT_AT_ONCE, 2, 3, 4, 5, 6, 7};
#define N_SEEDS (sizeof seeds / sizeof *seeds)

static void runs(const SimtKernel *k, const Params *p, unsigned blocks, unsigned threads,
                 size_t shared, unsigned seed)
{
    if (launch(k, p, blocks, threads, shared, seed)) fail_msg("seed %u: %s", seed, simt_error());
}

static void fails(const SimtKernel *k, const Params *p, unsigned threads, size_t shared,
                  const char *text)
{
    if (!launch(k, p, 1, threads, shared, SIMT_LATE)) fail_msg("nothing was found: %s", text);
    if (!strstr(simt_error(), text)) fail_msg("not '%s': %s", text, simt_error());
}

static void *memory(size_t bytes)
{
    void *m = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(m, 0xff, bytes);
    simt_memory_add(m, bytes);
    return m;
}

static void drop(void *m)
{
    simt_memory_remove(m);
    free(m);
}

static uint64_t at(const void *p) { return (uint64_t)(uintptr_t)p; }

/* ---- barriers ---- */

/* 256 numbers a block are summed. mistakes: 1 no barrier, 2 out of bounds, 3 half the threads at
 * the barrier, 4 misaligned, 5 global out of bounds, 6 a barrier of an odd count, 7 beyond the
 * launched shared memory */
UPZ_KERNEL(reduce, Params, 256, 1)
{
    uint32_t s = dev_shared(), t = dev_thread();
    uint64_t from = p.a + (uint64_t)(dev_block() * 256 + t) * 4;
    if (p.mistake == 5 && t == 77) from += 1 << 20;
    dev_put4(s + t * 4, dev_load4(from));
    if (p.mistake == 2 && t == 9) dev_put4(s - 4, 0);
    if (p.mistake == 4 && t == 9) dev_get16(s + 8);
    if (p.mistake == 6) dev_bar(3, 100);
    if (p.mistake == 7 && t == 200) dev_get4(s + 1024);
    for (uint32_t half = 128; half; half /= 2) {
        if (p.mistake == 3 && t >= 128) return;
        if (p.mistake != 1) dev_sync();
        if (t < half) dev_put4(s + t * 4, dev_get4(s + t * 4) + dev_get4(s + (t + half) * 4));
    }
    if (t == 0) {
        dev_store4(p.out + dev_block() * 4, dev_get4(s));
        dev_max4(p.out + 32, dev_block());
    }
}

static void barriers(void **state)
{
    uint32_t *a = memory(8 * 256 * 4), *out = memory(36);
    Params p = {.a = at(a), .out = at(out)};
    static const char *const text[] = {
        NULL, "shared memory at offset", "writes 4 bytes of shared memory at offset -4",
        "deadlock: threads 0-127 wait for barrier 0 of 256 threads; threads 128-255 have ended",
        "not aligned to 16", "thread 77: reads 4 bytes at global", "barrier 3 of 100 threads",
        "shared memory at offset 1024; it has 1024"};
    for (uint32_t i = 0; i < 2048; i++) a[i] = i * i;
    for (size_t s = 0; s < N_SEEDS; s++) {
        memset(out, 0, 36);
        runs(&simt_kernel_reduce, &p, 8, 256, 1024, seeds[s]);
        for (uint32_t b = 0; b < 8; b++) {
            uint32_t sum = 0;
            for (uint32_t i = 0; i < 256; i++) sum += a[b * 256 + i];
            assert_int_equal(out[b], sum);
        }
        assert_int_equal(out[8], 7);
    }
    for (p.mistake = 1; p.mistake < 8; p.mistake++)
        fails(&simt_kernel_reduce, &p, 256, 1024, text[p.mistake]);
    drop(out);
    fails(&simt_kernel_reduce, &(Params){.a = at(a), .out = at(out)}, 256, 1024,
          "no memory is there");
    assert_int_equal(launch(&simt_kernel_reduce, &p, 1, 128, 1024, 0), -1);
    drop(a);
}

/* Two halves of a block by turns, over named barriers. */
UPZ_KERNEL(turns, Params, 128, 1)
{
    uint32_t s = dev_shared(), t = dev_thread();
    for (uint32_t i = 0; i < 5; i++) {
        if (t < 64) {
            dev_put4(s + t * 4, t + i);
            dev_bar(1, 128);
            if (!p.mistake) dev_bar(2, 128);
        } else {
            dev_bar(1, 128);
            dev_store4(p.out + (uint64_t)(i * 64 + t - 64) * 4, dev_get4(s + (t - 64) * 4));
            if (!p.mistake) dev_bar(2, 128);
        }
    }
}

static void named(void **state)
{
    uint32_t *out = memory(5 * 64 * 4);
    Params p = {.out = at(out)};
    for (size_t s = 0; s < N_SEEDS; s++) {
        runs(&simt_kernel_turns, &p, 1, 128, 256, seeds[s]);
        for (uint32_t i = 0; i < 320; i++) assert_int_equal(out[i], i % 64 + i / 64);
    }
    p.mistake = 1;
    fails(&simt_kernel_turns, &p, 128, 256, "read: nothing between orders the two");
    drop(out);
}

/* ---- matrices ---- */

/* out = a (16 x 32) * b (32 x 8, stored n-major), by ldmatrix and mma. 1: cp.async is not waited
 * for, 2: no barrier after it, 3: a lane stays away */
UPZ_KERNEL(product, Params, 64, 1)
{
    uint32_t s = dev_shared(), t = dev_thread(), lane = t % 32;
    for (uint32_t i = t; i < 64 + 32; i += 64)
        dev_copy16(s + i * 16, i < 64 ? p.a + i * 16 : p.b + (i - 64) * 16);
    dev_copy_commit();
    if (p.mistake != 1) dev_copy_wait(0);
    if (p.mistake != 2) dev_sync();
    if (t < 32) return;
    if (p.mistake == 3 && lane == 5) return;
    float d[4] = {0, 0, 0, 0};
    for (uint32_t k = 0; k < 32; k += 16) {
        uint32_t a[4], b[4];
        /* matrices: rows 0-7 and 8-15 of k, the same of k + 8 */
        dev_ldmatrix4(a, s + (lane % 16) * 64 + (k + lane / 16 * 8) * 2);
        dev_ldmatrix4(b, s + 1024 + lane % 8 * 64 + (lane / 8 * 8) * 2);
        dev_mma(d, a, b + k / 8);
    }
    for (int i = 0; i < 4; i++) {
        float v = d[i];
        uint32_t bits, row = lane / 4 + (i / 2 ? 8 : 0), col = lane % 4 * 2 + (unsigned)i % 2;
        memcpy(&bits, &v, 4);
        dev_store4(p.out + (row * 8 + col) * 4, bits);
    }
}

static uint16_t number(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return simt_half((float)(int)(*state >> 20) / 1024.0f - 2.0f);
}

static void fill(uint16_t *to, int n, unsigned seed)
{
    for (int i = 0; i < n; i++) to[i] = number(&seed);
}

static void matrices(void **state)
{
    uint16_t *a = memory(16 * 32 * 2), *b = memory(32 * 8 * 2);
    float *out = memory(16 * 8 * 4);
    Params p = {at(a), at(b), at(out), 0, 0};
    fill(a, 512, 1);
    fill(b, 256, 2);
    for (size_t s = 0; s < N_SEEDS; s++) {
        memset(out, 0xff, 512);
        runs(&simt_kernel_product, &p, 1, 64, 1536, seeds[s]);
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 8; n++) {
                double sum = 0;
                for (int k = 0; k < 32; k++)
                    sum += (double)simt_float(a[m * 32 + k]) * (double)simt_float(b[n * 32 + k]);
                assert_true(fabs(sum - (double)out[m * 8 + n]) < 1e-5);
            }
    }
    p.mistake = 1;
    fails(&simt_kernel_product, &p, 64, 1536, "which a copy in flight is going to write");
    p.mistake = 2;
    fails(&simt_kernel_product, &p, 64, 1536, "shared memory at offset");
    p.mistake = 3;
    fails(&simt_kernel_product, &p, 64, 1536, "deadlock: ");
    drop(a);
    drop(b);
    drop(out);
}

/* stmatrix and ldmatrix transposed undo each other; shuffles. 1: without dev_warp_sync, 2: the warp
 * is not together, 3: written again while others may still read, 4: the same with plain reads */
UPZ_KERNEL(transposed, Params, 32, 1)
{
    uint32_t s = dev_shared(), lane = dev_thread(), r[4], back[4], plain[4];
    for (uint32_t i = 0; i < 4; i++) r[i] = (2 * lane + i * 1000) | (2 * lane + 1 + i * 1000) << 16;
    if (p.mistake == 2 && lane > 15) dev_shfl(0, 0);
    dev_stmatrix4_trans(s + lane * 16, r);
    if (p.mistake != 1) dev_warp_sync();
    dev_ldmatrix4_trans(back, s + lane * 16);
    dev_ldmatrix4(plain, s + lane * 16);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t from = dev_shfl_xor(back[i], 3);
        dev_store4(p.out + (i * 32 + lane) * 4, dev_shfl(from, (int)(lane ^ 3)));
        dev_store4(p.out + (128 + i * 32 + lane) * 4, plain[i]);
    }
    if (p.mistake == 3) dev_put4(s + lane * 16, 0);
    if (p.mistake == 4) {
        dev_warp_sync();
        dev_get4(s + lane * 16);
        dev_shfl(0, 0);
        dev_put4(s + (lane ^ 4) * 16, 0);
    }
    if (dev_elect()) dev_store4(p.out + 1024, lane);
}

static void transposing(void **state)
{
    uint32_t *out = memory(1028);
    Params p = {.out = at(out)};
    for (size_t s = 0; s < N_SEEDS; s++) {
        runs(&simt_kernel_transposed, &p, 1, 32, 512, seeds[s]);
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t l = 0; l < 32; l++) {
                /* element (row, col) of what the fragments are: row * 8 + col; in memory it lies
                 * transposed, so plain ldmatrix has row l / 4 of that */
                uint32_t col = l / 4, row = l % 4 * 2;
                assert_int_equal(out[i * 32 + l], (2 * l + i * 1000) | (2 * l + 1 + i * 1000)
                                                                           << 16);
                assert_int_equal(out[128 + i * 32 + l], (row * 8 + col + i * 1000) |
                                                            ((row + 1) * 8 + col + i * 1000) << 16);
            }
        assert_true(out[256] < 32);
    }
    p.mistake = 1;
    fails(&simt_kernel_transposed, &p, 32, 512, "nothing between orders the two");
    p.mistake = 2;
    fails(&simt_kernel_transposed, &p, 32, 512, "the warp is not together");
    p.mistake = 3;
    fails(&simt_kernel_transposed, &p, 32, 512, "other lanes of its warp read");
    p.mistake = 4;
    fails(&simt_kernel_transposed, &p, 32, 512, "other lanes of its warp read");
    drop(out);
}

/* ---- bulk copies ---- */

#define RING 3
/* A producer warp passes n pieces of 512 bytes through a ring of three to a consumer warp, which
 * adds 1 and sends them back. mistakes: 1 no wait for the piece, 2 no wait for the slot, 3 one
 * arrival too many, 4 no mbar_fence, 5 no async fence before the store, 6 staging is reused at
 * once, 7 bytes announced wrongly, 8 not aligned, 9 the end is not waited for */
UPZ_KERNEL(ring, Params, 64, 1)
{
    uint32_t s = dev_shared(), full = s + 4096, empty = full + 64, t = dev_thread(), lane = t % 32;
    if (t == 0) {
        for (uint32_t i = 0; i < RING; i++) {
            dev_mbar_init(full + i * 8, 1);
            dev_mbar_init(empty + i * 8, 1);
        }
        if (p.mistake != 4) dev_mbar_fence();
    }
    dev_sync();
    if (t < 32) {
        dev_regs_less(40);
        if (lane) return;
        for (int i = 0; i < p.n; i++) {
            uint32_t slot = (uint32_t)(i % RING);
            if (i >= RING && p.mistake != 2) dev_mbar_wait(empty + slot * 8, (i / RING - 1) & 1);
            dev_mbar_expect(full + slot * 8, p.mistake == 7 ? 528 : 512);
            dev_bulk_load(s + slot * 512 + (p.mistake == 8 ? 8 : 0), p.a + (uint64_t)i * 512, 512,
                          full + slot * 8);
            if (p.mistake == 3) dev_mbar_arrive(full + slot * 8);
        }
        return;
    }
    for (int i = 0; i < p.n; i++) {
        uint32_t slot = (uint32_t)(i % RING), stage = s + 2048 + (uint32_t)(i % 2) * 512;
        if (p.mistake != 1) dev_mbar_wait(full + slot * 8, i / RING & 1);
        UpzVec4 v = dev_get16(s + slot * 512 + lane * 16);
        if (lane == 0 && p.mistake != 6) dev_bulk_wait_read(1);
        dev_warp_sync();
        v.x++;
        dev_put16(stage + lane * 16, v);
        if (p.mistake != 5) dev_async_fence();
        dev_warp_sync();
        if (lane) continue;
        dev_mbar_arrive(empty + slot * 8);
        dev_bulk_store(p.out + (uint64_t)i * 512, stage, 512);
        dev_bulk_commit();
    }
    if (lane == 0 && p.mistake != 9) dev_bulk_wait(0);
}

static void bulk(void **state)
{
    enum { N = 20 };
    static const char *const text[] = {
        NULL, "shared memory at offset", "have all been",
        "have all been", "no dev_mbar_fence", "without dev_async_fence",
        "a bulk store or wgmma in flight still reads", "deadlock: ", "not aligned to 16",
        "dev_bulk_wait_read is missing"};
    uint32_t *a = memory(N * 512), *out = memory(N * 512);
    Params p = {.a = at(a), .out = at(out), .n = N};
    for (uint32_t i = 0; i < N * 128; i++) a[i] = i * 7;
    for (size_t s = 0; s < N_SEEDS; s++) {
        memset(out, 0xff, N * 512);
        runs(&simt_kernel_ring, &p, 1, 64, 4096 + 128, seeds[s]);
        for (uint32_t i = 0; i < N * 128; i++) assert_int_equal(out[i], a[i] + (i % 4 == 0));
    }
    for (p.mistake = 1; p.mistake < 10; p.mistake++)
        fails(&simt_kernel_ring, &p, 64, 4096 + 128, text[p.mistake]);
    drop(a);
    drop(out);
}

/* ---- wgmma ---- */

/* out (64 x 128) = a (64 x 32, K-major core matrices) * b (128 x 32). n: a comes from registers.
 * mistakes: 1 read before the wait, 2 no fence of registers, 3 no async fence, 4 sources
 * overwritten, 5 never waited, 6 uncommitted */
UPZ_KERNEL(wide, Params, 128, 1)
{
    uint32_t s = dev_shared(), t = dev_thread(), lane = t % 32;
    uint32_t regs[2][4];
    float d[64];
    for (uint32_t i = t; i < (64 + 128) * 4; i += 128)
        dev_put16(s + i * 16, dev_load16(p.a + i * 16));
    if (p.mistake != 3) dev_async_fence();
    dev_sync();
    for (int i = 0; i < 64; i++) d[i] = 1.0f;
    if (p.mistake != 2) dev_wgmma_fence();
    for (uint32_t k = 0; k < 32; k += 16) { /* a: 1024 bytes a step of 8 along k; b: 2048 */
        uint64_t b = dev_desc(s + 4096 + k / 8 * 2048, 2048, 128);
        uint32_t *a = regs[k / 16];
        if (!p.n) {
            dev_wgmma128(d, dev_desc(s + k / 8 * 1024, 1024, 128), b);
            continue;
        }
        for (uint32_t i = 0; i < 4; i++) /* row lane / 4 (+ 8), columns of lane % 4 (+ 8) */
            a[i] = dev_get4(s + (k / 8 + i / 2) * 1024 + (t / 32 * 16 + lane / 4 + i % 2 * 8) * 16 +
                            lane % 4 * 4);
        dev_wgmma128_regs(d, a, b);
    }
    if (p.mistake != 6) dev_wgmma_commit();
    if (p.mistake == 1 && t == 3) dev_store4(p.out, d[0] == d[0] ? 1 : 0);
    if (p.mistake == 4) dev_put4(s + t * 4, 0);
    if (p.mistake != 5) dev_wgmma_wait(0);
    for (unsigned i = 0; i < 64 && p.mistake != 1; i++) {
        unsigned row = t / 32 * 16 + lane / 4 + i / 2 % 2 * 8,
                 col = i / 4 * 8 + lane % 4 * 2 + i % 2;
        uint32_t bits;
        memcpy(&bits, &d[i], 4);
        dev_store4(p.out + (uint64_t)(row * 128 + col) * 4, bits);
    }
}

static void warpgroups(void **state)
{
    uint16_t *a = memory(192 * 32 * 2), *b = a + 64 * 32;
    float *out = memory(64 * 128 * 4);
    Params p = {.a = at(a), .out = at(out)};
    fill(a, 192 * 32, 5);
    for (size_t s = 0; s < N_SEEDS; s++) {
        memset(out, 0xff, 64 * 128 * 4);
        p.n = (int)s % 2;
        runs(&simt_kernel_wide, &p, 1, 128, 192 * 64, seeds[s]);
        for (int m = 0; m < 64; m++)
            for (int n = 0; n < 128; n++) {
                double sum = 1;
                for (int k = 0; k < 32; k++)
                    sum += (double)simt_float(a[k / 8 * 512 + m * 8 + k % 8]) *
                           (double)simt_float(b[k / 8 * 1024 + n * 8 + k % 8]);
                assert_true(fabs(sum - (double)out[m * 128 + n]) < 1e-4);
            }
    }
    p.n = 0;
    p.mistake = 1;
    runs(&simt_kernel_wide, &p, 1, 128, 192 * 64, SIMT_LATE);
    assert_int_equal(*(uint32_t *)out, 0); /* NaN */
    p.mistake = 2;
    fails(&simt_kernel_wide, &p, 128, 192 * 64, "without dev_wgmma_fence");
    p.mistake = 3;
    fails(&simt_kernel_wide, &p, 128, 192 * 64, "without dev_async_fence");
    p.mistake = 4;
    fails(&simt_kernel_wide, &p, 128, 192 * 64, "a bulk store or wgmma in flight still reads");
    p.mistake = 5;
    fails(&simt_kernel_wide, &p, 128, 192 * 64, "ends with wgmma in flight");
    p.mistake = 6;
    fails(&simt_kernel_wide, &p, 128, 192 * 64, "ends with wgmma in flight");
    drop(a);
    drop(out);
}

/* ---- halves ---- */

static void halves(void **state)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = simt_float((uint16_t)h);
        int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
        double v = e == 0 ? ldexp(m, -24) : ldexp(m + 1024, e - 25);
        if (e == 31) {
            assert_true(m ? isnan(f) : isinf(f));
            continue;
        }
        assert_true((double)f == (h & 0x8000 ? -v : v));
        assert_int_equal(simt_half(f), h);
        if (e == 30 && m == 1023) continue;
        /* half way to the next: the even one */
        float next = simt_float((uint16_t)(h + 1)), mid = f + (next - f) / 2;
        assert_int_equal(simt_half(mid), h + (h & 1));
        assert_int_equal(simt_half(nextafterf(mid, next)), h + 1);
        assert_int_equal(simt_half(nextafterf(mid, f)), h);
    }
    assert_int_equal(simt_half(65519.996f), 0x7bff);
    assert_int_equal(simt_half(65520.0f), 0x7c00);
    assert_int_equal(simt_half(-1e30f), 0xfc00);
    assert_true(isnan(simt_float(simt_half(NAN))));
}

/* ---- launched beside the kernel before ---- */

/* mistakes: 1 nobody waits, 2 the first thread alone waits, 3 all but the last warp, 4 one thread writes
 * before it waits, 5 nobody waits, and nobody touches anything */
UPZ_KERNEL(beside, Params, 128, 1)
{
    uint32_t t = dev_thread();
    if (p.mistake == 5) return;
    if (p.mistake == 4 && t == 77) dev_store4(p.out + t * 4, 1);
    if (!p.mistake || p.mistake == 4 || (p.mistake == 2 && !t) || (p.mistake == 3 && t < 96)) dev_grid_wait();
    if (p.mistake == 2) dev_sync();
    dev_store4(p.out + t * 4, dev_load4(p.a + t * 4) + 1);
}

static int launch_beside(const Params *p, bool overlap)
{
    SimtLaunch l = {.kernel = &simt_kernel_beside, .params = p, .grid_x = 2, .grid_y = 1, .threads = 128,
                    .overlap = overlap};
    return simt_launch(&l);
}

static void each_thread_waits_for_the_grid(void **state)
{
    (void)state;
    uint32_t *a = memory(512), *out = memory(512);
    Params p = {.a = at(a), .out = at(out)};
    for (uint32_t i = 0; i < 128; i++) a[i] = i;
    if (launch_beside(&p, true)) fail_msg("%s", simt_error());
    for (uint32_t i = 0; i < 128; i++) assert_int_equal(out[i], i + 1);
    for (p.mistake = 1; p.mistake <= 5; p.mistake++) {
        assert_int_equal(launch_beside(&p, false), 0);
        if (!launch_beside(&p, true)) fail_msg("nothing was found: mistake %d", p.mistake);
        const char *text = p.mistake == 5 ? "ends without dev_grid_wait" : "before dev_grid_wait of its own";
        if (!strstr(simt_error(), text)) fail_msg("mistake %d: %s", p.mistake, simt_error());
    }
    drop(a);
    drop(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves),      cmocka_unit_test(barriers),
        cmocka_unit_test(named),       cmocka_unit_test(matrices),
        cmocka_unit_test(transposing), cmocka_unit_test(bulk),
        cmocka_unit_test(warpgroups),
        cmocka_unit_test(each_thread_waits_for_the_grid),
    };
    return cmocka_run_group_tests_name("simt", tests, NULL, NULL);
}
