#include "engine/cpu/tiles.h"
#include "simd_c.h"
#include "tile_c.h"
extern const UpzTileKernels upz_tile_kernels_c;
#include "tiles_tmpl.h"
