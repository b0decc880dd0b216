/* OpenVINO's library: opening it, its version, and its errors as one of our sentences.
 *
 * Threads: safe; an OvLibrary is immutable once opened. */
#ifndef UPZ_OV_API_H
#define UPZ_OV_API_H

#include "engine/library.h"
#include "engine/openvino/ov_abi.h"

typedef struct OvLibrary {
    OvApi f;
    char path[512], version[64]; /* "2026.4.1" */
} OvLibrary;

/* DEVICE: not installed, not loadable, or too old, and what to do. */
int upz_ov_open(OvLibrary *lib, const char *runtime_path, UprezError *err);

/* 0 for status 0. Else an UprezErr and "OpenVINO VERSION cannot WHAT: its words". MEMORY when its
 * words are about memory, else `code`. */
int upz_ov_check(const OvLibrary *lib, OvStatus status, int code, const char *what, UprezError *err);

/* A property of the device as text, "" if it has none. */
void upz_ov_property(const OvLibrary *lib, const struct ov_core *core, const char *device,
                     const char *key, char *value, size_t size);

#endif
