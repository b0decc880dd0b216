/* One video: select, plan, make the segments, join, verify, rename. */
#include "parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/queue.h"
#include "frames.h"
#include "pipeline.h"
#include "plan.h"
#include "size.h"
#include "store.h"
#include "video/browser.h"
#include "video/check.h"
#include "video/filter_times.h"
#include "video/inventory.h"
#include "video/rehearsal.h"

#define FILTER_SECONDS 4.0 /* for what filters make of the film's times */

typedef struct VideoJob {
    UpzSession *session;
    const UpzJobParams *params;
    UpzJobResult *result;
    UprezContext *ctx;
    UpzWatch *watch;
    UpzSource *source;
    const UpzSourceInfo *info;
    UpzFilm film;            /* the source is numbered pictures */
    bool pictures;           /* so is the result, or it is one */
    int64_t there;           /* of them, from an earlier run */
    UpzIndex index;
    bool indexed;
    UpzSurvey *other;        /* --streams-from */
    UpzJoinResult written;
    bool rehearsed;          /* the encoder's plan has been tried */
    UpzLosses told;          /* what the output lacks of what the source says */
    UpzSelection selection;
    UpzFrame *first;
    UpzEncoderPlan encoder;
    UpzJoinPlan join;
    UpzUnits units;
    UpzStore store;
    UpzPipelineResult run;
    char *place, *part;      /* OUTPUT, or what it links to; the same with .part */
    char damage[512];        /* what is wrong with the source; "" = nothing */
} VideoJob;

/* ---- what is to be done ---- */

static int parse_interlaced(UpzInterlaced *out, const char *s, UprezError *err)
{
    *out = UPZ_INTERLACED_DEINT;
    if (!s || !strcmp(s, "deint")) return 0;
    *out = UPZ_INTERLACED_KEEP;
    if (!strcmp(s, "keep")) return 0;
    *out = UPZ_INTERLACED_ERROR;
    if (!strcmp(s, "error")) return 0;
    return upz_fail(err, UPREZ_ERR_USAGE, "--interlaced %s: deint, keep or error", s);
}

static int parse_audio(UpzAudioMode *out, const char *s, UprezError *err)
{
    *out = UPZ_AUDIO_COPY;
    if (!s || !strcmp(s, "copy")) return 0;
    *out = UPZ_AUDIO_AAC;
    if (!strcmp(s, "aac")) return 0;
    *out = UPZ_AUDIO_NONE;
    if (!strcmp(s, "none")) return 0;
    return upz_fail(err, UPREZ_ERR_USAGE, "--audio %s: copy, aac or none", s);
}

static int open_source(VideoJob *j, UprezError *err)
{
    const UpzJobParams *p = j->params;
    UpzSourceParams sp = {.vf = p->vf, .hwaccel = p->hwaccel, .watch = j->watch,
                          .name = p->input, .turn = j->pictures};
    int r = parse_interlaced(&sp.interlaced, p->interlaced, err);
    if (r >= 0) r = upz_film_find(&j->film, j->ctx, p, err);
    sp.format = j->film.demuxer;
    if (r >= 0)
        r = upz_source_open(&j->source, j->ctx, j->film.url ? j->film.url : p->input, &sp, err);
    if (r < 0) return r;
    j->info = upz_source_info(j->source);
    /* a list that could not be read to its end would make another plan than the whole one */
    if (upz_source_can_index(j->source)) {
        r = upz_source_index(j->source, &j->index, err);
        if (r < 0) return r;
    }
    if (p->streams_from) {
        r = upz_survey_create(&j->other, p->streams_from, NULL, -1, NULL, NULL, j->watch, err);
        if (r < 0) return r;
    }
    /* filters may change times and rate; then only what comes out counts */
    j->indexed = !p->vf && upz_index_usable(&j->index, j->info);
    return upz_select(&j->selection, p, j->info, j->indexed ? &j->index : NULL, err);
}

