/* The public upscaler: order, flow, and the lanes for colour and alpha.
 *
 * One driver thread starts pictures in the order they were sent, keeps as many in flight as the
 * lane allows, and finishes them in that order. It never releases references: send, receive and
 * destroy do, on the caller's thread. */
#include "uprez/upscaler.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/queue.h"
#include "base/thread.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "upscale/lane.h"
#include "upscale/results.h"

#define MAX_SLOTS (UPZ_LANE_DEPTH + 1) /* one result waits while the lane is full */
#define MAX_MODELS 8

typedef enum SlotState { SLOT_FREE, SLOT_SENT, SLOT_STARTED, SLOT_READY } SlotState;

typedef struct Slot {
    SlotState state;
    UprezPicture *src, *dst; /* dst while SENT: the caller's memory for the result, or NULL */
    UprezPicture alpha_src, alpha_dst; /* views while in work */
    bool shrunk;             /* memory was short for it once */
    int result;
    UprezError err;
} Slot;

/* What an UprezInfo points to: outlives the plan it describes. */
typedef struct Names {
    struct Names *next;
    char engine[32], device[UPZ_DEVICE_NAME], precision[16], numerics[256];
} Names;

struct Uprez {
    UprezContext *ctx;
    UprezParams params;
    UprezModel *models[MAX_MODELS];
    char *strings[5]; /* engine, device, precision, filter, runtime_path: the caller's may go away */
    UpzResizeKernel filter;
    Names *names;     /* the caller's thread only */
    UpzResults *results;

    /* the plan; the driver's while pictures are in flight */
    UpzLane *color, *alpha;
    UprezPicture like, result; /* shapes; width 0 = not planned */
    bool fill_alpha;
    int out_w, out_h;          /* of the first plan: later sizes are fitted to it */

    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t sent, ready;
    Slot slots[MAX_SLOTS];     /* a ring: [head] is the oldest */
    int head, n, max;
    bool draining, quit;
};

static const struct {
    const char *name;
    UpzResizeKernel kernel;
} filters[] = {{"lanczos", UPZ_RESIZE_LANCZOS}, {"bicubic", UPZ_RESIZE_BICUBIC},
               {"spline36", UPZ_RESIZE_SPLINE36}, {"bilinear", UPZ_RESIZE_BILINEAR}};

static void *driver(void *arg);

static int copy_string(Uprez *u, int i, const char **s, UprezError *err)
{
    if (!*s) return 0;
    u->strings[i] = upz_strdup(*s);
    if (!u->strings[i]) return upz_fail_memory(err, strlen(*s), "the upscaler");
    *s = u->strings[i];
    return 0;
}

int uprez_create(Uprez **out, UprezContext *ctx, const UprezParams *params, UprezError *err)
{
    *out = NULL;
    UprezParams own = {0};
    if (params && params->size >= offsetof(UprezParams, scale)) /* else no models: refused below */
        memcpy(&own, params, UPZ_MIN(params->size, sizeof(own)));
    params = &own;
    if (!params->models || params->n_models < 1 || params->n_models > MAX_MODELS)
        return upz_fail(err, UPREZ_ERR_USAGE, "an upscaler takes 1 to %d models, not %d (and "
                        "UprezParams.size must be set)", MAX_MODELS, params->n_models);
    if (!(params->scale >= 0 && params->scale <= 64) || params->width < 0 || params->height < 0)
        return upz_fail(err, UPREZ_ERR_USAGE,
                        "scale %g, size %dx%d: a scale is above 0 and at most 64, sizes are positive",
                        params->scale, params->width, params->height);
    if (!(params->blend >= 0 && params->blend <= 1))
        return upz_fail(err, UPREZ_ERR_USAGE, "blend %g; give 0 to 1", params->blend);
    Uprez *u = upz_calloc(1, sizeof(*u));
    if (!u) return upz_fail_memory(err, sizeof(*u), "the upscaler");
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->sent, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&u->ready, &attr);
    pthread_condattr_destroy(&attr);
    u->ctx = upz_context_ref(ctx);
    u->params = *params;
    for (int i = 0; i < params->n_models; i++) u->models[i] = uprez_model_ref(params->models[i]);
    u->params.models = u->models;
    u->filter = UPZ_RESIZE_LANCZOS;
    int r = upz_results_create(&u->results, err);
    if (r >= 0) r = copy_string(u, 0, &u->params.engine, err);
    if (r >= 0) r = copy_string(u, 1, &u->params.device, err);
    if (r >= 0) r = copy_string(u, 2, &u->params.precision, err);
    if (r >= 0) r = copy_string(u, 3, &u->params.filter, err);
    if (r >= 0) r = copy_string(u, 4, &u->params.runtime_path, err);
    if (r >= 0 && u->params.filter) {
        int i = 0;
        while (i < UPZ_COUNT(filters) && strcmp(filters[i].name, u->params.filter)) i++;
        if (i == UPZ_COUNT(filters))
            r = upz_fail(err, UPREZ_ERR_USAGE,
                         "'%s' is no filter; known are lanczos, bicubic, spline36, bilinear",
                         u->params.filter);
        else
            u->filter = filters[i].kernel;
    }
    u->max = params->depth > 0 ? UPZ_CLAMP(params->depth, 1, MAX_SLOTS) : 3;
    if (r >= 0) {
        if (upz_thread_start(&u->thread, driver, u))
            r = upz_fail(err, UPREZ_ERR_MEMORY, "cannot start the upscaler's thread");
        else
            u->running = true;
    }
    if (r < 0) {
        uprez_destroy(&u);
        return r;
    }
    *out = u;
    return 0;
}

