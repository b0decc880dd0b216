/* Reuse of what a picture has in common with the one before: the same bytes as computing everything, in
 * every kind of lane; and the rectangles it is done with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
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
#include "upscale/parts.h"
#include "uprez/uprez.h"

#define OK(call) \
    do { \
        UprezError *e_ = &err; \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, e_->text); \
    } while (0)

static UprezError err;
static UprezContext *ctx;
static UprezModel *net2, *net4, *luma, *lanczos, *fragile;

static uint32_t seed = 7;
static int draw(int n)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return (int)(seed % (uint32_t)n);
}

/* ---- rectangles ---- */

static bool inside(const UpzParts *p, int x, int y)
{
    int n = 0;
    for (int i = 0; i < p->n; i++) {
        const UprezRect *r = &p->rect[i];
        n += x >= r->x && y >= r->y && x < r->x + r->w && y < r->y + r->h;
    }
    assert_true(n < 2); /* they do not overlap */
    return p->all || n;
}

/* Random masks of changed cells: all of them are covered, also where they come to lie in a picture of
 * another size with a reach around; parts and rest make the picture, once. */
static void rectangles(void **state)
{
    (void)state;
    int spared = 0;
    for (int round = 0; round < 600; round++) {
        const int w = 1 + draw(round % 2 ? 300 : 90), h = 1 + draw(200), cell = 16;
        const int nx = (w + cell - 1) / cell, ny = (h + cell - 1) / cell;
        const int W = 1 + draw(3 * w), H = 1 + draw(3 * h), reach[2] = {draw(12), draw(12)};
        const int grain[2] = {4, 4 << draw(2)}, margin[2] = {draw(20), draw(20)};
        uint8_t mask[19 * 13] = {0};
        if (round % 3 == 0)
            for (int i = 0; i < nx * ny; i++) mask[i] = draw(round % 9 + 1) == 0;
        else
            for (int i = 0; i < round % 4; i++) mask[draw(nx * ny)] = 1;
        UpzParts cells, parts;
        upz_parts_cells(&cells, mask, w, h, cell, margin);
        assert_false(cells.all);
        assert_true(cells.n <= UPZ_TODO_MAX);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                if (mask[y / cell * nx + x / cell]) assert_true(inside(&cells, x, y));
        upz_parts_map(&parts, &cells, w, h, W, H, reach, grain, margin);
        assert_true(parts.n <= UPZ_TODO_MAX);
        spared += !parts.all;
        for (int i = 0; i < parts.n; i++) {
            const UprezRect *r = &parts.rect[i];
            assert_true(r->x >= 0 && r->y >= 0 && r->w > 0 && r->h > 0);
            assert_true(r->x % grain[0] == 0 && r->y % grain[1] == 0);
            assert_true((r->x + r->w) % grain[0] == 0 || r->x + r->w == W);
            assert_true((r->y + r->h) % grain[1] == 0 || r->y + r->h == H);
        }
        for (int y = 0; y < h && !parts.all; y++)
            for (int x = 0; x < w; x++) {
                if (!mask[y / cell * nx + x / cell]) continue;
                const int x0 = (int)((int64_t)x * W / w) - reach[0];
                const int x1 = (int)(((int64_t)(x + 1) * W + w - 1) / w) + reach[0] - 1;
                const int y0 = (int)((int64_t)y * H / h) - reach[1];
                const int y1 = (int)(((int64_t)(y + 1) * H + h - 1) / h) + reach[1] - 1;
                for (int k = 0; k < 4; k++) {
                    const int X = k % 2 ? x1 : x0, Y = k / 2 ? y1 : y0;
                    assert_true(inside(&parts, UPZ_CLAMP(X, 0, W - 1), UPZ_CLAMP(Y, 0, H - 1)));
                }
            }
        UprezRect rest[UPZ_PARTS_REST];
        const int n = upz_parts_rest(&parts, W, H, rest);
        uint8_t *seen = calloc((size_t)W, (size_t)H);
        int64_t area = 0;
        assert_true(n <= UPZ_PARTS_REST);
        for (int i = 0; i < n; i++)
            for (int y = rest[i].y; y < rest[i].y + rest[i].h; y++)
                for (int x = rest[i].x; x < rest[i].x + rest[i].w; x++) seen[y * W + x]++;
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                assert_int_equal(seen[y * W + x] + inside(&parts, x, y), 1);
                area += inside(&parts, x, y);
            }
        assert_true(fabs(upz_parts_share(&parts, W, H) - (double)area / ((double)W * H)) < 1e-9);
        free(seen);
    }
    assert_true(spared > 150);
}

