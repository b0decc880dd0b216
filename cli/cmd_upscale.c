/* uprez INPUT OUTPUT: the main command. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "job/estimate.h"
#include "job/job.h"
#include "job/json.h"
#include "job/size.h"
#include "model/registry.h"

static const char usage[] =
    "usage: uprez [options] INPUT [OUTPUT]\n"
    "       uprez [options] INPUT… FOLDER/\n"
    "       uprez model list|info|verify|pull …    uprez bench …    uprez devices\n"
    "\n"
    "Makes a video, a picture or a folder of them bigger with a super-resolution network.\n"
    "Without OUTPUT, in.mkv becomes in.upscaled.mkv beside it. Numbered pictures are out/%05d.png;\n"
    "'-' is a y4m pipe. The first Ctrl-C ends cleanly and leaves a playable OUTPUT.part.\n";

typedef struct Args {
    UpzJobParams job;
    UpzStringList models, encoder_options, purpose, named; /* named: inputs by -i */
    const char **inputs;
    const char *output, *size, *cpu, *progress, *gpu, *jobs;
    char cards[48];
    UpzMix denoise;
    int threads, progress_fd;
    bool estimate, tta, fp32, no_audio, no_reuse, resume, json, verbose, quiet, help_version;
} Args;

#define DEVICES "auto|cpu|cuda[:N[,N…]]"
#define ENGINES "auto|NAME"
#define ESTIMATE_SECONDS 12.0 /* of work */

