#include "exif.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "bytes.h"

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

static double rational(const Ifd *f, unsigned tag)
{
    size_t e = ifd_find(f, tag), at = e ? get(f, e + 8, 4) : 0;
    if (!e || get(f, e + 2, 2) != 5 || at > f->n || f->n - at < 8) return 0;
    uint32_t den = get(f, at + 4, 4);
    return den ? (double)get(f, at, 4) / den : 0;
}

bool upz_exif_density(const uint8_t *exif, size_t size, UpzDensity *d)
{
    Ifd f;
    if (!ifd_open(&f, exif, size)) return false;
    size_t e = ifd_find(&f, 296);
    uint32_t unit = e ? get(&f, e + 8, 2) : 2; /* 1 none, 2 inch, 3 centimetre */
    return upz_density_is(d, rational(&f, 282), rational(&f, 283),
                      unit == 2 ? 1 / 0.0254 : unit == 3 ? 100 : 0);
}

void upz_tiff_entry(uint8_t *list, unsigned *count, unsigned tag, unsigned type, uint32_t n,
                    uint32_t value)
{
    unsigned i = 0;
    while (i < *count && (list[12 * i] | (unsigned)list[12 * i + 1] << 8) < tag) i++;
    bool same = i < *count && (list[12 * i] | (unsigned)list[12 * i + 1] << 8) == tag;
    if (!same) {
        memmove(list + 12 * (i + 1), list + 12 * i, 12 * (size_t)(*count - i));
        (*count)++;
    }
    upz_set_le(list + 12 * i, tag, 2);
    upz_set_le(list + 12 * i + 2, type, 2);
    upz_set_le(list + 12 * i + 4, n, 4);
    upz_set_le(list + 12 * i + 8, value, 4);
}

/* ---- copying ---- */

#define MOST 500 /* entries of a directory that are looked at: cameras write some dozens */
#define EXIF_IFD 0x8769
#define GPS_IFD 0x8825
#define INTEROP_IFD 0xA005

static size_t size_of_type(uint32_t type)
{
    static const uint8_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};
    return type < sizeof(sizes) ? sizes[type] : 0;
}

/* Tags of the first directory that describe the picture. */
static bool describes(unsigned tag)
{
    static const uint16_t tags[] = {
        269, 270, 271, 272, 274, 285, 305, 306, 315, 316, 318, 319, 18246, 18249, 33432, EXIF_IFD,
        GPS_IFD, 36864, 36867, 36868, 40091, 40092, 40093, 40094, 40095};
    for (int i = 0; i < UPZ_COUNT(tags); i++)
        if (tag == tags[i]) return true;
    return false;
}

/* Of the first directory: how the picture is stored, what becomes something else (density, profile),
 * and texts, which are copied by themselves. */
static bool stores(unsigned tag)
{
    return tag < 269 || (tag >= 273 && tag <= 301 && tag != 274 && tag != 285) || tag == 317 ||
           (tag >= 320 && tag <= 347) || (tag >= 512 && tag <= 532) || tag == 700 || tag == 33723 ||
           tag == 34377 || tag == 34675 || tag == 42113 || tag == 59932;
}

/* An entry's bytes, where they lie in the block. false: it is broken. */
static bool entry_data(const Ifd *f, size_t e, size_t *at, size_t *n)
{
    size_t each = size_of_type(get(f, e + 2, 2)), many = get(f, e + 4, 4);
    if (!each || !many || many > f->n) return false;
    *n = each * many;
    *at = *n <= 4 ? e + 8 : get(f, e + 8, 4);
    return *at <= f->n && *n <= f->n - *at;
}

/* Values in the block's order become little-endian ones. */
static bool put_swapped(UpzBytes *b, const Ifd *f, size_t at, size_t n, uint32_t type)
{
    size_t each = type == 5 || type == 10 ? 4 : size_of_type(type), from = b->n;
    if (!upz_put(b, f->d + at, n)) return false;
    for (size_t i = 0; f->big && each > 1 && i + each <= n; i += each)
        for (size_t k = 0; k < each; k++) b->d[from + i + k] = f->d[at + i + each - 1 - k];
    return true;
}

static bool put_directory(UpzBytes *b, const Ifd *f, size_t limit, int depth, size_t *at);

