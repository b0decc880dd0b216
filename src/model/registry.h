/* Known models by name: data/models.json, compiled in; where files are looked for.
 *
 * Search: a path that exists; then the embedded networks; then the registry name or alias in UPREZ_MODEL_PATH (':'-separated),
 * $XDG_DATA_HOME/uprez/models (default ~/.local/share), /usr/share/uprez/models. */
#ifndef UPZ_REGISTRY_H
#define UPZ_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>
#include "uprez/model.h"

typedef struct UpzRegistryEntry {
    const char *name, *file, *url, *sha256, *licence, *architecture, *about;
    const char *const *aliases; /* NULL-terminated */
    const char *twin;           /* for --denoise, or NULL */
    int64_t bytes;              /* 0 = unknown */
    int scale;
    const uint8_t *embedded;    /* the file's `bytes` bytes, compiled in, or NULL */
} UpzRegistryEntry;

int upz_registry_count(void);
const UpzRegistryEntry *upz_registry_get(int i);
/* By name, alias or file name (case ignored, with or without extension); NULL if unknown. */
const UpzRegistryEntry *upz_registry_find(const char *name);
/* The file for a name or path; *path is the caller's (upz_free). entry may be NULL. MODEL: the
 * sentence says `uprez model pull NAME` for a known one, and where was looked. Kernels ("lanczos")
 * and embedded networks give *path = their name. */
int upz_registry_locate(const char *name, char **path, const UpzRegistryEntry **entry,
                        UprezError *err);
/* The same for a file that is to be used: MODEL, too, when it was found by a known model's name and its
 * content is not the published one. A file that the user gave as a file is his own affair. */
int upz_registry_use(const char *name, char **path, const UpzRegistryEntry **entry, UprezError *err);
/* Where pulled models go; created if missing. The caller's. */
int upz_registry_dir(char **path, UprezError *err);
/* The models for a kind of source ("anime", "film", "photo"), best first, NULL-terminated; an embedded
 * one stands for the defaults. NULL: there is no such kind. */
const char *const *upz_registry_family(const char *family, bool video);
/* False when the file at `path` has a known model's file name but not its published SHA-256; true also
 * where none is published or it cannot be read. */
bool upz_registry_genuine(const UpzRegistryEntry *entry, const char *path);
/* The embedded network of exactly this name, or NULL. */
const UpzRegistryEntry *upz_registry_embedded(const char *name);

#endif
