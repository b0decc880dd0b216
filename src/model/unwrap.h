/* Where in a checkpoint the network is. Trainers put it under names of their own, in nested dicts or in
 * front of every tensor's name ("state_dict.generator.module."), beside averages of it, a discriminator,
 * losses and an optimiser's state. The architectures are asked about every place; what a wrapper is
 * called matters only where several places hold a network.
 *
 * Threads: any. */
#ifndef UPZ_UNWRAP_H
#define UPZ_UNWRAP_H

#include "model/graph.h"

/* A tensor's name and shape. Nested dicts are joined by dots: the innermost one's own names begin
 * `inner` bytes into the name, 0 at the top. */
typedef struct UpzLeaf {
    const char *name;
    size_t inner;
    int n_dims;
    int64_t dims[UPZ_MAX_DIMS], count;
} UpzLeaf;

typedef struct UpzPlace {
    bool found;    /* false: no architecture knows anything here */
    size_t prefix; /* bytes in front of the network's own names, with the last dot */
    size_t dict;   /* of these, what nested dicts are called; not found: the likeliest dict */
    bool nested;   /* the network's layers are dicts themselves: all below the prefix belongs to it */
    const UpzLeaf *leaf; /* one that has the prefix */
} UpzPlace;

/* MODEL where several networks have equal rights, MEMORY. file is for messages. */
int upz_unwrap_find(const UpzLeaf *leaves, size_t n, UpzPlace *place, const char *file,
                    UprezError *err);

/* Takes off what stands in front of the network's names and leaves out what is none of it; what was taken
 * is added to set->top_key. Names that no architecture knows stay as they are. */
int upz_unwrap(UpzTensorSet *set, const char *file, UprezError *err);

#endif
