/* What a picture file says beside its pixels: EXIF, ICC and density, found in and put into PNG, JPEG, WebP
 * and TIFF bytes without touching the pixels. Used inside this room only.
 * Formats: PNG 3rd edition (iCCP, eXIf), JFIF/EXIF APP1, ICC.1 annex B.4, RIFF WebP container,
 * TIFF 6.0. Every length in a file is checked before it is used. */
#ifndef UPZ_STILL_META_H
#define UPZ_STILL_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

typedef enum UpzStillKind {
    UPZ_STILL_NONE, UPZ_STILL_PNG, UPZ_STILL_JPEG, UPZ_STILL_WEBP, UPZ_STILL_TIFF
} UpzStillKind;

/* By the first bytes. */
UpzStillKind upz_still_kind(const uint8_t *data, size_t size);

/* False when the file ends before its last part (PNG's IEND, JPEG's EOI, WebP's RIFF length). */
bool upz_still_complete(const uint8_t *data, size_t size);

/* The EXIF block (a TIFF structure) inside a picture file; points into data. A TIFF file is its own
 * block. false if there is none. */
bool upz_exif_find(const uint8_t *data, size_t size, const uint8_t **exif, size_t *exif_size);
/* 1 … 8; 1 if the block says none. */
int upz_exif_orientation(const uint8_t *exif, size_t size);
/* The pixel dimensions a block may carry become w and h; the thumbnail of the picture that was is
 * unlinked. In place. */
void upz_exif_resize(uint8_t *exif, size_t size, uint32_t w, uint32_t h);
/* A block that says an orientation and nothing else: its size, at most UPZ_EXIF_SMALL. */
#define UPZ_EXIF_SMALL 26
size_t upz_exif_make(uint8_t out[UPZ_EXIF_SMALL], int orientation);

/* How close pixels lie when printed: PNG's pHYs, JFIF's density, TIFF's and EXIF's resolution. */
typedef struct UpzDensity {
    double x, y; /* pixels a metre, or without a unit: their ratio tells the pixels' shape. 0 = unknown */
    bool metre;
} UpzDensity;
bool upz_density_find(const uint8_t *data, size_t size, UpzDensity *density);

typedef struct UpzStillMeta {
    const uint8_t *icc, *exif; /* NULL = none */
    size_t icc_size, exif_size;
    int orientation;           /* for TIFF, which has a tag of its own */
    UpzDensity density;
} UpzStillMeta;

/* A new block of memory (upz_free) with the file and the metadata in it, for PNG, WebP, TIFF as
 * libavcodec writes them; their density is replaced. OUTPUT when the file is not such a one, MEMORY. */
int upz_still_embed(UpzStillKind kind, const uint8_t *data, size_t size, const UpzStillMeta *meta,
                    uint8_t **out, size_t *out_size, UprezError *err);

/* The pages of a TIFF file, smaller copies not counted; 0: it is none. */
int upz_tiff_pages(const uint8_t *data, size_t size);
/* How a TIFF's first page is stored, in words, where libavcodec answers with black; else NULL. */
const char *upz_tiff_unreadable(const uint8_t *data, size_t size);

#endif
