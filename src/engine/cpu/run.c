/* One piece of work: a strip part of a stage. */
#include "engine/cpu/flow.h"

#include <string.h>

typedef struct Piece {
    const UpzFlow *f;
    const UpzStage *s;
    const UpzRing *l;
    int stage;
    int64_t frame;
    int y0, y1, x0, x1; /* rows and columns to write */
    UpzScratch *scratch;
} Piece;

static float *out_row(const Piece *p, int y) { return upz_ring_row(p->f, p->stage, p->frame, y); }

/* Row y of a view, from its pixel 0 and first channel. Zeros outside the map. */
static const float *view_row(const Piece *p, int k, int y)
{
    const UpzView *v = &p->s->views[k];
    int at = v->up == 1 ? y : upz_floor_div(y, v->up);
    return upz_ring_row(p->f, v->stage, p->frame, at) + v->first;
}

static int view_pitch(const Piece *p, int k) { return p->f->program->stages[p->s->views[k].stage].pitch; }

/* ---- posts ---- */

static void widen(float *dst, int pitch, const float *src, int src_pitch, int channels, int count)
{
    memset(dst, 0, (size_t)count * (size_t)pitch * sizeof(float));
    for (int x = 0; x < count; x++)
        for (int c = 0; c < channels; c++) dst[x * pitch + c] = src[x * src_pitch + c];
}

/* Columns x0 … x1-1 of row y, in place. */
static void apply_posts(const Piece *p, int y, int x0, int x1)
{
    const UpzCpuKernels *k = p->f->kernels;
    const int pitch = p->s->pitch, count = x1 - x0;
    if (count <= 0) return;
    float *row = out_row(p, y) + (ptrdiff_t)x0 * pitch;
    const size_t n = (size_t)count * (size_t)pitch;
    for (int i = 0; i < p->s->n_posts; i++) {
        const UpzPost *post = &p->s->posts[i];
        const float *other = NULL;
        if (post->kind == UPZ_POST_ADD || post->kind == UPZ_POST_MUL) {
            const int from = view_pitch(p, post->view);
            other = view_row(p, post->view, y) + (ptrdiff_t)x0 * from;
            if (from != pitch) {
                widen(p->scratch->wide, pitch, other, from, p->s->channels, count);
                other = p->scratch->wide;
            }
        }
        switch (post->kind) {
        case UPZ_POST_ADD: k->add(row, row, other, post->alpha, post->beta, n); break;
        case UPZ_POST_MUL: k->mul(row, row, other, n); break;
        case UPZ_POST_AFFINE: k->affine(row, row, post->scale, post->shift, pitch, count); break;
        case UPZ_POST_SLOPE: k->slope(row, row, post->scale, pitch, count); break;
        case UPZ_POST_CURVE: k->curve(row, row, post->curve, post->lo, post->hi, n); break;
        }
    }
}

/* ---- convolutions ---- */

/* All channels of all inputs at the points of a row of `count` tiles. */
static void tiles_in(const Piece *p, int ty, int x, int count, float *v, ptrdiff_t v_point,
                     ptrdiff_t v_tile)
{
    for (int k = 0; k < p->s->n_inputs; k++) {
        const UpzView *view = &p->s->views[k];
        UpzWinoIn in = {.pitch = view_pitch(p, k), .shift = view->up == 2 ? 1 : view->up == 4 ? 2
                        : view->up == 8 ? 3 : 0, .x = x - 1, .channels = view->channels,
                        .count = count, .v = v, .v_point = v_point, .v_tile = v_tile};
        for (int i = 0; i < UPZ_WINO_IN; i++) in.rows[i] = view_row(p, k, ty - 1 + i);
        p->f->kernels->wino_in(&in);
        v += view->channels;
    }
}

#define AHEAD_VIEWS 2 /* whose rows are fetched ahead */

