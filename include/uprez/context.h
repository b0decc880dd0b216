/* A context: the log, the worker threads and the processor level everything else runs with.
 *
 * Two contexts are independent in everything. Threads: create and destroy from one thread; all
 * other uses are safe from any thread. Objects made with a context keep it alive. */
#ifndef UPREZ_CONTEXT_H
#define UPREZ_CONTEXT_H

#include <stddef.h>
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct UprezContext UprezContext; /* opaque; see the top of this file */

/* What a line of the log is about; UprezContextParams.log gets it. */
enum UprezLogLevel {
    UPREZ_LOG_ERROR,   /* the caller's request failed */
    UPREZ_LOG_WARNING, /* the result differs from what one might expect */
    UPREZ_LOG_INFO,    /* once per run */
    UPREZ_LOG_DEBUG    /* for developers; never per frame */
};

/* For uprez_context_create. A field that is 0 has its default. */
typedef struct UprezContextParams {
    size_t size;     /* sizeof(UprezContextParams) */
    int threads;     /* workers, 1..256; 0 = what affinity mask and cgroup quota allow */
    const char *cpu; /* highest processor level to use: "c", "avx2", "avx512",
                        "avx512vnni", "avx512fp16", "amx"; NULL = best here */
    void (*log)(void *cookie, int level, const char *line); /* any thread; line has no newline */
    void *log_cookie; /* handed to log */
} UprezContextParams;

/* params may be NULL. *out is NULL on failure. Fails with USAGE (unknown level), DEVICE (level not
 * to be had on this processor) or MEMORY. */
UPREZ_API int uprez_context_create(UprezContext **out, const UprezContextParams *params,
                                   UprezError *err);
/* Releases the caller's reference; accepts a pointer to NULL and leaves NULL. */
UPREZ_API void uprez_context_destroy(UprezContext **ctx);

/* Number of worker threads. */
UPREZ_API int uprez_context_threads(const UprezContext *ctx);
UPREZ_API const char *uprez_context_cpu(const UprezContext *ctx); /* level in use; static */
/* Version of the library that runs, as "0.1.0". Static storage. */
UPREZ_API const char *uprez_version(void);

#ifdef __cplusplus
}
#endif
#endif
