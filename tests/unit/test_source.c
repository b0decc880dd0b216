/* Reading: frames, timestamps and pixels as ffprobe and ffmpeg have them, on real clips; seeks that
 * are exact; damage that is kept in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <libavutil/imgutils.h>
#include <libavutil/md5.h>
#include <libavutil/mem.h>
#include <libavutil/pixdesc.h>

#include "base/file.h"
#include "video/compat.h"
#include "video/source.h"
#include "skip.h"

#define MAX_FRAMES 1000

static UprezError err;
static UprezContext *ctx;
static char dir[64], log_text[4096];

#define OK(call) \
    do { \
        err.text[0] = 0; \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, err.text); \
    } while (0)

typedef struct Seen {
    int64_t pts;
    char md5[33];
    bool damaged, held;
    int w, h;
} Seen;

static const char *shared(const char *name)
{
    static char path[600];
    const char *s = getenv("SHARED");
    snprintf(path, sizeof(path), "%s/media/video/%s", s ? s : "../shared", name);
    return path;
}

static void keep_log(void *cookie, int level, const char *line)
{
    (void)cookie;
    (void)level;
    size_t n = strlen(log_text);
    snprintf(log_text + n, sizeof(log_text) - n, "%s\n", line);
}

static void digest(const AVFrame *f, char md5[33])
{
    int n = av_image_get_buffer_size((enum AVPixelFormat)f->format, f->width, f->height, 1);
    uint8_t *b = av_malloc((size_t)n), d[16];
    assert_non_null(b);
    av_image_copy_to_buffer(b, n, (const uint8_t *const *)f->data, f->linesize,
                            (enum AVPixelFormat)f->format, f->width, f->height, 1);
    av_md5_sum(d, b, (size_t)n);
    av_free(b);
    for (int i = 0; i < 16; i++) snprintf(md5 + 2 * i, 3, "%02x", d[i]);
}

static UpzSource *open_clip(const char *path, UpzInterlaced interlaced, const char *vf)
{
    UpzSource *s = NULL;
    UpzSourceParams p = {.interlaced = interlaced, .vf = vf};
    log_text[0] = 0;
    OK(upz_source_open(&s, ctx, path, &p, &err));
    return s;
}

/* Reads at most max frames. */
static int read_all(UpzSource *s, Seen *seen, int max)
{
    int n = 0;
    while (n < max) {
        UpzFrame *f;
        err.text[0] = 0;
        int r = upz_source_read(s, &f, &err);
        if (r == UPREZ_EOF) break;
        if (r < 0) fail_msg("read: %d %s", r, err.text);
        seen[n].pts = f->av->pts;
        seen[n].damaged = f->damaged;
        seen[n].held = f->held;
        seen[n].w = f->av->width;
        seen[n].h = f->av->height;
        digest(f->av, seen[n].md5);
        upz_frame_free(&f);
        if (n) assert_true(seen[n].pts > seen[n - 1].pts);
        n++;
    }
    return n;
}

/* best_effort_timestamp of every frame; INT64_MIN where ffprobe says N/A. */
static int ffprobe_pts(const char *path, int stream, int64_t *pts, int max)
{
    char c[900], line[200];
    snprintf(c, sizeof(c), "ffprobe -v quiet -select_streams %d -show_entries "
             "frame=best_effort_timestamp -of csv=p=0 '%s'", stream, path);
    FILE *f = popen(c, "r");
    int n = 0;
    while (f && fgets(line, sizeof(line), f)) {
        char *end;
        int64_t t = strtoll(line, &end, 10);
        if (end == line && strncmp(line, "N/A", 3)) continue; /* an empty line per side data */
        if (n < max) pts[n++] = end == line ? INT64_MIN : t;
    }
    if (f) pclose(f);
    return n;
}

static int ffmpeg_md5(const char *path, int stream, const char *before, const char *after,
                      char md5[][33], int max)
{
    char c[1200], line[300];
    snprintf(c, sizeof(c), "ffmpeg -nostdin -v quiet -noautorotate %s -i '%s' -map 0:%d "
             "-fps_mode passthrough -noautoscale %s -f framemd5 -", before, path, stream, after);
    FILE *f = popen(c, "r");
    int n = 0;
    while (f && fgets(line, sizeof(line), f)) {
        char *comma = strrchr(line, ',');
        if (line[0] == '#' || !comma || n == max) continue;
        comma += 1 + strspn(comma + 1, " ");
        comma[strcspn(comma, "\n")] = 0;
        snprintf(md5[n++], 33, "%s", comma);
    }
    if (f) pclose(f);
    return n;
}

static Seen seen[MAX_FRAMES], again[MAX_FRAMES];
static int64_t reference[MAX_FRAMES];
static char sums[MAX_FRAMES][33];

#define NEED(path) \
    do { \
        if (!upz_exists(path)) SKIP_BECAUSE("%s is not here", path); \
    } while (0)

