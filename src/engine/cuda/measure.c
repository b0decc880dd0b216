#include "engine/cuda/measure.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/trial.h"

static int get_ranges(UpzCudaRun *run, UpzRanges *ranges, UprezError *err)
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

static int begin_ranges(UpzCudaRun *run, UpzRanges *ranges, UprezError *err)
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

int upz_cuda_measure(UpzCudaRun *run, const UprezModel *m, UpzRanges *ranges,
                     UprezPicture **result, UprezError *err)
{
    UprezPicture *src = NULL, *dst = NULL;
    *result = NULL;
    int r = upz_trial_source(&src, m, false, err);
    if (r >= 0) r = upz_trial_result(&dst, m, src, err);
    if (r >= 0) {
        const UpzShape shape = {.width = src->width, .height = src->height, .src = src->format, .dst = dst->format,
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
        if (ranges) upz_ranges_free(ranges);
    }
    *result = dst;
    return r;
}
