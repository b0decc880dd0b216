#include "engine/cpu/tiles.h"
#include "simd_avx512.h"
#include "tile_amx.h"
extern const UpzTileKernels upz_tile_kernels_amx;
#include "tiles_tmpl.h"
