#include "estimate.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <libavformat/avformat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/watch.h"
#include "video/input.h"

enum { PIECES = 4, FIRST = 4 /* frames of the shortest piece */, MOST = 240, LEAST = 12 };
#define AT_LEAST_OFF 0.08 /* of a figure: pieces that agree by chance do not make it certain */

/* A piece that was tried. */
typedef struct Piece {
    double seconds, key, other; /* seconds a frame; mean bytes of a key frame, of another */
    int64_t frames;
} Piece;

typedef struct Source {
    double first, film; /* seconds: where its picture begins, and how long it is */
    int64_t frames;     /* in the selection */
    double rest;        /* bytes of the other streams in the selection */
    double begin;       /* of the selection, seconds from the beginning */
} Source;

static bool in_selection(const UpzJobParams *p, double t)
{
    const double start = UPZ_MAX(p->start, 0);
    return t >= start - 1e-9 && (p->duration < 0 || t < start + p->duration);
}

/* One pass over the packets: how many pictures, and what the other streams weigh. */
static int weigh_source(Source *s, const UpzJobParams *p, UprezError *err)
{
    AVFormatContext *fmt = NULL;
    UpzWatch watch = {.asked = p->cancel};
    *s = (Source){.first = NAN};
    int r = upz_input_open(&fmt, p->input, NULL, &watch, err);
    if (r < 0) return r;
    const int video = upz_input_video(fmt, p->input, err);
    if (video >= 0 && upz_input_is_still(fmt, video))
        r = upz_fail(err, UPREZ_ERR_USAGE, "'%s' is one picture; estimates are for films", p->input);
    else if (video < 0) r = video;
    AVPacket *packet = r >= 0 ? av_packet_alloc() : NULL;
    double last = 0;
    while (r >= 0 && packet && av_read_frame(fmt, packet) >= 0) {
        const AVStream *st = fmt->streams[packet->stream_index];
        const int64_t pts = packet->pts != AV_NOPTS_VALUE ? packet->pts : packet->dts;
        double t = pts != AV_NOPTS_VALUE ? (double)pts * av_q2d(st->time_base) : last;
        if (isnan(s->first) && packet->stream_index == video) s->first = t;
        t -= isnan(s->first) ? t : s->first;
        const bool counts = in_selection(p, t);
        if (packet->stream_index == video) {
            s->frames += counts;
            last = UPZ_MAX(last, t + (double)packet->duration * av_q2d(st->time_base));
        } else if (counts) {
            s->rest += packet->size;
        }
        av_packet_unref(packet);
        if (upz_watch_ended(&watch)) r = upz_fail(err, UPREZ_ERR_INTERRUPTED, "the estimate was interrupted");
    }
    av_packet_free(&packet);
    avformat_close_input(&fmt);
    if (r < 0) return r;
    s->begin = UPZ_MAX(p->start, 0);
    s->film = UPZ_MAX((p->duration >= 0 ? UPZ_MIN(last, s->begin + p->duration) : last) - s->begin, 0);
    if (p->frames >= 0 && p->frames < s->frames) {
        const double share = (double)p->frames / (double)s->frames;
        s->film *= share;
        s->rest *= share;
        s->frames = p->frames;
    }
    if (s->frames <= 0) return upz_fail(err, UPREZ_ERR_INPUT, "'%s' has no frames there", p->input);
    return 0;
}

/* Mean sizes of the picture's packets. */
static int weigh_piece(Piece *piece, const char *path, UprezError *err)
{
    AVFormatContext *fmt = NULL;
    int r = upz_input_open(&fmt, path, NULL, NULL, err), keys = 0, others = 0;
    if (r < 0) return r;
    const int video = upz_input_video(fmt, path, err);
    AVPacket *packet = video >= 0 ? av_packet_alloc() : NULL;
    piece->key = piece->other = 0;
    while (packet && av_read_frame(fmt, packet) >= 0) {
        if (packet->stream_index == video) {
            const bool key = packet->flags & AV_PKT_FLAG_KEY;
            *(key ? &piece->key : &piece->other) += packet->size;
            (*(key ? &keys : &others))++;
        }
        av_packet_unref(packet);
    }
    if (keys) piece->key /= keys;
    piece->other = others ? piece->other / others : piece->key;
    av_packet_free(&packet);
    avformat_close_input(&fmt);
    return video < 0 ? video : 0;
}

