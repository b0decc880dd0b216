/* A reader for protobuf's wire format, and the parts of ONNX that networks for pictures use. */
#include "model/onnx.h"

#include <string.h>

#include "base/alloc.h"
#include "model/graph.h"

#define MAX_NODES 32768
#define MAX_TENSORS 16384
#define MAX_LIST 256 /* inputs, outputs or attributes of one node; inputs or outputs of the graph */

/* A cursor over one message. After the last field, or on damage, next() is false. */
typedef struct Fields {
    const uint8_t *p, *end;
    int number, wire;
    uint64_t value; /* varint or fixed */
    UpzSlice bytes;
    bool bad;
} Fields;

static Fields fields_of(UpzSlice s) { return (Fields){.p = s.p, .end = s.p + s.n}; }

static bool varint(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (*p == end) return false;
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static bool next(Fields *f)
{
    uint64_t key, n;
    if (f->bad || f->p == f->end) return false;
    f->bad = true;
    if (!varint(&f->p, f->end, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff) return false;
    f->number = (int)(key >> 3), f->wire = (int)(key & 7);
    f->bytes = (UpzSlice){f->p, 0};
    f->value = 0;
    size_t left = (size_t)(f->end - f->p);
    switch (f->wire) {
    case 0:
        if (!varint(&f->p, f->end, &f->value)) return false;
        break;
    case 1: case 5: {
        int size = f->wire == 1 ? 8 : 4;
        if (left < (size_t)size) return false;
        f->value = little(f->p, size);
        f->p += size;
        break;
    }
    case 2:
        if (!varint(&f->p, f->end, &n) || n > (uint64_t)(f->end - f->p)) return false;
        f->bytes = (UpzSlice){f->p, (size_t)n};
        f->p += n;
        break;
    default: return false; /* groups were never used by ONNX */
    }
    f->bad = false;
    return true;
}

bool upz_slice_is(UpzSlice s, const char *text)
{
    return s.n == strlen(text) && !memcmp(s.p, text, s.n);
}

static int damaged(const char *path, const char *what, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_MODEL,
                    "%s: the ONNX file is damaged or cut short (%s cannot be read)", path, what);
}

/* A list could not grow to n + 1 items. */
static int no_room(const char *path, const char *what, size_t n, size_t max, UprezError *err)
{
    if (n < max) return upz_fail_memory(err, (n + 1) * sizeof(UpzOnnxNode), what);
    return upz_fail(err, UPREZ_ERR_MODEL, "%s: more than %zu %s", path, max, what);
}

static int parse_external(UpzOnnxTensor *t, UpzSlice entry)
{
    UpzSlice key = {0}, value = {0};
    Fields f = fields_of(entry);
    while (next(&f)) {
        if (f.number == 1 && f.wire == 2) key = f.bytes;
        if (f.number == 2 && f.wire == 2) value = f.bytes;
    }
    if (f.bad) return -1;
    if (upz_slice_is(key, "location")) t->location = value;
    bool offset = upz_slice_is(key, "offset");
    if (!offset && !upz_slice_is(key, "length")) return 0;
    int64_t n = 0;
    if (!value.n || value.n > 18) return -1;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9') return -1;
        n = n * 10 + (value.p[i] - '0');
    }
    if (offset) t->offset = n;
    else t->length = n;
    return 0;
}

static bool add_dim(UpzOnnxTensor *t, uint64_t value)
{
    if (t->n_dims == UPZ_ONNX_DIMS || value > INT32_MAX) return false;
    t->dims[t->n_dims++] = (int64_t)value;
    return !__builtin_mul_overflow(t->count, (int64_t)value, &t->count) && t->count <= INT32_MAX;
}

int upz_onnx_parse_tensor(UpzOnnxTensor *t, UpzSlice body, const char *path, UprezError *err)
{
    *t = (UpzOnnxTensor){.body = body, .count = 1, .length = -1};
    Fields f = fields_of(body);
    bool ok = true;
    while (ok && next(&f)) {
        if (f.number == 1 && f.wire == 0) {
            ok = add_dim(t, f.value);
        } else if (f.number == 1 && f.wire == 2) {
            const uint8_t *p = f.bytes.p, *end = p + f.bytes.n;
            uint64_t v;
            while (ok && p < end) ok = varint(&p, end, &v) && add_dim(t, v);
        } else if (f.number == 2 && f.wire == 0) {
            t->type = f.value > 255 ? 255 : (int)f.value;
        } else if (f.number == 8 && f.wire == 2) {
            t->name = f.bytes;
        } else if (f.number == 9 && f.wire == 2) {
            t->raw = f.bytes;
        } else if (f.number == 13 && f.wire == 2) {
            ok = parse_external(t, f.bytes) == 0;
        } else if (f.number == 14 && f.wire == 0) {
            t->external = f.value == 1;
        }
    }
    return ok && !f.bad ? 0 : damaged(path, "a tensor", err);
}

