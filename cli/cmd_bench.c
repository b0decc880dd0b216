/* uprez bench: how fast a model runs here, alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <cjson/cJSON.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/queue.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "model/model.h"
#include "model/registry.h"
#include "upscale/lane.h"
#include "uprez/upscaler.h"

static const char usage[] =
    "usage: uprez bench -m MODEL [-m MODEL …] [--size WxH] [options]\n\n"
    "Times pictures of the given input size through each model: yuv420p in, yuv420p out, conversion\n"
    "included, no codecs.\n";

typedef struct BenchArgs {
    UpzStringList models;
    const char *engine, *device, *precision, *cpu, *runtime_path;
    double scale, seconds;
    int size[2], threads, runs, tile, batch;
    bool json;
} BenchArgs;

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Deterministic and neither flat nor noise, so that nothing is skipped or denormal. */
static void paint(UprezPicture *p)
{
    for (int i = 0; i < p->format.n_plane; i++) {
        int w = (p->width + (i ? p->format.sub_x : 0)) >> (i ? p->format.sub_x : 0);
        int h = (p->height + (i ? p->format.sub_y : 0)) >> (i ? p->format.sub_y : 0);
        for (int y = 0; y < h; y++) {
            unsigned char *row = (unsigned char *)p->plane[i] + y * p->stride[i];
            for (int x = 0; x < w; x++)
                row[x] = (unsigned char)(128 + 60 * sin(x * 0.11 + i) * cos(y * 0.07) +
                                         (x * 7 + y * 13) % 17);
        }
    }
}

#define MAX_RUNS 1000

