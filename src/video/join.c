#include "join.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <libavcodec/bsf.h>
#include <libavutil/avstring.h>
#include <libavutil/mathematics.h>
#include <libavutil/opt.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "compat.h"
#include "input.h"
#include "mux.h"
#include "palette.h"
#include "transcode.h"

#define MAX_FRAMES ((size_t)1 << 28)
#define BEYOND (10 * AV_TIME_BASE) /* how unevenly a source may be interleaved */

/* A file whose streams are copied. */
typedef struct Side {
    struct Join *join;
    AVFormatContext *ic;
    const UpzSurvey *survey;   /* NULL: not looked through */
    UpzTimeline plain;         /* one epoch, for those */
    UpzClock clock;
    bool is_other, end;
    bool finished;      /* read to its end, or to an error */
    bool told_header;
    int n_items;
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
    int64_t *told;                  /* the same as the segments tell them: ascending in each */
    size_t n_pts, cap_pts, cap_told;
    int64_t end;                    /* of the last frame */
    bool adds_delay;                /* upz_mux_adds_delay() */
    int reorder;                    /* frames a packet may come before its turn */
    Side source, other;

    AVFormatContext *seg;           /* the segment being read */
    int next_seg;
    size_t seg_rank, seg_end;       /* ranks of its first frame, and behind its last */
    size_t *ends;                   /* seg_end of each segment */
    int64_t seg_min;                /* its smallest pts, its own base */
    size_t written;
    AVPacket *video;                /* the next one: pts, dts, duration in the source's base */
    bool have_video;
    int converting;                 /* item whose packets write_converted() gets */
} Join;

static int interrupted(UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while joining");
}

static int failed(const Join *j, int r, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "joining");
    if (upz_watch_ended(j->params->watch)) return interrupted(err);
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s%s", j->params->output,
                    upz_av_error(r, why),
                    r == AVERROR(ENOSPC) ? "; free some space and run the same command again" : "");
}

/* ---- segments ---- */

/* Some codecs share their tag with a more general one (lossless JPEG with Motion JPEG). */
static bool is_codec(enum AVCodecID found, enum AVCodecID coded, const char *muxer)
{
    const AVOutputFormat *of = av_guess_format(muxer, NULL, NULL);
    if (found == AV_CODEC_ID_NONE && !strcmp(muxer, "nut")) return of && !av_codec_get_tag(of->codec_tag, coded);
    return found == coded ||
           (of && of->codec_tag && found != AV_CODEC_ID_NONE &&
            found == av_codec_get_id(of->codec_tag, av_codec_get_tag(of->codec_tag, coded)));
}

