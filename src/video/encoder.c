#include "encoder.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <libavutil/avstring.h>
#include <libavutil/imgutils.h>
#include <libavutil/mathematics.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/integer.h"
#include "compat.h"
#include "input.h"
#include "palette.h"
#include "picture/convert.h"
#include "still.h"

#define H264_MAX_MBS 139264 /* level 6.2 */
#define BROWSER_W 4096
#define BROWSER_H 2304

/* ---- which container, which encoder ---- */

int upz_container_find(const char **name, const char *output, UprezError *err)
{
    const char *ext = upz_extension(output);
    *name = NULL;
    if (!strcmp(output, "-") || !av_strcasecmp(ext, "y4m")) {
        *name = "yuv4mpegpipe";
        return 0;
    }
    if (!*ext)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s has no extension to tell the container by; add "
                        ".mp4, .mkv, .mov or .webm", output);
    if (upz_still_can_write(output))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is a picture's name but the input is a video; "
                        "use .mp4, .mkv, .mov or .webm", output);
    /* libav takes .m4v for a raw MPEG-4 stream, people for MP4 */
    const AVOutputFormat *of = !av_strcasecmp(ext, "m4v") ? av_guess_format("mp4", NULL, NULL)
                                                         : av_guess_format(NULL, output, NULL);
    if (!of || of->flags & AVFMT_NOFILE || of->video_codec == AV_CODEC_ID_NONE ||
        of->video_codec == AV_CODEC_ID_PNG || of->video_codec == AV_CODEC_ID_APNG)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: FFmpeg writes no video into files named .%s; "
                        "use .mp4, .mkv, .mov or .webm", output, ext);
    *name = of->name;
    return 0;
}

bool upz_container_moves(const char *output)
{
    const char *name;
    return upz_container_find(&name, output, NULL) >= 0 && strcmp(name, "avif");
}

static bool is_mov(const char *container)
{
    return !strcmp(container, "mp4") || !strcmp(container, "mov") || !strcmp(container, "ipod");
}

static bool holds(const AVOutputFormat *of, enum AVCodecID id)
{
    int r = avformat_query_codec(of, id, FF_COMPLIANCE_NORMAL);
    if (r >= 0) return r == 1;
    return !strcmp(of->name, "mpegts") && (id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC);
}

static const char *const h264_encoders[] = {"libx264", "libopenh264", NULL};
static const char *const hevc_encoders[] = {"libx265", NULL};
static const char *const vp9_encoders[] = {"libvpx-vp9", NULL};

/* The encoder of our choice for a codec, or libav's. */
static const AVCodec *encoder_for(enum AVCodecID id)
{
    const char *const *list = id == AV_CODEC_ID_H264   ? h264_encoders
                              : id == AV_CODEC_ID_HEVC ? hevc_encoders
                              : id == AV_CODEC_ID_VP9  ? vp9_encoders
                                                       : NULL;
    for (; list && *list; list++) {
        const AVCodec *c = avcodec_find_encoder_by_name(*list);
        if (c) return c;
    }
    return avcodec_find_encoder(id);
}

static const AVCodec *default_encoder(const AVOutputFormat *of, int depth, bool too_big)
{
    const AVCodec *c = NULL;
    if (!strcmp(of->name, "webm")) return encoder_for(AV_CODEC_ID_VP9);
    if (depth > 8 || too_big)
        if (holds(of, AV_CODEC_ID_HEVC) && (c = encoder_for(AV_CODEC_ID_HEVC))) return c;
    if (holds(of, AV_CODEC_ID_H264) && (c = encoder_for(AV_CODEC_ID_H264))) return c;
    return encoder_for(of->video_codec);
}

/* ---- pixel format ---- */

static bool in_list(const enum AVPixelFormat *list, enum AVPixelFormat f)
{
    if (!list) return true;
    for (; *list != AV_PIX_FMT_NONE; list++)
        if (*list == f) return true;
    return false;
}

/* yuvjXXXp is yuvXXXp in full range. */
static enum AVPixelFormat without_j(enum AVPixelFormat f)
{
    char name[32];
    snprintf(name, sizeof(name), "%s", av_get_pix_fmt_name(f) ? av_get_pix_fmt_name(f) : "");
    if (strncmp(name, "yuvj", 4)) return f;
    memmove(name + 3, name + 4, strlen(name + 4) + 1);
    return av_get_pix_fmt(name);
}

static bool ours(UprezFormat *format, enum AVPixelFormat f)
{
    const char *name = av_get_pix_fmt_name(without_j(f));
    return name && uprez_format_from_name(format, name) >= 0;
}

static int depth_of(enum AVPixelFormat f)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f);
    return d ? d->comp[0].depth : 8;
}

static bool delivers_420(enum AVCodecID id)
{
    return id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC || id == AV_CODEC_ID_VP8 ||
           id == AV_CODEC_ID_VP9 || id == AV_CODEC_ID_AV1 || id == AV_CODEC_ID_MPEG1VIDEO ||
           id == AV_CODEC_ID_MPEG2VIDEO || id == AV_CODEC_ID_MPEG4 || id == AV_CODEC_ID_THEORA;
}

static const enum AVPixelFormat plain_420[] = {AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV420P10LE,
                                               AV_PIX_FMT_YUV420P12LE};