/* A file, what ffmpeg must be told to read it like this, and how many frames there are. */
static const struct {
    const char *file, *before;
    int frames;
} clips[] = {
    {"realshort_320x240_aac.mp4", "", 36},
    {"bbb_800x640_sar64-45_bframes.mp4", "", 120},
    {"dog_848x464_hevc10_hlg.mkv", "", 110},
    {"av1_640x360.mkv", "", 125},
    {"bbb_960x540_60p_vp9_vorbis51.webm", "", 60},
    {"vp9_10bit_426x240.webm", "", 72},
    {"transparent_vp9.webm", "-c:v libvpx-vp9", 150},
    {"vp8_alpha_320x213.webm", "-c:v libvpx", 120},
    {"vp8_size_change.webm", "", 300},
    {"no_duration_vfr.webm", "", 74},
    {"webcam_640x480_vfr.mov", "", 123},
    {"phone_1280x720_rot180_vfr.mp4", "", 25},
    {"dog_resolution_change.h264", "", 96},
    {"mpeg2_flowergarden_720x480i.m2v", "", 4},
    {"mpeg2_pal_field_coded.ts", "", 31},
    {"mpeg2_ntsc_dvd_720x480i_lpcm.vob", "", 17},
    {"mpeg1_352x288_sar.mpg", "", 36},
    {"h264_interlaced_640x360.mp4", "", 126},
    {"dv_pal_720x576i.dv", "", 20},
    {"sky_960x400_mpeg4_mp3.avi", "", 96},
    {"prores_hdr10_1280x720.mxf", "", 5},
    {"hdr10_av1_mdcv_clli_1920x1080.mp4", "", 60},
    {"dolbyvision_rot90.mov", "", 4},
    {"face.flv", "", 30},
    {"dog_multires_two_video.mkv", "", 96},
    {"nasa_320x180_two_video_two_audio_subs.mp4", "", 390},
};

static void like_ffmpeg(void **state)
{
    (void)state;
    NEED(shared(clips[0].file));
    for (size_t i = 0; i < sizeof(clips) / sizeof(*clips); i++) {
        const char *path = shared(clips[i].file);
        UpzSource *s = open_clip(path, UPZ_INTERLACED_KEEP, NULL);
        int stream = upz_source_info(s)->video_stream;
        int n = read_all(s, seen, MAX_FRAMES);
        UpzFrame *f;
        assert_int_equal(upz_source_read(s, &f, &err), UPREZ_EOF); /* and stays there */
        UpzSourceStats st;
        upz_source_stats(s, &st);
        assert_int_equal(st.decoded, n);
        assert_int_equal(st.held + st.lost_packets + st.read_errors, 0);
        upz_source_close(&s);
        int m = ffprobe_pts(path, stream, reference, MAX_FRAMES);
        if (m != n) fail_msg("%s: %d frames, ffprobe has %d", clips[i].file, n, m);
        if (n != clips[i].frames) /* which ffmpeg's versions may see differently */
            print_message("%s: %d frames, FFmpeg 5.1 had %d\n", clips[i].file, n, clips[i].frames);
        for (int k = 0; k < n; k++)
            if (reference[k] != INT64_MIN && reference[k] != seen[k].pts)
                fail_msg("%s: frame %d at %" PRId64 ", ffprobe says %" PRId64, clips[i].file, k,
                         seen[k].pts, reference[k]);
        m = ffmpeg_md5(path, stream, clips[i].before, "", sums, MAX_FRAMES);
        if (m != n) fail_msg("%s: %d frames, ffmpeg has %d", clips[i].file, n, m);
        /* a file cut off inside its last picture: FFmpeg 7 fills the rest by chance */
        int whole = n - !strcmp(clips[i].file, "mpeg2_pal_field_coded.ts");
        for (int k = 0; k < whole; k++)
            if (strcmp(sums[k], seen[k].md5))
                fail_msg("%s: frame %d has other pixels than ffmpeg's", clips[i].file, k);
    }
}

