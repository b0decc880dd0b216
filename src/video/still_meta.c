#include "still_meta.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

#include "bytes.h"
#include "exif.h"

UpzStillKind upz_still_kind(const uint8_t *d, size_t n)
{
    if (n >= 8 && !memcmp(d, "\x89PNG\r\n\x1a\n", 8)) return UPZ_STILL_PNG;
    if (n >= 3 && d[0] == 0xff && d[1] == 0xd8 && d[2] == 0xff) return UPZ_STILL_JPEG;
    if (n >= 12 && !memcmp(d, "RIFF", 4) && !memcmp(d + 8, "WEBP", 4)) return UPZ_STILL_WEBP;
    if (n >= 8 && (!memcmp(d, "II*\0", 4) || !memcmp(d, "MM\0*", 4))) return UPZ_STILL_TIFF;
    return UPZ_STILL_NONE;
}

/* ---- finding ---- */

/* Stops at the EXIF segment (true) or at the pixels, whose place goes to *pixels. */
static bool find_jpeg(const uint8_t *d, size_t n, const uint8_t **exif, size_t *size,
                      size_t *pixels)
{
    *pixels = n;
    for (size_t i = 2; i + 4 <= n && d[i] == 0xff;) {
        uint8_t marker = d[i + 1];
        if (marker == 0xff) { /* fill byte */
            i++;
            continue;
        }
        if (marker == 0xda || marker == 0xd9) {
            *pixels = i;
            break;
        }
        size_t len = (size_t)d[i + 2] << 8 | d[i + 3];
        if (len < 2 || len + 2 > n - i) break;
        if (exif && marker == 0xe1 && len >= 8 && !memcmp(d + i + 4, "Exif\0\0", 6)) {
            *exif = d + i + 10;
            *size = len - 8;
            return true;
        }
        i += len + 2;
    }
    return false;
}

static bool find_png(const uint8_t *d, size_t n, const uint8_t **exif, size_t *size)
{
    for (size_t i = 8; i + 12 <= n;) {
        size_t len = upz_be32(d + i);
        if (len > n - i - 12) break;
        if (!memcmp(d + i + 4, "eXIf", 4)) {
            *exif = d + i + 8;
            *size = len;
            return true;
        }
        i += len + 12;
    }
    return false;
}

static bool find_webp(const uint8_t *d, size_t n, const uint8_t **exif, size_t *size)
{
    for (size_t i = 12; i + 8 <= n;) {
        size_t len = upz_le32(d + i + 4);
        if (len > n - i - 8) break;
        if (!memcmp(d + i, "EXIF", 4)) {
            *exif = d + i + 8;
            *size = len;
            if (len > 6 && !memcmp(*exif, "Exif\0\0", 6)) { /* some writers keep JPEG's prefix */
                *exif += 6;
                *size -= 6;
            }
            return true;
        }
        i += 8 + len + (len & 1);
    }
    return false;
}

bool upz_exif_find(const uint8_t *d, size_t n, const uint8_t **exif, size_t *size)
{
    size_t pixels;
    switch (upz_still_kind(d, n)) {
    case UPZ_STILL_JPEG: return find_jpeg(d, n, exif, size, &pixels);
    case UPZ_STILL_PNG: return find_png(d, n, exif, size);
    case UPZ_STILL_WEBP: return find_webp(d, n, exif, size);
    case UPZ_STILL_TIFF:
        *exif = d;
        *size = n;
        return true;
    default: return false;
    }
}

bool upz_still_complete(const uint8_t *d, size_t n)
{
    size_t pixels, i = 8;
    switch (upz_still_kind(d, n)) {
    case UPZ_STILL_JPEG:
        find_jpeg(d, n, NULL, NULL, &pixels);
        for (size_t k = n; k-- > pixels + 1;)
            if (d[k] == 0xd9 && d[k - 1] == 0xff) return true;
        return false;
    case UPZ_STILL_PNG:
        while (i + 12 <= n && memcmp(d + i + 4, "IEND", 4)) {
            if (upz_be32(d + i) > n - i - 12) return false;
            i += upz_be32(d + i) + (size_t)12;
        }
        return i + 12 <= n;
    case UPZ_STILL_WEBP: return upz_le32(d + 4) <= n - 8;
    default: return true;
    }
}

/* ---- density ---- */

