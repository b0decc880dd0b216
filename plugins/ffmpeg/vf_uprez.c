/*
 * Copyright (c) 2026 the uprez authors
 *
 * This file is part of FFmpeg.
 *
 * FFmpeg is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * FFmpeg is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with FFmpeg; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */

/**
 * @file
 * Super-resolution with libuprez. Frames go into the library and come out in their order; while
 * the oldest is waited for, the others are in work. Pixel formats, colour, tiles and engines are
 * the library's; this file carries AVFrames to it and back. CUDA frames stay on their device: the
 * library works in the frames' own context and in the order of their stream.
 */

#include <string.h>

#include <uprez/uprez.h>

#include "vf_uprez_compat.h"

#define MAX_FLIGHT 64

typedef struct UprezFilter {
    const AVClass *class;

    /* options */
    char *model, *engine, *device, *precision, *runtime_path, *cpu, *filter;
    double scale, denoise, blend;
    int width, height, threads, tile, batch, tta, reuse, async, nireq, device_id;
    char *dnn_backend, *input, *output, *backend_configs; /* dnn_processing's names */

    UprezContext *ctx;
    UprezModel *net, *plain_kernel;
    Uprez *up;    ///< frames in flight
    Uprez *plain; ///< what a disabled filter (timeline) enlarges with
    char *device_full;
    int depth;    ///< frames kept in flight
    struct Flight *flight[MAX_FLIGHT]; ///< a ring, the oldest at first
    int first, in_flight;
    int stale;    ///< a command changed options: made anew before the next frame
    AVBufferRef *frames; ///< where results in device memory come from; NULL with frames in main memory
    UprezDevice where;   ///< the device of CUDA frames
} UprezFilter;

/** One frame on its way. */
typedef struct Flight {
    AVFrame *in, *out;
} Flight;

static void log_line(void *cookie, int level, const char *line)
{
    static const int levels[] = {AV_LOG_ERROR, AV_LOG_WARNING, AV_LOG_INFO, AV_LOG_DEBUG};
    av_log(cookie, levels[av_clip(level, 0, 3)], "%s\n", line);
}

/** Logs the library's sentence and turns its code into FFmpeg's. */
static int failed(AVFilterContext *avctx, int r, const UprezError *err)
{
    av_log(avctx, AV_LOG_ERROR, "%s\n", err->text);
    switch (r) {
    case UPREZ_ERR_USAGE:  return AVERROR(EINVAL);
    case UPREZ_ERR_INPUT:
    case UPREZ_ERR_MODEL:  return AVERROR_INVALIDDATA;
    case UPREZ_ERR_DEVICE: return AVERROR(ENODEV);
    case UPREZ_ERR_MEMORY: return AVERROR(ENOMEM);
    default:               return AVERROR_EXTERNAL;
    }
}

/* ---- pictures ---- */

/** The yuvj formats are the yuv ones with the range in the name. */
static enum AVPixelFormat without_range(enum AVPixelFormat fmt)
{
    switch (fmt) {
    case AV_PIX_FMT_YUVJ420P: return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P: return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P: return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P: return AV_PIX_FMT_YUV440P;
    case AV_PIX_FMT_YUVJ411P: return AV_PIX_FMT_YUV411P;
    default:                  return fmt;
    }
}

static int format_of(UprezFormat *f, enum AVPixelFormat fmt)
{
    const char *name = av_get_pix_fmt_name(without_range(fmt));
    return name ? uprez_format_from_name(f, name) : UPREZ_ERR_USAGE;
}

/* FFmpeg's enumerations of matrix, primaries and transfer are H.273's, as the library's; those of
 * range and siting agree as well. */
