#include "join.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <libavcodec/bsf.h>
#include <libavutil/avstring.h>
#include <libavutil/mathematics.h>

#include "base/alloc.h"
#include "base/error.h"
#include "compat.h"
#include "input.h"
#include "mux.h"
#include "transcode.h"

#define MAX_FRAMES ((size_t)1 << 28)
#define BEYOND (10 * AV_TIME_BASE) /* how unevenly a source may be interleaved */

/* A file whose streams are copied. */
typedef struct Side {
    struct Join *join;
    AVFormatContext *ic;
    bool is_other, end;
    AVPacket *packet;   /* the next one, times of its stream; valid when have */
    bool have;
    int item;           /* of packet */
    int64_t when;       /* of packet, in the output, AV_TIME_BASE */
    int *item_of;       /* by stream */
    int64_t delta;      /* AV_TIME_BASE: from this file's times to the source's */
} Side;

typedef struct Join {
    const UpzJoinPlan *plan;
    UprezContext *ctx;
    const UpzJoinParams *params;
    const UpzEncoderPlan *encoder;
    UpzJoinResult *result;
    AVFormatContext *oc;
    AVCodecParameters *video_par;
    int map[UPZ_STREAMS_MAX], video_item;
    UpzTranscoder *transcoder[UPZ_STREAMS_MAX];
    const AVCodecParameters *converted[UPZ_STREAMS_MAX];
    int64_t last_dts[UPZ_STREAMS_MAX]; /* output stream's base */
    int64_t step[UPZ_STREAMS_MAX];     /* between the last two packets, the same base */
    int64_t shift, shift_video;     /* AV_TIME_BASE; source's video base, exact */
    int64_t cut_start, cut_end;     /* AV_TIME_BASE, source time */
    AVBSFContext *headers;          /* repeats extradata in streams that want it inside */

    int64_t *pts;                   /* all frames, source's video base, ascending */
    size_t n_pts, cap_pts;
    int64_t end;                    /* of the last frame */
    int reorder;                    /* frames a packet may come before its turn */
    Side source, other;

    AVFormatContext *seg;           /* the segment being read */
    int next_seg;
    size_t seg_rank;                /* rank of its first frame */
    int64_t seg_min;                /* its smallest pts, its own base */
    size_t written;
    AVPacket *video;                /* the next one: pts, dts, duration in the source's base */
    bool have_video;
    int converting;                 /* item whose packets write_converted() gets */
} Join;

static int failed(const Join *j, int r, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "joining");
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s%s", j->params->output,
                    upz_av_error(r, why),
                    r == AVERROR(ENOSPC) ? "; free some space and run the same command again" : "");
}

/* ---- segments ---- */

static int open_segment(Join *j, const char *path, UprezError *err)
{
    avformat_close_input(&j->seg);
    UprezError why;
    int r = upz_input_open(&j->seg, path, j->encoder->segment, NULL, &why);
    if (r < 0)
        return upz_fail(err, r == UPREZ_ERR_MEMORY ? r : UPREZ_ERR_VERIFY, "the segment %s", why.text);
    const AVCodecParameters *par = j->seg->nb_streams == 1 ? j->seg->streams[0]->codecpar : NULL;
    if (!par || par->codec_id != j->video_par->codec_id || par->width != j->encoder->width ||
        par->height != j->encoder->height)
        return upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s is not of this job", path);
    /* decoders get one header for all segments; codecs without one have it in their packets */
    if (j->video_par->extradata_size &&
        (par->extradata_size != j->video_par->extradata_size ||
         memcmp(par->extradata, j->video_par->extradata, (size_t)par->extradata_size)))
        return upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s was coded with other settings (its "
                        "header differs)", path);
    return 0;
}

static int compare_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The exact time of a segment's packet: whole encoder ticks after its first frame. */
static int64_t exact(const Join *j, int64_t pts, int64_t min, int64_t first)
{
    const UpzEncoderPlan *p = j->encoder;
    int64_t ticks = av_rescale_q(pts - min, j->seg->streams[0]->time_base, p->codec_base);
    return first + av_rescale_q(ticks, p->codec_base, p->time_base);
}

