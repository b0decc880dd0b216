/* Short clips of random formats, whose pictures have much in common with the one before. */
#ifndef RANDOM_CLIP_H
#define RANDOM_CLIP_H

#include "base/compiler.h"
#include "chance.h"
#include "unit/steady.h"

enum { CLIP = 6 };

static inline void random_format(UprezFormat *f)
{
    static const char *const names[] = {
        "yuv420p", "yuv410p", "yuv411p", "yuv440p", "yuv444p", "yuv422p", "nv12", "nv21", "nv16", "nv24",
        "yuyv422", "uyvy422", "p010le", "yuv420p10le", "yuv444p12le", "yuv440p10le", "rgb24", "bgra", "rgba",
        "gbrp", "gbrp10le", "gbrpf32le", "gray", "gray10le", "yuva420p", "yuva444p", "ya8", "rgb48le",
        "rgba64le", "p210le", "yuva422p10le", "grayf32le"};
    assert_int_equal(uprez_format_from_name(f, names[draw(UPZ_COUNT(names))]), 0);
}

/* New samples in a rectangle of a plane, in samples; floats are below 0.95. */
static inline void scribble(UprezPicture *p, int plane, int x0, int y0, int w, int h)
{
    const UprezFormat *f = &p->format;
    const int bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1;
    const int row = (int)upz_plane_row_bytes(f, plane, p->width) / bytes;
    const int rows = upz_plane_height(f, plane, p->height);
    for (int y = UPZ_MAX(y0, 0); y < UPZ_MIN(y0 + h, rows); y++)
        for (int x = UPZ_MAX(x0, 0); x < UPZ_MIN(x0 + w, row); x++) {
            uint8_t *at = (uint8_t *)p->plane[plane] + y * p->stride[plane] + x * bytes;
            const int v = draw(1 << UPZ_MIN(f->depth, 16));
            if (bytes == 1) *at = (uint8_t)v;
            else if (bytes == 2) *(uint16_t *)(void *)at = (uint16_t)(v << f->shift);
            else *(float *)(void *)at = (float)v / 70000;
        }
}

static inline void scribble_all(UprezPicture *p)
{
    for (int i = 0; i < p->format.n_plane; i++) scribble(p, i, 0, 0, 1 << 20, 1 << 20);
}

/* A few samples anywhere, at the edges more often, also where cells of 16 px meet. */
static inline void small_change(UprezPicture *p)
{
    const int side = 1 + draw(3) * 3;
    const int plane = draw(p->format.n_plane);
    int x = draw(p->width), y = draw(p->height);
    if (once_in(4)) x = x / 16 * 16 - draw(2);
    if (once_in(4)) y = y / 16 * 16 - draw(2);
    if (once_in(6)) x = p->width - 1;
    if (once_in(6)) y = p->height - 1;
    scribble(p, plane, x, y, side, side);
}

/* One float of one picture is 1. */
static inline void random_clip(UprezPicture **clip, const UprezFormat *f, int w, int h)
{
    const int broken = f->depth == 32 ? 1 + draw(CLIP - 2) : CLIP;
    const int x = draw(w), y = draw(h);
    const uint8_t yuv_matrix = once_in(2) ? 1 : 5;
    const uint8_t matrix = f->model == UPREZ_YUV ? yuv_matrix : f->model == UPREZ_GRAY ? 2 : 0;
    clip[0] = steady(f, w, h);
    clip[0]->color = (UprezColor){.matrix = matrix, .primaries = 1, .transfer = 1};
    clip[0]->color.range = (uint8_t)(1 + draw(2));
    clip[0]->color.siting = (uint8_t)draw(7);
    scribble_all(clip[0]);
    for (int i = 1; i < CLIP; i++) {
        clip[i] = copy_of(clip[i - 1]);
        for (int times = draw(4); times > 0; times--) small_change(clip[i]);
        if (once_in(12)) scribble_all(clip[i]);
        if (once_in(20)) clip[i]->color.range ^= 3;
        float *at = (float *)(void *)((char *)clip[i]->plane[0] + y * clip[i]->stride[0]) + x;
        if (i == broken) *at = 1;
        if (i == broken + 1) *at = 0.5f;
    }
    say(" %dx%d %s siting %d range %d", w, h, uprez_format_name(f), clip[0]->color.siting,
        clip[0]->color.range);
}

#endif
