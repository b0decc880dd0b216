/* Pool, queue, files, hashes, checked sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "base/file.h"
#include "base/queue.h"
#include "skip.h"

static void add_one(void *arg, int i, int worker)
{
    (void)worker;
    atomic_int *hits = arg;
    atomic_fetch_add(&hits[i], 1);
}

static void pool_runs_each_item_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        UpzPool *p;
        assert_int_equal(upz_pool_create(&p, threads, NULL), 0);
        for (int round = 0; round < 200; round++) {
            static atomic_int hits[97];
            int n = round % 97 + 1;
            for (int i = 0; i < n; i++) atomic_store(&hits[i], 0);
            upz_pool_for(p, n, add_one, hits);
            for (int i = 0; i < n; i++) assert_int_equal(atomic_load(&hits[i]), 1);
        }
        upz_pool_destroy(&p);
        assert_null(p);
    }
}

/* Who did pieces, and whether two ever did them on one seat at once. */
typedef struct Seats {
    atomic_int next, finished, busy[8], clash, by_caller;
    pthread_t caller;
    int n;
} Seats;

static UpzStep sit(void *arg, int worker)
{
    Seats *s = arg;
    int i = atomic_fetch_add(&s->next, 1);
    if (i >= s->n) return UPZ_STEP_IDLE;
    if (atomic_exchange(&s->busy[worker], 1)) atomic_store(&s->clash, 1);
    if (pthread_equal(pthread_self(), s->caller)) atomic_fetch_add(&s->by_caller, 1);
    usleep(20);
    atomic_store(&s->busy[worker], 0);
    return atomic_fetch_add(&s->finished, 1) + 1 == s->n ? UPZ_STEP_DONE : UPZ_STEP_DID;
}

static void callers_share_the_work(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        UpzPool *p;
        int by_caller = 0;
        assert_int_equal(upz_pool_create(&p, threads, NULL), 0);
        for (int round = 0; round < 100; round++) {
            Seats s = {.caller = pthread_self(), .n = round % 7 + 1};
            upz_pool_run(p, sit, &s);
            assert_int_equal(s.finished, s.n);
            assert_int_equal(s.clash, 0);
            by_caller += s.by_caller;
            if (threads == 1) assert_int_equal(s.by_caller, s.n);
        }
        assert_true(by_caller > 0);
        upz_pool_destroy(&p);
    }
}

#if defined(__x86_64__)
static void note_mode(void *arg, int i, int worker)
{
    (void)worker;
    volatile float tiny = 1e-30f, small = 1e-15f;
    unsigned *modes = arg;
    modes[i] = _mm_getcsr() & 0xffc0;
    if (tiny * small != 0) modes[i] = 0; /* 1e-45: a denormal */
    usleep(50);
}

/* All arithmetic: round to nearest, denormals are zero, whatever mode the program itself is in. */
static void workers_take_denormals_for_zero(void **state)
{
    (void)state;
    enum { ITEMS = 64 };
    const unsigned wanted = 0x1f80 | 0x8000 | 0x40, odd = 0x1f80 | 0x6000; /* odd: towards zero */
    for (int threads = 1; threads <= 4; threads += 3)
        for (int mode = 0; mode < 2; mode++) {
            unsigned modes[ITEMS] = {0}, before = _mm_getcsr();
            if (mode) _mm_setcsr(odd);
            UpzPool *p;
            assert_int_equal(upz_pool_create(&p, threads, NULL), 0);
            upz_pool_for(p, ITEMS, note_mode, modes);
            unsigned after = _mm_getcsr();
            _mm_setcsr(before);
            for (int i = 0; i < ITEMS; i++) assert_int_equal(modes[i], wanted & 0xffc0);
            assert_int_equal(after & 0xffc0, (mode ? odd : before) & 0xffc0);
            upz_pool_destroy(&p);
        }
}
#endif

/* A chain: piece i may only start when piece i - 1 is done. */
typedef struct Chain {
    pthread_mutex_t lock;
    int next, running, n, order_broken;
} Chain;

