#define SLIPWAY_ISA avx512bf16
#define SLIPWAY_CONV_BF16
#include "engine/kernels/conv/conv_impl.h"
