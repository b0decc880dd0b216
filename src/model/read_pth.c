/* PyTorch's zip checkpoints: NAME/data.pkl describes the tensors, NAME/data/KEY are the storages,
 * little endian, stored or deflated. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"
#include "model/pickle.h"
#include "model/torch_state.h"

#define MAX_PICKLE ((uint64_t)32 << 20)
#define MAX_MEMBERS (4 * UPZ_TENSORS_MAX)

typedef struct Member {
    const char *name;
    zip_uint64_t index, size;
} Member;

typedef struct Archive {
    zip_t *zip;
    Member *members; /* sorted by name */
    size_t n;
    const char *root; /* "archive/", n_root bytes */
    size_t n_root;
    const char *file;
    UprezError *err;
} Archive;

static bool probe(const UpzModelFile *f)
{
    return f->size >= 4 && (!memcmp(f->data, "PK\3\4", 4) || !memcmp(f->data, "PK\5\6", 4));
}

static uint64_t little(const uint8_t *b, int n)
{
    uint64_t v = 0;
    while (n-- > 0) v = v << 8 | b[n];
    return v;
}

/* libzip allocates by the number of entries the end record claims: refuse an impossible one. */
static bool plausible_end(const UpzModelFile *f)
{
    size_t scan = UPZ_MIN(f->size, (size_t)65557);
    for (size_t back = 22; back <= scan; back++) {
        const uint8_t *end = f->data + f->size - back;
        if (memcmp(end, "PK\5\6", 4)) continue;
        if (back + 20 <= f->size && !memcmp(end - 20, "PK\6\7", 4)) {
            uint64_t at = little(end - 20 + 8, 8);
            if (f->size < 56 || at > f->size - 56 || memcmp(f->data + at, "PK\6\6", 4))
                return false;
            if (little(f->data + at + 32, 8) > f->size / 46 ||
                little(f->data + at + 24, 8) > f->size / 46)
                return false;
        }
        return little(end + 10, 2) == 0xffff || little(end + 10, 2) <= f->size / 46;
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Member *)a)->name, ((const Member *)b)->name);
}

static const Member *find(const Archive *a, const char *name)
{
    Member key = {.name = name};
    return a->n ? bsearch(&key, a->members, a->n, sizeof(key), by_name) : NULL;
}

static int list_members(Archive *a)
{
    zip_int64_t n = zip_get_num_entries(a->zip, 0);
    if (n < 0 || n > MAX_MEMBERS)
        return upz_fail(a->err, UPREZ_ERR_MODEL,
                        "%s is a zip of %lld members; a checkpoint has fewer", a->file,
                        (long long)n);
    a->members = upz_calloc((size_t)n, sizeof(*a->members));
    if (!a->members) return upz_fail_memory(a->err, (size_t)n * sizeof(Member), "a zip directory");
    for (zip_int64_t i = 0; i < n; i++) {
        zip_stat_t st;
        if (zip_stat_index(a->zip, (zip_uint64_t)i, 0, &st) < 0 || !st.name ||
            !(st.valid & ZIP_STAT_SIZE))
            return upz_fail(a->err, UPREZ_ERR_MODEL, "%s: damaged zip directory", a->file);
        a->members[a->n++] = (Member){st.name, (zip_uint64_t)i, st.size};
    }
    qsort(a->members, a->n, sizeof(*a->members), by_name);
    for (size_t i = 1; i < a->n; i++)
        if (!strcmp(a->members[i].name, a->members[i - 1].name))
            return upz_fail(a->err, UPREZ_ERR_MODEL, "%s has two members named '%.100s'", a->file,
                            a->members[i].name);
    return 0;
}

/* The folder data.pkl lies in. */
static int find_root(Archive *a)
{
    const Member *pkl = NULL;
    for (size_t i = 0; i < a->n; i++) {
        const char *name = a->members[i].name, *slash = strchr(name, '/');
        if (strcmp(slash ? slash + 1 : name, "data.pkl")) continue;
        if (pkl)
            return upz_fail(a->err, UPREZ_ERR_MODEL,
                            "%s has two checkpoints: '%.100s' and '%.100s'", a->file, pkl->name,
                            name);
        pkl = &a->members[i];
    }
    if (!pkl)
        return upz_fail(a->err, UPREZ_ERR_MODEL,
                        "%s is a zip without data.pkl (its first member is '%.100s'); expected a "
                        "PyTorch checkpoint",
                        a->file, a->n ? a->members[0].name : "");
    a->root = pkl->name;
    a->n_root = strlen(pkl->name) - strlen("data.pkl");
    char name[512];
    snprintf(name, sizeof(name), "%.*sconstants.pkl", (int)UPZ_MIN(a->n_root, (size_t)300),
             a->root);
    if (find(a, name))
        return upz_fail(a->err, UPREZ_ERR_MODEL,
                        "%s is a TorchScript program, which only LibTorch can run; expected a "
                        "checkpoint of weights (state dict)",
                        a->file);
    return 0;
}

