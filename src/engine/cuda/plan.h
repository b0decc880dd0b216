/* Where everything lies in the GPU's memory for one size of picture, and into which tiles the picture
 * is cut when memory is short. Arithmetic only: nothing is allocated on a GPU here.
 *
 * Maps of one size (relative to the input) are runs of chunks of one geometry; a chunk serves one
 * map after another, so borders stay zero. All tiles have one size; they overlap by the network's
 * reach, which makes them exact. */
#ifndef UPZ_CUDA_PLAN_H
#define UPZ_CUDA_PLAN_H

#include "engine/cuda/kernels/params.h"
#include "engine/cuda/net.h"

#define UPZ_CUDA_SLOTS 3   /* pictures in flight */
#define UPZ_CUDA_SIZES 16  /* different sizes of maps in a network */

/* What a layout is for. */
typedef struct UpzCudaNeed {
    int width, height;        /* of the source */
    int unit, reach;          /* px of it: tiles' sides are multiples; the network's reach */
    int scale_num, scale_den;
    size_t in, out;           /* bytes of a host picture's copy on the GPU; 0: it lies there already */
    size_t passes[2], tables; /* bytes: results of the resize's passes, its tables; 0: none */
    size_t cells;             /* of a comparison of sources, at most; 0: there are none */
} UpzCudaNeed;

typedef struct UpzCudaSize {
    int num, den, width, height; /* px of maps */
    uint32_t row, chunk;         /* bytes */
    int chunks;                  /* of memory */
    size_t at;                   /* bytes into the arena */
} UpzCudaSize;

/* One axis of the tiling, in source px. Tile i makes what lies from i * step on. */
typedef struct UpzCudaCut {
    int padded;      /* the picture's side, rounded up to the unit */
    int n, tile, step, halo;
} UpzCudaCut;

typedef struct UpzCudaLayout {
    UpzCudaCut x, y;
    UpzCudaSize sizes[UPZ_CUDA_SIZES];
    int n_sizes;
    int *size_of, *chunk_of;    /* by map */
    UpzCudaImage image;         /* the whole result; its data is an offset into the arena */
    UpzCudaImage tile;          /* that of one tile; the same when there is only one */
    size_t in[UPZ_CUDA_SLOTS], out[UPZ_CUDA_SLOTS], nan; /* offsets */
    size_t passes[2], tables;   /* offsets; the second pass may write where the first one read */
    size_t cells;               /* offset */
    size_t zeroed;              /* bytes from the arena's start that must be zero */
    size_t bytes;               /* SIZE_MAX: the kernels cannot address maps of this size */
} UpzCudaLayout;

/* nx x ny tiles. MEMORY when lists cannot be had, MODEL for too many sizes of maps. */
int upz_cuda_layout_make(UpzCudaLayout *out, const UpzCudaNet *net, const UpzCudaNeed *need, int nx,
                         int ny, UprezError *err);
void upz_cuda_layout_free(UpzCudaLayout *layout);
/* More and smaller tiles; false when they are as small as makes sense. */
bool upz_cuda_more_tiles(const UpzCudaLayout *layout, const UpzCudaNeed *need, int *nx, int *ny);

/* Source px where tile i of an axis begins. */
static inline int upz_cuda_tile_at(const UpzCudaCut *c, int i)
{
    const int at = i * c->step - c->halo, most = c->padded - c->tile;
    return at < 0 ? 0 : at > most ? most : at;
}

/* A part of the picture that is computed alone: a network of its own size inside the maps of a layout
 * with one tile, with a zero frame around it. In source px. */
typedef struct UpzCudaPart {
    int x, y, w, h;
} UpzCudaPart;

/* What makes this window of the network's result, with the reach around. */
UpzCudaPart upz_cuda_part(const UpzCudaLayout *layout, const UpzCudaNeed *need, UpzCudaWindow result);
/* The part's place in a map of that size (an index into sizes); none stays none. */
void upz_cuda_part_map(const UpzCudaLayout *layout, const UpzCudaPart *part, int size, UpzCudaMap *map);
/* All chunks of a size as one map. */
UpzCudaMap upz_cuda_all_chunks(const UpzCudaLayout *layout, int size, uint64_t arena);

/* A view's map in the arena at `arena`; data 0 for none. */
UpzCudaMap upz_cuda_map(const UpzCudaLayout *layout, const UpzCudaView *view, uint64_t arena);

#endif