static int open_segment(Join *j, const char *path, UprezError *err)
{
    avformat_close_input(&j->seg);
    UprezError why;
    int r = upz_input_open(&j->seg, path, j->encoder->segment, NULL, &why);
    if (r < 0)
        return upz_fail(err, r == UPREZ_ERR_INPUT ? UPREZ_ERR_VERIFY : r, "the segment %s", why.text);
    const AVCodecParameters *par = j->seg->nb_streams == 1 ? j->seg->streams[0]->codecpar : NULL;
    if (!par || !is_codec(par->codec_id, j->video_par->codec_id, j->encoder->segment) ||
        par->width != j->encoder->width || par->height != j->encoder->height)
        return upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s is not of this job", path);
    /* some encoders tell their header only with the first packet, and the demuxer has found it there */
    if (!j->video_par->extradata_size && par->extradata_size) {
        j->video_par->extradata = av_mallocz((size_t)par->extradata_size +
                                             AV_INPUT_BUFFER_PADDING_SIZE);
        if (!j->video_par->extradata) return upz_fail_memory(err, 0, "joining");
        memcpy(j->video_par->extradata, par->extradata, (size_t)par->extradata_size);
        j->video_par->extradata_size = par->extradata_size;
    }
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
    j->ends = upz_calloc((size_t)j->params->n_segments, sizeof(*j->ends));
    int r = p && j->ends ? 0 : upz_fail_memory(err, sizeof(*p), "joining");
    for (int s = 0; s < j->params->n_segments && r >= 0; s++) {
        const UpzJoinSegment *seg = &j->params->segments[s];
        size_t n = 0, base = j->n_pts;
        if (upz_watch_ended(j->params->watch)) r = interrupted(err);
        else r = open_segment(j, seg->path, err);
        upz_watch_beat(j->params->watch);
        while (r >= 0 && av_read_frame(j->seg, p) >= 0) {
            if (p->pts == AV_NOPTS_VALUE)
                r = upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s has frames without a time",
                             seg->path);
            else if (!upz_grow(&raw, &cap, n + 1, sizeof(*raw), MAX_FRAMES) ||
                     !upz_grow(&j->pts, &j->cap_pts, j->n_pts + 1, sizeof(*j->pts), MAX_FRAMES) ||
                     !upz_grow(&j->told, &j->cap_told, j->n_pts + 1, sizeof(*j->told), MAX_FRAMES))
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
        /* an encoder that counts frames may end a segment later than the next one begins, where the
         * source's times are uneven or repeated */
        for (size_t i = base; i < base + n; i++) {
            j->told[i] = exact(j, j->pts[i], min, seg->first);
            j->pts[i] = i ? UPZ_MAX(j->told[i], j->pts[i - 1] + 1) : j->told[i];
        }
        j->ends[s] = j->n_pts;
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
    bool told = j->params->info && !strcmp(j->params->info->container, "gif");
    if (!told && (j->end - last) * 2 < usual) j->end = last + usual;
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
            j->seg_rank = j->next_seg ? j->ends[j->next_seg - 1] : 0;
            j->seg_end = j->ends[j->next_seg];
            j->seg_min = AV_NOPTS_VALUE;
        }
        if (av_read_frame(j->seg, j->video) >= 0) break;
        avformat_close_input(&j->seg);
        j->next_seg++;
    }
    AVPacket *p = j->video;
    const UpzJoinSegment *seg = &j->params->segments[j->next_seg];
    if (j->seg_min == AV_NOPTS_VALUE) j->seg_min = p->pts;
    int64_t told = exact(j, p->pts, j->seg_min, seg->first);
    const int64_t *at = bsearch(&told, j->told + j->seg_rank, j->seg_end - j->seg_rank,
                                sizeof(*j->told), compare_time);
    if (!at || j->written >= j->n_pts)
        return upz_fail(err, UPREZ_ERR_VERIFY, "the segment %s does not begin with its first frame",
                        seg->path);
    size_t rank = (size_t)(at - j->told);
    p->pts = j->pts[rank];
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

static bool is_matroska(const Join *j)
{
    return !strcmp(j->encoder->container, "matroska") || !strcmp(j->encoder->container, "webm");
}

/* Matroska's decoders leave the beginning of Opus out and count time from behind it: the stored time
 * of its first packet is 0. */
static void settle_matroska(const Join *j, AVPacket *p, const AVStream *st)
{
    int64_t least = 0;
    const AVCodecParameters *par = st->codecpar;
    if (p->pts == AV_NOPTS_VALUE) return;
    if (par->codec_id == AV_CODEC_ID_OPUS && par->sample_rate > 0) {
        int64_t delay = av_rescale_q(par->initial_padding, (AVRational){1, par->sample_rate},
                                     st->time_base);
        if (j->adds_delay) least = -delay;
        else p->pts += delay;
    }
    p->pts = UPZ_MAX(p->pts, least);
    if (p->dts != AV_NOPTS_VALUE && par->codec_type != AVMEDIA_TYPE_VIDEO) p->dts = p->pts;
}

/* Times that the container cannot hold, or that do not increase: rounding to a coarser base, and
 * sources that repeat a time. */
static void settle_times(const Join *j, AVPacket *p, int item)
{
    if (p->dts == AV_NOPTS_VALUE) p->dts = p->pts;
    if (item != j->video_item && is_matroska(j))
        settle_matroska(j, p, j->oc->streams[j->map[item]]);
    int64_t last = j->last_dts[item];
    bool strict = !(j->oc->oformat->flags & AVFMT_TS_NONSTRICT);
    if (last != AV_NOPTS_VALUE && p->dts != AV_NOPTS_VALUE && p->dts < last + strict) {
        p->dts = last + strict;
        if (p->pts != AV_NOPTS_VALUE && p->pts < p->dts) p->pts = p->dts;
    }
}

