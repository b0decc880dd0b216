/* Kernels beside a network's own: which cells of two pictures differ, the zero frame around a part of its
 * maps, and how large its values are. */
#include "dev.h"
#include "grid.h"

UPZ_DEV bool compare_bytes(uint64_t a, uint64_t b, int n, int unit)
{
    bool differs = false;
    int i = 0;
    if (unit == 16)
        for (; i + 16 <= n; i += 16) {
            UpzVec4 v = dev_load16(a + (uint64_t)i), w = dev_load16(b + (uint64_t)i);
            differs = differs || v.x != w.x || v.y != w.y || v.z != w.z || v.w != w.w;
        }
    if (unit >= 4)
        for (; i + 4 <= n; i += 4)
            differs = differs || dev_load4(a + (uint64_t)i) != dev_load4(b + (uint64_t)i);
    for (; i < n; i++)
        differs = differs || dev_load1(a + (uint64_t)i) != dev_load1(b + (uint64_t)i);
    return differs;
}

UPZ_KERNEL(compare_pictures, UpzCudaCompare, UPZ_COMPARE_THREADS, 6)
{
    int64_t i = (int64_t)dev_block() * UPZ_COMPARE_THREADS + (int64_t)dev_thread();
    UPZ_UNROLL
    for (int k = 0; k < 4; k++) {
        if (k >= p.planes) return;
        int64_t n = (int64_t)p.rows[k] * p.across;
        if (i < n) {
            int row = (int)(i / p.across), cell = (int)(i - (int64_t)row * p.across);
            int at = cell * p.cell_bytes[k], left = p.bytes[k] - at;
            if (left <= 0) return;
            if (compare_bytes(p.a[k] + (uint64_t)(p.stride_a[k] * row + at),
                              p.b[k] + (uint64_t)(p.stride_b[k] * row + at),
                              left < p.cell_bytes[k] ? left : p.cell_bytes[k], p.unit[k]))
                dev_max4(p.changed + (uint64_t)(row / p.cell_rows[k] * p.across + cell) * 4, 1);
            return;
        }
        i -= n;
    }
}

/* Rows -1 and height, columns -1 and width of every chunk. */
UPZ_KERNEL(clear_frame, UpzCudaMap, UPZ_FRAME_THREADS, 8)
{
    int n = upz_frame_pixels(&p);
    int i = (int)dev_block() * UPZ_FRAME_THREADS + (int)dev_thread(), chunk = i / n;
    int x, y;
    UpzVec4 zero = {0, 0, 0, 0};
#ifdef UPZ_WGMMA
    dev_grid_wait();
#endif
    if (chunk >= p.chunks) return;
    i -= chunk * n;
    if (i < 2 * (p.width + 2)) {
        y = i < p.width + 2 ? -1 : p.height;
        x = i % (p.width + 2) - 1;
    } else {
        i -= 2 * (p.width + 2);
        y = i / 2;
        x = i % 2 ? p.width : -1;
    }
    dev_store16(p.data + (uint64_t)chunk * p.chunk + (uint64_t)((int64_t)y * p.row + (int64_t)x * 16), zero);
}

/* A block a row of a chunk: a thread looks at every 128th pixel. */
UPZ_KERNEL(range_map, UpzCudaRange, UPZ_RANGE_THREADS, 4)
{
    int block = (int)dev_block(), chunk = block / p.map.height, y = block - chunk * p.map.height;
    uint64_t line = p.map.data + (uint64_t)chunk * p.map.chunk + (uint64_t)y * p.map.row;
    float most[8] = {0, 0, 0, 0, 0, 0, 0, 0};
#ifdef UPZ_WGMMA
    dev_grid_wait();
#endif
    for (int x = (int)dev_thread(); x < p.map.width; x += UPZ_RANGE_THREADS) {
        UpzVec4 v = dev_load16(line + (uint64_t)x * 16);
        uint32_t word[4] = {v.x, v.y, v.z, v.w};
        UPZ_UNROLL
        for (int i = 0; i < 4; i++) {
            float a = dev_low(word[i]), b = dev_high(word[i]);
            a = a < 0 ? -a : a;
            b = b < 0 ? -b : b;
            most[2 * i] = most[2 * i] < a ? a : most[2 * i];
            most[2 * i + 1] = most[2 * i + 1] < b ? b : most[2 * i + 1];
        }
    }
    UPZ_UNROLL
    for (int i = 0; i < 8; i++) {
        union {
            float number;
            uint32_t bits; /* in the order of the numbers, as none is negative */
        } word = {most[i]};
        dev_max4(p.range + (uint64_t)(chunk * 8 + i) * 4, word.bits);
    }
}
