/* Files: whole files in memory, atomic writes, hashes. */
#ifndef UPZ_FILE_H
#define UPZ_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "error.h"

/* A whole file: read, so that nobody can cut it short under its reader. */
typedef struct UpzMap {
    const uint8_t *data;
    size_t size;
    bool mapped;
} UpzMap;

/* Opens a regular file of at most max bytes. code: the class of error to report (UPREZ_ERR_MODEL,
 * …). A directory, a pipe or an empty file is an error too. */
int upz_map_open(UpzMap *map, const char *path, size_t max, int code, UprezError *err);
/* Mapped instead: for files that only a fool cuts short, shared libraries. Same errors. */
int upz_map_library(UpzMap *map, const char *path, int code, UprezError *err);
void upz_map_close(UpzMap *map);

/* Where a file of this name is written: a symbolic link's end, even where nothing is there yet; the name
 * itself where it is no link, or one to something that is no file. The caller's; NULL: no memory. */
char *upz_follow_link(const char *path);
/* Replaces path, or what it links to, by data in one step: unique temporary file beside it, write, fsync, rename. */
int upz_write_atomic(const char *path, const void *data, size_t size, UprezError *err);
/* rename() with both directory and file synced. */
int upz_rename_synced(const char *from, const char *to, UprezError *err);

/* In the way of text: valid UTF-8, U+FFFD for every byte that is none. The caller's; NULL: no memory. */
char *upz_utf8(const char *text);

/* A descriptor of a new file that is gone when it is closed, in the folder of `beside` (NULL: in
 * `folder`; which is also the next try). -1 and errno on failure. /proc/self/fd/N opens it again. */
int upz_nameless_file(const char *beside, const char *folder);
/* The same end of a pipe once more, not blocking, so that who holds the other end can be given up; ours
 * alone, others who share the descriptor do not notice. -1: it is no pipe, or this cannot be had. */
int upz_unblocked(int fd, bool writing);
/* Standard input or a descriptor ("-", "pipe:7"): can be read once only. */
bool upz_is_pipe(const char *path);

bool upz_exists(const char *path);
bool upz_is_dir(const char *path);
/* The part behind the last '/'; points into path. */
const char *upz_basename(const char *path);
/* The extension without its dot, "" if none; points into path. */
const char *upz_extension(const char *path);

#define UPZ_SHA256_HEX 65
/* Lower-case hex with a final 0. */
void upz_sha256(const void *data, size_t size, char hex[UPZ_SHA256_HEX]);
void upz_sha256_two(const void *a, size_t na, const void *b, size_t nb, char hex[UPZ_SHA256_HEX]);
int upz_sha256_file(const char *path, char hex[UPZ_SHA256_HEX], int code, UprezError *err);

#endif
