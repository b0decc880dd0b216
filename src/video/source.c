#include "source.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <libavutil/pixdesc.h>
#include <libavutil/time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/thread.h"
#include "compat.h"
#include "filter.h"
#include "frame_queue.h"
#include "input.h"
#include "inventory.h"
#include "source_facts.h"
#include "survey.h"

#define MAX_EXPECTED 512  /* packets a decoder may hold back before their time is forgotten */
#define MAX_STUCK 1024    /* errors in a row without a packet going in or a frame coming out */
#define LOOK_AHEAD 8      /* frames decoded at open to learn whether they are interlaced */
#define MAX_REORDER 16    /* frames between decoding and showing, in any codec */
#define MAX_LEAD 600      /* packets to wait for a first keyframe */
#define TAG "uprez.state" /* frame metadata that carries a mark through filters */

struct UpzSource {
    UprezContext *ctx;
    char *url, *name, *vf, *demuxer, *hwaccel;
    bool turn;
    UpzInterlaced interlaced;
    int threads;
    UpzWatch *watch;

    AVFormatContext *fmt; /* as opened; what callers see */
    AVFormatContext *in;  /* what is read from: fmt until a restart */
    AVStream *st;         /* of in */
    int stream;
    bool aiming;           /* reading to find a place, not to deliver */
    bool seekable, linear; /* linear: going back means reading from the start */
    int64_t last_byte;     /* place of the last packet read of the stream, -1 = not known */
    int64_t read_to;       /* AV_TIME_BASE: where the packets read so far end, all streams */
    int64_t whole_to;      /* y4m: byte behind the last whole frame */
    AVCodecContext *dec;
    AVPacket *packet;
    bool pending;         /* packet holds one that is not sent yet */
    bool input_end, draining, decode_end, key_seen, read_any;
    AVFrame *scratch;

    UpzFrameQueue queue; /* decoded frames before filters */

    UpzDeint deint;
    UpzFilter *filter;
    bool filter_on, filter_end;
    AVFrame *next_like; /* the frame a new graph will begin with, while the old one drains */
    AVFrame *previous;  /* decoded before it: context for a deinterlacer that starts midstream */
    int64_t skip_before;

    /* time before filters */
    UpzTimeline timeline; /* found out as packets come, where there was no look at the whole file */
    UpzSurvey *survey;
    UpzClock clock;
    int64_t jump;         /* the last one met, AV_TIME_BASE */
    int64_t last, anchor, since_anchor;
    bool jumped;
    int64_t last_out, target;

    /* damage */
    int64_t expected[MAX_EXPECTED]; /* pts of packets sent and not seen again, ascending */
    int n_expected, refused, stuck;
    AVFrame *good;

    /* the beginning of a recording: packets before the first keyframe */
    int lead, lead_refused;
    int64_t first_key;    /* pts of the first keyframe */
    bool lead_kept;       /* what they decode to is taken: there may be no keyframe at all */
    bool lead_told;

    AVFrame *first; /* output decoded at open */
    UpzSourceInfo info;
    atomic_llong decoded, damaged, held, lost_packets, read_errors, cpu_ns;
};

static int no_memory(UprezError *err)
{
    return upz_fail_memory(err, sizeof(AVFrame), "a frame");
}

/* ---- time ---- */

static int64_t nominal_duration(const UpzSource *s)
{
    AVRational r = upz_best_rate(s->in, s->st);
    if (!r.num) r = (AVRational){25, 1};
    int64_t d = av_rescale_q(1, av_inv_q(r), s->st->time_base);
    return UPZ_MAX(d, 1);
}

/* The documented rule: strictly increasing, counted on where the source is silent. */
static void settle_time(UpzSource *s, AVFrame *f)
{
    int64_t p = f->best_effort_timestamp, d = upz_av_duration(f);
    AVRational rate = upz_best_rate(s->in, s->st);
    if (!rate.num) rate = (AVRational){25, 1};
    if (d <= 0) upz_av_set_duration(f, d = nominal_duration(s));
    if (p == AV_NOPTS_VALUE) {
        if (s->anchor == AV_NOPTS_VALUE) {
            s->anchor = 0;
            s->since_anchor = -1;
        }
        s->since_anchor++;
        p = s->anchor + av_rescale_q(s->since_anchor, av_inv_q(rate), s->st->time_base);
        upz_av_set_duration(f, nominal_duration(s));
    } else {
        s->anchor = p;
        s->since_anchor = 0;
    }
    if (s->last != AV_NOPTS_VALUE && p <= s->last) p = s->last + 1;
    s->last = f->pts = p;
    f->time_base = s->st->time_base;
}

static void reset_time(UpzSource *s)
{
    s->last = s->anchor = s->last_out = AV_NOPTS_VALUE;
    s->since_anchor = 0;
    s->read_to = 0;
    s->n_expected = s->refused = s->stuck = 0;
    s->key_seen = false;
    s->lead = s->lead_refused = 0;
    s->first_key = AV_NOPTS_VALUE;
    s->skip_before = INT64_MIN;
}

