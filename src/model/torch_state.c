#include "model/torch_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "model/model.h"
#include "model/unwrap.h"

#define MAX_DEPTH 8       /* dicts in dicts */
#define MAX_LEAVES 65536  /* tensors beside the network too */
#define MAX_NAME 512
#define MAX_LOOKS ((int64_t)1 << 22)

static const struct {
    size_t bytes;
    bool half;
} elements[UPZ_ELEMENT_COUNT] = {
    [UPZ_ELEMENT_F32] = {4, false}, [UPZ_ELEMENT_F16] = {2, true},  [UPZ_ELEMENT_BF16] = {2, true},
    [UPZ_ELEMENT_F64] = {8, false}, [UPZ_ELEMENT_I64] = {8, false}, [UPZ_ELEMENT_I32] = {4, false},
    [UPZ_ELEMENT_I16] = {2, false}, [UPZ_ELEMENT_I8] = {1, false},  [UPZ_ELEMENT_U8] = {1, false},
};

size_t upz_element_bytes(UpzElement e)
{
    return elements[e].bytes;
}

/* "'a', 'b', …" of a dict's first keys. */
static void list_keys(const UpzPickle *p, uint32_t dict, char *out, size_t size)
{
    const UpzPickleValue *d = &p->values[dict];
    size_t used = 0;
    out[0] = 0;
    for (uint32_t i = 0; d->kind == UPZ_PICKLE_DICT && i < d->n && i < 12; i += 2) {
        const UpzPickleValue *k = &p->values[d->kids[i]];
        if (k->kind != UPZ_PICKLE_TEXT || used + 50 > size) continue;
        used += (size_t)snprintf(out + used, size - used, "%s'%.*s'", used ? ", " : "",
                                 (int)UPZ_MIN(k->n, 40u), (const char *)k->text);
    }
    if (!used) snprintf(out, size, "nothing with a name");
}

static int numbers(const UpzPickle *p, uint32_t tuple, int64_t out[UPZ_MAX_DIMS])
{
    const UpzPickleValue *t = &p->values[tuple];
    if (t->kind != UPZ_PICKLE_TUPLE || t->n > UPZ_MAX_DIMS) return -1;
    for (uint32_t i = 0; i < t->n; i++) {
        const UpzPickleValue *v = &p->values[t->kids[i]];
        if (v->kind != UPZ_PICKLE_INT || v->i < 0) return -1;
        out[i] = v->i;
    }
    return (int)t->n;
}

/* name is terminated. *left: bytes of the budget. */
static int add_tensor(const UpzPickle *p, uint32_t value, const char *name, UpzTensorSet *set,
                      UpzTorchState *state, uint64_t *left, const char *file, UprezError *err)
{
    const UpzPickleValue *args = &p->values[p->values[value].i];
    const UpzPickleValue *storage = &p->values[args->kids[0]];
    const UpzPickleValue *id = &p->values[storage->i];
    const UpzPickleValue *key = &p->values[id->kids[2]], *offset = &p->values[args->kids[1]];
    UpzTorchRef ref = {.key = key->text, .n_key = key->n, .elements = p->values[id->kids[4]].i};
    int64_t dims[UPZ_MAX_DIMS], count = 1;
    int n = numbers(p, args->kids[2], dims), n_strides = numbers(p, args->kids[3], ref.strides);
    if (!upz_pickle_element(p, id->kids[1], &ref.element) || n < 0 || n_strides != n ||
        offset->kind != UPZ_PICKLE_INT || offset->i < 0 || ref.elements < 0)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s: tensor '%s' has a size, stride or offset that makes no sense", file,
                        name);
    ref.first = ref.last = offset->i;
    bool fits = true;
    for (int i = 0; i < n && fits; i++) fits = !__builtin_mul_overflow(count, dims[i], &count);
    for (int i = 0; i < n && fits && count; i++) {
        int64_t far;
        fits = !__builtin_mul_overflow(dims[i] - 1, ref.strides[i], &far) &&
               !__builtin_add_overflow(ref.last, far, &ref.last);
    }
    if (!fits || (count && ref.last >= ref.elements))
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s: tensor '%s' reaches outside its storage of %lld elements", file, name,
                        (long long)ref.elements);
    if ((uint64_t)count > *left / sizeof(float))
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s: its tensors (up to '%s') would be many times bigger than the file",
                        file, name);
    *left -= (uint64_t)count * sizeof(float);
    UpzTensor *t = upz_tensors_add(set, name, n, dims, err);
    if (!t) return err ? err->code : UPREZ_ERR_MODEL;
    t->half = elements[ref.element].half;
    ref.item = set->n - 1;
    if (!upz_grow(&state->refs, &state->cap, state->n + 1, sizeof(*state->refs), UPZ_TENSORS_MAX))
        return upz_fail_memory(err, sizeof(ref), "the list of tensors");
    state->refs[state->n++] = ref;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const UpzTorchRef *x = a, *y = b;
    uint32_t n = UPZ_MIN(x->n_key, y->n_key);
    int c = n ? memcmp(x->key, y->key, n) : 0;
    if (c) return c;
    if (x->n_key != y->n_key) return x->n_key < y->n_key ? -1 : 1;
    return x->item < y->item ? -1 : 1;
}

