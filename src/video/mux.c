#include "mux.h"

#include <string.h>
#include <libavutil/avstring.h>

#include "base/alloc.h"
#include "compat.h"
#include "mov_tags.h"

/* Facts about the old file that would be lies about the new one: of Matroska, MP4, HLS; FLV; MXF. */
static const char *const stale[] = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "DURATION", "BPS",
    "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "vendor_id", "variant_bitrate", "rotate",
    "hasVideo", "hasAudio", "hasMetadata", "hasKeyframes", "hasCuePoints", "canSeekToEnd", "datasize",
    "videosize", "audiosize", "lasttimestamp", "lastkeyframetimestamp", "lastkeyframelocation",
    "totalduration", "audiodelay",
    "uid", "generation_uid", "product_uid", "product_version", "application_platform",
    "operational_pattern_ul", "toolkit_version", "material_package_umid", "file_package_umid"};

static int copy_metadata(AVDictionary **dst, const AVDictionary *src, bool video)
{
    const AVDictionaryEntry *e = NULL;
    while ((e = av_dict_get(src, "", e, AV_DICT_IGNORE_SUFFIX))) {
        bool skip = av_strstart(e->key, "_STATISTICS_", NULL);
        for (int i = 0; i < UPZ_COUNT(stale) && !skip; i++)
            skip = !av_strcasecmp(e->key, stale[i]) ||
                   (av_strstart(e->key, stale[i], NULL) && e->key[strlen(stale[i])] == '-');
        if (video && !strcmp(e->key, "alpha_mode")) skip = true;
        if (!skip && av_dict_set(dst, e->key, e->value, 0) < 0) return AVERROR(ENOMEM);
    }
    return 0;
}

int upz_mux_file_tags(AVDictionary **tags, const AVFormatContext *ic, int stream)
{
    const AVDictionaryEntry *e = NULL;
    const AVProgram *p = av_find_program_from_stream((AVFormatContext *)ic, NULL, stream);
    int r = copy_metadata(tags, ic->metadata, false);
    while (r >= 0 && p && (e = av_dict_get(p->metadata, "", e, AV_DICT_IGNORE_SUFFIX)))
        if (*e->value) r = av_dict_set(tags, e->key, e->value, AV_DICT_DONT_OVERWRITE);
    return r < 0 ? r : 0;
}

int upz_mux_stream_tags(AVDictionary **tags, const AVStream *src, bool enlarged)
{
    return copy_metadata(tags, src->metadata, enlarged);
}

/* Players of MP4 and MOV show the handler's name; FFmpeg's older demuxers do not read any other. */
static int name_handler(AVStream *st, const AVOutputFormat *of)
{
    const AVDictionaryEntry *title = av_dict_get(st->metadata, "title", NULL, 0);
    const AVDictionaryEntry *name = av_dict_get(st->metadata, "handler_name", NULL, 0);
    static const char *const plain[] = {"VideoHandler", "SoundHandler", "SubtitleHandler",
                                        "DataHandler", "GPAC ISO Video Handler",
                                        "GPAC ISO Audio Handler", ""};
    bool own = name != NULL;
    for (int i = 0; i < UPZ_COUNT(plain) && own; i++) own = strcmp(name->value, plain[i]) != 0;
    if (!title || !*title->value || own || !upz_mov_has_tags(of->name)) return 0;
    return av_dict_set(&st->metadata, "handler_name", title->value, 0);
}

/* MOV's old numbers of languages, and so FFmpeg's table of them, know one code of each. */
static int name_language(AVStream *st, const AVOutputFormat *of)
{
    static const char codes[][8] = {"deu ger", "fre fra", "nld dut", "swe sve", "ell gre", "isl ice",
                                    "zho chi", "fas per", "sqi alb", "rum ron", "cze ces", "slo slk",
                                    "hye arm", "kat geo", "bod tib", "mya bur", "msa may", "cym wel",
                                    "eus baq", "mkd mac"};
    const AVDictionaryEntry *e = av_dict_get(st->metadata, "language", NULL, 0);
    for (int i = 0; e && !strcmp(of->name, "mov") && i < UPZ_COUNT(codes); i++)
        if (!strncmp(e->value, codes[i], 3) && !e->value[3])
            return av_dict_set(&st->metadata, "language", codes[i] + 4, 0);
    return 0;
}

static int add_side_data(AVStream *st, enum AVPacketSideDataType type, const void *data, size_t size)
{
    void *p = upz_av_stream_new_side_data(st, type, size);
    if (!p) return AVERROR(ENOMEM);
    memcpy(p, data, size);
    return 0;
}

