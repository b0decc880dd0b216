/* Each row of the result asks for a window of the source's chroma rows. For every column the last row
 * with colour is kept, then along the row the last column with colour in the window: two comparisons a
 * sample, however large the radius. */
#include "picture/neutral.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/color.h"

enum { BAND = 64 /* rows of units */ };

/* What is decided at once: a chroma sample of the result, or a pixel where it is RGB. */
struct UpzNeutral {
    UprezContext *ctx;
    UprezPicture like, result; /* shapes */
    int fx, fy;                /* px of a unit */
    int width, height;         /* units */
    int *lo, *hi;              /* of each unit column: chroma columns of the source it depends on */
    int *scratch;              /* a worker's: last row with colour, last column with colour */
    size_t each;               /* ints */
    uint32_t weight[3];        /* RGB: luma, of 65536 */
    float share[3];
    size_t memory;
    /* in work */
    const UprezPicture *src;
    UprezPicture *dst;
    int x0, x1, y0, y1; /* units */
};

bool upz_neutral_applies(const UprezPicture *src, const UprezPicture *dst)
{
    const bool from = src->format.model == UPREZ_GRAY ||
                      (src->format.model == UPREZ_YUV && src->color.matrix != 0);
    const bool to = dst->format.model == UPREZ_RGB ||
                    (dst->format.model == UPREZ_YUV && dst->color.matrix != 0);
    return from && to; /* matrix 0: planes of R'G'B' under the names of YUV */
}

/* Source px a … b - 1 that unit i of a result's axis shows, widened: as chroma samples a … b. */
static void window(int i, int f, int to, int from, int sub, int *a, int *b)
{
    const int64_t first = (int64_t)i * f * from / to;
    const int64_t last = ((int64_t)UPZ_MIN((i + 1) * f, to) * from + to - 1) / to - 1;
    *a = (int)UPZ_CLAMP(first - UPZ_NEUTRAL_RADIUS, 0, from - 1) >> sub;
    *b = (int)UPZ_CLAMP(last + UPZ_NEUTRAL_RADIUS, 0, from - 1) >> sub;
}

static void set_weights(UpzNeutral *n)
{
    double w[3];
    upz_luma_weights(&n->like.color, w);
    for (int i = 0; i < 3; i++) {
        n->weight[i] = (uint32_t)lrint(w[i] * 65536);
        n->share[i] = (float)w[i];
    }
    n->weight[1] = 65536 - n->weight[0] - n->weight[2]; /* grey keeps its value exactly */
}

int upz_neutral_create(UpzNeutral **out, UprezContext *ctx, const UprezPicture *src,
                       const UprezPicture *dst, UprezError *err)
{
    *out = NULL;
    UpzNeutral *n = upz_calloc(1, sizeof(*n));
    if (!n) return upz_fail_memory(err, sizeof(*n), "the upscaler");
    n->ctx = upz_context_ref(ctx);
    n->like = *src;
    n->result = *dst;
    const UprezFormat *f = &dst->format;
    n->fx = 1 << f->sub_x;
    n->fy = 1 << f->sub_y;
    n->width = upz_component_width(f, 1, dst->width);
    n->height = upz_component_height(f, 1, dst->height);
    n->each = 2 * (size_t)upz_component_width(&src->format, 1, src->width);
    const size_t threads = (size_t)upz_pool_size(ctx->pool);
    n->lo = upz_calloc((size_t)n->width, sizeof(int));
    n->hi = upz_calloc((size_t)n->width, sizeof(int));
    n->scratch = upz_calloc(n->each * threads, sizeof(int));
    n->memory = sizeof(*n) + (2 * (size_t)n->width + n->each * threads) * sizeof(int);
    if (!n->lo || !n->hi || !n->scratch) {
        const size_t bytes = n->memory;
        upz_neutral_destroy(&n);
        return upz_fail_memory(err, bytes, "the upscaler");
    }
    for (int i = 0; i < n->width; i++)
        window(i, n->fx, dst->width, src->width, src->format.sub_x, &n->lo[i], &n->hi[i]);
    set_weights(n);
    *out = n;
    return 0;
}

void upz_neutral_destroy(UpzNeutral **neutral)
{
    UpzNeutral *n = *neutral;
    if (!n) return;
    *neutral = NULL;
    upz_free(n->lo);
    upz_free(n->hi);
    upz_free(n->scratch);
    upz_context_unref(&n->ctx);
    upz_free(n);
}

size_t upz_neutral_memory(const UpzNeutral *n) { return n->memory; }

static uint8_t *at(const UprezPicture *p, int comp, int x, int y)
{
    const UprezComponent *c = &p->format.comp[comp];
    return (uint8_t *)p->plane[c->plane] + p->stride[c->plane] * y + c->offset + (size_t)x * c->step;
}

