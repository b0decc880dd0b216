/* The thread that looks after a run: it says at once what comes of the caller's wish to end, names what is
 * waited for when nothing moves, and ends the run for that where it was told to.
 *
 * Threads: start and stop on the thread that runs the job; the rest from anywhere. */
#ifndef UPZ_WATCHDOG_H
#define UPZ_WATCHDOG_H

#include "job.h"
#include "base/watch.h"

typedef struct UpzWatchdog UpzWatchdog;

/* What a run is about, for what is said when it is to end. */
typedef enum UpzPhase {
    UPZ_PHASE_BEFORE,   /* nothing has been made */
    UPZ_PHASE_FRAMES,   /* segments are being made */
    UPZ_PHASE_ONCE,     /* the same, of a source that cannot be read again */
    UPZ_PHASE_STREAM,   /* y4m is being written */
    UPZ_PHASE_END       /* all frames are there: joining, checking */
} UpzPhase;

int upz_watchdog_start(UpzWatchdog **out, UprezContext *ctx, const UpzJobParams *params,
                       UprezError *err);
void upz_watchdog_stop(UpzWatchdog **dog);
/* The run's watch; NULL of NULL. */
UpzWatch *upz_watchdog_run(UpzWatchdog *dog);
/* That of what is still done when the run has been ended: it ends that where nothing moves, too. */
UpzWatch *upz_watchdog_last(UpzWatchdog *dog);
/* Names for what is said; copied. */
void upz_watchdog_about(UpzWatchdog *dog, const char *input, const char *output);
void upz_watchdog_phase(UpzWatchdog *dog, UpzPhase phase);
/* The code and sentence of an INTERRUPTED run that was ended because nothing moved: INPUT, OUTPUT or
 * DEVICE, in front of what err says. Other codes come back as they are. */
int upz_watchdog_judge(UpzWatchdog *dog, int code, UprezError *err);

#endif
