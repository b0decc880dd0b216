#include "engine/tensor/tiles.h"

#include <stdint.h>
#include "base/alloc.h"

int upz_tiles_axis(UpzTileAxis *a, int size, int out_end, int tile, int halo, bool blend, int unit,
                   int num, int den, UprezError *err)
{
    const int free_px = size - tile, step = tile - 2 * halo;
    const int n = free_px > 0 ? (free_px + step - 1) / step + 1 : 1;
    *a = (UpzTileAxis){.tile = tile, .n = n, .end = out_end};
    a->start = upz_calloc((size_t)n * 2 + 1, sizeof(*a->start));
    if (!a->start) return upz_fail_memory(err, (size_t)n * 2 * sizeof(*a->start), "the tiles");
    a->cut = a->start + n;
    for (int i = 1; i < n; i++)
        a->start[i] = (int)((int64_t)free_px / unit * i / (n - 1)) * unit;
    for (int i = 1; i < n; i++) {
        const int64_t from = (int64_t)a->start[i] * num / den;
        const int64_t to = (int64_t)(a->start[i - 1] + tile) * num / den;
        a->cut[i] = UPZ_MIN((int)((from + to) / 2), out_end);
    }
    a->cut[n] = out_end;
    if (blend && n > 1) a->blend = (int)((int64_t)halo * num / den) / 2 * 2;
    return 0;
}

void upz_tiles_free(UpzTileAxis *a)
{
    upz_free(a->start);
    *a = (UpzTileAxis){0};
}

void upz_tiles_range(const UpzTileAxis *a, int i, int *from, int *to)
{
    *from = i ? UPZ_MIN(a->cut[i] - a->blend / 2, a->end) : 0;
    *to = i < a->n - 1 ? UPZ_MIN(a->cut[i + 1] + a->blend / 2, a->end) : a->end;
}

/* What the tile behind the cut has of x. */
static float behind(const UpzTileAxis *a, int cut, int x)
{
    const int at = x - (cut - a->blend / 2);
    if (at < 0) return 0;
    return at >= a->blend ? 1 : ((float)at + 0.5f) / (float)a->blend;
}

float upz_tiles_weight(const UpzTileAxis *a, int i, int x)
{
    float w = 1;
    if (i) w = behind(a, a->cut[i], x);
    if (i < a->n - 1) w -= behind(a, a->cut[i + 1], x);
    return w;
}
