/* Geometry and memory of a flow: strips, parts, who waits for whom, and how deep rings must be. */
#include "engine/cpu/conv.h"
#include "engine/cpu/flow.h"
#include "engine/cpu/tiles.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#define MARGIN_LEFT 8         /* px of zeros beside a map, at least */
#define MARGIN_RIGHT 12

/* ---- geometry ---- */

static int place_ring(UpzFlow *f, int i, int unit, int dst_w, int dst_h, int strip, UprezError *err)
{
    const UpzStage *s = &f->program->stages[i];
    UpzRing *l = &f->rings[i];
    const bool wanted = s->kind == UPZ_STAGE_PLANAR || s->kind == UPZ_STAGE_STORE;
    const int64_t w = (int64_t)f->w * s->num, h = (int64_t)f->h * s->num;
    if (w % s->den || h % s->den || w / s->den > UPREZ_SIDE_MAX || h / s->den > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a %dx%d picture is too large for this network: "
                        "no map may exceed %d pixels a side", f->src_w, f->src_h, UPREZ_SIDE_MAX);
    l->w = wanted ? dst_w : (int)(w / s->den);
    l->h = wanted ? dst_h : (int)(h / s->den);
    int end_y = s->end_y;
    l->strip = strip;
    if (s->kind == UPZ_STAGE_PLANAR) l->strip = strip * s->factor;
    if (s->kind == UPZ_STAGE_STORE) {
        l->strip = f->rings[i - 1].strip;
        end_y = upz_floor_div(end_y - f->store_reach + 1, f->store_group) * f->store_group - 1;
    }
    l->first = (end_y + 1) - upz_floor_div(end_y + 1, l->strip) * l->strip;
    if (l->first > 0) l->first -= l->strip;
    l->n_strips = (l->h - l->first + l->strip - 1) / l->strip;
    l->parts = s->kind == UPZ_STAGE_LOAD || s->kind == UPZ_STAGE_STORE ? 1 : f->parts;
    for (int p = 1; p < l->parts; p++) {
        const int64_t at = (int64_t)(f->w / unit) * p / l->parts * unit;
        l->bound[p] = UPZ_CLAMP((int)(at * s->num / s->den) + s->end_x + 1, 0, l->w);
    }
    l->bound[0] = 0;
    l->bound[l->parts] = l->w;
    return 0;
}

/* First and last row of `from` that a strip of `to` reads, clipped; false if it reads none. */
static bool strip_need(const UpzFlow *f, const UpzEdge *e, int view, int strip, int *first,
                       int *last)
{
    const UpzStage *s = &f->program->stages[e->to];
    const UpzRing *from = &f->rings[e->from];
    int y0, y1, ignored;
    upz_ring_rows(&f->rings[e->to], strip, &y0, &y1);
    if (y0 >= y1) return false;
    if (s->kind == UPZ_STAGE_STORE) {
        *first = y0 - f->store_reach;
        *last = y1 - 1 + f->store_reach;
    } else {
        upz_stage_need(f->program, s, view, 1, y0, first, &ignored);
        upz_stage_need(f->program, s, view, 1, y1 - 1, &ignored, last);
    }
    *first = UPZ_CLAMP(*first, 0, from->h - 1);
    *last = UPZ_CLAMP(*last, 0, from->h - 1);
    return true;
}

/* How many parts after part p of `from` a part of `to` may still look back across its right border:
 * 1 for neighbours, more where `to` lags far behind. */
static int parts_back(const UpzFlow *f, const UpzEdge *e, int view)
{
    const UpzStage *s = &f->program->stages[e->to];
    const UpzRing *from = &f->rings[e->from], *to = &f->rings[e->to];
    int back = 0;
    if (from->parts == 1 || to->parts == 1) return 0;
    for (int q = 1; q < to->parts; q++) {
        int first, last, p = q;
        if (to->bound[q] == to->bound[q + 1]) continue;
        upz_stage_need(f->program, s, view, 0, to->bound[q], &first, &last);
        while (p > 0 && from->bound[p] > first) p--; /* the part that holds `first` */
        back = UPZ_MAX(back, q - p);
    }
    return back;
}

