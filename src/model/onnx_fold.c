#include "model/onnx_fold.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

static const char *const elementwise[] = {"Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", NULL};
static const char *const unary[] = {"Floor", "Ceil", "Neg", "Sqrt", "Abs", "Round", NULL};
static const char *const moves[] = {"Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Cast",
                                    "Reshape", "Transpose", "ConstantOfShape", "Identity", NULL};

static bool listed(const char *const *list, UpzSlice op)
{
    for (; *list; list++)
        if (upz_slice_is(op, *list)) return true;
    return false;
}

bool upz_onnx_folds(UpzSlice op)
{
    return listed(elementwise, op) || listed(unary, op) || listed(moves, op);
}

int upz_num_init(UpzNum *num, int n_dims, const int *dims, bool is_int, UprezError *err)
{
    *num = (UpzNum){.n_dims = n_dims, .count = 1, .is_int = is_int};
    if (n_dims < 0 || n_dims > UPZ_NUM_DIMS)
        return upz_fail(err, UPREZ_ERR_MODEL, "arithmetic on %d dimensions is not supported",
                        n_dims);
    for (int i = 0; i < n_dims; i++) {
        num->dims[i] = dims[i];
        if (dims[i] < 0 || dims[i] > UPZ_NUM_MAX) num->count = UPZ_NUM_MAX + 1;
        if (num->count <= UPZ_NUM_MAX) num->count *= dims[i];
    }
    if (num->count > UPZ_NUM_MAX)
        return upz_fail(err, UPREZ_ERR_MODEL, "arithmetic on more than %d numbers is not supported",
                        UPZ_NUM_MAX);
    num->v = upz_calloc((size_t)num->count, sizeof(*num->v));
    return num->v ? 0 : upz_fail_memory(err, sizeof(*num->v), "a number");
}

void upz_num_free(UpzNum *num)
{
    upz_free(num->v);
    *num = (UpzNum){0};
}

bool upz_num_fixed(const UpzNum *num, int i)
{
    for (int p = 1; p < UPZ_PROBES; p++)
        if (num->v[i][p] != num->v[i][0]) return false;
    return true;
}

static int unsupported(UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_MODEL, "this form of the operator is not supported");
}

static int calculate(UpzSlice op, bool is_int, bool fmod_like, double a, double b, double *out)
{
    if (upz_slice_is(op, "Add")) *out = a + b;
    else if (upz_slice_is(op, "Sub")) *out = a - b;
    else if (upz_slice_is(op, "Mul")) *out = a * b;
    else if (upz_slice_is(op, "Min")) *out = fmin(a, b);
    else if (upz_slice_is(op, "Max")) *out = fmax(a, b);
    else if (b == 0) return -1;
    else if (upz_slice_is(op, "Div")) *out = is_int ? trunc(a / b) : a / b;
    else *out = fmod_like ? fmod(a, b) : a - floor(a / b) * b;
    return isfinite(*out) ? 0 : -1;
}

static int fold_pair(const UpzOnnxNode *n, const UpzNum *const *in, int n_in, UpzNum *out,
                     UprezError *err)
{
    if (n_in != 2 || !in[0] || !in[1]) return unsupported(err);
    const UpzNum *a = in[0], *b = in[1];
    if (a->count != b->count && a->count != 1 && b->count != 1) return unsupported(err);
    const UpzNum *like = a->count != b->count ? (a->count > b->count ? a : b)
                                              : (a->n_dims >= b->n_dims ? a : b);
    if (!a->count || !b->count) return unsupported(err);
    bool is_int = a->is_int && b->is_int;
    int r = upz_num_init(out, like->n_dims, like->dims, is_int, err);
    bool truncated = upz_onnx_int(n, "fmod", 0) != 0;
    for (int i = 0; i < out->count && !r; i++)
        for (int p = 0; p < UPZ_PROBES && !r; p++)
            if (calculate(n->op, is_int, truncated, a->v[a->count == 1 ? 0 : i][p],
                          b->v[b->count == 1 ? 0 : i][p], &out->v[i][p]) < 0)
                r = upz_fail(err, UPREZ_ERR_MODEL, "a division by zero, or a number too large");
    return r;
}

