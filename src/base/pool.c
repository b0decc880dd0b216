#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/thread.h"

struct UpzPool {
    pthread_mutex_t lock;
    pthread_cond_t ready, finished;
    UpzWork *first;      /* oldest first: frames finish in order */
    uint64_t generation; /* counts events that may have made work ready */
    int n_threads, sleeping;
    bool quit;
    struct UpzWorker {
        pthread_t thread;
        UpzPool *pool;
        int index;
    } *workers;
};

static void finish(UpzPool *p, UpzWork *w)
{
    for (UpzWork **at = &p->first; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    w->done = true;
    pthread_cond_broadcast(&p->finished);
}

/* Takes one step of the oldest work that has something to do; false if none has. Called and
 * returns with the lock held. */
static bool step_any(UpzPool *p, int index)
{
    UpzWork *w = p->first;
    while (w) {
        w->users++;
        pthread_mutex_unlock(&p->lock);
        UpzStep r = w->step(w->arg, index);
        pthread_mutex_lock(&p->lock);
        w->users--;
        if (r == UPZ_STEP_DONE) finish(p, w);
        if (w->done && !w->users) pthread_cond_broadcast(&p->finished);
        if (r != UPZ_STEP_IDLE) {
            p->generation++;
            if (p->sleeping) pthread_cond_broadcast(&p->ready);
            return true;
        }
        if (w->done) return true; /* its next pointer is no longer ours to follow */
        w = w->next;
    }
    return false;
}

static void *worker_main(void *arg)
{
    struct UpzWorker *me = arg;
    UpzPool *p = me->pool;
    upz_float_enter();
    pthread_mutex_lock(&p->lock);
    while (!p->quit) {
        uint64_t seen = p->generation;
        if (step_any(p, me->index)) continue;
        while (!p->quit && p->generation == seen) {
            p->sleeping++;
            pthread_cond_wait(&p->ready, &p->lock);
            p->sleeping--;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int upz_pool_create(UpzPool **out, int threads, UprezError *err)
{
    *out = NULL;
    UpzPool *p = upz_calloc(1, sizeof(*p));
    if (p) p->workers = upz_calloc((size_t)threads, sizeof(*p->workers));
    if (!p || !p->workers) {
        upz_free(p);
        return upz_fail_memory(err, sizeof(*p), "the thread pool");
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->ready, NULL);
    pthread_cond_init(&p->finished, &attr);
    pthread_condattr_destroy(&attr);

    int failed = 0;
    for (int i = 0; i < threads && !failed; i++) {
        p->workers[i] = (struct UpzWorker){.pool = p, .index = i};
        failed = upz_thread_start(&p->workers[i].thread, worker_main, &p->workers[i]);
        if (!failed) p->n_threads++;
    }
    if (failed) {
        upz_pool_destroy(&p);
        return upz_fail(err, UPREZ_ERR_MEMORY,
                        "cannot start %d worker threads; try fewer with --threads", threads);
    }
    *out = p;
    return 0;
}

void upz_pool_destroy(UpzPool **pool)
{
    UpzPool *p = *pool;
    if (!p) return;
    *pool = NULL;
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_cond_broadcast(&p->ready);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_threads; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->ready);
    pthread_cond_destroy(&p->finished);
    pthread_mutex_destroy(&p->lock);
    upz_free(p->workers);
    upz_free(p);
}

int upz_pool_size(const UpzPool *p) { return p->n_threads; }

void upz_pool_submit(UpzPool *p, UpzWork *w, UpzStepFn step, void *arg)
{
    *w = (UpzWork){.step = step, .arg = arg};
    pthread_mutex_lock(&p->lock);
    UpzWork **at = &p->first;
    while (*at) at = &(*at)->next;
    *at = w;
    p->generation++;
    pthread_cond_broadcast(&p->ready);
    pthread_mutex_unlock(&p->lock);
}

int upz_pool_wait(UpzPool *p, UpzWork *w, int64_t timeout_ns)
{
    struct timespec until;
    if (timeout_ns > 0) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_ns / 1000000000;
        until.tv_nsec += timeout_ns % 1000000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
    }
    int r = 0;
    pthread_mutex_lock(&p->lock);
    while (!w->done || w->users) {
        if (timeout_ns < 0) {
            pthread_cond_wait(&p->finished, &p->lock);
        } else if (!timeout_ns ||
                   pthread_cond_timedwait(&p->finished, &p->lock, &until) == ETIMEDOUT) {
            if (!w->done || w->users) r = UPREZ_AGAIN;
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* What upz_pool_run gives to the workers: the caller sits on the last one's seat. */
typedef struct Shared {
    UpzStepFn step;
    void *arg;
    int seat;
} Shared;

static UpzStep shared_step(void *arg, int worker)
{
    const Shared *s = arg;
    return worker == s->seat ? UPZ_STEP_IDLE : s->step(s->arg, worker);
}

void upz_pool_run(UpzPool *p, UpzStepFn step, void *arg)
{
    Shared s = {step, arg, p->n_threads - 1};
    UpzWork w;
    UpzStep r;
    if (s.seat > 0) upz_pool_submit(p, &w, shared_step, &s);
    unsigned mode = upz_float_enter();
    while ((r = step(arg, s.seat)) == UPZ_STEP_DID) {}
    upz_float_leave(mode);
    if (s.seat == 0) return;
    if (r == UPZ_STEP_DONE) {
        pthread_mutex_lock(&p->lock);
        finish(p, &w);
        pthread_mutex_unlock(&p->lock);
    }
    upz_pool_wait(p, &w, -1);
}

typedef struct ForLoop {
    void (*fn)(void *, int, int);
    void *arg;
    int n;
    atomic_int next, finished;
} ForLoop;

static UpzStep for_step(void *arg, int worker)
{
    ForLoop *l = arg;
    int i = atomic_fetch_add(&l->next, 1);
    if (i >= l->n) {
        atomic_store(&l->next, l->n);
        return UPZ_STEP_IDLE;
    }
    l->fn(l->arg, i, worker);
    return atomic_fetch_add(&l->finished, 1) + 1 == l->n ? UPZ_STEP_DONE : UPZ_STEP_DID;
}

void upz_pool_for(UpzPool *p, int n, void (*fn)(void *, int, int), void *arg)
{
    if (n <= 0) return;
    ForLoop l = {.fn = fn, .arg = arg, .n = n};
    upz_pool_run(p, for_step, &l);
}