/* Far apart: two; neighbours, and those whose surroundings meet: one. Most of the picture: all. */
static void joined_where_it_costs_less(void **state)
{
    (void)state;
    uint8_t mask[20 * 10] = {0};
    UpzParts p;
    const int none[2] = {0, 0}, wide[2] = {64, 64}, grain[2] = {4, 4};
    mask[0] = mask[19] = 1;
    upz_parts_cells(&p, mask, 320, 160, 16, none);
    assert_int_equal(p.n, 2);
    mask[19] = 0;
    mask[4] = 1;
    upz_parts_cells(&p, mask, 320, 160, 16, none);
    assert_int_equal(p.n, 2);
    upz_parts_cells(&p, mask, 320, 160, 16, wide);
    assert_int_equal(p.n, 1);
    UpzParts to;
    upz_parts_map(&to, &p, 320, 160, 640, 320, none, grain, none);
    assert_int_equal(to.n, 1);
    assert_int_equal(to.rect[0].w, 160);
    upz_parts_map(&to, &p, 320, 160, 640, 320, (int[2]){500, 500}, grain, none);
    assert_true(to.all);
    memset(mask, 0, sizeof(mask));
    upz_parts_cells(&p, mask, 320, 160, 16, none);
    assert_true(!p.all && !p.n);
}

/* ---- upscalers ---- */

static UprezModel *load(TinyFile *t)
{
    UprezModel *m = NULL;
    OK(upz_model_load_memory(&m, ctx, "tiny.safetensors", t->data, t->size, &err));
    free(t->data);
    return m;
}

