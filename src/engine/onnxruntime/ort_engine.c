/* Engine "onnxruntime": our graph as ONNX from memory, or an ONNX file that only it understands, on
 * its CPU, CUDA and OpenVINO providers. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/cuda_driver.h"
#include "engine/onnxruntime/ort.h"
#include "model/write.h"

extern const UpzEngineOps upz_engine_onnxruntime;

struct UpzRuntime {
    UpzOrtNet net;
};

static UpzOrtKind kind_of(const UpzDevice *device)
{
    return !strcmp(device->kind, "cuda")       ? UPZ_ORT_CUDA
           : !strcmp(device->kind, "openvino") ? UPZ_ORT_OPENVINO
                                               : UPZ_ORT_CPU;
}

static void close_runtime(UpzRuntime **runtime)
{
    UpzRuntime *rt = *runtime;
    *runtime = NULL;
    if (!rt) return;
    upz_ort_net_close(&rt->net);
    upz_free(rt);
}

/* The model's session; its bytes are only needed while it is made. */
static int open_session(UpzRuntime *rt, const UprezModel *model, const UpzOrtProvider *provider,
                        const char *precision, UprezError *err)
{
    UpzOrtNet *net = &rt->net;
    const char *path = model->facts.path ? model->facts.path : "the model";
    OrtSession *session = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    int r = 0;
    if (!net->foreign) {
        const bool half = !strcmp(precision, "fp16");
        UpzOnnxParams p = {.half = half, .half_io = half && net->on_device};
        r = upz_write_onnx_memory(model, &p, &data, &size, err);
    }
    if (r >= 0) r = upz_ort_session(&session, &net->ort, net->ctx, provider, path, data, size, err);
    upz_free(data);
    return r < 0 ? r : upz_ort_net_session(net, session, upz_basename(path), err);
}

static int open_runtime(UpzRuntime **out, UprezContext *ctx, UprezModel *model,
                        const UpzDevice *device, const UpzEngineParams *params,
                        UpzRuntimeFacts *facts, UprezError *err)
{
    const UpzOrtKind kind = kind_of(device);
    const bool gpu = kind == UPZ_ORT_CUDA;
    const char *runtime_path = params ? params->runtime_path : NULL;
    *out = NULL;
    UpzRuntime *rt = upz_calloc(1, sizeof(*rt));
    if (!rt) return upz_fail_memory(err, sizeof(*rt), "engine onnxruntime");
    UpzOrtNet *net = &rt->net;
    net->foreign = model->foreign[0] != 0;
    net->on_device = gpu;
    UpzOrtProvider provider = {.kind = kind,
                               .device = device->index,
                               .stream = device->native_stream,
                               .own_graph = !net->foreign};
    if (kind == UPZ_ORT_OPENVINO) {
        provider.n = 1;
        provider.keys[0] = "device_type";
        provider.values[0] = device->index ? "GPU" : "CPU";
    }
    int r = upz_ort_precision(params, gpu, facts->precision, err);
    if (r >= 0 && gpu) r = upz_cuda_check_context(runtime_path, device, err);
    if (r >= 0) r = upz_ort_net_open(net, ctx, runtime_path, err);
    if (r >= 0) r = open_session(rt, model, &provider, facts->precision, err);
    if (r < 0) {
        close_runtime(&rt);
        return r;
    }
    if (net->foreign) {
        const char *own = net->half ? "fp16" : "fp32";
        const char *asked = params && params->precision ? params->precision : "auto";
        if (strcmp(asked, "auto") && strcmp(asked, own)) {
            close_runtime(&rt);
            return upz_fail(err, UPREZ_ERR_DEVICE,
                            "%s computes in %s, as it is stored; %s cannot be "
                            "had from it",
                            upz_basename(model->facts.path), own, asked);
        }
        snprintf(facts->precision, sizeof(facts->precision), "%s", own);
    }
    snprintf(facts->version, sizeof(facts->version), "%s", net->ort.version);
    snprintf(facts->provider, sizeof(facts->provider), "%s", device->kind);
    facts->half_io = net->half;
    facts->fixed_batch = net->batch;
    facts->fixed_height = net->height;
    facts->fixed_width = net->width;
    facts->slots = 1;
    facts->device_memory = gpu;
    *out = rt;
    return 0;
}

