#include "pipeline.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/queue.h"
#include "base/thread.h"
#include "frames.h"
#include "look.h"
#include "picture/place.h"
#include "progress.h"
#include "spool.h"
#include "video/inventory.h"
#include "video/still.h"

#define DECODED 4 /* frames waiting for the upscaler */
#define ENCODED 2 /* upscaled frames waiting for the encoder: the big ones */
#define FLYING UPZ_TEAM_FLYING
#define POLL_NS 5000000
#define SPOOL_NS 7e9 /* computing that may be lost without a spool */
#define SPARE_BYTES ((int64_t)128 << 20) /* of the disk, beside what the join needs */

/* A frame on its way. */
typedef struct Item {
    UpzFrame *frame;
    size_t unit;
    UpzLook look;
    UprezPicture *result;
    bool spooled; /* result was there before */
} Item;

typedef struct Pipeline {
    const UpzPipelineParams *p;
    UpzQueue *decoded, *upscaled;
    pthread_mutex_t lock; /* code, error, stop, frames_out, units->items (may move) */
    int code;             /* the first error of any stage */
    UprezError error;
    bool stop;            /* interrupted: end with what is there */
    int64_t frames_in, frames_out, replayed;
    int64_t segment_bytes; /* on the disk so far; the encoder's thread has it */
    _Atomic int64_t decode_ns, upscale_ns, encode_ns; /* read by who shows progress */
    UpzSinkResult stream;
    double reused, reused_before;
    char engine[64], device[32];
} Pipeline;

static bool cancelled(const Pipeline *l)
{
    return upz_watch_ended(l->p->watch);
}

/* Keeps the first error and wakes everybody. */
static void fail(Pipeline *l, int code, const UprezError *err)
{
    pthread_mutex_lock(&l->lock);
    if (code == UPREZ_ERR_INTERRUPTED) {
        l->stop = true;
    } else if (!l->code) {
        l->code = code;
        l->error = *err;
    }
    pthread_mutex_unlock(&l->lock);
    upz_queue_close(l->decoded);
    upz_queue_close(l->upscaled);
}

static int first_error(Pipeline *l)
{
    pthread_mutex_lock(&l->lock);
    int code = l->code;
    pthread_mutex_unlock(&l->lock);
    return code;
}

static bool stopped(Pipeline *l)
{
    pthread_mutex_lock(&l->lock);
    bool stop = l->stop;
    pthread_mutex_unlock(&l->lock);
    return stop || cancelled(l);
}

static void item_free(Item *i)
{
    if (!i) return;
    upz_frame_free(&i->frame);
    uprez_picture_unref(&i->result);
    upz_free(i);
}

/* ---- decoding ---- */

typedef struct Reader {
    Pipeline *l;
    size_t unit;
    int64_t seen; /* frames of the selection so far, those of finished units included */
    UpzSpool *spool; /* of the unit `spool_unit`; NULL: none is there */
    size_t spool_unit;
    bool spool_known;
} Reader;

/* The pictures of a spool: as the engine gives them. */
static UprezPicture spool_shape(const UpzPipelineParams *p)
{
    const UpzEncoderPlan *e = p->encoder;
    return (UprezPicture){.format = e->format, .width = e->inner_width, .height = e->inner_height};
}

static UpzUnit unit_at(Pipeline *l, size_t i)
{
    pthread_mutex_lock(&l->lock);
    UpzUnit u = l->p->units->items[i];
    pthread_mutex_unlock(&l->lock);
    return u;
}

/* Goes on to the next unit that has to be made; UPREZ_EOF if there is none. By time, finished units
 * are jumped over. */
static int next_unit(Reader *r, size_t from, UprezError *err)
{
    const UpzPipelineParams *p = r->l->p;
    size_t i = from;
    while (i < p->units->n && unit_at(r->l, i).done) {
        r->seen += unit_at(r->l, i).frames;
        i++;
    }
    if (i == p->units->n) return UPREZ_EOF;
    bool jump = i != from;
    r->unit = i;
    return jump ? upz_source_seek(p->source, unit_at(r->l, i).t0, err) : 0;
}

