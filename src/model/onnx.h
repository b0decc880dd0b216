/* An ONNX file as it is stored: slices of the file in memory, nothing copied but the lists.
 *
 * Field numbers are those of onnx.proto (IR version 3 … 13). Every length is checked against the
 * bytes there are; the lists have maxima, so memory stays a small multiple of the file's size. */
#ifndef UPZ_ONNX_H
#define UPZ_ONNX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

typedef struct UpzSlice {
    const uint8_t *p;
    size_t n;
} UpzSlice;

enum { /* TensorProto.DataType */
    UPZ_ONNX_FLOAT = 1, UPZ_ONNX_UINT8 = 2, UPZ_ONNX_INT8 = 3, UPZ_ONNX_UINT16 = 4, UPZ_ONNX_INT32 = 6,
    UPZ_ONNX_INT64 = 7, UPZ_ONNX_BOOL = 9, UPZ_ONNX_HALF = 10, UPZ_ONNX_DOUBLE = 11,
    UPZ_ONNX_BFLOAT = 16
};

#define UPZ_ONNX_DIMS 6

typedef struct UpzOnnxTensor {
    UpzSlice name;
    int n_dims;
    int64_t dims[UPZ_ONNX_DIMS];
    int64_t count;    /* product of dims, 1 for none */
    int type;
    UpzSlice raw;     /* raw_data */
    UpzSlice body;    /* the whole message, for the typed fields */
    bool external;
    UpzSlice location;
    int64_t offset, length; /* in the external file; length -1: not given */
} UpzOnnxTensor;

typedef struct UpzOnnxAttr {
    UpzSlice name, s, tensor, body;
    float f;
    int64_t i;
    bool has_graph;
} UpzOnnxAttr;

typedef struct UpzOnnxNode {
    UpzSlice op, name, domain;
    UpzSlice *inputs, *outputs;
    size_t n_inputs, cap_inputs, n_outputs, cap_outputs;
    UpzOnnxAttr *attrs;
    size_t n_attrs, cap_attrs;
} UpzOnnxNode;

typedef struct UpzOnnxValue { /* a graph input or output */
    UpzSlice name;
    int type;      /* 0: not a tensor or unknown */
    int n_dims;    /* -1: no shape given */
    int64_t dims[UPZ_ONNX_DIMS]; /* 0: symbolic */
} UpzOnnxValue;

/* The metadata entry in which a file of ours says what its luma means: "y_full" or "y_studio". */
#define UPZ_ONNX_INPUT_KEY "uprez.input"

typedef struct UpzOnnx {
    int64_t ir_version, opset;
    UpzSlice input_kind; /* that entry's value */
    UpzOnnxNode *nodes;
    size_t n_nodes, cap_nodes;
    UpzOnnxTensor *tensors;
    size_t n_tensors, cap_tensors;
    UpzOnnxValue *inputs, *outputs;
    size_t n_inputs, cap_inputs, n_outputs, cap_outputs;
} UpzOnnx;

/* Fails with MODEL; what it filled is freed by upz_onnx_free in either case. path: for messages. */
int upz_onnx_parse(UpzOnnx *m, const char *path, const uint8_t *data, size_t size, UprezError *err);
void upz_onnx_free(UpzOnnx *m);
/* A TensorProto standing alone, as in a Constant's attribute. */
int upz_onnx_parse_tensor(UpzOnnxTensor *t, UpzSlice body, const char *path, UprezError *err);

bool upz_slice_is(UpzSlice s, const char *text);
/* For "%.*s": at most 80 bytes of it. */
#define UPZ_SLICE(s) ((int)((s).n < 80 ? (s).n : 80)), (const char *)(s).p

const UpzOnnxAttr *upz_onnx_attr(const UpzOnnxNode *n, const char *name);
int64_t upz_onnx_int(const UpzOnnxNode *n, const char *name, int64_t otherwise);
float upz_onnx_float(const UpzOnnxNode *n, const char *name, float otherwise);
/* The values of an attribute of integers or floats: how many there are; at most max are written. */
int upz_onnx_ints(const UpzOnnxAttr *a, int64_t *out, int max);
int upz_onnx_floats(const UpzOnnxAttr *a, double *out, int max);

/* Numbers of a tensor, `count` of them, as float or double (the other pointer NULL). bytes: the
 * tensor's part of the external file, or NULL. false: fewer are stored, or the type is unknown. */
bool upz_onnx_numbers(const UpzOnnxTensor *t, const UpzSlice *bytes, float *f, double *d);

#endif
