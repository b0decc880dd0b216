#include "simd_avx512.h"
#define GEMM_ACC 24
#define GEMM_NR 4
#define GEMM_MR 6
extern const struct UpzCpuKernels upz_cpu_kernels_avx512;
#include "kernels_tmpl.h"
