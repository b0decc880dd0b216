/* ncnn's .param (layers, one a line) and .bin (their weights in that order).
 *
 * Parameter numbers, weight order and tags are those of ncnn's source: a layer's line is
 * `type name n_inputs n_outputs inputs… outputs… key=value…`; a key of -23300 - k is an array
 * `count,v,v…`. Kernels begin with a tag (0: fp32, 0x01306B47: fp16, padded to 4 bytes); biases
 * and slopes are plain fp32. */
#include "model/ncnn.h"

#include <ctype.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"

#define MAGIC "7767517"
#define MAX_KEYS 32
#define MAX_ARRAY 32
#define MAX_BLOBS 32768
#define ARRAY_KEY (-23300)

#define TAG_HALF 0x01306B47u
#define TAG_INT8 0x000D4B38u
#define TAG_FLOAT 0x0002C056u

typedef struct Text {
    const char *p;
    size_t n;
} Text;

typedef struct Blob {
    Text name;
    int node;  /* the graph's value */
    bool read;
    int pad[4]; /* zeros added by Padding, left top right bottom, for a convolution */
} Blob;

typedef struct Layer {
    Text type, name;
    Text in[UPZ_MAX_SRC], out[UPZ_MAX_SRC];
    int n_in, n_out;
    double value[MAX_KEYS];
    bool given[MAX_KEYS];
    double array[MAX_ARRAY]; /* the last one of the line */
    int n_array, array_key;
} Layer;

typedef struct State {
    const char *path;
    Text rest; /* of the .param */
    const uint8_t *bin;
    size_t bin_size, at;
    UpzGraph *g;
    Blob *blobs;
    size_t n_blobs, cap_blobs;
    int channels; /* of the picture */
    bool half;
    UprezError *err;
} State;

static bool text_is(Text t, const char *s) { return t.n == strlen(s) && !memcmp(t.p, s, t.n); }
#define TEXT(t) ((int)((t).n < 60 ? (t).n : 60)), (t).p

static int refuse(State *s, const Layer *l, const char *fmt, ...) UPZ_PRINTF(3, 4);
static int refuse(State *s, const Layer *l, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: layer '%.*s' (%.*s): %s", s->path, TEXT(l->name),
                    TEXT(l->type), text);
}

static int wrap(State *s, const Layer *l, int r)
{
    if (r < 0 && r != UPREZ_ERR_MEMORY && s->err) {
        char text[512];
        snprintf(text, sizeof(text), "%.500s", s->err->text);
        refuse(s, l, "%s", text);
    }
    return r;
}

static bool next_line(Text *rest, Text *line)
{
    if (!rest->n) return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    size_t n = end ? (size_t)(end - rest->p) : rest->n, used = end ? n + 1 : n;
    *line = (Text){rest->p, n};
    rest->p += used, rest->n -= used;
    return true;
}

static bool next_word(Text *line, Text *word)
{
    while (line->n && isspace((unsigned char)*line->p)) line->p++, line->n--;
    *word = (Text){line->p, 0};
    while (line->n && !isspace((unsigned char)*line->p)) line->p++, line->n--, word->n++;
    return word->n > 0;
}

/* A decimal number that is the whole text; strtod() would depend on the locale. */
static bool number(Text t, double *out)
{
    double v = 0;
    int digits = 0, exponent = 0, extra = 0;
    bool minus = false, point = false, minus_e = false;
    size_t i = 0;
    if (i < t.n && (t.p[i] == '-' || t.p[i] == '+')) minus = t.p[i++] == '-';
    for (; i < t.n && (isdigit((unsigned char)t.p[i]) || (t.p[i] == '.' && !point)); i++) {
        if (t.p[i] == '.') {
            point = true;
            continue;
        }
        v = v * 10 + (t.p[i] - '0');
        exponent -= point;
        if (++digits > 30) return false;
    }
    if (i < t.n && digits && (t.p[i] == 'e' || t.p[i] == 'E')) {
        if (++i < t.n && (t.p[i] == '-' || t.p[i] == '+')) minus_e = t.p[i++] == '-';
        size_t start = i;
        for (; i < t.n && isdigit((unsigned char)t.p[i]) && i - start < 3; i++)
            extra = extra * 10 + (t.p[i] - '0');
        if (i == start) return false;
        exponent += minus_e ? -extra : extra;
    }
    if (!digits || i != t.n) return false;
    v = exponent < 0 ? v / pow(10, -exponent) : v * pow(10, exponent);
    *out = minus ? -v : v;
    return isfinite(v);
}

