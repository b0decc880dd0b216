/* Planar R G B or luma to a picture: the store of picture/convert_tmpl.h in the same order of
 * operations. Two forms: a thread makes whole chroma samples one by one (any format), or, for 4:2:0
 * with aligned rows, 8 x 2 px with wide loads and stores (upz_store_fast of grid.h). */
#include "dev.h"
#include "grid.h"

UPZ_DEV float store_clean(float v, int clip)
{
    if (!clip) return v == v ? v : 0;
    v = v > 0 ? v : 0; /* NaN too */
    return v < 1 ? v : 1;
}

/* No number, or infinite: a half could not hold what a layer gave. The difference is NaN then. */
UPZ_DEV bool store_lost(float v) { return v - v != 0; }

UPZ_DEV int store_round(float v, float hi, int shift)
{
    v = v > 0 ? v : 0;
    v = v < hi ? v : hi;
    return (int)(v + 0.5f) << shift;
}

/* ---- any format ---- */

UPZ_DEV float store_read(const UpzCudaStore *p, int plane, int x, int y)
{
    uint64_t line = p->src.data + (uint64_t)plane * p->src.plane + (uint64_t)y * p->src.row;
    return dev_low(dev_load2(line + (uint64_t)x * 2));
}

UPZ_DEV uint64_t store_place(const UpzCudaComponent *c, int x, int y)
{
    return c->data + (uint64_t)(c->stride * y + (int64_t)c->step * x);
}

UPZ_DEV void store_put(const UpzCudaStore *p, int comp, int x, int y, float code)
{
    const UpzCudaPicture *d = &p->dst;
    const UpzCudaComponent *c = &d->comp[comp];
    uint64_t at = store_place(c, x, y);
    if (d->depth > 16) {
        union {
            float number;
            uint32_t bits;
        } word = {code};
        dev_store4(at, word.bits);
        return;
    }
    int value = store_round(code, p->convert.hi[comp], d->shift);
    /* packed 4:2:2 of odd width: a luma sample beyond the picture, the last one again */
    int bytes = d->depth == 8 ? 1 : 2;
    bool twice = !comp && d->sub_x == 1 && c->step == 2 * bytes && x == d->width - 1 && x % 2 == 0;
    for (int i = 0; i < 1 + twice; i++, at += (uint64_t)c->step) {
        if (bytes == 1)
            dev_store1(at, (uint8_t)value);
        else
            dev_store2(at, (uint16_t)value);
    }
}

/* Codes of both chroma components at luma column x of the group of rows at y: the sum over rows,
 * then the matrix. */
UPZ_DEV void store_column(const UpzCudaStore *p, int x, int y, float code[2])
{
    const UpzCudaConvert *c = &p->convert;
    float sum[3] = {0, 0, 0};
    x = upz_grid_clamp(x, p->dst.width - 1);
    for (int k = 0; k < c->y.down_n; k++) {
        int row = upz_grid_clamp(y + c->y.down_at + k, p->dst.height - 1);
        float w = c->y.down_weight[k];
        UPZ_UNROLL
        for (int i = 0; i < 3; i++) {
            if (!i && c->diagonal) continue;
            float v = store_clean(store_read(p, i, x, row), c->clip) * w;
            sum[i] = k ? sum[i] + v : v;
        }
    }
    UPZ_UNROLL
    for (int i = 1; i < 3; i++)
        code[i - 1] = c->diagonal ? sum[i] * c->matrix[i][i] + c->bias[i]
                                  : sum[0] * c->matrix[i][0] + sum[1] * c->matrix[i][1] +
                                        sum[2] * c->matrix[i][2] + c->bias[i];
}

UPZ_DEV void store_chroma(const UpzCudaStore *p, int x, int y)
{
    const UpzCudaAxis *a = &p->convert.x;
    float sum[2] = {0, 0};
    for (int k = 0; k < a->down_n; k++) {
        float code[2];
        store_column(p, x + (a->sub ? a->down_at + k : 0), y, code);
        UPZ_UNROLL
        for (int i = 0; i < 2; i++) {
            float v = a->sub ? code[i] * a->down_weight[k] : code[i];
            sum[i] = k ? sum[i] + v : v;
        }
    }
    UPZ_UNROLL
    for (int i = 0; i < 2; i++)
        store_put(p, 1 + i, x >> p->dst.sub_x, y >> p->dst.sub_y, sum[i]);
}

/* Components at full resolution of one pixel; true when it had a value that is lost. */
UPZ_DEV bool store_pixel(const UpzCudaStore *p, int x, int y, int direct)
{
    const UpzCudaConvert *c = &p->convert;
    float v[3] = {0, 0, 0};
    bool bad = false;
    UPZ_UNROLL
    for (int i = 0; i < 3; i++) {
        if (i >= c->n_rows) continue;
        float s = store_read(p, i, x, y);
        bad = bad || store_lost(s);
        v[i] = store_clean(s, c->clip);
    }
    UPZ_UNROLL
    for (int i = 0; i < 3; i++) {
        if (i >= direct) continue;
        float code = c->n_rows == 1 ? v[0] * c->matrix[i][0] + c->bias[i]
                     : c->diagonal  ? v[i] * c->matrix[i][i] + c->bias[i]
                                    : v[0] * c->matrix[i][0] + v[1] * c->matrix[i][1] +
                                         v[2] * c->matrix[i][2] + c->bias[i];
        store_put(p, i, x, y, code);
    }
    return bad;
}

