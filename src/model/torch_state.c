#include "model/torch_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "model/model.h"

/* Where trainers put the weights, the best first: averaged weights give the better pictures. */
static const char *const top_keys[] = {
    "params_ema", "params-ema", "ema", "model_ema", "ema_model", "net_g_ema", "generator_ema",
    "params", "net_g", "netG", "generator", "gen", "G", "g", "model", "model_state_dict", "state_dict",
    "net", "network", "weights", "module"};
#define MAX_DEPTH 4
#define MAX_LOOKS ((int64_t)1 << 26)

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

static bool has_tensor(const UpzPickle *p, uint32_t dict)
{
    const UpzPickleValue *d = &p->values[dict];
    if (d->kind != UPZ_PICKLE_DICT) return false;
    for (uint32_t i = 1; i < d->n; i += 2)
        if (p->values[d->kids[i]].kind == UPZ_PICKLE_TENSOR) return true;
    return false;
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

/* Goes down into *dict to the dict that holds the weights; top: the keys on the way, with dots. *left
 * bounds the entries looked at: a dict of a hostile file may hold itself under every key. */
static bool find_weights(const UpzPickle *p, uint32_t *dict, char *top, size_t size, int depth,
                         int64_t *left)
{
    size_t at = strlen(top);
    for (int i = 0; i < UPZ_COUNT(top_keys) && depth < MAX_DEPTH; i++) {
        uint32_t found;
        *left -= p->values[*dict].n + 1;
        if (*left < 0) return false;
        if (!upz_pickle_get(p, *dict, top_keys[i], &found)) continue;
        snprintf(top + at, size - at, "%s%s", at ? "." : "", top_keys[i]);
        if (find_weights(p, &found, top, size, depth + 1, left)) {
            *dict = found;
            return true;
        }
        top[at] = 0;
    }
    return has_tensor(p, *dict);
}

/* A layer's weight or bias that is an object the interpreter steps over: sparse, quantised, NumPy's. Left
 * out in silence, it would give another network. */
static bool is_lost_weight(const UpzPickle *p, uint32_t key, uint32_t value)
{
    const UpzPickleValue *k = &p->values[key];
    if (k->kind != UPZ_PICKLE_TEXT || p->values[value].kind != UPZ_PICKLE_OPAQUE) return false;
    static const char *const endings[] = {".weight", ".bias"};
    for (int i = 0; i < UPZ_COUNT(endings); i++) {
        size_t n = strlen(endings[i]);
        if (k->n > n && !memcmp(k->text + k->n - n, endings[i], n)) return true;
    }
    return false;
}

int upz_torch_collect(const UpzPickle *p, UpzTensorSet *set, UpzTorchState *state, uint64_t budget,
                      const char *file, UprezError *err)
{
    *state = (UpzTorchState){0};
    uint32_t dict = p->root;
    int64_t left = MAX_LOOKS;
    find_weights(p, &dict, set->top_key, sizeof(set->top_key), 0, &left);
    if (!has_tensor(p, dict)) {
        char keys[400];
        list_keys(p, dict, keys, sizeof(keys));
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s holds %s; expected named tensors, at the top or under 'params_ema', "
                        "'params', 'model' or 'state_dict'",
                        file, keys);
    }
    const UpzPickleValue *d = &p->values[dict];
    int r = 0;
    for (uint32_t i = 0; i + 1 < d->n && r >= 0; i += 2) {
        const UpzPickleValue *k = &p->values[d->kids[i]];
        if (is_lost_weight(p, d->kids[i], d->kids[i + 1])) {
            r = upz_fail(err, UPREZ_ERR_MODEL,
                         "%s: '%.*s' is no plain tensor (sparse, quantised or NumPy's?); save it as "
                         "floating point",
                         file, (int)UPZ_MIN(k->n, 200u), (const char *)k->text);
            break;
        }
        if (p->values[d->kids[i + 1]].kind != UPZ_PICKLE_TENSOR) continue;
        char name[256];
        if (k->kind != UPZ_PICKLE_TEXT || !k->n || k->n >= sizeof(name) ||
            memchr(k->text, 0, k->n)) {
            r = upz_fail(err, UPREZ_ERR_MODEL, "%s: a tensor without a plain name", file);
            break;
        }
        memcpy(name, k->text, k->n);
        name[k->n] = 0;
        r = add_tensor(p, d->kids[i + 1], name, set, state, &budget, file, err);
    }
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
