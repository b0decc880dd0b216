/* Random networks on random pictures. What must hold: a network alone computes what the plain-C reference
 * does, and by any number of threads the same bytes; a clip through chains, formats and sizes has the same
 * bytes and errors whether what its pictures have in common is reused or everything is computed.
 *
 * usage: random_networks FIRST LAST [THREADS]   cases FIRST … LAST - 1; THREADS of the reusing run, 2
 * A case is a function of its number: K K+1 repeats case K. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "random_clip.h"
#include "random_graph.h"
#include "uprez/uprez.h"

enum { CHAIN = 3, THREADS = 4 };
#define LIMIT 6e-6     /* as in test_cpu_engine.c, of the largest value */
#define LIMIT_BF16 0.1 /* deep ones add up roundings of 8 bits */
#define MOST_WORK 25e6 /* a picture, see work_of: cases shall be quick */

typedef struct Result {
    UprezPicture *picture;
    int code; /* uprez_receive's */
} Result;

static const int threads[THREADS] = {1, 2, 3, 5};
static UprezContext *contexts[THREADS], *reusing;
static const char *const precisions[] = {"fp32", "bf16"};
static int n_precisions = 2; /* that this processor offers */
static UprezModel *lanczos;
static long now, wrong;

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("case %ld: ", now);
    vprintf(format, args);
    printf(":%s\n", about);
    va_end(args);
    fflush(stdout);
    wrong++;
}

static void release(Result *results, int n)
{
    for (int i = 0; i < n; i++) uprez_picture_unref(&results[i].picture);
}

static bool same(const UprezPicture *a, const UprezPicture *b, char *where, size_t size)
{
    for (int i = 0; i < a->format.n_plane; i++)
        for (int y = 0; y < upz_plane_height(&a->format, i, a->height); y++) {
            const uint8_t *p = (uint8_t *)a->plane[i] + y * a->stride[i];
            const uint8_t *q = (uint8_t *)b->plane[i] + y * b->stride[i];
            const size_t n = upz_plane_row_bytes(&a->format, i, a->width);
            size_t k = 0;
            while (k < n && p[k] == q[k]) k++;
            snprintf(where, size, "plane %d row %d byte %zu", i, y, k);
            if (k < n) return false;
        }
    return true;
}

/* ---- runs ---- */

/* n pictures through one upscaler, as many in flight as there is room for. Below 0: refused, the code. */
static int through(UprezContext *ctx, const UprezParams *params, UprezPicture *const *clip, int n,
                   Result *results, double *reused)
{
    Uprez *u;
    UprezError err = {0};
    UprezCounts counts = {.size = sizeof(counts)};
    int sent = 0, r = uprez_create(&u, ctx, params, &err);
    for (int got = 0; got < n && r >= 0;) {
        r = sent < n ? uprez_send(u, clip[sent], &err) : UPREZ_AGAIN;
        sent += r >= 0;
        if (r != UPREZ_AGAIN) continue;
        r = results[got].code = uprez_receive(u, &results[got].picture, -1, &err);
        got++;
        if (r == UPREZ_ERR_VERIFY) r = 0; /* a picture's own failure: the next one goes on */
    }
    if (r >= 0 && reused) {
        uprez_counts(u, &counts, &err);
        *reused = counts.reused;
    }
    uprez_destroy(&u);
    return r;
}

static float *row_of(const UprezPicture *p, int c, int y)
{
    const UprezComponent *at = &p->format.comp[c];
    return (float *)(void *)((char *)p->plane[at->plane] + y * p->stride[at->plane] + at->offset);
}

/* A source's position beyond its end, as the network's pad mode has it; -1: a zero. */
static int padded(UpzPadMode mode, int at, int size)
{
    if (at < size) return at;
    return mode == UPZ_PAD_ZERO ? -1 : mode == UPZ_PAD_REPLICATE ? size - 1 : UPZ_MAX(2 * size - 2 - at, 0);
}

