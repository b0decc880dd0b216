/* Coroutines, the scheduler, barriers, memory and its checks. */
#include "simt_state.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#if !defined(__x86_64__) || defined(SIMT_UCONTEXT)
#define PORTABLE
#include <ucontext.h>
#endif

#define STACK ((size_t)192 << 10)

/* Threads end in the middle of their functions; the sanitizer's marks of those must go. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define WIPE(i) ASAN_UNPOISON_MEMORY_REGION(stacks + (size_t)(i) * STACK + 4096, STACK - 4096)
#else
#define WIPE(i) ((void)(i))
#endif

SimtBlock simt_block;
SimtThread *simt_now;
static char error[1024];
static char *stacks;
static size_t n_stacks;
static void *main_sp;

const char *simt_error(void) { return error; }

void *simt_more(void *p, size_t *cap, size_t n, size_t size)
{
    if (n < *cap) return p;
    *cap = *cap ? *cap * 2 : 16;
    p = realloc(p, *cap * size);
    if (!p) {
        fprintf(stderr, "simt: out of memory\n");
        exit(70);
    }
    return p;
}

/* ---- switching ---- */

#ifndef PORTABLE
void simt_switch(void **save, void *to);
__asm__(".text\n"
        ".hidden simt_switch\n"
        ".globl simt_switch\n"
        ".type simt_switch, @function\n"
        "simt_switch:\n"
        "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n"
        "movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
        "ret\n"
        ".size simt_switch, . - simt_switch\n");

/* Threads begin at staggered addresses: else all of a warp meet in one set of the cache. */
static void *make(unsigned i, void (*entry)(void))
{
    uintptr_t top = (uintptr_t)(stacks + (size_t)(i + 1) * STACK) - i % 61 * 320;
    void **sp = (void **)(top & ~(uintptr_t)15);
    *--sp = NULL; /* the entry's return address, and its alignment */
    *--sp = (void *)(uintptr_t)entry;
    for (int r = 0; r < 6; r++) *--sp = NULL;
    return sp;
}
#else
static ucontext_t contexts[1024], main_context;
static void simt_switch(void **save, void *to)
{
    ucontext_t *from = &main_context;
    if (save != &main_sp)
        from = &contexts[((SimtThread *)((char *)save - offsetof(SimtThread, sp)))->index];
    *save = from;
    swapcontext(from, to);
}

static void *make(unsigned i, void (*entry)(void))
{
    getcontext(&contexts[i]);
    contexts[i].uc_stack.ss_sp = stacks + (size_t)i * STACK;
    contexts[i].uc_stack.ss_size = STACK - i % 61 * 320;
    contexts[i].uc_link = NULL;
    makecontext(&contexts[i], entry, 0);
    return &contexts[i];
}
#endif

/* From a thread to the next lane of its warp that can run, or to the scheduler. */
static void leave(void)
{
    SimtThread *t = simt_now;
    SimtWarp *w = t->warp;
    if (w->ready && !simt_block.failed) {
        unsigned lane = (unsigned)__builtin_ctz(w->ready);
        w->ready &= w->ready - 1;
        simt_now = &w->threads[lane];
        simt_switch(&t->sp, simt_now->sp);
    } else {
        simt_now = NULL;
        simt_switch(&t->sp, main_sp);
    }
}

void simt_fail(const char *format, ...)
{
    SimtBlock *b = &simt_block;
    if (!b->failed) {
        va_list list;
        int n = snprintf(error, sizeof error, "kernel %s, block %u,%u", b->launch.kernel->name,
                         b->x, b->y);
        if (simt_now)
            n += snprintf(error + n, sizeof error - (size_t)n, ", thread %u", simt_now->index);
        n += snprintf(error + n, sizeof error - (size_t)n, ": ");
        va_start(list, format);
        vsnprintf(error + n, sizeof error - (size_t)n, format, list);
        va_end(list);
        b->failed = true;
    }
    if (simt_now) {
        SimtThread *t = simt_now;
        simt_now = NULL;
        simt_switch(&t->sp, main_sp);
        abort();
    }
}

