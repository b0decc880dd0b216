/* What the rooms see of a context. */
#ifndef UPZ_CONTEXT_H
#define UPZ_CONTEXT_H

#include <stdatomic.h>
#include "uprez/context.h"
#include "compiler.h"
#include "cpu.h"
#include "pool.h"

struct UprezContext {
    atomic_int refs;
    UpzCpuLevel cpu;   /* kernels may use this level and those below */
    uint32_t features; /* UPZ_HAS_… that they may use */
    UpzPool *pool;
    void (*log)(void *cookie, int level, const char *line);
    void *log_cookie;
};

UprezContext *upz_context_ref(UprezContext *ctx);
void upz_context_unref(UprezContext **ctx);

/* One line to the context's log; ctx may be NULL (dropped). No trailing newline. */
void upz_log(const UprezContext *ctx, int level, const char *fmt, ...) UPZ_PRINTF(3, 4);
#define upz_warn(ctx, ...) upz_log(ctx, UPREZ_LOG_WARNING, __VA_ARGS__)
#define upz_info(ctx, ...) upz_log(ctx, UPREZ_LOG_INFO, __VA_ARGS__)
#define upz_debug(ctx, ...) upz_log(ctx, UPREZ_LOG_DEBUG, __VA_ARGS__)

#endif
