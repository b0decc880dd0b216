/* What --precision auto is here: the first type of the table that all engines read which the network bears. */
#include <string.h>

#include "engine/cpu/cpu_engine.h"
#include "engine/cpu/tiles.h"
#include "engine/trial.h"

/* The built-in picture by a model with maps down to a type; NULL where that fails. */
static UprezPicture *tried_as(UprezContext *ctx, UprezModel *model, UpzType type)
{
    const UpzProgramParams params = {.features = ctx->features, .narrowest = type};
    UpzEngine *e;
    UprezError quiet;
    UprezPicture *result = NULL;
    int r = upz_cpu_open(&e, ctx, model, &params, &quiet);
    if (r >= 0) r = upz_cpu_try(e, model, false, NULL, &result, &quiet);
    upz_engine_cpu.close(&e);
    return result;
}

/* How far bf16 is from fp32 on the built-in picture, in dB; 0 where it cannot be tried. */
static double bf16_distance(UprezContext *ctx, UprezModel *model)
{
    if (!upz_tile_kernels(ctx->features) || !upz_cpu_allow_tiles()) return 0;
    UprezPicture *got = tried_as(ctx, model, UPZ_TYPE_BF16);
    UprezPicture *want = got ? tried_as(ctx, model, UPZ_TYPE_F32) : NULL;
    const double db = want ? upz_trial_pictures_psnr(got, want) : 0;
    uprez_picture_unref(&got);
    uprez_picture_unref(&want);
    upz_debug(ctx, "precision bf16: %.1f dB PSNR to fp32 on the built-in picture", db);
    return db;
}

static UpzType try_types(UprezContext *ctx, UprezModel *model)
{
    const char *precision;
    for (int i = 0; (precision = upz_auto_precision(ctx->features, i)); i++)
        if (!strcmp(precision, "bf16") && bf16_distance(ctx, model) > UPZ_TRIAL_PSNR) return UPZ_TYPE_BF16;
    return UPZ_TYPE_F32;
}

UpzType upz_cpu_auto_type(UprezContext *ctx, UprezModel *model)
{
    const int_fast64_t key = ((int_fast64_t)ctx->features << 8) + 1, mask = 0xfe;
    const int_fast64_t known = atomic_load(&model->tried);
    if ((known & ~mask) == key) return (UpzType)((known & mask) >> 1);
    const UpzType type = try_types(ctx, model);
    atomic_store(&model->tried, key | (int_fast64_t)type << 1);
    return type;
}
