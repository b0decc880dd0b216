/* Engine libtorch: finds the module engine-libtorch.so and the LibTorch it was built for, opens both
 * and stands the module's table behind the adapter for tensor runtimes. Nothing here is linked to
 * LibTorch or to C++. */
#include "engine/libtorch/libtorch.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/library.h"
#include "engine/libtorch/script.h"
#include "engine/cuda_driver.h"
#include "engine/tensor/trial.h"

#define MODULE "engine-libtorch.so"
#define CAN "fp32, bf16, fp16; TorchScript"

extern const UpzEngineOps upz_engine_libtorch;

static const UpzLibrary libtorch = {
    .name = "LibTorch",
    .files = (const char *const[]){"libtorch_cpu.so", "libtorch_cpu.so.*", NULL},
    .inner = (const char *const[]){"torch/lib", NULL},
    .sonames = (const char *const[]){NULL}, /* which version that is must be seen first */
    .hint = "pip install torch"};
static const UpzLibrary torch_tensorrt = {
    .name = "torch_tensorrt",
    .files = (const char *const[]){"libtorchtrt_runtime.so", NULL},
    .inner = (const char *const[]){"torch_tensorrt/lib", NULL},
    .sonames = (const char *const[]){NULL},
    .hint = "pip install torch_tensorrt"};

/* ---- finding the module ---- */

typedef struct Found {
    char module[PATH_MAX];    /* engine-libtorch.so */
    char built_for[64];       /* LibTorch's version, "" = the note is not there */
    char built_with[PATH_MAX]; /* the folder with libtorch_cpu.so it was linked to, or "" */
    char library[PATH_MAX];   /* libtorch_cpu.so taken */
    char version[64];         /* its version, "" = not written beside it */
} Found;

static bool in_folder(Found *f, const char *folder, const char *inner)
{
    int n = snprintf(f->module, sizeof(f->module), "%s%s/%s", folder, inner, MODULE);
    return *folder && n < (int)sizeof(f->module) && upz_exists(f->module);
}

static bool in_list(Found *f, const char *list)
{
    char dir[PATH_MAX];
    for (; list && *list; list += *list == ':') {
        const size_t n = strcspn(list, ":");
        if (n && n < sizeof(dir)) {
            snprintf(dir, sizeof(dir), "%.*s", (int)n, list);
            if (in_folder(f, dir, "") || in_folder(f, dir, "/lib/uprez")) return true;
        }
        list += n;
    }
    return false;
}

/* Beside the file this code is in: PREFIX/bin/uprez, or PREFIX/lib/libuprez.so. */
static bool near_us(Found *f)
{
    Dl_info info;
    char self[PATH_MAX];
    if (!dladdr(&upz_engine_libtorch, &info) || !info.dli_fname ||
        !realpath(info.dli_fname, self))
        return false;
    char *slash = strrchr(self, '/');
    if (!slash) return false;
    *slash = 0;
    return in_folder(f, self, "/../lib/uprez") || in_folder(f, self, "/uprez") ||
           in_folder(f, self, "/../" UPZ_LIBDIR "/uprez");
}

static bool of_user(Found *f)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data) return in_folder(f, data, "/uprez/modules");
    return home && in_folder(f, home, "/.local/share/uprez/modules");
}

/* "KEY VALUE" of the note that build-libtorch.sh leaves beside the module. */
static void note_value(const char *text, const char *key, char *value, size_t size)
{
    const size_t n = strlen(key);
    value[0] = 0;
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL)
        if (!strncmp(line, key, n) && line[n] == ' ')
            snprintf(value, size, "%.*s", (int)strcspn(line + n + 1, "\n"), line + n + 1);
}

static bool read_text(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f) return false;
    const size_t n = fread(text, 1, size - 1, f);
    text[n] = 0;
    fclose(f);
    return true;
}

