#include "model/unwrap.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "model/arch.h"

#define MAX_LOOKS ((size_t)1 << 18) /* names looked at, all places together */
#define MAX_WORDS 100               /* in front of a name */
#define MAX_DICTS 64                /* compared for a message */

/* Of several places the first in this list is taken. */
static const char *const wrappers[] = {
    "params", "net_g", "netG", "generator", "gen", "G", "g", "model_g", "model", "model_state_dict",
    "state_dict", "student", "net", "network", "weights", "module", "_orig_mod", "online_model"};

/* Parts of words for averaged weights, which give the better pictures. */
static const char *const averaged[] = {"ema", "swa", "avg", "averaged", "average", "shadow", "polyak"};

/* Parts of words for what stands beside a network and is none of it. */
static const char *const beside[] = {
    "disc", "critic", "criterion", "loss", "vgg", "lpips", "percep", "optim", "teacher", "inception",
    "metric", "net_d", "netd", "model_d", "modeld"};
static const char *const beside_whole[] = {"d", "dis", "cri", "fid", "scheduler", "best"};

typedef enum Rank { AVERAGED, PLAIN, BESIDE } Rank;

typedef struct Search {
    const UpzLeaf **leaves; /* by name */
    UpzTensor *items; /* room for what an architecture is shown */
    size_t looks;
    UpzPlace best, equal; /* equal: another that is as good */
    Rank rank;
} Search;

static bool has_part(const char *word, size_t n, const char *part)
{
    const size_t length = strlen(part);
    for (size_t i = 0; i + length <= n; i++)
        if (!strncasecmp(word + i, part, length)) return true;
    return false;
}

/* At the word's start or end, or between signs: "ema_model", "netG_ema", "EMA". */
static bool has_token(const char *word, size_t n, const char *part)
{
    const size_t length = strlen(part);
    for (size_t i = 0; i + length <= n; i++) {
        if (strncasecmp(word + i, part, length)) continue;
        const bool from = !i || !isalpha((unsigned char)word[i - 1]);
        const bool to = i + length == n || !isalpha((unsigned char)word[i + length]);
        if ((from && to) || (i + length == n && !strcasecmp(part, "ema"))) return true;
    }
    return false;
}

static Rank rank_of_word(const char *word, size_t n)
{
    for (int i = 0; i < UPZ_COUNT(beside); i++)
        if (has_part(word, n, beside[i])) return BESIDE;
    for (int i = 0; i < UPZ_COUNT(beside_whole); i++)
        if (n == strlen(beside_whole[i]) && !strncasecmp(word, beside_whole[i], n)) return BESIDE;
    if (n > 2 && !strncasecmp(word, "d_", 2)) return BESIDE;
    for (int i = 0; i < UPZ_COUNT(averaged); i++)
        if (has_token(word, n, averaged[i])) return AVERAGED;
    return PLAIN;
}

/* Of a prefix: what stands beside stays so under whatever name, averages are so anywhere. */
static Rank rank_of(const char *name, size_t prefix)
{
    Rank rank = PLAIN;
    for (size_t at = 0; at < prefix;) {
        const size_t n = strcspn(name + at, ".");
        const Rank r = rank_of_word(name + at, n);
        if (r == BESIDE) return BESIDE;
        if (r == AVERAGED) rank = AVERAGED;
        at += n + 1;
    }
    return rank;
}

static int known(const char *word, size_t n)
{
    int i = 0;
    while (i < UPZ_COUNT(wrappers) && (strlen(wrappers[i]) != n || strncmp(wrappers[i], word, n))) i++;
    return i;
}

/* < 0: prefix a is to be preferred to b, of the same rank; 0: nothing tells. */
static int compare_prefixes(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t at = 0;
    while (at < n_a && at < n_b) {
        const size_t i = strcspn(a + at, "."), k = strcspn(b + at, ".");
        if (i != k || strncmp(a + at, b + at, i)) return known(a + at, i) - known(b + at, k);
        at += i + 1;
    }
    return n_a < n_b ? -1 : n_a > n_b;
}

static void consider(Search *s, UpzPlace place)
{
    const char *name = place.leaf->name;
    const Rank rank = rank_of(name, place.prefix);
    int order = s->best.found ? (int)rank - (int)s->rank : -1;
    if (!order)
        order = compare_prefixes(name, place.prefix, s->best.leaf->name, s->best.prefix);
    if (order > 0) return;
    if (!order) {
        s->equal = place;
        return;
    }
    s->best = place;
    s->rank = rank;
    s->equal.found = false;
}

/* Does an architecture know leaves lo … hi - 1 without their prefix? Of a dict's own names alone, or with
 * those of dicts below it. */