void simt_sleep(const char *what, ...)
{
    va_list list;
    va_start(list, what);
    vsnprintf(simt_now->waits, sizeof simt_now->waits, what, list);
    va_end(list);
    leave();
}

void simt_wake(const uint32_t lanes[SIMT_WARPS])
{
    for (unsigned w = 0; w < simt_block.n_warps; w++) simt_block.warps[w].ready |= lanes[w];
}

static const char *const op_names[] = {"shfl", "elect", "warp sync", "ldmatrix", "ldmatrix.trans",
                                       "stmatrix", "mma", "mma of int8", "mma of fp8", "wgmma",
                                       "wgmma from registers", "wgmma of fp8", "wgmma of int8"};

bool simt_meet(SimtMeeting *m, SimtOp op, const char *name)
{
    SimtThread *t = simt_now;
    if (m->count == 0) m->op = op;
    if (m->op != op)
        simt_fail("%s, while other threads of its warp are at %s: the warp is not together", name,
                  op_names[m->op]);
    if (++m->count == m->size) return true;
    /* formatting a text for each would cost more than the switch */
    strcpy(t->waits, op_names[op]);
    leave();
    return false;
}

void simt_part(SimtMeeting *m)
{
    SimtWarp *mine = simt_now->warp;
    m->count = 0;
    if (m->size == 32) {
        mine->ready = ~(1u << simt_now->lane);
        return;
    }
    for (unsigned w = mine->index / 4 * 4; w < mine->index / 4 * 4 + 4; w++)
        simt_block.warps[w].ready = ~0u;
    mine->ready &= ~(1u << simt_now->lane);
}

static void entry(void)
{
    SimtThread *t = simt_now;
    simt_block.launch.kernel->run(simt_block.launch.params);
    t->done = true;
    leave();
    abort();
}

/* ---- chance ---- */

uint32_t simt_random(uint32_t below)
{
    uint64_t z = simt_block.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % below);
}

bool simt_maybe(void)
{
    unsigned seed = simt_block.launch.seed;
    return seed == SIMT_AT_ONCE || (seed != SIMT_LATE && simt_random(3) == 0);
}

/* ---- global memory ---- */

typedef struct Piece {
    uint64_t start;
    size_t size;
    uint8_t *host;
    const void *owner;
    unsigned written; /* by launch number … */
} Piece;
static Piece *pieces;
static size_t n_pieces, cap_pieces, last_piece;
static unsigned n_launches;

static Piece *find(uint64_t a, size_t bytes)
{
    size_t low = 0, high = n_pieces;
    if (last_piece < n_pieces && a >= pieces[last_piece].start &&
        a - pieces[last_piece].start + bytes <= pieces[last_piece].size)
        return &pieces[last_piece];
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (pieces[mid].start <= a) low = mid + 1;
        else high = mid;
    }
    if (!low || a - pieces[low - 1].start + bytes > pieces[low - 1].size) return NULL;
    last_piece = low - 1;
    return &pieces[low - 1];
}

void simt_memory_map(uint64_t device, void *host, size_t bytes, const void *owner)
{
    size_t i = n_pieces;
    pieces = simt_more(pieces, &cap_pieces, n_pieces, sizeof *pieces);
    while (i && pieces[i - 1].start > device) {
        pieces[i] = pieces[i - 1];
        i--;
    }
    pieces[i] = (Piece){device, bytes, host, owner, 0};
    n_pieces++;
}

void simt_memory_unmap(uint64_t device)
{
    for (size_t i = 0; i < n_pieces; i++)
        if (pieces[i].start == device) {
            memmove(pieces + i, pieces + i + 1, (--n_pieces - i) * sizeof *pieces);
            return;
        }
    fprintf(stderr, "simt: memory at 0x%llx was never added\n", (unsigned long long)device);
    abort();
}

void simt_memory_add(void *start, size_t bytes)
{
    simt_memory_map((uintptr_t)start, start, bytes, NULL);
}

void simt_memory_remove(const void *start) { simt_memory_unmap((uintptr_t)start); }