/* The job over some frames of the film, into a file of the folder. */
static int try_piece(UprezContext *ctx, const UpzJobParams *params, const Source *s, double at, int64_t frames,
                     const char *path, UpzJobResult *result, UprezError *err)
{
    UpzJobParams p = *params;
    p.output = path;
    p.start = s->begin + at;
    p.duration = -1;
    p.frames = frames;
    p.audio = "none";
    p.strict_streams = false;
    p.tolerate_damage = p.overwrite = true;
    p.no_resume = true;
    p.progress = NULL;
    p.ask = NULL;
    int r = upz_job_run(ctx, &p, result, err);
    return r == UPREZ_ERR_VERIFY && result->frames_out > 0 ? 0 : r;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The mean of n values, and as far as their mean may be off (twice its standard error). */
static UpzRange range_of(const double *v, int n)
{
    double sum = 0, squares = 0, sorted[PIECES];
    for (int i = 0; i < n; i++) sum += v[i];
    const double mean = sum / n;
    for (int i = 0; i < n; i++) squares += (v[i] - mean) * (v[i] - mean);
    memcpy(sorted, v, (size_t)n * sizeof(*v));
    qsort(sorted, (size_t)n, sizeof(*sorted), by_size);
    const double off = UPZ_MAX(n > 1 ? 2 * sqrt(squares / (n - 1) / n) : mean / 2, AT_LEAST_OFF * mean);
    return (UpzRange){mean, UPZ_MAX(mean - off, 0.5 * sorted[0]), mean + off};
}

static UpzRange scaled(UpzRange r, double by, double plus)
{
    return (UpzRange){r.likely * by + plus, r.low * by + plus, r.high * by + plus};
}

static void sum_up(UpzEstimate *out, const Source *s, const Piece *piece, int n, double begin)
{
    double seconds[PIECES], bytes[PIECES];
    /* a segment begins with a key frame, and encoders set one every 250 frames or at a cut */
    const double keys = UPZ_MAX(1, (double)s->frames / 240);
    for (int i = 0; i < n; i++) {
        seconds[i] = piece[i].seconds;
        bytes[i] = (keys * piece[i].key + ((double)s->frames - keys) * piece[i].other) / (double)s->frames;
    }
    out->time = scaled(range_of(seconds, n), (double)s->frames, begin);
    out->size = scaled(range_of(bytes, n), (double)s->frames, s->rest);
    out->disk = 2 * out->size.high - s->rest; /* segments, and the file that they are joined into */
}

static double free_bytes(const char *output)
{
    char *folder = upz_strdup(output);
    struct statvfs fs;
    double bytes = -1;
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) slash[slash == folder] = 0;
    if (folder && !statvfs(slash ? folder : ".", &fs)) bytes = (double)fs.f_bavail * (double)fs.f_frsize;
    upz_free(folder);
    return bytes;
}

static void remove_all(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        char *path = upz_asprintf("%s/%s", folder, e->d_name);
        if (path && unlink(path)) remove_all(path);
        upz_free(path);
    }
    if (d) closedir(d);
    rmdir(folder);
}