static bool parse_array(Layer *l, Text t)
{
    double v;
    int n = -1;
    while (t.n) {
        const char *comma = memchr(t.p, ',', t.n);
        Text one = {t.p, comma ? (size_t)(comma - t.p) : t.n};
        if (!number(one, &v)) return false;
        if (n < 0 && (v < 0 || v > MAX_ARRAY)) return false;
        if (n >= 0 && n < MAX_ARRAY) l->array[n] = v;
        if (n < 0) l->n_array = (int)v;
        if (++n > MAX_ARRAY) return false;
        t.p += one.n, t.n -= one.n;
        if (t.n) t.p++, t.n--;
    }
    return n == l->n_array;
}

static bool parse_key(Layer *l, Text word)
{
    const char *eq = memchr(word.p, '=', word.n);
    if (!eq) return false;
    double key;
    Text name = {word.p, (size_t)(eq - word.p)}, value = {eq + 1, word.n - name.n - 1};
    if (!number(name, &key) || key != floor(key) || key < ARRAY_KEY - MAX_KEYS) return false;
    if (key <= ARRAY_KEY) {
        l->array_key = ARRAY_KEY - (int)key;
        return parse_array(l, value);
    }
    if (key < 0 || key >= MAX_KEYS) return key >= MAX_KEYS;
    l->given[(int)key] = true;
    return number(value, &l->value[(int)key]) || value.n > 0; /* a few values are words */
}

/* 0: no more layers; 1: *l is the next. */
static int next_layer(State *s, Text *rest, Layer *l)
{
    Text line, word;
    do {
        if (!next_line(rest, &line)) return 0;
        *l = (Layer){.array_key = -1};
    } while (!next_word(&line, &l->type));
    double n_in, n_out;
    bool ok = next_word(&line, &l->name) && next_word(&line, &word) && number(word, &n_in) &&
              next_word(&line, &word) && number(word, &n_out);
    if (ok && (n_in < 0 || n_in > UPZ_MAX_SRC || n_out < 0 || n_out > UPZ_MAX_SRC))
        return refuse(s, l, "%g inputs and %g outputs; up to %d are supported", n_in, n_out,
                      UPZ_MAX_SRC);
    if (ok) l->n_in = (int)n_in, l->n_out = (int)n_out;
    for (int i = 0; i < l->n_in && ok; i++) ok = next_word(&line, &l->in[i]);
    for (int i = 0; i < l->n_out && ok; i++) ok = next_word(&line, &l->out[i]);
    while (ok && next_word(&line, &word)) ok = parse_key(l, word);
    return ok ? 1 : refuse(s, l, "its line cannot be understood or is cut short");
}

static double value(const Layer *l, int key, double otherwise)
{
    return l->given[key] ? l->value[key] : otherwise;
}

/* A whole number in lo … hi; false otherwise. */
static bool whole(const Layer *l, int key, double otherwise, int lo, int hi, int *out)
{
    double v = value(l, key, otherwise);
    if (!(v >= lo && v <= hi) || v != floor(v)) return false;
    *out = (int)v;
    return true;
}

static Blob *blob_of(State *s, Text name)
{
    for (size_t i = s->n_blobs; i-- > 0;) /* most are read soon after they are written */
        if (s->blobs[i].name.n == name.n && !memcmp(s->blobs[i].name.p, name.p, name.n))
            return &s->blobs[i];
    return NULL;
}

static int source(State *s, const Layer *l, int i)
{
    Blob *b = i < l->n_in ? blob_of(s, l->in[i]) : NULL;
    if (!b)
        return refuse(s, l, "it reads '%.*s', which no layer before it writes",
                      TEXT(i < l->n_in ? l->in[i] : l->name));
    b->read = true;
    if (b->pad[0] || b->pad[1] || b->pad[2] || b->pad[3])
        return refuse(s, l, "it reads a padded map; only convolutions may");
    return b->node;
}

