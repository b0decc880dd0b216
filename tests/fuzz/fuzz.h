/* The common part of the fuzz targets: a model from memory must load or be refused as MODEL. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_load(const char *name, const uint8_t *data, size_t size)
{
    UprezModel *m;
    UprezError err = {0};
    int r = upz_model_load_memory(&m, NULL, name, data, size, &err);
    if (r < 0) {
        if (r != UPREZ_ERR_MODEL || !err.text[0]) abort();
        return;
    }
    const UprezModelFacts *f = uprez_model_facts(m);
    /* what a runtime alone knows has no facts yet */
    if (!m->foreign[0] && (f->scale_num < 1 || f->scale_den < 1 || f->align < 1 || f->reach < 0)) abort();
    uprez_model_unref(&m);
}

#endif
