/* Setting up a network's launches, and enqueueing pictures. */
#include "engine/cuda/run.h"

#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/queue.h"
#include "engine/cuda/staging.h"
#include "picture/format.h"

#define RESERVE ((size_t)192 << 20) /* bytes of GPU memory left to others, at most */

/* A driver's call in a row of calls: the first failure stays. */
#define TRY(status, call) ((status) = (status) ? (status) : (call))

/* ---- kernels ---- */

static int find_function(UpzCudaRun *run, const char *name, UprezError *err)
{
    int i = 0;
    while (i < run->n_functions && strcmp(run->functions[i].name, name)) i++;
    if (i < run->n_functions) return i;
    if (i == UPZ_CUDA_FUNCTIONS) return upz_fail(err, UPREZ_ERR_BUG, "too many kernels");
    UpzCudaFunction *f = &run->functions[i];
    int r = run->home->cu.module_function(&f->function, run->module, name);
    if (r) return upz_cuda_fail(&run->home->cu, r, "find the kernels", err);
    f->name = name;
    return run->n_functions++;
}

static bool has_function(const UpzCudaRun *run, const char *name)
{
    void *f;
    return !run->home->cu.module_function(&f, run->module, name);
}

static int allow_shared(UpzCudaRun *run, int function, unsigned bytes, UprezError *err)
{
    UpzCudaFunction *f = &run->functions[function];
    if (bytes <= f->shared || bytes <= 48 * 1024) return 0;
    int r = run->home->cu.function_set(f->function, UPZ_CUDA_FUNCTION_SHARED, (int)bytes);
    if (r) return upz_cuda_fail(&run->home->cu, r, "give the kernels shared memory", err);
    f->shared = bytes;
    return 0;
}

static int launch(const UpzCudaRun *run, int function, const UpzCudaGrid *g, const void *params)
{
    const UpzCuda *cu = &run->home->cu;
    void *args[] = {(void *)(uintptr_t)params};
    void *f = run->functions[function].function, *stream = run->home->stream;
    /* kernels of Hopper's wait by themselves for what they read */
    if (run->hopper && cu->launch_ex) {
        UpzCudaLaunchAttribute overlap = {.id = UPZ_CUDA_LAUNCH_OVERLAP, .value = {.number = 1}};
        UpzCudaLaunch l = {.grid = {g->x, g->y, 1}, .block = {g->threads, 1, 1}, .shared = g->shared,
                           .stream = stream, .attributes = &overlap, .n_attributes = 1};
        return cu->launch_ex(&l, f, args, NULL);
    }
    return cu->launch(f, g->x, g->y, 1, g->threads, 1, 1, g->shared, stream, args, NULL);
}

/* What of a convolution does not depend on sizes; addresses only say whether there is something. */
static void describe(const UpzCudaRun *run, const UpzCudaLayer *l, UpzCudaConv *c)
{
    const UpzNode *n = &run->net.graph->nodes[l->node];
    *c = (UpzCudaConv){.alpha = l->alpha, .beta = {l->beta[0], l->beta[1]}, .out = n->channels,
                       .kernel = n->kernel_w, .up = l->up, .factor = l->factor};
    if (l->up == 2) c->kernel = 3;
    c->src.chunks = l->src.chunks;
    c->dst.chunks = l->dst.chunks;
    c->dst.data = l->dst.map >= 0;
    for (int k = 0; k < l->n_add; k++) c->add[k].data = 1;
    c->base.data = l->base.map >= 0;
}

