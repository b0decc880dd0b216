/* 8-bit integers, and what of a network's values they stand for.
 *
 * Every channel of a map has a factor of its own, value = number * factor, from the largest magnitude that the
 * network gave on the built-in picture (trial.h). Zero is zero in both, as the borders of maps want it.
 *
 * Threads: plain values. */
#ifndef UPZ_QUANT_H
#define UPZ_QUANT_H

#include <stddef.h>
#include <stdint.h>
#include "uprez/error.h"

/* Largest magnitudes, by channel of each map. */
typedef struct UpzRanges {
    float *most; /* upz_free */
    size_t *at;  /* by map: where its channels begin; upz_free */
    size_t n;    /* of them all */
} UpzRanges;

/* Zeros for every channel of `maps` maps. Fails with MEMORY. */
int upz_ranges_make(UpzRanges *out, const int *channels, int maps, UprezError *err);
void upz_ranges_free(UpzRanges *ranges);

#define UPZ_INT8_LARGEST 127
/* Other pictures reach beyond what was seen. Room for that makes steps coarser: 0.3 dB of published networks,
 * where seeded ones lose 3 without. */
#define UPZ_INT8_ROOM 1.15f

/* To nearest even; the largest where it is larger; NaN: 0. */
int8_t upz_int8(float v);
/* The factor of a channel whose values reach `most` times `room` and whose largest number is `largest`. */
float upz_quant_factor(float most, float room, float largest);

#endif
