#include "rehearsal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <libavutil/imgutils.h>
#include <libavutil/mathematics.h>
#include <libavutil/pixdesc.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "check.h"
#include "compat.h"
#include "input.h"
#include "join.h"
#include "mux.h"
#include "scratch.h"
#include "sink.h"

#define LONGEST 5.0           /* s: for the frames, and once more for the times */
#define FRAMES 12             /* of a trial; fewer where they are large */
#define PIXELS (8 << 20)      /* of all frames of a trial, about */
#define ROOM ((size_t)1 << 28) /* bytes: more than one raw frame of this size is not tried */
#define MIDDLE_W 640          /* px: a picture that every encoder codes at once */
#define MIDDLE_H 384
#define TINY 64               /* px: sides of the picture that stands for all in the run of times */
#define BLOCK ((size_t)32 << 20) /* bytes of tiny packets joined at once */
#define BLOCK_SEGMENTS 16
#define FLAT 1                /* the frame of one colour */
#define UNKNOWN_FRAMES 100    /* tried at the nominal rate where times are not known */

/* What a reader finds in a file. */
typedef struct Found {
    int64_t *times; /* AV_TIME_BASE, ascending */
    size_t n, cap;
    int64_t decoded;
    size_t shown;   /* packets that say when they are shown; if some do, all have to */
    bool timed;     /* every packet has a time */
} Found;

typedef struct Trial {
    const UpzRehearsal *r;
    UprezContext *ctx;
    UpzEncoderPlan plan; /* r->encoder's, with times from 0 on */
    int64_t *pts;       /* of r, or nominal ones, less the first */
    int64_t zero;       /* the first */
    size_t n;
    int64_t frame;      /* source time base: what a frame usually takes */
    double worst;       /* s: the largest error of a time that was let pass */
} Trial;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int cancelled(const Trial *t, UprezError *err)
{
    if (!upz_watch_ended(t->r->watch)) return 0;
    return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted before the first frame");
}

/* ---- sentences ---- */

static const char *advice(const UpzEncoderPlan *p)
{
    return strcmp(p->container, "matroska") ? "use .mkv, or another encoder with -c"
                                            : "use another encoder with -c";
}

/* Turns a failure of the sink or the join into a refusal. Their sentences name the scratch file. */
static int refuse(const Trial *t, int r, const UprezError *why, UprezError *err)
{
    if (r == UPREZ_ERR_MEMORY || r == UPREZ_ERR_INTERRUPTED) {
        if (err) *err = *why;
        return r;
    }
    char many[UPZ_AV_ERROR];
    if (strstr(why->text, upz_av_error(AVERROR(EMFILE), many)) || strstr(why->text, "too many files are open"))
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: too many files are open; allow more "
                        "('ulimit -n 256')", t->r->output);
    const char *reason = why->text, *file = strstr(reason, "/proc/self/fd/");
    if (file) {
        const char *colon = strstr(file, ": ");
        const char *is = strstr(file, " is not what was written: "), *was = strstr(file, " was written but ");
        reason = is ? is + 26 : was ? was + 17 : colon ? colon + 2 : "it is not what was written";
    }
    return upz_fail(err, UPREZ_ERR_USAGE, "%s cannot be written: a trial of %s in a .%s file fails "
                    "(%.*s); %s", t->r->output, t->r->encoder->encoder, upz_extension(t->r->output),
                    (int)strcspn(reason, ";"), reason, advice(t->r->encoder));
}

static int refuse_count(const Trial *t, const char *what, int64_t found, int64_t of, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_USAGE, "%s cannot be written: of %lld frames of %s in a .%s file, "
                    "%lld %s in a trial; %s", t->r->output, (long long)of, t->r->encoder->encoder,
                    upz_extension(t->r->output), (long long)found, what, advice(t->r->encoder));
}

