/* What a program is made of: a stage computes one feature map, or the planar output rows, or the
 * stored picture, strip by strip. */
#ifndef UPZ_CPU_STAGE_H
#define UPZ_CPU_STAGE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/integer.h"
#include "engine/cpu/kernels.h"
#include "model/graph.h"

#define UPZ_STAGE_VIEWS 32
#define UPZ_STAGE_POSTS 6

/* The type of a map's values. */
typedef enum UpzType { UPZ_TYPE_F32, UPZ_TYPE_BF16, UPZ_TYPE_S8, UPZ_TYPE_COUNT } UpzType;

typedef enum UpzStageKind {
    UPZ_STAGE_LOAD,      /* picture rows to the input map */
    UPZ_STAGE_CONV,
    UPZ_STAGE_POINT,     /* posts alone */
    UPZ_STAGE_GATHER,    /* views side by side, enlarged: CONCAT, SLICE, NEAREST */
    UPZ_STAGE_SHUFFLE,
    UPZ_STAGE_UNSHUFFLE,
    UPZ_STAGE_RESIZE,
    UPZ_STAGE_PLANAR,    /* the output map to planar rows: shuffle, added base */
    UPZ_STAGE_STORE      /* planar rows to the picture */
} UpzStageKind;

/* Channels of an earlier stage's map. Pixel (x, y) of the view is (x / up, y / up) of the map. */
typedef struct UpzMapView {
    int stage, first, channels, up;
} UpzMapView;

typedef enum UpzPostKind { UPZ_POST_ADD, UPZ_POST_MUL, UPZ_POST_AFFINE, UPZ_POST_SLOPE,
                           UPZ_POST_CURVE } UpzPostKind;

typedef struct UpzPost {
    UpzPostKind kind;
    int view;            /* ADD, MUL: index into the stage's views; the other operand */
    float alpha, beta;   /* ADD: alpha * own + beta * other */
    float *scale, *shift; /* AFFINE (either may be NULL), SLOPE (scale); pitch values */
    UpzCurve curve;
    float lo, hi;
} UpzPost;

typedef struct UpzStage {
    UpzStageKind kind;
    int node;                      /* of the graph, for messages and RESIZE */
    UpzMapView views[UPZ_STAGE_VIEWS]; /* the operation's inputs first, then the posts' */
    int n_views, n_inputs;
    UpzPost posts[UPZ_STAGE_POSTS];
    int n_posts;
    UpzType type;                  /* of the map's values */
    unsigned read_as;              /* bit by type: how other stages read it as an input */
    bool added;                    /* read by posts, too */
    int value;                     /* the graph's node whose values the map holds, or -1 */
    float *inverse;                /* int8 of 1, by channel, or NULL; zeros behind them: whole groups */
    int channels, pitch;           /* of the map; values from pixel to pixel */
    int num, den;                  /* size relative to the input */
    int kernel_w, kernel_h, stride, pad_x, pad_y;
    int in;                        /* channels of all inputs */
    const struct UpzConvOps *conv; /* CONV: how it is computed */
    void *weights;                 /* packed by it */
    float *bias, *slope;           /* pitch values; slope NULL = no such activation */
    int factor;                    /* SHUFFLE, UNSHUFFLE, PLANAR */
    bool dcr;
    float alpha, beta;             /* PLANAR with a base (view 1) */
    /* Where strips and tiles lie: when the input is there up to row -1 (column -1), this map is
     * there up to row end_y (column end_x). Depends on nothing but the graph. */
    int end_x, end_y;
    int tile;                      /* side of the square of outputs that are computed together */
} UpzStage;

struct UpzHalfGemm;

typedef struct UpzProgram {
    const UpzGraph *graph; /* the model's */
    int group;             /* channels that a map's pixel is padded to */
    const struct UpzTileKernels *tiles;   /* or NULL: no way of this program multiplies such tiles */
    const struct UpzTile8Kernels *tiles8;
    void (*multiply)(const struct UpzHalfGemm *g);
    UpzStage *stages;      /* in topological order: LOAD … PLANAR, STORE */
    int n_stages, cap_stages;
    int channels;          /* of the picture */
    size_t bytes;          /* of packed weights */
} UpzProgram;

static inline size_t upz_type_size(UpzType type)
{
    static const uint8_t sizes[] = {[UPZ_TYPE_F32] = 4, [UPZ_TYPE_BF16] = 2, [UPZ_TYPE_S8] = 1};
    static_assert(UPZ_COUNT(sizes) == UPZ_TYPE_COUNT, "a size for every type");
    return sizes[type];
}

static inline int upz_pixel_pitch(int channels)
{
    return UPZ_ROUND_UP(channels, UPZ_CPU_GROUP);
}

/* The stage's convolution reads a view's pixels as one run per kernel row: no padding between. */
static inline bool upz_view_merges(const UpzProgram *p, const UpzMapView *v)
{
    return v->up == 1 && v->first == 0 && v->channels == p->stages[v->stage].pitch;
}

/* First row (axis 1) or column (axis 0) of the stage's tile that holds `at`. */
static inline int upz_stage_tile(const UpzStage *s, int axis, int at)
{
    const int start = (axis ? s->end_y : s->end_x) + 1; /* a tile begins here */
    return upz_floor_div(at - start, s->tile) * s->tile + start;
}

#endif