static int parse(Args *a, int argc, char **argv, UprezError *err)
{
    UpzJobParams *j = &a->job;
    UprezParams *u = &j->upscale;
    const UpzOption options[] = {
        {"-i --input", UPZ_OPT_LIST, "FILE", &a->named, 0, 0,
         "an input; also every argument but the last", "Files"},
        {"-o --output", UPZ_OPT_STRING, "FILE", &a->output, 0, 0,
         "the output, for several inputs a folder; also the last argument of two or more", NULL},
        {"-y --overwrite", UPZ_OPT_FLAG, NULL, &j->overwrite, 0, 0,
         "replace an existing output; without it, a terminal is asked", NULL},
        {"--dry-run", UPZ_OPT_FLAG, NULL, &a->estimate, 0, 0,
         "only how long it will take and how large it will be, from short pieces", NULL},
        {"--suffix", UPZ_OPT_STRING, "TEXT", &j->suffix, 0, 0,
         "without a name for the output: put behind the input's; default: .upscaled, nothing in a folder",
         NULL},
        {"-f --ext", UPZ_OPT_STRING, "EXT", &j->ext, 0, 0,
         "without a name for the output: its extension (png, jpg, webp, mkv, …)", NULL},
        {"-m --model | -n --model-name", UPZ_OPT_LIST, "NAME|FILE", &a->models, 0, 0,
         "a model (see 'uprez model list'), a file, or lanczos, bicubic, spline36; repeat for a chain; "
         "default: a built-in network",
         "What to do"},
        {"--for", UPZ_OPT_LIST, "anime|film|photo|browser", &a->purpose, 0, 0,
         "the best installed model for such a source; browser: choose what browsers play (.mp4, .webm)",
         NULL},
        {"-s --scale | --outscale", UPZ_OPT_FACTOR, "F", &u->scale, 0.01, 64,
         "output size / input size (2, 1.5, 4x); default: the model's own", NULL},
        {"--width | -w", UPZ_OPT_INT, "N", &u->width, 1, 65536, "output width; height follows if not given",
         NULL},
        {"--height", UPZ_OPT_INT, "N", &u->height, 1, 65536,
         "output height; width follows if not given", NULL},
        {"--size | -r --resize", UPZ_OPT_STRING, "WxH|NAME", &a->size, 0, 0,
         "both, or a screen: 8k, 4k, 1440p, 1080p, 720p, …, turned for a portrait picture", NULL},
        {"--fit", UPZ_OPT_CHOICE, "contain|cover|stretch|pad", &j->fit, 0, 0,
         "when both are given and the picture has another shape: the largest within (default), exactly the "
         "size and the rest cut off, distorted, with black bars", NULL},
        {"-dn --denoise", UPZ_OPT_MIX, "F[:FILE]", &a->denoise, 0, 1,
         "mix the model with its weak-denoising twin (realesr-general-x4v3), or with another of its kind: "
         "0.5:FILE; 1 = the model alone", NULL},
        {"--blend", UPZ_OPT_DOUBLE, "0..1", &u->blend, 0, 1,
         "share of the plainly resized source in the result", NULL},
        {"-x --tta", UPZ_OPT_FLAG, NULL, &a->tta, 0, 0,
         "average over 8 flips and turns: 8 times slower, slightly better", NULL},
        {"-d --device", UPZ_OPT_STRING, DEVICES, &u->device, 0, 0, "where to compute; cuda:0,1 is both cards", "How"},
        {"--engine", UPZ_OPT_STRING, ENGINES, &u->engine, 0, 0, "what to compute with: see 'uprez devices'", NULL},
        {"--precision", UPZ_OPT_CHOICE, "auto|fp32|fp16|bf16|fp8|int8", &u->precision, 0, 0,
         "arithmetic of the network; int8 (cpu, cuda) and fp8 (cuda): less exact", NULL},
        {"--runtime-path", UPZ_OPT_STRING, "DIR", &u->runtime_path, 0, 0,
         "where to look first for the libraries of ONNX Runtime, OpenVINO, LibTorch", NULL},
        {"-t --tile | --tile-size", UPZ_OPT_INT, "N", &u->tile, 0, 65536,
         "side of a tile in source pixels, for those engines; 0 = by itself", NULL},
        {"--batch", UPZ_OPT_INT, "N", &u->batch, 1, 64,
         "pictures or tiles a run, for those engines", NULL},
        {"--no-reuse", UPZ_OPT_FLAG, NULL, &a->no_reuse, 0, 0,
         "compute all of every frame, also what equals the frame before; the result is the same", NULL},
        {"--threads", UPZ_OPT_INT, "N", &a->threads, 1, 256, "worker threads; default: all cores",
         NULL},
        {"--cpu", UPZ_OPT_CHOICE, upz_cpu_levels, &a->cpu, 0, 0,
         "highest processor level to use; default: the best here", NULL},
        {"-c --encoder | -c:v -vcodec", UPZ_OPT_STRING, "NAME", &j->encoder, 0, 0,
         "video encoder as FFmpeg names it; default: libx264, libx265 for more than 8 bits", "Output"},
        {"-e --encoder-option", UPZ_OPT_LIST, "KEY=VALUE", &a->encoder_options, 0, 0,
         "an option of the encoder; may be repeated", NULL},
        {"--crf | -crf", UPZ_OPT_INT, "N", &j->crf, 0, 63, "constant quality; default 17", NULL},
        {"--preset | -preset", UPZ_OPT_STRING, "NAME", &j->preset, 0, 0, "the encoder's preset", NULL},
        {"--pix-fmt | -pix_fmt", UPZ_OPT_STRING, "NAME", &j->pix_fmt, 0, 0,
         "pixel format of the output as FFmpeg names it", NULL},
        {"--audio | -c:a -acodec", UPZ_OPT_CHOICE, "copy|aac|none", &j->audio, 0, 0, "default: copy", NULL},
        {"--streams-from", UPZ_OPT_STRING, "FILE", &j->streams_from, 0, 0,
         "take audio, subtitles and chapters from another file", NULL},
        {"--strict-streams", UPZ_OPT_FLAG, NULL, &j->strict_streams, 0, 0,
         "refuse when a stream cannot be kept as it is, or metadata would be lost", NULL},
        {"--vf | -vf", UPZ_OPT_STRING, "FILTERS", &j->vf, 0, 0, "FFmpeg filters before the network", "Input"},
        {"--fps | --framerate | -framerate", UPZ_OPT_STRING, "F", &j->fps, 0, 0,
         "numbered pictures (f%04d.png) or a folder of frames: frames a second; default: 25", NULL},
        {"--interlaced", UPZ_OPT_CHOICE, "deint|keep|error", &j->interlaced, 0, 0,
         "interlaced video; default: deint", NULL},
        {"--hwaccel | -hwaccel", UPZ_OPT_STRING, "NAME", &j->hwaccel, 0, 0, "hardware decoder (cuda, vaapi, …)",
         NULL},
        {"--start | -ss", UPZ_OPT_TIME, "TIME", &j->start, 0, 0, "begin here (seconds or HH:MM:SS.mmm)", NULL},
        {"--duration", UPZ_OPT_TIME, "TIME", &j->duration, 0, 0, "take this much", NULL},
        {"--frames | -vframes -frames:v", UPZ_OPT_INT64, "N", &j->frames, 1, 1e12, "take this many frames", NULL},
        {"--tolerate-damage", UPZ_OPT_FLAG, NULL, &j->tolerate_damage, 0, 0,
         "exit 0 although the input was damaged", NULL},
        {"--resume", UPZ_OPT_FLAG, NULL, &a->resume, 0, 0,
         "go on from what an interrupted run of the same command left (default)", NULL},
        {"--no-resume", UPZ_OPT_FLAG, NULL, &j->no_resume, 0, 0, "begin anew", NULL},
        {"--stall-timeout", UPZ_OPT_TIME, "SECONDS", &j->stall_timeout, 0, 0,
         "end when nothing has come or gone for so long; default: wait", NULL},
        {"--progress", UPZ_OPT_CHOICE, "auto|bar|plain|json|none", &a->progress, 0, 0,
         "json: one object a line", "Messages"},
        {"--progress-fd", UPZ_OPT_INT, "N", &a->progress_fd, 0, 65535,
         "file descriptor for progress; default: stderr", NULL},
        {"--json", UPZ_OPT_FLAG, NULL, &a->json, 0, 0, "a final summary as JSON on stdout", NULL},
        {"-v --verbose", UPZ_OPT_FLAG, NULL, &a->verbose, 0, 0, "say more", NULL},
        {"-q --quiet", UPZ_OPT_FLAG, NULL, &a->quiet, 0, 0, "say errors only", NULL},
        /* spellings of other tools */
        {"-g --gpu", UPZ_OPT_STRING, "ID", &a->gpu, 0, 0, NULL, NULL},
        {"-j --jobs", UPZ_OPT_STRING, "LOAD:PROC:SAVE", &a->jobs, 0, 0, NULL, NULL},
        {"--fp32", UPZ_OPT_FLAG, NULL, &a->fp32, 0, 0, NULL, NULL},
        {"-an", UPZ_OPT_FLAG, NULL, &a->no_audio, 0, 0, NULL, NULL},
    };
    a->inputs = upz_calloc((size_t)argc + UPZ_COUNT(a->named.items), sizeof(*a->inputs));
    if (!a->inputs) return upz_fail_memory(err, (size_t)argc, "the arguments");
    const char **positional = a->inputs + UPZ_COUNT(a->named.items);
    int n = upz_options_parse(options, UPZ_COUNT(options), argc, argv, positional, argc, usage, err);
    if (n < 0) return n;
    /* the last of several names is the output */
    if (!a->output && n + a->named.n > 1 && n) a->output = positional[--n];
    positional -= a->named.n;
    for (int i = 0; i < a->named.n; i++) positional[i] = a->named.items[i];
    j->inputs = positional;
    j->n_inputs = n + a->named.n;
    for (int i = 0; i < j->n_inputs; i++)
        if (!*j->inputs[i]) return upz_fail(err, UPREZ_ERR_USAGE, "an input's name is empty");
    if (!j->n_inputs)
        return upz_fail(err, UPREZ_ERR_USAGE, "the input is missing; see 'uprez --help'");
    if (a->output && !*a->output) return upz_fail(err, UPREZ_ERR_USAGE, "the output's name is empty");
    if (a->size) {
        int size[2];
        if (u->width || u->height)
            return upz_fail(err, UPREZ_ERR_USAGE, "--size already says width and height");
        n = upz_size_parse(size, &j->turn, a->size, err);
        if (n < 0) return n;
        u->width = size[0];
        u->height = size[1];
    }
    if (j->fit && !(u->width && u->height))
        return upz_fail(err, UPREZ_ERR_USAGE, "--fit %s needs a width and a height: give --size, as 4k or "
                        "1920x1080", j->fit);
    if (u->width && u->height && u->scale > 0)
        return upz_fail(err, UPREZ_ERR_USAGE, "-s %g and a size of %dx%d both say how big; give one of them",
                        u->scale, u->width, u->height);
    if (a->gpu) { /* nihui's tools: -1 is the CPU, others are cards; 0 is their default, with or without one */
        if (strspn(a->gpu, "0123456789,") == strlen(a->gpu) && strlen(a->gpu) < 40)
            snprintf(a->cards, sizeof(a->cards), "cuda:%s", a->gpu);
        else if (strcmp(a->gpu, "-1") && strcmp(a->gpu, "auto"))
            return upz_fail(err, UPREZ_ERR_USAGE, "-g %s: give -1 for the CPU, or numbers of cards, as "
                            "0 or 0,1", a->gpu);
        u->device = !strcmp(a->gpu, "-1") ? "cpu" : !strcmp(a->gpu, "0") || !*a->cards ? "auto" : a->cards;
    }
    if (a->jobs) {
        int load, proc = 0, save, used = 0;
        if (sscanf(a->jobs, "%4d:%4d:%4d%n", &load, &proc, &save, &used) != 3 || a->jobs[used] ||
            proc < 1 || proc > 256)
            return upz_fail(err, UPREZ_ERR_USAGE, "-j %s: give LOAD:PROC:SAVE, as 1:2:2", a->jobs);
        if (!a->threads) a->threads = proc;
    }
    for (int i = 0; i < a->purpose.n; i++) {
        const char *what = a->purpose.items[i];
        if (!strcmp(what, "browser")) j->browser = true;
        else if (!upz_registry_family(what, true))
            return upz_fail(err, UPREZ_ERR_USAGE, "--for %s: give anime, film, photo or browser", what);
        else if (j->family && strcmp(j->family, what))
            return upz_fail(err, UPREZ_ERR_USAGE, "--for %s and --for %s contradict each other", j->family,
                            what);
        else j->family = what;
    }
    if (j->family && a->models.n)
        return upz_fail(err, UPREZ_ERR_USAGE, "--for %s and -m %s both choose the model; give one of them",
                        j->family, a->models.items[0]);
    if (j->ext && !strcmp(j->ext, "auto")) j->ext = NULL; /* Real-ESRGAN's default */
    if (a->no_audio) j->audio = "none";
    if (a->fp32) u->precision = "fp32";
    u->tta = a->tta;
    j->denoise = a->denoise.share;
    j->twin = a->denoise.twin;
    u->no_reuse = a->no_reuse;
    j->output = a->output;
    j->models = a->models.items;
    j->n_models = a->models.n;
    j->encoder_options = a->encoder_options.items;
    j->n_encoder_options = a->encoder_options.n;
    if (a->resume && j->no_resume)
        return upz_fail(err, UPREZ_ERR_USAGE, "--resume and --no-resume contradict each other");
    if (a->output && !strcmp(a->output, "-") && (a->json || a->progress_fd == STDOUT_FILENO))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s and the video would both go to standard output",
                        a->json ? "--json" : "--progress-fd 1");
    int mode = a->progress_fd < 0 ? O_WRONLY : fcntl(a->progress_fd, F_GETFL);
    if (mode < 0 || (mode & O_ACCMODE) == O_RDONLY)
        return upz_fail(err, UPREZ_ERR_USAGE, "--progress-fd %d: nothing is open there to write to",
                        a->progress_fd);
    if (a->quiet && a->verbose)
        return upz_fail(err, UPREZ_ERR_USAGE, "-q and -v contradict each other");
    return 0;
}

