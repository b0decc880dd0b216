/* uprez sample: some frames of a film through several models, to choose one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "job/job.h"
#include "model/registry.h"
#include "quality/gallery.h"
#include "video/inspect.h"
#include "video/still.h"

static const char usage[] =
    "usage: uprez sample INPUT [-m MODEL]… [--at TIME]… [options]\n\n"
    "Some frames of a film, or a picture, through several models: a page with a divider between any two of them,\n"
    "and one picture with all. Without -m: lanczos, the built-in network and what is installed.\n";

typedef struct SampleArgs {
    UpzStringList models, times;
    const char *output, *device, *engine, *precision;
    double scale;
    int threads;
    bool overwrite, quiet;
} SampleArgs;

static bool is_installed(const UpzRegistryEntry *e)
{
    UprezError ignored;
    char *path = NULL;
    const bool there = !e->embedded && upz_registry_locate(e->name, &path, NULL, &ignored) >= 0;
    upz_free(path);
    return there;
}

/* Lanczos first: what one would have without a network. NULL stands for the default. */
static int choose(UpzGallery *g, const SampleArgs *a, UprezError *err)
{
    if (a->models.n > UPZ_GALLERY_MODELS)
        return upz_fail(err, UPREZ_ERR_USAGE, "%d models; a page has room for %d", a->models.n, UPZ_GALLERY_MODELS);
    for (int i = 0; i < a->models.n; i++) g->model[g->models++] = a->models.items[i];
    if (a->models.n) return 0;
    g->model[g->models++] = "lanczos";
    g->model[g->models++] = NULL;
    for (int i = 0; i < upz_registry_count() && g->models < UPZ_GALLERY_MODELS; i++)
        if (is_installed(upz_registry_get(i))) g->model[g->models++] = upz_registry_get(i)->name;
    return 0;
}

/* The times asked for, or three that are spread over the film. */
static int find_times(UpzGallery *g, UprezContext *ctx, const SampleArgs *a, const char *input, UprezError *err)
{
    if (a->times.n > UPZ_GALLERY_TIMES)
        return upz_fail(err, UPREZ_ERR_USAGE, "%d times; a page has room for %d", a->times.n, UPZ_GALLERY_TIMES);
    for (int i = 0; i < a->times.n; i++) {
        int r = upz_options_time("--at", a->times.items[i], &g->time[g->times++], err);
        if (r < 0) return r;
    }
    if (g->times) return 0;
    double seconds;
    int r = upz_inspect_length(&seconds, ctx, input, err);
    if (r < 0) return r;
    g->times = seconds > 1 ? 3 : 1;
    for (int i = 0; i < g->times; i++) g->time[i] = seconds * (2 * i + 1) / (2 * g->times);
    return 0;
}

/* The frame at a time through a model, as a picture; a still picture has but one. */
static int enlarge(UpzFrame **out, UprezContext *ctx, const SampleArgs *a, const char *input, const char **model,
                   double time, bool still, const char *path, char *name, size_t room, UprezError *err)
{
    UpzJobParams p;
    UpzJobResult result = {0};
    upz_job_params_init(&p);
    p.input = input;
    p.output = path;
    p.models = model;
    p.n_models = *model != NULL;
    p.upscale.scale = a->scale;
    p.upscale.device = a->device;
    p.upscale.engine = a->engine;
    p.upscale.precision = a->precision;
    p.overwrite = p.no_resume = p.tolerate_damage = true;
    p.cancel = &upz_cli_signal;
    if (!still) {
        p.start = time;
        p.frames = 1;
    }
    int r = upz_job_run(ctx, &p, &result, err);
    if (r < 0) return r;
    snprintf(name, room, "%.63s", *model ? upz_basename(*model) : result.model);
    return upz_still_read(out, NULL, ctx, path, NULL, err);
}

static int fill(UpzGallery *g, UprezContext *ctx, const SampleArgs *a, const char *input, const char *path,
                char (*names)[64], UprezError *err)
{
    const bool still = upz_still_probe(input, false, NULL);
    int r = 0;
    if (still) g->times = 1, g->time[0] = 0;
    for (int t = 0; t < g->times && r >= 0; t++) {
        UpzFrame *frames[UPZ_GALLERY_MODELS] = {NULL};
        const UprezPicture *results[UPZ_GALLERY_MODELS];
        for (int m = 0; m < g->models && r >= 0; m++) {
            if (!a->quiet && isatty(STDERR_FILENO))
                fprintf(stderr, "\r%d of %d   ", t * g->models + m + 1, g->times * g->models);
            r = enlarge(&frames[m], ctx, a, input, &g->model[m], g->time[t], still, path, names[m], sizeof(names[m]), err);
            if (r >= 0) r = upz_frame_picture(frames[m], err);
            if (r >= 0) results[m] = frames[m]->picture;
        }
        if (r >= 0) r = upz_gallery_add(g, ctx, t, results, err);
        for (int m = 0; m < g->models; m++) upz_frame_free(&frames[m]);
    }
    if (!a->quiet && isatty(STDERR_FILENO)) fprintf(stderr, "\r%20s\r", "");
    for (int m = 0; m < g->models; m++) g->model[m] = names[m];
    return r;
}

