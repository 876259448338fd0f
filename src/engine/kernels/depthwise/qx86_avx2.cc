#define SLIPWAY_ISA avx2
#include "engine/kernels/depthwise/qdepthwise_impl.h"