static void summary_json(const Args *a, const UpzJobResult *r, int exit_code, const UprezError *err)
{
    cJSON *o = cJSON_CreateObject();
    const UpzJsonRow rows[] = {
        UPZ_JSON_INT("exit", exit_code), UPZ_JSON_GIVEN("error", err->text),
        UPZ_JSON_GIVEN("input", a->job.inputs[0]), UPZ_JSON_GIVEN("output", r->output),
        UPZ_JSON_INT("files", r->files), UPZ_JSON_INT("failed", r->failed),
        UPZ_JSON_INT("skipped", r->skipped),
        UPZ_JSON_INT("frames_in", r->frames_in), UPZ_JSON_INT("frames_out", r->frames_out),
        UPZ_JSON_INT("frames_resumed", r->frames_resumed),
        UPZ_JSON_INT("damaged", r->damaged), UPZ_JSON_INT("held", r->held),
        UPZ_JSON_DOUBLE("reused", r->reused),
        UPZ_JSON_INT("width", r->width), UPZ_JSON_INT("height", r->height),
        UPZ_JSON_DOUBLE("seconds", r->seconds),
        UPZ_JSON_DOUBLE("fps", r->seconds > 0 ? (double)r->frames_out / r->seconds : 0),
        UPZ_JSON_DOUBLE("decode_s", r->decode_s), UPZ_JSON_DOUBLE("upscale_s", r->upscale_s),
        UPZ_JSON_DOUBLE("encode_s", r->encode_s), UPZ_JSON_INT("warnings", r->warnings),
        UPZ_JSON_GIVEN("bottleneck", r->bottleneck), UPZ_JSON_GIVEN("engine", r->engine),
        UPZ_JSON_GIVEN("model", r->model), UPZ_JSON_GIVEN("encoder", r->encoder),
        UPZ_JSON_GIVEN("numerics", r->numerics)};
    char *text = upz_json_rows(o, rows, UPZ_COUNT(rows)) ? cJSON_PrintUnformatted(o) : NULL;
    if (text) upz_cli_text(text);
    cJSON_free(text);
    cJSON_Delete(o);
}

