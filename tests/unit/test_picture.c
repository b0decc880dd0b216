/* Formats against libavutil's tables, pictures and their references, resizing and converting whole
 * pictures against zimg. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "picture/resize.h"
#include "zimg_reference.h"
#include "skip.h"

static uint32_t seed = 5;
static uint32_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static void formats_are_ffmpegs(void **state)
{
    (void)state;
    int known = 0;
    for (const AVPixFmtDescriptor *d = NULL; (d = av_pix_fmt_desc_next(d));) {
        UprezFormat f;
        if (uprez_format_from_name(&f, d->name) < 0) continue;
        known++;
        assert_true(upz_format_valid(&f));
        enum AVPixelFormat id = av_pix_fmt_desc_get_id(d);
        bool alpha = d->flags & AV_PIX_FMT_FLAG_ALPHA;
        assert_int_equal(f.n_comp, d->nb_components);
        assert_int_equal(f.alpha, alpha);
        assert_int_equal(f.n_plane, av_pix_fmt_count_planes(id));
        assert_int_equal(f.model == UPREZ_RGB, !!(d->flags & AV_PIX_FMT_FLAG_RGB));
        assert_int_equal(f.sub_x, d->log2_chroma_w);
        assert_int_equal(f.sub_y, d->log2_chroma_h);
        for (int c = 0; c < f.n_comp; c++) {
            if (f.comp[c].plane != d->comp[c].plane || f.comp[c].offset != d->comp[c].offset ||
                f.comp[c].step != d->comp[c].step || f.depth != d->comp[c].depth ||
                f.shift != d->comp[c].shift)
                fail_msg("%s component %d", d->name, c);
        }
        for (int w = 1; w < 20; w++)
            for (int p = 0; p < f.n_plane; p++) {
                int bytes = av_image_get_linesize(id, w, p);
                /* packed 4:2:2 rows hold whole pairs, which libavutil forgets for odd widths */
                if (f.n_plane == 1 && f.sub_x && w % 2) continue;
                assert_int_equal(upz_plane_row_bytes(&f, p, w), bytes);
            }
        const char *name = uprez_format_name(&f);
        UprezFormat g;
        assert_non_null(name);
        assert_int_equal(uprez_format_from_name(&g, name), 0);
        assert_true(upz_format_equal(&f, &g));
    }
    print_message("%d of libavutil's formats\n", known);
    assert_true(known > 85);
    UprezFormat f, g;
    static const char *const unknown[] = {"", "yuv", "yuv420p1", "rgb565le", "yuv420p10be", "le",
                                          "pal8", "yuv420p10lex", "gray1"};
    for (int i = 0; i < UPZ_COUNT(unknown); i++)
        assert_int_equal(uprez_format_from_name(&f, unknown[i]), UPREZ_ERR_USAGE);
    assert_int_equal(uprez_format_from_name(&f, "yuv420p10"), 0);
    assert_int_equal(uprez_format_from_name(&g, "yuv420p10le"), 0);
    assert_true(upz_format_equal(&f, &g));
}

static void count_free(void *cookie) { ++*(int *)cookie; }

static void references(void **state)
{
    (void)state;
    UprezFormat f;
    UprezError err;
    assert_int_equal(uprez_format_from_name(&f, "nv12"), 0);
    UprezPicture *p, *q, *w;
    assert_int_equal(uprez_picture_alloc(&p, &f, 33, 17, NULL), 0);
    assert_int_equal((uintptr_t)p->plane[1] % 64, 0);
    assert_true(p->stride[1] >= 34);
    memset((uint8_t *)p->plane[1] + p->stride[1] * 8, 1, 34);
    q = uprez_picture_ref(p);
    q->pts = 7;
    assert_ptr_equal(q->plane[0], p->plane[0]);
    uprez_picture_unref(&p);
    assert_null(p);
    int freed = 0;
    assert_int_equal(uprez_picture_wrap(&w, q, count_free, &freed, NULL), 0);
    p = uprez_picture_ref(w);
    uprez_picture_unref(&w);
    assert_int_equal(freed, 0);
    uprez_picture_unref(&p);
    assert_int_equal(freed, 1);
    uprez_picture_unref(&q);
    uprez_picture_unref(&q);
    assert_int_equal(uprez_picture_alloc(&p, &f, 0, 17, &err), UPREZ_ERR_USAGE);
    assert_int_equal(uprez_picture_alloc(&p, &f, 70000, 17, &err), UPREZ_ERR_USAGE);
    f.comp[1].plane = 3;
    assert_int_equal(uprez_picture_alloc(&p, &f, 16, 16, &err), UPREZ_ERR_USAGE);
    assert_null(p);
}

