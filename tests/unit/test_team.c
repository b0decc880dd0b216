/* Several upscalers that take frames in turn: lists of devices, order, the same bytes as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "job/team.h"
#include "model/model.h"
#include "tiny_model.h"
#include "skip.h"

#define OK(call) \
    do { \
        UprezError *e_ = &err; \
        int r_ = (call); \
        if (r_ < 0) fail_msg("%s: %d %s", #call, r_, e_->text); \
    } while (0)

enum { FRAMES = 23, W = 40, H = 26 };

static UprezError err;
static UprezContext *ctx;
static UprezModel *net;
static char fake[4096];
static UprezPicture *clip[FRAMES], *want[FRAMES];

static UprezParams params(const char *device)
{
    return (UprezParams){.size = sizeof(UprezParams), .models = &net, .n_models = 1, .device = device,
                         .runtime_path = fake};
}

static int setup(void **state)
{
    (void)state;
    TinyFile t;
    const char *build = getenv("BUILD_ROOT");
    snprintf(fake, sizeof(fake), "%s/tests/fake/cuda", build ? build : "build");
    setenv("FAKE_CUDA_DEVICES", "3", 1);
    OK(uprez_context_create(&ctx, NULL, &err));
    tiny_srvgg(&t, 16, 2, 2, 1);
    OK(upz_model_load_memory(&net, ctx, "tiny.safetensors", t.data, t.size, &err));
    free(t.data);
    UprezFormat f;
    OK(uprez_format_from_name(&f, "nv12"));
    for (int i = 0; i < FRAMES; i++) {
        OK(uprez_picture_alloc(&clip[i], &f, W, H, &err));
        for (int y = 0; y < H * 3 / 2; y++) {
            const int plane = y >= H;
            uint8_t *row = (uint8_t *)clip[i]->plane[plane] + clip[i]->stride[plane] * (y - plane * H);
            for (int x = 0; x < W; x++) row[x] = (uint8_t)(60 + (x * 7 + y * (i / 2) + i % 5) % 120);
        }
        clip[i]->pts = 1000 + i;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < FRAMES; i++) {
        uprez_picture_unref(&clip[i]);
        uprez_picture_unref(&want[i]);
    }
    uprez_model_unref(&net);
    uprez_context_destroy(&ctx);
    return 0;
}

/* All frames through; returns how many were inside at once. */
static int through(const char *device, UprezPicture *results[FRAMES])
{
    UpzTeam t;
    UprezInfo info;
    UprezParams p = params(device);
    int sent = 0, got = 0, most = 0;
    OK(upz_team_create(&t, ctx, &p, &err));
    OK(upz_team_plan(&t, clip[0], &info, &err));
    assert_int_equal(info.width, 2 * W);
    assert_int_equal(upz_team_receive(&t, &results[0], -1, &err), UPREZ_AGAIN);
    while (got < FRAMES) {
        int r = sent < FRAMES ? upz_team_send(&t, clip[sent], &err) : UPREZ_AGAIN;
        if (r >= 0) {
            sent++;
            continue;
        }
        assert_int_equal(r, UPREZ_AGAIN);
        most = UPZ_MAX(most, sent - got);
        OK(upz_team_receive(&t, &results[got], -1, &err));
        assert_int_equal(results[got]->pts, 1000 + got);
        got++;
    }
    UprezCounts counts;
    upz_team_counts(&t, &counts);
    assert_int_equal(counts.pictures, FRAMES);
    upz_team_destroy(&t);
    upz_team_destroy(&t);
    return most;
}

static void same_frames_in_order(void **state)
{
    (void)state;
    UprezParams p = params("cuda:0");
    UpzTeam t;
    UprezInfo info;
    OK(upz_team_create(&t, ctx, &p, &err));
    int r = upz_team_plan(&t, clip[0], &info, &err);
    upz_team_destroy(&t);
    if (r < 0) {
        SKIP_BECAUSE("%s", err.text);
    }
    const int one = through("cuda:0", want);
    static const char *const lists[] = {"cuda:0,1", "cuda:2,0,1", "cuda:1,cuda:2"};
    for (int k = 0; k < 3; k++) {
        UprezPicture *got[FRAMES];
        const int several = through(lists[k], got);
        assert_true(several >= one + 3); /* more cards, more frames inside */
        for (int i = 0; i < FRAMES; i++) {
            for (int y = 0; y < 2 * H; y++)
                assert_memory_equal((char *)got[i]->plane[0] + y * got[i]->stride[0],
                                    (char *)want[i]->plane[0] + y * want[i]->stride[0], 2 * W);
            uprez_picture_unref(&got[i]);
        }
    }
    /* what would give other bytes beside it is refused */
    p = params("cuda:0,cpu");
    OK(upz_team_create(&t, ctx, &p, &err));
    assert_int_equal(upz_team_plan(&t, clip[0], &info, &err), UPREZ_ERR_DEVICE);
    assert_non_null(strstr(err.text, "different bytes"));
    upz_team_destroy(&t);
    p = params("cuda:0,7");
    OK(upz_team_create(&t, ctx, &p, &err));
    assert_int_equal(upz_team_plan(&t, clip[0], &info, &err), UPREZ_ERR_DEVICE);
    upz_team_destroy(&t);
}

static void lists_of_devices(void **state)
{
    (void)state;
    UpzTeam t;
    char first[UPZ_TEAM_NAME];
    static const char *const wrong[] = {"cuda:0,", ",cuda", "0,1", "cuda:0,cuda:0", "cpu,cpu",
        "cuda:0,0", "cuda:a_very_long_name_of_a_device,1",
        "cuda:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        UprezParams p = params(wrong[i]);
        assert_int_equal(upz_team_create(&t, ctx, &p, &err), UPREZ_ERR_USAGE);
        assert_int_equal(t.n, 0);
    }
    OK(upz_team_first("cuda:3,1", first, &err));
    assert_string_equal(first, "cuda:3");
    OK(upz_team_first("cpu", first, &err));
    assert_string_equal(first, "cpu");
    OK(upz_team_first(NULL, first, &err));
    assert_string_equal(first, "auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_frames_in_order),
        cmocka_unit_test(lists_of_devices),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
