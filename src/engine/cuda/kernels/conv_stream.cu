/* Convolutions with any number of channels on Hopper: 16 input channels at a time, pixels and weights,
 * stream through a ring of stages in shared memory.
 *
 * A tile is 4 rows of UPZ_TILE_W pixels by 64 outputs (`pair`: 8 rows by 32 outputs, two output rows in
 * one M = 64; 2x: 2 rows, of which the upper or the lower output rows are made). One thread copies; two
 * groups of four warps have two m64n128 of sums each. Order of additions: bias, blocks of 16 input
 * channels, in each the taps row by row (2x and pair likewise, of their taps). The second group starts
 * a stage later than the first and stays so, so that one's way out falls into the other's products.
 *
 * Reckoned (3x3): a stage is 36 x 64 = 2304 cycles of the tensor cores, 46 KB copied in (20 bytes a
 * cycle, 4.6 TB/s for 132 multiprocessors at 1.755 GHz, about what L2 gives); pair: 48 x 64 = 3072
 * cycles and 71 KB. A tile's way out: about 800 instructions of each of 4 warps, 1000 to 1500
 * cycles (adding a map about 500 more), while the other group has 1152 (pair 1536) of its stage ahead.
 * Shared memory: 4 x 46.1 KB stages + 2 x 18.4 KB = 221.4 KB; pair 3 x 70.7 KB + 2 x 8.2 KB = 228.6 KB.
 * Registers: 128 sums and about 90 more of 232. 192 -> 64 at 1280x720: 14 tiles x 12 x 2304 cycles =
 * 221 us at 1.755 GHz; 64 -> 32 in pairs: 7 tiles x 4 x 3072 = 49 us. */
#include "hopper_out.h"

#ifdef UPZ_WGMMA

typedef struct StreamTile {
    int block, x0, y0, dy;
} StreamTile;

#define NAME conv_stream
#define FORM UPZ_STREAM_3X3
#include "conv_stream_tmpl.h"

#define NAME conv_stream_one
#define FORM UPZ_STREAM_1X1
#include "conv_stream_tmpl.h"

#define NAME conv_stream_up
#define FORM UPZ_STREAM_UP
#include "conv_stream_tmpl.h"

#define NAME conv_stream_pair
#define FORM UPZ_STREAM_PAIR
#include "conv_stream_tmpl.h"

#define NAME conv_stream_fp8
#define FORM UPZ_STREAM_3X3
#define KIND UPZ_EIGHT_FP8
#define SUM float
#define PRODUCT dev_wgmma128_fp8
#define OWN dev_wgmma_own
#include "conv_stream_tmpl.h"

#define NAME conv_stream_one_fp8
#define FORM UPZ_STREAM_1X1
#define KIND UPZ_EIGHT_FP8
#define SUM float
#define PRODUCT dev_wgmma128_fp8
#define OWN dev_wgmma_own
#include "conv_stream_tmpl.h"

#define NAME conv_stream_up_fp8
#define FORM UPZ_STREAM_UP
#define KIND UPZ_EIGHT_FP8
#define SUM float
#define PRODUCT dev_wgmma128_fp8
#define OWN dev_wgmma_own
#include "conv_stream_tmpl.h"

#define NAME conv_stream_pair_fp8
#define FORM UPZ_STREAM_PAIR
#define KIND UPZ_EIGHT_FP8
#define SUM float
#define PRODUCT dev_wgmma128_fp8
#define OWN dev_wgmma_own
#include "conv_stream_tmpl.h"

#define NAME conv_stream_int8
#define FORM UPZ_STREAM_3X3
#define KIND UPZ_EIGHT_INT8
#define SUM int32_t
#define PRODUCT dev_wgmma128_int8
#define OWN dev_wgmma_own_int
#include "conv_stream_tmpl.h"

#define NAME conv_stream_one_int8
#define FORM UPZ_STREAM_1X1
#define KIND UPZ_EIGHT_INT8
#define SUM int32_t
#define PRODUCT dev_wgmma128_int8
#define OWN dev_wgmma_own_int
#include "conv_stream_tmpl.h"

#define NAME conv_stream_up_int8
#define FORM UPZ_STREAM_UP
#define KIND UPZ_EIGHT_INT8
#define SUM int32_t
#define PRODUCT dev_wgmma128_int8
#define OWN dev_wgmma_own_int
#include "conv_stream_tmpl.h"

#define NAME conv_stream_pair_int8
#define FORM UPZ_STREAM_PAIR
#define KIND UPZ_EIGHT_INT8
#define SUM int32_t
#define PRODUCT dev_wgmma128_int8
#define OWN dev_wgmma_own_int
#include "conv_stream_tmpl.h"

#endif
