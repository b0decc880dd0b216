/* The spool of a segment: pictures come back as they went in, and what is torn or changed is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job/spool.h"
#include "picture/format.h"

static char path[] = "/tmp/uprez-spool-XXXXXX";
static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static uint8_t value(int64_t pts, int plane, int y, size_t x)
{
    return (uint8_t)(pts * 31 + plane * 7 + y * 3 + (int)x * 5);
}

static UprezPicture *make(const char *format, int w, int h, int64_t pts)
{
    UprezFormat f;
    UprezPicture *p = NULL;
    assert_int_equal(uprez_format_from_name(&f, format), 0);
    assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
    for (int i = 0; i < f.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&f, i, h); y++)
            for (size_t x = 0; x < upz_plane_row_bytes(&f, i, w); x++)
                ((uint8_t *)p->plane[i])[y * p->stride[i] + (ptrdiff_t)x] = value(pts, i, y, x);
    p->pts = pts;
    p->duration = pts + 3;
    p->color = (UprezColor){.matrix = 9, .primaries = 8, .transfer = 7, .range = 1, .siting = 2};
    return p;
}

static bool is_whole(const UprezPicture *p, int64_t pts)
{
    bool same = p->pts == pts && p->duration == pts + 3 && p->color.matrix == 9 && p->color.siting == 2 &&
                p->color.range == 1;
    for (int i = 0; i < p->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&p->format, i, p->height); y++)
            for (size_t x = 0; x < upz_plane_row_bytes(&p->format, i, p->width); x++)
                same &= ((uint8_t *)p->plane[i])[y * p->stride[i] + (ptrdiff_t)x] == value(pts, i, y, x);
    return same;
}

static UpzSpool *open_spool(const UprezPicture *like, const char *plan, bool create)
{
    UpzSpool *s = NULL;
    assert_int_equal(upz_spool_open(&s, path, plan, like, create, NULL), 0);
    return s;
}

/* Whole pictures of times 0, 10, … that can be read; a wrong one never. */
static int good(const UprezPicture *like, int n)
{
    UpzSpool *s = open_spool(like, id, false);
    int found = 0;
    for (int i = 0; s && i < n; i++) {
        UprezPicture *p = NULL;
        assert_int_equal(upz_spool_read(s, i * 10, &p, NULL), 0);
        if (!p) continue;
        assert_true(is_whole(p, i * 10));
        found++;
        uprez_picture_unref(&p);
    }
    upz_spool_close(&s);
    return found;
}

static void pictures_come_back(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        int w, h;
    } shapes[] = {{"yuv420p", 34, 18}, {"yuv420p10le", 70, 2}, {"nv12", 66, 30}, {"gbrp16le", 33, 17},
                  {"rgb24", 21, 5}, {"yuva444p", 19, 3}, {"gray", 1, 1}};
    for (size_t k = 0; k < sizeof(shapes) / sizeof(*shapes); k++) {
        unlink(path);
        UprezPicture *p[4];
        for (int i = 0; i < 4; i++) p[i] = make(shapes[k].format, shapes[k].w, shapes[k].h, i * 10);
        assert_null(open_spool(p[0], id, false)); /* none there, none made */
        UpzSpool *s = open_spool(p[0], id, true);
        for (int i = 3; i >= 0; i--) assert_int_equal(upz_spool_add(s, p[i], 0, NULL), 0);
        assert_int_equal(upz_spool_count(s), 4);
        upz_spool_close(&s);
        assert_int_equal(good(p[0], 5), 4);
        for (int i = 0; i < 4; i++) uprez_picture_unref(&p[i]);
    }
}

/* Cut off anywhere, or one byte changed anywhere: the other pictures stay, and more can be added. */
static void harm_is_seen(void **state)
{
    (void)state;
    struct stat st;
    unlink(path);
    UprezPicture *p[3];
    for (int i = 0; i < 3; i++) p[i] = make("yuv420p", 10, 6, i * 10);
    UpzSpool *s = open_spool(p[0], id, true);
    for (int i = 0; i < 3; i++) assert_int_equal(upz_spool_add(s, p[i], 0, NULL), 0);
    upz_spool_close(&s);
    assert_int_equal(stat(path, &st), 0);
    size_t n = (size_t)st.st_size;
    uint8_t *whole = malloc(n);
    FILE *f = fopen(path, "rb");
    assert_int_equal(fread(whole, 1, n, f), n);
    fclose(f);
    for (size_t at = 0; at < n; at++) {
        for (int cut = 0; cut < 2; cut++) {
            f = fopen(path, "wb");
            whole[at] ^= 0x55;
            fwrite(whole, 1, cut ? at : n, f);
            whole[at] ^= 0x55;
            fclose(f);
            int left = good(p[0], 3);
            assert_in_range(left, 0, 2);
            s = open_spool(p[0], id, true);
            assert_int_equal(upz_spool_add(s, p[2], 0, NULL), 0);
            assert_true(upz_spool_count(s) <= 3);
            upz_spool_close(&s);
            left = good(p[0], 3);
            assert_in_range(left, 1, 3);
        }
    }
    free(whole);
    /* another plan, another shape */
    s = open_spool(p[0], id, true);
    upz_spool_close(&s);
    assert_null(open_spool(p[0], "another", false));
    assert_int_not_equal(stat(path, &st), 0);
    s = open_spool(p[0], id, true);
    upz_spool_close(&s);
    UprezPicture *wide = make("yuv420p", 12, 6, 0);
    assert_null(open_spool(wide, id, false));
    uprez_picture_unref(&wide);
    for (int i = 0; i < 3; i++) uprez_picture_unref(&p[i]);
}

static void no_room_changes_nothing(void **state)
{
    (void)state;
    unlink(path);
    UprezPicture *p = make("gray", 8, 8, 0), *q = make("gray", 8, 8, 10);
    UpzSpool *s = open_spool(p, id, true);
    assert_int_equal(upz_spool_add(s, p, 0, NULL), 0);
    UprezError err = {0};
    assert_int_equal(upz_spool_add(s, q, INT64_MAX / 2, &err), UPREZ_ERR_OUTPUT);
    assert_int_equal(upz_spool_count(s), 1);
    upz_spool_close(&s);
    assert_int_equal(good(p, 2), 1);
    uprez_picture_unref(&p);
    uprez_picture_unref(&q);
    unlink(path);
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd >= 0) close(fd);
    const struct CMUnitTest tests[] = {cmocka_unit_test(pictures_come_back), cmocka_unit_test(harm_is_seen),
                                       cmocka_unit_test(no_room_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