/* Reads on to the first selected frame: its side data belongs to the plan. */
static int read_first(VideoJob *j, UprezError *err)
{
    int r = 0;
    if (j->selection.start != INT64_MIN) r = upz_source_seek(j->source, j->selection.start, err);
    while (r >= 0) {
        r = upz_source_read(j->source, &j->first, err);
        if (r < 0 || j->first->av->pts >= j->selection.start) break;
        upz_frame_free(&j->first);
    }
    if (r == UPREZ_EOF || (r >= 0 && j->first->av->pts >= j->selection.end))
        return upz_fail(err, r < 0 && j->selection.start == INT64_MIN ? UPREZ_ERR_INPUT
                                                                     : UPREZ_ERR_USAGE,
                        "%s: no frame lies in the part asked for", j->params->input);
    return r < 0 ? r : upz_frame_picture(j->first, err);
}

static UpzShown shown(const VideoJob *j)
{
    const UpzSourceInfo *i = j->info;
    return (UpzShown){.width = i->width, .height = i->height, .sar_num = i->sar.num,
                      .sar_den = i->sar.den, .rotation = i->rotation, .square = j->pictures,
                      .even = !j->pictures};
}

/* Encoder and stream map for the size a scale leads to. ctx NULL: a trial, without notes. */
static int plan_output(VideoJob *j, UprezContext *ctx, double scale, UprezError *err)
{
    const UpzJobParams *p = j->params;
    UpzSize size;
    UpzShown src = shown(j);
    int r = upz_size_of(&size, p, scale, &src, err);
    if (r >= 0 && j->pictures && p->browser)
        r = upz_browser_params(NULL, NULL, true, NULL, p->output, err); /* refuses what they do not show */
    if (r >= 0 && j->pictures) {
        r = upz_encoder_plan_pictures(&j->encoder, ctx, j->info, j->first->picture, p->output, size.width,
                                      size.height, err);
        if (r >= 0) upz_encoder_plan_inner(&j->encoder, size.inner_width, size.inner_height);
        return r;
    }
    UpzEncoderParams ep = {.encoder = p->encoder, .options = p->encoder_options,
                           .n_options = p->n_encoder_options, .crf = p->crf, .preset = p->preset,
                           .pix_fmt = p->pix_fmt};
    UpzAudioMode audio;
    if (r >= 0) r = parse_audio(&audio, p->audio, err);
    if (r >= 0 && p->browser) r = upz_browser_params(&ep, &audio, p->audio != NULL, j->info, p->output, err);
    if (r >= 0)
        r = upz_encoder_plan(&j->encoder, ctx, &ep, j->info, j->indexed ? &j->index : NULL,
                             j->first->av, p->output, size.width, size.height,
                             (AVRational){size.sar_num, size.sar_den}, err);
    if (r >= 0 && (size.inner_width != size.width || size.inner_height != size.height))
        upz_encoder_plan_inner(&j->encoder, size.inner_width, size.inner_height);
    if (r >= 0 && !j->encoder.y4m)
        r = upz_join_plan(&j->join, ctx, j->source, j->other, &j->encoder, p->output, audio,
                          p->strict_streams, err);
    char gaps[200];
    const char *options;
    upz_browser_gaps(gaps, sizeof(gaps), &options, &j->encoder, &j->join);
    if (r >= 0 && *gaps)
        upz_info(ctx, "browsers and some televisions do not play %s in .mp4; '--for browser' makes what they "
                 "play (as %s)", gaps, options);
    return r;
}

static UpzInventory inventory(const VideoJob *j, uint32_t side)
{
    const UpzSurvey *survey = upz_source_survey(j->source);
    const UpzSelection *sel = &j->selection;
    return (UpzInventory){
        .source = survey ? survey->fmt : upz_source_format(j->source), .survey = survey,
        .other = j->other ? j->other->fmt : NULL, .chapters = j->other, .info = j->info,
        .encoder = &j->encoder,
        .plan = &j->join, .side = side,
        .whole = sel->start == INT64_MIN && sel->end == INT64_MAX && sel->limit == INT64_MAX};
}

/* Each loss once. With --strict-streams the first one ends the run. */
static int tell_losses(VideoJob *j, const UpzLosses *losses, UprezError *err)
{
    const UpzJobParams *p = j->params;
    for (int i = 0; i < losses->n; i++) {
        if (upz_losses_have(&j->told, losses->items[i])) continue;
        if (p->strict_streams)
            return upz_fail(err, UPREZ_ERR_OUTPUT, "%s: %s; use another container or encoder, or leave "
                            "out --strict-streams", p->output, losses->items[i]);
        upz_warn(j->ctx, "%s: %s", p->output, losses->items[i]);
        j->result->warnings++;
        char *copy = j->told.n < UPZ_LOSSES_MAX ? upz_strdup(losses->items[i]) : NULL;
        if (copy) j->told.items[j->told.n++] = copy;
    }
    return 0;
}

