/* Entry: signals, the log on stderr, and which command runs. */
#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/alloc.h"
#include "base/file.h"
#include "cli/commands.h"

volatile int upz_cli_signal;

/* Every command. To add one: cmd_NAME.c, its prototype in commands.h, one line here. */
static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"model", upz_cmd_model},
    {"bench", upz_cmd_bench},
    {"check", upz_cmd_check},
    {"compare", upz_cmd_compare},
    {"devices", upz_cmd_devices},
    {"estimate", upz_cmd_estimate},
    {"sample", upz_cmd_sample},
};

/* Words that are kept for commands: never taken for a file's name, so that scripts mean the same when
 * the command has come. Those in the list above are found before these. */
static const struct {
    const char *name, *instead;
} reserved[] = {
    {"job", "the same command again goes on where a run was interrupted"},
};

static int refuse_reserved(const char *word)
{
    for (int i = 0; i < UPZ_COUNT(reserved); i++) {
        if (strcmp(word, reserved[i].name)) continue;
        fprintf(stderr, "uprez: there is no 'uprez %s' yet: %s; a file of that name is written ./%s\n", word,
                reserved[i].instead, word);
        return 2;
    }
    return 0;
}

int upz_cli_exit_code(int code)
{
    if (code >= 0) return 0;
    if (code == UPREZ_ERR_INTERRUPTED) return upz_cli_signal == SIGTERM ? 143 : 130;
    return code >= -8 ? -code : 1;
}

void upz_cli_plain(FILE *to, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        fputc(*c < 0x20 || *c == 0x7f ? '?' : *c, to);
}

int upz_cli_error(const UprezError *err)
{
    fprintf(stderr, "uprez: %s\n", err->text[0] ? err->text : uprez_strerror(err->code));
    return upz_cli_exit_code(err->code);
}

void upz_cli_text(const char *text)
{
    char *valid = upz_utf8(text);
    puts(valid ? valid : text);
    upz_free(valid);
}

void upz_cli_log(void *verbosity, int level, const char *line)
{
    static const char *const label[] = {"error: ", "warning: ", "", "debug: "};
    int v = *(const int *)verbosity;
    if (level > (v < 0 ? UPREZ_LOG_ERROR : v == 0 ? UPREZ_LOG_INFO : UPREZ_LOG_DEBUG)) return;
    fprintf(stderr, "uprez: %s%s\n", label[level], line);
}

static void on_signal(int sig)
{
    if (upz_cli_signal) _exit(128 + sig); /* asked twice: at once */
    upz_cli_signal = sig;
}

/* A command that is nearly one: its first letters, or a few more; or a part of 'uprez model'. */
static const char *meant(const char *word, const char *next)
{
    static const char *const parts[] = {"list", "info", "verify", "pull", "convert"};
    size_t len = strlen(word);
    for (int i = 0; i < UPZ_COUNT(parts); i++)
        if (!strcmp(word, parts[i])) return "model";
    for (int i = 0; i < UPZ_COUNT(commands) && len >= 3; i++) {
        const char *name = commands[i].name;
        size_t n = strlen(name);
        if (!strncmp(word, name, UPZ_MIN(len, n)) && len <= n + 4) {
            /* "models.mp4 out.mp4" is a name that is mistyped otherwise */
            return strpbrk(word, "./") || (next && strpbrk(next, "/") && strcmp(name, "model"))
                       ? NULL : name;
        }
    }
    return NULL;
}

static int hint(int argc, char **argv)
{
    const char *name = meant(argv[1], argc > 2 ? argv[2] : NULL);
    if (!name) return 0;
    bool part = !strcmp(name, "model") && strncmp(argv[1], "mod", 3);
    fprintf(stderr, "uprez: there is no file or command '");
    upz_cli_plain(stderr, argv[1]);
    fprintf(stderr, "'; is 'uprez %s", name);
    for (int i = part ? 1 : 2; i < argc; i++) {
        fputc(' ', stderr);
        upz_cli_plain(stderr, argv[i]);
    }
    fprintf(stderr, "' meant?\n");
    return 2;
}

static int run(int argc, char **argv)
{
    if (argc > 1) {
        for (int i = 0; i < UPZ_COUNT(commands); i++)
            if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 1, argv + 1);
        if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
            printf("uprez %s\n", uprez_version());
            return 0;
        }
        if (refuse_reserved(argv[1])) return 2;
        if (!upz_exists(argv[1])) {
            if (!strcmp(argv[1], "help")) { /* as of other programs: uprez help [COMMAND] */
                static char option[] = "--help";
                char *words[] = {argv[0], option, NULL, NULL, NULL};
                int n = 1;
                for (; n + 1 < argc && n < 3; n++) words[n] = argv[n + 1];
                words[n] = option;
                return run(n + 1, words);
            }
            int code = argv[1][0] == '-' ? 0 : hint(argc, argv);
            if (code) return code;
        }
    }
    return upz_cmd_upscale(argc, argv);
}

/* Runtimes such as LibTorch allocate a network's maps anew for every picture: they shall get the pages
 * that they gave back, not cleared ones from the system each time. */
static void keep_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1); /* those of other threads hold 64 MiB in one piece at most */
    if (mallopt(M_MMAP_THRESHOLD, 1 << 30) || mallopt(M_MMAP_THRESHOLD, 32 << 20))
        mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

int main(int argc, char **argv)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error with a sentence */
    signal(SIGXFSZ, SIG_IGN); /* so is a limit on a file's size */
    setenv("SVT_LOG", "0", 0); /* SVT-AV1 tells its settings otherwise */
    keep_memory();

    int code = run(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fprintf(stderr, "uprez: standard output cannot be written: %s\n", strerror(errno));
    return code ? code : 7;
}
