#define SLIPWAY_ISA avx512bf16
#include "engine/kernels/gemm/gemm_impl.h"
