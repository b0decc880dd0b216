/* What tools/embed_registry.py makes of data/models.json. */
#ifndef UPZ_REGISTRY_TABLE_H
#define UPZ_REGISTRY_TABLE_H

#include "model/registry.h"

extern const UpzRegistryEntry upz_registry_table[];
extern const int upz_registry_table_count;
extern const char *const upz_registry_default_name;

#endif
