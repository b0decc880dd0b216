/* The stream map: what becomes of every stream of the source. */
#include "join.h"

#include <stdio.h>
#include <string.h>
#include <libavutil/avutil.h>

#include "base/error.h"
#include "base/file.h"
#include "compat.h"
#include "input.h"
#include "mux.h"
#include "source_facts.h"
#include "transcode.h"

static bool one_of(const char *s, const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(s, list[i])) return true;
    return false;
}
#define ONE_OF(s, ...) one_of(s, (const char *const[]){__VA_ARGS__}, \
                              UPZ_COUNT(((const char *const[]){__VA_ARGS__})))

static bool is_mov(const char *c)
{
    return ONE_OF(c, "mp4", "mov", "ipod", "3gp", "3g2", "psp");
}

/* libav's transport stream muxer takes anything and marks what it does not know as private data,
 * which nobody can play. */
static bool in_transport_stream(enum AVCodecID id)
{
    switch (id) {
    case AV_CODEC_ID_MP1: case AV_CODEC_ID_MP2: case AV_CODEC_ID_MP3: case AV_CODEC_ID_AAC:
    case AV_CODEC_ID_AAC_LATM: case AV_CODEC_ID_AC3: case AV_CODEC_ID_EAC3: case AV_CODEC_ID_DTS:
    case AV_CODEC_ID_TRUEHD: case AV_CODEC_ID_OPUS: case AV_CODEC_ID_PCM_BLURAY:
    case AV_CODEC_ID_S302M: case AV_CODEC_ID_DVB_SUBTITLE: case AV_CODEC_ID_DVB_TELETEXT:
    case AV_CODEC_ID_HDMV_PGS_SUBTITLE: case AV_CODEC_ID_H264: case AV_CODEC_ID_HEVC:
    case AV_CODEC_ID_MPEG1VIDEO: case AV_CODEC_ID_MPEG2VIDEO: case AV_CODEC_ID_SMPTE_KLV:
        return true;
    default:
        return false;
    }
}

static bool holds(const AVOutputFormat *of, enum AVCodecID id)
{
    if (id == AV_CODEC_ID_NONE || of->flags & AVFMT_NOTIMESTAMPS) return false;
    if (!strcmp(of->name, "mpegts")) return in_transport_stream(id);
    return avformat_query_codec(of, id, FF_COMPLIANCE_UNOFFICIAL) != 0;
}

static bool is_text(enum AVCodecID id)
{
    const AVCodecDescriptor *d = avcodec_descriptor_get(id);
    return d && d->props & AV_CODEC_PROP_TEXT_SUB;
}

static enum AVCodecID text_for(const AVOutputFormat *of)
{
    if (is_mov(of->name)) return AV_CODEC_ID_MOV_TEXT;
    if (!strcmp(of->name, "matroska")) return AV_CODEC_ID_SUBRIP;
    if (!strcmp(of->name, "webm")) return AV_CODEC_ID_WEBVTT;
    return AV_CODEC_ID_NONE;
}

static enum AVCodecID audio_for(const AVOutputFormat *of)
{
    if (ONE_OF(of->name, "webm", "ogg", "ogv")) return AV_CODEC_ID_OPUS;
    if (holds(of, AV_CODEC_ID_AAC)) return AV_CODEC_ID_AAC;
    return of->audio_codec;
}

static bool is_lossless(enum AVCodecID id)
{
    const AVCodecDescriptor *d = avcodec_descriptor_get(id);
    return d && d->props & AV_CODEC_PROP_LOSSLESS && !(d->props & AV_CODEC_PROP_LOSSY);
}