static int foresee_losses(VideoJob *j, UprezError *err)
{
    UpzLosses losses = {.n = 0};
    const UpzInventory before = inventory(j, j->info->side | upz_side_of_frame(j->first->av));
    int r = upz_losses_foresee(&losses, &before, j->ctx, err);
    if (r >= 0) r = tell_losses(j, &losses, err);
    upz_losses_free(&losses);
    return r;
}

/* In the finished file; what was foreseen is told already. */
static int find_losses(VideoJob *j, const char *path, UprezError *err)
{
    UpzLosses losses = {.n = 0};
    const UpzInventory before = inventory(j, j->info->side | j->run.side);
    int r = upz_losses_find(&losses, &before, j->ctx, path, err);
    if (r >= 0) r = tell_losses(j, &losses, err);
    upz_losses_free(&losses);
    return r;
}

/* The times that filters make of the whole film's, as far as they can be told before it is decoded. */
static int filtered_times(VideoJob *j, int64_t **pts, size_t *n, UprezError *err)
{
    const bool all = j->selection.start == INT64_MIN && j->selection.end == INT64_MAX;
    int64_t *source = NULL;
    size_t n_source = 0;
    if (!j->params->vf || !all || !upz_index_usable(&j->index, j->info)) return 0;
    int r = upz_plan_times(&source, &n_source, &j->index, &j->selection, err);
    if (r >= 0) r = upz_filter_times(j->source, j->params->vf, source, n_source, FILTER_SECONDS, pts, n, err);
    upz_free(source);
    return r;
}

/* Encoder and muxer are tried with the planned size and times. */
static int rehearse(VideoJob *j, UprezError *err)
{
    UpzUnits units = {0};
    UpzRehearsal h = {.encoder = &j->encoder, .info = j->info, .output = j->params->output,
                      .watch = j->watch};
    int64_t *pts = NULL, *cuts = NULL;
    int r = 0;
    if (j->rehearsed) return 0;
    if (j->indexed) {
        r = upz_plan_times(&pts, &h.n, &j->index, &j->selection, err);
        if (r >= 0) r = upz_units_plan(&units, &j->index, &j->selection, err);
        cuts = r >= 0 ? upz_calloc(units.n + 1, sizeof(*cuts)) : NULL;
        if (r >= 0 && !cuts) r = upz_fail_memory(err, units.n * sizeof(*cuts), "the plan");
        for (size_t i = 0; i < units.n && r >= 0; i++) cuts[i] = units.items[i].t0;
        h.pts = pts;
        h.cuts = cuts;
        h.n_cuts = units.n;
    } else {
        r = filtered_times(j, &pts, &h.n, err);
        h.pts = pts;
    }
    if (r >= 0) r = upz_rehearse(&h, j->ctx, err);
    if (r >= 0) r = foresee_losses(j, err);
    j->rehearsed = r >= 0;
    upz_units_free(&units);
    upz_free(cuts);
    upz_free(pts);
    return r;
}

/* Everything that can be refused is refused before a model is read. */
static int prepare(VideoJob *j, UprezError *err)
{
    bool sure;
    UpzShown src = shown(j);
    const bool asked = upz_size_asked(j->params);
    int r = upz_session_choose(j->session, true, upz_size_factor(j->params, &src), err);
    if (r < 0) return r;
    double guess = upz_session_guess_scale(j->session, &sure), scale;
    if (asked || j->session->loaded) sure = true;
    if (j->session->loaded) upz_session_load(j->session, &guess, NULL);
    r = plan_output(j, sure ? j->ctx : NULL, guess, err);
    /* where there is an earlier run's plan, the rehearsal waits until it is known whether that plan
     * is this one */
    if (r >= 0 && sure && !j->pictures && !upz_store_there(j->params->output, NULL)) r = rehearse(j, err);
    if (r >= 0) r = upz_session_load(j->session, &scale, err);
    bool differs = r >= 0 && (scale > guess || scale < guess) && !asked;
    if (!sure || differs) j->rehearsed = false;
    if (r >= 0 && (!sure || differs)) r = plan_output(j, j->ctx, scale, err);
    if (r >= 0)
        r = upz_session_team(j->session, true, j->first->picture, &j->encoder.format,
                             &j->encoder.color, j->encoder.inner_width, j->encoder.inner_height, err);
    if (r < 0) return r;
    UpzJobResult *res = j->result;
    res->width = j->encoder.width;
    res->height = j->encoder.height;
    snprintf(res->encoder, sizeof(res->encoder), "%s", j->encoder.y4m ? "y4m" : j->encoder.encoder);
    upz_session_describe(j->session, res);
    return 0;
}

