/* The device's memory and pinned memory of the host. */
#include "driver.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REACH ((size_t)1 << 40) /* addresses that are handed out once and never again */

typedef struct Piece {
    struct Piece *next;
    uint64_t device;
    size_t bytes;
    void *host;
    Context *context;
} Piece;

typedef struct Pinned {
    struct Pinned *next;
    char *start;
    size_t bytes;
    bool ours;
} Pinned;

static Piece *pieces;
static Pinned *pinned;
static uint64_t next_address;

static size_t total(void)
{
    const char *text = getenv("FAKE_CUDA_MEMORY");
    return text && *text ? (size_t)strtoull(text, NULL, 10) : (size_t)8 << 30;
}

/* Bytes that all processes with that file hold together, or ours. */
static int64_t *held_by_all(void)
{
    static int64_t *at;
    const char *path = getenv("FAKE_CUDA_SHARED");
    if (at || !path || !*path) return at ? at : (int64_t *)&fake_counters.allocated;
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd >= 0 && !ftruncate(fd, sizeof *at))
        at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (fd < 0 || at == MAP_FAILED) abort();
    return at;
}

/* What somebody else holds from the nth request on. */
static size_t taken(uint64_t request)
{
    const char *text = getenv("FAKE_CUDA_TAKE");
    char *end;
    if (!text || !*text) return 0;
    uint64_t n = strtoull(text, &end, 10);
    return request >= n && *end == ':' ? (size_t)strtoull(end + 1, NULL, 10) : 0;
}

static size_t free_now(void)
{
    size_t held = (size_t)__atomic_load_n(held_by_all(), __ATOMIC_SEQ_CST) + taken(fake_counters.requests);
    return held < total() ? total() - held : 0;
}

/* Others may ask at the same time. */
static bool hold(size_t bytes)
{
    int64_t *all = held_by_all();
    size_t now = (size_t)__atomic_add_fetch(all, (int64_t)bytes, __ATOMIC_SEQ_CST);
    if (now + taken(fake_counters.requests) <= total()) return true;
    __atomic_sub_fetch(all, (int64_t)bytes, __ATOMIC_SEQ_CST);
    return false;
}

static bool shared(void) { return held_by_all() != (int64_t *)&fake_counters.allocated; }

static int allocate(Context *c, uint64_t *address, size_t bytes)
{
    Piece *p;
    if (!bytes) return INVALID_VALUE;
    if (!next_address) {
        void *at = mmap(NULL, REACH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) return OUT_OF_MEMORY;
        next_address = ((uint64_t)(uintptr_t)at + 4095) & ~(uint64_t)4095;
    }
    fake_counters.requests++;
    if (!hold(bytes)) return OUT_OF_MEMORY;
    p = calloc(1, sizeof *p);
    p->host = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
    if (!p->host) {
        __atomic_sub_fetch(held_by_all(), (int64_t)bytes, __ATOMIC_SEQ_CST);
        free(p);
        return OUT_OF_MEMORY;
    }
    memset(p->host, 0xff, bytes);
    p->device = next_address;
    p->bytes = bytes;
    p->context = c;
    p->next = pieces;
    pieces = p;
    next_address += ((bytes + 4095) & ~(uint64_t)4095) + 4096;
    simt_memory_map(p->device, p->host, bytes, c);
    fake_counters.allocations++;
    if (shared()) fake_counters.allocated += bytes;
    if (fake_counters.allocated > fake_counters.peak) fake_counters.peak = fake_counters.allocated;
    *address = p->device;
    return OK;
}

static void drop(Piece **at)
{
    Piece *p = *at;
    *at = p->next;
    simt_memory_unmap(p->device);
    if (shared()) fake_counters.allocated -= p->bytes;
    __atomic_sub_fetch(held_by_all(), (int64_t)p->bytes, __ATOMIC_SEQ_CST);
    free(p->host);
    free(p);
}

static Piece **find(uint64_t device)
{
    for (Piece **p = &pieces; *p; p = &(*p)->next)
        if ((*p)->device == device) return p;
    return NULL;
}

void fake_release_now(uint64_t device)
{
    Piece **p = find(device);
    if (p) drop(p);
}

void fake_free_context_memory(Context *c)
{
    for (Piece **p = &pieces; *p;)
        if ((*p)->context == c) drop(p);
        else p = &(*p)->next;
}

SEEN int cuMemAlloc_v2(uint64_t *address, size_t bytes);
int cuMemAlloc_v2(uint64_t *address, size_t bytes)
{
    ENTER_CONTEXT(c);
    LEAVE(allocate(c, address, bytes));
}

SEEN int cuMemAllocManaged(uint64_t *address, size_t bytes, unsigned flags);
int cuMemAllocManaged(uint64_t *address, size_t bytes, unsigned flags) { return NOT_SUPPORTED; }

