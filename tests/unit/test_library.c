/* Finding and loading runtimes: the order of places, virtual environments, broken files, wheels
 * that lean on each other. Folders are made up; $BUILD_ROOT/tests/fake has libraries to load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/library.h"
#include "skip.h"

static const UpzLibrary fake = {
    .name = "Fake Runtime",
    .files = (const char *const[]){"libfake.so.1*", "libfake.so", NULL},
    .inner = (const char *const[]){"fake/capi", NULL},
    .sonames = (const char *const[]){"libfake-nowhere.so.1", NULL},
    .hint = "pip install fake",
};

static char root[256];

static void must(const char *fmt, const char *a)
{
    char command[2048];
    snprintf(command, sizeof(command), fmt, root, a);
    assert_int_equal(system(command), 0);
}

/* An empty file below the root, with its folders. */
static void touch(const char *path)
{
    char command[1024];
    snprintf(command, sizeof(command), "mkdir -p \"$(dirname '%s/%s')\" && : >'%s/%s'", root, path,
             root, path);
    assert_int_equal(system(command), 0);
}

static void set(const char *variable, const char *path)
{
    char value[600];
    if (!path) {
        unsetenv(variable);
        return;
    }
    snprintf(value, sizeof(value), "%s/%s", root, path);
    setenv(variable, value, 1);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/uprez-library-XXXXXX");
    if (!mkdtemp(root)) return -1;
    static const char *const none[] = {"UPREZ_RUNTIME_PATH", "VIRTUAL_ENV", "CONDA_PREFIX",
                                       "LD_LIBRARY_PATH", "PYENV_VERSION"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) unsetenv(none[i]);
    set("HOME", "home");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

/* PATH is only the tests' own while a library is looked for. */
static int find(const char *given, const char *path, char found[512], UprezError *err)
{
    char old[4096], full[600], mine[600];
    snprintf(old, sizeof(old), "%s", getenv("PATH"));
    snprintf(full, sizeof(full), "%s/%s", root, given ? given : "");
    snprintf(mine, sizeof(mine), "%s/%s", root, path ? path : "empty");
    setenv("PATH", mine, 1);
    *err = (UprezError){0};
    int r = upz_library_find(&fake, given ? full : NULL, found, 512, err);
    setenv("PATH", old, 1);
    return r;
}

static void expect(const char *given, const char *path, const char *wanted)
{
    char found[512], full[600];
    UprezError err;
    int r = find(given, path, found, &err);
    snprintf(full, sizeof(full), "%s/%s", root, wanted);
    if (r < 0) fail_msg("%s", err.text);
    assert_string_equal(found, full);
}

static void places_in_order(void **state)
{
    (void)state;
    char found[512];
    UprezError err;
    assert_int_equal(find("given", NULL, found, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "Fake Runtime is not installed"));
    assert_non_null(strstr(err.text, "/given"));
    assert_non_null(strstr(err.text, "pip install fake"));
    assert_string_equal(found, "");

    /* from the last place to the first: each beats those before it */
    touch("home/.local/lib/python3.9/site-packages/fake/capi/libfake.so.1");
    expect(NULL, NULL, "home/.local/lib/python3.9/site-packages/fake/capi/libfake.so.1");
    touch("py/bin/python3");
    must("chmod +x '%s/%s'", "py/bin/python3");
    touch("py/lib/python3/dist-packages/fake/capi/libfake.so");
    expect(NULL, "py/bin", "py/lib/python3/dist-packages/fake/capi/libfake.so");
    touch("conda/lib/python3.12/site-packages/fake/capi/libfake.so.1");
    set("CONDA_PREFIX", "conda");
    expect(NULL, "py/bin", "conda/lib/python3.12/site-packages/fake/capi/libfake.so.1");
    touch("venv/lib/python3.12/site-packages/fake/capi/libfake.so.1");
    set("VIRTUAL_ENV", "venv");
    expect(NULL, "py/bin", "venv/lib/python3.12/site-packages/fake/capi/libfake.so.1");
    touch("env2/libfake.so");
    set("UPREZ_RUNTIME_PATH", "env2");
    expect(NULL, "py/bin", "env2/libfake.so");
    touch("given/lib/libfake.so.1.2");
    expect("given", "py/bin", "given/lib/libfake.so.1.2");

    /* the earlier pattern, then the higher version */
    touch("given/lib/libfake.so");
    touch("given/lib/libfake.so.1.10");
    expect("given", "py/bin", "given/lib/libfake.so.1.10");
    /* a venv, a site-packages and the file itself may be given */
    expect("venv", NULL, "venv/lib/python3.12/site-packages/fake/capi/libfake.so.1");
    expect("venv/lib/python3.12/site-packages", NULL,
           "venv/lib/python3.12/site-packages/fake/capi/libfake.so.1");
    expect("given/lib/libfake.so", NULL, "given/lib/libfake.so");
    /* a list; what is not there is passed over */
    char list[700];
    snprintf(list, sizeof(list), "%s/nowhere::%s/env2:", root, root);
    setenv("UPREZ_RUNTIME_PATH", list, 1);
    expect("nowhere", NULL, "env2/libfake.so");
    /* a folder of that name is no library */
    must("mkdir -p '%s/%s'", "trap/libfake.so.1");
    expect("trap", NULL, "env2/libfake.so");
    set("UPREZ_RUNTIME_PATH", NULL);
    set("VIRTUAL_ENV", NULL);
    set("CONDA_PREFIX", NULL);
}

static void pythons_in_path(void **state)
{
    (void)state;
    set("HOME", "nobody");
    /* an activated venv: bin/python3 is a link out of it, pyvenv.cfg says it is one */
    touch("base/bin/python3.11");
    must("chmod +x '%s/%s'", "base/bin/python3.11");
    touch("base/lib/python3.11/site-packages/fake/capi/libfake.so.1");
    must("mkdir -p '%s/%s'", "v/bin");
    must("ln -s ../../base/bin/python3.11 '%s/%s'", "v/bin/python3");
    touch("v/pyvenv.cfg");
    touch("v/lib/python3.11/site-packages/fake/capi/libfake.so.1");
    expect(NULL, "v/bin", "v/lib/python3.11/site-packages/fake/capi/libfake.so.1");
    /* without the library, and closed to the system: nothing; open: the base's */
    must("rm -r '%s/%s'", "v/lib/python3.11/site-packages/fake");
    char found[512];
    UprezError err;
    assert_int_equal(find(NULL, "v/bin", found, &err), UPREZ_ERR_DEVICE);
    char command[1024];
    snprintf(
        command, sizeof(command),
        "printf 'home = %s/base/bin\\ninclude-system-site-packages = true\\n' >'%s/v/pyvenv.cfg'",
        root, root);
    assert_int_equal(system(command), 0);
    expect(NULL, "v/bin", "base/lib/python3.11/site-packages/fake/capi/libfake.so.1");
    /* a plain link is followed to the installation */
    must("mkdir -p '%s/%s'", "links");
    must("ln -s ../base/bin/python3.11 '%s/%s'", "links/python3");
    char real[PATH_MAX];
    assert_non_null(realpath(root, real));
    assert_int_equal(find(NULL, "links", found, &err), 0);
    assert_string_equal(upz_basename(found), "libfake.so.1");
    assert_non_null(strstr(found, "/base/lib/python3.11/"));
    /* pyenv: the script is not run, the version it stands for is found */
    touch("pyenv/shims/python3");
    snprintf(command, sizeof(command),
             "printf '#!/bin/sh\\ntouch %s/ran\\n' >'%s/pyenv/shims/python3'", root, root);
    assert_int_equal(system(command), 0);
    must("chmod +x '%s/%s'", "pyenv/shims/python3");
    must("echo 3.10.1 >'%s/%s'", "pyenv/version");
    touch("pyenv/versions/3.10.1/lib/python3.10/site-packages/fake/capi/libfake.so.1");
    expect(NULL, "pyenv/shims",
           "pyenv/versions/3.10.1/lib/python3.10/site-packages/fake/capi/libfake.so.1");
    char ran[300];
    snprintf(ran, sizeof(ran), "%s/ran", root);
    assert_false(upz_exists(ran));
}

static void broken_library(void **state)
{
    (void)state;
    char given[300], path[512];
    UprezError err = {0};
    void *handle = &handle;
    touch("broken/libfake.so.1");
    must("seq 1000 >'%s/%s'", "broken/libfake.so.1");
    snprintf(given, sizeof(given), "%s/broken", root);
    assert_int_equal(upz_library_open(&fake, given, &handle, path, sizeof(path), &err),
                     UPREZ_ERR_DEVICE);
    assert_null(handle);
    assert_non_null(strstr(err.text, "Fake Runtime cannot be loaded"));
    assert_non_null(strstr(err.text, "broken/libfake.so.1"));
    assert_non_null(strstr(err.text, "ELF")); /* the loader's word */
    assert_null(strchr(err.text, '\n'));
    upz_library_preload(path); /* damage is no reason to fall over */
    must("head -c 64 /proc/self/exe >'%s/%s'", "broken/libfake.so.1");
    upz_library_preload(path);
}

static void system_loader(void **state)
{
    (void)state;
    const UpzLibrary m = {.name = "the mathematics library",
                          .files = (const char *const[]){"libm-nowhere.so", NULL},
                          .inner = (const char *const[]){NULL},
                          .sonames = (const char *const[]){"libnowhere.so.3", "libm.so.6", NULL},
                          .hint = "-"};
    void *handle;
    char path[512];
    UprezError err = {0};
    assert_int_equal(upz_library_open(&m, NULL, &handle, path, sizeof(path), &err), 0);
    assert_non_null(handle);
    assert_non_null(dlsym(handle, "cos"));
    assert_non_null(strstr(path, "/libm.so.6"));
}

static void neighbours(void **state)
{
    (void)state;
    const UpzLibrary needs = {.name = "Needy",
                              .files = (const char *const[]){"libneeds.so", NULL},
                              .inner = (const char *const[]){"needy", NULL},
                              .sonames = (const char *const[]){NULL},
                              .hint = "-"};
    const char *build = getenv("BUILD_ROOT");
    if (!build) SKIP_BECAUSE("BUILD_ROOT is not set");
    char command[2048], given[300], path[512];
    snprintf(command, sizeof(command),
             "s='%s/w/lib/python3.11/site-packages' && mkdir -p $s/needy $s/nvidia/cu99/lib && "
             "cp '%s/tests/fake/libneeds.so' $s/needy/ && "
             "cp '%s/tests/fake/libneighbour.so' $s/nvidia/cu99/lib/",
             root, build, build);
    assert_int_equal(system(command), 0);
    snprintf(given, sizeof(given), "%s/w", root);
    void *handle;
    UprezError err = {0};
    int r = upz_library_open(&needs, given, &handle, path, sizeof(path), &err);
    if (r < 0) fail_msg("%s", err.text);
    int (*fn)(void);
    *(void **)&fn = dlsym(handle, "upz_test_needs");
    assert_non_null(fn);
    assert_int_equal(fn(), 42);
    snprintf(command, sizeof(command),
             "%s/lib/python3.11/site-packages/nvidia/cu99/lib/libneighbour.so", given);
    void *other = dlopen(command, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(other);
    upz_library_preload(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_in_order), cmocka_unit_test(pythons_in_path),
        cmocka_unit_test(broken_library),  cmocka_unit_test(system_loader),
        cmocka_unit_test(neighbours),
    };
    return cmocka_run_group_tests_name("library", tests, setup, teardown);
}
