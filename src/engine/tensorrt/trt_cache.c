/* What engines were built for, and where they are kept. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/tensorrt/trt.h"

static const char magic[] = "uprez TensorRT engine 1\n";
#define KEY_FILE "key"
#define KEY_MOST 8192 /* bytes of a key file */

void upz_trt_key_write(const UpzTrtKey *k, char text[UPZ_TRT_TEXT])
{
    const UpzTrtProfile *p = &k->profile;
    snprintf(text, UPZ_TRT_TEXT,
             "%smodel %s\ngpu %s\ntensorrt %s\nprecision %s\ntensors %d %d\n"
             "profile %dx%dx%d %dx%dx%d %dx%dx%d\n",
             magic, k->model, k->gpu, k->tensorrt, k->precision, k->channels, k->half, p->batch[0],
             p->width[0], p->height[0], p->batch[1], p->width[1], p->height[1], p->batch[2],
             p->width[2], p->height[2]);
}

/* The value of "NAME VALUE\n"; false when there is none. */
static bool value_of(const char *text, const char *name, char *value, size_t size)
{
    const size_t n = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, n) || line[n] != ' ') continue;
        const size_t length = strcspn(line + n + 1, "\n");
        if (!length || length >= size) return false;
        memcpy(value, line + n + 1, length);
        value[length] = 0;
        return true;
    }
    return false;
}

bool upz_trt_key_read(UpzTrtKey *k, const char *text)
{
    char tensors[64], profile[256], again[UPZ_TRT_TEXT];
    UpzTrtProfile *p = &k->profile;
    *k = (UpzTrtKey){.channels = 0};
    if (strncmp(text, magic, sizeof(magic) - 1) ||
        !value_of(text, "model", k->model, sizeof(k->model)) ||
        !value_of(text, "gpu", k->gpu, sizeof(k->gpu)) ||
        !value_of(text, "tensorrt", k->tensorrt, sizeof(k->tensorrt)) ||
        !value_of(text, "precision", k->precision, sizeof(k->precision)) ||
        !value_of(text, "tensors", tensors, sizeof(tensors)) ||
        sscanf(tensors, "%1d %1d", &k->channels, &k->half) != 2 ||
        !value_of(text, "profile", profile, sizeof(profile)) ||
        sscanf(profile, "%5dx%5dx%5d %5dx%5dx%5d %5dx%5dx%5d", &p->batch[0], &p->width[0],
               &p->height[0], &p->batch[1], &p->width[1], &p->height[1], &p->batch[2], &p->width[2],
               &p->height[2]) != 9)
        return false;
    upz_trt_key_write(k, again); /* so that a text has one meaning only */
    return !strncmp(text, again, strlen(again));
}

const char *upz_trt_key_differs(const UpzTrtKey *built, const UpzTrtKey *here, char *why,
                                size_t size)
{
    if (strcmp(built->gpu, here->gpu))
        snprintf(why, size, "it was built for a GPU of kind %s, and here is %s", built->gpu,
                 here->gpu);
    else if (strcmp(built->tensorrt, here->tensorrt))
        snprintf(why, size, "it was built by TensorRT %s, and here is %s", built->tensorrt,
                 here->tensorrt);
    else
        return NULL;
    return why;
}

/* ---- folders ---- */

int upz_trt_cache_root(char root[PATH_MAX], UprezError *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && *cache ? snprintf(root, PATH_MAX, "%s/uprez/tensorrt", cache)
            : home && *home ? snprintf(root, PATH_MAX, "%s/.cache/uprez/tensorrt", home)
                            : 0;
    if (n < 1 || n >= PATH_MAX - 128)
        return upz_fail(err, UPREZ_ERR_OUTPUT,
                        "there is no place for built engines: set HOME or "
                        "XDG_CACHE_HOME");
    for (char *p = root + 1;; p++) {
        if (*p && *p != '/') continue;
        const char c = *p;
        *p = 0;
        if (mkdir(root, 0777) && errno != EEXIST)
            return upz_fail(err, UPREZ_ERR_OUTPUT,
                            "the folder %s for built engines cannot be made: "
                            "%s",
                            root, strerror(errno));
        *p = c;
        if (!c) return 0;
    }
}

