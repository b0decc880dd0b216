#include "simd_c.h"
#define GEMM_ACC 64
#define GEMM_NR 16
#define GEMM_MR 2
extern const struct UpzCpuKernels upz_cpu_kernels_c;
#include "kernels_tmpl.h"
