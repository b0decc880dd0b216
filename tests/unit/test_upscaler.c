/* Order, timing, sizes, alpha, chains, blend, TTA: everything between send and receive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/engine.h"
#include "picture/format.h"
#include "picture/resize.h"
#include "tiny_model.h"
#include "upscale/lane.h"
#include "upscale/results.h"
#include "uprez/uprez.h"

#define OK(call) \
    do { \
        UprezError *e_ = &err; \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, e_->text); \
    } while (0)

static UprezError err;
static UprezContext *ctx;
static UprezModel *net2, *net4, *lanczos;

static UprezModel *tiny(int features, int convs, int scale, uint32_t seed)
{
    TinyFile t;
    UprezModel *m = NULL;
    tiny_srvgg(&t, features, convs, scale, seed);
    OK(upz_model_load_memory(&m, ctx, "tiny.safetensors", t.data, t.size, &err));
    free(t.data);
    return m;
}

static int setup(void **state)
{
    (void)state;
    OK(uprez_context_create(&ctx, NULL, &err));
    net2 = tiny(16, 3, 2, 1);
    net4 = tiny(20, 2, 4, 2);
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
    return 0;
}

static UprezPicture *picture(const char *format, int w, int h, int seed)
{
    UprezFormat f;
    UprezPicture *p;
    OK(uprez_format_from_name(&f, format));
    OK(uprez_picture_alloc(&p, &f, w, h, &err));
    for (int i = 0; i < f.n_plane; i++) {
        int rows = upz_plane_height(&f, i, h);
        size_t bytes = upz_plane_row_bytes(&f, i, w);
        for (int y = 0; y < rows; y++) {
            uint8_t *row = (uint8_t *)p->plane[i] + y * p->stride[i];
            for (size_t x = 0; x < bytes / (f.depth == 32 ? 4 : f.depth > 8 ? 2 : 1); x++) {
                double v = 0.5 + 0.3 * sin((double)x * 0.5 + i + seed) * cos(y * 0.4 + seed) +
                           0.1 * ((double)((x * 31 + (size_t)y * 17 + (size_t)seed) % 13) / 13 - 0.5);
                if (f.depth == 32) ((float *)row)[x] = (float)v;
                else if (f.depth > 8) ((uint16_t *)row)[x] = (uint16_t)(v * ((1 << f.depth) - 1));
                else row[x] = (uint8_t)(16 + v * 200);
            }
        }
    }
    p->color = (UprezColor){.matrix = f.model == UPREZ_YUV ? 1 : 2, .primaries = 1, .transfer = 1,
                            .range = f.model == UPREZ_YUV ? UPREZ_RANGE_LIMITED : UPREZ_RANGE_FULL,
                            .siting = UPREZ_SITING_LEFT};
    p->pts = seed;
    p->duration = 10 + seed;
    return p;
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

static UprezPicture *run(UprezModel *model, UprezParams params, const UprezPicture *src)
{
    Uprez *u = upscaler(&model, 1, params);
    UprezPicture *dst;
    OK(uprez_run(u, src, &dst, &err));
    uprez_destroy(&u);
    return dst;
}

static void same_bytes(const UprezPicture *a, const UprezPicture *b)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_true(upz_format_equal(&a->format, &b->format));
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            assert_memory_equal((char *)a->plane[i] + y * a->stride[i],
                                (char *)b->plane[i] + y * b->stride[i],
                                upz_plane_row_bytes(&a->format, i, a->width));
}

static float sample(const UprezPicture *p, int plane, int x, int y)
{
    return ((const float *)((const char *)p->plane[plane] + y * p->stride[plane]))[x];
}

/* The network as its plain-C reference sees a float RGB picture. */
static void equals_reference(void **state)
{
    (void)state;
    UprezPicture *src = picture("gbrpf32le", 23, 19, 3);
    UprezPicture *dst = run(net2, (UprezParams){.precision = "fp32"}, src);
    assert_int_equal(dst->width, 46);
    assert_int_equal(dst->height, 38);
    float *in = malloc(sizeof(float) * 3 * 23 * 19), *out = malloc(sizeof(float) * 3 * 46 * 38);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 19; y++)
            for (int x = 0; x < 23; x++)
                in[(c * 19 + y) * 23 + x] = sample(src, src->format.comp[c].plane, x, y);
    OK(upz_reference_run(&net2->graph, in, 23, 19, out, &err));
    double max = 0, spread = 0;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 38; y++)
            for (int x = 0; x < 46; x++) {
                float want = out[(c * 38 + y) * 46 + x];
                float got = sample(dst, dst->format.comp[c].plane, x, y);
                want = want < 0 ? 0 : want > 1 ? 1 : want;
                got = got < 0 ? 0 : got > 1 ? 1 : got;
                max = fmax(max, fabs(want - got));
                spread = fmax(spread, fabs(want - out[0]));
            }
    assert_true(spread > 0.05); /* the network does something */
    if (max > 1e-4) fail_msg("difference to the reference %g", max);
    free(in);
    free(out);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
}

