/* uprez model list | info | verify | pull | convert; compile is in cmd_compile.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "engine/libtorch/libtorch.h"
#include "job/fetch.h"
#include "job/parts.h"
#include "model/model.h"
#include "model/registry.h"
#include "model/write.h"

static void print_json(cJSON *o)
{
    char *text = cJSON_Print(o);
    if (text) upz_cli_text(text);
    cJSON_free(text);
    cJSON_Delete(o);
}

/* ---- list ---- */

static const char list_usage[] = "usage: uprez model list [--json]\n\n"
                                 "Known models: whether they are installed, and how to get them.\n";

/* What --for takes the model for. */
static void add_families(cJSON *o, const char *name)
{
    static const char *const families[] = {"anime", "film", "photo"};
    cJSON *all = cJSON_AddArrayToObject(o, "families");
    for (int i = 0; i < UPZ_COUNT(families); i++) {
        bool in = false;
        for (int video = 0; video < 2; video++)
            for (const char *const *n = upz_registry_family(families[i], video); n && *n; n++)
                in |= !strcmp(*n, name);
        if (in) cJSON_AddItemToArray(all, cJSON_CreateString(families[i]));
    }
}

static int cmd_list(int argc, char **argv, UprezError *err)
{
    bool json = false;
    const UpzOption options[] = {
        {"--json", UPZ_OPT_FLAG, NULL, &json, 0, 0, "an array for programs", "Options"}};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, NULL, 0, list_usage, err);
    if (r < 0) return r;
    cJSON *all = json ? cJSON_CreateArray() : NULL;
    if (!json) printf("%-30s %5s  %-9s %-10s %s\n", "name", "scale", "", "", "for");
    for (int i = 0; i < upz_registry_count(); i++) {
        const UpzRegistryEntry *e = upz_registry_get(i);
        char *path = NULL;
        bool installed = upz_registry_locate(e->name, &path, NULL, NULL) >= 0;
        if (json) {
            cJSON *o = cJSON_CreateObject();
            cJSON_AddStringToObject(o, "name", e->name);
            cJSON_AddStringToObject(o, "file", e->file);
            cJSON_AddStringToObject(o, "architecture", e->architecture);
            cJSON_AddNumberToObject(o, "scale", e->scale);
            cJSON_AddStringToObject(o, "licence", e->licence);
            cJSON_AddStringToObject(o, "url", e->url);
            cJSON_AddStringToObject(o, "sha256", e->sha256);
            cJSON_AddBoolToObject(o, "verified", e->sha256[0] != 0);
            cJSON_AddNumberToObject(o, "bytes", (double)e->bytes);
            cJSON_AddBoolToObject(o, "installed", installed);
            cJSON_AddBoolToObject(o, "embedded", e->embedded != NULL);
            if (installed && !e->embedded) cJSON_AddStringToObject(o, "path", path);
            add_families(o, e->name);
            cJSON_AddItemToArray(all, o);
        } else {
            printf("%-30s %4dx  %-9s %-10s %s\n", e->name, e->scale,
                   e->embedded ? "built in" : installed ? "installed" : "",
                   e->sha256[0] ? "" : "unverified", e->about);
        }
        upz_free(path);
    }
    if (json) {
        print_json(all);
    } else {
        puts("\nlanczos, bicubic, spline36: no network, any scale, always there\n"
             "Get one with 'uprez model pull NAME'. Without -m the built-in networks are used.");
    }
    return 0;
}

/* ---- info ---- */

static const char info_usage[] = "usage: uprez model info FILE|NAME … [--json]\n\n"
                                 "What was found in a model's file, and how.\n";

static const char *input_name(int input)
{
    return input == UPREZ_INPUT_RGB ? "RGB" : input == UPREZ_INPUT_Y_FULL ? "luma, full range"
                                                                          : "luma, studio range";
}

/* What only a runtime can read is known as far as the runtime tells. */
static bool weights_known(const UprezModel *m) { return !m->foreign[0] || m->facts.parameters; }

