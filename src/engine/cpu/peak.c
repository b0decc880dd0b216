#include "engine/cpu/peak.h"

#include <string.h>

#include "base/queue.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/tiles.h"

#define TURNS 5
#define PIECES 8 /* a worker */
#define PIECE_NS 1000000

typedef struct Peak {
    const UpzCpuKernels *kernels;
    const UpzTileKernels *tiles; /* or NULL: fp32 */
    size_t rounds;
} Peak;

static double compute(const Peak *p)
{
    if (!p->tiles) return p->kernels->peak(p->rounds);
    p->tiles->begin();
    const double operations = p->tiles->peak(p->rounds);
    p->tiles->end();
    return operations;
}

static void piece(void *arg, int i, int worker)
{
    (void)i, (void)worker;
    compute(arg);
}

double upz_cpu_peak(UprezContext *ctx, const char *precision)
{
    Peak p = {.kernels = upz_cpu_kernels(ctx->cpu), .rounds = 1000};
    if (!strcmp(precision, "bf16") && ctx->features && upz_cpu_allow_tiles())
        p.tiles = upz_tile_kernels(ctx->features);
    if (strcmp(precision, "fp32") && !p.tiles) return 0;
    /* how many rounds make a piece of work that is worth starting */
    double operations, best = 0;
    for (;; p.rounds *= 2) {
        int64_t least = INT64_MAX; /* of some turns: this thread may be held up */
        for (int turn = 0; turn < TURNS; turn++) {
            const int64_t start = upz_now_ns();
            operations = compute(&p);
            least = UPZ_MIN(least, upz_now_ns() - start);
        }
        if (least >= PIECE_NS) break;
    }
    const int pieces = PIECES * upz_pool_size(ctx->pool);
    for (int turn = 0; turn < TURNS; turn++) {
        const int64_t start = upz_now_ns();
        upz_pool_for(ctx->pool, pieces, piece, &p);
        const double rate = operations * pieces / (double)UPZ_MAX(upz_now_ns() - start, 1);
        best = UPZ_MAX(best, rate);
    }
    return best * 1e-3;
}
