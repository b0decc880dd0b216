#include "still_jpeg.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs FILE */
#include <string.h>
#include <jpeglib.h>

#include "base/alloc.h"
#include "base/compiler.h"

#define SEGMENT 65533 /* bytes of data in one marker */

typedef struct Writer {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    jmp_buf back;
    char why[JMSG_LENGTH_MAX];
    bool no_memory;
    struct jpeg_destination_mgr to;
    uint8_t *d;
    size_t n, cap;
    uint8_t *rows; /* one group of raw rows, edges repeated */
    UpzBytes texts;
} Writer;

static void failed(j_common_ptr c)
{
    Writer *w = c->client_data;
    c->err->format_message(c, w->why);
    longjmp(w->back, 1);
}
static void quiet(j_common_ptr c)
{
    (void)c;
}

static boolean more(j_compress_ptr c)
{
    Writer *w = c->client_data;
    w->n = w->cap;
    if (!upz_grow(&w->d, &w->cap, w->cap + 65536, 1, SIZE_MAX / 2)) {
        w->no_memory = true;
        longjmp(w->back, 1);
    }
    w->to.next_output_byte = w->d + w->n;
    w->to.free_in_buffer = w->cap - w->n;
    return TRUE;
}
static void begin(j_compress_ptr c)
{
    more(c);
}
static void end(j_compress_ptr c)
{
    Writer *w = c->client_data;
    w->n = w->cap - w->to.free_in_buffer;
}

/* Segments as they are to be, but written through libjpeg. */
static void texts(Writer *w, const UpzBytes *b)
{
    for (size_t i = 0; i + 4 <= b->n;) {
        unsigned n = (unsigned)b->d[i + 2] << 8 | b->d[i + 3];
        jpeg_write_marker(&w->c, b->d[i + 1], b->d + i + 4, n - 2);
        i += 2 + (size_t)n;
    }
}

static void markers(Writer *w, const UpzStillMeta *m)
{
    uint8_t *b = w->rows; /* large enough by the caller */
    if (m->exif && m->exif_size + 6 <= SEGMENT) {
        memcpy(b, "Exif\0\0", 6);
        memcpy(b + 6, m->exif, m->exif_size);
        jpeg_write_marker(&w->c, JPEG_APP0 + 1, b, (unsigned)m->exif_size + 6);
    }
    size_t room = SEGMENT - 14, parts = (m->icc_size + room - 1) / room;
    for (size_t i = 0; m->icc && i < parts && parts < 256; i++) {
        size_t n = UPZ_MIN(room, m->icc_size - i * room);
        memcpy(b, "ICC_PROFILE\0", 12);
        b[12] = (uint8_t)(i + 1);
        b[13] = (uint8_t)parts;
        memcpy(b + 14, m->icc + i * room, n);
        jpeg_write_marker(&w->c, JPEG_APP0 + 2, b, (unsigned)n + 14);
    }
}

/* Planes as they are, in groups of 8 rows per chroma row block; libjpeg wants whole blocks. */
static void write_yuv(Writer *w, const UprezPicture *p)
{
    JSAMPROW rows[3][16];
    JSAMPARRAY planes[3] = {rows[0], rows[1], rows[2]};
    int sx = p->format.sub_x, sy = p->format.sub_y, group = 8 << sy;
    int mcu = 8 << sx, wide = UPZ_ROUND_UP(p->width, mcu);
    while (w->c.next_scanline < w->c.image_height) {
        int y0 = (int)w->c.next_scanline;
        uint8_t *to = w->rows;
        for (int k = 0; k < 3; k++) {
            int cw = k ? (p->width + (1 << sx) - 1) >> sx : p->width;
            int ch = k ? (p->height + (1 << sy) - 1) >> sy : p->height;
            int full = k ? wide >> sx : wide;
            for (int i = 0; i < (k ? 8 : group); i++) {
                int y = UPZ_MIN((k ? y0 >> sy : y0) + i, ch - 1);
                const uint8_t *from = (const uint8_t *)p->plane[k] + y * p->stride[k];
                memcpy(to, from, (size_t)cw);
                memset(to + cw, from[cw - 1], (size_t)(full - cw));
                rows[k][i] = to;
                to += full;
            }
        }
        jpeg_write_raw_data(&w->c, planes, (JDIMENSION)group);
    }
}

