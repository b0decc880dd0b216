/* A GPU's context as engines and the pictures made in it share it, and memory for such pictures.
 *
 * The last of them to go closes it: pictures may outlive the engine. Memory of results goes round: what
 * is let go of is what the next picture of that size lies in, in the order of the streams.
 *
 * Threads: pictures may be released from any; all else from one at a time. */
#ifndef UPZ_CUDA_MEMORY_H
#define UPZ_CUDA_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include "engine/cuda/cuda_api.h"
#include "engine/engine.h"

typedef struct UpzCudaBlock UpzCudaBlock;

typedef struct UpzCudaHome {
    UpzCuda cu;
    int index, device;   /* of UpzDevice; the driver's own handle */
    int capability;      /* 10 * major + minor */
    int multiprocessors;
    void *context;
    bool primary;        /* retained by us; else the caller's */
    void *stream;        /* where kernels run */
    atomic_int refs;
    atomic_bool lost;    /* a kernel hangs: no call that might wait for it is made any more */
    pthread_mutex_t lock; /* of what follows */
    UpzCudaBlock *idle;
    int n_idle;
    bool closing;        /* no engine any more: nothing is kept */
} UpzCudaHome;

/* Joins device->native_context, or the primary context. DEVICE, MEMORY and why. */
int upz_cuda_home_open(UpzCudaHome **out, const UpzDevice *device, const char *runtime_path,
                       UprezError *err);
void upz_cuda_home_close(UpzCudaHome **home); /* the engine's part of it; accepts pointer to NULL */

/* Around everything that needs the context current. leave only after an enter that succeeded. */
int upz_cuda_enter(const UpzCudaHome *home, UprezError *err);
void upz_cuda_leave(const UpzCudaHome *home);

/* As UpzEngineOps.picture. */
int upz_cuda_picture(UpzCudaHome *home, UprezPicture **out, const UprezPicture *like,
                     UprezError *err);
/* Frees pictures' memory that lies idle, but not blocks of `keep` bytes. */
void upz_cuda_drop_idle(UpzCudaHome *home, size_t keep);

#endif