/* ---- damage ---- */

static void expect(UpzSource *s, int64_t pts)
{
    if (pts == AV_NOPTS_VALUE) return;
    if (s->n_expected == MAX_EXPECTED) {
        memmove(s->expected, s->expected + 1, (MAX_EXPECTED - 1) * sizeof(*s->expected));
        s->n_expected--;
    }
    int i = s->n_expected++;
    for (; i > 0 && s->expected[i - 1] > pts; i--) s->expected[i] = s->expected[i - 1];
    s->expected[i] = pts;
}

static bool counts(const UpzSource *s, int64_t pts)
{
    return s->target == AV_NOPTS_VALUE || pts >= s->target;
}

/* A frame in place of the one that should have been shown at pts. */
static int hold(UpzSource *s, int64_t pts, int64_t duration, UprezError *err)
{
    AVFrame *f = av_frame_clone(s->good);
    if (!f || av_dict_set(&f->metadata, TAG, "held", 0) < 0) {
        av_frame_free(&f);
        return no_memory(err);
    }
    f->pts = pts;
    upz_av_set_duration(f, duration);
    s->last = s->anchor = pts;
    s->since_anchor = 0;
    return upz_frame_queue_push(&s->queue, f, err);
}

/* Packets whose time has passed without a frame: lost if they leave a hole and the decoder refused
 * as many, or had nothing to hide. before: raw pts of the frame that came out, or INT64_MAX at the
 * end. */
static int settle_expected(UpzSource *s, int64_t before, UprezError *err)
{
    int n = 0;
    while (n < s->n_expected && s->expected[n] < before) n++;
    int64_t frame = nominal_duration(s), hole = frame - frame / 4;
    bool all = s->good && upz_codec_shows_all(s->st->codecpar->codec_id);
    int r = 0;
    for (int i = 0; i < n && (s->refused > 0 || all) && r >= 0; i++) {
        int64_t p = s->expected[i];
        if (s->last != AV_NOPTS_VALUE && p - s->last < hole) continue;
        if (before != INT64_MAX && before - p < hole) continue;
        if (s->refused > 0) s->refused--;
        if (counts(s, p)) atomic_fetch_add(&s->lost_packets, 1);
        if (s->good && s->queue.n < UPZ_FRAME_QUEUE_MAX) r = hold(s, p, frame, err);
    }
    if (before != INT64_MAX)
        while (n < s->n_expected && s->expected[n] == before) n++;
    s->n_expected -= n;
    memmove(s->expected, s->expected + n, (size_t)s->n_expected * sizeof(*s->expected));
    /* what is refused but left no hole, now that nothing can be missing any more */
    if (r >= 0 && s->refused > s->n_expected) {
        if (counts(s, s->last))
            atomic_fetch_add(&s->lost_packets, s->refused - s->n_expected);
        s->refused = s->n_expected;
    }
    return r;
}

/* ---- demuxing and decoding ---- */

static int interrupted(UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted");
}

static void note_read(UpzSource *s, const AVPacket *p)
{
    int64_t t = p->pts != AV_NOPTS_VALUE ? p->pts : p->dts;
    if (t == AV_NOPTS_VALUE) return;
    AVRational tb = s->in->streams[p->stream_index]->time_base;
    t = av_rescale_q(t + p->duration, tb, AV_TIME_BASE_Q);
    s->read_to = UPZ_MAX(s->read_to, t);
}

static void tell_jump(UpzSource *s, int64_t jump)
{
    if (s->jumped) return;
    s->jumped = true;
    upz_warn(s->ctx, "%s: timestamps jump %s by %.3f s; what follows is shifted to go on without a "
             "gap", s->info.url, jump < 0 ? "back" : "forward",
             fabs((double)jump) / AV_TIME_BASE);
}

static int fix_timeline(UpzSource *s, UprezError *err)
{
    s->jump = 0;
    if (upz_clock_map(&s->clock, s->packet, s->st, NULL) < 0) return no_memory(err);
    if (!s->jump || s->aiming) return 0;
    tell_jump(s, s->jump);
    return 0;
}

static void end_of_input(UpzSource *s, int r)
{
    char why[UPZ_AV_ERROR];
    int io = s->in->pb ? s->in->pb->error : 0;
    if (r == AVERROR_EOF && io < 0) r = io;
    if (r != AVERROR_EOF) {
        atomic_fetch_add(&s->read_errors, 1);
        upz_warn(s->ctx, "%s: reading stopped before the end: %s", s->info.url,
                 upz_av_error(r, why));
        return;
    }
    if (upz_input_is_y4m(s->in) && s->whole_to && avio_tell(s->in->pb) > s->whole_to) {
        atomic_fetch_add(&s->read_errors, 1);
        upz_warn(s->ctx, "%s: the stream is cut off inside a frame", s->info.url);
    }
    int64_t missing = upz_missing_at_end(s->in, s->read_to);
    if (missing > 0) {
        atomic_fetch_add(&s->read_errors, 1);
        upz_warn(s->ctx, "%s: the file is cut off: %.1f s of %.1f s are missing", s->info.url,
                 (double)missing / AV_TIME_BASE, (double)s->in->duration / AV_TIME_BASE);
    }
}

