/* The graph as an ONNX file. Field numbers are those of onnx.proto, operators those of the public
 * operator list; only forms that opset 16 and all later ones read alike are used (GELU excepted).
 *
 * Values are v0, v1, … as in the graph, v3_0, v3_1 … within one node; weights keep their own name
 * when it has a dot and no other has it, and are w0, w1, … otherwise; constants are
 * c0, c1, … */
#include "model/write.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "model/onnx.h"
#include "model/write_bytes.h"

enum { LOWEST = 16, HIGHEST = 23, MAX_SCALARS = 64 };
enum { ATTR_FLOAT = 1, ATTR_INT = 2, ATTR_STRING = 3, ATTR_INTS = 7 };

/* A tensor of the graph may be needed as it is, and as C x 1 x 1 to go with feature maps. */
typedef enum Form { PLAIN, COLUMN, FORMS } Form;

typedef struct Weight {
    char *name[FORMS];
    bool used[FORMS], written[FORMS];
} Weight;

typedef struct Name {
    char t[32];
} Name;

typedef struct State {
    const UprezModel *model;
    const UpzGraph *g;
    UpzOnnxParams p;
    UpzBytes out;       /* the graph's nodes */
    UpzBytes tensors;   /* its initializers */
    Weight *weights;    /* one for each of the graph's tensors */
    float scalar[MAX_SCALARS];
    int n_scalars, n_consts, n_nodes;
    int index, n_temps; /* node at work, values made within it */
    Name input, output; /* of the graph's first and last value */
    bool pad;
    int r;              /* the first error */
    UprezError *err;
} State;

/* ---- protobuf ---- */

static void varint(UpzBytes *b, uint64_t v)
{
    uint8_t text[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) text[n++] = (uint8_t)(v | 0x80);
    text[n++] = (uint8_t)v;
    upz_bytes_put(b, text, n);
}

static void key(UpzBytes *b, int field, int wire) { varint(b, (uint64_t)(field << 3 | wire)); }

static void put_int(UpzBytes *b, int field, int64_t v)
{
    key(b, field, 0);
    varint(b, (uint64_t)v);
}

static void put_float(UpzBytes *b, int field, float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof(u));
    key(b, field, 5);
    upz_bytes_u32(b, u);
}

static void put_text(UpzBytes *b, int field, const char *text)
{
    key(b, field, 2);
    varint(b, strlen(text));
    upz_bytes_text(b, text);
}

/* A message within: what is written between open and close. */
static size_t open_message(UpzBytes *b, int field)
{
    key(b, field, 2);
    return b->n;
}

static void close_message(UpzBytes *b, size_t start)
{
    if (b->failed) return;
    uint8_t text[10];
    size_t n = 0;
    uint64_t v = b->n - start;
    for (; v >= 0x80; v >>= 7) text[n++] = (uint8_t)(v | 0x80);
    text[n++] = (uint8_t)v;
    uint8_t *p = upz_bytes_insert(b, start, n);
    if (p) memcpy(p, text, n);
}

/* ---- initializers ---- */

static int float_type(const State *s) { return s->p.half ? UPZ_ONNX_HALF : UPZ_ONNX_FLOAT; }

/* TensorProto with its raw data; dims is followed by `ones` more dimensions of 1. */
static void tensor(State *s, const char *name, int n_dims, const int64_t *dims, int ones,
                   const float *values, int64_t count)
{
    UpzBytes *b = &s->tensors;
    if (s->r < 0) return;
    size_t start = open_message(b, 5);
    for (int i = 0; i < n_dims; i++) put_int(b, 1, dims[i]);
    for (int i = 0; i < ones; i++) put_int(b, 1, 1);
    put_int(b, 2, float_type(s));
    put_text(b, 8, name);
    key(b, 9, 2);
    varint(b, (uint64_t)count * (s->p.half ? 2 : 4));
    s->r = upz_bytes_numbers(b, values, count, s->p.half, name, s->err);
    close_message(b, start);
}

