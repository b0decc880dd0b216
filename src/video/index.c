/* All packets of the enlarged stream, by demuxing once. */
#include "source.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "input.h"

#define MAX_PACKETS ((size_t)1 << 28)

static int add(UpzIndex *index, const AVPacket *p, int64_t pts, int64_t duration)
{
    if (!upz_grow(&index->items, &index->cap, index->n + 1, sizeof(*index->items), MAX_PACKETS))
        return AVERROR(ENOMEM);
    index->items[index->n++] = (UpzIndexEntry){
        .pts = pts, .dts = p->dts, .duration = duration, .key = !!(p->flags & AV_PKT_FLAG_KEY)};
    return 0;
}

/* A packet without pts gets its dts, or, in streams without any time, its place in decoding order
 * counted by the frame rate. */
static int read_all(AVFormatContext *in, int stream, UpzIndex *index, volatile int *cancel,
                    bool *jumps)
{
    const AVStream *st = in->streams[stream];
    AVRational rate = av_guess_frame_rate(in, in->streams[stream], NULL);
    if (rate.num <= 0 || rate.den <= 0) rate = (AVRational){25, 1};
    int64_t frame = av_rescale_q(1, av_inv_q(rate), st->time_base), n = 0;
    UpzTimeline timeline = {.last = AV_NOPTS_VALUE};
    AVPacket *p = av_packet_alloc();
    int r = p ? 0 : AVERROR(ENOMEM);
    while (r >= 0 && !(cancel && *cancel)) {
        r = av_read_frame(in, p);
        if (r < 0) break; /* any end will do: reading for real reports damage */
        if (p->stream_index == stream)
            *jumps |= upz_timeline_fix(&timeline, p, st->time_base) != 0;
        if (p->stream_index == stream && !(p->flags & AV_PKT_FLAG_DISCARD)) {
            int64_t pts = p->pts != AV_NOPTS_VALUE   ? p->pts
                          : p->dts != AV_NOPTS_VALUE ? p->dts
                                                     : av_rescale_q(n, av_inv_q(rate),
                                                                    st->time_base);
            r = add(index, p, pts, p->duration > 0 ? p->duration : UPZ_MAX(frame, 1));
            n++;
        }
        av_packet_unref(p);
    }
    av_packet_free(&p);
    return r == AVERROR(ENOMEM) ? r : 0;
}

int upz_source_index(UpzSource *s, UpzIndex *index, UprezError *err)
{
    *index = (UpzIndex){0};
    const UpzSourceInfo *info = upz_source_info(s);
    AVFormatContext *fmt = upz_source_format(s), *in = NULL;
    volatile int *cancel = fmt->interrupt_callback.opaque;
    if (!strcmp(info->url, "-") || !fmt->pb || !(fmt->pb->seekable & AVIO_SEEKABLE_NORMAL))
        return upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be read twice; write it to a file first",
                        !strcmp(info->url, "-") ? "standard input" : info->url);
    char demuxer[64];
    snprintf(demuxer, sizeof(demuxer), "%.*s", (int)strcspn(fmt->iformat->name, ","),
             fmt->iformat->name);
    int r = upz_input_open(&in, info->url, demuxer, cancel, err);
    if (r < 0) return r;
    if ((unsigned)info->video_stream >= in->nb_streams) {
        avformat_close_input(&in);
        return upz_fail(err, UPREZ_ERR_INPUT, "%s changed while it was being read", info->url);
    }
    for (unsigned i = 0; i < in->nb_streams; i++)
        in->streams[i]->discard = (int)i == info->video_stream ? AVDISCARD_DEFAULT
                                                               : AVDISCARD_ALL;
    bool jumps = false;
    r = read_all(in, info->video_stream, index, cancel, &jumps);
    if (jumps) upz_source_set_linear(s);
    avformat_close_input(&in);
    if (r < 0) {
        upz_index_free(index);
        return upz_fail_memory(err, 0, "the list of frames");
    }
    if (cancel && *cancel) {
        upz_index_free(index);
        return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while reading %s", info->url);
    }
    return 0;
}

void upz_index_free(UpzIndex *index)
{
    upz_free(index->items);
    *index = (UpzIndex){0};
}