/* "8.3 s", "2 min 5 s", "1 h 3 min". */
static void put_time(FILE *f, double s)
{
    int whole = (int)UPZ_MIN(s + 0.5, 1e9);
    if (s < 0.05) fputs("less than 0.1 s", f);
    else if (s < 59.95) fprintf(f, "%.1f s", s);
    else if (whole < 3600) fprintf(f, "%d min %d s", whole / 60, whole % 60);
    else fprintf(f, "%d h %d min", whole / 3600, whole / 60 % 60);
}

static void put_files(const UpzJobResult *r)
{
    int done = r->files - r->failed;
    fprintf(stderr, "%d file%s done", done, done == 1 ? " is" : "s are");
    if (r->failed) fprintf(stderr, ", %d failed", r->failed);
    if (r->skipped) fprintf(stderr, ", %d %s there already", r->skipped, r->skipped == 1 ? "was" : "were");
    if (r->frames_out > r->files) fprintf(stderr, ", %lld frames in all,", (long long)r->frames_out);
}

static void summary_text(const UpzJobResult *r)
{
    static const struct {
        const char *name, *words;
    } parts[] = {{"decode", "reading and decoding"}, {"upscale", "the enlarging"}, {"encode", "the encoder"}};
    const bool several = r->files + r->skipped > 1;
    const double fps = r->seconds > 0 ? (double)r->frames_out / r->seconds : 0;
    fputs("uprez: ", stderr);
    upz_cli_plain(stderr, r->output);
    fputs(": ", stderr);
    if (several) put_files(r);
    else if (r->frames_out > 1)
        fprintf(stderr, "%lld frames of %dx%d", (long long)r->frames_out, r->width, r->height);
    else fprintf(stderr, "%dx%d", r->width, r->height);
    fputs(" in ", stderr);
    put_time(stderr, r->seconds);
    if (r->frames_out > 1 && r->frames_out > r->files)
        fprintf(stderr, fps < 10 ? ", %.2g frames a second" : ", %.0f frames a second", fps);
    for (int i = 0; r->frames_out > 1 && i < UPZ_COUNT(parts); i++)
        if (r->bottleneck && !strcmp(parts[i].name, r->bottleneck))
            fprintf(stderr, "; %s took longest", parts[i].words);
    if (r->reused >= 1 && r->frames_out)
        fprintf(stderr, "; %.0f %% was as in the frame before and only copied",
                fmax(1, floor(100 * r->reused / (double)r->frames_out)));
    if (r->model[0]) {
        fputs("; model ", stderr);
        upz_cli_plain(stderr, r->model);
    }
    fputc('\n', stderr);
}

