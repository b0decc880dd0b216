/* The CPU engine against the plain-C reference of the graph: every operation, odd sizes; and the
 * same bytes whatever threads and processor level. */
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
#include "base/context.h"
#include "engine/cpu/flow.h"
#include "engine/cpu/half_gemm.h"
#include "engine/cpu/tiles.h"
#include "engine/cpu/tiles_int8.h"
#include "engine/engine.h"
#include "model/graph.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "cpu_nets.h"

extern const UpzEngineOps upz_engine_cpu;

/* ---- running ---- */

static void fill(UprezPicture *pic, uint32_t s)
{
    seed = s;
    for (int p = 0; p < pic->format.n_plane; p++)
        for (int y = 0; y < pic->height; y++)
            for (int x = 0; x < pic->width; x++)
                ((float *)((char *)pic->plane[p] + y * pic->stride[p]))[x] = noise();
}

static float *pixel(const UprezPicture *pic, int comp, int x, int y)
{
    const UprezComponent *c = &pic->format.comp[comp];
    return (float *)(void *)((char *)pic->plane[c->plane] + y * pic->stride[c->plane] +
                             c->offset) + x;
}

/* The precision that pictures are computed in from here on; others need the processor's tiles or plain C. */
static UpzEngineParams as = {.precision = "fp32"};

static bool int8(void) { return !strcmp(as.precision, "int8"); }
static bool fp16(void) { return !strcmp(as.precision, "fp16"); }
static bool narrow(void) { return !strcmp(as.precision, "bf16") || int8() || fp16(); }

static bool has_tiles(uint32_t features)
{
    if (fp16()) return upz_half_multiply(features) != NULL;
    return upz_tile_kernels(features) && (!int8() || upz_tile8_kernels(features));
}

/* The best level that offers the precision. */
static const char *best_level(void)
{
    return narrow() && !has_tiles(upz_cpu_features()) ? "c" : NULL;
}

/* n frames through the engine, up to two in flight; dst[i] are allocated here. */
static void run_frames(UprezModel *m, const char *cpu, int threads, UprezPicture **src,
                       UprezPicture **dst, int n)
{
    UprezError err = {0};
    UprezContext *ctx;
    UprezContextParams params = {.size = sizeof(params), .threads = threads, .cpu = cpu};
    if (uprez_context_create(&ctx, &params, &err)) fail_msg("%s", err.text);
    UpzEngine *e;
    UpzShape shape = {.width = src[0]->width, .height = src[0]->height, .src = src[0]->format,
                      .dst = src[0]->format, .src_color = {.matrix = 0, .range = UPREZ_RANGE_FULL},
                      .dst_color = {.matrix = 0, .range = UPREZ_RANGE_FULL}};
    UpzPlan plan;
    if (upz_engine_cpu.open(&e, ctx, m, NULL, &as, &err)) fail_msg("%s", err.text);
    if (upz_engine_cpu.plan(e, &shape, 0, &plan, &err)) fail_msg("%s", err.text);
    UpzTask tasks[2] = {{0}};
    int sent = 0, got = 0;
    while (got < n) {
        if (sent < n && sent < got + 2) {
            assert_int_equal(uprez_picture_alloc(&dst[sent], &shape.dst, plan.width, plan.height,
                                                 &err), 0);
            tasks[sent % 2] = (UpzTask){.src = src[sent], .dst = dst[sent]};
            assert_int_equal(upz_engine_cpu.submit(e, &tasks[sent % 2]), 0);
            sent++;
            continue;
        }
        assert_int_equal(upz_engine_cpu.wait(e, &tasks[got % 2], 60000000000), 0);
        if (tasks[got % 2].result) fail_msg("%s", tasks[got % 2].err.text);
        got++;
    }
    /* a mem_limit just below the need is refused, naming it */
    size_t need = plan.need;
    assert_int_equal(upz_engine_cpu.plan(e, &shape, need - 1, &plan, &err), UPREZ_ERR_MEMORY);
    assert_non_null(strstr(err.text, "MiB"));
    assert_int_equal(upz_engine_cpu.plan(e, &shape, need, &plan, &err), 0);
    upz_engine_cpu.close(&e);
    assert_null(e);
    uprez_context_destroy(&ctx);
}

