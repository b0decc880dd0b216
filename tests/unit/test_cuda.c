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

/* pixels in groups, maps of three sizes, and a short reach */
static int grouped(UpzGraph *g, int in)
{
    int v = upz_graph_simple(g, UPZ_OP_UNSHUFFLE, in, 2, NULL);
    v = graph_conv(g, v, 24, UPZ_ACT_LEAKY, 1.7f, 0);
    for (int i = 0; i < 2; i++)
        v = graph_conv(g, upz_graph_simple(g, UPZ_OP_NEAREST, v, 2, NULL), 16, UPZ_ACT_LEAKY, 1.7f, 0);
    g->pad_mode = UPZ_PAD_REFLECT;
    return graph_conv(g, v, g->nodes[in].channels, UPZ_ACT_NONE, 0.4f, 0.5f);
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

/* ---- pictures in the GPU's memory ---- */

typedef struct Gpu {
    void *context;
} Gpu;

static Gpu gpu_enter(void)
{
    Gpu g;
    CU(context_create(&g.context, 0, 0));
    return g;
}

static void gpu_leave(Gpu *g)
{
    void *now;
    CU(context_current(&now));
    assert_ptr_equal(now, g->context); /* whatever was called, the caller's context is current */
    CU(context_destroy(g->context));
}

static void free_device(void *cookie)
{
    CU(cu.release((uint64_t)(uintptr_t)cookie));
}

/* Rows with odd pitches, as decoders have them. */
static UprezPicture *on_device(const UprezPicture *like, bool filled, void *stream)
{
    UprezPicture desc = *like, *p;
    uint64_t at, bytes = 0, offset[4];
    for (int i = 0; i < like->format.n_plane; i++) {
        desc.stride[i] = (ptrdiff_t)(upz_plane_row_bytes(&like->format, i, like->width) + 94) / 4 * 4;
        offset[i] = bytes;
        bytes += (uint64_t)desc.stride[i] * (uint64_t)upz_plane_height(&like->format, i, like->height);
    }
    CU(cu.alloc(&at, bytes));
    desc.memory = UPREZ_MEM_CUDA;
    desc.device = 0;
    desc.stream = stream;
    for (int i = 0; i < like->format.n_plane; i++) {
        desc.plane[i] = (void *)(uintptr_t)(at + offset[i]);
        UpzCudaCopy c = {.src_memory = UPZ_CUDA_HOST, .dst_memory = UPZ_CUDA_DEVICE,
                         .src_host = like->plane[i], .src_pitch = (size_t)like->stride[i],
                         .dst_device = at + offset[i], .dst_pitch = (size_t)desc.stride[i],
                         .width_bytes = upz_plane_row_bytes(&like->format, i, like->width),
                         .height = (size_t)upz_plane_height(&like->format, i, like->height)};
        if (filled) CU(cu.copy_rows(&c, stream));
    }
    OK(uprez_picture_wrap(&p, &desc, free_device, (void *)(uintptr_t)at, &err));
    return p;
}

static void to_host(UprezPicture *dst, const UprezPicture *p)
{
    for (int i = 0; i < p->format.n_plane; i++) {
        UpzCudaCopy c = {.src_memory = UPZ_CUDA_DEVICE, .dst_memory = UPZ_CUDA_HOST,
                         .src_device = (uint64_t)(uintptr_t)p->plane[i],
                         .src_pitch = (size_t)p->stride[i], .dst_host = dst->plane[i],
                         .dst_pitch = (size_t)dst->stride[i],
                         .width_bytes = upz_plane_row_bytes(&p->format, i, p->width),
                         .height = (size_t)upz_plane_height(&p->format, i, p->height)};
        CU(cu.copy_rows(&c, p->stream));
    }
    CU(cu.stream_finish(p->stream));
}

/* All four pairs of memory, three pictures in flight, each with a stream of its own; the source is
 * freed and overwritten in the order of its stream at once. */
static void all_kinds_of_memory(void **state)
{
    (void)state;
    enum { N = 4 };
    UprezModel *m = graph_model(srvgg20, 3);
    for (int kind = 0; kind < 4; kind++) {
        const bool up = kind & 1, down = kind & 2;
        Gpu g = gpu_enter();
        UpzEngine *e = open_cuda(m, g.context);
        UprezPicture *host[N], *want[N], *src[N], *dst[N], *got;
        void *streams[2 * N];
        UpzTask tasks[N];
        for (int i = 0; i < N; i++) {
            CU(cu.stream_create(&streams[2 * i], i % 2 ? 1 : 0));
            CU(cu.stream_create(&streams[2 * i + 1], 1));
            host[i] = picture("nv12", 38, 12, i);
            want[i] = by_cpu(m, host[i], "nv12");
            got = result_for(m, host[i], "nv12");
            src[i] = up ? on_device(host[i], true, streams[2 * i]) : uprez_picture_ref(host[i]);
            dst[i] = down ? on_device(got, false, streams[2 * i + 1]) : uprez_picture_ref(got);
            uprez_picture_unref(&got);
        }
        plan_for(e, src[0], dst[0], 0);
        const uint64_t up_before = count("host_to_device"), down_before = count("device_to_host");
        const uint64_t held = count("allocations") + count("host_allocations");
        for (int i = 0; i < N; i++) {
            tasks[i] = (UpzTask){.src = src[i], .dst = dst[i]};
            if (i == 3) { /* full */
                assert_int_equal(upz_engine_cuda.submit(e, &tasks[i]), UPREZ_AGAIN);
                assert_int_equal(upz_engine_cuda.wait(e, &tasks[0], -1), 0);
            }
            int r = upz_engine_cuda.submit(e, &tasks[i]);
            if (r < 0) fail_msg("%s", tasks[i].err.text);
            if (up) /* behind the load, in the source's order */
                CU(cu.clear((uint64_t)(uintptr_t)src[i]->plane[0], 0, 38, src[i]->stream));
        }
        for (int i = 1; i < N; i++) {
            while (upz_engine_cuda.wait(e, &tasks[i], i == 2 ? 1000000 : -1) == UPREZ_AGAIN) {}
            assert_int_equal(tasks[i].result, 0);
        }
        assert_int_equal(count("allocations") + count("host_allocations"), held);
        /* 38x12 in NV12 rows of 64 bytes, and four bytes that say whether there was a NaN */
        assert_int_equal(count("host_to_device") - up_before, up ? 0 : N * 64 * (12 + 6));
        assert_int_equal(count("device_to_host") - down_before,
                         N * 4 + (down ? 0 : N * 128 * (24 + 12)));
        for (int i = 0; i < N; i++) {
            UprezPicture *back = result_for(m, host[i], "nv12");
            if (down) to_host(back, dst[i]);
            near(down ? back : dst[i], want[i], "memory");
            uprez_picture_unref(&back);
            uprez_picture_unref(&host[i]);
            uprez_picture_unref(&want[i]);
            uprez_picture_unref(&src[i]);
            uprez_picture_unref(&dst[i]);
        }
        upz_engine_cuda.close(&e);
        for (int i = 0; i < 2 * N; i++) CU(cu.stream_destroy(streams[i]));
        gpu_leave(&g);
    }
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
}

/* The engine's own pictures go round, and live on without it. */
static void results_outlive_the_engine(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    Gpu g = gpu_enter();
    const uint64_t before = count("allocated");
    UpzEngine *e = open_cuda(m, g.context);
    UprezPicture *host = picture("nv12", 38, 12, 1), *want = by_cpu(m, host, "nv12"), *one, *two;
    UprezPicture *src = on_device(host, true, NULL), like = *want;
    like.memory = UPREZ_MEM_CUDA;
    plan_for(e, src, &like, 0);
    OK(upz_engine_cuda.picture(e, &one, &like, &err));
    assert_non_null(one->stream);
    const void *at = one->plane[0];
    run_one(e, src, one);
    uprez_picture_unref(&one);
    OK(upz_engine_cuda.picture(e, &one, &like, &err));
    assert_ptr_equal(one->plane[0], at); /* the same memory again */
    OK(upz_engine_cuda.picture(e, &two, &like, &err));
    assert_ptr_not_equal(two->plane[0], at);
    run_one(e, src, one);
    uprez_picture_unref(&src);
    upz_engine_cuda.close(&e);
    to_host(host = result_for(m, host, "nv12"), one);
    near(host, want, "after the engine");
    uprez_picture_unref(&one);
    uprez_picture_unref(&two);
    assert_int_equal(count("allocated"), before);
    gpu_leave(&g);
    uprez_picture_unref(&host);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

static void wrong_pictures_are_refused(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    Gpu g = gpu_enter();
    UpzEngine *e = open_cuda(m, g.context);
    UprezPicture *host = picture("p010le", 38, 12, 1), *to = result_for(m, host, "p010le");
    UprezPicture *src = on_device(host, true, NULL);
    UpzTask t = {.src = src, .dst = to};
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_BUG); /* no plan */
    plan_for(e, src, to, 0);
    UprezPicture odd = *src;
    odd.device = 1;
    t.src = &odd;
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_USAGE);
    odd = *src;
    odd.plane[1] = (uint8_t *)odd.plane[1] + 1;
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_USAGE);
    t.src = host; /* planned for the other kind */
    assert_int_equal(upz_engine_cuda.submit(e, &t), UPREZ_ERR_BUG);
    upz_engine_cuda.close(&e);
    uprez_picture_unref(&src);
    uprez_picture_unref(&host);
    uprez_picture_unref(&to);
    gpu_leave(&g);
    graph_model_free(m);
}

