/* OpenVINO behind the adapter. A model is compiled once for each shape, with the shape fixed: that
 * is faster than one program for all sizes, and costs tenths of a second. The last few stay. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/openvino/ov_api.h"
#include "engine/tensor/trial.h"
#include "model/write.h"

enum {
    COMPILED = 4,     /* shapes kept */
    THREADS_A_RUN = 8 /* workers from which on a run of its own pays */
};

extern const UpzEngineOps upz_engine_openvino; /* in engine_list.c's list */

typedef struct Compiled {
    UpzTensorShape shape; /* batch 0: unused */
    struct ov_compiled_model *model;
    uint64_t used;
} Compiled;

typedef struct Slot {
    struct ov_infer_request *request;
    struct ov_tensor *in, *out;
    UpzTensorBuffers buffers;
} Slot;

struct UpzRuntime {
    OvLibrary lib;
    char what[160];      /* the model, for messages */
    char device[24], precision[8];
    int threads, streams;
    struct ov_core *core;
    struct ov_model *model;
    OvType in_type, out_type;
    Compiled compiled[COMPILED];
    uint64_t clock;
    Slot slots[UPZ_TENSOR_SLOTS];
};

/* ---- devices ---- */

/* "cpu" to "CPU"; "gpu" 1 to "GPU.1" */
static void their_name(const UpzDevice *d, char name[24])
{
    if (strcmp(d->kind, "gpu")) snprintf(name, 24, "CPU");
    else if (d->index) snprintf(name, 24, "GPU.%d", d->index);
    else snprintf(name, 24, "GPU");
}

static void add_device(const OvLibrary *lib, const struct ov_core *core, const char *name,
                       UpzDeviceList *list)
{
    char caps[256], memory[64];
    int index = 0;
    const bool gpu = !strncmp(name, "GPU", 3);
    if (list->n == UPZ_COUNT(list->items) || (!gpu && strcmp(name, "CPU"))) return;
    if (gpu && name[3] && sscanf(name + 3, ".%3d", &index) != 1) return;
    UpzDevice *d = &list->items[list->n++];
    *d = (UpzDevice){.index = index};
    snprintf(d->kind, sizeof(d->kind), gpu ? "gpu" : "cpu");
    upz_ov_property(lib, core, name, "FULL_DEVICE_NAME", d->name, sizeof(d->name));
    if (!d->name[0]) snprintf(d->name, sizeof(d->name), "%s", name);
    upz_ov_property(lib, core, name, "OPTIMIZATION_CAPABILITIES", caps, sizeof(caps));
    snprintf(d->can, sizeof(d->can), "fp32%s%s", strstr(caps, "FP16") ? ", fp16" : "",
             strstr(caps, "BF16") ? ", bf16" : "");
    if (gpu) {
        unsigned long long bytes = 0;
        upz_ov_property(lib, core, name, "GPU_DEVICE_TOTAL_MEM_SIZE", memory, sizeof(memory));
        if (sscanf(memory, "%19llu", &bytes) == 1) d->memory = (size_t)bytes;
    }
    snprintf(d->runtime, sizeof(d->runtime), "%s", lib->path);
    snprintf(d->version, sizeof(d->version), "%s", lib->version);
}

static int probe(const char *runtime_path, UpzDeviceList *list, UprezError *why)
{
    OvLibrary lib;
    struct ov_core *core = NULL;
    OvDevices devices = {0};
    int r = upz_ov_open(&lib, runtime_path, why);
    if (r < 0) return r;
    r = upz_ov_check(&lib, lib.f.ov_core_create(&core), UPREZ_ERR_DEVICE, "start", why);
    if (r < 0) return r;
    r = upz_ov_check(&lib, lib.f.ov_core_get_available_devices(core, &devices), UPREZ_ERR_DEVICE,
                     "list its devices", why);
    if (r >= 0) {
        for (size_t i = 0; i < devices.size; i++) add_device(&lib, core, devices.names[i], list);
        lib.f.ov_available_devices_free(&devices);
        if (!list->n)
            upz_fail(why, UPREZ_ERR_DEVICE, "OpenVINO %s (%s) offers neither CPU nor GPU here",
                     lib.version, lib.path);
    }
    lib.f.ov_core_free(core);
    return r;
}

