#include "still_text.h"

#include <stdio.h>
#include <strings.h>
#include <zlib.h>

#include "base/compiler.h"
#include "exif.h"

#define MOST ((size_t)16 << 20) /* bytes of one text, unpacked; those of all files that are no attack are less */
#define SEGMENT 65533           /* bytes of data in one marker of a JPEG */
#define XMP_KEY "XML:com.adobe.xmp"
#define XMP_HEAD "http://ns.adobe.com/xap/1.0/" /* with its 0 */
#define XMP_MORE "http://ns.adobe.com/xmp/extension/"
#define PHOTOSHOP "Photoshop 3.0"

/* ---- a list of texts ---- */

static bool add(UpzStillTexts *t, UpzTextKind kind, const char *key, const uint8_t *d, size_t n)
{
    if (!upz_grow(&t->items, &t->cap, t->n + 1, sizeof(*t->items), 1 << 16)) return t->n >= 1 << 16;
    UpzStillText *i = &t->items[t->n];
    *i = (UpzStillText){.kind = kind, .key = upz_strdup(key), .data = upz_calloc(1, n + 1), .size = n};
    if (!i->key || !i->data) {
        upz_free(i->key);
        upz_free(i->data);
        return false;
    }
    if (n) memcpy(i->data, d, n);
    t->n++;
    return true;
}

void upz_still_texts_free(UpzStillTexts *t)
{
    for (size_t i = 0; i < t->n; i++) {
        upz_free(t->items[i].key);
        upz_free(t->items[i].data);
    }
    upz_free(t->items);
    upz_free(t->chunks.d);
    upz_free(t->segments.d);
    *t = (UpzStillTexts){0};
}

int upz_still_texts_add(UpzStillTexts *t, const char *key, const char *words, UprezError *err)
{
    return add(t, UPZ_TEXT_WORDS, key, (const uint8_t *)words, strlen(words))
               ? 0 : upz_fail_memory(err, strlen(words), "a picture's texts");
}

static const UpzStillText *first(const UpzStillTexts *t, UpzTextKind kind)
{
    for (size_t i = 0; t && i < t->n; i++)
        if (t->items[i].kind == kind) return &t->items[i];
    return NULL;
}

const UpzStillText *upz_still_texts_xmp(const UpzStillTexts *t)
{
    return first(t, UPZ_TEXT_XMP);
}

const UpzStillText *upz_still_texts_resources(const UpzStillTexts *t)
{
    return first(t, UPZ_TEXT_RESOURCES);
}

/* ---- finding: PNG ---- */

static bool utf8(UpzBytes *to, const uint8_t *latin1, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t two[2] = {(uint8_t)(0xc0 | latin1[i] >> 6), (uint8_t)(0x80 | (latin1[i] & 0x3f))};
        if (!(latin1[i] < 0x80 ? upz_put(to, latin1 + i, 1) : upz_put(to, two, 2))) return false;
    }
    return true;
}

/* false: no memory; what is damaged or too large gives nothing and to->n stays 0. */
static bool unpack(UpzBytes *to, const uint8_t *d, size_t n)
{
    z_stream z = {0};
    uint8_t part[4096];
    int r = Z_OK;
    if (n > UINT32_MAX || inflateInit(&z) != Z_OK) return true;
    z.next_in = (uint8_t *)d;
    z.avail_in = (uInt)n;
    while (r == Z_OK && to->n <= MOST) {
        z.next_out = part;
        z.avail_out = sizeof(part);
        r = inflate(&z, Z_NO_FLUSH);
        if (!upz_put(to, part, sizeof(part) - z.avail_out)) break;
    }
    inflateEnd(&z);
    if (r != Z_STREAM_END) to->n = 0;
    return !to->no_memory;
}

