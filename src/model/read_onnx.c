/* ONNX networks run as graphs: the nodes are walked once, in the file's order, from the picture to
 * the output; layers become graph nodes, arithmetic about sizes is folded. What the output does not
 * need is not looked at. Nothing is executed and nothing depends on data. */
#include "model/onnx_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "model/model.h"

#define MAX_VALUES 65536
#define MAX_NUMS 4096 /* small number tensors computed or widened */
#define READ_AGAIN 1  /* of walk: with another range */

/* Sizes tried: multiples of everything up to 16 and of 64, and odd ones above them; the first of
 * these is exactly one pixel larger. For a network that takes only multiples of something, the
 * distances are multiplied by the smallest of steps with which it can be read. */
#define PROBE_BASE 2882880.0
static const double probe_h[UPZ_PROBES] = {0, 1, 2, 3, 5, 11};
static const double probe_w[UPZ_PROBES] = {0, 1, 7, 2, 13, 3};
static const int steps[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64};

static int refuse(UpzOnnxState *s, const UpzOnnxNode *n, const char *fmt, va_list ap)
{
    char text[512];
    vsnprintf(text, sizeof(text), fmt, ap);
    UpzSlice name = n->name.n || !n->n_outputs ? n->name : n->outputs[0];
    return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: node '%.*s' (%.*s): %s", s->path,
                    UPZ_SLICE(name), UPZ_SLICE(n->op), text);
}

int upz_onnx_refuse(UpzOnnxState *s, const UpzOnnxNode *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = refuse(s, n, fmt, ap);
    va_end(ap);
    s->foreign = true;
    return r;
}

int upz_onnx_damaged(UpzOnnxState *s, const UpzOnnxNode *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = refuse(s, n, fmt, ap);
    va_end(ap);
    return r;
}

int upz_onnx_wrap(UpzOnnxState *s, const UpzOnnxNode *n, int r)
{
    if (r < 0 && r != UPREZ_ERR_MEMORY && s->err) {
        char text[512];
        snprintf(text, sizeof(text), "%.500s", s->err->text);
        upz_onnx_damaged(s, n, "%s", text);
    }
    return r;
}

static uint32_t hash_of(UpzSlice s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++) h = (h ^ s.p[i]) * 16777619u;
    return h ^ h >> 15;
}

/* The slot of a name in the table, or of the free place for it. */
static uint32_t *slot_of(const UpzOnnxState *s, UpzSlice name)
{
    for (size_t i = hash_of(name);; i++) {
        uint32_t *slot = &s->table[i & (s->table_size - 1)];
        if (!*slot) return slot;
        const UpzOnnxVal *v = &s->vals[*slot - 1];
        if (v->name.n == name.n && !memcmp(v->name.p, name.p, name.n)) return slot;
    }
}

static UpzOnnxVal *find(const UpzOnnxState *s, UpzSlice name)
{
    uint32_t slot = name.n ? *slot_of(s, name) : 0;
    return slot ? &s->vals[slot - 1] : NULL;
}

static int define(UpzOnnxState *s, UpzSlice name, int producer, UpzOnnxVal **out)
{
    uint32_t *slot = slot_of(s, name);
    if (*slot)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: the value '%.*s' is written twice", s->path,
                        UPZ_SLICE(name));
    UpzOnnxVal *v = &s->vals[s->n_vals++]; /* room was made for all of them */
    *v = (UpzOnnxVal){.name = name, .producer = producer, .tensor = -1, .node = -1};
    *slot = (uint32_t)s->n_vals;
    *out = v;
    return 0;
}

UpzOnnxVal *upz_onnx_in(UpzOnnxState *s, const UpzOnnxNode *n, size_t i)
{
    return i < n->n_inputs ? find(s, n->inputs[i]) : NULL;
}