static bool parse_attr(UpzOnnxAttr *a, UpzSlice body)
{
    *a = (UpzOnnxAttr){.body = body};
    Fields f = fields_of(body);
    while (next(&f)) {
        if (f.number == 1 && f.wire == 2) a->name = f.bytes;
        else if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&a->f, &bits, 4);
        } else if (f.number == 3 && f.wire == 0) a->i = (int64_t)f.value;
        else if (f.number == 4 && f.wire == 2) a->s = f.bytes;
        else if (f.number == 5 && f.wire == 2) a->tensor = f.bytes;
        else if (f.number == 6 || f.number == 11) a->has_graph = true;
    }
    return !f.bad;
}

static int push(UpzSlice **list, size_t *n, size_t *cap, UpzSlice s, const char *path,
                UprezError *err)
{
    if (!upz_grow(list, cap, *n + 1, sizeof(s), MAX_LIST))
        return no_room(path, "inputs or outputs of a node", *n, MAX_LIST, err);
    (*list)[(*n)++] = s;
    return 0;
}

static int parse_node(UpzOnnx *m, UpzSlice body, const char *path, UprezError *err)
{
    if (!upz_grow(&m->nodes, &m->cap_nodes, m->n_nodes + 1, sizeof(*m->nodes), MAX_NODES))
        return no_room(path, "nodes", m->n_nodes, MAX_NODES, err);
    UpzOnnxNode *n = &m->nodes[m->n_nodes++];
    *n = (UpzOnnxNode){0};
    Fields f = fields_of(body);
    bool ok = true;
    int r = 0;
    while (ok && !r && next(&f)) {
        if (f.wire != 2) continue;
        switch (f.number) {
        case 1: r = push(&n->inputs, &n->n_inputs, &n->cap_inputs, f.bytes, path, err); break;
        case 2: r = push(&n->outputs, &n->n_outputs, &n->cap_outputs, f.bytes, path, err); break;
        case 3: n->name = f.bytes; break;
        case 4: n->op = f.bytes; break;
        case 5:
            if (!upz_grow(&n->attrs, &n->cap_attrs, n->n_attrs + 1, sizeof(*n->attrs), MAX_LIST))
                return no_room(path, "attributes of a node", n->n_attrs, MAX_LIST, err);
            ok = parse_attr(&n->attrs[n->n_attrs++], f.bytes);
            break;
        case 7: n->domain = f.bytes; break;
        default: break;
        }
    }
    return r < 0 ? r : ok && !f.bad ? 0 : damaged(path, "a node", err);
}

static bool parse_shape(UpzOnnxValue *v, UpzSlice body)
{
    v->n_dims = 0;
    Fields f = fields_of(body);
    while (next(&f)) {
        if (f.number != 1 || f.wire != 2) continue;
        if (v->n_dims == UPZ_ONNX_DIMS) return false;
        int64_t value = 0;
        Fields d = fields_of(f.bytes);
        while (next(&d))
            if (d.number == 1 && d.wire == 0 && d.value <= INT32_MAX) value = (int64_t)d.value;
        if (d.bad) return false;
        v->dims[v->n_dims++] = value;
    }
    return !f.bad;
}

static bool parse_type(UpzOnnxValue *v, UpzSlice body)
{
    Fields f = fields_of(body);
    while (next(&f)) {
        if (f.number != 1 || f.wire != 2) continue;
        Fields t = fields_of(f.bytes);
        while (next(&t)) {
            if (t.number == 1 && t.wire == 0) v->type = t.value > 255 ? 255 : (int)t.value;
            if (t.number == 2 && t.wire == 2 && !parse_shape(v, t.bytes)) return false;
        }
        if (t.bad) return false;
    }
    return !f.bad;
}

static int parse_value(UpzOnnxValue **list, size_t *n, size_t *cap, UpzSlice body,
                       const char *path, UprezError *err)
{
    if (!upz_grow(list, cap, *n + 1, sizeof(**list), MAX_TENSORS))
        return no_room(path, "inputs or outputs", *n, MAX_TENSORS, err);
    UpzOnnxValue *v = &(*list)[(*n)++];
    *v = (UpzOnnxValue){.n_dims = -1};
    Fields f = fields_of(body);
    bool ok = true;
    while (ok && next(&f)) {
        if (f.number == 1 && f.wire == 2) v->name = f.bytes;
        if (f.number == 2 && f.wire == 2) ok = parse_type(v, f.bytes);
    }
    return ok && !f.bad ? 0 : damaged(path, "an input or output", err);
}