static int setup(void **state)
{
    (void)state;
    TinyFile t;
    OK(uprez_context_create(&ctx, NULL, &err));
    tiny_srvgg(&t, 16, 2, 2, 1);
    net2 = load(&t);
    tiny_srvgg(&t, 20, 1, 4, 2);
    net4 = load(&t);
    /* ESPCN, for luma alone */
    memset(&t, 0, sizeof(t));
    t.seed = 3;
    const int n[3] = {12, 8, 4};
    tiny_tensor(&t, "feature_maps.0.weight", 4, (int[]){n[0], 1, 5, 5}, 0.3f);
    tiny_tensor(&t, "feature_maps.0.bias", 1, &n[0], 0.1f);
    tiny_tensor(&t, "feature_maps.2.weight", 4, (int[]){n[1], n[0], 3, 3}, 0.15f);
    tiny_tensor(&t, "feature_maps.2.bias", 1, &n[1], 0.1f);
    tiny_tensor(&t, "sub_pixel.0.weight", 4, (int[]){n[2], n[1], 3, 3}, 0.3f);
    tiny_tensor(&t, "sub_pixel.0.bias", 1, &n[2], 0.4f);
    tiny_finish(&t);
    luma = load(&t);
    /* not a number where its input is not 0 */
    tiny_srvgg(&t, 16, 2, 2, 4);
    float *w = (float *)(void *)(t.data + t.size - t.floats * 4);
    for (size_t i = 0; i < 16 * 27 + 32 + 16 * 16 * 9; i++) /* weights, bias, slopes, weights */
        w[i] = i < 16 * 27 || i >= 16 * 27 + 32 ? i % 2 ? 1e36f : -1e36f : 0;
    fragile = load(&t);
    OK(uprez_model_load(&lanczos, ctx, "lanczos", NULL, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    UprezModel **const all[] = {&net2, &net4, &luma, &lanczos, &fragile};
    for (int i = 0; i < 5; i++) uprez_model_unref(all[i]);
    uprez_context_destroy(&ctx);
    return 0;
}

static UprezPicture *picture(const char *format, int w, int h)
{
    UprezFormat f;
    UprezPicture *p;
    OK(uprez_format_from_name(&f, format));
    p = steady(&f, w, h);
    p->color = (UprezColor){.matrix = f.model == UPREZ_YUV ? 1 : 2, .primaries = 1, .transfer = 1,
                            .range = f.model == UPREZ_YUV ? UPREZ_RANGE_LIMITED : UPREZ_RANGE_FULL,
                            .siting = UPREZ_SITING_LEFT};
    return p;
}

/* New samples in a rectangle of a plane, in samples. */
static void scribble(UprezPicture *p, int plane, int x0, int y0, int w, int h)
{
    const UprezFormat *f = &p->format;
    const int bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1;
    const int row = (int)upz_plane_row_bytes(f, plane, p->width) / bytes;
    const int rows = upz_plane_height(f, plane, p->height);
    for (int y = y0; y < UPZ_MIN(y0 + h, rows); y++)
        for (int x = x0; x < UPZ_MIN(x0 + w, row); x++) {
            uint8_t *at = (uint8_t *)p->plane[plane] + y * p->stride[plane] + x * bytes;
            const int v = draw(1 << UPZ_MIN(f->depth, 16));
            if (bytes == 1) *at = (uint8_t)v;
            else if (bytes == 2) *(uint16_t *)(void *)at = (uint16_t)(v << f->shift);
            else *(float *)(void *)at = (float)v / 65536;
        }
}

static bool equal(const UprezPicture *a, const UprezPicture *b)
{
    bool same = true;
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            same &= !memcmp((char *)a->plane[i] + y * a->stride[i],
                            (char *)b->plane[i] + y * b->stride[i],
                            upz_plane_row_bytes(&a->format, i, a->width));
    return same;
}

static void same_bytes(const UprezPicture *a, const UprezPicture *b, const char *what, int frame)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            if (memcmp((char *)a->plane[i] + y * a->stride[i], (char *)b->plane[i] + y * b->stride[i],
                       upz_plane_row_bytes(&a->format, i, a->width)))
                fail_msg("%s, frame %d: plane %d row %d differs from computing everything", what,
                         frame, i, y);
}

/* A clip: the first frame all new, then repeats, small changes anywhere, in chroma or alpha alone,
 * scattered ones, and a cut. */
enum { FRAMES = 14, CUT = 9 };

static void make_clip(UprezPicture *clip[FRAMES], const char *format, int w, int h)
{
    clip[0] = picture(format, w, h);
    const int planes = clip[0]->format.n_plane;
    for (int i = 0; i < planes; i++) scribble(clip[0], i, 0, 0, 1 << 20, 1 << 20);
    for (int n = 1; n < FRAMES; n++) {
        UprezPicture *p = clip[n] = copy_of(clip[n - 1]);
        if (n == 1 || n == 2 || n == 7) continue;
        if (n == CUT)
            for (int i = 0; i < planes; i++) scribble(p, i, 0, 0, 1 << 20, 1 << 20);
        else if (n == 3) scribble(p, planes - 1, 1, 1, 1, 1);
        else if (n == 4) scribble(p, 0, w - 2, h - 2, 2, 2);
        else if (n == 5) scribble(p, 0, w / 2, 0, 5, 3);
        else if (n == 6)
            for (int i = 0; i < 3; i++) scribble(p, draw(planes), draw(w), draw(h), 3, 3);
        else scribble(p, draw(planes), draw(w / 2), draw(h / 2), 1 + draw(9), 1 + draw(9));
    }
    for (int n = 0; n < FRAMES; n++) clip[n]->pts = 100 + n;
}

static Uprez *upscaler(UprezModel *const *models, int n, UprezParams params)
{
    Uprez *u;
    params.size = sizeof(params);
    params.models = models;
    params.n_models = n;
    OK(uprez_create(&u, ctx, &params, &err));
    return u;
}

typedef struct Way {
    const char *name, *format;
    UprezModel **models[3];
    UprezParams params;
    const char *out; /* another format, or NULL */
    double least;    /* frames' worth reused, of FRAMES */
} Way;

static UprezParams params_of(const Way *w)
{
    UprezParams p = w->params;
    if (w->out) OK(uprez_format_from_name(&p.format, w->out));
    return p;
}

/* All frames through one upscaler, as many in flight as there is room for. */
static double through(const Way *way, UprezPicture *const *clip, bool reuse, UprezPicture **results,
                      UprezPicture *const *to)
{
    UprezModel *models[3];
    int n = 0, sent = 0, got = 0;
    while (n < 3 && way->models[n]) {
        models[n] = *way->models[n];
        n++;
    }
    UprezParams params = params_of(way);
    params.no_reuse = !reuse;
    Uprez *u = upscaler(models, n, params);
    while (got < FRAMES) {
        int r = UPREZ_AGAIN;
        if (sent < FRAMES) r = uprez_send_to(u, clip[sent], to ? to[sent] : NULL, &err);
        if (r >= 0) sent++;
        else if (r != UPREZ_AGAIN) fail_msg("%s: %s", way->name, err.text);
        if (r >= 0) continue;
        OK(uprez_receive(u, &results[got], -1, &err));
        assert_int_equal(results[got]->pts, 100 + got);
        got++;
    }
    UprezCounts counts = {.size = sizeof(counts)};
    OK(uprez_counts(u, &counts, &err));
    assert_int_equal(counts.pictures, FRAMES);
    int repeats = 0;
    for (int i = 1; i < FRAMES; i++) repeats += equal(clip[i - 1], clip[i]);
    if (reuse && counts.repeated != repeats)
        fail_msg("%s: %d of %d frames repeated", way->name, (int)counts.repeated, repeats);
    if (!reuse) assert_true(counts.repeated == 0 && counts.reused == 0);
    uprez_destroy(&u);
    return counts.reused;
}

static void same_as_computing_everything(void **state)
{
    (void)state;
    const UprezParams none = {0};
    const Way ways[] = {
        {"a network", "yuv420p", {&net2}, none, NULL, 7},
        {"4x", "nv12", {&net4}, none, NULL, 7},
        {"10 bits", "yuv422p10le", {&net2}, none, NULL, 7},
        {"packed", "rgb24", {&net2}, none, NULL, 7},
        {"packed 4:2:2", "yuyv422", {&net2}, none, NULL, 7},
        {"alpha", "rgba", {&net2}, none, NULL, 7},
        {"planes of alpha", "yuva420p", {&net4}, none, NULL, 7},
        {"float", "gbrpf32le", {&net2}, none, NULL, 7},
        {"gray", "gray", {&net2}, none, NULL, 7},
        {"another format", "yuv420p", {&net2}, none, "rgb48le", 7},
        {"made smaller", "yuv420p", {&net4}, {.scale = 1.5}, NULL, 7},
        {"made bigger", "yuv420p10le", {&net2}, {.scale = 3.3, .filter = "bicubic"}, NULL, 7},
        {"a chain", "yuv420p", {&net2, &net2}, {.scale = 3}, NULL, 6},
        {"with kernels", "yuv420p", {&lanczos, &net2}, none, NULL, 6},
        {"and behind", "yuv420p", {&net2, &lanczos}, {.scale = 2.5}, NULL, 7},
        {"blended", "yuv420p", {&net2}, {.blend = 0.3}, NULL, 7},
        {"luma", "yuv420p", {&luma}, none, NULL, 7},
        {"luma, other size", "nv12", {&luma}, {.scale = 2.6}, NULL, 7},
        {"luma of RGB", "rgb24", {&luma}, none, NULL, 3},
        {"luma and gray", "gray10le", {&luma}, none, NULL, 7},
        {"tta", "yuv420p", {&net2}, {.tta = 1}, NULL, 3},
        {"no network", "yuv420p", {&lanczos}, none, NULL, 3},
        {"one at a time", "yuv420p", {&net2}, {.depth = 1}, NULL, 7},
        {"many", "yuv420p", {&net2}, {.depth = 9}, NULL, 7},
    };
    for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
        const Way *way = &ways[k];
        UprezPicture *clip[FRAMES], *want[FRAMES], *got[FRAMES], *to[FRAMES];
        make_clip(clip, way->format, 203 + (int)k % 2, 117 + (int)k % 3);
        through(way, clip, false, want, NULL);
        const double reused = through(way, clip, true, got, NULL);
        for (int i = 0; i < FRAMES; i++) same_bytes(got[i], want[i], way->name, i);
        for (int i = 1; i < 3; i++) assert_ptr_equal(got[i]->plane[0], got[0]->plane[0]);
        print_message("%-20s %4.1f of %d frames reused\n", way->name, reused, FRAMES);
        if (!(reused >= way->least && reused < FRAMES - 2))
            fail_msg("%s: %.2f frames reused, at least %.1f expected", way->name, reused, way->least);
        /* into memory of the caller's, full of something else */
        for (int i = 0; i < FRAMES; i++) {
            uprez_picture_unref(&got[i]);
            to[i] = copy_of(want[i]);
            for (int p = 0; p < to[i]->format.n_plane; p++)
                scribble(to[i], p, 0, 0, 1 << 20, 1 << 20);
        }
        through(way, clip, true, got, to);
        for (int i = 0; i < FRAMES; i++) {
            same_bytes(got[i], want[i], way->name, i);
            assert_ptr_equal(got[i]->plane[0], to[i]->plane[0]);
            uprez_picture_unref(&got[i]);
            uprez_picture_unref(&to[i]);
            uprez_picture_unref(&want[i]);
            uprez_picture_unref(&clip[i]);
        }
    }
}

