#include "engine/tensor/half.h"

#include <string.h>

#include "model/graph.h"

static uint16_t pack(float value)
{
    uint32_t u;
    memcpy(&u, &value, sizeof(u));
    const uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x47800000) return (uint16_t)(sign | 0x7c00);
    uint32_t shift, m, h;
    if (a >= 0x38800000) { /* normal: the exponent's bias goes from 127 to 15 */
        shift = 13;
        m = a - 0x38000000;
    } else {
        if (a < 0x33000000) return (uint16_t)sign; /* at most half of the smallest */
        shift = 126 - (a >> 23);
        m = (a & 0x7fffff) | 0x800000;
    }
    h = m >> shift;
    const uint32_t rest = m & ((1u << shift) - 1), middle = 1u << (shift - 1);
    if (rest > middle || (rest == middle && (h & 1))) h++; /* may carry into the exponent: right */
    return (uint16_t)(sign | h);
}

void upz_half_pack(uint16_t *dst, const float *src, size_t n, UpzCpuLevel cpu)
{
#if defined(__x86_64__)
    if (cpu >= UPZ_CPU_AVX2) {
        upz_half_pack_avx2(dst, src, n);
        return;
    }
#else
    (void)cpu;
#endif
    for (size_t i = 0; i < n; i++) dst[i] = pack(src[i]);
}

void upz_half_unpack(float *dst, const uint16_t *src, size_t n, UpzCpuLevel cpu)
{
#if defined(__x86_64__)
    if (cpu >= UPZ_CPU_AVX2) {
        upz_half_unpack_avx2(dst, src, n);
        return;
    }
#else
    (void)cpu;
#endif
    for (size_t i = 0; i < n; i++) dst[i] = upz_half_to_float(src[i]);
}
