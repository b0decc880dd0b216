/* Engine cuda on a driver that runs its kernels on the host (tests/fake/cuda): whole networks beside the
 * CPU engine, pictures in both kinds of memory, tiles, short memory, failing calls, and what is copied.
 * The plan's parts by themselves first. */
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

#include "engine/cuda/cuda_api.h"
#include "engine/cuda/net.h"
#include "engine/cuda/plan.h"
#include "engine/engine.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "test_graphs.h"
#include "uprez/uprez.h"

extern const UpzEngineOps upz_engine_cpu, upz_engine_cuda;

static UprezContext *ctx;
static UprezError err;
static char fake_path[4096], lines[4096];
static UpzCuda cu;
static uint64_t (*count)(const char *name);
static int (*context_create)(void **context, unsigned flags, int device);
static int (*context_destroy)(void *context);
static int (*context_current)(void **context);

#define OK(call) \
    do { \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, err.text); \
    } while (0)
#define CU(call) assert_int_equal((call), 0)

/* ---- networks ---- */

static int srvgg(UpzGraph *g, int in, int features, int convs, int scale)
{
    int v = in, c = g->nodes[in].channels;
    for (int i = 0; i < convs; i++) {
        const int w = graph_tensor(g, 4, (int64_t[]){features, g->nodes[v].channels, 3, 3},
                                   1.5f / sqrtf((float)g->nodes[v].channels * 9), 0);
        const int b = graph_tensor(g, 1, (int64_t[]){features}, 0.1f, 0);
        const int s = graph_tensor(g, 1, (int64_t[]){features}, 0.3f, 0.2f);
        v = upz_graph_conv(g, v, w, b, UPZ_ACT_PRELU, 0, s, NULL);
    }
    v = graph_conv(g, v, c * scale * scale, UPZ_ACT_NONE, 0.4f, 0);
    if (scale > 1) v = upz_graph_simple(g, UPZ_OP_SHUFFLE, v, scale, NULL);
    const int base = scale > 1 ? upz_graph_simple(g, UPZ_OP_NEAREST, in, scale, NULL) : in;
    return upz_graph_binary(g, UPZ_OP_ADD, v, base, 1, 1, NULL);
}

static int srvgg64(UpzGraph *g, int in) { return srvgg(g, in, 64, 2, 4); }
static int srvgg20(UpzGraph *g, int in) { return srvgg(g, in, 20, 2, 2); }
static int srvgg_clean(UpzGraph *g, int in) { return srvgg(g, in, 16, 2, 1); }

static int dense(UpzGraph *g, int x, int growth)
{
    int maps[5] = {x}, v = x;
    for (int c = 1; c <= 5; c++) {
        const int from = c > 1 ? upz_graph_concat(g, maps, c, NULL) : x;
        v = graph_conv(g, from, c < 5 ? growth : g->nodes[x].channels,
                       c < 5 ? UPZ_ACT_LEAKY : UPZ_ACT_NONE, 1.2f, 0);
        if (c < 5) maps[c] = v;
    }
    return upz_graph_binary(g, UPZ_OP_ADD, v, x, 0.2f, 1, NULL);
}

static int rrdb(UpzGraph *g, int in, int front, int features, int growth, int blocks, int ups)
{
    int c = g->nodes[in].channels;
    int v = front > 1 ? upz_graph_simple(g, UPZ_OP_UNSHUFFLE, in, front, NULL) : in;
    const int first = v = graph_conv(g, v, features, UPZ_ACT_NONE, 1.5f, 0);
    for (int b = 0; b < blocks; b++) {
        const int x = v;
        for (int i = 0; i < 3; i++) v = dense(g, v, growth);
        v = upz_graph_binary(g, UPZ_OP_ADD, v, x, 0.2f, 1, NULL);
    }
    v = graph_conv(g, v, features, UPZ_ACT_NONE, 1, 0);
    v = upz_graph_binary(g, UPZ_OP_ADD, v, first, 1, 1, NULL);
    for (int i = 0; i < ups; i++)
        v = graph_conv(g, upz_graph_simple(g, UPZ_OP_NEAREST, v, 2, NULL), features, UPZ_ACT_LEAKY,
                       1.5f, 0);
    v = graph_conv(g, v, features, UPZ_ACT_LEAKY, 1.5f, 0);
    g->pad_mode = UPZ_PAD_REFLECT;
    return graph_conv(g, v, c, UPZ_ACT_NONE, 0.5f, 0.5f);
}