static double one(UpzSlice op, double a)
{
    if (upz_slice_is(op, "Floor")) return floor(a);
    if (upz_slice_is(op, "Ceil")) return ceil(a);
    if (upz_slice_is(op, "Neg")) return -a;
    if (upz_slice_is(op, "Abs")) return fabs(a);
    if (upz_slice_is(op, "Sqrt")) return a < 0 ? 0 : sqrt(a);
    return nearbyint(a);
}

/* A copy with another shape of the same count. */
static int reshaped(const UpzNum *a, int n_dims, const int *dims, UpzNum *out, UprezError *err)
{
    int r = upz_num_init(out, n_dims, dims, a->is_int, err);
    if (r < 0) return r;
    if (out->count != a->count) return unsupported(err);
    memcpy(out->v, a->v, (size_t)a->count * sizeof(*a->v));
    return 0;
}

static int fold_reshape(const UpzNum *a, const UpzNum *shape, UpzNum *out, UprezError *err)
{
    if (!shape || shape->count > UPZ_NUM_DIMS) return unsupported(err);
    int dims[UPZ_NUM_DIMS], open = -1, known = 1;
    for (int i = 0; i < shape->count; i++) {
        double d = shape->v[i][0];
        if (!upz_num_fixed(shape, i) || d < -1 || d > UPZ_NUM_MAX) return unsupported(err);
        dims[i] = (int)d;
        if (dims[i] == 0) dims[i] = i < a->n_dims ? a->dims[i] : 1;
        if (dims[i] < 0) {
            if (open >= 0) return unsupported(err);
            open = i;
        } else if ((known *= dims[i]) > UPZ_NUM_MAX) {
            return unsupported(err);
        }
    }
    if (open >= 0) {
        if (!known || a->count % known) return unsupported(err);
        dims[open] = a->count / known;
    }
    return reshaped(a, shape->count, dims, out, err);
}

static int fold_transpose(const UpzOnnxNode *n, const UpzNum *a, UpzNum *out, UprezError *err)
{
    if (a->n_dims < 2) return reshaped(a, a->n_dims, a->dims, out, err);
    int64_t perm[2] = {1, 0};
    const UpzOnnxAttr *attr = upz_onnx_attr(n, "perm");
    if (a->n_dims != 2 || (attr && upz_onnx_ints(attr, perm, 2) != 2)) return unsupported(err);
    if (perm[0] == 0 && perm[1] == 1) return reshaped(a, 2, a->dims, out, err);
    if (perm[0] != 1 || perm[1] != 0) return unsupported(err);
    int r = upz_num_init(out, 2, (int[]){a->dims[1], a->dims[0]}, a->is_int, err);
    for (int y = 0; y < a->dims[0] && !r; y++)
        for (int x = 0; x < a->dims[1]; x++)
            memcpy(out->v[x * a->dims[0] + y], a->v[y * a->dims[1] + x], sizeof(*a->v));
    return r;
}

static bool axis_of(double value, int n_dims, int *axis)
{
    if (value < 0) value += n_dims;
    if (!(value >= 0 && value < n_dims)) return false;
    *axis = (int)value;
    return true;
}

static int fold_gather(const UpzOnnxNode *n, const UpzNum *a, const UpzNum *index, UpzNum *out,
                       UprezError *err)
{
    int axis;
    if (!index || a->n_dims != 1 || index->n_dims > 1 ||
        !axis_of((double)upz_onnx_int(n, "axis", 0), 1, &axis))
        return unsupported(err);
    int r = upz_num_init(out, index->n_dims, index->dims, a->is_int, err);
    for (int i = 0; i < out->count && !r; i++) {
        int at;
        if (!upz_num_fixed(index, i) || !axis_of(index->v[i][0], a->dims[0], &at))
            return unsupported(err);
        memcpy(out->v[i], a->v[at], sizeof(*a->v));
    }
    return r;
}

