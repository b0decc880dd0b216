#include "quality/verdict.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#define BLACK_LASTS 0.5    /* seconds from which on it is worth a note */
#define FROZEN_LASTS 1.0
#define STILL 0.05f        /* grey levels of change that coding alone makes */
#define FLAT 1.0f          /* standard deviation of a picture with nothing in it */
#define OTHER_PICTURE 24.0 /* mean difference of two thumbnails */
#define MISPLACED 2.0      /* so much, and another frame of the source is nearer */
#define AROUND 25          /* frames that are asked */
#define LAG_MOST 400       /* bins of loudness: two seconds */
#define LAG_COUNTS 5       /* 25 ms */
#define QUIET 1e-5f        /* mean square below which nothing is heard: -50 dB */
#define SILENT_LASTS 0.1
#define FINDINGS_MAX 10000
#define HOLE 0.2           /* seconds without a frame that no camera leaves */
#define EACH_KIND 5        /* findings of one kind that are told one by one */

typedef struct Judge {
    UpzVerdict *v;
    const UpzInspection *film, *source;
    bool failed; /* no memory for a finding */
} Judge;

UPZ_PRINTF(6, 7)
static void find(Judge *j, const char *kind, bool defect, double time, double until, const char *fmt, ...)
{
    UpzVerdict *v = j->v;
    v->defects += defect; /* also where the list is full: the exit code must not depend on its room */
    if (!upz_grow(&v->finding, &v->cap, v->n + 1, sizeof(*v->finding), FINDINGS_MAX)) {
        j->failed = v->n < FINDINGS_MAX;
        return;
    }
    UpzFinding *f = &v->finding[v->n++];
    *f = (UpzFinding){kind, defect, time, until, ""};
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->text, sizeof(f->text), fmt, args);
    va_end(args);
}

static const char *type_name(char type)
{
    return type == 'v' ? "picture" : type == 'a' ? "sound" : type == 's' ? "subtitles" : "data";
}

/* ---- the film alone ---- */

static bool is_black(const UpzInspection *i, const UpzInspectFrame *f)
{
    return f->spread >= 0 && f->spread < 6 && f->mean < (i->limited ? 22 : 8);
}

static bool is_flat(const UpzInspection *i, const UpzInspectFrame *f)
{
    return f->spread >= 0 && f->spread < FLAT && !is_black(i, f);
}

static bool is_frozen(const UpzInspection *i, const UpzInspectFrame *f)
{
    return f->change >= 0 && f->change < STILL && !is_black(i, f) && !is_flat(i, f);
}

static double frame_end(const UpzInspection *i, size_t k)
{
    if (k + 1 < i->frames) return i->frame[k + 1].time;
    return i->video >= 0 && !isnan(i->stream[i->video].end) ? i->stream[i->video].end : i->frame[k].time;
}

