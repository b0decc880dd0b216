/* The rehearsal: what an encoder and a container cannot do is found out before a model runs.
 *
 * A few made-up frames of the planned size, format and times go through the very functions of the
 * job: the sink, the join, and a reader that decodes them all again. Then every step of time of the
 * source goes through the join with tiny packets, and what a reader finds is compared. Everything
 * is written into memory; nothing of it stays open. Threads: safe. */
#ifndef UPZ_REHEARSAL_H
#define UPZ_REHEARSAL_H

#include "base/context.h"
#include "encoder.h"
#include "source.h"

typedef struct UpzRehearsal {
    const UpzEncoderPlan *encoder;
    const UpzSourceInfo *info;
    const int64_t *pts;  /* of the frames to come, ascending, source time base; NULL = unknown, then
                            the nominal rate is tried */
    size_t n;
    const int64_t *cuts; /* where segments begin, ascending, n_cuts of them; may be NULL */
    size_t n_cuts;
    const char *output;  /* its name, for sentences */
    UpzWatch *watch;      /* may be NULL */
} UpzRehearsal;

/* 0, also where nothing can be tried (no memory file, a limit on files' sizes); USAGE and a sentence
 * that says what does not go; MEMORY; INTERRUPTED. Warns through ctx where times are rounded so that
 * it may be seen. Takes 5 s at most for the frames, by working on a smaller picture where the
 * planned one would take longer, and 5 s for the times. */
int upz_rehearse(const UpzRehearsal *rehearsal, UprezContext *ctx, UprezError *err);

#endif
