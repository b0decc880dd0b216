/* An ONNX Runtime that is none: it scales by repeating pixels, says into $FAKE_LOG what it was
 * asked, and fails on demand. $FAKE_ORT holds words: old, cpu (no other provider), nocuda, memory
 * (runs of more than 64x64 fail), refuse (sessions fail), version (built engines are refused). */
#include <dirent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/onnxruntime/ort_abi.h"

#define TABLE 400

struct OrtStatus {
    OrtErrorCode code;
    char text[256];
};
struct OrtEnv {
    OrtLoggingFunction fn;
    void *param;
};
struct OrtSessionOptions {
    bool cuda, trt;
    char cache[1024];
    int min[4], max[4];
};
struct OrtSession {
    struct OrtSessionOptions o;
    bool half;
};
struct OrtValue {
    void *data;
    int64_t dims[4];
    bool half, own;
};
struct OrtIoBinding {
    const struct OrtValue *in, *out;
};
struct OrtTypeInfo {
    bool half, out;
};
struct OrtMemoryInfo {
    int unused;
};
struct OrtCUDAProviderOptionsV2 {
    int unused;
};
struct OrtTensorRTProviderOptionsV2 {
    char cache[1024];
    int min[4], max[4];
};

static void say(const char *fmt, ...)
{
    const char *path = getenv("FAKE_LOG");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (!f) return;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fputc('\n', f);
    fclose(f);
}

static bool asked(const char *word)
{
    const char *all = getenv("FAKE_ORT");
    return all && strstr(all, word);
}

static OrtStatus *status(OrtErrorCode code, const char *text)
{
    OrtStatus *s = calloc(1, sizeof(*s));
    s->code = code;
    snprintf(s->text, sizeof(s->text), "%s", text);
    return s;
}

static OrtErrorCode GetErrorCode(const OrtStatus *s)
{
    return s->code;
}
static const char *GetErrorMessage(const OrtStatus *s)
{
    return s->text;
}
static void ReleaseStatus(OrtStatus *s)
{
    free(s);
}

static OrtStatus *CreateEnvWithCustomLogger(OrtLoggingFunction fn, void *param, OrtLoggingLevel l,
                                            const char *id, OrtEnv **out)
{
    (void)l, (void)id;
    *out = calloc(1, sizeof(**out));
    (*out)->fn = fn;
    (*out)->param = param;
    return NULL;
}
static void ReleaseEnv(OrtEnv *e)
{
    free(e);
}

static OrtStatus *CreateSessionOptions(OrtSessionOptions **out)
{
    *out = calloc(1, sizeof(**out));
    return NULL;
}
static void ReleaseSessionOptions(OrtSessionOptions *o)
{
    free(o);
}
static OrtStatus *DisableMemPattern(OrtSessionOptions *o)
{
    (void)o;
    return NULL;
}
static OrtStatus *SetSessionLogSeverityLevel(OrtSessionOptions *o, int l)
{
    (void)o, (void)l;
    return NULL;
}
static OrtStatus *SetSessionGraphOptimizationLevel(OrtSessionOptions *o, GraphOptimizationLevel l)
{
    (void)o, (void)l;
    return NULL;
}
static OrtStatus *SetIntraOpNumThreads(OrtSessionOptions *o, int n)
{
    (void)o;
    say("threads %d", n);
    return NULL;
}
static OrtStatus *SetInterOpNumThreads(OrtSessionOptions *o, int n)
{
    (void)o, (void)n;
    return NULL;
}
static OrtStatus *AddSessionConfigEntry(OrtSessionOptions *o, const char *k, const char *v)
{
    (void)o;
    say("config %s=%s", k, v);
    return NULL;
}
static OrtStatus *SetUserLoggingFunction(OrtSessionOptions *o, OrtLoggingFunction fn, void *param)
{
    (void)o;
    fn(param, ORT_LOGGING_LEVEL_WARNING, "", "", "", "a word\nfrom the runtime");
    return NULL;
}

static OrtStatus *GetAvailableProviders(char ***names, int *n)
{
    static char trt[] = "TensorrtExecutionProvider", cuda[] = "CUDAExecutionProvider";
    static char cpu[] = "CPUExecutionProvider", *all[] = {trt, cuda, cpu};
    const int skip = asked("cpu") ? 2 : 0;
    *names = all + skip;
    *n = 3 - skip;
    return NULL;
}
static OrtStatus *ReleaseAvailableProviders(char **names, int n)
{
    (void)names, (void)n;
    return NULL;
}

/* ---- providers ---- */

