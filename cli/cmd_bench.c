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
#include "engine/cpu/peak.h"
#include "model/model.h"
#include "model/registry.h"
#include "upscale/lane.h"
#include "uprez/upscaler.h"

static const char usage[] =
    "usage: uprez bench -m MODEL [--engine NAME] [--size WxH] [options]\n\n"
    "Times pictures of each input size through each model on each engine: yuv420p in, yuv420p out,\n"
    "conversion included, no codecs. What is not here is a row that says why.\n";

typedef struct BenchArgs {
    UpzStringList models, engines, sizes;
    const char *device, *precision, *cpu, *runtime_path;
    double scale, seconds;
    int threads, runs, tile, batch;
    bool json, network, peak;
    cJSON *all; /* with --json: the array */
} BenchArgs;

/* What an absent row has none of. */
static const char *const measured[] = {"ms_median", "frames_per_s", "tflops", "peak_tflops"};

/* One row: what, and then how fast. */
typedef struct BenchRow {
    const char *model, *engine; /* engine: as asked for */
    int width, height;
    UprezInfo info;
    double ms, user_ms, system_ms, tflops; /* a picture */
    double peak; /* TFLOP/s of the processor's multipliers in this precision; 0: not known */
} BenchRow;

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
            for (int x = 0; x < w; x++) {
                double v = 128 + 60 * sin(x * 0.11 + i) * cos(y * 0.07) + (x * 7 + y * 13) % 17;
                if (p->format.depth == 32) ((float *)(void *)row)[x] = (float)(v / 255);
                else row[x] = (unsigned char)v;
            }
        }
    }
}

#define MAX_RUNS 1000

static void cpu_seconds(double *user, double *system)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    *user = (double)r.ru_utime.tv_sec + 1e-6 * (double)r.ru_utime.tv_usec;
    *system = (double)r.ru_stime.tv_sec + 1e-6 * (double)r.ru_stime.tv_usec;
}

/* Pictures flow through send and receive as in a job. Results may come in bursts of as many as are in
 * flight, so a sample is the time such a group took, divided by its size. */
static int measure(Uprez *u, const UprezPicture *src, const BenchArgs *a, BenchRow *row,
                   UprezError *err)
{
    int64_t *at = upz_calloc(MAX_RUNS + 1, sizeof(*at));
    if (!at) return upz_fail_memory(err, (MAX_RUNS + 1) * sizeof(*at), "the samples");
    const int depth = UPZ_CLAMP(row->info.depth, 1, MAX_RUNS);
    int n = -1, skip = UPZ_MAX(depth, 2), r; /* at[0 … n]: ends of pictures; n were measured */
    double user = 0, system = 0, user_end, system_end;
    for (;;) {
        while ((r = uprez_send(u, src, err)) == 0) {}
        if (r != UPREZ_AGAIN) break;
        UprezPicture *dst;
        r = uprez_receive(u, &dst, -1, err);
        if (r < 0) break;
        uprez_picture_unref(&dst);
        if (--skip > 0) continue;
        at[++n] = upz_now_ns();
        if (!n) cpu_seconds(&user, &system);
        const double spent = (double)(at[n] - at[0]);
        bool enough = a->runs ? n >= a->runs : n >= 3 && spent > a->seconds * 1e9;
        if (enough || n == MAX_RUNS || upz_cli_signal) break;
    }
    if (r >= 0 && n < 1) r = upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted");
    if (r >= 0) {
        cpu_seconds(&user_end, &system_end);
        const int group = UPZ_MIN(depth, n), samples = n - group + 1;
        for (int i = 0; i < samples; i++) at[i] = at[i + group] - at[i];
        qsort(at, (size_t)samples, sizeof(*at), compare_ns);
        row->ms = (double)at[samples / 2] * 1e-6 / group;
        row->user_ms = (user_end - user) * 1e3 / n;
        row->system_ms = (system_end - system) * 1e3 / n;
    }
    upz_free(at);
    return r;
}

