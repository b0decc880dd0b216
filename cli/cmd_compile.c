/* uprez model compile: TensorRT builds an engine for a model, a GPU and a range of sizes. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "engine/tensorrt/trt.h"
#include "job/parts.h"
#include "model/registry.h"
#include "uprez/model.h"

static const char usage[] =
    "usage: uprez model compile IN [-o FILE] [options]\n\n"
    "Builds a TensorRT engine, which takes minutes. Without -o it is kept for later runs with\n"
    "--engine tensorrt, which find it; FILE can be given to -m. It runs sizes from --min to "
    "--max:\n"
    "larger pictures are tiled, smaller ones padded.\n";

#define MOST 16 /* pictures at a time, as the adapter of tensor runtimes has it */

/* --min, --opt and --max; what is not given follows from what is. */
static int take_sizes(int size[UPZ_TRT_SIZES][2], int align, int batch, UpzTrtProfile *p,
                      UprezError *err)
{
    static const char *const names[] = {"--min", "--opt", "--max"};
    int *least = size[UPZ_TRT_MIN], *best = size[UPZ_TRT_OPT], *most = size[UPZ_TRT_MAX];
    for (int i = 0; i < 2; i++) {
        if (!best[i]) best[i] = most[i] ? most[i] : least[i] > 512 ? least[i] : 512;
        if (!most[i]) most[i] = best[i] > 640 ? best[i] : 640;
        if (!least[i]) least[i] = best[i] < 16 ? best[i] : 16;
    }
    for (int s = 0; s < UPZ_TRT_SIZES; s++) {
        if (size[s][0] % align || size[s][1] % align)
            return upz_fail(err, UPREZ_ERR_USAGE,
                            "%s %dx%d: this network takes sizes that are "
                            "multiples of %d",
                            names[s], size[s][0], size[s][1], align);
        if (s && (size[s][0] < size[s - 1][0] || size[s][1] < size[s - 1][1]))
            return upz_fail(err, UPREZ_ERR_USAGE, "%s %dx%d is smaller than %s %dx%d", names[s],
                            size[s][0], size[s][1], names[s - 1], size[s - 1][0], size[s - 1][1]);
        p->batch[s] = s == UPZ_TRT_MIN ? 1 : batch;
        p->width[s] = size[s][0];
        p->height[s] = size[s][1];
    }
    return 0;
}

/* Mixing needs a twin, which the loader finds by the model's name. */
static int check_twin(const char *name, UprezError *err)
{
    const UpzRegistryEntry *entry = NULL;
    char *path = NULL;
    int r = upz_registry_locate(name, &path, &entry, err);
    upz_free(path);
    if (r < 0 || (entry && entry->twin)) return r;
    return upz_fail(err, UPREZ_ERR_USAGE, "--denoise needs a model with a twin, such as "
                    "realesr-general-x4v3, or one to mix with (--denoise 0.5:FILE); %s has none", name);
}

/* "cuda", "cuda:1" */
static int take_device(const char *name, int *index, UprezError *err)
{
    *index = 0;
    if (!name || !strcmp(name, "auto") || !strcmp(name, "cuda")) return 0;
    char *end = NULL;
    long n = strncmp(name, "cuda:", 5) ? -1 : strtol(name + 5, &end, 10);
    if (n < 0 || n > 1000 || !end || end == name + 5 || *end)
        return upz_fail(err, UPREZ_ERR_USAGE, "engines are built on a GPU: -d cuda:0, not '%s'",
                        name);
    *index = (int)n;
    return 0;
}