static cJSON *info_json(const UprezModel *m)
{
    const UprezModelFacts *f = uprez_model_facts(m);
    cJSON *o = cJSON_CreateObject();
    const struct {
        const char *key, *value;
    } texts[] = {{"path", f->path}, {"architecture", f->architecture}, {"container", f->container},
                 {"detail", f->detail}, {"input", input_name(f->input)}, {"sha256", f->sha256}};
    for (int i = 0; i < UPZ_COUNT(texts); i++)
        cJSON_AddStringToObject(o, texts[i].key, texts[i].value ? texts[i].value : "");
    cJSON_AddNumberToObject(o, "scale", (double)f->scale_num / f->scale_den);
    cJSON_AddNumberToObject(o, "channels", f->channels);
    cJSON_AddNumberToObject(o, "reach", f->reach);
    cJSON_AddNumberToObject(o, "align", f->align);
    if (weights_known(m)) {
        cJSON_AddNumberToObject(o, "parameters", (double)f->parameters);
        cJSON_AddBoolToObject(o, "half", f->half);
    } else {
        cJSON_AddNullToObject(o, "parameters");
        cJSON_AddNullToObject(o, "half");
    }
    if (m->foreign[0]) cJSON_AddNullToObject(o, "macs_per_pixel");
    else cJSON_AddNumberToObject(o, "macs_per_pixel", (double)f->macs);
    return o;
}

static void info_text(const UprezModel *m, const UpzRegistryEntry *known)
{
    const UprezModelFacts *f = uprez_model_facts(m);
    upz_cli_plain(stdout, f->path);
    printf("\n  architecture  %s%s", f->architecture, f->detail && *f->detail ? ": " : "");
    upz_cli_plain(stdout, f->detail ? f->detail : "");
    putchar('\n');
    if (f->container && *f->container)
        printf("  file          %s%s\n", f->container, f->half ? ", weights in 16 bits" : "");
    printf("  scale         %g\n", (double)f->scale_num / f->scale_den);
    printf("  input         %s\n", input_name(f->input));
    printf("  reach         %d px; sizes in multiples of %d\n", f->reach, f->align);
    if (weights_known(m)) printf("  parameters    %lld; ", (long long)f->parameters);
    else printf("  parameters    unknown; ");
    if (m->foreign[0]) printf("work unknown\n");
    else printf("%.3f MFLOP an input pixel\n", 2e-6 * (double)f->macs);
    if (f->sha256[0])
        printf("  SHA-256       %s%s\n", f->sha256,
               known && known->sha256[0] && !strcmp(known->sha256, f->sha256) ? " (the official file)"
                                                                              : "");
}

static int cmd_info(UprezContext *ctx, int argc, char **argv, UprezError *err)
{
    bool json = false;
    const UpzOption options[] = {
        {"--json", UPZ_OPT_FLAG, NULL, &json, 0, 0, "an object for programs, or an array of several",
         "Options"}};
    const char *names[64];
    int n = upz_options_parse(options, UPZ_COUNT(options), argc, argv, names, 64, info_usage, err);
    if (n < 0) return n;
    if (!n) return upz_fail(err, UPREZ_ERR_USAGE, "which model? uprez model info FILE or NAME");
    cJSON *all = json && n > 1 ? cJSON_CreateArray() : NULL;
    int r = 0;
    for (int i = 0; i < n && r >= 0; i++) {
        char *path = NULL;
        UprezModel *m = NULL;
        r = upz_registry_locate(names[i], &path, NULL, err);
        if (r >= 0) r = uprez_model_load(&m, ctx, path, NULL, err);
        if (r >= 0) {
            if (all) cJSON_AddItemToArray(all, info_json(m));
            else if (json) print_json(info_json(m));
            else info_text(m, upz_registry_find(upz_basename(path)));
        }
        uprez_model_unref(&m);
        upz_free(path);
    }
    if (all && r >= 0) print_json(all);
    else cJSON_Delete(all);
    return r;
}

/* ---- verify ---- */

static const char verify_usage[] = "usage: uprez model verify [NAME …]\n\n"
                                   "Compares installed files with the registry's hashes.\n";

static int verify_one(const UpzRegistryEntry *e, const char *path, UprezError *err)
{
    char hex[UPZ_SHA256_HEX];
    if (e->embedded) {
        printf("%-30s built in    %s\n", e->name, e->sha256);
        return 0;
    }
    int r = upz_sha256_file(path, hex, UPREZ_ERR_MODEL, err);
    if (r < 0) return r;
    if (!e->sha256[0]) {
        printf("%-30s unverified  %s\n", e->name, hex);
        return 0;
    }
    bool same = !strcmp(hex, e->sha256);
    printf("%-30s %s  %s\n", e->name, same ? "right     " : "WRONG     ", path);
    if (same) return 0;
    return upz_fail(err, UPREZ_ERR_MODEL, "%s has SHA-256 %s where %s is expected; remove it and "
                    "'uprez model pull %s'", path, hex, e->sha256, e->name);
}

