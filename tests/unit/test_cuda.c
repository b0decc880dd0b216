/* Engine cuda on a driver that runs its kernels on the host (tests/fake/cuda): whole networks beside the
 * CPU engine, pictures in both kinds of memory, tiles, short memory, failing calls, and what is copied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda_fake.h"

extern const UpzEngineOps upz_engine_cpu;

static UprezPicture *result_for(const UprezModel *m, const UprezPicture *src, const char *format)
{
    UprezFormat f;
    UprezPicture *p;
    OK(uprez_format_from_name(&f, format));
    OK(uprez_picture_alloc(&p, &f, src->width * m->facts.scale_num / m->facts.scale_den,
                           src->height * m->facts.scale_num / m->facts.scale_den, &err));
    p->color.matrix = f.model == UPREZ_YUV ? 1 : 0;
    upz_color_resolve(&p->color, &f, p->width, p->height);
    for (int i = 0; i < f.n_plane; i++)
        memset(p->plane[i], 0x5a, (size_t)p->stride[i] * (size_t)upz_plane_height(&f, i, p->height));
    return p;
}

/* ---- engines ---- */

static UpzShape shape_of(const UprezPicture *src, const UprezPicture *dst)
{
    return (UpzShape){.width = src->width, .height = src->height, .src = src->format,
                      .dst = dst->format, .src_memory = src->memory, .dst_memory = dst->memory,
                      .src_color = src->color, .dst_color = dst->color};
}

static UpzEngine *open_cuda(UprezModel *m, void *context)
{
    UpzEngine *e = NULL;
    const UpzDevice device = {.kind = "cuda", .native_context = context};
    OK(upz_engine_cuda.open(&e, ctx, m, &device, &(UpzEngineParams){.runtime_path = fake_path}, &err));
    return e;
}

static UpzPlan plan_for(UpzEngine *e, const UprezPicture *src, const UprezPicture *dst, size_t limit)
{
    const UpzShape s = shape_of(src, dst);
    UpzPlan p;
    OK(upz_engine_cuda.plan(e, &s, limit, &p, &err));
    assert_true(p.exact && p.width == dst->width && p.height == dst->height);
    return p;
}

static void run_one(UpzEngine *e, const UprezPicture *src, UprezPicture *dst)
{
    UpzTask t = {.src = src, .dst = dst};
    int r = ((UpzEngineBase *)(void *)e)->ops->submit(e, &t);
    if (r < 0) fail_msg("submit: %s", t.err.text);
    assert_int_equal(((UpzEngineBase *)(void *)e)->ops->wait(e, &t, -1), 0);
    if (t.result < 0) fail_msg("wait: %s", t.err.text);
}

static UprezPicture *by_cpu(UprezModel *m, const UprezPicture *src, const char *format)
{
    UpzEngine *e = NULL;
    UpzPlan p;
    const UpzDevice device = {.kind = "cpu"};
    UprezPicture *dst = result_for(m, src, format);
    const UpzShape s = shape_of(src, dst);
    OK(upz_engine_cpu.open(&e, ctx, m, &device, &(UpzEngineParams){0}, &err));
    OK(upz_engine_cpu.plan(e, &s, 0, &p, &err));
    run_one(e, src, dst);
    upz_engine_cpu.close(&e);
    return dst;
}

static const struct {
    const char *name;
    GraphBuild build;
    int channels;
    const char *src, *dst;
    int w, h;
} nets[] = {
    {"64 features, 4x", srvgg64, 3, "nv12", "nv12", 37, 11},
    {"20 features, 2x", srvgg20, 3, "yuv420p10le", "p010le", 131, 9},
    {"1x", srvgg_clean, 3, "gbrp", "rgb24", 20, 10},
    {"luma", srvgg20, 1, "gray", "gray16le", 20, 10},
    {"gray through RGB", srvgg20, 3, "gray", "gray", 20, 10},
    {"packed", srvgg20, 3, "yuyv422", "rgba", 21, 7},
    {"packed, odd result", srvgg_clean, 3, "uyvy422", "yuyv422", 21, 7},
    {"4:2:2 to 4:1:0", srvgg20, 3, "yuv422p", "yuv410p", 23, 11},
    {"dense, 4x", rrdb4, 3, "nv12", "yuv444p", 21, 9},
    {"dense, 2x", rrdb2, 3, "rgb48le", "gbrp16le", 33, 15},
    {"dense, 1x", rrdb1, 3, "gbrpf32le", "gbrpf32le", 35, 18},
};

