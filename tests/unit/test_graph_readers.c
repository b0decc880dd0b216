/* ONNX and ncnn files, good and bad: each seed ends as tests/data/seeds/expect_graphs.txt says, where
 * there is a .ref file with ONNX Runtime's output, and no cut or flipped bit does more than be refused. */
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
#include "base/file.h"
#include "model/model.h"
#include "model/ncnn.h"

static char seeds[2048];

static int each_seed(void (*check)(const char *path, const char *want))
{
    char path[4096], line[1024];
    snprintf(path, sizeof(path), "%s/expect_graphs.txt", seeds);
    FILE *list = fopen(path, "r");
    assert_non_null(list);
    int n = 0;
    while (fgets(line, sizeof(line), list)) {
        char *tab = strchr(line, '\t'), *end = strchr(line, '\n');
        if (line[0] == '#' || !tab || !end) continue;
        *tab = *end = 0;
        snprintf(path, sizeof(path), "%s/%s", seeds, line);
        check(path, tab + 1);
        n++;
    }
    fclose(list);
    return n;
}

/* The picture brought to the network's multiples, as engines do it. */
static float *padded(const UprezModel *m, const float *src, int w, int h, int pw, int ph)
{
    int channels = m->facts.channels;
    float *dst = calloc((size_t)pw * (size_t)ph * (size_t)channels, sizeof(*dst));
    assert_non_null(dst);
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < ph; y++)
            for (int x = 0; x < pw; x++) {
                bool reflect = m->graph.pad_mode == UPZ_PAD_REFLECT;
                int sx = x < w ? x : reflect ? 2 * (w - 1) - x : w - 1;
                int sy = y < h ? y : reflect ? 2 * (h - 1) - y : h - 1;
                bool zero = m->graph.pad_mode == UPZ_PAD_ZERO && (x >= w || y >= h);
                if (!zero) dst[(c * ph + y) * pw + x] = src[(c * h + sy) * w + sx];
            }
    return dst;
}

/* Against what ONNX Runtime computed, when that is there. */
static int check_output(const UprezModel *m, const char *path)
{
    char name[4096];
    UpzMap map;
    int w, h, out_w, out_h, start = 0;
    snprintf(name, sizeof(name), "%.*s.ref", (int)(strlen(path) - 5), path);
    if (upz_map_open(&map, name, 1 << 20, UPREZ_ERR_MODEL, NULL) < 0) return 0;
    assert_int_equal(sscanf((const char *)map.data, "%d %d %d %d%n", &w, &h, &out_w, &out_h, &start), 4);
    /* of a file that rounds its result: ours is within half a code of it, in 0..1 as engines store it */
    const bool codes = !strncmp((const char *)map.data + start, " codes", 6);
    if (codes) start += 6;
    size_t n_in = (size_t)m->facts.channels * (size_t)w * (size_t)h;
    size_t n_out = (size_t)m->facts.channels * (size_t)out_w * (size_t)out_h;
    assert_int_equal(map.size, (size_t)start + 1 + (n_in + n_out) * sizeof(float));
    float *in = malloc(n_in * sizeof(float)), *want = malloc(n_out * sizeof(float));
    assert_true(in && want);
    memcpy(in, map.data + start + 1, n_in * sizeof(float));
    memcpy(want, map.data + start + 1 + n_in * sizeof(float), n_out * sizeof(float));
    int a = m->facts.align, pw = (w + a - 1) / a * a, ph = (h + a - 1) / a * a;
    int num = m->facts.scale_num, den = m->facts.scale_den, big_w = pw * num / den;
    int big_h = ph * num / den;
    assert_int_equal(out_w, w * num / den);
    assert_int_equal(out_h, h * num / den);
    float *src = padded(m, in, w, h, pw, ph);
    float *got = malloc((size_t)m->facts.channels * (size_t)big_w * (size_t)big_h * sizeof(float));
    UprezError err = {0};
    assert_non_null(got);
    if (upz_reference_run(&m->graph, src, pw, ph, got, &err) < 0) fail_msg("%s: %s", path, err.text);
    for (int c = 0; c < m->facts.channels; c++)
        for (int y = 0; y < out_h; y++)
            for (int x = 0; x < out_w; x++) {
                float v = got[(c * big_h + y) * big_w + x];
                v = codes ? fminf(fmaxf(v, 0), 1) : v;
                float d = v - want[(c * out_h + y) * out_w + x];
                if (codes) d = fmaxf(fabsf(d) - 0.5f / 255, 0);
                if (!(fabsf(d) < 2e-5f)) fail_msg("%s: differs by %g at %d,%d", path, d, x, y);
            }
    free(in);
    free(want);
    free(src);
    free(got);
    upz_map_close(&map);
    return 1;
}

static int n_outputs;

