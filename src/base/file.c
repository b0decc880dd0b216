#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

static int map_all(UpzMap *map, int fd, const char *path, size_t size, int code, UprezError *err)
{
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return upz_fail(err, code, "%s cannot be mapped: %s", path, strerror(errno));
    *map = (UpzMap){.data = p, .size = size, .mapped = true};
    return 0;
}

/* The bytes read, fewer only at the end of the file; -1 with errno. */
static ssize_t read_full(int fd, void *data, size_t size)
{
    size_t at = 0;
    while (at < size) {
        ssize_t n = read(fd, (uint8_t *)data + at, size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (!n) break;
        at += (size_t)n;
    }
    return (ssize_t)at;
}

static int read_all(UpzMap *map, int fd, const char *path, size_t size, int code, UprezError *err)
{
    uint8_t *data = upz_alloc_aligned(size);
    if (!data) return upz_fail_memory(err, size, path);
    ssize_t n = read_full(fd, data, size);
    int r = 0;
    if (n < 0)
        r = upz_fail(err, code, "%s cannot be read: %s", path, strerror(errno));
    else if ((size_t)n < size)
        r = upz_fail(err, code, "%s lost %zu of its %zu bytes while it was read", path,
                     size - (size_t)n, size);
    if (r < 0) {
        upz_free_aligned(data);
        return r;
    }
    *map = (UpzMap){.data = data, .size = size};
    return 0;
}

static int open_map(UpzMap *map, const char *path, size_t max, bool mapped, int code,
                    UprezError *err)
{
    *map = (UpzMap){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return upz_fail(err, code, "%s cannot be opened: %s", path, strerror(errno));
    struct stat st;
    int r = 0;
    if (fstat(fd, &st) < 0)
        r = upz_fail(err, code, "%s cannot be read: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        r = upz_fail(err, code, "%s is not a regular file", path);
    else if (st.st_size == 0)
        r = upz_fail(err, code, "%s is empty", path);
    else if ((uintmax_t)st.st_size > max)
        r = upz_fail(err, code, "%s has %jd bytes, more than the %zu that are plausible", path,
                     (intmax_t)st.st_size, max);
    if (!r) {
        r = mapped ? map_all(map, fd, path, (size_t)st.st_size, code, err)
                   : read_all(map, fd, path, (size_t)st.st_size, code, err);
    }
    close(fd);
    return r;
}

int upz_map_open(UpzMap *map, const char *path, size_t max, int code, UprezError *err)
{
    return open_map(map, path, max, false, code, err);
}

int upz_map_library(UpzMap *map, const char *path, int code, UprezError *err)
{
    return open_map(map, path, SIZE_MAX / 2, true, code, err);
}

void upz_map_close(UpzMap *map)
{
    if (map->mapped)
        munmap((void *)(uintptr_t)map->data, map->size);
    else
        upz_free_aligned((void *)(uintptr_t)map->data);
    *map = (UpzMap){0};
}

static int sync_dir_of(const char *path)
{
    char *dir = upz_strdup(path);
    if (!dir) return 0;
    char *slash = strrchr(dir, '/');
    if (slash == dir) slash[1] = 0;
    else if (slash) *slash = 0;
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    upz_free(dir);
    if (fd < 0) return 0; /* some file systems cannot: the rename itself stands */
    fsync(fd);
    close(fd);
    return 0;
}

int upz_rename_synced(const char *from, const char *to, UprezError *err)
{
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        int bad = fsync(fd) < 0 && errno != EINVAL;
        int e = errno;
        close(fd);
        if (bad)
            return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written to disk: %s", from,
                            strerror(e));
    }
    if (rename(from, to) < 0)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be renamed to %s: %s", from, to,
                        strerror(errno));
    return sync_dir_of(to);
}

/* A new file beside path with a name nobody else has; *tmp is the caller's. */
static int create_unique(const char *path, char **tmp, UprezError *err)
{
    for (unsigned i = 0; i < 1000; i++) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        *tmp = upz_asprintf("%s.%ld-%lx.tmp", path, (long)getpid(), (unsigned long)t.tv_nsec + i);
        if (!*tmp) return upz_fail_memory(err, strlen(path) + 40, "a file name");
        int fd = open(*tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) return fd;
        int e = errno;
        upz_free(*tmp);
        *tmp = NULL;
        if (e != EEXIST)
            return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be created: %s", path, strerror(e));
    }
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s: no free temporary name beside it", path);
}

char *upz_follow_link(const char *path)
{
    struct stat st;
    char *at = upz_strdup(path);
    for (int i = 0; at && i < 40 && lstat(at, &st) == 0 && S_ISLNK(st.st_mode); i++) {
        char to[4096];
        ssize_t n = readlink(at, to, sizeof(to) - 1);
        if (n <= 0) break;
        to[n] = 0;
        char *next = *to == '/' ? upz_strdup(to)
                                : upz_asprintf("%.*s%s", (int)(upz_basename(at) - at), at, to);
        upz_free(at);
        at = next;
    }
    if (at && lstat(at, &st) == 0 && !S_ISREG(st.st_mode)) {
        upz_free(at);
        at = upz_strdup(path);
    }
    return at;
}

