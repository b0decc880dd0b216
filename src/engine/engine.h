/* The one table behind which every engine stands. An engine turns pictures into bigger pictures.
 *
 * Threads: probe and supports from any; all else of one engine from one thread at a time. */
#ifndef UPZ_ENGINE_H
#define UPZ_ENGINE_H

#include "uprez/picture.h"
#include "model/model.h"
#include "picture/resize.h"

#define UPZ_ENGINE_ABI 4

typedef struct UpzEngine UpzEngine; /* the engine's own; its first member is UpzEngineBase */
typedef struct UpzEngineOps UpzEngineOps;

typedef struct UpzDevice {
    char kind[16];  /* "cpu", "cuda" */
    int index;
    char name[128];    /* for people */
    size_t memory;     /* bytes, 0 = unknown */
    char runtime[512]; /* the foreign library's file that was taken, "" for our own kernels */
    char version[64];  /* of that library */
    char can[128];     /* what it offers here: precisions, providers; "" */
    void *native_context, *native_stream; /* CUcontext and CUstream to join, or NULL */
} UpzDevice;

typedef struct UpzDeviceList {
    UpzDevice items[16];
    int n;
} UpzDeviceList;

typedef struct UpzEngineParams {
    const char *precision; /* "auto", "fp32", … */
    int tile, batch;       /* 0 = the engine's choice; tile: source px, side of a square */
    const char *runtime_path; /* folder to look in for foreign libraries first, or NULL */
    int out_w, out_h;      /* px of the result, for kernels, which have no scale of their own, and for
                              engines that resize; 0 = the network's */
    UpzResizeKernel filter; /* of engines that resize */
    int cuda_pictures;     /* 1: only an engine that takes pictures in a GPU's memory will do */
    void *native_context;  /* their CUcontext, or NULL */
    const struct UpzEngineOps *after; /* choose: only engines behind this one in the list; or NULL */
} UpzEngineParams;

/* What one plan is for. */
typedef struct UpzShape {
    int width, height;            /* of the source */
    UprezFormat src, dst;
    int src_memory, dst_memory;   /* UprezMemory */
    UprezColor src_color, dst_color; /* complete: no unknown fields */
} UpzShape;

typedef struct UpzPlan {
    size_t need;           /* bytes beside the pictures */
    int width, height;     /* of the result */
    /* dst px: how far one source change spreads, bit for bit, through everything from the source's
     * chroma to the result's: samples of source columns a … b - 1 alone may change dst columns
     * floor(a * W / w) - reach_x … ceil(b * W / w) + reach_x - 1, rounded outwards to the grain (w, W:
     * width of source and result; rows likewise). Bounds for which that is not true: todo 0. */
    int reach_x, reach_y;
    int grain_x, grain_y;  /* dst px: unit in which parts can be computed alone */
    bool todo;             /* UpzTask.todo saves work here, and the reach above is true */
    int depth;             /* tasks in flight that make sense */
    int exact;             /* same bytes whatever tiling and threads */
    char numerics[64], precision[16];
} UpzPlan;

/* The caller's until wait() ends. dst has the plan's size. */
#define UPZ_TODO_MAX 16 /* rectangles of a task */
typedef struct UpzTask {
    const UprezPicture *src;
    UprezPicture *dst;
    /* What is wanted of dst, in dst px, on the plan's grain or at the picture's edge; n_todo 0 = all.
     * An engine may compute more; what it leaves or writes outside is of no account: the caller fills
     * that in afterwards. Only of plans with todo; all of src is there and right. The rectangles do
     * not overlap. */
    const UprezRect *todo;
    int n_todo;
    int result;            /* 0 or an UprezErr, valid after wait */
    UprezError err;
    void *priv;            /* the engine's */
} UpzTask;

