/* One float as a vector of one: the definition that the other levels must equal bit for bit. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/cpu/bf16.h"

#define W 1
#define SUF(name) name##_c
#define LEVEL UPZ_CPU_C
typedef float V;

static inline V vload(const float *p) { return *p; }
static inline void vstore(float *p, V a) { *p = a; }
static inline V vset1(float a) { return a; }
static inline V vadd(V a, V b) { return a + b; }
static inline V vsub(V a, V b) { return a - b; }
static inline V vmul(V a, V b) { return a * b; }
static inline V vdiv(V a, V b) { return a / b; }
static inline V vfma(V a, V b, V c) { return fmaf(a, b, c); }
static inline V vfnma(V a, V b, V c) { return fmaf(-a, b, c); }
/* the second operand when one is NaN, as the x86 instructions do */
static inline V vmin(V a, V b) { return a < b ? a : b; }
static inline V vmax(V a, V b) { return a > b ? a : b; }
static inline V vleaky(V x, V s) { return x < 0 ? x * s : x; }
static inline V vsign(V x, V sign) { return copysignf(x, sign); }
/* 2^n from n + 1.5 * 2^23 */
static inline V vpow2(V magic)
{
    uint32_t i;
    memcpy(&i, &magic, 4);
    i = (i << 23) + 0x3f800000u;
    memcpy(&magic, &i, 4);
    return magic;
}
static inline V vload_bf16(const uint16_t *p)
{
    const uint32_t i = (uint32_t)*p << 16;
    float a;
    memcpy(&a, &i, 4);
    return a;
}
static inline void vstore_bf16(uint16_t *p, V a)
{
    *p = upz_bf16(a);
}
static inline V vload_int32(const int32_t *p) { return (float)*p; }
/* To the nearest, halves to even; what is below -128 becomes -128, what is above 127, or NaN, 127. */
static inline void vstore_int8(int8_t *p, V a)
{
    *p = (int8_t)(a <= -128 ? -128 : a < 127 ? lrintf(a) : 127);
}
/* a and b to p and 16 behind it, c and d to q; all of them below 2^31 in size */
static inline void vstore_int8_twice(int8_t *p, int8_t *q, V a, V b, V c, V d)
{
    vstore_int8(p, a), vstore_int8(p + 16, b), vstore_int8(q, c), vstore_int8(q + 16, d);
}
