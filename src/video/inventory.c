#include "inventory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <libavutil/avstring.h>
#include <libavutil/hdr_dynamic_metadata.h>
#include <libavutil/pixdesc.h>
#include <libavutil/stereo3d.h>

#include "base/alloc.h"
#include "base/file.h"
#include "compat.h"
#include "input.h"
#include "mux.h"
#include "scratch.h"
#include "sink.h"

#define FRAMES 4  /* of a trial, and of a file that are looked at */
#define SIDE 256  /* px of a trial: what every encoder takes */

/* ---- kinds of side data ---- */

enum { CAPTIONS, HDR10_PLUS, HDR_VIVID, DOLBY_VISION, MASTERING, LIGHT, STEREO, SPHERICAL, FORMAT,
       TIMECODES, PROFILE, N_KINDS };

static const struct {
    const char *words;
    enum AVFrameSideDataType frame[2];  /* the same twice: one only */
    enum AVPacketSideDataType stream;   /* AV_PKT_DATA_NB: none */
} kinds[N_KINDS] = {
    [CAPTIONS] = {"the closed captions inside the picture stream (CEA-608/708) are",
                  {AV_FRAME_DATA_A53_CC, AV_FRAME_DATA_A53_CC}, AV_PKT_DATA_NB},
    [HDR10_PLUS] = {"the dynamic metadata of HDR10+ is",
                    {AV_FRAME_DATA_DYNAMIC_HDR_PLUS, AV_FRAME_DATA_DYNAMIC_HDR_PLUS}, AV_PKT_DATA_NB},
    [HDR_VIVID] = {"the dynamic metadata of HDR Vivid is",
                   {AV_FRAME_DATA_DYNAMIC_HDR_VIVID, AV_FRAME_DATA_DYNAMIC_HDR_VIVID}, AV_PKT_DATA_NB},
    [DOLBY_VISION] = {"the metadata of Dolby Vision (it belongs to the old pixels; the picture under it "
                      "stays) is",
                      {AV_FRAME_DATA_DOVI_RPU_BUFFER, AV_FRAME_DATA_DOVI_METADATA}, AV_PKT_DATA_DOVI_CONF},
    [MASTERING] = {"the mastering display's colours and luminance (HDR10) are",
                   {AV_FRAME_DATA_MASTERING_DISPLAY_METADATA, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA},
                   AV_PKT_DATA_MASTERING_DISPLAY_METADATA},
    [LIGHT] = {"the content light level (HDR10) is",
               {AV_FRAME_DATA_CONTENT_LIGHT_LEVEL, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL},
               AV_PKT_DATA_CONTENT_LIGHT_LEVEL},
    [STEREO] = {"the note how two views (3D) lie in the picture is",
                {AV_FRAME_DATA_STEREO3D, AV_FRAME_DATA_STEREO3D}, AV_PKT_DATA_STEREO3D},
    [SPHERICAL] = {"the note that the picture is a sphere (360 degrees) is",
                   {AV_FRAME_DATA_SPHERICAL, AV_FRAME_DATA_SPHERICAL}, AV_PKT_DATA_SPHERICAL},
    [FORMAT] = {"the active format description is", {AV_FRAME_DATA_AFD, AV_FRAME_DATA_AFD}, AV_PKT_DATA_AFD},
    [TIMECODES] = {"the timecode of each frame is",
                   {AV_FRAME_DATA_S12M_TIMECODE, AV_FRAME_DATA_S12M_TIMECODE}, AV_PKT_DATA_NB},
    [PROFILE] = {"the colour profile (ICC) is",
                 {AV_FRAME_DATA_ICC_PROFILE, AV_FRAME_DATA_ICC_PROFILE}, AV_PKT_DATA_ICC_PROFILE},
};

uint32_t upz_side_of_frame(const AVFrame *f)
{
    uint32_t side = 0;
    for (int k = 0; k < N_KINDS; k++)
        for (int i = 0; i < 2; i++)
            if (av_frame_get_side_data(f, kinds[k].frame[i])) side |= 1u << k;
    return side;
}

