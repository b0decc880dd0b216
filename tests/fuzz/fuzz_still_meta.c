/* EXIF and containers of still pictures: finding in any bytes, putting into any bytes. */
#include <string.h>

#include "base/alloc.h"
#include "video/still_meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t icc[131] = {0};
    const uint8_t *exif;
    size_t n, out_size;
    uint8_t *out;
    UpzStillKind kind = upz_still_kind(data, size);
    upz_still_complete(data, size);
    if (upz_exif_find(data, size, &exif, &n)) {
        upz_exif_orientation(exif, n);
        uint8_t *copy = upz_calloc(1, n);
        if (copy) {
            memcpy(copy, exif, n);
            upz_exif_resize(copy, n, 70000, 33);
            upz_free(copy);
        }
    }
    UpzStillMeta meta = {.icc = icc, .icc_size = sizeof(icc), .exif = icc, .exif_size = 25,
                         .orientation = 6};
    if (upz_still_embed(kind, data, size, &meta, &out, &out_size, NULL) == 0) upz_free(out);
    return 0;
}
