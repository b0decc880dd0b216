#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 38
#define HELP_WIDTH 100

/* Is `name` one of the space- or bar-separated names? Returns its length, else 0. */
static size_t match(const char *names, const char *name, size_t len)
{
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, " ");
        if (n == len && !strncmp(p, name, n)) return n;
        p += n;
        p += strspn(p, " |");
    }
    return 0;
}

static const UpzOption *find(const UpzOption *o, int n, const char *name, size_t len)
{
    for (int i = 0; i < n; i++)
        if (match(o[i].names, name, len)) return &o[i];
    return NULL;
}

/* Insertions, deletions and replacements between two names of at most 31 characters. */
static int distance(const char *a, size_t na, const char *b, size_t nb)
{
    int row[32];
    for (size_t j = 0; j <= nb; j++) row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int up = row[j], swap = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = UPZ_MIN(swap, UPZ_MIN(up, row[j - 1]) + 1);
            diagonal = up;
        }
    }
    return row[nb];
}

/* The long option that a mistyped one begins or nearly is; its length, 0 when there is none. */
static size_t nearest(const UpzOption *o, int n, const char *name, size_t len, const char **found)
{
    int best = 3;
    size_t best_len = 0;
    if (len < 5 || len > 31 || name[1] != '-') return 0;
    for (int i = 0; i < n; i++)
        for (const char *p = o[i].names; *p; p += strspn(p, " |")) {
            size_t k = strcspn(p, " ");
            bool begins = k > len && !strncmp(p, name, len);
            if (k > 3 && k < 32) {
                int d = begins ? 0 : distance(name, len, p, k);
                if (d < best && d * 3 <= (int)len - 2) {
                    best = d;
                    best_len = k;
                    *found = p;
                }
            }
            p += k;
        }
    return best_len;
}

static int number(const char *text, double lo, double hi, bool whole, double *out)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || *end || errno || !isfinite(v) || v < lo || v > hi) return -1;
    if (whole && v != floor(v)) return -1;
    *out = v;
    return 0;
}

/* Seconds, or [HH:]MM:SS[.mmm]. */
static int time_of(const char *text, double *out)
{
    double total = 0, v;
    int parts = 0;
    char buf[64];
    if (strlen(text) >= sizeof(buf)) return -1;
    for (const char *p = text;;) {
        size_t n = strcspn(p, ":");
        memcpy(buf, p, n);
        buf[n] = 0;
        bool last = !p[n];
        if (!isdigit((unsigned char)buf[0]) && buf[0] != '.') return -1;
        if (++parts > 3 || number(buf, 0, 1e9, !last, &v) < 0) return -1;
        if (parts > 1 && v >= 60) return -1;
        total = total * 60 + v;
        if (last) break;
        p += n + 1;
    }
    *out = total;
    return 0;
}

/* "4", "4x", "x4" or "1.5x". */
static int factor(const char *text, double lo, double hi, double *out)
{
    char buf[32];
    size_t n = strlen(text);
    if (n > 1 && (text[n - 1] == 'x' || text[n - 1] == 'X')) n--;
    else if (n > 1 && (*text == 'x' || *text == 'X')) text++, n--;
    if (n >= sizeof(buf) || !(isdigit((unsigned char)*text) || *text == '.')) return -1;
    memcpy(buf, text, n);
    buf[n] = 0;
    return number(buf, lo, hi, false, out);
}

static bool choice(const char *choices, const char *value)
{
    size_t len = strlen(value);
    for (const char *p = choices; *p; p += strcspn(p, "|"), p += *p == '|')
        if (strcspn(p, "|") == len && !strncmp(p, value, len)) return true;
    return false;
}

int upz_options_time(const char *name, const char *v, double *seconds, UprezError *err)
{
    if (time_of(v, seconds) >= 0) return 0;
    return upz_fail(err, UPREZ_ERR_USAGE, "%s wants seconds or [HH:]MM:SS[.mmm], not '%s'", name, v);
}

