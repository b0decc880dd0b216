/* Rows of fp32 to IEEE 754 binary16 and back: to nearest even, subnormals, infinities and NaN kept;
 * beyond 65504 (rounded) infinity. All levels give the same values. */
#ifndef UPZ_HALF_H
#define UPZ_HALF_H

#include <stddef.h>
#include <stdint.h>
#include "base/cpu.h"

void upz_half_pack(uint16_t *dst, const float *src, size_t n, UpzCpuLevel cpu);
void upz_half_unpack(float *dst, const uint16_t *src, size_t n, UpzCpuLevel cpu);

/* half_avx2.c */
void upz_half_pack_avx2(uint16_t *dst, const float *src, size_t n);
void upz_half_unpack_avx2(float *dst, const uint16_t *src, size_t n);

#endif
