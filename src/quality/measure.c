#include "quality/measure.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/format.h"
#include "quality/measure_dsp.h"

enum {
    BAND = 16,        /* rows of blocks of a piece of work, or rows of windows of MS-SSIM */
    SMALLEST = 176    /* px: MS-SSIM's window must fit into the fifth scale */
};

/* One scale of MS-SSIM: both pictures' luma, or green, as floats of 0..255. */
typedef struct Scale {
    int w, h, bands, first; /* first: of its bands among those of all scales */
    float *a, *b;
} Scale;

/* What one piece of work found. */
typedef struct Part {
    uint64_t error;
    double windows, term[3];
} Part;

struct UpzMeasure {
    UprezContext *ctx;
    UpzMeasureDSP dsp;
    UprezFormat format;
    int width, height;
    bool ms_ssim;
    int leading; /* the component of MS-SSIM */
    Scale scale[UPZ_MS_SCALES];
    int bands, band_of[5]; /* of all components; where each one's begin */
    Part *part;            /* one a band */
    int n_parts;
    size_t scratch_bytes;
    uint8_t *scratch;      /* one a worker */
    const UprezPicture *src[2];
    int halving; /* the scale that is being made */
};

bool upz_measure_takes(const UprezFormat *f)
{
    if (f->depth < 8 || f->depth > 16 || f->shift || f->n_comp != f->n_plane) return false;
    for (int c = 0; c < f->n_comp; c++)
        if (f->comp[c].offset || f->comp[c].step != (f->depth > 8 ? 2 : 1)) return false;
    return f->n_comp > 0;
}

static int component_blocks(const UpzMeasure *m, int c)
{
    return upz_component_height(&m->format, c, m->height) / UPZ_BLOCK_SIDE;
}

/* Bands of 16 rows of blocks; a component of fewer than four rows has one. */
static int component_bands(const UpzMeasure *m, int c)
{
    return UPZ_MAX(1, (component_blocks(m, c) + BAND - 1) / BAND);
}

static int lay_out(UpzMeasure *m, UprezError *err)
{
    for (int c = 0; c < m->format.n_comp; c++) {
        m->band_of[c] = m->bands;
        m->bands += component_bands(m, c);
    }
    m->band_of[m->format.n_comp] = m->bands;
    int w = m->width, h = m->height, pieces = 0;
    for (int k = 0; k < UPZ_MS_SCALES && m->ms_ssim; k++) {
        const int windows = h - UPZ_GAUSS + 1, bands = (windows + BAND - 1) / BAND;
        m->scale[k] = (Scale){w, h, bands, pieces, NULL, NULL};
        const size_t bytes = (size_t)w * (size_t)h * sizeof(float);
        m->scale[k].a = upz_alloc_aligned(bytes);
        m->scale[k].b = upz_alloc_aligned(bytes);
        if (!m->scale[k].a || !m->scale[k].b) return upz_fail_memory(err, 0, "measuring pictures");
        pieces += bands;
        w = (w + 1) / 2;
        h = (h + 1) / 2;
    }
    m->n_parts = UPZ_MAX(m->bands, pieces);
    m->part = upz_calloc((size_t)m->n_parts, sizeof(*m->part));
    /* two rows of blocks' four sums, or one row of the low-pass filter */
    m->scratch_bytes = UPZ_ROUND_UP(2 * ((size_t)m->width + 16) * sizeof(double), 64);
    m->scratch = upz_alloc_aligned(m->scratch_bytes * (size_t)upz_pool_size(m->ctx->pool));
    return m->part && m->scratch ? 0 : upz_fail_memory(err, 0, "measuring pictures");
}

int upz_measure_create(UpzMeasure **out, UprezContext *ctx, const UprezPicture *like, bool ms_ssim,
                       UprezError *err)
{
    *out = NULL;
    if (!upz_measure_takes(&like->format))
        return upz_fail(err, UPREZ_ERR_USAGE, "pictures of this format cannot be measured");
    UpzMeasure *m = upz_calloc(1, sizeof(*m));
    if (!m) return upz_fail_memory(err, 0, "measuring pictures");
    m->ctx = upz_context_ref(ctx);
    m->dsp = upz_measure_c;
#if defined(__x86_64__)
    if (ctx->cpu >= UPZ_CPU_AVX2) m->dsp = upz_measure_avx2;
    if (ctx->cpu >= UPZ_CPU_AVX512) m->dsp = upz_measure_avx512;
#endif
    m->format = like->format;
    m->width = like->width;
    m->height = like->height;
    m->leading = like->format.model == UPREZ_RGB;
    m->ms_ssim = ms_ssim && like->width >= SMALLEST && like->height >= SMALLEST;
    int r = lay_out(m, err);
    if (r < 0) upz_measure_destroy(&m);
    *out = m;
    return r;
}

