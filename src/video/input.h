/* Opening: a name becomes a demuxer and a decoder. Used inside this room only. */
#ifndef UPZ_INPUT_H
#define UPZ_INPUT_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include "base/context.h"
#include "base/error.h"
#include "base/watch.h"

#define UPZ_AV_ERROR 96
/* What libav says about an error number; writes into and returns buf. */
const char *upz_av_error(int r, char buf[UPZ_AV_ERROR]);
/* libav's own lines on stderr are switched off unless the program has chosen a level. */
void upz_av_quiet(void);

/* A name that FFmpeg takes for a picture's. */
bool upz_picture_name(const char *path);
/* A frame rate as the demuxers spell it: "24", "30000/1001"; 23.976, 29.97 and their like are those over
 * 1001. Negative when the text is none between 0.001 and 1000. */
int upz_rate_text(char *to, size_t size, const char *text);

/* Lets blocking calls of libav's end when the watch says so. watch may be NULL. */
AVIOInterruptCB upz_input_interrupt(UpzWatch *watch);

/* Opens a file, an address or "-" (standard input: y4m unless format says otherwise) and reads what
 * is needed to know its streams. format: a demuxer's name, maybe with options ("image2:framerate=24").
 * A name that exists as a file is that file, whatever it looks like.
 * watch (may be NULL) must outlive the result. INPUT, MEMORY or INTERRUPTED. */
int upz_input_open(AVFormatContext **out, const char *url, const char *format,
                   UpzWatch *watch, UprezError *err);
/* The same, but what is read to know its streams begins at a byte of the file. */
int upz_input_open_at(AVFormatContext **out, const char *url, const char *format, int64_t byte,
                      UpzWatch *watch, UprezError *err);
/* The stream to enlarge: FFmpeg's choice among the video streams that are not cover art and that
 * can be decoded. Its index, or INPUT. */
int upz_input_video(AVFormatContext *fmt, const char *url, UprezError *err);
bool upz_input_is_y4m(const AVFormatContext *in);
/* A single picture file, by its demuxer. */
bool upz_input_is_still(const AVFormatContext *fmt, int stream);

/* A decoder for a stream. alpha: VP8/VP9 with a second, transparency picture. hwaccel: a device
 * type of libav's ("cuda", "vaapi", …) or NULL; DEVICE when it cannot be used.
 * threads 0 = as many as the process may use, at most 8. */
int upz_decoder_open(AVCodecContext **out, const AVStream *st, const char *hwaccel, int threads,
                     UprezError *err);
bool upz_stream_has_alpha(const AVStream *st);


#endif