/* ---- compiling ---- */

static void free_slots(UpzRuntime *rt)
{
    const OvApi *f = &rt->lib.f;
    for (int i = 0; i < UPZ_TENSOR_SLOTS; i++) {
        Slot *s = &rt->slots[i];
        if (s->request) f->ov_infer_request_free(s->request);
        if (s->in) f->ov_tensor_free(s->in);
        if (s->out) f->ov_tensor_free(s->out);
        upz_free_aligned(s->buffers.in);
        upz_free_aligned(s->buffers.out);
        *s = (Slot){.request = NULL};
    }
}

static void free_compiled(UpzRuntime *rt, Compiled *c)
{
    if (c->model) rt->lib.f.ov_compiled_model_free(c->model);
    *c = (Compiled){.model = NULL};
}

static void free_all_compiled(UpzRuntime *rt)
{
    for (int i = 0; i < COMPILED; i++) free_compiled(rt, &rt->compiled[i]);
}

static int set_shape(UpzRuntime *rt, const UpzTensorShape *s, UprezError *err)
{
    struct UpzOvDim dims[4] = {{s->batch, s->batch}, {s->channels, s->channels},
                               {s->height, s->height}, {s->width, s->width}};
    const OvPartial shape = {.rank = {4, 4}, .dims = dims};
    char what[240];
    snprintf(what, sizeof(what), "give %s the input %dx%dx%dx%d", rt->what, s->batch, s->channels,
             s->height, s->width);
    return upz_ov_check(&rt->lib, rt->lib.f.ov_model_reshape_single_input(rt->model, shape),
                        UPREZ_ERR_MODEL, what, err);
}

/* One shape, in rt->precision. */
static int compile(UpzRuntime *rt, const UpzTensorShape *shape, Compiled **out, UprezError *err)
{
    const OvApi *f = &rt->lib.f;
    Compiled *c = &rt->compiled[0];
    for (int i = 0; i < COMPILED; i++) {
        Compiled *k = &rt->compiled[i];
        if (k->model && !memcmp(&k->shape, shape, sizeof(*shape))) {
            k->used = ++rt->clock;
            *out = k;
            return 0;
        }
        if (k->used < c->used) c = k;
    }
    free_compiled(rt, c);
    int r = set_shape(rt, shape, err);
    if (r < 0) return r;
    char threads[16], streams[16], what[240], got[32] = "";
    const bool cpu = !strcmp(rt->device, "CPU");
    const char *hint = !strcmp(rt->precision, "fp32") ? "f32" :
                       !strcmp(rt->precision, "fp16") ? "f16" : "bf16";
    snprintf(threads, sizeof(threads), "%d", rt->threads);
    snprintf(streams, sizeof(streams), "%d", rt->streams);
    snprintf(what, sizeof(what), "prepare %s in %s for %dx%d", rt->what, rt->precision,
             shape->width, shape->height);
    OvStatus status;
    if (cpu) /* unpinned: the workers of the context and other programs use the same cores */
        status = f->ov_core_compile_model(rt->core, rt->model, rt->device, 10, &c->model,
                                          "INFERENCE_PRECISION_HINT", hint, "PERFORMANCE_HINT",
                                          rt->streams > 1 ? "THROUGHPUT" : "LATENCY", "NUM_STREAMS",
                                          streams, "INFERENCE_NUM_THREADS", threads,
                                          "ENABLE_CPU_PINNING", "NO");
    else
        status = f->ov_core_compile_model(rt->core, rt->model, rt->device, 6, &c->model,
                                          "INFERENCE_PRECISION_HINT", hint, "PERFORMANCE_HINT",
                                          "THROUGHPUT", "NUM_STREAMS", streams);
    r = upz_ov_check(&rt->lib, status, UPREZ_ERR_DEVICE, what, err);
    if (r < 0) {
        c->model = NULL;
        return r;
    }
    char *value = NULL;
    if (!f->ov_compiled_model_get_property(c->model, "INFERENCE_PRECISION_HINT", &value) && value) {
        snprintf(got, sizeof(got), "%s", value);
        f->ov_free(value);
    }
    if (got[0] && strcmp(got, hint)) {
        free_compiled(rt, c);
        return upz_fail(err, UPREZ_ERR_DEVICE, "OpenVINO %s would compute in %s instead of %s on "
                        "%s; use --precision fp32", rt->lib.version, got, hint, rt->device);
    }
    c->shape = *shape;
    c->used = ++rt->clock;
    *out = c;
    return 0;
}

