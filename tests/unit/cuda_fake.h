/* Engine cuda on the emulated driver (tests/fake/cuda): its memory, pictures there and here, upscalers. */
#ifndef CUDA_FAKE_H
#define CUDA_FAKE_H

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_nets.h"
#include "engine/cuda/cuda_api.h"
#include "engine/engine.h"
#include "picture/convert.h"
#include "picture/format.h"
#include "steady.h"
#include "uprez/uprez.h"

extern const UpzEngineOps upz_engine_cuda;

static UprezContext *ctx;
static UprezError err;
static char fake_path[4096], lines[8192];
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

/* ---- pictures ---- */

static inline uint8_t *sample(const UprezPicture *p, int c, int x, int y)
{
    const UprezComponent *k = &p->format.comp[c];
    return (uint8_t *)p->plane[k->plane] + p->stride[k->plane] * y + k->offset + x * k->step;
}

static inline double code(const UprezPicture *p, int c, int x, int y)
{
    const uint8_t *at = sample(p, c, x, y);
    if (p->format.depth == 32) return *(const float *)(const void *)at;
    return p->format.depth == 8 ? *at : *(const uint16_t *)(const void *)at >> p->format.shift;
}

/* Waves, noise, and bars of black and white, around which networks and filters overshoot. */
static inline UprezPicture *picture(const char *format, int w, int h, int n)
{
    UprezFormat f;
    UprezPicture *p;
    uint32_t s = 7u + (uint32_t)n;
    OK(uprez_format_from_name(&f, format));
    p = steady(&f, w, h);
    for (int c = 0; c < f.n_comp; c++)
        for (int y = 0; y < upz_component_height(&f, c, h); y++)
            for (int x = 0; x < upz_component_width(&f, c, w); x++) {
                s = s * 1664525u + 1013904223u;
                double v = 0.5 + 0.3 * sin((x + n) * 0.4 + c) * cos(y * 0.3 - c) +
                           ((double)(s >> 24) / 255 - 0.5) * 0.15;
                if (x / 6 % 3 == 1 && y / 3 % 2) v = x / 18 % 2;
                if (f.depth == 32) *(float *)(void *)sample(p, c, x, y) = (float)v;
                else if (f.depth == 8) *sample(p, c, x, y) = (uint8_t)(v * 255);
                else *(uint16_t *)(void *)sample(p, c, x, y) =
                         (uint16_t)((unsigned)(v * ((1 << f.depth) - 1)) << f.shift);
            }
    p->color.matrix = f.model == UPREZ_YUV ? 1 : 0;
    upz_color_resolve(&p->color, &f, w, h);
    p->pts = n;
    return p;
}

static inline bool equal(const UprezPicture *a, const UprezPicture *b)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            if (memcmp((uint8_t *)a->plane[i] + a->stride[i] * y, (uint8_t *)b->plane[i] + b->stride[i] * y,
                       upz_plane_row_bytes(&a->format, i, a->width)) != 0)
                return false;
    return true;
}

static inline double psnr(const UprezPicture *got, const UprezPicture *want, double *most)
{
    const UprezFormat *f = &got->format;
    const double full = f->depth == 32 ? 1 : (1 << f->depth) - 1;
    double sum = 0, n = 0;
    *most = 0;
    assert_int_equal(got->width, want->width);
    assert_int_equal(got->height, want->height);
    for (int c = 0; c < f->n_comp - f->alpha; c++)
        for (int y = 0; y < upz_component_height(f, c, got->height); y++)
            for (int x = 0; x < upz_component_width(f, c, got->width); x++, n++) {
                const double d = (code(got, c, x, y) - code(want, c, x, y)) / full;
                sum += d * d;
                *most = fmax(*most, fabs(d) * 255);
            }
    return sum > 0 ? 10 * log10(n / sum) : 999;
}

/* most: codes of 8 bits */
static inline void near(const UprezPicture *got, const UprezPicture *want, const char *what)
{
    double most, low = 1e9, high = -1e9;
    for (int y = 0; y < want->height; y++)
        for (int x = 0; x < want->width; x++) {
            low = fmin(low, code(want, 0, x, y));
            high = fmax(high, code(want, 0, x, y));
        }
    assert_true(high - low > (want->format.depth == 32 ? 0.05 : (1 << want->format.depth) / 20.0)); /* not flat */
    const double db = psnr(got, want, &most);
    if (db < 50 || most > 2) fail_msg("%s: %.1f dB, %.2f codes", what, db, most);
}

static inline void free_device(void *cookie)
{
    CU(cu.release((uint64_t)(uintptr_t)cookie));
}