/* ---- running ---- */

static int run_pipeline(VideoJob *j, const char *path, UprezError *err)
{
    UpzPipelineParams pp = {.ctx = j->ctx, .job = j->params, .source = j->source, .first = j->first,
                            .session = j->session, .selection = &j->selection, .units = &j->units,
                            .store = path ? NULL : &j->store, .path = path, .there = j->there,
                            .encoder = &j->encoder, .watch = j->watch};
    j->first = NULL;
    upz_watchdog_phase(j->session->dog, path ? UPZ_PHASE_STREAM
                                         : upz_is_pipe(j->params->input) ? UPZ_PHASE_ONCE
                                                                         : UPZ_PHASE_FRAMES);
    int r = upz_pipeline_run(&pp, &j->run, err);
    UpzJobResult *res = j->result;
    const UpzPipelineResult *run = &j->run;
    UpzSourceStats stats;
    upz_source_stats(j->source, &stats);
    res->frames_in = run->frames_in + run->resumed;
    res->frames_out = run->frames_out + run->resumed;
    res->frames_resumed = run->resumed;
    res->damaged = UPZ_MAX(run->damaged, stats.damaged);
    res->held = UPZ_MAX(run->held, stats.held);
    res->decode_s += run->decode_s;
    res->upscale_s += run->upscale_s;
    res->encode_s += run->encode_s;
    res->bottleneck = run->bottleneck;
    res->reused += run->reused;
    res->warnings += j->join.dropped + j->join.converted;
    return r;
}