/* ---- memory is short ---- */

static size_t run_tiled(UpzEngine *e, UprezModel *m, const UprezPicture *src,
                        const UprezPicture *want, size_t limit)
{
    UprezPicture *got = result_for(m, src, uprez_format_name(&want->format));
    const UpzPlan p = plan_for(e, src, got, limit);
    assert_true(!limit || p.need <= limit);
    run_one(e, src, got);
    same(got, want);
    uprez_picture_unref(&got);
    return p.need;
}

static void tiles_equal_the_whole(void **state)
{
    (void)state;
    static const int cards[] = {90, 86};
    for (int k = 0; k < UPZ_COUNT(cards); k++) {
        capability(cards[k]);
        UprezModel *m = graph_model(srvgg20, 3);
        UprezPicture *src = picture("nv12", 280, 150, 5), *want = result_for(m, src, "yuv420p");
        UpzEngine *e = open_cuda(m, NULL);
        const size_t whole = plan_for(e, src, want, 0).need;
        run_one(e, src, want);
        size_t need = whole;
        int steps = 0;
        const uint64_t before = count("launch_store_picture");
        for (;; steps++) {
            UpzPlan p;
            const UpzShape s = shape_of(src, want);
            need = need * 9 / 10;
            if (upz_engine_cuda.plan(e, &s, need, &p, &err) < 0) break;
            if (steps % 2 == 0) need = run_tiled(e, m, src, want, need);
        }
        assert_int_equal(err.code, UPREZ_ERR_MEMORY);
        assert_non_null(strstr(err.text, "MiB"));
        assert_true(steps >= 4);
        assert_int_equal(count("launch_store_picture") - before, (steps + 1) / 2);
        upz_engine_cuda.close(&e);
        uprez_picture_unref(&src);
        uprez_picture_unref(&want);
        graph_model_free(m);
    }
    /* reflected beyond the picture's odd side */
    capability(90);
    UprezModel *m = graph_model(grouped, 3);
    UprezPicture *src = picture("gbrp", 393, 31, 2), *want = result_for(m, src, "gbrp");
    UpzEngine *e = open_cuda(m, NULL);
    const size_t whole = plan_for(e, src, want, 0).need;
    run_one(e, src, want);
    run_tiled(e, m, src, want, whole * 8 / 10);
    run_tiled(e, m, src, want, whole * 6 / 10);
    upz_engine_cuda.close(&e);
    uprez_picture_unref(&src);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

static void small_cards(void **state)
{
    (void)state;
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 300, 200, 5), *got = result_for(m, src, "nv12");
    UprezPicture *want = by_cpu(m, src, "nv12");
    const UpzShape s = shape_of(src, got);
    const int mib[] = {64, 10, 3};
    for (int i = 0; i < UPZ_COUNT(mib); i++) {
        char text[32];
        UpzPlan p;
        snprintf(text, sizeof(text), "%d", mib[i] << 20);
        setenv("FAKE_CUDA_MEMORY", text, 1);
        UpzEngine *e = open_cuda(m, NULL);
        int r = upz_engine_cuda.plan(e, &s, 0, &p, &err);
        if (i < 2) {
            assert_int_equal(r, 0);
            assert_true(p.need <= (size_t)mib[i] << 20);
            run_one(e, src, got);
            near(got, want, "small card");
        } else {
            assert_int_equal(r, UPREZ_ERR_MEMORY);
        }
        upz_engine_cuda.close(&e);
    }
    unsetenv("FAKE_CUDA_MEMORY");
    uprez_picture_unref(&src);
    uprez_picture_unref(&got);
    uprez_picture_unref(&want);
    graph_model_free(m);
}

