/* One small kernel for each thing the engine's kernels are built on, in the engine's own functions
 * (dev.h): where one of these is wrong, so is all that uses it. Results are compared on the host by
 * probe.c; inputs are small whole numbers, so that sums are exact in any order.
 *
 * rate_*: the same with nothing beside it, in a loop: what the card can do in the engine's layouts. */
#include "engine/cuda/kernels/dev.h"
#include "probe.h"

UPZ_DEV void probe_put_float(uint64_t at, float v)
{
    union {
        float number;
        uint32_t bits;
    } word = {v};
    dev_store4(at, word.bits);
}

/* n pairs of floats -> rounded to halves, and both halves back as floats: 3 words a pair. */
UPZ_KERNEL(probe_half, ProbeParams, 128, 1)
{
    for (int i = (int)dev_thread(); i < p.n; i += 128) {
        float x = dev_load_float(p.a + (uint64_t)i * 8), y = dev_load_float(p.a + (uint64_t)i * 8 + 4);
        uint32_t h = dev_half2(x, y);
        dev_store4(p.out + (uint64_t)i * 12, h);
        probe_put_float(p.out + (uint64_t)i * 12 + 4, dev_low(h));
        probe_put_float(p.out + (uint64_t)i * 12 + 8, dev_high(h));
    }
}

/* Four groups of 2 KiB; the two older ones are read while the younger may be under way. */
UPZ_KERNEL(probe_copy, ProbeParams, 128, 1)
{
    uint32_t shared = dev_shared(), t = dev_thread(), other = t ^ 37;
    for (uint32_t g = 0; g < 4; g++) {
        dev_copy16(shared + (g * 128 + t) * 16, p.a + (uint64_t)(g * 128 + t) * 16);
        dev_copy_commit();
    }
    dev_copy_wait(2);
    dev_sync();
    for (uint32_t g = 0; g < 4; g++) {
        if (g == 2) {
            dev_copy_wait(0);
            dev_sync();
        }
        dev_store16(p.out + (uint64_t)(g * 128 + other) * 16, dev_get16(shared + (g * 128 + other) * 16));
    }
}

/* a: 16 pixels, b: 16 outputs, each of 16 channels in two chunks of 8; out: 16 x 16 floats, with 1 added. */
UPZ_KERNEL(probe_mma, ProbeParams, 32, 1)
{
    uint32_t shared = dev_shared(), lane = dev_thread(), a[4], b[4];
    float d[2][4];
    dev_put16(shared + lane * 16, dev_load16(p.a + lane * 16));
    dev_put16(shared + 512 + lane * 16, dev_load16(p.b + lane * 16));
    dev_sync();
    dev_ldmatrix4(a, shared + lane / 16 * 256 + lane % 16 * 16);
    dev_ldmatrix4(b, shared + 512 + lane / 8 % 2 * 256 + (lane / 16 * 8 + lane % 8) * 16);
    UPZ_UNROLL
    for (int j = 0; j < 2; j++) {
        UPZ_UNROLL
        for (int i = 0; i < 4; i++) d[j][i] = 1;
        dev_mma(d[j], a, b + 2 * j);
        UPZ_UNROLL
        for (int i = 0; i < 4; i++)
            probe_put_float(p.out + (uint64_t)((lane / 4 + (uint32_t)(i / 2) * 8) * 16 +
                                               (uint32_t)(j * 8) + lane % 4 * 2 + (uint32_t)(i % 2)) * 4,
                            d[j][i]);
    }
}

