/* What a job will need, found out by doing a little of it: short pieces spread over the film go through the
 * whole job (decoder, network, encoder) into a folder of their own, and are weighed.
 *
 * Time a frame comes from the difference between a long and a very short piece, so that beginning does not count
 * as many times as there are pieces. Key frames and others are weighed apart, since a piece has more of the former
 * than the film. Every figure comes with the range that the pieces differ by. Blocking. */
#ifndef UPZ_ESTIMATE_H
#define UPZ_ESTIMATE_H

#include "job.h"

typedef struct UpzRange {
    double likely, low, high;
} UpzRange;

typedef struct UpzEstimate {
    int64_t frames;      /* of the selection (--start, --duration, --frames) */
    double film;         /* seconds of it */
    int width, height;   /* of the result */
    UpzRange time;       /* seconds, beginning and joining included */
    UpzRange size;       /* bytes of the result, copied streams included */
    double disk, free;   /* bytes needed beside the output until it is joined; bytes there, < 0 = unknown */
    double memory;       /* bytes that this process took at most */
    double reused;       /* share of the frames that was taken from the frame before */
    int64_t tried;       /* frames that were computed for this */
    char engine[64], model[256], encoder[32];
} UpzEstimate;

/* params: as for upz_job_run; one file, no pipe. seconds: for all pieces together, about. USAGE for folders, pipes and
 * single pictures; OUTPUT when the disk cannot hold it (then *out is filled). */
int upz_estimate(UpzEstimate *out, UprezContext *ctx, const UpzJobParams *params, double seconds, UprezError *err);

#endif
