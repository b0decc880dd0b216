/* Engine "tensorrt": our graph, or a file that TensorRT built, through ONNX Runtime's provider. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/cuda_driver.h"
#include "engine/onnxruntime/ort.h"
#include "engine/tensorrt/trt.h"
#include "model/write.h"

extern const UpzEngineOps upz_engine_tensorrt;

struct UpzRuntime {
    UpzOrtNet net;
    int device;
    void *stream;
    char root[PATH_MAX]; /* the cache's */
    UpzTrtKey key;       /* key.profile: of the session, all 0 while there is none */
    bool ranged;         /* the profile came from the cache or the caller and stays */
    uint8_t *onnx;       /* the network, to build from; upz_free */
    size_t onnx_size;
    const char *name; /* for messages; the model's */
};

static const UpzLibrary nvinfer = {
    .name = "TensorRT",
    /* what ONNX Runtime's providers are linked with, up to 1.31 at least; 11 beside it is none of theirs */
    .files = (const char *const[]){"libnvinfer.so.10*", "libnvinfer.so.[89]*", NULL},
    .inner = (const char *const[]){"tensorrt_libs", NULL},
    .sonames = (const char *const[]){"libnvinfer.so.10", NULL},
    .hint = "pip install 'tensorrt<11'",
};

/* "10.3.0" of the library that the provider will use; loading it by its path makes it that one. */
static int tensorrt_version(const char *runtime_path, char version[32], UprezError *err)
{
    char path[PATH_MAX];
    void *handle;
    int r = upz_library_open(&nvinfer, runtime_path, &handle, path, sizeof(path), err);
    if (r < 0) return r;
    int (*get)(void);
    *(void **)&get = dlsym(handle, "getInferLibVersion");
    const int v = get ? get() : 0;
    if (v < 8000)
        return upz_fail(err, UPREZ_ERR_DEVICE, "%s is no TensorRT that can be used (version %d)",
                        path, v);
    if (v >= 100000)
        snprintf(version, 32, "%d.%d.%d", v / 10000, v / 100 % 100, v % 100);
    else
        snprintf(version, 32, "%d.%d.%d", v / 1000, v / 100 % 10, v % 100);
    return 0;
}

static void close_runtime(UpzRuntime **runtime)
{
    UpzRuntime *rt = *runtime;
    *runtime = NULL;
    if (!rt) return;
    upz_ort_net_close(&rt->net);
    upz_free(rt->onnx);
    upz_free(rt);
}

/* "input:1x3x64x64" */
static void profile_text(const UpzTrtKey *k, int which, char text[64])
{
    const UpzTrtProfile *p = &k->profile;
    snprintf(text, 64, "input:%dx%dx%dx%d", p->batch[which], k->channels, p->height[which],
             p->width[which]);
}