static double against_reference(UprezModel *m, const UprezPicture *src, const UprezPicture *dst)
{
    const int a = m->facts.align, w = UPZ_ROUND_UP(src->width, a), h = UPZ_ROUND_UP(src->height, a);
    const int64_t ow = (int64_t)w * m->facts.scale_num / m->facts.scale_den;
    const int64_t oh = (int64_t)h * m->facts.scale_num / m->facts.scale_den;
    float *in = upz_calloc((size_t)(3 * w * h), sizeof(float));
    float *out = upz_calloc((size_t)(3 * ow * oh), sizeof(float));
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                int sx = x, sy = y;
                float keep = 1;
                if (m->graph.pad_mode == UPZ_PAD_REFLECT) {
                    if (x >= src->width) sx = UPZ_MAX(2 * src->width - 2 - x, 0);
                    if (y >= src->height) sy = UPZ_MAX(2 * src->height - 2 - y, 0);
                } else {
                    sx = UPZ_MIN(x, src->width - 1), sy = UPZ_MIN(y, src->height - 1);
                    if (m->graph.pad_mode == UPZ_PAD_ZERO && (sx != x || sy != y)) keep = 0;
                }
                in[(c * h + y) * w + x] = keep * *pixel(src, c, sx, sy);
            }
    UprezError err = {0};
    if (upz_reference_run(&m->graph, in, w, h, out, &err)) fail_msg("%s", err.text);
    double worst = 0, inside = 0;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < dst->height; y++)
            for (int x = 0; x < dst->width; x++) {
                double ref = out[((int64_t)c * oh + y) * ow + x];
                double got = *pixel(dst, c, x, y);
                double diff = fabs(got - fmin(fmax(ref, 0), 1));
                inside += got > 0 && got < 1;
                if (!(diff <= worst)) worst = diff;
            }
    upz_free(in);
    upz_free(out);
    assert_true(inside > 0.4 * 3 * dst->width * dst->height || src->width * src->height < 1000);
    return worst;
}

static bool same(const UprezPicture *a, const UprezPicture *b)
{
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < a->height; y++)
            if (memcmp(pixel(a, c, 0, y), pixel(b, c, 0, y), (size_t)a->width * sizeof(float)))
                return false;
    return true;
}

#define INT8_WORST 0.1 /* of one value; steps of 8 bits add up where all is noise */

static void every_op_as_the_reference(void **state)
{
    (void)state;
    static const int sizes[][2] = {{37, 29}, {1, 1}, {2, 50}, {70, 3}, {64, 48}, {101, 22}};
    UprezFormat rgb;
    upz_format_float_rgb(&rgb);
    for (int n = 0; n < UPZ_COUNT(nets); n++)
        for (int pad = 0; pad < 3; pad++)
            for (int s = 0; s < UPZ_COUNT(sizes); s++) {
                seed = 7;
                UprezModel *m = make_model(&nets[n]);
                m->graph.pad_mode = (UpzPadMode)pad;
                if ((pad && (m->facts.align == 1 || narrow())) || (s > 1 && best_level())) {
                    free_model(m);
                    continue;
                }
                UprezPicture *src, *dst;
                assert_int_equal(uprez_picture_alloc(&src, &rgb, sizes[s][0], sizes[s][1], NULL), 0);
                fill(src, 5);
                run_frames(m, best_level(), 2, &src, &dst, 1);
                double worst = against_reference(m, src, dst);
                if (!(worst < (int8() ? INT8_WORST : narrow() ? 8e-3 : 6e-6)))
                    fail_msg("%s %dx%d: off by %g", nets[n].name, src->width, src->height, worst);
                uprez_picture_unref(&src);
                uprez_picture_unref(&dst);
                free_model(m);
            }
}

static void same_bytes(const Net *net, int w, int h)
{
    static const int threads[] = {1, 2, 5};
    enum { FRAMES = 5 };
    UprezFormat rgb;
    upz_format_float_rgb(&rgb);
    seed = 11;
    UprezModel *m = make_model(net);
    UprezPicture *src[FRAMES], *first[FRAMES], *dst[FRAMES];
    for (int i = 0; i < FRAMES; i++) {
        assert_int_equal(uprez_picture_alloc(&src[i], &rgb, w, h, NULL), 0);
        fill(src[i], (uint32_t)(i % 3));
    }
    run_frames(m, best_level(), 1, src, first, FRAMES);
    assert_true(same(first[0], first[3]));
    assert_false(same(first[0], first[1]));
    for (int l = 0; l < UPZ_CPU_COUNT; l++)
        for (int t = 0; t < UPZ_COUNT(threads); t++) {
            /* plain C is slow: once is enough */
            if (l > (int)upz_cpu_detect() || (!l && (t != 1 || w > 100))) continue;
            if (upz_cpu_kernels((UpzCpuLevel)l)->level != (UpzCpuLevel)l && !(narrow() && l == UPZ_CPU_AMX))
                continue; /* a level without kernels of its own */
            if (narrow() && !has_tiles(upz_cpu_features() & upz_cpu_level_features((UpzCpuLevel)l)))
                continue;
            const int n = narrow() && !l ? 1 : FRAMES; /* and tiles in plain C are slower still */
            run_frames(m, upz_cpu_name((UpzCpuLevel)l), threads[t], src, dst, n);
            for (int i = 0; i < n; i++) {
                if (!same(first[i], dst[i]))
                    fail_msg("%s: frame %d differs with %s and %d threads", net->name, i,
                             upz_cpu_name((UpzCpuLevel)l), threads[t]);
                uprez_picture_unref(&dst[i]);
            }
        }
    for (int i = 0; i < FRAMES; i++) {
        uprez_picture_unref(&src[i]);
        uprez_picture_unref(&first[i]);
    }
    free_model(m);
}

