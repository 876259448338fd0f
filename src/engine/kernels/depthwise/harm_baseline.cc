#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/depthwise/depthwise_f16_impl.h"