/* Constants in the order the chosen kernels want, on the GPU. */
static int upload_constants(UpzCudaRun *run, UprezError *err)
{
    const size_t n = (size_t)run->net.n_layers;
    UpzCudaPacked packed;
    bool *pair = upz_calloc(n, sizeof(*pair));
    if (!pair) return upz_fail_memory(err, n, "the network's layers");
    for (size_t i = 0; i < n; i++) pair[i] = run->steps[i].conv.pair != 0;
    int r = upz_cuda_pack(&packed, &run->net, pair, run->ctx->cpu, err);
    upz_free(pair);
    if (r < 0) return r;
    const UpzCuda *cu = &run->home->cu;
    int status = cu->alloc(&run->constants, packed.bytes);
    if (status) run->constants = 0;
    if (status == UPZ_CUDA_OUT_OF_MEMORY)
        r = upz_fail(err, UPREZ_ERR_MEMORY, "the network's weights need %zu KiB of GPU memory, and so "
                     "much is not free", packed.bytes >> 10);
    TRY(status, cu->upload_now(run->constants, packed.data, packed.bytes));
    run->constant_bytes = packed.bytes;
    for (size_t i = 0; i < n && !status; i++) {
        UpzCudaConv *c = &run->steps[i].conv;
        const UpzCudaConstants *k = &packed.layers[i];
        if (run->net.layers[i].load) continue;
        c->weights = run->constants + k->weights;
        c->bias = run->constants + k->bias;
        c->slope = k->slope == SIZE_MAX ? 0 : run->constants + k->slope;
    }
    upz_cuda_packed_free(&packed);
    if (r < 0) return r;
    return status ? upz_cuda_fail(cu, status, "put the weights into the GPU's memory", err) : 0;
}

static int choose_kernels(UpzCudaRun *run, UprezError *err)
{
    run->load_function = find_function(run, "load_map", err);
    if (run->load_function < 0) return run->load_function;
    run->store_function = find_function(run, "store_picture", err);
    if (run->store_function < 0) return run->store_function;
    run->resize_function = find_function(run, "resize_image", err);
    if (run->resize_function < 0) return run->resize_function;
    run->hopper = run->home->capability == 90 && has_function(run, "conv_ring") &&
                  has_function(run, "conv_stream");
    for (int i = 0; i < run->net.n_layers; i++) {
        UpzCudaStep *s = &run->steps[i];
        if (run->net.layers[i].load) continue;
        describe(run, &run->net.layers[i], &s->conv);
        s->hopper = run->hopper && upz_conv_hopper_can(&s->conv);
        s->conv.pair = s->hopper && upz_conv_stream_pairs(&s->conv);
        const int outputs = upz_conv_mma_outputs(&s->conv);
        s->function = find_function(run, s->hopper ? upz_conv_hopper_name(&s->conv)
                                         : outputs == 16 ? "conv_mma_m16"
                                         : outputs == 32 ? "conv_mma_m32" : "conv_mma_m64", err);
        if (s->function < 0) return s->function;
        const UpzCuda *cu = &run->home->cu;
        if (!run->target && (!cu->function_get ||
                             cu->function_get(&run->target, UPZ_CUDA_FUNCTION_TARGET,
                                              run->functions[s->function].function)))
            run->target = run->home->capability;
    }
    return 0;
}

int upz_cuda_run_open(UpzCudaRun *run, UpzCudaHome *home, UprezContext *ctx, const UprezModel *model,
                      const void *image, UprezError *err)
{
    *run = (UpzCudaRun){.home = home, .ctx = ctx, .facts = &model->facts};
    int r = upz_cuda_net_build(&run->net, &model->graph, err);
    if (r < 0) return r;
    run->steps = upz_calloc((size_t)run->net.n_layers, sizeof(*run->steps));
    if (!run->steps)
        return upz_fail_memory(err, (size_t)run->net.n_layers * sizeof(*run->steps), "the layers");
    r = upz_cuda_enter(home, err);
    if (r < 0) return r;
    const UpzCuda *cu = &home->cu;
    int status = cu->module_load(&run->module, image);
    if (status) {
        run->module = NULL;
        r = upz_cuda_fail(cu, status, "load the kernels", err);
    }
    if (r >= 0) r = choose_kernels(run, err);
    if (r >= 0) r = upload_constants(run, err);
    if (r >= 0) {
        TRY(status, cu->stream_create(&run->up, UPZ_CUDA_STREAM_NON_BLOCKING));
        TRY(status, cu->stream_create(&run->down, UPZ_CUDA_STREAM_NON_BLOCKING));
        for (int i = 0; i < UPZ_CUDA_SLOTS; i++) {
            UpzCudaSlot *s = &run->slots[i];
            const unsigned quick = UPZ_CUDA_EVENT_NO_TIMING;
            TRY(status, cu->event_create(&s->ready, quick));
            TRY(status, cu->event_create(&s->loaded, quick));
            TRY(status, cu->event_create(&s->wanted, quick));
            TRY(status, cu->event_create(&s->stored, quick));
            TRY(status, cu->event_create(&s->done, quick | UPZ_CUDA_EVENT_BLOCKING));
        }
        if (status) r = upz_cuda_fail(cu, status, "make CUDA streams and events", err);
    }
    upz_cuda_leave(home);
    return r;
}

