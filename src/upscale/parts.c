#include "upscale/parts.h"

#include <stdlib.h>
#include <string.h>

enum { OPEN = 2 * UPZ_TODO_MAX /* rectangles while they are being found */ };

typedef struct Box {
    int x0, y0, x1, y1;
} Box;

/* A list of boxes inside w x h px, and what surrounds each when it is computed. */
typedef struct Boxes {
    Box box[OPEN];
    int n, w, h;
    const int *margin;
} Boxes;

static Box join(Box a, Box b)
{
    return (Box){UPZ_MIN(a.x0, b.x0), UPZ_MIN(a.y0, b.y0), UPZ_MAX(a.x1, b.x1),
                 UPZ_MAX(a.y1, b.y1)};
}

static bool overlap(Box a, Box b)
{
    return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
}

/* Pixels computed for a box. */
static double cost(const Boxes *l, Box b)
{
    const double w = UPZ_MIN(b.x1 + l->margin[0], l->w) - UPZ_MAX(b.x0 - l->margin[0], 0);
    const double h = UPZ_MIN(b.y1 + l->margin[1], l->h) - UPZ_MAX(b.y0 - l->margin[1], 0);
    return w * h;
}

static double added(const Boxes *l, Box a, Box b)
{
    return cost(l, join(a, b)) - cost(l, a) - cost(l, b);
}

/* Boxes i < k become one. */
static void fuse(Boxes *l, int i, int k)
{
    l->box[i] = join(l->box[i], l->box[k]);
    l->box[k] = l->box[--l->n];
}

static void fuse_cheapest(Boxes *l)
{
    int a = 0, b = 1;
    double least = added(l, l->box[0], l->box[1]);
    for (int i = 0; i < l->n; i++)
        for (int k = i + 1; k < l->n; k++) {
            const double more = added(l, l->box[i], l->box[k]);
            if (more >= least) continue;
            least = more;
            a = i, b = k;
        }
    fuse(l, a, b);
}

/* Into the list, joined with those that this makes cheaper. */
static void add(Boxes *l, Box b)
{
    for (int i = 0; i < l->n;) {
        if (added(l, l->box[i], b) > 0) {
            i++;
            continue;
        }
        b = join(l->box[i], b);
        l->box[i] = l->box[--l->n];
        i = 0; /* a bigger one may swallow those passed over */
    }
    if (l->n == OPEN) fuse_cheapest(l);
    l->box[l->n++] = b;
}

/* At most UPZ_TODO_MAX boxes that do not overlap. */
static void settle(Boxes *l)
{
    while (l->n > UPZ_TODO_MAX) fuse_cheapest(l);
    for (int i = 0; i < l->n; i++)
        for (int k = i + 1; k < l->n; k++)
            if (overlap(l->box[i], l->box[k])) {
                fuse(l, i, k);
                i = -1; /* from the start: it may overlap others now */
                break;
            }
}

static void put(UpzParts *out, const Boxes *l)
{
    *out = (UpzParts){.n = l->n};
    for (int i = 0; i < l->n; i++)
        out->rect[i] = (UprezRect){l->box[i].x0, l->box[i].y0, l->box[i].x1 - l->box[i].x0,
                                   l->box[i].y1 - l->box[i].y0};
}

void upz_parts_cells(UpzParts *out, const uint8_t *changed, int width, int height, int cell,
                     const int margin[2])
{
    const int across = (width + cell - 1) / cell;
    Boxes l = {.w = width, .h = height, .margin = margin};
    for (int y = 0; y < height; y += cell, changed += across)
        for (int i = 0, end; i < across; i = end) {
            end = i + 1;
            if (!changed[i]) continue;
            while (end < across && changed[end]) end++;
            add(&l, (Box){i * cell, y, UPZ_MIN(end * cell, width), UPZ_MIN(y + cell, height)});
        }
    settle(&l);
    put(out, &l);
}

static void map_axis(int from, int to, int reach, int grain, int *a, int *b)
{
    const int64_t first = (int64_t)*a * to / from - reach;
    const int64_t last = ((int64_t)*b * to + from - 1) / from + reach;
    const int lo = (int)UPZ_CLAMP(first, 0, to), hi = (int)UPZ_CLAMP(last, 0, to);
    *a = lo / grain * grain;
    *b = UPZ_MIN(UPZ_ROUND_UP(hi, grain), to);
}

void upz_parts_map(UpzParts *out, const UpzParts *in, int from_w, int from_h, int to_w, int to_h,
                   const int reach[2], const int grain[2], const int margin[2])
{
    Boxes l = {.w = to_w, .h = to_h, .margin = margin};
    if (in->all) {
        *out = (UpzParts){.all = true};
        return;
    }
    for (int i = 0; i < in->n; i++) {
        const UprezRect *r = &in->rect[i];
        Box b = {r->x, r->y, r->x + r->w, r->y + r->h};
        map_axis(from_w, to_w, reach[0], grain[0], &b.x0, &b.x1);
        map_axis(from_h, to_h, reach[1], grain[1], &b.y0, &b.y1);
        add(&l, b);
    }
    settle(&l);
    double sum = 0;
    for (int i = 0; i < l.n; i++) sum += cost(&l, l.box[i]);
    put(out, &l);
    if (sum > 0.8 * to_w * to_h) *out = (UpzParts){.all = true};
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

int upz_parts_rest(const UpzParts *p, int width, int height, UprezRect rest[UPZ_PARTS_REST])
{
    int n = 0, line[2 * UPZ_TODO_MAX + 2], lines = 0, above = 0; /* first of the band above */
    if (p->all) return 0;
    line[lines++] = 0;
    line[lines++] = height;
    for (int i = 0; i < p->n; i++) {
        line[lines++] = p->rect[i].y;
        line[lines++] = p->rect[i].y + p->rect[i].h;
    }
    qsort(line, (size_t)lines, sizeof(*line), by_number);
    for (int i = 0; i + 1 < lines; i++) { /* bands in which nothing begins or ends */
        const int y0 = line[i], y1 = line[i + 1], begin = n;
        if (y0 == y1) continue;
        for (int x = 0; x < width;) {
            int end = width, next = width;
            for (int k = 0; k < p->n; k++) {
                const UprezRect *r = &p->rect[k];
                if (r->y >= y1 || r->y + r->h <= y0 || r->x + r->w <= x || r->x >= end) continue;
                end = UPZ_MAX(r->x, x);
                next = r->x + r->w;
            }
            if (end > x) rest[n++] = (UprezRect){x, y0, end - x, y1 - y0};
            x = next;
        }
        /* the same columns as in the band above: one rectangle each */
        bool same = n - begin == begin - above && begin > above &&
                    rest[above].y + rest[above].h == y0;
        for (int k = 0; k < n - begin && same; k++)
            same = rest[above + k].x == rest[begin + k].x && rest[above + k].w == rest[begin + k].w;
        if (same) {
            for (int k = above; k < begin; k++) rest[k].h += y1 - y0;
            n = begin;
        } else {
            above = begin;
        }
    }
    return n;
}

double upz_parts_share(const UpzParts *p, int width, int height)
{
    double area = 0;
    if (p->all) return 1;
    for (int i = 0; i < p->n; i++) area += (double)p->rect[i].w * p->rect[i].h;
    return area / ((double)width * height);
}
