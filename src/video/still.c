#include "still.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <libavutil/avstring.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "compat.h"
#include "input.h"
#include "mux.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "source.h"
#include "still_jpeg.h"
#include "still_meta.h"

#define MAX_FILE ((size_t)1 << 31)

static UpzStillKind kind_of(const char *path)
{
    const char *e = upz_extension(path);
    if (!strcasecmp(e, "png")) return UPZ_STILL_PNG;
    if (!strcasecmp(e, "jpg") || !strcasecmp(e, "jpeg") || !strcasecmp(e, "jpe"))
        return UPZ_STILL_JPEG;
    if (!strcasecmp(e, "webp")) return UPZ_STILL_WEBP;
    if (!strcasecmp(e, "tif") || !strcasecmp(e, "tiff")) return UPZ_STILL_TIFF;
    return UPZ_STILL_NONE;
}

bool upz_still_can_write(const char *path)
{
    return kind_of(path) != UPZ_STILL_NONE;
}

/* Formats of pictures that may move. */
static bool may_be_still(const AVFormatContext *fmt)
{
    const char *n = fmt->iformat->name;
    const AVDictionaryEntry *brand = av_dict_get(fmt->metadata, "major_brand", NULL, 0);
    if (!strcmp(n, "gif") || !strcmp(n, "apng") || !strncmp(n, "jpegxl", 6)) return true;
    return brand && (!strcmp(brand->value, "avif") || !strcmp(brand->value, "mif1") ||
                     !strcmp(brand->value, "heic"));
}

/* One packet in every stream (transparency may be one of its own), and no stream but pictures. */
static bool one_frame(AVFormatContext *fmt)
{
    AVPacket *p = av_packet_alloc();
    unsigned n = 0, streams = fmt->nb_streams, last = UINT_MAX;
    bool one = p && streams;
    for (unsigned i = 0; i < streams; i++)
        one = one && fmt->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_VIDEO;
    while (one && n <= streams && av_read_frame(fmt, p) >= 0) {
        one = (unsigned)p->stream_index != last;
        last = (unsigned)p->stream_index;
        n++;
        av_packet_unref(p);
    }
    av_packet_free(&p);
    return one && n && n <= streams;
}

static bool is_address(const char *path)
{
    return !upz_exists(path) && strstr(path, "://");
}

bool upz_still_probe(const char *path, bool any, UpzWatch *watch)
{
    upz_av_quiet();
    if (!strcmp(path, "-") || upz_is_dir(path) || (!upz_exists(path) && !is_address(path)))
        return false;
    AVDictionary *options = NULL;
    AVFormatContext *fmt = avformat_alloc_context();
    bool still = false;
    if (!fmt) return false;
    fmt->interrupt_callback = upz_input_interrupt(watch);
    upz_watch_enter(watch, UPZ_STAGE_SOURCE);
    char *name = av_asprintf("%s%s", is_address(path) ? "" : "file:", path);
    if (name && av_dict_set(&options, "pattern_type", "none", 0) >= 0 &&
        avformat_open_input(&fmt, name, NULL, &options) >= 0)
        still = upz_input_is_still(fmt, 0) || ((any || may_be_still(fmt)) && one_frame(fmt));
    avformat_close_input(&fmt);
    upz_watch_leave(watch, UPZ_STAGE_SOURCE);
    av_dict_free(&options);
    av_free(name);
    return still;
}

void upz_still_info_free(UpzStillInfo *info)
{
    upz_free(info->icc);
    upz_free(info->exif);
    upz_still_texts_free(&info->texts);
    upz_still_colour_free(&info->colour);
    *info = (UpzStillInfo){.orientation = 1};
}

static void *duplicate(const void *d, size_t n)
{
    void *copy = n ? upz_calloc(1, n) : NULL;
    if (copy) memcpy(copy, d, n);
    return copy;
}

/* A picture's bytes: mapped, or fetched from an address. */
typedef struct Bytes {
    UpzMap map;
    uint8_t *own;
    const uint8_t *data;
    size_t size;
} Bytes;

