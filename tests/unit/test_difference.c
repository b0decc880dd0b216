/* Which cells of two pictures differ: against one sample at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "picture/difference.h"
#include "picture/format.h"

static const char *const formats[] = {"gray", "yuv420p", "yuv420p10le", "yuv411p", "yuv410p",
    "yuv440p", "yuv444p", "nv12", "p010le", "yuyv422", "y210le", "rgb24", "rgba", "gbrap16le",
    "yuva422p10le", "gbrpf32le", "ya8"};
static const int sizes[][2] = {{1, 1}, {16, 16}, {17, 15}, {33, 47}, {64, 20}, {95, 31}};

static uint32_t seed = 5;
static uint32_t draw(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % n;
}

/* Rows with `gap` bytes behind them, all memory random. */
static UprezPicture make(const UprezFormat *f, int w, int h, int gap)
{
    UprezPicture p = {.format = *f, .width = w, .height = h};
    for (int i = 0; i < f->n_plane; i++) {
        p.stride[i] = (ptrdiff_t)upz_plane_row_bytes(f, i, w) + gap;
        const size_t bytes = (size_t)p.stride[i] * (size_t)upz_plane_height(f, i, h);
        uint8_t *m = p.plane[i] = malloc(bytes);
        for (size_t k = 0; k < bytes; k++) m[k] = (uint8_t)draw(256);
    }
    return p;
}

static void drop(UprezPicture *p)
{
    for (int i = 0; i < p->format.n_plane; i++) free(p->plane[i]);
}

static uint8_t *sample(const UprezPicture *p, int c, int x, int y)
{
    const UprezComponent *k = &p->format.comp[c];
    return (uint8_t *)p->plane[k->plane] + y * p->stride[k->plane] + x * k->step + k->offset;
}

/* Calls for each sample of each component, with the px it begins at. */
static void each(const UprezPicture *a, const UprezPicture *b,
                 void (*f)(uint8_t *, uint8_t *, size_t, int, int, void *), void *arg)
{
    const size_t bytes = a->format.depth == 32 ? 4 : a->format.depth > 8 ? 2 : 1;
    for (int c = 0; c < a->format.n_comp; c++) {
        const bool chroma = upz_format_is_chroma(&a->format, c);
        const int sx = chroma ? a->format.sub_x : 0, sy = chroma ? a->format.sub_y : 0;
        for (int y = 0; y << sy < a->height; y++)
            for (int x = 0; x << sx < a->width; x++)
                f(sample(a, c, x, y), sample(b, c, x, y), bytes, x << sx, y << sy, arg);
    }
}

static void copy_sample(uint8_t *a, uint8_t *b, size_t bytes, int x, int y, void *arg)
{
    (void)x, (void)y, (void)arg;
    memcpy(b, a, bytes);
}

typedef struct Naive {
    int cell, across;
    uint8_t *changed;
} Naive;

static void mark_sample(uint8_t *a, uint8_t *b, size_t bytes, int x, int y, void *arg)
{
    Naive *n = arg;
    if (memcmp(a, b, bytes)) n->changed[y / n->cell * n->across + x / n->cell] = 1;
}

/* Packed formats with samples that are no component: equal there too. */
static void equal_rest(const UprezPicture *a, UprezPicture *b)
{
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            memcpy((uint8_t *)b->plane[i] + y * b->stride[i],
                   (uint8_t *)a->plane[i] + y * a->stride[i],
                   upz_plane_row_bytes(&a->format, i, a->width));
}

