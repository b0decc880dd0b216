/* The adapter for tensor runtimes over a runtime made of the plain-C reference, which can be told to
 * be as awkward as real ones; against the cpu engine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "engine/tensor/half.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/tiles.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "test_graphs.h"

extern const UpzEngineOps upz_engine_cpu;

/* ---- the runtime ---- */

typedef struct Fake {
    UpzRuntimeFacts facts;
    int64_t most_pixels; /* of batch * height * width: above is MEMORY; 0 any */
    int64_t run_pixels;  /* the same, found out by run alone */
    int delay_us;        /* a run takes up to that long, */
    int fail_run;        /* and this one (from 1) fails; */
    bool nan;            /* a NaN in every result */
    int scale_y;         /* rows come out so many times too often */
    int multiple;        /* output_shape refuses other sides */
    /* seen */
    UpzTensorShape shape;
    int prepares, slots;
    atomic_int runs, running, most_running;
    pthread_t opened, ran; /* the threads of open and of the last run, */
    int changes;           /* and how often that was another than before */
} Fake;

static Fake fake;

struct UpzRuntime {
    UprezModel *model;
    UpzTensorBuffers buffers[UPZ_TENSOR_SLOTS];
    UpzTensorShape shape;
    int slots;
};

static size_t in_count(const UpzTensorShape *s)
{
    return (size_t)s->channels * (size_t)s->height * (size_t)s->width;
}

static size_t out_count(const UpzTensorShape *s)
{
    return (size_t)s->out_channels * (size_t)s->out_height * (size_t)s->out_width;
}

static int fake_open(UpzRuntime **out, UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                     const UpzEngineParams *params, UpzRuntimeFacts *facts, UprezError *err)
{
    (void)ctx, (void)device, (void)params, (void)err;
    *out = calloc(1, sizeof(**out));
    (*out)->model = model;
    fake.opened = pthread_self();
    *facts = fake.facts;
    strcpy(facts->version, "7");
    strcpy(facts->provider, "test");
    strcpy(facts->precision, "fp32");
    return 0;
}

static void drop_buffers(UpzRuntime *rt)
{
    for (int i = 0; i < UPZ_TENSOR_SLOTS; i++) {
        free(rt->buffers[i].in);
        free(rt->buffers[i].out);
        rt->buffers[i] = (UpzTensorBuffers){0};
    }
}

static int fake_prepare(UpzRuntime *rt, const UpzTensorShape *s, int slots,
                        UpzTensorBuffers *buffers, UprezError *err)
{
    const UpzRuntimeFacts *f = &fake.facts;
    fake.prepares++;
    drop_buffers(rt);
    assert_true(slots >= 1 && slots <= UPZ_TENSOR_SLOTS && slots <= UPZ_MAX(f->slots, 1) + 1);
    assert_true(!f->fixed_batch || s->batch == f->fixed_batch);
    assert_true(!f->fixed_width || s->width == f->fixed_width);
    assert_true(!f->fixed_height || s->height == f->fixed_height);
    assert_true(!f->max_width || s->width <= f->max_width);
    assert_true(!f->max_height || s->height <= f->max_height);
    assert_true(s->width >= f->min_width && s->height >= f->min_height);
    assert_true(s->half == f->half_io);
    if (fake.most_pixels && (int64_t)s->batch * s->width * s->height * slots > fake.most_pixels)
        return upz_fail(err, UPREZ_ERR_MEMORY, "no room in the fake");
    rt->shape = fake.shape = *s;
    rt->slots = fake.slots = slots;
    for (int i = 0; i < slots; i++) {
        /* exactly as large as said: sanitizers see every step beyond */
        rt->buffers[i].in = malloc((size_t)s->batch * in_count(s) * (s->half ? 2 : 4));
        rt->buffers[i].out = malloc((size_t)s->batch * out_count(s) * (s->half ? 2 : 4));
        buffers[i] = rt->buffers[i];
    }
    return 0;
}

static int run_image(UpzRuntime *rt, const char *in, char *out, UprezError *err)
{
    const UpzTensorShape *s = &rt->shape;
    if (!s->half)
        return upz_reference_run(&rt->model->graph, (const float *)(const void *)in, s->width,
                                 s->height, (float *)(void *)out, err);
    float *a = malloc(in_count(s) * sizeof(float)), *b = malloc(out_count(s) * sizeof(float));
    upz_half_unpack(a, (const uint16_t *)(const void *)in, in_count(s), UPZ_CPU_C);
    int r = upz_reference_run(&rt->model->graph, a, s->width, s->height, b, err);
    upz_half_pack((uint16_t *)(void *)out, b, out_count(s), UPZ_CPU_C);
    free(a);
    free(b);
    return r;
}

static int fake_run(UpzRuntime *rt, int slot, UprezError *err)
{
    const UpzTensorShape *s = &rt->shape;
    const size_t sample = s->half ? 2 : 4;
    assert_true(slot >= 0 && slot < rt->slots);
    const int number = atomic_fetch_add(&fake.runs, 1) + 1;
    const int now = atomic_fetch_add(&fake.running, 1) + 1;
    for (int most = atomic_load(&fake.most_running);
         most < now && !atomic_compare_exchange_weak(&fake.most_running, &most, now);) {}
    if (fake.facts.one_thread) { /* else several are here */
        if (number > 1 && !pthread_equal(fake.ran, pthread_self())) fake.changes++;
        fake.ran = pthread_self();
    }
    if (fake.delay_us) usleep((useconds_t)((unsigned)number * 7919u % (unsigned)fake.delay_us));
    int r = 0;
    if (fake.run_pixels && (int64_t)s->batch * s->width * s->height > fake.run_pixels)
        r = upz_fail(err, UPREZ_ERR_MEMORY, "no room while running");
    if (fake.fail_run == number) r = upz_fail(err, UPREZ_ERR_DEVICE, "the fake broke");
    for (int i = 0; i < s->batch && !r; i++) {
        char *out = (char *)rt->buffers[slot].out + (size_t)i * out_count(s) * sample;
        r = run_image(rt, (char *)rt->buffers[slot].in + (size_t)i * in_count(s) * sample, out, err);
        if (fake.nan) ((float *)(void *)out)[7] = NAN;
    }
    atomic_fetch_sub(&fake.running, 1);
    return r;
}

