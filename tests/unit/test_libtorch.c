/* Engine libtorch: its module against the plain-C reference and against what PyTorch computed, real
 * TorchScript files against the same checkpoints on the cpu engine, and files that must be refused.
 * Run once for each module in build/modules/libtorch*, or for the folder given as argument; skipped
 * where none is built (tools/build-libtorch.sh --dest build/modules/libtorch). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "references.h"
#include "test_graphs.h"
#include "base/context.h"
#include "base/file.h"
#include "engine/engine.h"
#include "engine/libtorch/libtorch.h"
#include "engine/libtorch/script.h"
#include "uprez/uprez.h"
#include "skip.h"

#define TOLERANCE 1e-4

static char folder[4096]; /* $SHARED/models */
static const UpzTorchModule *torch;

static char *script_path(const char *name)
{
    static char path[4200];
    const char *root = getenv("SOURCE_ROOT");
    snprintf(path, sizeof(path), "%s/tests/data/torchscript/%s", root ? root : ".", name);
    return path;
}

/* ---- a network through the module's table, numbers not cut off ---- */

static UpzTorchNet *open_net(const UprezModel *m, const char *path, const char *precision,
                             UpzTorchFacts *facts)
{
    UpzTorchNet *net = NULL;
    UprezError err = {0};
    UpzTorchScript script = {.text = NULL};
    if (m && upz_torch_script(&script, m, false, &err) < 0) fail_msg("%s", err.text);
    const UpzTorchOpen how = {.script = m ? &script : NULL, .align = m ? m->facts.align : 0,
                              .channels = m ? m->facts.channels : 0, .path = path, .device = "cpu",
                              .precision = precision, .threads = 2};
    if (torch->open(&net, &how, facts, &err) < 0) print_message("%s\n", err.text);
    upz_torch_script_free(&script);
    return net;
}

/* channels x h x w of fp32 in and out. */
static void run_net(UpzTorchNet *net, const UpzTorchShape *s, const float *in, float *out)
{
    UpzTorchBuffers b[2];
    UprezError err = {0};
    const size_t n_in = (size_t)(s->in[1] * s->in[2] * s->in[3]);
    const size_t n_out = (size_t)(s->out[1] * s->out[2] * s->out[3]);
    if (torch->prepare(net, s, 2, b, &err) < 0) fail_msg("%s", err.text);
    memcpy(b[0].in, in, n_in * sizeof(float));
    memcpy(b[1].in, in, n_in * sizeof(float));
    if (torch->run(net, 0, &err) < 0) fail_msg("%s", err.text);
    memcpy(out, b[0].out, n_out * sizeof(float));
    /* later runs and other slots give the same bytes */
    for (int i = 0; i < 4; i++) {
        memset(b[i % 2].out, 0, n_out * sizeof(float));
        if (torch->run(net, i % 2, &err) < 0) fail_msg("%s", err.text);
        assert_memory_equal(b[i % 2].out, out, n_out * sizeof(float));
    }
}

static UpzTorchShape shape_of(const UprezModelFacts *f, int w, int h)
{
    return (UpzTorchShape){.in = {1, f->channels, h, w},
                           .out = {1, f->channels, (int64_t)h * f->scale_num / f->scale_den,
                                   (int64_t)w * f->scale_num / f->scale_den}};
}

/* ---- every operation ---- */

static int add_node(UpzGraph *g, UpzNode n)
{
    UprezError err;
    int v = upz_graph_add(g, &n, &err);
    if (v < 0) fail_msg("%s", err.text);
    return v;
}

static int conv_full(UpzGraph *g, int src, int out, int kw, int kh, int stride, int groups, int px,
                     int py)
{
    UpzNode n = upz_node(UPZ_OP_CONV);
    const int in = g->nodes[src].channels;
    n.n_src = 1, n.src[0] = src, n.stride = stride, n.groups = groups, n.pad_x = px, n.pad_y = py;
    n.weights = graph_tensor(g, 4, (int64_t[]){out, in / groups, kh, kw}, 0.3f, 0);
    n.bias = graph_tensor(g, 1, (int64_t[]){out}, 0.1f, 0);
    return add_node(g, n);
}

