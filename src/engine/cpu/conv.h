/* The ways to compute a convolution. A way is one file, conv_NAME.c, and one line in conv_list.c; which
 * one a convolution goes is decided once, when a model is opened, from its shape, the processor's
 * features and the precision asked for. Weights are packed by the way that was chosen.
 *
 * Threads: everything here may be called from any thread; run works on its piece alone. */
#ifndef UPZ_CPU_CONV_H
#define UPZ_CPU_CONV_H

#include <stdint.h>

#include "engine/cpu/stage.h"

struct UpzPiece; /* epilogue.h */

/* A convolution as a way sees it. Of a transposed one it is the dense convolution that it becomes:
 * stride^2 times the channels, their own kernel and padding, stride 1. */
typedef struct UpzConvShape {
    int in, out, groups;
    int kernel_w, kernel_h, stride, pad_x, pad_y;
    bool transposed;
} UpzConvShape;

typedef struct UpzConvOps {
    const char *name;  /* a part of the numerics id: it changes when the way's arithmetic does */
    uint32_t cpu;      /* features that the way needs; plain C has all ways */
    UpzType in;        /* of the maps that it reads: the narrowest precision that must be allowed */
    int group;         /* of channels that its maps' pixels are padded to */
    int tile;          /* side of the square of outputs that are computed together, at least 1 */
    int strips;        /* rows that are finished together: strips that a narrow map needs */
    bool several;      /* reads channels of several maps side by side */
    bool enlarged;     /* reads maps enlarged by 2, 4 or 8 as well */
    bool halves;       /* computes in fp16, where that is asked for */
    bool grouped;      /* weights stay [out][in / groups]; other ways get grouped ones spelled out */
    bool (*takes)(const UpzConvShape *shape);
    /* Weights [out][in][kh][kw] in the way's own order; upz_free_aligned. NULL: memory is short. factors: of
     * every input channel, what 1 of an int8 map stands for; else NULL. */
    void *(*pack)(const UpzProgram *p, const UpzStage *s, const float *weights, const float *factors,
                  size_t *bytes);
    /* Or NULL: what is left to do when types of all maps and posts are known. */
    void (*settle)(const UpzProgram *p, UpzStage *s);
    /* Bytes that run wants in UpzScratch.conv for pieces of up to `width` columns. */
    size_t (*scratch)(const UpzProgram *p, const UpzStage *s, int width);
    void (*run)(const struct UpzPiece *p);
} UpzConvOps;

extern const UpzConvOps *const upz_conv_ways[]; /* best first, ends with NULL */

/* The shape of a graph's CONV or DECONV node. */
UpzConvShape upz_conv_shape(const UpzGraph *g, const UpzNode *n);
/* Whether a processor with these features offers a way (0: plain C, which offers all). */
bool upz_conv_offered(const UpzConvOps *way, uint32_t features);
/* The first way of the list that is offered, reads maps of a type up to `narrowest` and takes the shape;
 * there always is one. */
const UpzConvOps *upz_conv_choose(const UpzConvShape *shape, uint32_t features, UpzType narrowest, bool halves);

#endif
