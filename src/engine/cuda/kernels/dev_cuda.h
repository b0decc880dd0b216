/* dev.h on a GPU: inline PTX. Everything that touches memory is volatile, so the compiler keeps the
 * order; ptxas schedules. Below sm_80 copies are not asynchronous, below sm_75 there are no matrix
 * instructions: the same fragments by shuffles and float arithmetic, slow and right. */
#ifndef UPZ_DEV_CUDA_H
#define UPZ_DEV_CUDA_H

#include <stdint.h>

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define UPZ_WGMMA 1
#endif

#define UPZ_DEV static __device__ __forceinline__
#define UPZ_UNROLL _Pragma("unroll")
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 700
#define UPZ_PARAM const
#else
#define UPZ_PARAM const __grid_constant__ /* no copy, and its address may be taken */
#endif
#define UPZ_KERNEL(name, Params, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(UPZ_PARAM Params p)

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define UPZ_NO_ASYNC 1 /* copies are done when dev_copy16 returns: nothing to overlap with */
#endif
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 750
#define UPZ_NO_MMA 1
#endif
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define UPZ_FP8 1
#endif
/* where a warp's tensor cores multiply them: sm_90 has wgmma alone, sm_100 another instruction */
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
#define UPZ_FP8_MMA 1
#endif

typedef struct UpzVec4 {
    uint32_t x, y, z, w;
} UpzVec4;

/* ---- threads ---- */

UPZ_DEV unsigned dev_thread(void) { return threadIdx.x; }
UPZ_DEV unsigned dev_block(void) { return blockIdx.x; }
UPZ_DEV unsigned dev_block_y(void) { return blockIdx.y; }
UPZ_DEV unsigned dev_blocks(void) { return gridDim.x; }

extern __shared__ __align__(1024) uint8_t upz_dynamic_shared[];

UPZ_DEV uint32_t dev_shared(void)
{
    return (uint32_t)__cvta_generic_to_shared(upz_dynamic_shared);
}

UPZ_DEV void dev_sync(void) { __syncthreads(); }

UPZ_DEV void dev_warp_sync(void) { __syncwarp(); }

UPZ_DEV void dev_bar(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

UPZ_DEV uint32_t dev_shfl(uint32_t v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
UPZ_DEV uint32_t dev_shfl_xor(uint32_t v, int mask)
{
    return __shfl_xor_sync(0xffffffffu, v, mask);
}

UPZ_DEV bool dev_elect(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    uint32_t is;
    asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(is));
    return is != 0;
#else
    return threadIdx.x % 32 == 0;
#endif
}

/* ---- global memory ---- */

UPZ_DEV UpzVec4 dev_load16(uint64_t a)
{
    UpzVec4 v;
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(a));
    return v;
}

UPZ_DEV void dev_store16(uint64_t a, UpzVec4 v)
{
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(a), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
}

UPZ_DEV void dev_store8(uint64_t a, uint32_t low, uint32_t high)
{
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(a), "r"(low), "r"(high) : "memory");
}

UPZ_DEV uint32_t dev_load4(uint64_t a)
{
    uint32_t v;
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(a));
    return v;
}

UPZ_DEV void dev_store4(uint64_t a, uint32_t v)
{
    asm volatile("st.global.u32 [%0], %1;" ::"l"(a), "r"(v) : "memory");
}

UPZ_DEV uint16_t dev_load2(uint64_t a)
{
    uint16_t v;
    asm volatile("ld.global.u16 %0, [%1];" : "=h"(v) : "l"(a));
    return v;
}

UPZ_DEV void dev_store2(uint64_t a, uint16_t v)
{
    asm volatile("st.global.u16 [%0], %1;" ::"l"(a), "h"(v) : "memory");
}

UPZ_DEV uint8_t dev_load1(uint64_t a)
{
    uint32_t v;
    asm volatile("ld.global.u8 %0, [%1];" : "=r"(v) : "l"(a));
    return (uint8_t)v;
}

UPZ_DEV void dev_store1(uint64_t a, uint8_t v)
{
    asm volatile("st.global.u8 [%0], %1;" ::"l"(a), "r"((uint32_t)v) : "memory");
}

UPZ_DEV float dev_load_float(uint64_t a)
{
    float v;
    asm volatile("ld.global.f32 %0, [%1];" : "=f"(v) : "l"(a));
    return v;
}

UPZ_DEV void dev_max4(uint64_t a, uint32_t v)
{
    asm volatile("red.global.max.u32 [%0], %1;" ::"l"(a), "r"(v) : "memory");
}

