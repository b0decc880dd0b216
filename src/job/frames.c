#include "frames.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "files.h"
#include "video/encoder.h"
#include "video/input.h"
#include "video/still.h"

#define DEFAULT_RATE "25"

/* ---- patterns ---- */

/* Where the number stands: *at of the '%', *end behind the 'd', *digits at least. False when there is
 * no number, or more than one, or another use of '%'. */
static bool find_number(const char *path, size_t *at, size_t *end, int *digits)
{
    bool found = false;
    for (size_t i = 0; path[i]; i++) {
        if (path[i] != '%') continue;
        size_t k = i + 1;
        if (path[k] == '%') { /* "%%" is a '%' */
            i = k;
            continue;
        }
        while (isdigit((unsigned char)path[k])) k++;
        if (path[k] != 'd' || k - i > 4 || found) return false;
        *at = i;
        *end = k + 1;
        *digits = (int)strtol(path + i + 1, NULL, 10);
        found = true;
        i = k;
    }
    return found;
}

bool upz_pattern(const char *path)
{
    size_t at, end;
    int digits;
    return !strstr(path, "://") && find_number(path, &at, &end, &digits) && !upz_exists(path);
}

/* A copy of n bytes in which "%%" is '%'. */
static void unescape(char *to, const char *from, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        to[k++] = from[i];
        if (from[i] == '%' && i + 1 < n && from[i + 1] == '%') i++;
    }
    to[k] = 0;
}

char *upz_pattern_name(const char *pattern, int64_t n)
{
    size_t at, end, len = strlen(pattern);
    int digits;
    if (!find_number(pattern, &at, &end, &digits)) return upz_strdup(pattern);
    char *head = upz_strdup(pattern), *tail = upz_strdup(pattern), *name = NULL;
    if (head && tail) {
        unescape(head, pattern, at);
        unescape(tail, pattern + end, len - end);
        name = upz_asprintf("%s%0*" PRId64 "%s", head, digits > 0 ? digits : 1, n, tail);
    }
    upz_free(head);
    upz_free(tail);
    return name;
}

int upz_pictures_wanted(bool *yes, const UpzJobParams *p, UprezError *err)
{
    size_t at, end;
    int digits;
    bool pattern = find_number(p->output, &at, &end, &digits);
    *yes = upz_still_can_write(p->output);
    if (!*yes && pattern && upz_picture_name(p->output) && !upz_container_moves(p->output))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: pictures are written as .png, .jpg, .webp or .tif",
                        p->output);
    if (!*yes || pattern || p->frames == 1) return 0;
    return upz_fail(err, UPREZ_ERR_USAGE, "%s is the name of one picture and %s a video: '--frames 1' takes "
                    "one frame ('--start 12' from second 12 on), a name such as %.*s-%%05d.%s all of them",
                    p->output, p->input, (int)(strlen(p->output) - strlen(upz_extension(p->output)) - 1),
                    p->output, upz_extension(p->output));
}

/* ---- a film ---- */

bool upz_film_wanted(const char *folder, const char *output)
{
    return upz_is_dir(folder) && output && strcmp(output, "-") && !upz_files_folder(output) &&
           upz_container_moves(output);
}

void upz_film_free(UpzFilm *film)
{
    upz_free(film->url);
    upz_free(film->demuxer);
    upz_free(film->digest);
    *film = (UpzFilm){0};
}

/* The last run of digits of a name without its extension; false: there is none. */
static bool number_in(const char *path, size_t *at, size_t *n, int64_t *value)
{
    const char *name = upz_basename(path);
    size_t begin = (size_t)(name - path), end = begin + upz_files_stem(path);
    while (end > begin && !isdigit((unsigned char)path[end - 1])) end--;
    size_t start = end;
    while (start > begin && isdigit((unsigned char)path[start - 1])) start--;
    if (start == end || end - start > 18) return false;
    *at = start;
    *n = end - start;
    *value = strtoll(path + start, NULL, 10);
    return true;
}

