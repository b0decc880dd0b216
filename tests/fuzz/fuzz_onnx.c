/* ONNX files. Input that does not begin like one is taken as a recipe for one: a few bytes a node,
 * so that changes reach the operators and not only the lengths of protobuf's nested messages. */
#include <string.h>

#include "fuzz.h"

enum { ROOM = 1 << 16, MOST_VALUES = 200, NODES = 60 };

typedef struct Out {
    uint8_t *p;
    size_t n;
} Out;

static void byte(Out *o, unsigned b)
{
    if (o->n < ROOM) o->p[o->n++] = (uint8_t)b;
}

static void number(Out *o, uint64_t v)
{
    for (; v > 127; v >>= 7) byte(o, (unsigned)(v & 127) | 128);
    byte(o, (unsigned)v);
}

static void bytes(Out *o, unsigned field, const void *data, size_t size)
{
    number(o, field << 3 | 2);
    number(o, size);
    if (o->n + size > ROOM) return;
    memcpy(o->p + o->n, data, size);
    o->n += size;
}

static void field(Out *o, unsigned number_of, uint64_t v)
{
    number(o, number_of << 3);
    number(o, v);
}

/* Values are named by one or two letters. */
static void value(Out *o, unsigned field_of, unsigned i)
{
    char name[2] = {(char)('A' + i % 50), (char)('A' + i / 50)};
    bytes(o, field_of, name, 2);
}

typedef struct Recipe {
    const uint8_t *p, *end;
} Recipe;

static unsigned take(Recipe *r) { return r->p < r->end ? *r->p++ : 0; }

static void info(Out *o, unsigned field_of, unsigned name, const int dims[4])
{
    uint8_t room[3][256];
    Out v = {room[0], 0}, type = {room[1], 0}, shape = {room[2], 0};
    for (int i = 0; i < 4; i++) {
        uint8_t dim[8];
        Out d = {dim, 0};
        if (dims[i]) field(&d, 1, (uint64_t)dims[i]);
        bytes(&shape, 1, d.p, d.n);
    }
    field(&type, 1, 1);
    bytes(&type, 2, shape.p, shape.n);
    uint8_t outer[256];
    Out t = {outer, 0};
    bytes(&t, 1, type.p, type.n);
    value(&v, 1, name);
    bytes(&v, 2, t.p, t.n);
    bytes(o, field_of, v.p, v.n);
}

/* dims and data of small integers or floats */
static void initialiser(Out *o, Recipe *r, unsigned name, uint8_t *room)
{
    static const int shapes[][4] = {{8, 3, 3, 3}, {8, 8, 3, 3}, {3, 8, 3, 3}, {12, 8, 1, 1},
                                    {8, 12, 1, 1}, {8, 1, 1}, {8}, {1}, {4}, {8, 1, 3, 3}, {2},
                                    {0}};
    unsigned kind = take(r);
    const int *shape = shapes[kind % 12];
    int ints = kind & 64, count = 1;
    Out t = {room, 0};
    for (int i = 0; i < 4 && shape[i]; i++) {
        field(&t, 1, (uint64_t)shape[i]);
        count *= shape[i];
    }
    field(&t, 2, ints ? 7 : 1);
    value(&t, 8, name);
    static uint8_t data[12 * 8 * 9 * 8];
    for (int i = 0; i < count; i++) {
        int64_t v = count <= 8 ? (int8_t)take(r) : i % 7;
        float f = (float)v;
        if (ints) memcpy(data + 8 * i, &v, 8);
        else memcpy(data + 4 * i, &f, 4);
    }
    bytes(&t, 9, data, (size_t)count * (ints ? 8 : 4));
    bytes(o, 5, t.p, t.n);
}

static void attribute(Out *o, Recipe *r)
{
    static const char *const names[] = {
        "axis", "pads", "strides", "group", "blocksize", "perm", "to", "mode", "kernel_shape",
        "start", "end", "alpha", "auto_pad", "output_padding", "nearest_mode", "axes", "starts",
        "ends", "split", "coordinate_transformation_mode", "dilations", "scales"};
    static const char *const words[] = {
        "CRD", "DCR", "reflect", "edge", "constant", "linear", "cubic", "nearest", "floor",
        "half_pixel", "asymmetric", "SAME_UPPER", "SAME_LOWER", "VALID"};
    uint8_t room[256];
    Out a = {room, 0};
    unsigned which = take(r) % 22, v = take(r), n = v % 9;
    bytes(&a, 1, names[which], strlen(names[which]));
    field(&a, 3, (uint64_t)(int64_t)(int8_t)v);
    bytes(&a, 4, words[v % 14], strlen(words[v % 14]));
    for (unsigned i = 0; i < n; i++) field(&a, 8, (uint64_t)(int64_t)((int8_t)take(r) / 8));
    bytes(o, 5, a.p, a.n);
}

static void node(Out *o, Recipe *r, unsigned *values, uint8_t *room)
{
    static const char *const ops[] = {
        "Conv", "Relu", "Add", "Mul", "Sub", "Div", "Concat", "Split", "Slice", "DepthToSpace",
        "SpaceToDepth", "Resize", "Reshape", "Transpose", "Pad", "Shape", "Gather", "Cast", "Clip",
        "PRelu", "ConvTranspose", "Sigmoid", "Mod", "Unsqueeze", "Squeeze", "Identity",
        "BatchNormalization", "Upsample", "ConstantOfShape", "Floor", "Constant", "Tanh"};
    Out n = {room, 0};
    unsigned op = take(r) % 32, how = take(r), inputs = how % 6, outputs = 1 + (how >> 4) % 3;
    bytes(&n, 4, ops[op], strlen(ops[op]));
    for (unsigned i = 0; i < inputs; i++) {
        unsigned v = take(r);
        if (v == 255) bytes(&n, 1, "", 0);
        else value(&n, 1, v < 128 ? *values - 1 - v % *values : v % *values);
    }
    for (unsigned i = 0; i < outputs && *values < MOST_VALUES; i++) value(&n, 2, (*values)++);
    for (unsigned i = take(r) % 4; i > 0; i--) attribute(&n, r);
    bytes(o, 1, n.p, n.n);
}

static void cook(const uint8_t *data, size_t size)
{
    Recipe r = {data, data + size};
    uint8_t *room[3];
    for (int i = 0; i < 3; i++)
        if (!(room[i] = malloc(ROOM))) abort();
    Out graph = {room[0], 0}, model = {room[1], 0};
    unsigned values = 1, tensors = take(&r) % 12, opset = 7 + take(&r) % 17, shape = take(&r);
    const int dims[4] = {shape & 1, shape & 2 ? 1 : 3, shape & 4 ? 12 : 0, shape & 8 ? 16 : 0};
    info(&graph, 11, 0, dims);
    for (unsigned i = 0; i < tensors; i++) initialiser(&graph, &r, values++, room[2]);
    for (int i = 0; i < NODES && r.p < r.end; i++) node(&graph, &r, &values, room[2]);
    info(&graph, 12, values - 1, (int[4]){0});
    field(&model, 1, 8);
    bytes(&model, 7, graph.p, graph.n);
    uint8_t set[8];
    Out o = {set, 0};
    field(&o, 2, opset);
    bytes(&model, 8, o.p, o.n);
    uint8_t *exact = malloc(model.n);
    if (!exact) abort();
    memcpy(exact, model.p, model.n);
    fuzz_load("fuzz.onnx", exact, model.n);
    free(exact);
    for (int i = 0; i < 3; i++) free(room[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == 0x08) fuzz_load("fuzz.onnx", data, size);
    else if (size > 0) cook(data, size);
    return 0;
}
