#include "look.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"

#define GRID 32

static float sample(const UprezFormat *f, const UprezComponent *c, const uint8_t *row, int x)
{
    const uint8_t *p = row + c->offset + (size_t)x * c->step;
    if (f->depth == 32) {
        float v;
        memcpy(&v, p, sizeof(v));
        return v;
    }
    unsigned v = *p;
    if (f->depth > 8) {
        uint16_t w;
        memcpy(&w, p, sizeof(w));
        v = w >> f->shift;
    }
    return (float)v / (float)((1u << f->depth) - 1);
}

static const uint8_t *row_of(const UprezPicture *p, const UprezComponent *c, int y)
{
    return (const uint8_t *)p->plane[c->plane] + (ptrdiff_t)y * p->stride[c->plane];
}

void upz_look(UpzLook *look, const UprezPicture *p)
{
    const UprezFormat *f = &p->format;
    const UprezComponent *c = &f->comp[f->model == UPREZ_RGB ? 1 : 0];
    const UprezComponent *alpha = f->alpha ? &f->comp[f->n_comp - 1] : NULL;
    double sum = 0, squares = 0;
    int n = 0;
    *look = (UpzLook){.min = 1e9f, .max = -1e9f};
    int ny = UPZ_MIN(GRID, p->height), nx = UPZ_MIN(GRID, p->width);
    for (int j = 0; j < ny; j++) {
        int y = (int)(((int64_t)2 * j + 1) * p->height / (2 * ny));
        const uint8_t *row = row_of(p, c, y), *seen = alpha ? row_of(p, alpha, y) : NULL;
        for (int i = 0; i < nx; i++) {
            const int x = (int)(((int64_t)2 * i + 1) * p->width / (2 * nx));
            if (alpha && !(sample(f, alpha, seen, x) > 0)) continue;
            float v = sample(f, c, row, x);
            n++;
            look->min = UPZ_MIN(look->min, v);
            look->max = UPZ_MAX(look->max, v);
            sum += (double)v;
            squares += (double)v * (double)v;
        }
    }
    double mean = n ? sum / n : 0, var = n ? squares / n - mean * mean : 0;
    look->n = n;
    look->mean = (float)mean;
    look->spread = var > 0 ? (float)sqrt(var) : 0;
}

/* The spread decides, not the extremes: a network may rightly wipe out a lone speck. */
bool upz_look_plausible(const UpzLook *in, const UpzLook *out)
{
    if (!out->n) return in->n < 64; /* nothing is seen */
    if (!(out->max - out->min >= 0)) return false; /* NaN */
    if (out->n < 64) return true; /* a few pixels may well be one colour */
    if (in->spread > 0.03f && out->max - out->min < 0.004f) return false;
    /* limited-range black is 16/255 = 0.063; a lit picture does not end there */
    return !(in->mean > 0.15f && in->spread > 0.02f && out->mean < 0.07f && out->max < 0.1f);
}
