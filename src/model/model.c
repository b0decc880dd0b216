/* A file becomes a model: reader, architecture, facts; and the resampling kernels. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/arch.h"
#include "model/registry.h"
#include "model/unwrap.h"

enum { STRING_DETAIL, STRING_PATH, STRING_CONTAINER };

static const struct {
    const char *name, *about;
    UpzKernel kernel;
    int reach;
} kernels[] = {
    {"bicubic", "bicubic resampling (Catmull-Rom), no network", UPZ_KERNEL_BICUBIC, 2},
    {"lanczos", "Lanczos resampling with 3 lobes, no network", UPZ_KERNEL_LANCZOS, 3},
    {"spline36", "Spline36 resampling, no network", UPZ_KERNEL_SPLINE36, 3},
};

/* What an unknown checkpoint most likely is: a name that begins one of its tensors, or lies in it.
 * The first match counts. */
static const struct {
    const char *part, *family;
} families[] = {
    {"stylegan_decoder", "GFPGAN (faces)"},
    {"overlap_attn", "HAT"},
    {"residual_group.blocks", "SwinIR"},
    {"layers.0.blocks.0.attn", "a Swin transformer"},
    {"swin1.", "DRCT"},
    {"before_RG", "DAT"},
    {"gblocks.", "MoSR"},
    {"feats.0.", "PLKSR"},
    {"unet1.conv", "RealCUGAN"},
    {"initial.cnn.depthwise", "SwiftSRGAN"},
    {"intro.weight", "NAFNet"},
    {"to_feat.", "SAFMN"},
    {"residual_layer.0", "OmniSR"},
    {"m_head", "SCUNet or DRUNet"},
    {"spynet.", "BasicVSR (several frames)"},
    {"pcd_align", "EDVR (several frames)"},
    {"encoder.conv_in", "CodeFormer or RestoreFormer (faces)"},
    {"body.0.body.0.body.", "RCAN"},
    {"body.0.body.0.", "EDSR"},
    {"generator.", "a generative network"},
    {"optimizer", "a trainer's state"},
    {"transformer", "a transformer"},
    {"running_mean", "a network with batch normalisation"},
};

/* A file while it becomes a model. */
typedef struct Loading {
    UpzModelFile file;
    UpzMap map;
    const char *name; /* for messages */
    UpzTensorSet set;
    const UpzArch *arch;
    const char *foreign; /* UprezModel.foreign; foreign_why moves into the model */
    char *foreign_why;
} Loading;

static const UpzReader *find_reader(const UpzModelFile *f)
{
    for (int i = 0; upz_readers[i]; i++)
        if (upz_readers[i]->probe(f)) return upz_readers[i];
    return NULL;
}

static int unknown_file(const Loading *l, UprezError *err)
{
    const uint8_t *d = l->file.data;
    size_t n = l->file.size;
    const char *found = "an unknown format";
    if (n > 262 && !memcmp(d + 257, "ustar", 5))
        found = "a tar archive (PyTorch before 0.2?)";
    else if (n > 8 && !memcmp(d, "\x89HDF", 4))
        found = "an HDF5 file (Keras?)";
    else if (n > 2 && d[0] == 0x1f && d[1] == 0x8b)
        found = "gzip data";
    else if (n > 15 && !memcmp(d, "version https:/", 15))
        found = "a Git LFS pointer, not the file";
    else if (n > 5 && (!memcmp(d, "<!DOC", 5) || !memcmp(d, "<html", 5)))
        found = "a web page";
    else if (n > 2 && d[0] == 0x80 && d[1] <= 5)
        found = "a plain Python pickle";
    else if (!strcmp(upz_extension(l->file.path), "bin"))
        found = "in no known format (of an ncnn pair, name the .param)";
    return upz_fail(err, UPREZ_ERR_MODEL,
                    "%s is %s; expected .pth, .safetensors, .onnx or ncnn's .param", l->name,
                    found);
}

