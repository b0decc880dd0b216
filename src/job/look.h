/* A glance at a picture's brightness: enough to see that an output is black or flat where its input
 * is not. */
#ifndef UPZ_LOOK_H
#define UPZ_LOOK_H

#include <stdbool.h>
#include "uprez/picture.h"

typedef struct UpzLook {
    int n;                        /* samples */
    float min, max, mean, spread; /* of luma (or green), 0..1 of the code range, at sampled
                                     places where alpha is not 0; spread: standard deviation */
} UpzLook;

/* About a thousand samples at the same relative places whatever the size. Host memory. */
void upz_look(UpzLook *look, const UprezPicture *picture);
/* False when the output has lost all contrast or nearly all light of its input. */
bool upz_look_plausible(const UpzLook *in, const UpzLook *out);

#endif
