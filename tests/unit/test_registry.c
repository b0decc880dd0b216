/* The registry: what data/models.json says is what the program knows; names people use; where files
 * are looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "model/model.h"
#include "model/registry.h"

static char root[64];

static int begin(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "%s", "/tmp/uprez-registry-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static const char *at(const char *name)
{
    static char text[4][256];
    static int turn;
    char *t = text[turn++ & 3];
    snprintf(t, 256, "%s/%s", root, name);
    return t;
}

static void touch(const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("x", f);
    fclose(f);
}

static void the_table_is_the_file(void **state)
{
    (void)state;
    char path[512];
    const char *source = getenv("SOURCE_ROOT");
    snprintf(path, sizeof(path), "%s/data/models.json", source ? source : ".");
    UpzMap m;
    assert_int_equal(upz_map_open(&m, path, 1 << 20, UPREZ_ERR_INPUT, NULL), 0);
    cJSON *all = cJSON_ParseWithLength((const char *)m.data, m.size);
    upz_map_close(&m);
    assert_non_null(all);
    cJSON *models = cJSON_GetObjectItem(all, "models"), *j;
    assert_int_equal(cJSON_GetArraySize(models), upz_registry_count());
    int i = 0;
    cJSON_ArrayForEach(j, models)
    {
        const UpzRegistryEntry *e = upz_registry_get(i++);
        assert_string_equal(e->name, cJSON_GetObjectItem(j, "name")->valuestring);
        if (e->embedded) continue; /* embedded_networks looks at these */
        assert_string_equal(e->sha256, cJSON_GetObjectItem(j, "sha256")->valuestring);
        assert_int_equal(e->bytes, (int64_t)cJSON_GetObjectItem(j, "bytes")->valuedouble);
        assert_int_equal(e->scale, cJSON_GetObjectItem(j, "scale")->valueint);
        /* a hash only where two public places agree */
        int seen = cJSON_GetObjectItem(j, "sha256_seen")->valueint;
        assert_int_equal(strlen(e->sha256), seen >= 2 ? 64 : 0);
        assert_int_equal(strspn(e->sha256, "0123456789abcdef"), strlen(e->sha256));
        assert_int_equal(strncmp(e->url, "https://github.com/xinntao/Real-ESRGAN/releases/download/", 57), 0);
        assert_string_equal(upz_basename(e->url), e->file);
        if (e->twin) assert_non_null(upz_registry_find(e->twin));
    }
    cJSON_Delete(all);
    assert_null(upz_registry_get(-1));
    assert_null(upz_registry_get(upz_registry_count()));
}

static void names_people_use(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"RealESRGAN_x4plus", "RealESRGAN_x4plus"},
        {"RealESRGAN_x4plus.pth", "RealESRGAN_x4plus"},
        {"realesrgan-x4plus", "RealESRGAN_x4plus"}, /* ncnn */
        {"realesrgan-x4plus-anime", "RealESRGAN_x4plus_anime_6B"},
        {"realesrnet-x4plus", "RealESRNet_x4plus"},
        {"realesr-animevideov3", "realesr-animevideov3"},
        {"realesr-animevideov3-x4", "realesr-animevideov3"},
        {"REALESR-GENERAL-X4V3", "realesr-general-x4v3"},
        {"realesr-general-wdn-x4v3.pth", "realesr-general-wdn-x4v3"},
        {"RealESRGANv2-animevideo-xsx2", "RealESRGANv2-animevideo-xsx2"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const UpzRegistryEntry *e = upz_registry_find(names[i][0]);
        if (!e) fail_msg("%s is not known", names[i][0]);
        assert_string_equal(e->name, names[i][1]);
    }
    assert_string_equal(upz_registry_find("realesr-general-x4v3")->twin, "realesr-general-wdn-x4v3");
    static const char *const strangers[] = {"", "real", "RealESRGAN_x4plus.exe", "realesr-animevideov3-x2",
                                            "RealESRGAN_x4plus ", "lanczos"};
    for (size_t i = 0; i < sizeof(strangers) / sizeof(*strangers); i++)
        assert_null(upz_registry_find(strangers[i]));
}

/* The bytes compiled in are those of the file beside the sources, and a network of the scale said. */
static void embedded_networks(void **state)
{
    (void)state;
    const char *source = getenv("SOURCE_ROOT");
    int seen = 0;
    for (int i = 0; i < upz_registry_count(); i++) {
        const UpzRegistryEntry *e = upz_registry_get(i);
        if (!e->embedded) continue;
        seen++;
        char path[512], hex[UPZ_SHA256_HEX];
        snprintf(path, sizeof(path), "%s/data/networks/%s", source ? source : ".", e->file);
        UpzMap m;
        assert_int_equal(upz_map_open(&m, path, 1 << 20, UPREZ_ERR_INPUT, NULL), 0);
        assert_int_equal(m.size, e->bytes);
        assert_memory_equal(m.data, e->embedded, m.size);
        upz_map_close(&m);
        upz_sha256(e->embedded, (size_t)e->bytes, hex);
        assert_string_equal(hex, e->sha256);
        UprezModel *model;
        UprezError err = {0};
        if (upz_model_load(&model, NULL, e->name, NULL, &err) < 0) fail_msg("%s", err.text);
        const UprezModelFacts *f = uprez_model_facts(model);
        assert_int_equal(f->scale_num, e->scale * f->scale_den);
        assert_string_equal(f->architecture, e->architecture);
        assert_string_equal(f->sha256, e->sha256);
        assert_int_equal(f->input, UPREZ_INPUT_Y_STUDIO);
        /* what the three may cost: kFLOP a source pixel, and bytes */
        assert_in_range(2 * f->macs, 1, e->scale == 2 ? 60000 : 120000);
        assert_in_range(e->bytes, 1, 150000);
        uprez_model_unref(&model);
    }
    assert_int_equal(seen, 3);
}

