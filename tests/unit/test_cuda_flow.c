/* Upscalers on the fake driver (tests/fake/cuda) over time: GPU memory that others take, sizes that change,
 * several GPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda_fake.h"

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

/* ---- memory is short ---- */

/* -d auto: the CPU, and one warning with the size; -d cuda: the error. Also in the middle of a stream. */
static void no_room_means_the_cpu(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 200, 130, 1), *small = picture("nv12", 24, 16, 1), *out;
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
    UprezPicture *src = picture("nv12", 200, 130, 1), *out;
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
        /* the self-test loads twice */
        assert_int_equal(count("launch_load_map") - loads > 3, info.memory < whole);
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
        UprezPicture *host = picture("nv12", 200, 130, i);
        want[i] = result(m, (UprezParams){.device = "cuda"}, host);
        src[i] = on_device(host, stream);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_room_means_the_cpu),
        cmocka_unit_test(others_are_quicker),
        cmocka_unit_test(results_find_room),
    };
    return fake_driver() ? cmocka_run_group_tests(tests, fake_setup, fake_teardown) : 77;
}
