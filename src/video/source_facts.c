#include "source_facts.h"

#include <string.h>
#include <libavutil/display.h>

#include "compat.h"

bool upz_codec_shows_all(enum AVCodecID id)
{
    return id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC || id == AV_CODEC_ID_MPEG2VIDEO ||
           id == AV_CODEC_ID_MPEG1VIDEO;
}

bool upz_codec_interlaces(enum AVCodecID id)
{
    switch (id) {
    case AV_CODEC_ID_VP8:
    case AV_CODEC_ID_VP9:
    case AV_CODEC_ID_AV1:
    case AV_CODEC_ID_PNG:
    case AV_CODEC_ID_WEBP:
    case AV_CODEC_ID_GIF:
    case AV_CODEC_ID_TIFF:
    case AV_CODEC_ID_BMP:
    case AV_CODEC_ID_WRAPPED_AVFRAME: return false;
    default: return true;
    }
}

bool upz_codec_hides_fields(enum AVCodecID id)
{
    return id == AV_CODEC_ID_MJPEG || id == AV_CODEC_ID_RAWVIDEO || id == AV_CODEC_ID_V210 ||
           id == AV_CODEC_ID_HUFFYUV || id == AV_CODEC_ID_FFVHUFF || id == AV_CODEC_ID_UTVIDEO ||
           id == AV_CODEC_ID_JPEG2000 || id == AV_CODEC_ID_CINEPAK;
}

bool upz_codec_invents(enum AVCodecID id)
{
    return id == AV_CODEC_ID_HEVC || id == AV_CODEC_ID_MPEG4;
}

bool upz_knows_duration(const AVFormatContext *in)
{
    return in->duration > 0 && in->duration_estimation_method == AVFMT_DURATION_FROM_STREAM &&
           (!strncmp(in->iformat->name, "matroska", 8) || !strcmp(in->iformat->name, "avi"));
}

bool upz_stream_matrix(const AVStream *st, int32_t matrix[9], int *rotation)
{
    size_t size;
    const int32_t *m = upz_av_stream_side_data(st, AV_PKT_DATA_DISPLAYMATRIX, &size);
    if (!m || size < 9 * sizeof(*m)) return false;
    memcpy(matrix, m, 9 * sizeof(*m));
    double deg = -av_display_rotation_get(m); /* libav counts anticlockwise */
    if (deg == deg) *rotation = (((int)(deg / 90 + (deg < 0 ? -0.5 : 0.5)) % 4) + 4) % 4 * 90;
    return true;
}
