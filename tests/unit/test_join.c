/* The parts of a job that need no media: output sizes, selection and segments, plausibility of
 * pictures, containers and encoder plans, the codec's time base. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "job/look.h"
#include "job/plan.h"
#include "job/size.h"
#include "video/encoder.h"
#include <libavutil/pixdesc.h>

static UprezError err;

static void sizes(void **state)
{
    (void)state;
    static const struct {
        double scale, own;
        int want_w, want_h, w, h, sar_n, sar_d, rotation;
        int out_w, out_h, out_n, out_d;
    } t[] = {
        {0, 4, 0, 0, 320, 240, 0, 1, 0, 1280, 960, 0, 1},      /* the models' own */
        {1.5, 4, 0, 0, 321, 241, 1, 1, 0, 482, 362, 1, 1},     /* any factor */
        {2, 4, 0, 0, 720, 576, 64, 45, 0, 1440, 1152, 64, 45}, /* pixels keep their shape */
        {0, 4, 0, 1080, 720, 576, 64, 45, 0, 1920, 1080, 1, 1}, /* a height: square pixels */
        {0, 4, 1920, 0, 720, 576, 64, 45, 0, 1920, 1080, 1, 1},
        {0, 4, 1000, 0, 352, 288, 1, 1, 90, 1222, 1000, 1, 1}, /* of what is shown */
        {0, 4, 0, 2160, 1280, 720, 0, 1, 270, 2160, 1215, 0, 1},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        UpzJobParams p = {.upscale = {.scale = t[i].scale, .width = t[i].want_w, .height = t[i].want_h}};
        UpzShown src = {.width = t[i].w, .height = t[i].h, .sar_num = t[i].sar_n, .sar_den = t[i].sar_d,
                        .rotation = t[i].rotation};
        UpzSize s;
        assert_int_equal(upz_size_of(&s, &p, t[i].own, &src, &err), 0);
        if (s.width != t[i].out_w || s.height != t[i].out_h || s.sar_num != t[i].out_n ||
            s.sar_den != t[i].out_d || s.inner_width != s.width || s.inner_height != s.height)
            fail_msg("row %zu: %dx%d %d:%d", i, s.width, s.height, s.sar_num, s.sar_den);
    }
    UpzSize s;
    UpzJobParams p = {.upscale = {.scale = 60}};
    assert_int_equal(upz_size_of(&s, &p, 4, &(UpzShown){.width = 4000, .height = 3000}, &err),
                     UPREZ_ERR_USAGE);
}

