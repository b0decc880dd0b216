/* Reference-counted pictures. */
#include "uprez/picture.h"

#include <stdint.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/format.h"

struct UprezBuffer {
    atomic_int refs;
    void *memory; /* own, or NULL */
    void (*free)(void *cookie);
    void *cookie;
};

static int make(UprezPicture **out, const UprezPicture *desc, void *memory,
                void (*release)(void *), void *cookie, UprezError *err)
{
    *out = NULL;
    UprezBuffer *b = upz_calloc(1, sizeof(*b));
    UprezPicture *p = upz_calloc(1, sizeof(*p));
    if (!b || !p) {
        upz_free(b);
        upz_free(p);
        return upz_fail_memory(err, sizeof(*b) + sizeof(*p), "a picture");
    }
    *p = *desc;
    atomic_init(&b->refs, 1);
    b->memory = memory;
    b->free = release;
    b->cookie = cookie;
    p->buffer = b;
    *out = p;
    return 0;
}

static int check_size(const UprezFormat *f, int width, int height, UprezError *err)
{
    if (!upz_format_valid(f))
        return upz_fail(err, UPREZ_ERR_USAGE, "the picture's format description is not valid");
    if (width < 1 || height < 1 || width > UPREZ_SIDE_MAX || height > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a picture of %dx%d; sides must be 1 to %d px",
                        width, height, UPREZ_SIDE_MAX);
    return 0;
}

int uprez_picture_alloc(UprezPicture **out, const UprezFormat *format, int width, int height,
                        UprezError *err)
{
    *out = NULL;
    int r = check_size(format, width, height, err);
    if (r < 0) return r;
    UprezPicture desc = {.format = *format, .width = width, .height = height};
    size_t at[4] = {0}, total = 0;
    for (int i = 0; i < format->n_plane; i++) {
        size_t row = UPZ_ROUND_UP(upz_plane_row_bytes(format, i, width), (size_t)64), bytes;
        desc.stride[i] = (ptrdiff_t)row;
        at[i] = total;
        if (!upz_mul_size(row, (size_t)upz_plane_height(format, i, height), &bytes) ||
            !upz_add_size(total, bytes, &total))
            return upz_fail_memory(err, SIZE_MAX, "a picture");
    }
    uint8_t *memory = upz_alloc_aligned(total);
    if (!memory) return upz_fail_memory(err, total, "a picture");
    for (int i = 0; i < format->n_plane; i++) desc.plane[i] = memory + at[i];
    r = make(out, &desc, memory, NULL, NULL, err);
    if (r < 0) upz_free_aligned(memory);
    return r;
}

int uprez_picture_wrap(UprezPicture **out, const UprezPicture *desc, void (*release)(void *),
                       void *cookie, UprezError *err)
{
    *out = NULL;
    int r = check_size(&desc->format, desc->width, desc->height, err);
    return r < 0 ? r : make(out, desc, NULL, release, cookie, err);
}

UprezPicture *uprez_picture_ref(const UprezPicture *picture)
{
    UprezPicture *p = upz_calloc(1, sizeof(*p));
    if (!p) return NULL;
    *p = *picture;
    if (p->buffer) atomic_fetch_add(&p->buffer->refs, 1);
    return p;
}

bool upz_picture_borrowed(const UprezPicture *p)
{
    return !p->buffer || !(p->buffer->memory || p->buffer->free);
}

bool upz_picture_promised(const UprezPicture *p) { return p->buffer && p->buffer->free; }

bool upz_picture_untouchable(const UprezPicture *p, int ours)
{
    return p->buffer && p->buffer->memory && atomic_load(&p->buffer->refs) == ours;
}

void uprez_picture_unref(UprezPicture **picture)
{
    UprezPicture *p = *picture;
    if (!p) return;
    *picture = NULL;
    UprezBuffer *b = p->buffer;
    if (b && atomic_fetch_sub(&b->refs, 1) == 1) {
        if (b->free) b->free(b->cookie);
        upz_free_aligned(b->memory);
        upz_free(b);
    }
    upz_free(p);
}
