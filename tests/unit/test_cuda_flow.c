/* Upscalers on the fake driver (tests/fake/cuda) over time: GPU memory that others take, sizes that change,
 * several GPUs. */
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
#include "picture/convert.h"
#include "picture/format.h"
#include "uprez/uprez.h"

extern const UpzEngineOps upz_engine_cuda;

static UprezContext *ctx;
static UprezError err;
static char fake_path[4096], lines[8192];
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

static void set_number(const char *variable, long long n)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", n);
    setenv(variable, text, 1);
}

static int times(const char *word)
{
    int n = 0;
    for (const char *at = lines; (at = strstr(at, word)); at += strlen(word)) n++;
    return n;
}

static Uprez *upscaler(UprezModel *m, UprezParams p)
{
    Uprez *u;
    p.size = sizeof(p);
    p.models = &m;
    p.n_models = 1;
    p.runtime_path = fake_path;
    OK(uprez_create(&u, ctx, &p, &err));
    return u;
}

/* ---- pictures: 8-bit planes, NV12 ---- */

static UprezPicture *picture(int w, int h, int n)
{
    UprezFormat f;
    UprezPicture *p;
    uint32_t s = 77u + (uint32_t)n;
    OK(uprez_format_from_name(&f, "nv12"));
    OK(uprez_picture_alloc(&p, &f, w, h, &err));
    for (int i = 0; i < 2; i++)
        for (int y = 0; y < (i ? (h + 1) / 2 : h); y++)
            for (int x = 0; x < (i ? (w + 1) / 2 * 2 : w); x++) {
                s = s * 1664525u + 1013904223u;
                ((uint8_t *)p->plane[i])[p->stride[i] * y + x] =
                    (uint8_t)(128 + 60 * sin((x + 3 * n) * 0.3 + i) * cos(y * 0.2) + (double)(s >> 28));
            }
    p->color = (UprezColor){1, 1, 1, UPREZ_RANGE_LIMITED, UPREZ_SITING_LEFT};
    p->pts = n;
    return p;
}

static void free_device(void *cookie)
{
    cu.release((uint64_t)(uintptr_t)cookie);
}

/* In the GPU's memory; the context is current. */
static UprezPicture *on_device(const UprezPicture *like, int device, void *stream)
{
    UprezPicture desc = *like, *p;
    uint64_t at;
    const size_t luma = (size_t)like->stride[0] * (size_t)like->height;
    const size_t chroma = (size_t)like->stride[1] * (size_t)((like->height + 1) / 2);
    CU(cu.alloc(&at, luma + chroma));
    CU(cu.upload_now(at, like->plane[0], luma));
    CU(cu.upload_now(at + luma, like->plane[1], chroma));
    desc.memory = UPREZ_MEM_CUDA;
    desc.device = device;
    desc.stream = stream;
    desc.plane[0] = (void *)(uintptr_t)at;
    desc.plane[1] = (void *)(uintptr_t)(at + luma);
    OK(uprez_picture_wrap(&p, &desc, free_device, (void *)(uintptr_t)at, &err));
    return p;
}

static UprezPicture *to_host(const UprezPicture *p)
{
    UprezPicture *back;
    OK(uprez_picture_alloc(&back, &p->format, p->width, p->height, &err));
    for (int i = 0; i < 2; i++) {
        UpzCudaCopy c = {.src_memory = UPZ_CUDA_DEVICE, .dst_memory = UPZ_CUDA_HOST,
                         .src_device = (uint64_t)(uintptr_t)p->plane[i],
                         .src_pitch = (size_t)p->stride[i], .dst_host = back->plane[i],
                         .dst_pitch = (size_t)back->stride[i],
                         .width_bytes = upz_plane_row_bytes(&p->format, i, p->width),
                         .height = (size_t)upz_plane_height(&p->format, i, p->height)};
        CU(cu.copy_rows(&c, p->stream));
    }
    CU(cu.stream_finish(p->stream));
    return back;
}

static bool equal(const UprezPicture *a, const UprezPicture *b)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < 2; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            if (memcmp((uint8_t *)a->plane[i] + a->stride[i] * y, (uint8_t *)b->plane[i] + b->stride[i] * y,
                       upz_plane_row_bytes(&a->format, i, a->width)) != 0)
                return false;
    return true;
}

