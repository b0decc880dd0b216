#include "survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <libavutil/intreadwrite.h>
#include <libavutil/mathematics.h>
#include <libavutil/mem.h>
#include <libavutil/murmur3.h>

#include "base/alloc.h"
#include "extent.h"
#include "source_facts.h"

#define MAX_STREAMS ((size_t)1 << 16)
#define MAX_RANGES ((size_t)1 << 24)
#define UNEVEN (5 * (int64_t)AV_TIME_BASE)

/* Of one stream in one epoch, the file's own clock. */
typedef struct Range {
    int64_t first, end, begins, starts;
    bool goes_on; /* long after the picture has left the epoch: the stream did not begin anew */
} Range;
typedef struct Ranges {
    Range *items; /* by epoch */
    size_t n, cap;
} Ranges;

typedef struct Look {
    UpzSurvey *s;
    UpzClock clock;
    Ranges *ranges; /* by stream */
    size_t cap, cap_ranges;
    struct AVMurMur3 *hash;
    bool hole; /* some stream's times go on only after a hole */
} Look;

void upz_packet_skips(const AVPacket *p, const AVStream *st, int64_t *before, int64_t *after)
{
    size_t size = 0;
    const uint8_t *d = av_packet_get_side_data(p, AV_PKT_DATA_SKIP_SAMPLES, &size);
    int rate = st->codecpar->sample_rate;
    *before = *after = 0;
    if (!d || size < 8 || rate <= 0) return;
    *before = av_rescale(AV_RL32(d), AV_TIME_BASE, rate);
    *after = av_rescale(AV_RL32(d + 4), AV_TIME_BASE, rate);
}

static bool add_streams(Look *l, int n)
{
    UpzSurvey *s = l->s;
    if (n <= s->n) return true;
    size_t need = (size_t)n;
    if (!upz_grow(&s->streams, &l->cap, need, sizeof(*s->streams), MAX_STREAMS) ||
        !upz_grow(&l->ranges, &l->cap_ranges, need, sizeof(*l->ranges), MAX_STREAMS))
        return false;
    for (; s->n < n; s->n++) {
        s->streams[s->n] = (UpzSurveyStream){.first = AV_NOPTS_VALUE, .end = AV_NOPTS_VALUE,
                                             .begins = AV_NOPTS_VALUE,
                                             .starts = AV_NOPTS_VALUE, .place = -1,
                                             .reached = AV_NOPTS_VALUE};
        l->ranges[s->n] = (Ranges){0};
    }
    return true;
}

static Range *range_at(Look *l, int stream, size_t epoch)
{
    Ranges *g = &l->ranges[stream];
    if (!upz_grow(&g->items, &g->cap, epoch + 1, sizeof(*g->items), MAX_RANGES)) return NULL;
    for (; g->n <= epoch; g->n++)
        g->items[g->n] = (Range){INT64_MAX, INT64_MIN, INT64_MAX, INT64_MAX, false};
    return &g->items[epoch];
}

static int note(Look *l, AVPacket *p, const AVStream *st, int epoch, int64_t raw)
{
    UpzSurveyStream *s = &l->s->streams[p->stream_index];
    Range *g = range_at(l, p->stream_index, (size_t)epoch);
    if (!g) return AVERROR(ENOMEM);
    int64_t number = s->packets++;
    bool cut = p->flags & AV_PKT_FLAG_DISCARD;
    if (!number) s->place = p->pos;
    s->cut += cut;
    if (raw == AV_NOPTS_VALUE || st->disposition & AV_DISPOSITION_ATTACHED_PIC) return 0;
    const UpzClockStream *c = upz_clock_stream(&l->clock, p->stream_index);
    bool leads = p->stream_index == l->s->timeline.leader;
    const UpzClockStream *leader = upz_clock_stream(&l->clock, l->s->timeline.leader);
    if (!leads && leader && leader->epoch > (size_t)epoch && !c->own &&
        av_rescale_q(raw, st->time_base, AV_TIME_BASE_Q) >
            l->s->timeline.epochs[epoch].last + UNEVEN)
        g->goes_on = true;
    if (!leads && !c->fits && l->s->timeline.n > 1) return 0;
    int64_t own = p->dts != AV_NOPTS_VALUE ? p->dts : p->pts, before, after;
    int64_t shown = raw + (p->pts != AV_NOPTS_VALUE ? p->pts : own) - own; /* clocks add the same */
    upz_packet_skips(p, st, &before, &after);
    int64_t t = av_rescale_q(shown, st->time_base, AV_TIME_BASE_Q);
    int64_t length = av_rescale_q(UPZ_MAX(p->duration, 0), st->time_base, AV_TIME_BASE_Q);
    int padding = st->codecpar->initial_padding, rate = st->codecpar->sample_rate;
    if (!number && !before && t < 0 && padding > 0 && rate > 0)
        before = av_rescale(padding, AV_TIME_BASE, rate);
    g->begins = UPZ_MIN(g->begins, t);
    if (cut) return 0;
    g->starts = UPZ_MIN(g->starts, t);
    g->first = UPZ_MIN(g->first, t + UPZ_MIN(before, length ? length : before));
    g->end = UPZ_MAX(g->end, t + length - UPZ_MIN(after, length));
    return 0;
}

