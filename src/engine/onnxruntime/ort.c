/* The library, its function table and its errors. */
#include "engine/onnxruntime/ort.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

const UpzLibrary upz_ort_library = {
    .name = "ONNX Runtime",
    .files = (const char *const[]){"libonnxruntime.so.1*", "libonnxruntime.so", NULL},
    .inner = (const char *const[]){"onnxruntime/capi", NULL},
    .sonames = (const char *const[]){"libonnxruntime.so.1", "libonnxruntime.so", NULL},
    .hint = "pip install onnxruntime",
};

static const struct {
    const char *name, *people, *file, *hint;
} providers[] = {
    [UPZ_ORT_CPU] = {"CPUExecutionProvider", "CPU", NULL, ""},
    [UPZ_ORT_CUDA] = {"CUDAExecutionProvider", "CUDA", "libonnxruntime_providers_cuda.so",
                      "pip install onnxruntime-gpu"},
    [UPZ_ORT_TENSORRT] = {"TensorrtExecutionProvider", "TensorRT",
                          "libonnxruntime_providers_tensorrt.so",
                          "pip install onnxruntime-gpu 'tensorrt<11'"},
    [UPZ_ORT_OPENVINO] = {"OpenVINOExecutionProvider", "OpenVINO",
                          "libonnxruntime_providers_openvino.so",
                          "pip install onnxruntime-openvino"},
};

const char *upz_ort_provider_name(UpzOrtKind kind)
{
    return providers[kind].name;
}

/* Text of others on one line. */
static void one_line(char *text)
{
    char *to = text;
    bool space = false;
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p <= ' ') {
            space = to != text;
            continue;
        }
        if (space) *to++ = ' ';
        space = false;
        *to++ = *p;
    }
    *to = 0;
}

static bool is_memory(const char *text)
{
    static const char *const marks[] = {"ailed to allocate",
                                        "out of memory",
                                        "OUT_OF_MEMORY",
                                        "ad_alloc",
                                        "ad allocation",
                                        "annot allocate",
                                        "cudaErrorMemoryAllocation",
                                        "OutOfMemory"};
    for (int i = 0; i < UPZ_COUNT(marks); i++)
        if (strstr(text, marks[i])) return true;
    return false;
}

int upz_ort_check(const UpzOrt *ort, OrtStatus *status, const char *what, bool foreign,
                  UprezError *err)
{
    if (!status) return 0;
    char text[600];
    const OrtErrorCode code = ort->api.GetErrorCode(status);
    snprintf(text, sizeof(text), "%s", ort->api.GetErrorMessage(status));
    ort->api.ReleaseStatus(status);
    one_line(text);
    const bool file = code == ORT_NO_SUCHFILE || code == ORT_NO_MODEL ||
                      code == ORT_INVALID_PROTOBUF || code == ORT_INVALID_GRAPH ||
                      code == ORT_NOT_IMPLEMENTED || code == ORT_FAIL ||
                      code == ORT_INVALID_ARGUMENT || code == ORT_RUNTIME_EXCEPTION;
    const int class = is_memory(text)   ? UPREZ_ERR_MEMORY
                      : foreign && file ? UPREZ_ERR_MODEL
                                        : UPREZ_ERR_DEVICE;
    return upz_fail(err, class, "%s: ONNX Runtime %s says: %s", what, ort->version, text);
}

static int list_providers(UpzOrt *ort, UprezError *err)
{
    char **names = NULL;
    int n = 0;
    int r = upz_ort_check(ort, ort->api.GetAvailableProviders(&names, &n),
                          "its providers cannot be listed", false, err);
    if (r < 0) return r;
    size_t used = 0;
    for (int i = 0; i < n && used + strlen(names[i]) + 2 < sizeof(ort->providers); i++)
        used +=
            (size_t)snprintf(ort->providers + used, sizeof(ort->providers) - used, "%s ", names[i]);
    return upz_ort_check(ort, ort->api.ReleaseAvailableProviders(names, n), "-", false, err);
}

