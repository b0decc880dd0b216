/* Fetching: file://, HTTP and HTTPS from a badly behaved server on this machine (fetch_server.py).
 * What counts is what lies in the model folder afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "job/fetch.h"
#include "skip.h"

#define BYTES 300000

static char root[64];             /* everything the tests write */
static int http_port, https_port; /* 0 = could not be had */
static char hash[UPZ_SHA256_HEX];
static const char *const no_alias[] = {NULL};
static UpzRegistryEntry entry;

static const char *at(const char *name)
{
    static char text[4][256];
    static int turn;
    char *t = text[turn++ & 3];
    snprintf(t, 256, "%s/%s", root, name);
    return t;
}

static void fill(const char *path, size_t bytes, unsigned seed)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        fputc((int)(seed >> 24), f);
    }
    assert_int_equal(fclose(f), 0);
}

static long size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

/* How many requests of this kind the server has seen; those with a Range header alone if asked. */
static int requests(const char *how, bool ranged)
{
    FILE *f = fopen(at("served/log"), "r");
    char line[256], want[32];
    int n = 0;
    snprintf(want, sizeof(want), "%s ", how);
    while (f && fgets(line, sizeof(line), f))
        n += !strncmp(line, want, strlen(want)) && (!ranged || !strstr(line, " -"));
    if (f) fclose(f);
    return n;
}

static int start_server(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "%s", "/tmp/uprez-fetch-XXXXXX");
    if (!mkdtemp(root)) return -1;
    mkdir(at("served"), 0777);
    fill(at("served/m.pth"), BYTES, 7);
    if (upz_sha256_file(at("served/m.pth"), hash, UPREZ_ERR_MODEL, NULL) < 0) return -1;

    /* a certificate for 127.0.0.1, if openssl is here */
    char command[1024], line[64];
    bool tls = false;
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=uprez-test -addext "
             "subjectAltName=IP:127.0.0.1 -keyout %s/key.pem -out %s/cert.pem 2>/dev/null", root, root);
    FILE *p = popen(command, "r");
    if (p) tls = pclose(p) == 0;

    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) return -1;
    const char *source = getenv("SOURCE_ROOT");
    char script[512], served[80], cert[80], key[80];
    snprintf(script, sizeof(script), "%s/tests/unit/fetch_server.py", source ? source : ".");
    snprintf(served, sizeof(served), "%s/served", root);
    snprintf(cert, sizeof(cert), "%s/cert.pem", root);
    snprintf(key, sizeof(key), "%s/key.pem", root);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execlp("python3", "python3", script, served, tls ? cert : NULL, key, NULL);
        _exit(127);
    }
    close(in[0]); /* in[1] stays open: the server ends with this process */
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (!f || !fgets(line, sizeof(line), f) || sscanf(line, "%d %d", &http_port, &https_port) != 2)
        http_port = https_port = 0;
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", root, NULL);
        _exit(127);
    }
    return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

/* An empty model folder and a sound entry. */
static int fresh(void **state)
{
    static int n;
    char dir[32];
    (void)state;
    snprintf(dir, sizeof(dir), "models%d", n++);
    setenv("UPREZ_MODEL_PATH", at(dir), 1);
    unsetenv("CURL_CA_BUNDLE");
    unsetenv("SSL_CERT_FILE");
    entry = (UpzRegistryEntry){.name = "m", .file = "m.pth", .url = "", .sha256 = hash,
                               .aliases = no_alias, .bytes = BYTES};
    return 0;
}

static const char *in_models(const char *name)
{
    static char text[256];
    snprintf(text, sizeof(text), "%s/%s", getenv("UPREZ_MODEL_PATH"), name);
    return text;
}

static int pull(const char *mirror, const char *accept, UprezError *err)
{
    UpzFetchParams p = {.mirror = mirror, .accept_hash = accept};
    char *path = NULL;
    int r = upz_fetch_model(NULL, &entry, &p, &path, err);
    assert_true((r >= 0) == (path != NULL));
    if (path) assert_string_equal(path, in_models("m.pth"));
    upz_free(path);
    return r;
}

static const char *url(const char *how)
{
    static char text[64];
    if (!http_port) {
        SKIP_BECAUSE("no python3 to serve");
    }
    snprintf(text, sizeof(text), "http://127.0.0.1:%d/%s", http_port, how);
    return text;
}

static void is_right(void)
{
    char hex[UPZ_SHA256_HEX];
    assert_int_equal(upz_sha256_file(in_models("m.pth"), hex, UPREZ_ERR_MODEL, NULL), 0);
    assert_string_equal(hex, hash);
    assert_int_equal(size_of(in_models("m.pth.part")), -1);
}

