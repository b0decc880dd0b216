/* Threads that leave signals to the program, and the float mode all our arithmetic runs in. */
#ifndef UPZ_THREAD_H
#define UPZ_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* The processor's time that the calling thread has used, ns. */
int64_t upz_thread_cpu_ns(void);

/* pthread_create with every signal blocked in the new thread: handlers run on the program's own
 * threads, and no call of ours is interrupted. 0, or an errno value. */
int upz_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg);

/* Sets the calling thread to round to nearest and to take denormals for zero, as operands and as
 * results: they are beyond what any picture holds and a hundred times slower on some processors.
 * Whatever mode the program has set for itself, results are the same. Returns what to restore. */
unsigned upz_float_enter(void);
void upz_float_leave(unsigned before);

#endif
