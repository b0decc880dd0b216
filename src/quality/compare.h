/* Two films or pictures beside each other: PSNR, SSIM and MS-SSIM of each frame and component.
 *
 * Time. Frames belong together that are nearest in time, counted from each file's first frame; one
 * that has no partner within three quarters of a frame is counted as alone. Shape: what differs is
 * brought together first, both to the greater depth and the finer chroma; YUV and RGB meet in RGB
 * without subsampling; the smaller picture is enlarged (bicubic), or with `down` the larger reduced. A
 * matrix or range that only one of them states is taken for both.
 *
 * Threads: blocking; decoders have threads of their own, the measures the context's pool. */
#ifndef UPZ_COMPARE_H
#define UPZ_COMPARE_H

#include "base/context.h"
#include "measure.h"
#include "sample.h"

typedef struct UpzComparePoint {
    double time;             /* seconds since the first frame of a */
    int64_t frame[2];        /* of a and b, from 0 */
    UpzMeasured measured;
} UpzComparePoint;

enum { UPZ_COMPARE_SAMPLES = 6 };

typedef struct UpzCompareParams {
    const char *input[2];
    bool down, ms_ssim;
    bool samples;            /* keep the worst frames, at least half a second from each other */
    volatile int *cancel;    /* non-zero: ends with INTERRUPTED; may be NULL */
    void (*progress)(void *cookie, int64_t done, int64_t total); /* total -1: unknown; may be NULL */
    void *cookie;
} UpzCompareParams;

typedef struct UpzCompareSide {
    int width, height;
    char format[32];
    int64_t frames, alone;   /* read; without a partner */
    int64_t damaged;         /* frames decoded with errors, held, or lost */
} UpzCompareSide;

typedef struct UpzComparison {
    UpzCompareSide side[2];
    int width, height;       /* as measured */
    char format[32];
    char component[4][2];    /* "Y", "U", … */
    UpzComparePoint *point;  /* in order of time */
    size_t n, cap;
    UpzSample sample[UPZ_COMPARE_SAMPLES]; /* the worst first */
    int n_samples;
    UpzMeasured mean;        /* of errors, SSIM and MS-SSIM over all points */
    size_t worst;            /* the point with the largest error */
} UpzComparison;

/* INPUT when one does not open or no frames belong together; INTERRUPTED. The caller frees *out in
 * any case. */
int upz_compare(UpzComparison *out, UprezContext *ctx, const UpzCompareParams *params, UprezError *err);
void upz_comparison_free(UpzComparison *c);

/* A page that needs nothing but itself: figures, a plot over time, the samples with a slider. */
int upz_compare_report(const UpzComparison *c, const char *const input[2], const char *path,
                       UprezError *err);

#endif
