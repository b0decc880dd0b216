/* Still pictures: what is written comes back, ffmpeg and exiftool agree, nothing crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "picture/format.h"
#include "video/still.h"
#include "skip.h"

static UprezError err;
static char dir[64];

#define OK(call) \
    do { \
        err.text[0] = 0; \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, err.text); \
    } while (0)

static const char *in_dir(const char *name)
{
    static char path[8][300];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

/* The first line a command prints, "" if it cannot be run. */
static const char *ask(const char *command)
{
    static char line[400];
    line[0] = 0;
    FILE *f = popen(command, "r");
    if (f) {
        if (!fgets(line, sizeof(line), f)) line[0] = 0;
        pclose(f);
        line[strcspn(line, "\n")] = 0;
    }
    return line;
}

/* Raw samples as ffmpeg decodes them; the caller frees. */
static uint8_t *ffmpeg_raw(const char *path, const char *pix_fmt, size_t *n)
{
    char command[700];
    snprintf(command, sizeof(command), "ffmpeg -v error -noautorotate -i '%s' -f rawvideo -pix_fmt %s -",
             path, pix_fmt);
    size_t cap = 1 << 24;
    uint8_t *d = malloc(cap);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    *n = fread(d, 1, cap, f);
    pclose(f);
    return d;
}

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static UprezPicture *make(const char *format, int w, int h, int noise)
{
    UprezFormat f;
    UprezPicture *p;
    uint32_t seed = (uint32_t)(w * 31 + h);
    OK(uprez_format_from_name(&f, format));
    OK(uprez_picture_alloc(&p, &f, w, h, &err));
    p->color = (UprezColor){2, 2, 2, UPREZ_RANGE_FULL, 0};
    for (int i = 0; i < f.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&f, i, h); y++) {
            uint8_t *row = (uint8_t *)p->plane[i] + y * p->stride[i];
            size_t n = upz_plane_row_bytes(&f, i, w);
            for (size_t x = 0; x < n; x++) {
                double v = 128 + 90 * sin(x * 0.02 + i) * cos(y * 0.05);
                row[x] = noise ? (uint8_t)next(&seed) : (uint8_t)v;
            }
        }
    return p;
}

static void assert_same(const UprezPicture *a, const UprezPicture *b)
{
    assert_true(upz_format_equal(&a->format, &b->format));
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            assert_memory_equal((uint8_t *)a->plane[i] + y * a->stride[i],
                                (uint8_t *)b->plane[i] + y * b->stride[i],
                                upz_plane_row_bytes(&a->format, i, a->width));
}

static double psnr(const UprezPicture *a, const UprezPicture *b)
{
    double sum = 0, n = 0;
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++)
            for (size_t x = 0; x < upz_plane_row_bytes(&a->format, i, a->width); x++) {
                double d = ((uint8_t *)a->plane[i] + y * a->stride[i])[x] -
                           ((uint8_t *)b->plane[i] + y * b->stride[i])[x];
                sum += d * d;
                n++;
            }
    return sum == 0 ? 99 : 10 * log10(255.0 * 255.0 * n / sum);
}

static void lossless(void **state)
{
    (void)state;
    static const char *const formats[] = {"gray", "gray16le", "ya8", "ya16le",
                                          "rgb24", "rgb48le", "rgba", "rgba64le"};
    static const char *const files[] = {"a.png", "a.tif", "b.TIFF"};
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 8; i++) {
            UprezPicture *p = make(formats[i], 37, 21, 1);
            const char *path = in_dir(files[k]);
            UprezFormat want;
            UprezColor color;
            OK(upz_still_format(&want, &color, p, path, &err));
            assert_true(upz_format_equal(&want, &p->format));
            OK(upz_still_write(path, p, NULL, 0, &err));
            UpzFrame *f;
            UpzStillInfo info;
            OK(upz_still_read(&f, &info, NULL, path, NULL, &err));
            assert_int_equal(info.orientation, 1);
            assert_null(info.icc);
            assert_false(f->damaged);
            OK(upz_frame_picture(f, &err));
            assert_same(p, f->picture);
            /* ffmpeg's samples */
            size_t n, row = upz_plane_row_bytes(&p->format, 0, p->width);
            uint8_t *raw = ffmpeg_raw(path, formats[i], &n);
            assert_int_equal(n, row * 21);
            for (int y = 0; y < 21; y++)
                assert_memory_equal(raw + y * row, (uint8_t *)p->plane[0] + y * p->stride[0], row);
            free(raw);
            upz_frame_free(&f);
            upz_still_info_free(&info);
            uprez_picture_unref(&p);
            assert_true(upz_still_probe(path, false, NULL));
        }
    assert_false(upz_exists(in_dir("a.png.part")));
}

