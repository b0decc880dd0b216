#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/file.h"
#include "base/alloc.h"
#include "base/file.h"
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
    if (p->files > 1) {
        cJSON_AddNumberToObject(o, "file_number", p->number);
        cJSON_AddNumberToObject(o, "files", p->files);
        if (p->all_eta_s >= 0) cJSON_AddNumberToObject(o, "eta_all_s", p->all_eta_s);
        else cJSON_AddNullToObject(o, "eta_all_s");
    }
    char *text = cJSON_PrintUnformatted(o);
    char *valid = text ? upz_utf8(text) : NULL;
    if (valid) {
        put(v->fd, valid, strlen(valid));
        put(v->fd, "\n", 1);
    }
    upz_free(valid);
    cJSON_free(text);
    cJSON_Delete(o);
}

/* The end of a name, as much as fits; control characters become '?'. */
static void short_name(char *to, size_t size, const char *path)
{
    const char *name = path ? upz_basename(path) : "";
    size_t n = strlen(name), most = size - 4;
    snprintf(to, size, "%s%s", n > most ? "…" : "", n > most ? name + n - most : name);
    /* not from the middle of a character on */
    char *c = n > most ? to + 3 : to, *rest = c;
    while ((*rest & 0xc0) == 0x80) rest++;
    if (rest != c) memmove(c, rest, strlen(rest) + 1);
    for (; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
}

static void plain(UpzProgressView *v, const UpzProgress *p)
{
    char line[320], eta[32], all[64] = "", of[32] = "", name[160], which[200] = "";
    clock_text(eta, sizeof(eta), p->eta_s);
    if (p->total >= 0) snprintf(of, sizeof(of), " of %lld", (long long)p->total);
    if (p->files > 1) {
        char text[32];
        short_name(name, sizeof(name), p->file);
        clock_text(text, sizeof(text), p->all_eta_s);
        snprintf(which, sizeof(which), "%d of %d, %s: ", p->number, p->files, name);
        snprintf(all, sizeof(all), ", %s left for all", text);
    }
    int n = snprintf(line, sizeof(line), "uprez: %sframe %lld%s, %.2f a second%s%s%s%s\n", which,
                     (long long)p->frame, of, p->fps, p->eta_s >= 0 ? ", " : "", p->eta_s >= 0 ? eta : "",
                     p->eta_s >= 0 ? " left" : "", all);
    put(v->fd, line, (size_t)UPZ_MIN(n, (int)sizeof(line) - 1));
}

static void draw_bar(UpzProgressView *v, const UpzProgress *p)
{
    char line[400], eta[32], of[32] = "", bar[31], which[80] = "", all[48] = "";
    const int wide = p->files > 1 ? 16 : 30;
    clock_text(eta, sizeof(eta), p->eta_s);
    if (p->total >= 0) snprintf(of, sizeof(of), "/%lld", (long long)p->total);
    if (p->files > 1) {
        char text[32], name[24];
        short_name(name, sizeof(name), p->file);
        clock_text(text, sizeof(text), p->all_eta_s);
        snprintf(which, sizeof(which), "%d of %d %s ", p->number, p->files, name);
        snprintf(all, sizeof(all), " (all %s)", text);
    }
    memset(bar, ' ', (size_t)wide);
    bar[wide] = 0;
    int filled = p->total > 0 ? (int)(UPZ_MIN(p->frame, p->total) * wide / p->total) : 0;
    memset(bar, '=', (size_t)filled);
    if (filled < wide) bar[filled] = p->total > 0 ? '>' : ' ';
    int n = snprintf(line, sizeof(line), "\r%s[%s] %lld%s  %.2f fps  %s left%s  %s\033[K", which, bar,
                     (long long)p->frame, of, p->fps, eta, all,
                     p->frame && p->bottleneck ? p->bottleneck : "");
    put(v->fd, line, (size_t)UPZ_MIN(n, (int)sizeof(line) - 1));
    v->drawn = true;
}

static void show(UpzProgressView *v, const UpzProgress *p)
{
    if (v->kind == UPZ_PROGRESS_NONE) return;
    int64_t now = upz_now_ns();
    const int64_t every = v->kind == UPZ_PROGRESS_BAR ? 100000000
                          : v->kind == UPZ_PROGRESS_JSON ? 500000000 : 5000000000;
    const bool first = !v->last_ns;
    /* plain: the summary tells the end, and short runs have nothing else */
    const bool end = p->last && v->kind != UPZ_PROGRESS_PLAIN;
    if (!end && !first && now - v->last_ns < every) return;
    v->last_ns = now;
    if (v->kind == UPZ_PROGRESS_JSON) json(v, p);
    else if (v->kind == UPZ_PROGRESS_BAR) draw_bar(v, p);
    else if (!first) plain(v, p);
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
