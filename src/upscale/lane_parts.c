/* Parts of results: how a change of the source spreads through a lane's steps. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/integer.h"
#include "picture/difference.h"
#include "picture/format.h"
#include "upscale/lane_steps.h"

enum {
    CELL = 16,     /* px of the source */
    CONVERT = 16,  /* px: chroma of both sides, at most */
    GRAIN = 4      /* px: what can be copied alone */
};

/* Lengths in px of one picture as px of another, rounded up. */
static int scaled(int length, int from, int to)
{
    const int64_t n = ((int64_t)length * to + from - 1) / from;
    return (int)UPZ_MIN(n, 4 * UPREZ_SIDE_MAX);
}

static void step_reach(const UpzLane *l, const UpzLaneStep *s, int reach[2])
{
    const UprezPicture *a = upz_lane_shape(l, s->src), *b = upz_lane_shape(l, s->dst);
    const int sx = UPZ_MAX(a->format.sub_x, b->format.sub_x);
    const int sy = UPZ_MAX(a->format.sub_y, b->format.sub_y);
    reach[0] = reach[1] = 0;
    switch (s->kind) {
    case STEP_ENGINE:
        reach[0] = s->plan.reach_x;
        reach[1] = s->plan.reach_y;
        break;
    case STEP_RESIZE:
        reach[0] = upz_resize_reach(l->params.filter, a->width, b->width, sx);
        reach[1] = upz_resize_reach(l->params.filter, a->height, b->height, sy);
        break;
    case STEP_CONVERT: reach[0] = reach[1] = CONVERT; break;
    case STEP_FILL:
        reach[0] = UPZ_FILL_REACH + (1 << sx);
        reach[1] = UPZ_FILL_REACH + (1 << sy);
        break;
    case STEP_NEUTRAL: /* whole samples of both sides' chroma */
        reach[0] = scaled(UPZ_NEUTRAL_RADIUS + (1 << sx), a->width, b->width) + (1 << sx);
        reach[1] = scaled(UPZ_NEUTRAL_RADIUS + (1 << sy), a->height, b->height) + (1 << sy);
        break;
    case STEP_TTA: case STEP_BLEND: break;
    }
}

static void widest(int *to, int reach) { *to = UPZ_MAX(*to, reach); }

static void measure_axis(UpzLane *l, int axis)
{
    for (int i = 0; i < l->n_steps; i++) {
        const UpzLaneStep *s = &l->steps[i];
        const UprezPicture *a = upz_lane_shape(l, s->src), *b = upz_lane_shape(l, s->dst);
        int own[2];
        step_reach(l, s, own);
        widest(&l->reach[s->dst][axis],
               scaled(l->reach[s->src][axis], axis ? a->height : a->width,
                      axis ? b->height : b->width) + own[axis] + 1);
    }
    for (int i = l->n_steps - 1; i >= 0; i--) {
        const UpzLaneStep *s = &l->steps[i];
        const UprezPicture *a = upz_lane_shape(l, s->src), *b = upz_lane_shape(l, s->dst);
        int own[2];
        step_reach(l, s, own);
        widest(&l->needs[s->src][axis],
               scaled(l->needs[s->dst][axis] + own[axis], axis ? b->height : b->width,
                      axis ? a->height : a->width) + 2);
    }
}

int upz_lane_measure(UpzLane *l, UprezError *err)
{
    bool spares = false, local = true;
    for (int i = 0; i < l->n_steps; i++) {
        const UpzLaneStep *s = &l->steps[i];
        if (s->kind == STEP_TTA) local = false;
        if (s->kind != STEP_ENGINE || s->kernel) continue;
        spares |= s->plan.todo;
        local &= s->plan.todo;
    }
    l->parts = spares && local;
    measure_axis(l, 0);
    measure_axis(l, 1);
    /* else only whether anything differs at all */
    l->cell = l->parts ? CELL : UPREZ_SIDE_MAX;
    const size_t n = (size_t)upz_cells(l->src.width, l->cell) * (size_t)upz_cells(l->src.height, l->cell);
    l->changed = upz_calloc(n, 1);
    return l->changed ? 0 : upz_fail_memory(err, n, "the upscaler");
}

