/* What progress prints, against a clock of the test's own: how often, what about, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/progress.h"

static int64_t now = 1000000000;
int64_t __wrap_upz_now_ns(void);
int64_t __wrap_upz_now_ns(void) { return now; }
void upz_cli_log(void *verbosity, int level, const char *line)
{
    (void)verbosity;
    (void)level;
    (void)line;
}

static char text[1 << 20];

/* 100 s of a run that announced 500 frames and has 1000: ten reports a second. */
static int run(const char *kind, int files)
{
    UpzProgressView v;
    FILE *f = tmpfile();
    assert_non_null(f);
    upz_progress_init(&v, kind, fileno(f), false);
    for (int i = 1; i <= 1000; i++) {
        UpzProgress p = {.frame = i, .total = i > 500 ? -1 : 500, .fps = 10, .eta_s = i > 500 ? -1 : (500 - i) / 10.0,
                         .bottleneck = "upscale", .file = "folder/a film\n.mkv", .last = i == 1000,
                         .number = 3, .files = files, .all_eta_s = 250};
        now += 100000000;
        upz_progress_show(&v, &p);
    }
    upz_progress_end(&v);
    rewind(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = 0;
    fclose(f);
    int lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    return lines;
}

static void plain_is_rare(void **state)
{
    (void)state;
    int lines = run("plain", 0);
    assert_in_range(lines, 15, 20); /* each 5 s of 100, also behind the announced end */
    assert_non_null(strstr(text, "frame 51 of 500, 10.00 a second, 0:44 left"));
    assert_null(strstr(text, " of -1"));
    assert_null(strstr(text, "--:--"));
}

static void several_files_are_told_apart(void **state)
{
    (void)state;
    run("plain", 7);
    assert_non_null(strstr(text, "uprez: 3 of 7, a film?.mkv: frame 51 of 500"));
    assert_non_null(strstr(text, "4:10 left for all"));
    run("json", 7);
    assert_non_null(strstr(text, "\"file_number\":3,\"files\":7,\"eta_all_s\":250"));
}

static void json_is_twice_a_second(void **state)
{
    (void)state;
    int lines = run("json", 0);
    assert_in_range(lines, 190, 202);
    assert_non_null(strstr(text, "\"total\":null"));
    char *last = strrchr(text, '{');
    assert_non_null(strstr(last, "\"frame\":1000")); /* the end is told whatever the time */
    assert_null(strstr(text, "file_number"));
}

static void none_is_nothing(void **state)
{
    (void)state;
    assert_int_equal(run("none", 7), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_is_rare), cmocka_unit_test(several_files_are_told_apart),
        cmocka_unit_test(json_is_twice_a_second), cmocka_unit_test(none_is_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
