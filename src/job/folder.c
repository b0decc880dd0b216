/* A folder of pictures and videos. */
#include "parts.h"
#include "store.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "video/encoder.h"
#include "video/still.h"

#define MAX_FILES ((size_t)1 << 24)

typedef struct Names {
    char **items;
    size_t n, cap;
} Names;

/* 2 before 10: runs of digits compare as numbers. */
static int natural(const void *pa, const void *pb)
{
    const unsigned char *a = *(const unsigned char *const *)pa, *b = *(const unsigned char *const *)pb;
    const char *a0 = (const char *)a, *b0 = (const char *)b;
    while (*a && *b) {
        if (isdigit(*a) && isdigit(*b)) {
            while (*a == '0') a++;
            while (*b == '0') b++;
            size_t na = 0, nb = 0;
            while (isdigit(a[na])) na++;
            while (isdigit(b[nb])) nb++;
            int c = na != nb ? (na < nb ? -1 : 1) : memcmp(a, b, na);
            if (c) return c;
            a += na;
            b += nb;
        } else {
            int c = tolower(*a) - tolower(*b);
            if (c) return c;
            a++;
            b++;
        }
    }
    return *a ? 1 : *b ? -1 : strcmp(a0, b0);
}

static void names_free(Names *n)
{
    for (size_t i = 0; i < n->n; i++) upz_free(n->items[i]);
    upz_free(n->items);
}

static int add_name(Names *names, const char *text, UprezError *err)
{
    char *name = upz_strdup(text);
    if (!name || !upz_grow(&names->items, &names->cap, names->n + 1, sizeof(*names->items),
                           MAX_FILES)) {
        upz_free(name);
        return upz_fail_memory(err, names->n, "the list of files");
    }
    names->items[names->n++] = name;
    return 0;
}

/* Files and folders of a folder; hidden ones are left out. */
static int list(Names *names, Names *inner, const char *folder, UprezError *err)
{
    DIR *d = opendir(folder);
    if (!d) return upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be opened: %s", folder, strerror(errno));
    const struct dirent *e;
    int r = 0;
    while (r >= 0 && (e = readdir(d))) {
        if (e->d_name[0] == '.') continue;
        char *path = upz_asprintf("%s/%s", folder, e->d_name);
        struct stat st;
        bool known = path && stat(path, &st) == 0;
        upz_free(path);
        if (!path) r = upz_fail_memory(err, 0, "a file name");
        else if (known && S_ISREG(st.st_mode)) r = add_name(names, e->d_name, err);
        else if (known && S_ISDIR(st.st_mode)) r = add_name(inner, e->d_name, err);
    }
    closedir(d);
    if (names->n) qsort(names->items, names->n, sizeof(*names->items), natural);
    if (inner->n) qsort(inner->items, inner->n, sizeof(*inner->items), natural);
    return r;
}

/* One note for all folders inside, except the one the results go to and jobs' own. */
static void tell_inner(UpzSession *s, const UpzJobParams *p, const Names *inner)
{
    char text[400] = "";
    size_t at = 0, n = 0;
    struct stat out, st;
    bool there = stat(p->output, &out) == 0, more = false;
    for (size_t i = 0; i < inner->n; i++) {
        char *path = upz_asprintf("%s/%s", p->input, inner->items[i]);
        bool ours = path && there && stat(path, &st) == 0 && st.st_dev == out.st_dev &&
                    st.st_ino == out.st_ino;
        upz_free(path);
        if (ours || !strcmp(upz_extension(inner->items[i]), "uprez")) continue;
        n++;
        if (more || at + strlen(inner->items[i]) + 8 > sizeof(text)) {
            more = true;
            continue;
        }
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? ", " : "", inner->items[i]);
    }
    if (n)
        upz_info(s->ctx, "%zu folder%s in %s %s not entered: %s%s", n, n == 1 ? "" : "s", p->input,
                 n == 1 ? "is" : "are", text, !more ? "" : at ? ", …" : "…");
}

static int make_output(const char *folder, bool *made, UprezError *err)
{
    *made = mkdir(folder, 0777) == 0;
    if (*made || (errno == EEXIST && upz_is_dir(folder))) return 0;
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be created: %s", folder, strerror(errno));
}

/* OUTPUT/STEM SUFFIX.EXT; the extension stays where the file can be written so. The caller's. */
static char *target(const UpzJobParams *p, const char *name, bool still)
{
    const char *ext = upz_extension(name), *container;
    int stem = (int)(strlen(name) - strlen(ext) - (*ext ? 1 : 0));
    const char *out = ext;
    char probe[64];
    if (p->ext) {
        snprintf(probe, sizeof(probe), "x.%s", p->ext);
        if (upz_still_can_write(probe) == still) out = p->ext;
    }
    snprintf(probe, sizeof(probe), "x.%s", out);
    if (still ? !upz_still_can_write(probe) : upz_container_find(&container, probe, NULL) < 0)
        out = still ? "png" : "mkv";
    return upz_asprintf("%s/%.*s%s.%s", p->output, stem, name, p->suffix ? p->suffix : "", out);
}

