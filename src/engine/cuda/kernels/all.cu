/* All kernels as one module. */
#include "dev.h"

#include "conv_mma.cu"
#include "load.cu"
#include "parts.cu"
#include "resize.cu"
#include "store.cu"
#ifdef UPZ_WGMMA
#include "conv_ring.cu"
#include "conv_stream.cu"
#endif