UpzOnnxVal *upz_onnx_map(UpzOnnxState *s, const UpzOnnxNode *n, size_t i)
{
    UpzOnnxVal *v = upz_onnx_in(s, n, i);
    if (!v || v->kind != UPZ_VAL_MAP)
        upz_onnx_refuse(s, n, v && v->kind == UPZ_VAL_VIEW
                                  ? "it reads a reshaped map that is not a pixel shuffle"
                              : v && v->kind == UPZ_VAL_ERF
                                  ? "it reads an Erf in a way that is no GELU"
                                  : "its source is not a feature map");
    else if (v->pad[0] || v->pad[1] || v->pad[2] || v->pad[3])
        upz_onnx_refuse(s, n, "it reads a padded map; only convolutions may");
    else
        return v;
    return NULL;
}

static const UpzNum *num_of(UpzOnnxState *s, UpzOnnxVal *v)
{
    if (v->kind == UPZ_VAL_NUM || (v->kind == UPZ_VAL_TENSOR && v->num.v)) return &v->num;
    if (v->kind != UPZ_VAL_TENSOR || s->n_nums >= MAX_NUMS) return NULL;
    const UpzOnnxTensor *t = &s->tensors[v->tensor].t;
    double values[UPZ_NUM_MAX];
    int dims[UPZ_NUM_DIMS];
    if (t->count > UPZ_NUM_MAX || t->n_dims > UPZ_NUM_DIMS || t->external ||
        !upz_onnx_numbers(t, NULL, NULL, values))
        return NULL;
    for (int i = 0; i < t->n_dims; i++) {
        if (t->dims[i] > UPZ_NUM_MAX) return NULL; /* beside a dimension of 0 */
        dims[i] = (int)t->dims[i];
    }
    if (upz_num_init(&v->num, t->n_dims, dims,
                     t->type == UPZ_ONNX_INT64 || t->type == UPZ_ONNX_INT32, NULL) < 0) {
        s->no_memory = true; /* the sizes were checked above */
        upz_num_free(&v->num);
        return NULL;
    }
    s->n_nums++;
    for (int i = 0; i < v->num.count; i++)
        for (int p = 0; p < UPZ_PROBES; p++) v->num.v[i][p] = values[i];
    return &v->num;
}

const UpzNum *upz_onnx_num(UpzOnnxState *s, const UpzOnnxNode *n, size_t i)
{
    UpzOnnxVal *v = upz_onnx_in(s, n, i);
    return v ? num_of(s, v) : NULL;
}

/* Where a tensor kept in a second file lies; maps that file once. */
static int external_bytes(UpzOnnxState *s, const UpzOnnxTensor *t, UpzSlice *out)
{
    UpzSlice name = t->location;
    bool plain = name.n > 0 && name.n < 256 && !memchr(name.p, '/', name.n) &&
                 !memchr(name.p, 0, name.n) && !upz_slice_is(name, "..");
    if (!plain)
        return upz_fail(s->err, UPREZ_ERR_MODEL,
                        "%s: the weights are in another file, '%.*s', which is not a plain name "
                        "beside it", s->path, UPZ_SLICE(name));
    bool same = s->external.data && s->external_name.n == name.n &&
                !memcmp(s->external_name.p, name.p, name.n);
    if (!same) {
        int dir = (int)(upz_basename(s->path) - s->path);
        char *path = upz_asprintf("%.*s%.*s", dir, s->path, (int)name.n, (const char *)name.p);
        if (!path) return upz_fail_memory(s->err, name.n, "a file name");
        UprezError why = {0};
        upz_map_close(&s->external);
        int r = upz_map_open(&s->external, path, UPZ_MODEL_MAX_BYTES, UPREZ_ERR_MODEL, &why);
        upz_free(path);
        if (r < 0)
            return upz_fail(s->err, r, "%s keeps its weights in a second file, '%.*s', which must "
                            "lie beside it: %s", s->path, UPZ_SLICE(name), why.text);
        s->external_name = name;
    }
    uint64_t size = s->external.size, offset = (uint64_t)t->offset;
    uint64_t length = t->length < 0 && offset <= size ? size - offset : (uint64_t)t->length;
    if (offset > size || length > size - offset)
        return upz_fail(s->err, UPREZ_ERR_MODEL,
                        "%s: its second file '%.*s' has %zu bytes, the weights '%.*s' would end at "
                        "%llu", s->path, UPZ_SLICE(name), s->external.size, UPZ_SLICE(t->name),
                        (unsigned long long)(offset + length));
    *out = (UpzSlice){s->external.data + offset, (size_t)length};
    return 0;
}

