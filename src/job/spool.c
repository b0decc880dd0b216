#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/queue.h"
#include "picture/format.h"

#define SYNC_NS 3000000000 /* between two waits for the disk */
#define MAX_RECORDS ((size_t)1 << 20)
static const char magic[8] = "upzspl1";

typedef struct Header {
    char magic[8], plan_id[UPZ_SHA256_HEX + 7];
    int32_t width, height;
    char format[32];
} Header;

typedef struct Record {
    int64_t pts, duration;
    uint8_t color[8];    /* UprezColor's members */
    uint32_t data_crc;   /* of the rows */
    uint32_t crc;        /* of the members above */
} Record;

struct UpzSpool {
    int fd;
    UprezPicture like;
    size_t bytes;        /* of the rows of a picture */
    int64_t end, synced; /* of the good part; when it was brought to the disk */
    bool dirty;
    Record *records;
    size_t n, cap;
};

static int64_t place_of(const UpzSpool *s, size_t i)
{
    return (int64_t)(sizeof(Header) + i * (sizeof(Record) + s->bytes));
}

static bool read_at(int fd, void *to, size_t n, int64_t at)
{
    while (n) {
        ssize_t k = pread(fd, to, n, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        to = (char *)to + k;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

static bool write_at(int fd, const void *from, size_t n, int64_t at)
{
    while (n) {
        ssize_t k = pwrite(fd, from, n, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        from = (const char *)from + k;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

static uint32_t record_crc(const Record *r)
{
    return (uint32_t)crc32(0, (const void *)r, offsetof(Record, crc));
}

static Header header_of(const UpzSpool *s, const char *plan_id)
{
    Header h = {.width = s->like.width, .height = s->like.height};
    const char *name = uprez_format_name(&s->like.format);
    memcpy(h.magic, magic, sizeof(h.magic));
    strncpy(h.plan_id, plan_id, sizeof(h.plan_id) - 1);
    strncpy(h.format, name ? name : "", sizeof(h.format) - 1);
    return h;
}

/* The list of what is there, and no more of the file than that. */
static int scan(UpzSpool *s, UprezError *err)
{
    struct stat st;
    Record r;
    if (fstat(s->fd, &st) < 0) st.st_size = 0;
    while (place_of(s, s->n + 1) <= (int64_t)st.st_size && read_at(s->fd, &r, sizeof(r), place_of(s, s->n)) &&
           r.crc == record_crc(&r)) {
        if (!upz_grow(&s->records, &s->cap, s->n + 1, sizeof(*s->records), MAX_RECORDS))
            return upz_fail_memory(err, s->n * sizeof(*s->records), "the spool");
        s->records[s->n++] = r;
    }
    s->end = place_of(s, s->n);
    if (s->end < (int64_t)st.st_size && ftruncate(s->fd, (off_t)s->end) < 0)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "a torn spool cannot be cut: %s", strerror(errno));
    return 0;
}

/* Makes the file's name lasting. */
static void sync_folder(const char *path)
{
    char *dir = upz_strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
    if (slash) *slash = 0;
    int fd = slash ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    upz_free(dir);
}

int upz_spool_open(UpzSpool **out, const char *path, const char *plan_id, const UprezPicture *like,
                   bool make, UprezError *err)
{
    *out = NULL;
    UpzSpool *s = upz_calloc(1, sizeof(*s));
    if (!s) return upz_fail_memory(err, sizeof(*s), "the spool");
    s->like = (UprezPicture){.format = like->format, .width = like->width, .height = like->height};
    for (int i = 0; i < like->format.n_plane; i++)
        s->bytes += upz_plane_row_bytes(&like->format, i, like->width) *
                    (size_t)upz_plane_height(&like->format, i, like->height);
    s->synced = upz_now_ns();
    s->fd = open(path, O_RDWR | O_CLOEXEC | (make ? O_CREAT : 0), 0666);
    int r = s->fd >= 0 || errno == ENOENT
                ? 0 : upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be opened: %s", path, strerror(errno));
    Header want = header_of(s, plan_id), is;
    bool ours = s->fd >= 0 && read_at(s->fd, &is, sizeof(is), 0) && !memcmp(&is, &want, sizeof(is));
    if (s->fd >= 0 && !ours && make) {
        ours = ftruncate(s->fd, 0) == 0 && write_at(s->fd, &want, sizeof(want), 0);
        if (!ours) r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s", path, strerror(errno));
        sync_folder(path);
    }
    if (s->fd >= 0 && !ours) unlink(path);
    if (r >= 0 && ours) r = scan(s, err);
    if (r < 0 || !ours) upz_spool_close(&s);
    *out = s;
    return r;
}

int64_t upz_spool_count(const UpzSpool *s)
{
    int64_t n = 0; /* one that was not as it was written is there twice */
    for (size_t i = 0; i < s->n; i++) {
        bool again = false;
        for (size_t k = i + 1; k < s->n && !again; k++) again = s->records[k].pts == s->records[i].pts;
        n += !again;
    }
    return n;
}

/* Each row of each plane in its order; the checksum of all that passed. */
static uint32_t rows_crc(const UprezPicture *p, uint8_t *packed)
{
    uint32_t crc = 0;
    for (int i = 0; i < p->format.n_plane; i++) {
        size_t n = upz_plane_row_bytes(&p->format, i, p->width);
        for (int y = 0; y < upz_plane_height(&p->format, i, p->height); y++, packed += n) {
            const uint8_t *row = (const uint8_t *)p->plane[i] + y * p->stride[i];
            memcpy(packed, row, n);
            crc = (uint32_t)crc32_z(crc, packed, n);
        }
    }
    return crc;
}

int upz_spool_read(UpzSpool *s, int64_t pts, UprezPicture **out, UprezError *err)
{
    size_t at = s->n;
    *out = NULL;
    while (at > 0 && s->records[at - 1].pts != pts) at--;
    if (!at--) return 0;
    const Record *r = &s->records[at];
    uint8_t *packed = upz_calloc(1, s->bytes);
    if (!packed) return upz_fail_memory(err, s->bytes, "the spool");
    if (!read_at(s->fd, packed, s->bytes, place_of(s, at) + (int64_t)sizeof(Record)) ||
        (uint32_t)crc32_z(0, packed, s->bytes) != r->data_crc) {
        upz_free(packed);
        return 0;
    }
    int e = uprez_picture_alloc(out, &s->like.format, s->like.width, s->like.height, err);
    UprezPicture *p = *out;
    const uint8_t *from = packed;
    for (int i = 0; e >= 0 && i < p->format.n_plane; i++) {
        size_t n = upz_plane_row_bytes(&p->format, i, p->width);
        for (int y = 0; y < upz_plane_height(&p->format, i, p->height); y++, from += n)
            memcpy((uint8_t *)p->plane[i] + y * p->stride[i], from, n);
    }
    if (e >= 0) {
        const uint8_t *c = r->color;
        p->color = (UprezColor){.matrix = c[0], .primaries = c[1], .transfer = c[2], .range = c[3],
                                .siting = c[4]};
        p->pts = r->pts;
        p->duration = r->duration;
    }
    upz_free(packed);
    return e;
}

static bool has_room(const UpzSpool *s, int64_t spare)
{
    struct statvfs v;
    if (fstatvfs(s->fd, &v) < 0) return true; /* writing will tell */
    return (double)v.f_bavail * (double)v.f_frsize > (double)spare + (double)s->bytes;
}

int upz_spool_add(UpzSpool *s, const UprezPicture *p, int64_t spare, UprezError *err)
{
    if (p->width != s->like.width || p->height != s->like.height)
        return upz_fail(err, UPREZ_ERR_BUG, "a picture of another size came to the spool");
    if (!has_room(s, spare))
        return upz_fail(err, UPREZ_ERR_OUTPUT, "the disk has too little room");
    if (!upz_grow(&s->records, &s->cap, s->n + 1, sizeof(*s->records), MAX_RECORDS))
        return upz_fail_memory(err, s->n * sizeof(*s->records), "the spool");
    uint8_t *bytes = upz_calloc(1, sizeof(Record) + s->bytes);
    if (!bytes) return upz_fail_memory(err, s->bytes, "the spool");
    const UprezColor *c = &p->color;
    Record r = {.pts = p->pts, .duration = p->duration,
                .color = {c->matrix, c->primaries, c->transfer, c->range, c->siting}};
    r.data_crc = rows_crc(p, bytes + sizeof(r));
    r.crc = record_crc(&r);
    memcpy(bytes, &r, sizeof(r));
    bool done = write_at(s->fd, bytes, sizeof(r) + s->bytes, s->end);
    int why = errno;
    upz_free(bytes);
    if (!done) {
        if (ftruncate(s->fd, (off_t)s->end) < 0) {} /* it is torn, and will be cut when it is opened */
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s", strerror(why));
    }
    s->records[s->n++] = r;
    s->end = place_of(s, s->n);
    s->dirty = true;
    if (upz_now_ns() - s->synced > SYNC_NS) {
        fdatasync(s->fd);
        s->synced = upz_now_ns();
        s->dirty = false;
    }
    return 0;
}

void upz_spool_close(UpzSpool **ps)
{
    UpzSpool *s = *ps;
    if (!s) return;
    *ps = NULL;
    if (s->fd >= 0) {
        if (s->dirty) fdatasync(s->fd);
        close(s->fd);
    }
    upz_free(s->records);
    upz_free(s);
}
