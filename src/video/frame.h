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
/* A new AVFrame over a picture's memory (referenced). Properties and side data come from `like` (may
 * be NULL), except what the size, the source's coding decisions or Dolby Vision's RPU are about;
 * timing and colour come from the picture. */
int upz_frame_from_picture(AVFrame **out, const UprezPicture *picture, const AVFrame *like,
                           UprezError *err);
/* Whether pictures of this format need no swscale, and the format they will have: fmt itself (yuvj…
 * without its j) or the nearest wider one; AV_PIX_FMT_NONE if there is none. */
bool upz_frame_known(enum AVPixelFormat fmt);
enum AVPixelFormat upz_frame_format(enum AVPixelFormat fmt, UprezFormat *f);
/* A copy of av (any format swscale reads) in format `to`, properties kept. */
int upz_frame_convert(AVFrame **out, const AVFrame *av, enum AVPixelFormat to, UprezError *err);
/* Colour of a frame, unspecified fields left so. */
void upz_frame_color(UprezColor *color, const AVFrame *av);

#endif
