#include "engine/cuda_driver.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "engine/cuda/cuda_api.h"

int upz_cuda_gpus(const char *runtime_path, UpzGpu gpus[UPZ_GPUS], UprezError *err)
{
    UpzCuda cu;
    int n = 0, device, r = upz_cuda_open(&cu, runtime_path, err);
    if (r < 0) return r;
    if (cu.device_count(&n) || n < 1)
        return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver finds no GPU");
    n = UPZ_MIN(n, UPZ_GPUS);
    for (int i = 0; i < n; i++) {
        UpzGpu *g = &gpus[i];
        *g = (UpzGpu){.name = "GPU"};
        if (cu.device_get(&device, i) || cu.device_name(g->name, sizeof(g->name), device) ||
            cu.device_memory(&g->memory, device) ||
            cu.device_attribute(&g->major, UPZ_CUDA_CAPABILITY_MAJOR, device) ||
            cu.device_attribute(&g->minor, UPZ_CUDA_CAPABILITY_MINOR, device))
            return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver says nothing about GPU %d",
                            i);
    }
    return n;
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
