/* Pictures to rows of float and back: component layout, depth, range, matrix, chroma siting.
 *
 * Load: a picture's rows become planar float R G B (0..1) or luma, clipped. Chroma is enlarged
 * bilinearly at its true siting. Store: the reverse; chroma is reduced with a sited [1 2 1] /
 * [1 1] kernel (bilinear), rounded to nearest, clamped to the legal codes of its range.
 * Matrices and ranges: ITU-T H.273, BT.601, BT.709, BT.2020 non-constant luminance.
 *
 * An UpzLoad or UpzStore is immutable after init and holds no memory: any number of threads. */
#ifndef UPZ_CONVERT_H
#define UPZ_CONVERT_H

#include "uprez/picture.h"
#include <stdbool.h>
#include "base/cpu.h"

/* What the floats mean. */
typedef enum UpzRows {
    UPZ_ROWS_RGB,      /* 3 planes, full range */
    UPZ_ROWS_Y_FULL,   /* 1 plane: luma 0..1 */
    UPZ_ROWS_Y_STUDIO, /* 1 plane: luma code of 8-bit studio range / 255 */
    UPZ_ROWS_YUV       /* 3 planes: luma 0..1, chroma -0.5..0.5, at full resolution */
} UpzRows;

typedef struct UpzLoad {
    UprezFormat format;
    UprezColor color;
    int width, height;
    UpzRows rows;
    const struct UpzConvertDSP *dsp;
    float matrix[3][3], offset[3], gain[3]; /* filled by init, for the kernels */
    int cx[4], cy[4];                       /* chroma phase, in quarters of a luma pixel */
} UpzLoad;

typedef UpzLoad UpzStore;

/* USAGE when the pair of format and colour cannot be converted. Unspecified colour fields must have
 * been resolved (upz_color_resolve) before. */
int upz_load_init(UpzLoad *l, const UprezFormat *format, const UprezColor *color, int width,
                  int height, UpzRows rows, UpzCpuLevel cpu, UprezError *err);
/* Row y of all planes into dst[0..2], each width floats with room for UPZ_LOAD_SLACK more.
 * Gray sources give R = G = B. */
#define UPZ_LOAD_SLACK 32
void upz_load_row(const UpzLoad *l, const UprezPicture *src, int y, float *const dst[3]);

int upz_store_init(UpzStore *s, const UprezFormat *format, const UprezColor *color, int width,
                   int height, UpzRows rows, UpzCpuLevel cpu, UprezError *err);
/* Rows must be stored in groups starting at multiples of upz_store_group() (1, 2 or 4 by vertical
 * subsampling), each group needing `upz_store_reach()` rows above and below it. */
int upz_store_group(const UpzStore *s);
int upz_store_reach(const UpzStore *s);
/* Stores the group beginning at row y (fewer rows at the bottom edge). rows[p][i] is plane p's row
 * y - reach + i, for i in 0 … group + 2 * reach - 1; the caller repeats edge rows beyond the
 * picture. NaN becomes 0 and is counted in the result (0 normally). Alpha is not written.
 * scratch: upz_store_scratch() bytes of this thread, 64-byte aligned. */
size_t upz_store_scratch(const UpzStore *s);
int upz_store_rows(const UpzStore *s, const float *const *const rows[3], int y, UprezPicture *dst,
                   void *scratch);

/* Fills unspecified fields as players do: matrix by size (BT.709 from 720 lines or 1280 columns,
 * else BT.601), range limited for YUV, full for RGB and gray, siting left, primaries and transfer
 * to go with the matrix. true if matrix or range had to be guessed for YUV. */
bool upz_color_resolve(UprezColor *color, const UprezFormat *format, int width, int height);

/* A one-component gray view (no copy) of a picture's luma (component 0) or alpha (the last): same
 * memory, full range for alpha. The view does not hold a reference. */
void upz_picture_component(UprezPicture *view, const UprezPicture *picture, int component);

/* Fills the alpha component with opaque. */
void upz_picture_fill_alpha(UprezPicture *picture);
/* True when the alpha component is the same value everywhere; that value in *value (0..1). */
bool upz_picture_alpha_constant(const UprezPicture *picture, float *value);

#endif
