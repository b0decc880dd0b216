/* Every real model of $SHARED/models, and the small ONNX files of tests/data/references, against
 * what PyTorch or ONNX Runtime computed from the same file in fp32: by the plain-C reference and by
 * the engine for processors, at each level this one has. Prints the table
 * model | loads | engine | difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "references.h"
#include "base/context.h"
#include "base/file.h"
#include "engine/engine.h"
#include "model/model.h"
#include "picture/format.h"
#include "picture/resize.h"
#include "uprez/upscaler.h"
#include "skip.h"

#define TOLERANCE 1e-4

static char folder[4096]; /* $SHARED/models */
static int failures;

/* What the facts' pad mode puts where a picture of n pixels is read at i >= n. */
static int padded_at(int i, int n, UpzPadMode mode)
{
    if (i < n) return i;
    if (mode == UPZ_PAD_ZERO) return -1;
    if (mode == UPZ_PAD_REPLICATE || n == 1) return n - 1;
    return UPZ_MAX(2 * (n - 1) - i, 0);
}

/* Any size: pads to the network's multiple, runs, crops. */
static float *run_reference(const UprezModel *m, const float *src, int w, int h, UprezError *err)
{
    int align = m->facts.align, channels = m->facts.channels;
    int num = m->facts.scale_num, den = m->facts.scale_den;
    int pw = UPZ_ROUND_UP(w, align), ph = UPZ_ROUND_UP(h, align);
    int ow = pw * num / den, oh = ph * num / den, cw = w * num / den, ch = h * num / den;
    float *in = calloc((size_t)channels * (size_t)pw * (size_t)ph, sizeof(*in));
    float *out = calloc((size_t)channels * (size_t)ow * (size_t)oh, sizeof(*out));
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < ph; y++)
            for (int x = 0; x < pw; x++) {
                int sx = padded_at(x, w, m->graph.pad_mode);
                int sy = padded_at(y, h, m->graph.pad_mode);
                if (sx >= 0 && sy >= 0) in[(c * ph + y) * pw + x] = src[(c * h + sy) * w + sx];
            }
    int r = upz_reference_run(&m->graph, in, pw, ph, out, err);
    free(in);
    for (int c = 0; c < channels; c++) /* rows only ever move towards the front */
        for (int y = 0; y < ch; y++)
            memmove(out + (c * ch + y) * cw, out + (c * oh + y) * ow, (size_t)cw * sizeof(*out));
    if (r < 0) free(out);
    return r < 0 ? NULL : out;
}

static UprezPicture *float_picture(int channels, int w, int h, const float *data)
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

/* The engine's result as planar floats; NULL and a sentence if it cannot. */
static float *run_engine(const UpzEngineOps *ops, UprezContext *ctx, UprezModel *m,
                         const float *src, int w, int h, UprezError *err)
{
    int channels = m->facts.channels, ow = w * m->facts.scale_num / m->facts.scale_den;
    int oh = h * m->facts.scale_num / m->facts.scale_den;
    UpzEngineParams params = {.precision = "fp32"};
    UpzDevice device = {.kind = "cpu"};
    UpzEngine *e = NULL;
    float *out = NULL;
    if (ops->supports(m, &params, err) < 0 || ops->open(&e, ctx, m, &device, &params, err) < 0)
        return NULL;
    /* luma networks read numbers as the picture's range says them; keep the network's own range */
    UprezPicture *in = float_picture(channels, w, h, src);
    UprezPicture *dst = float_picture(channels, ow, oh, NULL);
    UpzShape shape = {.width = w, .height = h, .src = in->format, .dst = dst->format,
                      .src_color = in->color, .dst_color = dst->color};
    UpzPlan plan;
    if (ops->plan(e, &shape, 0, &plan, err) >= 0) {
        UpzTask task = {.src = in, .dst = dst};
        int r = ops->submit(e, &task);
        if (!r) r = ops->wait(e, &task, -1);
        if (!r) r = task.result;
        if (r < 0) {
            *err = task.err;
        } else {
            out = calloc((size_t)channels * (size_t)ow * (size_t)oh, sizeof(*out));
            for (int c = 0; c < channels; c++)
                for (int y = 0; y < oh; y++)
                    memcpy(out + (c * oh + y) * ow, (char *)dst->plane[c] + y * dst->stride[c],
                           (size_t)ow * sizeof(float));
        }
    }
    ops->close(&e);
    uprez_picture_unref(&in);
    uprez_picture_unref(&dst);
    return out;
}

static void report(const char *model, const char *engine, double difference, const char *why)
{
    bool ok = difference <= TOLERANCE;
    failures += !ok;
    if (why) print_message("%-62s | no  | %-14s | %s\n", model, engine, why);
    else
        print_message("%-62s | yes | %-14s | %.2e%s\n", model, engine, difference,
                      ok ? "" : " FAILED");
}