/* Which unit a frame belongs to, given that frames come in order. 0: *f is to be dropped when NULL;
 * UPREZ_EOF: the selection ends before it. */
static int place(Reader *r, UpzFrame **f, UprezError *err)
{
    const UpzPipelineParams *p = r->l->p;
    const UpzSelection *sel = p->selection;
    int64_t pts = (*f)->av->pts;
    bool drop = pts < sel->start;
    if (pts >= sel->end || (!drop && r->seen >= sel->limit)) return UPREZ_EOF;
    if (!drop && p->units->by_count) {
        size_t i = (size_t)(r->seen / UPZ_UNIT_MIN);
        int e = 0;
        pthread_mutex_lock(&r->l->lock);
        while (p->units->n <= i && e >= 0) e = upz_units_add(p->units, err);
        pthread_mutex_unlock(&r->l->lock);
        if (e < 0) return e;
        r->unit = i;
        drop = unit_at(r->l, i).done || r->seen < p->there;
        r->seen++;
    } else if (!drop) {
        UpzUnit u = unit_at(r->l, r->unit);
        drop = pts < u.t0;
        if (!drop && pts >= u.t1) {
            size_t i = r->unit + 1;
            while (i + 1 < p->units->n && pts >= unit_at(r->l, i).t1) i++;
            int e = next_unit(r, i, err);
            if (e < 0) return e;
            drop = r->unit != i; /* sought on */
        }
        if (!drop) r->seen++;
    }
    if (drop) upz_frame_free(f);
    return 0;
}

/* What an earlier run has computed need not be computed again. */
static int take_spooled(Reader *r, Item *item, UprezError *err)
{
    const UpzPipelineParams *p = r->l->p;
    int e = 0;
    if (!p->store || !unit_at(r->l, item->unit).replay) return 0;
    if (!r->spool_known || r->spool_unit != item->unit) {
        upz_spool_close(&r->spool);
        UprezPicture like = spool_shape(p);
        char *path = upz_store_spool(p->store, item->unit);
        e = path ? upz_spool_open(&r->spool, path, p->store->plan_id, &like, false, err)
                 : upz_fail_memory(err, 0, "a file name");
        upz_free(path);
        r->spool_unit = item->unit;
        r->spool_known = true;
    }
    if (e >= 0 && r->spool) e = upz_spool_read(r->spool, item->frame->av->pts, &item->result, err);
    item->spooled = e >= 0 && item->result;
    return e;
}

static int read_frames(Reader *r, UprezError *err)
{
    Pipeline *l = r->l;
    const UpzPipelineParams *p = l->p;
    UpzFrame *f = p->first;
    int e = 0;
    if (!p->units->by_count && p->units->items[0].done) {
        upz_frame_free(&f);
        e = next_unit(r, 0, err);
    }
    while (e >= 0) {
        if (cancelled(l)) {
            upz_frame_free(&f);
            return UPREZ_ERR_INTERRUPTED;
        }
        if (!f) e = upz_source_read(p->source, &f, err);
        if (e < 0) break;
        e = place(r, &f, err);
        if (e < 0 || !f) continue;
        Item *item = upz_calloc(1, sizeof(*item));
        if (!item) {
            e = upz_fail_memory(err, sizeof(*item), "a frame");
            break;
        }
        item->frame = f;
        item->unit = r->unit;
        f = NULL;
        e = upz_frame_picture(item->frame, err);
        if (e >= 0) {
            upz_look(&item->look, item->frame->picture);
            l->frames_in++;
            e = take_spooled(r, item, err);
        }
        if (e >= 0) {
            e = upz_queue_push(l->decoded, item);
            if (e >= 0) continue;
            e = UPREZ_EOF; /* another stage has ended the run */
        }
        item_free(item);
    }
    upz_frame_free(&f);
    return e == UPREZ_EOF ? 0 : e;
}

static void *decode_thread(void *arg)
{
    Pipeline *l = arg;
    UprezError err = {0};
    int64_t t = upz_now_ns();
    Reader r = {.l = l};
    int e = read_frames(&r, &err);
    upz_spool_close(&r.spool);
    if (e < 0) fail(l, e, &err);
    upz_queue_close(l->decoded);
    l->decode_ns = upz_now_ns() - t;
    return NULL;
}