/* px of a slot that are computed around a part, roughly: all that its engine reads */
static void margin_of(const UpzLane *l, int slot, int margin[2])
{
    margin[0] = l->reach[slot][0];
    margin[1] = l->reach[slot][1];
}

void upz_lane_todo(const UpzLane *l, const UpzLaneStep *s, const UpzParts *parts, UpzParts *todo)
{
    const UprezPicture *to = upz_lane_shape(l, s->dst);
    const int grain[2] = {upz_lcm(UPZ_MAX(s->plan.grain_x, 1), GRAIN),
                          upz_lcm(UPZ_MAX(s->plan.grain_y, 1), GRAIN)};
    int margin[2];
    *todo = (UpzParts){.all = true};
    if (parts->all || !s->plan.todo) return;
    margin_of(l, s->dst, margin);
    upz_parts_map(todo, parts, l->dst.width, l->dst.height, to->width, to->height, l->needs[s->dst],
                  grain, margin);
}

/* The engine that reads the source, and the one that makes the result. */
static const UpzLaneStep *engine_at(const UpzLane *l, bool end)
{
    for (int i = 0; i < l->n_steps; i++) {
        const UpzLaneStep *s = &l->steps[end ? l->n_steps - 1 - i : i];
        if (s->kind == STEP_ENGINE) return s;
    }
    return NULL;
}

int upz_lane_compare(UpzLane *l, const UprezPicture *before, const UprezPicture *src, UpzParts *parts,
                     UprezError *err)
{
    const int n = upz_cells(l->src.width, l->cell) * upz_cells(l->src.height, l->cell);
    *parts = (UpzParts){.all = true};
    if (src->memory == UPREZ_MEM_HOST) {
        upz_difference(before, src, l->cell, l->changed);
    } else {
        const UpzLaneStep *s = engine_at(l, false);
        if (!s || !upz_ops_of(s->engine)->compare) return 0;
        int r = upz_ops_of(s->engine)->compare(s->engine, before, src, l->cell, l->changed, err);
        if (r < 0) return r;
    }
    int found = 0;
    for (int i = 0; i < n; i++) found += l->changed[i];
    if (found && !l->parts) return 0;
    const int margin[2] = {scaled(l->reach[SLOT_DST][0], l->dst.width, l->src.width),
                           scaled(l->reach[SLOT_DST][1], l->dst.height, l->src.height)};
    const int grain[2] = {GRAIN, GRAIN};
    UpzParts cells;
    int around[2];
    /* the source's parts spread, and are computed with as much around them again */
    upz_parts_cells(&cells, l->changed, l->src.width, l->src.height, l->cell,
                    (int[2]){2 * margin[0], 2 * margin[1]});
    margin_of(l, SLOT_DST, around);
    upz_parts_map(parts, &cells, l->src.width, l->src.height, l->dst.width, l->dst.height,
                  l->reach[SLOT_DST], grain, around);
    return 0;
}

int upz_lane_copy(UpzLane *l, const UprezPicture *from, UprezPicture *to, const UpzParts *but,
                  UprezError *err)
{
    UprezRect rest[UPZ_PARTS_REST];
    const int n = upz_parts_rest(but, l->dst.width, l->dst.height, rest);
    if (to->memory == UPREZ_MEM_HOST) {
        upz_picture_copy(from, to, rest, n);
        return 0;
    }
    const UpzLaneStep *s = engine_at(l, true);
    if (!s || !upz_ops_of(s->engine)->copy)
        return upz_fail(err, UPREZ_ERR_BUG, "engine %s copies no pictures in a GPU's memory", l->engine);
    return upz_ops_of(s->engine)->copy(s->engine, from, to, rest, n, err);
}
