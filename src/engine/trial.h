/* The built-in picture, always the same, on which networks are tried in another precision: how far values
 * reach, and how far a result is from that in fp32. Never timing.
 *
 * Threads: safe. */
#ifndef UPZ_TRIAL_H
#define UPZ_TRIAL_H

#include "model/model.h"
#include "uprez/picture.h"

#define UPZ_TRIAL_PSNR 50.0 /* dB against fp32 that a narrower type must reach to be taken by itself */

/* What --precision auto tries on a processor with these features, on every engine, one after the other: the
 * i-th type of a fixed table. The first whose result on the built-in picture reaches UPZ_TRIAL_PSNR is taken;
 * "fp32" is the last. NULL behind it. */
const char *upz_auto_precision(uint32_t features, int i);

/* The picture, planes of 0..1: flat parts, edges, texture. */
void upz_trial_paint(float *planes, int channels, int height, int width);
/* Another one, of all that is hard: black and white, full colours, fine lines, with edges as soft as a lens makes
 * them. For how far values reach. Fails with MEMORY. */
int upz_trial_paint_contrasts(float *planes, int channels, int height, int width, UprezError *err);
/* PSNR in dB of two results, clipped to 0..1; what is no number is as wrong as can be. */
double upz_trial_psnr(const float *a, const float *b, size_t n);

/* The same as pictures of planar floats, in a size that suits the network, and a picture for what it makes of
 * one. *out is the caller's. Fail with MEMORY. */
int upz_trial_source(UprezPicture **out, const UprezModel *model, bool contrasts, UprezError *err);
int upz_trial_result(UprezPicture **out, const UprezModel *model, const UprezPicture *src, UprezError *err);
/* Of two such pictures of one size. */
double upz_trial_pictures_psnr(const UprezPicture *a, const UprezPicture *b);

#endif