void *simt_memory_find(uint64_t a, size_t bytes, uint64_t *start, size_t *size, const void **owner)
{
    Piece *p = find(a, bytes);
    if (!p) return NULL;
    if (start) *start = p->start;
    if (size) *size = p->size;
    if (owner) *owner = p->owner;
    return p->host + (a - p->start);
}

uint8_t *simt_global(uint64_t a, uint32_t bytes, uint32_t align, const char *what)
{
    bool writes = what[0] == 'w';
    Piece *p = find(a, bytes);
    if (a % align)
        simt_fail("%s %u bytes at global 0x%llx: not aligned to %u", what, bytes,
                  (unsigned long long)a, align);
    if (!p) {
        size_t i = 0;
        while (i < n_pieces && pieces[i].start + pieces[i].size <= a) i++;
        if (i && (i == n_pieces || a < pieces[i].start)) i--;
        simt_fail("%s %u bytes at global 0x%llx: no memory is there; the nearest piece begins at "
                  "0x%llx and has %zu bytes, offset %lld",
                  what, bytes, (unsigned long long)a,
                  n_pieces ? (unsigned long long)pieces[i].start : 0,
                  n_pieces ? pieces[i].size : 0, n_pieces ? (long long)(a - pieces[i].start) : 0);
        return NULL;
    }
    if (simt_block.launch.owner && simt_block.launch.owner != p->owner)
        simt_fail("%s %u bytes at global 0x%llx, memory of another context", what, bytes,
                  (unsigned long long)a);
    if (simt_block.launch.overlap && simt_now && !simt_now->waited_grid &&
        (writes || p->written == n_launches - 1))
        simt_fail("%s %u bytes at global 0x%llx before dev_grid_wait of its own, which the kernel before "
                  "may still be using", what, bytes, (unsigned long long)a);
    if (writes) p->written = n_launches;
    return p->host + (a - p->start);
}

#define READS(type, a) \
    type v; \
    memcpy(&v, simt_global(a, sizeof v, sizeof v, "reads"), sizeof v); \
    return v
#define WRITES(a, v) \
    memcpy(simt_global(a, sizeof(v), sizeof(v), "writes"), &(v), sizeof(v))

UpzVec4 dev_load16(uint64_t a) { READS(UpzVec4, a); }
uint32_t dev_load4(uint64_t a) { READS(uint32_t, a); }
uint16_t dev_load2(uint64_t a) { READS(uint16_t, a); }
uint8_t dev_load1(uint64_t a) { READS(uint8_t, a); }
float dev_load_float(uint64_t a) { READS(float, a); }
void dev_store16(uint64_t a, UpzVec4 v) { WRITES(a, v); }
void dev_store4(uint64_t a, uint32_t v) { WRITES(a, v); }
void dev_store2(uint64_t a, uint16_t v) { WRITES(a, v); }
void dev_store1(uint64_t a, uint8_t v) { WRITES(a, v); }
void dev_store8(uint64_t a, uint32_t low, uint32_t high)
{
    uint64_t v = low | (uint64_t)high << 32;
    WRITES(a, v);
}
void dev_max4(uint64_t a, uint32_t v)
{
    uint32_t old = dev_load4(a);
    if (v > old) dev_store4(a, v);
}

/* ---- shared memory ---- */

SimtGranule *simt_granule(uint32_t a) { return &simt_block.granules[(a - SIMT_BASE) / 16]; }

static uint32_t *reads_of(uint32_t a)
{
    return &simt_block.reads[(a - SIMT_BASE) / 16 * simt_block.n_warps];
}

static void check_place(uint32_t a, uint32_t bytes, uint32_t align, const char *what)
{
    size_t size = simt_block.launch.shared;
    if (a < SIMT_BASE || (size_t)(a - SIMT_BASE) + bytes > size)
        simt_fail("%s %u bytes of shared memory at offset %lld; it has %zu", what, bytes,
                  (long long)a - (long long)SIMT_BASE, size);
    if (a % align)
        simt_fail("%s %u bytes of shared memory at offset %u: not aligned to %u", what, bytes,
                  a - SIMT_BASE, align);
}

static uint8_t *bytes_at(uint32_t a) { return simt_block.shared + (a - SIMT_BASE); }

