#include "model/pickle.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define MAX_VALUES ((size_t)1 << 21)
#define MAX_STACK ((size_t)1 << 20)
#define MAX_MARKS 1000
#define NO_VALUE UINT32_MAX
#define INSTANCE 1 /* what of an OPAQUE that a call made */
#define FEW 64     /* entries of a module's state, at most */

typedef enum Call {
    CALL_NOT,          /* a class that is only named */
    CALL_STORAGE,      /* only named, inside a persistent id */
    CALL_ORDERED_DICT, /* () or ([(key, value), …],) */
    CALL_TENSOR,       /* (storage, offset, size, stride, …) */
    CALL_PARAMETER,    /* (tensor, …) is the tensor */
    CALL_TYPED,        /* (function, class, (…), attributes) is function(…) */
    CALL_FIRST,        /* (x,) is x */
    CALL_OPAQUE        /* harmless, dropped */
} Call;

/* All names that mean something here. To add one: a row, and what a call of it makes. Objects of any
 * other class (options, an optimiser's state, NumPy's numbers) become OPAQUE: nothing is looked up. */
static const struct {
    const char *module, *name;
    Call call;
    UpzElement element;
} allowed[] = {
    {"collections", "OrderedDict", CALL_ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", CALL_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor", CALL_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", CALL_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", CALL_PARAMETER, 0},
    {"torch._tensor", "_rebuild_from_type_v2", CALL_TYPED, 0},
    {"torch", "Size", CALL_FIRST, 0},
    {"torch", "device", CALL_OPAQUE, 0},
    {"torch", "FloatStorage", CALL_STORAGE, UPZ_ELEMENT_F32},
    {"torch", "HalfStorage", CALL_STORAGE, UPZ_ELEMENT_F16},
    {"torch", "BFloat16Storage", CALL_STORAGE, UPZ_ELEMENT_BF16},
    {"torch", "DoubleStorage", CALL_STORAGE, UPZ_ELEMENT_F64},
    {"torch", "LongStorage", CALL_STORAGE, UPZ_ELEMENT_I64},
    {"torch", "IntStorage", CALL_STORAGE, UPZ_ELEMENT_I32},
    {"torch", "ShortStorage", CALL_STORAGE, UPZ_ELEMENT_I16},
    {"torch", "CharStorage", CALL_STORAGE, UPZ_ELEMENT_I8},
    {"torch", "ByteStorage", CALL_STORAGE, UPZ_ELEMENT_U8},
    {"torch", "BoolStorage", CALL_STORAGE, UPZ_ELEMENT_U8},
    {"torch.cuda", "FloatStorage", CALL_STORAGE, UPZ_ELEMENT_F32},
    {"torch.cuda", "HalfStorage", CALL_STORAGE, UPZ_ELEMENT_F16},
    {"torch.cuda", "BFloat16Storage", CALL_STORAGE, UPZ_ELEMENT_BF16},
    {"torch.cuda", "DoubleStorage", CALL_STORAGE, UPZ_ELEMENT_F64},
    {"torch.cuda", "LongStorage", CALL_STORAGE, UPZ_ELEMENT_I64},
    {"torch", "float32", CALL_NOT, 0},
    {"torch", "float16", CALL_NOT, 0},
    {"torch", "bfloat16", CALL_NOT, 0},
    {"torch", "float64", CALL_NOT, 0},
    {"torch", "int64", CALL_NOT, 0},
};

/* Names that only somebody mentions who wants code to run: a file with one is refused whole. name NULL:
 * all of that module. */
