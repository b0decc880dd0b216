/* Which steps lead from the source's shape to the result's. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/format.h"
#include "upscale/lane_steps.h"

#define OWN_MOST ((size_t)1 << 30) /* bytes in pictures between steps, of all in flight */

static const UprezPicture *shape(const UpzLane *l, int i) { return upz_lane_shape(l, i); }

static size_t bytes_of(const UprezPicture *p)
{
    size_t bytes = 0;
    for (int i = 0; i < p->format.n_plane; i++)
        bytes += (size_t)p->stride[i] * (size_t)upz_plane_height(&p->format, i, p->height);
    return bytes;
}

static bool on_gpu(const UpzLane *l)
{
    return l->src.memory == UPREZ_MEM_CUDA || l->dst.memory == UPREZ_MEM_CUDA;
}

static int new_picture(UpzLane *l, const UprezFormat *f, const UprezColor *c, int w, int h,
                       UprezError *err)
{
    if (l->n_own == UPZ_LANE_PICTURES)
        return upz_fail(err, UPREZ_ERR_USAGE, "too many models in one chain");
    UprezPicture **p = &l->flight[0].own[l->n_own];
    int r = uprez_picture_alloc(p, f, w, h, err);
    if (r < 0) return r;
    (*p)->color = *c;
    l->memory += bytes_of(*p);
    return SLOT_OWN + l->n_own++;
}

/* A picture for a network's result, where the lane's pictures are. In a GPU's memory it is a shape until
 * the network's engine is there to make it: fill_slot. */
static int new_result(UpzLane *l, const UprezFormat *f, const UprezColor *c, int w, int h,
                      UprezError *err)
{
    if (!on_gpu(l)) return new_picture(l, f, c, w, h, err);
    if (l->n_own == UPZ_LANE_PICTURES)
        return upz_fail(err, UPREZ_ERR_USAGE, "too many models in one chain");
    const UprezPicture desc = {.format = *f, .color = *c, .width = w, .height = h,
                               .memory = UPREZ_MEM_CUDA,
                               .device = l->src.memory == UPREZ_MEM_CUDA ? l->src.device
                                                                         : l->dst.device};
    int r = uprez_picture_wrap(&l->flight[0].own[l->n_own], &desc, NULL, NULL, err);
    return r < 0 ? r : SLOT_OWN + l->n_own++;
}

static int fill_slot(UpzLane *l, UpzEngine *e, int slot, UprezError *err)
{
    UprezPicture **own = &l->flight[0].own[slot - SLOT_OWN], *made;
    int r = upz_ops_of(e)->picture(e, &made, *own, err);
    if (r < 0) return r;
    uprez_picture_unref(own);
    *own = made;
    l->memory += bytes_of(made);
    return 0;
}

/* NULL when the lane is full (the error is filled). */
static UpzLaneStep *add_step(UpzLane *l, StepKind kind, int src, int dst, UprezError *err)
{
    if (l->n_steps == UPZ_LANE_STEPS) {
        upz_fail(err, UPREZ_ERR_USAGE, "too many models in one chain");
        return NULL;
    }
    UpzLaneStep *s = &l->steps[l->n_steps++];
    *s = (UpzLaneStep){.kind = kind, .src = src, .dst = dst};
    return s;
}

static void append(char *to, size_t size, const char *text)
{
    size_t n = strlen(to);
    snprintf(to + n, size - n, "%s%s", n ? " + " : "", text);
}

static bool is_auto(const char *s) { return !s || !*s || !strcmp(s, "auto"); }

static void stage_size(const UprezModel *m, int w, int h, int *sw, int *sh)
{
    *sw = m->kernel ? w : (int)((int64_t)w * m->facts.scale_num / m->facts.scale_den);
    *sh = m->kernel ? h : (int)((int64_t)h * m->facts.scale_num / m->facts.scale_den);
}

/* A GPU was asked for, engine cuda did not take it, and the engine that did cannot: both reasons. */
static int gpu_error(int r, const UpzEngineOps *ops, const UprezModel *model,
                     const UpzEngineParams *params, const UprezError *why, UprezError *err)
{
    UprezError own = {0};
    if (!strcmp(ops->name, "cuda") || !upz_engine_gpu_idle(model, params, &own) || !own.code)
        return upz_fail(err, r, "%s", why->text);
    return upz_fail(err, r, "engine cuda: %s; engine %s instead: %s", own.text, ops->name, why->text);
}

