/* dev.h on the host: what simt.c and its neighbours run. */
#ifndef UPZ_DEV_HOST_H
#define UPZ_DEV_HOST_H

#include <math.h>
#include <string.h>
#include "simt.h"

#define UPZ_DEV __attribute__((unused)) static inline
#define UPZ_UNROLL
#if defined(UPZ_NO_MMA) /* as for capabilities below 7.5 */
#define SIMT_NAME(name) simt_kernel_plain_##name
#elif defined(UPZ_NO_ASYNC) /* below 8.0 */
#define SIMT_NAME(name) simt_kernel_sync_##name
#else
#define UPZ_WGMMA 1
#define SIMT_NAME(name) simt_kernel_##name
#endif
#define UPZ_KERNEL(name, Params, threads, blocks) SIMT_KERNEL(name, Params, threads, blocks)
#define SIMT_KERNEL(name, Params, threads, blocks) \
    static void name##_thread(const Params p); \
    static void name##_run(const void *params) \
    { \
        Params copy; \
        memcpy(&copy, params, sizeof copy); \
        name##_thread(copy); \
    } \
    extern const SimtKernel SIMT_NAME(name); \
    const SimtKernel SIMT_NAME(name) = {#name, sizeof(Params), threads, blocks, name##_run}; \
    static void name##_thread(const Params p)

typedef struct UpzVec4 {
    uint32_t x, y, z, w;
} UpzVec4;

unsigned dev_thread(void);
unsigned dev_block(void);
unsigned dev_block_y(void);
unsigned dev_blocks(void);
uint32_t dev_shared(void);
void dev_sync(void);
void dev_bar(int id, int threads);
uint32_t dev_shfl(uint32_t v, int lane);
uint32_t dev_shfl_xor(uint32_t v, int mask);
bool dev_elect(void);
void dev_warp_sync(void);

UpzVec4 dev_load16(uint64_t a);
void dev_store16(uint64_t a, UpzVec4 v);
void dev_store8(uint64_t a, uint32_t low, uint32_t high);
uint32_t dev_load4(uint64_t a);
void dev_store4(uint64_t a, uint32_t v);
uint16_t dev_load2(uint64_t a);
void dev_store2(uint64_t a, uint16_t v);
uint8_t dev_load1(uint64_t a);
void dev_store1(uint64_t a, uint8_t v);
float dev_load_float(uint64_t a);
void dev_max4(uint64_t a, uint32_t v);

UpzVec4 dev_get16(uint32_t a);
void dev_put16(uint32_t a, UpzVec4 v);
uint32_t dev_get4(uint32_t a);
void dev_put4(uint32_t a, uint32_t v);
uint16_t dev_get2(uint32_t a);
void dev_put2(uint32_t a, uint16_t v);

UPZ_DEV uint32_t dev_half2(float first, float second)
{
    return simt_half(first) | (uint32_t)simt_half(second) << 16;
}
UPZ_DEV float dev_low(uint32_t h2) { return simt_float((uint16_t)h2); }
UPZ_DEV float dev_high(uint32_t h2) { return simt_float((uint16_t)(h2 >> 16)); }
UPZ_DEV float dev_fma(float a, float b, float c) { return fmaf(a, b, c); }

#ifdef UPZ_NO_ASYNC
UPZ_DEV void dev_copy16(uint32_t shared, uint64_t global) { dev_put16(shared, dev_load16(global)); }
UPZ_DEV void dev_copy_commit(void) {}
UPZ_DEV void dev_copy_wait(int n) {}
#else
void dev_copy16(uint32_t shared, uint64_t global);
void dev_copy_commit(void);
void dev_copy_wait(int n);
#endif

UPZ_DEV uint32_t dev_int8x2(float first, float second)
{
    return simt_int8(first) | (uint32_t)simt_int8(second) << 8;
}
#ifndef UPZ_NO_ASYNC
#define UPZ_FP8 1
#define UPZ_FP8_MMA 1
UPZ_DEV uint32_t dev_fp8x2(float first, float second)
{
    return simt_fp8(first) | (uint32_t)simt_fp8(second) << 8;
}
#endif
void dev_mma_int8(int32_t d[4], const uint32_t a[4], const uint32_t b[2]);
void dev_mma_fp8(float d[4], const uint32_t a[4], const uint32_t b[2]);

void dev_ldmatrix4(uint32_t r[4], uint32_t shared);
void dev_ldmatrix4_trans(uint32_t r[4], uint32_t shared);
void dev_stmatrix4_trans(uint32_t shared, const uint32_t r[4]);
void dev_mma(float d[4], const uint32_t a[4], const uint32_t b[2]);

void dev_mbar_init(uint32_t bar, int count);
void dev_mbar_fence(void);
void dev_mbar_expect(uint32_t bar, uint32_t bytes);
void dev_mbar_arrive(uint32_t bar);
void dev_mbar_wait(uint32_t bar, int parity);
void dev_bulk_load(uint32_t shared, uint64_t global, uint32_t bytes, uint32_t bar);
void dev_bulk_store(uint64_t global, uint32_t shared, uint32_t bytes);
void dev_bulk_commit(void);
void dev_bulk_wait_read(int n);
void dev_bulk_wait(int n);
void dev_async_fence(void);
uint64_t dev_desc(uint32_t shared, uint32_t k_bytes, uint32_t mn_bytes);
void dev_wgmma_fence(void);
void dev_wgmma_commit(void);
void dev_wgmma_wait(int n);
UPZ_DEV void dev_wgmma_own(float d[64]) {}
void dev_wgmma128(float d[64], uint64_t a, uint64_t b);
void dev_wgmma128_regs(float d[64], const uint32_t a[4], uint64_t b);
void dev_wgmma128_fp8(float d[64], uint64_t a, uint64_t b);
void dev_wgmma128_int8(int32_t d[64], uint64_t a, uint64_t b);
UPZ_DEV void dev_wgmma_own_int(int32_t d[64]) {}
void dev_regs_more(int n);
void dev_regs_less(int n);
void dev_grid_wait(void);
void dev_grid_go(void);

#ifdef UPZ_NO_MMA
#include "engine/cuda/kernels/dev_plain.h"
#define dev_ldmatrix4 plain_ldmatrix4
#define dev_mma plain_mma
#endif

#endif
