/* The option parser: spellings, ranges, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "cli/options.h"
#include "base/compiler.h"

static struct {
    bool flag;
    const char *text, *pick;
    UpzStringList list;
    int n, size[2];
    double f, t;
} v;

static const UpzOption table[] = {
    {"-x --flag | --old", UPZ_OPT_FLAG, NULL, &v.flag, 0, 0, "", NULL},
    {"-o --text", UPZ_OPT_STRING, "T", &v.text, 0, 0, "", NULL},
    {"-m --many", UPZ_OPT_LIST, "M", &v.list, 0, 0, "", NULL},
    {"-n --number", UPZ_OPT_INT, "N", &v.n, -5, 10, "", NULL},
    {"-dn --real", UPZ_OPT_DOUBLE, "F", &v.f, 0, 1, "", NULL},
    {"--time", UPZ_OPT_TIME, "T", &v.t, 0, 0, "", NULL},
    {"--size", UPZ_OPT_SIZE, "WxH", v.size, 0, 0, "", NULL},
    {"--pick", UPZ_OPT_CHOICE, "one|two", &v.pick, 0, 0, "", NULL},
};

static UprezError err;
static const char *pos[2];

static int parse(const char *line)
{
    char copy[256];
    char *argv[32] = {(char *)"test"};
    int argc = 1;
    memset(&v, 0, sizeof(v));
    strncpy(copy, line, sizeof(copy) - 1);
    copy[255] = 0;
    char *save;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) argv[argc++] = w;
    static char keep[256];
    memcpy(keep, copy, sizeof(keep));
    for (int i = 1; i < argc; i++) argv[i] = keep + (argv[i] - copy);
    return upz_options_parse(table, UPZ_COUNT(table), argc, argv, pos, 2, "", &err);
}

static void spellings(void **state)
{
    (void)state;
    assert_int_equal(parse("a -x -o b --number=-3 -m 1 --many 2 c -dn 0.5"), 2);
    assert_string_equal(pos[0], "a");
    assert_string_equal(pos[1], "c");
    assert_true(v.flag && v.n == -3 && v.f == 0.5 && v.list.n == 2);
    assert_string_equal(v.text, "b");
    assert_int_equal(parse("-n7 --old -- -x"), 1);
    assert_true(v.n == 7 && v.flag);
    assert_string_equal(pos[0], "-x");
    assert_int_equal(parse("- -o -"), 1);
    assert_string_equal(v.text, "-");
    assert_int_equal(parse("-n -2"), 0);
    assert_int_equal(v.n, -2);
    assert_int_equal(parse("--time 1:02:03.5 --size 640x360 --pick two"), 0);
    assert_true(v.t == 3723.5 && v.size[0] == 640 && v.size[1] == 360);
    assert_string_equal(v.pick, "two");
}

static void refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "--nothing", "-z", "-n", "-n 11", "-n 1.5", "-n x", "-dn 1.01", "-dn nan", "--time 1:60",
        "--time -1", "--time 1:2:3:4", "--size 10", "--size 0x5", "--size 10x10x", "--pick on",
        "--flag=1", "-xo", "a b c", "-o --flag", "--num 3"};
    for (int i = 0; i < UPZ_COUNT(bad); i++) {
        err.text[0] = 0;
        if (parse(bad[i]) != UPREZ_ERR_USAGE) fail_msg("'%s' was accepted", bad[i]);
        assert_true(strlen(err.text) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(spellings), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