static void jpeg_and_webp(void **state)
{
    (void)state;
    static const struct {
        const char *file, *in, *out;
        int w, h;
    } t[] = {
        {"g.jpg", "gray", "gray", 33, 17},         {"0.jpg", "yuv420p", "yuv420p", 33, 17},
        {"2.jpeg", "yuv422p", "yuv422p", 35, 18},  {"4.jpg", "yuv444p", "yuv444p", 16, 9},
        {"l.jpg", "yuv420p", "yuv420p", 400, 300}, {"1.jpg", "gray", "gray", 1, 1},
        {"r.jpg", "rgb24", NULL, 40, 30},          {"w.webp", "rgb24", NULL, 67, 41},
        {"a.webp", "rgba", NULL, 67, 41},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        UprezPicture *p = make(t[i].in, t[i].w, t[i].h, 0);
        const char *path = in_dir(t[i].file);
        OK(upz_still_write(path, p, NULL, 0, &err));
        UpzFrame *f;
        OK(upz_still_read(&f, NULL, NULL, path, NULL, &err));
        assert_int_equal(f->av->width, t[i].w);
        assert_int_equal(f->av->height, t[i].h);
        OK(upz_frame_picture(f, &err));
        if (t[i].out) {
            UprezFormat want;
            OK(uprez_format_from_name(&want, t[i].out));
            assert_true(upz_format_equal(&want, &f->picture->format));
            double db = psnr(p, f->picture);
            if (db < 40) fail_msg("%s: %.1f dB", t[i].file, db);
            if (want.model == UPREZ_YUV) {
                assert_int_equal(f->picture->color.range, UPREZ_RANGE_FULL);
                assert_int_equal(f->picture->color.siting, UPREZ_SITING_CENTER);
            }
        }
        assert_int_equal(f->picture->format.alpha, p->format.alpha);
        if (p->format.alpha) { /* WebP keeps alpha without loss, straight */
            size_t n;
            uint8_t *raw = ffmpeg_raw(path, "rgba", &n);
            for (int y = 0; y < t[i].h; y++)
                for (int x = 0; x < t[i].w; x++)
                    assert_int_equal(raw[(y * t[i].w + x) * 4 + 3],
                                     ((uint8_t *)p->plane[0] + y * p->stride[0])[x * 4 + 3]);
            free(raw);
        }
        upz_frame_free(&f);
        uprez_picture_unref(&p);
    }
}

/* A profile's header is all that readers look at here. */
static uint8_t *profile(size_t n)
{
    uint8_t *d = calloc(1, n);
    uint32_t seed = 5;
    for (size_t i = 132; i < n; i++) d[i] = (uint8_t)next(&seed);
    for (int i = 0; i < 4; i++) d[i] = (uint8_t)(n >> (24 - 8 * i));
    memcpy(d + 8, "\x02\x40\0\0mntrRGB XYZ ", 16);
    memcpy(d + 36, "acsp", 4);
    memset(d + 128, 0, 4);
    return d;
}

/* Big-endian EXIF: Make, orientation 6, ExifIFD with the pixel dimensions, a thumbnail directory. */
static const uint8_t exif[] = {
    'M', 'M', 0, 42, 0, 0, 0, 8,
    0, 3,
    1, 0x0f, 0, 2, 0, 0, 0, 4, 'u', 'p', 'r', 0,
    1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0,
    0x87, 0x69, 0, 4, 0, 0, 0, 1, 0, 0, 0, 50,
    0, 0, 0, 80,
    0, 2,
    0xa0, 2, 0, 4, 0, 0, 0, 1, 0, 0, 0, 11,
    0xa0, 3, 0, 3, 0, 0, 0, 1, 0, 7, 0, 0,
    0, 0, 0, 0,
    0, 0, 0, 0, 0, 0,
};