/* Named barriers of two groups that are not together, lanes' words exchanged, an atomic maximum. */
/* 8-bit numbers: 16 x 32 times 32 x 16, and conversions of n pairs of floats. z 1: fp8. */
UPZ_KERNEL(probe_eight, ProbeParams, 32, 1)
{
    uint32_t shared = dev_shared(), lane = dev_thread(), a[4], b[4];
    if (p.n) {
        for (int i = (int)lane; i < p.n; i += 32) {
            float x = dev_load_float(p.a + (uint64_t)i * 8), y = dev_load_float(p.a + (uint64_t)i * 8 + 4);
            uint32_t v = dev_int8x2(x, y);
#ifdef UPZ_FP8
            if (p.z) v = dev_fp8x2(x, y);
#endif
            dev_store4(p.out + (uint64_t)i * 4, v);
        }
        return;
    }
    dev_put16(shared + lane * 16, dev_load16(p.a + lane * 16));
    dev_put16(shared + 512 + lane * 16, dev_load16(p.b + lane * 16));
    dev_sync();
    dev_ldmatrix4(a, shared + lane / 16 * 256 + lane % 16 * 16);
    dev_ldmatrix4(b, shared + 512 + lane / 8 % 2 * 256 + (lane / 16 * 8 + lane % 8) * 16);
    UPZ_UNROLL
    for (int j = 0; j < 2; j++) {
        int32_t whole[4] = {1, 1, 1, 1};
        float d[4] = {1, 1, 1, 1};
        if (!p.z) dev_mma_int8(whole, a, b + 2 * j);
#ifdef UPZ_FP8_MMA
        if (p.z) dev_mma_fp8(d, a, b + 2 * j);
#endif
        UPZ_UNROLL
        for (int i = 0; i < 4; i++)
            probe_put_float(p.out + (uint64_t)((lane / 4 + (uint32_t)(i / 2) * 8) * 16 +
                                               (uint32_t)(j * 8) + lane % 4 * 2 + (uint32_t)(i % 2)) * 4,
                            p.z ? d[i] : (float)whole[i]);
    }
}

UPZ_KERNEL(probe_threads, ProbeParams, 256, 1)
{
    uint32_t shared = dev_shared(), t = dev_thread(), group = t / 128, v = dev_load4(p.a + t * 4);
    for (uint32_t i = 0; i < 4 + 3 * group; i++) {
        dev_put4(shared + t * 4, v);
        dev_bar((int)(1 + group), 128);
        v = dev_get4(shared + (group * 128 + (t + 1) % 128) * 4);
        dev_bar((int)(1 + group), 128);
    }
    v = dev_shfl_xor(v, 5) + dev_shfl(v, 3);
    dev_store4(p.out + t * 4, v);
    dev_max4(p.out + 1024, v);
    if (dev_elect()) dev_store4(p.out + 1028 + t / 32 * 4, t / 32);
}

#ifdef UPZ_WGMMA

/* Four 8x8 matrices of halves: loaded transposed (32 lanes x 4 words), and stored again transposed. */
UPZ_KERNEL(probe_matrices, ProbeParams, 32, 1)
{
    uint32_t shared = dev_shared(), lane = dev_thread(), r[4];
    dev_put16(shared + lane * 16, dev_load16(p.a + lane * 16));
    dev_sync();
    dev_ldmatrix4_trans(r, shared + lane * 16);
    UPZ_UNROLL
    for (uint32_t i = 0; i < 4; i++) dev_store4(p.out + (uint64_t)(lane * 4 + i) * 4, r[i]);
    dev_sync();
    dev_stmatrix4_trans(shared + 512 + lane * 16, r);
    dev_sync();
    dev_store16(p.out + 512 + lane * 16, dev_get16(shared + 512 + lane * 16));
}

/* One barrier for the two things in shared memory. */
UPZ_DEV void probe_fill(const ProbeParams *p, uint32_t shared, uint32_t bar)
{
    if (dev_thread() == 0) {
        dev_mbar_init(bar, 1);
        dev_mbar_fence();
    }
    dev_sync();
    if (dev_thread() == 0) {
        dev_mbar_expect(bar, PROBE_A + PROBE_B);
        for (uint32_t i = 0; i < 9; i++)
            dev_bulk_load(shared + i * (PROBE_A / 9), p->a + i * (PROBE_A / 9), PROBE_A / 9, bar);
        for (uint32_t i = 0; i < PROBE_ROWS; i++)
            dev_bulk_load(shared + PROBE_A + i * PROBE_ROW, p->b + i * PROBE_ROW, PROBE_ROW, bar);
    }
    dev_mbar_wait(bar, 0);
}

