#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/queue.h"
#include "cli/commands.h"

void upz_progress_init(UpzProgressView *v, const char *name, int fd, bool quiet)
{
    *v = (UpzProgressView){.fd = fd < 0 ? STDERR_FILENO : fd};
    pthread_mutex_init(&v->lock, NULL);
    if (!name || !strcmp(name, "auto"))
        v->kind = quiet ? UPZ_PROGRESS_NONE : isatty(v->fd) ? UPZ_PROGRESS_BAR : UPZ_PROGRESS_PLAIN;
    else if (!strcmp(name, "bar"))
        v->kind = isatty(v->fd) ? UPZ_PROGRESS_BAR : UPZ_PROGRESS_PLAIN;
    else if (!strcmp(name, "plain"))
        v->kind = UPZ_PROGRESS_PLAIN;
    else if (!strcmp(name, "json"))
        v->kind = UPZ_PROGRESS_JSON;
}

static void put(int fd, const char *s, size_t n)
{
    while (n) {
        ssize_t k = write(fd, s, n);
        if (k <= 0) return; /* nobody listens: the job goes on */
        s += k;
        n -= (size_t)k;
    }
}

static void clock_text(char *to, size_t size, double s)
{
    if (s < 0) snprintf(to, size, "--:--");
    else if (s < 3600) snprintf(to, size, "%d:%02d", (int)s / 60, (int)s % 60);
    else snprintf(to, size, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
}

static void json(const UpzProgressView *v, const UpzProgress *p)
{
    cJSON *o = cJSON_CreateObject();
    if (!o) return;
    cJSON_AddNumberToObject(o, "frame", (double)p->frame);
    if (p->total >= 0) cJSON_AddNumberToObject(o, "total", (double)p->total);
    else cJSON_AddNullToObject(o, "total");
    cJSON_AddNumberToObject(o, "fps", p->fps);
    if (p->eta_s >= 0) cJSON_AddNumberToObject(o, "eta_s", p->eta_s);
    else cJSON_AddNullToObject(o, "eta_s");
    cJSON_AddNumberToObject(o, "reused", (double)p->reused);
    const char *bottleneck = p->frame ? p->bottleneck : NULL; /* nothing is known before the first */
    if (bottleneck) cJSON_AddStringToObject(o, "bottleneck", bottleneck);
    else cJSON_AddNullToObject(o, "bottleneck");
    if (p->file) cJSON_AddStringToObject(o, "file", p->file);
    char *text = cJSON_PrintUnformatted(o);
    if (text) {
        put(v->fd, text, strlen(text));
        put(v->fd, "\n", 1);
        cJSON_free(text);
    }
    cJSON_Delete(o);
}

static void show(UpzProgressView *v, const UpzProgress *p)
{
    if (v->kind == UPZ_PROGRESS_NONE) return;
    bool end = p->total >= 0 && p->frame >= p->total;
    int64_t now = upz_now_ns();
    const int64_t every = v->kind == UPZ_PROGRESS_BAR ? 100000000
                          : v->kind == UPZ_PROGRESS_JSON ? 500000000 : 5000000000;
    if (v->kind == UPZ_PROGRESS_PLAIN && !v->last_ns) { /* short runs have the summary only */
        v->last_ns = now;
        return;
    }
    if (v->kind == UPZ_PROGRESS_PLAIN) end = end && v->said;
    if (!end && v->last_ns && now - v->last_ns < every) return;
    v->last_ns = now;
    if (v->kind == UPZ_PROGRESS_JSON) {
        json(v, p);
        return;
    }
    char line[256], eta[32], of[32] = "";
    clock_text(eta, sizeof(eta), p->eta_s);
    if (p->total >= 0) snprintf(of, sizeof(of), "/%lld", (long long)p->total);
    if (v->kind == UPZ_PROGRESS_PLAIN) {
        int n = snprintf(line, sizeof(line), "uprez: frame %lld%s, %.2f frames/s, %s left%s%s\n",
                         (long long)p->frame, of, p->fps, eta,
                         p->bottleneck ? ", limited by " : "", p->bottleneck ? p->bottleneck : "");
        put(v->fd, line, (size_t)UPZ_MIN(n, (int)sizeof(line) - 1));
        v->said = true;
        return;
    }
    char bar[31];
    memset(bar, ' ', 30);
    bar[30] = 0;
    int filled = p->total > 0 ? (int)(UPZ_MIN(p->frame, p->total) * 30 / p->total) : 0;
    memset(bar, '=', (size_t)filled);
    if (filled < 30) bar[filled] = p->total > 0 ? '>' : ' ';
    int n = snprintf(line, sizeof(line), "\r[%s] %lld%s  %.2f fps  %s left  %s\033[K", bar,
                     (long long)p->frame, of, p->fps, eta,
                     p->frame && p->bottleneck ? p->bottleneck : "");
    put(v->fd, line, (size_t)UPZ_MIN(n, (int)sizeof(line) - 1));
    v->drawn = true;
}

static void clear(UpzProgressView *v)
{
    if (v->drawn) put(v->fd, "\r\033[K", 4);
    v->drawn = false;
}

void upz_progress_show(UpzProgressView *v, const UpzProgress *p)
{
    pthread_mutex_lock(&v->lock);
    show(v, p);
    pthread_mutex_unlock(&v->lock);
}

void upz_progress_log(UpzProgressView *v, int *verbosity, int level, const char *line)
{
    pthread_mutex_lock(&v->lock);
    clear(v);
    upz_cli_log(verbosity, level, line);
    pthread_mutex_unlock(&v->lock);
}

void upz_progress_clear(UpzProgressView *v)
{
    pthread_mutex_lock(&v->lock);
    clear(v);
    pthread_mutex_unlock(&v->lock);
}

void upz_progress_end(UpzProgressView *v)
{
    clear(v);
    pthread_mutex_destroy(&v->lock);
}
