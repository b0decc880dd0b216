/* Engine openvino against our own CPU engine: every real model of $SHARED/models in each type, odd
 * and changing sizes, tiles, several pictures in flight, the same bytes on every count of threads,
 * and what is refused. Skipped where OpenVINO is not installed. Prints model | type | difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>

#include "references.h"
#include "tiny_model.h"
#include "base/context.h"
#include "base/file.h"
#include "engine/engine.h"
#include "model/model.h"
#include "picture/format.h"
#include "uprez/upscaler.h"
#include "skip.h"

static UpzDevice device;
static const UpzEngineOps *ops;

static UprezContext *context(int threads)
{
    UprezContext *ctx;
    UprezError err;
    UprezContextParams params = {.size = sizeof(params), .threads = threads};
    if (uprez_context_create(&ctx, &params, &err) < 0) fail_msg("%s", err.text);
    return ctx;
}

static UprezPicture *picture(int channels, int w, int h, const float *data)
{
    UprezFormat f = {.model = channels == 1 ? UPREZ_GRAY : UPREZ_RGB, .depth = 32,
                     .n_comp = (uint8_t)channels, .n_plane = (uint8_t)channels};
    for (int c = 0; c < channels; c++) f.comp[c] = (UprezComponent){(uint8_t)c, 0, 4};
    UprezPicture *p;
    UprezError err;
    if (uprez_picture_alloc(&p, &f, w, h, &err) < 0) fail_msg("%s", err.text);
    p->color = (UprezColor){.matrix = channels == 1 ? 1 : 0, .primaries = 1, .transfer = 1,
                            .range = UPREZ_RANGE_FULL, .siting = UPREZ_SITING_LEFT};
    for (int c = 0; c < channels && data; c++)
        for (int y = 0; y < h; y++)
            memcpy((char *)p->plane[c] + y * p->stride[c], data + (c * h + y) * w,
                   (size_t)w * sizeof(float));
    return p;
}

typedef struct Run {
    UpzEngine *e;
    UpzPlan plan;
    int w, h, channels;
} Run;

/* Opens and plans; the error's code, or 0. */
static int begin(Run *run, const UpzEngineOps *with, UprezContext *ctx, UprezModel *m,
                 const char *precision, int tile, int w, int h, UprezError *err)
{
    UpzEngineParams params = {.precision = precision, .tile = tile};
    UpzDevice cpu = {.kind = "cpu"};
    *run = (Run){.w = w, .h = h, .channels = m->facts.channels};
    int r = with->supports(m, &params, err);
    if (!r) r = with->open(&run->e, ctx, m, with == ops ? &device : &cpu, &params, err);
    if (r < 0) return r;
    UprezPicture *like = picture(run->channels, w, h, NULL);
    UpzShape shape = {.width = w, .height = h, .src = like->format, .dst = like->format,
                      .src_color = like->color, .dst_color = like->color};
    r = with->plan(run->e, &shape, 0, &run->plan, err);
    uprez_picture_unref(&like);
    if (r < 0) with->close(&run->e);
    return r;
}

/* The results of `n` pictures (seeds 1 …), all submitted before the first is waited for where the
 * engine takes them, one behind the other; the caller frees. */
static float *results(Run *run, const UpzEngineOps *with, int n)
{
    enum { MOST = 8 };
    UprezPicture *in[MOST], *out[MOST];
    UpzTask task[MOST];
    const int ow = run->plan.width, oh = run->plan.height;
    const size_t one = (size_t)run->channels * (size_t)ow * (size_t)oh;
    float *all = calloc(one * (size_t)n, sizeof(*all));
    int waited = 0;
    assert_true(n <= MOST);
    for (int i = 0; i < n; i++) {
        float *src = ref_picture(run->channels, run->w, run->h, (uint32_t)i + 1);
        in[i] = picture(run->channels, run->w, run->h, src);
        out[i] = picture(run->channels, ow, oh, NULL);
        free(src);
        task[i] = (UpzTask){.src = in[i], .dst = out[i]};
    }
    for (int i = 0; i < n || waited < n;) {
        int r = i < n ? with->submit(run->e, &task[i]) : UPREZ_AGAIN;
        if (!r) {
            i++;
            continue;
        }
        assert_int_equal(r, UPREZ_AGAIN);
        assert_int_equal(with->wait(run->e, &task[waited], -1), 0);
        if (task[waited].result) fail_msg("%s", task[waited].err.text);
        for (int c = 0; c < run->channels; c++)
            for (int y = 0; y < oh; y++)
                memcpy(all + one * (size_t)waited + ((size_t)c * (size_t)oh + (size_t)y) * (size_t)ow,
                       (char *)out[waited]->plane[c] + y * out[waited]->stride[c],
                       (size_t)ow * sizeof(float));
        waited++;
    }
    for (int i = 0; i < n; i++) {
        uprez_picture_unref(&in[i]);
        uprez_picture_unref(&out[i]);
    }
    return all;
}