static void metadata(void **state)
{
    (void)state;
    static const char *const files[] = {"m.png", "m.jpg", "m.webp", "m.tif"};
    static const char *const formats[] = {"rgb48le", "yuv420p", "rgba", "rgb24"};
    bool tool = !strncmp(ask("exiftool -ver 2>/dev/null"), "1", 1);
    for (int k = 0; k < 4; k++)
        for (int big = 0; big < 2; big++) {
            size_t icc_size = big ? 200001 : 133;
            uint8_t *icc = profile(icc_size);
            UpzStillInfo info = {.orientation = 6, .icc = icc, .icc_size = icc_size};
            if (!big) {
                info.exif = (void *)exif;
                info.exif_size = sizeof(exif);
            }
            UprezPicture *p = make(formats[k], 50, 34, 0);
            const char *path = in_dir(files[k]);
            OK(upz_still_write(path, p, &info, 0, &err));
            UpzFrame *f;
            UpzStillInfo back;
            OK(upz_still_read(&f, &back, NULL, path, NULL, &err));
            assert_int_equal(back.orientation, 6);
            assert_int_equal(back.icc_size, icc_size);
            assert_memory_equal(back.icc, icc, icc_size);
            if (!big && k < 3) {
                const uint8_t *e = back.exif;
                assert_int_equal(back.exif_size, sizeof(exif));
                assert_int_equal(e[50 + 2 + 11], 50);      /* the new width and height */
                assert_int_equal(e[50 + 2 + 12 + 9], 34);
                assert_int_equal(e[49], 0);                /* no thumbnail any more */
            }
            if (tool) {
                char c[500];
                snprintf(c, sizeof(c), "exiftool -s3 -n -Orientation '%s' 2>/dev/null", path);
                assert_string_equal(ask(c), "6");
                snprintf(c, sizeof(c), "exiftool -b -ICC_Profile '%s' 2>/dev/null | wc -c", path);
                assert_int_equal(strtol(ask(c), NULL, 10), (long)icc_size);
                snprintf(c, sizeof(c), "exiftool -s3 -warning -error '%s'", path);
                const char *warning = ask(c);
                /* the test's profile has no tags worth the name */
                if (warning[0] && !strstr(warning, "ICC_Profile") && !strstr(warning, "ICC"))
                    fail_msg("%s: exiftool says: %s", files[k], warning);
                if (!big && k < 3) {
                    snprintf(c, sizeof(c), "exiftool -s3 -Make '%s' 2>/dev/null", path);
                    assert_string_equal(ask(c), "upr");
                    snprintf(c, sizeof(c), "exiftool -s3 -ExifImageWidth '%s' 2>/dev/null", path);
                    assert_string_equal(ask(c), "50");
                }
            }
            upz_still_info_free(&back);
            upz_frame_free(&f);
            uprez_picture_unref(&p);
            free(icc);
        }
    if (!tool) print_message("exiftool is not here: tags were read back by uprez alone\n");
}

/* Every truncation of a small file: an error, or a frame; a cut one is marked. */
static void cut_off(void **state)
{
    (void)state;
    static const char *const files[] = {"c.png", "c.jpg", "c.webp", "c.tif"};
    static const char *const formats[] = {"rgba", "gray", "rgba", "rgb24"};
    uint8_t *icc = profile(200);
    UpzStillInfo info = {.orientation = 8, .icc = icc, .icc_size = 200};
    for (int k = 0; k < 4; k++) {
        UprezPicture *p = make(formats[k], 24, 18, 0);
        const char *path = in_dir(files[k]);
        OK(upz_still_write(path, p, &info, 0, &err));
        uprez_picture_unref(&p);
        FILE *in = fopen(path, "rb");
        uint8_t data[8192];
        size_t n = fread(data, 1, sizeof(data), in);
        fclose(in);
        assert_in_range(n, 100, sizeof(data) - 1);
        int whole = 0, marked = 0;
        for (size_t cut = 0; cut < n; cut += 1 + n / 60) {
            const char *part = in_dir("cut");
            FILE *out = fopen(part, "wb");
            fwrite(data, 1, cut, out);
            fclose(out);
            UpzFrame *f;
            UpzStillInfo back;
            err.text[0] = 0;
            int r = upz_still_read(&f, &back, NULL, part, NULL, &err);
            if (r < 0) {
                assert_int_equal(r, UPREZ_ERR_INPUT);
                assert_true(err.text[0]);
            } else {
                whole += !f->damaged;
                marked += f->damaged;
            }
            upz_frame_free(&f);
            upz_still_info_free(&back);
        }
        if (k < 3) assert_int_equal(whole, 0);
        print_message("%s: of its truncations %d gave a damaged picture, %d a whole one\n",
                      files[k], marked, whole);
        /* bits flipped: any outcome but a crash */
        uint32_t seed = 1;
        for (int i = 0; i < 60; i++) {
            uint8_t bad[8192];
            memcpy(bad, data, n);
            for (int j = 0; j < 4; j++) bad[next(&seed) % n] ^= (uint8_t)(1 << (next(&seed) & 7));
            const char *part = in_dir("cut");
            FILE *out = fopen(part, "wb");
            fwrite(bad, 1, n, out);
            fclose(out);
            UpzFrame *f;
            UpzStillInfo back;
            if (upz_still_read(&f, &back, NULL, part, NULL, &err) >= 0)
                (void)upz_frame_picture(f, &err);
            upz_frame_free(&f);
            upz_still_info_free(&back);
        }
    }
    free(icc);
}

