/* Format names as FFmpeg spells them, and facts derived from a description. */
#include "picture/format.h"

#include <string.h>

#include "base/compiler.h"
#include "base/error.h"

#define C(plane, offset, step) {plane, offset, step}
#define GRAY(d) {UPREZ_GRAY, d, 0, 0, 0, 0, 1, 1, {C(0, 0, (d) == 32 ? 4 : (d) > 8 ? 2 : 1)}}
#define GRAY_A(d, b) {UPREZ_GRAY, d, 0, 0, 0, 1, 2, 1, {C(0, 0, 2 * (b)), C(0, b, 2 * (b))}}
#define YUV(d, b, sx, sy) \
    {UPREZ_YUV, d, 0, sx, sy, 0, 3, 3, {C(0, 0, b), C(1, 0, b), C(2, 0, b)}}
#define YUV_A(d, b, sx, sy) \
    {UPREZ_YUV, d, 0, sx, sy, 1, 4, 4, {C(0, 0, b), C(1, 0, b), C(2, 0, b), C(3, 0, b)}}
/* u, v: offsets within the chroma pair */
#define SEMI(d, shift, b, sx, sy, u, v) \
    {UPREZ_YUV, d, shift, sx, sy, 0, 3, 2, {C(0, 0, b), C(1, u, 2 * (b)), C(1, v, 2 * (b))}}
#define P422(y, u, v) {UPREZ_YUV, 8, 0, 1, 0, 0, 3, 1, {C(0, y, 2), C(0, u, 4), C(0, v, 4)}}
#define PACK_YUV(d, shift, b, n, y, u, v, a) \
    {UPREZ_YUV, d, shift, 0, 0, (n) == 4, n, 1, \
     {C(0, (y) * (b), 4 * (b)), C(0, (u) * (b), 4 * (b)), C(0, (v) * (b), 4 * (b)), \
      C(0, (n) == 4 ? (a) * (b) : 0, (n) == 4 ? 4 * (b) : 0)}}
#define GBRP(d, b) {UPREZ_RGB, d, 0, 0, 0, 0, 3, 3, {C(2, 0, b), C(0, 0, b), C(1, 0, b)}}
#define GBRAP(d, b) \
    {UPREZ_RGB, d, 0, 0, 0, 1, 4, 4, {C(2, 0, b), C(0, 0, b), C(1, 0, b), C(3, 0, b)}}
/* r, g, b: offsets in samples; step in bytes */
#define RGB(d, bytes, step, r, g, b) \
    {UPREZ_RGB, d, 0, 0, 0, 0, 3, 1, \
     {C(0, (r) * (bytes), step), C(0, (g) * (bytes), step), C(0, (b) * (bytes), step)}}
#define RGBA(d, bytes, r, g, b, a) \
    {UPREZ_RGB, d, 0, 0, 0, 1, 4, 1, \
     {C(0, (r) * (bytes), 4 * (bytes)), C(0, (g) * (bytes), 4 * (bytes)), \
      C(0, (b) * (bytes), 4 * (bytes)), C(0, (a) * (bytes), 4 * (bytes))}}

/* To add one: a line here. Of two names for one description the first is what
 * uprez_format_name() says. */
