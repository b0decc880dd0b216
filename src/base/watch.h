/* A watch over a job: whether it is to end, and whether it still moves. Whoever waits for something
 * outside the program says so, and beats when something has come; who looks at the beats is no matter
 * of this room.
 *
 * Threads: safe anywhere. All functions take NULL: nobody watches. */
#ifndef UPZ_WATCH_H
#define UPZ_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* What can be waited for. */
typedef enum UpzStage {
    UPZ_STAGE_SOURCE,  /* bytes of the input */
    UPZ_STAGE_RESULT,  /* the place that the result is written to, or its reader */
    UPZ_STAGE_NETWORK, /* a picture from the engine */
    UPZ_STAGES
} UpzStage;

typedef struct UpzWatch {
    volatile int *asked; /* the caller's: non-zero there, or */
    volatile int cancel; /* here: end as soon as possible; asked may be NULL */
    _Atomic unsigned beats;
    _Atomic int inside[UPZ_STAGES]; /* how many threads */
} UpzWatch;

static inline bool upz_watch_ended(const UpzWatch *w)
{
    return w && (w->cancel || (w->asked && *w->asked));
}

static inline void upz_watch_beat(UpzWatch *w)
{
    if (w) atomic_fetch_add_explicit(&w->beats, 1, memory_order_relaxed);
}

static inline void upz_watch_enter(UpzWatch *w, UpzStage stage)
{
    if (w) atomic_fetch_add(&w->inside[stage], 1);
    upz_watch_beat(w);
}

static inline void upz_watch_leave(UpzWatch *w, UpzStage stage)
{
    if (w) atomic_fetch_sub(&w->inside[stage], 1);
    upz_watch_beat(w);
}

#endif
