/* Pictures to tensors and back. Every piece of work is a band of rows on the context's workers. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/tensor/half.h"
#include "engine/tensor/inner.h"
#include "picture/format.h"

#define BAND UPZ_TENSOR_BAND
#define MARGIN 8 /* source px beside a tile, so that chroma is interpolated as in the whole picture;
                    a multiple of every chroma step */

static UpzRows rows_of(const UprezModelFacts *facts)
{
    return facts->channels != 1 || facts->input == UPREZ_INPUT_RGB ? UPZ_ROWS_RGB
           : facts->input == UPREZ_INPUT_Y_FULL                    ? UPZ_ROWS_Y_FULL
                                                                   : UPZ_ROWS_Y_STUDIO;
}

/* Source columns that tile column i is loaded from: first … last - 1. */
static void columns(const UpzEngine *e, int i, int *first, int *last)
{
    const int from = e->x.start[i], to = from + e->x.tile;
    *first = UPZ_MAX(from - MARGIN, 0) / MARGIN * MARGIN;
    *last = UPZ_MIN(UPZ_ROUND_UP(to + MARGIN, MARGIN), e->shape.width);
}

int upz_tensor_load_init(UpzEngine *e, UprezError *err)
{
    const UpzShape *s = &e->shape;
    const UpzRows rows = rows_of(&e->model->facts);
    e->load = upz_calloc((size_t)e->x.n, sizeof(*e->load));
    if (!e->load) return upz_fail_memory(err, (size_t)e->x.n * sizeof(*e->load), "the tiles");
    int r = 0;
    for (int i = 0; i < e->x.n && !r; i++) {
        int first, last;
        columns(e, i, &first, &last);
        r = upz_load_init(&e->load[i], &s->src, &s->src_color, last - first, s->height, rows,
                          e->ctx->cpu, err);
    }
    if (!r)
        r = upz_store_init(&e->store, &s->dst, &s->dst_color, e->dst_w, e->dst_h, rows, e->ctx->cpu,
                           err);
    if (!r && upz_store_group(&e->store) + 2 * upz_store_reach(&e->store) > UPZ_TENSOR_STORE_ROWS)
        r = upz_fail(err, UPREZ_ERR_BUG, "chroma groups of %d rows", upz_store_group(&e->store));
    return r;
}

size_t upz_tensor_scratch(const UpzEngine *e)
{
    const size_t load = 3 * ((size_t)e->x.tile + 4 * MARGIN + UPZ_LOAD_SLACK);
    const int rows = upz_store_group(&e->store) + 2 * upz_store_reach(&e->store);
    const size_t add = 2 * (size_t)e->tensor.out_width; /* a row unpacked, and its shares */
    const size_t store = UPZ_MAX(add, e->facts.half_io ? (size_t)rows * 3 * (size_t)e->dst_w : 0);
    return UPZ_MAX(load, store) + upz_store_scratch(&e->store) / sizeof(float) + 16;
}

static char *image(const UpzEngine *e, void *base, int i, bool out)
{
    const UpzTensorShape *t = &e->tensor;
    const size_t count = out ? (size_t)t->out_channels * (size_t)t->out_height * (size_t)t->out_width
                             : (size_t)t->channels * (size_t)t->height * (size_t)t->width;
    return (char *)base + (size_t)i * count * (t->half ? 2 : 4);
}

/* ---- in ---- */

typedef struct Load {
    UpzEngine *e;
    const UpzTensorSlot *slot;
    int bands;
} Load;

/* Where the padding at `at` >= size comes from, -1: zeros. As the cpu engine does. */
static int padded(UpzPadMode mode, int at, int size)
{
    if (at < size) return at;
    if (mode == UPZ_PAD_ZERO) return -1;
    return mode == UPZ_PAD_REFLECT ? UPZ_MAX(2 * size - 2 - at, 0) : size - 1;
}

static void shift_view(UprezPicture *view, const UprezPicture *src, int first, int last)
{
    *view = *src;
    view->width = last - first;
    view->buffer = NULL;
    const UprezFormat *f = &src->format;
    bool moved[4] = {false};
    for (int c = 0; c < f->n_comp; c++) {
        const int p = f->comp[c].plane;
        if (moved[p]) continue;
        moved[p] = true;
        const int x = upz_format_is_chroma(f, c) ? first >> f->sub_x : first;
        view->plane[p] = (char *)src->plane[p] + (ptrdiff_t)x * f->comp[c].step;
    }
}

