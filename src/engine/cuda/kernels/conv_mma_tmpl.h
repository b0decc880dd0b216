/* One form of conv_mma, NAME, for OUTPUTS outputs a block, BLOCKS blocks a multiprocessor; included by
 * conv_mma.cu. TO_EIGHT: may write 8-bit maps; FROM_EIGHT: reads one, with sums of the type SUM by PRODUCT. A
 * stage is as many bytes either way: 16 halves or 32 numbers of 8 bits. */
#define MMA_CAT_(a, b) a##_##b
#define MMA_CAT(a, b) MMA_CAT_(a, b)
#define MMA(name) MMA_CAT(NAME, name)
#ifndef TO_EIGHT
#define TO_EIGHT 0
#endif
#ifndef FROM_EIGHT
#define FROM_EIGHT 0
#endif
#ifndef SUM
#define SUM float
#endif
#ifndef PRODUCT
#define PRODUCT dev_mma
#endif

/* Weights of the stage: for each tap two times 8 inputs, each OUTPUTS x 16 bytes. */
UPZ_DEV void MMA(copy_weights)(const UpzCudaConv *p, const Work *w, int k, uint32_t to)
{
    int taps = tap_count(p), depth = p->src.chunks / 2, blocks = (p->out + 63) / 64;
    uint64_t from = p->weights +
                    ((uint64_t)(w->parity * blocks + w->block) * (uint64_t)(taps * depth) +
                     (uint64_t)k) * 2048;
    for (int i = (int)dev_thread(); i < taps * OUTPUTS * 2; i += UPZ_MMA_THREADS) {
        int tap = i / (OUTPUTS * 2), half = i / OUTPUTS % 2, m = i % OUTPUTS;
        dev_copy16(to + (uint32_t)i * 16,
                   from + (uint64_t)(tap * depth) * 2048 + (uint64_t)(half * 1024 + m * 16));
    }
}

UPZ_DEV void MMA(stage)(const UpzCudaConv *p, int item, int k, uint32_t to)
{
    Work w = work_at(p, item);
    copy_pixels(p, &w, k, to);
    MMA(copy_weights)(p, &w, k, to + UPZ_MMA_PIXEL_BYTES);
}

/* One tap's fragments: 64 pixels, OUTPUTS outputs. */
UPZ_DEV void MMA(fetch)(uint32_t a[4][4], uint32_t b[OUTPUTS / 16][4], uint32_t pixels,
                         uint32_t weights)
{
    UPZ_UNROLL
    for (int i = 0; i < 4; i++) dev_ldmatrix4(a[i], pixels + (uint32_t)i * 256);
    UPZ_UNROLL
    for (int j = 0; j < OUTPUTS / 16; j++) dev_ldmatrix4(b[j], weights + (uint32_t)j * 256);
}

/* All taps of a stage, `across` x `across`; the next tap's fragments are read while this one's are
 * multiplied. */
#define MMA_TAPS(name, ACROSS) \
    UPZ_DEV void name(SUM sum[4][OUTPUTS / 8][4], uint32_t pixels, uint32_t weights) \
    { \
        uint32_t a[2][4][4], b[2][OUTPUTS / 16][4]; \
        MMA(fetch)(a[0], b[0], pixels, weights); \
        UPZ_UNROLL \
        for (int t = 0; t < (ACROSS) * (ACROSS); t++) { \
            int now = t % 2, then = t + 1; \
            if (then < (ACROSS) * (ACROSS)) \
                MMA(fetch)(a[1 - now], b[1 - now], \
                            pixels + (uint32_t)(then / (ACROSS) * UPZ_MMA_ROW_BYTES + \
                                                then % (ACROSS) * 16), \
                            weights + (uint32_t)(then * OUTPUTS * 32)); \
            UPZ_UNROLL \
            for (int j = 0; j < OUTPUTS / 8; j++) { \
                UPZ_UNROLL \
                for (int i = 0; i < 4; i++) \
                    PRODUCT(sum[i][j], a[now][i], b[now][j / 2] + j % 2 * 2); \
            } \
        } \
    }
