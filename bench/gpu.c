/* The library on a GPU: is it right beside the CPU, and how many pictures a second. Needs nothing but
 * libuprez and the driver.
 *
 *   gpu check MODEL FORMAT WxH [ENGINE] [0] [PRECISION]
 *                                          pictures in device memory and in main memory beside the
 *                                          CPU engine; one JSON line: psnr, largest difference
 *   gpu list  FILE                         check of each line of the file, MODEL FORMAT WxH and so on, in one
 *                                          process
 *   gpu rate  MODEL FORMAT WxH [ENGINE] [FRAMES] [PRECISION]
 *                                          frames/s, pictures in device memory (device), and from and
 *                                          to main memory (host); one JSON line
 *   gpu device MODEL …                     the same of device memory alone
 *   gpu reuse MODEL FORMAT WxH [ENGINE] [FRAMES] [PRECISION]
 *                                          the same of pictures of which all but 64 x 64 px stay, with
 *                                          reuse; the results must be those without
 * ENGINE: cuda (default), libtorch, onnxruntime, tensorrt. Exit 1 when a check fails. */
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <uprez/uprez.h>

#include "gpu_driver.h"

enum { RING = 8 }; /* different source pictures; device results are as many */

typedef struct Bench {
    GpuDriver cu;
    void *context, *stream;
    UprezContext *ctx;
    UprezModel *model;
    UprezFormat format;
    int width, height;
    const char *engine, *precision;
    int still; /* pictures stay but for a part, and that is made use of */
} Bench;

static int fail(const UprezError *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(err->code < 0 && err->code > -9 ? -err->code : 1);
}

