/* All packets of the enlarged stream, by demuxing once. */
#include "source.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "survey.h"

#define MAX_PACKETS ((size_t)1 << 28)

typedef struct Indexing {
    UpzIndex *index;
    AVRational rate, time_base;
    int64_t frame; /* its length, stream's base */
    uint32_t *epoch;
    size_t cap;
} Indexing;

/* A packet without pts gets its dts, or, in streams without any time, its place in decoding order
 * counted by the frame rate. */
static int add(void *cookie, const AVPacket *p, int epoch)
{
    Indexing *x = cookie;
    UpzIndex *index = x->index;
    if (p->flags & AV_PKT_FLAG_DISCARD) return 0;
    if (!upz_grow(&index->items, &index->cap, index->n + 1, sizeof(*index->items), MAX_PACKETS) ||
        !upz_grow(&x->epoch, &x->cap, index->n + 1, sizeof(*x->epoch), MAX_PACKETS))
        return AVERROR(ENOMEM);
    int64_t pts = p->pts != AV_NOPTS_VALUE   ? p->pts
                  : p->dts != AV_NOPTS_VALUE ? p->dts
                                             : av_rescale_q((int64_t)index->n, av_inv_q(x->rate),
                                                            x->time_base);
    x->epoch[index->n] = (uint32_t)epoch;
    index->items[index->n++] = (UpzIndexEntry){
        .pts = pts, .dts = p->dts, .duration = p->duration > 0 ? p->duration : UPZ_MAX(x->frame, 1),
        .key = !!(p->flags & AV_PKT_FLAG_KEY)};
    return 0;
}

/* The epochs' places are known when all is read. */
static void put_on_clock(const Indexing *x, const UpzTimeline *timeline)
{
    for (size_t i = 0; i < x->index->n; i++) {
        UpzIndexEntry *e = &x->index->items[i];
        int64_t by = av_rescale_q(timeline->epochs[x->epoch[i]].offset, AV_TIME_BASE_Q, x->time_base);
        e->pts += by;
        if (e->dts != AV_NOPTS_VALUE) e->dts += by;
    }
}

bool upz_source_can_index(const UpzSource *s)
{
    const AVFormatContext *fmt = upz_source_format(s);
    return strcmp(upz_source_info(s)->url, "-") && fmt->pb &&
           fmt->pb->seekable & AVIO_SEEKABLE_NORMAL;
}

int upz_source_index(UpzSource *s, UpzIndex *index, UprezError *err)
{
    *index = (UpzIndex){0};
    const UpzSourceInfo *info = upz_source_info(s);
    AVFormatContext *fmt = upz_source_format(s);
    UpzWatch *watch = fmt->interrupt_callback.opaque;
    if (!upz_source_can_index(s))
        return upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be read twice; write it to a file first",
                        !strcmp(info->url, "-") ? "standard input" : info->url);
    char demuxer[64];
    snprintf(demuxer, sizeof(demuxer), "%.*s", (int)strcspn(fmt->iformat->name, ","),
             fmt->iformat->name);
    AVStream *st = fmt->streams[info->video_stream];
    Indexing x = {.index = index, .time_base = st->time_base,
                  .rate = av_guess_frame_rate(fmt, st, NULL)};
    if (x.rate.num <= 0 || x.rate.den <= 0) x.rate = (AVRational){25, 1};
    x.frame = av_rescale_q(1, av_inv_q(x.rate), st->time_base);
    UpzSurvey *survey;
    int r = upz_survey_create(&survey, info->url, demuxer, info->video_stream, add, &x, watch, err);
    if (r >= 0) {
        put_on_clock(&x, &survey->timeline);
        r = upz_source_set_survey(s, survey, err);
    }
    upz_free(x.epoch);
    if (r < 0) upz_index_free(index);
    return r;
}

void upz_index_free(UpzIndex *index)
{
    upz_free(index->items);
    *index = (UpzIndex){0};
}