static int rrdb4(UpzGraph *g, int in) { return rrdb(g, in, 1, 32, 16, 1, 2); }
static int rrdb2(UpzGraph *g, int in) { return rrdb(g, in, 2, 24, 12, 1, 2); }
static int rrdb1(UpzGraph *g, int in) { return rrdb(g, in, 4, 16, 16, 1, 2); }

/* ---- layers ---- */

static UpzCudaNet net_of(const UprezModel *m)
{
    UpzCudaNet net;
    OK(upz_cuda_net_build(&net, &m->graph, &err));
    return net;
}

static void networks_become_layers(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg64, 3);
    UpzCudaNet net = net_of(m);
    assert_int_equal(net.n_layers, 4); /* load and three convolutions */
    const UpzCudaLayer *l = &net.layers[3];
    assert_true(l->shuffled && l->factor == 4 && l->dst.map < 0);
    assert_int_equal(l->base.map, net.layers[0].dst.map);
    assert_int_equal(net.n_maps, 3);
    upz_cuda_net_free(&net);
    graph_model_free(m);

    m = graph_model(rrdb4, 3);
    net = net_of(m);
    assert_int_equal(net.n_layers, 1 + 1 + 15 + 1 + 2 + 2);
    /* the last convolution of the third dense block absorbs two sums */
    assert_int_equal(net.layers[16].n_add, 2);
    assert_true(fabsf(net.layers[16].alpha - 0.04f) < 1e-6f);
    assert_true(fabsf(net.layers[16].beta[0] - 0.2f) < 1e-6f && net.layers[16].beta[1] == 1);
    /* five inputs side by side in one map, the first of which the block before wrote */
    l = &net.layers[11];
    assert_int_equal(l->n_parts, 5);
    assert_int_equal(l->src.chunks, 4 + 4 * 2);
    assert_int_equal(net.layers[6].dst.map, net.layers[7].src.map);
    assert_int_equal(net.layers[18].up, 2);
    upz_cuda_net_free(&net);
    graph_model_free(m);

    m = graph_model(rrdb2, 3);
    net = net_of(m);
    assert_true(net.layers[0].load && net.layers[0].factor == 2);
    assert_int_equal(net.layers[0].dst.chunks, 2);
    assert_int_equal(net.layers[2].dst.chunks, 2); /* 12 channels take 16 */
    upz_cuda_net_free(&net);
    graph_model_free(m);
}

static int with_op(UpzGraph *g, int in, UpzOp op)
{
    UpzNode n = upz_node(op);
    n.n_src = op == UPZ_OP_MUL ? 2 : 1;
    n.src[0] = n.src[1] = graph_conv(g, in, 3, UPZ_ACT_NONE, 1, 0);
    n.factor = 2;
    n.act = op == UPZ_OP_ACT ? UPZ_ACT_TANH : UPZ_ACT_NONE;
    n.resize_num = 2, n.resize_den = 1;
    if (op == UPZ_OP_AFFINE) n.alpha[0] = 2, n.alpha[1] = 0.1f;
    return graph_conv(g, upz_graph_add(g, &n, NULL), 3, UPZ_ACT_NONE, 1, 0);
}
static int with_mul(UpzGraph *g, int in) { return with_op(g, in, UPZ_OP_MUL); }
static int with_affine(UpzGraph *g, int in) { return with_op(g, in, UPZ_OP_AFFINE); }
static int with_resize(UpzGraph *g, int in) { return with_op(g, in, UPZ_OP_RESIZE); }
static int with_tanh(UpzGraph *g, int in) { return with_op(g, in, UPZ_OP_ACT); }
static int with_mid_shuffle(UpzGraph *g, int in)
{
    int v = upz_graph_simple(g, UPZ_OP_SHUFFLE, graph_conv(g, in, 12, UPZ_ACT_NONE, 1, 0), 2, NULL);
    return graph_conv(g, v, 3, UPZ_ACT_NONE, 1, 0);
}
static int with_enlarged_four(UpzGraph *g, int in)
{
    int v = graph_conv(g, in, 8, UPZ_ACT_NONE, 1, 0);
    return graph_conv(g, upz_graph_simple(g, UPZ_OP_NEAREST, v, 4, NULL), 3, UPZ_ACT_NONE, 1, 0);
}
static int with_two_orders(UpzGraph *g, int in)
{
    const int a = graph_conv(g, in, 8, UPZ_ACT_NONE, 1, 0), b = graph_conv(g, a, 8, UPZ_ACT_NONE, 1, 0);
    const int one = graph_conv(g, upz_graph_concat(g, (int[]){a, b}, 2, NULL), 3, UPZ_ACT_NONE, 1, 0);
    const int two = graph_conv(g, upz_graph_concat(g, (int[]){b, a}, 2, NULL), 3, UPZ_ACT_NONE, 1, 0);
    return upz_graph_binary(g, UPZ_OP_ADD, one, two, 1, 1, NULL);
}
static int with_large_kernel(UpzGraph *g, int in)
{
    const int w = graph_tensor(g, 4, (int64_t[]){3, 3, 5, 5}, 0.1f, 0);
    return upz_graph_conv(g, in, w, UPZ_NO_TENSOR, UPZ_ACT_NONE, 0, UPZ_NO_TENSOR, NULL);
}

