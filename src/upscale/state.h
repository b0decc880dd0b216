/* What the upscaler's two files share: the public calls (upscaler.c) and the driver (driver.c).
 *
 * One driver thread starts pictures in the order they were sent, keeps as many in flight as the lane
 * allows, and finishes them in that order. It never releases references: send, receive and destroy
 * do, on the caller's thread.
 *
 * Reuse: a picture is compared with the one sent before it. Equal ones repeat that one's result; where
 * a part differs only what it can have changed is computed, and the rest copied when results are
 * finished, in order. The bytes are those of computing everything. */
#ifndef UPZ_UPSCALER_STATE_H
#define UPZ_UPSCALER_STATE_H

#include <pthread.h>
#include "base/context.h"
#include "upscale/lane.h"
#include "upscale/results.h"
#include "uprez/upscaler.h"

#define UPZ_SLOTS (UPZ_LANE_DEPTH + 1) /* one result waits while the lane is full */
#define UPZ_MODELS 8

typedef enum UpzSlotState { UPZ_SLOT_FREE, UPZ_SLOT_SENT, UPZ_SLOT_STARTED, UPZ_SLOT_READY } UpzSlotState;

typedef struct UpzSlot {
    UpzSlotState state;
    UprezPicture *src, *dst; /* dst while SENT: the caller's memory for the result, or NULL */
    UprezPicture *keep;      /* READY: another reference to dst, for the picture behind; may be NULL */
    UprezPicture alpha_src, alpha_dst; /* views while in work */
    UpzParts parts;          /* of dst that are computed; n 0: it repeats the result before */
    bool follows;            /* the rest of dst is the result before */
    bool whole;              /* it shall not follow */
    bool shrunk;             /* memory was short for it once */
    int result;
    UprezError err;
} UpzSlot;

/* What an UprezInfo points to: outlives the plan it describes. */
typedef struct UpzNames {
    struct UpzNames *next;
    char engine[32], device[UPZ_DEVICE_NAME], precision[16], numerics[256];
} UpzNames;

struct Uprez {
    UprezContext *ctx;
    UprezParams params;
    UprezModel *models[UPZ_MODELS];
    char *strings[5]; /* engine, device, precision, filter, runtime_path: the caller's may go away */
    UpzResizeKernel filter;
    UpzNames *names;  /* the caller's thread only */
    UpzResults *results;

    /* the plan; the driver's while pictures are in flight */
    UpzLane *color, *alpha;
    UprezPicture like, result; /* shapes; width 0 = not planned */
    bool fill_alpha;
    bool fresh;                /* no picture was started with this plan */
    int out_w, out_h;          /* of the first plan: later sizes are fitted to it */

    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t sent, ready;
    UpzSlot slots[UPZ_SLOTS];  /* a ring: [head] is the oldest */
    int head, n, max;
    UprezPicture *kept_src, *kept_dst; /* of the picture received last: what the oldest slot follows */
    UprezCounts counts;
    bool draining, quit;
};

static inline UpzSlot *upz_slot_at(Uprez *u, int i) { return &u->slots[(u->head + i) % UPZ_SLOTS]; }

/* The source's shape with its colour completed. */
UprezPicture upz_upscaler_shape(const UprezPicture *source);
/* A lane for pictures like this one and results in that memory, if there is none yet. Nothing may be in
 * flight; the lock need not be held. */
int upz_upscaler_plan(Uprez *u, const UprezPicture *picture, int memory, UprezError *err);
/* Slots for the present plan, with the lock held: what the lane can have in flight, and a result that
 * waits to be received. */
static inline void upz_upscaler_limit(Uprez *u)
{
    if (u->params.depth <= 0) u->max = UPZ_MIN(upz_lane_depth(u->color) + 1, UPZ_SLOTS);
}
/* A result may be kept and copied from later: its memory stays as it is while a reference is held. */
bool upz_upscaler_keeps(const Uprez *u, const UprezPicture *result);
/* The thread's function; arg: the Uprez. */
void *upz_upscaler_driver(void *arg);

#endif