/* Both sides given. The display's shape never changes unless it is asked to: checked from the numbers. */
static void fits(void **state)
{
    (void)state;
    static const struct {
        const char *fit;
        int want_w, want_h, w, h, sar_n, sar_d, rotation, turn;
        int out_w, out_h, inner_w, inner_h;
    } t[] = {
        {NULL, 1920, 1080, 720, 576, 64, 45, 0, 0, 1920, 1080, 1920, 1080}, /* PAL, 16:9 */
        {NULL, 1920, 1080, 640, 480, 1, 1, 0, 0, 1440, 1080, 1440, 1080},   /* 4:3 */
        {NULL, 1920, 1080, 720, 480, 8, 9, 0, 0, 1440, 1080, 1440, 1080},   /* NTSC, 4:3 */
        {"contain", 3840, 2160, 1920, 804, 0, 1, 0, 0, 3840, 1608, 3840, 1608},
        {"cover", 1920, 1080, 640, 480, 1, 1, 0, 0, 1920, 1080, 1920, 1440},
        {"pad", 1920, 1080, 640, 480, 1, 1, 0, 0, 1920, 1080, 1440, 1080},
        {"pad", 1920, 1080, 1920, 804, 1, 1, 0, 0, 1920, 1080, 1920, 804},
        {"stretch", 1920, 1080, 640, 480, 1, 1, 0, 0, 1920, 1080, 1920, 1080},
        {NULL, 3840, 2160, 720, 1280, 1, 1, 0, 1, 2160, 3840, 2160, 3840},   /* a name turns */
        {NULL, 3840, 2160, 720, 1280, 1, 1, 0, 0, 1216, 2160, 1216, 2160},   /* numbers do not */
        {NULL, 3840, 2160, 1280, 720, 1, 1, 90, 1, 3840, 2160, 3840, 2160},  /* portrait by its tag */
        {NULL, 3840, 2160, 1280, 720, 1, 1, 90, 0, 2160, 1216, 2160, 1216},
        {"cover", 100, 100, 1280, 720, 1, 1, 90, 0, 100, 100, 178, 100},
        {"pad", 1000, 10, 10, 1000, 1, 1, 0, 0, 1000, 10, 2, 10},            /* never nothing */
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        UpzJobParams p = {.fit = t[i].fit, .turn = t[i].turn,
                          .upscale = {.width = t[i].want_w, .height = t[i].want_h}};
        UpzShown src = {.width = t[i].w, .height = t[i].h, .sar_num = t[i].sar_n, .sar_den = t[i].sar_d,
                        .rotation = t[i].rotation, .even = true};
        UpzSize s;
        assert_int_equal(upz_size_of(&s, &p, 4, &src, &err), 0);
        if (s.width != t[i].out_w || s.height != t[i].out_h || s.inner_width != t[i].inner_w ||
            s.inner_height != t[i].inner_h)
            fail_msg("row %zu: %dx%d with %dx%d inside", i, s.width, s.height, s.inner_width,
                     s.inner_height);
        assert_true(s.sar_num == s.sar_den || (s.sar_num == 0 && t[i].sar_n == 0));
    }
    static const struct {
        const char *text;
        int w, h, named;
    } names[] = {{"4k", 3840, 2160, 1}, {"1080p", 1920, 1080, 1}, {"1440P", 2560, 1440, 1},
                 {"8K", 7680, 4320, 1}, {"480p", 854, 480, 1}, {"720p", 1280, 720, 1},
                 {"640x480", 640, 480, 0}, {"640:480", 640, 480, 0}};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        int size[2];
        bool named;
        assert_int_equal(upz_size_parse(size, &named, names[i].text, &err), 0);
        assert_true(size[0] == names[i].w && size[1] == names[i].h && named == names[i].named);
    }
    static const char *const wrong[] = {"", "4", "p", "1080px", "1080", "x480", "0x4", "640x", "5p", "-1080p",
                                        "640x480x2"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        int size[2];
        bool named;
        if (upz_size_parse(size, &named, wrong[i], &err) != UPREZ_ERR_USAGE) fail_msg("%s is taken", wrong[i]);
    }
}

/* n frames of `step` ticks, a keyframe each `gop`, B-frames: decoding order differs. */
static UpzIndex make_index(int n, int step, int gop)
{
    UpzIndex x = {0};
    assert_true(upz_grow(&x.items, &x.cap, (size_t)n, sizeof(*x.items), 1u << 24));
    for (int i = 0; i < n; i++) {
        int shown = i; /* pairs change places between keyframes */
        if (i % gop && i % 2 && i + 1 < n && (i + 1) % gop) shown = i + 1;
        else if (i % gop && !(i % 2) && i % gop > 1) shown = i - 1;
        x.items[x.n++] = (UpzIndexEntry){.pts = (int64_t)shown * step, .dts = (int64_t)(i - 1) * step,
                                         .duration = step, .key = i % gop == 0};
    }
    return x;
}

static UpzSourceInfo make_info(void)
{
    return (UpzSourceInfo){.url = "made", .time_base = {1, 15360}, .frame_rate = {30, 1},
                           .frames = -1, .width = 640, .height = 480, .pix_fmt = AV_PIX_FMT_YUV420P,
                           .color = {.matrix = 2, .primaries = 2, .transfer = 2}};
}

