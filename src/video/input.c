#include "input.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <libavutil/avstring.h>
#include <libavutil/hwcontext.h>
#include <libavutil/log.h>
#include <libavutil/parseutils.h>

#include "base/alloc.h"
#include "base/file.h"

const char *upz_av_error(int r, char buf[UPZ_AV_ERROR])
{
    if (av_strerror(r, buf, UPZ_AV_ERROR) < 0) snprintf(buf, UPZ_AV_ERROR, "error %d", r);
    return buf;
}

void upz_av_quiet(void)
{
    if (av_log_get_level() == AV_LOG_INFO) av_log_set_level(AV_LOG_QUIET);
}

static int interrupted(void *watch) { return upz_watch_ended(watch); }

AVIOInterruptCB upz_input_interrupt(UpzWatch *watch)
{
    return (AVIOInterruptCB){.callback = watch ? interrupted : NULL, .opaque = watch};
}

static int open_error(int r, const char *url, bool pipe, UpzWatch *watch, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "opening the input");
    if (r == AVERROR_EXIT || upz_watch_ended(watch))
        return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while opening %s", url);
    if (r == AVERROR(EMFILE) || r == AVERROR(ENFILE)) /* nothing is wrong with the file */
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be opened: too many files are open; allow more "
                        "('ulimit -n 256')", url);
    if (pipe)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s is no YUV4MPEG2 stream; make one with "
                        "'ffmpeg -i FILE -f yuv4mpegpipe -'", url);
    return upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be opened: %s", url, upz_av_error(r, why));
}

bool upz_picture_name(const char *path)
{
    const AVOutputFormat *of = av_guess_format("image2", NULL, NULL);
    const char *ext = upz_extension(path);
    if (!of || !*ext) return false;
    enum AVCodecID id = av_guess_codec(of, NULL, path, NULL, AVMEDIA_TYPE_VIDEO);
    /* what the muxer says about names that it does not know */
    if (id == of->video_codec)
        return !av_strcasecmp(ext, "jpg") || !av_strcasecmp(ext, "jpeg") || !av_strcasecmp(ext, "jpe");
    return id != AV_CODEC_ID_NONE && id != AV_CODEC_ID_RAWVIDEO;
}

int upz_rate_text(char *to, size_t size, const char *text)
{
    AVRational q;
    char *end;
    double v = strtod(text, &end);
    if (end == text || (*end && *end != '/') || av_parse_video_rate(&q, text) < 0) return -1;
    v = av_q2d(q);
    if (!(v >= 0.001 && v <= 1000)) return -1;
    /* 23.976 is short for 24000/1001 */
    double whole = round(v * 1.001), film = whole / 1.001;
    if (q.den != 1 && q.den != 1001 && fabs(v - film) < 0.001 && fabs(v - round(v)) > 0.01)
        q = (AVRational){(int)whole * 1000, 1001};
    snprintf(to, size, "%d/%d", q.num, q.den);
    return 0;
}

/* "NAME" or "NAME:OPTION=VALUE:…"; NULL: any. */
static bool find_demuxer(const AVInputFormat **demuxer, AVDictionary **options, const char *format)
{
    char name[64];
    *demuxer = NULL;
    if (!format) return true;
    size_t n = strcspn(format, ":");
    snprintf(name, sizeof(name), "%.*s", (int)n, format);
    *demuxer = av_find_input_format(name);
    return *demuxer && (!format[n] || av_dict_parse_string(options, format + n + 1, "=", ":", 0) >= 0);
}

