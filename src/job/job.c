#include "job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "intake.h"
#include "files.h"
#include "frames.h"
#include "parts.h"
#include "store.h"
#include "video/encoder.h"
#include "video/still.h"

void upz_job_params_init(UpzJobParams *params)
{
    *params = (UpzJobParams){.denoise = -1, .crf = -1, .start = -1, .duration = -1, .frames = -1};
    params->upscale.size = sizeof(params->upscale);
}

int upz_check_output(const char *input, const char *output, bool overwrite, UprezError *err)
{
    struct stat in, out;
    bool there = stat(output, &out) == 0;
    if (there && stat(input, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is the input; write somewhere else", output);
    if (there && S_ISDIR(out.st_mode))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is a folder, %s is not; give a file name", output,
                        input);
    if (there && !overwrite)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s exists; -y overwrites it", output);
    char *dir = upz_follow_link(output);
    if (!dir) return upz_fail_memory(err, strlen(output), "a file name");
    char *slash = strrchr(dir, '/');
    if (slash == dir) slash[1] = 0;
    else if (slash) *slash = 0;
    const char *where = slash ? dir : ".";
    int r = 0;
    if (!upz_is_dir(where))
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "the folder %s for the output does not exist", where);
    else if (access(where, W_OK | X_OK) < 0)
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "the folder %s cannot be written: %s", where,
                     strerror(errno));
    upz_free(dir);
    return r;
}

int upz_ended_early(const char *input, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted before it was known what %s is", input);
}

/* A file that can be opened more than once. */
static int run_kind(UpzSession *s, const UpzJobParams *params, UpzJobResult *result, UprezError *err)
{
    /* a picture may become a video of one frame, but not a picture file by way of the video
     * encoders: those know nothing of alpha, ICC or EXIF */
    bool still = !upz_is_pipe(params->input) && !upz_container_moves(params->output) &&
                 !upz_pattern(params->output) &&
                 upz_still_probe(params->input, upz_still_can_write(params->output),
                                 upz_watchdog_run(s->dog));
    result->files = 1;
    if (upz_watch_ended(upz_watchdog_run(s->dog))) return upz_ended_early(params->input, err);
    int r = still ? upz_still_job(s, params, result, err) : upz_video_job(s, params, result, err);
    result->failed = r < 0;
    return r;
}

/* Pipes become something that can be opened. */
int upz_run_file(UpzSession *s, const UpzJobParams *params, UpzJobResult *result, UprezError *err)
{
    UpzJobParams own = *params;
    const UpzJobParams *before = s->params;
    UpzIntake input, other = {.fd = -1};
    upz_watchdog_about(s->dog, params->input, params->output);
    int r = upz_intake_open(&input, params->input, params->output, upz_watchdog_run(s->dog), err);
    if (r >= 0 && params->streams_from)
        r = upz_intake_open(&other, params->streams_from, params->output,
                            upz_watchdog_run(s->dog), err);
    if (*input.path) own.input = input.path;
    if (*other.path) own.streams_from = other.path;
    s->params = &own;
    if (r >= 0) r = run_kind(s, &own, result, err);
    s->params = before;
    upz_intake_name(&input, params->input, err);
    if (params->streams_from) upz_intake_name(&other, params->streams_from, err);
    upz_intake_close(&input);
    upz_intake_close(&other);
    return r;
}

/* One input and one output. */
static int run_named(UpzSession *s, UpzJobParams *p, UpzJobResult *result, UprezError *err)
{
    if (strcmp(p->output, "-")) {
        /* a run that was killed behind its last step left the output and its folder */
        bool finished = !p->overwrite && !p->no_resume && upz_store_finished(p->output, NULL, NULL);
        int64_t n = upz_exists(p->output) && !upz_is_dir(p->output), first;
        int r = upz_pattern(p->output) && !upz_store_there(p->output, NULL)
                    ? upz_pictures_there(&n, &first, p->output, err) : 0;
        if (r < 0) return r;
        if (n && !p->overwrite && !finished && p->ask) p->overwrite = p->ask(p->ask_cookie, p->output);
        if (p->cancel && *p->cancel)
            return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted before the first frame");
        if (n && !upz_exists(p->output) && !p->overwrite)
            return upz_fail(err, UPREZ_ERR_USAGE, "%lld picture%s named %s exist%s; -y overwrites",
                            (long long)n, n == 1 ? "" : "s", p->output, n == 1 ? "s" : "");
        r = upz_check_output(p->input, p->output, p->overwrite || finished, err);
        if (r < 0) return r;
    }
    return upz_run_file(s, p, result, err);
}