/* The largest difference to the reference, relative to its largest value (1 at least). */
static double off_by(const UprezModel *m, const UprezPicture *src, const UprezPicture *dst)
{
    const UprezModelFacts *f = &m->facts;
    const int w = UPZ_ROUND_UP(src->width, f->align), h = UPZ_ROUND_UP(src->height, f->align);
    const int ow = w * f->scale_num / f->scale_den, oh = h * f->scale_num / f->scale_den;
    float *in = upz_calloc((size_t)(f->channels * w * h), sizeof(float)), *at = in;
    float *out = upz_calloc((size_t)(f->channels * ow * oh), sizeof(float));
    double worst = 0, largest = 1;
    for (int c = 0; c < f->channels; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                const int sx = padded(m->graph.pad_mode, x, src->width);
                const int sy = padded(m->graph.pad_mode, y, src->height);
                *at++ = sx < 0 || sy < 0 ? 0 : row_of(src, c, sy)[sx];
            }
    assert_int_equal(upz_reference_run(&m->graph, in, w, h, out, NULL), 0);
    for (int c = 0; c < f->channels; c++)
        for (int y = 0; y < dst->height; y++)
            for (int x = 0; x < dst->width; x++) {
                const float want = out[(c * oh + y) * ow + x];
                const double off = fabs((double)row_of(dst, c, y)[x] - UPZ_CLAMP(want, 0, 1));
                largest = fmax(largest, fabs((double)want));
                if (!(off <= worst)) worst = off;
            }
    upz_free(in);
    upz_free(out);
    return worst / largest;
}

/* A network of the chain on floats of its own, at its own scale. Below 0: refused. */
static int alone(UprezModel *m, int which)
{
    UprezFormat f;
    UprezPicture *src;
    Result by[THREADS] = {0};
    const UprezModelFacts *facts = &m->facts;
    char where[64];
    int w = facts->scale_den + draw(700), h = facts->scale_den + draw(40), r = 0;
    while (h > facts->scale_den && w * h * work_of(facts) > MOST_WORK) h--; /* wide ones are done in parts */
    UprezParams p = {.size = sizeof(p), .models = &m, .n_models = 1, .engine = "cpu"};
    p.width = w * facts->scale_num / facts->scale_den;
    p.height = h * facts->scale_num / facts->scale_den;
    const int precision = draw(n_precisions);
    p.precision = precisions[precision];
    say(" in %s", p.precision);
    uprez_format_from_name(&f, facts->channels == 3 ? "gbrpf32le" : "grayf32le");
    src = steady(&f, w, h);
    src->color = (UprezColor){.matrix = facts->channels == 3 ? 0 : 2, .primaries = 1, .transfer = 1,
                              .range = UPREZ_RANGE_FULL};
    scribble_all(src);
    for (int i = 0; i < THREADS && r >= 0; i++) r = through(contexts[i], &p, &src, 1, &by[i], NULL);
    for (int i = 1; i < THREADS && r >= 0; i++)
        if (!same(by[0].picture, by[i].picture, where, sizeof(where)))
            complain("network %d alone, %dx%d: %d threads differ in %s", which, w, h, threads[i], where);
    if (r >= 0 && facts->input != UPREZ_INPUT_Y_STUDIO) {
        const double off = off_by(m, src, by[0].picture);
        if (!(off < (precision ? LIMIT_BF16 : LIMIT)))
            complain("network %d alone, %dx%d: off by %g from the reference", which, w, h, off);
    }
    release(by, THREADS);
    uprez_picture_unref(&src);
    return r;
}

/* ---- a case ---- */

typedef struct Chain {
    UprezModel *models[CHAIN];
    int n;
    double work; /* a source pixel's */
} Chain;

/* Networks, and the kernel among them. False: one was refused. fragile: the first may fail. */
static bool random_chain(Chain *c, bool fragile)
{
    const int n = 1 + once_in(4) + once_in(8);
    double scale = 1;
    *c = (Chain){.work = 100};
    while (c->n < n) {
        const bool kernel = n > 1 && once_in(4);
        UprezModel *m = kernel ? lanczos : random_network(fragile && !c->n);
        if (!m) return false;
        if (kernel) {
            say(" [lanczos]");
        } else {
            c->work += scale * scale * work_of(&m->facts);
            scale = scale * m->facts.scale_num / m->facts.scale_den;
        }
        c->models[c->n++] = m;
    }
    return true;
}

static void random_output(UprezParams *p)
{
    static const char *const filters[] = {NULL, "bicubic", "spline36", "bilinear"};
    p->filter = filters[draw(4)];
    if (once_in(2)) {
        p->scale = 0.3 + draw(300) / 100.0;
    } else if (once_in(4)) {
        p->width = 1 + draw(900);
        p->height = 1 + draw(600);
    }
    if (once_in(5)) p->blend = 0.3;
    p->tta = once_in(20);
    if (once_in(3)) p->depth = 1 + draw(6);
    if (once_in(4)) p->color.siting = (uint8_t)(1 + draw(6));
    if (once_in(5)) p->color.range = (uint8_t)(1 + draw(2));
    say(" to %dx%d * %g %s siting %d range %d %s blend %g tta %d depth %d", p->width, p->height, p->scale,
        p->format.n_comp ? uprez_format_name(&p->format) : "same", p->color.siting, p->color.range,
        p->filter ? p->filter : "lanczos", p->blend, p->tta, p->depth);
}