/* The input rows of a block of tiles, to be fetched while the block before is multiplied. */
static void note_ahead(const Piece *p, int ty, int x, int count, UpzAhead *a, const char **rows)
{
    *a = (UpzAhead){.rows = rows};
    for (int k = 0; k < p->s->n_inputs && k < AHEAD_VIEWS; k++) {
        const UpzView *v = &p->s->views[k];
        const int pitch = view_pitch(p, k);
        for (int i = 0; i < UPZ_WINO_IN; i++)
            rows[a->n_rows++] =
                (const char *)(view_row(p, k, ty - 1 + i) + (ptrdiff_t)(x / v->up) * pitch);
        a->bytes = UPZ_MAX(a->bytes, (size_t)(count * UPZ_WINO_TILE / v->up + 2) *
                                         (size_t)pitch * sizeof(float));
    }
}

/* Sums longer than this go through in several turns, so that a turn's weights stay in L1. */
#define SUM_BLOCK 128

static void run_wino(const Piece *p)
{
    const UpzCpuKernels *k = p->f->kernels;
    const UpzStage *s = p->s;
    const UpzTiles b = upz_stage_tiles(s);
    const int out = s->pitch, block = b.block;
    const int first = upz_stage_tile(s, 0, p->x0);
    const int n_tiles = (p->x1 - first + UPZ_WINO_TILE - 1) / UPZ_WINO_TILE;
    float *v = p->scratch->v, *m = p->scratch->m;
    const char *rows[AHEAD_VIEWS * UPZ_WINO_IN];
    for (int ty = upz_stage_tile(s, 1, p->y0); ty < p->y1; ty += UPZ_WINO_TILE)
        for (int t = 0; t < n_tiles; t += block) {
            const int count = UPZ_MIN(block, n_tiles - t), x = first + t * UPZ_WINO_TILE;
            tiles_in(p, ty, x, count, v, b.v_point, b.v_tile);
            UpzAhead ahead;
            const bool more = t + block < n_tiles;
            note_ahead(p, more ? ty : ty + UPZ_WINO_TILE, more ? x + count * UPZ_WINO_TILE : first,
                       UPZ_MIN(block, more ? n_tiles - t - block : n_tiles), &ahead, rows);
            if (!more && ty + UPZ_WINO_TILE >= p->y1) ahead.n_rows = 0;
            for (int point = 0; point < UPZ_WINO_POINTS; point++)
                for (int c = 0; c < s->in; c += SUM_BLOCK) {
                    UpzRun run = {v + point * b.v_point + c, b.v_tile, UPZ_MIN(SUM_BLOCK, s->in - c)};
                    k->gemm(&(UpzGemm){.runs = &run, .n_runs = 1,
                        .weights = s->weights + ((ptrdiff_t)point * s->in + c) * out,
                        .n_out = out, .start = c ? UPZ_GEMM_MORE : UPZ_GEMM_ZERO,
                        .out = m + point * b.m_point, .out_step = b.m_tile, .count = count,
                        .ahead = &ahead});
                }
            UpzWinoOut o = {.m = m, .m_point = b.m_point, .m_tile = b.m_tile, .channels = out,
                            .count = count, .bias = s->bias, .slope = s->slope, .pitch = out,
                            .x = x, .x0 = p->x0, .x1 = p->x1};
            for (int i = 0; i < UPZ_WINO_TILE; i++)
                if (ty + i >= p->y0 && ty + i < p->y1) o.rows[i] = out_row(p, ty + i);
            k->wino_out(&o);
            if (!s->n_posts) continue;
            for (int i = 0; i < UPZ_WINO_TILE; i++)
                if (o.rows[i])
                    apply_posts(p, ty + i, UPZ_MAX(x, p->x0),
                                UPZ_MIN(x + count * UPZ_WINO_TILE, p->x1));
        }
}

static int make_runs(const Piece *p, int y, UpzRun *runs)
{
    const UpzStage *s = p->s;
    int n = 0;
    for (int ky = 0; ky < s->kernel_h; ky++)
        for (int k = 0; k < s->n_inputs; k++) {
            const UpzView *v = &s->views[k];
            const ptrdiff_t pitch = view_pitch(p, k);
            const float *row = view_row(p, k, y * s->stride - s->pad_y + ky) +
                               ((ptrdiff_t)p->x0 * s->stride - s->pad_x) * pitch;
            if (upz_view_merges(p->f->program, v)) {
                runs[n++] = (UpzRun){row, s->stride * pitch, s->kernel_w * v->channels};
                continue;
            }
            for (int kx = 0; kx < s->kernel_w; kx++)
                runs[n++] = (UpzRun){row + kx * pitch, s->stride * pitch, v->channels};
        }
    return n;
}