static int parse_graph(UpzOnnx *m, UpzSlice body, const char *path, UprezError *err)
{
    Fields f = fields_of(body);
    int r = 0;
    while (!r && next(&f)) {
        if (f.wire != 2) continue;
        switch (f.number) {
        case 1: r = parse_node(m, f.bytes, path, err); break;
        case 5:
            if (!upz_grow(&m->tensors, &m->cap_tensors, m->n_tensors + 1, sizeof(*m->tensors),
                          MAX_TENSORS))
                return no_room(path, "tensors", m->n_tensors, MAX_TENSORS, err);
            r = upz_onnx_parse_tensor(&m->tensors[m->n_tensors++], f.bytes, path, err);
            break;
        case 11:
            r = parse_value(&m->inputs, &m->n_inputs, &m->cap_inputs, f.bytes, path, err);
            break;
        case 12:
            r = parse_value(&m->outputs, &m->n_outputs, &m->cap_outputs, f.bytes, path, err);
            break;
        case 15:
            r = upz_fail(err, UPREZ_ERR_MODEL, "%s: sparse tensors are not supported", path);
            break;
        default: break;
        }
    }
    return r < 0 ? r : f.bad ? damaged(path, "the graph", err) : 0;
}

static bool parse_opset(UpzOnnx *m, UpzSlice body)
{
    Fields f = fields_of(body);
    UpzSlice domain = {body.p, 0};
    int64_t version = 0;
    while (next(&f)) {
        if (f.number == 1 && f.wire == 2) domain = f.bytes;
        if (f.number == 2 && f.wire == 0) version = (int64_t)f.value;
    }
    if (!domain.n || upz_slice_is(domain, "ai.onnx")) m->opset = version;
    return !f.bad;
}

/* metadata_props: of what writers left there only our own note counts. A damaged entry says nothing. */
static void parse_metadata(UpzOnnx *m, UpzSlice body)
{
    UpzSlice key = {0}, value = {0};
    Fields f = fields_of(body);
    while (next(&f)) {
        if (f.number == 1 && f.wire == 2) key = f.bytes;
        if (f.number == 2 && f.wire == 2) value = f.bytes;
    }
    if (upz_slice_is(key, UPZ_ONNX_INPUT_KEY)) m->input_kind = value;
}

int upz_onnx_parse(UpzOnnx *m, const char *path, const uint8_t *data, size_t size, UprezError *err)
{
    *m = (UpzOnnx){0};
    Fields f = fields_of((UpzSlice){data, size});
    bool graph = false;
    int r = 0;
    while (!r && next(&f)) {
        if (f.number == 1 && f.wire == 0) m->ir_version = (int64_t)f.value;
        if (f.wire != 2) continue;
        if (f.number == 8 && !parse_opset(m, f.bytes)) return damaged(path, "the opset", err);
        if (f.number == 14) parse_metadata(m, f.bytes);
        if (f.number != 7) continue;
        if (graph) return upz_fail(err, UPREZ_ERR_MODEL, "%s holds two graphs", path);
        graph = true;
        r = parse_graph(m, f.bytes, path, err);
    }
    if (r < 0) return r;
    if (f.bad || !graph) return damaged(path, graph ? "the end" : "a graph", err);
    if (m->opset < 7 || m->opset > 1000)
        return upz_fail(err, UPREZ_ERR_MODEL, "%s uses ONNX operator set %lld; 7 and newer are "
                        "supported", path, (long long)m->opset);
    return 0;
}

void upz_onnx_free(UpzOnnx *m)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        upz_free(m->nodes[i].inputs);
        upz_free(m->nodes[i].outputs);
        upz_free(m->nodes[i].attrs);
    }
    upz_free(m->nodes);
    upz_free(m->tensors);
    upz_free(m->inputs);
    upz_free(m->outputs);
    *m = (UpzOnnx){0};
}

const UpzOnnxAttr *upz_onnx_attr(const UpzOnnxNode *n, const char *name)
{
    for (size_t i = 0; i < n->n_attrs; i++)
        if (upz_slice_is(n->attrs[i].name, name)) return &n->attrs[i];
    return NULL;
}

int64_t upz_onnx_int(const UpzOnnxNode *n, const char *name, int64_t otherwise)
{
    const UpzOnnxAttr *a = upz_onnx_attr(n, name);
    return a ? a->i : otherwise;
}

float upz_onnx_float(const UpzOnnxNode *n, const char *name, float otherwise)
{
    const UpzOnnxAttr *a = upz_onnx_attr(n, name);
    return a ? a->f : otherwise;
}

int upz_onnx_ints(const UpzOnnxAttr *a, int64_t *out, int max)
{
    int n = 0;
    Fields f = fields_of(a->body);
    while (next(&f)) {
        if (f.number != 8) continue;
        if (f.wire == 0) {
            if (n < max) out[n] = (int64_t)f.value;
            n += n <= max;
        } else if (f.wire == 2) {
            const uint8_t *p = f.bytes.p, *end = p + f.bytes.n;
            uint64_t v;
            while (p < end && varint(&p, end, &v)) {
                if (n < max) out[n] = (int64_t)v;
                n += n <= max;
            }
        }
    }
    return n;
}

