/* Several inputs, or a folder of pictures and videos, into an output folder. */
#include "parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/queue.h"
#include "files.h"
#include "store.h"
#include "video/encoder.h"
#include "video/still.h"

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* One note for all folders inside, except the one the results go to and jobs' own. */
static void tell_inner(UpzSession *s, const UpzJobParams *p, const char *folder, const UpzFiles *inner)
{
    char text[400] = "";
    size_t at = 0, n = 0;
    bool more = false;
    for (size_t i = 0; i < inner->n; i++) {
        const char *name = upz_basename(inner->items[i]);
        if (same_file(inner->items[i], p->output) || !strcmp(upz_extension(name), "uprez")) continue;
        n++;
        if (more || at + strlen(name) + 8 > sizeof(text)) {
            more = true;
            continue;
        }
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? ", " : "", name);
    }
    if (n)
        upz_info(s->ctx, "%zu folder%s in %s %s not entered: %s%s", n, n == 1 ? "" : "s", folder,
                 n == 1 ? "is" : "are", text, !more ? "" : at ? ", …" : "…");
}

int upz_make_folder(const char *folder, bool *made, UprezError *err)
{
    *made = mkdir(folder, 0777) == 0;
    if (*made || (errno == EEXIST && upz_is_dir(folder))) return 0;
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be created: %s", folder, strerror(errno));
}

/* What describes a file is the last one's that has a size. */
static void add(UpzJobResult *sum, const UpzJobResult *one, bool failed)
{
    const UpzJobResult before = *sum;
    if (one->width) *sum = *one;
    sum->files = before.files + 1;
    sum->failed = before.failed + failed;
    sum->skipped = before.skipped;
    if (!one->width) return;
    sum->frames_in += before.frames_in;
    sum->frames_out += before.frames_out;
    sum->damaged += before.damaged;
    sum->held += before.held;
    sum->frames_resumed += before.frames_resumed;
    sum->reused += before.reused;
    sum->seconds += before.seconds;
    sum->decode_s += before.decode_s;
    sum->upscale_s += before.upscale_s;
    sum->encode_s += before.encode_s;
    sum->warnings += before.warnings;
}

/* A file of the one folder by its name, others as they were given. */
static const char *called(const UpzJobParams *p, const char *path)
{
    return p->n_inputs == 1 ? upz_basename(path) : path;
}

/* Where a file's result goes; NULL: no memory. */
static char *target(const UpzJobParams *p, const char *input, bool still)
{
    return upz_files_target(p, p->output, input, still, p->suffix);
}

static int one_file(UpzSession *s, const UpzJobParams *params, const char *input, UpzJobResult *sum,
                    bool *skipped, UprezError *err)
{
    *skipped = false;
    UpzJobParams p = *params;
    bool still = upz_still_probe(input, false, upz_watchdog_run(s->dog));
    if (upz_watch_ended(upz_watchdog_run(s->dog))) return upz_ended_early(input, err);
    char *output = target(params, input, still);
    p.input = input;
    p.output = output;
    int r = output ? 0 : upz_fail_memory(err, 0, "a file name");
    UpzJobResult one = {0};
    bool there = r >= 0 && !params->overwrite && upz_exists(output) && !same_file(input, output);
    /* a run that was killed behind its last step left the output and its folder */
    bool clean = there && !still && !params->no_resume && upz_store_finished(output, NULL, NULL);
    if (r >= 0 && (!there || clean)) {
        r = upz_check_output(input, output, params->overwrite || clean, err);
        s->params = &p;
        if (r >= 0) r = upz_run_file(s, &p, &one, err);
        s->params = params;
        if (r == UPREZ_ERR_USAGE && one.skipped) r = 0; /* that run had other options */
        else there = false;
        if (r == UPREZ_ERR_INPUT && !upz_files_media(input)) {
            upz_info(s->ctx, "%s is neither a picture nor a video", input);
            *skipped = true;
            r = 0;
        }
    }
    if (r >= 0 && there) {
        upz_info(s->ctx, "%s exists and is left as it is (-y makes it anew)", output);
        *skipped = true;
        sum->skipped++;
    }
    if (!*skipped) add(sum, &one, r < 0);
    upz_free(output);
    return r;
}

/* ---- two files, one name ---- */

/* The output of a file that is a picture or promises to be a video; NULL: it is neither, or no memory. */
static char *planned(const UpzJobParams *p, const char *input)
{
    bool still = upz_still_probe(input, false, NULL);
    return still || upz_files_media(input) ? target(p, input, still) : NULL;
}