/* Edges, in the order of stages and views, and for every strip of the reader the first row it needs: its ring
 * place is written anew only after that strip, so that two strips never write one place at a time. */
static int make_edges(UpzFlow *f, int **firsts, UprezError *err)
{
    const UpzProgram *p = f->program;
    size_t n_edges = 0, numbers = 0;
    for (int i = 0; i < p->n_stages; i++)
        for (int k = 0; k < p->stages[i].n_views; k++, n_edges++)
            numbers += 2 * (size_t)f->rings[i].n_strips + 1 +
                       (size_t)f->rings[p->stages[i].views[k].stage].n_strips;
    f->edges = upz_calloc(n_edges, sizeof(*f->edges));
    f->numbers = upz_calloc(numbers, sizeof(int));
    *firsts = NULL;
    f->bytes += n_edges * sizeof(*f->edges) + numbers * sizeof(int);
    if (!f->edges || !f->numbers) return upz_fail_memory(err, f->bytes, "the network's schedule");
    int *at = f->numbers;
    for (int i = 0; i < p->n_stages; i++) {
        f->rings[i].in0 = f->n_edges;
        f->rings[i].n_in = p->stages[i].n_views;
        for (int k = 0; k < p->stages[i].n_views; k++) {
            UpzEdge *e = &f->edges[f->n_edges++];
            e->from = p->stages[i].views[k].stage;
            e->to = i;
            e->need = at, at += f->rings[i].n_strips;
            e->release = at, at += f->rings[e->from].n_strips;
            f->rings[e->from].n_out++;
        }
    }
    for (int i = 0; i < p->n_stages; i++) {
        f->rings[i].out = at;
        at += f->rings[i].n_out;
        f->rings[i].n_out = 0;
    }
    *firsts = at;
    for (int i = 0; i < f->n_edges; i++) {
        UpzEdge *e = &f->edges[i];
        UpzRing *from = &f->rings[e->from], *to = &f->rings[e->to];
        from->out[from->n_out++] = i;
        e->back = parts_back(f, e, i - to->in0);
        int unread = 0; /* rows that no strip reads belong to the next: it waits until they are written */
        for (int s = 0; s < to->n_strips; s++, at++) {
            int first, last;
            e->need[s] = -1;
            *at = s ? at[-1] : 0;
            if (!strip_need(f, e, i - to->in0, s, &first, &last)) continue;
            e->need[s] = (last - from->first) / from->strip;
            *at = UPZ_MIN(first, unread);
            unread = last + 1;
        }
        e->need[to->n_strips - 1] = from->n_strips - 1;
    }
    return 0;
}

/* ---- ring depths: one worker, deepest stage first, two frames ---- */

typedef struct Sim {
    UpzFlow *f;
    const int **first; /* by edge: first row each strip of the reader needs */
    int64_t *next;     /* strips done, over all frames */
} Sim;

static bool sim_ready(const Sim *m, int stage)
{
    const UpzFlow *f = m->f;
    const UpzRing *l = &f->rings[stage];
    const int64_t frame = m->next[stage] / l->n_strips;
    const int strip = (int)(m->next[stage] % l->n_strips);
    if (frame >= UPZ_CPU_FRAMES) return false;
    for (int i = l->in0; i < l->in0 + l->n_in; i++) {
        const UpzEdge *e = &f->edges[i];
        if (m->next[e->from] <= frame * f->rings[e->from].n_strips + e->need[strip]) return false;
    }
    return true;
}

/* Runs the stage's next strip; returns the deepest stage that may now be ready. */
static int sim_run(Sim *m, int stage)
{
    UpzFlow *f = m->f;
    UpzRing *l = &f->rings[stage];
    const int64_t frame = m->next[stage] / l->n_strips;
    int y0, y1, deepest = stage;
    upz_ring_rows(l, (int)(m->next[stage] % l->n_strips), &y0, &y1);
    for (int i = 0; i < l->n_out; i++) {
        const UpzRing *to = &f->rings[f->edges[l->out[i]].to];
        const int64_t at = m->next[f->edges[l->out[i]].to];
        const int64_t need = at / to->n_strips * l->h + m->first[l->out[i]][at % to->n_strips];
        const int64_t rows = frame * l->h + y1 - need;
        if (rows > l->depth) l->depth = (int)rows;
        deepest = UPZ_MAX(deepest, f->edges[l->out[i]].to);
    }
    m->next[stage]++;
    return deepest;
}

