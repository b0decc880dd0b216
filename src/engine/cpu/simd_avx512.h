/* Sixteen floats: AVX-512 F and DQ. */
#ifndef __AVX512DQ__
#error "build this file with the avx512 flags"
#endif
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define W 16
#define SUF(name) name##_avx512
#define LEVEL UPZ_CPU_AVX512
typedef __m512 V;

static inline V vload(const float *p) { return _mm512_loadu_ps(p); }
static inline void vstore(float *p, V a) { _mm512_storeu_ps(p, a); }
static inline V vset1(float a) { return _mm512_set1_ps(a); }
static inline V vadd(V a, V b) { return _mm512_add_ps(a, b); }
static inline V vsub(V a, V b) { return _mm512_sub_ps(a, b); }
static inline V vmul(V a, V b) { return _mm512_mul_ps(a, b); }
static inline V vdiv(V a, V b) { return _mm512_div_ps(a, b); }
static inline V vfma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
static inline V vfnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
static inline V vmin(V a, V b) { return _mm512_min_ps(a, b); }
static inline V vmax(V a, V b) { return _mm512_max_ps(a, b); }
static inline V vleaky(V x, V s)
{
    __mmask16 neg = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_mul_ps(x, neg, x, s);
}
static inline V vsign(V x, V sign)
{
    V bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(bit, x), _mm512_and_ps(bit, sign));
}
static inline V vpow2(V magic)
{
    __m512i i = _mm512_slli_epi32(_mm512_castps_si512(magic), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(i, _mm512_set1_epi32(0x3f800000)));
}
static inline V vload_bf16(const uint16_t *p)
{
    const __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
#ifdef __AVX512BF16__
static inline void vstore_bf16(uint16_t *p, V a)
{
    const __m256bh half = _mm512_cvtneps_pbh(a);
    memcpy(p, &half, sizeof(half));
}
#else
static inline void vstore_bf16(uint16_t *p, V a)
{
    const __m512i i = _mm512_castps_si512(a), top = _mm512_srli_epi32(i, 16);
    const __m512i size = _mm512_and_si512(i, _mm512_set1_epi32(0x7fffffff));
    const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(i, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 tiny = _mm512_cmplt_epi32_mask(size, _mm512_set1_epi32(0x00800000));
    const __mmask16 nan = _mm512_cmpgt_epi32_mask(size, _mm512_set1_epi32(0x7f800000));
    __m512i r = _mm512_srli_epi32(sum, 16);
    r = _mm512_mask_and_epi32(r, tiny, top, _mm512_set1_epi32(0x8000));
    r = _mm512_mask_or_epi32(r, nan, top, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(r));
}
#endif
static inline V vload_int32(const int32_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_loadu_si512((const void *)p));
}
static inline void vstore_int8(int8_t *p, V a)
{
    const __m512i i = _mm512_cvtps_epi32(_mm512_min_ps(a, _mm512_set1_ps(127)));
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtsepi32_epi8(i));
}
static inline void vstore_int8_twice(int8_t *p, int8_t *q, V a, V b, V c, V d)
{
    const __m512i first = _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
    const __m512i second = _mm512_packs_epi32(_mm512_cvtps_epi32(c), _mm512_cvtps_epi32(d));
    /* four values of a, four of b, of c, of d, and so on */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i all = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(first, second));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_castsi512_si256(all));
    _mm256_storeu_si256((__m256i *)(void *)q, _mm512_extracti64x4_epi64(all, 1));
}
