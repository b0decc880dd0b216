#include "filter.h"

#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/bprint.h>
#include <libavutil/mem.h>
#include <libavutil/pixdesc.h>

#include "base/alloc.h"
#include "compat.h"
#include "frame.h"
#include "input.h"

struct UpzFilter {
    AVFilterGraph *graph;
    AVFilterContext *src, *sink;
    AVRational time_base;
    /* of the frames it was made for */
    int width, height, format;
    enum AVColorSpace space;
    enum AVColorRange range;
};

/* bwdif=…,CHAIN,format=pix_fmts=… */
static int describe(AVBPrint *b, const char *chain, UpzDeint deint)
{
    av_bprint_init(b, 0, AV_BPRINT_SIZE_UNLIMITED);
    if (deint != UPZ_DEINT_NONE)
        av_bprintf(b, "bwdif=mode=send_frame:parity=%s:deint=%s,",
                   deint == UPZ_DEINT_TFF   ? "tff"
                   : deint == UPZ_DEINT_BFF ? "bff"
                                            : "auto",
                   deint == UPZ_DEINT_FLAGGED ? "interlaced" : "all");
    if (chain && *chain) av_bprintf(b, "%s,", chain);
    av_bprintf(b, "format=pix_fmts=");
    const AVPixFmtDescriptor *d = NULL;
    for (bool first = true; (d = av_pix_fmt_desc_next(d));) {
        if (!upz_frame_known(av_pix_fmt_desc_get_id(d))) continue;
        av_bprintf(b, "%s%s", first ? "" : "|", d->name);
        first = false;
    }
    return av_bprint_is_complete(b) ? 0 : AVERROR(ENOMEM);
}

static int build(UpzFilter *f, const char *text, const AVFrame *like, AVRational rate,
                 AVRational sar)
{
    AVFilterInOut *in = avfilter_inout_alloc(), *out = avfilter_inout_alloc();
    AVBufferSrcParameters *p = av_buffersrc_parameters_alloc();
    f->graph = avfilter_graph_alloc();
    int r = AVERROR(ENOMEM);
    if (!in || !out || !p || !f->graph) goto done;
    av_free(f->graph->scale_sws_opts);
    f->graph->scale_sws_opts = av_strdup("flags=bicubic+accurate_rnd+bitexact+full_chroma_int"
                                         "+full_chroma_inp");
    f->src = avfilter_graph_alloc_filter(f->graph, avfilter_get_by_name("buffer"), "in");
    if (!f->src || !f->graph->scale_sws_opts) goto done;
    p->format = like->format;
    p->width = like->width;
    p->height = like->height;
    p->time_base = f->time_base;
    p->frame_rate = rate;
    p->sample_aspect_ratio = sar;
    upz_av_buffersrc_color(p, like);
    r = av_buffersrc_parameters_set(f->src, p);
    if (r >= 0) r = avfilter_init_str(f->src, NULL);
    if (r >= 0)
        r = avfilter_graph_create_filter(&f->sink, avfilter_get_by_name("buffersink"), "out", NULL,
                                         NULL, f->graph);
    if (r < 0) goto done;
    out->name = av_strdup("in");
    out->filter_ctx = f->src;
    in->name = av_strdup("out");
    in->filter_ctx = f->sink;
    r = out->name && in->name ? avfilter_graph_parse_ptr(f->graph, text, &in, &out, NULL)
                              : AVERROR(ENOMEM);
    if (r >= 0) r = avfilter_graph_config(f->graph, NULL);
done:
    avfilter_inout_free(&in);
    avfilter_inout_free(&out);
    av_free(p);
    return r;
}

int upz_filter_create(UpzFilter **out, const char *chain, UpzDeint deint, const AVFrame *like,
                      AVRational time_base, AVRational rate, AVRational sar, UprezError *err)
{
    *out = NULL;
    UpzFilter *f = upz_calloc(1, sizeof(*f));
    if (!f) return upz_fail_memory(err, sizeof(*f), "filters");
    f->time_base = time_base;
    f->width = like->width;
    f->height = like->height;
    f->format = like->format;
    f->space = like->colorspace;
    f->range = like->color_range;
    AVBPrint text;
    int r = describe(&text, chain, deint);
    if (r >= 0) r = build(f, text.str, like, rate, sar);
    av_bprint_finalize(&text, NULL);
    if (r < 0) {
        char why[UPZ_AV_ERROR];
        upz_filter_destroy(&f);
        if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "filters");
        if (chain)
            return upz_fail(err, UPREZ_ERR_USAGE, "the filters '%s' cannot be set up: %s; try them "
                            "with ffmpeg -vf first", chain, upz_av_error(r, why));
        return upz_fail(err, UPREZ_ERR_INPUT, "the deinterlacer cannot be set up for %s %dx%d: %s; "
                        "try --interlaced keep", av_get_pix_fmt_name(like->format), like->width,
                        like->height, upz_av_error(r, why));
    }
    *out = f;
    return 0;
}

void upz_filter_destroy(UpzFilter **f)
{
    if (!*f) return;
    avfilter_graph_free(&(*f)->graph);
    upz_free(*f);
    *f = NULL;
}

bool upz_filter_fits(const UpzFilter *f, const AVFrame *frame)
{
    return f->width == frame->width && f->height == frame->height && f->format == frame->format &&
           f->space == frame->colorspace && f->range == frame->color_range;
}

int upz_filter_send(UpzFilter *f, AVFrame *frame, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    int r = av_buffersrc_add_frame_flags(f->src, frame, 0);
    av_frame_free(&frame);
    if (r >= 0 || r == AVERROR_EOF) return 0; /* EOF: the chain wants no more */
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "filters");
    return upz_fail(err, UPREZ_ERR_INPUT, "the filters refused a frame: %s", upz_av_error(r, why));
}

int upz_filter_receive(UpzFilter *f, AVFrame **out, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    AVFrame *frame = av_frame_alloc();
    if (!frame) return upz_fail_memory(err, sizeof(*frame), "a frame");
    int r = av_buffersink_get_frame(f->sink, frame);
    if (r >= 0) {
        AVRational tb = av_buffersink_get_time_base(f->sink);
        int64_t d = upz_av_duration(frame);
        /* filters with a time base of their own (fps) may leave the duration in the one before */
        const AVRational rate = upz_filter_rate(f);
        if (av_cmp_q(tb, f->time_base) && rate.num > 0) d = av_rescale_q(1, av_inv_q(rate), tb);
        if (frame->pts != AV_NOPTS_VALUE)
            frame->pts = av_rescale_q(frame->pts, tb, f->time_base);
        upz_av_set_duration(frame, av_rescale_q(d, tb, f->time_base));
        frame->time_base = f->time_base;
        *out = frame;
        return 0;
    }
    av_frame_free(&frame);
    if (r == AVERROR(EAGAIN)) return UPREZ_AGAIN;
    if (r == AVERROR_EOF) return UPREZ_EOF;
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "filters");
    return upz_fail(err, UPREZ_ERR_INPUT, "the filters failed: %s", upz_av_error(r, why));
}

AVRational upz_filter_rate(const UpzFilter *f)
{
    AVRational r = av_buffersink_get_frame_rate(f->sink);
    return r.num > 0 && r.den > 0 ? r : (AVRational){0, 1};
}

AVRational upz_filter_sar(const UpzFilter *f)
{
    return av_buffersink_get_sample_aspect_ratio(f->sink);
}
