#include "timeline.h"

#include <stdlib.h>
#include <string.h>
#include <libavutil/mathematics.h>

#include "base/alloc.h"
#include "base/error.h"

#define MAX_EPOCHS ((size_t)1 << 20)
#define MAX_STREAMS ((size_t)1 << 16)
#define SECOND ((int64_t)AV_TIME_BASE)
#define BACK SECOND            /* time that goes back further begins anew */
#define FORWARD (10 * SECOND)  /* a hole in all streams that is no pause; what FFmpeg's command takes */
#define STILL 5000             /* shorter packets share a time because ticks are coarse */
#define UNEVEN (5 * SECOND)    /* how unevenly a file may be interleaved */

bool upz_timeline_init(UpzTimeline *t, int leader)
{
    *t = (UpzTimeline){.leader = leader};
    if (!upz_grow(&t->epochs, &t->cap, 1, sizeof(*t->epochs), MAX_EPOCHS)) return false;
    t->epochs[t->n++] = (UpzEpoch){.first = AV_NOPTS_VALUE, .last = AV_NOPTS_VALUE};
    return true;
}

void upz_timeline_free(UpzTimeline *t)
{
    upz_free(t->epochs);
    *t = (UpzTimeline){.leader = -1};
}

void upz_clock_start(UpzClock *c, UpzTimeline *timeline, bool growing, bool forward)
{
    *c = (UpzClock){.timeline = timeline, .growing = growing, .forward = forward,
                    .here = AV_NOPTS_VALUE};
}

void upz_clock_reset(UpzClock *c)
{
    c->n = 0;
    c->here = AV_NOPTS_VALUE;
    if (c->growing && c->timeline->n) {
        c->timeline->n = 1;
        c->timeline->epochs[0] = (UpzEpoch){.first = AV_NOPTS_VALUE, .last = AV_NOPTS_VALUE};
    }
}

void upz_clock_free(UpzClock *c)
{
    upz_free(c->streams);
    *c = (UpzClock){0};
}

const UpzClockStream *upz_clock_stream(const UpzClock *c, int stream)
{
    return stream >= 0 && (size_t)stream < c->n ? &c->streams[stream] : NULL;
}

static UpzClockStream *stream_at(UpzClock *c, int i)
{
    if (i < 0 || !upz_grow(&c->streams, &c->cap, (size_t)i + 1, sizeof(*c->streams), MAX_STREAMS))
        return NULL;
    for (; c->n <= (size_t)i; c->n++)
        c->streams[c->n] = (UpzClockStream){.next = AV_NOPTS_VALUE, .steady = AV_NOPTS_VALUE,
                                            .raw = AV_NOPTS_VALUE, .at = AV_NOPTS_VALUE};
    return &c->streams[i];
}

/* A hole in the picture alone is a pause: some stream's time runs through it. */
static bool others_go_on(const UpzClock *c, int64_t from)
{
    for (size_t i = 0; i < c->n; i++) {
        const UpzClockStream *s = &c->streams[i];
        if ((int)i != c->timeline->leader && s->raw != AV_NOPTS_VALUE && s->steady <= from &&
            s->raw > from + UNEVEN)
            return true;
    }
    return false;
}

/* The leading stream: does an epoch begin with this packet? */
static bool lead(UpzClock *c, UpzClockStream *s, int64_t t)
{
    UpzTimeline *line = c->timeline;
    if (!c->growing) {
        while (s->epoch + 1 < line->n && s->packets >= line->epochs[s->epoch + 1].packet) s->epoch++;
        return true;
    }
    if (t == AV_NOPTS_VALUE || s->raw == AV_NOPTS_VALUE) return true;
    int64_t jump = t - s->raw;
    if (jump >= -BACK && !(c->forward && jump > FORWARD && !others_go_on(c, s->raw))) return true;
    if (!upz_grow(&line->epochs, &line->cap, line->n + 1, sizeof(*line->epochs), MAX_EPOCHS))
        return false;
    int64_t offset = line->epochs[line->n - 1].offset - jump;
    line->epochs[line->n++] = (UpzEpoch){.packet = s->packets, .first = t, .last = t,
                                         .offset = offset};
    s->epoch = line->n - 1;
    if (c->jumped) *c->jumped = jump;
    return true;
}

/* Another stream: of its epoch and those that the picture has reached, or is about to reach, the one
 * in which its packet comes about when it is due. */