/* ---- failing calls ---- */

/* Whichever call fails: an error with a sentence, nothing left behind, and no mistake of ours. */
static void every_call_may_fail(void **state)
{
    (void)state;
    static const char *const calls[] = {
        "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuModuleLoadData",
        "cuModuleGetFunction", "cuFuncSetAttribute", "cuMemGetInfo_v2", "cuMemAlloc_v2",
        "cuMemHostAlloc", "cuMemcpyHtoD_v2", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2",
        "cuMemsetD8Async", "cuStreamCreate", "cuStreamWaitEvent", "cuEventCreate", "cuEventRecord",
        "cuEventSynchronize", "cuLaunchKernelEx", "cuMemcpy2DAsync_v2"};
    UprezModel *m = graph_model(srvgg20, 3);
    UprezPicture *src = picture("nv12", 70, 12, 1), *got = result_for(m, src, "nv12");
    const UpzShape s = shape_of(src, got);
    const UpzDevice device = {.kind = "cuda"};
    const UpzEngineParams ep = {.runtime_path = fake_path};
    int seen = 0;
    for (int i = 0; i < UPZ_COUNT(calls); i++)
        for (int n = 1, failed = 1; failed && n < 60; n += n < 8 ? 1 : 7) {
            char text[96];
            UpzEngine *e = NULL;
            UpzPlan p;
            UpzTask t = {.src = src, .dst = got};
            const uint64_t before = count("allocated");
            snprintf(text, sizeof(text), "%s:%d", calls[i], n);
            err = (UprezError){0};
            setenv("FAKE_CUDA_FAIL", text, 1);
            int r = upz_engine_cuda.open(&e, ctx, m, &device, &ep, &err);
            if (r >= 0) r = upz_engine_cuda.plan(e, &s, 0, &p, &err);
            if (r >= 0) {
                r = upz_engine_cuda.submit(e, &t);
                if (r >= 0) {
                    upz_engine_cuda.wait(e, &t, -1);
                    r = t.result;
                }
                err = t.err;
            }
            unsetenv("FAKE_CUDA_FAIL");
            failed = r < 0;
            seen += failed;
            if (failed && (r != UPREZ_ERR_DEVICE || strlen(err.text) < 20))
                fail_msg("%s: %d '%s'", text, r, err.text);
            if (e) upz_engine_cuda.close(&e);
            if (count("allocated") != before) fail_msg("%s leaves memory behind", text);
        }
    assert_true(seen > 40);
    assert_int_equal(count("mistakes"), 0);
    uprez_picture_unref(&src);
    uprez_picture_unref(&got);
    graph_model_free(m);
}

