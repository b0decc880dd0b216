/* A network in a session: its input and output, buffers that stay where they are, runs. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/onnxruntime/ort.h"

int upz_ort_net_open(UpzOrtNet *net, UprezContext *ctx, const char *runtime_path, UprezError *err)
{
    net->ctx = upz_context_ref(ctx);
    int r = upz_ort_open(&net->ort, runtime_path, err);
    if (r >= 0) r = upz_ort_start(&net->ort, err);
    if (r >= 0)
        r = upz_ort_check(
            &net->ort,
            net->ort.api.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &net->host),
            "its memory cannot be set up", false, err);
    return r;
}

static void free_slots(UpzOrtNet *net)
{
    const UpzOrtApi *a = &net->ort.api;
    for (int i = 0; i < UPZ_TENSOR_SLOTS; i++) {
        UpzOrtSlot *s = &net->slot[i];
        if (s->binding) a->ReleaseIoBinding(s->binding);
        if (s->in_value) a->ReleaseValue(s->in_value);
        if (s->out_value) a->ReleaseValue(s->out_value);
        upz_free_aligned(s->in);
        upz_free_aligned(s->out);
        *s = (UpzOrtSlot){.in = NULL};
    }
    net->slots = 0;
}

static void free_session(UpzOrtNet *net)
{
    free_slots(net);
    if (net->session) net->ort.api.ReleaseSession(net->session);
    net->session = NULL;
    upz_free(net->input);
    upz_free(net->output);
    net->input = net->output = NULL;
}

void upz_ort_net_close(UpzOrtNet *net)
{
    free_session(net);
    if (net->host) net->ort.api.ReleaseMemoryInfo(net->host);
    net->host = NULL;
    upz_ort_stop(&net->ort);
    upz_context_unref(&net->ctx);
}

/* A name of the session's, copied out of its own memory. */
static int take_name(UpzOrtNet *net, bool out, char **name, UprezError *err)
{
    const UpzOrtApi *a = &net->ort.api;
    OrtAllocator *memory;
    char *text = NULL;
    int r = upz_ort_check(&net->ort, a->GetAllocatorWithDefaultOptions(&memory), "-", false, err);
    if (r < 0) return r;
    OrtStatus *s = out ? a->SessionGetOutputName(net->session, 0, memory, &text)
                       : a->SessionGetInputName(net->session, 0, memory, &text);
    if ((r = upz_ort_check(&net->ort, s, "the network's ends have no name", true, err)) < 0)
        return r;
    *name = upz_strdup(text);
    OrtStatus *freed = a->AllocatorFree(memory, text);
    if (freed) a->ReleaseStatus(freed);
    return *name ? 0 : upz_fail_memory(err, 64, "a name");
}

/* Type and dimensions of the first input or output; *n is -1 when it is no tensor. */
static int end_info(UpzOrtNet *net, bool out, ONNXTensorElementDataType *type, int64_t dims[8],
                    int *n, UprezError *err)
{
    const UpzOrtApi *a = &net->ort.api;
    OrtTypeInfo *info = NULL;
    const OrtTensorTypeAndShapeInfo *tensor = NULL;
    size_t count = 0;
    OrtStatus *s = out ? a->SessionGetOutputTypeInfo(net->session, 0, &info)
                       : a->SessionGetInputTypeInfo(net->session, 0, &info);
    if (!s) s = a->CastTypeInfoToTensorInfo(info, &tensor);
    *n = -1;
    if (!s && tensor) s = a->GetTensorElementType(tensor, type);
    if (!s && tensor) s = a->GetDimensionsCount(tensor, &count);
    if (!s && tensor && count <= 8) {
        s = a->GetDimensions(tensor, dims, count);
        *n = (int)count;
    }
    if (info) a->ReleaseTypeInfo(info);
    return upz_ort_check(&net->ort, s, "the network's ends cannot be read", true, err);
}

static const char *type_name(ONNXTensorElementDataType type)
{
    static const char *const names[] = {
        "no",   "float",   "uint8",  "int8",   "uint16", "int16",   "int32",   "int64",   "string",
        "bool", "float16", "double", "uint32", "uint64", "complex", "complex", "bfloat16"};
    return (unsigned)type < (unsigned)UPZ_COUNT(names) ? names[type] : "other";
}

