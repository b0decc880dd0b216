/* 32 halves at a time: 12 rows by 32 or 64 outputs in registers. */
#include "engine/cpu/half_gemm.h"

#include <immintrin.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "base/integer.h"

#define ROWS 12
#ifdef __clang__ /* accumulators must not live in memory */
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

UpzHalfMultiply upz_half_multiply_avx512fp16;

UPZ_INLINE void store(float *out, __m256i half, __m512 scale, bool more)
{
    const __m512 chain = _mm512_cvtxph_ps(_mm256_castsi256_ph(half));
    _mm512_storeu_ps(out, more ? _mm512_fmadd_ps(chain, scale, _mm512_loadu_ps(out)) : _mm512_mul_ps(chain, scale));
}

/* n inputs from k on of rows rows from m on to outputs o … o + 32 * vectors - 1, or 16 where vectors is 0. */
UPZ_INLINE void block(const UpzHalfGemm *g, int m, int o, int k, int n, int rows, int vectors)
{
    const uint16_t *a = g->halves + m * g->step + k;
    const uint16_t *w = g->weights + (ptrdiff_t)k * g->n_out + o;
    const __m512 scale = _mm512_set1_ps(g->scale);
    __m512h sum[ROWS * 2];
    UNROLL
    for (int i = 0; i < rows * 2; i++) sum[i] = _mm512_setzero_ph();
    for (int j = 0; j < n; j++, w += g->n_out) {
        const __m512h first = vectors ? _mm512_loadu_ph(w)
                                      : _mm512_castph256_ph512(_mm256_loadu_ph(w));
        const __m512h second = vectors > 1 ? _mm512_loadu_ph(w + 32) : first;
        UNROLL
        for (int i = 0; i < rows; i++) {
            const __m512h x = _mm512_castsi512_ph(_mm512_set1_epi16((short)a[i * g->step + j]));
            sum[2 * i] = _mm512_fmadd_ph(x, first, sum[2 * i]);
            if (vectors > 1) sum[2 * i + 1] = _mm512_fmadd_ph(x, second, sum[2 * i + 1]);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        float *out = g->out + (m + i) * g->out_step + o;
        const __m512i one = _mm512_castph_si512(sum[2 * i]), two = _mm512_castph_si512(sum[2 * i + 1]);
        store(out, _mm512_castsi512_si256(one), scale, k > 0);
        if (vectors) store(out + 16, _mm512_extracti64x4_epi64(one, 1), scale, k > 0);
        if (vectors > 1) store(out + 32, _mm512_castsi512_si256(two), scale, k > 0);
        if (vectors > 1) store(out + 48, _mm512_extracti64x4_epi64(two, 1), scale, k > 0);
    }
}

UPZ_INLINE void rows_of(const UpzHalfGemm *g, int m, int rows)
{
    for (int k = 0; k < g->n; k += UPZ_HALF_CHAIN) {
        const int n = UPZ_MIN(UPZ_HALF_CHAIN, g->n - k);
        int o = 0;
        for (; o + 64 <= g->n_out; o += 64) block(g, m, o, k, n, rows, 2);
        for (; o + 32 <= g->n_out; o += 32) block(g, m, o, k, n, rows, 1);
        for (; o < g->n_out; o += 16) block(g, m, o, k, n, rows, 0);
    }
}

void upz_half_multiply_avx512fp16(const UpzHalfGemm *g)
{
    const __m512 small = _mm512_set1_ps(UPZ_HALF_SCALE);
    for (int m = 0; m < g->count; m++)
        for (int k = 0; k < g->n; k += 16)
            _mm256_storeu_si256((__m256i *)(void *)(g->halves + m * g->step + k),
                                _mm256_castph_si256(_mm512_cvtxps_ph(_mm512_mul_ps(
                                    _mm512_loadu_ps(g->a + m * g->step + k), small))));
    int m = 0;
    for (; m + ROWS <= g->count; m += ROWS) rows_of(g, m, ROWS);
    for (; m + 4 <= g->count; m += 4) rows_of(g, m, 4);
    for (; m < g->count; m++) rows_of(g, m, 1);
}