static void from_a_folder(void **state)
{
    (void)state;
    char mirror[80];
    snprintf(mirror, sizeof(mirror), "file://%s/served/", root);
    assert_int_equal(pull(mirror, NULL, NULL), 0);
    is_right();
    /* begun, then finished */
    char head[1000];
    FILE *f = fopen(at("served/m.pth"), "rb");
    assert_int_equal(fread(head, 1, sizeof(head), f), sizeof(head));
    fclose(f);
    unlink(in_models("m.pth"));
    f = fopen(in_models("m.pth.part"), "wb");
    fwrite(head, 1, sizeof(head), f);
    fclose(f);
    assert_int_equal(pull(mirror, NULL, NULL), 0);
    is_right();
    UprezError err;
    unlink(in_models("m.pth"));
    snprintf(mirror, sizeof(mirror), "file://%s/nothing/", root);
    assert_int_equal(pull(mirror, NULL, &err), UPREZ_ERR_MODEL);
    assert_int_equal(size_of(in_models("m.pth.part")), -1);
}

static void plain_and_there_already(void **state)
{
    (void)state;
    int before = requests("plain", false);
    assert_int_equal(pull(url("plain"), NULL, NULL), 0);
    is_right();
    assert_int_equal(requests("plain", false), before + 1);
    assert_int_equal(pull(url("plain"), NULL, NULL), 0);
    assert_int_equal(requests("plain", false), before + 1);
    fill(in_models("m.pth"), BYTES, 8); /* damaged on disk: replaced */
    assert_int_equal(pull(url("plain"), NULL, NULL), 0);
    is_right();
}

static void broken_lines_are_resumed(void **state)
{
    (void)state;
    assert_int_equal(pull(url("drops"), NULL, NULL), 0);
    is_right();
    assert_int_equal(requests("drops", false), 4);
    assert_int_equal(requests("drops", true), 3);
}

static void a_cut_file_is_an_error_and_resumable(void **state)
{
    (void)state;
    UprezError err;
    assert_int_equal(pull(url("cut"), NULL, &err), UPREZ_ERR_INPUT);
    assert_int_equal(size_of(in_models("m.pth")), -1);
    assert_int_equal(size_of(in_models("m.pth.part")), BYTES / 2);
    assert_int_equal(pull(url("plain"), NULL, NULL), 0);
    is_right();
    assert_true(requests("plain", true) >= 1);
}

static void a_server_without_ranges(void **state)
{
    (void)state;
    mkdir(getenv("UPREZ_MODEL_PATH"), 0777);
    fill(in_models("m.pth.part"), 1000, 7); /* the right beginning */
    assert_int_equal(pull(url("no_range"), NULL, NULL), 0);
    is_right();
}

static void wrong_parts_poison_nothing(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 5000, BYTES - 1, BYTES, BYTES + 1, 3 * BYTES};
    mkdir(getenv("UPREZ_MODEL_PATH"), 0777);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        for (int known = 0; known < 2; known++) {
            entry.bytes = known ? BYTES : 0;
            unlink(in_models("m.pth"));
            fill(in_models("m.pth.part"), sizes[i], 99);
            UprezError err = {0};
            int r = pull(url("plain"), NULL, &err);
            if (r) fail_msg("part of %zu, size %s: %s", sizes[i], known ? "known" : "unknown", err.text);
            is_right();
        }
}

static void wrong_content(void **state)
{
    (void)state;
    UprezError err;
    fill(at("served/other.pth"), BYTES, 1234);
    entry.file = "other.pth";
    assert_int_equal(pull(url("plain"), NULL, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, hash)); /* what was expected */
    assert_int_equal(size_of(in_models("other.pth")), -1);
    assert_int_equal(size_of(in_models("other.pth.part")), -1);
    entry.bytes = BYTES / 2; /* more than announced */
    assert_int_equal(pull(url("plain"), NULL, &err), UPREZ_ERR_MODEL);
    assert_int_equal(size_of(in_models("other.pth")), -1);
    assert_true(size_of(in_models("other.pth.part")) <= BYTES / 2);
}

static void unverified_needs_a_promise(void **state)
{
    (void)state;
    UprezError err;
    entry.sha256 = "";
    assert_int_equal(pull(url("plain"), NULL, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, hash)); /* says what came */
    assert_int_equal(size_of(in_models("m.pth")), -1);
    char upper[UPZ_SHA256_HEX];
    for (int i = 0; i < UPZ_SHA256_HEX; i++)
        upper[i] = hash[i] >= 'a' && hash[i] <= 'f' ? (char)(hash[i] - 32) : hash[i];
    assert_int_equal(pull(url("plain"), upper, NULL), 0);
    is_right();
}

static void not_found_is_final(void **state)
{
    (void)state;
    UprezError err;
    int before = requests("plain", false);
    entry.file = "absent.pth";
    assert_int_equal(pull(url("plain"), NULL, &err), UPREZ_ERR_MODEL);
    assert_int_equal(requests("plain", false), before + 1);
    assert_int_equal(size_of(in_models("absent.pth.part")), -1);
}