static int refuse_time(const Trial *t, size_t i, double found, double wanted, UprezError *err)
{
    const UpzEncoderPlan *p = t->r->encoder;
    if (!strcmp(p->container, "gif"))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s cannot be written: a GIF shows a picture for at "
                        "least 0.02 s, and the times of this video (frame %zu at %.3f s) lie closer; "
                        "use --vf fps=25, or .webm", t->r->output, i, wanted);
    return upz_fail(err, UPREZ_ERR_USAGE, "%s cannot be written: a .%s file with %s does not keep the "
                    "times of this video (frame %zu would be shown at %.3f s instead of %.3f s); use "
                    ".mkv or .mp4, or make the times even with --vf fps=%.4g", t->r->output,
                    upz_extension(t->r->output), p->encoder, i, found, wanted,
                    p->frame_rate.num > 0 ? av_q2d(p->frame_rate) : 25.0);
}

/* ---- reading back ---- */

static int compare_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int note_packet(Found *f, const AVPacket *p, AVRational tb, UprezError *err)
{
    if (!upz_grow(&f->times, &f->cap, f->n + 1, sizeof(*f->times), (size_t)1 << 28))
        return upz_fail_memory(err, f->n * sizeof(*f->times), "the rehearsal");
    int64_t t = p->pts != AV_NOPTS_VALUE ? p->pts : p->dts;
    f->timed &= t != AV_NOPTS_VALUE;
    f->shown += p->pts != AV_NOPTS_VALUE;
    f->times[f->n++] = t == AV_NOPTS_VALUE ? 0 : av_rescale_q(t, tb, AV_TIME_BASE_Q);
    return 0;
}

static int64_t frames_of(AVCodecContext *dec, AVFrame *f)
{
    int64_t n = 0;
    while (avcodec_receive_frame(dec, f) >= 0) {
        n += !f->decode_error_flags && !(f->flags & AV_FRAME_FLAG_CORRUPT);
        av_frame_unref(f);
    }
    return n;
}

/* All packets of a file of one video; and with decode, all its frames. */
static int read_back(Found *found, const Trial *t, const char *path, bool decode, UprezError *err)
{
    *found = (Found){.timed = true};
    AVFormatContext *ic = NULL;
    AVCodecContext *dec = NULL;
    AVPacket *p = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    int r = p && f ? upz_input_open(&ic, path, NULL, t->r->watch, err)
                   : upz_fail_memory(err, sizeof(*p), "the rehearsal");
    int video = r >= 0 ? av_find_best_stream(ic, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0) : -1;
    if (r >= 0 && video < 0) r = upz_fail(err, UPREZ_ERR_INPUT, "no reader finds a video in it");
    if (r >= 0 && decode) r = upz_decoder_open(&dec, ic->streams[video], NULL, 1, err);
    while (r >= 0 && av_read_frame(ic, p) >= 0) {
        if (p->stream_index == video && (p->size || decode)) {
            r = note_packet(found, p, ic->streams[video]->time_base, err);
            if (dec && r >= 0) {
                if (avcodec_send_packet(dec, p) == AVERROR(EAGAIN)) {
                    found->decoded += frames_of(dec, f);
                    avcodec_send_packet(dec, p);
                }
                found->decoded += frames_of(dec, f);
            }
        }
        av_packet_unref(p);
    }
    if (dec && r >= 0 && avcodec_send_packet(dec, NULL) >= 0) found->decoded += frames_of(dec, f);
    if (found->shown && found->shown < found->n) found->timed = false;
    if (found->n) qsort(found->times, found->n, sizeof(*found->times), compare_time);
    if (r >= 0) r = cancelled(t, err); /* then reading has ended early */
    avcodec_free_context(&dec);
    avformat_close_input(&ic);
    av_packet_free(&p);
    av_frame_free(&f);
    return r;
}

/* A time may be off by a quarter of a frame without a word, and by three quarters with one. Seconds
 * after the first-th frame. */
static bool in_time(Trial *t, double is, double wanted)
{
    double frame = (double)t->frame * av_q2d(t->plan.time_base);
    double off = is > wanted ? is - wanted : wanted - is;
    if (off > 0.0011 && off > 0.75 * frame) return false;
    if (off > 0.0011 && off > 0.25 * frame && off > t->worst) t->worst = off;
    return true;
}

