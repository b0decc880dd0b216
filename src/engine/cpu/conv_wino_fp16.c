/* 3x3 convolutions by Winograd's F(4x4, 3x3) with products in fp16: see half_gemm.h. Transforms are those of fp32,
 * maps are floats. */
#include <math.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "engine/cpu/conv_wino.h"
#include "engine/cpu/half_gemm.h"
#include "engine/cpu/pack.h"

/* Of every point the largest weight becomes 1: its scale, then all halves. */
static float *scales(const UpzStage *s) { return s->weights; }
static uint16_t *halves(void *packed) { return (uint16_t *)(void *)((float *)packed + UPZ_WINO_POINTS + 12); }

static void pack_point(const UpzStage *s, const float *weights, double g[UPZ_WINO_IN][3], int point,
                       float *packed)
{
    uint16_t *to = halves(packed) + (size_t)point * (size_t)s->in * (size_t)s->pitch;
    const int a = point / UPZ_WINO_IN, b = point % UPZ_WINO_IN;
    const size_t n = (size_t)s->channels * (size_t)s->in;
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(upz_wino_weight(g, weights + i * 9, a, b)));
    packed[point] = most > 0 ? (float)most : 1;
    for (int o = 0; o < s->channels; o++)
        for (int i = 0; i < s->in; i++)
            to[(size_t)i * (size_t)s->pitch + (size_t)o] =
                upz_half(upz_wino_weight(g, weights + ((size_t)o * (size_t)s->in + (size_t)i) * 9, a, b) /
                         (double)packed[point]);
    packed[point] /= UPZ_HALF_SCALE;
}

static void *pack(const UpzProgram *p, const UpzStage *s, const float *weights, const float *factors,
                  size_t *bytes)
{
    const size_t values = UPZ_WINO_POINTS * (size_t)s->in * (size_t)s->pitch;
    float *packed = upz_pack_zeros(UPZ_WINO_POINTS + 12 + (values + 1) / 2, bytes);
    double g[UPZ_WINO_IN][3];
    upz_wino_filter(g);
    for (int point = 0; packed && point < UPZ_WINO_POINTS; point++) pack_point(s, weights, g, point, packed);
    return packed;
}

static size_t own_at(const UpzStage *s) { return UPZ_ROUND_UP(upz_wino_scratch(s), (size_t)64); }

static size_t scratch(const UpzProgram *p, const UpzStage *s, int width)
{
    return own_at(s) + (upz_wino_point_values(s) + 32) * sizeof(uint16_t);
}

static void multiply(const UpzPiece *p, const UpzWinoPoint *at)
{
    const UpzStage *s = p->s;
    p->f->program->multiply(&(UpzHalfGemm){.a = at->v, .step = at->v_tile, .n = s->in, .halves = at->scratch,
        .weights = halves(s->weights) + (ptrdiff_t)at->point * s->in * s->pitch, .n_out = s->pitch,
        .scale = scales(s)[at->point], .out = at->m, .out_step = at->m_tile, .count = at->count});
}

static void run(const UpzPiece *p) { upz_wino_run(p, (char *)p->scratch->conv + own_at(p->s), multiply); }

const UpzConvOps upz_conv_wino_fp16 = {
    .name = "fp16-wino-f4",
    .cpu = UPZ_HAS_AVX512_FP16,
    .in = UPZ_TYPE_F32,
    .halves = true,
    .group = UPZ_CPU_GROUP,
    .tile = UPZ_WINO_TILE,
    .strips = UPZ_WINO_TILE,
    .several = true,
    .enlarged = true,
    .takes = upz_wino_takes,
    .pack = pack,
    .scratch = scratch,
    .run = run,
};
