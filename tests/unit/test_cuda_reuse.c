/* Parts of pictures by engine cuda on the emulated driver: the same bytes as whole ones, in both kinds of
 * memory, with every network, format, resize and tiling; which cells differ; copies; bytes that are moved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda_fake.h"
#include "picture/difference.h"

enum { FRAMES = 7 };

static uint32_t seed = 11;
static int draw(int n)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return (int)(seed % (uint32_t)n);
}

static void poke(UprezPicture *p, int c, int x, int y)
{
    uint8_t *at = sample(p, c, x, y);
    if (p->format.depth == 32) *(float *)(void *)at = (float)draw(1000) / 1000;
    else if (p->format.depth == 8) *at ^= (uint8_t)(1 + draw(255));
    else *(uint16_t *)(void *)at ^= (uint16_t)((1 + draw(200)) << p->format.shift);
}

static void same_bytes(const UprezPicture *a, const UprezPicture *b, const char *what, int frame)
{
    assert_int_equal(a->width, b->width);
    for (int c = 0; c < a->format.n_comp - a->format.alpha; c++)
        for (int y = 0; y < upz_component_height(&a->format, c, a->height); y++)
            for (int x = 0; x < upz_component_width(&a->format, c, a->width); x++)
                if (code(a, c, x, y) != code(b, c, x, y))
                    fail_msg("%s, frame %d: component %d (%d, %d) is %g, and %g when all is computed",
                             what, frame, c, x, y, code(a, c, x, y), code(b, c, x, y));
}

/* All new, the same, then a dot in the middle, at two corners, at the other two, in chroma, a few. */
static void make_clip(UprezPicture *clip[FRAMES], const char *format, int w, int h)
{
    clip[0] = picture(format, w, h, 3);
    for (int n = 1; n < FRAMES; n++) {
        UprezPicture *p = clip[n] = copy_of(clip[n - 1]);
        const int last = p->format.n_comp - 1 - p->format.alpha;
        if (n == 2) poke(p, 0, w / 2, h / 2);
        if (n == 3) poke(p, 0, 0, 0), poke(p, 0, w - 1, h - 1);
        if (n == 4) poke(p, 0, w - 1, 0), poke(p, 0, 0, h - 1);
        if (n == 5) poke(p, last, upz_component_width(&p->format, last, w) / 3, 0);
        for (int i = 0; n == 6 && i < 3; i++) poke(p, 0, draw(w), draw(h));
    }
}

typedef struct Way {
    const char *name;
    GraphBuild build;
    const char *src, *dst;
    int w, h;
    double scale;
    double least; /* frames' worth reused */
    int cc;
} Way;

static double through(const Way *way, UprezModel *m, UprezPicture *const *clip, bool reuse, bool gpu,
                      void *const streams[2], UprezPicture **results)
{
    UprezParams p = {.scale = way->scale, .engine = "cuda", .no_reuse = !reuse};
    OK(uprez_format_from_name(&p.format, way->dst));
    Uprez *u = upscaler(m, p);
    UprezPicture *src[FRAMES], *out;
    int sent = 0, got = 0;
    for (int i = 0; i < FRAMES; i++) {
        src[i] = gpu ? on_device(clip[i], streams[i / 3 % 2]) : uprez_picture_ref(clip[i]);
        src[i]->pts = i;
    }
    while (got < FRAMES) {
        int r = sent < FRAMES ? uprez_send(u, src[sent], &err) : UPREZ_AGAIN;
        if (r >= 0) {
            uprez_picture_unref(&src[sent++]);
            continue;
        }
        assert_int_equal(r, UPREZ_AGAIN);
        OK(uprez_receive(u, &out, -1, &err));
        assert_int_equal(out->pts, got);
        results[got++] = gpu ? to_host(out) : uprez_picture_ref(out);
        uprez_picture_unref(&out);
    }
    UprezCounts counts = {.size = sizeof(counts)};
    OK(uprez_counts(u, &counts, &err));
    assert_int_equal(counts.repeated, reuse);
    uprez_destroy(&u);
    return counts.reused;
}