static void fake_close(UpzRuntime **rt)
{
    if (!*rt) return;
    drop_buffers(*rt);
    free(*rt);
    *rt = NULL;
}

static int fake_output_shape(UpzRuntime *rt, UpzTensorShape *s, UprezError *err)
{
    const UpzGraph *g = &rt->model->graph;
    const UpzNode *out = &g->nodes[g->output];
    if (s->channels != g->nodes[0].channels)
        return upz_fail(err, UPREZ_ERR_MODEL, "not with %d channels", s->channels);
    if (s->width * out->num % out->den || s->height * out->num % out->den)
        return upz_fail(err, UPREZ_ERR_MODEL, "not %dx%d", s->width, s->height);
    if (fake.multiple && (s->width % fake.multiple || s->height % fake.multiple))
        return upz_fail(err, UPREZ_ERR_MODEL, "not multiples of %d", fake.multiple);
    s->out_channels = out->channels;
    s->out_width = s->width * out->num / out->den;
    s->out_height = s->height * out->num / out->den * UPZ_MAX(fake.scale_y, 1);
    return 0;
}

static const UpzRuntimeOps fake_runtime = {.name = "fake", .open = fake_open,
    .prepare = fake_prepare, .run = fake_run, .close = fake_close,
    .output_shape = fake_output_shape};

static const UpzEngineOps fake_engine;

static int open_fake(UpzEngine **out, UprezContext *ctx, UprezModel *model, const UpzDevice *device,
                     const UpzEngineParams *params, UprezError *err)
{
    return upz_tensor_open(out, &fake_engine, &fake_runtime, ctx, model, device, params, err);
}

static const UpzEngineOps fake_engine = {.abi = UPZ_ENGINE_ABI, .name = "fake", .open = open_fake,
    .plan = upz_tensor_plan, .submit = upz_tensor_submit, .wait = upz_tensor_wait,
    .close = upz_tensor_close};

/* ---- pictures ---- */

static UprezContext *ctx;
static UprezError err;

static int setup(void **state)
{
    (void)state;
    UprezContextParams params = {.size = sizeof(params), .threads = 3};
    return uprez_context_create(&ctx, &params, &err);
}

static int teardown(void **state)
{
    (void)state;
    uprez_context_destroy(&ctx);
    return 0;
}

static UprezPicture *picture(const char *format, int w, int h, uint32_t s)
{
    UprezFormat f;
    UprezPicture *p;
    assert_int_equal(uprez_format_from_name(&f, format), 0);
    assert_int_equal(uprez_picture_alloc(&p, &f, w, h, &err), 0);
    graph_seed = s;
    for (int i = 0; i < f.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&f, i, h); y++) {
            uint8_t *row = (uint8_t *)p->plane[i] + y * p->stride[i];
            const size_t bytes = f.depth == 32 ? 4 : f.depth > 8 ? 2 : 1;
            const size_t n = upz_plane_row_bytes(&f, i, w) / bytes;
            for (size_t x = 0; x < n; x++) {
                const float v = 0.5f + 0.3f * sinf((float)x * 0.3f + (float)y * 0.2f + (float)s) +
                                0.3f * (graph_noise() - 0.5f);
                if (bytes == 4) ((float *)(void *)row)[x] = v;
                else if (bytes == 2) ((uint16_t *)(void *)row)[x] = (uint16_t)(v * 1023);
                else row[x] = (uint8_t)(v * 255);
            }
        }
    p->color = (UprezColor){.matrix = f.model == UPREZ_RGB ? 0 : 1, .primaries = 1, .transfer = 1,
                            .range = f.model == UPREZ_YUV ? UPREZ_RANGE_LIMITED : UPREZ_RANGE_FULL,
                            .siting = UPREZ_SITING_LEFT};
    return p;
}

/* Greatest difference of two pictures, in codes (float: units). */
static double difference(const UprezPicture *a, const UprezPicture *b)
{
    const UprezFormat *f = &a->format;
    double most = 0;
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < f->n_plane; i++)
        for (int y = 0; y < upz_plane_height(f, i, a->height); y++) {
            const char *p = (char *)a->plane[i] + y * a->stride[i];
            const char *q = (char *)b->plane[i] + y * b->stride[i];
            const size_t bytes = f->depth == 32 ? 4 : f->depth > 8 ? 2 : 1;
            for (size_t x = 0; x < upz_plane_row_bytes(f, i, a->width) / bytes; x++) {
                const double d = bytes == 4 ? (double)((const float *)(const void *)p)[x] -
                                              ((const float *)(const void *)q)[x]
                                 : bytes == 2 ? ((const uint16_t *)(const void *)p)[x] -
                                                ((const uint16_t *)(const void *)q)[x]
                                              : ((const uint8_t *)p)[x] - ((const uint8_t *)q)[x];
                if (!(fabs(d) <= most)) most = fabs(d);
            }
        }
    return most;
}

typedef struct Case {
    int tile, batch;
    size_t mem_limit;
} Case;

static UpzPlan plan; /* of the last pictures run */

static void open_for(UpzEngine **e, const UpzEngineOps *ops, UprezModel *m, Case c)
{
    const UpzEngineParams params = {.precision = "auto", .tile = c.tile, .batch = c.batch};
    const UpzDevice device = {.kind = "cpu"};
    if (ops->open(e, ctx, m, &device, &params, &err) < 0) fail_msg("%s", err.text);
}

