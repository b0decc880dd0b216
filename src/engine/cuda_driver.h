/* What NVIDIA's driver says of its GPUs, for engines that only need to name them: opened at run
 * time, no context is made.
 *
 * Threads: safe. */
#ifndef UPZ_CUDA_DRIVER_H
#define UPZ_CUDA_DRIVER_H

#include <stdbool.h>
#include "engine/engine.h"

typedef struct UpzGpu {
    char name[128];
    size_t memory;    /* bytes */
    int major, minor; /* compute capability */
    int cuda;         /* 13000: CUDA 13.0 is the newest the driver is for; 0: unknown */
} UpzGpu;

#define UPZ_GPUS 16

/* Fills up to UPZ_GPUS and says how many; DEVICE and the sentence when there is no driver or no
 * GPU. runtime_path: a folder whose libcuda.so.1 goes first, or NULL. */
int upz_cuda_gpus(const char *runtime_path, UpzGpu gpus[UPZ_GPUS], UprezError *err);
/* The driver's own version, "580.95.05"; "" where neither its kernel module nor NVML tells. */
void upz_cuda_driver(const char *runtime_path, char version[32]);
/* Foreign runtimes compute in a GPU's primary context: DEVICE when the caller's is another. A
 * device without native_context passes. */
int upz_cuda_check_context(const char *runtime_path, const UpzDevice *device, UprezError *err);
/* Appends the GPUs as devices "cuda". The strings may be NULL. As upz_cuda_gpus. */
int upz_cuda_list(const char *runtime_path, const char *runtime, const char *version,
                  const char *can, UpzDeviceList *list, UprezError *err);

#endif