static int all_pieces(UpzEstimate *out, UprezContext *ctx, const UpzJobParams *p, const Source *s, double seconds,
                      const char *path, UprezError *err)
{
    UpzJobResult result = {0};
    Piece piece[PIECES];
    const int pieces = (int)UPZ_CLAMP(s->frames / LEAST, 1, PIECES);
    const double middle = s->film / 2;
    /* once for what is made but once (models, tables), once for the time that beginning takes */
    int r = try_piece(ctx, p, s, middle, UPZ_MIN(FIRST, s->frames), path, &result, err);
    if (r < 0) return r;
    r = try_piece(ctx, p, s, middle, UPZ_MIN(FIRST, s->frames), path, &result, err);
    if (r < 0) return r;
    const double begin = result.seconds;
    const double busy = UPZ_MAX(UPZ_MAX(result.decode_s, result.upscale_s), result.encode_s) /
                        (double)UPZ_MAX(result.frames_out, 1);
    const double room = seconds / pieces / UPZ_MAX(busy, 1e-4);
    /* of a short film no more than half is made */
    const double most = UPZ_CLAMP((double)s->frames / (2 * pieces), LEAST, MOST);
    const int64_t n = (int64_t)UPZ_MIN(UPZ_CLAMP(room, LEAST, most), (double)s->frames);
    double reused = 0;
    out->tried = 2 * FIRST;
    for (int i = 0; i < pieces && r >= 0; i++) {
        const double last = s->film * (1 - (double)n / (double)s->frames); /* a piece must not end early */
        r = try_piece(ctx, p, s, last * (i + 0.5) / pieces, n, path, &result, err);
        if (r < 0) break;
        piece[i].frames = result.frames_out;
        piece[i].seconds = UPZ_MAX(result.seconds - begin, 0.2 * result.seconds) /
                           (double)UPZ_MAX(result.frames_out - FIRST, 1);
        reused += result.reused / (double)UPZ_MAX(result.frames_out, 1) / pieces;
        out->tried += result.frames_out;
        r = weigh_piece(&piece[i], result.output, err);
    }
    if (r < 0) return r;
    sum_up(out, s, piece, pieces, begin);
    out->reused = reused;
    out->width = result.width;
    out->height = result.height;
    snprintf(out->engine, sizeof(out->engine), "%s", result.engine);
    snprintf(out->model, sizeof(out->model), "%s", result.model);
    snprintf(out->encoder, sizeof(out->encoder), "%s", result.encoder);
    return 0;
}

static int refuse(const UpzJobParams *p, UprezError *err)
{
    if (!p->input || p->n_inputs > 1)
        return upz_fail(err, UPREZ_ERR_USAGE, "an estimate is made of one film: give one input");
    if (upz_is_pipe(p->input))
        return upz_fail(err, UPREZ_ERR_USAGE, "an estimate looks at several places of the film, which a pipe does "
                        "not allow: give a file");
    if (upz_is_dir(p->input) || strchr(p->input, '%'))
        return upz_fail(err, UPREZ_ERR_USAGE, "an estimate is made of one film: '%s' is more than that", p->input);
    return 0;
}

int upz_estimate(UpzEstimate *out, UprezContext *ctx, const UpzJobParams *params, double seconds, UprezError *err)
{
    UpzJobParams p = *params;
    Source s;
    *out = (UpzEstimate){.free = -1};
    if (!p.input && p.n_inputs == 1) p.input = p.inputs[0];
    p.inputs = NULL;
    p.n_inputs = 0;
    int r = refuse(&p, err);
    if (r >= 0) r = weigh_source(&s, &p, err);
    if (r < 0) return r;
    out->frames = s.frames;
    out->film = s.film;
    const char *beside = p.output ? p.output : p.input, *tmp = getenv("TMPDIR");
    const char *ext = p.output ? upz_extension(p.output) : p.ext ? p.ext : upz_extension(p.input);
    char *folder = upz_asprintf("%s/uprez-estimate-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!folder) return upz_fail_memory(err, 0, "the estimate");
    if (!mkdtemp(folder)) {
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "no folder can be made in '%s' for the pieces that are tried; TMPDIR names "
                     "another place", tmp && *tmp ? tmp : "/tmp");
        upz_free(folder);
        return r;
    }
    char *path = upz_asprintf("%s/piece.%s", folder, *ext ? ext : "mkv");
    r = path ? all_pieces(out, ctx, &p, &s, seconds, path, err) : upz_fail_memory(err, 0, "the estimate");
    remove_all(folder);
    upz_free(path);
    upz_free(folder);
    if (r < 0) return r;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    out->memory = 1024.0 * (double)usage.ru_maxrss;
    out->free = free_bytes(beside);
    if (out->free >= 0 && out->disk > out->free)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "the disk of '%s' has %.1f GB left, and %.1f GB are needed (the segments "
                        "and the file they are joined into)", beside, out->free / 1e9, out->disk / 1e9);
    return 0;
}
