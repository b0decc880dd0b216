/* The engine's result for noise beside the reference's. */
#include "engine/cuda/selftest.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/convert.h"
#include "picture/format.h"

enum { WIDTH = 24, HEIGHT = 16, LEAST = 8 };
#define WORK_MOST 500e6 /* multiply-adds the reference may take: a fraction of a second */
#define PSNR_LEAST 40.0

typedef struct Test {
    UprezPicture *src, *one, *got, *want;
    float *in, *out;
    UpzRows rows;
} Test;

static void size_of(const UprezModel *m, int *w, int *h)
{
    const int align = UPZ_MAX(m->facts.align, 1) * m->facts.scale_den;
    *w = WIDTH, *h = HEIGHT;
    while ((*w > LEAST || *h > LEAST) && (double)m->facts.macs * *w * *h > WORK_MOST) {
        if (*w > *h) *w = LEAST > *w - 4 ? LEAST : *w - 4;
        else *h = LEAST > *h - 4 ? LEAST : *h - 4;
    }
    *w = UPZ_ROUND_UP(*w, align), *h = UPZ_ROUND_UP(*h, align);
}

static void noise(UprezPicture *p)
{
    uint32_t seed = 12345;
    for (int i = 0; i < p->format.n_plane; i++)
        for (int y = 0; y < p->height; y++) {
            uint16_t *row = (uint16_t *)(void *)((uint8_t *)p->plane[i] + p->stride[i] * y);
            for (int x = 0; x < p->width; x++) {
                seed = seed * 1664525u + 1013904223u;
                /* a gradient under it: pictures are smoother than noise */
                row[x] = (uint16_t)(8000 + x * 1200 + y * 700 + (int)(seed >> 18));
            }
        }
}

static int make(Test *t, const UprezModel *m, int w, int h, UprezError *err)
{
    const UprezModelFacts *f = &m->facts;
    UprezFormat format;
    const int ow = (int)((int64_t)w * f->scale_num / f->scale_den);
    const int oh = (int)((int64_t)h * f->scale_num / f->scale_den);
    t->rows = f->input == UPREZ_INPUT_RGB      ? UPZ_ROWS_RGB
              : f->input == UPREZ_INPUT_Y_FULL ? UPZ_ROWS_Y_FULL
                                               : UPZ_ROWS_Y_STUDIO;
    int r = uprez_format_from_name(&format, t->rows == UPZ_ROWS_RGB ? "gbrp16le" : "gray16le");
    if (r >= 0) r = uprez_picture_alloc(&t->src, &format, w, h, err);
    if (r >= 0) r = uprez_picture_alloc(&t->one, &format, ow, oh, err);
    if (r >= 0) r = uprez_picture_alloc(&t->got, &format, ow, oh, err);
    if (r >= 0) r = uprez_picture_alloc(&t->want, &format, ow, oh, err);
    if (r < 0) return r;
    upz_color_resolve(&t->src->color, &format, w, h);
    t->one->color = t->got->color = t->want->color = t->src->color;
    noise(t->src);
    /* a row more than the picture: loading may write that far */
    const size_t in = (size_t)w * (size_t)h * 3 + UPZ_LOAD_SLACK + (size_t)w;
    const size_t out = (size_t)ow * (size_t)oh * 3 + UPZ_LOAD_SLACK;
    t->in = upz_alloc_aligned(in * sizeof(float));
    t->out = upz_alloc_aligned(out * sizeof(float));
    if (!t->in || !t->out) return upz_fail_memory(err, (in + out) * sizeof(float), "the self-test");
    return 0;
}

