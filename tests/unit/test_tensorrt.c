/* The engines onnxruntime and tensorrt against a runtime that is none (tests/fake): which options
 * they pass, which engines they keep and build anew, what they refuse. A network's result is its
 * input with every pixel doubled, so tiles and padding can be checked too. Nothing here computes on
 * a GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/context.h"
#include "base/file.h"
#include "engine/engine.h"
#include "engine/tensorrt/trt.h"
#include "model/model.h"
#include "tiny_model.h"

static char root[256], fakes[4096], log_path[300];
static char logged[65536]; /* what went to the context's log */
static UprezContext *ctx;

static void to_memory(void *cookie, int level, const char *line)
{
    (void)cookie, (void)level;
    const size_t n = strlen(logged);
    snprintf(logged + n, sizeof(logged) - n, "%s\n", line);
}

static int setup(void **state)
{
    (void)state;
    char cache[300];
    const char *build = getenv("BUILD_ROOT");
    snprintf(fakes, sizeof(fakes), "%s/tests/fake", build ? build : ".");
    snprintf(root, sizeof(root), "/tmp/uprez-tensorrt-XXXXXX");
    if (!mkdtemp(root)) return -1;
    snprintf(cache, sizeof(cache), "%s/cache", root);
    snprintf(log_path, sizeof(log_path), "%s/log", root);
    setenv("XDG_CACHE_HOME", cache, 1);
    setenv("FAKE_LOG", log_path, 1);
    UprezContextParams p = {.size = sizeof(p), .threads = 2, .log = to_memory};
    return uprez_context_create(&ctx, &p, NULL);
}

static int teardown(void **state)
{
    (void)state;
    char command[300];
    uprez_context_destroy(&ctx);
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

/* Each test begins with an empty cache and log, and an obliging runtime. */
static int fresh(void **state)
{
    (void)state;
    char command[600];
    unsetenv("FAKE_ORT");
    unsetenv("FAKE_GPU");
    unsetenv("FAKE_TENSORRT");
    logged[0] = 0;
    snprintf(command, sizeof(command), "rm -rf '%s'/* && : >'%s'", root, log_path);
    return system(command);
}

static bool said(const char *what)
{
    static char text[1 << 20];
    FILE *f = fopen(log_path, "r");
    if (!f) return false;
    text[fread(text, 1, sizeof(text) - 1, f)] = 0;
    fclose(f);
    return strstr(text, what) != NULL;
}

static void forget(void)
{
    fclose(fopen(log_path, "w"));
}

static UprezModel *model_of(uint32_t seed)
{
    static TinyFile t;
    UprezModel *m;
    UprezError err;
    tiny_srvgg(&t, 8, 1, 2, seed);
    int r = upz_model_load_memory(&m, NULL, "tiny.safetensors", t.data, t.size, &err);
    free(t.data);
    if (r < 0) fail_msg("%s", err.text);
    return m;
}

/* A picture through an engine, against its own doubled pixels: rows up to the blend of tiles. */
static int run(const char *engine, UprezModel *m, const UpzEngineParams *given,
               const UpzDevice *dev, int w, int h, UprezError *err)
{
    const UpzEngineOps *ops;
    UpzDevice device;
    UpzEngine *e = NULL;
    UpzEngineParams params = given ? *given : (UpzEngineParams){.precision = "auto"};
    params.runtime_path = fakes;
    *err = (UprezError){0};
    int r = upz_engine_choose(&ops, &device, engine, "cuda:1", m, &params, err);
    if (r < 0) return r;
    assert_int_equal(device.index, 1);
    assert_string_equal(ops->name, engine);
    if (dev) {
        device.native_context = dev->native_context;
        device.native_stream = dev->native_stream;
    }
    r = ops->open(&e, ctx, m, &device, &params, err);
    if (r < 0) return r;
    UprezFormat f;
    UprezPicture *src, *dst;
    UpzPlan plan;
    assert_int_equal(uprez_format_from_name(&f, "rgb24"), 0);
    assert_int_equal(uprez_picture_alloc(&src, &f, w, h, NULL), 0);
    assert_int_equal(uprez_picture_alloc(&dst, &f, 2 * w, 2 * h, NULL), 0);
    const UprezColor rgb = {
        .primaries = 1, .transfer = 13, .range = UPREZ_RANGE_FULL, .siting = UPREZ_SITING_LEFT};
    src->color = dst->color = rgb;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < 3 * w; x++)
            ((uint8_t *)src->plane[0])[y * src->stride[0] + x] =
                (uint8_t)(x / 3 * 5 + y * 3 + x % 3);
    UpzShape shape = {
        .width = w, .height = h, .src = f, .dst = f, .src_color = rgb, .dst_color = rgb};
    r = ops->plan(e, &shape, 0, &plan, err);
    if (r >= 0) {
        UpzTask task = {.src = src, .dst = dst};
        r = ops->submit(e, &task);
        if (!r) r = ops->wait(e, &task, -1);
        if (!r) r = task.result;
        if (r < 0) *err = task.err;
    }
    for (int y = 0; y < 2 * h && r >= 0; y++)
        for (int x = 0; x < 2 * w; x++)
            for (int c = 0; c < 3; c++) {
                const int got = ((uint8_t *)dst->plane[0])[y * dst->stride[0] + 3 * x + c];
                const int want =
                    ((uint8_t *)src->plane[0])[y / 2 * src->stride[0] + 3 * (x / 2) + c];
                if (abs(got - want) > 1) fail_msg("(%d, %d): %d, not %d", x, y, got, want);
            }
    ops->close(&e);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    return r;
}