static void write_packed(Writer *w, const UprezPicture *p)
{
    while (w->c.next_scanline < w->c.image_height) {
        JSAMPROW row = (uint8_t *)p->plane[0] + (ptrdiff_t)w->c.next_scanline * p->stride[0];
        jpeg_write_scanlines(&w->c, &row, 1);
    }
}

static void write_all(Writer *w, const UprezPicture *p, int quality, const UpzStillMeta *meta)
{
    const UprezFormat *f = &p->format;
    bool yuv = f->model == UPREZ_YUV;
    jpeg_create_compress(&w->c);
    w->to.init_destination = begin;
    w->to.empty_output_buffer = more;
    w->to.term_destination = end;
    w->c.dest = &w->to;
    w->c.image_width = (JDIMENSION)p->width;
    w->c.image_height = (JDIMENSION)p->height;
    w->c.input_components = f->model == UPREZ_GRAY ? 1 : 3;
    w->c.in_color_space = f->model == UPREZ_GRAY ? JCS_GRAYSCALE : yuv ? JCS_YCbCr : JCS_RGB;
    jpeg_set_defaults(&w->c);
    jpeg_set_quality(&w->c, quality, TRUE);
    w->c.optimize_coding = TRUE;
    w->c.dct_method = JDCT_ISLOW;
    w->c.comp_info[0].h_samp_factor = yuv ? 1 << f->sub_x : 1;
    w->c.comp_info[0].v_samp_factor = yuv ? 1 << f->sub_y : 1;
    w->c.raw_data_in = yuv;
    const UpzDensity *d = &meta->density;
    double unit = d->metre ? 0.0254 : 1;
    if (d->x * unit >= 0.5 && d->y * unit >= 0.5 && d->x * unit < 65535 && d->y * unit < 65535) {
        w->c.density_unit = d->metre; /* 1: inches */
        w->c.X_density = (UINT16)lrint(d->x * unit);
        w->c.Y_density = (UINT16)lrint(d->y * unit);
    }
    jpeg_start_compress(&w->c, TRUE);
    markers(w, meta);
    texts(w, &w->texts);
    if (yuv) write_yuv(w, p);
    else write_packed(w, p);
    jpeg_finish_compress(&w->c);
}

int upz_jpeg_encode(uint8_t **out, size_t *size, const UprezPicture *picture, int quality,
                    const UpzStillMeta *meta, UprezError *err)
{
    *out = NULL;
    const UprezFormat *f = &picture->format;
    if (f->depth != 8 || f->alpha || (f->model == UPREZ_YUV && (f->sub_x > 1 || f->sub_y > f->sub_x ||
        f->n_plane != 3)) || picture->width > 65500 || picture->height > 65500)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "a %dx%d picture of this format does not fit into "
                        "a JPEG; write a PNG", picture->width, picture->height);
    Writer *w = upz_calloc(1, sizeof(*w));
    /* 16 luma and 2 x 8 chroma rows, padded to whole blocks; a marker segment before that */
    if (w) w->rows = upz_calloc((size_t)picture->width + 64 > SEGMENT / 32
                                    ? (size_t)picture->width + 64 : SEGMENT / 32 + 1, 32);
    if (!w || !w->rows) {
        upz_free(w);
        return upz_fail_memory(err, (size_t)picture->width * 32, "a JPEG");
    }
    w->c.err = jpeg_std_error(&w->errors);
    w->c.client_data = w;
    w->errors.error_exit = failed;
    w->errors.output_message = quiet;
    int r = 0;
    if (!upz_still_texts_jpeg(&w->texts, meta->texts))
        r = upz_fail_memory(err, w->texts.n, "a JPEG");
    else if (setjmp(w->back))
        r = w->no_memory ? upz_fail_memory(err, w->cap, "a JPEG")
                         : upz_fail(err, UPREZ_ERR_OUTPUT, "the JPEG cannot be written: "
                                    "%s", w->why);
    else
        write_all(w, picture, quality, meta);
    jpeg_destroy_compress(&w->c);
    upz_free(w->rows);
    upz_free(w->texts.d);
    if (r < 0) upz_free(w->d);
    else {
        *out = w->d;
        *size = w->n;
    }
    upz_free(w);
    return r;
}
