/* Named tensors, and 16-bit floats widened. */
#include <string.h>

#include "base/alloc.h"
#include "model/graph.h"
#include "model/model.h"

#define MAX_COUNT ((int64_t)1 << 30)

const UpzTensor *upz_tensors_find(const UpzTensorSet *set, const char *name)
{
    for (size_t i = 0; i < set->n; i++)
        if (!strcmp(set->items[i].name, name)) return &set->items[i];
    return NULL;
}

UpzTensor *upz_tensors_add(UpzTensorSet *set, const char *name, int n_dims, const int64_t *dims,
                           UprezError *err)
{
    int64_t count = 1;
    bool plausible = n_dims >= 0 && n_dims <= UPZ_MAX_DIMS;
    for (int i = 0; i < n_dims && plausible; i++)
        plausible = dims[i] >= 0 && dims[i] <= MAX_COUNT &&
                    !__builtin_mul_overflow(count, dims[i], &count) && count <= MAX_COUNT;
    if (!plausible) {
        upz_fail(err, UPREZ_ERR_MODEL, "tensor '%.200s' has an implausible shape", name);
        return NULL;
    }
    if (set->n >= UPZ_TENSORS_MAX) {
        upz_fail(err, UPREZ_ERR_MODEL, "more than %d tensors; a super-resolution network has fewer",
                 UPZ_TENSORS_MAX);
        return NULL;
    }
    UpzTensor t = {.n_dims = n_dims, .count = count};
    for (int i = 0; i < n_dims; i++) t.dims[i] = dims[i];
    t.name = upz_strdup(name);
    t.data = upz_alloc_aligned((size_t)count * sizeof(float));
    if (!t.name || !t.data ||
        !upz_grow(&set->items, &set->cap, set->n + 1, sizeof(*set->items), UPZ_TENSORS_MAX)) {
        upz_fail_memory(err, (unsigned long long)count * sizeof(float), "a tensor");
        upz_free(t.name);
        upz_free_aligned(t.data);
        return NULL;
    }
    set->items[set->n] = t;
    return &set->items[set->n++];
}

void upz_tensors_free(UpzTensorSet *set)
{
    for (size_t i = 0; i < set->n; i++) {
        upz_free(set->items[i].name);
        upz_free_aligned(set->items[i].data);
    }
    upz_free(set->items);
    *set = (UpzTensorSet){0};
}

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

float upz_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float f = (float)fraction * 0x1p-24f; /* subnormal or zero: exact in fp32 */
    return sign ? -f : f;
}

float upz_bfloat_to_float(uint16_t b)
{
    return from_bits((uint32_t)b << 16);
}
