#define SLIPWAY_ISA avx512bf16
#include "engine/kernels/depthwise/depthwise_bf16_impl.h"