static int fetch(Bytes *b, const char *url, UpzWatch *watch, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    AVIOContext *io = NULL;
    size_t cap = 0;
    int n = 1;
    AVIOInterruptCB interrupt = upz_input_interrupt(watch);
    upz_watch_enter(watch, UPZ_STAGE_SOURCE);
    int r = avio_open2(&io, url, AVIO_FLAG_READ, &interrupt, NULL);
    while (r >= 0 && n > 0) {
        if (!upz_grow(&b->own, &cap, b->size + 65536, 1, MAX_FILE)) r = AVERROR(ENOMEM);
        n = r >= 0 ? avio_read(io, b->own + b->size, 65536) : 0;
        upz_watch_beat(watch);
        if (n > 0) b->size += (size_t)n;
        else if (n < 0 && n != AVERROR_EOF) r = n;
    }
    avio_closep(&io);
    upz_watch_leave(watch, UPZ_STAGE_SOURCE);
    if (upz_watch_ended(watch)) return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while reading %s", url);
    b->data = b->own;
    if (r == AVERROR(ENOMEM)) return upz_fail_memory(err, b->size, "the picture file");
    return r < 0 ? upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be read: %s", url, upz_av_error(r, why))
                 : 0;
}

static int bytes_open(Bytes *b, const char *path, UpzWatch *watch, UprezError *err)
{
    *b = (Bytes){0};
    if (is_address(path)) return fetch(b, path, watch, err);
    int r = upz_map_open(&b->map, path, MAX_FILE, UPREZ_ERR_INPUT, err);
    b->data = b->map.data;
    b->size = b->map.size;
    return r;
}

static void bytes_close(Bytes *b)
{
    if (b->own) upz_free(b->own);
    else upz_map_close(&b->map);
}

/* A profile speaks of red, green and blue, of gray, or of inks, which are decoded to RGB. */
static bool fits_profile(const AVFrame *av, const uint8_t *icc, size_t n)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get((enum AVPixelFormat)av->format);
    bool gray = d && d->nb_components < 3 && !(d->flags & AV_PIX_FMT_FLAG_PAL);
    return n >= 20 && !memcmp(icc + 16, gray ? "GRAY" : "RGB ", 4);
}

/* EXIF as a block of its own; out of a TIFF file, whose tags it is, too. */
static int read_exif(UpzStillInfo *info, const uint8_t *d, size_t size, UprezError *err)
{
    const uint8_t *exif;
    size_t n;
    if (!upz_exif_find(d, size, &exif, &n)) return 0;
    info->orientation = upz_exif_orientation(exif, n);
    if (exif == d) {
        UpzBytes copy = {0};
        bool ok = upz_exif_copy(&copy, d, n);
        if (!ok || !copy.n) upz_free(copy.d);
        if (!ok) return upz_fail_memory(err, n, "EXIF");
        info->exif = copy.n ? copy.d : NULL;
        info->exif_size = copy.n;
        upz_tiff_others(d, n, info->others + 5, sizeof(info->others) - 5);
        if (info->others[5]) memcpy(info->others, "tags ", 5);
        return 0;
    }
    if (n > 1 << 24) return 0;
    info->exif = duplicate(exif, n);
    info->exif_size = info->exif ? n : 0;
    return n && !info->exif ? upz_fail_memory(err, n, "EXIF") : 0;
}

static bool contains(const uint8_t *d, size_t n, const char *what)
{
    return memmem(d, n, what, strlen(what)) != NULL;
}

/* Everything that the file's bytes say beside the pixels, its profile aside. */
static int read_words(UpzStillInfo *info, const uint8_t *d, size_t n, UprezError *err)
{
    upz_density_find(d, n, &info->density);
    int r = read_exif(info, d, n, err);
    if (r >= 0) r = upz_still_texts_find(&info->texts, d, n, err);
    if (r >= 0) r = upz_still_colour_find(&info->colour, d, n, err);
    /* other kinds of files are not taken apart here, but what they have is named */
    if (upz_still_kind(d, n) == UPZ_STILL_NONE) {
        bool exif = contains(d, n, "Exif"), xmp = contains(d, n, "<x:xmpmeta");
        snprintf(info->others, sizeof(info->others), "%s%s%s", exif ? "EXIF" : "",
                 exif && xmp ? ", " : "", xmp ? "XMP" : "");
    }
    return r;
}

