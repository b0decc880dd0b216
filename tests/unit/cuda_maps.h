/* Memory, maps, images and plain convolutions for tests of the CUDA engine's kernels (fake/simt.h). */
#ifndef CUDA_MAPS_H
#define CUDA_MAPS_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "engine/cuda/kernels/grid.h"
#include "fake/simt.h"

static uint32_t state32 = 1;
static inline uint32_t draw(void)
{
    state32 ^= state32 << 13;
    state32 ^= state32 >> 17;
    state32 ^= state32 << 5;
    return state32;
}

/* Memory that kernels may touch, of exactly this size, full of NaN; released by drop_all. */
static void *held[64];
static int n_held;
static inline void *memory(size_t bytes)
{
    void *m = aligned_alloc(256, (bytes + 255) / 256 * 256);
    assert_non_null(m);
    memset(m, 0xff, bytes);
    simt_memory_add(m, bytes);
    held[n_held++] = m;
    assert_true(n_held < 64);
    return m;
}

static inline void drop_all(void)
{
    while (n_held) {
        simt_memory_remove(held[--n_held]);
        free(held[n_held]);
    }
}

static inline uint64_t at(const void *p) { return (uint64_t)(uintptr_t)p; }

static inline void run(const char *name, int capability, const void *params, UpzCudaGrid g, unsigned seed)
{
    const SimtKernel *k = simt_find(name, capability);
    if (!k) fail_msg("no kernel %s for %d", name, capability);
    SimtLaunch l = {.kernel = k, .params = params, .grid_x = g.x, .grid_y = g.y,
                    .threads = g.threads, .shared = g.shared, .seed = seed};
    if (simt_launch(&l)) fail_msg("seed %u: %s", seed, simt_error());
}

/* ---- maps ---- */

typedef struct Map {
    UpzCudaMap m;
    uint16_t *data;
    size_t halves;
} Map;

#define UNTOUCHED 0xfe11 /* a NaN */

/* The border as params.h promises it: zeros at -1, width and height, NaN further out, and not a
 * byte more than may be read. `more`: chunks before and after, of others. */
static inline Map map_new(int width, int height, int chunks, int more)
{
    Map map;
    uint32_t row = (uint32_t)(UPZ_MAP_LEFT + upz_grid_up(width, UPZ_TILE_W) * UPZ_TILE_W + 8) * 16;
    uint32_t rows = (uint32_t)(UPZ_MAP_TOP + upz_grid_up(height, UPZ_TILE_H) * UPZ_TILE_H + 1);
    map.m = (UpzCudaMap){0, row * rows, row, width, height, chunks, 0};
    map.halves = (size_t)map.m.chunk * (size_t)(chunks + 2 * more) / 2;
    map.data = memory(map.halves * 2);
    for (size_t i = 0; i < map.halves; i++) map.data[i] = UNTOUCHED;
    map.m.data =
        at(map.data) + (uint64_t)more * map.m.chunk + UPZ_MAP_TOP * row + UPZ_MAP_LEFT * 16;
    return map;
}

static inline uint16_t *map_at(const Map *map, int c, int y, int x)
{
    int64_t in_chunk = (int64_t)y * map->m.row + (int64_t)x * 16 + c % 8 * 2;
    return (uint16_t *)(uintptr_t)(map->m.data + (uint64_t)(c / 8) * map->m.chunk +
                                   (uint64_t)in_chunk);
}

static inline float map_get(const Map *map, int c, int y, int x)
{
    if (x < 0 || y < 0 || x >= map->m.width || y >= map->m.height) return 0;
    return simt_float(*map_at(map, c, y, x));
}

static inline void map_fill(Map *map, int channels)
{
    for (int c = 0; c < map->m.chunks * 8; c++)
        for (int y = -1; y <= map->m.height; y++)
            for (int x = -1; x <= map->m.width; x++) {
                bool in = x >= 0 && y >= 0 && x < map->m.width && y < map->m.height && c < channels;
                *map_at(map, c, y, x) = in ? simt_half((float)(draw() % 3072) / 1024 - 1) : 0;
            }
}

/* All that is not in the picture is as map_new left it. */
static inline void map_untouched(const Map *map)
{
    size_t inside = 0, others = 0;
    for (int c = 0; c < map->m.chunks * 8; c++)
        for (int y = 0; y < map->m.height; y++)
            for (int x = 0; x < map->m.width; x++) inside += *map_at(map, c, y, x) != UNTOUCHED;
    for (size_t i = 0; i < map->halves; i++) others += map->data[i] != UNTOUCHED;
    assert_int_equal(inside, others);
    assert_int_equal(inside,
                     (size_t)map->m.chunks * 8 * (size_t)map->m.width * (size_t)map->m.height);
}

/* ---- images ---- */

typedef struct Image {
    UpzCudaImage m;
    uint16_t *data;
    size_t halves;
} Image;

static inline Image image_new(int width, int height, int planes)
{
    Image image;
    uint32_t row = (uint32_t)upz_grid_up(width * 2, 128) * 128;
    image.m = (UpzCudaImage){0, (uint64_t)row * (uint64_t)height, row, width, height, planes};
    image.halves = (size_t)image.m.plane * (size_t)planes / 2;
    image.data = memory(image.halves * 2);
    image.m.data = at(image.data);
    for (size_t i = 0; i < image.halves; i++) image.data[i] = UNTOUCHED;
    return image;
}

