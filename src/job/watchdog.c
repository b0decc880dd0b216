#include "watchdog.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/queue.h"
#include "base/thread.h"

#define TICK_NS 20000000
#define LOOK 10              /* ticks between two looks at the beats */
#define GAP_S 1.0            /* a look that comes later does not count as more: the process was stopped */
#define TELL_S 10.0          /* nothing has come for so long: say so */
#define TELL_NETWORK_S 60.0  /* some networks take their time on a card, whose work no clock here counts */
#define LAST_S 5.0           /* and so long it is waited after the run's end */
#define BUSY 0.25            /* of one processor: then something is being computed, not waited for */

struct UpzWatchdog {
    UprezContext *ctx;
    const UpzJobParams *params;
    UpzWatch run, last;
    pthread_t thread;
    pthread_mutex_t lock; /* names, phase */
    char input[256], output[256];
    UpzPhase phase;
    _Atomic bool stop;
    _Atomic int stalled; /* 1 + the stage that ended the run, 0 = none did */
    /* the thread's own */
    unsigned beats;
    int64_t looked;
    double waited, cpu;  /* seconds without a beat; the processor's time at their beginning */
    bool told;
};

static double cpu_time(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What the waiting is for, or UPZ_STAGES: nothing that could stall. A reader that does not read stops
 * all before it, and engines may wait for a frame more. */
static UpzStage waiting(UpzWatchdog *d)
{
    static const UpzStage order[] = {UPZ_STAGE_RESULT, UPZ_STAGE_SOURCE, UPZ_STAGE_NETWORK};
    for (int i = 0; i < UPZ_COUNT(order); i++)
        if (atomic_load(&d->run.inside[order[i]]) || atomic_load(&d->last.inside[order[i]]))
            return order[i];
    return UPZ_STAGES;
}

/* "nothing comes from FILE". */
static void name_stage(UpzWatchdog *d, UpzStage stage, char *to, size_t size)
{
    pthread_mutex_lock(&d->lock);
    const char *in = strcmp(d->input, "-") ? d->input : "standard input";
    const char *out = strcmp(d->output, "-") ? d->output : "standard output";
    if (stage == UPZ_STAGE_SOURCE) snprintf(to, size, "nothing comes from %s", in);
    else if (stage == UPZ_STAGE_NETWORK) snprintf(to, size, "no picture comes from the engine");
    else if (strcmp(d->output, "-")) snprintf(to, size, "%s cannot be written on", out);
    else snprintf(to, size, "nobody reads %s", out);
    pthread_mutex_unlock(&d->lock);
}

static void say_end(UpzWatchdog *d)
{
    pthread_mutex_lock(&d->lock);
    const char *out = d->output;
    switch (d->phase) {
    case UPZ_PHASE_BEFORE:
        upz_info(d->ctx, "stopping; Ctrl-C again ends at once");
        break;
    case UPZ_PHASE_FRAMES:
        upz_info(d->ctx, "stopping: what is finished is kept, and %s.part is made to be played; Ctrl-C "
                 "again ends at once, what is finished stays", out);
        break;
    case UPZ_PHASE_ONCE:
        upz_info(d->ctx, "stopping: %s.part is made to be played; Ctrl-C again ends at once", out);
        break;
    case UPZ_PHASE_STREAM:
        upz_info(d->ctx, "stopping behind the frames at hand; Ctrl-C again ends at once");
        break;
    default:
        upz_info(d->ctx, "stopping: all frames are finished and stay, the same command joins them; "
                 "Ctrl-C again ends at once");
    }
    pthread_mutex_unlock(&d->lock);
}

static void look(UpzWatchdog *d)
{
    int64_t now = upz_now_ns();
    double gap = UPZ_MIN((double)(now - d->looked) / 1e9, GAP_S);
    unsigned beats = atomic_load(&d->run.beats) + atomic_load(&d->last.beats);
    UpzStage stage = waiting(d);
    double cpu = cpu_time();
    d->looked = now;
    d->waited += gap;
    if (beats != d->beats || stage == UPZ_STAGES || cpu - d->cpu > BUSY * d->waited) {
        d->beats = beats;
        d->waited = 0;
        d->cpu = cpu;
        d->told = false;
        return;
    }
    char what[400];
    bool ended = upz_watch_ended(&d->run);
    double limit = d->params->stall_timeout;
    if (limit > 0 && d->waited >= limit && !ended) {
        atomic_store(&d->stalled, 1 + (int)stage);
        d->run.cancel = 1;
        d->waited = 0;
    } else if (ended && d->waited >= LAST_S) {
        d->last.cancel = 1;
    } else if (!ended && !d->told && d->waited >= (stage == UPZ_STAGE_NETWORK ? TELL_NETWORK_S : TELL_S)) {
        d->told = true;
        name_stage(d, stage, what, sizeof(what));
        upz_warn(d->ctx, "%s; waiting (Ctrl-C ends the run%s)", what,
                 limit > 0 ? "" : ", and --stall-timeout SECONDS would by itself");
    }
}

static void *watch(void *arg)
{
    UpzWatchdog *d = arg;
    bool said = false;
    for (int n = 0; !atomic_load(&d->stop); n++) {
        if (!said && d->run.asked && *d->run.asked) {
            said = true;
            d->waited = 0;
            say_end(d);
        }
        if (n % LOOK == 0) look(d);
        nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
    }
    return NULL;
}

int upz_watchdog_start(UpzWatchdog **out, UprezContext *ctx, const UpzJobParams *params,
                       UprezError *err)
{
    *out = NULL;
    UpzWatchdog *d = upz_calloc(1, sizeof(*d));
    if (!d) return upz_fail_memory(err, sizeof(*d), "the job");
    d->ctx = ctx;
    d->params = params;
    d->run.asked = params->cancel;
    d->looked = upz_now_ns();
    d->cpu = cpu_time();
    pthread_mutex_init(&d->lock, NULL);
    upz_watchdog_about(d, params->input, params->output);
    if (upz_thread_start(&d->thread, watch, d)) {
        pthread_mutex_destroy(&d->lock);
        upz_free(d);
        return upz_fail(err, UPREZ_ERR_MEMORY, "no thread can be started");
    }
    *out = d;
    return 0;
}

void upz_watchdog_stop(UpzWatchdog **dog)
{
    UpzWatchdog *d = *dog;
    if (!d) return;
    *dog = NULL;
    atomic_store(&d->stop, true);
    pthread_join(d->thread, NULL);
    pthread_mutex_destroy(&d->lock);
    upz_free(d);
}

UpzWatch *upz_watchdog_run(UpzWatchdog *d) { return d ? &d->run : NULL; }

UpzWatch *upz_watchdog_last(UpzWatchdog *d) { return d ? &d->last : NULL; }

void upz_watchdog_about(UpzWatchdog *d, const char *input, const char *output)
{
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    snprintf(d->input, sizeof(d->input), "%s", input);
    snprintf(d->output, sizeof(d->output), "%s", output ? output : "the output");
    d->phase = UPZ_PHASE_BEFORE;
    pthread_mutex_unlock(&d->lock);
}

void upz_watchdog_phase(UpzWatchdog *d, UpzPhase phase)
{
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    d->phase = phase;
    pthread_mutex_unlock(&d->lock);
}

int upz_watchdog_judge(UpzWatchdog *d, int code, UprezError *err)
{
    int stalled = d ? atomic_load(&d->stalled) : 0;
    if (code != UPREZ_ERR_INTERRUPTED || !stalled || (d->params->cancel && *d->params->cancel)) return code;
    static const int codes[UPZ_STAGES] = {UPREZ_ERR_INPUT, UPREZ_ERR_OUTPUT, UPREZ_ERR_DEVICE};
    char what[400], text[sizeof(err->text)] = "";
    name_stage(d, (UpzStage)(stalled - 1), what, sizeof(what));
    if (err) memcpy(text, err->text, sizeof(text));
    return upz_fail(err, codes[stalled - 1], "%s for %g s (--stall-timeout); %s", what,
                    d->params->stall_timeout, text);
}
