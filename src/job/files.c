#include "files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "video/encoder.h"
#include "video/still.h"

#define MAX_FILES ((size_t)1 << 24)

int upz_files_compare(const char *pa, const char *pb)
{
    const unsigned char *a = (const unsigned char *)pa, *b = (const unsigned char *)pb;
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
    return *a ? 1 : *b ? -1 : strcmp(pa, pb);
}

static int natural(const void *pa, const void *pb)
{
    return upz_files_compare(*(const char *const *)pa, *(const char *const *)pb);
}

void upz_files_free(UpzFiles *n)
{
    for (size_t i = 0; i < n->n; i++) upz_free(n->items[i]);
    upz_free(n->items);
    *n = (UpzFiles){0};
}

int upz_files_add(UpzFiles *names, const char *path, UprezError *err)
{
    char *name = upz_strdup(path);
    if (!name || !upz_grow(&names->items, &names->cap, names->n + 1, sizeof(*names->items),
                           MAX_FILES)) {
        upz_free(name);
        return upz_fail_memory(err, names->n, "the list of files");
    }
    names->items[names->n++] = name;
    return 0;
}

int upz_files_list(UpzFiles *files, UpzFiles *inner, const char *folder, UprezError *err)
{
    DIR *d = opendir(folder);
    if (!d) return upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be opened: %s", folder, strerror(errno));
    size_t files_before = files->n, inner_before = inner->n, end = strlen(folder);
    const char *slash = end && folder[end - 1] == '/' ? "" : "/";
    const struct dirent *e;
    int r = 0;
    while (r >= 0 && (e = readdir(d))) {
        if (e->d_name[0] == '.') continue;
        char *path = upz_asprintf("%s%s%s", folder, slash, e->d_name);
        struct stat st;
        if (!path) r = upz_fail_memory(err, 0, "a file name");
        else if (stat(path, &st) < 0) r = 0;
        else if (S_ISREG(st.st_mode)) r = upz_files_add(files, path, err);
        else if (S_ISDIR(st.st_mode)) r = upz_files_add(inner, path, err);
        upz_free(path);
    }
    closedir(d);
    size_t n = files->n - files_before, m = inner->n - inner_before;
    if (n) qsort(files->items + files_before, n, sizeof(*files->items), natural);
    if (m) qsort(inner->items + inner_before, m, sizeof(*inner->items), natural);
    return r;
}

bool upz_files_folder(const char *path)
{
    size_t n = strlen(path);
    return upz_is_dir(path) || (n && path[n - 1] == '/');
}

size_t upz_files_stem(const char *path)
{
    const char *name = upz_basename(path), *ext = upz_extension(name);
    return strlen(name) - strlen(ext) - (*ext ? 1 : 0);
}

char *upz_files_target(const UpzJobParams *p, const char *folder, const char *input, bool still,
                       const char *suffix)
{
    const char *name = upz_basename(input), *ext = upz_extension(name), *container;
    size_t end = folder ? strlen(folder) : 0;
    const char *out = ext, *slash = end && folder[end - 1] != '/' ? "/" : "";
    int stem = (int)upz_files_stem(input);
    /* an address ends in the name of a file, or in questions behind it */
    bool address = !upz_exists(input) && strstr(input, "://");
    if (address) stem = (int)strcspn(name, "?#.");
    if (address && strpbrk(ext, "?#&=/")) out = "";
    char probe[64];
    if (p->ext) {
        snprintf(probe, sizeof(probe), "x.%s", p->ext);
        if (upz_still_can_write(probe) == still) out = p->ext;
    }
    if (p->browser && !still && !p->ext && strcasecmp(out, "webm") && strcasecmp(out, "gif")) out = "mp4";
    snprintf(probe, sizeof(probe), "x.%s", out);
    if (still ? !upz_still_can_write(probe) : upz_container_find(&container, probe, NULL) < 0)
        out = still ? "png" : "mkv";
    int beside = folder || address ? 0 : (int)(name - input);
    return upz_asprintf("%s%s%.*s%.*s%s.%s", folder ? folder : "", slash, beside, input, stem, name,
                        suffix ? suffix : "", out);
}

bool upz_files_media(const char *path)
{
    const char *container;
    UprezError e;
    const char *name = upz_basename(path);
    if (upz_still_can_write(name)) return true;
    return *upz_extension(name) && upz_container_find(&container, name, &e) >= 0;
}
