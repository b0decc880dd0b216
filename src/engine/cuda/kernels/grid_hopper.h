/* Launch geometry and shared memory of conv_ring and conv_stream; part of grid.h. */
#ifndef UPZ_CUDA_GRID_HOPPER_H
#define UPZ_CUDA_GRID_HOPPER_H

#include "params.h"

/* A block is a group of 4 warps that copies and two that compute. */
#define UPZ_HOPPER_THREADS 384

/* A chunk of a row in shared memory: UPZ_TILE_W pixels and 8 on either side, so that both ends of a
 * copy are 128-byte lines. */
#define UPZ_HOPPER_ROW ((UPZ_TILE_W + 16) * 16)
#define UPZ_HOPPER_TILE 2048 /* bytes of 64 outputs x 16 inputs of weights */
#define UPZ_HOPPER_BARRIERS 256

/* A computing group's own: a row of 8 chunks on its way out, and one of the base. */
#define UPZ_HOPPER_OUT (UPZ_TILE_W * 16 * 9)

#define UPZ_RING_WEIGHTS (36 * UPZ_HOPPER_TILE)
#define UPZ_RING_SLOTS 6
#define UPZ_RING_SLOT (8 * UPZ_HOPPER_ROW)
#define UPZ_RING_SHARED                                                                            \
    (UPZ_RING_WEIGHTS + UPZ_RING_SLOTS * UPZ_RING_SLOT + 2 * UPZ_HOPPER_OUT + UPZ_HOPPER_BARRIERS)

/* Forms of conv_stream. A tile is `h` rows of the source; a stage holds 16 input channels of `rows` rows
 * and `tiles` tiles of weights; a warp stages `span` pixels of output at once. */
enum { UPZ_STREAM_3X3, UPZ_STREAM_1X1, UPZ_STREAM_UP, UPZ_STREAM_PAIR };

typedef struct UpzStreamShape {
    int h, rows, tiles, stages, span;
} UpzStreamShape;

UPZ_GRID UpzStreamShape upz_stream_shape(int form)
{
    UpzStreamShape conv = {4, 6, 9, 4, 128}, one = {4, 4, 1, 4, 128};
    UpzStreamShape up = {2, 3, 8, 4, 128}; /* the upper or the lower output rows of a tile's rows */
    UpzStreamShape pair = {8, 10, 12, 3, 64};
    return form == UPZ_STREAM_3X3 ? conv : form == UPZ_STREAM_1X1 ? one
           : form == UPZ_STREAM_UP ? up : pair;
}

UPZ_GRID int upz_stream_stage(UpzStreamShape s)
{
    return 2 * s.rows * UPZ_HOPPER_ROW + s.tiles * UPZ_HOPPER_TILE;
}

/* Of a computing group: 8 chunks of its span on their way out, and, where whole rows leave, a row of the
 * base. */
UPZ_GRID int upz_stream_out(UpzStreamShape s)
{
    return s.span * 16 * (s.span == UPZ_TILE_W ? 9 : 8);
}

UPZ_GRID int upz_stream_shared(UpzStreamShape s)
{
    return s.stages * upz_stream_stage(s) + 2 * upz_stream_out(s) + UPZ_HOPPER_BARRIERS;
}

#ifndef __CUDACC__

/* What the kernels here can do; else conv_mma does it. from_eight: src is in 8 bits. */
static inline int upz_conv_hopper_can(const UpzCudaConv *p, int from_eight)
{
    int adds = p->add[0].data || p->add[1].data, f = p->factor;
    if (p->add[1].data && !p->add[0].data)
        return 0;
    if (p->eight && (!from_eight || (!p->dst.data && !p->dst8.data)))
        return 0; /* from halves to 8 bits: the first layer */
    if (p->src.chunks < 2 || p->src.chunks % 2 || (p->kernel != 1 && p->kernel != 3))
        return 0;
    if (p->up == 2)
        return p->kernel == 3 && (p->dst.data || p->dst8.data) && !adds;
    if (p->dst.data || p->dst8.data)
        return 1;
    return !adds && f >= 1 && p->out % (f * f) == 0 && (p->out <= 64 || (f <= 8 && 64 % f == 0));
}

/* Layers whose weights are packed for pairs of rows (`pair`). */
static inline int upz_conv_stream_pairs(const UpzCudaConv *p)
{
    return p->kernel == 3 && p->up == 1 && p->out <= 32 && (p->dst.data || p->dst8.data);
}

static inline int upz_conv_is_ring(const UpzCudaConv *p)
{
    return p->kernel == 3 && p->up == 1 && p->src.chunks == 8 && p->out <= 64 && !p->pair && !p->eight;
}

static inline int upz_conv_stream_form(const UpzCudaConv *p)
{
    return p->pair ? UPZ_STREAM_PAIR : p->up == 2 ? UPZ_STREAM_UP
           : p->kernel == 1 ? UPZ_STREAM_1X1 : UPZ_STREAM_3X3;
}

static inline const char *upz_conv_hopper_name(const UpzCudaConv *p)
{
    static const char *const form[][4] = {
        {"conv_stream", "conv_stream_one", "conv_stream_up", "conv_stream_pair"},
        {"conv_stream_fp8", "conv_stream_one_fp8", "conv_stream_up_fp8", "conv_stream_pair_fp8"},
        {"conv_stream_int8", "conv_stream_one_int8", "conv_stream_up_int8", "conv_stream_pair_int8"}};
    return upz_conv_is_ring(p) ? "conv_ring" : form[p->eight][upz_conv_stream_form(p)];
}

/* Fills tiles_x and tiles_y. `blocks`: how many run at once, one a multiprocessor. */
static inline UpzCudaGrid upz_conv_hopper_grid(UpzCudaConv *p, int blocks)
{
    UpzStreamShape shape = upz_stream_shape(upz_conv_stream_form(p));
    int ring = upz_conv_is_ring(p), h = ring ? 1 : shape.h;
    UpzCudaGrid g = {1, 1, UPZ_HOPPER_THREADS, 0};
    p->tiles_x = upz_grid_up(p->src.width, UPZ_TILE_W);
    p->tiles_y = upz_grid_up(p->src.height, h);
    int64_t work = (int64_t)p->tiles_x * p->tiles_y * upz_grid_up(p->out, 64) * p->up;
    g.x = (unsigned)(work < blocks ? work : blocks);
    g.shared = (unsigned)(ring ? UPZ_RING_SHARED : upz_stream_shared(shape));
    return g;
}

#endif
#endif
