/* Geometry of maps, which chunks they share, and tiles. */
#include "engine/cuda/plan.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

enum { TILE_LEAST = 64 }; /* px beside the reach: smaller ones spend all on their surroundings */

static UpzCudaCut cut(int side, int unit, int reach, int n)
{
    UpzCudaCut c = {.padded = UPZ_ROUND_UP(side, unit), .n = n};
    c.step = UPZ_ROUND_UP((c.padded + n - 1) / n, unit);
    c.n = (c.padded + c.step - 1) / c.step;
    c.halo = c.n > 1 ? UPZ_ROUND_UP(reach, unit) : 0;
    c.tile = UPZ_MIN(c.padded, c.step + 2 * c.halo);
    return c;
}

static int size_index(UpzCudaLayout *l, const UpzCudaMapUse *m)
{
    int i = 0;
    while (i < l->n_sizes && (l->sizes[i].num != m->num || l->sizes[i].den != m->den)) i++;
    if (i == UPZ_CUDA_SIZES) return -1;
    if (i == l->n_sizes) l->sizes[l->n_sizes++] = (UpzCudaSize){.num = m->num, .den = m->den};
    return i;
}

/* false: beyond what a map's description holds */
static bool shape(UpzCudaLayout *l, UpzCudaSize *s)
{
    const int64_t w = (int64_t)l->x.tile * s->num / s->den, h = (int64_t)l->y.tile * s->num / s->den;
    const int64_t columns = UPZ_MAP_LEFT + UPZ_ROUND_UP(w, UPZ_TILE_W) + 8;
    const int64_t rows = UPZ_MAP_TOP + UPZ_ROUND_UP(h, UPZ_TILE_H) + 1;
    if (w > INT32_MAX / 64 || h > INT32_MAX / 64 || columns * 16 * rows > UINT32_MAX) return false;
    s->width = (int)w, s->height = (int)h;
    s->row = (uint32_t)(columns * 16);
    s->chunk = (uint32_t)(columns * 16 * rows);
    return true;
}

/* First run of chunks that is free from the map's first layer on. */
static int fit(const int *busy, int n, const UpzCudaMapUse *m)
{
    int at = 0;
    for (int i = 0; i < n && i < at + m->chunks; i++)
        if (busy[i] >= m->first) at = i + 1;
    return at;
}

/* Maps take chunks in the order they are written. */
static int place(UpzCudaLayout *l, const UpzCudaNet *net, UprezError *err)
{
    int all = 0;
    for (int i = 0; i < net->n_maps; i++) all += net->maps[i].chunks;
    const size_t n = (size_t)all * (size_t)l->n_sizes;
    int *busy = upz_calloc(n, sizeof(*busy)); /* by size and chunk: last layer that reads it */
    if (!busy) return upz_fail_memory(err, n * sizeof(*busy), "the memory plan");
    for (size_t i = 0; i < n; i++) busy[i] = -1;
    for (int i = 0; i < 2 * net->n_layers; i++) {
        const int layer = i / 2;
        const int map = i % 2 ? net->layers[layer].dst8.map : net->layers[layer].dst.map;
        if (map < 0 || net->maps[map].first != layer) continue;
        const UpzCudaMapUse *m = &net->maps[map];
        UpzCudaSize *s = &l->sizes[l->size_of[map]];
        int *own = busy + (size_t)l->size_of[map] * (size_t)all;
        const int at = fit(own, s->chunks, m);
        for (int k = at; k < at + m->chunks; k++) own[k] = m->last;
        s->chunks = UPZ_MAX(s->chunks, at + m->chunks);
        l->chunk_of[map] = at;
    }
    upz_free(busy);
    return 0;
}

/* Bytes put behind what is there; SIZE_MAX stays. */
static size_t put(size_t *bytes, size_t n)
{
    const size_t at = *bytes;
    if (at == SIZE_MAX || n > SIZE_MAX / 4 || at + n > SIZE_MAX / 2) *bytes = SIZE_MAX;
    else *bytes = UPZ_ROUND_UP(at + n, (size_t)1024);
    return at;
}

static UpzCudaImage image(const UpzCudaNeed *need, int planes, int w, int h)
{
    const int64_t iw = (int64_t)w * need->scale_num / need->scale_den;
    const int64_t ih = (int64_t)h * need->scale_num / need->scale_den;
    UpzCudaImage m = {.width = (int)iw, .height = (int)ih, .planes = planes,
                      .row = (uint32_t)UPZ_ROUND_UP(iw * 2, 128)};
    m.plane = (uint64_t)m.row * (uint64_t)ih;
    return m;
}

