#include "plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "json.h"
#include "video/versions.h"

#define MAX_UNITS ((size_t)1 << 24)

static double seconds(int64_t t, const UpzSourceInfo *info)
{
    return (double)t * info->time_base.num / info->time_base.den;
}

static int64_t ticks(double s, const UpzSourceInfo *info)
{
    return (int64_t)llround(s * info->time_base.den / info->time_base.num);
}

bool upz_index_usable(const UpzIndex *index, const UpzSourceInfo *info)
{
    if (!index || !index->n) return false;
    int64_t latest = index->items[0].pts, second = ticks(1, info);
    for (size_t i = 0; i < index->n; i++) {
        /* a jump back: the reader shifts what follows, so these are not the times that come */
        if (latest - index->items[i].pts > second) return false;
        latest = UPZ_MAX(latest, index->items[i].pts);
    }
    return true;
}

/* Where a recording that begins between two keyframes can be decoded from. */
static int64_t first_shown(const UpzIndex *index)
{
    for (size_t i = 0; i < index->n; i++)
        if (index->items[i].key) return i ? index->items[i].pts : INT64_MIN;
    return INT64_MIN;
}

int upz_select(UpzSelection *sel, const UpzJobParams *params, const UpzSourceInfo *info,
               const UpzIndex *index, UprezError *err)
{
    *sel = (UpzSelection){.start = INT64_MIN, .end = INT64_MAX,
                          .limit = params->frames >= 0 ? params->frames : INT64_MAX,
                          .total = info->frames};
    bool indexed = upz_index_usable(index, info);
    int64_t zero = info->start != INT64_MIN ? info->start : 0;
    if (indexed) {
        zero = index->items[0].pts;
        for (size_t i = 0; i < index->n; i++) zero = UPZ_MIN(zero, index->items[i].pts);
    }
    if (params->start > 0) sel->start = zero + ticks(params->start, info);
    if (params->duration >= 0)
        sel->end = (sel->start == INT64_MIN ? zero : sel->start) + ticks(params->duration, info);
    if (indexed) {
        sel->total = 0;
        int64_t from = UPZ_MAX(sel->start, first_shown(index));
        for (size_t i = 0; i < index->n; i++)
            sel->total += index->items[i].pts >= from && index->items[i].pts < sel->end;
    } else if (sel->start != INT64_MIN || sel->end != INT64_MAX) {
        sel->total = -1;
    }
    if (params->frames == 0 || (indexed && !sel->total))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: no frame lies in the part asked for; the video "
                        "is %.3f s long", info->url,
                        info->duration > 0 ? seconds(info->duration, info) : 0.0);
    if (sel->limit != INT64_MAX)
        sel->total = sel->total < 0 ? sel->limit : UPZ_MIN(sel->total, sel->limit);
    return 0;
}

static int compare_entry(const void *a, const void *b)
{
    const UpzIndexEntry *x = a, *y = b;
    return (x->pts > y->pts) - (x->pts < y->pts);
}

static int compare_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int upz_plan_times(int64_t **pts, size_t *n, const UpzIndex *index, const UpzSelection *sel,
                   UprezError *err)
{
    *n = 0;
    *pts = upz_calloc(index->n, sizeof(**pts));
    if (!*pts) return upz_fail_memory(err, index->n * sizeof(**pts), "the plan");
    size_t all = 0, kept = 0;
    for (size_t i = 0; i < index->n; i++)
        if (index->items[i].pts >= sel->start && index->items[i].pts < sel->end)
            (*pts)[all++] = index->items[i].pts;
    qsort(*pts, all, sizeof(**pts), compare_time);
    for (size_t i = 0; i < all && (int64_t)kept < sel->limit; i++)
        if (!kept || (*pts)[i] > (*pts)[kept - 1]) (*pts)[kept++] = (*pts)[i];
    *n = kept;
    return 0;
}

