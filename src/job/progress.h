/* Turns frame counts into progress reports, a few a second. */
#ifndef UPZ_JOB_PROGRESS_H
#define UPZ_JOB_PROGRESS_H

#include "job.h"

typedef struct UpzMeter {
    const UpzJobParams *params;
    UpzProgress now;
    int64_t start_ns, last_report_ns;
    int64_t window_ns[64], window_frame[64]; /* recent reports, a ring */
    int n;
} UpzMeter;

void upz_meter_start(UpzMeter *m, const UpzJobParams *params, const char *file, int64_t total,
                     int64_t done);
/* done: frames finished so far, resumed ones included; reused: as UpzProgress has it. last: report
 * whatever the time. */
void upz_meter_update(UpzMeter *m, int64_t done, double reused, const char *bottleneck, bool last);

#endif
