/* Results of any size by engine cuda on the emulated driver: beside the CPU's way (the network's picture in
 * float, then the resampler), in both kinds of memory, in tiles, and with what fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_fake.h"
#include "engine/cuda/cuda_api.h"
#include "engine/engine.h"
#include "picture/format.h"
#include "picture/neutral.h"
#include "uprez/uprez.h"

static const struct {
    const char *name;
    GraphBuild build;
    int channels, w, h;
    const char *src, *dst, *filter;
    double scale;
    int out_w, out_h;
} cases[] = {
    {"2x network to 3x", srvgg20, 3, 37, 11, "nv12", "nv12", NULL, 3, 0, 0},
    {"4x network to 1.5x", srvgg64, 3, 26, 14, "p010le", "p010le", NULL, 1.5, 0, 0},
    {"to an odd size", srvgg20, 3, 45, 17, "nv12", "nv12", "spline36", 0, 61, 43},
    {"one axis, wider", srvgg20, 3, 40, 9, "rgb24", "rgb24", "bicubic", 0, 131, 18},
    {"one axis, lower", srvgg20, 3, 40, 15, "rgb24", "gbrp10le", NULL, 0, 80, 13},
    {"wider and lower", srvgg20, 3, 40, 15, "yuv420p10le", "nv12", NULL, 0, 101, 13},
    {"narrower and higher", srvgg20, 3, 40, 9, "gbrp", "yuv444p", NULL, 0, 35, 41},
    {"much smaller", srvgg20, 3, 90, 40, "nv12", "rgb24", NULL, 0, 17, 7},
    {"smaller than the taps", srvgg_clean, 3, 5, 3, "gbrp", "gbrp", NULL, 0, 19, 11},
    {"bilinear", srvgg_clean, 3, 30, 20, "gbrpf32le", "gbrpf32le", "bilinear", 0, 47, 13},
    {"luma", srvgg20, 1, 21, 13, "gray", "gray16le", NULL, 2.5, 0, 0},
};

static void sizes_equal_the_cpus(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < UPZ_COUNT(cases); i++) {
            UprezParams p = {.scale = cases[i].scale, .width = cases[i].out_w,
                             .height = cases[i].out_h, .filter = cases[i].filter, .engine = "cpu"};
            char what[96];
            if (k && i > 2) continue;
            capability(k ? 80 : 90);
            OK(uprez_format_from_name(&p.format, cases[i].dst));
            UprezModel *m = graph_model(cases[i].build, cases[i].channels);
            UprezPicture *src = picture(cases[i].src, cases[i].w, cases[i].h, i);
            UprezPicture *want = result(m, p, src);
            const uint64_t launches = count("launch_resize_image"), mistakes = count("mistakes");
            p.engine = "cuda";
            UprezPicture *got = result(m, p, src);
            assert_int_equal(count("launch_resize_image") - launches,
                             strncmp(cases[i].name, "one axis", 8) ? 2 : 1);
            assert_int_equal(count("mistakes"), mistakes);
            snprintf(what, sizeof(what), "%s, capability %d", cases[i].name, k ? 80 : 90);
            near(got, want, what);
            uprez_picture_unref(&src);
            uprez_picture_unref(&want);
            uprez_picture_unref(&got);
            graph_model_free(m);
        }
    capability(90);
}

static void filters_differ(void **state)
{
    (void)state;
    static const char *const names[] = {"lanczos", "bicubic", "spline36", "bilinear"};
    UprezModel *m = graph_model(srvgg_clean, 3);
    UprezPicture *src = picture("rgb24", 30, 20, 1), *got[4];
    for (int i = 0; i < 4; i++) {
        UprezParams p = {.scale = 1.7, .filter = names[i], .engine = "cuda"};
        UprezInfo info = {.size = sizeof(info)};
        char id[64];
        Uprez *u = upscaler(m, p);
        OK(uprez_plan(u, src, &info, &err));
        snprintf(id, sizeof(id), "cuda/fp16-sm90/1 + cuda/resample-%s/1", names[i]);
        assert_string_equal(info.numerics, id);
        assert_string_equal(info.engine, "cuda");
        assert_int_equal(info.depth, 3);
        OK(uprez_run(u, src, &got[i], &err));
        uprez_destroy(&u);
        p.engine = "cpu";
        UprezPicture *want = result(m, p, src);
        double most;
        near(got[i], want, names[i]);
        for (int k = 0; k < i; k++) assert_true(psnr(got[k], want, &most) < psnr(got[i], want, &most) - 3);
        uprez_picture_unref(&want);
    }
    for (int i = 0; i < 4; i++) uprez_picture_unref(&got[i]);
    uprez_picture_unref(&src);
    graph_model_free(m);
}

/* ---- pictures in the GPU's memory ---- */

