/* What the lane's two files share: its steps, and the pictures they work on. */
#ifndef UPZ_LANE_STEPS_H
#define UPZ_LANE_STEPS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/context.h"
#include "picture/convert.h"
#include "picture/fill.h"
#include "picture/neutral.h"
#include "upscale/lane.h"

#define UPZ_LANE_STEPS 48
#define UPZ_LANE_PICTURES 32

/* Picture slots: 0 the source, 1 the destination, from 2 on the lane's own. */
enum { SLOT_SRC, SLOT_DST, SLOT_OWN };

typedef enum StepKind {
    STEP_ENGINE, STEP_TTA, STEP_RESIZE, STEP_CONVERT, STEP_BLEND, STEP_FILL, STEP_NEUTRAL
} StepKind;

typedef struct UpzLaneStep {
    StepKind kind;
    int src, dst;             /* picture slots */
    bool luma;                /* only component 0 of both */
    UpzEngine *engine;        /* ENGINE, TTA */
    UpzEngine *turned;        /* TTA: planned for the transposed size */
    UpzShape shape;           /* ENGINE: what it is planned for, and how */
    UpzPlan plan;
    bool kernel;              /* ENGINE: no network */
    UpzResizePicture *resize; /* RESIZE */
    UpzConvertPlan *convert;  /* CONVERT */
    UpzFill *fill;            /* FILL */
    UpzNeutral *neutral;      /* NEUTRAL: of what it finds in dst; src is looked at only */
    int tmp[4];               /* TTA: turned input and output, both orientations */
} UpzLaneStep;

struct UpzLane {
    UprezContext *ctx;
    UpzLaneParams params;
    UprezPicture src, dst; /* shapes */
    UpzLaneStep steps[UPZ_LANE_STEPS];
    int n_steps, engine_step; /* the step that pictures in flight are in; -1: none, depth 1 */
    int n_own, depth;
    size_t memory;
    /* lane_parts.c: how far a change of the source spreads, and what a part of the result needs around
     * it, in px of each slot (x, y); cells of the source */
    bool parts;
    int reach[SLOT_OWN + UPZ_LANE_PICTURES][2], needs[SLOT_OWN + UPZ_LANE_PICTURES][2], cell;
    uint8_t *changed;
    char numerics[256], engine[32], precision[16], device[UPZ_DEVICE_NAME];
    /* in flight, oldest first */
    struct UpzFlight {
        UprezPicture *own[UPZ_LANE_PICTURES]; /* those of flight[0] are the lane's shapes too */
        const UprezPicture *src;
        UprezPicture *dst;
        UpzParts parts, todo; /* of dst; of engine_step's result */
        UpzTask task;
        UprezPicture view_src, view_dst;
    } flight[UPZ_LANE_DEPTH];
    int first, n_flight;
};

/* A slot's shape, for all flights. */
static inline const UprezPicture *upz_lane_shape(const UpzLane *l, int i)
{
    return i == SLOT_SRC ? &l->src : i == SLOT_DST ? &l->dst : l->flight[0].own[i - SLOT_OWN];
}

/* Fills parts, reach, needs and cells when all steps are there. */
int upz_lane_measure(UpzLane *lane, UprezError *err);
/* What of an ENGINE step's result parts of the destination need. */
void upz_lane_todo(const UpzLane *lane, const UpzLaneStep *step, const UpzParts *parts, UpzParts *todo);

static inline const UpzEngineOps *upz_ops_of(UpzEngine *e) { return ((UpzEngineBase *)e)->ops; }

#endif
