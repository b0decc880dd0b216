#include "session.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "model/registry.h"
#include "picture/format.h"

static bool is_kernel(const char *name)
{
    return !strcmp(name, "bicubic") || !strcmp(name, "lanczos") || !strcmp(name, "spline36");
}

static void drop_models(UpzSession *s)
{
    upz_session_drop_team(s);
    for (int i = 0; i < UPZ_CHAIN_MAX; i++) uprez_model_unref(&s->models[i]);
    s->n_models = 0;
    s->loaded = false;
}

/* The best model of the family that is installed and what it claims to be. */
static void look_for_family(UpzSession *s, const char *const *list, struct UpzFamilyChoice *to)
{
    to->looked = true;
    for (; *list && !upz_registry_find(*list)->embedded; list++) {
        char *path = NULL;
        const UpzRegistryEntry *entry;
        UprezError ignored;
        if (upz_registry_locate(*list, &path, &entry, &ignored) < 0) continue;
        bool genuine = upz_registry_genuine(entry, path);
        if (!genuine)
            upz_warn(s->ctx, "%s is not the published %s (another SHA-256), so --for %s passes it over; -m "
                     "%s uses it all the same", path, entry->name, s->params->family, path);
        upz_free(path);
        if (!genuine) continue;
        to->name = *list;
        return;
    }
}

static int choose_family(UpzSession *s, bool video, double factor, const char **names, UprezError *err)
{
    const char *family = s->params->family;
    const char *const *list = upz_registry_family(family, video);
    struct UpzFamilyChoice *choice = &s->family[video];
    bool embedded = false;
    if (!list)
        return upz_fail(err, UPREZ_ERR_USAGE, "--for %s: give anime, film, photo or browser", family);
    if (!choice->looked) look_for_family(s, list, choice);
    s->built_in = !choice->name;
    if (choice->name) {
        names[0] = choice->name;
        return 1;
    }
    for (int i = 0; list[i]; i++) embedded |= upz_registry_find(list[i])->embedded != NULL;
    if (embedded) return uprez_default_models(video, factor, names);
    return upz_fail(err, UPREZ_ERR_MODEL, "no model for %s is installed: 'uprez model pull %s' gets one, and "
                    "any model's file works with -m FILE", family, list[0]);
}

int upz_session_choose(UpzSession *s, bool video, double factor, UprezError *err)
{
    const char *names[UPZ_CHAIN_MAX];
    const UpzJobParams *p = s->params;
    if (p->n_models > UPZ_CHAIN_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a chain of %d models; at most %d are possible",
                        p->n_models, UPZ_CHAIN_MAX);
    int n = p->n_models;
    for (int i = 0; i < n; i++) names[i] = p->models[i];
    if (!n && p->family) n = choose_family(s, video, factor, names, err);
    else if (!n) n = uprez_default_models(video, factor, names);
    if (n < 0) return n;
    s->video = video;
    bool same = n == s->n_names;
    for (int i = 0; same && i < n; i++) same = !strcmp(names[i], s->names[i]);
    if (same) return 0;
    drop_models(s);
    memcpy(s->names, names, sizeof(*names) * (size_t)n);
    s->n_names = n;
    return 0;
}

double upz_session_guess_scale(const UpzSession *s, bool *sure)
{
    double scale = 1;
    bool network = false;
    *sure = true;
    for (int i = 0; i < s->n_names; i++) {
        const char *name = s->names[i];
        if (is_kernel(name)) continue;
        network = true;
        const UpzRegistryEntry *e = upz_registry_find(name);
        if (e && e->scale) scale *= e->scale;
        else scale *= 4;
        *sure &= e && e->scale && !upz_exists(name);
    }
    return network ? scale : 2;
}

static int load_one(UpzSession *s, int i, UprezError *err)
{
    const UpzJobParams *p = s->params;
    const UpzRegistryEntry *entry = NULL;
    const char *name = s->names[i];
    char *path = NULL;
    char device[UPZ_TEAM_NAME];
    UprezModelParams mp = {.size = sizeof(mp), .denoise = -1, .engine = p->upscale.engine,
                           .device = device,
                           .runtime_path = p->upscale.runtime_path};
    int r = upz_team_first(p->upscale.device, device, err);
    if (r >= 0) r = upz_registry_use(name, &path, &entry, err);
    if (r >= 0 && p->denoise >= 0 && !is_kernel(name)) {
        if (p->twin || (entry && entry->twin))
            mp.mix = 1, mp.denoise = p->denoise, mp.twin = p->twin; /* else the loader finds it */
        else if (s->n_names <= 1)
            r = upz_fail(err, UPREZ_ERR_USAGE, "--denoise needs a model with a twin, such as "
                         "realesr-general-x4v3, or one to mix with (--denoise 0.5:FILE); %s has none", name);
    }
    if (r >= 0 && !entry && !is_kernel(name)) entry = upz_registry_find(upz_basename(path)); /* a file anywhere */
    if (r >= 0 && !upz_registry_genuine(entry, path))
        upz_warn(s->ctx, "%s is not the published %s: its SHA-256 is another one; it is used as it is, "
                 "'uprez model pull %s' fetches the published one", path, entry->name, entry->name);
    if (r >= 0 && entry && !entry->embedded && !upz_exists(name) && strcasecmp(upz_basename(path), entry->file))
        upz_warn(s->ctx, "%s stands in for %s, whose published file is %s: nothing tells whether it is the same",
                 path, entry->name, entry->file);
    if (r >= 0) r = uprez_model_load(&s->models[i], s->ctx, name, &mp, err);
    if (r >= 0) s->n_models = i + 1;
    upz_free(path);
    return r;
}

