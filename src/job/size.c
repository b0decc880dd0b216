#include "size.h"

#include <math.h>

#include "base/error.h"
#include "base/integer.h"

int upz_size_of(UpzSize *out, const UprezParams *params, double own_scale, int width, int height,
                int sar_num, int sar_den, int rotation, UprezError *err)
{
    bool turned = rotation == 90 || rotation == 270;
    bool shaped = sar_num > 0 && sar_den > 0 && sar_num != sar_den;
    int want_w = turned ? params->height : params->width;
    int want_h = turned ? params->width : params->height;
    double scale = params->scale > 0 ? params->scale : own_scale > 0 ? own_scale : 2;
    double w = width * scale, h = height * scale;
    *out = (UpzSize){.sar_num = sar_num > 0 ? sar_num : 0, .sar_den = sar_den > 0 ? sar_den : 1};
    if (want_w > 0 && want_h > 0) {
        w = want_w;
        h = want_h;
        if (sar_num > 0 && sar_den > 0) {
            int64_t n = (int64_t)sar_num * width * want_h, d = (int64_t)sar_den * height * want_w;
            int64_t g = upz_gcd(n, d);
            n /= g;
            d /= g;
            while (n > 65535 || d > 65535) n = (n + 1) / 2, d = (d + 1) / 2;
            out->sar_num = (int)n;
            out->sar_den = (int)d;
        }
    } else if (want_w > 0 || want_h > 0) {
        double shape = shaped ? (double)sar_num / sar_den : 1;
        w = want_w > 0 ? want_w : want_h * (width * shape) / height;
        h = want_h > 0 ? want_h : want_w * (double)height / (width * shape);
        if (shaped) out->sar_num = out->sar_den = 1;
    }
    if (!(w >= 0.5 && w < 65536.5 && h >= 0.5 && h < 65536.5))
        return upz_fail(err, UPREZ_ERR_USAGE, "the output would have %.0fx%.0f pixels; sides of 1 to "
                        "65536 are possible", w, h);
    out->width = (int)lrint(w);
    out->height = (int)lrint(h);
    return 0;
}

double upz_size_factor(const UprezParams *params, int width, int height, int sar_num, int sar_den,
                       int rotation)
{
    UpzSize size;
    UprezError err;
    if (params->scale <= 0 && params->width <= 0 && params->height <= 0) return 0;
    if (upz_size_of(&size, params, 1, width, height, sar_num, sar_den, rotation, &err) < 0) return 0;
    return fmax((double)size.width / width, (double)size.height / height);
}