/* ---- memory of one size ---- */

static void finish_streams(const UpzCudaRun *run)
{
    const UpzCuda *cu = &run->home->cu;
    if (run->up) cu->stream_finish(run->up);
    cu->stream_finish(run->home->stream);
    if (run->down) cu->stream_finish(run->down);
}

/* The context is current. */
static void unplan(UpzCudaRun *run)
{
    const UpzCuda *cu = &run->home->cu;
    if (run->arena || run->pinned) finish_streams(run);
    if (run->arena) cu->release(run->arena);
    if (run->pinned) cu->host_release(run->pinned);
    run->arena = 0;
    run->pinned = NULL;
    upz_cuda_layout_free(&run->layout);
    upz_cuda_passes_free(&run->passes);
}

void upz_cuda_run_close(UpzCudaRun *run)
{
    if (!run->home) return;
    const UpzCuda *cu = &run->home->cu;
    if (!upz_cuda_enter(run->home, NULL)) {
        unplan(run);
        for (int i = 0; i < UPZ_CUDA_SLOTS; i++) {
            UpzCudaSlot *s = &run->slots[i];
            void *events[] = {s->ready, s->loaded, s->wanted, s->stored, s->done};
            for (int k = 0; k < UPZ_COUNT(events); k++)
                if (events[k]) cu->event_destroy(events[k]);
        }
        if (run->up) cu->stream_destroy(run->up);
        if (run->down) cu->stream_destroy(run->down);
        if (run->constants) cu->release(run->constants);
        if (run->module) cu->module_unload(run->module);
        upz_cuda_leave(run->home);
    } else {
        upz_cuda_layout_free(&run->layout); /* all else went with the context */
        upz_cuda_passes_free(&run->passes);
    }
    upz_free(run->steps);
    upz_cuda_net_free(&run->net);
    run->home = NULL;
}

static int no_memory(const UpzCudaRun *run, size_t need, size_t free, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_MEMORY, "pictures of %dx%d need at least %zu MiB of GPU memory, "
                    "even in small tiles, and %zu MiB may be used", run->shape.width,
                    run->shape.height, (need >> 20) + 1, free >> 20);
}

/* What maps may take of the GPU's memory now. */
static int usable_memory(const UpzCudaRun *run, size_t mem_limit, size_t *bytes, UprezError *err)
{
    size_t free_bytes = 0, total = 0;
    const int status = run->home->cu.memory_info(&free_bytes, &total);
    if (status) return upz_cuda_fail(&run->home->cu, status, "ask for the GPU's free memory", err);
    free_bytes -= UPZ_MIN(free_bytes, UPZ_MIN(RESERVE, total / 32));
    if (run->shape.dst_memory == UPREZ_MEM_CUDA) { /* results lie there too */
        const size_t result = upz_staging_bytes(&run->shape.dst, run->dst_w, run->dst_h);
        free_bytes -= UPZ_MIN(free_bytes, (UPZ_CUDA_SLOTS + 1) * result);
    }
    if (mem_limit)
        free_bytes = UPZ_MIN(free_bytes, mem_limit - UPZ_MIN(mem_limit, run->constant_bytes));
    *bytes = free_bytes;
    return 0;
}

