/* What the engine of our own kernels shows to what tries networks on it before they are used. */
#ifndef UPZ_CPU_ENGINE_H
#define UPZ_CPU_ENGINE_H

#include "engine/cpu/flow.h"

extern const UpzEngineOps upz_engine_cpu;

/* An engine with a program of such params. */
int upz_cpu_open(UpzEngine **out, UprezContext *ctx, UprezModel *model, const UpzProgramParams *params,
                 UprezError *err);
UpzFlow *upz_cpu_flow(UpzEngine *e); /* as planned */

/* calibrate.c. A built-in picture (engine/trial.h: the one of contrasts, or the other) through an engine, which is
 * planned for it then. *result is the caller's. ranges: NULL, or made for the graph's nodes: magnitudes that are
 * larger than what is there take its place. */
int upz_cpu_try(UpzEngine *e, const UprezModel *model, bool contrasts, UpzRanges *ranges, UprezPicture **result,
                UprezError *err);
/* An engine in int8 but for the layers that want more; warns when these are more than the first and last. */
int upz_cpu_open_int8(UpzEngine **out, UprezContext *ctx, UprezModel *model, UprezError *err);

/* auto_type.c. The type of maps that --precision auto means for a model with the context's features of the processor:
 * never a matter of timing, and found once a model. */
UpzType upz_cpu_auto_type(UprezContext *ctx, UprezModel *model);

#endif
