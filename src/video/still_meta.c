#include "still_meta.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}
static void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}
static void put_le(uint8_t *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> (8 * i));
}

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
        size_t len = be32(d + i);
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
        size_t len = le32(d + i + 4);
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
            if (be32(d + i) > n - i - 12) return false;
            i += be32(d + i) + (size_t)12;
        }
        return i + 12 <= n;
    case UPZ_STILL_WEBP: return le32(d + 4) <= n - 8;
    default: return true;
    }
}

/* ---- the TIFF structure of EXIF ---- */

typedef struct Ifd {
    const uint8_t *d;
    size_t n, at; /* of the first entry */
    unsigned count;
    bool big;
} Ifd;

static uint32_t get(const Ifd *f, size_t at, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)f->d[at + (size_t)i] << (8 * (f->big ? bytes - 1 - i : i));
    return v;
}

static bool ifd_at(Ifd *f, size_t at)
{
    if (at < 8 || at > f->n || f->n - at < 2) return false;
    f->count = get(f, at, 2);
    f->at = at + 2;
    return f->count * (size_t)12 <= f->n - f->at;
}

static bool ifd_open(Ifd *f, const uint8_t *d, size_t n)
{
    if (n < 8 || (memcmp(d, "II*\0", 4) && memcmp(d, "MM\0*", 4))) return false;
    *f = (Ifd){.d = d, .n = n, .big = d[0] == 'M'};
    return ifd_at(f, get(f, 4, 4));
}

/* Offset of an entry, 0 if there is none. */
static size_t ifd_find(const Ifd *f, unsigned tag)
{
    for (unsigned i = 0; i < f->count; i++)
        if (get(f, f->at + i * (size_t)12, 2) == tag) return f->at + i * (size_t)12;
    return 0;
}

int upz_exif_orientation(const uint8_t *exif, size_t size)
{
    Ifd f;
    size_t e = ifd_open(&f, exif, size) ? ifd_find(&f, 0x112) : 0;
    uint32_t v = e && get(&f, e + 2, 2) == 3 ? get(&f, e + 8, 2) : 1;
    return v >= 1 && v <= 8 ? (int)v : 1;
}

/* A short or long of an entry; `other` where the tag is missing. */
static uint32_t ifd_number(const Ifd *f, unsigned tag, uint32_t other)
{
    size_t e = ifd_find(f, tag);
    return e ? get(f, e + 8, get(f, e + 2, 2) == 3 ? 2 : 4) : other;
}

int upz_tiff_pages(const uint8_t *d, size_t n)
{
    Ifd f;
    int pages = 0;
    bool more = ifd_open(&f, d, n);
    for (int i = 0; more && i < 65536; i++) { /* a chain may bite its tail */
        pages += !(ifd_number(&f, 0xFE, 0) & 1); /* bit 0: a smaller copy of another page */
        size_t next = f.at + f.count * (size_t)12;
        more = n - next >= 4 && ifd_at(&f, get(&f, next, 4));
    }
    return pages;
}

const char *upz_tiff_unreadable(const uint8_t *d, size_t n)
{
    Ifd f;
    if (!ifd_open(&f, d, n) || ifd_find(&f, 0xC612)) return NULL; /* DNG is another matter */
    uint32_t how = ifd_number(&f, 0x103, 1);
    if (ifd_find(&f, 0x142)) return "in tiles";
    return how == 6 || how == 7 ? "as JPEG inside" : NULL;
}

static void put(const Ifd *f, uint8_t *d, size_t at, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        d[at + (size_t)i] = (uint8_t)(v >> (8 * (f->big ? bytes - 1 - i : i)));
}

static void patch(const Ifd *f, uint8_t *d, unsigned tag, uint32_t v)
{
    size_t e = ifd_find(f, tag);
    if (!e) return;
    uint32_t type = get(f, e + 2, 2);
    if (type == 4) put(f, d, e + 8, v, 4);
    else if (type == 3 && v <= 0xffff) put(f, d, e + 8, v, 2);
}