static int find_module(Found *f, const char *runtime_path, UprezError *err)
{
    char note[PATH_MAX + 16], text[PATH_MAX + 256];
    if (!in_list(f, runtime_path) && !in_list(f, getenv("UPREZ_RUNTIME_PATH")) && !near_us(f) &&
        !of_user(f))
        return upz_fail(err, UPREZ_ERR_DEVICE, "uprez's module for LibTorch is not built here; get "
                        "LibTorch ('pip install torch', or 'apt-get install libtorch-dev') and run "
                        "tools/build-libtorch.sh of uprez's sources");
    snprintf(note, sizeof(note), "%.*s.txt", (int)(strlen(f->module) - 3), f->module);
    if (!read_text(note, text, sizeof(text))) return 0;
    note_value(text, "libtorch", f->built_for, sizeof(f->built_for));
    note_value(text, "folder", f->built_with, sizeof(f->built_with));
    /* the loader does not survive a file cut short */
    struct stat st;
    char bytes[32];
    note_value(text, "bytes", bytes, sizeof(bytes));
    if (bytes[0] && (stat(f->module, &st) || st.st_size != strtoll(bytes, NULL, 10)))
        return upz_fail(err, UPREZ_ERR_DEVICE, "%s is damaged: it does not have the %s bytes it was "
                        "built with; run tools/build-libtorch.sh again", f->module, bytes);
    return 0;
}

/* ---- finding LibTorch ---- */

/* Behind a quote or a blank, digits and points: "2.15.0". */
static void copy_version(const char *text, const char *key, char *out, size_t size)
{
    const char *at = *key ? strstr(text, key) : text;
    if (at) at = strpbrk(at + strlen(key), "0123456789");
    if (at) snprintf(out, size, "%.*s", (int)strspn(at, "0123456789."), at);
}

/* From what lies beside the library: a wheel's version.py, an archive's build-version, or the number
 * in a packaged library's name. */
static void library_version(const char *library, char *version, size_t size)
{
    char dir[PATH_MAX], path[PATH_MAX + 32], text[2048];
    version[0] = 0;
    snprintf(dir, sizeof(dir), "%s", library);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(dir, '/');
        if (!slash) return;
        *slash = 0;
    }
    snprintf(path, sizeof(path), "%s/version.py", dir);
    if (read_text(path, text, sizeof(text))) {
        copy_version(text, "__version__", version, size);
        return;
    }
    snprintf(path, sizeof(path), "%s/build-version", dir);
    if (read_text(path, text, sizeof(text))) {
        copy_version(text, "", version, size);
        return;
    }
    char real[PATH_MAX];
    const char *number = realpath(library, real) ? strstr(upz_basename(real), ".so.") : NULL;
    if (number) copy_version(number + 3, "", version, size);
}

/* The CUDA it was built for, "13.2"; "" for none, or not written beside it. A wheel's version.py says it,
 * an archive's version ends with it: 2.15.0+cu132. */
static void library_cuda(const char *library, char *cuda, size_t size)
{
    char dir[PATH_MAX], path[PATH_MAX + 32], text[2048];
    cuda[0] = 0;
    snprintf(dir, sizeof(dir), "%s", library);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(dir, '/');
        if (!slash) return;
        *slash = 0;
    }
    snprintf(path, sizeof(path), "%s/version.py", dir);
    if (!read_text(path, text, sizeof(text))) {
        snprintf(path, sizeof(path), "%s/build-version", dir);
        if (!read_text(path, text, sizeof(text))) return;
    }
    char *line = strstr(text, "\ncuda");
    if (line) {
        line[1 + strcspn(line + 1, "\n")] = 0;
        copy_version(line, "", cuda, size);
        return;
    }
    const char *at = strstr(text, "+cu");
    const int n = at ? (int)strspn(at + 3, "0123456789") : 0;
    if (n > 1) snprintf(cuda, size, "%.*s.%c", n - 1, at + 3, at[2 + n]);
}

/* The first two numbers: what LibTorch keeps its binary interface within. */
static bool same_version(const char *a, const char *b)
{
    int dots = 0;
    for (; *a && *a == *b; a++, b++)
        if (*a == '.' && ++dots == 2) return true;
    return (!*a || *a == '.') && (!*b || *b == '.') && dots >= 1;
}

/* Whether someone named a folder that holds a LibTorch. */
static bool named(const char *list, char *path, size_t size)
{
    char dir[PATH_MAX];
    for (; list && *list; list += *list == ':') {
        const size_t n = strcspn(list, ":");
        static const char *const inner[] = {"", "/lib", "/torch/lib"};
        for (int i = 0; n && i < UPZ_COUNT(inner); i++) {
            const int len = snprintf(dir, sizeof(dir), "%.*s%s/libtorch_cpu.so",
                                     (int)UPZ_MIN(n, PATH_MAX), list, inner[i]);
            if (len >= (int)sizeof(dir) || !upz_exists(dir)) continue;
            return snprintf(path, size, "%s", dir) < (int)size;
        }
        list += n;
    }
    return false;
}