#ifndef UPZ_NO_MMA
MMA_TAPS(MMA(taps3), 3)
MMA_TAPS(MMA(taps2), 2)
MMA_TAPS(MMA(taps1), 1)
#endif
#undef MMA_TAPS

/* The same with the number of taps known when it runs, and less code. */
#ifdef UPZ_NO_MMA
UPZ_DEV void MMA(taps)(SUM sum[4][OUTPUTS / 8][4], uint32_t pixels, uint32_t weights, int across)
{
    uint32_t a[4][4], b[OUTPUTS / 16][4];
#ifdef __CUDACC__
#pragma unroll 1 /* an mma is long here: not nine times the code */
#endif
    for (int t = 0; t < across * across; t++) {
        MMA(fetch)(a, b, pixels + (uint32_t)(t / across * UPZ_MMA_ROW_BYTES + t % across * 16),
                    weights + (uint32_t)(t * OUTPUTS * 32));
        UPZ_UNROLL
        for (int j = 0; j < OUTPUTS / 8; j++) {
            UPZ_UNROLL
            for (int i = 0; i < 4; i++) PRODUCT(sum[i][j], a[i], b[j / 2] + j % 2 * 2);
        }
    }
}
#endif

/* From sums to the result. Lane 4 * g + t holds channels 2 * t and 2 * t + 1 of 8, of pixels g and
 * g + 8 of 16. */
