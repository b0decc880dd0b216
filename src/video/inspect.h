/* Everything that can be seen and heard of a file: each frame of its picture in figures, the loudness of its
 * sound over time, what decoding complained of. `uprez check` judges by it; nothing here does.
 *
 * Times are seconds from the first shown frame (without a picture: from the file's first time).
 * Threads: blocking, one thread and those of the decoders. */
#ifndef UPZ_INSPECT_H
#define UPZ_INSPECT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/context.h"

enum {
    UPZ_INSPECT_STREAMS = 32,
    UPZ_THUMB_W = 16, UPZ_THUMB_H = 9,
    UPZ_BINS = 200 /* of loudness, a second */
};

/* One frame. Grey levels are 0..255 whatever the depth; black is 16 in limited range. */
typedef struct UpzInspectFrame {
    double time;
    float mean, spread; /* of luma: its mean and standard deviation */
    float change;       /* mean difference to the frame before; -1: the first one */
    bool damaged;       /* the decoder reported errors */
    uint8_t thumb[UPZ_THUMB_W * UPZ_THUMB_H];
} UpzInspectFrame;

typedef struct UpzInspectStream {
    char type;           /* 'v' picture, 'a' sound, 's' subtitles, 'd' data, 't' attachment, 'c' cover */
    char codec[32], language[16], format[32]; /* format: of pixels or samples */
    int64_t packets, errors; /* errors: packets that were refused, frames with errors */
    double error_time;   /* of the first one */
    double first, end;   /* what was decoded (subtitles: packets); NAN: nothing */
    double stated;       /* the duration that its header says; 0 = none */
    double hole, hole_time; /* the longest hole in its sound, and where; 0 = none of 50 ms or more */
    int rate, channels;
    float *loudness;     /* sound: mean square of each bin, from time 0 on */
    size_t bins, bins_cap;
} UpzInspectStream;

typedef struct UpzInspection {
    char container[32];
    double stated;       /* the duration that the container says; 0 = none */
    double end;          /* where the last stream that can be decoded ends */
    char damage[256];    /* what the container's own figures say is missing; "" = nothing */
    bool header_first;   /* MP4, MOV: a player can begin before it has the whole file */
    int n_streams;
    UpzInspectStream stream[UPZ_INSPECT_STREAMS];
    int video;           /* the stream of the frames; -1 = none */
    int width, height, depth;
    bool chroma_420, limited; /* YUV 4:2:0; limited range */
    double rate;         /* frames a second that the file says; 0 = unknown */
    double origin;       /* of all times, in the file's own clock */
    UpzInspectFrame *frame;
    size_t frames, frames_cap;
} UpzInspection;

typedef struct UpzInspectParams {
    volatile int *cancel;
    void (*progress)(void *cookie, double seconds, double total); /* total 0 = unknown; may be NULL */
    void *cookie;
} UpzInspectParams;

/* INPUT when it does not open or holds neither picture nor sound; INTERRUPTED. Free in any case. */
int upz_inspect(UpzInspection *out, UprezContext *ctx, const char *url, const UpzInspectParams *params,
                UprezError *err);
/* How long a file says it is, in seconds; 0: it does not say, or is one picture. INPUT. */
int upz_inspect_length(double *seconds, UprezContext *ctx, const char *url, UprezError *err);
void upz_inspection_free(UpzInspection *i);

#endif