static OrtStatus *CreateCUDAProviderOptions(OrtCUDAProviderOptionsV2 **out)
{
    *out = calloc(1, sizeof(**out));
    return NULL;
}
static void ReleaseCUDAProviderOptions(OrtCUDAProviderOptionsV2 *o)
{
    free(o);
}
static OrtStatus *UpdateCUDAProviderOptions(OrtCUDAProviderOptionsV2 *o, const char *const *k,
                                            const char *const *v, size_t n)
{
    (void)o;
    for (size_t i = 0; i < n; i++) say("cuda %s=%s", k[i], v[i]);
    return NULL;
}
static OrtStatus *UpdateCUDAProviderOptionsWithValue(OrtCUDAProviderOptionsV2 *o, const char *k,
                                                     void *v)
{
    (void)o;
    say("cuda %s=%p", k, v);
    return NULL;
}
static OrtStatus *SessionOptionsAppendExecutionProvider_CUDA_V2(OrtSessionOptions *o,
                                                                const OrtCUDAProviderOptionsV2 *c)
{
    (void)c;
    if (asked("nocuda"))
        return status(ORT_EP_FAIL, "libcublasLt.so.13: cannot open\nshared object");
    o->cuda = true;
    return NULL;
}
static OrtStatus *CreateTensorRTProviderOptions(OrtTensorRTProviderOptionsV2 **out)
{
    *out = calloc(1, sizeof(**out));
    return NULL;
}
static void ReleaseTensorRTProviderOptions(OrtTensorRTProviderOptionsV2 *o)
{
    free(o);
}
static OrtStatus *UpdateTensorRTProviderOptions(OrtTensorRTProviderOptionsV2 *o,
                                                const char *const *k, const char *const *v,
                                                size_t n)
{
    for (size_t i = 0; i < n; i++) {
        say("trt %s=%s", k[i], v[i]);
        int *dims = strstr(k[i], "min_shapes")   ? o->min
                    : strstr(k[i], "max_shapes") ? o->max
                                                 : NULL;
        if (dims) sscanf(v[i], "input:%dx%dx%dx%d", &dims[0], &dims[1], &dims[2], &dims[3]);
        if (!strcmp(k[i], "trt_engine_cache_path"))
            snprintf(o->cache, sizeof(o->cache), "%s", v[i]);
    }
    return NULL;
}
static OrtStatus *UpdateTensorRTProviderOptionsWithValue(OrtTensorRTProviderOptionsV2 *o,
                                                         const char *k, void *v)
{
    (void)o;
    say("trt %s=%p", k, v);
    return NULL;
}
static OrtStatus *
SessionOptionsAppendExecutionProvider_TensorRT_V2(OrtSessionOptions *o,
                                                  const OrtTensorRTProviderOptionsV2 *t)
{
    o->trt = true;
    memcpy(o->cache, t->cache, sizeof(o->cache));
    memcpy(o->min, t->min, sizeof(o->min));
    memcpy(o->max, t->max, sizeof(o->max));
    return NULL;
}

/* ---- sessions ---- */

static bool has(const void *data, size_t n, const char *what)
{
    for (size_t i = 0, k = strlen(what); i + k <= n; i++)
        if (!memcmp((const char *)data + i, what, k)) return true;
    return false;
}

/* What the provider does with its folder. */
static void cached_engine(const OrtSession *s)
{
    DIR *d = opendir(s->o.cache);
    bool found = false;
    for (struct dirent *e; d && (e = readdir(d));) found |= strstr(e->d_name, ".engine") != NULL;
    if (d) closedir(d);
    say(found ? "engine loaded" : "engine built %dx%d", s->o.max[3], s->o.max[2]);
    char path[1100];
    snprintf(path, sizeof(path), "%s/kernel_sm.engine", s->o.cache);
    FILE *f = found ? NULL : fopen(path, "w");
    if (!f) return;
    fprintf(f, "ftrt an engine for %dx%d, long enough to be one of those that TensorRT writes %s",
            s->o.max[3], s->o.max[2], s->half ? "half" : "");
    fclose(f);
}

