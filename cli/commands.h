/* Every command: one file each (cmd_NAME.c), one line in the list of main.c.
 *
 * A command gets its own name as argv[0] and returns the program's exit code. */
#ifndef UPZ_COMMANDS_H
#define UPZ_COMMANDS_H

#include <stdbool.h>
#include <stdio.h>
#include "base/context.h"

int upz_cmd_upscale(int argc, char **argv);
int upz_cmd_model(int argc, char **argv);   /* list | info | pull | verify | … */
int upz_cmd_bench(int argc, char **argv);
int upz_cmd_check(int argc, char **argv);
int upz_cmd_compare(int argc, char **argv);
int upz_cmd_devices(int argc, char **argv);
int upz_cmd_estimate(int argc, char **argv);
int upz_cmd_sample(int argc, char **argv);
/* Of upz_cmd_model, in a file of its own: 0 or an UprezErr (EOF: help was asked for). */
int upz_cli_compile(int argc, char **argv, UprezError *err);

/* Text that comes from files or names: control characters become '?'. */
void upz_cli_plain(FILE *to, const char *text);
/* A line of text on standard output: valid UTF-8, whatever bytes file names have. */
void upz_cli_text(const char *text);
/* Log lines on stderr: verbosity -1 errors only, 0 warnings and notes, 1 also debug. */
void upz_cli_log(void *verbosity, int level, const char *line);
/* Prints `uprez: SENTENCE` on stderr and returns the exit code for err->code. */
int upz_cli_error(const UprezError *err);
/* The exit code of an UprezErr: 0, 1 … 8, 130. */
int upz_cli_exit_code(int code);
/* Set by SIGINT (2) and SIGTERM (15); 0 otherwise. A second signal ends the program at once. */
extern volatile int upz_cli_signal;

#endif