static void add_text(char *to, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add_text(char *to, size_t size, const char *format, ...)
{
    size_t at = strlen(to);
    va_list args;
    if (at) at += (size_t)UPZ_CLAMP(snprintf(to + at, size - at, ", and "), 0, (int)(size - at) - 1);
    va_start(args, format);
    vsnprintf(to + at, size - at, format, args);
    va_end(args);
}

/* Of the streams that were copied: what did not come, or could not be written. */
static void copied_damage(const VideoJob *j, char *text, size_t size)
{
    const UpzJoinResult *w = &j->written;
    char how[160];
    int told = 0;
    for (int i = 0; i < j->join.n; i++) {
        const UpzStreamPlan *item = &j->join.items[i];
        long long lost = w->lost[i], left = w->refused[i];
        if ((!lost && !left && !item->damaged) || told++ >= 3) continue;
        snprintf(how, sizeof(how), "stream %d%s%.100s", item->source, item->from_other ? " of " : "",
                 item->from_other ? j->params->streams_from : "");
        if (item->damaged) add_text(text, size, "the header of %s cannot be decoded", how);
        else if (lost) add_text(text, size, "%s ends %lld packets early", how, lost);
        else add_text(text, size, "%lld packet%s of %s cannot be written", left,
                      left == 1 ? "" : "s", how);
    }
    if (told > 3) add_text(text, size, "%d more streams are, too", told - 3);
    if (!told && w->broken) add_text(text, size, "it could not be read to its end");
    if (j->other && upz_survey_damaged(j->other, how, sizeof(how)))
        add_text(text, size, "%s: %s", j->params->streams_from, how);
}

/* Fills j->damage. */
static void find_damage(VideoJob *j)
{
    UpzSourceStats stats;
    upz_source_stats(j->source, &stats);
    const UpzJobResult *res = j->result;
    const UpzSurvey *survey = upz_source_survey(j->source);
    bool all = j->selection.start == INT64_MIN && j->selection.end == INT64_MAX &&
               j->selection.limit == INT64_MAX;
    char how[200], *text = j->damage;
    *text = 0;
    if (res->damaged || res->held || stats.lost_packets || stats.read_errors)
        snprintf(text, sizeof(j->damage), "%lld damaged and %lld lost frame%s of %lld%s",
                 (long long)res->damaged, (long long)UPZ_MAX(res->held, stats.lost_packets),
                 UPZ_MAX(res->held, stats.lost_packets) == 1 ? "" : "s", (long long)res->frames_out,
                 stats.read_errors ? ", and the file ends early" : "");
    copied_damage(j, text, sizeof(j->damage));
    if (!*text && all && survey && upz_survey_damaged(survey, how, sizeof(how)))
        snprintf(text, sizeof(j->damage), "%s", how);
}

/* What decoded is kept; the exit code says that it is not all. */
static int judge_damage(const VideoJob *j, UprezError *err)
{
    if (!*j->damage) return 0;
    j->result->warnings++;
    if (j->params->tolerate_damage) {
        upz_warn(j->ctx, "%s is damaged: %s", j->params->input, j->damage);
        return 0;
    }
    return upz_fail(err, UPREZ_ERR_VERIFY, "%s is damaged: %s; %s has what could be decoded "
                    "(--tolerate-damage accepts that)", j->params->input, j->damage,
                    j->result->output);
}

/* Frames in finished segments: what a later run need not make again. */
static int64_t kept(const VideoJob *j)
{
    int64_t n = 0;
    for (size_t i = 0; i < j->units.n; i++)
        n += j->units.items[i].done ? j->units.items[i].frames : j->units.items[i].spooled;
    return upz_is_pipe(j->params->input) ? 0 : n;
}

static int interrupted(VideoJob *j, bool playable, UprezError *err)
{
    long long n = j->result->frames_out, total = j->selection.total, keep = kept(j);
    char of[32] = "", part[1100] = "", next[80];
    if (total >= 0) snprintf(of, sizeof(of), " of %lld", total);
    if (playable) snprintf(part, sizeof(part), "; %.1000s can be played", j->part);
    if (keep)
        snprintf(next, sizeof(next), "%s the same command goes on from frame %lld",
                 playable ? ", and" : ";", keep);
    else
        snprintf(next, sizeof(next), "; no segment was finished, so the same command begins anew");
    if (j->encoder.y4m) *next = 0;
    return upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted after %lld%s frames%s%s", n, of, part,
                    next);
}

/* y4m: straight to a pipe or into OUTPUT.part. */
static int run_y4m(VideoJob *j, UprezError *err)
{
    const char *output = j->params->output;
    bool pipe = !strcmp(output, "-");
    int r = run_pipeline(j, pipe ? "-" : j->part, err);
    snprintf(j->result->output, sizeof(j->result->output), "%s",
             r < 0 || j->run.interrupted ? pipe ? "-" : j->part : output);
    if (r < 0) {
        if (!pipe) unlink(j->part);
        return r;
    }
    if (j->run.interrupted) return interrupted(j, false, err);
    if (j->run.frames_out != j->run.frames_in || j->run.stream.packets != j->run.frames_in)
        return upz_fail(err, UPREZ_ERR_VERIFY, "%lld frames came in and %lld went out",
                        (long long)j->run.frames_in, (long long)j->run.frames_out);
    if (!pipe) {
        UpzCheck check;
        r = upz_check_file(&check, j->part, j->encoder.container, NULL, j->watch, err);
        if (r >= 0 && check.streams[0].packets != j->run.frames_in)
            r = upz_fail(err, UPREZ_ERR_VERIFY, "%s has %lld frames of %lld", j->part,
                         (long long)check.streams[0].packets, (long long)j->run.frames_in);
        if (r >= 0) r = upz_rename_synced(j->part, j->place, err);
    }
    return r;
}

/* Files of one picture each. The folder of the job holds its plan only: what a killed run left goes on
 * where the plan is the same, and each file was whole before it had its name. */
