/* Setting up a network's launches, and enqueueing pictures. */
#include "engine/cuda/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/integer.h"
#include "engine/cuda/staging.h"
#include "picture/format.h"

#define RESERVE ((size_t)192 << 20) /* bytes of GPU memory left to others, at most */
#define KERNELS_MOST ((size_t)256 << 20) /* bytes of a file of kernels */

bool upz_cuda_asked(const char *word)
{
    const char *all = getenv("UPREZ_CUDA_DEBUG");
    return all && strstr(all, word);
}

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

int upz_cuda_launch(const UpzCudaRun *run, int function, const UpzCudaGrid *g, const void *params,
                    void *stream)
{
    const UpzCuda *cu = &run->home->cu;
    void *args[] = {(void *)(uintptr_t)params};
    void *f = run->functions[function].function;
    if (run->overlap) {
        UpzCudaLaunchAttribute overlap = {.id = UPZ_CUDA_LAUNCH_OVERLAP, .value = {.number = 1}};
        UpzCudaLaunch l = {.grid = {g->x, g->y, 1}, .block = {g->threads, 1, 1}, .shared = g->shared,
                           .stream = stream, .attributes = &overlap, .n_attributes = 1};
        return cu->launch_ex(&l, f, args, NULL);
    }
    return cu->launch(f, g->x, g->y, 1, g->threads, 1, 1, g->shared, stream, args, NULL);
}

int upz_cuda_upload(const UpzCudaRun *run, uint64_t to, const void *from, size_t bytes)
{
    const UpzCuda *cu = &run->home->cu;
    /* On the kernels' own stream, which does not wait for the default one: a copy from pageable memory may
     * still be on its way when even the call that is said to wait has returned. */
    int status = cu->upload(to, from, bytes, run->home->stream);
    TRY(status, cu->stream_finish(run->home->stream)); /* and `from` is the caller's again */
    return status;
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
    c->dst8.data = l->dst8.map >= 0;
    c->eight = l->eight || l->dst8.map >= 0 ? run->eight : UPZ_EIGHT_NONE;
    for (int k = 0; k < l->n_add; k++) c->add[k].data = 1;
    c->base.data = l->base.map >= 0;
}

