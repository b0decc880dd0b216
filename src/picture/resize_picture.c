/* Resampling of whole pictures as work for the pool: bands of rows of a plane. */
#include "picture/resize.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/color.h"

enum { BAND_MIN = 64, BAND_MAX = 256 }; /* rows: a band computes a kernel's worth of rows twice */

typedef struct Part {
    UpzResize *resize; /* NULL: alpha the source does not have; filled with opaque */
    int src, dst;      /* components */
} Part;

struct UpzResizePicture {
    UprezContext *ctx;
    UprezFormat src_format, dst_format;
    Part parts[4];
    int n_parts;
    /* pieces: bands of the output's planes */
    int band[4], bands[4], height[4], n_pieces, n_plane;
    uint8_t *scratch;
    size_t scratch_each, memory;
    const UprezPicture *src;
    UprezPicture *dst;
    atomic_int next, finished;
};

static int component_resize(UpzResize **out, UpzResizeKernel kernel, UpzCpuLevel cpu,
                            const UprezPicture *src, const UprezPicture *dst, int sc, int dc,
                            UprezError *err)
{
    const UprezFormat *sf = &src->format, *df = &dst->format;
    bool chroma = upz_format_is_chroma(df, dc);
    UpzResizeParams p = {.kernel = kernel,
                         .src_w = upz_component_width(sf, sc, src->width),
                         .src_h = upz_component_height(sf, sc, src->height),
                         .dst_w = upz_component_width(df, dc, dst->width),
                         .dst_h = upz_component_height(df, dc, dst->height),
                         .depth_src = sf->depth, .depth_dst = df->depth,
                         .shift_bits_src = sf->shift, .shift_bits_dst = df->shift,
                         .step_src = sf->comp[sc].step, .step_dst = df->comp[dc].step};
    if (chroma) {
        const int size[2][2] = {{src->width, dst->width}, {src->height, dst->height}};
        const int sub[2][2] = {{sf->sub_x, df->sub_x}, {sf->sub_y, df->sub_y}};
        for (int v = 0; v < 2; v++) {
            double ps = upz_chroma_phase(&src->color, sub[v][0], v);
            double pd = upz_chroma_phase(&dst->color, sub[v][1], v);
            int *ratio = v ? p.ratio_y : p.ratio_x;
            ratio[0] = size[v][0] << sub[v][1];
            ratio[1] = size[v][1] << sub[v][0];
            double scale = (double)size[v][0] / size[v][1], fs = 1 << sub[v][0];
            double shift = ((pd + 0.5) * scale - 0.5 - ps) / fs + 0.5 -
                           0.5 * ratio[0] / ratio[1];
            *(v ? &p.shift_y : &p.shift_x) = fabs(shift) < 1e-12 ? 0 : shift;
        }
    }
    double so, sg, d_o, dg;
    upz_code_range(sf, &src->color, sc, &so, &sg);
    upz_code_range(df, &dst->color, dc, &d_o, &dg);
    p.gain = dg / sg;
    p.bias = d_o - so * p.gain;
    if (fabs(p.bias) < 1e-9) p.bias = 0;
    return upz_resize_create(out, &p, cpu, err);
}

static int check_pair(const UprezPicture *src, const UprezPicture *dst, UprezError *err)
{
    if (!upz_format_valid(&src->format) || !upz_format_valid(&dst->format))
        return upz_fail(err, UPREZ_ERR_USAGE, "the picture's format description is not valid");
    if (src->format.model != dst->format.model)
        return upz_fail(err, UPREZ_ERR_USAGE,
                        "a picture cannot be resized to another colour model; convert it first");
    if (src->format.model == UPREZ_YUV && src->color.matrix != dst->color.matrix)
        return upz_fail(err, UPREZ_ERR_USAGE,
                        "a picture cannot be resized to another colour matrix; convert it first");
    return 0;
}