/* Row y of a chroma plane: columns x0 … x1 that have colour get y in last[]. */
static void look(const UprezPicture *src, int comp, int y, int x0, int x1, int *last)
{
    const UprezFormat *f = &src->format;
    const int step = f->comp[comp].step;
    const uint8_t *p = at(src, comp, x0, y);
    const uint16_t grey = (uint16_t)((1u << (UPZ_MIN(f->depth, 16) - 1)) << f->shift);
    if (f->depth == 8 && step == 1) {
        for (int x = x0; x <= x1; x++) last[x] = p[x - x0] != 128 ? y : last[x];
    } else if (f->depth == 8) {
        for (int x = x0; x <= x1; x++, p += step) last[x] = *p != 128 ? y : last[x];
    } else if (f->depth == 32) {
        for (int x = x0; x <= x1; x++, p += step)
            if (*(const float *)(const void *)p != 0) last[x] = y;
    } else {
        for (int x = x0; x <= x1; x++, p += step)
            last[x] = *(const uint16_t *)(const void *)p != grey ? y : last[x];
    }
}

static void set_chroma(const UpzNeutral *n, int x, int y)
{
    const UprezFormat *f = &n->dst->format;
    for (int c = 1; c < 3; c++) {
        uint8_t *p = at(n->dst, c, x, y);
        if (f->depth == 8) *p = 128;
        else if (f->depth == 32) *(float *)(void *)p = 0;
        else *(uint16_t *)(void *)p = (uint16_t)((1u << (f->depth - 1)) << f->shift);
    }
}

/* Words of more than 8 bits may be padded at their lower end: code << shift. */
static void set_grey(const UpzNeutral *n, int x, int y)
{
    const UprezFormat *f = &n->dst->format;
    uint8_t *p[3];
    for (int c = 0; c < 3; c++) p[c] = at(n->dst, c, x, y);
    if (f->depth == 32) {
        float v = 0;
        for (int c = 0; c < 3; c++) v += n->share[c] * *(float *)(void *)p[c];
        for (int c = 0; c < 3; c++) *(float *)(void *)p[c] = v;
        return;
    }
    uint64_t v = 32768;
    for (int c = 0; c < 3; c++)
        v += (uint64_t)n->weight[c] *
             (f->depth == 8 ? *p[c] : (unsigned)*(uint16_t *)(void *)p[c] >> f->shift);
    v >>= 16;
    for (int c = 0; c < 3; c++) {
        if (f->depth == 8) *p[c] = (uint8_t)v;
        else *(uint16_t *)(void *)p[c] = (uint16_t)(v << f->shift);
    }
}

static void set_unit(const UpzNeutral *n, int x, int y)
{
    if (n->dst->format.model == UPREZ_YUV) set_chroma(n, x, y);
    else set_grey(n, x, y);
}

static void run_band(void *arg, int index, int worker)
{
    const UpzNeutral *n = arg;
    const bool gray = n->like.format.model == UPREZ_GRAY;
    const int y0 = n->y0 + index * BAND, y1 = UPZ_MIN(y0 + BAND, n->y1);
    const int c0 = n->lo[n->x0], c1 = n->hi[n->x1 - 1];
    int *row = n->scratch + n->each * (size_t)worker, *column = row + n->each / 2;
    int next = -1;
    if (!gray)
        for (int x = c0; x <= c1; x++) row[x] = -1;
    for (int y = y0; y < y1; y++) {
        int a, b;
        window(y, n->fy, n->result.height, n->like.height, n->like.format.sub_y, &a, &b);
        if (gray) {
            for (int x = n->x0; x < n->x1; x++) set_unit(n, x, y);
            continue;
        }
        if (next < 0) next = a;
        for (; next <= b; next++) {
            look(n->src, 1, next, c0, c1, row);
            look(n->src, 2, next, c0, c1, row);
        }
        int found = -1;
        for (int x = c0; x <= c1; x++) {
            if (row[x] >= a) found = x;
            column[x] = found;
        }
        for (int x = n->x0; x < n->x1; x++)
            if (column[n->hi[x]] < n->lo[x]) set_unit(n, x, y);
    }
}

void upz_neutral_run(UpzNeutral *n, const UprezPicture *src, UprezPicture *dst,
                     const UprezRect *rects, int n_rects)
{
    n->src = src;
    n->dst = dst;
    for (int i = 0; i < n_rects; i++) {
        const UprezRect *r = &rects[i];
        n->x0 = r->x / n->fx;
        n->y0 = r->y / n->fy;
        n->x1 = UPZ_MIN((r->x + r->w + n->fx - 1) / n->fx, n->width);
        n->y1 = UPZ_MIN((r->y + r->h + n->fy - 1) / n->fy, n->height);
        if (n->x0 >= n->x1 || n->y0 >= n->y1) continue;
        upz_pool_for(n->ctx->pool, (n->y1 - n->y0 + BAND - 1) / BAND, run_band, n);
    }
}