static void must(int r, const char *what)
{
    if (!r) return;
    fprintf(stderr, "%s: the driver says %d\n", what, r);
    exit(5);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- pictures ---- */

static int plane_rows(const UprezPicture *p, int i)
{
    const UprezFormat *f = &p->format;
    int chroma = 0;
    for (int c = 1; c < 3 && c < f->n_comp; c++) chroma |= f->model == UPREZ_YUV && f->comp[c].plane == i;
    return chroma ? (p->height + (1 << f->sub_y) - 1) >> f->sub_y : p->height;
}

/* Something with edges, gradients and grain, moving with n; any format: codes of all components. */
static void draw(UprezPicture *p, int n)
{
    uint32_t seed = 1u + (uint32_t)n;
    const UprezFormat *f = &p->format;
    for (int c = 0; c < f->n_comp; c++) {
        int chroma = f->model == UPREZ_YUV && (c == 1 || c == 2);
        int w = chroma ? (p->width + (1 << f->sub_x) - 1) >> f->sub_x : p->width;
        int h = chroma ? (p->height + (1 << f->sub_y) - 1) >> f->sub_y : p->height;
        for (int y = 0; y < h; y++) {
            uint8_t *row = (uint8_t *)p->plane[f->comp[c].plane] + y * p->stride[f->comp[c].plane] +
                           f->comp[c].offset;
            for (int x = 0; x < w; x++) {
                seed = seed * 1664525u + 1013904223u;
                double v = 0.5 + 0.22 * sin((x + 3 * n) * 0.11 + c) * cos(y * 0.07 - c) +
                           0.18 * (((x + n) / 17 + y / 13) % 2 - 0.5) + (seed >> 24) / 255.0 * 0.06;
                if (chroma) v = 0.5 + (v - 0.5) * 0.5;
                uint8_t *at = row + x * f->comp[c].step;
                if (f->depth == 8) {
                    *at = (uint8_t)(v * 219 + 16);
                } else if (f->depth == 32) {
                    float one = (float)(chroma ? v - 0.5 : v);
                    memcpy(at, &one, 4);
                } else {
                    uint16_t code = (uint16_t)((int)(v * ((219 << (f->depth - 8)))) +
                                               (16 << (f->depth - 8)));
                    code = (uint16_t)(code << f->shift);
                    memcpy(at, &code, 2);
                }
            }
        }
    }
}

static UprezPicture *host_picture(Bench *b, int n)
{
    UprezPicture *p;
    UprezError err;
    if (uprez_picture_alloc(&p, &b->format, b->width, b->height, &err) < 0) fail(&err);
    for (int i = 0; i < p->format.n_plane; i++)
        memset(p->plane[i], 0, (size_t)p->stride[i] * (size_t)plane_rows(p, i));
    draw(p, b->still ? 0 : n);
    for (int i = 0; b->still && i < p->format.n_plane; i++) { /* a block that moves on and changes */
        size_t step = (size_t)p->format.comp[0].step, x = (size_t)(n * 48 % b->width) * step;
        for (int y = 0; y < plane_rows(p, i) && y < 64; y++)
            for (size_t k = x; k < x + 64 * step && k < (size_t)b->width * step && !i; k++)
                ((uint8_t *)p->plane[0])[y * p->stride[0] + (ptrdiff_t)k] ^= (uint8_t)(n & 7);
    }
    p->color = (UprezColor){.matrix = p->format.model == UPREZ_RGB ? 0 : 1,
                            .primaries = 1,
                            .transfer = 1,
                            .range = p->format.model == UPREZ_RGB ? UPREZ_RANGE_FULL
                                                                  : UPREZ_RANGE_LIMITED,
                            .siting = UPREZ_SITING_LEFT};
    p->pts = n;
    return p;
}

typedef struct Memory {
    Bench *b;
    uint64_t at;
} Memory;

static void give_back(void *cookie)
{
    Memory *m = cookie;
    m->b->cu.release(m->at);
    free(m);
}

/* A picture of like's shape in device memory, its planes one after the other as like's. */
static UprezPicture *device_picture(Bench *b, const UprezPicture *like)
{
    UprezPicture desc = *like, *p;
    UprezError err;
    size_t at[4] = {0}, bytes = 0;
    for (int i = 0; i < like->format.n_plane; i++) {
        at[i] = bytes;
        bytes += ((size_t)like->stride[i] * (size_t)plane_rows(like, i) + 511) / 512 * 512;
    }
    Memory *m = calloc(1, sizeof(*m));
    if (!m) exit(6);
    m->b = b;
    must(b->cu.alloc(&m->at, bytes), "device memory for a picture");
    for (int i = 0; i < like->format.n_plane; i++) desc.plane[i] = (void *)(uintptr_t)(m->at + at[i]);
    desc.memory = UPREZ_MEM_CUDA;
    desc.device = 0;
    desc.stream = b->stream;
    desc.buffer = NULL;
    if (uprez_picture_wrap(&p, &desc, give_back, m, &err) < 0) fail(&err);
    return p;
}

static void copy_picture(Bench *b, UprezPicture *to, const UprezPicture *from, int up)
{
    for (int i = 0; i < from->format.n_plane; i++) {
        size_t bytes = (size_t)from->stride[i] * (size_t)plane_rows(from, i);
        if (up)
            must(b->cu.to_device((uint64_t)(uintptr_t)to->plane[i], from->plane[i], bytes), "copy to the device");
        else
            must(b->cu.to_host(to->plane[i], (uint64_t)(uintptr_t)from->plane[i], bytes), "copy to the host");
    }
    if (up) must(b->cu.wait(NULL), "copy to the device"); /* pageable memory may still be on its way */
}

static Uprez *upscaler(Bench *b, const char *engine, const char *device, const char *precision)
{
    Uprez *u;
    UprezError err;
    UprezParams p = {.size = sizeof(p), .models = &b->model, .n_models = 1, .no_reuse = !b->still, .engine = engine,
                     .device = device, .precision = precision,
                     .cuda_context = strcmp(device, "cpu") ? b->context : NULL};
    if (uprez_create(&u, b->ctx, &p, &err) < 0) fail(&err);
    return u;
}

/* ---- check ---- */

static double code_at(const UprezPicture *p, int c, int x, int y)
{
    const UprezFormat *f = &p->format;
    const uint8_t *at = (const uint8_t *)p->plane[f->comp[c].plane] +
                        y * p->stride[f->comp[c].plane] + f->comp[c].offset + x * f->comp[c].step;
    uint16_t wide;
    float real;
    if (f->depth == 8) return *at;
    if (f->depth == 32) {
        memcpy(&real, at, 4);
        return (double)real * 255;
    }
    memcpy(&wide, at, 2);
    return wide >> f->shift;
}

static double compare(const UprezPicture *a, const UprezPicture *b, double *most)
{
    const UprezFormat *f = &a->format;
    double sum = 0, n = 0, peak = f->depth == 8 || f->depth == 32 ? 255 : (1 << f->depth) - 1;
    *most = 0;
    for (int c = 0; c < f->n_comp; c++) {
        int chroma = f->model == UPREZ_YUV && (c == 1 || c == 2);
        int w = chroma ? (a->width + (1 << f->sub_x) - 1) >> f->sub_x : a->width;
        int h = chroma ? (a->height + (1 << f->sub_y) - 1) >> f->sub_y : a->height;
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double d = fabs(code_at(a, c, x, y) - code_at(b, c, x, y));
                if (!(d <= *most)) *most = d;
                sum += d * d;
                n++;
            }
    }
    return sum > 0 ? 10 * log10(peak * peak * n / sum) : 200;
}