/* Frames from the first-th on. */
static int judge_times(Trial *t, const Found *found, size_t first, size_t n, UprezError *err)
{
    if (t->plan.raw || !found->timed) return 0;
    for (size_t i = 0; i < n; i++) {
        double wanted = (double)(t->pts[first + i] - t->pts[first]) * av_q2d(t->plan.time_base);
        double is = (double)(found->times[i] - found->times[0]) / AV_TIME_BASE;
        if (!in_time(t, is, wanted)) return refuse_time(t, first + i, is, wanted, err);
    }
    return 0;
}

/* Where no time is written, every frame is shown for as long as the rate says. */
static int judge_count(Trial *t, UprezError *err)
{
    if (t->plan.frame_rate.num <= 0) return 0;
    for (size_t i = 0; i < t->n; i++) {
        double wanted = (double)t->pts[i] * av_q2d(t->plan.time_base);
        double is = (double)i / av_q2d(t->plan.frame_rate);
        if (in_time(t, is, wanted)) continue;
        if (!t->plan.y4m) return refuse_time(t, i, is, wanted, err);
        upz_warn(t->ctx, "the times of this video are uneven and y4m counts frames: frame %zu comes at "
                 "%.3f s instead of %.3f s; --vf fps=%.4g makes them even", i, is, wanted,
                 av_q2d(t->plan.frame_rate));
        t->worst = 0; /* said */
        break;
    }
    return 0;
}

/* ---- a few frames ---- */

static uint32_t sample_of(const AVPixFmtDescriptor *d, int c, int x, int y, int n)
{
    int depth = d->comp[c].depth;
    unsigned v = ((unsigned)(x * (3 + c) + y * 5 + n * 29) ^ (unsigned)((x >> 3) * (y >> 3) * 7)) & 255;
    if (n == FLAT) v = 128;
    if (d->flags & AV_PIX_FMT_FLAG_FLOAT) {
        float f = (float)v / 255;
        uint32_t bits;
        memcpy(&bits, &f, sizeof(bits));
        return bits;
    }
    return depth >= 8 ? v << (depth - 8) : v >> (8 - depth);
}

/* A moving pattern: the first frame is drawn whole, then one is flat (packed tightly, it is not taken for raw
 * video by a reader that guesses), later ones have a band that wanders. */
static int draw(AVFrame *f, int n, UprezError *err)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get((enum AVPixelFormat)f->format);
    uint32_t *line = upz_calloc((size_t)f->width, sizeof(*line));
    if (!line) return upz_fail_memory(err, (size_t)f->width * sizeof(*line), "the rehearsal");
    bool empty[4] = {false, false, false, false};
    for (int c = 0; c < d->nb_components; c++) {
        bool sub = c == 1 || c == 2;
        int w = AV_CEIL_RSHIFT(f->width, sub ? d->log2_chroma_w : 0);
        int h = AV_CEIL_RSHIFT(f->height, sub ? d->log2_chroma_h : 0), plane = d->comp[c].plane;
        int band = n > FLAT ? UPZ_MAX(h / 16, UPZ_MIN(h, 16)) : h, from = n > FLAT ? n * band % h : 0;
        int end = UPZ_MIN(from + band, h);
        /* samples are added to what is there: a plane is emptied before its first component */
        for (int y = from; y < end && !empty[plane]; y++)
            memset(f->data[plane] + y * (ptrdiff_t)f->linesize[plane], 0,
                   (size_t)f->linesize[plane]);
        empty[plane] = true;
        for (int y = from; y < end; y++) {
            for (int x = 0; x < w; x++) line[x] = sample_of(d, c, x, y, n);
            av_write_image_line2(line, f->data, f->linesize, d, 0, y, c, w, 4);
        }
    }
    if (f->format == AV_PIX_FMT_PAL8)
        for (uint32_t i = 0; i < 256; i++) ((uint32_t *)f->data[1])[i] = 0xFF000000 | i * 0x10301;
    upz_free(line);
    return 0;
}

static int make_frame(AVFrame **out, const UpzEncoderPlan *p, UprezError *err)
{
    AVFrame *f = *out = av_frame_alloc();
    if (f) {
        f->format = p->palette ? av_get_pix_fmt(uprez_format_name(&p->format)) : p->pix_fmt;
        f->width = p->width;
        f->height = p->height;
        f->color_range = p->tags.range == UPREZ_RANGE_FULL ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    }
    if (!f || av_frame_get_buffer(f, 0) < 0)
        return upz_fail_memory(err, (size_t)p->width * (size_t)p->height, "the rehearsal");
    return 0;
}

