/* The one table behind which every engine stands. An engine turns pictures into bigger pictures.
 *
 * Threads: probe and supports from any; all else of one engine from one thread at a time. */
#ifndef UPZ_ENGINE_H
#define UPZ_ENGINE_H

#include "uprez/picture.h"
#include "model/model.h"

#define UPZ_ENGINE_ABI 1

typedef struct UpzEngine UpzEngine; /* the engine's own; its first member is UpzEngineBase */
typedef struct UpzEngineOps UpzEngineOps;

typedef struct UpzDevice {
    char kind[16];  /* "cpu", "cuda" */
    int index;
    char name[128]; /* for people */
    size_t memory;  /* bytes, 0 = unknown */
    void *native_context, *native_stream; /* CUcontext and CUstream to join, or NULL */
} UpzDevice;

typedef struct UpzDeviceList {
    UpzDevice items[16];
    int n;
} UpzDeviceList;

typedef struct UpzEngineParams {
    const char *precision; /* "auto", "fp32", … */
    int tile, batch;       /* 0 = the engine's choice */
    const char *runtime_path;
    int out_w, out_h;      /* size of the result: kernels have no scale of their own */
} UpzEngineParams;

/* What one plan is for. */
typedef struct UpzShape {
    int width, height;            /* of the source */
    UprezFormat src, dst;
    UprezColor src_color, dst_color; /* complete: no unknown fields */
} UpzShape;

typedef struct UpzPlan {
    size_t need;           /* bytes beside the pictures */
    int width, height;     /* of the result */
    int reach_x, reach_y;  /* dst px: how far one source change spreads, bitwise */
    int grain_x, grain_y;  /* dst px: unit in which parts can be computed alone */
    int depth;             /* tasks in flight that make sense */
    int exact;             /* same bytes whatever tiling and threads */
    char numerics[64], precision[16];
} UpzPlan;

/* The caller's until wait() ends. dst has the plan's size. */
typedef struct UpzTask {
    const UprezPicture *src;
    UprezPicture *dst;
    const UprezRect *todo; /* dst px, on the plan's grain; an engine may compute more */
    int n_todo;            /* 0 = all */
    int result;            /* 0 or an UprezErr, valid after wait */
    UprezError err;
    void *priv;            /* the engine's */
} UpzTask;

struct UpzEngineOps {
    unsigned abi;
    const char *name, *about;
    const char *missing; /* NULL, or the sentence why this build has none of it */
    int (*probe)(UpzDeviceList *list); /* appends; cheap, cannot fault */
    /* 0, or an UprezErr and the reason: can it run this model so? */
    int (*supports)(const UprezModel *model, const UpzEngineParams *params, UprezError *why);
    int (*open)(UpzEngine **out, UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                const UpzEngineParams *params, UprezError *err); /* references ctx and model */
    /* Only when idle; the one place that allocates. mem_limit 0 = none. MEMORY names the need. */
    int (*plan)(UpzEngine *e, const UpzShape *shape, size_t mem_limit, UpzPlan *plan,
                UprezError *err);
    int (*submit)(UpzEngine *e, UpzTask *task); /* never waits for compute; UPREZ_AGAIN = full */
    int (*wait)(UpzEngine *e, UpzTask *task, int64_t timeout_ns); /* 0 or UPREZ_AGAIN */
    void (*close)(UpzEngine **e); /* accepts pointer to NULL; waits for tasks in flight */
};

typedef struct UpzEngineBase {
    const UpzEngineOps *ops;
} UpzEngineBase;

extern const UpzEngineOps *const upz_engines[]; /* engine_list.c: preferred first, ends with NULL */
const UpzEngineOps *upz_engine_find(const char *name);

#endif
