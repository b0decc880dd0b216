/* PyTorch's checkpoints before 1.6: five pickles in a row (magic number, version, system, the
 * object, the storages' names), then each storage: its element count and its bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"
#include "model/pickle.h"
#include "model/torch_state.h"

/* pickled 0x1950a86a20f9469cfc6c; protocols above 3 put a frame in front */
static const uint8_t magic[] = {0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

static bool probe(const UpzModelFile *f)
{
    if (f->size < 32 || f->data[0] != 0x80) return false;
    size_t at = f->data[2] == 0x95 ? 11 : 2;
    return !memcmp(f->data + at, magic, sizeof(magic));
}

typedef struct Stream {
    const UpzModelFile *f;
    size_t pos;
    const char *file;
    UprezError *err;
} Stream;

static int next_pickle(Stream *s, UpzPickle *p)
{
    size_t used;
    int r = upz_pickle_run(p, s->f->data + s->pos, s->f->size - s->pos, &used, s->file, s->err);
    if (r >= 0) s->pos += used;
    return r;
}

static int skip_pickle(Stream *s)
{
    UpzPickle p;
    int r = next_pickle(s, &p);
    if (r >= 0) upz_pickle_free(&p);
    return r;
}

static int read_header(Stream *s)
{
    int r = skip_pickle(s);
    if (r < 0) return r;
    UpzPickle p;
    r = next_pickle(s, &p);
    if (r < 0) return r;
    const UpzPickleValue *v = &p.values[p.root];
    if (v->kind != UPZ_PICKLE_INT || v->i != 1001)
        r = upz_fail(s->err, UPREZ_ERR_MODEL, "%s: unknown version of the legacy torch format",
                     s->file);
    upz_pickle_free(&p);
    if (r < 0) return r;
    r = next_pickle(s, &p);
    if (r < 0) return r;
    uint32_t little;
    if (upz_pickle_get(&p, p.root, "little_endian", &little) &&
        p.values[little].kind == UPZ_PICKLE_BOOL && !p.values[little].i)
        r = upz_fail(s->err, UPREZ_ERR_MODEL,
                     "%s was written on a big-endian machine; save it again on a little-endian one",
                     s->file);
    upz_pickle_free(&p);
    return r;
}

static int compare_bytes(const uint8_t *a, uint32_t n_a, const uint8_t *b, uint32_t n_b)
{
    const uint32_t n = UPZ_MIN(n_a, n_b);
    const int c = n ? memcmp(a, b, n) : 0;
    return c ? c : n_a < n_b ? -1 : n_a > n_b;
}

static int compare_key(const UpzTorchRef *ref, const UpzPickleValue *key)
{
    return compare_bytes(ref->key, ref->n_key, key->text, key->n);
}

/* The first reference to a storage; state->n if nothing refers to it. */
static size_t find_ref(const UpzTorchState *state, const UpzPickleValue *key)
{
    size_t lo = 0, hi = state->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (compare_key(&state->refs[mid], key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < state->n && !compare_key(&state->refs[lo], key) ? lo : state->n;
}

/* All storages that the object names, also those that no weight of the network refers to: an optimiser's
 * lie between them. Sorted by key. */
typedef struct Storage {
    const uint8_t *key;
    uint32_t n_key;
    UpzElement element;
} Storage;

typedef struct Storages {
    Storage *items;
    size_t n;
} Storages;

static int by_key(const void *a, const void *b)
{
    const Storage *x = a, *y = b;
    return compare_bytes(x->key, x->n_key, y->key, y->n_key);
}

static int list_storages(const UpzPickle *p, Storages *all, UprezError *err)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) n += p->values[i].kind == UPZ_PICKLE_STORAGE;
    all->items = upz_calloc(n, sizeof(*all->items));
    if (!all->items) return upz_fail_memory(err, n * sizeof(*all->items), "the list of storages");
    for (size_t i = 0; i < p->n; i++) {
        if (p->values[i].kind != UPZ_PICKLE_STORAGE) continue;
        const uint32_t *kids = p->values[p->values[i].i].kids;
        const UpzPickleValue *key = &p->values[kids[2]];
        Storage s = {.key = key->text, .n_key = key->n};
        if (upz_pickle_element(p, kids[1], &s.element)) all->items[all->n++] = s;
    }
    if (all->n) qsort(all->items, all->n, sizeof(*all->items), by_key);
    return 0;
}

/* Steps over a storage that no weight refers to. */
static int skip_storage(Stream *s, const UpzPickleValue *key, const Storages *all)
{
    const Storage wanted = {.key = key->text, .n_key = key->n};
    const Storage *found = all->n && key->kind == UPZ_PICKLE_TEXT
                               ? bsearch(&wanted, all->items, all->n, sizeof(wanted), by_key)
                               : NULL;
    if (!found)
        return upz_fail(s->err, UPREZ_ERR_MODEL,
                        "%s has storages that none of its weights uses, of unknown size; save the state "
                        "dict alone",
                        s->file);
    size_t left = s->f->size - s->pos, bytes;
    int64_t count = 0;
    if (left >= 8) memcpy(&count, s->f->data + s->pos, 8);
    if (left < 8 || count < 0 || !upz_mul_size((size_t)count, upz_element_bytes(found->element), &bytes) ||
        bytes > left - 8)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s is cut short or damaged at byte %zu", s->file, s->pos);
    s->pos += 8 + bytes;
    return 0;
}

/* keys: the list of names, in the order the storages lie in the file. */
static int read_storages(Stream *s, const UpzPickle *keys, UpzTensorSet *set,
                         const UpzTorchState *state, const Storages *all, bool *seen)
{
    const UpzPickleValue *list = &keys->values[keys->root];
    if (list->kind != UPZ_PICKLE_LIST)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: damaged list of storages", s->file);
    for (uint32_t k = 0; k < list->n; k++) {
        const UpzPickleValue *key = &keys->values[list->kids[k]];
        size_t i = key->kind == UPZ_PICKLE_TEXT ? find_ref(state, key) : state->n;
        if (i == state->n) {
            int r = key->kind == UPZ_PICKLE_TEXT && k + 1 == list->n ? 0 : skip_storage(s, key, all);
            if (r < 0) return r;
            continue;
        }
        const UpzTorchRef *ref = &state->refs[i];
        size_t left = s->f->size - s->pos, bytes;
        int64_t count = 0;
        if (left >= 8) memcpy(&count, s->f->data + s->pos, 8);
        if (left < 8 || count != ref->elements || count < 0 ||
            !upz_mul_size((size_t)count, upz_element_bytes(ref->element), &bytes) ||
            bytes > left - 8)
            return upz_fail(s->err, UPREZ_ERR_MODEL,
                            "%s is cut short or damaged at byte %zu, in tensor '%s'", s->file,
                            s->pos, set->items[ref->item].name);
        s->pos += 8;
        for (size_t end = upz_torch_next(state, i); i < end; i++) {
            seen[i] = true;
            int r =
                upz_torch_fill(&state->refs[i], set, s->f->data + s->pos, bytes, s->file, s->err);
            if (r < 0) return r;
        }
        s->pos += bytes;
    }
    for (size_t i = 0; i < state->n; i++)
        if (!seen[i])
            return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: tensor '%s' has no storage in the file",
                            s->file, set->items[state->refs[i].item].name);
    return 0;
}

