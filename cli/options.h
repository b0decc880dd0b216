/* Options as a table: one row an option gives parsing, --help, and what the tests compare the man
 * page and the completion with. */
#ifndef UPZ_OPTIONS_H
#define UPZ_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

typedef enum UpzOptionKind {
    UPZ_OPT_FLAG,   /* bool * */
    UPZ_OPT_STRING, /* const char ** */
    UPZ_OPT_LIST,   /* UpzStringList *, may be repeated */
    UPZ_OPT_INT,    /* int *, lo..hi */
    UPZ_OPT_INT64,  /* int64_t *, lo..hi */
    UPZ_OPT_DOUBLE, /* double *, lo..hi */
    UPZ_OPT_FACTOR, /* double *, lo..hi; "4", "4x" or "x4" */
    UPZ_OPT_TIME,   /* double *, seconds or [HH:]MM:SS[.mmm] */
    UPZ_OPT_SIZE,   /* int[2], WxH */
    UPZ_OPT_MIX,    /* UpzMix *, "0.5" or "0.5:FILE", lo..hi */
    UPZ_OPT_CHOICE  /* const char **, one of `arg` split at '|' */
} UpzOptionKind;

typedef struct UpzStringList {
    const char *items[64];
    int n;
} UpzStringList;

typedef struct UpzMix {
    double share;     /* < 0: not given */
    const char *twin; /* the second model, or NULL */
} UpzMix;

typedef struct UpzOption {
    const char *names; /* "-m --model", first those shown in help; then aliases behind " | " */
    UpzOptionKind kind;
    const char *arg;   /* shown in help; the choices for UPZ_OPT_CHOICE; NULL for flags */
    void *value;
    double lo, hi;
    const char *help;
    const char *group; /* heading in --help, NULL = same as before */
} UpzOption;

/* Options anywhere, positional arguments in order; "--" ends options; a lone "-" is positional.
 * Returns the number of positionals, or UPREZ_ERR_USAGE. --help gives UPREZ_EOF after printing. */
int upz_options_parse(const UpzOption *options, int n, int argc, char **argv, const char **positional,
                      int max_positional, const char *usage, UprezError *err);
/* WxH of an option into size[2]; USAGE names the option. */
int upz_options_size(const char *name, const char *text, int *size, UprezError *err);
/* Seconds or [HH:]MM:SS[.mmm] of an option into *seconds; USAGE names the option. */
int upz_options_time(const char *name, const char *text, double *seconds, UprezError *err);
void upz_options_help(const UpzOption *options, int n, const char *usage);

#endif