UPZ_DEV void MMA(finish)(const UpzCudaConv *p, int item, SUM sum[4][OUTPUTS / 8][4])
{
    Work w = work_at(p, item);
    int warp = (int)dev_thread() / 32, lane = (int)dev_thread() % 32, g = lane / 4, t = lane % 4;
    int y = w.y + warp / 2, x = w.x + warp % 2 * 64 + g, width = p->src.width;
    if (y >= p->src.height) return; /* all of the warp */
    uint64_t pixel = (uint64_t)p->up * 16;
    uint64_t place = (uint64_t)x * pixel + (uint64_t)(w.dx * 16 + t * 4);
    uint64_t line = (uint64_t)(y * p->up + w.dy);
    UPZ_UNROLL
    for (int j = 0; j < OUTPUTS / 8; j++) {
        int c = w.block * 64 + j * 8 + t * 2;
        uint64_t chunk = (uint64_t)(w.block * 8 + j);
        bool maps = p->dst.data || (TO_EIGHT && p->dst8.data);
        bool half = p->dst.data && w.block * 8 + j < p->dst.chunks;
        bool eight = TO_EIGHT && p->dst8.data && w.block * 4 + j / 2 < p->dst8.chunks;
        if (maps ? !half && !eight : w.block * 64 + j * 8 >= p->out) continue;
        float bias0 = dev_load_float(p->bias + (uint64_t)c * 4);
        float bias1 = dev_load_float(p->bias + (uint64_t)c * 4 + 4);
        float v[8][2];
#if FROM_EIGHT
        float scale0 = dev_load_float(p->scale + (uint64_t)c * 4);
        float scale1 = dev_load_float(p->scale + (uint64_t)c * 4 + 4);
#endif
        UPZ_UNROLL
        for (int i = 0; i < 8; i++) {
#if FROM_EIGHT
            v[i][0] = (float)sum[i / 2][j][i % 2 * 2] * scale0 + bias0;
            v[i][1] = (float)sum[i / 2][j][i % 2 * 2 + 1] * scale1 + bias1;
#else
            v[i][0] = sum[i / 2][j][i % 2 * 2] + bias0;
            v[i][1] = sum[i / 2][j][i % 2 * 2 + 1] + bias1;
#endif
        }
        if (p->slope) {
            float slope0 = dev_load_float(p->slope + (uint64_t)c * 4);
            float slope1 = dev_load_float(p->slope + (uint64_t)c * 4 + 4);
            UPZ_UNROLL
            for (int i = 0; i < 8; i++) {
                v[i][0] = leaky(v[i][0], slope0);
                v[i][1] = leaky(v[i][1], slope1);
            }
        }
        UPZ_UNROLL
        for (int i = 0; i < 8; i++) {
            v[i][0] = p->alpha * v[i][0];
            v[i][1] = p->alpha * v[i][1];
        }
        UPZ_UNROLL
        for (int k = 0; k < 2; k++) {
            if (!p->add[k].data || (TO_EIGHT && (int)chunk >= p->add[k].chunks)) continue;
            uint64_t from = p->add[k].data + chunk * p->add[k].chunk + line * p->add[k].row + place;
            uint32_t add[8];
            UPZ_UNROLL
            for (int i = 0; i < 8; i++) {
                add[i] = 0;
                if (x + i * 8 < width) add[i] = dev_load4(from + (uint64_t)(i * 8) * pixel);
            }
            UPZ_UNROLL
            for (int i = 0; i < 8; i++) {
                v[i][0] = dev_fma(p->beta[k], dev_low(add[i]), v[i][0]);
                v[i][1] = dev_fma(p->beta[k], dev_high(add[i]), v[i][1]);
            }
        }
#if TO_EIGHT
        if (eight) {
            float inverse0 = dev_load_float(p->inverse + (uint64_t)c * 4);
            float inverse1 = dev_load_float(p->inverse + (uint64_t)c * 4 + 4);
            uint64_t to = p->dst8.data + (uint64_t)(c / 16) * p->dst8.chunk + line * p->dst8.row +
                          (uint64_t)x * pixel + (uint64_t)(w.dx * 16 + c % 16);
            UPZ_UNROLL
            for (int i = 0; i < 8; i++)
                if (x + i * 8 < width)
                    dev_store2(to + (uint64_t)(i * 8) * pixel,
                               (uint16_t)eight2(p->eight, v[i][0] * inverse0, v[i][1] * inverse1));
        }
        if (eight && !half) continue;
#endif
        if (half) {
            uint64_t to = p->dst.data + chunk * p->dst.chunk + line * p->dst.row + place;
            UPZ_UNROLL
            for (int i = 0; i < 8; i++)
                if (x + i * 8 < width)
                    dev_store4(to + (uint64_t)(i * 8) * pixel, dev_half2(v[i][0], v[i][1]));
            continue;
        }
        int f = p->factor;
        if (f != 2 && f != 4) {
            UPZ_UNROLL
            for (int i = 0; i < 8; i++) shuffle_any(p, c, x + i * 8, y, v[i][0], v[i][1]);
            continue;
        }
        /* Of two lanes that hold halves of 8 bytes, for 4x the same pixel's, for 2x those of a pair
         * of pixels, one gets the 8 bytes at pixel g, the other those at g + 8. */
        int step = f == 4 ? 1 : 4, odd = f == 4 ? t % 2 : g % 2;
        int plane = f == 4 ? c / 16 : c / 4, dy = f == 4 ? c % 16 / 4 : c % 4 / 2;
        bool there = c < p->out;
        uint64_t to = p->image.data + (uint64_t)plane * p->image.plane +
                      (uint64_t)(y * f + dy) * p->image.row;
        UPZ_UNROLL
        for (int i = 0; i < 8; i += 2) {
            uint32_t word[2];
            UPZ_UNROLL
            for (int k = 0; k < 2; k++) {
                int at = x + (i + k) * 8;
                float base = 0;
                if (p->base.data && there && at < width) base = base_at(p, plane, at, y);
                word[k] = dev_half2(v[i + k][0] + base, v[i + k][1] + base);
            }
            uint32_t other = dev_shfl_xor(odd ? word[0] : word[1], step);
            uint32_t low = odd ? other : word[0], high = odd ? word[1] : other;
            int at = x + i * 8 + odd * 8;
            if (f == 2) at -= odd;
            uint64_t where = to + (uint64_t)at * (uint64_t)f * 2;
            if (!there || at >= width) continue;
            if (f == 4 || at + 1 < width)
                dev_store8(where, low, high);
            else
                dev_store4(where, low);
        }
    }
}

