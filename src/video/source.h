/* Reading: any file FFmpeg opens becomes frames in presentation order.
 *
 * Time. A frame's pts is the source's (libav's best effort), in the stream's time base, also behind
 * filters. Where the source has none (raw streams) it is counted on from the last known one by the
 * frame rate, beginning at 0. Frames come in strictly increasing time: one that is not later than
 * the frame before it is put one tick behind it; when the packets' time jumps back by more than a
 * second (joined recordings), all that follows is shifted to go on from there, with a warning
 * (index first, then seek: only the index knows of such jumps beforehand, and of all streams').
 *
 * Damage is kept in time. A frame the decoder reports errors in is delivered as `damaged`. A packet
 * that the decoder refuses and whose time then shows a hole of at least 3/4 of a frame is replaced
 * by the last good frame (`held`); a refused packet that leaves no hole, or for which there is no
 * frame yet, is only counted (lost_packets). Packets before the stream's first keyframe are not
 * damage, that is how recordings begin: they are left out with a note. A file that ends with anything but a clean end is counted
 * in read_errors. Frames dropped on the way to a seek's target count nowhere.
 *
 * Threads: one at a time, except upz_source_stats. */
#ifndef UPZ_SOURCE_H
#define UPZ_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <libavformat/avformat.h>
#include "base/context.h"
#include "frame.h"
#include "survey.h"

typedef enum UpzInterlaced { UPZ_INTERLACED_DEINT, UPZ_INTERLACED_KEEP, UPZ_INTERLACED_ERROR }
    UpzInterlaced;

typedef struct UpzSourceParams {
    const char *vf;           /* filters before the network, NULL = none */
    UpzInterlaced interlaced; /* DEINT: bwdif, one frame per frame, when the stream is interlaced */
    const char *hwaccel;      /* NULL = none */
    int threads;              /* decoder's, 0 = auto */
    const char *format;       /* demuxer, NULL = probe ("yuv4mpegpipe" for '-') */
    const char *name;         /* what messages call it; NULL = its url */
    bool turn;                /* turn the pixels as the display would; the info then says no rotation */
    UpzWatch *watch;          /* ends blocking reads; may be NULL */
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
    uint32_t side;            /* upz_side_of_frame() of the first frames */
    int codec_profile;        /* libav's number; below 0 = unknown */
} UpzSourceInfo;

typedef struct UpzSourceStats {
    int64_t decoded;      /* frames delivered, those held not among them */
    int64_t damaged, held, lost_packets, read_errors;
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
 * cannot be read twice (a pipe). Not every packet is a frame (second fields, hidden references, a
 * stream's beginning before its first keyframe), and where the file has no timestamps they are
 * counted up by the frame rate in decoding order: cut points come from here, frame counts from
 * reading. */
int upz_source_index(UpzSource *s, UpzIndex *index, UprezError *err);
/* Whether it can be read twice: a file, not a pipe. */
bool upz_source_can_index(const UpzSource *s);
/* What the index's pass found of all streams, the source's; NULL: there was none. */
const UpzSurvey *upz_source_survey(const UpzSource *s);
/* Hands it over. A source whose time begins anew inside goes back to its start, on the one clock of
 * all its streams; from then on a seek reads from the start. */
int upz_source_set_survey(UpzSource *s, UpzSurvey *survey, UprezError *err);
void upz_index_free(UpzIndex *index);

/* The next frame read will be the first with pts >= t, the same one as in reading from the start.
 * Decoding restarts two keyframes before t (open GOPs, filters' context); in sources without
 * timestamps or without a way to seek by them, at the beginning. A pipe only goes forward: INPUT. */
int upz_source_seek(UpzSource *s, int64_t t, UprezError *err);
/* 0 and a frame the caller owns, UPREZ_EOF, or an error. A change of size midstream shows in the
 * frame. */
int upz_source_read(UpzSource *s, UpzFrame **out, UprezError *err);
void upz_source_stats(UpzSource *s, UpzSourceStats *stats);

#endif
