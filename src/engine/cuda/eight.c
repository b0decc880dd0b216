#include "engine/cuda/eight.h"

#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/cuda/kernels/params.h"

/* An fp8 number loses nothing by room for values beyond what was seen. */
#define ROOM_FP8 2.0f

int upz_cuda_ranges_make(UpzRanges *r, const UpzCudaNet *net, UprezError *err)
{
    int *channels = upz_calloc((size_t)net->n_layers, sizeof(*channels));
    if (!channels) return upz_fail_memory(err, (size_t)net->n_layers * sizeof(*channels), "the ranges of the layers");
    for (int i = 0; i < net->n_layers; i++)
        if (net->layers[i].dst.map >= 0) channels[i] = net->layers[i].dst.chunks * 8;
    const int status = upz_ranges_make(r, channels, net->n_layers, err);
    upz_free(channels);
    return status;
}

const char *upz_eight_name(int kind) { return kind == UPZ_EIGHT_FP8 ? "fp8" : "int8"; }

float upz_eight_largest(int kind) { return kind == UPZ_EIGHT_FP8 ? 448 : UPZ_INT8_LARGEST; }

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
    return kind == UPZ_EIGHT_FP8 ? fp8(v) : (uint8_t)upz_int8(v);
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
    return upz_quant_factor(most, kind == UPZ_EIGHT_FP8 ? ROOM_FP8 : UPZ_INT8_ROOM, upz_eight_largest(kind));
}
