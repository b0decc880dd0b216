#include "engine/cpu/tiles_int8.h"
#include "simd_c.h"
#include "tile_c.h"
extern const UpzTile8Kernels upz_tile8_kernels_c;
#include "tiles_int8_tmpl.h"
