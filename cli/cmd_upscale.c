/* uprez INPUT OUTPUT: the main command. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "job/job.h"
#include "model/registry.h"

static const char usage[] =
    "usage: uprez [options] INPUT OUTPUT\n"
    "       uprez model list|info|verify|pull …    uprez bench …    uprez devices\n"
    "\n"
    "Makes a video, a picture or a folder of them bigger with a super-resolution network.\n"
    "'-' is a y4m pipe. The first Ctrl-C ends cleanly and leaves a playable OUTPUT.part.\n";

typedef struct Args {
    UpzJobParams job;
    UpzStringList models, encoder_options;
    const char *input, *output, *cpu, *progress, *gpu, *jobs;
    int threads, progress_fd, size[2];
    bool tta, fp32, resume, json, verbose, quiet, help_version;
} Args;

#define DEVICES "auto|cpu|cuda[:N]"
#define ENGINES "auto|NAME"

static int parse(Args *a, int argc, char **argv, UprezError *err)
{
    UpzJobParams *j = &a->job;
    UprezParams *u = &j->upscale;
    const UpzOption options[] = {
        {"-i --input", UPZ_OPT_STRING, "FILE", &a->input, 0, 0, "the input; also the first argument",
         "Files"},
        {"-o --output", UPZ_OPT_STRING, "FILE", &a->output, 0, 0,
         "the output; also the second argument", NULL},
        {"-y --overwrite", UPZ_OPT_FLAG, NULL, &j->overwrite, 0, 0, "replace an existing output", NULL},
        {"--suffix", UPZ_OPT_STRING, "TEXT", &j->suffix, 0, 0,
         "folders: put behind each output's name", NULL},
        {"-f --ext", UPZ_OPT_STRING, "EXT", &j->ext, 0, 0,
         "folders: extension of the outputs (png, jpg, webp, mkv, …)", NULL},
        {"-m --model | -n --model-name", UPZ_OPT_LIST, "NAME|FILE", &a->models, 0, 0,
         "a model (see 'uprez model list'), a file, or lanczos, bicubic, spline36; repeat for a chain",
         "What to do"},
        {"-s --scale | --outscale", UPZ_OPT_DOUBLE, "F", &u->scale, 0.01, 64,
         "output size / input size; default: the model's own", NULL},
        {"--width", UPZ_OPT_INT, "N", &u->width, 1, 65536, "output width; height follows if not given",
         NULL},
        {"--height", UPZ_OPT_INT, "N", &u->height, 1, 65536,
         "output height; width follows if not given", NULL},
        {"--size", UPZ_OPT_SIZE, "WxH", a->size, 0, 0, "both", NULL},
        {"-dn --denoise", UPZ_OPT_DOUBLE, "0..1", &j->denoise, 0, 1,
         "mix the model with its weak-denoising twin (realesr-general-x4v3); 1 = full strength", NULL},
        {"--blend", UPZ_OPT_DOUBLE, "0..1", &u->blend, 0, 1,
         "share of the plainly resized source in the result", NULL},
        {"-x --tta", UPZ_OPT_FLAG, NULL, &a->tta, 0, 0,
         "average over 8 flips and turns: 8 times slower, slightly better", NULL},
        {"-d --device", UPZ_OPT_STRING, DEVICES, &u->device, 0, 0, "where to compute", "How"},
        {"--engine", UPZ_OPT_STRING, ENGINES, &u->engine, 0, 0, "what to compute with: see 'uprez devices'", NULL},
        {"--precision", UPZ_OPT_CHOICE, "auto|fp32|fp16|bf16", &u->precision, 0, 0,
         "arithmetic of the network", NULL},
        {"--runtime-path", UPZ_OPT_STRING, "DIR", &u->runtime_path, 0, 0,
         "where to look first for the libraries of ONNX Runtime, OpenVINO, LibTorch", NULL},
        {"-t --tile | --tile-size", UPZ_OPT_INT, "N", &u->tile, 0, 65536,
         "side of a tile in source pixels, for those engines; 0 = by itself", NULL},
        {"--batch", UPZ_OPT_INT, "N", &u->batch, 1, 64,
         "pictures or tiles a run, for those engines", NULL},
        {"--threads", UPZ_OPT_INT, "N", &a->threads, 1, 256, "worker threads; default: all cores",
         NULL},
        {"--cpu", UPZ_OPT_CHOICE, "c|avx2|avx512|avx512vnni", &a->cpu, 0, 0,
         "highest processor level to use; default: the best here", NULL},
        {"-c --encoder", UPZ_OPT_STRING, "NAME", &j->encoder, 0, 0,
         "video encoder as FFmpeg names it; default: libx264, libx265 for more than 8 bits", "Output"},
        {"-e --encoder-option", UPZ_OPT_LIST, "KEY=VALUE", &a->encoder_options, 0, 0,
         "an option of the encoder; may be repeated", NULL},
        {"--crf", UPZ_OPT_INT, "N", &j->crf, 0, 63, "constant quality; default 17", NULL},
        {"--preset", UPZ_OPT_STRING, "NAME", &j->preset, 0, 0, "the encoder's preset", NULL},
        {"--pix-fmt", UPZ_OPT_STRING, "NAME", &j->pix_fmt, 0, 0,
         "pixel format of the output as FFmpeg names it", NULL},
        {"--audio", UPZ_OPT_CHOICE, "copy|aac|none", &j->audio, 0, 0, "default: copy", NULL},
        {"--streams-from", UPZ_OPT_STRING, "FILE", &j->streams_from, 0, 0,
         "take audio, subtitles and chapters from another file", NULL},
        {"--strict-streams", UPZ_OPT_FLAG, NULL, &j->strict_streams, 0, 0,
         "refuse when a stream cannot be kept as it is", NULL},
        {"--vf", UPZ_OPT_STRING, "FILTERS", &j->vf, 0, 0, "FFmpeg filters before the network", "Input"},
        {"--interlaced", UPZ_OPT_CHOICE, "deint|keep|error", &j->interlaced, 0, 0,
         "interlaced video; default: deint", NULL},
        {"--hwaccel", UPZ_OPT_STRING, "NAME", &j->hwaccel, 0, 0, "hardware decoder (cuda, vaapi, …)",
         NULL},
        {"--start", UPZ_OPT_TIME, "TIME", &j->start, 0, 0, "begin here (seconds or HH:MM:SS.mmm)", NULL},
        {"--duration", UPZ_OPT_TIME, "TIME", &j->duration, 0, 0, "take this much", NULL},
        {"--frames", UPZ_OPT_INT64, "N", &j->frames, 1, 1e12, "take this many frames", NULL},
        {"--tolerate-damage", UPZ_OPT_FLAG, NULL, &j->tolerate_damage, 0, 0,
         "exit 0 although the input was damaged", NULL},
        {"--resume", UPZ_OPT_FLAG, NULL, &a->resume, 0, 0,
         "go on from what an interrupted run of the same command left (default)", NULL},
        {"--no-resume", UPZ_OPT_FLAG, NULL, &j->no_resume, 0, 0, "begin anew", NULL},
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
    };
    const char *positional[2];
    int n = upz_options_parse(options, UPZ_COUNT(options), argc, argv, positional, 2, usage, err);
    if (n < 0) return n;
    int at = 0;
    if (!a->input && at < n) a->input = positional[at++];
    if (!a->output && at < n) a->output = positional[at++];
    if (at < n) return upz_fail(err, UPREZ_ERR_USAGE, "'%s' is one file too many", positional[at]);
    if (!a->input || !a->output || !*a->output)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is missing; see 'uprez --help'",
                        a->input ? "the output" : "the input");
    if (a->size[0]) {
        if (u->width || u->height)
            return upz_fail(err, UPREZ_ERR_USAGE, "--size already says width and height");
        u->width = a->size[0];
        u->height = a->size[1];
    }
    if (a->gpu) { /* nihui's tools: -1 is the CPU, others are cards */
        char *end;
        long id = strtol(a->gpu, &end, 10);
        if (*end || end == a->gpu || id > 0)
            return upz_fail(err, UPREZ_ERR_DEVICE,
                            "-g %s: this program has no GPU engine; leave -g away or give -g -1",
                            a->gpu);
        u->device = id < 0 ? "cpu" : "auto";
    }
    if (a->jobs) {
        int load, proc = 0, save, used = 0;
        if (sscanf(a->jobs, "%4d:%4d:%4d%n", &load, &proc, &save, &used) != 3 || a->jobs[used] ||
            proc < 1 || proc > 256)
            return upz_fail(err, UPREZ_ERR_USAGE, "-j %s: give LOAD:PROC:SAVE, as 1:2:2", a->jobs);
        if (!a->threads) a->threads = proc;
    }
    if (a->fp32) u->precision = "fp32";
    u->tta = a->tta;
    j->input = a->input;
    j->output = a->output;
    j->models = a->models.items;
    j->n_models = a->models.n;
    j->encoder_options = a->encoder_options.items;
    j->n_encoder_options = a->encoder_options.n;
    if (a->resume && j->no_resume)
        return upz_fail(err, UPREZ_ERR_USAGE, "--resume and --no-resume contradict each other");
    if (!strcmp(a->output, "-") && (a->json || a->progress_fd == STDOUT_FILENO))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s and the video would both go to standard output",
                        a->json ? "--json" : "--progress-fd 1");
    if (a->quiet && a->verbose)
        return upz_fail(err, UPREZ_ERR_USAGE, "-q and -v contradict each other");
    return 0;
}