static int deconv(UpzGraph *g, int src, int out, int k, int stride, int pad, int groups, bool bias)
{
    UpzNode n = upz_node(UPZ_OP_DECONV);
    const int in = g->nodes[src].channels;
    n.n_src = 1, n.src[0] = src, n.stride = stride, n.groups = groups, n.pad_x = n.pad_y = pad;
    n.weights = graph_tensor(g, 4, (int64_t[]){in, out / groups, k, k}, 0.3f, 0);
    if (bias) n.bias = graph_tensor(g, 1, (int64_t[]){out}, 0.1f, 0);
    return add_node(g, n);
}

static int unary(UpzGraph *g, UpzOp op, int src, int factor, bool dcr)
{
    UpzNode n = upz_node(op);
    n.n_src = 1, n.src[0] = src, n.factor = factor, n.dcr = dcr;
    return add_node(g, n);
}

static int act(UpzGraph *g, int src, UpzAct a)
{
    UpzNode n = upz_node(UPZ_OP_ACT);
    n.n_src = 1, n.src[0] = src, n.act = a, n.slope = 0.3f, n.lo = -0.1f, n.hi = 0.4f;
    if (a == UPZ_ACT_PRELU)
        n.slopes = graph_tensor(g, 1, (int64_t[]){g->nodes[src].channels}, 0.3f, 0);
    return add_node(g, n);
}

static int resize(UpzGraph *g, int src, int num, int den, UpzFilter filter)
{
    UpzNode n = upz_node(UPZ_OP_RESIZE);
    n.n_src = 1, n.src[0] = src, n.resize_num = num, n.resize_den = den, n.filter = filter;
    return add_node(g, n);
}

static int affine(UpzGraph *g, int src, int values)
{
    UpzNode n = upz_node(UPZ_OP_AFFINE);
    n.n_src = 1, n.src[0] = src, n.alpha[0] = 1.5f, n.alpha[1] = -0.25f;
    if (values & 1)
        n.weights = graph_tensor(g, 1, (int64_t[]){g->nodes[src].channels}, 0.5f, 1);
    if (values & 2) n.bias = graph_tensor(g, 1, (int64_t[]){1}, 0.5f, 0);
    return add_node(g, n);
}

static int last(UpzGraph *g, int src) { return conv_full(g, src, 3, 3, 3, 1, 1, 1, 1); }

