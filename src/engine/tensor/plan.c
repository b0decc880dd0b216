/* How pictures are cut for a runtime, and the memory for it. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/thread.h"
#include "engine/tensor/inner.h"

#define TILE_DEFAULT 512 /* source px, where every shape costs a build */
#define TILE_LEAST 64    /* smaller ones waste more on halos than they save */

typedef struct Try {
    int limit; /* source px of a tile's side, at most */
    int batch, slots;
} Try;

/* ---- memory ---- */

static size_t read_number(const char *path, const char *key)
{
    char line[128];
    size_t bytes = 0;
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    while (fgets(line, sizeof(line), f)) {
        const char *at = line + (strncmp(line, key, strlen(key)) ? 0 : strlen(key));
        if (*key && at == line) continue;
        char *end;
        errno = 0;
        const unsigned long long value = strtoull(at, &end, 10);
        if (end != at && !errno && value < SIZE_MAX) bytes = (size_t)value;
        break;
    }
    fclose(f);
    return bytes;
}

/* Bytes of main memory, within the cgroup's limit; 0: unknown. Not what is free now: tiles belong
 * to the numerics, which shall be the same in the next run. */
static size_t memory_here(void)
{
    size_t bytes = read_number("/proc/meminfo", "MemTotal:");
    if (bytes < SIZE_MAX >> 10) bytes <<= 10;
    const size_t limit = read_number("/sys/fs/cgroup/memory.max", "");
    return limit && (!bytes || limit < bytes) ? limit : bytes;
}

/* Floats per input px that are alive at once, at most, when layers run one after another. */
static double live_floats(const UpzGraph *g)
{
    double live = 0, most = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const UpzNode *n = &g->nodes[i];
        const double own = n->channels * ((double)n->num / n->den) * ((double)n->num / n->den);
        live += own;
        most = UPZ_MAX(most, live);
        /* a source dies with its last reader */
        for (int k = 0; k < n->n_src; k++) {
            bool last = true, again = false;
            for (int j = 0; j < k; j++) again |= n->src[j] == n->src[k];
            for (size_t later = i + 1; later < g->n_nodes && last; later++)
                for (int j = 0; j < g->nodes[later].n_src; j++)
                    if (g->nodes[later].src[j] == n->src[k]) last = false;
            const UpzNode *s = &g->nodes[n->src[k]];
            if (last && !again && n->src[k] != g->output)
                live -= s->channels * ((double)s->num / s->den) * ((double)s->num / s->den);
        }
    }
    return most;
}

size_t upz_tensor_map_bytes(const UpzEngine *e, const UpzTensorShape *s)
{
    const double scale = (double)e->model->facts.scale_num / e->model->facts.scale_den;
    /* a network we cannot look into: two maps of 64 channels, at both sizes */
    const double floats = e->model->graph.n_nodes ? live_floats(&e->model->graph)
                                                  : 128 * (1 + scale * scale);
    const double bytes = floats * s->batch * s->height * s->width *
                         (strcmp(e->facts.precision, "fp32") ? 2 : 4);
    return bytes < 9e18 ? (size_t)bytes : SIZE_MAX;
}

static size_t buffer_bytes(const UpzTensorShape *s)
{
    return (size_t)s->batch * (s->half ? 2 : 4) *
           ((size_t)s->channels * (size_t)s->height * (size_t)s->width +
            (size_t)s->out_channels * (size_t)s->out_height * (size_t)s->out_width);
}

static size_t sum_bytes(const UpzEngine *e)
{
    return sizeof(float) * (size_t)e->tensor.out_channels * (size_t)e->dst_w * (size_t)e->dst_h;
}

/* ---- geometry ---- */

static int unit_of(const UprezModelFacts *f)
{
    return upz_lcm(UPZ_MAX(f->align, 1), f->scale_den);
}

typedef struct Side {
    int tile, padded;
} Side;

