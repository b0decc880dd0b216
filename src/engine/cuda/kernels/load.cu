/* A picture to the network's input: the load of picture/convert_tmpl.h, a thread a pixel of the
 * map, every value in the same order of operations, then rounded to half. */
#include "dev.h"
#include "grid.h"

UPZ_DEV float load_clip(float v)
{
    v = v > 0 ? v : 0; /* NaN too */
    return v < 1 ? v : 1;
}

UPZ_DEV float load_sample(const UpzCudaPicture *s, const UpzCudaComponent *c, int x, int y)
{
    uint64_t at = c->data + (uint64_t)(c->stride * y + (int64_t)c->step * x);
    if (s->depth == 8) return (float)dev_load1(at);
    if (s->depth <= 16) return (float)(dev_load2(at) >> s->shift);
    return dev_load_float(at);
}

/* Column x of the chroma sample row between `top` and `bottom`. */
UPZ_DEV float load_between(const UpzCudaPicture *s, const UpzCudaComponent *c, int x, int top,
                           int bottom, float weight)
{
    float a = load_sample(s, c, x, top);
    if (bottom == top) return a;
    return a * (1 - weight) + load_sample(s, c, x, bottom) * weight;
}

UPZ_DEV float load_chroma(const UpzCudaLoad *p, const UpzCudaComponent *c, int x, int y)
{
    const UpzCudaAxis *ax = &p->convert.x, *ay = &p->convert.y;
    int width = (p->src.width + (1 << ax->sub) - 1) >> ax->sub;
    int height = (p->src.height + (1 << ay->sub) - 1) >> ay->sub;
    int k = y & ((1 << ay->sub) - 1), row = (y >> ay->sub) + ay->up_at[k];
    float weight = ay->up_weight[k];
    int top = upz_grid_clamp(row, height - 1), bottom = upz_grid_clamp(row + 1, height - 1);
    if (weight == 0) bottom = top;
    if (!ax->sub) return load_between(&p->src, c, x, top, bottom, weight);
    k = x & ((1 << ax->sub) - 1);
    int left = (x >> ax->sub) + ax->up_at[k];
    float wx = ax->up_weight[k];
    float a = load_between(&p->src, c, upz_grid_clamp(left, width - 1), top, bottom, weight);
    float b = load_between(&p->src, c, upz_grid_clamp(left + 1, width - 1), top, bottom, weight);
    return a * (1 - wx) + b * wx;
}

UPZ_DEV float load_finish(const UpzCudaConvert *c, float v) { return c->clip ? load_clip(v) : v; }

UPZ_DEV float load_row(const UpzCudaConvert *c, int row, const float x[3])
{
    const float *m = c->matrix[row];
    return load_finish(c, x[0] * m[0] + x[1] * m[1] + x[2] * m[2] + c->bias[row]);
}

UPZ_DEV int load_beyond(int at, int size, int pad_mode)
{
    if (at < size) return at;
    return pad_mode == 1 ? upz_grid_clamp(2 * size - 2 - at, size - 1) : size - 1;
}

/* Rows of pixel (x, y) of the picture, which may lie beyond it on the right and below. */
UPZ_DEV void load_pixel(const UpzCudaLoad *p, int x, int y, float v[3])
{
    const UpzCudaConvert *c = &p->convert;
    int width = p->src.width, height = p->src.height;
    v[0] = v[1] = v[2] = 0;
    if (x >= width || y >= height) {
        if (p->pad_mode == 2) return;
        x = load_beyond(x, width, p->pad_mode);
        y = load_beyond(y, height, p->pad_mode);
    }
    float code[3];
    code[0] = load_sample(&p->src, &p->src.comp[0], x, y) - c->offset[0];
    if (c->n_comp == 1) {
        v[0] = load_finish(c, code[0] * c->matrix[0][0] + c->bias[0]);
        if (c->n_rows == 3) v[1] = v[2] = v[0];
        return;
    }
    code[1] = load_chroma(p, &p->src.comp[1], x, y) - c->offset[1];
    code[2] = load_chroma(p, &p->src.comp[2], x, y) - c->offset[2];
    if (c->diagonal) {
        UPZ_UNROLL
        for (int i = 0; i < 3; i++)
            if (i < c->n_rows) v[i] = load_finish(c, code[i] * c->matrix[i][i] + c->bias[i]);
        return;
    }
    UPZ_UNROLL
    for (int i = 0; i < 3; i++)
        if (i < c->n_rows) v[i] = load_row(c, i, code);
}

UPZ_DEV void load_put(uint64_t at, const float v[8])
{
    UpzVec4 w = {dev_half2(v[0], v[1]), dev_half2(v[2], v[3]), dev_half2(v[4], v[5]),
                 dev_half2(v[6], v[7])};
    dev_store16(at, w);
}

UPZ_KERNEL(load_map, UpzCudaLoad, UPZ_LOAD_THREADS, 4)
{
    int across = upz_grid_up(p.dst.width, UPZ_LOAD_THREADS), block = (int)dev_block();
    int y = block / across, x = (block - y * across) * UPZ_LOAD_THREADS + (int)dev_thread();
#ifdef UPZ_WGMMA
    dev_grid_wait();
#endif
    if (x >= p.dst.width) return;
    int f = p.unshuffle, first_zero = 0;
    uint64_t to = p.dst.data + (uint64_t)y * p.dst.row + (uint64_t)x * 16;
    if (f == 1) {
        float v[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        load_pixel(&p, p.x0 + x, p.y0 + y, v);
        load_put(to, v);
        first_zero = 1;
    } else if (f == 2) {
        float v[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        UPZ_UNROLL
        for (int k = 0; k < 4; k++) {
            float rgb[3];
            load_pixel(&p, p.x0 + 2 * x + k % 2, p.y0 + 2 * y + k / 2, rgb);
            UPZ_UNROLL
            for (int c = 0; c < 3; c++) v[4 * c + k] = rgb[c];
        }
        load_put(to, v);
        load_put(to + p.dst.chunk, v + 8);
        first_zero = 2;
    } else {
        for (int k = 0; k < f * f; k++) {
            float rgb[3];
            int dy = k / f;
            load_pixel(&p, p.x0 + f * x + k - dy * f, p.y0 + f * y + dy, rgb);
            UPZ_UNROLL
            for (int i = 0; i < 3; i++) {
                int c = i * f * f + k;
                if (i < p.convert.n_rows)
                    dev_store2(to + (uint64_t)(c / 8) * p.dst.chunk + (uint64_t)(c % 8) * 2,
                               (uint16_t)dev_half2(rgb[i], 0));
            }
        }
        int used = p.convert.n_rows * f * f;
        for (first_zero = used / 8; used % 8; used++)
            dev_store2(to + (uint64_t)first_zero * p.dst.chunk + (uint64_t)(used % 8) * 2, 0);
        first_zero = used / 8;
    }
    UpzVec4 none = {0, 0, 0, 0};
    for (int k = first_zero; k < p.dst.chunks; k++)
        dev_store16(to + (uint64_t)k * p.dst.chunk, none);
}
