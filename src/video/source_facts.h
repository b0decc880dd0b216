/* What holds of a codec or a container whatever the file. Used inside this room only. */
#ifndef UPZ_SOURCE_FACTS_H
#define UPZ_SOURCE_FACTS_H

#include <stdbool.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

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
/* The display matrix, and the turn it makes: degrees clockwise, 0 90 180 270. false: none. */
bool upz_stream_matrix(const AVStream *st, int32_t matrix[9], int *rotation);

#endif
