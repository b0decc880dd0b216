/* Engine onnxruntime on the processor, with the ONNX Runtime found here (skipped without one):
 * every real model of $SHARED/models against our own engine, one session over changing sizes, files
 * that only the runtime understands, a virtual environment as --runtime-path. Where its header is
 * installed, our table of its functions is compared with it. Prints model | precision | difference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_ORT_HEADER
#include <onnxruntime_c_api.h>
#define UPZ_ORT(index, since, result, name, args)                                                  \
    _Static_assert(offsetof(OrtApi, name) == (index) * sizeof(void *), #name " moved");            \
    _Static_assert(__builtin_types_compatible_p(__typeof__(((OrtApi *)0)->name), result(*) args),  \
                   #name " has other arguments");
#include "engine/onnxruntime/ort_api.def"
#undef UPZ_ORT
#endif

#include "references.h"
#include "test_graphs.h"
#include "base/context.h"
#include "base/file.h"
#include "engine/engine.h"
#include "model/write.h"
#include "picture/format.h"
#include "skip.h"

extern const UpzEngineOps upz_engine_cpu, upz_engine_onnxruntime;
static const UpzEngineOps *const ort = &upz_engine_onnxruntime;
static UprezContext *ctx;
static UpzDevice device;
static char root[64];

static UprezPicture *picture(int channels, int w, int h, const float *data)
{
    UprezFormat f = {.model = channels == 1 ? UPREZ_GRAY : UPREZ_RGB,
                     .depth = 32,
                     .n_comp = (uint8_t)channels,
                     .n_plane = (uint8_t)channels};
    for (int c = 0; c < channels; c++) f.comp[c] = (UprezComponent){(uint8_t)c, 0, 4};
    UprezPicture *p;
    assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
    p->color = (UprezColor){.matrix = channels == 1 ? 1 : 0,
                            .primaries = 1,
                            .transfer = 1,
                            .range = UPREZ_RANGE_FULL,
                            .siting = UPREZ_SITING_LEFT};
    for (int c = 0; c < channels && data; c++)
        for (int y = 0; y < h; y++)
            memcpy((char *)p->plane[c] + y * p->stride[c], data + (c * h + y) * w,
                   (size_t)w * sizeof(float));
    return p;
}

/* Plans an open engine and runs one picture; planar floats, free(). NULL and the sentence. */
static float *run_open(UpzEngine *e, const UpzEngineOps *ops, const UprezModel *m, int w, int h,
                       const float *src, UpzPlan *plan, UprezError *err)
{
    const int channels = m->facts.channels;
    float *out = NULL;
    UprezPicture *in = picture(channels, w, h, src), *dst = NULL;
    UpzShape shape = {.width = w,
                      .height = h,
                      .src = in->format,
                      .dst = in->format,
                      .src_color = in->color,
                      .dst_color = in->color};
    int r = ops->plan(e, &shape, 0, plan, err);
    if (!r) {
        dst = picture(channels, plan->width, plan->height, NULL);
        UpzTask task = {.src = in, .dst = dst};
        r = ops->submit(e, &task);
        if (!r) r = ops->wait(e, &task, -1);
        if (!r && task.result) *err = task.err, r = task.result;
    }
    if (!r) {
        const int ow = plan->width, oh = plan->height;
        out = malloc((size_t)channels * (size_t)ow * (size_t)oh * sizeof(*out));
        for (int c = 0; c < channels; c++)
            for (int y = 0; y < oh; y++)
                memcpy(out + (c * oh + y) * ow, (char *)dst->plane[c] + y * dst->stride[c],
                       (size_t)ow * sizeof(float));
    }
    uprez_picture_unref(&in);
    if (dst) uprez_picture_unref(&dst);
    return out;
}

static float *run_once(const UpzEngineOps *ops, UprezModel *m, const char *precision, int w, int h,
                       const float *src, UpzPlan *plan, UprezError *err)
{
    UpzEngineParams params = {.precision = precision};
    UpzDevice cpu = {.kind = "cpu"};
    UpzEngine *e = NULL;
    *err = (UprezError){0};
    if (ops->supports(m, &params, err) < 0 ||
        ops->open(&e, ctx, m, ops == ort ? &device : &cpu, &params, err) < 0)
        return NULL;
    float *out = run_open(e, ops, m, w, h, src, plan, err);
    ops->close(&e);
    return out;
}

static size_t count(const UprezModel *m, const UpzPlan *p)
{
    return (size_t)m->facts.channels * (size_t)p->width * (size_t)p->height;
}

static double difference(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d; /* a NaN stays */
    }
    return worst;
}