static void colours_resolve(void **state)
{
    (void)state;
    UprezFormat yuv, rgb, gray;
    uprez_format_from_name(&yuv, "yuv420p");
    uprez_format_from_name(&rgb, "rgb24");
    uprez_format_from_name(&gray, "gray");
    UprezColor c = {2, 2, 2, 0, 0};
    assert_true(upz_color_resolve(&c, &yuv, 720, 576));
    assert_true(c.matrix == 6 && c.range == UPREZ_RANGE_LIMITED && c.siting == UPREZ_SITING_LEFT);
    c = (UprezColor){2, 2, 2, 0, 0};
    assert_true(upz_color_resolve(&c, &yuv, 1280, 544));
    assert_int_equal(c.matrix, 1);
    c = (UprezColor){2, 9, 16, 1, 0};
    assert_true(upz_color_resolve(&c, &yuv, 3840, 2160));
    assert_true(c.matrix == 9 && c.transfer == 16);
    c = (UprezColor){5, 2, 2, 2, 2};
    assert_false(upz_color_resolve(&c, &yuv, 1920, 1080));
    assert_true(c.matrix == 5 && c.range == UPREZ_RANGE_FULL && c.siting == UPREZ_SITING_CENTER);
    c = (UprezColor){2, 2, 2, 0, 0};
    assert_false(upz_color_resolve(&c, &rgb, 64, 64));
    assert_true(c.matrix == 0 && c.range == UPREZ_RANGE_FULL);
    c = (UprezColor){2, 2, 2, 0, 0};
    assert_false(upz_color_resolve(&c, &gray, 64, 64));
    assert_int_equal(c.range, UPREZ_RANGE_FULL);
}

static UprezPicture *picture(const char *name, int w, int h, int matrix, int range, int siting)
{
    UprezFormat f;
    UprezPicture *p;
    assert_int_equal(uprez_format_from_name(&f, name), 0);
    assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
    p->color = (UprezColor){.matrix = (uint8_t)matrix, .primaries = 1, .transfer = 1,
                            .range = (uint8_t)range, .siting = (uint8_t)siting};
    for (int i = 0; i < f.n_plane; i++)
        memset(p->plane[i], 0xa5, (size_t)p->stride[i] * (size_t)upz_plane_height(&f, i, h));
    return p;
}

static uint8_t *at(const UprezPicture *p, int comp, int x, int y)
{
    const UprezComponent *c = &p->format.comp[comp];
    return (uint8_t *)p->plane[c->plane] + p->stride[c->plane] * y + x * c->step + c->offset;
}

static double get(const UprezPicture *p, int comp, int x, int y)
{
    const uint8_t *s = at(p, comp, x, y);
    if (p->format.depth == 8) return *s;
    if (p->format.depth == 32) return *(const float *)(const void *)s;
    return *(const uint16_t *)(const void *)s >> p->format.shift;
}

static void set(const UprezPicture *p, int comp, int x, int y, double v)
{
    uint8_t *s = at(p, comp, x, y);
    if (p->format.depth == 8)
        *s = (uint8_t)lrint(v);
    else if (p->format.depth == 32)
        *(float *)(void *)s = (float)v;
    else
        *(uint16_t *)(void *)s = (uint16_t)(lrint(v) << p->format.shift);
}

/* Smooth waves with some grain, between a quarter and three quarters of each component's range. */
static void paint(const UprezPicture *p)
{
    seed = 31;
    double top = p->format.depth == 32 ? 1 : (1 << p->format.depth) - 1;
    for (int c = 0; c < p->format.n_comp; c++) {
        int w = upz_component_width(&p->format, c, p->width);
        int h = upz_component_height(&p->format, c, p->height);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double v = 0.5 + 0.17 * sin(9.0 * x / w + c) * cos(7.0 * y / h + c * c) +
                           0.06 * ((double)(draw() % 1001) / 500 - 1);
                set(p, c, x, y, v * top);
            }
    }
}

static UprezContext *context(int threads)
{
    UprezContext *ctx;
    UprezContextParams params = {.size = sizeof(params), .threads = threads};
    assert_int_equal(uprez_context_create(&ctx, &params, NULL), 0);
    return ctx;
}