static void seeks(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        UpzInterlaced interlaced;
    } t[] = {
        {"bbb_800x640_sar64-45_bframes.mp4", 0}, {"dog_848x464_hevc10_hlg.mkv", 0},
        {"mpeg2_pal_720x576i_mp2.ts", 0},        {"mpeg2_pal_720x576i_mp2.ts", UPZ_INTERLACED_KEEP},
        {"bbb_960x540_60p_vp9_vorbis51.webm", 0}, {"av1_640x360.mkv", 0},
        {"transparent_vp9.webm", 0},             {"webcam_640x480_vfr.mov", 0},
        {"mpeg2_flowergarden_720x480i.m2v", 0},  {"dog_resolution_change.h264", 0},
        {"sky_960x400_mpeg4_mp3.avi", 0},        {"dv_pal_720x576i.dv", 0},
        {"cockatoo_1280x720_yuv444p.mp4", 0}, /* an x264 fault only its first packet tells of */
        {"h264_interlaced_640x360.mp4", 0},      {"mpeg2_ntsc_dvd_720x480i_lpcm.vob", 0},
        {"broken/invalid_nalu.mp4", 0},
    };
    NEED(shared(t[0].file));
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        UpzSource *s = open_clip(shared(t[i].file), t[i].interlaced, NULL);
        int n = read_all(s, seen, MAX_FRAMES);
        /* back and forth; exactly at a frame and just before one */
        int at[] = {n / 2, n - 1, n / 5, 3 * n / 4, 0};
        for (int k = 0; k < 5; k++) {
            int first = at[k], want = k == 2 ? n - first : n - first < 12 ? n - first : 12;
            int64_t t0 = seen[first].pts;
            if (k & 1 && first && seen[first - 1].pts < t0 - 1) t0--;
            OK(upz_source_seek(s, t0, &err));
            int m = read_all(s, again, want);
            if (m != want) fail_msg("%s: %d frames from frame %d, not %d", t[i].file, m, first, want);
            for (int j = 0; j < m; j++) {
                if (again[j].pts != seen[first + j].pts)
                    fail_msg("%s: seeking to frame %d: frame %d has time %" PRId64 ", not %" PRId64,
                             t[i].file, first, first + j, again[j].pts, seen[first + j].pts);
                if (strcmp(again[j].md5, seen[first + j].md5))
                    fail_msg("%s: seeking to frame %d: frame %d has other pixels", t[i].file, first,
                             first + j);
                assert_int_equal(again[j].held, seen[first + j].held);
            }
        }
        OK(upz_source_seek(s, seen[n - 1].pts + 1, &err)); /* behind the end */
        assert_int_equal(read_all(s, again, 1), 0);
        upz_source_close(&s);
        /* a fresh process's first act */
        s = open_clip(shared(t[i].file), t[i].interlaced, NULL);
        OK(upz_source_seek(s, seen[n / 3].pts, &err));
        assert_int_equal(read_all(s, again, 1), 1);
        assert_int_equal(again[0].pts, seen[n / 3].pts);
        assert_string_equal(again[0].md5, seen[n / 3].md5);
        upz_source_close(&s);
    }
}

static void infos(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int w, h, rotation, depth, matrix, transfer, range, alpha, interlaced, variable, dv;
        int sar_num, sar_den;
    } t[] = {
        {"dog_848x464_aac.mp4", 848, 464, 0, 8, 1, 2, 1, 0, 0, 0, 0, 1, 1},
        {"portrait_568x320_rot90.mov", 568, 320, 90, 8, 1, 1, 1, 0, 0, 0, 0, 0, 1},
        {"dog_848x464_rot90.mp4", 848, 464, 270, 8, 1, 2, 1, 0, 0, 0, 0, 1, 1},
        {"phone_1280x720_rot180_vfr.mp4", 1280, 720, 180, 8, 2, 2, 0, 0, 0, 1, 0, 1, 1},
        {"bbb_800x640_sar64-45_bframes.mp4", 800, 640, 0, 8, 2, 2, 0, 0, 0, 0, 0, 64, 45},
        {"dog_848x464_hevc10_hlg.mkv", 848, 464, 0, 10, 9, 18, 1, 0, 0, 0, 0, 0, 1},
        {"hdr10_hevc_wrong_container_tags.mp4", 1920, 1080, 0, 10, 9, 16, 1, 0, 0, 1, 0, 0, 1},
        {"bt709_full_range_1280x720.mp4", 1280, 720, 0, 8, 1, 1, 2, 0, 0, 0, 0, 1, 1},
        {"transparent_vp9.webm", 200, 200, 0, 8, 5, 1, 1, 1, 0, 0, 0, 1, 1},
        {"vp8_alpha_320x213.webm", 320, 213, 0, 8, 2, 2, 1, 1, 0, 0, 0, 1, 1},
        {"mpeg2_pal_720x576i_mp2.ts", 720, 576, 0, 8, 2, 2, 1, 0, 1, 0, 0, 64, 45},
        {"dolbyvision_rot90.mov", 1280, 720, 90, 10, 9, 18, 1, 0, 0, 0, 8, 0, 1},
        {"prores_hdr10_1280x720.mxf", 1280, 720, 0, 10, 9, 16, 1, 0, 0, 0, 0, 1, 1},
    };
    NEED(shared(t[0].file));
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        UpzSource *s = open_clip(shared(t[i].file), UPZ_INTERLACED_DEINT, NULL);
        const UpzSourceInfo *f = upz_source_info(s);
        print_message("%s: %s %s\n", t[i].file, f->container, f->codec);
        assert_int_equal(f->width, t[i].w);
        assert_int_equal(f->height, t[i].h);
        assert_int_equal(f->rotation, t[i].rotation);
        assert_int_equal(f->format.depth, t[i].depth);
        assert_int_equal(f->color.matrix, t[i].matrix);
        assert_int_equal(f->color.transfer, t[i].transfer);
        assert_int_equal(f->color.range, t[i].range);
        assert_int_equal(f->alpha, t[i].alpha);
        assert_int_equal(f->interlaced, t[i].interlaced);
        assert_int_equal(f->deinterlaced, t[i].interlaced);
        assert_int_equal(f->variable_rate, t[i].variable);
        assert_int_equal(f->dolby_vision, t[i].dv);
        assert_int_equal(f->sar.num, t[i].sar_num);
        assert_int_equal(f->sar.den, t[i].sar_den);
        assert_false(f->still);
        UpzFrame *frame;
        OK(upz_source_read(s, &frame, &err));
        assert_int_equal(frame->av->pts, f->start);
        OK(upz_frame_picture(frame, &err));
        assert_int_equal(frame->picture->format.depth, t[i].depth);
        assert_int_equal(frame->picture->color.matrix, t[i].matrix);
        /* back to an AVFrame: side data survive, coding decisions do not */
        AVFrame *back;
        OK(upz_frame_from_picture(&back, frame->picture, frame->av, &err));
        assert_int_equal(back->pict_type, AV_PICTURE_TYPE_NONE);
        assert_int_equal(back->colorspace, frame->av->colorspace);
        assert_int_equal(back->pts, frame->av->pts);
        upz_frame_free(&frame);
        char a[33];
        digest(back, a); /* its memory outlives the frame's */
        av_frame_free(&back);
        upz_source_close(&s);
    }
    UpzSource *s = open_clip(shared("hdr10_av1_mdcv_clli_1920x1080.mp4"), 0, NULL);
    UpzFrame *f;
    OK(upz_source_read(s, &f, &err));
    size_t size;
    const AVStream *st = upz_source_format(s)->streams[upz_source_info(s)->video_stream];
    bool mdcv = av_frame_get_side_data(f->av, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA) ||
                upz_av_stream_side_data(st, AV_PKT_DATA_MASTERING_DISPLAY_METADATA, &size);
    assert_true(mdcv);
    upz_frame_free(&f);
    upz_source_close(&s);
}

