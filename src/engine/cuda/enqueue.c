/* Enqueueing pictures, whole or in parts. */
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/queue.h"
#include "engine/cuda/run.h"
#include "engine/cuda/staging.h"
#include "picture/difference.h"
#include "picture/format.h"

enum { CHROMA = 8 /* px around a window that stored chroma is made of, at most */, TRY_MOST_S = 10 };
#define NS INT64_C(1000000000) /* a second */

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

/* Layer i's launch, in a part of its maps; NULL: in all of them. */
static int launch_layer(const UpzCudaRun *run, int i, const UpzCudaPart *part, void *stream)
{
    const UpzCudaStep *s = &run->steps[i];
    if (!part) return upz_cuda_launch(run, s->function, &s->grid, &s->conv, stream);
    const UpzCudaLayer *l = &run->net.layers[i];
    const UpzCudaLayout *layout = &run->layout;
    const int *size = layout->size_of;
    UpzCudaConv c = s->conv;
    upz_cuda_part_map(layout, part, size[l->src.map], &c.src);
    if (l->dst.map >= 0) upz_cuda_part_map(layout, part, size[l->dst.map], &c.dst);
    if (l->dst8.map >= 0) upz_cuda_part_map(layout, part, size[l->dst8.map], &c.dst8);
    for (int k = 0; k < l->n_add; k++)
        upz_cuda_part_map(layout, part, size[l->add[k].map], &c.add[k]);
    if (l->base.map >= 0) upz_cuda_part_map(layout, part, size[l->base.map], &c.base);
    if (c.image.data) {
        const int64_t num = run->need.scale_num, den = run->need.scale_den;
        c.image.data += (uint64_t)(part->y * num / den) * c.image.row + (uint64_t)(part->x * num / den) * 2;
        c.image.width = (int)(part->w * num / den);
        c.image.height = (int)(part->h * num / den);
    }
    const UpzCudaGrid g = upz_cuda_conv_grid(run, s, &c);
    return upz_cuda_launch(run, s->function, &g, &c, stream);
}

static int measure_range(const UpzCudaRun *run, int i)
{
    const UpzCudaRange p = {.map = run->steps[i].conv.dst,
                            .range = run->range + run->ranges->at[i] * sizeof(float)};
    const UpzCudaGrid g = upz_range_grid(&p);
    return p.map.data ? upz_cuda_launch(run, run->range_function, &g, &p, run->home->stream) : 0;
}

static int run_layers(const UpzCudaRun *run, const UpzCudaPart *part)
{
    int status = 0;
    if (run->graph && !part && !run->range)
        return run->home->cu.graph_launch(run->graph, run->home->stream);
    for (int i = 0; i < run->net.n_layers && !status; i++) {
        if (!run->net.layers[i].load) status = launch_layer(run, i, part, run->home->stream);
        if (run->range) TRY(status, measure_range(run, i));
    }
    return status;
}

int upz_cuda_run_layers(const UpzCudaRun *run, void *stream)
{
    int status = 0;
    for (int i = 0; i < run->net.n_layers && !status; i++)
        if (!run->net.layers[i].load) status = launch_layer(run, i, NULL, stream);
    return status;
}

/* The picture from px (x, y) on into the network's input, or into a part of it. */
static int load(const UpzCudaRun *run, const UpzCudaPicture *src, int x, int y, const UpzCudaPart *part)
{
    int status = 0;
    for (int i = 0; i < run->net.n_layers && !status; i++) {
        const UpzCudaLayer *l = &run->net.layers[i];
        if (!l->load) continue;
        UpzCudaLoad p = run->load;
        p.src = *src;
        p.dst = run->steps[i].conv.dst;
        if (part) upz_cuda_part_map(&run->layout, part, run->layout.size_of[l->dst.map], &p.dst);
        p.unshuffle = l->factor;
        p.x0 = x;
        p.y0 = y;
        const UpzCudaGrid g = upz_load_grid(&p);
        status = upz_cuda_launch(run, run->load_function, &g, &p, run->home->stream);
    }
    return status;
}

