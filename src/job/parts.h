/* The kinds of job, each in a file of its own, and what they share. */
#ifndef UPZ_PARTS_H
#define UPZ_PARTS_H

#include "job.h"
#include "session.h"

/* Refuses an existing output without overwrite (USAGE), an output that is the input, and a folder
 * that is missing or cannot be written (OUTPUT), before anything else is done. */
int upz_check_output(const char *input, const char *output, bool overwrite, UprezError *err);
/* Makes a folder where none is; *made says whether. OUTPUT. */
int upz_make_folder(const char *folder, bool *made, UprezError *err);

/* The error of a run that was ended while its input was looked at: what the look said means nothing. */
int upz_ended_early(const char *input, UprezError *err);
/* One file, whatever it is: a picture, a video, a pipe. The session's params are these. */
int upz_run_file(UpzSession *s, const UpzJobParams *params, UpzJobResult *result, UprezError *err);

int upz_video_job(UpzSession *s, const UpzJobParams *params, UpzJobResult *result, UprezError *err);
int upz_still_job(UpzSession *s, const UpzJobParams *params, UpzJobResult *result, UprezError *err);
/* Every picture and video of params->inputs, files or folders (in natural order), into a folder; goes on
 * after a file that fails. */
int upz_folder_job(UpzSession *s, const UpzJobParams *params, UpzJobResult *result,
                   UprezError *err);

#endif
