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
    bool *wide;    /* by node */
    int n, n_wide; /* convolutions, and those of them that stay wide for their errors */
} Choice;

static bool is_conv(const UpzNode *n) { return n->op == UPZ_OP_CONV || n->op == UPZ_OP_DECONV; }

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

int upz_cpu_open_int8(UpzEngine **out, UprezContext *ctx, UprezModel *model, UprezError *err)
{
    Choice c;
    UprezPicture *want = NULL, *got = NULL;
    UpzEngine *e = NULL;
    int r = open_choice(&c, &model->graph, err);
    if (r < 0) return r;
    const UpzProgramParams fp32 = {.features = ctx->features, .narrowest = UPZ_TYPE_F32};
    const UpzProgramParams int8 = {.features = ctx->features, .narrowest = UPZ_TYPE_S8, .ranges = &c.ranges,
                                   .wide = c.wide};
    r = upz_cpu_open(&e, ctx, model, &fp32, err);
    if (r >= 0) r = upz_cpu_try(e, model, true, &c.ranges, &got, err);
    uprez_picture_unref(&got);
    if (r >= 0) r = upz_cpu_try(e, model, false, &c.ranges, &want, err);
    upz_engine_cpu.close(&e);
    if (r >= 0) r = upz_cpu_open(&e, ctx, model, &int8, err);
    if (r >= 0) r = upz_cpu_try(e, model, false, NULL, &got, err);
    if (r >= 0)
        upz_info(ctx, "precision int8: %.1f dB PSNR to fp32 on the built-in picture",
                 upz_trial_pictures_psnr(got, want));
    uprez_picture_unref(&want);
    uprez_picture_unref(&got);
    close_choice(&c);
    if (r < 0) upz_engine_cpu.close(&e);
    *out = e;
    return r;
}
