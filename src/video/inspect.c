#include "inspect.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <libavutil/pixdesc.h>
#include <libavutil/samplefmt.h>

#include "base/alloc.h"
#include "base/error.h"
#include "compat.h"
#include "input.h"
#include "source_facts.h"
#include "survey.h"

enum {
    STEP = 4,                  /* of pixels in both directions one is looked at */
    MOST_FRAMES = 1 << 24,
    MOST_BINS = UPZ_BINS * 3600 * 24
};
#define HOLE 0.05 /* seconds of sound that are missing before it is worth a word */

typedef struct Look {
    UpzInspection *o;
    const UpzInspectParams *params;
    UpzWatch watch;
    AVFormatContext *fmt;
    AVCodecContext *dec[UPZ_INSPECT_STREAMS];
    AVFrame *frame;
    uint8_t *luma, *before; /* looked-at pixels of this frame and of the one before */
    int cols, rows;         /* of them */
    bool begun;             /* the origin is known */
    bool keyed[UPZ_INSPECT_STREAMS]; /* a keyframe came */
    double due[UPZ_INSPECT_STREAMS]; /* where the next sound of a stream is expected; NAN = nowhere */
} Look;

/* ---- the picture ---- */

/* Which component shows brightness: luma, or green. */
static const AVComponentDescriptor *bright(const AVPixFmtDescriptor *d)
{
    return &d->comp[d->flags & AV_PIX_FMT_FLAG_RGB && d->nb_components >= 3 ? 1 : 0];
}

static int make_room(Look *l, const AVFrame *f)
{
    const int cols = UPZ_MAX(f->width / STEP, 1), rows = UPZ_MAX(f->height / STEP, 1);
    if (l->luma && cols == l->cols && rows == l->rows) return 1;
    upz_free(l->luma);
    upz_free(l->before);
    l->luma = upz_calloc((size_t)cols * (size_t)rows, 1);
    l->before = upz_calloc((size_t)cols * (size_t)rows, 1);
    l->cols = cols;
    l->rows = rows;
    return l->luma && l->before ? 0 : -1;
}

static void load(Look *l, const AVFrame *f)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    const AVComponentDescriptor *c = bright(d);
    const bool wide = c->depth > 8, flipped = d->flags & AV_PIX_FMT_FLAG_BE;
    for (int y = 0; y < l->rows; y++) {
        const uint8_t *row = f->data[c->plane] + (ptrdiff_t)UPZ_MIN(y * STEP, f->height - 1) *
                             f->linesize[c->plane] + c->offset;
        for (int x = 0; x < l->cols; x++) {
            const uint8_t *p = row + (ptrdiff_t)x * STEP * c->step;
            unsigned v = p[0];
            if (wide) v = (flipped ? p[0] << 8 | p[1] : p[1] << 8 | p[0]) >> c->shift >> (c->depth - 8);
            l->luma[y * l->cols + x] = (uint8_t)v;
        }
    }
}

static void figures(const Look *l, UpzInspectFrame *o, bool first)
{
    const int n = l->cols * l->rows;
    uint64_t sum = 0, squares = 0, change = 0;
    uint32_t cell[UPZ_THUMB_W * UPZ_THUMB_H] = {0}, count[UPZ_THUMB_W * UPZ_THUMB_H] = {0};
    for (int y = 0; y < l->rows; y++) {
        const int at = y * UPZ_THUMB_H / l->rows * UPZ_THUMB_W;
        for (int x = 0; x < l->cols; x++) {
            const int v = l->luma[y * l->cols + x], d = v - l->before[y * l->cols + x];
            sum += (unsigned)v;
            squares += (unsigned)(v * v);
            change += (unsigned)(d < 0 ? -d : d);
            cell[at + x * UPZ_THUMB_W / l->cols] += (unsigned)v;
            count[at + x * UPZ_THUMB_W / l->cols]++;
        }
    }
    const double mean = (double)sum / n, variance = (double)squares / n - mean * mean;
    o->mean = (float)mean;
    o->spread = (float)sqrt(UPZ_MAX(variance, 0));
    o->change = first ? -1 : (float)((double)change / n);
    for (int i = 0; i < UPZ_COUNT(cell); i++)
        o->thumb[i] = (uint8_t)(count[i] ? (cell[i] + count[i] / 2) / count[i] : 0);
}