/* The one named, else the one the module was built for, else what is installed. */
static int find_library(Found *f, const char *runtime_path, UprezError *err)
{
    int r = 0;
    if (!named(runtime_path, f->library, sizeof(f->library)) &&
        !named(getenv("UPREZ_RUNTIME_PATH"), f->library, sizeof(f->library)) &&
        !named(f->built_with, f->library, sizeof(f->library)))
        r = upz_library_find(&libtorch, runtime_path, f->library, sizeof(f->library), err);
    if (r < 0) return r;
    library_version(f->library, f->version, sizeof(f->version));
    if (f->version[0] && f->built_for[0] && !same_version(f->version, f->built_for))
        return upz_fail(err, UPREZ_ERR_DEVICE, "uprez's module was built for LibTorch %s, and %s is "
                        "of LibTorch %s; run tools/build-libtorch.sh for that one, or say where %s "
                        "is with --runtime-path", f->built_for, f->library, f->version,
                        f->built_for);
    return 0;
}

static int find_both(Found *f, const char *runtime_path, UprezError *err)
{
    memset(f, 0, sizeof(*f));
    int r = find_module(f, runtime_path, err);
    return r < 0 ? r : find_library(f, runtime_path, err);
}

/* ---- opening ---- */

#if !defined(__has_feature)
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define OWN_SYMBOLS 0 /* the sanitizer ends a program that asks for it */
#else
#define OWN_SYMBOLS RTLD_DEEPBIND
#endif

/* The wheel has a BLAS of its own inside, under the common names. Where the process has another (by
 * FFmpeg's libraries, Debian's plain one), LibTorch would call that: slower, and other last bits in
 * every program. */
static void prefer_own_blas(const char *library)
{
    if (!dlsym(RTLD_DEFAULT, "sgemm_")) return;
    upz_library_preload(library);
    dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | OWN_SYMBOLS); /* errors: the next says */
}

