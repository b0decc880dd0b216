#include "engine/cuda/measure.h"

#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/tensor/trial.h"
#include "picture/convert.h"
#include "picture/format.h"

enum { WIDTH = 64, HEIGHT = 48 };

/* Rows in the order of the format's components, as the network has them. */
static int float_picture(UprezPicture **p, const UprezModel *m, int w, int h, UprezError *err)
{
    UprezFormat f;
    if (m->facts.channels == 3) upz_format_float_rgb(&f);
    else upz_format_float_gray(&f);
    int r = uprez_picture_alloc(p, &f, w, h, err);
    if (r >= 0) upz_color_resolve(&(*p)->color, &f, w, h);
    return r;
}

static int painted(UprezPicture **p, const UprezModel *m, int w, int h, UprezError *err)
{
    const size_t plane = (size_t)w * (size_t)h;
    float *all = upz_calloc(plane * 3, sizeof(*all));
    int r = all ? float_picture(p, m, w, h, err) : upz_fail_memory(err, plane * 12, "a picture");
    if (r >= 0) upz_trial_paint(all, (*p)->format.n_comp, h, w);
    for (int c = 0; r >= 0 && c < (*p)->format.n_comp; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                const int k = (*p)->format.comp[c].plane;
                float *row = (float *)(void *)((uint8_t *)(*p)->plane[k] + y * (*p)->stride[k]);
                row[x] = all[plane * (size_t)c + (size_t)y * (size_t)w + (size_t)x];
            }
    upz_free(all);
    return r;
}

static int get_ranges(UpzCudaRun *run, UpzCudaRanges *ranges, UprezError *err)
{
    const UpzCuda *cu = &run->home->cu;
    int status = 0, r = upz_cuda_enter(run->home, err);
    if (r < 0) return r;
    if (ranges->most) {
        TRY(status, cu->download(ranges->most, run->range, ranges->n * sizeof(float), run->down));
        TRY(status, cu->stream_finish(run->down));
    }
    cu->release(run->range);
    run->range = 0;
    run->ranges = NULL;
    upz_cuda_leave(run->home);
    return status ? upz_cuda_fail(cu, status, "read the ranges of the network's values", err) : 0;
}

static int begin_ranges(UpzCudaRun *run, UpzCudaRanges *ranges, UprezError *err)
{
    const UpzCuda *cu = &run->home->cu;
    int status = 0, r = upz_cuda_ranges_make(ranges, &run->net, err);
    if (r >= 0) r = upz_cuda_enter(run->home, err);
    if (r < 0) return r;
    status = cu->alloc(&run->range, ranges->n * sizeof(float));
    if (status) run->range = 0;
    else run->ranges = ranges;
    TRY(status, cu->clear(run->range, 0, ranges->n * sizeof(float), run->home->stream));
    upz_cuda_leave(run->home);
    return status ? upz_cuda_fail(cu, status, "get memory for the ranges of the network's values", err) : 0;
}

int upz_cuda_measure(UpzCudaRun *run, const UprezModel *m, UpzCudaRanges *ranges,
                     UprezPicture **result, UprezError *err)
{
    const UprezModelFacts *f = &m->facts;
    const int align = UPZ_MAX(f->align, 1) * f->scale_den;
    const int w = UPZ_ROUND_UP(WIDTH, align), h = UPZ_ROUND_UP(HEIGHT, align);
    UprezPicture *src = NULL, *dst = NULL;
    *result = NULL;
    int r = painted(&src, m, w, h, err);
    if (r >= 0)
        r = float_picture(&dst, m, (int)((int64_t)w * f->scale_num / f->scale_den),
                          (int)((int64_t)h * f->scale_num / f->scale_den), err);
    if (r >= 0) {
        const UpzShape shape = {.width = w, .height = h, .src = src->format, .dst = dst->format,
                                .src_color = src->color, .dst_color = dst->color};
        r = upz_cuda_run_plan(run, &shape, 0, err);
    }
    if (r >= 0 && ranges) r = begin_ranges(run, ranges, err);
    UpzTask task = {.src = src, .dst = dst};
    if (r >= 0) {
        r = upz_cuda_run_try(run, &task, "the built-in picture", err);
    }
    if (run->range) {
        UprezError other;
        int g = get_ranges(run, ranges, r < 0 ? &other : err);
        if (r >= 0) r = g;
    }
    uprez_picture_unref(&src);
    if (r < 0) {
        uprez_picture_unref(&dst);
        if (ranges) upz_cuda_ranges_free(ranges);
    }
    *result = dst;
    return r;
}

double upz_cuda_measure_psnr(const UprezPicture *a, const UprezPicture *b)
{
    size_t n = 0;
    double sum = 0;
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < a->height; y++, n++) {
            const double db = upz_trial_psnr(
                (const float *)(const void *)((const uint8_t *)a->plane[i] + y * a->stride[i]),
                (const float *)(const void *)((const uint8_t *)b->plane[i] + y * b->stride[i]),
                (size_t)a->width);
            sum += pow(10, -db / 10);
        }
    return sum > 0 ? 10 * log10((double)n / sum) : 200;
}
