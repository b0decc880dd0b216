/* Every allocation of ours failing in turn: an error of class MEMORY (or none, where the memory was
 * for a convenience), nothing leaked, never a crash. The linker's --wrap puts the counters in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "job/job.h"
#include "tiny_model.h"
#include "uprez/uprez.h"
#include "video/still.h"
#include "skip.h"

/* ---- counted allocations ---- */

static atomic_long calls, fail_at, live; /* fail_at: 0 = none */
static atomic_bool for_good;             /* all from fail_at on */

static bool fails(void)
{
    long n = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&fail_at);
    return at && (n == at || (n > at && atomic_load(&for_good)));
}

static void *counted(void *p)
{
    if (p) atomic_fetch_add(&live, 1);
    return p;
}

/* The real ones, and what the rest of the program calls in their place. */
void *__real_upz_calloc(size_t n, size_t size);
void *__real_upz_realloc(void *ptr, size_t n, size_t size);
void *__real_upz_alloc_aligned(size_t bytes);
void __real_upz_free(void *ptr);
void __real_upz_free_aligned(void *ptr);
char *__real_upz_strdup(const char *s);
bool __real_upz_grow(void *items, size_t *cap, size_t need, size_t item, size_t max);
void *__wrap_upz_calloc(size_t n, size_t size);
void *__wrap_upz_realloc(void *ptr, size_t n, size_t size);
void *__wrap_upz_alloc_aligned(size_t bytes);
void __wrap_upz_free(void *ptr);
void __wrap_upz_free_aligned(void *ptr);
char *__wrap_upz_strdup(const char *s);
char *__wrap_upz_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool __wrap_upz_grow(void *items, size_t *cap, size_t need, size_t item, size_t max);

void *__wrap_upz_calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__real_upz_calloc(n, size));
}
void *__wrap_upz_realloc(void *ptr, size_t n, size_t size)
{
    if (fails()) return NULL;
    void *p = __real_upz_realloc(ptr, n, size);
    return ptr ? p : counted(p);
}
void *__wrap_upz_alloc_aligned(size_t bytes)
{
    return fails() ? NULL : counted(__real_upz_alloc_aligned(bytes));
}
char *__wrap_upz_strdup(const char *s) { return fails() ? NULL : counted(__real_upz_strdup(s)); }
char *__wrap_upz_asprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = fails() ? -1 : vasprintf(&s, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : counted(s);
}
bool __wrap_upz_grow(void *items, size_t *cap, size_t need, size_t item, size_t max)
{
    void *before, *after;
    if (need > *cap && fails()) return false;
    memcpy(&before, items, sizeof(before));
    bool ok = __real_upz_grow(items, cap, need, item, max);
    memcpy(&after, items, sizeof(after));
    if (!before) counted(after);
    return ok;
}
void __wrap_upz_free(void *ptr)
{
    if (ptr) atomic_fetch_sub(&live, 1);
    __real_upz_free(ptr);
}
void __wrap_upz_free_aligned(void *ptr)
{
    if (ptr) atomic_fetch_sub(&live, 1);
    __real_upz_free_aligned(ptr);
}

/* ---- what is swept ---- */

static char dir[64], clip[128];
static const char *input = clip;

/* A model from a file, an upscaler, pictures through it: one, the same again, and one that differs in a corner. */
static int upscale(const char *name, UprezError *err)
{
    UprezContextParams cp = {.size = sizeof(cp), .threads = 2};
    UprezContext *ctx = NULL;
    UprezModel *model = NULL;
    Uprez *u = NULL;
    UprezPicture *src = NULL, *dst = NULL;
    UprezFormat f;
    int r = uprez_context_create(&ctx, &cp, err);
    if (r >= 0) r = uprez_model_load(&model, ctx, name, NULL, err);
    if (r >= 0) r = uprez_format_from_name(&f, "yuv420p");
    UprezModel *chain[] = {model};
    UprezParams p = {.size = sizeof(p), .models = chain, .n_models = 1, .width = 130, .height = 38};
    if (r >= 0) p.format = f;
    if (r >= 0) r = uprez_create(&u, ctx, &p, err);
    for (int k = 0; r >= 0 && k < 3; k++) {
        r = uprez_picture_alloc(&src, &f, 64, 18, err);
        for (int i = 0; r >= 0 && i < 3; i++)
            memset(src->plane[i], 90 + 20 * i, (size_t)src->stride[i] * (i ? 9 : 18));
        if (r >= 0 && k == 2) memset(src->plane[0], 7, 1);
        if (r >= 0 && !k) r = uprez_plan(u, src, NULL, err);
        if (r >= 0) r = uprez_send(u, src, err);
        uprez_picture_unref(&src);
        if (r >= 0) r = uprez_receive(u, &dst, -1, err);
        if (r >= 0) assert_int_equal(dst->width, 130);
        uprez_picture_unref(&dst);
    }
    UprezCounts counts = {.size = sizeof(counts)};
    UprezError ignored;
    if (r >= 0) assert_int_equal(uprez_counts(u, &counts, &ignored), 0);
    if (r >= 0 && !atomic_load(&fail_at)) assert_int_equal(counts.repeated, 1); /* else it may be none */
    uprez_destroy(&u);
    uprez_model_unref(&model);
    uprez_context_destroy(&ctx);
    return r;
}