static const Way ways[] = {
    {"a network", srvgg20, "nv12", "nv12", 156, 30, 0, 3, 90},
    {"64 features, 4x", srvgg64, "nv12", "nv12", 90, 18, 0, 1.5, 90},
    {"10 bits", srvgg20, "p010le", "p010le", 141, 29, 0, 3, 86},
    {"planes", srvgg20, "yuv420p", "yuv420p", 139, 27, 0, 3, 75},
    {"RGB", srvgg20, "rgb24", "gbrp10le", 130, 24, 0, 3, 89},
    {"4:4:4", srvgg_clean, "yuv444p", "yuv444p16le", 130, 24, 0, 3, 90},
    {"float", srvgg_clean, "gbrpf32le", "gbrpf32le", 120, 24, 0, 2, 90},
    {"made bigger", srvgg20, "nv12", "nv12", 130, 30, 3, 2, 90},
    {"made smaller", srvgg20, "nv12", "nv12", 130, 30, 1.4, 2, 80},
    {"dense blocks", rrdb4, "nv12", "nv12", 140, 12, 0, 0.9, 90},
    {"unshuffled", rrdb2, "yuv422p", "yuv422p", 220, 10, 0, 0.9, 86},
    {"maps of three sizes", grouped, "nv12", "nv12", 149, 31, 0, 3, 90},
};

static void same_as_whole_pictures(void **state)
{
    (void)state;
    void *context, *streams[2];
    int device;
    for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
        const Way *way = &ways[k];
        UprezPicture *clip[FRAMES], *want[FRAMES], *got[FRAMES];
        capability(way->cc);
        CU(cu.device_get(&device, 0));
        CU(cu.primary_retain(&context, device));
        CU(cu.context_push(context));
        for (int i = 0; i < 2; i++) CU(cu.stream_create(&streams[i], 1));
        UprezModel *m = graph_model(way->build, 3);
        make_clip(clip, way->src, way->w, way->h);
        through(way, m, clip, false, false, streams, want);
        for (int gpu = k % 2; gpu < 2 - (k % 2 == 0 && k); gpu++) { /* the emulation is slow */
            const uint64_t launches = count("launches");
            const double reused = through(way, m, clip, true, gpu, streams, got);
            print_message("%-18s %s: %.2f of %d frames reused, %d launches\n", way->name,
                          gpu ? "GPU " : "host", reused, FRAMES, (int)(count("launches") - launches));
            for (int i = 0; i < FRAMES; i++) {
                same_bytes(got[i], want[i], way->name, i);
                uprez_picture_unref(&got[i]);
            }
            if (reused < way->least || reused >= FRAMES - 1)
                fail_msg("%s: %.2f frames reused, at least %g expected", way->name, reused, way->least);
        }
        for (int i = 0; i < FRAMES; i++) {
            uprez_picture_unref(&want[i]);
            uprez_picture_unref(&clip[i]);
        }
        graph_model_free(m);
        for (int i = 0; i < 2; i++) CU(cu.stream_destroy(streams[i]));
        CU(cu.context_pop(&context));
        CU(cu.primary_release(device));
        assert_int_equal(count("mistakes"), 0);
    }
    capability(90);
}

/* ---- the engine's own functions ---- */

typedef struct Bench {
    UprezModel *m;
    UpzEngine *e;
    void *context, *streams[2];
    UpzPlan plan;
    UpzShape shape;
} Bench;

