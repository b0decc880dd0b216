/* The engine of our own kernels: opens a model, plans for a size, and lets the context's workers
 * pull pieces of the frames in flight. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/cpu/conv.h"
#include "engine/cpu/cpu_engine.h"
#include "engine/cpu/half_gemm.h"
#include "engine/cpu/tiles.h"
#include "engine/cpu/tiles_int8.h"

typedef struct Frame {
    UpzEngine *engine;
    UpzTask *task;
    UpzWork work;
    int64_t number;
    int64_t left; /* pieces not finished */
    UpzBox *parts;
    int n_parts;  /* 0: all of it */
    int nan;
    bool busy;    /* between submit and wait */
} Frame;

struct UpzEngine {
    UpzEngineBase base;
    UprezContext *ctx;
    UprezModel *model;
    UpzProgram program;
    UpzFlow flow; /* rings NULL: not planned */
    UpzShape shape;
    int dst_w, dst_h;
    pthread_mutex_t lock; /* of ring states and frames */
    Frame frames[UPZ_CPU_FRAMES];
    UpzBox *parts; /* of all frames: [frame][stage][part] */
    int64_t submitted, pieces;
};

/* ---- picking work; with the lock held ---- */

static bool reached(const UpzRing *other, int64_t strip, int parts, int part)
{
    if (strip < 0) return true;
    /* the other's piece that ends where this one's needs end */
    const int64_t pieces = other->parts == 1 ? strip + 1
                           : parts == 1      ? (strip + 1) * other->parts
                                             : strip * other->parts + UPZ_MIN(part + 1, parts);
    return other->done >= pieces;
}

static bool ready(const UpzFlow *f, const UpzRing *l, int64_t frame)
{
    const int64_t index = l->next - frame * upz_ring_pieces(l);
    if (index < 0 || index >= upz_ring_pieces(l) || l->next - l->done >= 64) return false;
    const int strip = (int)(index / l->parts), part = (int)(index % l->parts);
    for (int i = l->in0; i < l->in0 + l->n_in; i++) {
        const UpzEdge *e = &f->edges[i];
        const UpzRing *from = &f->rings[e->from];
        if (e->need[strip] >= 0 &&
            !reached(from, frame * from->n_strips + e->need[strip], l->parts, part))
            return false;
    }
    for (int i = 0; i < l->n_out; i++) {
        const UpzEdge *e = &f->edges[l->out[i]];
        const UpzRing *to = &f->rings[e->to];
        if (!reached(to, frame * to->n_strips + e->release[strip], l->parts, part + e->back))
            return false;
    }
    return true;
}

static void finished(UpzRing *l, int64_t piece)
{
    l->ahead |= (uint64_t)1 << (piece - l->done);
    while (l->ahead & 1) {
        l->ahead >>= 1;
        l->done++;
    }
}

static UpzStep step(void *arg, int worker)
{
    Frame *frame = arg;
    UpzEngine *e = frame->engine;
    UpzFlow *f = &e->flow;
    pthread_mutex_lock(&e->lock);
    int stage = f->program->n_stages - 1;
    while (stage >= 0 && !ready(f, &f->rings[stage], frame->number)) stage--;
    if (stage < 0) {
        pthread_mutex_unlock(&e->lock);
        return UPZ_STEP_IDLE;
    }
    UpzRing *l = &f->rings[stage];
    UpzBox boxes[UPZ_TODO_MAX];
    int64_t piece;
    int n, nan = 0;
    for (;;) {
        piece = l->next++;
        n = upz_flow_boxes(f, stage, (int)(piece - frame->number * upz_ring_pieces(l)), frame->parts,
                           frame->n_parts, boxes);
        if (n) break;
        /* not needed: done, and so may its neighbours be */
        finished(l, piece);
        const bool last = --frame->left == 0;
        if (last || !ready(f, l, frame->number)) {
            pthread_mutex_unlock(&e->lock);
            return last ? UPZ_STEP_DONE : UPZ_STEP_DID;
        }
    }
    pthread_mutex_unlock(&e->lock);
    for (int i = 0; i < n; i++) {
        int found = upz_flow_run(f, stage, frame->number, &boxes[i], frame->task->src, frame->task->dst,
                                 worker);
        if (found && frame->n_parts)
            found = upz_flow_nan(f, stage, frame->number, &boxes[i], frame->parts, frame->n_parts);
        nan += found;
    }
    pthread_mutex_lock(&e->lock);
    finished(l, piece);
    frame->nan += nan;
    const bool last = --frame->left == 0;
    pthread_mutex_unlock(&e->lock);
    return last ? UPZ_STEP_DONE : UPZ_STEP_DID;
}

