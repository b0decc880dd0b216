#include "palette.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/mathematics.h>
#include <libavutil/pixdesc.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "compat.h"
#include "input.h"
#include "sink.h"

bool upz_palette_can(void)
{
    return avfilter_get_by_name("palettegen") && avfilter_get_by_name("paletteuse") &&
           avcodec_find_encoder_by_name("ffv1");
}

UpzEncoderPlan upz_palette_spool(const UpzEncoderPlan *plan)
{
    UpzEncoderPlan s = *plan;
    s.palette = false;
    s.pix_fmt = av_get_pix_fmt(uprez_format_name(&plan->format));
    s.codec_tag = 0;
    snprintf(s.encoder, sizeof(s.encoder), "ffv1");
    snprintf(s.options, sizeof(s.options), "level=3:slices=4:slicecrc=1");
    return s;
}

static int failed(int r, const char *what, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "the palette");
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s: %s", what, upz_av_error(r, why));
}

/* ---- reading the segments ---- */

typedef struct Reader {
    const UpzJoinParams *params;
    const UpzEncoderPlan *plan;
    int next;               /* segment */
    AVFormatContext *ic;
    AVCodecContext *dec;
    AVPacket *packet;
    int64_t zero;           /* time of the segment's first frame, its own base */
    bool draining;
} Reader;

static void reader_close(Reader *r)
{
    avcodec_free_context(&r->dec);
    avformat_close_input(&r->ic);
}

static int next_segment(Reader *r, UprezError *err)
{
    reader_close(r);
    if (r->next == r->params->n_segments) return UPREZ_EOF;
    const char *path = r->params->segments[r->next++].path;
    UprezError why;
    int e = upz_input_open(&r->ic, path, r->plan->segment, NULL, &why);
    if (e >= 0 && r->ic->nb_streams != 1)
        e = upz_fail(&why, UPREZ_ERR_VERIFY, "%s is not of this job", path);
    if (e >= 0) e = upz_decoder_open(&r->dec, r->ic->streams[0], NULL, 0, &why);
    if (e < 0)
        return upz_fail(err, e == UPREZ_ERR_INPUT ? UPREZ_ERR_VERIFY : e, "the segment %s", why.text);
    r->zero = AV_NOPTS_VALUE;
    r->draining = false;
    return 0;
}

/* The next frame of the film, its time in the source's base. 0, UPREZ_EOF or an error. */
static int read_frame(Reader *r, AVFrame *f, UprezError *err)
{
    if (upz_watch_ended(r->params->watch))
        return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while joining");
    upz_watch_beat(r->params->watch);
    for (;;) {
        int e = r->dec ? avcodec_receive_frame(r->dec, f) : AVERROR_EOF;
        if (e >= 0) break;
        if (e == AVERROR_EOF) {
            e = next_segment(r, err);
            if (e < 0) return e;
        } else if (e != AVERROR(EAGAIN)) {
            return upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s does not decode",
                            r->params->segments[r->next - 1].path);
        }
        if (r->draining) continue;
        if (av_read_frame(r->ic, r->packet) < 0) {
            r->draining = true;
            avcodec_send_packet(r->dec, NULL);
        } else {
            avcodec_send_packet(r->dec, r->packet);
            av_packet_unref(r->packet);
        }
    }
    const UpzEncoderPlan *p = r->plan;
    int64_t t = f->best_effort_timestamp;
    if (r->zero == AV_NOPTS_VALUE) r->zero = t;
    t = av_rescale_q(t - r->zero, r->ic->streams[0]->time_base, p->codec_base);
    f->pts = r->params->segments[r->next - 1].first + av_rescale_q(t, p->codec_base, p->time_base);
    return 0;
}

/* ---- filters ---- */

typedef struct Graph {
    AVFilterGraph *graph;
    AVFilterContext *film, *palette, *out; /* palette: the other input, or NULL */
} Graph;

