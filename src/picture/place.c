#include "picture/place.h"

#include <string.h>

#include "base/compiler.h"
#include "picture/format.h"

int upz_place_offset(int canvas, int inner, int sub)
{
    int d = canvas - inner, grain = 1 << sub;
    return d >= 0 ? d / 2 / grain * grain : -(-d / 2 / grain * grain);
}

/* The sample that is black, as it lies in memory: the first `bytes` of it. */
static void black(uint8_t to[4], const UprezFormat *f, const UprezColor *color, int comp)
{
    bool alpha = f->alpha && comp == f->n_comp - 1, chroma = upz_format_is_chroma(f, comp);
    bool limited = f->model != UPREZ_RGB && color->range != UPREZ_RANGE_FULL &&
                   (f->model == UPREZ_YUV || color->range == UPREZ_RANGE_LIMITED);
    if (f->depth == 32) {
        memset(to, 0, 4); /* 0.0 in every component */
        return;
    }
    unsigned v = alpha ? 0 : chroma ? 1u << (f->depth - 1) : limited ? 16u << (f->depth - 8) : 0;
    uint16_t word = (uint16_t)(v << f->shift);
    if (f->depth == 8) to[0] = (uint8_t)v;
    else memcpy(to, &word, 2);
}

static void fill_row(uint8_t *to, int n, int step, int bytes, const uint8_t *value)
{
    for (int i = 0; i < n; i++, to += step)
        for (int b = 0; b < bytes; b++) to[b] = value[b];
}

static void copy_row(uint8_t *to, const uint8_t *from, int n, int step, int bytes)
{
    if (step == bytes) {
        memcpy(to, from, (size_t)n * (size_t)bytes);
        return;
    }
    for (int i = 0; i < n; i++, to += step, from += step)
        for (int b = 0; b < bytes; b++) to[b] = from[b];
}

static void place_component(const UprezPicture *dst, const UprezPicture *src, int comp, int x, int y)
{
    const UprezFormat *f = &src->format;
    const UprezComponent *c = &f->comp[comp];
    bool chroma = upz_format_is_chroma(f, comp);
    int sx = chroma ? f->sub_x : 0, sy = chroma ? f->sub_y : 0;
    int w = upz_component_width(f, comp, dst->width), h = upz_component_height(f, comp, dst->height);
    int from_w = upz_component_width(f, comp, src->width), from_h = upz_component_height(f, comp, src->height);
    int bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1, step = c->step;
    int left = x / (1 << sx), top = y / (1 << sy);
    int x0 = UPZ_MAX(left, 0), x1 = UPZ_MIN(left + from_w, w);
    uint8_t value[4];
    black(value, f, &src->color, comp);
    for (int row = 0; row < h; row++) {
        uint8_t *to = (uint8_t *)dst->plane[c->plane] + row * dst->stride[c->plane] + c->offset;
        if (row < top || row >= top + from_h || x1 <= x0) {
            fill_row(to, w, step, bytes, value);
            continue;
        }
        const uint8_t *from = (const uint8_t *)src->plane[c->plane] +
                              (row - top) * src->stride[c->plane] + c->offset + (x0 - left) * step;
        fill_row(to, x0, step, bytes, value);
        copy_row(to + x0 * step, from, x1 - x0, step, bytes);
        fill_row(to + x1 * step, w - x1, step, bytes, value);
    }
}

int upz_picture_place(UprezPicture **out, const UprezPicture *src, int x, int y, int width, int height,
                      UprezError *err)
{
    int r = uprez_picture_alloc(out, &src->format, width, height, err);
    if (r < 0) return r;
    UprezPicture *dst = *out;
    dst->color = src->color;
    dst->pts = src->pts;
    dst->duration = src->duration;
    dst->opaque = src->opaque;
    for (int i = 0; i < src->format.n_comp; i++) place_component(dst, src, i, x, y);
    return 0;
}

int upz_picture_set(UprezPicture **picture, int width, int height, UprezError *err)
{
    const UprezPicture *src = *picture;
    UprezPicture *placed;
    int r = upz_picture_place(&placed, src, upz_place_offset(width, src->width, src->format.sub_x),
                              upz_place_offset(height, src->height, src->format.sub_y), width, height,
                              err);
    if (r < 0) return r;
    uprez_picture_unref(picture);
    *picture = placed;
    return 0;
}