/* One entry into list. limit: no block grows beyond that, whatever its offsets say. */
static bool copy_entry(UpzBytes *b, const Ifd *f, size_t e, uint8_t *list, unsigned *count,
                       size_t limit, int depth, unsigned *followed)
{
    static const uint8_t pad[1] = {0};
    uint32_t type = get(f, e + 2, 2);
    unsigned tag = get(f, e, 2);
    size_t at, n;
    if (!entry_data(f, e, &at, &n) || b->n > limit || n > limit - b->n) return true;
    if (tag == EXIF_IFD || tag == GPS_IFD || tag == INTEROP_IFD) {
        Ifd sub = *f;
        unsigned bit = tag == EXIF_IFD ? 1 : tag == GPS_IFD ? 2 : 4;
        if (*followed & bit || depth != (tag == INTEROP_IFD) || !ifd_at(&sub, get(f, e + 8, 4)))
            return true; /* these lie in the first directory, that one in EXIF's */
        *followed |= bit;
        if (!put_directory(b, &sub, limit, depth + 1, &at)) return false;
        if (at) upz_tiff_entry(list, count, tag, 4, 1, (uint32_t)at);
        return true;
    }
    uint32_t many = get(f, e + 4, 4);
    if (n <= 4) {
        UpzBytes small = {0};
        uint8_t v[4] = {0};
        bool ok = put_swapped(&small, f, at, n, type);
        if (ok) memcpy(v, small.d, n);
        upz_free(small.d);
        if (ok) upz_tiff_entry(list, count, tag, type, many, upz_le32(v));
        return ok;
    }
    if (!upz_put(b, pad, b->n & 1)) return false;
    upz_tiff_entry(list, count, tag, type, many, (uint32_t)b->n);
    return put_swapped(b, f, at, n, type);
}

/* A directory behind its values; *at: where, 0 = it is empty. */
static bool put_directory(UpzBytes *b, const Ifd *f, size_t limit, int depth, size_t *at)
{
    static const uint8_t zero[4];
    uint8_t head[2], *list = upz_calloc(f->count + 1, 12);
    unsigned count = 0, followed = 0;
    bool ok = list != NULL;
    *at = 0;
    for (unsigned i = 0; i < f->count && i < MOST && ok; i++) {
        size_t e = f->at + i * (size_t)12;
        if (depth || describes(get(f, e, 2))) ok = copy_entry(b, f, e, list, &count, limit, depth, &followed);
    }
    upz_set_le(head, count, 2);
    if (ok && count) {
        ok = upz_put(b, zero, b->n & 1);
        *at = b->n;
        ok = ok && upz_put(b, head, 2) && upz_put(b, list, 12 * (size_t)count) && upz_put(b, zero, 4);
    }
    if (!ok) b->no_memory = true;
    upz_free(list);
    return ok;
}

bool upz_exif_copy(UpzBytes *b, const uint8_t *d, size_t n)
{
    static const uint8_t head[8] = {'I', 'I', 42, 0};
    Ifd f;
    size_t at;
    if (!ifd_open(&f, d, n) || n > UINT32_MAX / 4) return true;
    if (!upz_put(b, head, 8) || !put_directory(b, &f, 2 * n + 65536, 0, &at)) return false;
    if (at) upz_set_le(b->d + 4, (uint32_t)at, 4);
    else b->n = 0;
    return true;
}

bool upz_exif_merge(UpzBytes *b, uint8_t *list, unsigned *count, const uint8_t *exif, size_t n)
{
    Ifd f;
    unsigned done = 0, followed = 0;
    if (!ifd_open(&f, exif, n) || n > UINT32_MAX / 4) return true;
    for (unsigned i = 0; i < f.count && done < UPZ_EXIF_TAGS; i++) {
        size_t e = f.at + i * (size_t)12;
        unsigned tag = get(&f, e, 2);
        if (!describes(tag) || tag == 274) continue;
        if (!copy_entry(b, &f, e, list, count, b->n + 2 * n + 65536, 0, &followed))
            return false;
        done++;
    }
    return true;
}

void upz_tiff_others(const uint8_t *d, size_t n, char *words, size_t room)
{
    Ifd f;
    *words = 0;
    if (!ifd_open(&f, d, n)) return;
    for (unsigned i = 0; i < f.count && i < MOST; i++) {
        unsigned tag = get(&f, f.at + i * (size_t)12, 2);
        size_t at = strlen(words);
        if (describes(tag) || stores(tag) || room - at < 16) continue;
        snprintf(words + at, room - at, "%s%u", at ? ", " : "", tag);
    }
}

bool upz_tiff_bytes(const uint8_t *d, size_t n, unsigned tag, const uint8_t **value, size_t *size)
{
    Ifd f;
    size_t e = ifd_open(&f, d, n) ? ifd_find(&f, tag) : 0, at;
    if (!e || !entry_data(&f, e, &at, size)) return false;
    *value = d + at;
    return true;
}
