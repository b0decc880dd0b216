/* The engine of our own kernels on NVIDIA's GPUs: pictures in host or device memory. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/cuda/kernels/fatbin.h"
#include "engine/cuda/measure.h"
#include "engine/cuda/run.h"
#include "engine/cuda/selftest.h"
#include "engine/cuda_driver.h"
#include "engine/trial.h"

#ifndef UPZ_CUDA_LEAST
#define UPZ_CUDA_LEAST 75
#endif

#ifdef UPZ_HAVE_CUDA_KERNELS
#define IMAGE upz_cuda_fatbin
#define MISSING NULL
#else
#define IMAGE NULL
#define MISSING UPZ_CUDA_MISSING
#endif

#define EIGHT_LEAST 20.0 /* dB that 8 bits must reach beside halves: less is no picture */

extern const UpzEngineOps upz_engine_cuda;

struct UpzEngine {
    UpzEngineBase base;
    UprezContext *ctx;
    UprezModel *model;
    UpzCudaHome *home;
    UpzCudaRun run;
};

/* A warp's mma multiplies fp8 on sm_89 and from sm_120 on, wgmma on sm_90; on sm_100 neither does. */
static bool has_fp8(int capability)
{
    return capability == 89 || capability == 90 || capability >= 120;
}

static int probe(const char *runtime_path, UpzDeviceList *list, UprezError *why)
{
    UpzGpu gpus[UPZ_GPUS];
    UpzCuda cu;
    char old[512];
    int version = 0, at = 0, n = upz_cuda_gpus(runtime_path, gpus, why);
    if (n < 0) return n;
    int r = upz_cuda_open(&cu, runtime_path, why);
    if (r < 0) return r;
    if (cu.missing)
        return upz_fail(why, UPREZ_ERR_DEVICE, "the NVIDIA driver is too old: it has no %s", cu.missing);
    cu.driver_version(&version);
    for (int i = 0; i < n && list->n < UPZ_COUNT(list->items); i++) {
        const UpzGpu *g = &gpus[i];
        if (10 * g->major + g->minor < UPZ_CUDA_LEAST) {
            at = UPZ_MIN(at, (int)sizeof(old) - 1);
            at += snprintf(old + at, sizeof(old) - (size_t)at,
                           "%sGPU %d (%s) has compute capability %d.%d", at ? ", " : "", i, g->name,
                           g->major, g->minor);
            upz_fail(why, UPREZ_ERR_DEVICE, "%s; this build's kernels need %d.%d or more", old,
                     UPZ_CUDA_LEAST / 10, UPZ_CUDA_LEAST % 10);
            continue;
        }
        UpzDevice *d = &list->items[list->n++];
        *d = (UpzDevice){.kind = "cuda", .index = i, .memory = g->memory};
        memcpy(d->name, g->name, sizeof(d->name));
        snprintf(d->version, sizeof(d->version), "driver for CUDA %d.%d", version / 1000,
                 version % 1000 / 10);
        snprintf(d->can, sizeof(d->can), "fp16%s; own kernels for compute capability %d.%d%s",
                 has_fp8(10 * g->major + g->minor)  ? ", fp8, int8"
                 : 10 * g->major + g->minor >= 75 ? ", int8" : "",
                 g->major, g->minor, g->major == 9 && g->minor == 0 ? " (wgmma)" : "");
    }
    return 0;
}

static int eight_of(const UpzEngineParams *params)
{
    const char *p = params && params->precision ? params->precision : "";
    return !strcmp(p, "fp8") ? UPZ_EIGHT_FP8 : !strcmp(p, "int8") ? UPZ_EIGHT_INT8 : UPZ_EIGHT_NONE;
}

static int supports(const UprezModel *model, const UpzEngineParams *params, UprezError *why)
{
    if (model->kernel != UPZ_KERNEL_NONE)
        return upz_fail(why, UPREZ_ERR_DEVICE, "'%s' is a resampling kernel, which runs on the CPU "
                        "only; leave -d and --engine away, or give a network with -m",
                        model->facts.path ? model->facts.path : "this");
    if (model->foreign[0])
        return upz_fail(why, UPREZ_ERR_MODEL, "%s", model->foreign_why ? model->foreign_why :
                        "only the runtime it was made for runs this file, not engine cuda");
    const char *precision = params && params->precision ? params->precision : "auto";
    if (eight_of(params) == UPZ_EIGHT_NONE && strcmp(precision, "auto") && strcmp(precision, "fp16"))
        return upz_fail(why, UPREZ_ERR_DEVICE, "the cuda engine computes in fp16, fp8 or int8, not in %s; "
                        "use --precision fp16", precision);
    UpzCudaNet net;
    int r = upz_cuda_net_build(&net, &model->graph, eight_of(params) != UPZ_EIGHT_NONE, why);
    if (r >= 0) upz_cuda_net_free(&net);
    return r;
}

