/* Graphs written out and read back: each operation alone, at odd sizes. With UPZ_WRITE_DUMP=DIR the
 * files, an input and the reference's output are left there, for tests/cli/convert.sh to run them
 * through other programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op_cases.h"
#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"
#include "model/ncnn.h"
#include "model/write.h"
#include "model/write_bytes.h"

#define TOLERANCE 1e-6

static void sizes(const UprezModel *m, int *w, int *h)
{
    int align = m->facts.align;
    *w = align > 1 ? 5 * align : 13;
    *h = align > 1 ? 7 * align : 9;
}

/* The reference's output for a fixed noise; *n: how many numbers. free() it. */
static float *output_of(const UpzGraph *g, const UprezModelFacts *f, int w, int h, size_t *n)
{
    UprezError err = {0};
    size_t in = (size_t)w * (size_t)h * (size_t)f->channels;
    *n = in / (size_t)f->scale_den / (size_t)f->scale_den * (size_t)f->scale_num *
         (size_t)f->scale_num;
    float *src = malloc(in * sizeof(float)), *dst = malloc(*n * sizeof(float));
    assert_true(src && dst);
    seed = 777;
    for (size_t i = 0; i < in; i++) src[i] = 0.5f + 0.5f * noise();
    if (upz_reference_run(g, src, w, h, dst, &err) < 0) fail_msg("%s", err.text);
    free(src);
    return dst;
}

static double difference(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static void same_output(const char *what, const UprezModel *m, const UpzGraph *g,
                        const UprezModelFacts *f, double tolerance)
{
    int w, h;
    size_t n, n2;
    sizes(m, &w, &h);
    assert_int_equal(f->scale_num, m->facts.scale_num);
    assert_int_equal(f->scale_den, m->facts.scale_den);
    assert_int_equal(f->align, m->facts.align);
    assert_int_equal(f->reach, m->facts.reach);
    float *want = output_of(&m->graph, &m->facts, w, h, &n), *got = output_of(g, f, w, h, &n2);
    assert_int_equal(n, n2);
    double d = difference(want, got, n);
    if (!(d <= tolerance)) fail_msg("%s %s: differs by %g", what, m->facts.path, d);
    free(want);
    free(got);
}

static void dump(const char *name, const char *tail, const void *data, size_t size)
{
    const char *dir = getenv("UPZ_WRITE_DUMP");
    if (!dir) return;
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s%s", dir, name, tail);
    UprezError err;
    if (upz_write_atomic(path, data, size, &err) < 0) fail_msg("%s", err.text);
}

static void dump_reference(const UprezModel *m)
{
    if (!getenv("UPZ_WRITE_DUMP")) return;
    int w, h;
    size_t n, in;
    sizes(m, &w, &h);
    in = (size_t)w * (size_t)h * 3;
    float *src = malloc(in * sizeof(float));
    seed = 777;
    for (size_t i = 0; i < in; i++) src[i] = 0.5f + 0.5f * noise();
    float *dst = output_of(&m->graph, &m->facts, w, h, &n);
    char text[64];
    int len = snprintf(text, sizeof(text), "%d %d %d %d\n", w, h, m->facts.scale_num,
                       m->facts.scale_den);
    dump(m->facts.path, ".size", text, (size_t)len);
    dump(m->facts.path, ".in", src, in * sizeof(float));
    dump(m->facts.path, ".out", dst, n * sizeof(float));
    free(src);
    free(dst);
}

static void write_onnx(const UprezModel *m, const UpzOnnxParams *p, uint8_t **data, size_t *size)
{
    UprezError err = {0};
    if (upz_write_onnx_memory(m, p, data, size, &err) < 0)
        fail_msg("%s: %s", m->facts.path, err.text);
}

static UprezModel *read_onnx(const uint8_t *data, size_t size)
{
    UprezModel *m;
    UprezError err = {0};
    if (upz_model_load_memory(&m, NULL, "test.onnx", data, size, &err) < 0)
        fail_msg("%s", err.text);
    return m;
}

static void onnx_comes_back(void **state)
{
    (void)state;
    static const UpzOnnxParams params[] = {{.opset = 16}, {.opset = 20, .pad = true}, {.opset = 23}};
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UprezModel m;
        build(&m, &cases[i]);
        dump_reference(&m);
        for (int k = 0; k < UPZ_COUNT(params); k++) {
            uint8_t *data;
            size_t size;
            char tail[16];
            write_onnx(&m, &params[k], &data, &size);
            snprintf(tail, sizeof(tail), ".%d.onnx", k);
            dump(cases[i].name, tail, data, size);
            UprezModel *back = read_onnx(data, size);
            same_output("onnx", &m, &back->graph, &back->facts, TOLERANCE);
            assert_int_equal(back->graph.pad_mode, UPZ_PAD_REPLICATE);
            uprez_model_unref(&back);
            upz_free(data);
        }
        upz_graph_free(&m.graph);
    }
}

