#include "base/thread.h"

#include <signal.h>
#include <time.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

int64_t upz_thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int upz_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

#if defined(__x86_64__)
unsigned upz_float_enter(void)
{
    const unsigned masked = 0x1f80, flush_to_zero = 1u << 15, denormals_are_zero = 1u << 6;
    unsigned before = _mm_getcsr();
    _mm_setcsr(masked | flush_to_zero | denormals_are_zero);
    return before;
}

void upz_float_leave(unsigned before) { _mm_setcsr(before); }
#else
unsigned upz_float_enter(void) { return 0; }
void upz_float_leave(unsigned before) { (void)before; }
#endif
