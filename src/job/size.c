#include "size.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"
#include "base/error.h"

/* Names that screens and video sites use; any other height is 1080p's way of saying it. */
static const struct {
    const char *name;
    int width, height;
} screens[] = {{"8k", 7680, 4320}, {"5k", 5120, 2880}, {"4k", 3840, 2160}, {"uhd", 3840, 2160},
               {"2k", 2560, 1440}, {"qhd", 2560, 1440}, {"fhd", 1920, 1080}, {"fullhd", 1920, 1080},
               {"hd", 1280, 720}};

int upz_size_parse(int size[2], bool *named, const char *text, UprezError *err)
{
    int used = 0, height = 0;
    char x = 0;
    *named = true;
    for (int i = 0; i < UPZ_COUNT(screens); i++)
        if (!strcasecmp(text, screens[i].name)) {
            size[0] = screens[i].width;
            size[1] = screens[i].height;
            return 0;
        }
    if (sscanf(text, "%5d%*1[pP]%n", &height, &used) == 1 && used && !text[used] && height >= 16 &&
        height <= 8640) {
        size[1] = height;
        size[0] = (height * 16 / 9 + 1) / 2 * 2;
        return 0;
    }
    *named = false;
    used = 0;
    if (sscanf(text, "%5d%c%5d%n", &size[0], &x, &size[1], &used) == 3 && (x == 'x' || x == 'X' || x == ':') &&
        !text[used] && size[0] >= 1 && size[1] >= 1 && size[0] <= 65536 && size[1] <= 65536)
        return 0;
    return upz_fail(err, UPREZ_ERR_USAGE, "--size %s: give WIDTHxHEIGHT in pixels, as 1920x1080, or a name "
                    "(8k, 4k, 1440p, 1080p, 720p, 480p, …)", text);
}

static int whole(double v, bool even)
{
    v = even ? 2 * round(v / 2) : round(v);
    return v < 1 ? 1 + even : v > 1e6 ? 1000000 : (int)v;
}

/* Into a box of both sides. dw, dh: the source with square pixels. */
static void fit_box(UpzSize *out, double *w, double *h, const UpzJobParams *p, const UpzShown *src,
                    double dw, double dh, int box_w, int box_h)
{
    const char *fit = p->fit ? p->fit : "contain";
    bool cover = !strcmp(fit, "cover"), stretch = !strcmp(fit, "stretch");
    double fx = box_w / dw, fy = box_h / dh;
    bool wide = cover ? fx > fy : fx < fy; /* the width decides */
    double f = wide ? fx : fy;
    int inner_w = stretch || wide ? box_w : whole(dw * f, src->even);
    int inner_h = stretch || !wide ? box_h : whole(dh * f, src->even);
    bool inside = strcmp(fit, "contain") != 0;
    *w = inside ? box_w : inner_w;
    *h = inside ? box_h : inner_h;
    out->inner_width = inner_w;
    out->inner_height = inner_h;
}

bool upz_size_asked(const UpzJobParams *p)
{
    return p->upscale.scale > 0 || p->upscale.width > 0 || p->upscale.height > 0;
}

int upz_size_of(UpzSize *out, const UpzJobParams *p, double own_scale, const UpzShown *src,
                UprezError *err)
{
    const UprezParams *u = &p->upscale;
    bool turned = src->rotation == 90 || src->rotation == 270;
    bool known = src->sar_num > 0 && src->sar_den > 0, shaped = known && src->sar_num != src->sar_den;
    int want_w = turned ? u->height : u->width, want_h = turned ? u->width : u->height;
    double scale = u->scale > 0 ? u->scale : own_scale > 0 ? own_scale : 2;
    double shape = shaped ? (double)src->sar_num / src->sar_den : 1;
    double dw = src->width * shape, dh = src->height, w = src->width * scale, h = src->height * scale;
    bool square = want_w > 0 || want_h > 0 || src->square;
    *out = (UpzSize){.sar_num = known ? src->sar_num : 0, .sar_den = known ? src->sar_den : 1};
    /* a size with a name lies as the picture does */
    if (p->turn && want_w > 0 && want_h > 0 && (want_w > want_h) != (dw >= dh)) {
        int side = want_w;
        want_w = want_h;
        want_h = side;
    }
    if (want_w > 0 && want_h > 0) fit_box(out, &w, &h, p, src, dw, dh, want_w, want_h);
    else if (want_w > 0) w = want_w, h = dh * want_w / dw;
    else if (want_h > 0) h = want_h, w = dw * want_h / dh;
    else if (src->square) w *= shape;
    if (square && known) out->sar_num = out->sar_den = 1;
    if (!(w >= 0.5 && w < 65536.5 && h >= 0.5 && h < 65536.5 && out->inner_width <= 65536 &&
          out->inner_height <= 65536))
        return upz_fail(err, UPREZ_ERR_USAGE, "the output would have %.0fx%.0f pixels; sides of 1 to "
                        "65536 are possible", fmax(w, out->inner_width), fmax(h, out->inner_height));
    out->width = (int)lrint(w);
    out->height = (int)lrint(h);
    if (!out->inner_width) out->inner_width = out->width, out->inner_height = out->height;
    return 0;
}

double upz_size_factor(const UpzJobParams *p, const UpzShown *src)
{
    UpzSize size;
    UprezError err;
    if (!upz_size_asked(p) || upz_size_of(&size, p, 1, src, &err) < 0) return 0;
    return fmax((double)size.inner_width / src->width, (double)size.inner_height / src->height);
}