static void same_bytes_any_threads_and_level(void **state)
{
    (void)state;
    for (int n = 0; n < UPZ_COUNT(nets); n++) same_bytes(&nets[n], 45, 38);
}

/* Wide enough that five workers get strips in several parts, one worker whole ones. */
static void same_bytes_any_parts(void **state)
{
    (void)state;
    for (int n = 0; n < UPZ_COUNT(nets); n++) same_bytes(&nets[n], 397, 7);
}

static int thirds_then_halves(UpzGraph *g, int in)
{
    int x = conv_full(g, in, 16, 3, 3, 3, 1, UPZ_ACT_RELU);
    return last(g, resize(g, resize(g, x, 3, 2, UPZ_FILTER_BICUBIC), 2, 1, UPZ_FILTER_BILINEAR), 3, 3);
}

/* Maps of a third and a half of the size: parts begin where both have whole pixels. */
static void parts_of_odd_sizes(void **state)
{
    (void)state;
    const Net net = {"thirds", thirds_then_halves};
    same_bytes(&net, 444, 60);
}

static int rows_left_out(UpzGraph *g, int in)
{
    int x = resize(g, deconv(g, conv(g, in, 8, 3, UPZ_ACT_RELU), 4, 4, 2, 2, 1, UPZ_ACT_NONE), 1, 2,
                   UPZ_FILTER_NEAREST);
    x = conv_full(g, x, 8, 3, 1, 3, 1, UPZ_ACT_RELU);
    return last(g, simple(g, UPZ_OP_NEAREST, x, 3), 3, 3);
}

/* The last strip of the source that is done when the reader's strip `at` is. */
static int64_t written_before(const UpzFlow *f, const UpzEdge *e, int at)
{
    const int n = f->rings[e->to].n_strips, frame = upz_floor_div(at, n);
    int last_strip = -1;
    for (int s = 0; s <= at - frame * n; s++) last_strip = UPZ_MAX(last_strip, e->need[s]);
    return (int64_t)frame * f->rings[e->from].n_strips + last_strip;
}

/* A place in a ring is written again only when the strip that wrote it before is done, also where nobody
 * reads that row: a slow worker would write the older row over the newer one. */
static void no_place_written_twice_at_a_time(void **state)
{
    (void)state;
    UprezFormat rgb;
    const Net net = {"left out", rows_left_out};
    upz_format_float_rgb(&rgb);
    seed = 3;
    UprezModel *m = make_model(&net);
    for (int h = 3; h < 200; h += 3) {
        UpzProgram p;
        UpzFlow f = {0};
        UprezError err = {0};
        const UpzShape shape = {.width = 141, .height = h, .src = rgb, .dst = rgb,
                                .src_color = {.matrix = 0, .range = UPREZ_RANGE_FULL},
                                .dst_color = {.matrix = 0, .range = UPREZ_RANGE_FULL}};
        assert_int_equal(upz_program_build(&p, &m->graph, &(UpzProgramParams){0}, &err), 0);
        if (upz_flow_plan(&f, &p, upz_cpu_kernels(UPZ_CPU_C), 1 + h % 4, 3, UPZ_ROWS_RGB, UPZ_CPU_C, &shape,
                          141, h, 0, &err))
            fail_msg("%s", err.text);
        for (int i = 0; i < p.n_stages - 1; i++) /* the last one has no ring */
            for (int s = 0; s < f.rings[i].n_strips; s++) {
                const UpzRing *l = &f.rings[i];
                int y0, y1;
                upz_ring_rows(l, s, &y0, &y1);
                const int old = y1 - 1 - l->depth, frame = upz_floor_div(old, l->h);
                const int64_t wrote = (int64_t)frame * l->n_strips + (old - frame * l->h - l->first) / l->strip;
                int64_t done = INT64_MIN;
                for (int k = 0; k < l->n_out; k++) {
                    const UpzEdge *e = &f.edges[l->out[k]];
                    done = UPZ_MAX(done, written_before(&f, e, e->release[s]));
                }
                if (done < wrote)
                    fail_msg("%d rows: strip %d of stage %d writes over one that may not be done", h, s, i);
            }
        upz_flow_free(&f);
        upz_program_free(&p);
    }
    free_model(m);
}