static void others_are_refused(void **state)
{
    (void)state;
    static const struct {
        GraphBuild build;
        const char *names;
    } cases[] = {{with_mul, "MUL"},       {with_affine, "AFFINE"},          {with_resize, "RESIZE"},
                 {with_tanh, "activation"}, {with_mid_shuffle, "pixel shuffle"},
                 {with_enlarged_four, "other than 2"}, {with_two_orders, "another order"},
                 {with_large_kernel, "3x3"}};
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UprezModel *m = graph_model(cases[i].build, 3);
        UprezError why = {0};
        if (upz_engine_cuda.supports(m, NULL, &why) != UPREZ_ERR_MODEL)
            fail_msg("%s is taken", cases[i].names);
        if (!strstr(why.text, cases[i].names)) fail_msg("'%s' not in: %s", cases[i].names, why.text);
        graph_model_free(m);
    }
    UprezModel *m = graph_model(srvgg20, 3);
    UprezError why = {0};
    assert_int_equal(upz_engine_cuda.supports(m, &(UpzEngineParams){.precision = "fp32"}, &why),
                     UPREZ_ERR_DEVICE);
    OK(upz_engine_cuda.supports(m, &(UpzEngineParams){.precision = "fp16"}, &why));
    graph_model_free(m);
}

/* ---- memory ---- */

static void live_maps_do_not_overlap(void **state)
{
    (void)state;
    static const GraphBuild builds[] = {srvgg64, rrdb4, rrdb2, rrdb1};
    for (int b = 0; b < UPZ_COUNT(builds); b++) {
        UprezModel *m = graph_model(builds[b], 3);
        UpzCudaNet net = net_of(m);
        UpzCudaNeed need = {.width = 100, .height = 60, .unit = 4, .reach = m->facts.reach,
                            .scale_num = m->facts.scale_num, .scale_den = m->facts.scale_den,
                            .in = 5000, .out = 7000};
        UpzCudaLayout l;
        OK(upz_cuda_layout_make(&l, &net, &need, 1, 1, &err));
        size_t all = 0;
        for (int i = 0; i < net.n_maps; i++) {
            const UpzCudaMapUse *a = &net.maps[i];
            const UpzCudaView va = {i, 0, a->chunks};
            const UpzCudaMap ma = upz_cuda_map(&l, &va, 0);
            const uint64_t a0 = ma.data - 128 - ma.row, a1 = a0 + (uint64_t)ma.chunk * (unsigned)a->chunks;
            assert_true(ma.row % 128 == 0 && ma.chunk % 128 == 0 && ma.data % 128 == 0);
            assert_int_equal(ma.width, 100 * a->num / a->den);
            assert_true(a1 <= l.zeroed);
            all += ma.chunk * (size_t)a->chunks;
            for (int k = 0; k < i; k++) {
                const UpzCudaMapUse *c = &net.maps[k];
                const UpzCudaView vc = {k, 0, c->chunks};
                const UpzCudaMap mc = upz_cuda_map(&l, &vc, 0);
                const uint64_t c0 = mc.data - 128 - mc.row;
                const uint64_t c1 = c0 + (uint64_t)mc.chunk * (unsigned)c->chunks;
                const bool together = a->first <= c->last && c->first <= a->last;
                if (together) assert_true(a1 <= c0 || c1 <= a0);
                /* what shares a place has its border in the same place */
                if (a0 < c1 && c0 < a1)
                    assert_true(ma.row == mc.row && ma.chunk == mc.chunk && ma.width == mc.width);
            }
        }
        if (b) assert_true(l.zeroed < all); /* places are shared */
        assert_true(l.bytes >= l.zeroed + l.image.plane * 3 + 3 * 12000);
        upz_cuda_layout_free(&l);
        upz_cuda_net_free(&net);
        graph_model_free(m);
    }
}

