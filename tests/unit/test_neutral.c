/* Colours that are not there: neutral chroma stays neutral, and what stands under alpha 0 is seen nowhere.
 * Both rules are compared with their definition, sample by sample, and their ids are pinned to bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "picture/format.h"
#include "model/model.h"
#include "steady.h"
#include "tiny_model.h"
#include "uprez/uprez.h"

#define OK(call) \
    do { \
        UprezError *e_ = &err; \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, e_->text); \
    } while (0)

enum { RADIUS = 8, FILL = 16 }; /* px, as the headers promise */

static UprezError err;
static UprezContext *ctx, *single;
static UprezModel *net2, *net4, *lanczos;

static UprezModel *tiny(UprezContext *c, int scale, uint32_t seed)
{
    TinyFile t;
    UprezModel *m = NULL;
    tiny_srvgg(&t, 16, 2, scale, seed);
    OK(upz_model_load_memory(&m, c, "tiny.safetensors", t.data, t.size, &err));
    free(t.data);
    return m;
}

static int setup(void **state)
{
    (void)state;
    const UprezContextParams one = {.size = sizeof(one), .threads = 1, .cpu = "c"};
    const UprezContextParams three = {.size = sizeof(three), .threads = 3};
    OK(uprez_context_create(&ctx, &three, &err));
    OK(uprez_context_create(&single, &one, &err));
    net2 = tiny(ctx, 2, 1);
    net4 = tiny(ctx, 4, 2);
    OK(uprez_model_load(&lanczos, ctx, "lanczos", NULL, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    uprez_model_unref(&net2);
    uprez_model_unref(&net4);
    uprez_model_unref(&lanczos);
    uprez_context_destroy(&ctx);
    uprez_context_destroy(&single);
    return 0;
}

static uint32_t seed = 9;
static int draw(int n)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return (int)(seed % (uint32_t)n);
}

/* Code values; floats as 65536ths. */
static int get(const UprezPicture *p, int c, int x, int y)
{
    const UprezComponent *k = &p->format.comp[c];
    const uint8_t *at = (const uint8_t *)p->plane[k->plane] + p->stride[k->plane] * y + k->offset +
                        (size_t)x * k->step;
    if (p->format.depth == 8) return *at;
    if (p->format.depth == 32) return (int)lrintf(*(const float *)(const void *)at * 65536);
    return *(const uint16_t *)(const void *)at >> p->format.shift;
}

static void put(UprezPicture *p, int c, int x, int y, int v)
{
    const UprezComponent *k = &p->format.comp[c];
    uint8_t *at = (uint8_t *)p->plane[k->plane] + p->stride[k->plane] * y + k->offset +
                  (size_t)x * k->step;
    if (p->format.depth == 8) *at = (uint8_t)v;
    else if (p->format.depth == 32) *(float *)(void *)at = (float)v / 65536;
    else *(uint16_t *)(void *)at = (uint16_t)(v << p->format.shift);
}

static UprezPicture *picture(const char *format, int w, int h)
{
    UprezFormat f;
    OK(uprez_format_from_name(&f, format));
    UprezPicture *p = steady(&f, w, h);
    for (int i = 0; i < f.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&f, i, h); y++)
            memset((char *)p->plane[i] + y * p->stride[i], 0, upz_plane_row_bytes(&f, i, w));
    p->color = (UprezColor){.matrix = f.model == UPREZ_YUV ? 1 : 2, .primaries = 1, .transfer = 1,
                            .range = f.model == UPREZ_YUV ? UPREZ_RANGE_LIMITED : UPREZ_RANGE_FULL,
                            .siting = UPREZ_SITING_LEFT};
    return p;
}

static int top(const UprezFormat *f) { return f->depth == 32 ? 65536 : 1 << f->depth; }

/* Noise in luma, or in all of R, G and B alike; chroma neutral. */
static void make_grey(UprezPicture *p)
{
    const UprezFormat *f = &p->format;
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++)
            put(p, 0, x, y, top(f) / 8 + draw(top(f) * 3 / 4));
    for (int c = 1; c < 3; c++)
        for (int y = 0; y < upz_component_height(f, c, p->height); y++)
            for (int x = 0; x < upz_component_width(f, c, p->width); x++)
                put(p, c, x, y, f->depth == 32 ? 0 : top(f) / 2);
}

