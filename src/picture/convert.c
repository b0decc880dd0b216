/* Choosing the row kernels, and what needs no speed: views and alpha. */
#include "picture/convert.h"

#include <string.h>

#include "base/compiler.h"
#include "picture/color.h"
#include "picture/convert_dsp.h"

static const UpzConvertDSP *choose(UpzCpuLevel cpu)
{
#if defined(__x86_64__)
    if (cpu >= UPZ_CPU_AVX512) return &upz_convert_avx512;
    if (cpu >= UPZ_CPU_AVX2) return &upz_convert_avx2;
#else
    (void)cpu;
#endif
    return &upz_convert_c;
}

int upz_load_init(UpzLoad *l, const UprezFormat *format, const UprezColor *color, int width,
                  int height, UpzRows rows, UpzCpuLevel cpu, UprezError *err)
{
    int r = upz_convert_setup(l, format, color, width, height, rows, false, err);
    l->dsp = choose(cpu);
    return r;
}

int upz_store_init(UpzStore *s, const UprezFormat *format, const UprezColor *color, int width,
                   int height, UpzRows rows, UpzCpuLevel cpu, UprezError *err)
{
    int r = upz_convert_setup(s, format, color, width, height, rows, true, err);
    s->dsp = choose(cpu);
    return r;
}

void upz_load_row(const UpzLoad *l, const UprezPicture *src, int y, float *const dst[3])
{
    l->dsp->load_row(l, src, y, dst);
}

int upz_store_group(const UpzStore *s) { return 1 << s->y.sub; }
int upz_store_reach(const UpzStore *s) { return UPZ_CHROMA_REACH(s->y.sub); }
size_t upz_store_scratch(const UpzStore *s)
{
    (void)s;
    return 64; /* the kernels work in chunks on their stack */
}

int upz_store_rows(const UpzStore *s, const float *const *const rows[3], int y, UprezPicture *dst,
                   void *scratch)
{
    (void)scratch;
    int bad = s->dsp->store_rows(s, rows, y, dst);
    upz_picture_fill_pair(dst, y, UPZ_MIN(y + upz_store_group(s), s->height));
    return bad;
}

void upz_picture_component(UprezPicture *view, const UprezPicture *picture, int component)
{
    const UprezFormat *f = &picture->format;
    const UprezComponent *c = &f->comp[component];
    *view = *picture;
    view->format = (UprezFormat){.model = UPREZ_GRAY, .depth = f->depth, .shift = f->shift,
                                 .n_comp = 1, .n_plane = 1,
                                 .comp = {{0, c->offset, c->step}}};
    view->width = upz_component_width(f, component, picture->width);
    view->height = upz_component_height(f, component, picture->height);
    for (int i = 0; i < 4; i++) view->plane[i] = NULL, view->stride[i] = 0;
    view->plane[0] = picture->plane[c->plane];
    view->stride[0] = picture->stride[c->plane];
    if (f->alpha && component == f->n_comp - 1) view->color.range = UPREZ_RANGE_FULL;
    view->buffer = NULL;
}

void upz_picture_fill_pair(UprezPicture *p, int y0, int y1)
{
    const UprezFormat *f = &p->format;
    const UprezComponent *c = &f->comp[0];
    bool pairs = f->model == UPREZ_YUV && f->n_comp >= 3 && f->sub_x == 1 &&
                 c->plane == f->comp[1].plane;
    if (!pairs || p->width % 2 == 0) return;
    size_t bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1;
    for (int y = y0; y < y1; y++) {
        uint8_t *last = (uint8_t *)p->plane[c->plane] + p->stride[c->plane] * y + c->offset +
                        (size_t)(p->width - 1) * c->step;
        memcpy(last + c->step, last, bytes);
    }
}

void upz_picture_fill_alpha(UprezPicture *p)
{
    const UprezFormat *f = &p->format;
    if (!f->alpha) return;
    const UprezComponent *c = &f->comp[f->n_comp - 1];
    for (int y = 0; y < p->height; y++) {
        uint8_t *row = (uint8_t *)p->plane[c->plane] + p->stride[c->plane] * y + c->offset;
        if (f->depth == 8 && c->step == 1) {
            memset(row, 255, (size_t)p->width);
            continue;
        }
        for (int x = 0; x < p->width; x++, row += c->step) {
            if (f->depth == 8)
                *row = 255;
            else if (f->depth == 32)
                *(float *)(void *)row = 1;
            else
                *(uint16_t *)(void *)row = (uint16_t)(((1u << f->depth) - 1) << f->shift);
        }
    }
}

bool upz_picture_alpha_constant(const UprezPicture *p, float *value)
{
    const UprezFormat *f = &p->format;
    *value = 1;
    if (!f->alpha) return true;
    const UprezComponent *c = &f->comp[f->n_comp - 1];
    size_t bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1;
    const uint8_t *first = (const uint8_t *)p->plane[c->plane] + c->offset;
    for (int y = 0; y < p->height; y++) {
        const uint8_t *row = first + p->stride[c->plane] * y;
        for (int x = 0; x < p->width; x++, row += c->step)
            if (memcmp(row, first, bytes) != 0) return false;
    }
    if (f->depth == 8)
        *value = (float)first[0] / 255;
    else if (f->depth == 32)
        *value = *(const float *)(const void *)first;
    else
        *value = (float)(*(const uint16_t *)(const void *)first >> f->shift) /
                 (float)((1u << f->depth) - 1);
    return true;
}