static void networks_equal_the_cpu(void **state)
{
    (void)state;
    static const int all[] = {90, 80, 75};
    for (int k = 0; k < UPZ_COUNT(all); k++)
        for (int i = 0; i < UPZ_COUNT(nets); i++) {
            if (all[k] == 75 && i != 1) continue; /* the kernels' own test has it all */
            char what[96];
            capability(all[k]);
            UprezModel *m = graph_model(nets[i].build, nets[i].channels);
            UprezPicture *src = picture(nets[i].src, nets[i].w, nets[i].h, i);
            UprezPicture *want = by_cpu(m, src, nets[i].dst), *got = result_for(m, src, nets[i].dst);
            UpzEngine *e = open_cuda(m, NULL);
            const UpzPlan p = plan_for(e, src, got, 0);
            snprintf(what, sizeof(what), "cuda/fp16-sm%d/1", all[k]);
            assert_string_equal(p.numerics, what);
            run_one(e, src, got);
            snprintf(what, sizeof(what), "%s, capability %d", nets[i].name, all[k]);
            near(got, want, what);
            upz_engine_cuda.close(&e);
            uprez_picture_unref(&src);
            uprez_picture_unref(&want);
            uprez_picture_unref(&got);
            graph_model_free(m);
        }
    capability(90);
}

/* Same id, same bytes: cards that run other code, or the same code on other tensor cores, differ in it. */
static void numerics_name_the_code(void **state)
{
    (void)state;
    static const struct {
        int capability;
        const char *fail, *id;
    } cases[] = {{90, NULL, "cuda/fp16-sm90/1"},
                 {89, NULL, "cuda/fp16-sm89/1"},
                 {87, NULL, "cuda/fp16-sm86-cc87/1"}, /* code for 86, on a card between */
                 {121, NULL, "cuda/fp16-sm120-cc121/1"},
                 {80, "cuFuncGetAttribute:0:1", "cuda/fp16-sm80/1"}};
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 24, 8, 1), *got = result_for(m, src, "nv12");
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        capability(cases[i].capability);
        if (cases[i].fail) setenv("FAKE_CUDA_FAIL", cases[i].fail, 1);
        UpzEngine *e = open_cuda(m, NULL);
        const UpzPlan p = plan_for(e, src, got, 0);
        unsetenv("FAKE_CUDA_FAIL");
        assert_string_equal(p.numerics, cases[i].id);
        upz_engine_cuda.close(&e);
    }
    capability(90);
    uprez_picture_unref(&src);
    uprez_picture_unref(&got);
    graph_model_free(m);
}

/* ---- pictures in the GPU's memory ---- */

typedef struct Gpu {
    void *context;
} Gpu;

static Gpu gpu_enter(void)
{
    Gpu g;
    CU(context_create(&g.context, 0, 0));
    return g;
}

static void gpu_leave(Gpu *g)
{
    void *now;
    CU(context_current(&now));
    assert_ptr_equal(now, g->context); /* whatever was called, the caller's context is current */
    CU(context_destroy(g->context));
}

/* All four pairs of memory, three pictures in flight, each with a stream of its own; the source is
 * freed and overwritten in the order of its stream at once. */
