/* Theora says "the picture before once more" with a packet of no bytes, which readers pass over: the
 * picture is then missing from their count, and in most containers from the film. */
#ifndef UPZ_THEORA_H
#define UPZ_THEORA_H

#include <libavcodec/avcodec.h>

/* Makes such a packet a picture of its own in which no block is coded: the same to look at. Packets
 * that have bytes stay. 0 or an AVERROR. */
int upz_theora_fill(AVPacket *packet, const AVCodecContext *encoder);

#endif
