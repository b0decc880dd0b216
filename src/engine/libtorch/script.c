#include "engine/libtorch/script.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "model/write_bytes.h"

/* How a tensor is handed over. BY_CHANNEL: shaped to go along with a map. */
typedef enum Form { AS_IS, FLAT, BY_CHANNEL, FORMS } Form;

typedef struct Writer {
    const UpzGraph *g;
    UpzBytes text;
    UpzTorchScript *script;
    int *made; /* of each tensor in each form: its place among the weights plus 1, or 0 */
} Writer;

typedef struct Text {
    char t[40];
} Text;

static Text with_point(Text s)
{
    if (!strpbrk(s.t, ".en")) strncat(s.t, ".0", sizeof(s.t) - strlen(s.t) - 1);
    return s;
}

static Text number(double x)
{
    Text s;
    if (isinf(x)) snprintf(s.t, sizeof(s.t), "%sfloat(\"inf\")", x > 0 ? "" : "-");
    else snprintf(s.t, sizeof(s.t), "%.9g", x);
    return isinf(x) ? s : with_point(s);
}

#define PUT(...) upz_bytes_printf(&w->text, __VA_ARGS__)
/* The line that makes value i, perhaps anew from what it was. */
#define LINE(...) (PUT("    v%d = ", i), PUT(__VA_ARGS__), PUT("\n"))

/* A tensor as the module's parameter, "self.NAME". */
static const char *tensor(Writer *w, int index, Form form)
{
    if (index == UPZ_NO_TENSOR) return "None";
    int *made = &w->made[index * FORMS + (int)form];
    if (*made) return w->script->weights[*made - 1].self;
    const UpzTensor *t = &w->g->tensors[index];
    UpzTorchWeight *weight = &w->script->weights[w->script->n_weights++];
    *made = (int)w->script->n_weights;
    weight->data = t->data;
    weight->n_dims = form == AS_IS ? t->n_dims : form == FLAT ? 1 : 4;
    for (int i = 0; i < weight->n_dims; i++) weight->dims[i] = form == AS_IS ? t->dims[i] : 1;
    if (form != AS_IS) weight->dims[form == FLAT ? 0 : 1] = t->count;
    static const char *const marks[FORMS] = {"", "f", "c"};
    const char *name = t->name ? t->name : "";
    snprintf(weight->self, sizeof(weight->self), "self.w%d%s%s%.60s", index, marks[form],
             *name ? "_" : "", name);
    for (char *p = weight->self + 5; *p; p++)
        if (!isalnum((unsigned char)*p)) *p = '_';
    return weight->self;
}

/* ---- layers ---- */

/* Whether ATen's symmetric padding makes out = in / stride; else what to add behind. */
static int behind(int kernel, int stride, int pad)
{
    const int over = 2 * pad - kernel;
    return -stride <= over && over < 0 ? -1 : UPZ_MAX(kernel - stride - pad, 0);
}

static void conv(Writer *w, int i, const UpzNode *n)
{
    const int below = behind(n->kernel_h, n->stride, n->pad_y);
    const int right = behind(n->kernel_w, n->stride, n->pad_x);
    const bool inside = below < 0 && right < 0;
    if (!inside)
        LINE("torch.constant_pad_nd(v%d, [%d, %d, %d, %d], 0.0)", n->src[0], n->pad_x,
             right < 0 ? n->pad_x : right, n->pad_y, below < 0 ? n->pad_y : below);
    LINE("torch.conv2d(v%d, %s, %s, [%d, %d], [%d, %d], [1, 1], %d)", inside ? n->src[0] : i,
         tensor(w, n->weights, AS_IS), tensor(w, n->bias, FLAT), n->stride, n->stride,
         inside ? n->pad_y : 0, inside ? n->pad_x : 0, n->groups);
}

/* The part of value i, from x and y on, that is its source's size times the stride. */
static void cut(Writer *w, int i, const UpzNode *n, int x, int y)
{
    LINE("torch.narrow(torch.narrow(v%d, 2, %d, v%d.size(2) * %d), 3, %d, v%d.size(3) * %d)", i, y,
         n->src[0], n->stride, x, n->src[0], n->stride);
}

