/* Decoded frames that wait, first in, first out. Used inside this room only. One thread at a time. */
#ifndef UPZ_FRAME_QUEUE_H
#define UPZ_FRAME_QUEUE_H

#include <libavutil/frame.h>
#include "base/error.h"

#define UPZ_FRAME_QUEUE_MAX 1024

typedef struct UpzFrameQueue { /* zeroed: empty */
    AVFrame **items;           /* head … head+n-1 */
    size_t head, n, cap;
} UpzFrameQueue;

/* Takes the frame over, also on failure. MEMORY. */
int upz_frame_queue_push(UpzFrameQueue *q, AVFrame *f, UprezError *err);
/* The i-th, the queue's; NULL where there is none. */
AVFrame *upz_frame_queue_at(const UpzFrameQueue *q, size_t i);
/* The first, the caller's; there is one. */
AVFrame *upz_frame_queue_pop(UpzFrameQueue *q);
/* Empties it and gives its memory back. */
void upz_frame_queue_clear(UpzFrameQueue *q);

#endif