static UprezPicture *result(UprezModel *m, UprezParams p, const UprezPicture *src)
{
    UprezPicture *out;
    Uprez *u = upscaler(m, p);
    OK(uprez_run(u, src, &out, &err));
    uprez_destroy(&u);
    return out;
}

/* ---- memory is short ---- */

/* -d auto: the CPU, and one warning with the size; -d cuda: the error. Also in the middle of a stream. */
static void no_room_means_the_cpu(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture(200, 130, 1), *small = picture(24, 16, 1), *out;
    UprezPicture *by_cpu = result(m, (UprezParams){.device = "cpu"}, src);
    UprezInfo info = {.size = sizeof(info)};
    for (int tta = 0; tta < 2; tta++) {
        set_number("FAKE_CUDA_MEMORY", 900000);
        lines[0] = 0;
        Uprez *u = upscaler(m, (UprezParams){.tta = tta});
        OK(uprez_plan(u, src, &info, &err));
        assert_string_equal(info.engine, "cpu");
        assert_int_equal(times("engine cuda is not used"), 1);
        assert_int_equal(times("MiB of GPU memory"), 1);
        if (!tta) {
            OK(uprez_run(u, src, &out, &err));
            assert_true(equal(out, by_cpu));
            uprez_picture_unref(&out);
        }
        uprez_destroy(&u);
        u = upscaler(m, (UprezParams){.tta = tta, .device = "cuda"});
        assert_int_equal(uprez_plan(u, src, &info, &err), UPREZ_ERR_MEMORY);
        assert_non_null(strstr(err.text, "MiB of GPU memory"));
        uprez_destroy(&u);
    }
    lines[0] = 0;
    Uprez *u = upscaler(m, (UprezParams){0});
    OK(uprez_plan(u, small, &info, &err));
    assert_string_equal(info.engine, "cuda");
    assert_string_equal(lines, "");
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    assert_int_equal(times("engine cuda is not used"), 1);
    uprez_destroy(&u);
    unsetenv("FAKE_CUDA_MEMORY");
    uprez_picture_unref(&src);
    uprez_picture_unref(&small);
    uprez_picture_unref(&by_cpu);
    graph_model_free(m);
}

