/* A network as a handful of row-local operations on feature maps.
 *
 * Feature maps are indexed (channel, y, x), float 0..1 at the input. Every convolution sees zeros
 * outside the picture, at every layer and in every tiling. A map's size is the (padded) input's
 * times num/den. Values and nodes are in topological order: a node only reads earlier values; value
 * i is written by node i.
 *
 * Threads: immutable once finished. */
#ifndef UPZ_GRAPH_H
#define UPZ_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "error.h"
#include "uprez/model.h"

#define UPZ_MAX_DIMS 6
#define UPZ_MAX_SRC 16
#define UPZ_MAX_NODES 8192
#define UPZ_MAX_CHANNELS 4096
#define UPZ_NO_TENSOR (-1)

/* Weights, widened to fp32 when read. Memory belongs to the graph or tensor set holding it. */
typedef struct UpzTensor {
    char *name;
    int n_dims;
    int64_t dims[UPZ_MAX_DIMS];
    int64_t count;   /* product of dims */
    float *data;     /* upz_alloc_aligned */
    bool half;       /* stored in 16 bits in the file */
} UpzTensor;

/* Named tensors as read from a checkpoint, in file order. */
typedef struct UpzTensorSet {
    UpzTensor *items;
    size_t n, cap;
    char container[32]; /* "torch zip", … */
    char top_key[64];   /* "params_ema", "params", "" */
} UpzTensorSet;

const UpzTensor *upz_tensors_find(const UpzTensorSet *set, const char *name);
/* Adds a tensor with uninitialised data; NULL when out of memory or dims are implausible. */
UpzTensor *upz_tensors_add(UpzTensorSet *set, const char *name, int n_dims, const int64_t *dims,
                           UprezError *err);
void upz_tensors_free(UpzTensorSet *set);
float upz_half_to_float(uint16_t h);
float upz_bfloat_to_float(uint16_t b);

typedef enum UpzOp {
#define UPZ_OP(name, n_src, what) UPZ_OP_##name,
#include "ops.def"
#undef UPZ_OP
    UPZ_OP_COUNT
} UpzOp;

typedef enum UpzAct {
    UPZ_ACT_NONE,
    UPZ_ACT_RELU,
    UPZ_ACT_LEAKY,   /* x < 0 ? slope * x : x */
    UPZ_ACT_PRELU,   /* slope per channel: tensor `slopes` (1 or C values) */
    UPZ_ACT_SIGMOID,
    UPZ_ACT_TANH,
    UPZ_ACT_SILU,    /* x * sigmoid(x) */
    UPZ_ACT_GELU,    /* exact, erf */
    UPZ_ACT_CLIP     /* lo..hi */
} UpzAct;

typedef enum UpzFilter { UPZ_FILTER_BILINEAR, UPZ_FILTER_BICUBIC, UPZ_FILTER_NEAREST } UpzFilter;

typedef struct UpzNode {
    UpzOp op;
    int n_src;
    int src[UPZ_MAX_SRC];    /* values */
    /* the value it writes: */
    int channels;
    int num, den;            /* size relative to the input, in lowest terms */
    /* CONV and DECONV. Weights: conv [out][in / groups][kh][kw], deconv [in][out / groups][kh][kw].
     * Output size of CONV is ceil(input / stride): pad is what "same" needs, or the graph is
     * refused when built. DECONV: output = input * stride, pad (top/left) cropped. */
    int kernel_w, kernel_h, stride, pad_x, pad_y, groups;
    int weights, bias;       /* tensors, or UPZ_NO_TENSOR */
    /* activation, applied last by CONV, DECONV, ACT, ADD, MUL and AFFINE */
    UpzAct act;
    float slope, lo, hi;
    int slopes;              /* tensor for PRELU */
    float alpha[2];          /* ADD, AFFINE. AFFINE's weights and bias: 1 or C values each */
    int first;               /* SLICE */
    int factor;              /* SHUFFLE, UNSHUFFLE, NEAREST */
    int resize_num, resize_den; /* RESIZE */
    UpzFilter filter;
    bool dcr;                /* SHUFFLE, UNSHUFFLE: depth-column-row order (channel
                                (dy * f + dx) * C + c), ONNX's default */
} UpzNode;

/* How an odd size is brought to facts.align: what the added right and bottom pixels hold. */
typedef enum UpzPadMode { UPZ_PAD_REPLICATE, UPZ_PAD_REFLECT, UPZ_PAD_ZERO } UpzPadMode;

typedef struct UpzGraph {
    UpzNode *nodes;
    size_t n_nodes, cap_nodes;
    UpzTensor *tensors;
    size_t n_tensors, cap_tensors;
    int output;              /* value */
    UpzPadMode pad_mode;
} UpzGraph;

void upz_graph_free(UpzGraph *g);
const char *upz_op_name(UpzOp op);
const char *upz_act_name(UpzAct act);

/* A node with every field at its neutral value: no tensors, no activation, stride, groups and
 * factor 1, alpha 1 (AFFINE: 1 and 0). Start from it: a zeroed node would name tensor 0. */
UpzNode upz_node(UpzOp op);

/* Builder: each call appends a node and returns its value (>= 0), or an UprezErr with a sentence.
 * A negative source is passed through as the result, so calls may be chained and checked once.
 * Shapes, channel counts and tensor sizes are checked here. */
int upz_graph_input(UpzGraph *g, int channels, UprezError *err);
/* Moves the tensor's data into the graph (t->data becomes NULL): no copy. */
int upz_graph_tensor(UpzGraph *g, UpzTensor *t, UprezError *err);
int upz_graph_tensor_new(UpzGraph *g, int n_dims, const int64_t *dims, UprezError *err);
/* Appends a node filled by the caller (from upz_node): op, n_src, src, parameters; computes
 * channels, num, den. A kernel size of 0 is taken from the weights. SLICE: the caller sets
 * channels. */
int upz_graph_add(UpzGraph *g, const UpzNode *node, UprezError *err);
/* Square "same" convolution, stride 1, groups 1. */
int upz_graph_conv(UpzGraph *g, int src, int weights, int bias, UpzAct act, float slope, int slopes,
                   UprezError *err);
int upz_graph_simple(UpzGraph *g, UpzOp op, int src, int factor, UprezError *err); /* SHUFFLE, … */
int upz_graph_binary(UpzGraph *g, UpzOp op, int a, int b, float alpha_a, float alpha_b,
                     UprezError *err);
int upz_graph_concat(UpzGraph *g, const int *src, int n, UprezError *err);
/* Sets the output, drops nodes nothing reads, fuses a lone activation into its only producer,
 * checks the whole, and fills facts: scale, reach, align, channels, parameters, macs, half. */
int upz_graph_finish(UpzGraph *g, int output, UprezModelFacts *facts, UprezError *err);

/* Rows and columns of its source that a node's output needs: output row y (in the node's own size)
 * needs source rows first..last, before clipping to the picture. Neither end goes back as y grows, so that
 * rows a..b need a's first to b's last; no range is longer than that asks for. */
void upz_node_rows(const UpzGraph *g, int node, int y, int *first, int *last);
void upz_node_cols(const UpzGraph *g, int node, int x, int *first, int *last);

/* The plain-C reference of the whole graph: src and dst are planar float, channel after channel,
 * width * height each; width and height multiples of facts.align. Slow, and the definition of what
 * every engine computes (up to its numerics). */
int upz_reference_run(const UpzGraph *g, const float *src, int width, int height, float *dst,
                      UprezError *err);

#endif
