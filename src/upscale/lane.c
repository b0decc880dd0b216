/* Running the steps of a lane. */
#include "base/alloc.h"
#include "base/error.h"
#include "picture/format.h"
#include "upscale/lane_steps.h"
#include "upscale/tta.h"

static UprezPicture *slot(int i, const struct UpzFlight *f)
{
    if (i == SLOT_SRC) return (UprezPicture *)(uintptr_t)f->src;
    return i == SLOT_DST ? f->dst : f->own[i - SLOT_OWN];
}

static void close_engine(UpzEngine **e)
{
    if (*e) upz_ops_of(*e)->close(e);
}

void upz_lane_destroy(UpzLane **lane)
{
    UpzLane *l = *lane;
    if (!l) return;
    *lane = NULL;
    for (int i = 0; i < l->n_steps; i++) {
        close_engine(&l->steps[i].engine);
        close_engine(&l->steps[i].turned);
        upz_resize_picture_destroy(&l->steps[i].resize);
        upz_convert_plan_destroy(&l->steps[i].convert);
        upz_fill_destroy(&l->steps[i].fill);
        upz_neutral_destroy(&l->steps[i].neutral);
    }
    for (int k = 0; k < UPZ_LANE_DEPTH; k++)
        for (int i = 0; i < l->n_own; i++) uprez_picture_unref(&l->flight[k].own[i]);
    upz_free(l->changed);
    upz_context_unref(&l->ctx);
    upz_free(l);
}

static bool color_equal(const UprezColor *a, const UprezColor *b)
{
    return a->matrix == b->matrix && a->range == b->range && a->siting == b->siting &&
           a->primaries == b->primaries && a->transfer == b->transfer;
}

int upz_lane_picture(UpzLane *l, UprezPicture **out, const UprezPicture *like, UprezError *err)
{
    UpzEngine *e = l->engine_step < 0 ? NULL : l->steps[l->engine_step].engine;
    *out = NULL;
    if (!e || !upz_ops_of(e)->picture)
        return upz_fail(err, UPREZ_ERR_BUG, "engine %s makes no pictures in a GPU's memory", l->engine);
    return upz_ops_of(e)->picture(e, out, like, err);
}

bool upz_lane_fits(const UpzLane *l, const UprezPicture *src, int dst_memory)
{
    return src->memory == l->src.memory && dst_memory == l->dst.memory &&
           (src->memory == UPREZ_MEM_HOST || src->device == l->src.device) && src->width == l->src.width && src->height == l->src.height &&
           upz_format_equal(&src->format, &l->src.format) && color_equal(&src->color, &l->src.color);
}

int upz_lane_depth(const UpzLane *l) { return l->depth; }
size_t upz_lane_memory(const UpzLane *l) { return l->memory; }
const char *upz_lane_numerics(const UpzLane *l) { return l->numerics; }
const char *upz_lane_engine(const UpzLane *l) { return l->engine; }
const char *upz_lane_device(const UpzLane *l) { return l->device; }
const char *upz_lane_precision(const UpzLane *l) { return l->precision; }

/* The sentence of a task that failed, whether or not the engine wrote one. */
static int task_error(const UpzTask *task, int r, UprezError *err)
{
    return upz_fail(err, r, "%s", task->err.text[0] ? task->err.text : uprez_strerror(r));
}

static int submit(const UpzLane *l, const UpzLaneStep *s, struct UpzFlight *f, UprezError *err)
{
    UprezPicture *src = slot(s->src, f), *dst = slot(s->dst, f);
    f->task = (UpzTask){.src = src, .dst = dst};
    upz_lane_todo(l, s, &f->parts, &f->todo);
    if (!f->todo.all) {
        f->task.todo = f->todo.rect;
        f->task.n_todo = f->todo.n;
    }
    if (s->luma) {
        upz_picture_component(&f->view_src, src, 0);
        upz_picture_component(&f->view_dst, dst, 0);
        f->task.src = &f->view_src;
        f->task.dst = &f->view_dst;
    }
    int r = upz_ops_of(s->engine)->submit(s->engine, &f->task);
    return r < 0 ? task_error(&f->task, r, err) : 0;
}