/* The first look at the file went further than this reading: the file, or what it lies on, is not what
 * it was, and frames that are not there must not be missing in the result. */
static bool ends_early(const UpzSource *s)
{
    int io = s->in->pb ? s->in->pb->error : 0;
    if (!s->survey) return false;
    if (io < 0 && io != AVERROR_EOF && s->survey->end == AVERROR_EOF) return true;
    return s->last_byte >= 0 && s->last_byte < s->survey->last_byte;
}

static int broke_off(UpzSource *s, int r, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    int io = s->in->pb ? s->in->pb->error : 0;
    if (r == AVERROR_EOF && io < 0) r = io;
    return upz_fail(err, UPREZ_ERR_INPUT, "%s ended in the middle although it had been read to its end "
                    "before (%s): it was changed, or its disk failed; when it is whole again, the same "
                    "command goes on", s->info.url, upz_av_error(r, why));
}

/* The next packet of the stream into s->packet: 0, or UPREZ_EOF. */
static int read_packet(UpzSource *s, UprezError *err)
{
    for (int waited_ms = 0;;) {
        if (upz_watch_ended(s->watch)) return interrupted(err);
        upz_watch_enter(s->watch, UPZ_STAGE_SOURCE);
        int r = av_read_frame(s->in, s->packet);
        upz_watch_leave(s->watch, UPZ_STAGE_SOURCE);
        if (r == AVERROR(EAGAIN) && waited_ms < 5000) {
            av_usleep(2000);
            waited_ms += 2;
            continue;
        }
        if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "reading the input");
        if (r == AVERROR_EXIT && upz_watch_ended(s->watch)) return interrupted(err);
        if (r < 0) {
            if (s->aiming) return UPREZ_EOF;
            if (ends_early(s)) return broke_off(s, r, err);
            end_of_input(s, r);
            return UPREZ_EOF;
        }
        note_read(s, s->packet);
        if (upz_input_is_y4m(s->in)) s->whole_to = avio_tell(s->in->pb);
        if (s->packet->stream_index == s->stream) {
            s->last_byte = UPZ_MAX(s->last_byte, s->packet->pos);
            return fix_timeline(s, err);
        }
        av_packet_unref(s->packet);
    }
}

static void refused(UpzSource *s)
{
    /* before the first keyframe a decoder has nothing to work with, and frame threads tell late */
    if (s->good) s->refused++;
    else if (s->lead_refused < s->lead) s->lead_refused++;
    else if (s->key_seen) s->refused++;
}

static void note_lead(UpzSource *s)
{
    if (s->key_seen) return;
    s->key_seen = s->packet->flags & AV_PKT_FLAG_KEY;
    if (s->key_seen) s->first_key = s->packet->pts;
    else s->lead++;
}

/* A frame of before the first keyframe, put together from nothing. */
static bool invented(const UpzSource *s, int64_t pts)
{
    if (!s->lead || s->lead_kept || s->lead > MAX_LEAD || s->good ||
        !upz_codec_invents(s->st->codecpar->codec_id))
        return false;
    return !s->key_seen || (pts != AV_NOPTS_VALUE && s->first_key != AV_NOPTS_VALUE &&
                            pts < s->first_key);
}

static void tell_lead(UpzSource *s, int64_t pts)
{
    if (!s->lead || s->good || s->lead_told || s->first_key == AV_NOPTS_VALUE ||
        pts < s->first_key)
        return;
    s->lead_told = true;
    upz_info(s->ctx, "%s begins between two keyframes: %d packet%s before the first one cannot be "
             "decoded and %s left out", s->info.url, s->lead, s->lead == 1 ? "" : "s",
             s->lead == 1 ? "is" : "are");
}

/* Sends the next packet (or the end) into the decoder. 0, or an error of ours. */
static int feed(UpzSource *s, UprezError *err)
{
    if (!s->pending && !s->input_end) {
        int r = read_packet(s, err);
        if (r == UPREZ_EOF) s->input_end = true;
        else if (r < 0) return r;
        else s->pending = true;
    }
    if (s->input_end && !s->pending) {
        if (!s->draining) avcodec_send_packet(s->dec, NULL);
        s->draining = true;
        return 0;
    }
    int r = avcodec_send_packet(s->dec, s->packet);
    if (r == AVERROR(EAGAIN)) return 0; /* frames must come out first */
    note_lead(s);
    if (!(s->packet->flags & AV_PKT_FLAG_DISCARD)) expect(s, s->packet->pts);
    av_packet_unref(s->packet);
    s->pending = false;
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "the decoder");
    if (r < 0 && r != AVERROR_EOF) refused(s);
    return 0;
}