/* What failed is no model for what follows: not where it fails when it is begun, nor where it does so
 * while others that follow it are in work. */
static void nothing_follows_a_failure(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++)
        for (int depth = 0; depth < 7; depth += 3) {
            enum { N = 9 };
            UprezPicture *clip[N], *got, *want, *to;
            clip[0] = picture("gbrpf32le", 160, 90);
            for (int i = 0; i < 3; i++) memset(clip[0]->plane[i], 0, (size_t)clip[0]->stride[i] * 90);
            for (int i = 1; i < N; i++) clip[i] = copy_of(clip[i - 1]);
            /* 3 fails, 4 repeats it, 5 is whole again, 7 fails and is the only one */
            if (!wrong)
                for (int i = 3; i < 8; i++)
                    if (i < 5 || i == 7) scribble(clip[i], 0, 70, 40, 8, 8);
            UprezModel *model = wrong ? net2 : fragile;
            Uprez *u = upscaler(&model, 1, (UprezParams){.no_reuse = 1});
            OK(uprez_run(u, clip[0], &want, &err));
            uprez_destroy(&u);
            u = upscaler(&model, 1, (UprezParams){.depth = depth});
            int sent = 0;
            OK(uprez_picture_alloc(&to, &want->format, want->width + 1, want->height, &err));
            for (int i = 0; i < N;) {
                int r = UPREZ_AGAIN;
                if (sent < N)
                    r = uprez_send_to(u, clip[sent], wrong && sent % 4 == 3 ? to : NULL, &err);
                if (r >= 0) {
                    sent++;
                    continue;
                }
                r = uprez_receive(u, &got, -1, &err);
                const bool fails = wrong ? i % 4 == 3 : i == 3 || i == 4 || i == 7;
                assert_int_equal(r, fails ? wrong ? UPREZ_ERR_USAGE : UPREZ_ERR_VERIFY : 0);
                if (!fails) same_bytes(got, want, "behind a failure", i);
                uprez_picture_unref(&got);
                i++;
            }
            UprezCounts counts = {.size = sizeof(counts)};
            OK(uprez_counts(u, &counts, &err));
            assert_int_equal(counts.repeated, wrong ? 4 : 3);
            uprez_destroy(&u);
            uprez_picture_unref(&to);
            uprez_picture_unref(&want);
            for (int i = 0; i < N; i++) uprez_picture_unref(&clip[i]);
        }
}