static int check(Bench *b, const char *model)
{
    UprezPicture *src = host_picture(b, 1), *want, *got, *back;
    UprezError err;
    UprezInfo info = {.size = sizeof(info)};
    Uprez *cpu = upscaler(b, "cpu", "cpu", "fp32"), *gpu = upscaler(b, b->engine, "cuda", b->precision);
    if (uprez_run(cpu, src, &want, &err) < 0) fail(&err);
    double most_host, most_device = 0, psnr_host, psnr_device = 0;
    if (uprez_plan(gpu, src, &info, &err) < 0) fail(&err);
    if (uprez_run(gpu, src, &got, &err) < 0) fail(&err);
    psnr_host = compare(got, want, &most_host);
    uprez_picture_unref(&got);
    if (!strcmp(b->engine, "cuda")) {
        UprezPicture *there = device_picture(b, src);
        copy_picture(b, there, src, 1);
        if (uprez_run(gpu, there, &got, &err) < 0) fail(&err);
        must(b->cu.wait(got->stream), "the result's stream");
        if (uprez_picture_alloc(&back, &got->format, got->width, got->height, &err) < 0) fail(&err);
        /* rows may lie differently: one by one */
        for (int i = 0; i < got->format.n_plane; i++)
            for (int y = 0; y < plane_rows(got, i); y++) {
                ptrdiff_t bytes = got->stride[i] < back->stride[i] ? got->stride[i] : back->stride[i];
                must(b->cu.to_host((char *)back->plane[i] + y * back->stride[i],
                                   (uint64_t)((uintptr_t)got->plane[i] + (uintptr_t)(y * got->stride[i])),
                                   (size_t)bytes), "copy to the host");
            }
        psnr_device = compare(back, want, &most_device);
        uprez_picture_unref(&back);
        uprez_picture_unref(&got);
        uprez_picture_unref(&there);
    } else {
        psnr_device = psnr_host;
        most_device = most_host;
    }
    double least = psnr_host < psnr_device ? psnr_host : psnr_device;
    int eight = !strcmp(b->precision, "fp8") || !strcmp(b->precision, "int8");
    int ok = least > (eight ? 30 : src->format.depth == 8 || src->format.depth == 32 ? 45 : 48);
    printf("{\"check\": \"%s\", \"model\": \"%s\", \"format\": \"%s\", \"width\": %d, \"height\": %d, "
           "\"engine\": \"%s\", \"numerics\": \"%s\", \"psnr_host\": %.2f, \"psnr_device\": %.2f, "
           "\"most_host\": %g, \"most_device\": %g}\n",
           ok ? "ok" : "FAILED", model, uprez_format_name(&b->format), b->width, b->height, info.engine,
           info.numerics, psnr_host, psnr_device, most_host, most_device);
    uprez_picture_unref(&want);
    uprez_picture_unref(&src);
    uprez_destroy(&cpu);
    uprez_destroy(&gpu);
    return ok ? 0 : 1;
}

/* ---- rate ---- */

