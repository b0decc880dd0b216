#include "browser.h"

#include <stdio.h>
#include <string.h>
#include <libavutil/avstring.h>
#include <libavutil/pixdesc.h>

#include "base/error.h"
#include "base/file.h"
#include "still.h"

static int depth_of(enum AVPixelFormat f)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f);
    return d ? d->comp[0].depth : 8;
}

int upz_browser_params(UpzEncoderParams *params, UpzAudioMode *audio, bool audio_given,
                       const UpzSourceInfo *info, const char *output, UprezError *err)
{
    const char *container;
    if (upz_still_can_write(output)) {
        const char *ext = upz_extension(output);
        if (av_strncasecmp(ext, "tif", 3)) return 0;
        return upz_fail(err, UPREZ_ERR_USAGE, "--for browser: browsers show .png, .jpg and .webp, not .%s",
                        ext);
    }
    int r = upz_container_find(&container, output, err);
    if (r < 0) return r;
    if (!strcmp(container, "gif")) return 0;
    if (!strcmp(container, "webm")) {
        if (!params->pix_fmt && depth_of(info->pix_fmt) > 8)
            params->pix_fmt = info->alpha ? "yuva420p" : "yuv420p";
        return 0;
    }
    if (strcmp(container, "mp4") && strcmp(container, "ipod"))
        return upz_fail(err, UPREZ_ERR_USAGE, "--for browser: browsers play .mp4 and .webm; %s would be "
                        "neither", output);
    if (!params->encoder) params->encoder = "h264";
    if (!params->pix_fmt && !strcmp(params->encoder, "h264")) params->pix_fmt = "yuv420p";
    if (!audio_given) *audio = UPZ_AUDIO_AAC;
    return 0;
}

/* Sound that Chromium, Firefox and Safari all play in MP4, or at least two of them. */
static bool sound_plays(int codec)
{
    return codec == AV_CODEC_ID_AAC || codec == AV_CODEC_ID_MP3 || codec == AV_CODEC_ID_OPUS ||
           codec == AV_CODEC_ID_FLAC;
}

/* As people call it. */
static const char *sound_name(enum AVCodecID codec)
{
    switch (codec) {
    case AV_CODEC_ID_AC3: return "AC-3";
    case AV_CODEC_ID_EAC3: return "E-AC-3";
    case AV_CODEC_ID_DTS: return "DTS";
    case AV_CODEC_ID_TRUEHD: return "TrueHD";
    case AV_CODEC_ID_ALAC: return "ALAC";
    default: return avcodec_get_name(codec);
    }
}

/* "" when browsers play it. */
static void video_gap(char *what, size_t size, const UpzEncoderPlan *p)
{
    const AVCodec *c = avcodec_find_encoder_by_name(p->encoder);
    enum AVCodecID id = c ? c->id : AV_CODEC_ID_NONE;
    bool plain = p->format.sub_x == 1 && p->format.sub_y == 1;
    *what = 0;
    if (id == AV_CODEC_ID_AV1 || id == AV_CODEC_ID_VP9) return;
    if (id == AV_CODEC_ID_H264 && plain && p->format.depth == 8) return;
    const char *name = id == AV_CODEC_ID_H264 ? "H.264" : id == AV_CODEC_ID_HEVC ? "H.265"
                                                                                 : avcodec_get_name(id);
    const char *pixels = plain ? "" : p->format.sub_x ? "4:2:2 " : "4:4:4 ";
    if (p->format.depth > 8) snprintf(what, size, "%d-bit %s%s video", p->format.depth, pixels, name);
    else snprintf(what, size, "%s%s video", pixels, name);
}

void upz_browser_gaps(char *what, size_t size, const char **options, const UpzEncoderPlan *encoder,
                      const UpzJoinPlan *join)
{
    char video[64], sound[96] = "";
    int told[8], n = 0;
    *what = 0;
    if (strcmp(encoder->container, "mp4") && strcmp(encoder->container, "ipod")) return;
    video_gap(video, sizeof(video), encoder);
    for (int i = 0; i < join->n; i++) {
        const UpzStreamPlan *item = &join->items[i];
        bool audio = avcodec_get_type((enum AVCodecID)item->codec) == AVMEDIA_TYPE_AUDIO &&
                     (item->fate == UPZ_STREAM_COPY || item->fate == UPZ_STREAM_AUDIO);
        bool again = false;
        for (int k = 0; k < n; k++) again |= told[k] == item->codec;
        if (!audio || again || n == 8 || sound_plays(item->codec)) continue;
        told[n++] = item->codec;
        size_t at = strlen(sound);
        snprintf(sound + at, sizeof(sound) - at, "%s%s", at ? ", " : "",
                 sound_name((enum AVCodecID)item->codec));
    }
    *options = !*video ? "--audio aac"
               : *sound ? "--audio aac -c h264 --pix-fmt yuv420p"
                        : "-c h264 --pix-fmt yuv420p";
    snprintf(what, size, "%s%s%s%s", sound, *sound ? " sound" : "", *sound && *video ? " and " : "", video);
}