static int by_name(const void *a, const void *b)
{
    const UpzTensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The tensors sorted by name (upz_free); NULL when out of memory. */
static UpzTensor **sorted(const UpzTensorSet *set)
{
    UpzTensor **list = upz_calloc(set->n, sizeof(*list));
    if (!list) return NULL;
    for (size_t i = 0; i < set->n; i++) list[i] = &set->items[i];
    qsort(list, set->n, sizeof(*list), by_name);
    return list;
}

static int check_names(const Loading *l, UprezError *err)
{
    UpzTensor **list = sorted(&l->set);
    if (!list) return upz_fail_memory(err, l->set.n * sizeof(*list), "a list of names");
    int r = 0;
    for (size_t i = 1; i < l->set.n && !r; i++)
        if (!strcmp(list[i]->name, list[i - 1]->name))
            r = upz_fail(err, UPREZ_ERR_MODEL, "%s has two tensors named '%.200s'", l->name,
                         list[i]->name);
    upz_free(list);
    return r;
}

static int unknown_network(const Loading *l, UprezError *err)
{
    const char *family = NULL;
    char keys[300] = "", shape[96];
    for (int f = 0; f < UPZ_COUNT(families) && !family; f++)
        for (size_t i = 0; i < l->set.n && !family; i++)
            if (strstr(l->set.items[i].name, families[f].part)) family = families[f].family;
    size_t used = 0;
    for (size_t i = 0; i < l->set.n && i < 3; i++)
        used +=
            (size_t)snprintf(keys + used, sizeof(keys) - used, "%s'%.40s' (%.30s)", i ? ", " : "",
                             l->set.items[i].name, upz_arch_shape(&l->set.items[i], shape));
    return upz_fail(err, UPREZ_ERR_MODEL,
                    "%s holds a network of a kind uprez does not know%s%s: %zu tensors, %s, …; "
                    "expected SRVGGNetCompact, RRDBNet (ESRGAN), SPAN, ESPCN or FSRCNN",
                    l->name, family ? ", it looks like " : "", family ? family : "", l->set.n,
                    keys);
}

/* A sentence that does not say which file gets it in front. */
static int name_file(const Loading *l, int r, UprezError *err)
{
    if (r >= 0 || strstr(err->text, l->name)) return r;
    UprezError e = *err;
    return upz_fail(err, r, "%s: %s", l->name, e.text);
}

/* A file that is left to a runtime. why: the sentence why it is no graph of ours, or NULL. */
static int leave_to_runtime(Loading *l, const char *foreign, const char *runtime, const char *why,
                            UprezModelFacts *facts, char **detail, UprezError *err)
{
    l->foreign = foreign;
    l->foreign_why = why ? upz_strdup(why) : NULL;
    facts->architecture = foreign;
    facts->input = UPREZ_INPUT_RGB;
    facts->scale_den = facts->align = 1;
    upz_free(*detail);
    *detail = upz_asprintf("a program that only %s runs", runtime);
    return *detail && (!why || l->foreign_why) ? 0
                                               : upz_fail_memory(err, 64, "a model's description");
}

/* Opens, reads, and finds the architecture; a reader of graphs fills g instead. */
static int read_model(Loading *l, UpzGraph *g, UprezModelFacts *facts, char **detail,
                      UprezError *err)
{
    const UpzReader *reader = find_reader(&l->file);
    if (!reader) return unknown_file(l, err);
    if (reader->foreign && g) {
        facts->container = reader->name;
        return leave_to_runtime(l, reader->foreign, reader->runtime, NULL, facts, detail, err);
    }
    if (reader->read_graph || reader->foreign) {
        if (!g)
            return upz_fail(
                err, UPREZ_ERR_MODEL,
                "%s is no checkpoint of plain weights (.pth, .safetensors), which mixing "
                "for denoise needs",
                l->name);
        int r = reader->read_graph(&l->file, g, facts, detail, err);
        if (r != UPZ_READ_FOREIGN) return r;
        r = name_file(l, UPREZ_ERR_MODEL, err);
        if (!l->map.size) return r; /* in memory: a runtime would need the file */
        char why[sizeof(err->text)];
        memcpy(why, err->text, sizeof(why));
        upz_graph_free(g);
        *g = (UpzGraph){.nodes = NULL};
        *facts = (UprezModelFacts){.container = reader->name};
        return leave_to_runtime(l, reader->name, "ONNX Runtime", why, facts, detail, err);
    }
    int r = reader->read_tensors(&l->file, &l->set, err);
    if (r >= 0) r = check_names(l, err);
    if (r < 0) return r;
    r = upz_unwrap(&l->set, l->name, err);
    if (r < 0) return r;
    for (int i = 0; upz_archs[i] && !l->arch; i++)
        if (upz_archs[i]->recognise(&l->set)) l->arch = upz_archs[i];
    return l->arch ? 0 : unknown_network(l, err);
}

static int mix(Loading *l, Loading *twin, double denoise, UprezError *err)
{
    if (l->arch != twin->arch)
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s is a %s and its twin %s a %s; only two of the same "
                        "kind can be mixed",
                        l->name, l->arch->name, twin->name, twin->arch->name);
    UpzTensor **a = sorted(&l->set), **b = sorted(&twin->set);
    int r = a && b ? 0 : upz_fail_memory(err, l->set.n * sizeof(*a), "mixing two models");
    char shape[2][96];
    if (!r && l->set.n != twin->set.n)
        r = upz_fail(
            err, UPREZ_ERR_MODEL,
            "%s has %zu tensors and its twin %s %zu; only two of the same form can be mixed",
            l->name, l->set.n, twin->name, twin->set.n);
    for (size_t i = 0; !r && i < l->set.n; i++) {
        if (strcmp(a[i]->name, b[i]->name))
            r = upz_fail(err, UPREZ_ERR_MODEL, "%s has no tensor '%s', which %s has", twin->name,
                         a[i]->name, l->name);
        else if (a[i]->n_dims != b[i]->n_dims ||
                 memcmp(a[i]->dims, b[i]->dims, sizeof(*a[i]->dims) * (size_t)a[i]->n_dims))
            r = upz_fail(err, UPREZ_ERR_MODEL, "'%s' is %s in %s, %s in %s: they cannot be mixed",
                         a[i]->name, upz_arch_shape(a[i], shape[0]), l->name,
                         upz_arch_shape(b[i], shape[1]), twin->name);
        float wa = (float)denoise, wb = (float)(1 - denoise);
        for (int64_t k = 0; !r && k < a[i]->count; k++)
            a[i]->data[k] = wa * a[i]->data[k] + wb * b[i]->data[k];
    }
    upz_free(a);
    upz_free(b);
    return r;
}