/* ---- encoding ---- */

typedef struct Writer {
    Pipeline *l;
    UpzSink *sink;
    size_t unit;
    int64_t damaged, held, pictures;
    uint32_t side;
    UpzSpool *spool;    /* of the unit at hand; NULL: it has none yet */
    bool no_room;       /* said once */
    int64_t begun_ns;   /* the run */
    int64_t safe_ns;    /* what was computed behind this moment would be lost */
    int64_t at_risk;    /* frames since then */
} Writer;

/* Makes the spool of the unit at hand, or opens the one that is there. */
static void open_spool(Writer *w, bool make, UprezError *err)
{
    const UpzPipelineParams *p = w->l->p;
    UprezPicture like = spool_shape(p);
    char *path = upz_store_spool(p->store, w->unit);
    if (path) upz_spool_open(&w->spool, path, p->store->plan_id, &like, make, err);
    upz_free(path);
}

/* Of a segment that takes long, frames are kept as they come. */
static void keep_frame(Writer *w, const Item *item)
{
    const UpzPipelineParams *p = w->l->p;
    int64_t now = upz_now_ns();
    UprezError why = {0};
    if (item->spooled || item->result->memory != UPREZ_MEM_HOST || upz_is_pipe(p->job->input)) {
        w->safe_ns = item->spooled ? now : w->safe_ns;
        return;
    }
    w->at_risk++;
    /* two more are on their way through the engine */
    double lost = (double)(now - w->safe_ns) * (1 + 2.0 / (double)w->at_risk);
    if (w->no_room || (!w->spool && lost < SPOOL_NS)) return;
    if (!w->spool) open_spool(w, true, &why);
    if (w->spool && upz_spool_add(w->spool, item->result, SPARE_BYTES + w->l->segment_bytes, &why) >= 0) {
        pthread_mutex_lock(&w->l->lock);
        p->units->items[w->unit].spooled = upz_spool_count(w->spool);
        pthread_mutex_unlock(&w->l->lock);
        return;
    }
    w->no_room = true;
    upz_info(p->ctx, "frames of segments that take long are not kept (%s): where this run is ended, up to %d "
             "of them are computed again", why.text, UPZ_UNIT_MAX);
}

static int open_unit(Writer *w, size_t unit, UprezError *err)
{
    const UpzPipelineParams *p = w->l->p;
    w->unit = unit;
    w->damaged = w->held = 0;
    w->side = 0;
    w->at_risk = 0;
    w->safe_ns = w->safe_ns ? upz_now_ns() : w->begun_ns;
    if (p->store && unit_at(w->l, unit).replay) open_spool(w, false, NULL);
    if (!p->store) return upz_sink_open(&w->sink, p->encoder, p->path, p->watch, err);
    char *tmp = upz_store_temporary(p->store, unit);
    int r = tmp ? upz_sink_open(&w->sink, p->encoder, tmp, NULL, err)
                : upz_fail_memory(err, 0, "a file name");
    upz_free(tmp);
    return r;
}

/* whole: all frames of the unit have come. */
static int close_unit(Writer *w, bool whole, UprezError *err)
{
    Pipeline *l = w->l;
    UpzSinkResult res;
    int r = upz_sink_finish(w->sink, &res, err);
    upz_sink_close(&w->sink);
    if (r < 0) return r;
    if (!l->p->store) {
        l->stream = res;
        return 0;
    }
    UpzUnit u = unit_at(l, w->unit);
    u.frames = res.frames;
    u.first = res.first;
    u.end = res.end;
    u.damaged = w->damaged;
    u.held = w->held;
    u.side = w->side;
    u.done = whole;
    u.partial = !whole;
    upz_spool_close(&w->spool);
    if (whole) {
        r = upz_store_finish(l->p->store, w->unit, &u, err);
        l->segment_bytes += upz_store_bytes(l->p->store, w->unit);
    }
    pthread_mutex_lock(&l->lock);
    l->p->units->items[w->unit] = u;
    pthread_mutex_unlock(&l->lock);
    return r;
}