/* An engine opened and planned for src -> dst (shapes). Where dst has not the network's size, it is one
 * that resizes, and no other is tried. */
static int open_engine(UpzLane *l, UpzLaneStep *step, UpzEngine **out, UprezModel *model,
                       const UprezPicture *src, const UprezPicture *dst, UpzPlan *plan,
                       UprezError *err)
{
    const UpzEngineOps *ops;
    UpzDevice device;
    char name[UPZ_DEVICE_NAME];
    const char *wanted = l->params.device;
    const bool automatic = is_auto(l->params.engine) && is_auto(wanted);
    const bool cuda = src->memory == UPREZ_MEM_CUDA || dst->memory == UPREZ_MEM_CUDA;
    int own_w, own_h;
    stage_size(model, src->width, src->height, &own_w, &own_h);
    const bool resized = !model->kernel && (own_w != dst->width || own_h != dst->height);
    UpzEngineParams ep = {.precision = l->params.precision ? l->params.precision : "auto",
                          .tile = l->params.tile,
                          .batch = l->params.batch,
                          .runtime_path = l->params.runtime_path,
                          .out_w = dst->width,
                          .out_h = dst->height,
                          .filter = l->params.filter,
                          .cuda_pictures = cuda,
                          .native_context = l->params.cuda_context};
    if (cuda && (is_auto(wanted) || !strcmp(wanted, "cuda"))) { /* where the pictures are */
        snprintf(name, sizeof(name), "cuda:%d",
                 src->memory == UPREZ_MEM_CUDA ? src->device : dst->device);
        wanted = name;
    }
    UpzShape s = {.width = src->width, .height = src->height, .src = src->format,
                  .dst = dst->format, .src_color = src->color, .dst_color = dst->color,
                  .src_memory = src->memory, .dst_memory = dst->memory};
    UprezError why = {0};
    int r;
    for (;;) {
        r = upz_engine_choose(&ops, &device, l->params.engine, wanted, model, &ep, err);
        if (r >= 0 && resized && !ops->resizes)
            r = upz_fail(err, UPREZ_ERR_DEVICE, "engine %s makes pictures of the network's own size only; "
                         "leave -s, --width and --height away, or bring the pictures to host memory "
                         "first (FFmpeg: hwdownload)", ops->name);
        if (r < 0) break;
        r = ops->open(out, l->ctx, model, &device, &ep, &why);
        if (r >= 0) r = ops->plan(*out, &s, 0, plan, &why);
        if (r >= 0) break;
        if (*out) ops->close(out);
        /* nobody asked for this engine: the next one may do */
        const bool gives_up = r == UPREZ_ERR_DEVICE ||
                              (r == UPREZ_ERR_MEMORY && strcmp(device.kind, "cpu") != 0);
        if (!gives_up || !automatic || cuda || resized || !strcmp(ops->name, "cpu"))
            return is_auto(l->params.engine) && !strcmp(device.kind, "cuda")
                       ? gpu_error(r, ops, model, &ep, &why, err)
                       : upz_fail(err, r, "%s", why.text);
        const char *before = l->params.engine_before;
        if (!l->params.quiet || (before && !strcmp(before, ops->name)))
            upz_warn(l->ctx, "engine %s is not used: %s", ops->name, why.text);
        l->params.quiet = true; /* the lane's other engines would say the same */
        l->params.engine_before = NULL;
        ep.after = ops;
    }
    if (r < 0) return r;
    if (automatic && !ep.after && !l->params.quiet && !model->kernel &&
        !strcmp(device.kind, "cpu") && upz_engine_gpu_idle(model, &ep, &why))
        upz_warn(l->ctx, "the GPU is not used: %s", why.text);
    if (plan->width != dst->width || plan->height != dst->height)
        return upz_fail(err, UPREZ_ERR_BUG, "engine %s plans %dx%d where %dx%d is expected",
                        ops->name, plan->width, plan->height, dst->width, dst->height);
    l->memory += plan->need;
    step->shape = s;
    step->plan = *plan;
    step->kernel = model->kernel != UPZ_KERNEL_NONE;
    if (!l->engine[0] || strcmp(ops->name, "resample")) {
        snprintf(l->engine, sizeof(l->engine), "%s", ops->name);
        snprintf(l->precision, sizeof(l->precision), "%s", plan->precision);
        upz_device_name(&device, l->device);
    }
    return 0;
}

