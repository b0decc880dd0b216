/* What code values mean: matrices, ranges, chroma siting (ITU-T H.273), turned into the numbers the
 * row kernels use. All sums here in double. */
#include "picture/color.h"

#include <math.h>

#include "base/error.h"

enum { /* H.273 MatrixCoefficients */
    M_IDENTITY = 0, M_709 = 1, M_UNSPECIFIED = 2, M_FCC = 4, M_470BG = 5, M_170M = 6, M_240M = 7,
    M_YCGCO = 8, M_2020 = 9
};

bool upz_color_resolve(UprezColor *c, const UprezFormat *f, int width, int height)
{
    bool hd = height >= 720 || width >= 1280, guessed = false;
    if (f->model == UPREZ_YUV) {
        if (c->matrix == M_UNSPECIFIED || (c->matrix == M_IDENTITY && (f->sub_x || f->sub_y))) {
            /* primaries, where given, say which family the matrix belongs to */
            c->matrix = c->primaries == 9   ? M_2020
                        : c->primaries == 1 ? M_709
                        : c->primaries == 5 ? M_470BG
                        : c->primaries == 6 ? M_170M
                        : c->primaries == 7 ? M_240M
                        : hd                ? M_709
                                            : M_170M;
            guessed = true;
        }
        if (c->range == UPREZ_RANGE_UNKNOWN) {
            c->range = UPREZ_RANGE_LIMITED;
            guessed = true;
        }
        if (c->siting == UPREZ_SITING_UNKNOWN) c->siting = UPREZ_SITING_LEFT;
    } else {
        if (f->model == UPREZ_RGB) c->matrix = M_IDENTITY;
        if (c->range == UPREZ_RANGE_UNKNOWN) c->range = UPREZ_RANGE_FULL;
        if (c->siting == UPREZ_SITING_UNKNOWN) c->siting = UPREZ_SITING_LEFT;
    }
    int family = c->matrix;
    if (c->primaries == 2 || !c->primaries)
        c->primaries = family == M_2020   ? 9
                       : family == M_470BG ? 5
                       : family == M_170M  ? 6
                       : family == M_240M  ? 7
                       : family == M_FCC   ? 4
                                           : 1;
    if (c->transfer == 2 || !c->transfer)
        c->transfer = f->model == UPREZ_RGB               ? 13
                      : family == M_2020                  ? (f->depth > 10 ? 15 : 14)
                      : family == M_470BG || family == M_170M ? 6
                      : family == M_240M                  ? 7
                                                          : 1;
    return guessed;
}

/* R'G'B' to Y Cb Cr. */
static int forward_matrix(double m[3][3], int code, UprezError *err)
{
    double kr, kb;
    switch (code) {
    case M_IDENTITY: /* planes in the order G B R */
        for (int i = 0; i < 9; i++) m[i / 3][i % 3] = 0;
        m[0][1] = m[1][2] = m[2][0] = 1;
        return 0;
    case M_YCGCO: {
        static const double y[3][3] = {{.25, .5, .25}, {-.25, .5, -.25}, {.5, 0, -.5}};
        for (int i = 0; i < 9; i++) m[i / 3][i % 3] = y[i / 3][i % 3];
        return 0;
    }
    case M_709: kr = 0.2126, kb = 0.0722; break;
    case M_FCC: kr = 0.30, kb = 0.11; break;
    case M_470BG:
    case M_170M: kr = 0.299, kb = 0.114; break;
    case M_240M: kr = 0.212, kb = 0.087; break;
    case M_2020: kr = 0.2627, kb = 0.0593; break;
    default:
        return upz_fail(err, UPREZ_ERR_USAGE,
                        "colour matrix %d (%s) cannot be converted to RGB here; convert the source "
                        "to BT.709 or BT.2020 non-constant luminance first",
                        code,
                        code == M_UNSPECIFIED ? "unspecified"
                        : code == 10          ? "BT.2020 constant luminance"
                        : code == 14          ? "ICtCp"
                                              : "ITU-T H.273");
    }
    double kg = 1 - kr - kb, y[3] = {kr, kg, kb};
    for (int i = 0; i < 3; i++) {
        m[0][i] = y[i];
        m[1][i] = ((i == 2) - y[i]) / (2 * (1 - kb));
        m[2][i] = ((i == 0) - y[i]) / (2 * (1 - kr));
    }
    return 0;
}

void upz_luma_weights(const UprezColor *c, double weights[3])
{
    UprezError ignored;
    double m[3][3];
    if (c->matrix == M_IDENTITY || forward_matrix(m, c->matrix, &ignored) < 0)
        forward_matrix(m, M_709, &ignored);
    for (int i = 0; i < 3; i++) weights[i] = m[0][i];
}

