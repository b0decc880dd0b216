/* One small picture through an engine and through the plain-C reference: does the GPU compute what it
 * should?
 *
 * Threads: as the engine's. */
#ifndef UPZ_CUDA_SELFTEST_H
#define UPZ_CUDA_SELFTEST_H

#include "engine/cuda/run.h"

/* Plans for a size of its own. DEVICE, and both results' distance, when they differ by more than
 * half precision explains. */
int upz_cuda_selftest(UpzCudaRun *run, const UprezModel *model, UprezError *err);

#endif
