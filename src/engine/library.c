/* Where runtimes' shared libraries are looked for. Candidate folders come one after another into a
 * visitor; the first file that fits is taken. Nothing is executed. */
#include "engine/library.h"

#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <fnmatch.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

enum { MAX_PASSES = 48, MAX_NEEDED = 64 };

typedef struct Search {
    const UpzLibrary *lib;
    char *path; /* the file found */
    size_t size;
    bool found;
    char looked[600]; /* for people */
    size_t used;
} Search;

static bool is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

static bool join(char out[PATH_MAX], const char *a, const char *b)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", a, b);
    return n > 0 && n < PATH_MAX;
}

static void looked(Search *s, const char *fmt, ...) UPZ_PRINTF(2, 3);
static void looked(Search *s, const char *fmt, ...)
{
    size_t room = sizeof(s->looked) - s->used;
    if (room < 8) return;
    va_list ap;
    if (s->used) s->used += (size_t)snprintf(s->looked + s->used, room, ", "), room -= 2;
    va_start(ap, fmt);
    int n = vsnprintf(s->looked + s->used, room, fmt, ap);
    va_end(ap);
    s->used += n < 0 ? 0 : UPZ_MIN((size_t)n, room - 1);
}

/* The folder's own file that fits the earliest pattern, of several the highest version. */
static bool in_folder(Search *s, const char *dir)
{
    char best[NAME_MAX + 1];
    for (int i = 0; s->lib->files[i] && !s->found; i++) {
        DIR *d = opendir(dir);
        if (!d) return false;
        best[0] = 0;
        for (struct dirent *e; (e = readdir(d));) {
            char path[PATH_MAX];
            if (fnmatch(s->lib->files[i], e->d_name, 0) || !join(path, dir, e->d_name)) continue;
            if (is_file(path) && (!best[0] || strverscmp(e->d_name, best) > 0))
                snprintf(best, sizeof(best), "%s", e->d_name);
        }
        closedir(d);
        if (best[0]) s->found = (size_t)snprintf(s->path, s->size, "%s/%s", dir, best) < s->size;
    }
    return s->found;
}

static bool in_site(Search *s, const char *site)
{
    char dir[PATH_MAX];
    for (int i = 0; s->lib->inner[i] && !s->found; i++)
        if (join(dir, site, s->lib->inner[i])) in_folder(s, dir);
    return s->found;
}

/* lib/python3*'s site-packages and dist-packages of one prefix, newest Python first. */
static bool in_prefix(Search *s, const char *prefix)
{
    static const char *const libs[] = {"lib", "lib64", "local/lib"};
    char base[PATH_MAX], dir[PATH_MAX], site[PATH_MAX];
    for (int l = 0; l < UPZ_COUNT(libs) && !s->found; l++) {
        struct dirent **names = NULL;
        if (!join(base, prefix, libs[l])) continue;
        int n = scandir(base, &names, NULL, versionsort);
        for (int i = n - 1; i >= 0; i--) {
            bool python = !s->found && !strncmp(names[i]->d_name, "python3", 7);
            if (python && join(dir, base, names[i]->d_name)) {
                if (join(site, dir, "site-packages")) in_site(s, site);
                if (!s->found && join(site, dir, "dist-packages")) in_site(s, site);
            }
            upz_free(names[i]);
        }
        upz_free(names);
    }
    return s->found;
}

/* A folder somebody named: the library's own, an unpacked archive, site-packages, a prefix. */
static bool in_given(Search *s, const char *dir)
{
    char lib[PATH_MAX];
    if (is_file(dir)) {
        for (int i = 0; s->lib->files[i]; i++)
            if (!fnmatch(s->lib->files[i], upz_basename(dir), 0))
                return s->found = (size_t)snprintf(s->path, s->size, "%s", dir) < s->size;
        return false;
    }
    return in_folder(s, dir) || (join(lib, dir, "lib") && in_folder(s, lib)) || in_site(s, dir) ||
           in_prefix(s, dir);
}

/* "KEY = value" of a venv's pyvenv.cfg. */
static bool config_value(const char *file, const char *key, char *value, size_t size)
{
    FILE *f = fopen(file, "re");
    if (!f) return false;
    char line[PATH_MAX + 64];
    bool found = false;
    while (!found && fgets(line, sizeof(line), f)) {
        size_t n = strcspn(line, " \t=");
        if (n != strlen(key) || strncmp(line, key, n)) continue;
        const char *v = line + n;
        v += strspn(v, " \t=");
        snprintf(value, size, "%.*s", (int)strcspn(v, "\r\n"), v);
        found = true;
    }
    fclose(f);
    return found;
}