static void invert(double r[3][3], double m[3][3])
{
    double det = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            int a = (j + 1) % 3, b = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
            r[i][j] = m[a][c] * m[b][d] - m[a][d] * m[b][c];
        }
    for (int j = 0; j < 3; j++) det += m[0][j] * r[j][0];
    for (int i = 0; i < 9; i++) r[i / 3][i % 3] /= det;
}

void upz_code_range(const UprezFormat *f, const UprezColor *c, int comp, double *offset,
                    double *gain)
{
    *offset = 0;
    *gain = 1;
    if (f->depth == 32) return;
    bool chroma = upz_format_is_chroma(f, comp) && c->matrix != M_IDENTITY;
    bool alpha = f->alpha && comp == f->n_comp - 1;
    double one = ldexp(1, f->depth - 8), max = ldexp(1, f->depth) - 1;
    if (c->range == UPREZ_RANGE_LIMITED && !alpha) {
        *offset = chroma ? 128 * one : 16 * one;
        /* YCgCo is made of quantised R G B, so its chroma has their range (H.273, 8.3) */
        *gain = chroma && c->matrix != M_YCGCO ? 224 * one : 219 * one;
    } else {
        *offset = chroma ? 128 * one : 0;
        *gain = max;
    }
}

/* Phase of the first chroma sample, in half luma samples. */
static int phase(const UprezColor *c, int sub, bool vertical)
{
    int last = 2 * ((1 << sub) - 1), center = last / 2;
    switch (c->siting) {
    case UPREZ_SITING_CENTER: return center;
    case UPREZ_SITING_TOPLEFT: return 0;
    case UPREZ_SITING_TOP: return vertical ? 0 : center;
    case UPREZ_SITING_BOTTOMLEFT: return vertical ? last : 0;
    case UPREZ_SITING_BOTTOM: return vertical ? last : center;
    default: return vertical ? center : 0;
    }
}

double upz_chroma_phase(const UprezColor *c, int sub, bool vertical)
{
    return phase(c, sub, vertical) / 2.0;
}

static void chroma_axis(UpzChromaAxis *a, const UprezColor *c, int sub, bool vertical)
{
    *a = (UpzChromaAxis){.sub = sub, .down_n = 1, .down_weight = {1}};
    if (!sub) return;
    int f = 1 << sub, p = phase(c, sub, vertical);
    for (int k = 0; k < f; k++) {
        int at = 2 * k - p; /* in 2f-ths of a chroma sample; > -2f */
        a->up_at[k] = at < 0 ? -1 : at / (2 * f);
        a->up_weight[k] = (float)(at - a->up_at[k] * 2 * f) / (float)(2 * f);
    }
    /* triangle of half width f luma samples */
    a->down_n = 0;
    for (int k = -f; k < 2 * f; k++) {
        int distance = 2 * k - p < 0 ? p - 2 * k : 2 * k - p;
        if (distance >= 2 * f) continue;
        if (!a->down_n) a->down_at = k;
        a->down_weight[a->down_n++] = (float)(2 * f - distance) / (float)(2 * f * f);
    }
}

int upz_load_spread(const UpzChromaAxis *a)
{
    const int f = 1 << a->sub;
    int spread = 0;
    /* px f * i + k reads samples i + up_at and the one behind */
    for (int k = 0; k < f && f > 1; k++) {
        const int before = f * (1 + a->up_at[k]) - k, after = k - f * a->up_at[k] - (f - 1);
        spread = UPZ_MAX(spread, UPZ_MAX(before, after));
    }
    return spread;
}

int upz_store_spread(const UpzChromaAxis *a)
{
    const int f = 1 << a->sub;
    return f == 1 ? 0 : UPZ_MAX(a->down_at + a->down_n - 1, f - 1 - a->down_at);
}

/* rows = to_rows * (nominal values of the format's components) + bias */
static int relate(double to_rows[3][3], double bias[3], const UpzLoad *l, UprezError *err)
{
    bool rgb_format = l->format.model == UPREZ_RGB, gray = l->format.model == UPREZ_GRAY;
    int code = l->color.matrix;
    if ((rgb_format || gray) && (code == M_IDENTITY || code == M_UNSPECIFIED)) code = M_709;
    double forward[3][3];
    for (int i = 0; i < 9; i++) to_rows[i / 3][i % 3] = i % 4 == 0;
    for (int i = 0; i < 3; i++) bias[i] = 0;
    if (gray || rgb_format == (l->rows == UPZ_ROWS_RGB)) return 0;
    int r = forward_matrix(forward, code, err);
    if (r < 0) return r;
    if (rgb_format) {
        for (int i = 0; i < 9; i++) to_rows[i / 3][i % 3] = forward[i / 3][i % 3];
    } else if (l->rows == UPZ_ROWS_RGB) {
        invert(to_rows, forward);
    }
    return 0;
}