static UpzShape shape_of(const UprezPicture *src)
{
    return (UpzShape){.width = src->width, .height = src->height, .src = src->format,
                      .dst = src->format, .src_color = src->color, .dst_color = src->color};
}

/* n pictures of one shape, as many in flight as the plan wants; dst are allocated. */
static void run_all(const UpzEngineOps *ops, UprezModel *m, Case c, UprezPicture **src,
                    UprezPicture **dst, int n)
{
    UpzEngine *e;
    open_for(&e, ops, m, c);
    const UpzShape s = shape_of(src[0]);
    if (ops->plan(e, &s, c.mem_limit, &plan, &err) < 0) fail_msg("%s", err.text);
    UpzTask *tasks = calloc((size_t)plan.depth, sizeof(*tasks));
    for (int sent = 0, got = 0; got < n;) {
        if (sent < n && sent < got + plan.depth) {
            assert_int_equal(uprez_picture_alloc(&dst[sent], &s.dst, plan.width, plan.height, &err),
                             0);
            dst[sent]->color = s.dst_color;
            UpzTask *t = &tasks[sent % plan.depth];
            *t = (UpzTask){.src = src[sent], .dst = dst[sent]};
            assert_int_equal(ops->submit(e, t), 0);
            sent++;
            continue;
        }
        UpzTask *t = &tasks[got++ % plan.depth];
        assert_int_equal(ops->wait(e, t, 60000000000), 0);
        if (t->result < 0) fail_msg("%s", t->err.text);
    }
    free(tasks);
    ops->close(&e);
    assert_null(e);
}

static UprezPicture *run_one(const UpzEngineOps *ops, UprezModel *m, Case c, UprezPicture *src)
{
    UprezPicture *dst;
    run_all(ops, m, c, &src, &dst, 1);
    return dst;
}

/* The fake's picture and the cpu engine's: how far apart. */
static double apart(UprezModel *m, Case c, UprezPicture *src)
{
    UprezPicture *want = run_one(&upz_engine_cpu, m, (Case){0}, src);
    UprezPicture *got = run_one(&fake_engine, m, c, src);
    const double d = difference(want, got);
    uprez_picture_unref(&want);
    uprez_picture_unref(&got);
    return d;
}

static const char *const formats[] = {"gbrpf32le", "yuv420p", "yuv420p10le", "nv12", "rgb24",
                                      "yuv444p", "yuv410p", "yuv422p", "gray", "rgb48le"};

static double allowed(const UprezPicture *p) { return p->format.depth == 32 ? 1e-5 : 1; }

/* ---- tests ---- */

static void whole_pictures_as_the_cpu_engine(void **state)
{
    (void)state;
    static const int sizes[][2] = {{37, 29}, {1, 1}, {2, 21}, {30, 3}, {64, 48}, {601, 5}};
    const GraphBuild nets[] = {graph_srvgg, graph_unshuffled, graph_shrinking};
    for (int half = 0; half < 2; half++)
        for (int n = 0; n < 3; n++) {
            UprezModel *m = graph_model(nets[n], 3);
            for (int f = 0; f < UPZ_COUNT(formats); f++)
                for (int s = 0; s < UPZ_COUNT(sizes); s++) {
                    if (sizes[s][0] * m->facts.scale_num < m->facts.scale_den) continue;
                    if (sizes[s][1] * m->facts.scale_num < m->facts.scale_den) continue;
                    fake = (Fake){.facts.half_io = half};
                    UprezPicture *src = picture(formats[f], sizes[s][0], sizes[s][1], 3);
                    const double d = apart(m, (Case){0}, src);
                    const int pad_w = UPZ_ROUND_UP(src->width, m->facts.align);
                    assert_int_equal(fake.shape.width, pad_w);
                    assert_true(plan.exact);
                    assert_string_equal(plan.numerics, "fake/7/test/fp32/whole");
                    const double may = !half ? allowed(src) : src->format.depth == 32 ? 4e-3 :
                                       4e-3 * (1 << src->format.depth) + 1;
                    if (!(d <= may))
                        fail_msg("net %d %s %dx%d half %d: %g", n, formats[f], src->width,
                                 src->height, half, d);
                    uprez_picture_unref(&src);
                }
            graph_model_free(m);
        }
}

/* A halo as wide as the network's reach: nothing shows that there were tiles. */
static void tiles_with_enough_halo_are_the_whole(void **state)
{
    (void)state;
    static const int sizes[][2] = {{101, 90}, {75, 31}, {33, 140}, {64, 64}, {65, 129}};
    const GraphBuild nets[] = {graph_srvgg, graph_unshuffled};
    for (int n = 0; n < 2; n++) {
        UprezModel *m = graph_model(nets[n], 3);
        for (int f = 0; f < UPZ_COUNT(formats); f++)
            for (int s = 0; s < UPZ_COUNT(sizes); s++) {
                fake = (Fake){.facts.slots = 1 + s % 3};
                UprezPicture *src = picture(formats[f], sizes[s][0], sizes[s][1], 5);
                const double d = apart(m, (Case){.tile = 48, .batch = 1 + f % 3}, src);
                assert_true(fake.shape.width <= 48 && fake.shape.height <= 48);
                assert_false(plan.exact);
                assert_null(strchr(plan.numerics, 'b'));
                if (!(d <= allowed(src)))
                    fail_msg("net %d %s %dx%d: %g", n, formats[f], src->width, src->height, d);
                uprez_picture_unref(&src);
            }
        graph_model_free(m);
    }
}