static void must_run(const char *engine, UprezModel *m, const UpzEngineParams *p, int w, int h)
{
    UprezError err;
    if (run(engine, m, p, NULL, w, h, &err) < 0) fail_msg("%s", err.text);
}

/* ---- onnxruntime on CUDA ---- */

static void cuda_options(void **state)
{
    (void)state;
    UprezModel *m = model_of(1);
    UprezError err;
    UpzDevice device = {.native_context = (void *)4097, .native_stream = (void *)0x7654320};
    if (run("onnxruntime", m, NULL, &device, 40, 30, &err) < 0) fail_msg("%s", err.text);
    assert_true(said("cuda device_id=1"));
    assert_true(said("cuda cudnn_conv_algo_search=EXHAUSTIVE"));
    assert_true(said("cuda user_compute_stream=0x7654320"));
    assert_true(said("session half")); /* auto is fp16 on a GPU */
    assert_true(said("threads 2"));
    assert_true(said("config session.disable_cpu_ep_fallback=1"));
    assert_true(said("config session.intra_op.allow_spinning=0"));
    assert_non_null(strstr(logged, "ONNX Runtime: a word from the runtime"));
    forget();
    UpzEngineParams full = {.precision = "fp32"};
    must_run("onnxruntime", m, &full, 40, 30);
    assert_true(said("session float"));
    assert_false(said("user_compute_stream"));
    /* pictures in a context that is not the primary one */
    device.native_context = (void *)8192;
    assert_int_equal(run("onnxruntime", m, NULL, &device, 40, 30, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "primary context"));
    assert_int_equal(run("tensorrt", m, NULL, &device, 40, 30, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "primary context"));
    uprez_model_unref(&m);
}