/* Pictures come out in order with their own timing, the same as one at a time, however many are in
 * flight. */
static void order_timing_and_flow(void **state)
{
    (void)state;
    enum { N = 11 };
    UprezPicture *src[N], *want[N];
    for (int i = 0; i < N; i++) {
        src[i] = picture("yuv420p", 34, 26, i);
        src[i]->opaque = &src[i];
        want[i] = run(net2, (UprezParams){0}, src[i]);
    }
    for (int depth = 1; depth <= 5; depth += 2) {
        Uprez *u = upscaler(&net2, 1, (UprezParams){.depth = depth});
        int sent = 0, got = 0, again = 0;
        UprezPicture *dst;
        assert_int_equal(uprez_receive(u, &dst, 0, &err), UPREZ_AGAIN);
        while (got < N) {
            int r = sent < N ? uprez_send(u, src[sent], &err) : UPREZ_AGAIN;
            if (r == 0) {
                sent++;
                if (sent == N) OK(uprez_send(u, NULL, &err));
                continue;
            }
            assert_int_equal(r, UPREZ_AGAIN);
            again++;
            OK(uprez_receive(u, &dst, -1, &err));
            assert_int_equal(dst->pts, got);
            assert_int_equal(dst->duration, 10 + got);
            assert_ptr_equal(dst->opaque, &src[got]);
            same_bytes(dst, want[got]);
            uprez_picture_unref(&dst);
            got++;
        }
        assert_true(again > 0);
        assert_int_equal(uprez_receive(u, &dst, -1, &err), UPREZ_EOF);
        assert_int_equal(uprez_send(u, src[0], &err), UPREZ_ERR_USAGE);
        uprez_destroy(&u);
    }
    /* pictures still inside when it is destroyed */
    Uprez *u = upscaler(&net2, 1, (UprezParams){0});
    OK(uprez_send(u, src[0], &err));
    OK(uprez_send(u, src[1], &err));
    uprez_destroy(&u);
    for (int i = 0; i < N; i++) {
        uprez_picture_unref(&src[i]);
        uprez_picture_unref(&want[i]);
    }
}

static void size_changes_are_fitted(void **state)
{
    (void)state;
    Uprez *u = upscaler(&net2, 1, (UprezParams){0});
    const int sizes[][2] = {{32, 24}, {20, 16}, {40, 24}, {32, 24}};
    for (int i = 0; i < 4; i++) {
        UprezPicture *src = picture("yuv420p", sizes[i][0], sizes[i][1], i), *dst;
        OK(uprez_send(u, src, &err));
        OK(uprez_receive(u, &dst, -1, &err));
        assert_int_equal(dst->width, 64);
        assert_int_equal(dst->height, 48);
        uprez_picture_unref(&src);
        uprez_picture_unref(&dst);
    }
    uprez_destroy(&u);
}

static void any_size_is_model_then_resize(void **state)
{
    (void)state;
    UprezPicture *src = picture("gbrpf32le", 24, 20, 1);
    UprezPicture *four = run(net4, (UprezParams){0}, src);
    UprezPicture *got = run(net4, (UprezParams){.scale = 2.5}, src), *want;
    assert_int_equal(got->width, 60);
    assert_int_equal(got->height, 50);
    OK(uprez_picture_alloc(&want, &src->format, 60, 50, &err));
    want->color = four->color;
    UpzResizePicture *r;
    OK(upz_resize_picture_create(&r, ctx, UPZ_RESIZE_LANCZOS, four, want, &err));
    upz_resize_picture_run(r, four, want);
    upz_resize_picture_destroy(&r);
    same_bytes(got, want);
    uprez_picture_unref(&got);
    uprez_picture_unref(&want);
    got = run(net4, (UprezParams){.height = 30}, src); /* width follows */
    assert_int_equal(got->width, 36);
    uprez_picture_unref(&got);
    uprez_picture_unref(&four);
    uprez_picture_unref(&src);
}