/* What of a packet is heard or seen counts; the check finds the same in the file. */
static void note_shown(Join *j, const AVPacket *p, int item)
{
    const AVStream *st = j->oc->streams[j->map[item]];
    UpzJoinResult *res = j->result;
    int64_t before, after;
    res->came[item]++;
    if (res->packets[item] >= 0) res->packets[item]++;
    if (p->pts == AV_NOPTS_VALUE || p->flags & AV_PKT_FLAG_DISCARD) return;
    upz_packet_skips(p, st, &before, &after);
    int64_t t = av_rescale_q(p->pts, st->time_base, AV_TIME_BASE_Q);
    int64_t end = t + av_rescale_q(p->duration, st->time_base, AV_TIME_BASE_Q) - after;
    bool none = res->first[item] == AV_NOPTS_VALUE;
    res->first[item] = none ? t + before : UPZ_MIN(res->first[item], t + before);
    res->last[item] = none ? end : UPZ_MAX(res->last[item], end);
}

/* A packet that the muxer does not take is no reason to lose the rest: damaged sound, mostly. */
static int refused(Join *j, int item, int r, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    bool storage = (j->oc->pb && j->oc->pb->error < 0) || r == AVERROR(ENOMEM) ||
                   r == AVERROR(ENOSPC) || r == AVERROR(EIO) || r == AVERROR(EPIPE) ||
                   r == AVERROR(EFBIG) || r == AVERROR(EDQUOT);
    if (item == j->video_item || storage) return failed(j, r, err);
    if (!j->result->refused[item]++)
        upz_warn(j->ctx, "a packet of stream %d (%s) is left out: the %s file does not take it (%s)",
                 j->plan->items[item].source,
                 avcodec_get_name(j->oc->streams[j->map[item]]->codecpar->codec_id),
                 j->encoder->container, upz_av_error(r, why));
    return 0;
}

static int write_packet(Join *j, AVPacket *p, int item, AVRational tb, UprezError *err)
{
    AVStream *st = j->oc->streams[j->map[item]];
    p->stream_index = j->map[item];
    p->pos = -1;
    av_packet_rescale_ts(p, tb, st->time_base);
    settle_times(j, p, item);
    int64_t *last = &j->last_dts[item], step = j->step[item];
    /* sound that does not say how long its packets are: MOV would hide the last one */
    if (*last != AV_NOPTS_VALUE && p->dts != AV_NOPTS_VALUE) step = p->dts - *last;
    if (p->duration <= 0 && st->codecpar->codec_type == AVMEDIA_TYPE_AUDIO) p->duration = step;
    int r = av_write_frame(j->oc, p);
    if (r >= 0 && j->oc->pb && j->oc->pb->error < 0) r = j->oc->pb->error;
    if (r < 0) return refused(j, item, r, err);
    j->step[item] = step;
    *last = p->dts;
    note_shown(j, p, item);
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

static void move(AVPacket *p, int64_t by)
{
    if (p->pts != AV_NOPTS_VALUE) p->pts += by;
    if (p->dts != AV_NOPTS_VALUE) p->dts += by;
}

static bool is_mov(const Join *j)
{
    const char *c = j->encoder->container;
    return !strcmp(c, "mp4") || !strcmp(c, "mov") || !strcmp(c, "ipod");
}

/* An edit list cuts packets away. Those of sound are left out, but for what a decoder needs to begin
 * with; an edit list of the output hides them again, and elsewhere they are short. Of pictures all
 * stay: others are coded from them. p: times in the output. */
static bool cut_away(const Side *s, const AVPacket *p, const AVStream *st)
{
    const Join *j = s->join;
    if (!(p->flags & AV_PKT_FLAG_DISCARD) || j->transcoder[s->item_of[p->stream_index]] ||
        st->codecpar->codec_type == AVMEDIA_TYPE_VIDEO)
        return false;
    if (st->codecpar->codec_type != AVMEDIA_TYPE_AUDIO || p->pts == AV_NOPTS_VALUE) return true;
    if (!s->survey) return av_rescale_q(p->pts, st->time_base, AV_TIME_BASE_Q) < -UPZ_CODER_DELAY;
    const UpzSurveyStream *known = &s->survey->streams[p->stream_index];
    int64_t t = av_rescale_q(p->pts, st->time_base, AV_TIME_BASE_Q) - j->shift - s->delta;
    bool leading = known->first != AV_NOPTS_VALUE && t < known->first;
    return !leading || (is_mov(j) ? p->pts >= 0 : known->trimmed);
}

/* What is shown before the output's time 0 is shortened; false: nothing of it is left. */
static bool after_zero(AVPacket *p, const AVStream *st)
{
    if (st->codecpar->codec_type != AVMEDIA_TYPE_SUBTITLE || p->pts == AV_NOPTS_VALUE || p->pts >= 0)
        return true;
    if (p->duration > 0 && p->pts + p->duration <= 0) return false;
    if (p->duration > 0) p->duration += p->pts;
    p->pts = p->dts = 0;
    return true;
}

/* The next packet of a side that is part of the output. */
static int next_packet(Side *s, UprezError *err)
{
    Join *j = s->join;
    s->have = false;
    while (s->ic && !s->end) {
        av_packet_unref(s->packet);
        upz_watch_enter(j->params->watch, UPZ_STAGE_SOURCE);
        int r = av_read_frame(s->ic, s->packet);
        upz_watch_leave(j->params->watch, UPZ_STAGE_SOURCE);
        if (upz_watch_ended(j->params->watch)) return interrupted(err);
        if (r < 0) { /* what has not come is counted when all is written */
            s->end = s->finished = true;
            j->result->broken |= r != AVERROR_EOF && !s->survey;
            break;
        }
        AVPacket *p = s->packet;
        int i = p->stream_index;
        const AVStream *st = s->ic->streams[i];
        if (upz_clock_map(&s->clock, p, st, NULL) < 0) return upz_fail_memory(err, 0, "joining");
        if (i >= s->n_items || s->item_of[i] < 0) continue;
        int64_t align = s->survey ? s->survey->streams[i].align : 0;
        move(p, av_rescale_q(s->delta + align, AV_TIME_BASE_Q, st->time_base));
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
            move(p, stream_shift(j, st->time_base));
            if (cut_away(s, p, st) || !after_zero(p, st)) continue;
        }
        s->item = s->item_of[i];
        s->when = us;
        s->have = true;
        return 1;
    }
    return 0;
}

