/* The upscaler's thread: plans, starts and finishes pictures, and what they reuse. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "upscale/state.h"

/* ---- plan ---- */

UprezPicture upz_upscaler_shape(const UprezPicture *p)
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

int upz_upscaler_plan(Uprez *u, const UprezPicture *picture, int memory, UprezError *err)
{
    UprezPicture src = upz_upscaler_shape(picture);
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
    u->fresh = true;
    u->out_w = dst.width;
    u->out_h = dst.height;
    return 0;
}

/* ---- reuse ---- */

bool upz_upscaler_keeps(const Uprez *u, const UprezPicture *p)
{
    return !u->params.no_reuse && p && upz_picture_promised(p);
}

/* The source is what it was when it was sent, nobody else can have written it. The lock is held. */
static bool unchanged(Uprez *u, const UprezPicture *src)
{
    if (upz_picture_promised(src)) return true;
    int ours = u->kept_src && u->kept_src->buffer == src->buffer;
    for (int i = 0; i < u->n; i++) ours += upz_slot_at(u, i)->src->buffer == src->buffer;
    return upz_picture_untouchable(src, ours);
}

/* The slot before, NULL when that is the picture received last. The lock is held. */
static UpzSlot *slot_before(Uprez *u, const UpzSlot *s)
{
    return s == upz_slot_at(u, 0)
               ? NULL : &u->slots[(int)(s - u->slots + UPZ_SLOTS - 1) % UPZ_SLOTS];
}

static bool repeats(const UpzSlot *s) { return s->follows && !s->parts.n; }

/* The source that s may follow, NULL when there is none: its result must be one that can be copied from
 * later. It stays until s itself is received. The lock is held. */
static const UprezPicture *source_before(Uprez *u, const UpzSlot *s)
{
    const UpzSlot *b = slot_before(u, s);
    const UprezPicture *src = b ? b->src : u->kept_src;
    bool result = b ? b->keep : u->kept_dst;
    if (b && b->state == UPZ_SLOT_STARTED)
        result = b->dst ? upz_upscaler_keeps(u, b->dst) : repeats(b); /* then of another's that is kept */
    if (!result || !src || u->params.no_reuse || u->fresh || s->whole) return NULL;
    /* a picture sent once more, or given for a result once more, was written in between */
    const UprezPicture *to = b ? b->dst ? b->dst : b->keep : u->kept_dst;
    if (src->buffer == s->src->buffer || (s->dst && to && s->dst->buffer == to->buffer)) return NULL;
    return unchanged(u, src) ? src : NULL;
}

static const UprezPicture *result_before(Uprez *u, const UpzSlot *s)
{
    const UpzSlot *b = slot_before(u, s);
    return b ? b->keep : u->kept_dst;
}

static void set_description(const Uprez *u, UpzSlot *s)
{
    s->dst->color = u->result.color;
    s->dst->pts = s->src->pts;
    s->dst->duration = s->src->duration;
    s->dst->opaque = s->src->opaque;
}

/* ---- one picture; the lock is not held ---- */

static int get_result(Uprez *u, UpzSlot *s)
{
    UprezPicture like = u->result;
    like.stream = s->src->stream; /* in whose order the source's owner will use the result too */
    if (s->dst && (s->dst->width != u->result.width || s->dst->height != u->result.height ||
                   !upz_format_equal(&s->dst->format, &u->result.format)))
        return upz_fail(&s->err, UPREZ_ERR_USAGE, "the memory given for the result is for a picture of "
                        "%dx%d, but %dx%d pixels of the planned format come out: see uprez_plan",
                        s->dst->width, s->dst->height, u->result.width, u->result.height);
    if (s->dst) return 0;
    if (like.memory == UPREZ_MEM_CUDA) return upz_lane_picture(u->color, &s->dst, &like, &s->err);
    if (repeats(s)) return 0; /* it will be another reference */
    return upz_results_take(u->results, &s->dst, &u->result.format, u->result.width,
                            u->result.height, &s->err);
}

static int start_slot(Uprez *u, UpzSlot *s, const UprezPicture *before)
{
    s->src->color = u->like.color; /* our own reference: colour completed as planned */
    s->parts = (UpzParts){.all = true};
    int r = before ? upz_lane_compare(u->color, before, s->src, &s->parts, &s->err) : 0;
    s->follows = !s->parts.all;
    if (r >= 0) r = get_result(u, s);
    if (r < 0) return r;
    u->fresh = false;
    if (s->dst) set_description(u, s);
    return repeats(s) ? 0 : upz_lane_start(u->color, s->src, s->dst, &s->parts, &s->err);
}

static int repeat(Uprez *u, UpzSlot *s, const UprezPicture *before)
{
    if (s->dst) return upz_lane_copy(u->color, before, s->dst, &s->parts, &s->err);
    s->dst = uprez_picture_ref(before);
    if (!s->dst) return upz_fail_memory(&s->err, sizeof(*before), "a picture");
    set_description(u, s);
    return 0;
}