/* n bytes, a multiple of 16, from a + x to shared + y, and out again by the threads. */
UPZ_KERNEL(probe_bulk_load, ProbeParams, 128, 1)
{
    uint32_t shared = dev_shared(), bar = shared, at = shared + 128 + (uint32_t)p.y;
    if (dev_thread() == 0) {
        dev_mbar_init(bar, 1);
        dev_mbar_fence();
    }
    dev_sync();
    if (dev_thread() == 0) {
        dev_mbar_expect(bar, (uint32_t)p.n);
        dev_bulk_load(at, p.a + (uint64_t)p.x, (uint32_t)p.n, bar);
    }
    dev_mbar_wait(bar, 0);
    for (uint32_t i = dev_thread() * 16; i < (uint32_t)p.n; i += 128 * 16)
        dev_store16(p.out + i, dev_get16(at + i));
}

/* The other way; shared memory is overwritten as soon as the copies have read it. */
UPZ_KERNEL(probe_bulk_store, ProbeParams, 128, 1)
{
    uint32_t shared = dev_shared(), t = dev_thread();
    UpzVec4 none = {0xbadbad, 0, 0, 0};
    for (uint32_t i = t * 16; i < (uint32_t)p.n; i += 128 * 16)
        dev_put16(shared + i, dev_load16(p.a + i));
    dev_async_fence();
    dev_sync();
    if (t == 0) {
        dev_bulk_store(p.out + (uint64_t)p.x, shared, (uint32_t)p.n / 2);
        dev_bulk_commit();
        dev_bulk_store(p.out + (uint64_t)p.x + (uint32_t)p.n / 2, shared + (uint32_t)p.n / 2,
                       (uint32_t)p.n / 2);
        dev_bulk_commit();
        dev_bulk_wait_read(0);
    }
    dev_sync();
    for (uint32_t i = t * 16; i < (uint32_t)p.n; i += 128 * 16) dev_put16(shared + i, none);
    if (t == 0) dev_bulk_wait(0);
}

/* Sums of a group to 64 x 128 floats. */
UPZ_DEV void probe_sums(const float d[64], uint64_t out)
{
    uint32_t t = dev_thread() % 128, row = t / 32 * 16 + t % 32 / 4, column = t % 4 * 2;
    UPZ_UNROLL
    for (uint32_t i = 0; i < 64; i++)
        probe_put_float(out + (uint64_t)((row + i / 2 % 2 * 8) * 128 + i / 4 * 8 + column + i % 2) * 4,
                        d[i]);
}

UPZ_DEV void probe_begin(float d[64])
{
    UPZ_UNROLL
    for (int i = 0; i < 64; i++) d[i] = (float)(i % 3);
}

/* n products; tile i with the pixels from x + i % 3 on of chunks 2 * (i % 12) and the next, y bytes apart.
 * z: both of a descriptor's distances in the other order, to know what is wrong. */
UPZ_KERNEL(probe_wgmma, ProbeParams, 128, 1)
{
    uint32_t shared = dev_shared();
    float d[64];
    probe_fill(&p, shared, shared + PROBE_A + PROBE_B);
    probe_begin(d);
    uint32_t pixels = shared + PROBE_A + (uint32_t)p.x * 16, y = (uint32_t)p.y;
    uint64_t a = p.z ? dev_desc(shared, 128, 1024) : dev_desc(shared, 1024, 128);
    uint64_t b = p.z ? dev_desc(pixels, 128, y) : dev_desc(pixels, y, 128);
    dev_wgmma_own(d);
    dev_wgmma_fence();
    for (int i = 0; i < p.n; i++)
        dev_wgmma128(d, a + (uint64_t)(i * PROBE_TILE / 16),
                     b + (uint64_t)(i % 12 * 2 * (PROBE_ROW / 16) + i % 3));
    dev_wgmma_commit();
    dev_wgmma_wait(0);
    dev_wgmma_own(d);
    probe_sums(d, p.out);
}