static bool recognised(Search *s, size_t lo, size_t hi, size_t prefix, size_t dict, bool nested)
{
    static float here; /* architectures ask whether there is data, and do not read it yet */
    UpzTensorSet set = {.items = s->items};
    for (size_t i = lo; i < hi; i++) {
        const UpzLeaf *l = s->leaves[i];
        if (!nested && l->inner > dict) continue;
        UpzTensor *t = &set.items[set.n++];
        *t = (UpzTensor){.name = (char *)(uintptr_t)l->name + prefix, .n_dims = l->n_dims,
                         .count = l->count, .data = &here};
        memcpy(t->dims, l->dims, sizeof(t->dims));
    }
    for (int i = 0; upz_archs[i] && set.n > 2; i++)
        if (upz_archs[i]->recognise(&set)) return true;
    return false;
}

/* Names that have the first word of leaf i behind the prefix. */
typedef struct Group {
    size_t end;      /* leaves i … end - 1 */
    const char *word;
    size_t n;        /* of the word */
    bool last;       /* it is all of the name */
    bool own;        /* some are the dict's own */
    size_t dict;     /* where its names of dicts end */
} Group;

static Group group_at(const Search *s, size_t i, size_t hi, size_t prefix, size_t dict)
{
    const char *word = s->leaves[i]->name + prefix;
    Group g = {.end = i + 1, .word = word, .n = strcspn(word, "."), .dict = dict};
    g.last = !word[g.n];
    while (!g.last && g.end < hi && !strncmp(s->leaves[g.end]->name + prefix, word, g.n + 1)) g.end++;
    for (size_t k = i; k < g.end; k++) g.own |= s->leaves[k]->inner <= dict;
    if (!g.own && s->leaves[i]->inner == prefix + g.n + 1) g.dict = s->leaves[i]->inner;
    return g;
}

/* Counters and flags, or what stands beside. */
static bool may_be_left(const Search *s, size_t lo, const Group *g)
{
    if (rank_of_word(g->word, g->n) == BESIDE) return true;
    for (size_t i = lo; i < g->end; i++)
        if (s->leaves[i]->count > 1) return false;
    return true;
}

static bool look(Search *s, size_t lo, size_t hi, size_t prefix, size_t dict, int depth);

/* Into a dict's own names, by their first words. That is right only where all words hold networks or may be
 * left out: a part of an unknown network may look like a known one. */
static bool look_behind_words(Search *s, size_t lo, size_t hi, size_t prefix, size_t dict, int depth)
{
    const UpzPlace best = s->best, equal = s->equal;
    const Rank rank = s->rank;
    bool found = false, strangers = false, numbers = false;
    int groups = 0;
    for (size_t i = lo; i < hi;) {
        const Group g = group_at(s, i, hi, prefix, dict);
        if (g.own) {
            const bool here = !g.last && look(s, i, g.end, prefix + g.n + 1, dict, depth + 1);
            found |= here;
            strangers |= !here && !may_be_left(s, i, &g);
            numbers |= !g.last && g.word[0] >= '0' && g.word[0] <= '9';
            groups++;
        }
        i = g.end;
    }
    if (!strangers && (!numbers || groups == 1)) return found;
    s->best = best;
    s->equal = equal;
    s->rank = rank;
    return false;
}

/* Leaves lo … hi - 1 share a prefix, in which the names of dicts end at `dict`. Returns whether a network
 * is there. */
static bool look(Search *s, size_t lo, size_t hi, size_t prefix, size_t dict, int depth)
{
    bool own = false, below = false;
    if (depth > MAX_WORDS || s->looks < hi - lo) return false;
    s->looks -= hi - lo;
    for (size_t i = lo; i < hi; i++) {
        own |= s->leaves[i]->inner <= dict;
        below |= s->leaves[i]->inner > dict;
    }
    UpzPlace place = {.prefix = prefix, .dict = dict, .leaf = s->leaves[lo]};
    place.found = own && recognised(s, lo, hi, prefix, dict, false);
    if (!place.found && below) place.found = place.nested = recognised(s, lo, hi, prefix, dict, true);
    if (place.found) consider(s, place);
    if (place.nested) return true;
    bool found = place.found;
    for (size_t i = lo; below && i < hi;) { /* an average may lie in a dict beside the plain weights */
        const Group g = group_at(s, i, hi, prefix, dict);
        if (!g.own) found |= look(s, i, g.end, prefix + g.n + 1, g.dict, depth + 1);
        i = g.end;
    }
    if (!place.found && own) found |= look_behind_words(s, lo, hi, prefix, dict, depth);
    return found;
}

