/* A block of bytes that grows, and numbers in either order. Used inside this room only. */
#ifndef UPZ_BYTES_H
#define UPZ_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/alloc.h"

typedef struct UpzBytes {
    uint8_t *d; /* upz_free */
    size_t n, cap;
    bool no_memory;
} UpzBytes;

static inline bool upz_put(UpzBytes *b, const void *d, size_t n)
{
    size_t need;
    if (!upz_add_size(b->n, n, &need) || !upz_grow(&b->d, &b->cap, need, 1, SIZE_MAX / 2)) {
        b->no_memory = true;
        return false;
    }
    if (n) memcpy(b->d + b->n, d, n);
    b->n = need;
    return true;
}

static inline uint32_t upz_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint32_t upz_le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}
static inline void upz_set_be(uint8_t *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}
static inline void upz_set_le(uint8_t *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> (8 * i));
}
static inline bool upz_put_be32(UpzBytes *b, uint32_t v)
{
    uint8_t p[4];
    upz_set_be(p, v, 4);
    return upz_put(b, p, 4);
}

#endif