void upz_exif_resize(uint8_t *exif, size_t size, uint32_t w, uint32_t h)
{
    Ifd f;
    if (!ifd_open(&f, exif, size)) return;
    patch(&f, exif, 0x100, w);
    patch(&f, exif, 0x101, h);
    size_t next = f.at + f.count * (size_t)12;
    if (size - next >= 4) put(&f, exif, next, 0, 4);
    size_t sub = ifd_find(&f, 0x8769);
    if (sub && ifd_at(&f, get(&f, sub + 8, 4))) {
        patch(&f, exif, 0xa002, w);
        patch(&f, exif, 0xa003, h);
    }
}

size_t upz_exif_make(uint8_t out[UPZ_EXIF_SMALL], int orientation)
{
    static const uint8_t blank[UPZ_EXIF_SMALL] = {
        'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0,            /* one entry */
        0x12, 1, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0,        /* orientation, one short */
        0, 0, 0, 0};
    memcpy(out, blank, sizeof(blank));
    out[18] = (uint8_t)orientation;
    return sizeof(blank);
}

/* ---- density ---- */

static bool is_density(UpzDensity *d, double x, double y, double per_metre)
{
    if (!(x > 0 && y > 0 && x < 1e9 && y < 1e9)) return false;
    *d = (UpzDensity){.metre = per_metre > 0};
    d->x = d->metre ? x * per_metre : x;
    d->y = d->metre ? y * per_metre : y;
    return true;
}

static double rational(const Ifd *f, unsigned tag)
{
    size_t e = ifd_find(f, tag), at = e ? get(f, e + 8, 4) : 0;
    if (!e || get(f, e + 2, 2) != 5 || at > f->n || f->n - at < 8) return 0;
    uint32_t den = get(f, at + 4, 4);
    return den ? (double)get(f, at, 4) / den : 0;
}

static bool exif_density(const uint8_t *exif, size_t size, UpzDensity *d)
{
    Ifd f;
    if (!ifd_open(&f, exif, size)) return false;
    size_t e = ifd_find(&f, 296);
    uint32_t unit = e ? get(&f, e + 8, 2) : 2; /* 1 none, 2 inch, 3 centimetre */
    return is_density(d, rational(&f, 282), rational(&f, 283),
                      unit == 2 ? 1 / 0.0254 : unit == 3 ? 100 : 0);
}

static bool png_density(const uint8_t *d, size_t n, UpzDensity *out)
{
    for (size_t i = 8; i + 12 <= n && memcmp(d + i + 4, "IDAT", 4);) {
        size_t len = be32(d + i);
        if (len > n - i - 12) break;
        if (len == 9 && !memcmp(d + i + 4, "pHYs", 4))
            return is_density(out, be32(d + i + 8), be32(d + i + 12), d[i + 16] == 1);
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
        is_density(out, d[14] << 8 | d[15], d[16] << 8 | d[17], d[13] == 1 ? 1 / 0.0254 : 100))
        return true;
    if (find_jpeg(d, n, &exif, &size, &pixels) && exif_density(exif, size, out)) return true;
    return jfif && is_density(out, d[14] << 8 | d[15], d[16] << 8 | d[17], 0);
}

bool upz_density_find(const uint8_t *d, size_t n, UpzDensity *out)
{
    *out = (UpzDensity){0};
    switch (upz_still_kind(d, n)) {
    case UPZ_STILL_PNG: return png_density(d, n, out);
    case UPZ_STILL_JPEG: return jpeg_density(d, n, out);
    case UPZ_STILL_TIFF: return exif_density(d, n, out);
    default: return false;
    }
}

/* ---- embedding ---- */

typedef struct Bytes {
    uint8_t *d;
    size_t n, cap;
    bool no_memory;
} Bytes;

static bool put_bytes(Bytes *b, const void *d, size_t n)
{
    size_t need;
    if (!upz_add_size(b->n, n, &need) || !upz_grow(&b->d, &b->cap, need, 1, SIZE_MAX / 2)) {
        b->no_memory = true;
        return false;
    }
    if (n) memcpy(b->d + b->n, d, n);
    b->n = need;
    return true;
}