/* A network that looks further than the halo: fades keep what differs small. */
static void blended_tiles_have_no_seams(void **state)
{
    (void)state;
    UprezModel *m = graph_model(graph_deep, 3);
    assert_true(m->facts.reach > 16);
    UprezPicture *src = picture("gbrpf32le", 150, 131, 2), *same[2];
    const int honest = m->facts.reach;
    fake = (Fake){0};
    const double faded = apart(m, (Case){.tile = 64}, src);
    assert_string_equal(plan.numerics, "fake/7/test/fp32/64x64+16b");
    m->facts.reach = 0; /* tiles side by side, no halo: what this would be without */
    const double cut = apart(m, (Case){.tile = 64}, src);
    m->facts.reach = honest;
    if (!(faded < 2e-3 && faded < 0.2 * cut)) fail_msg("faded %g, cut %g", faded, cut);

    /* the same bytes whoever was first */
    for (int i = 0; i < 2; i++) {
        fake = (Fake){.facts.slots = 1 + 4 * i, .delay_us = 3000 * i};
        same[i] = run_one(&fake_engine, m, (Case){.tile = 64}, src);
    }
    assert_true(difference(same[0], same[1]) == 0);
    uprez_picture_unref(&same[0]);
    uprez_picture_unref(&same[1]);
    uprez_picture_unref(&src);
    graph_model_free(m);
}

/* One shape for all pictures: smaller ones are padded, larger ones cut. */
static void fixed_shapes(void **state)
{
    (void)state;
    static const int sizes[][2] = {{200, 60}, {64, 48}, {90, 100}, {40, 90}, {20, 10}};
    const GraphBuild nets[] = {graph_srvgg, graph_unshuffled};
    for (int n = 0; n < 2; n++) {
        UprezModel *m = graph_model(nets[n], 3);
        UpzEngine *e;
        fake = (Fake){.facts = {.fixed_width = 64, .fixed_height = 48, .fixed_batch = 4, .slots = 2}};
        open_for(&e, &fake_engine, m, (Case){0});
        for (int s = 0; s < UPZ_COUNT(sizes); s++) {
            UprezPicture *src = picture("yuv420p", sizes[s][0], sizes[s][1], 8), *dst;
            UprezPicture *want = run_one(&upz_engine_cpu, m, (Case){0}, src);
            const UpzShape shape = shape_of(src);
            assert_int_equal(upz_tensor_plan(e, &shape, 0, &plan, &err), 0);
            assert_int_equal(fake.prepares, 1); /* one build serves all */
            assert_int_equal(uprez_picture_alloc(&dst, &shape.dst, plan.width, plan.height, &err), 0);
            UpzTask t = {.src = src, .dst = dst};
            assert_int_equal(upz_tensor_submit(e, &t), 0);
            assert_int_equal(upz_tensor_wait(e, &t, -1), 0);
            assert_int_equal(t.result, 0);
            /* right and below of the picture lie repeated pixels where the cpu engine has zeros:
             * compare what cannot see that */
            const int far = m->facts.reach + 2, num = m->facts.scale_num / m->facts.scale_den;
            const int w = src->width < 64 ? src->width - far : src->width;
            const int h = src->height < 48 ? src->height - far : src->height;
            for (int y = 0; y < h * num; y++)
                for (int x = 0; x < w * num; x++) {
                    const int a = ((uint8_t *)want->plane[0])[y * want->stride[0] + x];
                    const int b = ((uint8_t *)dst->plane[0])[y * dst->stride[0] + x];
                    if (abs(a - b) > 1) fail_msg("%dx%d at %d,%d", src->width, src->height, x, y);
                }
            uprez_picture_unref(&src);
            uprez_picture_unref(&dst);
            uprez_picture_unref(&want);
        }
        upz_tensor_close(&e);
        graph_model_free(m);
    }
}

static void least_and_largest_sizes(void **state)
{
    (void)state;
    UprezModel *m = graph_model(graph_srvgg, 3);
    UprezPicture *small = picture("gbrpf32le", 20, 12, 1), *large = picture("gbrpf32le", 130, 70, 1);
    fake = (Fake){.facts = {.min_width = 32, .min_height = 24, .max_width = 80, .max_height = 64}};
    UprezPicture *dst = run_one(&fake_engine, m, (Case){0}, small);
    assert_int_equal(fake.shape.width, 32);
    assert_int_equal(fake.shape.height, 24);
    assert_string_equal(plan.numerics, "fake/7/test/fp32/whole");
    uprez_picture_unref(&dst);
    const double d = apart(m, (Case){0}, large);
    assert_int_equal(fake.shape.width, 80);
    assert_true(d <= 1e-5);
    assert_non_null(strstr(plan.numerics, "/80x64+"));
    uprez_picture_unref(&small);
    uprez_picture_unref(&large);
    graph_model_free(m);
}

/* Too little memory: smaller batches, fewer slots, smaller tiles, in this order; at last an error
 * with the need. */