static void chains_apply_in_turn(void **state)
{
    (void)state;
    UprezModel *both[] = {net2, net4};
    UprezPicture *src = picture("gbrpf32le", 16, 12, 2), *got;
    Uprez *u = upscaler(both, 2, (UprezParams){0});
    OK(uprez_run(u, src, &got, &err));
    uprez_destroy(&u);
    UprezPicture *two = run(net2, (UprezParams){0}, src), *want = run(net4, (UprezParams){0}, two);
    assert_int_equal(got->width, 128);
    same_bytes(got, want);
    uprez_picture_unref(&two);
    uprez_picture_unref(&want);
    uprez_picture_unref(&got);
    uprez_picture_unref(&src);
}

static void blend_mixes_with_the_plain_picture(void **state)
{
    (void)state;
    UprezPicture *src = picture("gbrpf32le", 24, 20, 4);
    UprezPicture *net = run(net2, (UprezParams){0}, src);
    UprezPicture *plain = run(lanczos, (UprezParams){.scale = 2}, src);
    UprezPicture *all = run(net2, (UprezParams){.blend = 1}, src);
    UprezPicture *half = run(net2, (UprezParams){.blend = 0.5}, src);
    for (int y = 0; y < 40; y++)
        for (int x = 0; x < 48; x++)
            for (int p = 0; p < 3; p++) {
                float n = sample(net, p, x, y), r = sample(plain, p, x, y);
                r = r < 0 ? 0 : r > 1 ? 1 : r;
                float a = sample(all, p, x, y), h = sample(half, p, x, y);
                assert_true(fabsf(a - r) < 2e-3f);
                assert_true(fabsf(h - (n + r) / 2) < 2e-3f);
            }
    uprez_picture_unref(&src);
    uprez_picture_unref(&net);
    uprez_picture_unref(&plain);
    uprez_picture_unref(&all);
    uprez_picture_unref(&half);
}

static void mirror(UprezPicture *p)
{
    for (int i = 0; i < p->format.n_plane; i++)
        for (int y = 0; y < p->height; y++) {
            float *row = (float *)((char *)p->plane[i] + y * p->stride[i]);
            for (int x = 0; x < p->width / 2; x++) {
                float t = row[x];
                row[x] = row[p->width - 1 - x];
                row[p->width - 1 - x] = t;
            }
        }
}

/* The mean over all turns commutes with every turn; one pass of the network does not. */
static void tta_does_not_care_about_mirrors(void **state)
{
    (void)state;
    UprezPicture *src = picture("gbrpf32le", 20, 14, 5);
    UprezPicture *once = run(net2, (UprezParams){0}, src);
    UprezPicture *a = run(net2, (UprezParams){.tta = 1}, src);
    mirror(src);
    UprezPicture *b = run(net2, (UprezParams){.tta = 1}, src);
    UprezPicture *once_b = run(net2, (UprezParams){0}, src);
    mirror(b);
    mirror(once_b);
    double tta = 0, single = 0;
    for (int y = 0; y < 28; y++)
        for (int x = 0; x < 40; x++)
            for (int p = 0; p < 3; p++) {
                tta = fmax(tta, fabs(sample(a, p, x, y) - sample(b, p, x, y)));
                single = fmax(single, fabs(sample(once, p, x, y) - sample(once_b, p, x, y)));
            }
    assert_true(single > 1e-3);
    if (tta > 1e-5) fail_msg("TTA differs by %g between a picture and its mirror image", tta);
    uprez_picture_unref(&src);
    uprez_picture_unref(&a);
    uprez_picture_unref(&b);
    uprez_picture_unref(&once);
    uprez_picture_unref(&once_b);
}

static void alpha_goes_through_the_network_too(void **state)
{
    (void)state;
    UprezPicture *src = picture("rgba", 24, 16, 6);
    UprezPicture *dst = run(net2, (UprezParams){0}, src);
    UprezPicture *gray = picture("gray", 24, 16, 0);
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 24; x++)
            ((uint8_t *)gray->plane[0])[y * gray->stride[0] + x] =
                ((uint8_t *)src->plane[0])[y * src->stride[0] + 4 * x + 3];
    UprezPicture *want = run(net2, (UprezParams){0}, gray);
    for (int y = 0; y < 32; y++)
        for (int x = 0; x < 48; x++)
            assert_int_equal(((uint8_t *)dst->plane[0])[y * dst->stride[0] + 4 * x + 3],
                             ((uint8_t *)want->plane[0])[y * want->stride[0] + x]);
    /* an opaque picture stays opaque, whatever the network makes of a white plane */
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 24; x++) ((uint8_t *)src->plane[0])[y * src->stride[0] + 4 * x + 3] = 255;
    uprez_picture_unref(&dst);
    dst = run(net2, (UprezParams){0}, src);
    for (int y = 0; y < 32; y++)
        for (int x = 0; x < 48; x++)
            assert_int_equal(((uint8_t *)dst->plane[0])[y * dst->stride[0] + 4 * x + 3], 255);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    uprez_picture_unref(&gray);
    uprez_picture_unref(&want);
}

