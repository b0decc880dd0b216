/* A piece of work, and what is done to rows after a stage's own arithmetic: residual sums, products and
 * activations. All of it happens on rows of floats: those of the map itself, or, where the map is
 * narrower, those of a strip in scratch, which are narrowed once, when they are complete. */
#ifndef UPZ_CPU_EPILOGUE_H
#define UPZ_CPU_EPILOGUE_H

#include "engine/cpu/flow.h"

typedef struct UpzPiece {
    const UpzFlow *f;
    const UpzStage *s;
    const UpzRing *l;
    int stage;
    int64_t frame;
    int y0, y1, x0, x1; /* rows and columns to write */
    UpzScratch *scratch;
} UpzPiece;

/* Pixel 0 of row y of the piece's map. */
static inline void *upz_out_row(const UpzPiece *p, int y)
{
    return upz_ring_row(p->f, p->stage, p->frame, y);
}

/* Pixel x0 of row y of the piece, where floats are to be written before upz_finish_row. As many rows as the
 * stage's way finishes together are there at a time. */
static inline float *upz_out_floats(const UpzPiece *p, int y)
{
    if (p->s->type == UPZ_TYPE_F32) return (float *)upz_out_row(p, y) + (ptrdiff_t)p->x0 * p->s->pitch;
    return p->scratch->strip + (size_t)(y % p->scratch->strips) * p->scratch->strip_row;
}

/* Row y of a view, from its pixel 0 and first channel. Zeros outside the map. */
static inline const void *upz_view_row(const UpzPiece *p, int k, int y)
{
    const UpzMapView *v = &p->s->views[k];
    const int at = v->up == 1 ? y : upz_floor_div(y, v->up);
    const char *row = upz_ring_row(p->f, v->stage, p->frame, at);
    return row + (size_t)v->first * upz_type_size(p->f->program->stages[v->stage].type);
}

static inline int upz_view_pitch(const UpzPiece *p, int k)
{
    return p->f->program->stages[p->s->views[k].stage].pitch;
}

/* The stage's posts on columns x0 … x1 - 1 of row y as upz_out_floats gave it; then they are in the map.
 * Every column of a piece is finished once. */
void upz_finish_row(const UpzPiece *p, int y, int x0, int x1);

#endif
