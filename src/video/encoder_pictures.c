/* Frames that become files of one picture each. */
#include "encoder.h"

#include <stdio.h>
#include <string.h>
#include <libavutil/pixdesc.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/file.h"
#include "still.h"

void upz_encoder_plan_inner(UpzEncoderPlan *plan, int width, int height)
{
    int grain_x = 1 << plan->format.sub_x, grain_y = 1 << plan->format.sub_y;
    plan->inner_width = UPZ_ROUND_UP(width, grain_x);
    plan->inner_height = UPZ_ROUND_UP(height, grain_y);
}

/* What the tags of ordinary video say is what viewers take an untagged picture for; written down, some
 * would show the picture otherwise than players show the film. */
static void plain_tags(UprezColor *c)
{
    static const uint8_t ordinary[] = {1, 4, 5, 6, 14, 15};
    for (int i = 0; i < UPZ_COUNT(ordinary); i++)
        if (c->transfer == ordinary[i]) c->transfer = 2;
    if (c->transfer == 2 && (c->primaries == 1 || c->primaries == 5 || c->primaries == 6)) c->primaries = 2;
}

int upz_encoder_plan_pictures(UpzEncoderPlan *p, UprezContext *ctx, const UpzSourceInfo *info,
                              const UprezPicture *like, const char *output, int width, int height,
                              UprezError *err)
{
    memset(p, 0, sizeof(*p)); /* padding too: plans are compared */
    int r = upz_still_format(&p->format, &p->color, like, output, err);
    if (r >= 0) r = upz_still_fits(output, &p->format, width, height, err);
    if (r < 0) return r;
    plain_tags(&p->color);
    p->tags = p->color;
    p->pictures = true;
    p->alpha = p->format.alpha;
    p->width = p->inner_width = width;
    p->height = p->inner_height = height;
    p->time_base = p->codec_base = info->time_base;
    p->frame_rate = info->frame_rate.num > 0 ? info->frame_rate : (AVRational){0, 1};
    p->sar = (AVRational){0, 1};
    const char *name = uprez_format_name(&p->format);
    p->pix_fmt = name ? av_get_pix_fmt(name) : AV_PIX_FMT_NONE;
    snprintf(p->encoder, sizeof(p->encoder), "%.31s", upz_extension(output));
    snprintf(p->container, sizeof(p->container), "pictures");
    if (info->color.transfer == 16 || info->color.transfer == 18)
        upz_warn(ctx, "%s is HDR: viewers show its brightness in a picture file wrongly; a video keeps it",
                 info->url);
    if (info->alpha && !p->alpha)
        upz_warn(ctx, "transparency is lost: %s cannot hold it; use .png, .webp or .tif", output);
    return 0;
}