int upz_ort_open(UpzOrt *ort, const char *runtime_path, UprezError *err)
{
    void *handle;
    *ort = (UpzOrt){.listener = ort->listener};
    int r = upz_library_open(&upz_ort_library, runtime_path, &handle, ort->path, sizeof(ort->path),
                             err);
    if (r < 0) return r;
    const OrtApiBase *(*get_base)(void);
    *(void **)&get_base = dlsym(handle, "OrtGetApiBase");
    const OrtApiBase *base = get_base ? get_base() : NULL;
    if (!base)
        return upz_fail(err, UPREZ_ERR_DEVICE, "%s is no ONNX Runtime: it has no OrtGetApiBase",
                        ort->path);
    snprintf(ort->version, sizeof(ort->version), "%s", base->GetVersionString());
    const OrtApi *api = NULL;
    for (ort->api_version = UPZ_ORT_API_BEST; !api && ort->api_version >= UPZ_ORT_API_LEAST;) {
        api = base->GetApi(ort->api_version);
        if (!api) ort->api_version--;
    }
    if (!api)
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "ONNX Runtime %s (%s) is too old: 1.%d or newer is "
                        "needed; get it with '%s'",
                        ort->version, ort->path, UPZ_ORT_API_LEAST, upz_ort_library.hint);
    void *const *table = (void *const *)(const void *)api;
#define UPZ_ORT(index, since, result, name, args)                                                  \
    if (ort->api_version >= (since)) memcpy(&ort->api.name, &table[index], sizeof(void *));
#include "engine/onnxruntime/ort_api.def"
#undef UPZ_ORT
    return list_providers(ort, err);
}

bool upz_ort_has(const UpzOrt *ort, UpzOrtKind kind)
{
    char name[64];
    snprintf(name, sizeof(name), "%s ", providers[kind].name);
    return strstr(ort->providers, name) != NULL;
}

/* The provider's own library, which the runtime opens by itself. */
static void provider_file(const UpzOrt *ort, UpzOrtKind kind, char *path, size_t size)
{
    snprintf(path, size, "%.*s%s", (int)(upz_basename(ort->path) - ort->path), ort->path,
             providers[kind].file);
}

int upz_ort_require(const UpzOrt *ort, UpzOrtKind kind, UprezError *err)
{
    char path[PATH_MAX];
    if (!upz_ort_has(ort, kind))
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "ONNX Runtime %s (%s) has no %s provider; get one "
                        "with '%s'",
                        ort->version, ort->path, providers[kind].people, providers[kind].hint);
    if (!providers[kind].file) return 0;
    provider_file(ort, kind, path, sizeof(path));
    if (strchr(ort->path, '/') && !upz_exists(path))
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "ONNX Runtime %s could use %s, but %s is missing; "
                        "get it with '%s'",
                        ort->version, providers[kind].people, path, providers[kind].hint);
    if (kind == UPZ_ORT_OPENVINO && !ort->api.SessionOptionsAppendExecutionProvider_OpenVINO_V2)
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "ONNX Runtime %s is too old for its OpenVINO "
                        "provider: 1.17 or newer is needed",
                        ort->version);
    return 0;
}

/* What is said outside of sessions has no listener that surely lives long enough. */
static void drop(void *param, OrtLoggingLevel level, const char *category, const char *logid,
                 const char *where, const char *message)
{
    (void)param, (void)level, (void)category, (void)logid, (void)where, (void)message;
}

/* A builder's own words on how far it is. */
static void to_listener(void *param, OrtLoggingLevel level, const char *category, const char *logid,
                        const char *where, const char *message)
{
    (void)category, (void)logid, (void)where;
    char text[1000];
    snprintf(text, sizeof(text), "%s", message ? message : "");
    one_line(text);
    upz_log(param,
            level >= ORT_LOGGING_LEVEL_WARNING || strstr(text, "TensorRT") ? UPREZ_LOG_INFO
                                                                           : UPREZ_LOG_DEBUG,
            "%s", text);
}

