/* What both torch containers share: from an unpickled value to the tensors of its state dict, and
 * from a storage's bytes to their numbers. */
#ifndef UPZ_TORCH_STATE_H
#define UPZ_TORCH_STATE_H

#include "model/graph.h"
#include "model/pickle.h"

/* One tensor of the state dict: where it lies and which of the set's items it fills. */
typedef struct UpzTorchRef {
    const uint8_t *key; /* the storage's name, n_key bytes, in the pickle */
    uint32_t n_key;
    UpzElement element;
    size_t item;
    int64_t elements;   /* the storage's size as the pickle tells it */
    int64_t first, last; /* elements the tensor touches; checked against `elements` */
    int64_t strides[UPZ_MAX_DIMS];
} UpzTorchRef;

typedef struct UpzTorchState {
    UpzTorchRef *refs; /* sorted by storage */
    size_t n, cap;
} UpzTorchState;

/* Finds the dict with the network (model/unwrap.h), adds its tensors to set (data not yet filled) and lists
 * them. budget: most bytes all tensors may take as fp32. On failure
 * state is empty; set is the caller's to free either way. */
int upz_torch_collect(const UpzPickle *p, UpzTensorSet *set, UpzTorchState *state, uint64_t budget,
                      const char *file, UprezError *err);
void upz_torch_free(UpzTorchState *state);

/* References i … next-1 share a storage. */
size_t upz_torch_next(const UpzTorchState *state, size_t i);
size_t upz_element_bytes(UpzElement e);
/* Fills the tensor of ref from its storage's bytes; MODEL if those are fewer than promised. */
int upz_torch_fill(const UpzTorchRef *ref, UpzTensorSet *set, const uint8_t *storage, size_t bytes,
                   const char *file, UprezError *err);
/* n elements widened to fp32. */
void upz_widen(float *dst, const uint8_t *src, UpzElement e, size_t n);

/* Most fp32 bytes a file of this size may turn into: weights hardly compress, and the narrowest
 * element has one byte. */
static inline uint64_t upz_torch_budget(size_t file_bytes)
{
    return (uint64_t)file_bytes * 16 + ((uint64_t)1 << 20);
}

#endif
