#include "mov_tags.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <libavutil/avstring.h>
#include <libavutil/intreadwrite.h>

#include "base/alloc.h"
#include "input.h"

#define MARK "uprez keeps this room for tags "
#define MAX_MOOV ((size_t)1 << 31)
#define DEPTH 5 /* moov, udta, meta, ilst, an item */

bool upz_mov_has_tags(const char *muxer)
{
    return !strcmp(muxer, "mp4") || !strcmp(muxer, "mov") || !strcmp(muxer, "ipod");
}

/* The header of the movie says it. */
static bool is_elsewhere(const char *key)
{
    return !av_strcasecmp(key, "creation_time");
}

/* Bytes of a key and its value in the boxes keys and ilst. */
static size_t room_of(const AVDictionaryEntry *e)
{
    return 8 + strlen(e->key) + 24 + strlen(e->value);
}

#define HEAD (12 + 32 + 16 + 8) /* meta, hdlr, keys, ilst without their entries */

int upz_mov_tags_reserve(AVFormatContext *oc)
{
    /* keys that the muxers' fixed sets know as text of any length */
    static const char *const mp4[] = {"lyrics", "synopsis", "network", "episode_id", "grouping"};
    const AVDictionaryEntry *e = NULL;
    const char *key = strcmp(oc->oformat->name, "mov") ? NULL : "xmp";
    size_t room = 0;
    while ((e = av_dict_get(oc->metadata, "", e, AV_DICT_IGNORE_SUFFIX)))
        if (!is_elsewhere(e->key)) room += room_of(e);
    for (size_t i = 0; !key && i < sizeof(mp4) / sizeof(*mp4); i++)
        if (!av_dict_get(oc->metadata, mp4[i], NULL, 0)) key = mp4[i];
    if (!room || !key || room > (size_t)1 << 28) return 0;
    room += HEAD + sizeof(MARK);
    char *text = av_malloc(room + 1);
    if (!text) return AVERROR(ENOMEM);
    memset(text, '.', room);
    memcpy(text, MARK, strlen(MARK));
    text[room] = 0;
    return av_dict_set(&oc->metadata, key, text, AV_DICT_DONT_STRDUP_VAL);
}

/* ---- the boxes ---- */

typedef struct Bytes {
    uint8_t *d;
    size_t n;
} Bytes;

static void put(Bytes *b, const void *d, size_t n)
{
    memcpy(b->d + b->n, d, n);
    b->n += n;
}

static void put32(Bytes *b, uint32_t v)
{
    AV_WB32(b->d + b->n, v);
    b->n += 4;
}

static void put_name(Bytes *b, size_t size, const char *name)
{
    put32(b, (uint32_t)size);
    put(b, name, 4);
}

/* Android reads the rate of a slow-motion recording as a number only. */
static bool is_number(const AVDictionaryEntry *e)
{
    return !av_strcasecmp(e->key, "com.android.capture.fps");
}

static void put_value(Bytes *b, const AVDictionaryEntry *e)
{
    if (is_number(e)) {
        float v = strtof(e->value, NULL);
        uint32_t bits;
        memcpy(&bits, &v, 4);
        put32(b, 23); /* a float */
        put32(b, 0);
        put32(b, bits);
    } else {
        put32(b, 1); /* UTF-8 */
        put32(b, 0);
        put(b, e->value, strlen(e->value));
    }
}

static size_t value_size(const AVDictionaryEntry *e)
{
    return 8 + (is_number(e) ? 4 : strlen(e->value));
}