static void errors_have_sentences(void **state)
{
    (void)state;
    static const struct {
        const char *fail;
        int code;
        const char *says;
    } cases[] = {{"cuModuleLoadData:1:209", UPREZ_ERR_DEVICE, "no kernels for this card"},
                 {"cuModuleLoadData:1:200", UPREZ_ERR_DEVICE, "older than the kernels"},
                 {"cuModuleLoadData:1:222", UPREZ_ERR_DEVICE, "older than the kernels"},
                 {"cuMemAlloc_v2:1:2", UPREZ_ERR_MEMORY, "out of GPU memory"},
                 {"cuEventSynchronize:1:700", UPREZ_ERR_DEVICE, "a kernel failed before"},
                 {"cuInit:1:803", UPREZ_ERR_DEVICE, "different versions"},
                 {"cuInit:1:100", UPREZ_ERR_DEVICE, "GPU"}};
    UprezModel *m = graph_model(srvgg20, 3);
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UpzEngine *e = NULL;
        setenv("FAKE_CUDA_FAIL", cases[i].fail, 1);
        const UpzDevice device = {.kind = "cuda"};
        int r = upz_engine_cuda.open(&e, ctx, m, &device,
                                     &(UpzEngineParams){.runtime_path = fake_path}, &err);
        unsetenv("FAKE_CUDA_FAIL");
        assert_null(e);
        if (r != cases[i].code || !strstr(err.text, cases[i].says))
            fail_msg("%s: %d %s", cases[i].fail, r, err.text);
    }
    graph_model_free(m);
}