static int convs(UpzGraph *g, int in)
{
    int x = conv_full(g, in, 8, 5, 3, 1, 1, 2, 1);
    x = conv_full(g, x, 8, 3, 3, 1, 4, 1, 1);
    x = conv_full(g, x, 8, 2, 4, 1, 1, 0, 1); /* one more pixel behind than before */
    x = conv_full(g, x, 8, 2, 2, 1, 2, 1, 1);
    return last(g, x);
}
static int strided(UpzGraph *g, int in)
{
    int x = conv_full(g, in, 8, 3, 3, 2, 1, 1, 1);
    x = deconv(g, x, 6, 4, 2, 1, 1, true);
    x = conv_full(g, x, 8, 2, 2, 2, 1, 0, 0);
    x = unary(g, UPZ_OP_NEAREST, x, 2, false);
    x = conv_full(g, x, 8, 1, 1, 2, 1, 0, 0);
    return last(g, unary(g, UPZ_OP_NEAREST, x, 2, false));
}
static int deconvs(UpzGraph *g, int in)
{
    int x = deconv(g, in, 8, 9, 2, 4, 1, true);
    x = deconv(g, x, 8, 3, 1, 1, 4, false);
    x = deconv(g, x, 4, 6, 3, 1, 1, true);
    return last(g, deconv(g, x, 4, 2, 2, 0, 1, false));
}
static int deconv_short(UpzGraph *g, int in) /* kernel below stride; the pad above half of it */
{
    int x = deconv(g, in, 8, 2, 3, 0, 1, true);
    return last(g, deconv(g, x, 4, 3, 2, 2, 1, true));
}
static int acts(UpzGraph *g, int in)
{
    int x = conv_full(g, in, 6, 3, 3, 1, 1, 1, 1), all[8], n = 0;
    static const UpzAct kinds[] = {UPZ_ACT_RELU, UPZ_ACT_LEAKY, UPZ_ACT_PRELU, UPZ_ACT_SIGMOID,
                                   UPZ_ACT_TANH, UPZ_ACT_SILU, UPZ_ACT_GELU, UPZ_ACT_CLIP};
    for (int i = 0; i < UPZ_COUNT(kinds); i++) all[n++] = act(g, x, kinds[i]);
    return last(g, upz_graph_concat(g, all, n, NULL)); /* x itself must still be whole */
}
static int fused(UpzGraph *g, int in)
{
    UpzNode n = upz_node(UPZ_OP_MUL);
    int a = graph_conv(g, in, 6, UPZ_ACT_RELU, 1.7f, 0), b = graph_conv(g, in, 6, UPZ_ACT_SILU, 1.7f, 0);
    n.n_src = 2, n.src[0] = a, n.src[1] = b, n.act = UPZ_ACT_CLIP, n.lo = 0, n.hi = INFINITY;
    int m = add_node(g, n);
    n = upz_node(UPZ_OP_ADD);
    n.n_src = 2, n.src[0] = m, n.src[1] = a, n.alpha[0] = 0.5f, n.alpha[1] = -2;
    n.act = UPZ_ACT_LEAKY, n.slope = 0.1f;
    int s = add_node(g, n);
    s = upz_graph_binary(g, UPZ_OP_ADD, s, b, 0.2f, 1, NULL);
    s = upz_graph_binary(g, UPZ_OP_ADD, s, b, 1, -1, NULL);
    s = upz_graph_binary(g, UPZ_OP_ADD, s, a, 1, 1, NULL);
    n = upz_node(UPZ_OP_SLICE);
    n.n_src = 1, n.src[0] = s, n.first = 2, n.channels = 3;
    s = upz_graph_concat(g, (int[]){s, add_node(g, n), in}, 3, NULL);
    for (int v = 0; v < 4; v++) s = affine(g, s, v);
    return last(g, s);
}
static int shuffles(UpzGraph *g, int in)
{
    int x = unary(g, UPZ_OP_UNSHUFFLE, in, 2, false);
    x = unary(g, UPZ_OP_UNSHUFFLE, x, 2, true);
    x = unary(g, UPZ_OP_SHUFFLE, x, 4, true);
    x = unary(g, UPZ_OP_SHUFFLE, conv_full(g, x, 27, 3, 3, 1, 1, 1, 1), 3, false);
    return unary(g, UPZ_OP_SHUFFLE, conv_full(g, x, 12, 1, 1, 1, 1, 0, 0), 2, true);
}
static int resizes(UpzGraph *g, int in)
{
    int x = resize(g, in, 2, 1, UPZ_FILTER_BILINEAR);
    x = resize(g, conv_full(g, x, 5, 3, 3, 1, 1, 1, 1), 3, 2, UPZ_FILTER_BICUBIC);
    x = resize(g, x, 2, 3, UPZ_FILTER_NEAREST);
    x = resize(g, x, 1, 2, UPZ_FILTER_BILINEAR);
    return last(g, resize(g, x, 5, 2, UPZ_FILTER_NEAREST));
}

static const struct {
    const char *name;
    GraphBuild build;
} graphs[] = {{"conv", convs},         {"strided", strided},   {"deconv", deconvs},
              {"deconv short", deconv_short}, {"activations", acts}, {"pointwise", fused},
              {"shuffle", shuffles},   {"resize", resizes},    {"srvgg", graph_srvgg},
              {"unshuffled", graph_unshuffled}, {"deep", graph_deep}};

static float *reference(const UprezModel *m, const float *src, int w, int h)
{
    UprezError err;
    const UpzTorchShape s = shape_of(&m->facts, w, h);
    float *out = calloc((size_t)(s.out[1] * s.out[2] * s.out[3]), sizeof(*out));
    if (upz_reference_run(&m->graph, src, w, h, out, &err) < 0) fail_msg("%s", err.text);
    return out;
}