/* The engine turns studio luma into 0..1 and back, and cuts off what lies outside the range of a
 * picture; the reference is compared likewise. */
static double engine_difference(const UprezModel *m, const UpzEngineOps *ops, UprezContext *ctx,
                                const float *want, size_t count, int w, int h, const char **why)
{
    static UprezError err;
    err.text[0] = 0;
    bool studio = m->facts.input == UPREZ_INPUT_Y_STUDIO;
    size_t n_src = (size_t)m->facts.channels * (size_t)w * (size_t)h;
    float *src = ref_picture(m->facts.channels, w, h, 1);
    for (size_t i = 0; i < n_src && studio; i++) src[i] = (src[i] * 255 - 16) / 219;
    float *got = run_engine(ops, ctx, (UprezModel *)(uintptr_t)m, src, w, h, &err);
    free(src);
    if (!got) {
        *why = err.text;
        return INFINITY;
    }
    for (size_t i = 0; i < count && studio; i++) got[i] = (got[i] * 219 + 16) / 255;
    double max = 0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        bool cut = (want[i] < 0 && got[i] == 0) || (want[i] > 1 && got[i] == 1);
        if (!cut && !(d <= max)) max = d;
    }
    free(got);
    return max;
}

/* A context for each processor level to be had here. */
typedef struct Levels {
    UprezContext *ctx[UPZ_CPU_COUNT];
} Levels;

static void check_file(const Levels *levels, const char *path, const cJSON *ref, const float *want)
{
    UprezModel *m;
    UprezError err = {0};
    const char *name = upz_basename(path);
    if (uprez_model_load(&m, levels->ctx[0], path, NULL, &err) < 0) {
        report(name, "", INFINITY, err.text);
        return;
    }
    int w = ref_int(ref, "width", 0), h = ref_int(ref, "height", 0);
    int ow = ref_int(ref, "out_width", 0), oh = ref_int(ref, "out_height", 0);
    const UprezModelFacts *f = uprez_model_facts(m);
    assert_int_equal(f->channels, ref_int(ref, "channels", 0));
    assert_int_equal(w * f->scale_num, ow * f->scale_den);
    assert_int_equal(h * f->scale_num, oh * f->scale_den);
    size_t count = (size_t)f->channels * (size_t)ow * (size_t)oh;
    float *src = ref_picture(f->channels, w, h, 1);
    float *got = run_reference(m, src, w, h, &err);
    report(name, "reference", got ? ref_difference(got, want, count) : INFINITY,
           got ? NULL : err.text);
    free(got);
    free(src);
    const UpzEngineOps *ops = upz_engine_find("cpu");
    assert_non_null(ops);
    for (int i = 0; i < UPZ_CPU_COUNT && !ops->missing; i++) {
        if (!levels->ctx[i]) continue;
        char engine[32];
        const char *why = NULL;
        double d = engine_difference(m, ops, levels->ctx[i], want, count, w, h, &why);
        snprintf(engine, sizeof(engine), "cpu %s", upz_cpu_name((UpzCpuLevel)i));
        report(name, engine, d, why);
    }
    uprez_model_unref(&m);
}

/* key: "models" or "onnx". root: where the files are. Returns how many were checked. */
static int check_all(const char *key, const char *root)
{
    UprezError err;
    Levels levels = {0};
    for (int i = 0; i <= (int)upz_cpu_detect(); i++) {
        UprezContextParams params = {.size = sizeof(params), .cpu = upz_cpu_name((UpzCpuLevel)i)};
        if (uprez_context_create(&levels.ctx[i], &params, &err) < 0) fail_msg("%s", err.text);
    }
    cJSON *index = ref_index();
    assert_non_null(index);
    const cJSON *ref, *file;
    int checked = 0;
    failures = 0;
    print_message("%-62s | loads | engine | max difference\n", "model");
    cJSON_ArrayForEach(ref, cJSON_GetObjectItem(index, key)) {
        size_t size;
        char *blob = ref_file(ref_path(ref_text(ref, "file")), &size);
        assert_non_null(blob);
        size_t count = (size_t)ref_int(ref, "channels", 0) * (size_t)ref_int(ref, "out_width", 0) *
                       (size_t)ref_int(ref, "out_height", 0);
        assert_int_equal(size, count * sizeof(float));
        char hex[UPZ_SHA256_HEX];
        upz_sha256(blob, size, hex);
        assert_string_equal(hex, ref_text(ref, "sha256"));
        cJSON_ArrayForEach(file, cJSON_GetObjectItem(ref, "models")) {
            char path[8192];
            snprintf(path, sizeof(path), "%s/%s", root, ref_text(file, "path"));
            if (upz_sha256_file(path, hex, UPREZ_ERR_MODEL, &err) < 0) fail_msg("%s", err.text);
            assert_string_equal(hex, ref_text(file, "sha256"));
            check_file(&levels, path, ref, (const float *)blob);
            checked++;
        }
        free(blob);
    }
    cJSON_Delete(index);
    for (int i = 0; i < UPZ_CPU_COUNT; i++) uprez_context_destroy(&levels.ctx[i]);
    assert_int_equal(failures, 0);
    return checked;
}