static void summary_json(const Args *a, const UpzJobResult *r, int exit_code, const UprezError *err)
{
    cJSON *o = cJSON_CreateObject();
    if (!o) return;
    cJSON_AddNumberToObject(o, "exit", exit_code);
    if (err->text[0]) cJSON_AddStringToObject(o, "error", err->text);
    if (a->input) cJSON_AddStringToObject(o, "input", a->input);
    if (r->output[0]) cJSON_AddStringToObject(o, "output", r->output);
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"files", r->files}, {"failed", r->failed},
        {"frames_in", (double)r->frames_in}, {"frames_out", (double)r->frames_out},
        {"damaged", (double)r->damaged}, {"held", (double)r->held},
        {"width", r->width}, {"height", r->height}, {"seconds", r->seconds},
        {"fps", r->seconds > 0 ? (double)r->frames_out / r->seconds : 0},
        {"decode_s", r->decode_s}, {"upscale_s", r->upscale_s}, {"encode_s", r->encode_s},
        {"warnings", r->warnings}};
    for (int i = 0; i < UPZ_COUNT(numbers); i++)
        cJSON_AddNumberToObject(o, numbers[i].key, numbers[i].value);
    if (r->bottleneck) cJSON_AddStringToObject(o, "bottleneck", r->bottleneck);
    const struct {
        const char *key, *value;
    } texts[] = {{"engine", r->engine}, {"model", r->model}, {"encoder", r->encoder},
                 {"numerics", r->numerics}};
    for (int i = 0; i < UPZ_COUNT(texts); i++)
        if (texts[i].value[0]) cJSON_AddStringToObject(o, texts[i].key, texts[i].value);
    char *text = cJSON_PrintUnformatted(o);
    if (text) puts(text);
    cJSON_free(text);
    cJSON_Delete(o);
}