/* Plain samples that lose nothing of a lossless stream, where the container holds them. */
static enum AVCodecID pcm_for(const AVOutputFormat *of, const AVCodecParameters *par)
{
    if (!is_lossless(par->codec_id)) return AV_CODEC_ID_NONE;
    enum AVSampleFormat f = av_get_packed_sample_fmt((enum AVSampleFormat)par->format);
    int bits = par->bits_per_raw_sample ? par->bits_per_raw_sample : par->bits_per_coded_sample;
    enum AVCodecID to = f == AV_SAMPLE_FMT_DBL                          ? AV_CODEC_ID_PCM_F64LE
                        : f == AV_SAMPLE_FMT_FLT                        ? AV_CODEC_ID_PCM_F32LE
                        : f == AV_SAMPLE_FMT_S32 && bits && bits <= 24  ? AV_CODEC_ID_PCM_S24LE
                        : f == AV_SAMPLE_FMT_S32                        ? AV_CODEC_ID_PCM_S32LE
                        : f == AV_SAMPLE_FMT_S16 || f == AV_SAMPLE_FMT_U8 ? AV_CODEC_ID_PCM_S16LE
                                                                          : AV_CODEC_ID_NONE;
    return to != par->codec_id && holds(of, to) ? to : AV_CODEC_ID_NONE;
}

/* Does the FFmpeg at hand turn the stream into that? */
static bool converts(const AVStream *st, enum AVCodecID to)
{
    UpzTranscoder *t = NULL;
    bool yes = upz_transcoder_open(&t, st, (int)to, NULL) >= 0;
    upz_transcoder_close(&t);
    return yes;
}

/* What sound becomes when it cannot stay as it is: the first of these that is not behind `was`. */
static enum AVCodecID next_audio(const AVStream *st, const AVOutputFormat *of, enum AVCodecID was)
{
    const enum AVCodecID list[] = {pcm_for(of, st->codecpar), audio_for(of), of->audio_codec,
                                   AV_CODEC_ID_OPUS, AV_CODEC_ID_MP3, AV_CODEC_ID_AC3,
                                   AV_CODEC_ID_FLAC, AV_CODEC_ID_PCM_S16LE};
    int from = 0;
    for (int i = 0; i < UPZ_COUNT(list); i++)
        if (was != AV_CODEC_ID_NONE && list[i] == was) from = i + 1;
    for (int i = from; i < UPZ_COUNT(list); i++)
        if (list[i] != AV_CODEC_ID_NONE && holds(of, list[i]) && converts(st, list[i]))
            return list[i];
    return AV_CODEC_ID_NONE;
}

/* The next best after copying. */
static void second_choice(UpzStreamPlan *item, const AVStream *st, const AVOutputFormat *of)
{
    const AVCodecParameters *par = st->codecpar;
    enum AVCodecID to = AV_CODEC_ID_NONE;
    UpzStreamFate fate = UPZ_STREAM_DROP;
    if (!(of->flags & AVFMT_NOTIMESTAMPS) && par->codec_type == AVMEDIA_TYPE_AUDIO &&
        (item->fate == UPZ_STREAM_COPY || item->fate == UPZ_STREAM_AUDIO)) {
        fate = UPZ_STREAM_AUDIO;
        to = next_audio(st, of, item->fate == UPZ_STREAM_AUDIO ? (enum AVCodecID)item->codec
                                                               : AV_CODEC_ID_NONE);
    } else if (item->fate == UPZ_STREAM_COPY && par->codec_type == AVMEDIA_TYPE_SUBTITLE &&
               is_text(par->codec_id)) {
        fate = UPZ_STREAM_TEXT;
        to = text_for(of);
        if (to != AV_CODEC_ID_NONE && !converts(st, to)) to = AV_CODEC_ID_NONE;
    }
    if (to == AV_CODEC_ID_NONE) fate = UPZ_STREAM_DROP;
    item->fate = fate;
    item->codec = fate == UPZ_STREAM_DROP ? (int)par->codec_id : (int)to;
}

