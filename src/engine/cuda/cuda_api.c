/* Opening the driver, and what its errors mean for people. */
#include "engine/cuda/cuda_api.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

typedef enum Need { NAMING, COMPUTE, EXTRA } Need;

static const struct {
    const char *symbol;
    Need need;
    size_t at;
} functions[] = {
#define UPZ_CUDA(need, field, symbol, args) {#symbol, need, offsetof(UpzCuda, field)},
#include "engine/cuda/cuda_api.def"
#undef UPZ_CUDA
};

/* The device files are there, but not for us. */
static bool forbidden(void)
{
    static const char *const files[] = {"/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm"};
    for (int i = 0; i < UPZ_COUNT(files); i++)
        if (!access(files[i], F_OK) && access(files[i], R_OK | W_OK)) return true;
    return false;
}

static int start_error(int r, UprezError *err)
{
    if ((r == UPZ_CUDA_NO_DEVICE || r == 999 || r == 304) && forbidden())
        return upz_fail(err, UPREZ_ERR_DEVICE,
                        "there is a GPU, but this user may not use it: /dev/nvidia* cannot be opened; "
                        "join its group (often 'video' or 'render'), or give -d cpu");
    switch (r) {
    case UPZ_CUDA_NO_DEVICE:
        return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver finds no GPU; in a container it "
                        "must be passed in (--gpus all); CUDA_VISIBLE_DEVICES may hide it");
    case UPZ_CUDA_MISMATCH:
        return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver's library and its kernel module "
                        "are of different versions (error 803); restart the machine after a driver's "
                        "update, in a container use the host's library");
    case 34:
        return upz_fail(err, UPREZ_ERR_DEVICE, "libcuda.so.1 is the toolkit's stub for linking, not "
                        "a driver; take the folder 'stubs' out of the library path");
    case 802:
        return upz_fail(err, UPREZ_ERR_DEVICE, "the GPUs are not ready (error 802); on machines with "
                        "NVSwitch the fabric manager must run");
    default:
        return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver does not start (error %d); is the "
                        "GPU there and may it be used?", r);
    }
}

int upz_cuda_open(UpzCuda *cu, const char *runtime_path, UprezError *err)
{
    char path[PATH_MAX];
    void *handle = NULL;
    *cu = (UpzCuda){0};
    int n = runtime_path ? snprintf(path, sizeof(path), "%s/libcuda.so.1", runtime_path) : 0;
    if (n > 0 && n < PATH_MAX && upz_exists(path)) handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return upz_fail(err, UPREZ_ERR_DEVICE, "there is no NVIDIA driver here (libcuda.so.1); "
                        "install it, or give -d cpu");
    for (int i = 0; i < UPZ_COUNT(functions); i++) {
        void *fn = dlsym(handle, functions[i].symbol);
        if (!fn && functions[i].need == NAMING)
            return upz_fail(err, UPREZ_ERR_DEVICE, "the NVIDIA driver is too old: it has no %s",
                            functions[i].symbol);
        if (!fn && functions[i].need == COMPUTE && !cu->missing) cu->missing = functions[i].symbol;
        memcpy((char *)cu + functions[i].at, &fn, sizeof(fn));
    }
    int r = cu->init(0);
    return r ? start_error(r, err) : 0;
}

int upz_cuda_fail(const UpzCuda *cu, int r, const char *what, UprezError *err)
{
    const char *name = NULL;
    if (!cu->error_name || cu->error_name(r, &name) || !name) name = "an unknown error";
    switch (r) {
    case UPZ_CUDA_OUT_OF_MEMORY:
        return upz_fail(err, UPREZ_ERR_MEMORY, "cannot %s: out of GPU memory", what);
    case UPZ_CUDA_NO_BINARY:
        return upz_fail(err, UPREZ_ERR_DEVICE, "cannot %s: this build has no kernels for this card",
                        what);
    case UPZ_CUDA_INVALID_IMAGE: case 218: case 222:
        return upz_fail(err, UPREZ_ERR_DEVICE, "cannot %s: the NVIDIA driver is older than the "
                        "kernels of this build (%s); update the driver, or build with an older CUDA "
                        "toolkit", what, name);
    case 221: case 223:
        return upz_fail(err, UPREZ_ERR_DEVICE, "cannot %s: this build has no ready kernels for this "
                        "card and the driver may not compile them (%s)", what, name);
    case UPZ_CUDA_MISMATCH: return start_error(r, err);
    case 46:
        return upz_fail(err, UPREZ_ERR_DEVICE, "cannot %s: the GPU is busy or another process has it "
                        "for itself (%s)", what, name);
    case 201: case 709:
        return upz_fail(err, UPREZ_ERR_DEVICE, "cannot %s: the CUDA context is not, or no longer, "
                        "there (%s)", what, name);
    case 214:
        return upz_fail(err, UPREZ_ERR_DEVICE, "cannot %s: the GPU's memory is faulty (%s)", what,
                        name);
    default: break;
    }
    if (r >= 700 && r < 720)
        return upz_fail(err, UPREZ_ERR_DEVICE, "cannot %s: a kernel failed before (%s, error %d) and "
                        "the context is lost; please report it, and give -d cpu meanwhile", what,
                        name, r);
    return upz_fail(err, UPREZ_ERR_DEVICE, "cannot %s: %s (CUDA error %d)", what, name, r);
}
