/* What differs between FFmpeg 5.1, 7.1 and 9: the one place that asks for versions. */
#ifndef UPZ_VIDEO_COMPAT_H
#define UPZ_VIDEO_COMPAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <libavcodec/avcodec.h>
#include <libavfilter/buffersrc.h>
#include <libavformat/avformat.h>
#include <libavutil/frame.h>

/* 6.1 and later: flags and duration in AVFrame, stream side data in codecpar. 6.0 keeps the older
 * names too, so the switch is at 7.0, the next version in any distribution. */
#define UPZ_AV7 (LIBAVCODEC_VERSION_MAJOR >= 61)

static inline int64_t upz_av_duration(const AVFrame *f)
{
#if UPZ_AV7
    return f->duration;
#else
    return f->pkt_duration;
#endif
}
static inline void upz_av_set_duration(AVFrame *f, int64_t d)
{
#if UPZ_AV7
    f->duration = d;
#else
    f->pkt_duration = d;
#endif
}
static inline bool upz_av_interlaced(const AVFrame *f)
{
#if UPZ_AV7
    return f->flags & AV_FRAME_FLAG_INTERLACED;
#else
    return f->interlaced_frame;
#endif
}
static inline bool upz_av_key(const AVFrame *f)
{
#if UPZ_AV7
    return f->flags & AV_FRAME_FLAG_KEY;
#else
    return f->key_frame;
#endif
}
/* What avio_alloc_context() wants a writer to be given. */
#if UPZ_AV7
typedef const uint8_t UpzAvBytes;
#else
typedef uint8_t UpzAvBytes;
#endif

/* What a source says about coding must not steer the encoder. */
static inline void upz_av_forget_coding(AVFrame *f)
{
    f->pict_type = AV_PICTURE_TYPE_NONE;
    f->quality = 0;
    f->repeat_pict = 0;
#if UPZ_AV7
    f->flags &= ~(AV_FRAME_FLAG_KEY | AV_FRAME_FLAG_CORRUPT);
#else
    f->flags &= ~AV_FRAME_FLAG_CORRUPT;
    f->key_frame = 0;
    f->coded_picture_number = f->display_picture_number = 0;
#endif
    f->decode_error_flags = 0;
}
static inline void upz_av_set_progressive(AVFrame *f)
{
#if UPZ_AV7
    f->flags &= ~(AV_FRAME_FLAG_INTERLACED | AV_FRAME_FLAG_TOP_FIELD_FIRST);
#else
    f->interlaced_frame = f->top_field_first = 0;
#endif
}

/* A stream's side data (display matrix, HDR, Dolby Vision configuration, ICC, …) or NULL. */
static inline const void *upz_av_stream_side_data(const AVStream *st,
                                                  enum AVPacketSideDataType type, size_t *size)
{
    *size = 0;
#if UPZ_AV7
    const AVPacketSideData *sd = av_packet_side_data_get(
        st->codecpar->coded_side_data, st->codecpar->nb_coded_side_data, type);
    if (!sd) return NULL;
    *size = sd->size;
    return sd->data;
#else
    return av_stream_get_side_data(st, type, size);
#endif
}
/* Room for a stream's side data, filled by the caller; NULL when out of memory. */
static inline void *upz_av_stream_new_side_data(AVStream *st, enum AVPacketSideDataType type,
                                                size_t size)
{
#if UPZ_AV7
    AVPacketSideData *sd = av_packet_side_data_new(&st->codecpar->coded_side_data,
                                                   &st->codecpar->nb_coded_side_data, type, size,
                                                   0);
    return sd ? sd->data : NULL;
#else
    return av_stream_new_side_data(st, type, size);
#endif
}
/* All of a stream's side data to another; the newer avcodec_parameters_copy does that itself. */
static inline int upz_av_copy_stream_side_data(AVStream *dst, const AVStream *src)
{
#if !UPZ_AV7
    for (int i = 0; i < src->nb_side_data; i++) {
        const AVPacketSideData *sd = &src->side_data[i];
        uint8_t *data = av_stream_new_side_data(dst, sd->type, sd->size);
        if (!data) return AVERROR(ENOMEM);
        memcpy(data, sd->data, sd->size);
    }
#endif
    (void)dst;
    (void)src;
    return 0;
}

/* An encoder's pixel formats, ended by AV_PIX_FMT_NONE; NULL = any. */
static inline const enum AVPixelFormat *upz_av_pix_fmts(const AVCodec *codec)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(61, 13, 100)
    const void *list = NULL;
    if (avcodec_get_supported_config(NULL, codec, AV_CODEC_CONFIG_PIX_FORMAT, 0, &list, NULL) < 0)
        return NULL;
    return list;
#else
    return codec->pix_fmts;
#endif
}
/* An audio encoder's sample formats, ended by AV_SAMPLE_FMT_NONE; NULL = any. */
static inline const enum AVSampleFormat *upz_av_sample_fmts(const AVCodec *codec)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(61, 13, 100)
    const void *list = NULL;
    if (avcodec_get_supported_config(NULL, codec, AV_CODEC_CONFIG_SAMPLE_FORMAT, 0, &list,
                                     NULL) < 0)
        return NULL;
    return list;
#else
    return codec->sample_fmts;
#endif
}

/* Colour is negotiated by filters since 7.0. */
static inline void upz_av_buffersrc_color(AVBufferSrcParameters *p, const AVFrame *f)
{
#if LIBAVFILTER_VERSION_MAJOR >= 10
    p->color_space = f->colorspace;
    p->color_range = f->color_range;
#endif
#if LIBAVFILTER_VERSION_MAJOR >= 12
    p->alpha_mode = f->alpha_mode;
#endif
    (void)p;
    (void)f;
}

/* Frame side data whose meaning ends with a change of size. */
static inline bool upz_av_size_dependent(enum AVFrameSideDataType type)
{
#if LIBAVUTIL_VERSION_MAJOR >= 60
    const AVSideDataDescriptor *d = av_frame_side_data_desc(type);
    if (d && (d->props & AV_SIDE_DATA_PROP_SIZE_DEPENDENT)) return true;
#endif
    return type == AV_FRAME_DATA_PANSCAN || type == AV_FRAME_DATA_MOTION_VECTORS ||
           type == AV_FRAME_DATA_REGIONS_OF_INTEREST || type == AV_FRAME_DATA_VIDEO_ENC_PARAMS ||
           type == AV_FRAME_DATA_DETECTION_BBOXES;
}

#endif