/* Colour in chroma samples of a rectangle. */
static void colour(UprezPicture *p, int x0, int y0, int w, int h)
{
    for (int y = y0; y < y0 + h; y++)
        for (int x = x0; x < x0 + w; x++)
            put(p, 1 + draw(2), x, y, top(&p->format) * (1 + draw(3)) / 5);
}

static UprezPicture *run(UprezModel *model, UprezParams params, const UprezPicture *src)
{
    Uprez *u;
    UprezPicture *dst;
    params.size = sizeof(params);
    params.models = &model;
    params.n_models = 1;
    OK(uprez_create(&u, ctx, &params, &err));
    OK(uprez_run(u, src, &dst, &err));
    uprez_destroy(&u);
    return dst;
}

static bool same(const UprezPicture *a, const UprezPicture *b)
{
    assert_true(a->width == b->width && a->height == b->height);
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            if (memcmp((char *)a->plane[i] + y * a->stride[i], (char *)b->plane[i] + y * b->stride[i],
                       upz_plane_row_bytes(&a->format, i, a->width)))
                return false;
    return true;
}

/* The definition: no colour in the source within RADIUS px of what the result's px x0 … x1 - 1 show. */
static bool neutral_around(const UprezPicture *s, const UprezPicture *d, int x0, int y0, int x1, int y1)
{
    const UprezFormat *f = &s->format;
    const int a = (int)floor((double)x0 * s->width / d->width) - RADIUS;
    const int b = (int)ceil((double)x1 * s->width / d->width) + RADIUS;
    const int e = (int)floor((double)y0 * s->height / d->height) - RADIUS;
    const int g = (int)ceil((double)y1 * s->height / d->height) + RADIUS;
    for (int y = UPZ_MAX(e, 0); y < UPZ_MIN(g, s->height); y++)
        for (int x = UPZ_MAX(a, 0); x < UPZ_MIN(b, s->width); x++)
            for (int c = 1; c < 3; c++)
                if (get(s, c, x >> f->sub_x, y >> f->sub_y) != (f->depth == 32 ? 0 : top(f) / 2))
                    return false;
    return true;
}

/* Every sample is neutral where the definition says so; elsewhere many stay coloured. */
static void check(const UprezPicture *s, const UprezPicture *d, const char *what)
{
    const UprezFormat *f = &d->format;
    const bool rgb = f->model == UPREZ_RGB;
    int inside = 0, left = 0, outside = 0;
    for (int y = 0; y < upz_component_height(f, 1, d->height); y++)
        for (int x = 0; x < upz_component_width(f, 1, d->width); x++) {
            const bool want =
                neutral_around(s, d, x << f->sub_x, y << f->sub_y,
                               UPZ_MIN((x + 1) << f->sub_x, d->width),
                               UPZ_MIN((y + 1) << f->sub_y, d->height));
            const int u = get(d, 1, x, y), v = get(d, 2, x, y), grey = rgb ? get(d, 0, x, y) : top(f) / 2;
            const bool is = f->depth == 32 && !rgb ? !u && !v : u == grey && v == grey;
            if (want && !is) fail_msg("%s: at %d, %d: %d %d is not neutral", what, x, y, u, v);
            inside += want;
            outside += !want;
            left += !want && !is;
        }
    print_message("%-24s %d of %d neutral\n", what, inside, inside + outside);
    if (!(inside > 200 && outside > 50 && left > outside / 3))
        fail_msg("%s: %d neutral, %d of %d others coloured", what, inside, left, outside);
}