static int take_frame(UpzSource *s, UprezError *err)
{
    AVFrame *f = av_frame_alloc();
    if (!f) return no_memory(err);
    av_frame_move_ref(f, s->scratch);
    int r = upz_frame_to_host(&f, err);
    if (r < 0) {
        av_frame_free(&f);
        return r;
    }
    /* what is kept hangs on this flag alone: the other is set late by frame threads of FFmpeg 5 */
    bool unusable = f->flags & AV_FRAME_FLAG_CORRUPT;
    int64_t raw = f->best_effort_timestamp;
    /* the stream has yet to begin */
    if ((unusable && !s->good && !s->info.still && !s->draining) || invented(s, raw)) {
        av_frame_free(&f);
        return 0;
    }
    tell_lead(s, raw);
    upz_fill_color(f, s->in, s->st);
    upz_fill_shape(f, s->st);
    if (upz_fill_views(f, s->st) < 0) r = no_memory(err);
    if (r >= 0 && raw != AV_NOPTS_VALUE) r = settle_expected(s, raw, err);
    settle_time(s, f);
    if (unusable || f->decode_error_flags) {
        if (r >= 0 && av_dict_set(&f->metadata, TAG, "damaged", 0) < 0) r = no_memory(err);
    }
    if (r >= 0 && (!unusable || !s->good)) {
        av_frame_free(&s->good);
        s->good = av_frame_clone(f);
        if (!s->good) r = no_memory(err);
    }
    if (r < 0) {
        av_frame_free(&f);
        return r;
    }
    return upz_frame_queue_push(&s->queue, f, err);
}

/* At least one more frame in the queue, or UPREZ_EOF. */
static int decode(UpzSource *s, UprezError *err)
{
    size_t had = s->queue.n;
    while (s->queue.n == had) {
        if (s->decode_end) return UPREZ_EOF;
        if (upz_watch_ended(s->watch)) return interrupted(err);
        int r = avcodec_receive_frame(s->dec, s->scratch);
        if (r >= 0) {
            s->stuck = 0;
            r = take_frame(s, err);
            if (r < 0) return r;
            continue;
        }
        if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "the decoder");
        if (r == AVERROR_EOF || ++s->stuck > MAX_STUCK) {
            s->decode_end = true;
            r = settle_expected(s, INT64_MAX, err);
            if (r < 0) return r;
            continue;
        }
        if (r != AVERROR(EAGAIN)) refused(s);
        bool was = s->pending || !s->input_end;
        r = feed(s, err);
        if (r < 0) return r;
        if (was && !s->pending) s->stuck = 0; /* a packet went in */
    }
    return 0;
}

static int next_decoded(UpzSource *s, AVFrame **out, UprezError *err)
{
    if (!s->queue.n) {
        int r = decode(s, err);
        if (r < 0) return r;
    }
    *out = upz_frame_queue_pop(&s->queue);
    return 0;
}

/* ---- filters ---- */

/* A graph for `frame`, which becomes its first (after `previous`, when a deinterlacer needs one). */
static int start_filter(UpzSource *s, AVFrame *frame, UprezError *err)
{
    int r = upz_filter_create(&s->filter, s->vf, s->deint, frame, s->st->time_base,
                              upz_best_rate(s->in, s->st), frame->sample_aspect_ratio, err);
    if (r >= 0 && s->previous && s->deint != UPZ_DEINT_NONE &&
        upz_filter_fits(s->filter, s->previous)) {
        AVFrame *context = av_frame_clone(s->previous);
        s->skip_before = frame->pts;
        r = context ? upz_filter_send(s->filter, context, err) : no_memory(err);
    }
    if (r < 0) {
        av_frame_free(&frame);
        return r;
    }
    s->filter_end = false;
    return upz_filter_send(s->filter, frame, err);
}

/* A frame goes towards the graph: into it, or, if it wants another graph, aside until the present
 * one is empty. */
static int send_filter(UpzSource *s, AVFrame *frame, UprezError *err)
{
    AVFrame *remember = av_frame_clone(frame);
    int r = remember ? 0 : no_memory(err);
    if (r < 0) av_frame_free(&frame);
    else if (!s->filter) r = start_filter(s, frame, err);
    else if (upz_filter_fits(s->filter, frame)) r = upz_filter_send(s->filter, frame, err);
    else {
        s->next_like = frame;
        s->filter_end = true;
        r = upz_filter_send(s->filter, NULL, err);
    }
    if (s->next_like) av_frame_free(&remember); /* start_filter still needs the one before */
    else {
        av_frame_free(&s->previous);
        s->previous = remember;
    }
    return r;
}

/* A stream taken for progressive shows an interlaced frame. */
static void found_interlaced(UpzSource *s)
{
    upz_info(s->ctx, "%s: interlaced frames begin midstream; they are deinterlaced (bwdif)",
             s->info.url);
    s->deint = UPZ_DEINT_FLAGGED;
    s->info.interlaced = s->info.deinterlaced = true;
    s->filter_on = true;
}