static void less_memory(void **state)
{
    (void)state;
    UprezModel *m = graph_model(graph_srvgg, 3);
    UprezPicture *src = picture("gbrpf32le", 160, 128, 1);
    const int all = 160 * 128;
    static const struct {
        int64_t pixels;
        int batch, slots, width, height;
    } steps[] = {{160 * 128 * 12, 4, 3, 160, 128}, {160 * 128 * 4, 1, 3, 160, 128},
                 {160 * 128 * 2, 1, 1, 160, 128},  {160 * 127, 1, 2, 80, 80},
                 {64 * 64, 1, 1, 64, 64}};
    for (int i = 0; i < UPZ_COUNT(steps); i++) {
        fake = (Fake){.facts.slots = 2, .most_pixels = steps[i].pixels};
        const double d = apart(m, (Case){.batch = 4}, src);
        assert_int_equal(fake.shape.batch, steps[i].batch);
        assert_int_equal(fake.slots, steps[i].slots);
        assert_int_equal(fake.shape.width, steps[i].width);
        assert_int_equal(fake.shape.height, steps[i].height);
        assert_true(d <= 1e-5);
    }
    /* on a card only a run tells */
    fake = (Fake){.facts.device_memory = true, .run_pixels = all - 1};
    assert_true(apart(m, (Case){0}, src) <= 1e-5);
    assert_int_equal(fake.shape.width, 80);
    assert_int_equal(fake.slots, 2);

    UpzEngine *e;
    const UpzShape s = shape_of(src);
    fake = (Fake){.most_pixels = 1000};
    open_for(&e, &fake_engine, m, (Case){0});
    assert_int_equal(upz_tensor_plan(e, &s, 0, &plan, &err), UPREZ_ERR_MEMORY);
    assert_non_null(strstr(err.text, "MiB"));
    assert_non_null(strstr(err.text, "no room in the fake"));
    fake.most_pixels = 0; /* and it can be tried again, within a limit now */
    assert_int_equal(upz_tensor_plan(e, &s, 0, &plan, &err), 0);
    const size_t need = plan.need;
    assert_int_equal(upz_tensor_plan(e, &s, need / 2, &plan, &err), 0);
    assert_true(plan.need <= need / 2 + 1000000);
    assert_true(fake.shape.width < 160);
    assert_int_equal(upz_tensor_plan(e, &s, 5000, &plan, &err), UPREZ_ERR_MEMORY);
    assert_non_null(strstr(err.text, "MiB"));
    UpzTask t = {.src = src, .dst = src};
    assert_int_equal(upz_tensor_submit(e, &t), UPREZ_ERR_BUG); /* nothing is planned */
    assert_non_null(strstr(t.err.text, "fake"));
    /* found out when it is too late to plan anew: what to do is said */
    assert_int_equal(upz_tensor_plan(e, &s, 0, &plan, &err), 0);
    fake.run_pixels = 1000;
    UprezPicture *dst;
    assert_int_equal(uprez_picture_alloc(&dst, &s.dst, plan.width, plan.height, &err), 0);
    t = (UpzTask){.src = src, .dst = dst};
    assert_int_equal(upz_tensor_submit(e, &t), 0);
    assert_int_equal(upz_tensor_wait(e, &t, -1), 0);
    assert_int_equal(t.result, UPREZ_ERR_MEMORY);
    assert_non_null(strstr(t.err.text, "no room while running"));
    assert_non_null(strstr(t.err.text, "--tile 80"));
    upz_tensor_close(&e);
    uprez_picture_unref(&dst);
    uprez_picture_unref(&src);
    graph_model_free(m);
}

/* Slots that finish in any order, batches across pictures and tiles: every picture is its own. */
static void order_and_batches(void **state)
{
    (void)state;
    enum { N = 23 };
    UprezModel *m = graph_model(graph_srvgg, 3);
    UprezPicture *src[N], *dst[N], *want[N];
    for (int i = 0; i < N; i++) src[i] = picture("yuv420p", 50, 41, (uint32_t)i);
    run_all(&upz_engine_cpu, m, (Case){0}, src, want, N);
    static const Case cases[] = {{0, 1, 0}, {0, 4, 0}, {0, 16, 0}, {32, 1, 0}, {32, 3, 0},
                                 {32, 16, 0}};
    for (int c = 0; c < UPZ_COUNT(cases); c++)
        for (int turn = 0; turn < 3; turn++) {
            const int slots = turn == 2 ? 3 : 1;
            fake = (Fake){.facts = {.slots = slots, .one_thread = turn == 1}, .delay_us = 2000};
            run_all(&fake_engine, m, cases[c], src, dst, N);
            assert_true(fake.most_running <= slots);
            assert_int_equal(fake.changes, 0);
            assert_false(pthread_equal(fake.opened, pthread_self()));
            if (turn == 1) assert_false(pthread_equal(fake.ran, pthread_self()));
            if (!cases[c].tile) {
                assert_int_equal(plan.depth, UPZ_MIN(cases[c].batch * (slots + 1) + 1, 32));
                if (cases[c].batch > 1) /* batches were filled */
                    assert_true(fake.runs <= 3 * (N / cases[c].batch + 1));
            }
            if (slots == 3 && cases[c].batch == 1) assert_true(fake.most_running > 1);
            for (int i = 0; i < N; i++) {
                const double d = difference(dst[i], want[i]);
                if (d > 1) fail_msg("case %d, %d slots, picture %d: %g", c, slots, i, d);
                uprez_picture_unref(&dst[i]);
            }
        }
    for (int i = 0; i < N; i++) {
        uprez_picture_unref(&src[i]);
        uprez_picture_unref(&want[i]);
    }
    graph_model_free(m);
}