void uprez_destroy(Uprez **pu)
{
    Uprez *u = *pu;
    if (!u) return;
    *pu = NULL;
    pthread_mutex_lock(&u->lock);
    u->quit = true;
    pthread_cond_broadcast(&u->sent);
    pthread_mutex_unlock(&u->lock);
    if (u->running) pthread_join(u->thread, NULL);
    upz_lane_destroy(&u->color);
    upz_lane_destroy(&u->alpha);
    for (int i = 0; i < MAX_SLOTS; i++) {
        uprez_picture_unref(&u->slots[i].src);
        uprez_picture_unref(&u->slots[i].dst);
    }
    upz_results_release(&u->results);
    for (int i = 0; i < MAX_MODELS; i++) uprez_model_unref(&u->models[i]);
    for (int i = 0; i < UPZ_COUNT(u->strings); i++) upz_free(u->strings[i]);
    for (Names *n = u->names, *next; n; n = next) {
        next = n->next;
        upz_free(n);
    }
    pthread_cond_destroy(&u->sent);
    pthread_cond_destroy(&u->ready);
    pthread_mutex_destroy(&u->lock);
    upz_context_unref(&u->ctx);
    upz_free(u);
}

/* The source's shape with its colour completed. */
static UprezPicture complete(const UprezPicture *p)
{
    UprezPicture s = {.format = p->format, .color = p->color, .width = p->width,
                      .height = p->height, .memory = p->memory, .device = p->device};
    upz_color_resolve(&s.color, &s.format, s.width, s.height);
    return s;
}

static void result_color(const Uprez *u, const UprezPicture *src, UprezPicture *dst)
{
    const UprezColor *want = &u->params.color;
    bool same = src->format.model == dst->format.model;
    /* gray has a matrix too: its luma shall be the source's */
    bool luma = src->format.model == UPREZ_YUV && dst->format.model == UPREZ_GRAY;
    UprezColor unset = {.matrix = luma ? src->color.matrix : 2, .primaries = src->color.primaries,
                        .transfer = src->color.transfer};
    dst->color = same ? src->color : unset;
    if (want->matrix) dst->color.matrix = want->matrix;
    if (want->primaries) dst->color.primaries = want->primaries;
    if (want->transfer) dst->color.transfer = want->transfer;
    if (want->range) dst->color.range = want->range;
    if (want->siting) dst->color.siting = want->siting;
    upz_color_resolve(&dst->color, &dst->format, dst->width, dst->height);
}