static int next_filtered(UpzSource *s, AVFrame **out, UprezError *err)
{
    for (;;) {
        AVFrame *f = NULL;
        int r;
        if (s->filter) {
            r = upz_filter_receive(s->filter, out, err);
            if (r == 0) {
                if ((*out)->pts == AV_NOPTS_VALUE || (*out)->pts >= s->skip_before) return 0;
                av_frame_free(out);
                continue;
            }
            if (r == UPREZ_EOF) {
                if (!s->next_like) return UPREZ_EOF;
                f = s->next_like;
                s->next_like = NULL;
                upz_filter_destroy(&s->filter);
                r = send_filter(s, f, err);
                if (r < 0) return r;
                continue;
            }
            if (r != UPREZ_AGAIN) return r;
            if (s->filter_end) return UPREZ_EOF;
        }
        r = next_decoded(s, &f, err);
        if (r == UPREZ_EOF && s->filter) {
            s->filter_end = true;
            r = upz_filter_send(s->filter, NULL, err);
            if (r < 0) return r;
            continue;
        }
        if (r < 0) return r;
        if (s->deint == UPZ_DEINT_NONE && upz_av_interlaced(f) &&
            s->interlaced == UPZ_INTERLACED_DEINT) {
            found_interlaced(s);
            if (s->filter) { /* the present graph has no deinterlacer */
                s->next_like = f;
                s->filter_end = true;
                r = upz_filter_send(s->filter, NULL, err);
                if (r < 0) return r;
                continue;
            }
        }
        if (!s->filter_on) {
            av_frame_free(&s->previous);
            s->previous = av_frame_clone(f);
            if (!s->previous) {
                av_frame_free(&f);
                return no_memory(err);
            }
            *out = f;
            return 0;
        }
        r = send_filter(s, f, err);
        if (r < 0) return r;
    }
}

/* ---- output ---- */

static int next_output(UpzSource *s, AVFrame **out, UprezError *err)
{
    for (;;) {
        int r = next_filtered(s, out, err);
        if (r < 0) return r;
        AVFrame *f = *out;
        if (f->pts == AV_NOPTS_VALUE)
            f->pts = s->last_out == AV_NOPTS_VALUE ? 0 : s->last_out + nominal_duration(s);
        if (s->last_out != AV_NOPTS_VALUE && f->pts <= s->last_out) f->pts = s->last_out + 1;
        s->last_out = f->pts;
        if (counts(s, f->pts)) return 0;
        av_frame_free(out);
    }
}

/* AVFrame to UpzFrame: marks come off the metadata and are counted. */
static int deliver(UpzSource *s, AVFrame *av, UpzFrame **out, UprezError *err)
{
    const AVDictionaryEntry *e = av_dict_get(av->metadata, TAG, NULL, 0);
    bool held = e && !strcmp(e->value, "held"), damaged = e && !held;
    if (e) av_dict_set(&av->metadata, TAG, NULL, 0);
    int r = upz_frame_create(out, av, err);
    if (r < 0) return r;
    (*out)->held = held;
    (*out)->damaged = damaged;
    atomic_fetch_add(held ? &s->held : &s->decoded, 1);
    if (damaged) atomic_fetch_add(&s->damaged, 1);
    s->read_any = true;
    return 0;
}

int upz_source_read(UpzSource *s, UpzFrame **out, UprezError *err)
{
    *out = NULL;
    if (upz_watch_ended(s->watch)) return interrupted(err);
    int64_t t0 = upz_thread_cpu_ns();
    AVFrame *av = s->first;
    s->first = NULL;
    int r = av ? 0 : next_output(s, &av, err);
    if (r >= 0) r = deliver(s, av, out, err);
    atomic_fetch_add(&s->cpu_ns, upz_thread_cpu_ns() - t0);
    return r;
}

void upz_source_stats(UpzSource *s, UpzSourceStats *stats)
{
    stats->decoded = atomic_load(&s->decoded);
    stats->damaged = atomic_load(&s->damaged);
    stats->held = atomic_load(&s->held);
    stats->lost_packets = atomic_load(&s->lost_packets);
    stats->read_errors = atomic_load(&s->read_errors);
    stats->cpu_ns = atomic_load(&s->cpu_ns);
}

/* ---- opening ---- */

/* Sources whose demuxer cannot find a place by time: raw streams, and those that only remember
 * where they have been. */
static bool is_linear(const UpzSource *s)
{
    return !s->seekable || s->in->iformat->flags & (AVFMT_NOTIMESTAMPS | AVFMT_GENERIC_INDEX);
}