static uint32_t side_of_stream(const AVStream *st)
{
    uint32_t side = 0;
    size_t size;
    for (int k = 0; k < N_KINDS; k++)
        if (kinds[k].stream != AV_PKT_DATA_NB && upz_av_stream_side_data(st, kinds[k].stream, &size))
            side |= 1u << k;
    return side;
}

/* ---- sentences ---- */

void upz_losses_free(UpzLosses *l)
{
    for (int i = 0; i < l->n; i++) upz_free(l->items[i]);
    l->n = 0;
}

bool upz_losses_have(const UpzLosses *l, const char *sentence)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->items[i], sentence)) return true;
    return false;
}

/* A list of things in words: at most so many, then a count. */
typedef struct List {
    char text[400];
    int n, more;
} List;

static void list_add(List *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void list_add(List *l, const char *format, ...)
{
    size_t at = strlen(l->text);
    va_list args;
    if (l->n >= 8 || at > sizeof(l->text) - 100) {
        l->more++;
        return;
    }
    if (l->n++) at += (size_t)snprintf(l->text + at, sizeof(l->text) - at, ", ");
    va_start(args, format);
    vsnprintf(l->text + at, UPZ_MIN(sizeof(l->text) - at, (size_t)80), format, args);
    va_end(args);
}

/* mkv: Matroska keeps that. */
static int lose(UpzLosses *l, const UpzEncoderPlan *p, const char *what, const List *list, bool mkv,
                UprezError *err)
{
    char more[32] = "";
    if (list && !list->n) return 0;
    if (l->n == UPZ_LOSSES_MAX) return 0;
    if (list && list->more) snprintf(more, sizeof(more), " and %d more", list->more);
    bool matroska = !strcmp(p->container, "matroska");
    char *s = upz_asprintf("%s lost%s%s%s%s", what, list ? ": " : "", list ? list->text : "", more,
                           mkv && !matroska ? "; .mkv keeps them" : "");
    if (!s) return upz_fail_memory(err, 0, "the inventory");
    l->items[l->n++] = s;
    return 0;
}

/* ---- tags ---- */

static bool has_value(const AVDictionary *d, const char *value)
{
    const AVDictionaryEntry *e = NULL;
    while ((e = av_dict_get(d, "", e, AV_DICT_IGNORE_SUFFIX)))
        if (!strcmp(e->value, value)) return true;
    return false;
}

/* Under its name, or under another one. */
static bool file_has(const AVFormatContext *out, const AVDictionaryEntry *e)
{
    if (av_dict_get(out->metadata, e->key, NULL, 0) || has_value(out->metadata, e->value)) return true;
    for (unsigned i = 0; i < out->nb_programs; i++)
        if (has_value(out->programs[i]->metadata, e->value)) return true;
    for (unsigned i = 0; i < out->nb_streams; i++) /* Ogg's comments */
        if (av_dict_get(out->streams[i]->metadata, e->key, NULL, 0) &&
            has_value(out->streams[i]->metadata, e->value))
            return true;
    return false;
}

/* MP4's reader gives texts with a language twice. */
static bool is_double(const AVDictionary *d, const AVDictionaryEntry *e)
{
    size_t n = strlen(e->key);
    char base[64];
    if (n < 5 || n - 4 >= sizeof(base) || e->key[n - 4] != '-') return false;
    av_strlcpy(base, e->key, n - 3);
    const AVDictionaryEntry *plain = av_dict_get(d, base, NULL, 0);
    return plain && !strcmp(plain->value, e->value);
}

/* Written by who does not know the time. */
static bool is_no_time(const AVDictionaryEntry *e)
{
    return !av_strcasecmp(e->key, "creation_time") &&
           (av_strstart(e->value, "1970-01-01T00:00:00", NULL) || av_strstart(e->value, "1904-", NULL));
}

static bool has_timecode(const AVFormatContext *f)
{
    bool any = av_dict_get(f->metadata, "timecode", NULL, 0) != NULL;
    for (unsigned i = 0; i < f->nb_streams; i++)
        any |= av_dict_get(f->streams[i]->metadata, "timecode", NULL, 0) != NULL;
    return any;
}

/* A track that holds it is the stream map's to tell, where that track is not made anew. */
static bool track_told(const UpzInventory *b)
{
    for (int i = 0; i < b->plan->n; i++) {
        const UpzStreamPlan *item = &b->plan->items[i];
        const AVStream *st = (item->from_other ? b->other : b->source)->streams[item->source];
        if (item->fate == UPZ_STREAM_DROP && !item->anew &&
            st->codecpar->codec_tag == MKTAG('t', 'm', 'c', 'd'))
            return true;
    }
    return false;
}

static int file_tags(UpzLosses *l, const UpzInventory *b, const AVFormatContext *out, UprezError *err)
{
    AVDictionary *tags = NULL;
    const AVDictionaryEntry *e = NULL;
    List list = {.n = 0};
    int r = upz_mux_file_tags(&tags, b->source, b->info->video_stream);
    if (r < 0) r = upz_fail_memory(err, 0, "the inventory");
    while (r >= 0 && (e = av_dict_get(tags, "", e, AV_DICT_IGNORE_SUFFIX)))
        if (*e->value && av_strcasecmp(e->key, "timecode") && !is_double(tags, e) && !is_no_time(e) &&
            !file_has(out, e))
            list_add(&list, "%s", e->key);
    if (r >= 0) r = lose(l, b->encoder, "tags that such a file cannot hold are", &list, true, err);
    if (r >= 0 && has_timecode(b->source) && !has_timecode(out) && !track_told(b))
        r = lose(l, b->encoder, "the timecode is", NULL, false, err);
    av_dict_free(&tags);
    return r;
}

/* ---- streams ---- */

/* Names and numbers that a container gives its own streams. */
static bool is_own(const AVDictionaryEntry *e)
{
    static const char *const keys[] = {"handler_name", "encoder", "creation_time", "timecode",
                                       "reel_name", "track_name", "stereo_mode", "alpha_mode",
                                       "data_type", "filename", "mimetype", "duration"};
    for (int i = 0; i < UPZ_COUNT(keys); i++)
        if (!av_strcasecmp(e->key, keys[i])) return true;
    return !av_strcasecmp(e->key, "language") && !strcmp(e->value, "und");
}

static const struct {
    int bit;
    const char *word;
} roles[] = {{AV_DISPOSITION_FORCED, "forced"}, {AV_DISPOSITION_HEARING_IMPAIRED, "for the deaf"},
             {AV_DISPOSITION_VISUAL_IMPAIRED, "for the blind"}, {AV_DISPOSITION_COMMENT, "commentary"},
             {AV_DISPOSITION_ORIGINAL, "original"}, {AV_DISPOSITION_DUB, "dub"},
             {AV_DISPOSITION_LYRICS, "lyrics"}, {AV_DISPOSITION_KARAOKE, "karaoke"},
             {AV_DISPOSITION_CLEAN_EFFECTS, "clean effects"}, {AV_DISPOSITION_CAPTIONS, "captions"},
             {AV_DISPOSITION_DESCRIPTIONS, "descriptions"}};

static void stream_losses(List *list, const AVStream *in, const AVStream *out, int number, bool video)
{
    AVDictionary *tags = NULL;
    const AVDictionaryEntry *e = NULL;
    if (upz_mux_stream_tags(&tags, in, video) >= 0)
        while ((e = av_dict_get(tags, "", e, AV_DICT_IGNORE_SUFFIX))) {
            if (!*e->value || is_own(e) || is_double(tags, e)) continue;
            if (av_dict_get(out->metadata, e->key, NULL, 0) || has_value(out->metadata, e->value)) continue;
            list_add(list, "%s of stream %d", e->key, number);
        }
    for (int i = 0; i < UPZ_COUNT(roles); i++)
        if (in->disposition & roles[i].bit && !(out->disposition & roles[i].bit))
            list_add(list, "stream %d's role (%s)", number, roles[i].word);
    av_dict_free(&tags);
}

/* Streams of the output in the order of the plan; only those that are sure to be the same. */
static int streams(UpzLosses *l, const UpzInventory *b, const UpzJoinPlan *plan,
                   const AVFormatContext *out, int *video, UprezError *err)
{
    unsigned at = 0;
    List list = {.n = 0};
    *video = -1;
    for (int i = 0; i < plan->n; i++) {
        const UpzStreamPlan *item = &plan->items[i];
        const AVFormatContext *ic = item->from_other ? b->other : b->source;
        if (item->fate == UPZ_STREAM_DROP || item->fate == UPZ_STREAM_ATTACH || item->file) continue;
        while (at < out->nb_streams &&
               (out->streams[at]->codecpar->codec_type == AVMEDIA_TYPE_ATTACHMENT ||
                (out->streams[at]->disposition & AV_DISPOSITION_ATTACHED_PIC &&
                 !strcmp(b->encoder->container, "matroska"))))
            at++;
        if (at >= out->nb_streams) break;
        const AVStream *in = ic->streams[item->source], *st = out->streams[at++];
        if (in->codecpar->codec_type != st->codecpar->codec_type) continue;
        if (item->fate == UPZ_STREAM_VIDEO) *video = (int)at - 1;
        stream_losses(&list, in, st, item->source, item->fate == UPZ_STREAM_VIDEO);
    }
    if (*video < 0) *video = av_find_best_stream((AVFormatContext *)out, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    return lose(l, b->encoder, "what such a file cannot say of its streams is", &list, true, err);
}

static int chapters(UpzLosses *l, const UpzInventory *b, const AVFormatContext *out, UprezError *err)
{
    const AVFormatContext *from = b->other && b->other->nb_chapters ? b->other : b->source;
    List list = {.n = 0};
    bool gone = from->nb_chapters && !out->nb_chapters;
    if (b->whole && (gone || out->nb_chapters < from->nb_chapters))
        list_add(&list, "%u of %u", from->nb_chapters - out->nb_chapters, from->nb_chapters);
    return lose(l, b->encoder, "chapters are", &list, true, err);
}

/* ---- a look into a file ---- */

static int open_file(AVFormatContext **ic, const char *path, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    char *name = av_asprintf("file:%s", path);
    int r = name ? avformat_open_input(ic, name, NULL, NULL) : AVERROR(ENOMEM);
    if (r >= 0) r = avformat_find_stream_info(*ic, NULL);
    av_free(name);
    if (r >= 0) return 0;
    avformat_close_input(ic);
    return upz_fail(err, UPREZ_ERR_VERIFY, "%s was written but does not open: %s", path,
                    upz_av_error(r, why));
}

static uint32_t side_in_file(AVFormatContext *ic, int video)
{
    AVCodecContext *dec = NULL;
    AVPacket *p = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    uint32_t side = side_of_stream(ic->streams[video]);
    bool end = false;
    int n = 0;
    if (p && f && upz_decoder_open(&dec, ic->streams[video], NULL, 1, NULL) >= 0)
        while (!end && n < FRAMES) {
            end = av_read_frame(ic, p) < 0;
            if (!end && p->stream_index != video) {
                av_packet_unref(p);
                continue;
            }
            avcodec_send_packet(dec, end ? NULL : p);
            av_packet_unref(p);
            while (avcodec_receive_frame(dec, f) >= 0) {
                side |= upz_side_of_frame(f);
                av_frame_unref(f);
                n++;
            }
        }
    avcodec_free_context(&dec);
    av_packet_free(&p);
    av_frame_free(&f);
    return side;
}

/* ---- the trial ---- */

static bool add_data(AVFrame *f, enum AVFrameSideDataType type, const void *data, size_t size)
{
    AVFrameSideData *sd = av_frame_new_side_data(f, type, size);
    if (sd) memcpy(sd->data, data, size);
    return sd != NULL;
}

/* Side data of the kinds whose fate only an encoder knows, with made-up contents. */
static bool add_side(AVFrame *f, uint32_t side)
{
    static const uint8_t captions[] = {0xfc, 0x94, 0x20, 0xfd, 0x80, 0x80, 0xfc, 0xc8, 0xe9};
    static const uint8_t format[] = {8};
    static const uint32_t code[4] = {1, 0x00000001, 0, 0};
    bool ok = true;
    if (side & 1u << CAPTIONS) ok = ok && add_data(f, AV_FRAME_DATA_A53_CC, captions, sizeof(captions));
    if (side & 1u << FORMAT) ok = ok && add_data(f, AV_FRAME_DATA_AFD, format, sizeof(format));
    if (side & 1u << TIMECODES) ok = ok && add_data(f, AV_FRAME_DATA_S12M_TIMECODE, code, sizeof(code));
    if (side & 1u << STEREO) {
        AVStereo3D *s = av_stereo3d_create_side_data(f);
        if (s) s->type = AV_STEREO3D_SIDEBYSIDE;
        ok = ok && s;
    }
    if (side & 1u << HDR10_PLUS) {
        AVDynamicHDRPlus *h = av_dynamic_hdr_plus_create_side_data(f);
        ok = ok && h;
        if (h) {
            h->itu_t_t35_country_code = 0xB5;
            h->application_version = 1;
            h->num_windows = 1;
            h->targeted_system_display_maximum_luminance = (AVRational){400, 1};
            for (int i = 0; i < 3; i++) h->params[0].maxscl[i] = (AVRational){5000, 100000};
            h->params[0].average_maxrgb = (AVRational){1000, 100000};
            h->params[0].fraction_bright_pixels = (AVRational){0, 1000};
        }
    }
    return ok;
}

static UpzEncoderPlan small_plan(const UpzEncoderPlan *p)
{
    UpzEncoderPlan s = *p;
    AVCodecParameters *par = NULL;
    s.width = UPZ_MIN(p->width, SIDE);
    s.height = UPZ_MIN(p->height, SIDE);
    bool opens = upz_encoder_parameters(&par, &s, NULL) >= 0;
    avcodec_parameters_free(&par);
    return opens ? s : *p;
}

static int write_trial(const UpzEncoderPlan *p, uint32_t side, const char *path, UpzSinkResult *made,
                       UprezError *err)
{
    UpzSink *sink = NULL;
    AVFrame *f = av_frame_alloc();
    int64_t step = p->frame_rate.num > 0 ? av_rescale_q(1, av_inv_q(p->frame_rate), p->time_base) : 1;
    int r = f ? upz_sink_open(&sink, p, path, NULL, err) : upz_fail_memory(err, sizeof(*f), "the inventory");
    for (int i = 0; i < FRAMES && r >= 0; i++) {
        f->format = p->palette ? av_get_pix_fmt(uprez_format_name(&p->format)) : p->pix_fmt;
        f->width = p->width;
        f->height = p->height;
        if (av_frame_get_buffer(f, 0) < 0 || !add_side(f, side))
            r = upz_fail_memory(err, (size_t)p->width * (size_t)p->height, "the inventory");
        for (int k = 0; k < 4 && r >= 0 && f->buf[k]; k++) memset(f->buf[k]->data, 64 + 8 * i, f->buf[k]->size);
        f->pts = p->origin + i * UPZ_MAX(step, 1);
        upz_av_set_duration(f, UPZ_MAX(step, 1));
        if (r >= 0) r = upz_sink_write(sink, f, err);
        av_frame_unref(f);
    }
    if (r >= 0) r = upz_sink_finish(sink, made, err);
    upz_sink_close(&sink);
    av_frame_free(&f);
    return r;
}

/* Writes a file with tags, chapters and frames with such side data, and opens it. NULL in *ic: nothing
 * could be tried. */
static int make_trial(AVFormatContext **ic, UpzScratch *out, const UpzInventory *b, UprezContext *ctx,
                      uint32_t side, UprezError *err)
{
    UpzEncoderPlan p = small_plan(b->encoder);
    UpzScratch seg;
    UpzSinkResult made;
    UpzJoinPlan plan = {.n = 1};
    UpzJoinResult *written = upz_calloc(1, sizeof(*written));
    struct rlimit files;
    plan.items[0] = (UpzStreamPlan){.source = b->info->video_stream, .fate = UPZ_STREAM_VIDEO};
    *ic = NULL;
    UprezError why = {0};
    bool can = getrlimit(RLIMIT_FSIZE, &files) == 0 && files.rlim_cur == RLIM_INFINITY;
    if (!written) return upz_fail_memory(err, sizeof(*written), "the inventory");
    int r = upz_scratch_open(&seg) && upz_scratch_open(out) && can && !p.y4m ? 0 : UPREZ_AGAIN;
    if (r >= 0) r = write_trial(&p, side, seg.path, &made, &why);
    if (r >= 0) {
        UpzJoinSegment s = {.path = seg.path, .first = made.first, .end = made.end};
        UpzJoinParams jp = {.segments = &s, .n_segments = 1, .output = out->path, .start = INT64_MIN,
                            .end = INT64_MAX, .info = b->info, .survey = b->survey,
                            .other = b->chapters};
        r = upz_join(&plan, ctx, &jp, &p, written, &why);
    }
    if (r >= 0) r = open_file(ic, out->path, &why);
    upz_scratch_close(&seg);
    upz_free(written);
    if (r == UPREZ_ERR_MEMORY && err) *err = why;
    return r == UPREZ_ERR_MEMORY ? r : 0;
}

/* ---- what is lost ---- */

static int side_losses(UpzLosses *l, const UpzEncoderPlan *p, uint32_t lost, UprezError *err)
{
    int r = 0;
    for (int k = 0; k < N_KINDS && r >= 0; k++)
        if (lost & 1u << k) r = lose(l, p, kinds[k].words, NULL, false, err);
    return r;
}

static uint32_t side_before(const UpzInventory *b)
{
    return b->side | side_of_stream(b->source->streams[b->info->video_stream]);
}

/* Is there anything that could be lost? */
static bool says_anything(const UpzInventory *b)
{
    const AVStream *st = b->source->streams[b->info->video_stream];
    return side_before(b) || b->source->nb_chapters || av_dict_count(b->source->metadata) ||
           av_dict_count(st->metadata);
}

int upz_losses_foresee(UpzLosses *l, const UpzInventory *b, UprezContext *ctx, UprezError *err)
{
    AVFormatContext *ic = NULL;
    UpzScratch out = {.fd = -1};
    uint32_t side = side_before(b);
    if (b->encoder->y4m) return side_losses(l, b->encoder, side, err);
    if (!b->survey || !says_anything(b)) return 0;
    int video, r = make_trial(&ic, &out, b, ctx, side, err);
    if (r >= 0 && ic) {
        UpzJoinPlan plan = {.n = 1};
        plan.items[0] = (UpzStreamPlan){.source = b->info->video_stream, .fate = UPZ_STREAM_VIDEO};
        UpzInventory own = *b;
        own.other = NULL;
        r = file_tags(l, b, ic, err);
        UpzLosses rest = {.n = 0}; /* of the streams only the picture's is there: told afterwards */
        if (r >= 0) r = streams(&rest, &own, &plan, ic, &video, err);
        upz_losses_free(&rest);
        if (r >= 0) r = chapters(l, b, ic, err);
        if (r >= 0 && video >= 0) r = side_losses(l, b->encoder, side & ~side_in_file(ic, video), err);
    }
    avformat_close_input(&ic);
    upz_scratch_close(&out);
    return r;
}

int upz_losses_find(UpzLosses *l, const UpzInventory *b, UprezContext *ctx, const char *path,
                    UprezError *err)
{
    AVFormatContext *ic = NULL, *trial = NULL;
    UpzScratch out = {.fd = -1};
    int video = -1, r = open_file(&ic, path, err);
    if (r >= 0) r = file_tags(l, b, ic, err);
    if (r >= 0) r = streams(l, b, b->plan, ic, &video, err);
    if (r >= 0) r = chapters(l, b, ic, err);
    uint32_t lost = r >= 0 && video >= 0 ? side_before(b) & ~side_in_file(ic, video) : 0;
    /* what later frames have is not in the first ones: then the encoder is asked */
    if (r >= 0 && lost) r = make_trial(&trial, &out, b, ctx, lost, err);
    if (r >= 0 && lost && trial && trial->nb_streams) lost &= ~side_in_file(trial, 0);
    if (r >= 0) r = side_losses(l, b->encoder, lost, err);
    avformat_close_input(&ic);
    avformat_close_input(&trial);
    upz_scratch_close(&out);
    return r;
}
