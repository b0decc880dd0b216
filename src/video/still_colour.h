/* What the numbers of a picture's pixels mean, where no ICC profile says it: PNG's chunks gAMA, cHRM,
 * sRGB, cICP and those for HDR, or code points of H.273 from elsewhere. PNG keeps them as they are;
 * other files get a profile that says the same. Used inside this room only.
 * Formats: PNG 3rd edition, ITU-T H.273, ICC.1:2001-04 (profiles of version 2). Threads: safe. */
#ifndef UPZ_STILL_COLOUR_H
#define UPZ_STILL_COLOUR_H

#include "base/error.h"
#include "bytes.h"

typedef struct UpzStillColour {
    UpzBytes chunks;        /* a PNG's, as they are */
    double gamma;           /* numbers are light to the power of this; 0 = not said */
    double chrm[8];         /* x and y of white, red, green, blue; has_chrm */
    bool has_chrm, srgb;
    int primaries, transfer; /* H.273; 2 = not said */
} UpzStillColour;

/* Of a PNG's bytes; nothing for other files. MEMORY. */
int upz_still_colour_find(UpzStillColour *colour, const uint8_t *data, size_t size, UprezError *err);
void upz_still_colour_free(UpzStillColour *colour);
/* Chunks for a PNG; false: no memory. */
bool upz_still_colour_png(UpzBytes *b, const UpzStillColour *colour);
/* True where a reader that is told nothing would show the same: sRGB, or nearly. */
bool upz_still_colour_plain(const UpzStillColour *colour);
/* A profile that says the same; nothing is put where that is not possible (HDR's curves). false: no
 * memory. */
bool upz_still_colour_icc(UpzBytes *icc, const UpzStillColour *colour, bool gray);

#endif
