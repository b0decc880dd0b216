/* The network alone on a GPU, by engine cuda's own functions: what the pictures' ways to it and from it do not
 * tell. Needs the driver.
 *
 *   network rate  MODEL WxH [N]       pictures a second of the layers' graph, launched N times between two
 *                                     events; then each layer by itself, N times; a JSON line each
 *   network tiles MODEL FORMAT WxH    the picture as a whole and in tiles, in less memory: the bytes must be the
 *                                     same; one JSON line. Exit 1 when they are not. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/cuda/kernels/fatbin.h"
#include "engine/cuda/run.h"
#include "gpu_launch.h"
#include "model/model.h"
#include "picture/format.h"
#include "uprez/uprez.h"

extern const UpzEngineOps upz_engine_cuda;

enum { ROUNDS = 5 };

typedef struct Network {
    UprezContext *ctx;
    UprezModel *model;
    UpzCudaHome *home;
    UpzCudaRun run;
    GpuDriver driver;
    GpuLauncher go;
} Network;

static int fail(const UprezError *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(err->code < 0 && err->code > -9 ? -err->code : 1);
}

static void must(int r, const char *what)
{
    if (!r) return;
    fprintf(stderr, "%s: the driver says %d\n", what, r);
    exit(5);
}

static void load(Network *n, const char *path)
{
    UprezError err;
    const UprezContextParams cp = {.size = sizeof(cp)};
    const UprezModelParams mp = {.size = sizeof(mp)};
    if (uprez_context_create(&n->ctx, &cp, &err) < 0) fail(&err);
    if (uprez_model_load(&n->model, n->ctx, path, &mp, &err) < 0) fail(&err);
}

static UpzShape shape_of(const char *format, int w, int h, int memory)
{
    UprezFormat f;
    UprezColor c = {.matrix = 1, .primaries = 1, .transfer = 1, .range = UPREZ_RANGE_LIMITED};
    if (uprez_format_from_name(&f, format) < 0) {
        fprintf(stderr, "%s is no format\n", format);
        exit(2);
    }
    upz_color_resolve(&c, &f, w, h);
    return (UpzShape){w, h, f, f, memory, memory, c, c};
}

/* ---- rate ---- */

typedef int Enqueue(const UpzCudaRun *run, int layer, void *stream);

static int all_layers(const UpzCudaRun *run, int layer, void *stream)
{
    (void)layer;
    return run->graph ? run->home->cu.graph_launch(run->graph, stream) : upz_cuda_run_layers(run, stream);
}

static int one_layer(const UpzCudaRun *run, int layer, void *stream)
{
    const UpzCudaStep *s = &run->steps[layer];
    return upz_cuda_launch(run, s->function, &s->grid, &s->conv, stream);
}

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Milliseconds of one, the median of some rounds. */
static double take(Network *n, Enqueue *enqueue, int layer, int times)
{
    void *begin, *end;
    float ms[ROUNDS];
    must(n->go.event(&begin, 0), "make an event");
    must(n->go.event(&end, 0), "make an event");
    must(enqueue(&n->run, layer, n->home->stream), "launch");
    for (int r = 0; r < ROUNDS; r++) {
        must(n->go.record(begin, n->home->stream), "record an event");
        for (int i = 0; i < times; i++) must(enqueue(&n->run, layer, n->home->stream), "launch");
        must(n->go.record(end, n->home->stream), "record an event");
        must(n->home->cu.event_finish(end), "wait");
        must(n->go.elapsed(&ms[r], begin, end), "take the time");
    }
    n->home->cu.event_destroy(begin);
    n->home->cu.event_destroy(end);
    qsort(ms, ROUNDS, sizeof(*ms), by_size);
    return (double)ms[ROUNDS / 2] / times;
}

static int rate(Network *n, const char *model, int w, int h, int times)
{
    UprezError err;
    const UpzDevice device = {.kind = "cuda"};
    const UpzShape shape = shape_of("nv12", w, h, UPREZ_MEM_CUDA);
    if (upz_cuda_home_open(&n->home, &device, NULL, &err) < 0) fail(&err);
    if (upz_cuda_run_open(&n->run, n->home, n->ctx, n->model, upz_cuda_fatbin, UPZ_EIGHT_NONE, NULL, &err) < 0)
        fail(&err);
    if (upz_cuda_run_plan(&n->run, &shape, 0, &err) < 0) fail(&err);
    if (upz_cuda_enter(n->home, &err) < 0) fail(&err);
    const UpzCudaRun *run = &n->run;
    const double all = take(n, all_layers, 0, times);
    const double flop = 2.0 * (double)uprez_model_facts(n->model)->macs * w * h;
    printf("{\"network\": \"%s\", \"width\": %d, \"height\": %d, \"tiles\": %d, \"graph\": %s, \"beside\": %s, "
           "\"ms\": %.4f, \"fps\": %.2f, \"tflops\": %.1f}\n", model, w, h, run->layout.x.n * run->layout.y.n,
           run->graph ? "true" : "false", run->overlap ? "true" : "false", all,
           1e3 / (all * run->layout.x.n * run->layout.y.n), flop / all * 1e-9);
    fflush(stdout);
    for (int i = 0; i < run->net.n_layers; i++) {
        if (run->net.layers[i].load) continue;
        const UpzCudaStep *s = &run->steps[i];
        printf("{\"layer\": %d, \"kernel\": \"%s\", \"in\": %d, \"out\": %d, \"blocks\": %u, \"us\": %.2f}\n", i,
               run->functions[s->function].name, 8 * s->conv.src.chunks, s->conv.out, s->grid.x * s->grid.y,
               1e3 * take(n, one_layer, i, times));
        fflush(stdout);
    }
    upz_cuda_leave(n->home);
    upz_cuda_run_close(&n->run);
    upz_cuda_home_close(&n->home);
    return 0;
}

