/* uprez devices: engines, what they found and where, what is missing and how to get it. */
#include <stdio.h>
#include <string.h>
#include <cjson/cJSON.h>

#include "base/alloc.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "engine/cuda_driver.h"
#include "engine/engine.h"
#include "model/registry.h"
#include "uprez/uprez.h"

enum { NAME_COLUMN = 13, TEXT_COLUMN = 23, ENGINE_COLUMN = 26, WIDTH = 100 };

static const char usage[] =
    "usage: uprez devices [-m NAME|FILE [--size WxH]] [--runtime-path DIR] [--json]\n\n"
    "Lists the engines of this program and the devices each can use; of runtimes, the library's file\n"
    "that was taken, its version and what it can do, or why it is not used and how to get it; then the\n"
    "GPUs, and which engines run on each. With -m it plans for that model and size, and says what memory\n"
    "each device needs for it, or why it cannot.\n";

/* What is planned for. */
typedef struct Ask {
    const char *model, *precision, *runtime_path;
    int size[2];
    char tiles[200]; /* what the engine said of them */
} Ask;

/* What an engine needs for it on a device. */
typedef struct Need {
    bool asked;
    int code;
    char text[1024]; /* the answer in words */
    size_t memory;
    int width, height, depth;
    char precision[16];
} Need;

static void keep_tiles(void *cookie, int level, const char *line)
{
    Ask *a = cookie;
    (void)level;
    if (strstr(line, " tiles of ")) snprintf(a->tiles, sizeof(a->tiles), "%s", line);
}

static int plan_for(Ask *a, const char *engine, const char *device, Need *n, UprezError *err)
{
    const UprezContextParams cp = {.size = sizeof(cp), .log = keep_tiles, .log_cookie = a};
    const UprezModelParams mp = {.size = sizeof(mp), .engine = engine, .device = device,
                                 .runtime_path = a->runtime_path};
    UprezContext *ctx;
    UprezModel *model = NULL;
    Uprez *u = NULL;
    UprezInfo info = {.size = sizeof(info)};
    UprezPicture like = {.width = a->size[0], .height = a->size[1]};
    a->tiles[0] = 0;
    int r = uprez_context_create(&ctx, &cp, err);
    if (r < 0) return r;
    r = uprez_format_from_name(&like.format, "nv12");
    if (r >= 0) r = uprez_model_load(&model, ctx, a->model, &mp, err);
    const UprezParams up = {.size = sizeof(up), .models = &model, .n_models = 1, .engine = engine,
                            .device = device, .precision = a->precision, .runtime_path = a->runtime_path};
    if (r >= 0) r = uprez_create(&u, ctx, &up, err);
    if (r >= 0) r = uprez_plan(u, &like, &info, err);
    if (r >= 0) {
        n->memory = info.memory;
        n->width = info.width, n->height = info.height, n->depth = info.depth;
        snprintf(n->precision, sizeof(n->precision), "%s", info.precision);
        snprintf(n->text, sizeof(n->text), "%zu MiB beside the pictures for %dx%d to %dx%d, %s, %d at once%s%s",
                 (info.memory >> 20) + 1, a->size[0], a->size[1], info.width, info.height, info.precision,
                 info.depth, a->tiles[0] ? "; " : "", a->tiles);
    } else {
        snprintf(n->text, sizeof(n->text), "%s", err->text);
    }
    uprez_destroy(&u);
    uprez_model_unref(&model);
    uprez_context_destroy(&ctx);
    return r;
}

static void ask(Ask *a, const UpzEngineOps *ops, const UpzDevice *device, Need *n)
{
    UprezError err = {0};
    char id[UPZ_DEVICE_NAME];
    *n = (Need){.asked = a->model && strcmp(ops->name, "resample") != 0};
    upz_device_name(device, id);
    if (n->asked) n->code = plan_for(a, ops->name, id, n, &err);
}

/* What an engine found. */
typedef struct Seen {
    const UpzEngineOps *ops;
    UpzDeviceList list;
    UprezError why;
    const char *missing; /* or NULL */
} Seen;

static void add_need(cJSON *d, const Need *n)
{
    if (!n->asked) return;
    if (n->code < 0) {
        cJSON_AddStringToObject(d, "refuses", n->text);
        return;
    }
    cJSON_AddNumberToObject(d, "needs", (double)n->memory);
    cJSON_AddNumberToObject(d, "width", n->width);
    cJSON_AddNumberToObject(d, "height", n->height);
    cJSON_AddStringToObject(d, "precision", n->precision);
    cJSON_AddNumberToObject(d, "depth", n->depth);
}

