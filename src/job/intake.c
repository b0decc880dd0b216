#include "intake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

#define CHUNK ((size_t)1 << 20)
#define POLL_MS 200
static const char y4m[] = "YUV4MPEG2 ";
#define HEAD (sizeof(y4m) - 1)

static int interrupted(const UpzWatch *watch, const char *input, UprezError *err)
{
    return upz_watch_ended(watch)
               ? upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while waiting for %s", input) : 0;
}

/* Until there is something to read, or the writer has gone. */
static int wait_for(int fd, const UpzWatch *watch, const char *input, UprezError *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        int r = interrupted(watch, input, err);
        if (r < 0) return r;
        if (poll(&p, 1, POLL_MS) > 0) return p.revents & POLLHUP ? 1 : 0;
    }
}

/* Looks at a pipe's first bytes without taking them. */
static int is_y4m(bool *yes, int fd, const UpzWatch *watch, const char *input, UprezError *err)
{
    char head[HEAD] = "";
    *yes = false;
    for (;;) {
        int gone = wait_for(fd, watch, input, err), copy[2];
        if (gone < 0) return gone;
        if (pipe(copy) < 0) return 0;
        ssize_t n = tee(fd, copy[1], HEAD, SPLICE_F_NONBLOCK);
        if (n > 0) n = read(copy[0], head, (size_t)n);
        close(copy[0]);
        close(copy[1]);
        if (n == (ssize_t)HEAD || n <= 0 || gone || memcmp(head, y4m, (size_t)n)) {
            *yes = n == (ssize_t)HEAD && !memcmp(head, y4m, HEAD);
            return 0;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); /* the rest of the head */
    }
}

static int write_all(int fd, const uint8_t *bytes, size_t n, UprezError *err)
{
    while (n) {
        ssize_t w = write(fd, bytes, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0)
            return upz_fail(err, UPREZ_ERR_OUTPUT, "the input, which can be read only once, cannot be "
                            "kept beside the output: %s", strerror(errno));
        bytes += w;
        n -= (size_t)w;
    }
    return 0;
}

/* Everything that comes, into `to`. */
static int keep(int from, int to, UpzWatch *watch, const char *input, UprezError *err)
{
    uint8_t *bytes = upz_calloc(1, CHUNK);
    if (!bytes) return upz_fail_memory(err, CHUNK, "reading a pipe");
    int r = 0;
    for (bool any = false; r >= 0;) {
        r = wait_for(from, watch, input, err);
        if (r < 0) break;
        ssize_t n = read(from, bytes, CHUNK);
        upz_watch_beat(watch);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n < 0)
            r = upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be read: %s", input, strerror(errno));
        else if (!n) {
            if (!any) r = upz_fail(err, UPREZ_ERR_INPUT, "%s ends before its first byte", input);
            break;
        } else
            r = write_all(to, bytes, (size_t)n, err);
        any = true;
    }
    upz_free(bytes);
    return r < 0 ? r : 0;
}

int upz_intake_open(UpzIntake *intake, const char *input, const char *output, UpzWatch *watch,
                    UprezError *err)
{
    struct stat st;
    bool pictures = false;
    *intake = (UpzIntake){.fd = -1};
    if (!strcmp(input, "-")) {
        intake->fd = upz_unblocked(STDIN_FILENO, false);
        if (intake->fd >= 0) snprintf(intake->path, sizeof(intake->path), "pipe:%d", intake->fd);
        return 0;
    }
    if (stat(input, &st) < 0 || !S_ISFIFO(st.st_mode)) return 0;
    /* not blocking: a pipe that nobody writes to can be given up, and a reader of libav's, too */
    int from = open(input, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (from < 0)
        return upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be opened: %s", input, strerror(errno));
    upz_watch_enter(watch, UPZ_STAGE_SOURCE);
    int r = is_y4m(&pictures, from, watch, input, err);
    if (r >= 0 && pictures) {
        upz_watch_leave(watch, UPZ_STAGE_SOURCE);
        intake->fd = from;
        snprintf(intake->path, sizeof(intake->path), "pipe:%d", from);
        return 0;
    }
    if (r >= 0) {
        const char *tmp = getenv("TMPDIR");
        intake->fd = upz_nameless_file(strcmp(output, "-") ? output : NULL, tmp ? tmp : "/tmp");
        if (intake->fd < 0)
            r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s can be read only once, and no file can be made to "
                         "keep it: %s", input, strerror(errno));
        snprintf(intake->path, sizeof(intake->path), "/proc/self/fd/%d", intake->fd);
    }
    if (r >= 0) r = keep(from, intake->fd, watch, input, err);
    upz_watch_leave(watch, UPZ_STAGE_SOURCE);
    close(from);
    return r;
}

void upz_intake_close(UpzIntake *intake)
{
    if (intake->fd >= 0) close(intake->fd);
    *intake = (UpzIntake){.fd = -1};
}

void upz_intake_name(const UpzIntake *intake, const char *input, UprezError *err)
{
    char *at = err && *intake->path ? strstr(err->text, intake->path) : NULL;
    char text[sizeof(err->text)];
    if (!at) return;
    if (!strcmp(input, "-")) input = "standard input";
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - err->text), err->text, input,
             at + strlen(intake->path));
    memcpy(err->text, text, sizeof(text));
}
