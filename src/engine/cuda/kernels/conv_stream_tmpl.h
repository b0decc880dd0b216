/* One form of conv_stream: the includer defines FORM (UPZ_STREAM_…) and NAME, the kernel's. KIND: UPZ_EIGHT_…
 * of its source, with sums of the type SUM by PRODUCT; a stage is as many bytes then, of twice the channels. */
#ifndef KIND
#define KIND UPZ_EIGHT_NONE
#define SUM float
#define PRODUCT dev_wgmma128
#define OWN dev_wgmma_own
#endif

#define STREAM_JOIN_(a, b) a##b
#define STREAM_JOIN(a, b) STREAM_JOIN_(a, b)
#define FN(name) STREAM_JOIN(NAME, _##name)

/* In shared memory, from dev_shared() on. */
#define STREAM_OUT (SHAPE.stages * upz_stream_stage(SHAPE))
#define STREAM_BARS (STREAM_OUT + 2 * upz_stream_out(SHAPE))
#define STREAM_FULL(i) (shared + (uint32_t)STREAM_BARS + (i) * 8)
#define STREAM_EMPTY(i) (shared + (uint32_t)STREAM_BARS + 64 + (i) * 8)
#define STREAM_BEGUN (shared + (uint32_t)STREAM_BARS + 128)
#define SHAPE upz_stream_shape(FORM)

/* Work in order: lower or upper output rows (2x), blocks of 64 outputs, tiles along x, along y. */
UPZ_DEV StreamTile FN(tile)(const UpzCudaConv *p, uint32_t i)
{
    StreamTile t;
    uint32_t blocks = (uint32_t)(p->out + 63) / 64, columns = (uint32_t)p->tiles_x;
    t.dy = 0;
    if (FORM == UPZ_STREAM_UP) {
        t.dy = (int)(i % 2);
        i /= 2;
    }
    t.block = (int)(i % blocks);
    i /= blocks;
    t.x0 = (int)(i % columns) * UPZ_TILE_W;
    t.y0 = (int)(i / columns) * SHAPE.h;
    return t;
}

UPZ_DEV uint32_t FN(tiles)(const UpzCudaConv *p)
{
    return (uint32_t)p->tiles_x * (uint32_t)p->tiles_y * ((uint32_t)(p->out + 63) / 64) *
           (FORM == UPZ_STREAM_UP ? 2u : 1u);
}

/* The copying thread: stage after stage, tile after tile. */
UPZ_DEV void FN(copy)(const UpzCudaConv *p, uint32_t shared)
{
    const uint32_t stage_bytes = (uint32_t)upz_stream_stage(SHAPE), n_stages = (uint32_t)SHAPE.stages;
    const uint32_t rows = (uint32_t)SHAPE.rows, tiles = (uint32_t)SHAPE.tiles;
    uint32_t n_k = (uint32_t)p->src.chunks / 2, slot = 0, round = 0, total = FN(tiles)(p);
    dev_grid_wait();
    for (uint32_t i = dev_block(); i < total; i += dev_blocks()) {
        StreamTile t = FN(tile)(p, i);
        int above = FORM == UPZ_STREAM_1X1 ? 0 : 1 - t.dy;
        uint64_t from = p->src.data + (uint64_t)t.x0 * 16 - 128 + (uint64_t)t.y0 * p->src.row -
                        (uint64_t)above * p->src.row;
        /* In pairs an output row meets all four rows of the source, one of them with weights of zero:
         * what means nothing may be NaN, so the zero row stands for it. */
        uint32_t last = FORM == UPZ_STREAM_PAIR ? (uint32_t)(p->src.height - t.y0 + 1) : rows;
        uint64_t blocks = (uint64_t)(p->out + 63) / 64;
        for (uint32_t k = 0; k < n_k; k++) {
            uint32_t to = shared + slot * stage_bytes, full = STREAM_FULL(slot);
            if (round > 0)
                dev_mbar_wait(STREAM_EMPTY(slot), (int)((round - 1) & 1));
            dev_mbar_expect(full, stage_bytes);
            for (uint32_t c = 0; c < 2; c++)
                UPZ_UNROLL
                for (uint32_t r = 0; r < rows; r++)
                    dev_bulk_load(to + (c * rows + r) * UPZ_HOPPER_ROW,
                                  from + (uint64_t)c * p->src.chunk +
                                      (uint64_t)(r < last ? r : last) * p->src.row,
                                  UPZ_HOPPER_ROW, full);
            to += 2 * rows * UPZ_HOPPER_ROW;
            if (FORM == UPZ_STREAM_PAIR) {
                dev_bulk_load(to, p->weights + (uint64_t)k * tiles * UPZ_HOPPER_TILE,
                              tiles * UPZ_HOPPER_TILE, full);
            } else {
                uint64_t parity = FORM == UPZ_STREAM_UP ? (uint64_t)t.dy * 2 : 0;
                uint32_t taps = FORM == UPZ_STREAM_UP ? tiles / 2 : tiles;
                for (uint32_t j = 0; j < tiles; j++) {
                    uint64_t at = (parity + j / taps) * blocks + (uint64_t)t.block;
                    at = ((at * taps + j % taps) * n_k + k) * UPZ_HOPPER_TILE;
                    dev_bulk_load(to + j * UPZ_HOPPER_TILE, p->weights + at, UPZ_HOPPER_TILE, full);
                }
            }
            from += (uint64_t)p->src.chunk * 2;
            if (++slot == n_stages) {
                slot = 0;
                round++;
            }
        }
    }
}