static OrtStatus *CreateSessionFromArray(const OrtEnv *env, const void *data, size_t n,
                                         const OrtSessionOptions *o, OrtSession **out)
{
    if (asked("refuse")) return status(ORT_FAIL, "there is a\nreason");
    if (asked("version") && has(data, n, "EPContext"))
        return status(ORT_EP_FAIL,
                      "The engine plan file is not compatible with this version of TensorRT");
    OrtSession *s = calloc(1, sizeof(*s));
    s->o = *o;
    /* TypeProto.Tensor: elem_type is a half */
    s->half = has(data, n, "\x08\x0a\x12");
    say("session %s%s", s->half ? "half" : "float",
        has(data, n, "EPContext") ? " of an engine" : "");
    if (env->fn)
        env->fn(env->param, ORT_LOGGING_LEVEL_INFO, "", "", "", "[TensorRT EP] some progress");
    if (o->trt && o->cache[0]) cached_engine(s);
    *out = s;
    return NULL;
}
static OrtStatus *CreateSession(const OrtEnv *env, const char *path, const OrtSessionOptions *o,
                                OrtSession **out)
{
    (void)env, (void)path, (void)o, (void)out;
    return status(ORT_NO_SUCHFILE, "no files here");
}
static void ReleaseSession(OrtSession *s)
{
    free(s);
}
static OrtStatus *SessionGetInputCount(const OrtSession *s, size_t *n)
{
    (void)s;
    *n = 1;
    return NULL;
}
static OrtStatus *SessionGetOutputCount(const OrtSession *s, size_t *n)
{
    (void)s;
    *n = 1;
    return NULL;
}
static OrtStatus *type_info(const OrtSession *s, bool out, OrtTypeInfo **info)
{
    *info = calloc(1, sizeof(**info));
    **info = (OrtTypeInfo){s->half, out};
    return NULL;
}
static OrtStatus *SessionGetInputTypeInfo(const OrtSession *s, size_t i, OrtTypeInfo **info)
{
    (void)i;
    return type_info(s, false, info);
}
static OrtStatus *SessionGetOutputTypeInfo(const OrtSession *s, size_t i, OrtTypeInfo **info)
{
    (void)i;
    return type_info(s, true, info);
}
static void ReleaseTypeInfo(OrtTypeInfo *i)
{
    free(i);
}
static char input_name[] = "input", output_name[] = "output";
static OrtStatus *SessionGetInputName(const OrtSession *s, size_t i, OrtAllocator *a, char **name)
{
    (void)s, (void)i, (void)a;
    *name = input_name;
    return NULL;
}
static OrtStatus *SessionGetOutputName(const OrtSession *s, size_t i, OrtAllocator *a, char **name)
{
    (void)s, (void)i, (void)a;
    *name = output_name;
    return NULL;
}
static OrtStatus *AllocatorFree(OrtAllocator *a, void *p)
{
    (void)a, (void)p;
    return NULL;
}
static OrtStatus *GetAllocatorWithDefaultOptions(OrtAllocator **a)
{
    *a = NULL;
    return NULL;
}
static OrtStatus *CreateCpuMemoryInfo(OrtAllocatorType t, OrtMemType m, OrtMemoryInfo **out)
{
    (void)t, (void)m;
    *out = calloc(1, sizeof(**out));
    return NULL;
}
static void ReleaseMemoryInfo(OrtMemoryInfo *m)
{
    free(m);
}

/* A type info stands for its own tensor info; one of a value begins with its dimensions. */
typedef struct Info {
    bool half, of_value;
    int64_t dims[4];
} Info;
static OrtStatus *CastTypeInfoToTensorInfo(const OrtTypeInfo *t,
                                           const OrtTensorTypeAndShapeInfo **out)
{
    static const Info infos[2] = {{false, false, {-1, 3, -1, -1}}, {true, false, {-1, 3, -1, -1}}};
    *out = (const OrtTensorTypeAndShapeInfo *)(const void *)&infos[t->half];
    return NULL;
}
static OrtStatus *GetTensorElementType(const OrtTensorTypeAndShapeInfo *t,
                                       ONNXTensorElementDataType *e)
{
    *e = ((const Info *)(const void *)t)->half ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                                               : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    return NULL;
}
static OrtStatus *GetDimensionsCount(const OrtTensorTypeAndShapeInfo *t, size_t *n)
{
    (void)t;
    *n = 4;
    return NULL;
}
static OrtStatus *GetDimensions(const OrtTensorTypeAndShapeInfo *t, int64_t *d, size_t n)
{
    memcpy(d, ((const Info *)(const void *)t)->dims, n * sizeof(*d));
    return NULL;
}
static OrtStatus *GetTensorTypeAndShape(const OrtValue *v, OrtTensorTypeAndShapeInfo **out)
{
    Info *i = calloc(1, sizeof(*i));
    *i = (Info){.half = v->half, .of_value = true};
    memcpy(i->dims, v->dims, sizeof(i->dims));
    *out = (OrtTensorTypeAndShapeInfo *)(void *)i;
    return NULL;
}
static void ReleaseTensorTypeAndShapeInfo(OrtTensorTypeAndShapeInfo *t)
{
    free(t);
}