/* Parts to do: those are as in the whole picture, what lies apart is neither computed nor written. */
static void parts_alone(void **state)
{
    (void)state;
    static const UprezRect rects[][2] = {
        {{3, 0, 20, 1}}, {{0, 255, 2, 3}}, {{1, 100, 3, 4}, {100, 303, 1, 9}}, {{0, 5, 100, 0}},
    };
    static const Case cases[] = {{0, 1, 0}, {32, 1, 0}, {32, 3, 0}};
    const GraphBuild nets[] = {graph_srvgg, graph_deep}; /* tiles that are cut, and that fade */
    for (int n = 0; n < 2 * 3 * 2; n++) {
        const Case c = cases[n % 3];
        UprezModel *m = graph_model(nets[n / 6], 3);
        UprezPicture *src = picture(n / 3 % 2 ? "yuv420p" : "gbrpf32le", 60, 180, 4), *whole, *dst;
        fake = (Fake){.facts.slots = 2};
        whole = run_one(&fake_engine, m, c, src);
        const int all = fake.runs, bytes = src->format.depth == 32 ? 4 : 1;
        const UpzShape s = shape_of(src);
        UpzEngine *e;
        open_for(&e, &fake_engine, m, c);
        assert_int_equal(upz_tensor_plan(e, &s, 0, &plan, &err), 0);
        assert_int_equal(uprez_picture_alloc(&dst, &s.dst, plan.width, plan.height, &err), 0);
        dst->color = s.dst_color;
        for (int k = 0; k < UPZ_COUNT(rects); k++) {
            UprezRect q[2] = {rects[k][0], rects[k][1]}; /* given for 360 rows */
            for (int i = 0; i < 2; i++) q[i].y = q[i].y * dst->height / 360;
            fake.runs = 0;
            memset(dst->plane[0], 77, (size_t)dst->stride[0] * (size_t)dst->height);
            UpzTask t = {.src = src, .dst = dst, .todo = q, .n_todo = q[1].w ? 2 : 1};
            assert_int_equal(upz_tensor_submit(e, &t), 0);
            assert_int_equal(upz_tensor_wait(e, &t, -1), 0);
            assert_int_equal(t.result, 0);
            if (!q[0].h) assert_int_equal(fake.runs, 0);
            else if (c.tile && c.batch == 1) assert_true(fake.runs < all && fake.runs > 0);
            for (int y = 0; y < dst->height; y++) {
                const char *a = (char *)dst->plane[0] + y * dst->stride[0];
                const char *b = (char *)whole->plane[0] + y * whole->stride[0];
                bool todo = false, near = false;
                for (int i = 0; i < t.n_todo; i++) {
                    todo |= q[i].h && y >= q[i].y && y < q[i].y + q[i].h;
                    near |= q[i].h && y > q[i].y - 16 && y < q[i].y + q[i].h + 16;
                }
                if (todo) assert_memory_equal(a, b, (size_t)(dst->width * bytes));
                for (int x = 0; x < dst->width * bytes && !near; x++) assert_int_equal(a[x], 77);
            }
        }
        upz_tensor_close(&e);
        uprez_picture_unref(&src);
        uprez_picture_unref(&dst);
        uprez_picture_unref(&whole);
        graph_model_free(m);
    }
}

static UprezPicture *result_for(const UprezPicture *src)
{
    UprezPicture *dst;
    assert_int_equal(uprez_picture_alloc(&dst, &src->format, plan.width, plan.height, &err), 0);
    return dst;
}

/* submit and wait by hand: AGAIN, part batches, timeouts, close in the middle. */
static void flow(void **state)
{
    (void)state;
    enum { N = 40 };
    UprezModel *m = graph_model(graph_srvgg, 3);
    UprezPicture *src = picture("gbrpf32le", 40, 30, 3), *dst[N];
    const UpzShape s = shape_of(src);
    UpzEngine *e;
    UpzTask tasks[N];
    fake = (Fake){.facts.slots = 1};
    open_for(&e, &fake_engine, m, (Case){.batch = 8});
    assert_int_equal(upz_tensor_plan(e, &s, 0, &plan, &err), 0);
    for (int i = 0; i < N; i++) dst[i] = result_for(src);
    for (int i = 0; i < N; i++) tasks[i] = (UpzTask){.src = src, .dst = dst[i]};
    /* a batch that is not full waits for more, until somebody waits for it */
    for (int i = 0; i < 3; i++) assert_int_equal(upz_tensor_submit(e, &tasks[i]), 0);
    usleep(20000);
    assert_int_equal(fake.runs, 0);
    assert_int_equal(upz_tensor_wait(e, &tasks[1], -1), 0);
    assert_int_equal(tasks[1].result, 0);
    assert_int_equal(fake.runs, 1);
    assert_int_equal(upz_tensor_wait(e, &tasks[0], 0), 0);
    assert_int_equal(upz_tensor_wait(e, &tasks[2], -1), 0);
    assert_int_equal(fake.runs, 1);
    /* full: AGAIN, and at once */
    fake.delay_us = 1;
    int sent = 0;
    while (sent < N && !upz_tensor_submit(e, &tasks[sent])) sent++;
    assert_int_equal(sent, plan.depth);
    assert_int_equal(upz_tensor_submit(e, &tasks[sent]), UPREZ_AGAIN);
    for (int i = 0; i < sent; i++) assert_int_equal(upz_tensor_wait(e, &tasks[i], -1), 0);
    assert_true(difference(dst[0], dst[sent - 1]) == 0);
    /* a timeout */
    fake.delay_us = 300000;
    fake.runs = 36; /* the next takes 0.29 s */
    assert_int_equal(upz_tensor_submit(e, &tasks[0]), 0);
    assert_int_equal(upz_tensor_wait(e, &tasks[0], 1000000), UPREZ_AGAIN);
    assert_int_equal(upz_tensor_wait(e, &tasks[0], 0), UPREZ_AGAIN);
    assert_int_equal(upz_tensor_wait(e, &tasks[0], -1), 0);
    /* closed with pictures inside */
    fake.delay_us = 5000;
    for (int i = 0; i < sent; i++) assert_int_equal(upz_tensor_submit(e, &tasks[i]), 0);
    upz_tensor_close(&e);
    upz_tensor_close(&e);
    for (int i = 0; i < N; i++) uprez_picture_unref(&dst[i]);
    uprez_picture_unref(&src);
    graph_model_free(m);
}

