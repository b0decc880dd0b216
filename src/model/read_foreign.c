/* Files that only a runtime understands: they are recognised here, never interpreted. */
#include <string.h>

#include "base/file.h"
#include "model/model.h"

extern const UpzReader upz_reader_torchscript, upz_reader_tensorrt;

/* A zip with a program in it. The names stand in the central directory, at the end. */
static bool is_torchscript(const UpzModelFile *f)
{
    static const char mark[] = "/constants.pkl";
    const size_t tail = 1 << 20;
    if (f->size < 64 || memcmp(f->data, "PK\3\4", 4)) return false;
    size_t n = f->size < tail ? f->size : tail;
    return memmem(f->data + f->size - n, n, mark, sizeof(mark) - 1) != NULL;
}

static bool is_tensorrt(const UpzModelFile *f)
{
    static const char *const ext[] = {"engine", "trt", "plan"};
    if (f->size > 4 && !memcmp(f->data, "ftrt", 4)) return true;
    for (size_t i = 0; i < sizeof(ext) / sizeof(ext[0]); i++)
        if (!strcmp(upz_extension(f->path), ext[i])) return true;
    return false;
}

const UpzReader upz_reader_torchscript = {
    .name = "torchscript", .probe = is_torchscript, .foreign = "torchscript",
    .runtime = "LibTorch"};
const UpzReader upz_reader_tensorrt = {
    .name = "tensorrt", .probe = is_tensorrt, .foreign = "tensorrt",
    .runtime = "TensorRT"};
