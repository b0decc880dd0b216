#include "engine/tensor/trial.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#define SIDE 64 /* px */

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
