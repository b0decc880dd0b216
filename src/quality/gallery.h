/* Several models beside each other at several times of a film: a page and one picture. */
#ifndef UPZ_GALLERY_H
#define UPZ_GALLERY_H

#include "base/context.h"
#include "uprez/picture.h"

enum { UPZ_GALLERY_MODELS = 16, UPZ_GALLERY_TIMES = 16, UPZ_GALLERY_WIDTH = 960, UPZ_GALLERY_HEIGHT = 540 /* px, at most */ };

typedef struct UpzGallery {
    const char *title;
    int models, times;
    const char *model[UPZ_GALLERY_MODELS]; /* their names; the first is what others are compared with */
    double time[UPZ_GALLERY_TIMES];        /* seconds */
    UprezRect rect[UPZ_GALLERY_TIMES];     /* the part that is shown, where the first two differ most */
    unsigned char *jpeg[UPZ_GALLERY_TIMES][UPZ_GALLERY_MODELS];
    unsigned long bytes[UPZ_GALLERY_TIMES][UPZ_GALLERY_MODELS];
    UprezPicture *piece[UPZ_GALLERY_TIMES][UPZ_GALLERY_MODELS]; /* the same as RGB, 8 bits */
} UpzGallery;

/* The results of all models at time number t, pictures of one size: one a model. */
int upz_gallery_add(UpzGallery *g, UprezContext *ctx, int t, const UprezPicture *const *results, UprezError *err);
/* A page that needs nothing but itself: any two models one over the other with a divider, and all of them. */
int upz_gallery_page(const UpzGallery *g, const char *path, UprezError *err);
/* All pieces in one picture: a row a time, a column a model; the caller's. */
int upz_gallery_sheet(const UpzGallery *g, UprezPicture **out, UprezError *err);
void upz_gallery_free(UpzGallery *g);

#endif
