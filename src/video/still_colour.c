#include "still_colour.h"

#include <math.h>

#include "base/compiler.h"
#include "still_text.h"

static const double srgb_chrm[8] = {0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06};

/* H.273's primaries, those that pictures have: white, red, green, blue. */
static const struct {
    int code;
    double chrm[8];
} primaries[] = {
    {1, {0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06}},
    {4, {0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08}},
    {5, {0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06}},
    {6, {0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070}},
    {7, {0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070}},
    {8, {0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049}},
    {9, {0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046}},
    {11, {0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060}},
    {12, {0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060}},
    {22, {0.3127, 0.3290, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077}},
};

void upz_still_colour_free(UpzStillColour *c)
{
    upz_free(c->chunks.d);
    *c = (UpzStillColour){.primaries = 2, .transfer = 2};
}

int upz_still_colour_find(UpzStillColour *c, const uint8_t *d, size_t n, UprezError *err)
{
    static const char *const kept[] = {"gAMA", "cHRM", "sRGB", "cICP", "mDCV", "mDCv", "cLLI", "cLLi"};
    *c = (UpzStillColour){.primaries = 2, .transfer = 2};
    if (n < 8 || memcmp(d, "\x89PNG\r\n\x1a\n", 8)) return 0;
    for (size_t i = 8; i + 12 <= n && memcmp(d + i + 4, "IDAT", 4);) {
        size_t len = upz_be32(d + i);
        const uint8_t *type = d + i + 4, *v = d + i + 8;
        if (len > n - i - 12) break;
        bool keep = false;
        for (int k = 0; k < UPZ_COUNT(kept); k++) keep |= len <= 64 && !memcmp(type, kept[k], 4);
        if (keep && !upz_put(&c->chunks, d + i, len + 12))
            return upz_fail_memory(err, len, "a picture's colours");
        if (!memcmp(type, "gAMA", 4) && len == 4 && upz_be32(v)) c->gamma = upz_be32(v) / 1e5;
        if (!memcmp(type, "sRGB", 4) && len == 1) c->srgb = true;
        if (!memcmp(type, "cICP", 4) && len == 4) {
            c->primaries = v[0];
            c->transfer = v[1];
        }
        if (!memcmp(type, "cHRM", 4) && len == 32) {
            for (int k = 0; k < 8; k++) c->chrm[k] = upz_be32(v + 4 * k) / 1e5;
            c->has_chrm = true;
        }
        i += len + 12;
    }
    return 0;
}

static bool tagged(const UpzStillColour *c)
{
    return c->primaries != 2 && c->transfer != 2 && c->primaries && c->transfer;
}

/* Curves that differ from sRGB's by less than what screens do. */
static bool is_usual(int transfer)
{
    return transfer == 1 || transfer == 6 || transfer == 13 || transfer == 14 || transfer == 15;
}

bool upz_still_colour_plain(const UpzStillColour *c)
{
    if (tagged(c)) return is_usual(c->transfer) && c->primaries == 1;
    if (c->srgb) return true;
    if (c->gamma > 0 && fabs(c->gamma - 0.45455) > 0.005) return false;
    for (int i = 0; i < 8 && c->has_chrm; i++)
        if (fabs(c->chrm[i] - srgb_chrm[i]) > 0.002) return false;
    return true;
}

bool upz_still_colour_png(UpzBytes *b, const UpzStillColour *c)
{
    if (!c) return true;
    if (c->chunks.n) return upz_put(b, c->chunks.d, c->chunks.n);
    if (!tagged(c)) return true;
    uint8_t v[4] = {(uint8_t)c->primaries, (uint8_t)c->transfer, 0, 1}, intent[1] = {0};
    if (c->primaries == 1 && c->transfer == 13) return upz_png_chunk(b, "sRGB", intent, 1);
    return upz_png_chunk(b, "cICP", v, 4);
}

/* ---- a profile ---- */

