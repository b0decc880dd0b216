/* The row kernels of one processor level. */
#ifndef UPZ_CONVERT_DSP_H
#define UPZ_CONVERT_DSP_H

#include "picture/convert.h"

/* Rows the chroma kernel needs beyond its group, by log2 of the subsampling. */
#define UPZ_CHROMA_REACH(sub) ((sub) == 0 ? 0 : (sub) == 1 ? 1 : 3)

typedef struct UpzConvertDSP {
    void (*load_row)(const UpzLoad *l, const UprezPicture *src, int y, float *const dst[3]);
    int (*store_rows)(const UpzStore *s, const float *const *const rows[3], int y,
                      UprezPicture *dst);
} UpzConvertDSP;

extern const UpzConvertDSP upz_convert_c, upz_convert_avx2, upz_convert_avx512;

#endif
