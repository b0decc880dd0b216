#include "quality/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/format.h"
#include "picture/resize.h"
#include "quality/sample.h"
#include "video/source.h"

enum { KEPT_MAX = 1 << 30 /* bytes of points */ };
#define APART 0.5 /* seconds between two samples */

/* A frame that was read, and when it is shown. */
typedef struct Shown {
    UpzFrame *frame; /* NULL: there is none */
    double time;
    int64_t index;
} Shown;

/* One input: two frames of it, so that the nearest in time can be chosen, and its way to the common
 * shape. */
typedef struct Side {
    UpzSource *source;
    const UpzSourceInfo *info;
    Shown now, next;
    double origin, interval; /* seconds: of its first frame; between the last two */
    UprezPicture *plain, *sized; /* after conversion, after resizing; NULL: not needed */
    UpzConvertPlan *convert;
    UpzResizePicture *resize;
    UprezPicture like;       /* the shape that these are for */
} Side;

typedef struct Compare {
    UprezContext *ctx;
    const UpzCompareParams *params;
    UpzWatch watch;
    Side side[2];
    UprezFormat format; /* the common one */
    UprezColor color[2];
    int width, height;
    UpzMeasure *measure;
    UpzComparison *out;
} Compare;

/* ---- reading ---- */

static int read_next(Side *s, UprezError *err)
{
    s->next = (Shown){.index = s->now.index + 1};
    if (!s->source) return 0;
    int r = upz_source_read(s->source, &s->next.frame, err);
    if (r == UPREZ_EOF) return 0;
    if (r >= 0) r = upz_frame_picture(s->next.frame, err);
    if (r >= 0) s->next.time = (double)s->next.frame->av->pts * av_q2d(s->info->time_base) - s->origin;
    return r;
}

static int advance(Side *s, UprezError *err)
{
    upz_frame_free(&s->now.frame);
    if (s->next.frame && s->next.index > 0 && s->next.time > s->now.time)
        s->interval = s->next.time - s->now.time;
    s->now = s->next;
    return s->now.frame ? read_next(s, err) : 0;
}

static int open_side(Compare *c, int i, UprezError *err)
{
    Side *s = &c->side[i];
    UpzSourceParams p = {.watch = &c->watch, .interlaced = UPZ_INTERLACED_KEEP};
    int r = upz_source_open(&s->source, c->ctx, c->params->input[i], &p, err);
    if (r < 0) return r;
    s->info = upz_source_info(s->source);
    s->now.index = -1;
    const AVRational rate = s->info->frame_rate;
    s->interval = rate.num > 0 ? av_q2d(av_inv_q(rate)) : 0.04;
    r = read_next(s, err);
    if (r >= 0 && !s->next.frame)
        r = upz_fail(err, UPREZ_ERR_INPUT, "'%s' has no frames", c->params->input[i]);
    if (r < 0) return r;
    s->origin = s->next.time;
    s->next.time = 0;
    UpzCompareSide *side = &c->out->side[i];
    side->width = s->next.frame->picture->width;
    side->height = s->next.frame->picture->height;
    const char *name = uprez_format_name(&s->next.frame->picture->format);
    snprintf(side->format, sizeof(side->format), "%s", name ? name : "?");
    return advance(s, err);
}

/* ---- a common shape ---- */

/* What only one of them states holds for both. */
static void share(uint8_t *a, uint8_t *b, uint8_t unknown)
{
    if (*a == unknown) *a = *b;
    if (*b == unknown) *b = *a;
}

static void common_color(UprezColor *a, UprezColor *b, bool one_model)
{
    if (one_model) share(&a->matrix, &b->matrix, 2);
    share(&a->primaries, &b->primaries, 2);
    share(&a->transfer, &b->transfer, 2);
    if (one_model) share(&a->range, &b->range, UPREZ_RANGE_UNKNOWN);
    share(&a->siting, &b->siting, UPREZ_SITING_UNKNOWN);
}

