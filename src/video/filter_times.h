/* What filters make of a film's times, before the film is decoded. Threads: any. */
#ifndef UPZ_FILTER_TIMES_H
#define UPZ_FILTER_TIMES_H

#include "source.h"

/* Sends frames with these times (source time base, ascending, n of them), but with made-up pictures of the
 * source's format, through a chain, for at most so many seconds. *out (upz_free) and *n_out: the times of what
 * comes out, ascending; none where they depend on what the pictures show (mpdecimate, scenes), or nothing
 * can be tried. MEMORY. */
int upz_filter_times(const UpzSource *source, const char *chain, const int64_t *pts, size_t n,
                     double seconds, int64_t **out, size_t *n_out, UprezError *err);

#endif