static void add_json(cJSON *all, const UpzEngineOps *ops, const UpzDeviceList *list,
                     const char *missing, const char *driver, Ask *a)
{
    cJSON *e = cJSON_CreateObject(), *devices = cJSON_CreateArray();
    cJSON_AddStringToObject(e, "engine", ops->name);
    cJSON_AddStringToObject(e, "about", ops->about);
    if (missing) cJSON_AddStringToObject(e, "missing", missing);
    for (int i = 0; i < list->n; i++) {
        const UpzDevice *device = &list->items[i];
        cJSON *d = cJSON_CreateObject();
        char id[UPZ_DEVICE_NAME];
        upz_device_name(device, id);
        cJSON_AddStringToObject(d, "device", id);
        cJSON_AddStringToObject(d, "name", device->name);
        cJSON_AddNumberToObject(d, "memory", (double)device->memory);
        if (device->runtime[0]) cJSON_AddStringToObject(d, "runtime", device->runtime);
        if (device->version[0]) cJSON_AddStringToObject(d, "version", device->version);
        if (device->can[0]) cJSON_AddStringToObject(d, "can", device->can);
        if (*driver && !strcmp(device->kind, "cuda")) cJSON_AddStringToObject(d, "driver", driver);
        Need need;
        ask(a, ops, device, &need);
        add_need(d, &need);
        cJSON_AddItemToArray(devices, d);
    }
    cJSON_AddItemToObject(e, "devices", devices);
    cJSON_AddItemToArray(all, e);
}

/* Text from the present column on; later lines begin at `column` too. */
static void wrapped(int column, const char *text)
{
    int at = column;
    for (const char *p = text; *p;) {
        const int word = (int)strcspn(p, " ");
        char piece[1024];
        if (at > column && at + 1 + word > WIDTH) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        snprintf(piece, sizeof(piece), "%.*s", word, p);
        upz_cli_plain(stdout, piece);
        at += word;
        p += word;
        p += strspn(p, " ");
    }
    putchar('\n');
}

static void labelled(const char *label, const char *text)
{
    if (!*text) return;
    printf("%*s%-*s", NAME_COLUMN, "", TEXT_COLUMN - NAME_COLUMN, label);
    wrapped(TEXT_COLUMN, text);
}

static void print_device(const UpzDevice *d)
{
    char id[UPZ_DEVICE_NAME], name[200];
    upz_device_name(d, id);
    if (d->memory) snprintf(name, sizeof(name), "%s, %zu MiB", d->name, d->memory >> 20);
    else snprintf(name, sizeof(name), "%s", d->name);
    labelled(id, name);
    if (d->can[0]) labelled("  can", d->can);
}

/* Devices of one runtime share its file. */
static void print_engine(const UpzEngineOps *ops, const UpzDeviceList *list, const char *missing, Ask *a)
{
    printf("%-*s", NAME_COLUMN, ops->name);
    wrapped(NAME_COLUMN, ops->about);
    for (int i = 0; i < list->n; i++) {
        const UpzDevice *d = &list->items[i];
        print_device(d);
        Need need;
        ask(a, ops, d, &need);
        if (need.asked) labelled(need.code < 0 ? "  refuses" : "  needs", need.text);
        if (i + 1 < list->n && !strcmp(d->runtime, list->items[i + 1].runtime)) continue;
        labelled("  version", d->version);
        labelled("  library", d->runtime);
    }
    if (missing) labelled(list->n ? "note" : "not here", missing);
}