static void luma_shape(UprezPicture *view, const UprezPicture *p)
{
    upz_picture_component(view, p, 0);
}

static int add_engine(UpzLane *l, UprezModel *model, int src, int dst, bool luma, UprezError *err)
{
    UprezPicture a = *shape(l, src), b = *shape(l, dst);
    if (luma) {
        luma_shape(&a, shape(l, src));
        luma_shape(&b, shape(l, dst));
    }
    UpzPlan plan;
    UpzLaneStep *s = add_step(l, STEP_ENGINE, src, dst, err);
    if (!s) return UPREZ_ERR_USAGE;
    s->luma = luma;
    int r = open_engine(l, s, &s->engine, model, &a, &b, &plan, err);
    if (r < 0) return r;
    if (l->engine_step < 0) {
        l->engine_step = l->n_steps - 1;
        l->depth = UPZ_CLAMP(plan.depth, 1, UPZ_LANE_DEPTH);
    }
    append(l->numerics, sizeof(l->numerics), plan.numerics);
    return on_gpu(l) && dst >= SLOT_OWN ? fill_slot(l, s->engine, dst, err) : 0;
}

/* A network and the resize to the destination's size by one engine: 1, or 0 where none does both. */
static int add_resizing_engine(UpzLane *l, UprezModel *model, int src, UprezError *err)
{
    const int before = l->n_steps;
    UprezError why = {0};
    int r = add_engine(l, model, src, SLOT_DST, false, &why);
    if (r >= 0) return 1;
    if (on_gpu(l)) return upz_fail(err, r, "%s", why.text);
    UpzEngine **e = &l->steps[before].engine; /* the way without finds the same words, if they hold */
    if (l->n_steps > before && *e) upz_ops_of(*e)->close(e);
    l->n_steps = before;
    return 0;
}

/* The source with colours under alpha 0 that bleed into no edge; returns its slot. */
static int add_fill(UpzLane *l, UprezError *err)
{
    int to = new_picture(l, &l->src.format, &l->src.color, l->src.width, l->src.height, err);
    if (to < 0) return to;
    UpzLaneStep *s = add_step(l, STEP_FILL, SLOT_SRC, to, err);
    if (!s) return UPREZ_ERR_USAGE;
    int r = upz_fill_create(&s->fill, &l->src, err);
    if (r < 0) return r;
    l->memory += upz_fill_memory(s->fill);
    append(l->numerics, sizeof(l->numerics), "fill/1");
    return to;
}

/* Behind all else. `src`: the slot that the first model read. */
static int add_neutral(UpzLane *l, int src, UprezError *err)
{
    UpzLaneStep *s = add_step(l, STEP_NEUTRAL, src, SLOT_DST, err);
    if (!s) return UPREZ_ERR_USAGE;
    int r = upz_neutral_create(&s->neutral, l->ctx, &l->src, &l->dst, err);
    if (r < 0) return r;
    l->memory += upz_neutral_memory(s->neutral);
    append(l->numerics, sizeof(l->numerics), "neutral/1");
    return 0;
}

/* src and dst are float pictures of the lane. */
static int add_tta(UpzLane *l, UprezModel *model, int src, int dst, UprezError *err)
{
    const UprezPicture *a = shape(l, src), *b = shape(l, dst);
    UpzPlan plan, other;
    int r = 0;
    UpzLaneStep *s = add_step(l, STEP_TTA, src, dst, err);
    if (!s) return UPREZ_ERR_USAGE;
    for (int i = 0; i < 4 && r >= 0; i++) {
        const UprezPicture *like = i < 2 ? a : b;
        bool turned = i & 1;
        r = new_picture(l, &like->format, &like->color, turned ? like->height : like->width,
                        turned ? like->width : like->height, err);
        s->tmp[i] = r;
    }
    if (r >= 0)
        r = open_engine(l, s, &s->engine, model, shape(l, s->tmp[0]), shape(l, s->tmp[2]), &plan,
                        err);
    if (r >= 0)
        r = open_engine(l, s, &s->turned, model, shape(l, s->tmp[1]), shape(l, s->tmp[3]), &other,
                        err);
    if (r < 0) return r;
    append(l->numerics, sizeof(l->numerics), plan.numerics);
    if (strcmp(plan.numerics, other.numerics) != 0)
        append(l->numerics, sizeof(l->numerics), other.numerics);
    append(l->numerics, sizeof(l->numerics), "tta/1");
    return 0;
}