static void refusals(void **state)
{
    (void)state;
    UprezPicture *p = make("rgba", 8, 8, 0);
    UpzFrame *f;
    UprezFormat want;
    UprezColor color;
    assert_int_equal(upz_still_write("/nonexistent/x.png", p, NULL, 0, &err), UPREZ_ERR_OUTPUT);
    assert_int_equal(upz_still_write(in_dir("x.jpg"), p, NULL, 0, &err), UPREZ_ERR_OUTPUT);
    assert_int_equal(upz_still_write(in_dir("x.bmp"), p, NULL, 0, &err), UPREZ_ERR_USAGE);
    assert_int_equal(upz_still_format(&want, &color, p, "x.gif", &err), UPREZ_ERR_USAGE);
    OK(upz_still_format(&want, &color, p, "x.jpg", &err));
    assert_false(want.alpha);
    assert_int_equal(upz_still_read(&f, NULL, NULL, in_dir("none.png"), NULL, &err), UPREZ_ERR_INPUT);
    assert_null(f);
    assert_true(upz_still_can_write("A.PNG"));
    assert_false(upz_still_can_write("a.mp4"));
    assert_false(upz_still_probe(dir, false, NULL));
    /* a name with a pattern in it is a name */
    OK(upz_still_write(in_dir("shot%03d.png"), p, NULL, 0, &err));
    OK(upz_still_read(&f, NULL, NULL, in_dir("shot%03d.png"), NULL, &err));
    upz_frame_free(&f);
    uprez_picture_unref(&p);
}

static void real_pictures(void **state)
{
    (void)state;
    static const struct {
        const char *file, *raw;
        int w, h;
        const char *out;
    } t[] = {
        {"tree_alpha_16bit.png", "rgba64le", 342, 256, "rgba64le"},
        {"children-alpha.png", "rgba", 566, 350, "rgba"},
        {"00017_gray.png", "gray", 500, 351, "gray"},
        {"wolf_gray.jpg", "gray", 236, 236, "gray"},
        {"0014.jpg", "yuvj420p", 179, 179, NULL},
        {"lq_comic.png", "rgb24", 60, 90, "rgb24"},
    };
    const char *shared = getenv("SHARED");
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        char path[500];
        snprintf(path, sizeof(path), "%s/media/images/realworld/%s", shared ? shared : "../shared",
                 t[i].file);
        if (!upz_exists(path)) {
            SKIP_BECAUSE("%s is not here", path);
        }
        UpzFrame *f;
        UpzStillInfo info;
        assert_true(upz_still_probe(path, false, NULL));
        OK(upz_still_read(&f, &info, NULL, path, NULL, &err));
        OK(upz_frame_picture(f, &err));
        const UprezPicture *p = f->picture;
        assert_int_equal(p->width, t[i].w);
        assert_int_equal(p->height, t[i].h);
        size_t n, at = 0;
        uint8_t *raw = ffmpeg_raw(path, t[i].raw, &n);
        for (int k = 0; k < p->format.n_plane; k++)
            for (int y = 0; y < upz_plane_height(&p->format, k, t[i].h); y++) {
                size_t row = upz_plane_row_bytes(&p->format, k, t[i].w);
                assert_true(at + row <= n);
                assert_memory_equal(raw + at, (uint8_t *)p->plane[k] + y * p->stride[k], row);
                at += row;
            }
        assert_int_equal(at, n);
        free(raw);
        if (t[i].out) {
            UprezFormat want, name;
            UprezColor color;
            OK(upz_still_format(&want, &color, p, "o.png", &err));
            OK(uprez_format_from_name(&name, t[i].out));
            assert_true(upz_format_equal(&want, &name));
            OK(upz_still_write(in_dir("real.png"), p, &info, 0, &err));
        }
        upz_still_info_free(&info);
        upz_frame_free(&f);
    }
}