static void indexes(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int keys; /* 0 = not checked */
    } t[] = {{"realshort_320x240_aac.mp4", 0}, {"bbb_800x640_sar64-45_bframes.mp4", 0},
             {"webcam_640x480_vfr.mov", 0},    {"vp9_10bit_426x240.webm", 0},
             {"sky_960x400_mpeg4_mp3.avi", 0}, {"dv_pal_720x576i.dv", 20}};
    NEED(shared(t[0].file));
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        UpzSource *s = open_clip(shared(t[i].file), UPZ_INTERLACED_KEEP, NULL);
        UpzIndex index;
        OK(upz_source_index(s, &index, &err));
        int n = read_all(s, seen, MAX_FRAMES); /* the source itself has not moved */
        assert_in_range(index.n, n, n + n / 8 + 2); /* VP9 has hidden frames */
        assert_int_equal(index.items[0].key, 1);
        int keys = 0, found = 0;
        for (size_t k = 0; k < index.n; k++) {
            keys += index.items[k].key;
            assert_true(index.items[k].duration > 0);
        }
        for (int j = 0; j < n; j++) {
            size_t k = 0;
            while (k < index.n && index.items[k].pts != seen[j].pts) k++;
            found += k < index.n;
        }
        if (strcmp(t[i].file, "sky_960x400_mpeg4_mp3.avi")) /* AVI has no pts */
            assert_int_equal(found, n);
        if (t[i].keys) assert_int_equal(keys, t[i].keys);
        upz_index_free(&index);
        upz_source_close(&s);
    }
}

static void filters(void **state)
{
    (void)state;
    static const struct {
        const char *file, *vf, *ffmpeg;
        UpzInterlaced interlaced;
    } t[] = {
        {"mpeg2_pal_720x576i_mp2.ts", NULL, "-vf bwdif=mode=send_frame:deint=interlaced", 0},
        {"h264_interlaced_640x360.mp4", NULL, "-vf bwdif=mode=send_frame:deint=interlaced", 0},
        {"realshort_320x240_aac.mp4", "crop=200:100:3:5,hflip", "-vf crop=200:100:3:5,hflip", 0},
        {"mpeg2_pal_720x576i_mp2.ts", "crop=200:100", "-vf bwdif=mode=send_frame:deint=interlaced,crop=200:100", 0},
        {"h265_10bit_200x200.mp4", "vflip", "-vf vflip", 0},
        {"dog_resolution_change.h264", "hflip", "-vf hflip", 0},
    };
    NEED(shared(t[0].file));
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        const char *path = shared(t[i].file);
        UpzSource *s = open_clip(path, t[i].interlaced, t[i].vf);
        const UpzSourceInfo *info = upz_source_info(s);
        int n = read_all(s, seen, MAX_FRAMES);
        assert_int_equal(info->width, seen[0].w);
        if (t[i].vf && !strncmp(t[i].vf, "crop", 4)) assert_int_equal(info->width, 200);
        if (info->interlaced) assert_non_null(strstr(log_text, "bwdif"));
        int m = ffprobe_pts(path, info->video_stream, reference, MAX_FRAMES);
        assert_int_equal(m, n); /* one frame a frame */
        for (int k = 0; k < n; k++)
            if (reference[k] != INT64_MIN) assert_int_equal(seen[k].pts, reference[k]);
        m = ffmpeg_md5(path, info->video_stream, "", t[i].ffmpeg, sums, MAX_FRAMES);
        assert_int_equal(m, n);
        bool sizes = !strcmp(t[i].file, "dog_resolution_change.h264"); /* ffmpeg's graph scales */
        for (int k = 0; k < n && !sizes; k++)
            if (strcmp(sums[k], seen[k].md5))
                fail_msg("%s with '%s': frame %d differs from ffmpeg's", t[i].file,
                         t[i].ffmpeg, k);
        if (sizes) assert_true(seen[n - 1].w != seen[0].w);
        upz_source_close(&s);
    }
    UpzSource *s;
    UpzSourceParams p = {.vf = "no_such_filter=3"};
    assert_int_equal(upz_source_open(&s, ctx, shared(t[2].file), &p, &err), UPREZ_ERR_USAGE);
    assert_null(s);
    assert_non_null(strstr(err.text, "no_such_filter"));
    p = (UpzSourceParams){.interlaced = UPZ_INTERLACED_ERROR};
    assert_int_equal(upz_source_open(&s, ctx, shared(t[0].file), &p, &err), UPREZ_ERR_INPUT);
    assert_non_null(strstr(err.text, "interlaced"));
    p = (UpzSourceParams){.hwaccel = "nonsense"};
    assert_int_equal(upz_source_open(&s, ctx, shared(t[2].file), &p, &err), UPREZ_ERR_DEVICE);
}

