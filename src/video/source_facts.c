#include "source_facts.h"

#include <string.h>
#include <libavutil/display.h>
#include <libavutil/dovi_meta.h>
#include <libavutil/hwcontext.h>

#include "base/alloc.h"
#include "base/error.h"
#include "compat.h"
#include "input.h"

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

int64_t upz_missing_at_end(const AVFormatContext *in, int64_t read_to)
{
    if (!upz_knows_duration(in)) return 0;
    int64_t start = in->start_time != AV_NOPTS_VALUE ? in->start_time : 0;
    int64_t missing = in->duration - (read_to - (start < 0 ? start : 0));
    /* the last frames' own durations are often not told */
    int64_t slack = UPZ_CLAMP(in->duration / 20, AV_TIME_BASE / 3, 2 * AV_TIME_BASE);
    return missing > slack ? missing : 0;
}

bool upz_header_decodes(const AVStream *st)
{
    const AVCodec *codec = avcodec_find_decoder(st->codecpar->codec_id);
    if (!codec || !st->codecpar->extradata_size) return true;
    AVCodecContext *dec = avcodec_alloc_context3(codec);
    int r = dec ? avcodec_parameters_to_context(dec, st->codecpar) : 0;
    if (dec && r >= 0) {
        dec->thread_count = 1;
        dec->pkt_timebase = st->time_base;
        r = avcodec_open2(dec, codec, NULL);
    }
    avcodec_free_context(&dec);
    return r != AVERROR_INVALIDDATA;
}

static bool take_matrix(const void *data, size_t size, int32_t matrix[9], int *rotation)
{
    if (!data || size < 9 * sizeof(*matrix)) return false;
    memcpy(matrix, data, 9 * sizeof(*matrix));
    double deg = -av_display_rotation_get(matrix); /* libav counts anticlockwise */
    if (deg == deg) *rotation = (((int)(deg / 90 + (deg < 0 ? -0.5 : 0.5)) % 4) + 4) % 4 * 90;
    return true;
}

bool upz_stream_matrix(const AVStream *st, int32_t matrix[9], int *rotation)
{
    size_t size;
    const void *data = upz_av_stream_side_data(st, AV_PKT_DATA_DISPLAYMATRIX, &size);
    return take_matrix(data, size, matrix, rotation);
}

bool upz_frame_matrix(const AVFrame *f, int32_t matrix[9], int *rotation)
{
    const AVFrameSideData *sd = av_frame_get_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX);
    return sd && take_matrix(sd->data, sd->size, matrix, rotation);
}

bool upz_rate_varies(const AVStream *st, bool interlaced)
{
    AVRational avg = st->avg_frame_rate, real = st->r_frame_rate;
    if (avg.num <= 0 || avg.den <= 0 || real.num <= 0 || real.den <= 0) return false;
    double ratio = av_q2d(real) / av_q2d(avg);
    if (interlaced && ratio > 1.9 && ratio < 2.1) ratio /= 2; /* fields counted as frames */
    return ratio < 0.995 || ratio > 1.005;
}

int upz_turn_by_filter(char **vf, UpzSourceInfo *info, const AVFrame *first, UprezError *err)
{
    if (!info->has_display_matrix && first)
        info->has_display_matrix = upz_frame_matrix(first, info->display_matrix, &info->rotation);
    const int32_t *m = info->display_matrix;
    const char *how = info->rotation == 90    ? m[3] > 0 ? "transpose=cclock_flip" : "transpose=clock"
                      : info->rotation == 270 ? m[3] < 0 ? "transpose=clock_flip" : "transpose=cclock"
                      : m[0] < 0 && m[4] < 0  ? "hflip,vflip"
                      : m[0] < 0              ? "hflip"
                      : m[4] < 0              ? "vflip"
                                              : NULL;
    if (!info->has_display_matrix) how = NULL;
    info->has_display_matrix = false;
    info->rotation = 0;
    if (!how) return 0;
    char *chain = upz_asprintf("%s%s%s", *vf ? *vf : "", *vf ? "," : "", how);
    if (!chain) return upz_fail_memory(err, 64, "the filters");
    upz_free(*vf);
    *vf = chain;
    return 0;
}