int upz_onnx_weights(UpzOnnxState *s, const UpzOnnxNode *n, size_t i, bool optional)
{
    if (optional && (i >= n->n_inputs || !n->inputs[i].n)) return UPZ_NO_TENSOR;
    UpzOnnxVal *v = upz_onnx_in(s, n, i);
    if (!v || v->kind != UPZ_VAL_TENSOR)
        return upz_onnx_refuse(s, n, "its weights are not stored constants");
    UpzOnnxConst *c = &s->tensors[v->tensor];
    if (c->in_graph != UPZ_NO_TENSOR) return c->in_graph;
    const UpzOnnxTensor *t = &c->t;
    UpzSlice bytes, name = t->name.n ? t->name : v->name;
    size_t stored = t->raw.n + t->body.n;
    if (t->external) {
        int r = external_bytes(s, t, &bytes);
        if (r < 0) return r;
        stored = bytes.n;
    }
    if (t->count < 1 || (uint64_t)t->count > stored)
        return upz_onnx_damaged(s, n, "the weights '%.*s' are cut short: %lld values in %zu bytes",
                                UPZ_SLICE(name), (long long)t->count, stored);
    int k = upz_graph_tensor_new(s->g, t->n_dims, t->dims, s->err);
    if (k < 0) return upz_onnx_wrap(s, n, k);
    UpzTensor *out = &s->g->tensors[k];
    if (!upz_onnx_numbers(t, t->external ? &bytes : NULL, out->data, NULL))
        return upz_onnx_damaged(s, n, "the weights '%.*s' are cut short or of an unsupported type "
                                "(%d)", UPZ_SLICE(name), t->type);
    out->name = upz_asprintf("%.*s", UPZ_SLICE(name));
    out->half = t->type == UPZ_ONNX_HALF || t->type == UPZ_ONNX_BFLOAT;
    c->in_graph = k;
    return k;
}

int upz_onnx_make(UpzOnnxState *s, const UpzOnnxNode *n, int count)
{
    s->made += (size_t)count;
    if (s->made > s->made_max)
        return upz_onnx_damaged(s, n, "the file repeats its constants implausibly often");
    int k = upz_graph_tensor_new(s->g, 1, (int64_t[]){count}, s->err);
    if (k >= 0) memset(s->g->tensors[k].data, 0, (size_t)count * sizeof(float));
    return k;
}

static int add_const(UpzOnnxState *s, const UpzOnnxTensor *t)
{
    if (s->n_tensors >= MAX_VALUES)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: more than %d constants", s->path, MAX_VALUES);
    if (!upz_grow(&s->tensors, &s->cap_tensors, s->n_tensors + 1, sizeof(*s->tensors), MAX_VALUES))
        return upz_fail_memory(s->err, sizeof(*s->tensors), "the list of constants");
    s->tensors[s->n_tensors] = (UpzOnnxConst){*t, UPZ_NO_TENSOR};
    return (int)s->n_tensors++;
}