static inline uint16_t *image_at(const Image *image, int p, int y, int x)
{
    return image->data + ((size_t)p * image->m.plane + (size_t)y * image->m.row) / 2 + x;
}

static inline void image_untouched(const Image *image)
{
    size_t others = 0;
    for (size_t i = 0; i < image->halves; i++) others += image->data[i] != UNTOUCHED;
    assert_int_equal(others,
                     (size_t)image->m.planes * (size_t)image->m.width * (size_t)image->m.height);
}

static inline void close_to(double want, uint16_t got, const char *what, int c, int y, int x)
{
    double v = (double)simt_float(got), room = fabs(want) * 0x1.02p-11 + 3e-5;
    if (!(fabs(v - want) <= room))
        fail_msg("%s: channel %d, (%d, %d): %.9g for %.9g", what, c, x, y, v, want);
}

/* ---- convolutions ---- */

typedef struct Case {
    int in, out, width, height, kernel, up;
    int act, adds;    /* adds: maps added */
    float alpha, beta[2];
    int factor, base; /* factor 0: to a map */
} Case;

static float *weights; /* [out][in][kernel][kernel], multiples of 2^-7: sums of four are halves */

static inline float weight(const Case *c, int o, int i, int ky, int kx)
{
    return weights[((o * c->in + i) * c->kernel + ky) * c->kernel + kx];
}

/* The weight of tap (ty, tx) of four for parity (dy, dx): the 3x3's taps that fall there. */
static inline float parity_weight(const Case *c, int o, int i, int dy, int dx, int ty, int tx)
{
    float sum = 0;
    for (int ky = 0; ky < 3; ky++)
        for (int kx = 0; kx < 3; kx++) {
            int y = (dy + ky - 1 + 2) / 2 - 1, x = (dx + kx - 1 + 2) / 2 - 1; /* of the source */
            if (y == dy - 1 + ty && x == dx - 1 + tx) sum += weight(c, o, i, ky, kx);
        }
    return sum;
}

static inline uint16_t *pack(const Case *c, bool pair)
{
    int blocks = (c->out + 63) / 64, depth = (c->in + 15) / 16, parities = c->up == 2 ? 4 : 1;
    int across = c->up == 2 ? 2 : c->kernel, taps = across * across;
    size_t tiles = pair ? (size_t)depth * 12 : (size_t)(parities * blocks * taps * depth), tile = 0;
    uint16_t *w = memory(tiles * 2048);
    memset(w, 0, tiles * 2048);
    for (int k16 = 0; pair && k16 < depth; k16++)
        for (int r = 0; r < 4; r++)
            for (int dx = 0; dx < 3; dx++, tile++)
                for (int m = 0; m < 64; m++)
                    for (int k = 0; k < 16; k++) {
                        int o = m % 32, i = k16 * 16 + k, dy = r - m / 32;
                        if (o < c->out && i < c->in && dy >= 0 && dy < 3)
                            w[tile * 1024 + (size_t)(k / 8 * 512 + m * 8 + k % 8)] =
                                simt_half(weight(c, o, i, dy, dx));
                    }
    for (int p = 0; !pair && p < parities; p++)
        for (int b = 0; b < blocks; b++)
            for (int tap = 0; tap < taps; tap++)
                for (int k16 = 0; k16 < depth; k16++, tile++)
                    for (int m = 0; m < 64; m++)
                        for (int k = 0; k < 16; k++) {
                            int o = b * 64 + m, i = k16 * 16 + k, ty = tap / across,
                                tx = tap % across;
                            if (o >= c->out || i >= c->in) continue;
                            w[tile * 1024 + (size_t)(k / 8 * 512 + m * 8 + k % 8)] = simt_half(
                                c->up == 2 ? parity_weight(c, o, i, p / 2, p % 2, ty, tx)
                                           : weight(c, o, i, ty, tx));
                        }
    return w;
}

static inline float *per_channel(int out, float scale)
{
    size_t n = (size_t)(out + 63) / 64 * 64;
    float *v = memory(n * 4);
    for (size_t i = 0; i < n; i++)
        v[i] = (int)i < out ? ((float)(draw() % 512) / 256 - 1) * scale : 0;
    return v;
}

/* One sum of the reference, in double. */
static inline double convolved(const Case *c, const Map *src, int o, int y, int x)
{
    double sum = 0;
    int half = c->kernel / 2;
    for (int i = 0; i < c->in; i++)
        for (int ky = 0; ky < c->kernel; ky++)
            for (int kx = 0; kx < c->kernel; kx++) {
                int yy = y + ky - half, xx = x + kx - half;
                if (yy < 0 || xx < 0) continue;
                sum += (double)weight(c, o, i, ky, kx) *
                       (double)map_get(src, i, c->up == 2 ? yy / 2 : yy, c->up == 2 ? xx / 2 : xx);
            }
    return sum;
}

#endif
