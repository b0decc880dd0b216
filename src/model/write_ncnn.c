/* The graph as ncnn's .param (layers, one a line) and .bin (their weights in that order). Parameter
 * numbers, weight order and tags are those of ncnn's source, as in read_ncnn.c.
 *
 * A value that several layers read goes through a Split, as ncnn demands: its n-th reader takes the
 * n-th copy. */
#include "model/write.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "model/write_bytes.h"

#define TAG_HALF 0x01306B47u
#define MOST_ROWS 16384 /* sizes at which a factor is checked */

typedef struct Name {
    char t[32];
} Name;

typedef struct State {
    const UprezModel *model;
    const UpzGraph *g;
    bool half;
    UpzBytes param, bin;
    int *uses, *taken; /* of each value: readers, and those that have their copy */
    int n_layers, n_blobs, index, n_temps;
    int r;             /* the first error */
    UprezError *err;
} State;

static void refuse(State *s, const char *what)
{
    if (s->r < 0) return;
    s->r = upz_fail(s->err, UPREZ_ERR_MODEL, "%s has no ncnn form: layer %d is %s; .onnx can hold it",
                    upz_basename(s->model->facts.path), s->index, what);
}

/* The blob a layer writes. */
static Name made(const State *s, int value)
{
    Name n;
    if (value == 0) snprintf(n.t, sizeof(n.t), "data");
    else if (value == s->g->output && s->uses[value] == 1) snprintf(n.t, sizeof(n.t), "output");
    else snprintf(n.t, sizeof(n.t), "v%d", value);
    return n;
}

static Name copy_of(const State *s, int value, int k)
{
    Name n = made(s, value);
    /* the graph itself is the last to read its output */
    if (value == s->g->output && k == s->uses[value] - 1) snprintf(n.t, sizeof(n.t), "output");
    else if (s->uses[value] > 1) snprintf(n.t, sizeof(n.t), "%.16s_%d", made(s, value).t, k);
    return n;
}

/* The blob the next reader gets. */
static Name take(State *s, int value) { return copy_of(s, value, s->taken[value]++); }

static Name temp(State *s)
{
    Name n;
    snprintf(n.t, sizeof(n.t), "t%d_%d", s->index, s->n_temps++);
    return n;
}

/* Begins a line; keys follow, then end_line(). */
static void line(State *s, const char *type, int n_src, const Name *src, int n_dst)
{
    upz_bytes_printf(&s->param, "%-24s layer%d %d %d", type, s->n_layers++, n_src, n_dst);
    for (int i = 0; i < n_src; i++) upz_bytes_printf(&s->param, " %s", src[i].t);
    s->n_blobs += n_dst;
}

static void blob(State *s, Name n) { upz_bytes_printf(&s->param, " %s", n.t); }
static void key_int(State *s, int key, int v) { upz_bytes_printf(&s->param, " %d=%d", key, v); }
static void end_line(State *s) { upz_bytes_text(&s->param, "\n"); }

/* ncnn reads at most 15 characters; nine digits say a float exactly. */
static void number(State *s, float v)
{
    upz_bytes_printf(&s->param, "%.8e", (double)v);
}

static void key_float(State *s, int key, float v)
{
    upz_bytes_printf(&s->param, " %d=", key);
    number(s, v);
}

static void key_array(State *s, int key, int n, const float *v)
{
    upz_bytes_printf(&s->param, " %d=%d", -23300 - key, n);
    for (int i = 0; i < n; i++) {
        upz_bytes_text(&s->param, ",");
        number(s, v[i]);
    }
}

static void numbers(State *s, const float *v, int64_t n, bool half, const char *name)
{
    if (s->r < 0) return;
    s->r = upz_bytes_numbers(&s->bin, v, n, half, name ? name : "unnamed", s->err);
    if (s->r >= 0 && half && n % 2) upz_bytes_put(&s->bin, "\0\0", 2);
}

static void kernel(State *s, const float *v, int64_t n, bool half, const char *name)
{
    upz_bytes_u32(&s->bin, half ? TAG_HALF : 0);
    numbers(s, v, n, half, name);
}