/* All names: initialisers, the picture, what nodes write. */
static int name_values(UpzOnnxState *s, UpzOnnxVal **input, const UpzOnnxValue **info)
{
    const UpzOnnx *m = &s->model;
    size_t count = m->n_tensors + m->n_inputs;
    for (size_t i = 0; i < m->n_nodes; i++) count += m->nodes[i].n_outputs;
    if (count > MAX_VALUES)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: %zu values; at most %d are supported",
                        s->path, count, MAX_VALUES);
    for (s->table_size = 16; s->table_size < 2 * count; s->table_size *= 2) {}
    s->vals = upz_calloc(count, sizeof(*s->vals));
    s->table = upz_calloc(s->table_size, sizeof(*s->table));
    if (!s->vals || !s->table)
        return upz_fail_memory(s->err, count * sizeof(*s->vals), "the list of values");
    UpzOnnxVal *v;
    for (size_t i = 0; i < m->n_tensors; i++) {
        int r = define(s, m->tensors[i].name, -1, &v);
        int k = r < 0 ? r : add_const(s, &m->tensors[i]);
        if (k < 0) return k;
        v->kind = UPZ_VAL_TENSOR, v->tensor = k;
    }
    *input = NULL;
    for (size_t i = 0; i < m->n_inputs; i++) {
        if (find(s, m->inputs[i].name)) continue; /* an initialiser, listed as older files do */
        if (*input)
            return upz_fail(s->err, UPREZ_ERR_MODEL, "%s has more than one input ('%.*s' and "
                            "'%.*s'); networks that take one picture are supported", s->path,
                            UPZ_SLICE((*input)->name), UPZ_SLICE(m->inputs[i].name));
        int r = define(s, m->inputs[i].name, -1, input);
        if (r < 0) return r;
        *info = &m->inputs[i];
    }
    for (size_t i = 0; i < m->n_nodes; i++)
        for (size_t k = 0; k < m->nodes[i].n_outputs; k++) {
            if (!m->nodes[i].outputs[k].n) continue;
            int r = define(s, m->nodes[i].outputs[k], (int)i, &v);
            if (r < 0) return r;
        }
    if (!*input) return upz_fail(s->err, UPREZ_ERR_MODEL, "%s has no input", s->path);
    return 0;
}

/* The picture's channels when the shape does not say: what the first convolution takes. */
static int channels_from_conv(const UpzOnnxState *s, UpzSlice input)
{
    for (size_t i = 0; i < s->model.n_nodes; i++) {
        const UpzOnnxNode *n = &s->model.nodes[i];
        if (!upz_slice_is(n->op, "Conv") || n->n_inputs < 2 || n->inputs[0].n != input.n ||
            memcmp(n->inputs[0].p, input.p, input.n))
            continue;
        const UpzOnnxVal *w = find(s, n->inputs[1]);
        if (w && w->kind == UPZ_VAL_TENSOR && s->tensors[w->tensor].t.n_dims == 4)
            return (int)s->tensors[w->tensor].t.dims[1];
    }
    return 0;
}

static int start_input(UpzOnnxState *s, UpzOnnxVal *v, const UpzOnnxValue *info)
{
    if (info->n_dims >= 0 && info->n_dims != 4 && info->n_dims != 3)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: the input '%.*s' has %d dimensions; batch, "
                        "channels, height and width are expected", s->path, UPZ_SLICE(info->name),
                        info->n_dims);
    if (info->type && info->type != UPZ_ONNX_FLOAT && info->type != UPZ_ONNX_HALF &&
        info->type != UPZ_ONNX_DOUBLE && info->type != UPZ_ONNX_BFLOAT &&
        !upz_onnx_type_range(info->type))
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: the input '%.*s' is neither floating point nor bytes",
                        s->path, UPZ_SLICE(info->name));
    const int layout = upz_onnx_layout(s, info);
    const int64_t dims[4] = {upz_onnx_dim(info, layout, 0), upz_onnx_dim(info, layout, 1),
                             upz_onnx_dim(info, layout, 2), upz_onnx_dim(info, layout, 3)};
    s->batch = dims[0] > 1 && dims[0] < 65536 ? (int)dims[0] : 1;
    s->bytes_in = upz_onnx_type_range(info->type) > 0;
    if (s->bytes_in) s->range = upz_onnx_type_range(info->type);
    int channels = dims[1] > 0 && dims[1] <= UPZ_MAX_CHANNELS ? (int)dims[1]
                                                             : channels_from_conv(s, v->name);
    if (!channels && layout) channels = 3;
    if (channels != 3 && channels != 1)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: the input '%.*s' has %d channels; 3 (RGB) or "
                        "1 (luma) are supported", s->path, UPZ_SLICE(info->name), channels);
    for (int p = 0; p < UPZ_PROBES; p++) {
        bool fixed_h = dims[2] > 0, fixed_w = dims[3] > 0;
        s->in_h[p] = fixed_h ? (double)dims[2] : PROBE_BASE + s->step * probe_h[p];
        s->in_w[p] = fixed_w ? (double)dims[3] : 2 * PROBE_BASE + s->step * probe_w[p];
    }
    v->kind = UPZ_VAL_MAP;
    memcpy(v->h, s->in_h, sizeof(v->h));
    memcpy(v->w, s->in_w, sizeof(v->w));
    v->node = s->input_node = upz_graph_input(s->g, channels, s->err);
    if (v->node >= 0 && s->range > 1) v->node = s->range_node = upz_onnx_affine(s, v->node, s->range, 0);
    return v->node < 0 ? v->node : upz_onnx_as_layout(s, v, layout);
}

