#include "engine/cpu/epilogue.h"

#include <math.h>
#include <string.h>

/* Columns x0 … of row y of an operand as floats of the map's own pitch. */
static const float *operand(const UpzPiece *p, int view, int y, int x0, int count)
{
    const UpzStage *from = &p->f->program->stages[p->s->views[view].stage];
    const int pitch = p->s->pitch;
    const void *row = upz_view_row(p, view, y);
    float *dst = p->scratch->wide;
    if (from->type == UPZ_TYPE_BF16) {
        const uint16_t *src = (const uint16_t *)row + (ptrdiff_t)x0 * from->pitch;
        if (from->pitch == pitch) {
            p->f->kernels->widen(dst, src, (size_t)count * (size_t)pitch);
            return dst;
        }
        const int both = UPZ_MIN(pitch, from->pitch);
        memset(dst, 0, (size_t)count * (size_t)pitch * sizeof(float));
        for (int x = 0; x < count; x++)
            p->f->kernels->widen(dst + x * pitch, src + x * from->pitch, (size_t)both);
        return dst;
    }
    const float *src = (const float *)row + (ptrdiff_t)x0 * from->pitch;
    if (from->pitch == pitch) return src;
    memset(dst, 0, (size_t)count * (size_t)pitch * sizeof(float));
    for (int x = 0; x < count; x++)
        for (int c = 0; c < p->s->channels; c++) dst[x * pitch + c] = src[x * from->pitch + c];
    return dst;
}

static void apply(const UpzPiece *p, const UpzPost *post, float *row, const float *other, int count)
{
    const UpzCpuKernels *k = p->f->kernels;
    const int pitch = p->s->pitch;
    const size_t n = (size_t)count * (size_t)pitch;
    switch (post->kind) {
    case UPZ_POST_ADD: k->add(row, row, other, post->alpha, post->beta, n); break;
    case UPZ_POST_MUL: k->mul(row, row, other, n); break;
    case UPZ_POST_AFFINE: k->affine(row, row, post->scale, post->shift, pitch, count); break;
    case UPZ_POST_SLOPE: k->slope(row, row, post->scale, pitch, count); break;
    case UPZ_POST_CURVE: k->curve(row, row, post->curve, post->lo, post->hi, n); break;
    }
}

/* What is no number is as large as can be. */
static void note_most(const UpzPiece *p, const float *row, int count)
{
    if (p->s->value < 0) return;
    float *most = p->scratch->most + p->scratch->most_at[p->s->value];
    for (int x = 0; x < count; x++, row += p->s->pitch)
        for (int c = 0; c < p->s->channels; c++) {
            const float size = fabsf(row[c]);
            if (!(size <= most[c])) most[c] = isfinite(size) ? size : INFINITY;
        }
}

void upz_finish_row(const UpzPiece *p, int y, int x0, int x1)
{
    const int pitch = p->s->pitch, count = x1 - x0;
    if (count <= 0) return;
    float *row = upz_out_floats(p, y) + (ptrdiff_t)(x0 - p->x0) * pitch;
    for (int i = 0; i < p->s->n_posts; i++) {
        const UpzPost *post = &p->s->posts[i];
        const bool binary = post->kind == UPZ_POST_ADD || post->kind == UPZ_POST_MUL;
        apply(p, post, row, binary ? operand(p, post->view, y, x0, count) : NULL, count);
    }
    if (p->scratch->most) note_most(p, row, count);
    if (p->s->type == UPZ_TYPE_BF16)
        p->f->kernels->narrow((uint16_t *)upz_out_row(p, y) + (ptrdiff_t)x0 * pitch, row,
                              (size_t)count * (size_t)pitch);
    if (p->s->type == UPZ_TYPE_S8)
        p->f->kernels->narrow8((int8_t *)upz_out_row(p, y) + (ptrdiff_t)x0 * pitch, row, p->s->inverse, pitch,
                               count);
}