/* The stream as it is known: those that begin late are found by a look at the whole file only. */
static const AVStream *known_stream(const Side *s, int i)
{
    const AVFormatContext *fmt = s->survey ? s->survey->fmt : s->ic;
    return fmt->streams[i];
}

/* A header that comes again in the middle (recordings that were joined). Matroska's muxer puts it over
 * the first one, and over what lies behind that. */
static void drop_header(Side *s, const AVStream *st)
{
    Join *j = s->join;
    AVPacket *p = s->packet;
    for (int i = 0; i < p->side_data_elems; i++) {
        AVPacketSideData *d = &p->side_data[i];
        if (d->type != AV_PKT_DATA_NEW_EXTRADATA) continue;
        const AVCodecParameters *par = known_stream(s, p->stream_index)->codecpar;
        bool same = d->size == (size_t)par->extradata_size && d->size &&
                    !memcmp(d->data, par->extradata, d->size);
        if (!same && !is_matroska(j)) continue;
        if (!same && !s->told_header) {
            s->told_header = true;
            upz_warn(j->ctx, "stream %d (%s) goes on with another header in the middle: the result "
                     "keeps the first", p->stream_index, avcodec_get_name(st->codecpar->codec_id));
        }
        av_freep(&d->data);
        *d = p->side_data[--p->side_data_elems];
        i--;
    }
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
        drop_header(s, st);
        r = write_packet(j, s->packet, s->item, st->time_base, err);
    }
    av_packet_unref(s->packet);
    return r < 0 ? r : next_packet(s, err);
}

/* ---- opening ---- */

static bool copies_packets(const UpzStreamPlan *item)
{
    return !item->file && (item->fate == UPZ_STREAM_COPY || item->fate == UPZ_STREAM_TEXT ||
                           item->fate == UPZ_STREAM_AUDIO);
}