/* *data (upz_free) gets the whole member, its checksum verified. */
static int read_member(Archive *a, const Member *m, uint8_t **data)
{
    *data = upz_calloc((size_t)m->size, 1);
    if (!*data) return upz_fail_memory(a->err, m->size, "a storage");
    zip_file_t *f = zip_fopen_index(a->zip, m->index, 0);
    zip_int64_t got = f ? zip_fread(f, *data, m->size) : -1;
    uint8_t more;
    /* reading past the end makes libzip compare length and checksum */
    bool good = got >= 0 && (zip_uint64_t)got == m->size && zip_fread(f, &more, 1) == 0;
    if (f) good &= zip_fclose(f) == 0;
    if (good) return 0;
    upz_free(*data);
    *data = NULL;
    if (!f && zip_error_code_zip(zip_get_error(a->zip)) == ZIP_ER_MEMORY)
        return upz_fail_memory(a->err, m->size, "a zip member");
    return upz_fail(a->err, UPREZ_ERR_MODEL,
                    "%s is damaged: member '%.100s' does not match its size or checksum", a->file,
                    m->name);
}

static int check_byte_order(Archive *a)
{
    char name[512];
    snprintf(name, sizeof(name), "%.*sbyteorder", (int)UPZ_MIN(a->n_root, (size_t)300), a->root);
    const Member *m = find(a, name);
    if (!m || m->size != 3) return 0; /* "little", or older than this mark */
    return upz_fail(a->err, UPREZ_ERR_MODEL,
                    "%s was written on a big-endian machine; save it again "
                    "on a little-endian one",
                    a->file);
}

static int read_storages(Archive *a, UpzTensorSet *set, const UpzTorchState *state, uint64_t left)
{
    for (size_t i = 0; i < state->n;) {
        const UpzTorchRef *ref = &state->refs[i];
        size_t next = upz_torch_next(state, i);
        if (ref->n_key > 100 || memchr(ref->key, 0, ref->n_key) || a->n_root > 300)
            return upz_fail(a->err, UPREZ_ERR_MODEL, "%s: a storage with an implausible name",
                            a->file);
        char name[512];
        snprintf(name, sizeof(name), "%.*sdata/%.*s", (int)a->n_root, a->root, (int)ref->n_key,
                 (const char *)ref->key);
        const Member *m = find(a, name);
        if (!m)
            return upz_fail(a->err, UPREZ_ERR_MODEL,
                            "%s: tensor '%s' lies in member '%s', which is missing", a->file,
                            set->items[ref->item].name, name);
        if (m->size > left)
            return upz_fail(a->err, UPREZ_ERR_MODEL,
                            "%s: member '%s' would unpack to %llu bytes, more than such a file can "
                            "hold",
                            a->file, name, (unsigned long long)m->size);
        left -= m->size;
        uint8_t *data;
        int r = read_member(a, m, &data);
        for (; r >= 0 && i < next; i++)
            r = upz_torch_fill(&state->refs[i], set, data, (size_t)m->size, a->file, a->err);
        upz_free(data);
        if (r < 0) return r;
    }
    return 0;
}

static int read_archive(Archive *a, const UpzModelFile *f, UpzTensorSet *set)
{
    int r = list_members(a);
    if (r >= 0) r = find_root(a);
    if (r >= 0) r = check_byte_order(a);
    if (r < 0) return r;
    char name[512];
    snprintf(name, sizeof(name), "%.*sdata.pkl", (int)UPZ_MIN(a->n_root, (size_t)300), a->root);
    const Member *pkl = find(a, name);
    uint64_t budget = upz_torch_budget(f->size);
    /* each tensor costs the zip's directory about what it costs the pickle */
    uint64_t most = UPZ_MIN(MAX_PICKLE, (uint64_t)f->size * 4 + 65536);
    if (!pkl || pkl->size > most)
        return upz_fail(a->err, UPREZ_ERR_MODEL, "%s: its data.pkl has an implausible name or size",
                        a->file);
    uint8_t *data;
    r = read_member(a, pkl, &data);
    if (r < 0) return r;
    UpzPickle p;
    UpzTorchState state = {0};
    size_t used;
    r = upz_pickle_run(&p, data, (size_t)pkl->size, &used, a->file, a->err);
    if (r >= 0) r = upz_torch_collect(&p, set, &state, budget, a->file, a->err);
    if (r >= 0) r = read_storages(a, set, &state, budget);
    upz_torch_free(&state);
    upz_pickle_free(&p);
    upz_free(data);
    return r;
}

static int read_tensors(const UpzModelFile *f, UpzTensorSet *set, UprezError *err)
{
    snprintf(set->container, sizeof(set->container), "torch zip");
    const char *file = upz_basename(f->path);
    if (!plausible_end(f))
        return upz_fail(
            err, UPREZ_ERR_MODEL,
            "%s is a zip without its directory: it is cut short or damaged; download it "
            "again",
            file);
    zip_error_t ze;
    zip_error_init(&ze);
    Archive a = {.file = file, .err = err};
    zip_source_t *src = zip_source_buffer_create(f->data, f->size, 0, &ze);
    a.zip = src ? zip_open_from_source(src, ZIP_RDONLY, &ze) : NULL;
    int r;
    if (!a.zip) {
        bool memory = zip_error_code_zip(&ze) == ZIP_ER_MEMORY;
        r = memory ? upz_fail_memory(err, f->size, "a zip's directory")
                   : upz_fail(err, UPREZ_ERR_MODEL, "%s is a damaged zip: %s", file,
                              zip_error_strerror(&ze));
        if (src) zip_source_free(src);
    } else {
        r = read_archive(&a, f, set);
    }
    upz_free(a.members);
    if (a.zip) zip_discard(a.zip);
    zip_error_fini(&ze);
    return r;
}

extern const UpzReader upz_reader_torch_zip;
const UpzReader upz_reader_torch_zip = {"torch zip", probe, read_tensors, NULL};