static const struct {
    const char *module, *name;
} hostile[] = {
    {"os", NULL},       {"posix", NULL},     {"nt", NULL},        {"subprocess", NULL},
    {"sys", NULL},      {"socket", NULL},    {"importlib", NULL}, {"runpy", NULL},
    {"shutil", NULL},   {"pty", NULL},       {"code", NULL},      {"webbrowser", NULL},
    {"commands", NULL}, {"pickle", NULL},    {"_pickle", NULL},   {"ctypes", NULL},
    {"operator", NULL}, {"platform", NULL},  {"pip", NULL},       {"asyncio", NULL},
    {"builtins", "eval"},          {"builtins", "exec"},    {"builtins", "compile"},
    {"builtins", "open"},          {"builtins", "getattr"}, {"builtins", "__import__"},
    {"builtins", "breakpoint"},    {"builtins", "input"},   {"builtins", "apply"},
    {"__builtin__", "eval"},       {"__builtin__", "exec"}, {"__builtin__", "compile"},
    {"__builtin__", "open"},       {"__builtin__", "getattr"}, {"__builtin__", "execfile"},
    {"torch.storage", "_load_from_bytes"}, {"torch", "load"}, {"torch.serialization", "load"},
    {"__builtin__", "__import__"}, {"__builtin__", "file"}, {"__builtin__", "apply"},
};

typedef struct Machine {
    UpzPickle *p;
    const uint8_t *data;
    size_t size, pos;
    uint32_t *stack, *memo;
    size_t n_stack, cap_stack, n_memo, cap_memo, next_memo;
    size_t marks[MAX_MARKS]; /* stack heights */
    int n_marks;
    const char *file;
    UprezError *err;
} Machine;

static int bad(Machine *m, const char *what)
{
    return upz_fail(m->err, UPREZ_ERR_MODEL, "%s: damaged pickle at byte %zu: %s", m->file, m->pos,
                    what);
}

static int out_of_memory(Machine *m)
{
    return upz_fail_memory(m->err, m->size, "the checkpoint's pickle");
}

static int add(Machine *m, UpzPickleValue v, uint32_t *index)
{
    UpzPickle *p = m->p;
    *index = 0;
    if (p->n >= MAX_VALUES) return bad(m, "more values than a checkpoint has");
    if (!upz_grow(&p->values, &p->cap, p->n + 1, sizeof(*p->values), MAX_VALUES))
        return out_of_memory(m);
    *index = (uint32_t)p->n;
    p->values[p->n++] = v;
    return 0;
}

static int push(Machine *m, uint32_t value)
{
    if (m->n_stack >= MAX_STACK) return bad(m, "stack too deep");
    if (!upz_grow(&m->stack, &m->cap_stack, m->n_stack + 1, sizeof(*m->stack), MAX_STACK))
        return out_of_memory(m);
    m->stack[m->n_stack++] = value;
    return 0;
}

static int push_new(Machine *m, UpzPickleValue v)
{
    uint32_t i;
    int r = add(m, v, &i);
    return r < 0 ? r : push(m, i);
}

static int push_int(Machine *m, uint8_t kind, int64_t i)
{
    return push_new(m, (UpzPickleValue){.kind = kind, .i = i});
}

/* What lies above the last mark is all that instructions may pop. */
static size_t room(const Machine *m)
{
    return m->n_stack - (m->n_marks ? m->marks[m->n_marks - 1] : 0);
}

static int pop(Machine *m, uint32_t *value)
{
    *value = 0;
    if (!room(m)) return bad(m, "stack empty");
    *value = m->stack[--m->n_stack];
    return 0;
}

static int pop_mark(Machine *m, size_t *from)
{
    if (!m->n_marks) return bad(m, "no mark on the stack");
    *from = m->marks[--m->n_marks];
    return 0;
}

static int take(Machine *m, size_t n, const uint8_t **bytes)
{
    *bytes = m->data;
    if (m->size - m->pos < n) return bad(m, "it ends in the middle of a value");
    *bytes = m->data + m->pos;
    m->pos += n;
    return 0;
}

/* Little-endian unsigned number of n <= 8 bytes. */
static int number(Machine *m, int n, uint64_t *value)
{
    const uint8_t *b;
    int r = take(m, (size_t)n, &b);
    *value = 0;
    if (r < 0) return r;
    for (int i = n - 1; i >= 0; i--) *value = *value << 8 | b[i];
    return 0;
}