/* The largest tiles that fit, and their memory. */
static int get_arena(UpzCudaRun *run, size_t mem_limit, UprezError *err)
{
    const UpzCuda *cu = &run->home->cu;
    size_t free_bytes;
    upz_cuda_drop_idle(run->home, 0); /* pictures of the size before */
    int nx = 1, ny = 1, status, usable = usable_memory(run, mem_limit, &free_bytes, err);
    if (usable < 0) return usable;
    for (;;) {
        upz_cuda_layout_free(&run->layout);
        int r = upz_cuda_layout_make(&run->layout, &run->net, &run->need, nx, ny, err);
        if (r < 0) return r;
        const size_t bytes = run->layout.bytes;
        if (bytes <= free_bytes) {
            status = cu->alloc(&run->arena, bytes);
            if (!status) return 0;
            run->arena = 0;
            if (status != UPZ_CUDA_OUT_OF_MEMORY)
                return upz_cuda_fail(cu, status, "get memory for feature maps", err);
            /* another process was quicker */
            if ((r = usable_memory(run, mem_limit, &free_bytes, err)) < 0) return r;
        }
        if (!upz_cuda_more_tiles(&run->layout, &run->need, &nx, &ny))
            return no_memory(run, run->constant_bytes + bytes, free_bytes, err);
    }
}

static int get_memory(UpzCudaRun *run, size_t mem_limit, UprezError *err)
{
    const UpzCuda *cu = &run->home->cu;
    int r = get_arena(run, mem_limit, err);
    if (r < 0) return r;
    const size_t each = UPZ_ROUND_UP(run->need.in, (size_t)4096) +
                        UPZ_ROUND_UP(run->need.out, (size_t)4096) + 4096;
    void *pinned = NULL;
    int status = cu->host_alloc(&pinned, each * UPZ_CUDA_SLOTS, 0);
    if (status == UPZ_CUDA_OUT_OF_MEMORY)
        return upz_fail_memory(err, each * UPZ_CUDA_SLOTS, "pictures on their way to the GPU");
    if (status) return upz_cuda_fail(cu, status, "get memory for copies", err);
    run->pinned = pinned;
    for (int i = 0; i < UPZ_CUDA_SLOTS; i++) {
        UpzCudaSlot *s = &run->slots[i];
        s->nan = (uint32_t *)(void *)(run->pinned + each * (size_t)i);
        s->host_in = run->pinned + each * (size_t)i + 4096;
        s->host_out = s->host_in + UPZ_ROUND_UP(run->need.in, (size_t)4096);
    }
    status = cu->clear(run->arena, 0, run->layout.zeroed, run->home->stream);
    return status ? upz_cuda_fail(cu, status, "clear the feature maps", err) : 0;
}

/* ---- launches of one size ---- */

static UpzCudaImage at_arena(const UpzCudaRun *run, UpzCudaImage image)
{
    image.data += run->arena;
    return image;
}

static int place_steps(UpzCudaRun *run, UprezError *err)
{
    for (int i = 0; i < run->net.n_layers; i++) {
        const UpzCudaLayer *l = &run->net.layers[i];
        UpzCudaStep *s = &run->steps[i];
        UpzCudaConv *c = &s->conv;
        c->dst = upz_cuda_map(&run->layout, &l->dst, run->arena);
        if (l->load) continue;
        c->src = upz_cuda_map(&run->layout, &l->src, run->arena);
        for (int k = 0; k < 2; k++) c->add[k] = upz_cuda_map(&run->layout, &l->add[k], run->arena);
        c->base = upz_cuda_map(&run->layout, &l->base, run->arena);
        c->image = l->dst.map < 0 ? at_arena(run, run->layout.tile) : (UpzCudaImage){0};
        s->grid = s->hopper ? upz_conv_hopper_grid(c, run->home->multiprocessors)
                            : upz_conv_mma_grid(c, run->home->multiprocessors,
                                                run->home->capability);
        int r = allow_shared(run, s->function, s->grid.shared, err);
        if (r < 0) return r;
    }
    return 0;
}

/* The network's result, as much of it as is picture. */
static UpzCudaImage result_image(const UpzCudaRun *run)
{
    UpzCudaImage m = at_arena(run, run->layout.image);
    m.width = (int)((int64_t)run->shape.width * run->need.scale_num / run->need.scale_den);
    m.height = (int)((int64_t)run->shape.height * run->need.scale_num / run->need.scale_den);
    return m;
}

static int place_passes(UpzCudaRun *run, UprezError *err)
{
    const UpzCudaImage image = result_image(run);
    const UpzCuda *cu = &run->home->cu;
    const uint64_t dst[2] = {run->arena + run->layout.passes[0], run->arena + run->layout.passes[1]};
    if (!run->passes.n) return 0;
    upz_cuda_passes_place(&run->passes, &image, dst, run->arena + run->layout.tables);
    int status = cu->upload_now(run->arena + run->layout.tables, run->passes.tables,
                                run->passes.table_bytes);
    return status ? upz_cuda_fail(cu, status, "put the resize's tables into the GPU's memory", err) : 0;
}