/* The part of a tile that is its own goes into the whole result. */
static int copy_tile(const UpzCudaRun *run, int tx, int ty)
{
    const UpzCudaLayout *l = &run->layout;
    const UpzCudaImage from = upz_cuda_at(run, l->tile), to = upz_cuda_at(run, l->image);
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

/* Kernels wait for the source. Its stream does not wait for them: until `done`, which the host waits for,
 * nobody writes there, and what else is enqueued on that stream, a decoder's next picture above all, goes on. */
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

/* ---- from the network's result to the picture ---- */

static int resize(const UpzCudaRun *run, const UpzCudaWindow *windows)
{
    int status = 0;
    for (int i = 0; i < run->passes.n && !status; i++) {
        UpzCudaResize p = run->passes.pass[i];
        if (windows) p.window = windows[i];
        const UpzCudaGrid g = upz_resize_grid(&p);
        status = upz_cuda_launch(run, run->resize_function, &g, &p, run->home->stream);
    }
    return status;
}

static int store(const UpzCudaRun *run, const UpzCudaStore *whole, const UprezRect *part)
{
    UpzCudaStore p = *whole;
    if (part) p.window = (UpzCudaWindow){part->x, part->y, part->x + part->w, part->y + part->h};
    const UpzCudaGrid g = upz_store_grid(&p);
    return upz_cuda_launch(run, run->store_function, &g, &p, run->home->stream);
}

/* What of the network's result a rectangle of the picture is made of, and of the passes between. */
static UpzCudaWindow made_of(const UpzCudaRun *run, const UprezRect *r, UpzCudaWindow windows[2])
{
    const UpzCudaConvert *c = &run->store.convert;
    const int ax = c->x.sub ? CHROMA : 0, ay = c->y.sub ? CHROMA : 0;
    const UpzCudaWindow w = {UPZ_MAX(r->x - ax, 0), UPZ_MAX(r->y - ay, 0),
                             UPZ_MIN(r->x + r->w + ax, run->dst_w),
                             UPZ_MIN(r->y + r->h + ay, run->dst_h)};
    return upz_cuda_passes_window(&run->passes, w, windows);
}

static int begin_result(const UpzCudaRun *run, UpzCudaSlot *s, int slot, UpzCudaStore *to)
{
    const UpzCuda *cu = &run->home->cu;
    const UprezPicture *p = s->task->dst;
    const bool device = p->memory == UPREZ_MEM_CUDA;
    const UprezPicture there = device ? *p : staged(p, run->arena + run->layout.out[slot]);
    int status = 0;
    *to = run->store;
    to->dst = describe_picture(&there);
    to->nan = run->arena + run->layout.nan + (uint64_t)slot * sizeof(uint32_t);
    if (device) {
        TRY(status, cu->event_record(s->wanted, p->stream));
        TRY(status, cu->stream_wait(run->home->stream, s->wanted, 0));
    }
    TRY(status, cu->clear(to->nan, 0, sizeof(uint32_t), run->home->stream));
    return status;
}

/* Bytes from the GPU's copy of the result to the host's. */
static int download(const UpzCudaRun *run, const UpzCudaSlot *s, int slot)
{
    const UpzCuda *cu = &run->home->cu;
    const uint64_t at = run->arena + run->layout.out[slot];
    if (!s->task->n_todo) return cu->download(s->host_out, at, run->need.out, run->down);
    const UprezPicture from = staged(s->task->dst, at);
    UprezPicture to = staged(s->task->dst, 0);
    upz_staging_planes(&to, s->host_out);
    int status = 0;
    for (int i = 0; i < s->task->n_todo; i++)
        for (int k = 0; k < from.format.n_plane && !status; k++) {
            const UpzPiece piece = upz_picture_piece(&from, k, &s->task->todo[i]);
            const UpzCudaCopy c = {.src_memory = UPZ_CUDA_DEVICE, .dst_memory = UPZ_CUDA_HOST,
                                   .src_device = (uint64_t)(uintptr_t)from.plane[k],
                                   .dst_host = to.plane[k], .src_pitch = (size_t)from.stride[k],
                                   .dst_pitch = (size_t)to.stride[k], .src_x = piece.byte,
                                   .dst_x = piece.byte, .src_y = (size_t)piece.row,
                                   .dst_y = (size_t)piece.row, .width_bytes = piece.bytes,
                                   .height = (size_t)piece.rows};
            status = cu->copy_rows(&c, run->down);
        }
    return status;
}

static int give_result(const UpzCudaRun *run, UpzCudaSlot *s, int slot, uint64_t nan)
{
    const UpzCuda *cu = &run->home->cu;
    const UprezPicture *p = s->task->dst;
    int status = 0;
    TRY(status, cu->event_record(s->stored, run->home->stream));
    TRY(status, cu->stream_wait(run->down, s->stored, 0));
    if (p->memory != UPREZ_MEM_CUDA) TRY(status, download(run, s, slot));
    TRY(status, cu->download(s->nan, nan, sizeof(uint32_t), run->down));
    TRY(status, cu->event_record(s->done, run->down));
    return status;
}

/* ---- one picture ---- */

/* Whether a tile makes something of what is wanted. */
static bool wanted(const UpzCudaRun *run, const UpzTask *task, int tx, int ty)
{
    const UpzCudaCut *x = &run->layout.x, *y = &run->layout.y;
    const int64_t num = run->need.scale_num, den = run->need.scale_den;
    UpzCudaWindow windows[2];
    for (int i = 0; i < task->n_todo; i++) {
        const UpzCudaWindow w = made_of(run, &task->todo[i], windows);
        if (w.x0 < (tx + 1) * x->step * num / den && w.x1 > tx * x->step * num / den &&
            w.y0 < (ty + 1) * y->step * num / den && w.y1 > ty * y->step * num / den)
            return true;
    }
    return !task->n_todo;
}

/* All tiles, or those that are wanted; then what is wanted of the picture. */
static int enqueue_tiles(UpzCudaRun *run, UpzCudaSlot *s, const UpzCudaPicture *src,
                         const UpzCudaStore *to)
{
    const UpzCudaLayout *l = &run->layout;
    int status = 0;
    for (int ty = 0; ty < l->y.n; ty++)
        for (int tx = 0; tx < l->x.n; tx++) {
            if (!wanted(run, s->task, tx, ty)) continue;
            TRY(status, load(run, src, upz_cuda_tile_at(&l->x, tx), upz_cuda_tile_at(&l->y, ty), NULL));
            TRY(status, run_layers(run, NULL));
            if (l->x.n * l->y.n > 1) TRY(status, copy_tile(run, tx, ty));
        }
    TRY(status, resize(run, NULL));
    if (!s->task->n_todo) TRY(status, store(run, to, NULL));
    for (int i = 0; i < s->task->n_todo; i++) TRY(status, store(run, to, &s->task->todo[i]));
    return status;
}

/* Each rectangle by itself: with its surroundings it is a small picture inside the maps. */
static int enqueue_parts(UpzCudaRun *run, UpzCudaSlot *s, const UpzCudaPicture *src,
                         const UpzCudaStore *to)
{
    int status = 0;
    for (int i = 0; i < s->task->n_todo; i++) {
        UpzCudaWindow windows[2];
        const UpzCudaPart part =
            upz_cuda_part(&run->layout, &run->need, made_of(run, &s->task->todo[i], windows));
        for (int k = 0; k < run->layout.n_sizes && !status; k++) {
            UpzCudaMap frame = upz_cuda_all_chunks(&run->layout, k, run->arena);
            upz_cuda_part_map(&run->layout, &part, k, &frame);
            const UpzCudaGrid g = upz_frame_grid(&frame);
            status = upz_cuda_launch(run, run->frame_function, &g, &frame, run->home->stream);
        }
        TRY(status, load(run, src, part.x, part.y, &part));
        TRY(status, run_layers(run, &part));
        TRY(status, resize(run, windows));
        TRY(status, store(run, to, &s->task->todo[i]));
    }
    return status;
}

static int enqueue(UpzCudaRun *run, UpzCudaSlot *s, int slot)
{
    UpzCudaPicture src;
    UpzCudaStore to;
    const bool tiles = run->layout.x.n * run->layout.y.n > 1 || !s->task->n_todo;
    int status = take_source(run, s, slot, &src);
    TRY(status, begin_result(run, s, slot, &to));
    TRY(status, tiles ? enqueue_tiles(run, s, &src, &to) : enqueue_parts(run, s, &src, &to));
    TRY(status, give_result(run, s, slot, to.nan));
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
    if (p->stream == UPZ_CUDA_STREAM_OF_THREAD)
        return upz_fail(err, UPREZ_ERR_USAGE, "the picture's stream is the one that each thread has its "
                        "own of; name a stream, or NULL");
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
        upz_cuda_finish_streams(run); /* of what was enqueued, nothing may be left in the slot */
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
        upz_staging_unpack(run->ctx, task->dst, s->host_out, task->todo, task->n_todo);
    if (r >= 0 && *s->nan)
        r = upz_fail(&task->err, UPREZ_ERR_VERIFY, "the network gave values that are not numbers, or "
                     "infinite ones; the model file is damaged, not meant for such pictures, or leaves "
                     "what half precision holds: try --engine cpu");
    task->result = r < 0 ? r : 0;
    s->task = NULL;
    return 0;
}

int upz_cuda_run_try(UpzCudaRun *run, UpzTask *task, const char *what, UprezError *err)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    int64_t waited = 0; /* only what is slept: where the driver is an emulation, it computes when it is asked */
    int r = upz_cuda_run_submit(run, task);
    while (r >= 0 && upz_cuda_run_wait(run, task, 0) == UPREZ_AGAIN && waited < TRY_MOST_S * NS) {
        const int64_t begin = upz_now_ns();
        nanosleep(&nap, NULL);
        waited += upz_now_ns() - begin;
    }
    if (r >= 0 && waited >= TRY_MOST_S * NS) {
        atomic_store(&run->home->lost, true);
        return upz_fail(err, UPREZ_ERR_DEVICE, "%s on GPU %d did not end within %d s, so a kernel hangs "
                        "there; give -d cpu, and please report it", what, run->home->index, TRY_MOST_S);
    }
    if (r >= 0) r = task->result;
    return r < 0 ? upz_fail(err, r, "%s", task->err.text) : 0;
}