static void check_cut(const UpzCudaCut *c, int unit, int reach)
{
    int done = 0;
    for (int i = 0; i < c->n; i++) {
        const int at = upz_cuda_tile_at(c, i), from = i * c->step;
        const int to = UPZ_MIN(from + c->step, c->padded);
        assert_int_equal(from, done);
        assert_int_equal(at % unit, 0);
        assert_true(at >= 0 && at + c->tile <= c->padded);
        assert_true(at == 0 || from - at >= reach);
        assert_true(at + c->tile == c->padded || at + c->tile - to >= reach);
        done = to;
    }
    assert_int_equal(done, c->padded);
}

static void tiles_cover_with_their_reach(void **state)
{
    (void)state;
    UprezModel *m = graph_model(rrdb2, 3);
    UpzCudaNet net = net_of(m);
    static const int sides[][2] = {{1, 1}, {63, 200}, {640, 360}, {1000, 70}, {1921, 1081}};
    for (int i = 0; i < UPZ_COUNT(sides); i++)
        for (int unit = 1; unit <= 128; unit *= 2) {
            UpzCudaNeed need = {.width = sides[i][0], .height = sides[i][1], .unit = unit, .reach = 37,
                                .scale_num = 2, .scale_den = 1};
            int nx = 1, ny = 1, tries = 0;
            size_t before = SIZE_MAX;
            for (;; tries++) {
                UpzCudaLayout l;
                OK(upz_cuda_layout_make(&l, &net, &need, nx, ny, &err));
                check_cut(&l.x, unit, 37);
                check_cut(&l.y, unit, 37);
                const size_t px = (size_t)l.x.step * (size_t)l.y.step;
                assert_true(px < before);
                before = px;
                const bool more = upz_cuda_more_tiles(&l, &need, &nx, &ny);
                if (!more) assert_true(l.x.step <= UPZ_MAX(64, unit) && l.y.step <= UPZ_MAX(64, unit));
                upz_cuda_layout_free(&l);
                if (!more) break;
            }
            assert_true(tries < 60);
        }
    upz_cuda_net_free(&net);
    graph_model_free(m);
}

/* ---- pictures ---- */

static UprezPicture *picture(const char *format, int w, int h, int n)
{
    UprezFormat f;
    UprezPicture *p;
    uint32_t s = 99u + (uint32_t)n;
    OK(uprez_format_from_name(&f, format));
    OK(uprez_picture_alloc(&p, &f, w, h, &err));
    for (int c = 0; c < f.n_comp; c++)
        for (int y = 0; y < upz_component_height(&f, c, h); y++)
            for (int x = 0; x < upz_component_width(&f, c, w); x++) {
                s = s * 1664525u + 1013904223u;
                const double v = 0.5 + 0.3 * sin((x + n) * 0.4 + c) * cos(y * 0.3 - c) +
                                 ((double)(s >> 24) / 255 - 0.5) * 0.15;
                uint8_t *at = (uint8_t *)p->plane[f.comp[c].plane] +
                              p->stride[f.comp[c].plane] * y + f.comp[c].offset + x * f.comp[c].step;
                if (f.depth == 32) *(float *)(void *)at = (float)v;
                else if (f.depth == 8) *at = (uint8_t)(16 + v * 200);
                else *(uint16_t *)(void *)at = (uint16_t)((unsigned)(v * ((1 << f.depth) - 1)) << f.shift);
            }
    p->color.matrix = f.model == UPREZ_YUV ? 1 : 0;
    upz_color_resolve(&p->color, &f, w, h);
    p->pts = n;
    return p;
}