static const struct {
    char name[16];
    UprezFormat format;
} formats[] = {
    {"gray", GRAY(8)}, {"gray9le", GRAY(9)}, {"gray10le", GRAY(10)}, {"gray12le", GRAY(12)},
    {"gray14le", GRAY(14)}, {"gray16le", GRAY(16)}, {"grayf32le", GRAY(32)},
    {"ya8", GRAY_A(8, 1)}, {"ya16le", GRAY_A(16, 2)},

    {"yuv420p", YUV(8, 1, 1, 1)}, {"yuv422p", YUV(8, 1, 1, 0)}, {"yuv444p", YUV(8, 1, 0, 0)},
    {"yuv440p", YUV(8, 1, 0, 1)}, {"yuv411p", YUV(8, 1, 2, 0)}, {"yuv410p", YUV(8, 1, 2, 2)},
    {"yuvj420p", YUV(8, 1, 1, 1)}, {"yuvj422p", YUV(8, 1, 1, 0)}, {"yuvj444p", YUV(8, 1, 0, 0)},
    {"yuvj440p", YUV(8, 1, 0, 1)}, {"yuvj411p", YUV(8, 1, 2, 0)},
    {"yuv420p9le", YUV(9, 2, 1, 1)}, {"yuv422p9le", YUV(9, 2, 1, 0)},
    {"yuv444p9le", YUV(9, 2, 0, 0)}, {"yuv420p10le", YUV(10, 2, 1, 1)},
    {"yuv422p10le", YUV(10, 2, 1, 0)}, {"yuv444p10le", YUV(10, 2, 0, 0)},
    {"yuv440p10le", YUV(10, 2, 0, 1)}, {"yuv420p12le", YUV(12, 2, 1, 1)},
    {"yuv422p12le", YUV(12, 2, 1, 0)}, {"yuv444p12le", YUV(12, 2, 0, 0)},
    {"yuv440p12le", YUV(12, 2, 0, 1)}, {"yuv420p14le", YUV(14, 2, 1, 1)},
    {"yuv422p14le", YUV(14, 2, 1, 0)}, {"yuv444p14le", YUV(14, 2, 0, 0)},
    {"yuv420p16le", YUV(16, 2, 1, 1)}, {"yuv422p16le", YUV(16, 2, 1, 0)},
    {"yuv444p16le", YUV(16, 2, 0, 0)},

    {"yuva420p", YUV_A(8, 1, 1, 1)}, {"yuva422p", YUV_A(8, 1, 1, 0)},
    {"yuva444p", YUV_A(8, 1, 0, 0)}, {"yuva420p9le", YUV_A(9, 2, 1, 1)},
    {"yuva422p9le", YUV_A(9, 2, 1, 0)}, {"yuva444p9le", YUV_A(9, 2, 0, 0)},
    {"yuva420p10le", YUV_A(10, 2, 1, 1)}, {"yuva422p10le", YUV_A(10, 2, 1, 0)},
    {"yuva444p10le", YUV_A(10, 2, 0, 0)}, {"yuva422p12le", YUV_A(12, 2, 1, 0)},
    {"yuva444p12le", YUV_A(12, 2, 0, 0)}, {"yuva420p16le", YUV_A(16, 2, 1, 1)},
    {"yuva422p16le", YUV_A(16, 2, 1, 0)}, {"yuva444p16le", YUV_A(16, 2, 0, 0)},

    {"nv12", SEMI(8, 0, 1, 1, 1, 0, 1)}, {"nv21", SEMI(8, 0, 1, 1, 1, 1, 0)},
    {"nv16", SEMI(8, 0, 1, 1, 0, 0, 1)}, {"nv24", SEMI(8, 0, 1, 0, 0, 0, 1)},
    {"nv42", SEMI(8, 0, 1, 0, 0, 1, 0)}, {"nv20le", SEMI(10, 0, 2, 1, 0, 0, 2)},
    {"p010le", SEMI(10, 6, 2, 1, 1, 0, 2)}, {"p012le", SEMI(12, 4, 2, 1, 1, 0, 2)},
    {"p016le", SEMI(16, 0, 2, 1, 1, 0, 2)}, {"p210le", SEMI(10, 6, 2, 1, 0, 0, 2)},
    {"p212le", SEMI(12, 4, 2, 1, 0, 0, 2)}, {"p216le", SEMI(16, 0, 2, 1, 0, 0, 2)},
    {"p410le", SEMI(10, 6, 2, 0, 0, 0, 2)}, {"p412le", SEMI(12, 4, 2, 0, 0, 0, 2)},
    {"p416le", SEMI(16, 0, 2, 0, 0, 0, 2)},

    {"yuyv422", P422(0, 1, 3)}, {"uyvy422", P422(1, 0, 2)}, {"yvyu422", P422(0, 3, 1)},
    {"y210le", {UPREZ_YUV, 10, 6, 1, 0, 0, 3, 1, {C(0, 0, 4), C(0, 2, 8), C(0, 6, 8)}}},
    {"y212le", {UPREZ_YUV, 12, 4, 1, 0, 0, 3, 1, {C(0, 0, 4), C(0, 2, 8), C(0, 6, 8)}}},
    {"vuya", PACK_YUV(8, 0, 1, 4, 2, 1, 0, 3)}, {"vuyx", PACK_YUV(8, 0, 1, 3, 2, 1, 0, 3)},
    {"ayuv64le", PACK_YUV(16, 0, 2, 4, 1, 2, 3, 0)}, {"xv36le", PACK_YUV(12, 4, 2, 3, 1, 0, 2, 3)},

    {"gbrp", GBRP(8, 1)}, {"gbrp9le", GBRP(9, 2)}, {"gbrp10le", GBRP(10, 2)},
    {"gbrp12le", GBRP(12, 2)}, {"gbrp14le", GBRP(14, 2)}, {"gbrp16le", GBRP(16, 2)},
    {"gbrpf32le", GBRP(32, 4)}, {"gbrap", GBRAP(8, 1)}, {"gbrap10le", GBRAP(10, 2)},
    {"gbrap12le", GBRAP(12, 2)}, {"gbrap14le", GBRAP(14, 2)}, {"gbrap16le", GBRAP(16, 2)},
    {"gbrapf32le", GBRAP(32, 4)},

    {"rgb24", RGB(8, 1, 3, 0, 1, 2)}, {"bgr24", RGB(8, 1, 3, 2, 1, 0)},
    {"rgb0", RGB(8, 1, 4, 0, 1, 2)}, {"bgr0", RGB(8, 1, 4, 2, 1, 0)},
    {"0rgb", RGB(8, 1, 4, 1, 2, 3)}, {"0bgr", RGB(8, 1, 4, 3, 2, 1)},
    {"rgba", RGBA(8, 1, 0, 1, 2, 3)}, {"bgra", RGBA(8, 1, 2, 1, 0, 3)},
    {"argb", RGBA(8, 1, 1, 2, 3, 0)}, {"abgr", RGBA(8, 1, 3, 2, 1, 0)},
    {"rgb48le", RGB(16, 2, 6, 0, 1, 2)}, {"bgr48le", RGB(16, 2, 6, 2, 1, 0)},
    {"rgba64le", RGBA(16, 2, 0, 1, 2, 3)}, {"bgra64le", RGBA(16, 2, 2, 1, 0, 3)},
    {"rgbf32le", RGB(32, 4, 12, 0, 1, 2)}, {"rgbaf32le", RGBA(32, 4, 0, 1, 2, 3)},
};

