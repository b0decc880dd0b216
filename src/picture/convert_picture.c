/* Conversion of whole pictures at the same size as work for the pool. */
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/convert.h"
#include "picture/resize.h"

enum { BAND = 64 }; /* rows; a band loads a few of its neighbours' rows too */

struct UpzConvertPlan {
    UprezContext *ctx;
    int height;
    /* Either the resampler does it, component by component: chroma that need not be resampled stays
     * as it is. Or rows are loaded and stored, and alpha is the resampler's. */
    UpzResizePicture *resize;
    bool by_rows, fill_alpha;
    UpzLoad load;
    UpzStore store;
    uint8_t *scratch;
    size_t each, row; /* bytes of a worker's scratch; floats of a row */
    size_t memory;
    int n_bands;
    const UprezPicture *src;
    UprezPicture *dst;
    atomic_int next, finished;
};

static int plan_resize(UpzConvertPlan *c, const UprezPicture *from, const UprezPicture *to,
                       UprezError *err)
{
    int e = upz_resize_picture_create(&c->resize, c->ctx, UPZ_RESIZE_BILINEAR, from, to, err);
    if (e >= 0) c->memory += upz_resize_picture_memory(c->resize);
    return e;
}

static int plan_rows(UpzConvertPlan *c, const UprezPicture *src, const UprezPicture *dst,
                     UprezError *err)
{
    bool rgb = src->format.model == UPREZ_RGB || dst->format.model == UPREZ_RGB ||
               src->format.model == dst->format.model;
    UpzRows rows = rgb ? UPZ_ROWS_RGB : UPZ_ROWS_YUV;
    UpzCpuLevel cpu = c->ctx->cpu;
    int e = upz_load_init(&c->load, &src->format, &src->color, src->width, src->height, rows, cpu,
                          err);
    if (e >= 0)
        e = upz_store_init(&c->store, &dst->format, &dst->color, dst->width, dst->height, rows, cpu,
                           err);
    if (e < 0) return e;
    int n = upz_store_group(&c->store) + 2 * upz_store_reach(&c->store);
    c->row = UPZ_ROUND_UP((size_t)src->width + UPZ_LOAD_SLACK, (size_t)16);
    c->each = UPZ_ROUND_UP(upz_store_scratch(&c->store), (size_t)64) +
              c->row * 3 * (size_t)n * sizeof(float);
    size_t bytes = c->each * (size_t)upz_pool_size(c->ctx->pool);
    c->scratch = upz_alloc_aligned(bytes);
    if (!c->scratch) return upz_fail_memory(err, bytes, "converting a picture");
    c->memory += bytes;
    c->by_rows = true;
    c->n_bands = (src->height + BAND - 1) / BAND;
    if (!dst->format.alpha) return 0;
    c->fill_alpha = !src->format.alpha;
    if (c->fill_alpha) return 0;
    UprezPicture from, to;
    upz_picture_component(&from, src, src->format.n_comp - 1);
    upz_picture_component(&to, dst, dst->format.n_comp - 1);
    return plan_resize(c, &from, &to, err);
}

int upz_convert_plan_create(UpzConvertPlan **out, UprezContext *ctx, const UprezPicture *src_like,
                            const UprezPicture *dst_like, UprezError *err)
{
    *out = NULL;
    UprezPicture src = *src_like, dst = *dst_like;
    if (src.width != dst.width || src.height != dst.height)
        return upz_fail(err, UPREZ_ERR_BUG, "a conversion cannot change %dx%d into %dx%d",
                        src.width, src.height, dst.width, dst.height);
    upz_color_resolve(&src.color, &src.format, src.width, src.height);
    upz_color_resolve(&dst.color, &dst.format, dst.width, dst.height);
    UpzConvertPlan *c = upz_calloc(1, sizeof(*c));
    if (!c) return upz_fail_memory(err, sizeof(*c), "a conversion");
    c->ctx = upz_context_ref(ctx);
    c->height = src.height;
    c->memory = sizeof(*c);
    bool same = src.format.model == dst.format.model &&
                (src.format.model != UPREZ_YUV || src.color.matrix == dst.color.matrix);
    int e = same ? plan_resize(c, &src, &dst, err) : plan_rows(c, &src, &dst, err);
    if (e < 0)
        upz_convert_plan_destroy(&c);
    else
        *out = c;
    return e;
}

