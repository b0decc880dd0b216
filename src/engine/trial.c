#include "engine/trial.h"

#include <math.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/integer.h"
#include "picture/convert.h"
#include "picture/format.h"

enum { WIDTH = 64, HEIGHT = 48 };

/* Types that the processor multiplies several times as fast as fp32, the fastest first. */
static const struct {
    uint32_t needs;
    const char *precision;
} auto_table[] = {
    {UPZ_HAS_AMX_BF16, "bf16"},
    {UPZ_HAS_AMX_FP16, "fp16"},
    {0, "fp32"},
};

const char *upz_auto_precision(uint32_t features, int i)
{
    for (int row = 0; row < UPZ_COUNT(auto_table); row++)
        if ((auto_table[row].needs & features) == auto_table[row].needs && i-- == 0)
            return auto_table[row].precision;
    return NULL;
}

void upz_trial_paint(float *p, int channels, int h, int w)
{
    uint32_t seed = 7;
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                seed = seed * 1664525u + 1013904223u;
                const float grain = ((float)(seed >> 8) / 16777216.0f - 0.5f) * 0.06f;
                const float soft = 0.5f + 0.3f * sinf((float)x * 0.13f + (float)c) *
                                              cosf((float)y * 0.09f);
                const float edge = (x / 8 + y / 11 + c) % 3 ? 0 : 0.25f;
                *p++ = UPZ_CLAMP(soft - edge + (y > h / 2 ? grain : 0), 0, 1);
            }
}

/* Four times the picture in that place before it is made softer: two pixels a side are one. */
static float hard(int kind, bool first, bool second, int x, int y, bool noise)
{
    const bool there = kind == 0 ? x % 2 : kind == 1 ? y % 2 : kind == 2 ? (x + y) % 2
                       : kind == 3 ? x > 3 : kind == 4 ? y > x : noise;
    return there ? first : second;
}

static bool coin(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 31;
}

/* One plane of the picture of contrasts in squares of two pixels, w x h of them. */
static void paint_squares(float *p, int channel, int h, int w)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            uint32_t block = (uint32_t)(y / 8 * 64 + x / 8) * 2654435761u + 12345u; /* colours of 8 x 8 squares */
            uint32_t grain = (uint32_t)(y * 4096 + x) * 2246822519u;
            bool first[3], second[3];
            for (int c = 0; c < 3; c++) first[c] = coin(&block), second[c] = coin(&block);
            const bool grey = coin(&block);
            block = block * 1664525u + 1013904223u;
            const int kind = (int)((block >> 16) % 6);
            *p++ = hard(kind, grey ? !second[0] : first[channel % 3], second[grey ? 0 : channel % 3], x % 8, y % 8,
                        coin(&grain));
        }
}

int upz_trial_paint_contrasts(float *planes, int channels, int height, int width, UprezError *err)
{
    const int h = height / 2 + 1, w = width / 2 + 1;
    float *squares = upz_calloc((size_t)h * (size_t)w, sizeof(*squares));
    if (!squares) return upz_fail_memory(err, (size_t)h * (size_t)w * sizeof(*squares), "a picture");
    for (int c = 0; c < channels; c++) {
        paint_squares(squares, c, h, w);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) { /* 1 2 1 along both axes: three quarters of the own square */
                const int ny = UPZ_CLAMP(y / 2 + (y % 2 ? 1 : -1), 0, h - 1);
                const int nx = UPZ_CLAMP(x / 2 + (x % 2 ? 1 : -1), 0, w - 1);
                const float *own = squares + y / 2 * w, *next = squares + ny * w;
                *planes++ = 0.5625f * own[x / 2] + 0.1875f * own[nx] + 0.1875f * next[x / 2] + 0.0625f * next[nx];
            }
    }
    upz_free(squares);
    return 0;
}

static float clip01(float x) { return x >= 1 ? 1 : x > 0 ? x : 0; }

double upz_trial_psnr(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = clip01(a[i]) - clip01(b[i]);
        sum += isfinite(a[i]) && isfinite(b[i]) ? d * d : 1;
    }
    return sum > 0 ? 10 * log10((double)n / sum) : 200;
}

/* Rows in the order of the format's components, as the network has them. */
static int float_picture(UprezPicture **p, const UprezModel *m, int w, int h, UprezError *err)
{
    UprezFormat f;
    if (m->facts.channels == 3) upz_format_float_rgb(&f);
    else upz_format_float_gray(&f);
    int r = uprez_picture_alloc(p, &f, w, h, err);
    if (r >= 0) upz_color_resolve(&(*p)->color, &f, w, h);
    return r;
}

static int painted(UprezPicture **p, const UprezModel *m, int w, int h, bool contrasts, UprezError *err)
{
    const size_t plane = (size_t)w * (size_t)h;
    float *all = upz_calloc(plane * 3, sizeof(*all));
    int r = all ? float_picture(p, m, w, h, err) : upz_fail_memory(err, plane * 12, "a picture");
    if (r >= 0 && contrasts) r = upz_trial_paint_contrasts(all, (*p)->format.n_comp, h, w, err);
    else if (r >= 0) upz_trial_paint(all, (*p)->format.n_comp, h, w);
    for (int c = 0; r >= 0 && c < (*p)->format.n_comp; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                const int k = (*p)->format.comp[c].plane;
                float *row = (float *)(void *)((uint8_t *)(*p)->plane[k] + y * (*p)->stride[k]);
                row[x] = all[plane * (size_t)c + (size_t)y * (size_t)w + (size_t)x];
            }
    upz_free(all);
    return r;
}

int upz_trial_source(UprezPicture **out, const UprezModel *m, bool contrasts, UprezError *err)
{
    const int align = UPZ_MAX(m->facts.align, 1) * m->facts.scale_den;
    return painted(out, m, UPZ_ROUND_UP(WIDTH, align), UPZ_ROUND_UP(HEIGHT, align), contrasts, err);
}

int upz_trial_result(UprezPicture **out, const UprezModel *m, const UprezPicture *src, UprezError *err)
{
    const UprezModelFacts *f = &m->facts;
    return float_picture(out, m, (int)((int64_t)src->width * f->scale_num / f->scale_den),
                         (int)((int64_t)src->height * f->scale_num / f->scale_den), err);
}

double upz_trial_pictures_psnr(const UprezPicture *a, const UprezPicture *b)
{
    size_t n = 0;
    double sum = 0;
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < a->height; y++, n++) {
            const double db = upz_trial_psnr(
                (const float *)(const void *)((const uint8_t *)a->plane[i] + y * a->stride[i]),
                (const float *)(const void *)((const uint8_t *)b->plane[i] + y * b->stride[i]),
                (size_t)a->width);
            sum += pow(10, -db / 10);
        }
    return sum > 0 ? 10 * log10((double)n / sum) : 200;
}