static int open_side(Join *j, Side *s, const char *path, bool is_other, const UpzSurvey *survey,
                     UprezError *err)
{
    s->join = j;
    s->is_other = is_other;
    s->when = INT64_MIN / 2;
    s->packet = av_packet_alloc();
    if (!s->packet) return upz_fail_memory(err, sizeof(*s->packet), "joining");
    s->survey = survey;
    if (!path || upz_is_pipe(path)) return 0;
    int r = upz_input_open(&s->ic, path, NULL, j->params->watch, err);
    if (r < 0) return r;
    s->n_items = survey ? survey->n : (int)s->ic->nb_streams;
    s->item_of = upz_calloc((size_t)s->n_items, sizeof(int));
    if (!s->item_of || (!survey && !upz_timeline_init(&s->plain, -1)))
        return upz_fail_memory(err, 0, "joining");
    if ((int)s->ic->nb_streams > s->n_items)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s changed while it was being read", path);
    /* a timeline is const to who does not find it out */
    upz_clock_start(&s->clock, survey ? (UpzTimeline *)&survey->timeline : &s->plain, false, false);
    bool any = false;
    for (int i = 0; i < s->n_items; i++) s->item_of[i] = -1;
    for (int i = 0; i < j->plan->n; i++) {
        const UpzStreamPlan *item = &j->plan->items[i];
        if (item->from_other != is_other) continue;
        if (item->source >= s->n_items)
            return upz_fail(err, UPREZ_ERR_INPUT, "%s changed while it was being read", path);
        if (copies_packets(item)) s->item_of[item->source] = i;
        any |= copies_packets(item);
    }
    for (unsigned i = 0; i < s->ic->nb_streams; i++) {
        bool leads = survey && survey->timeline.n > 1 && (int)i == survey->timeline.leader;
        s->ic->streams[i]->discard = s->item_of[i] < 0 && !leads ? AVDISCARD_ALL : AVDISCARD_DEFAULT;
    }
    s->end = !any;
    return 0;
}

static int open_transcoders(Join *j, UprezError *err)
{
    for (int i = 0; i < j->plan->n; i++) {
        const UpzStreamPlan *item = &j->plan->items[i];
        j->last_dts[i] = j->result->first[i] = j->result->last[i] = AV_NOPTS_VALUE;
        if (item->fate == UPZ_STREAM_VIDEO) j->video_item = i;
        if (item->fate != UPZ_STREAM_TEXT && item->fate != UPZ_STREAM_AUDIO) continue;
        const Side *s = item->from_other ? &j->other : &j->source;
        int r = upz_transcoder_open(&j->transcoder[i], known_stream(s, item->source), item->codec, err);
        if (r < 0) return r;
        j->converted[i] = upz_transcoder_parameters(j->transcoder[i]);
    }
    return 0;
}

static bool is_broadcast(const AVFormatContext *ic)
{
    return ic && ic->iformat->flags & AVFMT_TS_DISCONT;
}

/* When a stream of the plan begins, its file's own clock: the earliest time that the container has to
 * hold. What an edit list or Opus' own word hides needs no room. AV_NOPTS_VALUE: of no account. */
static int64_t begins(const Join *j, const Side *s, int i)
{
    const UpzStreamPlan *item = &j->plan->items[i];
    if (item->from_other != s->is_other || !copies_packets(item)) return AV_NOPTS_VALUE;
    const AVStream *st = known_stream(s, item->source);
    enum AVMediaType type = st->codecpar->codec_type;
    if ((type != AVMEDIA_TYPE_AUDIO && type != AVMEDIA_TYPE_VIDEO) ||
        st->disposition & AV_DISPOSITION_ATTACHED_PIC)
        return AV_NOPTS_VALUE;
    if (!s->survey)
        return st->start_time == AV_NOPTS_VALUE ? st->start_time
               : av_rescale_q(st->start_time, st->time_base, AV_TIME_BASE_Q);
    const UpzSurveyStream *known = &s->survey->streams[item->source];
    if (known->first == AV_NOPTS_VALUE) return known->first;
    /* less than a tick is what rounding has left */
    bool tick = known->first < 0 &&
                known->first > -av_rescale_q(1, st->time_base, AV_TIME_BASE_Q) - 1;
    bool hidden = !strncmp(s->ic->iformat->name, "mov,", 4); /* an edit list begins at 0 */
    if (!is_matroska(j) || item->codec == AV_CODEC_ID_OPUS)
        return tick || hidden ? UPZ_MAX(known->first, 0) : known->first;
    if (item->fate == UPZ_STREAM_COPY && type == AVMEDIA_TYPE_AUDIO)
        return known->trimmed ? known->starts : known->begins;
    const AVCodecParameters *par = j->converted[i];
    return par && par->sample_rate > 0
               ? known->first - av_rescale(par->initial_padding, AV_TIME_BASE, par->sample_rate)
               : known->first;
}