struct UpzEngineOps {
    unsigned abi;
    const char *name, *about;
    const char *missing; /* NULL, or the sentence why this build has none of it */
    bool resizes;        /* a network's result too is made out_w x out_h px, by filter */
    /* Appends the devices found; cheap, cannot fault. None and `why` filled: what is missing and how
     * to get it. runtime_path: as in UpzEngineParams. */
    int (*probe)(const char *runtime_path, UpzDeviceList *list, UprezError *why);
    /* NULL, or: fills facts (scale, channels, align, reach) of a model whose graph only this
     * runtime understands (model->foreign). The model is not shared yet. */
    int (*look)(UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                const UpzEngineParams *params, UprezError *err);
    /* 0, or an UprezErr and the reason: can it run this model so? */
    int (*supports)(const UprezModel *model, const UpzEngineParams *params, UprezError *why);
    int (*open)(UpzEngine **out, UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                const UpzEngineParams *params, UprezError *err); /* references ctx and model */
    /* Only when idle; the one place that allocates. mem_limit 0 = none. MEMORY names the need. */
    int (*plan)(UpzEngine *e, const UpzShape *shape, size_t mem_limit, UpzPlan *plan,
                UprezError *err);
    /* Never waits for compute; UPREZ_AGAIN = full. Work goes behind what is on the streams of pictures in a
     * GPU's memory; those streams themselves go on, so nobody writes such pictures before wait returned 0. */
    int (*submit)(UpzEngine *e, UpzTask *task);
    int (*wait)(UpzEngine *e, UpzTask *task, int64_t timeout_ns); /* 0 or UPREZ_AGAIN */
    void (*close)(UpzEngine **e); /* accepts pointer to NULL; waits for tasks in flight */
    /* NULL for engines that know host memory only. Else pictures of either memory kind may be
     * submitted, and this makes one in the device's memory, in the order of like->stream (NULL: the
     * default stream), which lives as long as the picture. `like`: format, colour, size, device, stream.
     * The picture may outlive the engine. */
    int (*picture)(UpzEngine *e, UprezPicture **out, const UprezPicture *like, UprezError *err);
    /* Both NULL for engines that know host memory only; then nothing in a GPU's memory is reused.
     * compare: which cells of two pictures in the device's memory, both of the planned source shape,
     * differ in any byte of any plane (alpha too; what lies between rows does not count). A cell is
     * `cell` x `cell` px, cell a multiple of 16; changed[] is row by row, ceil(width / cell) times
     * ceil(height / cell), each set to 0 or 1. Returns with the answer: waits for what was enqueued on
     * the two pictures' streams, and for nothing else. */
    int (*compare)(UpzEngine *e, const UprezPicture *a, const UprezPicture *b, int cell,
                   uint8_t *changed, UprezError *err);
    /* Copies n rectangles (dst px; on multiples of 4 px or at the edge) from one result of the plan to
     * another, both in the device's memory. It comes behind what was enqueued on from->stream and
     * to->stream before, and both go on behind it: `from` may be let go of at once. Waits for it only
     * where `to` has the engine's own stream. Called after wait of the task that made `to` (or without one: a repeated picture). */
    int (*copy)(UpzEngine *e, const UprezPicture *from, UprezPicture *to, const UprezRect *rects,
                int n, UprezError *err);
};

typedef struct UpzEngineBase {
    const UpzEngineOps *ops;
} UpzEngineBase;

/* "cpu", "cuda:1"; of the size UPZ_DEVICE_NAME. */
#define UPZ_DEVICE_NAME 32
void upz_device_name(const UpzDevice *device, char name[UPZ_DEVICE_NAME]);

/* The first engine of the list that is the one asked for (NULL, "auto": any), finds the device (NULL,
 * "auto": any; "cuda", "cuda:1") and supports the model. A kernel goes to its own engine whatever was
 * asked for. MODEL, DEVICE or USAGE, and why. */
int upz_engine_choose(const UpzEngineOps **ops, UpzDevice *device, const char *engine,
                      const char *device_name, const UprezModel *model,
                      const UpzEngineParams *params, UprezError *err);

/* True when a GPU is here that engine cuda does not use for this model, and why. */
bool upz_engine_gpu_idle(const UprezModel *model, const UpzEngineParams *params, UprezError *why);

/* Asks the engines in turn to look at a foreign model; 0 at once for any other. */
int upz_engine_look(UprezContext *ctx, UprezModel *model, const char *engine,
                    const char *device_name, const char *runtime_path, UprezError *err);

extern const UpzEngineOps *const upz_engines[]; /* engine_list.c: preferred first, ends with NULL */
const UpzEngineOps *upz_engine_find(const char *name);

#endif