/* Nothing may be in flight. memory: of results. */
static int make_plan(Uprez *u, const UprezPicture *picture, int memory, UprezError *err)
{
    UprezPicture src = complete(picture);
    char before[32] = "";
    if (u->color && upz_lane_fits(u->color, &src, memory)) return 0;
    if (u->color) snprintf(before, sizeof(before), "%s", upz_lane_engine(u->color));
    upz_lane_destroy(&u->color);
    upz_lane_destroy(&u->alpha);

    UprezPicture dst = {.format = u->params.format.n_comp ? u->params.format : src.format,
                        .memory = memory, .device = src.device};
    dst.width = u->out_w;
    dst.height = u->out_h;
    if (!u->out_w)
        upz_result_size(u->models, u->params.n_models, u->params.scale, u->params.width,
                        u->params.height, src.width, src.height, &dst.width, &dst.height);
    result_color(u, &src, &dst);

    UpzLaneParams lp = {.models = u->models, .n_models = u->params.n_models,
                        .engine = u->params.engine, .device = u->params.device,
                        .precision = u->params.precision, .tile = u->params.tile,
                        .batch = u->params.batch, .runtime_path = u->params.runtime_path,
                        .cuda_context = u->params.cuda_context, .quiet = u->out_w > 0,
                        .engine_before = before,
                        .filter = u->filter,
                        .blend = u->params.blend, .tta = u->params.tta,
                        .depth = u->params.depth};
    int r = upz_lane_create(&u->color, u->ctx, &lp, &src, &dst, err);
    if (r < 0) return r;
    u->fill_alpha = dst.format.alpha && !src.format.alpha;
    if (dst.format.alpha && src.format.alpha) {
        UprezPicture a, b;
        upz_picture_component(&a, &src, src.format.n_comp - 1);
        upz_picture_component(&b, &dst, dst.format.n_comp - 1);
        lp.depth = 1;
        lp.quiet = true;
        r = upz_lane_create(&u->alpha, u->ctx, &lp, &a, &b, err);
        if (r < 0) {
            upz_lane_destroy(&u->color);
            return r;
        }
    }
    u->like = src;
    u->result = dst;
    u->out_w = dst.width;
    u->out_h = dst.height;
    return 0;
}

/* Slots for the present plan, with the lock held: what the lane can have in flight, and a result that
 * waits to be received. */
static void choose_max(Uprez *u)
{
    if (u->params.depth <= 0) u->max = UPZ_MIN(upz_lane_depth(u->color) + 1, MAX_SLOTS);
}

/* Strings of the present plan that live as long as u; NULL when out of memory. */
static const Names *names_of(Uprez *u)
{
    Names now = {0};
    snprintf(now.engine, sizeof(now.engine), "%s", upz_lane_engine(u->color));
    snprintf(now.device, sizeof(now.device), "%s", upz_lane_device(u->color));
    snprintf(now.precision, sizeof(now.precision), "%s", upz_lane_precision(u->color));
    snprintf(now.numerics, sizeof(now.numerics), "%s", upz_lane_numerics(u->color));
    for (Names *n = u->names; n; n = n->next)
        if (!strcmp(n->engine, now.engine) && !strcmp(n->precision, now.precision) &&
            !strcmp(n->device, now.device) && !strcmp(n->numerics, now.numerics))
            return n;
    Names *n = upz_calloc(1, sizeof(*n));
    if (!n) return NULL;
    *n = now;
    n->next = u->names;
    return u->names = n;
}

static int check_memory(const UprezPicture *p, UprezError *err)
{
    if (p->memory == UPREZ_MEM_HOST || p->memory == UPREZ_MEM_CUDA) return 0;
    return upz_fail(err, UPREZ_ERR_USAGE, "the picture is in memory of the unknown kind %d", p->memory);
}

int uprez_plan(Uprez *u, const UprezPicture *like, UprezInfo *info, UprezError *err)
{
    int r = check_memory(like, err);
    if (r < 0) return r;
    if (info && (info->size < offsetof(UprezInfo, engine) || info->size > sizeof(*info) + 4096))
        return upz_fail(err, UPREZ_ERR_USAGE, "UprezInfo.size must be set");
    pthread_mutex_lock(&u->lock);
    /* with pictures in flight the plan is the driver's */
    if (u->n) r = upz_fail(err, UPREZ_ERR_USAGE, "uprez_plan with pictures in flight");
    if (r >= 0) r = make_plan(u, like, like->memory, err);
    if (r >= 0) choose_max(u);
    if (r >= 0 && info) {
        const Names *names = names_of(u);
        if (names) {
            UprezInfo all = {.size = info->size, .width = u->result.width, .height = u->result.height,
                             .engine = names->engine, .device = names->device,
                             .precision = names->precision, .numerics = names->numerics,
                             .memory = upz_lane_memory(u->color) +
                                       (u->alpha ? upz_lane_memory(u->alpha) : 0),
                             .depth = UPZ_MIN(upz_lane_depth(u->color), u->max)};
            memcpy(info, &all, UPZ_MIN(info->size, sizeof(all)));
        } else {
            r = upz_fail_memory(err, sizeof(*names), "the upscaler");
        }
    }
    pthread_mutex_unlock(&u->lock);
    return r;
}

