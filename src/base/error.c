#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *uprez_strerror(int code)
{
    switch (code) {
    case UPREZ_OK: return "success";
    case UPREZ_ERR_USAGE: return "wrong use";
    case UPREZ_ERR_INPUT: return "unreadable input";
    case UPREZ_ERR_MODEL: return "unusable model";
    case UPREZ_ERR_DEVICE: return "unusable engine or device";
    case UPREZ_ERR_MEMORY: return "out of memory";
    case UPREZ_ERR_OUTPUT: return "encoding or writing failed";
    case UPREZ_ERR_VERIFY: return "verification failed or damaged input";
    case UPREZ_ERR_INTERRUPTED: return "interrupted";
    case UPREZ_AGAIN: return "not ready yet";
    case UPREZ_EOF: return "end";
    default: return "internal error";
    }
}

int upz_fail(UprezError *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        err->code = code;
        /* names come from files: keep the promise of one plain line */
        for (unsigned char *c = (unsigned char *)err->text; *c; c++)
            if (*c < 0x20 || *c == 0x7f) *c = '?';
    }
    return code;
}

int upz_fail_memory(UprezError *err, unsigned long long bytes, const char *what)
{
    return upz_fail(err, UPREZ_ERR_MEMORY, "out of memory: %s needs %llu bytes", what, bytes);
}
