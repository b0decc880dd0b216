#include "upscale/results.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/error.h"
#include "picture/format.h"

#define IDLE_BYTES ((size_t)256 << 20) /* that lie idle at most, but one picture always may */
#define IDLE 16

/* One picture's memory, in the caller's hands or idle. */
typedef struct Room {
    UpzResults *results;
    UprezPicture *picture; /* the memory's only owner */
    size_t bytes;
    struct Room *next;     /* idle */
} Room;

struct UpzResults {
    pthread_mutex_t lock;
    int rooms; /* in the caller's hands */
    bool released;
    Room *idle;
    int n_idle;
};

static void free_room(Room *room)
{
    uprez_picture_unref(&room->picture);
    upz_free(room);
}

static void free_rooms(Room *room)
{
    for (Room *next; room; room = next) {
        next = room->next;
        free_room(room);
    }
}

static void destroy(UpzResults *r)
{
    pthread_mutex_destroy(&r->lock);
    upz_free(r);
}

int upz_results_create(UpzResults **out, UprezError *err)
{
    UpzResults *r = *out = upz_calloc(1, sizeof(*r));
    if (!r) return upz_fail_memory(err, sizeof(*r), "the results");
    pthread_mutex_init(&r->lock, NULL);
    return 0;
}

void upz_results_release(UpzResults **results)
{
    UpzResults *r = *results;
    if (!r) return;
    *results = NULL;
    pthread_mutex_lock(&r->lock);
    Room *idle = r->idle;
    r->idle = NULL;
    r->released = true;
    const bool last = !r->rooms;
    pthread_mutex_unlock(&r->lock);
    free_rooms(idle);
    if (last) destroy(r);
}

/* A result's last reference went. */
static void give_back(void *cookie)
{
    Room *room = cookie;
    UpzResults *r = room->results;
    pthread_mutex_lock(&r->lock);
    r->rooms--;
    const bool keep = !r->released && r->n_idle < IDLE &&
                      (!r->n_idle || room->bytes <= IDLE_BYTES / (size_t)(r->n_idle + 1));
    const bool last = r->released && !r->rooms;
    if (keep) {
        room->next = r->idle;
        r->idle = room;
        r->n_idle++;
    }
    pthread_mutex_unlock(&r->lock);
    if (!keep) free_room(room);
    if (last) destroy(r);
}

static int new_room(UpzResults *r, Room **out, const UprezFormat *format, int width, int height,
                    UprezError *err)
{
    Room *room = *out = upz_calloc(1, sizeof(*room));
    if (!room) return upz_fail_memory(err, sizeof(*room), "a result");
    room->results = r;
    const int e = uprez_picture_alloc(&room->picture, format, width, height, err);
    if (e < 0) {
        upz_free(room);
        return e;
    }
    for (int i = 0; i < format->n_plane; i++)
        room->bytes += (size_t)room->picture->stride[i] *
                       (size_t)upz_plane_height(format, i, height);
    return 0;
}

int upz_results_take(UpzResults *r, UprezPicture **out, const UprezFormat *format, int width,
                     int height, UprezError *err)
{
    *out = NULL;
    Room *room, *other = NULL;
    pthread_mutex_lock(&r->lock);
    room = r->idle;
    if (room && (room->picture->width != width || room->picture->height != height ||
                 !upz_format_equal(&room->picture->format, format))) {
        other = room;
        room = r->idle = NULL;
        r->n_idle = 0;
    }
    if (room) {
        r->idle = room->next;
        r->n_idle--;
    }
    pthread_mutex_unlock(&r->lock);
    free_rooms(other);
    int e = room ? 0 : new_room(r, &room, format, width, height, err);
    if (e < 0) return e;
    pthread_mutex_lock(&r->lock);
    r->rooms++;
    pthread_mutex_unlock(&r->lock);
    UprezPicture like = *room->picture;
    like.buffer = NULL;
    e = uprez_picture_wrap(out, &like, give_back, room, err);
    if (e < 0) give_back(room);
    return e;
}