/* ---- the adapter's calls ---- */

static size_t sample_bytes(const UpzTensorShape *s) { return s->half ? 2 : 4; }

static int make_tensor(UpzRuntime *rt, OvType type, int n, int c, int h, int w, size_t bytes,
                       void *memory, struct ov_tensor **out, UprezError *err)
{
    int64_t dims[4] = {n, c, h, w};
    const OvShape shape = {.rank = 4, .dims = dims};
    size_t real = 0;
    int r = upz_ov_check(&rt->lib, rt->lib.f.ov_tensor_create_from_host_ptr(type, shape, memory, out),
                         UPREZ_ERR_DEVICE, "wrap a buffer", err);
    if (r < 0) return r;
    rt->lib.f.ov_tensor_get_byte_size(*out, &real);
    if (real != bytes)
        return upz_fail(err, UPREZ_ERR_MODEL, "%s takes or gives tensors of another size than "
                        "expected: %zu bytes instead of %zu", rt->what, real, bytes);
    return 0;
}

static int prepare_slot(UpzRuntime *rt, Compiled *c, Slot *s, UprezError *err)
{
    const OvApi *f = &rt->lib.f;
    const UpzTensorShape *k = &c->shape;
    size_t in = sample_bytes(k) * (size_t)k->batch, out = in;
    if (!upz_mul_size(in, (size_t)k->channels * (size_t)k->height * (size_t)k->width, &in) ||
        !upz_mul_size(out, (size_t)k->out_channels * (size_t)k->out_height * (size_t)k->out_width,
                      &out))
        return upz_fail(err, UPREZ_ERR_MEMORY, "a tensor of that size cannot be addressed");
    s->buffers.in = upz_alloc_aligned(in);
    s->buffers.out = upz_alloc_aligned(out);
    if (!s->buffers.in || !s->buffers.out)
        return upz_fail_memory(err, in + out, "a tensor's buffers");
    memset(s->buffers.in, 0, in);
    int r = make_tensor(rt, rt->in_type, k->batch, k->channels, k->height, k->width, in,
                        s->buffers.in, &s->in, err);
    if (r >= 0)
        r = make_tensor(rt, rt->out_type, k->batch, k->out_channels, k->out_height, k->out_width,
                        out, s->buffers.out, &s->out, err);
    if (r >= 0)
        r = upz_ov_check(&rt->lib, f->ov_compiled_model_create_infer_request(c->model, &s->request),
                         UPREZ_ERR_DEVICE, "make a request", err);
    if (r >= 0)
        r = upz_ov_check(&rt->lib, f->ov_infer_request_set_input_tensor(s->request, s->in),
                         UPREZ_ERR_MODEL, "take the input buffer", err);
    if (r >= 0)
        r = upz_ov_check(&rt->lib, f->ov_infer_request_set_output_tensor(s->request, s->out),
                         UPREZ_ERR_MODEL, "take the output buffer", err);
    return r;
}

static int prepare(UpzRuntime *rt, const UpzTensorShape *shape, int slots,
                   UpzTensorBuffers *buffers, UprezError *err)
{
    Compiled *c = NULL;
    free_slots(rt);
    int r = compile(rt, shape, &c, err);
    for (int i = 0; i < slots && r >= 0; i++) {
        r = prepare_slot(rt, c, &rt->slots[i], err);
        buffers[i] = rt->slots[i].buffers;
    }
    if (r < 0) free_slots(rt);
    return r < 0 ? r : 0;
}

