/* safetensors: 8 bytes of length, a JSON header, the numbers. */
#include "model/write.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "model/write_bytes.h"
#include "model/write_names.h"

/* A name as JSON text. */
static void quoted(UpzBytes *b, const char *text)
{
    upz_bytes_text(b, "\"");
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
            upz_bytes_printf(b, "\\u%04x", (unsigned)(unsigned char)*p);
        else
            upz_bytes_put(b, p, 1);
    }
    upz_bytes_text(b, "\"");
}

static void header(UpzBytes *b, const UpzNames *names, const UprezModelFacts *f, bool half)
{
    upz_bytes_printf(b, "{\"__metadata__\":{\"format\":\"pt\",\"architecture\":\"%.40s\","
                     "\"scale\":\"%d\",\"written_by\":\"uprez %s\"}", names->architecture,
                     f->scale_num / f->scale_den, UPZ_VERSION);
    uint64_t offset = 0;
    for (size_t i = 0; i < names->n; i++) {
        const UpzNamed *t = &names->items[i];
        uint64_t end = offset + (uint64_t)t->count * (half ? 2 : 4);
        upz_bytes_text(b, ",");
        quoted(b, t->name);
        upz_bytes_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", half ? "F16" : "F32");
        for (int k = 0; k < t->n_dims; k++)
            upz_bytes_printf(b, k ? ",%lld" : "%lld", (long long)t->dims[k]);
        upz_bytes_printf(b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                         (unsigned long long)end);
        offset = end;
    }
    upz_bytes_text(b, "}");
    while (b->n % 8 && !b->failed) upz_bytes_text(b, " ");
}

int upz_write_safetensors_memory(const UprezModel *model, bool half, uint8_t **data, size_t *size,
                                 UprezError *err)
{
    *data = NULL;
    *size = 0;
    UpzNames names = {0};
    UpzBytes head = {0}, file = {0};
    int r = upz_write_check(model, half ? 2 : 4, err);
    if (r < 0) return r;
    r = upz_names_find(&names, model, err);
    if (!r)
        r = upz_fail(err, UPREZ_ERR_MODEL, "%s has no checkpoint form: its layers are no "
                     "SRVGGNetCompact, RRDBNet, SPAN or chain on luma, whose weights have known "
                     "names; write it as .onnx", upz_basename(model->facts.path));
    if (r > 0) {
        r = 0;
        header(&head, &names, &model->facts, half);
        upz_bytes_u64(&file, head.n);
        upz_bytes_put(&file, head.data, head.n);
        file.failed |= head.failed;
    }
    for (size_t i = 0; i < names.n && !r; i++)
        r = upz_bytes_numbers(&file, names.items[i].data, names.items[i].count, half,
                              names.items[i].name, err);
    if (!r && file.failed) r = upz_fail_memory(err, file.n, "the safetensors file");
    upz_names_free(&names);
    upz_free(head.data);
    if (r < 0) {
        upz_free(file.data);
        return r;
    }
    *data = file.data;
    *size = file.n;
    return 0;
}
