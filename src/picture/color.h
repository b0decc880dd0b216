/* What code values mean, as numbers; shared by the row kernels and the resampler. */
#ifndef UPZ_COLOR_H
#define UPZ_COLOR_H

#include "picture/convert.h"
#include "picture/format.h"

/* Nominal value of a component = (code - offset) / gain. */
void upz_code_range(const UprezFormat *f, const UprezColor *c, int comp, double *offset,
                    double *gain);
/* Position of the first chroma sample, in luma samples from the first luma sample's. */
double upz_chroma_phase(const UprezColor *c, int sub, bool vertical);
/* Shares of R' G' B' in luma, as the colour's matrix says; BT.709's for matrices that say none. */
void upz_luma_weights(const UprezColor *c, double weights[3]);
/* Fills all of an UpzLoad or UpzStore but its dsp. */
int upz_convert_setup(UpzLoad *l, const UprezFormat *format, const UprezColor *color, int width,
                      int height, UpzRows rows, bool store, UprezError *err);

#endif