UPZ_DEV bool store_unit(const UpzCudaStore *p, int x, int y)
{
    const UpzCudaConvert *c = &p->convert;
    bool subsampled = c->n_comp == 3 && (c->x.sub || c->y.sub), bad = false;
    int right = x + upz_store_unit_w(p), bottom = y + upz_store_unit_h(p);
    for (int j = y; j < bottom && j < p->dst.height; j++)
        for (int i = x; i < right && i < p->dst.width; i++)
            bad = store_pixel(p, i, j, subsampled ? 1 : c->n_comp) || bad;
    if (subsampled) store_chroma(p, x, y);
    return bad;
}

/* ---- 4:2:0, wide ---- */

/* Weights of the four luma samples around a chroma sample, from the one before its first on. */
UPZ_DEV float store_weight(const UpzCudaAxis *a, int k)
{
    int i = k - 1 - a->down_at;
    return i >= 0 && i < a->down_n ? a->down_weight[i] : 0;
}

/* Columns x - 1 … x + 8 of a row, edges repeated; all lanes together. x is a multiple of 8. */
UPZ_DEV void store_columns(const UpzCudaStore *p, int plane, int x, int row, float v[10])
{
    int width = p->dst.width, lane = (int)dev_thread() % 32, last = width - 1;
    uint64_t line = p->src.data + (uint64_t)plane * p->src.plane + (uint64_t)row * p->src.row;
    UpzVec4 w = dev_load16(line + (uint64_t)(x < width ? x : last / 8 * 8) * 2);
    uint32_t before = dev_shfl(w.w, lane ? lane - 1 : 0) >> 16;
    uint32_t after = dev_shfl(w.x, (lane + 1) % 32);
    if (!lane) before = dev_load2(line + (uint64_t)upz_grid_clamp(x - 1, last) * 2);
    if (lane == 31) after = dev_load2(line + (uint64_t)upz_grid_clamp(x + 8, last) * 2);
    uint32_t word[4] = {w.x, w.y, w.z, w.w};
    UPZ_UNROLL
    for (int i = 0; i < 4; i++) {
        v[1 + 2 * i] = dev_low(word[i]);
        v[2 + 2 * i] = dev_high(word[i]);
    }
    v[0] = x ? dev_low(before) : v[1];
    v[9] = dev_low(after);
    if (x + 8 >= width) {
        UPZ_UNROLL
        for (int i = 1; i < 9; i++)
            if (x + i >= width) v[i + 1] = v[i];
    }
}

UPZ_DEV void store_luma(const UpzCudaStore *p, int x, int y, const int v[8])
{
    const UpzCudaPicture *d = &p->dst;
    uint64_t at = store_place(&d->comp[0], x, y);
    bool bytes = d->depth == 8;
    if (x + 8 > d->width) {
        UPZ_UNROLL
        for (int i = 0; i < 7; i++) {
            if (x + i >= d->width) continue;
            if (bytes)
                dev_store1(at + (uint64_t)i, (uint8_t)v[i]);
            else
                dev_store2(at + (uint64_t)i * 2, (uint16_t)v[i]);
        }
    } else if (bytes) {
        dev_store8(at, (uint32_t)(v[0] | v[1] << 8 | v[2] << 16) | (uint32_t)v[3] << 24,
                   (uint32_t)(v[4] | v[5] << 8 | v[6] << 16) | (uint32_t)v[7] << 24);
    } else {
        UpzVec4 w = {(uint32_t)v[0] | (uint32_t)v[1] << 16, (uint32_t)v[2] | (uint32_t)v[3] << 16,
                     (uint32_t)v[4] | (uint32_t)v[5] << 16, (uint32_t)v[6] | (uint32_t)v[7] << 16};
        dev_store16(at, w);
    }
}

