/* Every engine, preferred first. To add one: a folder with its ops table, one line here, one in
 * meson.build. */
#include "engine/engine.h"

#include <string.h>

extern const UpzEngineOps upz_engine_resample; /* classical kernels */
extern const UpzEngineOps upz_engine_cuda;     /* our own kernels, on NVIDIA's GPUs */
extern const UpzEngineOps upz_engine_cpu;      /* our own kernels */
extern const UpzEngineOps upz_engine_libtorch;
extern const UpzEngineOps upz_engine_openvino;
extern const UpzEngineOps upz_engine_onnxruntime;
extern const UpzEngineOps upz_engine_tensorrt;

const UpzEngineOps *const upz_engines[] = {&upz_engine_resample, &upz_engine_cuda,
                                           &upz_engine_cpu, &upz_engine_openvino,
                                           &upz_engine_onnxruntime, &upz_engine_libtorch,
                                           &upz_engine_tensorrt, NULL};

const UpzEngineOps *upz_engine_find(const char *name)
{
    for (int i = 0; upz_engines[i]; i++)
        if (!strcmp(upz_engines[i]->name, name)) return upz_engines[i];
    return NULL;
}