/* (Re)opens everything that has read state. */
static int open_input(UpzSource *s, UprezError *err)
{
    AVFormatContext *in = NULL;
    int r = upz_input_open(&in, s->url, s->demuxer, s->watch, err);
    if (r < 0) return r;
    r = upz_input_video(in, s->url, err);
    if (r >= 0 && s->fmt && (r != s->stream || in->nb_streams < s->fmt->nb_streams))
        r = upz_fail(err, UPREZ_ERR_INPUT, "%s changed while it was being read", s->url);
    if (r < 0) {
        avformat_close_input(&in);
        return r;
    }
    s->stream = r;
    if (s->in && s->in != s->fmt) avformat_close_input(&s->in);
    s->in = in;
    if (!s->fmt) s->fmt = in;
    s->st = in->streams[s->stream];
    upz_clock_free(&s->clock);
    if (!s->survey && !s->timeline.n && !upz_timeline_init(&s->timeline, s->stream))
        return no_memory(err);
    upz_clock_start(&s->clock, s->survey ? &s->survey->timeline : &s->timeline, !s->survey, false);
    upz_clock_reset(&s->clock);
    s->last_byte = -1;
    s->clock.jumped = &s->jump;
    for (unsigned i = 0; i < in->nb_streams; i++)
        in->streams[i]->discard = (int)i == s->stream || upz_knows_duration(in) ? AVDISCARD_DEFAULT
                                                                            : AVDISCARD_ALL;
    return 0;
}

/* Forgets everything decoded. The decoder stays, emptied: it has always begun with the start of the
 * file, where some streams say things that hold for all of it (x264's version, which decides about
 * an old 4:4:4 fault). fresh: after a reopening. */
static int reset_decoder(UpzSource *s, bool fresh, UprezError *err)
{
    av_frame_free(&s->first);
    av_frame_free(&s->next_like);
    av_frame_free(&s->previous);
    av_frame_free(&s->good);
    upz_filter_destroy(&s->filter);
    upz_frame_queue_clear(&s->queue);
    s->input_end = s->draining = s->decode_end = s->filter_end = false;
    reset_time(s);
    if (!fresh) {
        avcodec_flush_buffers(s->dec);
        return 0;
    }
    av_packet_unref(s->packet);
    s->pending = false;
    avcodec_free_context(&s->dec);
    return upz_decoder_open(&s->dec, s->st, s->hwaccel, s->threads, err);
}

/* Looks at the first frames (which stay in the queue). Frames' own flags win over the container's
 * field order; where they are silent and the codec is one that could not tell, the container is
 * believed. */
static int find_interlaced(UpzSource *s, UprezError *err)
{
    enum AVFieldOrder order = s->st->codecpar->field_order;
    enum AVCodecID id = s->st->codecpar->codec_id;
    size_t look = upz_codec_interlaces(id) && !s->info.still ? LOOK_AHEAD : 1;
    while (s->queue.n < look) {
        int r = decode(s, err);
        if (r == UPREZ_EOF) break;
        if (r < 0) return r;
    }
    bool flagged = false;
    for (size_t i = 0; i < s->queue.n; i++) {
        flagged |= upz_av_interlaced(upz_frame_queue_at(&s->queue, i));
        s->info.side |= upz_side_of_frame(upz_frame_queue_at(&s->queue, i));
    }
    bool container = order == AV_FIELD_TT || order == AV_FIELD_BB || order == AV_FIELD_TB ||
                     order == AV_FIELD_BT;
    if (!flagged && !(container && upz_codec_hides_fields(id))) return 0;
    s->info.interlaced = true;
    if (s->interlaced == UPZ_INTERLACED_ERROR)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s is interlaced; --interlaced deint makes it "
                        "progressive first, --interlaced keep takes it as it is", s->info.url);
    if (s->interlaced == UPZ_INTERLACED_KEEP) return 0;
    /* TB and BT: the second letter is the field shown first */
    s->deint = flagged                                         ? UPZ_DEINT_FLAGGED
               : order == AV_FIELD_TT || order == AV_FIELD_BT ? UPZ_DEINT_TFF
                                                               : UPZ_DEINT_BFF;
    s->info.deinterlaced = true;
    upz_info(s->ctx, "%s: interlaced; deinterlaced to one frame a frame (bwdif)", s->info.url);
    return 0;
}

static void fill_info(UpzSource *s)
{
    UpzSourceInfo *i = &s->info;
    const AVFrame *f = s->first;
    i->width = f->width;
    i->height = f->height;
    i->pix_fmt = (enum AVPixelFormat)f->format;
    i->alpha = i->format.alpha;
    upz_frame_color(&i->color, f);
    i->sar = s->filter ? upz_filter_sar(s->filter) : f->sample_aspect_ratio;
    if (i->sar.num <= 0 || i->sar.den <= 0) i->sar = (AVRational){0, 1};
    av_reduce(&i->sar.num, &i->sar.den, i->sar.num, i->sar.den, INT32_MAX);
    i->time_base = s->st->time_base;
    i->frame_rate = s->filter ? upz_filter_rate(s->filter) : upz_best_rate(s->in, s->st);
    i->variable_rate = upz_rate_varies(s->st, i->interlaced);
    if (!i->has_display_matrix && !s->turn)
        i->has_display_matrix = upz_frame_matrix(f, i->display_matrix, &i->rotation);
    i->start = f->pts;
    i->duration = s->st->duration;
    if (i->duration == AV_NOPTS_VALUE && s->in->duration > 0)
        i->duration = av_rescale_q(s->in->duration, AV_TIME_BASE_Q, s->st->time_base);
    i->frames = s->st->nb_frames > 0 ? s->st->nb_frames : -1;
    if (i->still) i->frames = 1;
}

