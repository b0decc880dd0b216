/* What a source says beside its pictures and sounds, and what of it a finished file still says: an
 * inventory before, one after, and a sentence for each loss.
 *
 * Taken of: tags of the file, tags and roles of each kept stream, chapters, the timecode, and the side
 * data of the enlarged picture, of its stream and its frames. Streams that are dropped or converted are
 * the stream map's to tell (join.h). Threads: one at a time. */
#ifndef UPZ_INVENTORY_H
#define UPZ_INVENTORY_H

#include "base/context.h"
#include "encoder.h"
#include "join.h"

/* Side data of a picture, as a set of bits: which kinds a decoded frame has. Hints of the coding (which
 * are of no use for another) and what belongs to old pixels only (motion, regions) do not count. */
uint32_t upz_side_of_frame(const AVFrame *frame);

#define UPZ_LOSSES_MAX 24
typedef struct UpzLosses {
    char *items[UPZ_LOSSES_MAX]; /* "X is lost: why", without a file's name */
    int n;
} UpzLosses;
void upz_losses_free(UpzLosses *losses);
bool upz_losses_have(const UpzLosses *losses, const char *sentence);

typedef struct UpzInventory {
    const AVFormatContext *source, *other; /* as found by a look at all of it; other may be NULL */
    const UpzSurvey *survey; /* the source's; NULL: nothing can be foreseen */
    const UpzSurvey *chapters; /* of the second file, which gives its chapters; NULL: there is none */
    const UpzSourceInfo *info;
    const UpzEncoderPlan *encoder;
    const UpzJoinPlan *plan;
    uint32_t side;   /* of the frames, as far as they are known */
    bool whole;      /* nothing is cut off: all chapters are due */
} UpzInventory;

/* What will be lost, found out by writing a few small frames with such side data, and the tags and
 * chapters, into memory and reading them back. Nothing is added where nothing can be tried. MEMORY. */
int upz_losses_foresee(UpzLosses *losses, const UpzInventory *before, UprezContext *ctx,
                       UprezError *err);
/* What is missing in the finished file. VERIFY when it does not open; MEMORY. */
int upz_losses_find(UpzLosses *losses, const UpzInventory *before, UprezContext *ctx,
                    const char *path, UprezError *err);

#endif
