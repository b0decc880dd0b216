/* Filling an UprezError. */
#ifndef UPZ_ERROR_H
#define UPZ_ERROR_H

#include "uprez/error.h"
#include "compiler.h"

/* Writes the sentence into err (may be NULL; control characters become '?') and returns code. */
int upz_fail(UprezError *err, int code, const char *fmt, ...) UPZ_PRINTF(3, 4);
/* The sentence for a failed allocation; returns UPREZ_ERR_MEMORY. */
int upz_fail_memory(UprezError *err, unsigned long long bytes, const char *what);

#endif