static bool is_unknown(const AVCodecParameters *par)
{
    return par->codec_id == AV_CODEC_ID_NONE ||
           (par->codec_type == AVMEDIA_TYPE_AUDIO && (!par->sample_rate ||
                                                      !par->ch_layout.nb_channels)) ||
           (par->codec_type == AVMEDIA_TYPE_VIDEO && (!par->width || !par->height));
}

static void first_choice(UpzStreamPlan *item, const AVStream *st, const AVOutputFormat *of,
                         UpzAudioMode audio)
{
    const AVCodecParameters *par = st->codecpar;
    item->codec = par->codec_id;
    item->fate = UPZ_STREAM_COPY;
    item->file = par->codec_type == AVMEDIA_TYPE_ATTACHMENT;
    if (st->disposition & AV_DISPOSITION_ATTACHED_PIC) {
        if (!strcmp(of->name, "matroska"))
            item->fate = st->attached_pic.size > 0 ? UPZ_STREAM_ATTACH : UPZ_STREAM_DROP;
        else if (strcmp(of->name, "mp4") && strcmp(of->name, "ipod"))
            item->fate = UPZ_STREAM_DROP; /* MOV's muxer would leave it out without a word */
        return;
    }
    if (par->codec_type == AVMEDIA_TYPE_AUDIO || par->codec_type == AVMEDIA_TYPE_VIDEO) {
        item->unknown = is_unknown(par);
        item->damaged = !item->unknown && !upz_header_decodes(st);
        if (item->unknown || item->damaged) {
            item->fate = UPZ_STREAM_DROP;
            return;
        }
    }
    switch (par->codec_type) {
    case AVMEDIA_TYPE_AUDIO:
        if (audio == UPZ_AUDIO_NONE)
            item->fate = UPZ_STREAM_DROP;
        else if ((audio == UPZ_AUDIO_AAC && par->codec_id != AV_CODEC_ID_AAC) ||
                 !holds(of, par->codec_id))
            second_choice(item, st, of);
        if (item->fate == UPZ_STREAM_AUDIO && audio == UPZ_AUDIO_AAC) item->codec = AV_CODEC_ID_AAC;
        break;
    case AVMEDIA_TYPE_SUBTITLE:
    case AVMEDIA_TYPE_VIDEO:
        if (!holds(of, par->codec_id)) second_choice(item, st, of);
        break;
    case AVMEDIA_TYPE_DATA:
        /* unknown muxers take unknown data, and nobody finds it again */
        if (avformat_query_codec(of, par->codec_id, FF_COMPLIANCE_UNOFFICIAL) != 1 &&
            !(!strcmp(of->name, "mpegts") && in_transport_stream(par->codec_id)))
            item->fate = UPZ_STREAM_DROP;
        if (par->codec_id == AV_CODEC_ID_NONE) item->fate = UPZ_STREAM_DROP;
        break;
    case AVMEDIA_TYPE_ATTACHMENT:
        if (strcmp(of->name, "matroska")) item->fate = UPZ_STREAM_DROP;
        break;
    default:
        item->fate = UPZ_STREAM_DROP;
    }
}

static const AVStream *stream_of(const UpzStreamPlan *item, const UpzMuxInputs *in)
{
    return (item->from_other ? in->other : in->source)->streams[item->source];
}

