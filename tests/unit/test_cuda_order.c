/* What is promised about the streams of pictures in a GPU's memory, on the fake driver
 * (tests/fake/cuda), which does nothing before it must: the source is read after what its stream was given
 * before submit, and the result is written likewise; once wait is back both are done with, whatever their
 * streams are given then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda_fake.h"

enum { W = 38, H = 12, IN = W * H * 3 / 2, OUT = 4 * IN };

static UprezPicture nv12(uint64_t at, int w, int h, void *stream)
{
    UprezPicture p = {.width = w, .height = h, .memory = UPREZ_MEM_CUDA, .stream = stream,
                      .color = {1, 1, 1, UPREZ_RANGE_LIMITED, UPREZ_SITING_LEFT}};
    OK(uprez_format_from_name(&p.format, "nv12"));
    p.plane[0] = (void *)(uintptr_t)at;
    p.plane[1] = (void *)(uintptr_t)(at + (uint64_t)w * (uint64_t)h);
    p.stride[0] = p.stride[1] = w;
    return p;
}

/* What forces the work before submit: the pictures' streams, or waiting for the task. */
typedef enum Order { STREAMS_FIRST, WAIT_FIRST } Order;

static void finish(UpzTask *t, UpzEngine *e)
{
    OK(upz_engine_cuda.wait(e, t, -1));
    if (t->result < 0) fail_msg("wait: %s", t->err.text);
}

/* One picture; what came out into got. Late and early work of others on both streams. */
static void once(UpzEngine *e, Order order, int n, uint8_t *got)
{
    void *in_stream, *out_stream, *memory;
    uint8_t *up, *down;
    uint64_t in, out;
    CU(cu.stream_create(&in_stream, UPZ_CUDA_STREAM_NON_BLOCKING));
    CU(cu.stream_create(&out_stream, UPZ_CUDA_STREAM_NON_BLOCKING));
    CU(cu.host_alloc(&memory, IN, 0));
    up = memory;
    CU(cu.host_alloc(&memory, OUT, 0));
    down = memory;
    CU(cu.alloc(&in, IN));
    CU(cu.alloc(&out, OUT));
    for (int i = 0; i < IN; i++) up[i] = (uint8_t)(i < W * H ? 40 + (i * (7 + n)) % 150 : 90 + i % 60);
    const UprezPicture src = nv12(in, W, H, in_stream);
    UprezPicture dst = nv12(out, 2 * W, 2 * H, out_stream);
    const UpzShape shape = {W, H, src.format, dst.format, src.memory, dst.memory, src.color,
                            dst.color};
    UpzPlan plan;
    UpzTask t = {.src = &src, .dst = &dst};
    OK(upz_engine_cuda.plan(e, &shape, 0, &plan, &err));
    CU(cu.upload(in, up, IN, in_stream));
    CU(cu.clear(out, 0x55, OUT, out_stream));
    if (upz_engine_cuda.submit(e, &t) < 0) fail_msg("submit: %s", t.err.text);
    if (order == STREAMS_FIRST) {
        CU(cu.stream_finish(in_stream));
        CU(cu.stream_finish(out_stream));
    }
    finish(&t, e);
    CU(cu.clear(in, 0x11, IN, in_stream));
    CU(cu.download(down, out, OUT, out_stream));
    CU(cu.clear(out, 0x77, OUT, out_stream));
    CU(cu.stream_finish(in_stream));
    CU(cu.stream_finish(out_stream));
    memcpy(got, down, OUT);
    CU(cu.release(in));
    CU(cu.release(out));
    CU(cu.host_release(up));
    CU(cu.host_release(down));
    CU(cu.stream_destroy(in_stream));
    CU(cu.stream_destroy(out_stream));
}

static void streams_are_kept(void **state)
{
    (void)state;
    static const char *const seeds[] = {"1", "0", "0", "2", "3", "4", "5"};
    static uint8_t want[3][OUT], got[OUT];
    UprezModel *m = graph_model(srvgg20, 3);
    void *context;
    CU(context_create(&context, 0, 0));
    for (int s = 0; s < UPZ_COUNT(seeds); s++) {
        setenv("FAKE_CUDA_SEED", seeds[s], 1);
        UpzEngine *e = NULL;
        const UpzDevice device = {.kind = "cuda", .native_context = context};
        OK(upz_engine_cuda.open(&e, ctx, m, &device, &(UpzEngineParams){.runtime_path = fake_path},
                                &err));
        for (int n = 0; n < 3; n++) { /* the first seed: each thing at once */
            once(e, (s + n) % 2 ? WAIT_FIRST : STREAMS_FIRST, n, s ? got : want[n]);
            int low = 255, high = 0;
            for (int i = 0; i < 4 * W * H && !s; i++) {
                low = UPZ_MIN(low, want[n][i]);
                high = UPZ_MAX(high, want[n][i]);
            }
            assert_true(s || high - low > 20);
            for (int i = 0; i < OUT && s; i++)
                if (got[i] != want[n][i])
                    fail_msg("order %s, picture %d: byte %d is %d, not %d", seeds[s], n, i, got[i],
                             want[n][i]);
        }
        upz_engine_cuda.close(&e);
    }
    unsetenv("FAKE_CUDA_SEED");
    CU(context_destroy(context));
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

/* Pictures of the default stream: results are of it too, and what is enqueued there for one that is let go
 * of at once comes before the next is written into its memory. */
static void default_stream(void **state)
{
    (void)state;
    enum { N = 4 };
    UprezModel *m = graph_model(srvgg20, 3);
    void *context, *memory;
    uint8_t *down[N];
    UprezPicture *want[N];
    static const char *const seeds[] = {"0", "1", "2", "3"};
    for (int seed = 0; seed < 4; seed++) {
        setenv("FAKE_CUDA_SEED", seeds[seed], 1);
        CU(context_create(&context, 0, 0));
        Uprez *u = upscaler(m, (UprezParams){.cuda_context = context, .no_reuse = 1});
        UprezInfo info = {.size = sizeof(info)};
        for (int i = 0; i < N; i++) {
            UprezPicture *host = picture("nv12", W, H, i), *src = on_device(host, NULL), *out;
            if (!seed) want[i] = result(m, (UprezParams){.engine = "cuda"}, host);
            if (!i) OK(uprez_plan(u, src, &info, &err));
            CU(cu.host_alloc(&memory, OUT, 0));
            down[i] = memory;
            OK(uprez_run(u, src, &out, &err));
            assert_null(out->stream);
            for (int y = 0; y < 2 * H; y++) /* luma */
                CU(cu.download(down[i] + y * 2 * W,
                               (uint64_t)(uintptr_t)out->plane[0] + (uint64_t)(y * out->stride[0]), 2 * W,
                               NULL));
            uprez_picture_unref(&out);
            uprez_picture_unref(&src);
            uprez_picture_unref(&host);
        }
        CU(cu.stream_finish(NULL));
        for (int i = 0; i < N; i++) {
            for (int y = 0; y < 2 * H; y++)
                assert_memory_equal(down[i] + y * 2 * W,
                                    (uint8_t *)want[i]->plane[0] + y * want[i]->stride[0], 2 * W);
            CU(cu.host_release(down[i]));
        }
        uprez_destroy(&u);
        CU(context_destroy(context));
    }
    unsetenv("FAKE_CUDA_SEED");
    for (int i = 0; i < N; i++) uprez_picture_unref(&want[i]);
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(streams_are_kept), cmocka_unit_test(default_stream)};
    return fake_driver() ? cmocka_run_group_tests_name("cuda order", tests, fake_setup, fake_teardown) : 77;
}
