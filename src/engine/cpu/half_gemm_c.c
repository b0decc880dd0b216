/* The definition, in plain C: a double holds every product and sum of two halves that matters. */
#include "engine/cpu/half_gemm.h"

#include <math.h>

#include "base/cpu.h"
#include "base/compiler.h"
#include "base/integer.h"

/* To a multiple of 2^-24 below 2^-14, to 11 bits above. */
static double nearest(double x)
{
    int e;
    frexp(x, &e);
    const double unit = ldexp(1, UPZ_MAX(e, -13) - 11), r = nearbyint(x / unit) * unit;
    return fabs(r) > 65504 ? copysign(INFINITY, x) : r;
}

uint16_t upz_half(double x)
{
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const double r = fabs(nearest(x));
    int e;
    if (isnan(x)) return 0x7e00;
    if (isinf(r)) return sign | 0x7c00;
    frexp(r, &e);
    if (r < ldexp(1, -14)) return sign | (uint16_t)ldexp(r, 24);
    return (uint16_t)(sign | ((e + 14) * 1024 + (int)ldexp(r, 11 - e) - 1024));
}

double upz_half_value(uint16_t h)
{
    const int e = h >> 10 & 31, m = h & 1023;
    const double size = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -size : size;
}

static void multiply_c(const UpzHalfGemm *g)
{
    for (int m = 0; m < g->count; m++)
        for (int k = 0; k < g->n; k++) g->halves[m * g->step + k] = upz_half(g->a[m * g->step + k] * UPZ_HALF_SCALE);
    for (int m = 0; m < g->count; m++)
        for (int o = 0; o < g->n_out; o++) {
            float sum = 0;
            for (int first = 0; first < g->n; first += UPZ_HALF_CHAIN) {
                double chain = 0;
                for (int k = first; k < UPZ_MIN(first + UPZ_HALF_CHAIN, g->n); k++)
                    chain = nearest(chain + upz_half_value(g->halves[m * g->step + k]) *
                                                upz_half_value(g->weights[(ptrdiff_t)k * g->n_out + o]));
                sum = first ? fmaf((float)chain, g->scale, sum) : (float)chain * g->scale;
            }
            g->out[m * g->out_step + o] = sum;
        }
}

UpzHalfMultiply upz_half_multiply_avx512fp16;

UpzHalfMultiply *upz_half_multiply(uint32_t features)
{
#ifdef UPZ_FP16
    if (features & UPZ_HAS_AVX512_FP16) return upz_half_multiply_avx512fp16;
#endif
    return features ? NULL : multiply_c;
}
