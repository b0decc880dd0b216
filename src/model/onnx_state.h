/* What the ONNX reader knows of each value while it walks the nodes: read_onnx.c owns the walk,
 * onnx_layers.c turns operators on feature maps into graph nodes, onnx_view.c follows reshaping. */
#ifndef UPZ_ONNX_STATE_H
#define UPZ_ONNX_STATE_H

#include "base/file.h"
#include "model/graph.h"
#include "model/onnx.h"
#include "model/onnx_fold.h"

#define UPZ_VIEW_DIMS 8
#define UPZ_VIEW_PARTS 12

typedef enum UpzOnnxKind {
    UPZ_VAL_NONE,   /* not computed yet */
    UPZ_VAL_MAP,    /* a feature map: N x C x H x W */
    UPZ_VAL_TENSOR, /* weights or other stored constants */
    UPZ_VAL_NUM,    /* a few numbers, from constants or sizes */
    UPZ_VAL_VIEW,   /* a map reshaped or transposed, on its way to being a pixel shuffle */
    UPZ_VAL_ERF     /* factor * erf(map / sqrt(2)) + offset, on its way to being a GELU */
} UpzOnnxKind;

/* Part number `order` (0 = outermost) of axis `of` (N C H W) of the map. Parts of size 1 are none. */
typedef struct UpzViewPart {
    int of, order;
    double size[UPZ_PROBES];
} UpzViewPart;

/* n parts, row by row in memory; dimension d is made of the next count[d] of them. */
typedef struct UpzView {
    int n, n_dims, count[UPZ_VIEW_DIMS];
    UpzViewPart part[UPZ_VIEW_PARTS];
} UpzView;

typedef struct UpzOnnxVal {
    UpzSlice name;
    UpzOnnxKind kind;
    int producer;      /* node, or -1: an input or initialiser */
    int tensor;        /* TENSOR: index into UpzOnnxState.tensors */
    bool reshaped;     /* TENSOR: its dims no longer matter, only its values in order */
    UpzNum num;
    int node;          /* MAP, VIEW, ERF: the graph's value */
    double h[UPZ_PROBES], w[UPZ_PROBES]; /* MAP: its size for each probe */
    int pad[4];        /* MAP: zeros a Pad added (left top right bottom), for a convolution */
    bool cropped;      /* MAP: a Slice cut off the padding */
    double factor, offset; /* ERF */
    UpzView *view;
} UpzOnnxVal;

typedef struct UpzOnnxConst {
    UpzOnnxTensor t;
    int in_graph;      /* the graph's tensor, or UPZ_NO_TENSOR */
} UpzOnnxConst;

typedef struct UpzOnnxState {
    const char *path;
    UpzOnnx model;
    UpzGraph *g;
    UpzOnnxVal *vals;
    size_t n_vals, cap_vals;
    uint32_t *table;   /* hash of names -> index + 1 */
    size_t table_size;
    UpzOnnxConst *tensors;
    size_t n_tensors, cap_tensors;
    int batch;         /* pictures at once the file is made for; ours runs them one by one */
    int step;          /* the probes are multiples of this, but of nothing else */
    bool only_multiples; /* refused at a size that is no multiple of something */
    double in_h[UPZ_PROBES], in_w[UPZ_PROBES];
    int pad_align;     /* the network pads its input to multiples of this; 1: it does not */
    int pad_right, pad_bottom; /* the amounts, when the file has a fixed size */
    UpzPadMode pad_mode;
    bool edges_unpadded; /* a layer that sees borders read a map that was not padded */
    double range;      /* the picture's numbers are 0..range: 1, 255, 65535 */
    bool bytes_in;     /* and whole */
    int input_node;    /* the picture in the graph */
    int range_node;    /* it in 0..range, -1: that is the same */
    int whole[4], n_whole; /* nodes whose numbers the file rounds */
    const UpzView *view; /* in whose order the numbers of the present layer's maps lie, or NULL */
    size_t made;       /* floats made up for the graph, limited by the file's size */
    size_t made_max;
    size_t n_nums;
    bool no_memory;    /* a small allocation failed on the way */
    bool foreign;      /* refused for a form that other runtimes may know */
    UpzMap external;
    UpzSlice external_name;
    UprezError *err;
} UpzOnnxState;

/* The sentence "PATH: node 'NAME' (OP): …". Returns UPREZ_ERR_MODEL. refuse: a form we do not know;
 * damaged: one that nobody can run. */
int upz_onnx_refuse(UpzOnnxState *s, const UpzOnnxNode *n, const char *fmt, ...)
    UPZ_PRINTF(3, 4);
int upz_onnx_damaged(UpzOnnxState *s, const UpzOnnxNode *n, const char *fmt, ...)
    UPZ_PRINTF(3, 4);