static void describe_picture(UpzInspection *o, const AVFrame *f)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    o->width = f->width;
    o->height = f->height;
    o->depth = d->comp[0].depth;
    o->chroma_420 = d->nb_components >= 3 && d->log2_chroma_w == 1 && d->log2_chroma_h == 1 &&
                    !(d->flags & AV_PIX_FMT_FLAG_RGB);
    o->limited = !(d->flags & AV_PIX_FMT_FLAG_RGB) && f->color_range != AVCOL_RANGE_JPEG &&
                 d->nb_components >= 3;
    snprintf(o->stream[o->video].format, sizeof(o->stream[0].format), "%s", d->name);
}

/* Palettes and memory of devices show nothing at once. */
static bool visible(const AVFrame *f)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    return d && !(d->flags & (AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BITSTREAM |
                              AV_PIX_FMT_FLAG_FLOAT)) && d->comp[0].step > 0;
}

static int see(Look *l, int i, UprezError *err)
{
    UpzInspection *o = l->o;
    UpzInspectStream *s = &o->stream[i];
    const AVStream *st = l->fmt->streams[i];
    const AVFrame *f = l->frame;
    const int64_t pts = f->best_effort_timestamp;
    const double step = o->rate > 0 ? 1 / o->rate : 0.04;
    double time = pts != AV_NOPTS_VALUE ? (double)pts * av_q2d(st->time_base) - o->origin
                                        : (isnan(s->end) ? 0 : s->end);
    if (!l->begun) {
        o->origin = pts != AV_NOPTS_VALUE ? time : 0;
        l->begun = true;
        time = 0;
    }
    if (!upz_grow(&o->frame, &o->frames_cap, o->frames + 1, sizeof(*o->frame), MOST_FRAMES))
        return upz_fail_memory(err, sizeof(*o->frame), "the list of frames");
    UpzInspectFrame *to = &o->frame[o->frames];
    *to = (UpzInspectFrame){.time = time, .change = -1, .spread = -1,
                            .damaged = f->decode_error_flags || f->flags & AV_FRAME_FLAG_CORRUPT};
    if (to->damaged && !s->errors++) s->error_time = time;
    if (!o->frames) describe_picture(o, f);
    if (visible(f)) {
        const int room = make_room(l, f);
        if (room < 0) return upz_fail_memory(err, 0, "a frame's pixels");
        load(l, f);
        figures(l, to, room == 0);
        uint8_t *swap = l->luma;
        l->luma = l->before;
        l->before = swap;
    }
    o->frames++;
    if (isnan(s->first)) s->first = time;
    s->end = UPZ_MAX(isnan(s->end) ? time : s->end, time + step);
    return 0;
}

/* ---- the sound ---- */

static double sample_at(const AVFrame *f, int channel, int channels, int i)
{
    const bool planar = av_sample_fmt_is_planar(f->format);
    const uint8_t *p = planar ? f->extended_data[channel] : f->extended_data[0];
    const int at = planar ? i : i * channels + channel;
    switch (av_get_packed_sample_fmt(f->format)) {
    case AV_SAMPLE_FMT_U8: return (p[at] - 128) / 128.0;
    case AV_SAMPLE_FMT_S16: return ((const int16_t *)(const void *)p)[at] / 32768.0;
    case AV_SAMPLE_FMT_S32: return ((const int32_t *)(const void *)p)[at] / 2147483648.0;
    case AV_SAMPLE_FMT_FLT: return (double)((const float *)(const void *)p)[at];
    case AV_SAMPLE_FMT_DBL: return ((const double *)(const void *)p)[at];
    default: return 0;
    }
}

