/* How kernels are launched: geometry from a kernel's parameters, decided beside the kernels and
 * used by the host. What both sides must know alike stands here too. */
#ifndef UPZ_CUDA_GRID_H
#define UPZ_CUDA_GRID_H

#include "params.h"

#ifdef __CUDACC__
#define UPZ_GRID static __device__ __forceinline__
#else
#define UPZ_GRID static inline
#endif

UPZ_GRID int upz_grid_up(int n, int unit) { return (n + unit - 1) / unit; }

UPZ_GRID int upz_grid_clamp(int v, int hi) { return v < 0 ? 0 : v > hi ? hi : v; }

UPZ_GRID UpzCudaWindow upz_grid_window(const UpzCudaWindow *w, int width, int height)
{
    UpzCudaWindow all = {0, 0, width, height};
    return w->x1 ? *w : all;
}

#ifndef __CUDACC__
typedef struct UpzCudaGrid {
    unsigned x, y;     /* blocks */
    unsigned threads;  /* of a block, all along x */
    unsigned shared;   /* bytes of dynamic shared memory */
} UpzCudaGrid;
#endif

/* ---- conv_mma: a block's tile is UPZ_TILE_W x UPZ_MMA_ROWS px of 16, 32 or 64 outputs ---- */

#define UPZ_MMA_ROWS 4
#define UPZ_MMA_THREADS 256
#define UPZ_MMA_ROW_BYTES ((UPZ_TILE_W + 2) * 16) /* of a chunk in shared memory, with its halo */
#define UPZ_MMA_PIXEL_BYTES (2 * (UPZ_MMA_ROWS + 2) * UPZ_MMA_ROW_BYTES)
/* A stage: 16 input channels of the tile and the weights they meet. Two stages from sm_80 on, one
 * below, where copies are not asynchronous and shared memory is less. */
#define UPZ_MMA_STAGE_BYTES(outputs, taps) (UPZ_MMA_PIXEL_BYTES + (taps) * (outputs) * 32)

#ifndef __CUDACC__
/* Outputs of a block: which of conv_mma_m16, conv_mma_m32 and conv_mma_m64 it is; in 8 bits 32 or 64. */
static inline int upz_conv_mma_outputs(const UpzCudaConv *p)
{
    return p->out <= 16 && !p->eight ? 16 : p->out <= 32 ? 32 : 64;
}

/* from_eight: src is in 8 bits. */
static inline const char *upz_conv_mma_name(const UpzCudaConv *p, int from_eight)
{
    static const char *const half[] = {"conv_mma_m16", "conv_mma_m32", "conv_mma_m64"};
    static const char *const eight[][2] = {{"conv_quant_m32", "conv_quant_m64"},
                                           {"conv_fp8_m32", "conv_fp8_m64"},
                                           {"conv_int8_m32", "conv_int8_m64"}};
    const int outputs = upz_conv_mma_outputs(p);
    return p->eight ? eight[from_eight ? p->eight : 0][outputs == 64] : half[outputs / 16 / 2];
}

/* Fills tiles_x and tiles_y. Blocks stay for several tiles, loading ahead from one to the next.
 * capability: 10 * major + minor. */
static inline UpzCudaGrid upz_conv_mma_grid(UpzCudaConv *p, int multiprocessors, int capability)
{
    int outputs = upz_conv_mma_outputs(p), stages = capability >= 80 ? 2 : 1;
    int taps = p->up == 2 ? 4 : p->kernel * p->kernel;
    UpzCudaGrid g = {1, 1, UPZ_MMA_THREADS, 0};
    p->tiles_x = upz_grid_up(p->src.width, UPZ_TILE_W);
    p->tiles_y = upz_grid_up(p->src.height, UPZ_MMA_ROWS);
    int64_t tiles = (int64_t)p->tiles_x * p->tiles_y * (p->up == 2 ? 4 : 1);
    int64_t work = tiles * upz_grid_up(p->out, 64);
    int at_once = multiprocessors * (outputs < 64 ? 2 : 1);
    g.x = (unsigned)(work < at_once ? work : at_once);
    g.shared = (unsigned)(stages * UPZ_MMA_STAGE_BYTES(outputs, taps));
    return g;
}
#endif

/* ---- load_map: one thread a pixel of the map ---- */

#define UPZ_LOAD_THREADS 128

#ifndef __CUDACC__
static inline UpzCudaGrid upz_load_grid(const UpzCudaLoad *p)
{
    UpzCudaGrid g = {1, 1, UPZ_LOAD_THREADS, 0};
    g.x = (unsigned)(upz_grid_up(p->dst.width, UPZ_LOAD_THREADS) * p->dst.height);
    return g;
}
#endif

/* ---- store_picture: warps of 32 threads side by side, 4 warps one above the other ---- */

#define UPZ_STORE_THREADS 128
#define UPZ_STORE_WIDE 8 /* px of a row a thread makes in the fast form for 4:2:0 */

UPZ_GRID int upz_store_aligned(const UpzCudaComponent *c, int bytes)
{
    return c->data % (uint64_t)bytes == 0 && c->stride % bytes == 0;
}

