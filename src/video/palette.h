/* A film with a palette: its segments hold whole colours, without loss; once all are there, the 256
 * colours of the film are chosen and its pictures are coded in them.
 *
 * Used inside this room only, by the sink and the join. Threads: one at a time. */
#ifndef UPZ_PALETTE_H
#define UPZ_PALETTE_H

#include "join.h"

/* True when this FFmpeg can choose palettes. */
bool upz_palette_can(void);
/* How a film with a palette is kept until its colours are chosen: a plan for FFV1. */
UpzEncoderPlan upz_palette_spool(const UpzEncoderPlan *plan);

typedef struct UpzPalette {
    UpzEncoderPlan plan;    /* the encoder's, for pictures that have their colours */
    int fd;                 /* a file without a name, beside the output */
    char path[40];          /* by which it can be opened */
    UpzJoinSegment segment; /* the whole film */
} UpzPalette;

/* Reads the segments twice and makes one of them all. OUTPUT, MEMORY or VERIFY. */
int upz_palette_open(UpzPalette **out, const UpzJoinParams *params, const UpzEncoderPlan *plan,
                     UprezError *err);
void upz_palette_close(UpzPalette **palette);

#endif