/* ICC from the frame; EXIF from the file, which not every FFmpeg looks into. */
static int read_info(UpzStillInfo *info, UpzFrame *f, UprezContext *ctx, const char *path,
                     UpzWatch *watch, UprezError *err)
{
    Bytes map;
    size_t n;
    int r = bytes_open(&map, path, watch, err);
    if (r < 0) {
        bytes_close(&map);
        return r;
    }
    const char *how = upz_tiff_unreadable(map.data, map.size);
    int pages = upz_tiff_pages(map.data, map.size);
    if (how) {
        bytes_close(&map);
        return upz_fail(err, UPREZ_ERR_INPUT, "%s is a TIFF whose picture is stored %s, which cannot be "
                        "read here; save it in strips, or as PNG, with another program", path, how);
    }
    if (pages > 1)
        upz_warn(ctx, "%s has %d pages: only the first one is enlarged", path, pages);
    if (!upz_still_complete(map.data, map.size)) f->damaged = true;
    if (info) r = read_words(info, map.data, map.size, err);
    bytes_close(&map);
    const AVFrameSideData *icc = av_frame_get_side_data(f->av, AV_FRAME_DATA_ICC_PROFILE);
    if (r >= 0 && info && icc && icc->size) {
        /* a profile knows its size; some decoders add the container's padding */
        const uint8_t *d = icc->data;
        n = icc->size;
        size_t own = n < 128 ? n : (size_t)d[0] << 24 | (size_t)d[1] << 16 | (size_t)d[2] << 8 | d[3];
        if (own >= 128 && own < n) n = own;
        if (!fits_profile(f->av, d, n)) {
            upz_warn(ctx, "the colour profile of %s is for another kind of colours (%.4s): it is left out, "
                     "and the colours are those that FFmpeg makes of them", path, n >= 20 ? (const char *)d + 16 : "?");
            return r;
        }
        info->icc = duplicate(d, n);
        info->icc_size = info->icc ? n : 0;
        if (!info->icc) r = upz_fail_memory(err, n, "the ICC profile");
    }
    return r;
}

/* A palette is decoded as colours with transparency, also where no pixel has any: PAL8, or what GIF's
 * decoder makes of it. */
static int drop_opaque_palette(UpzFrame *f, bool gif, UprezError *err)
{
    const AVFrame *av = f->av;
    float alpha = 0;
    AVFrame *rgb;
    if (av->format == AV_PIX_FMT_PAL8) {
        const uint32_t *palette = (const uint32_t *)av->data[1]; /* ARGB, native order */
        for (int y = 0; y < av->height; y++)
            for (int x = 0; x < av->width; x++)
                if (palette[av->data[0][y * (ptrdiff_t)av->linesize[0] + x]] >> 24 != 255) return 0;
    } else {
        int r = gif ? upz_frame_picture(f, err) : 0;
        if (r < 0) return r;
        if (!gif || !f->picture->format.alpha ||
            !upz_picture_alpha_constant(f->picture, &alpha) || alpha < 1)
            return 0;
        uprez_picture_unref(&f->picture);
    }
    int r = upz_frame_convert(&rgb, av, AV_PIX_FMT_RGB24, err);
    if (r < 0) return r;
    av_frame_free(&f->av);
    f->av = rgb;
    return 0;
}

/* What the reader of a container has found: GIF's comment. */
static int read_tags(UpzStillInfo *info, UpzSource *s, UprezError *err)
{
    const AVDictionaryEntry *e = NULL;
    AVDictionary *tags = NULL;
    int r = upz_mux_file_tags(&tags, upz_source_format(s), upz_source_info(s)->video_stream);
    r = r < 0 ? upz_fail_memory(err, 0, "a picture's texts") : 0;
    while (r >= 0 && (e = av_dict_get(tags, "", e, AV_DICT_IGNORE_SUFFIX)))
        if (*e->value && strcmp(e->key, "creation_time"))
            r = upz_still_texts_add(&info->texts, !strcmp(e->key, "comment") ? "Comment" : e->key,
                                    e->value, err);
    av_dict_free(&tags);
    return r;
}

