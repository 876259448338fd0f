#define SLIPWAY_ISA avx512
#include "engine/kernels/gemm/gemm_impl.h"