static void check_seed(const char *path, const char *want)
{
    UprezModel *m;
    UprezError err = {0};
    int r = upz_model_load(&m, NULL, path, NULL, &err);
    if (!strcmp(want, "ok")) {
        if (r < 0) fail_msg("%s: %s", path, err.text);
        if (m->foreign_why) fail_msg("%s: %s", path, m->foreign_why);
        n_outputs += check_output(m, path);
        uprez_model_unref(&m);
        return;
    }
    if (!r && m->foreign_why) { /* whole, but only a runtime may know the form */
        assert_string_equal(m->foreign, "onnx");
        assert_int_equal(m->graph.n_nodes, 0);
        snprintf(err.text, sizeof(err.text), "%s", m->foreign_why);
        uprez_model_unref(&m);
        r = UPREZ_ERR_MODEL;
    }
    if (r != UPREZ_ERR_MODEL) fail_msg("%s: %d instead of a refusal", path, r);
    assert_null(m);
    if (!strstr(err.text, want)) fail_msg("%s: '%s' should say '%s'", path, err.text, want);
    if (!strstr(err.text, upz_basename(path))) fail_msg("'%s' does not name the file", err.text);
}

static void seeds_end_as_expected(void **state)
{
    (void)state;
    assert_true(each_seed(check_seed) > 70);
    assert_true(n_outputs > 15);
}

/* Through the readers' memory entry, from a block of the exact size. */
static void load_copy(const char *path, const uint8_t *data, size_t size, const UpzMap *bin)
{
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, data, size);
    UprezError err = {0};
    int r;
    if (bin) {
        UpzGraph g = {0};
        UprezModelFacts facts;
        char *detail = NULL;
        r = upz_ncnn_read(path, exact, size, bin->data, bin->size, &g, &facts, &detail, &err);
        upz_free(detail);
        upz_graph_free(&g);
    } else {
        UprezModel *m;
        r = upz_model_load_memory(&m, NULL, path, exact, size, &err);
        if (!r) uprez_model_unref(&m);
    }
    if (r < 0 && (r != UPREZ_ERR_MODEL || !err.text[0])) fail_msg("%s: %d %s", path, r, err.text);
    free(exact);
}

static void cut_and_flip(const char *path, const char *want)
{
    (void)want;
    UpzMap map, bin = {0};
    char other[4096];
    assert_int_equal(upz_map_open(&map, path, 1 << 22, UPREZ_ERR_MODEL, NULL), 0);
    bool ncnn = strstr(path, ".param") != NULL;
    if (ncnn) {
        snprintf(other, sizeof(other), "%.*s.bin", (int)(strlen(path) - 6), path);
        if (upz_map_open(&bin, other, 1 << 20, UPREZ_ERR_MODEL, NULL) < 0) ncnn = false;
    }
    size_t step = map.size / 64 + 1;
    uint32_t x = 1;
    if (map.size < 60000) {
        for (size_t n = 1; n < map.size; n += step)
            load_copy(path, map.data, n, ncnn ? &bin : NULL);
        uint8_t *copy = malloc(map.size);
        for (int i = 0; i < 200; i++) {
            memcpy(copy, map.data, map.size);
            for (int k = 0; k <= i % 4; k++) {
                x = x * 1664525u + 1013904223u;
                copy[(size_t)((uint64_t)x * map.size >> 32)] ^= (uint8_t)(1u << (x >> 5 & 7));
            }
            load_copy(path, copy, map.size, ncnn ? &bin : NULL);
        }
        free(copy);
    }
    upz_map_close(&map);
    upz_map_close(&bin);
}

static void damage_never_crashes(void **state)
{
    (void)state;
    each_seed(cut_and_flip);
}

/* The pair is found from either name, and one .bin serves -x1 … -x4. */
static void ncnn_partner_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"net-x2.param", "net.bin", "net-x3.param"};
    char dir[] = "/tmp/uprez-ncnn-XXXXXX", from[4096], to[4096];
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 3; i++) {
        UpzMap m;
        snprintf(from, sizeof(from), "%s/ncnn/good%s", seeds, i == 1 ? ".bin" : ".param");
        snprintf(to, sizeof(to), "%s/%s", dir, names[i]);
        assert_int_equal(upz_map_open(&m, from, 1 << 20, UPREZ_ERR_MODEL, NULL), 0);
        assert_int_equal(upz_write_atomic(to, m.data, m.size, NULL), 0);
        upz_map_close(&m);
    }
    for (int i = 0; i < 3; i++) {
        UprezModel *m;
        UprezError err;
        snprintf(to, sizeof(to), "%s/%s", dir, names[i]);
        if (upz_model_load(&m, NULL, to, NULL, &err) < 0) fail_msg("%s", err.text);
        assert_string_equal(uprez_model_facts(m)->architecture, "ncnn");
        assert_int_equal(uprez_model_facts(m)->scale_num, 3);
        assert_int_equal(uprez_model_facts(m)->scale_den, 2);
        uprez_model_unref(&m);
    }
    for (int i = 0; i < 3; i++) {
        snprintf(to, sizeof(to), "%s/%s", dir, names[i]);
        remove(to);
    }
    remove(dir);
}

int main(void)
{
    const char *root = getenv("SOURCE_ROOT");
    snprintf(seeds, sizeof(seeds), "%s/tests/data/seeds", root ? root : ".");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_end_as_expected),
        cmocka_unit_test(damage_never_crashes),
        cmocka_unit_test(ncnn_partner_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