static OrtStatus *CreateTensorWithDataAsOrtValue(const OrtMemoryInfo *m, void *data, size_t bytes,
                                                 const int64_t *dims, size_t n,
                                                 ONNXTensorElementDataType type, OrtValue **out)
{
    (void)m, (void)bytes, (void)n;
    *out = calloc(1, sizeof(**out));
    (*out)->data = data;
    (*out)->half = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    memcpy((*out)->dims, dims, 4 * sizeof(*dims));
    return NULL;
}
static void ReleaseValue(OrtValue *v)
{
    if (v->own) free(v->data);
    free(v);
}

static OrtStatus *compute(const OrtSession *s, const OrtValue *in, const OrtValue *out)
{
    const int64_t w = in->dims[3], h = in->dims[2], size = in->half ? 2 : 4;
    const int64_t ow = out->dims[3], oh = out->dims[2];
    say("run %dx%dx%d", (int)in->dims[0], (int)w, (int)h);
    if (asked("memory") && w * h > 64 * 64)
        return status(ORT_RUNTIME_EXCEPTION, "CUDA out of memory");
    if (s->o.trt && s->o.max[3] &&
        (w < s->o.min[3] || w > s->o.max[3] || h < s->o.min[2] || h > s->o.max[2] ||
         in->dims[0] < s->o.min[0] || in->dims[0] > s->o.max[0]))
        return status(ORT_EP_FAIL, "a shape outside of the profile");
    for (int64_t p = 0; p < in->dims[0] * in->dims[1]; p++)
        for (int64_t y = 0; y < oh; y++)
            for (int64_t x = 0; x < ow; x++)
                memcpy((char *)out->data + ((p * oh + y) * ow + x) * size,
                       (char *)in->data + ((p * h + y * h / oh) * w + x * w / ow) * size,
                       (size_t)size);
    return NULL;
}
static OrtStatus *Run(OrtSession *s, const OrtRunOptions *o, const char *const *in_names,
                      const OrtValue *const *in, size_t n, const char *const *out_names,
                      size_t n_out, OrtValue **out)
{
    (void)o, (void)in_names, (void)n, (void)out_names, (void)n_out;
    OrtValue *v = calloc(1, sizeof(*v));
    *v = *in[0];
    v->own = true;
    v->dims[2] *= 2;
    v->dims[3] *= 2;
    v->data = calloc((size_t)(v->dims[0] * v->dims[1] * v->dims[2] * v->dims[3]), 4);
    *out = v;
    return compute(s, in[0], v);
}
static OrtStatus *CreateIoBinding(OrtSession *s, OrtIoBinding **out)
{
    (void)s;
    *out = calloc(1, sizeof(**out));
    return NULL;
}
static void ReleaseIoBinding(OrtIoBinding *b)
{
    free(b);
}
static OrtStatus *BindInput(OrtIoBinding *b, const char *name, const OrtValue *v)
{
    b->in = v;
    return strcmp(name, "input") ? status(ORT_INVALID_ARGUMENT, "no such input") : NULL;
}
static OrtStatus *BindOutput(OrtIoBinding *b, const char *name, const OrtValue *v)
{
    b->out = v;
    return strcmp(name, "output") ? status(ORT_INVALID_ARGUMENT, "no such output") : NULL;
}
static OrtStatus *RunWithBinding(OrtSession *s, const OrtRunOptions *o, const OrtIoBinding *b)
{
    (void)o;
    return compute(s, b->in, b->out);
}
static OrtStatus *SessionOptionsAppendExecutionProvider_OpenVINO_V2(OrtSessionOptions *o,
                                                                    const char *const *k,
                                                                    const char *const *v, size_t n)
{
    (void)o, (void)k, (void)v, (void)n;
    return status(ORT_EP_FAIL, "no OpenVINO");
}

static void *table[TABLE];
static const OrtApi *GetApi(uint32_t version)
{
    if (asked("old") || version > 23) return NULL;
#define UPZ_ORT(index, since, result, name, args)                                                  \
    {                                                                                              \
        result(*fn) args = name;                                                                   \
        memcpy(&table[index], &fn, sizeof(fn));                                                    \
    }
#include "engine/onnxruntime/ort_api.def"
#undef UPZ_ORT
    return (const OrtApi *)(const void *)table;
}
static const char *GetVersionString(void)
{
    return asked("old") ? "1.11.0" : "1.99.0";
}

__attribute__((visibility("default"))) const OrtApiBase *OrtGetApiBase(void);
const OrtApiBase *OrtGetApiBase(void)
{
    static const OrtApiBase base = {GetApi, GetVersionString};
    return &base;
}