/* ---- which engine ---- */

static int overflowing(UpzGraph *g, int in)
{
    int v = srvgg20(g, in);
    for (size_t i = 0; i < g->n_tensors; i++)
        for (int64_t k = 0; k < g->tensors[i].count; k++)
            if (i < 6) g->tensors[i].data[k] *= 3e3f;
    return v;
}

static Uprez *upscaler(UprezModel *m, UprezParams p)
{
    Uprez *u;
    p.size = sizeof(p);
    p.models = &m;
    p.n_models = 1;
    p.runtime_path = fake_path;
    OK(uprez_create(&u, ctx, &p, &err));
    return u;
}

static void auto_takes_the_gpu_that_is_right(void **state)
{
    (void)state;
    UprezModel *good = graph_model(srvgg20, 3), *bad = graph_model(overflowing, 3);
    UprezModel *other = graph_model(with_mul, 3);
    UprezPicture *src = picture("nv12", 38, 12, 1);
    UprezInfo info;
    lines[0] = 0;
    Uprez *u = upscaler(good, (UprezParams){0});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cuda");
    assert_string_equal(info.device, "cuda:0");
    assert_string_equal(info.precision, "fp16");
    assert_int_equal(info.depth, 3);
    uprez_destroy(&u);
    assert_string_equal(lines, "");

    u = upscaler(bad, (UprezParams){0}); /* fails its self-test */
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    assert_non_null(strstr(lines, "self-test"));
    uprez_destroy(&u);
    u = upscaler(bad, (UprezParams){.device = "cuda"});
    assert_int_equal(uprez_plan(u, src, &info, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "self-test"));
    uprez_destroy(&u);

    lines[0] = 0;
    u = upscaler(other, (UprezParams){.engine = "auto"});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    assert_non_null(strstr(lines, "MUL"));
    uprez_destroy(&u);

    lines[0] = 0;
    u = upscaler(good, (UprezParams){.device = "cpu"});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    uprez_destroy(&u);
    setenv("FAKE_CUDA_NONE", "1", 1);
    u = upscaler(good, (UprezParams){0});
    OK(uprez_plan(u, src, &info, &err));
    assert_string_equal(info.engine, "cpu");
    uprez_destroy(&u);
    u = upscaler(good, (UprezParams){.device = "cuda:0"});
    assert_int_equal(uprez_plan(u, src, &info, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "GPU"));
    uprez_destroy(&u);
    unsetenv("FAKE_CUDA_NONE");
    assert_string_equal(lines, "");
    uprez_picture_unref(&src);
    graph_model_free(good);
    graph_model_free(bad);
    graph_model_free(other);
}

static void cards_are_listed(void **state)
{
    (void)state;
    UpzDeviceList list = {.n = 0};
    UprezError why = {0};
    setenv("FAKE_CUDA_DEVICES", "2", 1);
    OK(upz_engine_cuda.probe(fake_path, &list, &why));
    assert_int_equal(list.n, 2);
    assert_int_equal(list.items[1].index, 1);
    assert_true(list.items[0].memory > 0);
    assert_non_null(strstr(list.items[0].can, "9.0"));
    assert_non_null(strstr(list.items[0].version, "CUDA"));
    unsetenv("FAKE_CUDA_DEVICES");
    capability(35);
    list.n = 0;
    upz_engine_cuda.probe(fake_path, &list, &why);
    assert_int_equal(list.n, 0);
    assert_non_null(strstr(why.text, "3.5"));
    capability(90);
}

