/* The few functions of NVIDIA's driver that the GPU programs of bench/ and examples/ need, opened at
 * run time, so that they build without CUDA's headers. */
#ifndef GPU_DRIVER_H
#define GPU_DRIVER_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct GpuDriver {
    int (*init)(unsigned flags);
    int (*device)(int *device, int ordinal);
    int (*name)(char *name, int size, int device);
    int (*make)(void **context, unsigned flags, int device);
    int (*destroy)(void *context);
    int (*alloc)(uint64_t *at, size_t bytes);
    int (*release)(uint64_t at);
    int (*to_device)(uint64_t at, const void *from, size_t bytes);
    int (*to_host)(void *to, uint64_t at, size_t bytes);
    int (*copy)(uint64_t to, uint64_t from, size_t bytes, void *stream);
    int (*stream)(void **stream, unsigned flags);
    int (*stream_destroy)(void *stream);
    int (*wait)(void *stream);
} GpuDriver;

/* 0, or -1 and a line on stderr. */
static inline int gpu_driver_open(GpuDriver *d)
{
    static const char *const names[] = {
        "cuInit", "cuDeviceGet", "cuDeviceGetName", "cuCtxCreate_v2", "cuCtxDestroy_v2",
        "cuMemAlloc_v2", "cuMemFree_v2", "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2",
        "cuMemcpyDtoDAsync_v2", "cuStreamCreate", "cuStreamDestroy_v2", "cuStreamSynchronize"};
    void *fn[sizeof(names) / sizeof(*names)], *lib = dlopen("libcuda.so.1", RTLD_NOW);
    if (!lib) {
        fprintf(stderr, "there is no NVIDIA driver here (libcuda.so.1)\n");
        return -1;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!(fn[i] = dlsym(lib, names[i]))) {
            fprintf(stderr, "the NVIDIA driver has no %s\n", names[i]);
            return -1;
        }
    _Static_assert(sizeof(*d) == sizeof(fn), "one pointer a name");
    memcpy(d, fn, sizeof(*d));
    int r = d->init(0);
    if (r) fprintf(stderr, "the NVIDIA driver does not start (error %d)\n", r);
    return r ? -1 : 0;
}

#endif