/* Seconds for n pictures; results NULL: the library makes them. */
static double run(Bench *b, Uprez *u, UprezPicture *const *src, UprezPicture *const *results, int n)
{
    UprezPicture *out;
    UprezError err;
    int sent = 0, received = 0;
    double begin = now();
    while (received < n) {
        int r = UPREZ_AGAIN;
        if (sent < n) {
            r = uprez_send_to(u, src[sent % RING], results ? results[sent % RING] : NULL, &err);
            if (r < 0 && r != UPREZ_AGAIN) fail(&err);
            if (r >= 0) {
                sent++;
                continue;
            }
        }
        r = uprez_receive(u, &out, -1, &err);
        if (r < 0) fail(&err);
        received++;
        uprez_picture_unref(&out);
    }
    must(b->cu.wait(b->stream), "the stream");
    return now() - begin;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median_rate(Bench *b, Uprez *u, UprezPicture *const *src, UprezPicture *const *dst, int n)
{
    double t[5];
    run(b, u, src, dst, RING);
    for (int i = 0; i < 5; i++) t[i] = run(b, u, src, dst, n);
    qsort(t, 5, sizeof(*t), by_size);
    return n / t[2];
}

static int rate(Bench *b, const char *model, int frames, int host_too)
{
    UprezPicture *host[RING], *there[RING] = {0}, *results[RING] = {0};
    UprezInfo info = {.size = sizeof(info)};
    UprezError err;
    Uprez *u = upscaler(b, b->engine, "cuda", b->precision);
    int own = !strcmp(b->engine, "cuda");
    for (int i = 0; i < RING; i++) host[i] = host_picture(b, i);
    if (uprez_plan(u, host[0], &info, &err) < 0) fail(&err);
    double from_host = host_too || !own ? median_rate(b, u, host, NULL, frames) : 0, on_device = 0;
    if (own) {
        UprezPicture *like;
        uprez_destroy(&u);
        if (uprez_picture_alloc(&like, &b->format, info.width, info.height, &err) < 0) fail(&err);
        for (int i = 0; i < RING; i++) {
            there[i] = device_picture(b, host[i]);
            copy_picture(b, there[i], host[i], 1);
            results[i] = device_picture(b, like);
        }
        u = upscaler(b, b->engine, "cuda", b->precision);
        if (uprez_plan(u, there[0], &info, &err) < 0) fail(&err);
        on_device = median_rate(b, u, there, results, frames);
        uprez_picture_unref(&like);
    }
    UprezCounts counts = {.size = sizeof(counts)};
    if (uprez_counts(u, &counts, &err) < 0) fail(&err);
    const UprezModelFacts *facts = uprez_model_facts(b->model);
    double flop = 2.0 * (double)facts->macs * b->width * b->height;
    printf("{\"rate\": \"%s\", \"format\": \"%s\", \"width\": %d, \"height\": %d, \"out_width\": %d, "
           "\"out_height\": %d, \"engine\": \"%s\", \"precision\": \"%s\", \"numerics\": \"%s\", "
           "\"memory\": %zu, \"frames\": %d, \"device_fps\": %.3f, \"host_fps\": %.3f, "
           "\"gflop\": %.3f, \"tflops\": %.2f, \"reused\": %.4f}\n",
           model, uprez_format_name(&b->format), b->width, b->height, info.width, info.height,
           info.engine, info.precision, info.numerics, info.memory, frames, on_device, from_host,
           flop * 1e-9, flop * (own ? on_device : from_host) * 1e-12,
           counts.pictures ? counts.reused / (double)counts.pictures : 0.0);
    uprez_destroy(&u); /* whose strings info has */
    for (int i = 0; i < RING; i++) {
        uprez_picture_unref(&host[i]);
        uprez_picture_unref(&there[i]);
        uprez_picture_unref(&results[i]);
    }
    return 0;
}

/* What reuse gives is what computing everything gives. */
static int same_with_reuse(Bench *b)
{
    UprezError err;
    UprezPicture *got[RING], *want, *src;
    int wrong = 0;
    double most;
    Uprez *u = upscaler(b, b->engine, "cuda", b->precision);
    for (int i = 0; i < RING; i++) {
        src = host_picture(b, i);
        if (uprez_run(u, src, &got[i], &err) < 0) fail(&err);
        uprez_picture_unref(&src);
    }
    uprez_destroy(&u);
    b->still = 0; /* the upscaler's part of it */
    u = upscaler(b, b->engine, "cuda", b->precision);
    b->still = 1;
    for (int i = 0; i < RING; i++) {
        src = host_picture(b, i);
        if (uprez_run(u, src, &want, &err) < 0) fail(&err);
        compare(got[i], want, &most);
        wrong += most > 0;
        uprez_picture_unref(&src);
        uprez_picture_unref(&want);
        uprez_picture_unref(&got[i]);
    }
    uprez_destroy(&u);
    printf("{\"reuse\": \"%s\", \"pictures\": %d, \"wrong\": %d}\n", wrong ? "FAILED" : "ok", RING, wrong);
    return wrong != 0;
}

static void log_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    if (level <= UPREZ_LOG_WARNING) fprintf(stderr, "%s\n", line);
}