static UpzStep chain_step(void *arg, int worker)
{
    (void)worker;
    Chain *c = arg;
    pthread_mutex_lock(&c->lock);
    if (c->running || c->next == c->n) {
        pthread_mutex_unlock(&c->lock);
        return UPZ_STEP_IDLE;
    }
    int mine = c->next;
    c->running = 1;
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_lock(&c->lock);
    if (c->next != mine) c->order_broken = 1;
    c->next++;
    c->running = 0;
    bool last = c->next == c->n;
    pthread_mutex_unlock(&c->lock);
    return last ? UPZ_STEP_DONE : UPZ_STEP_DID;
}

static void pool_overlaps_dependent_work(void **state)
{
    (void)state;
    UpzPool *p;
    assert_int_equal(upz_pool_create(&p, 3, NULL), 0);
    for (int round = 0; round < 100; round++) {
        Chain c[4];
        UpzWork w[4];
        for (int i = 0; i < 4; i++) {
            c[i] = (Chain){.n = 50};
            pthread_mutex_init(&c[i].lock, NULL);
            upz_pool_submit(p, &w[i], chain_step, &c[i]);
        }
        for (int i = 0; i < 4; i++) {
            assert_int_equal(upz_pool_wait(p, &w[i], -1), 0);
            assert_int_equal(c[i].next, 50);
            assert_int_equal(c[i].order_broken, 0);
            pthread_mutex_destroy(&c[i].lock);
        }
    }
    upz_pool_destroy(&p);
}

static UpzStep stuck_step(void *arg, int worker)
{
    (void)worker;
    return atomic_load((atomic_int *)arg) ? (atomic_exchange((atomic_int *)arg, 0) ? UPZ_STEP_DONE
                                                                                  : UPZ_STEP_IDLE)
                                          : UPZ_STEP_IDLE;
}

static void pool_wait_times_out(void **state)
{
    (void)state;
    UpzPool *p;
    UpzWork w, kick;
    atomic_int go = 0;
    assert_int_equal(upz_pool_create(&p, 2, NULL), 0);
    upz_pool_submit(p, &w, stuck_step, &go);
    assert_int_equal(upz_pool_wait(p, &w, 0), UPREZ_AGAIN);
    assert_int_equal(upz_pool_wait(p, &w, 2000000), UPREZ_AGAIN);
    atomic_store(&go, 1);
    atomic_int go2 = 1;
    upz_pool_submit(p, &kick, stuck_step, &go2); /* any event wakes the workers */
    assert_int_equal(upz_pool_wait(p, &kick, -1), 0);
    assert_int_equal(upz_pool_wait(p, &w, -1), 0);
    upz_pool_destroy(&p);
}

static void *producer(void *arg)
{
    for (intptr_t i = 1; i <= 1000; i++) upz_queue_push(arg, (void *)i);
    upz_queue_close(arg);
    return NULL;
}

static void queue_keeps_order_and_bound(void **state)
{
    (void)state;
    UpzQueue *q;
    assert_int_equal(upz_queue_create(&q, 3, NULL), 0);
    void *item;
    assert_int_equal(upz_queue_pop(q, &item, 0), UPREZ_AGAIN);
    assert_int_equal(upz_queue_pop(q, &item, 1000000), UPREZ_AGAIN);
    pthread_t t;
    pthread_create(&t, NULL, producer, q);
    for (intptr_t i = 1; i <= 1000; i++) {
        assert_int_equal(upz_queue_pop(q, &item, -1), 0);
        assert_int_equal((intptr_t)item, i);
    }
    assert_int_equal(upz_queue_pop(q, &item, -1), UPREZ_EOF);
    assert_int_equal(upz_queue_push(q, q), UPREZ_EOF);
    pthread_join(t, NULL);
    upz_queue_destroy(&q);
}

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    size_t n = 7;
    assert_false(upz_mul_size(SIZE_MAX / 2, 3, &n));
    assert_int_equal(n, 7);
    assert_null(upz_calloc(SIZE_MAX / 2, 3));
    assert_null(upz_alloc_aligned(SIZE_MAX - 10));
    int *items = NULL;
    size_t cap = 0;
    assert_true(upz_grow(&items, &cap, 5, sizeof(*items), 100));
    assert_true(cap >= 5 && cap <= 100);
    assert_false(upz_grow(&items, &cap, 101, sizeof(*items), 100));
    upz_free(items);
}

