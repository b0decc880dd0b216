/* How far two pictures of one size and format are from each other: the field's three measures.
 *
 * Squared error (PSNR) of every sample. SSIM as FFmpeg's filter `ssim` defines it: windows of 8x8
 * samples at every fourth, on each component. MS-SSIM as libvmaf's feature `float_ms_ssim` defines it:
 * a Gaussian of 11x11, five scales, on luma only (on green, for RGB), 176 px or more each way.
 *
 * Pictures: host memory, one component a plane, 8 to 16 bits (upz_measure_takes). Alpha is measured
 * like any other component. All processor levels and thread counts give the same SSE; SSIM and
 * MS-SSIM differ in the last bits of a float.
 *
 * Threads: one run at a time; it uses the context's pool and blocks. */
#ifndef UPZ_MEASURE_H
#define UPZ_MEASURE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/context.h"
#include "uprez/picture.h"

typedef struct UpzMeasured {
    int n;              /* components */
    double samples[4];  /* of each */
    double peak;        /* largest sample value: 255, 1023, … */
    double error[4];    /* mean squared error */
    double ssim[4];     /* -1: the component has no window of 8x8 */
    double ms_ssim;     /* -1: not asked for, or the picture is too small */
} UpzMeasured;

typedef struct UpzMeasure UpzMeasure;

bool upz_measure_takes(const UprezFormat *f);
/* For pictures like this one in size and format. USAGE for other formats. */
int upz_measure_create(UpzMeasure **out, UprezContext *ctx, const UprezPicture *like, bool ms_ssim,
                       UprezError *err);
void upz_measure_destroy(UpzMeasure **m);
void upz_measure_run(UpzMeasure *m, const UprezPicture *a, const UprezPicture *b, UpzMeasured *out);

/* Over all components, weighted by their samples: the mean squared error, the SSIM. */
double upz_measured_error(const UpzMeasured *m);
double upz_measured_ssim(const UpzMeasured *m);
/* dB; infinite for 0. */
double upz_psnr(double error, double peak);

#endif