static int push_text(Machine *m, int n_length)
{
    uint64_t n;
    const uint8_t *b = m->data;
    int r = number(m, n_length, &n);
    if (r < 0) return r;
    r = take(m, n > m->size ? m->size : (size_t)n, &b);
    if (r < 0) return r;
    if (n > UINT32_MAX) return bad(m, "a text of more than 4 GiB");
    return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_TEXT, .n = (uint32_t)n, .text = b});
}

static int push_long(Machine *m, int n_length)
{
    uint64_t n;
    const uint8_t *b = m->data;
    int r = number(m, n_length, &n);
    if (r >= 0) r = take(m, n > m->size ? m->size : (size_t)n, &b);
    if (r < 0) return r;
    if (n > 8)
        return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_LONG, .n = (uint32_t)n, .text = b});
    uint64_t v = n && b[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = (size_t)n; i-- > 0;) v = v << 8 | b[i];
    return push_int(m, UPZ_PICKLE_INT, (int64_t)v);
}

/* The top n values become a tuple or list. */
static int collect(Machine *m, uint8_t kind, size_t n)
{
    if (room(m) < n) return bad(m, "stack empty");
    UpzPickleValue v = {.kind = kind, .n = (uint32_t)n, .cap = (uint32_t)n};
    if (n) {
        v.kids = upz_calloc(n, sizeof(*v.kids));
        if (!v.kids) return out_of_memory(m);
        memcpy(v.kids, m->stack + m->n_stack - n, n * sizeof(*v.kids));
    }
    m->n_stack -= n;
    uint32_t i;
    int r = add(m, v, &i);
    if (r < 0) {
        upz_free(v.kids);
        return r;
    }
    return push(m, i);
}

static int extend(Machine *m, uint32_t container, const uint32_t *kids, size_t n)
{
    UpzPickleValue *v = &m->p->values[container];
    size_t cap = v->cap, need = (size_t)v->n + n;
    if (!upz_grow(&v->kids, &cap, need, sizeof(*v->kids), 2 * MAX_VALUES)) return out_of_memory(m);
    v->cap = (uint32_t)cap;
    if (n) memcpy(v->kids + v->n, kids, n * sizeof(*kids));
    v->n = (uint32_t)need;
    return 0;
}

/* Moves the top n values into the LIST or DICT below them; an object of an unknown class swallows them. */
static int extend_below(Machine *m, uint8_t kind, size_t n)
{
    if (room(m) < n + 1) return bad(m, "stack empty");
    if (kind == UPZ_PICKLE_DICT && n % 2) return bad(m, "a key without a value");
    uint32_t container = m->stack[m->n_stack - n - 1];
    UpzPickleValue *object = &m->p->values[container];
    if (object->kind == UPZ_PICKLE_OPAQUE && object->what == INSTANCE && kind == UPZ_PICKLE_DICT)
        *object = (UpzPickleValue){.kind = UPZ_PICKLE_DICT};
    if (object->kind == UPZ_PICKLE_OPAQUE) {
        m->n_stack -= n;
        return 0;
    }
    if (m->p->values[container].kind != kind) return bad(m, "items for something not a container");
    m->n_stack -= n;
    return extend(m, container, m->stack + m->n_stack, n);
}

static int remember(Machine *m, uint64_t index)
{
    /* torch numbers its memo without gaps, so an index never exceeds the bytes read so far */
    if (index > m->pos) return bad(m, "implausible memo index");
    if (!room(m)) return bad(m, "stack empty");
    size_t need = (size_t)index + 1;
    if (!upz_grow(&m->memo, &m->cap_memo, need, sizeof(*m->memo), m->size + 1))
        return out_of_memory(m);
    while (m->n_memo < need) m->memo[m->n_memo++] = NO_VALUE;
    m->memo[index] = m->stack[m->n_stack - 1];
    m->next_memo = need > m->next_memo ? need : m->next_memo;
    return 0;
}

static int recall(Machine *m, uint64_t index)
{
    if (index >= m->n_memo || m->memo[index] == NO_VALUE) return bad(m, "memo entry not set");
    return push(m, m->memo[index]);
}

static bool same(const char *word, const uint8_t *text, size_t n)
{
    return strlen(word) == n && !memcmp(word, text, n);
}

