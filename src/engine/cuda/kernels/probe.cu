/* Compiled when the build is configured: does nvcc find its host compiler? */
#include <stdint.h>
extern "C" __global__ void probe(uint32_t *p) { *p = 1; }
