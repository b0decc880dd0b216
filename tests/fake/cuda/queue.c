/* Streams and events: queues of work that is done late. */
#include "driver.h"
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t orders; /* ops enqueued so far */

static uint32_t draw(uint32_t below)
{
    static uint64_t state;
    uint64_t z;
    if (!state) state = (uint64_t)fake_number("FAKE_CUDA_SEED", 0) * 7919;
    z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % below);
}

Stream *fake_new_stream(Context *c, unsigned flags)
{
    Stream *s = calloc(1, sizeof *s);
    *s = (Stream){.kind = KIND_STREAM, .context = c, .flags = flags, .last_work = HOST,
                  .next = c->streams};
    c->streams = s;
    return s;
}

int fake_stream(void *handle, Stream **stream)
{
    Context *c = fake_current();
    Stream *s = handle;
    if (handle == NULL || handle == (void *)1 || handle == (void *)2) s = c->null_stream;
    if (s->kind != KIND_STREAM || s->dead) return INVALID_HANDLE;
    if (s->context != c) return INVALID_CONTEXT;
    *stream = s;
    return OK;
}

int fake_event(void *handle, Event **event)
{
    *event = handle;
    return handle && (*event)->kind == KIND_EVENT ? OK : INVALID_HANDLE;
}

/* ---- doing ---- */

static void wrong(Context *c, const char *what)
{
    fake_say("%s", what);
    fake_counters.mistakes++;
    if (!c->error) c->error = ILLEGAL_ADDRESS;
}

static uint8_t *reach(Context *c, uint64_t device, uint8_t *host, size_t pitch, const Op *op)
{
    size_t bytes = op->height ? pitch * (op->height - 1) + op->width : 0;
    if (host) return host;
    host = simt_memory_find(device, bytes ? bytes : 1, NULL, NULL, NULL);
    if (!host) wrong(c, "a copy or fill of device memory that was freed before its turn came");
    return host;
}

static void copy(Context *c, const Op *op)
{
    uint8_t *to = reach(c, op->dst, op->dst_host, op->dst_pitch, op);
    uint8_t *from = reach(c, op->src, op->staged ? op->staged : op->src_host, op->src_pitch, op);
    uint64_t n = (uint64_t)op->width * op->height;
    if (!to || !from) return;
    for (size_t y = 0; y < op->height; y++)
        memmove(to + y * op->dst_pitch, from + y * (op->staged ? op->width : op->src_pitch),
                op->width);
    if (op->dst_host) fake_counters.device_to_host += n;
    else if (op->src_host) fake_counters.host_to_device += n;
    else fake_counters.device_to_device += n;
}

