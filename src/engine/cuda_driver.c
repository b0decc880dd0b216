#include "engine/cuda_driver.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "engine/cuda/cuda_api.h"

int upz_cuda_gpus(const char *runtime_path, UpzGpu gpus[UPZ_GPUS], UprezError *err)
{
    UpzCuda cu;
    int n = 0, device, r = upz_cuda_open(&cu, runtime_path, err);
    if (r < 0) return r;
    if (cu.device_count(&n) || n < 1)
        return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver finds no GPU");
    n = UPZ_MIN(n, UPZ_GPUS);
    int cuda = 0;
    if (cu.driver_version && cu.driver_version(&cuda)) cuda = 0;
    for (int i = 0; i < n; i++) {
        UpzGpu *g = &gpus[i];
        *g = (UpzGpu){.name = "GPU", .cuda = cuda};
        if (cu.device_get(&device, i) || cu.device_name(g->name, sizeof(g->name), device) ||
            cu.device_memory(&g->memory, device) ||
            cu.device_attribute(&g->major, UPZ_CUDA_CAPABILITY_MAJOR, device) ||
            cu.device_attribute(&g->minor, UPZ_CUDA_CAPABILITY_MINOR, device))
            return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver says nothing about GPU %d",
                            i);
    }
    return n;
}

/* The first word that begins with a digit and has a point in it: around it there is prose. */
static void version_in(const char *text, char version[32])
{
    for (const char *p = text; *p; p += strspn(p, " ")) {
        const int n = (int)strcspn(p, " \n");
        const int digits = (int)strspn(p, "0123456789.");
        if (digits == n && n > 2 && n < 32 && *p != '.' && memchr(p, '.', (size_t)n)) {
            snprintf(version, 32, "%.*s", n, p);
            return;
        }
        p += n;
        if (*p == '\n') return;
    }
}

void upz_cuda_driver(const char *runtime_path, char version[32])
{
    char text[256] = "", path[PATH_MAX];
    version[0] = 0;
    FILE *f = fopen("/proc/driver/nvidia/version", "re");
    if (f) {
        if (fgets(text, sizeof(text), f)) version_in(text, version);
        fclose(f);
    }
    if (version[0]) return;
    /* no such file in Windows' Linux and in some containers */
    void *lib = NULL;
    int (*start)(void) = NULL, (*end)(void) = NULL, (*ask)(char *text, unsigned size) = NULL;
    const int n = runtime_path ? snprintf(path, sizeof(path), "%s/libnvidia-ml.so.1", runtime_path) : 0;
    if (n > 0 && n < PATH_MAX && upz_exists(path)) lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) return;
    *(void **)&start = dlsym(lib, "nvmlInit_v2");
    *(void **)&end = dlsym(lib, "nvmlShutdown");
    *(void **)&ask = dlsym(lib, "nvmlSystemGetDriverVersion");
    if (!start || !end || !ask || start()) return;
    if (!ask(text, sizeof(text) - 1)) version_in(text, version);
    end();
}

int upz_cuda_check_context(const char *runtime_path, const UpzDevice *device, UprezError *err)
{
    UpzCuda cu;
    int dev;
    void *primary = NULL;
    if (!device->native_context) return 0;
    int r = upz_cuda_open(&cu, runtime_path, err);
    if (r < 0) return r;
    if (cu.device_get(&dev, device->index) || cu.primary_retain(&primary, dev))
        return upz_fail(err, UPREZ_ERR_DEVICE, "GPU %d has no primary context", device->index);
    cu.primary_release(dev);
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