/* Builds the graph from the tensors, all of which must have found their place in it. */
static int build(Loading *l, UpzGraph *g, UprezModelFacts *facts, char **detail, UprezError *err)
{
    int r = l->arch->build(&l->set, g, facts, detail, err);
    if (r < 0) return r;
    facts->architecture = l->arch->name;
    for (size_t i = 0; i < l->set.n; i++) {
        const UpzTensor *t = &l->set.items[i];
        if (!t->data || !t->count) continue;
        if (t->count == 1 && !strchr(t->name, '.')) continue; /* a counter */
        char shape[96];
        return upz_fail(
            err, UPREZ_ERR_MODEL,
            "%s looks like %s, but '%.100s' (%s) has no place in it: an unknown variant", l->name,
            l->arch->name, t->name, upz_arch_shape(t, shape));
    }
    return 0;
}

static int set_strings(UprezModel *m, const Loading *l, char *detail, const char *extra)
{
    m->strings[STRING_DETAIL] =
        upz_asprintf("%s%s%s%s%s", detail ? detail : "", l->set.top_key[0] ? ", under '" : "",
                     l->set.top_key, l->set.top_key[0] ? "'" : "", extra);
    m->strings[STRING_PATH] = upz_strdup(l->file.path);
    if (l->set.container[0]) m->strings[STRING_CONTAINER] = upz_strdup(l->set.container);
    if (!m->strings[STRING_DETAIL] || !m->strings[STRING_PATH] ||
        (l->set.container[0] && !m->strings[STRING_CONTAINER]))
        return -1;
    m->facts.detail = m->strings[STRING_DETAIL];
    m->facts.path = m->strings[STRING_PATH];
    if (l->set.container[0]) m->facts.container = m->strings[STRING_CONTAINER];
    if (!m->facts.container) m->facts.container = "";
    return 0;
}

static UprezModel *new_model(UprezError *err)
{
    UprezModel *m = upz_calloc(1, sizeof(*m));
    if (!m) {
        upz_fail_memory(err, sizeof(*m), "a model");
        return NULL;
    }
    atomic_init(&m->refs, 1);
    return m;
}

static void unload(Loading *l)
{
    upz_tensors_free(&l->set);
    upz_map_close(&l->map);
}