static void files_are_replaced_whole(void **state)
{
    (void)state;
    char path[] = "/tmp/uprez-test-XXXXXX";
    close(mkstemp(path));
    UprezError err;
    UpzMap m;
    assert_int_equal(upz_map_open(&m, path, 100, UPREZ_ERR_MODEL, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "is empty"));
    assert_int_equal(upz_write_atomic(path, "abc", 3, &err), 0);
    assert_int_equal(upz_map_open(&m, path, 2, UPREZ_ERR_MODEL, &err), UPREZ_ERR_MODEL);
    assert_int_equal(upz_map_open(&m, path, 3, UPREZ_ERR_MODEL, &err), 0);
    assert_memory_equal(m.data, "abc", 3);
    upz_map_close(&m);
    char hex[UPZ_SHA256_HEX];
    assert_int_equal(upz_sha256_file(path, hex, UPREZ_ERR_MODEL, &err), 0);
    /* FIPS 180-2, appendix B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(upz_map_open(&m, "/", 100, UPREZ_ERR_INPUT, &err), UPREZ_ERR_INPUT);
    assert_int_equal(upz_write_atomic("/no/such/dir/x", "a", 1, &err), UPREZ_ERR_OUTPUT);
    unlink(path);
}

/* A file cut short by somebody else must not take its reader down with SIGBUS. */
static void files_survive_truncation(void **state)
{
    (void)state;
    enum { SIZE = 3 << 20 };
    char path[] = "/tmp/uprez-test-XXXXXX";
    close(mkstemp(path));
    uint8_t *data = upz_calloc(1, SIZE);
    for (int i = 0; i < SIZE; i++) data[i] = (uint8_t)(i * 2654435761u >> 24);
    assert_int_equal(upz_write_atomic(path, data, SIZE, NULL), 0);
    UpzMap m;
    assert_int_equal(upz_map_open(&m, path, SIZE, UPREZ_ERR_MODEL, NULL), 0);
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(m.size, SIZE);
    assert_memory_equal(m.data, data, SIZE);
    char a[UPZ_SHA256_HEX], b[UPZ_SHA256_HEX];
    upz_sha256(m.data, 100, a);
    assert_int_equal(upz_sha256_file(path, b, UPREZ_ERR_MODEL, NULL), 0);
    assert_string_equal(a, b);
    upz_map_close(&m);
    assert_null(m.data);
    upz_free(data);
    /* of any size */
    UprezError err;
    const size_t large = ((size_t)256 << 20) + 5;
    assert_int_equal(truncate(path, (off_t)large), 0);
    assert_int_equal(upz_map_open(&m, path, SIZE_MAX, UPREZ_ERR_MODEL, &err), 0);
    assert_int_equal(truncate(path, 100), 0);
    assert_true(m.size == large && m.data[99] == (uint8_t)(99 * 2654435761u >> 24));
    for (size_t i = 100; i < large; i += 4096) assert_int_equal(m.data[i], 0);
    upz_map_close(&m);
    unlink(path);
    assert_int_equal(upz_sha256_file("/", a, UPREZ_ERR_INPUT, &err), UPREZ_ERR_INPUT);
    assert_int_equal(upz_sha256_file(path, a, UPREZ_ERR_INPUT, &err), UPREZ_ERR_INPUT);
}

static void errors_stay_one_line(void **state)
{
    (void)state;
    UprezError err;
    assert_int_equal(upz_fail(&err, UPREZ_ERR_MODEL, "%s", "a\nb\033[31m"), UPREZ_ERR_MODEL);
    assert_string_equal(err.text, "a?b?[31m");
    assert_int_equal(upz_fail(NULL, UPREZ_ERR_INPUT, "x"), UPREZ_ERR_INPUT);
}

static void contexts_differ_in_level(void **state)
{
    (void)state;
    UprezContext *a = NULL, *b = NULL;
    UprezError err;
    UprezContextParams p = {.size = sizeof(p), .threads = 3, .cpu = "c"};
    assert_int_equal(uprez_context_create(&a, &p, &err), 0);
    assert_int_equal(uprez_context_create(&b, NULL, &err), 0);
    assert_string_equal(uprez_context_cpu(a), "c");
    assert_string_equal(uprez_context_cpu(b), upz_cpu_name(upz_cpu_detect()));
    assert_int_equal(uprez_context_threads(a), 3);
    uprez_context_destroy(&a);
    uprez_context_destroy(&b);
    p.cpu = "z80";
    assert_int_equal(uprez_context_create(&a, &p, &err), UPREZ_ERR_USAGE);
    assert_null(a);
    assert_non_null(strstr(err.text, upz_cpu_levels));
}

/* A level is a mask: its features are among those of the processor and of the next level. */
static void levels_are_masks(void **state)
{
    (void)state;
    for (int i = 0; i < UPZ_CPU_COUNT; i++) {
        const UprezContextParams p = {.size = sizeof(p), .threads = 1, .cpu = upz_cpu_name((UpzCpuLevel)i)};
        UprezContext *ctx = NULL;
        UprezError err;
        assert_int_equal(upz_cpu_from_name(p.cpu), i);
        const int r = uprez_context_create(&ctx, &p, &err);
        assert_int_equal(r, i <= (int)upz_cpu_detect() ? 0 : UPREZ_ERR_DEVICE);
        if (i) assert_true(upz_cpu_level_features((UpzCpuLevel)(i - 1)) < upz_cpu_level_features((UpzCpuLevel)i));
        if (r) continue;
        assert_int_equal(ctx->features & ~upz_cpu_features(), 0);
        assert_int_equal(ctx->features & ~upz_cpu_level_features((UpzCpuLevel)i), 0);
        if (!i) assert_int_equal(ctx->features, 0);
        uprez_context_destroy(&ctx);
    }
}

/* The kernel's own list of what processor and kernel offer. */
static void features_are_the_systems(void **state)
{
    (void)state;
#if defined(__x86_64__)
    static const struct {
        uint32_t feature;
        const char *flags[6];
    } rows[] = {
        {UPZ_HAS_AVX2, {" avx2 ", " fma ", " f16c ", " bmi2 "}},
        {UPZ_HAS_AVX512, {" avx512f ", " avx512dq ", " avx512cd ", " avx512bw ", " avx512vl "}},
        {UPZ_HAS_AVX512_VNNI, {" avx512f ", " avx512_vnni ", " avx512vbmi "}},
        {UPZ_HAS_AVX512_FP16, {" avx512f ", " avx512_fp16 "}},
        {UPZ_HAS_AMX_BF16, {" amx_tile ", " amx_bf16 "}},
        {UPZ_HAS_AMX_INT8, {" amx_tile ", " amx_int8 "}},
    };
    static char line[16384];
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof(line) - 1, f) && strncmp(line, "flags", 5) != 0) *line = 0;
    if (f) fclose(f);
    if (strncmp(line, "flags", 5) != 0) SKIP_BECAUSE("/proc/cpuinfo names no flags");
    line[strcspn(line, "\n")] = ' ';
    for (int i = 0; i < UPZ_COUNT(rows); i++) {
        bool all = true;
        for (int k = 0; k < UPZ_COUNT(rows[i].flags) && rows[i].flags[k]; k++)
            all = all && strstr(line, rows[i].flags[k]);
        if (all != !!(upz_cpu_features() & rows[i].feature)) fail_msg("%s is there: %d", rows[i].flags[0], all);
    }
#else
    assert_int_equal(upz_cpu_features(), 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_runs_each_item_once),
        cmocka_unit_test(callers_share_the_work),
#if defined(__x86_64__)
        cmocka_unit_test(workers_take_denormals_for_zero),
#endif
        cmocka_unit_test(pool_overlaps_dependent_work),
        cmocka_unit_test(pool_wait_times_out),
        cmocka_unit_test(queue_keeps_order_and_bound),
        cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(files_survive_truncation),
        cmocka_unit_test(errors_stay_one_line),
        cmocka_unit_test(contexts_differ_in_level),
        cmocka_unit_test(levels_are_masks),
        cmocka_unit_test(features_are_the_systems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