/* XYZ of a chromaticity, Y = 1. */
static void xyz(const double *xy, double out[3])
{
    out[0] = xy[0] / xy[1];
    out[1] = 1;
    out[2] = (1 - xy[0] - xy[1]) / xy[1];
}

static bool invert(double m[3][3], double o[3][3])
{
    double det = 0;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            int a = (i + 1) % 3, b = (i + 2) % 3, c = (k + 1) % 3, d = (k + 2) % 3;
            o[k][i] = m[a][c] * m[b][d] - m[a][d] * m[b][c];
        }
    for (int i = 0; i < 3; i++) det += m[0][i] * o[i][0];
    if (!(fabs(det) > 1e-9)) return false;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) o[i][k] /= det;
    return true;
}

static void apply(double m[3][3], const double v[3], double o[3])
{
    for (int i = 0; i < 3; i++) o[i] = m[i][0] * v[0] + m[i][1] * v[1] + m[i][2] * v[2];
}

/* The colours of red, green and blue under the profile's white (D50), by Bradford's adaptation: columns
 * of out. */
static bool colorants(const double chrm[8], double out[3][3])
{
    double bradford[3][3] = {{0.8951, 0.2664, -0.1614}, {-0.7502, 1.7135, 0.0367},
                                          {0.0389, -0.0685, 1.0296}};
    const double d50[3] = {0.9642, 1, 0.8249};
    double white[3], m[3][3], back[3][3], unbrad[3][3], s[3], from[3], to[3];
    for (int i = 0; i < 4; i++)
        if (!(chrm[2 * i] >= 0 && chrm[2 * i] <= 1 && chrm[2 * i + 1] > 0.001 && chrm[2 * i + 1] <= 1))
            return false;
    xyz(chrm, white);
    for (int k = 0; k < 3; k++) {
        double c[3];
        xyz(chrm + 2 + 2 * k, c);
        for (int i = 0; i < 3; i++) m[i][k] = c[i];
    }
    if (!invert(m, back) || !invert(bradford, unbrad)) return false;
    apply(back, white, s);
    apply(bradford, white, from);
    apply(bradford, d50, to);
    for (int k = 0; k < 3; k++) {
        double c[3] = {m[0][k] * s[k], m[1][k] * s[k], m[2][k] * s[k]}, cone[3], adapted[3];
        apply(bradford, c, cone);
        for (int i = 0; i < 3; i++) {
            if (!(from[i] > 1e-6)) return false;
            cone[i] *= to[i] / from[i];
        }
        apply(unbrad, cone, adapted);
        for (int i = 0; i < 3; i++) out[i][k] = adapted[i];
    }
    return true;
}

static double curve(const UpzStillColour *c, double v)
{
    if (c->gamma > 0) return pow(v, 1 / c->gamma);
    return v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
}

static void put_fixed(UpzBytes *b, double v)
{
    upz_put_be32(b, (uint32_t)(int32_t)lrint(v * 65536));
}

typedef struct Tag {
    char name[5];
    uint32_t at, size;
} Tag;

static void begin(UpzBytes *b, Tag *t, const char *name, const char *type)
{
    static const uint8_t zero[4];
    upz_put(b, zero, (4 - b->n % 4) % 4);
    *t = (Tag){.at = (uint32_t)b->n};
    memcpy(t->name, name, 4);
    upz_put(b, type, 4);
    upz_put(b, zero, 4);
}

static void put_xyz(UpzBytes *b, Tag *t, const char *name, double x, double y, double z)
{
    begin(b, t, name, "XYZ ");
    put_fixed(b, x);
    put_fixed(b, y);
    put_fixed(b, z);
}

static void put_curve(UpzBytes *b, Tag *t, const char *name, const UpzStillColour *c)
{
    begin(b, t, name, "curv");
    upz_put_be32(b, 1024);
    for (int i = 0; i < 1024; i++) {
        uint8_t v[2];
        upz_set_be(v, (uint32_t)lrint(UPZ_CLAMP(curve(c, i / 1023.0), 0, 1) * 65535), 2);
        upz_put(b, v, 2);
    }
}