static uint8_t halves(uint32_t a, unsigned bytes)
{
    return (uint8_t)(((1u << bytes / 2) - 1) << (a / 2 % 8));
}

/* The last write of these halves must be known to the thread. */
static void check_written(SimtThread *t, const SimtGranule *g, uint32_t a, uint8_t mask,
                          const char *what)
{
    unsigned writer = g->write_thread, warp = writer / 32, mine = t->warp->index;
    if (g->coming)
        simt_fail("%s shared memory at offset %u, which a copy in flight is going to write", what,
                  a - SIMT_BASE);
    if (g->bar & mask)
        simt_fail("%s shared memory at offset %u, where an mbarrier lies", what, a - SIMT_BASE);
    if (!(g->write_mask & mask)) return;
    if (warp != mine
            ? g->write_clock > t->warp->clock[warp]
            : (writer != t->index || g->all_lanes) && g->write_clock == t->warp->clock[mine])
        simt_fail(
            "%s shared memory at offset %u, which thread %u wrote: nothing between orders the "
            "two",
            what, a - SIMT_BASE, writer);
}

static void note_read(SimtThread *t, uint32_t a, uint8_t mask, bool all_lanes)
{
    uint32_t *r = &reads_of(a)[t->warp->index], clock = t->warp->clock[t->warp->index];
    SimtGranule *g = simt_granule(a);
    unsigned warp = t->warp->index, last = g->read_clock == clock ? g->read_thread : t->index;
    if (all_lanes || last == (SIMT_ALL | warp)) last = SIMT_ALL | warp;
    else if (last != t->index && (last / 32 == warp || last == (SIMT_SOME | warp)))
        last = SIMT_SOME | warp;
    else last = t->index;
    g->read_thread = (uint16_t)last;
    g->read_clock = clock;
    *r = *r >> 8 == clock ? *r | mask : clock << 8 | mask;
}

static void check_overwrite(SimtThread *t, uint32_t a, uint8_t mask, const char *what)
{
    const SimtGranule *g = simt_granule(a);
    const uint32_t *r = reads_of(a);
    check_written(t, g, a, mask, what);
    if (g->leaving)
        simt_fail(
            "%s shared memory at offset %u, which a bulk store or wgmma in flight still reads",
            what, a - SIMT_BASE);
    for (unsigned w = 0; w < simt_block.n_warps; w++)
        if ((r[w] & mask) && w != t->warp->index && r[w] >> 8 > t->warp->clock[w])
            simt_fail(
                "%s shared memory at offset %u, which warp %u read: nothing between orders the "
                "two",
                what, a - SIMT_BASE, w);
    uint32_t mine = r[t->warp->index];
    if ((mine & mask) && mine >> 8 == t->warp->clock[t->warp->index] &&
        mine >> 8 == g->read_clock &&
        (g->read_thread == (SIMT_ALL | t->warp->index) ||
         (g->read_thread / 32u == t->warp->index && g->read_thread != t->index)))
        simt_fail(
            "%s shared memory at offset %u, which other lanes of its warp read: no dev_warp_sync "
            "is between",
            what, a - SIMT_BASE);
}

uint8_t *simt_read(SimtThread *t, uint32_t a, unsigned bytes, bool all_lanes)
{
    check_place(a, bytes, bytes, "reads");
    check_written(t, simt_granule(a), a, halves(a, bytes), "reads");
    note_read(t, a, halves(a, bytes), all_lanes);
    return bytes_at(a);
}

static void note_write(SimtThread *t, uint32_t a, uint8_t mask, bool all_lanes)
{
    SimtGranule *g = simt_granule(a);
    uint32_t clock = t->warp->clock[t->warp->index];
    if (g->write_thread == t->index && g->write_clock == clock && g->write_fences == t->fences)
        g->write_mask |= mask;
    else g->write_mask = mask;
    g->write_thread = (uint16_t)t->index;
    g->write_clock = clock;
    g->write_fences = t->fences;
    g->all_lanes = all_lanes;
}