/* What the network makes of the picture, by the reference. */
static int reference(Test *t, const UprezModel *m, UpzCpuLevel cpu, UprezError *err)
{
    UpzLoad load;
    UpzStore store;
    const UprezPicture *s = t->src;
    UprezPicture *d = t->want;
    const size_t plane = (size_t)s->width * (size_t)s->height;
    const size_t big = (size_t)d->width * (size_t)d->height;
    float rows[3][1024 + UPZ_LOAD_SLACK] UPZ_ALIGNED(64);
    float *const to[3] = {rows[0], rows[1], rows[2]};
    if (s->width > 1024) return upz_fail(err, UPREZ_ERR_BUG, "a self-test of %d px", s->width);
    int r = upz_load_init(&load, &s->format, &s->color, s->width, s->height, t->rows, cpu, err);
    if (r >= 0)
        r = upz_store_init(&store, &d->format, &d->color, d->width, d->height, t->rows, cpu, err);
    if (r < 0) return r;
    for (int y = 0; y < s->height; y++) {
        upz_load_row(&load, s, y, to);
        for (int c = 0; c < load.n_rows; c++)
            memcpy(t->in + plane * (size_t)c + (size_t)y * (size_t)s->width, rows[c],
                   (size_t)s->width * sizeof(float));
    }
    r = upz_reference_run(&m->graph, t->in, s->width, s->height, t->out, err);
    void *scratch = r < 0 ? NULL : upz_alloc_aligned(upz_store_scratch(&store));
    if (r >= 0 && !scratch) r = upz_fail_memory(err, upz_store_scratch(&store), "the self-test");
    for (int y = 0; y < d->height && r >= 0; y++) {
        const float *row[3];
        for (size_t c = 0; c < 3; c++)
            row[c] = t->out + big * (c < (size_t)store.n_rows ? c : 0) + (size_t)y * (size_t)d->width;
        const float *const *const all[3] = {&row[0], &row[1], &row[2]};
        upz_store_rows(&store, all, y, d, scratch);
    }
    upz_free_aligned(scratch);
    return r;
}

static double psnr(const UprezPicture *a, const UprezPicture *b)
{
    double sum = 0, n = 0;
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < a->height; y++) {
            const uint16_t *ra = (const uint16_t *)(const void *)((uint8_t *)a->plane[i] + a->stride[i] * y);
            const uint16_t *rb = (const uint16_t *)(const void *)((uint8_t *)b->plane[i] + b->stride[i] * y);
            for (int x = 0; x < a->width; x++, n++) {
                const double d = (ra[x] - rb[x]) / 65535.0;
                sum += d * d;
            }
        }
    return sum > 0 ? 10 * log10(n / sum) : 999;
}

/* What the GPU makes of it, cut for so many multiprocessors. */
static int on_gpu(UpzCudaRun *run, const Test *t, int blocks, UprezPicture *dst, UprezError *err)
{
    const int all = run->blocks;
    const UpzShape shape = {.width = t->src->width, .height = t->src->height, .src = t->src->format,
                            .dst = dst->format, .src_color = t->src->color, .dst_color = dst->color};
    run->blocks = blocks;
    int r = upz_cuda_run_plan(run, &shape, 0, err);
    run->blocks = all;
    if (r < 0) return r;
    UpzTask task = {.src = t->src, .dst = dst};
    r = upz_cuda_run_try(run, &task, "the self-test", err);
    if (r == UPREZ_ERR_VERIFY)
        return upz_fail(err, UPREZ_ERR_DEVICE, "the self-test on GPU %d gave values that are not "
                        "numbers, or infinite ones; the CPU engine is right: give -d cpu, and please "
                        "report it", run->home->index);
    return r;
}

static bool equal(const UprezPicture *a, const UprezPicture *b)
{
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < a->height; y++)
            if (memcmp((uint8_t *)a->plane[i] + a->stride[i] * y, (uint8_t *)b->plane[i] + b->stride[i] * y,
                       (size_t)a->width * sizeof(uint16_t)) != 0)
                return false;
    return true;
}

int upz_cuda_selftest(UpzCudaRun *run, const UprezModel *m, UprezError *err)
{
    Test t = {0};
    int w, h;
    size_of(m, &w, &h);
    int r = make(&t, m, w, h, err);
    /* all rows by one block, which then goes round its buffers as in large pictures; then a block a row */
    if (r >= 0) r = on_gpu(run, &t, 1, t.one, err);
    if (r >= 0) r = on_gpu(run, &t, run->blocks, t.got, err);
    if (r >= 0 && !equal(t.one, t.got))
        r = upz_fail(err, UPREZ_ERR_DEVICE, "the self-test failed: GPU %d gives another result when one "
                     "multiprocessor computes all of a picture; give -d cpu, and please report it",
                     run->home->index);
    if (r >= 0) r = reference(&t, m, run->ctx->cpu, err);
    if (r >= 0) {
        const double db = psnr(t.got, t.want);
        if (db < PSNR_LEAST)
            r = upz_fail(err, UPREZ_ERR_DEVICE, "the self-test failed: GPU %d and the CPU differ by "
                         "%.1f dB PSNR on a small picture, where %.0f are expected; give -d cpu, and "
                         "please report it", run->home->index, db, PSNR_LEAST);
    }
    uprez_picture_unref(&t.src);
    uprez_picture_unref(&t.one);
    uprez_picture_unref(&t.got);
    uprez_picture_unref(&t.want);
    upz_free_aligned(t.in);
    upz_free_aligned(t.out);
    return r;
}
