/* Architectures: what names and shapes tell, and the same numbers as PyTorch from the same weights.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "model/model.h"
#include "tiny_model.h"

/* The generator of tools/make_arch_refs.py. */
static uint32_t seed_of(const char *name)
{
    uint32_t seed = 2166136261u;
    for (; *name; name++) seed = (seed ^ (uint8_t)*name) * 16777619u;
    return seed;
}

static UprezModel *load(TinyFile *file, const char *name)
{
    UprezModel *m;
    UprezError err = {0};
    tiny_finish(file);
    int r = upz_model_load_memory(&m, NULL, name, file->data, file->size, &err);
    free(file->data);
    if (r < 0) fail_msg("%s: %s", name, err.text);
    return m;
}

typedef struct Case {
    int channels, height, width, num, den, align, n;
    char arch[32];
    size_t at[256];
    double want[256];
} Case;

static UprezModel *read_case(Case *c, const char *name)
{
    char path[1024], line[512], key[256];
    const char *root = getenv("SOURCE_ROOT");
    snprintf(path, sizeof(path), "%s/tests/data/arch/%s.txt", root ? root : ".", name);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s is missing", path);
    TinyFile *file = calloc(1, sizeof(*file));
    *c = (Case){0};
    while (fgets(line, sizeof(line), f)) {
        double gain;
        int n, d[4] = {0};
        if (sscanf(line, "input %d %d %d", &c->channels, &c->height, &c->width) == 3) continue;
        if (sscanf(line, "expect %31s %d/%d %d", c->arch, &c->num, &c->den, &c->align) == 4)
            continue;
        if (sscanf(line, "tensor %255s %lf %d %d %d %d %d", key, &gain, &n, d, d + 1, d + 2,
                   d + 3) > 3) {
            file->seed = seed_of(key);
            tiny_tensor(file, key, n, d, (float)gain);
        } else if (line[0] == 's') {
            assert_true(c->n < UPZ_COUNT(c->at));
            assert_int_equal(sscanf(line, "sample %zu %lf", &c->at[c->n], &c->want[c->n]), 2);
            c->n++;
        }
    }
    fclose(f);
    UprezModel *m = load(file, strcat(strcpy(line, name), ".safetensors"));
    free(file);
    return m;
}

static float *run(const UprezModel *m, const float *src, int w, int h)
{
    const UprezModelFacts *f = uprez_model_facts(m);
    size_t n = (size_t)(w * f->scale_num / f->scale_den) *
               (size_t)(h * f->scale_num / f->scale_den) * (size_t)f->channels;
    float *dst = malloc(n * sizeof(float));
    UprezError err = {0};
    if (upz_reference_run(&m->graph, src, w, h, dst, &err) < 0) fail_msg("%s", err.text);
    return dst;
}

static void check_case(const char *name)
{
    Case c;
    UprezModel *m = read_case(&c, name);
    const UprezModelFacts *f = uprez_model_facts(m);
    assert_string_equal(f->architecture, c.arch);
    assert_int_equal(f->scale_num * c.den, f->scale_den * c.num);
    assert_int_equal(f->align, c.align);
    assert_int_equal(f->channels, c.channels);
    assert_true(c.n >= 20);
    size_t n = (size_t)(c.channels * c.height * c.width);
    TinyFile t = {.seed = seed_of("input")};
    float *src = malloc(n * sizeof(*src));
    for (size_t i = 0; i < n; i++) src[i] = 0.5f * tiny_random(&t) + 0.5f;
    float *dst = run(m, src, c.width, c.height);
    double peak = 1, worst = 0;
    for (int i = 0; i < c.n; i++) {
        peak = fmax(peak, fabs(c.want[i]));
        worst = fmax(worst, fabs((double)dst[c.at[i]] - c.want[i]));
    }
    if (!(worst <= 1e-5 * peak)) fail_msg("%s: off by %g of %g", name, worst, peak);
    free(src);
    free(dst);
    uprez_model_unref(&m);
}

static void srvgg_equals_pytorch(void **state)
{
    (void)state;
    static const char *const cases[] = {"srvgg_x1", "srvgg_x2", "srvgg_x3", "srvgg_x4",
                                        "srvgg_luma"};
    for (int i = 0; i < UPZ_COUNT(cases); i++) check_case(cases[i]);
}

static void rrdbnet_equals_pytorch(void **state)
{
    (void)state;
    static const char *const cases[] = {"rrdb_basicsr_x4", "rrdb_esrgan_x4", "rrdb_old_x4",
                                        "rrdb_old_x2",     "rrdb_old_x1",    "rrdb_old_x8",
                                        "rrdb_x2plus",     "rrdb_x1_front4"};
    for (int i = 0; i < UPZ_COUNT(cases); i++) check_case(cases[i]);
}

static void span_equals_pytorch(void **state)
{
    (void)state;
    check_case("span_x4");
    check_case("span_x2_no_norm");
}

