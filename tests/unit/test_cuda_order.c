/* What is promised about the streams of pictures in a GPU's memory, on the fake driver
 * (tests/fake/cuda), which does nothing before it must: once submit is back, the source is read after
 * what its stream was given before and before what it is given later; the result likewise, and its
 * stream's later work finds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_nets.h"
#include "engine/cuda/cuda_api.h"
#include "engine/engine.h"
#include "uprez/uprez.h"

extern const UpzEngineOps upz_engine_cuda;

enum { W = 38, H = 12, IN = W * H * 3 / 2, OUT = 4 * IN };

static UprezContext *ctx;
static UprezError err;
static char fake_path[4096];
static UpzCuda cu;
static uint64_t (*count)(const char *name);
static int (*context_create)(void **context, unsigned flags, int device);
static int (*context_destroy)(void *context);

#define OK(call) \
    do { \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, err.text); \
    } while (0)
#define CU(call) assert_int_equal((call), 0)

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

/* What forces the work: the pictures' streams, or waiting for the task. */
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
    CU(cu.clear(in, 0x11, IN, in_stream));
    if (order == WAIT_FIRST) finish(&t, e);
    CU(cu.stream_finish(in_stream));
    CU(cu.download(down, out, OUT, out_stream));
    CU(cu.clear(out, 0x77, OUT, out_stream));
    CU(cu.stream_finish(out_stream));
    memcpy(got, down, OUT);
    if (order == STREAMS_FIRST) finish(&t, e);
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(streams_are_kept)};
    const char *build = getenv("BUILD_ROOT");
    const UprezContextParams params = {.size = sizeof(params), .threads = 2};
    char path[4200];
    if (upz_engine_cuda.missing) {
        printf("skipped: %s\n", upz_engine_cuda.missing);
        return 77;
    }
    setenv("FAKE_CUDA_CC", "90", 1);
    snprintf(fake_path, sizeof(fake_path), "%s/tests/fake/cuda", build ? build : ".");
    snprintf(path, sizeof(path), "%s/libcuda.so.1", fake_path);
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle || upz_cuda_open(&cu, fake_path, &err) < 0) {
        printf("skipped, no driver to try: %s\n", handle ? err.text : dlerror());
        return 77;
    }
    const struct {
        void *to;
        const char *name;
    } extra[] = {{&count, "fakeCudaCount"},
                 {&context_create, "cuCtxCreate_v2"},
                 {&context_destroy, "cuCtxDestroy_v2"}};
    for (int i = 0; i < UPZ_COUNT(extra); i++) {
        void *f = dlsym(handle, extra[i].name);
        memcpy(extra[i].to, &f, sizeof(f));
    }
    if (uprez_context_create(&ctx, &params, &err) < 0) return 1;
    int failed = cmocka_run_group_tests_name("cuda order", tests, NULL, NULL);
    uprez_context_destroy(&ctx);
    return failed;
}