UPZ_DEV void probe_tiles(uint32_t a[PROBE_TILES][4], uint32_t shared)
{
    uint32_t t = dev_thread() % 128, lane = t % 32;
    UPZ_UNROLL
    for (uint32_t i = 0; i < PROBE_TILES; i++)
        dev_ldmatrix4(a[i], shared + i * PROBE_TILE + lane / 16 * 1024 + (t / 32 * 16 + lane % 16) * 16);
}

/* A row as conv_ring makes it: 9 taps of 64 channels, weights from registers. */
UPZ_DEV void probe_row(float d[64], const uint32_t a[PROBE_TILES][4], uint64_t b)
{
    dev_wgmma_own(d);
    dev_wgmma_fence();
    UPZ_UNROLL
    for (int i = 0; i < PROBE_TILES; i++) {
        int dy = i / 12, dx = i / 4 % 3, k = i % 4;
        if (i == 24) dev_wgmma_commit();
        if (i == 30) {
            dev_wgmma_commit();
            dev_wgmma_wait(1);
        }
        dev_wgmma128_regs(d, a[i], b + (uint64_t)((dy * 8 + k * 2) * (PROBE_ROW / 16) + dx));
    }
    dev_wgmma_commit();
    dev_wgmma_wait(0);
    dev_wgmma_own(d);
}

/* One product of tile n, from registers. */
/* The same of 8-bit numbers. z 1: fp8. */
UPZ_KERNEL(probe_wgmma_eight, ProbeParams, 128, 1)
{
    uint32_t shared = dev_shared();
    int32_t whole[64];
    float d[64];
    probe_fill(&p, shared, shared + PROBE_A + PROBE_B);
    probe_begin(d);
    UPZ_UNROLL
    for (int i = 0; i < 64; i++) whole[i] = i % 3;
    uint64_t a = dev_desc(shared, 1024, 128);
    uint64_t b = dev_desc(shared + PROBE_A + (uint32_t)p.x * 16, PROBE_ROW, 128);
    dev_wgmma_own(d);
    dev_wgmma_own_int(whole);
    dev_wgmma_fence();
    for (int i = 0; i < p.n; i++) {
        uint64_t ta = a + (uint64_t)(i * PROBE_TILE / 16);
        uint64_t tb = b + (uint64_t)(i % 12 * 2 * (PROBE_ROW / 16) + i % 3);
        if (p.z) dev_wgmma128_fp8(d, ta, tb);
        else dev_wgmma128_int8(whole, ta, tb);
    }
    dev_wgmma_commit();
    dev_wgmma_wait(0);
    dev_wgmma_own(d);
    dev_wgmma_own_int(whole);
    UPZ_UNROLL
    for (int i = 0; i < 64; i++) d[i] = p.z ? d[i] : (float)whole[i];
    probe_sums(d, p.out);
}

UPZ_KERNEL(probe_wgmma_regs, ProbeParams, 128, 1)
{
    uint32_t shared = dev_shared(), t = dev_thread(), lane = t % 32, a[4];
    float d[64];
    probe_fill(&p, shared, shared + PROBE_A + PROBE_B);
    probe_begin(d);
    dev_ldmatrix4(a, shared + (uint32_t)p.n * PROBE_TILE + lane / 16 * 1024 +
                         (t / 32 * 16 + lane % 16) * 16);
    dev_wgmma_own(d);
    dev_wgmma_fence();
    dev_wgmma128_regs(d, a, dev_desc(shared + PROBE_A + (uint32_t)p.x * 16, PROBE_ROW, 128));
    dev_wgmma_commit();
    dev_wgmma_wait(0);
    dev_wgmma_own(d);
    probe_sums(d, p.out);
}

/* Two groups with 240 registers each and a third that gives its own up; sums of both. */
UPZ_KERNEL(probe_regs, ProbeParams, 384, 1)
{
    uint32_t shared = dev_shared();
    int group = (int)dev_shfl(dev_thread() / 128, 0);
    probe_fill(&p, shared, shared + PROBE_A + PROBE_B);
    if (group == 2) {
        dev_regs_less(24);
    } else {
        dev_regs_more(240);
        uint32_t a[PROBE_TILES][4];
        float d[64];
        uint64_t b = dev_desc(shared + PROBE_A + (uint32_t)p.x * 16, PROBE_ROW, 128);
        probe_tiles(a, shared);
        probe_begin(d);
        for (int i = 0; i < p.n; i++) probe_row(d, a, b + (uint64_t)group);
        probe_sums(d, p.out + (uint64_t)group * 64 * 128 * 4);
    }
}