static void resize(UprezContext *ctx, UpzResizeKernel k, const UprezPicture *s, UprezPicture *d)
{
    UpzResizePicture *r;
    assert_int_equal(upz_resize_picture_create(&r, ctx, k, s, d, NULL), 0);
    upz_resize_picture_run(r, s, d);
    upz_resize_picture_run(r, s, d);
    upz_resize_picture_destroy(&r);
}

static double distance(const UprezPicture *a, const UprezPicture *b, int *where)
{
    double max = 0;
    for (int c = 0; c < a->format.n_comp; c++)
        for (int y = 0; y < upz_component_height(&a->format, c, a->height); y++)
            for (int x = 0; x < upz_component_width(&a->format, c, a->width); x++) {
                double d = fabs(get(a, c, x, y) - get(b, c, x, y));
                if (d > max) {
                    max = d;
                    *where = c;
                }
            }
    return max;
}

static void resizing_agrees_with_zimg(void **state)
{
    (void)state;
#ifndef HAVE_ZIMG
    SKIP_BECAUSE("built without libzimg");
#else
    static const struct { const char *src, *dst; } formats[] = {
        {"yuv420p", "yuv420p"}, {"yuv422p", "yuv422p"}, {"yuv444p", "yuv444p"},
        {"yuv440p", "yuv440p"}, {"yuv411p", "yuv411p"}, {"yuv410p", "yuv410p"},
        {"yuv420p10le", "yuv420p10le"}, {"yuv420p", "yuv444p"}, {"yuv444p", "yuv420p"},
        {"yuv420p", "yuv420p10le"}, {"yuv422p10le", "yuv420p"}, {"yuv420p16le", "yuv420p16le"},
        {"gbrp", "gbrp"}, {"gbrp12le", "gbrpf32le"}, {"gray", "gray16le"}};
    static const struct { int sw, sh, dw, dh; } sizes[] = {
        {64, 48, 128, 96}, {64, 48, 200, 100}, {128, 96, 64, 48}, {160, 96, 60, 36}};
    static const zimg_resample_filter_e filters[] = {ZIMG_RESIZE_BILINEAR, ZIMG_RESIZE_BICUBIC,
                                                     ZIMG_RESIZE_LANCZOS, ZIMG_RESIZE_SPLINE36};
    UprezContext *ctx = context(2);
    double worst[33] = {0};
    int runs = 0, where = 0;
    for (int fi = 0; fi < UPZ_COUNT(formats); fi++)
    for (int si = 0; si < UPZ_COUNT(sizes); si++)
    for (int siting = 1; siting <= 6; siting++)
    for (int range = 1; range <= 4; range++) {
        int k = (fi + si + siting + range) % 4;
        int to = 1 + (range - 1) / 2; /* also from limited to full and back */
        UprezPicture *s = picture(formats[fi].src, sizes[si].sw, sizes[si].sh, 1, 1 + range % 2,
                                  siting);
        UprezPicture *a = picture(formats[fi].dst, sizes[si].dw, sizes[si].dh, 1, to, siting);
        UprezPicture *b = picture(formats[fi].dst, sizes[si].dw, sizes[si].dh, 1, to, siting);
        if (b->format.model != UPREZ_YUV) s->color.range = a->color.range = b->color.range = 2;
        paint(s);
        ZimgRun z;
        assert_int_equal(zimg_open(&z, s, a, filters[k]), 0);
        assert_int_equal(zimg_run(&z, s, a), 0);
        zimg_close(&z);
        resize(ctx, (UpzResizeKernel)k, s, b);
        double d = distance(a, b, &where);
        int depth = b->format.depth;
        double allowed = depth == 8 ? 1 : depth == 10 ? 2 : depth == 16 ? 48 : 3e-4;
        /* zimg works at the source's depth before it widens */
        if (depth > s->format.depth && depth != 32)
            allowed = 1.0 * (1 << (depth - s->format.depth));
        worst[depth] = fmax(worst[depth], d);
        if (!(d <= allowed))
            fail_msg("%s %dx%d to %s %dx%d siting %d range %d to %d kernel %d component %d: %g",
                     formats[fi].src, s->width, s->height, formats[fi].dst, b->width, b->height,
                     siting, s->color.range, to, k, where, d);
        uprez_picture_unref(&s);
        uprez_picture_unref(&a);
        uprez_picture_unref(&b);
        runs++;
    }
    print_message("zimg: %d pictures; worst: 8 bit %g, 10 bit %g, 16 bit %g codes, float %.2g\n",
                  runs, worst[8], worst[10], worst[16], worst[32]);
    uprez_context_destroy(&ctx);
#endif
}