static void neutral_as_defined(void **state)
{
    (void)state;
    const struct {
        const char *from, *to;
        UprezModel **model;
        UprezParams params;
    } ways[] = {
        {"yuv420p", NULL, &net2, {0}}, {"yuv420p10le", NULL, &net2, {0}}, {"nv12", NULL, &net4, {0}},
        {"p010le", NULL, &net2, {0}}, {"yuv422p", NULL, &net2, {.scale = 3}},
        {"yuv444p", "yuv420p", &net2, {0}}, {"yuv411p", NULL, &net2, {.scale = 1.3}},
        {"yuyv422", NULL, &net2, {0}}, {"vuyx", NULL, &net2, {.tta = 1}}, {"yuv420p", "rgb24", &net2, {0}},
        {"yuv420p10le", "gbrp16le", &net2, {.blend = 0.2}}, {"yuv440p", "yuv420p12le", &net4, {.scale = 1.5}},
    };
    for (int i = 0; i < UPZ_COUNT(ways); i++) {
        UprezPicture *src = picture(ways[i].from, 97, 63), *dst;
        UprezParams params = ways[i].params;
        make_grey(src);
        colour(src, 2, 3, 3, 2);
        colour(src, upz_component_width(&src->format, 1, 97) - 1, 9, 1, 1);
        if (ways[i].to) OK(uprez_format_from_name(&params.format, ways[i].to));
        dst = run(*ways[i].model, params, src);
        check(src, dst, ways[i].from);
        uprez_picture_unref(&src);
        uprez_picture_unref(&dst);
    }
}

/* What is no YUV keeps the network's numbers, and luma is the network's in any case. */
static void luma_and_rgb_are_the_network_s(void **state)
{
    (void)state;
    UprezPicture *rgb = picture("gbrp", 64, 48), *yuv = picture("yuv444p", 64, 48), *a, *b;
    UprezParams params = {0};
    for (int y = 0; y < 48; y++)
        for (int x = 0; x < 64; x++) {
            const int v = 30 + draw(190);
            for (int c = 0; c < 3; c++) put(rgb, c, x, y, v), put(yuv, c, x, y, c ? 128 : v);
        }
    yuv->color.range = UPREZ_RANGE_FULL;
    a = run(net2, params, rgb);
    int tinted = 0;
    for (int y = 0; y < 96; y++)
        for (int x = 0; x < 128; x++) tinted += get(a, 0, x, y) != get(a, 2, x, y);
    assert_true(tinted > 6000);
    b = run(net2, params, yuv);
    for (int y = 0; y < 96; y++)
        for (int x = 0; x < 128; x++) {
            const double want = 0.2126 * get(a, 0, x, y) + 0.7152 * get(a, 1, x, y) + 0.0722 * get(a, 2, x, y);
            assert_true(fabs(get(b, 0, x, y) - want) < 1.2);
            assert_true(get(b, 1, x, y) == 128 && get(b, 2, x, y) == 128);
        }
    uprez_picture_unref(&b);
    OK(uprez_format_from_name(&params.format, "gbrp"));
    b = run(net2, params, yuv);
    for (int y = 0; y < 96; y++)
        for (int x = 0; x < 128; x++) {
            const double want = 0.2126 * get(a, 0, x, y) + 0.7152 * get(a, 1, x, y) + 0.0722 * get(a, 2, x, y);
            for (int c = 0; c < 3; c++) assert_true(fabs(get(b, c, x, y) - want) < 1.2);
            assert_true(get(b, 0, x, y) == get(b, 1, x, y) && get(b, 1, x, y) == get(b, 2, x, y));
        }
    uprez_picture_unref(&a);
    uprez_picture_unref(&b);
    uprez_picture_unref(&rgb);
    uprez_picture_unref(&yuv);
}

/* ---- films ---- */

enum { FRAMES = 8 };

static void through(UprezContext *c, UprezModel *model, UprezParams params, UprezPicture *const *clip,
                    UprezPicture **results, double *reused)
{
    Uprez *u;
    UprezCounts counts = {.size = sizeof(counts)};
    params.size = sizeof(params);
    params.models = &model;
    params.n_models = 1;
    params.precision = "fp32"; /* the same on every machine and level */
    OK(uprez_create(&u, c, &params, &err));
    for (int sent = 0, got = 0; got < FRAMES;) {
        const int r = sent < FRAMES ? uprez_send(u, clip[sent], &err) : UPREZ_AGAIN;
        if (r >= 0) {
            sent++;
            continue;
        }
        assert_int_equal(r, UPREZ_AGAIN);
        OK(uprez_receive(u, &results[got++], -1, &err));
    }
    OK(uprez_counts(u, &counts, &err));
    *reused = counts.reused;
    uprez_destroy(&u);
}