/* b has the room that was reserved for all tags. */
static void put_meta(Bytes *b, const AVDictionary *tags)
{
    const AVDictionaryEntry *e = NULL;
    size_t keys = 16, list = 8;
    uint32_t i = 0, n = (uint32_t)av_dict_count(tags);
    while ((e = av_dict_get(tags, "", e, AV_DICT_IGNORE_SUFFIX))) {
        keys += 8 + strlen(e->key);
        list += 16 + value_size(e);
    }
    put_name(b, 8 + 32 + keys + list, "meta"); /* QuickTime's: no version in front */
    put_name(b, 32, "hdlr");
    put32(b, 0);
    put32(b, 0);
    put(b, "mdta\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    put_name(b, keys, "keys");
    put32(b, 0);
    put32(b, n);
    for (e = NULL; (e = av_dict_get(tags, "", e, AV_DICT_IGNORE_SUFFIX));) {
        put_name(b, 8 + strlen(e->key), "mdta");
        put(b, e->key, strlen(e->key));
    }
    put_name(b, list, "ilst");
    for (e = NULL; (e = av_dict_get(tags, "", e, AV_DICT_IGNORE_SUFFIX));) {
        put32(b, (uint32_t)(16 + value_size(e)));
        put32(b, ++i);
        put_name(b, 8 + value_size(e), "data");
        put_value(b, e);
    }
}

/* ---- the placeholder ---- */

/* Boxes from moov down to the placeholder: offsets in moov. */
typedef struct Path {
    size_t at[DEPTH], size[DEPTH];
    int n;
} Path;

static bool holds_mark(const uint8_t *d, size_t n)
{
    size_t m = strlen(MARK);
    for (size_t i = 8; i < 64 && i + m <= n; i++) /* behind the headers of its box */
        if (!memcmp(d + i, MARK, m)) return true;
    return false;
}

/* Looks into the boxes of d[at … end). */
static bool find(const uint8_t *d, size_t at, size_t end, Path *p)
{
    while (end - at >= 8) {
        size_t size = AV_RB32(d + at);
        const uint8_t *name = d + at + 4;
        if (size < 8 || size > end - at || p->n == DEPTH) return false;
        p->at[p->n] = at;
        p->size[p->n++] = size;
        bool nests = !memcmp(name, "udta", 4) || !memcmp(name, "ilst", 4);
        if (!memcmp(name, "meta", 4) && size >= 12 && find(d, at + 12, at + size, p)) return true;
        if (nests && find(d, at + 8, at + size, p)) return true;
        if (!nests && memcmp(name, "meta", 4) && holds_mark(d + at, size)) return true;
        p->n--;
        at += size;
    }
    return false;
}

/* The placeholder goes, its ancestors below moov shrink, and the new box and what is left of the room
 * stand at the end of moov, whose size stays. */
static void replace(uint8_t *d, size_t n, const Path *p, const Bytes *box)
{
    size_t at = p->at[p->n - 1], room = p->size[p->n - 1], left = room - box->n;
    for (int i = 0; i + 1 < p->n; i++) AV_WB32(d + p->at[i], (uint32_t)(p->size[i] - room));
    memmove(d + at, d + at + room, n - at - room);
    memcpy(d + n - room, box->d, box->n);
    memset(d + n - left, 0, left);
    AV_WB32(d + n - left, (uint32_t)left);
    memcpy(d + n - left + 4, "free", 4);
}

/* ---- the file ---- */

static int failed(const char *path, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s", path, strerror(errno));
}

static bool read_at(int fd, void *to, size_t n, int64_t at)
{
    for (uint8_t *d = to; n;) {
        ssize_t r = pread(fd, d, n, (off_t)at);
        if (r < 0 && errno == EINTR) continue;
        if (r == 0) errno = EIO;
        if (r <= 0) return false;
        d += r;
        at += r;
        n -= (size_t)r;
    }
    return true;
}

static bool write_at(int fd, const void *from, size_t n, int64_t at)
{
    for (const uint8_t *d = from; n;) {
        ssize_t r = pwrite(fd, d, n, (off_t)at);
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) return false;
        d += r;
        at += r;
        n -= (size_t)r;
    }
    return true;
}