/* Semi-planar, packed and shifted layouts give the samples their planar twin gives. */
static void layouts_agree(void **state)
{
    (void)state;
    static const char *const twins[][2] = {
        {"nv12", "yuv420p"}, {"nv21", "yuv420p"}, {"nv16", "yuv422p"}, {"nv24", "yuv444p"},
        {"p010le", "yuv420p10le"}, {"p210le", "yuv422p10le"}, {"yuyv422", "yuv422p"},
        {"uyvy422", "yuv422p"}, {"rgb24", "gbrp"}, {"bgr0", "gbrp"}, {"rgba", "gbrap"},
        {"argb", "gbrap"}, {"rgb48le", "gbrp16le"}, {"rgba64le", "gbrap16le"},
        {"vuya", "yuva444p"}, {"y210le", "yuv422p10le"}, {"rgbaf32le", "gbrapf32le"}};
    UprezContext *ctx = context(3);
    for (int i = 0; i < UPZ_COUNT(twins); i++)
        for (int size = 0; size < 3; size++) {
            int sw = size == 1 ? 45 : 46, sh = size == 1 ? 31 : 32;
            int dw = size == 2 ? 20 : 92 + size, dh = size == 2 ? 14 : 65;
            UprezPicture *a = picture(twins[i][0], sw, sh, 1, 1, 1);
            UprezPicture *b = picture(twins[i][1], sw, sh, 1, 1, 1);
            UprezPicture *c = picture(twins[i][0], dw, dh, 1, 1, 1);
            UprezPicture *d = picture(twins[i][1], dw, dh, 1, 1, 1);
            paint(a);
            paint(b);
            resize(ctx, UPZ_RESIZE_LANCZOS, a, c);
            resize(ctx, UPZ_RESIZE_LANCZOS, b, d);
            int where;
            double max = distance(c, d, &where);
            if (max != 0) fail_msg("%s and %s are %g apart", twins[i][0], twins[i][1], max);
            /* and converting one into the other changes nothing */
            UprezPicture *e = picture(twins[i][1], dw, dh, 1, 1, 1);
            assert_int_equal(upz_convert_picture(ctx, c, e, NULL), 0);
            max = distance(e, d, &where);
            if (max != 0)
                fail_msg("%s to %s: component %d is %g apart", twins[i][0], twins[i][1], where,
                         max);
            UprezPicture *f = picture(twins[i][0], dw, dh, 1, 1, 1);
            assert_int_equal(upz_convert_picture(ctx, d, f, NULL), 0);
            assert_true(distance(f, c, &where) == 0);
            uprez_picture_unref(&a);
            uprez_picture_unref(&b);
            uprez_picture_unref(&c);
            uprez_picture_unref(&d);
            uprez_picture_unref(&e);
            uprez_picture_unref(&f);
        }
    uprez_context_destroy(&ctx);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    UprezContext *one = context(1), *many = context(5);
    UprezPicture *s = picture("yuva420p", 221, 413, 1, 1, 1);
    UprezPicture *a = picture("yuva420p", 331, 907, 1, 1, 1);
    UprezPicture *b = picture("yuva420p", 331, 907, 1, 1, 1);
    UprezPicture *c = picture("rgba", 331, 907, 0, 2, 1), *d = picture("rgba", 331, 907, 0, 2, 1);
    int where;
    paint(s);
    resize(one, UPZ_RESIZE_SPLINE36, s, a);
    resize(many, UPZ_RESIZE_SPLINE36, s, b);
    assert_true(distance(a, b, &where) == 0);
    assert_int_equal(upz_convert_picture(one, a, c, NULL), 0);
    assert_int_equal(upz_convert_picture(many, b, d, NULL), 0);
    assert_true(distance(c, d, &where) == 0);
    uprez_picture_unref(&s);
    uprez_picture_unref(&a);
    uprez_picture_unref(&b);
    uprez_picture_unref(&c);
    uprez_picture_unref(&d);
    uprez_context_destroy(&one);
    uprez_context_destroy(&many);
}

