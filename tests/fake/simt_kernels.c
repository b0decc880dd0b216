/* The kernels that were compiled for the host, by name. */
#include "simt.h"
#include <string.h>

#define MMA(X) X(conv_mma_m16) X(conv_mma_m32) X(conv_mma_m64)
#define EIGHT(X) X(conv_quant_m32) X(conv_quant_m64) X(conv_int8_m32) X(conv_int8_m64) X(range_map)
#define FP8(X) X(conv_fp8_m32) X(conv_fp8_m64)
#define KERNELS(X)                                                                                 \
    MMA(X) X(load_map) X(store_picture) X(resize_image) X(compare_pictures) X(clear_frame)
#define HOPPER(X)                                                                                  \
    X(conv_ring) X(conv_stream) X(conv_stream_one) X(conv_stream_up) X(conv_stream_pair)           \
    X(conv_stream_fp8) X(conv_stream_one_fp8) X(conv_stream_up_fp8) X(conv_stream_pair_fp8)        \
    X(conv_stream_int8) X(conv_stream_one_int8) X(conv_stream_up_int8) X(conv_stream_pair_int8)
#define PROBES(X) X(probe_half) X(probe_copy) X(probe_mma) X(probe_eight) X(probe_threads)
#define HOPPER_PROBES(X)                                                                           \
    X(probe_matrices) X(probe_bulk_load) X(probe_bulk_store) X(probe_wgmma) X(probe_wgmma_regs) X(probe_wgmma_eight) \
    X(probe_regs) X(probe_ring) X(probe_grid) X(rate_shared) X(rate_regs) X(rate_bulk)

#define DECLARE(name) extern const SimtKernel simt_kernel_##name __attribute__((weak));
#define DECLARE_SYNC(name) extern const SimtKernel simt_kernel_sync_##name __attribute__((weak));
#define DECLARE_PLAIN(name) extern const SimtKernel simt_kernel_plain_##name __attribute__((weak));
KERNELS(DECLARE)
KERNELS(DECLARE_SYNC)
MMA(DECLARE_PLAIN)
EIGHT(DECLARE)
EIGHT(DECLARE_SYNC)
FP8(DECLARE)
HOPPER(DECLARE)
PROBES(DECLARE)
HOPPER_PROBES(DECLARE)

const SimtKernel *simt_find(const char *name, int capability)
{
#define FIND(k) \
    if (capability >= 80 && !strcmp(name, #k)) return &simt_kernel_##k;
#define FIND_PLAIN(k) \
    if (capability < 75 && !strcmp(name, #k)) return &simt_kernel_plain_##k;
#define FIND_SYNC(k) \
    if (capability < 80 && !strcmp(name, #k)) return &simt_kernel_sync_##k;
#define FIND_HOPPER(k) \
    if (capability == 90 && !strcmp(name, #k)) return &simt_kernel_##k;
    MMA(FIND_PLAIN)
    KERNELS(FIND)
    KERNELS(FIND_SYNC)
    EIGHT(FIND)
    if (capability >= 75) {
        EIGHT(FIND_SYNC)
    }
    if (capability == 89 || capability >= 120) { /* sm_90 has wgmma for it, sm_100 neither */
        FP8(FIND)
    }
    HOPPER(FIND_HOPPER)
    PROBES(FIND)
    HOPPER_PROBES(FIND_HOPPER)
    return NULL;
}