static int run(UpzRuntime *rt, int slot, UprezError *err)
{
    const OvApi *f = &rt->lib.f;
    struct ov_infer_request *q = rt->slots[slot].request;
    OvStatus status = f->ov_infer_request_start_async(q);
    if (!status) status = f->ov_infer_request_wait(q);
    return upz_ov_check(&rt->lib, status, UPREZ_ERR_DEVICE, "run the network", err);
}

static void close_runtime(UpzRuntime **runtime)
{
    UpzRuntime *rt = *runtime;
    if (!rt) return;
    *runtime = NULL;
    free_slots(rt);
    free_all_compiled(rt);
    if (rt->model) rt->lib.f.ov_model_free(rt->model);
    if (rt->core) rt->lib.f.ov_core_free(rt->core);
    upz_free(rt);
}

/* Dimensions of the model's only input or output, -1 where any will do. */
static int port_dims(UpzRuntime *rt, bool output, int dims[4], OvType *type, UprezError *err)
{
    const OvApi *f = &rt->lib.f;
    struct ov_output_const_port *port = NULL;
    OvPartial shape = {.dims = NULL};
    size_t n = 0;
    OvStatus status = (output ? f->ov_model_outputs_size : f->ov_model_inputs_size)(rt->model, &n);
    if (!status && n != 1)
        return upz_fail(err, UPREZ_ERR_MODEL, "%s has %zu %s; a network for pictures has one",
                        rt->what, n, output ? "outputs" : "inputs");
    if (!status)
        status = (output ? f->ov_model_const_output : f->ov_model_const_input)(rt->model, &port);
    if (!status) status = f->ov_port_get_element_type(port, type);
    if (!status) status = f->ov_port_get_partial_shape(port, &shape);
    if (port) f->ov_output_const_port_free(port);
    int r = upz_ov_check(&rt->lib, status, UPREZ_ERR_MODEL, "tell the model's shape", err);
    if (r < 0) return r;
    if (shape.rank.min != 4 || shape.rank.max != 4)
        r = upz_fail(err, UPREZ_ERR_MODEL, "%s has an %s that is not N x C x H x W", rt->what,
                     output ? "output" : "input");
    for (int i = 0; i < 4 && r >= 0; i++) {
        const struct UpzOvDim d = shape.dims[i];
        dims[i] = d.min == d.max && d.min > 0 && d.min < 1 << 20 ? (int)d.min : -1;
    }
    f->ov_partial_shape_free(&shape);
    return r;
}

static int output_shape(UpzRuntime *rt, UpzTensorShape *s, UprezError *err)
{
    int dims[4];
    OvType type;
    int r = set_shape(rt, s, err);
    if (r >= 0) r = port_dims(rt, true, dims, &type, err);
    if (r < 0) return r;
    for (int i = 0; i < 4; i++)
        if (dims[i] < 0)
            return upz_fail(err, UPREZ_ERR_MODEL, "the size of what %s makes of %dx%d is not known "
                            "beforehand", rt->what, s->width, s->height);
    if (dims[0] != s->batch)
        return upz_fail(err, UPREZ_ERR_MODEL, "%s makes %d pictures of %d", rt->what, dims[0],
                        s->batch);
    s->out_channels = dims[1];
    s->out_height = dims[2];
    s->out_width = dims[3];
    return 0;
}

/* ---- opening ---- */

static int read_model(UpzRuntime *rt, const UprezModel *model, UprezError *err)
{
    const OvApi *f = &rt->lib.f;
    char what[240];
    snprintf(what, sizeof(what), "read %s", rt->what);
    if (model->foreign[0])
        return upz_ov_check(&rt->lib, f->ov_core_read_model(rt->core, model->facts.path, NULL,
                                                            &rt->model),
                            UPREZ_ERR_MODEL, what, err);
    uint8_t *onnx = NULL;
    size_t size = 0;
    int r = upz_write_onnx_memory(model, NULL, &onnx, &size, err);
    if (r < 0) return r;
    r = upz_ov_check(&rt->lib, f->ov_core_read_model_from_memory_buffer(
                                   rt->core, (const char *)onnx, size, NULL, &rt->model),
                     UPREZ_ERR_MODEL, what, err);
    upz_free(onnx);
    return r;
}