size_t upz_torch_next(const UpzTorchState *s, size_t i)
{
    size_t j = i + 1;
    while (j < s->n && s->refs[j].n_key == s->refs[i].n_key &&
           !memcmp(s->refs[j].key, s->refs[i].key, s->refs[i].n_key))
        j++;
    return j;
}

/* A tensor somewhere in the checkpoint, or a weight that is an object the interpreter steps over. */
typedef struct Found {
    uint32_t value;
    bool lost; /* sparse, quantised, NumPy's: left out in silence it would give another network */
} Found;

/* All of them, under the names of the dicts they lie in. */
typedef struct Walk {
    const UpzPickle *p;
    UpzLeaf *leaves;
    Found *found;
    size_t n, cap_leaves, cap_found;
    int64_t looks; /* a dict of a hostile file may hold itself under every key */
    char path[MAX_NAME];
    const char *file;
    UprezError *err;
} Walk;

/* Puts a key behind the path, which has n bytes; returns the new length, 0 when it is no name. */
static size_t put_key(Walk *w, size_t n, const UpzPickleValue *key, uint32_t index)
{
    const size_t room = sizeof(w->path) - n;
    int k = -1;
    if (!key) k = snprintf(w->path + n, room, "%u", index);
    else if (key->kind == UPZ_PICKLE_INT) k = snprintf(w->path + n, room, "%lld", (long long)key->i);
    else if (key->kind == UPZ_PICKLE_TEXT && key->n && key->n < room && !memchr(key->text, 0, key->n))
        k = snprintf(w->path + n, room, "%.*s", (int)key->n, (const char *)key->text);
    return k > 0 && (size_t)k < room ? n + (size_t)k : 0;
}

static bool ends_like_weights(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".weight") || !strcmp(dot, ".bias"));
}

static int add_leaf(Walk *w, uint32_t value, size_t inner, bool lost)
{
    if (w->n >= MAX_LEAVES) return 0;
    if (!upz_grow(&w->leaves, &w->cap_leaves, w->n + 1, sizeof(*w->leaves), MAX_LEAVES) ||
        !upz_grow(&w->found, &w->cap_found, w->n + 1, sizeof(*w->found), MAX_LEAVES))
        return upz_fail_memory(w->err, w->n * sizeof(*w->leaves), "the list of tensors");
    UpzLeaf leaf = {.name = upz_strdup(w->path), .inner = inner, .count = 1};
    if (!leaf.name) return upz_fail_memory(w->err, MAX_NAME, "a name");
    if (!lost) {
        leaf.n_dims = numbers(w->p, w->p->values[w->p->values[value].i].kids[2], leaf.dims);
        if (leaf.n_dims < 0) leaf.n_dims = 0; /* said when it is read */
        for (int i = 0; i < leaf.n_dims; i++)
            if (__builtin_mul_overflow(leaf.count, leaf.dims[i], &leaf.count)) leaf.count = INT64_MAX;
    }
    w->leaves[w->n] = leaf;
    w->found[w->n++] = (Found){value, lost};
    return 0;
}