static void follow(UpzClock *c, UpzClockStream *s, int64_t t, int64_t length)
{
    const UpzTimeline *line = c->timeline;
    const UpzClockStream *leader = upz_clock_stream(c, line->leader);
    size_t last = leader ? leader->epoch : 0;
    if (!c->growing && last + 1 < line->n && leader && leader->raw != AV_NOPTS_VALUE &&
        leader->raw > line->epochs[last].last - UNEVEN)
        last++;
    bool dense = s->next != AV_NOPTS_VALUE &&
                 (c->here == AV_NOPTS_VALUE || c->here - s->next < UNEVEN);
    int64_t due = dense ? s->next : c->here;
    if (due == AV_NOPTS_VALUE) {
        s->fits = true;
        return;
    }
    const UpzEpoch *e = line->epochs;
    while (s->epoch < last && llabs(t + e[s->epoch + 1].offset - due) <
                                  llabs(t + e[s->epoch].offset + s->own - due)) {
        s->epoch++;
        s->own = 0;
    }
    s->fits = llabs(t + e[s->epoch].offset + s->own - due) < UNEVEN;
    /* a time of its own that went back: laid behind what came, as far as no hole takes it up */
    int64_t apart = t + e[s->epoch].offset + s->own - s->next;
    if (!c->growing && s->next != AV_NOPTS_VALUE) {
        if (apart < -BACK || (t == s->at && apart < -STILL && length > STILL)) s->own -= apart;
        else if (apart > 0 && s->own > 0) s->own -= UPZ_MIN(s->own, apart);
    }
}

/* A tick may be coarse; what is laid end to end must not drift: sound's packets are as long as their
 * codec says, or as they were on the way here. */
static int64_t length_of(UpzClockStream *s, const AVPacket *p, const AVStream *st, int64_t t)
{
    int64_t length = av_rescale_q(UPZ_MAX(p->duration, 0), st->time_base, AV_TIME_BASE_Q);
    AVCodecParameters *par = st->codecpar;
    if (par->codec_type != AVMEDIA_TYPE_AUDIO || par->sample_rate <= 0) return length;
    int64_t tick = av_rescale_q(1, st->time_base, AV_TIME_BASE_Q);
    int64_t step = t != AV_NOPTS_VALUE && s->at != AV_NOPTS_VALUE ? t - s->at : 0;
    if (step > 0 && llabs(step - length) <= 2 * tick) {
        s->steps += step;
        s->n_steps++;
    }
    int samples = av_get_audio_frame_duration2(par, p->size);
    int64_t exact = samples > 0     ? av_rescale(samples, AV_TIME_BASE, par->sample_rate)
                    : s->n_steps >= 8 ? s->steps / s->n_steps : 0;
    return exact > 0 && llabs(exact - length) <= tick ? exact : length;
}

int upz_clock_map(UpzClock *c, AVPacket *p, const AVStream *st, int64_t *was)
{
    UpzClockStream *s = stream_at(c, p->stream_index);
    if (!s) return -1;
    AVRational tb = st->time_base;
    int64_t raw = p->dts != AV_NOPTS_VALUE ? p->dts : p->pts;
    if (was) *was = raw;
    int64_t t = raw == AV_NOPTS_VALUE ? raw : av_rescale_q(raw, tb, AV_TIME_BASE_Q);
    int64_t length = length_of(s, p, st, t);
    bool leads = p->stream_index == c->timeline->leader;
    if (leads) {
        /* a keyframe is shown behind all that was coded before it; of others only dts tell */
        bool tells = p->dts != AV_NOPTS_VALUE || p->flags & AV_PKT_FLAG_KEY;
        if (!lead(c, s, tells ? t : AV_NOPTS_VALUE)) return -1;
    } else if (t != AV_NOPTS_VALUE) {
        enum AVMediaType type = st->codecpar->codec_type;
        if (s->raw == AV_NOPTS_VALUE || t < s->raw - BACK || t > s->raw + FORWARD) s->steady = t;
        follow(c, s, t, length);
        if (type != AVMEDIA_TYPE_AUDIO) s->own = 0;
    }
    UpzEpoch *e = &c->timeline->epochs[s->epoch];
    int64_t offset = e->offset + s->own;
    s->packets++;
    if (t != AV_NOPTS_VALUE) {
        s->at = t;
        s->raw = t + UPZ_MAX(length, 1);
        s->next = s->raw + offset;
        if (leads) {
            c->here = t + offset;
            if (e->first == AV_NOPTS_VALUE) e->first = t;
            if (c->growing) e->last = e->last == AV_NOPTS_VALUE ? s->raw : UPZ_MAX(e->last, s->raw);
        }
    }
    if (offset) {
        int64_t by = av_rescale_q(offset, AV_TIME_BASE_Q, tb);
        if (p->dts != AV_NOPTS_VALUE) p->dts += by;
        if (p->pts != AV_NOPTS_VALUE) p->pts += by;
    }
    return (int)s->epoch;
}
