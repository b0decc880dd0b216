/* Which engine and device a model goes to. */
#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/cuda_driver.h"
#include "engine/engine.h"
#include "model/registry.h"

/* A device as asked for. */
typedef struct Wanted {
    char kind[16]; /* "": any */
    int index;     /* -1: any */
} Wanted;

static bool is_auto(const char *s) { return !s || !*s || !strcmp(s, "auto"); }

static int parse_device(Wanted *w, const char *name, UprezError *err)
{
    *w = (Wanted){.index = -1};
    if (is_auto(name)) return 0;
    const char *colon = strchr(name, ':');
    size_t n = colon ? (size_t)(colon - name) : strlen(name);
    if (!n || n >= sizeof(w->kind))
        return upz_fail(err, UPREZ_ERR_USAGE, "'%s' is no device; give auto, cpu or cuda:0", name);
    memcpy(w->kind, name, n);
    if (!colon) return 0;
    char *end = NULL;
    long number = isdigit((unsigned char)colon[1]) ? strtol(colon + 1, &end, 10) : -1;
    if (!end || *end)
        return upz_fail(err, UPREZ_ERR_USAGE, "'%s' has no device number behind the colon", name);
    w->index = number > INT_MAX ? INT_MAX : (int)number;
    return 0;
}

void upz_device_name(const UpzDevice *d, char name[UPZ_DEVICE_NAME])
{
    if (!strcmp(d->kind, "cpu")) snprintf(name, UPZ_DEVICE_NAME, "cpu");
    else snprintf(name, UPZ_DEVICE_NAME, "%s:%d", d->kind, d->index);
}

/* The wanted device of one engine: 0, or DEVICE and why not. */
static int find_device(const UpzEngineOps *ops, const Wanted *w, const char *runtime_path,
                       UpzDevice *device, UprezError *why)
{
    if (ops->missing) return upz_fail(why, UPREZ_ERR_DEVICE, "%s", ops->missing);
    UpzDeviceList list = {.n = 0};
    UprezError own = {0};
    ops->probe(runtime_path, &list, &own);
    for (int i = 0; i < list.n; i++)
        if ((!*w->kind || !strcmp(list.items[i].kind, w->kind)) &&
            (w->index < 0 || list.items[i].index == w->index)) {
            *device = list.items[i];
            return 0;
        }
    if (own.code) return upz_fail(why, UPREZ_ERR_DEVICE, "%s", own.text);
    char number[16] = "";
    if (w->index >= 0) snprintf(number, sizeof(number), ":%d", w->index);
    return upz_fail(why, UPREZ_ERR_DEVICE,
                    "engine %s finds no device '%s%s' here; see 'uprez devices', or give -d cpu",
                    ops->name, *w->kind ? w->kind : "auto", number);
}

static int check_name(const char *engine, UprezError *err)
{
    if (is_auto(engine) || upz_engine_find(engine)) return 0;
    return upz_fail(err, UPREZ_ERR_DEVICE,
                    "there is no engine '%s' in this program; see 'uprez devices'", engine);
}

int upz_engine_choose(const UpzEngineOps **out, UpzDevice *device, const char *engine,
                      const char *device_name, const UprezModel *model,
                      const UpzEngineParams *params, UprezError *err)
{
    Wanted w;
    int r = parse_device(&w, device_name, err);
    if (r >= 0) r = check_name(engine, err);
    if (r < 0) return r;
    UprezError first = {0};
    const UpzEngineOps *own = NULL;
    bool on = !params->after;
    for (int i = 0; upz_engines[i]; i++) {
        const UpzEngineOps *ops = upz_engines[i];
        UprezError why = {0};
        if (!on) {
            on = ops == params->after;
            continue;
        }
        /* kernels need no network: whatever engine was named, they run on the planes */
        bool kernels = model->kernel && !strcmp(ops->name, "resample");
        if (!is_auto(engine) && strcmp(ops->name, engine) && !kernels) continue;
        r = 0;
        if (params->cuda_pictures && !ops->picture && is_auto(engine)) continue;
        if (params->cuda_pictures && !ops->picture)
            r = upz_fail(&why, UPREZ_ERR_DEVICE, "engine %s reads pictures in host memory only; bring "
                         "them there first (FFmpeg: hwdownload), or use --engine cuda", ops->name);
        if (r >= 0) r = ops->supports(model, params, &why); /* before probe, which may load a library */
        UprezError absent = {0};
        if (r >= 0)
            r = find_device(ops, &w, params->runtime_path, device, &why);
        else if (!model->kernel && !strcmp(ops->name, w.kind) &&
                 find_device(ops, &w, params->runtime_path, device, &absent) < 0)
            why = absent; /* that the device asked for is missing says more than a missing kernel */
        if (r >= 0) {
            device->native_context = params->native_context;
            *out = ops;
            return 0;
        }
        /* of several reasons, that of the device's own engine says most, then that of one that would have
         * taken the model */
        const char *made_for = strcmp(w.kind, "cuda") ? "cpu" : "cuda";
        if (!first.code || !strcmp(ops->name, made_for) ||
            (strcmp(own->name, made_for) && first.code != UPREZ_ERR_MODEL &&
             why.code == UPREZ_ERR_MODEL))
            first = why, own = ops;
    }
    /* a device of some kind: the words of the engine that is made for it */
    if (first.code && (!is_auto(engine) || !*w.kind || !strcmp(w.kind, own->name)))
        return upz_fail(err, first.code, "%s", first.text);
    if (params->cuda_pictures)
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "pictures in a GPU's memory are not enlarged on device '%s'; bring them to host "
                        "memory first (FFmpeg: hwdownload), or leave the device away",
                        device_name ? device_name : "auto");
    return upz_fail(err, UPREZ_ERR_DEVICE,
                    "no engine here can use device '%s'; see 'uprez devices', or give -d cpu",
                    device_name ? device_name : "auto");
}