static void count_free(void *cookie) { ++*(int *)cookie; }

/* Memory that the caller may write again after receive is no model; what is held until `free` is, and
 * is let go of one picture later, at the end, or with the upscaler. */
static void whose_memory(void **state)
{
    (void)state;
    UprezPicture *base = picture("yuv420p", 96, 64), *got, *want[2];
    for (int i = 0; i < 3; i++) scribble(base, i, 0, 0, 1 << 20, 1 << 20);
    UprezPicture *other = copy_of(base);
    scribble(other, 0, 0, 0, 4, 4);
    UprezPicture *const both[] = {base, other};
    for (int i = 0; i < 2; i++) {
        Uprez *u = upscaler(&net2, 1, (UprezParams){.no_reuse = 1});
        OK(uprez_run(u, both[i], &want[i], &err));
        uprez_destroy(&u);
    }
    for (int held = 0; held < 2; held++)
        for (int ends = 0; ends < 2; ends++) {
            int freed = 0;
            UprezPicture *p, *memory = copy_of(base), desc = *memory;
            desc.buffer = NULL;
            Uprez *u = upscaler(&net2, 1, (UprezParams){0});
            for (int i = 0; i < 4; i++) {
                if (!held) /* the same memory, written again */
                    memcpy(memory->plane[0], both[i % 2]->plane[0], (size_t)memory->stride[0] * 64);
                OK(uprez_picture_wrap(&p, &desc, held ? count_free : NULL, &freed, &err));
                OK(uprez_run(u, p, &got, &err));
                uprez_picture_unref(&p);
                same_bytes(got, want[held ? 0 : i % 2], "memory", i);
                uprez_picture_unref(&got);
                assert_int_equal(freed, held ? i : 0);
            }
            UprezCounts counts = {.size = sizeof(counts)};
            OK(uprez_counts(u, &counts, &err));
            assert_int_equal(counts.repeated, held ? 3 : 0);
            if (ends) {
                OK(uprez_send(u, NULL, &err));
                assert_int_equal(uprez_receive(u, &got, -1, &err), UPREZ_EOF);
                assert_int_equal(freed, held ? 4 : 0);
            }
            uprez_destroy(&u);
            assert_int_equal(freed, held ? 4 : 0);
            uprez_picture_unref(&memory);
        }
    uprez_picture_unref(&base);
    uprez_picture_unref(&other);
    for (int i = 0; i < 2; i++) uprez_picture_unref(&want[i]);
}