/* A side branch so faint that its products are denormal, then made large again; level 0 of it is a
 * branch of nothing. */
static int faint_branch(UpzGraph *g, int in, float level)
{
    const float factor[4] = {1e-20f, level, 1e20f, 1e20f};
    int alive = last(g, conv(g, in, 16, 3, UPZ_ACT_RELU), 3, 3), v = in;
    for (int i = 0; i < 4; i++) {
        v = conv(g, v, i == 3 ? 3 : 16, i == 2 ? 1 : 3, UPZ_ACT_NONE);
        UpzTensor *w = &g->tensors[g->nodes[v].weights], *b = &g->tensors[g->nodes[v].bias];
        for (int64_t k = 0; k < w->count; k++) w->data[k] *= factor[i];
        for (int64_t k = 0; k < b->count; k++) b->data[k] = 0;
    }
    return upz_graph_binary(g, UPZ_OP_ADD, alive, v, 1, 1, NULL);
}
static int faint(UpzGraph *g, int in) { return faint_branch(g, in, 1e-20f); }
static int absent(UpzGraph *g, int in) { return faint_branch(g, in, 0); }

/* Denormals are zero at every level, with any number of threads: no level is slowed down by them
 * and all agree. */
static void denormals_are_zero(void **state)
{
    (void)state;
    const Net nets_here[] = {{"faint", faint}, {"absent", absent}};
    UprezFormat rgb;
    upz_format_float_rgb(&rgb);
    UprezPicture *src, *dst[2];
    assert_int_equal(uprez_picture_alloc(&src, &rgb, 45, 38, NULL), 0);
    fill(src, 2);
    for (int i = 0; i < 2; i++) {
        seed = 11;
        UprezModel *m = make_model(&nets_here[i]);
        run_frames(m, NULL, 2, &src, &dst[i], 1);
        if (i == 1) assert_true(against_reference(m, src, dst[i]) < 6e-6);
        free_model(m);
    }
#if defined(__x86_64__)
    assert_true(same(dst[0], dst[1]));
#endif
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst[0]);
    uprez_picture_unref(&dst[1]);
    same_bytes(&nets_here[0], 45, 38);
}

/* Results as wide as a picture may be, and not a column more. */
static void widest_results(void **state)
{
    (void)state;
    const Net net = {"clipped", clipped};
    UprezFormat rgb;
    upz_format_float_rgb(&rgb);
    seed = 5;
    UprezModel *m = make_model(&net);
    UprezPicture *src, *dst;
    assert_int_equal(uprez_picture_alloc(&src, &rgb, UPREZ_SIDE_MAX / 2, 3, NULL), 0);
    fill(src, 1);
    run_frames(m, NULL, 2, &src, &dst, 1);
    assert_int_equal(dst->width, UPREZ_SIDE_MAX);
    assert_true(against_reference(m, src, dst) < 6e-6);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    UprezContext *ctx;
    UprezError err = {0};
    UpzEngine *e;
    UpzPlan plan;
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    assert_int_equal(upz_engine_cpu.open(&e, ctx, m, NULL, NULL, &err), 0);
    UpzShape shape = {.width = UPREZ_SIDE_MAX / 2 + 1, .height = 3, .src = rgb, .dst = rgb,
                      .src_color = {.range = UPREZ_RANGE_FULL},
                      .dst_color = {.range = UPREZ_RANGE_FULL}};
    assert_int_equal(upz_engine_cpu.plan(e, &shape, 0, &plan, &err), UPREZ_ERR_USAGE);
    assert_non_null(strstr(err.text, "65538x6"));
    upz_engine_cpu.close(&e);
    uprez_context_destroy(&ctx);
    free_model(m);
}

static void wrong_submissions_say_why(void **state)
{
    (void)state;
    seed = 3;
    UprezModel *m = make_model(&nets[0]);
    UprezFormat rgb;
    upz_format_float_rgb(&rgb);
    UprezPicture *src, *dst;
    UprezContext *ctx;
    UprezError err = {0};
    UpzEngine *e;
    UpzPlan plan;
    assert_int_equal(uprez_picture_alloc(&src, &rgb, 20, 10, NULL), 0);
    assert_int_equal(uprez_picture_alloc(&dst, &rgb, 20, 10, NULL), 0);
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    assert_int_equal(upz_engine_cpu.open(&e, ctx, m, NULL, NULL, &err), 0);
    UpzTask task = {.src = src, .dst = dst};
    assert_int_equal(upz_engine_cpu.submit(e, &task), UPREZ_ERR_BUG);
    assert_non_null(strstr(task.err.text, "before a plan"));
    UpzShape shape = {.width = 20, .height = 10, .src = rgb, .dst = rgb,
                      .src_color = {.range = UPREZ_RANGE_FULL},
                      .dst_color = {.range = UPREZ_RANGE_FULL}};
    assert_int_equal(upz_engine_cpu.plan(e, &shape, 0, &plan, &err), 0);
    assert_int_equal(upz_engine_cpu.submit(e, &task), UPREZ_ERR_BUG);
    assert_non_null(strstr(task.err.text, "20x10 to 80x40"));
    upz_engine_cpu.close(&e);
    uprez_context_destroy(&ctx);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    free_model(m);
}

