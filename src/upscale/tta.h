/* Test-time augmentation: the mean over the eight flips and turns of the square. */
#ifndef UPZ_TTA_H
#define UPZ_TTA_H

#include "base/context.h"
#include "uprez/picture.h"

/* Turn t = 0 … 7: bit 0 transposes, bit 1 mirrors x, bit 2 mirrors y (after the transposition).
 * All pictures are planar float with the same number of planes. Rows run on the context's pool. */
void upz_tta_turn(UprezContext *ctx, const UprezPicture *src, UprezPicture *dst, int t);
/* acc += weight * the inverse turn of src; t == 0 sets instead of adding. */
void upz_tta_add(UprezContext *ctx, const UprezPicture *src, UprezPicture *acc, int t, float weight);
/* dst = (1 - share) * dst + share * other, same size, planar float. */
void upz_blend(UprezContext *ctx, UprezPicture *dst, const UprezPicture *other, float share);

#endif