/* Loudness of a decoded piece, put into the bins of its time; the first two channels tell enough. */
static int hear(Look *l, int i, UprezError *err)
{
    UpzInspectStream *s = &l->o->stream[i];
    const AVFrame *f = l->frame;
    const int channels = l->dec[i]->ch_layout.nb_channels, rate = f->sample_rate;
    if (rate <= 0 || channels <= 0) return 0;
    if ((f->decode_error_flags || f->flags & AV_FRAME_FLAG_CORRUPT) && !s->errors++)
        s->error_time = isnan(l->due[i]) ? 0 : l->due[i];
    const int64_t pts = f->best_effort_timestamp;
    double time = pts != AV_NOPTS_VALUE ? (double)pts * av_q2d(l->fmt->streams[i]->time_base) - l->o->origin
                  : isnan(l->due[i]) ? 0 : l->due[i];
    if (!isnan(l->due[i]) && time - l->due[i] > UPZ_MAX(s->hole, HOLE)) {
        s->hole = time - l->due[i];
        s->hole_time = l->due[i];
    }
    l->due[i] = time + (double)f->nb_samples / rate;
    if (isnan(s->first)) s->first = time;
    s->end = UPZ_MAX(isnan(s->end) ? l->due[i] : s->end, l->due[i]);
    s->rate = rate;
    s->channels = channels;
    const size_t need = l->due[i] > 0 ? (size_t)(l->due[i] * UPZ_BINS) + 1 : 0;
    if (need > MOST_BINS) return 0;
    if (need > s->bins) {
        if (!upz_grow(&s->loudness, &s->bins_cap, need, sizeof(*s->loudness), MOST_BINS))
            return upz_fail_memory(err, need * sizeof(*s->loudness), "the loudness of the sound");
        memset(s->loudness + s->bins, 0, (need - s->bins) * sizeof(*s->loudness));
        s->bins = need;
    }
    const int used = UPZ_MIN(channels, 2);
    for (int k = 0; k < f->nb_samples; k++) {
        const double at = time + (double)k / rate;
        if (at < 0) continue;
        double power = 0;
        for (int c = 0; c < used; c++) {
            const double v = sample_at(f, c, channels, k);
            power += v * v;
        }
        s->loudness[(size_t)(at * UPZ_BINS)] += (float)(power / used * UPZ_BINS / rate);
    }
    return 0;
}

/* ---- the file ---- */

static char kind(const AVStream *st)
{
    if (st->disposition & AV_DISPOSITION_ATTACHED_PIC) return 'c';
    switch (st->codecpar->codec_type) {
    case AVMEDIA_TYPE_VIDEO: return 'v';
    case AVMEDIA_TYPE_AUDIO: return 'a';
    case AVMEDIA_TYPE_SUBTITLE: return 's';
    case AVMEDIA_TYPE_ATTACHMENT: return 't';
    default: return 'd';
    }
}

static void describe_stream(UpzInspectStream *s, const AVStream *st)
{
    const AVDictionaryEntry *language = av_dict_get(st->metadata, "language", NULL, 0);
    *s = (UpzInspectStream){.type = kind(st), .first = NAN, .end = NAN};
    snprintf(s->codec, sizeof(s->codec), "%s", avcodec_get_name(st->codecpar->codec_id));
    if (language) snprintf(s->language, sizeof(s->language), "%s", language->value);
    if (st->duration > 0) s->stated = (double)st->duration * av_q2d(st->time_base);
}

/* One packet, or the end of the file (NULL), through the stream's decoder. */
static int decode(Look *l, int i, const AVPacket *p, UprezError *err)
{
    UpzInspectStream *s = &l->o->stream[i];
    int sent = avcodec_send_packet(l->dec[i], p), r = 0;
    /* sound may be cut in the middle of its first packet, too */
    const bool starts = s->type == 'a' && s->packets < 3 && isnan(s->first);
    if (sent < 0 && sent != AVERROR_EOF && sent != AVERROR(EAGAIN) && !starts && !s->errors++)
        s->error_time = isnan(s->end) ? 0 : s->end;
    while (r >= 0 && avcodec_receive_frame(l->dec[i], l->frame) >= 0) {
        r = s->type == 'v' ? see(l, i, err) : hear(l, i, err);
        av_frame_unref(l->frame);
    }
    return r;
}