int uprez_format_from_name(UprezFormat *f, const char *name)
{
    *f = (UprezFormat){0};
    size_t n = strlen(name);
    for (int i = 0; i < UPZ_COUNT(formats); i++) {
        const char *known = formats[i].name;
        /* as in FFmpeg, a name without an ending means the machine's own byte order */
        if (!strncmp(known, name, n) && (!known[n] || (n > 2 && !strcmp(known + n, "le")))) {
            *f = formats[i].format;
            return 0;
        }
    }
    return UPREZ_ERR_USAGE;
}

const char *uprez_format_name(const UprezFormat *f)
{
    for (int i = 0; i < UPZ_COUNT(formats); i++)
        if (upz_format_equal(f, &formats[i].format)) return formats[i].name;
    return NULL;
}

static int sample_bytes(const UprezFormat *f) { return f->depth > 16 ? 4 : f->depth > 8 ? 2 : 1; }

bool upz_format_valid(const UprezFormat *f)
{
    int n = (f->model == UPREZ_GRAY ? 1 : 3) + (f->alpha ? 1 : 0), bytes = sample_bytes(f);
    if (f->model > UPREZ_RGB || f->alpha > 1 || f->n_comp != n || f->n_plane < 1 ||
        f->n_plane > 4)
        return false;
    if (f->depth != 32 && (f->depth < 8 || f->depth > 16)) return false;
    if (f->shift && (bytes != 2 || f->depth + f->shift > 16)) return false;
    if (f->sub_x > 2 || f->sub_y > 2 || (f->model != UPREZ_YUV && (f->sub_x || f->sub_y)))
        return false;
    unsigned planes = 0;
    for (int i = 0; i < n; i++) {
        const UprezComponent *c = &f->comp[i];
        if (c->plane >= f->n_plane || c->offset + bytes > c->step || c->step % bytes ||
            c->offset % bytes)
            return false;
        planes |= 1u << c->plane;
    }
    return planes == (1u << f->n_plane) - 1;
}