static void nan_is_an_error(void **state)
{
    (void)state;
    seed = 3;
    UprezModel *m = make_model(&nets[0]);
    m->graph.tensors[m->graph.nodes[2].weights].data[5] = NAN;
    UprezFormat rgb;
    upz_format_float_rgb(&rgb);
    UprezPicture *src, *dst;
    assert_int_equal(uprez_picture_alloc(&src, &rgb, 40, 30, NULL), 0);
    fill(src, 1);
    UprezContext *ctx;
    UprezError err = {0};
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    UpzEngine *e;
    assert_int_equal(upz_engine_cpu.open(&e, ctx, m, NULL, NULL, &err), 0);
    UpzShape shape = {.width = 40, .height = 30, .src = rgb, .dst = rgb,
                      .src_color = {.range = UPREZ_RANGE_FULL},
                      .dst_color = {.range = UPREZ_RANGE_FULL}};
    UpzPlan plan;
    assert_int_equal(upz_engine_cpu.plan(e, &shape, 0, &plan, &err), 0);
    assert_int_equal(uprez_picture_alloc(&dst, &rgb, plan.width, plan.height, NULL), 0);
    UpzTask task = {.src = src, .dst = dst};
    assert_int_equal(upz_engine_cpu.submit(e, &task), 0);
    assert_int_equal(upz_engine_cpu.wait(e, &task, -1), 0);
    assert_int_equal(task.result, UPREZ_ERR_VERIFY);
    upz_engine_cpu.close(&e);
    uprez_context_destroy(&ctx);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    free_model(m);
}

/* The plan's reach is true, bit for bit: a changed pixel changes nothing outside it. */
static void reach_holds(void **state)
{
    (void)state;
    UprezFormat rgb;
    upz_format_float_rgb(&rgb);
    UprezContext *ctx;
    UprezError err = {0};
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    for (int n = 0; n < UPZ_COUNT(nets); n++) {
        seed = 3;
        UprezModel *m = make_model(&nets[n]);
        const int w = 230, h = 220;
        UpzShape shape = {.width = w, .height = h, .src = rgb, .dst = rgb,
                          .src_color = {.range = UPREZ_RANGE_FULL},
                          .dst_color = {.range = UPREZ_RANGE_FULL}};
        UpzPlan plan;
        UpzEngine *e;
        assert_int_equal(upz_engine_cpu.open(&e, ctx, m, NULL, NULL, &err), 0);
        assert_int_equal(upz_engine_cpu.plan(e, &shape, 0, &plan, &err), 0);
        UprezPicture *src, *dst[2];
        assert_int_equal(uprez_picture_alloc(&src, &rgb, w, h, NULL), 0);
        fill(src, 1);
        const int cx = 113, cy = 110;
        for (int i = 0; i < 2; i++) {
            assert_int_equal(uprez_picture_alloc(&dst[i], &rgb, plan.width, plan.height, NULL), 0);
            if (i) *pixel(src, 1, cx, cy) += 0.4f;
            UpzTask task = {.src = src, .dst = dst[i]};
            assert_int_equal(upz_engine_cpu.submit(e, &task), 0);
            assert_int_equal(upz_engine_cpu.wait(e, &task, -1), 0);
        }
        const int sn = m->facts.scale_num, sd = m->facts.scale_den;
        int changed = 0;
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < plan.height; y++)
                for (int x = 0; x < plan.width; x++) {
                    if (*pixel(dst[0], c, x, y) == *pixel(dst[1], c, x, y)) continue;
                    changed++;
                    int dx = UPZ_MAX(cx * sn / sd - x, x - ((cx + 1) * sn + sd - 1) / sd + 1);
                    int dy = UPZ_MAX(cy * sn / sd - y, y - ((cy + 1) * sn + sd - 1) / sd + 1);
                    if (dx > plan.reach_x || dy > plan.reach_y)
                        fail_msg("%s: %d,%d beyond reach %d,%d", nets[n].name, dx, dy,
                                 plan.reach_x, plan.reach_y);
                }
        assert_true(changed > 0);
        upz_engine_cpu.close(&e);
        uprez_picture_unref(&src);
        uprez_picture_unref(&dst[0]);
        uprez_picture_unref(&dst[1]);
        free_model(m);
    }
    uprez_context_destroy(&ctx);
}