static void runs(Judge *j, const char *kind, double lasts, bool (*is)(const UpzInspection *,
                 const UpzInspectFrame *), const char *what)
{
    const UpzInspection *i = j->film;
    for (size_t k = 0; k < i->frames;) {
        size_t end = k;
        while (end < i->frames && is(i, &i->frame[end])) end++;
        if (end > k && frame_end(i, end - 1) - i->frame[k].time >= lasts - 1e-6)
            find(j, kind, false, i->frame[k].time, frame_end(i, end - 1), "%s for %.2f s", what,
                 frame_end(i, end - 1) - i->frame[k].time);
        k = end > k ? end : k + 1;
    }
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* A film whose frames come evenly shows by a longer step that some may be missing; in others steps differ by
 * nature. A camera drops one now and then, so that only a longer hole is a defect by itself. */
static int times(Judge *j, UprezError *err)
{
    const UpzInspection *i = j->film;
    if (i->frames < 2) return 0;
    const size_t n = i->frames - 1;
    double *step = upz_calloc(n, sizeof(*step));
    if (!step) return upz_fail_memory(err, n * sizeof(*step), "the steps between frames");
    size_t back = 0, even = 0;
    for (size_t k = 0; k < n; k++) {
        step[k] = i->frame[k + 1].time - i->frame[k].time;
        if (step[k] <= 0 && !back++)
            find(j, "time", true, i->frame[k + 1].time, NAN, "its time goes back or stands still");
    }
    qsort(step, n, sizeof(*step), by_size);
    const double usual = step[n / 2], about = UPZ_MAX(0.0011, 0.02 * usual);
    for (size_t k = 0; k < n; k++) even += fabs(step[k] - usual) <= about;
    upz_free(step);
    int told = 0;
    for (size_t k = 0; k < n && n >= 24 && (double)even >= 0.97 * (double)n; k++) {
        const double s = i->frame[k + 1].time - i->frame[k].time;
        const double missing = s / usual - 1;
        if (missing < 0.6 || told++ >= EACH_KIND) continue;
        find(j, "missing frames", s - usual >= HOLE && missing >= 4, i->frame[k].time, i->frame[k + 1].time,
             "%.0f frame%s missing", missing, missing < 1.5 ? " is" : "s are");
    }
    return 0;
}

static void decoding(Judge *j)
{
    const UpzInspection *i = j->film;
    if (i->damage[0]) find(j, "damage", true, NAN, NAN, "%s", i->damage);
    for (int k = 0; k < i->n_streams; k++) {
        const UpzInspectStream *s = &i->stream[k];
        if (s->errors)
            find(j, "damage", true, s->error_time, NAN, "%lld error%s while its %s (%s) was decoded",
                 (long long)s->errors, s->errors == 1 ? "" : "s", type_name(s->type), s->codec);
        if (s->packets && isnan(s->first) && s->type == 'a')
            find(j, "damage", true, NAN, NAN, "nothing of its sound %d (%s) can be decoded", k, s->codec);
    }
    if (i->video >= 0 && !i->frames) find(j, "damage", true, NAN, NAN, "no frame of its picture can be decoded");
}

static void durations(Judge *j)
{
    const UpzInspection *i = j->film;
    const double slack = UPZ_MAX(1.0, 0.03 * i->end);
    if (i->stated > 0 && i->end > 0 && fabs(i->stated - i->end) > slack)
        find(j, "duration", true, NAN, NAN, "it says that it lasts %.2f s, and lasts %.2f s", i->stated, i->end);
    for (int k = 0; k < i->n_streams; k++) {
        const UpzInspectStream *s = &i->stream[k];
        if (s->type != 'a' || isnan(s->first)) continue;
        if (i->video >= 0 && i->frames > 1 && fabs(s->end - i->stream[i->video].end) > UPZ_MAX(2.0, 0.02 * i->end))
            find(j, "length", false, UPZ_MIN(s->end, i->stream[i->video].end), NAN,
                 "its sound %d ends at %.2f s, its picture at %.2f s", k, s->end, i->stream[i->video].end);
        if (s->hole > 0)
            find(j, "sound", false, s->hole_time, s->hole_time + s->hole, "a hole of %.2f s in its sound %d",
                 s->hole, k);
        size_t heard = 0;
        for (size_t b = 0; b < s->bins; b++) heard += s->loudness[b] > QUIET;
        if (!heard) find(j, "sound", false, NAN, NAN, "its sound %d is silent", k);
    }
}

/* What Chromium and Firefox play, on most systems: containers, codecs, bits. */
static void browsers(Judge *j)
{
    const UpzInspection *i = j->film;
    UpzVerdict *v = j->v;
    const bool mp4 = strstr(i->container, "mp4") != NULL, matroska = strstr(i->container, "webm") != NULL;
    size_t at = 0;
    v->obstacles[0] = 0;
#define OBSTACLE(...) \
    (at += (size_t)snprintf(v->obstacles + at, sizeof(v->obstacles) - at, "%s", at ? "; " : ""), \
     at = UPZ_MIN(at, sizeof(v->obstacles) - 1), \
     at += (size_t)snprintf(v->obstacles + at, sizeof(v->obstacles) - at, __VA_ARGS__), \
     at = UPZ_MIN(at, sizeof(v->obstacles) - 1))
    if (!mp4 && !matroska) OBSTACLE("the container %s", i->container);
    for (int k = 0; k < i->n_streams; k++) {
        const UpzInspectStream *s = &i->stream[k];
        static const char *const pictures[] = {"h264", "vp8", "vp9", "av1"};
        static const char *const sounds[] = {"aac", "mp3", "opus", "vorbis", "flac"};
        bool known = s->type != 'v' && s->type != 'a';
        for (int c = 0; c < UPZ_COUNT(pictures) && s->type == 'v'; c++) known |= !strcmp(s->codec, pictures[c]);
        for (int c = 0; c < UPZ_COUNT(sounds) && s->type == 'a'; c++) known |= !strcmp(s->codec, sounds[c]);
        if (!known) OBSTACLE("%s as %s", s->codec, type_name(s->type));
        if (k == i->video && !strcmp(s->codec, "h264") && (i->depth > 8 || !i->chroma_420))
            OBSTACLE("H.264 in %s", s->format);
    }
    if (mp4 && !i->header_first) OBSTACLE("its index is at its end, so it plays only once it is there whole");
#undef OBSTACLE
    v->plays = !v->obstacles[0];
}

/* ---- beside its source ---- */

static int count(const UpzInspection *i, char type)
{
    int n = 0;
    for (int k = 0; k < i->n_streams; k++) n += i->stream[k].type == type;
    return n;
}

static double unlike(const UpzInspectFrame *a, const UpzInspectFrame *b)
{
    int sum = 0;
    for (int k = 0; k < UPZ_COUNT(a->thumb); k++) sum += abs(a->thumb[k] - b->thumb[k]);
    return (double)sum / UPZ_COUNT(a->thumb);
}

/* Is this not the source's frame a: nothing like it, or much more like one before or behind it? */
static bool misplaced(const UpzInspection *s, size_t a, const UpzInspectFrame *q)
{
    const double here = unlike(&s->frame[a], q);
    if (here < MISPLACED || here > OTHER_PICTURE) return here > OTHER_PICTURE;
    const size_t from = a > AROUND ? a - AROUND : 0, to = UPZ_MIN(a + AROUND, s->frames - 1);
    for (size_t k = from; k <= to; k++)
        if (unlike(&s->frame[k], q) < 0.4 * here) return true;
    return false;
}

/* A run of frames with one defect, told when it ends. */
typedef struct Run {
    const char *kind, *what, *tail; /* in words: what, for how many frames, and the rest */
    double from, to, lasts;
    int n, told;
} Run;

static void end_run(Judge *j, Run *r)
{
    if (r->n && r->to - r->from >= r->lasts - 1e-6 && r->told++ < EACH_KIND)
        find(j, r->kind, true, r->from, r->to, "%s for %d frame%s%s", r->what, r->n, r->n == 1 ? "" : "s",
             r->tail);
    r->n = 0;
}

static void in_run(Judge *j, Run *r, bool yes, double from, double to)
{
    if (!yes) {
        end_run(j, r);
        return;
    }
    if (!r->n) r->from = from;
    r->to = to;
    r->n++;
}

/* Both lists of frames by time; a frame belongs to the nearest of the other film. */
static void frames(Judge *j)
{
    const UpzInspection *f = j->film, *s = j->source;
    const char *const unlike_source = ", and not so in the source";
    Run missing = {"missing frames", "it has nothing", " of the source"};
    Run extra = {"extra frames", "it has more than the source,", ""};
    Run black = {"black", "it is black", unlike_source}, flat = {"flat", "it is one colour", unlike_source};
    Run frozen = {"frozen", "the picture stands still", unlike_source, .lasts = 0.15};
    Run other = {"other picture", "it shows another picture than the source", ""};
    size_t a = 0, b = 0;
    while (a < s->frames || b < f->frames) {
        const bool has_a = a < s->frames, has_b = b < f->frames;
        const double ta = has_a ? s->frame[a].time : 0, tb = has_b ? f->frame[b].time : 0;
        const double apart = fabs(ta - tb);
        const double interval = has_a ? UPZ_MAX(frame_end(s, a) - ta, 0.001) : 0.04;
        const bool skip_a = has_a && (!has_b || (a + 1 < s->frames && fabs(s->frame[a + 1].time - tb) < apart) ||
                                      (ta < tb && apart > 0.75 * interval));
        const bool skip_b = !skip_a && has_b &&
                            (!has_a || (b + 1 < f->frames && fabs(f->frame[b + 1].time - ta) < apart) ||
                             (tb < ta && apart > 0.75 * interval));
        in_run(j, &missing, skip_a, ta, has_a ? frame_end(s, a) : ta);
        in_run(j, &extra, skip_b, tb, has_b ? frame_end(f, b) : tb);
        if (!skip_a && !skip_b) {
            const UpzInspectFrame *p = &s->frame[a], *q = &f->frame[b];
            const double end = frame_end(f, b);
            const bool is_b = is_black(f, q) && p->mean - q->mean > 8;
            const bool is_f = !is_b && q->spread >= 0 && q->spread < FLAT && p->spread > 4;
            const bool moves = p->change > 0.5f && q->change >= 0 && q->change < 0.1f * p->change &&
                               q->change < 0.3f;
            in_run(j, &black, is_b, q->time, end);
            in_run(j, &flat, is_f, q->time, end);
            in_run(j, &frozen, !is_b && !is_f && moves, q->time, end);
            in_run(j, &other, !is_b && !is_f && q->spread >= 0 && p->spread >= 0 &&
                              misplaced(s, a, q), q->time, end);
        }
        a += !skip_b && has_a;
        b += !skip_a && has_b;
    }
    Run *all[] = {&missing, &extra, &black, &flat, &frozen, &other};
    for (int k = 0; k < UPZ_COUNT(all); k++) end_run(j, all[k]);
}

static const UpzInspectStream *nth(const UpzInspection *i, char type, int n)
{
    for (int k = 0; k < i->n_streams; k++)
        if (i->stream[k].type == type && !n--) return &i->stream[k];
    return NULL;
}

/* Correlation of loudness (amplitude) at a lag, of bins from … to; NAN where one does not vary. */
static double correlation(const float *a, size_t na, const float *b, size_t nb, size_t from, size_t to, int lag)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
    size_t n = 0;
    for (size_t k = from; k < to; k++) {
        const long q = (long)k + lag;
        if (k >= na || q < 0 || (size_t)q >= nb) continue;
        const double x = a[k], y = b[q];
        sa += x;
        sb += y;
        saa += x * x;
        sbb += y * y;
        sab += x * y;
        n++;
    }
    if (n < UPZ_BINS / 2) return NAN;
    const double va = saa - sa * sa / (double)n, vb = sbb - sb * sb / (double)n;
    return va > 1e-9 && vb > 1e-9 ? (sab - sa * sb / (double)n) / sqrt(va * vb) : NAN;
}

