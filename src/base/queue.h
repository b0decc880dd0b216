/* A bounded queue of pointers between two threads. */
#ifndef UPZ_QUEUE_H
#define UPZ_QUEUE_H

#include <stdint.h>
#include "error.h"

typedef struct UpzQueue UpzQueue;

int upz_queue_create(UpzQueue **out, int capacity, UprezError *err);
void upz_queue_destroy(UpzQueue **q); /* must be empty of what the caller owns */
/* Waits for room. 0, or UPREZ_EOF when the queue was closed (item stays the caller's). */
int upz_queue_push(UpzQueue *q, void *item);
/* Waits for an item, at most timeout_ns (< 0: forever). 0, UPREZ_AGAIN, or UPREZ_EOF when closed
 * and empty. */
int upz_queue_pop(UpzQueue *q, void **item, int64_t timeout_ns);
/* No more pushes; waiting threads wake. Items already there can still be popped. */
void upz_queue_close(UpzQueue *q);
/* Nanoseconds pushers and poppers have waited so far: who is the bottleneck. */
void upz_queue_waits(UpzQueue *q, int64_t *push_ns, int64_t *pop_ns);

int64_t upz_now_ns(void); /* monotonic */

#endif
