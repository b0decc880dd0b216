/* Any convolution in fp32, each output one chain of multiplications and additions over its inputs. */
#include "base/alloc.h"
#include "engine/cpu/conv.h"
#include "engine/cpu/epilogue.h"
#include "engine/cpu/pack.h"

static bool takes(const UpzConvShape *s) { return s->in > 0; }

/* Order of the chain: kernel rows, then views, then kernel columns, then channels. */
static void *pack(const UpzProgram *p, const UpzStage *s, const float *weights, const float *factors,
                  size_t *bytes)
{
    const int out = s->pitch;
    const size_t taps = (size_t)s->kernel_h * (size_t)s->kernel_w;
    size_t count;
    if (!upz_mul_size(taps * (size_t)s->in, (size_t)out, &count)) return NULL;
    float *packed = upz_pack_zeros(count, bytes), *to = packed;
    if (!packed) return NULL;
    for (int ky = 0; ky < s->kernel_h; ky++) {
        int first = 0;
        for (int v = 0; v < s->n_inputs; first += s->views[v++].channels)
            for (int kx = 0; kx < s->kernel_w; kx++)
                for (int i = 0; i < s->views[v].channels; i++, to += out) {
                    const float *from = weights + (size_t)(first + i) * taps +
                                        (size_t)ky * (size_t)s->kernel_w + (size_t)kx;
                    for (int o = 0; o < s->channels; o++)
                        to[o] = from[(size_t)o * (size_t)s->in * taps];
                }
    }
    return packed;
}

static size_t scratch(const UpzProgram *p, const UpzStage *s, int width)
{
    return (size_t)(s->kernel_w * s->kernel_h * s->n_inputs) * sizeof(UpzRun);
}

static int make_runs(const UpzPiece *p, int y, UpzRun *runs)
{
    const UpzStage *s = p->s;
    int n = 0;
    for (int ky = 0; ky < s->kernel_h; ky++)
        for (int k = 0; k < s->n_inputs; k++) {
            const UpzMapView *v = &s->views[k];
            const ptrdiff_t pitch = upz_view_pitch(p, k);
            const float *row = (const float *)upz_view_row(p, k, y * s->stride - s->pad_y + ky) +
                               ((ptrdiff_t)p->x0 * s->stride - s->pad_x) * pitch;
            if (upz_view_merges(p->f->program, v)) {
                runs[n++] = (UpzRun){row, s->stride * pitch, s->kernel_w * v->channels};
                continue;
            }
            for (int kx = 0; kx < s->kernel_w; kx++)
                runs[n++] = (UpzRun){row + kx * pitch, s->stride * pitch, v->channels};
        }
    return n;
}

static void run(const UpzPiece *p)
{
    const UpzStage *s = p->s;
    for (int y = p->y0; y < p->y1; y++) {
        UpzRun *runs = p->scratch->conv;
        const int n = make_runs(p, y, runs);
        p->f->kernels->gemm(&(UpzGemm){.runs = runs, .n_runs = n,
            .weights = s->weights, .n_out = s->pitch, .start = UPZ_GEMM_BIAS, .bias = s->bias,
            .slope = s->slope, .out = upz_out_floats(p, y),
            .out_step = s->pitch, .count = p->x1 - p->x0});
        upz_finish_row(p, y, p->x0, p->x1);
    }
}

const UpzConvOps upz_conv_direct = {
    .name = "fp32-direct",
    .in = UPZ_TYPE_F32,
    .group = UPZ_CPU_GROUP,
    .tile = 1,
    .strips = 1,
    .several = true,
    .takes = takes,
    .pack = pack,
    .scratch = scratch,
    .run = run,
};