/* 4:2:0 of up to 16 bits from R G B, planar or with pairs of chroma in one plane, rows aligned: 8 x
 * 2 px a thread with wide stores. All else goes one chroma sample a thread. */
UPZ_GRID int upz_store_fast(const UpzCudaStore *p)
{
    const UpzCudaPicture *d = &p->dst;
    int bytes = d->depth > 8 ? 2 : 1, step = d->comp[1].step;
    if (d->depth > 16 || d->sub_x != 1 || d->sub_y != 1 || p->convert.n_comp != 3 ||
        p->convert.n_rows != 3 || p->convert.diagonal || !p->convert.clip)
        return 0;
    if (d->comp[0].step != bytes || d->comp[2].step != step ||
        !upz_store_aligned(&d->comp[0], 8 * bytes))
        return 0;
    if (step == bytes)
        return upz_store_aligned(&d->comp[1], 4 * bytes) &&
               upz_store_aligned(&d->comp[2], 4 * bytes);
    if (step != 2 * bytes || d->comp[1].stride != d->comp[2].stride) return 0;
    if (d->comp[2].data == d->comp[1].data + (uint64_t)bytes)
        return upz_store_aligned(&d->comp[1], 8 * bytes);
    return d->comp[1].data == d->comp[2].data + (uint64_t)bytes &&
           upz_store_aligned(&d->comp[2], 8 * bytes);
}

/* Pixels of a thread, which makes whole chroma samples. */
UPZ_GRID int upz_store_unit_w(const UpzCudaStore *p)
{
    return upz_store_fast(p) ? UPZ_STORE_WIDE : p->convert.n_comp == 3 ? 1 << p->dst.sub_x : 1;
}

UPZ_GRID int upz_store_unit_h(const UpzCudaStore *p)
{
    return p->convert.n_comp == 3 ? 1 << p->dst.sub_y : 1;
}

#ifndef __CUDACC__
static inline UpzCudaGrid upz_store_grid(const UpzCudaStore *p)
{
    UpzCudaGrid g = {1, 1, UPZ_STORE_THREADS, 0};
    const UpzCudaWindow w = upz_grid_window(&p->window, p->dst.width, p->dst.height);
    g.x = (unsigned)(upz_grid_up(w.x1 - w.x0, 32 * upz_store_unit_w(p)) *
                     upz_grid_up(w.y1 - w.y0, UPZ_STORE_THREADS / 32 * upz_store_unit_h(p)));
    return g;
}
#endif

/* ---- resize_image: 8 px of a row a thread, the planes one above the other ---- */

#define UPZ_RESIZE_THREADS 128

#ifndef __CUDACC__
static inline UpzCudaGrid upz_resize_grid(const UpzCudaResize *p)
{
    UpzCudaGrid g = {1, 1, UPZ_RESIZE_THREADS, 0};
    const UpzCudaWindow w = upz_grid_window(&p->window, p->dst.width, p->dst.height);
    g.x = (unsigned)(upz_grid_up(w.x1 - w.x0, 8 * UPZ_RESIZE_THREADS) * (w.y1 - w.y0) * p->dst.planes);
    return g;
}
#endif

/* ---- clear_frame: a thread a pixel of the frame in a chunk ---- */

#define UPZ_FRAME_THREADS 128

UPZ_GRID int upz_frame_pixels(const UpzCudaMap *m) { return 2 * (m->width + 2) + 2 * m->height; }

#ifndef __CUDACC__
static inline UpzCudaGrid upz_frame_grid(const UpzCudaMap *m)
{
    UpzCudaGrid g = {1, 1, UPZ_FRAME_THREADS, 0};
    g.x = (unsigned)upz_grid_up(upz_frame_pixels(m) * m->chunks, UPZ_FRAME_THREADS);
    return g;
}
#endif

/* ---- range_map: a block a row of a chunk ---- */

#define UPZ_RANGE_THREADS 128

#ifndef __CUDACC__
static inline UpzCudaGrid upz_range_grid(const UpzCudaRange *p)
{
    UpzCudaGrid g = {1, 1, UPZ_RANGE_THREADS, 0};
    g.x = (unsigned)(p->map.height * p->map.chunks);
    return g;
}
#endif

/* ---- compare_pictures: a thread a row of a cell in a plane ---- */

#define UPZ_COMPARE_THREADS 128
#define UPZ_COMPARE_CELL 16 /* px, both ways */

#ifndef __CUDACC__
static inline UpzCudaGrid upz_compare_grid(const UpzCudaCompare *p)
{
    UpzCudaGrid g = {1, 1, UPZ_COMPARE_THREADS, 0};
    int64_t rows = 0;
    for (int i = 0; i < p->planes; i++) rows += p->rows[i];
    g.x = (unsigned)((rows * p->across + UPZ_COMPARE_THREADS - 1) / UPZ_COMPARE_THREADS);
    return g;
}
#endif

#include "grid_hopper.h"

#endif
