#include "model/unwrap.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

#define MAX_CHAIN 8

/* First words of names that wrap a network; where several stand beside each other the first in this list
 * is taken: averaged weights give the better pictures. */
static const char *const wrappers[] = {
    "params_ema", "ema_model", "model_ema", "net_g_ema", "generator_ema", "ema", "params", "net_g",
    "netG", "generator", "gen", "G", "g", "module", "_orig_mod", "model", "net", "network",
    "state_dict", "online_model"};

/* And of what stands beside a network and is none of it. */
static const char *const beside[] = {
    "net_d", "netD", "discriminator", "disc", "D", "d", "critic", "cri", "criterion", "loss",
    "perceptual", "vgg", "lpips", "optimizer", "teacher", "n_averaged", "num_updates", "initted", "step",
    "decay", "epoch", "global_step"};

/* The length of the first word of a name: up to its first dot. */
static size_t first_word(const char *name)
{
    return strcspn(name, ".");
}

static int rank(const char *const *words, int n, const char *name, size_t length)
{
    for (int i = 0; i < n; i++)
        if (strlen(words[i]) == length && !strncmp(words[i], name, length)) return i;
    return -1;
}

/* Old ESRGAN checkpoints call their layers model.0, model.1, …: that is no wrapper. */
static bool numbered(const char *name, size_t word)
{
    return name[word] == '.' && name[word + 1] >= '0' && name[word + 1] <= '9';
}

static void drop(UpzTensorSet *set, size_t i)
{
    upz_free(set->items[i].name);
    upz_free_aligned(set->items[i].data);
    set->n--;
    memmove(&set->items[i], &set->items[i + 1], (set->n - i) * sizeof(*set->items));
}

/* The wrapper to take off, or -1: every name must have a known one, or be of what stands beside. */
static int choose(const UpzTensorSet *set)
{
    int best = -1;
    bool numbers = true;
    for (size_t i = 0; i < set->n; i++) {
        const char *name = set->items[i].name;
        size_t word = first_word(name);
        int r = name[word] ? rank(wrappers, UPZ_COUNT(wrappers), name, word) : -1;
        if (r < 0 && rank(beside, UPZ_COUNT(beside), name, word) < 0) return -1;
        if (r < 0) continue;
        numbers = numbers && numbered(name, word);
        if (best < 0 || r < best) best = r;
    }
    return numbers ? -1 : best;
}

static void take_off(UpzTensorSet *set, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i < set->n;) {
        char *name = set->items[i].name;
        if (strncmp(name, word, n) || name[n] != '.') {
            drop(set, i);
            continue;
        }
        memmove(name, name + n + 1, strlen(name + n + 1) + 1);
        i++;
    }
    size_t at = strlen(set->top_key);
    snprintf(set->top_key + at, sizeof(set->top_key) - at, "%s%s", at ? "." : "", word);
}

void upz_unwrap(UpzTensorSet *set)
{
    for (int i = 0, w; i < MAX_CHAIN && set->n && (w = choose(set)) >= 0; i++)
        take_off(set, wrappers[w]);
}
