/* What ways by F(4x4, 3x3) share: transforms in fp32 around products that each has of its own. */
#ifndef UPZ_CPU_CONV_WINO_H
#define UPZ_CPU_CONV_WINO_H

#include "engine/cpu/conv.h"
#include "engine/cpu/epilogue.h"

/* Products at a point: inputs of `count` tiles, v_tile apart, with all channels, to m. ahead: may be fetched. */
typedef struct UpzWinoPoint {
    int point, count;
    const float *v;
    ptrdiff_t v_tile;
    float *m;
    ptrdiff_t m_tile;
    UpzAhead *ahead;
    void *scratch; /* the way's own */
} UpzWinoPoint;

bool upz_wino_takes(const UpzConvShape *s);
/* G of the transform, one row a point, in double; and the transformed weight at point (a, b) of a kernel of 3 x 3. */
void upz_wino_filter(double g[UPZ_WINO_IN][3]);
double upz_wino_weight(double g[UPZ_WINO_IN][3], const float *kernel, int a, int b);
size_t upz_wino_scratch(const UpzStage *s);
/* Values of the inputs of one point. */
size_t upz_wino_point_values(const UpzStage *s);
void upz_wino_run(const UpzPiece *p, void *scratch, void (*multiply)(const UpzPiece *p, const UpzWinoPoint *at));

#endif