static int write_blob(State *s, const Layer *l, int i, int node)
{
    if (node < 0) return wrap(s, l, node);
    if (i >= l->n_out) return refuse(s, l, "it has no output");
    if (blob_of(s, l->out[i]))
        return refuse(s, l, "the value '%.*s' is written twice", TEXT(l->out[i]));
    if (s->n_blobs >= MAX_BLOBS)
        return refuse(s, l, "the network has more than %d values", MAX_BLOBS);
    if (!upz_grow(&s->blobs, &s->cap_blobs, s->n_blobs + 1, sizeof(*s->blobs), MAX_BLOBS))
        return upz_fail_memory(s->err, sizeof(*s->blobs), "the list of values");
    s->blobs[s->n_blobs++] = (Blob){.name = l->out[i], .node = node};
    return 0;
}

static uint32_t word_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int cut_short(State *s, const Layer *l, size_t need)
{
    return refuse(s, l, "the .bin is cut short: %zu bytes are needed at %zu of %zu", need, s->at,
                  s->bin_size);
}

/* The next tensor of the .bin. tagged: it begins with a tag that tells its type. */
static int read_tensor(State *s, const Layer *l, int n_dims, const int64_t *dims, bool tagged)
{
    size_t count = 1, width = 4;
    for (int i = 0; i < n_dims; i++)
        if (dims[i] < 1 || !upz_mul_size(count, (size_t)dims[i], &count) || count > INT32_MAX)
            return refuse(s, l, "weights of an implausible size");
    if (tagged) {
        if (s->bin_size - s->at < 4) return cut_short(s, l, 4);
        uint32_t tag = word_at(s->bin + s->at);
        s->at += 4;
        if (tag == TAG_HALF) width = 2;
        else if (tag == TAG_INT8)
            return refuse(s, l, "its weights are quantised to int8, which is not supported; use "
                          "the fp16 or fp32 model");
        else if (tag != 0 && tag != TAG_FLOAT)
            return refuse(s, l, "its weights have the tag 0x%08X (quantised by a table?), which is "
                          "not supported; use the fp16 or fp32 model", tag);
    }
    size_t bytes = (count * width + 3) / 4 * 4;
    if (s->bin_size - s->at < bytes) return cut_short(s, l, bytes);
    int k = upz_graph_tensor_new(s->g, n_dims, dims, s->err);
    if (k < 0) return wrap(s, l, k);
    UpzTensor *t = &s->g->tensors[k];
    const uint8_t *p = s->bin + s->at;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = width == 4 ? word_at(p + 4 * i) : 0;
        if (width == 4) memcpy(&t->data[i], &bits, 4);
        else t->data[i] = upz_half_to_float((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
    }
    t->half = width == 2;
    s->half |= t->half;
    t->name = upz_asprintf("%.*s", TEXT(l->name));
    s->at += bytes;
    return k;
}

/* An activation fused into a layer: keys 9 and 10. */
static int fused_act(State *s, const Layer *l, UpzNode *n)
{
    bool has = l->array_key == 10;
    double a = has && l->n_array > 0 ? l->array[0] : 0, b = has && l->n_array > 1 ? l->array[1] : 0;
    double type = value(l, 9, 0);
    if (type == 0) return 0;
    if (type == 1) n->act = UPZ_ACT_RELU;
    else if (type == 2) n->act = UPZ_ACT_LEAKY, n->slope = (float)a;
    else if (type == 3) n->act = UPZ_ACT_CLIP, n->lo = (float)a, n->hi = (float)b;
    else if (type == 4) n->act = UPZ_ACT_SIGMOID;
    else return refuse(s, l, "the fused activation %g is not supported", type);
    return 0;
}

/* begin, end: padding before and after; n: kernel and stride known. -1: not supported. */
static bool pads_of(const Layer *l, const UpzNode *n, bool rows, int *begin, int *end)
{
    double left = value(l, 4, 0), right = value(l, 15, left);
    double top = value(l, 14, left), bottom = value(l, 16, top);
    double b = rows ? top : left, e = rows ? bottom : right;
    int total = UPZ_MAX((rows ? n->kernel_h : n->kernel_w) - n->stride, 0);
    if (left == -233 || left == -234) {
        *begin = left == -233 ? total / 2 : total - total / 2;
        *end = total - *begin;
        return true;
    }
    if (!(b >= 0 && b <= 64 && e >= 0 && e <= 64)) return false;
    *begin = (int)b, *end = (int)e;
    return true;
}

static int layer_conv(State *s, const Layer *l)
{
    bool deconv = !strncmp(l->type.p, "Deconv", 6);
    Blob *src = l->n_in ? blob_of(s, l->in[0]) : NULL;
    if (!src) return source(s, l, 0);
    src->read = true;
    UpzNode n = upz_node(deconv ? UPZ_OP_DECONV : UPZ_OP_CONV);
    n.src[0] = src->node;
    int out, stride_h, dil, size, in = s->g->nodes[src->node].channels;
    bool ok = whole(l, 0, 0, 1, UPZ_MAX_CHANNELS, &out) && whole(l, 1, 0, 1, 63, &n.kernel_w) &&
              whole(l, 11, n.kernel_w, 1, 63, &n.kernel_h) && whole(l, 3, 1, 1, 16, &n.stride) &&
              whole(l, 13, n.stride, 1, 16, &stride_h) && whole(l, 2, 1, 1, 1, &dil) &&
              whole(l, 12, dil, 1, 1, &dil) && whole(l, 6, 0, 1, INT32_MAX, &size) &&
              whole(l, 7, 1, 1, UPZ_MAX_CHANNELS, &n.groups) && stride_h == n.stride;
    if (!ok) return refuse(s, l, "its kernel, stride, dilation or group is not supported");
    if (value(l, 8, 0) != 0) return refuse(s, l, "quantised (int8) layers are not supported");
    if (value(l, 18, 0) != 0 || value(l, 19, 0) != 0 || value(l, 20, 0) != 0)
        return refuse(s, l, "a padding value, output padding or dynamic weights are not supported");
    if (in % n.groups || out % n.groups || (deconv && n.groups > 1))
        return refuse(s, l, "%d groups of %d channels are not supported", n.groups, in);
    int64_t area = (int64_t)n.kernel_w * n.kernel_h;
    if ((int64_t)in / n.groups * out * area != size)
        return refuse(s, l, "%d weights; %d into %d channels with a %dx%d kernel need %lld", size,
                      in, out, n.kernel_w, n.kernel_h, (long long)in / n.groups * out * area);
    for (int rows = 0; rows < 2; rows++) {
        int b, e, k = rows ? n.kernel_h : n.kernel_w;
        if (!pads_of(l, &n, rows, &b, &e)) return refuse(s, l, "its padding is not supported");
        b += src->pad[rows], e += src->pad[2 + rows];
        int total = b + e;
        if (deconv ? k - n.stride != total : total < k - n.stride || total >= k)
            return refuse(s, l, "a padding of %d+%d for a kernel of %d and stride %d changes the "
                          "picture's size; only \"same\" padding is supported", b, e, k, n.stride);
        if (rows) n.pad_y = b;
        else n.pad_x = b;
    }
    n.weights = read_tensor(s, l, 4, (int64_t[]){out, in / n.groups, n.kernel_h, n.kernel_w}, true);
    if (n.weights < 0) return n.weights;
    if (value(l, 5, 0) != 0) {
        n.bias = read_tensor(s, l, 1, (int64_t[]){out}, false);
        if (n.bias < 0) return n.bias;
    }
    if (deconv) { /* stored [out][in], wanted [in][out] */
        int64_t dims[4] = {in, out, n.kernel_h, n.kernel_w};
        int k = upz_graph_tensor_new(s->g, 4, dims, s->err);
        if (k < 0) return wrap(s, l, k);
        UpzTensor *t = &s->g->tensors[k];
        const UpzTensor *w = &s->g->tensors[n.weights];
        for (int i = 0; i < in; i++)
            for (int o = 0; o < out; o++)
                memcpy(t->data + ((size_t)i * out + o) * area,
                       w->data + ((size_t)o * in + i) * area, (size_t)area * sizeof(float));
        t->half = w->half;
        n.weights = k;
    }
    int r = fused_act(s, l, &n);
    return r < 0 ? r : write_blob(s, l, 0, upz_graph_add(s->g, &n, s->err));
}

static int layer_act(State *s, const Layer *l)
{
    UpzNode n = upz_node(UPZ_OP_ACT);
    n.src[0] = source(s, l, 0);
    if (n.src[0] < 0) return n.src[0];
    if (text_is(l->type, "ReLU")) {
        n.slope = (float)value(l, 0, 0);
        n.act = n.slope == 0 ? UPZ_ACT_RELU : UPZ_ACT_LEAKY;
    } else if (text_is(l->type, "PReLU")) {
        int count;
        if (!whole(l, 0, 0, 1, UPZ_MAX_CHANNELS, &count))
            return refuse(s, l, "%g slopes", value(l, 0, 0));
        n.act = UPZ_ACT_PRELU;
        n.slopes = read_tensor(s, l, 1, (int64_t[]){count}, false);
        if (n.slopes < 0) return n.slopes;
    } else if (text_is(l->type, "Clip")) {
        n.act = UPZ_ACT_CLIP;
        n.lo = (float)value(l, 0, -3.4e38), n.hi = (float)value(l, 1, 3.4e38);
    } else if (text_is(l->type, "GELU")) {
        if (value(l, 0, 0) != 0) return refuse(s, l, "only the exact form is supported");
        n.act = UPZ_ACT_GELU;
    } else {
        n.act = text_is(l->type, "Sigmoid") ? UPZ_ACT_SIGMOID
                : text_is(l->type, "TanH")  ? UPZ_ACT_TANH
                                            : UPZ_ACT_SILU;
    }
    return write_blob(s, l, 0, upz_graph_add(s->g, &n, s->err));
}

static int layer_split(State *s, const Layer *l)
{
    int node = source(s, l, 0), r = node < 0 ? node : 0;
    for (int i = 0; i < l->n_out && !r; i++) r = write_blob(s, l, i, node);
    return r;
}

static int with_number(State *s, const Layer *l, int src, int op, double b)
{
    UpzNode n = upz_node(UPZ_OP_AFFINE);
    n.src[0] = src;
    double scale = op == 2 ? b : op == 3 ? 1 / b : op == 7 ? -1 : 1;
    double offset = op == 0 || op == 7 ? b : op == 1 ? -b : 0;
    if (op > 3 && op != 7) return refuse(s, l, "the operation %d is not supported", op);
    if (!isfinite(scale)) return refuse(s, l, "a division by %g", b);
    n.alpha[0] = (float)scale, n.alpha[1] = (float)offset;
    return upz_graph_add(s->g, &n, s->err);
}

static int layer_binary(State *s, const Layer *l)
{
    int op, a = source(s, l, 0);
    if (a < 0) return a;
    if (!whole(l, 0, 0, 0, 11, &op)) return refuse(s, l, "an unknown operation");
    if (value(l, 1, 0) != 0)
        return write_blob(s, l, 0, with_number(s, l, a, op, value(l, 2, 0)));
    int b = source(s, l, 1);
    if (b < 0) return b;
    if (op > 2 && op != 7) return refuse(s, l, "the operation %d is not supported", op);
    int n = op == 2 ? upz_graph_binary(s->g, UPZ_OP_MUL, a, b, 1, 1, s->err)
                    : upz_graph_binary(s->g, UPZ_OP_ADD, a, b, op == 7 ? -1 : 1, op == 1 ? -1 : 1,
                                       s->err);
    return write_blob(s, l, 0, n);
}

static int layer_eltwise(State *s, const Layer *l)
{
    int op, sum = source(s, l, 0);
    if (!whole(l, 0, 0, 0, 1, &op))
        return refuse(s, l, "only products and sums are supported");
    bool coeffs = l->array_key == 1 && l->n_array > 0;
    if (coeffs && (op != 1 || l->n_array != l->n_in))
        return refuse(s, l, "its coefficients do not match its sources");
    if (l->n_in < 2) return refuse(s, l, "it has %d sources", l->n_in);
    for (int i = 1; i < l->n_in && sum >= 0; i++) {
        int b = source(s, l, i);
        if (b < 0) return b;
        float wa = coeffs && i == 1 ? (float)l->array[0] : 1, wb = coeffs ? (float)l->array[i] : 1;
        sum = op == 0 ? upz_graph_binary(s->g, UPZ_OP_MUL, sum, b, 1, 1, s->err)
                      : upz_graph_binary(s->g, UPZ_OP_ADD, sum, b, wa, wb, s->err);
    }
    return write_blob(s, l, 0, sum);
}

static int layer_concat(State *s, const Layer *l)
{
    int src[UPZ_MAX_SRC];
    if (value(l, 0, 0) != 0) return refuse(s, l, "maps can be joined along the channels only");
    for (int i = 0; i < l->n_in; i++) {
        src[i] = source(s, l, i);
        if (src[i] < 0) return src[i];
    }
    return write_blob(s, l, 0, upz_graph_concat(s->g, src, l->n_in, s->err));
}

static int layer_slice(State *s, const Layer *l)
{
    int src = source(s, l, 0);
    if (src < 0) return src;
    int channels = s->g->nodes[src].channels, first = 0, r = 0;
    if (value(l, 1, 0) != 0 || l->array_key != 0 || l->n_array != l->n_out)
        return refuse(s, l, "only slices along the channels are supported");
    for (int i = 0; i < l->n_out && !r; i++) {
        double size = l->array[i] == -233 ? floor((double)(channels - first) / (l->n_out - i))
                                          : l->array[i];
        if (!(size >= 1 && size <= channels - first))
            return refuse(s, l, "parts that are not within %d channels", channels);
        int count = (int)size;
        UpzNode n = upz_node(UPZ_OP_SLICE);
        n.src[0] = src, n.first = first, n.channels = count;
        r = write_blob(s, l, i, upz_graph_add(s->g, &n, s->err));
        first += count;
    }
    return r;
}

static int layer_shuffle(State *s, const Layer *l)
{
    UpzNode n = upz_node(text_is(l->type, "Reorg") ? UPZ_OP_UNSHUFFLE : UPZ_OP_SHUFFLE);
    n.src[0] = source(s, l, 0);
    if (n.src[0] < 0) return n.src[0];
    if (!whole(l, 0, 1, 1, 16, &n.factor)) return refuse(s, l, "a factor of %g", value(l, 0, 1));
    n.dcr = value(l, 1, 0) != 0;
    return write_blob(s, l, 0, upz_graph_add(s->g, &n, s->err));
}

static int layer_interp(State *s, const Layer *l)
{
    int type, src = source(s, l, 0);
    if (src < 0) return src;
    double sy = value(l, 1, 1), sx = value(l, 2, 1);
    if (value(l, 3, 0) != 0 || value(l, 4, 0) != 0 || value(l, 5, 0) != 0 || l->n_in != 1)
        return refuse(s, l, "a fixed or computed output size is not supported");
    if (value(l, 6, 0) != 0) return refuse(s, l, "align_corners is not supported");
    if (!whole(l, 0, 0, 1, 3, &type)) return refuse(s, l, "the filter %g", value(l, 0, 0));
    UpzNode n = upz_node(UPZ_OP_RESIZE);
    n.src[0] = src;
    for (n.resize_den = 1; n.resize_den <= 16; n.resize_den++) {
        double num = nearbyint(sy * n.resize_den);
        if (num < 1 || num > 64 || fabs(sy * n.resize_den - num) > 1e-5 * num) continue;
        n.resize_num = (int)num;
        break;
    }
    if (sx != sy || n.resize_den > 16)
        return refuse(s, l, "a resize by %g x %g is not supported", sx, sy);
    if (type == 1) {
        if (n.resize_den != 1) return refuse(s, l, "nearest neighbour by %g", sy);
        n.op = UPZ_OP_NEAREST, n.factor = n.resize_num;
    } else {
        n.filter = type == 2 ? UPZ_FILTER_BILINEAR : UPZ_FILTER_BICUBIC;
    }
    return write_blob(s, l, 0, upz_graph_add(s->g, &n, s->err));
}

static int layer_padding(State *s, const Layer *l)
{
    int top, bottom, left, right, src = source(s, l, 0);
    if (src < 0) return src;
    if (value(l, 4, 0) != 0 || value(l, 5, 0) != 0 || value(l, 6, 0) != 0 || value(l, 7, 0) != 0 ||
        value(l, 8, 0) != 0)
        return refuse(s, l, "only padding with zeros is supported");
    if (!whole(l, 0, 0, 0, 64, &top) || !whole(l, 1, 0, 0, 64, &bottom) ||
        !whole(l, 2, 0, 0, 64, &left) || !whole(l, 3, 0, 0, 64, &right))
        return refuse(s, l, "its amounts are not supported");
    int r = write_blob(s, l, 0, src);
    if (!r) memcpy(s->blobs[s->n_blobs - 1].pad, (int[]){left, top, right, bottom}, sizeof(int[4]));
    return r;
}

static int layer_input(State *s, const Layer *l)
{
    if (s->g->n_nodes) return refuse(s, l, "a second input; networks that take one are supported");
    double c = value(l, 2, 0);
    if (c != 0 && c != 3 && c != 1)
        return refuse(s, l, "%g channels; 3 (RGB) or 1 (luma) are supported", c);
    return write_blob(s, l, 0, upz_graph_input(s->g, c != 0 ? (int)c : s->channels, s->err));
}

static const struct {
    const char *type;
    int (*fn)(State *s, const Layer *l);
} types[] = {
    {"Input", layer_input}, {"Split", layer_split}, {"Noop", layer_split},
    {"Dropout", layer_split}, {"Convolution", layer_conv}, {"ConvolutionDepthWise", layer_conv},
    {"Deconvolution", layer_conv}, {"PReLU", layer_act}, {"ReLU", layer_act},
    {"Sigmoid", layer_act}, {"TanH", layer_act}, {"Swish", layer_act}, {"GELU", layer_act},
    {"Clip", layer_act}, {"BinaryOp", layer_binary}, {"Eltwise", layer_eltwise},
    {"Concat", layer_concat}, {"Slice", layer_slice}, {"PixelShuffle", layer_shuffle},
    {"Reorg", layer_shuffle}, {"Interp", layer_interp}, {"Padding", layer_padding},
};

static int do_layer(State *s, const Layer *l)
{
    for (int i = 0; i < UPZ_COUNT(types); i++)
        if (text_is(l->type, types[i].type)) return types[i].fn(s, l);
    return refuse(s, l, "layers of this type are not supported");
}

/* How many channels the picture has: what the first convolution takes, seen through a Reorg. */
static int first_channels(State *s, Text rest)
{
    Layer l;
    double area = 1;
    while (next_layer(s, &rest, &l) > 0) {
        if (text_is(l.type, "Reorg")) area *= value(&l, 0, 1) * value(&l, 0, 1);
        if (!text_is(l.type, "Convolution")) continue;
        double in = value(&l, 6, 0) / (value(&l, 0, 1) * value(&l, 1, 1) *
                                       value(&l, 11, value(&l, 1, 1)) * area);
        return in == 1 ? 1 : 3;
    }
    return 3; /* what is wrong, if anything, the layers will tell */
}

static int find_output(State *s, Text last, int *node)
{
    const Blob *found = NULL;
    int n = 0;
    for (size_t i = 0; i < s->n_blobs; i++) {
        if (s->blobs[i].read) continue;
        found = &s->blobs[i];
        n++;
    }
    Blob *named = blob_of(s, (Text){"output", 6});
    if (n != 1 && named && !named->read) found = named, n = 1;
    if (n != 1)
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s has %d outputs; networks with one are "
                        "supported", s->path, n);
    if (found->pad[0] || found->pad[1] || found->pad[2] || found->pad[3])
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s: the last layer, '%.*s', only pads", s->path,
                        TEXT(last));
    *node = found->node;
    return 0;
}