static const UpzRuntimeOps runtime;

/* Is rt->precision close enough to fp32? Errors are a no. */
static bool good_enough(UpzRuntime *rt, const UprezModel *model)
{
    char narrow[8];
    float *result[2] = {NULL, NULL};
    size_t n = 0;
    double psnr = 0;
    UprezError quiet = {0};
    snprintf(narrow, sizeof(narrow), "%s", rt->precision);
    for (int turn = 0; turn < 2; turn++) {
        snprintf(rt->precision, sizeof(rt->precision), "%s", turn ? narrow : "fp32");
        int r = upz_trial_run(&runtime, rt, model, &result[turn], &n, &quiet);
        free_slots(rt);
        free_all_compiled(rt); /* they are found by shape alone */
        if (r < 0) break;
    }
    snprintf(rt->precision, sizeof(rt->precision), "%s", narrow);
    if (result[0] && result[1]) psnr = upz_trial_psnr(result[0], result[1], n);
    for (int turn = 0; turn < 2; turn++) upz_free_aligned(result[turn]);
    return psnr > UPZ_TRIAL_PSNR;
}

/* auto: the first of the types this device computes fast in whose result on a built-in picture is
 * close to fp32; else fp32. Never a matter of timing. */
static void choose_precision(UpzRuntime *rt, const UprezModel *model, const char *asked,
                             const char *can)
{
    const bool gpu = strcmp(rt->device, "CPU") != 0;
    static const char *const on_gpu[] = {"fp16", NULL};
    const char *type;
    if (asked && strcmp(asked, "auto")) {
        snprintf(rt->precision, sizeof(rt->precision), "%s", asked);
        return;
    }
    for (int i = 0; !model->foreign[0]; i++) {
        type = gpu ? on_gpu[i] : upz_auto_precision(upz_cpu_features(), i);
        if (!type || !strcmp(type, "fp32")) break;
        if (!strstr(can, type)) continue;
        snprintf(rt->precision, sizeof(rt->precision), "%s", type);
        if (good_enough(rt, model)) return;
    }
    snprintf(rt->precision, sizeof(rt->precision), "fp32");
}

/* Two bytes a number? Types have no number that all versions share. */
static bool is_half(UpzRuntime *rt, OvType type)
{
    _Alignas(64) char one[64];
    int64_t dim = 1;
    struct ov_tensor *t = NULL;
    size_t bytes = 0;
    const OvShape shape = {.rank = 1, .dims = &dim};
    if (rt->lib.f.ov_tensor_create_from_host_ptr(type, shape, one, &t)) return false;
    rt->lib.f.ov_tensor_get_byte_size(t, &bytes);
    rt->lib.f.ov_tensor_free(t);
    return bytes == 2;
}

