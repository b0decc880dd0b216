/* Words beside a picture: PNG's text chunks, XMP, IPTC and Photoshop's resources, comments. Found in a
 * picture file, and written as another kind of file wants them. Used inside this room only.
 * Formats: PNG 3rd edition (tEXt, zTXt, iTXt, tIME), XMP part 3, Photoshop's image resources, TIFF's
 * tags 700, 33723, 34377; what PNG has no place for goes into "Raw profile type" chunks as
 * ImageMagick writes and ExifTool reads them. Threads: safe. */
#ifndef UPZ_STILL_TEXT_H
#define UPZ_STILL_TEXT_H

#include "base/error.h"
#include "bytes.h"
#include "still_kind.h"

typedef enum UpzTextKind {
    UPZ_TEXT_WORDS,     /* UTF-8, under a key ("Comment" for those without one) */
    UPZ_TEXT_XMP,
    UPZ_TEXT_RESOURCES, /* Photoshop's, IPTC among them */
    UPZ_TEXT_OTHER      /* PNG's own way to hold something else: only PNG keeps it */
} UpzTextKind;

typedef struct UpzStillText {
    UpzTextKind kind;
    char *key;
    uint8_t *data;
    size_t size;
} UpzStillText;

typedef struct UpzStillTexts {
    UpzStillText *items;
    size_t n, cap;
    UpzBytes chunks;   /* a PNG's, as they are, for another PNG */
    UpzBytes segments; /* a JPEG's XMP of more than one segment, for another JPEG */
} UpzStillTexts;

/* What a file says; damaged parts are left out. MEMORY. */
int upz_still_texts_find(UpzStillTexts *texts, const uint8_t *data, size_t size, UprezError *err);
/* One more piece of words. MEMORY. */
int upz_still_texts_add(UpzStillTexts *texts, const char *key, const char *words, UprezError *err);
void upz_still_texts_free(UpzStillTexts *texts);

/* Chunks for a PNG; false: no memory. */
bool upz_still_texts_png(UpzBytes *b, const UpzStillTexts *texts);
/* Marker segments for a JPEG, each with its marker and length; false: no memory. */
bool upz_still_texts_jpeg(UpzBytes *b, const UpzStillTexts *texts);
/* The XMP packet, or NULL. */
const UpzStillText *upz_still_texts_xmp(const UpzStillTexts *texts);
/* Values of TIFF's tags: Photoshop's resources and IPTC out of them, words as one text. NULL = none. */
const UpzStillText *upz_still_texts_resources(const UpzStillTexts *texts);
bool upz_resources_iptc(const UpzStillText *resources, const uint8_t **iptc, size_t *size);
bool upz_still_texts_words(UpzBytes *b, const UpzStillTexts *texts);
/* What a file of that kind cannot hold, as a list of words, or "". described: a TIFF's or EXIF's own
 * description is there already. */
void upz_still_texts_lost(const UpzStillTexts *texts, UpzStillKind kind, bool described, char *words,
                          size_t room);

/* A chunk of a PNG, with its checksum. */
bool upz_png_chunk(UpzBytes *b, const char *type, const uint8_t *data, size_t size);

#endif