/* ---- */

static int compare(UprezModel *m, const char *name)
{
    static const struct {
        const char *precision;
        double most;
    } types[] = {{"fp32", 5e-5}, {"fp16", 0.02}};
    const int align = UPZ_MAX(m->facts.align, 1), w = UPZ_ROUND_UP(33, align) - align / 2;
    const int h = UPZ_ROUND_UP(18, align) - align / 2;
    float *src = ref_picture(m->facts.channels, w, h, 3);
    UpzPlan plan;
    UprezError err;
    int bad = 0;
    float *want = run_once(&upz_engine_cpu, m, "fp32", w, h, src, &plan, &err);
    if (!want) fail_msg("%s: %s", name, err.text);
    for (int i = 0; i < UPZ_COUNT(types); i++) {
        float *got = run_once(ort, m, types[i].precision, w, h, src, &plan, &err);
        const double d = got ? difference(got, want, count(m, &plan)) : INFINITY;
        const bool ok = d <= types[i].most && !strcmp(plan.precision, types[i].precision);
        print_message("%-62.62s | %-4s | %.1e%s%s\n", name, types[i].precision, d,
                      ok ? "" : " FAILED ", got ? "" : err.text);
        bad += !ok;
        free(got);
    }
    free(want);
    free(src);
    return bad;
}

static void real_models(void **state)
{
    (void)state;
    static const char *const folders[] = {"pytorch", "safetensors", "ncnn", "onnx"};
    const char *shared = getenv("SHARED");
    int n = 0, bad = 0;
    for (int k = 0; k < UPZ_COUNT(folders); k++) {
        char dir[PATH_MAX / 2], path[PATH_MAX];
        struct dirent **names = NULL;
        snprintf(dir, sizeof(dir), "%s/models/%s", shared ? shared : ".", folders[k]);
        const int found = scandir(dir, &names, NULL, alphasort);
        for (int i = 0; i < found; i++) {
            UprezModel *m = NULL;
            UprezError err;
            snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
            if (names[i]->d_name[0] != '.' && strcmp(upz_extension(path), "bin") &&
                upz_model_load(&m, ctx, path, NULL, &err) >= 0) {
                if (!m->foreign[0]) bad += compare(m, names[i]->d_name), n++;
                uprez_model_unref(&m);
            }
            free(names[i]);
        }
        free(names);
    }
    if (!n) {
        SKIP_BECAUSE("no real models at $SHARED/models");
    }
    assert_int_equal(bad, 0);
}

/* One session: every size gives what our engine gives, also larger after smaller. */
static void sizes_change(void **state)
{
    (void)state;
    static const int sizes[][2] = {{64, 48}, {31, 17}, {1, 1}, {150, 100}, {64, 48}};
    static const GraphBuild builds[] = {graph_srvgg, graph_unshuffled, graph_deep};
    for (int b = 0; b < UPZ_COUNT(builds); b++) {
        UprezModel *m = graph_model(builds[b], b == 1 ? 1 : 3);
        UpzEngineParams params = {.precision = "fp32"};
        UpzEngine *e;
        UprezError err = {0};
        if (ort->open(&e, ctx, m, &device, &params, &err) < 0) fail_msg("%s", err.text);
        for (int i = 0; i < UPZ_COUNT(sizes); i++) {
            const int w = sizes[i][0], h = sizes[i][1];
            float *src = ref_picture(m->facts.channels, w, h, 5);
            UpzPlan plan;
            float *got = run_open(e, ort, m, w, h, src, &plan, &err);
            if (!got) fail_msg("%s", err.text);
            float *want = run_once(&upz_engine_cpu, m, "fp32", w, h, src, &plan, &err);
            const double d = difference(got, want, count(m, &plan));
            if (!(d <= 2e-5)) fail_msg("graph %d at %dx%d: %g", b, w, h, d);
            free(got);
            free(want);
            free(src);
        }
        ort->close(&e);
        graph_model_free(m);
    }
}

/* ---- files that are left to the runtime ---- */

/* 2x: tanh, a convolution, a shuffle */
static int with_tanh(UpzGraph *g, int in)
{
    UpzNode n = upz_node(UPZ_OP_ACT);
    n.n_src = 1;
    n.src[0] = in;
    n.act = UPZ_ACT_TANH;
    int v = graph_conv(g, upz_graph_add(g, &n, NULL), 12, UPZ_ACT_NONE, 0.3f, 0.5f);
    return upz_graph_simple(g, UPZ_OP_SHUFFLE, v, 2, NULL);
}
static int without_tanh(UpzGraph *g, int in)
{
    int v = graph_conv(g, in, 12, UPZ_ACT_NONE, 0.3f, 0.5f);
    return upz_graph_simple(g, UPZ_OP_SHUFFLE, v, 2, NULL);
}

