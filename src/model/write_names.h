/* A network's weights under the names PyTorch's own definition of it uses. */
#ifndef UPZ_WRITE_NAMES_H
#define UPZ_WRITE_NAMES_H

#include "model.h"

typedef struct UpzNamed {
    char name[64];
    int n_dims;
    int64_t dims[4];
    int64_t count;
    const float *data; /* the graph's, or made */
    float *made;       /* upz_free_aligned; NULL: the graph's */
} UpzNamed;

typedef struct UpzNames {
    UpzNamed *items;
    size_t n, cap;
    const char *architecture; /* "srvgg", "rrdbnet", "span", or the model's own */
} UpzNames;

/* Finds the names: those of the checkpoint the model came from, else those of the architecture that
 * the graph's layers form. 1: found, 0: there are none, or an error. upz_names_free in any case. */
int upz_names_find(UpzNames *names, const UprezModel *model, UprezError *err);
void upz_names_free(UpzNames *names);

#endif