static void nothing_is_copied(void **state)
{
    (void)state;
    enum { N = 4 };
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *host[2], *src[2], *other, *out, *back;
    UprezPicture *want;
    void *context, *stream;
    int device;
    CU(cu.device_get(&device, 0));
    CU(cu.primary_retain(&context, device));
    CU(cu.context_push(context));
    CU(cu.stream_create(&stream, 1));
    Uprez *u = upscaler(m, (UprezParams){.scale = 3, .no_reuse = 1});
    for (int i = 0; i < 2; i++) {
        host[i] = picture("nv12", 37, 13, i);
        src[i] = on_device(host[i], stream);
    }
    OK(uprez_plan(u, src[0], NULL, &err));
    const uint64_t up = count("host_to_device"), down = count("device_to_host");
    for (int i = 0; i < N; i++) {
        OK(uprez_run(u, src[i % 2], &out, &err));
        assert_int_equal(out->memory, UPREZ_MEM_CUDA);
        assert_int_equal(out->width, 111);
        if (i < N - 1) uprez_picture_unref(&out);
    }
    assert_int_equal(count("host_to_device"), up);
    assert_int_equal(count("device_to_host") - down, N * 4); /* whether there was a NaN */
    back = to_host(out);
    want = result(m, (UprezParams){.scale = 3, .engine = "cpu"}, host[(N - 1) % 2]);
    near(back, want, "in the GPU's memory");
    uprez_picture_unref(&out);
    uprez_picture_unref(&back);

    /* a picture of another size is fitted to the first result's */
    uprez_picture_unref(&src[0]);
    other = picture("nv12", 50, 20, 5);
    src[0] = on_device(other, stream);
    OK(uprez_run(u, src[0], &out, &err));
    back = to_host(out);
    uprez_picture_unref(&out);
    uprez_picture_unref(&want);
    want = result(m, (UprezParams){.width = 111, .height = 39, .engine = "cpu"}, other);
    near(back, want, "another size midstream");
    uprez_destroy(&u);
    uprez_picture_unref(&back);
    uprez_picture_unref(&want);
    uprez_picture_unref(&other);
    for (int i = 0; i < 2; i++) {
        uprez_picture_unref(&host[i]);
        uprez_picture_unref(&src[i]);
    }
    CU(cu.stream_destroy(stream));
    CU(cu.context_pop(&context));
    cu.primary_release(device);
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

/* Two networks, between them float R G B in the GPU's memory, and a size that is neither's. */
/* What the host's lane does behind a network, and CUDA pictures' lane does not yet (docs/cuda.md). */
static void make_neutral(const UprezPicture *src, UprezPicture *result)
{
    UpzNeutral *n;
    if (result->format.model != UPREZ_RGB || !upz_neutral_applies(src, result)) return;
    OK(upz_neutral_create(&n, ctx, src, result, &err));
    upz_neutral_run(n, src, result, &(UprezRect){0, 0, result->width, result->height}, 1);
    upz_neutral_destroy(&n);
}

static void chains_stay_there(void **state)
{
    (void)state;
    enum { N = 7 };
    static const struct {
        const char *src, *dst;
        int channels, n;
        double scale;
    } chains[] = {{"nv12", "nv12", 3, 2, 0}, {"p010le", "nv12", 3, 2, 3}, {"nv12", "rgb24", 3, 3, 0},
                  {"gray", "gray", 1, 2, 0}, {"gray", "rgb24", 3, 2, 0}};
    void *context, *stream;
    int device;
    CU(cu.device_get(&device, 0));
    CU(cu.primary_retain(&context, device));
    CU(cu.context_push(context));
    CU(cu.stream_create(&stream, 1));
    for (int i = 0; i < UPZ_COUNT(chains); i++) {
        const uint64_t before = count("allocated");
        UprezModel *m[3] = {graph_model(srvgg_clean, chains[i].channels),
                            graph_model(srvgg20, chains[i].channels),
                            graph_model(srvgg_clean, chains[i].channels)};
        UprezParams p = {.size = sizeof(p), .models = m, .n_models = chains[i].n,
                         .scale = chains[i].scale, .runtime_path = fake_path, .engine = "cpu"};
        UprezPicture *host[3], *want[3], *src[3], *out, *back;
        UprezInfo info = {.size = sizeof(info)};
        Uprez *u, *cpu;
        OK(uprez_format_from_name(&p.format, chains[i].dst));
        OK(uprez_create(&cpu, ctx, &p, &err));
        p.engine = "auto";
        p.no_reuse = 1; /* comparisons are copied too: test_cuda_reuse */
        OK(uprez_create(&u, ctx, &p, &err));
        for (int k = 0; k < 3; k++) {
            host[k] = picture(chains[i].src, 29, 13, k);
            src[k] = on_device(host[k], stream);
            OK(uprez_run(cpu, host[k], &want[k], &err));
        }
        uprez_destroy(&cpu);
        OK(uprez_plan(u, src[0], &info, &err));
        assert_string_equal(info.engine, "cuda");
        assert_int_equal(info.depth, 3);
        const uint64_t up = count("host_to_device"), down = count("device_to_host");
        const uint64_t held = count("allocations");
        int sent = 0, received = 0;
        uint64_t shown = 0;
        while (received < N) {
            while (sent < N) {
                int r = uprez_send(u, src[sent % 3], &err);
                if (r == UPREZ_AGAIN) break;
                OK(r);
                sent++;
            }
            OK(uprez_receive(u, &out, -1, &err));
            assert_int_equal(out->memory, UPREZ_MEM_CUDA);
            const uint64_t was = count("device_to_host");
            back = to_host(out);
            shown += count("device_to_host") - was;
            make_neutral(host[received % 3], back);
            near(back, want[received % 3], chains[i].src);
            uprez_picture_unref(&back);
            uprez_picture_unref(&out);
            received++;
        }
        assert_int_equal(count("host_to_device"), up);
        /* the driver's thread may copy its words while a result is shown */
        assert_true(count("device_to_host") - down <= shown + (uint64_t)(N * chains[i].n * 4));
        assert_true(count("allocations") - held <= 4); /* results, which go round */
        uprez_destroy(&u);
        for (int k = 0; k < 3; k++) {
            uprez_picture_unref(&host[k]);
            uprez_picture_unref(&want[k]);
            uprez_picture_unref(&src[k]);
            graph_model_free(m[k]);
        }
        assert_int_equal(count("allocated"), before);
    }
    /* a network for luma gives gray only */
    UprezModel *luma = graph_model(srvgg20, 1);
    UprezParams p = {.engine = "cuda"};
    OK(uprez_format_from_name(&p.format, "rgb24"));
    Uprez *u = upscaler(luma, p);
    UprezPicture *host = picture("gray", 20, 10, 0), *src = on_device(host, stream), *out;
    assert_int_equal(uprez_run(u, src, &out, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "luma alone"));
    uprez_destroy(&u);
    uprez_picture_unref(&src);
    uprez_picture_unref(&host);
    graph_model_free(luma);
    CU(cu.stream_destroy(stream));
    CU(cu.context_pop(&context));
    cu.primary_release(device);
    assert_int_equal(count("mistakes"), 0);
}

/* ---- tiles, and what fails ---- */

static UprezPicture *empty(const char *format, int w, int h)
{
    UprezFormat f;
    UprezPicture *p;
    OK(uprez_format_from_name(&f, format));
    OK(uprez_picture_alloc(&p, &f, w, h, &err));
    p->color.matrix = f.model == UPREZ_YUV ? 1 : 0;
    upz_color_resolve(&p->color, &f, w, h);
    return p;
}

static int run_limited(UpzEngine *e, const UprezPicture *src, UprezPicture *dst, size_t limit,
                       UpzPlan *p)
{
    const UpzShape s = {.width = src->width, .height = src->height, .src = src->format,
                        .dst = dst->format, .src_color = src->color, .dst_color = dst->color};
    UpzTask t = {.src = src, .dst = dst};
    int r = upz_engine_cuda.plan(e, &s, limit, p, &err);
    if (r >= 0) {
        r = upz_engine_cuda.submit(e, &t);
        if (r >= 0) upz_engine_cuda.wait(e, &t, -1);
        if (r >= 0) r = t.result;
        err = t.err;
    }
    return r;
}

static void tiles_equal_the_whole(void **state)
{
    (void)state;
    static const int outs[][2] = {{401, 145}, {71, 200}, {120, 31}};
    UprezModel *m = graph_model(grouped, 3);
    UprezPicture *src = picture("nv12", 261, 70, 2);
    const UpzDevice device = {.kind = "cuda"};
    for (int i = 0; i < UPZ_COUNT(outs); i++) {
        UpzEngine *e;
        UpzPlan p;
        UprezPicture *want = empty("nv12", outs[i][0], outs[i][1]);
        UprezPicture *got = empty("nv12", outs[i][0], outs[i][1]);
        const UpzEngineParams ep = {.runtime_path = fake_path, .out_w = outs[i][0],
                                    .out_h = outs[i][1], .filter = UPZ_RESIZE_LANCZOS};
        OK(upz_engine_cuda.open(&e, ctx, m, &device, &ep, &err));
        const uint64_t loads = count("launch_load_map");
        OK(run_limited(e, src, want, 0, &p));
        assert_int_equal(count("launch_load_map") - loads, 1);
        assert_int_equal(p.width, outs[i][0]);
        assert_true(p.exact && p.reach_x > 1 && p.reach_y > 1);
        OK(run_limited(e, src, got, p.need * 8 / 10, &p));
        assert_true(count("launch_load_map") - loads > 2);
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < upz_component_height(&got->format, c, got->height); y++)
                for (int x = 0; x < upz_component_width(&got->format, c, got->width); x++)
                    if (code(got, c, x, y) != code(want, c, x, y))
                        fail_msg("%dx%d: component %d (%d, %d) differs", outs[i][0], outs[i][1], c, x, y);
        assert_int_equal(run_limited(e, src, got, 100000, &p), UPREZ_ERR_MEMORY);
        upz_engine_cuda.close(&e);
        uprez_picture_unref(&got);
        uprez_picture_unref(&want);
    }
    uprez_picture_unref(&src);
    graph_model_free(m);
}