static void describe(UprezPicture *p, enum AVPixelFormat fmt, int w, int h, int matrix, int primaries,
                     int transfer, int range, int siting)
{
    p->width = w;
    p->height = h;
    p->color.matrix = matrix <= 14 ? matrix : 2;
    p->color.primaries = primaries <= 22 ? primaries : 2;
    p->color.transfer = transfer <= 18 ? transfer : 2;
    p->color.range = range == AVCOL_RANGE_MPEG ? UPREZ_RANGE_LIMITED
                   : range == AVCOL_RANGE_JPEG ? UPREZ_RANGE_FULL : UPREZ_RANGE_UNKNOWN;
    if (without_range(fmt) != fmt)
        p->color.range = UPREZ_RANGE_FULL;
    p->color.siting = siting <= AVCHROMA_LOC_BOTTOM ? siting : UPREZ_SITING_UNKNOWN;
}

static void release_frame(void *cookie)
{
    AVFrame *f = cookie;
    av_frame_free(&f);
}

/** A picture over a frame's memory, holding a reference of the frame. */
static int wrap(AVFilterContext *avctx, UprezPicture **out, const AVFrame *frame)
{
    UprezFilter *s = avctx->priv;
    UprezPicture desc = {0};
    UprezError err;
    AVFrame *hold;
    enum AVPixelFormat fmt = uprez_sw_format(frame);
    int r = format_of(&desc.format, fmt);

    *out = NULL;
    if (r < 0)
        return AVERROR(EINVAL);
    if (fmt != frame->format) {
        desc.memory = UPREZ_MEM_CUDA;
        desc.device = s->where.index;
        desc.stream = s->where.stream;
    }
    describe(&desc, fmt, frame->width, frame->height, frame->colorspace,
             frame->color_primaries, frame->color_trc, frame->color_range, frame->chroma_location);
    for (int i = 0; i < desc.format.n_plane; i++) {
        desc.plane[i]  = frame->data[i];
        desc.stride[i] = frame->linesize[i];
    }
    hold = av_frame_clone(frame);
    if (!hold)
        return AVERROR(ENOMEM);
    r = uprez_picture_wrap(out, &desc, release_frame, hold, &err);
    if (r < 0) {
        av_frame_free(&hold);
        return failed(avctx, r, &err);
    }
    return 0;
}

static void free_flight(Flight **f)
{
    if (!*f)
        return;
    av_frame_free(&(*f)->in);
    av_frame_free(&(*f)->out);
    av_freep(f);
}

/* ---- options ---- */

/** dnn_processing's names become ours. */
static int take_aliases(AVFilterContext *avctx)
{
    static const struct {
        const char *theirs, *ours;
    } backends[] = {{"torch", "libtorch"}, {"4", "libtorch"}, {"openvino", "openvino"}, {"2", "openvino"},
                    {"onnx", "onnxruntime"}, {"8", "onnxruntime"}, {"tensorrt", "tensorrt"}};
    UprezFilter *s = avctx->priv;

    if (s->input || s->output)
        av_log(avctx, AV_LOG_INFO, "input and output are not needed: tensors are found by themselves\n");
    if (s->backend_configs)
        av_log(avctx, AV_LOG_WARNING, "backend_configs is dnn_processing's and has no effect here\n");
    if (s->dnn_backend) {
        int i = 0;
        while (i < FF_ARRAY_ELEMS(backends) && strcmp(backends[i].theirs, s->dnn_backend))
            i++;
        if (i == FF_ARRAY_ELEMS(backends)) {
            av_log(avctx, AV_LOG_ERROR,
                   "dnn_backend '%s' is not to be had here; known are torch, openvino, onnx and "
                   "tensorrt, or leave it away for the filter's own engines\n", s->dnn_backend);
            return AVERROR(EINVAL);
        }
        if (s->engine && strcmp(s->engine, "auto") && strcmp(s->engine, backends[i].ours)) {
            av_log(avctx, AV_LOG_ERROR, "engine=%s and dnn_backend=%s say different things; give one\n",
                   s->engine, s->dnn_backend);
            return AVERROR(EINVAL);
        }
        av_freep(&s->engine);
        s->engine = av_strdup(backends[i].ours);
        if (!s->engine)
            return AVERROR(ENOMEM);
    }
    /* a colon must be escaped in a filter graph, so cuda1 and device_id are taken too */
    if (s->device) {
        size_t n = strcspn(s->device, "0123456789");
        int index = s->device_id;
        if (s->device[n] && n && s->device[n - 1] != ':')
            index = strtol(s->device + n, NULL, 10);
        if (strchr(s->device, ':') || index < 0)
            s->device_full = av_strdup(s->device);
        else
            s->device_full = av_asprintf("%.*s:%d", (int)n, s->device, index);
        if (!s->device_full)
            return AVERROR(ENOMEM);
    }
    return 0;
}

