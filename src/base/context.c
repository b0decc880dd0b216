#include "base/context.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"

const char *uprez_version(void) { return UPZ_VERSION; }

int uprez_context_create(UprezContext **out, const UprezContextParams *params, UprezError *err)
{
    *out = NULL;
    UpzCpuLevel best = upz_cpu_detect(), level = best;
    if (params && params->cpu) {
        int l = upz_cpu_from_name(params->cpu);
        if (l < 0)
            return upz_fail(err, UPREZ_ERR_USAGE,
                            "'%s' is no processor level; known are %s", params->cpu,
                            upz_cpu_levels);
        if (l > (int)best)
            return upz_fail(err, UPREZ_ERR_DEVICE,
                            "this processor has no %s; the best level here is %s", params->cpu,
                            upz_cpu_name(best));
        level = (UpzCpuLevel)l;
    }
    int threads = params ? params->threads : 0;
    if (threads < 0 || threads > 256)
        return upz_fail(err, UPREZ_ERR_USAGE, "%d threads asked for; give 1 to 256, or 0 for all",
                        threads);
    UprezContext *ctx = upz_calloc(1, sizeof(*ctx));
    if (!ctx) return upz_fail_memory(err, sizeof(*ctx), "the context");
    atomic_init(&ctx->refs, 1);
    ctx->cpu = level;
    ctx->features = upz_cpu_features() & upz_cpu_level_features(level);
    if (params) {
        ctx->log = params->log;
        ctx->log_cookie = params->log_cookie;
    }
    int r = upz_pool_create(&ctx->pool, threads ? threads : upz_cpu_count(), err);
    if (r < 0) {
        upz_free(ctx);
        return r;
    }
    *out = ctx;
    return 0;
}

UprezContext *upz_context_ref(UprezContext *ctx)
{
    atomic_fetch_add(&ctx->refs, 1);
    return ctx;
}

void upz_context_unref(UprezContext **pctx)
{
    UprezContext *ctx = *pctx;
    *pctx = NULL;
    if (!ctx || atomic_fetch_sub(&ctx->refs, 1) != 1) return;
    upz_pool_destroy(&ctx->pool);
    upz_free(ctx);
}

void uprez_context_destroy(UprezContext **ctx) { upz_context_unref(ctx); }
int uprez_context_threads(const UprezContext *ctx) { return upz_pool_size(ctx->pool); }
const char *uprez_context_cpu(const UprezContext *ctx) { return upz_cpu_name(ctx->cpu); }

void upz_log(const UprezContext *ctx, int level, const char *fmt, ...)
{
    if (!ctx || !ctx->log) return;
    char line[1200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    for (unsigned char *c = (unsigned char *)line; *c; c++)
        if (*c < 0x20 || *c == 0x7f) *c = '?';
    ctx->log(ctx->log_cookie, level, line);
}