static void open_bench(Bench *b, GraphBuild build, const char *format, int w, int h, size_t limit)
{
    int device;
    UpzDevice d = {.kind = "cuda"};
    const UpzEngineParams ep = {.precision = "auto", .runtime_path = fake_path};
    UprezPicture *like = picture(format, w, h, 0);
    CU(cu.device_get(&device, 0));
    CU(cu.primary_retain(&b->context, device));
    CU(cu.context_push(b->context));
    for (int i = 0; i < 2; i++) CU(cu.stream_create(&b->streams[i], 1));
    b->m = graph_model(build, 3);
    OK(upz_engine_cuda.open(&b->e, ctx, b->m, &d, &ep, &err));
    b->shape = (UpzShape){.width = w, .height = h, .src = like->format, .dst = like->format,
                          .src_memory = UPREZ_MEM_CUDA, .dst_memory = UPREZ_MEM_CUDA,
                          .src_color = like->color, .dst_color = like->color};
    OK(upz_engine_cuda.plan(b->e, &b->shape, limit, &b->plan, &err));
    assert_true(b->plan.todo);
    uprez_picture_unref(&like);
}

static void close_bench(Bench *b)
{
    upz_engine_cuda.close(&b->e);
    graph_model_free(b->m);
    for (int i = 0; i < 2; i++) CU(cu.stream_destroy(b->streams[i]));
    CU(cu.context_pop(&b->context));
    CU(cu.primary_release(0));
    assert_int_equal(count("mistakes"), 0);
}

/* As on_device, with rows of other lengths that begin anywhere, and rubbish between them. */
static UprezPicture *scattered(const UprezPicture *like, void *stream, int gap, int first)
{
    UprezPicture *wide = copy_of(like), *p;
    const int bytes = like->format.depth == 32 ? 4 : like->format.depth > 8 ? 2 : 1;
    size_t total = 0;
    for (int i = 0; i < like->format.n_plane; i++) {
        const size_t row = upz_plane_row_bytes(&like->format, i, like->width);
        const int rows = upz_plane_height(&like->format, i, like->height);
        uint8_t *m = malloc((row + (size_t)gap) * (size_t)rows + 64), *at = m + first * bytes;
        for (size_t k = 0; k < (row + (size_t)gap) * (size_t)rows + 64; k++) m[k] = (uint8_t)draw(256);
        for (int y = 0; y < rows; y++)
            memcpy(at + (size_t)y * (row + (size_t)gap), (char *)like->plane[i] + y * like->stride[i], row);
        uint64_t there;
        CU(cu.alloc(&there, (row + (size_t)gap) * (size_t)rows + 64));
        CU(cu.upload(there, m, (row + (size_t)gap) * (size_t)rows + 64, stream));
        free(m);
        wide->plane[i] = (void *)(uintptr_t)(there + (uint64_t)(first * bytes));
        wide->stride[i] = (ptrdiff_t)(row + (size_t)gap);
        total += row;
    }
    UprezPicture desc = *wide;
    desc.memory = UPREZ_MEM_CUDA;
    desc.stream = stream;
    desc.buffer = NULL;
    OK(uprez_picture_wrap(&p, &desc, NULL, NULL, &err));
    uprez_picture_unref(&wide);
    assert_true(total > 0);
    return p;
}

static void free_planes(UprezPicture **p, int first)
{
    const int bytes = (*p)->format.depth == 32 ? 4 : (*p)->format.depth > 8 ? 2 : 1;
    for (int i = 0; i < (*p)->format.n_plane; i++)
        CU(cu.release((uint64_t)(uintptr_t)(*p)->plane[i] - (uint64_t)(first * bytes)));
    uprez_picture_unref(p);
}

