#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/pixdesc.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "compat.h"
#include "input.h"
#include "messages.h"
#include "mux.h"
#include "palette.h"
#include "theora.h"

#define PIPE_ROOM 65536
#define PIPE_MS 100

struct UpzSink {
    const UpzEncoderPlan *plan;
    UpzEncoderPlan spool; /* what plan is when the palette is yet to be chosen */
    char *path;
    bool pipe;
    int fd;           /* standard output, not blocking; -1 = as it is */
    UpzWatch *watch;  /* of a pipe */
    AVCodecContext *enc;
    AVFormatContext *fmt;
    AVPacket *packet;
    UpzMessages *messages; /* NULL: the encoder's stream holds none */
    UpzSinkResult result;
    int64_t first_codec_pts, last_codec_pts; /* sent */
    int64_t last_dts;                        /* come out */
    bool header;
};

/* A closed pipe must be an error of this stream, not the end of the process. */
typedef struct Mask {
    sigset_t old;
    bool was_pending;
} Mask;

static void hold_sigpipe(Mask *m)
{
    sigset_t pipe, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    m->was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &m->old);
}

static void release_sigpipe(const Mask *m)
{
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!m->was_pending)
        while (sigtimedwait(&pipe, NULL, &(struct timespec){0}) < 0 && errno == EINTR) {}
    pthread_sigmask(SIG_SETMASK, &m->old, NULL);
}

static int failed(const UpzSink *s, int r, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "writing");
    if (r == AVERROR_EXIT && upz_watch_ended(s->watch))
        return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while writing");
    if (r == AVERROR(EPIPE))
        return upz_fail(err, UPREZ_ERR_OUTPUT, "the program reading %s has gone away",
                        s->pipe ? "standard output" : s->path);
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s%s",
                    s->pipe ? "standard output" : s->path, upz_av_error(r, why),
                    r == AVERROR(ENOSPC) ? "; free some space and run the same command again" : "");
}

/* A reader that does not read must not hold the run for ever. */
static int write_pipe(void *opaque, UpzAvBytes *bytes, int n)
{
    UpzSink *s = opaque;
    bool blocks = s->fd < 0; /* a terminal, a socket: what it has room for is not known */
    struct pollfd p = {.fd = blocks ? STDOUT_FILENO : s->fd, .events = POLLOUT};
    for (int done = 0; done < n;) {
        if (upz_watch_ended(s->watch)) return AVERROR_EXIT;
        if (poll(&p, 1, PIPE_MS) <= 0) continue;
        ssize_t w = write(p.fd, bytes + done, (size_t)(blocks ? UPZ_MIN(n - done, 4096) : n - done));
        if (w < 0 && errno != EAGAIN && errno != EINTR) return AVERROR(errno);
        done += (int)UPZ_MAX(w, 0);
        upz_watch_beat(s->watch);
    }
    return n;
}

static int open_pipe(UpzSink *s)
{
    uint8_t *room = av_malloc(PIPE_ROOM);
    s->fmt->pb = room ? avio_alloc_context(room, PIPE_ROOM, 1, s, NULL, write_pipe, NULL) : NULL;
    if (s->fmt->pb) return 0;
    av_free(room);
    return AVERROR(ENOMEM);
}

/* An AVERROR when what was left could not be written. */
static int close_file(UpzSink *s)
{
    if (!s->pipe || !s->fmt->pb) return avio_closep(&s->fmt->pb);
    avio_flush(s->fmt->pb);
    int r = s->fmt->pb->error;
    av_freep(&s->fmt->pb->buffer);
    avio_context_free(&s->fmt->pb);
    return r;
}