/* First pass: the times of all frames, and how far packets are out of order. */
static int read_times(Join *j, UprezError *err)
{
    AVPacket *p = av_packet_alloc();
    int64_t *raw = NULL;
    size_t cap = 0;
    int r = p ? 0 : upz_fail_memory(err, sizeof(*p), "joining");
    for (int s = 0; s < j->params->n_segments && r >= 0; s++) {
        const UpzJoinSegment *seg = &j->params->segments[s];
        size_t n = 0, base = j->n_pts;
        r = open_segment(j, seg->path, err);
        while (r >= 0 && av_read_frame(j->seg, p) >= 0) {
            if (p->pts == AV_NOPTS_VALUE)
                r = upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s has frames without a time",
                             seg->path);
            else if (!upz_grow(&raw, &cap, n + 1, sizeof(*raw), MAX_FRAMES) ||
                     !upz_grow(&j->pts, &j->cap_pts, j->n_pts + 1, sizeof(*j->pts), MAX_FRAMES))
                r = upz_fail_memory(err, n * sizeof(*raw), "joining");
            else
                raw[n] = p->pts, j->pts[j->n_pts++] = p->pts, n++;
            av_packet_unref(p);
        }
        if (r >= 0 && !n)
            r = upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s holds no frame", seg->path);
        if (r < 0) break;
        int64_t *sorted = j->pts + base;
        qsort(sorted, n, sizeof(*sorted), compare_time);
        for (size_t i = 0; i < n; i++) {
            const int64_t *at = bsearch(&raw[i], sorted, n, sizeof(*sorted), compare_time);
            int early = (int)((ptrdiff_t)i - (at - sorted));
            j->reorder = UPZ_MAX(j->reorder, early);
        }
        int64_t min = sorted[0];
        for (size_t i = 0; i < n; i++) sorted[i] = exact(j, sorted[i], min, seg->first);
        for (size_t i = UPZ_MAX(base, 1); i < base + n && r >= 0; i++)
            if (j->pts[i] <= j->pts[i - 1])
                r = upz_fail(err, UPREZ_ERR_VERIFY, "frame times overlap in the segment %s",
                             seg->path);
    }
    avformat_close_input(&j->seg);
    av_packet_free(&p);
    upz_free(raw);
    return r;
}

/* The last frame's end is the source's word, and some sources say 1 ms for all their frames: one
 * that is less than half of what frames usually take is not believed. */
static int find_end(Join *j, UprezError *err)
{
    int64_t last = j->pts[j->n_pts - 1], usual = 0;
    size_t n = UPZ_MIN(j->n_pts - 1, 256);
    AVRational rate = j->encoder->frame_rate;
    j->end = UPZ_MAX(j->params->segments[j->params->n_segments - 1].end, last + 1);
    if (n) {
        int64_t *gaps = upz_calloc(n, sizeof(*gaps));
        if (!gaps) return upz_fail_memory(err, n * sizeof(*gaps), "joining");
        for (size_t i = 0; i < n; i++)
            gaps[i] = j->pts[j->n_pts - 1 - i] - j->pts[j->n_pts - 2 - i];
        qsort(gaps, n, sizeof(*gaps), compare_time);
        usual = gaps[n / 2];
        upz_free(gaps);
    } else if (rate.num > 0) {
        usual = av_rescale_q(1, av_inv_q(rate), j->encoder->time_base);
    }
    if ((j->end - last) * 2 < usual) j->end = last + usual;
    return 0;
}

/* Decoding times: the presentation times, as many frames earlier as the order needs. */
static int64_t dts_of(const Join *j, size_t i)
{
    size_t d = (size_t)j->reorder;
    if (i >= d) return j->pts[i - d];
    int64_t step = j->n_pts > 1 ? j->pts[1] - j->pts[0] : 1;
    return j->pts[0] - (int64_t)(d - i) * UPZ_MAX(step, 1);
}

/* Second pass: the next packet into j->video. */
static int next_video(Join *j, UprezError *err)
{
    j->have_video = false;
    for (;;) {
        if (!j->seg) {
            if (j->next_seg == j->params->n_segments) return 0;
            int r = open_segment(j, j->params->segments[j->next_seg].path, err);
            if (r < 0) return r;
            /* the smallest time of a closed segment belongs to its first packet */
            j->seg_rank = j->written;
            j->seg_min = AV_NOPTS_VALUE;
        }
        if (av_read_frame(j->seg, j->video) >= 0) break;
        avformat_close_input(&j->seg);
        j->next_seg++;
    }
    AVPacket *p = j->video;
    const UpzJoinSegment *seg = &j->params->segments[j->next_seg];
    if (j->seg_min == AV_NOPTS_VALUE) j->seg_min = p->pts;
    p->pts = exact(j, p->pts, j->seg_min, seg->first);
    const int64_t *at = bsearch(&p->pts, j->pts, j->n_pts, sizeof(*j->pts), compare_time);
    if (!at || j->written >= j->n_pts)
        return upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s does not begin with its first frame",
                        seg->path);
    size_t rank = (size_t)(at - j->pts);
    p->duration = (rank + 1 < j->n_pts ? j->pts[rank + 1] : j->end) - p->pts;
    p->dts = dts_of(j, j->written);
    j->have_video = true;
    return 0;
}