static void fill(Context *c, const Op *op)
{
    uint8_t *to = reach(c, op->dst, NULL, op->dst_pitch, op);
    for (size_t y = 0; to && y < op->height; y++)
        for (size_t x = 0; x < op->width; x += op->unit)
            memcpy(to + y * op->dst_pitch + x, &op->value, op->unit);
    fake_counters.filled += (uint64_t)op->width * op->height;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void perform(Context *c, Op *op)
{
    switch (op->work) {
    case COPY: copy(c, op); break;
    case FILL: fill(c, op); break;
    case LAUNCH:
        if (!c->error && simt_launch(&op->launch)) wrong(c, simt_error());
        break;
    case RECORD:
        if (op->version > op->event->done) op->event->done = op->version;
        op->event->when = now();
        break;
    case WAIT: break;
    case HOST: op->call(op->data); break;
    case RELEASE: fake_release_now(op->dst); break;
    }
    free(op->params);
    free(op->staged);
    free(op);
}

static void run_before(Stream *s, uint64_t order);

static jmp_buf *asked; /* of a call that only asks whether work is done */

/* A launch that never ends: who asks is told that it is not ready, who waits does so for ever. */
static void hang(void)
{
    if (asked) longjmp(*asked, 1);
    fake_say("something waits for a kernel that never ends");
    for (;;) pause();
}

/* The first of a queue, and before it all that it has to follow. */
static void run_first(Stream *s)
{
    Context *c = s->context;
    Op *op = s->first;
    if (s == c->null_stream) {
        for (Stream *o = c->streams; o; o = o->next)
            if (o != s && !(o->flags & 1)) run_before(o, op->order);
    } else if (!(s->flags & 1)) {
        run_before(c->null_stream, op->order);
    }
    if (op->work == WAIT) fake_run_event(op->event, op->version);
    if (s->first != op) return; /* something above has done it */
    if (op->hangs) hang();
    s->first = op->next;
    if (!s->first) s->last = NULL;
    perform(c, op);
}

static void run_before(Stream *s, uint64_t order)
{
    while (s->first && s->first->order < order) run_first(s);
}

/* For who asks again and again: the work gets on. */
static void get_on(Stream *s)
{
    jmp_buf here;
    asked = &here;
    if (!setjmp(here)) run_first(s);
    asked = NULL;
}

void fake_run_stream(Stream *s)
{
    run_before(s, UINT64_MAX);
}

void fake_run_context(Context *c)
{
    for (Stream *s = c->streams; s; s = s->next) {
        fake_run_stream(s);
        fake_host_waited(s->node);
    }
}

void fake_run_event(Event *e, uint64_t version)
{
    for (Stream *s = e->context->streams; s && e->done < version; s = s->next)
        for (Op *op = s->first; op; op = op->next)
            if (op->work == RECORD && op->event == e && op->version == version) {
                run_before(s, op->order + 1);
                break;
            }
}

/* ---- enqueueing ---- */

static Op *enqueue(Stream *s, Op op)
{
    /* the driver would record it: nothing of the engine's is meant to be */
    if (s->capture) fake_say("work other than a launch on a stream that is being captured");
    Op *p = malloc(sizeof *p);
    int seed = fake_number("FAKE_CUDA_SEED", 0);
    *p = op;
    p->order = ++orders;
    p->next = NULL;
    fake_depend(s, op.work == WAIT ? op.event->node : NULL, op.work == LAUNCH ? op.launch.kernel->name : NULL);
    if (s->last) s->last->next = p;
    else s->first = p;
    s->last = p;
    s->last_work = op.work;
    if (seed == 1) {
        fake_run_stream(s);
        return p;
    }
    for (int n = seed ? (int)draw(4) : 0; n > 0; n--) { /* some other work goes on meanwhile */
        Stream *any = s->context->streams;
        for (uint32_t skip = draw(8); skip && any->next; skip--) any = any->next;
        if (any->first && any->first != p) run_first(any);
    }
    return p;
}

static void finish(Stream *s)
{
    fake_run_stream(s);
    fake_host_waited(s->node);
}

/* A copy of rows. A stream of NULL handle and now: it is done when this returns. */
static int enqueue_copy(Stream *s, Op op, bool at_once)
{
    size_t from = op.height ? op.src_pitch * (op.height - 1) + op.width : 0;
    size_t to = op.height ? op.dst_pitch * (op.height - 1) + op.width : 0;
    op.work = COPY;
    if (!op.width || !op.height) return OK;
    if (!op.src_host && !simt_memory_find(op.src, from, NULL, NULL, NULL)) return INVALID_VALUE;
    if (!op.dst_host && !simt_memory_find(op.dst, to, NULL, NULL, NULL)) return INVALID_VALUE;
    if (op.height > 1 && (op.src_pitch < op.width || op.dst_pitch < op.width)) return INVALID_VALUE;
    if (op.src_host && !fake_pinned(op.src_host, from)) { /* pageable: taken now */
        op.staged = malloc(op.width * op.height);
        for (size_t y = 0; y < op.height; y++)
            memcpy(op.staged + y * op.width, op.src_host + y * op.src_pitch, op.width);
        if (!op.dst_host) at_once = false; /* on its way to the device when the call is back, whichever it is */
    }
    if (op.dst_host && !fake_pinned(op.dst_host, to)) at_once = true;
    enqueue(s, op);
    if (at_once) finish(s);
    return s->context->error;
}

static int linear(void *stream, uint64_t dst, void *dst_host, uint64_t src, const void *src_host,
                  size_t bytes, bool at_once)
{
    Stream *s = NULL;
    int r = fake_stream(stream, &s);
    Op op = {.dst = dst,
             .src = src,
             .dst_host = dst_host,
             .src_host = (uint8_t *)(uintptr_t)src_host,
             .dst_pitch = bytes,
             .src_pitch = bytes,
             .width = bytes,
             .height = 1};
    return r ? r : enqueue_copy(s, op, at_once);
}

#define COPY_FUNCTION(name, dst_type, src_type, dst_device, dst_host, src_device, src_host) \
    SEEN int name##Async_v2(dst_type dst, src_type src, size_t bytes, void *stream); \
    int name##Async_v2(dst_type dst, src_type src, size_t bytes, void *stream) \
    { \
        ENTER_CONTEXT(c); \
        LEAVE(linear(stream, dst_device, dst_host, src_device, src_host, bytes, false)); \
    } \
    SEEN int name##_v2(dst_type dst, src_type src, size_t bytes); \
    int name##_v2(dst_type dst, src_type src, size_t bytes) \
    { \
        ENTER_CONTEXT(c); \
        LEAVE(linear(NULL, dst_device, dst_host, src_device, src_host, bytes, true)); \
    }
COPY_FUNCTION(cuMemcpyHtoD, uint64_t, const void *, dst, NULL, 0, src)
COPY_FUNCTION(cuMemcpyDtoH, void *, uint64_t, 0, dst, src, NULL)
COPY_FUNCTION(cuMemcpyDtoD, uint64_t, uint64_t, dst, NULL, src, NULL)

/* Any address: the device's when it is one. */
static int unified(uint64_t dst, uint64_t src, size_t bytes, void *stream, bool at_once)
{
    bool to = simt_memory_find(dst, bytes, NULL, NULL, NULL);
    bool from = simt_memory_find(src, bytes, NULL, NULL, NULL);
    return linear(stream, dst, to ? NULL : (void *)(uintptr_t)dst, src,
                  from ? NULL : (void *)(uintptr_t)src, bytes, at_once);
}

SEEN int cuMemcpy(uint64_t dst, uint64_t src, size_t bytes);
int cuMemcpy(uint64_t dst, uint64_t src, size_t bytes)
{
    ENTER_CONTEXT(c);
    LEAVE(unified(dst, src, bytes, NULL, true));
}

SEEN int cuMemcpyAsync(uint64_t dst, uint64_t src, size_t bytes, void *stream);
int cuMemcpyAsync(uint64_t dst, uint64_t src, size_t bytes, void *stream)
{
    ENTER_CONTEXT(c);
    LEAVE(unified(dst, src, bytes, stream, false));
}

/* CUDA_MEMCPY2D as the driver's header has it. Types of memory: 1 host, 2 device, 4 either. */
typedef struct Copy2D {
    size_t src_x, src_y;
    int src_type;
    const uint8_t *src_host;
    uint64_t src_device;
    void *src_array;
    size_t src_pitch, dst_x, dst_y;
    int dst_type;
    uint8_t *dst_host;
    uint64_t dst_device;
    void *dst_array;
    size_t dst_pitch, width, height;
} Copy2D;

static int rows(const Copy2D *p, void *stream, bool at_once)
{
    Stream *s = NULL;
    int r = fake_stream(stream, &s);
    Op op = {.width = p->width,
             .height = p->height,
             .src_pitch = p->src_pitch ? p->src_pitch : p->width,
             .dst_pitch = p->dst_pitch ? p->dst_pitch : p->width};
    if (r) return r;
    size_t from = p->src_y * op.src_pitch + p->src_x, to = p->dst_y * op.dst_pitch + p->dst_x;
    if ((p->src_type != 1 && p->src_type != 2) || (p->dst_type != 1 && p->dst_type != 2))
        return INVALID_VALUE;
    if (p->src_type == 1) op.src_host = (uint8_t *)(uintptr_t)p->src_host + from;
    else op.src = p->src_device + from;
    if (p->dst_type == 1) op.dst_host = p->dst_host + to;
    else op.dst = p->dst_device + to;
    if (p->src_type == 1 && p->dst_type == 1) return INVALID_VALUE; /* nobody here means that */
    return enqueue_copy(s, op, at_once);
}

SEEN int cuMemcpy2D_v2(const Copy2D *p);
int cuMemcpy2D_v2(const Copy2D *p)
{
    ENTER_CONTEXT(c);
    LEAVE(rows(p, NULL, true));
}
SEEN int cuMemcpy2DUnaligned_v2(const Copy2D *p);
int cuMemcpy2DUnaligned_v2(const Copy2D *p) { return cuMemcpy2D_v2(p); }

SEEN int cuMemcpy2DAsync_v2(const Copy2D *p, void *stream);
int cuMemcpy2DAsync_v2(const Copy2D *p, void *stream)
{
    ENTER_CONTEXT(c);
    LEAVE(rows(p, stream, false));
}

static int set(uint64_t dst, size_t pitch, uint32_t value, unsigned unit, size_t width,
               size_t height, void *stream, bool at_once)
{
    Stream *s = NULL;
    int r = fake_stream(stream, &s);
    Op op = {.work = FILL, .dst = dst, .dst_pitch = pitch, .value = value, .unit = unit,
             .width = width * unit, .height = height};
    if (r || !width || !height) return r;
    if (dst % unit || !simt_memory_find(dst, pitch * (height - 1) + op.width, NULL, NULL, NULL))
        return INVALID_VALUE;
    enqueue(s, op);
    if (at_once) finish(s);
    return OK;
}

SEEN int cuMemsetD8Async(uint64_t dst, unsigned char value, size_t n, void *stream);
int cuMemsetD8Async(uint64_t dst, unsigned char value, size_t n, void *stream)
{
    ENTER_CONTEXT(c);
    LEAVE(set(dst, n, value, 1, n, 1, stream, false));
}

SEEN int cuMemsetD8_v2(uint64_t dst, unsigned char value, size_t n);
int cuMemsetD8_v2(uint64_t dst, unsigned char value, size_t n)
{
    ENTER_CONTEXT(c);
    LEAVE(set(dst, n, value, 1, n, 1, NULL, true));
}

SEEN int cuMemsetD32Async(uint64_t dst, unsigned value, size_t n, void *stream);
int cuMemsetD32Async(uint64_t dst, unsigned value, size_t n, void *stream)
{
    ENTER_CONTEXT(c);
    LEAVE(set(dst, n * 4, value, 4, n, 1, stream, false));
}

SEEN int cuMemsetD32_v2(uint64_t dst, unsigned value, size_t n);
int cuMemsetD32_v2(uint64_t dst, unsigned value, size_t n)
{
    ENTER_CONTEXT(c);
    LEAVE(set(dst, n * 4, value, 4, n, 1, NULL, true));
}

SEEN int cuMemsetD2D8Async(uint64_t dst, size_t pitch, unsigned char value, size_t width,
                           size_t height, void *stream);
int cuMemsetD2D8Async(uint64_t dst, size_t pitch, unsigned char value, size_t width, size_t height,
                      void *stream)
{
    ENTER_CONTEXT(c);
    LEAVE(set(dst, pitch, value, 1, width, height, stream, false));
}

SEEN int cuMemFreeAsync(uint64_t address, void *stream);
int cuMemFreeAsync(uint64_t address, void *stream)
{
    Stream *s;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    enqueue(s, (Op){.work = RELEASE, .dst = address});
    LEAVE(OK);
}

/* ---- launches ---- */

static int launch(Function *f, const unsigned grid[3], const unsigned block[3], unsigned shared,
                  void *stream, void **params, bool overlap)
{
    Context *c = fake_current();
    Stream *s = NULL;
    int r = fake_stream(stream, &s);
    if (r) return r;
    if (!f || f->kind != KIND_FUNCTION) return INVALID_HANDLE;
    if (f->context != c) return INVALID_CONTEXT;
    if (grid[2] != 1 || block[1] != 1 || block[2] != 1 || !params || (int)shared > f->shared ||
        grid[1] > 65535 || !grid[0] || !grid[1] || !block[0] || block[0] > f->kernel->threads) {
        fake_say(
            "kernel %s: launched with %u x %u x %u blocks of %u x %u x %u threads, %u bytes of "
            "shared memory (%d are allowed)",
            f->kernel->name, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared,
            f->shared);
        return INVALID_VALUE;
    }
    Op op = {.work = LAUNCH, .params = malloc(f->kernel->bytes)};
    memcpy(op.params, params[0], f->kernel->bytes);
    op.launch = (SimtLaunch){.kernel = f->kernel, .params = op.params, .grid_x = grid[0],
                             .grid_y = grid[1], .threads = block[0], .shared = shared,
                             .seed = (unsigned)fake_number("FAKE_CUDA_SEED", 0),
                             .overlap = overlap && (s->capture || s->last_work == LAUNCH), .owner = c};
    if (fake_captured(s, &op)) return OK;
    fake_enqueue_launch(s, op);
    return OK;
}

void fake_enqueue_launch(Stream *s, Op op)
{
    int i = 0;
    Counters *n = &fake_counters;
    const SimtKernel *kernel = op.launch.kernel;
    if (op.launch.seed > 1) op.launch.seed += draw(1000);
    while (i < n->n_kernels && strcmp(n->kernels[i].name, kernel->name)) i++;
    if (i == n->n_kernels && i < 32) n->kernels[n->n_kernels++].name = kernel->name;
    if (i < 32) n->kernels[i].n++;
    op.hangs = ++n->launches == (uint64_t)fake_number("FAKE_CUDA_HANG", 0);
    enqueue(s, op);
}

static bool skipped(void)
{
    static int n;
    return ++n == fake_number("FAKE_CUDA_SKIP", 0);
}

SEEN int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, void *stream, void **params,
                        void **extra);
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **params, void **extra)
{
    ENTER_CONTEXT(c);
    if (skipped()) LEAVE(OK);
    LEAVE(launch(function, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, stream,
                 params, false));
}

