#include "scratch.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

bool upz_scratch_open(UpzScratch *s)
{
    s->fd = memfd_create("rehearsal", MFD_CLOEXEC);
    snprintf(s->path, sizeof(s->path), "/proc/self/fd/%d", s->fd);
    return s->fd >= 0 && access(s->path, R_OK | W_OK) == 0;
}

void upz_scratch_close(UpzScratch *s)
{
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
}