/* A picture that cannot be planned leaves nothing behind for those after it. */
static void a_failed_plan_does_not_fix_the_size(void **state)
{
    (void)state;
    Uprez *u = upscaler(&net4, 1, (UprezParams){0});
    UprezPicture *huge = picture("gray", 30000, 1, 0), *good = picture("gray", 16, 12, 1), *dst;
    assert_true(uprez_plan(u, huge, NULL, &err) < 0);
    assert_true(uprez_run(u, huge, &dst, &err) < 0);
    OK(uprez_run(u, good, &dst, &err));
    assert_int_equal(dst->width, 64);
    assert_int_equal(dst->height, 48);
    uprez_picture_unref(&dst);
    uprez_destroy(&u);
    uprez_picture_unref(&huge);
    uprez_picture_unref(&good);
}

static void info_outlives_its_plan(void **state)
{
    (void)state;
    UprezInfo info = {.size = sizeof(info)};
    Uprez *u = upscaler(&net2, 1, (UprezParams){.precision = "fp32"});
    UprezPicture *a = picture("gray", 16, 12, 0), *b = picture("gray", 20, 8, 1), *dst;
    OK(uprez_plan(u, a, &info, &err));
    OK(uprez_send(u, b, &err));
    assert_int_equal(uprez_plan(u, a, &info, &err), UPREZ_ERR_USAGE);
    assert_int_equal(uprez_run(u, a, &dst, &err), UPREZ_ERR_USAGE);
    assert_null(dst);
    OK(uprez_receive(u, &dst, INT64_MAX, &err)); /* planned anew by the driver */
    assert_int_equal(dst->pts, b->pts);
    assert_string_equal(info.engine, "cpu");
    assert_string_equal(info.precision, "fp32");
    assert_non_null(strstr(info.numerics, "cpu/"));
    uprez_picture_unref(&dst);
    assert_int_equal(uprez_run(u, NULL, &dst, &err), UPREZ_ERR_USAGE);
    OK(uprez_run(u, a, &dst, &err)); /* and it did not drain */
    uprez_picture_unref(&dst);
    uprez_destroy(&u);
    uprez_picture_unref(&a);
    uprez_picture_unref(&b);
}

/* The share of the kernel in a blend is the kernel's picture, not the final resize's. */
static void blend_keeps_the_kernel(void **state)
{
    (void)state;
    UprezModel *bicubic;
    OK(uprez_model_load(&bicubic, ctx, "bicubic", NULL, &err));
    UprezPicture *src = picture("gbrpf32le", 24, 20, 4);
    UprezPicture *want = run(bicubic, (UprezParams){.scale = 3}, src);
    UprezPicture *got = run(bicubic, (UprezParams){.scale = 3, .blend = 1e-6}, src);
    UprezPicture *other = run(lanczos, (UprezParams){.scale = 3}, src);
    double near = 0, far = 0;
    for (int y = 0; y < 60; y++)
        for (int x = 0; x < 72; x++) {
            near = fmax(near, fabsf(sample(got, 0, x, y) - sample(want, 0, x, y)));
            far = fmax(far, fabsf(sample(other, 0, x, y) - sample(want, 0, x, y)));
        }
    assert_true(far > 1e-3);
    if (near > 1e-5) fail_msg("%g from the kernel's picture", near);
    uprez_picture_unref(&src);
    uprez_picture_unref(&want);
    uprez_picture_unref(&got);
    uprez_picture_unref(&other);
    uprez_model_unref(&bicubic);
}