static void report_json(const UprezContext *ctx, const BenchArgs *a, const BenchRow *row,
                        const char *absent)
{
    cJSON *o = cJSON_CreateObject();
    const char *device = a->device ? a->device : "auto";
    const char *precision = a->precision ? a->precision : "auto";
    cJSON_AddStringToObject(o, "model", row->model);
    cJSON_AddStringToObject(o, "engine", absent ? row->engine ? row->engine : "auto" : row->info.engine);
    cJSON_AddStringToObject(o, "device", absent ? device : row->info.device);
    cJSON_AddStringToObject(o, "precision", absent ? precision : row->info.precision);
    cJSON_AddStringToObject(o, "level", uprez_context_cpu(ctx));
    cJSON_AddNumberToObject(o, "threads", uprez_context_threads(ctx));
    cJSON_AddNumberToObject(o, "width", row->width);
    cJSON_AddNumberToObject(o, "height", row->height);
    if (absent) {
        for (int i = 0; i < UPZ_COUNT(measured); i++) cJSON_AddNullToObject(o, measured[i]);
        cJSON_AddStringToObject(o, "absent", absent);
    } else {
        cJSON_AddNumberToObject(o, "ms_median", row->ms);
        cJSON_AddNumberToObject(o, "frames_per_s", 1000 / row->ms);
        cJSON_AddNumberToObject(o, "tflops", row->tflops);
        if (row->peak > 0) cJSON_AddNumberToObject(o, "peak_tflops", row->peak);
        else cJSON_AddNullToObject(o, "peak_tflops");
        cJSON_AddNumberToObject(o, "cpu_ms", row->user_ms + row->system_ms);
        cJSON_AddNumberToObject(o, "user_ms", row->user_ms);
        cJSON_AddNumberToObject(o, "system_ms", row->system_ms);
        cJSON_AddStringToObject(o, "pictures", a->network ? "float" : "yuv420p");
        cJSON_AddStringToObject(o, "numerics", row->info.numerics);
        cJSON_AddNumberToObject(o, "memory", (double)row->info.memory);
    }
    cJSON_AddItemToArray(a->all, o);
}

/* A row of the table or of the array; absent: why there are no numbers. */
static void report(const UprezContext *ctx, const BenchArgs *a, const BenchRow *row,
                   const char *absent)
{
    if (a->all) {
        report_json(ctx, a, row, absent);
        return;
    }
    printf("%-40s %-11s ", row->model, absent ? row->engine ? row->engine : "auto" : row->info.engine);
    if (absent) {
        printf("%5dx%-5d absent: ", row->width, row->height);
        upz_cli_plain(stdout, absent);
        putchar('\n');
    } else {
        printf("%5dx%-5d %-6s %-10s %2d %10.2f ms %9.2f fps %8.3f TFLOP/s", row->width, row->height,
               row->info.precision, uprez_context_cpu(ctx), uprez_context_threads(ctx), row->ms, 1000 / row->ms,
               row->tflops);
        if (row->peak > 0) printf(" (%.0f %% of the peak)", 100 * row->tflops / row->peak);
        printf("  CPU %.1f + %.1f ms\n", row->user_ms, row->system_ms);
    }
    fflush(stdout);
}

