/* Bytes being put together for a file: a growable buffer that remembers its first failure, so a
 * writer checks once at the end. */
#ifndef UPZ_WRITE_BYTES_H
#define UPZ_WRITE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"
#include "graph.h"

#define UPZ_BYTES_MAX ((size_t)INT32_MAX) /* of a file we write: protobuf can hold no more */

typedef struct UpzBytes {
    uint8_t *data; /* upz_free */
    size_t n, cap;
    bool failed;   /* out of memory, or more than UPZ_BYTES_MAX */
} UpzBytes;

void upz_bytes_put(UpzBytes *b, const void *data, size_t n);
void upz_bytes_text(UpzBytes *b, const char *text);
void upz_bytes_printf(UpzBytes *b, const char *fmt, ...) UPZ_PRINTF(2, 3);
void upz_bytes_u32(UpzBytes *b, uint32_t v); /* little endian */
void upz_bytes_u64(UpzBytes *b, uint64_t v);
/* Makes room for n bytes at offset `at`, moving what is behind it. NULL when it failed. */
uint8_t *upz_bytes_insert(UpzBytes *b, size_t at, size_t n);

/* To the nearest IEEE half, ties to even; beyond 65504 by half a step or more: infinity. */
uint16_t upz_float_to_half(float f);
/* n numbers as little-endian fp32 or fp16. A number that no half can hold is UPREZ_ERR_MODEL;
 * name: whose, for the sentence. */
int upz_bytes_numbers(UpzBytes *b, const float *v, int64_t n, bool half, const char *name,
                      UprezError *err);

/* Refuses a model without a graph of ours, and one whose weights, `width` bytes each, exceed
 * UPZ_BYTES_MAX. */
struct UprezModel;
int upz_write_check(const struct UprezModel *model, int width, UprezError *err);

#endif
