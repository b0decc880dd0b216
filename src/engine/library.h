/* Finding and opening a runtime's shared library, without LD_PRELOAD or LD_LIBRARY_PATH.
 *
 * Order: the folder given (--runtime-path), each folder of $UPREZ_RUNTIME_PATH, the active Python's
 * site-packages ($VIRTUAL_ENV, $CONDA_PREFIX, the python3 of $PATH, the user's own), then the
 * system's loader. In a folder the file itself, lib/ and the Python packages' inner folders are
 * tried.
 *
 * Threads: safe. */
#ifndef UPZ_LIBRARY_H
#define UPZ_LIBRARY_H

#include <stddef.h>
#include "base/error.h"

typedef struct UpzLibrary {
    const char *name;         /* for people: "ONNX Runtime" */
    const char *const *files; /* file name patterns (fnmatch), best first, ends with NULL */
    const char *const
        *inner; /* folders below a site-packages: "onnxruntime/capi"; ends with NULL */
    const char *const *sonames; /* for the system's loader; ends with NULL */
    const char *hint;           /* how to get it: "pip install onnxruntime" */
} UpzLibrary;

/* The file that would be taken, into path (size bytes); nothing is loaded. DEVICE: none, and the
 * sentence says where was looked and the hint. */
int upz_library_find(const UpzLibrary *lib, const char *runtime_path, char *path, size_t size,
                     UprezError *err);
/* Finds and loads it, local to us, and never unloads (runtimes do not survive that). *handle for
 * dlsym; path as above. A library that is there but cannot be loaded: the loader's own words. */
int upz_library_open(const UpzLibrary *lib, const char *runtime_path, void **handle, char *path,
                     size_t size, UprezError *err);
/* Loads what the library at `path` needs out of its neighbours in site-packages (nvidia/NAME/lib,
 * tensorrt_libs), as pip spreads it, so that a runtime that opens `path` later finds it all. What
 * is not there is left to the loader. */
void upz_library_preload(const char *path);

#endif
