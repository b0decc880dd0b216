/* Torch and safetensors files: every value as PyTorch reads it; damaged and malicious files are
 * refused with a sentence, at any cut and after any flipped bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"
#include "tensor_hashes.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

static void seeds_hold_pytorchs_values(void **state)
{
    (void)state;
    assert_true(compare_hashes(false) > 100);
}

/* tests/data/seeds/expect.txt: file, then "ok ARCHITECTURE" or a part of the error. */
static void each_seed(void (*check)(const char *path, const char *want, int seed))
{
    char path[1200], line[1024];
    path_of(path, sizeof(path), "seeds/", "expect.txt");
    FILE *list = fopen(path, "r");
    assert_non_null(list);
    int n = 0;
    while (fgets(line, sizeof(line), list)) {
        char *tab = strchr(line, '\t'), *end = strchr(line, '\n');
        if (line[0] == '#' || !tab || !end) continue;
        *tab = *end = 0;
        path_of(path, sizeof(path), "seeds/", line);
        check(path, tab + 1, n++);
    }
    fclose(list);
    assert_true(n > 90);
}

static void check_seed(const char *path, const char *want, int seed)
{
    (void)seed;
    UprezModel *m;
    UprezError err = {0};
    int r = upz_model_load(&m, NULL, path, NULL, &err);
    if (!strncmp(want, "ok ", 3)) {
        if (r < 0) fail_msg("%s: %s", path, err.text);
        assert_string_equal(uprez_model_facts(m)->architecture, want + 3);
        uprez_model_unref(&m);
        return;
    }
    if (r != UPREZ_ERR_MODEL) fail_msg("%s: %d instead of a refusal", path, r);
    assert_null(m);
    assert_int_equal(err.code, UPREZ_ERR_MODEL);
    if (!strstr(err.text, want)) fail_msg("%s: '%s' should say '%s'", path, err.text, want);
    if (!strstr(err.text, upz_basename(path))) fail_msg("'%s' does not name the file", err.text);
}

static void seeds_end_as_expected(void **state)
{
    (void)state;
    each_seed(check_seed);
#ifndef SANITIZED
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    assert_true(u.ru_maxrss < 150 * 1024); /* KiB: no seed is bigger than 100 KB */
#endif
}

static void load_copy(const char *path, const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1); /* so that a sanitizer sees reads past the end */
    memcpy(exact, data, size);
    UprezModel *m;
    UprezError err = {0};
    int r = upz_model_load_memory(&m, NULL, path, exact, size, &err);
    if (r >= 0)
        uprez_model_unref(&m);
    else if (r != UPREZ_ERR_MODEL || !err.text[0])
        fail_msg("%s: %d %s", path, r, err.text);
    free(exact);
}

static void cut_and_flip(const char *path, const char *want, int seed)
{
    (void)want;
    UpzMap map;
    assert_int_equal(upz_map_open(&map, path, 1 << 20, UPREZ_ERR_MODEL, NULL), 0);
    size_t step = map.size > 4000 ? map.size / 97 : map.size / 40 + 1;
    for (size_t n = 0; n < map.size; n += step) load_copy(path, map.data, n);
    uint8_t *copy = malloc(map.size);
    uint32_t x = (uint32_t)seed * 2654435761u + 1;
    for (int i = 0; i < 150; i++) {
        memcpy(copy, map.data, map.size);
        for (int k = 0; k <= i % 4; k++) {
            x = x * 1664525u + 1013904223u;
            copy[(size_t)((uint64_t)x * map.size >> 32)] ^= (uint8_t)(1u << (x >> 5 & 7));
        }
        load_copy(path, copy, map.size);
    }
    free(copy);
    upz_map_close(&map);
}

static void damage_never_crashes(void **state)
{
    (void)state;
    each_seed(cut_and_flip);
}

/* A good file cut anywhere is refused, never half read. */
static void every_cut_is_refused(void **state)
{
    (void)state;
    static const char *const files[] = {"pth/half.pth", "pth_legacy/flat.pth",
                                        "safetensors/f16.safetensors"};
    for (int f = 0; f < UPZ_COUNT(files); f++) {
        char path[1024];
        path_of(path, sizeof(path), "seeds/", files[f]);
        UpzMap map;
        assert_int_equal(upz_map_open(&map, path, 1 << 20, UPREZ_ERR_MODEL, NULL), 0);
        for (size_t n = 1; n < map.size; n += n + 64 < map.size ? 7 : 1) {
            UprezModel *m;
            int r = upz_model_load_memory(&m, NULL, path, map.data, n, NULL);
            if (r != UPREZ_ERR_MODEL) fail_msg("%s cut to %zu bytes: %d", path, n, r);
        }
        upz_map_close(&map);
    }
}

static void halves_widen_exactly(void **state)
{
    (void)state;
    static const struct {
        uint16_t h;
        float f;
    } t[] = {{0x0000, 0.0f},          {0x3c00, 1.0f},       {0xc000, -2.0f},
             {0x7bff, 65504.0f},      {0x0400, 0x1p-14f},   {0x0001, 0x1p-24f},
             {0x83ff, -0x1.ff8p-15f}, {0x3555, 0x1.554p-2f}};
    for (int i = 0; i < UPZ_COUNT(t); i++) assert_true(upz_half_to_float(t[i].h) == t[i].f);
    assert_true(upz_half_to_float(0x7c00) == 1 / 0.0f);
    assert_true(upz_half_to_float(0x7e00) != upz_half_to_float(0x7e00));
    assert_true(upz_bfloat_to_float(0x3f80) == 1.0f && upz_bfloat_to_float(0xc000) == -2.0f);
    /* every half and its float order alike: no gap at the subnormals' end */
    for (uint16_t h = 0; h < 0x7c00; h++)
        assert_true(upz_half_to_float(h) < upz_half_to_float((uint16_t)(h + 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_widen_exactly),       cmocka_unit_test(seeds_end_as_expected),
        cmocka_unit_test(seeds_hold_pytorchs_values), cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(damage_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
