#include "job/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"

#define MAX_BYTES ((int64_t)1 << 31)
#define TRIES 5

typedef struct Transfer {
    const UpzFetchParams *params;
    int fd;
    int64_t at, total; /* bytes in the part; 0 = unknown */
    int write_errno;
    bool too_large;
} Transfer;

static size_t on_data(char *data, size_t size, size_t n, void *cookie)
{
    Transfer *t = cookie;
    size_t left = size * n;
    if (t->at + (int64_t)left > (t->total ? t->total : MAX_BYTES)) {
        t->too_large = true;
        return 0;
    }
    for (const char *p = data; left;) {
        ssize_t k = write(t->fd, p, left);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            t->write_errno = errno;
            return 0;
        }
        p += k;
        left -= (size_t)k;
        t->at += k;
    }
    return size * n;
}

static int on_progress(void *cookie, curl_off_t total, curl_off_t now, curl_off_t ut, curl_off_t un)
{
    (void)ut;
    (void)un;
    (void)now;
    Transfer *t = cookie;
    if (t->params->progress) t->params->progress(t->params->cookie, t->at, t->total ? t->total : total);
    return t->params->cancel && *t->params->cancel;
}

/* Network faults that a later try may not meet again. */
static bool passing(CURLcode c, long status)
{
    if (c == CURLE_HTTP_RETURNED_ERROR) return status >= 500 || status == 408 || status == 429;
    return c == CURLE_COULDNT_CONNECT || c == CURLE_COULDNT_RESOLVE_HOST ||
           c == CURLE_OPERATION_TIMEDOUT || c == CURLE_GOT_NOTHING || c == CURLE_RECV_ERROR ||
           c == CURLE_SEND_ERROR || c == CURLE_PARTIAL_FILE || c == CURLE_HTTP2_STREAM ||
           c == CURLE_HTTP2;
}

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Brings the part up to its end. */
static int transfer(UprezContext *ctx, const char *url, const char *part, Transfer *t,
                    UprezError *err)
{
    CURL *c = curl_easy_init();
    if (!c) return upz_fail_memory(err, 0, "the download");
    char why[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(c, CURLOPT_URL, url);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https,file,http");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "https");
#else
    curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTPS | CURLPROTO_FILE | CURLPROTO_HTTP));
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS, (long)CURLPROTO_HTTPS);
#endif
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    /* certificates of one's own, by the variables other programs know */
    const char *ca = getenv("CURL_CA_BUNDLE");
    if (!ca || !*ca) ca = getenv("SSL_CERT_FILE");
    if (ca && *ca) curl_easy_setopt(c, CURLOPT_CAINFO, ca);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 30L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 100L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "uprez/" UPZ_VERSION);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);

    int r = 0;
    for (int tries = 1;; tries++) {
        int64_t before = t->at;
        curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->at);
        CURLcode code = curl_easy_perform(c);
        long status = 0;
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        if (code == CURLE_OK) break;
        if (t->write_errno) {
            r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s", part,
                         strerror(t->write_errno));
            break;
        }
        if (code == CURLE_ABORTED_BY_CALLBACK) {
            r = upz_fail(err, UPREZ_ERR_INTERRUPTED,
                         "interrupted; 'uprez model pull' goes on from %s", part);
            break;
        }
        /* a part the server cannot continue is begun again */
        bool cannot_resume = code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME ||
                             (code == CURLE_HTTP_RETURNED_ERROR && status == 416) || t->too_large;
        if (cannot_resume && before > 0) {
            if (ftruncate(t->fd, 0) < 0 || lseek(t->fd, 0, SEEK_SET) < 0) {
                r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be emptied: %s", part, strerror(errno));
                break;
            }
            t->at = 0;
            t->too_large = false;
            if (tries < TRIES) continue;
        }
        if (t->too_large) {
            r = upz_fail(err, UPREZ_ERR_MODEL, "%s sends more than the %lld bytes expected", url,
                         (long long)(t->total ? t->total : MAX_BYTES));
            break;
        }
        if (status == 404 || code == CURLE_FILE_COULDNT_READ_FILE) {
            r = upz_fail(err, UPREZ_ERR_MODEL, "there is no %s", url);
            break;
        }
        if (tries < TRIES && passing(code, status)) {
            upz_info(ctx, "%s: %s; trying again", url, why[0] ? why : curl_easy_strerror(code));
            sleep_ms(200L << tries);
            if (!t->params->cancel || !*t->params->cancel) continue;
        }
        r = upz_fail(err, UPREZ_ERR_INPUT, "%s cannot be fetched: %s%s", url,
                     why[0] ? why : curl_easy_strerror(code),
                     t->at ? "; 'uprez model pull' goes on where it stopped" : "");
        break;
    }
    curl_easy_cleanup(c);
    return r;
}