static UprezPicture *result_for(const UprezModel *m, const UprezPicture *src, const char *format)
{
    UprezFormat f;
    UprezPicture *p;
    OK(uprez_format_from_name(&f, format));
    OK(uprez_picture_alloc(&p, &f, src->width * m->facts.scale_num / m->facts.scale_den,
                           src->height * m->facts.scale_num / m->facts.scale_den, &err));
    p->color.matrix = f.model == UPREZ_YUV ? 1 : 0;
    upz_color_resolve(&p->color, &f, p->width, p->height);
    for (int i = 0; i < f.n_plane; i++)
        memset(p->plane[i], 0x5a, (size_t)p->stride[i] * (size_t)upz_plane_height(&f, i, p->height));
    return p;
}

static double code(const UprezPicture *p, int c, int x, int y)
{
    const UprezComponent *k = &p->format.comp[c];
    const uint8_t *at = (const uint8_t *)p->plane[k->plane] + p->stride[k->plane] * y + k->offset +
                        x * k->step;
    if (p->format.depth == 8) return *at;
    if (p->format.depth == 32) return *(const float *)(const void *)at * 255;
    return *(const uint16_t *)(const void *)at >> p->format.shift;
}

static void near(const UprezPicture *got, const UprezPicture *want, const char *what)
{
    const UprezFormat *f = &got->format;
    const double full = f->depth == 32 ? 255 : (1 << f->depth) - 1;
    double sum = 0, most = 0, low = 1e9, high = 0, n = 0;
    for (int c = 0; c < f->n_comp; c++)
        for (int y = 0; y < upz_component_height(f, c, got->height); y++)
            for (int x = 0; x < upz_component_width(f, c, got->width); x++, n++) {
                const double a = code(got, c, x, y), b = code(want, c, x, y);
                sum += (a - b) * (a - b) / full / full;
                most = fmax(most, fabs(a - b));
                low = fmin(low, b), high = fmax(high, b);
            }
    const double psnr = sum > 0 ? 10 * log10(n / sum) : 999;
    assert_true(high - low > full / 20); /* there is something to see */
    if (getenv("SAY")) printf("%s: %.1f dB, %.1f codes of %.0f\n", what, psnr, most, full);
    if (psnr < 50 || most > 2 * full / 255)
        fail_msg("%s: %.1f dB, %.1f codes of %.0f", what, psnr, most, full);
}

static void same(const UprezPicture *a, const UprezPicture *b)
{
    for (int c = 0; c < a->format.n_comp; c++)
        for (int y = 0; y < upz_component_height(&a->format, c, a->height); y++)
            for (int x = 0; x < upz_component_width(&a->format, c, a->width); x++)
                if (code(a, c, x, y) != code(b, c, x, y))
                    fail_msg("component %d (%d, %d): %g and %g", c, x, y, code(a, c, x, y),
                             code(b, c, x, y));
}

/* ---- engines ---- */

static UpzShape shape_of(const UprezPicture *src, const UprezPicture *dst)
{
    return (UpzShape){.width = src->width, .height = src->height, .src = src->format,
                      .dst = dst->format, .src_memory = src->memory, .dst_memory = dst->memory,
                      .src_color = src->color, .dst_color = dst->color};
}

static UpzEngine *open_cuda(UprezModel *m, void *context)
{
    UpzEngine *e = NULL;
    const UpzDevice device = {.kind = "cuda", .native_context = context};
    OK(upz_engine_cuda.open(&e, ctx, m, &device, &(UpzEngineParams){.runtime_path = fake_path}, &err));
    return e;
}

static UpzPlan plan_for(UpzEngine *e, const UprezPicture *src, const UprezPicture *dst, size_t limit)
{
    const UpzShape s = shape_of(src, dst);
    UpzPlan p;
    OK(upz_engine_cuda.plan(e, &s, limit, &p, &err));
    assert_true(p.exact && p.width == dst->width && p.height == dst->height);
    return p;
}

static void run_one(UpzEngine *e, const UprezPicture *src, UprezPicture *dst)
{
    UpzTask t = {.src = src, .dst = dst};
    int r = ((UpzEngineBase *)(void *)e)->ops->submit(e, &t);
    if (r < 0) fail_msg("submit: %s", t.err.text);
    assert_int_equal(((UpzEngineBase *)(void *)e)->ops->wait(e, &t, -1), 0);
    if (t.result < 0) fail_msg("wait: %s", t.err.text);
}