/* Times of broadcasts mean something only against their own start. */
static int64_t own_zero(const Join *j, const Side *s)
{
    int64_t zero = AV_NOPTS_VALUE;
    if (!is_broadcast(s->ic)) return 0;
    for (int i = 0; s->survey && i < s->survey->n; i++) {
        int64_t t = s->survey->streams[i].first;
        enum AVMediaType type = s->survey->fmt->streams[i]->codecpar->codec_type;
        if (t != AV_NOPTS_VALUE && (type == AVMEDIA_TYPE_AUDIO || type == AVMEDIA_TYPE_VIDEO) &&
            (zero == AV_NOPTS_VALUE || t < zero))
            zero = t;
    }
    if (zero == AV_NOPTS_VALUE) zero = s->ic->start_time == AV_NOPTS_VALUE ? 0 : s->ic->start_time;
    if (s->is_other) return zero;
    return UPZ_MIN(zero, av_rescale_q(j->pts[0], j->encoder->time_base, AV_TIME_BASE_Q));
}

/* Where the output's time 0 is. Containers of broadcasts start anywhere; a cut starts at its first
 * frame; everything else keeps its times, unless something would be shown before 0: no container
 * shows that, or tells its time. */
static void plan_shift(Join *j)
{
    AVRational tb = j->encoder->time_base;
    const UpzJoinParams *p = j->params;
    j->cut_start = p->start == INT64_MIN ? INT64_MIN : av_rescale_q(p->start, tb, AV_TIME_BASE_Q);
    j->cut_end = p->end == INT64_MAX ? INT64_MAX : av_rescale_q(p->end, tb, AV_TIME_BASE_Q);
    int64_t zero = own_zero(j, &j->source);
    j->other.delta = zero - own_zero(j, &j->other);
    int64_t start = UPZ_MIN(av_rescale_q_rnd(zero, AV_TIME_BASE_Q, tb, AV_ROUND_DOWN), j->pts[0]);
    if (p->start != INT64_MIN) start = j->pts[0];
    for (int i = 0; i < j->plan->n && p->start == INT64_MIN; i++) {
        const Side *s = j->plan->items[i].from_other ? &j->other : &j->source;
        int64_t t = s->ic ? begins(j, s, i) : AV_NOPTS_VALUE;
        if (t == AV_NOPTS_VALUE) continue;
        start = UPZ_MIN(start, av_rescale_q_rnd(t + s->delta, AV_TIME_BASE_Q, tb, AV_ROUND_DOWN));
    }
    j->shift_video = -start;
    j->shift = av_rescale_q(j->shift_video, tb, AV_TIME_BASE_Q);
}

static AVFormatContext *known_file(const Side *s)
{
    return s->survey ? s->survey->fmt : s->ic;
}

/* Codecs whose header may stand in front of any keyframe. */
static bool repeats_header(enum AVCodecID id)
{
    return id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC || id == AV_CODEC_ID_MPEG1VIDEO ||
           id == AV_CODEC_ID_MPEG2VIDEO || id == AV_CODEC_ID_MPEG4 || id == AV_CODEC_ID_AV1;
}

/* GIF's muxer knows how long a picture stays from the one behind it. */
static int set_last_pause(Join *j)
{
    int64_t pause = av_rescale_q(j->end - j->pts[j->n_pts - 1], j->encoder->time_base,
                                 (AVRational){1, 100});
    return av_opt_set_int(j->oc->priv_data, "final_delay", av_clip64(pause, 2, 65535), 0);
}

/* Of Blu-ray and of AVCHD, whatever the case of the letters. */
static bool is_m2ts(const char *part)
{
    static const char *const ends[] = {".m2ts.part", ".mts.part"};
    size_t n = strlen(part);
    for (int i = 0; i < UPZ_COUNT(ends); i++) {
        size_t tail = strlen(ends[i]);
        if (n > tail && !av_strcasecmp(part + n - tail, ends[i])) return true;
    }
    return false;
}

static UpzMuxInputs mux_inputs(const Join *j)
{
    return (UpzMuxInputs){.source = known_file(&j->source), .other = known_file(&j->other),
                          .info = j->params->info, .encoder = j->encoder, .video = j->video_par,
                          .cut_start = j->cut_start, .cut_end = j->cut_end, .shift = j->shift};
}

