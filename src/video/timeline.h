/* One clock for all streams of a file.
 *
 * Recordings that were joined end to end begin their time anew, each stream at another place of the
 * file. A timeline cuts a file's time into epochs, one for each recording: in an epoch all streams
 * keep their distance, and an epoch begins where the longest stream of the one before it ends. The
 * leading stream (the enlarged picture) decides where epochs begin; sound whose own time goes
 * back or stands still although the picture's does not is laid end to end by itself. Times are in AV_TIME_BASE
 * units unless a stream's own base is named. Used inside this room only. Threads: one at a time. */
#ifndef UPZ_TIMELINE_H
#define UPZ_TIMELINE_H

#include <stdbool.h>
#include <stdint.h>
#include <libavformat/avformat.h>

typedef struct UpzEpoch {
    int64_t packet;      /* number of the leading stream's first packet in it */
    int64_t first, last; /* of the leading stream's decoding times, the file's own clock */
    int64_t offset;      /* to add to the file's own times */
} UpzEpoch;

typedef struct UpzTimeline {
    int leader;          /* stream */
    UpzEpoch *epochs;    /* one at least */
    size_t n, cap;
} UpzTimeline;

/* Epoch 0 alone. false: no memory. */
bool upz_timeline_init(UpzTimeline *timeline, int leader);
void upz_timeline_free(UpzTimeline *timeline);

/* What a clock knows about a stream. */
typedef struct UpzClockStream {
    size_t epoch;
    int64_t packets;
    int64_t next;    /* where its next packet is due, mapped; AV_NOPTS_VALUE: none came */
    int64_t steady;  /* where its time last went on from a jump, the file's own clock */
    int64_t raw;     /* where its next packet is due, the file's own clock */
    int64_t at;      /* its last packet, the file's own clock */
    int64_t own;     /* what is added besides, for a time of its own that went back or stood still */
    int64_t steps, n_steps; /* the sum of those between packets that follow each other, and how many */
    bool fits;       /* the last packet came about when it was due */
} UpzClockStream;

/* Goes through a file's packets, in the file's order. */
typedef struct UpzClock {
    UpzTimeline *timeline;
    bool growing;    /* the timeline is being found out; else it is known */
    bool forward;    /* growing: a jump of more than ten seconds forward is one, too */
    int64_t here;    /* where the leading stream is, mapped */
    int64_t *jumped; /* may be NULL: set to the last jump found */
    UpzClockStream *streams;
    size_t cap, n;
} UpzClock;

void upz_clock_start(UpzClock *clock, UpzTimeline *timeline, bool growing, bool forward);
/* Forgets what came: the next packet is the file's first one (or any, after a seek). */
void upz_clock_reset(UpzClock *clock);
void upz_clock_free(UpzClock *clock);
/* Puts a packet's times on the one clock; its own ones stay in *was (may be NULL: decoding time, or
 * presentation time without one). Returns its epoch, or -1 without memory. */
int upz_clock_map(UpzClock *clock, AVPacket *packet, const AVStream *st, int64_t *was);
const UpzClockStream *upz_clock_stream(const UpzClock *clock, int stream);

#endif