/* Encodes into a segment. It ends early, but with a frame, when it takes too long. */
static int encode(const Trial *t, const UpzEncoderPlan *p, int frames, const char *path,
                  UpzSinkResult *made, UprezError *err)
{
    UpzSink *sink = NULL;
    AVFrame *f = NULL;
    double start = now();
    int r = make_frame(&f, p, err);
    if (r >= 0) r = upz_sink_open(&sink, p, path, NULL, err);
    for (int i = 0; i < frames && r >= 0; i++) {
        r = cancelled(t, err);
        if (r < 0 || (i && now() - start > LONGEST)) break;
        if (av_frame_make_writable(f) < 0) r = upz_fail_memory(err, 0, "the rehearsal");
        /* one picture comes twice: some encoders leave it out then */
        if (r >= 0 && i != 3) r = draw(f, i, err);
        f->pts = t->pts[i];
        upz_av_set_duration(f, t->frame);
        if (r >= 0) r = upz_sink_write(sink, f, err);
    }
    if (r >= 0) r = upz_sink_finish(sink, made, err);
    upz_sink_close(&sink);
    av_frame_free(&f);
    return r;
}

static int join(const Trial *t, const UpzEncoderPlan *p, const UpzJoinSegment *segments, int n,
                const char *path, UpzJoinResult *result, UprezError *err)
{
    UpzJoinPlan plan = {.n = 1};
    plan.items[0] = (UpzStreamPlan){.source = t->r->info->video_stream, .fate = UPZ_STREAM_VIDEO};
    UpzJoinParams jp = {.segments = segments, .n_segments = n, .output = path,
                        .start = INT64_MIN, .end = INT64_MAX, .info = t->r->info};
    return upz_join(&plan, t->ctx, &jp, p, result, err);
}

/* The judge of the finished file. */
static int check(const Trial *t, const UpzEncoderPlan *p, const UpzJoinResult *written,
                 int64_t frames, const char *path, UprezError *err)
{
    UpzJoinPlan plan = {.n = 1};
    plan.items[0] = (UpzStreamPlan){.source = t->r->info->video_stream, .fate = UPZ_STREAM_VIDEO};
    UpzCheck *c = upz_calloc(1, sizeof(*c));
    if (!c) return upz_fail_memory(err, sizeof(*c), "the rehearsal");
    int r = upz_check_file(c, path, p->container, &plan, t->r->watch, err);
    if (r >= 0) r = upz_check_result(c, &plan, written, p, frames, path, err);
    upz_free(c);
    return r;
}

static int try_frames(Trial *t, const UpzEncoderPlan *p, int frames, UprezError *err)
{
    UpzScratch seg, out = {.fd = -1};
    UprezError why = {0};
    Found found = {0};
    UpzSinkResult made = {0};
    int r = 0;
    frames = (int)UPZ_MIN((size_t)frames, t->n);
    if (upz_scratch_open(&seg) && upz_scratch_open(&out)) {
        r = encode(t, p, frames, seg.path, &made, &why);
        UpzJoinSegment s = {.path = seg.path, .first = made.first, .end = made.end};
        UpzJoinResult written;
        if (r >= 0) r = join(t, p, &s, 1, out.path, &written, &why);
        if (r >= 0) r = read_back(&found, t, out.path, true, &why);
        if (r < 0) r = refuse(t, r, &why, err);
        else if ((int64_t)found.n != made.frames)
            r = refuse_count(t, "are found", (int64_t)found.n, made.frames, err);
        else if (found.decoded != made.frames)
            r = refuse_count(t, "can be decoded", found.decoded, made.frames, err);
        else if ((r = judge_times(t, &found, 0, found.n, err)) >= 0) {
            r = check(t, p, &written, made.frames, out.path, &why);
            if (r < 0) r = refuse(t, r, &why, err);
        }
    }
    upz_free(found.times);
    upz_scratch_close(&seg);
    upz_scratch_close(&out);
    return r;
}

