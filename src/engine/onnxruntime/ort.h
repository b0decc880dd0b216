/* ONNX Runtime as opened here: the library, its functions, sessions. Shared by the engines
 * onnxruntime and tensorrt.
 *
 * Threads: one UpzOrt from one thread at a time, except that sessions run in parallel. */
#ifndef UPZ_ORT_H
#define UPZ_ORT_H

#include "engine/engine.h"
#include "engine/library.h"
#include "engine/onnxruntime/ort_abi.h"
#include "engine/tensor/tensor.h"

typedef struct UpzOrt {
    UpzOrtApi api;
    OrtEnv *env;            /* NULL until upz_ort_start */
    UprezContext *listener; /* gets what is said outside of sessions too, or NULL: only for a caller
                               that outlives every session of the process */
    unsigned api_version;
    char version[32];    /* "1.31.1" */
    char path[512];      /* of the library */
    char providers[512]; /* names, each with a space behind it */
} UpzOrt;

typedef enum UpzOrtKind {
    UPZ_ORT_CPU,
    UPZ_ORT_CUDA,
    UPZ_ORT_TENSORRT,
    UPZ_ORT_OPENVINO
} UpzOrtKind;

#define UPZ_ORT_OPTIONS 24
typedef struct UpzOrtProvider {
    UpzOrtKind kind;
    int device;     /* index of the GPU */
    void *stream;   /* CUstream to compute on, or NULL */
    bool own_graph; /* written by us: a node that would fall back to the CPU is an error */
    int n;          /* further options, for CUDA, TensorRT or OpenVINO */
    const char *keys[UPZ_ORT_OPTIONS], *values[UPZ_ORT_OPTIONS];
} UpzOrtProvider;

extern const UpzLibrary upz_ort_library;

/* Loads the library and its function table; listener stays. DEVICE: none, or one too old, and the
 * sentence. */
int upz_ort_open(UpzOrt *ort, const char *runtime_path, UprezError *err);
bool upz_ort_has(const UpzOrt *ort, UpzOrtKind kind);
const char *upz_ort_provider_name(UpzOrtKind kind); /* "CUDAExecutionProvider" */
/* DEVICE unless the provider is built in and its library lies beside the runtime's. */
int upz_ort_require(const UpzOrt *ort, UpzOrtKind kind, UprezError *err);
int upz_ort_start(UpzOrt *ort, UprezError *err); /* the environment, needed for sessions */
void upz_ort_stop(UpzOrt *ort);                  /* any state, also zeroed */

/* A status becomes an error: the runtime's words on one line behind `what`, MEMORY when it ran out
 * of memory, MODEL when the file is at fault and `foreign`, else DEVICE. Releases it; NULL: 0. */
int upz_ort_check(const UpzOrt *ort, OrtStatus *status, const char *what, bool foreign,
                  UprezError *err);

/* A session over a model in memory, or over the file at `path` when data is NULL. The log goes to
 * ctx, which outlives the session. */
int upz_ort_session(OrtSession **out, const UpzOrt *ort, UprezContext *ctx,
                    const UpzOrtProvider *provider, const char *path, const void *data, size_t size,
                    UprezError *err);

/* ---- a network in a session, behind the adapter ---- */

typedef struct UpzOrtSlot {
    void *in, *out; /* upz_alloc_aligned */
    OrtValue *in_value, *out_value;
    OrtIoBinding *binding;
} UpzOrtSlot;

/* What sessions and buffers of one network need; the engines' UpzRuntime begin with it. */
typedef struct UpzOrtNet {
    UpzOrt ort;
    UprezContext *ctx; /* referenced */
    OrtSession *session;
    OrtMemoryInfo *host;
    char *input, *output; /* names, upz_free */
    bool half;            /* element type of both */
    bool on_device;       /* inputs are copied when they are bound */
    bool foreign;
    int channels, batch, height, width; /* of the input; 0 = any */
    UpzTensorShape shape;
    int slots;
    UpzOrtSlot slot[UPZ_TENSOR_SLOTS];
} UpzOrtNet;

int upz_ort_net_open(UpzOrtNet *net, UprezContext *ctx, const char *runtime_path, UprezError *err);
/* Takes a new session: names, types, fixed sides. MODEL when it takes no picture. */
int upz_ort_net_session(UpzOrtNet *net, OrtSession *session, const char *name, UprezError *err);
int upz_ort_net_prepare(UpzOrtNet *net, const UpzTensorShape *shape, int slots,
                        UpzTensorBuffers *buffers, UprezError *err);
int upz_ort_net_run(UpzOrtNet *net, int slot, UprezError *err);
int upz_ort_net_output_shape(UpzOrtNet *net, UpzTensorShape *shape, UprezError *err);
void upz_ort_net_close(UpzOrtNet *net); /* any state, also zeroed */

/* ---- */

/* Resolves params->precision for a network of ours: "fp32" or "fp16". DEVICE for anything else. */
int upz_ort_precision(const UpzEngineParams *params, bool gpu, char precision[16], UprezError *err);

#endif