int upz_options_size(const char *name, const char *v, int *size, UprezError *err)
{
    int used = 0;
    if (sscanf(v, "%5dx%5d%n", &size[0], &size[1], &used) != 2 || v[used] || size[0] < 1 ||
        size[1] < 1 || size[0] > 65536 || size[1] > 65536)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s %s: give WIDTHxHEIGHT in pixels, as 1920x1080",
                        name, v);
    return 0;
}

static int mix(const UpzOption *o, const char *name, const char *v, UprezError *err)
{
    UpzMix *m = o->value;
    const char *colon = strchr(v, ':');
    char share[32];
    const int n = colon ? (int)(colon - v) : (int)strlen(v);
    snprintf(share, sizeof(share), "%.*s", n, v);
    if (n >= (int)sizeof(share) || number(share, o->lo, o->hi, false, &m->share) < 0 ||
        (colon && !colon[1]))
        return upz_fail(err, UPREZ_ERR_USAGE, "%s %s: give a number from %.15g to %.15g, and a model to mix "
                        "with behind a colon if it is not the model's own twin (0.5:FILE)", name, v, o->lo,
                        o->hi);
    m->twin = colon ? colon + 1 : NULL;
    return 0;
}

static int store(const UpzOption *o, const char *name, const char *v, UprezError *err)
{
    double d;
    switch (o->kind) {
    case UPZ_OPT_FLAG: *(bool *)o->value = true; return 0;
    case UPZ_OPT_MIX: return mix(o, name, v, err);
    case UPZ_OPT_STRING: *(const char **)o->value = v; return 0;
    case UPZ_OPT_LIST: {
        UpzStringList *l = o->value;
        if (l->n == (int)(sizeof(l->items) / sizeof(*l->items)))
            return upz_fail(err, UPREZ_ERR_USAGE, "%s is given more than %d times", name, l->n);
        l->items[l->n++] = v;
        return 0;
    }
    case UPZ_OPT_INT:
    case UPZ_OPT_INT64:
    case UPZ_OPT_DOUBLE:
        if (number(v, o->lo, o->hi, o->kind != UPZ_OPT_DOUBLE, &d) < 0)
            return upz_fail(err, UPREZ_ERR_USAGE, "%s %s: a %snumber from %.15g to %.15g is needed",
                            name, v, o->kind == UPZ_OPT_DOUBLE ? "" : "whole ", o->lo, o->hi);
        if (o->kind == UPZ_OPT_INT) *(int *)o->value = (int)d;
        else if (o->kind == UPZ_OPT_INT64) *(int64_t *)o->value = (int64_t)d;
        else *(double *)o->value = d;
        return 0;
    case UPZ_OPT_FACTOR:
        if (factor(v, o->lo, o->hi, o->value) < 0)
            return upz_fail(err, UPREZ_ERR_USAGE, "%s %s: give a factor from %.15g to %.15g, as 2, 1.5 or 4x%s",
                            name, v, o->lo, o->hi, strpbrk(v, "xX:pPkK") ? "; --size takes sizes" : "");
        return 0;
    case UPZ_OPT_TIME:
        if (time_of(v, o->value) < 0)
            return upz_fail(err, UPREZ_ERR_USAGE,
                            "%s %s: give seconds (12.5) or HH:MM:SS.mmm (00:01:12.500)", name, v);
        return 0;
    case UPZ_OPT_SIZE: return upz_options_size(name, v, o->value, err);
    case UPZ_OPT_CHOICE:
        if (!choice(o->arg, v))
            return upz_fail(err, UPREZ_ERR_USAGE, "%s %s: give one of %s", name, v, o->arg);
        *(const char **)o->value = v;
        return 0;
    }
    return 0;
}

static bool negative_number(const char *s)
{
    return s[0] == '-' && (isdigit((unsigned char)s[1]) || s[1] == '.');
}

