/* The adapter's table: pictures in flight, the threads of its slots, and who starts what. */
#include "engine/tensor/tensor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/thread.h"
#include "engine/tensor/inner.h"

/* ---- the slots' threads; the lock is held between the lines that say otherwise ---- */

/* Tiles that nobody took, or more: those that are not wanted count. */
static int64_t pending(const UpzEngine *e)
{
    return (e->submitted - e->next_frame) * upz_tensor_tiles(e) - e->next_tile;
}

static UpzTensorFrame *frame_at(UpzEngine *e, int64_t number)
{
    return &e->frames[number % e->n_frames];
}

static bool take_sum(UpzEngine *e, UpzTensorFrame *f)
{
    if (!e->n_sums || f->sum >= 0) return true;
    for (int i = 0; i < e->n_sums; i++)
        if (!(e->sums_used >> i & 1)) {
            e->sums_used |= (uint32_t)1 << i;
            f->sum = i;
            return true;
        }
    return false;
}

static void finish_tiles(UpzEngine *e, UpzTensorFrame *f, int tiles)
{
    f->left -= tiles;
    if (f->left) return;
    if (f->sum >= 0) {
        e->sums_used &= ~((uint32_t)1 << f->sum);
        f->sum = -1;
        pthread_cond_broadcast(&e->work);
    }
    f->done = true;
    pthread_cond_broadcast(&e->done);
}

/* How many tiles are wanted from `tile` on. */
static int count_tiles(const UpzEngine *e, const UpzTensorFrame *f, int tile)
{
    int n = 0;
    while ((tile = upz_tensor_next_tile(e, f, tile)) < upz_tensor_tiles(e)) tile++, n++;
    return n;
}

/* The next tile is taken by somebody, or by nobody. */
static void step(UpzEngine *e, UpzTensorFrame *f, int tile)
{
    e->next_tile = upz_tensor_next_tile(e, f, tile);
    if (e->next_tile < upz_tensor_tiles(e)) return;
    e->next_frame++;
    e->next_tile = 0;
}

/* Images for one run into the slot, in order; none: the batch is not worth starting yet. */
static void collect(UpzEngine *e, UpzTensorSlot *slot)
{
    slot->n = 0;
    if (pending(e) < e->tensor.batch && e->next_frame >= e->flush) return;
    while (slot->n < e->tensor.batch && e->next_frame < e->submitted) {
        UpzTensorFrame *f = frame_at(e, e->next_frame);
        const int tile = upz_tensor_next_tile(e, f, e->next_tile);
        if (f->result < 0 || tile == upz_tensor_tiles(e)) { /* nobody wants the rest of it */
            const int rest = count_tiles(e, f, tile);
            step(e, f, upz_tensor_tiles(e));
            finish_tiles(e, f, rest);
            continue;
        }
        if (!take_sum(e, f)) break;
        slot->jobs[slot->n++] = (UpzTensorJob){f, tile};
        step(e, f, tile + 1);
    }
}

/* One image's result into its frame. */
static void deliver(UpzEngine *e, UpzTensorSlot *slot, int i, int result, const UprezError *err)
{
    UpzTensorJob *job = &slot->jobs[i];
    UpzTensorFrame *f = job->frame;
    if (result < 0 && !f->result) {
        f->result = result;
        f->err = *err;
    }
    if (e->blend) /* the order of a sum shall not depend on who is first */
        while (upz_tensor_next_tile(e, f, f->next_added) != job->tile)
            pthread_cond_wait(&e->work, &e->lock);
    if (f->result >= 0) {
        pthread_mutex_unlock(&e->lock);
        if (e->n_sums) upz_tensor_add(e, slot, i);
        else upz_tensor_store(e, f, slot, i);
        pthread_mutex_lock(&e->lock);
    }
    if (e->blend) {
        f->next_added = job->tile + 1;
        pthread_cond_broadcast(&e->work);
    }
    if (e->n_sums && f->left == 1 && f->result >= 0) {
        pthread_mutex_unlock(&e->lock);
        upz_tensor_store(e, f, slot, -1);
        pthread_mutex_lock(&e->lock);
    }
    finish_tiles(e, f, 1);
}

