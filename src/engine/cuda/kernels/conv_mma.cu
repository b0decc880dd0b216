/* Convolution on any GPU with tensor cores: implicit GEMM with mma.sync m16n8k16, pixels as rows
 * (A), outputs as columns (B), so that a thread's pair of sums is two neighbouring channels of one
 * pixel and a warp's store is 128 bytes in one piece.
 *
 * A block makes UPZ_TILE_W x UPZ_MMA_ROWS px of 16, 32 or 64 outputs; each of its 8 warps 64 px of
 * a row. 16 input channels at a time (a stage: the tile with its halo, and the weights of all taps)
 * pass through shared memory, the next being copied while this one is multiplied, across the end of
 * a tile too. The taps read the same tile at shifted addresses. 8 pixels, and 8 outputs of weights,
 * are 128 bytes in one piece: ldmatrix and copies are free of bank conflicts at any shift.
 *
 * Order of additions of a sum: blocks of 16 inputs outermost, in them the taps row by row, the 16
 * products of an instruction as the tensor core has it; then the bias. Nothing depends on where a
 * tile lies.
 *
 * Shared memory read per mma (2048 products): 64 outputs 128 bytes, 32: 192, 16: 320. A
 * multiprocessor of sm_80 does an mma in 2 clocks and reads 256 bytes in them, sm_86 and sm_89 do
 * one in 8 clocks: with 64 and 32 outputs the tensor cores are the limit. Expected of 64 to 64
 * channels, on paper: 70-75 % of their peak on sm_80 (one block of 8 warps a multiprocessor;
 * the epilogue is most of the rest), 85-90 % on sm_86, sm_89 and sm_120, 50-60 % on sm_75 (no
 * asynchronous copies). Not measured. */
#include "dev.h"
#include "grid.h"

/* One piece of work: a tile, for up = 2 of one parity of the result, and a block of 64 outputs. */
typedef struct Work {
    int x, y, dx, dy, parity, block;
} Work;

UPZ_DEV Work work_at(const UpzCudaConv *p, int item)
{
    Work w;
    int blocks = (p->out + 63) / 64, tile = item / blocks;
    w.block = item - tile * blocks;
    w.parity = 0;
    if (p->up == 2) {
        w.parity = tile % 4;
        tile /= 4;
    }
    w.dy = w.parity / 2;
    w.dx = w.parity % 2;
    w.y = tile / p->tiles_x;
    w.x = (tile - w.y * p->tiles_x) * UPZ_TILE_W;
    w.y *= UPZ_MMA_ROWS;
    return w;
}

UPZ_DEV int work_count(const UpzCudaConv *p)
{
    return p->tiles_x * p->tiles_y * (p->up == 2 ? 4 : 1) * ((p->out + 63) / 64);
}

UPZ_DEV int tap_count(const UpzCudaConv *p) { return p->up == 2 ? 4 : p->kernel * p->kernel; }

/* Chunks 2 * k and 2 * k + 1 of rows y - 1 … y + UPZ_MMA_ROWS, columns x - 1 … x + UPZ_TILE_W. */
UPZ_DEV void copy_pixels(const UpzCudaConv *p, const Work *w, int k, uint32_t to)
{
    int t = (int)dev_thread(), chunk = t / UPZ_TILE_W, column = t % UPZ_TILE_W;
    uint64_t row = p->src.row, plane = p->src.chunk;
    uint64_t from = p->src.data + (uint64_t)(2 * k) * plane +
                    (uint64_t)((int64_t)(w->y - 1) * (int64_t)row + (int64_t)(w->x - 1) * 16);
    uint64_t at = from + (uint64_t)chunk * plane + (uint64_t)column * 16;
    uint32_t put = to + (uint32_t)(chunk * (UPZ_MMA_ROWS + 2) * UPZ_MMA_ROW_BYTES + column * 16);
    UPZ_UNROLL
    for (int r = 0; r < UPZ_MMA_ROWS + 2; r++)
        dev_copy16(put + (uint32_t)(r * UPZ_MMA_ROW_BYTES), at + (uint64_t)r * row);
    if (t < 4 * (UPZ_MMA_ROWS + 2)) { /* the last two columns */
        int line = t / 2;
        column = UPZ_TILE_W + t % 2;
        chunk = line / (UPZ_MMA_ROWS + 2);
        at = from + (uint64_t)chunk * plane +
             (uint64_t)(line - chunk * (UPZ_MMA_ROWS + 2)) * row + (uint64_t)column * 16;
        dev_copy16(to + (uint32_t)(line * UPZ_MMA_ROW_BYTES + column * 16), at);
    }
}