/* One axis: the picture's px, and what the runtime demands. */
static Side side_of(const UpzEngine *e, int size, int fixed, int least, int most, int limit, int unit)
{
    const int padded = UPZ_ROUND_UP(UPZ_MAX(size, least), unit);
    if (fixed) return (Side){fixed, UPZ_MAX(padded, fixed)};
    if (most) limit = UPZ_MIN(limit, most / unit * unit);
    limit = UPZ_MAX(limit, UPZ_ROUND_UP(UPZ_MAX(least, 1), unit));
    const int tile = e->facts.fixed_shape ? limit : UPZ_MIN(padded, limit);
    return (Side){tile, UPZ_MAX(padded, tile)};
}

static void geometry_free(UpzEngine *e)
{
    upz_tiles_free(&e->x);
    upz_tiles_free(&e->y);
    upz_free(e->load);
    e->load = NULL;
    for (int i = 0; i < UPZ_COUNT(e->sums); i++) {
        upz_free_aligned(e->sums[i]);
        e->sums[i] = NULL;
    }
    if (e->scratch)
        for (int i = 0; i < e->n_scratch; i++) upz_free_aligned(e->scratch[i]);
    upz_free(e->scratch);
    e->scratch = NULL;
    e->planned = false;
}

void upz_tensor_layout_free(UpzEngine *e) { geometry_free(e); }

static int geometry(UpzEngine *e, const Try *t, UprezError *err)
{
    const UprezModelFacts *m = &e->model->facts;
    const UpzRuntimeFacts *f = &e->facts;
    const int unit = unit_of(m);
    geometry_free(e);
    if (f->fixed_width % unit || f->fixed_height % unit)
        return upz_fail(err, UPREZ_ERR_MODEL, "the model takes only pictures of %dx%d, but its sides "
                        "must be multiples of %d", f->fixed_width, f->fixed_height, unit);
    const Side x = side_of(e, e->shape.width, f->fixed_width, f->min_width, f->max_width, t->limit,
                           unit);
    const Side y = side_of(e, e->shape.height, f->fixed_height, f->min_height, f->max_height,
                           t->limit, unit);
    int least = INT_MAX; /* side of a tile that has neighbours */
    if (x.tile < x.padded) least = x.tile;
    if (y.tile < y.padded) least = UPZ_MIN(least, y.tile);
    e->pad_w = x.padded, e->pad_h = y.padded;
    e->halo = 0;
    e->blend = false;
    if (least < INT_MAX) {
        const int room = UPZ_MIN(UPZ_MAX(32, least / 8), least / 4) / unit * unit;
        const int reach = UPZ_ROUND_UP(UPZ_MAX(m->reach, 0), unit);
        e->halo = UPZ_MIN(reach, room);
        e->blend = reach > room;
    }
    e->tensor = (UpzTensorShape){
        .batch = t->batch, .channels = m->channels, .height = y.tile, .width = x.tile,
        .out_channels = m->channels,
        .out_height = (int)((int64_t)y.tile * m->scale_num / m->scale_den),
        .out_width = (int)((int64_t)x.tile * m->scale_num / m->scale_den), .half = f->half_io};
    int r = upz_tiles_axis(&e->x, x.padded, e->dst_w, x.tile, e->halo, e->blend, unit, m->scale_num,
                           m->scale_den, err);
    if (!r)
        r = upz_tiles_axis(&e->y, y.padded, e->dst_h, y.tile, e->halo, e->blend, unit, m->scale_num,
                           m->scale_den, err);
    if (r) return r;
    const int tiles = upz_tensor_tiles(e), images = t->batch * t->slots;
    e->n_slots = t->slots;
    e->max_runs = UPZ_MIN(UPZ_CLAMP(f->slots, 1, UPZ_TENSOR_SLOTS), t->slots);
    e->n_frames = UPZ_MIN((images + tiles - 1) / tiles + 1, UPZ_TENSOR_FRAMES);
    /* frames that `images` tiles in a row can lie in */
    e->n_sums = tiles == 1 ? 0 : images == 1 ? 1 : UPZ_MIN((images - 2) / tiles + 2, e->n_frames);
    return upz_tensor_load_init(e, err);
}

/* ---- getting it ---- */

