/* What simt.c, simt_matrix.c and simt_async.c share: one block's state. */
#ifndef SIMT_STATE_H
#define SIMT_STATE_H

#include "dev_host.h"

#define SIMT_WARPS 32              /* of a block, at most */
#define SIMT_BASE 1024u            /* where shared memory begins: 0 is no address */
#define SIMT_MAX_SHARED (227 * 1024)
#define SIMT_MBARS 128

typedef enum SimtOp {
    SIMT_SHFL, SIMT_ELECT, SIMT_WARP_SYNC, SIMT_LDMATRIX, SIMT_LDMATRIX_TRANS, SIMT_STMATRIX,
    SIMT_MMA, SIMT_MMA_INT8, SIMT_MMA_FP8, SIMT_WGMMA, SIMT_WGMMA_REGS,
    SIMT_WGMMA_FP8, SIMT_WGMMA_INT8
} SimtOp;

/* What a lane brings to a collective. */
typedef struct SimtArgs {
    void *out;
    const void *a, *b;
    uint64_t x, y;
} SimtArgs;

typedef struct SimtCopy { /* 16 bytes, cp.async */
    uint32_t shared, group;
    const uint8_t *from;
} SimtCopy;

typedef struct SimtBulk {
    bool store, read; /* read: a store's bytes have left shared memory, they lie in `staging` */
    uint32_t shared, bytes, group;
    uint8_t *host;       /* of the global address */
    int bar;             /* load: index of the mbarrier */
    unsigned thread;     /* store: its thread, whose groups count */
    uint8_t *staging;
} SimtBulk;

typedef struct SimtWarp SimtWarp;
typedef struct SimtThread {
    unsigned index, lane;
    SimtWarp *warp;
    void *sp;              /* where it waits */
    bool done, waited_grid;
    char waits[48];        /* for what, when it waits */
    uint32_t fences;       /* dev_async_fence so far */
    SimtArgs args;
    SimtCopy *copies;
    size_t n_copies, cap_copies;
    uint32_t copy_group, bulk_group, wgmma_group;
    bool wgmma_fenced;
} SimtThread;

/* Lanes that meet: 32 of a warp or 128 of a warpgroup. */
typedef struct SimtMeeting {
    SimtOp op;
    unsigned count, size;
} SimtMeeting;

struct SimtWarp {
    unsigned index;
    uint32_t ready;        /* lanes that can run */
    SimtThread *threads;   /* 32 */
    int registers;         /* of a thread, by setmaxnreg; 0: as launched */
    SimtMeeting meeting;
    uint32_t clock[SIMT_WARPS]; /* own: now; others': what is known of them */
};

/* 16 bytes of shared memory. Masks: halves, the lowest address in bit 0. */
typedef struct SimtGranule {
    uint32_t write_clock, write_fences, read_clock;
    uint16_t write_thread, read_thread;     /* read: the last, or as below */
    uint16_t coming, leaving;               /* copies and wgmma in flight */
    uint8_t write_mask, all_lanes, bar; /* bar: halves that are an mbarrier's */
} SimtGranule;

/* Who read last, or-ed with the warp: all its lanes; lanes that are not told apart. */
#define SIMT_ALL 0x8000u
#define SIMT_SOME 0x4000u

typedef struct SimtMbar {
    uint32_t at;
    int count, pending;
    int64_t bytes;
    uint32_t phase;        /* completed */
    bool fenced;
    uint32_t waiting[SIMT_WARPS];
    uint32_t acc[SIMT_WARPS], done[SIMT_WARPS], init_clock;
    unsigned init_warp;
} SimtMbar;

typedef struct SimtBarrier {
    unsigned expected, arrived;
    uint32_t waiting[SIMT_WARPS], clock[SIMT_WARPS];
} SimtBarrier;

typedef struct SimtBlock {
    SimtLaunch launch;
    unsigned x, y, n_warps;
    uint8_t *shared;            /* launch.shared bytes */
    SimtGranule *granules;
    uint32_t *reads;            /* granule * n_warps + warp: clock << 8 | halves read then */
    SimtThread *threads;
    SimtWarp warps[SIMT_WARPS];
    SimtMeeting groups[SIMT_WARPS / 4];
    SimtBarrier barriers[16];
    SimtMbar bars[SIMT_MBARS];
    int n_bars;
    SimtBulk *bulk;
    size_t n_bulk, cap_bulk;
    uint64_t random;
    bool failed;
} SimtBlock;

extern SimtBlock simt_block;
extern SimtThread *simt_now;

/* Ends the launch; never comes back to a thread, at once to the scheduler. */
__attribute__((format(printf, 1, 2))) void simt_fail(const char *format, ...);
uint32_t simt_random(uint32_t below);
bool simt_maybe(void); /* seeded: now and then; late: never; at once: always */
void *simt_more(void *p, size_t *cap, size_t n, size_t size);

/* The thread sleeps until simt_wake; `what` for the list of a deadlock. */
__attribute__((format(printf, 1, 2))) void simt_sleep(const char *what, ...);
void simt_wake(const uint32_t lanes[SIMT_WARPS]);
/* True in the last lane to arrive, which computes and then calls simt_part; false in the others,
 * when that is done. */
bool simt_meet(SimtMeeting *meeting, SimtOp op, const char *name);
void simt_part(SimtMeeting *meeting);

/* Shared memory: bounds, alignment and races of an access by a thread; the bytes. */
uint8_t *simt_read(SimtThread *t, uint32_t a, unsigned bytes, bool all_lanes);
uint8_t *simt_write(SimtThread *t, uint32_t a, unsigned bytes, bool all_lanes);
uint8_t *simt_range(uint32_t a, uint32_t bytes, const char *what); /* multiples of 16 */
SimtGranule *simt_granule(uint32_t a);
/* A copy or wgmma reads it later: as simt_read, and the fence must have been. */
void simt_async_read(SimtThread *t, uint32_t a, const char *what);
void simt_async_write(SimtThread *t, uint32_t a, const char *what);
void simt_written(SimtThread *t, uint32_t a); /* 16 bytes, by a copy of the thread's */
/* The host's memory of it. */
uint8_t *simt_global(uint64_t a, uint32_t bytes, uint32_t align, const char *what);

/* clocks */
void simt_join(uint32_t *to, const uint32_t *from);

/* One thing in flight is done, when nothing else can be; false: nothing is in flight. */
bool simt_async_step(void);
void simt_async_end(void); /* of a block: what is left is done, or should have been waited for */
void simt_matrix_end(void);
void simt_matrix_reset(void);

#endif
