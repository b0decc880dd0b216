#include "engine/cuda_driver.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

/* Attributes of a device, by the driver's published numbers. */
enum { CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 };

typedef struct Driver {
    int (*init)(unsigned flags);
    int (*count)(int *n);
    int (*get)(int *device, int ordinal);
    int (*name)(char *name, int size, int device);
    int (*memory)(size_t *bytes, int device);
    int (*attribute)(int *value, int attribute, int device);
    int (*retain)(void **context, int device);
    int (*release)(int device);
} Driver;

static int open_driver(Driver *d, const char *runtime_path, UprezError *err)
{
    static const char *const names[] = {"cuInit",
                                        "cuDeviceGetCount",
                                        "cuDeviceGet",
                                        "cuDeviceGetName",
                                        "cuDeviceTotalMem_v2",
                                        "cuDeviceGetAttribute",
                                        "cuDevicePrimaryCtxRetain",
                                        "cuDevicePrimaryCtxRelease_v2"};
    char path[PATH_MAX];
    void *handle = NULL, *fn[UPZ_COUNT(names)];
    int n = runtime_path ? snprintf(path, sizeof(path), "%s/libcuda.so.1", runtime_path) : 0;
    if (n > 0 && n < PATH_MAX && upz_exists(path)) handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL); /* never unloaded */
    if (!handle)
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "there is no NVIDIA driver here (libcuda.so.1); "
                        "install it, or give -d cpu");
    for (int i = 0; i < UPZ_COUNT(names); i++)
        if (!(fn[i] = dlsym(handle, names[i])))
            return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver is too old: it has no %s",
                            names[i]);
    _Static_assert(sizeof(*d) == sizeof(fn), "one pointer a name");
    memcpy(d, fn, sizeof(*d));
    int r = d->init(0);
    if (r)
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "the NVIDIA driver does not start (error %d); is the "
                        "GPU there and may it be used?",
                        r);
    return 0;
}

int upz_cuda_gpus(const char *runtime_path, UpzGpu gpus[UPZ_GPUS], UprezError *err)
{
    Driver d;
    int n = 0, device, r = open_driver(&d, runtime_path, err);
    if (r < 0) return r;
    if (d.count(&n) || n < 1)
        return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver finds no GPU");
    n = UPZ_MIN(n, UPZ_GPUS);
    for (int i = 0; i < n; i++) {
        UpzGpu *g = &gpus[i];
        *g = (UpzGpu){.name = "GPU"};
        if (d.get(&device, i) || d.name(g->name, sizeof(g->name), device) ||
            d.memory(&g->memory, device) || d.attribute(&g->major, CAPABILITY_MAJOR, device) ||
            d.attribute(&g->minor, CAPABILITY_MINOR, device))
            return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver says nothing about GPU %d",
                            i);
    }
    return n;
}

int upz_cuda_check_context(const char *runtime_path, const UpzDevice *device, UprezError *err)
{
    Driver d;
    int dev;
    void *primary = NULL;
    if (!device->native_context) return 0;
    int r = open_driver(&d, runtime_path, err);
    if (r < 0) return r;
    if (d.get(&dev, device->index) || d.retain(&primary, dev))
        return upz_fail(err, UPREZ_ERR_DEVICE, "GPU %d has no primary context", device->index);
    d.release(dev);
    if (primary != device->native_context)
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "the pictures are in a CUDA context of their own; "
                        "this engine computes in the GPU's primary context only: make the device "
                        "with the primary context, or use another engine");
    return 0;
}

int upz_cuda_list(const char *runtime_path, const char *runtime, const char *version,
                  const char *can, UpzDeviceList *list, UprezError *err)
{
    UpzGpu gpus[UPZ_GPUS];
    int n = upz_cuda_gpus(runtime_path, gpus, err);
    for (int i = 0; i < n && list->n < UPZ_COUNT(list->items); i++) {
        UpzDevice *d = &list->items[list->n++];
        *d = (UpzDevice){.kind = "cuda", .index = i, .memory = gpus[i].memory};
        memcpy(d->name, gpus[i].name, sizeof(d->name));
        snprintf(d->runtime, sizeof(d->runtime), "%s", runtime ? runtime : "");
        snprintf(d->version, sizeof(d->version), "%s", version ? version : "");
        snprintf(d->can, sizeof(d->can), "%s", can ? can : "");
    }
    return n < 0 ? n : 0;
}
