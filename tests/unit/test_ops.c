/* Every operation in every form on every engine found here and in every precision it has, against
 * the plain-C reference. Prints the table of docs/engines.md: the largest difference of a result
 * that spans 0.1 … 0.9. An engine that is not here is a line, not a failure. LibTorch's module is
 * the last of build/modules/libtorch* (tools/build-libtorch.sh), or one where uprez finds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op_cases.h"
#include "base/context.h"
#include "engine/engine.h"
#include "picture/format.h"

#define COLUMNS 16

static const struct {
    const char *name;
    double tolerance;
} precisions[] = {{"fp32", 2e-5}, {"fp16", 6e-3}, {"bf16", 5e-2}};

typedef struct Column {
    const UpzEngineOps *ops;
    UpzDevice device;
    const char *precision;
    double tolerance, worst;
    int refused;
} Column;

/* LibTorch 1.x has bilinear resizing's weights in bf16 too. */
#define OLD_TORCH_BF16 1e-1

static UprezContext *ctx;
static Column columns[COLUMNS];
static int n_columns;

static UprezPicture *picture(int w, int h, const float *data)
{
    UprezFormat f = {.model = UPREZ_RGB, .depth = 32, .n_comp = 3, .n_plane = 3};
    for (int c = 0; c < 3; c++) f.comp[c] = (UprezComponent){(uint8_t)c, 0, 4};
    UprezPicture *p;
    assert_int_equal(uprez_picture_alloc(&p, &f, w, h, NULL), 0);
    p->color = (UprezColor){
        .primaries = 1, .transfer = 1, .range = UPREZ_RANGE_FULL, .siting = UPREZ_SITING_LEFT};
    for (int c = 0; c < 3 && data; c++)
        for (int y = 0; y < h; y++)
            memcpy((char *)p->plane[c] + y * p->stride[c], data + (c * h + y) * w,
                   (size_t)w * sizeof(float));
    return p;
}

/* The largest difference, or -1 and why not. */
static double run(const Column *col, UprezModel *m, int w, int h, const float *src,
                  const float *want, UprezError *err)
{
    const int ow = w * m->facts.scale_num / m->facts.scale_den;
    const int oh = h * m->facts.scale_num / m->facts.scale_den;
    UpzEngineParams params = {.precision = col->precision};
    UpzEngine *e = NULL;
    *err = (UprezError){0};
    if (col->ops->supports(m, &params, err) < 0 ||
        col->ops->open(&e, ctx, m, &col->device, &params, err) < 0)
        return -1;
    UprezPicture *in = picture(w, h, src), *out = picture(ow, oh, NULL);
    UpzShape shape = {.width = w,
                      .height = h,
                      .src = in->format,
                      .dst = out->format,
                      .src_color = in->color,
                      .dst_color = out->color};
    UpzPlan plan;
    UpzTask task = {.src = in, .dst = out};
    int r = col->ops->plan(e, &shape, 0, &plan, err);
    if (!r) r = col->ops->submit(e, &task);
    if (!r) r = col->ops->wait(e, &task, -1);
    if (!r && task.result) *err = task.err, r = task.result;
    double worst = r < 0 ? -1 : 0;
    for (int c = 0; c < 3 && r >= 0; c++)
        for (int y = 0; y < oh; y++)
            for (int x = 0; x < ow; x++) {
                const float got = ((const float *)(const void *)((const char *)out->plane[c] +
                                                                 y * out->stride[c]))[x];
                const double d = fabs((double)got - (double)want[(c * oh + y) * ow + x]);
                worst = d <= worst ? worst : d; /* a NaN is the worst */
            }
    col->ops->close(&e);
    uprez_picture_unref(&in);
    uprez_picture_unref(&out);
    return worst;
}

/* Moves the results into 0.1 … 0.9 by the last layer's weights: pictures hold nothing beyond 0 … 1.
 */
static void into_range(UprezModel *m, const float *out, size_t n)
{
    float lo = out[0], hi = out[0];
    for (size_t i = 1; i < n; i++) lo = fminf(lo, out[i]), hi = fmaxf(hi, out[i]);
    assert_true(hi > lo);
    const UpzNode *last = &m->graph.nodes[m->graph.output];
    UpzTensor *w = &m->graph.tensors[last->weights], *b = &m->graph.tensors[last->bias];
    const float gain = 0.8f / (hi - lo);
    for (int64_t i = 0; i < w->count; i++) w->data[i] *= gain;
    for (int64_t i = 0; i < b->count; i++) b->data[i] = (b->data[i] - lo) * gain + 0.1f;
}