/* A picture of any 8-bit planar format. */
static UprezPicture *codes(const UprezFormat *f, int w, int h, uint32_t s)
{
    UprezPicture *p;
    assert_int_equal(uprez_picture_alloc(&p, f, w, h, NULL), 0);
    seed = s;
    for (int i = 0; i < f->n_plane; i++)
        for (int y = 0; y < upz_plane_height(f, i, h); y++)
            for (int x = 0; x < upz_plane_width(f, i, w); x++)
                ((uint8_t *)p->plane[i])[y * p->stride[i] + x] = (uint8_t)(noise() * 255);
    return p;
}

/* Up to n rectangles on the grain that do not overlap: some cells of a grid. */
static int draw_parts(const UpzPlan *plan, UprezRect *parts)
{
    const int step_x = UPZ_ROUND_UP(plan->width / 4 + 1, plan->grain_x);
    const int step_y = UPZ_ROUND_UP(plan->height / 4 + 1, plan->grain_y);
    const int few = noise() < 0.5f;
    int n = 0;
    for (int y = 0; y < plan->height; y += step_y)
        for (int x = 0; x < plan->width; x += step_x) {
            const int dx = (int)(noise() * 4) * plan->grain_x, dy = (int)(noise() * 4) * plan->grain_y;
            UprezRect r = {x + dx, y + dy, UPZ_MIN(step_x, plan->width - x) - dx,
                           UPZ_MIN(step_y, plan->height - y) - dy};
            if (noise() < (few ? 0.9f : 0.4f) || r.w < 1 || r.h < 1) continue;
            parts[n++] = r;
        }
    if (!n) parts[n++] = (UprezRect){0, 0, plan->grain_x, plan->grain_y};
    return n;
}

static void same_part(const Net *net, const UprezPicture *a, const UprezPicture *b, const UprezRect *r)
{
    const int bytes = a->format.comp[0].step; /* planar */
    for (int i = 0; i < a->format.n_plane; i++) {
        const int sx = i ? a->format.sub_x : 0, sy = i ? a->format.sub_y : 0;
        for (int y = r->y >> sy; y << sy < r->y + r->h; y++)
            for (int x = r->x >> sx; x << sx < r->x + r->w; x++)
                if (memcmp((uint8_t *)a->plane[i] + y * a->stride[i] + x * bytes,
                           (uint8_t *)b->plane[i] + y * b->stride[i] + x * bytes, (size_t)bytes))
                    fail_msg("%s: part %d,%d %dx%d: plane %d differs at %d,%d", net->name, r->x, r->y,
                             r->w, r->h, i, x, y);
    }
}

