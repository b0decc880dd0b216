/* 3x3 convolution of 64 input channels to up to 64 outputs on Hopper: weights stay in shared memory, a
 * strip of UPZ_TILE_W columns passes by row after row in a ring of slots.
 *
 * A block takes a run of rows of the picture's strips, counted down the first strip, then the next, the
 * same number as every other block within one. A group of four warps (one thread of it) copies; two
 * groups take output rows in turn: 36 wgmma m64n128k16 a row, order of additions bias, tap rows, tap
 * columns, blocks of 16 channels. B of tap (dy, dx) is slot y - 1 + dy at an address shifted by dx
 * pixels. The turn is handed on shortly before a group's last products are issued, so the tensor
 * cores never wait for a group's way out.
 *
 * Reckoned: a row is 36 x 64 = 2304 cycles of the tensor cores; its way out about 450 instructions
 * of each of 4 warps, within the other group's row. Shared memory a row: 147 KB read by wgmma (221 KB
 * where weights come from there too), 18 KB copied in, 16 KB staged, 16 KB copied out, of 295 KB that
 * 128 bytes a cycle allow. Shared memory in all: 73.7 KB weights, 6 slots of 18.4 KB (4 in use, 2
 * ahead), 2 x 18.4 KB staging = 221.4 KB. Registers: 144 of weights, 64 sums and about 30 more of 240.
 * 1280x720, 132 multiprocessors: 54.5 rows a block, 55 x 2304 = 127 000 cycles, 72 us at 1.755 GHz,
 * about 86 at the clocks matrix products run at, and 3 to 4 us until the first row is there. */
#include "hopper_out.h"

#ifdef UPZ_WGMMA

/* 1: weights are A from registers, filled once from shared memory. 0: from shared memory each time, with
 * fewer registers; to measure: NVCC_APPEND_FLAGS=-DRING_REGS=0. */
#ifndef RING_REGS
#define RING_REGS 1
#endif

/* In shared memory, from dev_shared() on. */
#define RING_AT (UPZ_RING_WEIGHTS)
#define RING_OUT (RING_AT + UPZ_RING_SLOTS * UPZ_RING_SLOT)
#define RING_BARS (RING_OUT + 2 * UPZ_HOPPER_OUT)
#define RING_FULL (RING_BARS)           /* a slot's row is there */
#define RING_EMPTY (RING_BARS + 64)     /* a slot's row was used by all that need it */
#define RING_TURN (RING_BARS + 128)     /* one a group: the other has issued its row */
#define RING_WEIGHTS_IN (RING_BARS + 144)

/* Of a row's 36 products: when RING_DONE are done and RING_HAND_ON are issued, the other group may begin,
 * while enough are left to cover its waking up, however many the hardware takes in at once. */
#ifndef RING_DONE
#define RING_DONE 24
#define RING_HAND_ON 30
#endif

/* Rows of strips, counted through, that block b of n takes: from the result up to that of b + 1. */
UPZ_DEV int ring_begin(const UpzCudaConv *p, unsigned b, unsigned n)
{
    return (int)((uint64_t)((uint32_t)p->tiles_x * (uint32_t)p->src.height) * b / n);
}

UPZ_DEV void ring_copy(const UpzCudaConv *p, uint32_t shared)
{
    int at = ring_begin(p, dev_block(), dev_blocks());
    int end = ring_begin(p, dev_block() + 1, dev_blocks());
    int height = p->src.height;
    uint32_t q = 0; /* rows copied */
    if (at < end) {
        dev_mbar_expect(shared + RING_WEIGHTS_IN, UPZ_RING_WEIGHTS);
        for (uint32_t i = 0; i < 9; i++)
            dev_bulk_load(shared + i * 4 * UPZ_HOPPER_TILE, p->weights + i * 4 * UPZ_HOPPER_TILE,
                          4 * UPZ_HOPPER_TILE, shared + RING_WEIGHTS_IN);
    }
    dev_grid_wait();
    while (at < end) {
        int strip = at / height, y0 = at % height;
        int y1 = end - at < height - y0 ? y0 + end - at : height;
        uint64_t from = p->src.data + (uint64_t)strip * (UPZ_TILE_W * 16) - 128 +
                        (uint64_t)y0 * p->src.row - p->src.row;
        for (int y = y0 - 1; y <= y1; y++, q++) {
            uint32_t slot = q % UPZ_RING_SLOTS, round = q / UPZ_RING_SLOTS;
            uint32_t full = shared + RING_FULL + slot * 8;
            if (round > 0)
                dev_mbar_wait(shared + RING_EMPTY + slot * 8, (int)((round - 1) & 1));
            dev_mbar_expect(full, UPZ_RING_SLOT);
            UPZ_UNROLL
            for (uint32_t c = 0; c < 8; c++)
                dev_bulk_load(shared + RING_AT + slot * UPZ_RING_SLOT + c * UPZ_HOPPER_ROW,
                              from + (uint64_t)c * p->src.chunk, UPZ_HOPPER_ROW, full);
            from += p->src.row;
        }
        at += y1 - y0;
    }
}

/* `n` of the two arrivals (one a group) that free a row's slot. */
UPZ_DEV void ring_release(uint32_t shared, uint32_t q, int n)
{
    for (int i = 0; i < n; i++)
        dev_mbar_arrive(shared + RING_EMPTY + q % UPZ_RING_SLOTS * 8);
}

UPZ_DEV uint64_t ring_slot(uint32_t shared, uint32_t q)
{
    return dev_desc(shared + RING_AT + q % UPZ_RING_SLOTS * UPZ_RING_SLOT + 7 * 16, UPZ_HOPPER_ROW,
                    128);
}