static av_cold int init(AVFilterContext *avctx)
{
    UprezFilter *s = avctx->priv;
    UprezContextParams params = {.size = sizeof(params), .threads = s->threads, .cpu = s->cpu,
                                 .log = log_line, .log_cookie = avctx};
    UprezError err;
    int r = take_aliases(avctx);

    if (r < 0)
        return r;
    if (!s->model) {
        const char *names[UPREZ_DEFAULT_MODELS];

        uprez_default_models(1, 2, names);
        s->model = av_strdup(names[0]);
        if (!s->model)
            return AVERROR(ENOMEM);
        av_log(avctx, AV_LOG_INFO, "no model is given: %s, built in for video\n", s->model);
    }
    r = uprez_context_create(&s->ctx, &params, &err);
    return r < 0 ? failed(avctx, r, &err) : 0;
}

/** What was not computed, because the frame before had it already. */
static void tell_reuse(AVFilterContext *avctx)
{
    UprezFilter *s = avctx->priv;
    UprezCounts counts = {.size = sizeof(counts)};
    UprezError err;

    if (s->up && uprez_counts(s->up, &counts, &err) >= 0 && counts.pictures)
        av_log(avctx, AV_LOG_VERBOSE, "%"PRId64" frames, %"PRId64" repeated, %.1f frames' worth in all taken from the one before\n",
               counts.pictures, counts.repeated, counts.reused);
}

/** The network and its upscaler, for results of w x h (0: as the options say). Those before stay when it fails. */
static int make(AVFilterContext *avctx, int w, int h)
{
    UprezFilter *s = avctx->priv;
    UprezModelParams mp = {.size = sizeof(mp), .denoise = s->denoise, .mix = s->denoise >= 0, .engine = s->engine,
                           .device = s->device_full, .runtime_path = s->runtime_path};
    UprezParams p = {.size = sizeof(p), .n_models = 1, .scale = w ? 0 : s->scale,
                     .width = w ? w : s->width, .height = w ? h : s->height, .engine = s->engine,
                     .device = s->device_full, .precision = s->precision, .filter = s->filter,
                     .blend = s->blend, .tta = s->tta, .depth = s->async ? s->nireq : 1,
                     .tile = s->tile, .batch = s->batch, .no_reuse = !s->reuse, .runtime_path = s->runtime_path,
                     .cuda_context = s->where.context};
    UprezModel *net = NULL;
    Uprez *up = NULL;
    UprezError err;
    int r;

    r = uprez_model_load(&net, s->ctx, s->model, &mp, &err);
    if (r >= 0) {
        p.models = &net;
        r = uprez_create(&up, s->ctx, &p, &err);
    }
    if (r < 0) {
        uprez_model_unref(&net);
        return failed(avctx, r, &err);
    }
    tell_reuse(avctx);
    uprez_destroy(&s->up);
    uprez_model_unref(&s->net);
    s->up = up;
    s->net = net;
    return 0;
}

/** Plans for pictures like this one, and says with what. */
static int plan(AVFilterContext *avctx, const UprezPicture *like, UprezInfo *info)
{
    UprezFilter *s = avctx->priv;
    UprezError err;
    int r = uprez_plan(s->up, like, info, &err);

    if (r < 0)
        return failed(avctx, r, &err);
    s->depth = s->async ? av_clip(info->depth, 1, MAX_FLIGHT - 1) : 1;
    av_log(avctx, AV_LOG_INFO, "engine %s on %s, %s: %dx%d to %dx%d, %d in flight\n", info->engine,
           info->device, info->precision, like->width, like->height, info->width, info->height,
           s->depth);
    return 0;
}