/* ---- tiles ---- */

static UprezPicture *blank(const UprezFormat *f, int w, int h)
{
    UprezError err;
    UprezPicture *p;
    if (uprez_picture_alloc(&p, f, w, h, &err) < 0) fail(&err);
    for (int i = 0; i < f->n_plane; i++) {
        uint32_t seed = 77u + (uint32_t)i;
        for (int y = 0; y < upz_plane_height(f, i, h); y++)
            for (size_t x = 0; x < upz_plane_row_bytes(f, i, w); x++) {
                seed = seed * 1664525u + 1013904223u;
                ((uint8_t *)p->plane[i])[y * p->stride[i] + (ptrdiff_t)x] =
                    (uint8_t)(60 + (x * 3 + (size_t)y * 5) % 120 + (seed >> 28));
            }
    }
    return p;
}

static void run_in(UpzEngine *e, const UpzShape *s, size_t limit, UprezPicture *src, UprezPicture *dst, UpzPlan *plan)
{
    UprezError err;
    UpzTask t = {.src = src, .dst = dst};
    if (upz_engine_cuda.plan(e, s, limit, plan, &err) < 0) fail(&err);
    src->color = s->src_color;
    dst->color = s->dst_color;
    if (upz_engine_cuda.submit(e, &t) < 0) fail(&t.err);
    upz_engine_cuda.wait(e, &t, -1);
    if (t.result < 0) fail(&t.err);
}

static int tiles(Network *n, const char *model, const char *format, int w, int h)
{
    UprezError err;
    UpzEngine *e;
    UpzPlan plan, less;
    const UpzDevice device = {.kind = "cuda"};
    const UpzEngineParams params = {0};
    const UpzShape shape = shape_of(format, w, h, UPREZ_MEM_HOST);
    const UprezModelFacts *f = uprez_model_facts(n->model);
    const int ow = w * f->scale_num / f->scale_den, oh = h * f->scale_num / f->scale_den;
    UprezPicture *src = blank(&shape.src, w, h), *whole = blank(&shape.dst, ow, oh), *cut = blank(&shape.dst, ow, oh);
    if (upz_engine_cuda.open(&e, n->ctx, n->model, &device, &params, &err) < 0) fail(&err);
    run_in(e, &shape, 0, src, whole, &plan);
    run_in(e, &shape, plan.need - 1, src, cut, &less);
    size_t wrong = 0;
    for (int i = 0; i < shape.dst.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&shape.dst, i, oh); y++)
            wrong += memcmp((uint8_t *)whole->plane[i] + y * whole->stride[i],
                            (uint8_t *)cut->plane[i] + y * cut->stride[i],
                            upz_plane_row_bytes(&shape.dst, i, ow)) != 0;
    const int ok = !wrong && less.need < plan.need;
    printf("{\"tiles\": \"%s\", \"model\": \"%s\", \"width\": %d, \"height\": %d, \"bytes\": %zu, \"bytes_in_tiles\": %zu, "
           "\"rows_that_differ\": %zu}\n", ok ? "ok" : "FAILED", model, w, h, plan.need, less.need, wrong);
    upz_engine_cuda.close(&e);
    uprez_picture_unref(&src);
    uprez_picture_unref(&whole);
    uprez_picture_unref(&cut);
    return !ok;
}

int main(int argc, char **argv)
{
    static Network n;
    int w, h, r;
    const char *verb = argc > 1 ? argv[1] : "";
    const int in_tiles = !strcmp(verb, "tiles");
    if ((strcmp(verb, "rate") && !in_tiles) || argc < 4 + in_tiles ||
        sscanf(argv[3 + in_tiles], "%dx%d", &w, &h) != 2) {
        fprintf(stderr, "usage: network rate MODEL WxH [N]\n       network tiles MODEL FORMAT WxH\n");
        return 2;
    }
    if (gpu_driver_open(&n.driver) < 0 || gpu_launcher_open(&n.go) < 0) return 5;
    load(&n, argv[2]);
    const int times = argc > 4 && !in_tiles ? (int)strtol(argv[4], NULL, 10) : 0;
    r = in_tiles ? tiles(&n, argv[2], argv[3], w, h) : rate(&n, argv[2], w, h, times > 0 ? times : 20);
    uprez_model_unref(&n.model);
    uprez_context_destroy(&n.ctx);
    return r;
}
