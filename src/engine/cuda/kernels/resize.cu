/* One axis of a resize: 8 px of a row a thread. A sum's taps are added from the first on, each
 * product rounded by itself. */
#include "dev.h"
#include "grid.h"

UPZ_DEV float resize_clean(float v, int clip)
{
    float lost = v - v; /* NaN for NaN and infinity, which pass as NaN: the store tells of it */
    if (lost != 0) return lost;
    if (!clip) return v;
    v = v < 0 ? 0 : v;
    return v > 1 ? 1 : v;
}

UPZ_KERNEL(resize_image, UpzCudaResize, UPZ_RESIZE_THREADS, 4)
{
    UpzCudaWindow w = upz_grid_window(&p.window, p.dst.width, p.dst.height);
    int across = upz_grid_up(w.x1 - w.x0, 8 * UPZ_RESIZE_THREADS), block = (int)dev_block();
    int line = block / across, plane = line / (w.y1 - w.y0), y = line - plane * (w.y1 - w.y0) + w.y0;
    int x = w.x0 + ((block - line * across) * UPZ_RESIZE_THREADS + (int)dev_thread()) * 8;
    uint64_t from = p.src.data + (uint64_t)plane * p.src.plane;
    uint64_t to = p.dst.data + (uint64_t)plane * p.dst.plane + (uint64_t)y * p.dst.row +
                  (uint64_t)x * 2;
    float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
#ifdef UPZ_WGMMA
    dev_grid_wait();
#endif
    if (x >= w.x1) return;
    if (p.vertical) {
        int first = (int)dev_load4(p.first + (uint64_t)y * 4);
        uint64_t weights = p.weight + (uint64_t)y * (uint64_t)p.taps * 4;
        for (int t = 0; t < p.taps; t++) {
            int row = upz_grid_clamp(first + t, p.src.height - 1);
            float weight = dev_load_float(weights + (uint64_t)t * 4);
            UpzVec4 v = dev_load16(from + (uint64_t)row * p.src.row + (uint64_t)x * 2);
            uint32_t word[4] = {v.x, v.y, v.z, v.w};
            UPZ_UNROLL
            for (int i = 0; i < 4; i++) {
                sum[2 * i] = sum[2 * i] + resize_clean(dev_low(word[i]), p.clip) * weight;
                sum[2 * i + 1] = sum[2 * i + 1] + resize_clean(dev_high(word[i]), p.clip) * weight;
            }
        }
    } else {
        from += (uint64_t)y * p.src.row;
        UPZ_UNROLL
        for (int i = 0; i < 8; i++) {
            int at = upz_grid_clamp(x + i, p.dst.width - 1);
            int first = (int)dev_load4(p.first + (uint64_t)at * 4);
            uint64_t weights = p.weight + (uint64_t)at * (uint64_t)p.taps * 4;
            for (int t = 0; t < p.taps; t++) {
                int column = upz_grid_clamp(first + t, p.src.width - 1);
                float weight = dev_load_float(weights + (uint64_t)t * 4);
                float v = dev_low(dev_load2(from + (uint64_t)column * 2));
                sum[i] = sum[i] + resize_clean(v, p.clip) * weight;
            }
        }
    }
    if (x + 8 <= p.dst.width) {
        UpzVec4 v = {dev_half2(sum[0], sum[1]), dev_half2(sum[2], sum[3]),
                     dev_half2(sum[4], sum[5]), dev_half2(sum[6], sum[7])};
        dev_store16(to, v);
        return;
    }
    UPZ_UNROLL
    for (int i = 0; i < 7; i++)
        if (x + i < p.dst.width) dev_store2(to + (uint64_t)i * 2, (uint16_t)dev_half2(sum[i], 0));
}
