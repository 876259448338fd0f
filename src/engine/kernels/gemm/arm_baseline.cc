#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/gemm/gemm_impl.h"
