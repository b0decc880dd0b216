/* Which parts of two pictures differ, and copies of parts. Both pictures lie in host memory and have one
 * size and format; strides may differ. Colour tags and times are the caller's matter.
 *
 * Threads: any. */
#ifndef UPZ_DIFFERENCE_H
#define UPZ_DIFFERENCE_H

#include <stddef.h>
#include "uprez/picture.h"

/* Cells along a side of `size` px. */
static inline int upz_cells(int size, int cell) { return (size + cell - 1) / cell; }

/* Cells of cell x cell px (a multiple of 4) in which any byte of any plane differs; chroma counts for
 * the luma it belongs to. changed: row by row, upz_cells(width) * upz_cells(height), each set to 0 or
 * 1. Returns how many differ. */
size_t upz_difference(const UprezPicture *a, const UprezPicture *b, int cell, uint8_t *changed);

/* Where a rectangle in px, whose sides lie on multiples of 4 or at the picture's edge, lies in a plane. */
typedef struct UpzPiece {
    size_t byte, bytes; /* of each row: from, how many */
    int row, rows;
} UpzPiece;
UpzPiece upz_picture_piece(const UprezPicture *picture, int plane, const UprezRect *rect);

/* Copies n rectangles, in px, whose sides lie on multiples of 4 or at the picture's edge. */
void upz_picture_copy(const UprezPicture *from, UprezPicture *to, const UprezRect *rects, int n);

#endif
