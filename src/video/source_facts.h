/* What holds of a codec or a container whatever the file. Used inside this room only. */
#ifndef UPZ_SOURCE_FACTS_H
#define UPZ_SOURCE_FACTS_H

#include <stdbool.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include "base/error.h"
#include "source.h"

/* In these every packet, second fields aside, is a picture to show; elsewhere some are hidden
 * references (VP8's altref) or say "nothing new" (MPEG-4's N-VOP). */
bool upz_codec_shows_all(enum AVCodecID id);
/* Can its pictures be interlaced at all? */
bool upz_codec_interlaces(enum AVCodecID id);
/* Can, but the frames do not say whether they are. */
bool upz_codec_hides_fields(enum AVCodecID id);
/* Its decoder shows what it made up of packets before the first keyframe, as if it were right. */
bool upz_codec_invents(enum AVCodecID id);
/* Containers whose header says a duration that their writer knew; cut off, they just end. */
bool upz_knows_duration(const AVFormatContext *in);
/* What is missing of the duration that such a header says, where reading came to read_to; 0 where
 * nothing is, or nobody knows. AV_TIME_BASE units. */
int64_t upz_missing_at_end(const AVFormatContext *in, int64_t read_to);
/* Does a decoder begin with the stream's header? A damaged one makes whole files unreadable. Where no
 * decoder is, or it asks for something this FFmpeg lacks, nobody knows: true. */
bool upz_header_decodes(const AVStream *st);
/* The display matrix, and the turn it makes: degrees clockwise, 0 90 180 270. false: none. */
bool upz_stream_matrix(const AVStream *st, int32_t matrix[9], int *rotation);
/* The same of a frame: some streams say in themselves how they are to be turned. */
bool upz_frame_matrix(const AVFrame *frame, int32_t matrix[9], int *rotation);
/* Memory of a hardware device becomes ordinary memory. DEVICE. */
int upz_frame_to_host(AVFrame **frame, UprezError *err);
/* What a decoded frame does not say of its colour and shape, the container may. */
void upz_fill_color(AVFrame *frame, AVFormatContext *in, AVStream *st);

/* The rate that libav guesses; 0/1: none. */
AVRational upz_best_rate(AVFormatContext *fmt, AVStream *st);
/* Do a stream's two rates tell that its frames do not come evenly? */
bool upz_rate_varies(const AVStream *st, bool interlaced);
/* The stream's Dolby Vision profile, 0 = none. INPUT where it has no ordinary colours without its metadata. */
int upz_dolby_vision(const AVStream *st, const char *url, int *profile, UprezError *err);

/* How two views lie in a frame (3D), where only the container says it: encoders hear it from frames. An
 * AVERROR. */
int upz_fill_views(AVFrame *f, const AVStream *st);
/* The pixels' shape that the container gives, which players take, in place of the stream's own. */
void upz_fill_shape(AVFrame *f, const AVStream *st);

/* Filters instead of the matrix, behind the user's own in *vf (upz_free'd and made anew); the info then
 * has none. first: a frame, which may have it; or NULL. MEMORY. */
int upz_turn_by_filter(char **vf, UpzSourceInfo *info, const AVFrame *first, UprezError *err);

#endif
