/* The spool of a segment that takes long: pictures as the engine gave them, without loss, kept until the
 * segment is finished. An encoder's state cannot be kept, so a run that goes on gives these to a new one
 * and computes only what is not there: the bytes are those of a run that nothing has disturbed.
 *
 *   header     magic, format, size, the plan's id
 *   record     pts, duration, colour, checksums, then the planes' rows without padding; one a picture
 *
 * A record that is torn or changed is as good as not there. Threads: one at a time. */
#ifndef UPZ_SPOOL_H
#define UPZ_SPOOL_H

#include <stdbool.h>
#include "uprez/picture.h"

typedef struct UpzSpool UpzSpool;

/* Opens the file, or makes it (`make`); *out is NULL where there is none or it is of another plan or
 * shape (then it is removed), which is no error. What is torn at its end is cut off. like: format and
 * size. MEMORY or OUTPUT. */
int upz_spool_open(UpzSpool **out, const char *path, const char *plan_id, const UprezPicture *like,
                   bool make, UprezError *err);
/* Pictures in it. */
int64_t upz_spool_count(const UpzSpool *spool);
/* That of a time: *out, the caller's, or NULL where it is not there or not as it was written. MEMORY. */
int upz_spool_read(UpzSpool *spool, int64_t pts, UprezPicture **out, UprezError *err);
/* Appends, unless less than `spare` bytes of the disk would be left; on the disk itself at the latest a
 * few seconds later. OUTPUT: there is no room, and the file is as before. */
int upz_spool_add(UpzSpool *spool, const UprezPicture *picture, int64_t spare, UprezError *err);
/* Brings what there is to the disk. */
void upz_spool_close(UpzSpool **spool);

#endif