/* A clip through the chain, reused or not. Below 0: refused, both times. */
static int clip_through(Chain *chain, const UprezFormat *f, double *reused)
{
    UprezPicture *clip[CLIP];
    Result want[CLIP] = {0}, got[CLIP] = {0};
    UprezParams p = {.size = sizeof(p), .models = chain->models, .n_models = chain->n, .engine = "cpu"};
    char where[64];
    int w = 12 + draw(once_in(4) ? 700 : 330), h = 12 + draw(once_in(3) ? 60 : 200);
    while (w > 16 && w * h * chain->work > MOST_WORK) {
        w = w * 7 / 8;
        h = UPZ_MAX(h * 7 / 8, 12);
    }
    if (once_in(3)) random_format(&p.format);
    p.precision = precisions[draw(n_precisions)];
    say(" clip in %s", p.precision);
    random_clip(clip, f, w, h);
    random_output(&p);
    p.no_reuse = 1;
    const int r = through(contexts[0], &p, clip, CLIP, want, NULL);
    p.no_reuse = 0;
    const int again = through(reusing, &p, clip, CLIP, got, reused);
    if (r != again) complain("reuse returns %d, computing everything %d", again, r);
    for (int i = 0; i < CLIP; i++) {
        if (want[i].code != got[i].code)
            complain("picture %d: reuse gives %d, computing everything %d", i, got[i].code, want[i].code);
        else if (want[i].picture && !same(want[i].picture, got[i].picture, where, sizeof(where)))
            complain("picture %d: reuse differs in %s", i, where);
        uprez_picture_unref(&clip[i]);
    }
    release(want, CLIP);
    release(got, CLIP);
    return r;
}

static bool one_case(long k, double *reused)
{
    Chain chain;
    UprezFormat f;
    now = k;
    seed = (uint64_t)k * 0x9e3779b97f4a7c15u;
    seed ^= seed >> 29; /* neighbours shall have nothing in common */
    *about = 0;
    random_format(&f);
    bool fine = random_chain(&chain, f.depth == 32);
    for (int i = 0; i < chain.n && fine; i++)
        if (chain.models[i] != lanczos) fine = alone(chain.models[i], i) >= 0;
    fine = fine && clip_through(&chain, &f, reused) >= 0;
    for (int i = 0; i < chain.n; i++)
        if (chain.models[i] != lanczos) graph_model_free(chain.models[i]);
    return fine;
}

static UprezContext *context_of(int n)
{
    UprezContext *ctx;
    UprezError err = {0};
    if (uprez_context_create(&ctx, &(UprezContextParams){.size = sizeof(UprezContextParams), .threads = n},
                             &err) < 0)
        fail_msg("%s", err.text);
    return ctx;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: random_networks FIRST LAST [THREADS]\n", stderr);
        return 2;
    }
    const long first = atol(argv[1]), last = atol(argv[2]);
    long done = 0;
    double reused = 0;
    reusing = context_of(argc > 3 ? atoi(argv[3]) : 2);
    for (int i = 0; i < THREADS; i++) contexts[i] = context_of(threads[i]);
    if (!(upz_cpu_features() & UPZ_HAS_AMX_BF16)) n_precisions = 1; /* plain C is too slow here */
    assert_int_equal(uprez_model_load(&lanczos, reusing, "lanczos", NULL, NULL), 0);
    for (long k = first; k < last; k++) {
        double share = 0;
        if ((k - first) % 100 == 0) fprintf(stderr, "case %ld\n", k); /* where to look for one that crashes */
        done += one_case(k, &share);
        reused += share;
    }
    uprez_model_unref(&lanczos);
    for (int i = 0; i < THREADS; i++) uprez_context_destroy(&contexts[i]);
    uprez_context_destroy(&reusing);
    const long n = last - first;
    printf("%ld cases, %ld refused, %ld wrong, %.0f %% reused\n", n, n - done, wrong,
           done ? 100 * reused / (double)(CLIP * done) : 0);
    return wrong || 2 * done < n;
}
