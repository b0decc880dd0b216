/* Contexts and the memory of results. */
#include "engine/cuda/memory.h"

#include "base/alloc.h"
#include "base/error.h"
#include "picture/format.h"

enum { IDLE_MOST = 16, PITCH = 256 /* bytes rows are aligned to */ };

enum { ATTRIBUTE_MULTIPROCESSORS = 16 };

struct UpzCudaBlock {
    UpzCudaBlock *next;
    UpzCudaHome *home; /* referenced while a picture lies here */
    uint64_t at;
    size_t bytes;
    void *event;       /* after it the memory is free */
    void *stream;      /* of the picture */
};

static void free_block(UpzCudaHome *h, UpzCudaBlock *b)
{
    if (b->at) h->cu.release(b->at); /* waits for the GPU where it must */
    if (b->event) h->cu.event_destroy(b->event);
    upz_free(b);
}

static void unref(UpzCudaHome *h)
{
    if (atomic_fetch_sub(&h->refs, 1) != 1) return;
    upz_cuda_drop_idle(h, 0);
    if (h->stream && !upz_cuda_enter(h, NULL)) {
        h->cu.stream_destroy(h->stream);
        upz_cuda_leave(h);
    }
    if (h->primary && !atomic_load(&h->lost)) h->cu.primary_release(h->device);
    pthread_mutex_destroy(&h->lock);
    upz_free(h);
}

int upz_cuda_enter(const UpzCudaHome *h, UprezError *err)
{
    if (atomic_load(&h->lost))
        return upz_fail(err, UPREZ_ERR_DEVICE, "a kernel on GPU %d did not end; give -d cpu", h->index);
    int r = h->cu.context_push(h->context);
    return r ? upz_cuda_fail(&h->cu, r, "use the CUDA context", err) : 0;
}

void upz_cuda_leave(const UpzCudaHome *h)
{
    void *popped;
    h->cu.context_pop(&popped);
}

static int join_context(UpzCudaHome *h, const UpzDevice *device, UprezError *err)
{
    int own = -1, major = 0, minor = 0, r = h->cu.device_get(&h->device, device->index);
    if (r) return upz_cuda_fail(&h->cu, r, "find the GPU", err);
    h->cu.device_attribute(&major, UPZ_CUDA_CAPABILITY_MAJOR, h->device);
    h->cu.device_attribute(&minor, UPZ_CUDA_CAPABILITY_MINOR, h->device);
    h->capability = 10 * major + minor;
    r = h->cu.device_attribute(&h->multiprocessors, ATTRIBUTE_MULTIPROCESSORS, h->device);
    if (r || h->multiprocessors < 1) h->multiprocessors = 1;
    h->context = device->native_context;
    if (!h->context) {
        r = h->cu.primary_retain(&h->context, h->device);
        if (r) return upz_cuda_fail(&h->cu, r, "make a CUDA context", err);
        h->primary = true;
    }
    r = upz_cuda_enter(h, err);
    if (r < 0) return r;
    if (!h->cu.context_device(&own) && own != h->device)
        r = upz_fail(err, UPREZ_ERR_DEVICE, "the pictures' CUDA context is not one of GPU %d",
                     device->index);
    int status = r < 0 ? 0 : h->cu.stream_create(&h->stream, UPZ_CUDA_STREAM_NON_BLOCKING);
    if (status) r = upz_cuda_fail(&h->cu, status, "make a CUDA stream", err);
    upz_cuda_leave(h);
    return r;
}

int upz_cuda_home_open(UpzCudaHome **out, const UpzDevice *device, const char *runtime_path,
                       UprezError *err)
{
    *out = NULL;
    UpzCudaHome *h = upz_calloc(1, sizeof(*h));
    if (!h) return upz_fail_memory(err, sizeof(*h), "the cuda engine");
    atomic_init(&h->refs, 1);
    atomic_init(&h->lost, false);
    h->index = device->index;
    pthread_mutex_init(&h->lock, NULL);
    int r = upz_cuda_open(&h->cu, runtime_path, err);
    if (r >= 0 && h->cu.missing)
        r = upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver is too old: it has no %s",
                     h->cu.missing);
    if (r >= 0) r = join_context(h, device, err);
    if (r < 0) {
        h->closing = true;
        unref(h);
        return r;
    }
    *out = h;
    return 0;
}