static void ncnn_comes_back(void **state)
{
    (void)state;
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UprezModel m;
        UprezError err = {0};
        uint8_t *param, *bin;
        size_t n_param, n_bin;
        build(&m, &cases[i]);
        int r = upz_write_ncnn_memory(&m, false, &param, &n_param, &bin, &n_bin, &err);
        if (cases[i].flags & NO_NCNN) {
            assert_int_equal(r, UPREZ_ERR_MODEL);
            assert_non_null(strstr(err.text, "ncnn"));
            assert_true(!param && !bin);
        } else {
            if (r < 0) fail_msg("%s: %s", cases[i].name, err.text);
            dump(cases[i].name, ".param", param, n_param);
            dump(cases[i].name, ".bin", bin, n_bin);
            UpzGraph g = {0};
            UprezModelFacts f = {0};
            char *detail = NULL;
            if (upz_ncnn_read("test.param", param, n_param, bin, n_bin, &g, &f, &detail, &err) < 0)
                fail_msg("%s: %s", cases[i].name, err.text);
            same_output("ncnn", &m, &g, &f, TOLERANCE);
            upz_free(detail);
            upz_graph_free(&g);
        }
        upz_free(param);
        upz_free(bin);
        upz_graph_free(&m.graph);
    }
}

/* ---- checkpoints ---- */

enum { NO_SLOPES = 2, OLD_NAMES = 6, SPAN, SPAN_NO_NORM, NETWORKS }; /* of those that make() makes */

static void add_layer(UpzTensorSet *set, const char *name, int out, int in, int kernel)
{
    UprezError err;
    char text[80];
    int64_t dims[4] = {out, in, kernel, kernel};
    snprintf(text, sizeof(text), "%s.weight", name);
    UpzTensor *w = upz_tensors_add(set, text, 4, dims, &err);
    for (int64_t i = 0; w && i < w->count; i++) w->data[i] = 0.15f * noise();
    snprintf(text, sizeof(text), "%s.bias", name);
    UpzTensor *b = w ? upz_tensors_add(set, text, 1, dims, &err) : NULL;
    assert_non_null(b);
    for (int64_t i = 0; i < b->count; i++) b->data[i] = 0.15f * noise();
}

static void make_srvgg(UpzTensorSet *set, int scale, bool slopes)
{
    UprezError err;
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof(name), "body.%d", 2 * i);
        add_layer(set, name, i == 3 ? 3 * scale * scale : 6, i ? 6 : 3, 3);
        if (!slopes || i == 3) continue;
        snprintf(name, sizeof(name), "body.%d.weight", 2 * i + 1);
        UpzTensor *t = upz_tensors_add(set, name, 1, (int64_t[]){6}, &err);
        assert_non_null(t);
        for (int c = 0; c < 6; c++) t->data[c] = 0.3f * noise();
    }
}

static void make_rrdbnet(UpzTensorSet *set, int front, int ups, bool old_names)
{
    enum { WIDTH = 6, GROW = 4 };
    add_layer(set, "conv_first", WIDTH, 3 * front * front, 3);
    for (int b = 0; b < 2; b++)
        for (int d = 1; d <= 3; d++)
            for (int c = 1; c <= 5; c++) {
                char name[64];
                snprintf(name, sizeof(name),
                         old_names ? "RRDB_trunk.%d.RDB%d.conv%d" : "body.%d.rdb%d.conv%d", b, d, c);
                add_layer(set, name, c < 5 ? GROW : WIDTH, WIDTH + (c - 1) * GROW, 3);
            }
    add_layer(set, old_names ? "trunk_conv" : "conv_body", WIDTH, WIDTH, 3);
    for (int i = 1; i <= ups; i++) {
        char name[32];
        snprintf(name, sizeof(name), old_names ? "upconv%d" : "conv_up%d", i);
        add_layer(set, name, WIDTH, WIDTH, 3);
    }
    add_layer(set, old_names ? "HRconv" : "conv_hr", WIDTH, WIDTH, 3);
    add_layer(set, "conv_last", 3, WIDTH, 3);
}