/* What the run tells: lines of the log, from any thread, and progress. */
typedef struct Voice {
    int verbosity;
    UpzProgressView view;
    UprezContext *ctx;
} Voice;

static void log_line(void *cookie, int level, const char *line)
{
    Voice *v = cookie;
    upz_progress_log(&v->view, &v->verbosity, level, line);
}

static void on_progress(void *cookie, const UpzProgress *p)
{
    Voice *v = cookie;
    upz_progress_show(&v->view, p);
}

/* Somebody sits there to answer: a terminal for the question and for the answer, which is not the
 * video's own way in, and the program is not in the background. */
static bool may_ask(const Args *a)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp() &&
           strcmp(a->job.inputs[0], "-") != 0;
}

static bool ask(void *cookie, const char *path)
{
    Voice *v = cookie;
    char line[64] = "";
    upz_progress_clear(&v->view);
    fputs("uprez: ", stderr);
    upz_cli_plain(stderr, path);
    fputs(" exists. Replace it? [y/N] ", stderr);
    if (!fgets(line, sizeof(line), stdin)) fputc('\n', stderr);
    return line[0] == 'y' || line[0] == 'Y';
}

/* 7.3 MB, 2.1 GB: two digits are all that an estimate has. */
static void put_bytes(double n)
{
    printf(n < 1e9 ? "%.*f MB" : "%.*f GB", n / (n < 1e9 ? 1e6 : 1e9) < 10, n / (n < 1e9 ? 1e6 : 1e9));
}