SEEN int cuMemAllocPitch_v2(uint64_t *address, size_t *pitch, size_t width, size_t height,
                            unsigned element);
int cuMemAllocPitch_v2(uint64_t *address, size_t *pitch, size_t width, size_t height,
                       unsigned element)
{
    ENTER_CONTEXT(c);
    *pitch = (width + 511) / 512 * 512;
    LEAVE(allocate(c, address, *pitch * height));
}

SEEN int cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream);
int cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream)
{
    Stream *s;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    LEAVE(allocate(c, address, bytes));
}

/* Frees at once, after all that may use it, as the driver does. */
SEEN int cuMemFree_v2(uint64_t address);
int cuMemFree_v2(uint64_t address)
{
    ENTER_CONTEXT(c);
    if (!address) LEAVE(OK);
    Piece **p = find(address);
    if (!p) LEAVE(INVALID_VALUE);
    fake_run_context((*p)->context); /* which may release others */
    drop(find(address));
    LEAVE(c->error);
}

SEEN int cuMemGetInfo_v2(size_t *free_bytes, size_t *all);
int cuMemGetInfo_v2(size_t *free_bytes, size_t *all)
{
    ENTER_CONTEXT(c);
    *all = total();
    *free_bytes = free_now();
    LEAVE(OK);
}

SEEN int cuDeviceTotalMem_v2(size_t *bytes, int device);
int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    ENTER();
    *bytes = total();
    LEAVE(OK);
}

SEEN int cuMemGetAddressRange_v2(uint64_t *base, size_t *bytes, uint64_t address);
int cuMemGetAddressRange_v2(uint64_t *base, size_t *bytes, uint64_t address)
{
    uint64_t start;
    size_t size;
    ENTER_CONTEXT(c);
    if (!simt_memory_find(address, 1, &start, &size, NULL)) LEAVE(INVALID_VALUE);
    if (base) *base = start;
    if (bytes) *bytes = size;
    LEAVE(OK);
}

/* ---- pinned ---- */

static int pin(void *start, size_t bytes, bool ours)
{
    Pinned *p = calloc(1, sizeof *p);
    *p = (Pinned){pinned, start, bytes, ours};
    pinned = p;
    return OK;
}

static int unpin(void *start, bool ours)
{
    for (Pinned **p = &pinned; *p; p = &(*p)->next)
        if ((*p)->start == start && (*p)->ours == ours) {
            Pinned *gone = *p;
            *p = gone->next;
            free(gone);
            if (ours) free(start);
            return OK;
        }
    return INVALID_VALUE;
}

bool fake_pinned(const void *at, size_t bytes)
{
    for (Pinned *p = pinned; p; p = p->next)
        if ((const char *)at >= p->start && (const char *)at + bytes <= p->start + p->bytes)
            return true;
    return false;
}

SEEN int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags);
int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags)
{
    ENTER_CONTEXT(c);
    if (!bytes) LEAVE(INVALID_VALUE);
    *memory = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
    if (!*memory) LEAVE(OUT_OF_MEMORY);
    memset(*memory, 0xff, bytes);
    fake_counters.host_allocations++;
    LEAVE(pin(*memory, bytes, true));
}

SEEN int cuMemAllocHost_v2(void **memory, size_t bytes);
int cuMemAllocHost_v2(void **memory, size_t bytes) { return cuMemHostAlloc(memory, bytes, 0); }

SEEN int cuMemFreeHost(void *memory);
int cuMemFreeHost(void *memory)
{
    ENTER_CONTEXT(c);
    fake_run_context(c);
    LEAVE(unpin(memory, true));
}

SEEN int cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags);
int cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags)
{
    ENTER_CONTEXT(c);
    LEAVE(pin(memory, bytes, false));
}

SEEN int cuMemHostUnregister(void *memory);
int cuMemHostUnregister(void *memory)
{
    ENTER_CONTEXT(c);
    fake_run_context(c);
    LEAVE(unpin(memory, false));
}

SEEN int cuPointerGetAttribute(void *data, int attribute, uint64_t address);
int cuPointerGetAttribute(void *data, int attribute, uint64_t address)
{
    uint64_t start;
    size_t size;
    const void *owner;
    ENTER();
    if (!simt_memory_find(address, 1, &start, &size, &owner)) {
        if (attribute != 2 || !fake_pinned((void *)(uintptr_t)address, 1)) LEAVE(INVALID_VALUE);
        *(unsigned *)data = 1;
        LEAVE(OK);
    }
    switch (attribute) {
    case 1: memcpy(data, &owner, sizeof owner); break;
    case 2: *(unsigned *)data = 2; break;
    case 3: *(uint64_t *)data = address; break;
    case 9: *(int *)data = ((const Context *)owner)->device; break;
    case 11: *(uint64_t *)data = start; break;
    case 12: *(size_t *)data = size; break;
    default: LEAVE(NOT_SUPPORTED);
    }
    LEAVE(OK);
}