static void blips_are_tried_again(void **state)
{
    (void)state;
    UprezError err;
    assert_int_equal(pull(url("busy"), NULL, NULL), 0);
    is_right();
    assert_int_equal(requests("busy", false), 3);
    unlink(in_models("m.pth"));
    assert_int_equal(pull(url("down"), NULL, &err), UPREZ_ERR_INPUT);
    int n = requests("down", false);
    assert_true(n >= 2 && n <= 10);
}

static void elsewhere_is_refused(void **state)
{
    (void)state;
    UprezError err;
    static const char *const urls[] = {"http://192.0.2.1/", "ftp://127.0.0.1/", "gopher://127.0.0.1/",
                                       "http://127.0.0.1.example.org/", "http://localhost.example/",
                                       "http://127.0.0.1:1@example.org/", "/etc", ""};
    for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++)
        assert_int_equal(pull(urls[i], NULL, &err), UPREZ_ERR_USAGE);
    /* a redirection away from https is not followed */
    assert_true(pull(url("to_http"), NULL, &err) < 0);
    assert_true(pull(url("to_file"), NULL, &err) < 0);
    assert_int_equal(size_of(in_models("m.pth")), -1);
}

static void https_wants_a_certificate(void **state)
{
    (void)state;
    if (!https_port) {
        SKIP_BECAUSE("no openssl to make a certificate");
    }
    char mirror[64];
    UprezError err;
    snprintf(mirror, sizeof(mirror), "https://127.0.0.1:%d/plain", https_port);
    assert_int_equal(pull(mirror, NULL, &err), UPREZ_ERR_INPUT); /* signed by nobody known */
    assert_int_equal(size_of(in_models("m.pth")), -1);
    setenv("SSL_CERT_FILE", at("cert.pem"), 1);
    if (pull(mirror, NULL, &err)) fail_msg("%s", err.text);
    is_right();
    unlink(in_models("m.pth"));
    snprintf(mirror, sizeof(mirror), "https://127.0.0.1:%d/to_http", https_port);
    assert_true(pull(mirror, NULL, &err) < 0);
    assert_int_equal(size_of(in_models("m.pth")), -1);
}

static void two_at_once(void **state)
{
    (void)state;
    const char *mirror = url("plain");
    int before = requests("plain", false);
    pid_t pid[4];
    for (int i = 0; i < 4; i++)
        if ((pid[i] = fork()) == 0) {
            UpzFetchParams p = {.mirror = mirror};
            char *path;
            _exit(upz_fetch_model(NULL, &entry, &p, &path, NULL) < 0);
        }
    for (int i = 0; i < 4; i++) {
        int status = -1;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    is_right();
    assert_int_equal(requests("plain", false), before + 1); /* the others found it there */
}

static void a_full_disk(void **state)
{
    (void)state;
    const char *mirror = url("plain");
    pid_t pid = fork();
    if (pid == 0) { /* files of this process may have 100,000 bytes */
        struct rlimit limit = {100000, 100000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        UpzFetchParams p = {.mirror = mirror};
        char *path;
        _exit(upz_fetch_model(NULL, &entry, &p, &path, NULL) == UPREZ_ERR_OUTPUT ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(size_of(in_models("m.pth")), -1);
    assert_int_equal(pull(mirror, NULL, NULL), 0); /* room again: goes on */
    is_right();
}

static void cancelled(void **state)
{
    (void)state;
    volatile int stop = 1;
    UprezError err;
    UpzFetchParams p = {.mirror = url("plain"), .cancel = &stop};
    char *path;
    assert_int_equal(upz_fetch_model(NULL, &entry, &p, &path, &err), UPREZ_ERR_INTERRUPTED);
    assert_null(path);
    assert_int_equal(size_of(in_models("m.pth")), -1);
    assert_int_equal(pull(url("plain"), NULL, NULL), 0);
    is_right();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(from_a_folder, fresh),
        cmocka_unit_test_setup(plain_and_there_already, fresh),
        cmocka_unit_test_setup(broken_lines_are_resumed, fresh),
        cmocka_unit_test_setup(a_cut_file_is_an_error_and_resumable, fresh),
        cmocka_unit_test_setup(a_server_without_ranges, fresh),
        cmocka_unit_test_setup(wrong_parts_poison_nothing, fresh),
        cmocka_unit_test_setup(wrong_content, fresh),
        cmocka_unit_test_setup(unverified_needs_a_promise, fresh),
        cmocka_unit_test_setup(not_found_is_final, fresh),
        cmocka_unit_test_setup(blips_are_tried_again, fresh),
        cmocka_unit_test_setup(elsewhere_is_refused, fresh),
        cmocka_unit_test_setup(https_wants_a_certificate, fresh),
        cmocka_unit_test_setup(two_at_once, fresh),
        cmocka_unit_test_setup(a_full_disk, fresh),
        cmocka_unit_test_setup(cancelled, fresh),
    };
    return cmocka_run_group_tests(tests, start_server, remove_all);
}
