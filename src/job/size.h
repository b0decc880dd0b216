/* How big the output becomes. */
#ifndef UPZ_SIZE_H
#define UPZ_SIZE_H

#include "job.h"

/* WIDTHxHEIGHT, or a screen's name (4k, 1080p, …): *named says which. USAGE. */
int upz_size_parse(int size[2], bool *named, const char *text, UprezError *err);

/* What is enlarged. */
typedef struct UpzShown {
    int width, height;    /* px as stored, before display rotation */
    int sar_num, sar_den; /* 0/1 = unknown */
    int rotation;         /* degrees */
    bool square;          /* the output can only have square pixels: a picture file */
    bool even;            /* a side that follows from the other one becomes even: video */
} UpzShown;

typedef struct UpzSize {
    int width, height;             /* px as stored, before display rotation */
    int inner_width, inner_height; /* what the source becomes: more than the output (the rest is cut
                                      off) or less (the rest is black), centred; else the same */
    int sar_num, sar_den;          /* of the output; 0/1 = unknown */
} UpzSize;

/* scale alone keeps the pixels' shape. Sizes in the params are of the displayed picture: turned as it
 * is shown; one of them alone gives square pixels, both are fitted as params->fit says, with square
 * pixels. own_scale: of the models. USAGE when the result is not 1..65536 px. */
int upz_size_of(UpzSize *out, const UpzJobParams *params, double own_scale, const UpzShown *src,
                UprezError *err);
/* How many times the source the asked size is, on the side that grows more; 0 where none is asked. */
double upz_size_factor(const UpzJobParams *params, const UpzShown *src);
/* True when the params ask for a size, whatever the models do. */
bool upz_size_asked(const UpzJobParams *params);

#endif
