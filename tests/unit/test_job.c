/* Whole jobs with a classical kernel, judged by ffprobe and ffmpeg: timestamps, packets, tags, side
 * data, cuts, interruptions, damage. Clips of ../shared where real ones matter, else made by ffmpeg
 * on the spot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "job/job.h"
#include "skip.h"

static char dir[256], made[300];
static char log_text[8192];
static UprezError err;
static UprezContext *ctx;

static void keep_log(void *cookie, int level, const char *line)
{
    (void)cookie;
    size_t n = strlen(log_text);
    if (level <= UPREZ_LOG_WARNING) snprintf(log_text + n, sizeof(log_text) - n, "%s\n", line);
}

/* ---- other programs ---- */

static char *run(const char *fmt, ...)
{
    static char out[4][200000];
    static int turn;
    char cmd[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    char *text = out[turn = (turn + 1) % 4];
    FILE *f = popen(cmd, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(out[0]) - 1, f);
    text[n] = 0;
    pclose(f);
    return text;
}

static const char *shared(const char *name)
{
    static char path[4][600];
    static int turn;
    const char *s = getenv("SHARED");
    char *p = path[turn = (turn + 1) % 4];
    snprintf(p, sizeof(path[0]), "%s/media/video/%s", s ? s : "../shared", name);
    return p;
}

#define NEEDS_SHARED(name) \
    do { \
        if (!upz_exists(shared(name))) SKIP_BECAUSE("%s is not here", shared(name)); \
    } while (0)

static const char *output(const char *name)
{
    static char path[4][300];
    static int turn;
    char *p = path[turn = (turn + 1) % 4];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

/* ---- jobs ---- */

static const char *const lanczos[] = {"lanczos"};

static UpzJobParams plain(const char *in, const char *out)
{
    UpzJobParams p;
    upz_job_params_init(&p);
    p.input = in;
    p.output = out;
    p.models = lanczos;
    p.n_models = 1;
    p.upscale.scale = 2;
    p.overwrite = true;
    p.preset = "ultrafast";
    return p;
}

/* For big clips. */
static UpzJobParams small(const char *in, const char *out)
{
    UpzJobParams p = plain(in, out);
    p.upscale.scale = 0.5;
    return p;
}

static UpzJobResult result;

static int job(const UpzJobParams *p)
{
    err.text[0] = log_text[0] = 0;
    return upz_job_run(ctx, p, &result, &err);
}

static void job_ok(const UpzJobParams *p)
{
    int r = job(p);
    if (r < 0) fail_msg("%s: %d %s", p->input, r, err.text);
}

/* Presentation times of a stream's frames in seconds, rounded to what both containers can say. */
static char *times(const char *file, const char *stream, int limit)
{
    return run("ffprobe -v error -select_streams %s -show_entries frame=pts_time -of csv=p=0 '%s' | "
               "sed 's/,.*//' | grep . | sort -n | head -n %d", stream, file, limit);
}
static char *stream_hash(const char *file, const char *map)
{
    return run("ffmpeg -v error -i '%s' -map 0:%s -c copy -f streamhash -hash md5 - | sed 's/.*=//'",
               file, map);
}
static char *entries(const char *file, const char *stream, const char *what)
{
    return run("ffprobe -v error -select_streams %s -show_entries stream=%s -of default=nk=1:nw=1 "
               "'%s'", stream, what, file);
}
static void assert_same(char *a, char *b)
{
    assert_true(a[0] != 0);
    assert_string_equal(a, b);
}

/* ---- tests ---- */

/* B-frames, audio, several segments: nothing is lost, nothing moves. */
static void frames_times_and_audio_are_the_source_s(void **state)
{
    (void)state;
    UpzJobParams p = plain(made, output("made.mp4"));
    job_ok(&p);
    assert_int_equal(result.frames_in, 300);
    assert_int_equal(result.frames_out, 300);
    assert_int_equal(result.width, 256);
    assert_same(times(made, "v:0", 1000), times(p.output, "v:0", 1000));
    assert_same(stream_hash(made, "a"), stream_hash(p.output, "a"));
    assert_same(entries(made, "v:0", "duration,start_time"),
                entries(p.output, "v:0", "duration,start_time"));
    assert_non_null(strstr(entries(p.output, "v:0", "codec_name,pix_fmt"), "h264\nyuv420p"));
    assert_false(upz_exists(output("made.mp4.uprez")));
    assert_false(upz_exists(output("made.mp4.part")));
    /* two segments at least: 300 frames are more than one holds */
    char *keys = run("ffprobe -v error -select_streams v -show_entries packet=flags -of csv=p=0 '%s' "
                     "| grep -c K", p.output);
    assert_true(strtoll(keys, NULL, 10) >= 2);
}

/* Against swscale's Lanczos: every frame is the enlarged source frame, not its neighbour. */
static void pictures_are_the_enlarged_source(void **state)
{
    (void)state;
    UpzJobParams p = plain(made, output("lossless.mkv"));
    p.encoder = "ffv1";
    p.preset = NULL;
    p.pix_fmt = "yuv420p";
    job_ok(&p);
    char *psnr = run("ffmpeg -v error -i '%s' -i '%s' -lavfi \"[1:v]scale=256:192:flags=lanczos+"
                     "accurate_rnd+full_chroma_int,settb=1/1000[r];[0:v]settb=1/1000[a];"
                     "[a][r]psnr=f=-\" -f null - | sed 's/.*psnr_y:\\([0-9.inf]*\\).*/\\1/' | sort -g "
                     "| head -n 1", p.output, made);
    double worst = strtod(psnr, NULL);
    if (!(worst > 35)) fail_msg("worst frame against swscale: %s dB", psnr);
}

static void cuts_are_exact_to_the_frame(void **state)
{
    (void)state;
    UpzJobParams p = plain(made, output("whole.mkv"));
    p.encoder = "ffv1";
    p.preset = NULL;
    job_ok(&p);
    const char *whole = p.output;
    p.output = output("cut.mkv");
    p.start = 4.0;
    p.duration = 3.2;
    job_ok(&p);
    assert_int_equal(result.frames_out, 96); /* 30 frames a second */
    const char *hashes = "ffmpeg -v error -i '%s' -map v -f framemd5 - | grep -v '#' | sed 's/.*,//'";
    char cmd[1024];
    snprintf(cmd, sizeof(cmd), "%s | sed -n '121,216p'", hashes);
    assert_same(run(cmd, whole), run(hashes, p.output));
    p.output = output("few.mkv");
    p.duration = -1;
    p.frames = 7;
    job_ok(&p);
    assert_int_equal(result.frames_out, 7);
    snprintf(cmd, sizeof(cmd), "%s | sed -n '121,127p'", hashes);
    assert_same(run(cmd, whole), run(hashes, p.output));
}

static volatile int stop;
static int64_t stop_at;
static void stop_there(void *cookie, const UpzProgress *p)
{
    (void)cookie;
    if (stop_at >= 0 && p->frame >= stop_at) stop = 1;
}

/* However often it is interrupted, the bytes are those of an undisturbed run. */
static void interrupted_runs_end_in_the_same_bytes(void **state)
{
    (void)state;
    char a[UPZ_SHA256_HEX], b[UPZ_SHA256_HEX];
    UpzJobParams p = plain(made, output("calm.mp4"));
    job_ok(&p);
    assert_int_equal(upz_sha256_file(p.output, a, UPREZ_ERR_OUTPUT, &err), 0);
    p.output = output("disturbed.mp4");
    p.cancel = &stop;
    p.progress = stop_there;
    p.vf = NULL;
    int rounds = 0;
    for (stop_at = 130; stop_at >= 0; rounds++) {
        stop = 0;
        int r = job(&p);
        if (r == 0) break;
        assert_int_equal(r, UPREZ_ERR_INTERRUPTED);
        assert_true(strstr(err.text, "disturbed.mp4.part") != NULL);
        char *n = run("ffprobe -v error -count_packets -select_streams v -show_entries "
                      "stream=nb_read_packets -of csv=p=0 '%s.part'", p.output);
        assert_int_equal(strtoll(n, NULL, 10), result.frames_out);
        assert_false(upz_exists(p.output));
        stop_at = -1;
    }
    stop = 0;
    job_ok(&p);
    if (rounds) assert_true(result.frames_resumed > 0);
    assert_int_equal(upz_sha256_file(p.output, b, UPREZ_ERR_OUTPUT, &err), 0);
    assert_string_equal(a, b);
    assert_false(upz_exists(output("disturbed.mp4.part")));
    assert_false(upz_exists(output("disturbed.mp4.uprez")));
}

/* Other options, other plan: an old run's segments are not mixed in. */
static void another_plan_starts_anew(void **state)
{
    (void)state;
    UpzJobParams p = plain(made, output("changed.mp4"));
    p.cancel = &stop;
    p.progress = stop_there;
    stop = 0;
    stop_at = 130;
    if (job(&p) != UPREZ_ERR_INTERRUPTED) SKIP_BECAUSE("the job was done before it could be stopped"); /* too quick to be stopped */
    stop = 0;
    stop_at = -1;
    p.crf = 30;
    job_ok(&p);
    assert_int_equal(result.frames_resumed, 0);
    assert_int_equal(result.frames_out, 300);
}

static void streams_find_a_place(void **state)
{
    (void)state;
    NEEDS_SHARED("face_ass.mkv");
    UpzJobParams p = small(shared("face_ass.mkv"), output("ass.mp4"));
    job_ok(&p);
    assert_non_null(strstr(entries(p.output, "s:0", "codec_name"), "mov_text"));
    assert_non_null(strstr(log_text, "mov_text"));
    assert_same(stream_hash(p.input, "a"), stream_hash(p.output, "a"));
    char *words = run("ffmpeg -v error -i '%s' -map s:0 -f srt - | grep -v -e '-->' | sed "
                      "'s/<[^>]*>//g' | tr -d '\\n'", p.output);
    char *source = run("ffmpeg -v error -i '%s' -map s:0 -f srt - | grep -v -e '-->' | sed "
                       "'s/<[^>]*>//g' | tr -d '\\n'", p.input);
    assert_same(source, words);
    p.output = output("ass.mkv");
    job_ok(&p);
    assert_same(stream_hash(p.input, "s"), stream_hash(p.output, "s"));

    p = small(shared("face_pgs.mkv"), output("pgs.mp4"));
    job_ok(&p);
    assert_non_null(strstr(log_text, "subtitle stream 2 (hdmv_pgs_subtitle) is dropped"));
    p.strict_streams = true;
    p.output = output("strict.mp4");
    assert_int_equal(job(&p), UPREZ_ERR_OUTPUT);
    assert_false(upz_exists(p.output));

    p = small(shared("no_duration_vfr.webm"), output("opus.mov")); /* Opus fails MOV's header */
    job_ok(&p);
    assert_non_null(strstr(entries(p.output, "a:0", "codec_name"), "aac"));
    assert_same(times(p.input, "v:0", 1000), times(p.output, "v:0", 1000));

    p = small(shared("dog_multires_two_video.mkv"), output("two.mkv"));
    job_ok(&p);
    assert_same(stream_hash(p.input, "a"), stream_hash(p.output, "a"));
    assert_same(stream_hash(p.input, "v:1"), stream_hash(p.output, "v:1"));

    p = small(shared("chapters.mkv"), output("chapters.mp4"));
    job_ok(&p);
    const char *chapters = "ffprobe -v error -show_entries chapter=start_time:chapter_tags="
                           "title -of csv '%s'";
    assert_same(run(chapters, p.input), run(chapters, p.output));

    p = small(shared("gopro_480x320_datastreams.mp4"), output("data.mp4"));
    p.frames = 5;
    job_ok(&p);
    assert_non_null(strstr(log_text, "data stream"));
}

static void a_second_file_gives_its_streams(void **state)
{
    (void)state;
    char silent[300];
    snprintf(silent, sizeof(silent), "%s", output("silent.mp4"));
    run("ffmpeg -v error -y -i '%s' -map v -c copy '%s'", made, silent);
    UpzJobParams p = plain(silent, output("voiced.mp4"));
    p.streams_from = made;
    job_ok(&p);
    assert_same(stream_hash(made, "a"), stream_hash(p.output, "a"));
    p = plain(made, output("mute.mp4"));
    p.audio = "none";
    job_ok(&p);
    assert_string_equal(entries(p.output, "a", "codec_name"), "");
}

static void shape_turn_and_times_stay(void **state)
{
    (void)state;
    NEEDS_SHARED("phone_352x288_vfr_rot90.mp4");
    static const struct {
        const char *name, *out;
    } clips[] = {{"phone_352x288_vfr_rot90.mp4", "vfr.mp4"},
                 {"webcam_640x480_rot270_vfr.mov", "rot.mov"},
                 {"rotate_and_reflect_1080x720.mp4", "mirror.mp4"},
                 {"bt709_full_range_1280x720.mp4", "full.mp4"},
                 {"bbb_960x540_60p_vp9_vorbis51.webm", "vp9.mkv"},
                 {"carphone_176x144_qcif.mp4", "sar.mp4"}};
    for (size_t i = 0; i < sizeof(clips) / sizeof(clips[0]); i++) {
        UpzJobParams p = small(shared(clips[i].name), output(clips[i].out));
        p.frames = 12;
        job_ok(&p);
        assert_same(times(p.input, "v:0", 12), times(p.output, "v:0", 12));
        char *a = run("ffprobe -v error -select_streams v:0 -show_entries stream_side_data=rotation "
                      "-of csv=p=0 '%s'", p.input);
        char *b = run("ffprobe -v error -select_streams v:0 -show_entries stream_side_data=rotation "
                      "-of csv=p=0 '%s'", p.output);
        assert_string_equal(a, b);
        const char *sar = entries(p.output, "v:0", "sample_aspect_ratio");
        if (!strcmp(clips[i].out, "sar.mp4")) assert_string_equal(sar, "128:117\n");
        if (!strcmp(clips[i].out, "full.mp4"))
            assert_same(entries(p.input, "v:0", "color_range,color_space,color_transfer"),
                        entries(p.output, "v:0", "color_range,color_space,color_transfer"));
    }
    /* sizes are of what is shown: 288 wide on the screen, 352 high */
    UpzJobParams p = plain(shared(clips[0].name), output("sized.mp4"));
    p.frames = 2;
    p.upscale.scale = 0;
    p.upscale.width = 576;
    job_ok(&p);
    assert_int_equal(result.width, 704);
    assert_int_equal(result.height, 576);
}

static void depth_and_hdr_stay(void **state)
{
    (void)state;
    NEEDS_SHARED("hdr10_av1_mdcv_clli_1920x1080.mp4");
    UpzJobParams p = plain(shared("hdr10_av1_mdcv_clli_1920x1080.mp4"), output("hdr.mp4"));
    p.frames = 2;
    p.upscale.scale = 0.25;
    job_ok(&p);
    assert_non_null(strstr(entries(p.output, "v:0", "codec_name,codec_tag_string,pix_fmt"),
                           "hevc\nhvc1\nyuv420p10le"));
    const char *light = "ffprobe -v error -select_streams v:0 -read_intervals '%%+#1' -show_frames "
                        "-show_entries frame=color_space,color_transfer,color_primaries:side_data="
                        "red_x,red_y,green_x,green_y,blue_x,blue_y,white_point_x,white_point_y,"
                        "max_luminance,max_content,max_average -of default=nw=1 '%s' | sort";
    char *a = run(light, p.input), *b = run(light, p.output);
    assert_non_null(strstr(a, "max_content"));
    assert_string_equal(a, b);
    p = plain(shared("dog_848x464_hevc10_hlg.mkv"), output("hlg.mkv"));
    p.frames = 3;
    p.upscale.scale = 0.5;
    job_ok(&p);
    assert_same(entries(p.input, "v:0", "pix_fmt,color_range,color_space,color_transfer"),
                entries(p.output, "v:0", "pix_fmt,color_range,color_space,color_transfer"));
}

/* File × exit × frames of the damaged files. */
static void damage_is_told(void **state)
{
    (void)state;
    NEEDS_SHARED("broken/empty.flv");
    static const struct {
        const char *name;
        int code, frames; /* frames 0: no output */
    } table[] = {
        {"empty.flv", 3, 0}, {"not_a_video.mp4", 3, 0}, {"truncated_header.mp4", 3, 0},
        {"truncated_half.mp4", 3, 0}, {"fuzz_france.mp4", 3, 0}, {"fuzz_gpac.mp4", 3, 0},
        {"h264_bitstream_corrupt.mp4", 8, 50}, {"invalid_nalu.mp4", 8, 30},
        {"mdat_too_long.mp4", 0, 30}, {"broken_sps.flv", 0, 79}, {"truncated_half.ts", 8, 10},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char name[100];
        snprintf(name, sizeof(name), "broken/%s", table[i].name);
        UpzJobParams p = plain(shared(name), output("broken.mp4"));
        p.upscale.scale = 0.5;
        unlink(p.output);
        int r = job(&p);
        print_message("%-28s exit %d, %d frames written\n", table[i].name, -r,
                      upz_exists(p.output) ? (int)result.frames_out : 0);
        assert_int_equal(-r, table[i].code);
        assert_int_equal(upz_exists(p.output), table[i].frames > 0);
        if (table[i].frames) assert_int_equal(result.frames_out, table[i].frames);
        if (r == UPREZ_ERR_VERIFY) {
            p.tolerate_damage = true;
            job_ok(&p);
        }
    }
}

static void refusals(void **state)
{
    (void)state;
    static const char *const unknown[] = {"nonsense=1"};
    const struct {
        const char *out, *encoder, *pix_fmt, *preset, *say;
        const char *const *options;
        double start;
        int code;
    } table[] = {
        {"a.xyz", NULL, NULL, NULL, ".xyz", NULL, -1, UPREZ_ERR_USAGE},
        {"a", NULL, NULL, NULL, "extension", NULL, -1, UPREZ_ERR_USAGE},
        {"a.png", NULL, NULL, NULL, "picture", NULL, -1, UPREZ_ERR_USAGE},
        {"a.mp3", NULL, NULL, NULL, ".mp3", NULL, -1, UPREZ_ERR_USAGE},
        {"a.webm", "libx264", NULL, NULL, "h264", NULL, -1, UPREZ_ERR_USAGE},
        {"a.mp4", "nonsense", NULL, NULL, "nonsense", NULL, -1, UPREZ_ERR_USAGE},
        {"a.mp4", NULL, "yuv411p", NULL, "yuv420p", NULL, -1, UPREZ_ERR_USAGE},
        {"a.mp4", NULL, NULL, "nonsense", "nonsense", NULL, -1, UPREZ_ERR_USAGE},
        {"a.mp4", NULL, NULL, "fast", "nonsense", unknown, -1, UPREZ_ERR_USAGE},
        {"a.mp4", NULL, NULL, "fast", "no frame", NULL, 1000, UPREZ_ERR_USAGE},
        {"nowhere/a.mp4", NULL, NULL, NULL, "nowhere", NULL, -1, UPREZ_ERR_OUTPUT},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        UpzJobParams p = plain(made, output(table[i].out));
        p.encoder = table[i].encoder;
        p.pix_fmt = table[i].pix_fmt;
        p.preset = table[i].preset;
        p.encoder_options = table[i].options;
        p.n_encoder_options = table[i].options != NULL;
        p.start = table[i].start;
        int r = job(&p);
        if (r != table[i].code || !strstr(err.text, table[i].say))
            fail_msg("%s: %d %s", table[i].out, r, err.text);
        assert_false(upz_exists(p.output));
        assert_int_equal(strlen(run("ls '%s' | grep -e uprez -e part", dir)), 0);
    }
    UpzJobParams p = plain(made, output("there.mp4"));
    assert_int_equal(upz_write_atomic(p.output, "mine", 4, &err), 0);
    p.overwrite = false;
    assert_int_equal(job(&p), UPREZ_ERR_USAGE);
    assert_string_equal(run("cat '%s'", p.output), "mine");
    p = plain(made, made);
    assert_int_equal(job(&p), UPREZ_ERR_USAGE);
    p = plain("/nonexistent.mp4", output("a.mp4"));
    assert_int_equal(job(&p), UPREZ_ERR_INPUT);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    /* y4m goes straight to its file: a link to the device that is always full */
    if (symlink("/dev/full", output("full.y4m.part")) < 0) SKIP_BECAUSE("no symbolic link can be made here");
    UpzJobParams p = plain(made, output("full.y4m"));
    p.preset = NULL;
    assert_int_equal(job(&p), UPREZ_ERR_OUTPUT);
    assert_non_null(strstr(err.text, "space"));
    assert_false(upz_exists(p.output));
}

static void folders_and_y4m(void **state)
{
    (void)state;
    run("mkdir -p '%s/in' && cp '%s' '%s/in/clip10.mp4' && ffmpeg -v error -y -i '%s' -frames:v 1 "
        "'%s/in/shot9.png' && echo text > '%s/in/notes.txt'", dir, made, dir, made, dir, dir);
    UpzJobParams p = plain(output("in"), output("out"));
    p.frames = 3;
    p.overwrite = false;
    job_ok(&p);
    assert_int_equal(result.files, 2);
    assert_int_equal(result.failed, 0);
    assert_string_equal(run("ls '%s/out'", dir), "clip10.mp4\nshot9.png\n");
    job_ok(&p);
    assert_int_equal(result.skipped, 2);
    run("echo broken > '%s/in/bad.mp4'", dir);
    p.suffix = "_big";
    assert_int_equal(job(&p), UPREZ_ERR_INPUT);
    assert_int_equal(result.failed, 1);
    assert_string_equal(run("ls '%s/out'", dir),
                        "clip10.mp4\nclip10_big.mp4\nshot9.png\nshot9_big.png\n");
    p = plain(made, output("raw.y4m"));
    p.preset = NULL;
    job_ok(&p);
    assert_string_equal(run("ffprobe -v error -count_packets -show_entries stream=width,"
                            "nb_read_packets -of csv=p=0 '%s'", p.output), "256,300\n");
}

static int setup(void **state)
{
    (void)state;
    UprezContextParams cp = {.size = sizeof(cp), .log = keep_log};
    if (uprez_context_create(&ctx, &cp, &err) < 0) return -1;
    const char *root = getenv("BUILD_ROOT");
    snprintf(dir, sizeof(dir), "%s/job_test.XXXXXX", root ? root : "/tmp");
    if (!mkdtemp(dir)) return -1;
    snprintf(made, sizeof(made), "%s/source.mp4", dir);
    run("ffmpeg -v error -f lavfi -i testsrc2=s=128x96:r=30:d=10 -f lavfi -i sine=d=10 -c:v libx264 "
        "-bf 3 -g 40 -pix_fmt yuv420p -colorspace bt709 -c:a aac -shortest '%s'", made);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    uprez_context_destroy(&ctx);
    run("rm -rf '%s'", dir);
    return 0;
}

int main(void)
{
    if (!*run("command -v ffmpeg") || !*run("command -v ffprobe")) {
        print_message("SKIP: ffmpeg and ffprobe are needed to judge the results\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_times_and_audio_are_the_source_s),
        cmocka_unit_test(pictures_are_the_enlarged_source),
        cmocka_unit_test(cuts_are_exact_to_the_frame),
        cmocka_unit_test(interrupted_runs_end_in_the_same_bytes),
        cmocka_unit_test(another_plan_starts_anew),
        cmocka_unit_test(streams_find_a_place),
        cmocka_unit_test(a_second_file_gives_its_streams),
        cmocka_unit_test(shape_turn_and_times_stay),
        cmocka_unit_test(depth_and_hdr_stay),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(refusals),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(folders_and_y4m),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
