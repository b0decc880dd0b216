/* A program with a graph of libavfilter's that goes on after an error, as players do: a command names a model
 * that is not there, later one that is. Prints what went in and came out. */
#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/frame.h>
#include <stdio.h>
#include <string.h>

static int taken(AVFilterContext *sink)
{
    AVFrame *out = av_frame_alloc();
    int n = 0;
    while (av_buffersink_get_frame(sink, out) >= 0) {
        n++;
        av_frame_unref(out);
    }
    av_frame_free(&out);
    return n;
}

int main(void)
{
    AVFilterGraph *g = avfilter_graph_alloc();
    AVFilterContext *src, *up, *sink;
    char res[100];
    int n = 0, refused = 0, r = avfilter_graph_create_filter(&src, avfilter_get_by_name("buffer"), "in",
                                                "video_size=64x48:pix_fmt=yuv420p:time_base=1/25", NULL, g);
    if (r >= 0) r = avfilter_graph_create_filter(&up, avfilter_get_by_name("uprez"), "up", "model=bicubic:scale=2", NULL, g);
    if (r >= 0) r = avfilter_graph_create_filter(&sink, avfilter_get_by_name("buffersink"), "out", NULL, NULL, g);
    if (r >= 0) r = avfilter_link(src, 0, up, 0);
    if (r >= 0) r = avfilter_link(up, 0, sink, 0);
    if (r >= 0) r = avfilter_graph_config(g, NULL);
    if (r < 0) return 1;
    for (int i = 0; i < 12; i++) {
        AVFrame *f = av_frame_alloc();
        f->width = 64;
        f->height = 48;
        f->format = 0; /* yuv420p */
        f->pts = i;
        if (av_frame_get_buffer(f, 0) < 0) return 1;
        for (int p = 0; p < 3; p++) memset(f->data[p], 60 + i, (size_t)f->linesize[p] * (p ? 24 : 48));
        if (i == 4) avfilter_graph_send_command(g, "up", "model", "/nowhere/none.pth", res, sizeof(res), 0);
        if (i == 8) avfilter_graph_send_command(g, "up", "model", "lanczos", res, sizeof(res), 0);
        refused += av_buffersrc_add_frame(src, f) < 0;
        av_frame_free(&f);
        n += taken(sink);
    }
    if (av_buffersrc_add_frame(src, NULL) >= 0) n += taken(sink);
    printf("%d refused, %d out\n", refused, n);
    avfilter_graph_free(&g);
    return 0;
}