static void plain(State *s, int tensor)
{
    const UpzTensor *t = &s->g->tensors[tensor];
    numbers(s, t->data, t->count, false, t->name);
}

/* ---- layers ---- */

static void activation(State *s, const UpzNode *n, Name src, Name dst)
{
    static const char *const types[] = {[UPZ_ACT_NONE] = "Noop", [UPZ_ACT_RELU] = "ReLU",
        [UPZ_ACT_LEAKY] = "ReLU", [UPZ_ACT_PRELU] = "PReLU", [UPZ_ACT_SIGMOID] = "Sigmoid",
        [UPZ_ACT_TANH] = "TanH", [UPZ_ACT_SILU] = "Swish", [UPZ_ACT_GELU] = "GELU",
        [UPZ_ACT_CLIP] = "Clip"};
    line(s, types[n->act], 1, &src, 1);
    blob(s, dst);
    if (n->act == UPZ_ACT_LEAKY) key_float(s, 0, n->slope);
    if (n->act == UPZ_ACT_CLIP && n->lo >= -3.3e38f) key_float(s, 0, n->lo);
    if (n->act == UPZ_ACT_CLIP && n->hi <= 3.3e38f) key_float(s, 1, n->hi);
    if (n->act == UPZ_ACT_PRELU) {
        key_int(s, 0, (int)s->g->tensors[n->slopes].count);
        plain(s, n->slopes);
    }
    end_line(s);
}

/* The number of an activation that convolutions can do themselves, or 0. */
static int fused(const UpzNode *n)
{
    switch (n->act) {
    case UPZ_ACT_RELU: return 1;
    case UPZ_ACT_LEAKY: return 2;
    case UPZ_ACT_CLIP: return isfinite(n->lo) && isfinite(n->hi) ? 3 : 0;
    case UPZ_ACT_SIGMOID: return 4;
    default: return 0;
    }
}

static void deconv_kernel(State *s, const UpzTensor *t)
{
    int64_t in = t->dims[0], out = t->dims[1], area = t->dims[2] * t->dims[3];
    float *turned = upz_calloc((size_t)t->count, sizeof(*turned)); /* [out][in] */
    if (!turned) {
        s->r = upz_fail_memory(s->err, (size_t)t->count * sizeof(*turned), "a layer's weights");
        return;
    }
    for (int64_t i = 0; i < in; i++)
        for (int64_t o = 0; o < out; o++)
            memcpy(turned + (o * in + i) * area, t->data + (i * out + o) * area,
                   (size_t)area * sizeof(float));
    kernel(s, turned, t->count, s->half, t->name);
    upz_free(turned);
}

static void conv(State *s, const UpzNode *n, Name src, Name dst)
{
    const UpzTensor *t = &s->g->tensors[n->weights];
    bool deconv = n->op == UPZ_OP_DECONV;
    /* as in ONNX: rows beyond "same" are never read and make the size ceil(size / stride) */
    int bottom = n->kernel_h - n->pad_y - (deconv ? n->stride : 1);
    int right = n->kernel_w - n->pad_x - (deconv ? n->stride : 1);
    if (deconv && n->groups > 1) {
        refuse(s, "a transposed convolution in groups");
        return;
    }
    if (bottom < 0 || right < 0) {
        refuse(s, "a transposed convolution that grows beyond its kernel");
        return;
    }
    line(s, deconv ? "Deconvolution" : n->groups > 1 ? "ConvolutionDepthWise" : "Convolution", 1,
         &src, 1);
    blob(s, dst);
    key_int(s, 0, n->channels);
    key_int(s, 1, n->kernel_w);
    key_int(s, 11, n->kernel_h);
    key_int(s, 3, n->stride);
    key_int(s, 13, n->stride);
    key_int(s, 4, n->pad_x);
    key_int(s, 14, n->pad_y);
    key_int(s, 15, right);
    key_int(s, 16, bottom);
    key_int(s, 5, n->bias != UPZ_NO_TENSOR);
    key_int(s, 6, (int)t->count);
    if (n->groups > 1) key_int(s, 7, n->groups);
    if (fused(n)) key_int(s, 9, fused(n));
    if (n->act == UPZ_ACT_LEAKY) key_array(s, 10, 1, &n->slope);
    if (fused(n) == 3) key_array(s, 10, 2, (float[]){n->lo, n->hi});
    end_line(s);
    if (deconv) deconv_kernel(s, t);
    else kernel(s, t->data, t->count, s->half, t->name);
    if (n->bias != UPZ_NO_TENSOR) plain(s, n->bias);
}