static float float_at(const uint8_t *p)
{
    uint32_t bits = (uint32_t)little(p, 4);
    float v;
    memcpy(&v, &bits, 4);
    return v;
}

static double double_at(const uint8_t *p)
{
    uint64_t bits = little(p, 8);
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

int upz_onnx_floats(const UpzOnnxAttr *a, double *out, int max)
{
    int n = 0;
    Fields f = fields_of(a->body);
    while (next(&f)) {
        if (f.number != 7) continue;
        size_t count = f.wire == 5 ? 1 : f.wire == 2 ? f.bytes.n / 4 : 0;
        const uint8_t *p = f.wire == 5 ? f.p - 4 : f.bytes.p;
        for (size_t i = 0; i < count; i++) {
            if (n < max) out[n] = float_at(p + 4 * i);
            n += n <= max;
        }
    }
    return n;
}

typedef struct Sink {
    float *f;
    double *d;
    int64_t at, count;
} Sink;

static void put(Sink *s, double v)
{
    if (s->at < s->count) {
        if (s->f) s->f[s->at] = (float)v;
        if (s->d) s->d[s->at] = v;
    }
    s->at++;
}

static int width_of(int type)
{
    switch (type) {
    case UPZ_ONNX_FLOAT: case UPZ_ONNX_INT32: return 4;
    case UPZ_ONNX_INT64: case UPZ_ONNX_DOUBLE: return 8;
    case UPZ_ONNX_HALF: case UPZ_ONNX_BFLOAT: return 2;
    case UPZ_ONNX_UINT8: case UPZ_ONNX_INT8: case UPZ_ONNX_BOOL: return 1;
    default: return 0;
    }
}

static bool put_raw(Sink *s, int type, UpzSlice raw)
{
    int width = width_of(type);
    if (!width || raw.n / (size_t)width < (size_t)s->count) return false;
    for (int64_t i = 0; i < s->count; i++) {
        const uint8_t *p = raw.p + (size_t)i * (size_t)width;
        switch (type) {
        case UPZ_ONNX_FLOAT: put(s, float_at(p)); break;
        case UPZ_ONNX_DOUBLE: put(s, double_at(p)); break;
        case UPZ_ONNX_HALF: put(s, upz_half_to_float((uint16_t)little(p, 2))); break;
        case UPZ_ONNX_BFLOAT: put(s, upz_bfloat_to_float((uint16_t)little(p, 2))); break;
        case UPZ_ONNX_INT64: put(s, (double)(int64_t)little(p, 8)); break;
        case UPZ_ONNX_INT32: put(s, (int32_t)little(p, 4)); break;
        case UPZ_ONNX_INT8: put(s, (int8_t)*p); break;
        default: put(s, *p);
        }
    }
    return true;
}

static void put_int(Sink *s, int type, uint64_t v)
{
    switch (type) {
    case UPZ_ONNX_HALF: put(s, upz_half_to_float((uint16_t)v)); break;
    case UPZ_ONNX_BFLOAT: put(s, upz_bfloat_to_float((uint16_t)v)); break;
    default: put(s, (double)(int64_t)v);
    }
}

bool upz_onnx_numbers(const UpzOnnxTensor *t, const UpzSlice *bytes, float *f, double *d)
{
    Sink s = {.f = f, .d = d, .count = t->count};
    if (bytes) return put_raw(&s, t->type, *bytes);
    if (t->raw.n) return put_raw(&s, t->type, t->raw);
    if (!width_of(t->type)) return false;
    Fields e = fields_of(t->body);
    while (next(&e) && s.at < s.count) {
        if (e.number == 4 || e.number == 10) { /* float_data, double_data */
            size_t w = e.number == 4 ? 4 : 8;
            size_t n = e.wire == 2 ? e.bytes.n / w : e.wire == (w == 4 ? 5 : 1) ? 1 : 0;
            const uint8_t *p = e.wire == 2 ? e.bytes.p : e.p - w;
            for (size_t i = 0; i < n && s.at < s.count; i++, p += w)
                put(&s, w == 4 ? float_at(p) : double_at(p));
        } else if (e.number == 5 || e.number == 7) { /* int32_data, int64_data */
            const uint8_t *p = e.bytes.p, *end = p + e.bytes.n;
            uint64_t v;
            if (e.wire == 0) put_int(&s, t->type, e.value);
            while (e.wire == 2 && p < end && s.at < s.count && varint(&p, end, &v))
                put_int(&s, t->type, v);
        }
    }
    return s.at >= s.count;
}