static bool is_hostile(const uint8_t *module, size_t n_module, const uint8_t *name, size_t n_name)
{
    const uint8_t *dot = memchr(module, '.', n_module);
    size_t n_top = dot ? (size_t)(dot - module) : n_module;
    for (int i = 0; i < UPZ_COUNT(hostile); i++)
        if ((same(hostile[i].module, module, n_top) || same(hostile[i].module, module, n_module)) &&
            (!hostile[i].name || same(hostile[i].name, name, n_name)))
            return true;
    return false;
}

static int push_global(Machine *m, const uint8_t *module, size_t n_module, const uint8_t *name,
                       size_t n_name)
{
    for (int i = 0; i < UPZ_COUNT(allowed); i++)
        if (same(allowed[i].module, module, n_module) && same(allowed[i].name, name, n_name))
            return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_GLOBAL, .what = (uint8_t)i});
    if (!is_hostile(module, n_module, name, n_name))
        return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_OPAQUE});
    return upz_fail(
        m->err, UPREZ_ERR_MODEL,
        "%s wants to use Python's '%.*s.%.*s'; a checkpoint of plain weights has no use "
        "for it, and uprez never runs code from a file: save the state dict alone",
        m->file, (int)UPZ_MIN(n_module, 100), (const char *)module, (int)UPZ_MIN(n_name, 100),
        (const char *)name);
}

static int line(Machine *m, const uint8_t **text, size_t *n)
{
    size_t most = UPZ_MIN(m->size - m->pos, (size_t)1024);
    const uint8_t *b = m->data + m->pos, *end = memchr(b, '\n', most);
    if (!end) return bad(m, "a name without end");
    *text = b;
    *n = (size_t)(end - b);
    m->pos += *n + 1;
    return 0;
}

static int global(Machine *m)
{
    const uint8_t *module = NULL, *name = NULL;
    size_t n_module = 0, n_name = 0;
    int r = line(m, &module, &n_module);
    if (r >= 0) r = line(m, &name, &n_name);
    return r < 0 ? r : push_global(m, module, n_module, name, n_name);
}

static int stack_global(Machine *m)
{
    uint32_t module = 0, name = 0;
    int r = pop(m, &name);
    if (r >= 0) r = pop(m, &module);
    if (r < 0) return r;
    const UpzPickleValue *a = &m->p->values[module], *b = &m->p->values[name];
    if (a->kind != UPZ_PICKLE_TEXT || b->kind != UPZ_PICKLE_TEXT) return bad(m, "a name not text");
    return push_global(m, a->text, a->n, b->text, b->n);
}

/* OrderedDict(pairs) */
static int push_pairs(Machine *m, uint32_t pairs)
{
    uint32_t dict;
    int r = add(m, (UpzPickleValue){.kind = UPZ_PICKLE_DICT}, &dict);
    for (uint32_t i = 0; r >= 0 && i < m->p->values[pairs].n; i++) {
        const UpzPickleValue *pair = &m->p->values[m->p->values[pairs].kids[i]];
        if ((pair->kind != UPZ_PICKLE_TUPLE && pair->kind != UPZ_PICKLE_LIST) || pair->n != 2)
            return bad(m, "OrderedDict of something not pairs");
        uint32_t kids[2] = {pair->kids[0], pair->kids[1]};
        r = extend(m, dict, kids, 2);
    }
    return r < 0 ? r : push(m, dict);
}