/* The hash that decides: the registry's, else the user's. */
static const char *wanted(const UpzRegistryEntry *e, const UpzFetchParams *p)
{
    return e->sha256[0] ? e->sha256 : p->accept_hash;
}

/* One attempt with the part as it is. *fresh: nothing was there before. */
static int attempt(UprezContext *ctx, const UpzRegistryEntry *e, const UpzFetchParams *p,
                   const char *url, const char *part, const char *path, bool *fresh, bool *wrong,
                   UprezError *err)
{
    *wrong = false;
    Transfer t = {.params = p, .total = e->bytes};
    t.fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND, 0666);
    if (t.fd < 0)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be created: %s", part, strerror(errno));
    struct stat st;
    t.at = fstat(t.fd, &st) == 0 ? st.st_size : 0;
    *fresh = t.at == 0;
    int r = 0;
    if (!t.total || t.at != t.total) r = transfer(ctx, url, part, &t, err);
    if (close(t.fd) < 0 && r >= 0)
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be written: %s", part, strerror(errno));
    if (r < 0) {
        if (t.at == 0) unlink(part); /* nothing to go on from */
        return r;
    }

    char hex[UPZ_SHA256_HEX];
    r = upz_sha256_file(part, hex, UPREZ_ERR_MODEL, err);
    if (r < 0) return r;
    const char *want = wanted(e, p);
    if (!want) {
        unlink(part);
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s is in no public list of hashes; what came has SHA-256 %s: if you trust "
                        "it, repeat with --accept-hash %s", e->file, hex, hex);
    }
    if (strcasecmp(hex, want)) {
        *wrong = true;
        unlink(part);
        return upz_fail(err, UPREZ_ERR_MODEL,
                        "%s from %s has SHA-256 %s where %s is expected; it was thrown away", e->file,
                        url, hex, want);
    }
    return upz_rename_synced(part, path, err);
}

static bool already_right(const char *path, const char *want)
{
    char hex[UPZ_SHA256_HEX];
    return upz_exists(path) && want &&
           upz_sha256_file(path, hex, UPREZ_ERR_MODEL, NULL) >= 0 && !strcasecmp(hex, want);
}

/* Unencrypted HTTP only to this very machine. */
static bool allowed(const char *url)
{
    static const char *const here[] = {"http://127.0.0.1", "http://localhost"};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(here[i]);
        if (!strncmp(url, here[i], n) && (url[n] == '/' || url[n] == ':'))
            return !strchr(url, '@'); /* user:password@elsewhere */
    }
    return !strncmp(url, "https://", 8) || !strncmp(url, "file://", 7);
}

int upz_fetch_model(UprezContext *ctx, const UpzRegistryEntry *e, const UpzFetchParams *p,
                    char **path, UprezError *err)
{
    *path = NULL;
    char *dir = NULL, *part = NULL, *lock = NULL, *url = NULL;
    int fd = -1;
    int r = upz_registry_dir(&dir, err);
    if (r < 0) return r;
    *path = upz_asprintf("%s/%s", dir, e->file);
    part = upz_asprintf("%s/%s.part", dir, e->file);
    lock = upz_asprintf("%s/.%s.lock", dir, e->file);
    if (p->mirror) {
        size_t n = strlen(p->mirror);
        url = upz_asprintf("%s%s%s", p->mirror, n && p->mirror[n - 1] == '/' ? "" : "/", e->file);
    } else {
        url = upz_strdup(e->url);
    }
    if (!*path || !part || !lock || !url) {
        r = upz_fail_memory(err, 4096, "file names");
        goto end;
    }
    if (!allowed(url)) {
        r = upz_fail(err, UPREZ_ERR_USAGE, "%s: models come over https:// or file:// only", url);
        goto end;
    }
    fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be created: %s", lock, strerror(errno));
        goto end;
    }
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) { /* somebody else is fetching it */
        if (p->cancel && *p->cancel) {
            r = upz_fail(err, UPREZ_ERR_INTERRUPTED, "interrupted while another one fetches %s",
                         e->file);
            goto end;
        }
        sleep_ms(100);
    }
    if (already_right(*path, wanted(e, p))) goto end;

    bool fresh, wrong;
    r = attempt(ctx, e, p, url, part, *path, &fresh, &wrong, err);
    /* an old part may have been the fault: once more from the start */
    if (r < 0 && wrong && !fresh) r = attempt(ctx, e, p, url, part, *path, &fresh, &wrong, err);
end:
    if (fd >= 0) close(fd); /* the empty lock file stays: removing it would race */
    if (r < 0) {
        upz_free(*path);
        *path = NULL;
    }
    upz_free(dir);
    upz_free(part);
    upz_free(lock);
    upz_free(url);
    return r;
}