static int add_unit(UpzUnits *u, int64_t t0, UprezError *err)
{
    if (!upz_grow(&u->items, &u->cap, u->n + 1, sizeof(*u->items), MAX_UNITS))
        return upz_fail_memory(err, u->n * sizeof(*u->items), "the plan");
    if (u->n) u->items[u->n - 1].t1 = t0;
    u->items[u->n++] = (UpzUnit){.t0 = t0, .t1 = INT64_MAX};
    return 0;
}

int upz_units_add(UpzUnits *units, UprezError *err)
{
    return add_unit(units, INT64_MIN, err);
}

int upz_units_plan(UpzUnits *units, const UpzIndex *index, const UpzSelection *sel, UprezError *err)
{
    *units = (UpzUnits){0};
    if (!index) {
        units->by_count = true;
        return 0;
    }
    UpzIndexEntry *e = upz_calloc(index->n, sizeof(*e));
    if (!e) return upz_fail_memory(err, index->n * sizeof(*e), "the plan");
    memcpy(e, index->items, index->n * sizeof(*e));
    qsort(e, index->n, sizeof(*e), compare_entry);
    int64_t in_unit = 0, selected = 0;
    int r = add_unit(units, sel->start, err);
    for (size_t i = 0; i < index->n && r >= 0 && selected < sel->limit; i++) {
        if (e[i].pts < sel->start || e[i].pts >= sel->end) continue;
        bool later = !i || e[i].pts > e[i - 1].pts;
        if (later && ((in_unit >= UPZ_UNIT_MIN && e[i].key) || in_unit >= UPZ_UNIT_MAX)) {
            r = add_unit(units, e[i].pts, err);
            in_unit = 0;
        }
        in_unit++;
        selected++;
    }
    if (r >= 0) units->items[units->n - 1].t1 = sel->end;
    upz_free(e);
    return r;
}

void upz_units_free(UpzUnits *units)
{
    upz_free(units->items);
    *units = (UpzUnits){0};
}

/* ---- as text ---- */

/* digest: of the pictures' bytes, NULL = not known. */
static bool source_part(cJSON *root, const UpzJobParams *params, const UpzSourceInfo *info,
                        const UpzIndex *index, const char *digest)
{
    cJSON *o = cJSON_AddObjectToObject(root, "source");
    const UpzJsonRow file[] = {
        UPZ_JSON_TEXT("name", upz_basename(params->input)), UPZ_JSON_TEXT("container", info->container),
        UPZ_JSON_TEXT("codec", info->codec), UPZ_JSON_INT("stream", info->video_stream),
        UPZ_JSON_INT("width", info->width), UPZ_JSON_INT("height", info->height),
        UPZ_JSON_RATIO("time_base", info->time_base)};
    bool ok = upz_json_rows(o, file, UPZ_COUNT(file));
    if (index && ok) {
        char hex[UPZ_SHA256_HEX] = "";
        size_t n = index->n, at = 0;
        int64_t *v = upz_calloc(n, 4 * sizeof(*v)); /* without padding */
        for (size_t i = 0; v && i < n; i++) {
            v[at++] = index->items[i].pts;
            v[at++] = index->items[i].dts;
            v[at++] = index->items[i].duration;
            v[at++] = index->items[i].key;
        }
        if (v) upz_sha256(v, at * sizeof(*v), hex);
        upz_free(v);
        const UpzJsonRow packets[] = {UPZ_JSON_INT("packets", (int64_t)n),
                                      UPZ_JSON_TEXT("index_sha256", hex)};
        ok = v && upz_json_rows(o, packets, UPZ_COUNT(packets));
    }
    const UpzJsonRow options[] = {
        UPZ_JSON_TEXT("pictures", digest), UPZ_JSON_TEXT("vf", params->vf), UPZ_JSON_TEXT("interlaced", params->interlaced),
        UPZ_JSON_TEXT("hwaccel", params->hwaccel),
        UPZ_JSON_TEXT("streams_from", params->streams_from)};
    return ok && upz_json_rows(o, options, UPZ_COUNT(options));
}

