#include "engine/cpu/tiles_int8.h"
#include "simd_avx512.h"
#include "tile_amx.h"
extern const UpzTile8Kernels upz_tile8_kernels_amx;
#include "tiles_int8_tmpl.h"
