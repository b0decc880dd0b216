/* Separable resampling of one plane: the classical kernels, and every final resize.
 *
 * Polyphase; the kernel is widened when shrinking (anti-aliasing). Edges mirror, the outermost
 * sample included (as in zimg). Kernels: bicubic (Keys, a = -0.5), lanczos (3 lobes), spline36,
 * bilinear. Coefficients sum to 1. Up to 10 bits with the depth unchanged it computes in 16-bit
 * fixed point, at most one code from the exact result; else in float. All levels give the same bits.
 *
 * Threads: an UpzResize is immutable after create; rows may be computed by many threads, each with
 * scratch of its own. */
#ifndef UPZ_RESIZE_H
#define UPZ_RESIZE_H

#include "uprez/picture.h"
#include "base/context.h"

typedef struct UpzResize UpzResize;

typedef enum UpzResizeKernel {
    UPZ_RESIZE_BILINEAR, UPZ_RESIZE_BICUBIC, UPZ_RESIZE_LANCZOS, UPZ_RESIZE_SPLINE36
} UpzResizeKernel;

typedef struct UpzResizeParams {
    UpzResizeKernel kernel;
    int src_w, src_h, dst_w, dst_h; /* samples */
    double shift_x, shift_y;        /* source samples: where the output's grid starts (siting) */
    int ratio_x[2], ratio_y[2];     /* source / output samples as a fraction; 0 = from the sizes
                                       (chroma of odd sizes differs) */
    int depth_src, depth_dst;       /* 8..16 bits, 32 = float */
    int shift_bits_src, shift_bits_dst; /* P010-like */
    int step_src, step_dst;         /* bytes from sample to sample; 0 = no gaps */
    double gain, bias;              /* applied to sample values in source units; 0 gain = 1 */
    int lo, hi;                     /* clamp of integer output; hi 0 = whole depth */
} UpzResizeParams;

int upz_resize_create(UpzResize **out, const UpzResizeParams *p, UpzCpuLevel cpu, UprezError *err);
void upz_resize_destroy(UpzResize **r);
/* Scratch: bytes, 64-byte aligned. Memory: of the tables. */
size_t upz_resize_scratch(const UpzResize *r);
size_t upz_resize_memory(const UpzResize *r);
/* Output rows y0 … y1-1. src and dst: the first sample of row 0. Beyond a source row, up to 128
 * bytes towards the next one may be read (not used); beyond the last row in memory, none. */
void upz_resize_rows(const UpzResize *r, const void *src, ptrdiff_t src_stride, void *dst,
                     ptrdiff_t dst_stride, int y0, int y1, void *scratch);

/* One axis as plain tables, for code that runs elsewhere: output sample i is the sum of `taps` source
 * samples from first[i] on times weight[i * taps …]. Mirrored edges are in the weights: no sample
 * lies outside, but where the source has fewer than `taps` (their weights are 0). */
typedef struct UpzResizeTaps {
    int taps, n;    /* n: outputs */
    int32_t *first;
    float *weight;
} UpzResizeTaps;
int upz_resize_taps(UpzResizeTaps *out, UpzResizeKernel kernel, int src, int dst, UprezError *err);
void upz_resize_taps_free(UpzResizeTaps *taps);

/* How far one changed px spreads beyond its own place along an axis of src to dst px, in dst px and
 * at most; sub: the larger subsampling of both pictures. */
int upz_resize_reach(UpzResizeKernel kernel, int src, int dst, int sub);

/* A whole picture of any format to any size and format of the same colour model and colour (YUV to
 * YUV, RGB to RGB, gray to gray; subsampling and depth may differ), alpha included. Planned once,
 * run as work on the context's pool. This is also what the kernels' engine does. */
typedef struct UpzResizePicture UpzResizePicture;
int upz_resize_picture_create(UpzResizePicture **out, UprezContext *ctx, UpzResizeKernel kernel,
                              const UprezPicture *src_like, const UprezPicture *dst_like,
                              UprezError *err);
void upz_resize_picture_destroy(UpzResizePicture **r);
size_t upz_resize_picture_memory(const UpzResizePicture *r);
/* Blocking. */
void upz_resize_picture_run(UpzResizePicture *r, const UprezPicture *src, UprezPicture *dst);
/* As work for the pool: prepare, then upz_pool_submit(step, r). One picture at a time. */
void upz_resize_picture_begin(UpzResizePicture *r, const UprezPicture *src, UprezPicture *dst);
UpzStep upz_resize_picture_step(void *r, int worker);

/* Conversion to another format and colour of the same size: any pair convert.h can load and store;
 * alpha is carried over. Planned once for shapes (size, format, colour), run on the context's pool,
 * blocking, one picture at a time. */
typedef struct UpzConvertPlan UpzConvertPlan;
int upz_convert_plan_create(UpzConvertPlan **out, UprezContext *ctx, const UprezPicture *src_like,
                            const UprezPicture *dst_like, UprezError *err);
void upz_convert_plan_destroy(UpzConvertPlan **plan);
size_t upz_convert_plan_memory(const UpzConvertPlan *plan);
void upz_convert_plan_run(UpzConvertPlan *plan, const UprezPicture *src, UprezPicture *dst);
/* All of it for one picture. */
int upz_convert_picture(UprezContext *ctx, const UprezPicture *src, UprezPicture *dst,
                        UprezError *err);

#endif
