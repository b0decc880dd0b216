/* What --precision auto is decided by: a built-in picture, always the same, never timing.
 *
 * Threads: safe. */
#ifndef UPZ_TRIAL_H
#define UPZ_TRIAL_H

#include "engine/tensor/tensor.h"

#define UPZ_TRIAL_PSNR 50.0 /* dB against fp32 that a narrower type must reach to be taken by itself */

/* The picture, planes of 0..1: flat parts, edges, texture. */
void upz_trial_paint(float *planes, int channels, int height, int width);
/* The trial picture through a runtime as it is now, slot 0 of one: *out, n values, is the caller's
 * (upz_free_aligned). Buffers stay as the runtime's prepare left them. The runtime must pass fp32
 * tensors. */
int upz_trial_run(const UpzRuntimeOps *ops, UpzRuntime *rt, const UprezModel *model, float **out,
                  size_t *n, UprezError *err);
/* PSNR in dB of two results, clipped to 0..1; what is no number is as wrong as can be. */
double upz_trial_psnr(const float *a, const float *b, size_t n);

#endif