static inline void copy_planes(const UprezPicture *dst, const UprezPicture *src, void *stream)
{
    const bool up = dst->memory == UPREZ_MEM_CUDA;
    for (int i = 0; i < src->format.n_plane; i++) {
        UpzCudaCopy c = {.src_memory = up ? UPZ_CUDA_HOST : UPZ_CUDA_DEVICE,
                         .dst_memory = up ? UPZ_CUDA_DEVICE : UPZ_CUDA_HOST,
                         .src_host = src->plane[i], .src_device = (uint64_t)(uintptr_t)src->plane[i],
                         .dst_host = dst->plane[i], .dst_device = (uint64_t)(uintptr_t)dst->plane[i],
                         .src_pitch = (size_t)src->stride[i], .dst_pitch = (size_t)dst->stride[i],
                         .width_bytes = upz_plane_row_bytes(&src->format, i, src->width),
                         .height = (size_t)upz_plane_height(&src->format, i, src->height)};
        CU(cu.copy_rows(&c, stream));
    }
}

/* Memory of the current context for a picture like this; rows with odd pitches, as decoders have them. */
static inline UprezPicture *room_on_device(const UprezPicture *like, void *stream)
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
    for (int i = 0; i < like->format.n_plane; i++) desc.plane[i] = (void *)(uintptr_t)(at + offset[i]);
    OK(uprez_picture_wrap(&p, &desc, free_device, (void *)(uintptr_t)at, &err));
    return p;
}

static inline UprezPicture *on_device(const UprezPicture *like, void *stream)
{
    UprezPicture *p = room_on_device(like, stream);
    copy_planes(p, like, stream);
    return p;
}

static inline UprezPicture *to_host(const UprezPicture *p)
{
    UprezPicture *dst;
    OK(uprez_picture_alloc(&dst, &p->format, p->width, p->height, &err));
    dst->color = p->color;
    copy_planes(dst, p, p->stream);
    CU(cu.stream_finish(p->stream));
    return dst;
}

/* ---- upscalers ---- */

static inline Uprez *upscaler(UprezModel *m, UprezParams p)
{
    Uprez *u;
    p.size = sizeof(p);
    p.models = &m;
    p.n_models = 1;
    p.runtime_path = fake_path;
    OK(uprez_create(&u, ctx, &p, &err));
    return u;
}

static inline UprezPicture *result(UprezModel *m, UprezParams p, const UprezPicture *src)
{
    UprezPicture *out;
    Uprez *u = upscaler(m, p);
    OK(uprez_run(u, src, &out, &err));
    uprez_destroy(&u);
    return out;
}

static inline void capability(int cc)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", cc);
    setenv("FAKE_CUDA_CC", text, 1);
}

/* ---- setting up ---- */

static inline void keep_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    if (level > UPREZ_LOG_WARNING) return;
    const size_t n = strlen(lines);
    snprintf(lines + n, sizeof(lines) - n, "%s\n", line);
}

static inline int fake_setup(void **state)
{
    (void)state;
    const UprezContextParams params = {.size = sizeof(params), .threads = 2, .log = keep_line};
    OK(uprez_context_create(&ctx, &params, &err));
    return 0;
}

static inline int fake_teardown(void **state)
{
    (void)state;
    uprez_context_destroy(&ctx);
    return 0;
}

/* One of the driver's functions that is there for tests, or NULL. */
static inline void *driver_function(const char *name)
{
    char path[4200];
    snprintf(path, sizeof(path), "%s/libcuda.so.1", fake_path);
    void *handle = dlopen(path, RTLD_NOW);
    return handle ? dlsym(handle, name) : NULL;
}

/* False, and why: there is nothing to test with. */
static inline bool fake_driver(void)
{
    char path[4200];
    if (upz_engine_cuda.missing) {
        printf("SKIP: %s\n", upz_engine_cuda.missing);
        return false;
    }
    const char *build = getenv("BUILD_ROOT");
    snprintf(fake_path, sizeof(fake_path), "%s/tests/fake/cuda", build ? build : ".");
    capability(90);
    snprintf(path, sizeof(path), "%s/libcuda.so.1", fake_path);
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle || upz_cuda_open(&cu, fake_path, &err) < 0) {
        printf("SKIP: no driver to try: %s\n", handle ? err.text : dlerror());
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
        if (!f) {
            printf("SKIP: no driver to try: %s\n", dlerror());
            return false;
        }
        memcpy(extra[i].to, &f, sizeof(f));
    }
    return true;
}

#endif