/* Memory of uprez_picture_alloc that the caller keeps, fills again and sends again: one picture, or several in
 * turn with more than one in flight; and one that results are asked into again and again. What the caller
 * has let go of is a model. */
static void filled_again(void **state)
{
    (void)state;
    enum { N = 12 };
    UprezPicture *base[N], *want[N], *got;
    UprezFormat f;
    OK(uprez_format_from_name(&f, "gray"));
    base[0] = picture("gray", 128, 96);
    for (int i = 0; i < N; i++) {
        if (i) base[i] = copy_of(base[i - 1]);
        if (i % 4 < 3) scribble(base[i], 0, 8 * draw(8), 8 * draw(8), i % 2 ? 300 : 3, i % 2 ? 300 : 5);
        Uprez *u = upscaler(&net2, 1, (UprezParams){.no_reuse = 1});
        OK(uprez_run(u, base[i], &want[i], &err));
        uprez_destroy(&u);
    }
    for (int sources = 0; sources < 4; sources++) /* 0: each its own */
        for (int results = 0; results < 2; results++)
            for (int round = 0; round < 3; round++) {
                UprezPicture *pool[3], *to;
                Uprez *u = upscaler(&net2, 1, (UprezParams){0});
                OK(uprez_picture_alloc(&to, &f, 256, 192, &err));
                for (int i = 0; i < sources; i++) OK(uprez_picture_alloc(&pool[i], &f, 128, 96, &err));
                for (int sent = 0, done = 0; done < N;) {
                    if (sent < N && sent - done < (results ? 1 : UPZ_MAX(sources, 1))) {
                        UprezPicture *p;
                        if (sources) p = pool[sent % sources];
                        else OK(uprez_picture_alloc(&p, &f, 128, 96, &err));
                        p->color = base[sent]->color;
                        for (int y = 0; y < 96; y++)
                            memcpy((char *)p->plane[0] + y * p->stride[0],
                                   (char *)base[sent]->plane[0] + y * base[sent]->stride[0], 128);
                        int r = uprez_send_to(u, p, results ? to : NULL, &err);
                        if (!sources) uprez_picture_unref(&p);
                        if (r >= 0) {
                            sent++;
                            continue;
                        }
                    }
                    OK(uprez_receive(u, &got, -1, &err));
                    same_bytes(got, want[done], "filled again", done);
                    uprez_picture_unref(&got);
                    done++;
                }
                UprezCounts counts = {.size = sizeof(counts)};
                OK(uprez_counts(u, &counts, &err));
                assert_int_equal(counts.repeated, sources || results ? 0 : N / 4);
                uprez_destroy(&u);
                uprez_picture_unref(&to);
                for (int i = 0; i < sources; i++) uprez_picture_unref(&pool[i]);
            }
    for (int i = 0; i < N; i++) {
        uprez_picture_unref(&base[i]);
        uprez_picture_unref(&want[i]);
    }
}