static int config_output(AVFilterLink *outlink)
{
    AVFilterContext *avctx = outlink->src;
    AVFilterLink *inlink = avctx->inputs[0];
    AVBufferRef *in_frames = uprez_link_frames(inlink);
    UprezFilter *s = avctx->priv;
    UprezPicture like = {0};
    UprezInfo info = {.size = sizeof(info)};
    enum AVPixelFormat fmt = inlink->format;
    int r;

    av_buffer_unref(&s->frames);
    s->where = (UprezDevice){0};
    if (inlink->format == AV_PIX_FMT_CUDA) {
        r = uprez_device_of(avctx, in_frames, &s->where, &fmt);
        if (r < 0)
            return r;
        if (avctx->enable_str) { // better now than at the first frame that it names
            av_log(avctx, AV_LOG_ERROR, "enable= is for frames in main memory: those on a GPU are not "
                   "enlarged without a network; put hwdownload before the filter\n");
            return AVERROR(ENOSYS);
        }
        like.memory = UPREZ_MEM_CUDA;
        like.device = s->where.index;
        like.stream = s->where.stream;
    }
    if (format_of(&like.format, fmt) < 0) {
        av_log(avctx, AV_LOG_ERROR, "frames of the format %s in device memory are not to be read; "
               "convert them before, for instance with scale_cuda=format=nv12\n",
               av_get_pix_fmt_name(fmt));
        return AVERROR(ENOSYS);
    }
    describe(&like, fmt, inlink->w, inlink->h, uprez_link_colorspace(inlink), 2, 2,
             uprez_link_range(inlink), AVCHROMA_LOC_UNSPECIFIED);
    if ((r = make(avctx, 0, 0)) < 0 || (r = plan(avctx, &like, &info)) < 0)
        return r;
    outlink->w = info.width;
    outlink->h = info.height;
    if (like.memory == UPREZ_MEM_CUDA &&
        (r = uprez_make_frames(avctx, in_frames, &s->frames, info.width, info.height)) < 0)
        return r;
    if (inlink->sample_aspect_ratio.num)
        outlink->sample_aspect_ratio =
            av_mul_q((AVRational){outlink->h * inlink->w, outlink->w * inlink->h},
                     inlink->sample_aspect_ratio);
    else
        outlink->sample_aspect_ratio = inlink->sample_aspect_ratio;
    return 0;
}

/* ---- frames ---- */

/** The oldest frame in flight, waited for, goes on. */
static int deliver(AVFilterContext *avctx)
{
    UprezFilter *s = avctx->priv;
    AVFilterLink *outlink = avctx->outputs[0];
    UprezPicture *result;
    UprezError err;
    Flight *f;
    AVFrame *out;
    int r = uprez_receive(s->up, &result, -1, &err);

    f = s->flight[s->first];
    s->first = (s->first + 1) % MAX_FLIGHT;
    s->in_flight--;
    if (r < 0) {
        free_flight(&f);
        return failed(avctx, r, &err);
    }
    out = f->out;
    f->out = NULL;
    free_flight(&f);
    uprez_picture_unref(&result);
    return ff_filter_frame(outlink, out);
}

static int drain(AVFilterContext *avctx)
{
    UprezFilter *s = avctx->priv;
    int r = 0;

    while (r >= 0 && s->in_flight)
        r = deliver(avctx);
    return r;
}