/* Writes the header into memory, with the parameters that converted streams will have. */
static int try_header(const UpzJoinPlan *plan, const UpzMuxInputs *in)
{
    int map[UPZ_STREAMS_MAX], r = 0;
    AVFormatContext *oc = NULL;
    uint8_t *bytes = NULL;
    UpzTranscoder *transcoders[UPZ_STREAMS_MAX] = {0};
    const AVCodecParameters *converted[UPZ_STREAMS_MAX] = {0};
    for (int i = 0; i < plan->n && r >= 0; i++) {
        const UpzStreamPlan *item = &plan->items[i];
        if (item->fate != UPZ_STREAM_AUDIO && item->fate != UPZ_STREAM_TEXT) continue;
        r = upz_transcoder_open(&transcoders[i], stream_of(item, in), item->codec, NULL);
        if (r >= 0) converted[i] = upz_transcoder_parameters(transcoders[i]);
        else r = r == UPREZ_ERR_MEMORY ? AVERROR(ENOMEM) : AVERROR(EINVAL);
    }
    if (r >= 0) r = upz_mux_create(&oc, plan, in, converted, map);
    if (r >= 0) r = avio_open_dyn_buf(&oc->pb);
    if (r >= 0) {
        r = upz_mux_header(oc);
        avio_close_dyn_buf(oc->pb, &bytes);
        oc->pb = NULL;
        av_free(bytes);
    }
    avformat_free_context(oc);
    for (int i = 0; i < plan->n; i++) upz_transcoder_close(&transcoders[i]);
    return r;
}

/* The video and this one alone. */
static int try_one(const UpzJoinPlan *plan, int i, const UpzMuxInputs *in)
{
    UpzJoinPlan two = {.n = 0};
    for (int k = 0; k < plan->n; k++)
        if (k == i || plan->items[k].fate == UPZ_STREAM_VIDEO) two.items[two.n++] = plan->items[k];
    return try_header(&two, in);
}

static int settle(UpzJoinPlan *plan, const UpzMuxInputs *in, const AVOutputFormat *of,
                  const char *output, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    int r = try_header(plan, in);
    for (int i = 0; i < plan->n && r < 0; i++) {
        UpzStreamPlan *item = &plan->items[i];
        if (item->fate == UPZ_STREAM_VIDEO) continue;
        while (item->fate != UPZ_STREAM_DROP && try_one(plan, i, in) < 0)
            second_choice(item, stream_of(item, in), of);
    }
    if (r < 0) r = try_header(plan, in);
    /* streams that do not go together: give up data, then everything but audio */
    for (int round = 0; round < 2 && r < 0; round++) {
        for (int i = 0; i < plan->n; i++) {
            UpzStreamPlan *item = &plan->items[i];
            if (item->fate == UPZ_STREAM_VIDEO || item->fate == UPZ_STREAM_DROP) continue;
            enum AVMediaType t = stream_of(item, in)->codecpar->codec_type;
            if (t == AVMEDIA_TYPE_DATA || t == AVMEDIA_TYPE_ATTACHMENT ||
                (round && t != AVMEDIA_TYPE_AUDIO))
                item->fate = UPZ_STREAM_DROP;
        }
        r = try_header(plan, in);
    }
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, 0, "the output's header");
    if (r < 0)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: a .%s file cannot hold %s (%s: %s); %s", output,
                        upz_extension(output), avcodec_get_name(in->video->codec_id),
                        in->encoder->encoder, upz_av_error(r, why), strcmp(of->name, "matroska")
                            ? "use .mkv, or another encoder with -c" : "use another with -c");
    return 0;
}

const char *upz_stream_fate_name(const UpzStreamPlan *item)
{
    switch (item->fate) {
    case UPZ_STREAM_VIDEO: return "video";
    case UPZ_STREAM_COPY: return "copy";
    case UPZ_STREAM_ATTACH: return "attach";
    case UPZ_STREAM_DROP: return "drop";
    case UPZ_STREAM_TEXT:
    case UPZ_STREAM_AUDIO: break;
    }
    return avcodec_get_name((enum AVCodecID)item->codec);
}

/* MP4 keeps chapters in a text track and the timecode in another; both are written anew from the
 * chapters and the metadata. Matroska and MXF keep the timecode as such. */
static bool written_anew(const AVStream *st, const AVFormatContext *ic, const AVOutputFormat *of)
{
    if (st->codecpar->codec_type != AVMEDIA_TYPE_DATA) return false;
    if (st->codecpar->codec_tag == MKTAG('t', 'e', 'x', 't') && ic->nb_chapters) return true;
    return st->codecpar->codec_tag == MKTAG('t', 'm', 'c', 'd') &&
           (!strcmp(of->name, "mov") || !strcmp(of->name, "mp4") || !strcmp(of->name, "matroska") ||
            !strcmp(of->name, "mxf")) &&
           av_dict_get(st->metadata, "timecode", NULL, 0);
}