static void put_texts(UpzBytes *b, Tag *desc, Tag *cprt)
{
    static const char words[] = "colours as the picture file told them";
    static const uint8_t rest[78];
    begin(b, desc, "desc", "desc");
    upz_put_be32(b, sizeof(words));
    upz_put(b, words, sizeof(words));
    upz_put(b, rest, sizeof(rest)); /* no Unicode, no ScriptCode */
    desc->size = (uint32_t)b->n - desc->at;
    begin(b, cprt, "cprt", "text");
    upz_put(b, "CC0", 4);
}

static bool put_profile(UpzBytes *b, const UpzStillColour *c, double m[3][3], bool gray)
{
    static const uint8_t zero[128];
    static const char *const columns[] = {"rXYZ", "gXYZ", "bXYZ"}, *const curves[] = {"rTRC", "gTRC", "bTRC"};
    Tag tags[9];
    int n = 3, count = gray ? 4 : 9;
    upz_put(b, zero, 128);
    upz_put_be32(b, (uint32_t)count);
    for (int i = 0; i < count; i++) upz_put(b, zero, 12);
    put_texts(b, &tags[0], &tags[1]);
    put_xyz(b, &tags[2], "wtpt", 0.9642, 1, 0.8249);
    for (int i = 0; i < 3 && !gray; i++) put_xyz(b, &tags[n++], columns[i], m[0][i], m[1][i], m[2][i]);
    put_curve(b, &tags[n++], gray ? "kTRC" : "rTRC", c);
    if (!b->d || b->no_memory) return false;
    for (int i = 0; i + 1 < n; i++)
        if (!tags[i].size) tags[i].size = tags[i + 1].at - tags[i].at;
    tags[n - 1].size = (uint32_t)b->n - tags[n - 1].at;
    for (int i = 1; i < 3 && !gray; i++) { /* one curve for all */
        tags[n] = tags[n - 1];
        memcpy(tags[n++].name, curves[i], 4);
    }
    for (int i = 0; i < n; i++) {
        memcpy(b->d + 132 + 12 * i, tags[i].name, 4);
        upz_set_be(b->d + 136 + 12 * i, tags[i].at, 4);
        upz_set_be(b->d + 140 + 12 * i, tags[i].size, 4);
    }
    upz_set_be(b->d, (uint32_t)b->n, 4);
    memcpy(b->d + 8, "\2\x10\0\0mntr", 8); /* version 2.1, of a display */
    memcpy(b->d + 16, gray ? "GRAY" : "RGB ", 4);
    memcpy(b->d + 20, "XYZ \7\316\0\1\0\1\0\0\0\0\0\0acsp", 20); /* 1998, 1 January */
    upz_set_be(b->d + 68, 0xF6D6, 4); /* D50 */
    upz_set_be(b->d + 72, 0x10000, 4);
    upz_set_be(b->d + 76, 0xD32D, 4);
    return true;
}

bool upz_still_colour_icc(UpzBytes *icc, const UpzStillColour *colour, bool gray)
{
    UpzStillColour c = *colour;
    const double *chrm = c.has_chrm && !c.srgb ? c.chrm : srgb_chrm;
    double m[3][3];
    if (c.srgb) c.gamma = 0;
    if (tagged(&c)) {
        bool known = false;
        for (int i = 0; i < UPZ_COUNT(primaries); i++)
            if (primaries[i].code == c.primaries) chrm = primaries[i].chrm, known = true;
        c.gamma = c.transfer == 4 ? 1 / 2.2 : c.transfer == 5 ? 1 / 2.8 : c.transfer == 8 ? 1 : 0;
        if (!known || !(is_usual(c.transfer) || c.gamma > 0)) return true;
    }
    if (!colorants(chrm, m)) return true;
    if (put_profile(icc, &c, m, gray)) return true;
    upz_free(icc->d);
    *icc = (UpzBytes){.no_memory = true};
    return false;
}
