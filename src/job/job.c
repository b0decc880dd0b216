#include "job.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "intake.h"
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
    char *dir = upz_strdup(output);
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

/* One file. params are those of the session. */
static int run_file(UpzSession *s, const UpzJobParams *params, UpzJobResult *result, UprezError *err)
{
    /* a picture may become a video of one frame, but not a picture file by way of the video
     * encoders: those know nothing of alpha, ICC or EXIF */
    bool still = !upz_is_pipe(params->input) && !upz_container_moves(params->output) &&
                 upz_still_probe(params->input, upz_still_can_write(params->output));
    result->files = 1;
    int r = still ? upz_still_job(s, params, result, err) : upz_video_job(s, params, result, err);
    result->failed = r < 0;
    return r;
}

/* Pipes become something that can be opened. */
static int run_kept(UpzSession *s, const UpzJobParams *params, UpzJobResult *result, UprezError *err)
{
    UpzJobParams own = *params;
    UpzIntake input, other = {.fd = -1};
    int r = upz_intake_open(&input, params->input, params->output, params->cancel, err);
    if (r >= 0 && params->streams_from)
        r = upz_intake_open(&other, params->streams_from, params->output, params->cancel, err);
    if (*input.path) own.input = input.path;
    if (*other.path) own.streams_from = other.path;
    s->params = &own;
    if (r >= 0) r = run_file(s, &own, result, err);
    s->params = params;
    upz_intake_name(&input, params->input, err);
    if (params->streams_from) upz_intake_name(&other, params->streams_from, err);
    upz_intake_close(&input);
    upz_intake_close(&other);
    return r;
}

int upz_job_run(UprezContext *ctx, const UpzJobParams *params, UpzJobResult *result,
                UprezError *err)
{
    *result = (UpzJobResult){0};
    if (!params->input || !params->output)
        return upz_fail(err, UPREZ_ERR_USAGE, "an input and an output are needed");
    UpzSession s = {.ctx = ctx, .params = params};
    int r;
    if (strcmp(params->input, "-") && upz_is_dir(params->input)) {
        r = upz_folder_job(&s, params, result, err);
    } else {
        if (params->suffix || params->ext)
            return upz_fail(err, UPREZ_ERR_USAGE, "%s is for folders; the output's name here is %s",
                            params->suffix ? "--suffix" : "--ext", params->output);
        if (strcmp(params->output, "-")) {
            /* a run that was killed behind its last step left the output and its folder */
            bool finished = !params->overwrite && !params->no_resume &&
                            upz_store_finished(params->output, NULL, NULL);
            r = upz_check_output(params->input, params->output, params->overwrite || finished, err);
            if (r < 0) return r;
        }
        r = run_kept(&s, params, result, err);
    }
    upz_session_close(&s);
    return r;
}