static int wait(UpzEngine *e, UpzTask *task, UprezError *err)
{
    upz_ops_of(e)->wait(e, task, -1);
    return task->result < 0 ? task_error(task, task->result, err) : 0;
}

static int run_tta(UpzLane *l, const UpzLaneStep *s, struct UpzFlight *f, UprezError *err)
{
    UprezPicture *src = slot(s->src, f), *dst = slot(s->dst, f);
    for (int t = 0; t < 8; t++) {
        int odd = t & 1;
        UprezPicture *in = slot(s->tmp[odd], f), *out = slot(s->tmp[2 + odd], f);
        UpzEngine *e = odd ? s->turned : s->engine;
        upz_tta_turn(l->ctx, src, in, t);
        UpzTask task = {.src = in, .dst = out};
        int r = upz_ops_of(e)->submit(e, &task);
        r = r < 0 ? task_error(&task, r, err) : wait(e, &task, err);
        if (r < 0) return r;
        upz_tta_add(l->ctx, out, dst, t, 1.0f / 8);
    }
    return 0;
}

/* Of parts alone: what is copied from the result before is neutral where it shall be. */
static void run_neutral(const UpzLane *l, const UpzLaneStep *s, struct UpzFlight *f)
{
    const UprezRect whole = {0, 0, l->dst.width, l->dst.height};
    upz_neutral_run(s->neutral, slot(s->src, f), slot(s->dst, f), f->parts.all ? &whole : f->parts.rect,
                    f->parts.all ? 1 : f->parts.n);
}

static int run_step(UpzLane *l, const UpzLaneStep *s, struct UpzFlight *f, UprezError *err)
{
    UprezPicture *src = slot(s->src, f), *dst = slot(s->dst, f);
    int r = 0;
    switch (s->kind) {
    case STEP_ENGINE:
        r = submit(l, s, f, err);
        return r < 0 ? r : wait(s->engine, &f->task, err);
    case STEP_TTA: return run_tta(l, s, f, err);
    case STEP_RESIZE: upz_resize_picture_run(s->resize, src, dst); return 0;
    case STEP_CONVERT: upz_convert_plan_run(s->convert, src, dst); return 0;
    case STEP_BLEND: upz_blend(l->ctx, dst, src, (float)l->params.blend); return 0;
    case STEP_FILL: upz_fill_run(s->fill, src, dst); return 0;
    case STEP_NEUTRAL: run_neutral(l, s, f); return 0;
    }
    return r;
}

/* In order: what comes before the engine, and the engine's work is handed over. */
int upz_lane_start(UpzLane *l, const UprezPicture *src, UprezPicture *dst, const UpzParts *parts,
                   UprezError *err)
{
    if (l->n_flight == l->depth) return UPREZ_AGAIN;
    struct UpzFlight *f = &l->flight[(l->first + l->n_flight) % l->depth];
    f->src = src;
    f->dst = dst;
    f->parts = parts ? *parts : (UpzParts){.all = true};
    int r = 0;
    for (int i = 0; i < l->engine_step && r >= 0; i++) r = run_step(l, &l->steps[i], f, err);
    if (l->engine_step >= 0 && r >= 0) r = submit(l, &l->steps[l->engine_step], f, err);
    if (r < 0) return r;
    l->n_flight++;
    return 0;
}

int upz_lane_finish(UpzLane *l, UprezError *err)
{
    struct UpzFlight *f = &l->flight[l->first];
    l->first = (l->first + 1) % l->depth;
    l->n_flight--;
    const int e = l->engine_step;
    int r = e >= 0 ? wait(l->steps[e].engine, &f->task, err) : 0;
    for (int i = e + 1; i < l->n_steps && r >= 0; i++) r = run_step(l, &l->steps[i], f, err);
    return r;
}