/* ---- what is asked for ---- */

static void load(Bench *b, const char *path)
{
    UprezError err;
    UprezModelParams mp = {.size = sizeof(mp), .engine = b->engine, .device = "cuda"};
    if (uprez_model_load(&b->model, b->ctx, path, &mp, &err) < 0) fail(&err);
}

/* MODEL FORMAT WxH [ENGINE] [FRAMES] [PRECISION], n of them; the number of frames, or -1. */
static int understand(Bench *b, int n, char **word)
{
    b->engine = n > 3 ? word[3] : "cuda";
    b->precision = n > 5 ? word[5] : "auto";
    if (n < 3 || sscanf(word[2], "%dx%d", &b->width, &b->height) != 2 ||
        uprez_format_from_name(&b->format, word[1]) < 0)
        return -1;
    const int frames = n > 4 ? (int)strtol(word[4], NULL, 10) : 0;
    return frames > 0 ? frames : 32;
}

/* Each line of a file; how many fail. */
static int check_all(Bench *b, const char *path)
{
    char line[4096];
    int failed = 0;
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "%s cannot be read\n", path);
        return 2;
    }
    while (fgets(line, sizeof(line), f)) {
        char *word[6], *rest = line;
        int n = 0;
        while (n < 6 && (word[n] = strtok_r(rest, " \n", &rest))) n++;
        if (!n) continue;
        if (understand(b, n, word) < 0) {
            fprintf(stderr, "%s: a line is no check\n", path);
            failed++;
            continue;
        }
        load(b, word[0]);
        failed += check(b, word[0]);
        fflush(stdout);
        uprez_model_unref(&b->model);
    }
    fclose(f);
    return failed != 0;
}

static int run_one(Bench *b, const char *verb, const char *model, int frames)
{
    int r = 0;
    b->still = !strcmp(verb, "reuse");
    load(b, model);
    if (b->still) r = same_with_reuse(b);
    if (!strcmp(verb, "check")) r = check(b, model);
    else if (!r) r = rate(b, model, frames, strcmp(verb, "device"));
    uprez_model_unref(&b->model);
    return r;
}

int main(int argc, char **argv)
{
    Bench b = {.engine = "cuda", .precision = "auto"};
    UprezContextParams cp = {.size = sizeof(cp), .log = log_line};
    UprezError err;
    char name[128] = "";
    int device, all = argc == 3 && !strcmp(argv[1], "list"), frames = all ? 0 : understand(&b, argc - 2, argv + 2);
    if (frames < 0) {
        fprintf(stderr, "usage: gpu check|rate|device|reuse MODEL FORMAT WxH [ENGINE] [FRAMES] [PRECISION]\n"
                        "       gpu list FILE\n");
        return 2;
    }
    if (gpu_driver_open(&b.cu) < 0) return 5;
    must(b.cu.device(&device, 0), "device 0");
    must(b.cu.name(name, sizeof(name), device), "device 0");
    /* foreign runtimes want the primary context, ours shall do with any */
    if (!strcmp(b.engine, "cuda")) {
        must(b.cu.make(&b.context, 0, device), "a context");
        must(b.cu.stream(&b.stream, 1), "a stream");
    }
    if (uprez_context_create(&b.ctx, &cp, &err) < 0) fail(&err);
    const int r = all ? check_all(&b, argv[2]) : run_one(&b, argv[1], argv[2], frames);
    uprez_context_destroy(&b.ctx);
    if (b.stream) b.cu.stream_destroy(b.stream);
    if (b.context) b.cu.destroy(b.context);
    return r;
}
