/* Weights in the order the kernels read them. The caller frees all of it with upz_free_aligned;
 * NULL when memory is short. *bytes grows by what was packed. */
#ifndef UPZ_CPU_PACK_H
#define UPZ_CPU_PACK_H

#include "engine/cpu/stage.h"

/* count zeros; bytes may be NULL. */
float *upz_pack_zeros(size_t count, size_t *bytes);
/* n values, then zeros up to pitch; one value may serve for all. */
float *upz_pack_channels(const float *values, int64_t have, int n, int pitch, float otherwise, size_t *bytes);
/* Along one axis, the inputs that an output of a transposed convolution meets in any of its stride
 * phases: how many, and how many of them lie before its own place. */
void upz_deconv_taps(int kernel, int stride, int pad, int *taps, int *before);
/* A transposed convolution [in][out / groups][kh][kw] as a dense convolution with out * stride^2
 * channels in SHUFFLE's order, or a grouped convolution as a dense one; sets the stage's kernel and
 * pad. */
float *upz_dense_deconv(UpzStage *s, const UpzNode *n, const float *weights);
float *upz_dense_groups(const UpzStage *s, const UpzNode *n, const float *weights);

#endif