static void what_is_promised_of_changes(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("gbrp", 60, 40, 2), *one = empty("gbrp", 95, 97),
                 *two = empty("gbrp", 95, 97);
    const UpzDevice device = {.kind = "cuda"};
    const UpzEngineParams ep = {.runtime_path = fake_path, .out_w = 95, .out_h = 97,
                                .filter = UPZ_RESIZE_LANCZOS};
    UpzEngine *e;
    UpzPlan p;
    int far_x = 0, far_y = 0;
    OK(upz_engine_cuda.open(&e, ctx, m, &device, &ep, &err));
    OK(run_limited(e, src, one, 0, &p));
    for (int c = 0; c < 3; c++) *sample(src, c, 30, 20) ^= 0xff;
    OK(run_limited(e, src, two, 0, &p));
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 97; y++)
            for (int x = 0; x < 95; x++)
                if (code(one, c, x, y) != code(two, c, x, y)) {
                    far_x = UPZ_MAX(far_x, (int)fabs(x + 0.5 - 30.5 * 95 / 60));
                    far_y = UPZ_MAX(far_y, (int)fabs(y + 0.5 - 20.5 * 97 / 40));
                }
    assert_true(far_x > 2 && far_x <= p.reach_x && p.reach_x < 30);
    assert_true(far_y > 2 && far_y <= p.reach_y && p.reach_y < 40);
    upz_engine_cuda.close(&e);
    uprez_picture_unref(&src);
    uprez_picture_unref(&one);
    uprez_picture_unref(&two);
    graph_model_free(m);
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    static const char *const calls[] = {"cuMemcpyHtoDAsync_v2", "cuMemAlloc_v2", "cuLaunchKernelEx",
                                        "cuModuleGetFunction"};
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 40, 12, 1), *dst = empty("nv12", 99, 31);
    UprezPicture *want = result(m, (UprezParams){.engine = "cuda", .width = 99, .height = 31}, src);
    const UpzDevice device = {.kind = "cuda"};
    const UpzEngineParams ep = {.runtime_path = fake_path, .out_w = 99, .out_h = 31,
                                .filter = UPZ_RESIZE_LANCZOS};
    for (int i = 0; i < UPZ_COUNT(calls); i++)
        for (int n = 1, failed = 1; (failed || i == 2) && n < 40; n++) {
            char text[64];
            double most;
            UpzEngine *e = NULL;
            UpzPlan p;
            const uint64_t before = count("allocated");
            snprintf(text, sizeof(text), "%s:%d", calls[i], n);
            err = (UprezError){0};
            setenv("FAKE_CUDA_FAIL", text, 1);
            int r = upz_engine_cuda.open(&e, ctx, m, &device, &ep, &err);
            if (r >= 0) r = run_limited(e, src, dst, 0, &p);
            unsetenv("FAKE_CUDA_FAIL");
            failed = r < 0;
            assert_true(failed || n > 2 || i == 2); /* weights, and tables */
            /* of launches some are recorded only: then they are made one by one */
            if (!failed) assert_true(psnr(dst, want, &most) > 900);
            if (failed && (r != UPREZ_ERR_DEVICE || strlen(err.text) < 20))
                fail_msg("%s: %d '%s'", text, r, err.text);
            if (e) upz_engine_cuda.close(&e);
            if (count("allocated") != before) fail_msg("%s leaves memory behind", text);
        }
    assert_int_equal(count("mistakes"), 0);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