/* One plane a component, 8 to 16 bits. */
static UprezFormat common_format(const UprezFormat *a, const UprezFormat *b)
{
    UprezFormat f = {.model = a->model == b->model ? a->model : UPREZ_RGB};
    if (f.model == UPREZ_YUV) {
        f.sub_x = UPZ_MIN(a->sub_x, b->sub_x);
        f.sub_y = UPZ_MIN(a->sub_y, b->sub_y);
    }
    f.depth = (uint8_t)UPZ_MIN(UPZ_MAX(a->depth, b->depth), 16);
    f.alpha = a->alpha && b->alpha;
    f.n_comp = (uint8_t)((f.model == UPREZ_GRAY ? 1 : 3) + f.alpha);
    f.n_plane = f.n_comp;
    for (uint8_t c = 0; c < f.n_comp; c++) f.comp[c] = (UprezComponent){c, 0, f.depth > 8 ? 2 : 1};
    return f;
}

static bool same_layout(const UprezFormat *a, const UprezFormat *b)
{
    return a->model == b->model && a->depth == b->depth && a->sub_x == b->sub_x && a->sub_y == b->sub_y &&
           a->n_comp == b->n_comp && upz_measure_takes(a) && !memcmp(a->comp, b->comp, sizeof(a->comp));
}

static void describe(char *to, size_t size, const UprezFormat *f)
{
    static const char *const sub[3][3] = {{"4:4:4", "4:4:0", "4:4:0"}, {"4:2:2", "4:2:0", "4:2:0"},
                                          {"4:1:1", "4:1:0", "4:1:0"}};
    if (f->model == UPREZ_YUV) snprintf(to, size, "YUV %s, %d bits", sub[f->sub_x][f->sub_y], f->depth);
    else snprintf(to, size, "%s, %d bits", f->model == UPREZ_RGB ? "RGB" : "gray", f->depth);
}

static void drop_shape(Side *s)
{
    upz_convert_plan_destroy(&s->convert);
    upz_resize_picture_destroy(&s->resize);
    uprez_picture_unref(&s->plain);
    uprez_picture_unref(&s->sized);
}

/* What a frame of this shape needs to become comparable. */
static int plan_side(Compare *c, int i, const UprezPicture *p, UprezError *err)
{
    Side *s = &c->side[i];
    drop_shape(s);
    s->like = *p;
    /* what the other one says of its colour is said for this one where it says nothing; only a
     * difference that both state is converted */
    UprezPicture from = *p, to = *p;
    from.color = c->color[i];
    to.color = c->color[0];
    to.format = c->format;
    const bool other_color = memcmp(&from.color, &to.color, offsetof(UprezColor, siting)) != 0;
    int r = 0;
    if (!same_layout(&p->format, &c->format) || other_color) {
        r = uprez_picture_alloc(&s->plain, &c->format, p->width, p->height, err);
        if (r >= 0) {
            s->plain->color = to.color;
            if (c->format.model == UPREZ_RGB) s->plain->color.matrix = 0;
            if (c->format.model == UPREZ_RGB) s->plain->color.range = UPREZ_RANGE_FULL;
            r = upz_convert_plan_create(&s->convert, c->ctx, &from, s->plain, err);
        }
    }
    if (r >= 0 && (p->width != c->width || p->height != c->height)) {
        const UprezPicture *src = s->plain ? s->plain : &from;
        r = uprez_picture_alloc(&s->sized, &c->format, c->width, c->height, err);
        if (r >= 0) {
            s->sized->color = src->color;
            r = upz_resize_picture_create(&s->resize, c->ctx, UPZ_RESIZE_BICUBIC, src, s->sized, err);
        }
    }
    return r;
}