static int check(const UpzLoad *l, UprezError *err)
{
    if (!upz_format_valid(&l->format))
        return upz_fail(err, UPREZ_ERR_USAGE, "the picture's format description is not valid");
    if (l->width < 1 || l->height < 1 || l->width > UPREZ_SIDE_MAX || l->height > UPREZ_SIDE_MAX)
        return upz_fail(err, UPREZ_ERR_USAGE, "a picture of %dx%d; sides must be 1 to %d px",
                        l->width, l->height, UPREZ_SIDE_MAX);
    if (l->color.range != UPREZ_RANGE_LIMITED && l->color.range != UPREZ_RANGE_FULL)
        return upz_fail(err, UPREZ_ERR_USAGE,
                        "the picture's range (limited or full) is not known");
    return 0;
}

int upz_convert_setup(UpzLoad *l, const UprezFormat *format, const UprezColor *color, int width,
                      int height, UpzRows rows, bool store, UprezError *err)
{
    *l = (UpzLoad){.format = *format, .color = *color, .width = width, .height = height,
                   .rows = rows};
    int r = check(l, err);
    if (r < 0) return r;
    double to_rows[3][3], bias[3], m[3][3];
    r = relate(to_rows, bias, l, err);
    if (r < 0) return r;
    bool gray = format->model == UPREZ_GRAY;
    bool luma_rows = rows == UPZ_ROWS_Y_FULL || rows == UPZ_ROWS_Y_STUDIO;
    l->n_rows = luma_rows ? 1 : 3;
    l->n_comp = gray ? 1 : 3;
    l->clip = rows != UPZ_ROWS_YUV;
    int needs = format->model == UPREZ_YUV && luma_rows ? 1 : l->n_comp;
    double row_gain = 1, row_bias = 0;
    if (rows == UPZ_ROWS_Y_STUDIO) row_gain = 219.0 / 255, row_bias = 16.0 / 255;

    if (store) {
        /* gray from RGB rows takes their luma; RGB from one luma row repeats it */
        if (gray && rows == UPZ_ROWS_RGB) {
            int code = color->matrix;
            if (code == M_IDENTITY || code == M_UNSPECIFIED || forward_matrix(m, code, NULL) < 0)
                r = forward_matrix(m, M_709, err);
            if (r < 0) return r;
        } else if (format->model == UPREZ_RGB && luma_rows) {
            for (int i = 0; i < 9; i++) m[i / 3][i % 3] = i % 3 == 0;
        } else {
            invert(m, to_rows);
        }
        for (int i = 0; i < 3; i++) {
            double offset, gain;
            upz_code_range(format, color, UPZ_MIN(i, l->n_comp - 1), &offset, &gain);
            for (int j = 0; j < 3; j++) l->matrix[i][j] = (float)(m[i][j] * gain / row_gain);
            l->bias[i] = (float)(offset - m[i][0] * row_bias * gain / row_gain);
            l->lo[i] = 0;
            l->hi[i] = format->depth == 32 ? INFINITY : (float)((1 << format->depth) - 1);
            if (format->depth == 32) l->lo[i] = -INFINITY;
        }
        l->n_comp = needs;
    } else {
        for (int i = 0; i < 3; i++) {
            l->bias[i] = i ? 0 : (float)row_bias;
            for (int j = 0; j < 3; j++) {
                double offset, gain;
                upz_code_range(format, color, UPZ_MIN(j, l->n_comp - 1), &offset, &gain);
                l->matrix[i][j] = (float)(to_rows[i][j] * row_gain / gain);
                l->offset[j] = (float)offset;
            }
        }
        /* the studio code itself: no detour through 16 and 219 */
        if (rows == UPZ_ROWS_Y_STUDIO && needs == 1 && color->range == UPREZ_RANGE_LIMITED &&
            format->depth != 32) {
            l->offset[0] = l->bias[0] = 0;
            l->matrix[0][0] = (float)(1 / (255 * ldexp(1, format->depth - 8)));
        }
        l->n_comp = needs;
    }
    l->diagonal = true;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            if (i != j && l->matrix[i][j] != 0) l->diagonal = false;
    bool yuv = format->model == UPREZ_YUV;
    chroma_axis(&l->x, color, yuv ? format->sub_x : 0, false);
    chroma_axis(&l->y, color, yuv ? format->sub_y : 0, true);
    return 0;
}
