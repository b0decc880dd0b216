/* Which work has to follow which: what stands before it in its stream, what its stream was told to wait
 * for, and what the thread that asked for it had waited for. Nothing of this is ever forgotten, so that a
 * test can ask afterwards. */
#include "driver.h"
#include <stdlib.h>
#include <string.h>

struct Node {
    Node *before[3];    /* in the stream; what was waited for there; what the host had waited for */
    Node *made;         /* the one made before: all stay reachable */
    const char *kernel; /* of a launch, or NULL */
    unsigned mark;
};

enum { IN_STREAM, WAITED_FOR, ON_HOST };

static Node *newest;
static __thread Node *host; /* what this thread has waited for */

static Node *make(Node *before, Node *waited, Node *on_host, const char *kernel)
{
    Node *n = calloc(1, sizeof *n);
    *n = (Node){.before = {before, waited, on_host}, .made = newest, .kernel = kernel};
    return newest = n;
}

void fake_depend(Stream *s, Node *waited, const char *kernel)
{
    Stream *null = s->context->null_stream;
    if (s == null) {
        for (Stream *o = s->context->streams; o; o = o->next)
            if (o != s && !(o->flags & 1) && o->node) s->node = make(s->node, o->node, NULL, NULL);
    } else if (!(s->flags & 1) && null->node) {
        s->node = make(s->node, null->node, NULL, NULL);
    }
    s->node = make(s->node, waited, host, kernel);
}

void fake_host_waited(Node *n)
{
    if (n) host = make(host, n, NULL, NULL);
}

/* Launches of a kernel that come before n, or are n. */
static uint64_t launches_before(Node *n, const char *kernel, bool with_host)
{
    static unsigned marks;
    size_t depth = 0, cap = 64;
    uint64_t found = 0;
    Node **stack = malloc(cap * sizeof *stack);
    const unsigned mark = ++marks;
    if (n) stack[depth++] = n;
    while (depth) {
        Node *at = stack[--depth];
        if (at->mark == mark) continue;
        at->mark = mark;
        found += at->kernel && !strcmp(at->kernel, kernel);
        if (depth + 3 > cap) stack = realloc(stack, (cap *= 2) * sizeof *stack);
        for (int i = 0; i < 3; i++)
            if (at->before[i] && at->before[i]->mark != mark && (i != ON_HOST || with_host))
                stack[depth++] = at->before[i];
    }
    free(stack);
    return found;
}

/* For tests: of how many launches of a kernel the last work on a stream (and so all of it) has to follow at
 * most, by order of the device alone, or also because the thread that enqueued it had waited. */
SEEN uint64_t fakeCudaFollows(void *stream, const char *kernel, int with_host);
uint64_t fakeCudaFollows(void *stream, const char *kernel, int with_host)
{
    Stream *s;
    pthread_mutex_lock(&fake_lock);
    const uint64_t n = fake_stream(stream, &s) ? UINT64_MAX : launches_before(s->node, kernel, with_host != 0);
    pthread_mutex_unlock(&fake_lock);
    return n;
}

/* The same of what the calling thread has waited for. */
SEEN uint64_t fakeCudaWaited(const char *kernel);
uint64_t fakeCudaWaited(const char *kernel)
{
    pthread_mutex_lock(&fake_lock);
    const uint64_t n = launches_before(host, kernel, true);
    pthread_mutex_unlock(&fake_lock);
    return n;
}
