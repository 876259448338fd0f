#define SLIPWAY_ISA avx2
#include "engine/kernels/gemm/gemm_impl.h"