static int prepare(UpzRuntime *rt, const UpzTensorShape *shape, int slots,
                   UpzTensorBuffers *buffers, UprezError *err)
{
    return upz_ort_net_prepare(&rt->net, shape, slots, buffers, err);
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
    .name = "onnxruntime",
    .open = open_runtime,
    .prepare = prepare,
    .run = run,
    .close = close_runtime,
    .output_shape = output_shape,
};

/* ---- the engine's table ---- */

static UpzDevice *add_device(UpzDeviceList *list, const UpzOrt *ort, const char *kind, int index,
                             const char *name)
{
    if (list->n >= UPZ_COUNT(list->items)) return NULL;
    UpzDevice *d = &list->items[list->n++];
    *d = (UpzDevice){.index = index};
    snprintf(d->kind, sizeof(d->kind), "%s", kind);
    snprintf(d->name, sizeof(d->name), "%s", name);
    snprintf(d->runtime, sizeof(d->runtime), "%s", ort->path);
    snprintf(d->version, sizeof(d->version), "%s", ort->version);
    snprintf(d->can, sizeof(d->can), "fp32, fp16");
    return d;
}

static int probe(const char *runtime_path, UpzDeviceList *list, UprezError *why)
{
    UpzOrt ort = {.env = NULL};
    int r = upz_ort_open(&ort, runtime_path, why);
    if (r < 0) return r;
    /* the best first; why there is no GPU is said also when there is a CPU */
    UprezError other = {0};
    if (!upz_ort_has(&ort, UPZ_ORT_CUDA) && !upz_ort_has(&ort, UPZ_ORT_OPENVINO))
        upz_fail(why, UPREZ_ERR_DEVICE,
                 "ONNX Runtime %s (%s) has no CUDA and no OpenVINO provider; "
                 "get one with 'pip install onnxruntime-gpu' or 'pip install onnxruntime-openvino'",
                 ort.version, ort.path);
    else if (upz_ort_require(&ort, UPZ_ORT_CUDA, why) >= 0)
        upz_cuda_list(runtime_path, ort.path, ort.version, "fp16, fp32", list, why);
    add_device(list, &ort, "cpu", 0, upz_cpu_name(upz_cpu_detect()));
    if (upz_ort_require(&ort, UPZ_ORT_OPENVINO, &other) >= 0)
        add_device(list, &ort, "openvino", 0, "OpenVINO's CPU");
    return 0;
}

static int supports(const UprezModel *model, const UpzEngineParams *params, UprezError *why)
{
    char precision[16];
    if (model->kernel != UPZ_KERNEL_NONE)
        return upz_fail(why, UPREZ_ERR_DEVICE, "engine onnxruntime runs networks; '%s' is a kernel",
                        model->facts.path ? model->facts.path : "this");
    if (model->foreign[0] && strcmp(model->foreign, "onnx"))
        return upz_fail(why, UPREZ_ERR_MODEL,
                        "engine onnxruntime runs ONNX files and networks of "
                        "plain weights; this is a %s file",
                        model->foreign);
    return upz_ort_precision(params, false, precision, why);
}

static int look(UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                const UpzEngineParams *params, UprezError *err)
{
    return upz_tensor_look(&runtime, ctx, model, device, params, err);
}

static int open_engine(UpzEngine **out, UprezContext *ctx, UprezModel *model,
                       const UpzDevice *device, const UpzEngineParams *params, UprezError *err)
{
    return upz_tensor_open(out, &upz_engine_onnxruntime, &runtime, ctx, model, device, params, err);
}

const UpzEngineOps upz_engine_onnxruntime = {
    .abi = UPZ_ENGINE_ABI,
    .name = "onnxruntime",
    .about = "ONNX Runtime: its CPU, CUDA and OpenVINO providers",
    .probe = probe,
    .look = look,
    .supports = supports,
    .open = open_engine,
    .plan = upz_tensor_plan,
    .submit = upz_tensor_submit,
    .wait = upz_tensor_wait,
    .close = upz_tensor_close,
};
