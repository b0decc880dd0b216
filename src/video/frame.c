#include "frame.h"

#include <libavutil/hdr_dynamic_metadata.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#include "base/alloc.h"
#include "base/error.h"
#include "compat.h"

int upz_frame_create(UpzFrame **out, AVFrame *av, UprezError *err)
{
    *out = upz_calloc(1, sizeof(**out));
    if (!*out) {
        av_frame_free(&av);
        return upz_fail_memory(err, sizeof(**out), "a frame");
    }
    (*out)->av = av;
    return 0;
}

void upz_frame_free(UpzFrame **f)
{
    if (!*f) return;
    uprez_picture_unref(&(*f)->picture);
    av_frame_free(&(*f)->av);
    upz_free(*f);
    *f = NULL;
}

/* The yuvj formats are the yuv ones with the range in the name. */
static enum AVPixelFormat without_range(enum AVPixelFormat fmt)
{
    switch (fmt) {
    case AV_PIX_FMT_YUVJ420P: return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P: return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P: return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P: return AV_PIX_FMT_YUV440P;
    case AV_PIX_FMT_YUVJ411P: return AV_PIX_FMT_YUV411P;
    default: return fmt;
    }
}

static bool is_known(enum AVPixelFormat fmt, UprezFormat *f)
{
    const char *name = av_get_pix_fmt_name(fmt);
    return name && uprez_format_from_name(f, name) >= 0;
}

bool upz_frame_known(enum AVPixelFormat fmt)
{
    UprezFormat f;
    return is_known(without_range(fmt), &f);
}

enum AVPixelFormat upz_frame_format(enum AVPixelFormat fmt, UprezFormat *f)
{
    fmt = without_range(fmt);
    if (is_known(fmt, f)) return fmt;
    const AVPixFmtDescriptor *src = av_pix_fmt_desc_get(fmt), *d = NULL;
    if (!src || src->flags & AV_PIX_FMT_FLAG_HWACCEL || !sws_isSupportedInput(fmt))
        return AV_PIX_FMT_NONE;
    bool alpha = src->flags & AV_PIX_FMT_FLAG_ALPHA;
    /* the sensor's mosaic becomes whole RGB pixels; a palette has RGB entries */
    bool rgb = src->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BAYER);
    int depth = src->comp[0].depth;
    if (src->flags & AV_PIX_FMT_FLAG_PAL) depth = 8;
    for (int i = 1; i < src->nb_components; i++) depth = UPZ_MAX(depth, src->comp[i].depth);
    enum AVPixelFormat best = AV_PIX_FMT_NONE;
    int best_cost = 0; /* depth, then memory, then another plane layout */
    int planes = av_pix_fmt_count_planes(fmt);
    while ((d = av_pix_fmt_desc_next(d))) {
        enum AVPixelFormat to = av_pix_fmt_desc_get_id(d);
        UprezFormat uf;
        if (!is_known(to, &uf) || !sws_isSupportedOutput(to)) continue;
        bool to_rgb = uf.model == UPREZ_RGB;
        if (to_rgb != rgb || uf.depth < depth || (alpha && !uf.alpha)) continue;
        if (src->nb_components >= 3 && !rgb &&
            (uf.model != UPREZ_YUV || uf.sub_x > src->log2_chroma_w ||
             uf.sub_y > src->log2_chroma_h))
            continue;
        if (d->flags & AV_PIX_FMT_FLAG_FLOAT && !(src->flags & AV_PIX_FMT_FLAG_FLOAT)) continue;
        int cost = uf.depth * 1024 + av_get_padded_bits_per_pixel(d) * 2 + (uf.n_plane != planes);
        if (best == AV_PIX_FMT_NONE || cost < best_cost) {
            best = to;
            best_cost = cost;
        }
    }
    if (best != AV_PIX_FMT_NONE) is_known(best, f);
    return best;
}

int upz_frame_convert(AVFrame **out, const AVFrame *av, enum AVPixelFormat to, UprezError *err)
{
    *out = NULL;
    const char *from = av_get_pix_fmt_name(av->format);
    AVFrame *f = av_frame_alloc();
    struct SwsContext *sws = NULL;
    int r = f ? 0 : AVERROR(ENOMEM);
    if (r >= 0) {
        f->format = to;
        f->width = av->width;
        f->height = av->height;
        r = av_frame_get_buffer(f, 0);
    }
    if (r >= 0) r = av_frame_copy_props(f, av);
    if (r >= 0) {
        sws = sws_getContext(av->width, av->height, without_range(av->format), f->width, f->height,
                             to, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT |
                             SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, NULL, NULL, NULL);
        r = sws ? 0 : AVERROR(EINVAL);
    }
    if (r >= 0) {
        const AVPixFmtDescriptor *s = av_pix_fmt_desc_get(av->format);
        if (!(s->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL))) {
            /* only the layout changes: numbers keep their range */
            const int *c = sws_getCoefficients(SWS_CS_DEFAULT);
            int full = av->color_range == AVCOL_RANGE_JPEG;
            sws_setColorspaceDetails(sws, c, full, c, full, 0, 1 << 16, 1 << 16);
        }
        r = sws_scale(sws, (const uint8_t *const *)av->data, av->linesize, 0, av->height, f->data,
                      f->linesize);
    }
    sws_freeContext(sws);
    if (r < 0) {
        av_frame_free(&f);
        if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "a frame");
        return upz_fail(err, UPREZ_ERR_INPUT, "cannot convert the pixel format %s to %s",
                        from ? from : "?", av_get_pix_fmt_name(to));
    }
    *out = f;
    return 0;
}