bool upz_format_equal(const UprezFormat *a, const UprezFormat *b)
{
    if (a->model != b->model || a->depth != b->depth || a->shift != b->shift ||
        a->sub_x != b->sub_x || a->sub_y != b->sub_y || a->alpha != b->alpha ||
        a->n_comp != b->n_comp || a->n_plane != b->n_plane)
        return false;
    for (int i = 0; i < a->n_comp && i < 4; i++)
        if (a->comp[i].plane != b->comp[i].plane || a->comp[i].offset != b->comp[i].offset ||
            a->comp[i].step != b->comp[i].step)
            return false;
    return true;
}

bool upz_format_is_chroma(const UprezFormat *f, int comp)
{
    return f->model == UPREZ_YUV && (comp == 1 || comp == 2);
}

int upz_component_width(const UprezFormat *f, int comp, int width)
{
    int sub = upz_format_is_chroma(f, comp) ? f->sub_x : 0;
    return (width + (1 << sub) - 1) >> sub;
}

int upz_component_height(const UprezFormat *f, int comp, int height)
{
    int sub = upz_format_is_chroma(f, comp) ? f->sub_y : 0;
    return (height + (1 << sub) - 1) >> sub;
}

static int first_component(const UprezFormat *f, int plane)
{
    for (int i = 0; i < f->n_comp; i++)
        if (f->comp[i].plane == plane) return i;
    return 0;
}

int upz_plane_width(const UprezFormat *f, int plane, int width)
{
    return upz_component_width(f, first_component(f, plane), width);
}

int upz_plane_height(const UprezFormat *f, int plane, int height)
{
    return upz_component_height(f, first_component(f, plane), height);
}

size_t upz_plane_row_bytes(const UprezFormat *f, int plane, int width)
{
    size_t bytes = 0;
    for (int i = 0; i < f->n_comp; i++) {
        if (f->comp[i].plane != plane) continue;
        size_t b = (size_t)upz_component_width(f, i, width) * f->comp[i].step;
        bytes = UPZ_MAX(bytes, b);
    }
    return bytes;
}

static void float_planes(UprezFormat *f, int model, int n)
{
    *f = (UprezFormat){.model = (uint8_t)model, .depth = 32, .n_comp = (uint8_t)n,
                       .n_plane = (uint8_t)n};
    for (int i = 0; i < n; i++) f->comp[i] = (UprezComponent){(uint8_t)i, 0, 4};
}

void upz_format_float_rgb(UprezFormat *f) { float_planes(f, UPREZ_RGB, 3); }
void upz_format_float_gray(UprezFormat *f) { float_planes(f, UPREZ_GRAY, 1); }
void upz_format_float_yuv(UprezFormat *f) { float_planes(f, UPREZ_YUV, 3); }