static int out_frame(AVFilterContext *avctx, AVFrame **out, const AVFrame *in)
{
    UprezFilter *s = avctx->priv;
    AVFilterLink *outlink = avctx->outputs[0];
    int r;

    if (s->frames) {
        *out = av_frame_alloc();
        r = *out ? av_hwframe_get_buffer(s->frames, *out, 0) : AVERROR(ENOMEM);
        if (r < 0)
            return r;
    } else {
        *out = ff_get_video_buffer(outlink, outlink->w, outlink->h);
    }
    if (!*out)
        return AVERROR(ENOMEM);
    r = av_frame_copy_props(*out, in);
    if (r < 0)
        return r;
    (*out)->width = outlink->w;
    (*out)->height = outlink->h;
    (*out)->crop_left = (*out)->crop_right = (*out)->crop_top = (*out)->crop_bottom = 0;
    (*out)->sample_aspect_ratio = outlink->sample_aspect_ratio;
    if (in->width != outlink->w || in->height != outlink->h)
        uprez_drop_sized_side_data(*out);
    return 0;
}

/** A frame enters the library; takes the frame. */
static int send(AVFilterContext *avctx, AVFrame *in)
{
    UprezFilter *s = avctx->priv;
    UprezPicture *src = NULL, *dst = NULL;
    UprezError err;
    Flight *f = av_mallocz(sizeof(*f));
    int r = f ? 0 : AVERROR(ENOMEM);

    if (r >= 0)
        f->in = in;
    else
        av_frame_free(&in);
    if (r >= 0)
        r = out_frame(avctx, &f->out, f->in);
    if (r >= 0)
        r = wrap(avctx, &src, f->in);
    if (r >= 0)
        r = wrap(avctx, &dst, f->out);
    if (r >= 0) {
        while ((r = uprez_send_to(s->up, src, dst, &err)) == UPREZ_AGAIN && s->in_flight)
            if ((r = deliver(avctx)) < 0)
                goto end;
        if (r < 0)
            r = failed(avctx, r, &err);
    }
    if (r >= 0) {
        s->flight[(s->first + s->in_flight++) % MAX_FLIGHT] = f;
        f = NULL;
    }
end:
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    free_flight(&f);
    return r;
}

/* While the timeline has the filter disabled frames are enlarged without the network, so that they
 * keep their size; takes the frame. */
static int enlarge_plainly(AVFilterContext *avctx, AVFrame *in)
{
    UprezFilter *s = avctx->priv;
    AVFilterLink *outlink = avctx->outputs[0];
    UprezPicture *src = NULL, *dst = NULL, *result = NULL;
    AVFrame *out = NULL;
    UprezError err;
    int r = 0;

    if (!s->plain) {
        UprezParams p = {.size = sizeof(p), .models = &s->plain_kernel, .n_models = 1,
                         .width = outlink->w, .height = outlink->h};
        r = uprez_model_load(&s->plain_kernel, s->ctx, "lanczos", NULL, &err);
        if (r >= 0)
            r = uprez_create(&s->plain, s->ctx, &p, &err);
        if (r < 0)
            r = failed(avctx, r, &err);
    }
    if (r >= 0)
        r = out_frame(avctx, &out, in);
    if (r >= 0)
        r = wrap(avctx, &src, in);
    if (r >= 0)
        r = wrap(avctx, &dst, out);
    if (r >= 0) {
        r = uprez_send_to(s->plain, src, dst, &err);
        if (r >= 0)
            r = uprez_receive(s->plain, &result, -1, &err);
        if (r < 0)
            r = failed(avctx, r, &err);
    }
    uprez_picture_unref(&result);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    av_frame_free(&in);
    if (r < 0) {
        av_frame_free(&out);
        return r;
    }
    return ff_filter_frame(outlink, out);
}

static int filter_frame(AVFilterContext *avctx, AVFrame *in)
{
    UprezFilter *s = avctx->priv;
    AVFilterLink *outlink = avctx->outputs[0];
    int r = 0;

    if (s->stale || uprez_is_disabled(avctx, in))
        r = drain(avctx);
    if (r >= 0 && s->stale) {
        r = make(avctx, outlink->w, outlink->h);
        s->stale = r < 0; // tried again at the next frame, if there is one
    }
    if (r < 0) {
        av_frame_free(&in);
        return r;
    }
    if (uprez_is_disabled(avctx, in))
        return enlarge_plainly(avctx, in);
    if ((r = send(avctx, in)) < 0)
        return r;
    /* the pipeline is kept full; whoever came first is waited for */
    while (r >= 0 && s->in_flight >= s->depth)
        r = deliver(avctx);
    return r;
}

