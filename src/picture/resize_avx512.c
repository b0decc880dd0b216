/* Resampling, level avx512. */
#ifndef __AVX512BW__
#error "this file needs the flags of the avx512 level"
#endif
#include <immintrin.h>
#include <string.h>

#include "base/compiler.h"

#define V16 __m512i
UPZ_INLINE V16 v16_load(const int16_t *p) { return _mm512_loadu_si512(p); }
UPZ_INLINE void v16_store(void *p, V16 v) { _mm512_storeu_si512(p, v); }
UPZ_INLINE V16 v16_set(int16_t x) { return _mm512_set1_epi16(x); }
UPZ_INLINE V16 v16_add(V16 a, V16 b) { return _mm512_add_epi16(a, b); }
UPZ_INLINE V16 v16_mulhrs(V16 a, V16 b) { return _mm512_mulhrs_epi16(a, b); }
UPZ_INLINE V16 v16_min(V16 a, V16 b) { return _mm512_min_epi16(a, b); }
UPZ_INLINE V16 v16_max(V16 a, V16 b) { return _mm512_max_epi16(a, b); }
UPZ_INLINE V16 v16_sra(V16 a, int by) { return _mm512_sra_epi16(a, _mm_cvtsi32_si128(by)); }
UPZ_INLINE V16 v16_sll(V16 a, int by) { return _mm512_sll_epi16(a, _mm_cvtsi32_si128(by)); }
/* both to bytes, in order */
UPZ_INLINE V16 v16_pack(V16 a, V16 b)
{
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7),
                                    _mm512_packus_epi16(a, b));
}

#include "picture/resize_tmpl.h"

UPZ_INLINE __m128i load16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

UPZ_INLINE __m512i windows(const uint8_t *const s[4], int skip)
{
    __m512i w = _mm512_castsi128_si512(load16(s[0] + skip));
    w = _mm512_inserti32x4(w, load16(s[1] + skip), 1);
    w = _mm512_inserti32x4(w, load16(s[2] + skip), 2);
    return _mm512_inserti32x4(w, load16(s[3] + skip), 3);
}

/* 32 outputs' 32-bit sums to 16 bits. */
UPZ_INLINE __m512i narrow(__m512i x, __m512i y, __m128i by)
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    x = _mm512_packs_epi32(_mm512_sra_epi32(x, by), _mm512_sra_epi32(y, by));
    return _mm512_permutexvar_epi64(order, x);
}

/* One block's sums. */
UPZ_INLINE __m512i fixed_block(const uint8_t *at, const int32_t *first, const __m512i *shuffle,
                               const __m512i *fixed, int bytes, int pairs, int per_window,
                               bool one_block, __m512i sum)
{
    const uint8_t *s[4];
    for (int g = 0; g < (one_block ? 1 : 4); g++) s[g] = at + (ptrdiff_t)first[g] * bytes;
    __m512i w = _mm512_setzero_si512();
    if (one_block) w = _mm512_broadcast_i32x4(load16(s[0]));
    for (int p = 0; p < pairs; p++) {
        if (!one_block && p % per_window == 0) w = windows(s, 2 * p * bytes);
        __m512i x = _mm512_shuffle_epi8(w, shuffle[p]);
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(x, fixed[p]));
    }
    return sum;
}

/* bytes, pairs, per_window and one_block are constants where speed counts. */
UPZ_INLINE void fixed_row(const UpzAcross *a, const uint8_t *src, int bytes, int origin, int b0,
                          int b1, int shift, int pairs, int per_window, bool one_block,
                          int16_t *dst)
{
    __m512i round = _mm512_set1_epi32(1 << shift >> 1), sum = round;
    __m128i by = _mm_cvtsi32_si128(shift);
    int m = b0 % a->blocks;
    const uint8_t *at = src + (ptrdiff_t)(b0 / a->blocks * a->advance - origin) * bytes;
    ptrdiff_t advance = (ptrdiff_t)a->advance * bytes;
    const __m512i *shuffle = (const __m512i *)(const void *)a->shuffle;
    const __m512i *fixed = (const __m512i *)(const void *)a->fixed;
    for (int b = b0; b < b1; b++) {
        __m512i x = fixed_block(at, a->first + m * 4, shuffle + m * pairs, fixed + m * pairs,
                                bytes, pairs, per_window, one_block, round);
        if ((b - b0) % 2 == 0) {
            sum = x;
        } else {
            _mm512_storeu_si512(dst, narrow(sum, x, by));
            dst += 2 * UPZ_BLOCK;
        }
        if (++m == a->blocks) {
            m = 0;
            at += advance;
        }
    }
    if ((b1 - b0) % 2)
        _mm256_storeu_si256((__m256i *)(void *)dst,
                            _mm512_castsi512_si256(narrow(sum, sum, by)));
}

