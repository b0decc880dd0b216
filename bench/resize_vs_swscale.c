/* Resampling and conversion side by side with swscale and zimg: the same filter, alternated round
 * by round in one run.
 *
 *   ninja -C build bench/resize_vs_swscale && build/bench/resize_vs_swscale [ROUNDS [CASE]]
 *
 * CASE: only cases whose name begins with it, as "yuv420p10le 3840x2160 1920x1080 bicubic 1" or
 * "yuv420p gbrpf32le". Prints the median time of each, and the ratio to ours (above 1: ours is faster). */
#include <libavutil/frame.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/context.h"
#include "picture/convert.h"
#include "picture/resize.h"
#include "zimg_reference.h"

/* One thread: processor time, which other programs disturb less; several: time on the wall. */
static double now(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

static double median(double *t, int n)
{
    qsort(t, (size_t)n, sizeof(*t), by_size);
    return t[n / 2];
}

static UprezPicture *make(const char *format, int w, int h)
{
    UprezFormat f;
    UprezPicture *p;
    if (uprez_format_from_name(&f, format) < 0 || uprez_picture_alloc(&p, &f, w, h, NULL) < 0)
        exit(1);
    p->color = (UprezColor){.matrix = f.model == UPREZ_RGB ? 0 : 1, .primaries = 1, .transfer = 1,
                            .range = f.model == UPREZ_RGB ? UPREZ_RANGE_FULL : UPREZ_RANGE_LIMITED,
                            .siting = UPREZ_SITING_LEFT};
    for (int i = 0; i < f.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&f, i, h); y++)
            for (int x = 0; x < upz_plane_width(&f, i, w); x++) {
                uint8_t *row = (uint8_t *)p->plane[i] + p->stride[i] * y;
                int v = 16 + (x * 7 + y * 13 + (x * y >> 7)) % 200;
                if (f.depth == 8)
                    row[x] = (uint8_t)v;
                else if (f.depth == 32)
                    ((float *)(void *)row)[x] = (float)v / 255;
                else
                    ((uint16_t *)(void *)row)[x] = (uint16_t)(v << (f.depth - 8));
            }
    return p;
}

static AVFrame *wrap(const UprezPicture *p, const char *name)
{
    AVFrame *f = av_frame_alloc();
    f->format = av_get_pix_fmt(name);
    f->width = p->width;
    f->height = p->height;
    if (av_frame_get_buffer(f, 64) < 0) exit(1);
    for (int i = 0; i < p->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&p->format, i, p->height); y++)
            memcpy(f->data[i] + (ptrdiff_t)f->linesize[i] * y,
                   (uint8_t *)p->plane[i] + p->stride[i] * y,
                   upz_plane_row_bytes(&p->format, i, p->width));
    return f;
}

static struct SwsContext *sws(const AVFrame *a, const AVFrame *b, int flags, int threads)
{
    struct SwsContext *s = sws_alloc_context();
    av_opt_set_int(s, "srcw", a->width, 0);
    av_opt_set_int(s, "srch", a->height, 0);
    av_opt_set_int(s, "src_format", a->format, 0);
    av_opt_set_int(s, "dstw", b->width, 0);
    av_opt_set_int(s, "dsth", b->height, 0);
    av_opt_set_int(s, "dst_format", b->format, 0);
    av_opt_set_int(s, "sws_flags", flags, 0);
    av_opt_set_int(s, "threads", threads, 0);
    if (sws_init_context(s, NULL, NULL) < 0) exit(1);
    return s;
}

typedef struct Half {
    ZimgRun run;
    UprezPicture src, dst;
} Half;

static void *run_half(void *arg)
{
    Half *h = arg;
    zimg_run(&h->run, &h->src, &h->dst);
    return NULL;
}