static UpzEncoderPlan smaller(const UpzEncoderPlan *p, int width, int height)
{
    UpzEncoderPlan s = *p;
    s.width = UPZ_MIN(p->width, width);
    s.height = UPZ_MIN(p->height, height);
    return s;
}

static bool opens(const UpzEncoderPlan *p)
{
    AVCodecParameters *par = NULL;
    bool yes = upz_encoder_parameters(&par, p, NULL) >= 0;
    avcodec_parameters_free(&par);
    return yes;
}

/* A large picture is tried only when a smaller one says that there is time for it. */
static int rehearse_frames(Trial *t, UprezError *err)
{
    const UpzEncoderPlan *p = &t->plan;
    int64_t pixels = (int64_t)p->width * p->height;
    int frames = (int)UPZ_MAX(2, UPZ_MIN(FRAMES, PIXELS / UPZ_MAX(pixels, 1)));
    int raw = av_image_get_buffer_size(p->pix_fmt, p->width, p->height, 1);
    UpzEncoderPlan middle = smaller(p, MIDDLE_W, MIDDLE_H);
    double scale = (double)pixels / ((double)middle.width * middle.height);
    int r = 0;
    if (scale > 2 && opens(&middle)) {
        double start = now();
        r = try_frames(t, &middle, FRAMES, err);
        double takes = (now() - start) * scale * frames / FRAMES;
        if (r < 0 || takes > LONGEST || raw < 0 || (size_t)raw * 2 > ROOM) return r;
    }
    return try_frames(t, p, frames, err);
}

/* ---- all times ---- */

typedef struct Tiny {
    UpzEncoderPlan plan;
    AVCodecParameters *par;
    AVPacket *packet[2]; /* the first picture of a segment, and one that stands for all others */
    size_t size;         /* bytes, of the larger one */
} Tiny;

static int make_packets(const Trial *t, Tiny *tiny, UprezError *err)
{
    UpzScratch seg;
    UpzSinkResult made;
    AVFormatContext *ic = NULL;
    int r = UPREZ_AGAIN;
    if (upz_scratch_open(&seg)) {
        r = encode(t, &tiny->plan, 2, seg.path, &made, err);
        if (r >= 0) r = upz_input_open(&ic, seg.path, tiny->plan.segment, t->r->watch, err);
        for (int i = 0; i < 2 && r >= 0; i++) {
            AVPacket *p = tiny->packet[i];
            if (av_read_frame(ic, p) < 0 && (!i || av_packet_ref(p, tiny->packet[0]) < 0))
                r = upz_fail(err, UPREZ_ERR_VERIFY, "the segment of a trial is empty");
            if (r >= 0 && av_packet_make_refcounted(p) < 0)
                r = upz_fail_memory(err, (size_t)p->size, "the rehearsal");
            tiny->size = UPZ_MAX(tiny->size, (size_t)p->size);
        }
    }
    avformat_close_input(&ic);
    upz_scratch_close(&seg);
    return r;
}

/* A segment of n tiny packets with the times a sink would give them. */
static int write_segment(const Tiny *tiny, const char *path, const int64_t *pts, size_t n,
                         UprezError *err)
{
    const UpzEncoderPlan *p = &tiny->plan;
    AVFormatContext *oc = NULL;
    AVPacket *packet = av_packet_alloc();
    int r = packet ? avformat_alloc_output_context2(&oc, NULL, p->segment, NULL) : AVERROR(ENOMEM);
    AVStream *st = r >= 0 ? avformat_new_stream(oc, NULL) : NULL;
    r = st ? avcodec_parameters_copy(st->codecpar, tiny->par) : AVERROR(ENOMEM);
    if (r >= 0) {
        st->codecpar->codec_tag = upz_segment_tag(oc->oformat, tiny->par);
        st->time_base = p->codec_base;
        st->avg_frame_rate = p->frame_rate;
        oc->flags |= AVFMT_FLAG_BITEXACT;
        oc->strict_std_compliance = FF_COMPLIANCE_UNOFFICIAL;
        r = avio_open(&oc->pb, path, AVIO_FLAG_WRITE);
    }
    if (r >= 0) r = avformat_write_header(oc, NULL);
    int64_t last = AV_NOPTS_VALUE;
    for (size_t i = 0; i < n && r >= 0; i++) {
        int64_t at = upz_encoder_time(p, pts[i], last);
        last = at;
        r = av_packet_ref(packet, tiny->packet[i > 0]);
        if (r < 0) break;
        packet->pts = packet->dts = at;
        packet->duration = 0;
        packet->stream_index = 0;
        av_packet_rescale_ts(packet, p->codec_base, st->time_base);
        r = av_write_frame(oc, packet);
        av_packet_unref(packet);
    }
    if (r >= 0) r = av_write_trailer(oc);
    if (oc) avio_closep(&oc->pb);
    avformat_free_context(oc);
    av_packet_free(&packet);
    char why[UPZ_AV_ERROR];
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "the rehearsal");
    return r < 0 ? upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s", path,
                            upz_av_error(r, why)) : 0;
}

