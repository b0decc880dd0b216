/* Still pictures: PNG 8/16, JPEG, WebP, TIFF, BMP, … in; PNG, JPEG, WebP, TIFF out.
 *
 * Kept: alpha, 16 bits, ICC profile, EXIF orientation (as a tag where the target holds one, by
 * turning the pixels where it does not). */
#ifndef UPZ_STILL_H
#define UPZ_STILL_H

#include "base/context.h"
#include "frame.h"

typedef struct UpzStillInfo {
    int orientation;  /* EXIF 1..8; 1 = upright */
    void *icc;        /* owned by the info */
    size_t icc_size;
} UpzStillInfo;

/* True when the name's extension is one upz_still_write can write. */
bool upz_still_can_write(const char *path);
/* True when path is a still picture by content (one frame, an image demuxer). */
bool upz_still_probe(const char *path);
int upz_still_read(UpzFrame **out, UpzStillInfo *info, UprezContext *ctx, const char *path,
                   UprezError *err);
/* The format to ask the upscaler for so that nothing of `src` is lost and the file can hold it. */
int upz_still_format(UprezFormat *out, UprezColor *color, const UprezPicture *src, const char *path,
                     UprezError *err);
/* Atomically: PATH.part, verified by decoding it again, renamed. quality 0 = default (lossless for
 * PNG and TIFF, 95 for JPEG and WebP). */
int upz_still_write(const char *path, const UprezPicture *picture, const UpzStillInfo *info,
                    int quality, UprezError *err);
void upz_still_info_free(UpzStillInfo *info);

#endif