static void load_band(void *arg, int index, int worker)
{
    const Load *l = arg;
    UpzEngine *e = l->e;
    const UpzTensorShape *t = &e->tensor;
    const UpzTensorJob *job = &l->slot->jobs[index / l->bands];
    const int column = job->tile % e->x.n, x0 = e->x.start[column];
    const int y0 = e->y.start[job->tile / e->x.n], w = e->shape.width;
    const UpzPadMode mode = e->model->graph.pad_mode;
    const size_t bytes = t->half ? 2 : 4, pitch = (size_t)t->width + 4 * MARGIN + UPZ_LOAD_SLACK;
    int first, last;
    columns(e, column, &first, &last);
    UprezPicture view;
    shift_view(&view, job->frame->task->src, first, last);
    float *planes[3];
    float *room = e->scratch[l->slot->index * e->workers + worker];
    for (int c = 0; c < 3; c++) planes[c] = room + (size_t)c * pitch;
    char *to = image(e, l->slot->buffers.in, index / l->bands, false);

    const int begin = index % l->bands * BAND, end = UPZ_MIN(begin + BAND, t->height);
    int loaded = -1;
    for (int y = begin; y < end; y++) {
        const int from = padded(mode, y0 + y, e->shape.height);
        if (from >= 0 && from != loaded) {
            upz_load_row(&e->load[column], &view, from, planes);
            loaded = from;
            for (int c = 0; c < t->channels; c++)
                for (int x = w; x < x0 + t->width; x++) {
                    const int at = padded(mode, x, w);
                    planes[c][x - first] = at < 0 ? 0 : planes[c][at - first];
                }
        }
        for (int c = 0; c < t->channels; c++) {
            char *row = to + ((size_t)c * (size_t)t->height + (size_t)y) * (size_t)t->width * bytes;
            if (from < 0) memset(row, 0, (size_t)t->width * bytes);
            else if (t->half)
                upz_half_pack((uint16_t *)(void *)row, planes[c] + (x0 - first), (size_t)t->width,
                              e->ctx->cpu);
            else memcpy(row, planes[c] + (x0 - first), (size_t)t->width * bytes);
        }
    }
}

void upz_tensor_load(UpzEngine *e, const UpzTensorSlot *slot)
{
    Load l = {.e = e, .slot = slot, .bands = (e->tensor.height + BAND - 1) / BAND};
    upz_pool_for(e->ctx->pool, l.bands * slot->n, load_band, &l);
}

/* ---- out ---- */

typedef struct Out {
    UpzEngine *e;
    UpzTensorFrame *frame;
    float **scratch;  /* one a worker */
    const char *from; /* the image, or the sum */
    size_t pitch;     /* samples from row to row, */
    size_t plane;     /* and from channel to channel */
    bool half;
    float *sum;
    int tile, x0, x1, y0, y1; /* output px of the picture that the tile contributes to */
} Out;

/* n samples of a row, as floats: in place or in `room`. */
static const float *row_of(const Out *o, int c, int y, size_t x, size_t n, float *room)
{
    const size_t at = (size_t)c * o->plane + (size_t)y * o->pitch + x;
    if (!o->half) return (const float *)(const void *)o->from + at;
    upz_half_unpack(room, (const uint16_t *)(const void *)o->from + at, n, o->e->ctx->cpu);
    return room;
}

static void clear_band(void *arg, int index, int worker)
{
    (void)worker;
    const Out *o = arg;
    const UpzEngine *e = o->e;
    const size_t row = (size_t)e->dst_w, rows = (size_t)e->dst_h * (size_t)e->tensor.out_channels;
    const size_t from = (size_t)index * BAND, n = UPZ_MIN((size_t)BAND, rows - from);
    memset(o->sum + from * row, 0, n * row * sizeof(float));
}

static void add_band(void *arg, int index, int worker)
{
    const Out *o = arg;
    UpzEngine *e = o->e;
    const int column = o->tile % e->x.n, line = o->tile / e->x.n;
    const UprezModelFacts *facts = &e->model->facts;
    const int left = e->x.start[column] * facts->scale_num / facts->scale_den;
    const int top = e->y.start[line] * facts->scale_num / facts->scale_den;
    const int begin = o->y0 + index * BAND, end = UPZ_MIN(begin + BAND, o->y1);
    const size_t n = (size_t)(o->x1 - o->x0);
    float *room = o->scratch[worker], *shares = room + e->tensor.out_width;
    for (int x = o->x0; x < o->x1 && e->blend; x++)
        shares[x - o->x0] = upz_tiles_weight(&e->x, column, x);
    for (int y = begin; y < end; y++) {
        const float share = upz_tiles_weight(&e->y, line, y);
        for (int c = 0; c < e->tensor.out_channels; c++) {
            const float *from = row_of(o, c, y - top, (size_t)(o->x0 - left), n, room);
            float *to = o->sum + ((size_t)c * (size_t)e->dst_h + (size_t)y) * (size_t)e->dst_w;
            to += o->x0;
            if (!e->blend) memcpy(to, from, n * sizeof(float));
            else for (size_t x = 0; x < n; x++) to[x] += share * shares[x] * from[x];
        }
    }
}