static int open_output(Join *j, UprezError *err)
{
    UpzMuxInputs in = mux_inputs(j);
    int r = upz_mux_create(&j->oc, j->plan, &in, j->converted, j->map);
    char *name = r >= 0 ? av_asprintf("file:%s", j->params->output) : NULL;
    if (r >= 0) {
        if (j->oc->url) av_freep(&j->oc->url);
        j->oc->url = name; /* faststart reads the file back by its name */
        /* moving the index to the front of an MP4 takes as long as writing it */
        j->oc->interrupt_callback = upz_input_interrupt(j->params->watch);
        r = name ? avio_open2(&j->oc->pb, name, AVIO_FLAG_WRITE, &j->oc->interrupt_callback, NULL)
                 : AVERROR(ENOMEM);
    }
    /* the muxer knows Blu-ray's packets by the name's end, which is still ".part" */
    if (r >= 0 && !strcmp(j->encoder->container, "mpegts") && is_m2ts(j->params->output))
        r = av_opt_set_int(j->oc->priv_data, "mpegts_m2ts_mode", 1, 0);
    if (r >= 0 && !strcmp(j->encoder->container, "gif")) r = set_last_pause(j);
    if (r >= 0) r = upz_mux_header(j->oc);
    if (r >= 0 && !(j->oc->oformat->flags & AVFMT_GLOBALHEADER) && j->video_par->extradata_size &&
        repeats_header(j->video_par->codec_id)) {
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
        const AVStream *st = known_stream(s, item->source);
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
    if (r >= 0) r = next_packet(&j->source, err);
    if (r >= 0) r = next_packet(&j->other, err);
    while (r >= 0 && (j->have_video || j->source.have || j->other.have)) {
        int64_t v = j->have_video ? av_rescale_q(j->video->dts, j->encoder->time_base,
                                                 AV_TIME_BASE_Q) + j->shift : INT64_MAX;
        if (upz_watch_ended(j->params->watch)) return interrupted(err);
        upz_watch_beat(j->params->watch);
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
    if (r < 0) return failed(j, r, err);
    UpzMuxInputs in = mux_inputs(j);
    return upz_mux_settle(j->params->output, &in, err);
}

/* Every end that comes before the first look's end is a loss. */
static void count_lost(const Side *s, UpzJoinResult *result)
{
    if (!s->finished || !s->survey) return;
    for (int i = 0; i < s->n_items; i++) {
        const UpzClockStream *c = upz_clock_stream(&s->clock, i);
        int64_t missing = s->survey->streams[i].packets - (c ? c->packets : 0);
        if (s->item_of[i] >= 0 && missing > 0) result->lost[s->item_of[i]] = missing;
    }
}

static void close_side(Side *s)
{
    upz_clock_free(&s->clock);
    upz_timeline_free(&s->plain);
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
    UpzPalette *palette = NULL;
    UpzJoinParams whole = *params;
    if (encoder->palette) {
        int made = upz_palette_open(&palette, params, encoder, err);
        if (made < 0) {
            av_packet_free(&j->video);
            upz_free(j);
            return made;
        }
        whole.segments = &palette->segment;
        whole.n_segments = 1;
        j->params = params = &whole;
        j->encoder = encoder = &palette->plan;
    }
    j->adds_delay = is_matroska(j) && upz_mux_adds_delay();
    int r = j->video ? upz_encoder_parameters(&j->video_par, encoder, err)
                     : upz_fail_memory(err, sizeof(AVPacket), "joining");
    if (r >= 0) r = read_times(j, err);
    if (r >= 0) r = find_end(j, err);
    if (r >= 0) r = open_side(j, &j->source, params->source, false, params->survey, err);
    if (r >= 0)
        r = open_side(j, &j->other, params->other ? params->other->url : NULL, true, params->other,
                      err);
    if (r >= 0) r = open_transcoders(j, err);
    if (r >= 0) {
        plan_shift(j);
        mark_countable(j);
        r = open_output(j, err);
    }
    if (r >= 0) r = write_all(j, err);
    if (r >= 0) {
        count_lost(&j->source, result);
        count_lost(&j->other, result);
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
    upz_free(j->told);
    upz_free(j->ends);
    upz_free(j);
    upz_palette_close(&palette);
    return r;
}