static int agree(Compare *c)
{
    const UprezPicture *a = c->side[0].now.frame->picture, *b = c->side[1].now.frame->picture;
    c->format = common_format(&a->format, &b->format);
    c->color[0] = a->color;
    c->color[1] = b->color;
    common_color(&c->color[0], &c->color[1], a->format.model == b->format.model);
    const bool first = (int64_t)a->width * a->height >= (int64_t)b->width * b->height;
    const UprezPicture *size = first != c->params->down ? a : b;
    c->width = size->width;
    c->height = size->height;
    describe(c->out->format, sizeof(c->out->format), &c->format);
    static const char *const names[3] = {"Y", "YUV", "RGB"};
    for (int i = 0; i < c->format.n_comp; i++)
        c->out->component[i][0] = c->format.alpha && i + 1 == c->format.n_comp ? 'A'
                                                                               : names[c->format.model][i];
    c->out->width = c->width;
    c->out->height = c->height;
    return 0;
}

/* The frame in the common shape; lives until the side's next one. */
static int bring(Compare *c, int i, const UprezPicture **out, UprezError *err)
{
    Side *s = &c->side[i];
    UprezPicture *p = s->now.frame->picture;
    int r = 0;
    if (p->width != s->like.width || p->height != s->like.height ||
        !upz_format_equal(&p->format, &s->like.format))
        r = plan_side(c, i, p, err);
    if (r < 0) return r;
    *out = p;
    UprezPicture from = *p;
    from.color = c->color[i];
    if (s->convert) {
        upz_convert_plan_run(s->convert, &from, s->plain);
        from = *s->plain;
        *out = s->plain;
    }
    if (s->resize) {
        upz_resize_picture_run(s->resize, &from, s->sized);
        *out = s->sized;
    }
    return 0;
}

/* ---- the worst frames, to look at ---- */

static double error_of(const UpzComparison *c, size_t point)
{
    return upz_measured_error(&c->point[point].measured);
}

/* Keeps the newest point's pictures if it is among the worst; of points near each other only the
 * worst one stays. */
static int keep(Compare *c, const UprezPicture *const p[2], UprezError *err)
{
    UpzComparison *o = c->out;
    const size_t now = o->n - 1;
    int place = o->n_samples;
    while (place > 0 && error_of(o, o->sample[place - 1].point) < error_of(o, now)) place--;
    int near = -1;
    for (int i = 0; i < o->n_samples; i++)
        if (fabs(o->point[o->sample[i].point].time - o->point[now].time) < APART) near = i;
    if ((near >= 0 && near < place) || place == UPZ_COMPARE_SAMPLES) return 0;
    const int gone = near >= 0 ? near : o->n_samples == UPZ_COMPARE_SAMPLES ? o->n_samples - 1 : o->n_samples;
    upz_sample_free(&o->sample[gone]);
    if (gone == o->n_samples) o->n_samples++;
    memmove(&o->sample[place + 1], &o->sample[place], (size_t)(gone - place) * sizeof(o->sample[0]));
    UpzSample *s = &o->sample[place];
    *s = (UpzSample){.point = now};
    return upz_sample_make(s, c->ctx, p, err);
}

/* ---- the whole ---- */

static int measure_pair(Compare *c, UprezError *err)
{
    UpzComparison *o = c->out;
    const UprezPicture *p[2];
    int r = bring(c, 0, &p[0], err);
    if (r >= 0) r = bring(c, 1, &p[1], err);
    if (r >= 0 && !c->measure) r = upz_measure_create(&c->measure, c->ctx, p[0], c->params->ms_ssim, err);
    if (r < 0) return r;
    if (!upz_grow(&o->point, &o->cap, o->n + 1, sizeof(*o->point), KEPT_MAX / sizeof(*o->point)))
        return upz_fail_memory(err, sizeof(*o->point), "the comparison's list of frames");
    UpzComparePoint *point = &o->point[o->n++];
    *point = (UpzComparePoint){.time = c->side[0].now.time,
                               .frame = {c->side[0].now.index, c->side[1].now.index}};
    upz_measure_run(c->measure, p[0], p[1], &point->measured);
    return c->params->samples ? keep(c, p, err) : 0;
}