/* A turned picture lies outside of the view until the matrix moves it back. */
static void move_into_view(int32_t m[9], int64_t width, int64_t height)
{
    for (int i = 0; i < 2; i++) { /* along x, along y; 16.16, and whole turns have no third column */
        int64_t right = m[i] * width, down = m[i + 3] * height;
        int64_t least = UPZ_MIN(UPZ_MIN(0, right), UPZ_MIN(down, right + down));
        m[6 + i] = (int32_t)av_clip64(-least, INT32_MIN, INT32_MAX);
    }
}

/* The display matrix is in pixels of the new size; what a stream says in itself has no place in it. */
static int add_matrix(AVStream *st, const UpzMuxInputs *in)
{
    int32_t m[9];
    memcpy(m, in->info->display_matrix, sizeof(m));
    AVRational sar = in->encoder->sar.num > 0 ? in->encoder->sar : (AVRational){1, 1};
    if (!m[6] && !m[7])
        move_into_view(m, av_rescale(in->encoder->width, sar.num, sar.den), in->encoder->height);
    else
        for (int i = 6; i < 8; i++)
            m[i] = (int32_t)av_clip64(av_rescale(m[i], in->encoder->width,
                                                 UPZ_MAX(in->info->width, 1)), INT32_MIN, INT32_MAX);
    return add_side_data(st, AV_PKT_DATA_DISPLAYMATRIX, m, sizeof(m));
}

uint32_t upz_mux_tag(const AVOutputFormat *of, const AVCodecParameters *par)
{
    enum AVCodecID id = of->codec_tag ? av_codec_get_id(of->codec_tag, par->codec_tag)
                                      : AV_CODEC_ID_NONE;
    return id == AV_CODEC_ID_NONE || id == par->codec_id ? par->codec_tag : 0;
}

uint32_t upz_segment_tag(const AVOutputFormat *of, const AVCodecParameters *par)
{
    const bool known = strcmp(of->name, "nut") || av_codec_get_tag(of->codec_tag, par->codec_id);
    return known ? upz_mux_tag(of, par) : UPZ_SEGMENT_TAG;
}

static int video_stream(AVStream *st, const AVOutputFormat *of, const UpzMuxInputs *in)
{
    const UpzEncoderPlan *p = in->encoder;
    int r = avcodec_parameters_copy(st->codecpar, in->video);
    st->codecpar->codec_tag = upz_mux_tag(of, st->codecpar);
    st->time_base = av_cmp_q(av_mul_q(p->codec_base, p->frame_rate), (AVRational){1, 1})
                        ? p->time_base : p->codec_base;
    st->avg_frame_rate = p->frame_rate;
    st->sample_aspect_ratio = st->codecpar->sample_aspect_ratio = p->sar;
    if (r >= 0 && in->info->has_display_matrix) r = add_matrix(st, in);
    if (r >= 0 && p->has_mastering)
        r = add_side_data(st, AV_PKT_DATA_MASTERING_DISPLAY_METADATA, &p->mastering,
                          sizeof(p->mastering));
    if (r >= 0 && p->has_light)
        r = add_side_data(st, AV_PKT_DATA_CONTENT_LIGHT_LEVEL, &p->light, sizeof(p->light));
    static const enum AVPacketSideDataType kept[] = {AV_PKT_DATA_STEREO3D, AV_PKT_DATA_SPHERICAL,
                                                     AV_PKT_DATA_MASTERING_DISPLAY_METADATA,
                                                     AV_PKT_DATA_CONTENT_LIGHT_LEVEL};
    const AVStream *src = in->source ? in->source->streams[in->info->video_stream] : NULL;
    for (int i = 0; src && i < UPZ_COUNT(kept) && r >= 0; i++) {
        size_t size;
        const void *data = upz_av_stream_side_data(src, kept[i], &size);
        if (data && !upz_av_stream_side_data(st, kept[i], &size)) {
            data = upz_av_stream_side_data(src, kept[i], &size);
            r = add_side_data(st, kept[i], data, size);
        }
    }
    if (r >= 0 && src) r = copy_metadata(&st->metadata, src->metadata, true);
    if (r >= 0) r = name_handler(st, of);
    if (r >= 0) r = name_language(st, of);
    if (r >= 0 && p->alpha && !strcmp(p->segment, "matroska"))
        r = av_dict_set(&st->metadata, "alpha_mode", "1", 0);
    if (src) st->disposition = src->disposition;
    return r;
}