static void every_op(void **state)
{
    (void)state;
    static const struct {
        const char *precision;
        double bound; /* of the largest value */
    } kinds[] = {{"fp32", 2e-6}, {"bf16", 3e-2}, {"fp16", 5e-3}};
    print_message("%-14s", "network");
    for (int k = 0; k < UPZ_COUNT(kinds); k++) print_message(" | %s", kinds[k].precision);
    print_message("   (largest difference / largest value)\n");
    for (int i = 0; i < UPZ_COUNT(graphs); i++) {
        UprezModel *m = graph_model(graphs[i].build, 3);
        const int w = UPZ_ROUND_UP(29, m->facts.align), h = UPZ_ROUND_UP(22, m->facts.align);
        const UpzTorchShape s = shape_of(&m->facts, w, h);
        const size_t n = (size_t)(s.out[1] * s.out[2] * s.out[3]);
        float *src = ref_picture(3, w, h, 1), *want = reference(m, src, w, h);
        float *got = calloc(n, sizeof(*got));
        double most = 0;
        for (size_t k = 0; k < n; k++) most = fmax(most, fabs((double)want[k]));
        print_message("%-14s", graphs[i].name);
        for (int k = 0; k < UPZ_COUNT(kinds); k++) {
            UpzTorchFacts facts = {0};
            UpzTorchNet *net = open_net(m, NULL, kinds[k].precision, &facts);
            if (!net) { /* fp16, and bf16 of transposed convolutions, came with LibTorch 2 */
                assert_true(k > 0 && !strncmp(torch->built_for, "1.", 2));
                continue;
            }
            assert_string_equal(facts.precision, kinds[k].precision);
            run_net(net, &s, src, got);
            torch->close(&net);
            assert_null(net);
            const double d = ref_difference(got, want, n) / most;
            print_message(" | %.1e", d);
            assert_true(d <= kinds[k].bound);
            assert_true(k == 0 || d > 0);
        }
        print_message("\n");
        free(src), free(want), free(got);
        graph_model_free(m);
    }
}

/* ---- real models, against PyTorch's and ONNX Runtime's numbers ---- */

static int padded_at(int i, int n, UpzPadMode mode)
{
    if (i < n) return i;
    if (mode == UPZ_PAD_ZERO) return -1;
    if (mode == UPZ_PAD_REPLICATE || n == 1) return n - 1;
    return UPZ_MAX(2 * (n - 1) - i, 0);
}

static double model_difference(const UprezModel *m, const cJSON *ref, const float *want)
{
    const int c = m->facts.channels, a = m->facts.align;
    const int w = ref_int(ref, "width", 0), h = ref_int(ref, "height", 0);
    const int pw = UPZ_ROUND_UP(w, a), ph = UPZ_ROUND_UP(h, a);
    const UpzTorchShape small = shape_of(&m->facts, w, h), s = shape_of(&m->facts, pw, ph);
    float *src = ref_picture(c, w, h, 1), *in = calloc((size_t)(c * pw * ph), sizeof(*in));
    float *out = calloc((size_t)(s.out[1] * s.out[2] * s.out[3]), sizeof(*out));
    for (int i = 0; i < c * pw * ph; i++) {
        const int sx = padded_at(i % pw, w, m->graph.pad_mode);
        const int sy = padded_at(i / pw % ph, h, m->graph.pad_mode);
        if (sx >= 0 && sy >= 0) in[i] = src[(i / pw / ph * h + sy) * w + sx];
    }
    UpzTorchFacts facts;
    UpzTorchNet *net = open_net(m, NULL, "fp32", &facts);
    assert_non_null(net);
    run_net(net, &s, in, out);
    torch->close(&net);
    double most = 0;
    for (int64_t k = 0; k < c * small.out[2]; k++) {
        const int64_t at = k / small.out[2] * s.out[2] + k % small.out[2];
        most = fmax(most, ref_difference(out + at * s.out[3], want + k * small.out[3],
                                         (size_t)small.out[3]));
    }
    free(src), free(in), free(out);
    return most;
}

