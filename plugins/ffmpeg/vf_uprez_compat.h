/* What differs between FFmpeg 5.1, 7.1, 8.1 and 9.0 for vf_uprez.c; nothing else belongs here. */
#ifndef AVFILTER_VF_UPREZ_COMPAT_H
#define AVFILTER_VF_UPREZ_COMPAT_H

#include "libavutil/avstring.h"
#include "libavutil/frame.h"
#include "libavutil/mem.h"
#include "libavutil/opt.h"
#include "libavutil/pixdesc.h"
#include "avfilter.h"
#include "filters.h"
#include "formats.h"
#include "version.h"
#include "video.h"
#if LIBAVFILTER_VERSION_MAJOR < 10
#include "internal.h"
#endif

/* the definition's type and where its public part lies */
#if LIBAVFILTER_VERSION_MAJOR >= 11
#define UPREZ_FILTER_DEF const FFFilter
#define UPREZ_P(field) .p.field
#else
#define UPREZ_FILTER_DEF const AVFilter
#define UPREZ_P(field) .field
#endif

/* the list of formats, and colour as negotiated */
#if LIBAVFILTER_VERSION_MAJOR >= 10
#define UPREZ_QUERY_FORMATS(add)                                                                   \
    static int query_formats(const AVFilterContext *avctx, AVFilterFormatsConfig **in,             \
                             AVFilterFormatsConfig **out)                                          \
    {                                                                                              \
        AVFilterFormats *list = NULL;                                                              \
        int r = add(&list);                                                                        \
        return r < 0 ? r : ff_set_common_formats2(avctx, in, out, list);                           \
    }
#define UPREZ_FILTER_QUERY FILTER_QUERY_FUNC2(query_formats)
static inline int uprez_link_colorspace(const AVFilterLink *l) { return l->colorspace; }
static inline int uprez_link_range(const AVFilterLink *l) { return l->color_range; }
#else
#define UPREZ_QUERY_FORMATS(add)                                                                   \
    static int query_formats(AVFilterContext *avctx)                                               \
    {                                                                                              \
        AVFilterFormats *list = NULL;                                                              \
        int r = add(&list);                                                                        \
        return r < 0 ? r : ff_set_common_formats(avctx, list);                                     \
    }
#define UPREZ_FILTER_QUERY FILTER_QUERY_FUNC(query_formats)
static inline int uprez_link_colorspace(const AVFilterLink *l) { return AVCOL_SPC_UNSPECIFIED; }
static inline int uprez_link_range(const AVFilterLink *l) { return AVCOL_RANGE_UNSPECIFIED; }
#endif

static inline int uprez_is_disabled(const AVFilterContext *avctx, const AVFrame *in)
{
    return avctx->is_disabled;
}

/* side data whose numbers are pixels of the old size */
static inline void uprez_drop_sized_side_data(AVFrame *f)
{
    static const enum AVFrameSideDataType types[] = {
        AV_FRAME_DATA_PANSCAN, AV_FRAME_DATA_MOTION_VECTORS, AV_FRAME_DATA_REGIONS_OF_INTEREST,
        AV_FRAME_DATA_VIDEO_ENC_PARAMS, AV_FRAME_DATA_DETECTION_BBOXES,
    };
    for (int i = 0; i < FF_ARRAY_ELEMS(types); i++)
        av_frame_remove_side_data(f, types[i]);
}

#endif /* AVFILTER_VF_UPREZ_COMPAT_H */
