/* uprez compare: how far two films or pictures are from each other. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/context.h"
#include "base/error.h"
#include "base/file.h"
#include "base/queue.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "quality/compare.h"

static const char usage[] =
    "usage: uprez compare A B [options]\n\n"
    "PSNR, SSIM and MS-SSIM of each frame of two films or pictures. Frames belong together by time; the\n"
    "smaller picture is enlarged (bicubic). Ends with 8 where frames have no partner or a file is damaged.\n";

typedef struct CompareArgs {
    const char *cpu, *report;
    int threads;
    bool json, down, overwrite, quiet, no_ms_ssim;
} CompareArgs;

/* One line that is written over, on a terminal only. */
typedef struct Ticker {
    int64_t last_ns;
    bool on;
} Ticker;

static void tick(void *cookie, int64_t done, int64_t total)
{
    Ticker *t = cookie;
    const int64_t now = upz_now_ns();
    if (!t->on || now - t->last_ns < 200000000) return;
    t->last_ns = now;
    if (total > 0) fprintf(stderr, "\r%lld of %lld frames", (long long)done, (long long)total);
    else fprintf(stderr, "\r%lld frames", (long long)done);
}

static cJSON *number(double v)
{
    return isfinite(v) ? cJSON_CreateNumber(v) : cJSON_CreateNull();
}

/* psnr is null where both are identical. */
static void add_measured(cJSON *to, const UpzComparison *c, const UpzMeasured *m)
{
    cJSON *psnr = cJSON_AddObjectToObject(to, "psnr"), *ssim = cJSON_AddObjectToObject(to, "ssim");
    for (int i = 0; i < m->n; i++) {
        cJSON_AddItemToObject(psnr, c->component[i], number(upz_psnr(m->error[i], m->peak)));
        cJSON_AddItemToObject(ssim, c->component[i],
                              m->ssim[i] >= 0 ? number(m->ssim[i]) : cJSON_CreateNull());
    }
    cJSON_AddItemToObject(psnr, "all", number(upz_psnr(upz_measured_error(m), m->peak)));
    const double all = upz_measured_ssim(m);
    cJSON_AddItemToObject(ssim, "all", all >= 0 ? number(all) : cJSON_CreateNull());
    cJSON_AddItemToObject(to, "ms_ssim", m->ms_ssim >= 0 ? number(m->ms_ssim) : cJSON_CreateNull());
}

static void print_json(const UpzComparison *c, const char *const input[2])
{
    cJSON *all = cJSON_CreateObject();
    for (int i = 0; i < 2; i++) {
        const UpzCompareSide *s = &c->side[i];
        cJSON *side = cJSON_AddObjectToObject(all, i ? "b" : "a");
        cJSON_AddStringToObject(side, "file", input[i]);
        cJSON_AddNumberToObject(side, "width", s->width);
        cJSON_AddNumberToObject(side, "height", s->height);
        cJSON_AddStringToObject(side, "format", s->format);
        cJSON_AddNumberToObject(side, "frames", (double)s->frames);
        cJSON_AddNumberToObject(side, "alone", (double)s->alone);
        cJSON_AddNumberToObject(side, "damaged", (double)s->damaged);
    }
    cJSON_AddNumberToObject(all, "width", c->width);
    cJSON_AddNumberToObject(all, "height", c->height);
    cJSON_AddStringToObject(all, "format", c->format);
    cJSON_AddNumberToObject(all, "compared", (double)c->n);
    add_measured(cJSON_AddObjectToObject(all, "mean"), c, &c->mean);
    cJSON *frames = cJSON_AddArrayToObject(all, "frames");
    for (size_t i = 0; i < c->n; i++) {
        cJSON *f = cJSON_CreateObject();
        cJSON_AddNumberToObject(f, "time", c->point[i].time);
        cJSON_AddNumberToObject(f, "a", (double)c->point[i].frame[0]);
        cJSON_AddNumberToObject(f, "b", (double)c->point[i].frame[1]);
        add_measured(f, c, &c->point[i].measured);
        cJSON_AddItemToArray(frames, f);
    }
    char *text = cJSON_PrintUnformatted(all);
    if (text) upz_cli_text(text);
    cJSON_free(text);
    cJSON_Delete(all);
}

static void print_decibel(double error, double peak)
{
    if (error > 0) printf("  %7.3f", upz_psnr(error, peak));
    else printf("      inf");
}