static double cpu_seconds(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

/* Pictures flow through send and receive as in a job; a sample is the time between two results. */
static int measure(Uprez *u, const UprezPicture *src, const BenchArgs *a, double *ms,
                   double *cpu_ms, UprezError *err)
{
    int64_t *samples = upz_calloc(MAX_RUNS, sizeof(*samples));
    if (!samples) return upz_fail_memory(err, MAX_RUNS * sizeof(*samples), "the samples");
    int n = 0, skip = 2, r;
    int64_t begin = upz_now_ns(), last = begin;
    double cpu = 0;
    for (;;) {
        while ((r = uprez_send(u, src, err)) == 0) {}
        if (r != UPREZ_AGAIN) break;
        UprezPicture *dst;
        r = uprez_receive(u, &dst, -1, err);
        if (r < 0) break;
        uprez_picture_unref(&dst);
        int64_t now = upz_now_ns();
        if (skip > 0) {
            skip--;
            begin = now;
            cpu = cpu_seconds();
        } else {
            samples[n++] = now - last;
        }
        last = now;
        bool enough = a->runs ? n >= a->runs : n >= 3 && (double)(now - begin) > a->seconds * 1e9;
        if (enough || n == MAX_RUNS || upz_cli_signal) break;
    }
    if (r >= 0 && !n) r = upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted");
    if (r >= 0) {
        qsort(samples, (size_t)n, sizeof(*samples), compare_ns);
        *ms = (double)samples[n / 2] * 1e-6;
        *cpu_ms = (cpu_seconds() - cpu) * 1e3 / n;
    }
    upz_free(samples);
    return r;
}

static int bench_model(UprezContext *ctx, const BenchArgs *a, const char *name, cJSON *all,
                       UprezError *err)
{
    char *path = NULL;
    UprezModel *model = NULL;
    Uprez *u = NULL;
    UprezPicture *src = NULL;
    UprezInfo info = {0};
    double ms = 0, cpu_ms = 0;
    int r = upz_registry_locate(name, &path, NULL, err);
    UprezModelParams mp = {.size = sizeof(mp), .denoise = -1, .engine = a->engine,
                           .device = a->device, .runtime_path = a->runtime_path};
    if (r >= 0) r = uprez_model_load(&model, ctx, path, &mp, err);
    UprezParams p = {.size = sizeof(p), .models = &model, .n_models = 1, .scale = a->scale,
                     .engine = a->engine, .device = a->device, .precision = a->precision, .tile = a->tile,
                     .batch = a->batch, .runtime_path = a->runtime_path};
    if (r >= 0) r = uprez_create(&u, ctx, &p, err);
    UprezFormat f;
    if (r >= 0) r = uprez_format_from_name(&f, "yuv420p");
    if (r >= 0) r = uprez_picture_alloc(&src, &f, a->size[0], a->size[1], err);
    if (r >= 0) {
        src->color = (UprezColor){1, 1, 1, UPREZ_RANGE_LIMITED, UPREZ_SITING_LEFT};
        paint(src);
        r = uprez_plan(u, src, &info, err);
    }
    if (r >= 0) r = measure(u, src, a, &ms, &cpu_ms, err);
    if (r >= 0) {
        const UprezModelFacts *facts = uprez_model_facts(model);
        double flop = 2.0 * (double)facts->macs * a->size[0] * a->size[1];
        double tflops = flop / (ms * 1e9);
        if (all) {
            cJSON *o = cJSON_CreateObject();
            cJSON_AddStringToObject(o, "model", name);
            cJSON_AddStringToObject(o, "engine", info.engine);
            cJSON_AddStringToObject(o, "device", info.device);
            cJSON_AddStringToObject(o, "precision", info.precision);
            cJSON_AddStringToObject(o, "level", uprez_context_cpu(ctx));
            cJSON_AddNumberToObject(o, "threads", uprez_context_threads(ctx));
            cJSON_AddNumberToObject(o, "width", a->size[0]);
            cJSON_AddNumberToObject(o, "height", a->size[1]);
            cJSON_AddNumberToObject(o, "ms_median", ms);
            cJSON_AddNumberToObject(o, "frames_per_s", 1000 / ms);
            cJSON_AddNumberToObject(o, "tflops", tflops);
            cJSON_AddNumberToObject(o, "cpu_ms", cpu_ms);
            cJSON_AddStringToObject(o, "numerics", info.numerics);
            cJSON_AddNumberToObject(o, "memory", (double)info.memory);
            cJSON_AddItemToArray(all, o);
        } else {
            printf("%-40s %-9s %-6s %-7s %2d %5dx%-5d %10.2f ms %9.2f fps %8.3f TFLOP/s\n", name,
                   info.engine, info.precision, uprez_context_cpu(ctx), uprez_context_threads(ctx),
                   a->size[0], a->size[1], ms, 1000 / ms, tflops);
        }
    }
    uprez_destroy(&u);
    uprez_picture_unref(&src);
    uprez_model_unref(&model);
    upz_free(path);
    return r;
}

int upz_cmd_bench(int argc, char **argv)
{
    BenchArgs a = {.size = {640, 360}, .seconds = 3};
    const UpzOption options[] = {
        {"-m --model", UPZ_OPT_LIST, "NAME|FILE", &a.models, 0, 0, "may be repeated", "Options"},
        {"--size", UPZ_OPT_SIZE, "WxH", a.size, 0, 0, "of the input; default 640x360", NULL},
        {"-s --scale", UPZ_OPT_DOUBLE, "F", &a.scale, 0.01, 64, "default: the model's own", NULL},
        {"-d --device", UPZ_OPT_STRING, "auto|cpu|cuda[:N]", &a.device, 0, 0, "where to compute", NULL},
        {"--engine", UPZ_OPT_STRING, "auto|NAME", &a.engine, 0, 0, "what to compute with", NULL},
        {"--precision", UPZ_OPT_CHOICE, "auto|fp32|fp16|bf16", &a.precision, 0, 0, "arithmetic", NULL},
        {"--runtime-path", UPZ_OPT_STRING, "DIR", &a.runtime_path, 0, 0,
         "where to look first for runtimes' libraries", NULL},
        {"-t --tile", UPZ_OPT_INT, "N", &a.tile, 0, 65536, "side of a tile in source pixels", NULL},
        {"--batch", UPZ_OPT_INT, "N", &a.batch, 1, 64, "pictures or tiles a run", NULL},
        {"--threads", UPZ_OPT_INT, "N", &a.threads, 1, 256, "worker threads", NULL},
        {"--cpu", UPZ_OPT_CHOICE, "c|avx2|avx512|avx512vnni", &a.cpu, 0, 0,
         "highest processor level", NULL},
        {"--seconds", UPZ_OPT_DOUBLE, "S", &a.seconds, 0.01, 3600, "measure at least so long; default 3",
         NULL},
        {"--runs", UPZ_OPT_INT, "N", &a.runs, 1, MAX_RUNS, "measure exactly so many pictures", NULL},
        {"--json", UPZ_OPT_FLAG, NULL, &a.json, 0, 0, "one array for programs", NULL},
    };
    UprezError err = {0};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, NULL, 0, usage, &err);
    if (r == UPREZ_EOF) return 0;
    if (r >= 0 && !a.models.n)
        r = upz_fail(&err, UPREZ_ERR_USAGE, "uprez bench needs a model: -m NAME or -m FILE");
    if (r < 0) return upz_cli_error(&err);

    int verbosity = 0;
    UprezContextParams cp = {.size = sizeof(cp), .threads = a.threads, .cpu = a.cpu,
                             .log = upz_cli_log, .log_cookie = &verbosity};
    UprezContext *ctx;
    r = uprez_context_create(&ctx, &cp, &err);
    if (r < 0) return upz_cli_error(&err);
    cJSON *all = a.json ? cJSON_CreateArray() : NULL;
    for (int i = 0; i < a.models.n && r >= 0; i++)
        r = bench_model(ctx, &a, a.models.items[i], all, &err);
    if (all && r >= 0) {
        char *text = cJSON_Print(all);
        if (text) puts(text);
        cJSON_free(text);
    }
    cJSON_Delete(all);
    uprez_context_destroy(&ctx);
    return r < 0 ? upz_cli_error(&err) : 0;
}
