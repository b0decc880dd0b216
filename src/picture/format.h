/* Facts about formats. */
#ifndef UPZ_FORMAT_H
#define UPZ_FORMAT_H

#include <stdbool.h>
#include "uprez/picture.h"

/* Bytes and rows of a plane for a picture size; width in samples of the plane's component 0. */
int upz_plane_width(const UprezFormat *f, int plane, int width);
int upz_plane_height(const UprezFormat *f, int plane, int height);
size_t upz_plane_row_bytes(const UprezFormat *f, int plane, int width);
bool upz_format_equal(const UprezFormat *a, const UprezFormat *b);
bool upz_format_valid(const UprezFormat *f);
int upz_component_width(const UprezFormat *f, int comp, int width);
int upz_component_height(const UprezFormat *f, int comp, int height);
/* 3 planes of float R G B; the pipeline's own currency between stages. */
void upz_format_float_rgb(UprezFormat *f);
void upz_format_float_gray(UprezFormat *f);
void upz_format_float_yuv(UprezFormat *f); /* 4:4:4 */
bool upz_format_is_chroma(const UprezFormat *f, int comp);

/* The memory is the caller's, who never learns when the last reference goes. */
bool upz_picture_borrowed(const UprezPicture *p);
/* Its owner promises not to change the memory while a reference is held: there is a `free` to say when. */
bool upz_picture_promised(const UprezPicture *p);
/* Memory of uprez_picture_alloc that nobody else can change: all references are those `ours`. */
bool upz_picture_untouchable(const UprezPicture *p, int ours);

#endif