bool upz_density_is(UpzDensity *d, double x, double y, double per_metre)
{
    if (!(x > 0 && y > 0 && x < 1e9 && y < 1e9)) return false;
    *d = (UpzDensity){.metre = per_metre > 0};
    d->x = d->metre ? x * per_metre : x;
    d->y = d->metre ? y * per_metre : y;
    return true;
}

static bool png_density(const uint8_t *d, size_t n, UpzDensity *out)
{
    for (size_t i = 8; i + 12 <= n && memcmp(d + i + 4, "IDAT", 4);) {
        size_t len = upz_be32(d + i);
        if (len > n - i - 12) break;
        if (len == 9 && !memcmp(d + i + 4, "pHYs", 4))
            return upz_density_is(out, upz_be32(d + i + 8), upz_be32(d + i + 12), d[i + 16] == 1);
        i += len + 12;
    }
    return false;
}

/* JFIF's, if it has a unit; cameras say it in EXIF only. */
static bool jpeg_density(const uint8_t *d, size_t n, UpzDensity *out)
{
    bool jfif = n >= 20 && d[2] == 0xff && d[3] == 0xe0 && !memcmp(d + 6, "JFIF\0", 5);
    const uint8_t *exif;
    size_t size, pixels;
    if (jfif && d[13] &&
        upz_density_is(out, d[14] << 8 | d[15], d[16] << 8 | d[17], d[13] == 1 ? 1 / 0.0254 : 100))
        return true;
    if (find_jpeg(d, n, &exif, &size, &pixels) && upz_exif_density(exif, size, out)) return true;
    return jfif && upz_density_is(out, d[14] << 8 | d[15], d[16] << 8 | d[17], 0);
}

bool upz_density_find(const uint8_t *d, size_t n, UpzDensity *out)
{
    *out = (UpzDensity){0};
    switch (upz_still_kind(d, n)) {
    case UPZ_STILL_PNG: return png_density(d, n, out);
    case UPZ_STILL_JPEG: return jpeg_density(d, n, out);
    case UPZ_STILL_TIFF: return upz_exif_density(d, n, out);
    default: return false;
    }
}

/* ---- embedding ---- */

static bool png_icc(UpzBytes *b, const UpzStillMeta *m)
{
    static const char name[] = "ICC profile"; /* with its 0; then the method, deflate */
    uLong packed = compressBound((uLong)m->icc_size);
    size_t head = sizeof(name) + 1;
    uint8_t *z = upz_calloc(1, head + packed);
    b->no_memory |= !z;
    if (!z) return false;
    memcpy(z, name, sizeof(name));
    bool ok = compress(z + head, &packed, m->icc, (uLong)m->icc_size) == Z_OK &&
              upz_png_chunk(b, "iCCP", z, head + packed);
    upz_free(z);
    return ok;
}

static bool png_phys(UpzBytes *b, const UpzDensity *d)
{
    uint8_t v[9] = {0};
    if (d->x < 0.5 || d->y < 0.5 || d->x > 2e9 || d->y > 2e9) return true;
    upz_set_be(v, (uint32_t)(d->x + 0.5), 4);
    upz_set_be(v + 4, (uint32_t)(d->y + 0.5), 4);
    v[8] = d->metre;
    return upz_png_chunk(b, "pHYs", v, sizeof(v));
}

/* What the encoder says of colours and density, we say. */
static bool is_ours(const uint8_t *type)
{
    static const char *const names[] = {"pHYs", "gAMA", "cHRM", "sRGB", "cICP", "mDCV", "mDCv", "cLLI",
                                        "cLLi", "iCCP", "eXIf"};
    for (int i = 0; i < UPZ_COUNT(names); i++)
        if (!memcmp(type, names[i], 4)) return true;
    return false;
}

/* All belong before the pixels: directly behind IHDR. */
static bool embed_png(UpzBytes *b, const uint8_t *d, size_t n, const UpzStillMeta *m)
{
    size_t at = 8 + 25, i;
    if (n <= at || !upz_put(b, d, at) || (m->icc && !png_icc(b, m)) ||
        ((!m->icc || (m->colour && m->colour->chunks.n)) && !upz_still_colour_png(b, m->colour)) ||
        (m->exif && !upz_png_chunk(b, "eXIf", m->exif, m->exif_size)) || !png_phys(b, &m->density) ||
        !upz_still_texts_png(b, m->texts))
        return false;
    for (i = at; i + 12 <= n && memcmp(d + i + 4, "IDAT", 4);) {
        size_t len = upz_be32(d + i);
        if (len > n - i - 12) return false;
        if (is_ours(d + i + 4)) {
            if (!upz_put(b, d + at, i - at)) return false;
            at = i + len + 12;
        }
        i += len + 12;
    }
    return upz_put(b, d + at, n - at);
}