/* True when two paths are the same apart from their numbers. */
static bool same_series(const char *a, const char *b, int64_t *step)
{
    size_t at, n, at2, n2;
    int64_t x, y;
    if (!number_in(a, &at, &n, &x) || !number_in(b, &at2, &n2, &y) || at != at2 ||
        strncmp(a, b, at) || strcmp(a + at + n, b + at2 + n2))
        return false;
    *step = y - x;
    return true;
}

/* A gap in a folder's numbers is told, not filled: frames may have been left out on purpose. */
static void tell_gaps(UprezContext *ctx, const UpzFiles *files)
{
    int64_t step, missing = 0;
    const char *after = NULL;
    for (size_t i = 1; i < files->n; i++) {
        if (!same_series(files->items[i - 1], files->items[i], &step)) return;
        if (step <= 1) continue;
        if (!missing) after = files->items[i - 1];
        missing += step - 1;
    }
    if (missing)
        upz_warn(ctx, "%" PRId64 " number%s missing between the frames, the first behind %s: the film "
                 "goes on without", missing, missing == 1 ? " is" : "s are", after);
}

static int only_pictures(UpzFiles *kept, const char *folder, const UpzFiles *files, UprezError *err)
{
    const char *ext = NULL;
    int r = 0;
    for (size_t i = 0; i < files->n && r >= 0; i++) {
        const char *path = files->items[i], *own = upz_extension(path);
        if (upz_container_moves(path) && !upz_still_probe(path, false, NULL))
            return upz_fail(err, UPREZ_ERR_USAGE, "%s holds the video %s; only a folder of pictures becomes "
                            "one video (a folder's name ends in a slash)", folder, upz_basename(path));
        if (!upz_picture_name(path)) continue;
        if (ext && strcasecmp(ext, own))
            return upz_fail(err, UPREZ_ERR_USAGE, "%s holds .%s and .%s pictures; the frames of a film are "
                            "of one kind", folder, ext, own);
        ext = own;
        r = upz_files_add(kept, path, err);
    }
    if (r >= 0 && !kept->n)
        r = upz_fail(err, UPREZ_ERR_INPUT, "%s holds no picture", folder);
    return r;
}

/* What tells these pictures from others of the same names. */
typedef struct Stamp {
    int64_t size, seconds, nanoseconds;
    char name[256];
} Stamp;

static void stamp(Stamp *to, const char *path)
{
    struct stat st;
    memset(to, 0, sizeof(*to)); /* compared as bytes */
    snprintf(to->name, sizeof(to->name), "%.255s", upz_basename(path));
    if (stat(path, &st) < 0) return;
    to->size = st.st_size;
    to->seconds = st.st_mtim.tv_sec;
    to->nanoseconds = st.st_mtim.tv_nsec;
}

static char *digest_of(const UpzFiles *files)
{
    char hex[UPZ_SHA256_HEX] = "";
    for (size_t i = 0; i < files->n; i++) {
        Stamp s;
        stamp(&s, files->items[i]);
        char before[UPZ_SHA256_HEX];
        memcpy(before, hex, sizeof(before));
        upz_sha256_two(before, strlen(before), &s, sizeof(s), hex);
    }
    return upz_strdup(hex);
}

static char *escaped(const char *text, const char *special, char escape)
{
    char *to = upz_calloc(2 * strlen(text) + 1, 1);
    size_t k = 0;
    for (const char *c = text; to && *c; c++) {
        if (strchr(special, *c)) to[k++] = escape;
        to[k++] = *c;
    }
    return to;
}