/* A prefix, and behind a venv that lets it through the installation it was made from. */
static bool in_python(Search *s, const char *prefix)
{
    char cfg[PATH_MAX], value[PATH_MAX], home[PATH_MAX];
    if (in_prefix(s, prefix)) return true;
    if (!join(cfg, prefix, "pyvenv.cfg") ||
        !config_value(cfg, "include-system-site-packages", value, sizeof(value)) ||
        strcasecmp(value, "true") || !config_value(cfg, "home", value, sizeof(value)) ||
        !realpath(value, home))
        return false;
    char *slash = strrchr(home, '/'); /* home is the folder bin */
    if (slash && slash != home) *slash = 0;
    return in_prefix(s, home);
}

/* pyenv puts a script in $PATH; the Python meant is the version it names. */
static bool behind_shim(const char *python, char prefix[PATH_MAX])
{
    char root[PATH_MAX], file[PATH_MAX], version[128] = "";
    snprintf(root, sizeof(root), "%s", python);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(root, '/');
        if (!slash) return false;
        *slash = 0;
        if (!up && strcmp(upz_basename(root), "shims")) return false;
    }
    const char *env = getenv("PYENV_VERSION");
    if (env && *env) {
        snprintf(version, sizeof(version), "%s", env);
    } else if (join(file, root, "version")) {
        FILE *f = fopen(file, "re");
        if (f && !fgets(version, sizeof(version), f)) version[0] = 0;
        if (f) fclose(f);
    }
    version[strcspn(version, ":\r\n")] = 0;
    int n = snprintf(prefix, PATH_MAX, "%s/versions/%s", root, version);
    return version[0] && n > 0 && n < PATH_MAX && upz_is_dir(prefix);
}

/* The folder above bin/python3, by the first python3 of $PATH: a venv as it is called, else where
 * the links end. */
static bool python_prefix(char prefix[PATH_MAX])
{
    const char *path = getenv("PATH");
    char python[PATH_MAX], cfg[PATH_MAX];
    for (; path && *path; path += *path == ':') {
        size_t n = strcspn(path, ":");
        int len = snprintf(python, sizeof(python), "%.*s/python3", (int)UPZ_MIN(n, PATH_MAX), path);
        path += n;
        if (!n || len >= PATH_MAX || !is_file(python) || access(python, X_OK)) continue;
        if (behind_shim(python, prefix)) return true;
        for (int resolved = 0; resolved < 2; resolved++) {
            if (resolved) {
                if (!realpath(python, prefix)) return false;
            } else {
                snprintf(prefix, PATH_MAX, "%s", python);
            }
            for (int up = 0; up < 2; up++) {
                char *slash = strrchr(prefix, '/');
                if (!slash) return false;
                *slash = 0;
            }
            if (resolved || (join(cfg, prefix, "pyvenv.cfg") && is_file(cfg))) return true;
        }
    }
    return false;
}

static bool in_env_prefix(Search *s, const char *variable)
{
    const char *dir = getenv(variable);
    if (!dir || !*dir) return false;
    looked(s, "$%s (%s)", variable, dir);
    return in_python(s, dir);
}

static bool in_list(Search *s, const char *list)
{
    char dir[PATH_MAX];
    for (; list && *list && !s->found; list += *list == ':') {
        size_t n = strcspn(list, ":");
        if (n && n < sizeof(dir)) {
            snprintf(dir, sizeof(dir), "%.*s", (int)n, list);
            in_given(s, dir);
        }
        list += n;
    }
    return s->found;
}

/* The folders of the loader's configuration; its cache holds the same. */
static bool in_system(Search *s)
{
    static const char conf[] = "/etc/ld.so.conf.d";
    static const char *const fixed[] = {"/usr/local/lib", "/usr/lib", "/usr/lib64", "/lib"};
    if (in_list(s, getenv("LD_LIBRARY_PATH"))) return true;
    struct dirent **names = NULL;
    int n = scandir(conf, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char file[PATH_MAX], line[PATH_MAX];
        FILE *f = NULL;
        if (!s->found && join(file, conf, names[i]->d_name)) f = fopen(file, "re");
        while (f && !s->found && fgets(line, sizeof(line), f)) {
            line[strcspn(line, " \t\r\n")] = 0;
            if (line[0] == '/') in_folder(s, line);
        }
        if (f) fclose(f);
        upz_free(names[i]);
    }
    upz_free(names);
    for (int i = 0; i < UPZ_COUNT(fixed) && !s->found; i++) in_folder(s, fixed[i]);
    return s->found;
}

