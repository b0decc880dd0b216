/* Memory with checked sizes. Outside src/base nothing calls malloc, calloc, realloc or free. */
#ifndef UPZ_ALLOC_H
#define UPZ_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

#define UPZ_PAD 64 /* bytes behind a upz_alloc_aligned() block that kernels may over-read */

/* *out = a * b; false (and *out untouched) on overflow. */
static inline bool upz_mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
static inline bool upz_add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* n * size zeroed bytes; NULL when out of memory or on overflow. n * size of 0 gives a block too. */
void *upz_calloc(size_t n, size_t size);
/* Keeps ptr valid on failure. New bytes are not initialised. */
void *upz_realloc(void *ptr, size_t n, size_t size);
/* 64-byte aligned, not initialised, UPZ_PAD readable bytes behind. Free with upz_free_aligned. Blocks of
 * several MiB lie on huge pages where the system has them: rows of maps spread over many pages. */
void *upz_alloc_aligned(size_t bytes);
void upz_free(void *ptr);
void upz_free_aligned(void *ptr);
char *upz_strdup(const char *s);
char *upz_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A growable array: upz_grow(&a->items, &a->cap, a->n + 1, sizeof(*a->items), max) ensures room for
 * `need` items. false when out of memory or need > max. */
bool upz_grow(void *items_ptr, size_t *cap, size_t need, size_t item, size_t max);

#endif