/* ---- writing ---- */

static int64_t stream_shift(const Join *j, AVRational tb)
{
    return av_rescale_q(j->shift_video, j->encoder->time_base, tb);
}

static int write_packet(Join *j, AVPacket *p, int item, AVRational tb, UprezError *err)
{
    AVStream *st = j->oc->streams[j->map[item]];
    p->stream_index = j->map[item];
    p->pos = -1;
    av_packet_rescale_ts(p, tb, st->time_base);
    if (p->dts == AV_NOPTS_VALUE) p->dts = p->pts;
    /* rounding to a coarser base, and sources that repeat a time */
    int64_t *last = &j->last_dts[item];
    bool strict = !(j->oc->oformat->flags & AVFMT_TS_NONSTRICT);
    if (*last != AV_NOPTS_VALUE && p->dts != AV_NOPTS_VALUE && p->dts < *last + strict) {
        p->dts = *last + strict;
        if (p->pts != AV_NOPTS_VALUE && p->pts < p->dts) p->pts = p->dts;
    }
    /* sound that does not say how long its packets are: MOV would hide the last one */
    if (*last != AV_NOPTS_VALUE && p->dts != AV_NOPTS_VALUE) j->step[item] = p->dts - *last;
    if (p->duration <= 0 && st->codecpar->codec_type == AVMEDIA_TYPE_AUDIO)
        p->duration = j->step[item];
    *last = p->dts;
    int r = av_write_frame(j->oc, p);
    if (r >= 0 && j->oc->pb && j->oc->pb->error < 0) r = j->oc->pb->error;
    if (r < 0) return failed(j, r, err);
    if (j->result->packets[item] >= 0) j->result->packets[item]++;
    return 0;
}

static int write_video(Join *j, UprezError *err)
{
    AVPacket *p = j->video;
    p->pts += j->shift_video;
    p->dts += j->shift_video;
    int r = 0;
    if (j->headers) {
        r = av_bsf_send_packet(j->headers, p);
        if (r >= 0) r = av_bsf_receive_packet(j->headers, p);
        if (r < 0) return failed(j, r, err);
    }
    r = write_packet(j, p, j->video_item, j->encoder->time_base, err);
    av_packet_unref(p);
    j->written++;
    j->result->video_packets++;
    return r < 0 ? r : next_video(j, err);
}

static int write_converted(void *cookie, AVPacket *p, UprezError *err)
{
    Join *j = cookie;
    int item = j->converting;
    return write_packet(j, p, item, upz_transcoder_time_base(j->transcoder[item]), err);
}

/* Cuts a packet to the selected time; false when it lies outside. */
static bool inside(const Join *j, AVPacket *p, const AVStream *st)
{
    if (j->cut_start == INT64_MIN && j->cut_end == INT64_MAX) return true;
    int64_t t0 = j->cut_start == INT64_MIN ? INT64_MIN
                 : av_rescale_q_rnd(j->cut_start, AV_TIME_BASE_Q, st->time_base, AV_ROUND_UP);
    int64_t t1 = j->cut_end == INT64_MAX ? INT64_MAX
                 : av_rescale_q_rnd(j->cut_end, AV_TIME_BASE_Q, st->time_base, AV_ROUND_UP);
    int64_t t = p->pts != AV_NOPTS_VALUE ? p->pts : p->dts;
    if (t == AV_NOPTS_VALUE) return true;
    if (t >= t1) return false;
    if (t >= t0) {
        if (st->codecpar->codec_type == AVMEDIA_TYPE_SUBTITLE && p->duration > 0 &&
            t1 != INT64_MAX)
            p->duration = UPZ_MIN(p->duration, t1 - t);
        return true;
    }
    if (st->codecpar->codec_type == AVMEDIA_TYPE_SUBTITLE && p->duration > 0 &&
        t + p->duration > t0) { /* already on the screen when the cut begins */
        p->duration -= t0 - t;
        p->pts = p->dts = t0;
        return true;
    }
    return false;
}

