#include "filter_times.h"

#include <string.h>
#include <time.h>
#include <libavutil/pixdesc.h>

#include "base/alloc.h"
#include "compat.h"
#include "filter.h"
#include "input.h"
#include "source_facts.h"

#define MAX_TIMES ((size_t)1 << 24)

typedef struct Times {
    int64_t *items;
    size_t n, cap;
    bool whole; /* of all frames */
} Times;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A picture of one value, different from those of another. */
static AVFrame *flat(const AVCodecParameters *par, int value)
{
    AVFrame *f = av_frame_alloc();
    if (!f) return NULL;
    f->format = par->format;
    f->width = par->width;
    f->height = par->height;
    f->color_range = par->color_range;
    f->colorspace = par->color_space;
    if (av_frame_get_buffer(f, 0) < 0) {
        av_frame_free(&f);
        return NULL;
    }
    for (int i = 0; i < AV_NUM_DATA_POINTERS && f->buf[i]; i++)
        memset(f->buf[i]->data, value, f->buf[i]->size);
    return f;
}

/* All that is ready. */
static int take(UpzFilter *f, Times *t, UprezError *err)
{
    for (;;) {
        AVFrame *frame = NULL;
        int r = upz_filter_receive(f, &frame, err);
        if (r < 0) return r == UPREZ_AGAIN || r == UPREZ_EOF ? 0 : r;
        const int64_t pts = frame->pts;
        av_frame_free(&frame);
        if (pts == AV_NOPTS_VALUE || (t->n && pts <= t->items[t->n - 1])) continue;
        if (!upz_grow(&t->items, &t->cap, t->n + 1, sizeof(*t->items), MAX_TIMES))
            return upz_fail_memory(err, t->n * sizeof(*t->items), "the times of filters");
        t->items[t->n++] = pts;
    }
}

/* Pictures in turn. */
static int run(Times *t, UpzFilter *f, AVFrame *const pictures[2], const int64_t *pts, size_t n,
               double until, UprezError *err)
{
    int r = 0;
    size_t i = 0;
    for (; i < n && r >= 0 && (i < 16 || now() < until); i++) {
        AVFrame *frame = av_frame_clone(pictures[i % 2]);
        if (!frame) return upz_fail_memory(err, 0, "the times of filters");
        frame->pts = pts[i];
        r = upz_filter_send(f, frame, err);
        if (r >= 0) r = take(f, t, err);
    }
    t->whole = i == n;
    if (r >= 0 && t->whole) r = upz_filter_send(f, NULL, err);
    return r < 0 ? r : take(f, t, err);
}

/* The times that both have. */
static size_t common(const Times *a, const Times *b)
{
    const size_t n = UPZ_MIN(a->n, b->n);
    for (size_t i = 0; i < n; i++)
        if (a->items[i] != b->items[i]) return 0;
    return a->whole && b->whole && a->n != b->n ? 0 : n;
}

int upz_filter_times(const UpzSource *source, const char *chain, const int64_t *pts, size_t n,
                     double seconds, int64_t **out, size_t *n_out, UprezError *err)
{
    AVFormatContext *ic = upz_source_format(source);
    const AVStream *st = ic->streams[upz_source_info(source)->video_stream];
    const AVCodecParameters *par = st->codecpar;
    Times t[2] = {{0}, {0}};
    UprezError ignored;
    *out = NULL;
    *n_out = 0;
    if (!av_pix_fmt_desc_get((enum AVPixelFormat)par->format) || par->width < 1 || par->height < 1) return 0;
    AVFrame *a = flat(par, 0), *b = flat(par, 200);
    int r = a && b ? 0 : upz_fail_memory(err, 0, "the times of filters");
    for (int k = 0; k < 2 && r >= 0; k++) {
        UpzFilter *f = NULL;
        AVFrame *const pictures[2] = {a, k ? b : a};
        r = upz_filter_create(&f, chain, UPZ_DEINT_NONE, a, st->time_base, upz_best_rate(ic, (AVStream *)(uintptr_t)st),
                              par->sample_aspect_ratio, &ignored);
        if (r >= 0) r = run(&t[k], f, pictures, pts, n, now() + seconds / 2, &ignored);
        upz_filter_destroy(&f);
    }
    if (r >= 0 && (*n_out = common(&t[0], &t[1]))) {
        *out = t[0].items;
        t[0].items = NULL;
    }
    upz_free(t[0].items);
    upz_free(t[1].items);
    av_frame_free(&a);
    av_frame_free(&b);
    if (r != UPREZ_ERR_MEMORY) return 0; /* what cannot be tried says nothing */
    return upz_fail_memory(err, 0, "the times of filters");
}
