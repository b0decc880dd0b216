/* Inputs that can be read only once: named pipes, standard input and <(command). A film is read more than once, so
 * what comes is first kept in a file without a name beside the output, gone when the run ends in
 * whatever way. y4m, which holds nothing but pictures, is read as it comes. */
#ifndef UPZ_INTAKE_H
#define UPZ_INTAKE_H

#include "base/error.h"
#include "base/watch.h"

typedef struct UpzIntake {
    int fd;        /* -1: nothing had to be done */
    char path[40]; /* what to open instead; "" when fd is -1 */
} UpzIntake;

/* Waits for all of the input when it is a named pipe, unless it is y4m; standard input has to be. What is
 * left of a pipe is read without blocking, so that a writer who stalls can be given up. output: its name, "-" possible.
 * watch may be NULL. INPUT, OUTPUT (no room) or INTERRUPTED. Close it in any case. */
int upz_intake_open(UpzIntake *intake, const char *input, const char *output, UpzWatch *watch,
                    UprezError *err);
void upz_intake_close(UpzIntake *intake);
/* Puts the input's own name back into a sentence. */
void upz_intake_name(const UpzIntake *intake, const char *input, UprezError *err);

#endif