/* CUlaunchConfig and CUlaunchAttribute as the driver's header has them. */
typedef struct Attribute {
    int id;
    char pad[4];
    union {
        char bytes[64];
        int number;
        uint64_t wide;
    } value;
} Attribute;
typedef struct Config {
    unsigned grid[3], block[3], shared;
    void *stream;
    Attribute *attributes;
    unsigned n_attributes;
} Config;

SEEN int cuLaunchKernelEx(const Config *config, void *function, void **params, void **extra);
int cuLaunchKernelEx(const Config *config, void *function, void **params, void **extra)
{
    bool overlap = false;
    ENTER_CONTEXT(c);
    for (unsigned i = 0; i < config->n_attributes; i++)
        if (config->attributes[i].id == 6) overlap = config->attributes[i].value.number != 0;
        else LEAVE(INVALID_VALUE);
    if (overlap && fake_number("FAKE_CUDA_CC", 90) < 90) LEAVE(NOT_SUPPORTED);
    if (skipped()) LEAVE(OK);
    LEAVE(launch(function, config->grid, config->block, config->shared, config->stream, params,
                 overlap));
}

SEEN int cuLaunchHostFunc(void *stream, void (*call)(void *), void *data);
int cuLaunchHostFunc(void *stream, void (*call)(void *), void *data)
{
    Stream *s;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    enqueue(s, (Op){.work = HOST, .call = call, .data = data});
    LEAVE(OK);
}

