#include "engine/tensor/trial.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#define SIDE 64 /* px */

void upz_trial_paint(float *p, int channels, int h, int w)
{
    uint32_t seed = 7;
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                seed = seed * 1664525u + 1013904223u;
                const float grain = ((float)(seed >> 8) / 16777216.0f - 0.5f) * 0.06f;
                const float soft = 0.5f + 0.3f * sinf((float)x * 0.13f + (float)c) *
                                              cosf((float)y * 0.09f);
                const float edge = (x / 8 + y / 11 + c) % 3 ? 0 : 0.25f;
                *p++ = UPZ_CLAMP(soft - edge + (y > h / 2 ? grain : 0), 0, 1);
            }
}

int upz_trial_run(const UpzRuntimeOps *ops, UpzRuntime *rt, const UprezModel *model, float **out,
                  size_t *n, UprezError *err)
{
    const UprezModelFacts *m = &model->facts;
    const int side = UPZ_ROUND_UP(SIDE, UPZ_MAX(m->align, 1));
    UpzTensorShape s = {.batch = 1, .channels = m->channels, .height = side, .width = side};
    UpzTensorBuffers b = {0};
    *out = NULL;
    int r = 0;
    if (model->foreign[0]) {
        r = ops->output_shape(rt, &s, err);
    } else {
        s.out_channels = m->channels;
        s.out_height = s.out_width = (int)((int64_t)side * m->scale_num / m->scale_den);
    }
    if (r >= 0) r = ops->prepare(rt, &s, 1, &b, err);
    if (r < 0) return r;
    upz_trial_paint(b.in, s.channels, s.height, s.width);
    r = ops->run(rt, 0, err);
    if (r < 0) return r;
    *n = (size_t)s.out_channels * (size_t)s.out_height * (size_t)s.out_width;
    *out = upz_alloc_aligned(*n * sizeof(float));
    if (!*out) return upz_fail_memory(err, *n * sizeof(float), "a trial picture");
    memcpy(*out, b.out, *n * sizeof(float));
    return 0;
}

static float clip01(float x) { return x >= 1 ? 1 : x > 0 ? x : 0; }

double upz_trial_psnr(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = clip01(a[i]) - clip01(b[i]);
        sum += isfinite(a[i]) && isfinite(b[i]) ? d * d : 1;
    }
    return sum > 0 ? 10 * log10((double)n / sum) : 200;
}
