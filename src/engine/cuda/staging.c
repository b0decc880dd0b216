/* Copying planes. */
#include "engine/cuda/staging.h"

#include <string.h>

#include "picture/convert.h"
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
    bool samples; /* planes with gaps are written sample by sample */
} Move;

static void move_samples(const Move *m, int plane, int y)
{
    const UprezFormat *f = &m->dst->format;
    const size_t bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1;
    for (int c = 0; c < f->n_comp - f->alpha; c++) {
        const UprezComponent *k = &f->comp[c];
        if (k->plane != plane) continue;
        const int n = upz_component_width(f, c, m->dst->width);
        uint8_t *d = (uint8_t *)m->dst->plane[plane] + m->dst->stride[plane] * y + k->offset;
        const uint8_t *s = (const uint8_t *)m->src->plane[plane] + m->src->stride[plane] * y + k->offset;
        for (int x = 0; x < n; x++, d += k->step, s += k->step) memcpy(d, s, bytes);
    }
}

static void move_band(void *arg, int band, int worker)
{
    const Move *m = arg;
    const UprezFormat *f = &m->dst->format;
    (void)worker;
    for (int i = 0; i < f->n_plane; i++) {
        const int rows = upz_plane_height(f, i, m->dst->height);
        const size_t bytes = upz_plane_row_bytes(f, i, m->dst->width);
        const bool samples = m->samples && !is_full(f, i);
        for (int y = band * BAND; y < UPZ_MIN((band + 1) * BAND, rows); y++) {
            if (samples)
                move_samples(m, i, y);
            else
                memcpy((uint8_t *)m->dst->plane[i] + m->dst->stride[i] * y,
                       (const uint8_t *)m->src->plane[i] + m->src->stride[i] * y, bytes);
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
    move(ctx, &(Move){src, &dst, false});
}

void upz_staging_unpack(UprezContext *ctx, UprezPicture *dst, uint8_t *block)
{
    UprezPicture src = *dst;
    upz_staging_planes(&src, block);
    move(ctx, &(Move){&src, dst, true});
    upz_picture_fill_pair(dst, 0, dst->height);
}
