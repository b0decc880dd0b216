/* A CUDA driver whose device is the emulation of kernels (fake/simt.h). What is promised by stream
 * order only happens late: at a synchronisation, or when something that depends on it happens; so a
 * missing event or wait shows in the output. Device addresses are no host addresses: a host access
 * faults. New memory is full of NaN, freed memory is gone for good.
 *
 * $FAKE_CUDA_NONE       no device                $FAKE_CUDA_CC=90       compute capability
 * $FAKE_CUDA_DEVICES=1  how many                 $FAKE_CUDA_MEMORY      bytes of each device
 * $FAKE_CUDA_SEED=0     0: as late as may be; 1: at once; else random order from that seed
 * $FAKE_CUDA_SMS=3      multiprocessors
 * $FAKE_CUDA_SHARED     file: processes that name it have one card's memory together
 * $FAKE_CUDA_TAKE=n:b   somebody takes b bytes just before the nth allocation
 * $FAKE_CUDA_FAIL=name:n[:code]   the nth call of a function fails (999); n 0: each
 * $FAKE_CUDA_SKIP=n     the nth launch does nothing: wrong results
 * $FAKE_CUDA_HANG=n     the nth launch never ends, nor does a call that waits for it
 * $FAKE_CUDA_LOG        file for the counters at exit: "what number" lines, and what went wrong
 *
 * A kernel's mistake is printed, and is the error 700 of every later call in that context. */
#ifndef FAKE_DRIVER_H
#define FAKE_DRIVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "fake/simt.h"

#define SEEN __attribute__((visibility("default")))

enum {
    OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, DEINITIALIZED = 4,
    NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
    NO_BINARY = 209, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600,
    ILLEGAL_ADDRESS = 700, CONTEXT_IS_DESTROYED = 709, LAUNCH_FAILED = 719,
    PRIMARY_ACTIVE = 708, NOT_SUPPORTED = 801, UNKNOWN = 999
};

#define KIND_CONTEXT 0x43545831u
#define KIND_STREAM 0x5354524du
#define KIND_EVENT 0x45564e54u
#define KIND_MODULE 0x4d4f4431u
#define KIND_FUNCTION 0x46554e43u

typedef struct Context {
    uint32_t kind;
    int device, primary; /* primary: how often it is retained, -1: a context of its own */
    unsigned flags;
    int error;           /* what a kernel did */
    struct Stream *streams;
    struct Stream *null_stream;
} Context;

typedef struct Node Node; /* depend.c: a piece of work, and what it has to follow */

typedef enum Work { COPY, FILL, LAUNCH, RECORD, WAIT, HOST, RELEASE } Work;

typedef struct Event {
    uint32_t kind;
    Context *context;
    unsigned flags;
    uint64_t wanted, done; /* records asked for and passed */
    struct Stream *last;   /* where the last record was asked for */
    Node *node;            /* that record */
    double when;
} Event;

typedef struct Op {
    struct Op *next;
    Work work;
    uint64_t order;        /* of all ops that were ever enqueued */
    /* COPY, FILL: rows */
    uint64_t dst, src;
    uint8_t *dst_host, *src_host; /* NULL: the device's */
    uint8_t *staged;       /* owned copy of pageable memory */
    size_t dst_pitch, src_pitch, width, height;
    uint32_t value;
    unsigned unit;         /* bytes of value */
    /* LAUNCH */
    SimtLaunch launch;
    void *params;
    bool hangs;
    /* RECORD, WAIT */
    Event *event;
    uint64_t version;
    /* HOST */
    void (*call)(void *);
    void *data;
} Op;

typedef struct Stream {
    uint32_t kind;
    Context *context;
    unsigned flags;        /* 1: does not wait for the null stream */
    bool dead;
    Work last_work;        /* of what was enqueued last */
    void *capture;         /* a graph that launches go into, or NULL */
    Op *first, *last;
    Node *node;            /* what was enqueued last */
    struct Stream *next;
} Stream;

typedef struct Function {
    uint32_t kind;
    Context *context;
    const SimtKernel *kernel;
    int shared;            /* dynamic shared memory allowed */
    struct Function *next;
} Function;

typedef struct Module {
    uint32_t kind;
    Context *context;
    Function *functions;
} Module;

typedef struct Counters {
    uint64_t host_to_device, device_to_host, device_to_device, filled;
    uint64_t allocated, peak, allocations, requests, host_allocations, launches, graphs, mistakes;
    uint64_t null_waits; /* of the null stream for work of another */
    struct { const char *name; uint64_t n; } kernels[32];
    int n_kernels;
} Counters;

extern Counters fake_counters;
extern pthread_mutex_t fake_lock; /* recursive; every entry point holds it */

int fake_number(const char *variable, int otherwise);
/* Entry of every function: takes the lock (fake_leave releases), counts it, and gives the error
 * that was asked for by $FAKE_CUDA_FAIL. */
int fake_enter(const char *function);
int fake_leave(int result);
/* The current context of this thread: INVALID_CONTEXT, its sticky error, or 0. */
int fake_context(Context **context);
Context *fake_current(void);
/* The stream of a handle; NULL and 1, 2: the null stream. Must be of the current context. */
int fake_stream(void *handle, Stream **stream);
int fake_event(void *handle, Event **event);
void fake_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool fake_pinned(const void *p, size_t bytes);

/* queue.c */
void fake_run_stream(Stream *s);
void fake_run_context(Context *c);
void fake_run_event(Event *e, uint64_t version);
Stream *fake_new_stream(Context *c, unsigned flags);
void fake_enqueue_launch(Stream *s, Op launch); /* takes its params */
/* depend.c: new work on a stream, behind another if that is not NULL; the calling thread has seen it done */
void fake_depend(Stream *s, Node *waited, const char *kernel);
void fake_host_waited(Node *n);
/* graph.c: true when the launch goes into a graph that is being captured */
bool fake_captured(Stream *s, Op *launch);
/* memory.c */
void fake_free_context_memory(Context *c);
void fake_release_now(uint64_t device);

#define ENTER() \
    int result = fake_enter(__func__); \
    if (result) return fake_leave(result)
#define ENTER_CONTEXT(c) \
    Context *c; \
    ENTER(); \
    if ((result = fake_context(&c))) return fake_leave(result)
#define LEAVE(r) return fake_leave(r)

#endif