/* Start, end, axes or steps of a Slice: an input (opset 10) or an attribute; -1: not given. */
static int slice_arg(const UpzOnnxNode *n, const UpzNum *const *in, int n_in, int which,
                     const char *name, double *out)
{
    if (which < n_in && in[which]) {
        const UpzNum *a = in[which];
        for (int i = 0; i < a->count && i < UPZ_NUM_DIMS; i++) {
            if (!upz_num_fixed(a, i)) return -2;
            out[i] = a->v[i][0];
        }
        return a->count;
    }
    const UpzOnnxAttr *attr = upz_onnx_attr(n, name);
    int64_t v[UPZ_NUM_DIMS];
    if (!attr) return -1;
    int count = upz_onnx_ints(attr, v, UPZ_NUM_DIMS);
    for (int i = 0; i < count && i < UPZ_NUM_DIMS; i++) out[i] = (double)v[i];
    return count;
}

static int fold_slice(const UpzOnnxNode *n, const UpzNum *const *in, int n_in, UpzNum *out,
                      UprezError *err)
{
    const UpzNum *a = in[0];
    double start[UPZ_NUM_DIMS], end[UPZ_NUM_DIMS], axes[UPZ_NUM_DIMS] = {0},
        steps[UPZ_NUM_DIMS] = {1};
    int ns = slice_arg(n, in, n_in, 1, "starts", start);
    int ne = slice_arg(n, in, n_in, 2, "ends", end);
    int na = slice_arg(n, in, n_in, 3, "axes", axes);
    int nt = slice_arg(n, in, n_in, 4, "steps", steps);
    int axis;
    if (ns != 1 || ne != 1 || (na != 1 && na != -1) || (nt != 1 && nt != -1) ||
        a->n_dims < 1 || a->n_dims > 2 || !axis_of(axes[0], a->n_dims, &axis) ||
        !(fabs(steps[0]) >= 1))
        return unsupported(err);
    int size = a->dims[axis], picked[UPZ_NUM_MAX], count = 0;
    double step = nt == 1 ? steps[0] : 1;
    double s = start[0] < 0 ? start[0] + size : start[0], e = end[0] < 0 ? end[0] + size : end[0];
    s = step > 0 ? fmin(fmax(s, 0), size) : fmin(fmax(s, 0), size - 1);
    e = step > 0 ? fmin(fmax(e, 0), size) : fmin(fmax(e, -1), size - 1);
    for (double i = s; step > 0 ? i < e : i > e; i += step)
        if (count < UPZ_NUM_MAX) picked[count++] = (int)i;
    int dims[2] = {a->dims[0], a->n_dims == 2 ? a->dims[1] : 1};
    int inner = a->n_dims == 2 && axis == 0 ? a->dims[1] : 1;
    dims[axis] = count;
    int r = upz_num_init(out, a->n_dims, dims, a->is_int, err);
    for (int i = 0; i < out->count && !r; i++) {
        int from = a->n_dims == 1 ? picked[i]
                   : axis == 0    ? picked[i / inner] * inner + i % inner
                                  : i / count * size + picked[i % count];
        memcpy(out->v[i], a->v[from], sizeof(*a->v));
    }
    return r;
}

static int fold_concat(const UpzNum *const *in, int n_in, UpzNum *out, UprezError *err)
{
    int total = 0;
    bool is_int = true;
    for (int i = 0; i < n_in; i++) {
        if (!in[i] || in[i]->n_dims != 1) return unsupported(err);
        total += in[i]->count;
        is_int &= in[i]->is_int;
    }
    int r = upz_num_init(out, 1, &total, is_int, err);
    for (int i = 0, at = 0; i < n_in && !r; at += in[i++]->count)
        memcpy(out->v[at], in[i]->v, (size_t)in[i]->count * sizeof(*out->v));
    return r;
}

/* Only the shapes numbers have: a scalar becomes one value in a row, and back. */
static int fold_squeeze(const UpzNum *a, bool add, UpzNum *out, UprezError *err)
{
    if (add && a->n_dims == 0) return reshaped(a, 1, (int[]){1}, out, err);
    if (!add && a->count == 1) return reshaped(a, 0, NULL, out, err);
    return unsupported(err);
}