int upz_input_open_at(AVFormatContext **out, const char *url, const char *format, int64_t byte,
                      UpzWatch *watch, UprezError *err)
{
    *out = NULL;
    upz_av_quiet();
    bool pipe = upz_is_pipe(url), standard = !strcmp(url, "-");
    if (pipe && !format) format = "yuv4mpegpipe";
    AVDictionary *options = NULL;
    const AVInputFormat *demuxer;
    if (!find_demuxer(&demuxer, &options, format)) {
        av_dict_free(&options);
        return upz_fail(err, UPREZ_ERR_USAGE, "FFmpeg has no demuxer named '%s'", format);
    }
    if (!pipe && upz_is_dir(url)) {
        av_dict_free(&options);
        return upz_fail(err, UPREZ_ERR_INPUT, "%s is a folder, not a video", url);
    }

    AVFormatContext *fmt = avformat_alloc_context();
    bool file = !pipe && upz_exists(url);
    char *name = standard ? av_strdup("pipe:0") : file ? av_asprintf("file:%s", url) : av_strdup(url);
    int r = fmt && name ? 0 : AVERROR(ENOMEM);
    /* "shot%03d.png" that exists is one picture, not a pattern */
    if (r >= 0 && file) r = av_dict_set(&options, "pattern_type", "none", 0);
    if (r >= 0) {
        fmt->interrupt_callback = upz_input_interrupt(watch);
        upz_watch_enter(watch, UPZ_STAGE_SOURCE);
        r = avformat_open_input(&fmt, name, demuxer, &options); /* frees fmt on failure */
        if (r >= 0 && byte > 0) r = av_seek_frame(fmt, -1, byte, AVSEEK_FLAG_BYTE);
        if (r >= 0) r = avformat_find_stream_info(fmt, NULL);
        upz_watch_leave(watch, UPZ_STAGE_SOURCE);
    }
    av_free(name);
    av_dict_free(&options);
    if (r < 0) {
        avformat_close_input(&fmt);
        return open_error(r, standard ? "standard input" : url, pipe, watch, err);
    }
    *out = fmt;
    return 0;
}

int upz_input_open(AVFormatContext **out, const char *url, const char *format,
                   UpzWatch *watch, UprezError *err)
{
    return upz_input_open_at(out, url, format, 0, watch, err);
}

/* An icon file has one picture in several sizes. */
static int largest_icon(const AVFormatContext *fmt)
{
    int best = 0;
    int64_t most = -1;
    for (unsigned i = 0; i < fmt->nb_streams; i++) {
        const AVCodecParameters *p = fmt->streams[i]->codecpar;
        int64_t size = (int64_t)p->width * p->height;
        if (size > most) most = size, best = (int)i;
    }
    return best;
}

int upz_input_video(AVFormatContext *fmt, const char *url, UprezError *err)
{
    const AVCodec *codec = NULL;
    if (!strcmp(fmt->iformat->name, "ico")) return largest_icon(fmt);
    int best = av_find_best_stream(fmt, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (best >= 0 && codec &&
        !(fmt->streams[best]->disposition & (AV_DISPOSITION_ATTACHED_PIC |
                                             AV_DISPOSITION_TIMED_THUMBNAILS)))
        return best;
    const char *undecodable = NULL;
    bool cover = false;
    for (unsigned i = 0; i < fmt->nb_streams; i++) {
        const AVStream *st = fmt->streams[i];
        if (st->codecpar->codec_type != AVMEDIA_TYPE_VIDEO) continue;
        if (st->disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS)) {
            cover = true;
            continue;
        }
        if (avcodec_find_decoder(st->codecpar->codec_id)) return (int)i;
        undecodable = avcodec_get_name(st->codecpar->codec_id);
    }
    if (undecodable)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s: this FFmpeg has no decoder for its video (%s)",
                        url, undecodable);
    return upz_fail(err, UPREZ_ERR_INPUT, "%s has no video stream%s", url,
                    cover ? ", only cover art" : "");
}

bool upz_input_is_y4m(const AVFormatContext *in)
{
    return !strcmp(in->iformat->name, "yuv4mpegpipe");
}

bool upz_input_is_still(const AVFormatContext *fmt, int stream)
{
    const char *name = fmt->iformat->name;
    size_t n = strlen(name);
    if (!strcmp(name, "image2"))
        return stream < 0 || (unsigned)stream >= fmt->nb_streams ||
               fmt->streams[stream]->duration <= 1;
    if (!strcmp(name, "ico")) return fmt->nb_streams > 0;
    return n > 5 && !strcmp(name + n - 5, "_pipe");
}