static void missing_is_an_error(void **state)
{
    (void)state;
    UprezModel *m = model_of(1);
    UprezError err;
    static const struct {
        const char *fake, *engine, *says;
    } cases[] = {
        {"cpu", "onnxruntime", "no CUDA and no OpenVINO provider"},
        {"cpu", "tensorrt", "no TensorRT provider"},
        {"old", "onnxruntime", "1.11.0"},
        {"old", "tensorrt", "too old"},
        {"nocuda", "onnxruntime", "libcublasLt.so.13: cannot open shared object"},
        {"refuse", "onnxruntime", "there is a reason"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setenv("FAKE_ORT", cases[i].fake, 1);
        forget();
        int r = run(cases[i].engine, m, NULL, NULL, 40, 30, &err);
        if (r != UPREZ_ERR_DEVICE || !strstr(err.text, cases[i].says))
            fail_msg("%s %s: %d '%s'", cases[i].fake, cases[i].engine, r, err.text);
        assert_false(said("run ")); /* nothing ran, on whatever */
    }
    unsetenv("FAKE_ORT");
    setenv("FAKE_GPU", "0", 1);
    assert_int_equal(run("onnxruntime", m, NULL, NULL, 40, 30, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "driver"));
    unsetenv("FAKE_GPU");
    UpzEngineParams p = {.precision = "int8"};
    assert_int_equal(run("tensorrt", m, &p, NULL, 40, 30, &err), UPREZ_ERR_DEVICE);
    uprez_model_unref(&m);
}

static void out_of_memory_means_smaller_tiles(void **state)
{
    (void)state;
    UprezModel *m = model_of(1);
    UprezError err;
    setenv("FAKE_ORT", "memory", 1);
    if (run("onnxruntime", m, NULL, NULL, 150, 140, &err) < 0) fail_msg("%s", err.text);
    assert_true(said("run 1x"));
    uprez_model_unref(&m);
}

/* ---- TensorRT ---- */

static void engines_are_kept(void **state)
{
    (void)state;
    UprezModel *m = model_of(1), *other = model_of(2);
    must_run("tensorrt", m, NULL, 60, 50);
    assert_true(said("trt trt_fp16_enable=1"));
    assert_true(said("trt device_id=1"));
    assert_true(said("trt trt_engine_cache_enable=1"));
    assert_true(said("trt trt_timing_cache_enable=1"));
    assert_true(said("timing.sm_90.10.3.0"));
    assert_true(said("trt trt_profile_min_shapes=input:1x3x"));
    assert_true(said("engine built"));
    forget();
    must_run("tensorrt", m, NULL, 60, 50);
    assert_true(said("engine loaded"));
    assert_false(said("engine built"));
    /* each thing an engine depends on makes another one */
    UpzEngineParams full = {.precision = "fp32"};
    forget();
    must_run("tensorrt", m, &full, 60, 50);
    assert_true(said("engine built"));
    assert_true(said("trt trt_fp16_enable=0"));
    forget();
    must_run("tensorrt", other, NULL, 60, 50);
    assert_true(said("engine built"));
    setenv("FAKE_GPU", "89", 1);
    forget();
    must_run("tensorrt", m, NULL, 60, 50);
    assert_true(said("engine built"));
    unsetenv("FAKE_GPU");
    setenv("FAKE_TENSORRT", "100401", 1);
    forget();
    must_run("tensorrt", m, NULL, 60, 50);
    assert_true(said("engine built"));
    assert_true(said("timing.sm_90.10.4.1"));
    unsetenv("FAKE_TENSORRT");
    forget();
    must_run("tensorrt", m, NULL, 60, 50); /* and the first is still there */
    assert_true(said("engine loaded"));
    uprez_model_unref(&m);
    uprez_model_unref(&other);
}

static void damaged_engines_are_built_anew(void **state)
{
    (void)state;
    static const char *const damage[] = {
        "for f in */*.engine; do printf x >>$f; done",         /* changed */
        "for f in */*.engine; do : >$f; done",                 /* emptied */
        "rm */key",                                            /* never finished */
        "for f in */key; do sed -i s/10.3.0/10.2.0/ $f; done", /* of another version */
        "for f in */; do cp $f/key $f/more; done",             /* something unknown beside it */
        "rm */*.engine",
    };
    UprezModel *m = model_of(1);
    must_run("tensorrt", m, NULL, 60, 50);
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        char command[600];
        snprintf(command, sizeof(command), "cd '%s/cache/uprez/tensorrt' && %s", root, damage[i]);
        assert_int_equal(system(command), 0);
        forget();
        logged[0] = 0;
        must_run("tensorrt", m, NULL, 60, 50);
        if (!said("engine built") || said("engine loaded")) fail_msg("kept after: %s", damage[i]);
        assert_non_null(strstr(logged, "damaged"));
        forget();
        must_run("tensorrt", m, NULL, 60, 50);
        assert_true(said("engine loaded"));
    }
    uprez_model_unref(&m);
}

static const UpzTrtProfile range = {
    .batch = {1, 1, 1}, .width = {32, 64, 96}, .height = {32, 48, 80}};

