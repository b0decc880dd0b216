/* A network of ours as TorchScript: the text of its forward, in operations of ATen, one line or a
 * few a node, as model/reference.c defines them; and the tensors that text names. What the module
 * runs and what it writes to a file are the same text. */
#ifndef UPZ_LIBTORCH_SCRIPT_H
#define UPZ_LIBTORCH_SCRIPT_H

#include "engine/libtorch/module.h"
#include "model/model.h"

/* pad: pictures off the network's alignment are padded inside and the result cropped. The tensors
 * stay the model's. MODEL: a layer without a form. On success upz_torch_script_free. Threads: safe. */
int upz_torch_script(UpzTorchScript *out, const UprezModel *model, bool pad, UprezError *err);
void upz_torch_script_free(UpzTorchScript *script);

#endif