#if RING_REGS
#define RING_PRODUCT(d, i, b) dev_wgmma128_regs(d, a[i], b)
#define RING_A const uint32_t a[36][4]
#else
#define RING_PRODUCT(d, i, b) dev_wgmma128(d, a + (uint64_t)((i) * UPZ_HOPPER_TILE / 16), b)
#define RING_A uint64_t a
#endif

UPZ_DEV void ring_row(float d[64], RING_A, const uint64_t row[3], uint32_t turn, int lane)
{
    dev_wgmma_own(d);
    dev_wgmma_fence();
    UPZ_UNROLL
    for (int i = 0; i < 36; i++) {
        int dy = i / 12, dx = i / 4 % 3, k = i % 4;
        if (i == RING_DONE)
            dev_wgmma_commit();
        if (i == RING_HAND_ON) {
            dev_wgmma_commit();
            dev_wgmma_wait(1);
            if (lane == 0)
                dev_mbar_arrive(turn);
        }
        RING_PRODUCT(d, i, row[dy] + (uint64_t)(dx + k * 2 * (UPZ_HOPPER_ROW / 16)));
    }
    dev_wgmma_commit();
    dev_wgmma_wait(0);
    dev_wgmma_own(d);
}

UPZ_DEV void ring_compute(const UpzCudaConv *p, uint32_t shared, int group)
{
    int tid = (int)(dev_thread() % 128), lane = tid % 32, warp = (int)dev_shfl((uint32_t)tid / 32, 0);
    int at = ring_begin(p, dev_block(), dev_blocks());
    int end = ring_begin(p, dev_block() + 1, dev_blocks());
    int height = p->src.height;
    uint32_t out = shared + RING_OUT + (uint32_t)group * UPZ_HOPPER_OUT;
    uint32_t stage = out + (uint32_t)warp * UPZ_TILE_W * 32;
    uint32_t mine = shared + RING_TURN + (uint32_t)group * 8;
    uint32_t other = shared + RING_TURN + (uint32_t)(1 - group) * 8;
    uint32_t q = 0, seen = 0, n = 0; /* slot row of y - 1; rows waited for; output rows */
    Channels c = out_channels(p, warp * 16 + lane / 4, UPZ_EIGHT_NONE);
    float d[64];
    if (group == 1 && lane == 0)
        dev_mbar_arrive(other);
    if (at < end)
        dev_mbar_wait(shared + RING_WEIGHTS_IN, 0);
#if RING_REGS
    uint32_t a[36][4];
    UPZ_UNROLL
    for (int i = 0; i < 36; i++)
        dev_ldmatrix4(a[i], shared + (uint32_t)(i * UPZ_HOPPER_TILE + lane / 16 * 1024 +
                                                (warp * 16 + lane % 16) * 16));
#else
    uint64_t a = dev_desc(shared, 1024, 128);
#endif
    dev_grid_wait(); /* the layer before may still read what rows are written over */
    while (at < end) {
        int strip = at / height, y0 = at % height;
        int y1 = end - at < height - y0 ? y0 + end - at : height;
        for (int y = y0; y < y1; y++, q++, n++) {
            if ((n & 1) != (uint32_t)group)
                continue;
            for (seen = seen > q ? seen : q; seen < q + 3; seen++)
                dev_mbar_wait(shared + RING_FULL + seen % UPZ_RING_SLOTS * 8,
                              (int)(seen / UPZ_RING_SLOTS & 1));
            uint64_t row[3] = {ring_slot(shared, q), ring_slot(shared, q + 1),
                               ring_slot(shared, q + 2)};
            out_begin(d, &c);
            dev_mbar_wait(mine, (int)(n >> 1 & 1));
            ring_row(d, a, row, other, lane);
            if (lane == 0) { /* rows that no other output row needs are freed twice */
                ring_release(shared, q, y == y0 ? 2 : 1);
                ring_release(shared, q + 1, y == y0 && y + 1 == y1 ? 2 : 1);
                ring_release(shared, q + 2, y + 1 == y1 ? 2 : y + 2 == y1);
            }
            if (p->slope || p->alpha != 1.0f)
                out_act(d, &c, p->alpha);
            if (p->dst.data)
                out_map(d, p, warp * 2, y, strip * UPZ_TILE_W, stage, lane);
            else
                out_image(d, p, 0, y, strip * UPZ_TILE_W, out, 1 + group, tid);
        }
        at += y1 - y0;
        q += 2;
    }
    if (lane == 0)
        dev_bulk_wait(0);
}

UPZ_KERNEL(conv_ring, UpzCudaConv, UPZ_HOPPER_THREADS, 1)
{
    uint32_t shared = dev_shared();
    int group = (int)dev_shfl(dev_thread() / 128, 0);
    if (dev_thread() == 0) {
        for (uint32_t i = 0; i < UPZ_RING_SLOTS; i++) {
            dev_mbar_init(shared + RING_FULL + i * 8, 1);
            dev_mbar_init(shared + RING_EMPTY + i * 8, 8);
        }
        dev_mbar_init(shared + RING_TURN, 4);
        dev_mbar_init(shared + RING_TURN + 8, 4);
        dev_mbar_init(shared + RING_WEIGHTS_IN, 1);
        dev_mbar_fence();
    }
    dev_sync();
    dev_grid_go();
    if (group == 2) {
        dev_regs_less(RING_REGS ? 24 : 40);
        if (dev_thread() / 32 == 8 && dev_elect())
            ring_copy(&p, shared);
    } else {
        dev_regs_more(RING_REGS ? 240 : 232);
        ring_compute(&p, shared, group);
    }
}

#endif