/* Parts have the bytes of the whole, with whole and other pictures around them in the same rings. */
static void parts_as_the_whole(void **state)
{
    (void)state;
    static const char *const formats[] = {"yuv420p", "yuv410p", "gbrp"};
    enum { FRAMES = 12, WHOLES = 3 };
    for (int k = 0; k < UPZ_COUNT(nets) * UPZ_COUNT(formats); k++) {
        const Net *net = &nets[k / UPZ_COUNT(formats)];
        UprezFormat f;
        UprezError err = {0};
        UprezContext *ctx;
        UpzEngine *e;
        UpzPlan plan;
        const int w = k % 2 ? 397 : 93, h = k % 2 ? 35 : 77;
        UprezContextParams params = {.size = sizeof(params), .threads = 1 + k % 5, .cpu = best_level()};
        assert_int_equal(uprez_format_from_name(&f, formats[k % UPZ_COUNT(formats)]), 0);
        seed = 11;
        UprezModel *m = make_model(net);
        assert_int_equal(uprez_context_create(&ctx, &params, &err), 0);
        assert_int_equal(upz_engine_cpu.open(&e, ctx, m, NULL, &as, &err), 0);
        UprezColor color = {.siting = UPREZ_SITING_LEFT, .range = UPREZ_RANGE_FULL, .matrix = 1};
        UpzShape shape = {.width = w, .height = h, .src = f, .dst = f, .src_color = color,
                          .dst_color = color};
        assert_int_equal(upz_engine_cpu.plan(e, &shape, 0, &plan, &err), 0);
        assert_true(plan.todo);
        UprezPicture *src[WHOLES], *whole[WHOLES], *dst[FRAMES];
        UpzTask tasks[2] = {{0}};
        UprezRect parts[FRAMES][UPZ_TODO_MAX];
        int n_parts[FRAMES];
        for (int i = 0; i < WHOLES; i++) {
            src[i] = codes(&f, w, h, (uint32_t)i + 1);
            src[i]->color = color;
            assert_int_equal(uprez_picture_alloc(&whole[i], &f, plan.width, plan.height, &err), 0);
            UpzTask task = {.src = src[i], .dst = whole[i]};
            assert_int_equal(upz_engine_cpu.submit(e, &task), 0);
            assert_int_equal(upz_engine_cpu.wait(e, &task, -1), 0);
        }
        seed = (uint32_t)k + 7;
        for (int got = 0, sent = 0; got < FRAMES;) {
            if (sent < FRAMES && sent < got + 2) {
                UpzTask *t = &tasks[sent % 2];
                assert_int_equal(uprez_picture_alloc(&dst[sent], &f, plan.width, plan.height, &err), 0);
                n_parts[sent] = sent % 5 == 4 ? 0 : draw_parts(&plan, parts[sent]);
                *t = (UpzTask){.src = src[sent % WHOLES], .dst = dst[sent], .todo = parts[sent],
                               .n_todo = n_parts[sent]};
                assert_int_equal(upz_engine_cpu.submit(e, t), 0);
                sent++;
                continue;
            }
            assert_int_equal(upz_engine_cpu.wait(e, &tasks[got % 2], 60000000000), 0);
            if (tasks[got % 2].result) fail_msg("%s", tasks[got % 2].err.text);
            if (!n_parts[got]) parts[got][0] = (UprezRect){0, 0, plan.width, plan.height};
            for (int i = 0; i < UPZ_MAX(n_parts[got], 1); i++)
                same_part(net, whole[got % WHOLES], dst[got], &parts[got][i]);
            uprez_picture_unref(&dst[got++]);
        }
        upz_engine_cpu.close(&e);
        uprez_context_destroy(&ctx);
        for (int i = 0; i < WHOLES; i++) {
            uprez_picture_unref(&src[i]);
            uprez_picture_unref(&whole[i]);
        }
        free_model(m);
    }
}

/* Pixels of b that are as in a; columns of rows y0 … y1-1. */
static int as_in(const UprezPicture *a, const UprezPicture *b, int y0, int y1)
{
    int n = 0;
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < a->width; x++) n += *pixel(a, 1, x, y) == *pixel(b, 1, x, y);
    return n;
}

