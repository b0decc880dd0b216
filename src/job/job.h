/* A whole file: plan, segments, join, verification. Used by the command line and nothing below it.
 *
 * Order of a run: open the source → encoder and stream map (muxer header tried) → models → engine
 * plan → segments, each decode ‖ upscale ‖ encode → join → verify → rename. The plan is a pure
 * function of the source's index and the options and is stored before the first frame.
 * Beside the output: OUTPUT.part (the joined file until verified) and OUTPUT.uprez/ (plan.json,
 * seg/N.mkv, seg/N.json), removed when done. */
#ifndef UPZ_JOB_H
#define UPZ_JOB_H

#include "uprez/upscaler.h"
#include "base/context.h"

typedef struct UpzProgress {
    int64_t frame, total; /* total -1 = unknown, or fewer were announced */
    double fps, eta_s;    /* eta < 0 = unknown */
    int64_t reused;       /* frames' worth of picture that was taken from the frame before */
    const char *bottleneck; /* "decode", "upscale", "encode"; static */
    const char *file;       /* the input this is about */
    bool last;              /* of this file */
    int number, files;      /* of several: this is file number 1 … files; 0: one only */
    double all_eta_s;       /* of all files, < 0 = unknown */
} UpzProgress;

typedef struct UpzJobParams {
    const char *input; /* file, folder, "-" (y4m), or numbered pictures ("f%04d.png") */
    const char *const *inputs; /* instead of input: n_inputs of them */
    int n_inputs;
    const char *output; /* file, folder, "-", or numbered pictures; NULL: a name beside the input. Of several
                           inputs: a folder, one that is there or a name that ends in a slash */
    const char *fps;            /* of numbered pictures that are read; NULL = 25 */
    const char *streams_from;
    const char *const *models;  /* names or files, n_models of them; 0 = the default */
    int n_models;
    const char *family;         /* instead: the best installed model for "anime", "film" or "photo" */
    bool browser;               /* what is left open is chosen so that browsers play the result */
    double denoise;             /* < 0 = off */
    const char *twin;           /* with denoise: name or file to mix with; NULL = the model's own twin */
    UprezParams upscale;        /* models and format are filled by the job; width and height: displayed */
    const char *fit;            /* of width and height together: contain (NULL), cover, stretch, pad */
    bool turn;                  /* width and height change places for a picture that lies the other way */
    const char *encoder, *preset, *pix_fmt, *audio, *vf, *interlaced, *hwaccel, *suffix, *ext;
    const char *const *encoder_options;
    int n_encoder_options, crf; /* crf < 0 = default */
    double start, duration;     /* seconds; < 0 = all */
    int64_t frames;             /* < 0 = all */
    bool overwrite, strict_streams, tolerate_damage;
    bool no_resume;             /* start anew even if OUTPUT.uprez is of the same job */
    volatile int *cancel;       /* 1: end cleanly at the next frame */
    bool (*ask)(void *cookie, const char *path); /* may an existing output be replaced? NULL: no */
    void *ask_cookie;
    double stall_timeout;       /* seconds: end when nothing has moved for so long; 0 = wait */
    void (*progress)(void *cookie, const UpzProgress *p); /* on the thread that runs the job */
    void *progress_cookie;
} UpzJobParams;

typedef struct UpzJobResult {
    int files, failed, skipped; /* folder: how many; skipped: their outputs existed */
    int64_t frames_in, frames_out, damaged, held;
    int width, height;
    double seconds, decode_s, upscale_s, encode_s; /* wall; busy time of each stage */
    const char *bottleneck;     /* static */
    char output[1024];          /* where the result is (a .part when interrupted) */
    char engine[64], model[256], encoder[32], numerics[256];
    double reused;              /* frames' worth of picture that was taken from the frame before */
    int64_t frames_resumed;     /* of frames_out: taken from an earlier, interrupted run */
    int warnings;               /* streams dropped or converted, damage */
} UpzJobResult;

/* A file, a still picture, a pipe or a folder. Returns 0, or the UprezErr whose negation is the exit
 * code; result is filled as far as things got. */
int upz_job_run(UprezContext *ctx, const UpzJobParams *params, UpzJobResult *result,
                UprezError *err);
/* Defaults for every field. */
void upz_job_params_init(UpzJobParams *params);

#endif