static bool riff_chunk(UpzBytes *b, const char *type, const uint8_t *d, size_t n)
{
    uint8_t head[8] = {0};
    memcpy(head, type, 4);
    upz_set_le(head + 4, (uint32_t)n, 4);
    static const uint8_t pad[1] = {0};
    return n < 0x7fffffff && upz_put(b, head, 8) && upz_put(b, d, n) &&
           upz_put(b, pad, n & 1);
}

/* Size and transparency from the first chunk of a file, VP8X, VP8 or VP8L. */
static bool webp_facts(const uint8_t *c, size_t n, uint32_t *w, uint32_t *h, uint8_t *flags)
{
    if (n < 18) return false;
    if (!memcmp(c, "VP8X", 4)) {
        *flags = c[8];
        *w = (upz_le32(c + 12) & 0xffffff) + 1;
        *h = (upz_le32(c + 14) >> 8) + 1;
    } else if (!memcmp(c, "VP8L", 4)) {
        uint32_t v = upz_le32(c + 9);
        *w = (v & 0x3fff) + 1;
        *h = (v >> 14 & 0x3fff) + 1;
        *flags = v >> 28 & 1 ? 0x10 : 0;
    } else if (!memcmp(c, "VP8 ", 4)) {
        *w = (c[14] | (uint32_t)c[15] << 8) & 0x3fff;
        *h = (c[16] | (uint32_t)c[17] << 8) & 0x3fff;
        *flags = 0;
    } else
        return false;
    return true;
}

static bool embed_webp(UpzBytes *b, const uint8_t *d, size_t n, const UpzStillMeta *m)
{
    uint32_t w, h;
    uint8_t flags, x[10] = {0};
    if (n < 30 || !webp_facts(d + 12, n - 12, &w, &h, &flags)) return false;
    size_t body = !memcmp(d + 12, "VP8X", 4) ? 30 : 12;
    const UpzStillText *xmp = upz_still_texts_xmp(m->texts);
    x[0] = (uint8_t)(flags | (m->icc ? 0x20 : 0) | (m->exif ? 8 : 0) | (xmp ? 4 : 0));
    upz_set_le(x + 4, w - 1, 3);
    upz_set_le(x + 7, h - 1, 3);
    if (!upz_put(b, d, 12) || !riff_chunk(b, "VP8X", x, sizeof(x))) return false;
    if (m->icc && !riff_chunk(b, "ICCP", m->icc, m->icc_size)) return false;
    if (!upz_put(b, d + body, n - body)) return false;
    if (m->exif && !riff_chunk(b, "EXIF", m->exif, m->exif_size)) return false;
    if (xmp && !riff_chunk(b, "XMP ", xmp->data, xmp->size)) return false;
    upz_set_le(b->d + 4, (uint32_t)(b->n - 8), 4);
    return b->n - 8 <= UINT32_MAX - 1;
}

/* Two rationals and their unit: inches, with the fraction where there is one. */
static bool tiff_density(UpzBytes *b, uint8_t *list, unsigned *count, const UpzDensity *d)
{
    uint8_t v[16], pad[1] = {0};
    double unit = d->metre ? 0.0254 : 1, xy[2] = {d->x * unit, d->y * unit};
    if (!upz_put(b, pad, b->n & 1) || b->n > UINT32_MAX / 2) return false;
    for (int i = 0; i < 2; i++) {
        double whole = floor(xy[i] + 0.5);
        /* PNG's whole pixels a metre are meant as whole dots an inch */
        bool exact = fabs(xy[i] - whole) < 0.02;
        if (!(xy[i] < 4e6)) return true;
        upz_set_le(v + 8 * i, (uint32_t)(exact ? whole : xy[i] * 1000 + 0.5), 4);
        upz_set_le(v + 8 * i + 4, exact ? 1 : 1000, 4);
    }
    upz_tiff_entry(list, count, 282, 5, 1, (uint32_t)b->n);
    upz_tiff_entry(list, count, 283, 5, 1, (uint32_t)b->n + 8);
    upz_tiff_entry(list, count, 296, 3, 1, d->metre ? 2 : 1);
    return upz_put(b, v, sizeof(v));
}