/* Everywhere, in the order of the header. */
static bool search(Search *s, const char *runtime_path)
{
    const char *env = getenv("UPREZ_RUNTIME_PATH"), *home = getenv("HOME");
    char prefix[PATH_MAX];
    if (runtime_path && *runtime_path) {
        looked(s, "%s", runtime_path);
        if (in_given(s, runtime_path)) return true;
    }
    if (env && *env) {
        looked(s, "$UPREZ_RUNTIME_PATH (%s)", env);
        if (in_list(s, env)) return true;
    }
    if (in_env_prefix(s, "VIRTUAL_ENV") || in_env_prefix(s, "CONDA_PREFIX")) return true;
    if (python_prefix(prefix)) {
        looked(s, "the python3 of $PATH (%s)", prefix);
        if (in_python(s, prefix)) return true;
    }
    if (home && *home && join(prefix, home, ".local")) {
        looked(s, "%s", prefix);
        if (in_prefix(s, prefix)) return true;
    }
    looked(s, "the system's libraries");
    return in_system(s);
}

static int not_found(const Search *s, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_DEVICE,
                    "%s is not installed here (looked in %s); get it with "
                    "'%s', or say where it is with --runtime-path",
                    s->lib->name, s->looked, s->lib->hint);
}

int upz_library_find(const UpzLibrary *lib, const char *runtime_path, char *path, size_t size,
                     UprezError *err)
{
    Search s = {.lib = lib, .path = path, .size = size};
    if (size) path[0] = 0;
    if (search(&s, runtime_path)) return 0;
    if (size) path[0] = 0;
    return not_found(&s, err);
}

/* ---- loading ---- */

/* The site-packages above a file, into site. */
static bool site_of(const char *path, char site[PATH_MAX])
{
    if (!realpath(path, site)) return false;
    for (char *slash; (slash = strrchr(site, '/')) && slash != site;) {
        *slash = 0;
        const char *name = upz_basename(site);
        if (!strcmp(name, "site-packages") || !strcmp(name, "dist-packages")) return true;
    }
    return false;
}

/* The file of that name in another wheel. */
static bool neighbour(const char *site, const char *name, char file[PATH_MAX])
{
    static const char *const own[] = {"tensorrt_libs", "torch/lib"};
    char base[PATH_MAX], dir[PATH_MAX];
    if (strchr(name, '/')) return false;
    for (int i = 0; i < UPZ_COUNT(own); i++)
        if (join(dir, site, own[i]) && join(file, dir, name) && is_file(file)) return true;
    DIR *d = join(base, site, "nvidia") ? opendir(base) : NULL;
    if (!d) return false;
    bool found = false;
    for (struct dirent *e; !found && (e = readdir(d));) {
        char sub[PATH_MAX];
        found = e->d_name[0] != '.' && join(sub, base, e->d_name) && join(dir, sub, "lib") &&
                join(file, dir, name) && is_file(file);
    }
    closedir(d);
    return found;
}

/* dlopen; a library the loader misses is taken from another wheel and the whole tried again. NULL:
 * the loader's words are in why. */
static void *load(const char *path, const char *site, char *why, size_t size, int depth)
{
    char missing[NAME_MAX + 1] = "", file[PATH_MAX];
    for (int pass = 0; pass < MAX_PASSES; pass++) {
        void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (handle) return handle;
        const char *text = dlerror();
        snprintf(why, size, "%s", text ? text : "no reason given");
        /* "libNAME.so.1: cannot open shared object file: …" */
        size_t n = strcspn(why, ":");
        if (!site || depth > 8 || n > NAME_MAX || !strstr(why, "cannot open") ||
            (strlen(missing) == n && !strncmp(missing, why, n)))
            return NULL;
        snprintf(missing, sizeof(missing), "%.*s", (int)n, why);
        char other[256];
        if (!neighbour(site, missing, file) || !load(file, site, other, sizeof(other), depth + 1))
            return NULL;
    }
    return NULL;
}