static int open_file(UpzSink *s, UprezError *err)
{
    const UpzEncoderPlan *p = s->plan;
    const char *muxer = p->y4m ? "yuv4mpegpipe" : p->segment;
    int r = avformat_alloc_output_context2(&s->fmt, NULL, muxer, NULL);
    AVStream *st = r >= 0 ? avformat_new_stream(s->fmt, NULL) : NULL;
    if (r >= 0 && !st) r = AVERROR(ENOMEM);
    if (r >= 0) r = avcodec_parameters_from_context(st->codecpar, s->enc);
    if (r < 0) return failed(s, r, err);
    st->codecpar->codec_tag = upz_segment_tag(s->fmt->oformat, st->codecpar);
    st->time_base = s->enc->time_base;
    st->avg_frame_rate = s->enc->framerate;
    st->sample_aspect_ratio = p->sar;
    s->fmt->flags |= AVFMT_FLAG_BITEXACT;
    s->fmt->strict_std_compliance = FF_COMPLIANCE_UNOFFICIAL; /* more than 8 bits in y4m */
    char *name = av_asprintf("file:%s", s->path);
    r = !name ? AVERROR(ENOMEM) : s->pipe ? open_pipe(s) : avio_open(&s->fmt->pb, name, AVIO_FLAG_WRITE);
    av_free(name);
    if (r >= 0) r = avformat_write_header(s->fmt, NULL);
    if (r < 0) return failed(s, r, err);
    s->header = true;
    return 0;
}

int upz_sink_open(UpzSink **out, const UpzEncoderPlan *plan, const char *path, UpzWatch *watch,
                  UprezError *err)
{
    *out = NULL;
    UpzSink *s = upz_calloc(1, sizeof(*s));
    if (!s) return upz_fail_memory(err, sizeof(*s), "the output");
    if (plan->palette) s->spool = upz_palette_spool(plan);
    s->plan = plan = plan->palette ? &s->spool : plan;
    s->pipe = !strcmp(path, "-");
    s->fd = s->pipe ? upz_unblocked(STDOUT_FILENO, true) : -1;
    s->watch = s->pipe ? watch : NULL;
    s->path = upz_strdup(path);
    s->packet = av_packet_alloc();
    s->first_codec_pts = s->last_codec_pts = s->last_dts = AV_NOPTS_VALUE;
    s->result.first = s->result.last = s->result.end = AV_NOPTS_VALUE;
    int r = s->path && s->packet ? upz_encoder_open(&s->enc, plan, err)
                                 : upz_fail_memory(err, strlen(path), "the output");
    if (r >= 0) r = upz_messages_open(&s->messages, s->enc, err);
    Mask m;
    hold_sigpipe(&m);
    if (r >= 0) r = open_file(s, err);
    release_sigpipe(&m);
    if (r < 0) {
        upz_sink_close(&s);
        return r;
    }
    *out = s;
    return 0;
}

/* Decoding times that cannot be: x265 tells memory it never wrote as the first ones of a stream
 * shorter than its B-frame delay. The join counts decoding times anew, so any that the muxer takes
 * do: those before the first frame's. */
static void settle_dts(UpzSink *s, AVPacket *p)
{
    int64_t sent = s->last_codec_pts - s->first_codec_pts;
    bool late = s->last_dts != AV_NOPTS_VALUE && p->dts <= s->last_dts;
    if (p->pts == AV_NOPTS_VALUE || s->plan->y4m) return;
    if (p->dts == AV_NOPTS_VALUE || p->dts > p->pts ||
        p->dts < s->first_codec_pts - sent || late) {
        int64_t early = s->first_codec_pts - 64 + UPZ_MIN(s->result.packets, 64);
        p->dts = late ? UPZ_MAX(early, s->last_dts + 1) : early;
        p->dts = UPZ_MIN(p->dts, p->pts);
    }
    s->last_dts = p->dts;
}

/* Moves what the encoder has ready into the file. */
static int drain(UpzSink *s, UprezError *err)
{
    AVStream *st = s->fmt->streams[0];
    for (;;) {
        int r = avcodec_receive_packet(s->enc, s->packet);
        if (r == AVERROR(EAGAIN) || r == AVERROR_EOF) return 0;
        if (r < 0) {
            char why[UPZ_AV_ERROR];
            return upz_fail(err, UPREZ_ERR_OUTPUT, "%s failed: %s", s->plan->encoder,
                            upz_av_error(r, why));
        }
        if (upz_theora_fill(s->packet, s->enc) < 0 || upz_messages_packet(s->messages, s->packet) < 0)
            return upz_fail_memory(err, 0, "the encoder");
        s->packet->stream_index = 0;
        settle_dts(s, s->packet);
        av_packet_rescale_ts(s->packet, s->enc->time_base, st->time_base);
        s->result.packets++;
        r = av_write_frame(s->fmt, s->packet);
        av_packet_unref(s->packet);
        if (r >= 0 && s->plan->y4m) avio_flush(s->fmt->pb); /* a pipe's reader waits for it */
        if (r >= 0 && s->fmt->pb->error < 0) r = s->fmt->pb->error;
        if (r < 0) return failed(s, r, err);
    }
}