/* The products of a stage for one set of a group's sums. */
UPZ_DEV void FN(stage)(SUM d[64], uint32_t stage, int group, int set)
{
    const uint32_t rows = (uint32_t)SHAPE.rows;
    const int n = FORM == UPZ_STREAM_UP ? 4 : SHAPE.tiles;
    const int columns = FORM == UPZ_STREAM_UP ? 2 : FORM == UPZ_STREAM_1X1 ? 1 : 3;
    const int first = FORM == UPZ_STREAM_UP ? 7 + set : FORM == UPZ_STREAM_1X1 ? 8 : 7;
    const int row = FORM == UPZ_STREAM_UP ? group
                    : FORM == UPZ_STREAM_PAIR ? 4 * group + 2 * set : 2 * group + set;
    uint64_t a = dev_desc(stage + 2 * rows * UPZ_HOPPER_ROW, UPZ_HOPPER_TILE / 2, 128);
    uint64_t b = dev_desc(stage + (uint32_t)row * UPZ_HOPPER_ROW + (uint32_t)first * 16,
                          rows * UPZ_HOPPER_ROW, 128);
    UPZ_UNROLL
    for (int i = 0; i < n; i++)
        PRODUCT(d, a + (uint64_t)((FORM == UPZ_STREAM_UP ? set * 4 + i : i) * UPZ_HOPPER_TILE / 16),
                b + (uint64_t)(i / columns * (UPZ_HOPPER_ROW / 16) + i % columns));
}

