/* Networks in int8: how far the values of every map reach, and which layers stay wider. Both follow from the
 * network in fp32 on the built-in picture, which gives the same bytes everywhere. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/cpu/cpu_engine.h"
#include "engine/trial.h"

#define LEAST 36.0 /* dB to fp32 on the built-in picture, which is harder than films are: these reach 40 then */
#define GROUPS 8   /* of layers, for finding those whose errors are large */

/* ---- ranges ---- */

static int begin_ranges(UpzFlow *f, const UpzRanges *r, UprezError *err)
{
    for (int i = 0; i < f->workers; i++) {
        f->scratch[i].most = upz_calloc(r->n, sizeof(*r->most));
        f->scratch[i].most_at = r->at;
        if (!f->scratch[i].most) return upz_fail_memory(err, r->n * sizeof(*r->most), "the ranges of the layers");
    }
    return 0;
}

static void end_ranges(UpzFlow *f, UpzRanges *r)
{
    for (int i = 0; i < f->workers; i++) {
        UpzScratch *s = &f->scratch[i];
        for (size_t c = 0; s->most && c < r->n; c++) r->most[c] = fmaxf(r->most[c], s->most[c]);
        upz_free(s->most);
        s->most = NULL;
    }
}

/* Nodes that are not stages of their own: the input, and channels of other nodes. */
static void derive_ranges(const UpzGraph *g, UpzRanges *r)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const UpzNode *n = &g->nodes[i];
        float *to = r->most + r->at[i];
        if (n->op == UPZ_OP_INPUT)
            for (int c = 0; c < n->channels; c++) to[c] = 1;
        if (n->op == UPZ_OP_SLICE)
            memcpy(to, r->most + r->at[n->src[0]] + n->first, (size_t)n->channels * sizeof(*to));
        if (n->op != UPZ_OP_CONCAT && n->op != UPZ_OP_NEAREST) continue;
        for (int k = 0; k < n->n_src; to += g->nodes[n->src[k++]].channels)
            memcpy(to, r->most + r->at[n->src[k]], (size_t)g->nodes[n->src[k]].channels * sizeof(*to));
    }
}

int upz_cpu_try(UpzEngine *e, const UprezModel *model, bool contrasts, UpzRanges *ranges, UprezPicture **result,
                UprezError *err)
{
    UprezPicture *src = NULL, *dst = NULL;
    UpzPlan plan;
    int r = upz_trial_source(&src, model, contrasts, err);
    if (r >= 0) r = upz_trial_result(&dst, model, src, err);
    if (r >= 0) {
        const UpzShape shape = {.width = src->width, .height = src->height, .src = src->format, .dst = dst->format,
                                .src_color = src->color, .dst_color = dst->color};
        r = upz_engine_cpu.plan(e, &shape, 0, &plan, err);
    }
    if (r >= 0 && ranges) r = begin_ranges(upz_cpu_flow(e), ranges, err);
    if (r >= 0) {
        UpzTask task = {.src = src, .dst = dst};
        r = upz_engine_cpu.submit(e, &task);
        if (r >= 0) r = upz_engine_cpu.wait(e, &task, -1);
        if (r >= 0) r = task.result;
        if (r < 0) *err = task.err;
    }
    if (ranges && upz_cpu_flow(e)->rings) end_ranges(upz_cpu_flow(e), ranges);
    if (r >= 0 && ranges) derive_ranges(&model->graph, ranges);
    uprez_picture_unref(&src);
    if (r < 0) uprez_picture_unref(&dst);
    *result = dst;
    return r;
}

/* ---- which layers stay wider ---- */

typedef struct Choice {
    const UpzGraph *graph;
    UpzRanges ranges;
    bool *wide; /* by node */
    int n;      /* convolutions */
} Choice;

static bool is_conv(const UpzNode *n) { return n->op == UPZ_OP_CONV || n->op == UPZ_OP_DECONV; }

/* The convolutions that are wide and were not at first, by their number in the network: "2, 5-8". */
static void warn_wide(UprezContext *ctx, const Choice *c, const bool *before, double db)
{
    char names[200] = "";
    size_t at = 0;
    int number = 0, first = 0;
    for (size_t i = 0; i <= c->graph->n_nodes; i++) {
        const bool end = i == c->graph->n_nodes;
        if (!end && !is_conv(&c->graph->nodes[i])) continue;
        number++;
        const bool wide = !end && c->wide[i] && !before[i];
        if (wide && !first) first = number;
        if (wide || !first) continue;
        if (at < sizeof(names))
            at += (size_t)snprintf(names + at, sizeof(names) - at, first == number - 1 ? "%s%d" : "%s%d-%d",
                                   at ? ", " : "", first, number - 1);
        first = 0;
    }
    upz_warn(ctx, "precision int8: layers %s of %d are kept in more than 8 bits, as their errors are too large: "
             "%.1f dB PSNR to fp32 on the built-in picture", names, c->n, db);
}

/* The first convolutions read the picture, which has more than 8 bits, and the last ones write it. */
static int keep_ends(Choice *c, UprezError *err)
{
    const UpzGraph *g = c->graph;
    bool *met = upz_calloc(2 * g->n_nodes, sizeof(*met)), *later = met + g->n_nodes;
    if (!met) return upz_fail_memory(err, 2 * g->n_nodes, "the network's layers");
    for (size_t i = 0; i < g->n_nodes; i++) { /* a convolution lies before it */
        const UpzNode *n = &g->nodes[i];
        for (int k = 0; k < n->n_src; k++) met[i] |= met[n->src[k]] || is_conv(&g->nodes[n->src[k]]);
    }
    for (size_t i = g->n_nodes; i-- > 0;) { /* or behind it */
        const UpzNode *n = &g->nodes[i];
        for (int k = 0; k < n->n_src; k++) later[n->src[k]] |= later[i] || is_conv(n);
    }
    for (size_t i = 0; i < g->n_nodes; i++)
        if (is_conv(&g->nodes[i])) c->wide[i] = !met[i] || !later[i], c->n++;
    upz_free(met);
    return 0;
}