static void all_kinds_of_memory(void **state)
{
    (void)state;
    enum { N = 4 };
    UprezModel *m = graph_model(srvgg20, 3);
    for (int kind = 0; kind < 4; kind++) {
        const bool up = kind & 1, down = kind & 2;
        Gpu g = gpu_enter();
        UpzEngine *e = open_cuda(m, g.context);
        UprezPicture *host[N], *want[N], *src[N], *dst[N], *got;
        void *streams[2 * N];
        UpzTask tasks[N];
        for (int i = 0; i < N; i++) {
            CU(cu.stream_create(&streams[2 * i], i % 2 ? 1 : 0));
            CU(cu.stream_create(&streams[2 * i + 1], 1));
            host[i] = picture("nv12", 38, 12, i);
            want[i] = by_cpu(m, host[i], "nv12");
            got = result_for(m, host[i], "nv12");
            src[i] = up ? on_device(host[i], streams[2 * i]) : uprez_picture_ref(host[i]);
            dst[i] = down ? room_on_device(got, streams[2 * i + 1]) : uprez_picture_ref(got);
            uprez_picture_unref(&got);
        }
        plan_for(e, src[0], dst[0], 0);
        const uint64_t up_before = count("host_to_device"), down_before = count("device_to_host");
        const uint64_t held = count("allocations") + count("host_allocations");
        for (int i = 0; i < N; i++) {
            tasks[i] = (UpzTask){.src = src[i], .dst = dst[i]};
            if (i == 3) { /* full */
                assert_int_equal(upz_engine_cuda.submit(e, &tasks[i]), UPREZ_AGAIN);
                assert_int_equal(upz_engine_cuda.wait(e, &tasks[0], -1), 0);
            }
            int r = upz_engine_cuda.submit(e, &tasks[i]);
            if (r < 0) fail_msg("%s", tasks[i].err.text);
            if (up) /* behind the load, in the source's order */
                CU(cu.clear((uint64_t)(uintptr_t)src[i]->plane[0], 0, 38, src[i]->stream));
        }
        for (int i = 1; i < N; i++) {
            while (upz_engine_cuda.wait(e, &tasks[i], i == 2 ? 1000000 : -1) == UPREZ_AGAIN) {}
            assert_int_equal(tasks[i].result, 0);
        }
        assert_int_equal(count("allocations") + count("host_allocations"), held);
        /* 38x12 in NV12 rows of 64 bytes, and four bytes that say whether there was a NaN */
        assert_int_equal(count("host_to_device") - up_before, up ? 0 : N * 64 * (12 + 6));
        assert_int_equal(count("device_to_host") - down_before,
                         N * 4 + (down ? 0 : N * 128 * (24 + 12)));
        for (int i = 0; i < N; i++) {
            UprezPicture *back = down ? to_host(dst[i]) : uprez_picture_ref(dst[i]);
            near(back, want[i], "memory");
            uprez_picture_unref(&back);
            uprez_picture_unref(&host[i]);
            uprez_picture_unref(&want[i]);
            uprez_picture_unref(&src[i]);
            uprez_picture_unref(&dst[i]);
        }
        upz_engine_cuda.close(&e);
        for (int i = 0; i < 2 * N; i++) CU(cu.stream_destroy(streams[i]));
        gpu_leave(&g);
    }
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

/* The engine's own pictures go round, and live on without it. */
static void results_outlive_the_engine(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    Gpu g = gpu_enter();
    const uint64_t before = count("allocated");
    UpzEngine *e = open_cuda(m, g.context);
    UprezPicture *host = picture("nv12", 38, 12, 1), *want = by_cpu(m, host, "nv12"), *one, *two;
    UprezPicture *src = on_device(host, NULL), like = *want;
    like.memory = UPREZ_MEM_CUDA;
    plan_for(e, src, &like, 0);
    OK(upz_engine_cuda.picture(e, &one, &like, &err));
    assert_null(one->stream); /* as asked: the default stream */
    const void *at = one->plane[0];
    run_one(e, src, one);
    uprez_picture_unref(&one);
    OK(upz_engine_cuda.picture(e, &one, &like, &err));
    assert_ptr_equal(one->plane[0], at); /* the same memory again */
    OK(upz_engine_cuda.picture(e, &two, &like, &err));
    assert_ptr_not_equal(two->plane[0], at);
    run_one(e, src, one);
    uprez_picture_unref(&src);
    upz_engine_cuda.close(&e);
    host = to_host(one);
    near(host, want, "after the engine");
    uprez_picture_unref(&one);
    uprez_picture_unref(&two);
    assert_int_equal(count("allocated"), before);
    gpu_leave(&g);
    uprez_picture_unref(&host);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

static void wrong_pictures_are_refused(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    Gpu g = gpu_enter();
    UpzEngine *e = open_cuda(m, g.context);
    UprezPicture *host = picture("p010le", 38, 12, 1), *to = result_for(m, host, "p010le");
    UprezPicture *src = on_device(host, NULL);
    UpzTask t = {.src = src, .dst = to};
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_BUG); /* no plan */
    plan_for(e, src, to, 0);
    UprezPicture odd = *src;
    odd.device = 1;
    t.src = &odd;
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_USAGE);
    odd = *src;
    odd.plane[1] = (uint8_t *)odd.plane[1] + 1;
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_USAGE);
    odd = *src;
    odd.stream = UPZ_CUDA_STREAM_OF_THREAD;
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_USAGE);
    assert_non_null(strstr(t.err.text, "name a stream"));
    t.src = host; /* planned for the other kind */
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_BUG);
    upz_engine_cuda.close(&e);
    uprez_picture_unref(&src);
    uprez_picture_unref(&host);
    uprez_picture_unref(&to);
    gpu_leave(&g);
    graph_model_free(m);
}

