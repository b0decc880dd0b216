/* Numbered pictures: as a film that is read (a folder of frames, or a pattern such as f%04d.png), and
 * as what is written.
 *
 * Threads: safe anywhere. */
#ifndef UPZ_FRAMES_H
#define UPZ_FRAMES_H

#include "job.h"

/* A film of pictures, as FFmpeg's image2 is told about it. */
typedef struct UpzFilm {
    char *url, *demuxer; /* for upz_source_open; both NULL: the input is something else */
    char *digest;        /* of the pictures' names, sizes and dates */
} UpzFilm;

/* True for a name with one %d (%04d), which no file has. */
bool upz_pattern(const char *path);
/* Whether frames become picture files, numbered from 1 on, or one: the output's name is a picture's.
 * USAGE when it is one picture's and more than one frame may come. */
int upz_pictures_wanted(bool *yes, const UpzJobParams *params, UprezError *err);
/* How many of a pattern's pictures are there, and (in *first) how many of them follow each other from
 * number 1 on. Of one picture: whether it is there. */
int upz_pictures_there(int64_t *n, int64_t *first, const char *output, UprezError *err);
/* The name of picture n (of one picture: its name); the caller's. NULL: no memory. */
char *upz_pattern_name(const char *pattern, int64_t n);

/* Whether `output` asks for a film of the folder's pictures: it is a video's name and no folder. */
bool upz_film_wanted(const char *folder, const char *output);
/* params->input: a folder of pictures of one kind, in natural order, or a pattern that has no gap; what
 * is neither leaves *film empty. rate: params->fps, default 25. INPUT or USAGE. */
int upz_film_find(UpzFilm *film, UprezContext *ctx, const UpzJobParams *params, UprezError *err);
void upz_film_free(UpzFilm *film);

#endif
