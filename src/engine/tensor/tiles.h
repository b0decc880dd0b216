/* Tiles along one axis of a picture: where they lie and what each contributes to the result.
 *
 * All tiles have one size and lie inside the (padded) picture, evenly spread from edge to edge, so
 * that the network's own zeros stand only at true borders. Neighbours overlap by at least two halos.
 * They meet in the middle of their overlap: in a cut where the halo covers the network's reach (each
 * side is right up to there), else in a linear fade of one halo's width, the half halo next to a
 * tile's border being dropped. */
#ifndef UPZ_TILES_H
#define UPZ_TILES_H

#include <stdbool.h>
#include "base/error.h"

typedef struct UpzTileAxis {
    int tile, n;  /* input px; tiles */
    int *start;   /* [n] input px, on the unit */
    int *cut;     /* [n + 1] output px: cut[i] is where tile i takes over from tile i - 1; [n] = end */
    int blend;    /* output px of a fade, centred on the cut; 0: cuts */
    int end;      /* output px wanted */
} UpzTileAxis;

/* size: input px of the padded picture; out_end: output px wanted of size * num / den. size, tile
 * and halo are multiples of unit, unit a multiple of den; 0 <= 4 * halo <= tile, or the tile covers
 * all. Fails with MEMORY. The axis must be zeroed or freed before. */
int upz_tiles_axis(UpzTileAxis *a, int size, int out_end, int tile, int halo, bool blend, int unit,
                   int num, int den, UprezError *err);
void upz_tiles_free(UpzTileAxis *a);

/* Output px to which tile i contributes: from … to - 1. */
void upz_tiles_range(const UpzTileAxis *a, int i, int *from, int *to);
/* Tile i's share of output px x within its range; the shares of all tiles sum to 1. */
float upz_tiles_weight(const UpzTileAxis *a, int i, int x);

#endif
