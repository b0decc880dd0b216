/* The TIFF structure of EXIF: what a camera and a program say of a picture. A TIFF file is such a
 * structure, too. Every offset in it is checked before it is used. Used inside this room only.
 * Formats: TIFF 6.0, Exif 2.32. Threads: safe. */
#ifndef UPZ_EXIF_H
#define UPZ_EXIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "bytes.h"

/* How close pixels lie when printed: PNG's pHYs, JFIF's density, TIFF's and EXIF's resolution. */
typedef struct UpzDensity {
    double x, y; /* pixels a metre, or without a unit: their ratio tells the pixels' shape. 0 = unknown */
    bool metre;
} UpzDensity;
/* Fills it from numbers that per_metre (0: no unit) makes metres of; false where they make no sense. */
bool upz_density_is(UpzDensity *d, double x, double y, double per_metre);

/* 1 … 8; 1 if the block says none. */
int upz_exif_orientation(const uint8_t *exif, size_t size);
bool upz_exif_density(const uint8_t *exif, size_t size, UpzDensity *density);
/* The pixel dimensions a block may carry become w and h; the thumbnail of the picture that was is
 * unlinked. In place. */
void upz_exif_resize(uint8_t *exif, size_t size, uint32_t w, uint32_t h);
/* A block that says an orientation and nothing else: its size, at most UPZ_EXIF_SMALL. */
#define UPZ_EXIF_SMALL 26
size_t upz_exif_make(uint8_t out[UPZ_EXIF_SMALL], int orientation);

/* What describes the picture in a TIFF file or a block (not how it is stored, and no thumbnail), as a
 * block of its own, little-endian, in an empty *out; nothing is put where there is nothing. false only
 * when out of memory (out->no_memory). */
bool upz_exif_copy(UpzBytes *out, const uint8_t *data, size_t size);
/* The same into a TIFF file that is being written: values go behind the bytes of b, entries into a
 * sorted list that has room for UPZ_EXIF_TAGS more. The orientation is left out. */
#define UPZ_EXIF_TAGS 48
bool upz_exif_merge(UpzBytes *b, uint8_t *list, unsigned *count, const uint8_t *exif, size_t size);
/* Tags of a TIFF file's first directory that neither say how it is stored nor are copied; "" or their
 * numbers. */
void upz_tiff_others(const uint8_t *data, size_t size, char *words, size_t room);
/* The bytes of a tag of the first directory (numbers of one byte, or text); points into data. */
bool upz_tiff_bytes(const uint8_t *data, size_t size, unsigned tag, const uint8_t **value, size_t *n);
/* One more entry for a directory whose entries are sorted by tag. value: of up to 4 bytes, or the
 * offset of more. */
void upz_tiff_entry(uint8_t *list, unsigned *count, unsigned tag, unsigned type, uint32_t n,
                    uint32_t value);

/* The pages of a TIFF file, smaller copies not counted; 0: it is none. */
int upz_tiff_pages(const uint8_t *data, size_t size);
/* How a TIFF's first page is stored, in words, where libavcodec answers with black; else NULL. */
const char *upz_tiff_unreadable(const uint8_t *data, size_t size);

#endif