/* Rows split between threads as zscale does it: several graphs, each for a part of the source. */
static int open_halves(Half *half, int n, const UprezPicture *src, const UprezPicture *dst,
                       zimg_resample_filter_e filter)
{
    for (int i = 0; i < n; i++) {
        int s0 = src->height * i / n & ~1, s1 = src->height * (i + 1) / n & ~1;
        int d0 = dst->height * i / n & ~1, d1 = dst->height * (i + 1) / n & ~1;
        half[i].src = *src;
        half[i].dst = *dst;
        half[i].src.height = s1 - s0;
        half[i].dst.height = d1 - d0;
        for (int p = 0; p < 3; p++) {
            int ss = p && src->format.sub_y ? 2 : 1, ds = p && dst->format.sub_y ? 2 : 1;
            half[i].src.plane[p] = (uint8_t *)src->plane[p] + src->stride[p] * (s0 / ss);
            half[i].dst.plane[p] = (uint8_t *)dst->plane[p] + dst->stride[p] * (d0 / ds);
        }
        if (zimg_open(&half[i].run, &half[i].src, &half[i].dst, filter) < 0) return -1;
    }
    return 0;
}

static void run_halves(Half *half, int n)
{
    pthread_t t[8];
    for (int i = 1; i < n; i++) pthread_create(&t[i], NULL, run_half, &half[i]);
    run_half(&half[0]);
    for (int i = 1; i < n; i++) pthread_join(t[i], NULL);
}

static void resize_case(const char *format, int sw, int sh, int dw, int dh, int threads, int rounds,
                        const char *only)
{
    UprezPicture *src = make(format, sw, sh), *dst = make(format, dw, dh);
    AVFrame *a = wrap(src, format), *b = wrap(dst, format);
    static const struct {
        const char *name;
        UpzResizeKernel kernel;
        int flags;
        zimg_resample_filter_e zimg;
    } filters[] = {{"bicubic", UPZ_RESIZE_BICUBIC, SWS_BICUBIC, ZIMG_RESIZE_BICUBIC},
                   {"lanczos", UPZ_RESIZE_LANCZOS, SWS_LANCZOS, ZIMG_RESIZE_LANCZOS}};
    UprezContext *ctx;
    UprezContextParams cp = {.size = sizeof(cp), .threads = threads};
    if (uprez_context_create(&ctx, &cp, NULL) < 0) exit(1);
    for (int k = 0; k < 2; k++) {
        UpzResizePicture *r;
        Half half[8] = {0};
        char name[128];
        snprintf(name, sizeof(name), "%s %dx%d %dx%d %s %d", format, sw, sh, dw, dh,
                 filters[k].name, threads);
        if (strncmp(name, only, strlen(only)) != 0) continue;
        if (upz_resize_picture_create(&r, ctx, filters[k].kernel, src, dst, NULL) < 0) exit(1);
        struct SwsContext *s = sws(a, b, filters[k].flags, threads);
        if (open_halves(half, threads, src, dst, filters[k].zimg) < 0) exit(1);
        double *t[3];
        for (int i = 0; i < 3; i++) t[i] = calloc((size_t)rounds, sizeof(double));
        for (int i = -1; i < rounds; i++) {
            double t0 = now(threads);
            upz_resize_picture_run(r, src, dst);
            double t1 = now(threads);
            sws_scale_frame(s, b, a);
            double t2 = now(threads);
            run_halves(half, threads);
            double t3 = now(threads);
            if (i < 0) continue;
            t[0][i] = t1 - t0;
            t[1][i] = t2 - t1;
            t[2][i] = t3 - t2;
        }
        double us = median(t[0], rounds), sw_t = median(t[1], rounds), z = median(t[2], rounds);
        printf("%-12s %4dx%-4d -> %4dx%-4d %s %d thread%s: uprez %7.2f ms, swscale %7.2f (%.2fx), "
               "zimg %7.2f (%.2fx)\n",
               format, sw, sh, dw, dh, filters[k].name, threads, threads > 1 ? "s" : " ", us * 1e3,
               sw_t * 1e3, sw_t / us, z * 1e3, z / us);
        for (int i = 0; i < 3; i++) free(t[i]);
        for (int i = 0; i < threads; i++) zimg_close(&half[i].run);
        sws_freeContext(s);
        upz_resize_picture_destroy(&r);
    }
    uprez_context_destroy(&ctx);
    av_frame_free(&a);
    av_frame_free(&b);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
}