/* A file whose output has no name of its own: in a folder, or beside it (folder NULL). */
static int run_unnamed(UpzSession *s, UpzJobParams *p, const char *folder, UpzJobResult *result,
                       UprezError *err)
{
    if (upz_is_pipe(p->input))
        return upz_fail(err, UPREZ_ERR_USAGE, "standard input has no name to make the output's of; give "
                        "one, or '-' for a y4m pipe");
    if (!upz_exists(p->input) && !strstr(p->input, "://"))
        return upz_fail(err, UPREZ_ERR_INPUT, "there is no file %s", p->input);
    bool still = upz_still_probe(p->input, false, upz_watchdog_run(s->dog)), made = false;
    if (upz_watch_ended(upz_watchdog_run(s->dog))) return upz_ended_early(p->input, err);
    char probe[64];
    snprintf(probe, sizeof(probe), "x.%s", p->ext ? p->ext : "");
    if (p->ext && (still ? !upz_still_can_write(probe) : !upz_container_moves(probe)))
        return upz_fail(err, UPREZ_ERR_USAGE, "--ext %s: %s is a %s", p->ext, p->input,
                        still ? "picture; pictures are written as png, jpg, webp or tif"
                              : "video; videos are written as mp4, mkv, mov or webm");
    char *output = upz_files_target(p, folder, p->input, still,
                                    p->suffix || folder ? p->suffix : ".upscaled");
    int r = output ? 0 : upz_fail_memory(err, 0, "a file name");
    if (r >= 0 && folder) r = upz_make_folder(folder, &made, err);
    p->output = output;
    if (r >= 0) r = run_named(s, p, result, err);
    if (made) rmdir(folder); /* only when nothing has been written */
    upz_free(output);
    return r;
}

/* An output that has a name: the options that make names agree with it, or are refused. */
static int run_one(UpzSession *s, UpzJobParams *p, UpzJobResult *result, UprezError *err)
{
    const char *ext = upz_extension(p->output);
    bool made = false;
    if (p->suffix || (p->ext && strcasecmp(p->ext, ext)))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is for outputs without a name of their own; the "
                        "output's name here is %s", p->suffix ? "--suffix" : "--ext", p->output);
    /* numbered pictures come into a folder of their own, most of the time one that is not there yet */
    char *folder = NULL;
    if (upz_pattern(p->output) && strchr(p->output, '/')) {
        folder = upz_asprintf("%.*s", (int)(upz_basename(p->output) - p->output), p->output);
        if (!folder) return upz_fail_memory(err, 0, "a file name");
        int m = upz_make_folder(folder, &made, err);
        if (m < 0) {
            upz_free(folder);
            return m;
        }
    }
    int r = run_named(s, p, result, err);
    if (made) rmdir(folder); /* only when nothing has been written */
    upz_free(folder);
    return r;
}

/* A folder: its files into another one. */
static int run_folder(UpzSession *s, UpzJobParams *p, UpzJobResult *result, UprezError *err)
{
    char *own = NULL;
    if (!p->output) {
        int n = (int)strlen(p->input);
        while (n > 1 && p->input[n - 1] == '/') n--;
        own = upz_asprintf("%.*s.upscaled", n, p->input);
        if (!own) return upz_fail_memory(err, 0, "a file name");
        p->output = own;
    } else if (!upz_files_folder(p->output) && upz_still_can_write(p->output)) {
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is a folder and %s the name of one picture; end the "
                        "output's name with a slash", p->input, p->output);
    }
    if (upz_film_wanted(p->input, p->output)) return run_one(s, p, result, err);
    if (p->fps)
        return upz_fail(err, UPREZ_ERR_USAGE, "--fps is for a folder of frames that becomes a video; end "
                        "the output's name in .mp4 or .mkv");
    int r = upz_folder_job(s, p, result, err);
    upz_free(own);
    return r;
}

int upz_job_run(UprezContext *ctx, const UpzJobParams *params, UpzJobResult *result,
                UprezError *err)
{
    *result = (UpzJobResult){0};
    UpzJobParams p = *params;
    if (!p.n_inputs) {
        p.inputs = &p.input;
        p.n_inputs = p.input ? 1 : 0;
    }
    if (!p.n_inputs) return upz_fail(err, UPREZ_ERR_USAGE, "an input is needed");
    p.input = p.inputs[0];
    const char *input = p.input;
    p.inputs = p.n_inputs == 1 ? &input : p.inputs;
    UpzSession s = {.ctx = ctx, .params = &p};
    int r;
    r = upz_watchdog_start(&s.dog, ctx, &p, err);
    if (r < 0) return r;
    if (p.n_inputs > 1) {
        const char *missing = NULL;
        for (int i = p.n_inputs - 1; i >= 0; i--)
            if (strcmp(p.inputs[i], "-") && !strstr(p.inputs[i], "://") && !upz_exists(p.inputs[i]))
                missing = p.inputs[i];
        if (!p.output || !upz_files_folder(p.output))
            return upz_fail(err, UPREZ_ERR_USAGE, "of %d names the last is the folder for the results, and "
                            "there is no folder %s; end it with a slash to have it made (%s%s%snothing was "
                            "done)", p.n_inputs + 1, p.output ? p.output : "",
                            missing ? "there is no file " : "", missing ? missing : "", missing ? " either; " : "");
        if (missing)
            return upz_fail(err, UPREZ_ERR_INPUT, "there is no file %s; nothing was done", missing);
        r = upz_folder_job(&s, &p, result, err);
    } else if (strcmp(p.input, "-") && upz_is_dir(p.input)) {
        r = run_folder(&s, &p, result, err);
    } else if (!p.output || upz_files_folder(p.output)) {
        r = run_unnamed(&s, &p, p.output, result, err);
    } else {
        r = run_one(&s, &p, result, err);
    }
    r = upz_watchdog_judge(s.dog, r, err);
    upz_watchdog_stop(&s.dog);
    upz_session_close(&s);
    return r;
}