/* n rows of 2304 bytes through 3 slots, many times around; two groups use each row. */
UPZ_KERNEL(probe_ring, ProbeParams, 384, 1)
{
    uint32_t shared = dev_shared(), full = shared + PROBE_SLOTS * PROBE_ROW, empty = full + 64;
    uint32_t t = dev_thread(), group = t / 128, sum = 0;
    if (t == 0) {
        for (uint32_t i = 0; i < PROBE_SLOTS; i++) {
            dev_mbar_init(full + i * 8, 1);
            dev_mbar_init(empty + i * 8, 8);
        }
        dev_mbar_fence();
    }
    dev_sync();
    if (group == 2) {
        if (t / 32 == 8 && dev_elect())
            for (uint32_t q = 0; q < (uint32_t)p.n; q++) {
                uint32_t slot = q % PROBE_SLOTS, round = q / PROBE_SLOTS;
                if (round > 0) dev_mbar_wait(empty + slot * 8, (int)((round - 1) & 1));
                dev_mbar_expect(full + slot * 8, PROBE_ROW);
                dev_bulk_load(shared + slot * PROBE_ROW, p.a + (uint64_t)q * PROBE_ROW, PROBE_ROW,
                              full + slot * 8);
            }
        return;
    }
    for (uint32_t q = 0; q < (uint32_t)p.n; q++) {
        uint32_t slot = q % PROBE_SLOTS;
        dev_mbar_wait(full + slot * 8, (int)(q / PROBE_SLOTS & 1));
        UpzVec4 v = dev_get16(shared + slot * PROBE_ROW + (t % 128 + 16 * group) * 16);
        sum = (sum << 1 | sum >> 31) ^ v.x ^ v.y ^ v.z ^ v.w;
        dev_warp_sync();
        if (t % 32 == 0) dev_mbar_arrive(empty + slot * 8);
    }
    dev_store4(p.out + t * 4, sum);
}

/* Launched again and again beside the one before, to and fro between two places: a word is that of another
 * block plus 1. x: 0 plain loads and stores, 1 by bulk copies. Blocks take different times. */
UPZ_KERNEL(probe_grid, ProbeParams, PROBE_GRID, 1)
{
    uint32_t shared = dev_shared(), bar = shared + PROBE_GRID * 4, t = dev_thread(), v;
    uint32_t from = (dev_block() * 7 + 3) % dev_blocks();
    if (t == 0) {
        dev_mbar_init(bar, 1);
        dev_mbar_fence();
    }
    dev_sync();
    dev_grid_go();
    dev_grid_wait();
    if (p.x) {
        if (t == 0) {
            dev_mbar_expect(bar, PROBE_GRID * 4);
            dev_bulk_load(shared, p.a + (uint64_t)from * PROBE_GRID * 4, PROBE_GRID * 4, bar);
        }
        dev_mbar_wait(bar, 0);
        v = dev_get4(shared + t * 4);
    } else {
        v = dev_load4(p.a + (uint64_t)(from * PROBE_GRID + t) * 4);
    }
    for (int i = 0; i < (int)(dev_block() % 5) * p.z; i++) v = dev_shfl_xor(dev_shfl_xor(v, 1), 1);
    v++;
    if (p.x) {
        dev_put4(shared + t * 4, v);
        dev_async_fence();
        dev_sync();
        if (t == 0) {
            dev_bulk_store(p.out + (uint64_t)dev_block() * PROBE_GRID * 4, shared, PROBE_GRID * 4);
            dev_bulk_commit();
            dev_bulk_wait(0);
        }
    } else {
        dev_store4(p.out + (uint64_t)(dev_block() * PROBE_GRID + t) * 4, v);
    }
}

