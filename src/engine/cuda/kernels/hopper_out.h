/* What follows the sums of conv_ring and conv_stream: activation, added maps, base, and the way out,
 * as bulk copies of a map's rows or through the pixel shuffle.
 *
 * A thread's 64 sums are those of m64n128: of rows m = 16 * warp + lane / 4 and m + 8, columns 8 j + 2 *
 * (lane % 4) and the next: d[4 j], d[4 j + 1] of row m, d[4 j + 2], d[4 j + 3] of row m + 8. Rows are
 * channels, columns are pixels, so a transposed 8x8 matrix of it is a chunk of 8 pixels. A warp has
 * two chunks of its own; maps need no barrier but the warp's.
 * `span`, a constant: pixels a warp stages at once, 2 chunks of them. */
#ifndef UPZ_HOPPER_OUT_H
#define UPZ_HOPPER_OUT_H

#include "dev.h"
#include "grid.h"

/* Per-channel values of a thread's two rows; scale and inverse in 8 bits (kind). */
typedef struct Channels {
    float bias[2], slope[2], scale[2], inverse[2];
} Channels;

UPZ_DEV Channels out_channels(const UpzCudaConv *p, int channel, int kind)
{
    Channels c;
    UPZ_UNROLL
    for (int i = 0; i < 2; i++) {
        uint64_t at = (uint64_t)(channel + 8 * i) * 4;
        c.bias[i] = p->bias ? dev_load_float(p->bias + at) : 0.0f;
        c.slope[i] = p->slope ? dev_load_float(p->slope + at) : 1.0f;
        c.scale[i] = kind ? dev_load_float(p->scale + at) : 1.0f;
        c.inverse[i] = kind && p->dst8.data ? dev_load_float(p->inverse + at) : 0.0f;
    }
    return c;
}

/* Sums begin with the bias. */
UPZ_DEV void out_begin(float d[64], const Channels *c)
{
    UPZ_UNROLL
    for (int i = 0; i < 64; i++)
        d[i] = c->bias[i / 2 % 2];
}

UPZ_DEV void out_act(float d[64], const Channels *c, float alpha)
{
    UPZ_UNROLL
    for (int i = 0; i < 64; i++) {
        float v = d[i] * c->slope[i / 2 % 2];
        d[i] = (d[i] < 0.0f ? v : d[i]) * alpha;
    }
}

/* The address of this lane for (ld|st)matrix of two chunks by two blocks of 8 columns from `px` on. */
UPZ_DEV uint32_t out_lane(uint32_t stage, int span, int px, int step, int lane)
{
    return stage +
           (uint32_t)(lane / 8 % 2 * span + px + (lane / 16 * 8 + lane % 8) * step) * 16;
}

/* A piece of an added map's row to registers, and from there to the warp's stage. */
UPZ_DEV void out_load(UpzVec4 v[UPZ_TILE_W / 16], const UpzCudaMap *m, int first, int row, int x, int span,
                      int lane)
{
    uint64_t from = m->data + (uint64_t)first * m->chunk + (uint64_t)row * m->row + (uint64_t)x * 16;
    UPZ_UNROLL
    for (int i = 0; i < span / 16; i++)
        v[i] = dev_load16(from + (uint64_t)(i / (span / 32)) * m->chunk +
                          (uint32_t)((i * 32 + lane) % span) * 16);
}

UPZ_DEV void out_lay(const UpzVec4 v[UPZ_TILE_W / 16], uint32_t stage, int span, int lane)
{
    UPZ_UNROLL
    for (int i = 0; i < span / 16; i++)
        dev_put16(stage + (uint32_t)(i * 32 + lane) * 16, v[i]);
    dev_warp_sync();
}

/* n blocks of 16 columns from block j on, from the stage's pixels or to px, px + step … of it. j, n and
 * step are constants. */
UPZ_DEV void out_add(float d[64], float beta, int j, int n, uint32_t stage, int span, int lane)
{
    UPZ_UNROLL
    for (int i = 0; i < n; i++) {
        uint32_t r[4];
        dev_ldmatrix4_trans(r, out_lane(stage, span, i * 16, 1, lane));
        UPZ_UNROLL
        for (int k = 0; k < 4; k++) {
            int at = (j + i) * 8 + k * 2;
            d[at] = dev_fma(beta, dev_low(r[k]), d[at]);
            d[at + 1] = dev_fma(beta, dev_high(r[k]), d[at + 1]);
        }
    }
}

UPZ_DEV void out_put(const float d[64], int j, int n, uint32_t stage, int span, int px,
                     int step, int lane)
{
    UPZ_UNROLL
    for (int i = 0; i < n; i++) {
        uint32_t r[4];
        UPZ_UNROLL
        for (int k = 0; k < 4; k++)
            r[k] = dev_half2(d[(j + i) * 8 + k * 2], d[(j + i) * 8 + k * 2 + 1]);
        dev_stmatrix4_trans(out_lane(stage, span, px + i * 16 * step, step, lane), r);
    }
}