/* tests/data/seeds/still_meta: 16x16, written by ffmpeg 5.1, orientation 6 put in by exiftool 12.57. */
static void seeds(void **state)
{
    (void)state;
    static const char *const files[] = {"a.png", "b.jpg", "c.webp", "d.tif", "e.webp"};
    const char *root = getenv("SOURCE_ROOT");
    for (int i = 0; i < 5; i++) {
        char path[600];
        snprintf(path, sizeof(path), "%s/tests/data/seeds/still_meta/%s", root ? root : ".",
                 files[i]);
        UpzFrame *f;
        UpzStillInfo info;
        OK(upz_still_read(&f, &info, NULL, path, NULL, &err));
        assert_int_equal(f->av->width, 16);
        assert_int_equal(info.orientation, 6);
        assert_false(f->damaged);
        upz_still_info_free(&info);
        upz_frame_free(&f);
    }
}

static void put(uint8_t *d, size_t at, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) d[at + (size_t)i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static void entry(uint8_t *d, size_t at, uint32_t tag, uint32_t type, uint32_t n, uint32_t value)
{
    put(d, at, tag, 2);
    put(d, at + 2, type, 2);
    put(d, at + 4, n, 4);
    put(d, at + 8, value, 4);
}

static uint32_t little(const uint8_t *d, int bytes)
{
    uint32_t v = 0;
    for (int i = bytes; i-- > 0;) v = v << 8 | d[i];
    return v;
}

/* A big-endian block with a description, an EXIF directory with a fraction, and things that are broken:
 * a value beyond the end, an unknown type, directories that hold themselves. */
static void exif_is_copied(void **state)
{
    (void)state;
    uint8_t d[256] = "MM\0*";
    put(d, 4, 8, 4);
    put(d, 8, 6, 2);
    entry(d, 10, 270, 2, 6, 200); /* "mills" */
    entry(d, 22, 256, 4, 1, 640); /* how it is stored: not copied */
    entry(d, 34, 271, 2, 5000, 250);
    entry(d, 46, 305, 99, 4, 0);
    entry(d, 58, 0x8769, 4, 1, 100);
    entry(d, 70, 0x8825, 4, 1, 8); /* itself */
    put(d, 100, 2, 2);
    entry(d, 102, 33437, 5, 1, 210);
    entry(d, 114, 0xA005, 4, 1, 100); /* itself */
    memcpy(d + 200, "mills", 6);
    put(d, 210, 28, 4);
    put(d, 214, 10, 4);
    UpzBytes b = {0};
    assert_true(upz_exif_copy(&b, d, sizeof(d)));
    assert_true(b.n > 8 && b.n < 4096);
    assert_memory_equal(b.d, "II*\0", 4);
    const uint8_t *v;
    size_t n;
    assert_true(upz_tiff_bytes(b.d, b.n, 270, &v, &n));
    assert_int_equal(n, 6);
    assert_memory_equal(v, "mills", 6);
    assert_false(upz_tiff_bytes(b.d, b.n, 256, &v, &n));
    assert_false(upz_tiff_bytes(b.d, b.n, 271, &v, &n));
    assert_true(upz_tiff_bytes(b.d, b.n, 0x8769, &v, &n));
    uint32_t at = little(v, 4);
    assert_true(at + 14 <= b.n && little(b.d + at, 2) >= 1);
    assert_int_equal(little(b.d + at + 2, 2), 33437);
    uint32_t where = little(b.d + at + 10, 4);
    assert_int_equal(little(b.d + where, 4), 28);
    assert_int_equal(little(b.d + where + 4, 4), 10);
    upz_free(b.d);
    for (size_t cut = 0; cut < sizeof(d); cut++) { /* nothing of it is read beyond its end */
        uint8_t *part = malloc(cut + 1);
        assert_non_null(part);
        memcpy(part, d, cut);
        UpzBytes c = {0};
        assert_true(upz_exif_copy(&c, part, cut));
        upz_free(c.d);
        free(part);
    }
}

static int clean(void **state)
{
    (void)state;
    char c[100];
    snprintf(c, sizeof(c), "rm -r '%s'", dir);
    FILE *f = popen(c, "r");
    return f ? pclose(f) : -1;
}

int main(void)
{
    if (!ask("ffmpeg -version 2>/dev/null")[0]) {
        printf("skipped: there is no ffmpeg to compare with\n");
        return 77;
    }
    snprintf(dir, sizeof(dir), "/tmp/uprez-still-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lossless),  cmocka_unit_test(jpeg_and_webp), cmocka_unit_test(metadata),
        cmocka_unit_test(cut_off),   cmocka_unit_test(refusals),      cmocka_unit_test(real_pictures),
        cmocka_unit_test(seeds),     cmocka_unit_test(exif_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