static int cmd_verify(int argc, char **argv, UprezError *err)
{
    const char *names[64];
    int n = upz_options_parse(NULL, 0, argc, argv, names, 64, verify_usage, err);
    if (n < 0) return n;
    int result = 0, seen = 0;
    for (int i = 0; i < (n ? n : upz_registry_count()); i++) {
        const UpzRegistryEntry *e = n ? upz_registry_find(names[i]) : upz_registry_get(i);
        UprezError why = {0};
        char *path = NULL;
        int r = e ? upz_registry_locate(e->name, &path, NULL, &why)
                  : upz_fail(&why, UPREZ_ERR_MODEL,
                             "'%s' is not in the registry, so there is nothing to compare it with; "
                             "see 'uprez model list'", names[i]);
        if (r >= 0) {
            seen++;
            r = verify_one(e, path, &why);
        } else if (!n) {
            r = 0; /* not installed: nothing to verify */
        }
        upz_free(path);
        if (r < 0 && result >= 0) {
            result = r;
            *err = why;
        }
    }
    if (!n && !seen) puts("no known model is installed; see 'uprez model list'");
    return result;
}

/* ---- pull ---- */

static const char pull_usage[] =
    "usage: uprez model pull NAME … [options]\n\n"
    "Gets models into the first directory of UPREZ_MODEL_PATH, else ~/.local/share/uprez/models.\n";

static void pull_progress(void *cookie, int64_t now, int64_t total)
{
    int *last = cookie;
    int percent = total > 0 ? (int)(now * 100 / total) : 0;
    if (percent == *last) return;
    *last = percent;
    fprintf(stderr, "\r%3d %%  %.1f MB\033[K", percent, (double)now * 1e-6);
}

static int cmd_pull(UprezContext *ctx, int argc, char **argv, UprezError *err)
{
    const char *mirror = getenv("UPREZ_MODEL_MIRROR"), *hash = NULL;
    bool quiet = false;
    const UpzOption options[] = {
        {"--accept-hash", UPZ_OPT_STRING, "HEX", &hash, 0, 0,
         "the SHA-256 you trust, for a model without a published one", "Options"},
        {"--mirror", UPZ_OPT_STRING, "URL", &mirror, 0, 0,
         "fetch URL/FILE instead (https:// or file://); also UPREZ_MODEL_MIRROR", NULL},
        {"-q --quiet", UPZ_OPT_FLAG, NULL, &quiet, 0, 0, "say errors only", NULL},
    };
    const char *names[64];
    int n = upz_options_parse(options, UPZ_COUNT(options), argc, argv, names, 64, pull_usage, err);
    if (n < 0) return n;
    if (!n) return upz_fail(err, UPREZ_ERR_USAGE, "which model? see 'uprez model list'");
    if (hash && (n > 1 || strlen(hash) != 64 || strspn(hash, "0123456789abcdefABCDEF") != 64))
        return upz_fail(err, UPREZ_ERR_USAGE, "--accept-hash takes the 64 hex digits for one model");
    if (mirror && !*mirror) mirror = NULL;
    int r = 0;
    for (int i = 0; i < n && r >= 0; i++) {
        const UpzRegistryEntry *e = upz_registry_find(names[i]);
        if (!e)
            return upz_fail(err, UPREZ_ERR_MODEL, "there is no model '%s' to get; see 'uprez model "
                            "list'", names[i]);
        if (e->embedded) {
            if (!quiet) printf("%s is built in\n", e->name);
            continue;
        }
        if (hash && e->sha256[0] && strcasecmp(hash, e->sha256))
            return upz_fail(err, UPREZ_ERR_MODEL, "%s is published with SHA-256 %s, not %s", e->name,
                            e->sha256, hash);
        char *path = NULL;
        int last = -1;
        bool show = !quiet && isatty(STDERR_FILENO);
        UpzFetchParams p = {.mirror = mirror, .accept_hash = hash, .cancel = &upz_cli_signal,
                            .progress = show ? pull_progress : NULL, .cookie = &last};
        r = upz_fetch_model(ctx, e, &p, &path, err);
        if (show && last >= 0) fprintf(stderr, "\r\033[K");
        if (r >= 0 && !quiet) printf("%s\n", path);
        upz_free(path);
    }
    return r;
}

/* ---- convert ---- */

static const char convert_usage[] =
    "usage: uprez model convert IN OUT [options]\n\n"
    "Writes a model for other programs. OUT's name says how: .onnx, .safetensors (for PyTorch and\n"
    "spandrel), .param (ncnn, with its .bin beside it), .pt (TorchScript).\n";