static Name int_const(State *s, int n, const int64_t *v)
{
    Name name;
    snprintf(name.t, sizeof(name.t), "c%d", s->n_consts++);
    UpzBytes *b = &s->tensors;
    size_t start = open_message(b, 5);
    put_int(b, 1, n);
    put_int(b, 2, UPZ_ONNX_INT64);
    put_text(b, 8, name.t);
    key(b, 9, 2);
    varint(b, (uint64_t)n * 8);
    for (int i = 0; i < n; i++) upz_bytes_u64(b, (uint64_t)v[i]);
    close_message(b, start);
    return name;
}

static Name scalar(State *s, float v)
{
    Name name;
    for (int i = 0; i < s->n_scalars; i++) {
        if (memcmp(&s->scalar[i], &v, sizeof(v)) != 0) continue;
        snprintf(name.t, sizeof(name.t), "s%d", i);
        return name;
    }
    bool keep = s->n_scalars < MAX_SCALARS;
    if (keep) {
        snprintf(name.t, sizeof(name.t), "s%d", s->n_scalars);
        s->scalar[s->n_scalars++] = v;
    } else {
        snprintf(name.t, sizeof(name.t), "c%d", s->n_consts++);
    }
    tensor(s, name.t, 0, NULL, 0, &v, 1);
    return name;
}

/* Scales of a Resize are fp32 whatever the arithmetic. */
static Name scales(State *s, float factor)
{
    bool half = s->p.half;
    Name name;
    s->p.half = false;
    snprintf(name.t, sizeof(name.t), "c%d", s->n_consts++);
    tensor(s, name.t, 1, (int64_t[]){4}, 0, (float[]){1, 1, factor, factor}, 4);
    s->p.half = half;
    return name;
}

static const char *weight(State *s, int i, Form form)
{
    const UpzTensor *t = &s->g->tensors[i];
    Weight *w = &s->weights[i];
    if (!w->written[form]) {
        bool column = form == COLUMN;
        tensor(s, w->name[form], column ? 1 : t->n_dims, column ? &t->count : t->dims,
               column ? 2 : 0, t->data, t->count);
        w->written[form] = true;
    }
    return w->name[form];
}

/* May a tensor keep its name? It must not look like one of ours, and be plain text. */
static bool good_name(const char *name)
{
    if (!name || !strchr(name, '.') || strlen(name) > 200) return false;
    for (const char *p = name; *p; p++)
        if (*p <= ' ' || *p > '~') return false;
    return true;
}