static bool upscale_part(cJSON *root, const UpzJobParams *params, const UpzSession *session)
{
    cJSON *o = cJSON_AddObjectToObject(root, "upscale");
    cJSON *models = cJSON_AddArrayToObject(o, "models");
    bool ok = models != NULL;
    for (int i = 0; i < session->n_models && ok; i++) {
        const UprezModelFacts *f = uprez_model_facts(session->models[i]);
        const char *id = *f->sha256 ? f->sha256 : f->path ? f->path : "";
        /* what it was mixed with stands in its description */
        char *mixed = params->denoise >= 0 ? upz_asprintf("%s %s", id, f->detail) : upz_strdup(id);
        ok = mixed && cJSON_AddItemToArray(models, cJSON_CreateString(mixed));
        upz_free(mixed);
    }
    const UpzJsonRow rows[] = {
        UPZ_JSON_DOUBLE("denoise", params->denoise), UPZ_JSON_DOUBLE("blend", params->upscale.blend),
        UPZ_JSON_INT("tta", params->upscale.tta), UPZ_JSON_TEXT("filter", params->upscale.filter),
        UPZ_JSON_TEXT("numerics", session->info.numerics)};
    return ok && upz_json_rows(o, rows, UPZ_COUNT(rows));
}

static bool encoder_part(cJSON *root, const UpzEncoderPlan *e)
{
    char color[64], libavcodec[UPZ_VERSION_TEXT], version[UPZ_VERSION_TEXT];
    upz_libavcodec_version(libavcodec);
    upz_encoder_version(version, e);
    const UprezColor *c = &e->color, *t = &e->tags;
    snprintf(color, sizeof(color), "%d:%d:%d:%d:%d %d:%d:%d:%d:%d", c->matrix, c->primaries,
             c->transfer, c->range, c->siting, t->matrix, t->primaries, t->transfer, t->range,
             t->siting);
    const UpzJsonRow rows[] = {
        UPZ_JSON_TEXT("name", e->encoder), UPZ_JSON_TEXT("container", e->container),
        UPZ_JSON_TEXT("pix_fmt", uprez_format_name(&e->format)), UPZ_JSON_INT("width", e->width),
        UPZ_JSON_INT("height", e->height), UPZ_JSON_RATIO("sar", e->sar),
        UPZ_JSON_RATIO("frame_rate", e->frame_rate), UPZ_JSON_RATIO("time_base", e->codec_base),
        UPZ_JSON_INT("origin", e->origin), UPZ_JSON_INT("threads", e->threads),
        UPZ_JSON_TEXT("options", e->options), UPZ_JSON_TEXT("color", color),
        UPZ_JSON_TEXT("libavcodec", libavcodec), UPZ_JSON_TEXT("version", version)};
    const UpzJsonRow inner[] = {UPZ_JSON_INT("inner_width", e->inner_width),
                                UPZ_JSON_INT("inner_height", e->inner_height)};
    cJSON *o = cJSON_AddObjectToObject(root, "encoder");
    bool same = e->inner_width == e->width && e->inner_height == e->height;
    return upz_json_rows(o, rows, UPZ_COUNT(rows)) && (same || upz_json_rows(o, inner, 2));
}

static bool streams_part(cJSON *root, const UpzJoinPlan *join)
{
    cJSON *streams = cJSON_AddArrayToObject(root, "streams");
    bool ok = streams != NULL;
    for (int i = 0; i < join->n && ok; i++) {
        cJSON *o = cJSON_CreateObject();
        ok = o && cJSON_AddItemToArray(streams, o);
        const UpzJsonRow stream = UPZ_JSON_INT("stream", join->items[i].source);
        const UpzJsonRow fate = UPZ_JSON_TEXT("fate", upz_stream_fate_name(&join->items[i]));
        ok = ok && upz_json_rows(o, &stream, 1) &&
             (!join->items[i].from_other || cJSON_AddTrueToObject(o, "other")) &&
             upz_json_rows(o, &fate, 1);
    }
    return ok;
}

