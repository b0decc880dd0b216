/* The adapter that makes an engine of a tensor runtime (ONNX Runtime, OpenVINO, LibTorch, …).
 *
 * A runtime only runs dense tensors, N x C x H x W in, N x C x sH x sW out, fp32 or fp16, through
 * buffers that stay where they are. The adapter does all else: pictures to planes of floats and
 * back, the network's own input colour, padding to the model's alignment and to fixed shapes,
 * tiles that overlap and are blended, batches across tiles and frames, flow, smaller tiles when
 * memory runs out.
 *
 * Tiles: a picture goes whole when the runtime takes its size and the network's maps, by an
 * estimate, fit into half of the memory built in (not of what is free: the next run shall decide
 * alike). Else, or with a tile asked for, it goes in tiles of one shape that overlap (tiles.h).
 * Their halo is the network's reach, but at most the larger of 32 px and an eighth of the tile, and
 * at most a quarter of it: where that is enough tiles are cut together and no trace of them is
 * left, else they fade into each other. Pictures smaller than a fixed or least shape are padded on
 * the right and below as the graph says (foreign models: edge pixels repeat), and so are those off
 * the model's alignment. When memory runs out: batches of one, one slot, then tiles of half the
 * side, down to 64 px.
 *
 * Batches are filled with tiles and pictures in their order. One that is not full starts when its
 * first picture is waited for; what its other images hold is left from runs before (zeros at first)
 * and nobody reads what becomes of them.
 *
 * Numerics id: name/version/provider/precision/, then "whole" or the tile's WIDTHxHEIGHT+HALO (and
 * "b" where they fade), then xBATCH above one; too long ones end in a hash of the whole.
 *
 * Threads: the adapter calls run from its own threads, one slot from one thread at a time, several
 * slots at once; everything else when nothing runs, open and prepare from threads that end then. */
#ifndef UPZ_TENSOR_H
#define UPZ_TENSOR_H

#include "engine/engine.h"

#define UPZ_TENSOR_SLOTS 8

typedef struct UpzRuntime UpzRuntime; /* the runtime's own */

typedef struct UpzTensorShape {
    int batch, channels, height, width;         /* of the input */
    int out_channels, out_height, out_width;    /* of the output */
    bool half;                                  /* fp16 at this interface, else fp32 */
} UpzTensorShape;

/* One slot's memory on the host (pinned where the runtime knows that), from prepare to the next
 * prepare or close. Dense NCHW. */
typedef struct UpzTensorBuffers {
    void *in, *out;
} UpzTensorBuffers;

/* What open found out and the adapter obeys. open gets it zeroed. */
typedef struct UpzRuntimeFacts {
    char version[64];     /* "1.31.1"; part of the numerics id */
    char provider[32];    /* "cpu", "cuda", "tensorrt"; part of the numerics id */
    char precision[16];   /* resolved: "fp32", "fp16", "bf16" */
    bool half_io;         /* tensors pass the interface in fp16 */
    bool fixed_shape;     /* every shape costs a build: one tile size for all pictures */
    int fixed_batch, fixed_height, fixed_width; /* the only shape it takes, 0 = any */
    int max_height, max_width;  /* largest input, 0 = any */
    int min_height, min_width;  /* smallest input, 0 = any */
    int slots;            /* runs at once that make sense, 1 … UPZ_TENSOR_SLOTS; 0 = 1 */
    bool device_memory;   /* the network's maps are not in this machine's main memory */
    bool one_thread;      /* all runs from one and the same thread, one at a time: OpenMP has a team of
                             workers for each thread that computes, and when they are more than the
                             processors all of them wait asleep instead of awake */
} UpzRuntimeFacts;

typedef struct UpzRuntimeOps {
    const char *name; /* as in the engine's table and the numerics id */
    int (*open)(UpzRuntime **out, UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                const UpzEngineParams *params, UpzRuntimeFacts *facts, UprezError *err);
    /* Buffers for `slots` runs of one shape, freeing those of the shape before. UPREZ_ERR_MEMORY:
     * the adapter comes back with less. slots is at most facts.slots + 1 (one is filled or emptied
     * while the others run) and at most UPZ_TENSOR_SLOTS; no more than facts.slots run at once. */
    int (*prepare)(UpzRuntime *rt, const UpzTensorShape *shape, int slots,
                   UpzTensorBuffers *buffers, UprezError *err);
    /* Blocking: slot's input to its output, all of the batch. UPREZ_ERR_MEMORY as in prepare. */
    int (*run)(UpzRuntime *rt, int slot, UprezError *err);
    void (*close)(UpzRuntime **rt); /* accepts pointer to NULL */
    /* For foreign models, NULL if there are none: what comes out for an input of shape->batch,
     * channels, height and width, into shape->out_*. May run the model on zeros. Not between prepare
     * and run. MODEL when it does not take such an input. */
    int (*output_shape)(UpzRuntime *rt, UpzTensorShape *shape, UprezError *err);
} UpzRuntimeOps;

/* UpzEngineOps.open of a runtime's engine ends here; `ops` is the engine's own table. The other
 * entries are the functions below. */
int upz_tensor_open(UpzEngine **out, const UpzEngineOps *ops, const UpzRuntimeOps *runtime,
                    UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                    const UpzEngineParams *params, UprezError *err);
int upz_tensor_plan(UpzEngine *e, const UpzShape *shape, size_t mem_limit, UpzPlan *plan,
                    UprezError *err);
int upz_tensor_submit(UpzEngine *e, UpzTask *task);
int upz_tensor_wait(UpzEngine *e, UpzTask *task, int64_t timeout_ns);
void upz_tensor_close(UpzEngine **e);

/* Opens a runtime of a foreign model for a trial: two sizes are run, and scale, channels and a
 * reach for overlaps are filled into the model's facts. For UpzEngineOps.look. */
int upz_tensor_look(const UpzRuntimeOps *runtime, UprezContext *ctx, UprezModel *model,
                    const UpzDevice *device, const UpzEngineParams *params, UprezError *err);

#endif