static void release_frame(void *cookie)
{
    AVFrame *f = cookie;
    av_frame_free(&f);
}

int upz_frame_picture(UpzFrame *f, UprezError *err)
{
    if (f->picture) return 0;
    UprezPicture desc = {.width = f->av->width, .height = f->av->height};
    enum AVPixelFormat to = upz_frame_format(f->av->format, &desc.format);
    if (to == AV_PIX_FMT_NONE) {
        const char *name = av_get_pix_fmt_name(f->av->format);
        return upz_fail(err, UPREZ_ERR_INPUT, "the pixel format %s cannot be converted; try "
                        "--vf format=yuv420p", name ? name : "of this source");
    }
    AVFrame *hold = NULL;
    if (to == without_range(f->av->format)) {
        hold = av_frame_clone(f->av);
        if (!hold) return upz_fail_memory(err, sizeof(*hold), "a frame");
    } else {
        int r = upz_frame_convert(&hold, f->av, to, err);
        if (r < 0) return r;
    }
    for (int i = 0; i < desc.format.n_plane; i++) {
        desc.plane[i] = hold->data[i];
        desc.stride[i] = hold->linesize[i];
    }
    upz_frame_color(&desc.color, f->av);
    desc.pts = f->av->pts;
    desc.duration = upz_av_duration(f->av);
    int r = uprez_picture_wrap(&f->picture, &desc, release_frame, hold, err);
    if (r < 0) av_frame_free(&hold);
    return r;
}

void upz_frame_color(UprezColor *c, const AVFrame *av)
{
    /* libav's enumerations are the H.273 code points; 255 and more are not in it */
    c->matrix = av->colorspace <= 14 ? (uint8_t)av->colorspace : 2;
    c->primaries = av->color_primaries <= 22 ? (uint8_t)av->color_primaries : 2;
    c->transfer = av->color_trc <= 18 ? (uint8_t)av->color_trc : 2;
    c->range = av->color_range == AVCOL_RANGE_MPEG   ? UPREZ_RANGE_LIMITED
               : av->color_range == AVCOL_RANGE_JPEG ? UPREZ_RANGE_FULL
                                                     : UPREZ_RANGE_UNKNOWN;
    if (without_range(av->format) != (enum AVPixelFormat)av->format) c->range = UPREZ_RANGE_FULL;
    switch (av->chroma_location) {
    case AVCHROMA_LOC_LEFT: c->siting = UPREZ_SITING_LEFT; break;
    case AVCHROMA_LOC_CENTER: c->siting = UPREZ_SITING_CENTER; break;
    case AVCHROMA_LOC_TOPLEFT: c->siting = UPREZ_SITING_TOPLEFT; break;
    case AVCHROMA_LOC_TOP: c->siting = UPREZ_SITING_TOP; break;
    case AVCHROMA_LOC_BOTTOMLEFT: c->siting = UPREZ_SITING_BOTTOMLEFT; break;
    case AVCHROMA_LOC_BOTTOM: c->siting = UPREZ_SITING_BOTTOM; break;
    default: c->siting = UPREZ_SITING_UNKNOWN;
    }
}

static void set_color(AVFrame *av, const UprezColor *c)
{
    av->colorspace = (enum AVColorSpace)c->matrix;
    av->color_primaries = (enum AVColorPrimaries)c->primaries;
    av->color_trc = (enum AVColorTransferCharacteristic)c->transfer;
    av->color_range = c->range == UPREZ_RANGE_LIMITED ? AVCOL_RANGE_MPEG
                      : c->range == UPREZ_RANGE_FULL  ? AVCOL_RANGE_JPEG
                                                      : AVCOL_RANGE_UNSPECIFIED;
    switch (c->siting) {
    case UPREZ_SITING_LEFT: av->chroma_location = AVCHROMA_LOC_LEFT; break;
    case UPREZ_SITING_CENTER: av->chroma_location = AVCHROMA_LOC_CENTER; break;
    case UPREZ_SITING_TOPLEFT: av->chroma_location = AVCHROMA_LOC_TOPLEFT; break;
    case UPREZ_SITING_TOP: av->chroma_location = AVCHROMA_LOC_TOP; break;
    case UPREZ_SITING_BOTTOMLEFT: av->chroma_location = AVCHROMA_LOC_BOTTOMLEFT; break;
    case UPREZ_SITING_BOTTOM: av->chroma_location = AVCHROMA_LOC_BOTTOM; break;
    default: av->chroma_location = AVCHROMA_LOC_UNSPECIFIED;
    }
}

