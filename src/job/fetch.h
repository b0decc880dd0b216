/* Getting a known model's file: https:// or file://, resumed, verified, put in place in one step.
 *
 * Beside the target while it runs: FILE.part (what has come) and FILE.lock (held by whoever fetches;
 * a second one waits, then finds the file there). Nothing unverified ever gets the final name.
 * Threads: safe, also across processes. */
#ifndef UPZ_FETCH_H
#define UPZ_FETCH_H

#include <stdint.h>
#include "base/context.h"
#include "model/registry.h"

typedef struct UpzFetchParams {
    const char *mirror;      /* URL prefix in place of the official one's directory, or NULL */
    const char *accept_hash; /* hash the user vouches for, or NULL */
    volatile int *cancel;    /* non-zero: stop, keep the part; may be NULL */
    void (*progress)(void *cookie, int64_t now, int64_t total); /* total 0 = unknown; may be NULL */
    void *cookie;
} UpzFetchParams;

/* *path (the caller's) is where the file lies. Returns 0 also when it was there already and right.
 * MODEL: wrong or unverifiable content (the sentence has the hash that came), no such file there;
 * INPUT: the network; OUTPUT: the disk; INTERRUPTED. */
int upz_fetch_model(UprezContext *ctx, const UpzRegistryEntry *entry, const UpzFetchParams *params,
                    char **path, UprezError *err);

#endif