/* A network's layers are one call of the driver, in tiles too; where it has no such call, or the call
 * fails while it is made, they are launched one by one, with the same bytes. */
static void launched_as_one(void **state)
{
    (void)state;
    static const char *const fails[] = {"", "cuStreamBeginCapture_v2:0",
                                        "cuGraphInstantiateWithFlags:0"};
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 60, 20, 1), *got, *want = NULL;
    for (int i = 0; i < UPZ_COUNT(fails); i++) {
        double most;
        Uprez *u = upscaler(m, (UprezParams){.engine = "cuda", .no_reuse = 1});
        if (*fails[i]) setenv("FAKE_CUDA_FAIL", fails[i], 1);
        OK(uprez_plan(u, src, NULL, &err));
        const uint64_t graphs = count("graphs"), launches = count("launches");
        for (int n = 0; n < 3; n++) {
            OK(uprez_run(u, src, &got, &err));
            if (!want) want = uprez_picture_ref(got);
            assert_true(psnr(got, want, &most) > 900);
            uprez_picture_unref(&got);
        }
        unsetenv("FAKE_CUDA_FAIL");
        assert_int_equal(count("graphs") - graphs, i ? 0 : 3);
        assert_int_equal(count("launches") - launches, 3 * 5); /* load, three layers, store */
        uprez_destroy(&u);
    }
    uprez_picture_unref(&src);
    src = picture("nv12", 150, 50, 1);
    UprezPicture *dst = empty("nv12", 300, 100);
    const UpzDevice device = {.kind = "cuda"};
    const UpzEngineParams ep = {.runtime_path = fake_path};
    UpzEngine *e;
    UpzPlan p;
    OK(upz_engine_cuda.open(&e, ctx, m, &device, &ep, &err));
    OK(run_limited(e, src, dst, 0, &p));
    const uint64_t graphs = count("graphs");
    OK(run_limited(e, src, dst, p.need * 9 / 10, &p));
    assert_true(count("graphs") - graphs >= 2);
    upz_engine_cuda.close(&e);
    assert_int_equal(count("mistakes"), 0);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