static void as_sample_by_sample(void **state)
{
    (void)state;
    for (int k = 0; k < UPZ_COUNT(formats) * UPZ_COUNT(sizes); k++) {
        UprezFormat f;
        const int w = sizes[k % UPZ_COUNT(sizes)][0], h = sizes[k % UPZ_COUNT(sizes)][1];
        assert_int_equal(uprez_format_from_name(&f, formats[k / UPZ_COUNT(sizes)]), 0);
        UprezPicture a = make(&f, w, h, 3), b = make(&f, w, h, 0);
        for (int cell = 4; cell <= 32; cell *= 2) {
            const int n = upz_cells(w, cell) * upz_cells(h, cell);
            uint8_t *got = malloc((size_t)n), *want = malloc((size_t)n);
            for (int changes = 0; changes < 6; changes++) {
                equal_rest(&a, &b);
                for (int i = 0; i < changes; i++) {
                    const int c = (int)draw(f.n_comp);
                    const int cw = upz_component_width(&f, c, w), ch = upz_component_height(&f, c, h);
                    /* corners as often as the rest */
                    const int x = draw(2) ? (int)draw((uint32_t)cw) : draw(2) ? cw - 1 : 0;
                    const int y = draw(2) ? (int)draw((uint32_t)ch) : draw(2) ? ch - 1 : 0;
                    *sample(&b, c, x, y) ^= (uint8_t)(1 + draw(255));
                }
                Naive naive = {cell, upz_cells(w, cell), want};
                memset(want, 0, (size_t)n);
                memset(got, 7, (size_t)n);
                each(&a, &b, mark_sample, &naive);
                size_t count = 0;
                for (int i = 0; i < n; i++) count += want[i];
                assert_int_equal(upz_difference(&a, &b, cell, got), count);
                assert_memory_equal(got, want, (size_t)n);
            }
            free(got);
            free(want);
        }
        drop(&a);
        drop(&b);
    }
}

static void all_differs(void **state)
{
    (void)state;
    UprezFormat f;
    uprez_format_from_name(&f, "yuv420p");
    UprezPicture a = make(&f, 100, 40, 0), b = make(&f, 100, 40, 5);
    uint8_t changed[7 * 3];
    each(&a, &b, copy_sample, NULL);
    assert_int_equal(upz_difference(&a, &b, 16, changed), 0);
    for (int y = 0; y < 40; y++)
        for (int x = 0; x < 100; x++) *sample(&a, 0, x, y) ^= 1;
    assert_int_equal(upz_difference(&a, &b, 16, changed), 21);
    drop(&a);
    drop(&b);
}

/* Inside the rectangles as `from`, outside as before. */
static void copies_parts(void **state)
{
    (void)state;
    for (int k = 0; k < UPZ_COUNT(formats); k++) {
        UprezFormat f;
        const int w = 37, h = 29;
        assert_int_equal(uprez_format_from_name(&f, formats[k]), 0);
        UprezPicture from = make(&f, w, h, 1), to = make(&f, w, h, 2), was = make(&f, w, h, 0);
        equal_rest(&to, &was);
        const UprezRect rects[] = {{4, 0, 8, 12}, {32, 16, 5, 13}, {0, 28, 4, 1}, {8, 8, 0, 4}};
        upz_picture_copy(&from, &to, rects, UPZ_COUNT(rects));
        for (int c = 0; c < f.n_comp; c++) {
            const bool chroma = upz_format_is_chroma(&f, c);
            const int sx = chroma ? f.sub_x : 0, sy = chroma ? f.sub_y : 0;
            for (int y = 0; y << sy < h; y++)
                for (int x = 0; x << sx < w; x++) {
                    bool in = false;
                    for (int i = 0; i < UPZ_COUNT(rects); i++)
                        in |= x << sx >= rects[i].x && x << sx < rects[i].x + rects[i].w &&
                              y << sy >= rects[i].y && y << sy < rects[i].y + rects[i].h;
                    assert_memory_equal(sample(&to, c, x, y), sample(in ? &from : &was, c, x, y),
                                        f.depth == 32 ? 4 : f.depth > 8 ? 2 : 1);
                }
        }
        drop(&from);
        drop(&to);
        drop(&was);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_sample_by_sample),
        cmocka_unit_test(all_differs),
        cmocka_unit_test(copies_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