/* ---- memory is short ---- */

static size_t run_tiled(UpzEngine *e, UprezModel *m, const UprezPicture *src,
                        const UprezPicture *want, size_t limit)
{
    UprezPicture *got = result_for(m, src, uprez_format_name(&want->format));
    const UpzPlan p = plan_for(e, src, got, limit);
    assert_true(!limit || p.need <= limit);
    run_one(e, src, got);
    assert_true(equal(got, want));
    uprez_picture_unref(&got);
    return p.need;
}

static void tiles_equal_the_whole(void **state)
{
    (void)state;
    static const int cards[] = {90, 86};
    for (int k = 0; k < UPZ_COUNT(cards); k++) {
        capability(cards[k]);
        UprezModel *m = graph_model(srvgg20, 3);
        UprezPicture *src = picture("nv12", 200, 90, 5), *want = result_for(m, src, "yuv420p");
        UpzEngine *e = open_cuda(m, NULL);
        const size_t whole = plan_for(e, src, want, 0).need;
        run_one(e, src, want);
        size_t need = whole;
        int steps = 0;
        const uint64_t before = count("launch_store_picture");
        for (;; steps++) {
            UpzPlan p;
            const UpzShape s = shape_of(src, want);
            need = need * 9 / 10;
            if (upz_engine_cuda.plan(e, &s, need, &p, &err) < 0) break;
            if (steps % 3 == 0) need = run_tiled(e, m, src, want, need);
        }
        assert_int_equal(err.code, UPREZ_ERR_MEMORY);
        assert_non_null(strstr(err.text, "MiB"));
        assert_true(steps >= 4);
        assert_int_equal(count("launch_store_picture") - before, (steps + 2) / 3);
        upz_engine_cuda.close(&e);
        uprez_picture_unref(&src);
        uprez_picture_unref(&want);
        graph_model_free(m);
    }
    /* reflected beyond the picture's odd side */
    capability(90);
    UprezModel *m = graph_model(grouped, 3);
    UprezPicture *src = picture("gbrp", 261, 23, 2), *want = result_for(m, src, "gbrp");
    UpzEngine *e = open_cuda(m, NULL);
    const size_t whole = plan_for(e, src, want, 0).need;
    run_one(e, src, want);
    run_tiled(e, m, src, want, whole * 8 / 10);
    run_tiled(e, m, src, want, whole * 6 / 10);
    upz_engine_cuda.close(&e);
    uprez_picture_unref(&src);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

static void small_cards(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 200, 130, 5), *got = result_for(m, src, "nv12");
    UprezPicture *want = by_cpu(m, src, "nv12");
    size_t whole = SIZE_MAX, card = (size_t)64 << 20;
    UpzEngine *e;
    for (int i = 0; i < 3; i++) {
        char text[32];
        snprintf(text, sizeof(text), "%zu", card);
        setenv("FAKE_CUDA_MEMORY", text, 1);
        if (i == 2) break;
        e = open_cuda(m, NULL);
        const UpzPlan p = plan_for(e, src, got, 0);
        assert_true(p.need <= card && p.need < whole);
        whole = p.need;
        run_one(e, src, got);
        near(got, want, "small card");
        upz_engine_cuda.close(&e);
        card = i ? 200000 : whole * 9 / 10;
    }
    const UpzDevice device = {.kind = "cuda"};
    assert_int_equal(upz_engine_cuda.open(&e, ctx, m, &device,
                                          &(UpzEngineParams){.runtime_path = fake_path}, &err),
                     UPREZ_ERR_MEMORY);
    assert_null(e);
    unsetenv("FAKE_CUDA_MEMORY");
    uprez_picture_unref(&src);
    uprez_picture_unref(&got);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

/* ---- failing calls ---- */

/* Whichever call fails: an error with a sentence, nothing left behind, and no mistake of ours. */
static void every_call_may_fail(void **state)
{
    (void)state;
    static const char *const calls[] = {
        "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuModuleLoadData",
        "cuModuleGetFunction", "cuFuncSetAttribute", "cuMemGetInfo_v2", "cuMemAlloc_v2",
        "cuMemHostAlloc", "cuStreamSynchronize", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2",
        "cuMemsetD8Async", "cuStreamCreate", "cuStreamWaitEvent", "cuEventCreate", "cuEventRecord",
        "cuEventQuery", "cuEventSynchronize", "cuLaunchKernelEx", "cuMemcpy2DAsync_v2"};
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 70, 12, 1), *got = result_for(m, src, "nv12");
    const UpzShape s = shape_of(src, got);
    const UpzDevice device = {.kind = "cuda"};
    const UpzEngineParams ep = {.runtime_path = fake_path};
    int seen = 0;
    for (int i = 0; i < UPZ_COUNT(calls); i++)
        for (int n = 1, failed = 1; failed && n < 60; n += n < 8 ? 1 : 7) {
            char text[96];
            UpzEngine *e = NULL;
            UpzPlan p;
            UpzTask t = {.src = src, .dst = got};
            const uint64_t before = count("allocated");
            snprintf(text, sizeof(text), "%s:%d", calls[i], n);
            err = (UprezError){0};
            setenv("FAKE_CUDA_FAIL", text, 1);
            int r = upz_engine_cuda.open(&e, ctx, m, &device, &ep, &err);
            if (r >= 0) r = upz_engine_cuda.plan(e, &s, 0, &p, &err);
            if (r >= 0) {
                r = upz_engine_cuda.submit(e, &t);
                if (r >= 0) {
                    upz_engine_cuda.wait(e, &t, -1);
                    r = t.result;
                }
                err = t.err;
            }
            unsetenv("FAKE_CUDA_FAIL");
            failed = r < 0;
            seen += failed;
            if (failed && (r != UPREZ_ERR_DEVICE || strlen(err.text) < 20))
                fail_msg("%s: %d '%s'", text, r, err.text);
            if (e) upz_engine_cuda.close(&e);
            if (count("allocated") != before) fail_msg("%s leaves memory behind", text);
        }
    assert_true(seen > 40);
    assert_int_equal(count("mistakes"), 0);
    uprez_picture_unref(&src);
    uprez_picture_unref(&got);
    graph_model_free(m);
}