bool upz_engine_gpu_idle(const UprezModel *model, const UpzEngineParams *params, UprezError *why)
{
    const UpzEngineOps *ops = upz_engine_find("cuda");
    UpzGpu gpus[UPZ_GPUS];
    UpzDeviceList list = {.n = 0};
    if (!ops || upz_cuda_gpus(params->runtime_path, gpus, why) < 1)
        return ops && !access("/dev/nvidia0", F_OK); /* it is there, but its driver does not work */
    *why = (UprezError){0};
    if (ops->missing) upz_fail(why, UPREZ_ERR_DEVICE, "%s", ops->missing);
    else if (ops->supports(model, params, why) >= 0) ops->probe(params->runtime_path, &list, why);
    return why->code < 0;
}

int upz_engine_look(UprezContext *ctx, UprezModel *model, const char *engine,
                    const char *device_name, const char *runtime_path, UprezError *err)
{
    if (!model->foreign[0] || model->facts.scale_num) return 0;
    UpzEngineParams params = {.precision = "auto", .runtime_path = runtime_path};
    Wanted w;
    int r = parse_device(&w, device_name, err);
    if (r >= 0) r = check_name(engine, err);
    if (r < 0) return r;
    UprezError first = {0};
    for (int i = 0; upz_engines[i]; i++) {
        const UpzEngineOps *ops = upz_engines[i];
        UprezError why = {0};
        UpzDevice device;
        if (!ops->look || (!is_auto(engine) && strcmp(ops->name, engine))) continue;
        if (ops->supports(model, &params, &why) < 0) continue;
        r = find_device(ops, &w, runtime_path, &device, &why);
        if (r >= 0) r = ops->look(ctx, model, &device, &params, &why);
        if (r >= 0) return 0;
        /* the words of one that tried say more than that another is not here */
        if (!first.code || (first.code != UPREZ_ERR_MODEL && why.code == UPREZ_ERR_MODEL))
            first = why;
    }
    if (first.code && !model->foreign_why) return upz_fail(err, first.code, "%s", first.text);
    if (model->foreign_why) /* which names the operator or form; not every runtime does */
        return upz_fail(err, UPREZ_ERR_MODEL, "%s%s%s", model->foreign_why,
                        first.code ? "; " : "", first.text);
    return upz_fail(err, UPREZ_ERR_DEVICE, "no engine%s%s runs %s files; see 'uprez devices'",
                    is_auto(engine) ? "" : " ", is_auto(engine) ? "" : engine, model->foreign);
}

/* The public form: finds the file of a name, reads it, and asks a runtime about what only a runtime
 * understands. */
int uprez_model_load(UprezModel **out, UprezContext *ctx, const char *name,
                     const UprezModelParams *params, UprezError *err)
{
    UprezModelParams own = {.size = sizeof(own)};
    if (params) memcpy(&own, params, params->size < sizeof(own) ? params->size : sizeof(own));
    if (!own.mix) own.denoise = -1;
    char *path = NULL, *twin = NULL;
    const UpzRegistryEntry *entry = NULL;
    *out = NULL;
    int r = upz_registry_use(name, &path, &entry, err);
    if (r >= 0 && own.denoise >= 0 && (own.twin || (entry && entry->twin))) {
        r = upz_registry_use(own.twin ? own.twin : entry->twin, &twin, NULL, err);
        own.twin = twin;
    }
    if (r >= 0) r = upz_model_load(out, ctx, path, &own, err);
    upz_free(path);
    upz_free(twin);
    if (r >= 0) r = upz_engine_look(ctx, *out, own.engine, own.device, own.runtime_path, err);
    if (r < 0 && *out) uprez_model_unref(out);
    return r;
}