/* ---- shared memory ---- */

UPZ_DEV UpzVec4 dev_get16(uint32_t a)
{
    UpzVec4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(a)
                 : "memory");
    return v;
}

UPZ_DEV void dev_put16(uint32_t a, UpzVec4 v)
{
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(a), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
}

UPZ_DEV uint32_t dev_get4(uint32_t a)
{
    uint32_t v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(a) : "memory");
    return v;
}

UPZ_DEV void dev_put4(uint32_t a, uint32_t v)
{
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(a), "r"(v) : "memory");
}

UPZ_DEV uint16_t dev_get2(uint32_t a)
{
    uint16_t v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(a) : "memory");
    return v;
}

UPZ_DEV void dev_put2(uint32_t a, uint16_t v)
{
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(a), "h"(v) : "memory");
}

/* ---- numbers ---- */

UPZ_DEV uint32_t dev_half2(float first, float second)
{
    uint32_t v;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(second), "f"(first));
#else
    asm("{ .reg .b16 a, b; cvt.rn.f16.f32 a, %1; cvt.rn.f16.f32 b, %2; mov.b32 %0, {a, b}; }"
        : "=r"(v)
        : "f"(first), "f"(second));
#endif
    return v;
}

UPZ_DEV float dev_low(uint32_t h2)
{
    float v;
    asm("{ .reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, a; }" : "=f"(v) : "r"(h2));
    return v;
}

UPZ_DEV float dev_high(uint32_t h2)
{
    float v;
    asm("{ .reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, b; }" : "=f"(v) : "r"(h2));
    return v;
}

UPZ_DEV float dev_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }

UPZ_DEV uint32_t dev_int8(float v)
{
    return v == v ? (uint32_t)__float2int_rn(fminf(fmaxf(v, -127.0f), 127.0f)) & 255 : 0;
}

UPZ_DEV uint32_t dev_int8x2(float first, float second)
{
    return dev_int8(first) | dev_int8(second) << 8;
}

#ifdef UPZ_FP8
UPZ_DEV uint32_t dev_fp8x2(float first, float second)
{
    uint16_t v;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(v) : "f"(second), "f"(first));
    return v;
}
#endif

/* ---- copies by the thread ---- */

UPZ_DEV void dev_copy16(uint32_t shared, uint64_t global)
{
#ifdef UPZ_NO_ASYNC
    dev_put16(shared, dev_load16(global));
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
#endif
}

UPZ_DEV void dev_copy_commit(void)
{
#ifndef UPZ_NO_ASYNC
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

UPZ_DEV void dev_copy_wait(int n)
{
#ifdef UPZ_NO_ASYNC
    (void)n;
#else
    switch (n) { /* a constant, but an operand only where it is spelled out */
    case 0: asm volatile("cp.async.wait_group 0;" ::: "memory"); break;
    case 1: asm volatile("cp.async.wait_group 1;" ::: "memory"); break;
    case 2: asm volatile("cp.async.wait_group 2;" ::: "memory"); break;
    default: asm volatile("cp.async.wait_group 3;" ::: "memory"); break;
    }
#endif
}

/* ---- tensor cores of a warp ---- */

#ifdef UPZ_NO_MMA
#include "dev_plain.h"
#endif

UPZ_DEV void dev_ldmatrix4(uint32_t r[4], uint32_t shared)
{
#ifdef UPZ_NO_MMA
    plain_ldmatrix4(r, shared);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared)
                 : "memory");
#endif
}

UPZ_DEV void dev_mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
#if defined(UPZ_NO_MMA)
    plain_mma(d, a, b);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    UPZ_UNROLL
    for (int k = 0; k < 2; k++)
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
            "{%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[2 * k]), "r"(a[2 * k + 1]), "r"(b[k]));
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

#ifndef UPZ_NO_MMA
UPZ_DEV void dev_mma_int8(int32_t d[4], const uint32_t a[4], const uint32_t b[2])
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    UPZ_UNROLL
    for (int k = 0; k < 2; k++) {
        UPZ_UNROLL
        for (int m = 0; m < 2; m++)
            asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                : "+r"(d[2 * m]), "+r"(d[2 * m + 1])
                : "r"(a[2 * k + m]), "r"(b[k]));
    }
#else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
#endif

#ifdef UPZ_FP8_MMA
UPZ_DEV void dev_mma_fp8(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#ifdef UPZ_WGMMA
#include "dev_hopper.h"
#endif

#endif