static void convert_axis(UpzCudaAxis *to, const UpzChromaAxis *from)
{
    to->sub = from->sub;
    memcpy(to->up_at, from->up_at, sizeof(to->up_at));
    to->down_at = from->down_at;
    to->down_n = from->down_n;
    memcpy(to->up_weight, from->up_weight, sizeof(to->up_weight));
    memcpy(to->down_weight, from->down_weight, sizeof(to->down_weight));
}

static UpzCudaConvert convert(const UpzLoad *l)
{
    UpzCudaConvert c = {.n_rows = l->n_rows, .n_comp = l->n_comp, .clip = l->clip,
                        .diagonal = l->diagonal};
    memcpy(c.matrix, l->matrix, sizeof(c.matrix));
    memcpy(c.offset, l->offset, sizeof(c.offset));
    memcpy(c.bias, l->bias, sizeof(c.bias));
    memcpy(c.lo, l->lo, sizeof(c.lo));
    memcpy(c.hi, l->hi, sizeof(c.hi));
    convert_axis(&c.x, &l->x);
    convert_axis(&c.y, &l->y);
    return c;
}

static int convert_steps(UpzCudaRun *run, UprezError *err)
{
    const UpzShape *s = &run->shape;
    const UpzRows rows = run->facts->input == UPREZ_INPUT_RGB      ? UPZ_ROWS_RGB
                         : run->facts->input == UPREZ_INPUT_Y_FULL ? UPZ_ROWS_Y_FULL
                                                                   : UPZ_ROWS_Y_STUDIO;
    UpzLoad load;
    UpzStore store;
    int r = upz_load_init(&load, &s->src, &s->src_color, s->width, s->height, rows, run->ctx->cpu, err);
    if (r >= 0)
        r = upz_store_init(&store, &s->dst, &s->dst_color, run->dst_w, run->dst_h, rows,
                           run->ctx->cpu, err);
    if (r < 0) return r;
    run->load = (UpzCudaLoad){.convert = convert(&load),
                              .pad_mode = (int)run->net.graph->pad_mode};
    run->store = (UpzCudaStore){.convert = convert(&store), .src = result_image(run)};
    if (run->passes.n) run->store.src = run->passes.pass[run->passes.n - 1].dst;
    return 0;
}

static int source_unit(const UprezModelFacts *f)
{
    const int align = UPZ_MAX(f->align, 1);
    int unit = align;
    while (unit % f->scale_den) unit += align;
    return unit;
}

int upz_cuda_run_plan(UpzCudaRun *run, const UpzShape *shape, size_t mem_limit, UprezError *err)
{
    const UprezModelFacts *f = run->facts;
    int r = upz_cuda_enter(run->home, err);
    if (r < 0) return r;
    unplan(run);
    upz_cuda_leave(run->home);
    run->shape = *shape;
    const int64_t w = (int64_t)shape->width * f->scale_num / f->scale_den;
    const int64_t h = (int64_t)shape->height * f->scale_num / f->scale_den;
    if (w < 1 || h < 1 || w > UPREZ_SIDE_MAX || h > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a result of %lldx%lld pixels; sides must be 1 to %d",
                        (long long)w, (long long)h, UPREZ_SIDE_MAX);
    run->dst_w = run->out_w ? run->out_w : (int)w;
    run->dst_h = run->out_h ? run->out_h : (int)h;
    r = upz_cuda_passes_make(&run->passes, run->filter, run->net.planes, (int)w, (int)h, run->dst_w,
                             run->dst_h, err);
    if (r < 0) return r;
    run->need = (UpzCudaNeed){.width = shape->width, .height = shape->height,
                              .unit = source_unit(f), .reach = UPZ_MAX(f->reach, 0),
                              .scale_num = f->scale_num, .scale_den = f->scale_den,
                              .passes = {upz_cuda_pass_bytes(&run->passes, 0),
                                         upz_cuda_pass_bytes(&run->passes, 1)},
                              .tables = run->passes.table_bytes};
    if (shape->src_memory == UPREZ_MEM_HOST)
        run->need.in = upz_staging_bytes(&shape->src, shape->width, shape->height);
    if (shape->dst_memory == UPREZ_MEM_HOST)
        run->need.out = upz_staging_bytes(&shape->dst, run->dst_w, run->dst_h);
    r = upz_cuda_enter(run->home, err);
    if (r < 0) return r;
    r = get_memory(run, mem_limit, err);
    if (r >= 0) r = place_steps(run, err);
    if (r >= 0) r = place_passes(run, err);
    if (r >= 0) r = convert_steps(run, err);
    if (r < 0) unplan(run);
    upz_cuda_leave(run->home);
    return r;
}