int upz_still_read(UpzFrame **out, UpzStillInfo *info, UprezContext *ctx, const char *path,
                   UpzWatch *watch, UprezError *err)
{
    *out = NULL;
    if (info) *info = (UpzStillInfo){.orientation = 1, .colour = {.primaries = 2, .transfer = 2}};
    UpzSource *s;
    UpzSourceParams params = {.interlaced = UPZ_INTERLACED_KEEP, .threads = 1, .watch = watch};
    int r = upz_source_open(&s, ctx, path, &params, err);
    if (r < 0) return r;
    r = upz_source_read(s, out, err);
    bool gif = !strcmp(upz_source_info(s)->codec, "gif");
    if (r >= 0 && info) r = read_tags(info, s, err);
    upz_source_close(&s);
    if (r == UPREZ_EOF) return upz_fail(err, UPREZ_ERR_INPUT, "%s holds no picture", path);
    if (r >= 0) r = read_info(info, *out, ctx, path, watch, err);
    if (r >= 0) r = drop_opaque_palette(*out, gif, err);
    if (r < 0) upz_frame_free(out);
    return r;
}

int upz_still_format(UprezFormat *out, UprezColor *color, const UprezPicture *src, const char *path,
                     UprezError *err)
{
    const UprezFormat *f = &src->format;
    bool gray = f->model == UPREZ_GRAY, deep = f->depth > 8;
    const char *name = NULL;
    /* R G B or gray of full range, primaries and transfer as they are */
    *color = (UprezColor){.matrix = gray ? 2 : 0, .primaries = src->color.primaries,
                          .transfer = src->color.transfer, .range = UPREZ_RANGE_FULL};
    switch (kind_of(path)) {
    case UPZ_STILL_PNG:
    case UPZ_STILL_TIFF:
        if (gray) name = f->alpha ? (deep ? "ya16le" : "ya8") : deep ? "gray16le" : "gray";
        else name = f->alpha ? (deep ? "rgba64le" : "rgba") : deep ? "rgb48le" : "rgb24";
        break;
    case UPZ_STILL_WEBP: /* 8-bit colour only */
        name = f->alpha ? "rgba" : "rgb24";
        color->matrix = 0;
        break;
    case UPZ_STILL_JPEG: /* JFIF: BT.601, full range, centred chroma */
        name = gray ? "gray" : "yuv444p";
        if (f->model == UPREZ_YUV && f->sub_x == 1 && f->sub_y <= 1)
            name = f->sub_y ? "yuv420p" : "yuv422p";
        if (!gray) {
            color->matrix = 5;
            color->siting = UPREZ_SITING_CENTER;
        }
        break;
    default:
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: pictures are written as .png, .jpg, .webp or "
                        ".tif", path);
    }
    return uprez_format_from_name(out, name) < 0
               ? upz_fail(err, UPREZ_ERR_BUG, "the format %s is unknown", name) : 0;
}

/* FFmpeg's encoders ask for room for the worst case at once, and a packet ends at 2 GB. */
static bool packet_fits(UpzStillKind kind, const UprezFormat *format, int width, int height)
{
    int64_t row = (int64_t)upz_plane_row_bytes(format, 0, width);
    int64_t each = kind == UPZ_STILL_TIFF  ? 2 * row + 8
                   : kind == UPZ_STILL_PNG ? row + row / 1000 + 64
                                           : 0;
    return each * height < INT_MAX - (1 << 20);
}

int upz_still_fits(const char *path, const UprezFormat *format, int width, int height,
                   UprezError *err)
{
    UpzStillKind kind = kind_of(path);
    const char *name = uprez_format_name(format);
    enum AVPixelFormat f = name ? av_get_pix_fmt(name) : AV_PIX_FMT_NONE;
    int side = kind == UPZ_STILL_JPEG ? 65500 : kind == UPZ_STILL_WEBP ? 16383 : INT_MAX;
    if (width > side || height > side)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: a %s picture has at most %d pixels a side, not "
                        "%dx%d; make it smaller, or write a PNG", path,
                        kind == UPZ_STILL_JPEG ? "JPEG" : "WebP", side, width, height);
    /* what one picture may be, and what coders take before they know its format */
    if (av_image_check_size2((unsigned)width, (unsigned)height, INT64_MAX, f, 0, NULL) < 0 ||
        av_image_check_size2((unsigned)width, (unsigned)height, INT64_MAX, AV_PIX_FMT_NONE, 0,
                             NULL) < 0 || !packet_fits(kind, format, width, height))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: %dx%d is more than FFmpeg puts into one picture; "
                        "make it smaller", path, width, height);
    return 0;
}