static UprezPicture *by_cpu(UprezModel *m, const UprezPicture *src, const char *format)
{
    UpzEngine *e = NULL;
    UpzPlan p;
    const UpzDevice device = {.kind = "cpu"};
    UprezPicture *dst = result_for(m, src, format);
    const UpzShape s = shape_of(src, dst);
    OK(upz_engine_cpu.open(&e, ctx, m, &device, &(UpzEngineParams){0}, &err));
    OK(upz_engine_cpu.plan(e, &s, 0, &p, &err));
    run_one(e, src, dst);
    upz_engine_cpu.close(&e);
    return dst;
}

static const struct {
    const char *name;
    GraphBuild build;
    int channels;
    const char *src, *dst;
    int w, h;
} nets[] = {
    {"64 features, 4x", srvgg64, 3, "nv12", "nv12", 37, 11},
    {"20 features, 2x", srvgg20, 3, "yuv420p10le", "p010le", 131, 9},
    {"1x", srvgg_clean, 3, "gbrp", "rgb24", 20, 10},
    {"luma", srvgg20, 1, "gray", "gray16le", 20, 10},
    {"dense, 4x", rrdb4, 3, "nv12", "yuv444p", 21, 9},
    {"dense, 2x", rrdb2, 3, "rgb48le", "gbrp16le", 33, 15},
    {"dense, 1x", rrdb1, 3, "gbrpf32le", "gbrpf32le", 35, 18},
};

static void capability(int cc)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", cc);
    setenv("FAKE_CUDA_CC", text, 1);
}

static void networks_equal_the_cpu(void **state)
{
    (void)state;
    static const int all[] = {90, 80, 75};
    for (int k = 0; k < UPZ_COUNT(all); k++)
        for (int i = 0; i < UPZ_COUNT(nets); i++) {
            if (all[k] == 75 && i != 1) continue; /* the kernels' own test has it all */
            char what[96];
            capability(all[k]);
            UprezModel *m = graph_model(nets[i].build, nets[i].channels);
            UprezPicture *src = picture(nets[i].src, nets[i].w, nets[i].h, i);
            UprezPicture *want = by_cpu(m, src, nets[i].dst), *got = result_for(m, src, nets[i].dst);
            UpzEngine *e = open_cuda(m, NULL);
            const UpzPlan p = plan_for(e, src, got, 0);
            assert_string_equal(p.numerics, all[k] == 90 ? "cuda/fp16-sm90/1" : "cuda/fp16-mma/1");
            run_one(e, src, got);
            snprintf(what, sizeof(what), "%s, capability %d", nets[i].name, all[k]);
            near(got, want, what);
            upz_engine_cuda.close(&e);
            uprez_picture_unref(&src);
            uprez_picture_unref(&want);
            uprez_picture_unref(&got);
            graph_model_free(m);
        }
    capability(90);
}

/* ---- setting up ---- */

static void keep_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    if (level > UPREZ_LOG_WARNING) return;
    const size_t n = strlen(lines);
    snprintf(lines + n, sizeof(lines) - n, "%s\n", line);
}

static int setup(void **state)
{
    (void)state;
    const char *build = getenv("BUILD_ROOT");
    const UprezContextParams params = {.size = sizeof(params), .threads = 2, .log = keep_line};
    OK(uprez_context_create(&ctx, &params, &err));
    snprintf(fake_path, sizeof(fake_path), "%s/tests/fake/cuda", build ? build : ".");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    uprez_context_destroy(&ctx);
    return 0;
}

static bool find_driver(void)
{
    char path[4200];
    capability(90);
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
                 {&context_destroy, "cuCtxDestroy_v2"},
                 {&context_current, "cuCtxGetCurrent"}};
    for (int i = 0; i < UPZ_COUNT(extra); i++) {
        void *f = dlsym(handle, extra[i].name);
        assert_non_null(f);
        memcpy(extra[i].to, &f, sizeof(f));
    }
    return true;
}

int main(void)
{
    const struct CMUnitTest planning[] = {
        cmocka_unit_test(networks_become_layers),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(live_maps_do_not_overlap),
        cmocka_unit_test(tiles_cover_with_their_reach),
    };
    const struct CMUnitTest running[] = {
        cmocka_unit_test(networks_equal_the_cpu),
    };
    int failed = cmocka_run_group_tests(planning, setup, teardown);
    if (upz_engine_cuda.missing) {
        printf("%s: networks are not run\n", upz_engine_cuda.missing);
        return failed;
    }
    setup(NULL);
    const bool there = find_driver();
    teardown(NULL);
    if (!there) return failed ? failed : 77;
    return failed + cmocka_run_group_tests(running, setup, teardown);
}