/* inner: bytes of the path, with a dot at their end, that are the names of dicts. */
static int walk(Walk *w, uint32_t container, size_t inner, int depth)
{
    const UpzPickleValue *c = &w->p->values[container];
    const bool dict = c->kind == UPZ_PICKLE_DICT;
    if ((!dict && c->kind != UPZ_PICKLE_LIST && c->kind != UPZ_PICKLE_TUPLE) || depth > MAX_DEPTH) return 0;
    const uint32_t each = dict ? 2 : 1;
    int r = 0;
    for (uint32_t i = 0; i + each <= c->n && r >= 0; i += each) {
        if (w->looks-- <= 0) return 0;
        const uint32_t value = c->kids[i + each - 1];
        const UpzPickleValue *key = dict ? &w->p->values[c->kids[i]] : NULL, *v = &w->p->values[value];
        const bool tensor = v->kind == UPZ_PICKLE_TENSOR, lost = v->kind == UPZ_PICKLE_OPAQUE;
        const bool deeper = v->kind == UPZ_PICKLE_DICT || v->kind == UPZ_PICKLE_LIST ||
                            v->kind == UPZ_PICKLE_TUPLE;
        if (!tensor && !lost && !deeper) continue;
        const size_t n = put_key(w, inner, key, i);
        if (!n && tensor && key && key->kind == UPZ_PICKLE_TEXT)
            return upz_fail(w->err, UPREZ_ERR_MODEL, "%s: a tensor without a plain name", w->file);
        if (!n || (lost && !ends_like_weights(w->path + inner))) continue;
        if (!deeper) {
            r = add_leaf(w, value, inner, lost);
        } else if (n + 2 < sizeof(w->path)) {
            w->path[n] = '.';
            r = walk(w, value, n + 1, depth + 1);
        }
    }
    return r;
}

static void free_walk(Walk *w)
{
    for (size_t i = 0; i < w->n; i++) upz_free((char *)(uintptr_t)w->leaves[i].name);
    upz_free(w->leaves);
    upz_free(w->found);
}

static int nothing_there(const UpzPickle *p, const char *file, UprezError *err)
{
    char keys[400];
    if (p->module)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s holds a whole Python module with its code, which only the program that made it "
                        "can load; save its weights there: torch.save(net.state_dict(), …)", file);
    list_keys(p, p->root, keys, sizeof(keys));
    return upz_fail(err, UPREZ_ERR_MODEL,
                    "%s holds %s; expected named tensors, at the top or under 'params_ema', "
                    "'params', 'model' or 'state_dict'",
                    file, keys);
}

/* The tensors of the dict that place tells, with that dict's names. */
static int take_place(Walk *w, const UpzPlace *place, UpzTensorSet *set, UpzTorchState *state,
                      uint64_t budget)
{
    const char *first = place->leaf->name;
    const size_t n = place->nested ? place->prefix : place->dict;
    if (n) snprintf(set->top_key, sizeof(set->top_key), "%.*s", (int)n - 1, first);
    for (size_t i = 0; i < w->n; i++) {
        const UpzLeaf *l = &w->leaves[i];
        if (strncmp(l->name, first, n) != 0 || (!place->nested && l->inner != n)) continue;
        if (w->found[i].lost && !strncmp(l->name, first, place->prefix))
            return upz_fail(w->err, UPREZ_ERR_MODEL,
                            "%s: '%.200s' is no plain tensor (sparse, quantised or NumPy's?); save it as "
                            "floating point",
                            w->file, l->name + n);
        if (w->found[i].lost) continue;
        if (strlen(l->name + n) > 255)
            return upz_fail(w->err, UPREZ_ERR_MODEL, "%s: a tensor without a plain name", w->file);
        int r = add_tensor(w->p, w->found[i].value, l->name + n, set, state, &budget, w->file, w->err);
        if (r < 0) return r;
    }
    return 0;
}

