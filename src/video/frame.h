/* One decoded frame on its way through: the picture libuprez works on, and the AVFrame whose memory
 * it wraps and whose side data, timing and tags go to the encoder. */
#ifndef UPZ_FRAME_H
#define UPZ_FRAME_H

#include <stdbool.h>
#include <libavutil/frame.h>
#include "uprez/picture.h"

typedef struct UpzFrame {
    AVFrame *av;           /* pts and duration in the source's time base */
    UprezPicture *picture; /* wraps av's memory; NULL until upz_frame_picture() */
    bool damaged;          /* the decoder reported errors in it */
    bool held;             /* a copy of the last good frame, standing in for a lost one */
} UpzFrame;

/* Takes av over, also on failure. */
int upz_frame_create(UpzFrame **out, AVFrame *av, UprezError *err);
void upz_frame_free(UpzFrame **f);
/* Makes f->picture over f->av; formats uprez does not convert by itself are brought to the nearest
 * one it does (never fewer bits) through swscale, bitexact and accurate_rnd. */
int upz_frame_picture(UpzFrame *f, UprezError *err);
/* A new AVFrame over a picture's memory (referenced), properties and side data from `like`. */
int upz_frame_from_picture(AVFrame **out, const UprezPicture *picture, const AVFrame *like,
                           UprezError *err);
/* Colour of a frame, unspecified fields left so. */
void upz_frame_color(UprezColor *color, const AVFrame *av);

#endif
