/* One clock for all streams, from packets made by hand: jumps of the clock in every direction, with
 * the sound ahead of the picture or behind it, and what is no jump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <libavcodec/avcodec.h>

#include "video/timeline.h"


static AVStream video = {.time_base = {1, 1000}}, sound = {.time_base = {1, 1000}};
static AVCodecParameters video_par = {.codec_type = AVMEDIA_TYPE_VIDEO};
static AVCodecParameters sound_par = {.codec_type = AVMEDIA_TYPE_AUDIO};

/* One packet through the clock; returns its mapped time. */
static int64_t put(UpzClock *c, int stream, int64_t ms, int length, int *epoch)
{
    AVPacket *p = av_packet_alloc();
    assert_non_null(p);
    p->stream_index = stream;
    p->pts = p->dts = ms;
    p->duration = length;
    video.codecpar = &video_par;
    sound.codecpar = &sound_par;
    int e = upz_clock_map(c, p, stream ? &sound : &video, NULL);
    assert_true(e >= 0);
    if (epoch) *epoch = e;
    int64_t t = p->dts;
    av_packet_free(&p);
    return t;
}

/* Two recordings of 4 s: picture every 40 ms, sound every 20 ms, `ahead` ms before it in the file. */
static void two_recordings(UpzClock *c, int64_t at0, int64_t at1, int ahead, bool check)
{
    int64_t start[2] = {at0, at1};
    int64_t last_v = INT64_MIN, last_a = INT64_MIN;
    int a = 0, n = 2 * 200;
    for (int v = 0; v <= 200; v++) {
        for (; a < n && (a * 20 < v * 40 + ahead || v == 200); a++) {
            int64_t t = put(c, 1, start[a / 200] + a % 200 * 20, 20, NULL);
            if (check && a) assert_in_range(t - last_a, 19, 21);
            last_a = t;
        }
        if (v == 200) break;
        int64_t t = put(c, 0, start[v / 100] + v % 100 * 40, 40, NULL);
        if (v) assert_in_range(t - last_v, 39, 41);
        last_v = t;
    }
}

static void clocks_begin_anew(void **state)
{
    (void)state;
    static const struct {
        int64_t at0, at1;
    } t[] = {{1400, 1400}, {1400, 0}, {5000000, 1400}, {1400, 5000000}, {1400, 30000}, {0, 2500}};
    static const int ahead[] = {-700, -20, 0, 20, 700};
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
        for (size_t k = 0; k < sizeof(ahead) / sizeof(ahead[0]); k++) {
            UpzTimeline line;
            UpzClock found, known;
            assert_true(upz_timeline_init(&line, 0));
            upz_clock_start(&found, &line, true, true);
            two_recordings(&found, t[i].at0, t[i].at1, ahead[k], false);
            if (line.n != 2) fail_msg("row %zu, sound %d ms ahead: %zu epochs", i, ahead[k], line.n);
            assert_int_equal(line.epochs[1].packet, 100);
            upz_clock_start(&known, &line, false, false);
            two_recordings(&known, t[i].at0, t[i].at1, ahead[k], true);
            upz_clock_free(&found);
            upz_clock_free(&known);
            upz_timeline_free(&line);
        }
}

/* A hole in the picture alone, one in all streams that is short, and uneven interleaving. */
static void pauses_stay(void **state)
{
    (void)state;
    UpzTimeline line;
    UpzClock c;
    int e;
    assert_true(upz_timeline_init(&line, 0));
    upz_clock_start(&c, &line, true, true);
    assert_int_equal(put(&c, 0, 0, 40, &e), 0);
    for (int a = 0; a < 1000; a++) put(&c, 1, a * 20, 20, &e);
    assert_int_equal(put(&c, 0, 19000, 40, &e), 19000);
    assert_int_equal(put(&c, 0, 27000, 40, &e), 27000);
    assert_int_equal(put(&c, 1, 26000, 20, &e), 26000);
    assert_int_equal(put(&c, 0, 26500, 40, &e), 26500); /* half a second back is no new clock */
    assert_int_equal(line.n, 1);
    upz_clock_free(&c);
    upz_timeline_free(&line);
}

/* The sound's time alone goes back: it is laid end to end, until a hole takes that up. */
static void sound_alone_goes_back(void **state)
{
    (void)state;
    UpzTimeline line;
    UpzClock c;
    assert_true(upz_timeline_init(&line, 0));
    upz_clock_start(&c, &line, false, false);
    int64_t last = 0;
    for (int i = 0; i < 400; i++) {
        put(&c, 0, i * 20, 20, NULL);
        int64_t t = put(&c, 1, (i < 200 ? i : i - 150) * 20, 20, NULL);
        if (i) assert_in_range(t - last, 19, 21);
        last = t;
    }
    put(&c, 0, 8000, 20, NULL);
    assert_int_equal(put(&c, 1, 8000, 20, NULL), 8000);
    assert_int_equal(line.n, 1);
    upz_clock_free(&c);
    upz_timeline_free(&line);
}

/* Sound whose packets all have one time, and then go on. */
static void sound_stands_still(void **state)
{
    (void)state;
    UpzTimeline line;
    UpzClock c;
    assert_true(upz_timeline_init(&line, 0));
    upz_clock_start(&c, &line, false, false);
    int64_t last = 0;
    for (int i = 0; i < 400; i++) {
        put(&c, 0, i * 20, 20, NULL);
        int64_t t = put(&c, 1, (i >= 100 && i < 250 ? 100 : i) * 20, 20, NULL);
        if (i) assert_in_range(t - last, 19, 21);
        last = t;
    }
    assert_int_equal(last, 399 * 20);
    /* packets shorter than a tick share it */
    for (int i = 0; i < 100; i++) assert_int_equal(put(&c, 2, i / 3, 1, NULL), i / 3);
    upz_clock_free(&c);
    upz_timeline_free(&line);
}

/* A stream that begins in the second recording belongs to it. */
static void late_streams_follow(void **state)
{
    (void)state;
    UpzTimeline line;
    UpzClock c;
    int e;
    assert_true(upz_timeline_init(&line, 0));
    upz_clock_start(&c, &line, true, true);
    for (int i = 0; i < 100; i++) put(&c, 0, 1000 + i * 40, 40, &e);
    for (int i = 0; i < 50; i++) put(&c, 0, 1000 + i * 40, 40, &e);
    assert_int_equal(e, 1);
    assert_int_equal(put(&c, 1, 2900, 20, &e), 2900 + 4000);
    assert_int_equal(e, 1);
    upz_clock_free(&c);
    upz_timeline_free(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_begin_anew),
        cmocka_unit_test(pauses_stay),
        cmocka_unit_test(sound_alone_goes_back),
        cmocka_unit_test(sound_stands_still),
        cmocka_unit_test(late_streams_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
