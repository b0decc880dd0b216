/* A part of a frame to look at, from two films: pixel for pixel, where they differ most. */
#ifndef UPZ_SAMPLE_H
#define UPZ_SAMPLE_H

#include <stddef.h>
#include "base/context.h"
#include "uprez/picture.h"

enum { UPZ_SAMPLE_WIDTH = 1280, UPZ_SAMPLE_HEIGHT = 720 /* px, at most */ };

typedef struct UpzSample {
    size_t point;           /* whose: the owner's number */
    UprezRect rect;         /* which part */
    unsigned char *jpeg[2];
    unsigned long bytes[2];
} UpzSample;

/* p: two pictures of one size. Fills all but point; UpzSample is freed in any case. */
int upz_sample_make(UpzSample *s, UprezContext *ctx, const UprezPicture *const p[2], UprezError *err);
void upz_sample_free(UpzSample *s);

/* The parts of it. Where two pictures of one size differ most, at most w x h px. */
int upz_sample_window(UprezRect *rect, UprezContext *ctx, const UprezPicture *const p[2], int w, int h,
                      UprezError *err);
/* That part as JPEG in memory, the caller's (upz_free). */
int upz_sample_jpeg(unsigned char **jpeg, unsigned long *bytes, UprezContext *ctx, const UprezPicture *p,
                    const UprezRect *rect, UprezError *err);

#endif