static float *amplitudes(const UpzInspectStream *s)
{
    float *a = upz_calloc(s->bins + 1, sizeof(*a));
    for (size_t k = 0; a && k < s->bins; k++) a[k] = sqrtf(s->loudness[k]);
    return a;
}

/* The lag at which both are most alike, in seconds; NAN where that is not clear. */
static double lag_of(const float *a, size_t na, const float *b, size_t nb, size_t from, size_t to)
{
    double best = -1;
    const double zero = correlation(a, na, b, nb, from, to, 0);
    int at = 0;
    for (int lag = -LAG_MOST; lag <= LAG_MOST; lag++) {
        const double c = correlation(a, na, b, nb, from, to, lag);
        if (c > best) {
            best = c;
            at = lag;
        }
    }
    if (best < 0.5) return NAN;
    return !isnan(zero) && best - zero < 0.01 ? 0 : (double)at / UPZ_BINS;
}

static void silences(Judge *j, const UpzInspectStream *s, const UpzInspectStream *f)
{
    const size_t bins = UPZ_MIN(s->bins, f->bins);
    size_t begin = 0, quiet = 0;
    int told = 0;
    for (size_t k = 0; k <= bins; k++) {
        const bool now = k < bins && f->loudness[k] < QUIET / 10 && s->loudness[k] > QUIET;
        if (now && !quiet++) begin = k;
        if (now) continue;
        if ((double)quiet / UPZ_BINS >= SILENT_LASTS && told++ < EACH_KIND)
            find(j, "sound", true, (double)begin / UPZ_BINS, (double)k / UPZ_BINS,
                 "its sound is silent for %.2f s, and not so in the source", (double)quiet / UPZ_BINS);
        quiet = 0;
    }
}

