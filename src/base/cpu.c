/* Built without ISA flags, so that the probe itself runs everywhere. */
#include "base/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

typedef struct Level {
    const char *name;
    uint32_t needs, adds;
} Level;

#define UPZ_CPU_LEVEL(id, name, needs, adds) {name, needs, adds},
static const Level levels[UPZ_CPU_COUNT] = {
    {"c", 0, 0},
#include "base/cpu_levels.def"
};
#undef UPZ_CPU_LEVEL

const char upz_cpu_levels[] = "c"
#define UPZ_CPU_LEVEL(id, name, needs, adds) "|" name
#include "base/cpu_levels.def"
    ;
#undef UPZ_CPU_LEVEL

const char *upz_cpu_name(UpzCpuLevel level) { return levels[level].name; }

int upz_cpu_from_name(const char *name)
{
    for (int i = 0; i < UPZ_CPU_COUNT; i++)
        if (!strcmp(name, levels[i].name)) return i;
    return -1;
}

uint32_t upz_cpu_level_features(UpzCpuLevel level)
{
    uint32_t all = 0;
    for (int i = 0; i <= (int)level; i++) all |= levels[i].needs | levels[i].adds;
    return all;
}

UpzCpuLevel upz_cpu_detect(void)
{
    const uint32_t have = upz_cpu_features();
    int i = 0;
    while (i + 1 < UPZ_CPU_COUNT && (have & levels[i + 1].needs) == levels[i + 1].needs) i++;
    return (UpzCpuLevel)i;
}

#if defined(__x86_64__)
/* arch_prctl, as the kernel's asm/prctl.h has it since Linux 5.16 */
#define GET_STATE_SUPPORTED 0x1021
#define ASK_STATE_LEAVE 0x1023
#define TILE_DATA 18 /* the state's number in XCR0; 17 is that of the tiles' shapes */

static bool system_keeps_tiles(uint32_t xcr0)
{
    uint64_t states = 0;
    return (xcr0 >> 17 & 3) == 3 && !syscall(SYS_arch_prctl, GET_STATE_SUPPORTED, &states) &&
           states >> TILE_DATA & 1;
}

bool upz_cpu_allow_tiles(void)
{
    return !syscall(SYS_arch_prctl, ASK_STATE_LEAVE, TILE_DATA);
}
#else
bool upz_cpu_allow_tiles(void) { return false; }
#endif

#if defined(__x86_64__)
static bool all_of(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

uint32_t upz_cpu_features(void)
{
    enum { OSXSAVE = 1 << 27, AVX = 1 << 28, FMA = 1 << 12, F16C = 1 << 29 }; /* leaf 1, c */
    enum { AVX2 = 1 << 5, BMI2 = 1 << 8 };                                  /* leaf 7, b */
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* F DQ CD BW VL */
    enum { VBMI = 1 << 1, VNNI = 1 << 11 };                                 /* leaf 7, c */
    enum { AMX_BF16 = 1 << 22, FP16 = 1 << 23, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 }; /* leaf 7, d */
    enum { AVX_VNNI = 1 << 4, BF16 = 1 << 5, AMX_FP16 = 1 << 21 };          /* leaf 7.1, a */
    unsigned a, b, c, d, more, ignored, xcr0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !all_of(c, OSXSAVE | AVX | FMA | F16C)) return 0;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(ignored) : "c"(0));
    if (!all_of(xcr0, 0x6)) return 0; /* the system saves xmm and ymm */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !all_of(b, AVX2 | BMI2)) return 0;
    if (!a || !__get_cpuid_count(7, 1, &more, &ignored, &ignored, &ignored)) more = 0;
    uint32_t has = UPZ_HAS_AVX2;
    if (more & AVX_VNNI) has |= UPZ_HAS_AVX_VNNI;
    if (!all_of(b, avx512) || !all_of(xcr0, 0xe6)) return has; /* and masks and zmm */
    has |= UPZ_HAS_AVX512;
    if (all_of(c, VBMI | VNNI)) has |= UPZ_HAS_AVX512_VNNI;
    if (more & BF16) has |= UPZ_HAS_AVX512_BF16;
    if (d & FP16) has |= UPZ_HAS_AVX512_FP16;
    if (!(d & AMX_TILE) || !system_keeps_tiles(xcr0)) return has;
    if (d & AMX_BF16) has |= UPZ_HAS_AMX_BF16;
    if (d & AMX_INT8) has |= UPZ_HAS_AMX_INT8;
    if (more & AMX_FP16) has |= UPZ_HAS_AMX_FP16;
    return has;
}
#else
uint32_t upz_cpu_features(void) { return 0; }
#endif

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