/* One measurement. Of a model that reads but does not run here, *absent says so. */
static int bench_one(UprezContext *ctx, const BenchArgs *a, BenchRow *row, bool *absent,
                     UprezError *err)
{
    char *path = NULL;
    UprezModel *model = NULL;
    Uprez *u = NULL;
    UprezPicture *src = NULL;
    UprezFormat f;
    *absent = false;
    int r = upz_registry_locate(row->model, &path, NULL, err);
    UprezModelParams mp = {.size = sizeof(mp), .denoise = -1, .engine = row->engine,
                           .device = a->device, .runtime_path = a->runtime_path};
    if (r >= 0) r = uprez_model_load(&model, ctx, path, &mp, err);
    UprezParams p = {.size = sizeof(p), .models = &model, .n_models = 1, .no_reuse = 1, .scale = a->scale,
                     .engine = row->engine, .device = a->device, .precision = a->precision,
                     .tile = a->tile, .batch = a->batch, .runtime_path = a->runtime_path};
    *absent = r == UPREZ_ERR_DEVICE; /* a file that only a runtime reads */
    if (r >= 0) {
        const bool luma = uprez_model_facts(model)->channels == 1;
        r = uprez_format_from_name(&f, !a->network ? "yuv420p" : luma ? "grayf32le" : "gbrpf32le");
        if (r >= 0) r = uprez_picture_alloc(&src, &f, row->width, row->height, err);
        if (r >= 0) r = uprez_create(&u, ctx, &p, err);
        if (r >= 0) {
            src->color = a->network
                             ? (UprezColor){luma ? 1 : 0, 1, 1, UPREZ_RANGE_FULL, UPREZ_SITING_LEFT}
                             : (UprezColor){1, 1, 1, UPREZ_RANGE_LIMITED, UPREZ_SITING_LEFT};
            paint(src);
            row->info.size = sizeof(row->info);
            r = uprez_plan(u, src, &row->info, err);
        }
        *absent = r == UPREZ_ERR_DEVICE || r == UPREZ_ERR_MODEL;
    }
    /* before pictures are in work */
    if (r >= 0 && !strcmp(row->info.engine, "cpu")) row->peak = upz_cpu_peak(ctx, row->info.precision);
    if (r >= 0) r = measure(u, src, a, row, err);
    if (r >= 0) {
        const UprezModelFacts *facts = uprez_model_facts(model);
        row->tflops = 2.0 * (double)facts->macs * row->width * row->height / (row->ms * 1e9);
    }
    /* the info's strings live as long as the upscaler */
    if (r >= 0) report(ctx, a, row, NULL);
    uprez_destroy(&u);
    uprez_picture_unref(&src);
    uprez_model_unref(&model);
    upz_free(path);
    return r;
}

/* What the processor gives at most at this level, a row for each precision. */
static void report_peaks(UprezContext *ctx, const BenchArgs *a)
{
    static const char *const precisions[] = {"fp32", "bf16"};
    for (int i = 0; i < UPZ_COUNT(precisions); i++) {
        const double peak = upz_cpu_peak(ctx, precisions[i]);
        if (peak <= 0) continue;
        if (a->all) {
            cJSON *o = cJSON_CreateObject();
            cJSON_AddStringToObject(o, "precision", precisions[i]);
            cJSON_AddStringToObject(o, "level", uprez_context_cpu(ctx));
            cJSON_AddNumberToObject(o, "threads", uprez_context_threads(ctx));
            cJSON_AddNumberToObject(o, "peak_tflops", peak);
            cJSON_AddItemToArray(a->all, o);
        } else {
            printf("peak %-6s %-10s %2d %8.3f TFLOP/s\n", precisions[i], uprez_context_cpu(ctx),
                   uprez_context_threads(ctx), peak);
        }
    }
}

/* Every model, engine and size; nothing measured at all is an error. */
static int bench_all(UprezContext *ctx, const BenchArgs *a, const int (*sizes)[2], UprezError *err)
{
    UprezError first = {0};
    int measurements = 0;
    for (int m = 0; m < a->models.n; m++)
        for (int e = 0; e < UPZ_MAX(a->engines.n, 1); e++)
            for (int s = 0; s < UPZ_MAX(a->sizes.n, 1); s++) {
                BenchRow row = {.model = a->models.items[m], .width = sizes[s][0],
                                .height = sizes[s][1],
                                .engine = a->engines.n ? a->engines.items[e] : NULL};
                bool absent;
                UprezError why = {0};
                int r = bench_one(ctx, a, &row, &absent, &why);
                if (r < 0 && !absent) {
                    *err = why;
                    return r;
                }
                if (r < 0) report(ctx, a, &row, why.text);
                else measurements++;
                if (r < 0 && !first.code) first = why;
            }
    if (!measurements) *err = first;
    return measurements ? 0 : first.code;
}