static int by_stem(const void *pa, const void *pb)
{
    const char *a = *(const char *const *)pa, *b = *(const char *const *)pb;
    size_t na = upz_files_stem(a), nb = upz_files_stem(b);
    int c = memcmp(upz_basename(a), upz_basename(b), UPZ_MIN(na, nb));
    return c ? c : (na > nb) - (na < nb);
}

/* Two files that would become one are refused before any work: the second would replace the first. */
static int refuse_clashes(const UpzJobParams *p, const UpzFiles *names, UprezError *err)
{
    const char **sorted = upz_calloc(names->n + 1, sizeof(*sorted));
    int r = sorted ? 0 : upz_fail_memory(err, names->n, "the list of files");
    for (size_t i = 0; sorted && i < names->n; i++) sorted[i] = names->items[i];
    if (sorted && names->n) qsort(sorted, names->n, sizeof(*sorted), by_stem);
    for (size_t i = 0; r >= 0 && i < names->n; i++)
        for (size_t k = i + 1; r >= 0 && k < names->n && !by_stem(&sorted[i], &sorted[k]); k++) {
            if (same_file(sorted[i], sorted[k])) {
                r = upz_fail(err, UPREZ_ERR_USAGE, "%s is given twice", sorted[k]);
                break;
            }
            char *x = planned(p, sorted[i]), *y = planned(p, sorted[k]);
            if (x && y && !strcmp(x, y))
                r = upz_fail(err, UPREZ_ERR_USAGE, "%s and %s would both become %s: rename one of them, "
                             "or move it into another folder", called(p, sorted[i]), called(p, sorted[k]),
                             x);
            upz_free(x);
            upz_free(y);
        }
    upz_free(sorted);
    return r;
}

typedef struct Identity {
    dev_t device;
    ino_t number;
} Identity;

static int by_identity(const void *pa, const void *pb)
{
    const Identity *a = pa, *b = pb;
    if (a->device != b->device) return a->device < b->device ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

/* The folder that a file lies in; the caller's. */
static char *folder_of(const char *path)
{
    const char *name = upz_basename(path);
    return name == path ? upz_strdup(".") : upz_asprintf("%.*s", (int)(name - path), path);
}

/* A result that would replace one of the inputs is refused before any work, -y or not. Possible only
 * where the results go to a folder that inputs lie in. */
static int refuse_own(const UpzJobParams *p, const UpzFiles *names, UprezError *err)
{
    Identity *all = NULL;
    size_t n = 0;
    int r = 0;
    for (size_t i = 0; i < names->n && r >= 0; i++) {
        char *folder = folder_of(names->items[i]);
        bool there = folder && same_file(folder, p->output);
        upz_free(folder);
        if (!there) continue;
        if (!all) {
            all = upz_calloc(names->n, sizeof(*all));
            if (!all) return upz_fail_memory(err, names->n * sizeof(*all), "the list of files");
            struct stat st;
            for (size_t k = 0; k < names->n; k++)
                if (stat(names->items[k], &st) == 0) all[n++] = (Identity){st.st_dev, st.st_ino};
            qsort(all, n, sizeof(*all), by_identity);
        }
        char *output = planned(p, names->items[i]);
        struct stat st;
        if (output && stat(output, &st) == 0 &&
            bsearch(&(Identity){st.st_dev, st.st_ino}, all, n, sizeof(*all), by_identity))
            r = upz_fail(err, UPREZ_ERR_USAGE, "the result of %s would replace the input %s; write into "
                         "another folder, or give the outputs another --suffix", names->items[i],
                         output);
        upz_free(output);
    }
    upz_free(all);
    return r;
}

/* ---- the job ---- */

static int check_params(const UpzJobParams *p, const char *what, UprezError *err)
{
    if (!strcmp(p->output, "-"))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: the output must be a folder, too", what);
    if (p->streams_from)
        return upz_fail(err, UPREZ_ERR_USAGE, "--streams-from belongs to one video; here is %s", what);
    if (upz_exists(p->output) && !upz_is_dir(p->output))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: the output must be a folder, and %s is a file", what,
                        p->output);
    if (p->ext) {
        char probe[64];
        snprintf(probe, sizeof(probe), "x.%s", p->ext);
        if (!upz_still_can_write(probe) && !upz_container_moves(probe))
            return upz_fail(err, UPREZ_ERR_USAGE, "--ext %s: pictures are written as png, jpg, webp or "
                            "tif, videos as mp4, mkv, mov or webm", p->ext);
    }
    return 0;
}