uint8_t *simt_write(SimtThread *t, uint32_t a, unsigned bytes, bool all_lanes)
{
    check_place(a, bytes, bytes, "writes");
    check_overwrite(t, a, halves(a, bytes), "writes");
    note_write(t, a, halves(a, bytes), all_lanes);
    return bytes_at(a);
}

uint8_t *simt_range(uint32_t a, uint32_t bytes, const char *what)
{
    check_place(a, bytes, 16, what);
    return bytes_at(a);
}

void simt_async_read(SimtThread *t, uint32_t a, const char *what)
{
    SimtGranule *g = simt_granule(a);
    check_written(t, g, a, 0xff, what);
    if (g->write_mask && simt_block.threads[g->write_thread].fences == g->write_fences)
        simt_fail(
            "%s shared memory at offset %u, which thread %u wrote without dev_async_fence after "
            "it",
            what, a - SIMT_BASE, g->write_thread);
    g->leaving++;
}

void simt_async_write(SimtThread *t, uint32_t a, const char *what)
{
    check_overwrite(t, a, 0xff, what);
    simt_granule(a)->coming++;
}

void simt_written(SimtThread *t, uint32_t a) { note_write(t, a, 0xff, false); }

#define GETS(type, a) \
    type v; \
    memcpy(&v, simt_read(simt_now, a, sizeof v, false), sizeof v); \
    return v
#define PUTS(a, v) memcpy(simt_write(simt_now, a, sizeof(v), false), &(v), sizeof(v))
UpzVec4 dev_get16(uint32_t a) { GETS(UpzVec4, a); }
uint32_t dev_get4(uint32_t a) { GETS(uint32_t, a); }
uint16_t dev_get2(uint32_t a) { GETS(uint16_t, a); }
void dev_put16(uint32_t a, UpzVec4 v) { PUTS(a, v); }
void dev_put4(uint32_t a, uint32_t v) { PUTS(a, v); }
void dev_put2(uint32_t a, uint16_t v) { PUTS(a, v); }

/* ---- threads ---- */

unsigned dev_thread(void) { return simt_now->index; }
unsigned dev_block(void) { return simt_block.x; }
unsigned dev_block_y(void) { return simt_block.y; }
unsigned dev_blocks(void) { return simt_block.launch.grid_x; }
uint32_t dev_shared(void) { return SIMT_BASE; }

void simt_join(uint32_t *to, const uint32_t *from)
{
    for (unsigned w = 0; w < simt_block.n_warps; w++)
        if (from[w] > to[w]) to[w] = from[w];
}

static void barrier(int id, unsigned threads)
{
    SimtThread *t = simt_now;
    SimtBarrier *b = &simt_block.barriers[id];
    if (threads % 32 || threads > simt_block.n_warps * 32 || !threads)
        simt_fail("barrier %d of %u threads", id, threads);
    if (!b->arrived) b->expected = threads;
    if (b->expected != threads)
        simt_fail("barrier %d is for %u threads here and for %u elsewhere", id, threads,
                  b->expected);
    simt_join(b->clock, t->warp->clock);
    if (++b->arrived < threads) {
        b->waiting[t->warp->index] |= 1u << t->lane;
        simt_sleep("barrier %d of %u threads", id, threads);
        return;
    }
    for (unsigned w = 0; w < simt_block.n_warps; w++)
        if (b->waiting[w] || w == t->warp->index) {
            uint32_t *c = simt_block.warps[w].clock;
            simt_join(c, b->clock);
            c[w]++;
        }
    simt_wake(b->waiting);
    memset(b, 0, sizeof *b);
}

void dev_sync(void) { barrier(0, simt_block.launch.threads); }

void dev_bar(int id, int threads)
{
    if (id < 1 || id > 15) simt_fail("named barrier %d: there are 1 … 15", id);
    barrier(id, (unsigned)threads);
}

static uint32_t shuffle(uint32_t v, unsigned from)
{
    SimtThread *t = simt_now;
    uint32_t out;
    if (from > 31) simt_fail("shfl from lane %u", from);
    t->args = (SimtArgs){&out, NULL, NULL, v, from};
    if (simt_meet(&t->warp->meeting, SIMT_SHFL, "shfl")) {
        for (int l = 0; l < 32; l++) {
            SimtArgs *a = &t->warp->threads[l].args;
            *(uint32_t *)a->out = (uint32_t)t->warp->threads[a->y].args.x;
        }
        simt_part(&t->warp->meeting);
    }
    return out;
}