size_t upz_cuda_run_bytes(const UpzCudaRun *run)
{
    return run->constant_bytes + (run->arena ? run->layout.bytes : 0);
}

/* ---- one picture ---- */

static UpzCudaPicture describe_picture(const UprezPicture *p)
{
    const UprezFormat *f = &p->format;
    UpzCudaPicture d = {.depth = f->depth, .shift = f->shift, .sub_x = f->sub_x, .sub_y = f->sub_y,
                        .width = p->width, .height = p->height, .n_comp = f->n_comp};
    for (int c = 0; c < f->n_comp; c++) {
        const UprezComponent *k = &f->comp[c];
        d.comp[c] = (UpzCudaComponent){.data = (uint64_t)(uintptr_t)p->plane[k->plane] + k->offset,
                                       .stride = p->stride[k->plane], .step = k->step};
    }
    return d;
}

/* The picture as it lies in the slot's memory on the GPU. */
static UprezPicture staged(const UprezPicture *p, uint64_t at)
{
    UprezPicture s = *p;
    upz_staging_planes(&s, (void *)(uintptr_t)at);
    return s;
}

static int load_tile(UpzCudaRun *run, const UpzCudaPicture *src, int tx, int ty)
{
    int status = 0;
    for (int i = 0; i < run->net.n_layers && !status; i++) {
        const UpzCudaLayer *l = &run->net.layers[i];
        if (!l->load) continue;
        UpzCudaLoad p = run->load;
        p.src = *src;
        p.dst = run->steps[i].conv.dst;
        p.unshuffle = l->factor;
        p.x0 = upz_cuda_tile_at(&run->layout.x, tx);
        p.y0 = upz_cuda_tile_at(&run->layout.y, ty);
        const UpzCudaGrid g = upz_load_grid(&p);
        status = launch(run, run->load_function, &g, &p);
    }
    return status;
}

/* The part of a tile that is its own goes into the whole result. */
static int copy_tile(const UpzCudaRun *run, int tx, int ty)
{
    const UpzCudaLayout *l = &run->layout;
    const UpzCudaImage from = at_arena(run, l->tile), to = at_arena(run, l->image);
    const int64_t num = run->need.scale_num, den = run->need.scale_den;
    const int64_t x0 = (int64_t)tx * l->x.step * num / den, y0 = (int64_t)ty * l->y.step * num / den;
    const int64_t x1 = UPZ_MIN(x0 + l->x.step * num / den, to.width);
    const int64_t y1 = UPZ_MIN(y0 + l->y.step * num / den, to.height);
    const int64_t at_x = upz_cuda_tile_at(&l->x, tx) * num / den;
    const int64_t at_y = upz_cuda_tile_at(&l->y, ty) * num / den;
    int status = 0;
    for (int c = 0; c < to.planes && !status; c++) {
        UpzCudaCopy copy = {.src_memory = UPZ_CUDA_DEVICE, .dst_memory = UPZ_CUDA_DEVICE,
                            .src_device = from.data + from.plane * (uint64_t)c,
                            .src_x = (size_t)(x0 - at_x) * 2, .src_y = (size_t)(y0 - at_y),
                            .src_pitch = from.row,
                            .dst_device = to.data + to.plane * (uint64_t)c,
                            .dst_x = (size_t)x0 * 2, .dst_y = (size_t)y0, .dst_pitch = to.row,
                            .width_bytes = (size_t)(x1 - x0) * 2, .height = (size_t)(y1 - y0)};
        status = run->home->cu.copy_rows(&copy, run->home->stream);
    }
    return status;
}