static void deconv(Writer *w, int i, const UpzNode *n)
{
    /* rows behind the last that ATen's own padding would leave out, or has too many (< 0) */
    const int more_y = n->stride - n->kernel_h + 2 * n->pad_y;
    const int more_x = n->stride - n->kernel_w + 2 * n->pad_x;
    const bool easy = more_y < n->stride && more_x < n->stride;
    LINE("torch.conv_transpose2d(v%d, %s, %s, [%d, %d], [%d, %d], [%d, %d], %d, [1, 1])", n->src[0],
         tensor(w, n->weights, AS_IS), easy ? tensor(w, n->bias, FLAT) : "None", n->stride,
         n->stride, easy ? n->pad_y : 0, easy ? n->pad_x : 0, easy ? UPZ_MAX(more_y, 0) : 0,
         easy ? UPZ_MAX(more_x, 0) : 0, n->groups);
    if (easy) {
        if (more_y < 0 || more_x < 0) cut(w, i, n, 0, 0);
        return;
    }
    LINE("torch.constant_pad_nd(v%d, [0, %d, 0, %d], 0.0)", i,
         UPZ_MAX(n->pad_x + n->stride - n->kernel_w, 0),
         UPZ_MAX(n->pad_y + n->stride - n->kernel_h, 0));
    cut(w, i, n, n->pad_x, n->pad_y);
    if (n->bias != UPZ_NO_TENSOR) LINE("torch.add(v%d, %s)", i, tensor(w, n->bias, BY_CHANNEL));
}

static void add(Writer *w, int i, const UpzNode *n)
{
    const float a = n->alpha[0], b = n->alpha[1];
    const int x = n->src[0], y = n->src[1];
    if (a == 1 && b == 1) LINE("torch.add(v%d, v%d)", x, y);
    else if (a == 1) LINE("torch.add(v%d, v%d, alpha=%s)", x, y, number(b).t);
    else if (b == 1) LINE("torch.add(v%d, v%d, alpha=%s)", y, x, number(a).t);
    else
        LINE("torch.add(torch.mul(v%d, %s), v%d, alpha=%s)", x, number(a).t, y, number(b).t);
}

static void affine(Writer *w, int i, const UpzNode *n)
{
    const bool tensors = n->weights != UPZ_NO_TENSOR || n->bias != UPZ_NO_TENSOR;
    const Text scale = tensors ? (Text){"1.0"} : number(n->alpha[0]);
    LINE("torch.mul(v%d, %s)", n->src[0],
         n->weights == UPZ_NO_TENSOR ? scale.t : tensor(w, n->weights, BY_CHANNEL));
    if (!tensors) LINE("torch.add(v%d, %s)", i, number(n->alpha[1]).t);
    else if (n->bias != UPZ_NO_TENSOR) LINE("torch.add(v%d, %s)", i, tensor(w, n->bias, BY_CHANNEL));
}

static void concat(Writer *w, int i, const UpzNode *n)
{
    PUT("    v%d = torch.cat([", i);
    for (int k = 0; k < n->n_src; k++) PUT("%sv%d", k ? ", " : "", n->src[k]);
    PUT("], 1)\n");
}

/* (dy, dx, c) <-> (c, dy, dx) in the channels of the smaller map, value x, into value i. */
static void reorder(Writer *w, int i, int x, int first, int second)
{
    LINE("torch.reshape(v%d, [v%d.size(0), %d, %d, v%d.size(2), v%d.size(3)])", x, x, first, second,
         x, x);
    LINE("torch.transpose(v%d, 1, 2)", i);
    LINE("torch.reshape(v%d, [v%d.size(0), %d, v%d.size(3), v%d.size(4)])", i, i, first * second, i,
         i);
}

static void shuffle(Writer *w, int i, const UpzNode *n)
{
    if (n->dcr) reorder(w, i, n->src[0], n->factor * n->factor, n->channels);
    LINE("torch.pixel_shuffle(v%d, %d)", n->dcr ? i : n->src[0], n->factor);
}

static void unshuffle(Writer *w, int i, const UpzNode *n)
{
    const int phases = n->factor * n->factor;
    LINE("torch.pixel_unshuffle(v%d, %d)", n->src[0], n->factor);
    if (n->dcr) reorder(w, i, i, n->channels / phases, phases);
}

static void resize(Writer *w, int i, const UpzNode *n)
{
    static const char *const calls[] = {[UPZ_FILTER_BILINEAR] = "upsample_bilinear2d",
                                        [UPZ_FILTER_BICUBIC] = "upsample_bicubic2d",
                                        [UPZ_FILTER_NEAREST] = "_upsample_nearest_exact2d"};
    Text scale;
    snprintf(scale.t, sizeof(scale.t), "%.17g", (double)n->resize_num / n->resize_den);
    scale = with_point(scale);
    LINE("torch.%s(v%d, [v%d.size(2) * %d // %d, v%d.size(3) * %d // %d], %s%s, %s)",
         calls[n->filter], n->src[0], n->src[0], n->resize_num, n->resize_den, n->src[0],
         n->resize_num, n->resize_den, n->filter == UPZ_FILTER_NEAREST ? "" : "False, ", scale.t,
         scale.t);
}

