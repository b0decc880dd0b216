/* Worker threads and the one way to give them work.
 *
 * Work is a step function. A worker calls it again and again; each call does one piece of work
 * (0.1 to a few ms) and says whether there is more. The function keeps its own dependencies (with
 * its own lock or atomics), so layers and frames overlap without barriers: when the oldest work has
 * nothing ready, workers take pieces of the next one.
 *
 * Workers compute in the float mode of base/thread.h.
 *
 * Threads: submit, wait, run and for from any thread except a worker. */
#ifndef UPZ_POOL_H
#define UPZ_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include "error.h"

typedef struct UpzPool UpzPool;

typedef enum UpzStep {
    UPZ_STEP_DID,  /* a piece was done; other pieces may have become ready */
    UPZ_STEP_IDLE, /* nothing can be started now: another worker is busy with what it waits for */
    UPZ_STEP_DONE  /* the last piece is finished; said exactly once */
} UpzStep;

/* worker: 0 … upz_pool_size()-1, constant per thread: an index for scratch memory. */
typedef UpzStep (*UpzStepFn)(void *arg, int worker);

/* The caller's memory; untouched by the caller between submit and a successful wait. */
typedef struct UpzWork {
    UpzStepFn step;
    void *arg;
    struct UpzWork *next;
    int users;
    bool done;
} UpzWork;

int upz_pool_create(UpzPool **out, int threads, UprezError *err);
void upz_pool_destroy(UpzPool **pool); /* all work must have been waited for */
int upz_pool_size(const UpzPool *pool);

void upz_pool_submit(UpzPool *pool, UpzWork *work, UpzStepFn step, void *arg); /* never blocks */
/* 0 when done; UPREZ_AGAIN after timeout_ns (< 0: none). */
int upz_pool_wait(UpzPool *pool, UpzWork *work, int64_t timeout_ns);

/* Blocking, for steps whose pieces do not wait for each other: the calling thread does pieces too,
 * in the place of the last worker, whose index it has. Scratch memory must be the work's own. */
void upz_pool_run(UpzPool *pool, UpzStepFn step, void *arg);

/* The same with fn(arg, i, worker) for i in 0 … n-1. */
void upz_pool_for(UpzPool *pool, int n, void (*fn)(void *arg, int i, int worker), void *arg);

#endif