static int sound(Judge *j, int n, UprezError *err)
{
    const UpzInspectStream *s = nth(j->source, 'a', n), *f = nth(j->film, 'a', n);
    if (isnan(s->first)) return 0;
    if (isnan(f->first)) {
        find(j, "sound", true, NAN, NAN, "nothing of its sound %d can be heard", n + 1);
        return 0;
    }
    /* the end first: what is missing there is no offset */
    if (fabs(s->end - f->end) > 0.15)
        find(j, "sound", true, UPZ_MIN(s->end, f->end), NAN, "its sound %d ends at %.2f s, the source's at %.2f s",
             n + 1, f->end, s->end);
    float *a = amplitudes(s), *b = amplitudes(f);
    int r = a && b ? 0 : upz_fail_memory(err, s->bins * sizeof(*a), "the loudness of the sound");
    if (r >= 0) {
        /* the whole, and the ends by themselves: it may jump or drift in between */
        const size_t len = UPZ_MIN(s->bins, f->bins), third = len / 3;
        const double whole = lag_of(a, s->bins, b, f->bins, 0, len);
        const double begin = third > 2 * LAG_MOST ? lag_of(a, s->bins, b, f->bins, 0, third) : whole;
        const double end = third > 2 * LAG_MOST ? lag_of(a, s->bins, b, f->bins, len - third, len) : whole;
        double lag = isnan(whole) ? begin : whole;
        if (!isnan(begin) && (isnan(lag) || fabs(begin) > fabs(lag))) lag = begin;
        if (!isnan(end) && (isnan(lag) || fabs(end) > fabs(lag))) lag = end;
        if (!n) j->v->offset = lag;
        if (!isnan(lag) && fabs(lag) * UPZ_BINS >= LAG_COUNTS - 0.5)
            find(j, "sound offset", true, NAN, NAN, "its sound %d is %.0f ms %s than in the source", n + 1,
                 1000 * fabs(lag), lag > 0 ? "later" : "earlier");
        silences(j, s, f);
    }
    upz_free(a);
    upz_free(b);
    return r;
}