/* Gray made of a video has the video's luma, whichever matrix that is. */
static void gray_of_a_video_is_its_luma(void **state)
{
    (void)state;
    UprezFormat gray;
    OK(uprez_format_from_name(&gray, "grayf32le"));
    UprezModel *net1 = tiny(4, 1, 1, 9);
    float v[2];
    for (int i = 0; i < 2; i++) {
        UprezPicture *src = picture("yuv444p", 8, 8, 0);
        for (int p = 0; p < 3; p++)
            for (int y = 0; y < 8; y++)
                memset((char *)src->plane[p] + y * src->stride[p], p == 0 ? 120 : p == 1 ? 100 : 190, 8);
        src->color.matrix = i ? 6 : 1;
        UprezPicture *dst = run(net1, (UprezParams){.format = gray}, src);
        assert_int_equal(dst->color.matrix, src->color.matrix);
        v[i] = sample(dst, 0, 4, 4);
        uprez_picture_unref(&src);
        uprez_picture_unref(&dst);
    }
    assert_true(v[0] != v[1]);
    uprez_model_unref(&net1);
}

typedef struct Side {
    UprezContext *own;
    UprezModel *model;
    const UprezPicture *src[2], *want[2];
    bool right;
} Side;

static void *one_side(void *arg)
{
    Side *s = arg;
    UprezParams p = {.size = sizeof(p), .models = &s->model, .n_models = 1};
    Uprez *u = NULL;
    s->right = uprez_create(&u, s->own, &p, NULL) == 0;
    for (int i = 0; i < 12 && s->right; i++) {
        UprezPicture *dst = NULL;
        s->right = uprez_run(u, s->src[i & 1], &dst, NULL) == 0;
        for (int y = 0; s->right && y < dst->height; y++)
            s->right = !memcmp((char *)dst->plane[0] + y * dst->stride[0],
                               (char *)s->want[i & 1]->plane[0] + y * s->want[i & 1]->stride[0],
                               (size_t)dst->width);
        uprez_picture_unref(&dst);
    }
    uprez_destroy(&u);
    return NULL;
}

/* Three upscalers at once on one context's workers, changing sizes all the time. */
static void upscalers_share_a_context(void **state)
{
    (void)state;
    UprezPicture *src[2] = {picture("gray", 33, 21, 1), picture("gray", 17, 29, 2)};
    UprezModel *models[3] = {net2, net4, lanczos};
    Side side[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        side[i] = (Side){.own = ctx, .model = models[i], .src = {src[0], src[1]}};
        Uprez *u = upscaler(&models[i], 1, (UprezParams){0});
        for (int k = 0; k < 2; k++) {
            UprezPicture *want;
            OK(uprez_run(u, src[k], &want, &err));
            side[i].want[k] = want;
        }
        uprez_destroy(&u);
    }
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, one_side, &side[i]), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_true(side[i].right);
        for (int k = 0; k < 2; k++) {
            UprezPicture *want = (UprezPicture *)(uintptr_t)side[i].want[k];
            uprez_picture_unref(&want);
        }
    }
    uprez_picture_unref(&src[0]);
    uprez_picture_unref(&src[1]);
}

static void wrong_use_is_one_sentence(void **state)
{
    (void)state;
    Uprez *u;
    UprezParams p = {.size = sizeof(p)};
    assert_int_equal(uprez_create(&u, ctx, &p, &err), UPREZ_ERR_USAGE);
    p.models = &net2;
    p.n_models = 1;
    p.filter = "nonsense";
    assert_int_equal(uprez_create(&u, ctx, &p, &err), UPREZ_ERR_USAGE);
    assert_non_null(strstr(err.text, "nonsense"));
    p.filter = NULL;
    UprezPicture *src = picture("gray", 16, 16, 0), *dst;
    const char *const bad[][2] = {{"warp9", NULL}, {NULL, "cuda"}, {NULL, "cuda:x"},
                                  {NULL, "cpu:-1"}, {NULL, "cpu:0x"}, {NULL, "cpu:99999999999"}};
    for (int i = 0; i < UPZ_COUNT(bad); i++) {
        p.engine = bad[i][0];
        p.device = bad[i][1];
        OK(uprez_create(&u, ctx, &p, &err));
        assert_true(uprez_plan(u, src, NULL, &err) < 0);
        assert_true(strlen(err.text) > 10);
        assert_true(uprez_run(u, src, &dst, &err) < 0); /* and again for the picture itself */
        assert_null(dst);
        uprez_destroy(&u);
    }
    p.engine = p.device = NULL;
    p.scale = NAN;
    assert_int_equal(uprez_create(&u, ctx, &p, &err), UPREZ_ERR_USAGE);
    p.scale = 0;
    p.blend = 0.5;
    p.size = offsetof(UprezParams, blend); /* a caller that knows no blend: what lies there is not read */
    OK(uprez_create(&u, ctx, &p, &err));
    src->memory = UPREZ_MEM_CUDA;
    src->device = 12; /* there is no such GPU */
    assert_int_equal(uprez_plan(u, src, NULL, &err), UPREZ_ERR_DEVICE);
    assert_int_equal(uprez_run(u, src, &dst, &err), UPREZ_ERR_DEVICE);
    src->memory = 7;
    assert_int_equal(uprez_send(u, src, &err), UPREZ_ERR_USAGE);
    src->device = 0;
    src->memory = UPREZ_MEM_HOST;
    uprez_destroy(&u);
    p.size = 0;
    assert_int_equal(uprez_create(&u, ctx, &p, &err), UPREZ_ERR_USAGE);
    uprez_picture_unref(&src);
}