int upz_torch_collect(const UpzPickle *p, UpzTensorSet *set, UpzTorchState *state, uint64_t budget,
                      const char *file, UprezError *err)
{
    *state = (UpzTorchState){0};
    Walk *w = upz_calloc(1, sizeof(*w));
    if (!w) return upz_fail_memory(err, sizeof(*w), "a checkpoint");
    *w = (Walk){.p = p, .looks = MAX_LOOKS, .file = file, .err = err};
    UpzPlace place;
    int r = walk(w, p->root, 0, 0);
    if (r >= 0 && !w->n) r = nothing_there(p, file, err);
    if (r >= 0) r = upz_unwrap_find(w->leaves, w->n, &place, file, err);
    if (r >= 0) r = take_place(w, &place, set, state, budget);
    free_walk(w);
    upz_free(w);
    if (r < 0)
        upz_torch_free(state);
    else
        qsort(state->refs, state->n, sizeof(*state->refs), compare);
    return r;
}

void upz_torch_free(UpzTorchState *state)
{
    upz_free(state->refs);
    *state = (UpzTorchState){0};
}

#define WIDEN(type, expr)                                                                          \
    for (size_t i = 0; i < n; i++) {                                                               \
        type v;                                                                                    \
        memcpy(&v, src + i * sizeof(v), sizeof(v));                                                \
        dst[i] = (float)(expr);                                                                    \
    }                                                                                              \
    break

void upz_widen(float *dst, const uint8_t *src, UpzElement e, size_t n)
{
    switch (e) {
    case UPZ_ELEMENT_F32:
        if (n) memcpy(dst, src, n * sizeof(float));
        break;
    case UPZ_ELEMENT_F16:
        WIDEN(uint16_t, upz_half_to_float(v));
    case UPZ_ELEMENT_BF16:
        WIDEN(uint16_t, upz_bfloat_to_float(v));
    case UPZ_ELEMENT_F64:
        WIDEN(double, v);
    case UPZ_ELEMENT_I64:
        WIDEN(int64_t, v);
    case UPZ_ELEMENT_I32:
        WIDEN(int32_t, v);
    case UPZ_ELEMENT_I16:
        WIDEN(int16_t, v);
    case UPZ_ELEMENT_I8:
        WIDEN(int8_t, v);
    case UPZ_ELEMENT_U8:
        WIDEN(uint8_t, v);
    case UPZ_ELEMENT_COUNT:
        break;
    }
}

int upz_torch_fill(const UpzTorchRef *ref, UpzTensorSet *set, const uint8_t *storage, size_t bytes,
                   const char *file, UprezError *err)
{
    UpzTensor *t = &set->items[ref->item];
    size_t size = elements[ref->element].bytes;
    if (!t->count) return 0;
    if ((uint64_t)ref->last >= bytes / size)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s: the storage of tensor '%s' has %zu bytes, too few for its shape", file,
                        t->name, bytes);
    const uint8_t *src = storage + (size_t)ref->first * size;
    int64_t want = 1;
    bool dense = true;
    for (int i = t->n_dims - 1; i >= 0; want *= t->dims[i--])
        dense &= t->dims[i] == 1 || ref->strides[i] == want;
    if (dense) {
        upz_widen(t->data, src, ref->element, (size_t)t->count);
        return 0;
    }
    int64_t at[UPZ_MAX_DIMS] = {0}, from = 0;
    for (int64_t i = 0; i < t->count; i++) {
        upz_widen(t->data + i, src + (size_t)from * size, ref->element, 1);
        for (int d = t->n_dims - 1; d >= 0; d--) {
            from += ref->strides[d];
            if (++at[d] < t->dims[d]) break;
            from -= ref->strides[d] * t->dims[d];
            at[d] = 0;
        }
    }
    return 0;
}
