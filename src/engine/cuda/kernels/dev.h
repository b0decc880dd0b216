/* What kernels are written in: C with these functions. Kernels are compiled twice, by nvcc for GPUs
 * (dev_cuda.h) and by the C compiler for the tests' emulation (tests/fake/dev_host.h), which runs
 * every thread of a block and checks what a GPU would not: so kernels stay in the subset of C that
 * both understand (no templates, references, default arguments or C++ casts; variants of a kernel
 * by including a template file several times with other macros), and touch shared memory,
 * barriers and tensor cores through these functions only.
 *
 * The functions both headers define; `shared` is a 32-bit address in shared memory. All threads of
 * a warp (warpgroup, block) call the collective ones together.
 *
 *   UPZ_KERNEL(name, Params, threads, blocks) { … p.field … }   a kernel; p is its only parameter,
 *                       `threads` its block, `blocks` the least number of blocks a multiprocessor
 *                       shall hold
 *   UPZ_DEV             before functions of a kernel's own (static, always inlined)
 *   UPZ_UNROLL          before a loop whose bounds are constants
 *
 *   unsigned dev_thread(void), dev_block(void), dev_blocks(void)   x of the index; y: dev_block_y()
 *   uint32_t dev_shared(void)                     start of dynamic shared memory, 1024-aligned
 *   void dev_sync(void)                           all threads of the block
 *   void dev_bar(int id, int threads)             named barrier 1 … 15
 *   uint32_t dev_shfl(uint32_t v, int lane), dev_shfl_xor(uint32_t v, int mask)
 *   bool dev_elect(void)                          true in one thread of a converged warp
 *   void dev_warp_sync(void)                      all threads of the warp; orders their shared memory
 *
 *   global memory, by 64-bit address, naturally aligned:
 *   UpzVec4 dev_load16(uint64_t a), void dev_store16(uint64_t a, UpzVec4 v)   16 bytes as 4 words
 *   void dev_store8(uint64_t a, uint32_t low, uint32_t high)   8 bytes, `low` first
 *   uint32_t dev_load4(uint64_t a), void dev_store4(…); uint16_t dev_load2, void dev_store2;
 *   uint8_t dev_load1, void dev_store1; float dev_load_float(uint64_t a); void dev_max4(uint64_t a,
 *   uint32_t v): atomic maximum
 *   shared memory: UpzVec4 dev_get16(uint32_t shared), void dev_put16(uint32_t shared, UpzVec4 v),
 *   uint32_t dev_get4, void dev_put4, uint16_t dev_get2, void dev_put2
 *
 *   halves: two in a word, the first in the low 16 bits
 *   uint32_t dev_half2(float first, float second)         rounded to nearest even; too large: inf
 *   float dev_low(uint32_t h2), dev_high(uint32_t h2)
 *   8-bit numbers: two in 16 bits, the first in the low 8; rounded to nearest even, the largest where
 *   it is larger, NaN to int8: 0
 *   uint32_t dev_int8x2(float first, float second)        -127 … 127 only
 *   uint32_t dev_fp8x2(float first, float second)         E4M3; UPZ_FP8 defined (sm_89 and up)
 *   float dev_fma(float a, float b, float c); plain * and + are never contracted
 *
 *   copies of 16 bytes, global to shared, by the thread itself (sm_75 copies at once):
 *   void dev_copy16(uint32_t shared, uint64_t global)
 *   void dev_copy_commit(void); void dev_copy_wait(int n)   all but the last n groups; n constant
 *
 *   tensor cores of a warp; fragments are laid out as PTX defines for ldmatrix and mma:
 *   void dev_ldmatrix4(uint32_t r[4], uint32_t shared)        lane l gives the address of row l % 8
 *                                                             of matrix l / 8
 *   void dev_mma(float d[4], const uint32_t a[4], const uint32_t b[2])   m16n8k16, half x half, float
 *                                                             sums (sm_75: two m16n8k8)
 *
 *   void dev_mma_int8(int32_t d[4], const uint32_t a[4], const uint32_t b[2])   m16n8k32, four numbers a
 *   void dev_mma_fp8(float d[4], …)                           register (sm_75: four m8n8k16);
 *                                                             fp8 where UPZ_FP8_MMA is defined
 *
 *   Hopper only (UPZ_WGMMA defined):
 *   void dev_stmatrix4_trans(uint32_t shared, const uint32_t r[4]), void dev_ldmatrix4_trans(uint32_t
 *                         r[4], uint32_t shared)
 *   void dev_mbar_init(uint32_t bar, int count)      8 bytes; then dev_mbar_fence() before dev_sync()
 *   void dev_mbar_expect(uint32_t bar, uint32_t bytes)   arrives and announces bytes
 *   void dev_mbar_arrive(uint32_t bar)
 *   void dev_mbar_wait(uint32_t bar, int parity)     until the phase of that parity is complete
 *   void dev_bulk_load(uint32_t shared, uint64_t global, uint32_t bytes, uint32_t bar)   16-aligned
 *   void dev_bulk_store(uint64_t global, uint32_t shared, uint32_t bytes)
 *   void dev_bulk_commit(void); void dev_bulk_wait_read(int n), dev_bulk_wait(int n)
 *   void dev_async_fence(void)                       plain writes to shared memory become visible to
 *                                                    bulk stores and wgmma
 *   uint64_t dev_desc(uint32_t shared, uint32_t k_bytes, uint32_t mn_bytes)   a matrix of 8 x 16-byte
 *                         core matrices, not swizzled, K-major: bytes from one to the next along K
 *                         and along M or N
 *   void dev_wgmma_fence(void), dev_wgmma_commit(void), dev_wgmma_wait(int n)
 *   void dev_wgmma_own(float d[64])               before fence and after wait: sums stay where they are
 *   void dev_wgmma128(float d[64], uint64_t a, uint64_t b)    d += a * b, m64n128k16, both from
 *                         shared memory; a and b the same in all threads of the warpgroup
 *   void dev_wgmma128_regs(float d[64], const uint32_t a[4], uint64_t b)   a from registers: warp w has
 *                         rows 16 w … in the layout of dev_mma's; unchanged until waited for
 *   void dev_wgmma128_fp8(float d[64], uint64_t a, uint64_t b), dev_wgmma128_int8(int32_t d[64], …)
 *                         m64n128k32; dev_wgmma_own_int(int32_t d[64])
 *   void dev_regs_more(int n), dev_regs_less(int n)  setmaxnreg of the warpgroup
 *   void dev_grid_wait(void), dev_grid_go(void)      griddepcontrol: what the kernel before wrote is
 *                                                    visible after wait; go lets the next one start
 */
#ifndef UPZ_CUDA_DEV_H
#define UPZ_CUDA_DEV_H

#define UPZ_KERNEL_CODE
#ifdef __CUDACC__
#include "dev_cuda.h"
#else
#include "dev_host.h" /* of the tests */
#endif
#include "params.h"

#endif