/* ---- two pictures ---- */

/* Alignment that all of these have, of 16, 4 and 1. */
static int common_unit(uint64_t all) { return all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : 1; }

static void describe_compare(const UpzCudaRun *run, const UprezPicture *a, const UprezPicture *b,
                             UpzCudaCompare *c)
{
    const UprezFormat *f = &a->format;
    *c = (UpzCudaCompare){.planes = f->n_plane, .across = upz_cells(a->width, UPZ_COMPARE_CELL),
                          .changed = run->arena + run->layout.cells};
    for (int i = 0; i < f->n_plane; i++) {
        c->a[i] = (uint64_t)(uintptr_t)a->plane[i];
        c->b[i] = (uint64_t)(uintptr_t)b->plane[i];
        c->stride_a[i] = a->stride[i];
        c->stride_b[i] = b->stride[i];
        c->bytes[i] = (int)upz_plane_row_bytes(f, i, a->width);
        c->rows[i] = upz_plane_height(f, i, a->height);
        c->cell_bytes[i] = (int)upz_plane_row_bytes(f, i, UPZ_COMPARE_CELL);
        c->cell_rows[i] = upz_plane_height(f, i, UPZ_COMPARE_CELL);
        c->unit[i] = common_unit(c->a[i] | c->b[i] | (uint64_t)c->stride_a[i] |
                                 (uint64_t)c->stride_b[i] | (uint64_t)c->cell_bytes[i]);
    }
}