/* For delivery 4:2:0 with the source's depth; for anything else the nearest to the source. */
static enum AVPixelFormat choose_pix_fmt(const AVCodec *codec, enum AVPixelFormat src, bool alpha)
{
    const enum AVPixelFormat *list = upz_av_pix_fmts(codec);
    UprezFormat format;
    int depth = depth_of(src);
    if (delivers_420(codec->id)) {
        if (alpha && depth <= 8 && list && in_list(list, AV_PIX_FMT_YUVA420P))
            return AV_PIX_FMT_YUVA420P;
        for (int i = depth > 10 ? 2 : depth > 8; i >= 0; i--)
            if (in_list(list, plain_420[i])) return plain_420[i];
    }
    enum AVPixelFormat usable[128];
    int n = 0;
    for (const enum AVPixelFormat *p = list; p && *p != AV_PIX_FMT_NONE && n < 127; p++)
        if (ours(&format, *p)) usable[n++] = *p;
    usable[n] = AV_PIX_FMT_NONE;
    if (!list) return ours(&format, src) ? src : AV_PIX_FMT_YUV420P;
    return n ? avcodec_find_best_pix_fmt_of_list(usable, src, alpha, NULL) : AV_PIX_FMT_NONE;
}

static int given_pix_fmt(enum AVPixelFormat *out, UprezFormat *format, const AVCodec *codec,
                         const char *name, UprezError *err)
{
    enum AVPixelFormat f = av_get_pix_fmt(name);
    if (f == AV_PIX_FMT_NONE)
        return upz_fail(err, UPREZ_ERR_USAGE, "FFmpeg knows no pixel format '%s'; "
                        "'ffmpeg -pix_fmts' lists them", name);
    const enum AVPixelFormat *list = upz_av_pix_fmts(codec);
    if (in_list(list, f) && ours(format, f)) {
        *out = f;
        return 0;
    }
    char names[512] = "";
    for (; list && *list != AV_PIX_FMT_NONE; list++)
        if (ours(format, *list)) av_strlcatf(names, sizeof(names), " %s", av_get_pix_fmt_name(*list));
    return upz_fail(err, UPREZ_ERR_USAGE, "%s does not take pixel format %s; it takes%s",
                    codec->name, name, names);
}

/* ---- options ---- */

/* Defaults by encoder: the name ends the row's reach, "*" at its front matches any beginning. */
static const struct {
    const char *encoder, *crf; /* crf: the option --crf sets */
    const char *defaults;
} tuned[] = {
    {"libx264", "crf", "crf=17:x264-params=cpu-independent=1\\:stitchable=1"},
    {"libx264rgb", "crf", "crf=17:x264-params=cpu-independent=1\\:stitchable=1"},
    {"libx265", "crf", "crf=17"},
    {"libvpx-vp9", "crf", "crf=24:b=0:deadline=good:cpu-used=2:row-mt=1:lag-in-frames=25"},
    {"libvpx", "crf", "crf=10:b=50M:deadline=good:cpu-used=2"},
    {"libaom-av1", "crf", "crf=20:b=0:cpu-used=5:row-mt=1"},
    {"libsvtav1", "crf", "crf=22:preset=6"},
    {"ffv1", NULL, "level=3:slices=4:slicecrc=1"},
    {"mpeg1video", NULL, "flags=+qscale:global_quality=236"},
    {"mpeg2video", NULL, "flags=+qscale:global_quality=236"},
    {"mpeg4", NULL, "flags=+qscale:global_quality=236"},
    {"mjpeg", NULL, "flags=+qscale:global_quality=236"},
    {"libtheora", NULL, "flags=+qscale:global_quality=1180"},
    {"*_nvenc", "cq", "cq=19:b=0"},
    {"*_qsv", "global_quality", "global_quality=19"},
    {"*_vaapi", "qp", "qp=19"},
};

static int tuned_row(const char *encoder)
{
    for (int i = 0; i < UPZ_COUNT(tuned); i++) {
        const char *n = tuned[i].encoder;
        size_t len = strlen(encoder), tail = strlen(n + 1);
        if (*n == '*' ? len > tail && !strcmp(encoder + len - tail, n + 1) : !strcmp(encoder, n))
            return i;
    }
    return -1;
}

/* Appends "k=v:k=v" to what the key has. */
static int append(AVDictionary **d, const char *key, const char *more)
{
    const AVDictionaryEntry *e = av_dict_get(*d, key, NULL, 0);
    if (!e || !*e->value) return av_dict_set(d, key, more, 0);
    char *s = av_asprintf("%s:%s", e->value, more);
    return s ? av_dict_set(d, key, s, AV_DICT_DONT_STRDUP_VAL) : AVERROR(ENOMEM);
}

static long scaled(AVRational q, int unit)
{
    return q.den ? lrint(av_q2d(q) * unit) : 0;
}

/* HDR10's static metadata as x264 and x265 spell it. */
static int hdr_params(AVDictionary **d, const UpzEncoderPlan *p)
{
    bool x265 = !strcmp(p->encoder, "libx265"), x264 = !strcmp(p->encoder, "libx264");
    char s[256];
    int r = 0;
    const AVMasteringDisplayMetadata *m = &p->mastering;
    if ((x264 || x265) && p->has_mastering && m->has_primaries && m->has_luminance) {
        snprintf(s, sizeof(s), "%s=G(%ld,%ld)B(%ld,%ld)R(%ld,%ld)WP(%ld,%ld)L(%ld,%ld)",
                 x265 ? "master-display" : "mastering-display",
                 scaled(m->display_primaries[1][0], 50000), scaled(m->display_primaries[1][1], 50000),
                 scaled(m->display_primaries[2][0], 50000), scaled(m->display_primaries[2][1], 50000),
                 scaled(m->display_primaries[0][0], 50000), scaled(m->display_primaries[0][1], 50000),
                 scaled(m->white_point[0], 50000), scaled(m->white_point[1], 50000),
                 scaled(m->max_luminance, 10000), scaled(m->min_luminance, 10000));
        r = append(d, x265 ? "x265-params" : "x264-params", s);
    }
    if (r >= 0 && (x264 || x265) && p->has_light) {
        snprintf(s, sizeof(s), "%s=%u,%u", x265 ? "max-cll" : "cll", p->light.MaxCLL,
                 p->light.MaxFALL);
        r = append(d, x265 ? "x265-params" : "x264-params", s);
    }
    return r;
}