static int check_picture(const Pipeline *l, const Item *item, UprezError *err)
{
    UpzLook out;
    upz_look(&out, item->result);
    if (upz_look_plausible(&item->look, &out)) return 0;
    return upz_fail(err, UPREZ_ERR_VERIFY, "the frame at %.3f s came out %s although its source is "
                    "not: %s on %s computes wrongly here; try another --engine or --device",
                    (double)item->frame->av->pts * l->p->encoder->time_base.num /
                        l->p->encoder->time_base.den,
                    out.max - out.min < 0.004f ? "without any contrast" : "black",
                    l->engine, l->device);
}

/* Each is a file of its own, whole when it has its name. */
static int write_picture(Writer *w, const Item *item, UprezError *err)
{
    Pipeline *l = w->l;
    char *name = upz_pattern_name(l->p->path, l->p->there + ++w->pictures);
    int r = name ? upz_still_write(name, item->result, NULL, 0, err)
                 : upz_fail_memory(err, 0, "a file name");
    upz_free(name);
    pthread_mutex_lock(&l->lock);
    l->frames_out += r >= 0;
    UpzUnit *u = &l->p->units->items[item->unit];
    u->damaged += item->frame->damaged;
    u->held += item->frame->held;
    u->partial = true; /* counts */
    pthread_mutex_unlock(&l->lock);
    return r;
}

static int write_item(Writer *w, Item *item, UprezError *err)
{
    Pipeline *l = w->l;
    int r = 0;
    const UpzEncoderPlan *e = l->p->encoder;
    if (w->sink && l->p->store && item->unit != w->unit) r = close_unit(w, true, err);
    if (r >= 0 && !w->sink && !e->pictures) r = open_unit(w, item->unit, err);
    if (r >= 0) r = check_picture(l, item, err);
    if (r >= 0 && l->p->store) keep_frame(w, item);
    if (r >= 0 && (item->result->width != e->width || item->result->height != e->height))
        r = upz_picture_set(&item->result, e->width, e->height, err);
    if (e->pictures) return r < 0 ? r : write_picture(w, item, err);
    AVFrame *av = NULL;
    if (r >= 0) r = upz_frame_from_picture(&av, item->result, item->frame->av, err);
    if (r >= 0) {
        av->pts = item->frame->av->pts;
        w->damaged += item->frame->damaged;
        w->held += item->frame->held;
        w->side |= upz_side_of_frame(item->frame->av);
        r = upz_sink_write(w->sink, av, err);
        pthread_mutex_lock(&l->lock);
        l->frames_out += r >= 0;
        l->replayed += r >= 0 && item->spooled;
        pthread_mutex_unlock(&l->lock);
    }
    av_frame_free(&av);
    return r;
}

static void *encode_thread(void *arg)
{
    Pipeline *l = arg;
    int64_t t = upz_now_ns();
    Writer w = {.l = l, .begun_ns = t};
    UprezError err = {0};
    void *item;
    int r = 0;
    while (r >= 0 && upz_queue_pop(l->upscaled, &item, -1) == 0) {
        upz_watch_enter(l->p->watch, UPZ_STAGE_RESULT);
        if (!first_error(l)) r = write_item(&w, item, &err);
        upz_watch_leave(l->p->watch, UPZ_STAGE_RESULT);
        item_free(item);
    }
    if (r >= 0 && !first_error(l)) {
        /* an interrupted stream has ended somewhere inside its unit */
        bool whole = !stopped(l);
        upz_watch_enter(l->p->watch, UPZ_STAGE_RESULT);
        if (w.sink) r = close_unit(&w, whole, &err);
        upz_watch_leave(l->p->watch, UPZ_STAGE_RESULT);
    }
    upz_spool_close(&w.spool);
    if (w.sink) {
        upz_sink_close(&w.sink);
        char *tmp = l->p->store ? upz_store_temporary(l->p->store, w.unit) : NULL;
        if (tmp) unlink(tmp);
        upz_free(tmp);
    }
    if (r < 0) fail(l, r, &err);
    while (upz_queue_pop(l->upscaled, &item, 0) == 0) item_free(item);
    l->encode_ns = upz_now_ns() - t;
    return NULL;
}