/* One clip with reuse, without, and on one thread at the plain level: the same bytes. */
static void same_every_way(UprezPicture *const *clip, UprezModel *model, int scale, UprezParams params,
                           bool yuv)
{
    UprezPicture *want[FRAMES], *got[FRAMES], *slow[FRAMES];
    UprezModel *other = tiny(single, scale, scale == 2 ? 1 : 2);
    double reused, none;
    through(ctx, model, params, clip, got, &reused);
    params.no_reuse = 1;
    through(ctx, model, params, clip, want, &none);
    through(single, other, params, clip, slow, &none);
    for (int i = 0; i < FRAMES; i++) {
        if (yuv) check(clip[i], want[i], "frame");
        if (!same(got[i], want[i])) fail_msg("frame %d: with reuse other bytes", i);
        if (!same(slow[i], want[i])) fail_msg("frame %d: on one thread other bytes", i);
        uprez_picture_unref(&got[i]);
        uprez_picture_unref(&want[i]);
        uprez_picture_unref(&slow[i]);
    }
    print_message("%.1f of %d frames reused\n", reused, FRAMES);
    assert_true(reused > FRAMES / 3);
    uprez_model_unref(&other);
}

/* A grey film with a logo in its corner, which is coloured, grey, moves on and changes its size. */
static void a_logo_turns_coloured(void **state)
{
    (void)state;
    const struct {
        const char *format;
        UprezModel **model;
        int scale;
        UprezParams params;
    } ways[] = {{"yuv420p", &net2, 2, {0}}, {"yuv420p10le", &net2, 2, {.scale = 3}}, {"nv12", &net4, 4, {.scale = 1.5}}};
    for (int k = 0; k < UPZ_COUNT(ways); k++) {
        UprezPicture *clip[FRAMES];
        for (int i = 0; i < FRAMES; i++) {
            clip[i] = i ? copy_of(clip[i - 1]) : picture(ways[k].format, 201, 119);
            if (!i) make_grey(clip[0]), colour(clip[0], 4, 40, 1, 1);
            if (i == 1 || i == 5) colour(clip[i], 80, 8, 9, 5);
            if (i == 3)
                for (int y = 8; y < 13; y++)
                    for (int x = 80; x < 89; x++)
                        for (int c = 1; c < 3; c++) put(clip[i], c, x, y, top(&clip[i]->format) / 2);
            if (i == 4) colour(clip[i], 70, 30, 1, 1);
            if (i == 6) colour(clip[i], 81 + 3 * k, 9, 14, 2);
            if (i == 7) put(clip[i], 0, 100, 100, 99);
        }
        same_every_way(clip, *ways[k].model, ways[k].scale, ways[k].params, true);
        for (int i = 0; i < FRAMES; i++) uprez_picture_unref(&clip[i]);
    }
}

/* ---- alpha ---- */

/* A disc in two colours; what is hidden has colours of another kind each time. No hidden px is farther
 * than FILL from the disc, so that none of them may count. */