bool upz_trt_cache_folder(const char *root, const UpzTrtKey *key, char folder[PATH_MAX])
{
    char text[UPZ_TRT_TEXT], hex[UPZ_SHA256_HEX];
    upz_trt_key_write(key, text);
    upz_sha256(text, strlen(text), hex);
    const int n = snprintf(folder, PATH_MAX, "%s/%.32s", root, hex);
    return n > 0 && n < PATH_MAX;
}

/* Calls fn for each file of a folder but the key, until it says false. */
static bool each_file(const char *folder, bool (*fn)(void *arg, const char *path), void *arg)
{
    DIR *d = opendir(folder);
    bool go = d != NULL;
    for (struct dirent *e; go && (e = readdir(d));) {
        char path[PATH_MAX];
        const int n = snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        struct stat st;
        if (n < PATH_MAX && strcmp(e->d_name, KEY_FILE) && !lstat(path, &st) && S_ISREG(st.st_mode))
            go = fn(arg, path);
    }
    if (d) closedir(d);
    return go;
}

static bool remove_file(void *arg, const char *path)
{
    (void)arg;
    unlink(path);
    return true;
}

void upz_trt_cache_remove(const char *folder)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/" KEY_FILE, folder) < PATH_MAX) unlink(path);
    each_file(folder, remove_file, NULL);
    rmdir(folder);
}

typedef struct List {
    char text[KEY_MOST]; /* "file HASH NAME" lines */
    size_t n;
    int engines;
} List;

static bool list_file(void *arg, const char *path)
{
    List *l = arg;
    char hex[UPZ_SHA256_HEX];
    UprezError ignored;
    if (upz_sha256_file(path, hex, UPREZ_ERR_DEVICE, &ignored) < 0) return false;
    const int n =
        snprintf(l->text + l->n, sizeof(l->text) - l->n, "file %s %s\n", hex, upz_basename(path));
    if (n < 0 || (size_t)n >= sizeof(l->text) - l->n) return false;
    l->n += (size_t)n;
    l->engines += !strcmp(upz_extension(path), "engine");
    return true;
}

static int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The folder's files in an order of their own, as lines. */
static bool list_files(const char *folder, List *l)
{
    char *lines[64], sorted[KEY_MOST];
    int n = 0;
    *l = (List){.n = 0};
    if (!each_file(folder, list_file, l) || !l->engines) return false;
    for (char *p = l->text; *p && n < UPZ_COUNT(lines); n++) {
        lines[n] = p;
        p += strcspn(p, "\n");
        if (*p) *p++ = 0;
    }
    qsort(lines, (size_t)n, sizeof(*lines), by_line);
    size_t used = 0;
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(sorted + used, sizeof(sorted) - used, "%s\n", lines[i]);
    memcpy(l->text, sorted, used + 1);
    return true;
}

static bool read_key(const char *folder, char text[KEY_MOST])
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/" KEY_FILE, folder) >= PATH_MAX) return false;
    FILE *f = fopen(path, "re");
    if (!f) return false;
    const size_t n = fread(text, 1, KEY_MOST - 1, f);
    text[n] = 0;
    fclose(f);
    return true;
}

static bool valid(const char *folder, const UpzTrtKey *key)
{
    char text[KEY_MOST], want[UPZ_TRT_TEXT];
    List l;
    upz_trt_key_write(key, want);
    const size_t n = strlen(want);
    return read_key(folder, text) && !strncmp(text, want, n) && list_files(folder, &l) &&
           !strcmp(text + n, l.text);
}