/* TorchScript is LibTorch's own format: its engine writes it. */
static int write_torchscript(UprezModel *model, const char *out, const UpzWriteParams *params,
                             UprezError *err)
{
    const UpzOnnxParams *p = &params->onnx;
    if (p->opset || p->half_io || p->fixed_batch || p->fixed_width || p->fixed_height)
        return upz_fail(err, UPREZ_ERR_USAGE, "--opset, --size, --batch and --fp16-io are for .onnx, "
                        "not for %s", out);
    return upz_libtorch_write(model, out, p->half, NULL, err);
}

/* With a share >= 0 mixed with its twin. */
static int load_for_convert(UprezContext *ctx, const char *name, const UpzMix *mix, UprezModel **model,
                            UprezError *err)
{
    char *path = NULL, *twin = NULL;
    const UpzRegistryEntry *entry = NULL;
    UprezModelParams mp = {.size = sizeof(mp), .denoise = mix->share};
    int r = upz_registry_use(name, &path, &entry, err);
    if (r >= 0 && mix->share >= 0) {
        r = mix->twin || (entry && entry->twin)
                ? upz_registry_use(mix->twin ? mix->twin : entry->twin, &twin, NULL, err)
                : upz_fail(err, UPREZ_ERR_USAGE, "--denoise needs a model with a twin, such as "
                           "realesr-general-x4v3, or one to mix with (--denoise 0.5:FILE); %s has none", name);
        mp.twin = twin;
    }
    if (r >= 0) r = upz_model_load(model, ctx, path, &mp, err);
    upz_free(path);
    upz_free(twin);
    return r;
}

/* The output, and the other file of an ncnn pair, must not be there. */
static int check_convert_output(const char *in, const char *out, bool overwrite, UprezError *err)
{
    int r = upz_check_output(in, out, overwrite, err);
    bool param = !strcasecmp(upz_extension(out), "param");
    if (r < 0 || (!param && strcasecmp(upz_extension(out), "bin") != 0)) return r;
    char *other = upz_asprintf("%.*s%s", (int)(upz_extension(out) - out), out,
                               param ? "bin" : "param");
    if (!other) return upz_fail_memory(err, strlen(out), "a file name");
    r = upz_check_output(in, other, overwrite, err);
    upz_free(other);
    return r;
}

static void convert_notes(const UprezModel *m, const char *out)
{
    const UprezModelFacts *f = uprez_model_facts(m);
    const char *ext = upz_extension(out);
    bool checkpoint = !strcasecmp(ext, "safetensors"), onnx = !strcasecmp(ext, "onnx");
    bool ncnn = !strcasecmp(ext, "param") || !strcasecmp(ext, "bin");
    if (f->input == UPREZ_INPUT_Y_STUDIO && ncnn)
        fprintf(stderr, "uprez: note: the network takes luma in studio range, which ncnn files cannot say; "
                "the written one takes full range\n");
    else if (f->input == UPREZ_INPUT_Y_STUDIO && !checkpoint)
        fprintf(stderr, "uprez: note: the network takes luma in studio range (16/255 is black), "
                "which only the file's metadata says\n");
    if (checkpoint && m->graph.nodes[m->graph.output].act == UPZ_ACT_CLIP &&
        strcmp(f->architecture, "espcn") != 0)
        fprintf(stderr, "uprez: note: the cut-off at 0 and 1 at the network's end is no part of a "
                "checkpoint\n");
    if (f->align > 1 && (ncnn || (onnx && f->scale_den > 1)))
        fprintf(stderr, "uprez: note: the written network takes sizes that are multiples of %d\n",
                f->align);
}