/* ---- the table ---- */

static int probe(const char *runtime_path, UpzDeviceList *list, UprezError *why)
{
    (void)runtime_path, (void)why;
    if (list->n >= UPZ_COUNT(list->items)) return 0;
    UpzDevice *d = &list->items[list->n++];
    *d = (UpzDevice){.kind = "cpu"};
    strncpy(d->name, upz_cpu_name(upz_cpu_detect()), sizeof(d->name) - 1);
    snprintf(d->can, sizeof(d->can), "fp32%s%s%s", upz_cpu_features() & UPZ_HAS_AVX512_FP16 ? ", fp16" : "",
             upz_cpu_features() & UPZ_HAS_AMX_BF16 ? ", bf16" : "",
             upz_cpu_features() & UPZ_HAS_AMX_INT8 ? ", int8" : "");
    return 0;
}

static int can_run(const UprezModel *model, UprezError *why)
{
    if (model->kernel != UPZ_KERNEL_NONE)
        return upz_fail(why, UPREZ_ERR_DEVICE, "the cpu engine runs networks; '%s' is a kernel",
                        model->facts.path ? model->facts.path : "this");
    if (model->foreign[0])
        return upz_fail(why, UPREZ_ERR_MODEL, "%s", model->foreign_why ? model->foreign_why :
                        "only the runtime it was made for runs this file, not engine cpu");
    return 0;
}

static bool is_auto(const UpzEngineParams *params)
{
    return !params || !params->precision || !strcmp(params->precision, "auto");
}

/* The precision asked for as a type of maps, with these features of the processor; fp32 for auto. */
static int type_of(const UpzEngineParams *params, uint32_t features, UpzType *type, bool *halves, UprezError *why)
{
    const char *precision = is_auto(params) ? "fp32" : params->precision, *needs = "AMX";
    bool here = true;
    *type = UPZ_TYPE_F32;
    *halves = !strcmp(precision, "fp16");
    if (!strcmp(precision, "fp32")) return 0;
    if (*halves) {
        here = upz_half_multiply(features) != NULL, needs = "AVX512-FP16";
    } else if (!strcmp(precision, "bf16")) {
        *type = UPZ_TYPE_BF16, here = upz_tile_kernels(features) != NULL;
    } else if (!strcmp(precision, "int8")) {
        *type = UPZ_TYPE_S8, here = upz_tile8_kernels(features) != NULL;
    } else {
        return upz_fail(why, UPREZ_ERR_DEVICE, "the cpu engine computes in fp32, fp16, bf16 and int8, not in %s; use "
                        "--precision fp32", precision);
    }
    if (here) return 0;
    return upz_fail(why, UPREZ_ERR_DEVICE, "the cpu engine computes in %s on processors with %s, and "
                    "there is none here or --cpu leaves it out; use --precision fp32", precision, needs);
}

static int supports(const UprezModel *model, const UpzEngineParams *params, UprezError *why)
{
    UpzType type;
    bool halves;
    const int r = can_run(model, why);
    return r ? r : type_of(params, upz_cpu_features(), &type, &halves, why);
}

static void close_engine(UpzEngine **engine)
{
    UpzEngine *e = *engine;
    if (!e) return;
    *engine = NULL;
    for (int i = 0; i < UPZ_CPU_FRAMES; i++)
        if (e->frames[i].busy) upz_pool_wait(e->ctx->pool, &e->frames[i].work, -1);
    upz_flow_free(&e->flow);
    upz_free(e->parts);
    upz_program_free(&e->program);
    pthread_mutex_destroy(&e->lock);
    uprez_model_unref(&e->model);
    upz_context_unref(&e->ctx);
    upz_free(e);
}

