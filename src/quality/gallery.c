#include "quality/gallery.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "picture/resize.h"
#include "quality/html.h"
#include "quality/sample.h"

enum { GAP = 4 /* px between pieces */ };

static const char style[] =
    ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:8px}figure{margin:0}"
    "figure img{width:100%;height:auto;display:block}select{font:inherit}";

/* Two lists choose what lies on each side of the divider. */
static const char script[] =
    "document.querySelectorAll('section').forEach(s=>{const all=[...s.querySelectorAll('figure img')],"
    "im=s.querySelectorAll('.pair img');s.querySelectorAll('select').forEach((l,side)=>{const set=()=>{"
    "im[side].src=all[l.value].src;im[side].alt=all[l.value].alt};l.onchange=set;set()})});";

/* A piece of the picture as RGB of 8 bits. */
static int cut(UprezPicture **out, UprezContext *ctx, const UprezPicture *p, const UprezRect *rect, UprezError *err)
{
    UprezFormat rgb24;
    UprezPicture *whole = NULL;
    uprez_format_from_name(&rgb24, "rgb24");
    int r = uprez_picture_alloc(&whole, &rgb24, p->width, p->height, err);
    if (r < 0) return r;
    whole->color = p->color;
    whole->color.matrix = 0;
    whole->color.range = UPREZ_RANGE_FULL;
    r = upz_convert_picture(ctx, p, whole, err);
    if (r >= 0) r = uprez_picture_alloc(out, &rgb24, rect->w, rect->h, err);
    for (int y = 0; r >= 0 && y < rect->h; y++)
        memcpy((uint8_t *)(*out)->plane[0] + y * (*out)->stride[0],
               (const uint8_t *)whole->plane[0] + (rect->y + y) * whole->stride[0] + 3 * (ptrdiff_t)rect->x,
               3 * (size_t)rect->w);
    if (r >= 0) (*out)->color = whole->color;
    uprez_picture_unref(&whole);
    return r;
}

int upz_gallery_add(UpzGallery *g, UprezContext *ctx, int t, const UprezPicture *const *results, UprezError *err)
{
    const UprezPicture *const two[2] = {results[0], results[g->models > 1]};
    int r = upz_sample_window(&g->rect[t], ctx, two, UPZ_GALLERY_WIDTH, UPZ_GALLERY_HEIGHT, err);
    for (int m = 0; m < g->models && r >= 0; m++) {
        r = upz_sample_jpeg(&g->jpeg[t][m], &g->bytes[t][m], ctx, results[m], &g->rect[t], err);
        if (r >= 0) r = cut(&g->piece[t][m], ctx, results[m], &g->rect[t], err);
    }
    return r;
}

static void choice(FILE *f, const UpzGallery *g, const char *side, int chosen)
{
    fprintf(f, "<label>%s <select>", side);
    for (int m = 0; m < g->models; m++) {
        fprintf(f, "<option value=\"%d\"%s>", m, m == chosen ? " selected" : "");
        upz_html_text(f, g->model[m]);
        fputs("</option>", f);
    }
    fputs("</select></label> ", f);
}

static void section(FILE *f, const UpzGallery *g, int t)
{
    const UprezRect *rect = &g->rect[t];
    fputs("<section><h2>", f);
    upz_html_time(f, g->time[t]);
    fputs("</h2><p>", f);
    choice(f, g, "left", 0);
    choice(f, g, "right", g->models > 1);
    fprintf(f, "</p><div class=\"pair\" tabindex=\"0\" role=\"slider\" aria-valuenow=\"50\" aria-label=\"divider\" "
               "style=\"width:%dpx\"><img width=\"%d\" height=\"%d\" alt=\"\"><img width=\"%d\" height=\"%d\" alt=\"\">"
               "<i></i></div><h3>All</h3><div class=\"grid\">", rect->w, rect->w, rect->h, rect->w, rect->h);
    for (int m = 0; m < g->models; m++) {
        fputs("<figure><img alt=\"", f);
        upz_html_text(f, g->model[m]);
        fputs("\" src=\"data:image/jpeg;base64,", f);
        upz_html_base64(f, g->jpeg[t][m], g->bytes[t][m]);
        fputs("\"><figcaption>", f);
        upz_html_text(f, g->model[m]);
        fputs("</figcaption></figure>", f);
    }
    fputs("</div></section>\n", f);
}

int upz_gallery_page(const UpzGallery *g, const char *path, UprezError *err)
{
    char *data = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&data, &size);
    if (!f) return upz_fail_memory(err, 0, "the page");
    fputs("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width\"><title>", f);
    upz_html_text(f, g->title);
    fprintf(f, "</title><style>%s%s</style></head><body><h1>", upz_html_style, style);
    upz_html_text(f, g->title);
    fputs("</h1>\n", f);
    for (int t = 0; t < g->times; t++) section(f, g, t);
    fprintf(f, "<script>%s%s</script></body></html>\n", upz_html_script, script);
    const bool failed = ferror(f) != 0;
    int r = fclose(f) || failed ? upz_fail_memory(err, 0, "the page") : upz_write_atomic(path, data, size, err);
    upz_free(data);
    return r;
}

int upz_gallery_sheet(const UpzGallery *g, UprezPicture **out, UprezError *err)
{
    int w = 0, h = -GAP;
    for (int t = 0; t < g->times; t++) {
        w = UPZ_MAX(w, g->models * (g->rect[t].w + GAP) - GAP);
        h += g->rect[t].h + GAP;
    }
    int r = uprez_picture_alloc(out, &g->piece[0][0]->format, w, h, err);
    if (r < 0) return r;
    UprezPicture *sheet = *out;
    sheet->color = g->piece[0][0]->color;
    for (int y = 0; y < h; y++) memset((uint8_t *)sheet->plane[0] + y * sheet->stride[0], 255, 3 * (size_t)w);
    for (int t = 0, top = 0; t < g->times; top += g->rect[t++].h + GAP)
        for (int m = 0; m < g->models; m++)
            for (int y = 0; y < g->rect[t].h; y++)
                memcpy((uint8_t *)sheet->plane[0] + (top + y) * sheet->stride[0] +
                           3 * (ptrdiff_t)m * (g->rect[t].w + GAP),
                       (const uint8_t *)g->piece[t][m]->plane[0] + y * g->piece[t][m]->stride[0],
                       3 * (size_t)g->rect[t].w);
    return 0;
}

void upz_gallery_free(UpzGallery *g)
{
    for (int t = 0; t < UPZ_GALLERY_TIMES; t++)
        for (int m = 0; m < UPZ_GALLERY_MODELS; m++) {
            upz_free(g->jpeg[t][m]);
            uprez_picture_unref(&g->piece[t][m]);
        }
}