/* Which cells differ: as picture/difference says, however the pictures lie in memory. */
static void cells_that_differ(void **state)
{
    (void)state;
    static const char *const formats[] = {"nv12", "p010le", "yuv420p", "yuv422p10le", "yuv444p",
                                          "rgb24", "gbrpf32le", "yuv411p", "rgba", "gray16le"};
    for (size_t k = 0; k < sizeof(formats) / sizeof(*formats); k++) {
        const int w = 61 + (int)k % 5, h = 37 + (int)k % 3;
        Bench b;
        UprezFormat f;
        OK(uprez_format_from_name(&f, formats[k]));
        if (f.model == UPREZ_GRAY) continue; /* this network is for RGB */
        open_bench(&b, srvgg_clean, f.alpha ? "rgb24" : formats[k], w, h, 0);
        UprezPicture *host = picture(formats[k], w, h, 1);
        for (int round = 0; round < 12; round++) {
            const int gaps[] = {0, 16, 4, 2}, bytes = f.depth == 32 ? 4 : f.depth > 8 ? 2 : 1;
            const int gap = gaps[round % 4] * bytes, first = round % 3, cell = round % 5 == 4 ? 1 << 16 : 16 << round % 2;
            UprezPicture *other = copy_of(host);
            for (int n = round % 7; n > 0; n--) {
                const int c = draw(f.n_comp);
                poke(other, c, draw(upz_component_width(&f, c, w)), draw(upz_component_height(&f, c, h)));
            }
            UprezPicture *p = scattered(host, b.streams[0], gap, first);
            UprezPicture *q = scattered(other, b.streams[1], round % 2 ? gap : 0, 0);
            uint8_t got[64], want[64];
            const size_t n = (size_t)upz_cells(w, cell) * (size_t)upz_cells(h, cell);
            memset(got, 7, sizeof(got));
            upz_difference(host, other, cell, want);
            OK(upz_engine_cuda.compare(b.e, p, q, cell, got, &err));
            if (memcmp(got, want, n) || got[n] != 7)
                fail_msg("%s, round %d: other cells of %d px than on the host", formats[k], round, cell);
            free_planes(&p, first);
            free_planes(&q, 0);
            uprez_picture_unref(&other);
        }
        uprez_picture_unref(&host);
        close_bench(&b);
    }
}

/* The same memory from its last row upwards. */
static UprezPicture upside_down(const UprezPicture *p)
{
    UprezPicture f = *p;
    for (int i = 0; i < p->format.n_plane; i++) {
        f.plane[i] = (uint8_t *)p->plane[i] + p->stride[i] * (upz_plane_height(&p->format, i, p->height) - 1);
        f.stride[i] = -p->stride[i];
    }
    return f;
}

/* Tasks with parts in work together, in one tile and in several: parts are as in whole pictures, whatever
 * was in the maps before; copies take the rest. */