/* The next packet of a side that is part of the output. */
static int next_packet(Side *s)
{
    Join *j = s->join;
    s->have = false;
    while (s->ic && !s->end) {
        av_packet_unref(s->packet);
        if (av_read_frame(s->ic, s->packet) < 0) { /* reading the video has reported damage */
            s->end = true;
            break;
        }
        AVPacket *p = s->packet;
        int i = p->stream_index;
        if ((unsigned)i >= s->ic->nb_streams || s->item_of[i] < 0) continue;
        const AVStream *st = s->ic->streams[i];
        int64_t delta = av_rescale_q(s->delta, AV_TIME_BASE_Q, st->time_base);
        if (p->pts != AV_NOPTS_VALUE) p->pts += delta;
        if (p->dts != AV_NOPTS_VALUE) p->dts += delta;
        int64_t t = p->dts != AV_NOPTS_VALUE ? p->dts : p->pts;
        int64_t us = t == AV_NOPTS_VALUE ? s->when
                                         : av_rescale_q(t, st->time_base, AV_TIME_BASE_Q) + j->shift;
        bool picture = st->disposition & AV_DISPOSITION_ATTACHED_PIC;
        if (picture) {
            p->pts = p->dts = 0;
            us = INT64_MIN / 2;
        } else if (!inside(j, p, st)) {
            if (j->cut_end != INT64_MAX && t != AV_NOPTS_VALUE &&
                us - j->shift > j->cut_end + BEYOND)
                s->end = true;
            continue;
        } else {
            int64_t shift = stream_shift(j, st->time_base);
            if (p->pts != AV_NOPTS_VALUE) p->pts += shift;
            if (p->dts != AV_NOPTS_VALUE) p->dts += shift;
        }
        s->item = s->item_of[i];
        s->when = us;
        s->have = true;
        return 1;
    }
    return 0;
}

static int write_side(Side *s, UprezError *err)
{
    Join *j = s->join;
    const AVStream *st = s->ic->streams[s->packet->stream_index];
    int r;
    if (j->transcoder[s->item]) {
        j->converting = s->item;
        r = upz_transcoder_packet(j->transcoder[s->item], s->packet, write_converted, j, err);
    } else {
        r = write_packet(j, s->packet, s->item, st->time_base, err);
    }
    av_packet_unref(s->packet);
    if (r >= 0) next_packet(s);
    return r;
}

/* ---- opening ---- */

static int open_side(Join *j, Side *s, const char *path, bool is_other, UprezError *err)
{
    s->join = j;
    s->is_other = is_other;
    s->when = INT64_MIN / 2;
    s->packet = av_packet_alloc();
    if (!s->packet) return upz_fail_memory(err, sizeof(*s->packet), "joining");
    if (!path || !strcmp(path, "-")) return 0;
    int r = upz_input_open(&s->ic, path, NULL, NULL, err);
    if (r < 0) return r;
    s->item_of = upz_calloc(s->ic->nb_streams, sizeof(int));
    if (!s->item_of) return upz_fail_memory(err, 0, "joining");
    bool any = false;
    for (unsigned i = 0; i < s->ic->nb_streams; i++) s->item_of[i] = -1;
    for (int i = 0; i < j->plan->n; i++) {
        const UpzStreamPlan *item = &j->plan->items[i];
        if (item->from_other != is_other) continue;
        if ((unsigned)item->source >= s->ic->nb_streams)
            return upz_fail(err, UPREZ_ERR_INPUT, "%s changed while it was being read", path);
        bool packets = item->fate == UPZ_STREAM_COPY || item->fate == UPZ_STREAM_TEXT ||
                       item->fate == UPZ_STREAM_AUDIO;
        if (s->ic->streams[item->source]->codecpar->codec_type == AVMEDIA_TYPE_ATTACHMENT)
            packets = false;
        if (packets) s->item_of[item->source] = i;
        any |= packets;
    }
    for (unsigned i = 0; i < s->ic->nb_streams; i++)
        s->ic->streams[i]->discard = s->item_of[i] < 0 ? AVDISCARD_ALL : AVDISCARD_DEFAULT;
    s->end = !any;
    return 0;
}