int upz_ort_net_session(UpzOrtNet *net, OrtSession *session, const char *name, UprezError *err)
{
    const UpzOrtApi *a = &net->ort.api;
    size_t n_in = 0, n_out = 0;
    free_session(net);
    net->session = session;
    int r = upz_ort_check(&net->ort, a->SessionGetInputCount(session, &n_in), name, true, err);
    if (r >= 0)
        r = upz_ort_check(&net->ort, a->SessionGetOutputCount(session, &n_out), name, true, err);
    if (r < 0) return r;
    if (n_in != 1 || n_out != 1)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s takes %zu inputs and gives %zu outputs; networks "
                        "that make one picture of one are supported",
                        name, n_in, n_out);
    ONNXTensorElementDataType type[2] = {ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED};
    int64_t dims[2][8] = {{0}};
    int n[2];
    for (int out = 0; out < 2; out++)
        if ((r = end_info(net, out, &type[out], dims[out], &n[out], err)) < 0) return r;
    for (int i = 0; i < 4 && n[0] == 4; i++)
        if (dims[0][i] > 65536) n[0] = -1;
    if (n[0] != 4 || (n[1] != 4 && n[1] > 0))
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "the input of %s has %d dimensions and the output %d; "
                        "batch, channels, height and width are expected",
                        name, UPZ_MAX(n[0], 0), UPZ_MAX(n[1], 0));
    if (type[0] != type[1] || (type[0] != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT &&
                               type[0] != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16))
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s takes %s and gives %s; float or float16 on both "
                        "sides is expected",
                        name, type_name(type[0]), type_name(type[1]));
    if (dims[0][1] > 0 && dims[0][1] != 1 && dims[0][1] != 3)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s takes pictures with %lld channels; 3 (RGB) or 1 "
                        "(luma) are expected, in the order batch, channels, height, width",
                        name, (long long)dims[0][1]);
    net->half = type[0] == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    net->batch = dims[0][0] > 0 ? (int)dims[0][0] : 0;
    net->channels = dims[0][1] > 0 ? (int)dims[0][1] : 0;
    net->height = dims[0][2] > 0 ? (int)dims[0][2] : 0;
    net->width = dims[0][3] > 0 ? (int)dims[0][3] : 0;
    if ((r = take_name(net, false, &net->input, err)) < 0) return r;
    return take_name(net, true, &net->output, err);
}

static bool tensor_bytes(int n, int c, int h, int w, bool half, size_t *bytes)
{
    *bytes = half ? 2 : 4;
    return upz_mul_size(*bytes, (size_t)n, bytes) && upz_mul_size(*bytes, (size_t)c, bytes) &&
           upz_mul_size(*bytes, (size_t)h, bytes) && upz_mul_size(*bytes, (size_t)w, bytes);
}

static OrtStatus *wrap(const UpzOrtNet *net, void *data, size_t bytes, const int64_t dims[4],
                       OrtValue **value)
{
    return net->ort.api.CreateTensorWithDataAsOrtValue(
        net->host, data, bytes, dims, 4,
        net->half ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        value);
}

static int prepare_slot(UpzOrtNet *net, UpzOrtSlot *s, UprezError *err)
{
    const UpzOrtApi *a = &net->ort.api;
    const UpzTensorShape *t = &net->shape;
    const int64_t in_dims[4] = {t->batch, t->channels, t->height, t->width};
    const int64_t out_dims[4] = {t->batch, t->out_channels, t->out_height, t->out_width};
    size_t in, out;
    if (!tensor_bytes(t->batch, t->channels, t->height, t->width, net->half, &in) ||
        !tensor_bytes(t->batch, t->out_channels, t->out_height, t->out_width, net->half, &out))
        return upz_fail_memory(err, SIZE_MAX, "a tensor");
    s->in = upz_alloc_aligned(in);
    s->out = upz_alloc_aligned(out);
    if (!s->in || !s->out) return upz_fail_memory(err, in + out, "a tensor");
    memset(s->in, 0, in); /* binding may copy it */
    OrtStatus *status = wrap(net, s->in, in, in_dims, &s->in_value);
    if (!status) status = wrap(net, s->out, out, out_dims, &s->out_value);
    if (!status) status = a->CreateIoBinding(net->session, &s->binding);
    if (!status) status = a->BindInput(s->binding, net->input, s->in_value);
    if (!status) status = a->BindOutput(s->binding, net->output, s->out_value);
    return upz_ort_check(&net->ort, status, "its buffers cannot be bound", false, err);
}