static int check_all(const char *key, const char *root)
{
    cJSON *index = ref_index();
    const cJSON *ref, *file;
    int checked = 0, failures = 0;
    assert_non_null(index);
    print_message("%-66s | max difference\n", "model");
    cJSON_ArrayForEach(ref, cJSON_GetObjectItem(index, key)) {
        size_t size;
        char *blob = ref_file(ref_path(ref_text(ref, "file")), &size);
        assert_non_null(blob);
        cJSON_ArrayForEach(file, cJSON_GetObjectItem(ref, "models")) {
            char path[8192];
            UprezModel *m;
            UprezError err;
            snprintf(path, sizeof(path), "%s/%s", root, ref_text(file, "path"));
            if (upz_model_load(&m, NULL, path, NULL, &err) < 0) fail_msg("%s", err.text);
            const double d = model_difference(m, ref, (const float *)blob);
            print_message("%-66s | %.2e\n", upz_basename(path), d);
            failures += !(d <= TOLERANCE);
            checked++;
            uprez_model_unref(&m);
        }
        free(blob);
    }
    cJSON_Delete(index);
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

/* ---- through the library ---- */

static UprezPicture *picture(int w, int h)
{
    UprezFormat f;
    UprezPicture *p;
    UprezError err;
    float *src = ref_picture(3, w, h, 1);
    assert_int_equal(uprez_format_from_name(&f, "gbrpf32le"), 0);
    if (uprez_picture_alloc(&p, &f, w, h, &err) < 0) fail_msg("%s", err.text);
    p->color = (UprezColor){.matrix = 0, .primaries = 1, .transfer = 1, .range = UPREZ_RANGE_FULL};
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < h; y++)
            memcpy((char *)p->plane[c] + y * p->stride[c], src + (c * h + y) * w,
                   (size_t)w * sizeof(float));
    free(src);
    return p;
}

static UprezPicture *upscaled(UprezContext *ctx, const char *path, const char *engine, int w, int h)
{
    UprezModel *m;
    Uprez *u;
    UprezPicture *src = picture(w, h), *dst;
    UprezError err;
    const UprezModelParams mp = {.size = sizeof(mp), .denoise = -1, .engine = engine};
    if (uprez_model_load(&m, ctx, path, &mp, &err) < 0) fail_msg("%s", err.text);
    const UprezParams params = {.size = sizeof(params), .models = &m, .n_models = 1,
                                .engine = engine, .precision = "fp32"};
    if (uprez_create(&u, ctx, &params, &err) < 0) fail_msg("%s", err.text);
    UprezInfo info = {.size = sizeof(info)};
    if (uprez_plan(u, src, &info, &err) < 0) fail_msg("%s", err.text);
    print_message("  %s: %s\n", upz_basename(path), info.numerics);
    if (uprez_run(u, src, &dst, &err) < 0) fail_msg("%s", err.text);
    uprez_destroy(&u);
    uprez_model_unref(&m);
    uprez_picture_unref(&src);
    return dst;
}

static double difference(const UprezPicture *a, const UprezPicture *b)
{
    double most = 0;
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < a->height; y++)
            most = fmax(most, ref_difference(
                (const float *)(void *)((char *)a->plane[c] + y * a->stride[c]),
                (const float *)(void *)((char *)b->plane[c] + y * b->stride[c]), (size_t)a->width));
    return most;
}

static void torchscript_as_the_checkpoint(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"torchscript/realesr-animevideov3.torchscript.pt", "pytorch/realesr-animevideov3.pth"},
        {"torchscript/sudo_UltraCompact_2x_1.121.175_G.torchscript.pt",
         "pytorch/sudo_UltraCompact_2x_1.121.175_G.pth"}};
    if (!upz_is_dir(folder)) {
        SKIP_BECAUSE("%s is not there", folder);
    }
    UprezContext *ctx;
    UprezError err;
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    for (int i = 0; i < UPZ_COUNT(pairs); i++) {
        char path[2][8192];
        for (int k = 0; k < 2; k++)
            snprintf(path[k], sizeof(path[k]), "%s/%s", folder, pairs[i][k]);
        UprezPicture *a = upscaled(ctx, path[0], "auto", 75, 53);
        UprezPicture *b = upscaled(ctx, path[1], "cpu", 75, 53);
        const double d = difference(a, b);
        print_message("  difference %.2e\n", d);
        assert_true(d <= TOLERANCE);
        uprez_picture_unref(&a);
        uprez_picture_unref(&b);
    }
    uprez_context_destroy(&ctx);
}