static void segments_follow_keyframes(void **state)
{
    (void)state;
    UpzSourceInfo info = make_info();
    UpzJobParams p;
    upz_job_params_init(&p);
    UpzSelection sel;
    UpzUnits u;
    UpzIndex x = make_index(1000, 512, 50);
    assert_true(upz_index_usable(&x, &info));
    assert_int_equal(upz_select(&sel, &p, &info, &x, &err), 0);
    assert_int_equal(sel.total, 1000);
    assert_int_equal(upz_units_plan(&u, &x, &sel, &err), 0);
    assert_int_equal(u.n, 7); /* 150 frames each: the first keyframe behind 120 */
    for (size_t i = 1; i < u.n; i++) {
        assert_int_equal(u.items[i].t0, (int64_t)i * 150 * 512);
        assert_int_equal(u.items[i - 1].t1, u.items[i].t0);
    }
    assert_true(u.items[0].t0 == INT64_MIN && u.items[6].t1 == INT64_MAX);
    upz_units_free(&u);

    /* a part of it */
    p.start = 10;
    p.duration = 10;
    assert_int_equal(upz_select(&sel, &p, &info, &x, &err), 0);
    assert_int_equal(sel.total, 300);
    assert_int_equal(sel.start, 153600);
    assert_int_equal(upz_units_plan(&u, &x, &sel, &err), 0);
    assert_int_equal(u.n, 2);
    assert_int_equal(u.items[0].t0, 153600);
    assert_int_equal(u.items[1].t1, 307200);
    upz_units_free(&u);
    p.start = 100;
    assert_int_equal(upz_select(&sel, &p, &info, &x, &err), UPREZ_ERR_USAGE);
    upz_index_free(&x);

    /* no keyframes for long: cut anyway */
    upz_job_params_init(&p);
    x = make_index(1000, 512, 5000);
    assert_int_equal(upz_select(&sel, &p, &info, &x, &err), 0);
    assert_int_equal(upz_units_plan(&u, &x, &sel, &err), 0);
    assert_int_equal(u.n, 5);
    assert_int_equal(u.items[1].t0, 240 * 512);
    upz_units_free(&u);
    /* times that start over are not what the reader will say */
    for (size_t i = 500; i < x.n; i++) x.items[i].pts -= 400000;
    assert_false(upz_index_usable(&x, &info));
    upz_index_free(&x);
    assert_int_equal(upz_units_plan(&u, NULL, &sel, &err), 0);
    assert_true(u.by_count);
}

static void flat(UprezPicture **p, int depth, int value)
{
    UprezFormat f;
    assert_int_equal(uprez_format_from_name(&f, depth == 8 ? "yuv420p" : "yuv420p10le"), 0);
    assert_int_equal(uprez_picture_alloc(p, &f, 64, 48, &err), 0);
    for (int y = 0; y < 48; y++)
        for (int x = 0; x < 64; x++) {
            uint8_t *row = (uint8_t *)(*p)->plane[0] + y * (*p)->stride[0];
            int v = value < 0 ? (x * 3 + 16) << (depth - 8) : value;
            if (depth == 8) row[x] = (uint8_t)v;
            else ((uint16_t *)(void *)row)[x] = (uint16_t)v;
        }
}

static void lost_pictures_are_seen(void **state)
{
    (void)state;
    for (int depth = 8; depth <= 10; depth += 2) {
        UprezPicture *ramp, *black, *gray;
        UpzLook a, b, c;
        flat(&ramp, depth, -1);
        flat(&black, depth, 16 << (depth - 8));
        flat(&gray, depth, 128 << (depth - 8));
        upz_look(&a, ramp);
        upz_look(&b, black);
        upz_look(&c, gray);
        assert_true(upz_look_plausible(&a, &a));
        assert_false(upz_look_plausible(&a, &b));
        assert_false(upz_look_plausible(&a, &c));
        assert_true(upz_look_plausible(&b, &b)); /* black from black */
        /* a lone bright speck may go */
        uint8_t *row = (uint8_t *)black->plane[0];
        if (depth == 8) row[1] = 200;
        upz_look(&a, black);
        assert_true(upz_look_plausible(&a, &b));
        uprez_picture_unref(&ramp);
        uprez_picture_unref(&black);
        uprez_picture_unref(&gray);
    }
}

static void containers(void **state)
{
    (void)state;
    static const struct {
        const char *name, *container;
    } t[] = {{"a.mp4", "mp4"}, {"A.MKV", "matroska"}, {"a.mov", "mov"}, {"a.webm", "webm"},
             {"a.m4v", "mp4"}, {"a.avi", "avi"}, {"a.ts", "mpegts"}, {"-", "yuv4mpegpipe"},
             {"a.y4m", "yuv4mpegpipe"}, {"a.h264", "h264"}, {"a.png", NULL}, {"a", NULL},
             {"a.nonsense", NULL}, {"a.mp3", NULL}, {"a.wav", NULL}, {"dir.mp4/a", NULL}};
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        const char *c;
        int r = upz_container_find(&c, t[i].name, &err);
        assert_int_equal(r, t[i].container ? 0 : UPREZ_ERR_USAGE);
        if (t[i].container) assert_string_equal(c, t[i].container);
    }
}

static char notes[4096];
static void note(void *cookie, int level, const char *line)
{
    (void)cookie;
    (void)level;
    size_t n = strlen(notes);
    snprintf(notes + n, sizeof(notes) - n, "%s\n", line);
}

