/* Writing: an encoder into one video-only segment file.
 *
 * Threads: one at a time. */
#ifndef UPZ_SINK_H
#define UPZ_SINK_H

#include "base/context.h"
#include "frame.h"
#include "source.h"

typedef struct UpzEncoderParams {
    const char *encoder;      /* NULL = chosen by depth and container */
    const char *const *options; /* "key=value", n_options of them */
    int n_options;
    int crf;                  /* < 0 = default */
    const char *preset, *pix_fmt; /* NULL = default */
    int threads;              /* fixed in the plan: some encoders' bytes depend on it */
} UpzEncoderParams;

/* Everything the encoder is opened with, decided once a job. */
typedef struct UpzEncoderPlan {
    char encoder[32], container[32];
    enum AVPixelFormat pix_fmt;
    UprezFormat format;       /* what the upscaler is asked for */
    UprezColor color;
    int width, height;
    AVRational sar, time_base, frame_rate;
    int threads;
    char options[1024];       /* "key=value:key=value", all of them, defaults included */
    uint32_t codec_tag;       /* hvc1 in MOV/MP4 */
    bool y4m;
} UpzEncoderPlan;

/* Chooses and checks: encoder exists, takes the size, format, options (unknown ones are an error).
 * Opens and closes the encoder once. USAGE or OUTPUT. */
int upz_encoder_plan(UpzEncoderPlan *plan, UprezContext *ctx, const UpzEncoderParams *params,
                     const UpzSourceInfo *info, const char *output, int width, int height,
                     UprezError *err);

typedef struct UpzSink UpzSink;
/* A segment file (or, for y4m, a pipe: path "-"). */
int upz_sink_open(UpzSink **out, const UpzEncoderPlan *plan, const AVFrame *first, const char *path,
                  UprezError *err);
/* Encodes; pts in the plan's time base and strictly increasing. */
int upz_sink_write(UpzSink *s, AVFrame *frame, UprezError *err);
/* Flushes, writes the trailer, syncs. packets: how many were written. */
int upz_sink_finish(UpzSink *s, int64_t *packets, UprezError *err);
void upz_sink_close(UpzSink **s); /* without finish: what was written so far stays readable */

#endif