/* fresh: the map is the node's own, so it may be overwritten. */
static void activation(Writer *w, int i, const UpzNode *n, bool fresh)
{
    const char *in_place = fresh ? "_" : "";
    switch (n->act) {
    case UPZ_ACT_RELU: LINE("torch.relu%s(v%d)", in_place, i); break;
    case UPZ_ACT_LEAKY:
        LINE("torch.leaky_relu%s(v%d, %s)", in_place, i, number(n->slope).t);
        break;
    case UPZ_ACT_PRELU: LINE("torch.prelu(v%d, %s)", i, tensor(w, n->slopes, FLAT)); break;
    case UPZ_ACT_SIGMOID: LINE("torch.sigmoid%s(v%d)", in_place, i); break;
    case UPZ_ACT_TANH: LINE("torch.tanh%s(v%d)", in_place, i); break;
    case UPZ_ACT_SILU: LINE("torch.silu%s(v%d)", in_place, i); break;
    case UPZ_ACT_GELU: LINE("torch.gelu(v%d)", i); break;
    case UPZ_ACT_CLIP:
        LINE("torch.clamp%s(v%d, %s, %s)", in_place, i, number(n->lo).t, number(n->hi).t);
        break;
    default: break;
    }
}

static int node(Writer *w, int i, UprezError *err)
{
    const UpzNode *n = &w->g->nodes[i];
    const int x = n->src[0];
    bool fresh = true;
    switch (n->op) {
    case UPZ_OP_INPUT:
        LINE("input");
        fresh = false;
        break;
    case UPZ_OP_CONV: conv(w, i, n); break;
    case UPZ_OP_DECONV: deconv(w, i, n); break;
    case UPZ_OP_ACT:
        LINE("v%d", x);
        fresh = false;
        break;
    case UPZ_OP_ADD: add(w, i, n); break;
    case UPZ_OP_MUL: LINE("torch.mul(v%d, v%d)", x, n->src[1]); break;
    case UPZ_OP_AFFINE: affine(w, i, n); break;
    case UPZ_OP_CONCAT: concat(w, i, n); break;
    case UPZ_OP_SLICE:
        LINE("torch.narrow(v%d, 1, %d, %d)", x, n->first, n->channels);
        fresh = false;
        break;
    case UPZ_OP_SHUFFLE: shuffle(w, i, n); break;
    case UPZ_OP_UNSHUFFLE: unshuffle(w, i, n); break;
    case UPZ_OP_NEAREST:
        LINE("torch.upsample_nearest2d(v%d, [v%d.size(2) * %d, v%d.size(3) * %d], %d.0, %d.0)", x, x,
             n->factor, x, n->factor, n->factor, n->factor);
        break;
    case UPZ_OP_RESIZE: resize(w, i, n); break;
    default:
        return upz_fail(err, UPREZ_ERR_MODEL, "engine libtorch has no form for layer %d (%s) of "
                        "this network", i, upz_op_name(n->op));
    }
    activation(w, i, n, fresh);
    return 0;
}

/* ---- the whole ---- */

static void pad_input(Writer *w, int align)
{
    const UpzPadMode mode = w->g->pad_mode;
    PUT("    height = input.size(2)\n    width = input.size(3)\n");
    PUT("    below = (%d - height %% %d) %% %d\n", align, align, align);
    PUT("    right = (%d - width %% %d) %% %d\n", align, align, align);
    PUT("    if below + right > 0:\n        input = torch.%s(input, [0, right, 0, below])\n",
        mode == UPZ_PAD_REPLICATE ? "replication_pad2d"
        : mode == UPZ_PAD_REFLECT ? "reflection_pad2d"
                                  : "constant_pad_nd");
}

int upz_torch_script(UpzTorchScript *out, const UprezModel *model, bool pad, UprezError *err)
{
    const UpzGraph *g = &model->graph;
    const UprezModelFacts *f = &model->facts;
    Writer state = {.g = g, .script = out}, *w = &state;
    *out = (UpzTorchScript){.text = NULL};
    const size_t most = (g->n_tensors + 1) * FORMS;
    out->weights = upz_calloc(most, sizeof(*out->weights));
    w->made = upz_calloc(most, sizeof(*w->made));
    pad = pad && f->align > 1;
    int r = 0;
    if (!out->weights || !w->made) r = upz_fail_memory(err, most * sizeof(*out->weights), "a script");
    PUT("def forward(self, input: Tensor) -> Tensor:\n");
    if (pad) pad_input(w, f->align);
    for (int i = 0; i < (int)g->n_nodes && r >= 0; i++) r = node(w, i, err);
    PUT("    result = v%d\n", g->output);
    if (pad)
        PUT("    result = result[:, :, :height * %d // %d, :width * %d // %d]\n", f->scale_num,
            f->scale_den, f->scale_num, f->scale_den);
    PUT("    return result\n");
    upz_bytes_put(&w->text, "", 1);
    out->text = (char *)w->text.data;
    upz_free(w->made);
    if (r >= 0 && w->text.failed) r = upz_fail_memory(err, w->text.n, "a script");
    if (r < 0) upz_torch_script_free(out);
    return r;
}

void upz_torch_script_free(UpzTorchScript *script)
{
    upz_free(script->text);
    upz_free(script->weights);
    *script = (UpzTorchScript){.text = NULL};
}
