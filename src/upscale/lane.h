/* A lane: the fixed sequence of steps that turns one picture shape into one result shape.
 *
 * Steps run engines, resizes and conversions between the source, the destination and pictures the
 * lane owns. Colour has a lane, alpha one of its own. Threads: one at a time. */
#ifndef UPZ_LANE_H
#define UPZ_LANE_H

#include "engine/engine.h"
#include "picture/resize.h"
#include "upscale/parts.h"
#include "uprez/upscaler.h"

#define UPZ_LANE_DEPTH 32 /* pictures in flight, at most */

typedef struct UpzLane UpzLane;

/* What the caller asked for, complete. */
typedef struct UpzLaneParams {
    UprezModel *const *models; /* referenced by the engines */
    int n_models;
    const char *engine, *device, *precision; /* NULL = auto */
    int tile, batch;           /* as in UprezParams, and runtime_path */
    const char *runtime_path;
    void *cuda_context;        /* of pictures in a GPU's memory; NULL = the primary one */
    bool quiet;                /* what was said for a lane before is not said again */
    const char *engine_before; /* that lane's engine, or NULL: giving it up is said in any case */
    UpzResizeKernel filter;
    double blend;
    int tta;
    int depth;                 /* pictures in flight at most, 0 = as many as make sense */
} UpzLaneParams;

/* src and dst: size, format, complete colour, and the kind of memory: in a GPU's only where networks
 * alone make the result; between them it stays there too. DEVICE: the sentence says what there is no way for. */
int upz_lane_create(UpzLane **out, UprezContext *ctx, const UpzLaneParams *params,
                    const UprezPicture *src, const UprezPicture *dst, UprezError *err);
void upz_lane_destroy(UpzLane **lane);

/* True when src has the shape the lane was made for, and results shall lie in that memory. */
bool upz_lane_fits(const UpzLane *lane, const UprezPicture *src, int dst_memory);
/* A picture in the GPU's memory for a result, in the order of like->stream; as UpzEngineOps.picture. */
int upz_lane_picture(UpzLane *lane, UprezPicture **out, const UprezPicture *like, UprezError *err);
/* Nothing is in flight and GPU memory is short: engines do with less by smaller tiles. MEMORY, and then
 * the lane is of no use any more; also where no engine has memory on a GPU. */
int upz_lane_shrink(UpzLane *lane, UprezError *err);
/* Pictures that may be in flight at once: start up to that many, finish them in order. */
int upz_lane_depth(const UpzLane *lane);
size_t upz_lane_memory(const UpzLane *lane);
const char *upz_lane_numerics(const UpzLane *lane);
const char *upz_lane_engine(const UpzLane *lane);
const char *upz_lane_device(const UpzLane *lane);
const char *upz_lane_precision(const UpzLane *lane);

/* Begins one picture: does the steps before the first engine's, whose compute is not waited for. Both
 * pictures stay the caller's and alive until finish. parts: what of dst is wanted, as upz_lane_compare
 * gives it, NULL for all; the rest of dst then means nothing. */
int upz_lane_start(UpzLane *lane, const UprezPicture *src, UprezPicture *dst, const UpzParts *parts,
                   UprezError *err);
/* Waits for the oldest started picture. */
int upz_lane_finish(UpzLane *lane, UprezError *err);

/* Which parts of the result may differ when `src` follows `before`, both of the lane's shape: every byte
 * of every plane counts. Fails where a GPU does, else never. */
int upz_lane_compare(UpzLane *lane, const UprezPicture *before, const UprezPicture *src,
                     UpzParts *parts, UprezError *err);
/* Copies a result but for some parts of it. Waits for nothing on a GPU; the order of both pictures'
 * streams is kept. */
int upz_lane_copy(UpzLane *lane, const UprezPicture *from, UprezPicture *to, const UpzParts *but,
                  UprezError *err);

/* The result's size for a source of src_w x src_h px: width and height win over scale (one alone
 * keeps the aspect ratio), scale 0 means the models' own (kernels alone: 2). */
void upz_result_size(UprezModel *const *models, int n_models, double scale, int width, int height,
                     int src_w, int src_h, int *out_w, int *out_h);

#endif