static void close_engine(UpzEngine **engine)
{
    UpzEngine *e = *engine;
    if (!e) return;
    *engine = NULL;
    upz_cuda_run_close(&e->run);
    upz_cuda_home_close(&e->home);
    uprez_model_unref(&e->model);
    upz_context_unref(&e->ctx);
    upz_free(e);
}

/* From halves to 8 bits, and what that costs. */
static int narrow(UpzEngine *e, int eight, UprezError *err)
{
    UpzRanges ranges = {0};
    UprezPicture *want = NULL, *got = NULL;
    const char *name = upz_eight_name(eight);
    if (eight == UPZ_EIGHT_FP8 && !has_fp8(e->home->capability))
        return upz_fail(err, UPREZ_ERR_DEVICE, "GPU %d has compute capability %d.%d; there are kernels in fp8 "
                        "for 8.9, 9.0 and from 12.0 on: use --precision int8 or fp16", e->home->index,
                        e->home->capability / 10, e->home->capability % 10);
    int r = upz_cuda_measure(&e->run, e->model, &ranges, &want, err);
    if (r >= 0) {
        upz_cuda_run_close(&e->run);
        r = upz_cuda_run_open(&e->run, e->home, e->ctx, e->model, IMAGE, eight, &ranges, err);
    }
    upz_ranges_free(&ranges);
    if (r >= 0) r = upz_cuda_measure(&e->run, e->model, NULL, &got, err);
    const double db = r >= 0 ? upz_trial_pictures_psnr(got, want) : 0;
    if (r >= 0 && db < EIGHT_LEAST)
        r = upz_fail(err, UPREZ_ERR_DEVICE, "in %s this network's picture is only %.1f dB PSNR from its own "
                     "in fp16; use --precision fp16", name, db);
    if (r >= 0) upz_info(e->ctx, "precision %s: %.1f dB PSNR to fp16 on the built-in picture", name, db);
    uprez_picture_unref(&want);
    uprez_picture_unref(&got);
    return r;
}

static int open_engine(UpzEngine **out, UprezContext *ctx, UprezModel *model,
                       const UpzDevice *device, const UpzEngineParams *params, UprezError *err)
{
    *out = NULL;
    int r = supports(model, params, err);
    if (r < 0) return r;
    UpzEngine *e = upz_calloc(1, sizeof(*e));
    if (!e) return upz_fail_memory(err, sizeof(*e), "the cuda engine");
    e->base.ops = &upz_engine_cuda;
    e->ctx = upz_context_ref(ctx);
    e->model = uprez_model_ref(model);
    r = upz_cuda_home_open(&e->home, device, params ? params->runtime_path : NULL, err);
    if (r >= 0 && e->home->capability < UPZ_CUDA_LEAST)
        r = upz_fail(err, UPREZ_ERR_DEVICE, "GPU %d has compute capability %d.%d; this build's kernels "
                     "need %d.%d or more", device->index, e->home->capability / 10,
                     e->home->capability % 10, UPZ_CUDA_LEAST / 10, UPZ_CUDA_LEAST % 10);
    if (r >= 0) r = upz_cuda_run_open(&e->run, e->home, ctx, model, IMAGE, UPZ_EIGHT_NONE, NULL, err);
    if (r >= 0) r = upz_cuda_selftest(&e->run, model, err);
    if (r >= 0 && eight_of(params)) r = narrow(e, eight_of(params), err);
    if (r >= 0 && params) {
        e->run.out_w = params->out_w, e->run.out_h = params->out_h;
        e->run.filter = params->filter;
    }
    if (r < 0) close_engine(&e);
    *out = e;
    return r;
}

/* Result px of one axis that `reach` px of the network's own result touch. */
static int spread(const UpzCudaPasses *p, bool vertical, int reach)
{
    for (int i = 0; i < p->n; i++) {
        const UpzCudaResize *a = &p->pass[i];
        const int64_t from = vertical ? a->src.height : a->src.width;
        const int64_t to = vertical ? a->dst.height : a->dst.width;
        if ((a->vertical != 0) == vertical)
            return (int)(((int64_t)(reach + a->taps) * to + from - 1) / from) + 1;
    }
    return reach;
}

