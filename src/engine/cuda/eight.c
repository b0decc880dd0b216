#include "engine/cuda/eight.h"

#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/cuda/kernels/params.h"

/* Other pictures reach beyond what was seen. An fp8 number loses nothing by room for that, integers have
 * coarser steps then: 0.3 dB of published networks, where seeded ones lose 3 without. */
#define MORE_FP8 2.0f
#define MORE_INT8 1.15f

int upz_cuda_ranges_make(UpzCudaRanges *r, const UpzCudaNet *net, UprezError *err)
{
    *r = (UpzCudaRanges){.at = upz_calloc((size_t)net->n_layers, sizeof(*r->at))};
    for (int i = 0; i < net->n_layers && r->at; i++) {
        r->at[i] = r->n;
        if (net->layers[i].dst.map >= 0) r->n += (size_t)net->layers[i].dst.chunks * 8;
    }
    r->most = r->at && r->n ? upz_calloc(r->n, sizeof(*r->most)) : NULL;
    if (r->most) return 0;
    upz_cuda_ranges_free(r);
    return upz_fail_memory(err, (size_t)net->n_layers * sizeof(*r->at), "the ranges of the layers");
}

void upz_cuda_ranges_free(UpzCudaRanges *r)
{
    upz_free(r->most);
    upz_free(r->at);
    *r = (UpzCudaRanges){0};
}

const char *upz_eight_name(int kind) { return kind == UPZ_EIGHT_FP8 ? "fp8" : "int8"; }

float upz_eight_largest(int kind) { return kind == UPZ_EIGHT_FP8 ? 448 : 127; }

/* Sign, 4 bits of exponent with a bias of 7, 3 of fraction; all ones is NaN (Micikevicius et al., FP8 formats
 * for deep learning, 2022). */
static uint8_t fp8(float v)
{
    const uint8_t sign = signbit(v) ? 128 : 0;
    float a = fabsf(v);
    int e;
    if (isnan(v)) return 127;
    if (a >= 448) return sign | 126;
    if (!(a > 0)) return sign;
    frexpf(a, &e); /* a = 0.5 … 1 times 2^e */
    e = UPZ_MAX(e - 1, -6);
    const int n = (int)lrintf(ldexpf(a, 3 - e)); /* eighths, 8 … 16, below 8 where subnormal */
    return (uint8_t)(sign | (n + 8 * (e + 6)));  /* a carry goes into the exponent by itself */
}

uint8_t upz_eight_pack(int kind, float v)
{
    if (kind == UPZ_EIGHT_FP8) return fp8(v);
    return isnan(v) ? 0 : (uint8_t)(int8_t)lrintf(UPZ_CLAMP(v, -127.0f, 127.0f));
}

float upz_eight_unpack(int kind, uint8_t v)
{
    if (kind != UPZ_EIGHT_FP8) return (int8_t)v;
    const int e = v >> 3 & 15, m = v & 7;
    if (e == 15 && m == 7) return NAN;
    const float a = e ? ldexpf((float)(8 + m), e - 10) : ldexpf((float)m, -9);
    return v & 128 ? -a : a;
}

float upz_eight_factor(int kind, float most)
{
    const float more = kind == UPZ_EIGHT_FP8 ? MORE_FP8 : MORE_INT8;
    /* a channel that was all zero may be something else elsewhere: something small */
    return UPZ_MAX(most, 1e-4f) * more / upz_eight_largest(kind);
}
