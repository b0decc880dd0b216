/* Decode ‖ upscale ‖ encode: the frames of one video through an upscaler into segment files, a y4m
 * stream or picture files, in three threads over bounded queues. */
#ifndef UPZ_PIPELINE_H
#define UPZ_PIPELINE_H

#include "job.h"
#include "plan.h"
#include "session.h"
#include "store.h"
#include "video/sink.h"

typedef struct UpzPipelineParams {
    UprezContext *ctx;
    const UpzJobParams *job;
    UpzSource *source;
    UpzFrame *first;       /* already read; the pipeline's */
    UpzSession *session;   /* its team is planned */
    const UpzSelection *selection;
    UpzUnits *units;       /* those not done are made */
    const UpzStore *store; /* NULL: y4m to `path` */
    const char *path;      /* y4m; of pictures (see frames.h) the name or pattern */
    int64_t there;         /* pictures: those of the first frames, which are passed over */
    const UpzEncoderPlan *encoder;
    UpzWatch *watch;       /* the run's; may be NULL */
} UpzPipelineParams;

typedef struct UpzPipelineResult {
    int64_t frames_in, frames_out; /* of this run */
    int64_t resumed;               /* frames of units that were done before */
    int64_t damaged, held;         /* all units */
    uint32_t side;                 /* all units: UpzUnit.side */
    double decode_s, upscale_s, encode_s; /* busy, wall */
    const char *bottleneck;
    double reused;           /* as UpzJobResult.reused */
    bool interrupted;
    UpzSinkResult stream;          /* y4m only */
} UpzPipelineResult;

/* 0 (also when interrupted: the unit at hand is then `partial`), or the first error of any stage.
 * VERIFY when an output frame is black or flat where its input is not. Runs on, and reports progress
 * from, the calling thread. */
int upz_pipeline_run(const UpzPipelineParams *params, UpzPipelineResult *result, UprezError *err);

#endif