int upz_resize_picture_create(UpzResizePicture **out, UprezContext *ctx, UpzResizeKernel kernel,
                              const UprezPicture *src_like, const UprezPicture *dst_like,
                              UprezError *err)
{
    *out = NULL;
    int e = check_pair(src_like, dst_like, err);
    if (e < 0) return e;
    UpzResizePicture *r = upz_calloc(1, sizeof(*r));
    if (!r) return upz_fail_memory(err, sizeof(*r), "a resampler");
    r->ctx = upz_context_ref(ctx);
    r->src_format = src_like->format;
    r->dst_format = dst_like->format;
    r->memory = sizeof(*r);
    UprezPicture src = *src_like, dst = *dst_like;
    upz_color_resolve(&src.color, &src.format, src.width, src.height);
    upz_color_resolve(&dst.color, &dst.format, src.width, src.height);

    const UprezFormat *sf = &src.format, *df = &dst.format;
    for (int c = 0; c < df->n_comp; c++) {
        bool alpha = df->alpha && c == df->n_comp - 1;
        Part *part = &r->parts[r->n_parts++];
        part->dst = c;
        part->src = alpha ? sf->n_comp - 1 : c;
        if (alpha && !sf->alpha) continue;
        e = component_resize(&part->resize, kernel, ctx->cpu, &src, &dst, part->src, c, err);
        if (e < 0) goto fail;
        r->memory += upz_resize_memory(part->resize);
        r->scratch_each = UPZ_MAX(r->scratch_each, upz_resize_scratch(part->resize));
    }
    int threads = upz_pool_size(ctx->pool);
    r->n_plane = df->n_plane;
    for (int i = 0; i < df->n_plane; i++) {
        r->height[i] = upz_plane_height(df, i, dst.height);
        r->band[i] = UPZ_CLAMP(r->height[i] / (threads * 4), BAND_MIN, BAND_MAX);
        r->bands[i] = (r->height[i] + r->band[i] - 1) / r->band[i];
        r->n_pieces += r->bands[i];
    }
    r->scratch_each = UPZ_ROUND_UP(r->scratch_each + 64, (size_t)64);
    r->scratch = upz_alloc_aligned(r->scratch_each * (size_t)threads);
    r->memory += r->scratch_each * (size_t)threads;
    if (!r->scratch) {
        e = upz_fail_memory(err, r->scratch_each * (size_t)threads, "the resampler's rows");
        goto fail;
    }
    *out = r;
    return 0;
fail:
    upz_resize_picture_destroy(&r);
    return e;
}

void upz_resize_picture_destroy(UpzResizePicture **resize)
{
    UpzResizePicture *r = *resize;
    if (!r) return;
    *resize = NULL;
    for (int i = 0; i < r->n_parts; i++) upz_resize_destroy(&r->parts[i].resize);
    upz_free_aligned(r->scratch);
    upz_context_unref(&r->ctx);
    upz_free(r);
}

size_t upz_resize_picture_memory(const UpzResizePicture *r) { return r->memory; }

static void piece(UpzResizePicture *r, int index, int worker)
{
    int plane = 0;
    while (index >= r->bands[plane]) index -= r->bands[plane++];
    int y0 = index * r->band[plane], y1 = UPZ_MIN(y0 + r->band[plane], r->height[plane]);
    void *scratch = r->scratch + r->scratch_each * (size_t)worker;
    for (int i = 0; i < r->n_parts; i++) {
        const Part *p = &r->parts[i];
        const UprezComponent *d = &r->dst_format.comp[p->dst];
        if (d->plane != plane) continue;
        uint8_t *to = (uint8_t *)r->dst->plane[plane] + d->offset;
        if (p->resize) {
            const UprezComponent *s = &r->src_format.comp[p->src];
            const uint8_t *from = (const uint8_t *)r->src->plane[s->plane] + s->offset;
            upz_resize_rows(p->resize, from, r->src->stride[s->plane], to, r->dst->stride[plane],
                            y0, y1, scratch);
        } else {
            UprezPicture band = *r->dst;
            band.plane[plane] = (uint8_t *)band.plane[plane] + band.stride[plane] * y0;
            band.height = y1 - y0;
            upz_picture_fill_alpha(&band);
        }
    }
    if (plane == 0) upz_picture_fill_pair(r->dst, y0, y1);
}

void upz_resize_picture_begin(UpzResizePicture *r, const UprezPicture *src, UprezPicture *dst)
{
    r->src = src;
    r->dst = dst;
    atomic_store(&r->next, 0);
    atomic_store(&r->finished, 0);
}

UpzStep upz_resize_picture_step(void *arg, int worker)
{
    UpzResizePicture *r = arg;
    if (atomic_load(&r->next) >= r->n_pieces) return UPZ_STEP_IDLE;
    int i = atomic_fetch_add(&r->next, 1);
    if (i >= r->n_pieces) return UPZ_STEP_IDLE;
    piece(r, i, worker);
    return atomic_fetch_add(&r->finished, 1) + 1 == r->n_pieces ? UPZ_STEP_DONE : UPZ_STEP_DID;
}

void upz_resize_picture_run(UpzResizePicture *r, const UprezPicture *src, UprezPicture *dst)
{
    upz_resize_picture_begin(r, src, dst);
    upz_pool_run(r->ctx->pool, upz_resize_picture_step, r);
}
