/* What is wrong with a film, judged from what was seen and heard of it, alone or beside its source.
 *
 * A defect is wrong in any case, or not so in the source; a note may be meant (a black second, a still
 * picture). Times are seconds from the first frame. Threads: any. */
#ifndef UPZ_VERDICT_H
#define UPZ_VERDICT_H

#include "video/inspect.h"

typedef struct UpzFinding {
    const char *kind;   /* "damage", "missing frames", "black", … : one of a fixed list; static */
    bool defect;
    double time, until; /* NAN: not at a time */
    char text[200];     /* a sentence without its end */
} UpzFinding;

typedef struct UpzVerdict {
    UpzFinding *finding;
    size_t n, cap;
    int defects;
    bool plays;         /* in browsers */
    char obstacles[256]; /* why not; "" */
    double offset;      /* of the first sound to its source, seconds, later is positive; NAN: unknown */
} UpzVerdict;

/* source NULL: the film alone. MEMORY. */
int upz_judge(UpzVerdict *out, const UpzInspection *film, const UpzInspection *source, UprezError *err);
void upz_verdict_free(UpzVerdict *v);

#endif
