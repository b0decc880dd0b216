/* Graphs: launches captured from one stream, in their order, launched again as one. Only kernels are known:
 * that is what the engine captures. */
#include "driver.h"
#include <stdlib.h>
#include <string.h>

#define KIND_GRAPH 0x47525048u

typedef struct Graph {
    uint32_t kind;
    Context *context;
    Op *ops;
    size_t n, cap;
    bool exec;
} Graph;

static Graph *of(void *handle)
{
    Graph *g = handle;
    return g && g->kind == KIND_GRAPH ? g : NULL;
}

static Op copy_of(const Op *op)
{
    Op c = *op;
    c.params = malloc(op->launch.kernel->bytes);
    memcpy(c.params, op->params, op->launch.kernel->bytes);
    c.launch.params = c.params;
    return c;
}

bool fake_captured(Stream *s, Op *op)
{
    Graph *g = s->capture;
    if (!g) return false;
    if (g->n == g->cap) {
        g->cap = g->cap ? 2 * g->cap : 64;
        g->ops = realloc(g->ops, g->cap * sizeof *g->ops);
    }
    op->launch.overlap = op->launch.overlap && g->n > 0;
    g->ops[g->n++] = *op;
    return true;
}

static void destroy(Graph *g)
{
    for (size_t i = 0; i < g->n; i++) free(g->ops[i].params);
    free(g->ops);
    *g = (Graph){0};
    free(g);
}

SEEN int cuStreamBeginCapture_v2(void *stream, int mode);
int cuStreamBeginCapture_v2(void *stream, int mode)
{
    Stream *s;
    ENTER_CONTEXT(c);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    if (s == c->null_stream || s->capture || mode < 0 || mode > 2) LEAVE(900);
    Graph *g = calloc(1, sizeof *g);
    *g = (Graph){.kind = KIND_GRAPH, .context = c};
    s->capture = g;
    LEAVE(OK);
}

SEEN int cuStreamEndCapture(void *stream, void **graph);
int cuStreamEndCapture(void *stream, void **graph)
{
    Stream *s;
    ENTER_CONTEXT(c);
    *graph = NULL;
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    if (!s->capture) LEAVE(900);
    *graph = s->capture;
    s->capture = NULL;
    LEAVE(OK);
}

SEEN int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags);
int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags)
{
    ENTER_CONTEXT(c);
    const Graph *from = of(graph);
    if (!from || from->exec || flags) LEAVE(INVALID_VALUE);
    Graph *g = calloc(1, sizeof *g);
    *g = *from;
    g->exec = true;
    g->ops = malloc((from->n + 1) * sizeof *g->ops);
    for (size_t i = 0; i < from->n; i++) g->ops[i] = copy_of(&from->ops[i]);
    *exec = g;
    LEAVE(OK);
}

SEEN int cuGraphLaunch(void *exec, void *stream);
int cuGraphLaunch(void *exec, void *stream)
{
    Stream *s;
    ENTER_CONTEXT(c);
    const Graph *g = of(exec);
    if ((result = fake_stream(stream, &s))) LEAVE(result);
    if (!g || !g->exec || g->context != c) LEAVE(INVALID_VALUE);
    fake_counters.graphs++;
    for (size_t i = 0; i < g->n; i++) fake_enqueue_launch(s, copy_of(&g->ops[i]));
    LEAVE(OK);
}

SEEN int cuGraphExecDestroy(void *exec);
int cuGraphExecDestroy(void *exec)
{
    ENTER();
    if (!of(exec) || !of(exec)->exec) LEAVE(INVALID_VALUE);
    destroy(exec);
    LEAVE(OK);
}

SEEN int cuGraphDestroy(void *graph);
int cuGraphDestroy(void *graph)
{
    ENTER();
    if (!of(graph) || of(graph)->exec) LEAVE(INVALID_VALUE);
    destroy(graph);
    LEAVE(OK);
}
