/* A network on the built-in picture: how far its values reach, and how far one precision is from another.
 *
 * Threads: the run's. */
#ifndef UPZ_CUDA_MEASURE_H
#define UPZ_CUDA_MEASURE_H

#include "engine/cuda/run.h"

/* Runs the picture through an opened run, whose plan is another then. *result: float planes, the
 * caller's. ranges NULL, or filled with the largest magnitudes (a run in halves). */
int upz_cuda_measure(UpzCudaRun *run, const UprezModel *model, UpzRanges *ranges,
                     UprezPicture **result, UprezError *err);

#endif