/* ---- forms of scripts ---- */

static void all_outputs_and_types(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int scale, align;
        double bound; /* from double.pt */
        bool old;     /* also on LibTorch 1.x */
    } cases[] = {{"double.pt", 2, 1, 0, true},   {"tuple.pt", 2, 1, 0, true},
                 {"list.pt", 2, 1, 0, true},     {"dict.pt", 2, 1, 0, true},
                 {"half.pt", 2, 1, 5e-4, true},  {"half-frozen.pt", 2, 1, 2e-3, false},
                 {"even.pt", 2, 2, 0, true},     {"bare.pt", 3, 1, -1, true}};
    UprezContext *ctx;
    UprezError err;
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    UprezPicture *want = NULL;
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UprezModel *m;
        const char *path = script_path(cases[i].file);
        const int r = uprez_model_load(&m, ctx, path, NULL, &err);
        if (!cases[i].old && !strncmp(torch->built_for, "1.", 2)) {
            assert_int_equal(r, UPREZ_ERR_DEVICE);
            assert_non_null(strstr(err.text, "fp16"));
            continue;
        }
        if (r < 0) fail_msg("%s", err.text);
        const UprezModelFacts *f = uprez_model_facts(m);
        assert_int_equal(f->scale_num, cases[i].scale);
        assert_int_equal(f->scale_den, 1);
        assert_int_equal(f->align, cases[i].align);
        assert_int_equal(f->channels, 3);
        assert_int_equal(f->parameters, cases[i].scale == 3 ? 0 : 12 * 27 + 12);
        assert_int_equal(f->half, !strncmp(cases[i].file, "half", 4));
        assert_int_equal(f->reach, cases[i].scale == 3 ? 0 : 1);
        if (cases[i].scale == 2) {
            UprezParams params = {.size = sizeof(params), .models = &m, .n_models = 1,
                                  .precision = strstr(cases[i].file, "frozen") ? NULL : "fp32"};
            UprezPicture *src = picture(40, 30), *got;
            Uprez *u;
            if (uprez_create(&u, ctx, &params, &err) < 0) fail_msg("%s", err.text);
            if (uprez_run(u, src, &got, &err) < 0) fail_msg("%s", err.text);
            if (!want) want = uprez_picture_ref(got);
            const double d = difference(want, got);
            print_message("  %-14s %.2e\n", cases[i].file, d);
            assert_true(d <= cases[i].bound);
            uprez_picture_unref(&got);
            uprez_picture_unref(&src);
            uprez_destroy(&u);
        }
        uprez_model_unref(&m);
    }
    uprez_picture_unref(&want);
    uprez_context_destroy(&ctx);
}

static void bad_scripts_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int code;
        const char *words;
    } cases[] = {
        {"bad-two-inputs.pt", UPREZ_ERR_MODEL, "takes (x: Tensor, strength: float)"},
        {"bad-list-input.pt", UPREZ_ERR_MODEL, "takes one tensor N x C x H x W"},
        {"bad-number.pt", UPREZ_ERR_MODEL, "gives back Double"},
        {"bad-flat.pt", UPREZ_ERR_MODEL, "1 dimensions"},
        {"bad-fails.pt", UPREZ_ERR_MODEL, "seventeen channels, please"},
        {"bad-nothing.pt", UPREZ_ERR_MODEL, "gives back nothing (None)"},
        {"bad-none.pt", UPREZ_ERR_MODEL, "has nothing (None) where a tensor is needed"},
        {"bad-op.pt", UPREZ_ERR_MODEL, "aten::upsample_of_the_future"},
        {"bad-trt.pt", UPREZ_ERR_DEVICE, "libtorchtrt_runtime.so"},
    };
    UprezContext *ctx;
    UprezError err;
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UprezModel *m;
        char *path = script_path(cases[i].file);
        const int r = uprez_model_load(&m, ctx, path, NULL, &err);
        print_message("  %s\n", err.text);
        assert_int_equal(r, cases[i].code);
        assert_null(m);
        assert_non_null(strstr(err.text, cases[i].words));
        assert_non_null(strstr(err.text, cases[i].file));
        assert_null(strstr(err.text, "frame #")); /* no list of calls */
    }
    uprez_context_destroy(&ctx);
}

