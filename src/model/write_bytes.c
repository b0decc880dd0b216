#include "model/write_bytes.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "model/model.h"

uint8_t *upz_bytes_insert(UpzBytes *b, size_t at, size_t n)
{
    if (b->failed || n > UPZ_BYTES_MAX - b->n ||
        !upz_grow(&b->data, &b->cap, b->n + n, 1, UPZ_BYTES_MAX)) {
        b->failed = true;
        return NULL;
    }
    if (at < b->n) memmove(b->data + at + n, b->data + at, b->n - at);
    b->n += n;
    return b->data + at;
}

void upz_bytes_put(UpzBytes *b, const void *data, size_t n)
{
    uint8_t *p = upz_bytes_insert(b, b->n, n);
    if (p && n) memcpy(p, data, n);
}

void upz_bytes_text(UpzBytes *b, const char *text)
{
    upz_bytes_put(b, text, strlen(text));
}

void upz_bytes_printf(UpzBytes *b, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof(text)) b->failed = true;
    else upz_bytes_put(b, text, (size_t)n);
}

static void little(UpzBytes *b, uint64_t v, size_t n)
{
    uint8_t *p = upz_bytes_insert(b, b->n, n);
    for (size_t i = 0; p && i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
}

void upz_bytes_u32(UpzBytes *b, uint32_t v) { little(b, v, 4); }
void upz_bytes_u64(UpzBytes *b, uint64_t v) { little(b, v, 8); }

uint16_t upz_float_to_half(float f)
{
    uint32_t u, sign;
    memcpy(&u, &f, sizeof(u));
    sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00);  /* not a number */
    if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and up */
    if (u >= 0x38800000) {                                 /* 2^-14 and up: a normal half */
        u += 0xfff + (u >> 13 & 1);
        return (uint16_t)(sign | (u - 0x38000000) >> 13);
    }
    /* subnormal: the addition leaves |f| / 2^-24, rounded, in the low bits */
    float a = fabsf(f) + 0.5f;
    memcpy(&u, &a, sizeof(u));
    return (uint16_t)(sign | (u - 0x3f000000));
}

int upz_bytes_numbers(UpzBytes *b, const float *v, int64_t n, bool half, const char *name,
                      UprezError *err)
{
    size_t bytes = (size_t)n * (half ? 2 : 4);
    uint8_t *p = upz_bytes_insert(b, b->n, bytes);
    if (!p) return 0; /* b->failed tells */
    for (int64_t i = 0; i < n; i++, p += half ? 2 : 4) {
        uint32_t u;
        if (half) {
            u = upz_float_to_half(v[i]);
            if ((u & 0x7c00) == 0x7c00)
                return upz_fail(err, UPREZ_ERR_MODEL, "the weights '%.100s' hold %g, which 16 bits "
                                "cannot (65504 at most); write them in 32", name, (double)v[i]);
        } else {
            memcpy(&u, &v[i], sizeof(u));
            p[2] = (uint8_t)(u >> 16), p[3] = (uint8_t)(u >> 24);
        }
        p[0] = (uint8_t)u, p[1] = (uint8_t)(u >> 8);
    }
    return 0;
}

int upz_write_check(const UprezModel *model, int width, UprezError *err)
{
    const char *name = upz_basename(model->facts.path ? model->facts.path : "the model");
    if (model->kernel != UPZ_KERNEL_NONE)
        return upz_fail(err, UPREZ_ERR_MODEL, "'%s' is a resampling kernel, not a network: there "
                        "are no weights to write", name);
    if (model->foreign[0])
        return upz_fail(err, UPREZ_ERR_MODEL, "%s can only be run by its own runtime (%s), not "
                        "written in another form: %s", name, model->foreign,
                        model->foreign_why ? model->foreign_why : "its layers are not known");
    int64_t count = 0;
    for (size_t i = 0; i < model->graph.n_tensors; i++) count += model->graph.tensors[i].count;
    if ((uint64_t)count > (UPZ_BYTES_MAX - (1 << 24)) / (unsigned)width)
        return upz_fail(err, UPREZ_ERR_MODEL, "%s has %lld weights; a file of more than 2 GB is not "
                        "written", name, (long long)count);
    return 0;
}