/* A whole video job. */
static int job(const char *output, UprezError *err)
{
    static const char *const models[] = {"bicubic"};
    UprezContextParams cp = {.size = sizeof(cp), .threads = 1};
    UprezContext *ctx = NULL;
    UpzJobParams p;
    UpzJobResult result;
    upz_job_params_init(&p);
    p.input = input;
    p.output = output;
    p.models = models;
    p.n_models = 1;
    p.upscale.scale = 1.5;
    p.overwrite = true;
    int r = uprez_context_create(&ctx, &cp, err);
    if (r >= 0) r = upz_job_run(ctx, &p, &result, err);
    uprez_context_destroy(&ctx);
    return r;
}

/* Counts the allocations of an undisturbed run, then lets each of them (at most `most`, evenly
 * chosen) fail: alone, and with all behind it. */
static void sweep(int (*run)(const char *, UprezError *), const char *name, long most)
{
    UprezError err = {0};
    atomic_store(&fail_at, 0);
    atomic_store(&calls, 0);
    long before = atomic_load(&live);
    int r = run(name, &err);
    if (r < 0) fail_msg("%s: %d %s", name, r, err.text);
    assert_int_equal(atomic_load(&live), before);
    long total = atomic_load(&calls), errors = 0, step = total > most ? total / most : 1;
    assert_true(total > 10);
    for (int good = 0; good < 2; good++)
        for (long n = 1; n <= total; n += step) {
            err = (UprezError){0};
            atomic_store(&for_good, good);
            atomic_store(&calls, 0);
            atomic_store(&fail_at, n);
            r = run(name, &err);
            atomic_store(&fail_at, 0);
            errors += r < 0;
            if (r < 0 && (r != UPREZ_ERR_MEMORY || err.code != r || !err.text[0]))
                fail_msg("%s: allocation %ld of %ld%s: %d %s", name, n, total,
                         good ? " and all behind it" : "", r, err.text);
            if (r >= 0 && good && n <= total / 2)
                fail_msg("%s: without memory from allocation %ld of %ld on all went well", name, n,
                         total);
            if (atomic_load(&live) != before)
                fail_msg("%s: allocation %ld of %ld%s failed, %ld blocks leaked", name, n, total,
                         good ? " and all behind it" : "", (long)atomic_load(&live) - before);
        }
    print_message("%s: %ld allocations, %ld errors\n", name, total, errors);
}

static void models_and_upscalers(void **state)
{
    (void)state;
    char path[128];
    TinyFile t;
    tiny_srvgg(&t, 16, 2, 2, 1);
    snprintf(path, sizeof(path), "%s/tiny.safetensors", dir);
    UprezError err;
    assert_int_equal(upz_write_atomic(path, t.data, t.size, &err), 0);
    free(t.data);
    sweep(upscale, path, 1000);
    sweep(upscale, "lanczos", 1000);
}

/* Files of every kind, as far as they are here. */
static void readers(void **state)
{
    (void)state;
    static const char *const files[] = {
        "pytorch/espcn_2x.pth", "pytorch/fsrcnn_x2.pth", "pytorch/sudo_UltraCompact_2x_1.121.175_G.pth",
        "ncnn/realesr-animevideov3-x2.param", "onnx/2x_AnimeJaNai_HD_V3_SuperUltraCompact-fp16.onnx"};
    const char *shared = getenv("SHARED");
    int n = 0;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        char path[600];
        snprintf(path, sizeof(path), "%s/models/%s", shared ? shared : "../shared", files[i]);
        if (!upz_exists(path)) continue;
        sweep(upscale, path, 120);
        n++;
    }
    if (!n) {
        SKIP_BECAUSE("no models at $SHARED");
    }
}

static void jobs(void **state)
{
    (void)state;
    char output[128];
    snprintf(output, sizeof(output), "%s/out.mkv", dir);
    sweep(job, output, 1000);
    snprintf(output, sizeof(output), "%s/out.y4m", dir);
    sweep(job, output, 60);
    char picture[128];
    UprezFormat f;
    UprezPicture *p;
    UprezError err = {0};
    assert_int_equal(uprez_format_from_name(&f, "rgba"), 0);
    assert_int_equal(uprez_picture_alloc(&p, &f, 20, 14, &err), 0);
    for (int y = 0; y < 14; y++)
        for (int i = 0; i < 80; i++) ((uint8_t *)p->plane[0])[y * p->stride[0] + i] = (uint8_t)(i * 3 + y);
    snprintf(picture, sizeof(picture), "%s/in.png", dir);
    UpzStillInfo info = {.orientation = 6, .density = {.x = 11811, .y = 11811, .metre = true}};
    assert_int_equal(upz_still_write(picture, p, &info, 0, &err), 0);
    uprez_picture_unref(&p);
    input = picture;
    static const char *const names[] = {"out.png", "out.jpg", "out.webp", "out.tif"};
    for (int i = 0; i < 4; i++) {
        snprintf(output, sizeof(output), "%s/%s", dir, names[i]);
        sweep(job, output, 1000);
    }
    input = clip;
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/memory_test.XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(clip, sizeof(clip), "%s/clip.y4m", dir);
    FILE *f = fopen(clip, "wb");
    if (!f) return -1;
    fprintf(f, "YUV4MPEG2 W32 H24 F25:1 Ip A1:1 C420mpeg2\n");
    for (int i = 0; i < 6; i++) {
        fprintf(f, "FRAME\n");
        for (int k = 0; k < 32 * 24 * 3 / 2; k++) fputc(k < 32 * 24 ? 40 + k % 97 + i * 9 : 128, f);
    }
    return fclose(f);
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    FILE *p = popen(command, "r");
    return p ? pclose(p) : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_and_upscalers),
        cmocka_unit_test(readers),
        cmocka_unit_test(jobs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
