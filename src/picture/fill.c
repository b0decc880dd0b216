#include "picture/fill.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/format.h"

enum { FAR = 255 /* a ring that no sample is in: hidden, and not filled yet */ };

struct UpzFill {
    uint8_t *ring;   /* of each sample: 0 = seen */
    uint32_t *front; /* samples of a ring and of the next */
    size_t room, memory;
};

int upz_fill_create(UpzFill **out, const UprezPicture *like, UprezError *err)
{
    *out = NULL;
    UpzFill *f = upz_calloc(1, sizeof(*f));
    if (!f) return upz_fail_memory(err, sizeof(*f), "the upscaler");
    f->room = (size_t)like->width * (size_t)like->height;
    if (f->room > UINT32_MAX) {
        upz_free(f);
        return upz_fail(err, UPREZ_ERR_USAGE, "pictures with alpha of %dx%d pixels are too large",
                        like->width, like->height);
    }
    f->ring = upz_calloc(f->room, 1);
    f->front = upz_calloc(f->room, sizeof(*f->front));
    f->memory = sizeof(*f) + f->room * (1 + sizeof(*f->front));
    if (!f->ring || !f->front) {
        const size_t bytes = f->memory;
        upz_fill_destroy(&f);
        return upz_fail_memory(err, bytes, "the upscaler");
    }
    *out = f;
    return 0;
}

void upz_fill_destroy(UpzFill **fill)
{
    UpzFill *f = *fill;
    if (!f) return;
    *fill = NULL;
    upz_free(f->ring);
    upz_free(f->front);
    upz_free(f);
}

size_t upz_fill_memory(const UpzFill *f) { return f->memory; }

static uint8_t *at(const UprezPicture *p, int comp, int x, int y)
{
    const UprezComponent *c = &p->format.comp[comp];
    return (uint8_t *)p->plane[c->plane] + p->stride[c->plane] * y + c->offset + (size_t)x * c->step;
}

static bool seen(const UprezPicture *p, int x, int y)
{
    const UprezFormat *f = &p->format;
    const uint8_t *a = at(p, f->n_comp - 1, x, y);
    if (f->depth == 8) return *a != 0;
    if (f->depth == 32) return *(const float *)(const void *)a > 0;
    return *(const uint16_t *)(const void *)a >> f->shift != 0;
}

/* Components of one size: w x h samples of 1 << sx by 1 << sy px. */
typedef struct Grid {
    int first, n; /* components */
    int w, h, sx, sy;
} Grid;

static bool any_seen(const UprezPicture *p, const Grid *g, int x, int y)
{
    const int x1 = UPZ_MIN((x + 1) << g->sx, p->width), y1 = UPZ_MIN((y + 1) << g->sy, p->height);
    for (int j = y << g->sy; j < y1; j++)
        for (int i = x << g->sx; i < x1; i++)
            if (seen(p, i, j)) return true;
    return false;
}

/* Which samples are hidden; returns how many. */
static size_t mark(UpzFill *f, const UprezPicture *src, const Grid *g)
{
    size_t hidden = 0;
    uint8_t *ring = f->ring;
    for (int y = 0; y < g->h; y++)
        for (int x = 0; x < g->w; x++, ring++) {
            *ring = any_seen(src, g, x, y) ? 0 : FAR;
            hidden += *ring != 0;
        }
    return hidden;
}

/* Calls for each neighbour of sample i. */
#define NEIGHBOURS(g, i, k) \
    for (int x_ = (int)((i) % (uint32_t)(g)->w), y_ = (int)((i) / (uint32_t)(g)->w), \
             v_ = UPZ_MAX(y_ - 1, 0); v_ <= UPZ_MIN(y_ + 1, (g)->h - 1); v_++) \
        for (int u_ = UPZ_MAX(x_ - 1, 0); u_ <= UPZ_MIN(x_ + 1, (g)->w - 1); u_++) \
            for (uint32_t k = (uint32_t)v_ * (uint32_t)(g)->w + (uint32_t)u_, once_ = 1; once_; \
                 once_ = 0)

static void set(UpzFill *f, UprezPicture *dst, const Grid *g, uint32_t i, int ring)
{
    const UprezFormat *format = &dst->format;
    for (int c = g->first; c < g->first + g->n; c++) {
        uint32_t sum = 0, count = 0;
        float total = 0;
        NEIGHBOURS(g, i, k) {
            if (f->ring[k] != ring - 1) continue;
            const uint8_t *p = at(dst, c, u_, v_);
            count++;
            if (format->depth == 8) sum += *p;
            else if (format->depth == 32) total += *(const float *)(const void *)p;
            else sum += (uint32_t)(*(const uint16_t *)(const void *)p >> format->shift);
        }
        uint8_t *to = at(dst, c, (int)(i % (uint32_t)g->w), (int)(i / (uint32_t)g->w));
        const uint32_t mean = (sum + count / 2) / count;
        if (format->depth == 8) *to = (uint8_t)mean;
        else if (format->depth == 32) *(float *)(void *)to = total / (float)count;
        else *(uint16_t *)(void *)to = (uint16_t)(mean << format->shift);
    }
}

/* Hidden samples beside a seen one, put at the front's start; returns how many. */
static size_t first_ring(UpzFill *f, const Grid *g)
{
    size_t n = 0;
    const uint32_t end = (uint32_t)g->w * (uint32_t)g->h;
    for (uint32_t i = 0; i < end; i++) {
        if (f->ring[i] != FAR) continue;
        bool edge = false;
        NEIGHBOURS(g, i, k) edge |= !f->ring[k];
        if (edge) f->front[n++] = i;
    }
    return n;
}

static void fill_grid(UpzFill *f, const UprezPicture *src, UprezPicture *dst, const Grid *g)
{
    if (!mark(f, src, g)) return;
    const int rings = UPZ_FILL_REACH >> UPZ_MAX(g->sx, g->sy);
    size_t from = 0, to = first_ring(f, g);
    for (size_t k = 0; k < to; k++) f->ring[f->front[k]] = 1;
    for (int ring = 1; ring <= rings && from < to; ring++) {
        size_t end = to;
        for (size_t k = from; k < to; k++) {
            set(f, dst, g, f->front[k], ring);
            if (ring == rings) continue;
            NEIGHBOURS(g, f->front[k], next) {
                if (f->ring[next] != FAR) continue;
                f->ring[next] = (uint8_t)(ring + 1);
                f->front[end++] = next;
            }
        }
        from = to;
        to = end;
    }
}

void upz_fill_run(UpzFill *f, const UprezPicture *src, UprezPicture *dst)
{
    const UprezFormat *format = &src->format;
    for (int i = 0; i < format->n_plane; i++) {
        const size_t bytes = upz_plane_row_bytes(format, i, src->width);
        for (int y = 0; y < upz_plane_height(format, i, src->height); y++)
            memcpy((uint8_t *)dst->plane[i] + dst->stride[i] * y,
                   (const uint8_t *)src->plane[i] + src->stride[i] * y, bytes);
    }
    const int colours = format->n_comp - 1;
    const bool reduced = format->model == UPREZ_YUV && (format->sub_x || format->sub_y);
    const Grid all = {0, reduced ? 1 : colours, src->width, src->height, 0, 0};
    fill_grid(f, src, dst, &all);
    if (!reduced) return;
    const Grid chroma = {1, 2, upz_component_width(format, 1, src->width),
                         upz_component_height(format, 1, src->height), format->sub_x,
                         format->sub_y};
    fill_grid(f, src, dst, &chroma);
}