/* As it is trained: 1x1, 3x3, 1x1 in a row and a 1x1 beside them. */
static void add_span_layer(UpzTensorSet *set, const char *layer, int in, int out)
{
    char name[64];
    const int channels[4] = {in, 2 * in, 2 * out, out};
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s.conv.%d", layer, i);
        add_layer(set, name, channels[i + 1], channels[i], i == 1 ? 3 : 1);
    }
    snprintf(name, sizeof(name), "%s.sk", layer);
    add_layer(set, name, out, in, 1);
}

static void make_span(UpzTensorSet *set, bool norm)
{
    enum { WIDTH = 4 };
    UprezError err;
    add_span_layer(set, "conv_1", 3, WIDTH);
    for (int b = 1; b <= 6; b++)
        for (int c = 1; c <= 3; c++) {
            char name[32];
            snprintf(name, sizeof(name), "block_%d.c%d_r", b, c);
            add_span_layer(set, name, WIDTH, WIDTH);
        }
    add_span_layer(set, "conv_2", WIDTH, WIDTH);
    add_layer(set, "conv_cat", WIDTH, 4 * WIDTH, 1);
    add_layer(set, "upsampler.0", 12, WIDTH, 3);
    UpzTensor *t = norm ? NULL : upz_tensors_add(set, "no_norm", 1, (int64_t[]){1}, &err);
    if (t) t->data[0] = 0;
}

static void make(UpzTensorSet *set, int which)
{
    *set = (UpzTensorSet){0};
    seed = 4711;
    switch (which) {
    case 0: make_srvgg(set, 2, true); break;
    case 1: make_srvgg(set, 1, true); break;
    case NO_SLOPES: make_srvgg(set, 3, false); break;
    case 3: make_rrdbnet(set, 1, 2, false); break;
    case 4: make_rrdbnet(set, 2, 2, false); break;
    case 5: make_rrdbnet(set, 1, 0, false); break;
    case OLD_NAMES: make_rrdbnet(set, 1, 1, true); break;
    default: make_span(set, which == SPAN);
    }
}

static void model_of(UprezModel *m, UpzTensorSet *set)
{
    UprezError err = {0};
    char *detail = NULL;
    *m = (UprezModel){0};
    const UpzArch *arch = NULL;
    for (int i = 0; upz_archs[i] && !arch; i++)
        if (upz_archs[i]->recognise(set)) arch = upz_archs[i];
    assert_non_null(arch);
    if (arch->build(set, &m->graph, &m->facts, &detail, &err) < 0) fail_msg("%s", err.text);
    upz_free(detail);
    m->facts.architecture = arch->name;
    m->facts.path = "test.pth";
}

/* Written as a checkpoint; the tensors in it, by our reader. */
static void checkpoint_of(const UprezModel *m, UpzTensorSet *set)
{
    uint8_t *data;
    size_t size;
    UprezError err = {0};
    *set = (UpzTensorSet){0};
    if (upz_write_safetensors_memory(m, false, &data, &size, &err) < 0) fail_msg("%s", err.text);
    UpzModelFile f = {"test.safetensors", data, size};
    const UpzReader *reader = NULL;
    for (int i = 0; upz_readers[i] && !reader; i++)
        if (upz_readers[i]->probe(&f)) reader = upz_readers[i];
    assert_true(reader && reader->read_tensors);
    if (reader->read_tensors(&f, set, &err) < 0) fail_msg("%s", err.text);
    upz_free(data);
}

/* want's tensors, value for value; what `have` has beside them is a slope of zero. */
static void same_tensors(int which, const UpzTensorSet *want, const UpzTensorSet *have)
{
    for (size_t i = 0; i < want->n; i++) {
        const UpzTensor *a = &want->items[i], *b = upz_tensors_find(have, a->name);
        if (!b) fail_msg("%d: '%s' is missing", which, a->name);
        assert_int_equal(a->n_dims, b->n_dims);
        assert_memory_equal(a->dims, b->dims, (size_t)a->n_dims * sizeof(*a->dims));
        /* a SPAN's layers come back as others that collapse into the same */
        if (which < SPAN) assert_memory_equal(a->data, b->data, (size_t)a->count * sizeof(float));
    }
    if (which < SPAN && which != NO_SLOPES) assert_int_equal(want->n, have->n);
}

