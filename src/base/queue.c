#include "base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"

struct UpzQueue {
    pthread_mutex_t lock;
    pthread_cond_t room, filled;
    void **items;
    int cap, n, head;
    bool closed;
    int64_t push_ns, pop_ns;
};

int64_t upz_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int upz_queue_create(UpzQueue **out, int capacity, UprezError *err)
{
    *out = NULL;
    UpzQueue *q = upz_calloc(1, sizeof(*q));
    if (q) q->items = upz_calloc((size_t)capacity, sizeof(void *));
    if (!q || !q->items) {
        upz_free(q);
        return upz_fail_memory(err, (unsigned long long)capacity * sizeof(void *), "a queue");
    }
    q->cap = capacity;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->room, NULL);
    pthread_cond_init(&q->filled, &attr);
    pthread_condattr_destroy(&attr);
    *out = q;
    return 0;
}

void upz_queue_destroy(UpzQueue **pq)
{
    UpzQueue *q = *pq;
    if (!q) return;
    *pq = NULL;
    pthread_cond_destroy(&q->room);
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->lock);
    upz_free(q->items);
    upz_free(q);
}

int upz_queue_push(UpzQueue *q, void *item)
{
    int r = 0;
    pthread_mutex_lock(&q->lock);
    if (q->n == q->cap && !q->closed) {
        int64_t t = upz_now_ns();
        while (q->n == q->cap && !q->closed) pthread_cond_wait(&q->room, &q->lock);
        q->push_ns += upz_now_ns() - t;
    }
    if (q->closed) {
        r = UPREZ_EOF;
    } else {
        q->items[(q->head + q->n++) % q->cap] = item;
        pthread_cond_signal(&q->filled);
    }
    pthread_mutex_unlock(&q->lock);
    return r;
}

int upz_queue_pop(UpzQueue *q, void **item, int64_t timeout_ns)
{
    int r = 0;
    *item = NULL;
    pthread_mutex_lock(&q->lock);
    if (!q->n && !q->closed && timeout_ns) {
        int64_t t = upz_now_ns(), end = t + timeout_ns;
        struct timespec until = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
        while (!q->n && !q->closed) {
            if (timeout_ns < 0) pthread_cond_wait(&q->filled, &q->lock);
            else if (pthread_cond_timedwait(&q->filled, &q->lock, &until) == ETIMEDOUT) break;
        }
        q->pop_ns += upz_now_ns() - t;
    }
    if (q->n) {
        *item = q->items[q->head];
        q->head = (q->head + 1) % q->cap;
        q->n--;
        pthread_cond_signal(&q->room);
    } else {
        r = q->closed ? UPREZ_EOF : UPREZ_AGAIN;
    }
    pthread_mutex_unlock(&q->lock);
    return r;
}

void upz_queue_close(UpzQueue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->room);
    pthread_cond_broadcast(&q->filled);
    pthread_mutex_unlock(&q->lock);
}

void upz_queue_waits(UpzQueue *q, int64_t *push_ns, int64_t *pop_ns)
{
    pthread_mutex_lock(&q->lock);
    *push_ns = q->push_ns;
    *pop_ns = q->pop_ns;
    pthread_mutex_unlock(&q->lock);
}