static void add(State *s, const UpzNode *n, Name dst)
{
    Name src[2];
    for (int i = 0; i < 2; i++) src[i] = take(s, n->src[i]);
    bool minus = n->alpha[0] == 1 && n->alpha[1] == -1;
    bool simple = minus || (n->alpha[0] == 1 && n->alpha[1] == 1);
    line(s, simple ? "BinaryOp" : "Eltwise", 2, src, 1);
    blob(s, dst);
    key_int(s, 0, simple ? minus : 1);
    if (!simple) key_array(s, 1, 2, n->alpha);
    end_line(s);
}

static void multiply(State *s, const UpzNode *n, Name dst)
{
    Name src[2];
    for (int i = 0; i < 2; i++) src[i] = take(s, n->src[i]);
    line(s, "BinaryOp", 2, src, 1);
    blob(s, dst);
    key_int(s, 0, 2);
    end_line(s);
}

static void with_number(State *s, int op, float v, Name src, Name dst)
{
    line(s, "BinaryOp", 1, &src, 1);
    blob(s, dst);
    key_int(s, 0, op);
    key_int(s, 1, 1);
    key_float(s, 2, v);
    end_line(s);
}

static float channel_value(const State *s, int tensor, int c, float otherwise)
{
    if (tensor == UPZ_NO_TENSOR) return otherwise;
    const UpzTensor *t = &s->g->tensors[tensor];
    return t->data[t->count == 1 ? 0 : c];
}

/* Per channel: a 1x1 convolution of each channel by itself, always in fp32. */
static void affine(State *s, const UpzNode *n, Name src, Name dst)
{
    if (n->weights == UPZ_NO_TENSOR && n->bias == UPZ_NO_TENSOR) {
        bool scales = n->alpha[0] != 1, adds = n->alpha[1] != 0;
        Name between = scales && adds ? temp(s) : dst;
        if (scales || !adds) with_number(s, 2, n->alpha[0], src, between);
        if (adds) with_number(s, 0, n->alpha[1], scales ? between : src, dst);
        return;
    }
    line(s, "ConvolutionDepthWise", 1, &src, 1);
    blob(s, dst);
    key_int(s, 0, n->channels);
    key_int(s, 1, 1);
    key_int(s, 5, 1);
    key_int(s, 6, n->channels);
    key_int(s, 7, n->channels);
    end_line(s);
    upz_bytes_u32(&s->bin, 0);
    for (int part = 0; part < 2; part++)
        for (int c = 0; c < n->channels; c++) {
            float v = channel_value(s, part ? n->bias : n->weights, c, part ? 0 : 1);
            numbers(s, &v, 1, false, NULL);
        }
}

static void concat(State *s, const UpzNode *n, Name dst)
{
    Name src[UPZ_MAX_SRC];
    for (int i = 0; i < n->n_src; i++) src[i] = take(s, n->src[i]);
    line(s, "Concat", n->n_src, src, 1);
    blob(s, dst);
    key_int(s, 0, 0);
    end_line(s);
}