int upz_cli_compile(int argc, char **argv, UprezError *err)
{
    bool half = false, full = false, overwrite = false, verbose = false, quiet = false;
    int size[UPZ_TRT_SIZES][2] = {{0}}, device = 0, threads = 0, batch = 1;
    UpzMix denoise = {.share = -1};
    const char *out = NULL, *device_name = NULL, *runtime_path = NULL;
    const UpzOption options[] = {
        {"-o --output", UPZ_OPT_STRING, "FILE", &out, 0, 0,
         "write the engine to FILE (.engine), and to FILE.txt what it is for", "Options"},
        {"--fp16", UPZ_OPT_FLAG, NULL, &half, 0, 0, "compute in 16 bits (default)", NULL},
        {"--fp32", UPZ_OPT_FLAG, NULL, &full, 0, 0, "compute in 32 bits", NULL},
        {"--min", UPZ_OPT_SIZE, "WxH", size[UPZ_TRT_MIN], 0, 0, "smallest input (default 16x16)",
         NULL},
        {"--opt", UPZ_OPT_SIZE, "WxH", size[UPZ_TRT_OPT], 0, 0,
         "the input to be fastest at (default 512x512)", NULL},
        {"--max", UPZ_OPT_SIZE, "WxH", size[UPZ_TRT_MAX], 0, 0, "largest input (default 640x640)",
         NULL},
        {"--batch", UPZ_OPT_INT, "N", &batch, 1, MOST,
         "up to this many pictures or tiles at a time (default 1)", NULL},
        {"-dn --denoise", UPZ_OPT_MIX, "F[:FILE]", &denoise, 0, 1,
         "mix with the model's twin, or with FILE: 1 is the model itself", NULL},
        {"-d --device", UPZ_OPT_STRING, "cuda:N", &device_name, 0, 0, "GPU to build for", NULL},
        {"--runtime-path", UPZ_OPT_STRING, "DIR", &runtime_path, 0, 0,
         "where ONNX Runtime and TensorRT are looked for first", NULL},
        {"--threads", UPZ_OPT_INT, "N", &threads, 1, 256, "worker threads", NULL},
        {"-y --overwrite", UPZ_OPT_FLAG, NULL, &overwrite, 0, 0, "replace an existing FILE", NULL},
        {"-v --verbose", UPZ_OPT_FLAG, NULL, &verbose, 0, 0, "say all that the builder says", NULL},
        {"-q --quiet", UPZ_OPT_FLAG, NULL, &quiet, 0, 0, "say errors only", NULL},
    };
    const char *name;
    int n = upz_options_parse(options, UPZ_COUNT(options), argc, argv, &name, 1, usage, err);
    if (n < 0) return n;
    if (n < 1) return upz_fail(err, UPREZ_ERR_USAGE, "compile what? uprez model compile IN");
    if (half && full) return upz_fail(err, UPREZ_ERR_USAGE, "--fp16 and --fp32 exclude each other");
    int r = take_device(device_name, &device, err);
    if (r >= 0 && out) r = upz_check_output(name, out, overwrite, err);
    if (r >= 0 && denoise.share >= 0 && !denoise.twin) r = check_twin(name, err);
    if (r < 0) return r;

    int verbosity = quiet ? -1 : verbose;
    char folder[PATH_MAX] = "";
    UprezContext *ctx = NULL;
    UprezModel *m = NULL;
    UpzTrtProfile profile;
    UprezContextParams cp = {
        .size = sizeof(cp), .threads = threads, .log = upz_cli_log, .log_cookie = &verbosity};
    UprezModelParams mp = {.size = sizeof(mp),
                           .denoise = denoise.share,
                           .twin = denoise.twin,
                           .mix = denoise.share >= 0,
                           .engine = "tensorrt",
                           .device = device_name,
                           .runtime_path = runtime_path};
    r = uprez_context_create(&ctx, &cp, err);
    if (r >= 0) r = uprez_model_load(&m, ctx, name, &mp, err);
    if (r >= 0) r = take_sizes(size, UPZ_MAX(uprez_model_facts(m)->align, 1), batch, &profile, err);
    if (r >= 0)
        r = upz_trt_compile(ctx, m, device, runtime_path, full ? "fp32" : "fp16", &profile, out,
                            folder, err);
    if (r >= 0 && !quiet) {
        upz_cli_plain(stdout, out ? out : folder);
        printf(": %s, %dx%d to %dx%d, best at %dx%d", full ? "fp32" : "fp16",
               profile.width[UPZ_TRT_MIN], profile.height[UPZ_TRT_MIN], profile.width[UPZ_TRT_MAX],
               profile.height[UPZ_TRT_MAX], profile.width[UPZ_TRT_OPT],
               profile.height[UPZ_TRT_OPT]);
        if (batch > 1) printf(", 1 to %d at a time", batch);
        putchar('\n');
    }
    uprez_model_unref(&m);
    uprez_context_destroy(&ctx);
    return r;
}