/* What is not wanted is not computed, neither rows nor columns: there the result is not found. */
static void parts_leave_the_rest(void **state)
{
    (void)state;
    UprezFormat rgb;
    upz_format_float_rgb(&rgb);
    seed = 3;
    UprezModel *m = make_model(&nets[0]);
    UprezContext *ctx;
    UprezError err = {0};
    UpzEngine *e;
    UpzPlan plan;
    const int w = 320, h = 120;
    assert_int_equal(uprez_context_create(&ctx, NULL, &err), 0);
    assert_int_equal(upz_engine_cpu.open(&e, ctx, m, NULL, NULL, &err), 0);
    UpzShape shape = {.width = w, .height = h, .src = rgb, .dst = rgb,
                      .src_color = {.range = UPREZ_RANGE_FULL}, .dst_color = {.range = UPREZ_RANGE_FULL}};
    assert_int_equal(upz_engine_cpu.plan(e, &shape, 0, &plan, &err), 0);
    UprezPicture *src[2], *whole, *dst;
    assert_int_equal(uprez_picture_alloc(&whole, &rgb, plan.width, plan.height, NULL), 0);
    assert_int_equal(uprez_picture_alloc(&dst, &rgb, plan.width, plan.height, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(uprez_picture_alloc(&src[i], &rgb, w, h, NULL), 0);
        fill(src[i], (uint32_t)i + 1);
    }
    const UprezRect parts[] = {{400, 200, 20, 24}, {800, 204, 20, 28}};
    const UpzTask tasks[] = {{.src = src[1], .dst = whole}, {.src = src[0], .dst = dst},
                             {.src = src[1], .dst = dst, .todo = parts, .n_todo = 2}};
    for (int i = 0; i < UPZ_COUNT(tasks); i++) {
        UpzTask task = tasks[i];
        assert_int_equal(upz_engine_cpu.submit(e, &task), 0);
        assert_int_equal(upz_engine_cpu.wait(e, &task, -1), 0);
        assert_int_equal(task.result, 0);
    }
    for (int i = 0; i < 2; i++) same_part(&nets[0], whole, dst, &parts[i]);
    assert_in_range(as_in(whole, dst, 204, 224), 40 * 20, 4 * 40 * 20);
    assert_in_range(as_in(whole, dst, 0, plan.height), 20 * 24 + 20 * 28, 8 * 40 * 28);
    upz_engine_cpu.close(&e);
    uprez_context_destroy(&ctx);
    uprez_picture_unref(&src[0]);
    uprez_picture_unref(&src[1]);
    uprez_picture_unref(&whole);
    uprez_picture_unref(&dst);
    free_model(m);
}

/* bf16 and int8: near the reference, and like fp32 the same bytes whatever computes them. On processors without tiles
 * plain C stands for them: fewer networks, it is slow. */
static void narrow_as_the_reference(void **state)
{
    as.precision = *state;
    every_op_as_the_reference(NULL);
    as.precision = "fp32";
}

static void narrow_same_bytes(void **state)
{
    as.precision = *state;
    if (best_level()) {
        same_bytes(&nets[1], 17, 9);
    } else {
        for (int n = 0; n < UPZ_COUNT(nets); n++) same_bytes(&nets[n], 33, 19);
        same_bytes_any_parts(NULL);
    }
    as.precision = "fp32";
}

static void narrow_parts_as_the_whole(void **state)
{
    as.precision = *state;
    if (!best_level()) parts_as_the_whole(NULL);
    as.precision = "fp32";
}

/* What --cpu leaves out is refused, and the way out is named. */
static void narrow_is_refused_without_tiles(void **state)
{
    const uint32_t needs = !strcmp(*state, "int8")   ? UPZ_HAS_AMX_INT8
                           : !strcmp(*state, "fp16") ? UPZ_HAS_AVX512_FP16
                                                     : UPZ_HAS_AMX_BF16;
    seed = 3;
    UprezModel *m = make_model(&nets[0]);
    const UpzEngineParams narrow = {.precision = *state}, fp8 = {.precision = "fp8"};
    for (int l = 0; l <= (int)upz_cpu_detect(); l++) {
        UprezContextParams params = {.size = sizeof(params), .threads = 1, .cpu = upz_cpu_name((UpzCpuLevel)l)};
        const bool has = !l || upz_cpu_level_features((UpzCpuLevel)l) & upz_cpu_features() & needs;
        UprezContext *ctx;
        UprezError err = {0};
        UpzEngine *e;
        assert_int_equal(uprez_context_create(&ctx, &params, &err), 0);
        assert_int_equal(upz_engine_cpu.open(&e, ctx, m, NULL, &narrow, &err), has ? 0 : UPREZ_ERR_DEVICE);
        if (!has) assert_non_null(strstr(err.text, "--precision fp32"));
        upz_engine_cpu.close(&e);
        assert_int_equal(upz_engine_cpu.open(&e, ctx, m, NULL, &fp8, &err), UPREZ_ERR_DEVICE);
        assert_null(e);
        uprez_context_destroy(&ctx);
    }
    free_model(m);
}

int main(void)
{
    static char bf16_name[] = "bf16", int8_name[] = "int8", fp16_name[] = "fp16";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_as_the_reference),
        cmocka_unit_test(same_bytes_any_threads_and_level),
        cmocka_unit_test(same_bytes_any_parts),
        cmocka_unit_test(parts_of_odd_sizes),
        cmocka_unit_test(no_place_written_twice_at_a_time),
        cmocka_unit_test(denormals_are_zero),
        cmocka_unit_test(widest_results),
        cmocka_unit_test(wrong_submissions_say_why),
        cmocka_unit_test(nan_is_an_error),
        cmocka_unit_test(reach_holds),
        cmocka_unit_test(parts_as_the_whole),
        cmocka_unit_test(parts_leave_the_rest),
        {"bf16_as_the_reference", narrow_as_the_reference, NULL, NULL, bf16_name},
        {"bf16_same_bytes", narrow_same_bytes, NULL, NULL, bf16_name},
        {"bf16_parts_as_the_whole", narrow_parts_as_the_whole, NULL, NULL, bf16_name},
        {"bf16_is_refused_without_tiles", narrow_is_refused_without_tiles, NULL, NULL, bf16_name},
        {"fp16_as_the_reference", narrow_as_the_reference, NULL, NULL, fp16_name},
        {"fp16_parts_as_the_whole", narrow_parts_as_the_whole, NULL, NULL, fp16_name},
        {"fp16_is_refused_without_it", narrow_is_refused_without_tiles, NULL, NULL, fp16_name},
        {"int8_as_the_reference", narrow_as_the_reference, NULL, NULL, int8_name},
        {"int8_same_bytes", narrow_same_bytes, NULL, NULL, int8_name},
        {"int8_parts_as_the_whole", narrow_parts_as_the_whole, NULL, NULL, int8_name},
        {"int8_is_refused_without_tiles", narrow_is_refused_without_tiles, NULL, NULL, int8_name},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