static void result_sizes(void **state)
{
    (void)state;
    int w, h;
    upz_result_size(&net4, 1, 0, 0, 0, 100, 50, &w, &h);
    assert_true(w == 400 && h == 200);
    upz_result_size(&net4, 1, 1.5, 0, 0, 101, 51, &w, &h);
    assert_true(w == 152 && h == 76);
    upz_result_size(&net4, 1, 0, 0, 2160, 1920, 1080, &w, &h);
    assert_true(w == 3840 && h == 2160);
    upz_result_size(&lanczos, 1, 0, 0, 0, 100, 50, &w, &h);
    assert_true(w == 200 && h == 100);
}

/* Lanes of several steps, with pictures of their own between them, in flight side by side. */
static void several_steps_in_flight(void **state)
{
    (void)state;
    enum { N = 6 };
    UprezModel *const one[] = {net4}, *const two[] = {net2, net4}, *const mixed[] = {lanczos, net2};
    const struct {
        UprezModel *const *models;
        int n, depth;
        UprezParams params;
    } lanes[] = {{one, 1, 2, {.scale = 2.5}}, {two, 2, 2, {0}}, {one, 1, 2, {.blend = 0.3}},
                 {one, 1, 1, {.tta = 1}}, {mixed, 2, 0, {.scale = 3}},
                 {two, 2, 1, {.scale = 3, .depth = 1}}};
    for (int k = 0; k < UPZ_COUNT(lanes); k++) {
        UprezPicture *src[N], *want[N], *got;
        for (int i = 0; i < N; i++) {
            src[i] = picture("yuv420p", 30, 22, i);
            Uprez *u = upscaler(lanes[k].models, lanes[k].n, lanes[k].params);
            OK(uprez_run(u, src[i], &want[i], &err));
            uprez_destroy(&u);
        }
        Uprez *u = upscaler(lanes[k].models, lanes[k].n, lanes[k].params);
        UprezInfo info = {.size = sizeof(info)};
        OK(uprez_plan(u, src[0], &info, &err));
        if (lanes[k].depth) assert_int_equal(info.depth, lanes[k].depth);
        for (int sent = 0, n = 0; n < N;) {
            if (sent < N && !uprez_send(u, src[sent], &err)) {
                sent++;
                continue;
            }
            OK(uprez_receive(u, &got, -1, &err));
            same_bytes(got, want[n]);
            assert_int_equal(got->pts, n);
            uprez_picture_unref(&got);
            uprez_picture_unref(&want[n]);
            uprez_picture_unref(&src[n++]);
        }
        uprez_destroy(&u);
    }
}

static void count_free(void *cookie) { ++*(int *)cookie; }

/* A picture over memory with no byte to spare, guards around every plane. */
enum { GUARD = 64 };
static UprezPicture *tight(const UprezPicture *like, int w, int h, uint8_t **memory, size_t *size,
                           int *freed)
{
    UprezPicture desc = {.format = like->format, .width = w, .height = h}, *p;
    *size = GUARD;
    for (int i = 0; i < like->format.n_plane; i++)
        *size += upz_plane_row_bytes(&like->format, i, w) *
                     (size_t)upz_plane_height(&like->format, i, h) + GUARD;
    *memory = malloc(*size);
    memset(*memory, 0xa5, *size);
    uint8_t *at = *memory + GUARD;
    for (int i = 0; i < like->format.n_plane; i++) {
        desc.plane[i] = at;
        desc.stride[i] = (ptrdiff_t)upz_plane_row_bytes(&like->format, i, w);
        at += desc.stride[i] * upz_plane_height(&like->format, i, h) + GUARD;
    }
    OK(uprez_picture_wrap(&p, &desc, count_free, freed, &err));
    return p;
}