static float *run_once(const UpzEngineOps *with, UprezContext *ctx, UprezModel *m,
                       const char *precision, int tile, int w, int h, int n, UpzPlan *plan)
{
    Run run;
    UprezError err = {0};
    if (begin(&run, with, ctx, m, precision, tile, w, h, &err) < 0) fail_msg("%s", err.text);
    float *out = results(&run, with, n);
    if (plan) *plan = run.plan;
    with->close(&run.e);
    return out;
}

static void difference(const float *a, const float *b, size_t n, double *max, double *psnr)
{
    double sum = 0;
    *max = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= *max)) *max = d;
        sum += d * d;
    }
    *psnr = sum > 0 ? fmin(10 * log10((double)n / sum), 200) : 200;
}

/* ---- real models ---- */

static int failed;

static void compare(UprezContext *ctx, UprezModel *m, const char *name)
{
    static const struct { const char *type; double max, psnr; } types[] = {
        {"fp32", 5e-5, 110}, {"fp16", 0.02, 60}, {"bf16", 0.15, 40}, {"auto", 0.15, 42}};
    const int w = 33, h = 18;
    UpzPlan plan;
    float *want = run_once(upz_engine_find("cpu"), ctx, m, "fp32", 0, w, h, 1, &plan);
    const size_t n = (size_t)m->facts.channels * (size_t)plan.width * (size_t)plan.height;
    for (int i = 0; i < UPZ_COUNT(types); i++) {
        double max, psnr;
        if (strcmp(types[i].type, "auto") && !strstr(device.can, types[i].type)) {
            print_message("%-60.60s | %-4s | not on this device\n", name, types[i].type);
            continue;
        }
        float *got = run_once(ops, ctx, m, types[i].type, 0, w, h, 1, &plan);
        difference(got, want, n, &max, &psnr);
        const bool ok = max <= types[i].max && psnr >= types[i].psnr;
        failed += !ok;
        print_message("%-60.60s | %-4s | %-4s | max %.1e, %5.1f dB%s\n", name, types[i].type,
                      plan.precision, max, psnr, ok ? "" : " FAILED");
        if (strcmp(types[i].type, "auto")) assert_string_equal(plan.precision, types[i].type);
        free(got);
    }
    free(want);
}

static void real_models(void **state)
{
    static const char *const folders[] = {"pytorch", "safetensors", "ncnn", "onnx"};
    const char *shared = getenv("SHARED");
    int n = 0;
    failed = 0;
    UprezContext *ctx = context(0);
    for (int k = 0; k < UPZ_COUNT(folders); k++) {
        char dir[2048];
        struct dirent **names = NULL;
        snprintf(dir, sizeof(dir), "%s/models/%s", shared ? shared : ".", folders[k]);
        int count = scandir(dir, &names, NULL, alphasort);
        for (int i = 0; i < count; i++) {
            char path[4096];
            UprezModel *m = NULL;
            UprezError err;
            snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
            if (names[i]->d_name[0] != '.' && strcmp(upz_extension(path), "bin") &&
                uprez_model_load(&m, ctx, path, NULL, &err) >= 0) {
                const char *name = names[i]->d_name;
                if (m->facts.path && !m->foreign[0]) compare(ctx, m, name), n++;
                uprez_model_unref(&m);
            }
            free(names[i]);
        }
        free(names);
    }
    uprez_context_destroy(&ctx);
    if (!n) {
        SKIP_BECAUSE("no real models at $SHARED/models");
    }
    assert_int_equal(failed, 0);
}

/* ---- flow ---- */

static UprezModel *tiny(UprezContext *ctx)
{
    static TinyFile file;
    UprezModel *m;
    UprezError err;
    tiny_srvgg(&file, 24, 4, 2, 5);
    int r = upz_model_load_memory(&m, ctx, "tiny.safetensors", file.data, file.size, &err);
    free(file.data);
    if (r < 0) fail_msg("%s", err.text);
    return m;
}

/* One engine, one size after another. */
static void sizes(void **state)
{
    static const int list[][2] = {{17, 9}, {64, 48}, {5, 70}, {17, 9}, {31, 33}, {2, 2}, {90, 16}};
    UprezContext *ctx = context(2);
    UprezModel *m = tiny(ctx);
    Run run;
    UprezError err = {0};
    if (begin(&run, ops, ctx, m, "fp32", 0, 40, 30, &err) < 0) fail_msg("%s", err.text);
    for (int i = 0; i < UPZ_COUNT(list); i++) {
        UprezPicture *like = picture(run.channels, list[i][0], list[i][1], NULL);
        UpzShape shape = {.width = list[i][0], .height = list[i][1], .src = like->format,
                          .dst = like->format, .src_color = like->color, .dst_color = like->color};
        assert_int_equal(ops->plan(run.e, &shape, 0, &run.plan, &err), 0);
        uprez_picture_unref(&like);
        run.w = list[i][0], run.h = list[i][1];
        float *got = results(&run, ops, 1);
        float *want = run_once(upz_engine_find("cpu"), ctx, m, "fp32", 0, run.w, run.h, 1, NULL);
        double max, psnr;
        difference(got, want, (size_t)run.channels * (size_t)run.plan.width *
                   (size_t)run.plan.height, &max, &psnr);
        assert_true(max < 1e-5);
        free(got);
        free(want);
    }
    ops->close(&run.e);
    uprez_model_unref(&m);
    uprez_context_destroy(&ctx);
}