UPZ_DEV void FN(compute)(const UpzCudaConv *p, uint32_t shared, int group)
{
    const uint32_t stage_bytes = (uint32_t)upz_stream_stage(SHAPE), n_stages = (uint32_t)SHAPE.stages;
    int tid = (int)(dev_thread() % 128), lane = tid % 32, warp = (int)dev_shfl((uint32_t)tid / 32, 0);
    uint32_t n_k = (uint32_t)p->src.chunks / 2, slot = 0, round = 0, total = FN(tiles)(p);
    uint32_t out = shared + (uint32_t)STREAM_OUT + (uint32_t)(group * upz_stream_out(SHAPE));
    uint32_t mine = out + (uint32_t)(warp * SHAPE.span * 32);
    int m = (FORM == UPZ_STREAM_PAIR ? warp % 2 : warp) * 16 + lane / 4, block = -1;
    Channels c = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
    SUM d[2][64];
    dev_grid_wait();
    for (uint32_t i = dev_block(); i < total; i += dev_blocks()) {
        StreamTile t = FN(tile)(p, i);
        uint32_t before = 0;
        if (t.block != block)
            c = out_channels(p, t.block * 64 + m, KIND);
        block = t.block;
        UPZ_UNROLL
        for (int j = 0; j < 128; j++) /* the bias; in 8 bits it comes later */
            d[j / 64][j % 64] = KIND ? (SUM)0 : (SUM)c.bias[j / 2 % 2];
        if (group == 1 && i == dev_block())
            dev_mbar_wait(STREAM_BEGUN, 0);
        for (uint32_t k = 0; k < n_k; k++) {
            uint32_t stage = shared + slot * stage_bytes;
            dev_mbar_wait(STREAM_FULL(slot), (int)(round & 1));
            OWN(d[0]);
            OWN(d[1]);
            dev_wgmma_fence();
            FN(stage)(d[0], stage, group, 0);
            FN(stage)(d[1], stage, group, 1);
            dev_wgmma_commit();
            if (k > 0) { /* the stage before is done while this one runs */
                dev_wgmma_wait(1);
                if (lane == 0)
                    dev_mbar_arrive(STREAM_EMPTY(before));
            } else if (group == 0 && i == dev_block() && lane == 0) {
                dev_mbar_arrive(STREAM_BEGUN);
            }
            before = slot;
            if (++slot == n_stages) {
                slot = 0;
                round++;
            }
        }
        int row[2], first = FORM == UPZ_STREAM_PAIR ? warp % 2 * 2 : t.block * 8 + warp * 2;
        UPZ_UNROLL
        for (int set = 0; set < 2; set++)
            row[set] = t.y0 + (FORM == UPZ_STREAM_PAIR ? 4 * group + 2 * set + warp / 2
                                                       : 2 * group + set);
        UpzVec4 added[UPZ_TILE_W / 16];
        if (FORM != UPZ_STREAM_UP)
            out_ahead(added, p, first, row[0], t.x0, SHAPE.span, lane);
        dev_wgmma_wait(0);
        if (lane == 0)
            dev_mbar_arrive(STREAM_EMPTY(before));
        OWN(d[0]);
        OWN(d[1]);
        float v[2][64];
        UPZ_UNROLL
        for (int j = 0; j < 128; j++)
            v[j / 64][j % 64] = KIND ? (float)d[j / 64][j % 64] * c.scale[j / 2 % 2] + c.bias[j / 2 % 2]
                                     : (float)d[j / 64][j % 64];
        if (p->slope || p->alpha != 1.0f) { /* the branch also keeps the arrival in front of it */
            out_act(v[0], &c, p->alpha);
            out_act(v[1], &c, p->alpha);
        }
        if (FORM == UPZ_STREAM_UP) {
            if (t.y0 + group < p->src.height)
                out_map_up(v[0], v[1], p, &c, KIND, first, 2 * (t.y0 + group) + t.dy, 2 * t.x0, mine, lane);
        } else if (FORM == UPZ_STREAM_PAIR || KIND || p->dst.data) {
            out_rows(v, added, p, &c, KIND, first, row, t.x0, mine, SHAPE.span, lane);
        } else {
            UPZ_UNROLL
            for (int set = 0; set < 2; set++)
                if (row[set] < p->src.height)
                    out_image(v[set], p, t.block * 64, row[set], t.x0, out, 1 + group, tid);
        }
    }
}

UPZ_KERNEL(NAME, UpzCudaConv, UPZ_HOPPER_THREADS, 1)
{
    uint32_t shared = dev_shared();
    int group = (int)dev_shfl(dev_thread() / 128, 0);
    if (dev_thread() == 0) {
        for (uint32_t i = 0; i < (uint32_t)SHAPE.stages; i++) {
            dev_mbar_init(STREAM_FULL(i), 1);
            dev_mbar_init(STREAM_EMPTY(i), 8);
        }
        dev_mbar_init(STREAM_BEGUN, 4);
        dev_mbar_fence();
    }
    dev_sync();
    dev_grid_go();
    if (group == 2) {
        dev_regs_less(40);
        if (dev_thread() / 32 == 8 && dev_elect())
            FN(copy)(&p, shared);
    } else {
        dev_regs_more(232);
        FN(compute)(&p, shared, group);
    }
}

#undef SHAPE
#undef STREAM_OUT
#undef STREAM_BARS
#undef STREAM_FULL
#undef STREAM_EMPTY
#undef STREAM_BEGUN
#undef FN
#undef STREAM_JOIN
#undef STREAM_JOIN_
#undef NAME
#undef FORM
#undef KIND
#undef SUM
#undef PRODUCT
#undef OWN
