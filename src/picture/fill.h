/* Colours where nothing is seen: pixels of alpha 0 get those of their neighbours.
 *
 * What stands under alpha 0 means nothing, mostly black, yet whatever enlarges a picture mixes it
 * into the edges of what is seen. So it is replaced, ring after ring, by the mean of those neighbours
 * that were filled before, up to UPZ_FILL_REACH px away from what is seen. Chroma samples that
 * several pixels share are hidden when all of these are. Farther away the source's own stay.
 *
 * Threads: one at a time. */
#ifndef UPZ_FILL_H
#define UPZ_FILL_H

#include "base/context.h"
#include "uprez/picture.h"

#define UPZ_FILL_REACH 16 /* px */

typedef struct UpzFill UpzFill;

/* like: a shape with alpha. The caller owns *out. MEMORY. */
int upz_fill_create(UpzFill **out, const UprezPicture *like, UprezError *err);
void upz_fill_destroy(UpzFill **fill);
/* Bytes that it holds. */
size_t upz_fill_memory(const UpzFill *fill);
/* dst becomes src with other colours under alpha 0. Both have the shape and lie in host memory. */
void upz_fill_run(UpzFill *fill, const UprezPicture *src, UprezPicture *dst);

#endif