/* A value of many bytes behind the file, and its entry. */
static bool tiff_value(UpzBytes *b, uint8_t *list, unsigned *count, unsigned tag, unsigned type,
                       const uint8_t *d, size_t n)
{
    static const uint8_t zero[4];
    uint8_t small[4] = {0};
    if (!n || n > UINT32_MAX / 4) return true;
    if (n <= 4) { /* lies in the entry itself */
        memcpy(small, d, n);
        upz_tiff_entry(list, count, tag, type, (uint32_t)n, upz_le32(small));
        return true;
    }
    if (!upz_put(b, zero, b->n & 1)) return false;
    upz_tiff_entry(list, count, tag, type, (uint32_t)n, (uint32_t)b->n);
    return upz_put(b, d, n);
}

static bool tiff_texts(UpzBytes *b, uint8_t *list, unsigned *count, const UpzStillMeta *m)
{
    const UpzStillText *xmp = upz_still_texts_xmp(m->texts);
    const UpzStillText *r = upz_still_texts_resources(m->texts);
    const uint8_t *v;
    size_t n;
    UpzBytes words = {0};
    bool ok = upz_still_texts_words(&words, m->texts);
    if (ok && words.n && !(m->exif && upz_tiff_bytes(m->exif, m->exif_size, 270, &v, &n)))
        ok = tiff_value(b, list, count, 270, 2, words.d, words.n);
    if (ok && xmp) ok = tiff_value(b, list, count, 700, 1, xmp->data, xmp->size);
    if (ok && r) ok = tiff_value(b, list, count, 34377, 1, r->data, r->size);
    if (ok && r && upz_resources_iptc(r, &v, &n)) ok = tiff_value(b, list, count, 33723, 7, v, n);
    upz_free(words.d);
    return ok;
}

/* The directory is written anew behind everything; the old one stays unused. */
static bool embed_tiff(UpzBytes *b, const uint8_t *d, size_t n, const UpzStillMeta *m)
{
    static const uint8_t zero[4];
    size_t at = n >= 8 ? upz_le32(d + 4) : 0;
    if (n < 8 || memcmp(d, "II*\0", 4) || at < 8 || at > n - 2 || n > UINT32_MAX / 2) return false;
    unsigned count = d[at] | (unsigned)d[at + 1] << 8;
    if (count > 1000 || count * (size_t)12 > n - at - 2) return false;
    uint8_t *list = upz_calloc(count + 10 + UPZ_EXIF_TAGS, 12);
    b->no_memory |= !list;
    if (!list) return false;
    memcpy(list, d + at + 2, 12 * (size_t)count);
    bool ok = upz_put(b, d, n);
    if (ok && m->icc) ok = tiff_value(b, list, &count, 34675, 7, m->icc, m->icc_size);
    if (ok && m->density.x > 0) ok = tiff_density(b, list, &count, &m->density);
    if (m->orientation > 1) upz_tiff_entry(list, &count, 0x112, 3, 1, (uint32_t)m->orientation);
    if (ok && m->exif) ok = upz_exif_merge(b, list, &count, m->exif, m->exif_size);
    ok = ok && tiff_texts(b, list, &count, m) && upz_put(b, zero, b->n & 1);
    uint8_t head[2];
    upz_set_le(head, count, 2);
    at = b->n;
    ok = ok && upz_put(b, head, 2) && upz_put(b, list, 12 * (size_t)count) &&
         upz_put(b, zero, 4) && b->n <= UINT32_MAX;
    if (ok) upz_set_le(b->d + 4, (uint32_t)at, 4);
    upz_free(list);
    return ok;
}

int upz_still_embed(UpzStillKind kind, const uint8_t *data, size_t size, const UpzStillMeta *meta,
                    uint8_t **out, size_t *out_size, UprezError *err)
{
    UpzBytes b = {0};
    bool ok = kind == UPZ_STILL_PNG    ? embed_png(&b, data, size, meta)
              : kind == UPZ_STILL_WEBP ? embed_webp(&b, data, size, meta)
              : kind == UPZ_STILL_TIFF ? embed_tiff(&b, data, size, meta)
                                       : false;
    *out = NULL;
    if (!ok) {
        upz_free(b.d);
        if (b.no_memory) return upz_fail_memory(err, size, "the picture file");
        return upz_fail(err, UPREZ_ERR_OUTPUT, "the ICC profile or EXIF block (%zu and %zu bytes) "
                        "cannot be put into the picture file", meta->icc_size, meta->exif_size);
    }
    *out = b.d;
    *out_size = b.n;
    return 0;
}
