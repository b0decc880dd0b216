/* Which files a job is about, and what their outputs are called.
 *
 * Threads: safe anywhere; a list is used by one thread at a time. */
#ifndef UPZ_FILES_H
#define UPZ_FILES_H

#include "job.h"

typedef struct UpzFiles {
    char **items; /* paths, owned by the list */
    size_t n, cap;
} UpzFiles;

int upz_files_add(UpzFiles *names, const char *path, UprezError *err);
void upz_files_free(UpzFiles *names);
/* Adds the files of a folder to `files` and its folders to `inner`, both in natural order (2 before
 * 10); hidden ones are left out. INPUT when it cannot be read. */
int upz_files_list(UpzFiles *files, UpzFiles *inner, const char *folder, UprezError *err);
/* Compares two strings as names: runs of digits are numbers. */
int upz_files_compare(const char *a, const char *b);

/* A name that is meant for a folder: one that is there, or any that ends in a slash. */
bool upz_files_folder(const char *path);
/* The length of a path's last part without its extension. */
size_t upz_files_stem(const char *path);
/* FOLDER/STEM SUFFIX.EXT for one input; the caller's. folder NULL: beside the input (an address: in the
 * current folder). The extension is params->ext or the input's own where the output can be written so,
 * else png or mkv. NULL: no memory. */
char *upz_files_target(const UpzJobParams *params, const char *folder, const char *input, bool still,
                       const char *suffix);
/* Names that promise a picture or a video by their extension. */
bool upz_files_media(const char *path);

#endif
