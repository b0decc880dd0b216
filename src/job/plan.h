/* The plan of a video job: which frames, cut into which segments, coded how. A pure function of the
 * source's index and the options; as text it is the same on every machine, and a job goes on only
 * where the text is the same. */
#ifndef UPZ_PLAN_H
#define UPZ_PLAN_H

#include "job.h"
#include "session.h"
#include "video/encoder.h"
#include "video/join.h"
#include "video/source.h"

#define UPZ_UNIT_MIN 120 /* frames: a segment ends at the first keyframe of the source behind these */
#define UPZ_UNIT_MAX 240 /* and at the latest here */

/* The part of the source that is enlarged. */
typedef struct UpzSelection {
    int64_t start, end; /* source time base, [start, end); INT64_MIN / MAX = open */
    int64_t limit;      /* frames at most; INT64_MAX = all */
    int64_t total;      /* frames expected; -1 = unknown */
} UpzSelection;

/* One segment: frames with t0 <= pts < t1, or, in a plan by count, UPZ_UNIT_MIN frames. */
typedef struct UpzUnit {
    int64_t t0, t1;
    bool done, partial;
    int64_t spooled; /* frames of it that are computed and wait for its encoder: see spool.h */
    bool replay;     /* some of them are an earlier run's */
    int64_t frames, first, end; /* when done: as written; source time base */
    int64_t damaged, held;
    uint32_t side; /* upz_side_of_frame() of all its frames' sources */
} UpzUnit;

typedef struct UpzUnits {
    bool by_count; /* the source cannot be indexed: units are made as frames come */
    UpzUnit *items;
    size_t n, cap;
} UpzUnits;

/* index NULL or empty: unknown. USAGE when nothing is left. */
int upz_select(UpzSelection *sel, const UpzJobParams *params, const UpzSourceInfo *info,
               const UpzIndex *index, UprezError *err);
/* True when index tells the presentation times of all frames. */
bool upz_index_usable(const UpzIndex *index, const UpzSourceInfo *info);
/* The times of the selected frames, ascending, each once; the caller's (upz_free). */
int upz_plan_times(int64_t **pts, size_t *n, const UpzIndex *index, const UpzSelection *sel,
                   UprezError *err);
int upz_units_plan(UpzUnits *units, const UpzIndex *index, const UpzSelection *sel, UprezError *err);
/* The next unit of a plan by count. */
int upz_units_add(UpzUnits *units, UprezError *err);
void upz_units_free(UpzUnits *units);

/* The plan as JSON text; the caller's (upz_free). digest: of the bytes of the source's pictures, NULL
 * where they have not been read. */
int upz_plan_text(char **text, const UpzJobParams *params, const UpzSession *session,
                  const UpzSourceInfo *info, const UpzIndex *index, const char *digest,
                  const UpzSelection *sel, const UpzUnits *units, const UpzEncoderPlan *encoder, const UpzJoinPlan *join,
                  UprezError *err);
/* What differs, in words ("encoder width was 640, is 960"): the first three members. */
void upz_plan_difference(char *to, size_t size, const char *was, const char *is);

#endif
