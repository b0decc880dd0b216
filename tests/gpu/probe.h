/* What tests/gpu/probe.c hands to the kernels of probe.cu. */
#ifndef PROBE_H
#define PROBE_H

#ifndef UPZ_KERNEL_CODE
#include <stdint.h>
#endif

typedef struct ProbeParams {
    uint64_t a, b, out;  /* addresses */
    int32_t n, x, y, z;  /* each kernel's own */
} ProbeParams;

#define PROBE_TILES 36                        /* of 64 outputs x 16 inputs: a row of conv_ring's */
#define PROBE_TILE 2048                       /* bytes */
#define PROBE_ROW 2304                        /* bytes of 144 pixels of 8 channels */
#define PROBE_ROWS 24                         /* 3 rows of 8 chunks */
#define PROBE_A (PROBE_TILES * PROBE_TILE)    /* bytes */
#define PROBE_B (PROBE_ROWS * PROBE_ROW)
#define PROBE_SHARED (PROBE_A + PROBE_B + 64) /* both, and barriers */
#define PROBE_SLOTS 3
#define PROBE_GRID 256                        /* words of a block of probe_grid */

#endif