/* One "key=value" of the user's. Parameter strings of x264 and x265 come on top of ours. */
static int user_option(AVDictionary **d, const char *option, UprezError *err)
{
    const char *eq = strchr(option, '=');
    if (!eq || eq == option)
        return upz_fail(err, UPREZ_ERR_USAGE, "-e %s: write it as key=value", option);
    char *key = av_strndup(option, (size_t)(eq - option));
    int r = !key ? AVERROR(ENOMEM)
            : !strcmp(key, "x264-params") || !strcmp(key, "x265-params") ? append(d, key, eq + 1)
                                                                         : av_dict_set(d, key, eq + 1, 0);
    av_free(key);
    return r < 0 ? upz_fail_memory(err, strlen(option), "the encoder's options") : 0;
}

/* ProRes stays what it was (Proxy, LT, 422, HQ; 4444, XQ) where the planes allow it. */
static int keep_profile(AVDictionary **d, const UpzEncoderPlan *p, const UpzSourceInfo *info)
{
    bool prores = !strncmp(p->encoder, "prores", 6) && info->codec && !strcmp(info->codec, "prores");
    bool full = p->format.sub_x == 0, was = info->codec_profile >= 4;
    if (!prores || info->codec_profile < 0 || info->codec_profile > 5 || full != was) return 0;
    return av_dict_set_int(d, "profile", info->codec_profile, 0);
}

static int build_options(UpzEncoderPlan *p, const UpzEncoderParams *params, const UpzSourceInfo *info,
                         UprezError *err)
{
    AVDictionary *d = NULL;
    int row = tuned_row(p->encoder), r = 0;
    char s[128];
    if (row >= 0) r = av_dict_parse_string(&d, tuned[row].defaults, "=", ":", 0);
    if (r >= 0 && !strcmp(p->encoder, "libx265")) {
        snprintf(s, sizeof(s), "open-gop=0:frame-threads=%d:pools=%d:log-level=none",
                 UPZ_MIN(p->threads, 4), p->threads);
        r = av_dict_set(&d, "x265-params", s, 0);
        if (r >= 0 && p->color.transfer == 16) r = append(&d, "x265-params", "hdr10-opt=1");
    }
    if (r >= 0 && !strcmp(p->encoder, "libvpx-vp9")) {
        int columns = p->width >= 4096 ? 4 : p->width >= 2048 ? 3 : p->width >= 1024 ? 2 : 1;
        r = av_dict_set_int(&d, "tile-columns", columns, 0);
        if (r >= 0 && p->alpha) r = av_dict_set(&d, "auto-alt-ref", "0", 0);
    }
    if (r >= 0 && !strcmp(p->encoder, "libsvtav1")) {
        snprintf(s, sizeof(s), "lp=%d", p->threads);
        r = av_dict_set(&d, "svtav1-params", s, 0);
    }
    if (r >= 0) r = hdr_params(&d, p);
    if (r >= 0) r = keep_profile(&d, p, info);
    if (r < 0) {
        av_dict_free(&d);
        return upz_fail_memory(err, 0, "the encoder's options");
    }
    if (params->crf >= 0) {
        if (row < 0 || !tuned[row].crf)
            r = upz_fail(err, UPREZ_ERR_USAGE, "--crf means nothing to %s; set its own options "
                         "with -e key=value", p->encoder);
        else
            r = av_dict_set_int(&d, tuned[row].crf, params->crf, 0);
    }
    if (r >= 0 && params->preset) r = av_dict_set(&d, "preset", params->preset, 0);
    for (int i = 0; i < params->n_options && r >= 0; i++)
        r = user_option(&d, params->options[i], err);
    char *text = NULL;
    if (r >= 0 && av_dict_get_string(d, &text, '=', ':') < 0)
        r = upz_fail_memory(err, 0, "the encoder's options");
    if (r >= 0 && (size_t)snprintf(p->options, sizeof(p->options), "%s", text ? text : "") >=
                      sizeof(p->options))
        r = upz_fail(err, UPREZ_ERR_USAGE, "the encoder's options are longer than %zu characters",
                     sizeof(p->options) - 1);
    av_free(text);
    av_dict_free(&d);
    return r;
}

/* ---- time, colour, size ---- */

/* Some codecs and containers count frames instead of telling their time. */
static bool counts_frames(const UpzEncoderPlan *p, enum AVCodecID id)
{
    static const char *const containers[] = {"avi", "mxf", "mxf_d10", "gxf", "dv", "ogg"};
    for (int i = 0; i < UPZ_COUNT(containers); i++)
        if (!strcmp(p->container, containers[i])) return true;
    return p->raw || p->y4m || id == AV_CODEC_ID_MPEG1VIDEO || id == AV_CODEC_ID_MPEG2VIDEO;
}

static int compare_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The reader puts a frame that repeats a time one tick behind the one before it. No memory: nobody
 * knows, the finest ticks do. */
static bool repeats_times(const UpzIndex *index)
{
    int64_t *t = upz_calloc(index->n, sizeof(*t));
    bool repeats = !t;
    for (size_t i = 0; t && i < index->n; i++) t[i] = index->items[i].pts;
    if (t) qsort(t, index->n, sizeof(*t), compare_time);
    for (size_t i = 1; t && i < index->n && !repeats; i++) repeats = t[i] == t[i - 1];
    upz_free(t);
    return repeats;
}