/* Of the plan, along an axis: chroma of the source, the network, the resize, chroma of the result. */
static int reach(const UpzEngine *e, const UprezModelFacts *f, int axis)
{
    const int64_t px = e->run.load_spread[axis] + UPZ_MAX(f->reach, 0);
    const int64_t own = (px * f->scale_num + f->scale_den - 1) / f->scale_den + (f->scale_den > 1);
    return spread(&e->run.passes, axis == 1, (int)own) + e->run.store_spread[axis];
}

static const char *filter_name(UpzResizeKernel k)
{
    return k == UPZ_RESIZE_BILINEAR  ? "bilinear"
           : k == UPZ_RESIZE_BICUBIC ? "bicubic"
           : k == UPZ_RESIZE_LANCZOS ? "lanczos" : "spline36";
}

static const char *precision(const UpzCudaRun *run)
{
    return run->eight ? upz_eight_name(run->eight) : "fp16";
}

/* What bytes depend on: the code that runs, and the tensor cores that it runs on. */
static void numerics(const UpzCudaRun *run, char *to, size_t size)
{
    const int capability = run->home->capability;
    char card[16] = "";
    if (run->target != capability) snprintf(card, sizeof(card), "-cc%d", capability);
    else if (capability == 90 && !run->hopper) snprintf(card, sizeof(card), "-mma");
    snprintf(to, size, "cuda/%s-sm%d%s/1%s%s%s", precision(run), run->target, card,
             run->passes.n ? " + cuda/resample-" : "",
             run->passes.n ? filter_name(run->filter) : "", run->passes.n ? "/1" : "");
}

static int plan(UpzEngine *e, const UpzShape *shape, size_t mem_limit, UpzPlan *out,
                UprezError *err)
{
    const UprezModelFacts *f = &e->model->facts;
    int r = upz_cuda_run_plan(&e->run, shape, mem_limit, err);
    if (r < 0) return r;
    const UpzCudaLayout *l = &e->run.layout;
    if (l->x.n * l->y.n > 1)
        upz_info(e->ctx, "GPU memory for %dx%d tiles of %dx%d at a time", l->x.n, l->y.n, l->x.tile,
                 l->y.tile);
    *out = (UpzPlan){.need = upz_cuda_run_bytes(&e->run), .width = e->run.dst_w,
                     .height = e->run.dst_h, .reach_x = reach(e, f, 0), .reach_y = reach(e, f, 1),
                     .grain_x = 8, .grain_y = 1 << shape->dst.sub_y, .todo = true, .depth = UPZ_CUDA_SLOTS, .exact = 1};
    snprintf(out->precision, sizeof(out->precision), "%s", precision(&e->run));
    numerics(&e->run, out->numerics, sizeof(out->numerics));
    return 0;
}

static int submit(UpzEngine *e, UpzTask *task) { return upz_cuda_run_submit(&e->run, task); }

static int wait_for(UpzEngine *e, UpzTask *task, int64_t timeout_ns)
{
    return upz_cuda_run_wait(&e->run, task, timeout_ns);
}

static int picture(UpzEngine *e, UprezPicture **out, const UprezPicture *like, UprezError *err)
{
    return upz_cuda_picture(e->home, out, like, err);
}

static int compare(UpzEngine *e, const UprezPicture *a, const UprezPicture *b, int cell,
                   uint8_t *changed, UprezError *err)
{
    return upz_cuda_run_compare(&e->run, a, b, cell, changed, err);
}

static int copy(UpzEngine *e, const UprezPicture *from, UprezPicture *to, const UprezRect *rects,
                int n, UprezError *err)
{
    return upz_cuda_run_copy(&e->run, from, to, rects, n, err);
}

const UpzEngineOps upz_engine_cuda = {
    .abi = UPZ_ENGINE_ABI,
    .name = "cuda",
    .about = "own kernels for NVIDIA GPUs: fp16 with fp32 sums on tensor cores",
    .missing = MISSING,
    .resizes = true,
    .probe = probe,
    .supports = supports,
    .open = open_engine,
    .plan = plan,
    .submit = submit,
    .wait = wait_for,
    .close = close_engine,
    .picture = picture,
    .compare = compare,
    .copy = copy,
};