static int activate(AVFilterContext *avctx)
{
    AVFilterLink *inlink = avctx->inputs[0], *outlink = avctx->outputs[0];
    AVFrame *in = NULL;
    int64_t pts;
    int status, r;

    FF_FILTER_FORWARD_STATUS_BACK(outlink, inlink);
    r = ff_inlink_consume_frame(inlink, &in);
    if (r < 0)
        return r;
    if (r > 0) {
        r = filter_frame(avctx, in);
        if (r < 0)
            return r;
        if (ff_inlink_queued_frames(inlink))
            ff_filter_set_ready(avctx, 100);
    }
    if (!ff_inlink_queued_frames(inlink) && ff_inlink_acknowledge_status(inlink, &status, &pts)) {
        r = drain(avctx);
        if (r < 0)
            return r;
        ff_outlink_set_status(outlink, status, pts);
        return 0;
    }
    FF_FILTER_FORWARD_WANTED(outlink, inlink);
    return 0;
}

static int process_command(AVFilterContext *avctx, const char *cmd, const char *arg, char *res,
                           int res_len, int flags)
{
    UprezFilter *s = avctx->priv;
    int r = ff_filter_process_command(avctx, cmd, arg, res, res_len, flags);

    if (r >= 0)
        s->stale = 1;
    return r;
}

/** Every format whose layout the library reads by itself; the same going out as coming in. */
static int add_formats(AVFilterFormats **list)
{
    const AVPixFmtDescriptor *d = NULL;

    if (CONFIG_CUDA) {
        int r = ff_add_format(list, AV_PIX_FMT_CUDA);
        if (r < 0)
            return r;
    }
    while ((d = av_pix_fmt_desc_next(d))) {
        enum AVPixelFormat fmt = av_pix_fmt_desc_get_id(d);
        UprezFormat f;
        int r;
        if (d->flags & AV_PIX_FMT_FLAG_HWACCEL || format_of(&f, fmt) < 0)
            continue;
        if ((r = ff_add_format(list, fmt)) < 0)
            return r;
    }
    return 0;
}

UPREZ_QUERY_FORMATS(add_formats)

static av_cold void uninit(AVFilterContext *avctx)
{
    UprezFilter *s = avctx->priv;

    tell_reuse(avctx);
    uprez_destroy(&s->up); // waits for what is in work
    for (; s->in_flight > 0; s->in_flight--, s->first++)
        free_flight(&s->flight[s->first % MAX_FLIGHT]);
    uprez_destroy(&s->plain);
    uprez_model_unref(&s->net);
    uprez_model_unref(&s->plain_kernel);
    uprez_context_destroy(&s->ctx);
    av_buffer_unref(&s->frames);
    av_freep(&s->device_full);
}

