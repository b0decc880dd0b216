/* Showing progress: a bar on a terminal, plain lines, or one JSON object a line; and log lines beside
 * it. Threads: safe, except init and end. */
#ifndef UPZ_CLI_PROGRESS_H
#define UPZ_CLI_PROGRESS_H

#include <pthread.h>
#include "job/job.h"

typedef enum UpzProgressKind { UPZ_PROGRESS_NONE, UPZ_PROGRESS_BAR, UPZ_PROGRESS_PLAIN,
                               UPZ_PROGRESS_JSON } UpzProgressKind;

typedef struct UpzProgressView {
    UpzProgressKind kind;
    int fd;          /* where it goes */
    int64_t last_ns; /* of the last output */
    bool drawn;      /* a bar is on the line */
    pthread_mutex_t lock;
} UpzProgressView;

/* name: auto, bar, plain, json, none. fd < 0 = stderr. */
void upz_progress_init(UpzProgressView *v, const char *name, int fd, bool quiet);
void upz_progress_show(UpzProgressView *v, const UpzProgress *p);
/* A line of the log, by upz_cli_log(): the bar makes room for it. */
void upz_progress_log(UpzProgressView *v, int *verbosity, int level, const char *line);
/* Takes the bar off the line; the next report draws it again. */
void upz_progress_clear(UpzProgressView *v);
void upz_progress_end(UpzProgressView *v);

#endif