static Slot *at(Uprez *u, int i) { return &u->slots[(u->head + i) % MAX_SLOTS]; }

int uprez_send(Uprez *u, const UprezPicture *picture, UprezError *err)
{
    return uprez_send_to(u, picture, NULL, err);
}

int uprez_send_to(Uprez *u, const UprezPicture *picture, const UprezPicture *result,
                  UprezError *err)
{
    UprezPicture *ref = NULL, *to = NULL;
    int r = picture ? check_memory(picture, err) : 0;
    if (r >= 0 && picture && result) r = check_memory(result, err);
    if (r < 0) return r;
    if (picture) {
        ref = uprez_picture_ref(picture);
        to = result ? uprez_picture_ref(result) : NULL;
        if (!ref || (result && !to)) {
            uprez_picture_unref(&ref);
            uprez_picture_unref(&to);
            return upz_fail_memory(err, sizeof(*ref), "a picture");
        }
    }
    pthread_mutex_lock(&u->lock);
    if (u->draining && picture) {
        r = upz_fail(err, UPREZ_ERR_USAGE, "uprez_send after the draining NULL");
    } else if (!picture) {
        u->draining = true;
        pthread_cond_broadcast(&u->ready);
    } else if (u->n >= u->max) {
        r = UPREZ_AGAIN;
    } else {
        Slot *s = at(u, u->n);
        *s = (Slot){.state = SLOT_SENT, .src = ref, .dst = to};
        u->n++;
        ref = to = NULL;
        pthread_cond_signal(&u->sent);
    }
    pthread_mutex_unlock(&u->lock);
    uprez_picture_unref(&ref);
    uprez_picture_unref(&to);
    return r;
}

int uprez_receive(Uprez *u, UprezPicture **out, int64_t timeout_ns, UprezError *err)
{
    *out = NULL;
    if (timeout_ns > INT64_MAX / 2) timeout_ns = -1; /* centuries: forever */
    int64_t end = timeout_ns > 0 ? upz_now_ns() + timeout_ns : 0;
    struct timespec until = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    int r = 0;
    bool late = false;
    UprezPicture *src = NULL, *failed = NULL;
    pthread_mutex_lock(&u->lock);
    while (!(u->n && at(u, 0)->state == SLOT_READY)) {
        if (!u->n) {
            r = u->draining ? UPREZ_EOF : UPREZ_AGAIN;
            break;
        }
        if (timeout_ns < 0) {
            pthread_cond_wait(&u->ready, &u->lock);
        } else if (!timeout_ns || late) {
            r = UPREZ_AGAIN;
            break;
        } else {
            late = pthread_cond_timedwait(&u->ready, &u->lock, &until) != 0;
        }
    }
    if (!r) {
        Slot *s = at(u, 0);
        r = s->result;
        if (r < 0) {
            if (err) *err = s->err;
            failed = s->dst;
        } else {
            *out = s->dst;
        }
        src = s->src;
        *s = (Slot){.state = SLOT_FREE};
        u->head = (u->head + 1) % MAX_SLOTS;
        u->n--;
        if (u->draining && !u->n) pthread_cond_broadcast(&u->ready);
    }
    pthread_mutex_unlock(&u->lock);
    uprez_picture_unref(&src);
    uprez_picture_unref(&failed);
    return r;
}

int uprez_run(Uprez *u, const UprezPicture *src, UprezPicture **dst, UprezError *err)
{
    *dst = NULL;
    if (!src) return upz_fail(err, UPREZ_ERR_USAGE, "uprez_run without a picture");
    pthread_mutex_lock(&u->lock);
    bool busy = u->n > 0;
    pthread_mutex_unlock(&u->lock);
    if (busy) return upz_fail(err, UPREZ_ERR_USAGE, "uprez_run with pictures in flight");
    int r = uprez_send(u, src, err);
    return r < 0 ? r : uprez_receive(u, dst, -1, err);
}