static int find_depths(UpzFlow *f, int *firsts, UprezError *err)
{
    Sim m = {.f = f};
    m.first = upz_calloc((size_t)f->n_edges, sizeof(*m.first));
    m.next = upz_calloc((size_t)f->program->n_stages, sizeof(*m.next));
    int *slack = upz_calloc((size_t)f->program->n_stages, sizeof(*slack)); /* strips */
    if (!m.first || !m.next || !slack) {
        upz_free(m.first);
        upz_free(m.next);
        upz_free(slack);
        return upz_fail_memory(err, (size_t)f->n_edges * sizeof(*m.first), "the schedule");
    }
    for (int i = 0; i < f->n_edges; i++) {
        m.first[i] = firsts;
        firsts += f->rings[f->edges[i].to].n_strips;
    }
    for (int i = 0; i < f->program->n_stages; i++) f->rings[i].depth = f->rings[i].strip;
    for (int i = f->program->n_stages - 1; i >= 0;)
        i = sim_ready(&m, i) ? sim_run(&m, i) : i - 1;
    /* One worker needs no more. Several run about two stages apart, each a strip ahead of the one
     * before: what is read again far down must not be overwritten that soon. */
    for (int i = 0; i < f->n_edges; i++) {
        const UpzEdge *e = &f->edges[i];
        int ahead = UPZ_MIN(f->workers - 1, (e->to - e->from) / 2);
        slack[e->from] = UPZ_MAX(slack[e->from], ahead);
    }
    for (int i = 0; i < f->program->n_stages; i++)
        f->rings[i].depth += slack[i] * f->rings[i].strip;
    f->rings[f->program->n_stages - 1].depth = 0;
    upz_free(slack);
    upz_free(m.first);
    upz_free(m.next);
    return 0;
}

static void find_releases(UpzFlow *f, const int *firsts)
{
    for (int i = 0; i < f->n_edges; i++) {
        UpzEdge *e = &f->edges[i];
        const UpzRing *from = &f->rings[e->from], *to = &f->rings[e->to];
        for (int s = 0; s < from->n_strips; s++) {
            int y0, y1;
            upz_ring_rows(from, s, &y0, &y1);
            const int old = y1 - 1 - from->depth, frame = upz_floor_div(old, from->h);
            int reader = to->n_strips - 1;
            while (reader >= 0 && firsts[reader] > old - frame * from->h) reader--;
            e->release[s] = frame * to->n_strips + reader;
        }
        firsts += to->n_strips;
    }
}

/* ---- memory ---- */

#define LINE 64 /* bytes: what is taken begins on one, and one lies behind it */

typedef struct Arena {
    char *base;  /* NULL: only count */
    size_t used; /* bytes */
    bool overflow;
} Arena;

static void *take(Arena *a, size_t bytes)
{
    const size_t at = a->used;
    if (!upz_add_size(a->used, UPZ_ROUND_UP(bytes, LINE) + LINE, &a->used)) a->overflow = true;
    return a->base ? a->base + at : NULL;
}

/* Rows a few KiB apart would share cache sets. */
static size_t spread_rows(size_t row)
{
    row = UPZ_ROUND_UP(row, LINE);
    return row % 4096 < 256 ? row + 320 : row;
}

typedef struct Margins {
    size_t left, row; /* bytes that the row of zeros must have before pixel 0, and from there on */
} Margins;