static int run_layers(const UpzCudaRun *run)
{
    int status = 0;
    for (int i = 0; i < run->net.n_layers && !status; i++)
        if (!run->net.layers[i].load)
            status = launch(run, run->steps[i].function, &run->steps[i].grid, &run->steps[i].conv);
    return status;
}

/* Kernels wait for the source; its owner then waits for the last load only. */
static int take_source(UpzCudaRun *run, UpzCudaSlot *s, int slot, UpzCudaPicture *src)
{
    const UpzCuda *cu = &run->home->cu;
    const UprezPicture *p = s->task->src;
    int status = 0;
    if (p->memory == UPREZ_MEM_CUDA) {
        *src = describe_picture(p);
        TRY(status, cu->event_record(s->ready, p->stream));
    } else {
        const uint64_t at = run->arena + run->layout.in[slot];
        const UprezPicture there = staged(p, at);
        *src = describe_picture(&there);
        upz_staging_pack(run->ctx, s->host_in, p);
        TRY(status, cu->upload(at, s->host_in, run->need.in, run->up));
        TRY(status, cu->event_record(s->ready, run->up));
    }
    TRY(status, cu->stream_wait(run->home->stream, s->ready, 0));
    return status;
}

static int give_result(UpzCudaRun *run, UpzCudaSlot *s, int slot)
{
    const UpzCuda *cu = &run->home->cu;
    const UprezPicture *p = s->task->dst;
    const bool device = p->memory == UPREZ_MEM_CUDA;
    const uint64_t at = run->arena + run->layout.out[slot];
    const uint64_t nan = run->arena + run->layout.nan + (uint64_t)slot * sizeof(uint32_t);
    const UprezPicture there = device ? *p : staged(p, at);
    int status = 0;
    if (device) {
        TRY(status, cu->event_record(s->wanted, p->stream));
        TRY(status, cu->stream_wait(run->home->stream, s->wanted, 0));
    }
    UpzCudaStore store = run->store;
    store.dst = describe_picture(&there);
    store.nan = nan;
    const UpzCudaGrid g = upz_store_grid(&store);
    TRY(status, launch(run, run->store_function, &g, &store));
    TRY(status, cu->event_record(s->stored, run->home->stream));
    if (device) TRY(status, cu->stream_wait(p->stream, s->stored, 0));
    TRY(status, cu->stream_wait(run->down, s->stored, 0));
    if (!device) TRY(status, cu->download(s->host_out, at, run->need.out, run->down));
    TRY(status, cu->download(s->nan, nan, sizeof(uint32_t), run->down));
    TRY(status, cu->event_record(s->done, run->down));
    return status;
}

static int enqueue(UpzCudaRun *run, UpzCudaSlot *s, int slot)
{
    const UpzCuda *cu = &run->home->cu;
    const UpzCudaLayout *l = &run->layout;
    UpzCudaPicture src;
    int status = take_source(run, s, slot, &src);
    TRY(status, cu->clear(run->arena + l->nan + (uint64_t)slot * sizeof(uint32_t), 0,
                          sizeof(uint32_t), run->home->stream));
    for (int ty = 0; ty < l->y.n; ty++)
        for (int tx = 0; tx < l->x.n; tx++) {
            TRY(status, load_tile(run, &src, tx, ty));
            if (tx == l->x.n - 1 && ty == l->y.n - 1 && s->task->src->memory == UPREZ_MEM_CUDA) {
                TRY(status, cu->event_record(s->loaded, run->home->stream));
                TRY(status, cu->stream_wait(s->task->src->stream, s->loaded, 0));
            }
            TRY(status, run_layers(run));
            if (l->x.n * l->y.n > 1) TRY(status, copy_tile(run, tx, ty));
        }
    for (int i = 0; i < run->passes.n; i++) {
        const UpzCudaGrid g = upz_resize_grid(&run->passes.pass[i]);
        TRY(status, launch(run, run->resize_function, &g, &run->passes.pass[i]));
    }
    TRY(status, give_result(run, s, slot));
    return status;
}