static bool png_chunk(Bytes *b, const char *type, const uint8_t *d, size_t n)
{
    uint8_t head[8], tail[4];
    put_be32(head, (uint32_t)n);
    memcpy(head + 4, type, 4);
    uLong crc = crc32(crc32(0, head + 4, 4), d, (uInt)n);
    put_be32(tail, (uint32_t)crc);
    return n < 0x7fffffff && put_bytes(b, head, 8) && put_bytes(b, d, n) && put_bytes(b, tail, 4);
}

static bool png_icc(Bytes *b, const UpzStillMeta *m)
{
    static const char name[] = "ICC profile"; /* with its 0; then the method, deflate */
    uLong packed = compressBound((uLong)m->icc_size);
    size_t head = sizeof(name) + 1;
    uint8_t *z = upz_calloc(1, head + packed);
    b->no_memory |= !z;
    if (!z) return false;
    memcpy(z, name, sizeof(name));
    bool ok = compress(z + head, &packed, m->icc, (uLong)m->icc_size) == Z_OK &&
              png_chunk(b, "iCCP", z, head + packed);
    upz_free(z);
    return ok;
}

static bool png_phys(Bytes *b, const UpzDensity *d)
{
    uint8_t v[9] = {0};
    if (d->x < 0.5 || d->y < 0.5 || d->x > 2e9 || d->y > 2e9) return true;
    put_be32(v, (uint32_t)(d->x + 0.5));
    put_be32(v + 4, (uint32_t)(d->y + 0.5));
    v[8] = d->metre;
    return png_chunk(b, "pHYs", v, sizeof(v));
}

/* All belong before the pixels: directly behind IHDR. */
static bool embed_png(Bytes *b, const uint8_t *d, size_t n, const UpzStillMeta *m)
{
    size_t at = 8 + 25, phys;
    if (n <= at || !put_bytes(b, d, at) || (m->icc && !png_icc(b, m)) ||
        (m->exif && !png_chunk(b, "eXIf", m->exif, m->exif_size)) || !png_phys(b, &m->density))
        return false;
    for (phys = at; phys + 21 <= n && memcmp(d + phys + 4, "IDAT", 4);) {
        size_t len = be32(d + phys);
        if (len > n - phys - 12) return false;
        if (!memcmp(d + phys + 4, "pHYs", 4)) {
            if (!put_bytes(b, d + at, phys - at)) return false;
            at = phys + len + 12;
        }
        phys += len + 12;
    }
    return put_bytes(b, d + at, n - at);
}

static bool riff_chunk(Bytes *b, const char *type, const uint8_t *d, size_t n)
{
    uint8_t head[8] = {0};
    memcpy(head, type, 4);
    put_le(head + 4, (uint32_t)n, 4);
    static const uint8_t pad[1] = {0};
    return n < 0x7fffffff && put_bytes(b, head, 8) && put_bytes(b, d, n) &&
           put_bytes(b, pad, n & 1);
}