static void plan_time(UpzEncoderPlan *p, enum AVCodecID id, const UpzSourceInfo *info,
                      const UpzIndex *index, const AVFrame *first)
{
    p->time_base = p->codec_base = info->time_base;
    p->frame_rate = info->frame_rate.num > 0 ? info->frame_rate : (AVRational){0, 1};
    p->origin = first ? first->pts : 0;
    if (index && index->n) {
        int64_t g = 0;
        p->origin = index->items[0].pts;
        for (size_t i = 1; i < index->n; i++) {
            g = upz_gcd(g, llabs(index->items[i].pts - index->items[0].pts));
            p->origin = UPZ_MIN(p->origin, index->items[i].pts);
        }
        if (g > 1 && g < INT32_MAX && !repeats_times(index)) {
            AVRational coarse;
            if (av_reduce(&coarse.num, &coarse.den, info->time_base.num * g, info->time_base.den,
                          INT32_MAX))
                p->codec_base = coarse;
        }
    }
    bool fine = id == AV_CODEC_ID_MPEG4 && p->codec_base.den > 65535;
    if ((counts_frames(p, id) || fine) && p->frame_rate.num) p->codec_base = av_inv_q(p->frame_rate);
    if (id == AV_CODEC_ID_MPEG1VIDEO || id == AV_CODEC_ID_MPEG2VIDEO) { /* these know eight rates */
        static const AVRational rates[] = {{24000, 1001}, {24, 1}, {25, 1}, {30000, 1001}, {30, 1},
                                           {50, 1}, {60000, 1001}, {60, 1}, {0, 0}};
        p->frame_rate = rates[av_find_nearest_q_idx(p->frame_rate.num ? p->frame_rate
                                                                      : (AVRational){25, 1}, rates)];
        p->codec_base = av_inv_q(p->frame_rate);
    }
}

/* Colour for the upscaler and the tags. Untagged YUV is what players take it for at the source's
 * size; the tag is written even where the source has none once the new size would be taken for
 * something else. */
static void plan_color(UpzEncoderPlan *p, const UpzSourceInfo *info)
{
    UprezColor c = info->color;
    bool yuv = info->format.model != UPREZ_RGB;
    if (p->format.model == UPREZ_RGB) {
        c.matrix = 0;
        c.range = UPREZ_RANGE_FULL;
    } else if (!yuv) {
        c.matrix = 2;
        c.range = UPREZ_RANGE_LIMITED;
        upz_color_resolve(&c, &p->format, p->width, p->height);
    } else {
        upz_color_resolve(&c, &info->format, info->width, info->height);
    }
    const char *name = av_get_pix_fmt_name(p->pix_fmt);
    if (name && !strncmp(name, "yuvj", 4)) c.range = UPREZ_RANGE_FULL;
    if (p->format.sub_x == 0) c.siting = UPREZ_SITING_UNKNOWN;
    else if (!info->format.sub_x && info->color.siting == UPREZ_SITING_UNKNOWN)
        c.siting = UPREZ_SITING_LEFT;
    p->color = p->tags = c;
    if (p->format.model == UPREZ_RGB || info->format.model != UPREZ_YUV) return;
    UprezColor later = info->color; /* what players make of the tags at the new size */
    upz_color_resolve(&later, &p->format, p->width, p->height);
    if (later.matrix == c.matrix) {
        p->tags.matrix = info->color.matrix;
        p->tags.primaries = info->color.primaries;
        p->tags.transfer = info->color.transfer;
    }
    if (later.range == c.range) p->tags.range = info->color.range;
    if (info->format.sub_x == p->format.sub_x) p->tags.siting = info->color.siting;
}

static void find_hdr(UpzEncoderPlan *p, const AVFrame *first)
{
    const AVFrameSideData *sd;
    if (!first) return;
    sd = av_frame_get_side_data(first, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA);
    if (sd && sd->size >= sizeof(p->mastering)) {
        memcpy(&p->mastering, sd->data, sizeof(p->mastering));
        p->has_mastering = true;
    }
    sd = av_frame_get_side_data(first, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL);
    if (sd && sd->size >= sizeof(p->light)) {
        memcpy(&p->light, sd->data, sizeof(p->light));
        p->has_light = true;
    }
}

/* Pinned: the bytes of x264, x265 and FFV1 depend on it, so the machine must not. */
static int thread_count(int height)
{
    return height <= 288 ? 2 : height <= 1080 ? 4 : 8;
}

/* Longest side, px: what encoders accept without knowing that it cannot be coded, or refuse without
 * a reason. */
static int longest_side(const char *encoder)
{
    static const struct {
        const char *encoder;
        int side;
    } limits[] = {{"libx264", 16384}, {"libx264rgb", 16384}, {"libvpx-vp9", 16384},
                  {"libvpx", 16383}, {"libsvtav1", 16384}, {"libaom-av1", 16384},
                  {"mpeg1video", 4095}, {"mpeg2video", 16383}, {"mpeg4", 8191}, {"gif", 65535}};
    for (int i = 0; i < UPZ_COUNT(limits); i++)
        if (!strcmp(encoder, limits[i].encoder)) return limits[i].side;
    return INT_MAX;
}

static int plan_size(UpzEncoderPlan *p, int width, int height, UprezError *err)
{
    p->width = UPZ_ROUND_UP(width, 1 << p->format.sub_x);
    p->height = UPZ_ROUND_UP(height, 1 << p->format.sub_y);
    int side = longest_side(p->encoder);
    if (p->width <= side && p->height <= side) {
        /* what any of its decoders takes, and what one frame may be */
        if (av_image_check_size2((unsigned)p->width, (unsigned)p->height, INT64_MAX,
                                 AV_PIX_FMT_NONE, 0, NULL) >= 0 &&
            av_image_check_size2((unsigned)p->width, (unsigned)p->height, INT64_MAX, p->pix_fmt, 0,
                                 NULL) >= 0)
            return 0;
        return upz_fail(err, UPREZ_ERR_USAGE, "%dx%d is more than FFmpeg puts into one picture; make "
                        "it smaller", p->width, p->height);
    }
    return upz_fail(err, UPREZ_ERR_USAGE, "%s codes at most %d pixels a side, not %dx%d; make it "
                    "smaller, or use -c ffv1 in .mkv", p->encoder, side, p->width, p->height);
}