static int add_resize(UpzLane *l, int src, int dst, UprezError *err)
{
    UpzLaneStep *s = add_step(l, STEP_RESIZE, src, dst, err);
    if (!s) return UPREZ_ERR_USAGE;
    int r = upz_resize_picture_create(&s->resize, l->ctx, l->params.filter, shape(l, src),
                                      shape(l, dst), err);
    if (r < 0) return r;
    l->memory += upz_resize_picture_memory(s->resize);
    return 0;
}

static int add_convert(UpzLane *l, int src, int dst, UprezError *err)
{
    UpzLaneStep *s = add_step(l, STEP_CONVERT, src, dst, err);
    if (!s) return UPREZ_ERR_USAGE;
    int r = upz_convert_plan_create(&s->convert, l->ctx, shape(l, src), shape(l, dst), err);
    if (r < 0) return r;
    l->memory += upz_convert_plan_memory(s->convert);
    return 0;
}

/* The resampler goes from a to b by itself: ranges, depths and subsampling may differ. */
static bool same_meaning(const UprezPicture *a, const UprezPicture *b)
{
    return a->format.model == b->format.model &&
           (a->format.model != UPREZ_YUV || a->color.matrix == b->color.matrix);
}

static void float_like(UprezFormat *f, UprezColor *c, const UprezPicture *like, bool yuv)
{
    *c = like->color;
    c->range = UPREZ_RANGE_FULL;
    if (like->format.model == UPREZ_GRAY) {
        upz_format_float_gray(f);
    } else {
        upz_format_float_rgb(f);
        if (yuv) f->model = UPREZ_YUV;
    }
}

/* One network of the chain from slot cur; returns the slot of its result. `final`: it may write the
 * destination itself when shapes agree. */
static int add_network(UpzLane *l, UprezModel *m, int cur, bool final, UprezError *err)
{
    int w, h, r;
    UprezFormat f;
    UprezColor c;
    stage_size(m, shape(l, cur)->width, shape(l, cur)->height, &w, &h);
    if (w < 1 || h < 1)
        return upz_fail(err, UPREZ_ERR_INPUT, "a picture of %dx%d is too small for %s",
                        shape(l, cur)->width, shape(l, cur)->height, m->facts.path);
    bool fits = final && w == l->dst.width && h == l->dst.height;
    bool tta = l->params.tta && !m->kernel;
    const bool whole = m->facts.input == UPREZ_INPUT_RGB ||
                       (shape(l, cur)->format.model == UPREZ_GRAY && l->dst.format.model == UPREZ_GRAY);
    if (final && !fits && !tta && !m->kernel && whole) {
        r = add_resizing_engine(l, m, cur, err);
        if (r) return r < 0 ? r : SLOT_DST;
    }

    if (m->kernel || m->facts.input == UPREZ_INPUT_RGB) {
        bool direct = fits && !tta && (!m->kernel || same_meaning(shape(l, cur), &l->dst));
        if (tta && shape(l, cur)->format.depth != 32) {
            float_like(&f, &c, shape(l, cur), false);
            int t = new_picture(l, &f, &c, shape(l, cur)->width, shape(l, cur)->height, err);
            if (t < 0 || (r = add_convert(l, cur, t, err)) < 0) return t < 0 ? t : r;
            cur = t;
        }
        int to = SLOT_DST;
        if (!direct) {
            float_like(&f, &c, shape(l, cur), m->kernel && shape(l, cur)->format.model == UPREZ_YUV);
            to = new_result(l, &f, &c, w, h, err);
            if (to < 0) return to;
        }
        r = tta ? add_tta(l, m, cur, to, err) : add_engine(l, m, cur, to, false, err);
        return r < 0 ? r : to;
    }

    /* luma only: the network on Y, chroma through the resampler */
    bool gray = shape(l, cur)->format.model == UPREZ_GRAY;
    bool direct = fits && !tta && same_meaning(shape(l, cur), &l->dst);
    if (!gray && (shape(l, cur)->format.model != UPREZ_YUV || tta)) {
        UprezPicture like = *shape(l, cur);
        like.color = l->dst.color;
        if (l->dst.format.model != UPREZ_YUV) like.color.matrix = 6; /* BT.601, as these were trained */
        float_like(&f, &c, &like, true);
        int t = new_picture(l, &f, &c, like.width, like.height, err);
        if (t < 0 || (r = add_convert(l, cur, t, err)) < 0) return t < 0 ? t : r;
        cur = t;
        direct = false;
    }
    int to = SLOT_DST;
    if (!direct) {
        float_like(&f, &c, shape(l, cur), !gray);
        to = new_result(l, &f, &c, w, h, err);
        if (to < 0) return to;
    }
    if (!gray && (r = add_resize(l, cur, to, err)) < 0) return r;
    r = add_engine(l, m, cur, to, !gray, err);
    return r < 0 ? r : to;
}