bool upz_trt_cache_check(UprezContext *ctx, const char *folder, const UpzTrtKey *key)
{
    if (valid(folder, key)) return true;
    if (upz_is_dir(folder)) {
        upz_warn(ctx, "the built engine in %s is damaged; it is built anew", folder);
        upz_trt_cache_remove(folder);
    }
    return false;
}

int upz_trt_cache_begin(const char *folder, char building[PATH_MAX], UprezError *err)
{
    if (snprintf(building, PATH_MAX, "%s.XXXXXX", folder) >= PATH_MAX || !mkdtemp(building))
        return upz_fail(err, UPREZ_ERR_OUTPUT,
                        "a folder to build an engine in cannot be made beside "
                        "%s: %s",
                        folder, strerror(errno));
    return 0;
}

int upz_trt_cache_finish(const char *building, const char *folder, const UpzTrtKey *key,
                         UprezError *err)
{
    char path[PATH_MAX], text[UPZ_TRT_TEXT + KEY_MOST];
    List l;
    if (!list_files(building, &l))
        return upz_fail(err, UPREZ_ERR_DEVICE, "TensorRT left no engine in %s", building);
    upz_trt_key_write(key, text);
    const size_t n = strlen(text);
    memcpy(text + n, l.text, strlen(l.text) + 1);
    if (snprintf(path, sizeof(path), "%s/" KEY_FILE, building) >= PATH_MAX)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s is too long a name", building);
    int r = upz_write_atomic(path, text, strlen(text), err);
    if (r < 0) return r;
    if (rename(building, folder)) upz_trt_cache_remove(building); /* another was quicker */
    return 0;
}

bool upz_trt_cache_find(UprezContext *ctx, const char *root, const UpzTrtKey *key,
                        UpzTrtProfile *profile)
{
    DIR *d = opendir(root);
    int64_t best = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        char folder[PATH_MAX], text[KEY_MOST];
        UpzTrtKey k;
        if (strchr(e->d_name, '.') ||
            snprintf(folder, sizeof(folder), "%s/%s", root, e->d_name) >= PATH_MAX ||
            !read_key(folder, text) || !upz_trt_key_read(&k, text))
            continue;
        const UpzTrtProfile *p = &k.profile;
        /* by area, then by batch */
        const int64_t worth = (int64_t)p->width[UPZ_TRT_MAX] * p->height[UPZ_TRT_MAX] * 65536 +
                              p->batch[UPZ_TRT_MAX];
        /* only those made for a range: one built for a single tile serves that tile */
        const bool range = p->width[UPZ_TRT_MIN] < p->width[UPZ_TRT_MAX] ||
                           p->height[UPZ_TRT_MIN] < p->height[UPZ_TRT_MAX];
        UpzTrtKey same = *key;
        same.profile = k.profile;
        char a[UPZ_TRT_TEXT], b[UPZ_TRT_TEXT];
        upz_trt_key_write(&same, a);
        upz_trt_key_write(&k, b);
        if (!range || worth <= best || strcmp(a, b) || !upz_trt_cache_check(ctx, folder, &k))
            continue;
        best = worth;
        *profile = k.profile;
    }
    if (d) closedir(d);
    return best > 0;
}

typedef struct Engine {
    char *file;
    int n;
} Engine;

static bool note_engine(void *arg, const char *path)
{
    Engine *e = arg;
    if (strcmp(upz_extension(path), "engine")) return true;
    snprintf(e->file, PATH_MAX, "%s", path);
    return e->n++ < 2;
}

int upz_trt_cache_engine(const char *folder, char file[PATH_MAX], UprezError *err)
{
    Engine e = {.file = file};
    each_file(folder, note_engine, &e);
    if (e.n == 1) return 0;
    return upz_fail(err, UPREZ_ERR_DEVICE,
                    e.n ? "TensorRT cut the network into several engines (%s); "
                          "they work from the cache, but are no single file"
                        : "there is no engine in %s",
                    folder);
}
