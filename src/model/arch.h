/* What the architectures share: tensors by name become layers. */
#ifndef UPZ_ARCH_H
#define UPZ_ARCH_H

#include "model/model.h"

/* NULL if there is none, or it was moved into a graph already. fmt makes the name. */
UpzTensor *upz_arch_tensor(UpzTensorSet *set, const char *fmt, ...) UPZ_PRINTF(2, 3);
bool upz_arch_has(const UpzTensorSet *set, const char *fmt, ...) UPZ_PRINTF(2, 3);
/* Frees a tensor's data: it is known, and not needed. */
void upz_arch_drop(UpzTensor *t);

/* Moves LAYER.weight and (if there) LAYER.bias into the graph as a "same" convolution of src. */
int upz_arch_conv(UpzGraph *g, UpzTensorSet *set, int src, const char *layer, UpzAct act,
                  float slope, UprezError *err);
/* The same with PReLU slopes from the tensor named slopes. */
int upz_arch_conv_prelu(UpzGraph *g, UpzTensorSet *set, int src, const char *layer,
                        const char *slopes, UprezError *err);
/* What a convolution makes of a flat picture, away from the border: in and out hold one value a
 * channel. w is [out][in][h][w]; b may be NULL. */
void upz_arch_flat(const UpzTensor *w, const UpzTensor *b, const double *in, double *out);
/* "64x3x3x3"; buf has room for 96 bytes. */
const char *upz_arch_shape(const UpzTensor *t, char *buf);
/* s with s * s * channels == n, 1..16; 0 if there is none. */
int upz_arch_square(int64_t n, int64_t channels);

#endif