int upz_ort_start(UpzOrt *ort, UprezError *err)
{
    return upz_ort_check(ort,
                         ort->api.CreateEnvWithCustomLogger(
                             ort->listener ? to_listener : drop, ort->listener,
                             ort->listener ? ORT_LOGGING_LEVEL_INFO : ORT_LOGGING_LEVEL_ERROR,
                             "uprez", &ort->env),
                         "it cannot be started", false, err);
}

void upz_ort_stop(UpzOrt *ort)
{
    if (ort->env) ort->api.ReleaseEnv(ort->env);
    ort->env = NULL;
}

/* ---- sessions ---- */

static void to_log(void *param, OrtLoggingLevel level, const char *category, const char *logid,
                   const char *where, const char *message)
{
    (void)category, (void)logid, (void)where;
    char text[1000];
    snprintf(text, sizeof(text), "%s", message ? message : "");
    one_line(text);
    (void)level; /* its errors come back as a status too */
    upz_debug(param, "ONNX Runtime: %s", text);
}

#define TRY(call, what)                                                                            \
    if ((r = upz_ort_check(ort, (call), (what), false, err)) < 0) goto end

static int append_cuda(const UpzOrt *ort, OrtSessionOptions *options, const UpzOrtProvider *p,
                       UprezError *err)
{
    const UpzOrtApi *a = &ort->api;
    OrtCUDAProviderOptionsV2 *cuda = NULL;
    char device[16];
    snprintf(device, sizeof(device), "%d", p->device);
    /* one shape is run over and over, so searching for the fastest convolution once pays */
    const char *keys[] = {"device_id", "cudnn_conv_algo_search", "cudnn_conv_use_max_workspace",
                          "arena_extend_strategy"};
    const char *values[] = {device, "EXHAUSTIVE", "1", "kSameAsRequested"};
    int r;
    TRY(a->CreateCUDAProviderOptions(&cuda), "the CUDA provider cannot be set up");
    TRY(a->UpdateCUDAProviderOptions(cuda, keys, values, UPZ_COUNT(keys)),
        "the CUDA provider refuses its options");
    if (p->kind == UPZ_ORT_CUDA && p->n)
        TRY(a->UpdateCUDAProviderOptions(cuda, p->keys, p->values, (size_t)p->n),
            "the CUDA provider refuses its options");
    if (p->stream)
        TRY(a->UpdateCUDAProviderOptionsWithValue(cuda, "user_compute_stream", p->stream),
            "the CUDA provider refuses the caller's stream");
    TRY(a->SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda),
        "the CUDA provider cannot be used");
end:
    if (cuda) a->ReleaseCUDAProviderOptions(cuda);
    return r;
}

static int append_tensorrt(const UpzOrt *ort, OrtSessionOptions *options, const UpzOrtProvider *p,
                           UprezError *err)
{
    const UpzOrtApi *a = &ort->api;
    OrtTensorRTProviderOptionsV2 *trt = NULL;
    char device[16];
    snprintf(device, sizeof(device), "%d", p->device);
    const char *key = "device_id", *value = device;
    int r;
    TRY(a->CreateTensorRTProviderOptions(&trt), "the TensorRT provider cannot be set up");
    TRY(a->UpdateTensorRTProviderOptions(trt, &key, &value, 1),
        "the TensorRT provider refuses its device");
    TRY(a->UpdateTensorRTProviderOptions(trt, p->keys, p->values, (size_t)p->n),
        "the TensorRT provider refuses its options");
    if (p->stream)
        TRY(a->UpdateTensorRTProviderOptionsWithValue(trt, "user_compute_stream", p->stream),
            "the TensorRT provider refuses the caller's stream");
    TRY(a->SessionOptionsAppendExecutionProvider_TensorRT_V2(options, trt),
        "the TensorRT provider cannot be used");
end:
    if (trt) a->ReleaseTensorRTProviderOptions(trt);
    return r;
}