typedef struct Callback {
    void (*call)(void *stream, int status, void *data);
    void *stream, *data;
} Callback;

static void call_back(void *data)
{
    Callback b = *(Callback *)data;
    free(data);
    b.call(b.stream, OK, b.data);
}

SEEN int cuStreamAddCallback(void *stream, void (*call)(void *, int, void *), void *data,
                             unsigned flags);
int cuStreamAddCallback(void *stream, void (*call)(void *, int, void *), void *data, unsigned flags)
{
    Stream *s;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    Callback *b = malloc(sizeof *b);
    *b = (Callback){call, stream, data};
    enqueue(s, (Op){.work = HOST, .call = call_back, .data = b});
    LEAVE(OK);
}

/* ---- streams ---- */

SEEN int cuStreamCreate(void **stream, unsigned flags);
int cuStreamCreate(void **stream, unsigned flags)
{
    ENTER_CONTEXT(c);
    if (flags > 1) LEAVE(INVALID_VALUE);
    *stream = fake_new_stream(c, flags);
    LEAVE(OK);
}

SEEN int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority);
int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority)
{
    return cuStreamCreate(stream, flags);
}

/* Its work is still done. */
SEEN int cuStreamDestroy_v2(void *stream);
int cuStreamDestroy_v2(void *stream)
{
    Stream *s = stream;
    ENTER_CONTEXT(c);
    if (!s || (uintptr_t)s < 4096 || s->kind != KIND_STREAM || s->dead) LEAVE(INVALID_HANDLE);
    if (s->context != c) LEAVE(INVALID_CONTEXT);
    s->dead = true;
    LEAVE(OK);
}

