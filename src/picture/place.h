/* A picture cut to, or set into, another size. */
#ifndef UPZ_PLACE_H
#define UPZ_PLACE_H

#include "uprez/picture.h"

/* Where a picture of size inner lies, in one dimension, so that it is centred in (or over) a canvas;
 * on the grain of 1 << sub pixels. Negative: a part of it is cut off. */
int upz_place_offset(int canvas, int inner, int sub);
/* A new picture of width x height px with src at (x, y); what src does not cover is black, and
 * transparent where there is alpha. x and y are multiples of the chroma's grain. Host memory. MEMORY. */
int upz_picture_place(UprezPicture **out, const UprezPicture *src, int x, int y, int width, int height,
                      UprezError *err);
/* The same in place of *picture, centred. On failure *picture stays. */
int upz_picture_set(UprezPicture **picture, int width, int height, UprezError *err);

#endif