static void run_direct(const Piece *p)
{
    const UpzStage *s = p->s;
    for (int y = p->y0; y < p->y1; y++) {
        const int n = make_runs(p, y, p->scratch->runs);
        p->f->kernels->gemm(&(UpzGemm){.runs = p->scratch->runs, .n_runs = n,
            .weights = s->weights, .n_out = s->pitch, .start = UPZ_GEMM_BIAS, .bias = s->bias,
            .slope = s->slope, .out = out_row(p, y) + (ptrdiff_t)p->x0 * s->pitch,
            .out_step = s->pitch, .count = p->x1 - p->x0});
        if (s->n_posts) apply_posts(p, y, p->x0, p->x1);
    }
}

static void run_depthwise(const Piece *p)
{
    const UpzStage *s = p->s;
    const ptrdiff_t pitch = view_pitch(p, 0);
    const float **taps = (const float **)(void *)p->scratch->runs;
    for (int y = p->y0; y < p->y1; y++) {
        int n = 0;
        for (int ky = 0; ky < s->kernel_h; ky++)
            for (int kx = 0; kx < s->kernel_w; kx++)
                taps[n++] = view_row(p, 0, y * s->stride - s->pad_y + ky) +
                            ((ptrdiff_t)p->x0 * s->stride - s->pad_x + kx) * pitch;
        p->f->kernels->depthwise(&(UpzDepthwise){.taps = taps, .n_taps = n,
            .step = s->stride * pitch, .weights = s->weights, .channels = s->pitch,
            .bias = s->bias, .slope = s->slope,
            .out = out_row(p, y) + (ptrdiff_t)p->x0 * s->pitch, .out_step = s->pitch,
            .count = p->x1 - p->x0});
        if (s->n_posts) apply_posts(p, y, p->x0, p->x1);
    }
}

/* ---- what moves pixels ---- */

static void run_gather(const Piece *p)
{
    for (int y = p->y0; y < p->y1; y++) {
        float *to = out_row(p, y);
        for (int k = 0; k < p->s->n_inputs; k++) {
            const UpzView *v = &p->s->views[k];
            const float *from = view_row(p, k, y);
            const int pitch = view_pitch(p, k);
            for (int x = p->x0; x < p->x1; x++)
                memcpy(to + (ptrdiff_t)x * p->s->pitch, from + (ptrdiff_t)(x / v->up) * pitch,
                       (size_t)v->channels * sizeof(float));
            to += v->channels;
        }
        if (p->s->n_posts) apply_posts(p, y, p->x0, p->x1);
    }
}

static void run_shuffle(const Piece *p)
{
    const UpzStage *s = p->s;
    const int f = s->factor, pitch = view_pitch(p, 0);
    const int c_step = s->dcr ? 1 : f * f, phase_step = s->dcr ? s->channels : 1;
    for (int y = p->y0; y < p->y1; y++) {
        const float *from = view_row(p, 0, y / f);
        float *to = out_row(p, y);
        for (int x = p->x0; x < p->x1; x++) {
            const float *pixel = from + (ptrdiff_t)(x / f) * pitch + (y % f * f + x % f) * phase_step;
            for (int c = 0; c < s->channels; c++)
                to[(ptrdiff_t)x * s->pitch + c] = pixel[c * c_step];
        }
    }
}

static void run_unshuffle(const Piece *p)
{
    const UpzStage *s = p->s;
    const int f = s->factor, pitch = view_pitch(p, 0), n = s->channels / (f * f);
    const int c_step = s->dcr ? 1 : f * f, phase_step = s->dcr ? n : 1;
    for (int y = p->y0; y < p->y1; y++)
        for (int dy = 0; dy < f; dy++) {
            const float *from = view_row(p, 0, y * f + dy);
            float *to = out_row(p, y);
            for (int x = p->x0; x < p->x1; x++)
                for (int dx = 0; dx < f; dx++)
                    for (int c = 0; c < n; c++)
                        to[(ptrdiff_t)x * s->pitch + c * c_step + (dy * f + dx) * phase_step] =
                            from[((ptrdiff_t)x * f + dx) * pitch + c];
        }
}