static void errors_have_sentences(void **state)
{
    (void)state;
    static const struct {
        const char *fail;
        int code;
        const char *says;
    } cases[] = {{"cuModuleLoadData:1:209", UPREZ_ERR_DEVICE, "no kernels for this card"},
                 {"cuModuleLoadData:1:200", UPREZ_ERR_DEVICE, "older than the kernels"},
                 {"cuModuleLoadData:1:222", UPREZ_ERR_DEVICE, "older than the kernels"},
                 {"cuMemAlloc_v2:1:2", UPREZ_ERR_MEMORY, "KiB of GPU memory"},
                 {"cuEventQuery:1:700", UPREZ_ERR_DEVICE, "a kernel failed before"},
                 {"cuInit:1:803", UPREZ_ERR_DEVICE, "different versions"},
                 {"cuInit:1:100", UPREZ_ERR_DEVICE, "GPU"}};
    UprezModel *m = graph_model(srvgg20, 3);
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UpzEngine *e = NULL;
        setenv("FAKE_CUDA_FAIL", cases[i].fail, 1);
        const UpzDevice device = {.kind = "cuda"};
        int r = upz_engine_cuda.open(&e, ctx, m, &device,
                                     &(UpzEngineParams){.runtime_path = fake_path}, &err);
        unsetenv("FAKE_CUDA_FAIL");
        assert_null(e);
        if (r != cases[i].code || !strstr(err.text, cases[i].says))
            fail_msg("%s: %d %s", cases[i].fail, r, err.text);
    }
    graph_model_free(m);
}

