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
#include "exif.h"
#include "still_colour.h"
#include "still_text.h"

/* By the first bytes. */
UpzStillKind upz_still_kind(const uint8_t *data, size_t size);

/* False when the file ends before its last part (PNG's IEND, JPEG's EOI, WebP's RIFF length). */
bool upz_still_complete(const uint8_t *data, size_t size);

/* The EXIF block (a TIFF structure) inside a picture file; points into data. A TIFF file is its own
 * block. false if there is none. */
bool upz_exif_find(const uint8_t *data, size_t size, const uint8_t **exif, size_t *exif_size);
/* Where the file itself says it; EXIF is looked into, too. */
bool upz_density_find(const uint8_t *data, size_t size, UpzDensity *density);

typedef struct UpzStillMeta {
    const uint8_t *icc, *exif; /* NULL = none */
    size_t icc_size, exif_size;
    int orientation;           /* for TIFF, which has a tag of its own */
    UpzDensity density;
    const UpzStillTexts *texts;   /* NULL = none */
    const UpzStillColour *colour; /* PNG only; NULL = none */
} UpzStillMeta;

/* A new block of memory (upz_free) with the file and the metadata in it, for PNG, WebP, TIFF as
 * libavcodec writes them; their density is replaced. OUTPUT when the file is not such a one, MEMORY. */
int upz_still_embed(UpzStillKind kind, const uint8_t *data, size_t size, const UpzStillMeta *meta,
                    uint8_t **out, size_t *out_size, UprezError *err);

#endif
