/* One piece of work: a strip part of a stage. Convolutions stand in conv_NAME.c. */
#include "engine/cpu/conv.h"
#include "engine/cpu/epilogue.h"

#include <string.h>

/* ---- what moves pixels ---- */

/* Pixel x0 of row y, where only the map's own channels will be written: a strip may hold anything between
 * them. */
static float *begin_row(const UpzPiece *p, int y)
{
    float *row = upz_out_floats(p, y);
    if (p->s->type != UPZ_TYPE_F32 && p->s->channels < p->s->pitch)
        memset(row, 0, (size_t)(p->x1 - p->x0) * (size_t)p->s->pitch * sizeof(*row));
    return row;
}

static void run_gather(const UpzPiece *p)
{
    for (int y = p->y0; y < p->y1; y++) {
        float *to = begin_row(p, y);
        for (int k = 0; k < p->s->n_inputs; k++) {
            const UpzMapView *v = &p->s->views[k];
            const float *from = upz_view_row(p, k, y);
            const int pitch = upz_view_pitch(p, k);
            for (int x = p->x0; x < p->x1; x++)
                memcpy(to + (ptrdiff_t)(x - p->x0) * p->s->pitch, from + (ptrdiff_t)(x / v->up) * pitch,
                       (size_t)v->channels * sizeof(float));
            to += v->channels;
        }
        upz_finish_row(p, y, p->x0, p->x1);
    }
}

static void run_shuffle(const UpzPiece *p)
{
    const UpzStage *s = p->s;
    const int f = s->factor, pitch = upz_view_pitch(p, 0);
    const int c_step = s->dcr ? 1 : f * f, phase_step = s->dcr ? s->channels : 1;
    for (int y = p->y0; y < p->y1; y++) {
        const float *from = upz_view_row(p, 0, y / f);
        float *to = begin_row(p, y);
        for (int x = p->x0; x < p->x1; x++, to += s->pitch) {
            const float *pixel = from + (ptrdiff_t)(x / f) * pitch + (y % f * f + x % f) * phase_step;
            for (int c = 0; c < s->channels; c++) to[c] = pixel[c * c_step];
        }
        upz_finish_row(p, y, p->x0, p->x1);
    }
}

static void run_unshuffle(const UpzPiece *p)
{
    const UpzStage *s = p->s;
    const int f = s->factor, pitch = upz_view_pitch(p, 0), n = s->channels / (f * f);
    const int c_step = s->dcr ? 1 : f * f, phase_step = s->dcr ? n : 1;
    for (int y = p->y0; y < p->y1; y++) {
        float *row = begin_row(p, y);
        for (int dy = 0; dy < f; dy++) {
            const float *from = upz_view_row(p, 0, y * f + dy);
            float *to = row;
            for (int x = p->x0; x < p->x1; x++, to += s->pitch)
                for (int dx = 0; dx < f; dx++)
                    for (int c = 0; c < n; c++)
                        to[c * c_step + (dy * f + dx) * phase_step] =
                            from[((ptrdiff_t)x * f + dx) * pitch + c];
        }
        upz_finish_row(p, y, p->x0, p->x1);
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

static void run_resize(const UpzPiece *p)
{
    const UpzStage *s = p->s;
    const UpzNode *n = &p->f->program->graph->nodes[s->node];
    const UpzRing *src = &p->f->rings[s->views[0].stage];
    const int pitch = upz_view_pitch(p, 0);
    for (int y = p->y0; y < p->y1; y++) {
        int iy[4], ix[4];
        float wy[4], wx[4];
        const float *rows[4];
        const int ny = taps(n, y, src->h, iy, wy);
        for (int j = 0; j < ny; j++) rows[j] = upz_view_row(p, 0, iy[j]);
        float *to = begin_row(p, y);
        for (int x = p->x0; x < p->x1; x++, to += s->pitch) {
            const int nx = taps(n, x, src->w, ix, wx);
            for (int c = 0; c < s->channels; c++) {
                float sum = 0;
                for (int j = 0; j < ny; j++) {
                    float line = 0;
                    for (int i = 0; i < nx; i++) line += wx[i] * rows[j][(ptrdiff_t)ix[i] * pitch + c];
                    sum += wy[j] * line;
                }
                to[c] = sum;
            }
        }
        upz_finish_row(p, y, p->x0, p->x1);
    }
}

/* ---- the ends ---- */

static void run_load(const UpzPiece *p, const UprezPicture *src)
{
    const UpzFlow *f = p->f;
    float *const *planes = p->scratch->planes;
    for (int y = p->y0; y < p->y1; y++) {
        int from = y;
        if (y >= f->src_h)
            from = f->pad_mode == UPZ_PAD_REFLECT ? UPZ_MAX(2 * f->src_h - 2 - y, 0) : f->src_h - 1;
        float *to = upz_out_row(p, y);
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

static void run_planar(const UpzPiece *p)
{
    const UpzStage *s = p->s;
    const int f = s->factor, pitch = upz_view_pitch(p, 0);
    const bool base = s->n_inputs > 1;
    const int base_pitch = base ? upz_view_pitch(p, 1) : 0, up = base ? s->views[1].up : 1;
    const int first = p->x0 / f, count = (p->x1 + f - 1) / f - first;
    for (int y = p->y0; y < p->y1; y++)
        for (int c = 0; c < s->channels; c++) {
            const int phase = y % f * f;
            UpzPlanar a = {.dst = (float *)upz_out_row(p, y) + c * p->l->plane + (ptrdiff_t)first * f,
                .src = (const float *)upz_view_row(p, 0, y / f) + (ptrdiff_t)first * pitch +
                       (s->dcr ? phase * s->channels + c : c * f * f + phase),
                .pitch = pitch, .dx_step = s->dcr ? s->channels : 1, .factor = f, .count = count,
                .alpha = s->alpha, .beta = s->beta, .base_pitch = base_pitch, .base_up = up};
            if (base) a.base = (const float *)upz_view_row(p, 1, y) + (ptrdiff_t)first * f / up * base_pitch + c;
            p->f->kernels->planar(&a);
        }
}

static int run_store(const UpzPiece *p, UprezPicture *dst)
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
                rows[c][i] = (const float *)upz_ring_row(f, from, p->frame, at) + c * src->plane;
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
                const float *row = (const float *)upz_ring_row(f, from, frame, y) + c * l->plane;
                for (int x = b->x0; x < b->x1; x++) nan += row[x] != row[x];
            }
    }
    return nan;
}

int upz_flow_run(const UpzFlow *f, int stage, int64_t frame, const UpzBox *box,
                 const UprezPicture *src, UprezPicture *dst, int worker)
{
    const UpzPiece p = {.f = f, .s = &f->program->stages[stage], .l = &f->rings[stage],
                     .stage = stage, .frame = frame, .x0 = box->x0, .x1 = box->x1, .y0 = box->y0,
                     .y1 = box->y1, .scratch = &f->scratch[worker]};
    switch (p.s->kind) {
    case UPZ_STAGE_LOAD: run_load(&p, src); break;
    case UPZ_STAGE_CONV: p.s->conv->run(&p); break;
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
