/* A network's launches on one GPU: constants uploaded once, everything else per size, then pictures
 * enqueued one after another.
 *
 * Streams: uploads, kernels (the home's), downloads; events between them, and between them and the
 * pictures' own. A slot is a picture in flight; kernels of all slots share one set of maps, since
 * one stream runs them in order.
 *
 * Threads: one at a time. */
#ifndef UPZ_CUDA_RUN_H
#define UPZ_CUDA_RUN_H

#include "engine/cuda/kernels/grid.h"
#include "engine/cuda/eight.h"
#include "engine/cuda/memory.h"
#include "engine/cuda/pack.h"
#include "engine/cuda/plan.h"
#include "engine/cuda/resize_passes.h"
#include "picture/convert.h"

#define UPZ_CUDA_FUNCTIONS 16

typedef struct UpzCudaFunction {
    const char *name;
    void *function;
    unsigned shared; /* bytes of dynamic shared memory it is set to */
} UpzCudaFunction;

typedef struct UpzCudaStep {
    UpzCudaConv conv;
    UpzCudaGrid grid;
    int function;
    bool hopper;
} UpzCudaStep;

typedef struct UpzCudaSlot {
    UpzTask *task;                /* NULL: free */
    uint8_t *host_in, *host_out;  /* pinned; NULL when pictures lie on the GPU */
    uint32_t *nan;                /* pinned */
    void *ready, *wanted, *stored, *done; /* events */
} UpzCudaSlot;

typedef struct UpzCudaRun {
    UpzCudaHome *home;
    UprezContext *ctx;
    const UprezModelFacts *facts;
    UpzCudaNet net;
    void *module;
    UpzCudaFunction functions[UPZ_CUDA_FUNCTIONS];
    int n_functions, load_function, store_function, resize_function, compare_function, frame_function;
    int range_function;
    int eight;                    /* UPZ_EIGHT_…: the layers between the first and the last */
    const UpzRanges *ranges;  /* while they are measured */
    uint64_t range;               /* and their place on the GPU */
    bool hopper;
    bool overlap;                 /* a kernel may begin while the one before ends: it waits by itself */
    int blocks;                   /* convolutions are cut for so many multiprocessors */
    int target;                   /* 86: convolutions are code for sm_86 */
    uint64_t constants;
    size_t constant_bytes;
    UpzCudaStep *steps;           /* one a layer; loads have none of it but their place */
    void *up, *down, *side;       /* streams; side: comparisons */
    void *seen;                   /* event */
    int out_w, out_h;             /* px of results that are asked for; 0: the network's */
    UpzResizeKernel filter;       /* that makes them */

    /* of one size; arena 0: none */
    UpzShape shape;
    UpzCudaNeed need;
    UpzCudaLayout layout;
    uint64_t arena;
    uint8_t *pinned;
    int dst_w, dst_h;
    UpzCudaPasses passes;
    void *graph;                  /* the layers' launches as one; NULL: one by one */
    UpzCudaLoad load;             /* but for the picture's addresses and the layer's map */
    UpzCudaStore store;
    int load_spread[2], store_spread[2]; /* px: of chroma, source and result */
    uint32_t *cells;              /* pinned: a comparison */
    UpzCudaSlot slots[UPZ_CUDA_SLOTS];
    int64_t submitted;
} UpzCudaRun;

/* Loads kernels and constants. The home stays the caller's; facts and graph live on with the
 * model. image: the fatbin. eight: UPZ_EIGHT_… and, but for NONE, the ranges, used here only. */
int upz_cuda_run_open(UpzCudaRun *run, UpzCudaHome *home, UprezContext *ctx, const UprezModel *model,
                      const void *image, int eight, const UpzRanges *ranges, UprezError *err);
void upz_cuda_run_close(UpzCudaRun *run);

/* Everything for a size; frees that of the size before. MEMORY names the need. */
int upz_cuda_run_plan(UpzCudaRun *run, const UpzShape *shape, size_t mem_limit, UprezError *err);
size_t upz_cuda_run_bytes(const UpzCudaRun *run);

/* Enqueues; AGAIN when all slots are busy. After wait returned 0 the task's result is there. */
int upz_cuda_run_submit(UpzCudaRun *run, UpzTask *task);
int upz_cuda_run_wait(UpzCudaRun *run, UpzTask *task, int64_t timeout_ns);
/* Both, of a small picture before kernels are trusted: a DEVICE when they do not end, and then the home is
 * lost. `what` begins the sentence: "the self-test". */
int upz_cuda_run_try(UpzCudaRun *run, UpzTask *task, const char *what, UprezError *err);

/* As UpzEngineOps.compare and copy. */
int upz_cuda_run_compare(UpzCudaRun *run, const UprezPicture *a, const UprezPicture *b, int cell,
                         uint8_t *changed, UprezError *err);
int upz_cuda_run_copy(UpzCudaRun *run, const UprezPicture *from, UprezPicture *to,
                      const UprezRect *rects, int n, UprezError *err);

/* ---- between run.c and enqueue.c; the context is current ---- */

/* A driver's call in a row of calls: the first failure stays. */
#define TRY(status, call) ((status) = (status) ? (status) : (call))

/* $UPREZ_CUDA_DEBUG has that word; for measuring what parts are worth: docs/cuda.md. */
bool upz_cuda_asked(const char *word);
int upz_cuda_launch(const UpzCudaRun *run, int function, const UpzCudaGrid *grid, const void *params,
                    void *stream);
/* Fills tiles_x and tiles_y. */
UpzCudaGrid upz_cuda_conv_grid(const UpzCudaRun *run, const UpzCudaStep *step, UpzCudaConv *conv);
UpzCudaImage upz_cuda_at(const UpzCudaRun *run, UpzCudaImage image); /* an offset becomes an address */
void upz_cuda_finish_streams(const UpzCudaRun *run);
/* From any memory of the host's, in the order of the kernels; waits for it. A driver's status. */
int upz_cuda_upload(const UpzCudaRun *run, uint64_t to, const void *from, size_t bytes);
int upz_cuda_run_layers(const UpzCudaRun *run, void *stream); /* enqueues all layers, one by one */

#endif