/* The driver's work on one slot; the lock is not held. */
static int start_slot(Uprez *u, Slot *s)
{
    s->src->color = u->like.color; /* our own reference: colour completed as planned */
    int r = 0;
    UprezPicture like = u->result;
    like.stream = s->src->stream; /* in whose order the source's owner will use the result too */
    if (!s->dst && like.memory == UPREZ_MEM_CUDA)
        r = upz_lane_picture(u->color, &s->dst, &like, &s->err);
    else if (!s->dst)
        r = upz_results_take(u->results, &s->dst, &u->result.format, u->result.width,
                             u->result.height, &s->err);
    else if (s->dst->width != u->result.width || s->dst->height != u->result.height ||
             !upz_format_equal(&s->dst->format, &u->result.format))
        r = upz_fail(&s->err, UPREZ_ERR_USAGE, "the memory given for the result is for a picture of "
                     "%dx%d, but %dx%d pixels of the planned format come out: see uprez_plan",
                     s->dst->width, s->dst->height, u->result.width, u->result.height);
    if (r < 0) return r;
    s->dst->color = u->result.color;
    s->dst->pts = s->src->pts;
    s->dst->duration = s->src->duration;
    s->dst->opaque = s->src->opaque;
    return upz_lane_start(u->color, s->src, s->dst, &s->err);
}

static int finish_slot(Uprez *u, Slot *s)
{
    int r = upz_lane_finish(u->color, &s->err);
    if (r < 0) return r;
    float value;
    if (u->fill_alpha || (u->alpha && upz_picture_alpha_constant(s->src, &value) && value == 1)) {
        upz_picture_fill_alpha(s->dst);
    } else if (u->alpha) {
        upz_picture_component(&s->alpha_src, s->src, s->src->format.n_comp - 1);
        upz_picture_component(&s->alpha_dst, s->dst, s->dst->format.n_comp - 1);
        r = upz_lane_start(u->alpha, &s->alpha_src, &s->alpha_dst, &s->err);
        if (r >= 0) r = upz_lane_finish(u->alpha, &s->err);
    }
    return r;
}

/* Index of the first slot in a state, -1 if none. */
static int find(Uprez *u, SlotState state, int *count)
{
    int first = -1;
    *count = 0;
    for (int i = 0; i < u->n; i++)
        if (at(u, i)->state == state) {
            if (first < 0) first = i;
            ++*count;
        }
    return first;
}

static void mark(Uprez *u, Slot *s, int result)
{
    s->result = result;
    s->state = SLOT_READY;
    pthread_cond_broadcast(&u->ready);
}

/* The lock is held. 0: it may be tried again. */
static int shrink(Uprez *u, Slot *s)
{
    UprezError why = {0};
    pthread_mutex_unlock(&u->lock);
    const int r = upz_lane_shrink(u->color, &why);
    if (r < 0 && why.code) upz_lane_destroy(&u->color); /* has no plan any more */
    pthread_mutex_lock(&u->lock);
    s->shrunk = true;
    if (why.code) s->err = why;
    return r;
}

static void *driver(void *arg)
{
    Uprez *u = arg;
    pthread_mutex_lock(&u->lock);
    for (;;) {
        int n_sent, n_started;
        int sent = find(u, SLOT_SENT, &n_sent), started = find(u, SLOT_STARTED, &n_started);
        if (u->quit && !n_started) break;
        bool can_start = sent >= 0 && !u->quit;
        if (can_start) {
            Slot *s = at(u, sent);
            UprezPicture shape = complete(s->src);
            const int memory = (s->dst ? s->dst : s->src)->memory;
            bool fits = u->color && upz_lane_fits(u->color, &shape, memory);
            if (!fits && !n_started) {
                UprezError err = {0};
                pthread_mutex_unlock(&u->lock);
                int r = make_plan(u, s->src, memory, &err);
                pthread_mutex_lock(&u->lock);
                if (r < 0) {
                    s->err = err;
                    mark(u, s, r);
                    continue;
                }
                choose_max(u);
                fits = true;
            }
            if (fits && n_started < upz_lane_depth(u->color)) {
                pthread_mutex_unlock(&u->lock);
                int r = start_slot(u, s);
                pthread_mutex_lock(&u->lock);
                if (r >= 0) s->state = SLOT_STARTED;
                else if (r != UPREZ_ERR_MEMORY || s->shrunk) mark(u, s, r);
                else if (!n_started && (r = shrink(u, s)) < 0) mark(u, s, r);
                /* memory is short: again when those in flight are done, then with smaller tiles */
                if (r != UPREZ_ERR_MEMORY || !n_started || s->state == SLOT_READY) continue;
            }
        }
        if (started >= 0) {
            Slot *s = at(u, started);
            pthread_mutex_unlock(&u->lock);
            int r = finish_slot(u, s);
            pthread_mutex_lock(&u->lock);
            mark(u, s, r);
            continue;
        }
        pthread_cond_wait(&u->sent, &u->lock);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}
