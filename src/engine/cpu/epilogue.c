#include "engine/cpu/epilogue.h"

#include <string.h>

static void widen(float *dst, int pitch, const float *src, int src_pitch, int channels, int count)
{
    memset(dst, 0, (size_t)count * (size_t)pitch * sizeof(float));
    for (int x = 0; x < count; x++)
        for (int c = 0; c < channels; c++) dst[x * pitch + c] = src[x * src_pitch + c];
}

void upz_finish_row(const UpzPiece *p, int y, int x0, int x1)
{
    const UpzCpuKernels *k = p->f->kernels;
    const int pitch = p->s->pitch, count = x1 - x0;
    if (count <= 0) return;
    float *row = (float *)upz_out_row(p, y) + (ptrdiff_t)x0 * pitch;
    const size_t n = (size_t)count * (size_t)pitch;
    for (int i = 0; i < p->s->n_posts; i++) {
        const UpzPost *post = &p->s->posts[i];
        const float *other = NULL;
        if (post->kind == UPZ_POST_ADD || post->kind == UPZ_POST_MUL) {
            const int from = upz_view_pitch(p, post->view);
            other = (const float *)upz_view_row(p, post->view, y) + (ptrdiff_t)x0 * from;
            if (from != pitch) {
                widen(p->scratch->wide, pitch, other, from, p->s->channels, count);
                other = p->scratch->wide;
            }
        }
        switch (post->kind) {
        case UPZ_POST_ADD: k->add(row, row, other, post->alpha, post->beta, n); break;
        case UPZ_POST_MUL: k->mul(row, row, other, n); break;
        case UPZ_POST_AFFINE: k->affine(row, row, post->scale, post->shift, pitch, count); break;
        case UPZ_POST_SLOPE: k->slope(row, row, post->scale, pitch, count); break;
        case UPZ_POST_CURVE: k->curve(row, row, post->curve, post->lo, post->hi, n); break;
        }
    }
}