/* ---- writing ---- */

static enum AVPixelFormat coder_format(UpzStillKind kind, enum AVPixelFormat f)
{
    if (kind == UPZ_STILL_WEBP) return AV_PIX_FMT_BGRA;
    if (kind == UPZ_STILL_TIFF) return f;
    switch (f) { /* PNG is big-endian */
    case AV_PIX_FMT_GRAY16LE: return AV_PIX_FMT_GRAY16BE;
    case AV_PIX_FMT_YA16LE: return AV_PIX_FMT_YA16BE;
    case AV_PIX_FMT_RGB48LE: return AV_PIX_FMT_RGB48BE;
    case AV_PIX_FMT_RGBA64LE: return AV_PIX_FMT_RGBA64BE;
    default: return f;
    }
}

static int open_coder(AVCodecContext **out, UpzStillKind kind, const AVFrame *f, int quality,
                      UprezError *err)
{
    const char *name = kind == UPZ_STILL_PNG    ? "png"
                       : kind == UPZ_STILL_WEBP ? "libwebp"
                                                : "tiff";
    const AVCodec *codec = avcodec_find_encoder_by_name(name);
    if (!codec)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "this FFmpeg cannot write such pictures (no encoder "
                        "%s); write a PNG", name);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    if (!c) return upz_fail_memory(err, sizeof(*c), "the encoder");
    c->width = f->width;
    c->height = f->height;
    c->pix_fmt = (enum AVPixelFormat)f->format;
    c->time_base = (AVRational){1, 1};
    c->color_primaries = f->color_primaries;
    c->color_trc = f->color_trc;
    c->colorspace = f->colorspace;
    c->color_range = f->color_range;
    c->thread_count = 1;
    int r = 0;
    if (kind == UPZ_STILL_PNG) r = av_opt_set(c->priv_data, "pred", "mixed", 0);
    if (kind == UPZ_STILL_TIFF) r = av_opt_set(c->priv_data, "compression_algo", "deflate", 0);
    if (kind == UPZ_STILL_WEBP) r = av_opt_set_double(c->priv_data, "quality", quality, 0);
    if (r >= 0) r = avcodec_open2(c, codec, NULL);
    if (r < 0) {
        char why[UPZ_AV_ERROR];
        avcodec_free_context(&c);
        return upz_fail(err, UPREZ_ERR_OUTPUT, "the encoder %s refuses a picture of %dx%d: %s",
                        name, f->width, f->height, upz_av_error(r, why));
    }
    *out = c;
    return 0;
}

/* The picture as an AVFrame in the encoder's format, nothing attached. */
static int coder_frame(AVFrame **out, UpzStillKind kind, const UprezPicture *picture, UprezError *err)
{
    int r = upz_frame_from_picture(out, picture, NULL, err);
    if (r < 0) return r;
    AVFrame *f = *out;
    enum AVPixelFormat to = coder_format(kind, (enum AVPixelFormat)f->format);
    if (to != (enum AVPixelFormat)f->format) {
        r = upz_frame_convert(out, f, to, err);
        av_frame_free(&f);
        if (r < 0) return r;
        f = *out;
    }
    f->color_primaries = AVCOL_PRI_UNSPECIFIED; /* we say it, or a profile does */
    f->color_trc = AVCOL_TRC_UNSPECIFIED;
    f->pts = 0;
    return 0;
}

static int encode(uint8_t **out, size_t *size, UpzStillKind kind, const UprezPicture *picture,
                  int quality, const UpzStillMeta *meta, UprezError *err)
{
    AVFrame *f = NULL;
    AVCodecContext *c = NULL;
    AVPacket *p = av_packet_alloc();
    int r = p ? coder_frame(&f, kind, picture, err)
              : upz_fail_memory(err, sizeof(*p), "the encoder");
    if (r >= 0) r = open_coder(&c, kind, f, quality, err);
    if (r >= 0) {
        char why[UPZ_AV_ERROR];
        r = avcodec_send_frame(c, f);
        if (r >= 0) r = avcodec_send_frame(c, NULL);
        if (r >= 0) r = avcodec_receive_packet(c, p);
        if (r < 0)
            r = upz_fail(err, UPREZ_ERR_OUTPUT, "the picture cannot be encoded: %s",
                         upz_av_error(r, why));
    }
    if (r >= 0) {
        /* PNG's encoder writes a density of 0 by 1 */
        if (meta->icc || meta->exif || meta->orientation > 1 || kind == UPZ_STILL_PNG ||
            meta->density.x > 0 || meta->texts)
            r = upz_still_embed(kind, p->data, (size_t)p->size, meta, out, size, err);
        else {
            *out = duplicate(p->data, (size_t)p->size);
            *size = (size_t)p->size;
            if (!*out) r = upz_fail_memory(err, *size, "the picture file");
        }
    }
    avcodec_free_context(&c);
    av_frame_free(&f);
    av_packet_free(&p);
    return r;
}

