/* Joining: segment files plus every other stream of the source become the output file, once, without
 * re-encoding video.
 *
 * The stream map (what is copied, converted, dropped) is decided before a model is loaded, by rules
 * and by trying the muxer's header in memory. Threads: one at a time. */
#ifndef UPZ_JOIN_H
#define UPZ_JOIN_H

#include "base/context.h"
#include "encoder.h"
#include "source.h"

#define UPZ_STREAMS_MAX 128

typedef enum UpzStreamFate {
    UPZ_STREAM_VIDEO,  /* the enlarged one: comes from the segments */
    UPZ_STREAM_COPY,   /* packets as they are */
    UPZ_STREAM_TEXT,   /* subtitles: to `codec` (mov_text, subrip, webvtt) */
    UPZ_STREAM_AUDIO,  /* re-encoded to `codec` (AAC; Opus for WebM) */
    UPZ_STREAM_ATTACH, /* cover art becomes a Matroska attachment */
    UPZ_STREAM_DROP
} UpzStreamFate;
typedef enum UpzAudioMode { UPZ_AUDIO_COPY, UPZ_AUDIO_AAC, UPZ_AUDIO_NONE } UpzAudioMode;

typedef struct UpzStreamPlan {
    int source;      /* stream index in the file it comes from */
    bool from_other; /* --streams-from */
    UpzStreamFate fate;
    int codec;       /* an AVCodecID, of the output */
    bool file;       /* an attachment: no packets, no stream a player counts */
    bool unknown;    /* nothing says what it is: its parameters were not found */
    bool damaged;    /* its header cannot be decoded */
    bool anew;       /* dropped, but what it says is written anew (chapters, a timecode) */
} UpzStreamPlan;

typedef struct UpzJoinPlan {
    UpzStreamPlan items[UPZ_STREAMS_MAX]; /* in the output's order */
    int n, dropped, converted, damaged;
} UpzJoinPlan;

/* Decides every stream's fate; one warning for each that is converted or dropped (strict: refused
 * with OUTPUT). other may be NULL; with it, audio, subtitles and chapters are its own. */
int upz_join_plan(UpzJoinPlan *plan, UprezContext *ctx, UpzSource *source, const UpzSurvey *other,
                  const UpzEncoderPlan *encoder, const char *output, UpzAudioMode audio,
                  bool strict, UprezError *err);
/* "copy", "mov_text", …, "drop": of an item. Static. */
const char *upz_stream_fate_name(const UpzStreamPlan *item);

typedef struct UpzJoinSegment {
    const char *path;
    int64_t first, end; /* source time base: pts of the first frame, end of the last */
} UpzJoinSegment;

typedef struct UpzJoinParams {
    const UpzJoinSegment *segments; /* in order, none empty */
    int n_segments;
    const char *source; /* the file to copy streams from; "-" and NULL: none */
    const UpzSurvey *survey, *other; /* what was found in it (NULL: it was not looked through), and in
                                      * the second file (NULL: there is none) */
    const char *output;         /* written as is: the job renames */
    int64_t start, end;         /* source time base; INT64_MIN / MAX = all: others are cut to it */
    const UpzSourceInfo *info;
    UpzWatch *watch;            /* may be NULL */
} UpzJoinParams;

typedef struct UpzJoinResult {
    int64_t video_packets;
    int64_t packets[UPZ_STREAMS_MAX]; /* per item of the plan; -1 = not countable in the result */
    int64_t came[UPZ_STREAMS_MAX];    /* packets given to the muxer and taken by it */
    int64_t lost[UPZ_STREAMS_MAX];    /* the first look found them, and they did not come */
    int64_t refused[UPZ_STREAMS_MAX]; /* the muxer did not take them: left out */
    int64_t first[UPZ_STREAMS_MAX];   /* what is heard or seen of it: AV_TIME_BASE, the output's */
    int64_t last[UPZ_STREAMS_MAX];    /* clock; AV_NOPTS_VALUE = nothing, or not known */
    bool broken;                      /* reading a file that was not looked through ended with an error */
    int64_t start, end;               /* of the video as written, source time base */
} UpzJoinResult;

/* INTERRUPTED, OUTPUT, MEMORY, INPUT (the source has gone), VERIFY (a segment is not what the plan says). What is
 * lost or refused of streams that are copied is no error here: the result counts it. */
int upz_join(const UpzJoinPlan *plan, UprezContext *ctx, const UpzJoinParams *params,
             const UpzEncoderPlan *encoder, UpzJoinResult *result, UprezError *err);

#endif