/* The public interface with pictures in the GPU's memory: order, timing, memory of the caller's. */
static void upscaler_with_cuda_pictures(void **state)
{
    (void)state;
    enum { N = 6 };
    UprezModel *m = graph_model(srvgg20, 3);
    Gpu g = gpu_enter();
    Uprez *u = upscaler(m, (UprezParams){.cuda_context = g.context});
    UprezPicture *host[N], *want[N], *src, *out, *own = NULL;
    void *stream;
    CU(cu.stream_create(&stream, 1));
    int sent = 0, received = 0;
    for (int i = 0; i < N; i++) {
        host[i] = picture("nv12", 38, 12, i);
        want[i] = by_cpu(m, host[i], "nv12");
    }
    while (received < N) {
        int r = 0;
        while (sent < N && r != UPREZ_AGAIN) {
            src = on_device(host[sent], true, stream);
            src->pts = sent;
            if (sent == 2) own = on_device(want[0], false, stream);
            r = uprez_send_to(u, src, sent == 2 ? own : NULL, &err);
            uprez_picture_unref(&src);
            if (r != UPREZ_AGAIN) OK(r);
            if (r == 0) sent++;
            else if (sent == 2) uprez_picture_unref(&own);
        }
        OK(uprez_receive(u, &out, -1, &err));
        assert_int_equal(out->pts, received);
        assert_int_equal(out->memory, UPREZ_MEM_CUDA);
        if (received == 2) assert_ptr_equal(out->plane[0], own->plane[0]);
        UprezPicture *back = result_for(m, host[received], "nv12");
        to_host(back, out);
        near(back, want[received], "upscaler");
        uprez_picture_unref(&back);
        uprez_picture_unref(&out);
        received++;
    }
    uprez_picture_unref(&own);
    /* a host picture in between, and back */
    OK(uprez_run(u, host[0], &out, &err));
    assert_int_equal(out->memory, UPREZ_MEM_HOST);
    near(out, want[0], "host between");
    uprez_picture_unref(&out);
    src = on_device(host[1], true, stream);
    OK(uprez_run(u, src, &out, &err));
    uprez_picture_unref(&src);
    uprez_destroy(&u);
    uprez_picture_unref(&out); /* later than the upscaler */

    static const struct {
        UprezParams p;
        const char *says;
    } cases[] = {{{.scale = 3}, "a size other"}, {{.tta = 1}, "flips"}, {{.blend = 0.5}, "blending"},
                 {{.device = "cpu"}, "device"}, {{.engine = "cpu"}, "host memory"}};
    for (int i = 0; i < UPZ_COUNT(cases); i++) {
        UprezParams p = cases[i].p;
        p.cuda_context = g.context;
        u = upscaler(m, p);
        src = on_device(host[0], true, stream);
        assert_int_equal(uprez_run(u, src, &out, &err), UPREZ_ERR_DEVICE);
        if (!strstr(err.text, cases[i].says)) fail_msg("'%s' not in: %s", cases[i].says, err.text);
        uprez_picture_unref(&src);
        uprez_destroy(&u);
    }
    for (int i = 0; i < N; i++) {
        uprez_picture_unref(&host[i]);
        uprez_picture_unref(&want[i]);
    }
    CU(cu.stream_destroy(stream));
    gpu_leave(&g);
    graph_model_free(m);
    assert_int_equal(count("mistakes"), 0);
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
        cmocka_unit_test(all_kinds_of_memory),
        cmocka_unit_test(results_outlive_the_engine),
        cmocka_unit_test(wrong_pictures_are_refused),
        cmocka_unit_test(tiles_equal_the_whole),
        cmocka_unit_test(small_cards),
        cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(errors_have_sentences),
        cmocka_unit_test(auto_takes_the_gpu_that_is_right),
        cmocka_unit_test(cards_are_listed),
        cmocka_unit_test(upscaler_with_cuda_pictures),
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
