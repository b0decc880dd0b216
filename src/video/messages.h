/* Messages inside a stream of H.264 or H.265 that belong to a picture and that its encoder does not
 * write by itself: closed captions, HDR10+ and the active format, as T.35 messages (SEI) in front of
 * the picture. Used inside this room only.
 * Formats: ITU-T H.264 and H.265 annex D, ANSI/SCTE 128-1, ETSI TS 101 154 annex B, SMPTE ST 2094-40.
 * Threads: one at a time. */
#ifndef UPZ_MESSAGES_H
#define UPZ_MESSAGES_H

#include <libavcodec/avcodec.h>
#include "base/error.h"

typedef struct UpzMessages UpzMessages;

/* For an encoder as opened; NULL in *out where it has no use for them. MEMORY. */
int upz_messages_open(UpzMessages **out, const AVCodecContext *enc, UprezError *err);
/* A frame goes to the encoder: what it carries waits for the packet of its time. MEMORY. */
int upz_messages_frame(UpzMessages *m, const AVFrame *frame, UprezError *err);
/* A packet has come, its time still the encoder's. An AVERROR. */
int upz_messages_packet(UpzMessages *m, AVPacket *packet);
void upz_messages_close(UpzMessages **m);

#endif