static int restart(UpzSource *s, UprezError *err)
{
    int r = open_input(s, err);
    return r < 0 ? r : reset_decoder(s, true, err);
}

static int open_all(UpzSource *s, UprezError *err)
{
    s->packet = av_packet_alloc();
    s->scratch = av_frame_alloc();
    if (!s->packet || !s->scratch) return no_memory(err);
    s->target = AV_NOPTS_VALUE;
    int r = open_input(s, err);
    if (r < 0) return r;
    s->seekable = strcmp(s->url, "-") && s->in->pb && s->in->pb->seekable & AVIO_SEEKABLE_NORMAL;
    s->linear = is_linear(s);
    UpzSourceInfo *i = &s->info;
    i->container = s->in->iformat->name;
    i->codec = avcodec_get_name(s->st->codecpar->codec_id);
    i->codec_profile = s->st->codecpar->profile;
    i->still = upz_input_is_still(s->in, s->stream);
    i->y4m = upz_input_is_y4m(s->in);
    i->video_stream = s->stream;
    i->has_display_matrix = upz_stream_matrix(s->st, i->display_matrix, &i->rotation);
    r = upz_dolby_vision(s->st, s->info.url, &i->dolby_vision, err);
    if (r >= 0) r = reset_decoder(s, true, err);
    if (r >= 0) r = find_interlaced(s, err);
    if (r >= 0 && s->turn)
        r = upz_turn_by_filter(&s->vf, i, upz_frame_queue_at(&s->queue, 0), err);
    if (r < 0) return r;
    const AVFrame *began = upz_frame_queue_at(&s->queue, 0);
    if (began && began->best_effort_timestamp == AV_NOPTS_VALUE)
        s->linear = true;
    s->filter_on = s->vf || s->deint != UPZ_DEINT_NONE;
    r = next_output(s, &s->first, err);
    if (r == UPREZ_EOF && s->lead && s->seekable && !s->lead_kept) { /* no keyframe: what there is */
        s->lead_kept = true;
        r = restart(s, err);
        if (r >= 0) r = next_output(s, &s->first, err);
    }
    if (r == UPREZ_EOF)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s: not one frame of its video (%s) can be decoded",
                        s->info.url, i->codec);
    if (r < 0) return r;
    if (upz_frame_format((enum AVPixelFormat)s->first->format, &i->format) == AV_PIX_FMT_NONE)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s: the pixel format %s cannot be converted; try "
                        "--vf format=yuv420p", s->info.url,
                        av_get_pix_fmt_name((enum AVPixelFormat)s->first->format));
    fill_info(s);
    return 0;
}

static char *copy(const char *text, bool *failed)
{
    char *c = text && *text ? upz_strdup(text) : NULL;
    if (text && *text && !c) *failed = true;
    return c;
}

int upz_source_open(UpzSource **out, UprezContext *ctx, const char *url,
                    const UpzSourceParams *params, UprezError *err)
{
    static const UpzSourceParams none;
    *out = NULL;
    if (!params) params = &none;
    UpzSource *s = upz_calloc(1, sizeof(*s));
    if (!s) return upz_fail_memory(err, sizeof(*s), "a source");
    bool failed = false;
    s->ctx = ctx;
    s->url = copy(url, &failed);
    s->vf = copy(params->vf, &failed);
    s->demuxer = copy(params->format, &failed);
    s->hwaccel = copy(params->hwaccel, &failed);
    s->interlaced = params->interlaced;
    s->turn = params->turn;
    s->threads = params->threads;
    s->watch = params->watch;
    s->name = copy(params->name, &failed);
    s->info.url = s->name ? s->name : s->url;
    int r = failed ? no_memory(err)
            : s->url ? 0 : upz_fail(err, UPREZ_ERR_USAGE, "the input has no name");
    int64_t t0 = upz_thread_cpu_ns();
    if (r >= 0) r = open_all(s, err);
    atomic_fetch_add(&s->cpu_ns, upz_thread_cpu_ns() - t0);
    if (r < 0) upz_source_close(&s);
    *out = s;
    return r;
}