static void parts_and_tiles(void **state)
{
    (void)state;
    enum { W = 150, H = 50, N = 6 };
    for (int tiled = 0; tiled < 2; tiled++) {
        Bench b;
        open_bench(&b, srvgg20, "nv12", W, H, 0);
        if (tiled) {
            const size_t all = b.plan.need;
            OK(upz_engine_cuda.plan(b.e, &b.shape, all * 9 / 10, &b.plan, &err));
            assert_true(b.plan.todo && b.plan.need < all);
        }
        UprezPicture *whole[N], *src[N], *dst[N], *like, *host;
        like = picture("nv12", b.plan.width, b.plan.height, 0);
        like->stream = b.streams[1];
        UpzTask task[N];
        UprezRect rects[N][3];
        for (int i = 0; i < N; i++) {
            host = picture("nv12", W, H, 20 + i);
            src[i] = on_device(host, b.streams[0]);
            uprez_picture_unref(&host);
            OK(upz_engine_cuda.picture(b.e, &whole[i], like, &err));
            UpzTask t = {.src = src[i], .dst = whole[i]};
            OK(upz_engine_cuda.submit(b.e, &t));
            upz_engine_cuda.wait(b.e, &t, -1);
            OK(t.result);
        }
        for (int i = 0; i < N; i++) {
            for (int k = 0; k < 3; k++) { /* side by side, grain 8 x 2 */
                UprezRect *r = &rects[i][k];
                const int x = k * 104 + 8 * draw(6), y = 2 * draw(40);
                *r = (UprezRect){x, y, UPZ_MIN(8 * (1 + draw(6)), (k + 1) * 104 - x),
                                 UPZ_MIN(2 * (1 + draw(20)), 2 * H - y)};
                if (r->x + r->w > 2 * W) r->w = 2 * W - r->x;
            }
            OK(upz_engine_cuda.picture(b.e, &dst[i], like, &err));
        }
        for (int i = 0, done = 0; done < N;) {
            if (i < N) {
                task[i] = (UpzTask){.src = src[i], .dst = dst[i], .todo = rects[i], .n_todo = 1 + i % 3};
                int r = upz_engine_cuda.submit(b.e, &task[i]);
                if (r >= 0) {
                    i++;
                    continue;
                }
                assert_int_equal(r, UPREZ_AGAIN);
            }
            upz_engine_cuda.wait(b.e, &task[done], -1);
            OK(task[done].result);
            done++;
        }
        for (int i = 0; i < N; i++) {
            UprezPicture *got = to_host(dst[i]), *want = to_host(whole[i]);
            for (int k = 0; k < task[i].n_todo; k++) {
                const UprezRect *r = &rects[i][k];
                for (int c = 0; c < 3; c++)
                    for (int y = r->y >> !!c; y < (r->y + r->h) >> !!c; y++)
                        for (int x = r->x >> !!c; x < (r->x + r->w) >> !!c; x++)
                            if (code(got, c, x, y) != code(want, c, x, y))
                                fail_msg("%s: task %d part %d component %d (%d, %d): %g, not %g",
                                         tiled ? "tiles" : "one tile", i, k, c, x, y,
                                         code(got, c, x, y), code(want, c, x, y));
            }
            /* the rest from the whole one: then all is equal */
            UprezRect rest[2] = {{0, 0, 4 * 24, 2 * H}, {4 * 24, 0, 2 * W - 4 * 24, 2 * H}};
            UprezPicture from = upside_down(whole[i]), to = upside_down(dst[i]), *spare;
            if (i % 3 == 0) OK(upz_engine_cuda.copy(b.e, whole[i], dst[i], rest, 2, &err));
            else if (i % 3 == 1) OK(upz_engine_cuda.copy(b.e, &from, &to, rest, 2, &err));
            else { /* turned round twice */
                OK(upz_engine_cuda.picture(b.e, &spare, like, &err));
                OK(upz_engine_cuda.copy(b.e, &from, spare, rest, 2, &err));
                from = upside_down(spare);
                OK(upz_engine_cuda.copy(b.e, &from, dst[i], rest, 2, &err));
                uprez_picture_unref(&spare);
            }
            uprez_picture_unref(&got);
            got = to_host(dst[i]);
            same_bytes(got, want, "copied", i);
            uprez_picture_unref(&got);
            uprez_picture_unref(&want);
        }
        for (int i = 0; i < N; i++) {
            uprez_picture_unref(&whole[i]);
            uprez_picture_unref(&src[i]);
            uprez_picture_unref(&dst[i]);
        }
        uprez_picture_unref(&like);
        close_bench(&b);
    }
}

/* What reuse moves: a word for each cell of a comparison and one a frame, nothing the size of a picture;
 * from host memory, the changed parts of the result only. */
static void bytes_that_are_moved(void **state)
{
    (void)state;
    enum { W = 200, H = 48, N = 5 };
    const uint64_t cells = 13 * 3 * 4;
    void *context, *stream;
    int device;
    CU(cu.device_get(&device, 0));
    CU(cu.primary_retain(&context, device));
    CU(cu.context_push(context));
    CU(cu.stream_create(&stream, 1));
    UprezModel *m = graph_model(srvgg20, 3);
    for (int gpu = 0; gpu < 2; gpu++) {
        UprezPicture *host[N], *src[N], *out;
        Uprez *u = upscaler(m, (UprezParams){.engine = "cuda"});
        for (int i = 0; i < N; i++) {
            host[i] = i ? copy_of(host[i - 1]) : picture("nv12", W, H, 1);
            if (i == 2 || i == 3) poke(host[i], 0, 100, 20);
            src[i] = gpu ? on_device(host[i], stream) : uprez_picture_ref(host[i]);
        }
        OK(uprez_plan(u, src[0], NULL, &err));
        for (int i = 0; i < N; i++) {
            const uint64_t up = count("host_to_device"), down = count("device_to_host");
            OK(uprez_run(u, src[i], &out, &err));
            uprez_picture_unref(&out);
            const uint64_t moved = count("device_to_host") - down, all = 4 * W * H * 3 / 2;
            const bool repeat = i == 1 || i == 4;
            if (gpu) {
                assert_int_equal(count("host_to_device") - up, 0);
                assert_int_equal(moved, (i ? cells : 0) + (repeat ? 0 : 4));
            } else {
                assert_true(count("host_to_device") - up == 0 || !repeat);
                if (repeat) assert_int_equal(moved, 0);
                else if (!i) assert_true(moved >= all + 4);
                else assert_true(moved > 4 && moved < all / 2);
            }
        }
        uprez_destroy(&u);
        for (int i = 0; i < N; i++) {
            uprez_picture_unref(&host[i]);
            uprez_picture_unref(&src[i]);
        }
    }
    graph_model_free(m);
    CU(cu.stream_destroy(stream));
    CU(cu.context_pop(&context));
    CU(cu.primary_release(device));
}