/* The source's tag where it means the same in this container. */
static uint32_t fitting_tag(const AVOutputFormat *of, const AVCodecParameters *par)
{
    unsigned other;
    if (!of->codec_tag || av_codec_get_id(of->codec_tag, par->codec_tag) == par->codec_id ||
        !av_codec_get_tag2(of->codec_tag, par->codec_id, &other))
        return par->codec_tag;
    return 0;
}

static int copied_stream(AVStream *st, const AVOutputFormat *of, const AVStream *src)
{
    int r = avcodec_parameters_copy(st->codecpar, src->codecpar);
    if (r >= 0) r = upz_av_copy_stream_side_data(st, src);
    st->codecpar->codec_tag = fitting_tag(of, src->codecpar);
    st->time_base = src->time_base;
    st->avg_frame_rate = src->avg_frame_rate;
    st->r_frame_rate = src->r_frame_rate;
    st->sample_aspect_ratio = src->sample_aspect_ratio;
    return r;
}

/* Cover art in Matroska is a file of its own. */
static int attached_stream(AVStream *st, const AVStream *src)
{
    bool png = src->codecpar->codec_id == AV_CODEC_ID_PNG;
    AVCodecParameters *par = st->codecpar;
    par->codec_type = AVMEDIA_TYPE_ATTACHMENT;
    par->codec_id = src->codecpar->codec_id;
    size_t n = (size_t)src->attached_pic.size;
    par->extradata = av_mallocz(n + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!par->extradata) return AVERROR(ENOMEM);
    memcpy(par->extradata, src->attached_pic.data, n);
    par->extradata_size = (int)n;
    int r = av_dict_set(&st->metadata, "mimetype", png ? "image/png" : "image/jpeg", 0);
    if (r >= 0)
        r = av_dict_set(&st->metadata, "filename", png ? "cover.png" : "cover.jpg",
                        AV_DICT_DONT_OVERWRITE);
    return r;
}

static int converted_stream(AVStream *st, const AVStream *src, const UpzStreamPlan *item,
                            const AVCodecParameters *par)
{
    int r = 0;
    if (par) {
        r = avcodec_parameters_copy(st->codecpar, par);
    } else {
        st->codecpar->codec_type = src->codecpar->codec_type;
        st->codecpar->codec_id = (enum AVCodecID)item->codec;
        st->codecpar->sample_rate = src->codecpar->sample_rate;
        r = av_channel_layout_copy(&st->codecpar->ch_layout, &src->codecpar->ch_layout);
    }
    st->time_base = item->fate == UPZ_STREAM_AUDIO && st->codecpar->sample_rate > 0
                        ? (AVRational){1, st->codecpar->sample_rate} : (AVRational){1, 1000};
    return r;
}

static int add_stream(AVFormatContext *oc, const UpzStreamPlan *item, const UpzMuxInputs *in,
                      const AVCodecParameters *converted)
{
    AVStream *st = avformat_new_stream(oc, NULL);
    if (!st) return AVERROR(ENOMEM);
    if (item->fate == UPZ_STREAM_VIDEO) return video_stream(st, oc->oformat, in);
    const AVFormatContext *ic = item->from_other ? in->other : in->source;
    const AVStream *src = ic->streams[item->source];
    int r = item->fate == UPZ_STREAM_COPY     ? copied_stream(st, oc->oformat, src)
            : item->fate == UPZ_STREAM_ATTACH ? attached_stream(st, src)
                                              : converted_stream(st, src, item, converted);
    if (r >= 0) r = copy_metadata(&st->metadata, src->metadata, false);
    if (r >= 0) r = name_handler(st, oc->oformat);
    if (r >= 0) r = name_language(st, oc->oformat);
    st->disposition = src->disposition;
    if (item->fate == UPZ_STREAM_ATTACH) st->disposition = 0;
    return r;
}

static int copy_chapters(AVFormatContext *oc, const AVFormatContext *ic, const UpzMuxInputs *in)
{
    for (unsigned i = 0; i < ic->nb_chapters; i++) {
        const AVChapter *c = ic->chapters[i];
        int64_t cut0 = in->cut_start == INT64_MIN ? INT64_MIN
                       : av_rescale_q(in->cut_start, AV_TIME_BASE_Q, c->time_base);
        int64_t cut1 = in->cut_end == INT64_MAX ? INT64_MAX
                       : av_rescale_q(in->cut_end, AV_TIME_BASE_Q, c->time_base);
        int64_t shift = av_rescale_q(in->shift, AV_TIME_BASE_Q, c->time_base);
        if (c->start >= cut1 || (c->end != AV_NOPTS_VALUE && c->end <= cut0)) continue;
        AVChapter *n = av_mallocz(sizeof(*n));
        if (!n) return AVERROR(ENOMEM);
        n->id = c->id;
        n->time_base = c->time_base;
        n->start = UPZ_MAX(c->start, cut0) + shift;
        n->end = c->end == AV_NOPTS_VALUE ? c->end : UPZ_MIN(c->end, cut1) + shift;
        int r = av_dict_copy(&n->metadata, c->metadata, 0);
        if (r >= 0) r = av_dynarray_add_nofree(&oc->chapters, (int *)&oc->nb_chapters, n);
        if (r < 0) {
            av_dict_free(&n->metadata);
            av_free(n);
            return r;
        }
    }
    return 0;
}