/* A picture in the GPU's memory that kernels can read and write. */
static int check_picture(const UpzCudaRun *run, const UprezPicture *p, UprezError *err)
{
    if (p->memory != UPREZ_MEM_CUDA) return 0;
    const unsigned bytes = p->format.depth == 32 ? 4 : p->format.depth > 8 ? 2 : 1;
    if (p->device != run->home->index)
        return upz_fail(err, UPREZ_ERR_USAGE, "the picture is in the memory of GPU %d, and GPU %d "
                        "computes", p->device, run->home->index);
    for (int i = 0; i < p->format.n_plane; i++)
        if (!p->plane[i] || (uintptr_t)p->plane[i] % bytes || p->stride[i] % (int)bytes)
            return upz_fail(err, UPREZ_ERR_USAGE, "plane %d of the CUDA picture does not begin at a "
                            "whole sample in every row", i);
    return 0;
}

int upz_cuda_run_submit(UpzCudaRun *run, UpzTask *task)
{
    const int slot = (int)(run->submitted % UPZ_CUDA_SLOTS);
    UpzCudaSlot *s = &run->slots[slot];
    if (!run->arena)
        return upz_fail(&task->err, UPREZ_ERR_BUG, "engine cuda was given a picture before a plan");
    if (s->task) return UPREZ_AGAIN;
    const UprezPicture *src = task->src, *dst = task->dst;
    if (src->width != run->shape.width || src->height != run->shape.height ||
        dst->width != run->dst_w || dst->height != run->dst_h ||
        src->memory != run->shape.src_memory || dst->memory != run->shape.dst_memory)
        return upz_fail(&task->err, UPREZ_ERR_BUG, "engine cuda is planned for %dx%d to %dx%d and "
                        "was given %dx%d to %dx%d, or pictures in other memory",
                        run->shape.width, run->shape.height, run->dst_w, run->dst_h, src->width,
                        src->height, dst->width, dst->height);
    int r = check_picture(run, src, &task->err);
    if (r >= 0) r = check_picture(run, dst, &task->err);
    if (r >= 0) r = upz_cuda_enter(run->home, &task->err);
    if (r < 0) return r;
    s->task = task;
    const int status = enqueue(run, s, slot);
    if (status) {
        finish_streams(run); /* of what was enqueued, nothing may be left in the slot */
        s->task = NULL;
        r = upz_cuda_fail(&run->home->cu, status, "enqueue the network", &task->err);
    } else {
        run->submitted++;
        task->priv = s;
    }
    upz_cuda_leave(run->home);
    return r;
}

/* 0, a failed call's number, or NOT_READY. */
static int wait_event(const UpzCuda *cu, void *event, int64_t timeout_ns)
{
    if (timeout_ns < 0) return cu->event_finish(event);
    const int64_t end = upz_now_ns() + UPZ_MIN(timeout_ns, INT64_MAX / 4);
    const struct timespec nap = {.tv_nsec = 50000};
    for (;;) {
        const int status = cu->event_query(event);
        if (status != UPZ_CUDA_NOT_READY || upz_now_ns() >= end) return status;
        nanosleep(&nap, NULL);
    }
}

int upz_cuda_run_wait(UpzCudaRun *run, UpzTask *task, int64_t timeout_ns)
{
    UpzCudaSlot *s = task->priv;
    task->result = 0;
    int r = upz_cuda_enter(run->home, &task->err);
    if (r >= 0) {
        const int status = wait_event(&run->home->cu, s->done, timeout_ns);
        if (status && status != UPZ_CUDA_NOT_READY)
            r = upz_cuda_fail(&run->home->cu, status, "finish the picture", &task->err);
        upz_cuda_leave(run->home);
        if (status == UPZ_CUDA_NOT_READY) return UPREZ_AGAIN;
    }
    if (r >= 0 && task->dst->memory == UPREZ_MEM_HOST)
        upz_staging_unpack(run->ctx, task->dst, s->host_out);
    if (r >= 0 && *s->nan)
        r = upz_fail(&task->err, UPREZ_ERR_VERIFY, "the network gave values that are not numbers; the "
                     "model file is damaged, not meant for such pictures, or leaves what half "
                     "precision holds: try --engine cpu");
    task->result = r < 0 ? r : 0;
    s->task = NULL;
    return 0;
}