/* The stage is free again when the copies out of it have read it. */
UPZ_DEV void out_stage_free(int lane)
{
    if (lane == 0)
        dev_bulk_wait_read(0);
    dev_warp_sync();
}

/* `valid` pixels of the stage to a row of the map, may be none, by one bulk copy a chunk: few instructions,
 * and the stage is busy for a while (out_stage_free). */
UPZ_DEV void out_send(uint64_t to, uint32_t chunk, uint32_t stage, int valid, int lane)
{
    dev_async_fence();
    dev_warp_sync();
    if (lane == 0 && valid > 0) {
        uint32_t bytes = (uint32_t)(valid < UPZ_TILE_W ? valid : UPZ_TILE_W) * 16;
        dev_bulk_store(to, stage, bytes);
        dev_bulk_store(to + chunk, stage + UPZ_TILE_W * 16, bytes);
        dev_bulk_commit();
    }
}

/* The same by the threads: the stage is free at once, for the next row of several. */
UPZ_DEV void out_store(uint64_t to, uint32_t chunk, uint32_t stage, int span, int valid, int lane)
{
    UpzVec4 v[UPZ_TILE_W / 16];
    dev_warp_sync();
    UPZ_UNROLL
    for (int i = 0; i < span / 16; i++)
        v[i] = dev_get16(stage + (uint32_t)(i * 32 + lane) * 16);
    UPZ_UNROLL
    for (int i = 0; i < span / 16; i++) {
        int px = (i * 32 + lane) % span;
        if (px < valid)
            dev_store16(to + (uint64_t)(i / (span / 32)) * chunk + (uint32_t)px * 16, v[i]);
    }
    dev_warp_sync();
}

/* A row of a map: `row` of it, columns from x0 on, the warp's chunks from `first` on. */
UPZ_DEV void out_map(float d[64], const UpzCudaConv *p, int first, int row, int x0, uint32_t stage,
                     int lane)
{
    if (first >= p->dst.chunks)
        return;
    out_stage_free(lane);
    UPZ_UNROLL
    for (int a = 0; a < 2; a++)
        if (p->add[a].data) {
            UpzVec4 v[UPZ_TILE_W / 16];
            out_load(v, &p->add[a], first, row, x0, UPZ_TILE_W, lane);
            out_lay(v, stage, UPZ_TILE_W, lane);
            out_add(d, p->beta[a], 0, 8, stage, UPZ_TILE_W, lane);
            dev_warp_sync();
        }
    out_put(d, 0, 8, stage, UPZ_TILE_W, 0, 1, lane);
    out_send(p->dst.data + (uint64_t)first * p->dst.chunk + (uint64_t)row * p->dst.row +
                 (uint64_t)x0 * 16,
             p->dst.chunk, stage, p->dst.width - x0, lane);
}

/* ---- 8 bits: a warp's 16 rows are one chunk ---- */

UPZ_DEV uint32_t eight_pair(int kind, float first, float second)
{
    return kind == UPZ_EIGHT_FP8 ? dev_fp8x2(first, second) : dev_int8x2(first, second);
}

/* As out_put, in 8 bits: rows r and r + 1 of a pixel stand side by side, so lanes of neighbouring rows
 * exchange what they have; the one of the even row keeps even columns. */
UPZ_DEV void out_put8(const float d[64], const Channels *c, int kind, int j, int n, uint32_t stage, int px,
                      int step, int lane)
{
    int odd = lane / 4 % 2, row = lane / 4 - odd;
    UPZ_UNROLL
    for (int i = 0; i < 2 * n; i++) { /* 8 columns a time */
        const float *v = d + (2 * j + i) * 4;
        uint32_t mine = eight_pair(kind, v[0] * c->inverse[0], v[1] * c->inverse[0]) |
                        eight_pair(kind, v[2] * c->inverse[1], v[3] * c->inverse[1]) << 16;
        uint32_t other = dev_shfl_xor(mine, 4);
        /* bytes: column 0 and 1 of row r, then of row r + 8 */
        uint32_t low = odd ? (other >> 8 & 0xff) | (mine & 0xff00) : (mine & 0xff) | (other & 0xff) << 8;
        uint32_t high = odd ? other >> 24 | (mine >> 16 & 0xff00)
                            : (mine >> 16 & 0xff) | (other >> 8 & 0xff00);
        uint32_t at = stage + (uint32_t)((px + (i * 8 + lane % 4 * 2 + odd) * step) * 16 + row);
        dev_put2(at, (uint16_t)low);
        dev_put2(at + 8, (uint16_t)high);
    }
}