static void encoder_plans(void **state)
{
    (void)state;
    UprezContextParams cp = {.size = sizeof(cp), .log = note};
    UprezContext *ctx;
    assert_int_equal(uprez_context_create(&ctx, &cp, &err), 0);
    static const struct {
        const char *out, *encoder, *src, *want_encoder, *want_fmt, *say;
        int w, h, want_w, want_h;
    } t[] = {
        {"a.mp4", NULL, "yuv420p", "libx264", "yuv420p", NULL, 640, 480, 640, 480},
        {"a.mp4", NULL, "yuv444p", "libx264", "yuv420p", "--pix-fmt", 640, 480, 640, 480},
        {"a.mp4", NULL, "yuv420p10le", "libx265", "yuv420p10le", NULL, 640, 480, 640, 480},
        {"a.mkv", NULL, "yuv422p12le", "libx265", "yuv420p12le", NULL, 640, 480, 640, 480},
        {"a.mp4", NULL, "yuv420p", "libx264", "yuv420p", "become", 641, 479, 642, 480},
        {"a.mp4", NULL, "yuv420p", "libx264", "yuv420p", "browsers", 5120, 2880, 5120, 2880},
        {"a.webm", NULL, "yuv420p", "libvpx-vp9", "yuv420p", NULL, 640, 480, 640, 480},
        {"a.mkv", "ffv1", "yuv444p", "ffv1", "yuv444p", NULL, 641, 479, 641, 479},
        {"a.mov", "prores_ks", "yuv422p10le", "prores_ks", "yuv422p10le", NULL, 640, 480, 640, 480},
        {"a.mkv", "hevc", "yuv420p", "libx265", "yuv420p", NULL, 640, 480, 640, 480},
        {"a.avi", NULL, "yuv420p", "libx264", "yuv420p", NULL, 640, 480, 640, 480},
        {"a.ts", NULL, "yuv420p", "libx264", "yuv420p", NULL, 640, 480, 640, 480},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        UpzSourceInfo info = make_info();
        info.pix_fmt = av_get_pix_fmt(t[i].src);
        assert_int_equal(uprez_format_from_name(&info.format, t[i].src), 0);
        UpzEncoderParams ep = {.encoder = t[i].encoder, .crf = -1};
        if (!avcodec_find_encoder_by_name(t[i].want_encoder)) continue;
        UpzEncoderPlan p;
        notes[0] = 0;
        int r = upz_encoder_plan(&p, ctx, &ep, &info, NULL, NULL, t[i].out, t[i].w, t[i].h,
                                 (AVRational){1, 1}, &err);
        if (r < 0) fail_msg("row %zu: %s", i, err.text);
        assert_string_equal(p.encoder, t[i].want_encoder);
        assert_string_equal(av_get_pix_fmt_name(p.pix_fmt), t[i].want_fmt);
        assert_int_equal(p.width, t[i].want_w);
        assert_int_equal(p.height, t[i].want_h);
        if (t[i].say && !strstr(notes, t[i].say)) fail_msg("row %zu says %s", i, notes);
    }
    uprez_context_destroy(&ctx);
}

/* As coarse as is exact: 30 frames a second in ticks of 1/15360 are counted in 1/30. */
static void codec_time(void **state)
{
    (void)state;
    UpzSourceInfo info = make_info();
    assert_int_equal(uprez_format_from_name(&info.format, "yuv420p"), 0);
    UpzEncoderParams ep = {.crf = -1};
    UpzEncoderPlan p;
    UpzIndex x = make_index(40, 512, 10);
    for (size_t i = 0; i < x.n; i++) x.items[i].pts += 77;
    assert_int_equal(upz_encoder_plan(&p, NULL, &ep, &info, &x, NULL, "a.mp4", 64, 64,
                                      (AVRational){0, 1}, &err), 0);
    assert_int_equal(p.codec_base.num, 1);
    assert_int_equal(p.codec_base.den, 30);
    assert_int_equal(p.origin, 77);
    x.items[7].pts += 3; /* one frame out of step: the source's own ticks */
    assert_int_equal(upz_encoder_plan(&p, NULL, &ep, &info, &x, NULL, "a.mp4", 64, 64,
                                      (AVRational){0, 1}, &err), 0);
    assert_int_equal(p.codec_base.den, 15360);
    upz_index_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes), cmocka_unit_test(fits),          cmocka_unit_test(segments_follow_keyframes),
        cmocka_unit_test(lost_pictures_are_seen), cmocka_unit_test(containers),
        cmocka_unit_test(encoder_plans),  cmocka_unit_test(codec_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
