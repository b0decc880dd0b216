/* Parts of a picture as a few rectangles: what of a result is to be made anew when most of the source
 * is what it was.
 *
 * Threads: plain values. */
#ifndef UPZ_PARTS_H
#define UPZ_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include "engine/engine.h"

typedef struct UpzParts {
    bool all; /* the whole picture; else the n rectangles, which do not overlap; n 0: nothing */
    int n;
    UprezRect rect[UPZ_TODO_MAX];
} UpzParts;

/* Cells of cell x cell px of a picture of width x height px (row by row, 0 or not) to rectangles. They
 * are joined where computing one costs less than two, each with `margin` px around it. */
void upz_parts_cells(UpzParts *out, const uint8_t *changed, int width, int height, int cell,
                     const int margin[2]);
/* Where parts of a from_w x from_h picture lie in one of to_w x to_h px, widened by `reach` px and then
 * outwards to multiples of `grain` px or the edge (both: x, y). All: when that, with `margin` px around
 * each rectangle, is more than 80 % of the picture. */
void upz_parts_map(UpzParts *out, const UpzParts *in, int from_w, int from_h, int to_w, int to_h,
                   const int reach[2], const int grain[2], const int margin[2]);

#define UPZ_PARTS_REST (2 * UPZ_TODO_MAX * UPZ_TODO_MAX + 3 * UPZ_TODO_MAX + 1) /* rectangles at most */
/* The rest of a picture: rectangles that do not overlap; returns how many. */
int upz_parts_rest(const UpzParts *parts, int width, int height, UprezRect rest[UPZ_PARTS_REST]);
/* Share of the picture, 0 … 1. */
double upz_parts_share(const UpzParts *parts, int width, int height);

#endif
