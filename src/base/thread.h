/* Threads that leave signals to the program. */
#ifndef UPZ_THREAD_H
#define UPZ_THREAD_H

#include <pthread.h>

/* pthread_create with every signal blocked in the new thread: handlers run on the program's own
 * threads, and no call of ours is interrupted. 0, or an errno value. */
int upz_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg);

#endif