uint32_t dev_shfl(uint32_t v, int lane) { return shuffle(v, (unsigned)lane); }
uint32_t dev_shfl_xor(uint32_t v, int mask) { return shuffle(v, simt_now->lane ^ (unsigned)mask); }

bool dev_elect(void)
{
    SimtThread *t = simt_now;
    if (simt_meet(&t->warp->meeting, SIMT_ELECT, "elect")) simt_part(&t->warp->meeting);
    return t->lane == (simt_block.launch.seed > SIMT_AT_ONCE ? simt_block.launch.seed % 32 : 0);
}

void dev_warp_sync(void)
{
    SimtThread *t = simt_now;
    if (simt_meet(&t->warp->meeting, SIMT_WARP_SYNC, "warp sync")) {
        t->warp->clock[t->warp->index]++;
        simt_part(&t->warp->meeting);
    }
}

/* By the letter a barrier would carry it over to other threads. Here each thread that touches what the kernel
 * before may use has to wait itself: a path that lacks it is a mistake even where another's wait hides it. */
void dev_grid_wait(void) { simt_now->waited_grid = true; }
void dev_grid_go(void) {}

static void check_regs(int n)
{
    if (n < 24 || n > 256 || n % 8) simt_fail("setmaxnreg %d", n);
    simt_now->warp->registers = n;
}
void dev_regs_more(int n) { check_regs(n); }
void dev_regs_less(int n) { check_regs(n); }

/* ---- blocks ---- */

/* setmaxnreg must not ask for more than the block was launched with: it would wait for ever. */
static void check_registers(void)
{
    const SimtBlock *b = &simt_block;
    int each = (int)(65536 / b->launch.threads / 8 * 8), sum = 0;
    if (each > 255) each = 255;
    for (unsigned w = 0; w < b->n_warps; w++)
        sum += b->warps[w].registers ? b->warps[w].registers : each;
    if (sum > each * (int)b->n_warps)
        simt_fail("setmaxnreg: %d registers a lane of all warps, launched with %d", sum,
                  each * (int)b->n_warps);
}

static void report_deadlock(void)
{
    SimtBlock *b = &simt_block;
    char text[512];
    int n = 0;
    for (unsigned i = 0; i < b->launch.threads && n < (int)sizeof text - 80;) {
        unsigned j = i;
        while (j < b->launch.threads && b->threads[j].done == b->threads[i].done &&
               !strcmp(b->threads[j].waits, b->threads[i].waits))
            j++;
        n += snprintf(text + n, sizeof text - (size_t)n, "%sthreads %u-%u %s%s", i ? "; " : "", i,
                      j - 1, b->threads[i].done ? "have ended" : "wait for ",
                      b->threads[i].done ? "" : b->threads[i].waits);
        i = j;
    }
    simt_fail("deadlock: %s", text);
}