/* ---- which engine ---- */

static int overflowing(UpzGraph *g, int in)
{
    int v = srvgg20(g, in);
    for (size_t i = 0; i < g->n_tensors; i++)
        for (int64_t k = 0; k < g->tensors[i].count; k++)
            if (i < 6) g->tensors[i].data[k] *= 3e3f;
    return v;
}

static void auto_takes_the_gpu_that_is_right(void **state)
{
    (void)state;
    UprezModel *good = graph_model(srvgg20, 3), *bad = graph_model(overflowing, 3);
    UprezModel *other = graph_model(with_mul, 3);
    UprezPicture *src = picture("nv12", 38, 12, 1);
    UprezInfo info = {.size = sizeof(info)};
    lines[0] = 0;
    Uprez *u = upscaler(good, (UprezParams){0});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cuda");
    assert_string_equal(info.device, "cuda:0");
    assert_string_equal(info.precision, "fp16");
    assert_int_equal(info.depth, 3);
    uprez_destroy(&u);
    assert_string_equal(lines, "");

    u = upscaler(bad, (UprezParams){0}); /* fails its self-test */
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    assert_non_null(strstr(lines, "self-test"));
    uprez_destroy(&u);
    u = upscaler(bad, (UprezParams){.device = "cuda"});
    assert_int_equal(uprez_plan(u, src, &info, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "self-test"));
    uprez_destroy(&u);

    lines[0] = 0;
    u = upscaler(other, (UprezParams){.engine = "auto"});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    assert_non_null(strstr(lines, "MUL"));
    uprez_destroy(&u);

    lines[0] = 0;
    u = upscaler(good, (UprezParams){.device = "cpu"});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    uprez_destroy(&u);
    setenv("FAKE_CUDA_NONE", "1", 1);
    u = upscaler(good, (UprezParams){0});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    uprez_destroy(&u);
    u = upscaler(good, (UprezParams){.device = "cuda:0"});
    assert_int_equal(uprez_plan(u, src, &info, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "GPU"));
    uprez_destroy(&u);
    unsetenv("FAKE_CUDA_NONE");
    assert_string_equal(lines, "");
    uprez_picture_unref(&src);
    graph_model_free(good);
    graph_model_free(bad);
    graph_model_free(other);
}

static void cards_are_listed(void **state)
{
    (void)state;
    UpzDeviceList list = {.n = 0};
    UprezError why = {0};
    setenv("FAKE_CUDA_DEVICES", "2", 1);
    OK(upz_engine_cuda.probe(fake_path, &list, &why));
    assert_int_equal(list.n, 2);
    assert_int_equal(list.items[1].index, 1);
    assert_true(list.items[0].memory > 0);
    assert_non_null(strstr(list.items[0].can, "9.0"));
    assert_non_null(strstr(list.items[0].version, "CUDA"));
    unsetenv("FAKE_CUDA_DEVICES");
    capability(35);
    list.n = 0;
    upz_engine_cuda.probe(fake_path, &list, &why);
    assert_int_equal(list.n, 0);
    assert_non_null(strstr(why.text, "3.5"));
    capability(90);
}