static int by_name(const void *a, const void *b)
{
    const UpzTensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void use(State *s, int tensor, Form form)
{
    if (tensor != UPZ_NO_TENSOR) s->weights[tensor].used[form] = true;
}

static int name_weights(State *s)
{
    const UpzGraph *g = s->g;
    s->weights = upz_calloc(g->n_tensors, sizeof(*s->weights));
    const UpzTensor **sorted = upz_calloc(g->n_tensors, sizeof(*sorted));
    bool ok = s->weights && sorted;
    size_t n = 0;
    for (size_t i = 0; ok && i < g->n_tensors; i++)
        if (good_name(g->tensors[i].name)) sorted[n++] = &g->tensors[i];
    if (n) qsort(sorted, n, sizeof(*sorted), by_name);
    for (size_t i = 0; i < n && ok; i++) {
        bool twice = (i && !by_name(&sorted[i - 1], &sorted[i])) ||
                     (i + 1 < n && !by_name(&sorted[i], &sorted[i + 1]));
        Weight *w = &s->weights[sorted[i] - g->tensors];
        if (!twice) ok = (w->name[PLAIN] = upz_strdup(sorted[i]->name)) != NULL;
    }
    upz_free(sorted);
    for (size_t i = 0; i < g->n_nodes && ok; i++) {
        const UpzNode *node = &g->nodes[i];
        use(s, node->weights, node->op == UPZ_OP_AFFINE ? COLUMN : PLAIN);
        use(s, node->bias, node->op == UPZ_OP_AFFINE ? COLUMN : PLAIN);
        use(s, node->slopes, COLUMN);
    }
    for (size_t i = 0; i < g->n_tensors && ok; i++) {
        Weight *w = &s->weights[i];
        if (!w->name[PLAIN]) w->name[PLAIN] = upz_asprintf("w%zu", i);
        if (w->name[PLAIN] && w->used[PLAIN])
            w->name[COLUMN] = upz_asprintf("%s_column", w->name[PLAIN]);
        else if (w->name[PLAIN])
            w->name[COLUMN] = upz_strdup(w->name[PLAIN]);
        ok = w->name[PLAIN] && w->name[COLUMN];
    }
    return ok ? 0 : upz_fail_memory(s->err, g->n_tensors * sizeof(*s->weights), "names");
}

/* ---- nodes ---- */

static Name value(const State *s, int i)
{
    Name name;
    if (i == 0) return s->input;
    if (i == s->g->output) return s->output;
    snprintf(name.t, sizeof(name.t), "v%d", i);
    return name;
}

/* A value within the node at work. */
static Name temp(State *s)
{
    Name name;
    snprintf(name.t, sizeof(name.t), "v%d_%d", s->index, s->n_temps++);
    return name;
}

/* Sources are given up to a NULL; an empty one is an optional source left out. Attributes follow,
 * then node_end(). */
static size_t node_begin(State *s, const char *op, const char *dst, const char *const *src)
{
    UpzBytes *b = &s->out;
    size_t start = open_message(b, 1);
    for (; *src; src++) put_text(b, 1, *src);
    put_text(b, 2, dst);
    char name[64];
    snprintf(name, sizeof(name), "%s_%d", op, s->n_nodes++);
    put_text(b, 3, name);
    put_text(b, 4, op);
    return start;
}
#define SOURCES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void node_end(State *s, size_t start) { close_message(&s->out, start); }

/* Without attributes. */
static void node(State *s, const char *op, const char *dst, const char *const *src)
{
    node_end(s, node_begin(s, op, dst, src));
}

static void attr_int(State *s, const char *name, int64_t v)
{
    size_t start = open_message(&s->out, 5);
    put_text(&s->out, 1, name);
    put_int(&s->out, 3, v);
    put_int(&s->out, 20, ATTR_INT);
    close_message(&s->out, start);
}

static void attr_float(State *s, const char *name, float v)
{
    size_t start = open_message(&s->out, 5);
    put_text(&s->out, 1, name);
    put_float(&s->out, 2, v);
    put_int(&s->out, 20, ATTR_FLOAT);
    close_message(&s->out, start);
}

static void attr_text(State *s, const char *name, const char *v)
{
    size_t start = open_message(&s->out, 5);
    put_text(&s->out, 1, name);
    put_text(&s->out, 4, v);
    put_int(&s->out, 20, ATTR_STRING);
    close_message(&s->out, start);
}

static void attr_ints(State *s, const char *name, int n, const int64_t *v)
{
    size_t start = open_message(&s->out, 5);
    put_text(&s->out, 1, name);
    for (int i = 0; i < n; i++) put_int(&s->out, 8, v[i]);
    put_int(&s->out, 20, ATTR_INTS);
    close_message(&s->out, start);
}

static void cast(State *s, const char *src, const char *dst, int type)
{
    size_t at = node_begin(s, "Cast", dst, SOURCES(src));
    attr_int(s, "to", type);
    node_end(s, at);
}

/* ---- shapes that are only known when it runs ---- */

static Name sliced_shape(State *s, const char *shape, int64_t first, int64_t end)
{
    Name dst = temp(s);
    Name a = int_const(s, 1, &first), b = int_const(s, 1, &end), axis = int_const(s, 1, (int64_t[]){0});
    node(s, "Slice", dst.t, SOURCES(shape, a.t, b.t, axis.t));
    return dst;
}

static Name shape_of(State *s, const char *src)
{
    Name dst = temp(s);
    node(s, "Shape", dst.t, SOURCES(src));
    return dst;
}

static Name ints_op(State *s, const char *op, Name a, int64_t b)
{
    Name dst = temp(s), number = int_const(s, 1, &b);
    node(s, op, dst.t, SOURCES(a.t, number.t));
    return dst;
}

static Name joined(State *s, const char *const *parts)
{
    Name dst = temp(s);
    size_t at = node_begin(s, "Concat", dst.t, parts);
    attr_int(s, "axis", 0);
    node_end(s, at);
    return dst;
}

/* ---- layers ---- */

static void activation(State *s, const UpzNode *n, const char *src, const char *dst)
{
    size_t at;
    Name a, b;
    switch (n->act) {
    case UPZ_ACT_RELU: node(s, "Relu", dst, SOURCES(src)); break;
    case UPZ_ACT_SIGMOID: node(s, "Sigmoid", dst, SOURCES(src)); break;
    case UPZ_ACT_TANH: node(s, "Tanh", dst, SOURCES(src)); break;
    case UPZ_ACT_LEAKY:
        at = node_begin(s, "LeakyRelu", dst, SOURCES(src));
        attr_float(s, "alpha", n->slope);
        node_end(s, at);
        break;
    case UPZ_ACT_PRELU: node(s, "PRelu", dst, SOURCES(src, weight(s, n->slopes, COLUMN))); break;
    case UPZ_ACT_SILU:
        a = temp(s);
        node(s, "Sigmoid", a.t, SOURCES(src));
        node(s, "Mul", dst, SOURCES(src, a.t));
        break;
    case UPZ_ACT_GELU:
        if (s->p.opset >= 20) {
            node(s, "Gelu", dst, SOURCES(src));
            break;
        }
        a = temp(s), b = temp(s);
        node(s, "Mul", a.t, SOURCES(src, scalar(s, 0.70710678f).t));
        node(s, "Erf", b.t, SOURCES(a.t));
        a = temp(s);
        node(s, "Add", a.t, SOURCES(b.t, scalar(s, 1).t));
        b = temp(s);
        node(s, "Mul", b.t, SOURCES(src, a.t));
        node(s, "Mul", dst, SOURCES(b.t, scalar(s, 0.5f).t));
        break;
    case UPZ_ACT_CLIP: {
        /* a limit beyond all numbers of the type is none */
        float most = s->p.half ? 65504.0f : 3.3e38f;
        a = n->lo >= -most ? scalar(s, n->lo) : (Name){""};
        b = n->hi <= most ? scalar(s, n->hi) : (Name){""};
        node(s, "Clip", dst, b.t[0] ? SOURCES(src, a.t, b.t) : a.t[0] ? SOURCES(src, a.t)
                                                                     : SOURCES(src));
        break;
    }
    default: node(s, "Identity", dst, SOURCES(src));
    }
}

static void conv(State *s, const UpzNode *n, const char *src, const char *dst)
{
    bool deconv = n->op == UPZ_OP_DECONV;
    /* CONV: rows beyond what "same" needs are never read; this total gives ceil(size / stride).
     * DECONV: size * stride is what remains of (size - 1) * stride + kernel. */
    int bottom = n->kernel_h - n->pad_y - (deconv ? n->stride : 1);
    int right = n->kernel_w - n->pad_x - (deconv ? n->stride : 1);
    const char *bias = n->bias == UPZ_NO_TENSOR ? NULL : weight(s, n->bias, PLAIN);
    size_t at = node_begin(s, deconv ? "ConvTranspose" : "Conv", dst,
                           SOURCES(src, weight(s, n->weights, PLAIN), bias));
    attr_ints(s, "dilations", 2, (int64_t[]){1, 1});
    attr_int(s, "group", n->groups);
    attr_ints(s, "kernel_shape", 2, (int64_t[]){n->kernel_h, n->kernel_w});
    if (bottom < 0 || right < 0)
        attr_ints(s, "output_padding", 2, (int64_t[]){UPZ_MAX(-bottom, 0), UPZ_MAX(-right, 0)});
    attr_ints(s, "pads", 4, (int64_t[]){n->pad_y, n->pad_x, UPZ_MAX(bottom, 0), UPZ_MAX(right, 0)});
    attr_ints(s, "strides", 2, (int64_t[]){n->stride, n->stride});
    node_end(s, at);
}

static Name times(State *s, Name src, float factor)
{
    if (factor == 1) return src;
    Name dst = temp(s);
    node(s, "Mul", dst.t, SOURCES(src.t, scalar(s, factor).t));
    return dst;
}

static void add(State *s, const UpzNode *n, const char *dst)
{
    bool minus = n->alpha[1] == -1;
    Name a = times(s, value(s, n->src[0]), n->alpha[0]);
    Name b = minus ? value(s, n->src[1]) : times(s, value(s, n->src[1]), n->alpha[1]);
    node(s, minus ? "Sub" : "Add", dst, SOURCES(a.t, b.t));
}

static void affine(State *s, const UpzNode *n, const char *src, const char *dst)
{
    bool tensors = n->weights != UPZ_NO_TENSOR || n->bias != UPZ_NO_TENSOR;
    bool scales = tensors ? n->weights != UPZ_NO_TENSOR : n->alpha[0] != 1;
    bool adds = tensors ? n->bias != UPZ_NO_TENSOR : n->alpha[1] != 0;
    Name between = temp(s), number;
    if (!scales && !adds) {
        node(s, "Identity", dst, SOURCES(src));
        return;
    }
    if (scales) {
        number = tensors ? (Name){""} : scalar(s, n->alpha[0]);
        node(s, "Mul", adds ? between.t : dst,
             SOURCES(src, tensors ? weight(s, n->weights, COLUMN) : number.t));
    }
    if (adds) {
        number = tensors ? (Name){""} : scalar(s, n->alpha[1]);
        node(s, "Add", dst,
             SOURCES(scales ? between.t : src, tensors ? weight(s, n->bias, COLUMN) : number.t));
    }
}

static void concat(State *s, const UpzNode *n, const char *dst)
{
    Name names[UPZ_MAX_SRC];
    const char *src[UPZ_MAX_SRC + 1] = {NULL};
    for (int i = 0; i < n->n_src; i++) {
        names[i] = value(s, n->src[i]);
        src[i] = names[i].t;
    }
    size_t at = node_begin(s, "Concat", dst, src);
    attr_int(s, "axis", 1);
    node_end(s, at);
}

static void slice(State *s, const UpzNode *n, const char *src, const char *dst)
{
    Name first = int_const(s, 1, (int64_t[]){n->first});
    Name end = int_const(s, 1, (int64_t[]){n->first + n->channels});
    Name axis = int_const(s, 1, (int64_t[]){1});
    node(s, "Slice", dst, SOURCES(src, first.t, end.t, axis.t));
}

static void shuffle(State *s, const UpzNode *n, const char *src, const char *dst)
{
    size_t at = node_begin(s, "DepthToSpace", dst, SOURCES(src));
    attr_int(s, "blocksize", n->factor);
    attr_text(s, "mode", n->dcr ? "DCR" : "CRD");
    node_end(s, at);
}

/* Cut and transposed, as exporters do it: SpaceToDepth knows the dcr order only, and OpenVINO refuses
 * it for pictures of any size. */
static void unshuffle(State *s, const UpzNode *n, const char *src, const char *dst)
{
    static const int64_t plain[6] = {0, 1, 3, 5, 2, 4}, dcr[6] = {0, 3, 5, 1, 2, 4};
    size_t at;
    int f = n->factor, channels = s->g->nodes[n->src[0]].channels;
    Name cut = temp(s), turned = temp(s);
    Name height = ints_op(s, "Div", sliced_shape(s, shape_of(s, src).t, 2, 3), f);
    Name front = int_const(s, 2, (int64_t[]){0, channels}); /* 0: as the source's */
    Name behind = int_const(s, 3, (int64_t[]){f, -1, f});   /* -1: what is left */
    Name in = joined(s, SOURCES(front.t, height.t, behind.t));
    node(s, "Reshape", cut.t, SOURCES(src, in.t));
    at = node_begin(s, "Transpose", turned.t, SOURCES(cut.t));
    attr_ints(s, "perm", 6, n->dcr ? dcr : plain);
    node_end(s, at);
    front = int_const(s, 2, (int64_t[]){0, (int64_t)channels * f * f});
    behind = int_const(s, 1, (int64_t[]){-1});
    Name out = joined(s, SOURCES(front.t, height.t, behind.t));
    node(s, "Reshape", dst, SOURCES(turned.t, out.t));
}

static bool is_dyadic(int v) { return (v & (v - 1)) == 0; }

static void resize(State *s, const UpzNode *n, const char *src, const char *dst)
{
    bool plain = n->op == UPZ_OP_NEAREST;
    int num = plain ? n->factor : n->resize_num, den = plain ? 1 : n->resize_den;
    Name none = {""}, by = none, to = none;
    if (is_dyadic(den)) {
        by = scales(s, (float)num / (float)den);
    } else { /* a factor that fp32 rounds could lose a row: the size is worked out instead */
        Name shape = shape_of(s, src), front = sliced_shape(s, shape.t, 0, 2);
        Name size = sliced_shape(s, shape.t, 2, 4);
        size = ints_op(s, "Div", ints_op(s, "Mul", size, num), den);
        to = joined(s, SOURCES(front.t, size.t));
    }
    size_t at = node_begin(s, "Resize", dst, to.t[0] ? SOURCES(src, none.t, none.t, to.t)
                                                     : SOURCES(src, none.t, by.t));
    if (plain) {
        attr_text(s, "coordinate_transformation_mode", "asymmetric");
        attr_text(s, "mode", "nearest");
        attr_text(s, "nearest_mode", "floor");
    } else {
        attr_text(s, "coordinate_transformation_mode", "half_pixel");
        attr_float(s, "cubic_coeff_a", -0.75f);
        attr_text(s, "mode", n->filter == UPZ_FILTER_BICUBIC    ? "cubic"
                             : n->filter == UPZ_FILTER_BILINEAR ? "linear"
                                                                : "nearest");
        if (n->filter == UPZ_FILTER_NEAREST) attr_text(s, "nearest_mode", "round_prefer_ceil");
    }
    node_end(s, at);
}

static void layer(State *s, int i)
{
    const UpzNode *n = &s->g->nodes[i];
    s->index = i, s->n_temps = 0;
    Name dst = value(s, i), src = n->n_src ? value(s, n->src[0]) : dst;
    bool act = n->act != UPZ_ACT_NONE && n->op != UPZ_OP_ACT;
    Name to = act ? temp(s) : dst;
    switch (n->op) {
    case UPZ_OP_CONV: case UPZ_OP_DECONV: conv(s, n, src.t, to.t); break;
    case UPZ_OP_ACT: activation(s, n, src.t, dst.t); break;
    case UPZ_OP_ADD: add(s, n, to.t); break;
    case UPZ_OP_MUL: node(s, "Mul", to.t, SOURCES(src.t, value(s, n->src[1]).t)); break;
    case UPZ_OP_AFFINE: affine(s, n, src.t, to.t); break;
    case UPZ_OP_CONCAT: concat(s, n, to.t); break;
    case UPZ_OP_SLICE: slice(s, n, src.t, to.t); break;
    case UPZ_OP_SHUFFLE: shuffle(s, n, src.t, to.t); break;
    case UPZ_OP_UNSHUFFLE: unshuffle(s, n, src.t, to.t); break;
    case UPZ_OP_NEAREST: case UPZ_OP_RESIZE: resize(s, n, src.t, to.t); break;
    default: break; /* INPUT */
    }
    if (act) activation(s, n, to.t, dst.t);
}

/* ---- the whole ---- */

static const char *pad_mode(const UpzGraph *g)
{
    return g->pad_mode == UPZ_PAD_REFLECT ? "reflect"
           : g->pad_mode == UPZ_PAD_ZERO  ? "constant"
                                          : "edge";
}

/* From the file's input to the graph's first value. */
static void front(State *s)
{
    Name at = {"input"};
    bool casts = s->p.half && !s->p.half_io;
    s->input = at;
    s->index = 0, s->n_temps = 0;
    if (casts) {
        s->input = s->pad ? temp(s) : (Name){"v0"};
        cast(s, at.t, s->input.t, UPZ_ONNX_HALF);
        at = s->input;
    }
    if (!s->pad) return;
    int64_t align = s->model->facts.align;
    Name size = sliced_shape(s, shape_of(s, "input").t, 2, 4);
    Name up = ints_op(s, "Mul", ints_op(s, "Div", ints_op(s, "Add", size, align - 1), align),
                      align);
    Name missing = temp(s), zeros = int_const(s, 6, (int64_t[]){0, 0, 0, 0, 0, 0});
    node(s, "Sub", missing.t, SOURCES(up.t, size.t));
    Name pads = joined(s, SOURCES(zeros.t, missing.t));
    s->input = (Name){"v0"};
    size_t start = node_begin(s, "Pad", s->input.t, SOURCES(at.t, pads.t));
    attr_text(s, "mode", pad_mode(s->g));
    node_end(s, start);
}

/* From the graph's output, s->output, to the file's. */
static void back(State *s)
{
    Name at = s->output;
    bool casts = s->p.half && !s->p.half_io;
    s->index = (int)s->g->n_nodes, s->n_temps = 0;
    if (s->pad) {
        Name size = sliced_shape(s, shape_of(s, "input").t, 2, 4), none = {0};
        int64_t scale = s->model->facts.scale_num;
        Name end = scale == 1 ? size : ints_op(s, "Mul", size, scale);
        Name first = int_const(s, 2, (int64_t[]){0, 0}), axes = int_const(s, 2, (int64_t[]){2, 3});
        none = casts ? temp(s) : (Name){"output"};
        node(s, "Slice", none.t, SOURCES(at.t, first.t, end.t, axes.t));
        at = none;
    }
    if (casts) cast(s, at.t, "output", UPZ_ONNX_FLOAT);
}

static void dimension(UpzBytes *b, int64_t v, const char *name)
{
    size_t start = open_message(b, 1);
    if (v) put_int(b, 1, v);
    else put_text(b, 2, name);
    close_message(b, start);
}

/* ValueInfoProto; num / den of the picture's size. */
static void value_info(State *s, UpzBytes *b, int field, const char *name, int num, int den)
{
    bool in = num == 1 && den == 1;
    size_t info = open_message(b, field);
    put_text(b, 1, name);
    size_t type = open_message(b, 2), of = open_message(b, 1);
    put_int(b, 1, s->p.half && s->p.half_io ? UPZ_ONNX_HALF : UPZ_ONNX_FLOAT);
    size_t shape = open_message(b, 2);
    dimension(b, s->p.fixed_batch, "batch");
    dimension(b, s->model->facts.channels, "");
    dimension(b, (int64_t)s->p.fixed_height * num / den, in ? "height" : "out_height");
    dimension(b, (int64_t)s->p.fixed_width * num / den, in ? "width" : "out_width");
    close_message(b, shape);
    close_message(b, of);
    close_message(b, type);
    close_message(b, info);
}

static void metadata(UpzBytes *b, const char *name, const char *text)
{
    size_t start = open_message(b, 14);
    put_text(b, 1, name);
    put_text(b, 2, text);
    close_message(b, start);
}

static void whole_file(State *s, UpzBytes *file)
{
    const UprezModelFacts *f = &s->model->facts;
    static const char *const inputs[] = {"rgb", "y_full", "y_studio"};
    int opset = s->p.opset; /* the oldest format version that may hold it */
    put_int(file, 1, opset < 19 ? 8 : opset < 21 ? 9 : opset < 23 ? 10 : 11);
    put_text(file, 2, "uprez");
    put_text(file, 3, UPZ_VERSION);
    size_t graph = open_message(file, 7);
    /* the nodes and initializers are complete fields of the graph */
    upz_bytes_put(file, s->out.data, s->out.n);
    put_text(file, 2, "uprez");
    upz_bytes_put(file, s->tensors.data, s->tensors.n);
    value_info(s, file, 11, "input", 1, 1);
    value_info(s, file, 12, "output", f->scale_num, f->scale_den);
    close_message(file, graph);
    size_t set = open_message(file, 8);
    put_text(file, 1, "");
    put_int(file, 2, opset);
    close_message(file, set);
    char scale[32], align[16];
    snprintf(scale, sizeof(scale), f->scale_den == 1 ? "%d" : "%d/%d", f->scale_num, f->scale_den);
    snprintf(align, sizeof(align), "%d", s->pad ? 1 : f->align);
    metadata(file, "uprez.scale", scale);
    metadata(file, "uprez.align", align);
    metadata(file, UPZ_ONNX_INPUT_KEY, inputs[UPZ_CLAMP(f->input, 0, 2)]);
    file->failed |= s->out.failed || s->tensors.failed;
}

static int check(State *s)
{
    const UprezModelFacts *f = &s->model->facts;
    int r = upz_write_check(s->model, s->p.half ? 2 : 4, s->err);
    if (r < 0) return r;
    if (!s->p.opset) {
        s->p.opset = LOWEST;
        for (size_t i = 0; i < s->g->n_nodes; i++)
            if (s->g->nodes[i].act == UPZ_ACT_GELU) s->p.opset = 20;
    }
    if (s->p.opset < LOWEST || s->p.opset > HIGHEST)
        return upz_fail(s->err, UPREZ_ERR_USAGE, "ONNX with operator set %d is not written; %d to "
                        "%d are", s->p.opset, LOWEST, HIGHEST);
    if (s->p.fixed_batch < 0 || s->p.fixed_height < 0 || s->p.fixed_width < 0)
        return upz_fail(s->err, UPREZ_ERR_USAGE, "a fixed size of %d x %dx%d", s->p.fixed_batch,
                        s->p.fixed_width, s->p.fixed_height);
    s->pad = s->p.pad && f->align > 1 && f->scale_den == 1 &&
             !(s->p.fixed_width && s->p.fixed_height && s->p.fixed_width % f->align == 0 &&
               s->p.fixed_height % f->align == 0);
    if (!s->pad && (s->p.fixed_width % f->align || s->p.fixed_height % f->align))
        return upz_fail(s->err, UPREZ_ERR_USAGE, "%s takes sizes that are multiples of %d; the "
                        "fixed size is %dx%d", upz_basename(f->path), f->align, s->p.fixed_width,
                        s->p.fixed_height);
    return 0;
}

int upz_write_onnx_memory(const UprezModel *model, const UpzOnnxParams *params, uint8_t **data,
                          size_t *size, UprezError *err)
{
    *data = NULL;
    *size = 0;
    State s = {.model = model, .g = &model->graph, .err = err};
    if (params) s.p = *params;
    UpzBytes file = {0};
    int r = check(&s);
    if (!r) r = name_weights(&s);
    if (!r) {
        s.output = s.pad || (s.p.half && !s.p.half_io) ? (Name){"result"} : (Name){"output"};
        front(&s);
        for (size_t i = 1; i < s.g->n_nodes; i++) layer(&s, (int)i);
        back(&s);
        r = s.r;
    }
    if (!r) whole_file(&s, &file);
    if (!r && file.failed)
        r = upz_fail_memory(err, s.tensors.n + s.out.n, "the ONNX file");
    for (size_t i = 0; s.weights && i < s.g->n_tensors; i++)
        for (int form = 0; form < FORMS; form++) upz_free(s.weights[i].name[form]);
    upz_free(s.weights);
    upz_free(s.out.data);
    upz_free(s.tensors.data);
    if (r < 0) {
        upz_free(file.data);
        return r;
    }
    *data = file.data;
    *size = file.n;
    return 0;
}