/* Half a frame, or a tenth of a second of sound, is missing between two packets: uneven recordings have
 * such holes, damaged ones too. */
static void note_hole(Look *l, const AVPacket *p, const AVStream *st)
{
    UpzSurveyStream *s = &l->s->streams[p->stream_index];
    int64_t t = p->dts != AV_NOPTS_VALUE ? p->dts : p->pts, before = s->reached;
    bool sound = st->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
    if (t == AV_NOPTS_VALUE || (!sound && st->codecpar->codec_type != AVMEDIA_TYPE_VIDEO)) return;
    int64_t frame = p->duration, tenth = av_rescale_q(AV_TIME_BASE / 10, AV_TIME_BASE_Q, st->time_base);
    if (frame <= 0 && st->avg_frame_rate.num > 0)
        frame = av_rescale_q(1, av_inv_q(st->avg_frame_rate), st->time_base);
    s->reached = t + UPZ_MAX(frame, 1);
    if (before != AV_NOPTS_VALUE) l->hole |= t - before > (sound ? tenth : UPZ_MAX(frame / 2, 1));
}

static int read_all(Look *l, UpzSurveyEach each, void *cookie, UpzWatch *watch)
{
    UpzSurvey *s = l->s;
    AVPacket *p = av_packet_alloc();
    int r = p ? 0 : AVERROR(ENOMEM);
    upz_watch_enter(watch, UPZ_STAGE_SOURCE);
    while (r >= 0) {
        if (upz_watch_ended(watch)) r = AVERROR_EXIT;
        else r = av_read_frame(s->fmt, p);
        if (r < 0) break;
        upz_watch_beat(watch);
        const AVStream *st = s->fmt->streams[p->stream_index];
        if (!add_streams(l, (int)s->fmt->nb_streams)) r = AVERROR(ENOMEM);
        int64_t dts = p->dts, pts = p->pts, raw;
        int epoch = r < 0 ? -1 : upz_clock_map(&l->clock, p, st, &raw);
        if (epoch < 0) r = AVERROR(ENOMEM);
        if (r >= 0) r = note(l, p, st, epoch, raw);
        p->dts = dts;
        p->pts = pts;
        if (r >= 0) note_hole(l, p, st);
        if (r >= 0 && p->stream_index == s->timeline.leader) {
            av_murmur3_update(l->hash, p->data, (size_t)UPZ_MAX(p->size, 0));
            s->last_byte = UPZ_MAX(s->last_byte, p->pos);
            if (each) r = each(cookie, p, epoch);
        }
        av_packet_unref(p);
    }
    av_packet_free(&p);
    upz_watch_leave(watch, UPZ_STAGE_SOURCE);
    s->end = r;
    return r == AVERROR(ENOMEM) || r == AVERROR_EXIT ? r : 0;
}

/* ---- what was found ---- */

static bool heard_or_seen(const AVStream *st)
{
    enum AVMediaType t = st->codecpar->codec_type;
    return (t == AVMEDIA_TYPE_AUDIO || t == AVMEDIA_TYPE_VIDEO) &&
           !(st->disposition & AV_DISPOSITION_ATTACHED_PIC);
}