int upz_cuda_run_compare(UpzCudaRun *run, const UprezPicture *a, const UprezPicture *b, int cell,
                         uint8_t *changed, UprezError *err)
{
    const UpzCuda *cu = &run->home->cu;
    const int w = a->width, h = a->height, per = UPZ_MIN(cell, UPREZ_SIDE_MAX) / UPZ_COMPARE_CELL;
    const int nx = upz_cells(w, UPZ_COMPARE_CELL), ny = upz_cells(h, UPZ_COMPARE_CELL);
    const int across = upz_cells(w, cell);
    if (!run->arena || !run->need.cells || w != run->shape.width || h != run->shape.height)
        return upz_fail(err, UPREZ_ERR_BUG, "engine cuda has no plan for comparing pictures of %dx%d", w, h);
    UpzCudaCompare c;
    describe_compare(run, a, b, &c);
    const UpzCudaGrid g = upz_compare_grid(&c);
    void *args[] = {&c};
    int r = upz_cuda_enter(run->home, err), status = 0;
    if (r < 0) return r;
    for (int i = 0; i < 2; i++) {
        TRY(status, cu->event_record(run->seen, (i ? b : a)->stream));
        TRY(status, cu->stream_wait(run->side, run->seen, 0));
    }
    TRY(status, cu->clear(c.changed, 0, run->need.cells * sizeof(uint32_t), run->side));
    TRY(status, cu->launch(run->functions[run->compare_function].function, g.x, 1, 1, g.threads, 1, 1,
                           g.shared, run->side, args, NULL));
    TRY(status, cu->download(run->cells, c.changed, run->need.cells * sizeof(uint32_t), run->side));
    TRY(status, cu->event_record(run->seen, run->side));
    TRY(status, cu->event_finish(run->seen));
    if (status) r = upz_cuda_fail(cu, status, "compare pictures", err);
    upz_cuda_leave(run->home);
    memset(changed, 0, (size_t)across * (size_t)upz_cells(h, cell));
    for (int y = 0; y < ny && r >= 0; y++)
        for (int x = 0; x < nx; x++) changed[y / per * across + x / per] |= run->cells[y * nx + x] != 0;
    return r;
}

