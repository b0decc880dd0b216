#include "versions.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <libavutil/avstring.h>

#include "input.h"

void upz_libavcodec_version(char text[UPZ_VERSION_TEXT])
{
    unsigned v = avcodec_version();
    snprintf(text, UPZ_VERSION_TEXT, "%u.%u.%u (%s)", AV_VERSION_MAJOR(v), AV_VERSION_MINOR(v),
             AV_VERSION_MICRO(v), av_version_info());
}

/* Functions without arguments that give a text or a number; a library that is loaded has them in sight. */
static const struct {
    const char *encoder; /* how its name begins */
    const char *text, *number;
} libraries[] = {
    {"libsvtav1", "svt_av1_get_version", NULL},
    {"libaom", "aom_codec_version_str", NULL},
    {"libvpx", "vpx_codec_version_str", NULL},
    {"librav1e", "rav1e_version_full", NULL},
    {"libtheora", "th_version_string", NULL},
    {"libvvenc", "vvenc_get_version", NULL},
    {"libopenjpeg", "opj_version", NULL},
    {"libwebp", NULL, "WebPGetEncoderVersion"},
    {"libjxl", NULL, "JxlEncoderVersion"},
};

static void ask_library(char *text, const char *encoder)
{
    for (int i = 0; i < UPZ_COUNT(libraries); i++) {
        if (!av_strstart(encoder, libraries[i].encoder, NULL)) continue;
        /* ISO C has no conversion from an object's address to a function's */
        union { void *object; const char *(*text)(void); unsigned (*number)(void); } f;
        f.object = dlsym(RTLD_DEFAULT, libraries[i].text ? libraries[i].text : libraries[i].number);
        if (!f.object) return;
        if (libraries[i].text) av_strlcpy(text, f.text(), UPZ_VERSION_TEXT);
        else snprintf(text, UPZ_VERSION_TEXT, "%#x", f.number());
        return;
    }
}

/* The sentence that x264 and x265 write into their streams, without the settings behind it. */
static bool find_sentence(char *text, const uint8_t *data, int size)
{
    static const char *const begins[] = {"x264 - core", "x265 (build"};
    for (int i = 0; i + 16 < size; i++)
        for (int k = 0; k < UPZ_COUNT(begins); k++) {
            if (memcmp(data + i, begins[k], strlen(begins[k]))) continue;
            int n = 0;
            while (n < UPZ_VERSION_TEXT - 1 && i + n < size && data[i + n] >= ' ' && data[i + n] < 127) n++;
            snprintf(text, UPZ_VERSION_TEXT, "%.*s", n, (const char *)data + i);
            char *end = strstr(text, " - H.26");
            if (end) *end = 0;
            return true;
        }
    return false;
}

/* One small black frame. */
static void ask_stream(char *text, const UpzEncoderPlan *plan)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(plan->encoder);
    AVCodecContext *enc = codec ? avcodec_alloc_context3(codec) : NULL;
    AVFrame *f = av_frame_alloc();
    AVPacket *p = av_packet_alloc();
    AVDictionary *options = NULL;
    int r = enc && f && p ? 0 : AVERROR(ENOMEM);
    if (r >= 0) r = av_dict_set(&options, "preset", "ultrafast", 0);
    if (r >= 0 && !strcmp(plan->encoder, "libx265"))
        r = av_dict_set(&options, "x265-params", "log-level=none:pools=none:frame-threads=1", 0);
    if (r >= 0) {
        f->width = enc->width = f->height = enc->height = 64;
        f->format = enc->pix_fmt = plan->pix_fmt;
        enc->time_base = (AVRational){1, 25};
        enc->thread_count = 1;
        r = avcodec_open2(enc, codec, &options);
    }
    if (r >= 0) r = av_frame_get_buffer(f, 0);
    for (int i = 0; r >= 0 && i < AV_NUM_DATA_POINTERS && f->buf[i]; i++)
        memset(f->buf[i]->data, 0, f->buf[i]->size);
    if (r >= 0) f->pts = 0;
    if (r >= 0) r = avcodec_send_frame(enc, f);
    if (r >= 0) r = avcodec_send_frame(enc, NULL);
    while (r >= 0 && avcodec_receive_packet(enc, p) >= 0) {
        if (find_sentence(text, p->data, p->size)) r = AVERROR_EOF;
        av_packet_unref(p);
    }
    av_dict_free(&options);
    av_packet_free(&p);
    av_frame_free(&f);
    avcodec_free_context(&enc);
}

void upz_encoder_version(char text[UPZ_VERSION_TEXT], const UpzEncoderPlan *plan)
{
    *text = 0;
    upz_av_quiet();
    if (av_strstart(plan->encoder, "libx26", NULL)) ask_stream(text, plan);
    else ask_library(text, plan->encoder);
}