static int run_pictures(VideoJob *j, UprezError *err)
{
    const UpzJobParams *p = j->params;
    UpzJobResult *res = j->result;
    char *text = NULL;
    int64_t n, first, all = j->selection.total;
    const UpzSurvey *survey = upz_source_survey(j->source);
    int r = upz_pictures_there(&n, &first, p->output, err);
    if (r >= 0)
        r = upz_plan_text(&text, p, j->session, j->info, j->indexed ? &j->index : NULL,
                          survey ? survey->digest : j->film.digest, &j->selection, &j->units, &j->encoder,
                          &j->join, err);
    bool resume = r >= 0 && !p->no_resume && !upz_is_pipe(p->input) && upz_store_there(p->output, text);
    if (r >= 0 && n && !resume && !p->overwrite) {
        char *name = upz_pattern_name(p->output, 1);
        r = upz_fail(err, UPREZ_ERR_USAGE, "%lld picture%s named like %s exist%s; -y overwrites",
                     (long long)n, n == 1 ? "" : "s", name ? name : p->output, n == 1 ? "s" : "");
        upz_free(name);
    }
    if (r >= 0)
        r = upz_store_open(&j->store, p->output, text, "none",
                           (resume ? UPZ_STORE_RESUME : 0) | UPZ_STORE_DISCARD, err);
    upz_free(text);
    if (r < 0) return r;
    j->there = resume ? first : 0;
    if (j->there) upz_info(j->ctx, "%lld pictures of an earlier run are used", (long long)j->there);
    r = run_pipeline(j, p->output, err);
    snprintf(res->output, sizeof(res->output), "%s", p->output);
    long long done = res->frames_out;
    if (r >= 0 && !j->run.interrupted && j->run.frames_out != j->run.frames_in)
        r = upz_fail(err, UPREZ_ERR_VERIFY, "%lld frames came in and %lld went out",
                     (long long)j->run.frames_in, (long long)j->run.frames_out);
    if (r >= 0 && j->run.interrupted)
        r = upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted after %lld pictures%s%lld; the same command "
                     "goes on from there", done, all >= 0 ? " of " : ", in all ", all >= 0 ? (long long)all
                                                                                        : done);
    bool left = (r == UPREZ_ERR_INTERRUPTED || r == UPREZ_ERR_OUTPUT) && done;
    upz_store_close(&j->store, !left);
    if (r >= 0) r = upz_pictures_there(&n, &first, p->output, err);
    if (r >= 0 && first < done)
        r = upz_fail(err, UPREZ_ERR_VERIFY, "%lld of %lld pictures are there", (long long)first, done);
    if (r >= 0 && n > done)
        upz_warn(j->ctx, "%lld picture%s named like these %s older and not of this video", (long long)(n - done),
                 n - done == 1 ? "" : "s", n - done == 1 ? "is" : "are");
    return r;
}

/* Segments that follow each other from the first on; with the unfinished one when interrupted. */
static int join_units(VideoJob *j, UpzJoinResult *written, int64_t *frames, UprezError *err)
{
    UpzJoinSegment *segments = upz_calloc(j->units.n + 1, sizeof(*segments));
    char **paths = upz_calloc(j->units.n + 1, sizeof(*paths));
    int n = 0, r = segments && paths ? 0 : upz_fail_memory(err, j->units.n, "joining");
    /* the wish to end is no reason to leave nothing that plays */
    UpzWatch *watch = j->run.interrupted ? upz_watchdog_last(j->session->dog) : j->watch;
    *frames = 0;
    for (size_t i = 0; i < j->units.n && r >= 0; i++) {
        const UpzUnit *u = &j->units.items[i];
        if (!u->done && !u->partial) {
            if (j->run.interrupted) break;
            continue; /* no frame fell into it */
        }
        if (!u->frames) continue;
        paths[n] = u->done ? upz_store_segment(&j->store, i) : upz_store_temporary(&j->store, i);
        if (!paths[n]) r = upz_fail_memory(err, 0, "a file name");
        else if (upz_watch_ended(watch)) r = upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted");
        else if (u->done) r = upz_store_intact(&j->store, i, err);
        upz_watch_beat(watch);
        segments[n] = (UpzJoinSegment){.path = paths[n], .first = u->first, .end = u->end};
        *frames += u->frames;
        n++;
    }
    if (r >= 0 && n) {
        const UpzSelection *sel = &j->selection;
        bool cut = sel->end != INT64_MAX || sel->limit != INT64_MAX || j->run.interrupted;
        UpzJoinParams jp = {.segments = segments, .n_segments = n, .source = j->film.url ? NULL : j->params->input,
                            .survey = upz_source_survey(j->source), .other = j->other,
                            .output = j->part,
                            .start = sel->start == INT64_MIN ? INT64_MIN : segments[0].first,
                            .end = cut ? segments[n - 1].end : INT64_MAX, .info = j->info,
                            .watch = watch};
        r = upz_join(&j->join, j->ctx, &jp, &j->encoder, written, err);
    }
    for (int i = 0; paths && i < n; i++) upz_free(paths[i]);
    upz_free(paths);
    upz_free(segments);
    return r;
}