static int add_source(Graph *g, AVFilterContext **to, const char *name, const AVFrame *like,
                      AVRational time_base)
{
    *to = avfilter_graph_alloc_filter(g->graph, avfilter_get_by_name("buffer"), name);
    AVBufferSrcParameters *p = *to ? av_buffersrc_parameters_alloc() : NULL;
    if (!p) return AVERROR(ENOMEM);
    p->format = like->format;
    p->width = like->width;
    p->height = like->height;
    p->time_base = time_base;
    upz_av_buffersrc_color(p, like);
    int r = av_buffersrc_parameters_set(*to, p);
    av_free(p);
    return r < 0 ? r : avfilter_init_str(*to, NULL);
}

static int add_pad(AVFilterInOut **list, const char *name, AVFilterContext *filter)
{
    AVFilterInOut *p = avfilter_inout_alloc();
    if (!p) return AVERROR(ENOMEM);
    p->name = av_strdup(name);
    p->filter_ctx = filter;
    p->next = *list;
    *list = p;
    return p->name ? 0 : AVERROR(ENOMEM);
}

/* chain reads [film], and [palette] when there is one, and writes [out]. */
static int graph_open(Graph *g, const char *chain, const AVFrame *film, const AVFrame *palette,
                      AVRational time_base)
{
    AVFilterInOut *from = NULL, *to = NULL;
    *g = (Graph){.graph = avfilter_graph_alloc()};
    if (!g->graph) return AVERROR(ENOMEM);
    g->graph->nb_threads = 1;
    int r = add_source(g, &g->film, "film", film, time_base);
    if (r >= 0 && palette) r = add_source(g, &g->palette, "palette", palette, time_base);
    if (r >= 0)
        r = avfilter_graph_create_filter(&g->out, avfilter_get_by_name("buffersink"), "out", NULL,
                                         NULL, g->graph);
    if (r >= 0) r = add_pad(&from, "film", g->film);
    if (r >= 0 && palette) r = add_pad(&from, "palette", g->palette);
    if (r >= 0) r = add_pad(&to, "out", g->out);
    if (r >= 0) r = avfilter_graph_parse_ptr(g->graph, chain, &to, &from, NULL);
    if (r >= 0) r = avfilter_graph_config(g->graph, NULL);
    avfilter_inout_free(&from);
    avfilter_inout_free(&to);
    return r;
}

/* ---- the two passes ---- */

/* The colours of the film, as a picture of 16x16. */
static int choose_colors(Reader *reader, AVFrame **out, UprezError *err)
{
    Graph g = {0};
    AVFrame *f = av_frame_alloc(), *palette = av_frame_alloc();
    int r = f && palette ? 0 : upz_fail_memory(err, 0, "the palette"), e = 0;
    char chain[100];
    snprintf(chain, sizeof(chain), "[film]palettegen=reserve_transparent=%d[out]",
             reader->plan->alpha);
    while (r >= 0 && e >= 0 && (r = read_frame(reader, f, err)) >= 0) {
        if (!g.graph) e = graph_open(&g, chain, f, NULL, reader->plan->time_base);
        if (e >= 0) e = av_buffersrc_add_frame_flags(g.film, f, 0);
        av_frame_unref(f);
    }
    if (r == UPREZ_EOF) r = 0;
    if (r >= 0 && e >= 0 && g.film) e = av_buffersrc_add_frame_flags(g.film, NULL, 0);
    if (r >= 0 && e >= 0) e = g.out ? av_buffersink_get_frame(g.out, palette) : AVERROR_EOF;
    if (r >= 0 && e < 0) r = failed(e, "the colours of the film cannot be chosen", err);
    avfilter_graph_free(&g.graph);
    av_frame_free(&f);
    if (r < 0) av_frame_free(&palette);
    *out = palette;
    return r;
}