static int call(Machine *m)
{
    uint32_t callee = 0, args = 0;
    int r = pop(m, &args);
    if (r >= 0) r = pop(m, &callee);
    if (r < 0) return r;
    const UpzPickleValue *f = &m->p->values[callee], *a = &m->p->values[args];
    if (f->kind == UPZ_PICKLE_GLOBAL && allowed[f->what].call == CALL_TYPED &&
        a->kind == UPZ_PICKLE_TUPLE && a->n >= 3) {
        /* a tensor with attributes of its own: what they are does not matter here */
        f = &m->p->values[callee = a->kids[0]];
        a = &m->p->values[args = a->kids[2]];
    }
    if (f->kind == UPZ_PICKLE_OPAQUE)
        return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_OPAQUE, .what = INSTANCE});
    if (f->kind != UPZ_PICKLE_GLOBAL || a->kind != UPZ_PICKLE_TUPLE)
        return bad(m, "a call of something not a function");
    uint8_t first = a->n ? m->p->values[a->kids[0]].kind : UPZ_PICKLE_NONE;
    switch (allowed[f->what].call) {
    case CALL_ORDERED_DICT:
        if (!a->n) return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_DICT});
        /* a list of pairs is read once only, so that work stays proportional to the pickle */
        if (a->n == 1 && first == UPZ_PICKLE_LIST) {
            uint32_t pairs = a->kids[0];
            r = push_pairs(m, pairs);
            m->p->values[pairs].n = 0;
            return r;
        }
        break;
    case CALL_TENSOR:
        if (a->n >= 4 && a->n <= 8 && first == UPZ_PICKLE_STORAGE)
            return push_int(m, UPZ_PICKLE_TENSOR, args);
        if (first == UPZ_PICKLE_OPAQUE) return push(m, a->kids[0]); /* of an unknown element type */
        break;
    case CALL_PARAMETER:
        if (first == UPZ_PICKLE_TENSOR || first == UPZ_PICKLE_OPAQUE) return push(m, a->kids[0]);
        break;
    case CALL_FIRST:
        if (a->n == 1 && first == UPZ_PICKLE_TUPLE) return push(m, a->kids[0]);
        break;
    case CALL_OPAQUE:
        return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_OPAQUE});
    case CALL_TYPED:
    case CALL_NOT:
    case CALL_STORAGE:
        break;
    }
    return upz_fail(m->err, UPREZ_ERR_MODEL,
                    "%s: damaged pickle at byte %zu: %s.%s called with arguments it does not take",
                    m->file, m->pos, allowed[f->what].module, allowed[f->what].name);
}

/* obj.__setstate__(state): torch sets OrderedDict._metadata so. Dropped. */
static int build(Machine *m)
{
    uint32_t state;
    int r = pop(m, &state);
    if (r < 0) return r;
    if (!room(m)) return bad(m, "stack empty");
    uint8_t kind = m->p->values[m->stack[m->n_stack - 1]].kind;
    uint32_t ignored;
    if (kind == UPZ_PICKLE_OPAQUE && m->p->values[state].n <= 2 * FEW &&
        (upz_pickle_get(m->p, state, "_parameters", &ignored) ||
         upz_pickle_get(m->p, state, "_modules", &ignored)))
        m->p->module = true;
    if (kind != UPZ_PICKLE_DICT && kind != UPZ_PICKLE_TENSOR && kind != UPZ_PICKLE_OPAQUE)
        return bad(m, "state for something that has none");
    return 0;
}

static int persistent(Machine *m)
{
    uint32_t id;
    int r = pop(m, &id);
    if (r < 0) return r;
    const UpzPickleValue *v = &m->p->values[id];
    if (v->kind == UPZ_PICKLE_TUPLE && v->n && upz_pickle_is_text(m->p, v->kids[0], "module"))
        return upz_fail(m->err, UPREZ_ERR_MODEL,
                        "%s holds a whole Python module with its code; expected a state dict "
                        "(torch.save(net.state_dict(), …))",
                        m->file);
    if (v->kind == UPZ_PICKLE_TUPLE && v->n >= 2 &&
        m->p->values[v->kids[1]].kind == UPZ_PICKLE_OPAQUE)
        return push(m, v->kids[1]); /* a storage of an unknown class */
    UpzElement e;
    if (v->kind != UPZ_PICKLE_TUPLE || v->n < 5 || v->n > 6 ||
        !upz_pickle_is_text(m->p, v->kids[0], "storage") ||
        !upz_pickle_element(m->p, v->kids[1], &e) ||
        m->p->values[v->kids[2]].kind != UPZ_PICKLE_TEXT ||
        m->p->values[v->kids[4]].kind != UPZ_PICKLE_INT)
        return bad(m, "a storage described in an unknown way");
    if (v->n == 6 && m->p->values[v->kids[5]].kind != UPZ_PICKLE_NONE)
        return upz_fail(
            m->err, UPREZ_ERR_MODEL,
            "%s shares storages by views, as PyTorch before 0.4 did; save it again with "
            "a newer PyTorch",
            m->file);
    return push_int(m, UPZ_PICKLE_STORAGE, id);
}