/* The one thread that runs what slots have loaded, where the runtime wants that. */
static void *runner_main(void *arg)
{
    UpzEngine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->runner_quit) {
        if (!e->n_loaded) {
            pthread_cond_wait(&e->work, &e->lock);
            continue;
        }
        UpzTensorSlot *slot = e->loaded[0];
        e->n_loaded--;
        memmove(e->loaded, e->loaded + 1, (size_t)e->n_loaded * sizeof(*e->loaded));
        pthread_mutex_unlock(&e->lock);
        const int r = e->runtime->run(e->rt, slot->index, &slot->err);
        pthread_mutex_lock(&e->lock);
        slot->result = r;
        slot->ran = true;
        pthread_cond_broadcast(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* Runs the slot, on whichever thread; the lock is held before and after. */
static int run_slot(UpzEngine *e, UpzTensorSlot *slot)
{
    slot->err = (UprezError){0};
    if (e->facts.one_thread) {
        slot->ran = false;
        e->loaded[e->n_loaded++] = slot;
        pthread_cond_broadcast(&e->work);
        while (!slot->ran) pthread_cond_wait(&e->work, &e->lock);
        return slot->result;
    }
    while (e->runs == e->max_runs) pthread_cond_wait(&e->work, &e->lock);
    e->runs++;
    pthread_mutex_unlock(&e->lock);
    const int r = e->runtime->run(e->rt, slot->index, &slot->err);
    pthread_mutex_lock(&e->lock);
    e->runs--;
    pthread_cond_broadcast(&e->work);
    return r;
}

static void *slot_main(void *arg)
{
    UpzTensorSlot *slot = arg;
    UpzEngine *e = slot->engine;
    pthread_mutex_lock(&e->lock);
    while (!e->quit) {
        collect(e, slot);
        if (!slot->n) {
            pthread_cond_wait(&e->work, &e->lock);
            continue;
        }
        pthread_mutex_unlock(&e->lock);
        upz_tensor_load(e, slot);
        pthread_mutex_lock(&e->lock);
        const int r = run_slot(e, slot);
        UprezError err = {0};
        /* too late for smaller tiles of our own choice: the plan's numerics are promised */
        if (r == UPREZ_ERR_MEMORY)
            upz_fail(&err, r, "%s; smaller tiles need less: give --tile %d or less", slot->err.text,
                     UPZ_MAX(UPZ_MAX(e->tensor.width, e->tensor.height) / 2, 16));
        else
            err = slot->err;
        for (int i = 0; i < slot->n; i++) deliver(e, slot, i, r, &err);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* Ends the threads when their runs are through; tiles that nobody took are dropped. */
static void stop(UpzEngine *e)
{
    pthread_mutex_lock(&e->lock);
    e->quit = true;
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
    for (int i = 0; i < UPZ_TENSOR_SLOTS; i++) {
        if (e->slots[i].running) pthread_join(e->slots[i].thread, NULL);
        e->slots[i].running = false;
    }
    if (e->runner_running) {
        pthread_mutex_lock(&e->lock);
        e->runner_quit = true;
        pthread_cond_broadcast(&e->work);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->runner, NULL);
    }
    e->quit = e->runner_quit = e->runner_running = false;
}

static int start(UpzEngine *e, UprezError *err)
{
    bool failed = false;
    if (e->facts.one_thread) {
        failed = upz_thread_start(&e->runner, runner_main, e) != 0;
        e->runner_running = !failed;
    }
    for (int i = 0; i < e->n_slots && !failed; i++) {
        UpzTensorSlot *s = &e->slots[i];
        s->engine = e;
        s->index = i;
        failed = upz_thread_start(&s->thread, slot_main, s) != 0;
        s->running = !failed;
    }
    if (!failed) return 0;
    stop(e);
    return upz_fail(err, UPREZ_ERR_MEMORY, "cannot start a thread for engine %s", e->runtime->name);
}

/* ---- calls on threads of their own ---- */

typedef struct Aside {
    int (*fn)(void *arg);
    void *arg;
    int result;
} Aside;

static void *aside_main(void *arg)
{
    Aside *a = arg;
    a->result = a->fn(a->arg);
    return NULL;
}

int upz_tensor_aside(int (*fn)(void *arg), void *arg, UprezError *err)
{
    Aside a = {.fn = fn, .arg = arg};
    pthread_t thread;
    if (upz_thread_start(&thread, aside_main, &a))
        return upz_fail(err, UPREZ_ERR_MEMORY, "cannot start a thread for an engine");
    pthread_join(thread, NULL);
    return a.result;
}

typedef struct Open {
    UpzEngine *e;
    const UpzEngineParams *params;
    UprezError *err;
} Open;

static int open_aside(void *arg)
{
    const Open *o = arg;
    UpzEngine *e = o->e;
    return e->runtime->open(&e->rt, e->ctx, e->model, &e->device, o->params, &e->facts, o->err);
}

/* ---- the table ---- */

int upz_tensor_open(UpzEngine **out, const UpzEngineOps *ops, const UpzRuntimeOps *runtime,
                    UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                    const UpzEngineParams *params, UprezError *err)
{
    *out = NULL;
    UpzEngine *e = upz_calloc(1, sizeof(*e));
    if (!e) return upz_fail_memory(err, sizeof(*e), "the engine");
    e->base.ops = ops;
    e->runtime = runtime;
    e->device = *device;
    e->want_tile = params->tile;
    e->want_batch = params->batch;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->done, &attr);
    pthread_condattr_destroy(&attr);
    e->ctx = upz_context_ref(ctx);
    e->model = uprez_model_ref(model);
    Open o = {e, params, err};
    int r = upz_tensor_aside(open_aside, &o, err);
    if (r < 0) upz_tensor_close(&e);
    *out = e;
    return r < 0 ? r : 0;
}

/* "name/version/provider/precision/WxH…" */
static void name_numerics(const UpzEngine *e, char out[64])
{
    char id[256], tile[80] = "whole", batch[16] = "";
    const UpzTensorShape *t = &e->tensor;
    if (upz_tensor_tiles(e) > 1 || t->width != e->pad_w || t->height != e->pad_h ||
        e->facts.fixed_shape || e->facts.fixed_width || e->facts.fixed_height)
        snprintf(tile, sizeof(tile), "%dx%d+%d%s", t->width, t->height, e->halo,
                 e->blend ? "b" : "");
    if (t->batch > 1) snprintf(batch, sizeof(batch), "x%d", t->batch);
    snprintf(id, sizeof(id), "%s/%s/%s/%s/%s%s", e->runtime->name, e->facts.version,
             e->facts.provider, e->facts.precision, tile, batch);
    if (strlen(id) < 64) {
        memcpy(out, id, strlen(id) + 1);
        return;
    }
    char hex[UPZ_SHA256_HEX];
    upz_sha256(id, strlen(id), hex);
    snprintf(out, 64, "%.45s#%.16s", id, hex);
}

int upz_tensor_plan(UpzEngine *e, const UpzShape *shape, size_t mem_limit, UpzPlan *plan,
                    UprezError *err)
{
    const UprezModelFacts *f = &e->model->facts;
    stop(e);
    upz_tensor_layout_free(e);
    memset(e->frames, 0, sizeof(e->frames));
    e->submitted = e->next_frame = e->flush = 0;
    e->next_tile = e->runs = 0;
    e->sums_used = 0;
    if (f->scale_num < 1 || f->scale_den < 1 || (f->channels != 1 && f->channels != 3))
        return upz_fail(err, UPREZ_ERR_BUG, "a model of scale %d/%d with %d channels", f->scale_num,
                        f->scale_den, f->channels);
    const int64_t w = (int64_t)shape->width * f->scale_num / f->scale_den;
    const int64_t h = (int64_t)shape->height * f->scale_num / f->scale_den;
    if (shape->width > UPREZ_SIDE_MAX || shape->height > UPREZ_SIDE_MAX || w < 1 || h < 1 ||
        w > UPREZ_SIDE_MAX || h > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a result of %lldx%lld pixels; sides must be 1 to %d",
                        (long long)w, (long long)h, UPREZ_SIDE_MAX);
    e->shape = *shape;
    e->dst_w = (int)w, e->dst_h = (int)h;
    int r = upz_tensor_layout(e, mem_limit, err);
    if (r >= 0) r = start(e, err);
    if (r < 0) {
        upz_tensor_layout_free(e);
        return r;
    }
    const int spread = (int)(((int64_t)f->reach * f->scale_num + f->scale_den - 1) / f->scale_den);
    *plan = (UpzPlan){.need = e->need, .width = e->dst_w, .height = e->dst_h, .reach_x = spread,
                      .reach_y = spread, .grain_x = 1, .grain_y = 1, .depth = e->n_frames,
                      .exact = upz_tensor_tiles(e) == 1};
    name_numerics(e, plan->numerics);
    snprintf(plan->precision, sizeof(plan->precision), "%s", e->facts.precision);
    return 0;
}

int upz_tensor_submit(UpzEngine *e, UpzTask *task)
{
    if (!e->planned || task->src->width != e->shape.width || task->src->height != e->shape.height ||
        task->dst->width != e->dst_w || task->dst->height != e->dst_h)
        return upz_fail(&task->err, UPREZ_ERR_BUG, "engine %s planned %dx%d to %dx%d, not %dx%d to "
                        "%dx%d", e->runtime->name, e->shape.width, e->shape.height, e->dst_w,
                        e->dst_h, task->src->width, task->src->height, task->dst->width,
                        task->dst->height);
    pthread_mutex_lock(&e->lock);
    UpzTensorFrame *f = frame_at(e, e->submitted);
    const int r = f->busy ? UPREZ_AGAIN : 0;
    if (!r) {
        *f = (UpzTensorFrame){.task = task, .number = e->submitted++, .sum = -1, .busy = true};
        f->left = count_tiles(e, f, 0);
        task->priv = f;
        if (pending(e) >= e->tensor.batch) pthread_cond_broadcast(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
    return r;
}

int upz_tensor_wait(UpzEngine *e, UpzTask *task, int64_t timeout_ns)
{
    UpzTensorFrame *f = task->priv;
    struct timespec until = {0};
    if (timeout_ns > 0) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_ns / 1000000000;
        until.tv_nsec += timeout_ns % 1000000000;
        if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&e->lock);
    if (e->flush <= f->number) { /* a part of a batch is started for somebody who waits */
        e->flush = f->number + 1;
        if (e->next_frame < e->flush) pthread_cond_broadcast(&e->work);
    }
    bool late = !timeout_ns;
    while (!f->done && !late) {
        if (timeout_ns < 0) pthread_cond_wait(&e->done, &e->lock);
        else late = pthread_cond_timedwait(&e->done, &e->lock, &until) == ETIMEDOUT;
    }
    const int r = f->done ? 0 : UPREZ_AGAIN;
    if (!r) {
        task->result = f->result;
        const int nan = atomic_load(&f->nan);
        if (f->result < 0) task->err = f->err;
        else if (nan)
            task->result = upz_fail(&task->err, UPREZ_ERR_VERIFY, "the network gave %d values that "
                                    "are not numbers; the model file is damaged or not meant for "
                                    "such pictures, or %s has not enough range: try --precision "
                                    "fp32", nan, e->facts.precision);
        f->busy = false;
    }
    pthread_mutex_unlock(&e->lock);
    return r;
}

void upz_tensor_close(UpzEngine **engine)
{
    UpzEngine *e = *engine;
    if (!e) return;
    *engine = NULL;
    stop(e);
    upz_tensor_layout_free(e);
    e->runtime->close(&e->rt);
    pthread_cond_destroy(&e->work);
    pthread_cond_destroy(&e->done);
    pthread_mutex_destroy(&e->lock);
    uprez_model_unref(&e->model);
    upz_context_unref(&e->ctx);
    upz_free(e);
}