/* FOLDER/ * .[eE][xX][tT], for glob(). */
static char *wildcard(const char *first)
{
    const char *name = upz_basename(first), *ext = upz_extension(first);
    char folder[4096], letters[64] = "";
    size_t at = 0;
    snprintf(folder, sizeof(folder), "%.*s", (int)(name - first), first);
    for (const char *c = ext; *c && at + 5 < sizeof(letters); c++)
        at += (size_t)snprintf(letters + at, sizeof(letters) - at, "[%c%c]", tolower((unsigned char)*c),
                               toupper((unsigned char)*c));
    char *plain = escaped(folder, "*?[]{}\\~,", '\\');
    char *all = plain ? upz_asprintf("%s*.%s", plain, letters) : NULL;
    upz_free(plain);
    return all;
}

/* The pattern of pictures that are numbered one by one; NULL: they are not, or no memory. */
static char *numbered(const UpzFiles *files)
{
    size_t at, n;
    int64_t first, step;
    if (!number_in(files->items[0], &at, &n, &first)) return NULL;
    for (size_t i = 1; i < files->n; i++)
        if (!same_series(files->items[i - 1], files->items[i], &step) || step != 1) return NULL;
    bool padded = files->items[0][at] == '0' && n > 1;
    char *plain = escaped(files->items[0], "%", '%');
    size_t from = 0; /* where the number begins in the escaped copy */
    for (size_t i = 0; plain && i < at; i++) from += files->items[0][i] == '%' ? 2 : 1;
    char *url = NULL;
    if (plain && padded) url = upz_asprintf("%.*s%%0%zud%s", (int)from, plain, n, plain + from + n);
    else if (plain) url = upz_asprintf("%.*s%%d%s", (int)from, plain, plain + from + n);
    upz_free(plain);
    return url;
}