static void close_choice(Choice *c)
{
    upz_ranges_free(&c->ranges);
    upz_free(c->wide);
}

static int open_choice(Choice *c, const UpzGraph *g, UprezError *err)
{
    *c = (Choice){.graph = g, .wide = upz_calloc(g->n_nodes, sizeof(*c->wide))};
    int *channels = upz_calloc(g->n_nodes, sizeof(*channels));
    int r = c->wide && channels ? 0 : upz_fail_memory(err, g->n_nodes * sizeof(*channels), "the network's layers");
    for (size_t i = 0; !r && i < g->n_nodes; i++) channels[i] = g->nodes[i].channels;
    if (!r) r = upz_ranges_make(&c->ranges, channels, (int)g->n_nodes, err);
    if (!r) r = keep_ends(c, err);
    upz_free(channels);
    if (r < 0) close_choice(c);
    return r;
}

/* int8 would hide what is no number: networks with values beyond all bounds stay wide. */
static void keep_what_is_no_number(Choice *c)
{
    bool finite = true;
    for (size_t i = 0; i < c->ranges.n; i++) finite &= isfinite(c->ranges.most[i]) != 0;
    for (size_t i = 0; i < c->graph->n_nodes && !finite; i++) c->wide[i] = true;
}

/* The network in int8 as it is chosen now, and its distance from fp32 on the built-in picture. */
static int attempt(const Choice *c, UprezContext *ctx, UprezModel *model, const UprezPicture *want, UpzEngine **e,
                   double *db, UprezError *err)
{
    const UpzProgramParams params = {.features = ctx->features, .narrowest = UPZ_TYPE_S8, .ranges = &c->ranges,
                                     .wide = c->wide};
    UprezPicture *got = NULL;
    int r = upz_cpu_open(e, ctx, model, &params, err);
    if (r >= 0) r = upz_cpu_try(*e, model, false, NULL, &got, err);
    if (r >= 0) *db = upz_trial_pictures_psnr(got, want);
    else upz_engine_cpu.close(e);
    uprez_picture_unref(&got);
    return r;
}

/* Group `group` of the n convolutions that are not wide anyhow becomes wide, or int8 again: neighbours in the
 * network, all groups of about the same size. */
static void set_group(Choice *c, const bool *ends, int n, int group, bool wide)
{
    int at = 0;
    for (size_t i = 0; i < c->graph->n_nodes; i++)
        if (is_conv(&c->graph->nodes[i]) && !ends[i] && at++ * UPZ_MIN(GROUPS, n) / n == group) c->wide[i] = wide;
}

/* What each group alone would give, and then groups become wide, the one that gives most first, until the result
 * is near enough. */
static int widen(Choice *c, UprezContext *ctx, UprezModel *model, const UprezPicture *want, UpzEngine **e,
                 double *db, UprezError *err)
{
    double gain[GROUPS];
    bool *ends = upz_calloc(c->graph->n_nodes, sizeof(*ends));
    int n = 0, r = ends ? 0 : upz_fail_memory(err, c->graph->n_nodes, "the network's layers");
    for (size_t i = 0; !r && i < c->graph->n_nodes; i++) {
        ends[i] = c->wide[i];
        n += is_conv(&c->graph->nodes[i]) && !ends[i];
    }
    const int groups = UPZ_MIN(GROUPS, n);
    for (int g = 0; !r && g < groups; g++) {
        set_group(c, ends, n, g, true);
        upz_engine_cpu.close(e);
        r = attempt(c, ctx, model, want, e, &gain[g], err);
        set_group(c, ends, n, g, false);
    }
    for (int done = 0; !r && done < groups && *db < LEAST; done++) {
        int best = 0;
        for (int g = 1; g < groups; g++)
            if (gain[g] > gain[best]) best = g;
        gain[best] = -1;
        set_group(c, ends, n, best, true);
        upz_engine_cpu.close(e);
        r = attempt(c, ctx, model, want, e, db, err);
    }
    if (!r) warn_wide(ctx, c, ends, *db);
    upz_free(ends);
    return r;
}

int upz_cpu_open_int8(UpzEngine **out, UprezContext *ctx, UprezModel *model, UprezError *err)
{
    Choice c;
    UprezPicture *want = NULL, *ignored = NULL;
    UpzEngine *e = NULL;
    double db = 0;
    *out = NULL;
    int r = open_choice(&c, &model->graph, err);
    if (r < 0) return r;
    const UpzProgramParams fp32 = {.features = ctx->features, .narrowest = UPZ_TYPE_F32};
    r = upz_cpu_open(&e, ctx, model, &fp32, err);
    if (r >= 0) r = upz_cpu_try(e, model, true, &c.ranges, &ignored, err);
    if (r >= 0) r = upz_cpu_try(e, model, false, &c.ranges, &want, err);
    upz_engine_cpu.close(&e);
    keep_what_is_no_number(&c);
    if (r >= 0) r = attempt(&c, ctx, model, want, &e, &db, err);
    if (r >= 0 && db < LEAST) r = widen(&c, ctx, model, want, &e, &db, err);
    if (r >= 0) upz_info(ctx, "precision int8: %.1f dB PSNR to fp32 on the built-in picture", db);
    uprez_picture_unref(&want);
    uprez_picture_unref(&ignored);
    close_choice(&c);
    if (r < 0) upz_engine_cpu.close(&e);
    *out = e;
    return r;
}