static void alpha(void **state)
{
    (void)state;
    UprezContext *ctx = context(2);
    UprezPicture *s = picture("yuv420p", 40, 30, 1, 1, 1);
    UprezPicture *d = picture("yuva444p10le", 90, 66, 1, 1, 1);
    float value;
    paint(s);
    resize(ctx, UPZ_RESIZE_BICUBIC, s, d);
    assert_true(get(d, 3, 0, 0) == 1023 && get(d, 3, 89, 65) == 1023);
    assert_true(upz_picture_alpha_constant(d, &value) && value == 1);
    set(d, 3, 89, 65, 1022);
    assert_false(upz_picture_alpha_constant(d, &value));
    UprezPicture *rgba = picture("bgra", 90, 66, 0, 2, 1);
    assert_int_equal(upz_convert_picture(ctx, d, rgba, NULL), 0);
    assert_true(get(rgba, 3, 5, 5) == 255);
    for (int y = 0; y < 66; y++)
        for (int x = 0; x < 90; x++) set(rgba, 3, x, y, 51);
    assert_true(upz_picture_alpha_constant(rgba, &value) && fabsf(value - 0.2f) < 1e-6f);
    UprezPicture view;
    upz_picture_component(&view, rgba, 3);
    assert_true(view.format.n_comp == 1 && *at(&view, 0, 7, 9) == 51);
    assert_true(view.width == 90 && view.color.range == UPREZ_RANGE_FULL);
    UprezPicture *plain = picture("rgb24", 90, 66, 0, 2, 1);
    assert_int_equal(upz_convert_picture(ctx, rgba, plain, NULL), 0);
    UprezPicture *gray = picture("ya8", 90, 66, 1, 2, 1);
    assert_int_equal(upz_convert_picture(ctx, rgba, gray, NULL), 0);
    assert_true(get(gray, 1, 3, 3) == 51);
    double r = get(rgba, 0, 3, 3), g = get(rgba, 1, 3, 3), b = get(rgba, 2, 3, 3);
    assert_true(fabs(get(gray, 0, 3, 3) - (0.2126 * r + 0.7152 * g + 0.0722 * b)) < 0.51);
    upz_picture_fill_alpha(rgba);
    assert_true(get(rgba, 3, 1, 1) == 255 && get(rgba, 0, 3, 3) == r);
    uprez_picture_unref(&s);
    uprez_picture_unref(&d);
    uprez_picture_unref(&rgba);
    uprez_picture_unref(&plain);
    uprez_picture_unref(&gray);
    uprez_context_destroy(&ctx);
}

/* Readers of packed 4:2:2 take samples in pairs: the one beyond an odd width is the last again,
 * whoever made the picture. */
static void odd_pairs_are_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"yuyv422", "uyvy422", "y210le"};
    UprezContext *ctx = context(2);
    for (int i = 0; i < UPZ_COUNT(names); i++) {
        UprezPicture *small = picture("yuv420p", 11, 9, 1, 1, 1);
        UprezPicture *rgb = picture("rgb24", 37, 131, 0, 2, 1);
        UprezPicture *d = picture(names[i], 37, 131, 1, 1, 1);
        paint(small);
        paint(rgb);
        size_t bytes = d->format.depth > 8 ? 2 : 1, step = d->format.comp[0].step;
        for (int way = 0; way < 2; way++) {
            memset(d->plane[0], 0xee, (size_t)d->stride[0] * 131);
            if (way)
                resize(ctx, UPZ_RESIZE_BICUBIC, small, d);
            else
                assert_int_equal(upz_convert_picture(ctx, rgb, d, NULL), 0);
            for (int y = 0; y < 131; y++) {
                const uint8_t *last = (const uint8_t *)d->plane[0] + d->stride[0] * y +
                                      d->format.comp[0].offset + 36 * step;
                assert_memory_equal(last + step, last, bytes);
                size_t end = upz_plane_row_bytes(&d->format, 0, 37);
                assert_true(last + step + bytes <= (uint8_t *)d->plane[0] + d->stride[0] * y + end);
                if (d->stride[0] > (ptrdiff_t)end)
                    assert_int_equal(((uint8_t *)d->plane[0] + d->stride[0] * y)[end], 0xee);
            }
        }
        uprez_picture_unref(&small);
        uprez_picture_unref(&rgb);
        uprez_picture_unref(&d);
    }
    uprez_context_destroy(&ctx);
}