/* An epoch begins where the longest stream of the one before it ends. */
static void settle_epochs(Look *l)
{
    UpzTimeline *t = &l->s->timeline;
    for (size_t e = 1; e < t->n; e++) {
        int64_t end = INT64_MIN, first = INT64_MAX;
        for (int i = 0; i < l->s->n; i++) {
            if (!heard_or_seen(l->s->fmt->streams[i])) continue;
            bool anew = i == t->leader;
            if (e - 1 < l->ranges[i].n) {
                const Range *g = &l->ranges[i].items[e - 1];
                anew |= !g->goes_on;
                if (!g->goes_on || i == t->leader) end = UPZ_MAX(end, g->end);
            }
            if (anew && e < l->ranges[i].n) first = UPZ_MIN(first, l->ranges[i].items[e].first);
        }
        if (end == INT64_MIN || first == INT64_MAX) /* nothing of it is shown */
            t->epochs[e].offset = t->epochs[e - 1].offset + t->epochs[e - 1].last - t->epochs[e].first;
        else
            t->epochs[e].offset = t->epochs[e - 1].offset + end - first;
    }
}

static void settle_streams(Look *l)
{
    const UpzTimeline *t = &l->s->timeline;
    for (int i = 0; i < l->s->n; i++) {
        UpzSurveyStream *s = &l->s->streams[i];
        int64_t first = INT64_MAX, end = INT64_MIN, begins = INT64_MAX, starts = INT64_MAX;
        for (size_t e = 0; e < l->ranges[i].n && e < t->n; e++) {
            const Range *g = &l->ranges[i].items[e];
            if (g->begins != INT64_MAX) begins = UPZ_MIN(begins, g->begins + t->epochs[e].offset);
            if (g->end < g->first) continue;
            starts = UPZ_MIN(starts, g->starts + t->epochs[e].offset);
            first = UPZ_MIN(first, g->first + t->epochs[e].offset);
            end = UPZ_MAX(end, g->end + t->epochs[e].offset);
        }
        if (begins != INT64_MAX) s->begins = begins;
        if (end < first) continue;
        s->starts = starts;
        s->first = first;
        s->end = end;
        s->trimmed = s->first - s->begins > UPZ_CODER_DELAY;
    }
}

static const AVProgram *program_of(AVFormatContext *fmt, int stream)
{
    return av_find_program_from_stream(fmt, NULL, stream);
}

/* A programme of a broadcast may have a clock of its own: it begins with the leading one. */
static void align_programs(UpzSurvey *s)
{
    const AVProgram *main = program_of(s->fmt, s->timeline.leader);
    if (!main || s->streams[s->timeline.leader].first == AV_NOPTS_VALUE) return;
    for (unsigned k = 0; k < s->fmt->nb_programs; k++) {
        const AVProgram *p = s->fmt->programs[k];
        int64_t first = INT64_MAX;
        bool shared = p == main;
        for (unsigned i = 0; i < p->nb_stream_indexes && !shared; i++) {
            int at = (int)p->stream_index[i];
            shared = av_find_program_from_stream(s->fmt, NULL, at) == main;
            if (at < s->n && s->streams[at].first != AV_NOPTS_VALUE &&
                heard_or_seen(s->fmt->streams[at]))
                first = UPZ_MIN(first, s->streams[at].first);
        }
        int64_t by = first == INT64_MAX ? 0 : s->streams[s->timeline.leader].first - first;
        if (shared || llabs(by) < 2 * UNEVEN) continue;
        for (unsigned i = 0; i < p->nb_stream_indexes; i++) {
            int at = (int)p->stream_index[i];
            if (at >= s->n || program_of(s->fmt, at) != p) continue;
            UpzSurveyStream *st = &s->streams[at];
            st->align = by;
            if (st->first != AV_NOPTS_VALUE) st->first += by, st->end += by, st->starts += by;
            if (st->begins != AV_NOPTS_VALUE) st->begins += by;
        }
    }
}

/* ---- streams that begin late ---- */