/* ---- upscaling, on the thread that runs the job ---- */

/* What the upscaler has, in order. */
typedef struct Flight {
    Item *items[FLYING];
    int head, n;
} Flight;

/* Receives what is ready; waits for the first one at most wait_ns. */
static int receive(Pipeline *l, int64_t wait_ns, Flight *fly, UprezError *err)
{
    while (fly->n) {
        UprezPicture *pic = NULL;
        int r = upz_team_receive(&l->p->session->team, &pic, wait_ns, err);
        if (r < 0) return r == UPREZ_AGAIN ? 0 : r;
        Item *item = fly->items[fly->head];
        fly->head = (fly->head + 1) % FLYING;
        fly->n--;
        item->result = pic;
        if (upz_queue_push(l->upscaled, item) < 0) {
            item_free(item);
            return UPREZ_ERR_INTERRUPTED; /* the encoder has ended the run */
        }
        wait_ns = 0;
    }
    return 0;
}

static const char *bottleneck(Pipeline *l, int64_t wall, UpzPipelineResult *res)
{
    int64_t dec_push, dec_pop, enc_push, enc_pop;
    upz_queue_waits(l->decoded, &dec_push, &dec_pop);
    upz_queue_waits(l->upscaled, &enc_push, &enc_pop);
    double d = (double)((l->decode_ns ? l->decode_ns : wall) - dec_push) / 1e9;
    double u = (double)((l->upscale_ns ? l->upscale_ns : wall) - dec_pop - enc_push) / 1e9;
    double e = (double)((l->encode_ns ? l->encode_ns : wall) - enc_pop) / 1e9;
    if (res) {
        res->decode_s = UPZ_MAX(d, 0);
        res->upscale_s = UPZ_MAX(u, 0);
        res->encode_s = UPZ_MAX(e, 0);
    }
    return e > d && e > u ? "encode" : d > u ? "decode" : "upscale";
}

/* Frames' worth of this run that upscalers took from the frame before. */
static double reused(Pipeline *l)
{
    UprezCounts counts;
    upz_team_counts(&l->p->session->team, &counts);
    if (l->p->session->team.n) l->reused = counts.reused - l->reused_before; /* else they are gone */
    return l->reused;
}

static int upscale_all(Pipeline *l, UpzMeter *meter, int64_t before, UprezError *err)
{
    Item *item = NULL;
    Flight fly = {.n = 0};
    int r = 0;
    bool end = false, waits = false;
    int64_t start = upz_now_ns();
    while (r >= 0 && !first_error(l)) {
        if (cancelled(l)) {
            r = UPREZ_ERR_INTERRUPTED;
            break;
        }
        if (!item && !end) {
            void *next;
            int q = upz_queue_pop(l->decoded, &next, fly.n ? 0 : POLL_NS);
            if (q == 0) item = next;
            end = q == UPREZ_EOF;
        }
        if (end && !item && !fly.n) break;
        bool sent = false;
        if (item && item->spooled) {
            if (!fly.n) { /* it is the next one */
                if (upz_queue_push(l->upscaled, item) < 0) r = UPREZ_ERR_INTERRUPTED;
                else item = NULL;
                sent = true;
            }
        } else if (item && fly.n < FLYING) {
            r = upz_team_send(&l->p->session->team, item->frame->picture, err);
            if (r >= 0) {
                fly.items[(fly.head + fly.n++) % FLYING] = item;
                item = NULL;
                sent = true;
            } else if (r == UPREZ_AGAIN) {
                r = 0;
            } else {
                break;
            }
        }
        /* nothing to send, or no room: wait for a result */
        if (!waits && fly.n) upz_watch_enter(l->p->watch, UPZ_STAGE_NETWORK);
        waits = fly.n > 0;
        int flying = fly.n;
        r = receive(l, sent ? 0 : POLL_NS, &fly, err);
        if (fly.n < flying || sent) upz_watch_beat(l->p->watch);
        if (waits && !fly.n) {
            upz_watch_leave(l->p->watch, UPZ_STAGE_NETWORK);
            waits = false;
        }
        pthread_mutex_lock(&l->lock);
        int64_t out = l->frames_out;
        pthread_mutex_unlock(&l->lock);
        upz_meter_update(meter, before + out, reused(l), bottleneck(l, upz_now_ns() - start, NULL),
                         false);
    }
    if (waits) upz_watch_leave(l->p->watch, UPZ_STAGE_NETWORK);
    if (fly.n) { /* the upscaler still reads these */
        upz_session_drop_team(l->p->session);
        for (; fly.n; fly.n--, fly.head = (fly.head + 1) % FLYING) item_free(fly.items[fly.head]);
    }
    item_free(item);
    return r;
}