/* A tensor of zeros but for one value. */
static void spike(TinyFile *t, const char *name, int n, const int *dims, size_t at, float value)
{
    size_t from = t->floats;
    tiny_tensor(t, name, n, dims, 0);
    for (size_t i = from; i < t->floats; i++) t->weights[i] = 0;
    t->weights[from + at] = value;
}

/* An FSRCNN that passes its input to a tent as wide as the scale: bilinear enlargement. */
static UprezModel *tent_fsrcnn(int scale)
{
    TinyFile *t = calloc(1, sizeof(*t));
    const int one = 1, w5[4] = {1, 1, 5, 5}, w1[4] = {1, 1, 1, 1}, w3[4] = {1, 1, 3, 3},
              w9[4] = {1, 1, 9, 9};
    spike(t, "first_part.0.weight", 4, w5, 12, 1);
    spike(t, "first_part.0.bias", 1, &one, 0, 0);
    spike(t, "first_part.1.weight", 1, &one, 0, 0.25f);
    for (int i = 0; i < 6; i += 2) {
        char name[32];
        snprintf(name, sizeof(name), "mid_part.%d.weight", i);
        if (i == 2)
            spike(t, name, 4, w3, 4, 1);
        else
            spike(t, name, 4, w1, 0, 1);
        snprintf(name, sizeof(name), "mid_part.%d.bias", i);
        spike(t, name, 1, &one, 0, 0);
        snprintf(name, sizeof(name), "mid_part.%d.weight", i + 1);
        spike(t, name, 1, &one, 0, 0.25f);
    }
    size_t from = t->floats;
    tiny_tensor(t, "last_part.weight", 4, w9, 1);
    for (int y = 0; y < 9; y++)
        for (int x = 0; x < 9; x++)
            t->weights[from + (size_t)(y * 9 + x)] =
                fmaxf(0, 1 - fabsf((float)(y - 4)) / (float)scale) *
                fmaxf(0, 1 - fabsf((float)(x - 4)) / (float)scale);
    spike(t, "last_part.bias", 1, &one, 0, 0);
    UprezModel *m = load(t, "tent.safetensors");
    free(t);
    return m;
}

/* The scale is not in the file: it must be found, at 4 too, where flat stays flat at 2 as well. */
static void fsrcnn_finds_its_scale(void **state)
{
    (void)state;
    for (int scale = 2; scale <= 4; scale++) {
        UprezModel *m = tent_fsrcnn(scale);
        const UprezModelFacts *f = uprez_model_facts(m);
        assert_string_equal(f->architecture, "fsrcnn");
        assert_int_equal(f->input, UPREZ_INPUT_Y_STUDIO);
        assert_int_equal(f->scale_num, scale);
        assert_int_equal(f->scale_den, 1);
        enum { W = 7, H = 6 };
        float src[W * H];
        for (int i = 0; i < W * H; i++) src[i] = (float)(i % W) * 0.1f + 0.02f * (float)(i / W);
        float *dst = run(m, src, W, H);
        for (int y = scale; y < (H - 2) * scale; y++)
            for (int x = scale; x < (W - 2) * scale; x++) { /* a plane comes out a plane */
                double want = 0.1 * x / scale + 0.02 * y / scale;
                assert_true(fabs((double)dst[y * W * scale + x] - want) < 1e-5);
            }
        free(dst);
        uprez_model_unref(&m);
    }
}

/* gain: how much the last layer amplifies what the first made small (so that tanh is linear). */
static UprezModel *flat_espcn(float gain)
{
    TinyFile *t = calloc(1, sizeof(*t));
    const int one = 1, four = 4, w5[4] = {1, 1, 5, 5}, w3[4] = {1, 1, 3, 3}, w4[4] = {4, 1, 3, 3};
    spike(t, "feature_maps.0.weight", 4, w5, 12, 0.01f);
    spike(t, "feature_maps.0.bias", 1, &one, 0, 0);
    spike(t, "feature_maps.2.weight", 4, w3, 4, 1);
    spike(t, "feature_maps.2.bias", 1, &one, 0, 0);
    size_t from = t->floats;
    spike(t, "sub_pixel.0.weight", 4, w4, 4, gain);
    for (size_t i = 1; i < 4; i++) t->weights[from + i * 9 + 4] = gain;
    from = t->floats;
    spike(t, "sub_pixel.0.bias", 1, &four, 0, 0);
    for (size_t i = 0; i < 4; i++) t->weights[from + i] = gain > 200 ? -gain * 0.005f : 0;
    UprezModel *m = load(t, "flat.safetensors");
    free(t);
    return m;
}

