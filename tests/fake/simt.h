/* Kernels on the host: every thread of a block is a coroutine, blocks run one after the other, and
 * what a GPU would let pass is a failure that names kernel, block, thread and address.
 *
 * Modelled: shared memory of exactly the launched size, filled with NaN; bounds and alignment of
 * every access, global ones against a table of live memory; named barriers, and mbarriers with
 * arrivals, bytes and phases; copies and wgmma that happen as late as they may; data races on
 * shared memory (clocks of warps: a barrier or an mbarrier must lie between a write and another
 * warp's access, dev_warp_sync between two lanes of one warp); the fence between plain writes and
 * what bulk stores and wgmma read; deadlock. The layout of fragments, core matrices and
 * descriptors: PTX ISA 8.
 *
 * Not modelled: speed, banks, registers; races on global memory.
 *
 * Threads: one launch at a time; the caller's lock. */
#ifndef SIMT_H
#define SIMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SimtKernel {
    const char *name;
    size_t bytes;          /* of the parameter */
    unsigned threads, per; /* what __launch_bounds__ says: threads of a block, blocks at a time */
    void (*run)(const void *params);
} SimtKernel;

/* When copies are done that nobody has waited for yet. Any other number: pseudo-random, also the
 * order of blocks and warps, from that seed. */
#define SIMT_LATE 0u
#define SIMT_AT_ONCE 1u

typedef struct SimtLaunch {
    const SimtKernel *kernel;
    const void *params;
    unsigned grid_x, grid_y, threads;
    size_t shared;      /* bytes of dynamic shared memory */
    unsigned seed;
    bool overlap;       /* launched while the kernel before still runs: dev_grid_wait is needed */
    const void *owner;  /* NULL, or only memory of this owner may be touched */
} SimtLaunch;

/* 0, or -1 and simt_error(). */
int simt_launch(const SimtLaunch *launch);
const char *simt_error(void);

/* Memory that kernels may touch. Pieces must not overlap; remove wants a start. */
void simt_memory_add(void *start, size_t bytes);
void simt_memory_remove(const void *start);
/* Memory whose addresses on the device are not the host's. */
void simt_memory_map(uint64_t device, void *host, size_t bytes, const void *owner);
void simt_memory_unmap(uint64_t device);
/* The piece that holds all of [a, a + bytes). Host memory of `a`, or NULL: there is none. The
 * others may be NULL. */
void *simt_memory_find(uint64_t a, size_t bytes, uint64_t *start, size_t *size, const void **owner);

/* A kernel of src/engine/cuda/kernels as compiled for a compute capability (10 * major + minor), or
 * NULL. */
const SimtKernel *simt_find(const char *name, int capability);

float simt_float(uint16_t half);
uint16_t simt_half(float v); /* nearest even; too large: inf */
uint8_t simt_int8(float v);  /* nearest even, -127 … 127; NaN: 0 */
uint8_t simt_fp8(float v);   /* E4M3, nearest even; too large: 448 */
float simt_from_fp8(uint8_t v);
extern int simt_fp8_bits; /* of the fraction that terms of fp8 products keep, from the largest on; 0: all */

#endif
