/* The page of a comparison. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "quality/compare.h"
#include "quality/html.h"

enum { PLOT_W = 960, PLOT_H = 220, PLOT_POINTS = 1200 /* more are drawn as the least of a group */ };
#define DB_SHOWN 60.0 /* identical frames are drawn here */

static void decibel(FILE *f, double error, double peak)
{
    if (error > 0) fprintf(f, "%.2f dB", upz_psnr(error, peak));
    else fputs("identical", f);
}

static void figures(FILE *f, const UpzComparison *c)
{
    const UpzMeasured *m = &c->mean;
    fputs("<table><tr><th></th>", f);
    for (int i = 0; i < m->n; i++) fprintf(f, "<th>%s</th>", c->component[i]);
    fputs("<th>all</th></tr><tr><td>PSNR</td>", f);
    for (int i = 0; i <= m->n; i++) {
        fputs("<td>", f);
        decibel(f, i < m->n ? m->error[i] : upz_measured_error(m), m->peak);
        fputs("</td>", f);
    }
    fputs("</tr><tr><td>SSIM</td>", f);
    for (int i = 0; i <= m->n; i++)
        fprintf(f, "<td>%.4f</td>", i < m->n ? m->ssim[i] : upz_measured_ssim(m));
    fputs("</tr></table>\n", f);
    if (m->ms_ssim >= 0) fprintf(f, "<p>MS-SSIM %.4f</p>\n", m->ms_ssim);
}

static double leading(const UpzMeasured *m, bool ssim)
{
    if (ssim) return m->ssim[0];
    return m->error[0] > 0 ? UPZ_MIN(upz_psnr(m->error[0], m->peak), DB_SHOWN) : DB_SHOWN;
}

/* One curve over time with its own scale; of more frames than can be drawn the worst is. */
static void plot(FILE *f, const UpzComparison *c, bool ssim, const char *title)
{
    const size_t group = (c->n + PLOT_POINTS - 1) / PLOT_POINTS;
    const double end = c->n > 1 ? c->point[c->n - 1].time : 1;
    double lo = INFINITY, hi = -INFINITY;
    for (size_t i = 0; i < c->n; i++) {
        const double v = leading(&c->point[i].measured, ssim);
        lo = UPZ_MIN(lo, v);
        hi = UPZ_MAX(hi, v);
    }
    const double room = UPZ_MAX((hi - lo) * 0.1, ssim ? 0.002 : 0.2);
    lo -= room;
    hi += room;
    fprintf(f, "<h3>%s</h3><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\"><g font-size=\"12\" "
               "fill=\"#555\">", title, PLOT_W, PLOT_H, title);
    for (int i = 0; i <= 4; i++) {
        const double y = PLOT_H - 20 - (PLOT_H - 40) * i / 4.0, v = lo + (hi - lo) * i / 4;
        fprintf(f, "<path d=\"M50 %.1fH%d\" stroke=\"#ddd\"/><text x=\"4\" y=\"%.1f\">%.*f</text>", y,
                PLOT_W - 10, y + 4, ssim ? 4 : 1, v);
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.*f s</text>",
                60 + (PLOT_W - 90) * i / 4.0, PLOT_H - 4, end < 10 ? 1 : 0, end * i / 4);
    }
    fputs("</g><polyline fill=\"none\" stroke=\"#06c\" stroke-width=\"1.5\" points=\"", f);
    for (size_t i = 0; i < c->n; i += group) {
        double v = INFINITY;
        for (size_t k = i; k < UPZ_MIN(i + group, c->n); k++)
            v = UPZ_MIN(v, leading(&c->point[k].measured, ssim));
        fprintf(f, "%.1f,%.1f ", 50 + (PLOT_W - 60) * (end > 0 ? c->point[i].time / end : 0),
                PLOT_H - 20 - (PLOT_H - 40) * (v - lo) / (hi - lo));
    }
    fputs("\"/></svg>\n", f);
}

static void sample(FILE *f, const UpzComparison *c, const UpzSample *s, const char *const input[2])
{
    const UpzComparePoint *p = &c->point[s->point];
    fputs("<h3>", f);
    upz_html_time(f, p->time);
    fprintf(f, ", frame %lld: ", (long long)p->frame[0]);
    decibel(f, upz_measured_error(&p->measured), p->measured.peak);
    fprintf(f, ", SSIM %.4f</h3><p class=\"name\">left ", upz_measured_ssim(&p->measured));
    upz_html_text(f, upz_basename(input[0]));
    fputs(", right ", f);
    upz_html_text(f, upz_basename(input[1]));
    if (s->rect.w < c->width || s->rect.h < c->height)
        fprintf(f, "; %dx%d px from %d,%d, where they differ most", s->rect.w, s->rect.h, s->rect.x,
                s->rect.y);
    fprintf(f, "</p><div class=\"pair\" tabindex=\"0\" role=\"slider\" aria-valuenow=\"50\" "
               "aria-label=\"divider\" style=\"width:%dpx\">", s->rect.w);
    for (int i = 0; i < 2; i++) {
        fprintf(f, "<img width=\"%d\" height=\"%d\" alt=\"", s->rect.w, s->rect.h);
        upz_html_text(f, upz_basename(input[i]));
        fputs("\" src=\"data:image/jpeg;base64,", f);
        upz_html_base64(f, s->jpeg[i], s->bytes[i]);
        fputs("\">", f);
    }
    fputs("<i></i></div>\n", f);
}

static void page(FILE *f, const UpzComparison *c, const char *const input[2])
{
    fputs("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width\"><title>", f);
    upz_html_text(f, upz_basename(input[0]));
    fputs(" and ", f);
    upz_html_text(f, upz_basename(input[1]));
    fprintf(f, "</title><style>%s</style></head><body><h1>Comparison</h1><table><tr><th>file</th><th>size"
               "</th><th>format</th><th>frames</th><th>without a partner</th></tr>", upz_html_style);
    for (int i = 0; i < 2; i++) {
        const UpzCompareSide *s = &c->side[i];
        fputs("<tr><td>", f);
        upz_html_text(f, upz_basename(input[i]));
        fprintf(f, "</td><td>%dx%d</td><td>%s</td><td>%lld</td><td>%lld</td></tr>", s->width, s->height,
                s->format, (long long)s->frames, (long long)s->alone);
    }
    fprintf(f, "</table><p>Measured at %dx%d, %s, %zu frames.</p>\n", c->width, c->height, c->format, c->n);
    figures(f, c);
    if (c->n > 1) {
        plot(f, c, false, c->component[0][0] == 'Y' ? "PSNR of luma, dB" : "PSNR of the first component, dB");
        plot(f, c, true, c->component[0][0] == 'Y' ? "SSIM of luma" : "SSIM of the first component");
        fputs("<h2>The worst frames</h2>\n", f);
    }
    for (int i = 0; i < c->n_samples; i++) sample(f, c, &c->sample[i], input);
    fprintf(f, "<script>%s</script></body></html>\n", upz_html_script);
}

int upz_compare_report(const UpzComparison *c, const char *const input[2], const char *path,
                       UprezError *err)
{
    char *data = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&data, &size);
    if (!f) return upz_fail_memory(err, 0, "the page");
    page(f, c, input);
    const bool failed = ferror(f) != 0;
    int r = fclose(f) || failed ? upz_fail_memory(err, 0, "the page") : upz_write_atomic(path, data, size, err);
    upz_free(data);
    return r;
}
