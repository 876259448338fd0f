#include <arm_neon.h>

#define SLIPWAY_ISA fp16
#include "engine/kernels/depthwise/depthwise_f16_impl.h"