static bool lacks_parameters(const AVStream *st)
{
    const AVCodecParameters *p = st->codecpar;
    switch (p->codec_type) {
    case AVMEDIA_TYPE_AUDIO: return !p->sample_rate || !p->ch_layout.nb_channels;
    case AVMEDIA_TYPE_VIDEO: return !p->width || !p->height;
    case AVMEDIA_TYPE_UNKNOWN: return true;
    default: return p->codec_id == AV_CODEC_ID_NONE;
    }
}

/* What was learned of a stream where it begins. */
static int take_parameters(AVStream *st, AVFormatContext *there)
{
    for (unsigned i = 0; i < there->nb_streams; i++) {
        const AVStream *o = there->streams[i];
        if (o->id != st->id || lacks_parameters(o)) continue;
        uint32_t tag = st->codecpar->codec_tag;
        int r = avcodec_parameters_copy(st->codecpar, o->codecpar);
        if (r < 0) return r;
        if (tag) st->codecpar->codec_tag = tag;
        if (o->avg_frame_rate.num) st->avg_frame_rate = o->avg_frame_rate;
        if (o->r_frame_rate.num) st->r_frame_rate = o->r_frame_rate;
        return 0;
    }
    return 0;
}

/* Streams found behind what an opening reads have no parameters: the file is opened once more where
 * each of them begins. */
static int learn_late(UpzSurvey *s, const char *demuxer, UpzWatch *watch)
{
    int r = 0;
    for (int i = 0; i < s->n && r >= 0; i++) {
        AVStream *st = s->fmt->streams[i];
        if (s->streams[i].place < 0 || !lacks_parameters(st)) continue;
        AVFormatContext *there = NULL;
        if (upz_input_open_at(&there, s->url, demuxer, s->streams[i].place, watch, NULL) < 0)
            continue;
        r = take_parameters(st, there);
        avformat_close_input(&there);
    }
    return r;
}

/* ---- all of it ---- */

static int choose_leader(AVFormatContext *fmt)
{
    int i = av_find_best_stream(fmt, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (i < 0 || fmt->streams[i]->disposition & AV_DISPOSITION_ATTACHED_PIC)
        i = av_find_best_stream(fmt, AVMEDIA_TYPE_AUDIO, -1, -1, NULL, 0);
    return UPZ_MAX(i, 0);
}

/* The demuxer leaves the rest of a damaged index out. An edit list takes packets away, too, but then the
 * stream is as long as it says. */
static int64_t left_out(const UpzSurveyStream *s, const AVStream *st)
{
    int64_t frame = st->avg_frame_rate.num > 0
                        ? av_rescale_q(1, av_inv_q(st->avg_frame_rate), AV_TIME_BASE_Q) : 0;
    if (st->nb_frames <= s->packets || st->duration <= 0) return 0;
    int64_t told = av_rescale_q(st->duration, st->time_base, AV_TIME_BASE_Q);
    int64_t shown = s->first == AV_NOPTS_VALUE ? 0 : s->end - s->first;
    return told - shown > AV_TIME_BASE / 10 + 2 * frame ? st->nb_frames - s->packets : 0;
}

/* In these, an index says how many packets each stream has. */
static void compare_with_index(UpzSurvey *s)
{
    if (strncmp(s->fmt->iformat->name, "mov,", 4)) return;
    for (int i = 0; i < s->n; i++) {
        const AVStream *st = s->fmt->streams[i];
        if (!heard_or_seen(st) || st->discard >= AVDISCARD_ALL) continue;
        int64_t promised = avformat_index_get_entries_count(st);
        s->unread += UPZ_MAX(promised - s->streams[i].packets, left_out(&s->streams[i], st));
    }
}

bool upz_survey_damaged(const UpzSurvey *s, char *how, size_t size)
{
    char why[UPZ_AV_ERROR];
    if (s->end != AVERROR_EOF)
        snprintf(how, size, "it could not be read to its end: %s", upz_av_error(s->end, why));
    else if (s->missing > 0)
        snprintf(how, size, "it is cut off: %.1f s of %.1f s are missing", s->missing,
                 (double)s->fmt->duration / AV_TIME_BASE);
    else if (s->unread)
        snprintf(how, size, "it is cut off: %lld packets that its index names are missing",
                 (long long)s->unread);
    else if (s->broken_byte >= 0)
        snprintf(how, size, "its container is damaged at byte %lld, and what follows is missing up to "
                 "the next place that can be read", (long long)s->broken_byte);
    else if (s->short_by > 0)
        snprintf(how, size, "it is cut off: %lld bytes that its header names are missing",
                 (long long)s->short_by);
    else
        return false;
    return true;
}

static void settle_digest(const Look *l)
{
    uint8_t sum[16];
    av_murmur3_final(l->hash, sum);
    for (int i = 0; i < 16; i++) snprintf(l->s->digest + 2 * i, 3, "%02x", sum[i]);
}

static int look(Look *l, const char *demuxer, UpzSurveyEach each, void *cookie,
                UpzWatch *watch, UprezError *err)
{
    UpzSurvey *s = l->s;
    char why[UPZ_AV_ERROR];
    upz_clock_start(&l->clock, &s->timeline, true, s->fmt->iformat->flags & AVFMT_TS_DISCONT);
    int r = read_all(l, each, cookie, watch);
    if (r >= 0 && !add_streams(l, (int)s->fmt->nb_streams)) r = AVERROR(ENOMEM);
    if (r >= 0 && s->end != AVERROR_EOF && s->fmt->pb && s->fmt->pb->error < 0 &&
        s->fmt->pb->error != AVERROR_EOF)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be read: %s", s->url,
                        upz_av_error(s->fmt->pb->error, why));
    if (r >= 0) r = learn_late(s, demuxer, watch);
    if (r == AVERROR_EXIT)
        return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while reading %s", s->url);
    if (r < 0) return upz_fail_memory(err, 0, "a look at the input");
    settle_digest(l);
    settle_epochs(l);
    settle_streams(l);
    align_programs(s);
    int64_t to = 0;
    for (int i = 0; i < s->n; i++)
        if (s->streams[i].end != AV_NOPTS_VALUE) to = UPZ_MAX(to, s->streams[i].end);
    compare_with_index(s);
    int64_t promised = upz_promised_bytes(s->fmt), there = promised ? avio_size(s->fmt->pb) : 0;
    if (l->hole) s->broken_byte = upz_broken_byte(s->fmt);
    s->short_by = there > 0 ? UPZ_MAX(promised - there, 0) : 0;
    s->missing = (double)upz_missing_at_end(s->fmt, to) / AV_TIME_BASE;
    return 0;
}