/* As reference.c: the taps of output position `at` along an axis of `size` source pixels. */
static int taps(const UpzNode *n, int at, int size, int index[4], float weight[4])
{
    const double centre = (at + 0.5) * n->resize_den / n->resize_num;
    if (n->filter == UPZ_FILTER_NEAREST) {
        index[0] = UPZ_MIN((int)centre, size - 1);
        weight[0] = 1;
        return 1;
    }
    const double pos = centre - 0.5, a = -0.75;
    int base = (int)pos;
    if (base > pos) base--;
    const double t = pos - base, d[4] = {t + 1, t, 1 - t, 2 - t};
    int count = 0;
    for (int k = 0; k < 4; k++) {
        double w = n->filter == UPZ_FILTER_BILINEAR ? (k == 1 ? 1 - t : k == 2 ? t : 0)
                   : d[k] <= 1 ? ((a + 2) * d[k] - (a + 3)) * d[k] * d[k] + 1
                               : ((a * d[k] - 5 * a) * d[k] + 8 * a) * d[k] - 4 * a;
        /* a tap without weight may lie outside what is there */
        if ((t == 0 && k != 1) || w == 0) continue;
        index[count] = UPZ_CLAMP(base - 1 + k, 0, size - 1);
        weight[count++] = (float)w;
    }
    return count;
}

static void run_resize(const Piece *p)
{
    const UpzStage *s = p->s;
    const UpzNode *n = &p->f->program->graph->nodes[s->node];
    const UpzRing *src = &p->f->rings[s->views[0].stage];
    const int pitch = view_pitch(p, 0);
    for (int y = p->y0; y < p->y1; y++) {
        int iy[4], ix[4];
        float wy[4], wx[4];
        const float *rows[4];
        const int ny = taps(n, y, src->h, iy, wy);
        for (int j = 0; j < ny; j++) rows[j] = view_row(p, 0, iy[j]);
        float *to = out_row(p, y);
        for (int x = p->x0; x < p->x1; x++) {
            const int nx = taps(n, x, src->w, ix, wx);
            for (int c = 0; c < s->channels; c++) {
                float sum = 0;
                for (int j = 0; j < ny; j++) {
                    float line = 0;
                    for (int i = 0; i < nx; i++) line += wx[i] * rows[j][(ptrdiff_t)ix[i] * pitch + c];
                    sum += wy[j] * line;
                }
                to[(ptrdiff_t)x * s->pitch + c] = sum;
            }
        }
    }
}

/* ---- the ends ---- */

static void run_load(const Piece *p, const UprezPicture *src)
{
    const UpzFlow *f = p->f;
    float *const *planes = p->scratch->planes;
    for (int y = p->y0; y < p->y1; y++) {
        int from = y;
        if (y >= f->src_h)
            from = f->pad_mode == UPZ_PAD_REFLECT ? UPZ_MAX(2 * f->src_h - 2 - y, 0) : f->src_h - 1;
        float *to = out_row(p, y);
        if (y >= f->src_h && f->pad_mode == UPZ_PAD_ZERO) {
            memset(to, 0, (size_t)f->w * (size_t)p->s->pitch * sizeof(float));
            continue;
        }
        upz_load_row(&f->load, src, from, planes);
        for (int c = 0; c < p->s->channels; c++)
            for (int x = f->src_w; x < f->w; x++)
                planes[c][x] = f->pad_mode == UPZ_PAD_ZERO ? 0
                               : planes[c][f->pad_mode == UPZ_PAD_REFLECT
                                               ? UPZ_MAX(2 * f->src_w - 2 - x, 0) : f->src_w - 1];
        f->kernels->interleave(to, p->s->pitch, (const float *const *)planes, p->s->channels, f->w);
    }
}

