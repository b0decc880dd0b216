/* A built engine as an ONNX model: one node EPContext (domain com.microsoft) whose attribute holds
 * the engine's bytes. Field numbers are those of onnx.proto. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/tensorrt/trt.h"
#include "model/write_bytes.h"

enum { ATTR_INT = 2, ATTR_STRING = 3, FLOAT = 1, HALF = 10, IR_VERSION = 8, OPSET = 16 };

static void varint(UpzBytes *b, uint64_t v)
{
    uint8_t text[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) text[n++] = (uint8_t)(v | 0x80);
    text[n++] = (uint8_t)v;
    upz_bytes_put(b, text, n);
}

static void put_int(UpzBytes *b, int field, uint64_t v)
{
    varint(b, (uint64_t)field << 3);
    varint(b, v);
}

static void put(UpzBytes *b, int field, const void *data, size_t n)
{
    varint(b, (uint64_t)field << 3 | 2);
    varint(b, n);
    upz_bytes_put(b, data, n);
}

static void put_text(UpzBytes *b, int field, const char *text)
{
    put(b, field, text, strlen(text));
}

/* Moves a finished message into another. */
static void put_message(UpzBytes *b, int field, UpzBytes *message)
{
    if (message->failed)
        b->failed = true;
    else
        put(b, field, message->data, message->n);
    upz_free(message->data);
    *message = (UpzBytes){.data = NULL};
}

static void attribute(UpzBytes *node, const char *name, int64_t i, const void *s, size_t n)
{
    UpzBytes a = {.data = NULL};
    put_text(&a, 1, name);
    if (s)
        put(&a, 4, s, n);
    else
        put_int(&a, 3, (uint64_t)i);
    put_int(&a, 20, s ? ATTR_STRING : ATTR_INT);
    put_message(node, 5, &a);
}

/* ValueInfoProto of N x C x H x W, of which C is known. */
static void value(UpzBytes *graph, int field, const char *name, const UpzTrtKey *key)
{
    static const char *const sides[2][4] = {{"batch", NULL, "height", "width"},
                                            {"batch", NULL, "out_height", "out_width"}};
    UpzBytes info = {.data = NULL}, type = {.data = NULL}, tensor = {.data = NULL};
    UpzBytes shape = {.data = NULL};
    for (int i = 0; i < 4; i++) {
        UpzBytes dim = {.data = NULL};
        if (i == 1)
            put_int(&dim, 1, (uint64_t)key->channels);
        else
            put_text(&dim, 2, sides[field == 12][i]);
        put_message(&shape, 1, &dim);
    }
    put_int(&tensor, 1, key->half ? HALF : FLOAT);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&info, 1, name);
    put_message(&info, 2, &type);
    put_message(graph, field, &info);
}

int upz_trt_wrap_engine(const void *engine, size_t size, const UpzTrtKey *key, uint8_t **data,
                        size_t *out_size, UprezError *err)
{
    static const char source[] = "TensorrtExecutionProvider";
    UpzBytes node = {.data = NULL}, graph = {.data = NULL}, set = {.data = NULL};
    UpzBytes model = {.data = NULL};
    put_text(&node, 1, "input");
    put_text(&node, 2, "output");
    put_text(&node, 3, "engine");
    put_text(&node, 4, "EPContext");
    attribute(&node, "main_context", 1, NULL, 0);
    attribute(&node, "embed_mode", 1, NULL, 0);
    attribute(&node, "ep_cache_context", 0, engine, size);
    attribute(&node, "source", 0, source, sizeof(source) - 1);
    put_text(&node, 7, "com.microsoft");
    put_message(&graph, 1, &node);
    put_text(&graph, 2, "engine");
    value(&graph, 11, "input", key);
    value(&graph, 12, "output", key);
    put_int(&model, 1, IR_VERSION);
    put_text(&model, 2, "uprez");
    put_message(&model, 7, &graph);
    for (int own = 0; own < 2; own++) {
        put_text(&set, 1, own ? "com.microsoft" : "");
        put_int(&set, 2, own ? 1 : OPSET);
        put_message(&model, 8, &set);
    }
    if (model.failed) {
        upz_free(model.data);
        return upz_fail_memory(err, size, "an engine's bytes");
    }
    *data = model.data;
    *out_size = model.n;
    return 0;
}
