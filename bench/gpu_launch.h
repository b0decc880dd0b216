/* More of NVIDIA's driver for programs that launch kernels and take times themselves. */
#ifndef GPU_LAUNCH_H
#define GPU_LAUNCH_H

#include "gpu_driver.h"

typedef struct GpuLaunchAttribute {
    int id; /* 6: may begin while the kernel before ends */
    char pad[4];
    union {
        char bytes[64];
        int number;
        uint64_t wide;
    } value;
} GpuLaunchAttribute;

typedef struct GpuLaunch {
    unsigned grid[3], block[3], shared;
    void *stream;
    GpuLaunchAttribute *attributes;
    unsigned n_attributes;
} GpuLaunch;

typedef struct GpuLauncher {
    int (*attribute)(int *value, int attribute, int device);
    int (*load)(void **module, const void *image);
    int (*function)(void **function, void *module, const char *name);
    int (*set)(void *function, int attribute, int value);
    int (*fill)(uint64_t at, unsigned char value, size_t bytes, void *stream);
    int (*launch_ex)(const GpuLaunch *config, void *function, void **params, void **extra);
    int (*event)(void **event, unsigned flags);
    int (*record)(void *event, void *stream);
    int (*query)(void *event);
    int (*elapsed)(float *ms, void *begin, void *end);
    int (*error_name)(int error, const char **name);
} GpuLauncher;

/* 0, or -1 and a line on stderr. After gpu_driver_open. */
static inline int gpu_launcher_open(GpuLauncher *d)
{
    static const char *const names[] = {
        "cuDeviceGetAttribute", "cuModuleLoadData", "cuModuleGetFunction", "cuFuncSetAttribute",
        "cuMemsetD8Async", "cuLaunchKernelEx", "cuEventCreate", "cuEventRecord", "cuEventQuery",
        "cuEventElapsedTime", "cuGetErrorName"};
    void *fn[sizeof(names) / sizeof(*names)], *lib = dlopen("libcuda.so.1", RTLD_NOW);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!lib || !(fn[i] = dlsym(lib, names[i]))) {
            fprintf(stderr, "the NVIDIA driver has no %s\n", names[i]);
            return -1;
        }
    _Static_assert(sizeof(*d) == sizeof(fn), "one pointer a name");
    memcpy(d, fn, sizeof(*d));
    return 0;
}

#endif
