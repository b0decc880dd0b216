/* The compiled kernels as part of the library: a fatbin for cuModuleLoadData. There with
 * UPZ_HAVE_CUDA_KERNELS only. */
#ifndef UPZ_CUDA_FATBIN_H
#define UPZ_CUDA_FATBIN_H

__attribute__((visibility("hidden"))) extern const unsigned char upz_cuda_fatbin[];
__attribute__((visibility("hidden"))) extern const unsigned char upz_cuda_fatbin_end[];

#endif