/* Some codecs no container has a name for. */
static bool matroska_holds(const UpzEncoderPlan *p, enum AVCodecID id)
{
    AVFormatContext *oc = NULL;
    AVStream *st = avformat_alloc_output_context2(&oc, NULL, "matroska", NULL) >= 0
                       ? avformat_new_stream(oc, NULL) : NULL;
    bool held = !st; /* then something else is wrong */
    if (st && avio_open_dyn_buf(&oc->pb) >= 0) {
        uint8_t *bytes = NULL;
        st->codecpar->codec_type = AVMEDIA_TYPE_VIDEO;
        st->codecpar->codec_id = id;
        st->codecpar->format = p->pix_fmt;
        st->codecpar->width = p->width, st->codecpar->height = p->height;
        st->time_base = (AVRational){1, 1000};
        oc->strict_std_compliance = FF_COMPLIANCE_UNOFFICIAL;
        held = avformat_write_header(oc, NULL) >= 0;
        avio_close_dyn_buf(oc->pb, &bytes);
        av_free(bytes);
    }
    avformat_free_context(oc);
    return held;
}

/* NUT keeps any time base; MOV as good as any. Alpha of VP8 and VP9 is a block addition, which only
 * Matroska has. */
static void plan_segment(UpzEncoderPlan *p, enum AVCodecID id)
{
    const char *muxer = "matroska";
    if (!(p->alpha && (id == AV_CODEC_ID_VP8 || id == AV_CODEC_ID_VP9)))
        for (int i = 0; i < 2; i++) {
            const char *name = i ? "mov" : "nut";
            const AVOutputFormat *of = av_guess_format(name, NULL, NULL);
            if (!of || avformat_query_codec(of, id, FF_COMPLIANCE_UNOFFICIAL) != 1) continue;
            muxer = name;
            break;
        }
    const AVCodecDescriptor *d = avcodec_descriptor_get(id);
    if (!strcmp(muxer, "matroska") && d && d->props & AV_CODEC_PROP_INTRA_ONLY && !matroska_holds(p, id)) muxer = "nut";
    snprintf(p->segment, sizeof(p->segment), "%s", muxer);
}

/* ---- notes about what the output loses or risks ---- */

static const char *codec_name(const UpzEncoderPlan *p)
{
    const AVCodec *c = avcodec_find_encoder_by_name(p->encoder);
    return c ? avcodec_get_name(c->id) : p->encoder;
}

/* A first frame without any transparency: most likely none has it (GIF is always decoded with). */
static bool opaque(const AVFrame *first)
{
    AVFrame *av = first ? av_frame_clone(first) : NULL;
    UpzFrame *f = NULL;
    float alpha = 0;
    bool yes = av && upz_frame_create(&f, av, NULL) >= 0 && upz_frame_picture(f, NULL) >= 0 &&
               f->picture->format.alpha && upz_picture_alpha_constant(f->picture, &alpha) &&
               alpha >= 1;
    upz_frame_free(&f);
    return yes;
}

/* Most untagged video is what its size says, and players guess the same: worth a word only where other
 * tags say that this one is not. */
static void tell_matrix(const UpzEncoderPlan *p, UprezContext *ctx, const UpzSourceInfo *info)
{
    UprezColor c = info->color;
    if (!upz_color_resolve(&c, &info->format, info->width, info->height) || p->format.model != UPREZ_YUV ||
        info->color.matrix != 2 || info->format.model != UPREZ_YUV)
        return;
    const char *taken = c.matrix == 1 ? "BT.709" : c.matrix == 9 ? "BT.2020" : "BT.601";
    /* primaries have been asked for the guess; this is what the transfer says */
    const uint8_t t = info->color.transfer;
    const char *other = t == 16 || t == 18 || t == 14 || t == 15 ? "bt2020nc"
                        : t == 1                                 ? "bt709"
                        : t == 4 || t == 5 || t == 6             ? "smpte170m"
                                                                 : NULL;
    const char *own = c.matrix == 1 ? "bt709" : c.matrix == 9 ? "bt2020nc" : "smpte170m";
    if (other && strcmp(other, own))
        upz_warn(ctx, "%s does not say its colour matrix and is taken as %s, but its transfer is another one's: "
                 "if colours are off, add '--vf setparams=colorspace=%s'", info->url, taken, other);
    else
        upz_debug(ctx, "%s does not say its colour matrix; by its size it is taken as %s", info->url, taken);
}

static void tell(const UpzEncoderPlan *p, UprezContext *ctx, const UpzSourceInfo *info,
                 const UpzEncoderParams *params, const AVFrame *first, int width, int height)
{
    const char *out = av_get_pix_fmt_name(p->pix_fmt), *in = av_get_pix_fmt_name(info->pix_fmt);
    tell_matrix(p, ctx, info);
    if (p->width != width || p->height != height)
        upz_info(ctx, "%dx%d becomes %dx%d: %s needs sizes that are multiples of %dx%d", width,
                 height, p->width, p->height, out, 1 << p->format.sub_x, 1 << p->format.sub_y);
    if (info->alpha && !p->alpha && !opaque(first)) {
        if (!strcmp(p->container, "gif"))
            upz_warn(ctx, "transparency is lost: GIF is written without it; use .webm");
        else
            upz_warn(ctx, "transparency is lost: %s video has none; use .webm, or -c ffv1 in .mkv, "
                     "or -c prores_ks in .mov", codec_name(p));
    }
    if (depth_of(p->pix_fmt) < depth_of(info->pix_fmt))
        upz_warn(ctx, "%d bits become %d: %s holds no more%s", depth_of(info->pix_fmt),
                 depth_of(p->pix_fmt), p->encoder,
                 params->encoder ? "" : "; -c ffv1 in .mkv keeps 16");
    if (!params->pix_fmt && p->format.model == UPREZ_YUV &&
        (info->format.model == UPREZ_RGB || (info->format.model == UPREZ_YUV &&
         (p->format.sub_x > info->format.sub_x || p->format.sub_y > info->format.sub_y))))
        upz_info(ctx, "colour is written as %s from %s so that the file plays everywhere; "
                 "--pix-fmt keeps more", out, in);
    bool web = is_mov(p->container) || !strcmp(p->container, "webm");
    if (web && (p->width > BROWSER_W || p->height > BROWSER_H) &&
        (p->height > BROWSER_W || p->width > BROWSER_H))
        upz_warn(ctx, "%dx%d is more than %dx%d: browsers and many players may refuse it",
                 p->width, p->height, BROWSER_W, BROWSER_H);
}

