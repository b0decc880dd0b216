/* What the host hands to kernels: plain structs, the same bytes for the C compiler, for nvcc and for
 * the tests' host emulation. Addresses are 64-bit numbers.
 *
 * A feature map lies in planes of 8 channels (a chunk), 16 bytes a pixel:
 *     address(channel c, y, x) = data + (c / 8) * chunk + y * row + x * 16 + (c % 8) * 2
 * so that a run of 8 pixels is a core matrix of the tensor cores at any x, concatenation is the next
 * chunk, and a copy of a row's piece is one contiguous piece. A zero border lies around each plane: at
 * least UPZ_MAP_TOP rows above, UPZ_MAP_LEFT px to the left, and on the right and below what is left
 * of a tile, plus one. The border is zeroed when memory is planned and kernels never write there:
 * rows -1 and height, columns -1 and width are what convolutions see outside the picture. Further
 * out lies memory that may be read and means nothing. Channel counts are multiples of 16; channels
 * that the network does not have are zero.
 *
 * Maps of 8-bit numbers (fp8: E4M3, or signed integers) have chunks of 16 channels, again 16 bytes a
 * pixel: byte c % 16 of it is channel c. Channel counts are multiples of 32. Each channel has a factor of
 * its own: value = number * factor. */
#ifndef UPZ_CUDA_PARAMS_H
#define UPZ_CUDA_PARAMS_H

#ifndef UPZ_KERNEL_CODE /* the kernels' own compilation has these types from dev.h */
#include <stdint.h>
#endif

enum { UPZ_EIGHT_NONE, UPZ_EIGHT_FP8, UPZ_EIGHT_INT8 };

#define UPZ_MAP_LEFT 8     /* px: rows start at a multiple of 128 bytes */
#define UPZ_MAP_TOP 1      /* rows */
#define UPZ_MAP_SLACK 8    /* rows and tiles of a row behind all maps of a size that may be read: parts of a
                              map, whose zero frame lies inside it, are read like maps of their own size */
#define UPZ_TILE_W 128     /* px: maps are readable up to the next multiple of it, plus 8 px */
#define UPZ_TILE_H 8       /* rows: likewise, plus 1 row */

typedef struct UpzCudaMap {
    uint64_t data;         /* of channel 0, row 0, column 0 */
    uint32_t chunk, row;   /* bytes; multiples of 128 */
    int32_t width, height; /* px */
    int32_t chunks, pad;   /* chunks of 8 channels that are read or written */
} UpzCudaMap;

/* Planar halves: R G B (or luma) as the network gives them, nominal 0..1, not clipped. No border. */
typedef struct UpzCudaImage {
    uint64_t data;
    uint64_t plane;        /* bytes from plane to plane */
    uint32_t row;          /* bytes; a multiple of 128 */
    int32_t width, height, planes;
} UpzCudaImage;

/* A 3x3 or 1x1 convolution with stride 1, zero padding and everything that follows it:
 *     v = act(conv + bias);  v = alpha * v + beta[0] * add[0] + beta[1] * add[1]
 * rounded to half once, when stored. act: v < 0 ? v * slope[c] : v.
 *
 * up = 2: the source is first enlarged 2x (nearest); as four 2x2 convolutions, one for each output
 * parity (dy, dx), whose weights are sums of the 3x3's.
 *
 * Weights: halves in tiles of 64 output channels by 16 input channels, each tile 2048 bytes, half
 * (k / 8) * 512 + m * 8 + k % 8 of it for output m and input k of the tile. Tiles in the order
 * [parity: 1 or 4][block of 64 outputs][tap: row major][16 inputs]; outputs beyond the network's are
 * zero. Taps: 9, 1, or for up = 2 four: rows y - 1 + dy + {0, 1}, columns x - 1 + dx + {0, 1} of the
 * source.
 *
 * pair (conv_stream_pair, for layers of up to 32 outputs; upz_conv_stream_pairs says when): an output
 * tile's m is 32 * (row of a pair) + channel, so that one row of the source serves both rows. Tiles
 * in the order [16 inputs][source row y - 1 + r, r = 0 … 3][dx = 0 … 2], y the pair's upper row; half
 * (m, k) of tile (r, dx) is the weight of output channel m % 32, tap row r - m / 32, tap column dx,
 * zero where that row is not 0 … 2. (12 tiles for 18.)
 *
 * 8-bit (conv_fp8, conv_int8): tiles of 64 outputs by 32 inputs, byte (k / 16) * 1024 + m * 16 + k % 16;
 * the factors of the source's channels are in the weights, those of weights in `scale`. dst8
 * (conv_quant too): numbers are results times `inverse`, rounded to nearest, and the largest where
 * they are larger. */