/* Before, wanted, behind: parts nobody reads are left lying. */
static void slice(State *s, const UpzNode *n, Name src, Name dst)
{
    int all = s->g->nodes[n->src[0]].channels;
    int size[3] = {n->first, n->channels, all - n->first - n->channels};
    line(s, "Slice", 1, &src, (size[0] > 0) + 1 + (size[2] > 0));
    for (int i = 0; i < 3; i++)
        if (size[i]) blob(s, i == 1 ? dst : temp(s));
    upz_bytes_printf(&s->param, " -23300=%d", (size[0] > 0) + 1 + (size[2] > 0));
    for (int i = 0; i < 3; i++)
        if (size[i]) upz_bytes_printf(&s->param, ",%d", size[i]);
    end_line(s);
}

static void shuffle(State *s, const UpzNode *n, Name src, Name dst)
{
    line(s, n->op == UPZ_OP_SHUFFLE ? "PixelShuffle" : "Reorg", 1, &src, 1);
    blob(s, dst);
    key_int(s, 0, n->factor);
    key_int(s, 1, n->dcr);
    end_line(s);
}

/* A factor with which ncnn, which multiplies and cuts off in fp32, gets every size right. */
static bool exact_factor(int num, int den, float *out)
{
    float f = (float)num / (float)den;
    for (int try = 0; try < 3; try++, f = nextafterf(f, INFINITY)) {
        int h = den;
        while (h <= MOST_ROWS && (int)((float)h * f) == h / den * num) h += den;
        *out = f;
        if (h > MOST_ROWS) return true;
    }
    return false;
}

static void resize(State *s, const UpzNode *n, Name src, Name dst)
{
    bool near = n->op == UPZ_OP_NEAREST || n->filter == UPZ_FILTER_NEAREST;
    int num = n->op == UPZ_OP_NEAREST ? n->factor : n->resize_num;
    int den = n->op == UPZ_OP_NEAREST ? 1 : n->resize_den;
    float factor;
    if (near && den != 1) {
        refuse(s, "a nearest-neighbour resize by a fraction, from pixel centres");
        return;
    }
    if (!exact_factor(num, den, &factor)) {
        refuse(s, "a resize by a fraction that ncnn rounds");
        return;
    }
    line(s, "Interp", 1, &src, 1);
    blob(s, dst);
    key_int(s, 0, near ? 1 : n->filter == UPZ_FILTER_BILINEAR ? 2 : 3);
    key_float(s, 1, factor);
    key_float(s, 2, factor);
    end_line(s);
}

static void split(State *s, int value)
{
    if (s->uses[value] < 2) return;
    Name src = made(s, value);
    line(s, "Split", 1, &src, s->uses[value]);
    for (int k = 0; k < s->uses[value]; k++) blob(s, copy_of(s, value, k));
    end_line(s);
}

static void layer(State *s, int i)
{
    const UpzNode *n = &s->g->nodes[i];
    s->index = i, s->n_temps = 0;
    bool own = n->op == UPZ_OP_ACT ||
               ((n->op == UPZ_OP_CONV || n->op == UPZ_OP_DECONV) && fused(n));
    bool act = n->act != UPZ_ACT_NONE && !own;
    Name dst = made(s, i), to = act ? temp(s) : dst;
    bool many = n->op == UPZ_OP_ADD || n->op == UPZ_OP_MUL || n->op == UPZ_OP_CONCAT;
    Name src = many || !n->n_src ? dst : take(s, n->src[0]);
    switch (n->op) {
    case UPZ_OP_INPUT:
        line(s, "Input", 0, NULL, 1);
        blob(s, to);
        key_int(s, 0, 0);
        key_int(s, 1, 0);
        key_int(s, 2, n->channels);
        end_line(s);
        break;
    case UPZ_OP_CONV: case UPZ_OP_DECONV: conv(s, n, src, to); break;
    case UPZ_OP_ACT: activation(s, n, src, dst); break;
    case UPZ_OP_ADD: add(s, n, to); break;
    case UPZ_OP_MUL: multiply(s, n, to); break;
    case UPZ_OP_AFFINE: affine(s, n, src, to); break;
    case UPZ_OP_CONCAT: concat(s, n, to); break;
    case UPZ_OP_SLICE: slice(s, n, src, to); break;
    case UPZ_OP_SHUFFLE: case UPZ_OP_UNSHUFFLE: shuffle(s, n, src, to); break;
    case UPZ_OP_NEAREST: case UPZ_OP_RESIZE: resize(s, n, src, to); break;
    default: refuse(s, "of an unknown kind");
    }
    if (act) activation(s, n, to, dst);
    split(s, i);
}