static void small_onnx_files(void **state)
{
    (void)state;
    char root[4096];
    snprintf(root, sizeof(root), "%s", ref_path(""));
    assert_true(check_all("onnx", root) >= 6);
}

static void real_models(void **state)
{
    (void)state;
    if (!upz_is_dir(folder)) {
        SKIP_BECAUSE("%s is not there", folder);
    }
    assert_true(check_all("models", folder) >= 25);
}

static void broken_model_is_refused(void **state)
{
    (void)state;
    if (!upz_is_dir(folder)) SKIP_BECAUSE("%s is not there", folder);
    UprezModel *m;
    UprezError err;
    char path[8192];
    snprintf(path, sizeof(path), "%s/onnx/broken_external_data_missing.onnx", folder);
    assert_int_equal(uprez_model_load(&m, NULL, path, NULL, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "broken_external_data_missing.onnx"));
    assert_non_null(strstr(err.text, "realesr-general-x4v3.onnx.data"));
    assert_null(m);
}

/* Colours and alignment that the table cannot show. */
static void facts_are_right(void **state)
{
    (void)state;
    if (!upz_is_dir(folder)) SKIP_BECAUSE("%s is not there", folder);
    static const struct {
        const char *file;
        int scale, align, reach, input;
    } want[] = {
        {"onnx/2x_AnimeJaNai_HD_V3.1_Performance_SPANF3_b5f48_unshuffle_fp16.onnx", 2, 2, 35,
         UPREZ_INPUT_RGB},
        {"onnx/ArtCNN_C4F16.onnx", 2, 1, 7, UPREZ_INPUT_Y_FULL},
        {"onnx/super_resolution_espcn_fixed224.onnx", 3, 1, 5, UPREZ_INPUT_Y_FULL},
        {"onnx/4x-ClearRealityV1-fp32-opset14.onnx", 4, 1, 21, UPREZ_INPUT_RGB},
        {"ncnn/realesr-animevideov3-x3.param", 3, 1, 19, UPREZ_INPUT_RGB},
        {"pytorch/realesr-general-x4v3.fp16w.pth", 4, 1, 34, UPREZ_INPUT_RGB},
    };
    for (int i = 0; i < UPZ_COUNT(want); i++) {
        UprezModel *m;
        UprezError err;
        char path[8192];
        snprintf(path, sizeof(path), "%s/%s", folder, want[i].file);
        if (uprez_model_load(&m, NULL, path, NULL, &err) < 0) fail_msg("%s", err.text);
        const UprezModelFacts *f = uprez_model_facts(m);
        assert_int_equal(f->scale_num, want[i].scale);
        assert_int_equal(f->scale_den, 1);
        assert_int_equal(f->align, want[i].align);
        assert_int_equal(f->reach, want[i].reach);
        assert_int_equal(f->input, want[i].input);
        uprez_model_unref(&m);
    }
}

/* A smooth picture with an edge and some grain, in limited range. */
static void paint(UprezPicture *p)
{
    const UprezFormat *f = &p->format;
    uint32_t seed = 3;
    for (int i = 0; i < f->n_plane; i++)
        for (int y = 0; y < upz_plane_height(f, i, p->height); y++)
            for (int x = 0; x < upz_plane_width(f, i, p->width); x++) {
                seed = seed * 1664525u + 1013904223u;
                double v = 120 + 60 * sin(0.21 * x + i) * cos(0.13 * y) + (seed >> 28);
                if ((x / 9 + y / 7) % 5 == 0) v += i ? 20 : 35;
                ((uint8_t *)p->plane[i])[p->stride[i] * y + x] = (uint8_t)UPZ_CLAMP(v, 16, 235);
            }
}

/* The upscaler with a real network on luma: luma as the reference makes it of the same numbers,
 * chroma as the resampler does. */