static int unknown(Machine *m, uint8_t op)
{
    const char *what = op == 'i' || op == 'o' ? "makes an object of a Python class"
                       : op >= 0x82 && op <= 0x84           ? "uses Python's extension registry"
                       : op == 0x97 || op == 0x98           ? "needs buffers outside the file"
                                                            : "has no place in a torch checkpoint";
    return upz_fail(m->err, UPREZ_ERR_MODEL, "%s: pickle instruction 0x%02x at byte %zu %s",
                    m->file, op, m->pos - 1, what);
}

static int step(Machine *m, uint8_t op)
{
    uint64_t n = 0;
    size_t from = 0;
    uint32_t value;
    const uint8_t *bytes;
    int r;
    switch (op) {
    case 0x80: /* PROTO */
        r = number(m, 1, &n);
        return r < 0 ? r : n > 5 ? bad(m, "unknown pickle protocol") : 0;
    case 0x95:
        return number(m, 8, &n); /* FRAME: lengths are checked at each value */
    case '(':
        if (m->n_marks >= MAX_MARKS) return bad(m, "nested too deeply");
        m->marks[m->n_marks++] = m->n_stack;
        return 0;
    case '0': /* POP: a mark, if that is on top */
        if (m->n_marks && m->marks[m->n_marks - 1] == m->n_stack) {
            m->n_marks--;
            return 0;
        }
        return pop(m, &value);
    case '1': /* POP_MARK */
        r = pop_mark(m, &from);
        if (r >= 0) m->n_stack = from;
        return r;
    case '2':
        return room(m) ? push(m, m->stack[m->n_stack - 1]) : bad(m, "stack empty");
    case 'N':
        return push_int(m, UPZ_PICKLE_NONE, 0);
    case 0x88:
        return push_int(m, UPZ_PICKLE_BOOL, 1);
    case 0x89:
        return push_int(m, UPZ_PICKLE_BOOL, 0);
    case 'J':
        r = number(m, 4, &n);
        return r < 0 ? r : push_int(m, UPZ_PICKLE_INT, (int32_t)n);
    case 'K':
        r = number(m, 1, &n);
        return r < 0 ? r : push_int(m, UPZ_PICKLE_INT, (int64_t)n);
    case 'M':
        r = number(m, 2, &n);
        return r < 0 ? r : push_int(m, UPZ_PICKLE_INT, (int64_t)n);
    case 0x8a:
        return push_long(m, 1);
    case 0x8b:
        return push_long(m, 4);
    case 'G':
        r = take(m, 8, &bytes);
        return r < 0 ? r : push_int(m, UPZ_PICKLE_FLOAT, 0);
    case 'X':
    case 'T':
    case 'B':
        return push_text(m, 4);
    case 0x8c:
    case 'U':
    case 'C':
        return push_text(m, 1);
    case 0x8d:
    case 0x8e:
    case 0x96: /* BYTEARRAY8 */
        return push_text(m, 8);
    case ')':
        return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_TUPLE});
    case ']':
        return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_LIST});
    case '}':
        return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_DICT});
    case 0x85:
    case 0x86:
    case 0x87:
        return collect(m, UPZ_PICKLE_TUPLE, (size_t)op - 0x84);
    case 't':
    case 'l':
        r = pop_mark(m, &from);
        if (r < 0) return r;
        return collect(m, op == 't' ? UPZ_PICKLE_TUPLE : UPZ_PICKLE_LIST, m->n_stack - from);
    case 'd':
        r = pop_mark(m, &from);
        if (r < 0) return r;
        if ((m->n_stack - from) % 2) return bad(m, "a key without a value");
        return collect(m, UPZ_PICKLE_DICT, m->n_stack - from);
    case 'a':
        return extend_below(m, UPZ_PICKLE_LIST, 1);
    case 's':
        return extend_below(m, UPZ_PICKLE_DICT, 2);
    case 'e':
    case 'u':
        r = pop_mark(m, &from);
        if (r < 0) return r;
        return extend_below(m, op == 'e' ? UPZ_PICKLE_LIST : UPZ_PICKLE_DICT, m->n_stack - from);
    case 'q':
        r = number(m, 1, &n);
        return r < 0 ? r : remember(m, n);
    case 'r':
        r = number(m, 4, &n);
        return r < 0 ? r : remember(m, n);
    case 0x94:
        return remember(m, m->next_memo);
    case 'h':
        r = number(m, 1, &n);
        return r < 0 ? r : recall(m, n);
    case 'j':
        r = number(m, 4, &n);
        return r < 0 ? r : recall(m, n);
    case 'c':
        return global(m);
    case 0x93:
        return stack_global(m);
    case 'R':
    case 0x81:
        return call(m);
    case 0x92: /* NEWOBJ_EX: the words given by name are not needed */
        r = pop(m, &value);
        return r < 0 ? r : call(m);
    case 0x8f: /* sets hold no weights */
        return push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_OPAQUE});
    case 0x90:
    case 0x91:
        r = pop_mark(m, &from);
        if (r < 0) return r;
        m->n_stack = from;
        return op == 0x90 ? room(m) ? 0 : bad(m, "stack empty")
                          : push_new(m, (UpzPickleValue){.kind = UPZ_PICKLE_OPAQUE});
    case 'b':
        return build(m);
    case 'Q':
        return persistent(m);
    default:
        return unknown(m, op);
    }
}

