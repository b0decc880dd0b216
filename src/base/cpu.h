/* What this processor can do: features as flags, and levels, which are names for sets of them. */
#ifndef UPZ_CPU_H
#define UPZ_CPU_H

#include <stdbool.h>
#include <stdint.h>

enum {
    UPZ_HAS_AVX2 = 1 << 0,        /* with FMA, F16C, BMI2 */
    UPZ_HAS_AVX_VNNI = 1 << 1,
    UPZ_HAS_AVX512 = 1 << 2,      /* F BW DQ VL CD */
    UPZ_HAS_AVX512_VNNI = 1 << 3, /* with VBMI */
    UPZ_HAS_AVX512_BF16 = 1 << 4,
    UPZ_HAS_AVX512_FP16 = 1 << 5,
    UPZ_HAS_AMX_BF16 = 1 << 6,    /* tiles, and products of bf16 in them */
    UPZ_HAS_AMX_INT8 = 1 << 7,
    UPZ_HAS_AMX_FP16 = 1 << 8
};

typedef enum UpzCpuLevel {
    UPZ_CPU_C, /* plain C */
#define UPZ_CPU_LEVEL(id, name, needs, adds) UPZ_CPU_##id,
#include "base/cpu_levels.def"
#undef UPZ_CPU_LEVEL
    UPZ_CPU_COUNT
} UpzCpuLevel;

/* UPZ_HAS_… of what processor and system offer: CPUID, then the state that the system keeps. Threads:
 * safe. */
uint32_t upz_cpu_features(void);
/* Asks the system for this process's leave to use tiles (AMX); false: it is refused. Threads created
 * before have it too. Only who uses tiles should ask: signal stacks need more room from then on. */
bool upz_cpu_allow_tiles(void);

/* The features that a level allows. */
uint32_t upz_cpu_level_features(UpzCpuLevel level);
/* The best level that is there. Threads: safe. */
UpzCpuLevel upz_cpu_detect(void);
const char *upz_cpu_name(UpzCpuLevel level);
/* -1 if there is no such level. */
int upz_cpu_from_name(const char *name);
extern const char upz_cpu_levels[]; /* all names, '|' between them */

/* Workers that affinity mask and cgroup CPU quota allow, >= 1. */
int upz_cpu_count(void);

#endif