static void discard(AVCodecContext **enc);

/* Words that libx264 takes; it complains about others on standard error by itself. */
static const struct {
    const char *option, *words;
} x264_words[] = {
    {"preset", "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo"},
    {"tune", "film animation grain stillimage psnr ssim fastdecode zerolatency"},
    {"profile", "baseline main high high10 high422 high444"}};

static bool in_words(const char *words, const char *word, size_t n)
{
    for (const char *p = words; *p; p += strcspn(p, " "), p += *p == ' ')
        if (strcspn(p, " ") == n && !av_strncasecmp(p, word, n)) return true;
    return false;
}

/* H.264's profiles end at a depth, a chroma format, and before lossless. */
static bool fits_profile(const UpzEncoderPlan *p, const char *profile, bool lossless)
{
    const UprezFormat *f = &p->format;
    if (!av_strcasecmp(profile, "high444")) return true;
    if (lossless || (f->model == UPREZ_YUV && !f->sub_x)) return false;
    if (!av_strcasecmp(profile, "high422")) return true;
    if (f->model == UPREZ_YUV && !f->sub_y) return false;
    return f->depth == 8 || !av_strcasecmp(profile, "high10");
}

static int check_x264(const UpzEncoderPlan *p, const AVDictionary *d, UprezError *err)
{
    for (int i = 0; i < UPZ_COUNT(x264_words); i++) {
        const char *name = x264_words[i].option, *words = x264_words[i].words;
        const AVDictionaryEntry *e = av_dict_get(d, name, NULL, 0);
        /* several tunes at once are divided by any of these; presets may be numbers */
        for (const char *v = e ? e->value : ""; *v; v += strspn(v, ",./;+-")) {
            size_t n = i == 1 ? strcspn(v, ",./;+-") : strlen(v);
            if (!in_words(words, v, n) && !(i == 0 && n == 1 && *v >= '0' && *v <= '9'))
                return upz_fail(err, UPREZ_ERR_USAGE, "libx264 has no %s '%.*s'; it has %s", name,
                                (int)n, v, words);
            v += n;
        }
    }
    const AVDictionaryEntry *profile = av_dict_get(d, "profile", NULL, 0);
    const AVDictionaryEntry *crf = av_dict_get(d, "crf", NULL, 0), *qp = av_dict_get(d, "qp", NULL, 0);
    bool lossless = (qp && !strcmp(qp->value, "0")) || (!qp && crf && !strcmp(crf->value, "0") &&
                                                        p->format.depth == 8);
    if (profile && !fits_profile(p, profile->value, lossless))
        return upz_fail(err, UPREZ_ERR_USAGE, "H.264's profile %s has no %s%s; leave the profile out",
                        profile->value, lossless ? "lossless " : "", av_get_pix_fmt_name(p->pix_fmt));
    return 0;
}

/* Does each option exist, and take its value? The sentence names the first that does not. */
static int check_options(const UpzEncoderPlan *p, UprezError *err)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(p->encoder);
    AVCodecContext *enc = codec ? avcodec_alloc_context3(codec) : NULL;
    AVDictionary *d = NULL;
    int r = enc && av_dict_parse_string(&d, p->options, "=", ":", 0) >= 0
                ? 0 : upz_fail_memory(err, 0, "the encoder's options");
    const AVDictionaryEntry *e = NULL;
    while (r >= 0 && (e = av_dict_get(d, "", e, AV_DICT_IGNORE_SUFFIX))) {
        int set = av_opt_set(enc, e->key, e->value, AV_OPT_SEARCH_CHILDREN);
        if (set == AVERROR_OPTION_NOT_FOUND)
            r = upz_fail(err, UPREZ_ERR_USAGE, "%s has no option '%s'; 'ffmpeg -h encoder=%s' lists "
                         "them", p->encoder, e->key, p->encoder);
        else if (set < 0)
            r = upz_fail(err, UPREZ_ERR_USAGE, "%s takes no %s '%s'; 'ffmpeg -h encoder=%s' says what "
                         "it takes", p->encoder, e->key, e->value, p->encoder);
    }
    if (r >= 0 && !strcmp(p->encoder, "libx264")) r = check_x264(p, d, err);
    av_dict_free(&d);
    avcodec_free_context(&enc);
    return r;
}