UPZ_DEV float leaky(float v, float slope) { return v < 0 ? v * slope : v; }

UPZ_DEV float base_at(const UpzCudaConv *p, int c, int x, int y)
{
    uint64_t at = p->base.data + (uint64_t)(c / 8) * p->base.chunk + (uint64_t)y * p->base.row +
                  (uint64_t)x * 16 + (uint64_t)(c % 8) * 2;
    return dev_low(dev_load2(at));
}

/* Two 8-bit numbers, the first in the low byte. */
UPZ_DEV uint32_t eight2(int kind, float first, float second)
{
#ifdef UPZ_FP8
    if (kind == UPZ_EIGHT_FP8) return dev_fp8x2(first, second);
#else
    (void)kind;
#endif
    return dev_int8x2(first, second);
}

/* Two neighbouring channels from c on of a source pixel, one by one: any factor. */
UPZ_DEV void shuffle_any(const UpzCudaConv *p, int c, int x, int y, float v0, float v1)
{
    int f = p->factor;
    UPZ_UNROLL
    for (int k = 0; k < 2; k++, c++) {
        int plane = c / (f * f), rest = c - plane * f * f, dy = rest / f, dx = rest - dy * f;
        float v = k ? v1 : v0;
        if (c >= p->out || x >= p->src.width) continue;
        if (p->base.data) v = v + base_at(p, plane, x, y);
        dev_store2(p->image.data + (uint64_t)plane * p->image.plane +
                       (uint64_t)(y * f + dy) * p->image.row + (uint64_t)(x * f + dx) * 2,
                   (uint16_t)dev_half2(v, 0));
    }
}

/* Blocks a multiprocessor: what its shared memory (sm_80, sm_90, sm_100: two with 32 outputs) and
 * its registers (without tensor cores, shuffles want more) hold.
 * Forms: halves to halves; halves to 8 bits (and halves); 8 bits to either or both. */
#define NAME conv_mma_m16
#define OUTPUTS 16
#ifdef UPZ_NO_MMA
#define BLOCKS 1
#else
#define BLOCKS 2
#endif
#include "conv_mma_tmpl.h"
#define NAME conv_mma_m32
#define OUTPUTS 32
#if defined(__CUDA_ARCH__) && \
    (__CUDA_ARCH__ == 800 || (__CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1200))
#define BLOCKS 2
#else
#define BLOCKS 1
#endif
#include "conv_mma_tmpl.h"
#define NAME conv_mma_m64
#define OUTPUTS 64
#define BLOCKS 1
#include "conv_mma_tmpl.h"

#ifndef UPZ_NO_MMA
#define NAME conv_quant_m32
#define OUTPUTS 32
#define BLOCKS 1
#define TO_EIGHT 1
#include "conv_mma_tmpl.h"
#define NAME conv_quant_m64
#define OUTPUTS 64
#define BLOCKS 1
#define TO_EIGHT 1
#include "conv_mma_tmpl.h"
#define NAME conv_int8_m32
#define OUTPUTS 32
#define BLOCKS 1
#define TO_EIGHT 1
#define FROM_EIGHT 1
#define SUM int32_t
#define PRODUCT dev_mma_int8
#include "conv_mma_tmpl.h"
#define NAME conv_int8_m64
#define OUTPUTS 64
#define BLOCKS 1
#define TO_EIGHT 1
#define FROM_EIGHT 1
#define SUM int32_t
#define PRODUCT dev_mma_int8
#include "conv_mma_tmpl.h"
#ifdef UPZ_FP8_MMA
#define NAME conv_fp8_m32
#define OUTPUTS 32
#define BLOCKS 1
#define TO_EIGHT 1
#define FROM_EIGHT 1
#define PRODUCT dev_mma_fp8
#include "conv_mma_tmpl.h"
#define NAME conv_fp8_m64
#define OUTPUTS 64
#define BLOCKS 1
#define TO_EIGHT 1
#define FROM_EIGHT 1
#define PRODUCT dev_mma_fp8
#include "conv_mma_tmpl.h"
#endif
#endif