static int encode(UpzSink *s, AVFrame *f, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    int r = avcodec_send_frame(s->enc, f);
    if (r == AVERROR(EAGAIN)) {
        r = drain(s, err);
        if (r < 0) return r;
        r = avcodec_send_frame(s->enc, f);
    }
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "the encoder");
    if (r < 0 && !(r == AVERROR_EOF && !f))
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s refuses a frame: %s", s->plan->encoder,
                        upz_av_error(r, why));
    return drain(s, err);
}

int upz_sink_write(UpzSink *s, AVFrame *frame, UprezError *err)
{
    const UpzEncoderPlan *p = s->plan;
    const char *name = av_get_pix_fmt_name(p->pix_fmt);
    if (name && av_strstart(name, "yuvj", NULL)) frame->format = p->pix_fmt; /* same samples */
    if (frame->width != p->width || frame->height != p->height ||
        frame->format != (int)p->pix_fmt)
        return upz_fail(err, UPREZ_ERR_BUG, "a frame of %dx%d came to an encoder of %dx%d",
                        frame->width, frame->height, p->width, p->height);
    UpzSinkResult *res = &s->result;
    if (res->frames && frame->pts <= res->last)
        return upz_fail(err, UPREZ_ERR_BUG, "frame times do not increase: %lld after %lld",
                        (long long)frame->pts, (long long)res->last);
    int64_t duration = upz_av_duration(frame);
    if (!res->frames) res->first = frame->pts;
    res->last = frame->pts;
    res->end = frame->pts + UPZ_MAX(duration, 1);
    res->frames++;
    upz_av_forget_coding(frame);
    upz_av_set_progressive(frame);
    int64_t keep = frame->pts;
    frame->pts = s->last_codec_pts = upz_encoder_time(p, frame->pts, s->last_codec_pts);
    if (s->first_codec_pts == AV_NOPTS_VALUE) s->first_codec_pts = frame->pts;
    frame->time_base = p->codec_base;
    frame->sample_aspect_ratio = p->sar;
    int r = upz_messages_frame(s->messages, frame, err);
    Mask m;
    hold_sigpipe(&m);
    if (r >= 0) r = encode(s, frame, err);
    release_sigpipe(&m);
    frame->pts = keep;
    return r;
}

static int sync_file(const UpzSink *s, UprezError *err)
{
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -1 : fsync(fd);
    int e = errno;
    if (fd >= 0) close(fd);
    return r < 0 && e != EINVAL ? failed(s, AVERROR(e), err) : 0;
}

int upz_sink_finish(UpzSink *s, UpzSinkResult *result, UprezError *err)
{
    Mask m;
    hold_sigpipe(&m);
    int r = encode(s, NULL, err);
    if (r >= 0) {
        int w = av_write_trailer(s->fmt);
        s->header = false;
        int c = close_file(s);
        if (w < 0 || c < 0) r = failed(s, w < 0 ? w : c, err);
    }
    release_sigpipe(&m);
    if (r >= 0 && !s->pipe) r = sync_file(s, err);
    if (r >= 0 && s->result.packets != s->result.frames)
        r = upz_fail(err, UPREZ_ERR_VERIFY, "%s made %lld pictures of %lld frames in %s",
                     s->plan->encoder, (long long)s->result.packets, (long long)s->result.frames,
                     s->path);
    if (result) *result = s->result;
    return r;
}

void upz_sink_close(UpzSink **ps)
{
    UpzSink *s = *ps;
    if (!s) return;
    *ps = NULL;
    Mask m;
    hold_sigpipe(&m);
    if (s->fmt) {
        if (s->header) av_write_trailer(s->fmt);
        close_file(s);
    }
    release_sigpipe(&m);
    if (s->fd >= 0) close(s->fd);
    avformat_free_context(s->fmt);
    avcodec_free_context(&s->enc);
    upz_messages_close(&s->messages);
    av_packet_free(&s->packet);
    upz_free(s->path);
    upz_free(s);
}