static void broken(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int opens, frames, held; /* -1 = any */
        bool damage;
    } t[] = {
        {"broken/h264_bitstream_corrupt.mp4", 1, 50, 1, true},
        {"broken/invalid_nalu.mp4", 1, 30, 1, true},
        {"broken/mdat_too_long.mp4", 1, 30, 0, false},
        {"broken/broken_sps.flv", 1, 79, 0, false},
        {"broken/truncated_half.ts", 1, 10, 0, true},
        {"broken/truncated_header.mp4", 0, 0, 0, false},
        {"broken/empty.flv", 0, 0, 0, false},
        {"broken/not_a_video.mp4", 0, 0, 0, false},
        {"broken/fuzz_france.mp4", 0, 0, 0, false},
        {"broken/fuzz_gpac.mp4", 0, 0, 0, false},
        {"broken/truncated_half.mp4", 0, 0, 0, false},
        {"h264_bff_720x484i.mkv", 1, 11, 0, true}, /* cut at a million bytes */
        {"h264_1920x1080i_3audio_dvbsub.ts", 1, -1, -1, true}, /* begins within a GOP */
    };
    NEED(shared(t[0].file));
    print_message("%-36s %-6s %6s %7s %5s %5s %5s\n", "file", "opens", "frames", "damaged", "held",
                  "lost", "cut");
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        UpzSource *s;
        UpzSourceParams p = {.interlaced = UPZ_INTERLACED_KEEP};
        err.text[0] = 0;
        int r = upz_source_open(&s, ctx, shared(t[i].file), &p, &err);
        if (r < 0) {
            print_message("%-36s no     %s\n", t[i].file, err.text);
            assert_int_equal(t[i].opens, 0);
            assert_int_equal(r, UPREZ_ERR_INPUT);
            assert_non_null(strstr(err.text, t[i].file));
            continue;
        }
        int n = read_all(s, seen, MAX_FRAMES);
        UpzSourceStats st;
        upz_source_stats(s, &st);
        print_message("%-36s yes    %6d %7" PRId64 " %5" PRId64 " %5" PRId64 " %5" PRId64 "\n",
                      t[i].file, n, st.damaged, st.held, st.lost_packets, st.read_errors);
        assert_int_equal(t[i].opens, 1);
        if (t[i].frames >= 0) assert_int_equal(n, t[i].frames);
        if (t[i].held >= 0) assert_int_equal(st.held, t[i].held);
        assert_int_equal(st.damaged + st.held + st.lost_packets + st.read_errors > 0, t[i].damage);
        assert_int_equal(st.decoded + st.held, n);
        upz_source_close(&s);
    }
}

static uint8_t *load(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint8_t *d = malloc(1 << 22);
    *n = fread(d, 1, 1 << 22, f);
    fclose(f);
    return d;
}

static const char *store(const char *name, const uint8_t *d, size_t n)
{
    static char path[200];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(d, 1, n, f), n);
    fclose(f);
    return path;
}

