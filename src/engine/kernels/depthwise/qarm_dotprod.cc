#include <arm_neon.h>

#define SLIPWAY_ISA dotprod
#include "engine/kernels/depthwise/qdepthwise_impl.h"
