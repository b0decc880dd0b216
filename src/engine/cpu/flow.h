/* How a picture flows through the stages: strips of rows, rings that hold just enough of them, and
 * who may start when.
 *
 * Each map is a ring of `depth` rows. Frames follow one another through the same rings, so the next
 * frame enters while the last one leaves and a second frame in flight costs no map memory. A stage
 * works strip after strip, each strip in `parts` pieces from left to right. Strips and parts of
 * successive layers are shifted against each other by the layer's reach, so that piece (strip,
 * part) needs only pieces (strip, part) and earlier ones of its sources: nothing is computed twice,
 * and a strip part can run through all layers while it is hot.
 *
 * A stage's pieces start in order; those started may finish in any order. */
#ifndef UPZ_CPU_FLOW_H
#define UPZ_CPU_FLOW_H

#include <pthread.h>
#include "base/context.h"
#include "engine/cpu/program.h"
#include "engine/engine.h"
#include "picture/convert.h"

#define UPZ_CPU_FRAMES 2 /* in flight */
#define UPZ_CPU_PARTS 64 /* of a strip, at most */
#define UPZ_CPU_STORE_ROWS 16 /* that one group of stored rows may need */

/* A dependency between two stages, by strips. Strip numbers of the other stage are relative to the
 * same frame; negative ones belong to the frame before. */
typedef struct UpzEdge {
    int from, to;
    int *need;    /* [strips of to]: last strip of `from` it waits for: all that it reads, and before */
    int *release; /* [strips of from]: last strip of `to` that reads what it overwrites */
    int back;     /* parts of `to` behind a part of `from` that still look into it */
} UpzEdge;

typedef struct UpzRing {
    int w, h;                   /* of the map; PLANAR and STORE: of the wanted picture */
    int strip, first, n_strips; /* rows a strip; first strip's first row (<= 0) */
    int parts;                  /* 1 or the plan's */
    int bound[UPZ_CPU_PARTS + 1]; /* columns where parts begin; [parts] = w */
    int depth;                  /* rows in the ring, 0: none */
    int left;                   /* pixels of zeros before column 0 */
    ptrdiff_t row;              /* bytes from row to row */
    char *pixels;               /* pixel 0 of row 0; PLANAR: channel after channel in a row */
    ptrdiff_t plane;            /* PLANAR: floats from channel to channel */
    int in0, n_in;              /* edges to this stage */
    int *out, n_out;            /* edges from it: indices */
    /* state, under the engine's lock; counted over all frames */
    int64_t next, done;
    uint64_t ahead;             /* bit i: piece done + i is finished */
} UpzRing;

typedef struct UpzScratch {
    void *conv;          /* a convolution's own */
    float *planes[3];    /* a loaded row */
    float *wide;         /* a post's other operand, brought to the map's pitch and to floats */
    float *strip;        /* rows of a narrow map's piece before they are narrowed, */
    size_t strip_row;    /* floats from one to the next */
    int strips;          /* how many */
    void *store;
    float *most;           /* NULL, or largest magnitudes of maps' channels so far: node i's at most_at[i] */
    const size_t *most_at;
} UpzScratch;

typedef struct UpzFlow {
    const UpzProgram *program;
    const UpzCpuKernels *kernels;
    UpzRing *rings;
    UpzEdge *edges;
    int n_edges;
    int workers, parts;
    int w, h;            /* of the input map, padded */
    int src_w, src_h;
    UpzLoad load;
    UpzStore store;
    int store_reach, store_group;
    char *zero;          /* pixel 0 of a row of zeros, of any type */
    UpzScratch *scratch; /* one a worker */
    int *numbers;        /* of edges and rings, in one block */
    void *memory;        /* rings, zero row and scratch, in one block */
    size_t bytes;        /* of everything here */
    UpzPadMode pad_mode;
} UpzFlow;

/* flow_plan.c: geometry and memory. The flow must be zeroed or freed before. Fails with MEMORY naming
 * the need when it exceeds mem_limit (0: none) or cannot be had; USAGE for sizes out of range. */
int upz_flow_plan(UpzFlow *f, const UpzProgram *p, const UpzCpuKernels *k, int workers, int align,
                  int rows, UpzCpuLevel level, const UpzShape *shape, int dst_w, int dst_h,
                  size_t mem_limit, UprezError *err);
void upz_flow_free(UpzFlow *f);
/* UpzPlan.reach_x (axis 0) or reach_y (1) of a planned flow. */
int upz_flow_reach(const UpzFlow *f, int axis);

/* Rows y0 … y1-1, columns x0 … x1-1 of a map; empty where x0 >= x1. */
typedef struct UpzBox {
    int x0, y0, x1, y1;
} UpzBox;

/* flow_regions.c: what of every stage's map is needed for parts of the result (n: 1 … UPZ_TODO_MAX, each on
 * the grain): boxes[stage * UPZ_TODO_MAX + i]. */
void upz_flow_parts(const UpzFlow *f, const UprezRect *todo, int n, UpzBox *boxes);
/* What piece `index` of a stage has to compute for n parts (n 0: all of it): boxes side by side.
 * Returns how many, 0 when the piece is not needed. */
int upz_flow_boxes(const UpzFlow *f, int stage, int index, const UpzBox *parts, int n,
                   UpzBox out[UPZ_TODO_MAX]);

/* Rows first … last - 1 of a strip, clipped to the map; may be empty. */
static inline void upz_ring_rows(const UpzRing *l, int strip, int *first, int *last)
{
    *first = UPZ_MAX(l->first + strip * l->strip, 0);
    *last = UPZ_MIN(l->first + (strip + 1) * l->strip, l->h);
}

static inline int64_t upz_ring_pieces(const UpzRing *l)
{
    return (int64_t)l->n_strips * l->parts;
}

/* Pixel 0 of row y of a frame's map; the row of zeros outside. */
static inline void *upz_ring_row(const UpzFlow *f, int stage, int64_t frame, int y)
{
    const UpzRing *l = &f->rings[stage];
    if (y < 0 || y >= l->h) return f->zero;
    return l->pixels + (frame * l->h + y) % l->depth * l->row;
}

/* run.c: computes a box that lies in one piece of a frame's stage. Returns the number of NaN met. */
int upz_flow_run(const UpzFlow *f, int stage, int64_t frame, const UpzBox *box,
                 const UprezPicture *src, UprezPicture *dst, int worker);
/* The NaN in the rows of a STORE stage's box, among the columns that n parts needed: others still hold what an
 * earlier picture left. */
int upz_flow_nan(const UpzFlow *f, int stage, int64_t frame, const UpzBox *box, const UpzBox *parts, int n);

#endif
