/* The upper half of a float. */
#ifndef UPZ_CPU_BF16_H
#define UPZ_CPU_BF16_H

#include <stdint.h>
#include <string.h>

/* The nearest bf16, halves to even; what is denormal becomes a zero of its sign, NaN a quiet NaN, as the
 * processors' instructions have it. */
static inline uint16_t upz_bf16(float x)
{
    uint32_t i;
    memcpy(&i, &x, sizeof(i));
    const uint32_t size = i & 0x7fffffff;
    return (uint16_t)(size > 0x7f800000   ? i >> 16 | 0x40 /* NaN */
                      : size < 0x00800000 ? i >> 16 & 0x8000
                                          : (i + 0x7fff + (i >> 16 & 1)) >> 16);
}

#endif
