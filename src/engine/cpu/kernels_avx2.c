#include "simd_avx2.h"
#define GEMM_ACC 12
#define GEMM_NR 2
#define GEMM_MR 6
extern const struct UpzCpuKernels upz_cpu_kernels_avx2;
#include "kernels_tmpl.h"