/* Where moov is; 0 in *size where there is none of a size to take. */
static bool find_moov(int fd, int64_t *at, size_t *size)
{
    uint8_t head[16];
    struct {
        int64_t at, end;
    } file = {0, lseek(fd, 0, SEEK_END)};
    *size = 0;
    while (file.end - file.at >= 16) {
        if (!read_at(fd, head, 16, file.at)) return false;
        int64_t n = AV_RB32(head);
        if (n == 1) n = (int64_t)AV_RB64(head + 8);
        if (n < 8 || n > file.end - file.at) return true;
        if (!memcmp(head + 4, "moov", 4)) {
            if (AV_RB32(head) != 1 && (uint64_t)n < MAX_MOOV) *size = (size_t)n;
            *at = file.at;
            return true;
        }
        file.at += n;
    }
    return true;
}

/* Matroska writes names in capitals; these ones are small by their makers' definition. */
static int add_tag(AVDictionary **tags, const AVDictionaryEntry *e)
{
    bool theirs = av_strstart(e->key, "COM.APPLE.", NULL) || av_strstart(e->key, "COM.ANDROID.", NULL);
    char *key = av_strdup(e->key), *place;
    if (!key) return AVERROR(ENOMEM);
    for (char *c = key; *c && theirs; c++) *c = (char)av_tolower(*c);
    place = theirs ? strstr(key, ".iso6709") : NULL;
    if (place) memcpy(place, ".ISO", 4);
    int r = av_dict_set(tags, key, e->value, 0);
    av_free(key);
    return r;
}

/* What a reader finds of the tags already; the others go to *missing. An AVERROR. */
static int look(const char *path, const AVDictionary *wanted, AVDictionary **missing)
{
    AVFormatContext *ic = NULL;
    const AVDictionaryEntry *e = NULL;
    char *name = av_asprintf("file:%s", path);
    int r = name ? avformat_open_input(&ic, name, NULL, NULL) : AVERROR(ENOMEM);
    while (r >= 0 && (e = av_dict_get(wanted, "", e, AV_DICT_IGNORE_SUFFIX)))
        if (!is_elsewhere(e->key) && !av_dict_get(ic->metadata, e->key, NULL, 0))
            r = add_tag(missing, e);
    avformat_close_input(&ic);
    av_free(name);
    return r;
}

int upz_mov_tags_settle(const char *path, const AVDictionary *wanted, UprezError *err)
{
    AVDictionary *missing = NULL;
    Path p = {.n = 0};
    Bytes box = {0};
    uint8_t *moov = NULL;
    int64_t at = 0;
    size_t size = 0;
    char why[UPZ_AV_ERROR];
    int r = look(path, wanted, &missing);
    if (r == AVERROR(ENOMEM)) r = upz_fail_memory(err, 0, "tags");
    else if (r < 0) r = upz_fail(err, UPREZ_ERR_VERIFY, "%s was written but does not open: %s", path,
                                 upz_av_error(r, why));
    if (r < 0) {
        av_dict_free(&missing);
        return r;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || !find_moov(fd, &at, &size)) r = failed(path, err);
    if (r >= 0 && size) {
        moov = upz_calloc(1, size);
        if (!moov) r = upz_fail_memory(err, size, "tags");
        else if (!read_at(fd, moov, size, at)) r = failed(path, err);
    }
    if (r >= 0 && size && find(moov, 8, size, &p)) {
        box.d = upz_calloc(1, p.size[p.n - 1]);
        if (!box.d) r = upz_fail_memory(err, p.size[p.n - 1], "tags");
        else if (missing) put_meta(&box, missing);
        if (r >= 0) replace(moov, size, &p, &box);
        if (r >= 0 && !write_at(fd, moov + p.at[0], size - p.at[0], at + (int64_t)p.at[0]))
            r = failed(path, err);
        upz_free(box.d);
    }
    if (fd >= 0 && close(fd) < 0 && r >= 0) r = failed(path, err);
    upz_free(moov);
    av_dict_free(&missing);
    return r;
}