/* Every byte of a small archive changed, and every length: an error or a result, never an end. */
static void damaged_scripts(void **state)
{
    (void)state;
    char path[] = "/tmp/uprez-script-XXXXXX";
    size_t size = 0;
    char *data = ref_file(script_path("double.pt"), &size);
    assert_non_null(data);
    int fd = mkstemp(path), refused = 0, tried = 0;
    assert_true(fd >= 0);
    for (size_t at = 3; at < size; at += 61) {
        UprezError err = {0};
        UpzTorchNet *net = NULL;
        UpzTorchFacts facts;
        const bool cut = at % 2;
        char was = data[at];
        data[at] = (char)(was ^ 0x41);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_true(pwrite(fd, data, cut ? at : size, 0) > 0);
        data[at] = was;
        const UpzTorchOpen how = {.path = path, .device = "cpu", .precision = "auto", .threads = 1};
        const int r = torch->open(&net, &how, &facts, &err);
        tried++;
        refused += r < 0;
        assert_true(r == 0 || r == UPREZ_ERR_MODEL || r == UPREZ_ERR_DEVICE);
        if (r < 0) assert_true(strlen(err.text) > 20);
        if (cut) assert_int_equal(r, UPREZ_ERR_MODEL);
        torch->close(&net);
    }
    print_message("  %d of %d refused\n", refused, tried);
    close(fd);
    unlink(path);
    free(data);
}

static void a_missing_device_is_an_error(void **state)
{
    (void)state;
    static const char *const kinds[] = {"cuda", "xpu", "abacus"};
    UprezModel *m = graph_model(graph_srvgg, 3);
    UpzTorchScript script;
    assert_int_equal(upz_torch_script(&script, m, false, NULL), 0);
    for (int i = 0; i < UPZ_COUNT(kinds); i++) {
        UpzTorchNet *net = NULL;
        UpzTorchFacts facts;
        UprezError err = {0};
        const UpzTorchOpen how = {.script = &script, .device = kinds[i], .index = 77,
                                  .precision = "auto", .threads = 1};
        assert_int_equal(torch->open(&net, &how, &facts, &err), UPREZ_ERR_DEVICE);
        print_message("  %s\n", err.text);
        assert_null(net);
    }
    upz_torch_script_free(&script);
    graph_model_free(m);
}

/* ---- written as TorchScript, read again ---- */

static void written_and_read(void **state)
{
    (void)state;
    char path[] = "/tmp/uprez-written-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int i = 0; i < UPZ_COUNT(graphs); i++)
        for (int half = 0; half < 2; half++) {
            UprezError err = {0};
            UprezModel *m = graph_model(graphs[i].build, 3);
            if (m->facts.scale_den > 1) {
                graph_model_free(m);
                continue;
            }
            if (upz_libtorch_write(m, path, half, NULL, &err) < 0) fail_msg("%s", err.text);
            const int a = m->facts.align, w = UPZ_ROUND_UP(24, a), h = UPZ_ROUND_UP(20, a);
            UpzTorchShape s = {.in = {1, 3, h, w}};
            UpzTorchFacts facts = {0};
            UpzTorchNet *net = open_net(NULL, path, "fp32", &facts);
            assert_non_null(net);
            assert_int_equal(facts.half, half);
            if (torch->shape(net, &s, &err) < 0) fail_msg("%s", err.text);
            const UpzTorchShape want_shape = shape_of(&m->facts, w, h);
            assert_memory_equal(&s, &want_shape, sizeof(s));
            const size_t n = (size_t)(s.out[1] * s.out[2] * s.out[3]);
            float *src = ref_picture(3, w, h, 1), *want = reference(m, src, w, h);
            float *got = calloc(n, sizeof(*got));
            run_net(net, &s, src, got);
            double most = 0;
            for (size_t k = 0; k < n; k++) most = fmax(most, fabs((double)want[k]));
            assert_true(ref_difference(got, want, n) / most <= (half ? 2e-3 : 2e-6));
            /* any size: padded inside */
            s = (UpzTorchShape){.in = {1, 3, h - 1, w - 1}};
            if (torch->shape(net, &s, &err) < 0) fail_msg("%s", err.text);
            assert_int_equal(s.out[2], (h - 1) * m->facts.scale_num);
            assert_int_equal(s.out[3], (w - 1) * m->facts.scale_num);
            torch->close(&net);
            free(src), free(want), free(got);
            graph_model_free(m);
        }
    unlink(path);
}