int upz_cpu_open(UpzEngine **out, UprezContext *ctx, UprezModel *model, const UpzProgramParams *params,
                 UprezError *err)
{
    *out = NULL;
    UpzEngine *e = upz_calloc(1, sizeof(*e));
    if (!e) return upz_fail_memory(err, sizeof(*e), "the cpu engine");
    e->base.ops = &upz_engine_cpu;
    if (pthread_mutex_init(&e->lock, NULL)) {
        upz_free(e);
        return upz_fail_memory(err, sizeof(e->lock), "a lock");
    }
    e->ctx = upz_context_ref(ctx);
    e->model = uprez_model_ref(model);
    int r = upz_program_build(&e->program, &model->graph, params, err);
    const size_t parts = (size_t)e->program.n_stages * UPZ_TODO_MAX;
    if (!r && !(e->parts = upz_calloc(parts * UPZ_CPU_FRAMES, sizeof(*e->parts))))
        r = upz_fail_memory(err, parts * UPZ_CPU_FRAMES * sizeof(*e->parts), "the cpu engine");
    if (r) close_engine(&e);
    *out = e;
    return r;
}

UpzFlow *upz_cpu_flow(UpzEngine *e) { return &e->flow; }

static int open_engine(UpzEngine **out, UprezContext *ctx, UprezModel *model,
                       const UpzDevice *device, const UpzEngineParams *params, UprezError *err)
{
    (void)device;
    *out = NULL;
    UpzType type;
    bool halves;
    int r = can_run(model, err);
    if (!r) r = type_of(params, ctx->features, &type, &halves, err);
    if (r) return r;
    if (is_auto(params)) type = upz_cpu_auto_type(ctx, model);
    if (type != UPZ_TYPE_F32 && ctx->features && !upz_cpu_allow_tiles())
        return upz_fail(err, UPREZ_ERR_DEVICE, "the system does not let this process use the processor's "
                        "tiles (AMX); use --precision fp32");
    if (type == UPZ_TYPE_S8) return upz_cpu_open_int8(out, ctx, model, err);
    return upz_cpu_open(out, ctx, model, &(UpzProgramParams){.features = ctx->features, .narrowest = type, .halves = halves},
                        err);
}

static int rows_of(const UprezModelFacts *facts)
{
    return facts->input == UPREZ_INPUT_RGB      ? UPZ_ROWS_RGB
           : facts->input == UPREZ_INPUT_Y_FULL ? UPZ_ROWS_Y_FULL
                                                : UPZ_ROWS_Y_STUDIO;
}

/* The narrowest that anything is computed in. */
static const char *precision_of(const UpzProgram *p)
{
    static const char *const names[] = {"fp32", "bf16", "int8"};
    static_assert(UPZ_COUNT(names) == UPZ_TYPE_COUNT, "a name for every type");
    UpzType type = UPZ_TYPE_F32;
    for (int i = 0; i < p->n_stages; i++)
        if (p->stages[i].conv) type = UPZ_MAX(type, p->stages[i].conv->in);
    for (int i = 0; i < p->n_stages && type == UPZ_TYPE_F32; i++)
        if (p->stages[i].conv && p->stages[i].conv->halves) return "fp16";
    return names[type];
}

