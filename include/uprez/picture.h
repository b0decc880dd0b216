/* A picture: planes, their format, what their numbers mean, and when it is shown.
 *
 * Threads: a picture is immutable once shared; its reference count is atomic. */
#ifndef UPREZ_PICTURE_H
#define UPREZ_PICTURE_H

#include <stddef.h>
#include <stdint.h>
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the components of a format are. */
enum UprezColorModel { UPREZ_GRAY, UPREZ_YUV, UPREZ_RGB };

/* Where one component lies. offset and step are bytes within a row of its plane. */
typedef struct UprezComponent {
    uint8_t plane, offset, step; /* index of the plane; first byte; bytes from sample to sample */
} UprezComponent;

/* A sample format, described rather than enumerated. Components are in the order Y U V (A),
 * R G B (A) or Y (A). Samples wider than 8 bits are native-endian 16-bit words; `depth` bits of
 * them count, shifted left by `shift` (P010: depth 10, shift 6). depth 32 is IEEE float, nominal
 * 0..1 for RGB, gray and luma, -0.5..0.5 for chroma. */
typedef struct UprezFormat {
    uint8_t model;        /* UprezColorModel */
    uint8_t depth, shift; /* 8..16, or 32 */
    uint8_t sub_x, sub_y; /* log2 of the chroma subsampling, 0..2 */
    uint8_t alpha;        /* the last component is (straight) alpha, full range */
    uint8_t n_comp, n_plane; /* how many; n_comp 0: no format */
    UprezComponent comp[4];  /* in the order above */
} UprezFormat;

/* Which code values are black and white. */
enum UprezRange { UPREZ_RANGE_UNKNOWN, UPREZ_RANGE_LIMITED, UPREZ_RANGE_FULL };
/* Where a chroma sample lies among the luma samples it belongs to. */
enum UprezSiting {
    UPREZ_SITING_UNKNOWN, /* taken as LEFT */
    UPREZ_SITING_LEFT, UPREZ_SITING_CENTER, UPREZ_SITING_TOPLEFT, UPREZ_SITING_TOP,
    UPREZ_SITING_BOTTOMLEFT, UPREZ_SITING_BOTTOM
};
/* What the numbers mean. */
typedef struct UprezColor {
    uint8_t matrix, primaries, transfer; /* code points of ITU-T H.273 (2 = unspecified) */
    uint8_t range, siting;               /* UprezRange, UprezSiting */
} UprezColor;

#define UPREZ_SIDE_MAX 65536 /* px: keeps every row and plane size far from overflow */

/* Where planes lie: the processor's memory or a device's. */
enum UprezMemory { UPREZ_MEM_HOST, UPREZ_MEM_CUDA };

typedef struct UprezBuffer UprezBuffer; /* reference-counted memory */

/* A picture. From the library: read only. The caller's own, on the stack: zero it, fill it, hand it to
 * uprez_picture_wrap. */
typedef struct UprezPicture {
    UprezFormat format;    /* how the samples lie */
    UprezColor color;      /* what they mean; {2, 2, 2} = not known, the usual is taken */
    int width, height;     /* px, 1..UPREZ_SIDE_MAX */
    int memory, device;    /* UprezMemory; device index when CUDA */
    void *plane[4];        /* device pointers when CUDA */
    ptrdiff_t stride[4];   /* bytes */
    int64_t pts, duration; /* in units the caller chooses; carried from input to output */
    void *opaque;          /* the caller's; carried from input to output, never touched */
    void *stream;          /* CUDA: the CUstream in whose order the memory is valid (source) or may be
                              written (result), which outlives the picture; NULL = the context's default
                              stream; CU_STREAM_PER_THREAD is refused */
    UprezBuffer *buffer;   /* NULL: the memory is the caller's and outlives the picture */
} UprezPicture;

/* A part of a picture. */
typedef struct UprezRect {
    int x, y, w, h; /* px; from the top left */
} UprezRect;

/* Fills *f from a name as FFmpeg spells it ("yuv420p10le", "nv12", "gbrp", "rgb48le", "gray", …);
 * USAGE if it is not one uprez converts by itself. Big-endian formats are not. */
UPREZ_API int uprez_format_from_name(UprezFormat *f, const char *name);
/* The name of a format, NULL if it has none. Static storage. */
UPREZ_API const char *uprez_format_name(const UprezFormat *f);

/* A new picture with uninitialised memory, rows aligned to 64 bytes. The caller owns *out. */
UPREZ_API int uprez_picture_alloc(UprezPicture **out, const UprezFormat *format, int width,
                                  int height, UprezError *err);
/* A picture over memory of the caller's. `free` (may be NULL) runs with `cookie` when the last
 * reference goes, on the thread that released it; until then the memory must not change (without `free`:
 * until uprez_receive gave the picture's result). The UprezPicture *desc is copied. On failure
 * `free` is not called. */
UPREZ_API int uprez_picture_wrap(UprezPicture **out, const UprezPicture *desc,
                                 void (*free)(void *cookie), void *cookie, UprezError *err);
/* Another reference to the same memory with timing of its own; NULL when out of memory. */
UPREZ_API UprezPicture *uprez_picture_ref(const UprezPicture *picture);
/* Releases a reference; accepts a pointer to NULL and leaves NULL. */
UPREZ_API void uprez_picture_unref(UprezPicture **picture);

#ifdef __cplusplus
}
#endif
#endif