static int cmd_convert(UprezContext *ctx, int argc, char **argv, UprezError *err)
{
    bool half = false, full = false, half_io = false, overwrite = false, quiet = false;
    int opset = 0, batch = 0, size[2] = {0, 0};
    UpzMix denoise = {.share = -1};
    const UpzOption options[] = {
        {"--fp16", UPZ_OPT_FLAG, NULL, &half, 0, 0, "weights in 16 bits; for .onnx also the arithmetic",
         "Options"},
        {"--fp32", UPZ_OPT_FLAG, NULL, &full, 0, 0, "in 32 bits, whatever IN has (default)", NULL},
        {"--fp16-io", UPZ_OPT_FLAG, NULL, &half_io, 0, 0, ".onnx: input and output in 16 bits too",
         NULL},
        {"--opset", UPZ_OPT_INT, "N", &opset, 16, 23, ".onnx: operator set, 16 to 23 (default 16)",
         NULL},
        {"--size", UPZ_OPT_SIZE, "WxH", size, 0, 0, ".onnx: for pictures of this size only", NULL},
        {"--batch", UPZ_OPT_INT, "N", &batch, 1, 4096, ".onnx: for this many at a time only", NULL},
        {"-dn --denoise", UPZ_OPT_MIX, "F[:FILE]", &denoise, 0, 1,
         "mix with the model's twin, or with FILE: 1 is the model itself", NULL},
        {"-y --overwrite", UPZ_OPT_FLAG, NULL, &overwrite, 0, 0, "replace an existing OUT", NULL},
        {"-q --quiet", UPZ_OPT_FLAG, NULL, &quiet, 0, 0, "say errors only", NULL},
    };
    const char *names[2];
    int n = upz_options_parse(options, UPZ_COUNT(options), argc, argv, names, 2, convert_usage, err);
    if (n < 0) return n;
    if (n < 2)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s to what? uprez model convert IN OUT.onnx",
                        n ? names[0] : "convert what");
    if (half && full) return upz_fail(err, UPREZ_ERR_USAGE, "--fp16 and --fp32 exclude each other");
    if (half_io && full) return upz_fail(err, UPREZ_ERR_USAGE, "--fp16-io goes with --fp16");
    const char *out = names[1], *ext = upz_extension(out);
    bool script = !strcasecmp(ext, "pt") || !strcasecmp(ext, "ts");
    UpzWriteParams p = {.onnx = {.opset = opset, .half = half || half_io, .half_io = half_io,
                                 .pad = true, .fixed_batch = batch, .fixed_width = size[0],
                                 .fixed_height = size[1]}};
    int r = script ? 0 : upz_write_check_params(out, &p, err);
    if (r >= 0) r = check_convert_output(names[0], out, overwrite, err);
    UprezModel *m = NULL;
    if (r >= 0) r = load_for_convert(ctx, names[0], &denoise, &m, err);
    if (r >= 0) r = script ? write_torchscript(m, out, &p, err) : upz_write_file(m, out, &p, err);
    if (r >= 0 && !quiet) {
        const UprezModelFacts *f = uprez_model_facts(m);
        convert_notes(m, out);
        upz_cli_plain(stdout, out);
        printf(": %s, scale %g, %s\n", f->architecture, (double)f->scale_num / f->scale_den,
               p.onnx.half ? "fp16" : "fp32");
    }
    uprez_model_unref(&m);
    return r;
}

static const char model_usage[] =
    "usage: uprez model list [--json]              known models\n"
    "       uprez model info FILE|NAME … [--json]  what a file holds\n"
    "       uprez model verify [NAME …]            installed files against their hashes\n"
    "       uprez model pull NAME …                get one\n"
    "       uprez model convert IN OUT             write one for other programs\n"
    "       uprez model compile IN [-o FILE]       build a TensorRT engine\n";

int upz_cmd_model(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")) {
        fputs(model_usage, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    UprezError err = {0};
    int verbosity = 0;
    UprezContextParams cp = {.size = sizeof(cp), .threads = 1, .log = upz_cli_log,
                             .log_cookie = &verbosity};
    UprezContext *ctx;
    int r = uprez_context_create(&ctx, &cp, &err);
    if (r >= 0) {
        if (!strcmp(argv[1], "list")) r = cmd_list(argc - 1, argv + 1, &err);
        else if (!strcmp(argv[1], "info")) r = cmd_info(ctx, argc - 1, argv + 1, &err);
        else if (!strcmp(argv[1], "verify")) r = cmd_verify(argc - 1, argv + 1, &err);
        else if (!strcmp(argv[1], "pull")) r = cmd_pull(ctx, argc - 1, argv + 1, &err);
        else if (!strcmp(argv[1], "convert")) r = cmd_convert(ctx, argc - 1, argv + 1, &err);
        else if (!strcmp(argv[1], "compile")) r = upz_cli_compile(argc - 1, argv + 1, &err);
        else r = upz_fail(&err, UPREZ_ERR_USAGE,
                          "there is no 'uprez model %s'; there are list, info, verify, pull, "
                          "convert and compile", argv[1]);
        uprez_context_destroy(&ctx);
    }
    return r < 0 && r != UPREZ_EOF ? upz_cli_error(&err) : 0;
}