static void compiled_engine_runs_in_its_range(void **state)
{
    (void)state;
    char out[300], note[310], folder[PATH_MAX];
    UprezModel *m = model_of(1), *built;
    UprezError err = {0};
    snprintf(out, sizeof(out), "%s/tiny.engine", root);
    snprintf(note, sizeof(note), "%s.txt", out);
    logged[0] = 0;
    if (upz_trt_compile(ctx, m, 1, fakes, "fp16", &range, out, folder, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(said("trt trt_profile_min_shapes=input:1x3x32x32"));
    assert_true(said("trt trt_profile_opt_shapes=input:1x3x48x64"));
    assert_true(said("trt trt_profile_max_shapes=input:1x3x80x96"));
    assert_non_null(strstr(logged, "[TensorRT EP] some progress"));
    assert_true(upz_exists(out) && upz_exists(note));

    /* the network itself: the range is found, larger pictures are tiled, smaller ones padded */
    forget();
    must_run("tensorrt", m, NULL, 250, 190);
    assert_true(said("engine loaded"));
    assert_false(said("engine built"));
    must_run("tensorrt", m, NULL, 20, 15);
    assert_true(said("run 1x32x32"));
    must_run("tensorrt", m, NULL, 90, 70);

    /* the file alone */
    forget();
    UprezModelParams mp = {.size = sizeof(mp),
                           .denoise = -1,
                           .engine = "tensorrt",
                           .device = "cuda:1",
                           .runtime_path = fakes};
    if (uprez_model_load(&built, ctx, out, &mp, &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(built->foreign, "tensorrt");
    assert_int_equal(built->facts.scale_num, 2);
    assert_int_equal(built->facts.channels, 3);
    assert_true(said("session half of an engine"));
    must_run("tensorrt", built, NULL, 250, 190);
    must_run("tensorrt", built, NULL, 20, 15);
    UpzEngineParams cpu = {.precision = "auto", .runtime_path = fakes};
    const UpzEngineOps *ops;
    UpzDevice device;
    assert_int_equal(upz_engine_choose(&ops, &device, "cpu", NULL, built, &cpu, &err),
                     UPREZ_ERR_MODEL);

    /* elsewhere it does not run, and the reason is said */
    setenv("FAKE_GPU", "89", 1);
    assert_int_equal(run("tensorrt", built, NULL, NULL, 40, 40, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "sm_90"));
    assert_non_null(strstr(err.text, "sm_89"));
    unsetenv("FAKE_GPU");
    setenv("FAKE_TENSORRT", "100401", 1);
    assert_int_equal(run("tensorrt", built, NULL, NULL, 40, 40, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "TensorRT 10.3.0"));
    assert_non_null(strstr(err.text, "10.4.1"));
    unsetenv("FAKE_TENSORRT");
    uprez_model_unref(&built);

    /* an engine of others, without a note, that this TensorRT refuses: its own words */
    unlink(note);
    setenv("FAKE_ORT", "version", 1);
    assert_true(uprez_model_load(&built, ctx, out, &mp, &err) < 0);
    assert_non_null(strstr(err.text, "not compatible with this version of TensorRT"));
    unsetenv("FAKE_ORT");
    if (uprez_model_load(&built, ctx, out, &mp, &err) < 0) fail_msg("%s", err.text);
    uprez_model_unref(&built);
    /* no engine at all */
    FILE *f = fopen(out, "w");
    for (int i = 0; i < 100; i++) fputs("text ", f);
    fclose(f);
    assert_int_equal(uprez_model_load(&built, ctx, out, &mp, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "no engine of TensorRT's"));
    uprez_model_unref(&m);
}

static void keys(void **state)
{
    (void)state;
    UpzTrtKey k = {.model = "ab",
                   .gpu = "sm_90",
                   .tensorrt = "10.3.0",
                   .precision = "fp16",
                   .channels = 3,
                   .half = 1,
                   .profile = range},
              back;
    char text[UPZ_TRT_TEXT], again[UPZ_TRT_TEXT], a[PATH_MAX], b[PATH_MAX];
    upz_trt_key_write(&k, text);
    assert_true(upz_trt_key_read(&back, text));
    upz_trt_key_write(&back, again);
    assert_string_equal(text, again);
    for (size_t n = 0; n < strlen(text); n++) { /* cut short: never taken for a key */
        memcpy(again, text, n);
        again[n] = 0;
        assert_false(upz_trt_key_read(&back, again));
    }
    assert_true(upz_trt_cache_folder("/r", &k, a));
    k.profile.width[UPZ_TRT_OPT]++;
    assert_true(upz_trt_cache_folder("/r", &k, b));
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(cuda_options, fresh),
        cmocka_unit_test_setup(missing_is_an_error, fresh),
        cmocka_unit_test_setup(out_of_memory_means_smaller_tiles, fresh),
        cmocka_unit_test_setup(engines_are_kept, fresh),
        cmocka_unit_test_setup(damaged_engines_are_built_anew, fresh),
        cmocka_unit_test_setup(compiled_engine_runs_in_its_range, fresh),
        cmocka_unit_test_setup(keys, fresh),
    };
    return cmocka_run_group_tests_name("tensorrt", tests, setup, teardown);
}
