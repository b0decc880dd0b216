/* Pictures overlap: on the fake driver (tests/fake/cuda), which knows what each piece of work has to follow,
 * nothing that is enqueued for a picture on the caller's stream has to follow the result of the picture
 * before, or the reading of its source. FFmpeg has one stream for sources and results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda_fake.h"

enum { W = 48, H = 32, N = 3 };

static uint64_t (*follows)(void *stream, const char *kernel, int with_host);
static uint64_t (*waited)(const char *kernel);

typedef struct Case {
    bool default_stream, one_stream, compare, parts;
} Case;

/* What the work on a stream has to follow: as many launches as were over before the first picture. */
static void check(const Case *c, const char *what, int picture, uint64_t got, uint64_t before)
{
    if (got != before)
        fail_msg("%s stream%s%s%s: %s of picture %d has to follow %d results or loads of pictures before it",
                 c->default_stream ? "default" : "own", c->one_stream ? " for both" : "s",
                 c->compare ? ", compared" : "", c->parts ? ", a part of it" : "", what, picture,
                 (int)(got - before));
}

static void check_stream(const Case *c, const char *what, int picture, void *stream, const uint64_t before[2])
{
    check(c, what, picture, follows(stream, "store_picture", 1), before[0]);
    check(c, what, picture, follows(stream, "load_map", 1), before[1]);
}

static void pictures_overlap(UpzEngine *e, const Case *c)
{
    void *in = NULL, *out = NULL;
    UprezPicture *host[N], *src[N], *dst[N];
    UpzTask task[N];
    UpzPlan plan;
    uint8_t changed[8];
    const UprezRect part = {0, 0, 32, 32};
    if (!c->default_stream) CU(cu.stream_create(&in, UPZ_CUDA_STREAM_NON_BLOCKING));
    if (!c->default_stream) out = in;
    if (!c->one_stream) CU(cu.stream_create(&out, UPZ_CUDA_STREAM_NON_BLOCKING));
    for (int i = 0; i < N; i++) {
        UprezPicture *big = picture("nv12", 2 * W, 2 * H, i);
        host[i] = picture("nv12", W, H, i);
        src[i] = room_on_device(host[i], in);
        dst[i] = room_on_device(big, out);
        uprez_picture_unref(&big);
    }
    const UpzShape shape = {W, H, src[0]->format, dst[0]->format, UPREZ_MEM_CUDA, UPREZ_MEM_CUDA,
                            src[0]->color, dst[0]->color};
    OK(upz_engine_cuda.plan(e, &shape, 0, &plan, &err));
    assert_int_equal(plan.depth, N);
    const uint64_t before[2] = {waited("store_picture"), waited("load_map")};
    for (int i = 0; i < N; i++) {
        copy_planes(src[i], host[i], in); /* a decoder's work */
        CU(cu.clear((uint64_t)(uintptr_t)dst[i]->plane[0], 0, 16, out));
        check_stream(c, "decoding", i, in, before);
        check_stream(c, "memory of the result", i, out, before);
        if (c->compare && i) {
            OK(upz_engine_cuda.compare(e, src[i - 1], src[i], 16, changed, &err));
            check(c, "the thread that compares", i, waited("store_picture"), before[0]);
            check(c, "the thread that compares", i, waited("load_map"), before[1]);
        }
        task[i] = (UpzTask){.src = src[i], .dst = dst[i], .todo = c->parts ? &part : NULL, .n_todo = c->parts};
        if (upz_engine_cuda.submit(e, &task[i]) < 0) fail_msg("submit: %s", task[i].err.text);
        CU(cu.clear((uint64_t)(uintptr_t)dst[i]->plane[0], 0, 1, in)); /* whatever comes behind it there */
        check_stream(c, "what comes behind", i, in, before);
        check_stream(c, "what comes behind", i, out, before);
    }
    for (int i = 0; i < N; i++) { /* the host waits for the result; this also shows that the driver counts */
        OK(upz_engine_cuda.wait(e, &task[i], -1));
        OK(task[i].result);
        check(c, "the host when it has waited", i, waited("store_picture"), before[0] + (uint64_t)i + 1);
        check(c, "the host when it has waited", i, waited("load_map"), before[1] + (uint64_t)i + 1);
    }
    for (int i = 0; i < N; i++) { /* which waits for all of the GPU */
        uprez_picture_unref(&host[i]);
        uprez_picture_unref(&src[i]);
        uprez_picture_unref(&dst[i]);
    }
    if (!c->default_stream) CU(cu.stream_destroy(in));
    if (!c->one_stream) CU(cu.stream_destroy(out));
}

static void streams_overlap(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    for (int i = 0; i < 16; i++) {
        const Case c = {i & 1, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0};
        void *context;
        CU(context_create(&context, 0, 0));
        UpzEngine *e = NULL;
        const UpzDevice device = {.kind = "cuda", .native_context = context};
        OK(upz_engine_cuda.open(&e, ctx, m, &device, &(UpzEngineParams){.runtime_path = fake_path}, &err));
        pictures_overlap(e, &c);
        upz_engine_cuda.close(&e);
        CU(context_destroy(context));
    }
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

/* An upscaler's own thread starts and finishes pictures when it likes, so only the order on the device is
 * asked for: with reuse or without, whole pictures, parts and repeated ones. */
static void upscalers_overlap(void **state)
{
    (void)state;
    enum { ALL = 8 };
    UprezModel *m = graph_model(srvgg20, 3);
    for (int i = 0; i < 4; i++) {
        void *context, *stream = NULL;
        CU(context_create(&context, 0, 0));
        if (i & 1) CU(cu.stream_create(&stream, UPZ_CUDA_STREAM_NON_BLOCKING));
        Uprez *u = upscaler(m, (UprezParams){.cuda_context = context, .engine = "cuda", .no_reuse = i < 2});
        UprezInfo info = {.size = sizeof(info)};
        for (int n = 0, got = 0; got < ALL;) {
            if (n < ALL) { /* new, the same, changed in a corner, … */
                UprezPicture *host = picture("nv12", W, H, n / 4), *src;
                if (n % 4 > 1) *sample(host, 0, n, 2) ^= 0x40;
                src = on_device(host, stream);
                if (!n) OK(uprez_plan(u, src, &info, &err));
                const int r = uprez_send(u, src, &err);
                if (r != UPREZ_AGAIN) OK(r);
                n += r != UPREZ_AGAIN;
                uprez_picture_unref(&src);
                uprez_picture_unref(&host);
                if (r != UPREZ_AGAIN) continue;
            }
            UprezPicture *out;
            OK(uprez_receive(u, &out, -1, &err));
            got++;
            uprez_picture_unref(&out);
        }
        assert_int_equal(follows(stream, "store_picture", 0), 0);
        assert_int_equal(follows(stream, "load_map", 0), 0);
        uprez_destroy(&u);
        CU(context_destroy(context));
    }
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(streams_overlap), cmocka_unit_test(upscalers_overlap)};
    if (!fake_driver()) return 77;
    const struct {
        void *to;
        const char *name;
    } more[] = {{&follows, "fakeCudaFollows"}, {&waited, "fakeCudaWaited"}};
    for (int i = 0; i < UPZ_COUNT(more); i++) {
        void *f = driver_function(more[i].name);
        if (!f) return 1;
        memcpy(more[i].to, &f, sizeof(f));
    }
    return cmocka_run_group_tests_name("cuda overlap", tests, fake_setup, fake_teardown);
}
