/* Reading a finished file back: what is in it, and does it decode. Threads: safe. */
#ifndef UPZ_CHECK_H
#define UPZ_CHECK_H

#include "join.h"

typedef struct UpzCheck {
    int n_streams;                       /* attachments not counted */
    int64_t packets[UPZ_STREAMS_MAX];    /* by stream, attachments left out */
    int type[UPZ_STREAMS_MAX];           /* an AVMediaType */
    int video;                           /* the enlarged stream, -1 = there is no such video */
    int width, height, rotation;
    int64_t span_us;                     /* of the video: first pts to the end of the last */
    int64_t decoded;                     /* frames of it that were decoded */
    bool first_decodes, last_decodes;    /* its first frame; all behind its last keyframe */
} UpzCheck;

/* Demuxes the whole file, edit lists ignored, and decodes the two ends of the enlarged video. VERIFY
 * when it does not open. container: the muxer's name; plan NULL: the first stream is the video. */
int upz_check_file(UpzCheck *check, const char *path, const char *container,
                   const UpzJoinPlan *plan, UprezError *err);
/* Compares with what was written; VERIFY, and the sentence says what differs. */
int upz_check_result(const UpzCheck *check, const UpzJoinPlan *plan, const UpzJoinResult *written,
                     const UpzEncoderPlan *encoder, int64_t frames, const char *path,
                     UprezError *err);

#endif
