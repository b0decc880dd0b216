/* Pictures to rows of float and back: component layout, depth, range, matrix, chroma siting.
 *
 * Load: a picture's rows become planar float R G B (0..1) or luma, clipped to 0..1. Chroma is
 * enlarged bilinearly at its true siting. Store: the reverse; rows of R G B or luma are clipped to
 * 0..1, chroma is reduced with the sited triangle (co-sited [1 2 1], centred [1 3 3 1]; edges
 * repeat), rounded to nearest. Rows of Y U V (UPZ_ROWS_YUV) are not clipped, their codes clamped to
 * what the samples can hold: footroom and headroom survive.
 * Matrices and ranges: ITU-T H.273. All levels of a processor give the same bits.
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

/* Chroma along one axis. Luma sample f * i + k (f = 1 << sub) lies between chroma samples i +
 * up_at[k] and the next, at up_weight[k] of the way; chroma sample i is made from the down_n luma
 * samples from f * i + down_at on. */
typedef struct UpzChromaAxis {
    int sub, up_at[4], down_at, down_n;
    float up_weight[4], down_weight[8];
} UpzChromaAxis;

/* One conversion. Loading computes rows = matrix * (code - offset) + bias; storing
 * code = matrix * rows + bias, then rounds and clamps to lo..hi. */
typedef struct UpzLoad {
    UprezFormat format;
    UprezColor color;
    int width, height;
    UpzRows rows;
    const struct UpzConvertDSP *dsp;
    float matrix[3][3], offset[3], bias[3], lo[3], hi[3];
    int n_rows;     /* planes of float: 1 or 3 */
    int n_comp;     /* components read or written */
    bool clip;      /* rows are clipped to 0..1 */
    bool diagonal;  /* matrix has nothing beside its diagonal */
    UpzChromaAxis x, y;
} UpzLoad;

typedef UpzLoad UpzStore;

/* USAGE when the pair of format and colour cannot be converted: YUV of constant luminance, ICtCp and other
 * matrices that are not a matrix on R'G'B'. Unspecified colour fields must have been resolved
 * (upz_color_resolve) before. Luma or Y U V rows of an RGB picture (and gray from RGB rows) use
 * color->matrix, BT.709 when that is 0 or unspecified, for gray also when it is no such matrix. */
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
/* Luma rows (UPZ_ROWS_Y_*) fill the luma of a YUV picture and leave its chroma alone.
 * Stores the group beginning at row y (fewer rows at the bottom edge). rows[p][i] is plane p's row
 * y - reach + i, for i in 0 … group + 2 * reach - 1; the caller repeats edge rows beyond the
 * picture. NaN becomes 0 and is counted in the result (0 normally). Alpha is not written.
 * scratch: upz_store_scratch() bytes of this thread, 64-byte aligned. */
size_t upz_store_scratch(const UpzStore *s);
int upz_store_rows(const UpzStore *s, const float *const *const rows[3], int y, UprezPicture *dst,
                   void *scratch);

/* How far a change spreads along an axis, in px: from the px that a chroma sample belongs to when it is
 * loaded; from one px, to whole groups of 1 << sub, when chroma is stored. */
int upz_load_spread(const UpzChromaAxis *axis);
int upz_store_spread(const UpzChromaAxis *axis);

/* Fills unspecified fields as players do: matrix by size (BT.709 from 720 lines or 1280 columns,
 * else BT.601), range limited for YUV, full for RGB and gray, siting left, primaries and transfer
 * to go with the matrix. true if matrix or range had to be guessed for YUV. */
bool upz_color_resolve(UprezColor *color, const UprezFormat *format, int width, int height);

/* A one-component gray view (no copy) of a picture's luma (component 0) or alpha (the last): same
 * memory, full range for alpha. The view does not hold a reference. */
void upz_picture_component(UprezPicture *view, const UprezPicture *picture, int component);

/* Packed 4:2:2 of odd width: rows y0 … y1-1 end with a luma sample beyond the picture; it becomes
 * the last one. Nothing in other formats. */
void upz_picture_fill_pair(UprezPicture *picture, int y0, int y1);

/* Fills the alpha component with opaque. */
void upz_picture_fill_alpha(UprezPicture *picture);
/* True when the alpha component is the same value everywhere; that value in *value (0..1). */
bool upz_picture_alpha_constant(const UprezPicture *picture, float *value);

#endif