/* Values that are not numbers in columns that nobody computes now: an earlier picture's, that failed. */
static void remains_of_a_failure(void **state)
{
    (void)state;
    TinyFile t;
    UprezModel *m;
    tiny_srvgg(&t, 16, 2, 2, 4);
    float *w = (float *)(void *)(t.data + t.size - t.floats * 4);
    for (int i = 0; i < 16 * 27 + 32 + 16 * 16 * 9; i++) /* 1 becomes infinity minus infinity, a little does not */
        w[i] = i >= 16 * 27 && i < 16 * 27 + 32 ? 0 : i % 2 ? 1e19f : -1e19f;
    m = load(&t);
    for (int h = 3; h < 24; h += 3) {
        Uprez *u[2];
        UprezPicture *p = picture("gbrpf32le", 450, h), *got[2];
        int failures = 0;
        for (int k = 0; k < 2; k++) u[k] = upscaler(&m, 1, (UprezParams){.no_reuse = k});
        for (int i = 0; i < 14; i++) {
            UprezPicture *next = copy_of(p);
            for (int k = 0; k < 3; k++) memset(next->plane[k], 0, (size_t)next->stride[k] * (size_t)h);
            for (int y = 0; y < h; y++) {
                float *row = (float *)(void *)((char *)next->plane[0] + y * next->stride[0]);
                row[i % 7 == 1 ? 225 : 8] = i % 7 == 1 ? 1 : 1e-6f * (float)i;
            }
            const int r = uprez_run(u[0], next, &got[0], &err);
            assert_int_equal(r, uprez_run(u[1], next, &got[1], &err));
            failures += r < 0;
            if (r >= 0) same_bytes(got[0], got[1], "behind a failure", i);
            for (int k = 0; k < 2; k++) uprez_picture_unref(&got[k]);
            uprez_picture_unref(&p);
            p = next;
        }
        assert_int_equal(failures, 2);
        uprez_picture_unref(&p);
        for (int k = 0; k < 2; k++) uprez_destroy(&u[k]);
    }
    uprez_model_unref(&m);
}

/* Other tags or another size: nothing is reused, and afterwards it is again. */
static void other_tags_and_sizes(void **state)
{
    (void)state;
    Uprez *u = upscaler(&net2, 1, (UprezParams){0});
    UprezPicture *p = picture("yuv420p", 96, 64), *got;
    UprezPicture *small = picture("yuv420p", 48, 64);
    for (int i = 0; i < 3; i++) {
        scribble(p, i, 0, 0, 1 << 20, 1 << 20);
        scribble(small, i, 0, 0, 1 << 20, 1 << 20);
    }
    for (int i = 0; i < 10; i++) {
        UprezPicture *ref = copy_of(i == 6 ? small : p), *want;
        if (i == 3 || i == 4) ref->color.matrix = 5;
        OK(uprez_run(u, ref, &got, &err));
        Uprez *whole = upscaler(&net2, 1, (UprezParams){.no_reuse = 1, .width = 192, .height = 128});
        OK(uprez_run(whole, ref, &want, &err));
        same_bytes(got, want, "other tags", i);
        uprez_destroy(&whole);
        uprez_picture_unref(&want);
        uprez_picture_unref(&got);
        uprez_picture_unref(&ref);
    }
    UprezCounts counts = {.size = sizeof(counts)};
    OK(uprez_counts(u, &counts, &err));
    assert_int_equal(counts.repeated, 5); /* 1, 2, 4, 8, 9 */
    uprez_destroy(&u);
    uprez_picture_unref(&p);
    uprez_picture_unref(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rectangles),
        cmocka_unit_test(joined_where_it_costs_less),
        cmocka_unit_test(same_as_computing_everything),
        cmocka_unit_test(nothing_follows_a_failure),
        cmocka_unit_test(whose_memory),
        cmocka_unit_test(filled_again),
        cmocka_unit_test(remains_of_a_failure),
        cmocka_unit_test(other_tags_and_sizes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
