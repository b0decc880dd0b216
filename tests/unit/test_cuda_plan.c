/* Engine cuda's parts that need no GPU: from network to layers, and where maps lie in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "cuda_nets.h"
#include "engine/cuda/net.h"
#include "engine/cuda/plan.h"
#include "engine/engine.h"

extern const UpzEngineOps upz_engine_cuda;

static UprezError err;

#define OK(call) \
    do { \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, err.text); \
    } while (0)

/* ---- layers ---- */

static UpzCudaNet net_of(const UprezModel *m)
{
    UpzCudaNet net;
    OK(upz_cuda_net_build(&net, &m->graph, false, &err));
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
            assert_true(a1 <= l.image.data);
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
        if (b) assert_true(l.image.data < all); /* places are shared */
        assert_true(l.zeroed >= l.image.data + l.image.plane * 3); /* stores read across an image's edge */
        assert_true(l.bytes >= l.zeroed + 3 * 12000);
        upz_cuda_layout_free(&l);
        upz_cuda_net_free(&net);
        graph_model_free(m);
    }
}

/* What kernels of one picture read and write at once lies apart, with and without tiles. */
static void passes_lie_apart(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{90000, 20000}, {90000, 900000}, {300, 0}, {900000, 100}};
    UprezModel *m = graph_model(srvgg20, 3);
    UpzCudaNet net = net_of(m);
    for (int i = 0; i < UPZ_COUNT(sizes) * 2; i++) {
        const size_t *pass = sizes[i / 2];
        UpzCudaNeed need = {.width = 200, .height = 160, .unit = 1, .reach = m->facts.reach,
                            .scale_num = 2, .scale_den = 1, .in = 5000, .out = 7000,
                            .passes = {pass[0], pass[1]}, .tables = 5000};
        UpzCudaLayout l;
        OK(upz_cuda_layout_make(&l, &net, &need, 1 + i % 2, 1, &err));
        const size_t image = l.image.plane * 3;
        const struct {
            size_t at, bytes;
        } parts[] = {{0, l.image.data}, {l.image.data, image}, {l.passes[0], pass[0]}, {l.tables, 5000},
                     {l.in[0], 5000}, {l.out[0], 7000}, {l.passes[1], pass[1]}};
        for (int a = 0; a < UPZ_COUNT(parts); a++)
            for (int b = 0; b < a; b++) {
                /* the second pass may take the network's image, which the first has read */
                const bool reused = a == 6 && b == 1 && pass[1] <= image;
                if (parts[a].bytes && parts[b].bytes && !reused)
                    assert_true(parts[a].at + parts[a].bytes <= parts[b].at ||
                                parts[b].at + parts[b].bytes <= parts[a].at);
            }
        for (int a = 0; a < UPZ_COUNT(parts); a++)
            assert_true(parts[a].at + parts[a].bytes <= l.bytes && parts[a].at % 128 == 0);
        upz_cuda_layout_free(&l);
    }
    upz_cuda_net_free(&net);
    graph_model_free(m);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_become_layers),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(live_maps_do_not_overlap),
        cmocka_unit_test(passes_lie_apart),
        cmocka_unit_test(tiles_cover_with_their_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