/* need[i]: the output depends on node i. */
static int mark_needed(UpzOnnxState *s, UpzSlice output, uint8_t *need)
{
    size_t n_stack = 0;
    int32_t *stack = upz_calloc(s->model.n_nodes, sizeof(*stack));
    if (!stack) return upz_fail_memory(s->err, s->model.n_nodes * 4, "the node list");
    const UpzOnnxVal *v = find(s, output);
    if (v && v->producer >= 0) {
        need[v->producer] = 1;
        stack[n_stack++] = v->producer;
    }
    while (n_stack) {
        const UpzOnnxNode *n = &s->model.nodes[stack[--n_stack]];
        for (size_t i = 0; i < n->n_inputs; i++) {
            v = find(s, n->inputs[i]);
            if (!v || v->producer < 0 || need[v->producer]) continue;
            need[v->producer] = 1;
            stack[n_stack++] = v->producer;
        }
    }
    upz_free(stack);
    return 0;
}

static int new_num(UpzOnnxState *s, const UpzOnnxNode *n, UpzOnnxVal *out, UpzNum *num, int r)
{
    if (r < 0 || s->n_nums >= MAX_NUMS) {
        upz_num_free(num);
        return r < 0 ? upz_onnx_wrap(s, n, r)
                     : upz_onnx_refuse(s, n, "more than %d calculations about sizes", MAX_NUMS);
    }
    s->n_nums++;
    out->kind = UPZ_VAL_NUM;
    out->num = *num;
    return 0;
}

static int do_constant(UpzOnnxState *s, const UpzOnnxNode *n, UpzOnnxVal *out)
{
    const UpzOnnxAttr *a = upz_onnx_attr(n, "value");
    if (a && a->tensor.n) {
        UpzOnnxTensor t;
        int r = upz_onnx_parse_tensor(&t, a->tensor, s->path, s->err);
        int k = r < 0 ? r : add_const(s, &t);
        if (k < 0) return k;
        out->kind = UPZ_VAL_TENSOR, out->tensor = k;
        return 0;
    }
    double values[UPZ_NUM_MAX];
    int64_t ints[UPZ_NUM_MAX];
    int count = -1, dims;
    bool is_int = false, scalar = false;
    if ((a = upz_onnx_attr(n, "value_float"))) {
        values[0] = (double)a->f, count = 1, scalar = true;
    } else if ((a = upz_onnx_attr(n, "value_int"))) {
        values[0] = (double)a->i, count = 1, scalar = is_int = true;
    } else if ((a = upz_onnx_attr(n, "value_floats"))) {
        count = upz_onnx_floats(a, values, UPZ_NUM_MAX);
    } else if ((a = upz_onnx_attr(n, "value_ints"))) {
        count = upz_onnx_ints(a, ints, UPZ_NUM_MAX), is_int = true;
        for (int i = 0; i < count && i < UPZ_NUM_MAX; i++) values[i] = (double)ints[i];
    }
    if (count < 0) return upz_onnx_refuse(s, n, "a constant of this kind is not supported");
    UpzNum num;
    dims = count;
    int r = upz_num_init(&num, scalar ? 0 : 1, &dims, is_int, s->err);
    for (int i = 0; i < num.count && !r; i++)
        for (int p = 0; p < UPZ_PROBES; p++) num.v[i][p] = values[i];
    return new_num(s, n, out, &num, r);
}