/* ---- rates ---- */

/* n rows of products by each of two groups, nothing else. x: the first pixel, y: bytes from chunk to
 * chunk as the engine has them (PROBE_ROW) or without a gap (2048), z: 1 pixels of all taps alike. */
UPZ_KERNEL(rate_shared, ProbeParams, 256, 1)
{
    uint32_t shared = dev_shared();
    float d[64];
    probe_fill(&p, shared, shared + PROBE_A + PROBE_B);
    probe_begin(d);
    uint64_t a = dev_desc(shared, 1024, 128), step = p.z ? 0 : 1;
    uint64_t b = dev_desc(shared + PROBE_A + (uint32_t)p.x * 16, (uint32_t)p.y, 128);
    for (int n = 0; n < p.n; n++) {
        dev_wgmma_own(d);
        dev_wgmma_fence();
        UPZ_UNROLL
        for (int i = 0; i < PROBE_TILES; i++)
            dev_wgmma128(d, a + (uint64_t)(i * PROBE_TILE / 16),
                         b + (uint64_t)((i / 12 * 8 + i % 4 * 2) * (PROBE_ROW / 16)) +
                             step * (uint64_t)(i / 4 % 3));
        dev_wgmma_commit();
        dev_wgmma_wait(0);
        dev_wgmma_own(d);
    }
    if (d[0] == 12345.0f) probe_sums(d, p.out);
}

UPZ_KERNEL(rate_regs, ProbeParams, 384, 1)
{
    uint32_t shared = dev_shared();
    int group = (int)dev_shfl(dev_thread() / 128, 0);
    probe_fill(&p, shared, shared + PROBE_A + PROBE_B);
    if (group == 2) {
        dev_regs_less(24);
    } else {
        dev_regs_more(240);
        uint32_t a[PROBE_TILES][4];
        float d[64];
        uint64_t b = dev_desc(shared + PROBE_A + (uint32_t)p.x * 16, (uint32_t)p.y, 128);
        probe_tiles(a, shared);
        probe_begin(d);
        for (int n = 0; n < p.n; n++) probe_row(d, a, b);
        if (d[0] == 12345.0f) probe_sums(d, p.out);
    }
}

/* n slots of 8 x 2304 bytes a block, 6 in flight, from the z bytes at a; y: each goes out again, as 8 x
 * 2048 bytes. What the engine's copying thread can move. */
UPZ_KERNEL(rate_bulk, ProbeParams, 128, 1)
{
    uint32_t shared = dev_shared(), full = shared + 6 * 8 * PROBE_ROW;
    uint64_t row = 8 * PROBE_ROW, rows = (uint64_t)(uint32_t)p.z * 1024 / row;
    if (dev_thread() == 0) {
        for (uint32_t i = 0; i < 6; i++) dev_mbar_init(full + i * 8, 1);
        dev_mbar_fence();
        for (uint32_t q = 0; q < (uint32_t)p.n + 5; q++) {
            uint32_t slot = q % 6, last = (q + 1) % 6;
            if (q >= 5) {
                dev_mbar_wait(full + last * 8, (int)((q - 5) / 6 & 1));
                if (p.y) {
                    uint64_t to = (uint64_t)(q - 5) * dev_blocks() + dev_block();
                    for (uint32_t c = 0; c < 8; c++)
                        dev_bulk_store(p.out + to % rows * row + c * 2048,
                                       shared + (last * 8 + c) * PROBE_ROW, 2048);
                    dev_bulk_commit();
                    dev_bulk_wait_read(0);
                }
            }
            if (q < (uint32_t)p.n) {
                uint64_t from = (uint64_t)q * dev_blocks() + dev_block();
                dev_mbar_expect(full + slot * 8, 8 * PROBE_ROW);
                for (uint32_t c = 0; c < 8; c++)
                    dev_bulk_load(shared + (slot * 8 + c) * PROBE_ROW, p.a + from % rows * row + c * PROBE_ROW,
                                  PROBE_ROW, full + slot * 8);
            }
        }
        dev_bulk_wait(0);
    }
}

#endif