static void defaults(void **state)
{
    (void)state;
    static const struct {
        int video;
        double scale;
        const char *first, *second;
    } want[] = {
        {0, 0, "uprez-fast-2x", NULL},        {0, 2, "uprez-fast-2x", NULL},
        {0, 1.5, "uprez-fast-2x", NULL},      {0, 2.005, "uprez-fast-2x", NULL},
        {0, 3, "uprez-fast-4x", NULL},        {0, 9, "uprez-fast-4x", NULL},
        {0, 1, "lanczos", NULL},              {0, 0.3, "lanczos", NULL},
        {1, 0, "uprez-video-2x", NULL},       {1, 2, "uprez-video-2x", NULL},
        {1, 1, "lanczos", NULL},              {1, 4, "uprez-video-2x", "uprez-fast-2x"},
        {1, 2.5, "uprez-video-2x", "uprez-fast-2x"},
    };
    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
        const char *names[UPREZ_DEFAULT_MODELS];
        int n = uprez_default_models(want[i].video, want[i].scale, names);
        assert_int_equal(n, want[i].second ? 2 : 1);
        assert_string_equal(names[0], want[i].first);
        if (n == 2) assert_string_equal(names[1], want[i].second);
    }
}

static void found_at(const char *name, const char *want)
{
    char *path;
    UprezError err = {0};
    int r = upz_registry_locate(name, &path, NULL, &err);
    if (r < 0) fail_msg("%s: %s", name, err.text);
    assert_string_equal(path, want);
    upz_free(path);
}

static void places_in_order(void **state)
{
    (void)state;
    char both[256], *path;
    const UpzRegistryEntry *e;
    UprezError err;
    mkdir(at("a"), 0777);
    mkdir(at("b"), 0777);
    snprintf(both, sizeof(both), "%s:%s", at("a"), at("b"));
    setenv("UPREZ_MODEL_PATH", both, 1);
    setenv("HOME", root, 1);
    unsetenv("XDG_DATA_HOME");

    assert_int_equal(upz_registry_locate("animevideov3", &path, &e, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "uprez model pull realesr-animevideov3"));
    assert_non_null(strstr(err.text, at("b")));
    assert_null(path);

    char *dir;
    unsetenv("UPREZ_MODEL_PATH"); /* made when missing */
    assert_int_equal(upz_registry_dir(&dir, NULL), 0);
    assert_string_equal(dir, at(".local/share/uprez/models"));
    upz_free(dir);
    setenv("UPREZ_MODEL_PATH", both, 1);
    touch(at(".local/share/uprez/models/realesr-animevideov3.pth"));
    found_at("realesr-animevideov3", at(".local/share/uprez/models/realesr-animevideov3.pth"));
    touch(at("b/realesr-animevideov3.pth"));
    found_at("realesr-animevideov3-x4", at("b/realesr-animevideov3.pth"));
    touch(at("a/realesr-animevideov3.pth"));
    found_at("animevideov3", at("a/realesr-animevideov3.pth"));
    /* names the registry does not have */
    touch(at("b/mine.safetensors"));
    found_at("mine", at("b/mine.safetensors"));
    /* a path is a path, also when its name is known */
    touch(at("realesr-animevideov3.pth"));
    found_at(at("realesr-animevideov3.pth"), at("realesr-animevideov3.pth"));
    assert_int_equal(upz_registry_locate(at("none.pth"), &path, NULL, &err), UPREZ_ERR_MODEL);
    assert_non_null(strstr(err.text, "none.pth"));
    found_at("lanczos", "lanczos");
    found_at("uprez-fast-2x", "uprez-fast-2x");
    found_at("Uprez-Fast-2x.safetensors", "uprez-fast-2x");
}

static int end(void **state)
{
    (void)state;
    static const char *const files[] = {
        "a/realesr-animevideov3.pth", "b/realesr-animevideov3.pth", "b/mine.safetensors",
        "realesr-animevideov3.pth", ".local/share/uprez/models/realesr-animevideov3.pth",
        ".local/share/uprez/models", ".local/share/uprez", ".local/share", ".local", "a", "b", ""};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) remove(at(files[i]));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_the_file),
        cmocka_unit_test(names_people_use),
        cmocka_unit_test(embedded_networks),
        cmocka_unit_test(defaults),
        cmocka_unit_test(places_in_order),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