static int read_layers(State *s, int *output)
{
    Text line, word, last = {"", 0};
    if (!next_line(&s->rest, &line) || !next_word(&line, &word) || !text_is(word, MAGIC))
        return upz_fail(s->err, UPREZ_ERR_MODEL,
                        "%s does not begin with %s: it is no ncnn text .param", s->path, MAGIC);
    if (!next_line(&s->rest, &line))
        return upz_fail(s->err, UPREZ_ERR_MODEL, "%s is cut short", s->path);
    s->channels = first_channels(s, s->rest);
    Layer l;
    int r;
    while ((r = next_layer(s, &s->rest, &l)) > 0) {
        r = do_layer(s, &l);
        if (r < 0) return r;
        last = l.name;
    }
    if (r < 0) return r;
    if (s->at != s->bin_size)
        return upz_fail(s->err, UPREZ_ERR_MODEL,
                        "%s and its .bin do not belong together: the layers use %zu of %zu bytes",
                        s->path, s->at, s->bin_size);
    return find_output(s, last, output);
}

int upz_ncnn_read(const char *path, const void *param, size_t param_size, const void *bin,
                  size_t bin_size, UpzGraph *g, UprezModelFacts *facts, char **detail,
                  UprezError *err)
{
    State s = {.path = path, .rest = {param, param_size}, .bin = bin, .bin_size = bin_size, .g = g,
               .err = err};
    int output = -1, r = read_layers(&s, &output);
    upz_free(s.blobs);
    if (r < 0) return r;
    r = upz_graph_finish(g, output, facts, err);
    if (r < 0) {
        UprezError why = err ? *err : (UprezError){0};
        return r == UPREZ_ERR_MEMORY ? r : upz_fail(err, r, "%s: %s", path, why.text);
    }
    facts->architecture = "ncnn";
    facts->container = "ncnn";
    facts->input = facts->channels == 1 ? UPREZ_INPUT_Y_FULL : UPREZ_INPUT_RGB;
    upz_sha256_two(param, param_size, bin, bin_size, facts->sha256);
    int convs = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        convs += g->nodes[i].op == UPZ_OP_CONV || g->nodes[i].op == UPZ_OP_DECONV;
    *detail = upz_asprintf("%d convolutions in %zu layers, %s kernels", convs, g->n_nodes,
                           s.half ? "fp16" : "fp32");
    return *detail ? 0 : upz_fail_memory(err, 128, "a description");
}