static void espcn_tells_its_endings_apart(void **state)
{
    (void)state;
    /* 100 / 100 gives v back; logistic(4 (v - 1/2)) is close to v */
    UprezModel *linear = flat_espcn(100), *sigmoid = flat_espcn(400);
    assert_int_equal(uprez_model_facts(linear)->input, UPREZ_INPUT_Y_STUDIO);
    assert_int_equal(uprez_model_facts(sigmoid)->input, UPREZ_INPUT_Y_FULL);
    assert_int_equal(uprez_model_facts(linear)->scale_num, 2);
    float src[9 * 8];
    for (int i = 0; i < 72; i++) src[i] = i == 30 ? 3.0f : 0.25f;
    float *a = run(linear, src, 9, 8), *b = run(sigmoid, src, 9, 8);
    assert_true(fabsf(a[0] - 0.25f) < 1e-4f);
    assert_true(a[2 * 3 * 18 + 2 * 3] == 1.0f); /* source 30 is (3, 3): cut off at 1 */
    assert_true(fabs((double)b[0] - 1 / (1 + exp(1.0))) < 1e-4);
    free(a);
    free(b);
    uprez_model_unref(&linear);
    uprez_model_unref(&sigmoid);
}

static void kernels_need_no_file(void **state)
{
    (void)state;
    static const char *const names[] = {"bicubic", "lanczos", "spline36"};
    for (int i = 0; i < 3; i++) {
        UprezModel *m;
        assert_int_equal(upz_model_load(&m, NULL, names[i], NULL, NULL), 0);
        assert_int_equal(m->kernel, UPZ_KERNEL_BICUBIC + i);
        assert_string_equal(uprez_model_facts(m)->architecture, "kernel");
        UprezModel *again = uprez_model_ref(m);
        uprez_model_unref(&m);
        assert_null(m);
        assert_string_equal(uprez_model_facts(again)->path, names[i]);
        uprez_model_unref(&again);
    }
    UprezError err = {0};
    UprezModel *m;
    assert_int_equal(upz_model_load(&m, NULL, "nowhere.pth", NULL, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "nowhere.pth"));
    UprezModelParams p = {sizeof(p), 0.5, NULL};
    assert_int_equal(upz_model_load(&m, NULL, "lanczos", &p, &err), UPREZ_ERR_USAGE);
}

/* A tiny SRVGGNetCompact in a temporary file. */
static void write_tiny(char path[64], int features, uint32_t seed)
{
    TinyFile *t = calloc(1, sizeof(*t));
    tiny_srvgg(t, features, 1, 2, seed);
    strcpy(path, "/tmp/uprez-test-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "wb");
    assert_int_equal(fwrite(t->data, 1, t->size, f), t->size);
    fclose(f);
    free(t->data);
    free(t);
}

static void denoise_mixes_every_tensor(void **state)
{
    (void)state;
    char a[64], b[64], other[64];
    write_tiny(a, 8, 1);
    write_tiny(b, 8, 2);
    write_tiny(other, 12, 3);
    UprezModel *ma, *mb, *mixed;
    UprezError err = {0};
    UprezModelParams p = {sizeof(p), 0.3, b};
    assert_int_equal(upz_model_load(&ma, NULL, a, NULL, &err), 0);
    assert_int_equal(upz_model_load(&mb, NULL, b, NULL, &err), 0);
    if (upz_model_load(&mixed, NULL, a, &p, &err) < 0) fail_msg("%s", err.text);
    for (size_t i = 0; i < ma->graph.n_tensors; i++)
        for (int64_t k = 0; k < ma->graph.tensors[i].count; k++) {
            double want = 0.3 * (double)ma->graph.tensors[i].data[k] +
                          0.7 * (double)mb->graph.tensors[i].data[k];
            assert_true(fabs((double)mixed->graph.tensors[i].data[k] - want) < 1e-7);
        }
    assert_non_null(strstr(uprez_model_facts(mixed)->detail, "denoise 0.3"));
    uprez_model_unref(&mixed);
    p.denoise = 1; /* all of the model */
    assert_int_equal(upz_model_load(&mixed, NULL, a, &p, &err), 0);
    assert_memory_equal(mixed->graph.tensors[0].data, ma->graph.tensors[0].data,
                        (size_t)ma->graph.tensors[0].count * sizeof(float));
    uprez_model_unref(&mixed);
    p.twin = other;
    assert_int_equal(upz_model_load(&mixed, NULL, a, &p, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "cannot be mixed"));
    p.denoise = 1.5;
    assert_int_equal(upz_model_load(&mixed, NULL, a, &p, &err), UPREZ_ERR_USAGE);
    uprez_model_unref(&ma);
    uprez_model_unref(&mb);
    remove(a);
    remove(b);
    remove(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_need_no_file),
        cmocka_unit_test(srvgg_equals_pytorch),
        cmocka_unit_test(rrdbnet_equals_pytorch),
        cmocka_unit_test(span_equals_pytorch),
        cmocka_unit_test(fsrcnn_finds_its_scale),
        cmocka_unit_test(espcn_tells_its_endings_apart),
        cmocka_unit_test(denoise_mixes_every_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