/* A session whose engine is read from, or built into, `folder`. */
static int session_in(UpzRuntime *rt, const char *folder, OrtSession **session, UprezError *err)
{
    char shapes[UPZ_TRT_SIZES][64], timing[PATH_MAX];
    for (int i = 0; i < UPZ_TRT_SIZES; i++) profile_text(&rt->key, i, shapes[i]);
    /* how fast kernels were, for the next engine of the same kind of GPU */
    const int n = snprintf(timing, sizeof(timing), "%s/timing.%s.%s", rt->root, rt->key.gpu,
                           rt->key.tensorrt);
    if (n >= PATH_MAX) timing[0] = 0;
    UpzOrtProvider p = {
        .kind = UPZ_ORT_TENSORRT,
        .device = rt->device,
        .stream = rt->stream,
        .own_graph = true,
        .n = 9,
        .keys = {"trt_fp16_enable", "trt_engine_cache_enable", "trt_engine_cache_path",
                 "trt_timing_cache_enable", "trt_timing_cache_path", "trt_profile_min_shapes",
                 "trt_profile_opt_shapes", "trt_profile_max_shapes", "trt_detailed_build_log"},
        .values = {strcmp(rt->key.precision, "fp16") ? "0" : "1", "1", folder, "1", timing,
                   shapes[UPZ_TRT_MIN], shapes[UPZ_TRT_OPT], shapes[UPZ_TRT_MAX],
                   rt->net.ort.listener ? "1" : "0"}};
    return upz_ort_session(session, &rt->net.ort, rt->net.ctx, &p, rt->name, rt->onnx,
                           rt->onnx_size, err);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The session for key.profile, its engine from the cache or built. */
static int open_session(UpzRuntime *rt, char folder[PATH_MAX], UprezError *err)
{
    char building[PATH_MAX];
    OrtSession *session = NULL;
    UprezContext *ctx = rt->net.ctx;
    const UpzTrtProfile *p = &rt->key.profile;
    if (!upz_trt_cache_folder(rt->root, &rt->key, folder))
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s is too long a name", rt->root);
    int r;
    if (upz_trt_cache_check(ctx, folder, &rt->key)) {
        upz_debug(ctx, "TensorRT engine from %s", folder);
        r = session_in(rt, folder, &session, err);
        /* what the provider does not like itself it builds again: then the hashes are others */
        if (r >= 0) upz_trt_cache_check(ctx, folder, &rt->key);
    } else {
        const double start = seconds();
        upz_info(ctx,
                 "building a TensorRT engine for %s at up to %dx%d in %s: this can take minutes "
                 "and is kept for the next time",
                 rt->name, p->width[UPZ_TRT_MAX], p->height[UPZ_TRT_MAX], rt->key.precision);
        r = upz_trt_cache_begin(folder, building, err);
        if (r < 0) return r;
        r = session_in(rt, building, &session, err);
        if (r >= 0) {
            UprezError kept = {0};
            upz_info(ctx, "TensorRT engine built in %.0f s", seconds() - start);
            if (upz_trt_cache_finish(building, folder, &rt->key, &kept) < 0) {
                upz_warn(ctx, "the engine cannot be kept: %s", kept.text);
                upz_trt_cache_remove(building);
            }
        } else {
            upz_trt_cache_remove(building);
        }
    }
    return r < 0 ? r : upz_ort_net_session(&rt->net, session, rt->name, err);
}

/* ---- a file that TensorRT built ---- */

static int refuse_file(const UpzRuntime *rt, int code, const char *why, UprezError *err)
{
    return upz_fail(err, code,
                    "%s cannot run here: %s; build it anew with 'uprez model compile', or "
                    "run the network itself",
                    rt->name, why);
}

/* What is written beside an engine of ours; others are taken as 3 channels of fp32, any size. */
static int read_note(UpzRuntime *rt, const char *path, const UpzTrtKey *here, UprezError *err)
{
    char note[PATH_MAX], text[UPZ_TRT_TEXT], why[256];
    UpzTrtKey built;
    rt->key = *here;
    rt->key.channels = 3;
    if (snprintf(note, sizeof(note), "%s.txt", path) >= PATH_MAX) return 0;
    FILE *f = fopen(note, "re");
    if (!f) return 0;
    const size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = 0;
    fclose(f);
    if (!upz_trt_key_read(&built, text)) {
        upz_warn(rt->net.ctx, "%s says nothing that is understood", upz_basename(note));
        return 0;
    }
    if (upz_trt_key_differs(&built, here, why, sizeof(why)))
        return refuse_file(rt, UPREZ_ERR_DEVICE, why, err);
    rt->key = built;
    rt->ranged = true;
    return 0;
}

static int open_file(UpzRuntime *rt, const char *path, const UpzTrtKey *here, UprezError *err)
{
    UpzMap map;
    OrtSession *session = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    int r = upz_map_open(&map, path, UPZ_MODEL_MAX_BYTES, UPREZ_ERR_MODEL, err);
    if (r < 0) return r;
    if (map.size < 64 || memcmp(map.data, "ftrt", 4))
        r = refuse_file(rt, UPREZ_ERR_MODEL,
                        "it is no engine of TensorRT's (it does not begin with "
                        "its mark)",
                        err);
    if (r >= 0) r = read_note(rt, path, here, err);
    if (r >= 0) r = upz_trt_wrap_engine(map.data, map.size, &rt->key, &data, &size, err);
    upz_map_close(&map);
    UpzOrtProvider p = {.kind = UPZ_ORT_TENSORRT, .device = rt->device, .stream = rt->stream};
    if (r >= 0)
        r = upz_ort_session(&session, &rt->net.ort, rt->net.ctx, &p, rt->name, data, size, err);
    upz_free(data);
    return r < 0 ? r : upz_ort_net_session(&rt->net, session, rt->name, err);
}

/* ---- the runtime's table ---- */

/* Everything up to the session. here gets GPU and version. */
static int begin(UpzRuntime **out, UprezContext *ctx, const UprezModel *model, int device,
                 const char *runtime_path, bool listen, UpzTrtKey *here, UprezError *err)
{
    UpzGpu gpus[UPZ_GPUS];
    UpzRuntime *rt = upz_calloc(1, sizeof(*rt));
    *out = rt;
    if (!rt) return upz_fail_memory(err, sizeof(*rt), "engine tensorrt");
    rt->device = device;
    rt->name = upz_basename(model->facts.path ? model->facts.path : "the model");
    rt->net.on_device = true;
    rt->net.foreign = model->foreign[0] != 0;
    if (listen) rt->net.ort.listener = ctx;
    int r = upz_ort_net_open(&rt->net, ctx, runtime_path, err);
    if (r >= 0) r = upz_ort_require(&rt->net.ort, UPZ_ORT_TENSORRT, err);
    if (r >= 0) r = upz_cuda_gpus(runtime_path, gpus, err);
    if (r >= 0 && device >= r)
        r = upz_fail(err, UPREZ_ERR_DEVICE, "there is no GPU %d here; see 'uprez devices'", device);
    if (r >= 0) {
        snprintf(here->gpu, sizeof(here->gpu), "sm_%d",
                 (gpus[device].major * 10 + gpus[device].minor) % 10000);
        r = tensorrt_version(runtime_path, here->tensorrt, err);
    }
    return r;
}

/* The network's bytes and the key without profile. */
static int write_network(UpzRuntime *rt, const UprezModel *model, const UpzTrtKey *here,
                         const char *precision, UprezError *err)
{
    const bool half = !strcmp(precision, "fp16");
    UpzOnnxParams p = {.half = half, .half_io = half};
    int r = upz_write_onnx_memory(model, &p, &rt->onnx, &rt->onnx_size, err);
    if (r < 0) return r;
    rt->key = *here;
    rt->key.channels = model->facts.channels;
    rt->key.half = half;
    snprintf(rt->key.precision, sizeof(rt->key.precision), "%s", precision);
    upz_sha256(rt->onnx, rt->onnx_size, rt->key.model);
    return upz_trt_cache_root(rt->root, err);
}

/* batch: what was asked for, 0 = nothing; runs have the nearest that the engine takes. */
static void take_profile(const UpzTrtProfile *p, int batch, UpzRuntimeFacts *facts)
{
    facts->min_width = p->width[UPZ_TRT_MIN];
    facts->min_height = p->height[UPZ_TRT_MIN];
    facts->max_width = p->width[UPZ_TRT_MAX];
    facts->max_height = p->height[UPZ_TRT_MAX];
    facts->fixed_batch = UPZ_MIN(UPZ_MAX(batch, p->batch[UPZ_TRT_MIN]), p->batch[UPZ_TRT_MAX]);
    if (facts->min_width == facts->max_width) facts->fixed_width = facts->max_width;
    if (facts->min_height == facts->max_height) facts->fixed_height = facts->max_height;
}

static int open_runtime(UpzRuntime **out, UprezContext *ctx, UprezModel *model,
                        const UpzDevice *device, const UpzEngineParams *params,
                        UpzRuntimeFacts *facts, UprezError *err)
{
    const char *runtime_path = params ? params->runtime_path : NULL;
    UpzTrtKey here = {.channels = 0};
    UpzRuntime *rt = NULL;
    *out = NULL;
    int r = upz_ort_precision(params, true, facts->precision, err);
    if (r >= 0) r = upz_cuda_check_context(runtime_path, device, err);
    if (r >= 0) r = begin(&rt, ctx, model, device->index, runtime_path, false, &here, err);
    if (rt) rt->stream = device->native_stream;
    if (r >= 0 && model->foreign[0]) {
        r = open_file(rt, model->facts.path, &here, err);
        if (r >= 0) {
            const char *built = rt->key.precision[0] ? rt->key.precision
                                : rt->net.half       ? "fp16"
                                                     : "fp32";
            snprintf(facts->precision, sizeof(facts->precision), "%s", built);
            facts->half_io = rt->net.half;
        }
    } else if (r >= 0) {
        r = write_network(rt, model, &here, facts->precision, err);
        facts->half_io = r >= 0 && rt->key.half;
        if (r >= 0) rt->ranged = upz_trt_cache_find(ctx, rt->root, &rt->key, &rt->key.profile);
        if (rt->ranged) { /* only when it works: else every tile is built for */
            char folder[PATH_MAX];
            r = open_session(rt, folder, err);
        }
        facts->fixed_shape = !rt->ranged;
    }
    if (r < 0) {
        close_runtime(&rt);
        return r;
    }
    if (rt->ranged) take_profile(&rt->key.profile, params ? params->batch : 0, facts);
    snprintf(facts->version, sizeof(facts->version), "%s", here.tensorrt);
    snprintf(facts->provider, sizeof(facts->provider), "%s", here.gpu);
    facts->slots = 1;
    facts->device_memory = true;
    *out = rt;
    return 0;
}

static int prepare(UpzRuntime *rt, const UpzTensorShape *s, int slots, UpzTensorBuffers *buffers,
                   UprezError *err)
{
    UpzTrtProfile *p = &rt->key.profile;
    const bool fits = s->batch == p->batch[UPZ_TRT_OPT] && s->width == p->width[UPZ_TRT_OPT] &&
                      s->height == p->height[UPZ_TRT_OPT] && rt->net.session;
    if (!rt->ranged && rt->onnx && !fits) {
        char folder[PATH_MAX];
        for (int i = 0; i < UPZ_TRT_SIZES; i++)
            p->batch[i] = s->batch, p->width[i] = s->width, p->height[i] = s->height;
        int r = open_session(rt, folder, err);
        if (r < 0) {
            *p = (UpzTrtProfile){.batch = {0}};
            return r;
        }
    }
    return upz_ort_net_prepare(&rt->net, s, slots, buffers, err);
}

static int run(UpzRuntime *rt, int slot, UprezError *err)
{
    return upz_ort_net_run(&rt->net, slot, err);
}

static int output_shape(UpzRuntime *rt, UpzTensorShape *shape, UprezError *err)
{
    return upz_ort_net_output_shape(&rt->net, shape, err);
}

static const UpzRuntimeOps runtime = {
    .name = "tensorrt",
    .open = open_runtime,
    .prepare = prepare,
    .run = run,
    .close = close_runtime,
    .output_shape = output_shape,
};

/* ---- building on request ---- */

static int copy_out(const UpzRuntime *rt, const char *folder, const char *out, UprezError *err)
{
    char file[PATH_MAX], note[PATH_MAX], text[UPZ_TRT_TEXT];
    UpzMap map;
    if (snprintf(note, sizeof(note), "%s.txt", out) >= PATH_MAX)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s is too long a name", out);
    int r = upz_trt_cache_engine(folder, file, err);
    if (r >= 0) r = upz_map_open(&map, file, UPZ_MODEL_MAX_BYTES, UPREZ_ERR_OUTPUT, err);
    if (r < 0) return r;
    upz_trt_key_write(&rt->key, text);
    r = upz_write_atomic(out, map.data, map.size, err);
    if (r >= 0) r = upz_write_atomic(note, text, strlen(text), err);
    upz_map_close(&map);
    return r;
}

int upz_trt_compile(UprezContext *ctx, UprezModel *model, int device, const char *runtime_path,
                    const char *precision, const UpzTrtProfile *profile, const char *out,
                    char folder[PATH_MAX], UprezError *err)
{
    UpzTrtKey here = {.channels = 0};
    UpzRuntime *rt = NULL;
    const UpzEngineParams params = {.precision = precision, .runtime_path = runtime_path};
    int r = upz_engine_tensorrt.supports(model, &params, err);
    if (r >= 0 && model->foreign[0])
        r = upz_fail(err, UPREZ_ERR_MODEL, "%s is built already", model->facts.path);
    if (r >= 0) r = begin(&rt, ctx, model, device, runtime_path, true, &here, err);
    if (r >= 0) r = write_network(rt, model, &here, precision, err);
    if (r >= 0) {
        rt->key.profile = *profile;
        r = open_session(rt, folder, err);
    }
    if (r >= 0 && out) r = copy_out(rt, folder, out, err);
    close_runtime(&rt);
    return r;
}

/* ---- the engine's table ---- */

static int probe(const char *runtime_path, UpzDeviceList *list, UprezError *why)
{
    UpzOrt ort = {.env = NULL};
    char version[32], both[96];
    int r = upz_ort_open(&ort, runtime_path, why);
    if (r >= 0) r = upz_ort_require(&ort, UPZ_ORT_TENSORRT, why);
    if (r >= 0) r = tensorrt_version(runtime_path, version, why);
    if (r < 0) return r;
    snprintf(both, sizeof(both), "%s (ONNX Runtime %.24s)", version, ort.version);
    return upz_cuda_list(runtime_path, ort.path, both, "fp16, fp32", list, why);
}

static int supports(const UprezModel *model, const UpzEngineParams *params, UprezError *why)
{
    char precision[16];
    if (model->kernel != UPZ_KERNEL_NONE)
        return upz_fail(why, UPREZ_ERR_DEVICE, "engine tensorrt runs networks; '%s' is a kernel",
                        model->facts.path ? model->facts.path : "this");
    if (model->foreign[0] && strcmp(model->foreign, "tensorrt"))
        return upz_fail(why, UPREZ_ERR_MODEL,
                        "engine tensorrt runs its own files and networks of "
                        "plain weights; this is a %s file",
                        model->foreign);
    return upz_ort_precision(params, true, precision, why);
}

static int look(UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                const UpzEngineParams *params, UprezError *err)
{
    return upz_tensor_look(&runtime, ctx, model, device, params, err);
}

static int open_engine(UpzEngine **out, UprezContext *ctx, UprezModel *model,
                       const UpzDevice *device, const UpzEngineParams *params, UprezError *err)
{
    return upz_tensor_open(out, &upz_engine_tensorrt, &runtime, ctx, model, device, params, err);
}

const UpzEngineOps upz_engine_tensorrt = {
    .abi = UPZ_ENGINE_ABI,
    .name = "tensorrt",
    .about = "TensorRT, by ONNX Runtime's provider",
    .probe = probe,
    .look = look,
    .supports = supports,
    .open = open_engine,
    .plan = upz_tensor_plan,
    .submit = upz_tensor_submit,
    .wait = upz_tensor_wait,
    .close = upz_tensor_close,
};