/* A healthy file, harmed here: packets overwritten, and the file cut. */
static void harmed(void **state)
{
    (void)state;
    char path[600];
    snprintf(path, sizeof(path), "%s", shared("dog_848x464_aac.mp4"));
    NEED(path);
    UpzSource *s = open_clip(path, 0, NULL);
    int n = read_all(s, seen, MAX_FRAMES);
    upz_source_close(&s);

    AVFormatContext *fmt = NULL;
    int64_t at[200];
    int size[200], packets = 0;
    assert_true(avformat_open_input(&fmt, path, NULL, NULL) >= 0);
    AVPacket *p = av_packet_alloc();
    int video = av_find_best_stream(fmt, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    while (packets < 200 && av_read_frame(fmt, p) >= 0) {
        if (p->stream_index == video) {
            at[packets] = p->pos;
            size[packets++] = p->size;
        }
        av_packet_unref(p);
    }
    av_packet_free(&p);
    avformat_close_input(&fmt);

    size_t bytes;
    uint8_t *d = load(path, &bytes);
    /* one packet becomes nonsense: as many frames, at the same times */
    for (int hit = 10; hit < packets; hit += 31) {
        uint8_t *copy = malloc(bytes);
        memcpy(copy, d, bytes);
        memset(copy + at[hit], 0xff, (size_t)size[hit]);
        s = open_clip(store("hit.mp4", copy, bytes), 0, NULL);
        int m = read_all(s, again, MAX_FRAMES), held = 0;
        assert_int_equal(m, n);
        for (int k = 0; k < n; k++) {
            assert_int_equal(again[k].pts, seen[k].pts);
            if (again[k].held) {
                held++;
                assert_true(k > 0);
                assert_string_equal(again[k].md5, again[k - 1].md5);
            }
        }
        UpzSourceStats st;
        upz_source_stats(s, &st);
        print_message("packet %d overwritten: %d frames, %d held, %" PRId64 " damaged\n", hit, m,
                      held, st.damaged);
        assert_int_equal(held, 1);
        assert_int_equal(st.held, 1);
        assert_int_equal(st.lost_packets, 1);
        upz_source_close(&s);
        free(copy);
    }
    /* cut anywhere: it does not open, or what is there comes and the cut is counted */
    snprintf(path, sizeof(path), "%s", shared("anime_320x180_yuv444p.mkv"));
    free(d);
    d = load(path, &bytes);
    for (int k = 1; k < 12; k++) {
        UpzSourceParams none = {0};
        const char *cut = store("cut.mkv", d, bytes * (size_t)k / 12);
        if (upz_source_open(&s, ctx, cut, &none, &err) < 0) continue;
        int m = read_all(s, again, MAX_FRAMES);
        UpzSourceStats st;
        upz_source_stats(s, &st);
        print_message("cut at %d/12: %d frames, %" PRId64 " damaged, %" PRId64 " lost, cut %" PRId64
                      "\n", k, m, st.damaged, st.lost_packets, st.read_errors);
        if (k < 10) assert_true(st.damaged + st.lost_packets + st.held + st.read_errors > 0);
        upz_source_close(&s);
    }
    free(d);
}

/* Open GOPs, pyramids and intra refresh, in containers that seek in different ways: every frame. */
static void open_gops(void **state)
{
    (void)state;
    static const struct {
        const char *file, *encoder;
    } t[] = {
        {"a.vob", "mpeg2video -g 15 -bf 2"},
        {"a.ts", "mpeg2video -g 15 -bf 2"},
        {"b.mkv", "libx264 -preset fast -x264opts open-gop=1:keyint=20:bframes=4"},
        {"b.ts", "libx264 -preset fast -x264opts open-gop=1:keyint=20:bframes=4"},
        {"c.mp4", "libx264 -preset fast -intra-refresh 1 -g 25"},
        {"d.mp4", "libx265 -preset superfast -x265-params log-level=none:keyint=20:open-gop=1"},
        {"e.webm", "libvpx-vp9 -g 20 -auto-alt-ref 1 -lag-in-frames 16 -deadline realtime"},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        char c[600], path[200];
        snprintf(path, sizeof(path), "%s/%s", dir, t[i].file);
        snprintf(c, sizeof(c), "ffmpeg -nostdin -v quiet -y -f lavfi -i testsrc2=s=96x64:r=25:d=3 "
                 "-pix_fmt yuv420p -c:v %s '%s'; echo", t[i].encoder, path);
        FILE *f = popen(c, "r");
        assert_non_null(f);
        pclose(f);
        UpzSourceParams none = {0};
        UpzSource *s;
        if (upz_source_open(&s, ctx, path, &none, &err) < 0) {
            print_message("not made by this ffmpeg: %s\n", t[i].encoder);
            continue;
        }
        int n = read_all(s, seen, MAX_FRAMES);
        assert_int_equal(n, 75);
        for (int k = n - 1; k >= 0; k--) {
            OK(upz_source_seek(s, seen[k].pts - (k & 1), &err));
            int m = read_all(s, again, 4);
            assert_int_equal(m, n - k < 4 ? n - k : 4);
            for (int j = 0; j < m; j++)
                if (again[j].pts != seen[k + j].pts || strcmp(again[j].md5, seen[k + j].md5))
                    fail_msg("%s, %s: seeking to frame %d: frame %d differs", t[i].file,
                             t[i].encoder, k, k + j);
        }
        upz_source_close(&s);
    }
}

/* A recording joined to itself: time goes on; seeking finds the second half. */
static void joined(void **state)
{
    (void)state;
    char path[600];
    snprintf(path, sizeof(path), "%s", shared("mpeg2_ntsc_704x480i_cc.ts"));
    NEED(path);
    size_t n;
    uint8_t *d = load(path, &n), *two = malloc(2 * n);
    memcpy(two, d, n);
    memcpy(two + n, d, n);
    UpzSource *s = open_clip(store("two.ts", two, 2 * n), UPZ_INTERLACED_KEEP, NULL);
    free(two);
    free(d);
    int m = read_all(s, seen, MAX_FRAMES);
    assert_in_range(m, 404, 406);
    for (int k = 1; k < m; k++) assert_int_equal(seen[k].pts - seen[k - 1].pts, 3003);
    assert_non_null(strstr(log_text, "jump back"));
    UpzIndex index;
    OK(upz_source_index(s, &index, &err));
    int found = 0;
    for (size_t k = 0; k < index.n; k++) found += index.items[k].pts == seen[300].pts;
    assert_int_equal(found, 1);
    upz_index_free(&index);
    OK(upz_source_seek(s, seen[300].pts, &err));
    assert_int_equal(read_all(s, again, 20), 20);
    for (int k = 0; k < 20; k++) {
        assert_int_equal(again[k].pts, seen[300 + k].pts);
        assert_string_equal(again[k].md5, seen[300 + k].md5);
    }
    upz_source_close(&s);
}

/* Profile 8 made into profile 5 in the container's box. */
static void dolby_vision_5(void **state)
{
    (void)state;
    char path[600];
    snprintf(path, sizeof(path), "%s", shared("dolbyvision_rot90.mov"));
    NEED(path);
    size_t n, found = 0;
    uint8_t *d = load(path, &n);
    for (size_t i = 0; i + 8 < n; i++)
        if (!memcmp(d + i, "dvvC", 4)) {
            d[i + 6] = (uint8_t)(5 << 1 | (d[i + 6] & 1));
            found++;
        }
    assert_int_equal(found, 1);
    UpzSource *s;
    UpzSourceParams none = {0};
    assert_int_equal(upz_source_open(&s, ctx, store("dv5.mov", d, n), &none, &err),
                     UPREZ_ERR_INPUT);
    assert_null(s);
    assert_non_null(strstr(err.text, "Dolby Vision profile 5"));
    free(d);
}

static void pipes(void **state)
{
    (void)state;
    NEED(shared(clips[0].file));
    char c[1500], path[200];
    snprintf(path, sizeof(path), "%s/clip.y4m", dir);
    snprintf(c, sizeof(c), "ffmpeg -nostdin -v quiet -y -i '%s' -f yuv4mpegpipe '%s'; echo",
             shared(clips[0].file), path);
    FILE *f = popen(c, "r");
    assert_non_null(f);
    pclose(f);
    UpzSource *s = open_clip(path, 0, NULL);
    int n = read_all(s, seen, MAX_FRAMES);
    assert_int_equal(n, 36);
    assert_true(upz_source_info(s)->y4m);
    upz_source_close(&s);

    int old = dup(0);
    snprintf(c, sizeof(c), "cat '%s'", path);
    f = popen(c, "r");
    assert_non_null(f);
    dup2(fileno(f), 0);
    s = open_clip("-", 0, NULL);
    assert_true(upz_source_info(s)->y4m);
    OK(upz_source_seek(s, seen[20].pts, &err)); /* forward only */
    int m = read_all(s, again, MAX_FRAMES);
    assert_int_equal(m, 16);
    for (int k = 0; k < m; k++) assert_string_equal(again[k].md5, seen[20 + k].md5);
    assert_int_equal(upz_source_seek(s, seen[3].pts, &err), UPREZ_ERR_INPUT);
    UpzIndex index;
    assert_int_equal(upz_source_index(s, &index, &err), UPREZ_ERR_INPUT);
    upz_source_close(&s);
    dup2(old, 0);
    close(old);
    pclose(f);
}

static void odds(void **state)
{
    (void)state;
    UpzSource *s;
    UpzSourceParams p = {0};
    assert_int_equal(upz_source_open(&s, ctx, "/nonexistent.mp4", &p, &err), UPREZ_ERR_INPUT);
    assert_int_equal(upz_source_open(&s, ctx, "/", &p, &err), UPREZ_ERR_INPUT);
    assert_int_equal(upz_source_open(&s, ctx, "", &p, &err), UPREZ_ERR_USAGE);
    p.format = "no_such_demuxer";
    assert_int_equal(upz_source_open(&s, ctx, "x", &p, &err), UPREZ_ERR_USAGE);
    NEED(shared(clips[0].file));
    /* a name that looks like an address or a pattern is a file if there is one */
    size_t n;
    uint8_t *d = load(shared(clips[0].file), &n);
    p.format = NULL;
    OK(upz_source_open(&s, ctx, store("a:%03d'\"*.mp4", d, n), &p, &err));
    upz_source_close(&s);
    free(d);
    /* cancelled */
    UpzWatch watch = {0};
    p.watch = &watch;
    OK(upz_source_open(&s, ctx, shared(clips[0].file), &p, &err));
    watch.cancel = 1;
    UpzFrame *f;
    assert_int_equal(upz_source_read(s, &f, &err), UPREZ_ERR_INTERRUPTED);
    assert_int_equal(upz_source_seek(s, 0, &err), UPREZ_ERR_INTERRUPTED);
    upz_source_close(&s);
    assert_int_equal(upz_source_open(&s, ctx, shared(clips[0].file), &p, &err),
                     UPREZ_ERR_INTERRUPTED);
}

/* Formats uprez does not know become the nearest it does, without fewer bits. */
static void odd_formats(void **state)
{
    (void)state;
    static const struct {
        enum AVPixelFormat in, out;
    } t[] = {
        {AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUV420P},       {AV_PIX_FMT_GRAY16BE, AV_PIX_FMT_GRAY16LE},
        {AV_PIX_FMT_YUV420P10BE, AV_PIX_FMT_YUV420P10LE}, {AV_PIX_FMT_RGB48BE, AV_PIX_FMT_RGB48LE},
        {AV_PIX_FMT_RGBA64BE, AV_PIX_FMT_RGBA64LE},      {AV_PIX_FMT_GBRP16BE, AV_PIX_FMT_NONE},
        {AV_PIX_FMT_PAL8, AV_PIX_FMT_NONE},              {AV_PIX_FMT_RGB565LE, AV_PIX_FMT_NONE},
        {AV_PIX_FMT_MONOBLACK, AV_PIX_FMT_GRAY8},        {AV_PIX_FMT_BAYER_RGGB8, AV_PIX_FMT_NONE},
        {AV_PIX_FMT_YUVA444P10BE, AV_PIX_FMT_NONE},      {AV_PIX_FMT_P010BE, AV_PIX_FMT_NONE},
        {AV_PIX_FMT_YA16BE, AV_PIX_FMT_YA16LE},          {AV_PIX_FMT_XYZ12LE, AV_PIX_FMT_NONE},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(t[i].in);
        UprezFormat f;
        enum AVPixelFormat to = upz_frame_format(t[i].in, &f);
        print_message("%s -> %s\n", d->name, to == AV_PIX_FMT_NONE ? "none"
                                                                   : av_get_pix_fmt_name(to));
        assert_int_not_equal(to, AV_PIX_FMT_NONE);
        if (t[i].out != AV_PIX_FMT_NONE) assert_int_equal(to, t[i].out);
        if (!(d->flags & AV_PIX_FMT_FLAG_PAL)) assert_true(f.depth >= d->comp[0].depth);
        if (d->flags & AV_PIX_FMT_FLAG_ALPHA) assert_true(f.alpha);
        AVFrame *av = av_frame_alloc();
        av->format = t[i].in;
        av->width = 34;
        av->height = 18;
        assert_int_equal(av_frame_get_buffer(av, 0), 0);
        for (int k = 0; k < 4 && av->buf[k]; k++)
            for (size_t j = 0; j < av->buf[k]->size; j++) av->buf[k]->data[j] = (uint8_t)(j * 7 & 3);
        UpzFrame *frame;
        OK(upz_frame_create(&frame, av, &err));
        OK(upz_frame_picture(frame, &err));
        if (t[i].in == AV_PIX_FMT_RGBA64BE || t[i].in == AV_PIX_FMT_YUV420P10BE ||
            t[i].in == AV_PIX_FMT_YA16BE || t[i].in == AV_PIX_FMT_GRAY16BE)
            for (int x = 0; x < 34; x++) { /* bytes swapped, nothing else */
                const uint8_t *a = av->data[0] + 2 * x, *b = (uint8_t *)frame->picture->plane[0] + 2 * x;
                assert_int_equal(a[0], b[1]);
                assert_int_equal(a[1], b[0]);
            }
        upz_frame_free(&frame);
    }
}

static int clean(void **state)
{
    (void)state;
    char c[100];
    snprintf(c, sizeof(c), "rm -r '%s'", dir);
    FILE *f = popen(c, "r");
    uprez_context_destroy(&ctx);
    return f ? pclose(f) : -1;
}

int main(void)
{
    FILE *f = popen("ffmpeg -version 2>/dev/null && ffprobe -version 2>/dev/null", "r");
    char line[64];
    bool there = f && fgets(line, sizeof(line), f);
    if (f) pclose(f);
    if (!there) {
        printf("skipped: there is no ffmpeg to compare with\n");
        return 77;
    }
    UprezContextParams p = {.size = sizeof(p), .threads = 1, .log = keep_log};
    if (uprez_context_create(&ctx, &p, &err) < 0) return 1;
    snprintf(dir, sizeof(dir), "/tmp/uprez-source-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_formats), cmocka_unit_test(like_ffmpeg), cmocka_unit_test(infos),
        cmocka_unit_test(seeks),       cmocka_unit_test(indexes),     cmocka_unit_test(filters),
        cmocka_unit_test(broken),      cmocka_unit_test(harmed),      cmocka_unit_test(pipes),
        cmocka_unit_test(odds),        cmocka_unit_test(joined),
        cmocka_unit_test(dolby_vision_5), cmocka_unit_test(open_gops),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