static int plan(UpzEngine *e, const UpzShape *shape, size_t mem_limit, UpzPlan *out,
                UprezError *err)
{
    const UprezModelFacts *facts = &e->model->facts;
    upz_flow_free(&e->flow);
    e->submitted = 0;
    e->shape = *shape;
    const int64_t w = (int64_t)shape->width * facts->scale_num / facts->scale_den;
    const int64_t h = (int64_t)shape->height * facts->scale_num / facts->scale_den;
    if (w < 1 || h < 1 || w > UPREZ_SIDE_MAX || h > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a result of %lldx%lld pixels; sides must be 1 to %d",
                        (long long)w, (long long)h, UPREZ_SIDE_MAX);
    e->dst_w = (int)w, e->dst_h = (int)h;
    const size_t own = e->program.bytes + sizeof(*e);
    if (mem_limit && own >= mem_limit)
        return upz_fail(err, UPREZ_ERR_MEMORY, "the network's weights alone take %zu MiB, but only "
                        "%zu MiB may be used", (own >> 20) + 1, mem_limit >> 20);
    int r = upz_flow_plan(&e->flow, &e->program, upz_cpu_kernels(e->ctx->cpu),
                          upz_pool_size(e->ctx->pool), UPZ_MAX(facts->align, 1), rows_of(facts),
                          e->ctx->cpu, shape, e->dst_w, e->dst_h,
                          mem_limit ? mem_limit - own : 0, err);
    if (r) return r;
    e->pieces = 0;
    for (int i = 0; i < e->program.n_stages; i++) e->pieces += upz_ring_pieces(&e->flow.rings[i]);
    /* sizes that are no whole number of times the source's: cut off, by less than a pixel */
    const int cut_x = w * facts->scale_den != (int64_t)shape->width * facts->scale_num;
    const int cut_y = h * facts->scale_den != (int64_t)shape->height * facts->scale_num;
    *out = (UpzPlan){.need = own + e->flow.bytes, .width = e->dst_w, .height = e->dst_h,
                     .reach_x = upz_flow_reach(&e->flow, 0) + cut_x,
                     .reach_y = upz_flow_reach(&e->flow, 1) + cut_y,
                     .grain_x = 1 << shape->dst.sub_x, .grain_y = 1 << shape->dst.sub_y, .todo = true,
                     .depth = UPZ_CPU_FRAMES, .exact = 1};
    snprintf(out->precision, sizeof(out->precision), "%s", precision_of(&e->program));
    upz_program_numerics(&e->program, out->numerics, sizeof(out->numerics));
    return 0;
}

static int submit(UpzEngine *e, UpzTask *task)
{
    Frame *frame = &e->frames[e->submitted % UPZ_CPU_FRAMES];
    if (!e->flow.rings)
        return upz_fail(&task->err, UPREZ_ERR_BUG, "engine cpu was given a picture before a plan");
    if (frame->busy) return UPREZ_AGAIN;
    const UpzShape *s = &e->shape;
    if (task->src->width != s->width || task->src->height != s->height ||
        task->dst->width != e->dst_w || task->dst->height != e->dst_h)
        return upz_fail(&task->err, UPREZ_ERR_BUG, "engine cpu is planned for %dx%d to %dx%d and "
                        "was given %dx%d to %dx%d", s->width, s->height, e->dst_w, e->dst_h,
                        task->src->width, task->src->height, task->dst->width, task->dst->height);
    if (task->n_todo > UPZ_TODO_MAX)
        return upz_fail(&task->err, UPREZ_ERR_BUG, "engine cpu was given %d parts", task->n_todo);
    const ptrdiff_t slot = frame - e->frames;
    *frame = (Frame){.engine = e, .task = task, .number = e->submitted++, .left = e->pieces,
                     .parts = e->parts + slot * e->program.n_stages * UPZ_TODO_MAX,
                     .n_parts = task->n_todo, .busy = true};
    if (task->n_todo) upz_flow_parts(&e->flow, task->todo, task->n_todo, frame->parts);
    task->priv = frame;
    upz_pool_submit(e->ctx->pool, &frame->work, step, frame);
    return 0;
}

static int wait_for(UpzEngine *e, UpzTask *task, int64_t timeout_ns)
{
    Frame *frame = task->priv;
    int r = upz_pool_wait(e->ctx->pool, &frame->work, timeout_ns);
    if (r) return r;
    task->result = 0;
    if (frame->nan)
        task->result = upz_fail(&task->err, UPREZ_ERR_VERIFY, "the network gave %d values that are "
                                "not numbers; the model file is damaged or not meant for such "
                                "pictures", frame->nan);
    frame->busy = false;
    return 0;
}

const UpzEngineOps upz_engine_cpu = {
    .abi = UPZ_ENGINE_ABI,
    .name = "cpu",
    .about = "own kernels: Winograd in fp32 and fp16, direct convolutions, tiles of bf16 and int8 (AMX)",
    .probe = probe,
    .supports = supports,
    .open = open_engine,
    .plan = plan,
    .submit = submit,
    .wait = wait_for,
    .close = close_engine,
};