static bool same_tensor(const UpzTensorShape *a, const UpzTensorShape *b)
{
    return a->batch == b->batch && a->channels == b->channels && a->height == b->height &&
           a->width == b->width && a->out_channels == b->out_channels &&
           a->out_height == b->out_height && a->out_width == b->out_width && a->half == b->half;
}

typedef struct Warm {
    UpzEngine *e;
    int slot, result;
    UprezError err;
    pthread_t thread;
} Warm;

static void *warm_run(void *arg)
{
    Warm *w = arg;
    w->result = w->e->runtime->run(w->e->rt, w->slot, &w->err);
    return NULL;
}

/* On a card the first run is the one that takes the memory: every slot once, as many side by side as
 * there will be. */
static int warm_up(UpzEngine *e, UprezError *err)
{
    Warm w[UPZ_TENSOR_SLOTS];
    int r = 0;
    for (int first = 0; first < e->n_slots && !r; first += e->max_runs) {
        const int n = UPZ_MIN(e->max_runs, e->n_slots - first);
        int started = 0;
        for (int i = 0; i < n; i++) {
            w[i] = (Warm){.e = e, .slot = first + i};
            if (upz_thread_start(&w[i].thread, warm_run, &w[i])) break;
            started++;
        }
        if (started < n)
            r = upz_fail(err, UPREZ_ERR_MEMORY, "cannot start a thread for engine %s",
                         e->runtime->name);
        for (int i = 0; i < started; i++) {
            pthread_join(w[i].thread, NULL);
            if (w[i].result < 0 && !r) r = upz_fail(err, w[i].result, "%s", w[i].err.text);
        }
    }
    return r;
}

typedef struct Prepare {
    UpzEngine *e;
    UpzTensorBuffers *buffers;
    UprezError *err;
} Prepare;

static int prepare_aside(void *arg)
{
    const Prepare *p = arg;
    UpzEngine *e = p->e;
    return e->runtime->prepare(e->rt, &e->tensor, e->n_slots, p->buffers, p->err);
}

static int prepare(UpzEngine *e, UprezError *err)
{
    if (e->prepared_slots == e->n_slots && same_tensor(&e->prepared, &e->tensor)) return 0;
    UpzTensorBuffers buffers[UPZ_TENSOR_SLOTS] = {{0}};
    e->prepared_slots = 0;
    Prepare p = {e, buffers, err};
    int r = upz_tensor_aside(prepare_aside, &p, err);
    if (r < 0) return r;
    const UpzTensorShape *t = &e->tensor;
    const size_t in = (size_t)t->batch * (size_t)t->channels * (size_t)t->height *
                      (size_t)t->width * (t->half ? 2 : 4);
    for (int i = 0; i < e->n_slots; i++) {
        e->slots[i].buffers = buffers[i];
        memset(buffers[i].in, 0, in); /* images that no run ever fills */
    }
    if (e->facts.device_memory && (r = warm_up(e, err)) < 0) return r;
    e->prepared = e->tensor;
    e->prepared_slots = e->n_slots;
    return 0;
}

static int obtain(UpzEngine *e, UprezError *err)
{
    int r = prepare(e, err);
    if (r < 0) return r;
    const size_t scratch = upz_tensor_scratch(e) * sizeof(float);
    e->workers = upz_pool_size(e->ctx->pool);
    e->n_scratch = e->workers * e->n_slots;
    e->scratch = upz_calloc((size_t)e->n_scratch, sizeof(*e->scratch));
    if (!e->scratch)
        return upz_fail_memory(err, (size_t)e->n_scratch * sizeof(*e->scratch), "rows");
    for (int i = 0; i < e->n_scratch; i++)
        if (!(e->scratch[i] = upz_alloc_aligned(scratch)))
            return upz_fail_memory(err, scratch, "rows of a picture");
    for (int i = 0; i < e->n_sums; i++)
        if (!(e->sums[i] = upz_alloc_aligned(sum_bytes(e))))
            return upz_fail_memory(err, sum_bytes(e), "a picture put together from tiles");
    e->bytes = sizeof(*e) + scratch * (size_t)e->n_scratch + (size_t)e->n_sums * sum_bytes(e);
    return 0;
}

