/* Safetensors: 8 bytes of header length, a JSON header, then the numbers. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"
#include "model/torch_state.h"

#define MAX_VALUES (32 * UPZ_TENSORS_MAX) /* in the header; a tensor has about ten */
#define MAX_HEADER ((uint64_t)4 << 20)    /* 16384 tensors need about 2 MB */

static const struct {
    const char *name;
    UpzElement element;
} types[] = {{"F32", UPZ_ELEMENT_F32}, {"F16", UPZ_ELEMENT_F16}, {"BF16", UPZ_ELEMENT_BF16},
             {"F64", UPZ_ELEMENT_F64}, {"I64", UPZ_ELEMENT_I64}, {"I32", UPZ_ELEMENT_I32},
             {"I16", UPZ_ELEMENT_I16}, {"I8", UPZ_ELEMENT_I8},   {"U8", UPZ_ELEMENT_U8},
             {"BOOL", UPZ_ELEMENT_U8}};

static uint64_t header_size(const UpzModelFile *f)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | f->data[i];
    return n;
}

static bool probe(const UpzModelFile *f)
{
    if (f->size < 10) return false;
    return f->data[8] == '{' &&
           (!strcmp(upz_extension(f->path), "safetensors") || header_size(f) <= f->size - 8);
}

/* A JSON number that is a whole number a file of this format can mean. */
static bool whole(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > 0x1p53 ||
        floor(item->valuedouble) != item->valuedouble)
        return false;
    *out = (int64_t)item->valuedouble;
    return true;
}

static int read_one(const cJSON *item, const uint8_t *data, size_t size, size_t *left,
                    UpzTensorSet *set, const char *file, UprezError *err)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    const char *name = item->string;
    if (!cJSON_IsString(dtype) || !cJSON_IsArray(shape) || !cJSON_IsArray(offsets) || !*name ||
        strlen(name) > 255)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s: entry '%.200s' is not a tensor (dtype, shape, data_offsets)", file,
                        name);
    int t = 0;
    while (t < UPZ_COUNT(types) && strcmp(types[t].name, dtype->valuestring)) t++;
    if (t == UPZ_COUNT(types))
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s: tensor '%s' is of type '%.20s'; expected F32, F16 or BF16", file, name,
                        dtype->valuestring);
    int64_t dims[UPZ_MAX_DIMS], count = 1, begin = 0, end = 0;
    int n = 0;
    bool good = true;
    const cJSON *d;
    cJSON_ArrayForEach(d, shape)
    {
        good = good && n < UPZ_MAX_DIMS && whole(d, &dims[n]) &&
               !__builtin_mul_overflow(count, dims[n], &count);
        if (!good) break;
        n++;
    }
    size_t bytes = 0;
    good = good && whole(cJSON_GetArrayItem(offsets, 0), &begin) &&
           whole(cJSON_GetArrayItem(offsets, 1), &end) && begin <= end && (uint64_t)end <= size &&
           upz_mul_size((size_t)count, upz_element_bytes(types[t].element), &bytes) &&
           bytes == (size_t)(end - begin);
    /* tensors never overlap, so together they are no more than the file */
    if (!good || bytes > *left)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s is cut short or damaged: the shape of tensor '%s' does not match its "
                        "place in the file",
                        file, name);
    *left -= bytes;
    UpzTensor *out = upz_tensors_add(set, name, n, dims, err);
    if (!out) return err ? err->code : UPREZ_ERR_MODEL;
    out->half = types[t].element == UPZ_ELEMENT_F16 || types[t].element == UPZ_ELEMENT_BF16;
    upz_widen(out->data, data + begin, types[t].element, (size_t)count);
    return 0;
}

static int read_tensors(const UpzModelFile *f, UpzTensorSet *set, UprezError *err)
{
    snprintf(set->container, sizeof(set->container), "safetensors");
    const char *file = upz_basename(f->path);
    uint64_t header = header_size(f);
    if (header > MAX_HEADER || header > f->size - 8)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s is cut short or damaged: it claims a header of %llu bytes", file,
                        (unsigned long long)header);
    /* the parser takes some 60 bytes a value, which may be two bytes of text */
    size_t values = 0;
    for (size_t i = 0; i < header; i++)
        values += f->data[8 + i] == ',' || f->data[8 + i] == '[' || f->data[8 + i] == '{';
    if (values > MAX_VALUES)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s: its header holds %zu values; at most %d are "
                        "plausible",
                        file, values, MAX_VALUES);
    cJSON *root = cJSON_ParseWithLength((const char *)f->data + 8, (size_t)header);
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return upz_fail(err, UPREZ_ERR_MODEL, "%s: its header is not valid JSON", file);
    }
    const uint8_t *data = f->data + 8 + header;
    size_t size = f->size - 8 - (size_t)header, left = size;
    int r = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, root)
    {
        if (!strcmp(item->string, "__metadata__")) continue;
        r = read_one(item, data, size, &left, set, file, err);
        if (r < 0) break;
    }
    cJSON_Delete(root);
    if (r >= 0 && !set->n) r = upz_fail(err, UPREZ_ERR_MODEL, "%s holds no tensors", file);
    return r;
}

extern const UpzReader upz_reader_safetensors;
const UpzReader upz_reader_safetensors = {"safetensors", probe, read_tensors, NULL};
