#include "picture/difference.h"

#include <string.h>

#include "base/compiler.h"
#include "picture/format.h"

enum { UNIT = 4 /* px: a whole number of chroma samples and packed pairs in every format */ };

/* Byte of a plane's row at which px x, a multiple of UNIT or the width, begins. */
static size_t byte_at(const UprezPicture *p, int plane, int x)
{
    return x < p->width ? (size_t)(x / UNIT) * upz_plane_row_bytes(&p->format, plane, UNIT)
                        : upz_plane_row_bytes(&p->format, plane, p->width);
}

/* Row of a plane that px row y, a multiple of UNIT or the height, begins at. */
static int row_at(const UprezPicture *p, int plane, int y)
{
    return upz_plane_height(&p->format, plane, y);
}

static const uint8_t *row_of(const UprezPicture *p, int plane, int row)
{
    return (const uint8_t *)p->plane[plane] + row * p->stride[plane];
}

/* One row of cells in one plane, `open` of which are not marked yet; returns how many are now. */
static size_t compare_band(const UprezPicture *a, const UprezPicture *b, int plane, int y, int cell,
                           size_t open, uint8_t *changed)
{
    const int n = upz_cells(a->width, cell);
    const int end = row_at(a, plane, UPZ_MIN(y + cell, a->height));
    const size_t bytes = upz_plane_row_bytes(&a->format, plane, a->width);
    const size_t step = (size_t)(cell / UNIT) * upz_plane_row_bytes(&a->format, plane, UNIT);
    size_t found = 0;
    for (int row = row_at(a, plane, y); row < end && found < open; row++) {
        const uint8_t *p = row_of(a, plane, row), *q = row_of(b, plane, row);
        if (!memcmp(p, q, bytes)) continue;
        for (int i = 0; i < n; i++) {
            const size_t at = (size_t)i * step;
            if (changed[i] || at >= bytes) continue;
            changed[i] = memcmp(p + at, q + at, UPZ_MIN(step, bytes - at)) != 0;
            found += changed[i];
        }
    }
    return found;
}

size_t upz_difference(const UprezPicture *a, const UprezPicture *b, int cell, uint8_t *changed)
{
    const size_t n = (size_t)upz_cells(a->width, cell);
    size_t total = 0;
    memset(changed, 0, n * (size_t)upz_cells(a->height, cell));
    for (int y = 0; y < a->height; y += cell, changed += n) {
        size_t found = 0;
        for (int plane = 0; plane < a->format.n_plane && found < n; plane++)
            found += compare_band(a, b, plane, y, cell, n - found, changed);
        total += found;
    }
    return total;
}

UpzPiece upz_picture_piece(const UprezPicture *p, int plane, const UprezRect *r)
{
    const size_t x0 = byte_at(p, plane, r->x), x1 = byte_at(p, plane, r->x + r->w);
    const int y0 = row_at(p, plane, r->y), y1 = row_at(p, plane, r->y + r->h);
    return (UpzPiece){.byte = x0, .bytes = x1 - x0, .row = y0, .rows = y1 - y0};
}

void upz_picture_copy(const UprezPicture *from, UprezPicture *to, const UprezRect *rects, int n)
{
    for (int i = 0; i < n; i++)
        for (int plane = 0; plane < to->format.n_plane; plane++) {
            const UpzPiece p = upz_picture_piece(to, plane, &rects[i]);
            for (int y = p.row; y < p.row + p.rows; y++)
                memcpy((uint8_t *)to->plane[plane] + y * to->stride[plane] + p.byte,
                       row_of(from, plane, y) + p.byte, p.bytes);
        }
}
