/* Parts of a picture: how far a change spreads through the stages, and what of each stage's map a part
 * of the result needs. */
#include "engine/cpu/flow.h"

#include "base/alloc.h"

/* Joined where less lies between: a block of Winograd tiles costs little more than a few of them. */
#define GAP 16

/* ---- reach ---- */

/* Outputs that read any of inputs a … b through view k, widened into lo … hi. */
static void spread(const UpzProgram *p, const UpzStage *s, int k, int axis, int a, int b, int *lo,
                   int *hi)
{
    const UpzStage *src = &p->stages[s->views[k].stage];
    const int64_t num = (int64_t)s->num * src->den, den = (int64_t)s->den * src->num;
    const int slack = 16 + 4 * (s->kernel_w + s->kernel_h) + 4 * (int)(num / den);
    int first, last, at = (int)(a * num / den) - slack;
    do upz_stage_need(p, s, k, axis, at++, &first, &last);
    while (last < a);
    *lo = UPZ_MIN(*lo, at - 1);
    at = (int)(b * num / den) + slack;
    do upz_stage_need(p, s, k, axis, at--, &first, &last);
    while (first > b);
    *hi = UPZ_MAX(*hi, at + 1);
}

int upz_flow_reach(const UpzFlow *f, int axis)
{
    const UpzProgram *p = f->program;
    const int load = upz_load_spread(axis ? &f->load.y : &f->load.x);
    const int n = p->n_stages - 1; /* without STORE */
    int period = 1;                /* after so many px all tiles lie alike */
    for (int i = 0; i < n; i++)
        period = upz_lcm(period, p->stages[i].tile * p->stages[i].den);
    const int middle = (1 << 16) / period * period;
    int (*range)[2] = upz_calloc((size_t)n, sizeof(*range));
    int reach = 0;
    if (!range) return UPREZ_SIDE_MAX;
    for (int x = middle; x < middle + period; x++) {
        range[0][0] = x - load;
        range[0][1] = x + load;
        for (int i = 1; i < n; i++) {
            const UpzStage *s = &p->stages[i];
            range[i][0] = 1 << 30, range[i][1] = -(1 << 30);
            for (int k = 0; k < s->n_views; k++) {
                const int *r = range[s->views[k].stage];
                if (r[0] <= r[1]) spread(p, s, k, axis, r[0], r[1], &range[i][0], &range[i][1]);
            }
        }
        const UpzStage *out = &p->stages[n - 1];
        const int64_t first = (int64_t)x * out->num / out->den;
        const int64_t last = ((int64_t)(x + 1) * out->num + out->den - 1) / out->den - 1;
        reach = UPZ_MAX(reach, UPZ_MAX((int)(first - range[n - 1][0]),
                                       (int)(range[n - 1][1] - last)));
    }
    upz_free(range);
    return reach + upz_store_spread(axis ? &f->store.y : &f->store.x);
}

/* ---- needs ---- */

static void widen(UpzBox *b, int x0, int y0, int x1, int y1)
{
    if (b->x0 >= b->x1) {
        *b = (UpzBox){x0, y0, x1, y1};
        return;
    }
    *b = (UpzBox){UPZ_MIN(b->x0, x0), UPZ_MIN(b->y0, y0), UPZ_MAX(b->x1, x1), UPZ_MAX(b->y1, y1)};
}

static void clip(UpzBox *b, const UpzRing *l)
{
    *b = (UpzBox){UPZ_MAX(b->x0, 0), UPZ_MAX(b->y0, 0), UPZ_MIN(b->x1, l->w), UPZ_MIN(b->y1, l->h)};
    if (b->y0 >= b->y1) *b = (UpzBox){0};
}

/* Samples first … last - 1 of planar rows that stored ones depend on, along one axis. */
static void before_store(const UpzChromaAxis *a, int *first, int *last)
{
    const int f = 1 << a->sub;
    if (f == 1) return;
    const int from = *first, to = UPZ_ROUND_UP(*last, f);
    *first = UPZ_MIN(from, from + a->down_at);
    *last = UPZ_MAX(to, to - f + a->down_at + a->down_n);
}

void upz_flow_parts(const UpzFlow *f, const UprezRect *todo, int n, UpzBox *boxes)
{
    const UpzProgram *p = f->program;
    const int last = p->n_stages - 1;
    for (int i = 0; i < n; i++) {
        for (int s = 0; s < last; s++) boxes[s * UPZ_TODO_MAX + i] = (UpzBox){0};
        const UprezRect *r = &todo[i];
        UpzBox b = {r->x, r->y, r->x + r->w, r->y + r->h};
        boxes[last * UPZ_TODO_MAX + i] = b;
        before_store(&f->store.x, &b.x0, &b.x1);
        before_store(&f->store.y, &b.y0, &b.y1);
        boxes[(last - 1) * UPZ_TODO_MAX + i] = b;
        for (int s = last - 1; s >= 0; s--) {
            const UpzStage *stage = &p->stages[s];
            UpzBox *need = &boxes[s * UPZ_TODO_MAX + i];
            clip(need, &f->rings[s]);
            if (need->x0 >= need->x1) continue;
            for (int k = 0; k < stage->n_views; k++) {
                int x0, y0, x1, y1, ignored;
                upz_stage_need(p, stage, k, 0, need->x0, &x0, &ignored);
                upz_stage_need(p, stage, k, 0, need->x1 - 1, &ignored, &x1);
                upz_stage_need(p, stage, k, 1, need->y0, &y0, &ignored);
                upz_stage_need(p, stage, k, 1, need->y1 - 1, &ignored, &y1);
                widen(&boxes[stage->views[k].stage * UPZ_TODO_MAX + i], x0, y0, x1 + 1, y1 + 1);
            }
        }
    }
}

int upz_flow_boxes(const UpzFlow *f, int stage, int index, const UpzBox *parts, int n,
                   UpzBox out[UPZ_TODO_MAX])
{
    const UpzRing *l = &f->rings[stage];
    const UpzStageKind kind = f->program->stages[stage].kind;
    const bool rows = kind == UPZ_STAGE_LOAD || kind == UPZ_STAGE_STORE; /* whole ones */
    const int part = index % l->parts;
    UpzBox piece = {.x0 = l->bound[part], .x1 = l->bound[part + 1]};
    upz_ring_rows(l, index / l->parts, &piece.y0, &piece.y1);
    if (piece.x0 >= piece.x1 || piece.y0 >= piece.y1) return 0;
    out[0] = piece;
    if (!n) return 1;
    int count = 0;
    for (int i = 0; i < n; i++) {
        UpzBox b = parts[stage * UPZ_TODO_MAX + i];
        b.y0 = UPZ_MAX(b.y0, piece.y0);
        b.y1 = UPZ_MIN(b.y1, piece.y1);
        b.x0 = rows ? piece.x0 : UPZ_MAX(b.x0, piece.x0);
        b.x1 = rows ? piece.x1 : UPZ_MIN(b.x1, piece.x1);
        if (b.x0 >= b.x1 || b.y0 >= b.y1) continue;
        /* swallows those it meets; what it grows by may meet others */
        for (int k = 0; k < count;) {
            if (out[k].x0 > b.x1 + GAP || b.x0 > out[k].x1 + GAP) {
                k++;
                continue;
            }
            widen(&b, out[k].x0, out[k].y0, out[k].x1, out[k].y1);
            out[k] = out[--count];
            k = 0;
        }
        out[count++] = b;
    }
    return count;
}
