#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <libavutil/avstring.h>
#include <libavutil/mathematics.h>

#include "base/error.h"
#include "input.h"
#include "source_facts.h"

#define UNLIKE 150000 /* of two times, in AV_TIME_BASE: a coder's delay and what is rounded */

static int interrupted(const char *path, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while checking %s", path);
}

static int open_plain(AVFormatContext **ic, const char *path, const char *container,
                      UpzWatch *watch, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    char *name = av_asprintf("file:%s", path);
    const AVInputFormat *demuxer =
        !strcmp(container, "yuv4mpegpipe") ? av_find_input_format(container) : NULL;
    upz_av_quiet();
    *ic = avformat_alloc_context();
    if (*ic) (*ic)->interrupt_callback = upz_input_interrupt(watch);
    int r = name && *ic ? avformat_open_input(ic, name, demuxer, NULL) : AVERROR(ENOMEM);
    if (r >= 0) r = avformat_find_stream_info(*ic, NULL);
    av_free(name);
    if (r < 0) {
        avformat_close_input(ic);
        if (upz_watch_ended(watch)) return interrupted(path, err);
        if (r == AVERROR(EMFILE) || r == AVERROR(ENFILE))
            return upz_fail(err, UPREZ_ERR_OUTPUT, "%s was written but too many files are open to look at "
                            "it; allow more ('ulimit -n 256')", path);
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

static bool is_matroska(const char *container)
{
    return !strcmp(container, "matroska") || !strcmp(container, "webm");
}

/* What a player shows of a packet: nothing that an edit list cuts away, or whose time nobody told. */
static void count_packet(UpzCheckStream *s, const AVPacket *p, const AVStream *st, bool timed)
{
    int64_t before, after;
    s->packets++;
    if (p->flags & AV_PKT_FLAG_DISCARD || (timed && p->pts == AV_NOPTS_VALUE)) return;
    s->shown++;
    s->untimed += p->pts == AV_NOPTS_VALUE;
    if (p->pts == AV_NOPTS_VALUE) return;
    upz_packet_skips(p, st, &before, &after);
    int64_t t = av_rescale_q(p->pts, st->time_base, AV_TIME_BASE_Q);
    int64_t end = t + av_rescale_q(p->duration, st->time_base, AV_TIME_BASE_Q) - after;
    bool none = s->first == AV_NOPTS_VALUE;
    s->first = none ? t + before : UPZ_MIN(s->first, t + before);
    s->last = none ? end : UPZ_MAX(s->last, end);
}

/* Streams may be found as late as their first packet. found: by the demuxer's number. */
static int count(UpzCheckStream *found, AVFormatContext *ic, bool timed, UpzWatch *watch)
{
    AVPacket *p = av_packet_alloc();
    for (int i = 0; i < UPZ_STREAMS_MAX; i++)
        found[i] = (UpzCheckStream){.first = AV_NOPTS_VALUE, .last = AV_NOPTS_VALUE};
    while (p && av_read_frame(ic, p) >= 0) {
        if (p->stream_index < UPZ_STREAMS_MAX)
            count_packet(&found[p->stream_index], p, ic->streams[p->stream_index], timed);
        av_packet_unref(p);
        upz_watch_beat(watch);
        if (upz_watch_ended(watch)) break;
    }
    bool done = p != NULL;
    av_packet_free(&p);
    return done ? 0 : UPREZ_ERR_MEMORY;
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

/* The streams in the plan's order. Returns the demuxer's number of the enlarged video, or -1. */
static int sort_streams(UpzCheck *c, const AVFormatContext *ic, const UpzCheckStream *found,
                        const char *container, int place)
{
    int video = -1, first = -1, first_slot = -1;
    for (unsigned i = 0; i < ic->nb_streams && i < UPZ_STREAMS_MAX; i++) {
        const AVStream *st = ic->streams[i];
        enum AVMediaType t = st->codecpar->codec_type;
        bool cover = st->disposition & AV_DISPOSITION_ATTACHED_PIC;
        /* Matroska shows attached pictures as streams */
        if (t == AVMEDIA_TYPE_ATTACHMENT || (cover && !strcmp(container, "matroska"))) continue;
        int slot = c->n_streams++;
        c->streams[slot] = found[i];
        c->streams[slot].type = t;
        c->streams[slot].header = upz_header_decodes(st);
        if (t != AVMEDIA_TYPE_VIDEO || cover) continue;
        if (first < 0) first = (int)i, first_slot = slot;
        if (slot == place) video = (int)i, c->video = slot;
    }
    /* a container without a list of streams has them in the order of their first packets */
    if (video < 0) video = first, c->video = first_slot;
    return video;
}

int upz_check_file(UpzCheck *c, const char *path, const char *container, const UpzJoinPlan *plan,
                   UpzWatch *watch, UprezError *err)
{
    *c = (UpzCheck){.video = -1};
    AVFormatContext *ic = NULL;
    int r = open_plain(&ic, path, container, watch, err);
    if (r < 0) return r;
    UpzCheckStream found[UPZ_STREAMS_MAX];
    if (count(found, ic, is_matroska(container), watch) < 0) r = upz_fail_memory(err, 0, "checking");
    if (r >= 0 && upz_watch_ended(watch)) r = interrupted(path, err);
    int video = r < 0 ? -1 : sort_streams(c, ic, found, container, place_of_video(plan));
    if (video >= 0) {
        c->width = ic->streams[video]->codecpar->width;
        c->height = ic->streams[video]->codecpar->height;
        /* containers with an index find their last keyframe; others land anywhere */
        bool seeks = strstr(ic->iformat->name, "mp4") || strstr(ic->iformat->name, "matroska");
        if (seeks && avformat_seek_file(ic, video, INT64_MIN, INT64_MAX, INT64_MAX, 0) >= 0)
            c->decoded += decode(ic, video, false, &c->last_decodes);
        else
            c->last_decodes = true;
        avformat_close_input(&ic);
        r = open_plain(&ic, path, container, watch, err);
        if (r >= 0) c->decoded += decode(ic, video, true, &c->first_decodes);
    }
    avformat_close_input(&ic);
    return r >= 0 && upz_watch_ended(watch) ? interrupted(path, err) : r;
}

static int wrong(const char *path, const char *what, int64_t found, int64_t expected,
                 UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_VERIFY, "%s is not what was written: %s %lld, expected %lld; it is "
                    "kept for a look", path, what, (long long)found, (long long)expected);
}

/* A copied stream against what was given to the muxer: its packets, its length, and where it lies
 * beside the picture. */
static int compare_stream(const UpzCheck *c, int at, const UpzJoinResult *written, int i,
                          const UpzEncoderPlan *encoder, const char *path, UprezError *err)
{
    const UpzCheckStream *s = &c->streams[at], *video = &c->streams[c->video];
    if (written->packets[i] < 0) return 0;
    if (s->packets != written->packets[i])
        return wrong(path, "packets of a stream", s->packets, written->packets[i], err);
    if (s->type != AVMEDIA_TYPE_AUDIO || s->first == AV_NOPTS_VALUE ||
        written->first[i] == AV_NOPTS_VALUE || video->first == AV_NOPTS_VALUE)
        return 0;
    int64_t length = written->last[i] - written->first[i];
    int64_t slack = UNLIKE + (s->packets ? 2 * length / s->packets : 0);
    if (llabs(s->last - s->first - length) > slack)
        return wrong(path, "ms of a stream's sound", (s->last - s->first) / 1000, length / 1000, err);
    int64_t picture = av_rescale_q(written->start, encoder->time_base, AV_TIME_BASE_Q);
    int64_t apart = written->first[i] - picture;
    if (llabs(s->first - video->first - apart) > slack)
        return wrong(path, "ms from picture to sound", (s->first - video->first) / 1000, apart / 1000,
                     err);
    return 0;
}

int upz_check_result(const UpzCheck *c, const UpzJoinPlan *plan, const UpzJoinResult *written,
                     const UpzEncoderPlan *encoder, int64_t frames, const char *path,
                     UprezError *err)
{
    int at = 0, r = 0;
    if (written->video_packets != frames)
        return wrong(path, "frames joined", written->video_packets, frames, err);
    if (c->video >= 0 && c->streams[c->video].shown != frames)
        return wrong(path, "frames", c->streams[c->video].shown, frames, err);
    for (int i = 0; i < plan->n && r >= 0; i++) {
        const UpzStreamPlan *item = &plan->items[i];
        if (item->fate == UPZ_STREAM_DROP || item->fate == UPZ_STREAM_ATTACH || item->file) continue;
        bool empty = item->fate != UPZ_STREAM_VIDEO && !written->came[i];
        if (at >= c->n_streams && empty) continue; /* some containers do not name such streams */
        if (at >= c->n_streams) return wrong(path, "streams", c->n_streams, at + 1, err);
        if (!c->streams[at].header && !empty)
            return upz_fail(err, UPREZ_ERR_VERIFY, "%s was written but the header of its stream %d "
                            "cannot be decoded; it is kept for a look", path, at);
        if (item->fate != UPZ_STREAM_VIDEO && c->video >= 0)
            r = compare_stream(c, at, written, i, encoder, path, err);
        at++;
    }
    if (r < 0) return r;
    if (c->video < 0 || !c->first_decodes || !c->last_decodes)
        return upz_fail(err, UPREZ_ERR_VERIFY, "%s was written but its %s frames do not decode; it "
                        "is kept for a look", path, c->video >= 0 && c->first_decodes ? "last"
                                                                                       : "first");
    if (c->width != encoder->width || c->height != encoder->height)
        return wrong(path, "width", c->width, encoder->width, err);
    AVRational tb = encoder->time_base;
    const UpzCheckStream *video = &c->streams[c->video];
    int64_t span = av_rescale_q(written->end - written->start, tb, AV_TIME_BASE_Q);
    int64_t slack = 50000 + (frames ? 2 * span / frames : 0);
    /* where some frames have no time (H.265 in MPEG-PS), the others do not tell the end */
    int64_t found = video->first == AV_NOPTS_VALUE || video->untimed ? 0
                                                                     : video->last - video->first;
    if (!encoder->raw && found && (found > span + slack || found < span - slack))
        return wrong(path, "duration in ms", found / 1000, span / 1000, err);
    return 0;
}