/* Names that promise a picture or a video: others in the folder are left alone when they are none. */
static bool promises_media(const char *name)
{
    const char *container;
    UprezError e;
    if (upz_still_can_write(name)) return true;
    return *upz_extension(name) && upz_container_find(&container, name, &e) >= 0;
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

static int one_file(UpzSession *s, const UpzJobParams *params, const char *name, UpzJobResult *sum,
                    bool *skipped, UprezError *err)
{
    *skipped = false;
    UpzJobParams p = *params;
    char *input = upz_asprintf("%s/%s", params->input, name);
    if (!input) return upz_fail_memory(err, 0, "a file name");
    bool still = upz_still_probe(input, false);
    char *output = target(params, name, still);
    p.input = input;
    p.output = output;
    int r = output ? 0 : upz_fail_memory(err, 0, "a file name");
    UpzJobResult one = {0};
    bool there = r >= 0 && !params->overwrite && upz_exists(output) && strcmp(input, output);
    /* a run that was killed behind its last step left the output and its folder */
    bool clean = there && !still && !params->no_resume && upz_store_finished(output, NULL, NULL);
    if (r >= 0 && (!there || clean)) {
        r = upz_check_output(input, output, params->overwrite || clean, err);
        if (r >= 0) r = still ? upz_still_job(s, &p, &one, err) : upz_video_job(s, &p, &one, err);
        if (r == UPREZ_ERR_USAGE && one.skipped) r = 0; /* that run had other options */
        else there = false;
        if (r == UPREZ_ERR_INPUT && !promises_media(name)) {
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
    upz_free(input);
    upz_free(output);
    return r;
}

static size_t stem_length(const char *name)
{
    const char *ext = upz_extension(name);
    return strlen(name) - strlen(ext) - (*ext ? 1 : 0);
}

/* The output of a file that is a picture or promises to be a video; NULL: it is neither, or no memory. */
static char *planned(const UpzJobParams *p, const char *name)
{
    char *input = upz_asprintf("%s/%s", p->input, name);
    bool still = input && upz_still_probe(input, false);
    upz_free(input);
    return still || promises_media(name) ? target(p, name, still) : NULL;
}

static int by_stem(const void *pa, const void *pb)
{
    const char *a = *(const char *const *)pa, *b = *(const char *const *)pb;
    size_t na = stem_length(a), nb = stem_length(b);
    int c = memcmp(a, b, UPZ_MIN(na, nb));
    return c ? c : (na > nb) - (na < nb);
}

/* Two files that would become one are refused before any work: the second would replace the first. */
static int refuse_clashes(const UpzJobParams *p, const Names *names, UprezError *err)
{
    const char **sorted = upz_calloc(names->n + 1, sizeof(*sorted));
    int r = sorted ? 0 : upz_fail_memory(err, names->n, "the list of files");
    for (size_t i = 0; sorted && i < names->n; i++) sorted[i] = names->items[i];
    if (sorted && names->n) qsort(sorted, names->n, sizeof(*sorted), by_stem);
    for (size_t i = 0; r >= 0 && i < names->n; i++)
        for (size_t k = i + 1; r >= 0 && k < names->n && !by_stem(&sorted[i], &sorted[k]); k++) {
            char *x = planned(p, sorted[i]), *y = planned(p, sorted[k]);
            if (x && y && !strcmp(x, y))
                r = upz_fail(err, UPREZ_ERR_USAGE, "%s and %s would both become %s: rename one of them, "
                             "or move it into another folder", sorted[i], sorted[k], x);
            upz_free(x);
            upz_free(y);
        }
    upz_free(sorted);
    return r;
}

int upz_folder_job(UpzSession *s, const UpzJobParams *p, UpzJobResult *result, UprezError *err)
{
    if (!strcmp(p->output, "-"))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is a folder; the output must be one too", p->input);
    if (p->streams_from)
        return upz_fail(err, UPREZ_ERR_USAGE, "--streams-from belongs to one video, %s is a folder",
                        p->input);
    if (upz_exists(p->output) && !upz_is_dir(p->output))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is a folder and %s is a file", p->input, p->output);
    struct stat in, out;
    if (!p->suffix && stat(p->input, &in) == 0 && stat(p->output, &out) == 0 &&
        in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is the input; write into another folder, or give "
                        "the outputs a --suffix", p->output);
    if (p->ext) {
        char probe[64];
        snprintf(probe, sizeof(probe), "x.%s", p->ext);
        if (!upz_still_can_write(probe) && !upz_container_moves(probe))
            return upz_fail(err, UPREZ_ERR_USAGE, "--ext %s: pictures are written as png, jpg, webp or "
                            "tif, videos as mp4, mkv, mov or webm", p->ext);
    }
    Names names = {0}, inner = {0};
    UprezError first = {0};
    int code = 0, r = list(&names, &inner, p->input, err);
    bool made = false;
    if (r >= 0 && inner.n) tell_inner(s, p, &inner);
    names_free(&inner);
    if (r >= 0) r = refuse_clashes(p, &names, err);
    if (r >= 0 && names.n) r = make_output(p->output, &made, err);
    for (size_t i = 0; i < names.n && r >= 0; i++) {
        if (p->cancel && *p->cancel) {
            r = upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted after %d files; the same command "
                         "goes on from there", result->files);
            break;
        }
        UprezError e = {0};
        bool skipped;
        int f = one_file(s, p, names.items[i], result, &skipped, &e);
        if (f == UPREZ_ERR_INTERRUPTED) {
            if (err) *err = e;
            r = f;
        } else if (f < 0) {
            upz_log(s->ctx, UPREZ_LOG_WARNING, "%s: %s", names.items[i], e.text);
            if (!code) code = f, first = e;
        }
    }
    names_free(&names);
    if (made) rmdir(p->output); /* only when nothing has been written */
    snprintf(result->output, sizeof(result->output), "%s", p->output);
    if (r < 0) return r;
    if (!result->files && !result->skipped)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s holds no picture and no video", p->input);
    if (code < 0)
        return upz_fail(err, code, "%d of %d files failed; the first: %s", result->failed,
                        result->files, first.text);
    return 0;
}