static void release_picture(void *opaque, uint8_t *data)
{
    (void)data;
    UprezPicture *p = opaque;
    uprez_picture_unref(&p);
}

/* HDR10+ may speak of parts of the picture, in its pixels. */
static int scale_windows(AVFrame *f, const AVFrame *like, const UprezPicture *picture)
{
    const AVFrameSideData *sd = av_frame_get_side_data(like, AV_FRAME_DATA_DYNAMIC_HDR_PLUS);
    const AVDynamicHDRPlus *old = sd && sd->size >= sizeof(*old) ? (const void *)sd->data : NULL;
    if (!old || old->num_windows < 2 || like->width <= 0 || like->height <= 0) return 0;
    av_frame_remove_side_data(f, AV_FRAME_DATA_DYNAMIC_HDR_PLUS);
    AVDynamicHDRPlus *h = av_dynamic_hdr_plus_create_side_data(f);
    if (!h) return AVERROR(ENOMEM);
    *h = *old;
    for (int i = 1; i < UPZ_MIN(h->num_windows, 3); i++) {
        AVHDRPlusColorTransformParams *w = &h->params[i];
        AVRational *x[] = {&w->window_upper_left_corner_x, &w->window_lower_right_corner_x};
        AVRational *y[] = {&w->window_upper_left_corner_y, &w->window_lower_right_corner_y};
        uint16_t *axes[] = {&w->semimajor_axis_internal_ellipse, &w->semimajor_axis_external_ellipse,
                            &w->semiminor_axis_external_ellipse};
        for (int k = 0; k < 2; k++) {
            x[k]->num = (int)av_rescale(x[k]->num, picture->width, like->width);
            y[k]->num = (int)av_rescale(y[k]->num, picture->height, like->height);
        }
        w->center_of_ellipse_x = (uint16_t)av_rescale(w->center_of_ellipse_x, picture->width, like->width);
        w->center_of_ellipse_y = (uint16_t)av_rescale(w->center_of_ellipse_y, picture->height, like->height);
        for (int k = 0; k < 3; k++)
            *axes[k] = (uint16_t)av_clip64(av_rescale(*axes[k], picture->width, like->width), 0, 65535);
    }
    return 0;
}

int upz_frame_from_picture(AVFrame **out, const UprezPicture *picture, const AVFrame *like,
                           UprezError *err)
{
    *out = NULL;
    const char *name = uprez_format_name(&picture->format);
    enum AVPixelFormat fmt = name ? av_get_pix_fmt(name) : AV_PIX_FMT_NONE;
    if (fmt == AV_PIX_FMT_NONE)
        return upz_fail(err, UPREZ_ERR_BUG, "a picture's format has no name in FFmpeg");
    AVFrame *f = av_frame_alloc();
    UprezPicture *ref = f ? uprez_picture_ref(picture) : NULL;
    AVBufferRef *buf = ref ? av_buffer_create(picture->plane[0], 1, release_picture, ref,
                                              AV_BUFFER_FLAG_READONLY)
                           : NULL;
    if (!buf) {
        uprez_picture_unref(&ref);
        av_frame_free(&f);
        return upz_fail_memory(err, sizeof(*f), "a frame");
    }
    f->buf[0] = buf;
    if (like && (av_frame_copy_props(f, like) < 0 || scale_windows(f, like, picture) < 0)) {
        av_frame_free(&f);
        return upz_fail_memory(err, sizeof(*f), "a frame's side data");
    }
    if (like) {
        upz_av_forget_coding(f);
        for (int i = f->nb_side_data - 1; i >= 0; i--) {
            if (i >= f->nb_side_data) continue; /* several of a type go at once */
            enum AVFrameSideDataType t = f->side_data[i]->type;
            /* Dolby Vision's RPU describes the pixels that were */
            if (upz_av_size_dependent(t) || t == AV_FRAME_DATA_DOVI_RPU_BUFFER ||
                t == AV_FRAME_DATA_DOVI_METADATA)
                av_frame_remove_side_data(f, t);
        }
        f->crop_left = f->crop_right = f->crop_top = f->crop_bottom = 0;
    }
    f->format = fmt;
    f->width = picture->width;
    f->height = picture->height;
    f->pts = picture->pts;
    upz_av_set_duration(f, picture->duration);
    set_color(f, &picture->color);
    for (int i = 0; i < picture->format.n_plane; i++) {
        f->data[i] = picture->plane[i];
        f->linesize[i] = (int)picture->stride[i];
    }
    f->extended_data = f->data;
    *out = f;
    return 0;
}
