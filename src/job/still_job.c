/* One still picture. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/file.h"
#include "base/queue.h"
#include "look.h"
#include "picture/convert.h"
#include "picture/place.h"
#include "size.h"
#include "video/browser.h"
#include "video/still.h"

static int check_picture(const UpzSession *s, const UprezPicture *src, const UprezPicture *dst,
                         const char *input, UprezError *err)
{
    UpzLook in, out;
    upz_look(&in, src);
    upz_look(&out, dst);
    if (upz_look_plausible(&in, &out)) return 0;
    return upz_fail(err, UPREZ_ERR_VERIFY, "%s came out black or flat: %s computes wrongly here; try "
                    "another --engine or --device", input,
                    s->info.engine ? s->info.engine : "the engine");
}

/* The size is refused before a model is read, when names tell its scale. */
static int plan_size(UpzSize *size, const UpzJobParams *p, double scale, const UpzShown *shown,
                     const UprezFormat *format, UprezError *err)
{
    int r = upz_size_of(size, p, scale, shown, err);
    return r < 0 ? r : upz_still_fits(p->output, format, size->width, size->height, err);
}

/* What the picture's file says beside its pixels and the result cannot: one line. */
static int tell_losses(const UpzSession *s, const UpzJobParams *p, const UpzStillInfo *info,
                       const UprezPicture *src, UpzJobResult *result, UprezError *err)
{
    char words[400];
    upz_still_losses(p->output, info, src, words, sizeof(words));
    if (!*words) return 0;
    const char *png = *info->others || !strcmp(upz_extension(p->output), "png") ? "" : "; .png keeps more";
    if (p->strict_streams)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot hold metadata of %s: %s%s; leave out "
                        "--strict-streams", p->output, p->input, words, png);
    upz_warn(s->ctx, "metadata of %s is lost in %s: %s%s", p->input, p->output, words, png);
    result->warnings++;
    return 0;
}

static int enlarge(UpzSession *s, const UpzJobParams *p, UpzFrame *frame, const UpzStillInfo *info,
                   UpzJobResult *result, UprezError *err)
{
    double scale;
    UpzSize size;
    UprezFormat format;
    UprezColor color;
    UprezPicture *dst = NULL;
    int r = upz_frame_picture(frame, err);
    if (r < 0) return r;
    UprezPicture *src = frame->picture;
    /* turned by EXIF: width and height change places on display */
    UpzShown shown = {.width = src->width, .height = src->height, .sar_den = 1, .square = true,
                      .rotation = info->orientation >= 5 ? 90 : 0};
    r = upz_still_format(&format, &color, src, p->output, err);
    bool sure;
    if (r >= 0)
        r = upz_session_choose(s, false, upz_size_factor(p, &shown), err);
    scale = upz_session_guess_scale(s, &sure);
    if (upz_size_asked(p)) sure = true;
    if (r >= 0 && sure && !s->loaded) r = plan_size(&size, p, scale, &shown, &format, err);
    if (r >= 0) r = upz_session_load(s, &scale, err);
    if (r >= 0) r = plan_size(&size, p, scale, &shown, &format, err);
    int inner_w = UPZ_ROUND_UP(size.inner_width, 1 << format.sub_x);
    int inner_h = UPZ_ROUND_UP(size.inner_height, 1 << format.sub_y);
    bool placed = size.inner_width != size.width || size.inner_height != size.height;
    if (!placed) inner_w = size.width, inner_h = size.height;
    if (r >= 0) r = upz_session_team(s, false, src, &format, &color, inner_w, inner_h, err);
    if (r < 0) return r;
    upz_session_describe(s, result);
    float alpha;
    if (src->format.alpha && !format.alpha && !(upz_picture_alpha_constant(src, &alpha) && alpha >= 1)) {
        upz_warn(s->ctx, "transparency is lost: %s cannot hold it; use .png, .webp or .tif", p->output);
        result->warnings++;
    }
    r = tell_losses(s, p, info, src, result, err);
    if (r < 0) return r;
    upz_session_tell(s);
    int64_t t = upz_now_ns();
    r = uprez_run(s->team.member[0], src, &dst, err);
    if (r < 0) {
        upz_session_drop_team(s);
        return r;
    }
    result->upscale_s += (double)(upz_now_ns() - t) / 1e9;
    r = check_picture(s, src, dst, p->input, err);
    t = upz_now_ns();
    if (r >= 0 && placed) r = upz_picture_set(&dst, size.width, size.height, err);
    if (r >= 0) r = upz_still_write(p->output, dst, info, 0, err);
    result->encode_s += (double)(upz_now_ns() - t) / 1e9;
    result->width = dst->width;
    result->height = dst->height;
    uprez_picture_unref(&dst);
    return r;
}

int upz_still_job(UpzSession *s, const UpzJobParams *p, UpzJobResult *result, UprezError *err)
{
    int64_t t = upz_now_ns();
    if (!upz_still_can_write(p->output))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s is a picture; write it as .png, .jpg, .webp or "
                        ".tif, not %s", p->input, p->output);
    if (!p->overwrite && upz_exists(p->output))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s exists; -y overwrites it", p->output);
    UpzFrame *frame = NULL;
    UpzStillInfo info = {0};
    int r = p->browser ? upz_browser_params(NULL, NULL, true, NULL, p->output, err) : 0;
    if (r < 0) return r;
    r = upz_still_read(&frame, &info, s->ctx, p->input, upz_watchdog_run(s->dog), err);
    result->decode_s += (double)(upz_now_ns() - t) / 1e9;
    if (r >= 0) {
        result->frames_in++;
        r = enlarge(s, p, frame, &info, result, err);
    }
    if (r >= 0) {
        result->frames_out++;
        snprintf(result->output, sizeof(result->output), "%s", p->output);
        result->bottleneck = result->upscale_s >= UPZ_MAX(result->decode_s, result->encode_s)
                                 ? "upscale"
                             : result->decode_s > result->encode_s ? "decode" : "encode";
        if (p->progress) {
            double s1 = (double)(upz_now_ns() - t) / 1e9;
            UpzProgress done = {.frame = 1, .total = 1, .fps = s1 > 0 ? 1 / s1 : 0, .eta_s = 0, .last = true,
                                .all_eta_s = -1, .bottleneck = result->bottleneck, .file = p->input};
            p->progress(p->progress_cookie, &done);
        }
        if (frame->damaged) {
            result->damaged++;
            if (p->tolerate_damage)
                upz_warn(s->ctx, "%s is damaged: a part of it is missing", p->input);
            else
                r = upz_fail(err, UPREZ_ERR_VERIFY, "%s is damaged: %s has what could be decoded "
                             "(--tolerate-damage accepts that)", p->input, p->output);
        }
    }
    upz_frame_free(&frame);
    upz_still_info_free(&info);
    result->seconds += (double)(upz_now_ns() - t) / 1e9;
    return r;
}