/* Another process takes memory between the question and the request, whichever request that is. */
static void others_are_quicker(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture(200, 130, 1), *out;
    UprezPicture *want = result(m, (UprezParams){.device = "cuda"}, src);
    UprezInfo info = {.size = sizeof(info)};
    int tiled = 0;
    size_t whole = 0;
    set_number("FAKE_CUDA_MEMORY", 8 << 20);
    for (int n = 0; n < 5; n++) {
        char text[64];
        snprintf(text, sizeof(text), "%llu:%d", (unsigned long long)count("requests") + (unsigned)n,
                 2500000);
        if (n) setenv("FAKE_CUDA_TAKE", text, 1);
        Uprez *u = upscaler(m, (UprezParams){.device = "cuda"});
        const uint64_t loads = count("launch_load_map");
        OK(uprez_plan(u, src, &info, &err));
        OK(uprez_run(u, src, &out, &err));
        unsetenv("FAKE_CUDA_TAKE");
        assert_true(equal(out, want));
        uprez_picture_unref(&out);
        if (!n) whole = info.memory;
        else if (info.memory < whole) tiled++;
        assert_int_equal(count("launch_load_map") - loads > 2, info.memory < whole);
        uprez_destroy(&u);
    }
    assert_true(tiled > 0);
    unsetenv("FAKE_CUDA_MEMORY");
    uprez_picture_unref(&src);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

/* There is no room for a result in the GPU's memory any more: smaller tiles make some. */
static void results_find_room(void **state)
{
    (void)state;
    enum { N = 5 };
    UprezModel *m = graph_model(srvgg20, 3);
    void *context, *stream;
    UprezPicture *src[N], *want[N], *out, *back;
    UprezInfo info = {.size = sizeof(info)};
    CU(context_create(&context, 0, 0));
    CU(cu.stream_create(&stream, 1));
    for (int i = 0; i < N; i++) {
        UprezPicture *host = picture(200, 130, i);
        want[i] = result(m, (UprezParams){.device = "cuda"}, host);
        src[i] = on_device(host, 0, stream);
        uprez_picture_unref(&host);
    }
    set_number("FAKE_CUDA_MEMORY", 16 << 20);
    Uprez *u = upscaler(m, (UprezParams){.cuda_context = context});
    OK(uprez_plan(u, src[0], &info, &err));
    const size_t whole = info.memory;
    char text[64]; /* all but little, from the first result on */
    const size_t left = (size_t)(16 << 20) - count("allocated") - 100000;
    snprintf(text, sizeof(text), "%llu:%zu", (unsigned long long)count("requests") + 1, left);
    setenv("FAKE_CUDA_TAKE", text, 1);
    const uint64_t loads = count("launch_load_map");
    for (int sent = 0, received = 0; received < N;) {
        while (sent < N && uprez_send(u, src[sent], &err) >= 0) sent++;
        OK(uprez_receive(u, &out, -1, &err));
        back = to_host(out);
        assert_true(equal(back, want[received]));
        uprez_picture_unref(&back);
        uprez_picture_unref(&out);
        received++;
    }
    assert_true(count("launch_load_map") - loads > N);
    assert_true(count("allocated") < whole);
    /* and when not even that helps: a sentence; later there is memory again */
    uprez_destroy(&u);
    unsetenv("FAKE_CUDA_TAKE");
    u = upscaler(m, (UprezParams){.cuda_context = context});
    OK(uprez_plan(u, src[0], &info, &err));
    snprintf(text, sizeof(text), "%llu:%d", (unsigned long long)count("requests") + 1, 16 << 20);
    setenv("FAKE_CUDA_TAKE", text, 1);
    assert_int_equal(uprez_run(u, src[0], &out, &err), UPREZ_ERR_MEMORY);
    assert_non_null(strstr(err.text, "GPU memory"));
    unsetenv("FAKE_CUDA_TAKE");
    OK(uprez_run(u, src[0], &out, &err));
    back = to_host(out);
    assert_true(equal(back, want[0]));
    uprez_picture_unref(&back);
    uprez_picture_unref(&out);
    uprez_destroy(&u);
    unsetenv("FAKE_CUDA_MEMORY");
    for (int i = 0; i < N; i++) {
        uprez_picture_unref(&src[i]);
        uprez_picture_unref(&want[i]);
    }
    CU(cu.stream_destroy(stream));
    CU(context_destroy(context));
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

/* ---- the program ---- */

static void keep_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    if (level > UPREZ_LOG_WARNING) return;
    const size_t n = strlen(lines);
    snprintf(lines + n, sizeof(lines) - n, "%s\n", line);
}

static bool find_driver(void)
{
    char path[4200];
    setenv("FAKE_CUDA_CC", "90", 1);
    snprintf(path, sizeof(path), "%s/libcuda.so.1", fake_path);
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle || upz_cuda_open(&cu, fake_path, &err) < 0) {
        printf("no driver to try: %s\n", handle ? err.text : dlerror());
        return false;
    }
    const struct {
        void *to;
        const char *name;
    } extra[] = {{&count, "fakeCudaCount"},
                 {&context_create, "cuCtxCreate_v2"},
                 {&context_destroy, "cuCtxDestroy_v2"}};
    for (int i = 0; i < UPZ_COUNT(extra); i++) {
        void *f = dlsym(handle, extra[i].name);
        assert_non_null(f);
        memcpy(extra[i].to, &f, sizeof(f));
    }
    return true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_room_means_the_cpu),
        cmocka_unit_test(others_are_quicker),
        cmocka_unit_test(results_find_room),
    };
    const char *build = getenv("BUILD_ROOT");
    const UprezContextParams params = {.size = sizeof(params), .threads = 2, .log = keep_line};
    if (upz_engine_cuda.missing) {
        printf("%s\n", upz_engine_cuda.missing);
        return 77;
    }
    snprintf(fake_path, sizeof(fake_path), "%s/tests/fake/cuda", build ? build : ".");
    if (!find_driver()) return 77;
    OK(uprez_context_create(&ctx, &params, &err));
    const int r = cmocka_run_group_tests(tests, NULL, NULL);
    uprez_context_destroy(&ctx);
    return r;
}