/* span pixels of the stage to a chunk's row, as out_store. */
UPZ_DEV void out_store8(uint64_t to, uint32_t stage, int span, int valid, int lane)
{
    dev_warp_sync();
    UPZ_UNROLL
    for (int i = 0; i < span / 32; i++) {
        int px = i * 32 + lane;
        if (px < valid) dev_store16(to + (uint32_t)px * 16, dev_get16(stage + (uint32_t)px * 16));
    }
    dev_warp_sync();
}

UPZ_DEV uint64_t eight_row(const UpzCudaConv *p, int first, int row, int x)
{
    return p->dst8.data + (uint64_t)(first / 2) * p->dst8.chunk + (uint64_t)row * p->dst8.row +
           (uint64_t)x * 16;
}

/* Two rows of a map, of sums d[0] and d[1], in pieces of `span`. What is added is read one piece ahead:
 * out_ahead for the first, before the sums are there. */
UPZ_DEV void out_ahead(UpzVec4 v[UPZ_TILE_W / 16], const UpzCudaConv *p, int first, int row, int x0,
                       int span, int lane)
{
    if (p->add[0].data && first < p->add[0].chunks)
        out_load(v, &p->add[0], first, row, x0, span, lane);
}

UPZ_DEV void out_rows(float d[2][64], UpzVec4 v[UPZ_TILE_W / 16], const UpzCudaConv *p, const Channels *c,
                      int kind, int first, const int row[2], int x0, uint32_t stage, int span, int lane)
{
    const int pieces = UPZ_TILE_W / span, n = span / 16;
    bool half = !kind || (p->dst.data && first < p->dst.chunks);
    bool eight = kind && p->dst8.data && first / 2 < p->dst8.chunks;
    bool adds = p->add[0].data && first < p->add[0].chunks;
    if (kind ? !half && !eight : first >= p->dst.chunks)
        return;
    UPZ_UNROLL
    for (int i = 0; i < 2 * pieces; i++) {
        int set = i / pieces, piece = i % pieces, x = x0 + piece * span;
        int next = (i + 1) / pieces % 2, x_next = x0 + (i + 1) % pieces * span;
        if (adds) {
            out_lay(v, stage, span, lane);
            if (p->add[1].data)
                out_load(v, &p->add[1], first, row[set], x, span, lane);
            else if (i + 1 < 2 * pieces)
                out_load(v, &p->add[0], first, row[next], x_next, span, lane);
            out_add(d[set], p->beta[0], piece * n, n, stage, span, lane);
            dev_warp_sync();
            if (p->add[1].data) {
                out_lay(v, stage, span, lane);
                if (i + 1 < 2 * pieces)
                    out_load(v, &p->add[0], first, row[next], x_next, span, lane);
                out_add(d[set], p->beta[1], piece * n, n, stage, span, lane);
                dev_warp_sync();
            }
        }
        if (half) {
            out_put(d[set], piece * n, n, stage, span, 0, 1, lane);
            out_store(p->dst.data + (uint64_t)first * p->dst.chunk + (uint64_t)row[set] * p->dst.row +
                          (uint64_t)x * 16,
                      p->dst.chunk, stage, span, row[set] < p->dst.height ? p->dst.width - x : 0, lane);
        }
        if (eight) {
            out_put8(d[set], c, kind, piece * n, n, stage, 0, 1, lane);
            out_store8(eight_row(p, first, row[set], x), stage, span,
                       row[set] < p->dst8.height ? p->dst8.width - x : 0, lane);
        }
    }
}

/* A row of a map from two sets of sums, of its even and of its odd pixels. */
UPZ_DEV void out_map_up(float even[64], float odd[64], const UpzCudaConv *p, const Channels *c, int kind,
                        int first, int row, int x0, uint32_t stage, int lane)
{
    bool half = kind ? p->dst.data && first < p->dst.chunks : first < p->dst.chunks;
    UPZ_UNROLL
    for (int piece = 0; piece < 2; piece++) {
        int x = x0 + piece * UPZ_TILE_W;
        if (kind && p->dst8.data && first / 2 < p->dst8.chunks) {
            out_put8(even, c, kind, piece * 4, 4, stage, 0, 2, lane);
            out_put8(odd, c, kind, piece * 4, 4, stage, 1, 2, lane);
            out_store8(eight_row(p, first, row, x), stage, UPZ_TILE_W, p->dst8.width - x, lane);
        }
        if (!half)
            continue;
        out_put(even, piece * 4, 4, stage, UPZ_TILE_W, 0, 2, lane);
        out_put(odd, piece * 4, 4, stage, UPZ_TILE_W, 1, 2, lane);
        out_store(p->dst.data + (uint64_t)first * p->dst.chunk + (uint64_t)row * p->dst.row +
                      (uint64_t)x * 16,
                  p->dst.chunk, stage, UPZ_TILE_W, p->dst.width - x, lane);
    }
}