static int check_encoder(UpzEncoderPlan *p, const UpzEncoderParams *params, UprezError *err)
{
    AVCodecContext *enc = NULL;
    int r = check_options(p, err);
    if (r >= 0) r = upz_encoder_open(&enc, p, err);
    discard(&enc);
    if (r != UPREZ_ERR_OUTPUT) return r;
    /* refused with options of the user's: most likely one of them makes no sense */
    char given[400] = "";
    if (params->preset) av_strlcatf(given, sizeof(given), " --preset %s", params->preset);
    if (params->crf >= 0) av_strlcatf(given, sizeof(given), " --crf %d", params->crf);
    for (int i = 0; i < params->n_options; i++)
        av_strlcatf(given, sizeof(given), " -e %s", params->options[i]);
    if (*given)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s does not start with%s for %dx%d %s; 'ffmpeg -h "
                        "encoder=%s' says what it takes", p->encoder, given, p->width, p->height,
                        av_get_pix_fmt_name(p->pix_fmt), p->encoder);
    if (params->encoder)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s does not start for %dx%d %s on this machine; use "
                        "another encoder with -c, or another size", p->encoder, p->width, p->height,
                        av_get_pix_fmt_name(p->pix_fmt));
    if (p->width > BROWSER_W || p->height > BROWSER_W)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s refuses %dx%d; make it smaller, or use -c ffv1 in "
                        ".mkv", p->encoder, p->width, p->height);
    return r;
}

int upz_encoder_plan(UpzEncoderPlan *plan, UprezContext *ctx, const UpzEncoderParams *params,
                     const UpzSourceInfo *info, const UpzIndex *index, const AVFrame *first,
                     const char *output, int width, int height, AVRational sar, UprezError *err)
{
    upz_av_quiet();
    memset(plan, 0, sizeof(*plan)); /* padding too: plans are compared */
    UpzEncoderPlan *p = plan;
    const char *container;
    int r = upz_container_find(&container, output, err);
    if (r < 0) return r;
    const AVOutputFormat *of = av_guess_format(container, NULL, NULL);
    snprintf(p->container, sizeof(p->container), "%s", container);
    p->y4m = !strcmp(container, "yuv4mpegpipe");
    p->raw = !p->y4m && (of->flags & AVFMT_NOTIMESTAMPS);

    int depth = depth_of(info->pix_fmt);
    if (params->pix_fmt && av_get_pix_fmt(params->pix_fmt) != AV_PIX_FMT_NONE)
        depth = depth_of(av_get_pix_fmt(params->pix_fmt));
    int64_t mbs = ((int64_t)width + 15) / 16 * ((height + 15) / 16);
    const AVCodec *codec = NULL;
    if (p->y4m) {
        if (params->encoder)
            return upz_fail(err, UPREZ_ERR_USAGE, "%s is y4m, uncompressed: -c %s cannot be used",
                            strcmp(output, "-") ? output : "the pipe", params->encoder);
        codec = avcodec_find_encoder(AV_CODEC_ID_WRAPPED_AVFRAME);
    } else if (params->encoder) {
        codec = avcodec_find_encoder_by_name(params->encoder);
        if (!codec) {
            const AVCodecDescriptor *d = avcodec_descriptor_get_by_name(params->encoder);
            if (d && d->type == AVMEDIA_TYPE_VIDEO) codec = encoder_for(d->id);
        }
        if (!codec || codec->type != AVMEDIA_TYPE_VIDEO)
            return upz_fail(err, UPREZ_ERR_USAGE, "this FFmpeg has no video encoder '%s'; "
                            "'ffmpeg -encoders' lists them", params->encoder);
    } else {
        codec = default_encoder(of, depth, mbs > H264_MAX_MBS || width > 16384 || height > 16384);
    }
    if (!codec)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "this FFmpeg has no encoder for %s; use .mkv with "
                        "-c ffv1, or install an FFmpeg with libx264", container);
    snprintf(p->encoder, sizeof(p->encoder), "%s", codec->name);

    if (p->y4m) { /* what the muxer writes */
        static const enum AVPixelFormat y4m[] = {
            AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV422P, AV_PIX_FMT_YUV444P, AV_PIX_FMT_GRAY8,
            AV_PIX_FMT_YUV420P10, AV_PIX_FMT_YUV422P10, AV_PIX_FMT_YUV444P10, AV_PIX_FMT_YUV420P12,
            AV_PIX_FMT_YUV422P12, AV_PIX_FMT_YUV444P12, AV_PIX_FMT_YUV420P16, AV_PIX_FMT_YUV422P16,
            AV_PIX_FMT_YUV444P16, AV_PIX_FMT_NONE};
        enum AVPixelFormat want = params->pix_fmt ? av_get_pix_fmt(params->pix_fmt)
                                                  : avcodec_find_best_pix_fmt_of_list(
                                                        y4m, info->pix_fmt, 0, NULL);
        if (!in_list(y4m, want) || !ours(&p->format, want))
            return upz_fail(err, UPREZ_ERR_USAGE, "y4m cannot hold pixel format %s",
                            params->pix_fmt ? params->pix_fmt : "of this input");
        p->pix_fmt = want;
    } else if (codec->id == AV_CODEC_ID_GIF && !params->pix_fmt && upz_palette_can()) {
        p->palette = true;
        p->pix_fmt = AV_PIX_FMT_PAL8;
        uprez_format_from_name(&p->format, info->alpha ? "bgra" : "bgr0");
    } else if (params->pix_fmt) {
        r = given_pix_fmt(&p->pix_fmt, &p->format, codec, params->pix_fmt, err);
        if (r < 0) return r;
    } else {
        p->pix_fmt = choose_pix_fmt(codec, info->pix_fmt, info->alpha);
    }
    if (p->pix_fmt == AV_PIX_FMT_NONE || (!p->palette && !ours(&p->format, p->pix_fmt)))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s takes no pixel format uprez can make; use another "
                        "encoder (-c) or container", codec->name);
    p->alpha = p->format.alpha;
    p->sar = sar;
    p->threads = params->threads > 0 ? params->threads : thread_count(height);
    plan_segment(p, codec->id);
    r = plan_size(p, width, height, err);
    if (r < 0) return r;
    upz_encoder_plan_inner(p, width, height);
    plan_color(p, info);
    plan_time(p, codec->id, info, index, first);
    find_hdr(p, first);
    if (codec->id == AV_CODEC_ID_HEVC && is_mov(p->container))
        p->codec_tag = MKTAG('h', 'v', 'c', '1');
    r = build_options(p, params, info, err);
    if (r >= 0 && !p->y4m) r = check_encoder(p, params, err);
    if (r < 0) return r;
    tell(p, ctx, info, params, first, width, height);
    return 0;
}

