/* Showing progress: a bar on a terminal, plain lines, or one JSON object a line. */
#ifndef UPZ_CLI_PROGRESS_H
#define UPZ_CLI_PROGRESS_H

#include "job/job.h"

typedef enum UpzProgressKind { UPZ_PROGRESS_NONE, UPZ_PROGRESS_BAR, UPZ_PROGRESS_PLAIN,
                               UPZ_PROGRESS_JSON } UpzProgressKind;

typedef struct UpzProgressView {
    UpzProgressKind kind;
    int fd;          /* where it goes */
    int64_t last_ns; /* of the last output */
    bool drawn;      /* a bar is on the line */
    bool said;       /* a plain line was written */
} UpzProgressView;

/* name: auto, bar, plain, json, none. fd < 0 = stderr. */
void upz_progress_init(UpzProgressView *v, const char *name, int fd, bool quiet);
/* An UpzJobParams.progress callback; cookie is the view. */
void upz_progress_show(void *view, const UpzProgress *p);
/* Clears the bar so that other lines can be written. */
void upz_progress_clear(UpzProgressView *v);

#endif
