/* Resampling, level avx2. */
#ifndef __AVX2__
#error "this file needs the flags of the avx2 level"
#endif
#include <immintrin.h>

#include "base/compiler.h"

#define V16 __m256i
UPZ_INLINE V16 v16_load(const int16_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
UPZ_INLINE void v16_store(void *p, V16 v) { _mm256_storeu_si256((__m256i *)p, v); }
UPZ_INLINE V16 v16_set(int16_t x) { return _mm256_set1_epi16(x); }
UPZ_INLINE V16 v16_add(V16 a, V16 b) { return _mm256_add_epi16(a, b); }
UPZ_INLINE V16 v16_mulhrs(V16 a, V16 b) { return _mm256_mulhrs_epi16(a, b); }
UPZ_INLINE V16 v16_min(V16 a, V16 b) { return _mm256_min_epi16(a, b); }
UPZ_INLINE V16 v16_max(V16 a, V16 b) { return _mm256_max_epi16(a, b); }
UPZ_INLINE V16 v16_sra(V16 a, int by) { return _mm256_sra_epi16(a, _mm_cvtsi32_si128(by)); }
UPZ_INLINE V16 v16_sll(V16 a, int by) { return _mm256_sll_epi16(a, _mm_cvtsi32_si128(by)); }
/* both to bytes, in order */
UPZ_INLINE V16 v16_pack(V16 a, V16 b)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xd8);
}

#include "picture/resize_tmpl.h"

UPZ_INLINE __m256i windows(const uint8_t *a, const uint8_t *b)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)a)),
        _mm_loadu_si128((const __m128i *)(const void *)b), 1);
}

/* 8 outputs: half h of block m, whose period begins at `at`. */
UPZ_INLINE __m256i half_block(const UpzAcross *a, const uint8_t *at, int bytes, int m, int h,
                              int pairs, __m256i round)
{
    const int32_t *first = a->first + m * 4;
    const uint8_t *s0 = at + (ptrdiff_t)first[a->one_block ? 0 : h * 2] * bytes;
    const uint8_t *s1 = at + (ptrdiff_t)first[a->one_block ? 0 : h * 2 + 1] * bytes;
    const uint8_t *shuffle = a->shuffle + m * pairs * 64 + h * 32;
    const int16_t *fixed = a->fixed + m * pairs * 32 + h * 16;
    __m256i sum = round, w = windows(s0, s1);
    int left = a->per_window;
    for (int p = 0; p < pairs; p++, shuffle += 64, fixed += 32) {
        if (!left--) {
            w = windows(s0 + 2 * p * bytes, s1 + 2 * p * bytes);
            left = a->per_window - 1;
        }
        __m256i x = _mm256_shuffle_epi8(
            w, _mm256_loadu_si256((const __m256i *)(const void *)shuffle));
        __m256i c = _mm256_loadu_si256((const __m256i *)(const void *)fixed);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, c));
    }
    return sum;
}

/* Outputs two samples apart: 8 outputs' pairs are 16 samples as they lie in memory. */
UPZ_INLINE __m256i half_halving(const UpzAcross *a, const uint8_t *s, int bytes,
                                const int16_t *fixed, __m256i sum)
{
    for (int p = 0; p < a->pairs; p++, s += 2 * bytes, fixed += 32) {
        __m256i x = bytes == 2 ? _mm256_loadu_si256((const __m256i *)(const void *)s)
                               : _mm256_cvtepu8_epi16(
                                     _mm_loadu_si128((const __m128i *)(const void *)s));
        __m256i c = _mm256_loadu_si256((const __m256i *)(const void *)fixed);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, c));
    }
    return sum;
}