bool upz_stream_has_alpha(const AVStream *st)
{
    enum AVCodecID id = st->codecpar->codec_id;
    if (id != AV_CODEC_ID_VP8 && id != AV_CODEC_ID_VP9) return false;
    const AVDictionaryEntry *e = av_dict_get(st->metadata, "alpha_mode", NULL, 0);
    return e && !strcmp(e->value, "1");
}

static enum AVPixelFormat choose_hw(AVCodecContext *dec, const enum AVPixelFormat *list)
{
    const AVHWDeviceContext *device = (const AVHWDeviceContext *)dec->hw_device_ctx->data;
    for (int i = 0;; i++) {
        const AVCodecHWConfig *c = avcodec_get_hw_config(dec->codec, i);
        if (!c) break;
        if (!(c->methods & AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX) ||
            c->device_type != device->type)
            continue;
        for (const enum AVPixelFormat *p = list; *p != AV_PIX_FMT_NONE; p++)
            if (*p == c->pix_fmt) return *p;
    }
    return avcodec_default_get_format(dec, list); /* this profile only in software */
}

static int use_hardware(AVCodecContext *dec, const char *name, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    enum AVHWDeviceType type = av_hwdevice_find_type_by_name(name);
    if (type == AV_HWDEVICE_TYPE_NONE)
        return upz_fail(err, UPREZ_ERR_DEVICE, "this FFmpeg has no hardware decoding named '%s'; "
                        "leave --hwaccel out", name);
    const AVCodecHWConfig *c = NULL;
    for (int i = 0; (c = avcodec_get_hw_config(dec->codec, i)); i++)
        if (c->device_type == type && c->methods & AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX) break;
    if (!c)
        return upz_fail(err, UPREZ_ERR_DEVICE, "%s cannot decode %s; leave --hwaccel out", name,
                        dec->codec->name);
    int r = av_hwdevice_ctx_create(&dec->hw_device_ctx, type, NULL, NULL, 0);
    if (r < 0)
        return upz_fail(err, UPREZ_ERR_DEVICE, "no %s device can be opened: %s; leave --hwaccel "
                        "out", name, upz_av_error(r, why));
    dec->get_format = choose_hw;
    return 0;
}

int upz_decoder_open(AVCodecContext **out, const AVStream *st, const char *hwaccel, int threads,
                     UprezError *err)
{
    *out = NULL;
    char why[UPZ_AV_ERROR];
    const AVCodec *codec = NULL;
    /* FFmpeg's own decoders leave the alpha picture out */
    if (upz_stream_has_alpha(st))
        codec = avcodec_find_decoder_by_name(st->codecpar->codec_id == AV_CODEC_ID_VP8
                                                 ? "libvpx" : "libvpx-vp9");
    if (!codec) codec = avcodec_find_decoder(st->codecpar->codec_id);
    if (!codec)
        return upz_fail(err, UPREZ_ERR_INPUT, "this FFmpeg has no decoder for %s",
                        avcodec_get_name(st->codecpar->codec_id));
    AVCodecContext *dec = avcodec_alloc_context3(codec);
    if (!dec || avcodec_parameters_to_context(dec, st->codecpar) < 0) {
        avcodec_free_context(&dec);
        return upz_fail_memory(err, sizeof(*dec), "the decoder");
    }
    dec->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT; /* flagged as such; the source decides */
    dec->pkt_timebase = st->time_base;
    dec->framerate = st->avg_frame_rate;
    dec->thread_count = threads > 0 ? threads : UPZ_MIN(upz_cpu_count(), 8);
    if (hwaccel) {
        /* the names that differ from command-line habit */
        int r = use_hardware(dec, !av_strcasecmp(hwaccel, "nvdec") ? "cuda" : hwaccel, err);
        if (r < 0) {
            avcodec_free_context(&dec);
            return r;
        }
    }
    int r = avcodec_open2(dec, codec, NULL);
    if (r < 0) {
        avcodec_free_context(&dec);
        if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "the decoder");
        return upz_fail(err, UPREZ_ERR_INPUT, "the decoder %s does not start: %s", codec->name,
                        upz_av_error(r, why));
    }
    *out = dec;
    return 0;
}