/* Whether side i's frame shall wait for no partner: its own next one is nearer to the other's frame. */
static bool alone(const Compare *c, int i)
{
    const Side *s = &c->side[i], *other = &c->side[!i];
    const double apart = fabs(s->now.time - other->now.time);
    if (s->next.frame && fabs(s->next.time - other->now.time) < apart) return true;
    return s->now.time < other->now.time && apart > 0.75 * UPZ_MAX(s->interval, other->interval);
}

static int all_frames(Compare *c, UprezError *err)
{
    Side *s = c->side;
    int64_t total = s[0].info->still ? 1 : s[0].info->frames;
    while (s[0].now.frame || s[1].now.frame) {
        if (upz_watch_ended(&c->watch))
            return upz_fail(err, UPREZ_ERR_INTERRUPTED, "the comparison was interrupted");
        int r = 0;
        bool take[2] = {true, true};
        if (s[0].now.frame && s[1].now.frame) {
            if (alone(c, 0)) take[1] = false;
            else if (alone(c, 1)) take[0] = false;
            else r = measure_pair(c, err);
        } else {
            take[0] = s[0].now.frame != NULL;
            take[1] = !take[0];
        }
        for (int i = 0; i < 2 && r >= 0; i++) {
            if (!take[i]) continue;
            c->out->side[i].frames++;
            if (!take[!i]) c->out->side[i].alone++;
            r = advance(&s[i], err);
        }
        if (r < 0) return r;
        if (c->params->progress) c->params->progress(c->params->cookie, c->out->side[0].frames, total);
    }
    if (c->out->n) return 0;
    return upz_fail(err, UPREZ_ERR_INPUT, "no frame of '%s' is shown at the time of one of '%s'",
                    c->params->input[0], c->params->input[1]);
}

static void sum_up(UpzComparison *o)
{
    UpzMeasured *m = &o->mean;
    *m = o->point[0].measured;
    for (size_t k = 1; k < o->n; k++) {
        const UpzMeasured *p = &o->point[k].measured;
        for (int c = 0; c < m->n; c++) {
            m->error[c] += p->error[c];
            m->ssim[c] += p->ssim[c];
        }
        m->ms_ssim += p->ms_ssim;
        if (upz_measured_error(p) > error_of(o, o->worst)) o->worst = k;
    }
    for (int c = 0; c < m->n; c++) {
        m->error[c] /= (double)o->n;
        m->ssim[c] /= (double)o->n;
    }
    m->ms_ssim /= (double)o->n;
}

int upz_compare(UpzComparison *out, UprezContext *ctx, const UpzCompareParams *params, UprezError *err)
{
    *out = (UpzComparison){0};
    Compare c = {.ctx = ctx, .params = params, .out = out, .watch.asked = params->cancel};
    int r = open_side(&c, 0, err);
    if (r >= 0) r = open_side(&c, 1, err);
    if (r >= 0) r = agree(&c);
    for (int i = 0; i < 2 && r >= 0; i++) r = plan_side(&c, i, c.side[i].now.frame->picture, err);
    if (r >= 0) r = all_frames(&c, err);
    if (r >= 0) sum_up(out);
    for (int i = 0; i < 2; i++) {
        Side *s = &c.side[i];
        if (s->source) {
            UpzSourceStats stats;
            upz_source_stats(s->source, &stats);
            out->side[i].damaged = stats.damaged + stats.held + stats.lost_packets + stats.read_errors;
        }
        upz_frame_free(&s->now.frame);
        upz_frame_free(&s->next.frame);
        drop_shape(s);
        upz_source_close(&s->source);
    }
    upz_measure_destroy(&c.measure);
    return r;
}

void upz_comparison_free(UpzComparison *c)
{
    for (int i = 0; i < UPZ_COMPARE_SAMPLES; i++) upz_sample_free(&c->sample[i]);
    upz_free(c->point);
    *c = (UpzComparison){0};
}
