/* Real checkpoints: understood as their manifest says, every value as PyTorch reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tensor_hashes.h"

static void values_are_pytorchs(void **state)
{
    (void)state;
    assert_true(compare_hashes(true) >= 50);
}

/* What $SHARED/models hold, as their manifest says. */
static void facts_are_the_manifests(void **state)
{
    (void)state;
    static const struct {
        const char *file, *arch, *say;
        int scale, input;
        long long parameters;
    } t[] = {
        {"pytorch/RealESRGAN_x4plus.half.pth", "rrdbnet", "23 blocks", 4, 0, 16697987},
        {"pytorch/RealESRGAN_x4plus_anime_6B.pth", "rrdbnet", "'params_ema'", 4, 0, 4467779},
        {"pytorch/realesr-animevideov3.pth", "srvgg", "16 convolutions", 4, 0, 621424},
        {"pytorch/realesr-animevideov3.rezipped-deflate.pth", "srvgg", "'params'", 4, 0, 621424},
        {"pytorch/realesr-general-x4v3.fp16w.pth", "srvgg", "32 convolutions", 4, 0, 1213296},
        {"pytorch/realesr-general-wdn-x4v3.half.pth", "srvgg", "64 features", 4, 0, 1213296},
        {"pytorch/sudo_UltraCompact_2x_1.121.175_G.pth", "srvgg", "8 convolutions", 2, 0, 304716},
        {"pytorch/fsrcnn_x2.pth", "fsrcnn", "d 56, s 12, m 4", 2, UPREZ_INPUT_Y_STUDIO, 12809},
        {"pytorch/espcn_2x.pth", "espcn", "sigmoid", 2, UPREZ_INPUT_Y_FULL, 21284},
        {"safetensors/realesr-animevideov3.safetensors", "srvgg", "PReLU", 4, 0, 621424},
        {"pytorch/unsupported_span_ch28_slim_x4.pth", NULL, "collapsed variant", 0, 0, 0},
        {"torchscript/realesr-animevideov3.torchscript.pt", "torchscript", "LibTorch", 0, 0, 0},
        {"tensorflow/FSRCNN_x2.pb", NULL, "unknown format", 0, 0, 0},
    };
    char path[1024];
    for (int i = 0; i < UPZ_COUNT(t); i++) {
        snprintf(path, sizeof(path), "%s/models/%s", getenv("SHARED"), t[i].file);
        UprezModel *m;
        UprezError err = {0};
        int r = upz_model_load(&m, NULL, path, NULL, &err);
        if (!t[i].arch) {
            assert_int_equal(r, UPREZ_ERR_MODEL);
            if (!strstr(err.text, t[i].say)) fail_msg("%s: %s", t[i].file, err.text);
            continue;
        }
        if (r < 0) fail_msg("%s", err.text);
        const UprezModelFacts *f = uprez_model_facts(m);
        assert_string_equal(f->architecture, t[i].arch);
        assert_int_equal(f->scale_num, t[i].scale);
        assert_int_equal(f->scale_den, 1);
        assert_int_equal(f->input, t[i].input);
        assert_int_equal(f->parameters, t[i].parameters);
        assert_int_equal(f->align, 1);
        if (!strstr(f->detail, t[i].say)) fail_msg("%s: %s", t[i].file, f->detail);
        if (i == 2)
            assert_string_equal(f->sha256,
                                "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d");
        uprez_model_unref(&m);
    }
}

/* --denoise of the pair it was made for: one file in fp32, its twin in fp16. */
static void general_mixes_with_its_twin(void **state)
{
    (void)state;
    char a[1024], b[1024];
    snprintf(a, sizeof(a), "%s/models/pytorch/realesr-general-x4v3.fp16w.pth", getenv("SHARED"));
    snprintf(b, sizeof(b), "%s/models/pytorch/realesr-general-wdn-x4v3.half.pth", getenv("SHARED"));
    UprezModelParams p = {sizeof(p), 0.25, b};
    UprezModel *mixed;
    UprezError err = {0};
    if (upz_model_load(&mixed, NULL, a, &p, &err) < 0) fail_msg("%s", err.text);
    UpzTensorSet sa = {0}, sb = {0};
    assert_int_equal(read_tensors(a, &sa, &err), 0);
    assert_int_equal(read_tensors(b, &sb, &err), 0);
    assert_int_equal(mixed->graph.n_tensors, sa.n);
    for (size_t i = 0; i < sa.n; i++) {
        const UpzTensor *m = &mixed->graph.tensors[i];
        const UpzTensor *ta = upz_tensors_find(&sa, m->name), *tb = upz_tensors_find(&sb, m->name);
        assert_true(ta && tb && ta->count == m->count && tb->count == m->count);
        for (int64_t k = 0; k < m->count; k++)
            if (m->data[k] != 0.25f * ta->data[k] + 0.75f * tb->data[k])
                fail_msg("%s, value %lld", m->name, (long long)k);
    }
    upz_tensors_free(&sa);
    upz_tensors_free(&sb);
    uprez_model_unref(&mixed);
}

int main(void)
{
    char models[1024];
    snprintf(models, sizeof(models), "%s/models", getenv("SHARED") ? getenv("SHARED") : "/nowhere");
    if (!upz_exists(models)) {
        printf("skipped: no real checkpoints at %s\n", models);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_pytorchs),
        cmocka_unit_test(facts_are_the_manifests),
        cmocka_unit_test(general_mixes_with_its_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