/* Which of the engines for GPUs can use GPU i. */
static void print_gpu(const Seen *seen, int n, const UpzGpu *g, int i, const char *driver)
{
    static const char *const engines[] = {"cuda", "libtorch", "onnxruntime", "tensorrt"};
    char label[32], text[512];
    snprintf(label, sizeof(label), "GPU %d", i);
    int at = snprintf(text, sizeof(text), "%s, %zu MiB, compute capability %d.%d; driver", g->name,
                      g->memory >> 20, g->major, g->minor);
    if (*driver) at += snprintf(text + at, sizeof(text) - (size_t)at, " %s", driver);
    if (g->cuda)
        snprintf(text + at, sizeof(text) - (size_t)at, " for CUDA %d.%d", g->cuda / 1000,
                 g->cuda % 1000 / 10);
    printf("%-*s", NAME_COLUMN, label);
    wrapped(NAME_COLUMN, text);
    for (int k = 0; k < n; k++) {
        const UpzDevice *device = NULL;
        int e = 0;
        while (e < UPZ_COUNT(engines) && strcmp(engines[e], seen[k].ops->name)) e++;
        if (e == UPZ_COUNT(engines)) continue;
        for (int d = 0; d < seen[k].list.n; d++)
            if (!strcmp(seen[k].list.items[d].kind, "cuda") && seen[k].list.items[d].index == i)
                device = &seen[k].list.items[d];
        if (device) snprintf(text, sizeof(text), "yes: %s", e ? device->version : device->can);
        else if (!seen[k].missing) snprintf(text, sizeof(text), "no: it does not list this card");
        else snprintf(text, sizeof(text), "no: see its %s above",
                      seen[k].list.n ? "note" : "'not here'");
        printf("%*s%-*s", NAME_COLUMN, "", ENGINE_COLUMN - NAME_COLUMN, engines[e]);
        wrapped(ENGINE_COLUMN, text);
    }
}

/* GPUs, and what runs on each. */
static void print_gpus(const Seen *seen, int n, const char *runtime_path, const char *driver)
{
    UpzGpu gpus[UPZ_GPUS];
    UprezError err;
    const int found = upz_cuda_gpus(runtime_path, gpus, &err);
    if (found > 0) putchar('\n');
    for (int i = 0; i < found; i++) print_gpu(seen, n, &gpus[i], i, driver);
}

int upz_cmd_devices(int argc, char **argv)
{
    bool json = false;
    const char *runtime_path = NULL;
    Ask a = {.size = {1920, 1080}};
    const UpzOption options[] = {
        {"-m --model", UPZ_OPT_STRING, "NAME|FILE", &a.model, 0, 0, "plan for this model", "Options"},
        {"--size", UPZ_OPT_SIZE, "WxH", a.size, 0, 0, "and pictures of this size; default 1920x1080", NULL},
        {"--precision", UPZ_OPT_CHOICE, "auto|fp32|fp16|bf16|fp8|int8", &a.precision, 0, 0, "arithmetic", NULL},
        {"--runtime-path", UPZ_OPT_STRING, "DIR", &runtime_path, 0, 0,
         "where to look first for runtimes' libraries", NULL},
        {"--json", UPZ_OPT_FLAG, NULL, &json, 0, 0, "an array for programs", NULL}};
    UprezError err = {0};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, NULL, 0, usage, &err);
    if (r == UPREZ_EOF) return 0;
    a.runtime_path = runtime_path;
    char *path = NULL;
    const UpzRegistryEntry *entry;
    if (r >= 0 && a.model) r = upz_registry_locate(a.model, &path, &entry, &err); /* once, not by each */
    upz_free(path);
    if (r < 0) return upz_cli_error(&err);

    cJSON *all = json ? cJSON_CreateArray() : NULL;
    if (!json)
        printf("processor level %s, %d worker thread%s\n\n", upz_cpu_name(upz_cpu_detect()),
               upz_cpu_count(), upz_cpu_count() == 1 ? "" : "s");
    int n = 0;
    while (upz_engines[n]) n++;
    Seen *seen = upz_calloc((size_t)n, sizeof(*seen));
    if (!seen) {
        upz_fail_memory(&err, (size_t)n * sizeof(*seen), "the list of devices");
        return upz_cli_error(&err);
    }
    char driver[32];
    upz_cuda_driver(runtime_path, driver);
    for (int i = 0; i < n; i++) {
        Seen *s = &seen[i];
        s->ops = upz_engines[i];
        if (!s->ops->missing) s->ops->probe(runtime_path, &s->list, &s->why);
        s->missing = s->ops->missing ? s->ops->missing : s->why.code < 0 ? s->why.text : NULL;
        if (json) add_json(all, s->ops, &s->list, s->missing, driver, &a);
        else print_engine(s->ops, &s->list, s->missing, &a);
    }
    if (!json) print_gpus(seen, n, runtime_path, driver);
    upz_free(seen);
    if (json) {
        char *text = cJSON_Print(all);
        if (text) upz_cli_text(text);
        cJSON_free(text);
        cJSON_Delete(all);
    }
    return 0;
}
