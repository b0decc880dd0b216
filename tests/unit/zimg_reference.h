/* zimg (the library behind FFmpeg's zscale filter) as an independent reference for conversion and
 * resampling, on planar pictures. Only with HAVE_ZIMG. */
#ifndef ZIMG_REFERENCE_H
#define ZIMG_REFERENCE_H

#ifdef HAVE_ZIMG
#include <stdint.h>
#include <stdlib.h>
#include <zimg.h>

#include "picture/format.h"

static inline void zimg_describe(zimg_image_format *z, const UprezPicture *p)
{
    static const int siting[] = {ZIMG_CHROMA_LEFT, ZIMG_CHROMA_LEFT, ZIMG_CHROMA_CENTER,
                                 ZIMG_CHROMA_TOP_LEFT, ZIMG_CHROMA_TOP, ZIMG_CHROMA_BOTTOM_LEFT,
                                 ZIMG_CHROMA_BOTTOM};
    const UprezFormat *f = &p->format;
    zimg_image_format_default(z, ZIMG_API_VERSION);
    z->width = (unsigned)p->width;
    z->height = (unsigned)p->height;
    z->pixel_type = f->depth == 32 ? ZIMG_PIXEL_FLOAT
                    : f->depth > 8 ? ZIMG_PIXEL_WORD
                                   : ZIMG_PIXEL_BYTE;
    z->depth = f->depth;
    z->subsample_w = f->sub_x;
    z->subsample_h = f->sub_y;
    z->color_family = f->model == UPREZ_RGB   ? ZIMG_COLOR_RGB
                      : f->model == UPREZ_YUV ? ZIMG_COLOR_YUV
                                              : ZIMG_COLOR_GREY;
    z->matrix_coefficients = f->model == UPREZ_RGB   ? ZIMG_MATRIX_RGB
                             : f->model == UPREZ_YUV ? (zimg_matrix_coefficients_e)p->color.matrix
                                                     : ZIMG_MATRIX_UNSPECIFIED;
    z->transfer_characteristics = ZIMG_TRANSFER_709;
    z->color_primaries = ZIMG_PRIMARIES_709;
    z->pixel_range = p->color.range == UPREZ_RANGE_FULL ? ZIMG_RANGE_FULL : ZIMG_RANGE_LIMITED;
    z->chroma_location = (zimg_chroma_location_e)siting[p->color.siting];
}

/* A graph with its working memory. */
typedef struct ZimgRun {
    zimg_filter_graph *graph;
    void *tmp;
} ZimgRun;

/* 0, or -1 when zimg refuses. Pictures: planar, one component a plane, rows aligned to 64 bytes. */
static inline int zimg_open(ZimgRun *r, const UprezPicture *src, const UprezPicture *dst,
                            zimg_resample_filter_e filter)
{
    zimg_image_format in, out;
    zimg_graph_builder_params params;
    *r = (ZimgRun){0};
    zimg_describe(&in, src);
    zimg_describe(&out, dst);
    zimg_graph_builder_params_default(&params, ZIMG_API_VERSION);
    params.resample_filter = params.resample_filter_uv = filter;
    params.filter_param_a = params.filter_param_a_uv = 0; /* bicubic: b = 0, c = 1/2 is Keys' */
    params.filter_param_b = params.filter_param_b_uv = 0.5;
    if (filter == ZIMG_RESIZE_LANCZOS) params.filter_param_a = params.filter_param_a_uv = 3;
    params.dither_type = ZIMG_DITHER_NONE;
    params.cpu_type = ZIMG_CPU_AUTO_64B;
    r->graph = zimg_filter_graph_build(&in, &out, &params);
    if (!r->graph) return -1;
    size_t bytes = 0;
    zimg_filter_graph_get_tmp_size(r->graph, &bytes);
    r->tmp = aligned_alloc(64, (bytes + 127) / 64 * 64);
    return r->tmp ? 0 : -1;
}

static inline int zimg_run(ZimgRun *r, const UprezPicture *src, const UprezPicture *dst)
{
    zimg_image_buffer_const in = {ZIMG_API_VERSION};
    zimg_image_buffer out = {ZIMG_API_VERSION};
    for (int c = 0; c < src->format.n_comp; c++) {
        int p = src->format.comp[c].plane;
        in.plane[c].data = src->plane[p];
        in.plane[c].stride = src->stride[p];
        in.plane[c].mask = ZIMG_BUFFER_MAX;
    }
    for (int c = 0; c < dst->format.n_comp; c++) {
        int p = dst->format.comp[c].plane;
        out.plane[c].data = dst->plane[p];
        out.plane[c].stride = dst->stride[p];
        out.plane[c].mask = ZIMG_BUFFER_MAX;
    }
    return zimg_filter_graph_process(r->graph, &in, &out, r->tmp, NULL, NULL, NULL, NULL) ? -1 : 0;
}

static inline void zimg_close(ZimgRun *r)
{
    zimg_filter_graph_free(r->graph);
    free(r->tmp);
}
#endif
#endif