static void estimate_text(const UpzEstimate *e)
{
    printf("%lld frames to %dx%d with %s on %s, %s\n", (long long)e->frames, e->width, e->height, e->model,
           e->engine, e->encoder);
    printf("time     ");
    put_time(stdout, e->time.likely);
    printf(" (");
    put_time(stdout, e->time.low);
    printf(" to ");
    put_time(stdout, e->time.high);
    printf("), %.2f frames/s\nsize     ", (double)e->frames / UPZ_MAX(e->time.likely, 1e-3));
    put_bytes(e->size.likely);
    printf(" (");
    put_bytes(e->size.low);
    printf(" to ");
    put_bytes(e->size.high);
    printf(")\ndisk     ");
    put_bytes(e->disk);
    printf(" until it is joined");
    if (e->free >= 0) {
        printf(", ");
        put_bytes(e->free);
        printf(" are free");
    }
    printf("\nmemory   ");
    put_bytes(e->memory);
    if (e->reused >= 0.01) printf("\nreused   %.0f %% of the pixels, from the frame before", 100 * e->reused);
    printf("\n(from %lld frames that were made for this, at several places)\n", (long long)e->tried);
}

static void add_range(cJSON *to, const char *name, UpzRange r)
{
    cJSON *o = cJSON_AddObjectToObject(to, name);
    cJSON_AddNumberToObject(o, "likely", r.likely);
    cJSON_AddNumberToObject(o, "low", r.low);
    cJSON_AddNumberToObject(o, "high", r.high);
}

static void estimate_json(const UpzEstimate *e)
{
    cJSON *all = cJSON_CreateObject();
    cJSON_AddNumberToObject(all, "frames", (double)e->frames);
    cJSON_AddNumberToObject(all, "film_s", e->film);
    cJSON_AddNumberToObject(all, "width", e->width);
    cJSON_AddNumberToObject(all, "height", e->height);
    add_range(all, "time_s", e->time);
    add_range(all, "size_bytes", e->size);
    cJSON_AddNumberToObject(all, "disk_bytes", e->disk);
    cJSON_AddNumberToObject(all, "free_bytes", e->free);
    cJSON_AddNumberToObject(all, "memory_bytes", e->memory);
    cJSON_AddNumberToObject(all, "reused", e->reused);
    cJSON_AddNumberToObject(all, "frames_tried", (double)e->tried);
    cJSON_AddStringToObject(all, "model", e->model);
    cJSON_AddStringToObject(all, "engine", e->engine);
    cJSON_AddStringToObject(all, "encoder", e->encoder);
    char *text = cJSON_PrintUnformatted(all);
    if (text) puts(text);
    cJSON_free(text);
    cJSON_Delete(all);
}