/* ---- opening ---- */

static void set_color(AVCodecContext *enc, const UpzEncoderPlan *p)
{
    static const enum AVChromaLocation siting[] = {
        [UPREZ_SITING_LEFT] = AVCHROMA_LOC_LEFT, [UPREZ_SITING_CENTER] = AVCHROMA_LOC_CENTER,
        [UPREZ_SITING_TOPLEFT] = AVCHROMA_LOC_TOPLEFT, [UPREZ_SITING_TOP] = AVCHROMA_LOC_TOP,
        [UPREZ_SITING_BOTTOMLEFT] = AVCHROMA_LOC_BOTTOMLEFT,
        [UPREZ_SITING_BOTTOM] = AVCHROMA_LOC_BOTTOM};
    enc->colorspace = (enum AVColorSpace)p->tags.matrix;
    enc->color_primaries = (enum AVColorPrimaries)p->tags.primaries;
    enc->color_trc = (enum AVColorTransferCharacteristic)p->tags.transfer;
    enc->color_range = p->tags.range == UPREZ_RANGE_FULL      ? AVCOL_RANGE_JPEG
                       : p->tags.range == UPREZ_RANGE_LIMITED ? AVCOL_RANGE_MPEG
                                                              : AVCOL_RANGE_UNSPECIFIED;
    if (p->tags.siting < UPZ_COUNT(siting)) enc->chroma_sample_location = siting[p->tags.siting];
}

int upz_encoder_open(AVCodecContext **out, const UpzEncoderPlan *p, UprezError *err)
{
    *out = NULL;
    char why[UPZ_AV_ERROR];
    const AVCodec *codec = avcodec_find_encoder_by_name(p->encoder);
    AVCodecContext *enc = codec ? avcodec_alloc_context3(codec) : NULL;
    AVDictionary *options = NULL;
    if (!codec)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "this FFmpeg has no encoder %s", p->encoder);
    if (!enc || av_dict_parse_string(&options, p->options, "=", ":", 0) < 0) {
        avcodec_free_context(&enc);
        av_dict_free(&options);
        return upz_fail_memory(err, sizeof(*enc), "the encoder");
    }
    enc->width = p->width;
    enc->height = p->height;
    enc->pix_fmt = p->pix_fmt;
    enc->time_base = p->codec_base;
    if (p->frame_rate.num) enc->framerate = p->frame_rate;
    enc->sample_aspect_ratio = p->sar;
    enc->thread_count = p->threads;
    enc->codec_tag = p->codec_tag;
    enc->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    if (!strcmp(p->encoder, "libx264") || !strcmp(p->encoder, "libx264rgb") ||
        !strcmp(p->encoder, "libx265"))
        enc->flags |= AV_CODEC_FLAG_CLOSED_GOP;
    /* containers without presentation times cannot order frames */
    if (!strcmp(p->container, "avi")) enc->max_b_frames = 0;
    enc->strict_std_compliance = FF_COMPLIANCE_UNOFFICIAL; /* Motion JPEG in limited range */
    set_color(enc, p);
    int r = avcodec_open2(enc, codec, &options);
    if (r == AVERROR(ENOMEM)) r = upz_fail_memory(err, 0, "the encoder");
    else if (r < 0)
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s does not start for %dx%d %s: %s", p->encoder,
                     p->width, p->height, av_get_pix_fmt_name(p->pix_fmt), upz_av_error(r, why));
    av_dict_free(&options);
    if (r < 0) avcodec_free_context(&enc);
    *out = enc;
    return r < 0 ? r : 0;
}

/* Closes an encoder that was opened for a look. SVT-AV1 waits forever for threads that have seen no
 * frame and no end, so it gets both. */
static void discard(AVCodecContext **enc)
{
    AVCodecContext *e = *enc;
    AVFrame *f = e && !strcmp(e->codec->name, "libsvtav1") ? av_frame_alloc() : NULL;
    AVPacket *p = f ? av_packet_alloc() : NULL;
    if (p) {
        f->format = e->pix_fmt;
        f->width = e->width;
        f->height = e->height;
        f->pts = 0;
        if (av_frame_get_buffer(f, 0) >= 0) {
            for (int i = 0; i < 4 && f->buf[i]; i++) memset(f->buf[i]->data, 0, f->buf[i]->size);
            if (avcodec_send_frame(e, f) >= 0) avcodec_send_frame(e, NULL);
            while (avcodec_receive_packet(e, p) >= 0) av_packet_unref(p);
        }
    }
    av_packet_free(&p);
    av_frame_free(&f);
    avcodec_free_context(enc);
}

int64_t upz_encoder_time(const UpzEncoderPlan *p, int64_t pts, int64_t last)
{
    int64_t t = av_rescale_q(pts - p->origin, p->time_base, p->codec_base);
    return last != AV_NOPTS_VALUE && t <= last ? last + 1 : t;
}

int upz_encoder_parameters(AVCodecParameters **out, const UpzEncoderPlan *p, UprezError *err)
{
    AVCodecContext *enc = NULL;
    *out = NULL;
    int r = upz_encoder_open(&enc, p, err);
    if (r < 0) return r;
    AVCodecParameters *par = avcodec_parameters_alloc();
    if (!par || avcodec_parameters_from_context(par, enc) < 0) {
        avcodec_parameters_free(&par);
        r = upz_fail_memory(err, sizeof(*par), "the encoder's parameters");
    }
    discard(&enc);
    *out = par;
    return r;
}