/* Writes what the graph has ready. */
static int write_ready(const Graph *g, AVFrame *f, UpzSink *sink, AVRational time_base,
                       UprezError *err)
{
    int r = 0;
    while (r >= 0) {
        r = av_buffersink_get_frame(g->out, f);
        if (r == AVERROR(EAGAIN) || r == AVERROR_EOF) return 0;
        if (r < 0) return failed(r, "the film's colours cannot be set", err);
        f->pts = av_rescale_q(f->pts, av_buffersink_get_time_base(g->out), time_base);
        r = upz_sink_write(sink, f, err);
        av_frame_unref(f);
    }
    return r;
}

static int set_colors(Reader *reader, AVFrame *palette, UpzSink *sink, UprezError *err)
{
    static const char chain[] =
        "[film][palette]paletteuse=dither=sierra2_4a:diff_mode=rectangle[out]";
    AVRational time_base = reader->plan->time_base;
    Graph g = {0};
    AVFrame *f = av_frame_alloc(), *done = av_frame_alloc();
    int r = f && done ? 0 : upz_fail_memory(err, 0, "the palette"), e = 0;
    while (r >= 0 && e >= 0 && (r = read_frame(reader, f, err)) >= 0) {
        if (!g.graph) {
            e = graph_open(&g, chain, f, palette, time_base);
            palette->pts = f->pts;
            if (e >= 0) e = av_buffersrc_add_frame_flags(g.palette, palette, 0);
            if (e >= 0) e = av_buffersrc_add_frame_flags(g.palette, NULL, 0);
        }
        if (e >= 0) e = av_buffersrc_add_frame_flags(g.film, f, 0);
        av_frame_unref(f);
        if (e >= 0) r = write_ready(&g, done, sink, time_base, err);
    }
    if (r == UPREZ_EOF) r = 0;
    if (r >= 0 && e >= 0 && g.film) e = av_buffersrc_add_frame_flags(g.film, NULL, 0);
    if (r >= 0 && e >= 0 && g.film) r = write_ready(&g, done, sink, time_base, err);
    if (r >= 0 && e < 0) r = failed(e, "the film's colours cannot be set", err);
    avfilter_graph_free(&g.graph);
    av_frame_free(&f);
    av_frame_free(&done);
    return r;
}

int upz_palette_open(UpzPalette **out, const UpzJoinParams *params, const UpzEncoderPlan *plan,
                     UprezError *err)
{
    UpzPalette *p = *out = upz_calloc(1, sizeof(*p));
    if (!p) return upz_fail_memory(err, sizeof(*p), "the palette");
    Reader reader = {.params = params, .plan = plan, .packet = av_packet_alloc()};
    AVFrame *palette = NULL;
    UpzSink *sink = NULL;
    p->plan = *plan;
    p->plan.palette = false;
    p->fd = upz_nameless_file(params->output, NULL);
    if (p->fd < 0) p->fd = memfd_create("palette", MFD_CLOEXEC);
    snprintf(p->path, sizeof(p->path), "/proc/self/fd/%d", p->fd);
    int r = !reader.packet ? upz_fail_memory(err, 0, "the palette")
            : p->fd >= 0   ? choose_colors(&reader, &palette, err)
                           : upz_fail(err, UPREZ_ERR_OUTPUT, "a file beside %s cannot be made",
                                      params->output);
    reader_close(&reader);
    reader.next = 0;
    if (r >= 0) r = upz_sink_open(&sink, &p->plan, p->path, NULL, err);
    if (r >= 0) r = set_colors(&reader, palette, sink, err);
    if (r >= 0) r = upz_sink_finish(sink, NULL, err);
    upz_sink_close(&sink);
    reader_close(&reader);
    av_packet_free(&reader.packet);
    av_frame_free(&palette);
    p->segment = (UpzJoinSegment){.path = p->path, .first = params->segments[0].first,
                                  .end = params->segments[params->n_segments - 1].end};
    if (r < 0) upz_palette_close(out);
    return r;
}

void upz_palette_close(UpzPalette **palette)
{
    if (*palette && (*palette)->fd >= 0) close((*palette)->fd);
    upz_free(*palette);
    *palette = NULL;
}