/* All names, in order: inputs as they were given, folders' files in their place. */
static int collect(UpzSession *s, const UpzJobParams *p, UpzFiles *names, UprezError *err)
{
    int r = 0;
    for (int i = 0; i < p->n_inputs && r >= 0; i++) {
        const char *input = p->inputs[i];
        UpzFiles inner = {0};
        if (!strcmp(input, "-"))
            r = upz_fail(err, UPREZ_ERR_USAGE, "standard input ('-') cannot be one of several inputs");
        else if (p->n_inputs > 1 && same_file(input, p->output))
            continue; /* as of 'uprez * out/' */
        else if (upz_is_dir(input)) {
            r = upz_files_list(names, &inner, input, err);
            if (r >= 0) tell_inner(s, p, input, &inner);
        } else
            r = upz_files_add(names, input, err);
        upz_files_free(&inner);
    }
    return r;
}

/* Where the whole job stands: files are weighed by their bytes, the only thing that is known of them
 * before they are opened. */
typedef struct Whole {
    const UpzJobParams *params;
    int number, files;
    double bytes, before, at_hand; /* of all files, of those behind us, of the one at hand */
    int64_t start_ns;
} Whole;

static double bytes_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (double)st.st_size + 1 : 1;
}

static void report(void *cookie, const UpzProgress *one)
{
    const Whole *w = cookie;
    UpzProgress p = *one;
    double part = p.last ? 1 : p.total > 0 ? UPZ_MIN(1, (double)p.frame / (double)p.total) : 0;
    double done = w->before + w->at_hand * part, seconds = (double)(upz_now_ns() - w->start_ns) / 1e9;
    p.number = w->number;
    p.files = w->files;
    p.all_eta_s = w->number == w->files ? p.eta_s : done > 0 ? seconds * (w->bytes - done) / done : -1;
    w->params->progress(w->params->progress_cookie, &p);
}

static int run_all(UpzSession *s, const UpzJobParams *p, const UpzFiles *names, UpzJobResult *result,
                   UprezError *err)
{
    UprezError first = {0};
    int code = 0;
    Whole whole = {.params = p, .files = (int)names->n, .start_ns = upz_now_ns()};
    UpzJobParams own = *p;
    if (p->progress && names->n > 1) {
        own.progress = report;
        own.progress_cookie = &whole;
    }
    for (size_t i = 0; i < names->n; i++) whole.bytes += bytes_of(names->items[i]);
    for (size_t i = 0; i < names->n; i++) {
        whole.number = (int)i + 1;
        whole.at_hand = bytes_of(names->items[i]);
        if (upz_watch_ended(upz_watchdog_run(s->dog)))
            return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted after %d files; the same command "
                            "goes on from there", result->files);
        UprezError e = {0};
        bool skipped;
        int f = one_file(s, &own, names->items[i], result, &skipped, &e);
        if (skipped) whole.bytes -= whole.at_hand; /* they cost no time */
        else whole.before += whole.at_hand;
        if (f == UPREZ_ERR_INTERRUPTED) {
            if (err) *err = e;
            return f;
        }
        if (f < 0) {
            upz_log(s->ctx, UPREZ_LOG_WARNING, "%s: %s", called(p, names->items[i]), e.text);
            if (!code) code = f, first = e;
        }
    }
    if (code < 0)
        return upz_fail(err, code, "%d of %d files failed; the first: %s", result->failed,
                        result->files, first.text);
    return 0;
}

int upz_folder_job(UpzSession *s, const UpzJobParams *p, UpzJobResult *result, UprezError *err)
{
    char what[300];
    bool folder = p->n_inputs == 1;
    if (folder) snprintf(what, sizeof(what), "%.250s is a folder", p->inputs[0]);
    else snprintf(what, sizeof(what), "%d inputs are given", p->n_inputs);
    int r = check_params(p, what, err);
    if (r < 0) return r;
    if (folder && !p->suffix && same_file(p->inputs[0], p->output))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is the input; write into another folder, or give "
                        "the outputs a --suffix", p->output);
    UpzFiles names = {0};
    bool made = false;
    r = collect(s, p, &names, err);
    if (r >= 0) r = refuse_clashes(p, &names, err);
    if (r >= 0) r = refuse_own(p, &names, err);
    if (r >= 0 && names.n) r = upz_make_folder(p->output, &made, err);
    if (r >= 0) r = run_all(s, p, &names, result, err);
    upz_files_free(&names);
    if (made) rmdir(p->output); /* only when nothing has been written */
    snprintf(result->output, sizeof(result->output), "%s", p->output);
    if (r < 0) return r;
    if (!result->files && !result->skipped)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s%s no picture and no video",
                        folder ? p->inputs[0] : "the inputs", folder ? " holds" : " hold");
    return 0;
}