/* With the same options as the run itself; only errors of the pieces are told. */
static int estimate(Args *a, UprezError *err)
{
    int verbosity = a->verbose ? 1 : -1;
    UprezContextParams cp = {.size = sizeof(cp), .threads = a->threads, .cpu = a->cpu, .log = upz_cli_log,
                             .log_cookie = &verbosity};
    UprezContext *ctx;
    UpzEstimate e = {0};
    int r = uprez_context_create(&ctx, &cp, err);
    if (r < 0) return r;
    a->job.cancel = &upz_cli_signal;
    r = upz_estimate(&e, ctx, &a->job, ESTIMATE_SECONDS, err);
    uprez_context_destroy(&ctx);
    if (r >= 0 || e.time.likely > 0) {
        if (a->json) estimate_json(&e);
        else estimate_text(&e);
    }
    return r;
}

/* The upscaling with another first word: `uprez estimate` is `uprez --dry-run`. */
int upz_cmd_estimate(int argc, char **argv)
{
    static char option[] = "--dry-run";
    char **words = upz_calloc((size_t)argc + 2, sizeof(*words));
    if (!words) return upz_cli_exit_code(UPREZ_ERR_MEMORY);
    words[0] = argv[0];
    words[1] = option;
    for (int i = 1; i < argc; i++) words[i + 1] = argv[i];
    const int code = upz_cmd_upscale(argc + 1, words);
    upz_free(words);
    return code;
}

int upz_cmd_upscale(int argc, char **argv)
{
    UprezError err = {0};
    Args a = {.progress_fd = -1};
    upz_job_params_init(&a.job);
    a.denoise.share = -1;
    if (argc < 2) {
        fprintf(stderr, "%s\nSee 'uprez --help' for the options.\n", usage);
        return 2;
    }
    int r = parse(&a, argc, argv, &err);
    if (r < 0) {
        upz_free(a.inputs);
        return r == UPREZ_EOF ? 0 : upz_cli_error(&err);
    }
    if (a.estimate) {
        r = estimate(&a, &err);
        upz_free(a.inputs);
        return r < 0 ? upz_cli_error(&err) : 0;
    }

    Voice voice = {.verbosity = a.quiet ? -1 : a.verbose ? 1 : 0};
    upz_progress_init(&voice.view, a.progress, a.progress_fd, a.quiet);
    UprezContextParams cp = {.size = sizeof(cp), .threads = a.threads, .cpu = a.cpu, .log = log_line,
                             .log_cookie = &voice};
    UpzJobResult result = {0};
    r = uprez_context_create(&voice.ctx, &cp, &err);
    if (r >= 0) {
        a.job.cancel = &upz_cli_signal;
        a.job.progress = on_progress;
        a.job.progress_cookie = &voice;
        if (!a.quiet && may_ask(&a)) a.job.ask = ask, a.job.ask_cookie = &voice;
        r = upz_job_run(voice.ctx, &a.job, &result, &err);
        uprez_context_destroy(&voice.ctx);
    }
    upz_progress_end(&voice.view);
    int code = upz_cli_exit_code(r);
    /* what is kept although something is wrong with it is told, too */
    bool kept = r == UPREZ_ERR_VERIFY && result.frames_out > 0 && upz_exists(result.output);
    if (!a.quiet && (r >= 0 || kept)) summary_text(&result);
    if (r < 0) upz_cli_error(&err);
    if (a.json) summary_json(&a, &result, code, &err);
    upz_free(a.inputs);
    return code;
}
