/* Reading: any file FFmpeg opens becomes frames in presentation order.
 *
 * Damage inside a file is kept in time: what decodes is delivered, a lost frame is replaced by the
 * last good one (`held`), all is counted. Threads: one at a time, except upz_source_stats. */
#ifndef UPZ_SOURCE_H
#define UPZ_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <libavformat/avformat.h>
#include "base/context.h"
#include "frame.h"

typedef enum UpzInterlaced { UPZ_INTERLACED_DEINT, UPZ_INTERLACED_KEEP, UPZ_INTERLACED_ERROR }
    UpzInterlaced;

typedef struct UpzSourceParams {
    const char *vf;           /* filters before the network, NULL = none */
    UpzInterlaced interlaced; /* DEINT: bwdif, one frame per frame, when the stream is interlaced */
    const char *hwaccel;      /* NULL = none */
    int threads;              /* decoder's, 0 = auto */
    const char *format;       /* demuxer, NULL = probe ("yuv4mpegpipe" for '-') */
    volatile int *cancel;     /* non-zero: blocking reads end; may be NULL */
} UpzSourceParams;

typedef struct UpzSourceInfo {
    const char *url, *container, *codec; /* live as long as the source */
    bool still;               /* a single picture (PNG, JPEG, …), not a video */
    bool y4m;
    int width, height;        /* of frames after filters, before display rotation */
    AVRational sar;           /* 0/1 = unknown */
    int rotation;             /* degrees clockwise to turn for display: 0 90 180 270 */
    int32_t display_matrix[9];
    bool has_display_matrix;
    enum AVPixelFormat pix_fmt; /* after filters */
    UprezFormat format;       /* the one frames' pictures will have */
    UprezColor color;         /* as tagged */
    AVRational time_base, frame_rate; /* frame_rate 0/1 = unknown (or variable) */
    bool variable_rate;
    int64_t start, duration;  /* in time_base; AV_NOPTS_VALUE = unknown */
    int64_t frames;           /* -1 = unknown */
    bool interlaced, deinterlaced, alpha;
    int dolby_vision;         /* profile, 0 = none */
    int video_stream;         /* index of the stream being enlarged */
} UpzSourceInfo;

typedef struct UpzSourceStats {
    int64_t decoded, damaged, held, lost_packets;
    int64_t cpu_ns; /* spent in demuxing, decoding, filtering by the calling thread */
} UpzSourceStats;

/* A packet of the enlarged stream, in decoding order. */
typedef struct UpzIndexEntry {
    int64_t pts, dts, duration; /* source time base */
    uint8_t key;
} UpzIndexEntry;
typedef struct UpzIndex {
    UpzIndexEntry *items;
    size_t n, cap;
} UpzIndex;

typedef struct UpzSource UpzSource;

/* Opens, finds the streams, decodes the first frame (kept for the first read) so that the info is
 * what really comes. INPUT when it does not open or no frame decodes: the sentence says which. */
int upz_source_open(UpzSource **out, UprezContext *ctx, const char *url,
                    const UpzSourceParams *params, UprezError *err);
void upz_source_close(UpzSource **s);
const UpzSourceInfo *upz_source_info(const UpzSource *s);
/* For copying streams and metadata; owned by the source. */
AVFormatContext *upz_source_format(const UpzSource *s);

/* All packets of the enlarged stream by demuxing once through a second handle; INPUT if the file
 * cannot be read twice (a pipe). */
int upz_source_index(UpzSource *s, UpzIndex *index, UprezError *err);
void upz_index_free(UpzIndex *index);

/* The next frame read will be the first with pts >= t. Decoding restarts at the keyframe before. */
int upz_source_seek(UpzSource *s, int64_t t, UprezError *err);
/* 0 and a frame the caller owns, UPREZ_EOF, or an error. A change of size midstream shows in the
 * frame. */
int upz_source_read(UpzSource *s, UpzFrame **out, UprezError *err);
void upz_source_stats(UpzSource *s, UpzSourceStats *stats);

#endif
