/* uprez check: is a film whole, alone or beside its source. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/context.h"
#include "base/error.h"
#include "base/queue.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "quality/verdict.h"

static const char usage[] =
    "usage: uprez check FILE [--against SOURCE] [options]\n\n"
    "Decodes all of a film and says what is wrong with it: damage, missing frames, a wrong duration; beside its\n"
    "source also missing streams, black, frozen or other pictures, and sound that is elsewhere. Ends with 8 where\n"
    "there is a defect; what may be meant (a black second) is only noted.\n";

typedef struct CheckArgs {
    const char *against;
    bool json, quiet;
} CheckArgs;

typedef struct Ticker {
    const char *name;
    int64_t last_ns;
    bool on;
} Ticker;

static void tick(void *cookie, double seconds, double total)
{
    Ticker *t = cookie;
    const int64_t now = upz_now_ns();
    if (!t->on || now - t->last_ns < 200000000) return;
    t->last_ns = now;
    fputc('\r', stderr);
    upz_cli_plain(stderr, t->name);
    fprintf(stderr, ": %.0f s", seconds);
    if (total > 0) fprintf(stderr, " of %.0f", total);
}

static cJSON *number(double v) { return isfinite(v) ? cJSON_CreateNumber(v) : cJSON_CreateNull(); }

static void print_json(const char *file, const UpzInspection *i, const UpzVerdict *v)
{
    cJSON *all = cJSON_CreateObject(), *streams;
    cJSON_AddStringToObject(all, "file", file);
    cJSON_AddStringToObject(all, "container", i->container);
    cJSON_AddNumberToObject(all, "frames", (double)i->frames);
    cJSON_AddNumberToObject(all, "duration", i->end);
    cJSON_AddNumberToObject(all, "width", i->width);
    cJSON_AddNumberToObject(all, "height", i->height);
    streams = cJSON_AddArrayToObject(all, "streams");
    for (int k = 0; k < i->n_streams; k++) {
        const UpzInspectStream *s = &i->stream[k];
        cJSON *o = cJSON_CreateObject();
        const char type[2] = {s->type, 0};
        cJSON_AddStringToObject(o, "type", type);
        cJSON_AddStringToObject(o, "codec", s->codec);
        cJSON_AddStringToObject(o, "language", s->language);
        cJSON_AddNumberToObject(o, "packets", (double)s->packets);
        cJSON_AddNumberToObject(o, "errors", (double)s->errors);
        cJSON_AddItemToObject(o, "first", number(s->first));
        cJSON_AddItemToObject(o, "end", number(s->end));
        cJSON_AddItemToArray(streams, o);
    }
    cJSON_AddBoolToObject(all, "plays_in_browsers", v->plays);
    cJSON_AddStringToObject(all, "obstacles", v->obstacles);
    cJSON_AddItemToObject(all, "sound_offset", number(v->offset));
    cJSON_AddNumberToObject(all, "defects", v->defects);
    cJSON *findings = cJSON_AddArrayToObject(all, "findings");
    for (size_t k = 0; k < v->n; k++) {
        const UpzFinding *f = &v->finding[k];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "kind", f->kind);
        cJSON_AddBoolToObject(o, "defect", f->defect);
        cJSON_AddItemToObject(o, "time", number(f->time));
        cJSON_AddItemToObject(o, "until", number(f->until));
        cJSON_AddStringToObject(o, "text", f->text);
        cJSON_AddItemToArray(findings, o);
    }
    char *text = cJSON_PrintUnformatted(all);
    if (text) upz_cli_text(text);
    cJSON_free(text);
    cJSON_Delete(all);
}

static void print_clock(double t)
{
    if (t < 0) {
        putchar('-');
        t = -t;
    }
    printf("%d:%02d:%06.3f", (int)(t / 3600), (int)(t / 60) % 60, fmod(t, 60));
}

static void print_text(const char *file, const UpzInspection *i, const UpzVerdict *v)
{
    upz_cli_plain(stdout, file);
    printf(": %.2f s", i->end);
    if (i->video >= 0) printf(", %zu frames of %dx%d", i->frames, i->width, i->height);
    for (int k = 0; k < i->n_streams; k++) printf("%s%s", k ? ", " : "; ", i->stream[k].codec);
    putchar('\n');
    for (size_t k = 0; k < v->n; k++) {
        const UpzFinding *f = &v->finding[k];
        printf("%s: ", f->defect ? "defect" : "note");
        if (!isnan(f->time)) {
            print_clock(f->time);
            printf(": ");
        }
        upz_cli_plain(stdout, f->text);
        putchar('\n');
    }
    if (v->plays) printf("plays in browsers\n");
    else printf("may not play in browsers: %s\n", v->obstacles);
    if (!v->defects) printf("no defects\n");
}

static int check(UprezContext *ctx, const CheckArgs *a, const char *file, UprezError *err)
{
    UpzInspection film = {.video = -1}, source = {.video = -1};
    UpzVerdict v = {0};
    Ticker ticker = {.on = !a->quiet && isatty(STDERR_FILENO), .name = file};
    UpzInspectParams p = {.cancel = &upz_cli_signal, .progress = tick, .cookie = &ticker};
    int r = upz_inspect(&film, ctx, file, &p, err);
    ticker.name = a->against;
    if (r >= 0 && a->against) r = upz_inspect(&source, ctx, a->against, &p, err);
    if (ticker.last_ns) fprintf(stderr, "\r%70s\r", "");
    if (r >= 0) r = upz_judge(&v, &film, a->against ? &source : NULL, err);
    if (r >= 0) {
        if (a->json) print_json(file, &film, &v);
        else print_text(file, &film, &v);
        if (fflush(stdout) || ferror(stdout))
            r = upz_fail(err, UPREZ_ERR_OUTPUT, "the findings could not be written to standard output");
    }
    if (r >= 0 && v.defects)
        r = upz_fail(err, UPREZ_ERR_VERIFY, "'%s' has %d defect%s", file, v.defects, v.defects == 1 ? "" : "s");
    upz_verdict_free(&v);
    upz_inspection_free(&film);
    upz_inspection_free(&source);
    return r;
}

int upz_cmd_check(int argc, char **argv)
{
    CheckArgs a = {0};
    const UpzOption options[] = {
        {"--against", UPZ_OPT_STRING, "SOURCE", &a.against, 0, 0, "the film that it was made of", "Options"},
        {"--json", UPZ_OPT_FLAG, NULL, &a.json, 0, 0, "for programs", NULL},
        {"-q --quiet", UPZ_OPT_FLAG, NULL, &a.quiet, 0, 0, "no progress", NULL},
    };
    UprezError err = {0};
    const char *file[1] = {NULL};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, file, 1, usage, &err);
    if (r == UPREZ_EOF) return 0;
    if (r >= 0 && r != 1) r = upz_fail(&err, UPREZ_ERR_USAGE, "uprez check needs a file: uprez check FILE");
    if (r < 0) return upz_cli_error(&err);
    int verbosity = a.quiet ? -1 : 0;
    UprezContextParams cp = {.size = sizeof(cp), .log = upz_cli_log, .log_cookie = &verbosity};
    UprezContext *ctx;
    r = uprez_context_create(&ctx, &cp, &err);
    if (r >= 0) {
        r = check(ctx, &a, file[0], &err);
        uprez_context_destroy(&ctx);
    }
    return r < 0 ? upz_cli_error(&err) : 0;
}