static int check_case(const Case *c)
{
    UprezModel m;
    UprezError err;
    build(&m, c);
    atomic_store(&m.refs, 1000);
    const int w = 8 * UPZ_MAX(m.facts.align, 1) * 3, h = 5 * UPZ_MAX(m.facts.align, 1) * 3;
    const size_t n = 3 * (size_t)w * (size_t)h;
    const size_t n_out = n * (size_t)(m.facts.scale_num * m.facts.scale_num) /
                         (size_t)(m.facts.scale_den * m.facts.scale_den);
    float *src = malloc(n * sizeof(float)), *want = malloc(n_out * sizeof(float));
    for (size_t i = 0; i < n; i++) src[i] = 0.5f + 0.5f * noise();
    for (int turn = 0; turn < 2; turn++) {
        if (upz_reference_run(&m.graph, src, w, h, want, &err) < 0) fail_msg("%s", err.text);
        if (!turn) into_range(&m, want, n_out);
    }
    char line[512];
    int used = snprintf(line, sizeof(line), "| %s |", c->name), bad = 0;
    for (int i = 0; i < n_columns; i++) {
        Column *col = &columns[i];
        const double d = run(col, &m, w, h, src, want, &err);
        if (d < 0) {
            used += snprintf(line + used, sizeof(line) - (size_t)used, " refused |");
            print_message("%s, %s %s: %s\n", c->name, col->ops->name, col->precision, err.text);
            bad += err.code != UPREZ_ERR_DEVICE && err.code != UPREZ_ERR_MODEL;
            col->refused++;
            continue;
        }
        used += snprintf(line + used, sizeof(line) - (size_t)used, " %.1e |", d);
        col->worst = fmax(col->worst, d);
        if (!(d <= col->tolerance)) {
            print_message("%s, %s %s: %.3g is more than %.3g\n", c->name, col->ops->name,
                          col->precision, d, col->tolerance);
            bad++;
        }
    }
    print_message("%s\n", line);
    free(src);
    free(want);
    upz_graph_free(&m.graph);
    return bad;
}

static void all(void **state)
{
    (void)state;
    int bad = 0;
    print_message("| operation |");
    for (int i = 0; i < n_columns; i++)
        print_message(" %s %s |", columns[i].ops->name, columns[i].precision);
    print_message("\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) bad += check_case(&cases[i]);
    for (int i = 0; i < n_columns; i++)
        print_message("%s %s: at most %.2e, %d refused\n", columns[i].ops->name,
                      columns[i].precision, columns[i].worst, columns[i].refused);
    assert_int_equal(bad, 0);
}

/* One LibTorch a process: the newest module made for the tests goes to where runtimes are found. */
static void find_module(void)
{
    const char *root = getenv("BUILD_ROOT"), *before = getenv("UPREZ_RUNTIME_PATH");
    char text[8400];
    glob_t found;
    snprintf(text, sizeof(text), "%s/modules/libtorch*", root ? root : "build");
    if (glob(text, 0, NULL, &found)) return;
    snprintf(text, sizeof(text), "%s%s%s", found.gl_pathv[found.gl_pathc - 1], before ? ":" : "",
             before ? before : "");
    setenv("UPREZ_RUNTIME_PATH", text, 1);
    globfree(&found);
}

int main(void)
{
    find_module();
    UprezContextParams params = {.size = sizeof(params), .threads = 2};
    if (uprez_context_create(&ctx, &params, NULL) < 0) return 1;
    UprezModel m;
    build(&m, &cases[0]);
    atomic_store(&m.refs, 1000);
    for (int i = 0; upz_engines[i]; i++) {
        const UpzEngineOps *ops = upz_engines[i];
        UpzDeviceList list = {.n = 0};
        UprezError why = {0};
        if (ops->missing || !strcmp(ops->name, "resample")) continue;
        ops->probe(NULL, &list, &why);
        if (!list.n) printf("%s: %s\n", ops->name, why.text);
        for (int d = 0; d < list.n; d++)
            for (size_t p = 0; p < sizeof(precisions) / sizeof(precisions[0]); p++) {
                UpzEngineParams with = {.precision = precisions[p].name};
                UpzEngine *e = NULL;
                if (strcmp(list.items[d].kind, "cpu") || n_columns >= COLUMNS) continue;
                if (ops->supports(&m, &with, &why) < 0 ||
                    ops->open(&e, ctx, &m, &list.items[d], &with, &why) < 0) {
                    printf("no column: %s\n", why.text);
                    continue;
                }
                ops->close(&e);
                const bool old = !strcmp(ops->name, "libtorch") &&
                                 !strncmp(list.items[d].version, "1.", 2) &&
                                 !strcmp(precisions[p].name, "bf16");
                columns[n_columns++] = (Column){
                    .ops = ops,
                    .device = list.items[d],
                    .precision = precisions[p].name,
                    .tolerance = old ? OLD_TORCH_BF16 : precisions[p].tolerance};
            }
    }
    upz_graph_free(&m.graph);
    const struct CMUnitTest tests[] = {cmocka_unit_test(all)};
    int r = cmocka_run_group_tests_name("ops", tests, NULL, NULL);
    uprez_context_destroy(&ctx);
    return r;
}