int upz_options_parse(const UpzOption *o, int n, int argc, char **argv, const char **positional,
                      int max_positional, const char *usage, UprezError *err)
{
    int n_pos = 0;
    bool only_positional = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (only_positional || a[0] != '-' || !a[1]) {
            if (n_pos == max_positional)
                return upz_fail(err, UPREZ_ERR_USAGE,
                                "'%s' is one argument too many; see 'uprez --help'", a);
            positional[n_pos++] = a;
            continue;
        }
        if (!strcmp(a, "--")) {
            only_positional = true;
            continue;
        }
        if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
            upz_options_help(o, n, usage);
            return UPREZ_EOF;
        }
        size_t len = strlen(a);
        const char *eq = a[1] == '-' ? strchr(a, '=') : NULL, *value = NULL;
        if (eq) {
            len = (size_t)(eq - a);
            value = eq + 1;
        }
        const UpzOption *opt = find(o, n, a, len);
        if (!opt && a[1] != '-' && len > 2 && (opt = find(o, n, a, 2))) { /* -s2 */
            if (opt->kind == UPZ_OPT_FLAG) opt = NULL;
            else value = a + 2, len = 2;
        }
        if (!opt) {
            const char *meant = NULL;
            size_t k = nearest(o, n, a, len, &meant);
            if (k)
                return upz_fail(err, UPREZ_ERR_USAGE, "there is no option %.*s here; is %.*s meant?",
                                (int)len, a, (int)k, meant);
            return upz_fail(err, UPREZ_ERR_USAGE, "there is no option %.*s here; see 'uprez --help'",
                            (int)len, a);
        }
        char name[64];
        snprintf(name, sizeof(name), "%.*s", (int)UPZ_MIN(len, sizeof(name) - 1), a);
        if (opt->kind == UPZ_OPT_FLAG) {
            if (value) return upz_fail(err, UPREZ_ERR_USAGE, "%s takes no value", name);
        } else if (!value) {
            if (i + 1 == argc)
                return upz_fail(err, UPREZ_ERR_USAGE, "%s needs a value (%s)", name, opt->arg);
            const char *next = argv[++i];
            if (next[0] == '-' && next[1] && !negative_number(next))
                return strstr(opt->arg, "FILE")
                           ? upz_fail(err, UPREZ_ERR_USAGE,
                                      "%s needs a value (%s); a file named %s is written ./%s", name,
                                      opt->arg, next, next)
                           : upz_fail(err, UPREZ_ERR_USAGE, "%s needs a value (%s), not %s", name,
                                      opt->arg, next);
            value = next;
        }
        int r = store(opt, name, value, err);
        if (r < 0) return r;
    }
    return n_pos;
}

/* Words behind HELP_COLUMN, in lines of up to HELP_WIDTH columns. */
static void put_wrapped(const char *text)
{
    int column = HELP_COLUMN;
    while (*text) {
        int n = (int)strcspn(text, " "), width = 0;
        for (int i = 0; i < n; i++) width += (text[i] & 0xc0) != 0x80; /* bytes that begin a character */
        if (column > HELP_COLUMN && column + 1 + width > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        if (column > HELP_COLUMN) {
            putchar(' ');
            column++;
        }
        printf("%.*s", n, text);
        column += width;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

void upz_options_help(const UpzOption *o, int n, const char *usage)
{
    printf("%s", usage);
    for (int i = 0; i < n; i++) {
        if (!o[i].help) continue; /* a compatibility spelling only */
        if (o[i].group) printf("\n%s:\n", o[i].group);
        char names[128], left[160];
        size_t shown = strcspn(o[i].names, "|");
        while (shown && o[i].names[shown - 1] == ' ') shown--;
        snprintf(names, sizeof(names), "%.*s", (int)shown, o[i].names);
        for (char *c = names; (c = strchr(c, ' ')); c++) *c = ',';
        snprintf(left, sizeof(left), "  %s%s%s", names, o[i].arg ? " " : "", o[i].arg ? o[i].arg : "");
        printf("%-38s", left);
        if (strlen(left) >= HELP_COLUMN) printf("\n%*s", HELP_COLUMN, "");
        put_wrapped(o[i].help);
    }
}