static int compare(const UprezPicture *a, const UprezPicture *b, const char *path, UprezError *err)
{
    if (!upz_format_equal(&a->format, &b->format))
        return upz_fail(err, UPREZ_ERR_VERIFY, "%s came back in another pixel format", path);
    for (int i = 0; i < a->format.n_plane; i++) {
        size_t row = upz_plane_row_bytes(&a->format, i, a->width);
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            if (memcmp((const uint8_t *)a->plane[i] + y * a->stride[i],
                       (const uint8_t *)b->plane[i] + y * b->stride[i], row))
                return upz_fail(err, UPREZ_ERR_VERIFY, "%s came back with other pixels in row %d",
                                path, y);
    }
    return 0;
}

static int verify(const char *part, UpzStillKind kind, const UprezPicture *picture, UprezError *err)
{
    UpzFrame *f;
    UprezError why = {0};
    int r = upz_still_read(&f, NULL, NULL, part, NULL, &why);
    if (r == UPREZ_ERR_MEMORY) {
        if (err) *err = why;
        return r;
    }
    if (r < 0)
        return upz_fail(err, UPREZ_ERR_VERIFY, "the picture just written does not decode: %s",
                        why.text);
    if (f->damaged || f->av->width != picture->width || f->av->height != picture->height)
        r = upz_fail(err, UPREZ_ERR_VERIFY, "%s came back as %dx%d instead of %dx%d%s", part,
                     f->av->width, f->av->height, picture->width, picture->height,
                     f->damaged ? ", damaged" : "");
    if (r >= 0 && (kind == UPZ_STILL_PNG || kind == UPZ_STILL_TIFF)) {
        r = upz_frame_picture(f, err);
        if (r >= 0) r = compare(f->picture, picture, part, err);
    }
    upz_frame_free(&f);
    return r;
}

/* JPEG's segments end at 64 KB. */
#define JPEG_EXIF 65500

static int choose_exif(UpzStillMeta *m, UpzBytes *exif, UpzStillKind kind, const UprezPicture *picture,
                       const UpzStillInfo *info, UprezError *err)
{
    bool ok = true;
    if (info->exif && kind == UPZ_STILL_JPEG && info->exif_size >= JPEG_EXIF) {
        ok = upz_exif_copy(exif, info->exif, info->exif_size); /* without a thumbnail it may fit */
        if (exif->n >= JPEG_EXIF) exif->n = 0;
    } else if (info->exif) {
        ok = upz_put(exif, info->exif, info->exif_size);
    }
    if (ok && !exif->n && info->orientation > 1 && kind != UPZ_STILL_TIFF) {
        uint8_t small[UPZ_EXIF_SMALL];
        ok = upz_put(exif, small, upz_exif_make(small, info->orientation));
    }
    if (!ok) return upz_fail_memory(err, info->exif_size, "EXIF");
    if (!exif->n) return 0;
    upz_exif_resize(exif->d, exif->n, (uint32_t)picture->width, (uint32_t)picture->height);
    m->exif = exif->d;
    m->exif_size = exif->n;
    return 0;
}

/* The meaning of the numbers: the file's own words, or code points that came with the frame. */
static UpzStillColour colour_of(const UpzStillInfo *info, const UprezPicture *picture)
{
    UpzStillColour c = info->colour;
    if (!c.chunks.n && picture->color.primaries != 2 && picture->color.transfer != 2) {
        c.primaries = picture->color.primaries;
        c.transfer = picture->color.transfer;
    }
    return c;
}