static void checkpoints_keep_their_names(void **state)
{
    (void)state;
    for (int i = 0; i < NETWORKS; i++) {
        UpzTensorSet set, want, have;
        UprezModel m;
        make(&set, i), make(&want, i);
        model_of(&m, &set);
        checkpoint_of(&m, &have);
        same_tensors(i, &want, &have);
        upz_tensors_free(&set), upz_tensors_free(&want), upz_tensors_free(&have);
        upz_graph_free(&m.graph);
    }
}

/* Through ONNX and through ncnn, which have no such names: the layers tell what it is. The old
 * names come back as the new ones. */
static void names_are_found_again(void **state)
{
    (void)state;
    for (int i = 0; i < NETWORKS; i++)
        for (int ncnn = 0; ncnn < 2; ncnn++) {
            UpzTensorSet set, want, have;
            UprezModel m, back = {0}, *loaded = NULL;
            UprezError err = {0};
            uint8_t *data, *bin = NULL;
            size_t size, n_bin;
            make(&set, i), make(&want, i);
            model_of(&m, &set);
            if (ncnn) {
                char *detail = NULL;
                assert_int_equal(
                    upz_write_ncnn_memory(&m, false, &data, &size, &bin, &n_bin, &err), 0);
                assert_int_equal(upz_ncnn_read("a.param", data, size, bin, n_bin, &back.graph,
                                               &back.facts, &detail, &err), 0);
                upz_free(detail);
                back.facts.path = "a.param";
            } else {
                write_onnx(&m, &(UpzOnnxParams){.pad = true}, &data, &size);
                loaded = read_onnx(data, size);
                assert_int_equal(loaded->graph.pad_mode, m.facts.align > 1 ? UPZ_PAD_REFLECT
                                                                           : UPZ_PAD_REPLICATE);
            }
            same_output("names", &m, loaded ? &loaded->graph : &back.graph,
                        loaded ? &loaded->facts : &back.facts, TOLERANCE);
            checkpoint_of(loaded ? loaded : &back, &have);
            if (i != OLD_NAMES) same_tensors(i, &want, &have);
            else assert_non_null(upz_tensors_find(&have, "body.1.rdb3.conv5.weight"));
            UprezModel again;
            model_of(&again, &have);
            assert_string_equal(again.facts.architecture, m.facts.architecture);
            same_output("again", &m, &again.graph, &again.facts, TOLERANCE);
            upz_tensors_free(&set), upz_tensors_free(&want), upz_tensors_free(&have);
            uprez_model_unref(&loaded);
            upz_graph_free(&m.graph), upz_graph_free(&back.graph), upz_graph_free(&again.graph);
            upz_free(data);
            upz_free(bin);
        }
}

/* A graph that is neither, and one that is nearly one. */
static void others_have_no_checkpoint(void **state)
{
    (void)state;
    UprezModel m;
    UprezError err;
    uint8_t *data;
    size_t size;
    build(&m, &cases[0]);
    m.facts.architecture = "onnx";
    assert_int_equal(upz_write_safetensors_memory(&m, false, &data, &size, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "no checkpoint form"));
    assert_null(data);
    upz_graph_free(&m.graph);
    for (int i = 3; i < 5; i++) {
        UpzTensorSet set;
        make(&set, i);
        model_of(&m, &set);
        m.facts.architecture = "onnx";
        for (size_t k = 0; k < m.graph.n_nodes; k++) { /* the first dense block's residual */
            UpzNode *n = &m.graph.nodes[k];
            if (n->op != UPZ_OP_ADD) continue;
            n->alpha[i == 3 ? 0 : 1] = 0.3f;
            break;
        }
        assert_int_equal(upz_write_safetensors_memory(&m, false, &data, &size, &err),
                         UPREZ_ERR_MODEL);
        upz_tensors_free(&set);
        upz_graph_free(&m.graph);
    }
}

/* ---- sixteen bits, sizes, refusals ---- */