bool upz_tensor_wanted(const UpzTask *task, int64_t y0, int64_t y1)
{
    for (int i = 0; i < task->n_todo; i++) {
        const UprezRect *r = &task->todo[i];
        if (r->w > 0 && r->h > 0 && r->y < y1 && r->y + (int64_t)r->h > y0) return true;
    }
    return !task->n_todo;
}

/* Whole rows of tiles are left out: a row is stored from edge to edge. */
int upz_tensor_next_tile(const UpzEngine *e, const UpzTensorFrame *frame, int tile)
{
    const int margin = BAND + UPZ_TENSOR_STORE_ROWS;
    for (; tile < upz_tensor_tiles(e); tile = (tile / e->x.n + 1) * e->x.n) {
        int from, to;
        upz_tiles_range(&e->y, tile / e->x.n, &from, &to);
        if (upz_tensor_wanted(frame->task, from - margin, (int64_t)to + margin)) break;
    }
    return tile;
}

static Out out_of(UpzEngine *e, UpzTensorFrame *frame, const UpzTensorSlot *slot, int i)
{
    const UpzTensorShape *t = &e->tensor;
    Out o = {.e = e, .frame = frame, .scratch = e->scratch + slot->index * e->workers};
    if (i >= 0) {
        o.from = image(e, slot->buffers.out, i, true);
        o.pitch = (size_t)t->out_width;
        o.plane = (size_t)t->out_width * (size_t)t->out_height;
        o.half = t->half;
    } else {
        o.from = (const char *)e->sums[frame->sum];
        o.pitch = (size_t)e->dst_w;
        o.plane = (size_t)e->dst_w * (size_t)e->dst_h;
    }
    return o;
}

void upz_tensor_add(UpzEngine *e, const UpzTensorSlot *slot, int i)
{
    const UpzTensorJob *job = &slot->jobs[i];
    Out o = out_of(e, job->frame, slot, i);
    o.sum = e->sums[job->frame->sum];
    o.tile = job->tile;
    if (e->blend && job->tile == upz_tensor_next_tile(e, job->frame, 0)) {
        const int rows = e->dst_h * e->tensor.out_channels;
        upz_pool_for(e->ctx->pool, (rows + BAND - 1) / BAND, clear_band, &o);
    }
    upz_tiles_range(&e->x, o.tile % e->x.n, &o.x0, &o.x1);
    upz_tiles_range(&e->y, o.tile / e->x.n, &o.y0, &o.y1);
    if (o.x1 <= o.x0 || o.y1 <= o.y0) return;
    upz_pool_for(e->ctx->pool, (o.y1 - o.y0 + BAND - 1) / BAND, add_band, &o);
}

static void store_band(void *arg, int index, int worker)
{
    const Out *o = arg;
    UpzEngine *e = o->e;
    const int reach = upz_store_reach(&e->store), group = upz_store_group(&e->store);
    const int n = group + 2 * reach, end = UPZ_MIN((index + 1) * BAND, e->dst_h);
    const size_t width = (size_t)e->dst_w;
    const float *rows[3][UPZ_TENSOR_STORE_ROWS];
    const float *const *const planes[3] = {rows[0], rows[1], rows[2]};
    int there[UPZ_TENSOR_STORE_ROWS]; /* which row lies in each place of a ring of unpacked ones */
    float *ring = o->scratch[worker] + upz_store_scratch(&e->store) / sizeof(float);
    if (!upz_tensor_wanted(o->frame->task, index * BAND, end)) return;
    for (int i = 0; i < n; i++) there[i] = -1;
    int nan = 0;
    for (int y = index * BAND; y < end; y += group) {
        for (int i = 0; i < n; i++) {
            const int at = UPZ_CLAMP(y - reach + i, 0, e->dst_h - 1), place = at % n;
            for (int c = 0; c < e->tensor.out_channels; c++) {
                float *room = ring + ((size_t)place * 3 + (size_t)c) * width;
                rows[c][i] = o->half && there[place] == at ? room
                                                           : row_of(o, c, at, 0, width, room);
            }
            there[place] = at;
        }
        nan += upz_store_rows(&e->store, planes, y, o->frame->task->dst, o->scratch[worker]);
    }
    if (nan) atomic_fetch_add(&o->frame->nan, nan);
}

void upz_tensor_store(UpzEngine *e, UpzTensorFrame *frame, const UpzTensorSlot *slot, int i)
{
    Out o = out_of(e, frame, slot, i);
    upz_pool_for(e->ctx->pool, (e->dst_h + BAND - 1) / BAND, store_band, &o);
}