/* Many pictures at once, with one and with several runs at a time, come out as one by one. */
static void in_flight(void **state)
{
    for (int threads = 1; threads <= 24; threads += 23) {
        UprezContext *ctx = context(threads);
        UprezModel *m = tiny(ctx);
        UpzPlan plan;
        float *got = run_once(ops, ctx, m, "fp32", 0, 37, 21, 8, &plan);
        const size_t one = (size_t)m->facts.channels * (size_t)plan.width * (size_t)plan.height;
        assert_true(plan.depth >= 2);
        float *want = run_once(upz_engine_find("cpu"), ctx, m, "fp32", 0, 37, 21, 8, NULL);
        double max, psnr;
        difference(got, want, one * 8, &max, &psnr);
        assert_true(max < 1e-5);
        difference(got, got + one, one, &max, &psnr); /* they are different pictures */
        assert_true(max > 0.05);
        free(got);
        free(want);
        uprez_model_unref(&m);
        uprez_context_destroy(&ctx);
    }
}

/* The numerics id does not name the threads. */
static void same_bytes(void **state)
{
    static const char *const types[] = {"fp32", "bf16", "fp16"};
    for (int i = 0; i < UPZ_COUNT(types); i++) {
        if (!strstr(device.can, types[i])) continue;
        float *first = NULL;
        UpzPlan plan, one_plan = {.width = 0};
        for (int threads = 1; threads <= 24; threads = threads * 2 + 1) {
            UprezContext *ctx = context(threads);
            UprezModel *m = tiny(ctx);
            float *got = run_once(ops, ctx, m, types[i], 0, 96, 64, 1, &plan);
            const size_t n = (size_t)m->facts.channels * (size_t)plan.width * (size_t)plan.height;
            if (!first) {
                first = got, one_plan = plan;
            } else {
                assert_string_equal(plan.numerics, one_plan.numerics);
                assert_memory_equal(got, first, n * sizeof(float));
                free(got);
            }
            uprez_model_unref(&m);
            uprez_context_destroy(&ctx);
        }
        assert_non_null(strstr(one_plan.numerics, types[i]));
        free(first);
    }
}

static void tiles(void **state)
{
    UprezContext *ctx = context(2);
    UprezModel *m = tiny(ctx);
    UpzPlan whole, cut;
    double max, psnr;
    float *want = run_once(ops, ctx, m, "fp32", 0, 150, 110, 1, &whole);
    float *got = run_once(ops, ctx, m, "fp32", 64, 150, 110, 1, &cut);
    assert_string_not_equal(whole.numerics, cut.numerics);
    difference(got, want, (size_t)m->facts.channels * (size_t)cut.width * (size_t)cut.height, &max,
               &psnr);
    assert_true(max < 1e-5);
    free(want);
    free(got);
    uprez_model_unref(&m);
    uprez_context_destroy(&ctx);
}

static void refused(void **state)
{
    UprezContext *ctx = context(1);
    UprezModel *m = tiny(ctx), *kernel;
    Run run;
    UprezError err = {0};
    assert_int_equal(begin(&run, ops, ctx, m, "int8", 0, 8, 8, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "int8"));
    assert_int_equal(uprez_model_load(&kernel, ctx, "bicubic", NULL, &err), 0);
    assert_int_equal(ops->supports(kernel, NULL, &err), UPREZ_ERR_DEVICE);
    /* what is no OpenVINO, under its name */
    char dir[] = "/tmp/uprez-openvino-XXXXXX", file[64];
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof(file), "%s/libopenvino_c.so", dir);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("not a library", f);
    fclose(f);
    UpzDeviceList list = {.n = 0};
    UprezError why = {0};
    ops->probe(dir, &list, &why);
    assert_int_equal(list.n, 0);
    assert_int_equal(why.code, UPREZ_ERR_DEVICE);
    assert_null(strchr(why.text, '\n'));
    assert_non_null(strstr(why.text, "libopenvino_c.so"));
    remove(file);
    remove(dir);
    uprez_model_unref(&kernel);
    uprez_model_unref(&m);
    uprez_context_destroy(&ctx);
}

int main(void)
{
    UpzDeviceList list = {.n = 0};
    UprezError why = {0};
    ops = upz_engine_find("openvino");
    if (!ops) return 1;
    ops->probe(NULL, &list, &why);
    if (!list.n) {
        printf("SKIP: %s\n", why.text);
        return 77;
    }
    device = list.items[0];
    printf("OpenVINO %s, %s: %s, %s\n", device.version, device.runtime, device.name, device.can);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),      cmocka_unit_test(in_flight), cmocka_unit_test(same_bytes),
        cmocka_unit_test(tiles),      cmocka_unit_test(refused),   cmocka_unit_test(real_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