/* Would Matroska hold it? */
static bool keeps_more(const AVStream *st, const AVOutputFormat *of)
{
    const AVOutputFormat *mkv = av_guess_format("matroska", NULL, NULL);
    enum AVMediaType t = st->codecpar->codec_type;
    return mkv && mkv != of && t != AVMEDIA_TYPE_DATA &&
           (t == AVMEDIA_TYPE_ATTACHMENT ||
            avformat_query_codec(mkv, st->codecpar->codec_id, FF_COMPLIANCE_NORMAL) == 1);
}

static bool is_turned(const UpzSourceInfo *info)
{
    const int32_t *m = info->display_matrix;
    return info->has_display_matrix && (m[0] <= 0 || m[4] <= 0 || m[1] || m[3]);
}

static void describe_turn(const UpzSourceInfo *info, char *text, size_t size)
{
    const int32_t *m = info->display_matrix;
    bool mirrored = (double)m[0] * m[4] < (double)m[1] * m[3];
    if (!mirrored) snprintf(text, size, "turned by %d degrees", info->rotation);
    else if (m[1] || m[3]) snprintf(text, size, "mirrored and turned");
    else snprintf(text, size, m[4] < 0 ? "upside down, mirrored" : "mirrored");
}

static int report(UpzJoinPlan *plan, UprezContext *ctx, const UpzMuxInputs *in,
                  const AVOutputFormat *of, UpzAudioMode audio, const char *output, bool strict,
                  UprezError *err)
{
    for (int i = 0; i < plan->n; i++) {
        UpzStreamPlan *item = &plan->items[i];
        if (item->fate == UPZ_STREAM_VIDEO || item->fate == UPZ_STREAM_COPY ||
            item->fate == UPZ_STREAM_ATTACH)
            continue;
        const AVFormatContext *ic = item->from_other ? in->other : in->source;
        const AVStream *st = ic->streams[item->source];
        const char *type = av_get_media_type_string(st->codecpar->codec_type);
        if (st->codecpar->codec_type == AVMEDIA_TYPE_AUDIO && audio != UPZ_AUDIO_COPY &&
            (audio == UPZ_AUDIO_NONE || item->fate == UPZ_STREAM_AUDIO))
            continue; /* as asked */
        item->anew = item->fate == UPZ_STREAM_DROP && written_anew(st, ic, of);
        if (item->anew) continue;
        char what[96];
        const AVDictionaryEntry *file = av_dict_get(st->metadata, "filename", NULL, 0);
        char tag[AV_FOURCC_MAX_STRING_SIZE];
        snprintf(what, sizeof(what), "%s stream %d (%s)",
                 st->disposition & AV_DISPOSITION_ATTACHED_PIC ? "cover art"
                 : type ? type : "unknown", item->source,
                 file ? file->value
                 : st->codecpar->codec_id ? avcodec_get_name(st->codecpar->codec_id)
                 : st->codecpar->codec_tag
                     ? av_fourcc_make_string(tag, st->codecpar->codec_tag)
                     : "unknown");
        bool drop = item->fate == UPZ_STREAM_DROP;
        plan->damaged += item->damaged && drop;
        if (drop && (item->unknown || item->damaged)) {
            const char *how = item->damaged ? "its header is damaged"
                                            : "nothing in it says how it is coded";
            if (strict) return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be kept: %s; leave out "
                                        "--strict-streams", what, how);
            upz_warn(ctx, "%s is dropped: %s", what, how);
            plan->dropped++;
            continue;
        }
        if (strict)
            return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot hold %s%s; use %sleave out "
                            "--strict-streams", output, what, drop ? "" : " as it is",
                            keeps_more(st, of) ? ".mkv or " : "another container or ");
        if (drop) {
            upz_warn(ctx, "%s is dropped: %s files cannot hold it%s", what, of->name,
                     keeps_more(st, of) ? "; .mkv can" : "");
            plan->dropped++;
        } else if (is_lossless((enum AVCodecID)item->codec)) {
            upz_info(ctx, "%s becomes %s, without loss: %s files cannot hold it as it is", what,
                     avcodec_get_name((enum AVCodecID)item->codec), of->name);
        } else {
            upz_warn(ctx, "%s becomes %s: %s files cannot hold it as it is", what,
                     avcodec_get_name((enum AVCodecID)item->codec), of->name);
            plan->converted++;
        }
    }
    if (!is_turned(in->info) || upz_mux_holds_rotation(of->name)) return 0;
    char how[64];
    describe_turn(in->info, how, sizeof(how));
    if (strict)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "the picture is shown %s, which this FFmpeg cannot write "
                        "into a %s file; use .mp4 or .mov, or leave out --strict-streams", how, of->name);
    upz_warn(ctx, "the picture is shown %s, which this FFmpeg cannot write into a %s file; use .mp4 or "
             ".mov", how, of->name);
    return 0;
}