static void run_planar(const Piece *p)
{
    const UpzStage *s = p->s;
    const int f = s->factor, pitch = view_pitch(p, 0);
    const bool base = s->n_inputs > 1;
    const int base_pitch = base ? view_pitch(p, 1) : 0, up = base ? s->views[1].up : 1;
    const int first = p->x0 / f, count = (p->x1 + f - 1) / f - first;
    for (int y = p->y0; y < p->y1; y++)
        for (int c = 0; c < s->channels; c++) {
            const int phase = y % f * f;
            UpzPlanar a = {.dst = out_row(p, y) + c * p->l->plane + (ptrdiff_t)first * f,
                .src = view_row(p, 0, y / f) + (ptrdiff_t)first * pitch +
                       (s->dcr ? phase * s->channels + c : c * f * f + phase),
                .pitch = pitch, .dx_step = s->dcr ? s->channels : 1, .factor = f, .count = count,
                .alpha = s->alpha, .beta = s->beta, .base_pitch = base_pitch, .base_up = up};
            if (base) a.base = view_row(p, 1, y) + (ptrdiff_t)first * f / up * base_pitch + c;
            p->f->kernels->planar(&a);
        }
}

static int run_store(const Piece *p, UprezPicture *dst)
{
    const UpzFlow *f = p->f;
    const int from = p->s->views[0].stage, n = f->store_group + 2 * f->store_reach;
    const UpzRing *src = &f->rings[from];
    const float *rows[3][UPZ_CPU_STORE_ROWS];
    const float *const *const planes[3] = {rows[0], rows[1], rows[2]};
    int nan = 0;
    for (int y = p->y0; y < p->y1; y += f->store_group) {
        for (int i = 0; i < n; i++) {
            const int at = UPZ_CLAMP(y - f->store_reach + i, 0, p->l->h - 1);
            for (int c = 0; c < p->s->channels; c++)
                rows[c][i] = upz_ring_row(f, from, p->frame, at) + c * src->plane;
        }
        nan += upz_store_rows(&f->store, planes, y, dst, p->scratch->store);
    }
    return nan;
}

int upz_flow_nan(const UpzFlow *f, int stage, int64_t frame, const UpzBox *box, const UpzBox *parts, int n)
{
    const int from = f->program->stages[stage].views[0].stage, channels = f->program->stages[stage].channels;
    const UpzRing *l = &f->rings[from];
    int nan = 0;
    for (int i = 0; i < n; i++) {
        const UpzBox *b = &parts[stage * UPZ_TODO_MAX + i];
        for (int y = UPZ_MAX(b->y0, box->y0); y < UPZ_MIN(b->y1, box->y1); y++)
            for (int c = 0; c < channels; c++) {
                const float *row = upz_ring_row(f, from, frame, y) + c * l->plane;
                for (int x = b->x0; x < b->x1; x++) nan += row[x] != row[x];
            }
    }
    return nan;
}

int upz_flow_run(const UpzFlow *f, int stage, int64_t frame, const UpzBox *box,
                 const UprezPicture *src, UprezPicture *dst, int worker)
{
    const Piece p = {.f = f, .s = &f->program->stages[stage], .l = &f->rings[stage],
                     .stage = stage, .frame = frame, .x0 = box->x0, .x1 = box->x1, .y0 = box->y0,
                     .y1 = box->y1, .scratch = &f->scratch[worker]};
    switch (p.s->kind) {
    case UPZ_STAGE_LOAD: run_load(&p, src); break;
    case UPZ_STAGE_WINO: run_wino(&p); break;
    case UPZ_STAGE_DIRECT: run_direct(&p); break;
    case UPZ_STAGE_DEPTHWISE: run_depthwise(&p); break;
    case UPZ_STAGE_POINT: run_gather(&p); break;
    case UPZ_STAGE_GATHER: run_gather(&p); break;
    case UPZ_STAGE_SHUFFLE: run_shuffle(&p); break;
    case UPZ_STAGE_UNSHUFFLE: run_unshuffle(&p); break;
    case UPZ_STAGE_RESIZE: run_resize(&p); break;
    case UPZ_STAGE_PLANAR: run_planar(&p); break;
    case UPZ_STAGE_STORE: return run_store(&p, dst);
    }
    return 0;
}