/* Size and transparency from the first chunk of a file, VP8X, VP8 or VP8L. */
static bool webp_facts(const uint8_t *c, size_t n, uint32_t *w, uint32_t *h, uint8_t *flags)
{
    if (n < 18) return false;
    if (!memcmp(c, "VP8X", 4)) {
        *flags = c[8];
        *w = (le32(c + 12) & 0xffffff) + 1;
        *h = (le32(c + 14) >> 8) + 1;
    } else if (!memcmp(c, "VP8L", 4)) {
        uint32_t v = le32(c + 9);
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

static bool embed_webp(Bytes *b, const uint8_t *d, size_t n, const UpzStillMeta *m)
{
    uint32_t w, h;
    uint8_t flags, x[10] = {0};
    if (n < 30 || !webp_facts(d + 12, n - 12, &w, &h, &flags)) return false;
    size_t body = !memcmp(d + 12, "VP8X", 4) ? 30 : 12;
    x[0] = (uint8_t)(flags | (m->icc ? 0x20 : 0) | (m->exif ? 8 : 0));
    put_le(x + 4, w - 1, 3);
    put_le(x + 7, h - 1, 3);
    if (!put_bytes(b, d, 12) || !riff_chunk(b, "VP8X", x, sizeof(x))) return false;
    if (m->icc && !riff_chunk(b, "ICCP", m->icc, m->icc_size)) return false;
    if (!put_bytes(b, d + body, n - body)) return false;
    if (m->exif && !riff_chunk(b, "EXIF", m->exif, m->exif_size)) return false;
    put_le(b->d + 4, (uint32_t)(b->n - 8), 4);
    return b->n - 8 <= UINT32_MAX - 1;
}

/* One more entry for a directory whose entries are sorted by tag. value: of up to 4 bytes, or the
 * offset of more. */
static void tiff_entry(uint8_t *list, unsigned *count, unsigned tag, unsigned type, uint32_t n,
                       uint32_t value)
{
    unsigned i = 0;
    while (i < *count && (list[12 * i] | (unsigned)list[12 * i + 1] << 8) < tag) i++;
    bool same = i < *count && (list[12 * i] | (unsigned)list[12 * i + 1] << 8) == tag;
    if (!same) {
        memmove(list + 12 * (i + 1), list + 12 * i, 12 * (size_t)(*count - i));
        (*count)++;
    }
    put_le(list + 12 * i, tag, 2);
    put_le(list + 12 * i + 2, type, 2);
    put_le(list + 12 * i + 4, n, 4);
    put_le(list + 12 * i + 8, value, 4);
}

/* Two rationals and their unit: inches, with the fraction where there is one. */
static bool tiff_density(Bytes *b, uint8_t *list, unsigned *count, const UpzDensity *d)
{
    uint8_t v[16], pad[1] = {0};
    double unit = d->metre ? 0.0254 : 1, xy[2] = {d->x * unit, d->y * unit};
    if (!put_bytes(b, pad, b->n & 1) || b->n > UINT32_MAX / 2) return false;
    for (int i = 0; i < 2; i++) {
        double whole = floor(xy[i] + 0.5);
        /* PNG's whole pixels a metre are meant as whole dots an inch */
        bool exact = fabs(xy[i] - whole) < 0.02;
        if (!(xy[i] < 4e6)) return true;
        put_le(v + 8 * i, (uint32_t)(exact ? whole : xy[i] * 1000 + 0.5), 4);
        put_le(v + 8 * i + 4, exact ? 1 : 1000, 4);
    }
    tiff_entry(list, count, 282, 5, 1, (uint32_t)b->n);
    tiff_entry(list, count, 283, 5, 1, (uint32_t)b->n + 8);
    tiff_entry(list, count, 296, 3, 1, d->metre ? 2 : 1);
    return put_bytes(b, v, sizeof(v));
}

/* The directory is written anew behind everything; the old one stays unused. */
static bool embed_tiff(Bytes *b, const uint8_t *d, size_t n, const UpzStillMeta *m)
{
    static const uint8_t zero[4];
    Ifd f;
    if (!ifd_open(&f, d, n) || f.big || f.count > 1000 || n > UINT32_MAX / 2) return false;
    unsigned count = f.count;
    uint8_t *list = upz_calloc(count + 5, 12);
    b->no_memory |= !list;
    if (!list) return false;
    memcpy(list, d + f.at, 12 * (size_t)count);
    bool ok = put_bytes(b, d, n);
    if (ok && m->icc) {
        ok = put_bytes(b, zero, b->n & 1);
        tiff_entry(list, &count, 34675, 7, (uint32_t)m->icc_size, (uint32_t)b->n);
        ok = ok && put_bytes(b, m->icc, m->icc_size);
    }
    if (ok && m->density.x > 0) ok = tiff_density(b, list, &count, &m->density);
    if (m->orientation > 1) tiff_entry(list, &count, 0x112, 3, 1, (uint32_t)m->orientation);
    ok = ok && put_bytes(b, zero, b->n & 1);
    uint8_t head[2];
    put_le(head, count, 2);
    size_t at = b->n;
    ok = ok && put_bytes(b, head, 2) && put_bytes(b, list, 12 * (size_t)count) &&
         put_bytes(b, zero, 4) && b->n <= UINT32_MAX;
    if (ok) put_le(b->d + 4, (uint32_t)at, 4);
    upz_free(list);
    return ok;
}

int upz_still_embed(UpzStillKind kind, const uint8_t *data, size_t size, const UpzStillMeta *meta,
                    uint8_t **out, size_t *out_size, UprezError *err)
{
    Bytes b = {0};
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