/* One piece of plane k; where rows go upwards, row by row. */
static int copy_piece(const UpzCuda *cu, const UprezPicture *from, const UprezPicture *to, int k,
                      const UpzPiece *piece)
{
    const ptrdiff_t a = from->stride[k], b = to->stride[k];
    const int rows = a < 0 || b < 0 ? 1 : piece->rows;
    int status = 0;
    for (int y = piece->row; y < piece->row + piece->rows && !status; y += rows) {
        const UpzCudaCopy c = {.src_memory = UPZ_CUDA_DEVICE, .dst_memory = UPZ_CUDA_DEVICE,
                               .src_device = (uint64_t)((intptr_t)from->plane[k] + a * y),
                               .dst_device = (uint64_t)((intptr_t)to->plane[k] + b * y),
                               .src_pitch = (size_t)(a < 0 ? -a : a), .dst_pitch = (size_t)(b < 0 ? -b : b),
                               .src_x = piece->byte, .dst_x = piece->byte, .width_bytes = piece->bytes,
                               .height = (size_t)rows};
        status = cu->copy_rows(&c, to->stream);
    }
    return status;
}

int upz_cuda_run_copy(UpzCudaRun *run, const UprezPicture *from, UprezPicture *to,
                      const UprezRect *rects, int n, UprezError *err)
{
    const UpzCuda *cu = &run->home->cu;
    const bool other = from->stream != to->stream;
    int r = upz_cuda_enter(run->home, err), status = 0;
    if (r < 0) return r;
    if (other) {
        TRY(status, cu->event_record(run->seen, from->stream));
        TRY(status, cu->stream_wait(to->stream, run->seen, 0));
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < to->format.n_plane; k++) {
            const UpzPiece piece = upz_picture_piece(to, k, &rects[i]);
            TRY(status, copy_piece(cu, from, to, k, &piece));
        }
    if (other) {
        TRY(status, cu->event_record(run->seen, to->stream));
        TRY(status, cu->stream_wait(from->stream, run->seen, 0));
    }
    upz_cuda_leave(run->home);
    return status ? upz_cuda_fail(cu, status, "copy a part of a picture", err) : 0;
}