/* Recordings begin anywhere: what comes before the first keyframe is no damage. */
static bool begins(Look *l, int i, const AVPacket *p)
{
    if (p->flags & AV_PKT_FLAG_KEY) l->keyed[i] = true;
    return l->keyed[i] || l->o->stream[i].type != 'v';
}

static int open_decoders(Look *l, const char *url, UprezError *err)
{
    UpzInspection *o = l->o;
    UprezError none;
    o->video = upz_input_video(l->fmt, url, &none);
    o->n_streams = (int)UPZ_MIN(l->fmt->nb_streams, UPZ_INSPECT_STREAMS);
    if (o->video >= o->n_streams) o->video = -1;
    bool any = false;
    for (int i = 0; i < o->n_streams; i++) {
        describe_stream(&o->stream[i], l->fmt->streams[i]);
        l->due[i] = NAN;
        l->keyed[i] = false;
        const bool wanted = i == o->video || o->stream[i].type == 'a';
        if (wanted && upz_decoder_open(&l->dec[i], l->fmt->streams[i], NULL, 0, &none) >= 0) any = true;
    }
    if (o->video >= 0) {
        const AVRational rate = upz_best_rate(l->fmt, l->fmt->streams[o->video]);
        o->rate = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
    } else {
        o->origin = l->fmt->start_time != AV_NOPTS_VALUE ? (double)l->fmt->start_time / AV_TIME_BASE : 0;
        l->begun = true;
    }
    if (!any) return upz_fail(err, UPREZ_ERR_INPUT, "'%s' holds neither picture nor sound that can be decoded",
                              url);
    return 0;
}

/* The sound that comes before the first frame waits for it: times count from there. */
static int find_origin(Look *l)
{
    AVPacket *p = av_packet_alloc();
    int r = p ? 0 : AVERROR(ENOMEM);
    while (r >= 0 && !l->begun && (r = av_read_frame(l->fmt, p)) >= 0) {
        if (p->stream_index == l->o->video && begins(l, l->o->video, p) && avcodec_send_packet(l->dec[l->o->video], p) >= 0 &&
            avcodec_receive_frame(l->dec[l->o->video], l->frame) >= 0) {
            const int64_t pts = l->frame->best_effort_timestamp;
            if (pts != AV_NOPTS_VALUE)
                l->o->origin = (double)pts * av_q2d(l->fmt->streams[l->o->video]->time_base);
            l->begun = true;
            av_frame_unref(l->frame);
        }
        av_packet_unref(p);
    }
    av_packet_free(&p);
    return l->begun ? 0 : -1;
}

static int read_all(Look *l, UprezError *err)
{
    UpzInspection *o = l->o;
    AVPacket *p = av_packet_alloc();
    int r = p ? 0 : upz_fail_memory(err, sizeof(*p), "a packet"), got = 0;
    while (r >= 0 && (got = av_read_frame(l->fmt, p)) >= 0) {
        const int i = p->stream_index;
        if (upz_watch_ended(&l->watch))
            r = upz_fail(err, UPREZ_ERR_INTERRUPTED, "the check was interrupted");
        if (r >= 0 && i < o->n_streams) {
            UpzInspectStream *s = &o->stream[i];
            s->packets++;
            const double at = p->pts != AV_NOPTS_VALUE
                                  ? (double)p->pts * av_q2d(l->fmt->streams[i]->time_base) - o->origin : NAN;
            if (l->dec[i]) r = begins(l, i, p) ? decode(l, i, p, err) : 0;
            else if (!isnan(at)) {
                if (isnan(s->first)) s->first = at;
                s->end = at + (double)p->duration * av_q2d(l->fmt->streams[i]->time_base);
            }
            if (l->params->progress && !isnan(at) && i == UPZ_MAX(o->video, 0))
                l->params->progress(l->params->cookie, at, o->stated);
        }
        av_packet_unref(p);
    }
    for (int i = 0; i < o->n_streams && r >= 0; i++)
        if (l->dec[i]) r = decode(l, i, NULL, err);
    for (int i = 0; i < o->n_streams; i++)
        if (!isnan(o->stream[i].end)) o->end = UPZ_MAX(o->end, o->stream[i].end);
    av_packet_free(&p);
    return r;
}