/* A run that fails: its pictures have the error, the others their results. */
static void errors_stay_with_their_pictures(void **state)
{
    (void)state;
    enum { N = 8 };
    UprezModel *m = graph_model(graph_deep, 3);
    for (int tile = 0; tile <= 32; tile += 32) {
        UprezPicture *src = picture("gbrpf32le", 60, 50, 3), *dst[N];
        const UpzShape s = shape_of(src);
        UpzEngine *e;
        UpzTask tasks[N];
        fake = (Fake){.facts.slots = 2, .fail_run = tile ? 9 : 3, .delay_us = 2000};
        open_for(&e, &fake_engine, m, (Case){.tile = tile});
        assert_int_equal(upz_tensor_plan(e, &s, 0, &plan, &err), 0);
        const int depth = plan.depth;
        int failed = 0;
        for (int i = 0; i < N; i++) {
            dst[i] = result_for(src);
            tasks[i] = (UpzTask){.src = src, .dst = dst[i]};
            if (i >= depth) {
                assert_int_equal(upz_tensor_wait(e, &tasks[i - depth], -1), 0);
                failed += tasks[i - depth].result < 0;
            }
            assert_int_equal(upz_tensor_submit(e, &tasks[i]), 0);
        }
        for (int i = N - depth; i < N; i++) {
            assert_int_equal(upz_tensor_wait(e, &tasks[i], -1), 0);
            failed += tasks[i].result < 0;
        }
        assert_int_equal(failed, 1);
        int good = -1;
        for (int i = 0; i < N; i++) {
            if (tasks[i].result < 0) {
                assert_int_equal(tasks[i].result, UPREZ_ERR_DEVICE);
                assert_string_equal(tasks[i].err.text, "the fake broke");
            } else {
                if (good >= 0) assert_true(difference(dst[good], dst[i]) == 0);
                good = i;
            }
        }
        upz_tensor_close(&e);
        for (int i = 0; i < N; i++) uprez_picture_unref(&dst[i]);
        /* NaN */
        fake = (Fake){.nan = true};
        open_for(&e, &fake_engine, m, (Case){.tile = tile});
        assert_int_equal(upz_tensor_plan(e, &s, 0, &plan, &err), 0);
        dst[0] = result_for(src);
        tasks[0] = (UpzTask){.src = src, .dst = dst[0]};
        assert_int_equal(upz_tensor_submit(e, &tasks[0]), 0);
        assert_int_equal(upz_tensor_wait(e, &tasks[0], -1), 0);
        assert_int_equal(tasks[0].result, UPREZ_ERR_VERIFY);
        upz_tensor_close(&e);
        uprez_picture_unref(&dst[0]);
        uprez_picture_unref(&src);
    }
    graph_model_free(m);
}

static void luma_networks(void **state)
{
    (void)state;
    static const int inputs[] = {UPREZ_INPUT_Y_FULL, UPREZ_INPUT_Y_STUDIO};
    static const char *const luma[] = {"gray", "gray10le", "grayf32le", "yuv420p"};
    for (int i = 0; i < 2; i++) {
        UprezModel *m = graph_model(graph_srvgg, 1);
        m->facts.input = inputs[i];
        for (int f = 0; f < UPZ_COUNT(luma); f++)
            for (int tile = 0; tile <= 32; tile += 32) {
                UprezPicture *src = picture(luma[f], 70, 45, 6), view;
                fake = (Fake){0};
                if (src->format.model == UPREZ_GRAY) {
                    src->color.range = UPREZ_RANGE_LIMITED;
                    assert_true(apart(m, (Case){.tile = tile}, src) <= allowed(src));
                } else { /* the luma of a picture with chroma, as the upscaler hands it over */
                    upz_picture_component(&view, src, 0);
                    assert_true(apart(m, (Case){.tile = tile}, &view) <= allowed(src));
                }
                uprez_picture_unref(&src);
            }
        graph_model_free(m);
    }
}

/* ---- looking ---- */

static void looks_at_foreign_models(void **state)
{
    (void)state;
    static const struct {
        GraphBuild build;
        int channels, num, den, align;
    } nets[] = {{graph_srvgg, 3, 2, 1, 1}, {graph_unshuffled, 3, 2, 1, 2},
                {graph_shrinking, 3, 1, 2, 2}, {graph_srvgg, 1, 2, 1, 1}};
    const UpzEngineParams params = {.precision = "auto"};
    const UpzDevice device = {.kind = "cpu"};
    for (int n = 0; n < UPZ_COUNT(nets); n++)
        for (int half = 0; half < 2; half++) {
            fake = (Fake){.facts.half_io = half, .multiple = nets[n].align};
            UprezModel *m = graph_model(nets[n].build, nets[n].channels);
            const UprezModelFacts own = m->facts;
            strcpy(m->foreign, "torchscript");
            m->facts = (UprezModelFacts){.path = "some.pt"};
            if (upz_tensor_look(&fake_runtime, ctx, m, &device, &params, &err) < 0)
                fail_msg("%s", err.text);
            assert_int_equal(m->facts.scale_num, nets[n].num);
            assert_int_equal(m->facts.scale_den, nets[n].den);
            assert_int_equal(m->facts.channels, nets[n].channels);
            assert_int_equal(m->facts.align, nets[n].align);
            assert_int_equal(m->facts.input,
                             nets[n].channels == 3 ? UPREZ_INPUT_RGB : UPREZ_INPUT_Y_FULL);
            if (!half && abs(m->facts.reach - own.reach) > 2)
                fail_msg("net %d: reach %d, %d", n, m->facts.reach, own.reach);
            assert_true(m->facts.reach >= 1 && m->facts.reach <= own.reach + 2);
            graph_model_free(m);
        }
    UprezModel *m = graph_model(graph_srvgg, 3);
    /* a file with one shape */
    fake = (Fake){.facts = {.fixed_width = 40, .fixed_height = 30}};
    m->facts = (UprezModelFacts){.path = "some.pt"};
    assert_int_equal(upz_tensor_look(&fake_runtime, ctx, m, &device, &params, &err), 0);
    assert_int_equal(m->facts.scale_num, 2);
    assert_int_equal(m->facts.align, 1);
    fake = (Fake){.multiple = 4};
    m->facts = (UprezModelFacts){.path = "some.pt"};
    assert_int_equal(upz_tensor_look(&fake_runtime, ctx, m, &device, &params, &err), 0);
    assert_int_equal(m->facts.align, 4);
    /* what it makes is no bigger picture */
    fake = (Fake){.scale_y = 3};
    m->facts = (UprezModelFacts){.path = "some.pt"};
    assert_int_equal(upz_tensor_look(&fake_runtime, ctx, m, &device, &params, &err),
                     UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "some.pt"));
    assert_non_null(strstr(err.text, "128x384"));
    assert_int_equal(m->facts.scale_num, 0);
    graph_model_free(m);
}