/* Four samples of both chroma components, from column x on. */
UPZ_DEV void store_pairs(const UpzCudaStore *p, int x, int y, int v[2][4])
{
    const UpzCudaPicture *d = &p->dst;
    int size = d->depth == 8 ? 1 : 2, left = (d->width + 1) / 2 - x;
    if (left < 4) {
        UPZ_UNROLL
        for (int c = 0; c < 2; c++) {
            UPZ_UNROLL
            for (int i = 0; i < 3; i++) {
                uint64_t at = store_place(&d->comp[1 + c], x + i, y);
                if (i >= left) continue;
                if (size == 1)
                    dev_store1(at, (uint8_t)v[c][i]);
                else
                    dev_store2(at, (uint16_t)v[c][i]);
            }
        }
        return;
    }
    if (d->comp[1].step == size) { /* planes of their own */
        UPZ_UNROLL
        for (int c = 0; c < 2; c++) {
            uint64_t at = store_place(&d->comp[1 + c], x, y);
            if (size == 1)
                dev_store4(at, (uint32_t)(v[c][0] | v[c][1] << 8 | v[c][2] << 16) |
                                   (uint32_t)v[c][3] << 24);
            else
                dev_store8(at, (uint32_t)v[c][0] | (uint32_t)v[c][1] << 16,
                           (uint32_t)v[c][2] | (uint32_t)v[c][3] << 16);
        }
        return;
    }
    bool swap = d->comp[2].data < d->comp[1].data;
    uint64_t at = store_place(swap ? &d->comp[2] : &d->comp[1], x, y);
    uint32_t pair[4];
    UPZ_UNROLL
    for (int i = 0; i < 4; i++) {
        uint32_t a = (uint32_t)(swap ? v[1][i] : v[0][i]), b = (uint32_t)(swap ? v[0][i] : v[1][i]);
        pair[i] = a | b << (8 * size);
    }
    if (size == 1) {
        dev_store8(at, pair[0] | pair[1] << 16, pair[2] | pair[3] << 16);
    } else {
        UpzVec4 w = {pair[0], pair[1], pair[2], pair[3]};
        dev_store16(at, w);
    }
}

/* All lanes together, also those from x1 on, which store nothing. */
UPZ_DEV bool store_wide(const UpzCudaStore *p, int x, int y, int x1)
{
    const UpzCudaConvert *c = &p->convert;
    int height = p->dst.height, shift = p->dst.shift;
    bool bad = false;
    float sum[3][10];
    UPZ_UNROLL
    for (int i = 0; i < 3; i++) {
        UPZ_UNROLL
        for (int k = 0; k < 10; k++) sum[i][k] = 0;
    }
    UPZ_UNROLL
    for (int r = 0; r < 4; r++) { /* rows y - 1 … y + 2; a weight of 0 changes no bit */
        float weight = store_weight(&c->y, r), v[3][10];
        bool luma = r == 1 || (r == 2 && y + 1 < height);
        if (weight == 0 && !luma) continue;
        UPZ_UNROLL
        for (int i = 0; i < 3; i++) {
            store_columns(p, i, x, upz_grid_clamp(y - 1 + r, height - 1), v[i]);
            UPZ_UNROLL
            for (int k = 0; k < 10; k++) {
                if (luma && k && k < 9 && store_lost(v[i][k])) bad = true;
                v[i][k] = store_clean(v[i][k], 1);
                sum[i][k] = sum[i][k] + v[i][k] * weight;
            }
        }
        if (!luma || x >= x1) continue;
        int code[8];
        UPZ_UNROLL
        for (int k = 0; k < 8; k++)
            code[k] = store_round(v[0][k + 1] * c->matrix[0][0] + v[1][k + 1] * c->matrix[0][1] +
                                v[2][k + 1] * c->matrix[0][2] + c->bias[0],
                            c->hi[0], shift);
        store_luma(p, x, y - 1 + r, code);
    }
    if (x >= x1) return false;
    int code[2][4];
    UPZ_UNROLL
    for (int i = 0; i < 2; i++) {
        float full[10];
        UPZ_UNROLL
        for (int k = 0; k < 10; k++)
            full[k] = sum[0][k] * c->matrix[i + 1][0] + sum[1][k] * c->matrix[i + 1][1] +
                      sum[2][k] * c->matrix[i + 1][2] + c->bias[i + 1];
        UPZ_UNROLL
        for (int k = 0; k < 4; k++)
            code[i][k] = store_round(full[2 * k] * store_weight(&c->x, 0) +
                                   full[2 * k + 1] * store_weight(&c->x, 1) +
                                   full[2 * k + 2] * store_weight(&c->x, 2) +
                                   full[2 * k + 3] * store_weight(&c->x, 3),
                               c->hi[i + 1], shift);
    }
    store_pairs(p, x / 2, y / 2, code);
    return bad;
}

UPZ_KERNEL(store_picture, UpzCudaStore, UPZ_STORE_THREADS, 4)
{
    int unit_w = upz_store_unit_w(&p), unit_h = upz_store_unit_h(&p), block = (int)dev_block();
    UpzCudaWindow w = upz_grid_window(&p.window, p.dst.width, p.dst.height);
    int across = upz_grid_up(w.x1 - w.x0, 32 * unit_w), line = block / across;
    int lane = (int)dev_thread() % 32, warp = (int)dev_thread() / 32;
    int x = w.x0 + ((block - line * across) * 32 + lane) * unit_w;
    int y = w.y0 + (line * (UPZ_STORE_THREADS / 32) + warp) * unit_h;
    bool bad = false;
#ifdef UPZ_WGMMA
    dev_grid_wait();
#endif
    if (y >= w.y1) return; /* all of the warp */
    if (upz_store_fast(&p))
        bad = store_wide(&p, x, y, w.x1);
    else if (x < w.x1)
        bad = store_unit(&p, x, y);
    if (bad) dev_max4(p.nan, 1);
}