/* 8 halves to image row `to`, x being the first; on the right edge as many as are inside. */
UPZ_DEV void out_image8(uint64_t to, int x, int width, UpzVec4 v)
{
    if (x + 8 <= width) {
        dev_store16(to + (uint64_t)x * 2, v);
        return;
    }
    UPZ_UNROLL
    for (int i = 0; i < 8; i++) {
        uint32_t word = i < 2 ? v.x : i < 4 ? v.y : i < 6 ? v.z : v.w;
        if (x + i < width)
            dev_store2(to + (uint64_t)(x + i) * 2, (uint16_t)(i % 2 ? word >> 16 : word));
    }
}

/* A row of sums of output channels `channel` … + 63 through the pixel shuffle to the image, by the four
 * warps of a group (bar: its named barrier, tid: 0 … 127; stage: the group's, of 8 chunks of a row in
 * order and a row of the base). An image row's pixels are neighbours in `factor` channels; each
 * thread gathers 8. A factor that does not divide 64 has one block only. */
UPZ_DEV void out_image(float d[64], const UpzCudaConv *p, int channel, int row, int x0,
                       uint32_t stage, int bar, int tid)
{
    const UpzCudaImage *image = &p->image;
    int lane = tid % 32, warp = tid / 32, f = p->factor, x_out = x0 * f;
    uint32_t base = stage + UPZ_TILE_W * 16 * 8;
    if (p->base.data) {
        dev_put16(base + (uint32_t)tid * 16,
                  dev_load16(p->base.data + (uint64_t)row * p->base.row +
                             (uint64_t)(x0 + tid) * 16));
        dev_bar(bar, 128);
        int m = channel + warp * 16 + lane / 4;
        UPZ_UNROLL
        for (int half = 0; half < 2; half++)
            if (m + half * 8 < p->out) {
                uint32_t at = base + (uint32_t)(lane % 4 * 32 + (m + half * 8) / (f * f) * 2);
                UPZ_UNROLL
                for (int j = 0; j < 16; j++) {
                    d[j * 4 + half * 2] += dev_low(dev_get2(at + (uint32_t)j * 128));
                    d[j * 4 + half * 2 + 1] += dev_low(dev_get2(at + (uint32_t)j * 128 + 16));
                }
            }
    }
    out_put(d, 0, 8, stage + (uint32_t)warp * UPZ_TILE_W * 32, UPZ_TILE_W, 0, 1, lane);
    dev_bar(bar, 128);
    int last = p->out < channel + 64 ? p->out : channel + 64;
    if (f == 4) { /* a chunk is two image rows of a plane, 8 bytes a pixel in each */
        for (int i = tid; i < (last - channel) / 8 * (UPZ_TILE_W / 2); i += 128) {
            int chunk = i / (UPZ_TILE_W / 2), px = i % (UPZ_TILE_W / 2) * 2, k = channel / 8 + chunk;
            uint32_t at = stage + (uint32_t)(chunk * UPZ_TILE_W + px) * 16;
            UpzVec4 a = dev_get16(at), b = dev_get16(at + 16);
            UpzVec4 upper = {a.x, a.y, b.x, b.y}, lower = {a.z, a.w, b.z, b.w};
            int y = row * 4 + k % 2 * 2;
            uint64_t to = image->data + (uint64_t)(k / 2) * image->plane + (uint64_t)y * image->row;
            if (y < image->height)
                out_image8(to, x_out + px * 4, image->width, upper);
            if (y + 1 < image->height)
                out_image8(to + image->row, x_out + px * 4, image->width, lower);
        }
    } else {
        int vectors = UPZ_TILE_W / 8 * f, rows = (last - channel) / f;
        for (int i = tid; i < rows * vectors; i += 128) {
            int k = channel / f + i / vectors, x = i % vectors * 8, px = x / f, dx = x % f;
            int y = row * f + k % f;
            uint32_t word[4] = {0, 0, 0, 0};
            UPZ_UNROLL
            for (int e = 0; e < 8; e++) {
                int m = k * f + dx - channel;
                uint32_t at = stage + (uint32_t)((m / 8 * UPZ_TILE_W + px) * 16 + m % 8 * 2);
                word[e / 2] |= (uint32_t)dev_get2(at) << (e % 2 * 16);
                if (++dx == f) {
                    dx = 0;
                    px++;
                }
            }
            UpzVec4 v = {word[0], word[1], word[2], word[3]};
            if (y < image->height)
                out_image8(image->data + (uint64_t)(k / f) * image->plane + (uint64_t)y * image->row,
                           x_out + x, image->width, v);
        }
    }
    dev_bar(bar, 128);
}

#endif
