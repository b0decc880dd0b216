#include "check.h"

#include <string.h>
#include <libavutil/avstring.h>
#include <libavutil/mathematics.h>

#include "base/error.h"
#include "input.h"

static int open_plain(AVFormatContext **ic, const char *path, const char *container,
                      UprezError *err)
{
    char why[UPZ_AV_ERROR];
    AVDictionary *options = NULL;
    char *name = av_asprintf("file:%s", path);
    const AVInputFormat *demuxer =
        !strcmp(container, "yuv4mpegpipe") ? av_find_input_format(container) : NULL;
    upz_av_quiet();
    int r = name ? av_dict_set(&options, "ignore_editlist", "1", 0) : AVERROR(ENOMEM);
    if (r >= 0) r = avformat_open_input(ic, name, demuxer, &options);
    if (r >= 0) r = avformat_find_stream_info(*ic, NULL);
    av_dict_free(&options);
    av_free(name);
    if (r < 0) {
        avformat_close_input(ic);
        return upz_fail(err, UPREZ_ERR_VERIFY, "%s was written but does not open: %s", path,
                        upz_av_error(r, why));
    }
    return 0;
}

/* Decodes from where the demuxer stands: up to the first frame, or to the end. */
static int64_t decode(AVFormatContext *ic, int stream, bool first_only, bool *ok)
{
    AVCodecContext *dec = NULL;
    AVPacket *p = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    int64_t frames = 0, bad = 0;
    bool end = false;
    *ok = false;
    if (p && f && upz_decoder_open(&dec, ic->streams[stream], NULL, 0, NULL) >= 0) {
        while (!end && !(first_only && frames)) {
            int r = av_read_frame(ic, p);
            end = r < 0;
            if (!end && p->stream_index != stream) {
                av_packet_unref(p);
                continue;
            }
            r = avcodec_send_packet(dec, end ? NULL : p);
            av_packet_unref(p);
            if (r < 0 && r != AVERROR_EOF) bad++;
            while (avcodec_receive_frame(dec, f) >= 0) {
                bad += f->decode_error_flags || f->flags & AV_FRAME_FLAG_CORRUPT;
                frames++;
                av_frame_unref(f);
            }
        }
        *ok = frames > 0 && !bad;
    }
    avcodec_free_context(&dec);
    av_packet_free(&p);
    av_frame_free(&f);
    return frames;
}

static void count(UpzCheck *c, AVFormatContext *ic, const int *slot, int video)
{
    AVPacket *p = av_packet_alloc();
    int64_t lo = INT64_MAX, hi = INT64_MIN;
    while (p && av_read_frame(ic, p) >= 0) {
        int i = p->stream_index;
        if (i < UPZ_STREAMS_MAX && slot[i] >= 0) c->packets[slot[i]]++;
        if (i == video && p->pts != AV_NOPTS_VALUE) {
            lo = FFMIN(lo, p->pts);
            hi = FFMAX(hi, p->pts + p->duration);
        }
        av_packet_unref(p);
    }
    av_packet_free(&p);
    if (hi > lo) c->span_us = av_rescale_q(hi - lo, ic->streams[video]->time_base, AV_TIME_BASE_Q);
}

/* Where the enlarged video stands among the streams of the output. */
static int place_of_video(const UpzJoinPlan *plan)
{
    int at = 0;
    for (int i = 0; plan && i < plan->n; i++) {
        const UpzStreamPlan *item = &plan->items[i];
        if (item->fate == UPZ_STREAM_VIDEO) return at;
        at += item->fate != UPZ_STREAM_DROP && item->fate != UPZ_STREAM_ATTACH && !item->file;
    }
    return 0;
}

