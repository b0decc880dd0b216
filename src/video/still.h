/* Still pictures: PNG 8/16, JPEG, WebP, TIFF, BMP, … in; PNG, JPEG, WebP, TIFF out.
 *
 * Kept: alpha (straight; JPEG has none), 16 bits (PNG, TIFF), ICC profile, what PNG's gAMA, cHRM, sRGB
 * and cICP say of colours (as a profile in other files), density (dots per inch; WebP has none), texts
 * (still_text.h), and the EXIF block with its dimensions brought up to date and its thumbnail dropped,
 * out of TIFF's own tags and into them, too. upz_still_losses() names what a kind of file cannot hold.
 * The orientation stays a tag, which all four targets hold (JPEG APP1, PNG eXIf, WebP EXIF, TIFF tag
 * 274): pixels are not turned. Threads: safe on different files. */
#ifndef UPZ_STILL_H
#define UPZ_STILL_H

#include "base/context.h"
#include "base/watch.h"
#include "frame.h"
#include "still_meta.h"

typedef struct UpzStillInfo {
    int orientation;  /* EXIF 1..8; 1 = upright */
    void *icc;        /* owned by the info, NULL = none */
    size_t icc_size;
    void *exif;       /* a TIFF structure, owned by the info; NULL = none */
    size_t exif_size;
    UpzDensity density;
    UpzStillTexts texts;
    UpzStillColour colour;
    char others[120]; /* what the file says and nobody here can carry, as a list of words; "" = nothing */
} UpzStillInfo;

/* True when the name's extension is one upz_still_write can write. */
bool upz_still_can_write(const char *path);
/* True when path, a file or an address, is a still picture by content: of an image demuxer, or a GIF,
 * AVIF or the like of one frame; any: any file of one frame and nothing else. watch (may be NULL, here and
 * below) ends waiting for an address. */
bool upz_still_probe(const char *path, bool any, UpzWatch *watch);
/* A picture with an opaque palette is plain RGB. INPUT when it does not decode; a file that is cut off gives a frame marked `damaged`. info may be
 * NULL; else it is the caller's to free, also after a failure. */
int upz_still_read(UpzFrame **out, UpzStillInfo *info, UprezContext *ctx, const char *path,
                   UpzWatch *watch, UprezError *err);
/* The format to ask the upscaler for so that nothing of `src` is lost and the file can hold it. */
int upz_still_format(UprezFormat *out, UprezColor *color, const UprezPicture *src, const char *path,
                     UprezError *err);
/* What of info a file of that name cannot hold, as a list of words; "" = nothing. */
void upz_still_losses(const char *path, const UpzStillInfo *info, const UprezPicture *src, char *words,
                      size_t room);
/* USAGE when a file of this kind cannot be as big as that. */
int upz_still_fits(const char *path, const UprezFormat *format, int width, int height,
                   UprezError *err);
/* Atomically: PATH.part, verified by decoding it again (size; PNG and TIFF: every sample), renamed.
 * The picture must have a format upz_still_format() gives. quality 1..100, 0 = default (95 for JPEG
 * and WebP; PNG and TIFF are lossless). info may be NULL. OUTPUT or VERIFY. */
int upz_still_write(const char *path, const UprezPicture *picture, const UpzStillInfo *info,
                    int quality, UprezError *err);
void upz_still_info_free(UpzStillInfo *info);

#endif
