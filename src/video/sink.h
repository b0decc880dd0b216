/* Writing: an encoder into one video-only segment file, or a y4m stream.
 *
 * Threads: one at a time. */
#ifndef UPZ_SINK_H
#define UPZ_SINK_H

#include "base/context.h"
#include "base/watch.h"
#include "encoder.h"
#include "frame.h"

typedef struct UpzSink UpzSink;

typedef struct UpzSinkResult {
    int64_t frames, packets;
    int64_t first, last, end; /* plan's time base: pts of the first and last frame; end of the last */
} UpzSinkResult;

/* A segment file, or for plan->y4m a y4m file (path "-": standard output; a reader that goes away
 * is an error, never a signal). Overwrites. watch (may be NULL) ends writing to a reader that does not
 * read: INTERRUPTED, here and below. OUTPUT or MEMORY. */
int upz_sink_open(UpzSink **out, const UpzEncoderPlan *plan, const char *path, UpzWatch *watch,
                  UprezError *err);
/* Encodes; pts in the plan's time base, strictly increasing. The frame stays the caller's; its
 * coding hints are cleared. */
int upz_sink_write(UpzSink *s, AVFrame *frame, UprezError *err);
/* Flushes, writes the trailer, syncs to disk. */
int upz_sink_finish(UpzSink *s, UpzSinkResult *result, UprezError *err);
void upz_sink_close(UpzSink **s); /* without finish: the file is incomplete */

#endif
