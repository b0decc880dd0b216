/* What tools/embed_registry.py makes of data/models.json. */
#ifndef UPZ_REGISTRY_TABLE_H
#define UPZ_REGISTRY_TABLE_H

#include <stdbool.h>
#include "model/registry.h"

/* What is used where no model is asked for: the first row of a kind whose up_to is not exceeded. */
typedef struct UpzRegistryDefault {
    bool video;
    double up_to; /* wanted size / source size; 0 ends the table */
    const char *models[UPREZ_DEFAULT_MODELS];
} UpzRegistryDefault;

/* Models for a kind of source, best first. */
typedef struct UpzRegistryFamily {
    const char *name; /* NULL ends the table */
    bool video;
    const char *models[8];
} UpzRegistryFamily;

extern const UpzRegistryFamily upz_registry_families_table[];
extern const UpzRegistryEntry upz_registry_table[];
extern const int upz_registry_table_count;
extern const UpzRegistryDefault upz_registry_defaults_table[];

#endif
