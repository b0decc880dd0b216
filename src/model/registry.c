#include "model/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "model/registry_table.h"

#define SYSTEM_DIR "/usr/share/uprez/models"

int upz_registry_count(void) { return upz_registry_table_count; }

const UpzRegistryEntry *upz_registry_get(int i)
{
    return i >= 0 && i < upz_registry_table_count ? &upz_registry_table[i] : NULL;
}

const UpzRegistryEntry *upz_registry_embedded(const char *name)
{
    for (int i = 0; i < upz_registry_table_count; i++)
        if (upz_registry_table[i].embedded && !strcmp(upz_registry_table[i].name, name))
            return &upz_registry_table[i];
    return NULL;
}

/* Sizes are whole pixels: 1.01 times a table's limit still counts as the limit. */
int uprez_default_models(int video, double scale, const char *names[UPREZ_DEFAULT_MODELS])
{
    if (!(scale > 0)) scale = 2;
    int n = 0;
    for (const UpzRegistryDefault *d = upz_registry_defaults_table; d->up_to > 0; d++) {
        if (d->video != (video != 0) || scale > d->up_to * 1.01) continue;
        for (; n < UPREZ_DEFAULT_MODELS && d->models[n]; n++) names[n] = d->models[n];
        break;
    }
    return n;
}

const char *const *upz_registry_family(const char *family, bool video)
{
    for (const UpzRegistryFamily *f = upz_registry_families_table; f->name; f++)
        if (!strcmp(f->name, family) && f->video == video) return f->models;
    return NULL;
}

bool upz_registry_genuine(const UpzRegistryEntry *e, const char *path)
{
    char hex[UPZ_SHA256_HEX];
    if (!e || e->embedded || !*e->sha256 || strcasecmp(upz_basename(path), e->file)) return true;
    return upz_sha256_file(path, hex, UPREZ_ERR_MODEL, NULL) < 0 || !strcasecmp(hex, e->sha256);
}

/* name or name.EXT */
static bool same_name(const char *name, const char *known)
{
    size_t n = strlen(known);
    if (strncasecmp(name, known, n)) return false;
    static const char *const endings[] = {"", ".pth", ".safetensors", ".onnx", ".param", ".bin"};
    for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++)
        if (!strcasecmp(name + n, endings[i])) return true;
    return false;
}

const UpzRegistryEntry *upz_registry_find(const char *name)
{
    for (int i = 0; i < upz_registry_table_count; i++) {
        const UpzRegistryEntry *e = &upz_registry_table[i];
        if (same_name(name, e->name)) return e;
        for (int k = 0; e->aliases[k]; k++)
            if (same_name(name, e->aliases[k])) return e;
    }
    return NULL;
}

static bool is_kernel(const char *name)
{
    return !strcmp(name, "lanczos") || !strcmp(name, "bicubic") || !strcmp(name, "spline36");
}

/* The user's own directory; NULL when there is no home or no memory. */
static char *user_dir(void)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data == '/') return upz_asprintf("%s/uprez/models", data);
    if (home && *home) return upz_asprintf("%s/.local/share/uprez/models", home);
    return NULL;
}

/* Directories in search order, ':'-separated; the caller's. */
static char *search_path(void)
{
    const char *env = getenv("UPREZ_MODEL_PATH");
    char *user = user_dir();
    char *all = upz_asprintf("%s%s%s%s" SYSTEM_DIR, env ? env : "", env && *env ? ":" : "",
                             user ? user : "", user ? ":" : "");
    upz_free(user);
    return all;
}

/* The first existing file DIR/NAME or DIR/NAME.EXT along the path. */
static char *look(const char *path, const char *name, bool add_extension)
{
    static const char *const endings[] = {"", ".pth", ".safetensors", ".onnx", ".param"};
    for (const char *p = path; *p; p += strcspn(p, ":"), p += *p == ':') {
        int n = (int)strcspn(p, ":");
        if (!n) continue;
        for (int i = 0; i < (add_extension ? 5 : 1); i++) {
            char *file = upz_asprintf("%.*s/%s%s", n, p, name, endings[i]);
            if (file && upz_exists(file) && !upz_is_dir(file)) return file;
            upz_free(file);
        }
    }
    return NULL;
}