static int do_shape(UpzOnnxState *s, const UpzOnnxNode *n, UpzOnnxVal *out)
{
    const UpzOnnxVal *v = upz_onnx_in(s, n, 0);
    int64_t start = upz_onnx_int(n, "start", 0), end = upz_onnx_int(n, "end", 4);
    const bool view = v && v->kind == UPZ_VAL_VIEW;
    if (!view && (!v || v->kind != UPZ_VAL_MAP)) return upz_onnx_map(s, n, 0) ? 0 : UPREZ_ERR_MODEL;
    const int rank = view ? v->view->n_dims : 4;
    if (end == 4 && !upz_onnx_attr(n, "end")) end = rank;
    if (start < 0) start += rank;
    if (end < 0) end += rank;
    start = UPZ_CLAMP(start, 0, rank), end = UPZ_CLAMP(end, start, rank);
    int count = (int)(end - start);
    UpzNum num;
    int r = upz_num_init(&num, 1, &count, true, s->err);
    for (int i = 0; i < num.count && !r; i++)
        for (int p = 0; p < UPZ_PROBES; p++) {
            int64_t d = start + i;
            num.v[i][p] = view     ? upz_onnx_view_dim(v->view, (int)d, p)
                          : d == 0 ? s->batch
                          : d == 1 ? s->g->nodes[v->node].channels
                          : d == 2 ? v->h[p] + v->pad[1] + v->pad[3]
                                   : v->w[p] + v->pad[0] + v->pad[2];
        }
    return new_num(s, n, out, &num, r);
}

/* Operators that only move a stored tensor's values about without changing their order. */
static bool passes_tensor(const UpzOnnxState *s, const UpzOnnxNode *n, const UpzOnnxVal *v,
                          bool *reshapes)
{
    bool plain = upz_slice_is(n->op, "Identity");
    if (upz_slice_is(n->op, "Cast")) {
        int64_t to = upz_onnx_int(n, "to", 0);
        int from = s->tensors[v->tensor].t.type;
        plain = (to == UPZ_ONNX_FLOAT || to == UPZ_ONNX_HALF || to == UPZ_ONNX_DOUBLE) &&
                (from == UPZ_ONNX_FLOAT || from == UPZ_ONNX_HALF || from == UPZ_ONNX_DOUBLE ||
                 from == UPZ_ONNX_BFLOAT);
    }
    *reshapes = upz_slice_is(n->op, "Reshape") || upz_slice_is(n->op, "Unsqueeze") ||
                upz_slice_is(n->op, "Squeeze");
    return plain || *reshapes;
}

static int do_node(UpzOnnxState *s, const UpzOnnxNode *n)
{
    if (n->domain.n && !upz_slice_is(n->domain, "ai.onnx"))
        return upz_onnx_refuse(s, n, "operators of '%.*s' are not supported", UPZ_SLICE(n->domain));
    UpzOnnxNode as_input = {.inputs = n->outputs, .n_inputs = n->n_outputs};
    UpzOnnxVal *out = upz_onnx_in(s, &as_input, 0);
    const UpzNum *in[UPZ_NUM_MAX];
    bool numbers = n->n_inputs > 0 && n->n_inputs <= UPZ_NUM_MAX;
    for (size_t i = 0; i < n->n_inputs; i++) {
        UpzOnnxVal *v = find(s, n->inputs[i]);
        if (n->inputs[i].n && (!v || v->kind == UPZ_VAL_NONE))
            return upz_onnx_damaged(s, n, "it reads '%.*s', which nothing before it writes",
                                    UPZ_SLICE(n->inputs[i]));
        if (numbers) in[i] = v ? num_of(s, v) : NULL;
        if (v && (!numbers || !in[i])) numbers = false;
    }
    if (!out) return upz_onnx_damaged(s, n, "its first output has no name");
    if (upz_slice_is(n->op, "Constant")) return do_constant(s, n, out);
    if (upz_slice_is(n->op, "Shape")) return do_shape(s, n, out);
    UpzOnnxVal *first = n->n_inputs ? find(s, n->inputs[0]) : NULL;
    bool reshapes;
    if (first && first->kind == UPZ_VAL_TENSOR && passes_tensor(s, n, first, &reshapes) &&
        !(numbers && reshapes)) {
        out->kind = UPZ_VAL_TENSOR, out->tensor = first->tensor;
        out->reshaped = first->reshaped || reshapes;
        return 0;
    }
    if (numbers && upz_onnx_folds(n->op)) {
        UpzNum num;
        int r = upz_onnx_fold(n, in, (int)n->n_inputs, &num, s->err);
        return new_num(s, n, out, &num, r);
    }
    return upz_onnx_layer(s, n);
}