static void lay_out_ring(UpzFlow *f, int stage, Arena *a, Margins *zero)
{
    const UpzStage *s = &f->program->stages[stage];
    UpzRing *l = &f->rings[stage];
    if (s->kind == UPZ_STAGE_STORE) return;
    if (s->kind == UPZ_STAGE_PLANAR) {
        l->plane = UPZ_ROUND_UP(l->w, 16) + 80;
        l->row = l->plane * s->channels * (ptrdiff_t)sizeof(float);
        l->pixels = take(a, (size_t)l->row * (size_t)l->depth);
        return;
    }
    int left = MARGIN_LEFT, right = MARGIN_RIGHT, behind = 0;
    for (int k = 0; k < l->n_out; k++) {
        const UpzStage *t = &f->program->stages[f->edges[l->out[k]].to];
        left = UPZ_MAX(left, t->pad_x);
        right = UPZ_MAX(right, t->kernel_w + t->stride);
        /* and the rest of a tile's row */
        if (s->type != UPZ_TYPE_F32) behind = UPZ_MAX(behind, UPZ_TILE_SIDE * t->stride + 64 / s->pitch);
    }
    const size_t pixel = (size_t)s->pitch * upz_type_size(s->type), before = (size_t)left * pixel;
    const size_t row = before + (size_t)(l->w + right) * pixel;
    zero->left = UPZ_MAX(zero->left, before);
    zero->row = UPZ_MAX(zero->row, row + (size_t)behind * pixel);
    l->left = left;
    l->row = (ptrdiff_t)spread_rows(row);
    l->pixels = take(a, (size_t)l->row * (size_t)l->depth + (size_t)behind * pixel); /* tiles read on */
    if (l->pixels) l->pixels += before;
}

/* Columns of the widest of a ring's pieces. */
static int widest_piece(const UpzFlow *f, int stage)
{
    const UpzRing *l = &f->rings[stage];
    int widest = 1;
    for (int p = 0; p < l->parts; p++) widest = UPZ_MAX(widest, l->bound[p + 1] - l->bound[p]);
    return widest;
}

static size_t piece_floats(const UpzFlow *f, int stage)
{
    return (size_t)widest_piece(f, stage) * (size_t)f->program->stages[stage].pitch;
}

static void lay_out_scratch(UpzFlow *f, Arena *a)
{
    const UpzProgram *p = f->program;
    size_t conv = 0, wide = 0, strip = 0;
    int strips = 1;
    for (int i = 0; i < p->n_stages; i++) {
        const UpzStage *s = &p->stages[i];
        if (s->conv) conv = UPZ_MAX(conv, s->conv->scratch(p, s, widest_piece(f, i)));
        if (s->type != UPZ_TYPE_F32) {
            strip = UPZ_MAX(strip, piece_floats(f, i));
            if (s->conv) strips = UPZ_MAX(strips, s->conv->strips);
        }
        for (int k = 0; k < s->n_posts; k++) {
            const UpzPost *o = &s->posts[k];
            if (o->kind != UPZ_POST_ADD && o->kind != UPZ_POST_MUL) continue;
            const UpzStage *other = &p->stages[s->views[o->view].stage];
            if (other->pitch != s->pitch || other->type != UPZ_TYPE_F32)
                wide = UPZ_MAX(wide, piece_floats(f, i));
        }
    }
    strip = UPZ_ROUND_UP(strip, LINE / sizeof(float));
    for (int i = 0; i < f->workers; i++) {
        UpzScratch *s = &f->scratch[i];
        s->conv = take(a, conv);
        s->wide = take(a, wide * sizeof(float));
        s->strip = take(a, strip * (size_t)strips * sizeof(float));
        s->strip_row = strip;
        s->strips = strips;
        for (int c = 0; c < 3; c++)
            s->planes[c] = take(a, ((size_t)f->w + UPZ_LOAD_SLACK) * sizeof(float));
        s->store = take(a, upz_store_scratch(&f->store));
    }
}

static void lay_out(UpzFlow *f, Arena *a)
{
    Margins zero = {0};
    for (int i = 0; i < f->program->n_stages; i++) lay_out_ring(f, i, a, &zero);
    f->zero = take(a, UPZ_ROUND_UP(zero.left, LINE) + zero.row);
    if (f->zero) f->zero += UPZ_ROUND_UP(zero.left, LINE);
    lay_out_scratch(f, a);
}