static UprezPicture *disc(const char *format, int kind, bool flat)
{
    UprezPicture *p = picture(format, 44, 38);
    const UprezFormat *f = &p->format;
    const int most = top(f) - (f->depth != 32), a = f->n_comp - 1;
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            const bool seen = (x - 22) * (x - 22) + (y - 19) * (y - 19) < 15 * 15;
            put(p, a, x, y, !seen ? 0 : flat ? most : most / 4 + (x * 37 + y * 11) % 3 * most / 4);
            for (int c = 0; c < a; c++) {
                const int sub = upz_format_is_chroma(f, c) ? f->sub_x : 0;
                if (sub && ((x | y) & 1)) continue;
                /* a chroma sample is hidden where all its px are */
                const bool shared = sub &&
                    (x / 2 * 2 + 1 - 22) * (x / 2 * 2 + 1 - 22) + (y / 2 * 2 + 1 - 19) * (y / 2 * 2 + 1 - 19) < 18 * 18;
                int v = kind == 0 ? 0 : kind == 1 ? most : draw(most + 1);
                if (seen || shared) v = most / 5 * (flat ? 3 : 1 + (x + 2 * y + c) % 4);
                if (f->depth == 32 && f->model == UPREZ_YUV && c) v -= most / 2;
                put(p, c, x >> sub, y >> sub, v);
            }
        }
    return p;
}

static void what_is_hidden_counts_nowhere(void **state)
{
    (void)state;
    const struct {
        const char *format;
        UprezModel **model;
        UprezParams params;
    } ways[] = {
        {"rgba", &lanczos, {.scale = 2}}, {"rgba", &net2, {0}}, {"ya8", &net2, {0}},
        {"rgba64le", &lanczos, {.scale = 3.3}}, {"gbrap12le", &net4, {.scale = 3}}, {"yuva420p", &net2, {0}},
        {"yuva420p10le", &lanczos, {.scale = 1.7}}, {"yuva444p", &net2, {.tta = 1}}, {"bgra", &net2, {.blend = 0.4}},
        {"gbrapf32le", &net2, {0}}, {"argb", &lanczos, {.scale = 0.6}},
    };
    for (int i = 0; i < UPZ_COUNT(ways); i++) {
        UprezPicture *want = NULL;
        for (int kind = 0; kind < 3; kind++) {
            UprezPicture *src = disc(ways[i].format, kind, false);
            UprezPicture *dst = run(*ways[i].model, ways[i].params, src);
            if (want && !same(dst, want))
                fail_msg("%s, way %d: hidden colours of kind %d are seen", ways[i].format, i, kind);
            if (want) uprez_picture_unref(&dst);
            else want = dst;
            uprez_picture_unref(&src);
        }
        uprez_picture_unref(&want);
    }
}

/* A disc of one colour has it everywhere, however it is enlarged or made smaller. */
static void one_colour_stays(void **state)
{
    (void)state;
    const char *const formats[] = {"rgba", "ya8", "gbrap16le", "yuva444p", "yuva420p"};
    const double scales[] = {2, 3.4, 0.5};
    for (int i = 0; i < UPZ_COUNT(formats); i++)
        for (int k = 0; k < UPZ_COUNT(scales); k++) {
            UprezPicture *src = disc(formats[i], 0, true);
            UprezPicture *dst = run(lanczos, (UprezParams){.scale = scales[k]}, src);
            const int v = get(src, 0, 22, 19), alpha = dst->format.n_comp - 1;
            int seen = 0;
            for (int y = 0; y < dst->height; y++)
                for (int x = 0; x < dst->width; x++) {
                    if (!get(dst, alpha, x, y)) continue;
                    seen++;
                    for (int c = 0; c < alpha; c++) {
                        const int sub = upz_format_is_chroma(&dst->format, c) ? dst->format.sub_x : 0;
                        if (abs(get(dst, c, x >> sub, y >> sub) - v) > 1)
                            fail_msg("%s: at %d, %d: %d, not %d", formats[i], x, y, get(dst, c, x >> sub, y >> sub), v);
                    }
                }
            assert_true(seen > 100);
            uprez_picture_unref(&src);
            uprez_picture_unref(&dst);
        }
}