/* From slot `src` to the destination. */
static int build(UpzLane *l, int src, UprezError *err)
{
    int cur = src, r;
    bool blend = l->params.blend > 0;
    UprezFormat f;
    UprezColor c;
    for (int i = 0; i < l->params.n_models; i++) {
        UprezModel *m = l->params.models[i];
        bool last = i == l->params.n_models - 1;
        if (m->kernel && last) {
            /* straight to the final size */
            const UprezPicture *p = shape(l, cur);
            if (!blend && same_meaning(p, &l->dst))
                return add_engine(l, m, cur, SLOT_DST, false, err);
            float_like(&f, &c, p, p->format.model == UPREZ_YUV);
            int t = new_picture(l, &f, &c, l->dst.width, l->dst.height, err);
            if (t < 0 || (r = add_engine(l, m, cur, t, false, err)) < 0) return t < 0 ? t : r;
            cur = t;
            continue;
        }
        cur = add_network(l, m, cur, last && !blend, err);
        if (cur < 0) return cur;
    }
    if (cur == SLOT_DST) return 0;

    if (shape(l, cur)->width != l->dst.width || shape(l, cur)->height != l->dst.height) {
        if (!blend && same_meaning(shape(l, cur), &l->dst)) return add_resize(l, cur, SLOT_DST, err);
        int t = new_picture(l, &shape(l, cur)->format, &shape(l, cur)->color, l->dst.width,
                            l->dst.height, err);
        if (t < 0 || (r = add_resize(l, cur, t, err)) < 0) return t < 0 ? t : r;
        cur = t;
    }
    if (blend) {
        const UprezPicture *p = shape(l, cur);
        int a = new_picture(l, &p->format, &p->color, l->src.width, l->src.height, err);
        int b = a < 0 ? a : new_picture(l, &p->format, &p->color, p->width, p->height, err);
        if (b < 0) return b;
        if ((r = add_convert(l, src, a, err)) < 0 || (r = add_resize(l, a, b, err)) < 0)
            return r;
        if (!add_step(l, STEP_BLEND, b, cur, err)) return UPREZ_ERR_USAGE;
    }
    return add_convert(l, cur, SLOT_DST, err);
}

/* Kernels alone move chroma as it is; networks make it anew. */
static bool colours(const UpzLane *l)
{
    for (int i = 0; i < l->params.n_models; i++)
        if (!l->params.models[i]->kernel) return upz_neutral_applies(&l->src, &l->dst);
    return !same_meaning(&l->src, &l->dst) && upz_neutral_applies(&l->src, &l->dst);
}

static int build_all(UpzLane *l, UprezError *err)
{
    const int src = l->src.format.alpha && l->dst.format.alpha ? add_fill(l, err) : SLOT_SRC;
    int r = src < 0 ? src : build(l, src, err);
    if (r < 0) return r;
    return colours(l) && !on_gpu(l) ? add_neutral(l, src, err) : 0;
}

static int another(UpzLane *l, UprezPicture **out, int own)
{
    const UprezPicture *like = l->flight[0].own[own];
    if (like->memory != UPREZ_MEM_CUDA) {
        int r = uprez_picture_alloc(out, &like->format, like->width, like->height, NULL);
        if (r >= 0) (*out)->color = like->color;
        return r;
    }
    int i = 0;
    while (l->steps[i].dst != SLOT_OWN + own) i++;
    return upz_ops_of(l->steps[i].engine)->picture(l->steps[i].engine, out, like, NULL);
}

/* Pictures of its own for everything in flight; fewer in flight where they would take too much. */
static void multiply(UpzLane *l)
{
    size_t set = 0;
    for (int i = 0; i < l->n_own; i++) set += bytes_of(l->flight[0].own[i]);
    if (l->params.depth > 0) l->depth = UPZ_MIN(l->depth, l->params.depth);
    if (set) l->depth = UPZ_MIN(l->depth, (int)UPZ_CLAMP(OWN_MOST / set, 1, UPZ_LANE_DEPTH));
    for (int k = 1; k < l->depth; k++) {
        struct UpzFlight *f = &l->flight[k];
        for (int i = 0; i < l->n_own; i++) {
            if (another(l, &f->own[i], i) >= 0) continue;
            l->depth = k;
            break;
        }
        if (k < l->depth) l->memory += set;
    }
}