static int append(const UpzOrt *ort, OrtSessionOptions *options, const UpzOrtProvider *p,
                  UprezError *err)
{
    char path[PATH_MAX];
    if (p->kind == UPZ_ORT_CPU) return 0;
    int r = upz_ort_require(ort, p->kind, err);
    if (r < 0) return r;
    provider_file(ort, p->kind, path, sizeof(path));
    upz_library_preload(path);
    if (p->kind == UPZ_ORT_OPENVINO)
        return upz_ort_check(ort,
                             ort->api.SessionOptionsAppendExecutionProvider_OpenVINO_V2(
                                 options, p->keys, p->values, (size_t)p->n),
                             "the OpenVINO provider cannot be used", false, err);
    if (p->kind == UPZ_ORT_TENSORRT) {
        r = append_tensorrt(ort, options, p, err);
        if (r < 0 || !upz_ort_has(ort, UPZ_ORT_CUDA)) return r;
        provider_file(ort, UPZ_ORT_CUDA, path, sizeof(path));
        upz_library_preload(path); /* takes what TensorRT does not */
    }
    return append_cuda(ort, options, p, err);
}

int upz_ort_session(OrtSession **out, const UpzOrt *ort, UprezContext *ctx,
                    const UpzOrtProvider *provider, const char *path, const void *data, size_t size,
                    UprezError *err)
{
    const UpzOrtApi *a = &ort->api;
    static const char *const config[][2] = {
        {"session.set_denormal_as_zero", "1"},
        {"session.intra_op.allow_spinning", "0"},
        {"session.inter_op.allow_spinning", "0"},
    };
    OrtSessionOptions *o = NULL;
    int r;
    *out = NULL;
    TRY(a->CreateSessionOptions(&o), "a session cannot be set up");
    /* a builder tells its progress; all else would fill pages */
    TRY(a->SetSessionLogSeverityLevel(o, provider->kind == UPZ_ORT_TENSORRT
                                             ? ORT_LOGGING_LEVEL_INFO
                                             : ORT_LOGGING_LEVEL_WARNING),
        "its log cannot be set up");
    if (a->SetUserLoggingFunction) {
        TRY(a->SetUserLoggingFunction(o, to_log, ctx), "its log cannot be set up");
    }
    TRY(a->SetSessionGraphOptimizationLevel(o, ORT_ENABLE_ALL), "a session cannot be set up");
    TRY(a->SetIntraOpNumThreads(o, upz_pool_size(ctx->pool)), "its threads cannot be set up");
    TRY(a->SetInterOpNumThreads(o, 1), "its threads cannot be set up");
    TRY(a->DisableMemPattern(o), "a session cannot be set up");
    for (int i = 0; i < UPZ_COUNT(config); i++)
        TRY(a->AddSessionConfigEntry(o, config[i][0], config[i][1]), "a session cannot be set up");
    if (provider->own_graph && provider->kind != UPZ_ORT_CPU)
        TRY(a->AddSessionConfigEntry(o, "session.disable_cpu_ep_fallback", "1"),
            "a session cannot be set up");
    if ((r = append(ort, o, provider, err)) < 0) goto end;
    if (data)
        r = upz_ort_check(ort, a->CreateSessionFromArray(ort->env, data, size, o, out),
                          provider->own_graph ? "the network cannot be set up" : path,
                          !provider->own_graph, err);
    else
        r = upz_ort_check(ort, a->CreateSession(ort->env, path, o, out), path, !provider->own_graph,
                          err);
end:
    if (o) a->ReleaseSessionOptions(o);
    return r;
}

int upz_ort_precision(const UpzEngineParams *params, bool gpu, char precision[16], UprezError *err)
{
    const char *p = params && params->precision ? params->precision : "auto";
    if (!strcmp(p, "auto")) p = gpu ? "fp16" : "fp32";
    if (strcmp(p, "fp32") && strcmp(p, "fp16"))
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "ONNX Runtime computes our networks in fp32 or fp16, "
                        "not in %s; give --precision fp32",
                        p);
    snprintf(precision, 16, "%s", p);
    return 0;
}