int upz_cmd_bench(int argc, char **argv)
{
    BenchArgs a = {.seconds = 3};
    int sizes[UPZ_COUNT(a.sizes.items)][2] = {{640, 360}};
    const UpzOption options[] = {
        {"-m --model", UPZ_OPT_LIST, "NAME|FILE", &a.models, 0, 0, "may be repeated", "Options"},
        {"--size", UPZ_OPT_LIST, "WxH", &a.sizes, 0, 0,
         "of the input, may be repeated; default 640x360", NULL},
        {"-s --scale", UPZ_OPT_DOUBLE, "F", &a.scale, 0.01, 64, "default: the model's own", NULL},
        {"-d --device", UPZ_OPT_STRING, "auto|cpu|cuda[:N]", &a.device, 0, 0, "where to compute", NULL},
        {"--engine", UPZ_OPT_LIST, "auto|NAME", &a.engines, 0, 0,
         "what to compute with, may be repeated", NULL},
        {"--network", UPZ_OPT_FLAG, NULL, &a.network, 0, 0,
         "the network alone: float RGB in and out, no conversion", NULL},
        {"--precision", UPZ_OPT_CHOICE, "auto|fp32|fp16|bf16|fp8|int8", &a.precision, 0, 0, "arithmetic", NULL},
        {"--runtime-path", UPZ_OPT_STRING, "DIR", &a.runtime_path, 0, 0,
         "where to look first for runtimes' libraries", NULL},
        {"-t --tile", UPZ_OPT_INT, "N", &a.tile, 0, 65536, "side of a tile in source pixels", NULL},
        {"--batch", UPZ_OPT_INT, "N", &a.batch, 1, 64, "pictures or tiles a run", NULL},
        {"--threads", UPZ_OPT_INT, "N", &a.threads, 1, 256, "worker threads", NULL},
        {"--cpu", UPZ_OPT_CHOICE, upz_cpu_levels, &a.cpu, 0, 0,
         "highest processor level", NULL},
        {"--seconds", UPZ_OPT_DOUBLE, "S", &a.seconds, 0.01, 3600, "measure at least so long; default 3",
         NULL},
        {"--runs", UPZ_OPT_INT, "N", &a.runs, 1, MAX_RUNS, "measure exactly so many pictures", NULL},
        {"--peak", UPZ_OPT_FLAG, NULL, &a.peak, 0, 0,
         "what the processor gives at most, in registers alone; -m may be left out", NULL},
        {"--json", UPZ_OPT_FLAG, NULL, &a.json, 0, 0, "one array for programs", NULL},
    };
    UprezError err = {0};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, NULL, 0, usage, &err);
    if (r == UPREZ_EOF) return 0;
    if (r >= 0 && !a.models.n && !a.peak)
        r = upz_fail(&err, UPREZ_ERR_USAGE, "uprez bench needs a model: -m NAME or -m FILE");
    for (int i = 0; i < a.sizes.n && r >= 0; i++)
        r = upz_options_size("--size", a.sizes.items[i], sizes[i], &err);
    if (r < 0) return upz_cli_error(&err);

    int verbosity = 0;
    UprezContextParams cp = {.size = sizeof(cp), .threads = a.threads, .cpu = a.cpu,
                             .log = upz_cli_log, .log_cookie = &verbosity};
    UprezContext *ctx;
    r = uprez_context_create(&ctx, &cp, &err);
    if (r < 0) return upz_cli_error(&err);
    a.all = a.json ? cJSON_CreateArray() : NULL;
    if (a.peak) report_peaks(ctx, &a);
    if (a.models.n) r = bench_all(ctx, &a, (const int (*)[2])sizes, &err);
    if (a.all && (r >= 0 || cJSON_GetArraySize(a.all))) {
        char *text = cJSON_Print(a.all);
        if (text) upz_cli_text(text);
        cJSON_free(text);
    }
    cJSON_Delete(a.all);
    uprez_context_destroy(&ctx);
    return r < 0 ? upz_cli_error(&err) : 0;
}
