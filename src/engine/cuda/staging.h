/* Host pictures on their way to and from a GPU: planes in their own format, one behind another, as
 * one block for one copy.
 *
 * Threads: safe on different memory; packing runs on the context's pool, blocking. */
#ifndef UPZ_CUDA_STAGING_H
#define UPZ_CUDA_STAGING_H

#include "base/context.h"
#include "uprez/picture.h"

size_t upz_staging_bytes(const UprezFormat *format, int width, int height);
/* Sets planes and strides to those of a block at `at`. */
void upz_staging_planes(UprezPicture *picture, void *at);
void upz_staging_pack(UprezContext *ctx, uint8_t *block, const UprezPicture *src);
/* Only the samples of the format's components are written: what shares their planes stays. rects: only
 * these parts (upz_picture_piece); n 0: all. */
void upz_staging_unpack(UprezContext *ctx, UprezPicture *dst, uint8_t *block, const UprezRect *rects,
                        int n);

#endif