/* ---- parts ---- */

static void halves(void **state)
{
    (void)state;
    /* all halves survive, on all levels */
    for (int level = UPZ_CPU_C; level <= (int)upz_cpu_detect(); level++) {
        uint16_t all[65536], back[65536];
        static float wide[65536];
        for (int i = 0; i < 65536; i++) all[i] = (uint16_t)i;
        upz_half_unpack(wide, all, 65536, (UpzCpuLevel)level);
        upz_half_pack(back, wide, 65536, (UpzCpuLevel)level);
        for (int i = 0; i < 65536; i++) {
            if ((i & 0x7c00) == 0x7c00 && i & 0x3ff) {
                assert_true(isnan(wide[i]) && (back[i] & 0x7e00) == 0x7e00);
                continue;
            }
            const int e = i >> 10 & 31, m = i & 1023;
            const double v = e == 31 ? INFINITY
                             : ldexp(e ? 1024 + m : m, (e ? e : 1) - 25);
            assert_true((double)wide[i] == (i & 0x8000 ? -v : v));
            assert_int_equal(back[i], i);
        }
        /* between two neighbours: the nearer one, in the middle the even one */
        for (int i = 0; i < 0x7bff; i += 1) {
            const float a = wide[i], b = wide[i + 1], middle = a + (b - a) / 2;
            const float in[9] = {a, nextafterf(middle, a), middle, nextafterf(middle, b), b, -middle,
                                 nextafterf(-middle, 0), a, b};
            const int even = i & 1 ? i + 1 : i;
            const int want[9] = {i, i, even, i + 1, i + 1, even | 0x8000, i | 0x8000, i, i + 1};
            uint16_t got[9];
            upz_half_pack(got, in, 9, (UpzCpuLevel)level);
            for (int k = 0; k < 9; k++)
                if (got[k] != want[k]) fail_msg("%a becomes %x, not %x", in[k], got[k], want[k]);
        }
        const float big[] = {65519.996f, 65520, 1e30f, -70000};
        uint16_t out[4];
        upz_half_pack(out, big, 4, (UpzCpuLevel)level);
        assert_int_equal(out[0], 0x7bff);
        assert_int_equal(out[1], 0x7c00);
        assert_int_equal(out[2], 0x7c00);
        assert_int_equal(out[3], 0xfc00);
    }
}

/* Whatever the sizes: tiles lie inside, shares sum to 1, and cuts keep the halo. */
static void tiles_cover(void **state)
{
    (void)state;
    for (int unit = 1; unit <= 4; unit *= 2)
        for (int tile = 16 * unit; tile <= 64; tile += 16)
            for (int halo = 0; 4 * halo <= tile; halo += unit)
                for (int size = unit; size < 400; size += 7 * unit)
                    for (int blend = 0; blend < 2; blend++) {
                        UpzTileAxis a = {0};
                        const int num = unit == 2 ? 3 : 2, den = unit == 2 ? 2 : 1;
                        const int padded = UPZ_MAX(size, tile), end = size * num / den - 1;
                        if (end < 1) continue;
                        assert_int_equal(upz_tiles_axis(&a, padded, end, tile, halo, blend, unit,
                                                        num, den, &err), 0);
                        assert_int_equal(a.start[0], 0);
                        assert_int_equal(a.start[a.n - 1] + tile, padded);
                        for (int x = 0; x < end; x++) {
                            float sum = 0;
                            for (int i = 0; i < a.n; i++) {
                                int from, to;
                                upz_tiles_range(&a, i, &from, &to);
                                if (x < from || x >= to) continue;
                                const float w = upz_tiles_weight(&a, i, x);
                                sum += w;
                                assert_true(w >= 0 && w <= 1);
                                const int margin = blend ? halo / 2 : halo;
                                const int lo = a.start[i] + (i ? margin : 0);
                                const int hi = a.start[i] + tile - (i < a.n - 1 ? margin : 0);
                                if (x * den < (lo - 1) * num || x * den >= (hi + 1) * num)
                                    fail_msg("px %d of %d in tile %d at %d", x, end, i, a.start[i]);
                            }
                            if (fabsf(sum - 1) > 1e-6f) fail_msg("shares sum to %g", sum);
                        }
                        upz_tiles_free(&a);
                    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves),
        cmocka_unit_test(tiles_cover),
        cmocka_unit_test(whole_pictures_as_the_cpu_engine),
        cmocka_unit_test(tiles_with_enough_halo_are_the_whole),
        cmocka_unit_test(blended_tiles_have_no_seams),
        cmocka_unit_test(fixed_shapes),
        cmocka_unit_test(least_and_largest_sizes),
        cmocka_unit_test(less_memory),
        cmocka_unit_test(order_and_batches),
        cmocka_unit_test(parts_alone),
        cmocka_unit_test(flow),
        cmocka_unit_test(errors_stay_with_their_pictures),
        cmocka_unit_test(luma_networks),
        cmocka_unit_test(looks_at_foreign_models),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