/* The dict with most tensors of its own, of those that do not stand beside: what a message is best about. */
static void likeliest(const Search *s, size_t n, UpzPlace *place)
{
    size_t most = 0;
    int best = -1, dicts = 0;
    for (size_t i = 0; i < n && dicts < MAX_DICTS; i++) {
        const UpzLeaf *l = s->leaves[i];
        if (i && l->inner == s->leaves[i - 1]->inner && !strncmp(l->name, s->leaves[i - 1]->name, l->inner))
            continue;
        size_t count = 0;
        for (size_t k = i; k < n; k++)
            count += s->leaves[k]->inner == l->inner && !strncmp(l->name, s->leaves[k]->name, l->inner);
        const int good = rank_of(l->name, l->inner) != BESIDE;
        dicts++;
        if (good < best || (good == best && count <= most)) continue;
        best = good;
        most = count;
        place->leaf = l;
        place->dict = place->prefix = l->inner;
    }
}

static int by_name(const void *a, const void *b)
{
    const UpzLeaf *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int several(const UpzPlace *a, const UpzPlace *b, const char *file, UprezError *err)
{
    return upz_fail(err, UPREZ_ERR_MODEL,
                    "%s holds several networks, '%.*s' and '%.*s', and nothing tells which is meant; save "
                    "the one you want alone",
                    file, (int)UPZ_MIN(a->prefix, 80) - 1, a->leaf->name,
                    (int)UPZ_MIN(b->prefix, 80) - 1, b->leaf->name);
}

int upz_unwrap_find(const UpzLeaf *leaves, size_t n, UpzPlace *place, const char *file, UprezError *err)
{
    Search s = {.looks = MAX_LOOKS};
    *place = (UpzPlace){.leaf = leaves};
    if (!n) return 0;
    s.leaves = upz_calloc(n, sizeof(*s.leaves));
    s.items = upz_calloc(n, sizeof(*s.items));
    int r = s.leaves && s.items ? 0 : upz_fail_memory(err, n * sizeof(*s.items), "a list of names");
    if (r >= 0) {
        for (size_t i = 0; i < n; i++) s.leaves[i] = &leaves[i];
        qsort(s.leaves, n, sizeof(*s.leaves), by_name);
        look(&s, 0, n, 0, 0, 0);
        if (s.best.found) *place = s.best;
        else likeliest(&s, n, place);
        if (s.equal.found) r = several(&s.best, &s.equal, file, err);
    }
    upz_free(s.leaves);
    upz_free(s.items);
    return r;
}

/* Of the names behind the prefix those that the network cannot have. */
static bool is_beside(const char *name)
{
    const size_t n = strcspn(name, ".");
    return name[n] && rank_of_word(name, n) == BESIDE;
}

static void take_off(UpzTensorSet *set, const char *prefix)
{
    const size_t n = strlen(prefix), all = set->n;
    set->n = 0;
    for (size_t i = 0; i < all; i++) {
        UpzTensor t = set->items[i];
        if (strncmp(t.name, prefix, n) != 0 || is_beside(t.name + n)) {
            upz_free(t.name);
            upz_free_aligned(t.data);
            continue;
        }
        memmove(t.name, t.name + n, strlen(t.name + n) + 1);
        set->items[set->n++] = t;
    }
    const size_t at = strlen(set->top_key);
    if (n) snprintf(set->top_key + at, sizeof(set->top_key) - at, "%s%.*s", at ? "." : "", (int)n - 1, prefix);
}

int upz_unwrap(UpzTensorSet *set, const char *file, UprezError *err)
{
    UpzPlace place = {.found = false};
    char *prefix = NULL;
    UpzLeaf *leaves = upz_calloc(set->n, sizeof(*leaves));
    int r = leaves ? 0 : upz_fail_memory(err, set->n * sizeof(*leaves), "a list of names");
    for (size_t i = 0; i < set->n && r >= 0; i++) {
        const UpzTensor *t = &set->items[i];
        leaves[i] = (UpzLeaf){.name = t->name, .n_dims = t->n_dims, .count = t->count};
        memcpy(leaves[i].dims, t->dims, sizeof(t->dims));
    }
    if (r >= 0) r = upz_unwrap_find(leaves, set->n, &place, file, err);
    if (r >= 0 && place.found) {
        prefix = upz_asprintf("%.*s", (int)place.prefix, place.leaf->name);
        if (prefix) take_off(set, prefix);
        else r = upz_fail_memory(err, place.prefix, "a name");
    }
    upz_free(prefix);
    upz_free(leaves);
    return r;
}
