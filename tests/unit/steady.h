/* Pictures that keep a promise: nobody writes them between being sent and being let go of, though the test
 * keeps them to send them again or to compare. */
#ifndef STEADY_H
#define STEADY_H

#include <string.h>

#include "picture/format.h"
#include "uprez/picture.h"

static inline void steady_gone(void *cookie)
{
    UprezPicture *memory = cookie;
    uprez_picture_unref(&memory);
}

/* As uprez_picture_alloc, with a `free`. */
static inline UprezPicture *steady(const UprezFormat *f, int w, int h)
{
    UprezPicture *memory, *p;
    assert_int_equal(uprez_picture_alloc(&memory, f, w, h, NULL), 0);
    UprezPicture desc = *memory;
    desc.buffer = NULL;
    assert_int_equal(uprez_picture_wrap(&p, &desc, steady_gone, memory, NULL), 0);
    return p;
}

static inline UprezPicture *copy_of(const UprezPicture *p)
{
    UprezPicture *c = steady(&p->format, p->width, p->height);
    c->color = p->color;
    for (int i = 0; i < p->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&p->format, i, p->height); y++)
            memcpy((char *)c->plane[i] + y * c->stride[i], (char *)p->plane[i] + y * p->stride[i],
                   upz_plane_row_bytes(&p->format, i, p->width));
    return c;
}

#endif