static int overflowing(UpzGraph *g, int in)
{
    int v = srvgg20(g, in);
    for (size_t i = 0; i < g->n_tensors && i < 6; i++)
        for (int64_t k = 0; k < g->tensors[i].count; k++) g->tensors[i].data[k] *= 3e3f;
    return v;
}

/* Where engine cuda cannot be used, the CPU's way is taken whole, and said once. */
static void other_ways(void **state)
{
    (void)state;
    UprezModel *bad = graph_model(overflowing, 3), *good = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 38, 12, 1);
    UprezInfo info = {.size = sizeof(info)};
    lines[0] = 0;
    Uprez *u = upscaler(bad, (UprezParams){.scale = 3});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    const char *said = strstr(lines, "self-test");
    assert_non_null(said);
    assert_null(strstr(said + 1, "self-test of"));
    assert_null(strchr(strchr(lines, '\n') + 1, '\n'));
    uprez_destroy(&u);
    u = upscaler(bad, (UprezParams){.scale = 3, .device = "cuda"});
    assert_int_equal(uprez_plan(u, src, &info, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "self-test"));
    uprez_destroy(&u);

    /* what stands beside a network keeps the resize on the CPU */
    const struct {
        UprezParams p;
        uint64_t launches;
    } ways[] = {{{.scale = 3, .engine = "cuda"}, 2},
                {{.scale = 3, .engine = "cuda", .blend = 0.5}, 0},
                {{.scale = 3, .engine = "cuda", .tta = 1}, 0},
                {{.engine = "cuda"}, 0}};
    for (int i = 0; i < UPZ_COUNT(ways); i++) {
        UprezParams p = ways[i].p;
        const uint64_t before = count("launch_resize_image");
        UprezPicture *got = result(good, p, src);
        assert_int_equal(count("launch_resize_image") - before, ways[i].launches);
        p.engine = "cpu";
        UprezPicture *want = result(good, p, src);
        near(got, want, "a way");
        uprez_picture_unref(&got);
        uprez_picture_unref(&want);
    }
    uprez_picture_unref(&src);
    graph_model_free(bad);
    graph_model_free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_equal_the_cpus),
        cmocka_unit_test(filters_differ),
        cmocka_unit_test(nothing_is_copied),
        cmocka_unit_test(chains_stay_there),
        cmocka_unit_test(tiles_equal_the_whole),
        cmocka_unit_test(what_is_promised_of_changes),
        cmocka_unit_test(failures_leave_nothing),
        cmocka_unit_test(launched_as_one),
        cmocka_unit_test(other_ways),
    };
    return fake_driver() ? cmocka_run_group_tests(tests, fake_setup, fake_teardown) : 77;
}