/* STEM + tail as a new string. */
static char *joined(const char *path, size_t stem, const char *tail)
{
    return upz_asprintf("%.*s%s", (int)stem, path, tail);
}

/* The other file of the pair, or NULL: NAME.bin for NAME.param; else, as animevideov3's are often
 * kept, one NAME.bin for NAME-x1.param … NAME-x4.param. The same the other way round. */
static char *partner(const char *path, bool have_param, bool *no_memory)
{
    static const char *const tails[] = {".param", "-x4.param", "-x3.param", "-x2.param",
                                        "-x1.param"};
    size_t stem = (size_t)(upz_extension(path) - path) - 1;
    for (int i = 0; i < (have_param ? 2 : UPZ_COUNT(tails)); i++) {
        size_t n = stem;
        if (have_param && i == 1) {
            if (n < 3 || path[n - 3] != '-' || path[n - 2] != 'x' ||
                !isdigit((unsigned char)path[n - 1]))
                return NULL;
            n -= 3;
        }
        char *other = joined(path, n, have_param ? ".bin" : tails[i]);
        *no_memory = !other;
        if (!other || upz_exists(other)) return other;
        upz_free(other);
    }
    return NULL;
}

static int read_graph(const UpzModelFile *f, UpzGraph *g, UprezModelFacts *facts, char **detail,
                      UprezError *err)
{
    bool have_param = strcasecmp(upz_extension(f->path), "bin") != 0;
    bool no_memory = false;
    char *other = upz_extension(f->path)[0] ? partner(f->path, have_param, &no_memory) : NULL;
    if (no_memory) return upz_fail_memory(err, strlen(f->path), "a file name");
    if (!other)
        return upz_fail(err, UPREZ_ERR_MODEL, "%s: ncnn networks are two files; its %s is not "
                        "beside it", f->path, have_param ? ".bin" : ".param");
    UpzMap map;
    int r = upz_map_open(&map, other, UPZ_MODEL_MAX_BYTES, UPREZ_ERR_MODEL, err);
    if (!r)
        r = have_param ? upz_ncnn_read(f->path, f->data, f->size, map.data, map.size, g, facts,
                                       detail, err)
                       : upz_ncnn_read(other, map.data, map.size, f->data, f->size, g, facts,
                                       detail, err);
    upz_map_close(&map);
    upz_free(other);
    return r;
}

static bool probe(const UpzModelFile *f)
{
    const char *ext = upz_extension(f->path);
    if (!strcasecmp(ext, "param")) return true;
    if (f->size > sizeof(MAGIC) && !memcmp(f->data, MAGIC "\n", sizeof(MAGIC))) return true;
    if (strcasecmp(ext, "bin") != 0) return false;
    bool no_memory;
    char *param = partner(f->path, false, &no_memory);
    bool found = param != NULL;
    upz_free(param);
    return found;
}

const UpzReader upz_reader_ncnn = {.name = "ncnn", .probe = probe, .read_graph = read_graph};