typedef struct UpzCudaConv {
    UpzCudaMap src, dst;         /* neither dst.data nor dst8.data: the result goes to `image` */
    UpzCudaMap dst8;             /* an 8-bit map, instead of dst or beside it; data 0: none */
    UpzCudaMap add[2];           /* data 0: none; chunks as dst's */
    UpzCudaImage image;          /* result by pixel shuffle: channel c * f * f + dy * f + dx */
    UpzCudaMap base;             /* data 0: none; else its channel c at the source pixel is added */
    uint64_t weights, bias, slope; /* floats, a multiple of 64 each; slope 0: no activation */
    uint64_t scale, inverse;     /* floats likewise; of 8-bit sums and for dst8 */
    float alpha, beta[2];
    int32_t out;                 /* output channels of the network */
    int32_t kernel;              /* 1 or 3 */
    int32_t up;                  /* 1 or 2 */
    int32_t factor;              /* pixel shuffle; 1 with an image: none */
    int32_t tiles_x, tiles_y;    /* of UPZ_TILE_W x the kernel's rows, filled by upz_conv_grid */
    int32_t pair;                /* weights are in the order of pairs, see above */
    int32_t eight;               /* which 8-bit numbers: UPZ_EIGHT_… */
} UpzCudaConv;

/* ---- pictures ---- */

/* A part of what a kernel makes: columns x0 … x1 - 1, rows y0 … y1 - 1; x1 0: all of it. */
typedef struct UpzCudaWindow {
    int32_t x0, y0, x1, y1;
} UpzCudaWindow;

/* One component of a picture's sample (x, y): at data + y * stride + x * step bytes. */
typedef struct UpzCudaComponent {
    uint64_t data;
    int64_t stride;
    int32_t step, pad;
} UpzCudaComponent;

typedef struct UpzCudaPicture {
    UpzCudaComponent comp[4];
    int32_t depth, shift, sub_x, sub_y; /* as UprezFormat's */
    int32_t width, height, n_comp, pad;
} UpzCudaPicture;

/* UpzChromaAxis of picture/convert.h, for one axis. */
typedef struct UpzCudaAxis {
    int32_t sub, up_at[4], down_at, down_n;
    float up_weight[4], down_weight[8];
} UpzCudaAxis;

/* UpzLoad or UpzStore of picture/convert.h, whose meaning and order of operations it shares. */
typedef struct UpzCudaConvert {
    float matrix[3][3], offset[3], bias[3], lo[3], hi[3];
    int32_t n_rows, n_comp, clip, diagonal;
    UpzCudaAxis x, y;
} UpzCudaConvert;

/* A picture to the network's input map: dst pixel (x, y) channel (dy * f + dx) * n … is what
 * UNSHUFFLE by f makes of the picture (channel c * f * f + dy * f + dx), f = 1: the picture itself.
 * Beyond the picture (alignment): edge pixels repeat (0), mirror (1) or zeros (2). */
typedef struct UpzCudaLoad {
    UpzCudaPicture src;
    UpzCudaConvert convert;
    UpzCudaMap dst;
    int32_t unshuffle, pad_mode;
    int32_t x0, y0; /* tiles: the picture's pixel that dst (0, 0) begins with; may lie anywhere in it */
} UpzCudaLoad;

/* Planar halves to a picture: clipped to 0..1, matrix, sited chroma, rounding to nearest; NaN becomes
 * 0 and sets the 32-bit word at `nan`. */
typedef struct UpzCudaStore {
    UpzCudaImage src;
    UpzCudaConvert convert;
    UpzCudaPicture dst;
    uint64_t nan;
    UpzCudaWindow window; /* of dst; begins at a multiple of 8 x 2 px, ends at one or at the edge */
} UpzCudaStore;

/* Planar halves resampled: one axis at a time, taps from picture/resize's tables. Output sample i
 * along the axis is the sum of `taps` samples from first[i] on (clamped to the edges) times
 * weight[i * taps …]. clip: samples are clipped to 0..1 as they are read; a NaN stays one. */
typedef struct UpzCudaResize {
    UpzCudaImage src, dst;
    uint64_t first, weight; /* int32_t and float arrays */
    int32_t taps, vertical;
    int32_t clip, pad;
    UpzCudaWindow window; /* of dst; begins at a multiple of 8 px of a row */
} UpzCudaResize;

/* The largest magnitude of each channel of a map: the bits of a float a channel, raised. */
typedef struct UpzCudaRange {
    UpzCudaMap map;
    uint64_t range;
} UpzCudaRange;

/* Which cells of two pictures of one layout differ: the 32-bit word of a cell is raised to 1. A cell is
 * cell_bytes x cell_rows of each plane, `across` of them side by side. Addresses, strides and cell_bytes are
 * multiples of `unit` (16, 4 or 1). */
typedef struct UpzCudaCompare {
    uint64_t a[4], b[4];
    int64_t stride_a[4], stride_b[4];
    int32_t bytes[4], rows[4], cell_bytes[4], cell_rows[4], unit[4];
    int32_t planes, across;
    uint64_t changed;
} UpzCudaCompare;

#endif