/* Where the segment that frame i is in ends: a frame's place. */
static size_t segment_end(const Trial *t, size_t i)
{
    const UpzRehearsal *r = t->r;
    size_t c = 0, most = i + 4096;
    if (t->plan.palette) return t->n; /* a palette makes one of all */
    while (c < r->n_cuts && r->cuts[c] <= t->zero + t->pts[i]) c++;
    size_t e = i + 1;
    while (e < t->n && e < most && (c == r->n_cuts || t->zero + t->pts[e] < r->cuts[c])) e++;
    return e;
}

/* Frames from *first on, as many as fit; *first and *last then say which segments they were. */
static int try_block(Trial *t, const Tiny *tiny, size_t first, size_t *last_begin, size_t *end,
                     UprezError *err)
{
    UpzScratch files[BLOCK_SEGMENTS], out;
    UpzJoinSegment segments[BLOCK_SEGMENTS];
    UprezError why = {0};
    Found found = {0};
    size_t most = UPZ_MAX(BLOCK / UPZ_MAX(tiny->size, 1), 16);
    int n = 0, r = upz_scratch_open(&out) ? 0 : UPREZ_AGAIN;
    *end = first;
    while (n < BLOCK_SEGMENTS && *end < t->n && r >= 0) {
        size_t from = *end, to = UPZ_MIN(segment_end(t, from), first + most);
        if (from >= to) break;
        if (!upz_scratch_open(&files[n++])) {
            r = UPREZ_AGAIN;
            break;
        }
        r = write_segment(tiny, files[n - 1].path, t->pts + from, to - from, &why);
        segments[n - 1] = (UpzJoinSegment){.path = files[n - 1].path, .first = t->pts[from],
                                           .end = t->pts[to - 1] + t->frame};
        *last_begin = from;
        *end = to;
    }
    UpzJoinResult written;
    if (r >= 0) r = join(t, &tiny->plan, segments, n, out.path, &written, &why);
    if (r >= 0) r = read_back(&found, t, out.path, false, &why);
    if (r < 0 && r != UPREZ_AGAIN) r = refuse(t, r, &why, err);
    /* parsers that cut a stream anew may count tiny pictures differently: the frames have shown that
     * all of them are found */
    else if (r >= 0 && found.n == *end - first)
        r = judge_times(t, &found, first, found.n, err);
    upz_free(found.times);
    for (int i = 0; i < n; i++) upz_scratch_close(&files[i]);
    upz_scratch_close(&out);
    return r;
}

