/* LibTorch, through a module of its own: see module.h. */
#ifndef UPZ_LIBTORCH_H
#define UPZ_LIBTORCH_H

#include <stdbool.h>
#include "model/model.h"

/* Writes a model with a graph of ours as TorchScript (half: weights in fp16). Sizes that are no
 * multiple of facts.align are padded inside. What was at path is replaced in one step. DEVICE: no
 * module or no LibTorch. Threads: safe. */
int upz_libtorch_write(const UprezModel *model, const char *path, bool half,
                       const char *runtime_path, UprezError *err);

#endif
