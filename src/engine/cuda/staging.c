/* Copying planes. */
#include "engine/cuda/staging.h"

#include <string.h>

#include "picture/convert.h"
#include "picture/difference.h"
#include "picture/format.h"

enum { PITCH = 64, BAND = 128 /* rows a piece of work */ };

static size_t pitch_of(const UprezFormat *f, int plane, int width)
{
    return UPZ_ROUND_UP(upz_plane_row_bytes(f, plane, width), (size_t)PITCH);
}

size_t upz_staging_bytes(const UprezFormat *f, int width, int height)
{
    size_t bytes = 0;
    for (int i = 0; i < f->n_plane; i++)
        bytes += pitch_of(f, i, width) * (size_t)upz_plane_height(f, i, height);
    return bytes;
}

void upz_staging_planes(UprezPicture *p, void *at)
{
    uint8_t *plane = at;
    for (int i = 0; i < p->format.n_plane; i++) {
        p->plane[i] = plane;
        p->stride[i] = (ptrdiff_t)pitch_of(&p->format, i, p->width);
        plane += (size_t)p->stride[i] * (size_t)upz_plane_height(&p->format, i, p->height);
    }
}

/* Components fill the plane without gaps; alpha, which no engine writes, is a gap. */
static bool is_full(const UprezFormat *f, int plane)
{
    const int bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1;
    int filled = 0, step = 0;
    for (int c = 0; c < f->n_comp - f->alpha; c++)
        if (f->comp[c].plane == plane) step = UPZ_MAX(step, f->comp[c].step);
    /* in packed 4:2:2 a chroma step holds two luma samples */
    for (int c = 0; c < f->n_comp - f->alpha; c++)
        if (f->comp[c].plane == plane) filled += bytes * (step / f->comp[c].step);
    return step && filled == step;
}

typedef struct Move {
    const UprezPicture *src;
    UprezPicture *dst;
    const UprezRect *rects;
    int n;
    bool samples; /* planes with gaps are written sample by sample */
} Move;

/* Samples that begin in bytes first … first + bytes - 1 of a row. */
static void move_samples(const Move *m, int plane, int y, size_t first, size_t bytes_in)
{
    const UprezFormat *f = &m->dst->format;
    const size_t bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1;
    for (int c = 0; c < f->n_comp - f->alpha; c++) {
        const UprezComponent *k = &f->comp[c];
        if (k->plane != plane) continue;
        const int n = upz_component_width(f, c, m->dst->width);
        uint8_t *d = (uint8_t *)m->dst->plane[plane] + m->dst->stride[plane] * y + k->offset;
        const uint8_t *s = (const uint8_t *)m->src->plane[plane] + m->src->stride[plane] * y + k->offset;
        const int x0 = (int)(first / k->step), x1 = UPZ_MIN((int)((first + bytes_in) / k->step), n);
        for (int x = x0; x < x1; x++) memcpy(d + x * k->step, s + x * k->step, bytes);
    }
}

static void move_piece(const Move *m, int plane, bool samples, const UpzPiece *p, int y0, int y1)
{
    for (int y = UPZ_MAX(p->row, y0); y < UPZ_MIN(p->row + p->rows, y1); y++) {
        const ptrdiff_t at = (ptrdiff_t)p->byte;
        if (samples)
            move_samples(m, plane, y, p->byte, p->bytes);
        else
            memcpy((uint8_t *)m->dst->plane[plane] + m->dst->stride[plane] * y + at,
                   (const uint8_t *)m->src->plane[plane] + m->src->stride[plane] * y + at, p->bytes);
    }
}

static void move_band(void *arg, int band, int worker)
{
    const Move *m = arg;
    const UprezFormat *f = &m->dst->format;
    (void)worker;
    for (int i = 0; i < f->n_plane; i++) {
        const bool samples = m->samples && !is_full(f, i);
        for (int k = 0; k < m->n; k++) {
            const UpzPiece piece = upz_picture_piece(m->dst, i, &m->rects[k]);
            move_piece(m, i, samples, &piece, band * BAND, (band + 1) * BAND);
        }
    }
}

static void move(UprezContext *ctx, Move *m)
{
    upz_pool_for(ctx->pool, (m->dst->height + BAND - 1) / BAND, move_band, m);
}

void upz_staging_pack(UprezContext *ctx, uint8_t *block, const UprezPicture *src)
{
    UprezPicture dst = *src;
    upz_staging_planes(&dst, block);
    const UprezRect all = {0, 0, src->width, src->height};
    move(ctx, &(Move){src, &dst, &all, 1, false});
}

void upz_staging_unpack(UprezContext *ctx, UprezPicture *dst, uint8_t *block, const UprezRect *rects,
                        int n)
{
    const UprezRect all = {0, 0, dst->width, dst->height};
    UprezPicture src = *dst;
    upz_staging_planes(&src, block);
    move(ctx, &(Move){&src, dst, n ? rects : &all, n ? n : 1, true});
    upz_picture_fill_pair(dst, 0, dst->height);
}