static int beside_source(Judge *j, UprezError *err)
{
    const UpzInspection *s = j->source, *f = j->film;
    for (const char *type = "vas"; *type; type++) {
        const int of_source = count(s, *type), of_film = count(f, *type);
        if (of_film < of_source)
            find(j, "streams", true, NAN, NAN, "it has %d stream%s of %s, the source has %d", of_film,
                 of_film == 1 ? "" : "s", type_name(*type), of_source);
    }
    if (s->video >= 0 && f->video >= 0) frames(j);
    int r = 0;
    for (int n = 0; n < UPZ_MIN(count(s, 'a'), count(f, 'a')) && r >= 0; n++) r = sound(j, n, err);
    return r;
}

int upz_judge(UpzVerdict *out, const UpzInspection *film, const UpzInspection *source, UprezError *err)
{
    *out = (UpzVerdict){.offset = NAN};
    Judge j = {out, film, source, false};
    decoding(&j);
    int r = times(&j, err);
    if (r >= 0) {
        durations(&j);
        runs(&j, "black", BLACK_LASTS, is_black, "black");
        runs(&j, "flat", 0, is_flat, "one colour");
        runs(&j, "frozen", FROZEN_LASTS, is_frozen, "the picture stands still");
        browsers(&j);
        if (source) r = beside_source(&j, err);
    }
    if (r >= 0 && j.failed) r = upz_fail_memory(err, sizeof(UpzFinding), "the list of findings");
    return r;
}

void upz_verdict_free(UpzVerdict *v)
{
    upz_free(v->finding);
    *v = (UpzVerdict){0};
}
