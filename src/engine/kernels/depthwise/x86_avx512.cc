#define SLIPWAY_ISA avx512
#include "engine/kernels/depthwise/depthwise_impl.h"