static int read_tensors(const UpzModelFile *f, UpzTensorSet *set, UprezError *err)
{
    snprintf(set->container, sizeof(set->container), "torch legacy");
    Stream s = {.f = f, .file = upz_basename(f->path), .err = err};
    int r = read_header(&s);
    if (r < 0) return r;
    UpzPickle object, keys = {0};
    UpzTorchState state = {0};
    Storages all = {0};
    bool *seen = NULL;
    r = next_pickle(&s, &object);
    if (r < 0) return r;
    r = upz_torch_collect(&object, set, &state, upz_torch_budget(f->size), s.file, err);
    if (r >= 0) r = list_storages(&object, &all, err);
    if (r >= 0) r = next_pickle(&s, &keys);
    if (r >= 0 && !(seen = upz_calloc(state.n, sizeof(*seen))))
        r = upz_fail_memory(err, state.n, "a list");
    if (r >= 0) r = read_storages(&s, &keys, set, &state, &all, seen);
    upz_free(seen);
    upz_free(all.items);
    upz_torch_free(&state);
    upz_pickle_free(&keys);
    upz_pickle_free(&object);
    return r;
}

extern const UpzReader upz_reader_torch_legacy;
const UpzReader upz_reader_torch_legacy = {"torch legacy", probe, read_tensors, NULL};
