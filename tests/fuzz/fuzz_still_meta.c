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
    UpzBytes block = {0}, profile = {0};
    UpzStillTexts texts = {0};
    UpzStillColour colour;
    char words[200];
    upz_exif_copy(&block, data, size);
    upz_tiff_others(data, size, words, sizeof(words));
    upz_still_texts_find(&texts, data, size, NULL);
    upz_still_texts_lost(&texts, UPZ_STILL_WEBP, false, words, sizeof(words));
    upz_still_colour_find(&colour, data, size, NULL);
    upz_still_colour_icc(&profile, &colour, false);
    UpzStillMeta meta = {.icc = icc, .icc_size = sizeof(icc), .exif = icc, .exif_size = 25,
                         .orientation = 6, .texts = &texts, .colour = &colour};
    if (upz_still_embed(kind, data, size, &meta, &out, &out_size, NULL) == 0) upz_free(out);
    if (block.n) {
        meta.exif = block.d;
        meta.exif_size = block.n;
        if (upz_still_embed(kind, data, size, &meta, &out, &out_size, NULL) == 0) upz_free(out);
    }
    upz_still_texts_jpeg(&block, &texts);
    upz_free(block.d);
    upz_free(profile.d);
    upz_still_texts_free(&texts);
    upz_still_colour_free(&colour);
    return 0;
}