int upz_ort_net_prepare(UpzOrtNet *net, const UpzTensorShape *shape, int slots,
                        UpzTensorBuffers *buffers, UprezError *err)
{
    free_slots(net);
    if (slots < 1 || slots > UPZ_TENSOR_SLOTS || shape->half != net->half)
        return upz_fail(err, UPREZ_ERR_BUG, "%d slots, half %d", slots, shape->half);
    net->shape = *shape;
    net->slots = slots;
    for (int i = 0; i < slots; i++) {
        int r = prepare_slot(net, &net->slot[i], err);
        if (r < 0) {
            free_slots(net);
            return r;
        }
        buffers[i] = (UpzTensorBuffers){net->slot[i].in, net->slot[i].out};
    }
    return 0;
}

int upz_ort_net_run(UpzOrtNet *net, int slot, UprezError *err)
{
    const UpzOrtApi *a = &net->ort.api;
    UpzOrtSlot *s = &net->slot[slot];
    /* a device's copy of the input is made when it is bound */
    OrtStatus *status = net->on_device ? a->BindInput(s->binding, net->input, s->in_value) : NULL;
    if (!status) status = a->RunWithBinding(net->session, NULL, s->binding);
    return upz_ort_check(&net->ort, status, "a run failed", net->foreign, err);
}

int upz_ort_net_output_shape(UpzOrtNet *net, UpzTensorShape *t, UprezError *err)
{
    const UpzOrtApi *a = &net->ort.api;
    const int64_t in_dims[4] = {t->batch, t->channels, t->height, t->width};
    int64_t dims[4] = {0};
    size_t bytes, n = 0;
    OrtValue *in = NULL, *out = NULL;
    OrtTensorTypeAndShapeInfo *info = NULL;
    if (net->channels && t->channels != net->channels)
        return upz_fail(err, UPREZ_ERR_MODEL, "the network takes %d channels, not %d",
                        net->channels, t->channels);
    if (!tensor_bytes(t->batch, t->channels, t->height, t->width, net->half, &bytes))
        return upz_fail_memory(err, SIZE_MAX, "a tensor");
    void *zeros = upz_alloc_aligned(bytes);
    if (!zeros) return upz_fail_memory(err, bytes, "a tensor");
    memset(zeros, 0, bytes);
    const char *in_name = net->input, *out_name = net->output;
    OrtStatus *s = wrap(net, zeros, bytes, in_dims, &in);
    if (!s)
        s = a->Run(net->session, NULL, &in_name, (const OrtValue *const *)&in, 1, &out_name, 1,
                   &out);
    if (!s) s = a->GetTensorTypeAndShape(out, &info);
    if (!s) s = a->GetDimensionsCount(info, &n);
    if (!s && n == 4) s = a->GetDimensions(info, dims, 4);
    int r = upz_ort_check(&net->ort, s, "a trial run failed", true, err);
    if (info) a->ReleaseTensorTypeAndShapeInfo(info);
    if (out) a->ReleaseValue(out);
    if (in) a->ReleaseValue(in);
    upz_free_aligned(zeros);
    if (r < 0) return r;
    for (int i = 0; i < 4; i++)
        if (n != 4 || dims[i] < 1 || dims[i] > 1 << 20 || (!i && dims[0] != t->batch))
            return upz_fail(err, UPREZ_ERR_MODEL,
                            "what the network gives is no picture: batch, "
                            "channels, height and width are expected");
    t->out_channels = (int)dims[1];
    t->out_height = (int)dims[2];
    t->out_width = (int)dims[3];
    return 0;
}