#define OFFSET(x) offsetof(UprezFilter, x)
#define FLAGS (AV_OPT_FLAG_FILTERING_PARAM | AV_OPT_FLAG_VIDEO_PARAM)
#define LIVE (FLAGS | AV_OPT_FLAG_RUNTIME_PARAM)
static const AVOption uprez_options[] = {
    {"model", "a model's file or name (default: uprez-video-2x); lanczos, bicubic, spline36: no network", OFFSET(model), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, LIVE},
    {"scale", "output size / input size, 0 = the model's own", OFFSET(scale), AV_OPT_TYPE_DOUBLE, {.dbl = 0}, 0, 64, FLAGS},
    {"width", "output width, 0 = from scale", OFFSET(width), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 65536, FLAGS},
    {"w", "output width, 0 = from scale", OFFSET(width), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 65536, FLAGS},
    {"height", "output height, 0 = from scale", OFFSET(height), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 65536, FLAGS},
    {"h", "output height, 0 = from scale", OFFSET(height), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 65536, FLAGS},
    {"engine", "what to compute with: auto, cpu, cuda, onnxruntime, libtorch, openvino, tensorrt", OFFSET(engine), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"device", "where: auto, cpu, cuda, cuda1", OFFSET(device), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"device_id", "number of the device, -1 = any", OFFSET(device_id), AV_OPT_TYPE_INT, {.i64 = -1}, -1, 255, FLAGS},
    {"precision", "auto, fp32, fp16, bf16; fp8, int8: engine cuda", OFFSET(precision), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"runtime_path", "folder to look in for runtimes' libraries first", OFFSET(runtime_path), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"threads", "worker threads, 0 = all cores", OFFSET(threads), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 256, FLAGS},
    {"cpu", "highest processor level: c, avx2, avx512", OFFSET(cpu), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"tile", "side of a tile in source pixels, for tensor runtimes, 0 = auto", OFFSET(tile), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 65536, FLAGS},
    {"batch", "pictures or tiles a run, for tensor runtimes, 0 = auto", OFFSET(batch), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 64, FLAGS},
    {"batch_size", "pictures or tiles a run, for tensor runtimes, 0 = auto", OFFSET(batch), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 64, FLAGS},
    {"denoise", "0..1: mix realesr-general-x4v3 with its weak twin, -1 = off", OFFSET(denoise), AV_OPT_TYPE_DOUBLE, {.dbl = -1}, -1, 1, LIVE},
    {"blend", "0..1: share of the plainly resized source", OFFSET(blend), AV_OPT_TYPE_DOUBLE, {.dbl = 0}, 0, 1, LIVE},
    {"tta", "average over 8 flips and turns", OFFSET(tta), AV_OPT_TYPE_BOOL, {.i64 = 0}, 0, 1, FLAGS},
    {"filter", "final resize: lanczos, bicubic, spline36, bilinear", OFFSET(filter), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, LIVE},
    {"reuse", "what equals the frame before is not computed again; the result is the same", OFFSET(reuse), AV_OPT_TYPE_BOOL, {.i64 = 1}, 0, 1, FLAGS},
    {"async", "several frames in flight", OFFSET(async), AV_OPT_TYPE_BOOL, {.i64 = 1}, 0, 1, FLAGS},
    {"nireq", "frames in flight, 0 = the engine's own", OFFSET(nireq), AV_OPT_TYPE_INT, {.i64 = 0}, 0, 16, FLAGS},
    {"dnn_backend", "dnn_processing's name of the engine: torch, openvino, onnx, tensorrt", OFFSET(dnn_backend), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"input", "dnn_processing's; not needed", OFFSET(input), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"output", "dnn_processing's; not needed", OFFSET(output), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"backend_configs", "dnn_processing's; no effect", OFFSET(backend_configs), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {"options", "dnn_processing's; no effect", OFFSET(backend_configs), AV_OPT_TYPE_STRING, {.str = NULL}, 0, 0, FLAGS},
    {NULL}
};

AVFILTER_DEFINE_CLASS(uprez);

static const AVFilterPad uprez_inputs[] = {
    {.name = "default", .type = AVMEDIA_TYPE_VIDEO},
};
static const AVFilterPad uprez_outputs[] = {
    {.name = "default", .type = AVMEDIA_TYPE_VIDEO, .config_props = config_output},
};

UPREZ_FILTER_DEF ff_vf_uprez = {
    UPREZ_P(name)        = "uprez",
    UPREZ_P(description) = NULL_IF_CONFIG_SMALL("Enlarge video with super-resolution networks."),
    UPREZ_P(priv_class)  = &uprez_class,
    UPREZ_P(flags)       = AVFILTER_FLAG_SUPPORT_TIMELINE_INTERNAL,
    .priv_size           = sizeof(UprezFilter),
    .init                = init,
    .uninit              = uninit,
    .activate            = activate,
    .process_command     = process_command,
    FILTER_INPUTS(uprez_inputs),
    FILTER_OUTPUTS(uprez_outputs),
    UPREZ_FILTER_QUERY,
    .flags_internal      = FF_FILTER_FLAG_HWFRAME_AWARE,
};