/* Calls of the driver that fail while pictures are compared, copied and made in parts. */
static void failures(void **state)
{
    (void)state;
    enum { N = 5 };
    void *context, *stream;
    int device, errors = 0;
    CU(cu.device_get(&device, 0));
    CU(cu.primary_retain(&context, device));
    CU(cu.context_push(context));
    CU(cu.stream_create(&stream, 1));
    UprezModel *m = graph_model(srvgg_clean, 3);
    UprezPicture *host[N], *src[N], *want[N], *out, *back;
    for (int i = 0; i < N; i++) {
        host[i] = i ? copy_of(host[i - 1]) : picture("nv12", 160, 40, 1);
        if (i == 2 || i == 3) poke(host[i], 0, 80, 20);
        src[i] = on_device(host[i], stream);
        want[i] = result(m, (UprezParams){.engine = "cuda"}, host[i]);
    }
    static const char *const calls[] = {"cuMemcpy2DAsync_v2", "cuMemcpyDtoHAsync_v2", "cuEventRecord",
                                        "cuEventSynchronize", "cuLaunchKernel", "cuStreamWaitEvent"};
    for (size_t k = 0; k < sizeof(calls) / sizeof(*calls); k++)
        for (int n = 1; n < 12; n += 2) {
            char fail[64];
            Uprez *u = upscaler(m, (UprezParams){.engine = "cuda"});
            OK(uprez_plan(u, src[0], NULL, &err));
            snprintf(fail, sizeof(fail), "%s:%d", calls[k], n);
            setenv("FAKE_CUDA_FAIL", fail, 1);
            for (int i = 0; i < N; i++) {
                int r = uprez_run(u, src[i], &out, &err);
                if (r < 0) {
                    assert_int_equal(r, UPREZ_ERR_DEVICE);
                    assert_true(err.text[0]);
                    errors++;
                    continue;
                }
                unsetenv("FAKE_CUDA_FAIL");
                back = to_host(out);
                same_bytes(back, want[i], fail, i);
                setenv("FAKE_CUDA_FAIL", fail, 1);
                uprez_picture_unref(&back);
                uprez_picture_unref(&out);
            }
            unsetenv("FAKE_CUDA_FAIL");
            uprez_destroy(&u);
        }
    assert_true(errors > 5);
    for (int i = 0; i < N; i++) {
        uprez_picture_unref(&host[i]);
        uprez_picture_unref(&src[i]);
        uprez_picture_unref(&want[i]);
    }
    graph_model_free(m);
    CU(cu.stream_destroy(stream));
    CU(cu.context_pop(&context));
    CU(cu.primary_release(device));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_whole_pictures),
        cmocka_unit_test(cells_that_differ),
        cmocka_unit_test(parts_and_tiles),
        cmocka_unit_test(bytes_that_are_moved),
        cmocka_unit_test(failures),
    };
    return fake_driver() ? cmocka_run_group_tests(tests, fake_setup, fake_teardown) : 77;
}