void upz_measure_destroy(UpzMeasure **mp)
{
    UpzMeasure *m = *mp;
    *mp = NULL;
    if (!m) return;
    for (int k = 0; k < UPZ_MS_SCALES; k++) {
        upz_free_aligned(m->scale[k].a);
        upz_free_aligned(m->scale[k].b);
    }
    upz_free(m->part);
    upz_free_aligned(m->scratch);
    upz_context_unref(&m->ctx);
    upz_free(m);
}

static const uint8_t *row_of(const UprezPicture *p, int c, int y)
{
    const int plane = p->format.comp[c].plane;
    return (const uint8_t *)p->plane[plane] + y * p->stride[plane];
}

/* Squared error of rows y0 … y1-1 of a component. */
static uint64_t rows_error(const UpzMeasure *m, int c, int y0, int y1)
{
    const int w = upz_component_width(&m->format, c, m->width);
    uint64_t sum = 0;
    for (int y = y0; y < y1; y++) {
        const uint8_t *a = row_of(m->src[0], c, y), *b = row_of(m->src[1], c, y);
        sum += m->format.depth == 8
                   ? m->dsp.error8(a, b, w)
                   : m->dsp.error16((const uint16_t *)(const void *)a, (const uint16_t *)(const void *)b, w);
    }
    return sum;
}

/* Sums of SSIM over windows whose upper blocks are rows r0 … r1-1. */
static double rows_ssim(const UpzMeasure *m, int c, int r0, int r1, uint8_t *scratch)
{
    const int n = upz_component_width(&m->format, c, m->width) / UPZ_BLOCK_SIDE;
    const int plane = m->format.comp[c].plane;
    const ptrdiff_t sa = m->src[0]->stride[plane], sb = m->src[1]->stride[plane];
    if (n < 2 || r0 >= r1) return 0;
    double sum = 0;
    if (m->format.depth == 8) {
        int32_t *s = (int32_t *)(void *)scratch;
        UpzSums8 row[2] = {{s, s + n, s + 2 * n, s + 3 * n}, {s + 4 * n, s + 5 * n, s + 6 * n, s + 7 * n}};
        for (int r = r0; r <= r1; r++) {
            m->dsp.blocks8(row_of(m->src[0], c, r * UPZ_BLOCK_SIDE), sa,
                           row_of(m->src[1], c, r * UPZ_BLOCK_SIDE), sb, n, &row[r & 1]);
            if (r > r0) sum += m->dsp.windows8(&row[~r & 1], &row[r & 1], n - 1);
        }
    } else {
        double *s = (double *)(void *)scratch;
        UpzSums16 row[2] = {{s, s + n, s + 2 * n, s + 3 * n}, {s + 4 * n, s + 5 * n, s + 6 * n, s + 7 * n}};
        const double peak = (1 << m->format.depth) - 1;
        for (int r = r0; r <= r1; r++) {
            m->dsp.blocks16(row_of(m->src[0], c, r * UPZ_BLOCK_SIDE), sa,
                            row_of(m->src[1], c, r * UPZ_BLOCK_SIDE), sb, n, &row[r & 1]);
            if (r > r0) sum += m->dsp.windows16(&row[~r & 1], &row[r & 1], n - 1, peak);
        }
    }
    return sum;
}

/* Rows y0 … y1-1 of the first component as floats. */
static void load_rows(const UpzMeasure *m, int y0, int y1)
{
    const Scale *s = &m->scale[0];
    const float unit = 255.0f / (float)((1 << m->format.depth) - (1 << (m->format.depth - 8)));
    for (int y = y0; y < y1; y++) {
        for (int i = 0; i < 2; i++) {
            float *d = (i ? s->b : s->a) + (ptrdiff_t)y * s->w;
            const uint8_t *row = row_of(m->src[i], m->leading, y);
            if (m->format.depth == 8) m->dsp.load8(d, row, s->w);
            else m->dsp.load16(d, (const uint16_t *)(const void *)row, unit, s->w);
        }
    }
}

static void measure_band(void *arg, int i, int worker)
{
    UpzMeasure *m = arg;
    int c = 0;
    while (i >= m->band_of[c + 1]) c++;
    const int k = i - m->band_of[c], blocks = component_blocks(m, c);
    const int h = upz_component_height(&m->format, c, m->height);
    const bool last = i + 1 == m->band_of[c + 1];
    const int y0 = k * BAND * UPZ_BLOCK_SIDE, y1 = last ? h : y0 + BAND * UPZ_BLOCK_SIDE;
    Part *part = &m->part[i];
    part->error = rows_error(m, c, y0, y1);
    part->windows = rows_ssim(m, c, k * BAND, UPZ_MIN((k + 1) * BAND, blocks - 1),
                              m->scratch + (size_t)worker * m->scratch_bytes);
    if (m->ms_ssim && c == m->leading) load_rows(m, y0, y1);
}

static int mirrored(int y, int h) { return y < 0 ? -1 - y : y >= h ? 2 * h - 1 - y : y; }