static void convert_case(const char *from, const char *to, int w, int h, int rounds,
                         const char *only)
{
    char name[64];
    snprintf(name, sizeof(name), "%s %s", from, to);
    if (strncmp(name, only, strlen(only)) != 0) return;
    UprezPicture *src = make(from, w, h), *dst = make(to, w, h);
    AVFrame *a = wrap(src, from), *b = wrap(dst, to);
    UpzLoad l;
    UpzStore s;
    UpzCpuLevel cpu = upz_cpu_detect();
    bool load = dst->format.depth == 32;
    if (upz_load_init(&l, &src->format, &src->color, w, h, UPZ_ROWS_RGB, cpu, NULL) < 0 ||
        upz_store_init(&s, &dst->format, &dst->color, w, h, UPZ_ROWS_RGB, cpu, NULL) < 0)
        exit(1);
    struct SwsContext *sc = sws(a, b, SWS_BILINEAR | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND, 1);
    Half z[1] = {0};
    if (open_halves(z, 1, src, dst, ZIMG_RESIZE_BILINEAR) < 0) exit(1);
    double *t[3];
    for (int i = 0; i < 3; i++) t[i] = calloc((size_t)rounds, sizeof(double));
    int group = upz_store_group(&s), reach = upz_store_reach(&s);
    for (int i = -1; i < rounds; i++) {
        double t0 = now(1);
        if (load) {
            for (int y = 0; y < h; y++) {
                float *rows[3];
                for (int c = 0; c < 3; c++) {
                    int p = dst->format.comp[c].plane;
                    rows[c] = (float *)(void *)((uint8_t *)dst->plane[p] + dst->stride[p] * y);
                }
                upz_load_row(&l, src, y, rows);
            }
        } else {
            uint8_t scratch[256];
            for (int y = 0; y < h; y += group) {
                const float *at[3][16];
                const float *const *rows[3] = {at[0], at[1], at[2]};
                for (int c = 0; c < 3; c++)
                    for (int k = 0; k < group + 2 * reach; k++) {
                        int p = src->format.comp[c].plane;
                        int row = UPZ_CLAMP(y - reach + k, 0, h - 1);
                        at[c][k] = (const float *)(const void *)((uint8_t *)src->plane[p] +
                                                                 src->stride[p] * row);
                    }
                upz_store_rows(&s, (const float *const *const *)rows, y, dst, scratch);
            }
        }
        double t1 = now(1);
        sws_scale_frame(sc, b, a);
        double t2 = now(1);
        run_halves(z, 1);
        double t3 = now(1);
        if (i < 0) continue;
        t[0][i] = t1 - t0;
        t[1][i] = t2 - t1;
        t[2][i] = t3 - t2;
    }
    double us = median(t[0], rounds), sw = median(t[1], rounds), zi = median(t[2], rounds);
    printf("%-12s -> %-12s %4dx%-4d: uprez %6.2f ms (%.2f ms/Mpx), swscale %6.2f (%.2fx), zimg "
           "%6.2f (%.2fx)\n",
           from, to, w, h, us * 1e3, us * 1e9 / w / h, sw * 1e3, sw / us, zi * 1e3, zi / us);
    for (int i = 0; i < 3; i++) free(t[i]);
    zimg_close(&z[0].run);
    sws_freeContext(sc);
    av_frame_free(&a);
    av_frame_free(&b);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 21;
    const char *only = argc > 2 ? argv[2] : "";
    rounds = UPZ_CLAMP(rounds, 1, 1000);
    static const char *const formats[] = {"yuv420p", "yuv420p10le"};
    for (int threads = 1; threads <= 2; threads++)
        for (int f = 0; f < 2; f++) {
            resize_case(formats[f], 854, 480, 1708, 960, threads, rounds, only);
            resize_case(formats[f], 1280, 720, 5120, 2880, threads, rounds, only);
            resize_case(formats[f], 1280, 720, 1920, 1080, threads, rounds, only);
            resize_case(formats[f], 3840, 2160, 1920, 1080, threads, rounds, only);
        }
    convert_case("yuv420p", "gbrpf32le", 1280, 720, rounds, only);
    convert_case("yuv420p10le", "gbrpf32le", 1280, 720, rounds, only);
    convert_case("gbrpf32le", "yuv420p", 5120, 2880, rounds, only);
    convert_case("gbrpf32le", "yuv420p10le", 5120, 2880, rounds, only);
    return 0;
}
