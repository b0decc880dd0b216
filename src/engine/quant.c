#include "engine/quant.h"

#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/integer.h"

int upz_ranges_make(UpzRanges *r, const int *channels, int maps, UprezError *err)
{
    *r = (UpzRanges){.at = upz_calloc((size_t)maps, sizeof(*r->at))};
    for (int i = 0; i < maps && r->at; i++) {
        r->at[i] = r->n;
        r->n += (size_t)channels[i];
    }
    r->most = r->at && r->n ? upz_calloc(r->n, sizeof(*r->most)) : NULL;
    if (r->most) return 0;
    const size_t bytes = (size_t)maps * sizeof(*r->at) + r->n * sizeof(*r->most);
    upz_ranges_free(r);
    return upz_fail_memory(err, bytes, "the ranges of the layers");
}

void upz_ranges_free(UpzRanges *r)
{
    upz_free(r->most);
    upz_free(r->at);
    *r = (UpzRanges){0};
}

int8_t upz_int8(float v)
{
    const float most = UPZ_INT8_LARGEST;
    return isnan(v) ? 0 : (int8_t)lrintf(UPZ_CLAMP(v, -most, most));
}

float upz_quant_factor(float most, float room, float largest)
{
    /* a channel that was all zero may be something else elsewhere: something small */
    return UPZ_MAX(most, 1e-4f) * room / largest;
}
