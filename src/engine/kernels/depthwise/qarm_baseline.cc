#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/depthwise/qdepthwise_impl.h"
