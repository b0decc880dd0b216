/* A graph, made ready for the CPU: stages with packed weights, and how they hang together.
 *
 * A stage computes one feature map (or the planar output rows, or the stored picture) strip by
 * strip. CONCAT, SLICE and NEAREST mostly vanish: a convolution reads several maps, parts of maps,
 * or an enlarged one, through views. Residual sums, products and activations become posts of the
 * stage that made their input. A transposed convolution becomes a convolution with stride^2 times
 * the channels and a shuffle.
 *
 * Immutable after upz_program_build; any number of threads. */
#ifndef UPZ_CPU_PROGRAM_H
#define UPZ_CPU_PROGRAM_H

#include "engine/cpu/stage.h"
#include "engine/quant.h"

typedef struct UpzProgramParams {
    uint32_t features; /* of the processor; 0: plain C */
    UpzType narrowest; /* type that maps may have */
    bool halves;       /* products may be computed in fp16 */
    /* By the graph's nodes, for int8: how far their values reach, and the convolutions that are computed in
     * more than int8. */
    const UpzRanges *ranges;
    const bool *wide;
} UpzProgramParams;

/* Every finished graph can be built, with the best ways that are offered. What params points to is used here
 * only. Fails with MEMORY, or MODEL for what no picture can hold. */
int upz_program_build(UpzProgram *p, const UpzGraph *g, const UpzProgramParams *params, UprezError *err);
void upz_program_free(UpzProgram *p);

/* The numerics id: the ways that compute the convolutions, and the version of all other arithmetic. The
 * same id, model and source give the same bytes on every processor. */
void upz_program_numerics(const UpzProgram *p, char *to, size_t size);

/* Rows (axis 1) or columns (axis 0) first … last of view k that position `at` of a stage needs,
 * before clipping. Tiles are needed whole. STORE is not asked. */
void upz_stage_need(const UpzProgram *p, const UpzStage *s, int k, int axis, int at, int *first,
                    int *last);

#endif
