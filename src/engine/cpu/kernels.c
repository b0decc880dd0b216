/* Built without ISA flags: picks a table. To add a level: its simd_X.h, its kernels_X.c, a row here
 * and a library in meson.build. */
#include "engine/cpu/kernels.h"
#include "engine/cpu/tiles.h"
#include "engine/cpu/tiles_int8.h"

extern const UpzCpuKernels upz_cpu_kernels_c, upz_cpu_kernels_avx2, upz_cpu_kernels_avx512;

const UpzCpuKernels *upz_cpu_kernels(UpzCpuLevel level)
{
#ifdef UPZ_X86
    if (level >= UPZ_CPU_AVX512) return &upz_cpu_kernels_avx512;
    if (level >= UPZ_CPU_AVX2) return &upz_cpu_kernels_avx2;
#endif
    return &upz_cpu_kernels_c;
}

extern const UpzTileKernels upz_tile_kernels_c, upz_tile_kernels_amx;

const UpzTileKernels *upz_tile_kernels(uint32_t features)
{
#ifdef UPZ_AMX
    if ((features & UPZ_HAS_AMX_BF16) && (features & UPZ_HAS_AVX512_BF16)) return &upz_tile_kernels_amx;
#endif
    return features ? NULL : &upz_tile_kernels_c;
}

extern const UpzTile8Kernels upz_tile8_kernels_c, upz_tile8_kernels_amx;

const UpzTile8Kernels *upz_tile8_kernels(uint32_t features)
{
#ifdef UPZ_AMX
    if (features & UPZ_HAS_AMX_INT8) return &upz_tile8_kernels_amx;
#endif
    return features ? NULL : &upz_tile8_kernels_c;
}
