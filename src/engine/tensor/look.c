/* What a network is that only its runtime can read: found out by running it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/tensor/half.h"
#include "engine/tensor/inner.h"

#define TRIAL 96          /* px, a side of the picture the reach is measured on: quick anywhere */
#define REACH_UNKNOWN 256 /* px: further than that shows */

typedef struct Look {
    const UpzRuntimeOps *ops;
    UpzRuntime *rt;
    UpzRuntimeFacts facts;
    UprezModel *model;
    UpzCpuLevel cpu;
} Look;

static int common_divisor(int a, int b)
{
    while (b) {
        const int t = a % b;
        a = b;
        b = t;
    }
    return a;
}

static int clamp_side(int want, int fixed, int least, int most)
{
    if (fixed) return fixed;
    if (most) want = UPZ_MIN(want, most);
    return UPZ_MAX(want, least);
}

/* The shape nearest to w x h that the runtime takes, and what comes out. */
static int ask(Look *l, int channels, int w, int h, UpzTensorShape *s, UprezError *err)
{
    const UpzRuntimeFacts *f = &l->facts;
    *s = (UpzTensorShape){.batch = UPZ_MAX(f->fixed_batch, 1), .channels = channels,
                          .height = clamp_side(h, f->fixed_height, f->min_height, f->max_height),
                          .width = clamp_side(w, f->fixed_width, f->min_width, f->max_width),
                          .half = f->half_io};
    return l->ops->output_shape(l->rt, s, err);
}

static int refuse(const Look *l, const UpzTensorShape *s, const char *what, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_MODEL, "'%s' makes %dx%d pixels with %d channels of %dx%d with "
                    "%d: %s", l->model->facts.path ? l->model->facts.path : "the model",
                    s->out_width, s->out_height, s->out_channels, s->width, s->height, s->channels,
                    what);
}

/* The scale from one answer. */
static int scale_of(const Look *l, const UpzTensorShape *s, int *num, int *den, UprezError *err)
{
    if (s->out_channels != s->channels)
        return refuse(l, s, "a network for pictures gives as many channels as it takes", err);
    if (s->out_width < 1 || s->out_height < 1 ||
        (int64_t)s->out_width * s->height != (int64_t)s->out_height * s->width)
        return refuse(l, s, "both sides must grow alike", err);
    const int d = common_divisor(s->out_width, s->width);
    *num = s->out_width / d;
    *den = s->width / d;
    if (*num > 16 || *den > 8)
        return refuse(l, s, "that is no multiple of the input's size", err);
    return 0;
}

/* True when a picture with sides that are odd multiples of `align` comes out at the right size. */
static bool takes(Look *l, int align, int num, int den)
{
    UpzTensorShape s;
    UprezError quiet = {0};
    const int base = UPZ_ROUND_UP(32, 2 * align);
    if (ask(l, l->model->facts.channels, base + 3 * align, base + align, &s, &quiet) < 0)
        return false;
    return (int64_t)s.out_width * den == (int64_t)s.width * num &&
           (int64_t)s.out_height * den == (int64_t)s.height * num;
}

/* ---- reach ---- */