static bool is_gray(const UprezPicture *p)
{
    return p->format.model == UPREZ_GRAY;
}

/* What of info goes into a file of this kind. exif and icc are new blocks (upz_free); colour lives as
 * long as the meta. */
static int choose_meta(UpzStillMeta *m, UpzBytes *exif, UpzBytes *icc, UpzStillColour *colour,
                       UpzStillKind kind, const UprezPicture *picture, const UpzStillInfo *info,
                       UprezError *err)
{
    *m = (UpzStillMeta){.orientation = info ? info->orientation : 1};
    if (!info) return 0;
    m->density = info->density;
    m->icc = info->icc;
    m->icc_size = info->icc_size;
    if (info->texts.n || info->texts.chunks.n || info->texts.segments.n) m->texts = &info->texts;
    *colour = colour_of(info, picture);
    if (kind == UPZ_STILL_PNG) m->colour = colour;
    else if (!m->icc && !upz_still_colour_plain(colour)) {
        if (!upz_still_colour_icc(icc, colour, is_gray(picture) && kind != UPZ_STILL_WEBP))
            return upz_fail_memory(err, 4096, "a colour profile");
        m->icc = icc->d;
        m->icc_size = icc->n;
    }
    return choose_exif(m, exif, kind, picture, info, err);
}

void upz_still_losses(const char *path, const UpzStillInfo *info, const UprezPicture *src, char *words,
                      size_t room)
{
    UpzStillKind kind = kind_of(path);
    UpzBytes exif = {0}, icc = {0};
    const uint8_t *v;
    size_t n, at;
    bool described = info->exif && upz_tiff_bytes(info->exif, info->exif_size, 270, &v, &n);
    upz_still_texts_lost(&info->texts, kind, described, words, room);
    if (info->others[0] && (at = strlen(words)) + 2 < room)
        snprintf(words + at, room - at, "%s%s", at ? ", " : "", info->others);
    if (info->exif && kind == UPZ_STILL_JPEG && info->exif_size >= JPEG_EXIF &&
        upz_exif_copy(&exif, info->exif, info->exif_size) && exif.n >= JPEG_EXIF &&
        (at = strlen(words)) + 2 < room)
        snprintf(words + at, room - at, "%sEXIF (too long for a JPEG)", at ? ", " : "");
    UpzStillColour c = colour_of(info, src);
    if (kind != UPZ_STILL_PNG && !info->icc && !upz_still_colour_plain(&c) &&
        upz_still_colour_icc(&icc, &c, is_gray(src)) && !icc.n && (at = strlen(words)) + 2 < room)
        snprintf(words + at, room - at, "%sthe meaning of its colours (HDR)", at ? ", " : "");
    upz_free(exif.d);
    upz_free(icc.d);
}

int upz_still_write(const char *path, const UprezPicture *picture, const UpzStillInfo *info,
                    int quality, UprezError *err)
{
    UpzStillKind kind = kind_of(path);
    if (kind == UPZ_STILL_NONE)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: pictures are written as .png, .jpg, .webp or "
                        ".tif", path);
    upz_av_quiet();
    quality = quality > 0 ? UPZ_MIN(quality, 100) : 95;
    UpzStillMeta meta;
    UpzBytes exif = {0}, icc = {0};
    UpzStillColour colour;
    uint8_t *data = NULL;
    size_t size = 0;
    char *place = upz_follow_link(path), *part = place ? upz_asprintf("%s.part", place) : NULL;
    int r = choose_meta(&meta, &exif, &icc, &colour, kind, picture, info, err);
    if (r >= 0 && !part) r = upz_fail_memory(err, 0, "a file name");
    if (r >= 0)
        r = kind == UPZ_STILL_JPEG
                ? upz_jpeg_encode(&data, &size, picture, quality, &meta, err)
                : encode(&data, &size, kind, picture, quality, &meta, err);
    if (r >= 0) r = upz_write_atomic(part, data, size, err);
    if (r >= 0) {
        r = verify(part, kind, picture, err);
        if (r >= 0) r = upz_rename_synced(part, place, err);
        if (r < 0) remove(part);
    }
    upz_free(data);
    upz_free(exif.d);
    upz_free(icc.d);
    upz_free(part);
    upz_free(place);
    return r;
}