/* Every half comes back from its value; between two, the nearer one, at the middle the even one. */
static void halves_round_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float f = upz_half_to_float((uint16_t)h), g = upz_half_to_float((uint16_t)(h + 1));
        if (h == 0x7bff) g = 65536; /* the next, if there were one */
        assert_int_equal(upz_float_to_half(f), h);
        assert_int_equal(upz_float_to_half(-f), h | 0x8000);
        float middle = (float)(((double)f + (double)g) / 2);
        assert_int_equal(upz_float_to_half(middle), h + (h & 1));
        assert_int_equal(upz_float_to_half(nextafterf(middle, 0)), h);
        assert_int_equal(upz_float_to_half(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(upz_float_to_half(65519.99f), 0x7bff);
    assert_int_equal(upz_float_to_half(65520), 0x7c00);
    assert_int_equal(upz_float_to_half(-1e30f), 0xfc00);
    assert_int_equal(upz_float_to_half(1e-30f), 0);
    assert_int_equal(upz_float_to_half(NAN) & 0x7c00, 0x7c00);
    assert_true(upz_float_to_half(NAN) & 0x3ff);
}

static void sixteen_bits(void **state)
{
    (void)state;
    UprezModel m;
    UprezError err = {0};
    uint8_t *data, *bin;
    size_t size, n_bin, whole;
    build(&m, &cases[0]);
    write_onnx(&m, NULL, &data, &whole);
    upz_free(data);
    for (int io = 0; io < 2; io++) {
        write_onnx(&m, &(UpzOnnxParams){.half = true, .half_io = io}, &data, &size);
        assert_true(size < whole);
        UprezModel *back = read_onnx(data, size);
        assert_true(back->facts.half);
        same_output("fp16", &m, &back->graph, &back->facts, 2e-3);
        uprez_model_unref(&back);
        upz_free(data);
    }
    assert_int_equal(upz_write_ncnn_memory(&m, true, &data, &size, &bin, &n_bin, &err), 0);
    UpzGraph g = {0};
    UprezModelFacts f = {0};
    char *detail = NULL;
    assert_int_equal(upz_ncnn_read("a", data, size, bin, n_bin, &g, &f, &detail, &err), 0);
    same_output("ncnn fp16", &m, &g, &f, 2e-3);
    upz_free(detail);
    upz_graph_free(&g);
    upz_free(data);
    upz_free(bin);
    /* what no half can hold is refused by name, and nothing is left behind */
    for (size_t i = 0; i < m.graph.n_tensors; i++)
        if (m.graph.tensors[i].name && !strcmp(m.graph.tensors[i].name, "body.0.weight"))
            m.graph.tensors[i].data[3] = 65520;
    UpzOnnxParams p = {.half = true};
    assert_int_equal(upz_write_onnx_memory(&m, &p, &data, &size, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "body.0.weight"));
    assert_null(data);
    assert_int_equal(upz_write_ncnn_memory(&m, true, &data, &size, &bin, &n_bin, &err),
                     UPREZ_ERR_MODEL);
    assert_true(!data && !bin);
    p.half = false;
    write_onnx(&m, &p, &data, &size);
    upz_free(data);
    upz_graph_free(&m.graph);
}

static const Case *case_of(const char *name)
{
    for (int i = 0; i < UPZ_COUNT(cases); i++)
        if (!strcmp(cases[i].name, name)) return &cases[i];
    fail_msg("no case %s", name);
    return NULL;
}

static bool has_text(const uint8_t *data, size_t size, const char *text)
{
    return memmem(data, size, text, strlen(text)) != NULL;
}

static void axes_and_operator_sets(void **state)
{
    (void)state;
    UprezModel m;
    UprezError err;
    uint8_t *data;
    size_t size;
    build(&m, case_of("unshuffle"));
    assert_int_equal(m.facts.align, 2);
    static const struct {
        UpzOnnxParams p;
        int code;
    } tries[] = {
        {{.opset = 15}, UPREZ_ERR_USAGE}, {{.opset = 24}, UPREZ_ERR_USAGE},
        {{.opset = -1}, UPREZ_ERR_USAGE}, {{.fixed_width = -2}, UPREZ_ERR_USAGE},
        {{.fixed_width = 33, .fixed_height = 32}, UPREZ_ERR_USAGE},
        {{.fixed_width = 32, .fixed_height = 31}, UPREZ_ERR_USAGE},
        {{.fixed_width = 33, .fixed_height = 31, .pad = true}, 0},
        {{.fixed_width = 32, .fixed_height = 30, .fixed_batch = 2}, 0},
        {{.fixed_width = 32, .fixed_height = 30}, 0},
    };
    for (int i = 0; i < UPZ_COUNT(tries); i++) {
        assert_int_equal(upz_write_onnx_memory(&m, &tries[i].p, &data, &size, &err), tries[i].code);
        assert_int_equal(data != NULL, tries[i].code == 0);
        if (data) {
            assert_false(has_text(data, size, "height"));
            assert_int_equal(has_text(data, size, "batch"), !tries[i].p.fixed_batch);
            UprezModel *back = read_onnx(data, size);
            same_output("fixed", &m, &back->graph, &back->facts, TOLERANCE);
            uprez_model_unref(&back);
        }
        upz_free(data);
    }
    write_onnx(&m, NULL, &data, &size);
    assert_true(has_text(data, size, "batch") && has_text(data, size, "height") &&
                has_text(data, size, "width"));
    upz_free(data);
    upz_graph_free(&m.graph);
    /* GELU is spelt out before operator set 20, and 20 is the default where there is one */
    build(&m, case_of("gelu"));
    write_onnx(&m, NULL, &data, &size);
    assert_true(has_text(data, size, "Gelu"));
    upz_free(data);
    write_onnx(&m, &(UpzOnnxParams){.opset = 19}, &data, &size);
    assert_true(has_text(data, size, "Erf") && !has_text(data, size, "Gelu"));
    upz_free(data);
    upz_graph_free(&m.graph);
}

/* What luma means is kept in ONNX's metadata. */
static void luma_keeps_its_range(void **state)
{
    (void)state;
    for (int kind = UPREZ_INPUT_Y_FULL; kind <= UPREZ_INPUT_Y_STUDIO; kind++) {
        UprezModel m = {0};
        UprezError err;
        uint8_t *data;
        size_t size;
        int v = pointwise(&m.graph, upz_graph_input(&m.graph, 1, &err), 1, 4, NULL);
        v = upz_graph_simple(&m.graph, UPZ_OP_SHUFFLE, v, 2, &err);
        assert_int_equal(upz_graph_finish(&m.graph, v, &m.facts, &err), 0);
        m.facts.input = kind;
        m.facts.path = "luma";
        write_onnx(&m, NULL, &data, &size);
        UprezModel *back = read_onnx(data, size);
        assert_int_equal(back->facts.input, kind);
        assert_int_equal(back->facts.channels, 1);
        uprez_model_unref(&back);
        upz_free(data);
        upz_graph_free(&m.graph);
    }
}

static void no_graph_no_file(void **state)
{
    (void)state;
    UprezModel *m, foreign = {.foreign = "torchscript"};
    UprezError err;
    uint8_t *data, *bin;
    size_t size, n_bin;
    assert_int_equal(upz_model_load(&m, NULL, "lanczos", NULL, &err), 0);
    foreign.facts.path = "a.pt";
    const UprezModel *const models[] = {m, &foreign};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(upz_write_onnx_memory(models[i], NULL, &data, &size, &err),
                         UPREZ_ERR_MODEL);
        assert_int_equal(upz_write_safetensors_memory(models[i], false, &data, &size, &err),
                         UPREZ_ERR_MODEL);
        assert_int_equal(upz_write_ncnn_memory(models[i], false, &data, &size, &bin, &n_bin, &err),
                         UPREZ_ERR_MODEL);
        assert_true(!data && !bin && err.text[0]);
    }
    UpzWriteParams p = {{0}};
    assert_int_equal(upz_write_file(m, "a.pth", &p, &err), UPREZ_ERR_USAGE);
    p.onnx.opset = 17;
    assert_int_equal(upz_write_file(m, "a.safetensors", &p, &err), UPREZ_ERR_USAGE);
    uprez_model_unref(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onnx_comes_back),
        cmocka_unit_test(ncnn_comes_back),
        cmocka_unit_test(checkpoints_keep_their_names),
        cmocka_unit_test(names_are_found_again),
        cmocka_unit_test(others_have_no_checkpoint),
        cmocka_unit_test(halves_round_to_even),
        cmocka_unit_test(sixteen_bits),
        cmocka_unit_test(axes_and_operator_sets),
        cmocka_unit_test(luma_keeps_its_range),
        cmocka_unit_test(no_graph_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
