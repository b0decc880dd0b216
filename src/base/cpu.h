/* The one table of processor levels. A level implies all below it. */
#ifndef UPZ_CPU_H
#define UPZ_CPU_H

typedef enum UpzCpuLevel {
    UPZ_CPU_C,      /* plain C */
    UPZ_CPU_AVX2,   /* AVX2, FMA, F16C, BMI2 */
    UPZ_CPU_AVX512, /* + AVX-512 F BW DQ VL CD */
    UPZ_CPU_AVX512VNNI, /* + AVX-512 VNNI VBMI */
    UPZ_CPU_COUNT
} UpzCpuLevel;

/* The best level this processor and kernel offer: CPUID, then XCR0. Threads: safe. */
UpzCpuLevel upz_cpu_detect(void);
const char *upz_cpu_name(UpzCpuLevel level);
/* -1 if there is no such level. */
int upz_cpu_from_name(const char *name);
/* Workers that affinity mask and cgroup CPU quota allow, >= 1. */
int upz_cpu_count(void);

#endif