static void halve_band(void *arg, int i, int worker)
{
    UpzMeasure *m = arg;
    const Scale *from = &m->scale[m->halving - 1], *to = &m->scale[m->halving];
    float *scratch = (float *)(void *)(m->scratch + (size_t)worker * m->scratch_bytes);
    for (int y = i * BAND; y < UPZ_MIN((i + 1) * BAND, to->h); y++) {
        const float *rows[2][UPZ_HALF];
        for (int t = 0; t < UPZ_HALF; t++) {
            const ptrdiff_t at = (ptrdiff_t)mirrored(2 * y + t - UPZ_HALF / 2, from->h) * from->w;
            rows[0][t] = from->a + at;
            rows[1][t] = from->b + at;
        }
        m->dsp.halve(to->a + (ptrdiff_t)y * to->w, rows[0], from->w, to->w, scratch);
        m->dsp.halve(to->b + (ptrdiff_t)y * to->w, rows[1], from->w, to->w, scratch);
    }
}

static void gauss_band(void *arg, int i, int worker)
{
    (void)worker;
    UpzMeasure *m = arg;
    int k = 0;
    while (i >= m->scale[k].first + m->scale[k].bands) k++;
    const Scale *s = &m->scale[k];
    const int y0 = (i - s->first) * BAND, y1 = UPZ_MIN(y0 + BAND, s->h - UPZ_GAUSS + 1);
    double *term = m->part[i].term;
    term[0] = term[1] = term[2] = 0;
    for (int y = y0; y < y1; y++)
        m->dsp.gauss(s->a + (ptrdiff_t)y * s->w, s->b + (ptrdiff_t)y * s->w, s->w, s->w, term);
}

/* Exponents of contrast and structure at each scale; luminance counts at the last one only (Wang,
 * Simoncelli, Bovik 2003). */
static const double exponent[UPZ_MS_SCALES] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};

static double ms_ssim(UpzMeasure *m)
{
    UpzPool *pool = m->ctx->pool;
    for (m->halving = 1; m->halving < UPZ_MS_SCALES; m->halving++)
        upz_pool_for(pool, (m->scale[m->halving].h + BAND - 1) / BAND, halve_band, m);
    const Scale *last = &m->scale[UPZ_MS_SCALES - 1];
    upz_pool_for(pool, last->first + last->bands, gauss_band, m);
    double result = 1;
    for (int k = 0; k < UPZ_MS_SCALES; k++) {
        const Scale *s = &m->scale[k];
        double term[3] = {0};
        for (int i = s->first; i < s->first + s->bands; i++)
            for (int j = 0; j < 3; j++) term[j] += m->part[i].term[j];
        const double n = (double)(s->w - UPZ_GAUSS + 1) * (double)(s->h - UPZ_GAUSS + 1);
        if (k == UPZ_MS_SCALES - 1) result *= pow(term[0] / n, exponent[k]);
        result *= pow(term[1] / n, exponent[k]) * pow(fabs(term[2] / n), exponent[k]);
    }
    return result;
}

void upz_measure_run(UpzMeasure *m, const UprezPicture *a, const UprezPicture *b, UpzMeasured *out)
{
    m->src[0] = a;
    m->src[1] = b;
    upz_pool_for(m->ctx->pool, m->bands, measure_band, m);
    *out = (UpzMeasured){.n = m->format.n_comp, .peak = (1 << m->format.depth) - 1, .ms_ssim = -1};
    for (int c = 0; c < out->n; c++) {
        const int w = upz_component_width(&m->format, c, m->width);
        const int h = upz_component_height(&m->format, c, m->height);
        const double windows = (double)(w / UPZ_BLOCK_SIDE - 1) * (double)(h / UPZ_BLOCK_SIDE - 1);
        uint64_t error = 0;
        double ssim = 0;
        for (int i = m->band_of[c]; i < m->band_of[c + 1]; i++) {
            error += m->part[i].error;
            ssim += m->part[i].windows;
        }
        out->samples[c] = (double)w * (double)h;
        out->error[c] = (double)error / out->samples[c];
        out->ssim[c] = w < 2 * UPZ_BLOCK_SIDE || h < 2 * UPZ_BLOCK_SIDE ? -1 : ssim / windows;
    }
    if (m->ms_ssim) out->ms_ssim = ms_ssim(m);
}

double upz_measured_error(const UpzMeasured *m)
{
    double sum = 0, samples = 0;
    for (int c = 0; c < m->n; c++) {
        sum += m->error[c] * m->samples[c];
        samples += m->samples[c];
    }
    return sum / samples;
}

double upz_measured_ssim(const UpzMeasured *m)
{
    double sum = 0, samples = 0;
    for (int c = 0; c < m->n; c++) {
        if (m->ssim[c] < 0) continue;
        sum += m->ssim[c] * m->samples[c];
        samples += m->samples[c];
    }
    return samples > 0 ? sum / samples : -1;
}

double upz_psnr(double error, double peak)
{
    return error > 0 ? 10 * log10(peak * peak / error) : INFINITY;
}
