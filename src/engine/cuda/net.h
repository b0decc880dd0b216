/* A network as a list of launches: what each reads, writes, and adds.
 *
 * A layer is a convolution with all that follows it and fits its kernel (kernels/params.h): bias,
 * activation, up to two weighted sums, or, at the network's end, pixel shuffle and the added base. A
 * map holds one value or, for concatenations, several side by side: each layer writes its own
 * chunks, readers take a run of them.
 *
 * In 8 bits convolutions between the first and the last read maps of 8-bit numbers. Sums are of halves:
 * a value that is read by both kinds lies in a map of each.
 *
 * Threads: immutable once built. */
#ifndef UPZ_CUDA_NET_H
#define UPZ_CUDA_NET_H

#include "model/model.h"

#define UPZ_CUDA_PARTS 32 /* values side by side, at most */

/* A run of chunks of a map. */
typedef struct UpzCudaView {
    int map; /* -1: none */
    int first, chunks;
} UpzCudaView;

typedef struct UpzCudaLayer {
    int node;             /* of the graph: CONV; INPUT or UNSHUFFLE for a load */
    int last;             /* the last node that it computes */
    bool load;
    UpzCudaView src, dst; /* src of a load, dst of the last layer: none */
    UpzCudaView dst8;     /* its result in 8 bits, beside dst or instead of it */
    bool eight;           /* src is in 8 bits */
    UpzCudaView add[2], base;
    int n_add;
    float alpha, beta[2];
    int up, factor;       /* factor: of the pixel shuffle, or a load's unshuffle */
    bool shuffled, dcr;   /* dcr: the shuffle's channel order is the other one */
    int n_parts;          /* of src: values of the graph and their channels; padded to 16 each, in 8 bits to 32 */
    int parts[UPZ_CUDA_PARTS], part_channels[UPZ_CUDA_PARTS];
    int part_layer[UPZ_CUDA_PARTS]; /* whose results they are */
    int in_dcr;           /* channels of the picture when src is an UNSHUFFLE in dcr order, else 0 */
} UpzCudaLayer;

typedef struct UpzCudaMapUse {
    int chunks, num, den; /* size relative to the padded input */
    int first, last;      /* layers: writes first, reads last */
} UpzCudaMapUse;

typedef struct UpzCudaNet {
    const UpzGraph *graph;
    UpzCudaLayer *layers; /* in order; the last one makes the picture */
    UpzCudaMapUse *maps;
    int n_layers, n_maps;
    int planes;           /* of the result */
} UpzCudaNet;

/* The graph stays the caller's. MODEL: `err` names the operation that has no such form. */
int upz_cuda_net_build(UpzCudaNet *net, const UpzGraph *graph, bool eight, UprezError *err);
void upz_cuda_net_free(UpzCudaNet *net);

/* Chunks of a value's map, 16 bytes a pixel each. */
static inline int upz_cuda_chunks(int channels, bool eight)
{
    return eight ? (channels + 31) / 32 * 2 : (channels + 15) / 16 * 2;
}

#endif
