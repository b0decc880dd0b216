/* ncnn networks: a text of layers and a file of weights. */
#ifndef UPZ_NCNN_H
#define UPZ_NCNN_H

#include "model/model.h"

/* Both files from memory; path names the .param in messages. Fails with MODEL. */
int upz_ncnn_read(const char *path, const void *param, size_t param_size, const void *bin,
                  size_t bin_size, UpzGraph *g, UprezModelFacts *facts, char **detail,
                  UprezError *err);

#endif