static void summary_text(const UpzJobResult *r)
{
    fputs("uprez: ", stderr);
    upz_cli_plain(stderr, r->output);
    fputs(": ", stderr);
    if (r->files > 1) fprintf(stderr, "%d files, ", r->files);
    fprintf(stderr, "%lld frame%s of %dx%d in %.1f s (%.2f frames/s)", (long long)r->frames_out,
            r->frames_out == 1 ? "" : "s", r->width, r->height, r->seconds,
            r->seconds > 0 ? (double)r->frames_out / r->seconds : 0);
    if (r->bottleneck) fprintf(stderr, ", limited by %s", r->bottleneck);
    if (r->model[0]) {
        fputs("; model ", stderr);
        upz_cli_plain(stderr, r->model);
    }
    fputc('\n', stderr);
}

/* Lines of the log must not run into the bar. */
typedef struct LogCookie {
    int verbosity;
    UpzProgressView *view;
} LogCookie;

static void log_line(void *cookie, int level, const char *line)
{
    LogCookie *c = cookie;
    if (c->view) upz_progress_clear(c->view);
    upz_cli_log(&c->verbosity, level, line);
}

int upz_cmd_upscale(int argc, char **argv)
{
    UprezError err = {0};
    Args a = {.progress_fd = -1};
    upz_job_params_init(&a.job);
    if (argc < 2) {
        fprintf(stderr, "%s\nSee 'uprez --help' for the options.\n", usage);
        return 2;
    }
    int r = parse(&a, argc, argv, &err);
    if (r == UPREZ_EOF) return 0;
    if (r < 0) return upz_cli_error(&err);

    UpzProgressView view;
    upz_progress_init(&view, a.progress, a.progress_fd, a.quiet);
    LogCookie log = {.verbosity = a.quiet ? -1 : a.verbose ? 1 : 0, .view = &view};
    UprezContextParams cp = {.size = sizeof(cp), .threads = a.threads, .cpu = a.cpu, .log = log_line,
                             .log_cookie = &log};
    UprezContext *ctx;
    r = uprez_context_create(&ctx, &cp, &err);
    if (r < 0) return upz_cli_error(&err);

    if (!a.job.n_models)
        upz_info(ctx, "no -m: enlarging with %s, without a network; 'uprez model list' shows networks",
                 upz_registry_default());
    a.job.cancel = &upz_cli_signal;
    a.job.progress = upz_progress_show;
    a.job.progress_cookie = &view;
    UpzJobResult result = {0};
    r = upz_job_run(ctx, &a.job, &result, &err);
    upz_progress_clear(&view);
    uprez_context_destroy(&ctx);
    int code = upz_cli_exit_code(r);
    if (r < 0) upz_cli_error(&err);
    else if (!a.quiet) summary_text(&result);
    if (a.json) summary_json(&a, &result, code, &err);
    return code;
}