static int rehearse_times(Trial *t, UprezError *err)
{
    Tiny tiny = {.plan = smaller(&t->plan, TINY, TINY),
                 .packet = {av_packet_alloc(), av_packet_alloc()}};
    UprezError why = {0};
    double start = now();
    if (!opens(&tiny.plan)) tiny.plan = smaller(&t->plan, MIDDLE_W, MIDDLE_H);
    if (!opens(&tiny.plan)) tiny.plan = t->plan;
    tiny.plan.palette = false; /* its packets are made at once */
    int r = tiny.packet[0] && tiny.packet[1] ? make_packets(t, &tiny, &why)
                                             : upz_fail_memory(&why, 0, "the rehearsal");
    if (r >= 0) r = upz_encoder_parameters(&tiny.par, &tiny.plan, &why);
    bool can = r >= 0; /* what fails with so small a picture says nothing */
    size_t first = 0, end = 0, last = 0;
    if (!can && (r == UPREZ_ERR_MEMORY || r == UPREZ_ERR_INTERRUPTED)) {
        if (err) *err = why;
    } else {
        r = 0;
    }
    while (can && r >= 0 && end < t->n && now() - start < LONGEST) {
        r = cancelled(t, err);
        if (r >= 0) r = try_block(t, &tiny, first, &last, &end, err);
        /* the next block begins with the last segment of this one: their seam counts, too */
        first = last > first ? last : end;
    }
    for (int i = 0; i < 2; i++) av_packet_free(&tiny.packet[i]);
    avcodec_parameters_free(&tiny.par);
    return r == UPREZ_AGAIN ? 0 : r;
}

/* ---- all of it ---- */

/* The usual length of a frame: the middle one of the first steps. */
static int64_t usual_step(const int64_t *pts, size_t n)
{
    int64_t steps[256];
    size_t k = 0;
    for (size_t i = 1; i < n && k < UPZ_COUNT(steps); i++) steps[k++] = pts[i] - pts[i - 1];
    if (!k) return 0;
    qsort(steps, k, sizeof(*steps), compare_time);
    return steps[k / 2];
}

/* Times of packets that become frames: not every packet does. Hidden pictures come just before the
 * one that is shown, and a second field half a frame behind the first. frame: its usual length, 0 =
 * unknown. */
static size_t take_shown(int64_t *to, const UpzRehearsal *r, int64_t frame)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        int64_t t = r->pts[i] - r->pts[0];
        bool field = n && r->info->interlaced && t - to[n - 1] < frame * 3 / 4;
        bool hidden = n && i + 1 < r->n && r->pts[i + 1] - r->pts[i] < frame / 8;
        if (!field && !hidden) to[n++] = t;
    }
    return n;
}

int upz_rehearse(const UpzRehearsal *rehearsal, UprezContext *ctx, UprezError *err)
{
    const UpzEncoderPlan *p = rehearsal->encoder;
    struct rlimit files;
    bool can = getrlimit(RLIMIT_FSIZE, &files) == 0 && files.rlim_cur == RLIM_INFINITY;
    AVRational rate = p->frame_rate.num > 0 ? p->frame_rate : (AVRational){25, 1};
    bool known = rehearsal->pts && rehearsal->n;
    Trial t = {.r = rehearsal, .ctx = ctx, .plan = *p, .n = known ? rehearsal->n : UNKNOWN_FRAMES};
    t.zero = known ? rehearsal->pts[0] : p->origin;
    t.plan.origin -= t.zero;
    t.pts = upz_calloc(t.n, sizeof(*t.pts));
    if (!t.pts) return upz_fail_memory(err, t.n * sizeof(*t.pts), "the rehearsal");
    if (known) {
        t.n = take_shown(t.pts, rehearsal, p->frame_rate.num > 0
                                               ? av_rescale_q(1, av_inv_q(rate), p->time_base) : 0);
    } else {
        for (size_t i = 0; i < t.n; i++)
            t.pts[i] = av_rescale_q((int64_t)i, av_inv_q(rate), p->time_base);
    }
    t.frame = usual_step(t.pts, t.n);
    if (t.frame <= 0) t.frame = UPZ_MAX(av_rescale_q(1, av_inv_q(rate), p->time_base), 1);
    int r = known && (p->raw || p->y4m) ? judge_count(&t, err) : 0;
    if (r >= 0 && can && !p->y4m) r = rehearse_frames(&t, err);
    if (r >= 0 && can && !p->y4m && !p->raw && (known || p->frame_rate.num > 0))
        r = rehearse_times(&t, err);
    if (r >= 0 && t.worst > 0)
        upz_warn(ctx, "the times of frames are rounded by up to %.0f ms: a .%s file counts frames; "
                 ".mkv and .mp4 keep their times", t.worst * 1000, upz_extension(rehearsal->output));
    upz_free(t.pts);
    return r;
}