/* l->file is filled; params may be NULL. */
static int load(UprezModel **out, UprezContext *ctx, Loading *l, const UprezModelParams *params,
                UprezError *err)
{
    bool mixing = params && params->denoise >= 0;
    UprezModel *m = new_model(err);
    if (!m) return UPREZ_ERR_MEMORY;
    char *detail = NULL, extra[160] = "";
    int r = read_model(l, mixing ? NULL : &m->graph, &m->facts, &detail, err);
    r = name_file(l, r, err);
    if (r >= 0 && mixing) {
        Loading twin = {0};
        twin.name = upz_basename(params->twin);
        const UpzRegistryEntry *own = upz_exists(params->twin) ? NULL : upz_registry_embedded(params->twin);
        if (!own) r = upz_map_open(&twin.map, params->twin, UPZ_MODEL_MAX_BYTES, UPREZ_ERR_MODEL, err);
        if (r >= 0) {
            twin.file = own ? (UpzModelFile){params->twin, own->embedded, (size_t)own->bytes}
                            : (UpzModelFile){params->twin, twin.map.data, twin.map.size};
            r = name_file(&twin, read_model(&twin, NULL, &m->facts, NULL, err), err);
        }
        if (r >= 0) r = mix(l, &twin, params->denoise, err);
        if (r >= 0) {
            char hex[UPZ_SHA256_HEX];
            upz_sha256(twin.file.data, twin.file.size, hex);
            snprintf(extra, sizeof(extra), ", denoise %.3g against %.60s (SHA-256 %.12s…)",
                     params->denoise, twin.name, hex);
        }
        unload(&twin);
    }
    if (l->foreign) snprintf(m->foreign, sizeof(m->foreign), "%s", l->foreign);
    m->foreign_why = l->foreign_why;
    l->foreign_why = NULL;
    if (r >= 0 && l->arch) r = name_file(l, build(l, &m->graph, &m->facts, &detail, err), err);
    if (r >= 0 && !m->facts.sha256[0]) upz_sha256(l->file.data, l->file.size, m->facts.sha256);
    if (r >= 0 && set_strings(m, l, detail, extra) < 0)
        r = upz_fail_memory(err, 256, "a model's description");
    upz_free(detail);
    if (r < 0) {
        uprez_model_unref(&m);
        return r;
    }
    const UprezModelFacts *f = &m->facts;
    upz_debug(ctx, "%s: %s, %s", l->name, f->architecture, f->detail);
    *out = m;
    return 0;
}

int upz_model_load_memory(UprezModel **out, UprezContext *ctx, const char *name, const void *data,
                          size_t size, UprezError *err)
{
    UprezError local;
    if (!err) err = &local;
    *out = NULL;
    Loading l = {.file = {name, data, size}, .name = upz_basename(name)};
    if (!size) return upz_fail(err, UPREZ_ERR_MODEL, "%s is empty", l.name);
    int r = load(out, ctx, &l, NULL, err);
    unload(&l);
    return r;
}

static int load_kernel(UprezModel **out, int k, const UprezModelParams *params, UprezError *err)
{
    if (params && params->denoise >= 0)
        return upz_fail(err, UPREZ_ERR_USAGE,
                        "'%s' is no network: there is nothing to denoise with", kernels[k].name);
    UprezModel *m = new_model(err);
    if (!m) return UPREZ_ERR_MEMORY;
    m->kernel = kernels[k].kernel;
    m->facts = (UprezModelFacts){.architecture = "kernel",
                                 .container = "",
                                 .detail = kernels[k].about,
                                 .path = kernels[k].name,
                                 .scale_num = 1,
                                 .scale_den = 1,
                                 .reach = kernels[k].reach,
                                 .align = 1,
                                 .input = UPREZ_INPUT_RGB,
                                 .channels = 3};
    *out = m;
    return 0;
}

int upz_model_load(UprezModel **out, UprezContext *ctx, const char *name,
                   const UprezModelParams *params, UprezError *err)
{
    UprezError local;
    if (!err) err = &local;
    *out = NULL;
    if (params && params->denoise >= 0 && (!params->twin || !(params->denoise <= 1)))
        return upz_fail(err, UPREZ_ERR_USAGE,
                        params->twin ? "denoise is %g; it goes from 0 to 1"
                                     : "denoise %g needs a twin of the model to mix with",
                        params->denoise);
    for (int k = 0; k < UPZ_COUNT(kernels); k++)
        if (!strcmp(name, kernels[k].name)) return load_kernel(out, k, params, err);
    Loading l = {.name = upz_basename(name)};
    const UpzRegistryEntry *own = upz_exists(name) ? NULL : upz_registry_embedded(name);
    int r = 0;
    if (!own) r = upz_map_open(&l.map, name, UPZ_MODEL_MAX_BYTES, UPREZ_ERR_MODEL, err);
    if (r < 0) return r;
    l.file = own ? (UpzModelFile){name, own->embedded, (size_t)own->bytes}
                 : (UpzModelFile){name, l.map.data, l.map.size};
    r = load(out, ctx, &l, params, err);
    unload(&l);
    return r;
}

UprezModel *uprez_model_ref(UprezModel *model)
{
    atomic_fetch_add(&model->refs, 1);
    return model;
}

void uprez_model_unref(UprezModel **pmodel)
{
    UprezModel *m = *pmodel;
    *pmodel = NULL;
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1) return;
    upz_graph_free(&m->graph);
    for (int i = 0; i < UPZ_COUNT(m->strings); i++) upz_free(m->strings[i]);
    upz_free(m->foreign_why);
    upz_free(m);
}

const UprezModelFacts *uprez_model_facts(const UprezModel *model)
{
    return &model->facts;
}