/* The network as a file in which Tanh is called `op`, of the same length. */
static void write_file(const char *name, const char *op, const UpzOnnxParams *params,
                       char path[512])
{
    UprezModel *m = graph_model(with_tanh, 3);
    uint8_t *data;
    size_t size;
    UprezError err;
    if (upz_write_onnx_memory(m, params, &data, &size, &err) < 0) fail_msg("%s", err.text);
    graph_model_free(m);
    int replaced = 0;
    for (size_t i = 0; i + 4 <= size; i++)
        if (!memcmp(data + i, "Tanh", 4)) memcpy(data + i, op, 4), replaced++;
    assert_true(replaced >= 1); /* the operator, and perhaps its name */
    snprintf(path, 512, "%s/%s", root, name);
    if (upz_write_atomic(path, data, size, &err) < 0) fail_msg("%s", err.text);
    upz_free(data);
}

static UprezModel *load_foreign(const char *path)
{
    UprezModel *m;
    UprezError err;
    UprezModelParams mp = {.size = sizeof(mp), .denoise = -1, .engine = "onnxruntime"};
    if (uprez_model_load(&m, ctx, path, &mp, &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(m->foreign, "onnx");
    assert_non_null(strstr(m->foreign_why, "Sinh"));
    assert_int_equal(m->facts.scale_num, 2);
    assert_int_equal(m->facts.scale_den, 1);
    assert_int_equal(m->facts.channels, 3);
    return m;
}

static void unknown_operators_run(void **state)
{
    (void)state;
    char path[512];
    const UpzOnnxParams any = {.opset = 16},
                        fixed = {.fixed_batch = 1, .fixed_width = 64, .fixed_height = 48};
    const int w = 150, h = 101;
    float *src = ref_picture(3, w, h, 9),
          *sinhs = malloc(3 * (size_t)w * (size_t)h * sizeof(float));
    for (int i = 0; i < 3 * w * h; i++) sinhs[i] = sinhf(src[i]);
    UprezModel *rest = graph_model(without_tanh, 3);
    float *want = malloc(12 * (size_t)w * (size_t)h * sizeof(float));
    UprezError err;
    assert_int_equal(upz_reference_run(&rest->graph, sinhs, w, h, want, &err), 0);
    for (int i = 0; i < 2; i++) {
        write_file("sinh.onnx", "Sinh", i ? &fixed : &any, path);
        UprezModel *m = load_foreign(path);
        UpzPlan plan;
        float *got = run_once(ort, m, "auto", w, h, src, &plan, &err);
        if (!got) fail_msg("%s", err.text);
        assert_int_equal(plan.width, 2 * w);
        const double d = difference(got, want, count(m, &plan));
        if (!(d <= 2e-5)) fail_msg("%s: %g", i ? "fixed size" : "any size", d);
        free(got);
        /* smaller than the only size there is */
        got = run_once(ort, m, "fp32", 20, 10, src, &plan, &err);
        if (!got) fail_msg("%s", err.text);
        free(got);
        assert_null(run_once(ort, m, "fp16", w, h, src, &plan, &err));
        assert_int_equal(err.code, UPREZ_ERR_DEVICE);
        /* no other engine takes it, and says why */
        const UpzEngineOps *ops;
        UpzDevice dev;
        UpzEngineParams params = {.precision = "auto"};
        assert_int_equal(upz_engine_choose(&ops, &dev, "cpu", NULL, m, &params, &err),
                         UPREZ_ERR_MODEL);
        assert_non_null(strstr(err.text, "Sinh"));
        uprez_model_unref(&m);
    }
    free(src);
    free(sinhs);
    free(want);
    graph_model_free(rest);
}

static void what_nobody_knows_is_named(void **state)
{
    (void)state;
    char path[512], command[1100];
    UprezModel *m;
    UprezError err = {0};
    UprezModelParams mp = {.size = sizeof(mp), .denoise = -1};
    write_file("nobody.onnx", "Tunh", &(UpzOnnxParams){.opset = 16}, path);
    assert_int_equal(uprez_model_load(&m, ctx, path, &mp, &err), UPREZ_ERR_MODEL);
    assert_null(m);
    assert_non_null(strstr(err.text, "Tunh"));
    assert_non_null(strstr(err.text, "nobody.onnx"));
    assert_null(strchr(err.text, '\n'));
    mp.engine = "cpu"; /* which never asks a runtime: our own reader's sentence */
    assert_int_equal(uprez_model_load(&m, ctx, path, &mp, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "Tunh"));
    /* damage is damage: no runtime is asked */
    write_file("cut.onnx", "Sinh", &(UpzOnnxParams){.opset = 16}, path);
    snprintf(command, sizeof(command), "truncate -s -40 '%s'", path);
    assert_int_equal(system(command), 0);
    mp.engine = NULL;
    assert_int_equal(uprez_model_load(&m, ctx, path, &mp, &err), UPREZ_ERR_MODEL);
    assert_null(strstr(err.text, "ONNX Runtime"));
}

static void refused(void **state)
{
    (void)state;
    static const char *const precisions[] = {"bf16", "int8"};
    UprezModel *m = graph_model(graph_srvgg, 3), *kernel;
    UprezError err;
    UpzPlan plan;
    float src[3 * 64] = {0};
    for (int i = 0; i < UPZ_COUNT(precisions); i++) {
        assert_null(run_once(ort, m, precisions[i], 8, 8, src, &plan, &err));
        assert_int_equal(err.code, UPREZ_ERR_DEVICE);
        assert_non_null(strstr(err.text, precisions[i]));
    }
    graph_model_free(m);
    assert_int_equal(upz_model_load(&kernel, ctx, "lanczos", NULL, &err), 0);
    assert_null(run_once(ort, kernel, "auto", 8, 8, src, &plan, &err));
    assert_int_equal(err.code, UPREZ_ERR_DEVICE);
    uprez_model_unref(&kernel);
}

/* A virtual environment given by its folder alone; asked for, a GPU that is not there is an error.
 */
static void from_a_venv(void **state)
{
    (void)state;
    char site[PATH_MAX], venv[300], link[2 * PATH_MAX];
    snprintf(site, sizeof(site), "%s", device.runtime);
    char *capi = strstr(site, "/onnxruntime/capi/");
    if (!capi) {
        SKIP_BECAUSE("%s is not in a Python environment", site);
    }
    capi[strlen("/onnxruntime")] = 0;
    snprintf(venv, sizeof(venv), "%s/venv", root);
    snprintf(link, sizeof(link),
             "mkdir -p '%s/lib/python3.77/site-packages' && "
             "ln -s '%s' '%s/lib/python3.77/site-packages/'",
             venv, site, venv);
    assert_int_equal(system(link), 0);
    UpzDeviceList list = {.n = 0};
    UprezError why = {0};
    assert_int_equal(ort->probe(venv, &list, &why), 0);
    assert_true(list.n >= 1);
    assert_memory_equal(list.items[0].runtime, venv, strlen(venv));
    assert_string_equal(list.items[0].version, device.version);
    UprezModel *m = graph_model(graph_srvgg, 3);
    UpzEngineParams params = {.precision = "auto", .runtime_path = venv};
    const UpzEngineOps *ops;
    UpzDevice dev;
    assert_int_equal(upz_engine_choose(&ops, &dev, "onnxruntime", "cpu", m, &params, &why), 0);
    assert_int_equal(upz_engine_choose(&ops, &dev, "onnxruntime", "cuda:7", m, &params, &why),
                     UPREZ_ERR_DEVICE);
    assert_null(strchr(why.text, '\n'));
    graph_model_free(m);
}

static int teardown(void **state)
{
    (void)state;
    char command[200];
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

int main(void)
{
#ifndef HAVE_ORT_HEADER
    printf("its header is not installed: the table of functions is not compared\n");
#endif
    UprezContextParams params = {.size = sizeof(params), .threads = 2};
    UpzDeviceList list = {.n = 0};
    UprezError why = {0};
    ort->probe(NULL, &list, &why);
    for (int i = 0; i < list.n; i++)
        if (!strcmp(list.items[i].kind, "cpu")) device = list.items[i];
    if (!device.kind[0]) {
        printf("SKIP: %s\n", why.text);
        return 77;
    }
    printf("ONNX Runtime %s, %s\n", device.version, device.runtime);
    snprintf(root, sizeof(root), "/tmp/uprez-onnxruntime-XXXXXX");
    if (!mkdtemp(root) || uprez_context_create(&ctx, &params, NULL) < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_change),
        cmocka_unit_test(unknown_operators_run),
        cmocka_unit_test(what_nobody_knows_is_named),
        cmocka_unit_test(refused),
        cmocka_unit_test(from_a_venv),
        cmocka_unit_test(real_models),
    };
    int r = cmocka_run_group_tests_name("onnxruntime", tests, NULL, teardown);
    uprez_context_destroy(&ctx);
    return r;
}
