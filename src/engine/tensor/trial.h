/* The built-in picture through a tensor runtime: what --precision auto is decided by there.
 *
 * Threads: safe. */
#ifndef UPZ_TENSOR_TRIAL_H
#define UPZ_TENSOR_TRIAL_H

#include "engine/tensor/tensor.h"
#include "engine/trial.h"

/* The trial picture through a runtime as it is now, slot 0 of one: *out, n values, is the caller's
 * (upz_free_aligned). Buffers stay as the runtime's prepare left them. The runtime must pass fp32
 * tensors. */
int upz_trial_run(const UpzRuntimeOps *ops, UpzRuntime *rt, const UprezModel *model, float **out,
                  size_t *n, UprezError *err);
#endif