int upz_check_file(UpzCheck *c, const char *path, const char *container, const UpzJoinPlan *plan,
                   UprezError *err)
{
    *c = (UpzCheck){.video = -1};
    AVFormatContext *ic = NULL;
    int r = open_plain(&ic, path, container, err);
    if (r < 0) return r;
    int slot[UPZ_STREAMS_MAX], video = -1, place = place_of_video(plan);
    for (int i = 0; i < UPZ_STREAMS_MAX; i++) slot[i] = -1;
    for (unsigned i = 0; i < ic->nb_streams && i < UPZ_STREAMS_MAX; i++) {
        const AVStream *st = ic->streams[i];
        enum AVMediaType t = st->codecpar->codec_type;
        bool cover = st->disposition & AV_DISPOSITION_ATTACHED_PIC;
        /* Matroska shows attached pictures as streams */
        if (t == AVMEDIA_TYPE_ATTACHMENT || (cover && !strcmp(container, "matroska"))) continue;
        slot[i] = c->n_streams++;
        c->type[slot[i]] = t;
        if (t == AVMEDIA_TYPE_VIDEO && !cover && slot[i] == place) {
            video = (int)i;
            c->video = slot[i];
            c->width = st->codecpar->width;
            c->height = st->codecpar->height;
        }
    }
    if (video >= 0) {
        count(c, ic, slot, video);
        /* containers with an index find their last keyframe; others land anywhere */
        bool seeks = strstr(ic->iformat->name, "mp4") || strstr(ic->iformat->name, "matroska");
        if (seeks && avformat_seek_file(ic, video, INT64_MIN, INT64_MAX, INT64_MAX, 0) >= 0)
            c->decoded += decode(ic, video, false, &c->last_decodes);
        else
            c->last_decodes = true;
        avformat_close_input(&ic);
        r = open_plain(&ic, path, container, err);
        if (r >= 0) c->decoded += decode(ic, video, true, &c->first_decodes);
    }
    avformat_close_input(&ic);
    return r;
}

static int wrong(const char *path, const char *what, int64_t found, int64_t expected,
                 UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_VERIFY, "%s is not what was written: %s %lld, expected %lld; it is "
                    "kept for a look", path, what, (long long)found, (long long)expected);
}

int upz_check_result(const UpzCheck *c, const UpzJoinPlan *plan, const UpzJoinResult *written,
                     const UpzEncoderPlan *encoder, int64_t frames, const char *path,
                     UprezError *err)
{
    int at = 0;
    if (written->video_packets != frames)
        return wrong(path, "frames joined", written->video_packets, frames, err);
    for (int i = 0; i < plan->n; i++) {
        const UpzStreamPlan *item = &plan->items[i];
        if (item->fate == UPZ_STREAM_DROP || item->fate == UPZ_STREAM_ATTACH || item->file) continue;
        if (at >= c->n_streams) return wrong(path, "streams", c->n_streams, at + 1, err);
        int64_t expected = item->fate == UPZ_STREAM_VIDEO ? frames : written->packets[i];
        if (expected >= 0 && c->packets[at] != expected)
            return wrong(path, item->fate == UPZ_STREAM_VIDEO ? "frames" : "packets of a stream",
                         c->packets[at], expected, err);
        at++;
    }
    if (c->video < 0 || !c->first_decodes || !c->last_decodes)
        return upz_fail(err, UPREZ_ERR_VERIFY, "%s was written but its %s frames do not decode; it "
                        "is kept for a look", path, c->video >= 0 && c->first_decodes ? "last"
                                                                                       : "first");
    if (c->width != encoder->width || c->height != encoder->height)
        return wrong(path, "width", c->width, encoder->width, err);
    AVRational tb = encoder->time_base;
    int64_t span = av_rescale_q(written->end - written->start, tb, AV_TIME_BASE_Q);
    int64_t slack = 50000 + (frames ? 2 * span / frames : 0);
    if (!encoder->raw && c->span_us && (c->span_us > span + slack || c->span_us < span - slack))
        return wrong(path, "duration in ms", c->span_us / 1000, span / 1000, err);
    return 0;
}