static int common_multiple(int a, int b)
{
    int x = a, y = b;
    while (y) {
        int t = x % y;
        x = y, y = t;
    }
    return a / x * b;
}

/* Is what the file adds to its fixed size what brings it to a multiple of k? */
static bool fits_padding(const UpzOnnxState *s, int k)
{
    int w = (int)s->in_w[0], h = (int)s->in_h[0];
    return (w + k - 1) / k * k == w + s->pad_right && (h + k - 1) / k * k == h + s->pad_bottom;
}

static int walk(UpzOnnxState *s, UprezModelFacts *facts, char **detail)
{
    const UpzOnnx *m = &s->model;
    UpzOnnxVal *input;
    const UpzOnnxValue *info = NULL;
    if (m->n_outputs != 1)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s has %zu outputs; networks with one are "
                        "supported", s->path, m->n_outputs);
    int r = name_values(s, &input, &info);
    if (!r) r = start_input(s, input, info);
    if (r < 0) return r;
    uint8_t *need = upz_calloc(m->n_nodes, 1);
    if (!need) return upz_fail_memory(s->err, m->n_nodes, "the node list");
    r = mark_needed(s, m->outputs[0].name, need);
    for (size_t i = 0; i < m->n_nodes && !r; i++)
        if (need[i]) r = do_node(s, &m->nodes[i]);
    upz_free(need);
    if (r < 0) return r;
    UpzOnnxVal *v = find(s, m->outputs[0].name);
    if (v) upz_onnx_is_picture(s, v);
    if (v && (v->kind == UPZ_VAL_VIEW || v->kind == UPZ_VAL_ERF) && v->producer >= 0)
        return upz_onnx_refuse(s, &m->nodes[v->producer], "this reshaping is not a pixel shuffle");
    if (!v || v->kind != UPZ_VAL_MAP || v->pad[0] || v->pad[1] || v->pad[2] || v->pad[3])
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: the output '%.*s' is not a picture that the "
                        "input becomes", s->path, UPZ_SLICE(m->outputs[0].name));
    if (s->pad_align > 1 && s->edges_unpadded)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: some layers see the padded picture and some "
                        "the unpadded one", s->path);
    s->g->pad_mode = s->pad_mode;
    bool again;
    int output = upz_onnx_output(s, v, &m->outputs[0], &again);
    if (again) return READ_AGAIN;
    if (output < 0) return output;
    r = upz_graph_finish(s->g, output, facts, s->err);
    if (r < 0) {
        UprezError why = s->err ? *s->err : (UprezError){0};
        return r == UPREZ_ERR_MEMORY ? r : upz_fail(s->err, r, "%s: %s", s->path, why.text);
    }
    facts->align = common_multiple(facts->align, s->step);
    facts->align = common_multiple(facts->align, s->pad_align);
    const int layout = upz_onnx_layout(s, info);
    const int64_t fixed_h = upz_onnx_dim(info, layout, 2), fixed_w = upz_onnx_dim(info, layout, 3);
    bool fixed = fixed_h > 0 && fixed_w > 0;
    if (fixed && s->pad_align > 1 && !fits_padding(s, facts->align))
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: its padding by %d and %d pixels does not go "
                        "with layers that take multiples of %d", s->path, s->pad_right,
                        s->pad_bottom, facts->align);
    facts->architecture = "onnx";
    facts->container = "onnx";
    bool studio = upz_slice_is(m->input_kind, "y_studio");
    facts->input = facts->channels != 1 ? UPREZ_INPUT_RGB
                   : studio             ? UPREZ_INPUT_Y_STUDIO
                                        : UPREZ_INPUT_Y_FULL;
    int convs = 0;
    for (size_t i = 0; i < s->g->n_nodes; i++)
        convs += s->g->nodes[i].op == UPZ_OP_CONV || s->g->nodes[i].op == UPZ_OP_DECONV;
    char size[96] = "", batch[32] = "";
    if (s->batch > 1) snprintf(batch, sizeof(batch), ", %d at once", s->batch);
    if (fixed)
        snprintf(size, sizeof(size), " (stored for %lldx%lld%s, runs at any size)",
                 (long long)fixed_w, (long long)fixed_h, batch);
    char range[64] = "";
    if (s->range > 1) snprintf(range, sizeof(range), ", 0..%g", s->range);
    *detail = upz_asprintf("operator set %lld, input '%.*s'%s%s%s, %d convolutions in %zu layers",
                           (long long)m->opset, UPZ_SLICE(info->name), size, range,
                           upz_onnx_layout_name(layout), convs, s->g->n_nodes);
    return *detail ? 0 : upz_fail_memory(s->err, 256, "a description");
}

