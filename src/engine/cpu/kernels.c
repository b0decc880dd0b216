/* Built without ISA flags: picks a table. To add a level: its simd_X.h, its kernels_X.c, a row here
 * and a library in meson.build. */
#include "engine/cpu/kernels.h"

extern const UpzCpuKernels upz_cpu_kernels_c, upz_cpu_kernels_avx2, upz_cpu_kernels_avx512;

const UpzCpuKernels *upz_cpu_kernels(UpzCpuLevel level)
{
#ifdef UPZ_X86
    if (level >= UPZ_CPU_AVX512) return &upz_cpu_kernels_avx512;
    if (level >= UPZ_CPU_AVX2) return &upz_cpu_kernels_avx2;
#endif
    return &upz_cpu_kernels_c;
}