static void guards_hold(const UprezPicture *p, const uint8_t *memory)
{
    const uint8_t *at = memory;
    for (int i = 0; i <= p->format.n_plane; i++) {
        for (int k = 0; k < GUARD; k++) assert_int_equal(at[k], 0xa5);
        if (i == p->format.n_plane) break;
        at += GUARD + p->stride[i] * upz_plane_height(&p->format, i, p->height);
    }
}

/* Results go where the caller says: the same pixels, no byte beside them, released by the caller's
 * own calls; what is kept for reuse: test_reuse. */
static void results_in_the_callers_memory(void **state)
{
    (void)state;
    static const char *const formats[] = {"yuv420p", "rgb24", "gbrpf32le", "yuv420p10le", "rgba"};
    UprezModel *const models[] = {net2, lanczos};
    for (int f = 0; f < 5; f++)
        for (int k = 0; k < 3; k++) {
            const int w = 26 + f, h = 19;
            UprezModel *m = models[k > 0];
            UprezParams params = {.scale = k == 2 ? 1.5 : 2, .no_reuse = 1};
            UprezPicture *src = picture(formats[f], w, h, 6), *want = run(m, params, src);
            Uprez *u = upscaler(&m, 1, params);
            uint8_t *memory[3];
            UprezPicture *to[3], *got;
            int freed = 0;
            size_t size;
            for (int i = 0; i < 3; i++)
                to[i] = tight(src, want->width + (i == 1), want->height, &memory[i], &size, &freed);
            for (int i = 0; i < 3; i++) {
                OK(uprez_send_to(u, src, to[i], &err));
                uprez_picture_unref(&to[i]);
            }
            assert_int_equal(freed, 0);
            OK(uprez_receive(u, &got, -1, &err));
            assert_ptr_equal(got->plane[0], memory[0] + GUARD);
            assert_int_equal(got->pts, src->pts);
            assert_memory_equal(&got->color, &want->color, sizeof(got->color));
            same_bytes(got, want);
            guards_hold(got, memory[0]);
            uprez_picture_unref(&got);
            assert_int_equal(freed, 1);
            /* of another size: an error of that picture alone */
            assert_int_equal(uprez_receive(u, &got, -1, &err), UPREZ_ERR_USAGE);
            assert_null(got);
            assert_int_equal(freed, 2);
            OK(uprez_receive(u, &got, -1, &err));
            same_bytes(got, want);
            uprez_picture_unref(&got);
            assert_int_equal(freed, 3);
            for (int i = 0; i < 3; i++) free(memory[i]);
            /* not collected: released by destroy */
            to[0] = tight(src, want->width, want->height, &memory[0], &size, &freed);
            OK(uprez_send_to(u, src, to[0], &err));
            uprez_picture_unref(&to[0]);
            uprez_destroy(&u);
            assert_int_equal(freed, 4);
            free(memory[0]);
            uprez_picture_unref(&src);
            uprez_picture_unref(&want);
        }
}

/* As many pictures inside as the engine can work on and one more, or as the caller says. */
static void as_many_as_the_engine_takes(void **state)
{
    (void)state;
    UprezPicture *src = picture("yuv420p", 32, 24, 1), *dst;
    for (int depth = 0; depth <= 20; depth += 5) {
        Uprez *u = upscaler(&net2, 1, (UprezParams){.depth = depth});
        UprezInfo info = {.size = sizeof(info)};
        OK(uprez_plan(u, src, &info, &err));
        assert_true(info.depth >= 1);
        int sent = 0, r;
        while (!(r = uprez_send(u, src, &err))) sent++;
        assert_int_equal(r, UPREZ_AGAIN);
        assert_int_equal(sent, depth ? depth : info.depth + 1);
        for (int i = 0; i < sent; i++) {
            OK(uprez_receive(u, &dst, -1, &err));
            uprez_picture_unref(&dst);
        }
        uprez_destroy(&u);
    }
    uprez_picture_unref(&src);
}

static void *drop(void *picture)
{
    UprezPicture *p = picture;
    uprez_picture_unref(&p);
    return NULL;
}