int upz_lane_shrink(UpzLane *l, UprezError *err)
{
    UpzLaneStep *most = NULL;
    for (int i = 0; i < l->n_steps; i++) {
        UpzLaneStep *s = &l->steps[i];
        if (s->kind == STEP_ENGINE && s->engine && upz_ops_of(s->engine)->picture &&
            (!most || s->plan.need > most->plan.need))
            most = s;
    }
    if (!most) return UPREZ_ERR_MEMORY;
    UpzPlan plan;
    size_t less = 0; /* at least a result */
    for (int i = 0; i < l->dst.format.n_plane; i++)
        less += upz_plane_row_bytes(&l->dst.format, i, l->dst.width) *
                (size_t)upz_plane_height(&l->dst.format, i, l->dst.height);
    less = UPZ_MAX(less, most->plan.need / 8);
    if (most->plan.need <= less) return UPREZ_ERR_MEMORY;
    int r = upz_ops_of(most->engine)->plan(most->engine, &most->shape, most->plan.need - less, &plan, err);
    if (r < 0) return r;
    l->memory -= most->plan.need - plan.need;
    most->plan = plan;
    upz_info(l->ctx, "GPU memory is short: smaller tiles, %zu MiB", plan.need >> 20);
    return 0;
}

/* Pictures in a GPU's memory: networks do all there is to do, one behind another, or it cannot be done. */
static int check_gpu(const UpzLane *l, UprezError *err)
{
    const bool gray = l->src.format.model == UPREZ_GRAY && l->dst.format.model == UPREZ_GRAY;
    const char *what = NULL;
    if (!on_gpu(l)) return 0;
    if (l->params.tta) what = "averaging over flips and turns";
    else if (l->params.blend > 0) what = "blending with the source";
    else if (l->src.format.alpha || l->dst.format.alpha) what = "alpha";
    for (int i = 0; i < l->params.n_models && !what; i++) {
        const UprezModel *m = l->params.models[i];
        if (m->kernel) what = "resampling without a network";
        else if (m->facts.input != UPREZ_INPUT_RGB && !gray) what = "a network for luma alone";
    }
    if (!what) return 0;
    return upz_fail(err, UPREZ_ERR_DEVICE, "%s is not possible with pictures in a GPU's memory yet; "
                    "bring them to host memory first (FFmpeg: hwdownload)", what);
}

int upz_lane_create(UpzLane **out, UprezContext *ctx, const UpzLaneParams *params,
                    const UprezPicture *src, const UprezPicture *dst, UprezError *err)
{
    *out = NULL;
    UpzLane *l = upz_calloc(1, sizeof(*l));
    if (!l) return upz_fail_memory(err, sizeof(*l), "the upscaler");
    l->ctx = upz_context_ref(ctx);
    l->params = *params;
    l->src = *src;
    l->dst = *dst;
    l->depth = 1;
    l->engine_step = -1;
    int r = check_gpu(l, err);
    if (r >= 0) r = build_all(l, err);
    if (r >= 0) r = upz_lane_measure(l, err);
    if (r < 0) {
        upz_lane_destroy(&l);
        return r;
    }
    multiply(l);
    l->params.engine_before = NULL; /* the caller's */
    *out = l;
    return 0;
}

void upz_result_size(UprezModel *const *models, int n, double scale, int width, int height,
                     int src_w, int src_h, int *out_w, int *out_h)
{
    double own = 1;
    bool network = false;
    for (int i = 0; i < n; i++) {
        if (models[i]->kernel) continue;
        network = true;
        own *= (double)models[i]->facts.scale_num / models[i]->facts.scale_den;
    }
    if (!network) own = 2;
    double s = scale > 0 ? scale : own;
    double w = width > 0 ? width : height > 0 ? (double)src_w * height / src_h : src_w * s;
    double h = height > 0 ? height : width > 0 ? (double)src_h * width / src_w : src_h * s;
    *out_w = (int)lrint(UPZ_CLAMP(w, 1, UPREZ_SIDE_MAX));
    *out_h = (int)lrint(UPZ_CLAMP(h, 1, UPREZ_SIDE_MAX));
}