void upz_cuda_home_close(UpzCudaHome **home)
{
    UpzCudaHome *h = *home;
    if (!h) return;
    *home = NULL;
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    pthread_mutex_unlock(&h->lock);
    upz_cuda_drop_idle(h, 0);
    unref(h);
}

void upz_cuda_drop_idle(UpzCudaHome *h, size_t keep)
{
    UpzCudaBlock *gone = NULL;
    pthread_mutex_lock(&h->lock);
    for (UpzCudaBlock **at = &h->idle; *at;) {
        UpzCudaBlock *b = *at;
        if (b->bytes == keep) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        b->next = gone;
        gone = b;
        h->n_idle--;
    }
    pthread_mutex_unlock(&h->lock);
    if (!gone || upz_cuda_enter(h, NULL) < 0) return; /* a lost context took its memory along */
    while (gone) {
        UpzCudaBlock *b = gone;
        gone = b->next;
        free_block(h, b);
    }
    upz_cuda_leave(h);
}

static void picture_gone(void *cookie)
{
    UpzCudaBlock *b = cookie;
    UpzCudaHome *h = b->home;
    if (!upz_cuda_enter(h, NULL)) {
        const bool marked = !h->cu.event_record(b->event, b->stream);
        pthread_mutex_lock(&h->lock);
        const bool keep = marked && !h->closing && h->n_idle < IDLE_MOST;
        if (keep) {
            b->next = h->idle;
            h->idle = b;
            h->n_idle++;
        }
        pthread_mutex_unlock(&h->lock);
        if (!keep) free_block(h, b);
        upz_cuda_leave(h);
    } else {
        upz_free(b);
    }
    unref(h);
}

/* An idle block of that size, or a new one; the context is current. */
static int get_block(UpzCudaHome *h, UpzCudaBlock **out, size_t bytes, void *stream, UprezError *err)
{
    UpzCudaBlock *b = NULL;
    pthread_mutex_lock(&h->lock);
    for (UpzCudaBlock **at = &h->idle; *at; at = &(*at)->next)
        if ((*at)->bytes == bytes) {
            b = *at;
            *at = b->next;
            h->n_idle--;
            break;
        }
    pthread_mutex_unlock(&h->lock);
    int r = 0;
    if (b) {
        r = h->cu.stream_wait(stream, b->event, 0);
    } else {
        b = upz_calloc(1, sizeof(*b));
        if (!b) return upz_fail_memory(err, sizeof(*b), "a picture");
        b->bytes = bytes;
        r = h->cu.event_create(&b->event, UPZ_CUDA_EVENT_NO_TIMING);
        if (!r) r = h->cu.alloc(&b->at, bytes);
        if (r == UPZ_CUDA_OUT_OF_MEMORY) { /* pictures of another size may lie idle */
            upz_cuda_drop_idle(h, 0);
            r = h->cu.alloc(&b->at, bytes);
        }
        if (r) b->at = 0;
    }
    if (r) {
        free_block(h, b);
        return upz_cuda_fail(&h->cu, r, "get memory for a picture", err);
    }
    *out = b;
    return 0;
}

int upz_cuda_picture(UpzCudaHome *h, UprezPicture **out, const UprezPicture *like, UprezError *err)
{
    *out = NULL;
    const UprezFormat *f = &like->format;
    UprezPicture desc = *like;
    size_t at[4] = {0}, bytes = 0;
    for (int i = 0; i < f->n_plane; i++) {
        const size_t row = UPZ_ROUND_UP(upz_plane_row_bytes(f, i, like->width), (size_t)PITCH);
        desc.stride[i] = (ptrdiff_t)row;
        at[i] = bytes;
        bytes += row * (size_t)upz_plane_height(f, i, like->height);
    }
    desc.memory = UPREZ_MEM_CUDA;
    desc.device = h->index;
    desc.buffer = NULL;
    UpzCudaBlock *b = NULL;
    int r = upz_cuda_enter(h, err);
    if (r < 0) return r;
    r = get_block(h, &b, bytes, desc.stream, err);
    if (r >= 0) {
        for (int i = 0; i < 4; i++)
            desc.plane[i] = i < f->n_plane ? (void *)(uintptr_t)(b->at + at[i]) : NULL;
        b->home = h;
        b->stream = desc.stream;
        r = uprez_picture_wrap(out, &desc, picture_gone, b, err);
        if (r < 0) free_block(h, b);
        else atomic_fetch_add(&h->refs, 1);
    }
    upz_cuda_leave(h);
    return r;
}