static void print_text(const UpzComparison *c, const char *const input[2])
{
    for (int i = 0; i < 2; i++) {
        const UpzCompareSide *s = &c->side[i];
        upz_cli_plain(stdout, input[i]);
        printf(": %dx%d, %s, %lld frame%s", s->width, s->height, s->format, (long long)s->frames,
               s->frames == 1 ? "" : "s");
        if (s->alone) printf(", %lld without a partner", (long long)s->alone);
        if (s->damaged) printf(", %lld damaged", (long long)s->damaged);
        putchar('\n');
    }
    const UpzMeasured *m = &c->mean;
    printf("measured at %dx%d, %s\n        ", c->width, c->height, c->format);
    for (int i = 0; i < m->n; i++) printf("  %7s", c->component[i]);
    printf("  %7s\nPSNR, dB", "all");
    for (int i = 0; i < m->n; i++) print_decibel(m->error[i], m->peak);
    print_decibel(upz_measured_error(m), m->peak);
    printf("\nSSIM    ");
    for (int i = 0; i < m->n; i++) printf("  %7.5f", m->ssim[i]);
    printf("  %7.5f\n", upz_measured_ssim(m));
    if (m->ms_ssim >= 0) printf("MS-SSIM   %7.5f\n", m->ms_ssim);
    if (c->n < 2) return;
    const UpzComparePoint *w = &c->point[c->worst];
    printf("worst frame: %lld at %.3f s,", (long long)w->frame[0], w->time);
    print_decibel(upz_measured_error(&w->measured), w->measured.peak);
    printf(" dB\n");
}

/* What was measured is right, but not everything could be. */
static int incomplete(const UpzComparison *c, const char *const input[2], UprezError *err)
{
    for (int i = 0; i < 2; i++) {
        const UpzCompareSide *s = &c->side[i];
        if (s->damaged)
            return upz_fail(err, UPREZ_ERR_VERIFY, "'%s' is damaged (%lld error%s while it was decoded); the "
                            "figures are those of what could be read", input[i], (long long)s->damaged,
                            s->damaged == 1 ? "" : "s");
        if (s->alone)
            return upz_fail(err, UPREZ_ERR_VERIFY, "%lld of %lld frames of '%s' have no partner in '%s' at "
                            "their time; the figures are those of the others", (long long)s->alone,
                            (long long)s->frames, input[i], input[!i]);
    }
    return 0;
}

static int compare(UprezContext *ctx, const CompareArgs *a, const char *const input[2], UprezError *err)
{
    Ticker ticker = {.on = !a->quiet && isatty(STDERR_FILENO)};
    UpzCompareParams p = {.input = {input[0], input[1]}, .down = a->down, .ms_ssim = !a->no_ms_ssim,
                          .samples = a->report != NULL, .cancel = &upz_cli_signal, .progress = tick,
                          .cookie = &ticker};
    UpzComparison c;
    int r = upz_compare(&c, ctx, &p, err);
    if (ticker.last_ns) fprintf(stderr, "\r                              \r");
    if (r >= 0 && a->report) r = upz_compare_report(&c, input, a->report, err);
    if (r >= 0) {
        if (a->json) print_json(&c, input);
        else print_text(&c, input);
        if (fflush(stdout) || ferror(stdout))
            r = upz_fail(err, UPREZ_ERR_OUTPUT, "the figures could not be written to standard output");
    }
    if (r >= 0) r = incomplete(&c, input, err);
    upz_comparison_free(&c);
    return r;
}

int upz_cmd_compare(int argc, char **argv)
{
    CompareArgs a = {0};
    const UpzOption options[] = {
        {"--report", UPZ_OPT_STRING, "FILE.html", &a.report, 0, 0,
         "also a page with figures, plots and the worst frames under a slider", "Options"},
        {"--down", UPZ_OPT_FLAG, NULL, &a.down, 0, 0, "reduce the larger picture instead", NULL},
        {"--no-ms-ssim", UPZ_OPT_FLAG, NULL, &a.no_ms_ssim, 0, 0, "without MS-SSIM, which takes longest", NULL},
        {"--json", UPZ_OPT_FLAG, NULL, &a.json, 0, 0, "all figures of each frame, for programs", NULL},
        {"-y --overwrite", UPZ_OPT_FLAG, NULL, &a.overwrite, 0, 0, "replace an existing page", NULL},
        {"-q --quiet", UPZ_OPT_FLAG, NULL, &a.quiet, 0, 0, "no progress", NULL},
        {"--threads", UPZ_OPT_INT, "N", &a.threads, 1, 256, "worker threads", NULL},
        {"--cpu", UPZ_OPT_CHOICE, upz_cpu_levels, &a.cpu, 0, 0, "highest processor level", NULL},
    };
    UprezError err = {0};
    const char *input[2] = {NULL, NULL};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, input, 2, usage, &err);
    if (r == UPREZ_EOF) return 0;
    if (r >= 0 && r != 2) r = upz_fail(&err, UPREZ_ERR_USAGE, "uprez compare needs two files: uprez compare A B");
    if (r >= 0 && a.report && !a.overwrite && upz_exists(a.report))
        r = upz_fail(&err, UPREZ_ERR_USAGE, "'%s' exists; -y replaces it", a.report);
    if (r < 0) return upz_cli_error(&err);

    int verbosity = a.quiet ? -1 : 0;
    UprezContextParams cp = {.size = sizeof(cp), .threads = a.threads, .cpu = a.cpu,
                             .log = upz_cli_log, .log_cookie = &verbosity};
    UprezContext *ctx;
    r = uprez_context_create(&ctx, &cp, &err);
    if (r >= 0) {
        r = compare(ctx, &a, input, &err);
        uprez_context_destroy(&ctx);
    }
    return r < 0 ? upz_cli_error(&err) : 0;
}
