/* Joining: segment files plus every other stream of the source become the output file, once, without
 * re-encoding video.
 *
 * The stream map (what is copied, converted, dropped) is decided before a model is loaded. */
#ifndef UPZ_JOIN_H
#define UPZ_JOIN_H

#include "base/context.h"
#include "sink.h"
#include "source.h"

typedef enum UpzStreamFate { UPZ_STREAM_COPY, UPZ_STREAM_MOV_TEXT, UPZ_STREAM_AAC, UPZ_STREAM_DROP,
                             UPZ_STREAM_VIDEO } UpzStreamFate;
typedef enum UpzAudioMode { UPZ_AUDIO_COPY, UPZ_AUDIO_AAC, UPZ_AUDIO_NONE } UpzAudioMode;

typedef struct UpzStreamPlan {
    int source;          /* stream index in the file it comes from */
    UpzStreamFate fate;
    bool from_other;     /* --streams-from */
} UpzStreamPlan;

typedef struct UpzJoinPlan {
    UpzStreamPlan items[64];
    int n;
    char container[32];
} UpzJoinPlan;

/* Decides every stream's fate by trying the muxer's header in memory; warns once per stream that is
 * converted or dropped (strict: refuses with OUTPUT). other may be NULL. */
int upz_join_plan(UpzJoinPlan *plan, UprezContext *ctx, const UpzSource *source,
                  const UpzSource *other, const UpzEncoderPlan *encoder, const char *output,
                  UpzAudioMode audio, bool strict, UprezError *err);

typedef struct UpzJoinParams {
    const char *const *segments; /* in order */
    int n_segments;
    const char *source, *other;  /* files to copy streams from; other may be NULL */
    const char *output;          /* written as is: the job renames */
    int64_t start, end;          /* source time base; INT64_MIN / MAX = all: others are trimmed to it */
    const UpzSourceInfo *info;
    volatile int *cancel;
} UpzJoinParams;

typedef struct UpzJoinResult {
    int64_t video_packets;
    int64_t packets[64];         /* per item of the plan */
} UpzJoinResult;

int upz_join(const UpzJoinPlan *plan, UprezContext *ctx, const UpzJoinParams *params,
             const UpzEncoderPlan *encoder, UpzJoinResult *result, UprezError *err);

#endif