static void remove_partial(VideoJob *j)
{
    for (size_t i = 0; i < j->units.n; i++) {
        char *tmp = j->units.items[i].partial ? upz_store_temporary(&j->store, i) : NULL;
        if (tmp) unlink(tmp);
        upz_free(tmp);
    }
}

/* An output that is there without being overwritten is one that a run was about to leave. 1: it is that
 * of this plan, and nothing is left to do; USAGE: it is not. */
static int settle_finished(VideoJob *j, const char *plan, UprezError *err)
{
    const UpzJobParams *p = j->params;
    UpzFinished was;
    if (p->overwrite || !upz_exists(p->output)) return 0;
    if (p->no_resume || upz_is_pipe(p->input) || !upz_store_finished(p->output, plan, &was)) {
        j->result->skipped = 1;
        return upz_fail(err, UPREZ_ERR_USAGE, "%s exists; -y overwrites it", p->output);
    }
    int r = upz_store_clean(p->output, err);
    if (r < 0) return r;
    upz_info(j->ctx, "%s is whole: an earlier run was ended while it cleaned up", p->output);
    UpzJobResult *res = j->result;
    res->frames_in = res->frames_out = res->frames_resumed = was.frames;
    res->damaged = was.damaged;
    res->held = was.held;
    snprintf(j->damage, sizeof(j->damage), "%s", was.damage);
    snprintf(res->output, sizeof(res->output), "%s", p->output);
    return 1;
}

static int run_segments(VideoJob *j, UprezError *err)
{
    const UpzJobParams *p = j->params;
    char *text = NULL;
    const UpzSurvey *survey = upz_source_survey(j->source);
    int r = upz_units_plan(&j->units, j->indexed ? &j->index : NULL, &j->selection, err);
    if (r >= 0)
        r = upz_plan_text(&text, p, j->session, j->info, j->indexed ? &j->index : NULL,
                          survey ? survey->digest : j->film.digest, &j->selection, &j->units, &j->encoder, &j->join, err);
    if (r >= 0) r = settle_finished(j, text, err);
    if (r) {
        upz_free(text);
        return r < 0 ? r : 0;
    }
    if (!upz_store_there(p->output, text)) r = rehearse(j, err);
    if (r >= 0)
        r = upz_store_open(&j->store, p->output, text,
                           !strcmp(j->encoder.segment, "matroska") ? "mkv" : j->encoder.segment,
                           (p->no_resume || upz_is_pipe(p->input) ? 0 : UPZ_STORE_RESUME) |
                               (p->overwrite || p->no_resume ? UPZ_STORE_DISCARD : 0), err);
    upz_free(text);
    if (r < 0) return r;
    const UpzEncoderPlan *e = &j->encoder;
    UprezPicture like = {.format = e->format, .width = e->inner_width, .height = e->inner_height};
    int done = upz_store_load(&j->store, &j->units, &like);
    if (done) upz_info(j->ctx, "%d finished segment%s of an earlier run %s used", done,
                       done == 1 ? "" : "s", done == 1 ? "is" : "are");
    unlink(j->part);

    r = run_pipeline(j, NULL, err);
    if (r < 0) {
        upz_store_close(&j->store, !kept(j));
        return r;
    }
    if (!j->run.interrupted && j->run.frames_out != j->run.frames_in)
        r = upz_fail(err, UPREZ_ERR_VERIFY, "%lld frames came in and %lld went out",
                     (long long)j->run.frames_in, (long long)j->run.frames_out);
    if (r >= 0 && !j->run.interrupted && !j->result->frames_out)
        r = upz_fail(err, UPREZ_ERR_INPUT, "%s gave no frame", p->input);
    int64_t frames = 0;
    if (r >= 0 && !j->run.interrupted) upz_watchdog_phase(j->session->dog, UPZ_PHASE_END);
    if (r >= 0) r = join_units(j, &j->written, &frames, err);
    remove_partial(j);
    if (r == UPREZ_ERR_INTERRUPTED) {
        unlink(j->part);
        if (j->run.interrupted) r = frames = 0;
    }
    if (j->run.interrupted) {
        snprintf(j->result->output, sizeof(j->result->output), "%s", frames ? j->part : p->output);
        upz_store_close(&j->store, !kept(j));
        return r < 0 ? r : interrupted(j, frames > 0, err);
    }
    UpzCheck check;
    if (r >= 0) {
        snprintf(j->result->output, sizeof(j->result->output), "%s", j->part);
        r = upz_check_file(&check, j->part, j->encoder.container, &j->join, j->watch, err);
    }
    if (r >= 0)
        r = upz_check_result(&check, &j->join, &j->written, &j->encoder, j->result->frames_out,
                             j->part, err);
    find_damage(j);
    UpzFinished what = {.frames = j->result->frames_out, .damaged = j->result->damaged,
                        .held = j->result->held};
    snprintf(what.damage, sizeof(what.damage), "%s", j->damage);
    if (r >= 0) r = upz_store_mark_finished(&j->store, j->part, &what, err);
    if (r >= 0) r = upz_rename_synced(j->part, j->place, err);
    if (r >= 0) snprintf(j->result->output, sizeof(j->result->output), "%s", p->output);
    if (r == UPREZ_ERR_INTERRUPTED)
        upz_fail(err, r, "interrupted at the end: all %lld frames are finished, and the same command joins "
                 "them", (long long)j->result->frames_out);
    upz_store_close(&j->store, r >= 0);
    return r < 0 ? r : find_losses(j, p->output, err);
}