/* Hidden parts of a film appear, vanish and change their colour. */
static void hidden_parts_of_films(void **state)
{
    (void)state;
    const char *const formats[] = {"rgba", "yuva420p", "gbrap12le"};
    for (int k = 0; k < UPZ_COUNT(formats); k++) {
        UprezPicture *clip[FRAMES];
        for (int i = 0; i < FRAMES; i++) {
            clip[i] = i ? copy_of(clip[i - 1]) : picture(formats[k], 240, 130);
            const UprezFormat *f = &clip[i]->format;
            const int a = f->n_comp - 1, x0 = i ? 120 + 8 * i : 0, w = i ? 21 : 240, h = i ? 13 : 130, y0 = i ? 70 : 0;
            for (int y = y0; y < y0 + h; y++)
                for (int x = x0; x < x0 + w; x++) {
                    if (i != 4) put(clip[i], a, x, y, (x / 40 + y / 30 + i) % 2 ? top(f) - 1 - draw(9) : 0);
                    for (int c = 0; c < a; c++)
                        put(clip[i], c, upz_format_is_chroma(f, c) ? x >> f->sub_x : x,
                            upz_format_is_chroma(f, c) ? y >> f->sub_y : y, draw(top(f)));
                }
        }
        same_every_way(clip, net2, 2, (UprezParams){.scale = k == 1 ? 3 : 0}, false);
        for (int i = 0; i < FRAMES; i++) uprez_picture_unref(&clip[i]);
    }
}

/* ---- ids ---- */

static uint64_t checksum(const UprezPicture *p)
{
    uint64_t sum = 14695981039346656037u;
    for (int i = 0; i < p->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&p->format, i, p->height); y++) {
            const uint8_t *row = (const uint8_t *)p->plane[i] + y * p->stride[i];
            for (size_t x = 0; x < upz_plane_row_bytes(&p->format, i, p->width); x++)
                sum = (sum ^ row[x]) * 1099511628211u;
        }
    return sum;
}

/* A rule that gives other bytes needs another number behind its name, or a job that goes on joins two. */
static void bytes_belong_to_ids(void **state)
{
    (void)state;
    const struct {
        const char *format, *to, *id;
        uint64_t sum;
    } pins[] = {
        {"yuv420p", NULL, "neutral/1", 0xfbabfb0b232ce26u},
        {"yuv420p", "rgb24", "neutral/1", 0x7e11dc307f8b2099u},
        {"rgba", NULL, "fill/1", 0x11a96187618dfd2fu},
        {"yuva420p", NULL, "fill/1", 0x9f4bd7f6eba05b58u}, {"rgb24", NULL, NULL, 0xa7686854205c8c4bu},
    };
    for (int i = 0; i < UPZ_COUNT(pins); i++) {
        UprezInfo info = {.size = sizeof(info)};
        UprezParams params = {.size = sizeof(params), .models = &net2, .n_models = 1, .precision = "fp32"};
        Uprez *u;
        UprezPicture *src, *dst;
        seed = 11;
        if (strstr(pins[i].id ? pins[i].id : "", "fill")) {
            src = disc(pins[i].format, 2, false);
        } else {
            src = picture(pins[i].format, 61, 43);
            make_grey(src);
            colour(src, 5, 5, 4, 4);
        }
        if (pins[i].to) OK(uprez_format_from_name(&params.format, pins[i].to));
        OK(uprez_create(&u, ctx, &params, &err));
        OK(uprez_plan(u, src, &info, &err));
        if (pins[i].id) assert_non_null(strstr(info.numerics, pins[i].id));
        else assert_true(!strstr(info.numerics, "neutral") && !strstr(info.numerics, "fill"));
        OK(uprez_run(u, src, &dst, &err));
        const uint64_t sum = checksum(dst);
        if (sum != pins[i].sum)
            fail_msg("%s: the result's checksum is %#llx, not %#llx: other arithmetic needs another id",
                     info.numerics, (unsigned long long)sum, (unsigned long long)pins[i].sum);
        uprez_destroy(&u);
        uprez_picture_unref(&src);
        uprez_picture_unref(&dst);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neutral_as_defined),
        cmocka_unit_test(luma_and_rgb_are_the_network_s),
        cmocka_unit_test(a_logo_turns_coloured),
        cmocka_unit_test(what_is_hidden_counts_nowhere),
        cmocka_unit_test(one_colour_stays),
        cmocka_unit_test(hidden_parts_of_films),
        cmocka_unit_test(bytes_belong_to_ids),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
