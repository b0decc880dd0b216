/* OUTPUT.uprez/: the plan and the finished segments beside the output, locked while a run uses it.
 *
 *   plan.json            the plan as text, written before the first frame
 *   seg/N.nut (.mov, .mkv) a finished segment, video only
 *   seg/N.json           what is in it; written last, so a segment without it does not exist
 *   seg/N.spool          pictures of a segment that is not finished yet (spool.h)
 *   finished.json        which file the output is and of which plan, once it is verified
 */
#ifndef UPZ_STORE_H
#define UPZ_STORE_H

#include "plan.h"

typedef struct UpzStore {
    char *dir, *plan_id; /* plan_id: SHA-256 of the plan's text */
    const char *ext;
    int lock;            /* file descriptor, -1 = none */
    bool resumed;        /* the folder held the same plan */
} UpzStore;

/* A verified output, as the note in its folder has it. */
typedef struct UpzFinished {
    int64_t frames, damaged, held;
    char damage[512]; /* what was said to be wrong with the source; "" = nothing */
} UpzFinished;

typedef enum UpzStoreMode {
    UPZ_STORE_RESUME = 1, /* the same plan: go on from what is there */
    UPZ_STORE_DISCARD = 2 /* finished segments of another plan may go */
} UpzStoreMode;

/* Creates OUTPUT.uprez/ or takes an existing one over: with the same plan (and RESUME) the finished
 * segments stay, otherwise it is emptied; but finished segments of another plan may be hours of work,
 * so without DISCARD they are USAGE, saying what differs. OUTPUT when it cannot be written or another
 * run has it. mode: of UpzStoreMode. */
int upz_store_open(UpzStore *s, const char *output, const char *plan, const char *ext, int mode,
                   UprezError *err);
/* True when OUTPUT.uprez/ is there at all, and (plan not NULL) when it holds this very plan. */
bool upz_store_there(const char *output, const char *plan);
/* Marks the units that are there and fills what is known of them; returns their number. like: the shape of
 * spooled pictures. */
int upz_store_load(UpzStore *s, UpzUnits *units, const UprezPicture *like);
/* Where unit i is written, and where it lies when finished. The caller's. */
char *upz_store_temporary(const UpzStore *s, size_t i);
char *upz_store_segment(const UpzStore *s, size_t i);
char *upz_store_spool(const UpzStore *s, size_t i);
/* How long the finished segment is. */
int64_t upz_store_bytes(const UpzStore *s, size_t i);
/* OUTPUT when the bytes of the finished unit i are not those that were written; its note is removed, so
 * that the same command makes it again. */
int upz_store_intact(const UpzStore *s, size_t i, UprezError *err);
/* The temporary file becomes the segment, then its note is written. */
int upz_store_finish(const UpzStore *s, size_t i, const UpzUnit *unit, UprezError *err);
/* Notes that the verified file `part` is about to become the output: a run that is killed between that and
 * the clean-up is recognised by the next one. */
int upz_store_mark_finished(const UpzStore *s, const char *part, const UpzFinished *what,
                            UprezError *err);
/* True when `output` is the file that a note in OUTPUT.uprez/ is about; of this very plan, where one is
 * given. what: may be NULL. */
bool upz_store_finished(const char *output, const char *plan, UpzFinished *what);
/* Removes OUTPUT.uprez/ beside such a file. OUTPUT when another run has it. */
int upz_store_clean(const char *output, UprezError *err);
/* Lets go; with `remove` deletes the folder too. */
void upz_store_close(UpzStore *s, bool remove);

#endif
