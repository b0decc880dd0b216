/* Reading a finished file back: what is in it, and does it decode. Threads: safe. */
#ifndef UPZ_CHECK_H
#define UPZ_CHECK_H

#include "join.h"

typedef struct UpzCheckStream {
    int type;             /* an AVMediaType */
    int64_t packets;
    int64_t shown;        /* of them, those that a player shows */
    int64_t untimed;      /* of these, those that do not say when */
    int64_t first, last;  /* from when to when, AV_TIME_BASE; AV_NOPTS_VALUE = no times */
    bool header;          /* a decoder begins with it, or there is none to ask */
} UpzCheckStream;

typedef struct UpzCheck {
    int n_streams;                       /* attachments not counted */
    UpzCheckStream streams[UPZ_STREAMS_MAX];
    int video;                           /* the enlarged stream, -1 = there is no such video */
    int width, height;
    int64_t decoded;                     /* frames of it that were decoded */
    bool first_decodes, last_decodes;    /* its first frame; all behind its last keyframe */
} UpzCheck;

/* Opens the file as a player does, demuxes all of it, begins a decoder for every stream and decodes the
 * two ends of the enlarged video. VERIFY when it does not open. container: the muxer's name; plan NULL: the
 * first stream is the video. watch may be NULL. */
int upz_check_file(UpzCheck *check, const char *path, const char *container,
                   const UpzJoinPlan *plan, UpzWatch *watch, UprezError *err);
/* Compares with what was written; VERIFY, and the sentence says what differs. */
int upz_check_result(const UpzCheck *check, const UpzJoinPlan *plan, const UpzJoinResult *written,
                     const UpzEncoderPlan *encoder, int64_t frames, const char *path,
                     UprezError *err);

#endif
