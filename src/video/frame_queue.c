#include "frame_queue.h"

#include <string.h>

#include "base/alloc.h"

int upz_frame_queue_push(UpzFrameQueue *q, AVFrame *f, UprezError *err)
{
    if (q->head && q->n + q->head == q->cap) {
        memmove(q->items, q->items + q->head, q->n * sizeof(*q->items));
        q->head = 0;
    }
    if (!upz_grow(&q->items, &q->cap, q->head + q->n + 1, sizeof(*q->items), 2 * UPZ_FRAME_QUEUE_MAX)) {
        av_frame_free(&f);
        return upz_fail_memory(err, sizeof(AVFrame), "a frame");
    }
    q->items[q->head + q->n++] = f;
    return 0;
}

AVFrame *upz_frame_queue_at(const UpzFrameQueue *q, size_t i)
{
    return i < q->n ? q->items[q->head + i] : NULL;
}

AVFrame *upz_frame_queue_pop(UpzFrameQueue *q)
{
    AVFrame *f = q->items[q->head++];
    if (!--q->n) q->head = 0;
    return f;
}

void upz_frame_queue_clear(UpzFrameQueue *q)
{
    while (q->n) {
        AVFrame *f = upz_frame_queue_pop(q);
        av_frame_free(&f);
    }
    upz_free(q->items);
    *q = (UpzFrameQueue){0};
}