/* Bytes of the character at s, 0 where none begins: RFC 3629. */
static size_t character(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || /* too long; surrogates */
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
        return 0;
    return n;
}

char *upz_utf8(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    char *to = upz_calloc(strlen(text) + 1, 3), *at = to;
    while (to && *s) {
        size_t n = character(s);
        memcpy(at, n ? (const char *)s : "\xef\xbf\xbd", n ? n : 3);
        at += n ? n : 3;
        s += n ? n : 1;
    }
    return to;
}

static int write_atomic(const char *path, const void *data, size_t size, UprezError *err)
{
    char *tmp;
    int fd = create_unique(path, &tmp, err);
    if (fd < 0) return fd;
    int r = 0;
    const char *p = data;
    size_t left = size;
    while (left && !r) {
        ssize_t n = write(fd, p, left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s", path, strerror(errno));
        else
            p += n, left -= (size_t)n;
    }
    if (close(fd) < 0 && !r)
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s", path, strerror(errno));
    if (!r) r = upz_rename_synced(tmp, path, err);
    if (r < 0) unlink(tmp);
    upz_free(tmp);
    return r;
}

int upz_write_atomic(const char *path, const void *data, size_t size, UprezError *err)
{
    char *place = upz_follow_link(path);
    int r = place ? write_atomic(place, data, size, err) : upz_fail_memory(err, strlen(path), "a file name");
    upz_free(place);
    return r;
}

static int nameless_in(const char *folder, size_t n)
{
    char *dir = upz_asprintf("%.*s", (int)n, folder);
    int fd = dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    char *name = dir && fd < 0 ? upz_asprintf("%s/.uprez.XXXXXX", dir) : NULL;
    if (name) { /* file systems that need a name, for a moment */
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0) unlink(name);
    }
    upz_free(name);
    upz_free(dir);
    return fd;
}

int upz_nameless_file(const char *beside, const char *folder)
{
    const char *slash = beside ? strrchr(beside, '/') : NULL;
    int fd = !beside ? -1 : slash ? nameless_in(beside, (size_t)(slash - beside) + 1)
                                  : nameless_in(".", 1);
    return fd >= 0 || !folder ? fd : nameless_in(folder, strlen(folder));
}

int upz_unblocked(int fd, bool writing)
{
    char path[40];
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode)) return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, (writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
#ifdef F_SETPIPE_SZ
    if (own >= 0) fcntl(own, F_SETPIPE_SZ, 1 << 20); /* fewer waits; as it is where this is not allowed */
#endif
    return own;
}

bool upz_is_pipe(const char *path)
{
    return !strcmp(path, "-") || !strncmp(path, "pipe:", 5);
}

bool upz_exists(const char *path) { return access(path, F_OK) == 0; }

bool upz_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

const char *upz_basename(const char *path)
{
    const char *s = strrchr(path, '/');
    return s ? s + 1 : path;
}

const char *upz_extension(const char *path)
{
    const char *base = upz_basename(path), *dot = strrchr(base, '.');
    return dot && dot != base ? dot + 1 : base + strlen(base);
}

static void to_hex(const uint8_t *digest, char hex[UPZ_SHA256_HEX])
{
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void upz_sha256_two(const void *a, size_t na, const void *b, size_t nb, char hex[UPZ_SHA256_HEX])
{
    SHA2_CTX c;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256Init(&c);
    if (na) SHA256Update(&c, a, na);
    if (nb) SHA256Update(&c, b, nb);
    SHA256Final(digest, &c);
    to_hex(digest, hex);
}

void upz_sha256(const void *data, size_t size, char hex[UPZ_SHA256_HEX])
{
    upz_sha256_two(data, size, NULL, 0, hex);
}

int upz_sha256_file(const char *path, char hex[UPZ_SHA256_HEX], int code, UprezError *err)
{
    enum { CHUNK = 1 << 18 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r = 0;
    if (fd < 0) return upz_fail(err, code, "%s cannot be opened: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return upz_fail(err, code, "%s is not a regular file", path);
    }
    uint8_t *chunk = upz_alloc_aligned(CHUNK);
    if (!chunk) {
        close(fd);
        return upz_fail_memory(err, CHUNK, path);
    }
    SHA2_CTX c;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256Init(&c);
    ssize_t n;
    while ((n = read_full(fd, chunk, CHUNK)) > 0) SHA256Update(&c, chunk, (size_t)n);
    if (n < 0) r = upz_fail(err, code, "%s cannot be read: %s", path, strerror(errno));
    SHA256Final(digest, &c);
    if (!r) to_hex(digest, hex);
    upz_free_aligned(chunk);
    close(fd);
    return r;
}