static int write_both(UpzGallery *g, const char *page, const char *sheet, UprezError *err)
{
    UprezPicture *all = NULL;
    int r = upz_gallery_sheet(g, &all, err);
    if (r >= 0) r = upz_still_write(sheet, all, NULL, 0, err);
    if (r >= 0) r = upz_gallery_page(g, page, err);
    uprez_picture_unref(&all);
    if (r < 0) return r;
    printf("%s: ", page);
    for (int m = 0; m < g->models; m++) {
        if (m) printf(", ");
        upz_cli_plain(stdout, g->model[m]);
    }
    printf(" at ");
    for (int t = 0; t < g->times; t++) printf("%s%.2f s", t ? ", " : "", g->time[t]);
    printf("\n%s: the same as one picture, a row a time, a column a model\n", sheet);
    return 0;
}

static int sample(UprezContext *ctx, const SampleArgs *a, const char *input, UprezError *err)
{
    UpzGallery g = {.title = upz_basename(input)};
    char names[UPZ_GALLERY_MODELS][64] = {""};
    const char *tmp = getenv("TMPDIR"), *dot = strrchr(upz_basename(input), '.');
    const int stem = (int)((dot ? dot : input + strlen(input)) - input);
    char *page = a->output ? upz_strdup(a->output) : upz_asprintf("%.*s.sample.html", stem, input);
    const char *end = page ? strrchr(page, '.') : NULL;
    char *sheet = page ? upz_asprintf("%.*s.png", (int)((end ? end : page + strlen(page)) - page), page) : NULL;
    char *folder = upz_asprintf("%s/uprez-sample-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    char *path = NULL;
    int r = page && sheet && folder ? 0 : upz_fail_memory(err, 0, "the sample");
    for (int i = 0; i < 2 && r >= 0 && !a->overwrite; i++)
        if (upz_exists(i ? sheet : page))
            r = upz_fail(err, UPREZ_ERR_USAGE, "%s exists; -y overwrites it", i ? sheet : page);
    if (r >= 0) r = choose(&g, a, err);
    if (r >= 0) r = find_times(&g, ctx, a, input, err);
    if (r >= 0 && !mkdtemp(folder))
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "no folder can be made in %s; TMPDIR names another place",
                     tmp && *tmp ? tmp : "/tmp");
    if (r >= 0) {
        path = upz_asprintf("%s/frame.png", folder);
        r = path ? fill(&g, ctx, a, input, path, names, err) : upz_fail_memory(err, 0, "the sample");
        if (path) unlink(path);
        rmdir(folder);
    }
    if (r >= 0) r = write_both(&g, page, sheet, err);
    upz_gallery_free(&g);
    upz_free(page);
    upz_free(sheet);
    upz_free(folder);
    upz_free(path);
    return r;
}

int upz_cmd_sample(int argc, char **argv)
{
    SampleArgs a = {.scale = 2};
    const UpzOption options[] = {
        {"-m --model", UPZ_OPT_LIST, "NAME|FILE", &a.models, 0, 0, "may be repeated", "Options"},
        {"--at", UPZ_OPT_LIST, "TIME", &a.times, 0, 0, "may be repeated; default: three times spread over the film",
         NULL},
        {"-s --scale", UPZ_OPT_DOUBLE, "F", &a.scale, 0.01, 64, "of all results; default 2", NULL},
        {"-o --output", UPZ_OPT_STRING, "FILE.html", &a.output, 0, 0,
         "the page, and FILE.png beside it; default: INPUT's name with .sample.html", NULL},
        {"-y --overwrite", UPZ_OPT_FLAG, NULL, &a.overwrite, 0, 0, "replace an existing page", NULL},
        {"-d --device", UPZ_OPT_STRING, "auto|cpu|cuda[:N]", &a.device, 0, 0, "where to compute", NULL},
        {"--engine", UPZ_OPT_STRING, "auto|NAME", &a.engine, 0, 0, "what to compute with", NULL},
        {"--precision", UPZ_OPT_CHOICE, "auto|fp32|fp16|bf16|fp8|int8", &a.precision, 0, 0, "arithmetic", NULL},
        {"-q --quiet", UPZ_OPT_FLAG, NULL, &a.quiet, 0, 0, "no progress", NULL},
        {"--threads", UPZ_OPT_INT, "N", &a.threads, 1, 256, "worker threads", NULL},
    };
    UprezError err = {0};
    const char *input[1] = {NULL};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, input, 1, usage, &err);
    if (r == UPREZ_EOF) return 0;
    if (r >= 0 && r != 1) r = upz_fail(&err, UPREZ_ERR_USAGE, "uprez sample needs a film or a picture: uprez sample FILE");
    if (r < 0) return upz_cli_error(&err);
    int verbosity = -1; /* what the jobs say of themselves would be said once a frame */
    UprezContextParams cp = {.size = sizeof(cp), .threads = a.threads, .log = upz_cli_log,
                             .log_cookie = &verbosity};
    UprezContext *ctx;
    r = uprez_context_create(&ctx, &cp, &err);
    if (r >= 0) {
        r = sample(ctx, &a, input[0], &err);
        uprez_context_destroy(&ctx);
    }
    return r < 0 ? upz_cli_error(&err) : 0;
}
