/* How big the output becomes. */
#ifndef UPZ_SIZE_H
#define UPZ_SIZE_H

#include "job.h"

typedef struct UpzSize {
    int width, height;    /* px as stored, before display rotation */
    int sar_num, sar_den; /* of the output; 0/1 = unknown */
} UpzSize;

/* scale alone keeps the pixels' shape. Sizes in params are of the displayed picture: turned as it is
 * shown; one of them alone gives square pixels; both are taken as they are and the pixels' shape
 * keeps the display's. own_scale: of the models. USAGE when the result is not 1..65536 px. */
int upz_size_of(UpzSize *out, const UprezParams *params, double own_scale, int width, int height,
                int sar_num, int sar_den, int rotation, UprezError *err);
/* How many times the source the asked size is, on the side that grows more; 0 where none is asked. */
double upz_size_factor(const UprezParams *params, int width, int height, int sar_num, int sar_den,
                       int rotation);

#endif