/* The same when every block has the same tables, as for whole factors: they stay in registers. */
UPZ_INLINE void fixed_row1(const UpzAcross *a, const uint8_t *src, int bytes, int origin, int b0,
                           int b1, int shift, int pairs, int per_window, bool one_block,
                           int16_t *dst)
{
    __m512i round = _mm512_set1_epi32(1 << shift >> 1), shuffle[4], fixed[4];
    __m128i by = _mm_cvtsi32_si128(shift);
    ptrdiff_t advance = (ptrdiff_t)a->advance * bytes;
    const uint8_t *at = src + b0 * advance - (ptrdiff_t)origin * bytes;
    int32_t first[4];
    memcpy(first, a->first, sizeof(first));
    for (int p = 0; p < pairs; p++) {
        shuffle[p] = _mm512_loadu_si512(a->shuffle + p * 64);
        fixed[p] = _mm512_loadu_si512(a->fixed + p * 32);
    }
    int b = b0;
    for (; b + 2 <= b1; b += 2, dst += 2 * UPZ_BLOCK, at += 2 * advance) {
        __m512i x = fixed_block(at, first, shuffle, fixed, bytes, pairs, per_window, one_block,
                                round);
        __m512i y = fixed_block(at + advance, first, shuffle, fixed, bytes, pairs, per_window,
                                one_block, round);
        _mm512_storeu_si512(dst, narrow(x, y, by));
    }
    if (b == b1) return;
    __m512i x = fixed_block(at, first, shuffle, fixed, bytes, pairs, per_window, one_block, round);
    _mm256_storeu_si256((__m256i *)(void *)dst, _mm512_castsi512_si256(narrow(x, x, by)));
}

/* Outputs two samples apart: a block's pairs are 32 samples as they lie in memory. */
UPZ_INLINE __m512i halving_block(const uint8_t *s, const int16_t *fixed, int bytes, int pairs,
                                 __m512i sum)
{
    for (int p = 0; p < pairs; p++, s += 2 * bytes, fixed += 32) {
        __m512i x = bytes == 2 ? _mm512_loadu_si512(s)
                               : _mm512_cvtepu8_epi16(
                                     _mm256_loadu_si256((const __m256i *)(const void *)s));
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(x, _mm512_loadu_si512(fixed)));
    }
    return sum;
}

/* Every block has the same weights: they stay in registers. */
UPZ_INLINE void halving_row(const UpzAcross *a, const uint8_t *src, int bytes, int origin, int b0,
                            int b1, int shift, int pairs, int16_t *dst)
{
    __m512i round = _mm512_set1_epi32(1 << shift >> 1);
    __m128i by = _mm_cvtsi32_si128(shift);
    const uint8_t *s = src + (ptrdiff_t)(b0 * a->advance - origin + a->first[0]) * bytes;
    ptrdiff_t block = (ptrdiff_t)a->advance * bytes;
    int b = b0;
    for (; b + 2 <= b1; b += 2, dst += 2 * UPZ_BLOCK, s += 2 * block) {
        __m512i x = halving_block(s, a->fixed, bytes, pairs, round);
        __m512i y = halving_block(s + block, a->fixed, bytes, pairs, round);
        _mm512_storeu_si512(dst, narrow(x, y, by));
    }
    if (b == b1) return;
    __m512i x = halving_block(s, a->fixed, bytes, pairs, round);
    _mm256_storeu_si256((__m256i *)(void *)dst, _mm512_castsi512_si256(narrow(x, x, by)));
}

