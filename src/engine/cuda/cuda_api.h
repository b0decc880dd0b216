/* NVIDIA's driver, opened at run time: the functions used (cuda_api.def), the published layouts and
 * numbers they need, and sentences for what they return.
 *
 * Threads: safe; the table is immutable once opened. */
#ifndef UPZ_CUDA_API_H
#define UPZ_CUDA_API_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* CUDA_MEMCPY2D. Memory: 1 host, 2 device. */
typedef struct UpzCudaCopy {
    size_t src_x, src_y;
    int src_memory;
    const void *src_host;
    uint64_t src_device;
    void *src_array;
    size_t src_pitch, dst_x, dst_y;
    int dst_memory;
    void *dst_host;
    uint64_t dst_device;
    void *dst_array;
    size_t dst_pitch, width_bytes, height;
} UpzCudaCopy;
enum { UPZ_CUDA_HOST = 1, UPZ_CUDA_DEVICE = 2 };

/* CUlaunchAttribute and CUlaunchConfig. */
typedef struct UpzCudaLaunchAttribute {
    int id;
    char pad[4];
    union {
        char bytes[64];
        int number;
        uint64_t wide;
    } value;
} UpzCudaLaunchAttribute;
typedef struct UpzCudaLaunch {
    unsigned grid[3], block[3], shared;
    void *stream;
    UpzCudaLaunchAttribute *attributes;
    unsigned n_attributes;
} UpzCudaLaunch;

enum { /* CUresult */
    UPZ_CUDA_OUT_OF_MEMORY = 2,
    UPZ_CUDA_NO_DEVICE = 100,
    UPZ_CUDA_INVALID_IMAGE = 200,
    UPZ_CUDA_NO_BINARY = 209,
    UPZ_CUDA_NOT_READY = 600,
    UPZ_CUDA_MISMATCH = 803
};
enum { /* CUdevice_attribute and CUfunction_attribute */
    UPZ_CUDA_CAPABILITY_MAJOR = 75,
    UPZ_CUDA_CAPABILITY_MINOR = 76,
    UPZ_CUDA_FUNCTION_TARGET = 6, /* 86: code for sm_86 */
    UPZ_CUDA_FUNCTION_SHARED = 8  /* dynamic shared memory, at most */
};
enum { /* flags */
    UPZ_CUDA_STREAM_NON_BLOCKING = 1,
    UPZ_CUDA_CAPTURE_THREAD = 1, /* other threads may do what they like meanwhile */
    UPZ_CUDA_URGENT = -16, /* priority: lower is more urgent; beyond the range: its end */
    UPZ_CUDA_EVENT_BLOCKING = 1,
    UPZ_CUDA_EVENT_NO_TIMING = 2,
    UPZ_CUDA_LAUNCH_OVERLAP = 6 /* launch attribute: programmatic stream serialization */
};

#define UPZ_CUDA_STREAM_OF_THREAD ((void *)(uintptr_t)2) /* CU_STREAM_PER_THREAD */

typedef struct UpzCuda {
#define UPZ_CUDA(need, field, symbol, args) int (*field) args;
#include "engine/cuda/cuda_api.def"
#undef UPZ_CUDA
    const char *missing; /* a COMPUTE function that this driver lacks, or NULL */
} UpzCuda;

/* Opens libcuda.so.1 (in the folder runtime_path first; may be NULL) and starts it. It is never
 * unloaded. DEVICE and the sentence: no driver, no GPU, no permission, driver and kernel module of
 * different versions, … */
int upz_cuda_open(UpzCuda *cu, const char *runtime_path, UprezError *err);

/* The sentence for a failed call: MEMORY when memory is short, else DEVICE. `what` goes on from
 * "cannot": "load the kernels". */
int upz_cuda_fail(const UpzCuda *cu, int result, const char *what, UprezError *err);

#endif
