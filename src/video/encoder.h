/* Encoders: what the output's video is coded with, decided once a job, and opened as decided.
 *
 * Threads: functions are safe anywhere; what they return is used by one thread at a time. */
#ifndef UPZ_ENCODER_H
#define UPZ_ENCODER_H

#include <libavcodec/avcodec.h>
#include <libavutil/mastering_display_metadata.h>
#include "base/context.h"
#include "source.h"

typedef struct UpzEncoderParams {
    const char *encoder;        /* NULL = chosen by container, depth and size */
    const char *const *options; /* "key=value", n_options of them */
    int n_options;
    int crf;                    /* < 0 = default */
    const char *preset, *pix_fmt; /* NULL = default */
    int threads;                /* 0 = by the output's size, never by the machine */
} UpzEncoderParams;

/* Everything the encoder is opened with: plain data, the same for every segment of a job. */
typedef struct UpzEncoderPlan {
    char encoder[32], container[32]; /* libav's names of encoder and muxer */
    char segment[16];         /* muxer of the segments: "nut", "mov" or "matroska" */
    enum AVPixelFormat pix_fmt;
    UprezFormat format;       /* what the upscaler is asked for */
    UprezColor color;         /* of the output, guesses included: for the upscaler */
    UprezColor tags;          /* as written: guesses only where the new size would change them */
    int width, height;        /* px; even where the format asks for it */
    int inner_width, inner_height; /* what the source becomes; where it is not the size, the picture is
                                      cut or surrounded by black, see picture/place.h */
    AVRational sar;           /* 0/1 = unknown */
    AVRational frame_rate;    /* nominal; 0/1 = unknown */
    AVRational time_base;     /* of the frames given to a sink: the source's */
    AVRational codec_base;    /* of the encoder: as coarse as holds every frame's time */
    int64_t origin;           /* time_base: the encoder's time 0 */
    int threads;
    char options[1536];       /* "key=value:key=value" of the encoder, defaults included; values
                                 escaped as av_dict_get_string() does */
    uint32_t codec_tag;       /* hvc1 in MOV and MP4; 0 = the muxer's own */
    bool y4m, raw;            /* raw: the container holds no timestamps */
    bool pictures;            /* files of one frame each, written by upz_still_write() */
    bool alpha;
    bool palette;             /* 256 colours, chosen when all segments are there; these hold `format` */
    bool has_mastering, has_light;
    AVMasteringDisplayMetadata mastering;
    AVContentLightMetadata light;
} UpzEncoderPlan;

/* The muxer for a name: by extension, y4m for "-" and .y4m. USAGE when the extension is unknown or
 * not one for video. */
int upz_container_find(const char **name, const char *output, UprezError *err);
/* True for a name of a video file; false for pictures', AVIF and unknown ones. GIF is a video. */
bool upz_container_moves(const char *output);

/* Chooses and checks: encoder exists, takes size, format and options (unknown ones are an error);
 * opens and closes it once. width, height: as wanted; the plan has what is possible. sar: of the
 * output. index and first (a frame as decoded, for HDR metadata) may be NULL. Notes go to ctx.
 * USAGE or OUTPUT. */
int upz_encoder_plan(UpzEncoderPlan *plan, UprezContext *ctx, const UpzEncoderParams *params,
                     const UpzSourceInfo *info, const UpzIndex *index, const AVFrame *first,
                     const char *output, int width, int height, AVRational sar, UprezError *err);
/* The same for frames that become picture files: `like` is one of them, output a picture's name. */
int upz_encoder_plan_pictures(UpzEncoderPlan *plan, UprezContext *ctx, const UpzSourceInfo *info,
                              const UprezPicture *like, const char *output, int width, int height,
                              UprezError *err);
/* The source becomes width x height px inside the plan's size. */
void upz_encoder_plan_inner(UpzEncoderPlan *plan, int width, int height);
/* The encoder as planned, ready for frames. */
int upz_encoder_open(AVCodecContext **out, const UpzEncoderPlan *plan, UprezError *err);
/* The time an encoder is given for a frame's pts, codec_base; later than the one before it (last,
 * AV_NOPTS_VALUE at first). */
int64_t upz_encoder_time(const UpzEncoderPlan *plan, int64_t pts, int64_t last);
/* Its parameters, extradata included; the codec_tag is the encoder's own where the plan has none.
 * The caller frees them. */
int upz_encoder_parameters(AVCodecParameters **out, const UpzEncoderPlan *plan, UprezError *err);

#endif