UPZ_INLINE void fixed_any(const UpzAcross *a, const uint8_t *src, int bytes, int origin, int b0,
                          int b1, int shift, int16_t *dst)
{
#define ROW(P, W, ONE) \
    if (a->pairs == (P) && a->per_window == (W)) { \
        fixed_row(a, src, bytes, origin, b0, b1, shift, P, W, ONE, dst); \
        return; \
    }
#define ROW1(P, W, ONE) \
    if (a->pairs == (P) && a->per_window == (W)) { \
        fixed_row1(a, src, bytes, origin, b0, b1, shift, P, W, ONE, dst); \
        return; \
    }
    if (a->halving && a->pairs == 4) {
        halving_row(a, src, bytes, origin, b0, b1, shift, 4, dst);
        return;
    }
    if (a->halving && a->pairs == 6) {
        halving_row(a, src, bytes, origin, b0, b1, shift, 6, dst);
        return;
    }
    if (a->halving) {
        halving_row(a, src, bytes, origin, b0, b1, shift, a->pairs, dst);
        return;
    }
    if (a->one_block) {
        if (a->blocks == 1) {
            ROW1(2, 2, true)
            ROW1(3, 3, true)
        }
        ROW(2, 2, true)
        ROW(3, 3, true)
        fixed_row(a, src, bytes, origin, b0, b1, shift, a->pairs, a->pairs, true, dst);
        return;
    }
    if (a->blocks == 1) {
        ROW1(2, 2, false)
        ROW1(3, 3, false)
    }
    ROW(1, 1, false)
    ROW(2, 2, false)
    ROW(3, 3, false)
    ROW(4, 4, false)
    ROW(6, 5, false)
    ROW(4, 1, false)
    ROW(6, 1, false)
#undef ROW
#undef ROW1
    fixed_row(a, src, bytes, origin, b0, b1, shift, a->pairs, a->per_window, false, dst);
}

static void across_fixed(const UpzAcross *a, const void *src, int sample_bytes, int origin, int b0,
                         int b1, int shift, int16_t *dst)
{
    if (sample_bytes == 1)
        fixed_any(a, src, 1, origin, b0, b1, shift, dst);
    else
        fixed_any(a, src, 2, origin, b0, b1, shift, dst);
}

static void across_float(const UpzAcross *a, const float *src, int origin, int b0, int b1,
                         float *dst)
{
    int m = b0 % a->blocks, at = b0 / a->blocks * a->advance - origin;
    for (int b = b0; b < b1; b++, dst += UPZ_BLOCK) {
        const float *s = src + at + a->first[m * 4];
        const float *w = a->weight + m * a->n * UPZ_BLOCK;
        __m512i index = _mm512_loadu_si512(a->index + m * UPZ_BLOCK);
        __m512 sum = _mm512_setzero_ps();
        if (a->span <= 16) {
            for (int k = 0; k < a->n; k++) {
                __m512 x = _mm512_permutexvar_ps(index, _mm512_loadu_ps(s + k));
                x = _mm512_mul_ps(x, _mm512_loadu_ps(w + k * UPZ_BLOCK));
                sum = k ? _mm512_add_ps(sum, x) : x;
            }
        } else if (a->span <= 32) {
            for (int k = 0; k < a->n; k++) {
                __m512 x = _mm512_permutex2var_ps(_mm512_loadu_ps(s + k), index,
                                                  _mm512_loadu_ps(s + k + 16));
                x = _mm512_mul_ps(x, _mm512_loadu_ps(w + k * UPZ_BLOCK));
                sum = k ? _mm512_add_ps(sum, x) : x;
            }
        } else {
            for (int k = 0; k < a->n; k++) {
                __m512 x = _mm512_i32gather_ps(index, s + k, 4);
                x = _mm512_mul_ps(x, _mm512_loadu_ps(w + k * UPZ_BLOCK));
                sum = k ? _mm512_add_ps(sum, x) : x;
            }
        }
        _mm512_storeu_ps(dst, sum);
        if (++m == a->blocks) {
            m = 0;
            at += a->advance;
        }
    }
}

const UpzResizeDSP upz_resize_avx512 = {across_fixed, across_float, down_u8, down_u16,
                                        down_float, load_float, finish};