static int fold_cast(const UpzOnnxNode *n, const UpzNum *a, UpzNum *out, UprezError *err)
{
    int64_t to = upz_onnx_int(n, "to", 0);
    int r = upz_num_init(out, a->n_dims, a->dims, to == UPZ_ONNX_INT64 || to == UPZ_ONNX_INT32,
                         err);
    bool is_float = to == UPZ_ONNX_FLOAT || to == UPZ_ONNX_DOUBLE || to == UPZ_ONNX_HALF;
    if (r < 0) return r;
    if (!out->is_int && !is_float) return unsupported(err);
    for (int i = 0; i < a->count; i++)
        for (int p = 0; p < UPZ_PROBES; p++)
            out->v[i][p] = out->is_int ? trunc(a->v[i][p]) : a->v[i][p];
    return 0;
}

static int fold_fill(const UpzOnnxNode *n, const UpzNum *shape, UpzNum *out, UprezError *err)
{
    double value = 0;
    bool is_int = false;
    const UpzOnnxAttr *attr = upz_onnx_attr(n, "value");
    if (attr) {
        UpzOnnxTensor t;
        int r = upz_onnx_parse_tensor(&t, attr->tensor, "", err);
        if (r < 0) return r;
        if (t.count != 1 || !upz_onnx_numbers(&t, NULL, NULL, &value)) return unsupported(err);
        is_int = t.type == UPZ_ONNX_INT64 || t.type == UPZ_ONNX_INT32;
    }
    int dims[UPZ_NUM_DIMS];
    if (shape->count > UPZ_NUM_DIMS) return unsupported(err);
    for (int i = 0; i < shape->count; i++) {
        if (!upz_num_fixed(shape, i) || !(shape->v[i][0] >= 0 && shape->v[i][0] <= UPZ_NUM_MAX))
            return unsupported(err);
        dims[i] = (int)shape->v[i][0];
    }
    int r = upz_num_init(out, shape->count, dims, is_int, err);
    for (int i = 0; i < out->count && !r; i++)
        for (int p = 0; p < UPZ_PROBES; p++) out->v[i][p] = value;
    return r;
}

int upz_onnx_fold(const UpzOnnxNode *n, const UpzNum *const *in, int n_in, UpzNum *out,
                  UprezError *err)
{
    *out = (UpzNum){0};
    if (upz_slice_is(n->op, "Concat")) return fold_concat(in, n_in, out, err);
    if (n_in < 1 || !in[0]) return unsupported(err);
    const UpzNum *a = in[0], *b = n_in > 1 ? in[1] : NULL;
    if (listed(elementwise, n->op)) return fold_pair(n, in, n_in, out, err);
    if (listed(unary, n->op)) {
        int r = reshaped(a, a->n_dims, a->dims, out, err);
        for (int i = 0; i < out->count && !r; i++)
            for (int p = 0; p < UPZ_PROBES; p++) out->v[i][p] = one(n->op, out->v[i][p]);
        return r;
    }
    if (upz_slice_is(n->op, "Gather")) return fold_gather(n, a, b, out, err);
    if (upz_slice_is(n->op, "Slice")) return fold_slice(n, in, n_in, out, err);
    if (upz_slice_is(n->op, "Unsqueeze")) return fold_squeeze(a, true, out, err);
    if (upz_slice_is(n->op, "Squeeze")) return fold_squeeze(a, false, out, err);
    if (upz_slice_is(n->op, "Cast")) return fold_cast(n, a, out, err);
    if (upz_slice_is(n->op, "Reshape")) return fold_reshape(a, b, out, err);
    if (upz_slice_is(n->op, "Transpose")) return fold_transpose(n, a, out, err);
    if (upz_slice_is(n->op, "ConstantOfShape")) return fold_fill(n, a, out, err);
    return reshaped(a, a->n_dims, a->dims, out, err); /* Identity */
}
