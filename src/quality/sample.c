#include "quality/sample.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <jpeglib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/resize.h"

enum { QUALITY = 92, CELL = 16 /* px: windows begin at multiples of it */ };

static int to_rgb(UprezPicture **out, UprezContext *ctx, const UprezPicture *p, UprezError *err)
{
    UprezFormat rgb24;
    uprez_format_from_name(&rgb24, "rgb24");
    int r = uprez_picture_alloc(out, &rgb24, p->width, p->height, err);
    if (r < 0) return r;
    (*out)->color = p->color;
    (*out)->color.matrix = 0;
    (*out)->color.range = UPREZ_RANGE_FULL;
    return upz_convert_picture(ctx, p, *out, err);
}

/* Squared differences of each cell, as sums of all cells above and to the left. */
static void sum_cells(double *sum, int across, const UprezPicture *a, const UprezPicture *b)
{
    for (int y = 0; y < a->height; y++) {
        const uint8_t *p = (const uint8_t *)a->plane[0] + y * a->stride[0];
        const uint8_t *q = (const uint8_t *)b->plane[0] + y * b->stride[0];
        double *row = sum + (ptrdiff_t)(y / CELL + 1) * across;
        for (int i = 0; i < 3 * a->width; i++) {
            const int d = p[i] - q[i];
            row[i / 3 / CELL + 1] += d * d;
        }
    }
    const int down = (a->height + CELL - 1) / CELL + 1;
    for (int y = 1; y < down; y++)
        for (int x = 1; x < across; x++) {
            double *s = sum + (ptrdiff_t)y * across + x;
            *s += s[-1] + s[-across] - s[-across - 1];
        }
}

/* The window in which they differ most; its size is given. */
static int find(UprezRect *rect, const UprezPicture *a, const UprezPicture *b, UprezError *err)
{
    *rect = (UprezRect){0, 0, UPZ_MIN(a->width, rect->w), UPZ_MIN(a->height, rect->h)};
    if (rect->w == a->width && rect->h == a->height) return 0;
    const int across = (a->width + CELL - 1) / CELL + 1, down = (a->height + CELL - 1) / CELL + 1;
    double *sum = upz_calloc((size_t)across * (size_t)down, sizeof(*sum)), most = -1;
    if (!sum) return upz_fail_memory(err, 0, "the sample of two frames");
    sum_cells(sum, across, a, b);
    const int w = (rect->w + CELL - 1) / CELL, h = (rect->h + CELL - 1) / CELL;
    for (int y = 0; y + h < down; y++)
        for (int x = 0; x + w < across; x++) {
            const double *s = sum + (ptrdiff_t)y * across + x;
            const double here = s[(ptrdiff_t)h * across + w] - s[w] - s[(ptrdiff_t)h * across] + s[0];
            if (here <= most) continue;
            most = here;
            rect->x = UPZ_MIN(x * CELL, a->width - rect->w);
            rect->y = UPZ_MIN(y * CELL, a->height - rect->h);
        }
    upz_free(sum);
    return 0;
}

/* libjpeg ends the program where it fails, unless it is led elsewhere. */
typedef struct Errors {
    struct jpeg_error_mgr base;
    jmp_buf back;
} Errors;

static void leave(j_common_ptr j)
{
    longjmp(((Errors *)(void *)j->err)->back, 1);
}

static int to_jpeg(unsigned char **jpeg, unsigned long *bytes, const UprezPicture *rgb, const UprezRect *rect,
                   UprezError *err)
{
    Errors errors;
    struct jpeg_compress_struct j = {.err = jpeg_std_error(&errors.base)};
    errors.base.error_exit = leave;
    if (setjmp(errors.back)) {
        jpeg_destroy_compress(&j);
        return upz_fail_memory(err, 0, "the sample of two frames");
    }
    jpeg_create_compress(&j);
    jpeg_mem_dest(&j, jpeg, bytes);
    j.image_width = (JDIMENSION)rect->w;
    j.image_height = (JDIMENSION)rect->h;
    j.input_components = 3;
    j.in_color_space = JCS_RGB;
    jpeg_set_defaults(&j);
    jpeg_set_quality(&j, QUALITY, TRUE);
    j.comp_info[0].h_samp_factor = j.comp_info[0].v_samp_factor = 1; /* chroma whole */
    jpeg_start_compress(&j, TRUE);
    while (j.next_scanline < j.image_height) {
        JSAMPROW row = (JSAMPROW)rgb->plane[0] + (rect->y + (int)j.next_scanline) * rgb->stride[0] +
                       3 * (ptrdiff_t)rect->x;
        jpeg_write_scanlines(&j, &row, 1);
    }
    jpeg_finish_compress(&j);
    jpeg_destroy_compress(&j);
    return 0;
}

int upz_sample_window(UprezRect *rect, UprezContext *ctx, const UprezPicture *const p[2], int w, int h,
                      UprezError *err)
{
    UprezPicture *rgb[2] = {NULL, NULL};
    *rect = (UprezRect){0, 0, w, h};
    int r = to_rgb(&rgb[0], ctx, p[0], err);
    if (r >= 0) r = to_rgb(&rgb[1], ctx, p[1], err);
    if (r >= 0) r = find(rect, rgb[0], rgb[1], err);
    for (int i = 0; i < 2; i++) uprez_picture_unref(&rgb[i]);
    return r;
}

int upz_sample_jpeg(unsigned char **jpeg, unsigned long *bytes, UprezContext *ctx, const UprezPicture *p,
                    const UprezRect *rect, UprezError *err)
{
    UprezPicture *rgb = NULL;
    int r = to_rgb(&rgb, ctx, p, err);
    if (r >= 0) r = to_jpeg(jpeg, bytes, rgb, rect, err);
    uprez_picture_unref(&rgb);
    return r;
}

int upz_sample_make(UpzSample *s, UprezContext *ctx, const UprezPicture *const p[2], UprezError *err)
{
    int r = upz_sample_window(&s->rect, ctx, p, UPZ_SAMPLE_WIDTH, UPZ_SAMPLE_HEIGHT, err);
    for (int i = 0; i < 2 && r >= 0; i++)
        r = upz_sample_jpeg(&s->jpeg[i], &s->bytes[i], ctx, p[i], &s->rect, err);
    return r;
}

void upz_sample_free(UpzSample *s)
{
    for (int i = 0; i < 2; i++) upz_free(s->jpeg[i]);
    *s = (UpzSample){0};
}