static int open_all(Look *l, const char *url, UprezError *err)
{
    UpzInspection *o = l->o;
    int r = upz_input_open(&l->fmt, url, NULL, &l->watch, err);
    if (r < 0) return r;
    snprintf(o->container, sizeof(o->container), "%s", l->fmt->iformat->name);
    if (l->fmt->duration > 0) o->stated = (double)l->fmt->duration / AV_TIME_BASE;
    return open_decoders(l, url, err);
}

static void close_all(Look *l)
{
    for (int i = 0; i < UPZ_INSPECT_STREAMS; i++) avcodec_free_context(&l->dec[i]);
    avformat_close_input(&l->fmt);
}

/* In MP4 and MOV the index has to come before the pictures and the sound for playing from the web. */
static bool header_first(const char *url)
{
    FILE *f = fopen(url, "rb");
    uint8_t b[16];
    bool first = false;
    for (int k = 0; f && k < 64 && fread(b, 1, 8, f) == 8; k++) {
        uint64_t size = (uint64_t)b[0] << 24 | (uint64_t)b[1] << 16 | (uint64_t)b[2] << 8 | b[3], head = 8;
        if (size == 1 && fread(b + 8, 1, 8, f) == 8) {
            size = 0;
            head = 16;
            for (int i = 8; i < 16; i++) size = size << 8 | b[i];
        }
        first = !memcmp(b + 4, "moov", 4);
        if (first || !memcmp(b + 4, "mdat", 4) || size < head) break;
        if (fseeko(f, (off_t)(size - head), SEEK_CUR)) break;
    }
    if (f) fclose(f);
    return first;
}

int upz_inspect(UpzInspection *out, UprezContext *ctx, const char *url, const UpzInspectParams *params,
                UprezError *err)
{
    (void)ctx;
    *out = (UpzInspection){.video = -1};
    Look l = {.o = out, .params = params, .watch.asked = params->cancel,
              .frame = av_frame_alloc()};
    if (!l.frame) return upz_fail_memory(err, sizeof(*l.frame), "a frame");
    UpzSurvey *survey = NULL;
    int r = upz_survey_create(&survey, url, NULL, -1, NULL, NULL, &l.watch, err);
    if (r >= 0) upz_survey_damaged(survey, out->damage, sizeof(out->damage));
    upz_survey_free(&survey);
    if (r >= 0) r = open_all(&l, url, err);
    if (r >= 0 && !l.begun && find_origin(&l) >= 0) { /* from the beginning again */
        const double origin = out->origin;
        close_all(&l);
        r = open_all(&l, url, err);
        out->origin = origin;
        l.begun = true;
    }
    l.begun = true;
    out->header_first = strstr(out->container, "mp4") && header_first(url);
    if (r >= 0) r = read_all(&l, err);
    close_all(&l);
    av_frame_free(&l.frame);
    upz_free(l.luma);
    upz_free(l.before);
    return r;
}

int upz_inspect_length(double *seconds, UprezContext *ctx, const char *url, UprezError *err)
{
    (void)ctx;
    AVFormatContext *fmt = NULL;
    *seconds = 0;
    int r = upz_input_open(&fmt, url, NULL, NULL, err);
    if (r >= 0) r = upz_input_video(fmt, url, err);
    if (r >= 0 && !upz_input_is_still(fmt, r) && fmt->duration > 0) *seconds = (double)fmt->duration / AV_TIME_BASE;
    avformat_close_input(&fmt);
    return r < 0 ? r : 0;
}

void upz_inspection_free(UpzInspection *o)
{
    for (int i = 0; i < UPZ_INSPECT_STREAMS; i++) upz_free(o->stream[i].loudness);
    upz_free(o->frame);
    *o = (UpzInspection){.video = -1};
}
