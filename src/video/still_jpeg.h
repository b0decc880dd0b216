/* JPEG writing by libjpeg: gray stays gray, chroma keeps its subsampling. Inside this room only. */
#ifndef UPZ_STILL_JPEG_H
#define UPZ_STILL_JPEG_H

#include "uprez/picture.h"
#include "still_meta.h"

/* gray, rgb24 or full-range yuv420p, yuv422p, yuv444p. *out is freed with upz_free. */
int upz_jpeg_encode(uint8_t **out, size_t *size, const UprezPicture *picture, int quality,
                    const UpzStillMeta *meta, UprezError *err);

#endif