int upz_pipeline_run(const UpzPipelineParams *params, UpzPipelineResult *result, UprezError *err)
{
    *result = (UpzPipelineResult){.bottleneck = "upscale"};
    Pipeline *l = upz_calloc(1, sizeof(*l));
    UpzFrame *first = params->first;
    if (!l) {
        upz_frame_free(&first);
        return upz_fail_memory(err, sizeof(*l), "the pipeline");
    }
    l->p = params;
    upz_session_tell(params->session);
    const UprezInfo *info = &params->session->info;
    snprintf(l->engine, sizeof(l->engine), "%s", info->engine ? info->engine : "the engine");
    snprintf(l->device, sizeof(l->device), "%s", info->device ? info->device : "this device");
    l->reused_before = reused(l);
    pthread_mutex_init(&l->lock, NULL);
    int r = upz_queue_create(&l->decoded, DECODED, err);
    if (r >= 0) r = upz_queue_create(&l->upscaled, ENCODED, err);
    pthread_t decoder, encoder;
    bool decoding = false, encoding = false;
    int64_t before = params->there;
    for (size_t i = 0; i < params->units->n; i++)
        if (params->units->items[i].done) before += params->units->items[i].frames;
    if (r >= 0) {
        encoding = upz_thread_start(&encoder, encode_thread, l) == 0;
        decoding = encoding && upz_thread_start(&decoder, decode_thread, l) == 0;
        if (!decoding) r = upz_fail(err, UPREZ_ERR_MEMORY, "no more threads can be started");
    }
    if (!decoding) upz_frame_free(&first);
    int64_t t = upz_now_ns();
    UpzMeter meter;
    upz_meter_start(&meter, params->job, params->job->input, params->selection->total, before);
    if (r >= 0) {
        UprezError e = {0};
        int s = upscale_all(l, &meter, before, &e);
        l->upscale_ns = upz_now_ns() - t; /* what follows is the encoder's */
        if (s < 0) fail(l, s, &e);
    }
    if (l->upscaled) upz_queue_close(l->upscaled);
    if (decoding) {
        void *item;
        upz_queue_close(l->decoded);
        pthread_join(decoder, NULL);
        while (upz_queue_pop(l->decoded, &item, 0) == 0) item_free(item);
    }
    if (encoding) pthread_join(encoder, NULL);
    int64_t wall = upz_now_ns() - t;
    if (r >= 0) {
        result->bottleneck = bottleneck(l, wall, result);
        result->reused = reused(l);
        upz_meter_update(&meter, before + l->frames_out, reused(l), result->bottleneck, true);
    }
    if (r >= 0 && l->code) {
        r = l->code;
        if (err) *err = l->error;
    }
    result->interrupted = r >= 0 && (l->stop || cancelled(l));
    if (r < 0 || result->interrupted) upz_session_drop_team(params->session);
    result->frames_in = l->frames_in - l->replayed;
    result->frames_out = l->frames_out - l->replayed;
    result->resumed = before + l->replayed;
    result->stream = l->stream;
    for (size_t i = 0; i < params->units->n; i++) {
        UpzUnit *u = &params->units->items[i];
        if (!u->done && !u->partial) continue;
        result->damaged += u->damaged;
        result->held += u->held;
        result->side |= u->side;
    }
    upz_queue_destroy(&l->decoded);
    upz_queue_destroy(&l->upscaled);
    pthread_mutex_destroy(&l->lock);
    upz_free(l);
    return r;
}