int upz_survey_create(UpzSurvey **out, const char *url, const char *demuxer, int leader,
                      UpzSurveyEach each, void *cookie, UpzWatch *watch, UprezError *err)
{
    *out = NULL;
    UpzSurvey *s = upz_calloc(1, sizeof(*s));
    if (!s) return upz_fail_memory(err, sizeof(*s), "a look at the input");
    Look l = {.s = s, .hash = av_murmur3_alloc()};
    s->url = upz_strdup(url);
    s->last_byte = s->broken_byte = -1;
    if (l.hash) av_murmur3_init(l.hash);
    int r = s->url && l.hash ? upz_input_open(&s->fmt, url, demuxer, watch, err)
                   : upz_fail_memory(err, 0, "a look at the input");
    if (r >= 0 && (leader >= (int)s->fmt->nb_streams || !s->fmt->nb_streams))
        r = upz_fail(err, UPREZ_ERR_INPUT, "%s changed while it was being read", url);
    if (r >= 0 && (!upz_timeline_init(&s->timeline, leader < 0 ? choose_leader(s->fmt) : leader) ||
                   !add_streams(&l, (int)s->fmt->nb_streams)))
        r = upz_fail_memory(err, 0, "a look at the input");
    if (r >= 0) r = look(&l, demuxer, each, cookie, watch, err);
    for (int i = 0; l.ranges && i < s->n; i++) upz_free(l.ranges[i].items);
    upz_free(l.ranges);
    upz_clock_free(&l.clock);
    av_free(l.hash);
    if (r < 0) upz_survey_free(&s);
    *out = s;
    return r;
}

void upz_survey_free(UpzSurvey **ps)
{
    UpzSurvey *s = *ps;
    if (!s) return;
    *ps = NULL;
    avformat_close_input(&s->fmt);
    upz_timeline_free(&s->timeline);
    upz_free(s->streams);
    upz_free(s->url);
    upz_free(s);
}
