/* What the adapter's files share. */
#ifndef UPZ_TENSOR_INNER_H
#define UPZ_TENSOR_INNER_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/context.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/tiles.h"
#include "picture/convert.h"

#define UPZ_TENSOR_BATCH 16
#define UPZ_TENSOR_FRAMES 32     /* in flight, at most */
#define UPZ_TENSOR_STORE_ROWS 16 /* that one group of stored rows may need */
#define UPZ_TENSOR_BAND 16       /* rows of one piece of work; a multiple of every store group */

/* A picture in work. Its tiles start in order, row after row. */
typedef struct UpzTensorFrame {
    UpzTask *task;
    int64_t number;
    int left;        /* tiles not finished, of those that are wanted */
    int next_added;  /* tile whose turn it is to be blended: sums have one order */
    int sum;         /* which of the engine's sums it uses, -1 none yet */
    int result;      /* the first error */
    UprezError err;
    atomic_int nan;
    bool busy, done; /* between submit and wait; finished */
} UpzTensorFrame;

/* One image of a run. */
typedef struct UpzTensorJob {
    UpzTensorFrame *frame;
    int tile;
} UpzTensorJob;

typedef struct UpzTensorSlot {
    struct UpzEngine *engine;
    int index;
    pthread_t thread;
    bool running; /* the thread was started */
    bool ran;     /* with facts.one_thread: the runner is through with it, */
    int result;   /* and this came out */
    UprezError err;
    UpzTensorBuffers buffers;
    UpzTensorJob jobs[UPZ_TENSOR_BATCH];
    int n;
} UpzTensorSlot;

struct UpzEngine {
    UpzEngineBase base;
    const UpzRuntimeOps *runtime;
    UpzRuntime *rt;
    UpzRuntimeFacts facts;
    UprezContext *ctx;
    UprezModel *model;
    UpzDevice device;
    int want_tile, want_batch;

    /* the plan */
    bool planned;
    UpzShape shape;
    UpzTensorShape tensor;
    UpzTensorShape prepared; /* what the runtime's buffers are for, */
    int prepared_slots;      /* and how many; 0: none */
    int n_slots, n_frames, n_sums, max_runs;
    int dst_w, dst_h;
    int pad_w, pad_h;      /* of the source, padded */
    UpzTileAxis x, y;
    int halo;
    bool blend;
    UpzLoad *load;         /* [x.n]: one a column of tiles, for the part of the source it sees */
    UpzStore store;
    float *sums[UPZ_TENSOR_FRAMES]; /* results of frames of several tiles: channel, row, pixel */
    uint32_t sums_used;
    int workers, n_scratch;
    float **scratch;       /* [n_slots][workers]: several slots give work to one worker */
    size_t bytes, need;    /* of what the adapter holds; with the network's maps */

    UpzTensorSlot slots[UPZ_TENSOR_SLOTS];
    pthread_mutex_t lock;  /* of all below, and of frames */
    pthread_cond_t work, done;
    UpzTensorFrame frames[UPZ_TENSOR_FRAMES];
    int64_t submitted;     /* frames */
    int64_t next_frame;    /* the first with tiles that nobody took, */
    int next_tile;         /* and the first of those */
    int64_t flush;         /* frames below are waited for */
    int runs;              /* going on */
    bool quit;

    /* with facts.one_thread */
    pthread_t runner;
    bool runner_running, runner_quit;
    UpzTensorSlot *loaded[UPZ_TENSOR_SLOTS]; /* for the runner, in order */
    int n_loaded;
};

static inline int upz_tensor_tiles(const struct UpzEngine *e) { return e->x.n * e->y.n; }

/* True when some of the result's rows y0 … y1 - 1 are to do. */
bool upz_tensor_wanted(const UpzTask *task, int64_t y0, int64_t y1);
/* The frame's first tile from `tile` on that has a part in rows to do; all: there is none. */
int upz_tensor_next_tile(const struct UpzEngine *e, const UpzTensorFrame *frame, int tile);

/* Calls fn(arg) on a thread of its own and returns what it does. Runtimes are set up there, so that
 * the caller's threads get no team of OpenMP's (UpzRuntimeFacts.one_thread). */
int upz_tensor_aside(int (*fn)(void *arg), void *arg, UprezError *err);

/* plan.c: shapes, memory and buffers for e->shape. All threads are stopped. */
int upz_tensor_layout(struct UpzEngine *e, size_t mem_limit, UprezError *err);
void upz_tensor_layout_free(struct UpzEngine *e);
size_t upz_tensor_map_bytes(const struct UpzEngine *e, const UpzTensorShape *s);

/* move.c: pictures to tensors and back, on the context's workers. */
int upz_tensor_load_init(struct UpzEngine *e, UprezError *err);
size_t upz_tensor_scratch(const struct UpzEngine *e); /* floats in one scratch */
void upz_tensor_load(struct UpzEngine *e, const UpzTensorSlot *slot);
/* Image i of a slot's output to the frame's sum. */
void upz_tensor_add(struct UpzEngine *e, const UpzTensorSlot *slot, int i);
/* The frame's result to its picture: from image i of the slot, or (i < 0) from its sum. */
void upz_tensor_store(struct UpzEngine *e, UpzTensorFrame *frame, const UpzTensorSlot *slot, int i);

#endif