static int open_module(const UpzTorchModule **out, const Found *f, UprezError *err)
{
    char path[PATH_MAX];
    void *library, *module = NULL;
    UpzTorchEntry entry = NULL;
    /* by its full path first: the module then finds it loaded, wherever it was built */
    prefer_own_blas(f->library);
    int r = upz_library_open(&libtorch, f->library, &library, path, sizeof(path), err);
    if (r < 0) return r;
    module = dlopen(f->module, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *why = module ? NULL : dlerror();
    if (module) *(void **)&entry = dlsym(module, UPZ_TORCH_ENTRY);
    const UpzTorchModule *m = entry ? entry(UPZ_TORCH_ABI) : NULL;
    if (!module)
        return upz_fail(err, UPREZ_ERR_DEVICE, "%s, built for LibTorch %s, does not fit %s: %s; run "
                        "tools/build-libtorch.sh again", f->module,
                        f->built_for[0] ? f->built_for : "of unknown version", f->library,
                        why ? why : "no reason given");
    if (!m || m->abi != UPZ_TORCH_ABI || m->open_bytes != sizeof(UpzTorchOpen) ||
        m->facts_bytes != sizeof(UpzTorchFacts) || m->save_bytes != sizeof(UpzTorchSave))
        return upz_fail(err, UPREZ_ERR_DEVICE, "%s was built from other sources than this uprez; run "
                        "tools/build-libtorch.sh again", f->module);
    *out = m;
    return 0;
}

struct UpzRuntime {
    const UpzTorchModule *m;
    UpzTorchNet *net;
    UpzTorchShape shape;
};

static void close_runtime(UpzRuntime **rt)
{
    UpzRuntime *t = *rt;
    if (!t) return;
    *rt = NULL;
    if (t->net) t->m->close(&t->net);
    upz_free(t);
}

/* cookie: --runtime-path */
static int need_trt(void *cookie, UprezError *err)
{
    char path[PATH_MAX];
    void *handle;
    return upz_library_open(&torch_tensorrt, cookie, &handle, path, sizeof(path), err);
}

static const UpzRuntimeOps runtime;

/* auto on a processor that multiplies narrow types several times as fast. Elsewhere fp32 is. */
static bool tries_narrow(const UprezModel *model, const UpzDevice *device, const char *precision)
{
    return !strcmp(precision, "auto") && !strcmp(device->kind, "cpu") && upz_auto_precision(upz_cpu_features(), 1) &&
           model->facts.scale_num; /* 0: being looked at, its sizes are not known */
}

/* The trial picture in one precision; NULL on any failure. */
static float *try_precision(UpzRuntime *t, const UprezModel *model, const UpzTorchOpen *as,
                            const char *precision, size_t *n)
{
    UpzTorchOpen how = *as;
    UpzTorchFacts facts = {0};
    UprezError quiet = {0};
    float *result = NULL;
    how.precision = precision;
    if (t->m->open(&t->net, &how, &facts, &quiet) >= 0 && !facts.half_io)
        upz_trial_run(&runtime, t, model, &result, n, &quiet);
    t->m->close(&t->net);
    return result;
}

/* The first narrow type whose result on the trial picture is close to fp32's, else auto. */
static const char *choose_precision(UpzRuntime *t, const UprezModel *model, const UpzTorchOpen *as)
{
    const char *best = "auto", *type;
    size_t n = 0;
    float *want = try_precision(t, model, as, "fp32", &n);
    for (int i = 0; want && !strcmp(best, "auto") && (type = upz_auto_precision(upz_cpu_features(), i)); i++) {
        if (!strcmp(type, "fp32")) break;
        float *result = try_precision(t, model, as, type, &n);
        if (result && upz_trial_psnr(result, want, n) > UPZ_TRIAL_PSNR) best = type;
        upz_free_aligned(result);
    }
    upz_free_aligned(want);
    return best;
}

static int open_runtime(UpzRuntime **out, UprezContext *ctx, UprezModel *model,
                        const UpzDevice *device, const UpzEngineParams *params,
                        UpzRuntimeFacts *facts, UprezError *err)
{
    Found found;
    *out = NULL;
    int r = find_both(&found, params->runtime_path, err);
    if (r >= 0 && !strcmp(device->kind, "cuda"))
        r = upz_cuda_check_context(params->runtime_path, device, err);
    if (r < 0) return r;
    UpzRuntime *t = upz_calloc(1, sizeof(*t));
    if (!t) return upz_fail_memory(err, sizeof(*t), "a network of LibTorch");
    UprezError ignored, own = {0};
    const bool foreign = model->foreign[0];
    UpzGpu gpus[UPZ_GPUS];
    UpzTorchScript script = {.text = NULL};
    UpzTorchOpen how = {
        .path = foreign ? model->facts.path : NULL, .script = foreign ? NULL : &script,
        .device = device->kind, .index = device->index,
        .precision = params->precision ? params->precision : "auto",
        .channels = model->facts.scale_num ? model->facts.channels : 0,
        .align = model->facts.scale_num ? model->facts.align : 0,
        .threads = upz_pool_size(ctx->pool), .need_trt = need_trt,
        .cookie = (void *)params->runtime_path,
        .cuda_here = upz_cuda_gpus(params->runtime_path, gpus, &ignored) > 0,
        .stream = device->native_stream};
    UpzTorchFacts own_facts = {0};
    r = open_module(&t->m, &found, err);
    if (r >= 0 && !foreign) r = upz_torch_script(&script, model, false, err);
    if (r >= 0) {
        if (tries_narrow(model, device, how.precision)) how.precision = choose_precision(t, model, &how);
        r = t->m->open(&t->net, &how, &own_facts, &own);
        if (r < 0) upz_fail(err, r, "%s", own.text);
    }
    upz_torch_script_free(&script);
    if (r < 0) {
        close_runtime(&t);
        return r;
    }
    /* while it is being looked at, the model is ours alone */
    if (foreign && !model->facts.scale_num) {
        if (own_facts.studio) model->facts.input = UPREZ_INPUT_Y_STUDIO;
        model->facts.parameters = own_facts.parameters;
        model->facts.half = own_facts.half;
    }
    snprintf(facts->version, sizeof(facts->version), "%s", t->m->built_for);
    snprintf(facts->provider, sizeof(facts->provider), "%s", device->kind);
    snprintf(facts->precision, sizeof(facts->precision), "%s", own_facts.precision);
    facts->half_io = own_facts.half_io;
    facts->slots = own_facts.slots;
    facts->device_memory = own_facts.device_memory;
    facts->one_thread = !own_facts.device_memory;
    *out = t;
    return 0;
}

static int said(int r, const UprezError *own, UprezError *err)
{
    return r < 0 ? upz_fail(err, r, "%s", own->text) : 0;
}

static int output_shape(UpzRuntime *t, UpzTensorShape *s, UprezError *err)
{
    UprezError own = {0};
    UpzTorchShape shape = {.in = {s->batch, s->channels, s->height, s->width}};
    const int r = t->m->shape(t->net, &shape, &own);
    if (r < 0) return said(r, &own, err);
    for (int i = 0; i < 4; i++)
        if (shape.out[i] < 1 || shape.out[i] > INT_MAX)
            return upz_fail(err, UPREZ_ERR_MODEL, "the network gives back an empty tensor for "
                            "%dx%d", s->width, s->height);
    if (shape.out[0] != s->batch)
        return upz_fail(err, UPREZ_ERR_MODEL, "the network gives back %d pictures for %d",
                        (int)shape.out[0], s->batch);
    s->out_channels = (int)shape.out[1];
    s->out_height = (int)shape.out[2], s->out_width = (int)shape.out[3];
    return 0;
}

static int prepare(UpzRuntime *t, const UpzTensorShape *s, int slots, UpzTensorBuffers *buffers,
                   UprezError *err)
{
    UprezError own = {0};
    UpzTorchBuffers got[UPZ_TENSOR_SLOTS] = {{0}};
    const UpzTorchShape shape = {
        .in = {s->batch, s->channels, s->height, s->width},
        .out = {s->batch, s->out_channels, s->out_height, s->out_width}};
    const int r = t->m->prepare(t->net, &shape, slots, got, &own);
    for (int i = 0; i < slots; i++)
        buffers[i] = (UpzTensorBuffers){.in = got[i].in, .out = got[i].out};
    return said(r, &own, err);
}

static int run(UpzRuntime *t, int slot, UprezError *err)
{
    UprezError own = {0};
    return said(t->m->run(t->net, slot, &own), &own, err);
}

static const UpzRuntimeOps runtime = {
    .name = "libtorch", .open = open_runtime, .prepare = prepare, .run = run,
    .close = close_runtime, .output_shape = output_shape};

/* ---- the engine's table ---- */

static void add_device(UpzDeviceList *list, const Found *f, const char *kind, const char *name)
{
    if (list->n >= UPZ_COUNT(list->items)) return;
    UpzDevice *d = &list->items[list->n++];
    *d = (UpzDevice){.index = 0};
    snprintf(d->kind, sizeof(d->kind), "%s", kind);
    snprintf(d->name, sizeof(d->name), "%.*s", (int)sizeof(d->name) - 1, name);
    snprintf(d->runtime, sizeof(d->runtime), "%.*s", (int)sizeof(d->runtime) - 1, f->library);
    snprintf(d->version, sizeof(d->version), "%s", f->version[0] ? f->version : f->built_for);
    snprintf(d->can, sizeof(d->can), CAN);
}

static bool beside(const Found *f, const char *name)
{
    char path[PATH_MAX + 32];
    const char *base = upz_basename(f->library);
    snprintf(path, sizeof(path), "%.*s%s", (int)(base - f->library), f->library, name);
    return upz_exists(path);
}

/* The GPUs, or why this LibTorch has none of them; without a GPU there is nothing to say. */
static void add_gpus(UpzDeviceList *list, const Found *f, const char *runtime_path, UprezError *why)
{
    UprezError ignored;
    UpzGpu gpus[UPZ_GPUS];
    char cuda[16], version[128];
    const char *own = f->version[0] ? f->version : f->built_for;
    if (upz_cuda_gpus(runtime_path, gpus, &ignored) < 1) return;
    library_cuda(f->library, cuda, sizeof(cuda));
    const int major = (int)strtol(cuda, NULL, 10);
    snprintf(version, sizeof(version), cuda[0] ? "%s for CUDA %s" : "%s", own, cuda);
    if (!beside(f, "libtorch_cuda.so"))
        upz_fail(why, UPREZ_ERR_DEVICE, "LibTorch %s (%s) is built without CUDA; get one with it from "
                 "pytorch.org", own, f->library);
    else if (gpus[0].cuda && major > gpus[0].cuda / 1000)
        upz_fail(why, UPREZ_ERR_DEVICE, "LibTorch %s wants a driver for CUDA %d.0 or newer, and this one "
                 "is for CUDA %d.%d: update the driver, or take a LibTorch for CUDA %d", version, major,
                 gpus[0].cuda / 1000, gpus[0].cuda % 1000 / 10, gpus[0].cuda / 1000);
    else
        upz_cuda_list(runtime_path, f->library, version, CAN, list, why);
}

static int probe(const char *runtime_path, UpzDeviceList *list, UprezError *why)
{
    Found found;
    int r = find_both(&found, runtime_path, why);
    if (r < 0) return r;
    add_device(list, &found, "cpu", upz_cpu_name(upz_cpu_detect()));
    add_gpus(list, &found, runtime_path, why);
    /* which devices there are only LibTorch could say, at length: the first is offered */
    if (beside(&found, "libtorch_xpu.so")) add_device(list, &found, "xpu", "Intel GPU");
    return 0;
}

static int supports(const UprezModel *model, const UpzEngineParams *params, UprezError *why)
{
    static const char *const precisions[] = {"auto", "fp32", "fp16", "bf16"};
    const char *path = model->facts.path ? model->facts.path : "this";
    if (model->kernel != UPZ_KERNEL_NONE)
        return upz_fail(why, UPREZ_ERR_DEVICE, "engine libtorch runs networks; '%s' is a kernel",
                        path);
    if (model->foreign[0] && strcmp(model->foreign, "torchscript") != 0)
        return upz_fail(why, UPREZ_ERR_MODEL, "engine libtorch does not run %s files such as %s",
                        model->foreign, path);
    bool known = !params || !params->precision;
    for (int i = 0; !known && i < UPZ_COUNT(precisions); i++)
        known = !strcmp(params->precision, precisions[i]);
    if (!known)
        return upz_fail(why, UPREZ_ERR_DEVICE, "engine libtorch computes in fp32, fp16 or bf16, not "
                        "in %s", params->precision);
    return 0;
}

static int open_engine(UpzEngine **out, UprezContext *ctx, UprezModel *model,
                       const UpzDevice *device, const UpzEngineParams *params, UprezError *err)
{
    *out = NULL;
    const int r = supports(model, params, err);
    if (r < 0) return r;
    return upz_tensor_open(out, &upz_engine_libtorch, &runtime, ctx, model, device, params, err);
}

static int look(UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                const UpzEngineParams *params, UprezError *err)
{
    return upz_tensor_look(&runtime, ctx, model, device, params, err);
}

const UpzEngineOps upz_engine_libtorch = {
    .abi = UPZ_ENGINE_ABI, .name = "libtorch",
    .about = "LibTorch: TorchScript files and any network, on processors and GPUs",
    .probe = probe, .look = look, .supports = supports, .open = open_engine,
    .plan = upz_tensor_plan, .submit = upz_tensor_submit, .wait = upz_tensor_wait,
    .close = upz_tensor_close};

/* ---- writing ---- */

typedef struct Sink {
    const char *path;
    UprezError err;
} Sink;

static int sink(void *cookie, const void *data, size_t size)
{
    Sink *s = cookie;
    return upz_write_atomic(s->path, data, size, &s->err);
}

int upz_libtorch_write(const UprezModel *model, const char *path, bool half,
                       const char *runtime_path, UprezError *err)
{
    Found found;
    const UpzTorchModule *m;
    const UprezModelFacts *f = &model->facts;
    Sink to = {.path = path};
    UpzTorchScript script;
    UprezError own = {0};
    if (model->kernel != UPZ_KERNEL_NONE || model->foreign[0])
        return upz_fail(err, UPREZ_ERR_MODEL, "'%s' holds no network of ours to write",
                        f->path ? f->path : "this");
    int r = find_both(&found, runtime_path, err);
    if (r >= 0) r = open_module(&m, &found, err);
    if (r >= 0) r = upz_torch_script(&script, model, true, err);
    if (r < 0) return r;
    const UpzTorchSave how = {.script = &script, .half = half,
                              .studio = f->input == UPREZ_INPUT_Y_STUDIO, .sink = sink,
                              .cookie = &to};
    r = m->save(&how, &own);
    upz_torch_script_free(&script);
    return said(r, to.err.code ? &to.err : &own, err);
}