/* A smaller try; false when there is none. */
static bool less(const UpzEngine *e, int slots, Try *t)
{
    const UpzRuntimeFacts *f = &e->facts;
    const int unit = unit_of(&e->model->facts), most = UPZ_MAX(e->tensor.width, e->tensor.height);
    if (t->batch > 1 && !f->fixed_batch) {
        t->batch = 1;
        return true;
    }
    if (t->slots > 1) {
        t->slots = 1;
        return true;
    }
    const int least = UPZ_MAX(UPZ_MAX(f->min_width, f->min_height), UPZ_MAX(TILE_LEAST, 4 * unit));
    if ((f->fixed_width && f->fixed_height) || most <= least) return false;
    t->limit = UPZ_MAX(UPZ_ROUND_UP(most / 2, unit), UPZ_ROUND_UP(least, unit));
    t->slots = UPZ_MIN(slots, 2); /* one is filled while one runs: worth more than a larger tile */
    return t->limit < most;
}

int upz_tensor_layout(UpzEngine *e, size_t mem_limit, UprezError *err)
{
    const UpzRuntimeFacts *f = &e->facts;
    const int unit = unit_of(&e->model->facts);
    Try t = {.limit = e->want_tile       ? UPZ_ROUND_UP(UPZ_MAX(e->want_tile, 4 * unit), unit)
                      : f->fixed_shape   ? UPZ_ROUND_UP(TILE_DEFAULT, unit)
                                         : UPREZ_SIDE_MAX,
             .batch = f->fixed_batch ? f->fixed_batch : UPZ_MAX(e->want_batch, 1),
             .slots = UPZ_MIN(UPZ_CLAMP(f->slots, 1, UPZ_TENSOR_SLOTS) + 1, UPZ_TENSOR_SLOTS)};
    if (f->fixed_batch > UPZ_TENSOR_BATCH)
        return upz_fail(err, UPREZ_ERR_MODEL, "the model takes only batches of %d pictures; at most "
                        "%d are supported", f->fixed_batch, UPZ_TENSOR_BATCH);
    t.batch = UPZ_MIN(t.batch, UPZ_TENSOR_BATCH);
    const int slots = t.slots;
    size_t cap = f->device_memory ? e->device.memory / 2 : memory_here() / 2;
    if (!cap) cap = SIZE_MAX;
    for (;;) {
        UprezError why = {0};
        int r = geometry(e, &t, err);
        if (r < 0) return r;
        const size_t maps = upz_tensor_map_bytes(e, &e->tensor);
        const size_t buffers = (size_t)e->n_slots * buffer_bytes(&e->tensor);
        size_t need;
        if (__builtin_mul_overflow(maps, (size_t)e->max_runs, &need) ||
            __builtin_add_overflow(need, buffers + (size_t)e->n_sums * sum_bytes(e), &need))
            need = SIZE_MAX;
        if (mem_limit && need > mem_limit)
            r = upz_fail(&why, UPREZ_ERR_MEMORY, "only %zu MiB may be used", mem_limit >> 20);
        else if (need > cap)
            r = UPREZ_ERR_MEMORY;
        else
            r = obtain(e, &why);
        if (r >= 0) {
            e->bytes += buffers;
            e->need = e->bytes + (f->device_memory ? 0 : maps * (size_t)e->max_runs);
            e->planned = true;
            return 0;
        }
        if (r != UPREZ_ERR_MEMORY) return upz_fail(err, r, "%s", why.text);
        if (less(e, slots, &t)) continue;
        if (need > cap && (!mem_limit || need <= mem_limit)) {
            cap = SIZE_MAX; /* only an estimate: the runtime has the last word */
            continue;
        }
        geometry_free(e);
        return upz_fail(err, UPREZ_ERR_MEMORY, "engine %s needs about %zu MiB for pictures of %dx%d "
                        "in tiles of %dx%d and cannot get it: %s", e->runtime->name,
                        (need >> 20) + 1, e->shape.width, e->shape.height, e->tensor.width,
                        e->tensor.height, why.text);
    }
}
