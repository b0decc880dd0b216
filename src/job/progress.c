#include "progress.h"

#include "base/compiler.h"
#include "base/queue.h"

#define REPORT_NS 100000000 /* 0.1 s */

void upz_meter_start(UpzMeter *m, const UpzJobParams *params, const char *file, int64_t total,
                     int64_t done)
{
    *m = (UpzMeter){.params = params, .start_ns = upz_now_ns()};
    m->now = (UpzProgress){.frame = done, .total = total, .eta_s = -1, .file = file, .all_eta_s = -1,
                           .bottleneck = "upscale"};
    m->window_ns[0] = m->start_ns;
    m->window_frame[0] = done;
    m->n = 1;
}

void upz_meter_update(UpzMeter *m, int64_t done, double reused, const char *bottleneck, bool last)
{
    int64_t now = upz_now_ns();
    if (!m->params->progress || (!last && now - m->last_report_ns < REPORT_NS)) return;
    m->last_report_ns = now;
    int size = UPZ_COUNT(m->window_ns);
    int oldest = m->n > size ? m->n % size : 0;
    double s = (double)(now - m->window_ns[oldest]) / 1e9;
    int64_t frames = done - m->window_frame[oldest];
    m->now.frame = done;
    m->now.last = last;
    if (done > m->now.total) m->now.total = -1; /* the container announced fewer */
    m->now.reused = (int64_t)reused;
    m->now.fps = s > 0 ? (double)frames / s : 0;
    m->now.eta_s = m->now.total >= 0 && m->now.fps > 0
                       ? (double)UPZ_MAX(m->now.total - done, 0) / m->now.fps : -1;
    m->now.bottleneck = bottleneck;
    /* one entry each half second: the window covers half a minute */
    int newest = (m->n - 1) % size;
    if (now - m->window_ns[newest] > 500000000) {
        m->window_ns[m->n % size] = now;
        m->window_frame[m->n % size] = done;
        m->n++;
    }
    m->params->progress(m->params->progress_cookie, &m->now);
}
