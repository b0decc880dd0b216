/* A file without a name, in memory, for trials of encoders and containers. Threads: safe on different
 * files. Used inside this room only. */
#ifndef UPZ_SCRATCH_H
#define UPZ_SCRATCH_H

#include <stdbool.h>

typedef struct UpzScratch {
    int fd;        /* -1 = closed */
    char path[40]; /* opens it again */
} UpzScratch;

/* false where the system has none; it is to be closed all the same. */
bool upz_scratch_open(UpzScratch *s);
void upz_scratch_close(UpzScratch *s);

#endif
