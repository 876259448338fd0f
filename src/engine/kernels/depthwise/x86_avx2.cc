#define SLIPWAY_ISA avx2
#include "engine/kernels/depthwise/depthwise_impl.h"
