/* A piece of work, and what is done to a convolution's sums after its own arithmetic: residual sums,
 * products and activations, on rows of floats. */
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

static inline void *upz_out_row(const UpzPiece *p, int y)
{
    return upz_ring_row(p->f, p->stage, p->frame, y);
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

/* The stage's posts on columns x0 … x1 - 1 of row y, in place. */
void upz_finish_row(const UpzPiece *p, int y, int x0, int x1);

#endif