static int open_transcoders(Join *j, UprezError *err)
{
    for (int i = 0; i < j->plan->n; i++) {
        const UpzStreamPlan *item = &j->plan->items[i];
        j->last_dts[i] = AV_NOPTS_VALUE;
        if (item->fate == UPZ_STREAM_VIDEO) j->video_item = i;
        if (item->fate != UPZ_STREAM_TEXT && item->fate != UPZ_STREAM_AUDIO) continue;
        const Side *s = item->from_other ? &j->other : &j->source;
        int r = upz_transcoder_open(&j->transcoder[i], s->ic->streams[item->source], item->codec,
                                    err);
        if (r < 0) return r;
        j->converted[i] = upz_transcoder_parameters(j->transcoder[i]);
    }
    return 0;
}

/* Where the output's time 0 is. Containers of broadcasts start anywhere; a cut starts at its first
 * frame; everything else keeps its times. */
static void plan_shift(Join *j, bool holds_negative)
{
    AVRational tb = j->encoder->time_base;
    const AVFormatContext *ic = j->source.ic;
    const UpzJoinParams *p = j->params;
    j->cut_start = p->start == INT64_MIN ? INT64_MIN : av_rescale_q(p->start, tb, AV_TIME_BASE_Q);
    j->cut_end = p->end == INT64_MAX ? INT64_MAX : av_rescale_q(p->end, tb, AV_TIME_BASE_Q);
    int64_t start = AV_NOPTS_VALUE;
    if (p->start != INT64_MIN)
        start = j->pts[0];
    else if (ic && ic->iformat->flags & AVFMT_TS_DISCONT && ic->start_time != AV_NOPTS_VALUE)
        start = av_rescale_q(ic->start_time, AV_TIME_BASE_Q, tb);
    else if (j->pts[0] < 0 && !holds_negative)
        start = j->pts[0];
    if (start == AV_NOPTS_VALUE) start = 0;
    if (!holds_negative && p->start == INT64_MIN) { /* audio may begin before the picture */
        for (int i = 0; ic && i < j->plan->n; i++) {
            const UpzStreamPlan *item = &j->plan->items[i];
            if (item->from_other || item->fate == UPZ_STREAM_DROP) continue;
            const AVStream *st = ic->streams[item->source];
            if (st->start_time == AV_NOPTS_VALUE ||
                st->disposition & AV_DISPOSITION_ATTACHED_PIC)
                continue;
            start = UPZ_MIN(start, av_rescale_q_rnd(st->start_time, st->time_base, tb,
                                                    AV_ROUND_DOWN));
        }
    }
    j->shift_video = -start;
    j->shift = av_rescale_q(j->shift_video, tb, AV_TIME_BASE_Q);
}

/* Times of broadcasts mean something only against their own start. */
static int64_t own_zero(const AVFormatContext *ic)
{
    return ic && ic->iformat->flags & AVFMT_TS_DISCONT && ic->start_time != AV_NOPTS_VALUE
               ? ic->start_time : 0;
}

static int open_output(Join *j, UprezError *err)
{
    UpzMuxInputs in = {.source = j->source.ic, .other = j->other.ic, .info = j->params->info,
                       .encoder = j->encoder, .video = j->video_par, .cut_start = j->cut_start,
                       .cut_end = j->cut_end, .shift = j->shift};
    int r = upz_mux_create(&j->oc, j->plan, &in, j->converted, j->map);
    char *name = r >= 0 ? av_asprintf("file:%s", j->params->output) : NULL;
    if (r >= 0) {
        if (j->oc->url) av_freep(&j->oc->url);
        j->oc->url = name; /* faststart reads the file back by its name */
        r = name ? avio_open(&j->oc->pb, name, AVIO_FLAG_WRITE) : AVERROR(ENOMEM);
    }
    if (r >= 0) r = upz_mux_header(j->oc);
    if (r >= 0 && !(j->oc->oformat->flags & AVFMT_GLOBALHEADER) && j->video_par->extradata_size) {
        const AVBitStreamFilter *f = av_bsf_get_by_name("dump_extra");
        if (f) r = av_bsf_alloc(f, &j->headers);
        if (f && r >= 0) {
            j->headers->time_base_in = j->encoder->time_base;
            r = avcodec_parameters_copy(j->headers->par_in, j->video_par);
            if (r >= 0) r = av_bsf_init(j->headers);
        }
    }
    return r < 0 ? failed(j, r, err) : 0;
}

/* What a reader of the result will count the same: containers that keep packets as they are given,
 * codecs whose packets are not cut anew. */