void upz_convert_plan_destroy(UpzConvertPlan **plan)
{
    UpzConvertPlan *c = *plan;
    if (!c) return;
    *plan = NULL;
    upz_resize_picture_destroy(&c->resize);
    upz_free_aligned(c->scratch);
    upz_context_unref(&c->ctx);
    upz_free(c);
}

size_t upz_convert_plan_memory(const UpzConvertPlan *c) { return c->memory; }

static void convert_band(const UpzConvertPlan *c, int index, int worker)
{
    int group = upz_store_group(&c->store), reach = upz_store_reach(&c->store);
    int n = group + 2 * reach;
    uint8_t *mine = c->scratch + c->each * (size_t)worker;
    float *ring = (float *)(void *)(mine + UPZ_ROUND_UP(upz_store_scratch(&c->store), (size_t)64));
    const float *at[3][16];
    const float *const *rows[3] = {at[0], at[1], at[2]};
    int y0 = index * BAND, y1 = UPZ_MIN(y0 + BAND, c->height);
    int next = UPZ_MAX(y0 - reach, 0);
    for (int y = y0; y < y1; y += group) {
        for (; next < UPZ_MIN(y + group + reach, c->height); next++) {
            float *dst[3];
            for (int p = 0; p < 3; p++) dst[p] = ring + (size_t)(next % n * 3 + p) * c->row;
            upz_load_row(&c->load, c->src, next, dst);
        }
        for (int i = 0; i < n; i++) {
            int row = UPZ_CLAMP(y - reach + i, 0, c->height - 1);
            for (int p = 0; p < 3; p++) at[p][i] = ring + (size_t)(row % n * 3 + p) * c->row;
        }
        upz_store_rows(&c->store, (const float *const *const *)rows, y, c->dst, mine);
    }
}

static UpzStep convert_step(void *arg, int worker)
{
    UpzConvertPlan *c = arg;
    if (atomic_load(&c->next) >= c->n_bands) return UPZ_STEP_IDLE;
    int i = atomic_fetch_add(&c->next, 1);
    if (i >= c->n_bands) return UPZ_STEP_IDLE;
    convert_band(c, i, worker);
    return atomic_fetch_add(&c->finished, 1) + 1 == c->n_bands ? UPZ_STEP_DONE : UPZ_STEP_DID;
}

void upz_convert_plan_run(UpzConvertPlan *c, const UprezPicture *src, UprezPicture *dst)
{
    if (!c->by_rows) {
        upz_resize_picture_run(c->resize, src, dst);
        return;
    }
    c->src = src;
    c->dst = dst;
    atomic_store(&c->next, 0);
    atomic_store(&c->finished, 0);
    upz_pool_run(c->ctx->pool, convert_step, c);
    if (c->fill_alpha) upz_picture_fill_alpha(dst);
    if (!c->resize) return;
    UprezPicture from, to;
    upz_picture_component(&from, src, src->format.n_comp - 1);
    upz_picture_component(&to, dst, dst->format.n_comp - 1);
    upz_resize_picture_run(c->resize, &from, &to);
}

int upz_convert_picture(UprezContext *ctx, const UprezPicture *src, UprezPicture *dst,
                        UprezError *err)
{
    UpzConvertPlan *c;
    int e = upz_convert_plan_create(&c, ctx, src, dst, err);
    if (e < 0) return e;
    upz_convert_plan_run(c, src, dst);
    upz_convert_plan_destroy(&c);
    return 0;
}