/* ncnn's files cannot say that luma is to be in studio range (black is 16 of 255), and whoever runs them gives
 * full range: the change of range becomes a layer at each end. g: the model's graph, whose nodes are
 * replaced (upz_free); its tensors stay the model's. */
static int in_full_range(UpzGraph *g, UprezError *err)
{
    const double black = 16.0 / 255, white = 235.0 / 255;
    const size_t n = g->n_nodes;
    UpzNode *nodes = upz_calloc(n + 2, sizeof(*nodes));
    if (!nodes) return upz_fail_memory(err, (n + 2) * sizeof(*nodes), "the layer list");
    nodes[0] = g->nodes[0];
    for (size_t i = 1; i < n; i++) {
        nodes[i + 1] = g->nodes[i];
        for (int k = 0; k < nodes[i + 1].n_src; k++) nodes[i + 1].src[k]++;
    }
    UpzNode ends[2] = {upz_node(UPZ_OP_AFFINE), upz_node(UPZ_OP_AFFINE)};
    ends[0].n_src = ends[1].n_src = 1;
    ends[0].channels = ends[1].channels = 1;
    ends[0].src[0] = 0, ends[1].src[0] = g->output + 1;
    ends[0].num = ends[0].den = 1;
    ends[1].num = g->nodes[g->output].num, ends[1].den = g->nodes[g->output].den;
    ends[0].alpha[0] = (float)(white - black), ends[0].alpha[1] = (float)black;
    ends[1].alpha[0] = (float)(1 / (white - black)), ends[1].alpha[1] = (float)(-black / (white - black));
    nodes[1] = ends[0], nodes[n + 1] = ends[1];
    g->nodes = nodes;
    g->n_nodes = n + 2;
    g->output = (int)n + 1;
    return 0;
}

int upz_write_ncnn_memory(const UprezModel *model, bool half, uint8_t **param, size_t *param_size,
                          uint8_t **bin, size_t *bin_size, UprezError *err)
{
    *param = *bin = NULL;
    *param_size = *bin_size = 0;
    const bool studio = model->facts.input == UPREZ_INPUT_Y_STUDIO;
    UpzGraph graph = model->graph;
    State s = {.model = model, .g = &graph, .half = half, .err = err};
    int r = upz_write_check(model, half ? 2 : 4, err);
    if (r >= 0 && studio) r = in_full_range(&graph, err);
    if (r < 0) return r;
    size_t n = s.g->n_nodes;
    s.uses = upz_calloc(2 * n, sizeof(*s.uses));
    if (!s.uses) {
        if (studio) upz_free(graph.nodes);
        return upz_fail_memory(err, 2 * n * sizeof(*s.uses), "the layer list");
    }
    s.taken = s.uses + n;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < s.g->nodes[i].n_src; k++) s.uses[s.g->nodes[i].src[k]]++;
    s.uses[s.g->output]++;
    for (size_t i = 0; i < n; i++) layer(&s, (int)i);
    char head[64];
    int len = snprintf(head, sizeof(head), "7767517\n%d %d\n", s.n_layers, s.n_blobs);
    uint8_t *p = upz_bytes_insert(&s.param, 0, (size_t)len);
    if (p) memcpy(p, head, (size_t)len);
    r = s.r;
    if (!r && (s.param.failed || s.bin.failed))
        r = upz_fail_memory(err, s.param.n + s.bin.n, "the ncnn files");
    upz_free(s.uses);
    if (studio) upz_free(graph.nodes);
    if (r < 0) {
        upz_free(s.param.data);
        upz_free(s.bin.data);
        return r;
    }
    *param = s.param.data, *param_size = s.param.n;
    *bin = s.bin.data, *bin_size = s.bin.n;
    return 0;
}