int upz_pickle_run(UpzPickle *p, const uint8_t *data, size_t size, size_t *used, const char *file,
                   UprezError *err)
{
    *p = (UpzPickle){0};
    Machine m = {.p = p, .data = data, .size = size, .file = file, .err = err};
    int r = 0;
    uint8_t op = 0;
    while (r >= 0 && op != '.') {
        if (m.pos >= size) {
            r = bad(&m, "it ends too early");
            break;
        }
        op = data[m.pos++];
        if (op != '.') r = step(&m, op);
    }
    if (r >= 0 && (m.n_stack != 1 || m.n_marks)) r = bad(&m, "it does not leave one value");
    if (r >= 0) {
        p->root = m.stack[0];
        *used = m.pos;
    }
    upz_free(m.stack);
    upz_free(m.memo);
    if (r < 0) upz_pickle_free(p);
    return r < 0 ? r : 0;
}

void upz_pickle_free(UpzPickle *p)
{
    for (size_t i = 0; i < p->n; i++) {
        uint8_t k = p->values[i].kind;
        if (k == UPZ_PICKLE_TUPLE || k == UPZ_PICKLE_LIST || k == UPZ_PICKLE_DICT)
            upz_free(p->values[i].kids);
    }
    upz_free(p->values);
    *p = (UpzPickle){0};
}

bool upz_pickle_is_text(const UpzPickle *p, uint32_t value, const char *text)
{
    const UpzPickleValue *v = &p->values[value];
    return v->kind == UPZ_PICKLE_TEXT && v->n == strlen(text) && !memcmp(v->text, text, v->n);
}

bool upz_pickle_get(const UpzPickle *p, uint32_t dict, const char *key, uint32_t *value)
{
    const UpzPickleValue *d = &p->values[dict];
    if (d->kind != UPZ_PICKLE_DICT) return false;
    for (uint32_t i = d->n; i >= 2; i -= 2)
        if (upz_pickle_is_text(p, d->kids[i - 2], key)) {
            *value = d->kids[i - 1];
            return true;
        }
    return false;
}

bool upz_pickle_element(const UpzPickle *p, uint32_t value, UpzElement *element)
{
    const UpzPickleValue *v = &p->values[value];
    if (v->kind != UPZ_PICKLE_GLOBAL || allowed[v->what].call != CALL_STORAGE) return false;
    *element = allowed[v->what].element;
    return true;
}