/* Everything of one walk. */
static void forget(UpzOnnxState *s)
{
    for (size_t i = 0; i < s->n_vals; i++) {
        upz_num_free(&s->vals[i].num);
        upz_free(s->vals[i].view);
    }
    upz_free(s->vals);
    upz_free(s->table);
    upz_free(s->tensors);
}

static int read_graph(const UpzModelFile *f, UpzGraph *g, UprezModelFacts *facts, char **detail,
                      UprezError *err)
{
    const UpzOnnxState fresh = {.path = f->path, .g = g, .err = err, .pad_align = 1, .batch = 1, .range = 1,
                                .range_node = -1,
                                .made_max = f->size / 2 + 65536};
    UpzOnnxState s = fresh;
    double range = 1;
    UprezError first;
    int r = upz_onnx_parse(&s.model, f->path, f->data, f->size, err);
    for (int i = 0; !r && i < UPZ_COUNT(steps); i++) {
        if (i || range > 1) { /* again; what stays is the file */
            UpzOnnxState again = fresh;
            again.model = s.model;
            again.external = s.external, again.external_name = s.external_name;
            again.range = range;
            forget(&s);
            upz_graph_free(g);
            s = again;
        }
        s.step = steps[i];
        r = walk(&s, facts, detail);
        if (r == READ_AGAIN) { /* from the start, with the range that it takes */
            range = 255;
            i = -1, r = 0;
            continue;
        }
        bool fixed = s.in_h[0] == s.in_h[1] && s.in_w[0] == s.in_w[1];
        if (r != UPREZ_ERR_MODEL || !s.only_multiples || fixed || !err) break;
        if (!i) first = *err;
        if (i + 1 < UPZ_COUNT(steps)) r = 0;
        else *err = first;
    }
    /* only what is refused, and last: an error of another kind counts first */
    if (r == UPREZ_ERR_MODEL && s.foreign && err) r = UPZ_READ_FOREIGN;
    if (s.no_memory) r = upz_fail_memory(err, sizeof(double[UPZ_NUM_MAX][UPZ_PROBES]), "a number");
    forget(&s);
    upz_map_close(&s.external);
    upz_onnx_free(&s.model);
    return r;
}

/* A ModelProto begins with its IR version, then names its producer, its graph or its opset. */
static bool probe(const UpzModelFile *f)
{
    if (!strcasecmp(upz_extension(f->path), "onnx")) return true;
    if (f->size < 4 || f->data[0] != 0x08 || f->data[1] < 1 || f->data[1] > 32) return false;
    uint8_t key = f->data[2];
    return key == 0x12 || key == 0x1a || key == 0x22 || key == 0x3a || key == 0x42;
}

const UpzReader upz_reader_onnx = {.name = "onnx", .probe = probe, .read_graph = read_graph};
