#include "plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cjson/cJSON.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"

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
        for (size_t i = 0; i < index->n; i++)
            sel->total += index->items[i].pts >= sel->start && index->items[i].pts < sel->end;
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

static void add_int(cJSON *o, const char *key, int64_t v)
{
    char s[32];
    snprintf(s, sizeof(s), "%" PRId64, v);
    cJSON_AddRawToObject(o, key, s);
}

static void add_double(cJSON *o, const char *key, double v)
{
    char s[48];
    snprintf(s, sizeof(s), "%.17g", v);
    cJSON_AddRawToObject(o, key, s);
}

static void add_ratio(cJSON *o, const char *key, AVRational q)
{
    char s[32];
    snprintf(s, sizeof(s), "%d/%d", q.num, q.den);
    cJSON_AddStringToObject(o, key, s);
}

static void add_text(cJSON *o, const char *key, const char *s)
{
    cJSON_AddStringToObject(o, key, s ? s : "");
}

static void source_part(cJSON *root, const UpzJobParams *params, const UpzSourceInfo *info,
                        const UpzIndex *index)
{
    cJSON *o = cJSON_AddObjectToObject(root, "source");
    add_text(o, "name", upz_basename(params->input));
    add_text(o, "container", info->container);
    add_text(o, "codec", info->codec);
    add_int(o, "stream", info->video_stream);
    add_int(o, "width", info->width);
    add_int(o, "height", info->height);
    add_ratio(o, "time_base", info->time_base);
    if (index) {
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
        add_int(o, "packets", (int64_t)n);
        add_text(o, "index_sha256", hex);
    }
    add_text(o, "vf", params->vf);
    add_text(o, "interlaced", params->interlaced);
    add_text(o, "hwaccel", params->hwaccel);
    add_text(o, "streams_from", params->streams_from);
}

static void upscale_part(cJSON *root, const UpzJobParams *params, const UpzSession *session)
{
    cJSON *o = cJSON_AddObjectToObject(root, "upscale");
    cJSON *models = cJSON_AddArrayToObject(o, "models");
    for (int i = 0; i < session->n_models; i++) {
        const UprezModelFacts *f = uprez_model_facts(session->models[i]);
        const char *id = *f->sha256 ? f->sha256 : f->path ? f->path : "";
        cJSON_AddItemToArray(models, cJSON_CreateString(id));
    }
    add_double(o, "denoise", params->denoise);
    add_double(o, "blend", params->upscale.blend);
    add_int(o, "tta", params->upscale.tta);
    add_text(o, "filter", params->upscale.filter);
    add_text(o, "numerics", session->info.numerics);
}

static void encoder_part(cJSON *root, const UpzEncoderPlan *e)
{
    cJSON *o = cJSON_AddObjectToObject(root, "encoder");
    add_text(o, "name", e->encoder);
    add_text(o, "container", e->container);
    add_text(o, "pix_fmt", uprez_format_name(&e->format));
    add_int(o, "width", e->width);
    add_int(o, "height", e->height);
    add_ratio(o, "sar", e->sar);
    add_ratio(o, "frame_rate", e->frame_rate);
    add_ratio(o, "time_base", e->codec_base);
    add_int(o, "origin", e->origin);
    add_int(o, "threads", e->threads);
    add_text(o, "options", e->options);
    char color[64];
    const UprezColor *c = &e->color, *t = &e->tags;
    snprintf(color, sizeof(color), "%d:%d:%d:%d:%d %d:%d:%d:%d:%d", c->matrix, c->primaries,
             c->transfer, c->range, c->siting, t->matrix, t->primaries, t->transfer, t->range,
             t->siting);
    add_text(o, "color", color);
}

static void units_part(cJSON *root, const UpzSelection *sel, const UpzUnits *units)
{
    cJSON *o = cJSON_AddObjectToObject(root, "frames");
    if (sel->start != INT64_MIN) add_int(o, "start", sel->start);
    if (sel->end != INT64_MAX) add_int(o, "end", sel->end);
    if (sel->limit != INT64_MAX) add_int(o, "limit", sel->limit);
    if (units->by_count) {
        add_int(o, "frames_per_segment", UPZ_UNIT_MIN);
        return;
    }
    cJSON *a = cJSON_AddArrayToObject(o, "segments_begin");
    for (size_t i = 0; i < units->n; i++) {
        char s[32];
        snprintf(s, sizeof(s), "%" PRId64, units->items[i].t0);
        cJSON_AddItemToArray(a, units->items[i].t0 == INT64_MIN ? cJSON_CreateNull()
                                                                : cJSON_CreateRaw(s));
    }
}

int upz_plan_text(char **text, const UpzJobParams *params, const UpzSession *session,
                  const UpzSourceInfo *info, const UpzIndex *index, const UpzSelection *sel,
                  const UpzUnits *units, const UpzEncoderPlan *encoder, const UpzJoinPlan *join,
                  UprezError *err)
{
    *text = NULL;
    cJSON *root = cJSON_CreateObject();
    if (!root) return upz_fail_memory(err, 0, "the plan");
    add_text(root, "uprez", uprez_version());
    source_part(root, params, info, index);
    upscale_part(root, params, session);
    encoder_part(root, encoder);
    cJSON *streams = cJSON_AddArrayToObject(root, "streams");
    for (int i = 0; i < join->n; i++) {
        cJSON *o = cJSON_CreateObject();
        add_int(o, "stream", join->items[i].source);
        if (join->items[i].from_other) cJSON_AddTrueToObject(o, "other");
        add_text(o, "fate", upz_stream_fate_name(&join->items[i]));
        cJSON_AddItemToArray(streams, o);
    }
    units_part(root, sel, units);
    char *s = cJSON_Print(root);
    cJSON_Delete(root);
    *text = s ? upz_asprintf("%s\n", s) : NULL;
    cJSON_free(s);
    return *text ? 0 : upz_fail_memory(err, 0, "the plan");
}