int upz_frame_to_host(AVFrame **f, UprezError *err)
{
    if (!(*f)->hw_frames_ctx) return 0;
    char why[UPZ_AV_ERROR];
    AVFrame *host = av_frame_alloc();
    int r = host ? av_hwframe_transfer_data(host, *f, 0) : AVERROR(ENOMEM);
    if (r >= 0) r = av_frame_copy_props(host, *f);
    if (r < 0) {
        av_frame_free(&host);
        return upz_fail(err, UPREZ_ERR_DEVICE, "a decoded frame cannot be fetched from the "
                        "hardware: %s", upz_av_error(r, why));
    }
    av_frame_free(f);
    *f = host;
    return 0;
}

void upz_fill_color(AVFrame *f, AVFormatContext *in, AVStream *st)
{
    const AVCodecParameters *p = st->codecpar;
    if (f->colorspace == AVCOL_SPC_UNSPECIFIED) f->colorspace = p->color_space;
    if (f->color_primaries == AVCOL_PRI_UNSPECIFIED) f->color_primaries = p->color_primaries;
    if (f->color_trc == AVCOL_TRC_UNSPECIFIED) f->color_trc = p->color_trc;
    if (f->color_range == AVCOL_RANGE_UNSPECIFIED) f->color_range = p->color_range;
    if (f->chroma_location == AVCHROMA_LOC_UNSPECIFIED) f->chroma_location = p->chroma_location;
    if (f->chroma_location == AVCHROMA_LOC_UNSPECIFIED &&
        (p->codec_id == AV_CODEC_ID_MJPEG || p->codec_id == AV_CODEC_ID_WEBP))
        f->chroma_location = AVCHROMA_LOC_CENTER; /* JFIF's and WebP's only one */
    if (!f->sample_aspect_ratio.num)
        f->sample_aspect_ratio = av_guess_sample_aspect_ratio(in, st, f);
}

AVRational upz_best_rate(AVFormatContext *fmt, AVStream *st)
{
    AVRational r = av_guess_frame_rate(fmt, st, NULL);
    return r.num > 0 && r.den > 0 ? r : (AVRational){0, 1};
}

int upz_dolby_vision(const AVStream *st, const char *url, int *profile, UprezError *err)
{
    size_t size;
    const AVDOVIDecoderConfigurationRecord *c =
        upz_av_stream_side_data(st, AV_PKT_DATA_DOVI_CONF, &size);
    *profile = 0;
    if (!c || size < sizeof(*c)) return 0;
    *profile = c->dv_profile;
    if (c->dv_profile == 5 || (c->dv_profile == 10 && c->dv_bl_signal_compatibility_id == 0))
        return upz_fail(err, UPREZ_ERR_INPUT, "%s is Dolby Vision profile %d, whose picture has "
                        "no ordinary colours without its metadata; convert it to HDR10 first", url,
                        c->dv_profile);
    return 0;
}

int upz_fill_views(AVFrame *f, const AVStream *st)
{
    size_t size;
    const void *views = upz_av_stream_side_data(st, AV_PKT_DATA_STEREO3D, &size);
    if (!views || av_frame_get_side_data(f, AV_FRAME_DATA_STEREO3D)) return 0;
    AVFrameSideData *sd = av_frame_new_side_data(f, AV_FRAME_DATA_STEREO3D, size);
    if (!sd) return AVERROR(ENOMEM);
    memcpy(sd->data, views, size);
    return 0;
}

void upz_fill_shape(AVFrame *f, const AVStream *st)
{
    AVRational c = st->sample_aspect_ratio, own = st->codecpar->sample_aspect_ratio;
    if (c.num > 0 && c.den > 0 && (own.num <= 0 || av_cmp_q(c, own))) f->sample_aspect_ratio = c;
}