int upz_cuda_layout_make(UpzCudaLayout *l, const UpzCudaNet *net, const UpzCudaNeed *need, int nx,
                         int ny, UprezError *err)
{
    const size_t maps = (size_t)net->n_maps;
    *l = (UpzCudaLayout){.x = cut(need->width, need->unit, need->reach, nx),
                         .y = cut(need->height, need->unit, need->reach, ny),
                         .size_of = upz_calloc(maps, sizeof(int)),
                         .chunk_of = upz_calloc(maps, sizeof(int))};
    int r = 0;
    if (!l->size_of || !l->chunk_of) r = upz_fail_memory(err, maps * sizeof(int), "the memory plan");
    for (int i = 0; i < net->n_maps && !r; i++) {
        l->size_of[i] = size_index(l, &net->maps[i]);
        if (l->size_of[i] < 0)
            r = upz_fail(err, UPREZ_ERR_MODEL, "the network has feature maps of more than %d sizes, "
                         "which engine cuda does not plan for", UPZ_CUDA_SIZES);
    }
    if (!r) r = place(l, net, err);
    if (r) {
        upz_cuda_layout_free(l);
        return r;
    }
    for (int i = 0; i < l->n_sizes; i++) {
        UpzCudaSize *s = &l->sizes[i];
        if (!shape(l, s)) {
            l->bytes = SIZE_MAX;
            return 0;
        }
        s->at = put(&l->bytes, (size_t)s->chunk * (size_t)s->chunks +
                                   UPZ_MAP_SLACK * (s->row + UPZ_TILE_W * 16));
    }
    l->image = image(need, net->planes, l->x.padded, l->y.padded);
    l->image.data = put(&l->bytes, l->image.plane * (size_t)net->planes);
    l->tile = l->image;
    if (l->x.n * l->y.n > 1) {
        l->tile = image(need, net->planes, l->x.tile, l->y.tile);
        l->tile.data = put(&l->bytes, l->tile.plane * (size_t)net->planes);
    }
    l->zeroed = l->bytes; /* images too: a store reads 8 pixels at a time, also across their edge */
    const size_t image_bytes = l->image.plane * (size_t)net->planes;
    if (need->passes[0]) l->passes[0] = put(&l->bytes, need->passes[0]);
    if (need->passes[1])
        l->passes[1] = need->passes[1] <= image_bytes ? l->image.data : put(&l->bytes, need->passes[1]);
    if (need->tables) l->tables = put(&l->bytes, need->tables);
    for (int i = 0; i < UPZ_CUDA_SLOTS; i++) {
        if (need->in) l->in[i] = put(&l->bytes, need->in);
        if (need->out) l->out[i] = put(&l->bytes, need->out);
    }
    l->nan = put(&l->bytes, UPZ_CUDA_SLOTS * sizeof(uint32_t));
    if (need->cells) l->cells = put(&l->bytes, need->cells * sizeof(uint32_t));
    return 0;
}

void upz_cuda_layout_free(UpzCudaLayout *l)
{
    upz_free(l->size_of);
    upz_free(l->chunk_of);
    *l = (UpzCudaLayout){0};
}

bool upz_cuda_more_tiles(const UpzCudaLayout *l, const UpzCudaNeed *need, int *nx, int *ny)
{
    const int least = UPZ_ROUND_UP(TILE_LEAST, need->unit);
    const UpzCudaCut *c = l->x.step > l->y.step ? &l->x : &l->y;
    if (c->step <= least) return false;
    const int less = UPZ_MIN(UPZ_ROUND_UP(c->step * 3 / 4, need->unit), c->step - need->unit);
    const int step = UPZ_MAX(least, less), n = (c->padded + step - 1) / step;
    *nx = c == &l->x ? n : l->x.n;
    *ny = c == &l->y ? n : l->y.n;
    return true;
}

/* The side of a part, in source px: what makes result px a … b - 1, on multiples of `unit`. */
static void part_axis(const UpzCudaNeed *need, int padded, int unit, int *a, int *b)
{
    const int64_t first = (int64_t)*a * need->scale_den / need->scale_num - need->reach;
    const int64_t last = ((int64_t)*b * need->scale_den + need->scale_num - 1) / need->scale_num +
                         need->reach;
    *a = (int)UPZ_CLAMP(first, 0, padded - 1) / unit * unit;
    *b = (int)UPZ_MIN(UPZ_ROUND_UP(UPZ_MAX(last, 1), need->unit), padded);
}

UpzCudaPart upz_cuda_part(const UpzCudaLayout *l, const UpzCudaNeed *need, UpzCudaWindow result)
{
    /* rows of maps begin at multiples of 8 px */
    part_axis(need, l->x.padded, 8 * need->unit, &result.x0, &result.x1);
    part_axis(need, l->y.padded, need->unit, &result.y0, &result.y1);
    return (UpzCudaPart){result.x0, result.y0, result.x1 - result.x0, result.y1 - result.y0};
}

void upz_cuda_part_map(const UpzCudaLayout *l, const UpzCudaPart *part, int size, UpzCudaMap *map)
{
    if (!map->data) return;
    const UpzCudaSize *s = &l->sizes[size];
    map->data += (uint64_t)((int64_t)part->y * s->num / s->den) * s->row +
                 (uint64_t)((int64_t)part->x * s->num / s->den) * 16;
    map->width = (int)((int64_t)part->w * s->num / s->den);
    map->height = (int)((int64_t)part->h * s->num / s->den);
}

UpzCudaMap upz_cuda_all_chunks(const UpzCudaLayout *l, int size, uint64_t arena)
{
    const UpzCudaSize *s = &l->sizes[size];
    return (UpzCudaMap){.data = arena + s->at + (uint64_t)UPZ_MAP_TOP * s->row + UPZ_MAP_LEFT * 16,
                        .chunk = s->chunk, .row = s->row, .width = s->width, .height = s->height,
                        .chunks = s->chunks};
}

UpzCudaMap upz_cuda_map(const UpzCudaLayout *l, const UpzCudaView *v, uint64_t arena)
{
    if (v->map < 0) return (UpzCudaMap){0};
    const UpzCudaSize *s = &l->sizes[l->size_of[v->map]];
    const uint64_t chunk = (uint64_t)(l->chunk_of[v->map] + v->first);
    return (UpzCudaMap){.data = arena + s->at + chunk * s->chunk +
                                (uint64_t)UPZ_MAP_TOP * s->row + UPZ_MAP_LEFT * 16,
                        .chunk = s->chunk, .row = s->row, .width = s->width, .height = s->height,
                        .chunks = v->chunks};
}