static bool units_part(cJSON *root, const UpzSelection *sel, const UpzUnits *units)
{
    cJSON *o = cJSON_AddObjectToObject(root, "frames");
    const UpzJsonRow cut[] = {UPZ_JSON_INT("start", sel->start), UPZ_JSON_INT("end", sel->end),
                              UPZ_JSON_INT("limit", sel->limit)};
    const UpzJsonRow count = UPZ_JSON_INT("frames_per_segment", UPZ_UNIT_MIN);
    bool ok = o && (sel->start == INT64_MIN || upz_json_rows(o, &cut[0], 1)) &&
              (sel->end == INT64_MAX || upz_json_rows(o, &cut[1], 1)) &&
              (sel->limit == INT64_MAX || upz_json_rows(o, &cut[2], 1));
    if (units->by_count) return ok && upz_json_rows(o, &count, 1);
    cJSON *a = cJSON_AddArrayToObject(o, "segments_begin");
    ok = ok && a;
    for (size_t i = 0; i < units->n && ok; i++) {
        char s[32];
        snprintf(s, sizeof(s), "%" PRId64, units->items[i].t0);
        ok = cJSON_AddItemToArray(a, units->items[i].t0 == INT64_MIN ? cJSON_CreateNull()
                                                                     : cJSON_CreateRaw(s));
    }
    return ok;
}

int upz_plan_text(char **text, const UpzJobParams *params, const UpzSession *session,
                  const UpzSourceInfo *info, const UpzIndex *index, const char *digest,
                  const UpzSelection *sel, const UpzUnits *units, const UpzEncoderPlan *encoder, const UpzJoinPlan *join,
                  UprezError *err)
{
    *text = NULL;
    cJSON *root = cJSON_CreateObject();
    const UpzJsonRow version = UPZ_JSON_TEXT("uprez", uprez_version());
    char *s = NULL;
    if (upz_json_rows(root, &version, 1) && source_part(root, params, info, index, digest) &&
        upscale_part(root, params, session) && encoder_part(root, encoder) &&
        streams_part(root, join) && units_part(root, sel, units) &&
        cJSON_AddTrueToObject(root, "rehearsed")) /* no plan is stored before */
        s = cJSON_Print(root);
    cJSON_Delete(root);
    *text = s ? upz_asprintf("%s\n", s) : NULL;
    cJSON_free(s);
    return *text ? 0 : upz_fail_memory(err, 0, "the plan");
}

/* ---- two plans ---- */

static void put_value(char *to, size_t size, const cJSON *v)
{
    char *s = v ? cJSON_PrintUnformatted(v) : NULL;
    snprintf(to, size, "%s", s ? s : "nothing");
    if (s && (strlen(s) > 60 || cJSON_IsArray(v) || cJSON_IsObject(v))) *to = 0;
    cJSON_free(s);
}

/* Members of b that are others in a; *n of them so far. */
static void differ(char *to, size_t size, int *n, const char *prefix, const cJSON *a, const cJSON *b)
{
    for (const cJSON *v = b ? b->child : NULL; v; v = v->next) {
        const cJSON *old = cJSON_GetObjectItemCaseSensitive(a, v->string);
        if (cJSON_Compare(old, v, 1)) continue;
        if (cJSON_IsObject(v) && cJSON_IsObject(old)) {
            differ(to, size, n, v->string, old, v);
            continue;
        }
        char was[64], is[64];
        put_value(was, sizeof(was), old);
        put_value(is, sizeof(is), v);
        size_t at = strlen(to);
        if ((*n)++ >= 3) continue; /* enough to see what it is about */
        snprintf(to + at, size - at, "%s%s%s%s%s%s%s%s", at ? ", " : "", prefix, *prefix ? " " : "",
                 v->string, *was && *is ? " was " : "", *is ? was : "", *was && *is ? ", is " : "",
                 *was ? is : "");
    }
}

void upz_plan_difference(char *to, size_t size, const char *was, const char *is)
{
    cJSON *a = cJSON_Parse(was), *b = cJSON_Parse(is);
    int n = 0;
    *to = 0;
    differ(to, size, &n, "", a, b);
    if (!n) differ(to, size, &n, "", b, a);
    size_t at = strlen(to);
    if (n > 3) snprintf(to + at, size - at, " and %d more", n - 3);
    if (!n) snprintf(to, size, "its plan cannot be read");
    cJSON_Delete(a);
    cJSON_Delete(b);
}