int upz_registry_locate(const char *name, char **path, const UpzRegistryEntry **entry,
                        UprezError *err)
{
    const UpzRegistryEntry *known = upz_registry_find(name);
    if (entry) *entry = known;
    *path = NULL;
    bool file = upz_exists(name) && !upz_is_dir(name);
    if (is_kernel(name) || file || (known && known->embedded)) {
        *path = upz_strdup(file || !known || !known->embedded ? name : known->name);
        return *path ? 0 : upz_fail_memory(err, strlen(name), "a model's name");
    }
    char *dirs = search_path();
    if (!dirs) return upz_fail_memory(err, 4096, "the model search path");
    if (!strchr(name, '/')) {
        *path = known ? look(dirs, known->file, false) : NULL;
        if (!*path) *path = look(dirs, name, true);
    }
    int r = 0;
    if (!*path && upz_is_dir(name))
        r = upz_fail(err, UPREZ_ERR_MODEL, "%s is a folder; give a model's file in it", name);
    else if (!*path && known)
        r = upz_fail(err, UPREZ_ERR_MODEL,
                     "the model %s is not installed; get it with 'uprez model pull %s' (looked in %s)",
                     known->name, known->name, dirs);
    else if (!*path && upz_registry_family(name, true))
        r = upz_fail(err, UPREZ_ERR_MODEL, "there is no model '%s'; '--for %s' takes the best installed one for "
                     "such material", name, name);
    else if (!*path && strspn(name, "-0123") == strlen(name)) /* waifu2x's -n is a level of noise */
        r = upz_fail(err, UPREZ_ERR_MODEL, "there is no model '%s'; -n and -m name the model, and noise is removed "
                     "with --denoise 0..1", name);
    else if (!*path && (strchr(name, '/') || *upz_extension(name)))
        r = upz_fail(err, UPREZ_ERR_MODEL, "there is no model file %s", name);
    else if (!*path)
        r = upz_fail(err, UPREZ_ERR_MODEL,
                     "there is no model '%s'; give a file, or a name from 'uprez model list' "
                     "(looked in %s)", name, dirs);
    upz_free(dirs);
    return r;
}

int upz_registry_use(const char *name, char **path, const UpzRegistryEntry **entry, UprezError *err)
{
    const UpzRegistryEntry *known = NULL;
    int r = upz_registry_locate(name, path, &known, err);
    if (entry) *entry = known;
    if (r < 0 || !known || (upz_exists(name) && !upz_is_dir(name)) || upz_registry_genuine(known, *path))
        return r;
    r = upz_fail(err, UPREZ_ERR_MODEL,
                 "%s is not the published %s, its SHA-256 is another one: 'uprez model pull %s' gets that, and "
                 "-m %s uses this one all the same",
                 *path, known->name, known->name, *path);
    upz_free(*path);
    *path = NULL;
    return r;
}

static int make_dirs(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        int r = mkdir(path, 0777);
        *p = '/';
        if (r < 0 && errno != EEXIST) return -1;
    }
    return mkdir(path, 0777) < 0 && errno != EEXIST ? -1 : 0;
}

int upz_registry_dir(char **path, UprezError *err)
{
    const char *env = getenv("UPREZ_MODEL_PATH");
    *path = env && *env ? upz_asprintf("%.*s", (int)strcspn(env, ":"), env) : user_dir();
    if (!*path)
        return upz_fail(err, UPREZ_ERR_OUTPUT,
                        "there is no place for models: set HOME or UPREZ_MODEL_PATH");
    if (make_dirs(*path) < 0) {
        int r = upz_fail(err, UPREZ_ERR_OUTPUT, "the model directory %s cannot be made: %s", *path,
                         strerror(errno));
        upz_free(*path);
        *path = NULL;
        return r;
    }
    return 0;
}
