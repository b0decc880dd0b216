/* What the processor's multipliers give at most: loops in registers alone, on all workers at once. */
#ifndef UPZ_CPU_PEAK_H
#define UPZ_CPU_PEAK_H

#include "base/context.h"

/* TFLOP/s of the context's workers together at its level, the best of a few turns of some milliseconds; 0: the level
 * has no multipliers for this precision ("fp32", "bf16"). From any thread but a worker, with nothing else to do. */
double upz_cpu_peak(UprezContext *ctx, const char *precision);

#endif