/* What one channel is stays known. */
static void luma_is_written(void **state)
{
    (void)state;
    char path[] = "/tmp/uprez-luma-XXXXXX";
    UprezError err = {0};
    UprezContext *ctx;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    static const int inputs[] = {UPREZ_INPUT_Y_FULL, UPREZ_INPUT_Y_STUDIO};
    for (int i = 0; i < 2; i++) {
        UprezModel *m = graph_model(graph_srvgg, 1), *back;
        m->facts.input = inputs[i];
        if (upz_libtorch_write(m, path, false, NULL, &err) < 0) fail_msg("%s", err.text);
        graph_model_free(m);
        if (uprez_model_load(&back, ctx, path, NULL, &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(uprez_model_facts(back)->channels, 1);
        assert_int_equal(uprez_model_facts(back)->input, inputs[i]);
        uprez_model_unref(&back);
    }
    uprez_context_destroy(&ctx);
    unlink(path);
}

static const UpzTorchModule *open_module(const char *dir)
{
    char path[4200];
    snprintf(path, sizeof(path), "%s/engine-libtorch.so", dir);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        print_message("%s\n", dlerror());
        return NULL;
    }
    UpzTorchEntry entry = NULL;
    *(void **)&entry = dlsym(handle, UPZ_TORCH_ENTRY);
    return entry ? entry(UPZ_TORCH_ABI) : NULL;
}

/* Two LibTorches do not share a process: one child for each module built. */
static int every_module(char **argv)
{
    char pattern[4200];
    const char *root = getenv("BUILD_ROOT");
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/modules/libtorch*", root ? root : "build");
    if (glob(pattern, 0, NULL, &found)) {
        print_message("skipped: no module in %s; tools/build-libtorch.sh makes one\n", pattern);
        return 77;
    }
    int bad = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const pid_t child = fork();
        if (!child) {
            execv(argv[0], (char *[]){argv[0], found.gl_pathv[i], NULL});
            _exit(127);
        }
        int status = 1;
        if (child < 0 || waitpid(child, &status, 0) != child || status) bad++;
    }
    globfree(&found);
    return bad;
}

int main(int argc, char **argv)
{
    if (argc < 2) return every_module(argv);
    const char *shared = getenv("SHARED"), *dir = argv[1];
    setenv("UPREZ_RUNTIME_PATH", dir, 1);
    snprintf(folder, sizeof(folder), "%s/models", shared ? shared : "../shared");
    torch = open_module(dir);
    if (!torch) return 1;
    print_message("LibTorch %s: %s\n", torch->built_for, dir);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op),
        cmocka_unit_test(small_onnx_files),
        cmocka_unit_test(real_models),
        cmocka_unit_test(torchscript_as_the_checkpoint),
        cmocka_unit_test(all_outputs_and_types),
        cmocka_unit_test(bad_scripts_say_why),
        cmocka_unit_test(damaged_scripts),
        cmocka_unit_test(a_missing_device_is_an_error),
        cmocka_unit_test(written_and_read),
        cmocka_unit_test(luma_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