/* A gray picture needs no matrix: what its field says cannot stop it. */
static void gray_needs_no_matrix(void **state)
{
    (void)state;
    UprezContext *ctx = context(1);
    UprezPicture *gray = picture("gray", 20, 10, 3, 2, 1), *rgb = picture("rgb24", 20, 10, 0, 2, 1);
    UprezPicture *back = picture("gray", 20, 10, 3, 2, 1), *other = picture("gray", 20, 10, 1, 2, 1);
    int where;
    paint(gray);
    assert_int_equal(upz_convert_picture(ctx, gray, rgb, NULL), 0);
    assert_int_equal(upz_convert_picture(ctx, rgb, back, NULL), 0);
    assert_true(distance(gray, back, &where) == 0);
    paint(rgb);
    for (int matrix = 3; matrix < 20; matrix += matrix == 3 ? 7 : 4) { /* 3 10 14 18 */
        back->color.matrix = (uint8_t)matrix;
        assert_int_equal(upz_convert_picture(ctx, rgb, back, NULL), 0);
        assert_int_equal(upz_convert_picture(ctx, rgb, other, NULL), 0);
        assert_true(distance(other, back, &where) == 0);
    }
    uprez_picture_unref(&gray);
    uprez_picture_unref(&rgb);
    uprez_picture_unref(&back);
    uprez_picture_unref(&other);
    uprez_context_destroy(&ctx);
}

/* One plan, many pictures: the same bytes as a plan each. */
static void conversions_are_planned_once(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"yuva420p", "rgba"}, {"rgb24", "yuv420p10le"}, {"yuv420p", "yuv444p"}, {"ya8", "gbrap16le"}};
    UprezContext *ctx = context(3);
    for (int i = 0; i < UPZ_COUNT(pairs); i++) {
        UpzConvertPlan *plan;
        UprezPicture *a = picture(pairs[i][0], 61, 150, 1, 1, 1);
        UprezPicture *b = picture(pairs[i][1], 61, 150, 1, 1, 1);
        UprezPicture *c = picture(pairs[i][1], 61, 150, 1, 1, 1);
        assert_int_equal(upz_convert_plan_create(&plan, ctx, a, b, NULL), 0);
        assert_true(upz_convert_plan_memory(plan) > 0);
        int where;
        for (int k = 0; k < 3; k++) {
            paint(a);
            set(a, 0, k, 0, 90 + k);
            upz_convert_plan_run(plan, a, b);
            assert_int_equal(upz_convert_picture(ctx, a, c, NULL), 0);
            assert_true(distance(b, c, &where) == 0);
        }
        upz_convert_plan_destroy(&plan);
        assert_null(plan);
        upz_convert_plan_destroy(&plan);
        uprez_picture_unref(&a);
        uprez_picture_unref(&b);
        uprez_picture_unref(&c);
    }
    uprez_context_destroy(&ctx);
}

static void wrong_pairs_are_refused(void **state)
{
    (void)state;
    UprezContext *ctx = context(1);
    UprezError err = {0};
    UpzResizePicture *r;
    UprezPicture *yuv = picture("yuv420p", 16, 16, 1, 1, 1), *rgb = picture("rgb24", 16, 16, 0, 2, 1);
    UprezPicture *other = picture("yuv420p", 16, 16, 9, 1, 1), *big = picture("rgb24", 32, 32, 0, 2, 1);
    assert_int_equal(upz_resize_picture_create(&r, ctx, UPZ_RESIZE_BICUBIC, yuv, rgb, &err),
                     UPREZ_ERR_USAGE);
    assert_null(r);
    assert_int_equal(upz_resize_picture_create(&r, ctx, UPZ_RESIZE_BICUBIC, yuv, other, &err),
                     UPREZ_ERR_USAGE);
    assert_true(strlen(err.text) > 20);
    assert_int_equal(upz_convert_picture(ctx, yuv, big, &err), UPREZ_ERR_BUG);
    yuv->color.matrix = 14;
    assert_int_equal(upz_convert_picture(ctx, yuv, rgb, &err), UPREZ_ERR_USAGE);
    uprez_picture_unref(&yuv);
    uprez_picture_unref(&rgb);
    uprez_picture_unref(&other);
    uprez_picture_unref(&big);
    uprez_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_are_ffmpegs),
        cmocka_unit_test(references),
        cmocka_unit_test(colours_resolve),
        cmocka_unit_test(resizing_agrees_with_zimg),
        cmocka_unit_test(layouts_agree),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(alpha),
        cmocka_unit_test(odd_pairs_are_whole),
        cmocka_unit_test(gray_needs_no_matrix),
        cmocka_unit_test(conversions_are_planned_once),
        cmocka_unit_test(wrong_pairs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