static int film_of_folder(UpzFilm *film, UprezContext *ctx, const UpzJobParams *p, const char *rate,
                          UprezError *err)
{
    UpzFiles files = {0}, inner = {0}, kept = {0};
    bool sorted = true;
    int r = upz_files_list(&files, &inner, p->input, err);
    if (r >= 0) r = only_pictures(&kept, p->input, &files, err);
    for (size_t i = 1; r >= 0 && i < kept.n; i++) sorted &= strcmp(kept.items[i - 1], kept.items[i]) < 0;
    if (r >= 0 && sorted) {
        film->url = wildcard(kept.items[0]);
        film->demuxer = upz_asprintf("image2:pattern_type=glob:framerate=%s", rate);
        tell_gaps(ctx, &kept);
    } else if (r >= 0) {
        size_t at, n;
        int64_t first = 0;
        film->url = numbered(&kept);
        if (!film->url)
            r = upz_fail(err, UPREZ_ERR_USAGE, "the order of the frames in %s is not clear: number them "
                         "one by one, or with zeros in front so that all numbers have one length",
                         p->input);
        else if (number_in(kept.items[0], &at, &n, &first))
            film->demuxer = upz_asprintf("image2:pattern_type=sequence:start_number=%" PRId64
                                         ":framerate=%s", first, rate);
    }
    if (r >= 0) film->digest = digest_of(&kept);
    if (r >= 0 && (!film->url || !film->demuxer || !film->digest))
        r = upz_fail_memory(err, 0, "a file name");
    upz_files_free(&files);
    upz_files_free(&inner);
    upz_files_free(&kept);
    return r;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The numbers of the files that a pattern names, sorted. */
static int numbers_of(const char *pattern, int64_t **numbers, size_t *n, UprezError *err)
{
    size_t at, end, cap = 0;
    int digits;
    UpzFiles files = {0}, inner = {0};
    const char *name = upz_basename(pattern);
    char *folder = name == pattern ? upz_strdup(".") : upz_asprintf("%.*s", (int)(name - pattern), pattern);
    *numbers = NULL;
    *n = 0;
    if (!folder) return upz_fail_memory(err, 0, "a file name");
    int r = 0;
    if (find_number(name, &at, &end, &digits) && upz_is_dir(folder)) {
        r = upz_files_list(&files, &inner, folder, err);
        for (size_t i = 0; i < files.n && r >= 0; i++) {
            const char *own = upz_basename(files.items[i]);
            /* a number anywhere: the name that it makes decides */
            for (const char *c = own; *c; c += isdigit((unsigned char)*c) ? strspn(c, "0123456789") : 1) {
                if (!isdigit((unsigned char)*c)) continue;
                int64_t value = strtoll(c, NULL, 10);
                char *would = upz_pattern_name(name, value);
                bool same = would && !strcmp(would, own);
                upz_free(would);
                if (!same) continue;
                if (!upz_grow(numbers, &cap, *n + 1, sizeof(**numbers), (size_t)1 << 28))
                    r = upz_fail_memory(err, *n, "the list of pictures");
                else
                    (*numbers)[(*n)++] = value;
                break;
            }
        }
    }
    if (*n) qsort(*numbers, *n, sizeof(**numbers), by_value);
    upz_files_free(&files);
    upz_files_free(&inner);
    upz_free(folder);
    return r;
}

int upz_pictures_there(int64_t *n, int64_t *first, const char *output, UprezError *err)
{
    size_t at, end, count = 0;
    int digits;
    int64_t *numbers = NULL;
    *n = *first = 0;
    if (!find_number(output, &at, &end, &digits)) {
        *n = *first = upz_exists(output);
        return 0;
    }
    int r = numbers_of(output, &numbers, &count, err);
    for (size_t i = 0; i < count; i++) *first += numbers[i] == *first + 1;
    *n = (int64_t)count;
    upz_free(numbers);
    return r;
}

static int film_of_pattern(UpzFilm *film, const UpzJobParams *p, const char *rate, UprezError *err)
{
    int64_t *numbers;
    size_t n;
    int r = numbers_of(p->input, &numbers, &n, err);
    if (r >= 0 && !n)
        r = upz_fail(err, UPREZ_ERR_INPUT, "there is no picture %s", p->input);
    for (size_t i = 1; i < n && r >= 0; i++) {
        if (numbers[i] == numbers[i - 1] + 1) continue;
        char *missing = upz_pattern_name(p->input, numbers[i - 1] + 1);
        r = upz_fail(err, UPREZ_ERR_INPUT, "%s is missing, and %" PRId64 " pictures come behind it; to "
                     "leave the gap out give the folder instead", missing ? missing : p->input,
                     (int64_t)(n - i));
        upz_free(missing);
    }
    UpzFiles files = {0};
    for (size_t i = 0; i < n && r >= 0; i++) {
        char *name = upz_pattern_name(p->input, numbers[i]);
        r = name ? upz_files_add(&files, name, err) : upz_fail_memory(err, 0, "a file name");
        upz_free(name);
    }
    if (r >= 0) {
        film->digest = digest_of(&files);
        film->url = upz_strdup(p->input);
        film->demuxer = upz_asprintf("image2:pattern_type=sequence:start_number=%" PRId64 ":framerate=%s",
                                     numbers[0], rate);
        if (!film->url || !film->demuxer || !film->digest) r = upz_fail_memory(err, 0, "a file name");
    }
    upz_files_free(&files);
    upz_free(numbers);
    return r;
}

int upz_film_find(UpzFilm *film, UprezContext *ctx, const UpzJobParams *p, UprezError *err)
{
    *film = (UpzFilm){0};
    char rate[32] = DEFAULT_RATE;
    if (p->fps && upz_rate_text(rate, sizeof(rate), p->fps) < 0)
        return upz_fail(err, UPREZ_ERR_USAGE, "--fps %s: give frames a second, as 24, 23.976 or 30000/1001",
                        p->fps);
    int r = 0;
    if (upz_film_wanted(p->input, p->output)) r = film_of_folder(film, ctx, p, rate, err);
    else if (upz_pattern(p->input)) r = film_of_pattern(film, p, rate, err);
    if (r >= 0 && p->fps && !film->url)
        r = upz_fail(err, UPREZ_ERR_USAGE, "--fps is for numbered pictures and folders of frames; %s has "
                     "times of its own", p->input);
    if (r < 0) upz_film_free(film);
    return r;
}
