/* Arithmetic an exporter leaves in a graph to work out sizes: folded away while reading.
 *
 * Nothing is known of the picture's size then, so each number is carried for several sizes at once
 * (the probes) and a layer is recognised by what holds for all of them. */
#ifndef UPZ_ONNX_FOLD_H
#define UPZ_ONNX_FOLD_H

#include "model/onnx.h"

#define UPZ_PROBES 6
#define UPZ_NUM_MAX 32 /* values in one number tensor */
#define UPZ_NUM_DIMS 4

/* Integers are exact up to 2^53; larger ones only stand for "to the end". */
typedef struct UpzNum {
    int n_dims, dims[UPZ_NUM_DIMS];
    int count;
    bool is_int;
    double (*v)[UPZ_PROBES]; /* [count] */
} UpzNum;

/* Allocates v (zeroed) and sets count from dims; MODEL when it is larger than the limits. */
int upz_num_init(UpzNum *num, int n_dims, const int *dims, bool is_int, UprezError *err);
void upz_num_free(UpzNum *num);
/* Whether a value is the same for all probes. */
bool upz_num_fixed(const UpzNum *num, int i);

/* Can this operator be worked out from numbers alone? */
bool upz_onnx_folds(UpzSlice op);
/* *out = the node's first output from its inputs (NULL: absent). Errors say what is not supported,
 * without the node's name. */
int upz_onnx_fold(const UpzOnnxNode *n, const UpzNum *const *in, int n_in, UpzNum *out,
                  UprezError *err);

#endif
