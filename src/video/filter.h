/* Filters between decoder and network: bwdif and the user's chain, as one libavfilter graph.
 * Used inside this room only. Threads: one at a time. */
#ifndef UPZ_FILTER_H
#define UPZ_FILTER_H

#include <stdbool.h>
#include <libavutil/frame.h>
#include "base/error.h"

typedef struct UpzFilter UpzFilter;

typedef enum UpzDeint {
    UPZ_DEINT_NONE,
    UPZ_DEINT_FLAGGED, /* frames flagged as interlaced; others pass untouched */
    UPZ_DEINT_TFF,     /* all frames, for codecs that flag nothing: top field first */
    UPZ_DEINT_BFF
} UpzDeint;

/* A graph for frames like `like`, whose pts count in time_base. chain may be NULL. What comes out
 * has a format pictures are made of without swscale, chosen by libavfilter with the least loss.
 * USAGE when the chain is wrong. */
int upz_filter_create(UpzFilter **out, const char *chain, UpzDeint deint, const AVFrame *like,
                      AVRational time_base, AVRational rate, AVRational sar, UprezError *err);
void upz_filter_destroy(UpzFilter **f);
/* Whether a frame may be sent; if not, drain and create anew. */
bool upz_filter_fits(const UpzFilter *f, const AVFrame *frame);
/* Takes frame over, also on failure; NULL = no more. */
int upz_filter_send(UpzFilter *f, AVFrame *frame, UprezError *err);
/* 0 and a frame in the time base given at creation, UPREZ_AGAIN, UPREZ_EOF, or an error. */
int upz_filter_receive(UpzFilter *f, AVFrame **out, UprezError *err);
AVRational upz_filter_rate(const UpzFilter *f); /* 0/1 = unknown */
AVRational upz_filter_sar(const UpzFilter *f);

#endif