static int open_inner(UpzRuntime *rt, UprezContext *ctx, const UprezModel *model,
                      const UpzDevice *device, const UpzEngineParams *params,
                      UpzRuntimeFacts *facts, UprezError *err)
{
    const OvApi *f = &rt->lib.f;
    int in[4], out[4];
    UpzDeviceList one = {.n = 0};
    snprintf(rt->what, sizeof(rt->what), "'%s'", model->facts.path ? model->facts.path : "the model");
    their_name(device, rt->device);
    rt->threads = upz_pool_size(ctx->pool);
    const bool gpu = strcmp(rt->device, "CPU") != 0;
    rt->streams = gpu ? 2 : UPZ_CLAMP(rt->threads / THREADS_A_RUN, 1, 4);
    int r = upz_ov_open(&rt->lib, params->runtime_path, err);
    if (r < 0) return r;
    r = upz_ov_check(&rt->lib, f->ov_core_create(&rt->core), UPREZ_ERR_DEVICE, "start", err);
    if (r >= 0) r = read_model(rt, model, err);
    if (r >= 0) r = port_dims(rt, false, in, &rt->in_type, err);
    if (r >= 0) r = port_dims(rt, true, out, &rt->out_type, err);
    if (r < 0) return r;
    add_device(&rt->lib, rt->core, rt->device, &one);
    const char *can = one.n ? one.items[0].can : "fp32", *asked = params->precision;
    if (asked && strcmp(asked, "auto") && !strstr(can, asked))
        return upz_fail(err, UPREZ_ERR_DEVICE, "OpenVINO %s computes in %s on %s, not in %s",
                        rt->lib.version, can, rt->device, asked);
    choose_precision(rt, model, asked, can);
    snprintf(facts->version, sizeof(facts->version), "%s", rt->lib.version);
    snprintf(facts->provider, sizeof(facts->provider), gpu ? "gpu" : "cpu");
    snprintf(facts->precision, sizeof(facts->precision), "%s", rt->precision);
    facts->slots = rt->streams;
    facts->device_memory = gpu;
    facts->fixed_shape = gpu; /* building the kernels of one shape takes many seconds there */
    if (!model->foreign[0]) return 0;
    facts->half_io = is_half(rt, rt->in_type) && is_half(rt, rt->out_type);
    facts->fixed_batch = UPZ_MAX(in[0], 0);
    facts->fixed_height = UPZ_MAX(in[2], 0);
    facts->fixed_width = UPZ_MAX(in[3], 0);
    return 0;
}

static int open_runtime(UpzRuntime **out, UprezContext *ctx, UprezModel *model,
                        const UpzDevice *device, const UpzEngineParams *params,
                        UpzRuntimeFacts *facts, UprezError *err)
{
    *out = NULL;
    UpzRuntime *rt = upz_calloc(1, sizeof(*rt));
    if (!rt) return upz_fail_memory(err, sizeof(*rt), "engine openvino");
    int r = open_inner(rt, ctx, model, device, params, facts, err);
    if (r < 0) close_runtime(&rt);
    *out = rt;
    return r;
}

static const UpzRuntimeOps runtime = {
    .name = "openvino",
    .open = open_runtime,
    .prepare = prepare,
    .run = run,
    .close = close_runtime,
    .output_shape = output_shape,
};

/* ---- the engine's table ---- */

static int supports(const UprezModel *model, const UpzEngineParams *params, UprezError *why)
{
    static const char *const types[] = {"auto", "fp32", "bf16", "fp16"};
    const char *p = params ? params->precision : NULL;
    bool known = !p;
    for (int i = 0; i < UPZ_COUNT(types) && !known; i++) known = !strcmp(p, types[i]);
    if (model->kernel != UPZ_KERNEL_NONE)
        return upz_fail(why, UPREZ_ERR_DEVICE, "engine openvino runs networks; '%s' is a kernel",
                        model->facts.path ? model->facts.path : "this");
    if (model->foreign[0] && strcmp(model->foreign, "onnx"))
        return upz_fail(why, UPREZ_ERR_MODEL, "engine openvino cannot read %s files",
                        model->foreign);
    if (!known)
        return upz_fail(why, UPREZ_ERR_DEVICE, "engine openvino computes in fp32, bf16 or fp16, not "
                        "in %s", p);
    return 0;
}

static int look(UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                const UpzEngineParams *params, UprezError *err)
{
    return upz_tensor_look(&runtime, ctx, model, device, params, err);
}

static int open_engine(UpzEngine **out, UprezContext *ctx, UprezModel *model,
                       const UpzDevice *device, const UpzEngineParams *params, UprezError *err)
{
    *out = NULL;
    int r = supports(model, params, err);
    if (r < 0) return r;
    return upz_tensor_open(out, &upz_engine_openvino, &runtime, ctx, model, device, params, err);
}

const UpzEngineOps upz_engine_openvino = {
    .abi = UPZ_ENGINE_ABI,
    .name = "openvino",
    .about = "Intel's runtime for CPUs and its GPUs: fp32, bf16, fp16",
    .probe = probe,
    .look = look,
    .supports = supports,
    .open = open_engine,
    .plan = upz_tensor_plan,
    .submit = upz_tensor_submit,
    .wait = upz_tensor_wait,
    .close = upz_tensor_close,
};