void upz_source_close(UpzSource **source)
{
    UpzSource *s = *source;
    if (!s) return;
    *source = NULL;
    av_frame_free(&s->first);
    av_frame_free(&s->next_like);
    av_frame_free(&s->previous);
    av_frame_free(&s->good);
    av_frame_free(&s->scratch);
    upz_filter_destroy(&s->filter);
    upz_frame_queue_clear(&s->queue);
    avcodec_free_context(&s->dec);
    av_packet_free(&s->packet);
    upz_clock_free(&s->clock);
    upz_timeline_free(&s->timeline);
    upz_survey_free(&s->survey);
    if (s->in != s->fmt) avformat_close_input(&s->in);
    avformat_close_input(&s->fmt);
    upz_free(s->url);
    upz_free(s->name);
    upz_free(s->vf);
    upz_free(s->demuxer);
    upz_free(s->hwaccel);
    upz_free(s);
}

const UpzSourceInfo *upz_source_info(const UpzSource *s)
{
    return &s->info;
}

int upz_source_set_survey(UpzSource *s, UpzSurvey *survey, UprezError *err)
{
    UpzSurvey *before = s->survey;
    s->survey = survey;
    if (before && s->clock.timeline == &before->timeline) s->clock.timeline = &survey->timeline;
    upz_survey_free(&before);
    if (survey->timeline.n < 2) return 0;
    /* only reading from the start knows where an epoch begins */
    const UpzEpoch *e = survey->timeline.epochs;
    s->linear = true;
    tell_jump(s, e[1].first - e[0].last);
    return restart(s, err);
}

const UpzSurvey *upz_source_survey(const UpzSource *s)
{
    return s->survey;
}

AVFormatContext *upz_source_format(const UpzSource *s)
{
    return s->fmt;
}

/* ---- seeking ---- */

/* Reads up to the first keyframe packet and leaves it in s->packet. Its pts in *key; without one, the
 * latest it can be: dts plus all reordering there is. Or UPREZ_EOF. */
static int find_key(UpzSource *s, int64_t *key, UprezError *err)
{
    for (;;) {
        int r = read_packet(s, err);
        if (r < 0) return r;
        if (s->packet->flags & AV_PKT_FLAG_KEY) {
            *key = s->packet->pts;
            if (*key == AV_NOPTS_VALUE && s->packet->dts != AV_NOPTS_VALUE)
                *key = s->packet->dts + MAX_REORDER * nominal_duration(s);
            if (*key != AV_NOPTS_VALUE) return 0;
        }
        av_packet_unref(s->packet);
    }
}

/* Lands on the keyframe packet before the last one that is not later than t. false: not possible,
 * read from the start. */
static bool land(UpzSource *s, int64_t t)
{
    int64_t start = s->st->start_time != AV_NOPTS_VALUE ? s->st->start_time : s->info.start;
    int64_t step = av_rescale_q(1, (AVRational){1, 1}, s->st->time_base), want = t;
    int keys = 0;
    for (int tries = 0; tries < 24; tries++) {
        if (want <= start) return false;
        av_packet_unref(s->packet);
        s->pending = false;
        if (av_seek_frame(s->in, s->stream, want, AVSEEK_FLAG_BACKWARD) < 0) return false;
        upz_clock_reset(&s->clock);
        int64_t key;
        s->aiming = true;
        int r = find_key(s, &key, NULL);
        s->aiming = false;
        if (r < 0 && r != UPREZ_EOF) return false;
        if (r == UPREZ_EOF || key > t) { /* a demuxer that aims by dts, or not at keyframes */
            want -= step;
            step *= 2;
            continue;
        }
        s->pending = true;
        if (++keys == 2) return true;
        int64_t dts = s->packet->dts;
        want = (dts != AV_NOPTS_VALUE && dts < key ? dts : key) - 1;
        t = key - 1; /* the one to find now lies before this one */
    }
    return false;
}

int upz_source_seek(UpzSource *s, int64_t t, UprezError *err)
{
    if (upz_watch_ended(s->watch)) return interrupted(err);
    int64_t t0 = upz_thread_cpu_ns();
    int r = 0;
    s->target = AV_NOPTS_VALUE;
    if (!s->read_any && s->first && s->first->pts >= t) goto done; /* nothing to do */
    if (!s->seekable) {
        if (s->last_out != AV_NOPTS_VALUE && s->read_any && t <= s->last_out) {
            r = upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be read twice; write it to a file first",
                         !strcmp(s->url, "-") ? "standard input" : s->url);
            goto done;
        }
        if (s->first && s->first->pts < t) av_frame_free(&s->first);
    } else {
        bool landed = false;
        if (!s->linear) {
            landed = land(s, t);
            if (landed) r = reset_decoder(s, false, err);
        }
        if (!landed) r = restart(s, err);
    }
    if (r >= 0) {
        s->target = t;
        if (!s->read_any) { /* what was met in looking at the first frames is not this reader's */
            atomic_store(&s->lost_packets, 0);
            atomic_store(&s->read_errors, 0);
        }
        s->read_any = true;
    }
done:
    atomic_fetch_add(&s->cpu_ns, upz_thread_cpu_ns() - t0);
    return r;
}
