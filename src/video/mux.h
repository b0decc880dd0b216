/* The output file's muxer: streams, metadata, chapters and side data set up as the plan says. Used
 * inside this room only, by the stream map (in memory) and by the join. */
#ifndef UPZ_MUX_H
#define UPZ_MUX_H

#include "join.h"

/* What the output is made of. */
typedef struct UpzMuxInputs {
    AVFormatContext *source, *other; /* other may be NULL; source NULL: a pipe, video only */
    const UpzSourceInfo *info;
    const UpzEncoderPlan *encoder;
    const AVCodecParameters *video; /* the encoder's */
    int64_t cut_start, cut_end;     /* AV_TIME_BASE, before `shift`; INT64_MIN / MAX = no cut */
    int64_t shift;                  /* AV_TIME_BASE, added to chapters */
} UpzMuxInputs;

/* The tags that the output is to have, less those that would be lies about a new file: of the file, with
 * what a broadcast says of the programme that the stream is in, and of a stream. An AVERROR. */
int upz_mux_file_tags(AVDictionary **tags, const AVFormatContext *source, int stream);
int upz_mux_stream_tags(AVDictionary **tags, const AVStream *source, bool enlarged);

/* Creates the context and its streams; stream[i] is the output index of plan item i, -1 if dropped.
 * Converted streams get `converted[i]` as their parameters (NULL in the array: only codec and type,
 * enough for trying). The caller opens pb and frees. Returns 0 or an AVERROR. */
int upz_mux_create(AVFormatContext **out, const UpzJoinPlan *plan, const UpzMuxInputs *in,
                   const AVCodecParameters *const *converted, int stream[UPZ_STREAMS_MAX]);
/* Writes the header with this container's options. An AVERROR on failure. */
int upz_mux_header(AVFormatContext *out);
/* After the file is closed: what the muxer cannot write by itself. OUTPUT, VERIFY or MEMORY. */
int upz_mux_settle(const char *path, const UpzMuxInputs *in, UprezError *err);
/* The tag an encoder gave its stream, unless it means another codec in this container; 0 = the
 * muxer's own choice. */
uint32_t upz_mux_tag(const AVOutputFormat *of, const AVCodecParameters *par);
/* The same for a segment: NUT takes any codec under a tag of our own, which the join knows. */
uint32_t upz_segment_tag(const AVOutputFormat *of, const AVCodecParameters *par);
#define UPZ_SEGMENT_TAG MKTAG('U', 'P', 'Z', ' ')
/* Can the container say how the picture is turned? */
bool upz_mux_holds_rotation(const char *container);
/* Does Matroska's muxer move what has an initial padding by as much, so that its reader finds the times
 * that were given? Older ones do not. */
bool upz_mux_adds_delay(void);

#endif