UPZ_KERNEL(NAME, UpzCudaConv, UPZ_MMA_THREADS, BLOCKS)
{
    int lane = (int)dev_thread() % 32, warp = (int)dev_thread() / 32;
    int items = work_count(&p), depth = p.src.chunks / 2, across = p.up == 2 ? 2 : p.kernel;
    uint32_t shared = dev_shared();
    /* ldmatrix: lanes 8 … 15 and 24 … 31 the second 8 pixels or inputs, 16 … 31 the second half of
     * inputs or outputs */
    uint32_t pixels = (uint32_t)((warp / 2 + (across == 1)) * UPZ_MMA_ROW_BYTES +
                                 (warp % 2 * 64 + lane % 16 + (across == 1)) * 16 +
                                 lane / 16 * (UPZ_MMA_ROWS + 2) * UPZ_MMA_ROW_BYTES);
    uint32_t weights = (uint32_t)(UPZ_MMA_PIXEL_BYTES + lane / 8 % 2 * OUTPUTS * 16 +
                                  (lane / 16 * 8 + lane % 8) * 16);
    uint32_t now = shared;
#ifndef UPZ_NO_ASYNC
    uint32_t then = shared + (uint32_t)UPZ_MMA_STAGE_BYTES(OUTPUTS, across * across);
#endif
    int item = (int)dev_block();
#ifdef UPZ_WGMMA
    dev_grid_wait();
#endif
    if (item >= items) return;
    MMA(stage)(&p, item, 0, now);
    dev_copy_commit();
    for (; item < items; item += (int)dev_blocks()) {
        SUM sum[4][OUTPUTS / 8][4];
        UPZ_UNROLL
        for (int i = 0; i < 4; i++) {
            UPZ_UNROLL
            for (int j = 0; j < OUTPUTS / 8; j++) {
                UPZ_UNROLL
                for (int k = 0; k < 4; k++) sum[i][j][k] = 0;
            }
        }
        int parity = p.up == 2 ? item / ((p.out + 63) / 64) % 4 : 0;
        uint32_t shift = (uint32_t)(parity / 2 * UPZ_MMA_ROW_BYTES + parity % 2 * 16);
        for (int k = 0; k < depth; k++) {
            bool last = k + 1 == depth;
            int next_item = last ? item + (int)dev_blocks() : item, next = last ? 0 : k + 1;
            dev_copy_wait(0);
            dev_sync(); /* this stage is here, and nobody reads the one before any more */
#ifndef UPZ_NO_ASYNC
            if (next_item < items) MMA(stage)(&p, next_item, next, then);
            dev_copy_commit();
#endif
#ifdef UPZ_NO_MMA
            MMA(taps)(sum, now + pixels + shift, now + weights, across);
#else
            if (across == 3)
                MMA(taps3)(sum, now + pixels, now + weights);
            else if (across == 2)
                MMA(taps2)(sum, now + pixels + shift, now + weights);
            else
                MMA(taps1)(sum, now + pixels, now + weights);
#endif
#ifdef UPZ_NO_ASYNC
            dev_sync();
            if (next_item < items) MMA(stage)(&p, next_item, next, now);
#else
            uint32_t swap = now;
            now = then;
            then = swap;
#endif
        }
        MMA(finish)(&p, item, sum);
    }
}

#undef NAME
#undef OUTPUTS
#undef BLOCKS
#undef TO_EIGHT
#undef FROM_EIGHT
#undef SUM
#undef PRODUCT
#undef MMA
#undef MMA_CAT
#undef MMA_CAT_
