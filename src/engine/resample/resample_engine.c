/* The classical kernels as an engine: no network, straight on the planes, at any size and depth. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"
#include "picture/resize.h"

enum { DEPTH = 2 /* pictures in flight: the next one fills workers that the last leaves idle */ };

extern const UpzEngineOps upz_engine_resample; /* in engine_list.c's list */

typedef struct Slot {
    UpzResizePicture *resize;
    UpzWork work;
    UpzTask *task; /* NULL = free */
} Slot;

struct UpzEngine {
    UpzEngineBase base;
    UprezContext *ctx;
    UprezModel *model;
    UpzResizeKernel kernel;
    int out_w, out_h;
    Slot slots[DEPTH];
};

static int probe(const char *runtime_path, UpzDeviceList *list, UprezError *why)
{
    (void)runtime_path, (void)why;
    if (list->n == UPZ_COUNT(list->items)) return 0;
    UpzDevice *d = &list->items[list->n++];
    *d = (UpzDevice){.kind = "cpu"};
    snprintf(d->name, sizeof(d->name), "%s", upz_cpu_name(upz_cpu_detect()));
    return 0;
}

static int supports(const UprezModel *model, const UpzEngineParams *params, UprezError *why)
{
    (void)params;
    if (model->kernel == UPZ_KERNEL_NONE)
        return upz_fail(why, UPREZ_ERR_DEVICE,
                        "engine resample runs bicubic, lanczos and spline36 only, not networks");
    return 0;
}

static int open_engine(UpzEngine **out, UprezContext *ctx, UprezModel *model,
                       const UpzDevice *device, const UpzEngineParams *params, UprezError *err)
{
    (void)device;
    *out = NULL;
    int r = supports(model, params, err);
    if (r < 0) return r;
    if (params->out_w < 1 || params->out_h < 1)
        return upz_fail(err, UPREZ_ERR_BUG, "engine resample was opened without an output size");
    UpzEngine *e = upz_calloc(1, sizeof(*e));
    if (!e) return upz_fail_memory(err, sizeof(*e), "engine resample");
    e->base.ops = &upz_engine_resample;
    e->ctx = upz_context_ref(ctx);
    e->model = uprez_model_ref(model);
    e->out_w = params->out_w;
    e->out_h = params->out_h;
    e->kernel = model->kernel == UPZ_KERNEL_BICUBIC   ? UPZ_RESIZE_BICUBIC
                : model->kernel == UPZ_KERNEL_LANCZOS ? UPZ_RESIZE_LANCZOS
                                                      : UPZ_RESIZE_SPLINE36;
    *out = e;
    return 0;
}

static int plan(UpzEngine *e, const UpzShape *s, size_t mem_limit, UpzPlan *p, UprezError *err)
{
    UprezPicture src = {.format = s->src, .color = s->src_color, .width = s->width,
                        .height = s->height};
    UprezPicture dst = {.format = s->dst, .color = s->dst_color, .width = e->out_w,
                        .height = e->out_h};
    *p = (UpzPlan){.width = e->out_w, .height = e->out_h, .depth = DEPTH, .exact = 1};
    for (int i = 0; i < DEPTH; i++) {
        upz_resize_picture_destroy(&e->slots[i].resize);
        int r = upz_resize_picture_create(&e->slots[i].resize, e->ctx, e->kernel, &src, &dst, err);
        if (r < 0) return r;
        p->need += upz_resize_picture_memory(e->slots[i].resize);
    }
    if (mem_limit && p->need > mem_limit)
        return upz_fail(err, UPREZ_ERR_MEMORY,
                        "resampling to %dx%d needs %zu bytes, more than the limit of %zu",
                        e->out_w, e->out_h, p->need, mem_limit);
    int sx = UPZ_MAX(s->src.sub_x, s->dst.sub_x), sy = UPZ_MAX(s->src.sub_y, s->dst.sub_y);
    p->reach_x = upz_resize_reach(e->kernel, s->width, e->out_w, sx);
    p->reach_y = upz_resize_reach(e->kernel, s->height, e->out_h, sy);
    p->grain_x = 1 << s->dst.sub_x;
    p->grain_y = 1 << s->dst.sub_y;
    snprintf(p->numerics, sizeof(p->numerics), "cpu/resample-%s/1",
             e->kernel == UPZ_RESIZE_BICUBIC   ? "bicubic"
             : e->kernel == UPZ_RESIZE_LANCZOS ? "lanczos"
                                               : "spline36");
    snprintf(p->precision, sizeof(p->precision), "fp32");
    return 0;
}

static int submit(UpzEngine *e, UpzTask *task)
{
    for (int i = 0; i < DEPTH; i++) {
        Slot *s = &e->slots[i];
        if (s->task) continue;
        s->task = task;
        task->priv = s;
        task->result = 0;
        upz_resize_picture_begin(s->resize, task->src, task->dst);
        upz_pool_submit(e->ctx->pool, &s->work, upz_resize_picture_step, s->resize);
        return 0;
    }
    return UPREZ_AGAIN;
}

static int wait_task(UpzEngine *e, UpzTask *task, int64_t timeout_ns)
{
    Slot *s = task->priv;
    int r = upz_pool_wait(e->ctx->pool, &s->work, timeout_ns);
    if (r == 0) s->task = NULL;
    return r;
}

static void close_engine(UpzEngine **engine)
{
    UpzEngine *e = *engine;
    if (!e) return;
    *engine = NULL;
    for (int i = 0; i < DEPTH; i++) {
        if (e->slots[i].task) upz_pool_wait(e->ctx->pool, &e->slots[i].work, -1);
        upz_resize_picture_destroy(&e->slots[i].resize);
    }
    uprez_model_unref(&e->model);
    upz_context_unref(&e->ctx);
    upz_free(e);
}

const UpzEngineOps upz_engine_resample = {
    .abi = UPZ_ENGINE_ABI,
    .name = "resample",
    .about = "bicubic, lanczos and spline36: no network, straight on the planes",
    .probe = probe,
    .supports = supports,
    .open = open_engine,
    .plan = plan,
    .submit = submit,
    .wait = wait_task,
    .close = close_engine,
};
