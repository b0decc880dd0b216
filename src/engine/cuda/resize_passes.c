/* Tables of taps, and which axis goes first. */
#include "engine/cuda/resize_passes.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

enum { ALIGN = 256 /* bytes, of tables */ };

static UpzCudaImage image(int planes, int w, int h)
{
    UpzCudaImage m = {.width = w, .height = h, .planes = planes,
                      .row = (uint32_t)UPZ_ROUND_UP((int64_t)w * 2, 128)};
    m.plane = (uint64_t)m.row * (uint64_t)h;
    return m;
}

/* Appends one axis' tables; their offsets go into the pass. */
static int add_tables(UpzCudaPasses *p, UpzCudaResize *pass, const UpzResizeTaps *t, UprezError *err)
{
    const size_t first = (size_t)t->n * sizeof(*t->first);
    const size_t weight = (size_t)t->n * (size_t)t->taps * sizeof(*t->weight);
    const size_t weight_at = p->table_bytes + UPZ_ROUND_UP(first, (size_t)ALIGN);
    const size_t bytes = weight_at + UPZ_ROUND_UP(weight, (size_t)ALIGN);
    uint8_t *tables = upz_calloc(bytes, 1);
    if (!tables) return upz_fail_memory(err, bytes, "the resize's tables");
    if (p->table_bytes) memcpy(tables, p->tables, p->table_bytes);
    memcpy(tables + p->table_bytes, t->first, first);
    memcpy(tables + weight_at, t->weight, weight);
    upz_free(p->tables);
    pass->first = p->first_at[p->n] = p->table_bytes;
    pass->weight = weight_at;
    pass->taps = t->taps;
    p->tables = tables;
    p->table_bytes = bytes;
    return 0;
}

static int add_pass(UpzCudaPasses *p, UpzResizeKernel kernel, const UpzCudaImage *src, bool vertical,
                    int out, UprezError *err)
{
    UpzResizeTaps taps;
    UpzCudaResize *pass = &p->pass[p->n];
    const int side = vertical ? src->height : src->width;
    if (side == out) return 0;
    int r = upz_resize_taps(&taps, kernel, side, out, err);
    if (r < 0) return r;
    *pass = (UpzCudaResize){.src = *src, .vertical = vertical, .clip = !p->n,
                            .dst = image(src->planes, vertical ? src->width : out,
                                         vertical ? out : src->height)};
    r = add_tables(p, pass, &taps, err);
    upz_resize_taps_free(&taps);
    if (r >= 0) p->n++;
    return r;
}

int upz_cuda_passes_make(UpzCudaPasses *p, UpzResizeKernel kernel, int planes, int w, int h,
                         int out_w, int out_h, UprezError *err)
{
    const UpzCudaImage src = image(planes, w, h);
    const int64_t across = (int64_t)out_w * h, down = (int64_t)w * out_h; /* px after either */
    const bool down_first = down < across || (down == across && out_h < h);
    *p = (UpzCudaPasses){.n = 0};
    int r = add_pass(p, kernel, &src, down_first, down_first ? out_h : out_w, err);
    if (r >= 0)
        r = add_pass(p, kernel, p->n ? &p->pass[0].dst : &src, !down_first,
                     down_first ? out_w : out_h, err);
    if (r < 0) upz_cuda_passes_free(p);
    return r;
}

void upz_cuda_passes_free(UpzCudaPasses *p)
{
    upz_free(p->tables);
    *p = (UpzCudaPasses){.n = 0};
}

size_t upz_cuda_pass_bytes(const UpzCudaPasses *p, int pass)
{
    return pass < p->n ? p->pass[pass].dst.plane * (size_t)p->pass[pass].dst.planes : 0;
}

void upz_cuda_passes_place(UpzCudaPasses *p, const UpzCudaImage *src, const uint64_t dst[2],
                           uint64_t tables)
{
    for (int i = 0; i < p->n; i++) {
        UpzCudaResize *pass = &p->pass[i];
        const UpzCudaImage *from = i ? &p->pass[0].dst : src;
        pass->src.data = from->data;
        pass->src.row = from->row;
        pass->src.plane = from->plane;
        pass->dst.data = dst[i];
        pass->first += tables;
        pass->weight += tables;
    }
}

/* Source samples that outputs a … b - 1 are made of. */
static void sources(const UpzCudaPasses *p, int pass, int side, int *a, int *b)
{
    const int32_t *first = (const int32_t *)(const void *)(p->tables + p->first_at[pass]);
    int lo = side, hi = 0;
    for (int i = *a; i < *b; i++) {
        lo = UPZ_MIN(lo, first[i]);
        hi = UPZ_MAX(hi, first[i] + p->pass[pass].taps);
    }
    *a = UPZ_CLAMP(lo, 0, side - 1);
    *b = UPZ_CLAMP(hi, 1, side);
}

UpzCudaWindow upz_cuda_passes_window(const UpzCudaPasses *p, UpzCudaWindow w, UpzCudaWindow windows[2])
{
    for (int i = p->n - 1; i >= 0; i--) {
        const UpzCudaResize *pass = &p->pass[i];
        w.x0 = w.x0 / 8 * 8;
        windows[i] = w;
        if (pass->vertical) sources(p, i, pass->src.height, &w.y0, &w.y1);
        else sources(p, i, pass->src.width, &w.x0, &w.x1);
    }
    return w;
}