/* What the caller let go of is used again, what he holds never, and results outlive the upscaler. */
static void memory_of_results_goes_round(void **state)
{
    (void)state;
    UprezPicture *src[] = {picture("gbrpf32le", 40, 30, 1), picture("gbrpf32le", 40, 30, 2)};
    UprezPicture *other = picture("gbrpf32le", 24, 30, 1), *want[2], *held, *dst;
    for (int i = 0; i < 2; i++) want[i] = run(net2, (UprezParams){0}, src[i]);
    Uprez *u = upscaler(&net2, 1, (UprezParams){.no_reuse = 1});
    OK(uprez_run(u, src[0], &held, &err));
    OK(uprez_run(u, src[1], &dst, &err));
    const void *first = dst->plane[0];
    assert_ptr_not_equal(held->plane[0], first);
    UprezPicture *again = uprez_picture_ref(dst);
    uprez_picture_unref(&dst);
    same_bytes(again, want[1]); /* a reference is left */
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drop, again), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 5; i++) {
        OK(uprez_run(u, src[i % 2], &dst, &err));
        assert_ptr_equal(dst->plane[0], first);
        same_bytes(dst, want[i % 2]);
        assert_int_equal(dst->pts, src[i % 2]->pts);
        uprez_picture_unref(&dst);
    }
    OK(uprez_run(u, other, &dst, &err)); /* fitted to the same size: the same memory */
    assert_ptr_equal(dst->plane[0], first);
    same_bytes(held, want[0]);
    uprez_destroy(&u);
    same_bytes(held, want[0]);
    uprez_picture_unref(&held);
    uprez_picture_unref(&dst);
    for (int i = 0; i < 2; i++) {
        uprez_picture_unref(&src[i]);
        uprez_picture_unref(&want[i]);
    }
    uprez_picture_unref(&other);
}

/* Only so much lies idle, and none of a size that is over. */
static void idle_memory_is_bounded(void **state)
{
    (void)state;
    enum { N = 4 };
    UpzResults *results;
    UprezPicture *p[N];
    const void *seen[N];
    UprezFormat f;
    OK(uprez_format_from_name(&f, "gbrpf32le"));
    OK(upz_results_create(&results, &err));
    for (int i = 0; i < N; i++) OK(upz_results_take(results, &p[i], &f, 3000, 4000, &err));
    for (int i = 0; i < N; i++) {
        seen[i] = p[i]->plane[0];
        uprez_picture_unref(&p[i]); /* 137 MiB each: one may stay */
    }
    OK(upz_results_take(results, &p[0], &f, 3000, 4000, &err));
    assert_ptr_equal(p[0]->plane[0], seen[0]);
    OK(upz_results_take(results, &p[1], &f, 16, 16, &err));
    uprez_picture_unref(&p[0]); /* of the wrong size by now */
    OK(upz_results_take(results, &p[0], &f, 16, 16, &err));
    assert_int_equal(p[0]->width, 16);
    seen[0] = p[0]->plane[0];
    uprez_picture_unref(&p[0]);
    OK(upz_results_take(results, &p[0], &f, 16, 16, &err));
    assert_ptr_equal(p[0]->plane[0], seen[0]);
    upz_results_release(&results);
    assert_null(results);
    upz_results_release(&results);
    for (int i = 0; i < 2; i++) {
        memset(p[i]->plane[0], 1, 64);
        uprez_picture_unref(&p[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(result_sizes),
        cmocka_unit_test(equals_reference),
        cmocka_unit_test(order_timing_and_flow),
        cmocka_unit_test(several_steps_in_flight),
        cmocka_unit_test(results_in_the_callers_memory),
        cmocka_unit_test(memory_of_results_goes_round),
        cmocka_unit_test(idle_memory_is_bounded),
        cmocka_unit_test(as_many_as_the_engine_takes),
        cmocka_unit_test(size_changes_are_fitted),
        cmocka_unit_test(any_size_is_model_then_resize),
        cmocka_unit_test(chains_apply_in_turn),
        cmocka_unit_test(blend_mixes_with_the_plain_picture),
        cmocka_unit_test(tta_does_not_care_about_mirrors),
        cmocka_unit_test(alpha_goes_through_the_network_too),
        cmocka_unit_test(a_failed_plan_does_not_fix_the_size),
        cmocka_unit_test(info_outlives_its_plan),
        cmocka_unit_test(blend_keeps_the_kernel),
        cmocka_unit_test(gray_of_a_video_is_its_luma),
        cmocka_unit_test(upscalers_share_a_context),
        cmocka_unit_test(wrong_use_is_one_sentence),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
