/* Resampling, level avx512vnni: across a row with one permutation of bytes a pair of taps. */
#ifndef __AVX512VNNI__
#error "this file needs the flags of the avx512vnni level"
#endif
#include <immintrin.h>

#include "base/compiler.h"
#include "picture/resize_dsp.h"

/* 16 of a unit's outputs. Products and sums of pairs as in the other levels, none can overflow. */
UPZ_INLINE __m512i vector(__m512i window, const __m512i *bytes, const __m512i *fixed, int width,
                          int pairs, __m512i sum)
{
    for (int p = 0; p < pairs; p++) {
        __m512i x = width == 2 ? _mm512_permutexvar_epi8(bytes[p], window)
                               : _mm512_maskz_permutexvar_epi8(0x5555555555555555, bytes[p], window);
        sum = _mm512_dpwssd_epi32(sum, x, fixed[p]);
    }
    return sum;
}

UPZ_INLINE void unit(const uint8_t *at, const __m512i *bytes, const __m512i *fixed, int width,
                     int pairs, __m512i round, __m128i by, int16_t *dst)
{
    __m512i window = _mm512_loadu_si512(at);
    __m512i x = vector(window, bytes, fixed, width, pairs, round);
    __m512i y = vector(window, bytes + pairs, fixed + pairs, width, pairs, round);
    x = _mm512_packs_epi32(_mm512_sra_epi32(x, by), _mm512_sra_epi32(y, by));
    _mm512_storeu_si512(dst, x);
}

/* width and pairs are constants where speed counts. */
UPZ_INLINE void row(const UpzAcross *a, const uint8_t *src, int width, int origin, int u0, int u1,
                    int shift, int pairs, int16_t *dst)
{
    __m512i round = _mm512_set1_epi32(1 << shift >> 1);
    __m128i by = _mm_cvtsi32_si128(shift);
    const __m512i *bytes = (const __m512i *)(const void *)a->unit_bytes;
    const __m512i *fixed = (const __m512i *)(const void *)a->unit_fixed;
    int m = u0 % a->units;
    const uint8_t *at = src + (ptrdiff_t)(u0 / a->units * a->unit_advance - origin) * width;
    ptrdiff_t advance = (ptrdiff_t)a->unit_advance * width;
    for (int u = u0; u < u1; u++, dst += 2 * UPZ_BLOCK) {
        const uint8_t *first = at + (ptrdiff_t)a->unit_first[m] * width;
        unit(first, bytes + m * 2 * pairs, fixed + m * 2 * pairs, width, pairs, round, by, dst);
        if (++m == a->units) {
            m = 0;
            at += advance;
        }
    }
}

/* The same when every unit has the same tables, as for whole factors: they stay in registers. */
UPZ_INLINE void row1(const UpzAcross *a, const uint8_t *src, int width, int origin, int u0, int u1,
                     int shift, int pairs, int16_t *dst)
{
    __m512i round = _mm512_set1_epi32(1 << shift >> 1), bytes[6], fixed[6];
    __m128i by = _mm_cvtsi32_si128(shift);
    ptrdiff_t advance = (ptrdiff_t)a->unit_advance * width;
    const uint8_t *at = src + u0 * advance + (ptrdiff_t)(a->unit_first[0] - origin) * width;
    for (int p = 0; p < 2 * pairs; p++) {
        bytes[p] = _mm512_loadu_si512(a->unit_bytes + p * 64);
        fixed[p] = _mm512_loadu_si512(a->unit_fixed + p * 32);
    }
    for (int u = u0; u < u1; u++, at += advance, dst += 2 * UPZ_BLOCK)
        unit(at, bytes, fixed, width, pairs, round, by, dst);
}

UPZ_INLINE void any(const UpzAcross *a, const uint8_t *src, int width, int origin, int u0, int u1,
                    int shift, int16_t *dst)
{
    switch (a->pairs * 2 + (a->units == 1)) {
    case 2 * 2 + 1: row1(a, src, width, origin, u0, u1, shift, 2, dst); return;
    case 3 * 2 + 1: row1(a, src, width, origin, u0, u1, shift, 3, dst); return;
    case 2 * 2: row(a, src, width, origin, u0, u1, shift, 2, dst); return;
    case 3 * 2: row(a, src, width, origin, u0, u1, shift, 3, dst); return;
    }
    row(a, src, width, origin, u0, u1, shift, a->pairs, dst);
}

void upz_resize_across_units(const UpzAcross *a, const void *src, int sample_bytes, int origin,
                             int b0, int b1, int shift, int16_t *dst)
{
    if (sample_bytes == 1)
        any(a, src, 1, origin, b0 / 2, (b1 + 1) / 2, shift, dst);
    else
        any(a, src, 2, origin, b0 / 2, (b1 + 1) / 2, shift, dst);
}
