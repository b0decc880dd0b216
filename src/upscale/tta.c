#include "upscale/tta.h"

typedef struct Rows {
    const UprezPicture *src;
    UprezPicture *dst;
    int t;
    float weight;
} Rows;

static const float *row_in(const UprezPicture *p, int plane, int y)
{
    return (const float *)((const char *)p->plane[plane] + y * p->stride[plane]);
}

static float *row_out(UprezPicture *p, int plane, int y)
{
    return (float *)((char *)p->plane[plane] + y * p->stride[plane]);
}

static void turn_row(void *arg, int y, int worker)
{
    (void)worker;
    const Rows *r = arg;
    const int w = r->dst->width, h = r->dst->height;
    const int yy = r->t & 4 ? h - 1 - y : y;
    for (int p = 0; p < r->dst->format.n_plane; p++) {
        float *out = row_out(r->dst, p, y);
        for (int x = 0; x < w; x++) {
            int xx = r->t & 2 ? w - 1 - x : x;
            out[x] = r->t & 1 ? row_in(r->src, p, xx)[yy] : row_in(r->src, p, yy)[xx];
        }
    }
}

void upz_tta_turn(UprezContext *ctx, const UprezPicture *src, UprezPicture *dst, int t)
{
    Rows r = {.src = src, .dst = dst, .t = t};
    upz_pool_for(ctx->pool, dst->height, turn_row, &r);
}

static void add_row(void *arg, int y, int worker)
{
    (void)worker;
    const Rows *r = arg;
    const int w = r->dst->width, sw = r->src->width, sh = r->src->height;
    for (int p = 0; p < r->dst->format.n_plane; p++) {
        float *out = row_out(r->dst, p, y);
        for (int x = 0; x < w; x++) {
            int xs = r->t & 1 ? y : x, ys = r->t & 1 ? x : y;
            if (r->t & 2) xs = sw - 1 - xs;
            if (r->t & 4) ys = sh - 1 - ys;
            float v = r->weight * row_in(r->src, p, ys)[xs];
            out[x] = r->t ? out[x] + v : v;
        }
    }
}

void upz_tta_add(UprezContext *ctx, const UprezPicture *src, UprezPicture *acc, int t, float weight)
{
    Rows r = {.src = src, .dst = acc, .t = t, .weight = weight};
    upz_pool_for(ctx->pool, acc->height, add_row, &r);
}

static void blend_row(void *arg, int y, int worker)
{
    (void)worker;
    const Rows *r = arg;
    for (int p = 0; p < r->dst->format.n_plane; p++) {
        float *out = row_out(r->dst, p, y);
        const float *in = row_in(r->src, p, y);
        for (int x = 0; x < r->dst->width; x++) out[x] += r->weight * (in[x] - out[x]);
    }
}

void upz_blend(UprezContext *ctx, UprezPicture *dst, const UprezPicture *other, float share)
{
    Rows r = {.src = other, .dst = dst, .weight = share};
    upz_pool_for(ctx->pool, dst->height, blend_row, &r);
}