/* Alpha in a plane of its own has parts of its own: of what its samples differ in from those before. */
static int make_alpha(Uprez *u, UpzSlot *s, const UprezPicture *before, const UprezPicture *src_before)
{
    UprezPicture was, made;
    UpzParts parts = {.all = true};
    int r = 0;
    upz_picture_component(&s->alpha_src, s->src, s->src->format.n_comp - 1);
    upz_picture_component(&s->alpha_dst, s->dst, s->dst->format.n_comp - 1);
    const UprezComponent *c = &s->alpha_dst.format.comp[0];
    if (s->follows && !c->offset && c->step == (s->dst->format.depth + 7) / 8) {
        upz_picture_component(&was, src_before, src_before->format.n_comp - 1);
        upz_picture_component(&made, before, before->format.n_comp - 1);
        r = upz_lane_compare(u->alpha, &was, &s->alpha_src, &parts, &s->err);
    }
    if (r >= 0 && (parts.all || parts.n)) {
        r = upz_lane_start(u->alpha, &s->alpha_src, &s->alpha_dst, &parts, &s->err);
        if (r >= 0) r = upz_lane_finish(u->alpha, &s->err);
    }
    if (r >= 0 && !parts.all) r = upz_lane_copy(u->alpha, &made, &s->alpha_dst, &parts, &s->err);
    return r;
}

static int finish_slot(Uprez *u, UpzSlot *s, const UprezPicture *before, const UprezPicture *src_before)
{
    if (repeats(s)) return repeat(u, s, before);
    int r = upz_lane_finish(u->color, &s->err);
    if (r >= 0 && s->follows) r = upz_lane_copy(u->color, before, s->dst, &s->parts, &s->err);
    if (r < 0) return r;
    float value;
    if (u->fill_alpha || (u->alpha && upz_picture_alpha_constant(s->src, &value) && value == 1)) {
        upz_picture_fill_alpha(s->dst);
    } else if (u->alpha) {
        r = make_alpha(u, s, before, src_before);
    }
    return r;
}

/* ---- the ring; the lock is held, and let go of while a picture is worked on ---- */

/* The first slot in a state, NULL if there is none, and how many are. */
static UpzSlot *find(Uprez *u, UpzSlotState state, int *count)
{
    UpzSlot *first = NULL;
    *count = 0;
    for (int i = 0; i < u->n; i++)
        if (upz_slot_at(u, i)->state == state) {
            if (!first) first = upz_slot_at(u, i);
            ++*count;
        }
    return first;
}

static void mark(Uprez *u, UpzSlot *s, int result)
{
    s->result = result;
    s->state = UPZ_SLOT_READY;
    if (result >= 0) {
        if (upz_upscaler_keeps(u, s->dst)) s->keep = uprez_picture_ref(s->dst);
        u->counts.pictures++;
        u->counts.repeated += repeats(s);
        u->counts.reused += 1 - upz_parts_share(&s->parts, u->result.width, u->result.height);
    }
    pthread_cond_broadcast(&u->ready);
}

/* 0: it may be tried again. */
static int shrink(Uprez *u, UpzSlot *s)
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

/* Starts a picture, or finds why it cannot be; false: those in flight have to be finished first. */
static bool start(Uprez *u, UpzSlot *s, int n_started)
{
    UprezPicture shape = upz_upscaler_shape(s->src);
    const int memory = (s->dst ? s->dst : s->src)->memory;
    if (!u->color || !upz_lane_fits(u->color, &shape, memory)) {
        if (n_started) return false;
        UprezError err = {0};
        pthread_mutex_unlock(&u->lock);
        int r = upz_upscaler_plan(u, s->src, memory, &err);
        pthread_mutex_lock(&u->lock);
        if (r < 0) {
            s->err = err;
            mark(u, s, r);
            return true;
        }
        upz_upscaler_limit(u);
    }
    if (n_started >= upz_lane_depth(u->color)) return false;
    const UprezPicture *before = source_before(u, s);
    pthread_mutex_unlock(&u->lock);
    int r = start_slot(u, s, before);
    pthread_mutex_lock(&u->lock);
    if (r >= 0) {
        s->state = UPZ_SLOT_STARTED;
        return true;
    }
    if (r == UPREZ_ERR_MEMORY && !s->shrunk) {
        /* again when those in flight are done, then with smaller tiles */
        if (n_started) return false;
        r = shrink(u, s);
    }
    if (r < 0) mark(u, s, r);
    return true;
}

/* The result that s follows has failed: all that were started are sent anew, this one to be computed as
 * a whole. */
static void send_again(Uprez *u, UpzSlot *s)
{
    UprezError ignored;
    UpzSlot *started;
    int n;
    s->whole = true;
    while ((started = find(u, UPZ_SLOT_STARTED, &n))) {
        if (!repeats(started)) {
            pthread_mutex_unlock(&u->lock);
            upz_lane_finish(u->color, &ignored);
            pthread_mutex_lock(&u->lock);
        }
        started->state = UPZ_SLOT_SENT;
    }
}

static void finish(Uprez *u, UpzSlot *s)
{
    const UprezPicture *before = s->follows ? result_before(u, s) : NULL;
    const UpzSlot *b = slot_before(u, s);
    const UprezPicture *src_before = b ? b->src : u->kept_src;
    if (s->follows && !before) {
        send_again(u, s);
        return;
    }
    pthread_mutex_unlock(&u->lock);
    int r = finish_slot(u, s, before, src_before);
    pthread_mutex_lock(&u->lock);
    mark(u, s, r);
}

void *upz_upscaler_driver(void *arg)
{
    Uprez *u = arg;
    pthread_mutex_lock(&u->lock);
    for (;;) {
        int n_sent, n_started;
        UpzSlot *sent = find(u, UPZ_SLOT_SENT, &n_sent);
        UpzSlot *oldest = find(u, UPZ_SLOT_STARTED, &n_started);
        if (u->quit && !oldest) break;
        if (sent && !u->quit && start(u, sent, n_started)) continue;
        /* the caller may have received others meanwhile; this one stays where it is */
        if (oldest) finish(u, oldest);
        else pthread_cond_wait(&u->sent, &u->lock);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}
