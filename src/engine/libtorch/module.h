/* The table between uprez and engine-libtorch.so, in plain C: the module is C++ and built apart, by
 * tools/build-libtorch.sh, for one LibTorch. It knows nothing of our graphs: a network of ours comes
 * as text and tensors (script.h).
 *
 * No exception leaves the module: every entry returns 0 or an UprezErr and one sentence in err (may
 * not be NULL). Words of LibTorch's own come without its list of calls.
 *
 * Threads: one network from one thread at a time, except run: several slots at once, each from one
 * thread. Different networks: any. */
#ifndef UPZ_LIBTORCH_MODULE_H
#define UPZ_LIBTORCH_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uprez/error.h"
#include "base/compiler.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UPZ_TORCH_ABI 2
#define UPZ_TORCH_ENTRY "upz_engine_module"
#define UPZ_TORCH_CUDA_ENTRY "upz_engine_module_cuda"

typedef struct UpzTorchNet UpzTorchNet;

typedef struct UpzTorchWeight {
    char self[96]; /* "self.NAME", as the text has it */
    int n_dims;
    int64_t dims[6];
    const float *data; /* dense */
} UpzTorchWeight;

/* A module of TorchScript: its forward, and the parameters that names. */
typedef struct UpzTorchScript {
    char *text;
    UpzTorchWeight *weights;
    size_t n_weights;
} UpzTorchScript;

/* Strings and script are read during open only. */
typedef struct UpzTorchOpen {
    const char *path;             /* a TorchScript file; or NULL and */
    const UpzTorchScript *script; /* a network of ours */
    const char *device;     /* "cpu", "cuda", "xpu" */
    int index;
    const char *precision;  /* "auto", "fp32", "fp16", "bf16" */
    int channels;           /* of the input, 0 = not known */
    int align;              /* sides have to be multiples of it; 0 = not known */
    int threads;            /* that one operation may use on the processor */
    bool cuda_here;         /* the driver knows a device: CUDA's part is loaded for any device */
    /* Loads torch_tensorrt's runtime: called when a file names its engines. NULL: there is none. */
    int (*need_trt)(void *cookie, UprezError *err);
    void *cookie;
    void *stream;           /* CUstream to join, or NULL */
} UpzTorchOpen;

typedef struct UpzTorchFacts {
    char precision[16]; /* resolved */
    bool half_io;       /* buffers are fp16 */
    int slots;          /* runs at once that make sense */
    bool device_memory;
    bool studio;        /* the file says: luma in studio range (UPREZ_INPUT_Y_STUDIO) */
    int64_t parameters; /* numbers in the module; 0 of one without parameters */
    bool half;          /* stored in 16 bits, all of them */
} UpzTorchFacts;

/* N C H W; dense. */
typedef struct UpzTorchShape {
    int64_t in[4], out[4];
} UpzTorchShape;

typedef struct UpzTorchBuffers {
    void *in, *out;
} UpzTorchBuffers;

typedef struct UpzTorchSave {
    const UpzTorchScript *script;
    bool half;   /* weights in fp16 */
    bool studio; /* noted in the file: luma in studio range (UPREZ_INPUT_Y_STUDIO) */
    int (*sink)(void *cookie, const void *data, size_t size); /* the whole file, once; 0 or an error */
    void *cookie;
} UpzTorchSave;

typedef struct UpzTorchModule {
    unsigned abi;
    unsigned open_bytes, facts_bytes, save_bytes; /* of the structs above, as the module has them */
    const char *built_for; /* LibTorch's version, "2.15.0" */
    int (*open)(UpzTorchNet **out, const UpzTorchOpen *how, UpzTorchFacts *facts, UprezError *err);
    /* Fills out[] for in[]; may run the network on zeros. MODEL when it does not take such a size.
     * After it prepare has to come again before run. */
    int (*shape)(UpzTorchNet *net, UpzTorchShape *shape, UprezError *err);
    /* Buffers of one shape, freeing those before. MEMORY: less may do. */
    int (*prepare)(UpzTorchNet *net, const UpzTorchShape *shape, int slots, UpzTorchBuffers *buffers,
                   UprezError *err);
    int (*run)(UpzTorchNet *net, int slot, UprezError *err); /* blocking */
    void (*close)(UpzTorchNet **net); /* accepts pointer to NULL */
    int (*save)(const UpzTorchSave *how, UprezError *err);
} UpzTorchModule;

/* The one entry point; NULL when the module has no table of that number. */
typedef const UpzTorchModule *(*UpzTorchEntry)(unsigned abi);

/* engine-libtorch-cuda.so, between the two modules: recorded graphs, which need CUDA's headers. */
typedef struct UpzTorchCuda {
    unsigned abi;
    /* Records what body enqueues on the current stream; NULL when that cannot be recorded. */
    void *(*record)(void (*body)(void *arg), void *arg);
    int (*replay)(void *graph); /* 0, or not 0 */
    void (*drop)(void *graph);
} UpzTorchCuda;
typedef const UpzTorchCuda *(*UpzTorchCudaEntry)(unsigned abi);

#ifdef __cplusplus
}
#endif
#endif
