/* The public upscaler: what callers see of it. Order, flow and reuse: state.h. */
#include "uprez/upscaler.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/queue.h"
#include "base/thread.h"
#include "picture/format.h"
#include "upscale/state.h"

static const struct {
    const char *name;
    UpzResizeKernel kernel;
} filters[] = {{"lanczos", UPZ_RESIZE_LANCZOS}, {"bicubic", UPZ_RESIZE_BICUBIC},
               {"spline36", UPZ_RESIZE_SPLINE36}, {"bilinear", UPZ_RESIZE_BILINEAR}};

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
    if (!params->models || params->n_models < 1 || params->n_models > UPZ_MODELS)
        return upz_fail(err, UPREZ_ERR_USAGE, "an upscaler takes 1 to %d models, not %d (and "
                        "UprezParams.size must be set)", UPZ_MODELS, params->n_models);
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
    u->max = params->depth > 0 ? UPZ_CLAMP(params->depth, 1, UPZ_SLOTS) : 3;
    if (r >= 0) {
        if (upz_thread_start(&u->thread, upz_upscaler_driver, u))
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
    for (int i = 0; i < UPZ_SLOTS; i++) {
        uprez_picture_unref(&u->slots[i].src);
        uprez_picture_unref(&u->slots[i].dst);
        uprez_picture_unref(&u->slots[i].keep);
    }
    uprez_picture_unref(&u->kept_src);
    uprez_picture_unref(&u->kept_dst);
    upz_results_release(&u->results);
    for (int i = 0; i < UPZ_MODELS; i++) uprez_model_unref(&u->models[i]);
    for (int i = 0; i < UPZ_COUNT(u->strings); i++) upz_free(u->strings[i]);
    for (UpzNames *n = u->names, *next; n; n = next) {
        next = n->next;
        upz_free(n);
    }
    pthread_cond_destroy(&u->sent);
    pthread_cond_destroy(&u->ready);
    pthread_mutex_destroy(&u->lock);
    upz_context_unref(&u->ctx);
    upz_free(u);
}

/* Strings of the present plan that live as long as u; NULL when out of memory. */
static const UpzNames *names_of(Uprez *u)
{
    UpzNames now = {0};
    snprintf(now.engine, sizeof(now.engine), "%s", upz_lane_engine(u->color));
    snprintf(now.device, sizeof(now.device), "%s", upz_lane_device(u->color));
    snprintf(now.precision, sizeof(now.precision), "%s", upz_lane_precision(u->color));
    snprintf(now.numerics, sizeof(now.numerics), "%s", upz_lane_numerics(u->color));
    for (UpzNames *n = u->names; n; n = n->next)
        if (!strcmp(n->engine, now.engine) && !strcmp(n->precision, now.precision) &&
            !strcmp(n->device, now.device) && !strcmp(n->numerics, now.numerics))
            return n;
    UpzNames *n = upz_calloc(1, sizeof(*n));
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
    if (r >= 0) r = upz_upscaler_plan(u, like, like->memory, err);
    if (r >= 0) upz_upscaler_limit(u);
    if (r >= 0 && info) {
        const UpzNames *names = names_of(u);
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
        UpzSlot *s = upz_slot_at(u, u->n);
        *s = (UpzSlot){.state = UPZ_SLOT_SENT, .src = ref, .dst = to};
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
    UprezPicture *gone[5] = {NULL}; /* released without the lock */
    pthread_mutex_lock(&u->lock);
    while (!(u->n && upz_slot_at(u, 0)->state == UPZ_SLOT_READY)) {
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
        UpzSlot *s = upz_slot_at(u, 0);
        r = s->result;
        if (r < 0) {
            if (err) *err = s->err;
            gone[0] = s->dst;
        } else {
            *out = s->dst;
        }
        /* what the next picture is compared with and may copy from */
        const UpzSlot *next = u->n > 1 ? upz_slot_at(u, 1) : NULL;
        const bool decided = next && (next->state == UPZ_SLOT_READY ||
                                      (next->state == UPZ_SLOT_STARTED && !next->follows));
        const bool keep = !decided && s->keep && !upz_picture_borrowed(s->src);
        gone[1] = u->kept_src;
        gone[2] = u->kept_dst;
        u->kept_src = keep ? s->src : NULL;
        u->kept_dst = keep ? s->keep : NULL;
        if (!keep) {
            gone[3] = s->src;
            gone[4] = s->keep;
        }
        *s = (UpzSlot){.state = UPZ_SLOT_FREE};
        u->head = (u->head + 1) % UPZ_SLOTS;
        u->n--;
        if (u->draining && !u->n) pthread_cond_broadcast(&u->ready);
    }
    if (r == UPREZ_EOF) { /* nothing will follow */
        gone[0] = u->kept_src;
        gone[1] = u->kept_dst;
        u->kept_src = u->kept_dst = NULL;
    }
    pthread_mutex_unlock(&u->lock);
    for (int i = 0; i < UPZ_COUNT(gone); i++) uprez_picture_unref(&gone[i]);
    return r;
}

int uprez_counts(Uprez *u, UprezCounts *counts, UprezError *err)
{
    if (counts->size < sizeof(counts->size) || counts->size > sizeof(*counts) + 4096)
        return upz_fail(err, UPREZ_ERR_USAGE, "UprezCounts.size must be set");
    pthread_mutex_lock(&u->lock);
    UprezCounts all = u->counts;
    pthread_mutex_unlock(&u->lock);
    all.size = counts->size;
    memcpy(counts, &all, UPZ_MIN(all.size, sizeof(all)));
    return 0;
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