static void mark_countable(Join *j)
{
    const char *c = j->encoder->container;
    bool keeps = !strcmp(c, "mp4") || !strcmp(c, "mov") || !strcmp(c, "ipod") ||
                 !strcmp(c, "matroska") || !strcmp(c, "webm");
    for (int i = 0; i < j->plan->n; i++) {
        const UpzStreamPlan *item = &j->plan->items[i];
        const Side *s = item->from_other ? &j->other : &j->source;
        if (item->fate == UPZ_STREAM_VIDEO || !s->ic) continue;
        const AVStream *st = s->ic->streams[item->source];
        enum AVMediaType t = st->codecpar->codec_type;
        if (!keeps || item->fate != UPZ_STREAM_COPY || t == AVMEDIA_TYPE_SUBTITLE ||
            av_get_bits_per_sample(st->codecpar->codec_id) ||
            t == AVMEDIA_TYPE_DATA || t == AVMEDIA_TYPE_ATTACHMENT ||
            st->disposition & AV_DISPOSITION_ATTACHED_PIC)
            j->result->packets[i] = -1;
    }
}

static int write_all(Join *j, UprezError *err)
{
    int r = next_video(j, err);
    next_packet(&j->source);
    next_packet(&j->other);
    while (r >= 0 && (j->have_video || j->source.have || j->other.have)) {
        int64_t v = j->have_video ? av_rescale_q(j->video->dts, j->encoder->time_base,
                                                 AV_TIME_BASE_Q) + j->shift : INT64_MAX;
        Side *s = !j->other.have || (j->source.have && j->source.when <= j->other.when)
                      ? &j->source : &j->other;
        r = s->have && s->when <= v ? write_side(s, err) : write_video(j, err);
    }
    for (int i = 0; i < j->plan->n && r >= 0; i++) {
        if (!j->transcoder[i]) continue;
        j->converting = i;
        r = upz_transcoder_packet(j->transcoder[i], NULL, write_converted, j, err);
    }
    if (r < 0) return r;
    r = av_write_frame(j->oc, NULL);
    if (r >= 0) r = av_write_trailer(j->oc);
    int io = j->oc->pb->error, c = avio_closep(&j->oc->pb);
    if (r >= 0) r = io < 0 ? io : c;
    return r < 0 ? failed(j, r, err) : 0;
}

static void close_side(Side *s)
{
    avformat_close_input(&s->ic);
    av_packet_free(&s->packet);
    upz_free(s->item_of);
}

int upz_join(const UpzJoinPlan *plan, UprezContext *ctx, const UpzJoinParams *params,
             const UpzEncoderPlan *encoder, UpzJoinResult *result, UprezError *err)
{
    memset(result, 0, sizeof(*result));
    Join *j = upz_calloc(1, sizeof(*j));
    if (!j) return upz_fail_memory(err, sizeof(*j), "joining");
    j->plan = plan;
    j->ctx = ctx;
    j->params = params;
    j->encoder = encoder;
    j->result = result;
    j->video = av_packet_alloc();
    int r = j->video ? upz_encoder_parameters(&j->video_par, encoder, err)
                     : upz_fail_memory(err, sizeof(AVPacket), "joining");
    if (r >= 0) r = read_times(j, err);
    if (r >= 0) r = find_end(j, err);
    if (r >= 0) r = open_side(j, &j->source, params->source, false, err);
    if (r >= 0) r = open_side(j, &j->other, params->other, true, err);
    if (r >= 0) r = open_transcoders(j, err);
    if (r >= 0) {
        const AVOutputFormat *of = av_guess_format(encoder->container, NULL, NULL);
        plan_shift(j, of->flags & AVFMT_TS_NEGATIVE);
        j->other.delta = own_zero(j->source.ic) - own_zero(j->other.ic);
        mark_countable(j);
        r = open_output(j, err);
    }
    if (r >= 0) r = write_all(j, err);
    if (r >= 0) {
        result->start = j->pts[0] + j->shift_video;
        result->end = j->end + j->shift_video;
    }
    if (j->oc) avio_closep(&j->oc->pb);
    avformat_free_context(j->oc);
    av_bsf_free(&j->headers);
    for (int i = 0; i < UPZ_STREAMS_MAX; i++) upz_transcoder_close(&j->transcoder[i]);
    close_side(&j->source);
    close_side(&j->other);
    avformat_close_input(&j->seg);
    av_packet_free(&j->video);
    avcodec_parameters_free(&j->video_par);
    upz_free(j->pts);
    upz_free(j);
    return r;
}
