/* What differs between FFmpeg 5.1, 7.1, 8.1 and 9.0 for vf_uprez.c; nothing else belongs here. */
#ifndef AVFILTER_VF_UPREZ_COMPAT_H
#define AVFILTER_VF_UPREZ_COMPAT_H

#include "libavutil/avstring.h"
#include "libavutil/frame.h"
#include "libavutil/hwcontext.h"
#include "libavutil/mem.h"
#include "libavutil/opt.h"
#include "libavutil/pixdesc.h"
#include "config.h"
#include "avfilter.h"
#include "filters.h"
#include "formats.h"
#include "version.h"
#include "video.h"
#if LIBAVFILTER_VERSION_MAJOR < 10
#include "internal.h"
#endif
#if CONFIG_CUDA
#include "libavutil/hwcontext_cuda_internal.h"
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

/* ---- frames in device memory ---- */

/** Where CUDA frames are: what the library is told. */
typedef struct UprezDevice {
    int index;
    void *context, *stream; ///< CUcontext, CUstream
} UprezDevice;

/* the frames of a link moved from its public to its private part */
#if LIBAVFILTER_VERSION_INT >= AV_VERSION_INT(10, 4, 100)
static inline AVBufferRef **uprez_link_frames_at(AVFilterLink *l) { return &ff_filter_link(l)->hw_frames_ctx; }
#else
static inline AVBufferRef **uprez_link_frames_at(AVFilterLink *l) { return &l->hw_frames_ctx; }
#endif
static inline AVBufferRef *uprez_link_frames(AVFilterLink *l) { return *uprez_link_frames_at(l); }

/** The layout of a frame's planes, in whichever memory. */
static inline enum AVPixelFormat uprez_sw_format(const AVFrame *f)
{
    return f->hw_frames_ctx ? ((const AVHWFramesContext *)f->hw_frames_ctx->data)->sw_format : f->format;
}

#if CONFIG_CUDA
static inline int uprez_device_of(AVFilterContext *avctx, AVBufferRef *frames, UprezDevice *d,
                                  enum AVPixelFormat *sw_format)
{
    const AVHWFramesContext *f = frames ? (const AVHWFramesContext *)frames->data : NULL;
    const AVCUDADeviceContext *hw;
    CudaFunctions *cu;
    CUcontext old;
    CUdevice device = 0;
    int failed;

    if (!f) {
        av_log(avctx, AV_LOG_ERROR, "CUDA frames come in without a frames context; put hwupload_cuda before\n");
        return AVERROR(EINVAL);
    }
    hw = f->device_ctx->hwctx;
    cu = hw->internal->cuda_dl;
    failed = cu->cuCtxPushCurrent(hw->cuda_ctx);
    if (!failed) {
        failed = cu->cuCtxGetDevice(&device);
        cu->cuCtxPopCurrent(&old);
    }
    if (failed) {
        av_log(avctx, AV_LOG_ERROR, "the CUDA device of the frames does not answer (error %d)\n", failed);
        return AVERROR_EXTERNAL;
    }
    *d = (UprezDevice){.index = device, .context = hw->cuda_ctx, .stream = hw->stream};
    *sw_format = f->sw_format;
    return 0;
}
#else
static inline int uprez_device_of(AVFilterContext *avctx, AVBufferRef *frames, UprezDevice *d,
                                  enum AVPixelFormat *sw_format)
{
    return AVERROR(ENOSYS);
}
#endif

/** Frames of another size in the same device and layout, for results and for what follows. */
static inline int uprez_make_frames(AVFilterContext *avctx, AVBufferRef *like, AVBufferRef **frames,
                                    int w, int h)
{
    const AVHWFramesContext *in = (const AVHWFramesContext *)like->data;
    AVBufferRef *ref = av_hwframe_ctx_alloc(in->device_ref), **link;
    AVHWFramesContext *out;
    int r;

    if (!ref)
        return AVERROR(ENOMEM);
    out = (AVHWFramesContext *)ref->data;
    out->format = in->format;
    out->sw_format = in->sw_format;
    out->width = FFALIGN(w, 32);
    out->height = FFALIGN(h, 32);
    r = av_hwframe_ctx_init(ref);
    if (r < 0) {
        av_buffer_unref(&ref);
        return r;
    }
    av_buffer_unref(frames);
    *frames = ref;
    link = uprez_link_frames_at(avctx->outputs[0]);
    av_buffer_unref(link);
    *link = av_buffer_ref(ref);
    return *link ? 0 : AVERROR(ENOMEM);
}

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