static void halving_row(const UpzAcross *a, const uint8_t *src, int bytes, int origin, int b0,
                        int b1, int shift, int16_t *dst)
{
    __m256i round = _mm256_set1_epi32(1 << shift >> 1);
    __m128i by = _mm_cvtsi32_si128(shift);
    for (int b = b0; b < b1; b++, dst += UPZ_BLOCK) {
        int m = b % a->blocks, at = b / a->blocks * a->advance - origin + a->first[m * 4];
        const uint8_t *s = src + (ptrdiff_t)at * bytes;
        const int16_t *fixed = a->fixed + m * a->pairs * 32;
        __m256i x = half_halving(a, s, bytes, fixed, round);
        __m256i y = half_halving(a, s + 16 * bytes, bytes, fixed + 16, round);
        x = _mm256_packs_epi32(_mm256_sra_epi32(x, by), _mm256_sra_epi32(y, by));
        _mm256_storeu_si256((__m256i *)(void *)dst, _mm256_permute4x64_epi64(x, 0xd8));
    }
}

UPZ_INLINE void fixed_row(const UpzAcross *a, const uint8_t *src, int bytes, int origin, int b0,
                          int b1, int shift, int pairs, int16_t *dst)
{
    __m256i round = _mm256_set1_epi32(1 << shift >> 1);
    __m128i by = _mm_cvtsi32_si128(shift);
    int m = b0 % a->blocks;
    const uint8_t *at = src + (ptrdiff_t)(b0 / a->blocks * a->advance - origin) * bytes;
    for (int b = b0; b < b1; b++, dst += UPZ_BLOCK) {
        __m256i x = _mm256_sra_epi32(half_block(a, at, bytes, m, 0, pairs, round), by);
        __m256i y = _mm256_sra_epi32(half_block(a, at, bytes, m, 1, pairs, round), by);
        x = _mm256_permute4x64_epi64(_mm256_packs_epi32(x, y), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)dst, x);
        if (++m == a->blocks) {
            m = 0;
            at += (ptrdiff_t)a->advance * bytes;
        }
    }
}

static void across_fixed(const UpzAcross *a, const void *src, int sample_bytes, int origin, int b0,
                         int b1, int shift, int16_t *dst)
{
    if (a->halving)
        halving_row(a, src, sample_bytes, origin, b0, b1, shift, dst);
    else if (a->pairs == 3 && sample_bytes == 1)
        fixed_row(a, src, 1, origin, b0, b1, shift, 3, dst);
    else if (a->pairs == 2 && sample_bytes == 1)
        fixed_row(a, src, 1, origin, b0, b1, shift, 2, dst);
    else
        fixed_row(a, src, sample_bytes, origin, b0, b1, shift, a->pairs, dst);
}

static void across_float(const UpzAcross *a, const float *src, int origin, int b0, int b1,
                         float *dst)
{
    int m = b0 % a->blocks, at = b0 / a->blocks * a->advance - origin;
    for (int b = b0; b < b1; b++, dst += UPZ_BLOCK) {
        for (int h = 0; h < 2; h++) {
            const float *s = src + at + a->first[m * 4];
            const float *w = a->weight + m * a->n * UPZ_BLOCK + h * 8;
            __m256i index = _mm256_loadu_si256(
                (const __m256i *)(const void *)(a->index + m * UPZ_BLOCK + h * 8));
            int start = a->index[m * UPZ_BLOCK + h * 8];
            __m256 sum = _mm256_setzero_ps();
            if (a->index[m * UPZ_BLOCK + h * 8 + 7] - start < 8) {
                s += start;
                index = _mm256_sub_epi32(index, _mm256_set1_epi32(start));
                for (int k = 0; k < a->n; k++) {
                    __m256 x = _mm256_permutevar8x32_ps(_mm256_loadu_ps(s + k), index);
                    x = _mm256_mul_ps(x, _mm256_loadu_ps(w + k * UPZ_BLOCK));
                    sum = k ? _mm256_add_ps(sum, x) : x;
                }
            } else {
                for (int k = 0; k < a->n; k++) {
                    __m256 x = _mm256_i32gather_ps(s + k, index, 4);
                    x = _mm256_mul_ps(x, _mm256_loadu_ps(w + k * UPZ_BLOCK));
                    sum = k ? _mm256_add_ps(sum, x) : x;
                }
            }
            _mm256_storeu_ps(dst + h * 8, sum);
        }
        if (++m == a->blocks) {
            m = 0;
            at += a->advance;
        }
    }
}

const UpzResizeDSP upz_resize_avx2 = {across_fixed, across_float, down_u8, down_u16,
                                      down_float, load_float, finish};