static int get_memory(UpzFlow *f, size_t mem_limit, UprezError *err)
{
    Arena a = {0};
    lay_out(f, &a);
    const size_t bytes = a.used;
    if (a.overflow || !upz_add_size(bytes, f->bytes, &f->bytes))
        return upz_fail_memory(err, (unsigned long long)-1, "the network's feature maps");
    if (mem_limit && f->bytes > mem_limit)
        return upz_fail(err, UPREZ_ERR_MEMORY, "the network needs %zu MiB for %dx%d pictures but "
                        "only %zu MiB may be used", (f->bytes >> 20) + 1, f->src_w, f->src_h,
                        mem_limit >> 20);
    a.base = f->memory = upz_alloc_aligned(bytes);
    if (!a.base)
        return upz_fail(err, UPREZ_ERR_MEMORY, "the network needs %zu MiB of memory for %dx%d "
                        "pictures and cannot get it", (f->bytes >> 20) + 1, f->src_w, f->src_h);
    memset(a.base, 0, bytes); /* margins stay zero */
    a.used = 0;
    lay_out(f, &a);
    return 0;
}

/* Rows a strip: enough Winograd tiles in a piece that its layer's weights are worth fetching. */
static int choose_strip(int width)
{
    return width >= 640 ? 4 : width >= 320 ? 8 : 16;
}

/* Parts a strip: stages side by side keep few workers busy; many need pieces within strips too.
 * Narrower parts fetch the weights more often, so no more than needed. */
static int choose_parts(int workers, int n_stages, int width)
{
    return UPZ_CLAMP((4 * workers + n_stages - 1) / n_stages, 1,
                     UPZ_CLAMP(width / 128, 1, UPZ_CPU_PARTS));
}

int upz_flow_plan(UpzFlow *f, const UpzProgram *p, const UpzCpuKernels *k, int workers, int align,
                  int rows, UpzCpuLevel level, const UpzShape *shape, int dst_w, int dst_h,
                  size_t mem_limit, UprezError *err)
{
    *f = (UpzFlow){.program = p, .kernels = k, .workers = workers, .src_w = shape->width,
                   .src_h = shape->height, .pad_mode = p->graph->pad_mode};
    if (shape->width < 1 || shape->height < 1 || shape->width > UPREZ_SIDE_MAX ||
        shape->height > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a picture of %dx%d", shape->width, shape->height);
    f->w = UPZ_ROUND_UP(shape->width, align);
    f->h = UPZ_ROUND_UP(shape->height, align);
    int r = upz_load_init(&f->load, &shape->src, &shape->src_color, shape->width, shape->height,
                          (UpzRows)rows, level, err);
    if (!r) r = upz_store_init(&f->store, &shape->dst, &shape->dst_color, dst_w, dst_h,
                               (UpzRows)rows, level, err);
    if (r) return r;
    f->store_group = upz_store_group(&f->store);
    f->store_reach = upz_store_reach(&f->store);
    if (f->store_group + 2 * f->store_reach > UPZ_CPU_STORE_ROWS)
        return upz_fail(err, UPREZ_ERR_BUG, "chroma groups of %d rows", f->store_group);
    f->rings = upz_calloc((size_t)p->n_stages, sizeof(*f->rings));
    f->scratch = upz_calloc((size_t)workers, sizeof(*f->scratch));
    f->bytes = (size_t)p->n_stages * sizeof(*f->rings) + (size_t)workers * sizeof(*f->scratch);
    if (!f->rings || !f->scratch) {
        r = upz_fail_memory(err, f->bytes, "the network's plan");
        goto fail;
    }
    int unit = 1; /* parts begin where every map has a whole pixel and tile */
    for (int i = 0; i < p->n_stages; i++)
        unit = upz_lcm(unit, p->stages[i].tile * p->stages[i].den);
    f->parts = choose_parts(workers, p->n_stages, f->w);
    const int strip = choose_strip(f->w);
    for (int i = 0; i < p->n_stages && !r; i++)
        r = place_ring(f, i, unit, dst_w, dst_h, strip, err);
    int *firsts;
    if (r || (r = make_edges(f, &firsts, err)) || (r = find_depths(f, firsts, err))) goto fail;
    find_releases(f, firsts);
    if ((r = get_memory(f, mem_limit, err))) goto fail;
    return 0;
fail:
    upz_flow_free(f);
    return r;
}

void upz_flow_free(UpzFlow *f)
{
    upz_free(f->rings);
    upz_free(f->scratch);
    upz_free(f->edges);
    upz_free(f->numbers);
    upz_free_aligned(f->memory);
    *f = (UpzFlow){0};
}