int upz_mux_create(AVFormatContext **out, const UpzJoinPlan *plan, const UpzMuxInputs *in,
                   const AVCodecParameters *const *converted, int stream[UPZ_STREAMS_MAX])
{
    AVFormatContext *oc = NULL;
    int r = avformat_alloc_output_context2(&oc, NULL, in->encoder->container, NULL);
    for (int i = 0; i < plan->n && r >= 0; i++) {
        const UpzStreamPlan *item = &plan->items[i];
        stream[i] = -1;
        if (item->fate == UPZ_STREAM_DROP) continue;
        stream[i] = (int)oc->nb_streams;
        r = add_stream(oc, item, in, converted ? converted[i] : NULL);
    }
    if (r >= 0 && in->source)
        r = upz_mux_file_tags(&oc->metadata, in->source, in->info->video_stream);
    const AVFormatContext *chapters = in->other && in->other->nb_chapters ? in->other : in->source;
    if (r >= 0 && chapters) r = copy_chapters(oc, chapters, in);
    if (r >= 0 && upz_mov_has_tags(oc->oformat->name)) r = upz_mov_tags_reserve(oc);
    /* Ogg's comments belong to streams */
    if (r >= 0 && av_strstart(oc->oformat->name, "og", NULL) && oc->nb_streams)
        r = av_dict_copy(&oc->streams[0]->metadata, oc->metadata, AV_DICT_DONT_OVERWRITE);
    if (r < 0) {
        avformat_free_context(oc);
        oc = NULL;
    } else {
        oc->flags |= AVFMT_FLAG_BITEXACT;
        oc->max_interleave_delta = 0;
        oc->max_delay = 700000; /* MPEG's buffers; what FFmpeg's command uses */
        oc->strict_std_compliance = FF_COMPLIANCE_UNOFFICIAL;
        /* older libavformat calls FLAC in MP4 an experiment; browsers have played it for years */
        for (unsigned i = 0; i < oc->nb_streams; i++)
            if (oc->streams[i]->codecpar->codec_id == AV_CODEC_ID_FLAC)
                oc->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
        /* Matroska stores no decoding times: those before zero need no shift */
        if (av_strstart(in->encoder->container, "matroska", NULL) ||
            av_strstart(in->encoder->container, "webm", NULL))
            oc->avoid_negative_ts = 0;
    }
    *out = oc;
    return r < 0 ? r : 0;
}

int upz_mux_header(AVFormatContext *out)
{
    AVDictionary *options = NULL;
    const char *n = out->oformat->name;
    int r = 0;
    if (!strcmp(n, "mp4") || !strcmp(n, "mov") || !strcmp(n, "ipod"))
        r = av_dict_set(&options, "movflags", "+faststart+write_colr", 0);
    if (r >= 0) r = avformat_write_header(out, &options);
    av_dict_free(&options);
    return r < 0 ? r : 0;
}

int upz_mux_settle(const char *path, const UpzMuxInputs *in, UprezError *err)
{
    AVDictionary *wanted = NULL;
    if (!in->source || !upz_mov_has_tags(in->encoder->container)) return 0;
    int r = upz_mux_file_tags(&wanted, in->source, in->info->video_stream);
    r = r < 0 ? upz_fail_memory(err, 0, "tags")
              : av_dict_count(wanted) ? upz_mov_tags_settle(path, wanted, err) : 0;
    av_dict_free(&wanted);
    return r;
}

bool upz_mux_holds_rotation(const char *container)
{
    static const char *const yes[] = {"mp4", "mov", "ipod", "3gp", "3g2", "psp",
#if UPZ_AV7
                                      "matroska", "webm",
#endif
    };
    for (int i = 0; i < UPZ_COUNT(yes); i++)
        if (!strcmp(container, yes[i])) return true;
    return false;
}