int upz_library_open(const UpzLibrary *lib, const char *runtime_path, void **handle, char *path,
                     size_t size, UprezError *err)
{
    char site[PATH_MAX], why[512];
    *handle = NULL;
    Search s = {.lib = lib, .path = path, .size = size};
    if (size) path[0] = 0;
    if (search(&s, runtime_path)) {
        *handle = load(path, site_of(path, site) ? site : NULL, why, sizeof(why), 0);
        if (*handle) return 0;
        return upz_fail(err, UPREZ_ERR_DEVICE, "%s cannot be loaded: %s", lib->name, why);
    }
    for (int i = 0; lib->sonames[i]; i++) {
        struct link_map *map = NULL;
        *handle = dlopen(lib->sonames[i], RTLD_NOW | RTLD_LOCAL);
        if (!*handle) continue;
        bool known = !dlinfo(*handle, RTLD_DI_LINKMAP, &map) && map && map->l_name;
        snprintf(path, size, "%s", known ? map->l_name : lib->sonames[i]);
        return 0;
    }
    return not_found(&s, err);
}

/* ---- what a library needs ---- */

static bool inside(const UpzMap *m, uint64_t offset, uint64_t bytes)
{
    return offset <= m->size && bytes <= m->size - offset;
}

/* File offset of an address; false when no segment holds it. */
static bool offset_of(const UpzMap *m, const Elf64_Ehdr *h, uint64_t address, uint64_t *offset)
{
    for (int i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, m->data + h->e_phoff + (uint64_t)i * sizeof(p), sizeof(p));
        if (p.p_type != PT_LOAD || address < p.p_vaddr || address - p.p_vaddr >= p.p_filesz)
            continue;
        *offset = p.p_offset + (address - p.p_vaddr);
        return *offset < m->size;
    }
    return false;
}

/* Calls fn with each name of DT_NEEDED. Any damage: nothing more is called. */
static void each_needed(const UpzMap *m, void (*fn)(const char *site, const char *name),
                        const char *site)
{
    Elf64_Ehdr h;
    if (m->size < sizeof(h)) return;
    memcpy(&h, m->data, sizeof(h));
    if (memcmp(h.e_ident, ELFMAG, SELFMAG) || h.e_ident[EI_CLASS] != ELFCLASS64 ||
        h.e_phentsize != sizeof(Elf64_Phdr) ||
        !inside(m, h.e_phoff, (uint64_t)h.e_phnum * sizeof(Elf64_Phdr)))
        return;
    Elf64_Phdr dynamic = {.p_type = PT_NULL};
    for (int i = 0; i < h.e_phnum && dynamic.p_type != PT_DYNAMIC; i++)
        memcpy(&dynamic, m->data + h.e_phoff + (uint64_t)i * sizeof(dynamic), sizeof(dynamic));
    if (dynamic.p_type != PT_DYNAMIC || !inside(m, dynamic.p_offset, dynamic.p_filesz)) return;
    uint64_t needed[MAX_NEEDED], strings = 0;
    int n = 0;
    bool have = false;
    for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic.p_filesz; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn d;
        memcpy(&d, m->data + dynamic.p_offset + at, sizeof(d));
        if (d.d_tag == DT_NULL) break;
        if (d.d_tag == DT_NEEDED && n < MAX_NEEDED) needed[n++] = d.d_un.d_val;
        if (d.d_tag == DT_STRTAB) have = offset_of(m, &h, d.d_un.d_ptr, &strings);
    }
    for (int i = 0; have && i < n; i++) {
        if (!inside(m, strings, needed[i]) || strings + needed[i] >= m->size) return;
        const char *name = (const char *)m->data + strings + needed[i];
        if (!memchr(name, 0, m->size - strings - needed[i])) return;
        fn(site, name);
    }
}

static void load_needed(const char *site, const char *name)
{
    char file[PATH_MAX], why[256];
    if (neighbour(site, name, file)) load(file, site, why, sizeof(why), 0);
}

void upz_library_preload(const char *path)
{
    char site[PATH_MAX];
    UpzMap map;
    UprezError ignored;
    if (!site_of(path, site) ||
        upz_map_library(&map, path, UPREZ_ERR_DEVICE, &ignored) < 0)
        return;
    each_needed(&map, load_needed, site);
    upz_map_close(&map);
}