/* Puts that beginning before the sentence already there; passes r on. */
int upz_onnx_wrap(UpzOnnxState *s, const UpzOnnxNode *n, int r);

/* The node's i-th input: NULL when absent. */
UpzOnnxVal *upz_onnx_in(UpzOnnxState *s, const UpzOnnxNode *n, size_t i);
/* The i-th input as a map without pending padding; NULL with the error set. */
UpzOnnxVal *upz_onnx_map(UpzOnnxState *s, const UpzOnnxNode *n, size_t i);
/* The i-th input as numbers, borrowed; NULL when absent or not numbers (no error set). */
const UpzNum *upz_onnx_num(UpzOnnxState *s, const UpzOnnxNode *n, size_t i);
/* The i-th input as a tensor of the graph (>= 0), UPZ_NO_TENSOR when absent with optional; or an
 * error < UPZ_NO_TENSOR. */
int upz_onnx_weights(UpzOnnxState *s, const UpzOnnxNode *n, size_t i, bool optional);
/* A new tensor of n values (all 0) in the graph, within what the file's size justifies. */
int upz_onnx_make(UpzOnnxState *s, const UpzOnnxNode *n, int count);

/* The node's k-th output: NULL when nobody named it. */
UpzOnnxVal *upz_onnx_out(UpzOnnxState *s, const UpzOnnxNode *n, size_t k);
/* Output k becomes a map that is graph value `node` (an error is passed on), sized as `like`. */
int upz_onnx_set_map(UpzOnnxState *s, const UpzOnnxNode *n, size_t k, int node,
                     const UpzOnnxVal *like);
/* Output 0's size times num / den, rounded up. */
void upz_onnx_scale_size(UpzOnnxState *s, const UpzOnnxNode *n, double num, double den);
/* A layer that looks over a pixel's edge: refuses it where padding was cut off before. */
int upz_onnx_sees_borders(UpzOnnxState *s, const UpzOnnxNode *n, const UpzOnnxVal *v);

/* An operator on feature maps: fills the node's outputs. */
int upz_onnx_layer(UpzOnnxState *s, const UpzOnnxNode *n);
/* Those that only move a map's numbers about (onnx_view.c). */
int upz_onnx_reshape(UpzOnnxState *s, const UpzOnnxNode *n);
int upz_onnx_transpose(UpzOnnxState *s, const UpzOnnxNode *n);
int upz_onnx_squeeze(UpzOnnxState *s, const UpzOnnxNode *n);
/* A map becomes a view with these axes (N C H W) as dimensions; is a view that? Size of a view's
 * dimension for a probe. */
int upz_onnx_view_axes(UpzOnnxState *s, UpzOnnxVal *v, const int *axes, int n);
bool upz_onnx_view_is(const UpzOnnxState *s, const UpzOnnxVal *v, const int *axes, int n);
double upz_onnx_view_dim(const UpzView *view, int dim, int probe);

/* ---- onnx_picture.c ---- */

/* How a picture's dimensions lie: 0 is ours, any other a number for the functions below. */
int upz_onnx_layout(const UpzOnnxState *s, const UpzOnnxValue *info);
const char *upz_onnx_layout_name(int layout); /* ", channels last", or "" */
/* The dimension of an axis (N C H W); 0: any. */
int64_t upz_onnx_dim(const UpzOnnxValue *info, int layout, int axis);
/* A map gets that layout. */
int upz_onnx_as_layout(UpzOnnxState *s, UpzOnnxVal *v, int layout);
/* True, and then it is a map, when a value is a picture in any layout. */
bool upz_onnx_is_picture(UpzOnnxState *s, UpzOnnxVal *v);
/* The largest number of a type of whole numbers, as pictures use it; 0 for other types. */
double upz_onnx_type_range(int type);
/* src * scale + offset; passes an error on. */
int upz_onnx_affine(UpzOnnxState *s, int src, double scale, double offset);
/* An operator that sees each number alone; it is done on a view as on the map. */
bool upz_onnx_sees_one(const UpzOnnxNode *n);
int upz_onnx_on_views(UpzOnnxState *s, const UpzOnnxNode *n,
                      int (*layer)(UpzOnnxState *s, const UpzOnnxNode *n));
/* Round, Floor and a Cast to whole numbers; Max and Min with a number. */
int upz_onnx_round(UpzOnnxState *s, const UpzOnnxNode *n);
int upz_onnx_cast_whole(UpzOnnxState *s, const UpzOnnxNode *n);
int upz_onnx_limit(UpzOnnxState *s, const UpzOnnxNode *n);
/* The graph's value that is the result v in 0..1. *again: the file takes 0..255, as its arithmetic
 * shows; it has to be read once more with that range. */
int upz_onnx_output(UpzOnnxState *s, const UpzOnnxVal *v, const UpzOnnxValue *info, bool *again);

#endif
