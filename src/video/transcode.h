/* One audio or text subtitle stream from one codec to another, where a container cannot hold it as
 * it is. Used inside this room only. Threads: one at a time. */
#ifndef UPZ_TRANSCODE_H
#define UPZ_TRANSCODE_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include "base/error.h"

typedef struct UpzTranscoder UpzTranscoder;

/* Takes a finished packet (the callee's to unref); times in upz_transcoder_time_base(). */
typedef int (*UpzPacketSink)(void *cookie, AVPacket *packet, UprezError *err);

/* to: an AVCodecID. OUTPUT when decoder or encoder cannot be had. */
int upz_transcoder_open(UpzTranscoder **out, const AVStream *from, int to, UprezError *err);
/* The encoder's parameters; the transcoder's. */
const AVCodecParameters *upz_transcoder_parameters(const UpzTranscoder *t);
AVRational upz_transcoder_time_base(const UpzTranscoder *t);
/* packet: times in the source stream's base; NULL at the end. What does not decode is left out. */
int upz_transcoder_packet(UpzTranscoder *t, const AVPacket *packet, UpzPacketSink sink, void *cookie,
                          UprezError *err);
void upz_transcoder_close(UpzTranscoder **t);

#endif
