/* Built without ISA flags, so that the probe itself runs everywhere. */
#include "base/cpu.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

/* To add a level: an enum value, a row here, a gate in upz_cpu_detect(), a meson library. */
static const char *const names[UPZ_CPU_COUNT] = {"c", "avx2", "avx512", "avx512vnni"};

const char *upz_cpu_name(UpzCpuLevel level) { return names[level]; }

int upz_cpu_from_name(const char *name)
{
    for (int i = 0; i < UPZ_CPU_COUNT; i++)
        if (!strcmp(name, names[i])) return i;
    return -1;
}

UpzCpuLevel upz_cpu_detect(void)
{
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return UPZ_CPU_C;
    const unsigned osxsave = 1u << 27, avx = 1u << 28, fma = 1u << 12, f16c = 1u << 29;
    if ((c & (osxsave | avx | fma | f16c)) != (osxsave | avx | fma | f16c)) return UPZ_CPU_C;
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    if ((lo & 0x6) != 0x6) return UPZ_CPU_C; /* the kernel saves xmm and ymm */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return UPZ_CPU_C;
    const unsigned avx2 = 1u << 5, bmi2 = 1u << 8;
    if ((b & (avx2 | bmi2)) != (avx2 | bmi2)) return UPZ_CPU_C;
    const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* F DQ CD BW VL */
    if ((b & avx512) != avx512 || (lo & 0xe6) != 0xe6) return UPZ_CPU_AVX2;
    const unsigned vbmi = 1u << 1, vnni = 1u << 11;
    if ((c & (vbmi | vnni)) != (vbmi | vnni)) return UPZ_CPU_AVX512;
    return UPZ_CPU_AVX512VNNI;
#else
    return UPZ_CPU_C;
#endif
}

/* cgroup v2 cpu.max, then v1; 0 = no limit. */
static int quota(void)
{
    char word[64];
    long long max = -1, period = 100000;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f) {
        if (fscanf(f, "%63s %lld", word, &period) == 2 && strcmp(word, "max"))
            max = strtoll(word, NULL, 10);
        fclose(f);
    } else {
        f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re");
        if (f) {
            if (fscanf(f, "%lld", &max) != 1) max = -1;
            fclose(f);
        }
        f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re");
        if (f) {
            if (fscanf(f, "%lld", &period) != 1) period = 100000;
            fclose(f);
        }
    }
    if (max <= 0 || period <= 0) return 0;
    return (int)((max + period - 1) / period);
}

int upz_cpu_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                         : (int)sysconf(_SC_NPROCESSORS_ONLN);
    int q = quota();
    if (q > 0 && q < n) n = q;
    return n < 1 ? 1 : n > 256 ? 256 : n;
}