/* The public interface with pictures in the GPU's memory: order, timing, memory of the caller's. */
static void upscaler_with_cuda_pictures(void **state)
{
    (void)state;
    enum { N = 6 };
    UprezModel *m = graph_model(srvgg20, 3);
    Gpu g = gpu_enter();
    Uprez *u = upscaler(m, (UprezParams){.cuda_context = g.context});
    UprezPicture *host[N], *want[N], *src, *out, *own = NULL;
    void *stream;
    CU(cu.stream_create(&stream, 1));
    int sent = 0, received = 0;
    for (int i = 0; i < N; i++) {
        host[i] = picture("nv12", 38, 12, i);
        want[i] = by_cpu(m, host[i], "nv12");
    }
    while (received < N) {
        int r = 0;
        while (sent < N && r != UPREZ_AGAIN) {
            src = on_device(host[sent], stream);
            src->pts = sent;
            if (sent == 2) own = room_on_device(want[0], stream);
            r = uprez_send_to(u, src, sent == 2 ? own : NULL, &err);
            uprez_picture_unref(&src);
            if (r != UPREZ_AGAIN) OK(r);
            if (r == 0) sent++;
            else if (sent == 2) uprez_picture_unref(&own);
        }
        OK(uprez_receive(u, &out, -1, &err));
        assert_int_equal(out->pts, received);
        assert_int_equal(out->memory, UPREZ_MEM_CUDA);
        if (received == 2) assert_ptr_equal(out->plane[0], own->plane[0]);
        UprezPicture *back = to_host(out);
        near(back, want[received], "upscaler");
        uprez_picture_unref(&back);
        uprez_picture_unref(&out);
        received++;
    }
    uprez_picture_unref(&own);
    /* a host picture in between, and back */
    OK(uprez_run(u, host[0], &out, &err));
    assert_int_equal(out->memory, UPREZ_MEM_HOST);
    near(out, want[0], "host between");
    uprez_picture_unref(&out);
    src = on_device(host[1], stream);
    OK(uprez_run(u, src, &out, &err));
    uprez_picture_unref(&src);
    uprez_destroy(&u);
    uprez_picture_unref(&out); /* later than the upscaler */

    static const struct {
        UprezParams p;
        const char *says;
    } cases[] = {{{.tta = 1}, "flips"}, {{.blend = 0.5}, "blending"},
                 {{.device = "cpu"}, "device"}, {{.engine = "cpu"}, "host memory"}};
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UprezParams p = cases[i].p;
        p.cuda_context = g.context;
        u = upscaler(m, p);
        src = on_device(host[0], stream);
        assert_int_equal(uprez_run(u, src, &out, &err), UPREZ_ERR_DEVICE);
        if (!strstr(err.text, cases[i].says)) fail_msg("'%s' not in: %s", cases[i].says, err.text);
        uprez_picture_unref(&src);
        uprez_destroy(&u);
    }
    for (int i = 0; i < N; i++) {
        uprez_picture_unref(&host[i]);
        uprez_picture_unref(&want[i]);
    }
    CU(cu.stream_destroy(stream));
    gpu_leave(&g);
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_equal_the_cpu),
        cmocka_unit_test(numerics_name_the_code),
        cmocka_unit_test(all_kinds_of_memory),
        cmocka_unit_test(results_outlive_the_engine),
        cmocka_unit_test(wrong_pictures_are_refused),
        cmocka_unit_test(tiles_equal_the_whole),
        cmocka_unit_test(small_cards),
        cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(errors_have_sentences),
        cmocka_unit_test(auto_takes_the_gpu_that_is_right),
        cmocka_unit_test(cards_are_listed),
        cmocka_unit_test(upscaler_with_cuda_pictures),
    };
    return fake_driver() ? cmocka_run_group_tests(tests, fake_setup, fake_teardown) : 77;
}
