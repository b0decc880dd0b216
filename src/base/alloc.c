#include "base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define HUGE_PAGE ((size_t)2 << 20)

void *upz_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (!upz_mul_size(n, size, &bytes)) return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *upz_realloc(void *ptr, size_t n, size_t size)
{
    size_t bytes;
    if (!upz_mul_size(n, size, &bytes)) return NULL;
    return realloc(ptr, bytes ? bytes : 1);
}

void *upz_alloc_aligned(size_t bytes)
{
    size_t padded;
    if (!upz_add_size(bytes, UPZ_PAD + 63, &padded)) return NULL;
    padded &= ~(size_t)63;
    const bool large = padded >= 2 * HUGE_PAGE;
    void *p = NULL;
    if (posix_memalign(&p, large ? HUGE_PAGE : 64, padded)) return NULL;
#ifdef MADV_HUGEPAGE
    /* Whole pages only, so that no more memory is taken. A refusal changes nothing but the speed. */
    if (large) madvise(p, padded / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return p;
}

void upz_free(void *ptr) { free(ptr); }
void upz_free_aligned(void *ptr) { free(ptr); }

char *upz_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *d = upz_calloc(n, 1);
    return d ? memcpy(d, s, n) : NULL;
}

char *upz_asprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = NULL;
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : s;
}

bool upz_grow(void *items_ptr, size_t *cap, size_t need, size_t item, size_t max)
{
    if (need > max) return false;
    if (need <= *cap) return true;
    size_t next = *cap ? *cap + *cap / 2 : 8;
    if (next < need) next = need;
    if (next > max) next = max;
    void *old;
    memcpy(&old, items_ptr, sizeof(old));
    void *p = upz_realloc(old, next, item);
    if (!p) return false;
    memcpy(items_ptr, &p, sizeof(p));
    *cap = next;
    return true;
}