void upz_session_tell(UpzSession *s)
{
    const UpzJobParams *p = s->params;
    const bool kernel = is_kernel(s->names[0]);
    const char *kind = s->video ? "video" : "pictures";
    bool *told = &s->told[s->video][p->family ? 2 : kernel ? 0 : 1];
    UpzJobResult said = {0};
    if (p->n_models || *told) return;
    *told = true;
    upz_session_describe(s, &said);
    if (p->family && s->built_in)
        upz_info(s->ctx, "--for %s: of its models none is installed, so %s runs, built in; 'uprez model pull "
                 "%s' gets one, and -m FILE takes any", p->family, said.model,
                 upz_registry_family(p->family, s->video)[0]);
    else if (p->family)
        upz_info(s->ctx, "--for %s: enlarging with %s, the best that is installed for such %s", p->family,
                 said.model, kind);
    else if (kernel)
        upz_info(s->ctx, "no -m: the result is not larger than the source, so %s makes it, without a "
                 "network", said.model);
    else
        upz_info(s->ctx, "no -m: enlarging with %s, built in for %s; -m lanczos is quicker, 'uprez "
                 "model list' shows others", said.model, kind);
}

int upz_session_load(UpzSession *s, double *scale, UprezError *err)
{
    int n = s->n_names, r = 0;
    bool network = false;
    for (int i = 0; i < n; i++) network |= !is_kernel(s->names[i]);
    if (!network && (s->params->denoise >= 0 || s->params->upscale.tta))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s needs a network; %s is none: give one with -m",
                        s->params->denoise >= 0 ? "--denoise" : "--tta", s->names[0]);
    if (!s->loaded) {
        for (int i = 0; i < n && r >= 0; i++) r = load_one(s, i, err);
        if (r < 0) {
            drop_models(s);
            return r;
        }
        s->loaded = true;
    }
    double f = 1;
    for (int i = 0; i < s->n_models; i++) {
        const UprezModelFacts *facts = uprez_model_facts(s->models[i]);
        if (!strcmp(facts->architecture, "kernel")) continue;
        f *= (double)facts->scale_num / UPZ_MAX(facts->scale_den, 1);
    }
    *scale = network ? f : 2;
    return 0;
}

int upz_session_team(UpzSession *s, bool several, const UprezPicture *like, const UprezFormat *format,
                     const UprezColor *color, int width, int height, UprezError *err)
{
    struct UpzSessionKey key;
    memset(&key, 0, sizeof(key)); /* compared as bytes */
    memcpy(&key.in, &like->format, sizeof(key.in));
    memcpy(&key.out, format, sizeof(key.out));
    memcpy(&key.in_color, &like->color, sizeof(key.in_color));
    memcpy(&key.out_color, color, sizeof(key.out_color));
    key.in_w = like->width;
    key.in_h = like->height;
    key.out_w = width;
    key.out_h = height;
    key.several = several;
    if (s->team.n && !memcmp(&key, &s->key, sizeof(key))) return 0;
    upz_session_drop_team(s);
    UprezParams p = s->params->upscale;
    char first[UPZ_TEAM_NAME];
    int r = several ? 0 : upz_team_first(p.device, first, err);
    if (r < 0) return r;
    if (!several) p.device = first;
    p.size = sizeof(p);
    p.models = s->models;
    p.n_models = s->n_models;
    p.scale = 0;
    p.width = width;
    p.height = height;
    p.format = *format;
    p.color = *color;
    r = upz_team_create(&s->team, s->ctx, &p, err);
    s->info.size = sizeof(s->info);
    if (r >= 0) r = upz_team_plan(&s->team, like, &s->info, err);
    if (r < 0) {
        upz_session_drop_team(s);
        return r;
    }
    s->key = key;
    return 0;
}

void upz_session_drop_team(UpzSession *s)
{
    upz_team_destroy(&s->team);
    s->info = (UprezInfo){0};
}

void upz_session_close(UpzSession *s)
{
    drop_models(s);
}

void upz_session_describe(const UpzSession *s, UpzJobResult *result)
{
    size_t at = 0;
    result->model[0] = 0;
    for (int i = 0; i < s->n_names && at < sizeof(result->model); i++) {
        int n = snprintf(result->model + at, sizeof(result->model) - at, "%s%s", i ? " + " : "",
                         upz_basename(s->names[i]));
        at += n > 0 ? (size_t)n : 0;
    }
    if (s->info.engine) snprintf(result->engine, sizeof(result->engine), "%s", s->info.engine);
    if (s->info.numerics)
        snprintf(result->numerics, sizeof(result->numerics), "%s", s->info.numerics);
}