static void run_block(void)
{
    SimtBlock *b = &simt_block;
    unsigned n = b->launch.threads, n_warps = n / 32, at = 0;
    size_t granules = (b->launch.shared + 15) / 16;
    b->n_warps = n_warps;
    memset(b->shared, 0xff, b->launch.shared);
    memset(b->granules, 0, granules * sizeof *b->granules);
    memset(b->reads, 0, granules * n_warps * sizeof *b->reads);
    memset(b->barriers, 0, sizeof b->barriers);
    memset(b->warps, 0, sizeof b->warps);
    b->n_bars = 0;
    simt_matrix_reset();
    for (unsigned w = 0; w < n_warps; w++) {
        SimtWarp *warp = &b->warps[w];
        warp->index = w;
        warp->ready = ~0u;
        warp->threads = b->threads + 32 * w;
        warp->meeting.size = 32;
        warp->clock[w] = 1;
        b->groups[w / 4] = (SimtMeeting){SIMT_SHFL, 0, 128};
    }
    for (unsigned i = 0; i < n; i++) {
        SimtThread *t = &b->threads[i];
        SimtCopy *copies = t->copies;
        size_t cap = t->cap_copies;
        memset(t, 0, sizeof *t);
        t->copies = copies;
        t->cap_copies = cap;
        t->index = i;
        t->lane = i % 32;
        t->warp = &b->warps[i / 32];
        WIPE(i);
        t->sp = make(i, entry);
    }
    while (!b->failed) {
        SimtWarp *w = NULL;
        if (b->launch.seed > SIMT_AT_ONCE) {
            at = simt_random(n_warps);
            if (simt_random(4) == 0) simt_async_step();
        }
        for (unsigned i = 0; i < n_warps && !w; i++)
            if (b->warps[(at + i) % n_warps].ready) w = &b->warps[(at + i) % n_warps];
        if (!w) {
            if (simt_async_step()) continue;
            break;
        }
        at = w->index + 1;
        simt_now = &w->threads[__builtin_ctz(w->ready)];
        w->ready &= w->ready - 1;
        simt_switch(&main_sp, simt_now->sp);
    }
    simt_now = NULL;
    for (unsigned i = 0; i < n && !b->failed; i++)
        if (!b->threads[i].done) report_deadlock();
    if (!b->failed) simt_matrix_end();
    if (!b->failed) simt_async_end();
    if (!b->failed) check_registers();
    bool waited = !b->launch.overlap;
    for (unsigned i = 0; i < n && !waited; i++) waited = b->threads[i].waited_grid;
    if (!b->failed && !waited)
        simt_fail("ends without dev_grid_wait, though it was launched beside the kernel before");
}

static int refuse(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(error, sizeof error, format, list);
    va_end(list);
    return -1;
}

int simt_launch(const SimtLaunch *launch)
{
    SimtBlock *b = &simt_block;
    const char *name = launch->kernel->name;
    unsigned n = launch->threads, n_blocks = launch->grid_x * launch->grid_y, step = 1, first = 0;
    if (!n || n % 32 || n > 1024)
        return refuse("kernel %s: %u threads a block", name, n);
    if (launch->kernel->threads && n != launch->kernel->threads)
        return refuse("kernel %s: %u threads a block, made for %u", name, n,
                      launch->kernel->threads);
    if (launch->shared > SIMT_MAX_SHARED)
        return refuse("kernel %s: %zu bytes of shared memory", name, launch->shared);
    if (!launch->grid_x || !launch->grid_y) return refuse("kernel %s: an empty grid", name);
    if (!stacks) {
        n_stacks = 1024;
        stacks = mmap(NULL, n_stacks * STACK, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stacks == MAP_FAILED) return refuse("no memory for stacks");
        for (size_t i = 0; i < n_stacks; i++) mprotect(stacks + i * STACK, 4096, PROT_NONE);
        b->threads = calloc(1024, sizeof *b->threads);
        b->shared = aligned_alloc(1024, SIMT_MAX_SHARED);
        b->granules = calloc(SIMT_MAX_SHARED / 16, sizeof *b->granules);
        b->reads = calloc(SIMT_MAX_SHARED / 16 * SIMT_WARPS, sizeof *b->reads);
        if (!b->threads || !b->shared || !b->granules || !b->reads)
            return refuse("no memory for a block");
    }
    b->launch = *launch;
    b->random = launch->seed;
    b->failed = false;
    n_launches++;
    if (launch->seed > SIMT_AT_ONCE) { /* a step without a common divisor visits each block once */
        first = simt_random(n_blocks);
        step = 1 + simt_random(n_blocks);
        for (;; step++) {
            unsigned x = step, y = n_blocks;
            while (y) {
                unsigned r = x % y;
                x = y;
                y = r;
            }
            if (x == 1) break;
        }
    }
    for (unsigned i = 0; i < n_blocks && !b->failed; i++) {
        unsigned at = (unsigned)((first + (uint64_t)i * step) % n_blocks);
        b->x = at % launch->grid_x;
        b->y = at / launch->grid_x;
        run_block();
    }
    b->n_bulk = 0;
    return b->failed ? -1 : 0;
}