SEEN int cuStreamSynchronize(void *stream);
int cuStreamSynchronize(void *stream)
{
    Stream *s;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    if (s->capture) LEAVE(900);
    if (s == c->null_stream)
        for (Stream *o = c->streams; o; o = o->next)
            if (!(o->flags & 1)) finish(o);
    finish(s);
    LEAVE(c->error);
}

SEEN int cuStreamQuery(void *stream);
int cuStreamQuery(void *stream)
{
    Stream *s;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    if (!s->first) {
        fake_host_waited(s->node);
        LEAVE(c->error);
    }
    get_on(s);
    LEAVE(c->error ? c->error : NOT_READY);
}

SEEN int cuStreamWaitEvent(void *stream, void *event, unsigned flags);
int cuStreamWaitEvent(void *stream, void *event, unsigned flags)
{
    Stream *s;
    Event *e;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s)) || (result = fake_event(event, &e))) LEAVE(result);
    fake_counters.null_waits += s == c->null_stream && e->last && e->last != s;
    if (e->wanted > e->done) enqueue(s, (Op){.work = WAIT, .event = e, .version = e->wanted});
    else fake_depend(s, e->node, NULL); /* it might have come later */
    LEAVE(OK);
}

SEEN int cuStreamGetCtx(void *stream, void **context);
int cuStreamGetCtx(void *stream, void **context)
{
    Stream *s = stream;
    ENTER_CONTEXT(c);
    *context = (uintptr_t)s < 4096 ? c : s->context;
    LEAVE(OK);
}