static int hex(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "\niptc\n      44\n3842494d…": a name, a length, and numbers in hexadecimal. */
static bool raw_profile(UpzBytes *to, const uint8_t *d, size_t n)
{
    size_t i = 0;
    int lines = 0;
    while (i < n && lines < 3) lines += d[i++] == '\n';
    for (int high = -1; i < n; i++) {
        int v = hex(d[i]);
        if (v < 0) continue;
        uint8_t byte = (uint8_t)(high << 4 | v);
        if (high >= 0 && !upz_put(to, &byte, 1)) return false;
        high = high < 0 ? v : -1;
    }
    return true;
}

static bool starts(const UpzBytes *b, const char *with)
{
    return b->n >= strlen(with) && !memcmp(b->d, with, strlen(with));
}

/* IPTC without Photoshop's frame gets it. */
static bool add_iptc(UpzStillTexts *t, const uint8_t *d, size_t n)
{
    UpzBytes b = {0};
    static const uint8_t head[8] = {'8', 'B', 'I', 'M', 4, 4, 0, 0}, pad[1] = {0};
    bool ok = upz_put(&b, head, 8) && upz_put_be32(&b, (uint32_t)n) && upz_put(&b, d, n) &&
              upz_put(&b, pad, n & 1) && add(t, UPZ_TEXT_RESOURCES, "IPTC", b.d, b.n);
    upz_free(b.d);
    return ok;
}

/* Resources about the old pixels (resolution, thumbnails) are left out. */
static bool add_resources(UpzStillTexts *t, const uint8_t *d, size_t n)
{
    UpzBytes b = {0};
    bool ok = true;
    for (size_t i = 0; ok && n - i >= 12 && !memcmp(d + i, "8BIM", 4);) {
        unsigned id = (unsigned)d[i + 4] << 8 | d[i + 5];
        size_t name = ((size_t)d[i + 6] + 2) & ~(size_t)1, head = 6 + name + 4;
        if (head > n - i) break;
        size_t size = upz_be32(d + i + 6 + name);
        if (size > n - i - head) break;
        size_t all = UPZ_MIN(head + size + (size & 1), n - i);
        if (id != 0x3e8 && id != 0x3ed && id != 0x409 && id != 0x40c) ok = upz_put(&b, d + i, all);
        i += all;
    }
    ok = ok && (!b.n || add(t, UPZ_TEXT_RESOURCES, "IPTC", b.d, b.n));
    upz_free(b.d);
    return ok;
}

static bool add_words(UpzStillTexts *t, const char *key, const UpzBytes *text)
{
    UpzBytes raw = {0};
    bool ok = true, profile = !strncmp(key, "Raw profile type ", 17);
    if (profile && (!strcmp(key + 17, "iptc") || !strcmp(key + 17, "8bim"))) {
        ok = raw_profile(&raw, text->d, text->n);
        if (ok && starts(&raw, "8BIM")) ok = add_resources(t, raw.d, raw.n);
        else if (ok && raw.n) ok = add_iptc(t, raw.d, raw.n);
    } else if (profile && !strcmp(key + 17, "xmp")) {
        ok = raw_profile(&raw, text->d, text->n) && add(t, UPZ_TEXT_XMP, XMP_KEY, raw.d, raw.n);
    } else if (!strcmp(key, XMP_KEY)) {
        ok = add(t, UPZ_TEXT_XMP, XMP_KEY, text->d, text->n);
    } else {
        ok = add(t, profile ? UPZ_TEXT_OTHER : UPZ_TEXT_WORDS, key, text->d, text->n);
    }
    upz_free(raw.d);
    return ok;
}

/* Where the text of an iTXt begins: behind its flags, language and translated key. 0: broken. */
static size_t international(const uint8_t *d, size_t n, size_t at)
{
    int zeros = 0;
    at += 2;
    while (at < n && zeros < 2) zeros += !d[at++];
    return zeros == 2 ? at : 0;
}

static bool png_text(UpzStillTexts *t, const uint8_t *type, const uint8_t *d, size_t n)
{
    const uint8_t *zero = memchr(d, 0, UPZ_MIN(n, 80));
    if (!zero || zero == d || n - (size_t)(zero - d) < 2) return true;
    size_t at = (size_t)(zero - d) + 1;
    char key[81];
    snprintf(key, sizeof(key), "%s", (const char *)d);
    UpzBytes text = {0}, plain = {0};
    bool ok = true;
    if (!memcmp(type, "tEXt", 4)) {
        ok = utf8(&text, d + at, n - at);
    } else if (!memcmp(type, "zTXt", 4)) {
        ok = unpack(&plain, d + at + 1, n - at - 1) && utf8(&text, plain.d, plain.n);
    } else {
        size_t begin = international(d, n, at);
        if (!begin) return true;
        ok = d[at] ? unpack(&text, d + begin, n - begin) : upz_put(&text, d + begin, n - begin);
    }
    ok = ok && (!text.n || add_words(t, key, &text));
    upz_free(text.d);
    upz_free(plain.d);
    return ok;
}

static bool find_png(UpzStillTexts *t, const uint8_t *d, size_t n)
{
    for (size_t i = 8; i + 12 <= n;) {
        size_t len = upz_be32(d + i);
        const uint8_t *type = d + i + 4;
        if (len > n - i - 12) break;
        bool text = !memcmp(type, "tEXt", 4) || !memcmp(type, "zTXt", 4) || !memcmp(type, "iTXt", 4);
        if (text && len <= MOST && !png_text(t, type, d + i + 8, len)) return false;
        if ((text || !memcmp(type, "tIME", 4)) && !upz_put(&t->chunks, d + i, len + 12)) return false;
        i += len + 12;
    }
    return true;
}

/* ---- finding: JPEG, WebP, TIFF ---- */

static bool jpeg_segment(UpzStillTexts *t, UpzBytes *resources, const uint8_t *s, size_t n)
{
    const uint8_t *d = s + 4;
    size_t xmp = sizeof(XMP_HEAD), more = sizeof(XMP_MORE), shop = sizeof(PHOTOSHOP);
    n -= 4; /* of marker and length */
    if (s[1] == 0xe1 && n > xmp && !memcmp(d, XMP_HEAD, xmp))
        return add(t, UPZ_TEXT_XMP, XMP_KEY, d + xmp, n - xmp);
    if (s[1] == 0xe1 && n > more && !memcmp(d, XMP_MORE, more)) return upz_put(&t->segments, s, n + 4);
    if (s[1] == 0xed && n > shop && !memcmp(d, PHOTOSHOP, shop))
        return upz_put(resources, d + shop, n - shop);
    if (s[1] == 0xfe && n) return add(t, UPZ_TEXT_WORDS, "Comment", d, n - !d[n - 1]);
    return true;
}

static bool find_jpeg(UpzStillTexts *t, const uint8_t *d, size_t n)
{
    UpzBytes resources = {0};
    bool ok = true;
    for (size_t i = 2; ok && i + 4 <= n && d[i] == 0xff;) {
        if (d[i + 1] == 0xff) {
            i++;
            continue;
        }
        size_t len = (size_t)d[i + 2] << 8 | d[i + 3];
        if (d[i + 1] == 0xda || d[i + 1] == 0xd9 || len < 2 || len + 2 > n - i) break;
        ok = jpeg_segment(t, &resources, d + i, len + 2);
        i += len + 2;
    }
    if (ok && resources.n) ok = add_resources(t, resources.d, resources.n);
    upz_free(resources.d);
    return ok;
}

static bool find_webp(UpzStillTexts *t, const uint8_t *d, size_t n)
{
    for (size_t i = 12; i + 8 <= n;) {
        size_t len = upz_le32(d + i + 4);
        if (len > n - i - 8) break;
        if (!memcmp(d + i, "XMP ", 4)) return add(t, UPZ_TEXT_XMP, XMP_KEY, d + i + 8, len);
        i += 8 + len + (len & 1);
    }
    return true;
}

static bool find_tiff(UpzStillTexts *t, const uint8_t *d, size_t n)
{
    const uint8_t *v;
    size_t size;
    bool ok = true;
    if (upz_tiff_bytes(d, n, 700, &v, &size) && size) ok = add(t, UPZ_TEXT_XMP, XMP_KEY, v, size);
    bool shop = ok && upz_tiff_bytes(d, n, 34377, &v, &size) && size > 12;
    size_t before = t->n;
    if (shop) ok = add_resources(t, v, size);
    const UpzStillText *r = t->n > before ? upz_still_texts_resources(t) : NULL;
    const uint8_t *iptc;
    size_t iptc_size;
    if (ok && !(r && upz_resources_iptc(r, &iptc, &iptc_size)) && !r &&
        upz_tiff_bytes(d, n, 33723, &v, &size) && size)
        ok = add_iptc(t, v, size);
    return ok;
}

int upz_still_texts_find(UpzStillTexts *t, const uint8_t *d, size_t n, UprezError *err)
{
    bool ok = true;
    if (n >= 8 && !memcmp(d, "\x89PNG\r\n\x1a\n", 8)) ok = find_png(t, d, n);
    else if (n >= 3 && d[0] == 0xff && d[1] == 0xd8) ok = find_jpeg(t, d, n);
    else if (n >= 12 && !memcmp(d, "RIFF", 4) && !memcmp(d + 8, "WEBP", 4)) ok = find_webp(t, d, n);
    else if (n >= 8 && (!memcmp(d, "II*\0", 4) || !memcmp(d, "MM\0*", 4))) ok = find_tiff(t, d, n);
    if (ok) return 0;
    upz_still_texts_free(t);
    return upz_fail_memory(err, n, "a picture's texts");
}

/* ---- writing: PNG ---- */

bool upz_png_chunk(UpzBytes *b, const char *type, const uint8_t *d, size_t n)
{
    uint8_t head[8], tail[4];
    if (n >= 0x7fffffff) return false;
    upz_set_be(head, (uint32_t)n, 4);
    memcpy(head + 4, type, 4);
    uLong crc = crc32(0, head + 4, 4);
    if (n) crc = crc32(crc, d, (uInt)n);
    upz_set_be(tail, (uint32_t)crc, 4);
    return upz_put(b, head, 8) && upz_put(b, d, n) && upz_put(b, tail, 4);
}

static bool png_words(UpzBytes *b, const char *key, const uint8_t *d, size_t n)
{
    UpzBytes c = {0};
    bool plain = true;
    char name[80];
    snprintf(name, sizeof(name), "%s", *key ? key : "Comment"); /* PNG's longest */
    for (size_t i = 0; i < n && plain; i++) plain = d[i] == '\n' || (d[i] >= 32 && d[i] < 127);
    for (char *k = name; *k; k++)
        if ((uint8_t)*k < 32 || (uint8_t)*k > 126) *k = '_';
    bool ok = upz_put(&c, name, strlen(name) + 1) && upz_put(&c, "\0\0\0", plain ? 0 : 4) &&
              upz_put(&c, d, n) && upz_png_chunk(b, plain ? "tEXt" : "iTXt", c.d, c.n);
    upz_free(c.d);
    return ok;
}

static bool png_profile(UpzBytes *b, const uint8_t *d, size_t n)
{
    static const char digits[] = "0123456789abcdef", key[] = "Raw profile type iptc\0";
    UpzBytes text = {0};
    char head[48];
    int len = snprintf(head, sizeof(head), "\niptc\n%8zu\n", n);
    bool ok = upz_put(&text, head, (size_t)len);
    for (size_t i = 0; i < n && ok; i++) {
        char two[3] = {digits[d[i] >> 4], digits[d[i] & 15], '\n'};
        ok = upz_put(&text, two, i % 36 == 35 || i + 1 == n ? 3 : 2);
    }
    uLong packed = compressBound((uLong)text.n);
    uint8_t *z = ok ? upz_calloc(1, sizeof(key) + packed) : NULL;
    if (!z) b->no_memory = true;
    else memcpy(z, key, sizeof(key)); /* its 0, and the method */
    ok = z && compress(z + sizeof(key), &packed, text.d, (uLong)text.n) == Z_OK &&
         upz_png_chunk(b, "zTXt", z, sizeof(key) + packed);
    upz_free(z);
    upz_free(text.d);
    return ok;
}

bool upz_still_texts_png(UpzBytes *b, const UpzStillTexts *t)
{
    bool ok = true;
    if (!t) return true;
    if (t->chunks.n) return upz_put(b, t->chunks.d, t->chunks.n);
    for (size_t i = 0; i < t->n && ok; i++) {
        const UpzStillText *x = &t->items[i];
        if (x->kind == UPZ_TEXT_WORDS) ok = png_words(b, x->key, x->data, x->size);
        else if (x->kind == UPZ_TEXT_RESOURCES) ok = png_profile(b, x->data, x->size);
        else if (x->kind == UPZ_TEXT_XMP) {
            UpzBytes c = {0};
            ok = upz_put(&c, XMP_KEY "\0\0\0\0", sizeof(XMP_KEY) + 4) && upz_put(&c, x->data, x->size) &&
                 upz_png_chunk(b, "iTXt", c.d, c.n);
            upz_free(c.d);
        }
    }
    return ok;
}

/* ---- writing: JPEG ---- */

static bool jpeg_put(UpzBytes *b, int marker, const void *head, size_t nh, const uint8_t *d, size_t n)
{
    uint8_t m[4] = {0xff, (uint8_t)marker};
    upz_set_be(m + 2, (uint32_t)(nh + n + 2), 2);
    return upz_put(b, m, 4) && upz_put(b, head, nh) && upz_put(b, d, n);
}

static bool fits_segment(const UpzStillText *x)
{
    size_t room = SEGMENT;
    if (x->kind == UPZ_TEXT_XMP) room -= sizeof(XMP_HEAD);
    if (x->kind == UPZ_TEXT_WORDS && strcmp(x->key, "Comment")) room -= strlen(x->key) + 2;
    return x->kind == UPZ_TEXT_RESOURCES || x->size <= room;
}

bool upz_still_texts_jpeg(UpzBytes *b, const UpzStillTexts *t)
{
    bool ok = true;
    for (size_t i = 0; t && i < t->n && ok; i++) {
        const UpzStillText *x = &t->items[i];
        if (!fits_segment(x)) continue;
        if (x->kind == UPZ_TEXT_XMP) {
            ok = jpeg_put(b, 0xe1, XMP_HEAD, sizeof(XMP_HEAD), x->data, x->size);
        } else if (x->kind == UPZ_TEXT_RESOURCES) {
            size_t room = SEGMENT - sizeof(PHOTOSHOP);
            for (size_t at = 0; at < x->size && ok; at += room)
                ok = jpeg_put(b, 0xed, PHOTOSHOP, sizeof(PHOTOSHOP), x->data + at,
                              UPZ_MIN(room, x->size - at));
        } else if (x->kind == UPZ_TEXT_WORDS) {
            bool comment = !strcmp(x->key, "Comment");
            char *key = comment ? upz_strdup("") : upz_asprintf("%s: ", x->key);
            ok = key && jpeg_put(b, 0xfe, key, strlen(key), x->data, x->size);
            upz_free(key);
        }
    }
    return ok && (!t || upz_put(b, t->segments.d, t->segments.n));
}

/* ---- writing: TIFF ---- */

bool upz_resources_iptc(const UpzStillText *r, const uint8_t **iptc, size_t *size)
{
    const uint8_t *d = r->data;
    for (size_t i = 0; r->size - i >= 12;) {
        size_t name = ((size_t)d[i + 6] + 2) & ~(size_t)1, head = 6 + name + 4;
        if (head > r->size - i) break;
        size_t n = upz_be32(d + i + 6 + name);
        if (n > r->size - i - head) break;
        if (d[i + 4] == 4 && d[i + 5] == 4) {
            *iptc = d + i + head;
            *size = n;
            return true;
        }
        i += UPZ_MIN(head + n + (n & 1), r->size - i);
    }
    return false;
}

bool upz_still_texts_words(UpzBytes *b, const UpzStillTexts *t)
{
    bool ok = true;
    for (size_t i = 0; t && i < t->n && ok; i++) {
        const UpzStillText *x = &t->items[i];
        if (x->kind != UPZ_TEXT_WORDS) continue;
        if (b->n) ok = upz_put(b, "\n", 1);
        if (strcmp(x->key, "Comment"))
            ok = ok && upz_put(b, x->key, strlen(x->key)) && upz_put(b, ": ", 2);
        ok = ok && upz_put(b, x->data, x->size);
    }
    return ok && (!b->n || upz_put(b, "", 1));
}

/* ---- what is lost ---- */

void upz_still_texts_lost(const UpzStillTexts *t, UpzStillKind kind, bool described, char *words,
                          size_t room)
{
    *words = 0;
    for (size_t i = 0; i < t->n; i++) {
        const UpzStillText *x = &t->items[i];
        bool kept = kind == UPZ_STILL_PNG ? x->kind != UPZ_TEXT_OTHER || t->chunks.n
                    : kind == UPZ_STILL_JPEG ? x->kind != UPZ_TEXT_OTHER && fits_segment(x)
                    : kind == UPZ_STILL_WEBP ? x->kind == UPZ_TEXT_XMP
                    : x->kind == UPZ_TEXT_WORDS ? !described : x->kind != UPZ_TEXT_OTHER;
        size_t at = strlen(words);
        if (kept || room - at < 100) continue;
        const char *what = x->kind == UPZ_TEXT_XMP ? "XMP" : x->kind == UPZ_TEXT_RESOURCES ? "IPTC" : "";
        if (*what && strstr(words, what)) continue;
        if (*what) snprintf(words + at, room - at, "%s%s", at ? ", " : "", what);
        else snprintf(words + at, room - at, "%sthe text '%.60s'", at ? ", " : "", x->key);
    }
    size_t at = strlen(words);
    if (t->segments.n && kind != UPZ_STILL_JPEG)
        snprintf(words + at, room - at, "%sa part of XMP", at ? ", " : "");
}