static float value_at(const void *p, size_t i, bool half)
{
    return half ? upz_half_to_float(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

/* How far a change in the middle of a picture spreads, in input px; REACH_UNKNOWN: to its edges. */
static int spread(Look *l, const UpzTensorShape *s, UprezError *err)
{
    UpzTensorBuffers b = {0};
    int r = l->ops->prepare(l->rt, s, 1, &b, err);
    if (r < 0) return r;
    const size_t size = (size_t)s->width * (size_t)s->height;
    const size_t n = (size_t)s->batch * (size_t)s->channels * size, sample = s->half ? 2 : 4;
    const size_t n_out = (size_t)s->out_channels * (size_t)s->out_width * (size_t)s->out_height;
    float *in = upz_alloc_aligned(n * sizeof(float));
    void *first = upz_alloc_aligned(n_out * sample);
    if (!in || !first) {
        r = upz_fail_memory(err, n_out * sample, "a trial picture");
        goto end;
    }
    uint32_t seed = 1;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        in[i] = 0.25f + (float)(seed >> 8) / (float)(1 << 25);
    }
    const int cx = s->width / 2, cy = s->height / 2;
    for (int turn = 0; turn < 2; turn++) {
        if (s->half) upz_half_pack(b.in, in, n, l->cpu);
        else memcpy(b.in, in, n * sizeof(float));
        if ((r = l->ops->run(l->rt, 0, err)) < 0) goto end;
        if (!turn) memcpy(first, b.out, n_out * sample);
        /* all that a block of pixels can do, whatever the phase of strides */
        for (int c = 0; c < s->channels; c++)
            for (int y = cy; y < UPZ_MIN(cy + 2, s->height); y++)
                for (int x = cx; x < UPZ_MIN(cx + 2, s->width); x++) {
                    float *p = &in[(size_t)c * size + (size_t)y * (size_t)s->width + (size_t)x];
                    *p = *p > 0.5f ? 0 : 1;
                }
    }
    const float least = s->half || strcmp(l->facts.precision, "fp32") ? 4e-3f : 1e-5f;
    int reach = 0;
    for (size_t i = 0; i < n_out; i++) {
        const float change = value_at(first, i, s->half) - value_at(b.out, i, s->half);
        if (fabsf(change) <= least) continue;
        const int x = (int)(i % (size_t)s->out_width);
        const int y = (int)(i / (size_t)s->out_width % (size_t)s->out_height);
        const int at[2] = {(int)((int64_t)x * s->width / s->out_width),
                           (int)((int64_t)y * s->height / s->out_height)};
        reach = UPZ_MAX(reach, UPZ_MAX(UPZ_MAX(cx - at[0], at[0] - cx - 1),
                                       UPZ_MAX(cy - at[1], at[1] - cy - 1)));
    }
    const int room = UPZ_MIN(UPZ_MIN(cx, s->width - cx - 2), UPZ_MIN(cy, s->height - cy - 2));
    r = reach >= room - 1 ? REACH_UNKNOWN : reach;
end:
    upz_free_aligned(in);
    upz_free_aligned(first);
    return r;
}

static int measure_reach(Look *l, UprezError *err)
{
    UprezModelFacts *f = &l->model->facts;
    UpzTensorShape s;
    const int side = UPZ_ROUND_UP(TRIAL, f->align);
    int r = ask(l, f->channels, side, side, &s, err);
    if (r >= 0) r = spread(l, &s, err);
    if (r >= 0) f->reach = r;
    return r;
}

static int look(Look *l, UprezError *err)
{
    UprezModelFacts *f = &l->model->facts;
    UpzTensorShape s, other;
    UprezError first = {0}, second = {0};
    int channels = 3, num = 1, den = 1, num2 = 1, den2 = 1;
    int r = ask(l, channels, 64, 64, &s, &first);
    if (r < 0) r = ask(l, channels = 1, 64, 64, &s, &second);
    if (r < 0) return upz_fail(err, first.code, "%s", first.text);
    if ((r = scale_of(l, &s, &num, &den, err)) < 0) return r;
    if ((r = ask(l, channels, 128, 64, &other, err)) < 0) return r;
    if ((r = scale_of(l, &other, &num2, &den2, err)) < 0) return r;
    if (num != num2 || den != den2)
        return refuse(l, &other, "another size came out at another scale", err);
    f->channels = channels;
    /* unless the runtime found it written in the file */
    if (channels == 1 && f->input == UPREZ_INPUT_RGB) f->input = UPREZ_INPUT_Y_FULL;
    int align = 1;
    const bool fixed = l->facts.fixed_width || l->facts.fixed_height;
    while (!fixed && align < 64 && !takes(l, align, num, den)) align *= 2;
    if (align == 64) align = 1; /* refused for another reason: plan and run will say it */
    f->align = align;
    if ((r = measure_reach(l, err)) < 0) return r;
    f->scale_num = num; /* last: the model counts as looked at */
    f->scale_den = den;
    return 0;
}

typedef struct Aside {
    Look look;
    UprezContext *ctx;
    const UpzDevice *device;
    const UpzEngineParams *params;
    UprezError *err;
} Aside;

static int look_aside(void *arg)
{
    Aside *a = arg;
    Look *l = &a->look;
    int r = l->ops->open(&l->rt, a->ctx, l->model, a->device, a->params, &l->facts, a->err);
    if (r >= 0) r = look(l, a->err);
    l->ops->close(&l->rt);
    return r < 0 ? r : 0;
}

int upz_tensor_look(const UpzRuntimeOps *runtime, UprezContext *ctx, UprezModel *model,
                    const UpzDevice *device, const UpzEngineParams *params, UprezError *err)
{
    Aside a = {.look = {.ops = runtime, .model = model, .cpu = ctx->cpu}, .ctx = ctx,
               .device = device, .params = params, .err = err};
    if (!runtime->output_shape)
        return upz_fail(err, UPREZ_ERR_MODEL, "engine %s cannot tell what a %s file does",
                        runtime->name, model->foreign);
    return upz_tensor_aside(look_aside, &a, err);
}