SEEN int cuStreamGetFlags(void *stream, unsigned *flags);
int cuStreamGetFlags(void *stream, unsigned *flags)
{
    Stream *s;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    *flags = s->flags;
    LEAVE(OK);
}

SEEN int cuStreamIsCapturing(void *stream, int *status);
int cuStreamIsCapturing(void *stream, int *status)
{
    ENTER_CONTEXT(c);
    Stream *s;
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    *status = s->capture != NULL;
    LEAVE(OK);
}

/* ---- events ---- */

SEEN int cuEventCreate(void **event, unsigned flags);
int cuEventCreate(void **event, unsigned flags)
{
    ENTER_CONTEXT(c);
    Event *e = calloc(1, sizeof *e);
    *e = (Event){.kind = KIND_EVENT, .context = c, .flags = flags};
    *event = e;
    LEAVE(OK);
}

/* The struct stays: work may still name it. */
SEEN int cuEventDestroy_v2(void *event);
int cuEventDestroy_v2(void *event)
{
    Event *e;
    ENTER_CONTEXT(c);
    if ((result = fake_event(event, &e))) LEAVE(result);
    e->kind = 0;
    LEAVE(OK);
}

SEEN int cuEventRecord(void *event, void *stream);
int cuEventRecord(void *event, void *stream)
{
    Stream *s;
    Event *e;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s)) || (result = fake_event(event, &e))) LEAVE(result);
    if (e->context != c) LEAVE(INVALID_HANDLE);
    e->last = s;
    e->wanted++;
    enqueue(s, (Op){.work = RECORD, .event = e, .version = e->wanted});
    e->node = s->node;
    LEAVE(OK);
}

SEEN int cuEventQuery(void *event);
int cuEventQuery(void *event)
{
    Event *e;
    ENTER_CONTEXT(c);
    if ((result = fake_event(event, &e))) LEAVE(result);
    if (e->done >= e->wanted) {
        fake_host_waited(e->node);
        LEAVE(c->error);
    }
    if (e->last->first) get_on(e->last);
    LEAVE(c->error ? c->error : NOT_READY);
}

SEEN int cuEventSynchronize(void *event);
int cuEventSynchronize(void *event)
{
    Event *e;
    ENTER_CONTEXT(c);
    if ((result = fake_event(event, &e))) LEAVE(result);
    fake_run_event(e, e->wanted);
    fake_host_waited(e->node);
    LEAVE(c->error);
}

SEEN int cuEventElapsedTime(float *ms, void *start, void *end);
int cuEventElapsedTime(float *ms, void *start, void *end)
{
    Event *a, *b;
    ENTER_CONTEXT(c);
    if ((result = fake_event(start, &a)) || (result = fake_event(end, &b))) LEAVE(result);
    if (a->flags & 2 || b->flags & 2 || !a->wanted || !b->wanted) LEAVE(INVALID_HANDLE);
    if (a->done < a->wanted || b->done < b->wanted) LEAVE(NOT_READY);
    *ms = (float)(b->when - a->when);
    LEAVE(OK);
}