static int add_items(UpzJoinPlan *plan, const AVFormatContext *ic, bool is_other, bool has_other,
                     int video, UprezError *err)
{
    for (unsigned i = 0; ic && i < ic->nb_streams; i++) {
        enum AVMediaType t = ic->streams[i]->codecpar->codec_type;
        bool theirs = t == AVMEDIA_TYPE_AUDIO || t == AVMEDIA_TYPE_SUBTITLE ||
                      (is_other && t == AVMEDIA_TYPE_ATTACHMENT);
        if (is_other ? !theirs : has_other && theirs) continue;
        if (plan->n == UPZ_STREAMS_MAX)
            return upz_fail(err, UPREZ_ERR_OUTPUT, "more than %d streams", UPZ_STREAMS_MAX);
        plan->items[plan->n++] = (UpzStreamPlan){
            .source = (int)i, .from_other = is_other,
            .fate = !is_other && (int)i == video ? UPZ_STREAM_VIDEO : UPZ_STREAM_COPY};
    }
    return 0;
}

int upz_join_plan(UpzJoinPlan *plan, UprezContext *ctx, UpzSource *source, const UpzSurvey *other,
                  const UpzEncoderPlan *encoder, const char *output, UpzAudioMode audio,
                  bool strict, UprezError *err)
{
    memset(plan, 0, sizeof(*plan));
    const UpzSourceInfo *info = upz_source_info(source);
    const UpzSurvey *survey = upz_source_survey(source); /* it knows those that begin late, too */
    UpzMuxInputs in = {.source = survey ? survey->fmt : upz_source_format(source),
                       .other = other ? other->fmt : NULL, .info = info, .encoder = encoder,
                       .cut_start = INT64_MIN, .cut_end = INT64_MAX};
    AVCodecParameters *video = NULL;
    int r = upz_encoder_parameters(&video, encoder, err);
    in.video = video;
    if (r >= 0) r = add_items(plan, in.source, false, other != NULL, info->video_stream, err);
    if (r >= 0) r = add_items(plan, in.other, true, true, -1, err);
    const AVOutputFormat *of = av_guess_format(encoder->container, NULL, NULL);
    for (int i = 0; i < plan->n && r >= 0; i++)
        if (plan->items[i].fate != UPZ_STREAM_VIDEO)
            first_choice(&plan->items[i], stream_of(&plan->items[i], &in), of, audio);
    if (r >= 0) r = settle(plan, &in, of, output, err);
    if (r >= 0) r = report(plan, ctx, &in, of, audio, output, strict, err);
    avcodec_parameters_free(&video);
    return r;
}