static void luma_networks_in_pictures(void **state)
{
    (void)state;
    if (!upz_is_dir(folder)) SKIP_BECAUSE("%s is not there", folder);
    static const struct {
        const char *file, *format;
        int w, h;
    } cases[] = {{"pytorch/fsrcnn_x2.pth", "yuv420p", 71, 46}, {"pytorch/fsrcnn_x2.pth", "gray", 64, 40},
                 {"pytorch/espcn_2x.pth", "yuv420p", 71, 46}, {"pytorch/espcn_2x.pth", "yuv444p", 40, 33}};
    UprezContext *ctx;
    UprezError err;
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UprezModel *m;
        Uprez *u;
        char path[8192];
        int w = cases[i].w, h = cases[i].h, ow = 2 * w, oh = 2 * h;
        snprintf(path, sizeof(path), "%s/%s", folder, cases[i].file);
        if (uprez_model_load(&m, ctx, path, NULL, &err) < 0) fail_msg("%s", err.text);
        int input = uprez_model_facts(m)->input;
        assert_true(input == UPREZ_INPUT_Y_FULL || input == UPREZ_INPUT_Y_STUDIO);
        UprezFormat f;
        UprezPicture *src, *dst, *soft;
        assert_int_equal(uprez_format_from_name(&f, cases[i].format), 0);
        assert_int_equal(uprez_picture_alloc(&src, &f, w, h, &err), 0);
        src->color = (UprezColor){.matrix = 1, .primaries = 1, .transfer = 1,
                                  .range = UPREZ_RANGE_LIMITED, .siting = UPREZ_SITING_LEFT};
        paint(src);
        UprezParams params = {.size = sizeof(params), .models = &m, .n_models = 1, .precision = "fp32"};
        if (uprez_create(&u, ctx, &params, &err) < 0) fail_msg("%s", err.text);
        if (uprez_run(u, src, &dst, &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(dst->width, ow);
        assert_int_equal(dst->height, oh);

        /* the numbers the network was trained on, by hand */
        bool studio = input == UPREZ_INPUT_Y_STUDIO;
        float *y = calloc((size_t)w * (size_t)h, sizeof(*y));
        for (int k = 0; k < w * h; k++) {
            double code = ((uint8_t *)src->plane[0])[src->stride[0] * (k / w) + k % w];
            y[k] = (float)(studio ? code / 255 : (code - 16) / 219);
        }
        float *want = run_reference(m, y, w, h, &err);
        assert_non_null(want);
        int worst = 0, differ = 0, moved = 0;
        for (int k = 0; k < ow * oh; k++) {
            double v = studio ? want[k] * 255.0 : UPZ_CLAMP(want[k], 0, 1) * 219.0 + 16;
            int code = (int)lrint(UPZ_CLAMP(v, 0, 255));
            int got = ((uint8_t *)dst->plane[0])[dst->stride[0] * (k / ow) + k % ow];
            int near = ((uint8_t *)src->plane[0])[src->stride[0] * (k / ow / 2) + k % ow / 2];
            worst = UPZ_MAX(worst, abs(got - code));
            differ += got != code;
            moved += got != near;
        }
        print_message("%s %s %s: luma at most %d code off, %d of %d differ\n", cases[i].file,
                      cases[i].format, studio ? "studio" : "full", worst, differ, ow * oh);
        assert_true(worst <= 1);
        assert_true(differ * 1000 < ow * oh); /* ties of rounding only */
        assert_true(moved > ow * oh / 2);     /* it is not the source, repeated */

        UpzResizePicture *r;
        assert_int_equal(uprez_picture_alloc(&soft, &f, ow, oh, &err), 0);
        soft->color = src->color;
        assert_int_equal(upz_resize_picture_create(&r, ctx, UPZ_RESIZE_LANCZOS, src, soft, &err), 0);
        upz_resize_picture_run(r, src, soft);
        for (int p = 1; p < f.n_plane; p++)
            for (int row = 0; row < upz_plane_height(&f, p, oh); row++)
                assert_memory_equal((uint8_t *)dst->plane[p] + dst->stride[p] * row,
                                    (uint8_t *)soft->plane[p] + soft->stride[p] * row,
                                    (size_t)upz_plane_width(&f, p, ow));
        upz_resize_picture_destroy(&r);
        free(want);
        free(y);
        uprez_picture_unref(&soft);
        uprez_picture_unref(&src);
        uprez_picture_unref(&dst);
        uprez_destroy(&u);
        uprez_model_unref(&m);
    }
    uprez_context_destroy(&ctx);
}

int main(void)
{
    const char *shared = getenv("SHARED");
    snprintf(folder, sizeof(folder), "%s/models", shared ? shared : "../shared");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_onnx_files),
        cmocka_unit_test(real_models),
        cmocka_unit_test(broken_model_is_refused),
        cmocka_unit_test(facts_are_right),
        cmocka_unit_test(luma_networks_in_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