/* Constants in the order the chosen kernels want, on the GPU. */
static int upload_constants(UpzCudaRun *run, const UpzRanges *ranges, UprezError *err)
{
    const size_t n = (size_t)run->net.n_layers;
    UpzCudaPacked packed;
    bool *pair = upz_calloc(n, sizeof(*pair));
    if (!pair) return upz_fail_memory(err, n, "the network's layers");
    for (size_t i = 0; i < n; i++) pair[i] = run->steps[i].conv.pair != 0;
    int r = upz_cuda_pack(&packed, &run->net, pair, run->eight, ranges, run->ctx->cpu, err);
    upz_free(pair);
    if (r < 0) return r;
    const UpzCuda *cu = &run->home->cu;
    int status = cu->alloc(&run->constants, packed.bytes);
    if (status) run->constants = 0;
    if (status == UPZ_CUDA_OUT_OF_MEMORY)
        r = upz_fail(err, UPREZ_ERR_MEMORY, "the network's weights need %zu KiB of GPU memory, and so "
                     "much is not free", packed.bytes >> 10);
    TRY(status, upz_cuda_upload(run, run->constants, packed.data, packed.bytes));
    run->constant_bytes = packed.bytes;
    for (size_t i = 0; i < n && !status; i++) {
        UpzCudaConv *c = &run->steps[i].conv;
        const UpzCudaConstants *k = &packed.layers[i];
        if (run->net.layers[i].load) continue;
        c->weights = run->constants + k->weights;
        c->bias = run->constants + k->bias;
        c->slope = k->slope == SIZE_MAX ? 0 : run->constants + k->slope;
        c->scale = k->scale == SIZE_MAX ? 0 : run->constants + k->scale;
        c->inverse = k->inverse == SIZE_MAX ? 0 : run->constants + k->inverse;
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
    run->compare_function = find_function(run, "compare_pictures", err);
    if (run->compare_function < 0) return run->compare_function;
    run->frame_function = find_function(run, "clear_frame", err);
    if (run->frame_function < 0) return run->frame_function;
    run->range_function = find_function(run, "range_map", err);
    if (run->range_function < 0) return run->range_function;
    run->hopper = run->home->capability == 90 && has_function(run, "conv_ring") &&
                  has_function(run, "conv_stream");
    run->overlap = run->hopper && run->home->cu.launch_ex && !upz_cuda_asked("no-overlap");
    run->blocks = run->home->multiprocessors;
    for (int i = 0; i < run->net.n_layers; i++) {
        UpzCudaStep *s = &run->steps[i];
        if (run->net.layers[i].load) continue;
        describe(run, &run->net.layers[i], &s->conv);
        s->hopper = run->hopper && upz_conv_hopper_can(&s->conv, run->net.layers[i].eight);
        s->conv.pair = s->hopper && upz_conv_stream_pairs(&s->conv);
        s->function = find_function(run, s->hopper ? upz_conv_hopper_name(&s->conv)
                                                   : upz_conv_mma_name(&s->conv, run->net.layers[i].eight),
                                    err);
        if (s->function < 0) return s->function;
        const UpzCuda *cu = &run->home->cu;
        if (!run->target && (!cu->function_get ||
                             cu->function_get(&run->target, UPZ_CUDA_FUNCTION_TARGET,
                                              run->functions[s->function].function)))
            run->target = run->home->capability;
    }
    return 0;
}

/* A driver's status. r: when other kernels are asked for, whether they could be read. */
static int load_module(UpzCudaRun *run, const void *image, int *r, UprezError *err)
{
    const char *path = getenv("UPREZ_CUDA_KERNELS");
    if (!path || !*path) return run->home->cu.module_load(&run->module, image);
    UpzMap other;
    *r = upz_map_open(&other, path, KERNELS_MOST, UPREZ_ERR_DEVICE, err);
    if (*r < 0) return 0;
    const int status = run->home->cu.module_load(&run->module, other.data);
    upz_map_close(&other);
    return status;
}

int upz_cuda_run_open(UpzCudaRun *run, UpzCudaHome *home, UprezContext *ctx, const UprezModel *model,
                      const void *image, int eight, const UpzRanges *ranges, UprezError *err)
{
    *run = (UpzCudaRun){.home = home, .ctx = ctx, .facts = &model->facts, .eight = eight};
    int r = upz_cuda_net_build(&run->net, &model->graph, eight != UPZ_EIGHT_NONE, err);
    if (r < 0) return r;
    run->steps = upz_calloc((size_t)run->net.n_layers, sizeof(*run->steps));
    if (!run->steps)
        return upz_fail_memory(err, (size_t)run->net.n_layers * sizeof(*run->steps), "the layers");
    r = upz_cuda_enter(home, err);
    if (r < 0) return r;
    const UpzCuda *cu = &home->cu;
    int status = load_module(run, image, &r, err);
    if (status) {
        run->module = NULL;
        r = upz_cuda_fail(cu, status, "load the kernels", err);
    }
    if (r >= 0) r = choose_kernels(run, err);
    if (r >= 0) r = upload_constants(run, ranges, err);
    if (r >= 0) {
        TRY(status, cu->stream_create(&run->up, UPZ_CUDA_STREAM_NON_BLOCKING));
        TRY(status, cu->stream_create(&run->down, UPZ_CUDA_STREAM_NON_BLOCKING));
        /* comparisons are waited for: before the next layer's blocks, where the driver knows how */
        if (!cu->stream_create_urgent ||
            cu->stream_create_urgent(&run->side, UPZ_CUDA_STREAM_NON_BLOCKING, UPZ_CUDA_URGENT))
            TRY(status, cu->stream_create(&run->side, UPZ_CUDA_STREAM_NON_BLOCKING));
        TRY(status, cu->event_create(&run->seen, UPZ_CUDA_EVENT_NO_TIMING | UPZ_CUDA_EVENT_BLOCKING));
        for (int i = 0; i < UPZ_CUDA_SLOTS; i++) {
            UpzCudaSlot *s = &run->slots[i];
            const unsigned quick = UPZ_CUDA_EVENT_NO_TIMING;
            TRY(status, cu->event_create(&s->ready, quick));
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

void upz_cuda_finish_streams(const UpzCudaRun *run)
{
    const UpzCuda *cu = &run->home->cu;
    if (run->up) cu->stream_finish(run->up);
    cu->stream_finish(run->home->stream);
    if (run->down) cu->stream_finish(run->down);
    if (run->side) cu->stream_finish(run->side);
}

/* The context is current. */
static void unplan(UpzCudaRun *run)
{
    const UpzCuda *cu = &run->home->cu;
    if (run->arena || run->pinned) upz_cuda_finish_streams(run);
    if (run->graph) cu->graph_release(run->graph);
    run->graph = NULL;
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
            void *events[] = {s->ready, s->wanted, s->stored, s->done};
            for (int k = 0; k < UPZ_COUNT(events); k++)
                if (events[k]) cu->event_destroy(events[k]);
        }
        if (run->up) cu->stream_destroy(run->up);
        if (run->down) cu->stream_destroy(run->down);
        if (run->side) cu->stream_destroy(run->side);
        if (run->seen) cu->event_destroy(run->seen);
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
    if (run->shape.dst_memory == UPREZ_MEM_CUDA) { /* results lie there too: in flight, the caller's, and the one before */
        const size_t result = upz_staging_bytes(&run->shape.dst, run->dst_w, run->dst_h);
        free_bytes -= UPZ_MIN(free_bytes, (UPZ_CUDA_SLOTS + 2) * result);
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
    const size_t cells = run->need.cells * sizeof(*run->cells);
    int status = cu->host_alloc(&pinned, each * UPZ_CUDA_SLOTS + cells, 0);
    if (status == UPZ_CUDA_OUT_OF_MEMORY)
        return upz_fail_memory(err, each * UPZ_CUDA_SLOTS + cells, "pictures on their way to the GPU");
    if (status) return upz_cuda_fail(cu, status, "get memory for copies", err);
    run->pinned = pinned;
    run->cells = (uint32_t *)(void *)(run->pinned + each * UPZ_CUDA_SLOTS);
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

UpzCudaImage upz_cuda_at(const UpzCudaRun *run, UpzCudaImage image)
{
    image.data += run->arena;
    return image;
}

UpzCudaGrid upz_cuda_conv_grid(const UpzCudaRun *run, const UpzCudaStep *s, UpzCudaConv *c)
{
    return s->hopper ? upz_conv_hopper_grid(c, run->blocks)
                     : upz_conv_mma_grid(c, run->blocks, run->home->capability);
}

static int place_steps(UpzCudaRun *run, UprezError *err)
{
    for (int i = 0; i < run->net.n_layers; i++) {
        const UpzCudaLayer *l = &run->net.layers[i];
        UpzCudaStep *s = &run->steps[i];
        UpzCudaConv *c = &s->conv;
        c->dst = upz_cuda_map(&run->layout, &l->dst, run->arena);
        c->dst8 = upz_cuda_map(&run->layout, &l->dst8, run->arena);
        if (l->load) continue;
        c->src = upz_cuda_map(&run->layout, &l->src, run->arena);
        for (int k = 0; k < 2; k++) c->add[k] = upz_cuda_map(&run->layout, &l->add[k], run->arena);
        c->base = upz_cuda_map(&run->layout, &l->base, run->arena);
        c->image = l->dst.map < 0 && l->dst8.map < 0 ? upz_cuda_at(run, run->layout.tile) : (UpzCudaImage){0};
        s->grid = upz_cuda_conv_grid(run, s, c);
        int r = allow_shared(run, s->function, s->grid.shared, err);
        if (r < 0) return r;
    }
    return 0;
}

/* The network's result, as much of it as is picture. */
static UpzCudaImage result_image(const UpzCudaRun *run)
{
    UpzCudaImage m = upz_cuda_at(run, run->layout.image);
    m.width = (int)((int64_t)run->shape.width * run->need.scale_num / run->need.scale_den);
    m.height = (int)((int64_t)run->shape.height * run->need.scale_num / run->need.scale_den);
    return m;
}

static int capture(UpzCudaRun *run, void **exec)
{
    const UpzCuda *cu = &run->home->cu;
    void *graph = NULL;
    /* a stream that nobody else knows: pictures of ours are let go of in the order of theirs at any time */
    int status = cu->capture_begin(run->up, UPZ_CUDA_CAPTURE_THREAD);
    if (status) return status;
    status = upz_cuda_run_layers(run, run->up);
    const int end = cu->capture_end(run->up, &graph);
    TRY(status, end);
    TRY(status, cu->graph_make(exec, graph, 0));
    if (!end && graph) cu->graph_forget(graph);
    return status;
}

/* The layers' launches are the same for every picture: one call of the driver for all of them. Without, they
 * are launched one by one, so nothing here is an error. */
static void record_graph(UpzCudaRun *run)
{
    const UpzCuda *cu = &run->home->cu;
    const bool overlap = run->overlap;
    void *exec = NULL;
    if (upz_cuda_asked("no-graph") || !cu->capture_begin || !cu->capture_end || !cu->graph_make || !cu->graph_launch ||
        !cu->graph_release || !cu->graph_forget)
        return;
    int status = capture(run, &exec);
    if (status && overlap) { /* some drivers capture launches without that only */
        run->overlap = false;
        status = capture(run, &exec);
    }
    if (status) upz_debug(run->ctx, "engine cuda: launches one by one, a CUDA graph fails (%d)", status);
    else if (run->overlap != overlap) upz_debug(run->ctx, "engine cuda: a CUDA graph, without overlap");
    run->overlap = overlap;
    run->graph = status ? NULL : exec;
}

static int place_passes(UpzCudaRun *run, UprezError *err)
{
    const UpzCudaImage image = result_image(run);
    const UpzCuda *cu = &run->home->cu;
    const uint64_t dst[2] = {run->arena + run->layout.passes[0], run->arena + run->layout.passes[1]};
    if (!run->passes.n) return 0;
    upz_cuda_passes_place(&run->passes, &image, dst, run->arena + run->layout.tables);
    int status = upz_cuda_upload(run, run->arena + run->layout.tables, run->passes.tables,
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
    run->load_spread[0] = upz_load_spread(&load.x);
    run->load_spread[1] = upz_load_spread(&load.y);
    run->store_spread[0] = upz_store_spread(&store.x);
    run->store_spread[1] = upz_store_spread(&store.y);
    return 0;
}

static int source_unit(const UprezModelFacts *f)
{
    return upz_lcm(UPZ_MAX(f->align, 1), f->scale_den);
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
    else
        run->need.cells = (size_t)upz_grid_up(shape->width, UPZ_COMPARE_CELL) *
                          (size_t)upz_grid_up(shape->height, UPZ_COMPARE_CELL);
    if (shape->dst_memory == UPREZ_MEM_HOST)
        run->need.out = upz_staging_bytes(&shape->dst, run->dst_w, run->dst_h);
    r = upz_cuda_enter(run->home, err);
    if (r < 0) return r;
    r = get_memory(run, mem_limit, err);
    if (r >= 0) r = place_steps(run, err);
    if (r >= 0) r = place_passes(run, err);
    if (r >= 0) r = convert_steps(run, err);
    if (r >= 0) record_graph(run);
    if (r < 0) unplan(run);
    upz_cuda_leave(run->home);
    return r;
}

size_t upz_cuda_run_bytes(const UpzCudaRun *run)
{
    return run->constant_bytes + (run->arena ? run->layout.bytes : 0);
}