int upz_video_job(UpzSession *s, const UpzJobParams *params, UpzJobResult *result, UprezError *err)
{
    VideoJob *j = upz_calloc(1, sizeof(*j));
    if (!j) return upz_fail_memory(err, sizeof(*j), "the job");
    int64_t t = upz_now_ns();
    j->session = s;
    j->params = params;
    j->result = result;
    j->ctx = s->ctx;
    j->watch = upz_watchdog_run(s->dog);
    j->store.lock = -1;
    const char *container;
    int r = upz_pictures_wanted(&j->pictures, params, err);
    if (r >= 0) r = open_source(j, err);
    if (r >= 0 && !j->pictures) r = upz_container_find(&container, params->output, err);
    bool y4m = r >= 0 && !j->pictures && !strcmp(container, "yuv4mpegpipe");
    if (r >= 0 && j->pictures && params->streams_from)
        r = upz_fail(err, UPREZ_ERR_USAGE, "pictures hold no sound: --streams-from has no use");
    if (r >= 0 && y4m && params->streams_from)
        r = upz_fail(err, UPREZ_ERR_USAGE, "y4m holds video only: --streams-from has no use");
    j->place = upz_follow_link(params->output);
    j->part = j->place ? upz_asprintf("%s.part", j->place) : NULL;
    if (r >= 0 && !j->part) r = upz_fail_memory(err, 0, "a file name");
    if (r >= 0) r = read_first(j, err);
    if (r >= 0) r = prepare(j, err);
    if (r >= 0) {
        j->units.by_count = j->encoder.y4m || j->pictures;
        if (j->pictures) {
            r = run_pictures(j, err);
            if (r >= 0) find_damage(j);
        } else if (j->encoder.y4m) {
            if (strcmp(params->output, "-"))
                r = upz_check_output(params->input, params->output, params->overwrite, err);
            if (r >= 0) r = run_y4m(j, err);
            if (r >= 0) find_damage(j);
        } else {
            r = run_segments(j, err);
        }
        if (r >= 0) r = judge_damage(j, err);
    }
    upz_losses_free(&j->told);
    upz_frame_free(&j->first);
    upz_units_free(&j->units);
    upz_index_free(&j->index);
    upz_survey_free(&j->other);
    upz_source_close(&j->source);
    upz_film_free(&j->film);
    upz_free(j->part);
    upz_free(j->place);
    upz_free(j);
    result->seconds += (double)(upz_now_ns() - t) / 1e9;
    return r;
}
